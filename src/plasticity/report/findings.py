"""The sentences of a report. Each is chosen by its interval, among those in ``wordings``."""

import math
from dataclasses import dataclass

import pandas as pd

from plasticity.catalogue import DATASETS
from plasticity.report import contrasts, numbers, theme, wordings
from plasticity.report.contrasts import Ratios
from plasticity.report.inputs import Results
from plasticity.report.numbers import verdict
from plasticity.report.wordings import Wordings
from plasticity.sections import Params
from plasticity.stats import Interval

RANDOM_CONTROL = {"masked_fresh": "random_fresh", "masked_original": "random_original"}
"""Retraining variants and the control that differs from each only in which units it keeps."""


@dataclass(frozen=True)
class Summary:
    """The numbers that sentences are made of; intervals are over the seeds that finished."""

    op: str
    finished: int
    total: int
    diverged: dict[int, int | None]
    """Seed -> optimizer step at which it diverged."""
    start: str
    turn: str
    """Widths where the structure turned round: the largest, or of ``prune_then_grow`` the least."""
    final: str
    capacity: str
    replaced: str
    """Units removed from each seed, over all events."""
    rewound: bool
    """Whether any event after step 0 put weights back to their initial values."""
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

    @property
    def has_newborns(self) -> bool:
        """Whether units born after step 0 were measured."""
        return len(self.newborn.rows) > 0

    @property
    def has_survivors(self) -> bool:
        """Whether units that stayed while others were removed were measured."""
        return len(self.survivor.rows) > 0


def summarise(results: Results) -> Summary:
    """Return the numbers of one experiment."""
    ok = numbers.finished(results.seeds)
    broken = results.seeds[results.seeds["status"] != "ok"]
    cohorts, history = results.whole(results.cohorts), results.whole(results.history)
    edits = results.edits[results.edits["layer"].isin(list(results.capacity))]
    first = edits[edits["event"] == 0].drop_duplicates("layer")
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
        turn=theme.units(_turn(results.params.op, edits) or final),
        final=theme.units(final),
        capacity=theme.units("-".join(map(str, results.capacity.values()))),
        replaced=numbers.span(results.whole(edits).groupby("seed")["removed"].sum()),
        rewound=bool((results.edits["rewound"] > 0)[results.edits["step"] > 0].any()),
        acc=numbers.interval(ok["cycle_acc"]),
        taa=numbers.interval(ok["cycle_taa"]),
        variant=variant,
        ticket=numbers.interval(tickets["ticket_acc"]),
        delta=numbers.interval(tickets["delta_acc"]),
        newborn=contrasts.newborns(cohorts),
        survivor=contrasts.survivors(cohorts),
        removed=contrasts.removed(cohorts),
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


def _turn(op: str, edits: pd.DataFrame) -> str:
    layers = edits.groupby("layer", sort=True)["alive_after"]
    return "-".join(map(str, layers.min() if op == "prune_then_grow" else layers.max()))


def _steps(frame: pd.DataFrame) -> dict[int, int | None]:
    return {
        int(seed): None if pd.isna(step) else int(step)
        for seed, step in zip(frame["seed"], frame["diverged_step"], strict=True)
    }


def ratio(interval: Interval | None) -> str:
    """Return the geometric mean of a log interval with its bounds: ``0.46x [0.41, 0.52]``."""
    if interval is None:
        return "-"
    mean = math.exp(interval.mean)
    if interval.low is None or interval.high is None:
        return theme.times(mean)
    low, high = math.exp(interval.low), math.exp(interval.high)
    exact = theme.telling(low, high, 1.0, 2)
    least = exact if exact > 2 else 0
    low_text, high_text = (theme.times(end, least)[:-1] for end in (low, high))
    return f"{theme.times(mean, least)} [{low_text}, {high_text}]"


def _size(interval: Interval | None) -> str:
    return "" if interval is None else theme.size(interval)


def _points(interval: Interval | None) -> str:
    return "" if interval is None else theme.points(interval)


def _percent(interval: Interval | None) -> str:
    return "no known accuracy" if interval is None else theme.percent(interval)


def title(summary: Summary) -> str:
    """Return the report's title: what was done, what it reached, and the finding it is about."""
    head = wordings.HEADS[summary.op].format(**vars(summary))
    alone = " in one seed, so without an interval" if summary.finished == 1 else ""
    return f"{head} reached {_percent(summary.acc)}{alone}; {_clause(summary)}"


def _clause(summary: Summary) -> str:
    if not summary.has_newborns:
        return _delta(wordings.DELTA_TITLE, summary)
    end = summary.newborn.at("gradient", "end")
    mean = "" if end is None else theme.times(math.exp(end.mean))
    return wordings.NEWBORN_TITLE[verdict(end)].format(ratio=mean) + _missing(summary, end)


def _delta(wordings: Wordings, summary: Summary) -> str:
    delta = summary.delta
    units = "random units" if summary.variant.startswith("random") else "the kept units"
    if summary.op == "dense":
        units = "the network"
    return wordings[verdict(delta)].format(size=_size(delta), delta=_points(delta), units=units)


def lead(summary: Summary, params: Params) -> tuple[str, str, str]:
    """Return the three sentences under the title: done, reached, learned."""
    train, seeds = params.train, "1 seed" if summary.total == 1 else f"{summary.total} seeds"
    kind = "multilayer perceptron" if params.network.kind == "mlp" else "convolutional network"
    rate = f"{train.optimizer.upper() if train.optimizer == 'sgd' else 'Adam'} at {train.lr:g}"
    data = DATASETS[params.dataset].label
    done = (
        f"{seeds} of a {kind} with up to {summary.capacity} hidden units trained on "
        f"{data} for {train.epochs} epochs with {rate}; {_structure(summary)}."
    )
    reached = (
        f"It ended at {_percent(summary.acc)} test accuracy, against {_percent(summary.taa)} on "
        "average over the ends of its cycles."
    )
    return done, reached, _learned(summary)


def _structure(summary: Summary) -> str:
    return wordings.STRUCTURE[summary.op].format(**vars(summary))


def _learned(summary: Summary) -> str:
    if summary.newborn.at("gradient", "birth") is not None:
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
        return f"{_delta(wordings.DELTA, summary)} (variant {summary.variant})."
    found = control(summary)
    return f"{_delta(wordings.DELTA, summary)}; {found[:1].lower()}{found[1:]}."


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
    fired = wordings.FIRED[verdict(act)].format(ratio=ratio(act), others=others)
    return f"{fired} {but} {wordings.LEARNED[verdict(grad)].format(ratio=ratio(grad))}"


def selected(summary: Summary) -> str:
    """Return how the units that pruning takes compare with those it keeps."""
    act, grad = (summary.removed.at(measure, "before") for measure in contrasts.MEASURES)
    compared = _compared(act, grad, "those it kept")
    return f"The units an event removed {compared}{_missing(summary, grad)}"


def survived(summary: Summary) -> str:
    """Return what an event does to the units that stay."""
    act, grad = (summary.survivor.at(measure, "birth") for measure in contrasts.MEASURES)
    compared = _compared(act, grad, "before it")
    return f"Right after an event the survivors {compared}{_missing(summary, grad)}"


def event_cost(summary: Summary) -> str:
    """Return what an event does to test accuracy."""
    return wordings.EVENT_COST[verdict(summary.cost)].format(
        size=_size(summary.cost), cost=_points(summary.cost), acc=_percent(summary.acc)
    )


def delta(summary: Summary) -> str:
    """Return what retraining from scratch does to the final network."""
    return _delta(wordings.DELTA, summary)


def control(summary: Summary) -> str:
    """Return whether the kept units beat random ones of the same widths."""
    if summary.op == "dense":
        return "A dense network keeps every unit, so there are no others to compare the kept with"
    original = summary.controls.get("masked_original")
    gap = original or next(iter(summary.controls.values()), None)
    texts = wordings.CONTROL if original else wordings.CONTROL_FRESH
    return texts[verdict(gap)].format(size=_size(gap), gap=_points(gap))


def later(ratios: Ratios) -> str:
    """Return whether newborns of later events start differently."""
    rows = ratios.rows[ratios.rows["measure"].eq("gradient") & ratios.rows["moment"].eq("birth")]
    means = rows.groupby(["seed", "event"])["log_ratio"].mean().unstack("event")
    enough = means.shape[1] > 1
    change = numbers.interval(means.iloc[:, -1] - means.iloc[:, 0]) if enough else None
    return wordings.LATER[verdict(change)].format(ratio=ratio(change))


def widths(edits: pd.DataFrame, summary: Summary) -> str:
    """Return from where to where the widths went."""
    moved = edits[(edits["added"] + edits["removed"]) > 0]["event"].nunique()
    if not moved:
        return f"All {summary.final} units were there from the first step to the last"
    events = "1 event" if moved == 1 else f"{moved} events"
    return wordings.WIDTHS[summary.op].format(**vars(summary), events=events)


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
    text = wordings.STREAM[verdict(change)].format(size=_size(change), change=_points(change))
    return f"{name.replace('_', ' ')}: {text}"


def n(summary: Summary) -> str:
    """Return the n of an interval over training seeds, and who is missing from it."""
    if not summary.diverged:
        return f"n = {summary.total} {'seed' if summary.total == 1 else 'seeds'}"
    names = theme.listed([str(seed) for seed in sorted(summary.diverged)])
    noun = "seed" if len(summary.diverged) == 1 else "seeds"
    return f"n = {summary.finished} of {summary.total} seeds ({noun} {names} diverged)"
