"""Should I grow or prune? Their difference for each data set and weight budget, by each measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from plasticity.claims import MEASURES
from plasticity.report import charts, numbers, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import marks, pairs
from plasticity.report.comparison.gather import Arm, Comparison
from plasticity.report.comparison.pairs import Pair
from plasticity.report.parts import Section
from plasticity.stats import Interval

MOST_ROWS = 30
CELL, ROW = 96, 46
SEPARATOR = "; "
"""Between what a row says; each part has its own line."""
ROOM = 900
"""Pixels across which panels stand side by side."""
FULL = 5.0
"""Points of difference at which a cell has its full colour, or the largest there is."""
FAVOURS = {"above": "grow", "below": "prune"}


@dataclass(frozen=True)
class Cell:
    """The difference of one pair by one measure."""

    pair: Pair
    row: str
    measure: str
    interval: Interval

    @property
    def favours(self) -> str:
        """Return which of the two the interval supports, or that none is."""
        return FAVOURS.get(numbers.verdict(self.interval), "undecided")


def section(comparison: Comparison) -> Section | None:
    """Return the matrix, or nothing where no two conditions can be compared."""
    every = pairs.grow_and_prune(comparison)
    found = cells(comparison, every)
    if not found:
        return None
    return Section(
        "matrix",
        "Grow or prune",
        "Should I grow or prune?",
        "",
        (
            "Each cell compares two conditions that differ in growing or pruning, and in nothing "
            "else but what continues at an event where the row says so. Cycle ACC is the accuracy "
            "of the network that was edited, Cycle TAA its mean over the way there, Ticket ACC "
            "that of the final network trained again from scratch, of the first variant that both "
            "have. Warm means that weights go on through an event, rewinds that survivors go back "
            "to their initial ones: only where both do the same is it growing or pruning alone "
            "that differs.",
        ),
        (_figure(found),),
    )


def cells(comparison: Comparison, every: Sequence[Pair]) -> list[Cell]:
    """Return the difference of every pair by every measure that both have."""
    labels = rows(every)
    result = []
    for measure in pairs.ACCURACIES:
        for pair, row in zip(every, labels, strict=True):
            by_seed = pairs.differences(comparison, pair.grow, pair.prune, measure)
            if interval := pairs.interval(by_seed):
                result.append(Cell(pair, row, measure, interval))
    return result


def rows(every: Sequence[Pair]) -> list[str]:
    """Return the row of each pair: its data set, and whatever else tells the pairs apart."""
    told = [_told(pair) for pair in every]
    names = dict.fromkeys(name for one in told for name in one)
    varying = [
        name for name in names if name != "dataset" and len({one.get(name) for one in told}) > 1
    ]
    labels = [
        SEPARATOR.join([one["dataset"], *(one[name] for name in varying if name in one)])
        for one in told
    ]
    places = [
        (label, pair.grow.params.compactness) for label, pair in zip(labels, every, strict=True)
    ]
    return [
        label if places.count(place) == 1 else f"{label} ({pair.text})"
        for label, place, pair in zip(labels, places, every, strict=True)
    ]


def _told(pair: Pair) -> dict[str, str]:
    """Return what is to be said of a pair, by the parameter that it is about."""
    settings = {
        name: f"{name} {value}"
        for name, value in pair.grow.settings.items()
        if name not in ("op", "dataset", "compactness", "edit.continuity", "edit.rewind_when")
        and not any(f"{name}.".startswith(f"{harmless}.") for harmless in pairs.HARMLESS)
    }
    continues = f"grow {_continues(pair.grow)}, prune {_continues(pair.prune)}"
    return {"dataset": pair.grow.params.dataset, "continuity": continues, **settings}


def _continues(arm: Arm) -> str:
    if not arm.params.rewinds:
        return "warm"
    return "rewinds always" if arm.params.edit.rewind_when == "every_event" else "rewinds"


def title(found: Sequence[Cell]) -> str:
    """Return which cells of Cycle ACC favour whom, those where both continue alike first.

    Of the first measure that there is, where nothing has a Cycle ACC.
    """
    measure = found[0].measure
    shown = [cell for cell in found if cell.measure == measure]
    told = [
        f"{words}: {_count(part)}"
        for words, alike in (("both continuing alike", True), ("continuing differently", False))
        if (part := [cell.favours for cell in shown if _alike(cell.pair) == alike])
    ]
    return f"{MEASURES[measure].label}, {'; '.join(told)}"


def _alike(pair: Pair) -> bool:
    return _continues(pair.grow) == _continues(pair.prune)


def _count(favours: Sequence[str]) -> str:
    grow, prune, open_ = (favours.count(side) for side in ("grow", "prune", "undecided"))
    of = pairs.counted(len(favours), "cell")
    return f"grow is ahead in {grow} of {of}, prune in {prune} ({open_} undecided)"


def frame(found: Sequence[Cell]) -> pd.DataFrame:
    """Return the cells as rows of numbers."""
    return pd.DataFrame(
        [
            {
                "measure": cell.measure,
                "row": cell.row,
                "compactness": cell.pair.grow.params.compactness,
                "grow": cell.pair.grow.name,
                "prune": cell.pair.prune.name,
                "mean": cell.interval.mean,
                "low": cell.interval.low,
                "high": cell.interval.high,
                "n": cell.interval.n,
                "favours": cell.favours,
            }
            for cell in found
        ]
    ).astype({"low": float, "high": float})


def _figure(found: Sequence[Cell]) -> Figure:
    table = frame(found)
    order = list(dict.fromkeys(table["row"]))
    table_and_words = table.assign(
        text=[_signed(value) for value in table["mean"]],
        bounds=[_bounds(cell.interval) for cell in found],
    )
    shown = table_and_words[table["row"].isin(order[:MOST_ROWS])]
    limit = max(0.1, min(FULL, float(shown["mean"].abs().max())))
    shown = shown.assign(ink=[_ink(row, limit) for _, row in shown.iterrows()])
    columns = sorted(set(shown["compactness"]))
    measures = [name for name in pairs.ACCURACIES if (shown["measure"] == name).any()]
    widest = 7 * max(len(part) for row in order[:MOST_ROWS] for part in row.split(SEPARATOR))
    beside = len(measures) * (len(columns) * CELL + 20) + widest <= ROOM
    # One above the other, each panel has rows of its own.
    rows_of = {
        name: [row for row in order[:MOST_ROWS] if beside or row in set(some["row"])]
        for name, some in shown.groupby("measure")
    }
    panels = [
        _panel(shown[shown["measure"] == name], rows_of[name], columns, limit).properties(
            width=CELL * len(columns),
            height=ROW * len(rows_of[name]),
            title=alt.TitleParams(MEASURES[name].label, offset=8),
        )
        for name in measures
    ]
    if beside:
        panels = [*panels[:1], *map(marks.nameless, panels[1:])]
    chart = alt.concat(*panels, columns=len(panels) if beside else 1, spacing=24)
    left = len(order) - MOST_ROWS
    return Figure(
        "matrix",
        title(found),
        "Test accuracy of grow less that of prune, in points, paired by seed; columns are the "
        "compactness, the budget of hidden weights",
        "Blue cells favour grow, vermillion ones prune; the brackets are 95 % t-intervals. Cells "
        "with a thin grey outline and grey text are undecided: the interval holds 0, or one seed "
        "has none. "
        f"{marks.UNCORRECTED}. {marks.n_of(table['n'])}; diverged seeds count as chance."
        + (f" The first {MOST_ROWS} of {len(order)} rows are drawn." if left > 0 else ""),
        "train/seeds.csv, retrain/seeds.csv",
        table,
        charts.spec(chart, "Difference of grow and prune by data set, budget and measure"),
    )


def _signed(value: float) -> str:
    return theme.signed(value, 2 if abs(value) < 0.095 else 1)


def _bounds(interval: Interval) -> str:
    """Return an interval, with decimals enough to see whether it holds 0."""
    if interval.low is None or interval.high is None:
        return "one seed"
    decimals = theme.telling(interval.low, interval.high, 0.0, 1)
    low, high = (theme.signed(end, decimals) for end in (interval.low, interval.high))
    return f"[{low}, {high}]"


def _ink(row: Any, limit: float) -> str:
    if row["favours"] == "undecided":
        return "undecided"
    return "strong" if abs(row["mean"]) > 0.6 * limit else "weak"


def _panel(
    table: pd.DataFrame, order: Sequence[str], columns: Sequence[float], limit: float
) -> Any:
    axis: dict[str, Any] = {"grid": False, "domain": False, "ticks": False, "labelColor": "@ink"}
    base = alt.Chart(charts.data(table)).encode(
        x=alt.X(
            "compactness:O",
            title=None,
            scale=alt.Scale(domain=list(columns), paddingInner=0.04),
            axis=alt.Axis(orient="top", labelAngle=0, **axis),
        ),
        y=alt.Y(
            "row:N",
            title=None,
            scale=alt.Scale(domain=list(order), paddingInner=0.08),
            axis=alt.Axis(
                # Vega puts the first of several lines in the middle, not their block.
                labelOffset=-7 * max(row.count(SEPARATOR) for row in order),
                labelLimit=420,
                labelExpr=f"split(datum.value, '{SEPARATOR}')",
                **axis,
            ),
        ),
    )
    ink = alt.Color(
        "ink:N",
        scale=alt.Scale(domain=["undecided", "weak", "strong"], range=["@muted", "@ink", "#fff"]),
        legend=None,
    )
    cell = base.mark_rect(cornerRadius=3).encode(
        stroke=alt.Stroke(
            "favours:N",
            scale=alt.Scale(
                domain=["grow", "prune", "undecided"], range=["@grow", "@prune", "@grid"]
            ),
            legend=None,
        ),
        strokeWidth=alt.condition("datum.favours === 'undecided'", alt.value(1), alt.value(2)),
        fill=alt.Fill(
            "mean:Q",
            scale=alt.Scale(
                domain=[-limit, 0, limit],
                range=["@prune", "@paper", "@grow"],
                clamp=True,
                interpolate="rgb",
            ),
            legend=None,
        ),
        fillOpacity=alt.condition("datum.favours === 'undecided'", alt.value(0.22), alt.value(1.0)),
        tooltip=[
            "grow:N",
            "prune:N",
            *(alt.Tooltip(f"{name}:Q", format="+.2f") for name in ("mean", "low", "high")),
            "n:Q",
        ],
    )
    return alt.layer(
        cell,
        base.mark_text(dy=-7, fontSize=14, fontWeight="bold").encode(text="text:N", color=ink),
        base.mark_text(dy=10, fontSize=11).encode(text="bounds:N", color=ink),
    )
