"""The figures of what came out: events one by one, three measures, controls, cost."""

import altair as alt
import pandas as pd

from plasticity.report import charts, findings, numbers, theme
from plasticity.report.charts import Figure
from plasticity.report.contrasts import Ratios
from plasticity.report.findings import Summary
from plasticity.report.inputs import Results

WIDE = 720
PANEL = 344

WHISKER = "Whiskers are 95 % t-intervals over seeds"
DOTS = ", pale dots single seeds"
MOMENTS = {"birth": "right after the event", "end": "at the end of its cycle"}


def _n(table: pd.DataFrame) -> str:
    """Return the n of the rows of a figure, one number or a range."""
    known = sorted({int(value) for value in table["n"]})
    if len(known) == 1:
        return f"n = {known[0]} {'seed' if known[0] == 1 else 'seeds'}"
    return f"n = {known[0]} to {known[-1]} seeds; it differs where seeds diverged or have no ratio"


def _whiskers(table: pd.DataFrame, dots: str = "") -> str:
    if table["low"].notna().any():
        return f"{WHISKER}{dots}; {_n(table)}"
    return f"One seed has no interval, so there are no whiskers; {_n(table)}"


def by_event(ratios: Ratios, summary: Summary) -> Figure:
    """Return newborn over incumbent, event by event, at birth and at the end of the cycle."""
    table = ratios.over_seeds(["measure", "event", "moment"])
    table = charts.exponentiated(table[table["moment"].isin(MOMENTS)])
    table = table.assign(when=table["moment"].map(MOMENTS))
    domain = charts.ratio_domain(table)
    panels = []
    for measure, title in (("activation", "Activation"), ("gradient", "Gradient")):
        base = alt.Chart(charts.data(table[table["measure"] == measure])).encode(
            x=alt.X("event:O", title="event", axis=alt.Axis(labelAngle=0, grid=False)),
            xOffset=alt.XOffset("when:N", sort=list(MOMENTS.values())),
        )
        y = alt.Y("mean:Q", scale=charts.ratio_scale(domain), axis=charts.ratio_axis(domain))
        point = base.mark_point(
            size=80, opacity=1, strokeWidth=1.8, shape=theme.SHAPES[summary.op]
        ).encode(
            y=y,
            stroke=alt.value(f"@{summary.op}"),
            fill=alt.Fill(
                "when:N",
                scale=alt.Scale(domain=list(MOMENTS.values()), range=["@paper", f"@{summary.op}"]),
                legend=alt.Legend(
                    orient="bottom",
                    title=None,
                    labelColor="@muted",
                    labelFontSize=12,
                    labelFont=theme.FONT,
                    symbolStrokeColor=f"@{summary.op}",
                ),
            ),
            tooltip=[
                "event:O",
                "when:N",
                *(alt.Tooltip(f"{c}:Q", format=".3f") for c in ("mean", "low", "high")),
                "n:Q",
            ],
        )
        whisker = (
            base.transform_filter("isValid(datum.low)")
            .mark_rule(strokeWidth=1.8, color=f"@{summary.op}")
            .encode(y=alt.Y("low:Q", scale=charts.ratio_scale(domain)), y2="high:Q")
        )
        layers = alt.layer(charts.parity("y", domain), whisker, point)
        panels.append(layers.properties(width=PANEL, height=220, title=title))
    return Figure(
        "newborns_by_event",
        findings.later(ratios),
        "Newborns divided by incumbents for each edit event, geometric mean over layers and "
        "seeds; logarithmic axis",
        f"Open marks are at birth, filled ones at the end of the same cycle; at 1{theme.TIMES} "
        f"newborns equal incumbents. {_whiskers(table)}.",
        "train/cohorts.csv",
        table[["measure", "event", "moment", "mean", "low", "high", "n"]],
        charts.spec(alt.hconcat(*panels), "Newborn to incumbent ratio by event"),
    )


def selection(ratios: Ratios, summary: Summary) -> Figure:
    """Return removed over kept units just before an event, by layer."""
    parts = ratios.over_seeds(["measure", "layer"])
    every = ratios.over_seeds(["measure"]).assign(layer="all layers")
    table = charts.exponentiated(pd.concat([every, parts], ignore_index=True))
    table = table.rename(columns={"layer": "name"})
    domain = charts.ratio_domain(table)
    order = ["all layers", *ratios.layers]
    panels = []
    for measure, title in (("activation", "Activation"), ("gradient", "Gradient")):
        x = alt.X(
            "mean:Q",
            scale=charts.ratio_scale(domain),
            axis=charts.ratio_axis(domain, "removed / kept"),
        )
        rows = charts.interval_rows(
            table[table["measure"] == measure],
            order,
            x,
            None,
            f"@{summary.op}",
            theme.SHAPES[summary.op],
        )
        layers = alt.layer(charts.parity("x", domain), rows)
        panels.append(layers.properties(width=PANEL, height=charts.ROW * len(order), title=title))
    return Figure(
        "removed_and_kept",
        findings.selected(summary),
        "Units about to be removed divided by units kept, just before the event, geometric mean "
        "over events after step 0 and seeds; logarithmic axis",
        f"Left of 1{theme.TIMES} the removed units fired less, or carried less gradient. "
        f"{_whiskers(table)}.",
        "train/cohorts.csv",
        table[["measure", "name", "mean", "low", "high", "n"]],
        charts.spec(alt.hconcat(*panels), "Removed units divided by kept units by layer"),
    )


def measures(results: Results, summary: Summary) -> Figure:
    """Return each seed's trajectory mean, final and retrained accuracy as one line."""
    ok = numbers.finished(results.seeds)[["seed", "cycle_taa", "cycle_acc"]]
    tickets = numbers.ticket_values(results.tickets, summary.variant)[["seed", "ticket_acc"]]
    names = {
        "cycle_taa": "mean over cycles (Cycle TAA)",
        "cycle_acc": "at the end (Cycle ACC)",
        "ticket_acc": "retrained (Ticket ACC)",
    }
    wide = ok.merge(tickets, on="seed", how="left")
    long = wide.melt(id_vars="seed", var_name="measure", value_name="acc").dropna()
    long = long.assign(name=long["measure"].map(names))
    order = [name for name in names.values() if name in set(long["name"])]
    mean = numbers.over_seeds(long, ["name"], "acc")
    mean = mean.assign(text=[f"{value:.1f}" for value in mean["mean"]])
    drawn = sorted(long["seed"].unique())[: theme.SEEDS_DRAWN]
    x = alt.X(
        "name:N",
        sort=order,
        title=None,
        axis=alt.Axis(labelAngle=0, labelColor="@ink", labelPadding=10),
        scale=alt.Scale(type="point", padding=0.35),
    )
    scale = charts.linear(mean["low"], mean["high"], long["acc"])
    y = alt.Y("mean:Q", scale=scale, title="test accuracy (%)")
    base = alt.Chart(charts.data(mean)).encode(x=x)
    color = f"@{summary.op}"
    thin = alt.Chart(charts.data(long[long["seed"].isin(drawn)])).encode(
        x=x, y=alt.Y("acc:Q", scale=scale), detail="seed:N"
    )
    chart = alt.layer(
        thin.mark_line(strokeWidth=0.9, opacity=0.45, color=f"{color}-text"),
        thin.mark_point(size=22, filled=True, opacity=0.45, color=f"{color}-text").encode(
            tooltip=["seed:N", "name:N", alt.Tooltip("acc:Q", format=".2f")]
        ),
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2.4, color=color)
        .encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        base.mark_line(strokeWidth=2.4, color=color).encode(y=y),
        base.mark_point(
            size=90,
            filled=True,
            opacity=1,
            color=color,
            shape=theme.SHAPES[summary.op],
            stroke=color,
        ).encode(y=y),
        charts.haloed(base.encode(y=y), f"{color}-text", 12, -14, "left"),
    ).properties(width=WIDE, height=280)
    return Figure(
        "three_measures",
        findings.delta(summary),
        "Test accuracy (%) of the same seeds by three measures; the axis does not start at zero",
        "Each thin line is one seed, bold is the mean. A crossing shows a seed that ranks "
        f"differently by another measure. {_whiskers(mean, DOTS)}.",
        "train/seeds.csv, retrain/seeds.csv",
        long[["measure", "seed", "acc"]].sort_values(["measure", "seed"]),
        charts.spec(chart, "Three measures of test accuracy, one line per seed"),
    )


def retraining(results: Results, summary: Summary) -> Figure:
    """Return every retrained variant beside the edited network, and kept minus random units."""
    edited = f"the {'edited' if summary.op not in ('dense', 'static') else 'trained'} network"
    ok = numbers.finished(results.seeds)
    dots = ok[["seed", "cycle_acc"]].rename(columns={"cycle_acc": "value"}).assign(name=edited)
    tickets = numbers.finished(results.tickets)
    rest = tickets[["seed", "variant", "ticket_acc"]].rename(
        columns={"ticket_acc": "value", "variant": "name"}
    )
    dots = pd.concat([dots, rest], ignore_index=True)[["name", "seed", "value"]].dropna()
    order = [name for name in (edited, *results.params.retrain.variants) if name in set(dots.name)]
    table = numbers.over_seeds(dots, ["name"], "value")
    color, shape = f"@{summary.op}", theme.SHAPES[summary.op]
    drawn = dots[dots["seed"].isin(sorted(dots["seed"].unique())[: theme.SEEDS_DRAWN])]
    scale = charts.linear(table["low"], table["high"], drawn["value"])
    x = alt.X("mean:Q", scale=scale, title="test accuracy (%)")
    rows = charts.interval_rows(table, order, x, drawn, color, shape)
    reference = table[table["name"] == edited]
    line = (
        alt.Chart(charts.data(reference))
        .mark_rule(strokeDash=[2, 2], color="@ink", strokeWidth=1)
        .encode(x=x)
    )
    parts = [alt.layer(line, rows).properties(width=WIDE - 120, height=charts.ROW * len(order))]
    gaps = [
        (f"{kept} {theme.MINUS} {findings.RANDOM_CONTROL[kept]}", kept) for kept in summary.controls
    ]
    differences = [
        numbers.paired(
            numbers.ticket_values(results.tickets, kept),
            numbers.ticket_values(results.tickets, findings.RANDOM_CONTROL[kept]),
            "ticket_acc",
        )[0].assign(name=name)
        for name, kept in gaps
    ]
    known = [part for part in differences if len(part)]
    if known:
        gap = pd.concat(known, ignore_index=True).rename(columns={"difference": "value"})
        means = numbers.over_seeds(gap, ["name"], "value")
        zero = alt.Chart(charts.data(pd.DataFrame({"zero": [0.0]})))
        parts.append(
            alt.layer(
                zero.mark_rule(color="@ink", strokeDash=[2, 2]).encode(x="zero:Q"),
                charts.interval_rows(
                    means,
                    [name for name, _ in gaps],
                    alt.X(
                        "mean:Q",
                        scale=charts.linear(
                            means["low"], means["high"], gap["value"], pd.Series([0.0])
                        ),
                        title="kept minus random units, points, paired by seed",
                    ),
                    gap[gap["seed"].isin(drawn["seed"])],
                    color,
                    shape,
                ),
            ).properties(width=WIDE - 120, height=charts.ROW * len(means))
        )
        table = pd.concat([table, means], ignore_index=True)
    return Figure(
        "retraining",
        findings.control(summary),
        "Final test accuracy (%) of the network and of networks of the same widths trained again "
        "from scratch; the axis does not start at zero",
        f"The dotted rule is {edited}. {_whiskers(table, DOTS)}.",
        "train/seeds.csv, retrain/seeds.csv",
        table,
        charts.spec(alt.vconcat(*parts, spacing=30), "Accuracy of retrained networks"),
    )


def cost(shares: pd.DataFrame, summary: Summary) -> Figure:
    """Return what the final network keeps of the full one, in percent.

    Parameters
    ----------
    shares
        Columns name, share (percent of the full network), text.
    summary
        For the operator's colour and n.
    """
    y = alt.Y(
        "name:N",
        sort=shares["name"].tolist(),
        title=None,
        axis=alt.Axis(grid=False, labelColor="@ink", labelLimit=320, labelPadding=10),
    )
    x = alt.X("share:Q", scale=alt.Scale(domain=[0, 100]), title="percent of the full network")
    base = alt.Chart(charts.data(shares)).encode(y=y)
    bars = base.mark_bar(height=12, color=f"@{summary.op}", opacity=0.85).encode(x=x)
    full = base.mark_bar(height=12, color="@grid").encode(x=alt.X("full:Q"))
    text = base.mark_text(align="left", dx=6, color="@ink").encode(x=x, text="text:N")
    chart = alt.layer(full.transform_calculate(full="100"), bars, text)
    return Figure(
        "cost",
        findings.remains(shares),
        "What is left of the full network, and the work done while it was trained (%)",
        f"The pale bar is the full network. Means over seeds; {findings.n(summary)}.",
        "train/seeds.csv, extract/seeds.csv",
        shares[["name", "share"]],
        charts.spec(
            chart.properties(width=WIDE - 140, height=charts.ROW * len(shares)),
            "Share of the full network in units, parameters and operations",
        ),
    )
