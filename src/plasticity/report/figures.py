"""The figures of training: accuracy and widths."""

import altair as alt
import pandas as pd

from plasticity.report import charts, findings, numbers, theme
from plasticity.report.charts import Figure
from plasticity.report.findings import Summary
from plasticity.report.inputs import Results

WIDE = 860
COLUMNS = 4
EVENTS_DRAWN = 40
LATE = 5
"""Points of accuracy that the zoomed trajectory shows below its best mean."""


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
    moments = numbers.event_epochs(results.history, results.edits)
    events = moments if len(moments) <= EVENTS_DRAWN else []
    rules = (
        alt.Chart(charts.data(pd.DataFrame({"epoch": [e for e in events if e <= epochs]})))
        .mark_rule(color="@axis", strokeWidth=1, strokeDash=[2, 3])
        .encode(x=x)
    )
    share = _alive_share(history, sum(results.capacity.values()))
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
        alt.layer(rules, *accuracy).properties(width=WIDE, height=charts.HEIGHT), strip, spacing=26
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
    if len(moments) > EVENTS_DRAWN:
        marks = f"The {len(moments)} edit events are too many to be drawn. "
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
        f"{charts.band_text(mean)}; {findings.n(summary)}."
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
    ends = zip(charts.linear(late).domain, charts.linear(values).domain, strict=True)
    domain = [alt.ExprRef(f"zoomed ? {near} : {far}") for near, far in ends]
    scale = alt.Scale(domain=domain, zero=False, nice=False)
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


def _alive_share(history: pd.DataFrame, capacity: int) -> pd.DataFrame:
    """Return alive units in percent at the epochs that end a stretch of equal widths."""
    alive = history.groupby("epoch")["alive_units"].mean().astype(float) * 100 / capacity
    ends = alive[(alive != alive.shift(-1)) | (alive.index == alive.index.min())]
    frame: pd.DataFrame = ends.rename("alive").reset_index()
    start = frame.iloc[[0]].assign(epoch=0)
    return pd.concat([start, frame], ignore_index=True)


def widths(results: Results, summary: Summary) -> Figure:
    """Return alive units of each layer that is edited over the epochs."""
    ok = numbers.finished(results.seeds)["seed"]
    history = results.history[results.history["seed"].isin(ok)]
    capacity = results.capacity
    rows = [
        (int(epoch), layer, width)
        for epoch, units in history[["epoch", "units"]].drop_duplicates().itertuples(index=False)
        for layer, width in zip(capacity, numbers.widths(units), strict=True)
    ]
    table = pd.DataFrame(rows, columns=["epoch", "layer", "units"])
    table = table.groupby(["layer", "epoch"])["units"].mean().reset_index()
    start = table[table["epoch"] == table["epoch"].min()].assign(epoch=0)
    table = pd.concat([start, table], ignore_index=True).sort_values(["layer", "epoch"])
    following = table.groupby("layer")["units"].shift(-1)
    table = table[(table["units"] != following) | (table["epoch"] == 0)]
    table = table.assign(capacity=table["layer"].map(capacity))
    columns = min(len(capacity), COLUMNS)
    scale = alt.Scale(domain=[0, max(capacity.values())])
    panels = []
    for layer, most in capacity.items():
        base = alt.Chart(charts.data(table[table["layer"] == layer])).encode(
            x=alt.X("epoch:Q", title="epochs finished")
        )
        y = alt.Y("units:Q", scale=scale, title=None)
        full = base.mark_rule(strokeDash=[4, 3], color="@axis").encode(
            x=alt.value(0), x2=alt.value("width"), y=alt.Y("capacity:Q", scale=scale)
        )
        panel = alt.layer(
            base.mark_area(
                interpolate="step-before", opacity=theme.BAND, color=f"@{summary.op}"
            ).encode(y=y),
            base.mark_line(
                interpolate="step-before", strokeWidth=theme.LINE, color=f"@{summary.op}"
            ).encode(y=y, tooltip=["layer:N", "epoch:Q", "units:Q"]),
            full,
        )
        title = alt.TitleParams(f"{layer}, of {most} units", fontWeight="normal", offset=6)
        panels.append(panel.properties(width=WIDE // columns - 40, height=150, title=title))
    chart = alt.concat(*panels, columns=columns, spacing=24)
    return Figure(
        "widths",
        findings.widths(results.edits, summary),
        "Alive units of each layer that is edited",
        f"The dashed rule is the layer's full capacity. {_begins(results.edits)}Every seed has the "
        f"same widths, unless the table says otherwise; {findings.n(summary)}.",
        "train/history.csv",
        table[["layer", "epoch", "units", "capacity"]],
        charts.spec(chart, "Alive units of each layer over the epochs"),
    )


def _begins(edits: pd.DataFrame) -> str:
    """Return why a curve does not begin at the widths of the title, where it does not."""
    changed = edits[edits["alive_before"] != edits["alive_after"]]
    if not (changed["step"] == 0).any():
        return ""
    return "The first event comes before the first step, so curves begin after it. "
