"""Operators as parameters make them: what must be equal is equal, bit by bit."""

import copy
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from plasticity import catalogue, config, learners, recipe, structure
from plasticity.checkpoint import Checkpoint
from plasticity.data import Dataset
from plasticity.sections import Params
from plasticity.train import run
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
        events = structure.events(params_of(**changes), backbone, structure.Clock(4, 5, 2, 20))
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
