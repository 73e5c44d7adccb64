"""The life of every unit of the first seed, one bar each."""

import json
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from plasticity.report import charts, theme, wordings
from plasticity.report.charts import Figure
from plasticity.report.findings import Summary
from plasticity.report.inputs import Results

BARS = 260
"""Lives drawn of each layer at most."""
WIDE, TALL, THICK = 860, 400, 16
"""Of the figure, and of a bar at most, in pixels."""
KINDS = {
    "stayed": "from the start, lived to the end",
    "left": "from the start, removed",
    "joined": "born later, lived to the end",
    "passed": "born later, removed",
}
COLORS = {"stayed": "@muted", "left": "@muted", "joined": None, "passed": None}
"""None is the operator's colour."""
REMOVED = ("left", "passed")
PALE = 0.4


def lives(results: Results) -> pd.DataFrame:
    """Return each life with its kind and its epochs, by layer, birth, length and slot."""
    frame = results.lifelines
    first = results.history.iloc[0]
    per_epoch = float(first["step"]) / float(first["epoch"])
    own = results.history[results.history["seed"].isin(frame["seed"])]
    end = float(own["step"].max()) if len(own) else 0.0
    removed = frame["removed_step"].notna()
    late = frame["born_step"] > 0
    kind = np.select(
        [~late & ~removed, ~late & removed, late & ~removed], ["stayed", "left", "joined"], "passed"
    )
    frame = frame.assign(
        kind=kind,
        born=frame["born_step"].astype(float) / per_epoch,
        gone=frame["removed_step"].astype(float).fillna(end) / per_epoch,
    )
    order = {"layer": True, "born_step": True, "gone": False, "slot": True}
    return frame.sort_values(list(order), ascending=list(order.values()), ignore_index=True)


def changed(results: Results) -> bool:
    """Return whether any unit was born late or removed."""
    frame = results.lifelines
    return bool((frame["born_step"] > 0).any() or frame["removed_step"].notna().any())


def thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """Return at most ``BARS`` lives of each layer, evenly spread, with their rows from the top."""
    kept = []
    for _, part in frame.groupby("layer", sort=True):
        count = min(len(part), BARS)
        places = np.linspace(0, len(part) - 1, count).round().astype(int)
        chosen = part.iloc[places]
        kept.append(chosen.assign(row=np.arange(count), bottom=np.arange(count) + 0.82))
    return pd.concat(kept, ignore_index=True)


def figure(results: Results, summary: Summary) -> Figure:
    """Return a bar from birth to removal or the end for every unit of the first seed."""
    whole = lives(results)
    drawn = thinned(whole)
    seed = int(whole["seed"].iloc[0])
    counts = whole["kind"].value_counts()
    labels = {kind: f"{KINDS[kind]} ({counts[kind]})" for kind in KINDS if kind in counts}
    drawn = drawn.assign(text=drawn["kind"].map(labels))
    return Figure(
        "lifelines",
        _finding(whole, seed),
        "One bar per unit, from birth to removal or the end of training, by epoch; units in "
        "the order of their births, those that lived longest first",
        "Grey units were there from the first step, coloured ones were born later; a pale bar with "
        "a mark at its end is a unit that was removed. Choose the layer below the figure. "
        f"{wordings.LIVES_LEARN if summary.op == 'late_reveal' else ''}"
        f"{_shown(whole, drawn)}n = 1 seed: this shows what happened in seed {seed}, not what "
        "happens.",
        "train/lifelines.csv",
        _columns(drawn),
        charts.spec(_chart(drawn, labels, summary.op), "Lives of units"),
    )


def _chart(drawn: pd.DataFrame, labels: dict[str, str], op: str) -> Any:
    counts = drawn.groupby("layer").size()
    shown = alt.param(
        name="layer_shown",
        value=str(counts.idxmax()),
        bind=alt.binding_select(options=list(counts.index), name="layer"),
    )
    pixels = max(2, min(THICK, TALL // int(counts.max())))
    tall = pixels * int(counts.max())
    base = alt.Chart(charts.data(_columns(drawn)), width=WIDE, height=tall)
    base = base.transform_filter("datum.layer == layer_shown").transform_calculate(
        removed="isValid(datum.removed_step) ? datum.removed_step : 'never'"
    )
    x = alt.X(
        "born:Q",
        scale=alt.Scale(domain=[0, float(drawn["gone"].max())], nice=False),
        title="epochs finished",
    )
    rows = {str(layer): max(int(count), tall // THICK) for layer, count in counts.items()}
    scale = alt.Scale(
        domain=[alt.ExprRef(f"({json.dumps(rows)})[layer_shown]"), 0], zero=False, nice=False
    )
    y = alt.Y("row:Q", scale=scale, axis=None)
    bars = base.mark_rect().encode(
        x=x,
        x2="gone:Q",
        y=y,
        y2="bottom:Q",
        color=alt.Color(
            "text:O",
            scale=alt.Scale(
                domain=list(labels.values()), range=[COLORS[kind] or f"@{op}" for kind in labels]
            ),
            legend=_legend(),
        ),
        opacity=alt.Opacity(
            "text:O",
            scale=alt.Scale(
                domain=list(labels.values()),
                range=[PALE if kind in REMOVED else 1.0 for kind in labels],
            ),
            legend=_legend(),
        ),
        tooltip=[
            "layer:N",
            "slot:Q",
            alt.Tooltip("text:N", title=" "),
            alt.Tooltip("born_step:Q", title="born at step"),
            alt.Tooltip("removed:N", title="removed at step"),
        ],
    )
    if not set(REMOVED) & set(labels):
        return bars.add_params(shown)
    # A tick, not a rule: it keeps its width in pixels whatever the axis shows.
    ends = (
        base.transform_filter("isValid(datum.removed_step)")
        .transform_calculate(middle="(datum.row + datum.bottom) / 2")
        .mark_tick(
            color="@ink", thickness=2.5, size=max(pixels - 1, 2), orient="vertical", xOffset=-1
        )
        .encode(x=alt.X("gone:Q"), y=alt.Y("middle:Q", scale=scale))
    )
    return alt.layer(bars, ends).add_params(shown)


def _legend() -> alt.Legend:
    return alt.Legend(
        title=None,
        orient="bottom",
        columns=2,
        labelColor="@ink",
        labelFont=theme.FONT,
        labelFontSize=12,
        labelLimit=420,
        symbolType="square",
    )


def _columns(drawn: pd.DataFrame) -> pd.DataFrame:
    columns = ["layer", "slot", "born_step", "removed_step", "born", "gone", "row", "bottom"]
    return drawn[[*columns, "text"]]


def _shown(whole: pd.DataFrame, drawn: pd.DataFrame) -> str:
    parts = [
        f"{int((drawn['layer'] == layer).sum())} of {len(part):,} lives of {layer}"
        for layer, part in whole.groupby("layer", sort=True)
        if len(part) > BARS
    ]
    return f"Drawn are {theme.listed(parts)}, evenly spread in that order. " if parts else ""


def _finding(whole: pd.DataFrame, seed: int) -> str:
    late, gone = whole["born_step"] > 0, whole["removed_step"].notna()
    born, left, both = int(late.sum()), int(gone.sum()), int((late & gone).sum())
    parts = []
    if born:
        parts.append(f"{born:,} of {len(whole):,} lives of units began after the first step")
    if left:
        parts.append(f"{left:,} {'' if born else f'of {len(whole):,} units '}were removed")
    if both:
        parts.append(f"{both:,} of the later born among them")
    return f"In seed {seed}, {theme.listed(parts[:2])}{', ' if both else ''}{''.join(parts[2:])}"
