"""What is written down of the units: at an event, at ages after it, at the end of its cycle."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from plasticity import cohorts, probe
from plasticity.edit import Record
from plasticity.job import Job, Run
from plasticity.schedule import Event
from plasticity.state import State, compact
from plasticity.tables import Row
from plasticity.units import slots_of
from plasticity.weights import Weights

PROBE_AGES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
"""Optimizer steps after an event at which units are measured, besides the end of the cycle."""


def due(step: int, marks: Sequence[int], total: int) -> tuple[int, int, str] | None:
    """Return event, age and moment of the measurement due after a step, or None."""
    index = max((i for i, mark in enumerate(marks) if mark < step), default=None)
    if index is None:
        return None
    age = step - marks[index]
    if step in marks or step == total:
        return index, age, "end"
    return (index, age, "along") if age in PROBE_AGES else None


def birth(
    current: Run,
    event: Event,
    record: Record,
    before: State,
    measurement: probe.Measurement,
    gates: Sequence[Tensor] | None,
) -> None:
    """Write how the units were before an event, how they are after it, and what it did.

    Parameters
    ----------
    current
        After the event.
    event, record
        What was asked for, and what was done.
    before, measurement, gates
        The truth before it, measured; (S, H) strengths of its units, or None for 1.
    """
    job, progress = current.job, current.progress
    progress.cohorts += cohorts.rows(
        before,
        measurement,
        cohorts.before(before, record),
        job.context.threshold,
        job.seeds,
        job.architecture.layer_names,
        {"event": event.index, "cycle": event.index, "step": event.step}
        | {"age": -1, "moment": "before"},
        gates,
    )
    after, strengths = current.state, current.full_gates()
    at_birth = _probe(current, event.index, 0, "birth", after, strengths, None)
    progress.shocks += _shock_rows(job, event, measurement, at_birth)


def along(current: Run, due: tuple[int, int, str], before: Weights | None) -> None:
    """Measure the units at an age of the grid, or at the last step of the cycle."""
    assert before is not None
    event = [event for event in current.job.events if event.measured][due[0]]
    state, updates = compact(current.copy), _updates(current, before)
    _probe(current, event.index, due[1], due[2], state, current.gates(), updates)


def log_edit(current: Run, event: Event, record: Record, before: State) -> None:
    """Write what an event did to each layer of each seed, unit by unit."""
    names = current.job.architecture.layer_names
    widths_before, widths_after = before.widths(), current.state.widths()
    for layer, name in enumerate(names):
        born, removed = record.born[layer], record.removed[layer]
        added, gone = born.sum(1).tolist(), removed.sum(1).tolist()
        if event.counted:
            more = 0 if event.wakes else event.add[layer]
            change = 0 if event.same_slots else more - event.remove[layer]
            assert widths_after[layer] == widths_before[layer] + change
        for kind, mask in (("removed", removed), ("born", born)):
            current.progress.units += unit_log(
                current.job.seeds, event.index, event.step, name, kind, mask
            )
        for row, seed in enumerate(current.job.seeds):
            if not event.measured and not added[row] + gone[row]:
                continue  # continual backprop asks at almost every step
            current.progress.edits.append(
                {
                    "seed": seed,
                    "event": event.index,
                    "cycle": event.index,
                    "step": event.step,
                    "layer": name,
                    "requested": event.add[layer] + event.remove[layer]
                    if event.counted
                    else added[row] + gone[row],
                    "added": added[row],
                    "removed": gone[row],
                    "alive_before": widths_before[layer],
                    "alive_after": widths_after[layer],
                    "rewound": int(event.rewind),
                }
            )


def unit_log(
    seeds: Sequence[int], event: int, step: int, layer: str, change: str, mask: Tensor
) -> list[dict[str, Any]]:
    """Return a row for every unit of a (S, H) mask."""
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


def measure(job: Job, state: State, gates: Sequence[Tensor] | None, step: int) -> probe.Measurement:
    """Return what a step's probe batch shows; ``gates`` are (S, H), or None for 1."""
    return probe.measure(
        state,
        *job.context.batch_at(step),
        job.activation,
        gates,
        through_trunk=job.through_trunk,
        loss_of=job.context.loss_of,
    )


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
    measurement = measure(job, state, gates, current.step)
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


def _updates(current: Run, before: Weights) -> cohorts.Updates:
    """Return |change| / |weight| of each alive unit in the last step."""
    result = []
    for layer in range(len(current.copy.units)):
        now, then = slots_of(current.copy.weights, layer), slots_of(before, layer)
        pair = []
        for new, old in ((now.incoming, then.incoming), (now.outgoing, then.outgoing)):
            size = old.double().norm(dim=2)
            ratio = (new.double() - old.double()).norm(dim=2) / torch.where(size > 0, size, 1)
            pair.append(torch.where(size > 0, ratio, 0))  # undefined for a side that was 0
        result.append((pair[0], pair[1]))
    return tuple(result)


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
