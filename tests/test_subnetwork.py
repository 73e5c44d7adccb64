"""Extraction: equality with the masked network, counts by formula, damage told before use."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import CONVNET, MLP, SEEDS, random_alive

from plasticity import files, measures, subnetwork
from plasticity.data import Dataset
from plasticity.errors import DataError
from plasticity.network import Architecture, forward, initial_weights
from plasticity.state import new_state


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


def extracted(architecture: Architecture, number: int, folder: Path):
    generator = torch.Generator().manual_seed(number)
    widths = [int(torch.randint(1, w + 1, (), generator=generator)) for w in architecture.widths]
    alive = random_alive(architecture, widths, generator)
    weights = initial_weights(architecture, SEEDS, "kaiming_relu")
    state = new_state(weights, alive, 0)
    subnetwork.save(folder, state, 1, architecture, dataset_of(architecture))
    return state, subnetwork.load_subnetwork(folder)


@given(conv=st.booleans(), number=st.integers(0, 2**32 - 1))
@settings(max_examples=500)
def test_extracted_logits_equal_masked_logits_for_random_plans(conv, number, tmp_path_factory):
    """float32, 500 plans: largest difference 1e-5 of the largest logit."""
    architecture = CONVNET if conv else MLP
    folder = tmp_path_factory.getbasetemp() / "net"
    state, net = extracted(architecture, number, folder)
    x = net.standardise(dataset_of(architecture).test_images)
    inputs = x if architecture.trunk else x.flatten(1)
    full = forward(state.weights, inputs.expand(2, *inputs.shape), state.alive).logits[1]
    with torch.no_grad():
        small = net.module(x)
    assert float((full - small).abs().max()) <= 1e-5 * float(full.abs().max())


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


def test_a_newer_format_is_refused(tmp_path):
    extracted(MLP, 8, tmp_path / "net")
    path = tmp_path / "net" / "arch.json"
    description = json.loads(path.read_text()) | {"format": 99}
    path.write_text(json.dumps(description))
    sums = {n: files.sha256(path.parent / n) for n in ("weights.safetensors", "arch.json")}
    (path.parent / "manifest.json").write_text(json.dumps(sums))
    with pytest.raises(DataError, match="format 99"):
        subnetwork.load_subnetwork(path.parent)


def test_nothing_but_torch_is_needed_to_read_the_weights(tmp_path):
    """The names are those of a plain Sequential, in the order of arch.json."""
    _, net = extracted(CONVNET, 9, tmp_path / "net")
    assert list(net.module.state_dict()) == [
        f"{layer}.{part}"
        for layer in ("conv1", "conv2", "fc1", "fc2", "fc3", "fc4")
        for part in ("weight", "bias")
    ]
