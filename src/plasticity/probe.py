"""What each unit does on a fixed batch: how often it is active, how much gradient it gets.

Masked units are measured as if they were alive. Probes use their own images and change nothing:
switching them off leaves every trained weight as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plasticity.network import backward, cross_entropy, forward
from plasticity.state import State


@dataclass(frozen=True)
class UnitStatistics:
    """Per hidden layer, (S, H), all slots."""

    activation_rate: tuple[Tensor, ...]
    """Share of images on which the unit's activation exceeds the threshold."""
    gradient: tuple[Tensor, ...]
    """Mean over images of |dL/dz|, L the image's own loss."""


def unit_statistics(
    hidden: Sequence[Tensor], deltas: Sequence[Tensor], threshold: float
) -> UnitStatistics:
    """Return the statistics of a batch from what forward and backward left.

    Parameters
    ----------
    hidden
        (S, B, H) activations, before the mask.
    deltas
        (S, B, H) dL/dz with L the mean over B: their sum over B is the mean per image.
    threshold
        An activation above it counts as active (the paper: 0.05).
    """
    return UnitStatistics(
        tuple(
            # Into a float tensor, and abs then sum: 5 and 15 times faster on a CPU than a sum of
            # booleans and than a 1-norm along this axis.
            torch.gt(h, threshold, out=torch.empty_like(h)).sum(1).div_(h.shape[1])
            for h in hidden
        ),
        tuple(delta.abs().sum(1) for delta in deltas),
    )


def measure(state: State, x: Tensor, labels: Tensor, threshold: float) -> UnitStatistics:
    """Return the statistics of all slots of a state on a batch.

    Parameters
    ----------
    state
        S networks at full capacity.
    x, labels
        (S, B, ...) and (S, B).
    threshold
        See ``unit_statistics``.
    """
    trace = forward(state.weights, x, state.alive)
    _, grad_logits = cross_entropy(trace.logits, labels)
    deltas = backward(state.weights, trace, grad_logits, None, state.alive)
    return unit_statistics(trace.hidden, deltas, threshold)
