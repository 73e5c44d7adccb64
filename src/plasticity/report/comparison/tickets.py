"""Is a ticket more than its widths? Retrained networks against their size, with their controls."""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from plasticity.catalogue import RETRAIN_VARIANTS
from plasticity.report import charts, numbers, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison.gather import Arm, Comparison
from plasticity.report.numbers import verdict
from plasticity.report.parts import Section, Table, percent, points
from plasticity.stats import Interval
from plasticity.tables import read_table

WIDTH, HEIGHT = 560, 340
STATIC = "trained at that size throughout"
SHAPES = {
    "masked_fresh": "circle",
    "masked_original": "triangle-up",
    "physical_fresh": "square",
    "random_fresh": "cross",
    "random_original": "triangle-down",
    STATIC: "diamond",
}
CONTROLS = (("masked_fresh", "random_fresh"), ("masked_fresh", "physical_fresh"))


def section(comparison: Comparison) -> Section | None:
    """Return the tickets of all arms, or nothing where nothing was retrained."""
    if "retrain" not in comparison.study.stages or not comparison.done:
        return None
    rows = pd.concat([_tickets(arm) for arm in comparison.done], ignore_index=True)
    if rows.empty or (rows["variant"] == STATIC).all():
        return None
    table = numbers.over_seeds(rows, ["arm", "op", "variant", "parameters"], "acc")
    controls = _controls(comparison)
    return Section(
        "tickets",
        "Tickets and their widths",
        "Is a ticket more than its widths?",
        "",
        (
            "Every point is a network of that many weights. Circles keep the units that were grown "
            "or left; crosses keep as many units chosen at random: where the two agree, the widths "
            "are all there is to the ticket.",
        ),
        (_figure(table, _finding(controls)),),
        (_control_table(controls), _all(rows)),
    )


def _tickets(arm: Arm) -> pd.DataFrame:
    """Return accuracy and parameters of an arm's retrained networks, by seed."""
    rows = numbers.finished(read_table("retrain", "seeds", arm.folder))
    columns = ["variant", "seed", "parameters", "acc"]
    found = rows.rename(columns={"ticket_acc": "acc"})[columns]
    if arm.params.op == "static":
        own = numbers.finished(read_table("train", "seeds", arm.folder))
        own = own.rename(columns={"cycle_acc": "acc"}).assign(variant=STATIC)[columns]
        found = pd.concat([found, own])
    return found.assign(arm=arm.name, op=arm.params.op)


@dataclass(frozen=True)
class Control:
    """Kept units less a control, paired by seed."""

    arm: str
    kept: str
    control: str
    interval: Interval | None


def _controls(comparison: Comparison) -> list[Control]:
    """Return every arm's tickets against their controls."""
    rows = []
    for arm in comparison.done:
        for kept, control in CONTROLS:
            if not {kept, control} <= {*arm.params.retrain.variants}:
                continue
            first, second = (
                numbers.finished(read_table("retrain", "seeds", arm.folder))
                .query("variant == @name", local_dict={"name": name})
                .set_index("seed")["ticket_acc"]
                .astype(float)
                for name in (kept, control)
            )
            gaps = numbers.interval((first - second).dropna())
            rows.append(Control(arm.name, kept, control, gaps))
    return rows


def _finding(controls: Sequence[Control]) -> str:
    sides = [verdict(one.interval) for one in controls if one.control == "random_fresh"]
    if not sides:
        return "No arm was retrained with random units of the same number"
    better, worse = sides.count("above"), sides.count("below")
    text = f"Of {len(sides)} tickets {better} beat random units of the same number for sure"
    return f"{text}, {worse} fall behind them" if worse else text


def _figure(rows: pd.DataFrame, title: str) -> Figure:
    variants = [name for name in SHAPES if name in set(rows["variant"])]
    ops = [op for op in theme.SHAPES if op in set(rows["op"])]
    sizes = rows["parameters"].astype(float)
    scale = alt.Scale(type="log", domain=[sizes.min() * 0.9, sizes.max() * 1.1], nice=False)
    base = alt.Chart(charts.data(rows)).encode(
        x=alt.X("parameters:Q", scale=scale, title="weights of the network (log)",
                axis=alt.Axis(format="~s", tickCount=6)),
        color=alt.Color(
            "op:N",
            scale=alt.Scale(domain=ops, range=[f"@{op}" for op in ops]),
            legend=alt.Legend(title=None),
        ),
    )  # fmt: skip
    heights = charts.linear(rows["mean"], rows["low"], rows["high"])
    y = alt.Y("mean:Q", scale=heights, title="test accuracy (%)")
    shape = alt.Shape(
        "variant:N",
        scale=alt.Scale(domain=variants, range=[SHAPES[name] for name in variants]),
        legend=alt.Legend(title=None, symbolFillColor="@muted", labelLimit=240),
    )
    tooltip = [
        "arm:N",
        "variant:N",
        alt.Tooltip("parameters:Q", format=",d"),
        *(alt.Tooltip(f"{column}:Q", format=".2f") for column in ("mean", "low", "high")),
        "n:Q",
    ]
    chart = alt.layer(
        base.mark_rule(strokeWidth=1.2, opacity=0.7).encode(
            y=alt.Y("low:Q", scale=heights), y2="high:Q"
        ),
        base.mark_point(filled=True, size=76, opacity=0.85).encode(
            y=y, shape=shape, tooltip=tooltip
        ),
    ).properties(width=WIDTH, height=HEIGHT)
    return Figure(
        "tickets",
        title,
        "Test accuracy (%) of retrained networks against their number of weights",
        f"Whiskers are 95 % t-intervals over seeds. n = {numbers.span(rows['n'])} seeds.",
        "retrain/seeds.csv, train/seeds.csv",
        rows,
        charts.spec(chart, "Accuracy of retrained networks against their size"),
    )


def _control_table(controls: Sequence[Control]) -> Table:
    rows = [(f"{one.arm}: {one.kept} less {one.control}", points(one.interval)) for one in controls]
    return Table("Tickets less their controls, paired by seed.", ("", "points"), tuple(rows))


def _all(rows: pd.DataFrame) -> Table:
    keys = ["arm", "variant", "parameters"]
    cells = [
        (
            f"{arm}: {RETRAIN_VARIANTS.get(str(variant), str(variant))}",
            f"{int(str(size)):,}",
            percent(numbers.interval(part["acc"])),
        )
        for (arm, variant, size), part in rows.groupby(keys, sort=False)
    ]
    return Table("All retrained networks.", ("", "weights", "accuracy"), tuple(cells))
