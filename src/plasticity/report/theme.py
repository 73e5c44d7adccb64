"""How everything in a report looks: colours, chart configuration, and numbers as text.

A colour in a chart is a name such as ``@ink``. The page puts the light or the dark palette in its
place, so one specification serves both, and no operator ever changes its hue.
"""

import math
from collections.abc import Mapping
from typing import Any

from plasticity.stats import Interval

TIMES = "\u00d7"
MINUS = "\u2212"

HUE_OF = {
    "grow_then_prune": "grow",
    "prune_then_grow": "prune",
    "single_event": "grow",
    "late_reveal": "grow",
}
"""Operators beyond the five hues take that of their first move, and differ by dash and mark."""


def _with_relatives(palette: Mapping[str, str]) -> dict[str, str]:
    relatives = {
        f"@{op}{end}": palette[f"@{hue}{end}"]
        for op, hue in HUE_OF.items()
        for end in ("", "-text")
    }
    return {**palette, **relatives}


LIGHT = _with_relatives(
    {
        "@paper": "#ffffff",
        "@ink": "#15181c",
        "@muted": "#5b636d",
        "@grid": "#e6e8eb",
        "@axis": "#aeb4bb",
        "@dense": "#000000",
        "@grow": "#0072B2",
        "@prune": "#D55E00",
        "@turnover": "#CC79A7",
        "@static": "#595959",
        "@grow-text": "#0072B2",
        "@prune-text": "#B34F00",
        "@dense-text": "#000000",
        "@static-text": "#595959",
        "@turnover-text": "#A3507F",
    }
)
DARK = _with_relatives(
    {
        "@paper": "#16191d",
        "@ink": "#eceef0",
        "@muted": "#9ba4ae",
        "@grid": "#2a2f35",
        "@axis": "#59616a",
        "@dense": "#f4f4f5",
        "@grow": "#0072B2",
        "@prune": "#D55E00",
        "@turnover": "#CC79A7",
        "@static": "#a8a8a8",
        "@grow-text": "#56ace0",
        "@prune-text": "#f08a3c",
        "@dense-text": "#f4f4f5",
        "@static-text": "#a8a8a8",
        "@turnover-text": "#d99bbd",
    }
)
PALETTES = {"light": LIGHT, "dark": DARK}
"""Only black and dark grey turn over in the dark; small text takes a tint that can be read."""

DASHES: dict[str, tuple[int, ...]] = {
    "dense": (1, 0),
    "grow": (1, 0),
    "prune": (1, 0),
    "turnover": (1, 0),
    "static": (5, 3),
    "grow_then_prune": (9, 2),
    "prune_then_grow": (9, 2),
    "single_event": (9, 2, 2, 2),
    "late_reveal": (4, 1),
}
TICKET_DASH = (2, 2)
SHAPES = {
    "dense": "stroke",
    "grow": "circle",
    "prune": "square",
    "turnover": "diamond",
    "static": "stroke",
    "grow_then_prune": "triangle-down",
    "prune_then_grow": "triangle-up",
    "single_event": "triangle-right",
    "late_reveal": "cross",
}

BAND = 0.18
LINE = 1.8
SEED_LINE = 0.6
SEED_OPACITY = 0.25
POINTS_PER_LINE = 200
SEEDS_DRAWN = 20
MOST_DECIMALS = 5

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


def config() -> dict[str, Any]:
    """Return the Vega-Lite configuration of every chart."""
    axis = {
        "labelFont": FONT,
        "titleFont": FONT,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelColor": "@muted",
        "titleColor": "@muted",
        "labelPadding": 6,
        "labelOverlap": True,
    }
    return {
        "background": "@paper",
        "padding": {"left": 4, "right": 12, "top": 6, "bottom": 4},
        "font": FONT,
        "view": {"stroke": None},
        "axis": axis,
        "axisX": {
            "grid": False,
            "domainColor": "@axis",
            "tickColor": "@axis",
            "tickSize": 4,
            "tickCount": 6,
            "titlePadding": 8,
        },
        "axisY": {
            "grid": True,
            "gridColor": "@grid",
            "domain": False,
            "ticks": False,
            "tickCount": 5,
            "titleAngle": 0,
            "titleAlign": "left",
            "titleAnchor": "end",
            "titleX": -32,
            "titleY": -10,
        },
        "title": {
            "font": FONT,
            "fontSize": 13,
            "fontWeight": "bold",
            "color": "@ink",
            "subtitleFont": FONT,
            "subtitleFontSize": 12,
            "subtitleColor": "@muted",
            "anchor": "start",
            "frame": "group",
            "offset": 12,
        },
        "text": {"font": FONT, "fontSize": 12, "color": "@ink"},
        "rule": {"color": "@axis"},
        "concat": {"spacing": 44},
    }


def painted(node: Any, palette: Mapping[str, str]) -> Any:
    """Return a specification with the palette's colours in the place of their names."""
    if isinstance(node, str):
        return palette.get(node, node)
    if isinstance(node, Mapping):
        return {key: painted(value, palette) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [painted(value, palette) for value in node]
    return node


def signed(value: float, decimals: int = 1) -> str:
    """Return a number with its sign, and no sign when it rounds to zero."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return f"{'+' if value > 0 else MINUS}{text}"


def number(value: float, decimals: int = 1) -> str:
    """Return a number with a typographic minus."""
    text = signed(value, decimals)
    return text.removeprefix("+")


def times(value: float, least: int = 0) -> str:
    """Return a ratio to about two digits, such as ``0.46x``, or to ``least`` decimals."""
    for limit, decimals in ((10, 0), (0.1, 2), (0.01, 3), (0.001, 4)):
        if value >= limit:
            return f"{value:.{max(decimals, least)}f}{TIMES}"
    return f"{value:.1e}{TIMES}"


def _decimals(interval: Interval) -> int:
    half = interval.half_width
    return telling(interval.low, interval.high, 0.0, 2 if half and half < 0.095 else 1)


def telling(low: float | None, high: float | None, reference: float, decimals: int) -> int:
    """Return decimals enough to see that bounds exclude a reference, where they do."""
    if low is None or high is None or low <= reference <= high:
        return decimals
    near = low if low > reference else high
    while decimals < MOST_DECIMALS and round(near, decimals) == reference:
        decimals += 1
    return decimals


def percent(interval: Interval) -> str:
    """Return a mean of percents with its interval: ``97.1 % [96.8, 97.4]``."""
    decimals = _decimals(interval)
    return f"{interval.mean:.{decimals}f} %{_bracket(interval, lambda v: number(v, decimals))}"


def points(interval: Interval) -> str:
    """Return a mean difference of percents with its interval: ``+0.4 points [-0.1, +0.9]``."""
    decimals = _decimals(interval)
    mean = signed(interval.mean, decimals)
    return f"{mean} points{_bracket(interval, lambda v: signed(v, decimals))}"


def size(interval: Interval) -> str:
    """Return a difference whose direction is said in words: ``2.2 points [1.8, 2.5]``."""
    bounds, decimals = positive(interval), _decimals(interval)
    bracket = _bracket(bounds, lambda v: number(v, decimals))
    return f"{bounds.mean:.{decimals}f} points{bracket}"


def positive(interval: Interval) -> Interval:
    """Return an interval whose mean has lost its sign, its bounds turned round with it."""
    return Interval(abs(interval.mean), interval.half_width, interval.n)


def plain(
    interval: Interval | None,
    *,
    sign: bool = False,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> str:
    """Return a mean without a unit, with its interval: ``0.021 [0.012, 0.030]``.

    Parameters
    ----------
    interval
        None is no text.
    sign
        Whether a plus is written.
    within
        Where bounds are cut off, such as at 0 and 100 for a share in percent.
    """
    if interval is None:
        return ""
    decimals = _digits(interval)
    written = signed if sign else number
    low, high = within
    text = written(interval.mean, decimals)
    return f"{text}{_bracket(interval, lambda v: written(min(max(v, low), high), decimals))}"


def _digits(interval: Interval) -> int:
    """Return decimals that show two digits of the half-width, or three of the mean."""
    half = interval.half_width
    size, digits = (half, 1) if half else (abs(interval.mean), 2)
    return 1 if not size else min(max(digits - math.floor(math.log10(size)), 0), 9)


def _bracket(interval: Interval, text: Any) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f" [{text(interval.low)}, {text(interval.high)}]"


def count(value: float) -> str:
    """Return a count: whole with thousands separated, large ones to three digits."""
    if value < 1e6:
        return f"{value:,.0f}"
    for unit, size in (("million", 1e6), ("billion", 1e9), ("trillion", 1e12)):
        if value < size * 1e3:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def units(text: str) -> str:
    """Return widths such as ``26-26`` so that no line breaks inside them."""
    return text.replace("-", "\u2011")


def listed(names: list[str]) -> str:
    """Return names as English lists them: ``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
