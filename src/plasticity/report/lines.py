"""Lines of learners, each with its band and its name at its end: by task, and by steps per task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import pandas as pd

from plasticity.report import charts, numbers, theme

PANEL = 344
MOST_LINES = 8
HEALTH = {
    "dormant_025": "dormant units (% of alive ones)",
    "effective_rank": "effective rank",
    "weight_norm": "norm of incoming weights",
}
HUES = {
    "grow": "grow",
    "grow_rewind": "grow",
    "grow_two_speed": "grow",
    "grow_gradmax": "grow",
    "grow_random_smooth_leaky": "grow",
    "growing": "grow",
    "prune_warm": "prune",
    "prune_rewind": "prune",
    "prune_rewind_every_event": "prune",
    "continual_backprop": "turnover",
    "redo": "turnover",
    "self_normalized_resets": "turnover",
    "static": "static",
    "backprop": "dense",
    "dense_rewind": "dense",
}
"""The operator whose hue a learner has; all others are grey, and every line bears its name."""
DASHED = {
    "grow_rewind": (6, 3),
    "grow_two_speed": (2, 2),
    "grow_gradmax": (9, 2, 2, 2),
    "grow_random_smooth_leaky": (4, 1),
    "growing": (1, 3),
    "prune_rewind": (6, 3),
    "prune_rewind_every_event": (2, 2),
    "redo": (6, 3),
    "self_normalized_resets": (2, 2),
    "dense_rewind": (6, 3),
    "l2": (6, 3),
    "l2_init": (2, 2),
    "leaky": (9, 2),
    "full_reset": (1, 3),
    "head_reset": (4, 1),
}
AGAIN = ((6, 3), (2, 2), (9, 2, 2, 2), (4, 1), (1, 3))
"""Dashes of the second and later arms that have the same learner."""
CHARACTER = 6.4
"""Mean width of a letter of a name, in pixels."""
MOST_ROOM = 0.6
"""Share of a panel's width that names may take."""


@dataclass(frozen=True)
class Look:
    """How a learner's line looks, and how it is named."""

    label: str
    color: str
    """Of the palette."""
    ink: str
    """Of its name."""
    dash: tuple[int, ...]


Looks = Mapping[str, Look]


def look(learner: str, op: str, label: str = "") -> Look:
    """Return the look of a learner.

    Parameters
    ----------
    learner
        As the catalogue names it.
    op
        The experiment's operator, which the learner ``operator`` has.
    label
        Its name for readers, where it is not the learner's own.
    """
    mine = learner == "operator"
    hue = op if mine else HUES.get(learner)
    color = "@muted" if hue is None else f"@{hue}"
    return Look(
        label or (op if mine else learner).replace("_", " "),
        color,
        color if hue is None else f"{color}-text",
        theme.DASHES[op] if mine else DASHED.get(learner, (1, 0)),
    )


def dashed(one: Look, place: int) -> Look:
    """Return a look with another dash, for the same learner in another arm."""
    return replace(one, dash=AGAIN[(place - 1) % len(AGAIN)])


def scales(mean: pd.DataFrame, looks: Looks) -> tuple[alt.Color, alt.StrokeDash]:
    """Return the colours and dashes of the learners of a frame."""
    names = list(dict.fromkeys(mean["learner"]))
    dashes = [list(looks[name].dash) for name in names]
    colors = [looks[name].color for name in names]
    return (
        alt.Color("learner:N", scale=alt.Scale(domain=names, range=colors), legend=None),
        alt.StrokeDash("learner:N", scale=alt.Scale(domain=names, range=dashes), legend=None),
    )


def panel(
    mean: pd.DataFrame,
    x: alt.X,
    title: str | None,
    looks: Looks,
    height: int,
    include: Sequence[float] = (),
) -> Any:
    """Return lines with bands, one for each learner, named at their ends.

    Parameters
    ----------
    mean
        Columns learner, mean, low, high, n and that of ``x``.
    x
        Encoding with the scale of the panel, which leaves room for names on the right.
    title
        Of the other axis.
    looks
        Of every learner.
    height
        Of the panel, in pixels.
    include
        Values that the other axis must reach, such as 0.
    """
    color, dash = scales(mean, looks)
    scale = charts.linear(
        mean["mean"], mean["low"], mean["high"], pd.Series([*include], dtype=float)
    )
    base = alt.Chart(charts.data(mean)).encode(x=x, color=color)
    field = str(x.shorthand).partition(":")[0]
    tips = [
        alt.Tooltip("learner:N"),
        alt.Tooltip(f"{field}:Q"),
        *(alt.Tooltip(f"{c}:Q", format=".2f") for c in ("mean", "low", "high")),
        alt.Tooltip("n:Q"),
    ]
    return alt.layer(
        base.mark_area(opacity=theme.BAND).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(
            y=alt.Y("mean:Q", scale=scale, title=title), strokeDash=dash, tooltip=tips
        ),
        _names(mean, field, scale, height, looks),
    )


def _names(mean: pd.DataFrame, x: str, scale: alt.Scale, height: int, looks: Looks) -> Any:
    """Return every line's name at its end, moved apart where they would overlap."""
    last = mean.sort_values(x).groupby("learner", sort=False).tail(1)
    low, high = scale["domain"]
    gap = charts.LABEL_GAP * (high - low) / height
    place = _lifted(numbers.spread(last["mean"].tolist(), gap), low + gap / 2, gap)
    frame = last.assign(
        place=place, name=[looks[str(learner)].label for learner in last["learner"]]
    )
    inks = [looks[str(learner)].ink for learner in frame["learner"]]
    return alt.layer(
        *(
            alt.Chart(charts.data(frame[[ink == one for one in inks]]))
            .mark_text(align="left", dx=6, fontSize=12, color=ink)
            .encode(x=alt.X(f"{x}:Q"), y=alt.Y("place:Q", scale=scale), text="name:N")
            for ink in dict.fromkeys(inks)
        )
    )


def _lifted(places: list[float], floor: float, gap: float) -> list[float]:
    """Return places none of which is below a floor, moved up no more than that needs."""
    result = list(places)
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        result[i] = max(places[i], floor)
        floor = result[i] + gap
    return result


def beside(panels: Sequence[Any], columns: int, spacing: int) -> Any:
    """Return panels in a grid, each with the colours and dashes of its own learners."""
    grid = alt.concat(*panels, columns=columns, spacing=spacing)
    return grid.resolve_scale(color="independent", strokeDash="independent")


def task_axis(last: int, looks: Looks, width: int, title: str | None = "task") -> alt.X:
    """Return the axis of tasks, from 1 to the last, with room for names."""
    end = 0.4 + (last + 0.2) / (1 - _room(looks, width))
    scale = alt.Scale(domain=[0.4, round(end, 3)], nice=False)
    return alt.X("task:Q", scale=scale, axis=alt.Axis(title=title, values=ticks(last)))


def by_length(
    mean: pd.DataFrame,
    title: str,
    looks: Looks,
    height: int,
    width: int = PANEL,
    include: Sequence[float] = (),
) -> Any:
    """Return learners' lines over the steps of a task, on a logarithmic axis.

    Parameters
    ----------
    mean
        Columns learner, task_steps, mean, low, high, n; two lengths at least.
    title, looks, height, include
        As for ``panel``.
    width
        Of the panel, in pixels.
    """
    x = length_axis(mean["task_steps"].unique().tolist(), looks, width)
    return panel(mean, x, title, looks, height, include)


def length_axis(lengths: Sequence[float], looks: Looks, width: int) -> alt.X:
    """Return the logarithmic axis of steps per task, with room for names."""
    low, high = float(min(lengths)), float(max(lengths))
    share = _room(looks, width)
    end = high * (high / low) ** (share / (1 - share))
    scale = alt.Scale(type="log", domain=[low * 0.9, round(end, 1)], nice=False)
    axis = alt.Axis(values=sorted(lengths), tickCount=40, format=",d")
    return alt.X("task_steps:Q", scale=scale, title="steps per task", axis=axis)


def health(rows: pd.DataFrame, looks: Looks, heading: Sequence[str]) -> tuple[pd.DataFrame, Any]:
    """Return dormant units, effective rank and weight norm by task, means over layers.

    Parameters
    ----------
    rows
        Of ``continual/health.csv``, of one stream at one length.
    looks
        Of every learner.
    heading
        Lines above each measure's name.

    Returns
    -------
    table
        What is drawn: columns measure, learner, task, mean, low, high, n.
    chart
        A panel for each measure, side by side.
    """
    rows = rows.assign(dormant_025=100 * rows["dormant_025"], task=rows["task"] + 1)
    by_network = rows.groupby(["learner", "task", "seed"])[list(HEALTH)].mean().reset_index()
    tables, panels = [], []
    for measure, title in HEALTH.items():
        mean = numbers.over_seeds(by_network, ["learner", "task"], measure)
        tables.append(mean.assign(measure=measure))
        shown = {name: looks[name] for name in mean["learner"]}
        x = task_axis(int(by_network["task"].max()), shown, 230)
        panels.append(
            panel(mean, x, None, looks, 130).properties(
                width=230, height=130, title=[*heading, title]
            )
        )
    return pd.concat(tables, ignore_index=True), beside(panels, len(panels), 34)


def _room(looks: Looks, width: int) -> float:
    """Return the share of a panel's width that the longest name takes."""
    longest = max(len(one.label) for one in looks.values())
    return min(MOST_ROOM, (CHARACTER * longest + 12) / width)


def ticks(last: int) -> list[int]:
    """Return at most six round numbers up to the last task: beyond it the axis holds names."""
    step = next(
        digit * 10**power
        for power in range(8)
        for digit in (1, 2, 5)
        if last <= 6 * digit * 10**power
    )
    return list(range(step, last + 1, step))


def n(table: pd.DataFrame) -> str:
    """Return the n of the intervals of a frame."""
    counts = table["n"].astype(int)
    return f"n = {numbers.span(counts)} {'seed' if counts.max() == 1 else 'seeds'}"
