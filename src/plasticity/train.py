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

import torch
from torch import Tensor

from plasticity import checkpoint, measures, optim, probe
from plasticity.data import Batch, Images
from plasticity.edit import Record, Rules, apply_event
from plasticity.errors import Interrupted
from plasticity.network import Architecture, Weights, backward, cross_entropy, forward
from plasticity.schedule import Event
from plasticity.state import State, WorkingCopy, gather, new_state, scatter
from plasticity.tables import Row

EARLY_PART = 0.1
"""Share of a window whose online accuracy is also recorded by itself."""
PROBE_AGES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
"""Optimizer steps after an event at which units are measured, besides the end of the cycle."""
CHECKPOINT_SECONDS = 30.0
EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Evaluation:
    """The test set: a part of it each window, all of it where ``full_at`` says so."""

    images: Images
    subset: Tensor
    full_at: frozenset[int]
    """Windows finished."""


@dataclass(frozen=True)
class Probe:
    """The images on which units are measured."""

    batch: Batch
    threshold: float


@dataclass(frozen=True)
class Job:
    """Everything a run of S networks needs."""

    seeds: tuple[int, ...]
    architecture: Architecture
    initial: Weights
    """At step 0, full capacity; what a rewind goes back to."""
    alive: tuple[Tensor, ...]
    """(S, H) for each hidden layer, at step 0."""
    optimizer: optim.Optimizer
    lr: Callable[[int], float]
    """Of a window."""
    batches: Callable[[int], Batch]
    """Of a step."""
    window: int
    """Steps per window."""
    num_windows: int
    events: tuple[Event, ...]
    rules: Rules
    evaluation: Evaluation | None
    probe: Probe | None


@dataclass
class Progress:
    """What a run has written down; plain values, saved with every checkpoint."""

    windows: list[dict[str, Any]] = field(default_factory=list)
    edits: list[dict[str, Any]] = field(default_factory=list)
    cohorts: list[Row] = field(default_factory=list)
    units: list[dict[str, Any]] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    """Sums over the window so far, per seed; likewise the next two."""
    online: list[float] = field(default_factory=list)
    early: list[float] = field(default_factory=list)
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
    record: Record | None = None
    """Of the last event: which units are its newborns."""

    def settle(self) -> None:
        """Bring the truth up to date with the working copy."""
        self.state = scatter(self.state, self.copy)
        self.copy = gather(self.state)

    def widths(self) -> list[int]:
        """Return the alive units of each hidden layer."""
        return [slot.shape[1] for slot in self.copy.slots]


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
    last_saved = time.monotonic()
    while current.step < total:
        event = events.get(current.step)
        if event is not None:
            _edit(current, event)
        advance(current)
        _probe_along(current, events, total)
        if current.step % job.window == 0:
            _close_window(current)
            report(_summary(current))
        asked = stop()
        if asked or event is not None or time.monotonic() - last_saved > CHECKPOINT_SECONDS:
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
    if found is None:
        state = new_state(job.initial.map(torch.clone), job.alive, job.optimizer.num_moments)
        zeros = [0.0] * len(job.seeds)
        progress = Progress(loss=zeros[:], online=zeros[:], early=zeros[:])
        return Run(job, 0, state, gather(state), progress)
    progress = Progress(**found.progress)
    last = max((e for e in job.events if e.step < found.step), key=lambda e: e.step, default=None)
    record = None if last is None else _recorded(found.state, progress, last.index, job.seeds)
    return Run(job, found.step, found.state, gather(found.state), progress, record)


def _checkpoint(current: Run) -> checkpoint.Checkpoint:
    return checkpoint.Checkpoint(current.step, current.state, vars(current.progress))


def _recorded(state: State, progress: Progress, event: int, seeds: Sequence[int]) -> Record:
    """Return the record of an event from the unit log."""
    born = tuple(torch.zeros_like(alive) for alive in state.alive)
    removed = tuple(torch.zeros_like(alive) for alive in state.alive)
    rows = {seed: row for row, seed in enumerate(seeds)}
    for unit in progress.units:
        if unit["event"] == event:
            mask = born if unit["change"] == "born" else removed
            mask[unit["layer"]][rows[unit["seed"]], unit["slot"]] = True
    return Record(born, removed)


def _edit(current: Run, event: Event) -> None:
    """Apply one event to the truth, measured just before and just after, and gather again."""
    job = current.job
    before = scatter(current.state, current.copy)
    assert job.probe is not None
    x, labels = job.probe.batch
    statistics = probe.measure(before, x, labels, job.probe.threshold)
    after, record = apply_event(before, event, statistics, job.rules, job.initial, job.seeds)
    current.state, current.copy, current.record = after, gather(after), record
    where: dict[str, int | str] = {"event": event.index, "cycle": event.index, "step": event.step}
    current.progress.cohorts += measures.cohort_rows(
        statistics,
        measures.cohorts_before(before, record),
        job.seeds,
        where | {"age": -1, "moment": "before"},
    )
    _log_edit(current, event, before)
    _probe(current, where | {"age": 0, "moment": "birth"})


def _log_edit(current: Run, event: Event, before: State) -> None:
    record = current.record
    assert record is not None
    widths_before, widths_after = before.widths(), current.state.widths()
    for layer, (added, removed) in enumerate(zip(event.add, event.remove, strict=True)):
        assert widths_after[layer] == widths_before[layer] + added - removed
        for row, seed in enumerate(current.job.seeds):
            current.progress.edits.append(
                {
                    "seed": seed,
                    "event": event.index,
                    "cycle": event.index,
                    "step": event.step,
                    "layer": layer,
                    "requested": added + removed,
                    "added": int(record.born[layer][row].sum()),
                    "removed": int(record.removed[layer][row].sum()),
                    "alive_before": widths_before[layer],
                    "alive_after": widths_after[layer],
                    "rewound": int(event.rewind),
                }
            )
            for change, mask in (("born", record.born), ("removed", record.removed)):
                current.progress.units += [
                    {
                        "seed": seed,
                        "event": event.index,
                        "layer": layer,
                        "slot": slot,
                        "change": change,
                    }
                    for slot in mask[layer][row].nonzero()[:, 0].tolist()
                ]


def advance(current: Run) -> None:
    """Take one optimizer step with every seed; one whose loss is not finite stops for good."""
    job, copy, progress = current.job, current.copy, current.progress
    x, labels = job.batches(current.step)
    trace = forward(copy.weights, x)
    loss, grad_logits = cross_entropy(trace.logits, labels)
    correct = trace.logits.argmax(-1) == labels
    losses, rights = torch.stack([loss.double().mean(1), correct.double().mean(1)]).tolist()
    backward(copy.weights, trace, grad_logits, copy.grads)
    for row, value in enumerate(losses):
        if not math.isfinite(value) and copy.diverged[row] < 0:
            copy.diverged[row] = current.step
        if copy.diverged[row] >= 0:
            continue
        progress.loss[row] += value
        progress.online[row] += rights[row]
        if current.step % job.window < math.ceil(EARLY_PART * job.window):
            progress.early[row] += rights[row]
    window = current.step // job.window
    optim.step_(copy, job.optimizer, [job.lr(window)] * len(job.seeds))
    widths = current.widths()
    progress.flops += _flops(job.architecture, tuple(widths)) * labels.shape[1]
    progress.active_unit_steps += sum(widths)
    current.step += 1


@cache
def _flops(architecture: Architecture, widths: tuple[int, ...]) -> int:
    """Return the FLOPs of one image's training step with some units alive."""
    return measures.training_flops(replace(architecture, widths=widths))


def _probe_along(current: Run, events: dict[int, Event], total: int) -> None:
    """Measure the units on the grid of ages, and at the last step of the cycle."""
    started = max((step for step in events if step < current.step), default=None)
    if started is None or current.job.probe is None:
        return
    age = current.step - started
    ends = current.step in events or current.step == total
    if not ends and age not in PROBE_AGES:
        return
    current.settle()
    index = events[started].index
    moment = "end" if ends else "along"
    where: dict[str, int | str] = {"event": index, "cycle": index, "step": current.step}
    _probe(current, where | {"age": age, "moment": moment})


def _probe(current: Run, where: dict[str, int | str]) -> None:
    job = current.job
    assert job.probe is not None
    assert current.record is not None
    x, labels = job.probe.batch
    statistics = probe.measure(current.state, x, labels, job.probe.threshold)
    current.progress.cohorts += measures.cohort_rows(
        statistics, measures.cohorts_after(current.state, current.record), job.seeds, where
    )


def _close_window(current: Run) -> None:
    """Write the window's row for every seed and clear its sums."""
    job, progress = current.job, current.progress
    finished = current.step // job.window
    accuracy: list[float | None] = [None] * len(job.seeds)
    tested = 0
    full = False
    if job.evaluation is not None:
        full = finished in job.evaluation.full_at
        accuracy, tested = _evaluate(current.copy.weights, job.evaluation, full=full)
    early = math.ceil(EARLY_PART * job.window)
    for row, seed in enumerate(job.seeds):
        whole = current.copy.diverged[row] < 0
        progress.windows.append(
            {
                "seed": seed,
                "window": finished - 1,
                "step": current.step,
                "lr": job.lr(finished - 1),
                "loss": progress.loss[row] / job.window if whole else None,
                "online_acc": 100 * progress.online[row] / job.window,
                "early_acc": 100 * progress.early[row] / early,
                "acc": accuracy[row],
                "test_images": tested,
                "full": int(full),
                "units": measures.units_text(current.widths()),
                "alive_units": sum(current.widths()),
                "flops": progress.flops,
                "active_unit_steps": progress.active_unit_steps,
            }
        )
    zeros = [0.0] * len(job.seeds)
    progress.loss, progress.online, progress.early = zeros[:], zeros[:], zeros[:]


def _evaluate(
    weights: Weights, evaluation: Evaluation, *, full: bool
) -> tuple[list[float | None], int]:
    """Return the test accuracy of each seed in percent, and on how many images."""
    images = evaluation.images
    index = torch.arange(len(images)) if full else evaluation.subset
    seeds = weights.bias[0].shape[0]
    correct = torch.zeros(seeds, dtype=torch.int64, device=images.pixels.device)
    for part in torch.split(index.to(images.pixels.device), EVALUATION_BATCH):
        x = images.standardise(images.pixels.index_select(0, part))
        trace = forward(weights, x.expand(seeds, *x.shape))
        correct += (trace.logits.argmax(-1) == images.labels[part]).sum(1)
    return [100 * value / len(index) for value in correct.tolist()], len(index)


def _summary(current: Run) -> dict[str, Any]:
    """Return what the terminal shows of a window's end."""
    rows = current.progress.windows[-len(current.job.seeds) :]
    return {
        "seeds": list(current.job.seeds),
        "step": current.step,
        "steps": current.job.window * current.job.num_windows,
        "acc": [row["online_acc"] if row["acc"] is None else row["acc"] for row in rows],
        "units": rows[0]["units"],
        "diverged": {
            seed: at
            for seed, at in zip(current.job.seeds, current.copy.diverged, strict=True)
            if at >= 0
        },
    }
