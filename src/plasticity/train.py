"""The loop: steps, events, probes, windows. Training, retraining and streams all run here."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plasticity import checkpoint, measures, optim, probing, rng, windows
from plasticity.edit import apply_event
from plasticity.errors import Interrupted
from plasticity.job import BINS, GROUPS, Job, Progress, Run
from plasticity.network import backward, forward
from plasticity.rules import silence, trainability
from plasticity.rules.regularizer import Pull
from plasticity.schedule import Event
from plasticity.sections import Choice
from plasticity.state import FOUNDER, State, gather, new_state, scatter
from plasticity.units import slots_of
from plasticity.weights import Architecture, Weights

CHECKPOINT_SECONDS = 30.0

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
    total = job.window * job.num_windows
    found = _found(job, folder, total, report)
    current = start(job, found)
    if found is not None and found.step == total:
        report(windows.summary(current))
        return found
    events = {event.step: event for event in job.events}
    marks = [event.step for event in job.events if event.measured]
    last_saved = time.monotonic()
    while current.step < total:
        event = _event_at(current, events)
        if event is not None:
            _edit(current, event)
        moment = probing.due(current.step + 1, marks, total) if job.probing else None
        before = current.copy.weights.map(torch.clone) if moment else None
        advance(current)
        if moment:
            probing.along(current, moment, before)
        if current.step % job.window == 0:
            windows.close(current)
            report(windows.summary(current))
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


def _found(job: Job, folder: Path, total: int, report: Report) -> checkpoint.Checkpoint | None:
    """Return the checkpoint that a run continues from, having told which, or None."""

    def tell(text: str) -> None:
        report({"told": text})

    device = job.initial.bias[0].device
    found = checkpoint.load(folder, device, tell, partial(_misfit, job))
    if found is not None and found.step < total:
        tell(f"continuing at step {found.step:,} of {total:,}")
    return found


def start(job: Job, found: checkpoint.Checkpoint | None) -> Run:
    """Return a job at its beginning, or where a checkpoint left it."""
    if found is not None:
        return Run(job, found.step, found.state, gather(found.state), Progress(**found.progress))
    state = _first_state(job, job.initial.map(torch.clone))
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
        progress.units += probing.unit_log(job.seeds, FOUNDER, 0, name, "founder", learning)
    current = Run(job, 0, state, gather(state), progress)
    if job.watch is not None and job.watch.tests is not None:
        progress.matrix += windows.test_tasks(current, *job.watch.tests, finished=0)
    return current


def _first_state(job: Job, weights: Weights) -> State:
    resets = job.learning.resets
    longest = None if resets is None else int(resets.options["longest"])
    return new_state(weights, job.alive, job.optimizer.num_moments, longest)


def _misfit(job: Job, found: checkpoint.Checkpoint) -> str | None:
    """Return in what a checkpoint, however whole, cannot be of this job."""
    own = checkpoint.layout(_first_state(job, job.initial))
    there = checkpoint.layout(found.state)
    for name in sorted(own.keys() | there.keys()):
        if own.get(name) != there.get(name):
            return f"{name} is {there.get(name)}, expected {own.get(name)}"
    if found.step > job.window * job.num_windows:
        return f"step {found.step:,} is after the end"
    if found.progress.keys() != {part.name for part in fields(Progress)}:
        return "what it wrote down has other parts than expected"
    return None


def _checkpoint(current: Run) -> checkpoint.Checkpoint:
    return checkpoint.Checkpoint(current.step, current.state, vars(current.progress))


def _event_at(current: Run, planned: Mapping[int, Event]) -> Event | None:
    """Return the event before the present step: the planned one, with the resets that are due."""
    event, rule = planned.get(current.step), current.job.learning.resets
    if rule is None or not _is_due(current, rule):
        return event
    if event is None:
        nobody = (0,) * len(current.copy.units)
        index = len(planned) + current.step
        event = Event(
            index, current.step, nobody, nobody, rewind=False, same_slots=True, measured=False
        )
    return replace(event, eta=float(rule.options["eta"]))


def _is_due(current: Run, rule: Choice) -> bool:
    """Return whether a unit that may be removed has been silent for too long."""
    going = [row for row, step in enumerate(current.copy.diverged) if step < 0]
    late = [
        silence.overdue(units, float(rule.options["eta"]))
        & (age > current.job.context.rules.maturity)
        for units, age in zip(current.copy.units, current.ages(), strict=True)
    ]
    return bool(torch.cat(late, 1)[going].any())


def _edit(current: Run, event: Event) -> None:
    """Apply one event to the truth, measured just before and just after, and gather again."""
    job = current.job
    before, gates = scatter(current.state, current.copy), current.full_gates()
    measurement = probing.measure(job, before, gates, event.step)
    after, record = apply_event(before, event, measurement, job.context)
    current.state, current.copy = after, gather(after)
    if job.watch is None:
        probing.log_edit(current, event, record, before)
    if job.probing and event.measured:
        probing.birth(current, event, record, before, measurement, gates)


def advance(current: Run) -> None:
    """Take one optimizer step with every seed; one whose loss is not finite stops for good."""
    job, copy, progress = current.job, current.copy, current.progress
    x, labels = job.batches(current.step)
    activation, scale = job.activation_at(current.step), current.scale()
    twin = current.computed()
    trace = forward(twin.weights, x, activation, scale)
    if job.learning.resets is not None:
        for units, fires in zip(copy.units, silence.fired(trace), strict=True):
            silence.count_(units, fires)
    loss, grad_logits = job.context.loss_of(trace.logits, labels)
    correct = trace.logits.argmax(-1) == labels
    means = torch.stack([loss.double().mean(1), correct.double().mean(1)])
    backward(twin.weights, trace, grad_logits, twin.grads, activation, scale)
    twin.collect()
    losses, rights = means.tolist()  # after the backward pass, for which a GPU need not wait then
    windows.tally(current, losses, rights)
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
    for row, seed in enumerate(job.seeds):
        if copy.diverged[row] >= 0:
            continue
        draw = rng.stream(seed, "perturb", current.step)
        for weight, bound in zip(copy.weights.tensors(), job.bounds, strict=True):
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
        step=current.step,
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
