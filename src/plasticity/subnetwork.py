"""The alive units as a network of their own, that needs nothing of this project to be understood.

A folder holds ``arch.json`` (what the network is), ``weights.safetensors`` (plain PyTorch names)
and ``manifest.json`` (SHA-256 of both). Nothing in it can run code.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from plasticity import files
from plasticity.data import Dataset, check_manifest
from plasticity.errors import DataError
from plasticity.network import Architecture
from plasticity.state import State, alive_slots, take_units

FORMAT = 1


@dataclass(frozen=True)
class Subnetwork:
    """An extracted network."""

    module: nn.Sequential
    """Standardised images (B, C, H, W) -> logits (B, classes)."""
    architecture: Architecture
    """Of the alive units."""
    capacity: tuple[int, ...]
    slots: tuple[tuple[int, ...], ...]
    """For each hidden layer, where its units stood in the full network."""
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def standardise(self, images: Tensor) -> Tensor:
        """Return uint8 images (B, C, H, W) as the module reads them."""
        mean, std = (torch.tensor(part)[:, None, None] for part in (self.mean, self.std))
        return (images / 255 - mean) / std


def save(path: Path, state: State, row: int, architecture: Architecture, dataset: Dataset) -> None:
    """Write the alive units of one seed.

    Parameters
    ----------
    path
        Folder; replaced as a whole.
    state
        S networks at full capacity.
    row
        The seed's place on the S axis.
    architecture
        At full capacity.
    dataset
        Gives class names and standardisation.
    """
    slots = tuple(alive_slots(alive[row : row + 1]) for alive in state.alive)
    one = state.weights.map(lambda tensor: tensor[row : row + 1])
    compact = take_units(one, slots).map(lambda tensor: tensor[0].cpu().contiguous())
    small = replace(architecture, widths=tuple(slot.shape[1] for slot in slots))
    description = {
        "format": FORMAT,
        "image": small.image,
        "trunk": small.trunk,
        "widths": small.widths,
        "activation": "relu",
        "layers": _layer_list(small),
        "capacity": architecture.widths,
        "slots": [slot[0].tolist() for slot in slots],
        "classes": dataset.classes,
        "mean": dataset.mean,
        "std": dataset.std,
    }
    named = {
        f"{prefix}{index}.{kind}": tensor
        for prefix, kind, tensors in (
            ("conv", "weight", compact.filters),
            ("conv", "bias", compact.filter_bias),
            ("fc", "weight", compact.incoming),
            ("fc", "bias", compact.bias),
        )
        for index, tensor in enumerate(tensors, start=1)
    }
    with files.fresh_folder(path) as new:
        files.write_bytes(new / "weights.safetensors", safetensors.torch.save(named))
        files.write_json(new / "arch.json", description)
        sums = {name: files.sha256(new / name) for name in ("weights.safetensors", "arch.json")}
        files.write_json(new / "manifest.json", sums)


def _layer_list(architecture: Architecture) -> list[dict[str, Any]]:
    """Return the layers in order, each with what ``torch.nn`` needs to build it."""
    channels = (architecture.image[0], *architecture.trunk)
    sizes = architecture.sizes
    layers: list[dict[str, Any]] = []
    for index, (a, b) in enumerate(pairwise(channels), start=1):
        layers += [
            {"name": f"conv{index}", "kind": "conv3x3", "inputs": a, "outputs": b},
            {"name": f"act{index}", "kind": "relu"},
            {"name": f"pool{index}", "kind": "maxpool2x2"},
        ]
    layers.append({"name": "flatten", "kind": "flatten"})
    last = len(sizes) - 1
    for index, (a, b) in enumerate(pairwise(sizes), start=1):
        layers.append({"name": f"fc{index}", "kind": "linear", "inputs": a, "outputs": b})
        if index < last:
            layers.append({"name": f"fc{index}_act", "kind": "relu"})
    return layers


def _module(layer: dict[str, Any]) -> nn.Module:
    match layer["kind"]:
        case "conv3x3":
            return nn.Conv2d(layer["inputs"], layer["outputs"], 3, padding=1)
        case "relu":
            return nn.ReLU()
        case "maxpool2x2":
            return nn.MaxPool2d(2)
        case "flatten":
            return nn.Flatten()
        case "linear":
            return nn.Linear(layer["inputs"], layer["outputs"])
    raise DataError(f"arch.json: unknown layer kind '{layer['kind']}'; it is of a newer version")


def load_subnetwork(path: Path | str) -> Subnetwork:
    """Return the network of a folder, checked against its manifest.

    Raises
    ------
    DataError
        When a file is missing, is damaged, or has a format this version does not know.
    """
    folder = Path(path)
    check_manifest(folder)
    description = files.read_json(folder / "arch.json")
    if description["format"] != FORMAT:
        raise DataError(
            f"{folder}/arch.json: got format {description['format']}, expected {FORMAT}; "
            "use the version of plasticity that wrote it"
        )
    module = nn.Sequential(
        OrderedDict((layer["name"], _module(layer)) for layer in description["layers"])
    )
    module.load_state_dict(safetensors.torch.load((folder / "weights.safetensors").read_bytes()))
    module.eval()
    image = tuple(description["image"])
    return Subnetwork(
        module=module,
        architecture=Architecture(
            (image[0], image[1], image[2]),
            tuple(description["trunk"]),
            tuple(description["widths"]),
            len(description["classes"]),
        ),
        capacity=tuple(description["capacity"]),
        slots=tuple(tuple(slots) for slots in description["slots"]),
        classes=tuple(description["classes"]),
        mean=tuple(description["mean"]),
        std=tuple(description["std"]),
    )


def kept_masks(subnetworks: list[Subnetwork]) -> tuple[Tensor, ...]:
    """Return (S, H) bool for each hidden layer: the units the networks have kept."""
    masks = []
    for layer, width in enumerate(subnetworks[0].capacity):
        mask = torch.zeros((len(subnetworks), width), dtype=torch.bool)
        for row, subnetwork in enumerate(subnetworks):
            mask[row, list(subnetwork.slots[layer])] = True
        masks.append(mask)
    return tuple(masks)
