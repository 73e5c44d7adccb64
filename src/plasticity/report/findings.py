"""The sentences of a report. A wording is chosen by its interval, among those prepared here.

``below``, ``above``: the interval excludes the reference. ``unclear``: it does not, which is no
evidence of equality. ``single``: one seed, no interval. ``none``: nothing was measured.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from plasticity.catalogue import DATASETS
from plasticity.config import Params
from plasticity.report import numbers, theme
from plasticity.report.inputs import Results
from plasticity.report.numbers import Ratios, Verdict, verdict
from plasticity.stats import Interval

Wordings = Mapping[Verdict, str]

RANDOM_CONTROL = {"masked_fresh": "random_fresh", "masked_original": "random_original"}
"""Retraining variants and the control that differs from each only in which units it keeps."""

VERBS = {"grow": "Growing", "prune": "Pruning"}

NEWBORN_TITLE: Wordings = {
    "below": "newborns still got {ratio} the gradient of incumbents when their cycle ended",
    "unclear": "when their cycle ended, newborns' gradient could not be told from the incumbents'",
    "above": "newborns got {ratio} the gradient of incumbents when their cycle ended",
    "single": "newborns got {ratio} the gradient of incumbents when their cycle ended",
    "none": "no newborns to compare with incumbents",
}
DELTA_TITLE: Wordings = {
    "below": "retraining {units} from scratch lost {size}",
    "unclear": "retraining {units} from scratch made no clear difference ({delta})",
    "above": "retraining {units} from scratch gained {size}",
    "single": "retraining {units} from scratch changed it by {delta}",
    "none": "no retrained network to compare it with",
}
FIRED: Wordings = {
    "below": "fired less often than {others} ({ratio})",
    "unclear": "could not be told from {others} by how often they fired ({ratio})",
    "above": "fired more often than {others} ({ratio})",
    "single": "fired {ratio} as often as {others} in the one seed",
    "none": "had no activation to compare with {others}",
}
LEARNED: Wordings = {
    "below": "received less gradient ({ratio})",
    "unclear": "received a gradient that could not be told apart ({ratio})",
    "above": "received more gradient ({ratio})",
    "single": "received {ratio} the gradient",
    "none": "had no gradient to compare",
}


EVENT_COST: Wordings = {
    "below": "The epoch after an event lost {size} of test accuracy",
    "unclear": "The epoch after an event made no clear difference to test accuracy ({cost})",
    "above": "Test accuracy rose by {size} over the epoch after an event",
    "single": "In the one seed test accuracy changed by {cost} over the epoch after an event",
    "none": "Test accuracy ended at {acc}",
}
DELTA: Wordings = {
    "below": "Trained again from scratch, {units} lost {size}",
    "unclear": "Trained again from scratch, {units} came out neither clearly better nor clearly "
    "worse ({delta})",
    "above": "Trained again from scratch, {units} gained {size}",
    "single": "Trained again from scratch, {units} of the one seed changed by {delta}",
    "none": "There is no retrained network, so there are two measures, not three",
}
CONTROL: Wordings = {
    "below": "Random units of the same widths did better than the kept ones, by {size}",
    "unclear": "The kept units could not be told from random units of the same widths ({gap})",
    "above": "The kept units are worth more than their number: {size} over random units "
    "of the same widths",
    "single": "In the one seed the kept units differ from random ones of the same widths by {gap}",
    "none": "Whether the kept units are more than their number was not tested",
}
LATER: Wordings = {
    "below": "Newborns of the last event started with less gradient, next to incumbents, than "
    "those of the first ({ratio})",
    "unclear": "Newborns of the first and the last event could not be told apart by their gradient "
    "at birth ({ratio})",
    "above": "Newborns of the last event started with more gradient, next to incumbents, than "
    "those of the first ({ratio})",
    "single": "In the one seed the gradient at birth changed by {ratio} from the first event to "
    "the last",
    "none": "There are too few events to compare the first with the last",
}
STREAM: Wordings = {
    "below": "online accuracy fell by {size} from the first task to the last",
    "unclear": "first and last task could not be told apart ({change})",
    "above": "online accuracy rose by {size} from the first task to the last",
    "single": "the one seed changed by {change} from the first task to the last",
    "none": "no seed finished",
}


@dataclass(frozen=True)
class Summary:
    """The numbers that sentences are made of; intervals are over the seeds that finished."""

    op: str
    finished: int
    total: int
    diverged: dict[int, int | None]
    """Seed -> optimizer step at which it diverged."""
    start: str
    final: str
    capacity: str
    acc: Interval | None
    taa: Interval | None
    variant: str
    ticket: Interval | None
    delta: Interval | None
    newborn: Ratios
    survivor: Ratios
    removed: Ratios
    cost: Interval | None
    controls: dict[str, Interval | None]
    """Variant -> paired difference to its random control, percent."""


def summarise(results: Results) -> Summary:
    """Return the numbers of one experiment."""
    ok = numbers.finished(results.seeds)
    broken = results.seeds[results.seeds["status"] != "ok"]
    cohorts = results.cohorts[results.cohorts["seed"].isin(ok["seed"])]
    history = results.history[results.history["seed"].isin(ok["seed"])]
    first = results.edits[results.edits["event"] == 0].drop_duplicates("layer")
    final = " or ".join(sorted(set(ok["units"])))
    variant = next(iter(results.params.retrain.variants), "")
    tickets = numbers.ticket_values(results.tickets, variant)
    tickets = tickets[tickets["seed"].isin(ok["seed"])]
    return Summary(
        op=results.params.op,
        finished=len(ok),
        total=len(results.seeds),
        diverged=_steps(broken),
        start=theme.units(
            "-".join(str(n) for n in first.sort_values("layer")["alive_before"]) or final
        ),
        final=theme.units(final),
        capacity=theme.units("-".join(map(str, results.params.network.widths))),
        acc=numbers.interval(ok["cycle_acc"]),
        taa=numbers.interval(ok["cycle_taa"]),
        variant=variant,
        ticket=numbers.interval(tickets["ticket_acc"]),
        delta=numbers.interval(tickets["delta_acc"]),
        newborn=numbers.newborn_ratios(cohorts),
        survivor=numbers.survivor_ratios(cohorts),
        removed=numbers.removed_ratios(cohorts),
        cost=numbers.event_costs(history, results.edits),
        controls={
            kept: numbers.paired(
                numbers.ticket_values(results.tickets, kept),
                numbers.ticket_values(results.tickets, random),
                "ticket_acc",
            )[1]
            for kept, random in RANDOM_CONTROL.items()
            if {kept, random} <= set(results.params.retrain.variants)
            and results.params.op != "dense"
        },
    )


def _steps(frame: pd.DataFrame) -> dict[int, int | None]:
    return {
        int(seed): None if pd.isna(step) else int(step)
        for seed, step in zip(frame["seed"], frame["diverged_step"], strict=True)
    }


def ratio(interval: Interval | None) -> str:
    """Return the geometric mean of a log interval with its bounds: ``0.46x [0.41, 0.52]``."""
    if interval is None:
        return "-"
    mean = theme.times(math.exp(interval.mean))
    if interval.low is None or interval.high is None:
        return mean
    low, high = (theme.times(math.exp(end))[:-1] for end in (interval.low, interval.high))
    return f"{mean} [{low}, {high}]"


def _size(interval: Interval | None) -> str:
    return "" if interval is None else theme.size(interval)


def _points(interval: Interval | None) -> str:
    return "" if interval is None else theme.points(interval)


def _percent(interval: Interval | None) -> str:
    return "no known accuracy" if interval is None else theme.percent(interval)


def title(summary: Summary) -> str:
    """Return the report's title: what was done, what it reached, and the finding it is about."""
    if summary.op in VERBS:
        head = f"{VERBS[summary.op]} {summary.start} to {summary.final} units"
    else:
        head = f"A {summary.op} network of {summary.final} units"
    alone = " in one seed, so without an interval" if summary.finished == 1 else ""
    return f"{head} reached {_percent(summary.acc)}{alone}; {_clause(summary)}"


def _clause(summary: Summary) -> str:
    if summary.op != "grow":
        return _delta(DELTA_TITLE, summary)
    end = summary.newborn.at("gradient", "end")
    mean = "" if end is None else theme.times(math.exp(end.mean))
    return NEWBORN_TITLE[verdict(end)].format(ratio=mean) + _missing(summary, end)


def _delta(wordings: Wordings, summary: Summary) -> str:
    delta = summary.delta
    units = "random units" if summary.variant.startswith("random") else "the kept units"
    return wordings[verdict(delta)].format(size=_size(delta), delta=_points(delta), units=units)


def lead(summary: Summary, params: Params) -> tuple[str, str, str]:
    """Return the three sentences under the title: done, reached, learned."""
    train, seeds = params.train, "1 seed" if summary.total == 1 else f"{summary.total} seeds"
    kind = "multilayer perceptron" if params.network.kind == "mlp" else "convolutional network"
    rate = f"{train.optimizer.upper() if train.optimizer == 'sgd' else 'Adam'} at {train.lr:g}"
    done = (
        f"{seeds} of a {kind} with up to {summary.capacity} hidden units trained on "
        f"{DATASETS[params.dataset]} for {train.epochs} epochs with {rate}; {_structure(summary)}."
    )
    reached = (
        f"It ended at {_percent(summary.acc)} test accuracy, against {_percent(summary.taa)} on "
        "average over the ends of its cycles."
    )
    return done, reached, _learned(summary)


def _structure(summary: Summary) -> str:
    if summary.op in VERBS:
        return f"its structure went from {summary.start} to {summary.final} units on the way"
    return f"its {summary.final} units never changed"


def _learned(summary: Summary) -> str:
    if summary.op == "grow" and summary.newborn.at("gradient", "birth") is not None:
        act, grad = (
            [ratio(summary.newborn.at(measure, moment)) for moment in ("birth", "end")]
            for measure in ("activation", "gradient")
        )
        return (
            f"Units born after step 0 fired at {act[0]} the rate of incumbents at birth and got "
            f"{grad[0]} of their gradient; when the cycle ended it was {act[1]} and {grad[1]}."
        )
    if summary.delta is None:
        return "There is no retrained network, so nothing is said about the structure on its own."
    if summary.op == "dense" or not summary.controls:
        return f"{_delta(DELTA, summary)} (variant {summary.variant})."
    found = control(summary)
    return f"{_delta(DELTA, summary)}; {found[:1].lower()}{found[1:]}."


def _missing(summary: Summary, gradient: Interval | None) -> str:
    """Return who is missing from a gradient ratio: seeds in which one side got none at all."""
    if gradient is None or gradient.n == summary.finished:
        return ""
    return f", in the {gradient.n} of {summary.finished} seeds where both got any"


def birth(summary: Summary) -> str:
    """Return how newborns start: forward and backward."""
    act = summary.newborn.at("activation", "birth")
    grad = summary.newborn.at("gradient", "birth")
    if grad is None:
        return "No unit was born after step 0, so there is no newborn to compare"
    return f"At birth newborns {_compared(act, grad, 'incumbents')}{_missing(summary, grad)}"


def _compared(act: Interval | None, grad: Interval | None, others: str) -> str:
    opposed = {("above", "below"), ("unclear", "below"), ("below", "above")}
    but = "but" if (verdict(act), verdict(grad)) in opposed else "and"
    fired = FIRED[verdict(act)].format(ratio=ratio(act), others=others)
    return f"{fired} {but} {LEARNED[verdict(grad)].format(ratio=ratio(grad))}"


def selected(summary: Summary) -> str:
    """Return how the units that pruning takes compare with those it keeps."""
    act, grad = (summary.removed.at(measure, "before") for measure in numbers.MEASURES)
    compared = _compared(act, grad, "those it kept")
    return f"The units an event removed {compared}{_missing(summary, grad)}"


def survived(summary: Summary) -> str:
    """Return what an event does to the units that stay."""
    act, grad = (summary.survivor.at(measure, "birth") for measure in numbers.MEASURES)
    compared = _compared(act, grad, "before it")
    return f"Right after an event the survivors {compared}{_missing(summary, grad)}"


def event_cost(summary: Summary) -> str:
    """Return what an event does to test accuracy."""
    return EVENT_COST[verdict(summary.cost)].format(
        size=_size(summary.cost), cost=_points(summary.cost), acc=_percent(summary.acc)
    )


def delta(summary: Summary) -> str:
    """Return what retraining from scratch does to the final network."""
    return _delta(DELTA, summary)


def control(summary: Summary) -> str:
    """Return whether the kept units beat random ones of the same widths."""
    if summary.op == "dense":
        return "A dense network keeps every unit, so there are no others to compare the kept with"
    gap = next(iter(summary.controls.values()), None)
    return CONTROL[verdict(gap)].format(size=_size(gap), gap=_points(gap))


def later(ratios: Ratios) -> str:
    """Return whether newborns of later events start differently."""
    rows = ratios.rows[ratios.rows["measure"].eq("gradient") & ratios.rows["moment"].eq("birth")]
    means = rows.groupby(["seed", "event"])["log_ratio"].mean().unstack("event")
    enough = means.shape[1] > 1
    change = numbers.interval(means.iloc[:, -1] - means.iloc[:, 0]) if enough else None
    return LATER[verdict(change)].format(ratio=ratio(change))


def widths(edits: pd.DataFrame, summary: Summary) -> str:
    """Return from where to where the widths went."""
    moved = edits[(edits["added"] + edits["removed"]) > 0]["event"].nunique()
    if not moved:
        return f"All {summary.final} units were there from the first step to the last"
    events = "1 event" if moved == 1 else f"{moved} events"
    return (
        f"Widths went from {summary.start} to {summary.final} in {events}, out of a capacity of "
        f"{summary.capacity}"
    )


def remains(shares: pd.DataFrame) -> str:
    """Return what the final network has of the full one; columns name and share."""
    parts = [
        f"{share:.0f} % of {name}"
        for name, share in zip(shares["name"], shares["share"], strict=True)
    ]
    return (
        f"The final network has {theme.listed(parts[:-1])} of the full one; training it took "
        f"{parts[-1]}"
    )


def streams(rows: pd.DataFrame) -> str:
    """Return how online accuracy changed over every stream."""
    parts = "; ".join(_stream(str(name), part) for name, part in rows.groupby("stream", sort=True))
    return parts[:1].upper() + parts[1:]


def _stream(name: str, rows: pd.DataFrame) -> str:
    done = numbers.finished(rows)
    change = numbers.interval(done["last_task"] - done["first_task"])
    text = STREAM[verdict(change)].format(size=_size(change), change=_points(change))
    return f"{name.replace('_', ' ')}: {text}"


def n(summary: Summary) -> str:
    """Return the n of an interval over training seeds, and who is missing from it."""
    if not summary.diverged:
        return f"n = {summary.total} {'seed' if summary.total == 1 else 'seeds'}"
    names = theme.listed([str(seed) for seed in sorted(summary.diverged)])
    noun = "seed" if len(summary.diverged) == 1 else "seeds"
    return f"n = {summary.finished} of {summary.total} seeds ({noun} {names} diverged)"
