"""Which units take part when: targets, masks at step 0, and every edit event of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from plasticity import catalogue, rng, schedule
from plasticity.schedule import Event
from plasticity.sections import Params
from plasticity.weights import Architecture

Masks = tuple[Tensor, ...]
Counts = tuple[int, ...]
"""Units of each layer: the channels of each convolution, then each hidden layer."""


def targets(params: Params, backbone: Architecture) -> Counts:
    """Return the units of each layer at the end of editing; an unedited trunk keeps all."""
    if params.op == "dense":
        return backbone.units
    sizes = backbone.sizes[:-1]
    match params.edit.allocation:
        case "neutral":
            bias = None
        case "erk":
            bias = schedule.erdos_renyi_bias(sizes, backbone.copies)
        case literal:
            bias = catalogue.ALLOCATIONS[literal]
    head = schedule.unit_targets(sizes, params.compactness, bias, backbone.copies)
    if params.op == "static" and params.edit.static_mask == "uniform":
        head = schedule.uniform_targets(backbone.widths, sum(head))
    return (*_trunk_counts(params, backbone, params.compactness), *head)


def _trunk_counts(params: Params, backbone: Architecture, share: float) -> Counts:
    """Return a share of every convolution's channels, or all where the trunk is not edited."""
    if params.edit.layers == "head":
        return backbone.trunk
    return schedule.seed_counts(backbone.trunk, share)


def _share(params: Params, backbone: Architecture, share: float) -> Counts:
    trunk = _trunk_counts(params, backbone, share)
    return (*trunk, *schedule.seed_counts(backbone.widths, share))


def waypoints(params: Params, backbone: Architecture) -> tuple[Counts, ...]:
    """Return the units of each layer at step 0, at the turn where there is one, and at the end.

    Growing starts from ``edit.seed_fraction`` of every layer; a layer whose target is below that
    starts at its target, since growing removes nothing. (The paper's allocations have such cells
    and do not say what was done.)
    """
    end = targets(params, backbone)
    seeds = _least(_share(params, backbone, params.edit.seed_fraction), end)
    match params.op:
        case "grow" | "single_event" | "late_reveal":
            return seeds, end
        case "static" | "turnover":
            return end, end
        case "grow_then_prune":
            most = _share(params, backbone, params.edit.peak)
            return seeds, tuple(map(max, most, end)), end
        case "prune_then_grow":
            return backbone.units, _least(_share(params, backbone, params.edit.trough), end), end
    return backbone.units, end


def _least(some: Counts, others: Counts) -> Counts:
    return tuple(map(min, some, others))


def founding_counts(params: Params, backbone: Architecture, planned: Sequence[Event]) -> Counts:
    """Return the alive units of each layer after the event at step 0, alike in every seed.

    Parameters
    ----------
    params, backbone
        Of the experiment.
    planned
        Its events.
    """
    counts = waypoints(params, backbone)[-1 if params.op == "late_reveal" else 0]
    for event in planned:
        if event.step == 0 and not event.wakes:
            moved = zip(counts, event.add, event.remove, strict=True)
            counts = tuple(count + added - removed for count, added, removed in moved)
    return counts


def starting_masks(params: Params, backbone: Architecture, seeds: Sequence[int]) -> Masks:
    """Return which units take part at step 0, (S, H) for each layer of units."""
    counts = waypoints(params, backbone)[-1 if params.op == "late_reveal" else 0]
    if params.op == "static" and params.edit.static_mask == "uniform":
        return tuple(
            even_mask(len(seeds), width, count)
            for width, count in zip(backbone.units, counts, strict=True)
        )
    return random_masks(backbone, counts, seeds, "mask")


def sleeping_masks(params: Params, backbone: Architecture, seeds: Sequence[int]) -> Masks | None:
    """Return which alive units do not learn yet: those that grow would not have."""
    if params.op != "late_reveal":
        return None
    alive = starting_masks(params, backbone, seeds)
    founders = random_masks(backbone, waypoints(params, backbone)[0], seeds, "mask")
    return tuple(mask & ~first for mask, first in zip(alive, founders, strict=True))


def random_masks(
    backbone: Architecture, counts: Counts, seeds: Sequence[int], purpose: str
) -> Masks:
    """Return masks with ``counts`` units of each layer, drawn for each seed."""
    return tuple(
        random_mask(seeds, purpose, width, rng.stream_index(layer, len(backbone.trunk)), count)
        for layer, (width, count) in enumerate(zip(backbone.units, counts, strict=True))
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


@dataclass(frozen=True)
class Clock:
    """When events happen, in steps."""

    steps: tuple[int, ...]
    """Of each event."""
    epoch: int
    """Steps of an epoch, or of a task, for ``edit.at_epoch``."""
    total: int
    """Steps of the run, for what happens at every step."""


def events(params: Params, backbone: Architecture, clock: Clock) -> tuple[Event, ...]:
    """Return the edit events.

    Every operator but ``single_event`` has one at each of the clock's steps, so that all are
    measured at the same steps; those of dense and static move nothing.

    Parameters
    ----------
    params, backbone
        Of the experiment.
    clock
        Of its run.
    """
    points, cycles = waypoints(params, backbone), len(clock.steps)
    if params.op == "single_event":
        add = tuple(b - a for a, b in zip(*points, strict=True))
        return (Event(0, params.edit.at_epoch * clock.epoch, add, (0,) * len(add), rewind=False),)
    if params.op == "turnover":
        return _turnover(params, points[0], clock)
    first = cycles if len(points) == 2 else -(-cycles // 2)
    moved = _moves(params, points[0], points[1], first)
    if len(points) == 3:
        moved += _moves(params, points[1], points[2], cycles - first)
    result = []
    for index, change in enumerate(moved):
        add, remove = (tuple(max(0, sign * c) for c in change) for sign in (1, -1))
        rewind = params.rewinds and (params.edit.rewind_when == "every_event" or any(remove))
        wakes = params.op == "late_reveal"
        result.append(Event(index, clock.steps[index], add, remove, rewind, wakes=wakes))
    return tuple(result)


def _moves(params: Params, start: Counts, end: Counts, cycles: int) -> list[Counts]:
    """Return the change of every layer's units at each of ``cycles`` events."""
    edit = params.edit
    per_layer = [
        [
            count if b > a else -count
            for count in schedule.moves(a, b, cycles, edit.cycle_index, edit.count_rule)
        ]
        for a, b in zip(start, end, strict=True)
    ]
    return list(zip(*per_layer, strict=True))


def _turnover(params: Params, widths: Counts, clock: Clock) -> tuple[Event, ...]:
    """Return events that replace units; at step 0, where nobody is trained, none do."""
    rule = params.edit.turnover
    edited = (params.edit.layers == "all",) * len(params.network.trunk)
    edited = (*edited, *(True for _ in params.network.widths))
    none = (0,) * len(widths)
    result = []
    for index, step in enumerate(clock.steps):
        event = Event(index, step, none, none, rewind=False, same_slots=True)
        if rule.rule == "fraction" and index > 0:
            share = float(rule.options["share"])
            counts = tuple(
                max(1, round(share * width)) * part
                for width, part in zip(widths, edited, strict=True)
            )
            same = rule.options["slots"] == "same"
            event = replace(event, add=counts, remove=counts, same_slots=same)
        elif rule.rule == "redo" and index > 0:
            event = replace(event, tau=float(rule.options["tau"]))
        result.append(event)
    if rule.rule == "continual_backprop":
        rate = float(rule.options["rate"])
        clocks = [
            schedule.replacements(width * part, rate, params.edit.maturity, clock.total)
            for width, part in zip(widths, edited, strict=True)
        ]
        return _on_clocks(result, clocks)
    return tuple(result)


def _on_clocks(cycles: Sequence[Event], clocks: Sequence[dict[int, int]]) -> tuple[Event, ...]:
    """Return the cycles' events with replacements at the steps of each layer's own clock."""
    by_step = {event.step: event for event in cycles}
    steps = sorted({step for clock in clocks for step in clock})
    for number, step in enumerate(steps, start=len(cycles)):
        counts = tuple(clock.get(step, 0) for clock in clocks)
        event = by_step.get(step) or replace(cycles[0], index=number, step=step, measured=False)
        by_step[step] = replace(event, add=counts, remove=counts)
    return tuple(by_step[step] for step in sorted(by_step))
