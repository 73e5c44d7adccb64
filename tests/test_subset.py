"""Parts of labelled images: what is checked of a data set holds for the part that is used."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from import_graph import ROOT
from test_raw import asked, small_raw
from test_recipe import SEEDS, SETTING, params_of

from plasticity import items, launch, learners, raw, recipe, streams, subset
from plasticity.errors import ConfigError

LABELS = np.repeat(np.arange(12), 2)
NAMES = tuple("abcdefghijkl")


def published(labels=LABELS, names=NAMES):
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 1, 4, 4), dtype=np.uint8)
    return replace(
        small_raw(),
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
        classes=names,
    )


def test_a_stratified_part_by_hand():
    """Six of 7 a, 2 b, 1 c: exact shares 4.2, 1.2 and 0.6; 4 + 1 + 1 (at least one) are six."""
    labels = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2])
    order = np.array([9, 6, 8, 5, 4, 7, 3, 2, 1, 0])
    assert subset.part(labels, order, 6, "stratified").tolist() == [9, 6, 8, 5, 4, 3]
    assert subset.part(labels, order, 6, "random").tolist() == [9, 6, 8, 5, 4, 7]
    # Four: exact shares 2.8, 0.8, 0.4; 2 + 1 + 1.  Three: 2.1 is brought down to one.
    assert subset.part(labels, order, 4, "stratified").tolist() == [9, 6, 8, 5]
    assert subset.part(labels, order, 3, "stratified").tolist() == [9, 6, 8]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 60))
def test_a_stratified_part_has_its_size_and_loses_no_class(labels, count):
    values = np.array(labels)
    order = np.random.default_rng(1).permutation(len(values))
    count = min(count, len(values))
    kept = subset.part(values, order, count, "stratified")
    assert len(kept) == len(set(kept.tolist())) == count
    places = {image: place for place, image in enumerate(order.tolist())}
    assert [places[image] for image in kept.tolist()] == sorted(places[i] for i in kept.tolist())
    if count >= len(set(labels)):
        assert set(values[kept].tolist()) == set(labels)
        for label in set(labels):
            share = count * labels.count(label) / len(labels)
            assert abs((values[kept] == label).sum() - share) < 1 or share < len(set(labels))


@pytest.mark.parametrize("count", [12, 14, 16, 18])
def test_a_random_part_that_loses_a_class_is_refused_and_a_stratified_one_is_not(count):
    with pytest.raises(
        ConfigError, match=r"data\.train_images: .* no image of \d of the 12 .*stra"
    ):
        raw.split(published(), asked(train_images=count), "numbers")
    kept = raw.split(published(), asked(train_images=count, subset="stratified"), "numbers")
    assert set(kept.train_labels.tolist()) == set(range(12))
    assert len(kept.train_labels) == count


@pytest.mark.parametrize("rule", ["random", "stratified"])
def test_fewer_images_than_classes_are_always_refused(rule):
    with pytest.raises(ConfigError, match=r"got 11, .* use at least 12 images"):
        raw.split(published(), asked(train_images=11, subset=rule), "numbers")


def test_validation_images_lose_no_class_either():
    with pytest.raises(ConfigError, match=r"data\.validation: got 12, .* stratified"):
        raw.split(published(), asked(validation=12), "numbers")
    kept = raw.split(published(), asked(validation=12, subset="stratified"), "numbers")
    assert set(kept.validation_labels.tolist()) == set(kept.train_labels.tolist()) == set(range(12))
    alone = published(np.array([0, 0, 0, 1]), ("a", "b"))
    with pytest.raises(ConfigError, match=r"\(b\); they have too few training images; put fewer"):
        raw.split(alone, asked(validation=2, subset="stratified"), "numbers")


@pytest.mark.parametrize("rule", sorted(streams.TABLE))
def test_no_stream_scores_a_task_without_images_of_each_of_its_classes(rule):
    lost = streams.Source(LABELS[2:], 16, 12, None)
    with pytest.raises(ConfigError, match=f"'{rule}' on numbers: the training images .* 1 of the"):
        streams.refuse_lost_classes(lost, rule, (0,), "numbers")
    whole = streams.Source(LABELS, 16, 12, None)
    streams.refuse_lost_classes(whole, rule, (0,), "numbers")
    part = replace(whole, num_images=13)
    if rule in streams.WHOLE:
        with pytest.raises(ConfigError, match=r"continual\.images of seed 0 \(13\) .* stratified"):
            streams.refuse_lost_classes(part, rule, (0,), "numbers")
        stratified = replace(part, subset="stratified")
        streams.refuse_lost_classes(stratified, rule, (0, 1), "numbers")
        task = streams.TABLE[rule](stratified, 0, 0, {})
        assert len(set(task.labels.tolist())) == 12
        assert len(task.images) == 13


def test_all_items_are_refused_before_any_begins():
    """The last of two streams, the reported seeds after tuning's, an epoch without a batch."""
    streams_ = ["random_labels", "permuted_inputs"]
    params = params_of(continual__streams=streams_, continual__images=10, data__subset="random")
    runs = list(learners.stream_runs(params).values())
    work = items.stream_items(params, runs)
    launch.refuse(params, work[:1], SETTING.dataset)
    with pytest.raises(ConfigError, match=r"'permuted_inputs' .* continual\.images of seed 0"):
        launch.refuse(params, work, SETTING.dataset)
    tasks = params_of(continual__streams=[{"rule": "split_classes", "classes": 2}])
    whole = items.stream_items(tasks, learners.stream_runs(tasks).values())
    launch.refuse(tasks, whole, SETTING.dataset)
    five = replace(
        SETTING.dataset, classes=tuple("abcde"), train_labels=SETTING.dataset.train_labels % 5
    )
    with pytest.raises(ConfigError, match="3 tasks, but its 5 classes are enough for 2"):
        launch.refuse(tasks, whole, five)
    drop = params_of(train__batch=61, train__last_batch="drop")
    for stage in ("train", "retrain"):
        with pytest.raises(ConfigError, match="60 training images fill no batch of 61"):
            launch.refuse(drop, items.stage_items(drop, stage, ["x"], range(2)), SETTING.dataset)


@pytest.mark.parametrize("stage", ["train", "retrain", "continual"])
def test_a_stage_refuses_all_its_items_first(stage):
    """Before the first call that runs any; the reported seeds of streams with those of tuning."""
    source = (ROOT / "stages" / f"{stage}.py").read_text()
    first = source.index("launch.run(")
    assert "launch.refuse(params, " in source[:first]
    assert source.count("items.tuning_items") == source[:first].count("items.tuning_items")


def test_a_stream_is_refused_before_its_first_step():
    params = params_of(continual__streams=["permuted_inputs"])
    run = next(iter(learners.stream_runs(params).values()))
    few = replace(SETTING.dataset, train_labels=torch.arange(60) % 9)
    with pytest.raises(ConfigError, match="'permuted_inputs' on digits"):
        recipe.continual_job(params, replace(SETTING, dataset=few), SEEDS, run, (0.01, 0.01))
