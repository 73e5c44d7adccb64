"""Claims about a correlation across conditions: the conditions, with all their seeds."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from plasticity.claims import MEASURES
from plasticity.report import charts, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison.gather import Comparison
from plasticity.report.comparison.scorecard import correlation_text
from plasticity.report.comparison.verdicts import Correlation, Decision
from plasticity.report.parts import Section

WIDTH, HEIGHT = 520, 340


def section(comparison: Comparison) -> Section | None:
    """Return a picture of each correlation, or nothing where none was claimed or can be drawn."""
    drawn = [
        figure(decision, decision.correlation)
        for decision in comparison.decisions
        if decision.correlation is not None and len(decision.correlation.conditions) > 1
    ]
    if not drawn:
        return None
    return Section(
        "correlations",
        "Across conditions",
        "Do conditions with the one have more of the other?",
        "",
        (
            "Conditions, not seeds, are the sample of a correlation between conditions: with few "
            "of them even a high one is uncertain, and the interval says so.",
        ),
        tuple(drawn),
    )


def figure(decision: Decision, found: Correlation) -> Figure:
    """Return one correlation: large dots are conditions, small ones their seeds."""
    seeds = pd.DataFrame(found.points, columns=["condition", "seed", "x", "y"])
    labels = [MEASURES[name].label for name in found.measures]
    units = [MEASURES[name].unit for name in found.measures]
    means = seeds.groupby("condition", sort=False)[["x", "y"]].mean().reset_index()
    x, y = (
        _axis(channel, pd.concat([seeds[name], means[name]]), unit, label)
        for channel, name, unit, label in zip(
            (alt.X, alt.Y), ("x", "y"), units, labels, strict=True
        )
    )
    small = alt.Chart(charts.data(seeds)).mark_point(
        filled=True, size=24, opacity=0.35, color="@muted"
    )
    large = alt.Chart(charts.data(means)).encode(x=x, y=y)
    tooltip = ["condition:N", alt.Tooltip("x:Q", format=".3~f"), alt.Tooltip("y:Q", format=".3~f")]
    chart = alt.layer(
        small.encode(x=x, y=y, tooltip=[*tooltip, "seed:Q"]),
        large.mark_point(filled=True, size=90, opacity=1, color="@grow").encode(tooltip=tooltip),
        large.mark_text(align="left", dx=9, dy=-8, fontSize=12).encode(text="condition:N"),
    ).properties(width=WIDTH, height=HEIGHT)
    logs = [f"{label}: natural logarithm" for label, unit in zip(labels, units, strict=True)
            if unit == "ratio"]  # fmt: skip
    within = (
        ""
        if found.within is None
        else f" Within a condition, over its seeds, rho is {theme.number(found.within, 2)} in the "
        "mean."
    )
    return Figure(
        f"correlation_{decision.claim.name.lower()}",
        f"{decision.claim.name}: {correlation_text(found)} across {len(found.conditions)} "
        f"conditions, {decision.verdict}",
        f"{labels[1]} against {labels[0]}{_listed(logs)}",
        "Large dots are means of conditions, small ones seeds. The interval draws conditions "
        f"(percentile bootstrap).{within}",
        "values of contrasts",
        seeds,
        charts.spec(chart, f"{labels[1]} against {labels[0]}, by condition"),
    )


def _listed(logs: Sequence[str]) -> str:
    return f" ({theme.listed(list(logs))})" if logs else ""


def _axis(channel: Any, values: pd.Series, unit: str, label: str) -> Any:
    name = "x" if channel is alt.X else "y"
    title = f"{label} (log)" if unit == "ratio" else f"{label} (%)"
    return channel(f"{name}:Q", scale=charts.linear(values), title=title)
