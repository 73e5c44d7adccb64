"""The figures of two cohorts compared by age, one panel per measure, all drawn alike."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from plasticity.report import charts, findings, numbers, theme, wordings
from plasticity.report.charts import Figure
from plasticity.report.contrasts import Ratios
from plasticity.report.findings import Summary

HALF = 344
NARROW = 676
"""Of more than two panels together, without their labels."""
GAP = 34
PANELS = {
    "activation": "Forward: how often units fire",
    "gradient": "Backward: how much gradient they get",
}
ALL = "all layers"


def newborns(summary: Summary) -> Figure:
    """Return newborns divided by incumbents, by age."""
    return by_age(
        "newborns",
        findings.birth(summary),
        ("Newborns", "incumbents"),
        PANELS,
        summary.newborn,
        summary,
    )


def survivors(summary: Summary) -> Figure:
    """Return units that survived an event divided by themselves before it, by age."""
    figure = by_age(
        "survivors",
        findings.survived(summary),
        ("Surviving units", "the same units just before the event"),
        PANELS,
        summary.survivor,
        summary,
    )
    return charts.extended(figure, f" {wordings.REWOUND}" if summary.rewound else "")


def by_age(
    name: str,
    title: str,
    words: tuple[str, str],
    panels: Mapping[str, str],
    ratios: Ratios,
    summary: Summary,
) -> Figure:
    """Return the ratio of two cohorts by age: bold over layers, thin for each layer.

    Parameters
    ----------
    name, title
        Of the figure.
    words
        What is divided by what.
    panels
        Measure -> title of its panel.
    ratios
        Of these measures, and perhaps others.
    summary
        For the operator's colour and n.
    """
    rows = ratios.rows[ratios.rows["measure"].isin(list(panels))]
    ratios = Ratios(rows, ratios.pairs, ratios.lost)
    layers = charts.exponentiated(ratios.over_seeds(["measure", "layer", "age"]))
    every = charts.exponentiated(ratios.over_seeds(["measure", "age"])).assign(layer=ALL)
    table = pd.concat([every, layers], ignore_index=True)
    table = table[table["age"].isin(numbers.thinned(table["age"].tolist()))]
    # Of layers the means alone are drawn.
    domain = charts.ratio_domain(pd.concat([every, layers[["mean"]]]))
    few = len(panels) <= 2
    width = HALF if few else NARROW // len(panels)
    known = {one: text for one, text in panels.items() if (table["measure"] == one).any()}
    drawn = [
        _panel(
            table[table["measure"] == measure], domain, summary.op, width, named=few or not place
        ).properties(title=panel, view=alt.ViewConfig(stroke=None))
        for place, (measure, panel) in enumerate(known.items())
    ]
    missing = (
        f" In {ratios.undefined} of {ratios.pairs} comparisons one side was exactly zero; they "
        "have no ratio and are left out, which flatters the smaller side."
        if ratios.undefined
        else ""
    )
    return Figure(
        name,
        title,
        f"{words[0]} divided by {words[1]}, geometric mean over layers, seeds and events after "
        "step 0; logarithmic axes",
        f"At 1{theme.TIMES} the two are equal. Bold is the mean over layers, thin lines are the "
        "layers, the numbers are those at the first probe and at the end of the cycle. "
        f"{charts.band_text(every)}; {n_of(every, summary)}.{missing}",
        "train/cohorts.csv",
        table,
        charts.spec(
            alt.hconcat(*drawn, spacing=GAP if few else GAP // 2),
            f"{words[0]} divided by {words[1]} by age",
        ),
    )


def n_of(table: pd.DataFrame, summary: Summary) -> str:
    """Return the n of the rows of a figure; a range where seeds have no ratio."""
    seeds = sorted(set(table["n"]))
    if seeds == [summary.finished]:
        return findings.n(summary)
    return f"n = {seeds[0]} to {seeds[-1]} of {summary.total} seeds"


def _unnamed(axis: alt.Axis) -> alt.Axis:
    axis = axis.copy()
    axis.labels = False
    return axis


def age_axis(last: float, title: str = "optimizer steps since the event") -> alt.X:
    """Return the axis of age in steps, which has room for birth and for the first few steps."""
    return alt.X(
        "age:Q",
        scale=alt.Scale(type="symlog", constant=1, domain=[0, last], nice=False),
        axis=alt.Axis(
            values=[v for v in (0, 1, 10, 100, 1000, 10000, 100000) if v <= last],
            title=title,
            format="~s",
            labelOverlap=False,
        ),
    )


def _panel(
    table: pd.DataFrame, domain: tuple[float, float], op: str, width: int, *, named: bool
) -> Any:
    last = float(table["age"].max())
    x = age_axis(last) if width > 300 else age_axis(last, "steps since the event")
    axis = charts.ratio_axis(domain)
    y = alt.Y("mean:Q", scale=charts.ratio_scale(domain), axis=axis if named else _unnamed(axis))
    every = table[table["layer"] == ALL].sort_values("age")
    layers = table[table["layer"] != ALL]
    tips = [alt.Tooltip("age:Q", title="steps")] + [
        alt.Tooltip(f"{c}:Q", format=".3f") for c in ("mean", "low", "high")
    ]
    ends = layers[layers["age"] == last]
    ends = charts.end_labels(ends, "mean", domain, charts.HEIGHT)
    marked = every.iloc[[0, -1]] if len(every) > 1 else every
    first = every["age"].min()
    marked = marked.assign(text=[theme.times(value) for value in marked["mean"]])
    base = alt.Chart(charts.data(every)).encode(x=x)
    mean = alt.Chart(charts.data(marked)).encode(x=x, y=y)
    layer_lines = alt.Chart(charts.data(layers)).encode(
        x=x, y=y, detail="layer:N", tooltip=[*tips, "layer:N"]
    )
    at_first = mean.transform_filter(f"datum.age <= {first}")
    at_last = mean.transform_filter(f"datum.age > {first}")
    parts = [
        charts.parity("y", domain),
        base.mark_area(opacity=theme.BAND, color=f"@{op}").encode(
            y=alt.Y("low:Q", scale=charts.ratio_scale(domain)), y2="high:Q"
        ),
        layer_lines.mark_line(strokeWidth=1.1, color=f"@{op}-text", opacity=0.8, strokeDash=[4, 2]),
        base.mark_line(strokeWidth=2.8, color=f"@{op}").encode(y=y),
        base.mark_point(size=90, opacity=0, filled=True).encode(y=y, tooltip=[*tips, "n:Q"]),
        mean.mark_point(size=70, filled=True, opacity=1, shape=theme.SHAPES[op], color=f"@{op}"),
        charts.haloed(at_first, f"@{op}-text", 8, -14, "left"),
        charts.haloed(at_last, f"@{op}-text", -8, -14, "right"),
        alt.Chart(charts.data(ends))
        .mark_text(align="left", dx=8, fontSize=11, color=f"@{op}-text")
        .encode(x=x, y=alt.Y("place:Q", scale=charts.ratio_scale(domain)), text="layer:N"),
    ]
    return alt.layer(*parts).properties(width=width, height=charts.HEIGHT)
