"""What each intervention does, beside the same arm without it."""

import altair as alt
import pandas as pd

from plasticity.report import charts, numbers, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import pairs
from plasticity.report.comparison.gather import Comparison
from plasticity.report.parts import Section

MEASURES = {
    "cycle.acc": "Cycle ACC",
    "cycle.taa": "Cycle TAA",
    "ticket.acc": "Ticket ACC",
}
PANEL, ROW = 210, 34


def section(comparison: Comparison) -> Section | None:
    """Return the forest of interventions, or nothing where no arms differ in one alone."""
    rows = effects(comparison)
    if rows.empty:
        return None
    return Section(
        "interventions",
        "Interventions",
        "What does each intervention change?",
        "",
        (
            "The adaptive process is judged by Cycle ACC and Cycle TAA, the structure that it "
            "leaves by the ticket. These comparisons are not corrected for their number.",
        ),
        (_figure(rows),),
    )


def effects(comparison: Comparison) -> pd.DataFrame:
    """Return arm less its reference: columns arm, reference, measure, mean, low, high, n."""
    rows = [
        {"arm": arm.name, "reference": reference.name, "measure": label, "mean": found.mean,
         "low": found.low, "high": found.high, "n": found.n}
        for reference, others in pairs.interventions(comparison).values()
        for arm in others
        for measure, label in MEASURES.items()
        if (found := pairs.difference(comparison, arm, reference, measure)) is not None
    ]  # fmt: skip
    columns = ["arm", "reference", "measure", "mean", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).astype({"low": float, "high": float})


def _figure(rows: pd.DataFrame) -> Figure:
    several = rows["reference"].nunique() > 1
    named = rows.assign(name=rows["arm"] + (" \u2212 " + rows["reference"] if several else ""))
    first = named[named["measure"] == named["measure"].iloc[0]]
    order = first.sort_values("mean", ascending=False)["name"].tolist()
    zero = alt.Chart(charts.data(pd.DataFrame({"zero": [0.0]}))).mark_rule(
        color="@ink", strokeWidth=1.2, strokeDash=[2, 2]
    )
    panels = []
    for label in dict.fromkeys(named["measure"]):
        part = named[named["measure"] == label]
        scale = charts.linear(part["mean"], part["low"], part["high"], pd.Series([0.0]))
        x = alt.X("mean:Q", scale=scale, title="points")
        marks = charts.interval_rows(part, order, x, None, "@grow", "circle")
        title = alt.TitleParams(label, fontWeight="normal", offset=6)
        panels.append(
            alt.layer(zero.encode(x=alt.X("zero:Q", scale=scale)), marks).properties(
                width=PANEL, height=ROW * len(order), title=title
            )
        )
    references = theme.listed(sorted(set(rows["reference"])))
    return Figure(
        "interventions",
        finding(rows),
        f"Difference to {references} (points of accuracy), paired by seed",
        "Dots are means over seeds, whiskers 95 % t-intervals, sorted by the first panel. "
        f"n = {numbers.span(rows['n'])} seeds.",
        "train/seeds.csv, retrain/seeds.csv",
        rows,
        charts.spec(alt.hconcat(*panels, spacing=26), "Effect of each intervention by measure"),
    )


def finding(rows: pd.DataFrame) -> str:
    """Return how many interventions raise and lower each measure for sure."""
    parts = []
    for label in dict.fromkeys(rows["measure"]):
        part = rows[rows["measure"] == label]
        raised, lowered = int((part["low"] > 0).sum()), int((part["high"] < 0).sum())
        parts.append(f"{label}: {raised} raise it, {lowered} lower it, of {len(part)}")
    return "; ".join(parts)
