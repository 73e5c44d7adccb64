"""Operators as parameters make them: what must be equal is equal, bit by bit."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from plasticity import catalogue, config, learners, recipe, structure
from plasticity.checkpoint import Checkpoint
from plasticity.data import Dataset
from plasticity.errors import ConfigError
from plasticity.sections import Params
from plasticity.state import gather, new_state, take_units
from plasticity.train import _edit, run, start
from plasticity.weights import initial_bounds
from plasticity.yaml12 import read_yaml

ROOT = Path(__file__).parents[1]
TREE = read_yaml(ROOT / "params.yaml")
SEEDS = (0, 2)


def digits(count: int = 60) -> Dataset:
    raw = load_digits()
    images = torch.from_numpy(raw.images * 15).to(torch.uint8)[:count, None]
    labels = torch.from_numpy(raw.target[:count]).long()
    return Dataset(
        images, labels, images[:0], labels[:0], images, labels,
        tuple(map(str, range(10))), (0.3,), (0.35,),
    )  # fmt: skip


def noise(count: int = 60) -> Dataset:
    """Return random images for a trunk, not square: its last maps are 3 x 2."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, 12, 8), generator=generator).to(torch.uint8)
    labels = torch.randint(7, (count,), generator=generator)
    return Dataset(
        images, labels, images[:0], labels[:0], images, labels,
        tuple("abcdefg"), (0.5, 0.4, 0.6), (0.3, 0.25, 0.2),
    )  # fmt: skip


SETTING = recipe.Setting(digits(), torch.device("cpu"))
TRUNK_SETTING = recipe.Setting(noise(), torch.device("cpu"))


def params_of(**changes: object) -> Params:
    """Return the real parameters at scale tiny with some changed, ``edit__cycles`` style."""
    tree = copy.deepcopy(TREE) | {"scale": "tiny"}
    for name, value in changes.items():
        *sections, key = name.split("__")
        part = tree
        for section in sections:
            part = part[section]
        part[key] = value
    return config.resolve(tree)


def trained(tmp_path: Path, name: str, **changes: object) -> Checkpoint:
    job = recipe.train_job(params_of(**changes), SETTING, SEEDS)
    return run(job, tmp_path / name, lambda news: None)  # noqa: ARG005


def same(a: Checkpoint, b: Checkpoint) -> bool:
    pairs = zip(a.state.weights.tensors(), b.state.weights.tensors(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_prune_warm_at_compactness_1_equals_dense(tmp_path):
    prune = trained(tmp_path, "prune", op="prune", compactness=1.0, edit__continuity="warm")
    assert same(prune, trained(tmp_path, "dense", op="dense"))


def test_prune_at_compactness_1_rewinding_always_equals_dense_with_rewind(tmp_path):
    always = {"edit__continuity": "rewind", "edit__rewind_when": "every_event"}
    prune = trained(tmp_path, "prune", op="prune", compactness=1.0, **always)
    dense = trained(tmp_path, "dense", op="dense", **always)
    assert same(prune, dense)
    assert not same(dense, trained(tmp_path, "warm", op="dense"))


def test_grow_to_everything_at_step_0_equals_dense(tmp_path):
    grow = trained(tmp_path, "grow", op="grow", compactness=1.0, edit__cycles=1)
    assert same(grow, trained(tmp_path, "dense", op="dense", edit__cycles=1))


def test_static_at_compactness_1_equals_dense(tmp_path):
    static = trained(tmp_path, "static", op="static", compactness=1.0)
    assert same(static, trained(tmp_path, "dense", op="dense"))


@pytest.mark.parametrize("op", sorted({*catalogue.OPERATORS} - {"dense"}))
@pytest.mark.parametrize("index", [0, 1])
def test_every_operator_ends_at_the_same_counts(op, index, tmp_path):
    final = trained(tmp_path, "run", op=op, edit__cycle_index=index)
    assert final.state.widths() == (6, 5)


@pytest.mark.parametrize("op", sorted({*catalogue.OPERATORS} - {"dense"}))
@pytest.mark.parametrize(("layers", "trunk"), [("head", (4, 6)), ("all", (2, 3))])
def test_channels_are_edited_where_layers_says_all(op, layers, trunk, tmp_path):
    params = params_of(op=op, dataset="cifar10", edit__layers=layers)
    job = recipe.train_job(params, TRUNK_SETTING, SEEDS)
    final = run(job, tmp_path, lambda news: None)  # noqa: ARG005
    assert final.state.widths()[:2] == trunk
    assert sum(final.state.widths()[2:]) == sum(structure.targets(params, job.architecture)[2:])


def test_a_newborn_starts_from_the_weights_it_was_masked_with(tmp_path):
    job = recipe.train_job(params_of(op="grow"), SETTING, SEEDS)
    first = run(job, tmp_path / "grow", lambda news: None)  # noqa: ARG005
    never = [~alive for alive in first.state.alive]
    for layer, masked in enumerate(never):
        after, before = first.state.weights.incoming[layer], job.initial.incoming[layer]
        assert torch.equal(after[masked], before[masked])
        assert not torch.equal(after[~masked], before[~masked])


def test_arms_share_initialisation_and_batches():
    jobs = [recipe.train_job(params_of(op=op), SETTING, SEEDS) for op in ("grow", "prune")]
    weights = [job.initial.tensors() for job in jobs]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    for step in (0, 3, 17):
        assert torch.equal(jobs[0].batches(step)[0], jobs[1].batches(step)[0])


@pytest.mark.parametrize("name", ["relu", "random_smooth_leaky"])
@pytest.mark.parametrize("normalisation", catalogue.NORMALISATION)
def test_training_evaluation_and_events_have_the_same_normalisation(normalisation, name):
    params = params_of(
        intervention__normalisation=normalisation, intervention__activation=name, op="grow"
    )
    kept = structure.random_masks(
        recipe.architecture(params, SETTING.dataset), (6, 5), SEEDS, "mask"
    )
    stream = next(iter(learners.stream_runs(params).values()))
    for job in (
        recipe.train_job(params, SETTING, SEEDS),
        recipe.retrain_job(params, SETTING, SEEDS, "masked_fresh", kept),
        recipe.continual_job(params, SETTING, SEEDS, stream, (0.01, 0.01)),
    ):
        used = (job.activation, job.activation_at(0), job.context.activation)
        assert {part.normalise for part in used} == {normalisation == "layer_norm"}


def test_rewind_only_when_units_were_removed_or_at_every_event():
    backbone = recipe.architecture(params_of(), SETTING.dataset)

    def rewinds(**changes: object) -> list[bool]:
        events = structure.events(
            params_of(**changes), backbone, structure.Clock((0, 4, 8, 12, 16), 2, 20)
        )
        return [event.rewind for event in events]

    assert rewinds(op="prune") == [True, True, True, True, False]
    assert rewinds(op="prune", edit__rewind_when="every_event") == [True] * 5
    assert rewinds(op="grow") == [False] * 5
    removed = {"edit__continuity": "rewind", "edit__rewind_when": "removed"}
    assert rewinds(op="prune", **removed) == [True, True, True, True, False]
    assert rewinds(op="grow_then_prune", **removed) == [False, False, False, True, False]
    assert rewinds(op="prune_then_grow", **removed) == [True, True, False, False, False]


@pytest.mark.parametrize(
    "variant", ["masked_fresh", "masked_original", "physical_fresh", "random_fresh"]
)
def test_retraining_starts_from_what_its_name_says(variant):
    params = params_of()
    kept = structure.random_masks(
        recipe.architecture(params, SETTING.dataset), (6, 5), SEEDS, "mask"
    )
    original = recipe.train_job(params, SETTING, SEEDS).initial
    job = recipe.retrain_job(params, SETTING, SEEDS, variant, kept)
    is_original = job.initial.incoming[0].shape == original.incoming[0].shape and torch.equal(
        job.initial.incoming[0], original.incoming[0]
    )
    assert is_original == (variant == "masked_original")
    assert tuple(int(mask[0].sum()) for mask in job.alive) == (6, 5)
    keeps = all(
        mask.shape == k.shape and torch.equal(mask, k)
        for mask, k in zip(job.alive, kept, strict=True)
    )
    assert keeps == variant.startswith("masked")
    bound = float(job.initial.incoming[1].abs().max())
    fan_in = 6 if variant == "physical_fresh" else 12
    assert 0.8 * fan_in**-0.5 < bound <= fan_in**-0.5


def test_masked_original_retraining_is_physical_retraining_of_the_same_slices(tmp_path):
    """Why there is no variant physical_original: compact and masked training are one function."""
    params = params_of()
    kept = structure.random_masks(
        recipe.architecture(params, SETTING.dataset), (6, 5), SEEDS, "mask"
    )
    job = recipe.retrain_job(params, SETTING, SEEDS, "masked_original", kept)
    final = run(job, tmp_path, lambda news: None)  # noqa: ARG005
    assert final.state.widths() == (6, 5)
    frozen = final.state.weights.incoming[0][~kept[0]]
    assert torch.equal(frozen, job.initial.incoming[0][~kept[0]])


# -- initial weights on the scale of the units that are alive


def test_founders_are_drawn_for_the_units_alive_after_the_event_at_step_0():
    """Of 12 and 10 units grow starts with 1 and 1, and one more of each at step 0 (cycle_index 1:
    ceil of 5 / 4 and of 4 / 4 are 2 and 1): fan-ins 64, 3 and 2 in place of 64, 12 and 10."""
    full = recipe.train_job(params_of(), SETTING, SEEDS)
    job = recipe.train_job(params_of(network__fan_in="alive"), SETTING, SEEDS)
    (first, *_) = job.events
    alive = [int(mask[0].sum()) + added for mask, added in zip(job.alive, first.add, strict=True)]
    assert alive == [3, 2]
    factors = (1.0, (12 / 3) ** 0.5, (10 / 2) ** 0.5)
    for name in ("incoming", "bias"):
        pairs = zip(getattr(job.initial, name), getattr(full.initial, name), factors, strict=True)
        for ours, usual, factor in pairs:
            torch.testing.assert_close(ours, usual * factor)
    assert job.bounds == pytest.approx([64**-0.5, 3**-0.5, 2**-0.5] * 2)


@pytest.mark.parametrize(("dataset", "setting"), [("digits", SETTING), ("cifar10", TRUNK_SETTING)])
def test_static_for_its_own_fan_in_is_the_physically_small_network(dataset, setting, tmp_path):
    """Its weights have the small network's distribution, and both train to the same weights."""
    params = params_of(op="static", network__fan_in="alive", dataset=dataset)
    job = recipe.train_job(params, setting, SEEDS)
    kept = job.alive
    assert job.bounds == tuple(
        initial_bounds(
            job.architecture.with_units([int(mask[0].sum()) for mask in kept]), "torch_default"
        )
    )
    small = recipe.retrain_job(params, setting, SEEDS, "physical_fresh", kept)
    assert small.bounds == job.bounds
    slots = gather(new_state(job.initial, kept, 0)).slots
    start = take_units(job.initial, slots)
    small = replace(
        small,
        initial=start,
        batches=job.batches,
        context=replace(small.context, initial=start),
    )
    big = run(job, tmp_path / "static", lambda news: None).state  # noqa: ARG005
    little = run(small, tmp_path / "small", lambda news: None).state  # noqa: ARG005
    trained = take_units(big.weights, slots)
    for ours, theirs in zip(trained.tensors(), little.weights.tensors(), strict=True):
        assert torch.equal(ours, theirs)


def test_dense_is_the_same_whatever_its_fan_in_counts(tmp_path):
    alive = trained(tmp_path, "alive", op="dense", network__fan_in="alive")
    assert same(alive, trained(tmp_path, "capacity", op="dense"))


@pytest.mark.parametrize("variant", ["masked_fresh", "masked_original", "random_fresh"])
def test_tickets_are_drawn_for_the_units_that_are_kept(variant):
    params = params_of(network__fan_in="alive")
    kept = structure.random_masks(
        recipe.architecture(params, SETTING.dataset), (6, 5), SEEDS, "mask"
    )
    usual = recipe.retrain_job(params_of(), SETTING, SEEDS, variant, kept)
    job = recipe.retrain_job(params, SETTING, SEEDS, variant, kept)
    for layer, factor in enumerate((1.0, (12 / 6) ** 0.5, (10 / 5) ** 0.5)):
        ours, theirs = job.initial.incoming[layer], usual.initial.incoming[layer]
        torch.testing.assert_close(ours, theirs * factor)


def test_a_rewind_goes_back_to_the_scale_of_the_units_that_are_left():
    """Prune leaves 12 and 10 units fewer at each event: survivors start over at 1 / sqrt(now)."""
    job = recipe.train_job(params_of(op="prune", network__fan_in="alive"), SETTING, SEEDS)
    current = start(job, None)
    alive = []
    for event in job.events:
        _edit(current, event)
        alive.append(current.widths())
        if event.index == len(job.events) - 1:
            break  # moves nothing and rewinds nothing
        state = current.state
        for layer, now in enumerate([64, *current.widths()]):
            first = [64, *alive[0]][layer]
            factor = (first / now) ** 0.5
            rows = state.alive[layer] if layer < 2 else torch.ones_like(state.weights.bias[2]) > 0
            columns = state.alive[layer - 1] if layer else torch.ones((2, 64)) > 0
            both = rows[:, :, None] & columns[:, None]
            ours, initial = state.weights.incoming[layer], job.initial.incoming[layer]
            torch.testing.assert_close(ours[both], initial[both] * factor)
            assert torch.equal(ours[~both], initial[~both])  # masked slots keep what they had
            bias = state.weights.bias[layer]
            torch.testing.assert_close(bias[rows], job.initial.bias[layer][rows] * factor)
    assert alive[0] != alive[-1]


# -- the last batch of an epoch, and the window of events


def test_a_partial_last_batch_is_kept_or_dropped():
    """60 images by 25: 25, 25 and 10."""
    keep = recipe.train_job(params_of(train__batch=25), SETTING, SEEDS)
    drop = recipe.train_job(params_of(train__batch=25, train__last_batch="drop"), SETTING, SEEDS)
    assert (keep.window, drop.window) == (3, 2)
    assert [keep.batches(step)[1].shape[1] for step in range(4)] == [25, 25, 10, 25]
    assert [drop.batches(step)[1].shape[1] for step in range(4)] == [25] * 4
    assert torch.equal(keep.batches(3)[1], drop.batches(2)[1])  # the second epoch's first
    with pytest.raises(ConfigError, match=r"last_batch: got drop, but 60 .* no batch of 61"):
        recipe.train_job(params_of(train__batch=61, train__last_batch="drop"), SETTING, SEEDS)


def test_a_window_moves_events_and_nothing_else():
    """Five epochs of three batches: events up to 0.4 x 15 = 6; cycle ends stay."""
    usual = recipe.train_job(params_of(), SETTING, SEEDS)
    early = recipe.train_job(params_of(edit__until=0.4, continual__streams=[]), SETTING, SEEDS)
    assert [event.step for event in usual.events] == [0, 3, 6, 9, 12]
    assert [event.step for event in early.events] == [0, 2, 3, 5, 6]
    assert [event.add for event in early.events] == [event.add for event in usual.events]
    assert early.evaluation is not None
    assert usual.evaluation is not None
    assert early.evaluation.full_at == usual.evaluation.full_at


def test_accuracy_is_of_the_test_or_of_the_validation_images():
    data = SETTING.dataset
    setting = replace(
        SETTING,
        dataset=replace(
            data,
            validation_images=data.test_images[:7].flip(2),
            validation_labels=data.test_labels[:7],
        ),
    )
    params = params_of(measure__accuracy_on="validation", data__validation=7)
    for chosen, expected in ((params, setting.dataset.validation_images), (params_of(), None)):
        evaluation = recipe.train_job(chosen, setting, SEEDS).evaluation
        assert evaluation is not None
        images = data.test_images if expected is None else expected
        assert torch.equal(evaluation.images.pixels, images.flatten(1))
