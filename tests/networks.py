"""Small networks and an independent oracle: plain torch.nn + torch.optim, one seed at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from plasticity.network import Architecture, Weights, initial_weights
from plasticity.state import State, new_state

MLP = Architecture(image=(1, 7, 1), trunk=(), widths=(11, 9), classes=3)
CONVNET = Architecture(image=(2, 8, 8), trunk=(3, 5), widths=(11, 9, 6), classes=4)
SEEDS = (0, 3)
BATCH = 5


def plain_module(weights: Weights, row: int) -> nn.Sequential:
    """Return one seed's network, with its own weights, as anybody would write it."""
    layers: list[nn.Module] = []
    for filters, bias in zip(weights.filters, weights.filter_bias, strict=True):
        conv = nn.Conv2d(filters.shape[2], filters.shape[1], 3, padding=1)
        conv.weight.data = filters[row].clone()
        conv.bias.data = bias[row].clone()
        layers += [conv, nn.ReLU(), nn.MaxPool2d(2)]
    layers.append(nn.Flatten())
    for index, (incoming, bias) in enumerate(zip(weights.incoming, weights.bias, strict=True)):
        linear = nn.Linear(incoming.shape[2], incoming.shape[1])
        linear.weight.data = incoming[row].clone()
        linear.bias.data = bias[row].clone()
        layers.append(linear)
        if index < len(weights.incoming) - 1:
            layers.append(nn.ReLU())
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


def random_alive(
    architecture: Architecture, widths: Sequence[int], generator: torch.Generator, seeds: int = 2
) -> tuple[Tensor, ...]:
    """Return masks with ``widths`` alive units, other slots in every seed."""
    masks = []
    for capacity, width in zip(architecture.widths, widths, strict=True):
        mask = torch.zeros(seeds, capacity, dtype=torch.bool)
        for row in range(seeds):
            mask[row, torch.randperm(capacity, generator=generator)[:width]] = True
        masks.append(mask)
    return tuple(masks)


def random_batch(
    architecture: Architecture, generator: torch.Generator, seeds: int = 2, batch: int = BATCH
) -> tuple[Tensor, Tensor]:
    shape = architecture.image if architecture.trunk else (architecture.sizes[0],)
    x = torch.randn(seeds, batch, *shape, generator=generator, dtype=torch.float64)
    y = torch.randint(architecture.classes, (seeds, batch), generator=generator)
    return x, y


def state_of(architecture: Architecture, alive: tuple[Tensor, ...], num_moments: int = 0) -> State:
    return new_state(fresh_weights(architecture), alive, num_moments)


def all_alive(architecture: Architecture, seeds: int = 2) -> tuple[Tensor, ...]:
    return tuple(torch.ones(seeds, width, dtype=torch.bool) for width in architecture.widths)
