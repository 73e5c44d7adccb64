"""The alive units as a network of their own, that needs nothing of this project to be understood.

A folder holds ``arch.json`` (what the network is), ``weights.safetensors`` (plain PyTorch names)
and ``manifest.json`` (SHA-256 of both). Nothing in it can run code.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from plasticity import files
from plasticity.data import Dataset, check_manifest
from plasticity.errors import DataError
from plasticity.network import NORM_EPS
from plasticity.sections import Choice
from plasticity.state import State, alive_slots, take_units
from plasticity.weights import Architecture

FORMAT = 2


@dataclass(frozen=True)
class Subnetwork:
    """An extracted network."""

    module: nn.Sequential
    """Standardised images (B, C, H, W) -> logits (B, classes)."""
    architecture: Architecture
    """Of the alive units."""
    capacity: tuple[int, ...]
    slots: tuple[tuple[int, ...], ...]
    """For each layer of units, where its units stood in the full network."""
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def standardise(self, images: Tensor) -> Tensor:
        """Return uint8 images (B, C, H, W) as the module reads them."""
        mean, std = (torch.tensor(part)[:, None, None] for part in (self.mean, self.std))
        return (images / 255 - mean) / std


class CReLU(nn.Module):
    """relu(x) and relu(-x), neighbours along the units' axis."""

    def forward(self, x: Tensor) -> Tensor:
        """Return twice as many channels or units."""
        return torch.stack((x.relu(), (-x).relu()), 2).flatten(1, 2)


class SmoothLeaky(nn.Module):
    """a x + (1 - a) x sigmoid(rate x)."""

    def __init__(self, slope: float, rate: float) -> None:
        super().__init__()
        self.slope, self.rate = slope, rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of each entry."""
        return self.slope * x + (1 - self.slope) * x * torch.sigmoid(self.rate * x)


def save(  # noqa: PLR0913 (all that the folder says of a network)
    path: Path,
    state: State,
    row: int,
    architecture: Architecture,
    dataset: Dataset,
    activation: Choice,
    *,
    normalise: bool,
) -> None:
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
    activation
        Of every layer of units.
    normalise
        Whether hidden layers have layer normalisation before it.
    """
    slots = tuple(alive_slots(alive[row : row + 1]) for alive in state.alive)
    one = state.weights.map(lambda tensor: tensor[row : row + 1])
    compact = take_units(one, slots).map(lambda tensor: tensor[0].cpu().contiguous())
    small = architecture.with_units([slot.shape[1] for slot in slots])
    description = {
        "format": FORMAT,
        "image": small.image,
        "trunk": small.trunk,
        "widths": small.widths,
        "copies": small.copies,
        "layers": _layer_list(small, activation, normalise=normalise),
        "capacity": architecture.units,
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


def _activation_layer(activation: Choice) -> dict[str, Any]:
    """Return an activation as evaluation has it."""
    options = activation.options
    match activation.rule:
        case "leaky_relu":
            return {"kind": "leaky_relu", "slope": options["slope"]}
        case "smooth_leaky":
            slope = float(options["slope"])
        case "random_smooth_leaky":
            slope = (float(options["lower"]) + float(options["upper"])) / 2
        case simple:
            return {"kind": simple}
    rate = float(options["c"]) / float(options["p"])
    return {"kind": "smooth_leaky", "slope": slope, "rate": rate}


def _layer_list(
    architecture: Architecture, activation: Choice, *, normalise: bool
) -> list[dict[str, Any]]:
    """Return the layers in order, each with what ``torch.nn`` needs to build it."""
    act = _activation_layer(activation)
    layers: list[dict[str, Any]] = []
    for index, (a, b) in enumerate(architecture.channels, start=1):
        layers += [
            {"name": f"conv{index}", "kind": "conv3x3", "inputs": a, "outputs": b},
            {"name": f"act{index}", **act},
            {"name": f"pool{index}", "kind": "maxpool2x2"},
        ]
    layers.append({"name": "flatten", "kind": "flatten"})
    last = len(architecture.linears)
    for index, (a, b) in enumerate(architecture.linears, start=1):
        layers.append({"name": f"fc{index}", "kind": "linear", "inputs": a, "outputs": b})
        if index < last:
            norm = {"name": f"fc{index}_norm", "kind": "layer_norm", "width": b, "eps": NORM_EPS}
            layers += [norm] * normalise + [{"name": f"fc{index}_act", **act}]
    return layers


_MODULES: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "conv3x3": lambda layer: nn.Conv2d(layer["inputs"], layer["outputs"], 3, padding=1),
    "maxpool2x2": lambda layer: nn.MaxPool2d(2),  # noqa: ARG005 (every kind's form)
    "flatten": lambda layer: nn.Flatten(),  # noqa: ARG005
    "linear": lambda layer: nn.Linear(layer["inputs"], layer["outputs"]),
    "layer_norm": lambda layer: nn.LayerNorm(
        layer["width"], eps=layer["eps"], elementwise_affine=False
    ),
    "relu": lambda layer: nn.ReLU(),  # noqa: ARG005
    "leaky_relu": lambda layer: nn.LeakyReLU(layer["slope"]),
    "gelu": lambda layer: nn.GELU(),  # noqa: ARG005
    "crelu": lambda layer: CReLU(),  # noqa: ARG005
    "smooth_leaky": lambda layer: SmoothLeaky(layer["slope"], layer["rate"]),
}


def _module(layer: dict[str, Any]) -> nn.Module:
    if layer["kind"] not in _MODULES:
        raise DataError(
            f"arch.json: unknown layer kind '{layer['kind']}'; it is of a newer version"
        )
    return _MODULES[layer["kind"]](layer)


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
    norms = [layer["width"] for layer in description["layers"] if layer["kind"] == "layer_norm"]
    if norms not in ([], description["widths"]):
        raise DataError(
            f"{folder}/arch.json: got layers of {norms} units to normalise, expected none or the "
            f"hidden layers, {description['widths']}"
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
            description["copies"],
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
