"""Marks that figures of several conditions share: colours and dashes of operators, labels, caps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from plasticity.catalogue import OPERATORS
from plasticity.report import charts, numbers, theme
from plasticity.report.comparison.gather import Arm

MOST_ARMS = 24
"""Conditions drawn as lines in one panel."""
UNCORRECTED = (
    "Intervals are not corrected for their number: of twenty true zeros one is expected to look "
    "decided"
)


def drawn(arms: Sequence[Arm], most: int = MOST_ARMS) -> tuple[dict[str, list[Arm]], str]:
    """Return data set -> conditions to be drawn, and what is to be said of those left out."""
    panels: dict[str, list[Arm]] = {}
    for arm in arms:
        panels.setdefault(arm.params.dataset, []).append(arm)
    left = sum(max(0, len(some) - most) for some in panels.values())
    text = f" {left} of {len(arms)} conditions are not drawn: the first {most} of a data set are."
    return {name: some[:most] for name, some in panels.items()}, text if left else ""


def present(ops: Iterable[str]) -> list[str]:
    """Return the operators that occur, in the order of the catalogue."""
    found = set(ops)
    return [op for op in OPERATORS if op in found]


def coloured(ops: Iterable[str]) -> alt.Color:
    """Return the encoding of ``op`` by colour."""
    names = present(ops)
    scale = alt.Scale(domain=names, range=[f"@{op}" for op in names])
    return alt.Color("op:N", scale=scale, legend=None)


TINTED = alt.Color("tint:N", scale=None)
"""The encoding of ``tint``, a colour that is no part of a scale."""


def tinted(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows with ``tint``, the colour of their ``op`` where it is small text."""
    return frame.assign(tint=[f"@{op}-text" for op in frame["op"]])


REWINDS = alt.StrokeDash(
    "rewinds:N", scale=alt.Scale(domain=[False, True], range=[[1, 0], [6, 4]]), legend=None
)
"""The encoding of ``rewinds``: lines of conditions that rewind are dashed."""


def legend(title: str | None = None, columns: int = 0) -> alt.Legend:
    """Return a legend below a figure."""
    return alt.Legend(
        orient="bottom",
        columns=columns,
        title=title,
        labelColor="@muted",
        titleColor="@muted",
        labelFontSize=12,
        labelFont=theme.FONT,
        symbolStrokeColor="@muted",
        symbolFillColor="@muted",
        labelLimit=320,
    )


def nameless(panel: Any) -> Any:
    """Return a panel without the names of its rows, for one that stands beside another."""
    bare = panel.copy(deep=True)
    for layer in bare.layer:
        if "layer" in layer._kwds:
            layer.layer = nameless(layer).layer
        elif layer.encoding.y is not alt.Undefined:
            layer.encoding.y.axis = alt.Axis(labels=False, grid=False, domain=False, ticks=False)
    return bare


@dataclass(frozen=True)
class Zoom:
    """A linear axis of accuracy that a checkbox narrows to what is near the best mean."""

    param: alt.Parameter
    scale: alt.Scale
    places: tuple[tuple[str, tuple[float, float]], ...]
    """Condition of either state, and the ends of the axis in it."""


def zoom(top: float, best: float, *columns: pd.Series) -> Zoom:
    """Return an axis for all values, or only for those less than ``top`` below the best mean."""
    every = pd.concat(list(columns)).dropna().astype(float)
    near, whole = (domain(charts.linear(part)) for part in (every[every > best - top], every))
    ends = [alt.ExprRef(f"zoomed ? {a} : {b}") for a, b in zip(near, whole, strict=True)]
    checkbox = alt.binding_checkbox(name=f"only the top {top:g} points")
    return Zoom(
        alt.param(name="zoomed", value=False, bind=checkbox),
        alt.Scale(domain=ends, zero=False, nice=False),
        (("zoomed", near), ("!zoomed", whole)),
    )


def apart(frame: pd.DataFrame, value: str, ends: tuple[float, float], height: int) -> pd.DataFrame:
    """Return labels with their ``tint``, and ``place``, moved apart on a linear axis.

    Parameters
    ----------
    frame
        One row per label; column op.
    value
        Column with the place on the axis.
    ends
        Of the axis.
    height
        Of the axis, in pixels.
    """
    low, high = ends
    gap = charts.LABEL_GAP * (high - low) / height
    return tinted(frame).assign(place=numbers.spread(frame[value].astype(float).tolist(), gap))


def domain(scale: alt.Scale) -> tuple[float, float]:
    """Return the ends of a linear scale."""
    ends: Any = scale.domain
    return float(ends[0]), float(ends[1])


def n_of(counts: Iterable[int]) -> str:
    """Return the n of a figure, one number or a range."""
    known = sorted(set(counts))
    if not known:
        return "n = 0 seeds"
    low, high = known[0], known[-1]
    return f"n = {low} {'seed' if high == 1 else 'seeds'}" if low == high else (
        f"n = {low} to {high} seeds"
    )  # fmt: skip
