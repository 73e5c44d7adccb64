"""Parts that figures are put together from: data as records, axes, bands, labels, whiskers."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import pandas as pd

from plasticity.report import numbers, theme

ROW = 30
HEIGHT = 300
LABEL_GAP = 15.0
NARROWEST = 1.02
"""Highest over lowest value of a logarithmic axis."""


BAND_IS = "The band is the 95 % t-interval of the mean over seeds"
NO_BAND = "One seed has no interval, so there is no band"


@dataclass(frozen=True)
class Figure:
    """A chart with what it needs to be understood away from its section."""

    name: str
    title: str
    """The finding."""
    measure: str
    """What is drawn, with its unit."""
    reading: str
    """How to read it: marks, n, and what the bands are."""
    source: str
    """Tables the data come from."""
    data: pd.DataFrame
    spec: dict[str, Any]


def extended(figure: Figure, reading: str) -> Figure:
    """Return a figure with more to say on how to read it."""
    return replace(figure, reading=f"{figure.reading}{reading}")


def band_text(frame: pd.DataFrame) -> str:
    """Return what the band of a figure is; ``low`` is empty where there is none."""
    return BAND_IS if frame["low"].notna().any() else NO_BAND


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose floats keep six significant digits, so that bytes do not wander."""
    result = frame.reset_index(drop=True)
    for column in result.columns:
        if pd.api.types.is_float_dtype(result[column]):
            result[column] = [
                None if pd.isna(value) else float(f"{value:.6g}") for value in result[column]
            ]
    return result


def data(frame: pd.DataFrame) -> alt.InlineData:
    """Return a frame as the text of its records, which ``spec`` reads again; missing is null."""
    records = [
        {str(key): _plain(value) for key, value in row.items()}
        for row in rounded(frame).to_dict("records")
    ]
    # Altair copies a chart at every step; as one text its records cost nothing to copy.
    return alt.InlineData(values=json.dumps(records))


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value


def spec(chart: Any, description: str) -> dict[str, Any]:
    """Return the specification of a chart, in the theme, with a text for screen readers."""
    result: dict[str, Any] = chart.properties(description=description).to_dict()
    # The schema's address would be the only one of the page, and nothing reads it.
    result.pop("$schema", None)
    datasets = {name: json.loads(text) for name, text in result["datasets"].items()}
    return result | {"datasets": datasets, "config": theme.config()}


def log_ticks(low: float, high: float) -> list[float]:
    """Return readable ticks of a logarithmic axis, five at least where the range allows."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [round(d * 10.0**e, 10) for e in exponents for d in digits]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 4:
            return inside
    step = next(step for step in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001) if high - low > 3 * step)
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def linear(*columns: pd.Series) -> alt.Scale:
    """Return a linear scale that holds all values, with room at both ends for marks and labels."""
    values = pd.concat(list(columns)).dropna().astype(float)
    low, high = float(values.min()), float(values.max())
    margin = 0.07 * (high - low) or 1.0
    return alt.Scale(domain=[round(low - margin, 6), round(high + margin, 6)], nice=False)


def ratio_domain(frame: pd.DataFrame) -> tuple[float, float]:
    """Return a logarithmic domain that holds every mean, every interval and 1."""
    values = pd.concat([frame["mean"], frame["low"], frame["high"]]).dropna()
    low, high = min(1.0, float(values.min())), max(1.0, float(values.max()))
    if high / low < NARROWEST:  # copies of incumbents have a ratio of 1, and an axis has a width
        low, high = low / NARROWEST, high * NARROWEST
    margin = (high / low) ** 0.06
    return low / margin, high * margin


def ratio_scale(domain: tuple[float, float]) -> alt.Scale:
    """Return the logarithmic scale of ratios."""
    return alt.Scale(type="log", domain=list(domain), nice=False)


def ratio_axis(domain: tuple[float, float], title: str | None = None) -> alt.Axis:
    """Return an axis whose labels are factors, such as ``0.5x``."""
    return alt.Axis(
        values=log_ticks(*domain),
        # Vega drops every other tick beyond the count, and the one at 1 must stay.
        tickCount=40,
        labelExpr=f"format(datum.value, '~g') + '{theme.TIMES}'",
        title=title,
        labelOverlap=False,
    )


def exponentiated(frame: pd.DataFrame) -> pd.DataFrame:
    """Return means and bounds of logs as ratios."""
    parts = {column: frame[column].map(math.exp, na_action="ignore") for column in ("mean", "low")}
    return frame.assign(**parts, high=frame["high"].map(math.exp, na_action="ignore"))


def parity(field: str, domain: tuple[float, float]) -> Any:
    """Return the rule at a ratio of 1, along the other axis of ``field`` (``x`` or ``y``)."""
    channel = alt.X if field == "x" else alt.Y
    encoding = channel("one:Q", scale=ratio_scale(domain))
    rule = alt.Chart(data(pd.DataFrame({"one": [1.0]}))).mark_rule(
        color="@ink", strokeWidth=1.2, strokeDash=[2, 2]
    )
    return rule.encode(**{field: encoding})


def end_labels(frame: pd.DataFrame, value: str, domain: tuple[float, float], height: int) -> Any:
    """Return a frame of labels with their places moved apart on a logarithmic axis.

    Parameters
    ----------
    frame
        One row per label.
    value
        Column with the place on the axis.
    domain
        Of the axis.
    height
        Of the axis, in pixels.
    """
    per_pixel = math.log(domain[1] / domain[0]) / height
    places = [math.log(number) for number in frame[value]]
    apart = numbers.spread(places, LABEL_GAP * per_pixel)
    return frame.assign(place=[math.exp(number) for number in apart])


def haloed(base: alt.Chart, color: str, dx: int, dy: int, align: Any) -> Any:
    """Return bold numbers, readable over lines; ``base`` encodes x and y, and has ``text``."""
    style = {"dx": dx, "dy": dy, "align": align, "fontSize": 15, "fontWeight": "bold"}
    return alt.layer(
        base.mark_text(**style, stroke="@paper", strokeWidth=5, strokeJoin="round").encode(
            text="text:N"
        ),
        base.mark_text(**style, color=color).encode(text="text:N"),
    )


def interval_rows(
    frame: pd.DataFrame,
    order: Sequence[str],
    x: alt.X,
    dots: pd.DataFrame | None,
    color: str,
    shape: str,
) -> Any:
    """Return rows ``name`` with a dot at ``mean``, whiskers to ``low`` and ``high``, seeds below.

    Parameters
    ----------
    frame
        Columns name, mean, low, high, n.
    order
        Names from top to bottom.
    x
        Encoding of ``mean``, with the scale and axis of the panel.
    dots
        One value per seed: columns name, seed, value; None draws none.
    color, shape
        Of the marks.
    """
    y = alt.Y(
        "name:N",
        sort=list(order),
        title=None,
        axis=alt.Axis(grid=False, labelColor="@ink", labelLimit=520, labelPadding=10),
    )
    base = alt.Chart(data(frame)).encode(y=y)
    tooltip = [
        alt.Tooltip("name:N", title=" "),
        *(alt.Tooltip(f"{c}:Q", format=".3~f") for c in ("mean", "low", "high")),
        alt.Tooltip("n:Q"),
    ]
    layers = []
    if dots is not None and len(dots):
        layers.append(
            alt.Chart(data(dots))
            .mark_point(size=26, filled=True, opacity=0.4, color=f"{color}-text", yOffset=9)
            .encode(
                y=y,
                x=alt.X("value:Q"),
                tooltip=[alt.Tooltip("seed:Q"), alt.Tooltip("value:Q", format=".3~f")],
            )
        )
    layers += [
        base.transform_filter("isValid(datum.low)")
        .mark_rule(color=color, strokeWidth=2)
        .encode(x="low:Q", x2="high:Q"),
        base.mark_point(
            shape=shape,
            size=80,
            filled=True,
            opacity=1,
            color=color,
            stroke=color,
            strokeWidth=2 if shape == "stroke" else 0,
            angle=90 if shape == "stroke" else 0,
        ).encode(x=x, tooltip=tooltip),
    ]
    return alt.layer(*layers)
