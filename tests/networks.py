"""Small networks and an independent oracle: plain torch.nn + torch.optim, one seed at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from plasticity.rules import activation
from plasticity.state import State, new_state
from plasticity.weights import Activation, Architecture, Weights, initial_weights

MLP = Architecture(image=(1, 7, 1), trunk=(), widths=(11, 9), classes=3)
CONVNET = Architecture(image=(2, 8, 8), trunk=(3, 5), widths=(11, 9, 6), classes=4)
SEEDS = (0, 3)
BATCH = 5

ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "relu": ("relu", {}),
    "leaky_relu": ("leaky_relu", {"slope": 0.2}),
    "gelu": ("gelu", {}),
    "crelu": ("crelu", {}),
    "smooth_leaky": ("smooth_leaky", {"slope": 0.3, "c": 2.0, "p": 0.7}),
    "smooth_leaky_not_monotone": ("smooth_leaky", {"slope": 0.0, "c": 2.0, "p": 0.7}),
    "random_smooth_leaky": (
        "random_smooth_leaky",
        {"c": 2.0, "p": 0.7, "lower": 0.2, "upper": 0.6},
    ),
}
"""Every rule with options unlike each other; of the smooth ones one that falls somewhere."""


class Act(nn.Module):
    """An activation as its paper writes it, and what each unit's output is multiplied by.

    Layer normalisation before it sees the units that are multiplied by something above 0.
    """

    def __init__(self, case: str, slope: float | None = None, normalise: bool = False) -> None:
        super().__init__()
        self.normalise = normalise
        self.rule, self.options = ACTIVATIONS[case]
        middle = (self.options.get("lower", 0.0) + self.options.get("upper", 0.0)) / 2
        self.slope = self.options.get("slope", middle) if slope is None else slope
        self.factor: Tensor | None = None

    def function(self, x: Tensor) -> Tensor:
        match self.rule:
            case "relu":
                return torch.relu(x)
            case "leaky_relu":
                return torch.where(x > 0, x, self.slope * x)
            case "gelu":
                return x * torch.special.ndtr(x)
            case "crelu":
                return torch.stack((torch.relu(x), torch.relu(-x)), 2).flatten(1, 2)
        rate, a = self.options["c"] / self.options["p"], self.slope
        return a * x + (1 - a) * x * torch.sigmoid(rate * x)

    def normalised(self, x: Tensor) -> Tensor:
        alive = torch.ones(x.shape[1]) if self.factor is None else self.factor
        alive = alive > 0
        norm = nn.LayerNorm(int(alive.sum()), elementwise_affine=False)
        result = torch.zeros_like(x)
        result[:, alive] = norm(x[:, alive])
        return result

    def forward(self, x: Tensor) -> Tensor:
        h = self.function(self.normalised(x) if self.normalise else x)
        if self.factor is None:
            return h
        each = self.factor.repeat_interleave(h.shape[1] // x.shape[1])
        return h * each.view(-1, *(1,) * (h.dim() - 2))


def engine_activation(
    case: str, slopes: Tensor | None = None, normalise: bool = False
) -> Activation:
    rule, options = ACTIVATIONS[case]
    return replace(activation.TABLE[rule](options), slopes=slopes, normalise=normalise)


def architecture_for(case: str, architecture: Architecture) -> Architecture:
    return replace(architecture, copies=engine_activation(case).copies)


def plain_module(
    weights: Weights,
    row: int,
    case: str = "relu",
    slopes: Tensor | None = None,
    scale: Sequence[Tensor] | None = None,
    normalise: bool = False,
) -> nn.Sequential:
    """Return one seed's network, with its own weights, as anybody would write it."""
    acts: list[Act] = []

    def act() -> Act:
        layer = len(acts)
        slope = None if slopes is None else float(slopes[row, layer])
        acts.append(Act(case, slope, normalise and layer >= len(weights.filters)))
        acts[-1].factor = None if scale is None else scale[layer][row]
        return acts[-1]

    layers: list[nn.Module] = []
    for filters, bias in zip(weights.filters, weights.filter_bias, strict=True):
        conv = nn.Conv2d(filters.shape[2], filters.shape[1], 3, padding=1)
        conv.weight.data = filters[row].clone()
        conv.bias.data = bias[row].clone()
        layers += [conv, act(), nn.MaxPool2d(2)]
    layers.append(nn.Flatten())
    for index, (incoming, bias) in enumerate(zip(weights.incoming, weights.bias, strict=True)):
        linear = nn.Linear(incoming.shape[2], incoming.shape[1])
        linear.weight.data = incoming[row].clone()
        linear.bias.data = bias[row].clone()
        layers.append(linear)
        if index < len(weights.incoming) - 1:
            layers.append(act())
    return nn.Sequential(*layers)


def named_parameters(module: nn.Sequential) -> list[Tensor]:
    """Return the parameters in the order of ``Weights.tensors()``."""
    parts: dict[str, list[Tensor]] = {"filters": [], "fbias": [], "incoming": [], "bias": []}
    for layer in module:
        if isinstance(layer, nn.Conv2d):
            parts["filters"].append(layer.weight)
            parts["fbias"].append(layer.bias)
        if isinstance(layer, nn.Linear):
            parts["incoming"].append(layer.weight)
            parts["bias"].append(layer.bias)
    return [tensor for group in parts.values() for tensor in group]


def fresh_weights(
    architecture: Architecture, seeds: Sequence[int] = SEEDS, dtype: torch.dtype = torch.float64
) -> Weights:
    return initial_weights(architecture, seeds, "kaiming_relu", dtype=dtype)


def random_widths(
    architecture: Architecture, generator: torch.Generator, least: int = 1
) -> tuple[int, ...]:
    """Return between ``least`` units and all for each layer of units."""
    units = architecture.units
    return tuple(int(torch.randint(least, w + 1, (), generator=generator)) for w in units)


def random_alive(
    architecture: Architecture, widths: Sequence[int], generator: torch.Generator, seeds: int = 2
) -> tuple[Tensor, ...]:
    """Return masks with ``widths`` alive units, other slots in every seed."""
    masks = []
    for capacity, width in zip(architecture.units, widths, strict=True):
        mask = torch.zeros(seeds, capacity, dtype=torch.bool)
        for row in range(seeds):
            mask[row, torch.randperm(capacity, generator=generator)[:width]] = True
        masks.append(mask)
    return tuple(masks)


def random_strengths(
    alive: Sequence[Tensor], generator: torch.Generator, low: float = 0.1
) -> tuple[Tensor, ...]:
    """Return a strength for every slot, between ``low`` and 1."""
    return tuple(
        low + (1 - low) * torch.rand(mask.shape, generator=generator, dtype=torch.float64)
        for mask in alive
    )


def random_slopes(case: str, architecture: Architecture, generator: torch.Generator):
    """Return (S, layers of units) slopes where the activation draws them, else None."""
    options: Mapping[str, float] = ACTIVATIONS[case][1]
    if "lower" not in options:
        return None
    shape = len(SEEDS), len(architecture.units)
    part = torch.rand(shape, generator=generator, dtype=torch.float64)
    return options["lower"] + (options["upper"] - options["lower"]) * part


def random_batch(
    architecture: Architecture, generator: torch.Generator, seeds: int = 2, batch: int = BATCH
) -> tuple[Tensor, Tensor]:
    shape = architecture.image if architecture.trunk else (architecture.sizes[0],)
    x = torch.randn(seeds, batch, *shape, generator=generator, dtype=torch.float64)
    y = torch.randint(architecture.classes, (seeds, batch), generator=generator)
    return x, y


def state_of(architecture: Architecture, alive: tuple[Tensor, ...], num_moments: int = 0) -> State:
    return new_state(fresh_weights(architecture), alive, num_moments)


def with_history(state: State, generator: torch.Generator) -> State:
    """Return a state whose moments are not 0 and whose units have step counts of their own."""

    def counts(mask: Tensor) -> Tensor:
        return torch.randint(0, 300, mask.shape, generator=generator)

    def drawn(tensor: Tensor) -> Tensor:
        return 0.01 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)

    moments = tuple(moment.map(drawn) for moment in state.moments)
    if len(moments) == 2:
        moments = moments[0], moments[1].map(lambda v: (v.abs() + 0.01).square())
    return replace(
        state,
        moments=moments,
        units=tuple(replace(units, step=counts(units.alive)) for units in state.units),
        shared_step=counts(state.diverged),
    )


def all_alive(architecture: Architecture, seeds: int = 2) -> tuple[Tensor, ...]:
    return tuple(torch.ones(seeds, width, dtype=torch.bool) for width in architecture.units)


def of_ends(
    architecture: Architecture, units: Sequence[Tensor], pixel: float, classes: float
) -> list[tuple[Tensor, Tensor | None]]:
    """Return, for each entry of each parameter of one seed, the values of the units it joins.

    Values are (H,) for each layer of units, one for all pixels and one for all classes; the order
    is that of ``tensors()``. First the unit that is entered, then the one that is left: None for a
    bias. A map is flattened channel by channel, and a unit's copies are neighbours.
    """
    depth, (channels, height, width) = len(architecture.trunk), architecture.image
    pixels = channels if depth else channels * height * width
    blocks = [architecture.copies] * len(units)
    if depth:
        blocks[depth - 1] *= (height >> depth) * (width >> depth)
    left = [units[0].new_full((pixels,), pixel)]
    left += [unit.repeat_interleave(block) for unit, block in zip(units, blocks, strict=True)]
    entered = [*units, units[0].new_full((architecture.classes,), classes)]
    matrices = []
    for index, (row, column) in enumerate(zip(entered, left, strict=True)):
        shape = (len(row), len(column), *((3, 3) if index < depth else ()))
        ends = row.view(-1, *(1,) * (len(shape) - 1)), column.view(-1, *(1,) * (len(shape) - 2))
        matrices.append(tuple(end.expand(shape) for end in ends))
    biases = [(row, None) for row in entered]
    return [*matrices[:depth], *biases[:depth], *matrices[depth:], *biases[depth:]]


def joined(architecture: Architecture, alive: Sequence[Tensor]) -> list[Tensor]:
    """Return (S, ...) bool for each parameter: which of its entries join alive units.

    Pixels and classes always count; a bias belongs to its own unit alone.
    """
    rows = []
    for row in range(len(alive[0])):
        ends = of_ends(architecture, [mask[row] for mask in alive], pixel=True, classes=True)
        rows.append([entered if left is None else entered & left for entered, left in ends])
    return [torch.stack(parts) for parts in zip(*rows, strict=True)]
