"""The sections of a report, in order: a question, what was found, a figure, a table."""

from collections.abc import Iterable

import pandas as pd

from plasticity.catalogue import RETRAIN_VARIANTS, STREAMS
from plasticity.report import accounts, figures, findings, numbers, outcomes, parts
from plasticity.report.charts import Figure
from plasticity.report.findings import Summary
from plasticity.report.inputs import Results
from plasticity.report.numbers import Ratios
from plasticity.report.parts import Section, Table


def every(results: Results, summary: Summary) -> tuple[Section, ...]:
    """Return all sections; one whose data were not asked for says so."""
    return (
        _trajectory(results, summary),
        _widths(results, summary),
        _cohorts(summary),
        _measures(results, summary),
        _retraining(results, summary),
        _streams(results, summary),
        accounts.cost(results, summary),
        accounts.health(results, summary),
    )


def key_figure(sections: Iterable[Section], op: str) -> tuple[str, Figure]:
    """Return the anchor and the figure that stands on top of the page."""
    with_figures = {section.anchor: section for section in sections if section.figures}
    wanted = "units" if op in findings.VERBS and "units" in with_figures else "trajectory"
    return wanted, with_figures[wanted].figures[0]


def _trajectory(results: Results, summary: Summary) -> Section:
    return Section(
        "trajectory",
        "Trajectory",
        "What happens to accuracy on the way?",
        findings.event_cost(summary),
        figures=(figures.trajectory(results, summary),),
    )


def _widths(results: Results, summary: Summary) -> Section:
    changes = results.edits["added"] + results.edits["removed"] + results.edits["rewound"]
    edits = results.edits[changes > 0]
    moved = (results.edits["added"] + results.edits["removed"]).astype(int)
    short = int((moved != results.edits["requested"]).sum())
    text = (
        (f"In {short} rows of edits.csv fewer or more units moved than the schedule asked for.",)
        if short
        else ()
    )
    return Section(
        "widths",
        "Widths over time",
        "How wide is the network, and when?",
        findings.widths(results.edits, summary),
        text,
        (figures.widths(results, summary),),
        (_events(edits),) if len(edits) else (),
    )


def _events(edits: pd.DataFrame) -> Table:
    rows = []
    for (event, step), group in edits.groupby(["event", "step"], sort=True):
        layers = group.groupby("layer", sort=True)
        before = layers["alive_before"].agg(_same)
        after = layers["alive_after"].agg(_same)
        rewound = "yes" if (group["rewound"] == 1).all() else "no"
        rows.append((str(event), str(step), "-".join(before), "-".join(after), rewound))
    return Table(
        "Edit events. Layers without a move are not listed.",
        ("event", "at step", "units before", "units after", "weights rewound"),
        tuple(rows),
    )


def _same(values: pd.Series) -> str:
    """Return the one value that all seeds share, or the range."""
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"({low} to {high})"


def _cohorts(summary: Summary) -> Section:
    if summary.op == "grow" and len(summary.newborn.rows):
        return Section(
            "units",
            "Birth certificate",
            "How do newborn units start?",
            findings.birth(summary),
            (
                "A newborn is a unit switched on at an event, an incumbent one that was alive "
                "before it. Both are measured on the same fixed training images. The event at "
                "step 0 is left out: there every unit is untrained.",
            ),
            (
                figures.newborns(summary),
                outcomes.by_event(summary.newborn, summary),
            ),
            (_moments(summary.newborn, "Newborn divided by incumbent"),),
        )
    if summary.op == "prune" and len(summary.survivor.rows):
        return Section(
            "units",
            "Who goes, who stays",
            "Which units are removed, and what happens to those that stay?",
            findings.survived(summary),
            (
                f"{findings.selected(summary)}.",
                "Pruning has no newborns, so it has no birth certificate. Its counterpart: the "
                "units that stay, compared with themselves just before the event. The event at "
                "step 0 is left out: there every unit is untrained.",
            ),
            (
                figures.survivors(summary),
                outcomes.selection(summary.removed, summary),
            ),
            (_moments(summary.survivor, "Survivors after divided by before the event"),),
        )
    reason = {
        "grow": "No unit was born after step 0, so there is no newborn to compare.",
        "prune": "No unit was removed after step 0, so there is nothing to compare.",
    }.get(summary.op, f"Structure never changes in a {summary.op} network: there are no newborns.")
    return Section("units", "Birth certificate", "How do newborn units start?", reason)


def _moments(ratios: Ratios, caption: str) -> Table:
    head = ("", "activation at birth", "at the end", "gradient at birth", "at the end")
    if "Survivors" in caption:
        head = ("", "activation right after", "at the end", "gradient right after", "at the end")
    layers = sorted(ratios.rows["layer"].unique())
    single = [
        (
            f"layer {layer + 1}",
            Ratios(ratios.rows[ratios.rows["layer"] == layer], ratios.pairs, ratios.undefined),
        )
        for layer in layers
    ]
    rows = tuple(
        (
            name,
            *(
                parts.ratio(part.at(measure, moment))
                for measure in numbers.MEASURES
                for moment in ("birth", "end")
            ),
        )
        for name, part in [("all layers", ratios), *single]
    )
    return Table(f"{caption}: geometric mean [95 % t-interval over seeds].", head, rows)


def _measures(results: Results, summary: Summary) -> Section:

    text: tuple[str, ...] = (
        f"Cycle TAA, the mean over the ends of cycles, is {parts.percent(summary.taa)}; Cycle ACC, "
        f"at the end, {parts.percent(summary.acc)}.",
    )
    if summary.ticket is not None:
        text = (
            *text,
            f"Retrained from scratch ({summary.variant}: {RETRAIN_VARIANTS[summary.variant]}) the "
            f"network reaches {parts.percent(summary.ticket)}. Delta is retrained minus final: "
            f"{parts.points(summary.delta)}.",
        )
    return Section(
        "measures",
        "Three measures",
        "Do the trajectory, the end and the structure agree?",
        findings.delta(summary),
        text,
        (outcomes.measures(results, summary),),
    )


def _retraining(results: Results, summary: Summary) -> Section:
    if numbers.finished(results.tickets).empty:
        return Section(
            "retraining",
            "Retraining from scratch",
            "Is the subnetwork more than its widths?",
            "Nothing was retrained: retrain.variants is empty."
            if results.tickets.empty
            else "Every retrained network diverged, so there is nothing to compare.",
        )
    text = []

    for kept, gap in summary.controls.items():
        text.append(
            f"{kept} minus {findings.RANDOM_CONTROL[kept]}, paired by seed: {parts.points(gap)}."
        )
    rows = []
    for variant in results.params.retrain.variants:
        part = results.tickets[results.tickets["variant"] == variant]
        ok = numbers.finished(part)
        rows.append(
            (
                f"{variant}: {RETRAIN_VARIANTS[variant]}",
                parts.percent(numbers.interval(ok["ticket_acc"])),
                parts.points(numbers.interval(ok["delta_acc"])),
                parts.mean(ok["parameters"]),
                parts.mean(ok["flops"]),
                f"{len(ok)} of {len(part)}",
            )
        )
    table = Table(
        "Retrained networks. Difference: to the edited network of the same seed. [95 % t-interval]",
        ("variant", "accuracy", "difference", "parameters", "training FLOPs", "seeds finished"),
        tuple(rows),
    )
    return Section(
        "retraining",
        "Retraining from scratch",
        "Is the subnetwork more than its widths?",
        findings.control(summary),
        tuple(text),
        (outcomes.retraining(results, summary),),
        (table,),
    )


def _streams(results: Results, summary: Summary) -> Section:
    question = "What if the task keeps changing?"
    if numbers.finished(results.streams).empty:
        reason = (
            "No stream was run: continual.streams is empty."
            if results.streams.empty
            else "Every seed of every stream diverged, so there is nothing to show."
        )
        return Section("streams", "Continual streams", question, reason)
    rows = []
    for name, part in results.streams.groupby("stream", sort=True):
        ok = numbers.finished(part)
        rows.append(
            (
                f"{str(name).replace('_', ' ')}: {STREAMS[str(name)]}",
                *(
                    parts.percent(numbers.interval(ok[column]))
                    for column in ("taoa", "early_acc", "first_task", "last_task")
                ),
                f"{len(ok)} of {len(part)}",
            )
        )
    table = Table(
        "Total average online accuracy (TAOA), its part over the first tenth of each task, and the "
        "first and last task. [95 % t-interval]",
        ("stream", "TAOA", "early", "first task", "last task", "seeds finished"),
        tuple(rows),
    )
    return Section(
        "streams",
        "Continual streams",
        question,
        findings.streams(results.streams),
        ("No task boundary is told to the network, and structure changes on a clock of its own.",),
        (outcomes.streams(results, summary),),
        (table,),
    )
