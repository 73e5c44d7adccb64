"""Extraction: equality with the masked network, counts by formula, damage told before use."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import (
    ACTIVATIONS,
    CONVNET,
    MLP,
    SEEDS,
    architecture_for,
    plain_module,
    random_alive,
    random_widths,
)
from test_recipe import SETTING, TRUNK_SETTING, params_of

from plasticity import (
    catalogue,
    checkpoint,
    extraction,
    files,
    measures,
    recipe,
    results,
    structure,
    subnetwork,
)
from plasticity.data import Dataset
from plasticity.errors import DataError
from plasticity.sections import Choice
from plasticity.state import State, Units, new_state
from plasticity.train import run
from plasticity.weights import Architecture, initial_weights


def dataset_of(architecture: Architecture) -> Dataset:
    channels = architecture.image[0]
    images = torch.randint(
        256, (40, *architecture.image), generator=torch.Generator().manual_seed(0)
    ).to(torch.uint8)
    labels = torch.zeros(40, dtype=torch.int64)
    return Dataset(
        *(images, labels) * 3,
        classes=tuple("abcdefg"[: architecture.classes]),
        mean=(0.4,) * channels,
        std=(0.3,) * channels,
    )


def extracted(
    architecture: Architecture,
    number: int,
    folder: Path,
    case: str = "relu",
    normalise: bool = False,
    least: int = 1,
):
    generator = torch.Generator().manual_seed(number)
    alive = random_alive(architecture, random_widths(architecture, generator, least), generator)
    weights = initial_weights(architecture, SEEDS, "kaiming_relu")
    state = new_state(weights, alive, 0)
    rule, options = ACTIVATIONS[case]
    choice = Choice(rule=rule, options=options)
    dataset = dataset_of(architecture)
    subnetwork.save(folder, state, 1, architecture, dataset, choice, normalise=normalise)
    return state, subnetwork.load_subnetwork(folder)


def assert_same_logits(
    net: subnetwork.Subnetwork, state: State, row: int, images, case: str, scale, normalise=False
):
    """Compare with the full network as plain modules; float32: 1e-5 of the largest logit."""
    x = net.standardise(images)
    scale = tuple(part.float() for part in scale)
    with torch.no_grad():
        small = net.module(x)
        full = plain_module(state.weights, row, case, scale=scale, normalise=normalise)(x)
    assert float((full - small).abs().max()) <= 1e-5 * float(full.abs().max())


@given(
    conv=st.booleans(),
    number=st.integers(0, 2**32 - 1),
    case=st.sampled_from(sorted(ACTIVATIONS)),
    normalise=st.booleans(),
)
@settings(max_examples=500)
def test_extracted_logits_equal_masked_logits_for_random_plans(
    conv, number, case, normalise, tmp_path_factory
):
    """500 plans: units of every layer (three or more where normalised: the less two units differ,
    the more of float32 is lost), slots, activation, normalisation."""
    architecture = architecture_for(case, CONVNET if conv else MLP)
    folder = tmp_path_factory.getbasetemp() / "net"
    state, net = extracted(architecture, number, folder, case, normalise, 3 if normalise else 1)
    images = dataset_of(architecture).test_images
    assert_same_logits(net, state, 1, images, case, state.alive, normalise)
    norms = [part for part in net.module if isinstance(part, torch.nn.LayerNorm)]
    assert [norm.normalized_shape for norm in norms] == [
        (width,) for width in net.architecture.widths * normalise
    ]
    assert all(norm.eps == 1e-5 and norm.weight is None for norm in norms)


def fading(state: State, steps: int):
    """Return what every unit is multiplied by: 0, 1, or age / steps where an event inserted it."""
    return [
        units.alive * torch.where(units.cohort < 0, 1, (units.age / steps).clamp(max=1))
        for units in state.units
    ]


@pytest.mark.parametrize("case", ACTIVATIONS)
@pytest.mark.parametrize("trunk", [False, True], ids=["mlp", "trunk"])
@pytest.mark.parametrize("op", [op for op in catalogue.OPERATORS if op != "late_reveal"])
def test_a_trained_network_with_units_that_still_fade_in_is_extracted_as_it_is(
    op, trunk, case, tmp_path
):
    """For every operator and activation, with the trunk edited or not; 15 steps of 40.

    All but late_reveal, whose units take part in full from the start.
    """
    final = extracted_as_it_is(
        op, trunk, case, tmp_path, 40, intervention__gate={"rule": "linear", "steps": 40}
    )
    half = any(bool(((part > 0) & (part < 1)).any()) for part in fading(final.state, 40))
    assert half == (op in catalogue.ADDING)


@pytest.mark.parametrize("case", ["relu", "crelu", "random_smooth_leaky"])
@pytest.mark.parametrize("trunk", [False, True], ids=["mlp", "trunk"])
@pytest.mark.parametrize("op", ["grow", "prune", "turnover"])
def test_a_trained_network_that_is_normalised_is_extracted_as_it_is(op, trunk, case, tmp_path):
    extracted_as_it_is(op, trunk, case, tmp_path, 0, intervention__normalisation="layer_norm")


def extracted_as_it_is(op: str, trunk: bool, case: str, tmp_path: Path, steps: int, **more):
    """Train, extract and compare every seed; newborns fade in for some steps."""
    rule, options = ACTIVATIONS[case]
    changes = {"dataset": "cifar10", "edit__layers": "all"} if trunk else {}
    params = params_of(
        op=op,
        intervention__activation={"rule": rule, **options},
        measure__enabled=False,
        **changes,
        **more,
    )
    setting = TRUNK_SETTING if trunk else SETTING
    job = recipe.train_job(params, setting, SEEDS)
    final = run(job, tmp_path, lambda news: None)  # noqa: ARG005
    scale = fading(final.state, steps) if steps else final.state.alive
    normalise = params.intervention.normalisation.rule == "layer_norm"
    for row in range(len(SEEDS)):
        masked = extraction._Masked(results.one_seed(final.state, row), params)
        path = tmp_path / "net"
        chosen = params.intervention.activation
        folded = extraction._folded(masked)
        dataset = setting.dataset
        subnetwork.save(path, folded, 0, job.architecture, dataset, chosen, normalise=normalise)
        net = subnetwork.load_subnetwork(path)
        images = dataset.test_images
        assert_same_logits(net, final.state, row, images, case, scale, normalise)
        extraction._check(
            extraction._compare(masked, net, setting.dataset)
            | {
                "seed": row,
                "units_requested": measures.units_text(
                    extraction._counted(structure.targets(params, job.architecture), params)
                ),
            }
        )
    return final


def test_parameters_of_the_published_network():
    """METHODS of the study: 100 classes, head 2,517,348, trunk 19,392, extracted totals."""
    full = Architecture((3, 32, 32), (32, 64), (512, 512, 256), 100)
    assert measures.num_parameters(full) == 2_536_740
    for widths, total in {
        (102, 102, 51): 458_245,
        (154, 154, 77): 693_935,
        (205, 205, 102): 932_819,
        (256, 256, 128): 1_179_812,
    }.items():
        assert measures.num_parameters(replace(full, widths=widths)) == total


def test_flops_of_a_network_by_hand():
    """4-3-2 mlp: 12 + 6 multiply-adds; training 3 x 18 - 12 of them; two FLOPs each."""
    net = Architecture((1, 2, 2), (), (3,), 2)
    assert measures.forward_flops(net) == 36
    assert measures.training_flops(net) == 84


def test_parameter_count_of_the_module_equals_the_formula(tmp_path):
    _, net = extracted(CONVNET, 5, tmp_path / "net")
    counted = sum(p.numel() for p in net.module.parameters())
    assert counted == measures.num_parameters(net.architecture)


def test_kept_masks_are_the_alive_units(tmp_path):
    state, net = extracted(CONVNET, 6, tmp_path / "net")
    for mask, alive in zip(subnetwork.kept_masks([net]), state.alive, strict=True):
        assert torch.equal(mask[0], alive[1])


@pytest.mark.parametrize("name", ["weights.safetensors", "arch.json"])
def test_every_flipped_byte_is_told_before_use(name, tmp_path):
    extracted(MLP, 7, tmp_path / "net")
    path = tmp_path / "net" / name
    whole = path.read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 100)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(bytes(damaged))
        with pytest.raises(DataError, match=name):
            subnetwork.load_subnetwork(tmp_path / "net")


def rewritten(folder: Path, description: dict[str, object]) -> Path:
    (folder / "arch.json").write_text(json.dumps(description))
    sums = {n: files.sha256(folder / n) for n in ("weights.safetensors", "arch.json")}
    (folder / "manifest.json").write_text(json.dumps(sums))
    return folder


def test_a_newer_format_is_refused(tmp_path):
    extracted(MLP, 8, tmp_path / "net")
    description = json.loads((tmp_path / "net" / "arch.json").read_text()) | {"format": 99}
    with pytest.raises(DataError, match="format 99"):
        subnetwork.load_subnetwork(rewritten(tmp_path / "net", description))


def test_normalisation_of_other_than_the_hidden_layers_is_refused(tmp_path):
    extracted(MLP, 8, tmp_path / "net", normalise=True)
    description = json.loads((tmp_path / "net" / "arch.json").read_text())
    description["layers"] = [part for part in description["layers"] if part["name"] != "fc2_norm"]
    with pytest.raises(DataError, match="to normalise, expected none or the hidden layers"):
        subnetwork.load_subnetwork(rewritten(tmp_path / "net", description))


def test_nothing_but_torch_is_needed_to_read_the_weights(tmp_path):
    """The names are those of a plain Sequential, in the order of arch.json."""
    _, net = extracted(CONVNET, 9, tmp_path / "net")
    assert list(net.module.state_dict()) == [
        f"{layer}.{part}"
        for layer in ("conv1", "conv2", "fc1", "fc2", "fc3", "fc4")
        for part in ("weight", "bias")
    ]


@pytest.mark.parametrize(("index", "step", "counted"), [(0, 0, False), (1, 8, True), (0, 8, True)])
def test_newborns_of_step_zero_are_in_no_ratio(index, step, counted):
    """An operator with a single event may have its first one late."""
    rows = [
        {"seed": 3, "event": index, "layer": "fc1", "moment": "end", "cohort": cohort,
         "step": step + 4, "age": 4, "gradient": value}
        for cohort, value in (("newborn", 0.5), ("incumbent", 2.0))
    ]  # fmt: skip
    found = measures.newborn_ratio(rows, "gradient", "end", {3})
    assert (found is not None) == counted
    if counted:
        assert found.mean == pytest.approx(math.log(0.25))


STRANGE = {
    "none": None,
    "no state": b"no state",
    "of another network": (Architecture((1, 8, 8), (), (9, 5), 3), 1),
    "of two seeds": (MLP, 2),
}


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE)
def test_a_state_that_is_not_of_this_network_is_named(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = files.final_state_path(0)
    if isinstance(content, tuple):
        architecture, seeds = content
        alive = tuple(torch.ones(seeds, width, dtype=torch.bool) for width in architecture.units)
        weights = initial_weights(architecture, range(seeds), "kaiming_relu")
        state = new_state(weights, alive, 0)
        units = tuple(Units(*(one.clone() for one in vars(part).values())) for part in state.units)
        content = checkpoint.pack(replace(state, units=units), {})
    if content is not None:
        files.write_bytes(path, content)
    with pytest.raises(DataError) as error:
        results.read_state(0, MLP)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
