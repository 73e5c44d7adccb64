"""The truth at full capacity, and the compact working copy that training runs on.

Masked slots are frozen: weights, moments and counts stay as they are. Between two events the
optimizer works on a ``WorkingCopy`` of the alive units (the same number in every seed); an event
scatters it back, changes the truth, and gathers again.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plasticity.network import Weights


@dataclass(frozen=True)
class State:
    """S networks at full capacity, and all that their training continues from."""

    weights: Weights
    moments: tuple[Weights, ...]
    """() for plain SGD, (momentum,) or (first, second) for Adam."""
    alive: tuple[Tensor, ...]
    """(S, H) bool for each hidden layer."""
    age: tuple[Tensor, ...]
    """(S, H) int64: optimizer steps since the unit was inserted; masked slots keep theirs."""
    unit_step: tuple[Tensor, ...]
    """(S, H) int64: optimizer steps of the unit's moments; a rewind clears it, age goes on."""
    shared_step: Tensor
    """(S,) int64: the same for trunk and classifier."""
    diverged: Tensor
    """(S,) int64: step at which the seed's loss stopped being finite, -1 while it is finite."""

    def widths(self) -> tuple[int, ...]:
        """Return the number of alive units of each hidden layer, the same in every seed."""
        counts = [alive.sum(1).tolist() for alive in self.alive]
        assert all(len(set(count)) == 1 for count in counts), counts
        return tuple(int(count[0]) for count in counts)


@dataclass
class WorkingCopy:
    """The alive units of a ``State``, gathered; the optimizer changes it in place."""

    slots: tuple[Tensor, ...]
    """(S, K) int64 for each hidden layer: the slot of each unit, ascending."""
    weights: Weights
    moments: tuple[Weights, ...]
    grads: Weights
    unit_step: tuple[Tensor, ...]
    """(S, K) int64, at the time of gathering; ``taken`` steps have been added since."""
    shared_step: Tensor
    uniform_step: list[int]
    """For each seed the one count that all its units and the shared weights have, or -1."""
    taken: list[int]
    """Optimizer steps of each seed since the gathering."""
    diverged: list[int]


def new_state(weights: Weights, alive: tuple[Tensor, ...], num_moments: int, age: int = 0) -> State:
    """Return the state of networks that have not taken a step."""
    seeds = weights.bias[0].shape[0]
    device = weights.bias[0].device
    counts = tuple(torch.zeros_like(a, dtype=torch.int64) for a in alive)
    return State(
        weights=weights,
        moments=tuple(weights.map(torch.zeros_like) for _ in range(num_moments)),
        alive=alive,
        age=tuple(count + age for count in counts),
        unit_step=counts,
        shared_step=torch.zeros(seeds, dtype=torch.int64, device=device),
        diverged=torch.full((seeds,), -1, dtype=torch.int64, device=device),
    )


def alive_slots(alive: Tensor) -> Tensor:
    """Return the slots (S, K) of the alive units, ascending; K is the same in every seed."""
    seeds = alive.shape[0]
    return alive.nonzero()[:, 1].view(seeds, -1)


def gather(state: State) -> WorkingCopy:
    """Return a compact copy of the alive units, with room for gradients."""
    slots = tuple(alive_slots(alive) for alive in state.alive)
    weights = take_units(state.weights, slots)
    unit_step = tuple(
        step.gather(1, slot) for step, slot in zip(state.unit_step, slots, strict=True)
    )
    counts = torch.cat([*unit_step, state.shared_step[:, None]], 1)
    return WorkingCopy(
        slots=slots,
        weights=weights,
        moments=tuple(take_units(moment, slots) for moment in state.moments),
        grads=weights.map(torch.empty_like),
        unit_step=unit_step,
        shared_step=state.shared_step.clone(),
        uniform_step=[
            low if low == high else -1
            for low, high in zip(counts.amin(1).tolist(), counts.amax(1).tolist(), strict=True)
        ],
        taken=[0] * state.diverged.shape[0],
        diverged=state.diverged.tolist(),
    )


def scatter(state: State, copy: WorkingCopy) -> State:
    """Return the truth with a working copy's progress put back; masked slots are untouched."""
    taken = torch.tensor(copy.taken, device=state.shared_step.device)
    added = [a * taken[:, None] for a in state.alive]
    return replace(
        state,
        weights=_put_units(state.weights, copy.weights, copy.slots),
        moments=tuple(
            _put_units(truth, part, copy.slots)
            for truth, part in zip(state.moments, copy.moments, strict=True)
        ),
        age=tuple(age + more for age, more in zip(state.age, added, strict=True)),
        unit_step=tuple(step + more for step, more in zip(state.unit_step, added, strict=True)),
        shared_step=state.shared_step + taken,
        diverged=torch.tensor(copy.diverged, device=taken.device),
    )


def _axes(weights: Weights, slots: tuple[Tensor, ...]) -> list[tuple[Tensor | None, Tensor | None]]:
    """Return, for each tensor of ``weights``, the slots of its rows and of its columns."""
    rows = (*slots, None)
    columns = (None, *slots)
    trunk: list[tuple[Tensor | None, Tensor | None]] = [(None, None)] * (2 * len(weights.filters))
    return [*trunk, *zip(rows, columns, strict=True), *((row, None) for row in rows)]


def take_units(weights: Weights, slots: tuple[Tensor, ...]) -> Weights:
    """Return the compact weights of the units in ``slots`` ((S, K) for each hidden layer)."""

    def take(full: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
        parts = []
        for seed in range(full.shape[0]):
            part = full[seed]
            if rows is not None and rows.shape[1] < part.shape[0]:
                part = part.index_select(0, rows[seed])
            if columns is not None and columns.shape[1] < part.shape[1]:
                part = part.index_select(1, columns[seed])
            parts.append(part)
        return torch.stack(parts)

    axes = _axes(weights, slots)
    return weights.rebuilt(
        [take(full, *axis) for full, axis in zip(weights.tensors(), axes, strict=True)]
    )


def _put_units(weights: Weights, part: Weights, slots: tuple[Tensor, ...]) -> Weights:
    def put(full: Tensor, compact: Tensor, axis: tuple[Tensor | None, Tensor | None]) -> Tensor:
        rows, columns = axis
        result = full.clone()
        for seed in range(full.shape[0]):
            if rows is None and columns is None:
                result[seed].copy_(compact[seed])
            elif columns is None:
                assert rows is not None
                result[seed].index_copy_(0, rows[seed], compact[seed])
            elif rows is None:
                result[seed].index_copy_(1, columns[seed], compact[seed])
            else:
                wide = full[seed].index_select(0, rows[seed])
                wide.index_copy_(1, columns[seed], compact[seed])
                result[seed].index_copy_(0, rows[seed], wide)
        return result

    axes = _axes(weights, slots)
    tensors = zip(weights.tensors(), part.tensors(), axes, strict=True)
    return weights.rebuilt([put(*arguments) for arguments in tensors])
