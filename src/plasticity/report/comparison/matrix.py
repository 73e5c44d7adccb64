"""Should I grow or prune? One cell for each setting: grow less prune, as far as it is known."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from plasticity.catalogue import DATASETS
from plasticity.report import charts, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import pairs
from plasticity.report.comparison.gather import Comparison
from plasticity.report.comparison.pairs import Pair
from plasticity.report.parts import Section
from plasticity.sections import Params

MEASURES: Mapping[str, str] = {
    "cycle.acc": "Cycle ACC, at the end of editing",
    "cycle.taa": "Cycle TAA, on the way",
    "ticket.acc": "Ticket ACC, retrained",
}
CELL = 46


def section(comparison: Comparison) -> Section | None:
    """Return the cells of all pairs of grow and prune, or nothing where there is no pair."""
    rows = cells(comparison)
    if rows.empty:
        return None
    return Section(
        "matrix",
        "Grow or prune?",
        "Should I grow or prune?",
        "",
        (
            "Each cell compares two arms that differ in the operator alone. A rewind (starting "
            "over from the initial weights at every event) is part of the paper's prune; the rows "
            "say which arm has it. Grey cells are undecided: their interval holds 0.",
        ),
        (_figure(rows),),
    )


def cells(comparison: Comparison) -> pd.DataFrame:
    """Return grow less prune: columns row, compactness, measure, mean, low, high, n, side."""
    rows = [
        {"row": _row(pair), "compactness": f"{pair.first.params.compactness:g}",
         "measure": label, "mean": found.mean, "low": found.low, "high": found.high,
         "n": found.n, "side": _side(found.low, found.high)}
        for pair in pairs.grow_and_prune(comparison)
        for measure, label in MEASURES.items()
        if (found := pairs.difference(comparison, pair.first, pair.second, measure)) is not None
    ]  # fmt: skip
    columns = ["row", "compactness", "measure", "mean", "low", "high", "n", "side"]
    return pd.DataFrame(rows, columns=columns).astype({"low": float, "high": float})


def _row(pair: Pair) -> str:
    params = pair.first.params
    arms = " less ".join(
        f"{arm.params.op}{', rewinding' if _rewinds(arm.params) else ''}"
        for arm in (pair.first, pair.second)
    )
    return f"{DATASETS[params.dataset].label}, {params.network.kind}: {arms}"


def _rewinds(params: Params) -> bool:
    continuity = params.edit.continuity
    return continuity == "rewind" or (continuity == "paper" and params.op == "prune")


def _side(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "one seed"
    return "grow" if low > 0 else "prune" if high < 0 else "undecided"


def _figure(rows: pd.DataFrame) -> Figure:
    order = sorted(rows["row"].unique())
    columns = sorted(rows["compactness"].unique(), key=float)
    texts = rows.assign(
        text=[theme.signed(value) for value in rows["mean"]],
        fill=rows["side"].map({"grow": 0.85, "prune": 0.85}).fillna(0.0),
    )
    panels: list[Any] = []
    for label in dict.fromkeys(rows["measure"]):
        part = texts[texts["measure"] == label]
        base = alt.Chart(charts.data(part)).encode(
            x=alt.X(
                "compactness:N", sort=columns, title="compactness", axis=alt.Axis(labelAngle=0)
            ),
            y=alt.Y(
                "row:N",
                sort=order,
                title=None,
                axis=alt.Axis(
                    labels=not panels, ticks=False, grid=False, labelLimit=360, labelColor="@ink"
                ),
            ),
            tooltip=[
                alt.Tooltip("row:N", title=" "),
                alt.Tooltip("compactness:N"),
                *(alt.Tooltip(f"{name}:Q", format="+.2f") for name in ("mean", "low", "high")),
                alt.Tooltip("n:Q"),
                alt.Tooltip("side:N"),
            ],
        )
        color = alt.Color(
            "side:N",
            scale=alt.Scale(
                domain=["grow", "prune", "undecided", "one seed"],
                range=["@grow", "@prune", "@grid", "@grid"],
            ),
            legend=None,
        )
        ink = alt.condition("datum.fill > 0", alt.value("@paper"), alt.value("@muted"))
        chart = alt.layer(
            base.mark_rect(stroke="@paper", strokeWidth=3).encode(color=color),
            base.mark_text(fontSize=13, fontWeight="bold").encode(text="text:N", color=ink),
        )
        title = alt.TitleParams(label, fontWeight="normal", offset=6)
        panels.append(
            chart.properties(width=CELL * 1.4 * len(columns), height=CELL * len(order), title=title)
        )
    return Figure(
        "matrix",
        finding(rows),
        "Grow less prune, in points of accuracy, paired by seed",
        "Blue: grow is ahead; vermillion: prune is; grey: the 95 % interval holds 0. The number is "
        "the mean; point at a cell for its interval and n.",
        "contrasts of train/seeds.csv and retrain/seeds.csv",
        rows,
        charts.spec(alt.hconcat(*panels, spacing=18), "Grow less prune by setting and measure"),
    )


def finding(rows: pd.DataFrame) -> str:
    """Return for each measure how many cells favour whom."""
    parts = []
    for label in dict.fromkeys(rows["measure"]):
        counts = rows.loc[rows["measure"] == label, "side"].value_counts()
        told = [f"{counts[side]} {side}" for side in ("grow", "prune") if counts.get(side, 0)]
        open_ = int(counts.sum()) - sum(int(counts.get(side, 0)) for side in ("grow", "prune"))
        told += [f"{open_} undecided"] if open_ else []
        parts.append(f"{label.partition(',')[0]}: {theme.listed(told)}")
    return "; ".join(parts)
