"""How strongly a newborn takes part: the factor on its activation, by its age."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from plasticity.rules.view import Options
from plasticity.state import FOUNDER, Units

Rule = Callable[[Tensor, Options], Tensor]


def none(age: Tensor, options: Options) -> Tensor:  # noqa: ARG001 (every rule's form)
    """Return 1 at any age."""
    return torch.ones(age.shape, dtype=torch.float64, device=age.device)


def linear(age: Tensor, options: Options) -> Tensor:
    """Return age / steps, at most 1; so a birth changes nothing."""
    return (age.double() / float(options["steps"])).clamp(max=1)


def cosine(age: Tensor, options: Options) -> Tensor:
    """Return (1 - cos(pi age / steps)) / 2, at most 1; so a birth changes nothing."""
    return (1 - (math.pi * linear(age, options)).cos()) / 2


def strengths(units: Sequence[Units], rule: str, options: Options) -> tuple[Tensor, ...]:
    """Return how strongly each unit takes part, for each layer; founders always fully."""
    return tuple(
        torch.where(part.cohort == FOUNDER, 1, TABLE[rule](part.age, options)) for part in units
    )


TABLE: dict[str, Rule] = {
    "none": none,
    "linear": linear,
    "cosine": cosine,
}
