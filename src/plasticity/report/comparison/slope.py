"""Three measures of the same arms (on the way, at the end, retrained), and whose order turns."""

import altair as alt
import pandas as pd

from plasticity.report import charts, numbers, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import pairs
from plasticity.report.comparison.gather import Comparison, measured
from plasticity.report.parts import Section
from plasticity.stats import t_interval

MEASURES = {
    "cycle.taa": "on the way (Cycle TAA)",
    "cycle.acc": "at the end (Cycle ACC)",
    "ticket.acc": "retrained (Ticket ACC)",
}
WIDTH, HEIGHT = 520, 380
MOST_ARMS = 24


def section(comparison: Comparison) -> Section | None:
    """Return the arms' three measures, or nothing where no arm has more than one."""
    found = measured(comparison, MEASURES)
    rows = pd.DataFrame(
        [
            {"arm": name, "op": comparison.arm(name).params.op, "measure": MEASURES[measure],
             "mean": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}
            for name, parts in list(found.items())[:MOST_ARMS]
            if len(parts) > 1
            for measure in MEASURES
            if measure in parts and parts[measure].by_seed
            for interval in [t_interval([*parts[measure].by_seed.values()])]
        ]
    )  # fmt: skip
    if rows.empty:
        return None
    rows = rows.astype({"low": float, "high": float})
    return Section(
        "measures",
        "Three measures",
        "Do the trajectory, the end and the structure agree?",
        "",
        (),
        (_figure(rows, finding(comparison), len(found)),),
    )


def finding(comparison: Comparison) -> str:
    """Return between which measures the order of a grown and a pruned arm turns for sure."""
    turned, seen = [], 0
    for pair in pairs.grow_and_prune(comparison):
        sides = {
            measure: numbers.verdict(pairs.difference(comparison, pair.first, pair.second, measure))
            for measure in MEASURES
        }
        seen += 1
        if {"above", "below"} <= {*sides.values()}:
            turned.append(f"{pair.first.name} and {pair.second.name}")
    if turned:
        return f"The order turns between measures for {theme.listed(turned)}"
    if seen:
        return "No grown and pruned arm changes places between measures, as far as intervals tell"
    return "Three measures of the same networks"


def _figure(rows: pd.DataFrame, title: str, arms: int) -> Figure:
    order = list(MEASURES.values())
    x = alt.X(
        "measure:N",
        sort=order,
        title=None,
        scale=alt.Scale(padding=0.15),
        axis=alt.Axis(labelAngle=0, labelColor="@ink", domain=False, ticks=False, labelLimit=200),
    )
    scale = charts.linear(rows["mean"], rows["low"], rows["high"])
    y = alt.Y("mean:Q", scale=scale, title="test accuracy (%)")
    ops = [op for op in theme.SHAPES if op in set(rows["op"])]
    color = alt.Color(
        "op:N",
        scale=alt.Scale(domain=ops, range=[f"@{op}" for op in ops]),
        legend=None,
    )
    last = rows.groupby("arm", sort=False).tail(1)
    domain = scale.domain
    gap = charts.LABEL_GAP * (domain[1] - domain[0]) / HEIGHT
    last = last.sort_values("mean").assign(
        place=lambda frame: numbers.spread(frame["mean"].tolist(), gap)
    )
    base = alt.Chart(charts.data(rows)).encode(x=x, detail="arm:N", color=color)
    tooltip = [
        "arm:N",
        "measure:N",
        *(alt.Tooltip(f"{column}:Q", format=".2f") for column in ("mean", "low", "high")),
        "n:Q",
    ]
    labels = (
        alt.Chart(charts.data(last))
        .mark_text(align="left", dx=12, fontSize=12)
        .encode(x=x, y=alt.Y("place:Q", scale=scale), text="arm:N", color=color)
    )
    chart = alt.layer(
        base.mark_line(strokeWidth=theme.LINE).encode(y=y),
        base.mark_rule(strokeWidth=1.2, opacity=0.6).encode(y="low:Q", y2="high:Q"),
        base.mark_point(filled=True, size=46, opacity=1).encode(y=y, tooltip=tooltip),
        labels,
    ).properties(width=WIDTH, height=HEIGHT)
    drawn = rows["arm"].nunique()
    rest = f" The first {drawn} of {arms} arms are drawn." if drawn < arms else ""
    return Figure(
        "slope",
        title,
        "Test accuracy (%) of each arm by three measures; the axis does not start at zero",
        "A line is an arm in its operator's colour, whiskers are 95 % t-intervals over seeds. "
        f"n = {numbers.span(rows['n'])} seeds.{rest}",
        "train/seeds.csv, retrain/seeds.csv",
        rows,
        charts.spec(chart, "Accuracy of each arm on the way, at the end, and retrained"),
    )
