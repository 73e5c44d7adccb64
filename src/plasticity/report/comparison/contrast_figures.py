"""Every contrast with its seeds: what the verdicts are made of."""

import math
from collections.abc import Sequence

import altair as alt
import pandas as pd

from plasticity.report import charts, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import marks
from plasticity.report.comparison.gather import Comparison
from plasticity.report.comparison.verdicts import Contrast
from plasticity.report.parts import Section

MEASURE = {
    "points": "Difference in points of accuracy, first side less second",
    "ratio": "Ratio of the first side to the second",
    "error": "Difference of the error, first side less second",
}
WIDTH, ROOM = 520, 880
"""Pixels of the axis, and of it with the names of its rows, where they are long."""
LETTER = 6.6
ROW = 34


def section(comparison: Comparison) -> Section | None:
    """Return the paired seeds of all contrasts, or nothing where none has any."""
    shown = [
        (f"{decision.claim.name}  {one.text}", one)
        for decision in comparison.decisions
        for one in decision.contrasts
        if one.interval is not None
    ]
    figures = tuple(
        _figure(unit, [pair for pair in shown if pair[1].unit == unit])
        for unit in ("points", "ratio", "error")
        if any(one.unit == unit for _, one in shown)
    )
    if not figures:
        return None
    return Section(
        "contrasts",
        "Paired seeds",
        "How large are the differences, seed by seed?",
        "",
        (
            "Both sides of a contrast share their seeds. Each small dot is the difference of one "
            "seed: a mean that rests on one of them shows.",
        ),
        figures,
    )


def _figure(unit: str, shown: Sequence[tuple[str, Contrast]]) -> Figure:
    rows, dots = _frames(unit, shown)
    order = [name for name, _ in shown]
    values = pd.concat([rows["mean"], rows["low"], rows["high"], dots["value"]])
    title = MEASURE[unit].partition(",")[0].lower()
    if unit == "ratio":
        domain = charts.ratio_domain(pd.concat([rows, pd.DataFrame({"mean": dots["value"]})]))
        x = alt.X("mean:Q", scale=charts.ratio_scale(domain), axis=charts.ratio_axis(domain, title))
        lines = [charts.parity("x", domain)]
    else:
        zero = pd.Series([0.0])
        margins = {one.margin for _, one in shown}
        edge = pd.Series([-max(margins), max(margins)]) if unit == "points" else zero
        scale = charts.linear(values, zero, edge)
        x = alt.X("mean:Q", scale=scale, title=title)
        lines = _lines(scale, margins if unit == "points" else set())
    chart = alt.layer(
        *lines, charts.interval_rows(rows, order, x, dots, "@dense", "circle")
    ).properties(width=min(WIDTH, ROOM - LETTER * max(map(len, order))), height=ROW * len(order))
    apart = sum(_excludes_none(one) for _, one in shown)
    one_band = unit == "points" and len({one.margin for _, one in shown}) == 1
    band = "The grey band is the margin. " if one_band else ""
    return Figure(
        f"contrasts_{unit}",
        f"{apart} of {len(shown)} intervals leave out {1 if unit == 'ratio' else 0}",
        MEASURE[unit],
        "Large dots are means over seeds, whiskers their 95 % t-intervals, small dots single "
        f"seeds. {band}{marks.UNCORRECTED}. n = {_span([len(one.seeds) for _, one in shown])} "
        "seeds.",
        "contrasts.csv, seeds.csv",
        rows,
        charts.spec(chart, "Mean difference of every contrast with its interval and its seeds"),
    )


def _excludes_none(one: Contrast) -> bool:
    found = one.interval
    if found is None or found.low is None or found.high is None:
        return False
    return found.low > 0 or found.high < 0


def _frames(unit: str, shown: Sequence[tuple[str, Contrast]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row per contrast and a row per seed; ratios as factors."""
    rows = pd.DataFrame(
        [
            {"name": name, "mean": found.mean, "low": found.low, "high": found.high, "n": found.n}
            for name, one in shown
            if (found := one.interval) is not None
        ]
    ).astype({"low": float, "high": float})
    dots = pd.DataFrame(
        [
            {"name": name, "seed": seed, "value": difference}
            for name, one in shown
            for seed, difference in zip(one.seeds, one.differences, strict=True)
        ]
    )
    if unit != "ratio":
        return rows, dots
    return charts.exponentiated(rows), dots.assign(value=dots["value"].map(math.exp))


def _lines(scale: alt.Scale, margins: set[float]) -> list[alt.Chart]:
    """Return the band of the margin, where all contrasts share one, and the line at 0."""
    layers = []
    if len(margins) == 1:
        (margin,) = margins
        band = charts.data(pd.DataFrame({"low": [-margin], "high": [margin]}))
        layers.append(
            alt.Chart(band)
            .mark_rect(color="@axis", opacity=theme.BAND)
            .encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
        )
    zero = charts.data(pd.DataFrame({"zero": [0.0]}))
    rule = alt.Chart(zero).mark_rule(color="@ink", strokeWidth=1.2, strokeDash=[2, 2])
    return [*layers, rule.encode(x=alt.X("zero:Q", scale=scale))]


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
