"""What the optimizer knows of newborn units: their moments and their step counts.

A unit's moments are those of its incoming weights, bias and outgoing weights. Adam corrects its
bias by a step count; moments of 0 with an old count are a boost of 3 to 6.6 times, not a cold
start, which is why ``zero`` and ``zero_step`` are two rules.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plasticity.optim import Optimizer
from plasticity.rules.view import Options
from plasticity.state import State
from plasticity.units import Slots, rows_and_columns, slots_of, with_slots
from plasticity.weights import Weights


@dataclass(frozen=True)
class Births:
    """What a rule may know of an event."""

    born: tuple[Tensor, ...]
    """(S, H) bool for each layer of units."""
    activity: tuple[Tensor, ...]
    """(S, H) mean activation of every slot on the probe, before the event."""
    optimizer: Optimizer
    gradients: Callable[[State, int], Sequence[Weights]]
    """State, n -> gradients of n batches of the probe."""


Rule = Callable[[State, Births, Options], State]


def zero_step(state: State, births: Births, options: Options) -> State:  # noqa: ARG001
    """Return newborns with moments and counts 0: exactly an optimizer started at birth."""
    moments = tuple(_cleared(moment, births.born) for moment in state.moments)
    return _counted(replace(state, moments=moments), births.born, lambda units: units.step * 0)


def zero(state: State, births: Births, options: Options) -> State:  # noqa: ARG001
    """Return newborns with moments 0 and the count of the weights that no unit owns."""
    moments = tuple(_cleared(moment, births.born) for moment in state.moments)
    return _old_count(replace(state, moments=moments), births.born)


def stale(state: State, births: Births, options: Options) -> State:  # noqa: ARG001
    """Return newborns with whatever their slots hold, and the old count."""
    return _old_count(state, births.born)


def mean_incumbent(state: State, births: Births, options: Options) -> State:  # noqa: ARG001
    """Return newborns with the mean of the incumbents' moments, and the old count."""
    moments = tuple(_each(moment, births.born, _means(state)) for moment in state.moments)
    return _old_count(replace(state, moments=moments), births.born)


def rms_only(state: State, births: Births, options: Options) -> State:  # noqa: ARG001
    """Return newborns with the incumbents' mean second moment and a first moment of 0."""
    first, second = state.moments
    moments = _cleared(first, births.born), _each(second, births.born, _means(state))
    return _old_count(replace(state, moments=moments), births.born)


def donor(state: State, births: Births, options: Options) -> State:
    """Return newborns with the moments and the count of a matched incumbent.

    The donor is the incumbent of the same layer with the nearest mean activation; of equals the
    lower slot. Source: Lillo & Cheney 2026, section 5 (moment transplant). ``moments`` chooses
    which are copied; the others are 0.
    """
    donors = []
    for part, born, activity in zip(state.units, births.born, births.activity, strict=True):
        distance = (activity[:, :, None] - activity[:, None, :]).abs()
        incumbent = part.alive & ~born
        donors.append(torch.where(incumbent[:, None], distance, torch.inf).argmin(2))  # (S, H)
    chosen = {"both": (0, 1), "first": (0,), "second": (1,)}[str(options["moments"])]
    moments = tuple(
        _each(moment, births.born, _copies(donors))
        if index in chosen
        else _cleared(moment, births.born)
        for index, moment in enumerate(state.moments)
    )
    units = tuple(
        replace(part, step=torch.where(born, part.step.gather(1, nearest), part.step))
        for part, born, nearest in zip(state.units, births.born, donors, strict=True)
    )
    return replace(state, moments=moments, units=units)


def global_reset(state: State, births: Births, options: Options) -> State:  # noqa: ARG001
    """Return everybody with moments and counts 0."""
    return replace(
        state,
        moments=tuple(moment.map(torch.zeros_like) for moment in state.moments),
        units=tuple(replace(units, step=torch.zeros_like(units.step)) for units in state.units),
        shared_step=torch.zeros_like(state.shared_step),
    )


def warm_probe(state: State, births: Births, options: Options) -> State:
    """Return newborns with moments gathered on ``batches`` batches, their weights standing still.

    After Fahlman & Lebiere 1990: candidates learn from the network's error before they act on it.
    """
    optimizer, cold = births.optimizer, zero_step(state, births, options)
    warm = cold.moments
    gradients = births.gradients(state, int(options["batches"]))
    for grads in gradients:
        if optimizer.rule == "sgd":
            warm = (warm[0].map(lambda m, g: optimizer.momentum * m + g, grads),)
        else:
            first, second = warm
            warm = (
                first.map(lambda m, g: m.lerp(g, 1 - optimizer.beta1), grads),
                second.map(lambda v, g: v.lerp(g * g, 1 - optimizer.beta2), grads),
            )
    moments = tuple(
        _each(truth, births.born, _from(gathered))
        for truth, gathered in zip(cold.moments, warm, strict=True)
    )
    count = len(gradients)
    return _counted(
        replace(cold, moments=moments), births.born, lambda units: units.step * 0 + count
    )


def _cleared(moment: Weights, born: tuple[Tensor, ...]) -> Weights:
    """Return a moment whose newborn slices are 0: one copy of each tensor, then few writes."""
    result = moment.map(torch.clone)
    places = [[mask.nonzero()[:, 0] for mask in layer] for layer in born]
    for tensor, (rows, columns) in zip(result.tensors(), rows_and_columns(result), strict=True):
        for seed, part in enumerate(tensor):
            if rows is not None:
                part.index_fill_(0, places[rows.layer][seed], 0)
            if columns is not None:
                blocks = torch.unflatten(part, 1, (-1, columns.width))
                blocks.index_fill_(1, places[columns.layer][seed], 0)
    return result


Choose = Callable[[Slots, Tensor, int], Slots]
"""One layer's slots, which are newborn, the layer -> values of which newborns take theirs."""


def _each(moment: Weights, born: tuple[Tensor, ...], choose: Choose) -> Weights:
    """Return a moment whose newborn slices are chosen, layer by layer from input to output."""
    for layer, new in enumerate(born):
        old = slots_of(moment, layer)
        other = choose(old, new, layer)
        wide = new[:, :, None]
        slots = Slots(
            torch.where(wide, other.incoming, old.incoming),
            torch.where(new, other.bias, old.bias),
            torch.where(wide, other.outgoing, old.outgoing),
            None,
        )
        moment = with_slots(moment, layer, slots)
    return moment


def _means(state: State) -> Choose:
    def choose(slots: Slots, born: Tensor, layer: int) -> Slots:
        incumbent = state.units[layer].alive & ~born
        count = incumbent.sum(1, keepdim=True).clamp(min=1)

        def mean(part: Tensor) -> Tensor:
            mask = incumbent.view(*incumbent.shape, *(1 for _ in part.shape[2:]))
            total = torch.where(mask, part, 0).sum(1, keepdim=True)
            return (total / count.view(-1, *(1 for _ in part.shape[1:]))).expand_as(part)

        return Slots(mean(slots.incoming), mean(slots.bias), mean(slots.outgoing), None)

    return choose


def _copies(donors: Sequence[Tensor]) -> Choose:
    def choose(slots: Slots, born: Tensor, layer: int) -> Slots:  # noqa: ARG001
        def taken(part: Tensor) -> Tensor:
            index = donors[layer].view(*donors[layer].shape, *(1 for _ in part.shape[2:]))
            return part.gather(1, index.expand_as(part))

        return Slots(taken(slots.incoming), taken(slots.bias), taken(slots.outgoing), None)

    return choose


def _from(gathered: Weights) -> Choose:
    return lambda slots, born, layer: slots_of(gathered, layer)  # noqa: ARG005


def _counted(state: State, born: tuple[Tensor, ...], count: Callable[..., Tensor]) -> State:
    units = tuple(
        replace(part, step=torch.where(new, count(part), part.step))
        for part, new in zip(state.units, born, strict=True)
    )
    return replace(state, units=units)


def _old_count(state: State, born: tuple[Tensor, ...]) -> State:
    return _counted(state, born, lambda units: state.shared_step[:, None].expand_as(units.step))


TABLE: dict[str, Rule] = {
    "zero_step": zero_step,
    "stale": stale,
    "zero": zero,
    "mean_incumbent": mean_incumbent,
    "donor": donor,
    "rms_only": rms_only,
    "global_reset": global_reset,
    "warm_probe": warm_probe,
}
