"""A run: what it is told, what it writes down, and where it stands. The loop is in ``train``.

A run is divided into windows of equal length: an epoch, or a task of a stream. A ``Job`` says what
to do; it holds values and functions of the step alone, so a run continues from any step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from plasticity import optim
from plasticity.data import Batch, Images
from plasticity.edit import Context
from plasticity.precision import Twin, twin
from plasticity.rules import gate
from plasticity.rules.regularizer import Pull
from plasticity.schedule import Event
from plasticity.sections import Choice
from plasticity.state import State, WorkingCopy, gather, scatter, take_units
from plasticity.tables import Row
from plasticity.weights import Activation, Architecture, Weights

BINS = 20
"""Parts of a task whose online accuracies are kept apart."""
GROUPS = 50
"""Groups of neighbouring tasks in a stream's profile, and probes of its health."""


@dataclass(frozen=True)
class Evaluation:
    """The test set: a part of it each window, all of it where ``full_at`` says so."""

    images: Images
    subset: Tensor
    full_at: frozenset[int]
    """Windows finished."""


@dataclass(frozen=True)
class Learning:
    """The rules that act between events."""

    gate: Choice
    trainability: Choice
    utility: Choice | None
    """The prune rule whose running utility has to be kept, or None."""
    pull: Pull
    """Of the regularizer."""
    resets: Choice | None = None
    """The turnover rule that replaces units at any step, as soon as their silence is too long."""


@dataclass(frozen=True)
class Watch:
    """What is recorded of a stream, window by window."""

    scored: Callable[[int], bool]
    """Whether a window's accuracy counts."""
    tests: tuple[Images, Tensor] | None
    """Test images, and (S, N) the task that each belongs to, -1 for none."""
    health: bool
    """Whether dormancy, ranks and norms are measured; a trained weight never depends on it."""
    graded: bool = True
    """Whether an answer is right or wrong; a regression has a loss alone."""


@dataclass(frozen=True)
class Job:
    """Everything a run of S networks needs."""

    seeds: tuple[int, ...]
    architecture: Architecture
    initial: Weights
    """At step 0, full capacity; what a rewind goes back to."""
    bounds: tuple[float, ...]
    """Of the uniform distribution that each tensor of ``initial`` was drawn from."""
    alive: tuple[Tensor, ...]
    """(S, H) for each layer of units, at step 0."""
    asleep: tuple[Tensor, ...] | None
    """(S, H): alive units that do not learn until an event wakes them, or None."""
    optimizer: optim.Optimizer
    lr: Callable[[int], float]
    """Of a window; times ``rates``."""
    batches: Callable[[int], Batch]
    """Of a step."""
    activation_at: Callable[[int], Activation]
    """Of a step: in training."""
    activation: Activation
    """In evaluation and probes."""
    learning: Learning
    window: int
    """Steps per window."""
    num_windows: int
    events: tuple[Event, ...]
    context: Context
    """What events need, the loss among it."""
    through_trunk: bool
    """Whether channels of the trunk are edited, and so measured."""
    evaluation: Evaluation | None
    probing: bool
    """Whether units are measured; a trained weight never depends on it."""
    rates: tuple[float, ...] | None = None
    """A factor of each seed's learning rate, or None for 1: grids of rates train side by side."""
    products: torch.dtype | None = None
    """Of the products of training, None for that of the weights."""
    watch: Watch | None = None
    """In a stream; there no event is recorded by itself, as there may be one at every step."""

    def counted(self, widths: Sequence[int]) -> list[int]:
        """Return the units of the layers that can be edited."""
        return list(widths if self.through_trunk else widths[len(self.architecture.trunk) :])


@dataclass
class Progress:
    """What a run has written down; plain values, saved with every checkpoint."""

    windows: list[dict[str, Any]] = field(default_factory=list)
    edits: list[dict[str, Any]] = field(default_factory=list)
    cohorts: list[Row] = field(default_factory=list)
    shocks: list[Row] = field(default_factory=list)
    health: list[Row] = field(default_factory=list)
    units: list[dict[str, Any]] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    """Sums over the window so far, per seed; likewise the next two."""
    online: list[float] = field(default_factory=list)
    early: list[float] = field(default_factory=list)
    bins: list[list[float]] = field(default_factory=list)
    """Right answers of each part of the window so far, [part][seed]; empty outside streams."""
    profile: list[list[list[float]]] = field(default_factory=list)
    """Online accuracy summed over the windows of a group, [group][part][seed]."""
    matrix: list[Row] = field(default_factory=list)
    """Test accuracy of each task after each task."""
    flops: float = 0.0
    active_unit_steps: float = 0.0


@dataclass
class Run:
    """A job under way."""

    job: Job
    step: int
    state: State
    copy: WorkingCopy
    progress: Progress
    _start: tuple[WorkingCopy, Weights] | None = None
    """What ``start_weights`` gathered, and for which copy."""
    _twin: tuple[WorkingCopy, Twin] | None = None
    """What ``computed`` made, and for which copy."""

    def computed(self) -> Twin:
        """Return what the engine computes on, up to date with the working copy."""
        if self._twin is None or self._twin[0] is not self.copy:
            made = twin(self.copy.weights, self.copy.grads, self.job.products)
            self._twin = self.copy, made
        self._twin[1].refresh()
        return self._twin[1]

    def start_weights(self) -> Weights:
        """Return the initial weights of the working copy's units."""
        if self._start is None or self._start[0] is not self.copy:
            self._start = self.copy, take_units(self.job.initial, self.copy.slots)
        return self._start[1]

    def settle(self) -> None:
        """Bring the truth up to date with the working copy."""
        self.state = scatter(self.state, self.copy)
        self.copy = gather(self.state)

    def widths(self) -> list[int]:
        """Return the alive units of each layer."""
        return [slot.shape[1] for slot in self.copy.slots]

    def last_birth(self) -> int | None:
        """Return the step of the last event so far that inserted or woke units."""
        births = [
            event.step
            for event in self.job.events
            if event.step <= self.step and (any(event.add) or not event.counted)
        ]
        if self.job.learning.resets is not None:  # at steps that nobody knows beforehand
            births.append(self.step - min(int(age.min()) for age in self.ages()))
        return max(births, default=None)

    def ages(self) -> tuple[Tensor, ...]:
        """Return (S, K) steps since insertion of the working copy's units."""
        taken = torch.tensor(self.copy.taken, device=self.state.shared_step.device)
        return tuple(units.age + taken[:, None] for units in self.copy.units)

    def gates(self) -> tuple[Tensor, ...] | None:
        """Return (S, K) strengths of the working copy's units, or None where all are 1."""
        rule = self.job.learning.gate
        if rule.rule == "none":
            return None
        born = self.last_birth()
        if born is None or self.step - born >= float(rule.options["steps"]):
            return None
        aged = map(lambda units, age: replace(units, age=age), self.copy.units, self.ages())
        return gate.strengths(tuple(aged), rule.rule, rule.options)

    def full_gates(self) -> tuple[Tensor, ...] | None:
        """Return (S, H) strengths of all slots, or None where all are 1."""
        gates = self.gates()
        if gates is None:
            return None
        return tuple(
            torch.ones_like(units.age, dtype=part.dtype).scatter(1, slots, part)
            for units, slots, part in zip(self.state.units, self.copy.slots, gates, strict=True)
        )

    def scale(self) -> tuple[Tensor, ...] | None:
        """Return ``gates`` in the weights' precision."""
        gates = self.gates()
        if gates is None:
            return None
        return tuple(part.to(self.job.initial.bias[0].dtype) for part in gates)
