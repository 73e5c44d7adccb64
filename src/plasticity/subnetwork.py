"""The alive units as a network of their own, that needs nothing of this project to be understood.

A folder holds ``arch.json`` (what the network is), ``weights.safetensors`` (plain PyTorch names)
and ``manifest.json`` (SHA-256 of both). Nothing in it can run code.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from plasticity import description, files
from plasticity.data import Dataset, check_manifest
from plasticity.description import FORMAT, layer_list
from plasticity.errors import DataError
from plasticity.escapes import brief, quoted
from plasticity.sections import Choice
from plasticity.state import State, alive_slots, take_units
from plasticity.weights import Architecture

FILES = ("weights.safetensors", "arch.json")
"""What a manifest has sums of."""


@dataclass(frozen=True)
class Subnetwork:
    """An extracted network."""

    module: nn.Sequential
    """Standardised images (B, C, H, W) -> logits (B, classes)."""
    layers: tuple[Mapping[str, int | float | str], ...]
    """Of the module, as ``arch.json`` lists them."""
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
    content = {
        "format": FORMAT,
        "image": small.image,
        "trunk": small.trunk,
        "widths": small.widths,
        "copies": small.copies,
        "layers": layer_list(small, _activation_layer(activation), normalise=normalise),
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
        files.write_json(new / "arch.json", content)
        sums = {name: files.sha256(new / name) for name in FILES}
        files.write_json(new / "manifest.json", sums)


def _activation_layer(activation: Choice) -> dict[str, Any]:
    """Return an activation as evaluation has it."""
    options = activation.options
    match activation.rule:
        case "leaky_relu":
            return {"kind": "leaky_relu", "slope": float(options["slope"])}
        case "smooth_leaky":
            slope = float(options["slope"])
        case "random_smooth_leaky":
            slope = (float(options["lower"]) + float(options["upper"])) / 2
        case simple:
            return {"kind": simple}
    rate = float(options["c"]) / float(options["p"])
    return {"kind": "smooth_leaky", "slope": slope, "rate": rate}


_MODULES: dict[str, Callable[[Mapping[str, Any]], nn.Module]] = {
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


def load_subnetwork(path: Path | str) -> Subnetwork:
    """Return the network of a folder, checked against its manifest.

    Raises
    ------
    DataError
        When a file is missing or damaged, has a format this version does not know, or says what is
        no extracted network.
    """
    folder = Path(path)
    check_manifest(folder, FILES)
    found = description.read(files.read_json(folder / "arch.json"), f"{folder}/arch.json")
    with torch.device("meta"):  # shapes alone: what the weights must have before memory is taken
        module = nn.Sequential(
            OrderedDict((str(one["name"]), _MODULES[str(one["kind"])](one)) for one in found.layers)
        )
    weights = _weights(folder / "weights.safetensors", module.state_dict())
    module.to_empty(device="cpu").load_state_dict(weights)
    module.eval()
    return Subnetwork(
        module=module,
        layers=tuple(found.layers),
        architecture=found.architecture,
        capacity=found.capacity,
        slots=found.slots,
        classes=found.classes,
        mean=found.mean,
        std=found.std,
    )


def _weights(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file, which must have these names, types and shapes."""
    remedy = "delete its folder and run `make repro`"
    try:
        found = safetensors.torch.load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({brief(error)}); {remedy}") from error
    shapes, wanted = ({name: (tuple(t.shape), t.dtype) for name, t in part.items()}
                      for part in (found, expected))  # fmt: skip
    if wrong := sorted(name for name in {*shapes, *wanted} if shapes.get(name) != wanted.get(name)):
        got, right = shapes.get(wrong[0], "nothing"), wanted.get(wrong[0], "nothing")
        raise DataError(
            f"{path}: {brief(wrong[0])}: got {quoted(got)}, arch.json says {right}; {remedy}"
        )
    return found


def kept_masks(subnetworks: list[Subnetwork]) -> tuple[Tensor, ...]:
    """Return (S, H) bool for each hidden layer: the units the networks have kept."""
    masks = []
    for layer, width in enumerate(subnetworks[0].capacity):
        mask = torch.zeros((len(subnetworks), width), dtype=torch.bool)
        for row, subnetwork in enumerate(subnetworks):
            mask[row, list(subnetwork.slots[layer])] = True
        masks.append(mask)
    return tuple(masks)
