"""Claims: what a study is to decide, written down before it runs. No torch.

A claim names a measure, what it expects, and the contrasts that it stands on. A contrast is a pair
of sides, the first less the second, seed by seed. A side is a number; a pair again, so that a
difference of differences is a contrast too; or words: a condition and, where it is not the
claim's, a measure with its arguments, such as ``grow_20 ticket.acc random_fresh``.

Two measures are read at equal FLOPs: the dearer conditions of a contrast are cut where the cheapest
has spent all of its training FLOPs. ``equal_flops.acc`` is the accuracy there. ``equal_flops.taa``
is the mean accuracy at the FLOPs that the cheapest had spent at each of its cycle ends: as many
points for every condition, and at each point all have spent the same. So it is the cheapest one's
``cycle.taa``; only points at which another has not finished an epoch yet are left out, for all of
them. Between two epochs an accuracy lies on a line over FLOPs. To take each condition's own cycle
ends would compare means over different numbers of points, late ones of one with early ones of the
other.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from plasticity import catalogue
from plasticity.escapes import brief, quoted
from plasticity.sections import Params, Text, label, nearest

Leaf = TypeVar("Leaf")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
"""What names a claim: it stands in pages, tables and figures."""
Expectation = Literal["more", "less", "same", "not_less", "not_more"]
BOUNDED: tuple[Expectation, ...] = ("same", "not_less", "not_more")
"""What is expected up to a margin; ``more`` and ``less`` are than none."""

EXPECTS: Mapping[str, str] = {
    "more": "more than {none}",
    "less": "less than {none}",
    "same": "{none} within {margin}",
    "not_less": "not less than {none} by more than {margin}",
    "not_more": "not more than {none} by more than {margin}",
}
"""In words; ``none`` is no difference in the claim's unit."""


@dataclass(frozen=True)
class Argument:
    """A word after a measure's name."""

    name: str
    allowed: Callable[[Params], Collection[str]]
    needed: bool = False
    first: bool = True
    """Whether it is the first of those allowed when it is left out; else it is all of them."""


@dataclass(frozen=True)
class Measure:
    """What can be compared: one number of each seed."""

    label: str
    unit: Literal["points", "ratio", "error"]
    """``points`` of accuracy; a ``ratio``, compared by its logarithm; an ``error``, as it is."""
    stage: str
    arguments: tuple[Argument, ...] = ()
    at_equal_flops: bool = False
    """Whether it depends on the other conditions of a contrast."""


def _layers(params: Params) -> Collection[str]:
    names = [f"fc{place}" for place in range(1, len(params.network.widths) + 1)]
    return [*(f"conv{place}" for place in range(1, len(params.network.trunk) + 1)), *names]


def _steps(params: Params) -> Collection[str]:
    return [str(steps) for steps in params.continual.sweep or (params.continual.steps,)]


_VARIANT = Argument("variant", lambda params: params.retrain.variants)
_MOMENT = Argument("moment", lambda _: ("birth", "end"), needed=True)
_LAYER = Argument("layer", _layers, first=False)
_STREAM = (
    Argument("learner", lambda params: params.continual.learners),
    Argument(
        "stream",
        lambda params: [label(one, catalogue.STREAMS) for one in params.continual.streams],
    ),
    Argument("steps", _steps),
)

MEASURES: Mapping[str, Measure] = {
    "cycle.acc": Measure("Cycle ACC", "points", "train"),
    "cycle.taa": Measure("Cycle TAA", "points", "train"),
    "epoch.taa": Measure("mean over epochs", "points", "train"),
    "equal_flops.acc": Measure("accuracy at equal FLOPs", "points", "train", at_equal_flops=True),
    "equal_flops.taa": Measure(
        "mean over cycle ends at equal FLOPs", "points", "train", at_equal_flops=True
    ),
    "ticket.acc": Measure("Ticket ACC", "points", "retrain", (_VARIANT,)),
    "ticket.taa": Measure("Ticket TAA", "points", "retrain", (_VARIANT,)),
    "delta.acc": Measure("Delta (ticket less cycle)", "points", "retrain", (_VARIANT,)),
    "newborn.act": Measure("newborn / incumbent activation", "ratio", "train", (_MOMENT, _LAYER)),
    "newborn.grad": Measure("newborn / incumbent gradient", "ratio", "train", (_MOMENT, _LAYER)),
    "flops": Measure("training FLOPs", "ratio", "train"),
    "active_unit_steps": Measure("active-unit steps", "ratio", "train"),
    "taoa": Measure("online accuracy", "points", "continual", _STREAM),
    "early": Measure("early-task accuracy", "points", "continual", _STREAM),
    "loss": Measure("late online error", "error", "continual", _STREAM),
}
"""Where a measure has arguments, those that are left out are the experiment's only or first one;
a layer that is left out is all of them together."""


@dataclass(frozen=True)
class Reference:
    """One measure of one condition."""

    condition: str
    measure: str
    arguments: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    """Of a measure at equal FLOPs: the conditions of its contrast, its own among them."""

    def __str__(self) -> str:
        """Return it as it is written in a study."""
        return " ".join((self.condition, self.measure, *self.arguments))


class ClaimForm(BaseModel):
    """A claim as a study writes it."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    says: Annotated[Text, Field(min_length=1, max_length=300)]
    paper: Annotated[Text, Field(max_length=300)] = ""
    expects: Expectation
    metric: Annotated[str | tuple[str, str], BeforeValidator(lambda v: _frozen(v))] = "cycle.acc"
    margin: Annotated[float | None, Field(gt=0)] = None
    contrasts: Annotated[tuple[Any, ...], BeforeValidator(lambda v: _frozen(v))] = ()
    across: Annotated[tuple[str, ...], BeforeValidator(lambda v: _frozen(v))] = ()


@dataclass(frozen=True)
class Claim:
    """What is to be decided."""

    name: str
    says: str
    paper: str
    """What the paper found, in a few words."""
    expects: Expectation
    margin: float
    """In the unit of the contrasts; the logarithm of a factor for a ratio."""
    contrasts: tuple[tuple[Any, Any], ...]
    """Pairs of sides. Empty for a correlation."""
    across: tuple[tuple[Reference, Reference], ...] = ()
    """The two measures of each condition, for a claim about their rank correlation."""

    @property
    def references(self) -> Iterator[Reference]:
        """Return every measure that the claim needs."""
        for pair in (*self.contrasts, *self.across):
            yield from leaves(pair, Reference)

    @property
    def unit(self) -> str:
        """Return the unit of its contrasts."""
        first = next(iter(self.references))
        return "correlation" if self.across else MEASURES[first.measure].unit


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def leaves(side: Any, kind: type[Leaf]) -> Iterator[Leaf]:
    """Return what a side is made of: its references, or its numbers."""
    if isinstance(side, kind):
        yield side
    elif isinstance(side, tuple):
        for part in side:
            yield from leaves(part, kind)


def parse_claim(
    name: str,
    form: ClaimForm,
    margin: float,
    conditions: Mapping[str, Params],
    stages: Collection[str],
) -> tuple[Claim, list[str]]:
    """Return a claim and every error in it.

    Parameters
    ----------
    name, form
        Of the claim.
    margin
        Of the study, for a claim that has none of its own.
    conditions
        The study's, by name.
    stages
        That the study brings up to date.
    """
    where = f"claims.{name}"
    errors: list[str] = []

    def reference(text: str, metric: str) -> Reference:
        condition, *words = text.split() or [""]
        measure, *arguments = words or metric.split() or [""]
        found = Reference(condition, measure, tuple(arguments))
        errors.extend(
            f"{where}: {quoted(text)}: {line}" for line in _wrong(found, conditions, stages)
        )
        return found

    def side(value: Any) -> Any:
        if isinstance(value, tuple) and len(value) == 2:
            return side(value[0]), side(value[1])
        if isinstance(value, str) and isinstance(form.metric, str):
            return reference(value, form.metric)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        errors.append(
            f"{where}: got {quoted(value)}, expected a condition, a number or a pair of them"
        )
        return 0.0

    pairs = tuple(side(contrast) for contrast in form.contrasts)
    errors += [
        f"{where}.contrasts: got {_text(pair)}, expected a pair: this, less that"
        for pair in pairs
        if not isinstance(pair, tuple)
    ]
    across: tuple[tuple[Reference, Reference], ...] = ()
    if isinstance(form.metric, tuple):
        first, second = form.metric
        across = tuple((reference(one, first), reference(one, second)) for one in form.across)
        errors += _not_plain(where, form)
    errors += _mixed(where, form, pairs)
    errors += [line for pair in pairs for line in _unlike(where, pair, conditions)]
    errors += [line for pair in (*pairs, *across) for line in _not_beside(where, pair, form)]
    beside = tuple(_beside(pair) for pair in pairs)
    claim = Claim(name, form.says, form.paper, form.expects, margin, beside, across)
    limit, wrong = _margin(where, form, margin, claim)
    return replace(claim, margin=limit), errors + wrong


def _not_beside(where: str, pair: Any, form: ClaimForm) -> Iterator[str]:
    """Return why measures at equal FLOPs cannot be read: they need two conditions to compare."""
    found = list(leaves(pair, Reference))
    measures = {one.measure for one in found}
    chosen = sorted(name for name in measures & {*MEASURES} if MEASURES[name].at_equal_flops)
    if chosen and form.across:
        yield f"{where}.metric: '{chosen[0]}' is of a contrast; a correlation has no FLOPs to equal"
    elif chosen and (len(measures) > 1 or len({one.condition for one in found}) == 1):
        yield (
            f"{where}.contrasts: {_text(pair)}: '{chosen[0]}' needs at least two conditions, all "
            "of them with this measure"
        )


def _beside(pair: Any) -> Any:
    """Return a contrast whose measures at equal FLOPs know all of its conditions."""
    names = tuple(dict.fromkeys(one.condition for one in leaves(pair, Reference)))

    def side(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(side, value))
        known = isinstance(value, Reference) and value.measure in MEASURES
        if known and MEASURES[value.measure].at_equal_flops:
            return replace(value, beside=names)
        return value

    return side(pair)


def _not_plain(where: str, form: ClaimForm) -> list[str]:
    """Return what ``across`` has besides conditions, each once: the measures are the metric's."""
    given = [str(one) for one in form.across]
    return [
        f"{where}.across: got {quoted(one)}, expected a condition alone; the two metrics say what "
        "is correlated"
        for one in given
        if len(one.split()) != 1
    ] + [
        f"{where}.across: {quoted(one)} is there {given.count(one)} times"
        for one in dict.fromkeys(given)
        if given.count(one) > 1
    ]


def _margin(where: str, form: ClaimForm, margin: float, claim: Claim) -> tuple[float, list[str]]:
    """Return the margin in the unit of the contrasts, and what is wrong with it."""
    units = {MEASURES[one.measure].unit for one in claim.references if one.measure in MEASURES}
    if units == {"points"} or claim.across:
        return margin if form.margin is None else form.margin, []
    needed = form.expects in BOUNDED
    if form.margin is None and not needed:
        return 0.0, []
    least = 1.0 if units == {"ratio"} else 0.0
    if form.margin is None or form.margin <= least:
        return 0.0, [
            f"{where}.margin: got {form.margin}, expected more than {least:g}: that of the study "
            "is in points of accuracy, and this claim is about another unit"
        ]
    return math.log(form.margin) if units == {"ratio"} else form.margin, []


def _mixed(where: str, form: ClaimForm, pairs: Iterable[Any]) -> list[str]:
    """Return what does not go together."""
    errors = []
    if isinstance(form.metric, tuple) != bool(form.across) or bool(form.across) == bool(
        form.contrasts
    ):
        errors.append(
            f"{where}: give either contrasts of one metric, or two metrics and the conditions "
            "across which they are to be correlated"
        )
    if form.across and form.expects not in ("more", "less"):
        errors.append(f"{where}.expects: got '{form.expects}'; a correlation is 'more' or 'less'")
    used = {one.measure for pair in pairs for one in leaves(pair, Reference)}
    units = {MEASURES[name].unit for name in used & {*MEASURES}}
    if len(units) > 1:
        errors.append(
            f"{where}.contrasts: got {len(units)} units ({', '.join(sorted(units))}), expected "
            "one; make a claim of each"
        )
    for pair in pairs:
        if not any(True for _ in leaves(pair, Reference)):
            errors.append(f"{where}.contrasts: {_text(pair)} names no condition")
        if units == {"ratio"} and any(number <= 0 for number in leaves(pair, float)):
            errors.append(f"{where}.contrasts: {_text(pair)}: a ratio is compared with a factor")
    return errors


def _unlike(where: str, pair: Any, conditions: Mapping[str, Params]) -> Iterator[str]:
    """Return why the sides of a contrast are not of the same kind."""
    if isinstance(pair, tuple) and len(pair) == 2 and pair[0] == pair[1]:
        yield f"{where}.contrasts: {_text(pair)} compares a side with itself"
    known = [one for one in leaves(pair, Reference) if one.condition in conditions]
    taken = [found for one in known for found in _taken(one, conditions[one.condition])]
    for name in sorted({name for name, _, guessed in taken if guessed}):
        values = sorted({value for other, value, _ in taken if other == name})
        if len(values) > 1:
            yield (
                f"{where}.contrasts: {_text(pair)} would compare the {name}s "
                f"{' and '.join(values)}, the first of each side; say which"
            )


def _taken(one: Reference, params: Params) -> Iterator[tuple[str, str, bool]]:
    """Return each argument of which one is taken, which, and whether others could have been."""
    for argument in MEASURES[one.measure].arguments if one.measure in MEASURES else ():
        allowed = list(argument.allowed(params))
        if allowed and argument.first and not argument.needed:
            given = arguments_of(one, params).get(argument.name)
            yield argument.name, given or allowed[0], given is None and len(allowed) > 1


def _text(side: Any) -> str:
    """Return a side as a study writes it, in one line of bounded length."""
    return brief(_whole_text(side))


def _whole_text(side: Any) -> str:
    if isinstance(side, tuple):
        return f"[{', '.join(map(_whole_text, side))}]"
    return str(side)


def _wrong(
    one: Reference, conditions: Mapping[str, Params], stages: Collection[str]
) -> Iterator[str]:
    """Return what is wrong with a reference."""
    params, measure = conditions.get(one.condition), MEASURES.get(one.measure)
    if params is None:
        yield f"unknown condition {quoted(one.condition)}{nearest(one.condition, conditions)}"
    if measure is None:
        yield f"unknown metric {quoted(one.measure)}{nearest(one.measure, MEASURES)}"
    elif measure.stage not in stages:
        yield f"'{one.measure}' needs the stage '{measure.stage}', which is not in stages"
    if params is not None and measure is not None:
        if measure.stage == "retrain" and not params.retrain.variants:
            yield f"'{one.measure}' needs retrain.variants, which are empty there"
        if measure.stage == "continual" and not params.continual.streams:
            yield f"'{one.measure}' needs continual.streams, which are empty there"
        yield from _wrong_arguments(one, params, measure)


def _wrong_arguments(one: Reference, params: Params, measure: Measure) -> Iterator[str]:
    given = arguments_of(one, params)
    for argument in measure.arguments:
        if argument.needed and argument.name not in given:
            allowed = ", ".join(argument.allowed(params))
            yield f"'{one.measure}' needs its {argument.name}: {allowed}"
    for word in one.arguments[len(given) :]:
        every = [word for argument in measure.arguments for word in argument.allowed(params)]
        known = f" (allowed: {', '.join(every)})" if every else ""
        yield f"'{one.measure}' knows no {quoted(word)}{nearest(word, every)}{known}"


def arguments_of(one: Reference, params: Params) -> dict[str, str]:
    """Return the arguments that a reference gives, by their names."""
    found: dict[str, str] = {}
    left = list(one.arguments)
    for argument in MEASURES[one.measure].arguments:
        if left and left[0] in argument.allowed(params):
            found[argument.name] = left.pop(0)
    return found
