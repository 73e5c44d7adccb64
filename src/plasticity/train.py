"""The loop: steps, events, probes, windows. Training, retraining and streams all run here.

A run is divided into windows of equal length: an epoch, or a task of a stream. A ``Job`` says what
to do; it holds values and functions of the step alone, so a run continues from any step.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plasticity import checkpoint, cohorts, measures, optim, probe, rng
from plasticity.data import Batch, Images
from plasticity.edit import Context, Record, apply_event
from plasticity.errors import Interrupted
from plasticity.network import (
    Activation,
    Architecture,
    Weights,
    backward,
    forward,
    initial_bounds,
)
from plasticity.rules import gate, trainability
from plasticity.rules.regularizer import Pull
from plasticity.schedule import Event
from plasticity.sections import Choice
from plasticity.state import (
    FOUNDER,
    State,
    WorkingCopy,
    compact,
    gather,
    new_state,
    scatter,
    take_units,
)
from plasticity.tables import Row
from plasticity.units import slots_of

EARLY_PART = 0.1
"""Share of a window whose online accuracy is also recorded by itself."""
PROBE_AGES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
"""Optimizer steps after an event at which units are measured, besides the end of the cycle."""
CHECKPOINT_SECONDS = 30.0
EVALUATION_BATCH = 500
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
    init: str
    """The rule that drew it."""
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
            if event.step <= self.step and (any(event.add) or event.tau is not None)
        ]
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


Report = Callable[[dict[str, Any]], None]


def run(
    job: Job, folder: Path, report: Report, stop: Callable[[], bool] = lambda: False
) -> checkpoint.Checkpoint:
    """Run a job to its end, continuing from its last checkpoint, and return the final one.

    Parameters
    ----------
    job
        What to do.
    folder
        Of this job's checkpoints; nobody else writes there.
    report
        Called with a small mapping at every window's end.
    stop
        Asked after every step; once it says yes, the run is saved and given up.

    Raises
    ------
    Interrupted
        When ``stop`` said yes.
    StorageError
        When a checkpoint cannot be written.
    """
    device = job.initial.bias[0].device
    found = checkpoint.load(folder, device)
    total = job.window * job.num_windows
    if found is not None and found.step == total:
        return found
    current = start(job, found)
    events = {event.step: event for event in job.events}
    marks = [event.step for event in job.events if event.measured]
    last_saved = time.monotonic()
    while current.step < total:
        event = events.get(current.step)
        if event is not None:
            _edit(current, event)
        moment = _moment(current.step + 1, marks, total) if job.probing else None
        before = current.copy.weights.map(torch.clone) if moment else None
        advance(current)
        if moment:
            _probe_along(current, moment, before)
        if current.step % job.window == 0:
            _close_window(current)
            report(_summary(current))
        asked = stop()
        saved = time.monotonic() - last_saved
        important = event is not None and event.measured
        if asked or important or saved > CHECKPOINT_SECONDS:
            current.settle()
            checkpoint.save(folder, _checkpoint(current))
            last_saved = time.monotonic()
        if asked:
            raise Interrupted(f"stopped at step {current.step} of {total}, and saved")
    current.settle()
    final = _checkpoint(current)
    checkpoint.save(folder, final)
    return final


def start(job: Job, found: checkpoint.Checkpoint | None) -> Run:
    """Return a job at its beginning, or where a checkpoint left it."""
    if found is not None:
        return Run(job, found.step, found.state, gather(found.state), Progress(**found.progress))
    state = new_state(job.initial.map(torch.clone), job.alive, job.optimizer.num_moments)
    if job.asleep is not None:
        pairs = zip(state.units, job.asleep, strict=True)
        state = replace(state, units=tuple(replace(u, asleep=mask) for u, mask in pairs))
    zeros = [0.0] * len(job.seeds)
    progress = Progress(loss=zeros[:], online=zeros[:], early=zeros[:])
    if job.watch is not None:
        bins = min(BINS, job.window)
        progress.bins = [zeros[:] for _ in range(bins)]
        groups = min(GROUPS, job.num_windows)
        progress.profile = [[zeros[:] for _ in range(bins)] for _ in range(groups)]
    for units, name in zip(state.units, job.architecture.layer_names, strict=True):
        learning = units.alive & ~units.asleep
        progress.units += _unit_log(job.seeds, FOUNDER, 0, name, "founder", learning)
    current = Run(job, 0, state, gather(state), progress)
    if job.watch is not None and job.watch.tests is not None:
        progress.matrix += _test_tasks(current, *job.watch.tests, finished=0)
    return current


def _checkpoint(current: Run) -> checkpoint.Checkpoint:
    return checkpoint.Checkpoint(current.step, current.state, vars(current.progress))


def _measure(
    job: Job, state: State, gates: Sequence[Tensor] | None, step: int
) -> probe.Measurement:
    return probe.measure(
        state,
        *job.context.batch_at(step),
        job.activation,
        gates,
        through_trunk=job.through_trunk,
        loss_of=job.context.loss_of,
    )


def _full_gates(current: Run) -> tuple[Tensor, ...] | None:
    """Return (S, H) strengths of all slots, or None where all are 1."""
    gates = current.gates()
    if gates is None:
        return None
    return tuple(
        torch.ones_like(units.age, dtype=part.dtype).scatter(1, slots, part)
        for units, slots, part in zip(current.state.units, current.copy.slots, gates, strict=True)
    )


def _edit(current: Run, event: Event) -> None:
    """Apply one event to the truth, measured just before and just after, and gather again."""
    job, progress = current.job, current.progress
    state = scatter(current.state, current.copy)
    gates = _full_gates(current)
    measurement = _measure(job, state, gates, event.step)
    after, record = apply_event(state, event, measurement, job.context)
    current.state, current.copy = after, gather(after)
    if job.watch is None:
        _log_edit(current, event, record, state)
    if not (job.probing and event.measured):
        return
    where: dict[str, int | str] = {"event": event.index, "cycle": event.index, "step": event.step}
    names, threshold = job.architecture.layer_names, job.context.threshold
    progress.cohorts += cohorts.rows(
        state,
        measurement,
        cohorts.before(state, record),
        threshold,
        job.seeds,
        names,
        where | {"age": -1, "moment": "before"},
        gates,
    )
    at_birth = _probe(current, event.index, 0, "birth", after, _full_gates(current), None)
    progress.shocks += _shock_rows(job, event, measurement, at_birth)


def _shock_rows(
    job: Job, event: Event, before: probe.Measurement, after: probe.Measurement
) -> list[Row]:
    """Return what the event did to the function, on the probe."""
    shift = (after.trace.logits - before.trace.logits).abs().double().mean((1, 2))
    columns = {
        "logit_shift": shift,
        "loss_before": before.loss.double().mean(1),
        "loss_after": after.loss.double().mean(1),
        "acc_before": 100 * before.correct.double().mean(1),
        "acc_after": 100 * after.correct.double().mean(1),
    }
    values = {name: part.tolist() for name, part in columns.items()}
    return [
        {"seed": seed, "event": event.index, "step": event.step}
        | {name: part[row] if math.isfinite(part[row]) else None for name, part in values.items()}
        for row, seed in enumerate(job.seeds)
    ]


def _log_edit(current: Run, event: Event, record: Record, before: State) -> None:
    names = current.job.architecture.layer_names
    widths_before, widths_after = before.widths(), current.state.widths()
    for layer, name in enumerate(names):
        born, removed = record.born[layer], record.removed[layer]
        added, gone = born.sum(1).tolist(), removed.sum(1).tolist()
        if event.tau is None:
            asked = event.add[layer] * (not event.wakes) - event.remove[layer] * (
                not event.same_slots
            )
            assert widths_after[layer] == widths_before[layer] + asked * (not event.same_slots)
        for change, mask in (("removed", removed), ("born", born)):
            current.progress.units += _unit_log(
                current.job.seeds, event.index, event.step, name, change, mask
            )
        for row, seed in enumerate(current.job.seeds):
            current.progress.edits.append(
                {
                    "seed": seed,
                    "event": event.index,
                    "cycle": event.index,
                    "step": event.step,
                    "layer": name,
                    "requested": added[row] + gone[row]
                    if event.tau is not None
                    else event.add[layer] + event.remove[layer],
                    "added": added[row],
                    "removed": gone[row],
                    "alive_before": widths_before[layer],
                    "alive_after": widths_after[layer],
                    "rewound": int(event.rewind),
                }
            )


def _unit_log(
    seeds: Sequence[int], event: int, step: int, layer: str, change: str, mask: Tensor
) -> list[dict[str, Any]]:
    return [
        {
            "seed": seed,
            "event": event,
            "step": step,
            "layer": layer,
            "slot": slot,
            "change": change,
        }
        for row, seed in enumerate(seeds)
        for slot in mask[row].nonzero()[:, 0].tolist()
    ]


def advance(current: Run) -> None:
    """Take one optimizer step with every seed; one whose loss is not finite stops for good."""
    job, copy, progress = current.job, current.copy, current.progress
    x, labels = job.batches(current.step)
    activation, scale = job.activation_at(current.step), _scale(current)
    trace = forward(copy.weights, x, activation, scale)
    loss, grad_logits = job.context.loss_of(trace.logits, labels)
    correct = trace.logits.argmax(-1) == labels
    losses, rights = torch.stack([loss.double().mean(1), correct.double().mean(1)]).tolist()
    backward(copy.weights, trace, grad_logits, copy.grads, activation, scale)
    _tally(current, losses, rights)
    pull = job.learning.pull
    if pull.to_zero or pull.to_initial:
        _pull_(current, pull)
    rate = job.lr(current.step // job.window)
    rates = [rate * factor for factor in job.rates or [1.0] * len(job.seeds)]
    optim.step_(copy, job.optimizer, rates, _gains(current, rate))
    if pull.shrink or pull.noise:
        _perturb_(current, pull)
    if job.learning.utility is not None:
        _keep_utility_(current, trace.hidden, job.learning.utility)
    widths = current.widths()
    progress.flops += _flops(job.architecture, tuple(widths)) * labels.shape[1]
    progress.active_unit_steps += sum(job.counted(widths))
    current.step += 1


def _tally(current: Run, losses: Sequence[float], rights: Sequence[float]) -> None:
    """Add a step to the sums of its window; a seed whose loss is not finite is marked."""
    job, copy, progress = current.job, current.copy, current.progress
    within = current.step % job.window
    for row, value in enumerate(losses):
        if not math.isfinite(value) and copy.diverged[row] < 0:
            copy.diverged[row] = current.step
        if copy.diverged[row] >= 0:
            continue
        progress.loss[row] += value
        progress.online[row] += rights[row]
        if within < math.ceil(EARLY_PART * job.window):
            progress.early[row] += rights[row]
        if progress.bins:
            progress.bins[within * len(progress.bins) // job.window][row] += rights[row]


def _pull_(current: Run, pull: Pull) -> None:
    """Add the regularizer's part of the gradient."""
    triples = zip(
        current.copy.grads.tensors(),
        current.copy.weights.tensors(),
        current.start_weights().tensors(),
        strict=True,
    )
    for grad, weight, start in triples:
        if pull.to_zero:
            grad.add_(weight, alpha=pull.to_zero)
        if pull.to_initial:
            grad.add_(weight - start, alpha=pull.to_initial)


def _perturb_(current: Run, pull: Pull) -> None:
    """Shrink the weights and add a draw from their initial distribution, seed by seed."""
    job, copy = current.job, current.copy
    bounds = initial_bounds(job.architecture, job.init)
    for row, seed in enumerate(job.seeds):
        if copy.diverged[row] >= 0:
            continue
        draw = rng.stream(seed, "perturb", current.step)
        for weight, bound in zip(copy.weights.tensors(), bounds, strict=True):
            part = weight[row]
            noise = draw.random(tuple(part.shape), dtype=np.float32)
            part.mul_(1 - pull.shrink)
            part.add_(
                torch.from_numpy(noise).to(part.device).mul_(2).sub_(1), alpha=pull.noise * bound
            )


@cache
def _flops(architecture: Architecture, widths: tuple[int, ...]) -> int:
    """Return the FLOPs of one image's training step with some units alive."""
    return measures.training_flops(architecture.with_units(widths))


def _scale(current: Run) -> tuple[Tensor, ...] | None:
    gates = current.gates()
    if gates is None:
        return None
    return tuple(part.to(current.job.initial.bias[0].dtype) for part in gates)


def _gains(current: Run, rate: float) -> optim.Gains | None:
    """Return who learns how fast at this step, or None where everybody learns alike."""
    job, copy = current.job, current.copy
    if job.asleep is not None:
        asleep = tuple(units.asleep for units in copy.units)
        awake = tuple((~mask).to(copy.weights.bias[0].dtype) for mask in asleep)
        return optim.Gains("update", asleep, awake, awake)
    rule = job.learning.trainability
    if rule.rule == "none":
        return None
    born = current.last_birth()
    learners = trainability.Learners(
        inserted=tuple(units.cohort != FOUNDER for units in copy.units),
        age=current.ages(),
        since_birth=current.step - (-(10**12) if born is None else born),
        rate=rate / job.lr(0),
        weights=copy.weights,
        grads=copy.grads,
    )
    return trainability.TABLE[rule.rule](learners, rule.options)


def _keep_utility_(current: Run, hidden: Sequence[Tensor], rule: Choice) -> None:
    """Update the running utility of continual backprop (Dohare et al. 2024, equation 1).

    As their published code has it: the weights are those after the step, means are over the next
    layer's units and over the unit's inputs.
    """
    copy, decay = current.copy, float(rule.options["decay"])
    depth = len(copy.weights.filters)
    ages = current.ages()
    for index, h in enumerate(hidden):
        layer = depth + index
        units, slots = copy.units[layer], slots_of(copy.weights, layer)
        units.activity.mul_(decay).add_(h.mean(1), alpha=1 - decay)
        size = h
        if rule.options["kind"] == "adaptable_contribution":
            corrected = units.activity / (1 - decay ** ages[layer].double()).to(h.dtype)
            size = h - corrected[:, None]
        now = slots.outgoing.abs().mean(2) * size.abs().mean(1)
        if rule.options["kind"] == "adaptable_contribution":
            now = now / slots.incoming.abs().mean(2)
        units.utility.mul_(decay).add_(now, alpha=1 - decay)


def _moment(step: int, marks: Sequence[int], total: int) -> tuple[int, int, str] | None:
    """Return event, age and moment of the measurement due after a step, or None."""
    index = max((i for i, mark in enumerate(marks) if mark < step), default=None)
    if index is None:
        return None
    age = step - marks[index]
    if step in marks or step == total:
        return index, age, "end"
    return (index, age, "along") if age in PROBE_AGES else None


def _probe_along(current: Run, due: tuple[int, int, str], before: Weights | None) -> None:
    """Measure the units at an age of the grid, or at the last step of the cycle."""
    assert before is not None
    event = [event for event in current.job.events if event.measured][due[0]]
    state, updates = compact(current.copy), _updates(current, before)
    _probe(current, event.index, due[1], due[2], state, current.gates(), updates)


def _updates(current: Run, before: Weights) -> cohorts.Updates:
    """Return |change| / |weight| of each alive unit in the last step."""
    result = []
    for layer in range(len(current.copy.units)):
        now, then = slots_of(current.copy.weights, layer), slots_of(before, layer)
        pair = []
        for new, old in ((now.incoming, then.incoming), (now.outgoing, then.outgoing)):
            size = old.double().norm(dim=2)
            ratio = (new.double() - old.double()).norm(dim=2) / torch.where(size > 0, size, 1)
            pair.append(torch.where(size > 0, ratio, 0))
        result.append((pair[0], pair[1]))
    return tuple(result)


def _probe(  # noqa: PLR0913 (what is looked at, when, and what came before)
    current: Run,
    event: int,
    age: int,
    moment: str,
    state: State,
    gates: Sequence[Tensor] | None,
    updates: cohorts.Updates | None,
) -> probe.Measurement:
    """Measure a state: at birth the truth, masked slots among it, later the alive units alone."""
    job, progress = current.job, current.progress
    measurement = _measure(job, state, gates, current.step)
    step: dict[str, int | str] = {"event": event, "step": current.step}
    names = job.architecture.layer_names
    progress.cohorts += cohorts.rows(
        state,
        measurement,
        cohorts.after(state, event, moment),
        job.context.threshold,
        job.seeds,
        names,
        step | {"cycle": event, "age": age, "moment": moment},
        gates,
        updates,
        matched=moment != "along",
    )
    if moment == "end":
        progress.health += cohorts.health_rows(state, measurement, job.seeds, names, step)
    return measurement


def _close_window(current: Run) -> None:
    """Write the window's row for every seed and clear its sums."""
    job, progress = current.job, current.progress
    finished = current.step // job.window
    accuracy: list[float | None] = [None] * len(job.seeds)
    tested = 0
    full = False
    if job.evaluation is not None:
        full = finished in job.evaluation.full_at
        accuracy, tested = _evaluate(current, job.evaluation, full=full)
    early = math.ceil(EARLY_PART * job.window)
    scored = True if job.watch is None else _watch_window(current, job.watch, finished)
    graded = job.watch is None or job.watch.graded
    for row, seed in enumerate(job.seeds):
        whole = current.copy.diverged[row] < 0
        progress.windows.append(
            {
                "seed": seed,
                "window": finished - 1,
                "step": current.step,
                "lr": job.lr(finished - 1),
                "loss": progress.loss[row] / job.window if whole else None,
                "online_acc": 100 * progress.online[row] / job.window if graded else None,
                "early_acc": 100 * progress.early[row] / early if graded else None,
                "scored": int(scored),
                "parts": _parts(progress.bins, row, job.window),
                "acc": accuracy[row],
                "test_images": tested,
                "full": int(full),
                "units": measures.units_text(job.counted(current.widths())),
                "alive_units": sum(job.counted(current.widths())),
                "flops": progress.flops,
                "active_unit_steps": progress.active_unit_steps,
            }
        )
    zeros = [0.0] * len(job.seeds)
    progress.loss, progress.online, progress.early = zeros[:], zeros[:], zeros[:]
    progress.bins = [zeros[:] for _ in progress.bins]


def _parts(bins: Sequence[Sequence[float]], row: int, window: int) -> list[int | None]:
    """Return after how many steps of a window a seed first got half, and 0.9, of its end.

    The end is the mean over the last part. None where nothing is right in it, as of a seed that
    diverged: any part is as good as that. Empty outside streams. As fine as ``BINS`` parts.
    """
    if not bins:
        return []
    edges = [math.ceil(part * window / len(bins)) for part in range(len(bins) + 1)]
    means = [part[row] / (edges[place + 1] - edges[place]) for place, part in enumerate(bins)]
    if means[-1] == 0:
        return [None, None]
    return [
        next(edges[at + 1] for at, mean in enumerate(means) if mean >= share * means[-1])
        for share in (0.5, 0.9)
    ]


def _watch_window(current: Run, watch: Watch, finished: int) -> bool:
    """Record what belongs to a stream at the end of a window; return whether it is scored."""
    job, progress = current.job, current.progress
    window = finished - 1
    scored = watch.scored(window)
    groups = min(GROUPS, job.num_windows)
    group = progress.profile[window * groups // job.num_windows]
    edges = [math.ceil(part * job.window / len(group)) for part in range(len(group) + 1)]
    if scored:
        for place, part in enumerate(progress.bins):
            for row, value in enumerate(part):
                group[place][row] += 100 * value / (edges[place + 1] - edges[place])
    if watch.health and finished * groups // job.num_windows > window * groups // job.num_windows:
        state = compact(current.copy)
        measured = _measure(job, state, current.gates(), current.step - 1)
        where: dict[str, int | str] = {"event": window, "step": current.step}
        progress.health += cohorts.health_rows(
            state, measured, job.seeds, job.architecture.layer_names, where
        )
    if watch.tests is not None:
        progress.matrix += _test_tasks(current, *watch.tests, finished)
    return scored


def _test_tasks(current: Run, images: Images, groups: Tensor, finished: int) -> list[Row]:
    """Return the test accuracy of every task after ``finished`` of them."""
    right = _right(current, images, torch.arange(len(images)))
    rows: list[Row] = []
    for row, seed in enumerate(current.job.seeds):
        for task in range(int(groups[row].max()) + 1):
            mine = groups[row] == task
            accuracy = 100 * float(right[row, mine].double().mean())
            rows.append({"seed": seed, "after": finished, "task": task, "acc": accuracy})
    return rows


def _evaluate(
    current: Run, evaluation: Evaluation, *, full: bool
) -> tuple[list[float | None], int]:
    """Return the test accuracy of each seed in percent, and on how many images."""
    images = evaluation.images
    index = torch.arange(len(images)) if full else evaluation.subset
    correct = _right(current, images, index).sum(1)
    return [100 * value / len(index) for value in correct.tolist()], len(index)


def _right(current: Run, images: Images, index: Tensor) -> Tensor:
    """Return (S, N) bool: which of some images each seed gets right."""
    weights, activation, scale = current.copy.weights, current.job.activation, _scale(current)
    seeds = weights.bias[0].shape[0]
    right = []
    for part in torch.split(index.to(images.pixels.device), EVALUATION_BATCH):
        x = images.standardise(images.pixels.index_select(0, part))
        trace = forward(weights, x.expand(seeds, *x.shape), activation, scale)
        right.append(trace.logits.argmax(-1) == images.labels[part])
    return torch.cat(right, 1)


def _summary(current: Run) -> dict[str, Any]:
    """Return what the terminal shows of a window's end."""
    rows = current.progress.windows[-len(current.job.seeds) :]
    return {
        "seeds": list(current.job.seeds),
        "step": current.step,
        "steps": current.job.window * current.job.num_windows,
        "acc": [row["online_acc"] if row["acc"] is None else row["acc"] for row in rows],
        "loss": [row["loss"] for row in rows],
        "units": rows[0]["units"],
        "diverged": {
            seed: at
            for seed, at in zip(current.job.seeds, current.copy.diverged, strict=True)
            if at >= 0
        },
    }
