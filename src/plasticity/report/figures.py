"""The figures of training: accuracy, widths, newborns and survivors, measures, cost."""

from typing import Any

import altair as alt
import pandas as pd

from plasticity.report import charts, findings, numbers, theme
from plasticity.report.charts import Figure
from plasticity.report.findings import Summary
from plasticity.report.inputs import Results
from plasticity.report.numbers import Ratios

WIDE = 860
HALF = 344
HEIGHT = 300
LATE = 5
"""Points of accuracy that the zoomed trajectory shows below its best mean."""

BAND_IS = "The band is the 95 % t-interval of the mean over seeds"
NO_BAND = "One seed has no interval, so there is no band"
PANELS = {
    "activation": "Forward: how often units fire",
    "gradient": "Backward: how much gradient they get",
}


def _band_text(frame: pd.DataFrame) -> str:
    return BAND_IS if frame["low"].notna().any() else NO_BAND


def _seed_lines(results: Results) -> pd.DataFrame:
    """Return test accuracy per epoch of the first seeds; every diverged one is among them."""
    order = results.seeds.sort_values(["status", "seed"])["seed"].tolist()
    drawn = results.history[results.history["seed"].isin(order[: theme.SEEDS_DRAWN])]
    status = results.seeds.set_index("seed")["status"]
    lines = drawn[["seed", "epoch", "acc"]].dropna()
    return lines.assign(status=lines["seed"].map(status).astype(str))


def trajectory(results: Results, summary: Summary) -> Figure:
    """Return test accuracy by epoch over a strip of alive units."""
    ok = numbers.finished(results.seeds)["seed"]
    history = results.history[results.history["seed"].isin(ok)]
    mean = numbers.over_seeds(history, ["epoch"], "acc").assign(series="edited")
    tickets = numbers.ticket_values(results.tickets, summary.variant)["seed"]
    curves = results.ticket_history[
        (results.ticket_history["variant"] == summary.variant)
        & results.ticket_history["seed"].isin(tickets)
    ]
    ticket = numbers.over_seeds(curves, ["epoch"], "acc").assign(series="ticket")
    seeds = _seed_lines(results)
    kept = set(numbers.thinned([*mean["epoch"], *ticket["epoch"], *seeds["epoch"]]))
    mean, ticket, seeds = (part[part["epoch"].isin(kept)] for part in (mean, ticket, seeds))
    epochs = max(float(mean["epoch"].max()), float(seeds["epoch"].max()))
    scale = alt.Scale(domain=[0, epochs], nice=False)
    x = alt.X("epoch:Q", scale=scale, axis=alt.Axis(title=None, labels=False, ticks=False))
    accuracy = _accuracy_panel(summary.op, x, mean, ticket, seeds)
    events = numbers.event_epochs(results.history, results.edits)
    rules = (
        alt.Chart(charts.data(pd.DataFrame({"epoch": [e for e in events if e <= epochs]})))
        .mark_rule(color="@axis", strokeWidth=1, strokeDash=[2, 3])
        .encode(x=x)
    )
    share = _alive_share(history, results.params.network.widths)
    strip = (
        alt.Chart(charts.data(share), width=WIDE, height=46)
        .mark_area(interpolate="step-before", color=f"@{summary.op}", opacity=0.3, clip=True)
        .encode(
            x=alt.X("epoch:Q", scale=scale, title="epochs finished"),
            y=alt.Y(
                "alive:Q",
                scale=alt.Scale(domain=[0, 100]),
                axis=alt.Axis(values=[0, 100], title="alive units (% of capacity)", titleY=-8),
            ),
            tooltip=["epoch:Q", alt.Tooltip("alive:Q", format=".1f")],
        )
    )
    chart = alt.vconcat(
        alt.layer(rules, *accuracy).properties(width=WIDE, height=HEIGHT), strip, spacing=26
    ).resolve_scale(x="shared")
    table = pd.concat(
        [
            mean.rename(columns={"mean": "acc"}),
            ticket.rename(columns={"mean": "acc"}),
            seeds.assign(series="seed"),
        ],
        ignore_index=True,
    )[["series", "seed", "epoch", "acc", "low", "high", "n"]]
    marks = "Vertical rules are edit events. " if events else ""
    dashed = (
        "The finely dotted line is the final network retrained from scratch. "
        if len(ticket)
        else ""
    )
    return Figure(
        "trajectory",
        findings.event_cost(summary),
        "Test accuracy (%) by epoch; the axis does not start at zero",
        f"Bold is the mean over seeds, thin lines are single seeds. {marks}{dashed}"
        f"{_band_text(mean)}; {findings.n(summary)}."
        + (
            f" {theme.SEEDS_DRAWN} seeds are drawn, diverged ones among them."
            if summary.total > theme.SEEDS_DRAWN
            else ""
        ),
        "train/history.csv, train/edits.csv, retrain/history.csv",
        table,
        charts.spec(chart, "Test accuracy by epoch with the share of alive units below it"),
    )


def _accuracy_panel(
    op: str, x: alt.X, mean: pd.DataFrame, ticket: pd.DataFrame, seeds: pd.DataFrame
) -> list[alt.Chart]:
    values = pd.concat([mean["low"], mean["high"], mean["mean"], ticket["mean"], seeds["acc"]])
    late = values[values > float(mean["mean"].max()) - LATE]
    low = f"zoomed ? {float(late.min()):.4g} : {float(values.min()):.4g}"
    scale = alt.Scale(domain=[alt.ExprRef(low), float(values.max())], zero=False)
    y = alt.Y("mean:Q", scale=scale, title="test accuracy (%)")
    shown = alt.param(
        name="seeds_shown", value=True, bind=alt.binding_checkbox(name="single seeds")
    )
    zoomed = alt.param(
        name="zoomed", value=False, bind=alt.binding_checkbox(name=f"only the top {LATE} points")
    )
    thin = (
        alt.Chart(charts.data(seeds))
        .mark_line(strokeWidth=theme.SEED_LINE, color=f"@{op}-text", clip=True)
        .encode(
            x=x,
            y=alt.Y("acc:Q", scale=scale),
            detail="seed:N",
            strokeDash=alt.StrokeDash(
                "status:N",
                scale=alt.Scale(domain=["ok", "diverged"], range=[[1, 0], [3, 2]]),
                legend=None,
            ),
            opacity=alt.condition("seeds_shown", alt.value(theme.SEED_OPACITY * 1.6), alt.value(0)),
        )
        .add_params(shown, zoomed)
    )
    base = alt.Chart(charts.data(mean)).encode(x=x)
    layers = [
        base.mark_area(opacity=theme.BAND, color=f"@{op}", clip=True).encode(
            y=alt.Y("low:Q", scale=scale), y2="high:Q"
        ),
        thin,
        base.mark_line(
            strokeWidth=theme.LINE + 0.6,
            color=f"@{op}",
            strokeDash=list(theme.DASHES[op]),
            clip=True,
        ).encode(y=y),
        base.mark_point(size=70, opacity=0, filled=True, clip=True).encode(
            y=y,
            tooltip=[
                "epoch:Q",
                *(alt.Tooltip(f"{c}:Q", format=".2f") for c in ("mean", "low", "high")),
                "n:Q",
            ],
        ),
    ]
    if len(ticket):
        line = alt.Chart(charts.data(ticket)).encode(x=x, y=y)
        layers.append(
            line.mark_line(
                strokeWidth=1.6, color="@muted", strokeDash=list(theme.TICKET_DASH), clip=True
            )
        )
    return layers


def _alive_share(history: pd.DataFrame, capacity: tuple[int, ...]) -> pd.DataFrame:
    """Return alive units in percent at the epochs that end a stretch of equal widths."""
    alive = history.groupby("epoch")["alive_units"].mean().astype(float) * 100 / sum(capacity)
    ends = alive[(alive != alive.shift(-1)) | (alive.index == alive.index.min())]
    frame: pd.DataFrame = ends.rename("alive").reset_index()
    start = frame.iloc[[0]].assign(epoch=0)
    return pd.concat([start, frame], ignore_index=True)


def widths(results: Results, summary: Summary) -> Figure:
    """Return alive units of each layer over the epochs."""
    ok = numbers.finished(results.seeds)["seed"]
    history = results.history[results.history["seed"].isin(ok)]
    rows = [
        (int(epoch), layer + 1, width)
        for epoch, units in history[["epoch", "units"]].drop_duplicates().itertuples(index=False)
        for layer, width in enumerate(numbers.widths(units))
    ]
    table = pd.DataFrame(rows, columns=["epoch", "layer", "units"])
    table = table.groupby(["layer", "epoch"])["units"].mean().reset_index()
    start = table[table["epoch"] == table["epoch"].min()].assign(epoch=0)
    table = pd.concat([start, table], ignore_index=True).sort_values(["layer", "epoch"])
    following = table.groupby("layer")["units"].shift(-1)
    table = table[(table["units"] != following) | (table["epoch"] == 0)]
    capacity = results.params.network.widths
    table = table.assign(
        capacity=[capacity[layer - 1] for layer in table["layer"]],
        panel=[f"layer {layer}, of {capacity[layer - 1]} units" for layer in table["layer"]],
    )
    chart = (
        alt.layer(
            alt.Chart()
            .mark_area(interpolate="step-before", opacity=theme.BAND, color=f"@{summary.op}")
            .encode(x=alt.X("epoch:Q", title="epochs finished"), y=alt.Y("units:Q", title=None)),
            alt.Chart()
            .mark_line(interpolate="step-before", strokeWidth=theme.LINE, color=f"@{summary.op}")
            .encode(x="epoch:Q", y="units:Q", tooltip=["panel:N", "epoch:Q", "units:Q"]),
            alt.Chart().mark_rule(strokeDash=[4, 3], color="@axis").encode(y="capacity:Q"),
            data=charts.data(table),
        )
        .properties(
            width=(WIDE - 20 * (min(len(capacity), 4) - 1)) // min(len(capacity), 4), height=150
        )
        .facet(
            facet=alt.Facet(
                "panel:N",
                title=None,
                header=alt.Header(
                    labelAnchor="start", labelColor="@ink", labelFontSize=12, labelFont=theme.FONT
                ),
            ),
            columns=4,
        )
    )
    return Figure(
        "widths",
        findings.widths(results.edits, summary),
        "Alive units per hidden layer",
        "The dashed rule is the layer's full capacity. Every seed has the same widths, unless "
        f"the table says otherwise; {findings.n(summary)}.",
        "train/history.csv",
        table[["layer", "epoch", "units", "capacity"]],
        charts.spec(chart, "Alive units per hidden layer over the epochs"),
    )


def newborns(summary: Summary) -> Figure:
    """Return newborns divided by incumbents, by age."""
    words = ("Newborns", "incumbents")
    return _cohort(summary.newborn, summary, "newborns", words, findings.birth(summary))


def survivors(summary: Summary) -> Figure:
    """Return units that survived an event divided by themselves before it, by age."""
    words = ("Surviving units", "the same units just before the event")
    return _cohort(summary.survivor, summary, "survivors", words, findings.survived(summary))


def _cohort(
    ratios: Ratios, summary: Summary, name: str, words: tuple[str, str], title: str
) -> Figure:
    layers = charts.exponentiated(ratios.over_seeds(["measure", "layer", "age"]))
    every = charts.exponentiated(ratios.over_seeds(["measure", "age"])).assign(layer=-1)
    table = pd.concat([every, layers], ignore_index=True)
    table = table[table["age"].isin(numbers.thinned(table["age"].tolist()))]
    domain = charts.ratio_domain(table)
    panels = [
        _cohort_panel(table[table["measure"] == measure], domain, summary.op, measure)
        for measure in numbers.MEASURES
    ]
    chart = alt.hconcat(*panels, spacing=34)
    missing = (
        f" In {ratios.undefined} of {ratios.pairs} comparisons one side was exactly zero; they "
        "have no ratio and are left out, which flatters the smaller side."
        if ratios.undefined
        else ""
    )
    seeds = sorted(set(every["n"]))
    whole = seeds == [summary.finished]
    n = findings.n(summary) if whole else f"n = {seeds[0]} to {seeds[-1]} of {summary.total} seeds"
    return Figure(
        name,
        title,
        f"{words[0]} divided by {words[1]}, geometric mean over layers, seeds and events after "
        "step 0; logarithmic axes",
        f"At 1{theme.TIMES} the two are equal. Bold is the mean over layers, thin lines are the "
        f"layers, the numbers are those right after the event and at the end of its cycle. "
        f"{_band_text(every)}; {n}.{missing}",
        "train/cohorts.csv",
        table.assign(layer=["all" if v < 0 else str(v + 1) for v in table["layer"]]),
        charts.spec(chart, f"{words[0]} divided by {words[1]} by age"),
    )


def _cohort_panel(table: pd.DataFrame, domain: tuple[float, float], op: str, measure: str) -> Any:
    last = float(table["age"].max())
    x = alt.X(
        "age:Q",
        scale=alt.Scale(type="symlog", constant=1, domain=[0, last], nice=False),
        axis=alt.Axis(
            values=[v for v in (0, 1, 10, 100, 1000, 10000, 100000) if v <= last],
            title="optimizer steps since the event",
            format="~s",
            labelOverlap=False,
        ),
    )
    y = alt.Y("mean:Q", scale=charts.ratio_scale(domain), axis=charts.ratio_axis(domain))
    every = table[table["layer"] == -1].sort_values("age")
    layers = table[table["layer"] != -1]
    tips = [alt.Tooltip("age:Q", title="steps")] + [
        alt.Tooltip(f"{c}:Q", format=".3f") for c in ("mean", "low", "high")
    ]
    ends = layers[layers["age"] == last].assign(
        text=[f"layer {layer + 1}" for layer in layers[layers["age"] == last]["layer"]]
    )
    ends = charts.end_labels(ends, "mean", domain, HEIGHT)
    marked = every.iloc[[0, -1]] if len(every) > 1 else every
    marked = marked.assign(text=[theme.times(value) for value in marked["mean"]])
    base = alt.Chart(charts.data(every)).encode(x=x)
    mean = alt.Chart(charts.data(marked)).encode(x=x, y=y)
    shape = {"grow": "circle", "prune": "square"}.get(op, "circle")
    layer_lines = alt.Chart(charts.data(layers)).encode(
        x=x, y=y, detail="layer:N", tooltip=[*tips, "layer:N"]
    )
    parts = [
        charts.parity("y", domain),
        base.mark_area(opacity=theme.BAND, color=f"@{op}").encode(
            y=alt.Y("low:Q", scale=charts.ratio_scale(domain)), y2="high:Q"
        ),
        layer_lines.mark_line(strokeWidth=1.1, color=f"@{op}-text", opacity=0.8, strokeDash=[4, 2]),
        base.mark_line(strokeWidth=2.8, color=f"@{op}").encode(y=y),
        base.mark_point(size=90, opacity=0, filled=True).encode(y=y, tooltip=[*tips, "n:Q"]),
        mean.mark_point(size=70, filled=True, opacity=1, shape=shape, color=f"@{op}"),
        charts.haloed(mean.transform_filter("datum.age < 1"), f"@{op}-text", 8, -14, "left"),
        charts.haloed(mean.transform_filter("datum.age >= 1"), f"@{op}-text", -8, -14, "right"),
        alt.Chart(charts.data(ends))
        .mark_text(align="left", dx=8, fontSize=11, color=f"@{op}-text")
        .encode(x=x, y=alt.Y("place:Q", scale=charts.ratio_scale(domain)), text="text:N"),
    ]
    return alt.layer(*parts).properties(
        width=HALF, height=HEIGHT, title=PANELS[measure], view=alt.ViewConfig(stroke=None)
    )
