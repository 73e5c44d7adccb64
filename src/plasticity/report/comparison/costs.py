"""Accuracy against cost: an epoch of a small network is cheaper than one of a large one."""

import json
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from plasticity.escapes import vega
from plasticity.report import charts, numbers, parts, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import curves, marks, pairs, trajectory
from plasticity.report.comparison.curves import Curve, Group
from plasticity.report.comparison.gather import Comparison
from plasticity.report.comparison.marks import Zoom
from plasticity.report.comparison.pairs import Pair
from plasticity.report.parts import Section, Table
from plasticity.stats import Interval

WIDE, NARROW, HEIGHT = 640, 330, 320
POINTS = 60
"""Epochs of a line that are drawn."""
TOP = 10
"""Points below the best mean that the zoomed panel shows."""
AXES = {"epochs": "epoch", "training FLOPs": "flops", "active-unit steps": "steps"}


def section(comparison: Comparison) -> Section | None:
    """Return accuracy by cost, or nothing where no condition has a history."""
    found = curves.groups(comparison)
    if not found:
        return None
    differences = at_equal_flops(comparison, found)
    tables = [_table(group) for group in found]
    if differences:
        tables.append(_pairs_table(comparison, found, differences))
    return Section(
        "costs",
        "Cost",
        "What does the accuracy cost?",
        "",
        (
            "A network that grows spends its first epochs small, one that is pruned large. Per "
            "epoch they are given the same time; per FLOP, the same work. An active-unit step is "
            "one unit that takes part in one optimizer step.",
            "Where a condition had more to spend, its accuracy at equal FLOPs is read off in the "
            "midst of training: before its learning rate has come down and, where it is pruned, "
            "before it has its final size. Who ends higher is another question; the last table has "
            "both.",
        ),
        (_figure(found, title(differences)),),
        tuple(tables),
    )


def at_equal_flops(
    comparison: Comparison, found: Sequence[Group]
) -> list[tuple[Pair, float, Interval]]:
    """Return grow less prune where both have spent what the cheaper of the two spends in all.

    What other conditions spend does not matter: to add one must change no pair's finding.

    Returns
    -------
    list
        Pair, FLOPs, difference in points of accuracy, for pairs that have it.
    """
    place = {curve.arm.name: curve for group in found for curve in group.curves}
    result = []
    for pair in pairs.grow_and_prune(comparison):
        if pair.grow.name not in place or pair.prune.name not in place:
            continue
        grow, prune = place[pair.grow.name], place[pair.prune.name]
        flops = min(grow.least, prune.least)
        if interval := pairs.interval(pairs.less(grow.at(flops), prune.at(flops))):
            result.append((pair, flops, interval))
    return result


def title(differences: Sequence[tuple[Pair, float, Interval]]) -> str:
    """Return who is ahead at equal FLOPs, as far as intervals say."""
    if not differences:
        return "Accuracy along training by epochs, FLOPs and active-unit steps"
    grow, prune, open_ = pairs.ahead([interval for *_, interval in differences])
    return (
        f"When the cheaper of two has spent all its FLOPs and the other, still in training, as "
        f"many, grow is ahead in {grow} of {pairs.counted(len(differences), 'pair')}, prune in "
        f"{prune} ({open_} undecided)"
    )


def _table(group: Group) -> Table:
    """Return what each condition of a group cost, and its accuracy at equal FLOPs."""
    rows = []
    for curve in group.curves:
        at = pairs.interval(curve.at(group.flops))
        last = curve.rows["epoch"].max()
        end = numbers.interval(curve.rows.loc[curve.rows["epoch"] == last, "acc"])
        shares = () if group.dense is None else _shares(curve, group.dense)
        flops = theme.count(curve.last("flops"))
        rows.append((curve.arm.name, flops, *shares, parts.percent(at), parts.percent(end)))
    params = group.curves[0].arm.params
    shares_of = () if group.dense is None else ("share of FLOPs", "share of unit steps")
    reference = "" if group.dense is None else f" Shares are of {group.dense.arm.name}."
    return Table(
        f"{params.dataset}: training FLOPs and active-unit steps, and test accuracy [95 % "
        f"t-interval] after {theme.count(group.flops)} FLOPs, the most that all of these reach."
        f"{reference}",
        ("", "FLOPs", *shares_of, "at equal FLOPs", "at the end"),
        tuple(rows),
    )


def _shares(curve: Curve, dense: Curve) -> list[str]:
    return [f"{100 * curve.last(cost) / dense.last(cost):.1f} %" for cost in trajectory.COSTS]


def _pairs_table(
    comparison: Comparison,
    found: Sequence[Group],
    differences: Sequence[tuple[Pair, float, Interval]],
) -> Table:
    place = {curve.arm.name: curve for group in found for curve in group.curves}
    rows = []
    for pair, flops, interval in differences:
        end = pairs.differences(comparison, pair.grow, pair.prune, "cycle.acc")
        rows.append(
            (
                pair.text,
                theme.count(flops),
                ", ".join(_epoch(place[arm.name], flops) for arm in (pair.grow, pair.prune)),
                parts.points(interval),
                parts.points(pairs.interval(end)),
                str(interval.n),
            )
        )
    return Table(
        "Grow less prune, paired by seed [95 % t-interval].",
        ("", "FLOPs", "spent by epoch", "at equal FLOPs", "at the end (Cycle ACC)", "n"),
        tuple(rows),
    )


def _epoch(curve: Curve, flops: float) -> str:
    """Return the epoch at which a condition has spent so much, of how many."""
    return f"{curve.epoch(flops):.3g} of {curve.rows['epoch'].max()}"


def frame(found: Sequence[Curve]) -> pd.DataFrame:
    """Return the mean of every condition at the epochs that are drawn."""
    rows = []
    for curve in found:
        kept = numbers.thinned(curve.rows["epoch"].tolist(), POINTS)
        drawn = curve.rows[curve.rows["epoch"].isin(kept)]
        mean = drawn.groupby("epoch")[["acc", *trajectory.COSTS]].mean().reset_index()
        rows.append(
            mean.assign(
                condition=curve.arm.name,
                op=curve.arm.params.op,
                rewinds=curve.arm.params.rewinds,
                dataset=curve.arm.params.dataset,
                n=curve.rows["seed"].nunique(),
            )
        )
    return pd.concat(rows, ignore_index=True)


def _figure(found: Sequence[Group], finding: str) -> Figure:
    every = {curve.arm.name: curve for group in found for curve in group.curves}
    panels, left = marks.drawn([curve.arm for curve in every.values()])
    table = frame([every[arm.name] for some in panels.values() for arm in some])
    width = WIDE if len(panels) == 1 else NARROW
    cost = alt.param(
        name="cost",
        value="epochs",
        bind=alt.binding_select(options=list(AXES), name="against "),
    )
    parts_of = [table[table["dataset"] == name] for name in panels]
    axes = [marks.zoom(TOP, float(part["acc"].max()), part["acc"]) for part in parts_of]
    drawn = [
        _panel(name, part, axis, width)
        for name, part, axis in zip(panels, parts_of, axes, strict=True)
    ]
    chart = alt.concat(*drawn, columns=2, spacing={"row": 40, "column": 90})
    return Figure(
        "costs",
        finding,
        "Mean test accuracy (%) along training, against epochs, training FLOPs or active-unit "
        "steps, as chosen below",
        "Lines are means over seeds, without their bands; dashed ones rewind; "
        f"{marks.n_of(table['n'])}. "
        f"{marks.UNCORRECTED}. Diverged seeds count as chance. The tables below have the "
        f"intervals.{left}",
        "train/history.csv",
        table,
        charts.spec(
            chart.add_params(cost, axes[0].param), "Test accuracy along training against cost"
        ),
    )


def _panel(name: str, table: pd.DataFrame, axis: Zoom, width: int) -> Any:
    chosen = " : ".join(
        f"cost == '{label}' ? datum.{column}" for label, column in list(AXES.items())[1:]
    )
    ends = {label: float(table[column].max()) for label, column in AXES.items()}
    most = f"{json.dumps(ends)}[cost]"
    x = alt.X(
        "spent:Q",
        title=None,
        scale=alt.Scale(domain=[0, alt.ExprRef(most)], nice=False),
        axis=alt.Axis(labelExpr="datum.value ? format(datum.value, '~s') : '0'"),
    )
    base = (
        alt.Chart(charts.data(table))
        .transform_calculate(spent=f"{chosen} : datum.epoch")
        .encode(x=x, detail="condition:N", color=marks.coloured(table["op"]))
    )
    y = alt.Y("acc:Q", scale=axis.scale, title="test accuracy (%)")
    tips = [
        "condition:N",
        "epoch:Q",
        alt.Tooltip("acc:Q", format=".2f"),
        alt.Tooltip("flops:Q", format=".3~s"),
        alt.Tooltip("steps:Q", format=".3~s"),
    ]
    layers = [
        base.mark_line(strokeWidth=theme.LINE, clip=True).encode(y=y, strokeDash=marks.REWINDS),
        base.mark_point(size=50, opacity=0, filled=True, clip=True).encode(y=y, tooltip=tips),
        *_labels(table, chosen, x, axis),
    ]
    title = alt.TitleParams(
        text=alt.ExprRef(f"{vega(f'{name}, by ')} + cost"), fontWeight="bold", offset=12
    )
    return alt.layer(*layers).properties(width=width, height=HEIGHT, title=title)


def _labels(table: pd.DataFrame, chosen: str, x: alt.X, axis: Zoom) -> list[Any]:
    """Return the names at the ends of lines, for the zoomed axis and for the whole one."""
    last = table.loc[table.groupby("condition")["epoch"].idxmax()]
    layers = []
    for when, ends in axis.places:
        named = last[last["acc"].between(*ends)]
        base = (
            alt.Chart(charts.data(marks.apart(named, "acc", ends, HEIGHT)))
            .transform_filter(when)
            .transform_calculate(spent=f"{chosen} : datum.epoch")
            .encode(x=x)
        )
        text = base.encode(y=alt.Y("place:Q", scale=axis.scale), text="condition:N")
        style: dict[str, Any] = {"align": "left", "dx": 8, "fontSize": 12}
        layers += [
            base.mark_point(size=34, filled=True, opacity=1).encode(
                y=alt.Y("acc:Q", scale=axis.scale), color=marks.coloured(table["op"])
            ),
            # Against FLOPs a line may end among others.
            text.mark_text(**style, stroke="@paper", strokeWidth=4, strokeJoin="round"),
            text.mark_text(**style).encode(color=marks.TINTED),
        ]
    return layers
