"""Claims about a rank correlation across conditions: the points behind the number."""

import math
from typing import Any

import altair as alt
import pandas as pd

from plasticity.claims import MEASURES
from plasticity.report import charts, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import marks
from plasticity.report.comparison.gather import Comparison
from plasticity.report.comparison.scorecard import correlation_text
from plasticity.report.comparison.verdicts import Correlation, Decision
from plasticity.report.parts import Section

WIDTH, HEIGHT = 600, 360
LETTER, LINE = 6.5, 14.0
"""Pixels of a name: across, for each letter, and from one name to the next below it."""
MOST_SEEDS = 1500
"""Small dots of one figure."""


def section(comparison: Comparison) -> Section | None:
    """Return a scatter for every correlation that has points, or nothing."""
    ops = {arm.name: arm.params.op for arm in comparison.arms}
    figures = tuple(
        _figure(place, decision, found, ops)
        for place, decision in enumerate(comparison.decisions, start=1)
        if (found := decision.correlation) is not None and found.points
    )
    if not figures:
        return None
    return Section(
        "correlations",
        "Correlations",
        "Do the measures go together across conditions?",
        "",
        (
            "Each large mark is a condition, each small dot one of its seeds. The correlation is "
            "of ranks, across conditions; a condition counts once, however many seeds it has. A "
            "direction is named where the interval excludes 0 and p, the share of all orders of "
            "the conditions that are as far from none, is at most 0.05: the interval alone, of "
            "few conditions, names one too often.",
        ),
        figures,
    )


def title(decision: Decision) -> str:
    """Return the correlation with its interval and p, a direction only where both are clear."""
    found = decision.correlation
    assert found is not None
    first, second = (MEASURES[name].label for name in found.measures)
    if found.rho is None:
        return f"No rank correlation of {first} with {second} can be told"
    if found.low is None or found.high is None:
        return f"{first} and {second}: {correlation_text(found)}, without an interval"
    if found.sign > 0:
        how = f"{second} rises with {first}"
    elif found.sign < 0:
        how = f"{second} falls with {first}"
    else:
        how = f"No order of {second} by {first} is supported"
    return f"{how} ({decision.claim.name}): {correlation_text(found)}"


def frame(found: Correlation) -> pd.DataFrame:
    """Return every seed of every condition; ratios as factors."""
    table = pd.DataFrame(found.points, columns=["condition", "seed", "x", "y"])
    for column, measure in zip(("x", "y"), found.measures, strict=True):
        if MEASURES[measure].unit == "ratio":
            table[column] = [math.exp(value) for value in table[column]]
    return table


def means(found: Correlation) -> pd.DataFrame:
    """Return the mean of every condition; of ratios the geometric one."""
    table = pd.DataFrame(found.points, columns=["condition", "seed", "x", "y"])
    mean = table.groupby("condition", sort=False)[["x", "y"]].mean().reset_index()
    for column, measure in zip(("x", "y"), found.measures, strict=True):
        if MEASURES[measure].unit == "ratio":
            mean[column] = [math.exp(value) for value in mean[column]]
    return mean.assign(n=[int((table["condition"] == one).sum()) for one in mean["condition"]])


def _figure(place: int, decision: Decision, found: Correlation, ops: dict[str, str]) -> Figure:
    seeds, mean = frame(found), means(found)
    mean = mean.assign(op=mean["condition"].map(ops))
    whole = seeds.dropna()
    dots = whole.assign(op=whole["condition"].map(ops)).head(MOST_SEEDS)
    across, up = (
        _axis(measure, seeds[name].dropna())
        for name, measure in zip("xy", found.measures, strict=True)
    )
    x, y = alt.X("x:Q", **across), alt.Y("y:Q", **up)
    tips = [
        "condition:N",
        alt.Tooltip("x:Q", format=".3~f"),
        alt.Tooltip("y:Q", format=".3~f"),
        "n:Q",
    ]
    base = alt.Chart(charts.data(mean)).encode(x=x, y=y)
    placed = charts.data(_placed(mean, across["scale"], up["scale"]))
    named = alt.Chart(placed).encode(x=x, y=alt.Y("place:Q", **up))
    small = alt.Chart(charts.data(marks.tinted(dots))).encode(x=x, y=y)
    style: dict[str, Any] = {"align": "left", "dx": 9, "dy": -7, "fontSize": 12}
    chart = alt.layer(
        small.mark_point(size=18, filled=True, opacity=0.35).encode(
            color=marks.TINTED, tooltip=["condition:N", "seed:Q"]
        ),
        base.mark_point(size=90, filled=True, opacity=1, stroke="@paper", strokeWidth=1).encode(
            color=marks.coloured(mean["op"]), tooltip=tips
        ),
        named.mark_text(**style, stroke="@paper", strokeWidth=4, strokeJoin="round").encode(
            text="condition:N"
        ),
        named.mark_text(**style, color="@ink").encode(text="condition:N"),
    ).properties(width=WIDTH, height=HEIGHT)
    first, second = (MEASURES[name].label for name in found.measures)
    within = (
        ""
        if found.within is None
        else f" Within conditions, over seeds, it is {theme.number(found.within, 2)} on average."
    )
    told = f" {'; '.join(found.notes)}." if found.notes else ""
    left = " Not every seed is drawn." if len(whole) > MOST_SEEDS else ""
    return Figure(
        f"correlation_{place}",
        title(decision),
        f"{second} against {first}, every condition",
        f"Large marks are means over seeds, of ratios geometric ones.{within} "
        f"{len(mean)} conditions, {marks.n_of(mean['n'])} each.{told}{left}",
        "values.csv, train/cohorts.csv",
        seeds,
        charts.spec(chart, f"{second} against {first} across conditions"),
    )


def _axis(measure: str, values: pd.Series) -> dict[str, Any]:
    """Return scale and title of an axis: a logarithmic one for ratios."""
    known = MEASURES[measure]
    if known.unit == "ratio":
        domain = charts.ratio_domain(pd.DataFrame({"mean": values, "low": values, "high": values}))
        axis = charts.ratio_axis(domain, known.label)
        return {"scale": charts.ratio_scale(domain), "axis": axis}
    unit = " (%)" if known.unit == "points" else ""
    return {"scale": charts.linear(values), "title": f"{known.label}{unit}"}


def _placed(mean: pd.DataFrame, x: alt.Scale, y: alt.Scale) -> pd.DataFrame:
    """Return the conditions with ``place``: lower than their marks where names would overlap."""
    across, down = _pixels(mean["x"], x, WIDTH), _pixels(mean["y"], y, HEIGHT)
    taken: list[tuple[float, float, float]] = []
    places = dict.fromkeys(mean.index, 0.0)
    for row in sorted(mean.index, key=lambda one: -down[one]):
        left, place = across[row], down[row]
        right = left + LETTER * len(str(mean["condition"][row]))
        while near := [
            low for a, b, low in taken if a < right and left < b and abs(low - place) < LINE - 1e-6
        ]:
            place = min(near) - LINE
        taken.append((left, right, place))
        places[row] = place
    low, high = (_free(float(end), y) for end in marks.domain(y))
    ends = [low + places[row] / HEIGHT * (high - low) for row in mean.index]
    return mean.assign(place=[math.exp(end) if y.type == "log" else end for end in ends])


def _free(value: float, scale: alt.Scale) -> float:
    return math.log(value) if scale.type == "log" else value


def _pixels(values: pd.Series, scale: alt.Scale, size: int) -> dict[Any, float]:
    """Return where values lie on an axis, in pixels from its start."""
    low, high = (_free(end, scale) for end in marks.domain(scale))
    return {
        row: size * (_free(float(value), scale) - low) / (high - low)
        for row, value in values.items()
    }
