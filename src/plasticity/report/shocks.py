"""What an event does to the function at once, before a single step is taken."""

from typing import Any

import altair as alt
import pandas as pd

from plasticity.report import charts, numbers, theme, wordings
from plasticity.report.charts import Figure
from plasticity.report.findings import Summary
from plasticity.report.inputs import Results
from plasticity.report.numbers import verdict
from plasticity.report.parts import Section
from plasticity.stats import Interval

PANELS = {
    "loss": ("Change of the loss", True),
    "acc": ("Change of accuracy (points)", True),
    "logit_shift": ("Mean |change| of a logit", False),
}
"""Measure -> title of its panel, and whether it has a sign."""
WIDE = 780


def changes(results: Results) -> pd.DataFrame:
    """Return after minus before: every finished seed, every event after step 0 that moved units."""
    edits, shocks = results.edits, results.whole(results.shocks)
    moved = edits[(edits["added"] + edits["removed"] + edits["rewound"]) > 0]
    shocks = shocks[shocks["event"].isin(moved["event"].unique()) & (shocks["step"] > 0)]
    return shocks.assign(
        loss=shocks["loss_after"] - shocks["loss_before"],
        acc=shocks["acc_after"] - shocks["acc_before"],
    )[["seed", "event", "step", *PANELS]]


def mean_change(frame: pd.DataFrame, measure: str) -> Interval | None:
    """Return the interval over seeds of the mean over events."""
    return numbers.interval(frame.groupby("seed")[measure].mean())


def finding(frame: pd.DataFrame) -> str:
    """Return whether an event raises the probe's loss."""
    loss, acc = (mean_change(frame, measure) for measure in ("loss", "acc"))
    shift = mean_change(frame, "logit_shift")
    if shift is not None and shift.mean == 0 and shift.half_width in (0, None):
        return wordings.NO_SHOCK
    return wordings.SHOCK[verdict(loss)].format(
        size="" if loss is None else theme.plain(theme.positive(loss)),
        loss=theme.plain(loss, sign=True),
        points="" if acc is None else theme.points(acc),
    )


def section(results: Results, summary: Summary) -> Section:
    """Return what events do to the function at once."""
    anchor, topic = "shock", "Function shock"
    question = "What does an event do to the function at once?"
    frame = changes(results)
    if frame.empty:
        enabled = results.params.measure.enabled
        reason = wordings.NOT_SHOCKED if enabled else wordings.NOT_MEASURED
        return Section(anchor, topic, question, reason)
    text = (*wordings.SHOCK_TEXT, *((wordings.REWOUND,) if summary.rewound else ()))
    return Section(anchor, topic, question, finding(frame), text, (_figure(frame, summary),))


def _figure(frame: pd.DataFrame, summary: Summary) -> Figure:
    parts = [
        numbers.over_seeds(frame, ["event", "step"], measure).assign(measure=measure)
        for measure in PANELS
    ]
    table = pd.concat(parts, ignore_index=True)
    shown = sorted(frame["seed"].unique())[: theme.SEEDS_DRAWN]
    dots = frame[frame["seed"].isin(shown)]
    width = (WIDE - 40 * len(PANELS)) // len(PANELS)
    panels = [
        _panel(table[table["measure"] == measure], dots, measure, summary.op).properties(
            width=width, height=190, title=PANELS[measure][0]
        )
        for measure in PANELS
    ]
    whiskers = (
        "Whiskers are 95 % t-intervals over seeds"
        if table["low"].notna().any()
        else "One seed has no interval, so there are no whiskers"
    )
    seeds = sorted(set(table["n"]))
    n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return Figure(
        "shock",
        finding(frame),
        "The probe just after an event minus just before it: loss (nats), accuracy (points) on "
        "its training images, and how far logits move",
        f"{whiskers}, pale dots single seeds; n = {n} of {summary.total} seeds. An event at step "
        "0, where nothing was trained yet, is left out.",
        "train/shocks.csv, train/edits.csv",
        table[["measure", "event", "step", "mean", "low", "high", "n"]],
        charts.spec(alt.hconcat(*panels, spacing=40), "Change of loss and accuracy at events"),
    )


def _panel(table: pd.DataFrame, dots: pd.DataFrame, measure: str, op: str) -> Any:
    values = [table["low"], table["high"], table["mean"], dots[measure], pd.Series([0.0])]
    scale = charts.linear(*values)
    # What has no sign starts at zero, unless a whisker goes below it.
    if not PANELS[measure][1] and not (table["low"] < 0).any():
        scale = alt.Scale(domain=[0, scale.domain[1]], nice=False)
    x = alt.X("event:O", title="event", axis=alt.Axis(labelAngle=0, grid=False))
    base = alt.Chart(charts.data(table)).encode(x=x)
    zero = alt.Chart(charts.data(pd.DataFrame({"zero": [0.0]})))
    layers = [
        zero.mark_rule(color="@ink", strokeDash=[2, 2]).encode(y=alt.Y("zero:Q", scale=scale)),
        alt.Chart(charts.data(dots[["seed", "event", measure]]))
        .mark_point(size=18, filled=True, opacity=0.35, color=f"@{op}-text", xOffset=9)
        .encode(
            x=x,
            y=alt.Y(f"{measure}:Q", scale=scale, title=None),
            tooltip=["seed:Q", "event:O", alt.Tooltip(f"{measure}:Q", format=".3~f")],
        ),
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=1.8, color=f"@{op}")
        .encode(y=alt.Y("low:Q", scale=scale, title=None), y2="high:Q"),
        base.mark_point(
            size=70, filled=True, opacity=1, shape=theme.SHAPES[op], color=f"@{op}"
        ).encode(
            y=alt.Y("mean:Q", scale=scale, title=None),
            tooltip=[
                "event:O",
                alt.Tooltip("step:Q"),
                *(alt.Tooltip(f"{c}:Q", format=".3~f") for c in ("mean", "low", "high")),
                "n:Q",
            ],
        ),
    ]
    return alt.layer(*layers)
