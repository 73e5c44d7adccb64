"""The sections of a report, in order: a question, what was found, a figure, a table."""

from collections.abc import Iterable

import pandas as pd

from plasticity.catalogue import RETRAIN_VARIANTS
from plasticity.remarks import small_rest
from plasticity.report import (
    accounts,
    ages,
    condition,
    contrasts,
    figures,
    findings,
    integration,
    lifelines,
    mechanism,
    numbers,
    outcomes,
    parts,
    shocks,
    streams,
    theme,
    wordings,
)
from plasticity.report.charts import Figure
from plasticity.report.contrasts import Ratios
from plasticity.report.findings import Summary
from plasticity.report.inputs import Results
from plasticity.report.parts import Section, Table


def every(results: Results, summary: Summary) -> tuple[Section, ...]:
    """Return all sections; one whose data were not asked for says so.

    Those that are about newborns, or about survivors, are left out where there are none: the birth
    certificate says why.
    """
    newborns, survivors = summary.has_newborns, summary.has_survivors
    return (
        _trajectory(results, summary),
        shocks.section(results, summary),
        _widths(results, summary),
        _newborns(results, summary),
        *((mechanism.section(results, summary),) if newborns else ()),
        *((integration.updates(results, summary),) if newborns else ()),
        *((integration.section(results, summary),) if newborns else ()),
        *((_survivors(summary),) if survivors else ()),
        _measures(results, summary),
        _retraining(results, summary),
        streams.section(results, summary),
        condition.section(results, summary),
        accounts.cost(results, summary),
        accounts.seeds(results, summary),
    )


def key_figure(sections: Iterable[Section]) -> tuple[str, Figure]:
    """Return the anchor and the figure that stands on top of the page."""
    with_figures = {section.anchor: section for section in sections if section.figures}
    wanted = next(name for name in ("newborns", "survivors", "trajectory") if name in with_figures)
    return wanted, with_figures[wanted].figures[0]


def _trajectory(results: Results, summary: Summary) -> Section:
    return Section(
        "trajectory",
        "Trajectory",
        "What happens to accuracy on the way?",
        findings.event_cost(summary),
        _small_step(results),
        figures=(figures.trajectory(results, summary),),
    )


def _small_step(results: Results) -> tuple[str, ...]:
    """Return a sentence where accuracy is measured right after a step on few images."""
    images = results.metrics["prepare"].get("data", {}).get("train_images", 0)
    rest, batch = small_rest(results.params, images), results.params.train.batch
    return (wordings.SMALL_STEP.format(rest=rest, batch=batch),) if rest else ()


def _widths(results: Results, summary: Summary) -> Section:
    lives = (lifelines.figure(results, summary),) if lifelines.changed(results) else ()
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
        (figures.widths(results, summary), *lives),
        (_events(edits, wordings.ADDED[summary.op == "late_reveal"]),) if len(edits) else (),
    )


def _events(edits: pd.DataFrame, added: str) -> Table:
    rows = []
    for (event, step), group in edits.groupby(["event", "step"], sort=True):
        layers = group.groupby("layer", sort=True)
        columns = ("alive_before", "added", "removed", "alive_after")
        counts = ["-".join(layers[column].agg(_same)) for column in columns]
        rewound = "yes" if (group["rewound"] == 1).all() else "no"
        names = theme.listed(sorted(group["layer"].unique()))
        rows.append((str(event), str(step), names, *map(theme.units, counts), rewound))
    return Table(
        "Edit events. Layers without a move are not listed.",
        ("event", "at step", "layers", "before", added, "removed", "after", "weights rewound"),
        tuple(rows),
    )


def _same(values: pd.Series) -> str:
    """Return the one value that all seeds share, or the range."""
    text = numbers.span(values)
    return f"({text})" if " " in text else text


def _newborns(results: Results, summary: Summary) -> Section:
    anchor, topic, question = "newborns", "Birth certificate", "How do newborn units start?"
    if not summary.has_newborns:
        return Section(anchor, topic, question, _no_newborns(results, summary))
    events = summary.newborn.rows["event"].nunique()
    drawn = (outcomes.by_event(summary.newborn, summary),) if events > 1 else ()
    return Section(
        anchor,
        topic,
        question,
        findings.birth(summary),
        (wordings.NEWBORN_TEXT[summary.op == "late_reveal"],),
        (ages.newborns(summary), *drawn),
        (_moments(summary.newborn, "Newborn divided by incumbent", "birth"),),
    )


def _no_newborns(results: Results, summary: Summary) -> str:
    if not results.params.measure.enabled:
        return wordings.NOT_MEASURED
    if summary.op == "turnover" and summary.replaced != "0":
        return wordings.NOT_FOLLOWED
    return wordings.NO_NEWBORNS.get(summary.op, wordings.NO_BIRTH)


def _survivors(summary: Summary) -> Section:
    return Section(
        "survivors",
        "Who goes, who stays",
        "Which units are removed, and what happens to those that stay?",
        findings.survived(summary),
        (f"{findings.selected(summary)}.", wordings.SURVIVOR_TEXT),
        (
            ages.survivors(summary),
            outcomes.selection(summary.removed, summary),
        ),
        (_moments(summary.survivor, "Survivors after divided by before the event", "right after"),),
    )


def _moments(ratios: Ratios, caption: str, first: str) -> Table:
    at = first if first == "right after" else f"at {first}"
    head = ("", f"activation {at}", "at the end", f"gradient {at}", "at the end")
    single = [(layer, ratios.of_layer(layer)) for layer in ratios.layers]
    rows = tuple(
        (
            name,
            *(
                parts.ratio(part.at(measure, moment))
                for measure in contrasts.MEASURES
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
        "Retrained networks, and what they gain over that seed's network before. [95 % t-interval]",
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
