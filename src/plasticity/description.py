"""What ``arch.json`` says of an extracted network, checked before anything is built from it.

A manifest tells damage, not intent: who writes both files can write anything. So every value has
its type and its bounds here, and the layers must be those of the network that is described.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from plasticity.errors import DataError
from plasticity.escapes import brief, quoted
from plasticity.network import NORM_EPS
from plasticity.weights import Architecture

FORMAT = 2
ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    "relu": (),
    "leaky_relu": ("slope",),
    "gelu": (),
    "crelu": (),
    "smooth_leaky": ("slope", "rate"),
}
"""Kinds of activations -> the names of their numbers."""

Size = Annotated[int, Field(ge=1, le=1_000_000)]
Sizes = Annotated[tuple[Size, ...], Field(strict=False, max_length=12)]
Numbers = Annotated[tuple[float, ...], Field(strict=False, max_length=1000)]
Slots = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)]
Layer = dict[str, int | float | str]


class Description(BaseModel):
    """The content of ``arch.json``."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    format: int
    image: Annotated[tuple[Size, Size, Size], Field(strict=False)]
    """Channels, height, width."""
    trunk: Sizes
    widths: Annotated[Sizes, Field(min_length=1)]
    copies: Annotated[int, Field(ge=1, le=2)]
    layers: Annotated[list[Layer], Field(max_length=100)]
    capacity: Sizes
    slots: Annotated[tuple[Slots, ...], Field(strict=False, max_length=12)]
    classes: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    mean: Numbers
    std: Numbers

    @property
    def architecture(self) -> Architecture:
        """Return the shape of the network."""
        return Architecture(self.image, self.trunk, self.widths, len(self.classes), self.copies)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for wrong in (*self._wrong_sizes(), *self._wrong_layers()):
            raise ValueError(wrong)
        return self

    def _wrong_sizes(self) -> Sequence[str]:
        units = self.architecture.units
        channels = self.image[0]
        checks = {
            f"got {len(self.capacity)} capacities and slots of {len(self.slots)} layers, expected "
            f"those of {len(units)}": len(self.capacity) == len(self.slots) == len(units),
            f"got slots of {[*map(len, self.slots)]} units, expected {[*units]}, in ascending "
            "order and within the capacity": all(
                len(slots) == unit and [*slots] == sorted({*slots}) and slots[-1] < capacity
                for slots, unit, capacity in zip(self.slots, units, self.capacity, strict=False)
            ),
            f"got {len(self.mean)} means and {len(self.std)} deviations, expected {channels}, one "
            "for each channel, and deviations above 0": len(self.mean) == len(self.std) == channels
            and all(std > 0 for std in self.std),
        }
        return [brief(text, 300) for text, holds in checks.items() if not holds]

    def _wrong_layers(self) -> Sequence[str]:
        norms = [layer.get("width") for layer in self.layers if layer.get("kind") == "layer_norm"]
        if norms not in ([], [*self.widths]):
            return [
                f"got layers of {quoted(norms)} units to normalise, expected none or the hidden "
                f"layers, {[*self.widths]}"
            ]
        found = next((one for one in self.layers if one.get("name") == "fc1_act"), {})
        act = {key: value for key, value in found.items() if key != "name"}
        kind = str(act.get("kind"))
        if kind not in ACTIVATIONS:
            return [
                f"fc1_act: got the kind {quoted(kind)}, expected one of {', '.join(ACTIVATIONS)}"
            ]
        if {*act} != {"kind", *ACTIVATIONS[kind]} or not all(
            type(act[name]) is float for name in ACTIVATIONS[kind]
        ):
            return [f"fc1_act: got {quoted(act)}, expected numbers {[*ACTIVATIONS[kind]]} alone"]
        if self.copies != (2 if kind == "crelu" else 1):
            return [f"got {self.copies} copies of a unit, which {kind} has not"]
        expected = layer_list(self.architecture, act, normalise=bool(norms))
        differ = [
            f"got the layer {quoted(one)}, expected {quoted(other)}"
            for one, other in zip(self.layers, expected, strict=False)
            if one != other or [*map(type, one.values())] != [*map(type, other.values())]
        ]
        if len(self.layers) != len(expected):
            differ.append(f"got {len(self.layers)} layers, expected {len(expected)}")
        return differ


def layer_list(
    architecture: Architecture, act: Mapping[str, Any], *, normalise: bool
) -> list[dict[str, Any]]:
    """Return the layers in order, each with what ``torch.nn`` needs to build it.

    Parameters
    ----------
    architecture
        Of the alive units.
    act
        Kind and numbers of the activation.
    normalise
        Whether hidden layers have layer normalisation before it.
    """
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


def read(content: Any, where: str) -> Description:
    """Return what ``arch.json`` says.

    Parameters
    ----------
    content
        Of the file.
    where
        Its path, for the message.

    Raises
    ------
    DataError
        When its format is another version's, or a value is not what it should be.
    """
    got = content.get("format") if isinstance(content, dict) else None
    if got != FORMAT:
        raise DataError(
            f"{where}: got format {quoted(got)}, expected {FORMAT}; use the version of plasticity "
            "that wrote it"
        )
    try:
        return Description.model_validate(content)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        key = ".".join(map(brief, first["loc"]))
        told = (
            str(first["ctx"]["error"])
            if first["type"] == "value_error"
            else f"{key}: got {quoted(first['input'])}; {brief(first['msg'])}"
        )
        raise DataError(
            f"{where}: {told}; it was not written by plasticity: delete its folder and run "
            "`make repro`"
        ) from invalid
