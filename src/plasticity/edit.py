"""One edit event, atomically: the only code that changes structure.

Everything is read from the state before the event; the state after it is new. The order is: view,
utility, choice, weights of the removed, weights of the newborn, ages, moments; then the classifier
or all weights start over where the event says so. The counts achieved equal the counts
requested, or the run fails. A masked slot always holds its initial weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from plasticity import catalogue, probe, rng
from plasticity.diagnostics import dormant
from plasticity.errors import CheckError, ConfigError
from plasticity.network import Loss, cross_entropy
from plasticity.optim import Optimizer
from plasticity.probe import Measurement
from plasticity.rules import insertion, optimizer_state, selection, silence
from plasticity.rules.view import LayerView
from plasticity.schedule import Event
from plasticity.sections import Choice
from plasticity.state import State, Units
from plasticity.units import (
    Slots,
    alive_weights,
    input_mask,
    output_mask,
    slots_of,
    with_slots,
)
from plasticity.weights import Activation, Weights


@dataclass(frozen=True)
class Rules:
    """The rules that an event uses, each a name of the catalogue with its options."""

    grow: Choice
    prune: Choice
    insertion: Choice
    optimizer_state: Choice
    maturity: int = 0
    """Units are removed only when older than this, in steps; 0 is any unit."""
    transfer: bool = False
    """Whether a removed unit's mean activation goes into the biases it fed."""


@dataclass(frozen=True)
class Context:
    """What an event needs besides the state."""

    rules: Rules
    initial: Weights
    """At step 0, full capacity."""
    seeds: tuple[int, ...]
    """The S replicates, for random draws."""
    optimizer: Optimizer
    activation: Activation
    """As in evaluation."""
    batch_at: Callable[[int], tuple[Tensor, Tensor]]
    """Of the probe at a step; in a stream the task decides what it shows."""
    threshold: float
    loss_of: Loss = cross_entropy
    rescale: Callable[[Sequence[int]], Sequence[float]] | None = None
    """Alive units of each layer -> what each tensor of ``initial`` is multiplied by to be on the
    scale of their number; None where weights that start over are those of step 0."""


@dataclass(frozen=True)
class Record:
    """What an event did, for each layer of units."""

    born: tuple[Tensor, ...]
    """(S, H) bool."""
    removed: tuple[Tensor, ...]
    """(S, H) bool; a unit that was replaced in its place is in both."""


def apply_event(
    state: State, event: Event, measurement: Measurement, context: Context
) -> tuple[State, Record]:
    """Return the state after an event, and what it did.

    Parameters
    ----------
    state
        S networks before the event.
    event
        Counts for each layer of units.
    measurement
        Of all slots on the probe, before the event.
    context
        Rules, initial weights, seeds and what rules may ask for.

    Raises
    ------
    CheckError
        When a layer cannot give as many units as the event asks for.
    ConfigError
        When a rule cannot make what it is asked for, with the reason.
    """
    views = _Views(state, measurement, context, event.step)
    removed, born = [], []
    for layer, units in enumerate(state.units):
        index = rng.stream_index(layer, len(state.weights.filters))
        draws = [rng.stream(seed, "edit", event.index, index) for seed in context.seeds]
        leaving = _leaving(views, event, layer, units, draws)
        removed.append(leaving)
        born.append(_coming(views, event, layer, units, leaving, draws))
    record = Record(tuple(born), tuple(removed))
    _refuse_replaced_layers(state, record, event, context)
    weights = _without(state, record, measurement, context)
    alive = tuple(
        (units.alive & ~leaving) | coming
        for units, leaving, coming in zip(state.units, removed, born, strict=True)
    )
    if not event.wakes:
        weights = _inserted(weights, views, record, alive, event, context)
    activity = tuple(
        torch.zeros_like(units.utility) if part is None else part.hidden.mean(1)
        for units, part in zip(state.units, measurement.signals, strict=True)
    )
    after = replace(
        state,
        weights=weights,
        units=tuple(
            _aged(units, mask, coming, event.index)
            for units, mask, coming in zip(state.units, alive, born, strict=True)
        ),
    )
    if any(bool(coming.any()) for coming in born):
        rule = context.rules.optimizer_state
        births = optimizer_state.Births(
            record.born, activity, context.optimizer, _gradients_of(context, event.step)
        )
        after = optimizer_state.TABLE[rule.rule](after, births, rule.options)
    if event.new_head:
        after = _with_new_head(after, context)
    if event.rewind:
        after = _rewound(after, context)
    return after, record


class _Views:
    """The layer views of one state, made when a rule needs them."""

    def __init__(self, state: State, measurement: Measurement, context: Context, step: int) -> None:
        self._state, self._measurement, self._context = state, measurement, context
        self._step = step
        self._gradients: tuple[Weights, Weights] | None = None
        self._curvature: Weights | None = None

    @property
    def healthy(self) -> Tensor:
        """Return (S,) bool: which seeds have numbers to go by.

        A seed may have lost them in the step before the event, with no loss since to tell.
        """
        return (self._state.diverged < 0) & self._measurement.loss.isfinite().all(1)

    def edited(self, layer: int) -> bool:
        """Return whether a layer was measured, as all that are edited are."""
        return self._measurement.signals[layer] is not None

    def of(self, layer: int) -> LayerView:
        """Return what rules may know of a layer."""
        state, measured, context = self._state, self._measurement, self._context
        signals = measured.signals[layer]
        assert signals is not None, "the trunk is edited but was not measured"
        depth = len(state.weights.filters)
        units = state.units[layer]
        slots = slots_of(state.weights, layer)
        dense = layer >= depth and slots.next_bias is not None
        tidy = _same if bool(self.healthy.all()) else torch.nan_to_num
        inputs = measured.trace.inputs[layer - depth] if layer >= depth else None
        error = measured.flow.error[layer - depth + 1] if dense else None
        gradients = self._gradients_of(layer)
        return LayerView(
            incoming=tidy(slots.incoming),
            bias=tidy(slots.bias),
            outgoing=tidy(slots.outgoing),
            alive=units.alive,
            input_alive=input_mask(state.weights, state.alive, layer),
            output_alive=output_mask(state.weights, state.alive, layer),
            utility=tidy(_corrected(units.utility, units, context.rules.prune)),
            hidden=tidy(signals.hidden),
            derivative=tidy(signals.derivative),
            flow=tidy(signals.flow),
            inputs=None if inputs is None else tidy(inputs),
            error=None if error is None else tidy(error),
            incoming_gradient=None if gradients is None else tidy(gradients[0]),
            outgoing_gradient=None if gradients is None else tidy(gradients[1]),
            curvature=self._curvature_of(layer),
            num_images=measured.loss.shape[1],
            threshold=context.threshold,
            value_at=lambda z: context.activation.value(z.clone(), None, z.dim() - 1),
        )

    def _gradients_of(self, layer: int) -> tuple[Tensor, Tensor] | None:
        context = self._context
        if context.rules.grow.rule not in selection.GROW_BY_GRADIENT:
            return None
        if self._gradients is None:
            self._gradients = probe.as_if_alive_gradients(
                self._state, self._measurement, context.activation
            )
        into, out_of = self._gradients
        return slots_of(into, layer).incoming, slots_of(out_of, layer).outgoing

    def _curvature_of(self, layer: int) -> Tensor | None:
        rule = self._context.rules.prune
        if rule.rule != "hessian":
            return None
        if self._curvature is None:
            self._curvature = probe.weighted_curvature(
                self._state,
                *self._context.batch_at(self._step),
                self._context.activation,
                int(rule.options["probes"]),
                self._context.seeds,
            )
        parts = slots_of(self._curvature, layer)
        total: Tensor = parts.incoming.sum(2) + parts.bias + parts.outgoing.sum(2)
        return total


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _corrected(running: Tensor, units: Units, rule: Choice) -> Tensor:
    """Return a running mean, corrected for its start at 0 (Dohare et al. 2024)."""
    decay = float(rule.options.get("decay", 0.0))
    return running / (1 - decay ** units.age.clamp(min=1).double()).to(running.dtype)


def _leaving(
    views: _Views, event: Event, layer: int, units: Units, draws: Sequence[np.random.Generator]
) -> Tensor:
    rules = views._context.rules
    # A diverged seed's ages stand still; it only keeps the counts of the others.
    old = (units.age > rules.maturity) | ~views.healthy[:, None]
    mature = units.alive & old if rules.maturity else units.alive
    if event.tau is not None:
        if not views.edited(layer):
            return torch.zeros_like(units.alive)
        strength = views.of(layer).hidden.double().abs().mean(1)
        # A diverged seed may show zeros where it has no numbers; it is left as it is.
        return mature & views.healthy[:, None] & dormant(strength, units.alive, event.tau)
    if event.eta is not None:
        return mature & views.healthy[:, None] & silence.overdue(units, event.eta)
    if event.remove[layer] == 0:
        return torch.zeros_like(units.alive)
    utility = selection.PRUNE[rules.prune.rule](views.of(layer), draws, rules.prune.options)
    _check_numbers(views, f"prune: {rules.prune.rule}", layer, utility, mature)
    return _pick(-utility, mature, event.remove[layer], rules.maturity)


def _coming(
    views: _Views,
    event: Event,
    layer: int,
    units: Units,
    leaving: Tensor,
    draws: Sequence[np.random.Generator],
) -> Tensor:
    if event.same_slots or not event.counted:
        return leaving
    if event.add[layer] == 0:
        return torch.zeros_like(units.alive)
    rule = views._context.rules.grow
    utility = selection.GROW[rule.rule](views.of(layer), draws, rule.options)
    candidates = units.asleep if event.wakes else ~units.alive
    _check_numbers(views, f"grow: {rule.rule}", layer, utility, candidates)
    return _pick(utility, candidates, event.add[layer])


def _check_numbers(views: _Views, rule: str, layer: int, utility: Tensor, eligible: Tensor) -> None:
    """Refuse utilities that are no numbers: units would be taken by slot, as if by the rule."""
    wrong = (utility.isnan() & eligible).any(1) & views.healthy
    if bool(wrong.any()):
        told = zip(views._context.seeds, wrong.tolist(), strict=True)
        seeds = [seed for seed, bad in told if bad]
        raise CheckError(
            f"intervention.selection.{rule}, layer {layer}: got a utility that is NaN in seeds "
            f"{seeds}, which did not diverge; expected numbers; this is a fault of the rule"
        )


def _pick(utility: Tensor, eligible: Tensor, count: int, maturity: int = 0) -> Tensor:
    """Return (S, H) bool: the ``count`` eligible units of highest utility, ties by slot.

    A diverged seed's utilities may not be finite; its units are taken by slot, so that every seed
    keeps the same counts.
    """
    available = int(eligible.sum(1).min())
    if count > available:
        reason = (
            f"older than edit.maturity ({maturity}); set it lower, or events further apart"
            if maturity
            else "to move; this is a fault of the schedule"
        )
        raise CheckError(
            f"edit: a layer was asked to move {count} units and has {available} {reason}"
        )
    ranked = torch.where(eligible, torch.nan_to_num(utility.double(), nan=0.0), -torch.inf)
    order = ranked.argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.zeros_like(eligible).scatter_(1, order, value=True)


def _refuse_replaced_layers(state: State, record: Record, event: Event, context: Context) -> None:
    """Refuse rules that match newborns to the units that stay where nobody stays.

    Their means would be over nobody: NaN, or an arbitrary slot's.
    """
    chosen = {
        "insertion": context.rules.insertion.rule,
        "optimizer_state": context.rules.optimizer_state.rule,
    }
    lost = [name for name, rule in chosen.items() if rule in catalogue.MATCHING[name]]
    if not lost:
        return
    layers = zip(state.units, record.removed, record.born, strict=True)
    for layer, (units, leaving, coming) in enumerate(layers):
        alone = coming.any(1) & ~(units.alive & ~leaving).any(1)
        if bool(alone.any()):
            seeds = [seed for seed, bad in zip(context.seeds, alone.tolist(), strict=True) if bad]
            raise ConfigError(
                f"intervention.{lost[0]}: {chosen[lost[0]]}, layer {layer}, event {event.index}: "
                f"matches newborns to the layer's units that stay, but none stays in seeds {seeds};"
                f" replace fewer, or use a rule that needs no other unit"
            )


def _without(state: State, record: Record, measurement: Measurement, context: Context) -> Weights:
    """Return the weights with the removed units' slots at their initial values."""
    weights = state.weights
    for layer, leaving in enumerate(record.removed):
        if not bool(leaving.any()):
            continue
        now, start = slots_of(weights, layer), slots_of(context.initial, layer)
        wide, next_bias = leaving[:, :, None], now.next_bias
        if context.rules.transfer and next_bias is not None:
            mean = torch.where(leaving, _mean_activation(state, measurement, layer, context), 0)
            moved = torch.einsum("sh,shg->sg", mean, now.outgoing)
            kept = output_mask(weights, state.alive, layer)
            next_bias = next_bias + torch.where(kept, moved, 0)
        slots = Slots(
            torch.where(wide, start.incoming, now.incoming),
            torch.where(leaving, start.bias, now.bias),
            torch.where(wide, start.outgoing, now.outgoing),
            next_bias,
        )
        weights = with_slots(weights, layer, slots)
    return weights


def _mean_activation(
    state: State, measurement: Measurement, layer: int, context: Context
) -> Tensor:
    """Return (S, H): the running mean where a rule keeps one, else the mean over the probe."""
    units, rule = state.units[layer], context.rules.prune
    if "decay" in rule.options:
        return _corrected(units.activity, units, rule)
    signals = measurement.signals[layer]
    assert signals is not None
    return signals.hidden.mean(1)


def _inserted(
    weights: Weights,
    views: _Views,
    record: Record,
    alive: tuple[Tensor, ...],
    event: Event,
    context: Context,
) -> Weights:
    """Return the weights with newborns in place, layer by layer from input to output."""
    rule = context.rules.insertion
    incumbent = tuple(mask & ~born for mask, born in zip(alive, record.born, strict=True))
    for layer, born in enumerate(record.born):
        if not bool(born.any()):
            continue
        index = rng.stream_index(layer, len(weights.filters))
        draws = [rng.stream(seed, "edit", event.index, index, 1) for seed in context.seeds]
        current = slots_of(weights, layer)
        seen = views.of(layer)
        # A slot that is filled anew in the same event shows what its removed unit did.
        stayed = input_mask(weights, incumbent, layer)[:, None]
        view = replace(
            seen,
            inputs=None if seen.inputs is None else torch.where(stayed, seen.inputs, 0),
            incoming=current.incoming,
            bias=current.bias,
            outgoing=current.outgoing,
            alive=incumbent[layer],
            input_alive=input_mask(weights, alive, layer),
            output_alive=output_mask(weights, incumbent, layer),
        )
        start = slots_of(context.initial, layer)
        try:
            made = insertion.TABLE[rule.rule](view, current, born, start, draws, rule.options)
        except ValueError as error:
            raise ConfigError(
                f"intervention.insertion: {rule.rule}, layer {layer}, event {event.index}: {error}"
            ) from error
        weights = with_slots(weights, layer, made)
    return weights


def _aged(units: Units, alive: Tensor, born: Tensor, event: int) -> Units:
    return replace(
        units,
        alive=alive,
        age=units.age.masked_fill(born, 0),
        cohort=units.cohort.masked_fill(born, event),
        asleep=units.asleep & ~born,
        utility=units.utility.masked_fill(born, 0),
        activity=units.activity.masked_fill(born, 0),
        silent=units.silent.masked_fill(born, 0),
        runs=units.runs.masked_fill(born[:, :, None], 0),
    )


def _gradients_of(context: Context, step: int) -> Callable[[State, int], list[Weights]]:
    batch = context.batch_at(step)
    return lambda state, count: probe.gradients(state, *batch, context.activation, count)


def _with_new_head(state: State, context: Context) -> State:
    """Return the state with its initial classifier, as new to the optimizer as a newborn unit."""

    def last_of(weights: Weights, start: Weights) -> Weights:
        return replace(
            weights,
            incoming=(*weights.incoming[:-1], start.incoming[-1].clone()),
            bias=(*weights.bias[:-1], start.bias[-1].clone()),
        )

    zero = context.initial.map(torch.zeros_like)
    return replace(
        state,
        weights=last_of(state.weights, _starting_over(state, context)),
        moments=tuple(last_of(moment, zero) for moment in state.moments),
        shared_step=torch.zeros_like(state.shared_step),
    )


def _rewound(state: State, context: Context) -> State:
    """Return the state with its initial weights and no moments; ages go on."""
    return replace(
        state,
        weights=_starting_over(state, context),
        moments=tuple(moment.map(torch.zeros_like) for moment in state.moments),
        units=tuple(replace(units, step=torch.zeros_like(units.step)) for units in state.units),
        shared_step=torch.zeros_like(state.shared_step),
    )


def _starting_over(state: State, context: Context) -> Weights:
    """Return the initial weights, those of alive units on the scale of the inputs alive now.

    Masked slots keep their initial weights as they are.
    """
    initial = context.initial
    if context.rescale is None:
        return initial.map(torch.clone)
    factors = context.rescale(state.widths())
    alive = alive_weights(initial, state.alive)
    scaled = [
        torch.where(mask, start * factor, start)
        for start, mask, factor in zip(initial.tensors(), alive, factors, strict=True)
    ]
    return initial.rebuilt(scaled)
