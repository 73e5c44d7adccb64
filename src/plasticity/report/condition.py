"""Whether the network stays able to learn: dormant units, rank, weights and gradients by cycle."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from plasticity.report import charts, numbers, parts, theme, wordings
from plasticity.report.charts import Figure
from plasticity.report.findings import Summary
from plasticity.report.inputs import Results
from plasticity.report.numbers import verdict
from plasticity.report.parts import MISSING, Section, Table
from plasticity.stats import Interval

NETWORK = "all"
LAYERED = {
    "dormant_025": "Dormant units (%)",
    "effective_rank": "Effective rank",
    "weight_norm": "Incoming weights, mean norm",
}
WHOLE = {
    "gradient_cosine": "Cosine of two images' gradients",
    "gradient_rank": "Effective rank of gradients",
}
COLUMNS = {
    "dead": "% dead",
    "dormant_025": "% dormant (0.025)",
    "dormant_100": "% dormant (0.1)",
    "effective_rank": "effective rank",
    "weight_norm": "weight norm",
}
SHARES = ("dead", "dormant_010", "dormant_025", "dormant_100")
SHARE = (0.0, 100.0)
"""Bounds of a share in percent, at which its intervals are cut off."""
WIDTH = 208


def measured(results: Results) -> pd.DataFrame:
    """Return the finished seeds' health at the ends of cycles, shares in percent."""
    frame = results.whole(results.health)
    percent = {column: 100 * frame[column] for column in SHARES}
    return frame.assign(**percent, epoch=frame["step"] / _per_epoch(results))


def _per_epoch(results: Results) -> float:
    first = results.history.iloc[0]
    return float(first["step"]) / float(first["epoch"])


def change(frame: pd.DataFrame, column: str) -> Interval | None:
    """Return last minus first end of a cycle, mean over layers, paired by seed."""
    means = frame.dropna(subset=[column]).groupby(["seed", "step"])[column].mean().unstack("step")
    if means.shape[1] < 2:
        return None
    return numbers.interval(means.iloc[:, -1] - means.iloc[:, 0])


def finding(frame: pd.DataFrame) -> str:
    """Return whether the share of dormant units rose from the first cycle to the last."""
    layers = frame[frame["layer"] != NETWORK]
    moved = change(layers, "dormant_025")
    last = layers[layers["step"] == layers["step"].max()]
    level = numbers.interval(last.groupby("seed")["dormant_025"].mean())
    return wordings.DORMANT[verdict(moved)].format(
        size="" if moved is None else theme.size(moved),
        change="" if moved is None else theme.points(moved),
        level=parts.percent(level),
    )


def section(results: Results, summary: Summary) -> Section:
    """Return the network's health at the ends of cycles."""
    anchor, topic = "health", "Health"
    question = "Does the network stay able to learn?"
    frame = measured(results)
    if frame.empty:
        return Section(anchor, topic, question, wordings.NOT_MEASURED)
    return Section(
        anchor,
        topic,
        question,
        finding(frame),
        wordings.HEALTH_TEXT,
        (_figure(frame, summary),),
        _tables(frame),
    )


def _figure(frame: pd.DataFrame, summary: Summary) -> Figure:
    layers, network = frame[frame["layer"] != NETWORK], frame[frame["layer"] == NETWORK]
    upper = _over_seeds(layers, list(LAYERED))
    lower = _over_seeds(network, list(WHOLE))
    table = pd.concat([upper, lower], ignore_index=True)
    panels = [
        _panel(table[table["measure"] == measure], summary.op).properties(
            width=WIDTH, height=150, title=title
        )
        for measure, title in (LAYERED | WHOLE).items()
        if (table["measure"] == measure).any()
    ]
    cut = ", of shares cut off at 0 and 100" if table["low"].notna().any() else ""
    return Figure(
        "health",
        finding(frame),
        "At the ends of cycles, by epoch: each layer by itself, and the whole network in the last "
        "two; the axes do not start at zero",
        f"Lines are means over seeds, dashed where there are several layers. "
        f"{charts.band_text(table)}{cut}; {_n(table, summary)}. Rank can never exceed the alive "
        "units, which the table lists.",
        "train/health.csv",
        table[["measure", "layer", "epoch", "mean", "low", "high", "n"]],
        charts.spec(_laid_out(panels), "Health at the ends of cycles"),
    )


def _laid_out(panels: Sequence[Any]) -> Any:
    """Return the panels in rows of three, aligned by their axes and not by their labels."""
    return alt.concat(*panels, columns=3, spacing={"row": 86, "column": 82}, bounds="flush")


def _n(table: pd.DataFrame, summary: Summary) -> str:
    seeds = sorted(set(table["n"]))
    n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"n = {n} of {summary.total} seeds"


def _over_seeds(frame: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    parts = [
        numbers.over_seeds(frame, ["layer", "epoch"], measure).assign(measure=measure)
        for measure in measures
    ]
    frame = pd.concat(parts, ignore_index=True)
    bounds = frame[["low", "high"]]
    shares = frame["measure"].isin(SHARES)
    return frame.assign(**bounds.where(~shares, bounds.clip(*SHARE)))


def _panel(table: pd.DataFrame, op: str) -> Any:
    scale = charts.linear(table["low"], table["high"], table["mean"])
    epochs = table["epoch"].astype(float)
    edge = max(0.04 * float(epochs.max() - epochs.min()), 0.5)
    domain = [float(epochs.min()) - edge, float(epochs.max()) + edge]
    x = alt.X("epoch:Q", title="epochs finished", scale=alt.Scale(domain=domain, nice=False))
    y = alt.Y("mean:Q", scale=scale, title=None)
    base = alt.Chart(charts.data(table)).encode(x=x, detail="layer:N")
    several = table["layer"].nunique() > 1
    last = table[table["epoch"] == table["epoch"].max()]
    assert isinstance(scale.domain, list)
    low, high = (float(end) for end in scale.domain)
    last = last.assign(place=numbers.spread(last["mean"].tolist(), 0.09 * (high - low)))
    layers = [
        base.mark_area(opacity=theme.BAND, color=f"@{op}").encode(
            y=alt.Y("low:Q", scale=scale, title=None), y2="high:Q"
        ),
        base.mark_line(
            strokeWidth=theme.LINE, color=f"@{op}", strokeDash=[4, 2] if several else [1, 0]
        ).encode(y=y),
        base.mark_point(
            size=46, filled=True, opacity=1, color=f"@{op}", shape=_shape(op), angle=_angle(op)
        ).encode(
            y=y,
            tooltip=[
                "layer:N",
                "epoch:Q",
                *(alt.Tooltip(f"{c}:Q", format=".3~f") for c in ("mean", "low", "high")),
                "n:Q",
            ],
        ),
    ]
    if several:
        layers.append(
            alt.Chart(charts.data(last))
            .mark_text(align="left", dx=8, fontSize=11, color=f"@{op}-text")
            .encode(x=x, y=alt.Y("place:Q", scale=scale), text="layer:N")
        )
    return alt.layer(*layers)


def _shape(op: str) -> str:
    return "circle" if theme.SHAPES[op] == "stroke" else theme.SHAPES[op]


def _angle(op: str) -> int:
    return 0 if _shape(op) else 90


def _tables(frame: pd.DataFrame) -> tuple[Table, Table]:
    """Return the first and the last end of a cycle: for every layer, and for the network."""
    ends = sorted(frame["step"].unique())
    rows: dict[bool, list[tuple[str, ...]]] = {True: [], False: []}
    for layer in sorted(frame["layer"].unique()):
        whole = layer == NETWORK
        for step in dict.fromkeys((ends[0], ends[-1])):
            part = frame[(frame["layer"] == layer) & (frame["step"] == step)]
            name = "all layers" if whole else layer
            rows[whole].append(
                (
                    f"{name}, epoch {float(part['epoch'].iloc[0]):g}",
                    numbers.span(part["units"]),
                    *(_cell(part, column) for column in (WHOLE if whole else COLUMNS)),
                )
            )
    caption = "First and last end of a cycle, means over seeds [95 % t-interval"
    return (
        Table(
            f"{caption}, of shares cut off at 0 and 100].",
            ("", "units", *COLUMNS.values()),
            tuple(rows[False]),
        ),
        Table(f"{caption}].", ("", "units", *WHOLE.values()), tuple(rows[True])),
    )


def _cell(part: pd.DataFrame, column: str) -> str:
    value = numbers.interval(part[column])
    if value is None:
        return MISSING
    return theme.plain(value, within=SHARE) if column in SHARES else theme.plain(value)
