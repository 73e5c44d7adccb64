"""The shape of a stack of networks, their activation function, their weights and first draw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from plasticity import rng


@dataclass(frozen=True)
class Architecture:
    """The shape of a network: an optional convolutional trunk, hidden layers, a classifier.

    Each trunk layer is a 3 x 3 convolution (padding 1), the activation and 2 x 2 max-pooling. The
    hidden layers are fully connected. Channels and hidden units can be edited, the classifier
    cannot; the paper edits hidden units alone (Lillo & Cheney 2026, section 3).
    """

    image: tuple[int, int, int]
    """Channels, height, width."""
    trunk: tuple[int, ...]
    widths: tuple[int, ...]
    classes: int
    copies: int = 1
    """Outputs of a unit: 2 where the activation gives relu(z) and relu(-z)."""

    @property
    def units(self) -> tuple[int, ...]:
        """Capacity of every layer of units: the channels of the trunk, then the hidden units."""
        return (*self.trunk, *self.widths)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers of units: conv1, conv2, fc1 and so on."""
        convolutions = (f"conv{index}" for index in range(1, len(self.trunk) + 1))
        return (*convolutions, *(f"fc{index}" for index in range(1, len(self.widths) + 1)))

    def with_units(self, units: Sequence[int]) -> "Architecture":
        """Return the same network with other numbers of units in its layers."""
        cut = len(self.trunk)
        return replace(self, trunk=tuple(units[:cut]), widths=tuple(units[cut:]))

    @property
    def feature_map(self) -> tuple[int, int, int]:
        """Channels, height and width of what enters the first hidden layer."""
        channels, height, width = self.image
        for filters in self.trunk:
            channels, height, width = filters * self.copies, height // 2, width // 2
        return channels, height, width

    @property
    def channels(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of each convolution."""
        inputs = (self.image[0], *(self.copies * filters for filters in self.trunk))
        return tuple(zip(inputs, self.trunk, strict=False))

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of each fully connected layer, the classifier last."""
        inputs = (prod(self.feature_map), *(self.copies * width for width in self.widths))
        return tuple(zip(inputs, (*self.widths, self.classes), strict=True))

    def shapes(self, seeds: int) -> tuple[tuple[int, ...], ...]:
        """Return the shape of each tensor of so many networks' ``Weights``, in their order."""
        return (
            *((seeds, outputs, inputs, 3, 3) for inputs, outputs in self.channels),
            *((seeds, outputs) for _, outputs in self.channels),
            *((seeds, outputs, inputs) for inputs, outputs in self.linears),
            *((seeds, outputs) for _, outputs in self.linears),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs of the first hidden layer, hidden widths, classes."""
        return (prod(self.feature_map), *self.widths, self.classes)


@dataclass(frozen=True)
class Activation:
    """An activation function, elementwise but for the units' axis, and what comes before it."""

    value: Callable[[Tensor, Tensor | None, int], Tensor]
    """Pre-activation z, slope, units' axis -> h; may overwrite z where ``pull`` needs h alone."""
    pull: Callable[[Tensor, Tensor, Tensor, Tensor | None, int], Tensor]
    """dL/dh, z, h, slope, units' axis -> dL/dz."""
    copies: int = 1
    monotone: bool = True
    """Whether pooling may come before it."""
    slopes: Tensor | None = None
    """(S, layers of units) for this step, or None where the function has no random slope."""
    normalise: bool = False
    """Whether pre-activations of hidden layers, not the trunk's, are ``normalised`` before it."""

    def slope(self, layer: int, seed: int | None = None) -> Tensor | None:
        """Return the slope of a layer, to be broadcast over all seeds or over one."""
        if self.slopes is None:
            return None
        return self.slopes[:, layer, None, None] if seed is None else self.slopes[seed, layer]

    def derivative(self, z: Tensor, h: Tensor, slope: Tensor | None, axis: int) -> Tensor:
        """Return dh/dz; for two copies their sum, 1 or -1."""
        return self.pull(torch.ones_like(h), z, h, slope, axis)


RELU = Activation(
    lambda z, slope, axis: z.relu_(),  # noqa: ARG005 (every activation's form)
    lambda flow, z, h, slope, axis: torch.ops.aten.threshold_backward(flow, h, 0),  # noqa: ARG005
)


@dataclass(frozen=True)
class Weights:
    """One tensor per parameter of S networks; gradients and moments have the same form."""

    filters: tuple[Tensor, ...]
    """(S, O, I, 3, 3) for each trunk layer."""
    filter_bias: tuple[Tensor, ...]
    """(S, O) for each trunk layer."""
    incoming: tuple[Tensor, ...]
    """(S, H, I) for each hidden layer, then (S, C, H) for the classifier."""
    bias: tuple[Tensor, ...]
    """(S, H) for each hidden layer, then (S, C)."""

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all tensors in a fixed order."""
        return (*self.filters, *self.filter_bias, *self.incoming, *self.bias)

    def rebuilt(self, tensors: Sequence[Tensor]) -> "Weights":
        """Return weights of this form from tensors in the order of ``tensors()``."""
        trunk, layers = len(self.filters), len(self.incoming)
        assert len(tensors) == 2 * (trunk + layers)
        cut = (trunk, 2 * trunk, 2 * trunk + layers)
        return Weights(
            tuple(tensors[: cut[0]]),
            tuple(tensors[cut[0] : cut[1]]),
            tuple(tensors[cut[1] : cut[2]]),
            tuple(tensors[cut[2] :]),
        )

    def map(self, function: Callable[..., Tensor], *others: "Weights") -> "Weights":
        """Return the weights made by a function of corresponding tensors."""
        columns = zip(self.tensors(), *(other.tensors() for other in others), strict=True)
        return self.rebuilt([function(*column) for column in columns])


def initial_bounds(architecture: Architecture, rule: str) -> list[float]:
    """Return the bound of the uniform initial distribution of each tensor of ``Weights``.

    ``torch_default``: 1 / sqrt(fan_in). ``kaiming_relu``: sqrt(6 / fan_in). Biases have
    1 / sqrt(fan_in) in both, as torch.nn.Linear has them.
    """
    gain = {"torch_default": 1.0, "kaiming_relu": 6.0**0.5}[rule]
    trunk = [(9 * inputs) ** -0.5 for inputs, _ in architecture.channels]
    linear = [inputs**-0.5 for inputs, _ in architecture.linears]
    return [b * by for part in (trunk, linear) for by in (gain, 1.0) for b in part]


def initial_weights(
    architecture: Architecture,
    seeds: Sequence[int],
    rule: str,
    *,
    purpose: str = "init",
    dtype: torch.dtype = torch.float32,
    scaled_for: Architecture | None = None,
) -> Weights:
    """Return fresh weights, each seed and layer from its own stream.

    Parameters
    ----------
    architecture
        Full capacity. A static network starts as a part of these weights.
    seeds
        One network for each.
    rule
        Of ``initial_bounds``.
    purpose
        Stream of ``plasticity.rng``.
    dtype
        Of the result; draws are made in float64.
    scaled_for
        The network whose inputs set the bounds, or None for ``architecture`` itself. With the units
        that are alive, a masked network starts on the scale of the small network that it is.
    """
    bounds = initial_bounds(scaled_for or architecture, rule)
    depth, linears = len(architecture.trunk), len(architecture.linears)

    def layer(index: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        weight, bias = [], []
        place = index if index < depth else depth + index
        bound, bias_bound = bounds[place], bounds[place + (depth if index < depth else linears)]
        for seed in seeds:
            draw = rng.stream(seed, purpose, index)
            weight.append(draw.uniform(-bound, bound, shape))
            bias.append(draw.uniform(-bias_bound, bias_bound, shape[0]))
        return (
            torch.from_numpy(np.stack(weight)).to(dtype),
            torch.from_numpy(np.stack(bias)).to(dtype),
        )

    trunk = [
        layer(index, (outputs, inputs, 3, 3))
        for index, (inputs, outputs) in enumerate(architecture.channels)
    ]
    linear = [
        layer(index, (outputs, inputs))
        for index, (inputs, outputs) in enumerate(architecture.linears, start=len(trunk))
    ]
    return Weights(
        tuple(w for w, _ in trunk),
        tuple(b for _, b in trunk),
        tuple(w for w, _ in linear),
        tuple(b for _, b in linear),
    )
