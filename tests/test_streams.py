"""Streams: maps are pure functions of (seed, task), against what others publish where they do."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_recipe import digits, params_of

from plasticity import (
    catalogue,
    checkpoint,
    items,
    learner_catalogue,
    learners,
    online,
    recipe,
    regression,
    stream_results,
    streams,
    train,
    windows,
)
from plasticity.data import resident
from plasticity.errors import ConfigError
from plasticity.learners import StreamRun
from plasticity.sections import Choice, Params
from plasticity.streams import Source
from plasticity.tasks import TaskStream

SEEDS = (0, 3)
CLASSES, PIXELS = 12, 30
LABELS = np.random.default_rng(0).integers(CLASSES, size=700)


def source(num_images: int | None = 90) -> Source:
    return Source(LABELS, PIXELS, CLASSES, num_images)


def choice(rule: str, **options: float | str) -> Choice:
    known = catalogue.STREAMS[rule].options
    return Choice(rule=rule, options={name: o.default for name, o in known.items()} | options)


def task_of(rule: str, seed: int, task: int, images: int | None = 90, **options: float | str):
    chosen = choice(rule, **options)
    return streams.TABLE[rule](source(images), seed, task, chosen.options)


def test_every_stream_of_images_is_in_the_table() -> None:
    assert sorted([*streams.TABLE, "slowly_changing_regression"]) == sorted(catalogue.STREAMS)


@given(st.sampled_from(sorted(streams.TABLE)), st.integers(0, 50), st.integers(0, 3))
def test_a_task_is_the_same_whenever_it_is_asked_for_and_its_images_are_of_the_training_set(
    rule: str, seed: int, task: int
) -> None:
    one, again = task_of(rule, seed, task), task_of(rule, seed, task)
    assert np.array_equal(one.images, again.images)
    assert np.array_equal(one.labels, again.labels)
    assert len(np.unique(one.images)) == len(one.images)
    assert one.images.max() < len(LABELS)
    assert set(one.labels) <= set(range(streams.num_outputs(rule, CLASSES)))


def test_permuted_inputs_keep_images_and_labels_and_move_every_pixel_once() -> None:
    first, second = task_of("permuted_inputs", 1, 0), task_of("permuted_inputs", 1, 1)
    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.labels, LABELS[first.images])
    for task in (first, second):
        assert np.array_equal(np.sort(task.pixels), np.arange(PIXELS))
        assert not np.array_equal(task.pixels, np.arange(PIXELS))
    assert not np.array_equal(first.pixels, second.pixels)


def test_random_labels_are_uniform_and_new_in_every_task() -> None:
    labels = np.concatenate([task_of("random_labels", 0, task, None).labels for task in range(20)])
    counts = np.bincount(labels, minlength=CLASSES)
    assert abs(counts - len(labels) / CLASSES).max() < 5 * (len(labels) / CLASSES) ** 0.5
    same = (
        task_of("random_labels", 0, 0, None).labels == task_of("random_labels", 0, 1, None).labels
    )
    assert abs(same.mean() - 1 / CLASSES) < 0.05


def test_shuffled_labels_are_a_map_of_classes() -> None:
    task = task_of("shuffled_labels", 0, 2)
    pairs = set(zip(LABELS[task.images].tolist(), task.labels.tolist(), strict=True))
    assert len({old for old, _ in pairs}) == len(pairs) == len({new for _, new in pairs})


def test_class_pairs_come_once_each_and_are_labelled_0_and_1() -> None:
    pairs = []
    for task in range(CLASSES * (CLASSES - 1) // 2):
        one = task_of("class_pairs", 0, task, None)
        classes = np.unique(LABELS[one.images])
        assert len(classes) == 2
        assert np.array_equal(one.labels, (LABELS[one.images] == classes[1]).astype(int))
        assert len(one.images) == np.isin(LABELS, classes).sum()
        pairs.append(tuple(classes))
    assert len(set(pairs)) == len(pairs)
    with pytest.raises(ValueError, match="expected less than 66: no class comes twice"):
        task_of("class_pairs", 0, 66)


def test_five_plus_one_never_shows_a_class_again_and_scores_the_five() -> None:
    met: list[int] = []
    for task in range(4):
        one = task_of("five_plus_one", 0, task, None)
        classes = np.unique(one.labels).tolist()
        assert len(classes) == (1 if task % 2 else 5)
        assert one.scored == (task % 2 == 0)
        met += classes
    assert len(set(met)) == len(met) == 12
    with pytest.raises(ValueError, match="expected less than 4"):
        task_of("five_plus_one", 0, 4)


@pytest.mark.parametrize("order", ["groups", "classes"])
def test_split_classes_share_all_classes_among_tasks(order: str) -> None:
    groups = streams.class_groups(CLASSES, 3, 5, order)
    assert sorted(label for group in groups for label in group) == list(range(CLASSES))
    together = all(b == a + 1 for group in groups for a, b in pairwise(group))
    assert together == (order == "groups")
    assert groups != streams.class_groups(CLASSES, 3, 6, order)


def test_a_share_of_a_tasks_images_is_the_same_number_of_each_class() -> None:
    one = task_of("split_classes", 0, 1, 60, classes=3)
    assert np.bincount(LABELS[one.images]).max() == 20
    assert len(one.images) == 60


@pytest.mark.parametrize(("task", "each"), [(1, 40), (2, 33), (3, 22)])
def test_the_replay_buffer_holds_earlier_classes_alike_and_no_more_than_it_can(
    task: int, each: int
) -> None:
    """At most 40 of a class and 200 in all: 3 classes 40 each; 6 classes 33; 9 classes 22."""
    one = task_of("split_classes", 0, task, None, classes=3, replay=40, replay_total=200)
    groups = streams.class_groups(CLASSES, 3, 0, "groups")
    earlier = {label for group in groups[:task] for label in group}
    counts = np.bincount(LABELS[one.replay], minlength=CLASSES)
    assert set(np.flatnonzero(counts)) == earlier
    assert set(counts[sorted(earlier)]) == {each}
    assert task_of("split_classes", 0, 0, None, classes=3, replay=40).replay is None


def test_given_anothers_permutation_the_pixels_are_where_they_have_them() -> None:
    """Avalanche's PermutedMNIST: RandomState(seed).permutation(pixels), then x.view(-1)[order]."""
    order = np.random.RandomState(7).permutation(64)
    images = digits().train_images
    stream = stream_of("permuted_inputs")
    task = streams.Task(np.arange(60), np.zeros(60, int), pixels=order)
    stream._tasks[0] = [task] * len(SEEDS)
    moved, _ = stream._gathered(0, [(task.images, task.labels)] * len(SEEDS))
    expected = torch.stack([image.reshape(-1)[torch.from_numpy(order)] for image in images[:60]])
    assert torch.equal(moved, stream.images.standardise(expected).expand_as(moved))


def test_given_anothers_class_order_the_tasks_have_their_classes_and_images() -> None:
    """Avalanche's split benchmarks: the order cut in equal parts; a task has all their images."""
    order = np.random.RandomState(7).permutation(CLASSES).tolist()
    groups = streams.grouped(order, 4)
    assert groups == [tuple(order[0:4]), tuple(order[4:8]), tuple(order[8:12])]
    for group in groups:
        expected = {i for i, label in enumerate(LABELS.tolist()) if label in group}
        assert set(streams.images_of(source(None), 0, group)) == expected


# -- batches


def stream_of(rule: str, batch: int = 4, steps: int = 9, **options: float | str) -> TaskStream:
    data = digits()
    images = resident(
        data.train_images, data.train_labels, data, trunk=False, device=torch.device("cpu")
    )
    labels = data.train_labels.numpy()
    return TaskStream(
        images, Source(labels, 64, 10, 30), SEEDS, choice(rule, **options), steps, batch
    )


@pytest.mark.parametrize("rule", sorted(set(streams.TABLE) - {"five_plus_one"}))
def test_a_batch_does_not_depend_on_what_was_asked_before(rule: str) -> None:
    steps = list(range(18))
    in_order = stream_of(rule)
    expected = [in_order.batch_at(step) for step in steps]
    jumping = stream_of(rule)
    random.Random(0).shuffle(steps)
    for step in steps:
        x, labels = jumping.batch_at(step)
        assert torch.equal(x, expected[step][0])
        assert torch.equal(labels, expected[step][1])


def test_an_epoch_of_a_task_shows_every_image_once_in_a_new_order() -> None:
    stream = stream_of("permuted_inputs", batch=5, steps=12)
    epochs = []
    for start in (0, 6):
        x = torch.cat([stream.batch_at(start + step)[0] for step in range(6)], 1)
        epochs.append([row.unique(dim=0) for row in x])
        assert all(len(row) > 25 for row in epochs[-1])  # a few digits are equal
    assert all(torch.equal(*rows) for rows in zip(*epochs, strict=True))
    assert not torch.equal(stream.batch_at(0)[0], stream.batch_at(6)[0])


def test_half_of_a_batch_is_replayed() -> None:
    stream = stream_of("split_classes", batch=6, classes=2, replay=5)
    for row, one in enumerate(stream.task(1)):
        _, labels = stream.batch_at(9)
        new = set(np.unique(one.labels).tolist())
        assert sum(int(label) in new for label in labels[row]) == 3


def test_a_task_with_fewer_images_than_a_batch_shows_some_twice() -> None:
    stream = stream_of("split_classes", batch=50)
    x, labels = stream.batch_at(0)
    assert x.shape[1] == labels.shape[1] == 50


def test_the_probe_is_of_the_task_and_stays_through_it() -> None:
    stream = stream_of("split_classes")
    x, labels = stream.probe_at(10, 7)
    assert torch.equal(x, stream.probe_at(17, 7)[0])
    for row, one in enumerate(stream.task(1)):
        assert set(labels[row].tolist()) <= set(one.labels.tolist())


def test_test_images_belong_to_the_task_that_has_their_class() -> None:
    stream = stream_of("split_classes", classes=2)
    labels = digits().test_labels
    groups = stream.test_groups(labels, 4)
    for row, seed in enumerate(SEEDS):
        order = streams.class_groups(10, 2, seed, "groups")
        for label, group in zip(labels.tolist(), groups[row].tolist(), strict=True):
            assert group == next((i for i in range(4) if label in order[i]), -1)


# -- slowly changing regression


def test_the_target_is_a_sum_of_threshold_units() -> None:
    """One unit, signs (+, -): S = 1 sign of -1; 3 inputs and a share of 0.7: on above 2.1 - 1."""
    incoming = np.full((1, regression.BITS + 1), 1.0)
    incoming[0, 0] = -1.0
    threshold = (regression.BITS + 1) * regression.SHARE - 1
    network = incoming, np.array([threshold]), np.array([-1.0])
    bits = np.ones((2, regression.BITS))
    bits[1, 0] = 0
    bits[0, 1:8] = 0
    # The first: -1 + 12 + 1 = 12 < 13.7. The second: 0 + 19 + 1 = 20 > 13.7.
    assert regression.target_of(network, bits).tolist() == [0.0, -1.0]


def test_one_slow_bit_flips_between_two_tasks_and_the_fast_ones_are_new() -> None:
    bits = [regression.task_bits(4, task, 50) for task in range(6)]
    for before, after in pairwise(bits):
        assert (before[0, : regression.SLOW] != after[0, : regression.SLOW]).sum() == 1
    for one in bits:
        assert (one[:, : regression.SLOW] == one[0, : regression.SLOW]).all()
        assert 0.3 < one[:, regression.SLOW :].mean() < 0.7
    networks = [regression.target_network(seed) for seed in (0, 1)]
    assert not np.array_equal(networks[0][0], networks[1][0])


# -- measures


def test_the_measures_of_a_fixed_matrix_are_those_of_mammoth() -> None:
    """Formulas of mammoth's metrics on its own layout: results[i][j], after task i on task j."""
    generator = np.random.default_rng(1)
    tasks = 5
    results = generator.uniform(0, 100, (tasks, tasks))
    chance = generator.uniform(0, 20, tasks)
    matrix = {(0, j): chance[j] for j in range(tasks)}
    matrix |= {(i + 1, j): results[i, j] for i in range(tasks) for j in range(tasks)}
    backward = np.mean([results[-1, j] - results[j, j] for j in range(tasks - 1)])
    forgot = np.mean([max(results[:, j]) - results[-1, j] for j in range(tasks - 1)])
    forward = np.mean([results[j - 1, j] - chance[j] for j in range(1, tasks)])
    assert abs(online.backward_transfer(matrix, tasks) - backward) < 1e-12
    assert abs(online.forgetting(matrix, tasks) - forgot) < 1e-12
    assert abs(online.forward_transfer(matrix, tasks) - forward) < 1e-12
    assert abs(online.average_accuracy(matrix, tasks) - results[-1].mean()) < 1e-12
    assert online.forgetting(matrix, 1) is None


def test_plasticity_loss_and_slope_by_hand() -> None:
    """Twenty tasks falling by 2: first 50, last 12; the last half falls by 2 a task."""
    falling = [50.0 - 2 * task for task in range(20)]
    assert online.plasticity_loss(falling) == 38.0
    assert online.slope(falling) == -2.0
    assert online.slope([3.0]) is None
    assert online.slope([1.0, 5.0, 3.0, 90.0, 5.0]) == 1.0  # 3, 90, 5: slopes 87, 1, -85


def test_parts_are_the_steps_to_half_and_nine_tenths_of_the_end() -> None:
    """Ten steps in five parts of 2: means 0.1, 0.4, 0.7, 0.7, 0.8; half of 0.8 at the second
    part, so after 4 steps; 0.9 x 0.8 = 0.72 only at the last."""
    bins = [[0.2], [0.8], [1.4], [1.4], [1.6]]
    assert windows._parts(bins, 0, 10) == [4, 10]
    assert windows._parts([], 0, 10) == []


def test_a_task_that_ends_with_nothing_right_has_no_steps_to_its_end() -> None:
    bins = [[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]
    assert [windows._parts(bins, row, 6) for row in (0, 1)] == [[None, None], [4, 6]]
    rows = [{"parts": parts} for parts in ([None, None], [4, 6], [2, 6])]
    assert stream_results._mean_steps(rows, 0) == 3
    assert stream_results._mean_steps(rows[:1], 1) is None


# -- learners


def job_of(params: Params, run: StreamRun, seeds: tuple[int, ...] = (0, 1), lr: float = 0.01):
    setting = recipe.Setting(digits(), torch.device("cpu"), torch.float64)
    return recipe.continual_job(params, setting, seeds, run, [lr] * len(seeds))


def quiet(news: dict[str, object]) -> None:
    del news


@pytest.mark.parametrize("learner", learner_catalogue.LEARNERS)
def test_a_learner_interrupted_at_random_ends_with_the_same_bytes(
    learner: str, tmp_path: Path
) -> None:
    params = params_of(continual__learners=[learner], continual__edits=2)
    (run,) = list(learners.stream_runs(params).values())[:1]
    whole = train.run(job_of(params, run), tmp_path / "whole", quiet)
    cuts = random.Random(learner)
    for _ in range(3):
        left = iter([False] * cuts.randrange(3, 9) + [True] * 1000)
        with pytest.raises(train.Interrupted):
            train.run(job_of(params, run), tmp_path / "cut", quiet, left.__next__)
    cut = train.run(job_of(params, run), tmp_path / "cut", quiet)
    assert checkpoint.pack(cut.state, {}) == checkpoint.pack(whole.state, {})
    assert cut.progress == whole.progress
    assert whole.step == 30


@pytest.mark.parametrize("learner", sorted(set(learner_catalogue.LEARNERS) - {"operator"}))
def test_the_experiment_changes_no_learner_but_for_its_budget_and_schedule(learner: str) -> None:
    own: dict[str, object] = {"continual__learners": [learner]}
    plain = params_of(**own)
    other = params_of(
        **own, op="prune", intervention__insertion="net2wider", intervention__gate="linear",
        intervention__activation="gelu", edit__continuity="rewind", edit__rewind_when="every_event",
    )  # fmt: skip
    runs = [next(iter(learners.stream_runs(params).values())) for params in (plain, other)]
    first, second = (run.resolved(params) for run, params in zip(runs, (plain, other), strict=True))
    assert first.intervention == second.intervention
    assert first.op == second.op
    assert first.edit.continuity == second.edit.continuity


def test_own_values_of_a_learner_are_of_its_parameter_and_hold_its_default_too() -> None:
    params = params_of()
    for name, learner in learner_catalogue.LEARNERS.items():
        assert bool(learner.own) == bool(learner.values), name
        for index in range(len(learner.values)):
            run = StreamRun(params.continual.streams[0], name, 10, 3, 0.1, index)
            assert run.resolved(params).continual.lr == 0.1


WRONG = {
    "learners: 'backprob'": {"continual__learners": ["backprob"]},
    "streams": {"continual__streams": [{"rule": "split_classes", "clases": 3}]},
    "6 tasks, but digits has 10 classes, enough for 5": {
        "continual__streams": ["split_classes"],
        "continual__tasks": 6,
    },
    "do not fit": {"continual__edit_every": 100},
    "continual.sweep": {"continual__sweep": [10**6]},
    "edit_every: got 'often'": {"continual__edit_every": "often"},
    "warm_probe and hessian": {
        "continual__streams": ["slowly_changing_regression"],
        "intervention__optimizer_state": "warm_probe",
        "train__optimizer": "adam",
    },
}


@pytest.mark.parametrize("message", WRONG)
def test_streams_that_cannot_be_run_are_refused_before_anything_is(message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        params_of(**WRONG[message])
    assert message.partition(":")[0] in str(caught.value)
    assert message.rpartition(": ")[2] in str(caught.value)


def weights_of(final: checkpoint.Checkpoint) -> list[torch.Tensor]:
    return final.state.weights.tensors()


@pytest.mark.parametrize("rule", ["l2", "l2_init"])
def test_a_regularizer_is_its_loss_term_by_autograd(rule: str, tmp_path: Path) -> None:
    """Thirty steps of Adam on cross-entropy + strength x |w - w0|^2 (or |w|^2), by autograd."""
    params = params_of(
        op="dense",
        continual__edits=1,
        intervention__regularizer={"rule": rule, "strength": 0.03},
    )
    run = next(iter(learners.stream_runs(params).values()))
    job = job_of(params, run)
    final = train.run(job, tmp_path, quiet)
    for row in range(2):
        start = [tensor[row].clone() for tensor in job.initial.tensors()]
        parts = [tensor.clone().requires_grad_() for tensor in start]
        optimizer = torch.optim.Adam(parts, lr=0.01)
        layers = len(parts) // 2
        for step in range(30):
            x, labels = job.batches(step)
            h = x[row]
            for layer in range(layers):
                h = torch.nn.functional.linear(h, parts[layer], parts[layers + layer])
                h = h.relu() if layer < layers - 1 else h
            loss = torch.nn.functional.cross_entropy(h, labels[row])
            for part, origin in zip(parts, start, strict=True):
                pulled = part - origin if rule == "l2_init" else part
                loss = loss + 0.03 * pulled.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        for found, expected in zip(weights_of(final), parts, strict=True):
            torch.testing.assert_close(found[row], expected.detach(), rtol=0, atol=1e-9)


def test_shrink_and_perturb_by_hand(tmp_path: Path) -> None:
    """With a learning rate near 0, thirty steps leave 0.9^30 of the weights and bounded noise."""
    params = params_of(
        op="dense",
        continual__edits=1,
        intervention__regularizer={"rule": "shrink_perturb", "shrink": 0.1, "noise": 0.0},
    )
    run = next(iter(learners.stream_runs(params).values()))
    job = job_of(params, run, lr=1e-300)
    final = train.run(job, tmp_path / "a", quiet)
    for found, start in zip(weights_of(final), job.initial.tensors(), strict=True):
        torch.testing.assert_close(found, start * 0.9**30, rtol=1e-9, atol=0)
    noisy = {"rule": "shrink_perturb", "shrink": 1.0, "noise": 0.5}
    params = params_of(op="dense", continual__edits=1, intervention__regularizer=noisy)
    final = train.run(job_of(params, run, lr=1e-300), tmp_path / "b", quiet)
    bound = 0.5 * 64**-0.5
    first = final.state.weights.incoming[0]
    assert 0.9 * bound < first.abs().max() <= bound
    assert abs(float(first.mean())) < 0.1 * bound
    assert not torch.equal(first[0], first[1])


def test_full_reset_starts_every_task_from_the_initial_weights() -> None:
    params = params_of(continual__learners=["full_reset"])
    run = next(iter(learners.stream_runs(params).values()))
    current = train.start(job_of(params, run), None)
    events = {event.step: event for event in current.job.events}
    assert sorted(events) == [0, 10, 20]
    for step in range(20):
        if step in events:
            train._edit(current, events[step])
        train.advance(current)
    train._edit(current, events[20])
    pairs = zip(current.copy.weights.tensors(), current.job.initial.tensors(), strict=True)
    assert all(torch.equal(now, start) for now, start in pairs)
    assert all(not moment.any() for m in current.copy.moments for moment in m.tensors())


def test_head_reset_starts_only_the_classifier_again() -> None:
    params = params_of(continual__learners=["head_reset"])
    run = next(iter(learners.stream_runs(params).values()))
    current = train.start(job_of(params, run), None)
    events = {event.step: event for event in current.job.events}
    for _ in range(10):
        train.advance(current)
    hidden = current.copy.weights.incoming[0].clone()
    train._edit(current, events[10])
    now, start = current.copy.weights, current.job.initial
    assert torch.equal(now.incoming[-1], start.incoming[-1])
    assert torch.equal(now.bias[-1], start.bias[-1])
    assert torch.equal(now.incoming[0], hidden)
    assert not current.copy.moments[0].incoming[-1].any()
    assert current.copy.moments[0].incoming[0].any()
    train.advance(current)
    moved = (current.copy.weights.incoming[-1] - start.incoming[-1]).abs()
    felt = current.copy.grads.incoming[-1].abs() > 1e-6
    assert felt.any()
    rate = current.job.lr(0) * current.job.rates[0]
    assert moved[felt].tolist() == pytest.approx([rate] * int(felt.sum()), rel=0.02)  # Adam's first


def test_rates_on_the_seed_axis_equal_runs_of_their_own(tmp_path: Path) -> None:
    params = params_of(continual__learners=["backprop"])
    run = next(iter(learners.stream_runs(params).values()))
    setting = recipe.Setting(digits(), torch.device("cpu"), torch.float64)
    rates = (0.001, 0.01, 0.03)
    stacked = recipe.continual_job(params, setting, (4, 4, 4), run, rates)
    together = train.run(stacked, tmp_path / "stacked", quiet)
    for row, rate in enumerate(rates):
        alone = recipe.continual_job(params, setting, (4,), run, [rate])
        single = train.run(alone, tmp_path / f"alone{row}", quiet)
        for all_of_them, one in zip(weights_of(together), weights_of(single), strict=True):
            torch.testing.assert_close(all_of_them[row], one[0], rtol=0, atol=1e-12)


def test_a_sweep_has_the_same_updates_at_every_length() -> None:
    params = params_of(continual__sweep=[5, 10, 30], continual__learners=["backprop", "full_reset"])
    runs = learners.stream_runs(params).values()
    assert {(run.steps, run.tasks) for run in runs} == {(5, 6), (10, 3), (30, 1)}
    assert len(runs) == 2 * 3 * 2


def test_events_can_be_at_every_task_or_spread_over_the_stream() -> None:
    for every, edits, steps in (
        ("task", "all", [0, 10, 20]),
        ("spread", 2, [0, 15]),
        (7, 3, [0, 7, 14]),
    ):
        params = params_of(continual__edit_every=every, continual__edits=edits)
        run = next(iter(learners.stream_runs(params).values()))
        assert [event.step for event in job_of(params, run).events] == steps


def test_tuning_takes_the_rate_and_the_value_that_did_best_on_its_own_seeds(tmp_path: Path) -> None:
    params = params_of(
        continual__learners=["l2_init"], continual__tune_rates=[1e-6, 0.02], continual__tune_seeds=2
    )
    run = next(iter(learners.stream_runs(params).values()))
    work = items.tuning_items(params, [run])
    assert [item.lrs for item in work] == [(1e-6, 1e-6, 0.02, 0.02)] * 3
    assert {item.seeds for item in work} == {(1000, 1001, 1000, 1001)}
    assert max(params.continual.seeds, 1000) <= items.TUNING_SEED
    setting = recipe.Setting(digits(), torch.device("cpu"))
    tried = [
        items.Outcome(
            item,
            train.run(
                recipe.continual_job(params, setting, item.seeds, item.run, item.lrs),
                tmp_path / item.name,
                quiet,
            ),
        )
        for item in work
    ]
    scores = {}
    for outcome in tried:
        windows = outcome.final.progress["windows"]
        for rate, rows in ((1e-6, (0, 1)), (0.02, (2, 3))):
            accuracies = [
                windows[4 * task + row]["online_acc"] for task in range(3) for row in rows
            ]
            scores[outcome.item.run.own, rate] = float(np.mean(accuracies))
    chosen = stream_results.best(run, tried)
    assert scores[chosen.own, chosen.lr] == max(scores.values())
    assert "strength=" in stream_results.own_text(chosen)
