"""One edit event, atomically: the only code that changes structure.

Everything is read from the state before the event; the state after it is new. The counts achieved
equal the counts requested, or the run fails.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from plasticity import rng
from plasticity.errors import CheckError
from plasticity.network import Weights
from plasticity.probe import UnitStatistics
from plasticity.rules import insertion, selection
from plasticity.schedule import Event
from plasticity.state import State


@dataclass(frozen=True)
class Rules:
    """The names of the rules that an event uses, from the catalogue."""

    grow: str
    prune: str
    insertion: str


@dataclass(frozen=True)
class Record:
    """What an event did, per hidden layer."""

    born: tuple[Tensor, ...]
    """(S, H) bool."""
    removed: tuple[Tensor, ...]
    """(S, H) bool."""


def apply_event(
    state: State,
    event: Event,
    statistics: UnitStatistics,
    rules: Rules,
    initial: Weights,
    seeds: Sequence[int],
) -> tuple[State, Record]:
    """Return the state after an event, and what it did.

    Parameters
    ----------
    state
        S networks before the event.
    event
        Counts for each hidden layer.
    statistics
        Of all slots, before the event.
    rules
        Names of the rules.
    initial
        Weights at step 0, full capacity.
    seeds
        The S replicates, for random draws.

    Raises
    ------
    CheckError
        When a layer cannot give as many units as the event asks for.
    """
    born, removed, alive_after = [], [], []
    for layer, alive in enumerate(state.alive):
        draws = [rng.stream(seed, "edit", event.index, layer) for seed in seeds]
        view = _view(state, statistics, layer)
        leaving = _pick(-selection.PRUNE[rules.prune](view, draws), alive, event.remove[layer])
        coming = _pick(selection.GROW[rules.grow](view, draws), ~alive, event.add[layer])
        removed.append(leaving)
        born.append(coming)
        alive_after.append((alive & ~leaving) | coming)
    weights = state.weights
    if any(event.add):
        weights = insertion.TABLE[rules.insertion](weights, initial)
    zeroed = [
        (age.masked_fill(new, 0), step.masked_fill(new, 0))
        for age, step, new in zip(state.age, state.unit_step, born, strict=True)
    ]
    after = replace(
        state,
        weights=weights,
        alive=tuple(alive_after),
        age=tuple(age for age, _ in zeroed),
        unit_step=tuple(step for _, step in zeroed),
    )
    if event.rewind:
        after = _rewound(after, initial)
    return after, Record(tuple(born), tuple(removed))


def _view(state: State, statistics: UnitStatistics, layer: int) -> selection.LayerView:
    incoming = state.weights.incoming[layer]
    if layer == 0:
        alive_inputs = torch.ones(
            (incoming.shape[0], incoming.shape[2]), dtype=torch.bool, device=incoming.device
        )
    else:
        alive_inputs = state.alive[layer - 1]
    return selection.LayerView(
        incoming=incoming,
        alive=state.alive[layer],
        alive_inputs=alive_inputs,
        activation_rate=statistics.activation_rate[layer],
        gradient=statistics.gradient[layer],
    )


def _pick(utility: Tensor, eligible: Tensor, count: int) -> Tensor:
    """Return (S, H) bool: the ``count`` eligible units of highest utility, ties by slot.

    A diverged seed's utilities are not finite; its units are taken by slot, so that every seed
    keeps the same counts.
    """
    available = int(eligible.sum(1).min())
    if count > available:
        raise CheckError(
            f"edit: a layer was asked to move {count} units and has {available} to move; this is a "
            "fault of the schedule"
        )
    ranked = torch.where(eligible, torch.nan_to_num(utility.double(), nan=0.0), -torch.inf)
    order = ranked.argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.zeros_like(eligible).scatter_(1, order, value=True)


def _rewound(state: State, initial: Weights) -> State:
    """Return the state with its initial weights and no moments; ages go on."""
    return replace(
        state,
        weights=initial.map(torch.clone),
        moments=tuple(moment.map(torch.zeros_like) for moment in state.moments),
        unit_step=tuple(torch.zeros_like(step) for step in state.unit_step),
        shared_step=torch.zeros_like(state.shared_step),
    )


def random_mask(seeds: Sequence[int], purpose: str, capacity: int, layer: int, k: int) -> Tensor:
    """Return (S, H) bool with ``k`` slots of each seed, drawn from its stream.

    Of two masks of one seed and layer the smaller is a part of the larger.
    """
    mask = np.zeros((len(seeds), capacity), dtype=bool)
    for row, seed in enumerate(seeds):
        mask[row, rng.stream(seed, purpose, layer).permutation(capacity)[:k]] = True
    return torch.from_numpy(mask)


def even_mask(num_seeds: int, capacity: int, k: int) -> Tensor:
    """Return (S, H) bool with ``k`` slots spread evenly, the same in every seed."""
    mask = torch.zeros((num_seeds, capacity), dtype=torch.bool)
    mask[:, torch.arange(k) * capacity // k] = True
    return mask
