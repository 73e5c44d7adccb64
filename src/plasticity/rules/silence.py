"""When a unit has been silent for too long, judged by its own past: self-normalized resets.

A unit fires at a step when it is active on some image of the batch. A silence is a run of steps
without that; it begins when the unit fires or is born. Of every unit is known how many of its
silences lasted 1, 2, ... steps, the present one included (``state.Units.runs``).
"""

import torch
from torch import Tensor

from plasticity.network import Trace
from plasticity.state import Units


def fired(trace: Trace) -> tuple[Tensor, ...]:
    """Return which alive units fire on their batch, (S, K) bool for each layer of units."""
    depth = len(trace.trunk[0]) if trace.trunk else 0
    channels = [
        torch.stack([maps[layer].h.amax((0, 2, 3)) > 0 for maps in trace.trunk])
        for layer in range(depth)
    ]
    return *channels, *(h.amax(1) > 0 for h in trace.hidden)


def count_(units: Units, fires: Tensor) -> None:
    """Count one step in place: a silence ends, or becomes one step longer.

    Parameters
    ----------
    units
        Of one layer; ``silent`` and ``runs`` change. A silence counts as no longer than the longest
        that ``runs`` has a place for.
    fires
        (S, K) bool: which units fire at this step.
    """
    longest = units.runs.shape[2] - 1
    units.silent.add_(1).masked_fill_(fires, 0).clamp_(max=longest)
    units.runs.scatter_add_(2, units.silent[:, :, None], torch.ones_like(units.runs[:, :, :1]))


def overdue(units: Units, eta: float) -> Tensor:
    """Return which units of a layer have been silent for too long, (S, K) bool.

    A unit has when at most a share ``eta`` of its silences since birth lasted as long as the
    present one, or when it is as long as is counted. The share includes the present silence, so a
    unit that has fired less than 1 / eta - 1 times is judged by the second condition alone.

    Source: Farias & Jozefiak 2025, algorithm 1: reset a unit when the time without firing is at
    or beyond the (1 - eta) quantile of its own. Deviations: their code takes the quantile of the
    silences between two task boundaries, of which ours are not told; it has no share below one
    batch, and a limit in images.
    """
    longest = units.runs.shape[2] - 1
    reached = units.runs.gather(2, units.silent[:, :, None])[:, :, 0]
    begun = 1 + units.runs[:, :, 0]  # at birth, and at every step at which it fired
    rare = reached.double() <= eta * begun.double()
    return (units.silent > 0) & (rare | (units.silent >= longest))
