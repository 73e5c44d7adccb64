"""Three measures of every condition, and whether they reverse the order of grow and prune."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import altair as alt
import pandas as pd

from plasticity.claims import MEASURES
from plasticity.report import charts, numbers, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import marks, pairs
from plasticity.report.comparison.gather import Arm, Comparison
from plasticity.report.comparison.marks import Zoom
from plasticity.report.comparison.pairs import THREE, Pair
from plasticity.report.comparison.values import Values
from plasticity.report.parts import Section
from plasticity.stats import Interval

WIDE, NARROW, HEIGHT = 560, 300, 320
TOP = 5
"""Points below the best mean that the zoomed axis shows."""
MOST_SEED_LINES = 240
"""Thin lines of one figure."""


def section(comparison: Comparison) -> Section | None:
    """Return the slopes, or nothing where no condition has two measures."""
    found = {
        arm.name: {
            measure: one
            for measure in THREE
            if (one := pairs.values(comparison, arm, measure)) is not None
        }
        for arm in comparison.done
    }
    every = pairs.grow_and_prune(comparison)
    paired = {arm.name for pair in every for arm in (pair.grow, pair.prune)}
    arms = sorted(
        (arm for arm in comparison.done if len(found[arm.name]) > 1),
        key=lambda arm: arm.name not in paired,
    )
    if not arms:
        return None
    panels, left = marks.drawn(arms)
    return Section(
        "measures",
        "Three measures",
        "Does the winner depend on the measure?",
        "",
        (
            "Each line is a condition, by its mean over the trajectory, its end, and its final "
            "network trained again from scratch. Dashed lines rewind, the others go on with "
            "their weights. Where the line of a network that grew crosses that of one that was "
            "pruned, the means are in another order; the title says whether intervals support it.",
        ),
        (_figure(comparison, panels, found, title(comparison, every), left),),
    )


def reversals(comparison: Comparison, every: Sequence[Pair]) -> list[tuple[Pair, list[str]]]:
    """Return the pairs whose order two intervals support in opposite directions, and how."""
    result = []
    for pair in every:
        told: dict[str, list[str]] = {"above": [], "below": []}
        for measure in THREE:
            by_seed = pairs.differences(comparison, pair.grow, pair.prune, measure)
            verdict = numbers.verdict(pairs.interval(by_seed))
            told.get(verdict, []).append(MEASURES[measure].label)
        if told["above"] and told["below"]:
            grow, prune = (theme.listed(told[side]) for side in ("above", "below"))
            result.append((pair, [f"grow ahead in {grow}", f"prune in {prune}"]))
    return result


def title(comparison: Comparison, every: Sequence[Pair]) -> str:
    """Return whether the order of growing and pruning is reversed, as far as intervals say."""
    if not every:
        return "Accuracy by each measure; no two conditions compare growing with pruning"
    found = reversals(comparison, every)
    of = f"{pairs.counted(len(every), 'pair')} of grow and prune"
    if not found:
        return f"No reversal of the order between measures is supported in {of}"
    pair, how = found[0]
    example = f"{pair.grow.name} and {pair.prune.name}: {', '.join(how)}"
    more = ", such as " if len(found) > 1 else ": "
    return f"The order is reversed between measures in {len(found)} of {of}{more}{example}"


def frame(arms: Sequence[Arm], found: Mapping[str, Mapping[str, Values]]) -> pd.DataFrame:
    """Return the mean of every condition by every measure that it has, with its interval."""
    rows = []
    for arm in arms:
        for measure, one in found[arm.name].items():
            interval = pairs.interval(one.by_seed)
            assert isinstance(interval, Interval)
            rows.append(
                {
                    "condition": arm.name,
                    "op": arm.params.op,
                    "rewinds": arm.params.rewinds,
                    "dataset": arm.params.dataset,
                    "measure": MEASURES[measure].label,
                    "mean": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                    "n": interval.n,
                }
            )
    return pd.DataFrame(rows).astype({"low": float, "high": float})


def _seed_frame(arms: Sequence[Arm], found: Mapping[str, Mapping[str, Values]]) -> pd.DataFrame:
    """Return seeds of these conditions, as many of each as the cap on lines allows."""
    most = max(1, MOST_SEED_LINES // len(arms))
    rows = [
        {
            "line": f"{arm.name} {seed}",
            "op": arm.params.op,
            "dataset": arm.params.dataset,
            "measure": MEASURES[measure].label,
            "acc": one.by_seed[seed],
        }
        for arm in arms
        for measure, one in found[arm.name].items()
        for seed in sorted(one.by_seed)[:most]
    ]
    return pd.DataFrame(rows)


def _figure(
    comparison: Comparison,
    panels: Mapping[str, Sequence[Arm]],
    found: Mapping[str, Mapping[str, Values]],
    finding: str,
    left: str,
) -> Figure:
    arms = [arm for some in panels.values() for arm in some]
    table, seeds = frame(arms, found), _seed_frame(arms, found)
    order = [MEASURES[name].label for name in THREE]
    order = [name for name in order if name in set(table["measure"])]
    width = WIDE if len(panels) == 1 else NARROW
    parts_of = [table[table["dataset"] == name] for name in panels]
    axes = [
        marks.zoom(TOP, float(part["mean"].max()), part["mean"], part["low"], part["high"])
        for part in parts_of
    ]
    parts = [
        _panel(part, seeds[seeds["dataset"] == name], order, axis).properties(
            width=width, height=HEIGHT, title=name
        )
        for name, part, axis in zip(panels, parts_of, axes, strict=True)
    ]
    shown = alt.param(
        name="seeds_shown", value=False, bind=alt.binding_checkbox(name="single seeds")
    )
    chart = alt.concat(*parts, columns=2, spacing={"row": 40, "column": 90}).add_params(
        shown, axes[0].param
    )
    variants = {arm.params.retrain.variants[0] for arm in arms if "ticket.acc" in found[arm.name]}
    ticket = f" The ticket is {theme.listed(sorted(variants))}." if variants else ""
    every = comparison.done
    return Figure(
        "slope",
        finding,
        "Mean test accuracy (%) by each measure; the axes do not start at zero",
        "Whiskers are 95 % t-intervals over seeds; pairs are judged by their differences within "
        "seeds, so whiskers that overlap do not mean that nothing is known. "
        f"{marks.n_of(table['n'])}; diverged seeds count as chance.{ticket}{left}",
        "train/seeds.csv" + (", retrain/seeds.csv" if variants else ""),
        frame([arm for arm in every if len(found[arm.name]) > 1], found),
        charts.spec(chart, "Mean accuracy of every condition by three measures"),
    )


def _panel(table: pd.DataFrame, seeds: pd.DataFrame, order: Sequence[str], axis: Zoom) -> Any:
    scale = axis.scale
    x = alt.X(
        "measure:N",
        title=None,
        scale=alt.Scale(
            type="point", padding=0.9 if _lacking(table, order).any() else 0.3, domain=list(order)
        ),
        axis=alt.Axis(labelAngle=0, labelColor="@ink", labelPadding=10, labelOverlap=False),
    )
    y = alt.Y("mean:Q", scale=scale, title="test accuracy (%)")
    ops = table["op"]
    base = alt.Chart(charts.data(table)).encode(
        x=x, detail="condition:N", color=marks.coloured(ops)
    )
    thin = (
        alt.Chart(charts.data(seeds))
        .mark_line(strokeWidth=0.8, clip=True)
        .encode(
            x=x,
            y=alt.Y("acc:Q", scale=scale),
            detail="line:N",
            color=marks.coloured(ops),
            opacity=alt.condition("seeds_shown", alt.value(0.4), alt.value(0)),
        )
    )
    tips = [
        "condition:N",
        "measure:N",
        *(alt.Tooltip(f"{name}:Q", format=".2f") for name in ("mean", "low", "high")),
        "n:Q",
    ]
    shape = alt.Shape(
        "op:N",
        scale=alt.Scale(
            domain=(names := marks.present(ops)),
            range=[_shape(op) for op in names],
        ),
        legend=None,
    )
    return alt.layer(
        thin,
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=1.2, opacity=0.55, clip=True)
        .encode(y=alt.Y("low:Q", scale=scale, title="test accuracy (%)"), y2="high:Q"),
        base.mark_line(strokeWidth=theme.LINE, clip=True).encode(y=y, strokeDash=marks.REWINDS),
        base.mark_point(size=54, filled=True, opacity=1, clip=True).encode(
            y=y, shape=shape, tooltip=tips
        ),
        *_labels(table, axis, x, order),
    )


def _shape(op: str) -> str:
    return "circle" if theme.SHAPES[op] == "stroke" else theme.SHAPES[op]


def _lacking(table: pd.DataFrame, order: Sequence[str]) -> "pd.Series[bool]":
    """Return which conditions lack the last measure; their names need room on the left."""
    return ~table["condition"].isin(table.loc[table["measure"] == order[-1], "condition"])


def _labels(table: pd.DataFrame, axis: Zoom, x: alt.X, order: Sequence[str]) -> list[Any]:
    """Return names to the right of the last measure; to the left where a condition lacks it."""
    lacking = _lacking(table, order)
    sides: tuple[tuple[str, Any, int, pd.Series], ...] = (
        (order[-1], "left", 12, ~lacking),
        (order[0], "right", -12, lacking),
    )
    layers = []
    for (measure, align, dx, some), (when, ends) in product(sides, axis.places):
        named = table[some & (table["measure"] == measure) & table["mean"].between(*ends)]
        if len(named):
            layers.append(
                alt.Chart(charts.data(marks.apart(named, "mean", ends, HEIGHT)))
                .transform_filter(when)
                .mark_text(align=align, dx=dx, fontSize=12)
                .encode(
                    x=x,
                    y=alt.Y("place:Q", scale=axis.scale),
                    text="condition:N",
                    color=marks.TINTED,
                )
            )
    return layers
