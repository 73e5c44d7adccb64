"""Which units an event takes: a utility per unit, higher = keep (prune) or take (grow).

A rule computes; ``edit`` chooses. Rules read the state before the event.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class LayerView:
    """All that a rule may know of one hidden layer before an event."""

    incoming: Tensor
    """(S, H, I)."""
    alive: Tensor
    """(S, H) bool."""
    alive_inputs: Tensor
    """(S, I) bool: which inputs take part."""
    activation_rate: Tensor
    """(S, H), see ``probe.UnitStatistics``."""
    gradient: Tensor
    """(S, H), see ``probe.UnitStatistics``."""


Rule = Callable[[LayerView, Sequence[np.random.Generator]], Tensor]


def activation_frequency(view: LayerView, draws: Sequence[np.random.Generator]) -> Tensor:  # noqa: ARG001
    """Return the share of probe images on which each unit is active, as if unmasked.

    Source: Lillo & Cheney 2026, section 3.
    """
    return view.activation_rate


def incoming_magnitude(view: LayerView, draws: Sequence[np.random.Generator]) -> Tensor:  # noqa: ARG001
    """Return the mean |incoming weight| of each unit over the inputs that are alive.

    Source: Lillo & Cheney 2026, section 3. Deviation: the paper does not say whether weights from
    masked inputs count; they take no part in the network, so here they do not.
    """
    used = view.alive_inputs[:, None, :]
    magnitude = torch.where(used, view.incoming.abs(), 0)
    return magnitude.sum(2) / used.sum(2)


def random(view: LayerView, draws: Sequence[np.random.Generator]) -> Tensor:
    """Return a uniform draw for each slot, each seed from its own stream."""
    utility = np.stack([draw.random(view.alive.shape[1]) for draw in draws])
    return torch.from_numpy(utility).to(view.incoming.device)


GROW: dict[str, Rule] = {
    "activation_frequency": activation_frequency,
    "random": random,
}

PRUNE: dict[str, Rule] = {
    "incoming_magnitude": incoming_magnitude,
    "random": random,
}
