"""The truth at full capacity, and the compact working copy that training runs on.

Masked slots are frozen: weights, moments and counts stay as they are. Between two events the
optimizer works on a ``WorkingCopy`` of the alive units (the same number in every seed); an event
scatters it back, changes the truth, and gathers again.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plasticity.units import Axis, rows_and_columns
from plasticity.weights import Weights

FOUNDER = -1
"""Cohort of a unit that was there at step 0."""


@dataclass(frozen=True)
class Units:
    """What is known of every slot of one layer of units, each (S, H)."""

    alive: Tensor
    """bool."""
    age: Tensor
    """int64: optimizer steps since the unit was inserted; masked slots keep theirs."""
    step: Tensor
    """int64: optimizer steps of the unit's moments; a rewind clears it, age goes on."""
    cohort: Tensor
    """int64: the event that inserted it, or ``FOUNDER``."""
    asleep: Tensor
    """bool: takes part but does not learn (the late-reveal control)."""
    utility: Tensor
    """Running utility of continual backprop; 0 where nobody keeps it."""
    activity: Tensor
    """Running mean activation; likewise."""
    silent: Tensor
    """int64: optimizer steps without an activation, up to now; 0 where nobody counts them."""
    runs: Tensor
    """(S, H, L + 1) int32: the steps at which it fired, then how many of its silences reached 1 to
    L steps; (S, H, 0) where nobody counts them."""

    def chosen(self, slots: Tensor) -> "Units":
        """Return the units in ``slots`` ((S, K) int64)."""
        return Units(
            *(tensor.gather(1, _index_of(slots, tensor)) for tensor in vars(self).values())
        )


@dataclass(frozen=True)
class State:
    """S networks at full capacity, and all that their training continues from."""

    weights: Weights
    moments: tuple[Weights, ...]
    """() for plain SGD, (momentum,) or (first, second) for Adam."""
    units: tuple[Units, ...]
    """For each layer of units: the channels of each convolution, then each hidden layer."""
    shared_step: Tensor
    """(S,) int64: optimizer steps of the moments that belong to no unit."""
    diverged: Tensor
    """(S,) int64: step at which the seed's loss stopped being finite, -1 while it is finite."""

    @property
    def alive(self) -> tuple[Tensor, ...]:
        """Return (S, H) bool for each layer of units."""
        return tuple(units.alive for units in self.units)

    def widths(self) -> tuple[int, ...]:
        """Return the number of alive units of each layer, the same in every seed."""
        counts = [alive.sum(1).tolist() for alive in self.alive]
        assert all(len(set(count)) == 1 for count in counts), counts
        return tuple(int(count[0]) for count in counts)


@dataclass
class WorkingCopy:
    """The alive units of a ``State``, gathered; the optimizer changes it in place."""

    slots: tuple[Tensor, ...]
    """(S, K) int64 for each layer of units: the slot of each unit, ascending."""
    weights: Weights
    moments: tuple[Weights, ...]
    grads: Weights
    units: tuple[Units, ...]
    """(S, K) at the time of gathering; ``taken`` steps have been added since. The running utility
    and activity and the counts of silences are changed in place."""
    shared_step: Tensor
    step_range: list[tuple[int, int]]
    """For each seed the lowest and the highest step count of its units and the shared weights, at
    the time of gathering."""
    taken: list[int]
    """Optimizer steps of each seed since the gathering."""
    diverged: list[int]


def new_state(
    weights: Weights, alive: tuple[Tensor, ...], num_moments: int, longest: int | None = None
) -> State:
    """Return the state of networks that have not taken a step; everybody alive is a founder.

    Parameters
    ----------
    weights, alive
        Initial weights, and (S, H) for each layer of units who takes part.
    num_moments
        Tensors of optimizer state per parameter.
    longest
        Steps up to which silences are counted; None where nobody counts them.
    """
    seeds, device = weights.bias[0].shape[0], weights.bias[0].device
    lengths = 0 if longest is None else longest + 1

    def fresh(mask: Tensor) -> Units:
        count = torch.zeros(mask.shape, dtype=torch.int64, device=device)
        running = torch.zeros(mask.shape, dtype=weights.bias[0].dtype, device=device)
        return Units(
            alive=mask,
            age=count,
            step=count,
            cohort=torch.full_like(count, FOUNDER),
            asleep=torch.zeros_like(mask),
            utility=running,
            activity=running.clone(),
            silent=count.clone(),
            runs=count.new_zeros((*mask.shape, lengths), dtype=torch.int32),
        )

    return State(
        weights=weights,
        moments=tuple(weights.map(torch.zeros_like) for _ in range(num_moments)),
        units=tuple(fresh(mask) for mask in alive),
        shared_step=torch.zeros(seeds, dtype=torch.int64, device=device),
        diverged=torch.full((seeds,), -1, dtype=torch.int64, device=device),
    )


def _index_of(slots: Tensor, tensor: Tensor) -> Tensor:
    """Return slots (S, K) as an index along the second axis of a tensor of any form."""
    rest = tensor.shape[2:]
    return slots.view(*slots.shape, *(1 for _ in rest)).expand(*slots.shape, *rest)


def alive_slots(alive: Tensor) -> Tensor:
    """Return the slots (S, K) of the alive units, ascending; K is the same in every seed."""
    seeds = alive.shape[0]
    return alive.nonzero()[:, 1].view(seeds, -1)


def gather(state: State) -> WorkingCopy:
    """Return a compact copy of the alive units, with room for gradients."""
    slots = tuple(alive_slots(alive) for alive in state.alive)
    weights = take_units(state.weights, slots)
    units = tuple(part.chosen(slot) for part, slot in zip(state.units, slots, strict=True))
    counts = torch.cat([*(part.step for part in units), state.shared_step[:, None]], 1)
    return WorkingCopy(
        slots=slots,
        weights=weights,
        moments=tuple(take_units(moment, slots) for moment in state.moments),
        grads=weights.map(torch.empty_like),
        units=units,
        shared_step=state.shared_step.clone(),
        step_range=list(zip(counts.amin(1).tolist(), counts.amax(1).tolist(), strict=True)),
        taken=[0] * state.diverged.shape[0],
        diverged=state.diverged.tolist(),
    )


def compact(copy: WorkingCopy) -> State:
    """Return the alive units of a working copy as a state of their own, which shares its tensors.

    To be looked at: it has no masked slots to change structure with, and no moments.
    """
    taken = torch.tensor(copy.taken, device=copy.shared_step.device)
    return State(
        weights=copy.weights,
        moments=(),
        units=tuple(
            replace(part, age=part.age + taken[:, None], step=part.step + taken[:, None])
            for part in copy.units
        ),
        shared_step=copy.shared_step + taken,
        diverged=torch.tensor(copy.diverged, device=taken.device),
    )


def scatter(state: State, copy: WorkingCopy) -> State:
    """Return the truth with a working copy's progress put back; masked slots are untouched."""
    taken = torch.tensor(copy.taken, device=state.shared_step.device)

    def advanced(units: Units, part: Units, slots: Tensor) -> Units:
        added = units.alive * taken[:, None]
        return replace(
            units,
            age=units.age + added,
            step=units.step + added,
            utility=units.utility.scatter(1, slots, part.utility),
            activity=units.activity.scatter(1, slots, part.activity),
            silent=units.silent.scatter(1, slots, part.silent),
            runs=units.runs.scatter(1, _index_of(slots, part.runs), part.runs),
        )

    return replace(
        state,
        weights=_put_units(state.weights, copy.weights, copy.slots),
        moments=tuple(
            _put_units(truth, part, copy.slots)
            for truth, part in zip(state.moments, copy.moments, strict=True)
        ),
        units=tuple(map(advanced, state.units, copy.units, copy.slots)),
        shared_step=state.shared_step + taken,
        diverged=torch.tensor(copy.diverged, device=taken.device),
    )


def take_units(weights: Weights, slots: tuple[Tensor, ...]) -> Weights:
    """Return the compact weights of the units in ``slots`` ((S, K) for each layer of units)."""

    def take(full: Tensor, rows: Axis | None, columns: Axis | None) -> Tensor:
        parts = []
        for seed in range(full.shape[0]):
            part = full[seed]
            if rows is not None and slots[rows.layer].shape[1] < part.shape[0]:
                part = part.index_select(0, slots[rows.layer][seed])
            if columns is not None:
                where = slots[columns.layer][seed]
                if len(where) * columns.width < part.shape[1]:
                    blocks = torch.unflatten(part, 1, (-1, columns.width))
                    part = blocks.index_select(1, where).flatten(1, 2)
            parts.append(part)
        return torch.stack(parts)

    pairs = zip(weights.tensors(), rows_and_columns(weights), strict=True)
    return weights.rebuilt([take(full, *axes) for full, axes in pairs])


def _put_units(weights: Weights, part: Weights, slots: tuple[Tensor, ...]) -> Weights:
    def put(full: Tensor, compact: Tensor, axes: tuple[Axis | None, Axis | None]) -> Tensor:
        rows, columns = axes
        result = full.clone()
        for seed in range(full.shape[0]):
            value = compact[seed]
            if columns is not None and value.shape[1] < full.shape[2]:
                kept = full[seed]
                if rows is not None:
                    kept = kept.index_select(0, slots[rows.layer][seed])
                blocks = torch.unflatten(kept, 1, (-1, columns.width)).clone()
                source = torch.unflatten(value, 1, (-1, columns.width))
                value = blocks.index_copy_(1, slots[columns.layer][seed], source).flatten(1, 2)
            if rows is None:
                result[seed].copy_(value)
            else:
                result[seed].index_copy_(0, slots[rows.layer][seed], value)
        return result

    triples = zip(weights.tensors(), part.tensors(), rows_and_columns(weights), strict=True)
    return weights.rebuilt([put(*triple) for triple in triples])
