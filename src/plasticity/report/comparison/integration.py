"""How much time new units need: online accuracy against the steps of a task, and the crossover."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from plasticity.catalogue import LEARNERS
from plasticity.crossover import Crossover, crossover
from plasticity.report import charts, numbers, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison.gather import Comparison
from plasticity.report.parts import Section, Table, percent, points
from plasticity.report.lines import DASHED, HUES
from plasticity.report.streams import title_of
from plasticity.stats import Interval, t_interval
from plasticity.tables import read_table

WIDTH, HEIGHT = 620, 300
GROW = "grow"
KEYS = ["stream", "name", "task_steps"]


@dataclass(frozen=True)
class Gap:
    """Grow less another learner, over the lengths that both have."""

    stream: str
    other: str
    lengths: tuple[int, ...]
    intervals: Mapping[int, Interval]
    """The mean difference at each length."""
    crossing: Crossover


def section(comparison: Comparison) -> Section | None:
    """Return how learners depend on the steps of a task, or nothing where only one was tried."""
    seeds = learners(comparison)
    if seeds.empty:
        return None
    several = seeds.groupby("stream")["task_steps"].nunique()
    seeds = seeds[seeds["stream"].isin(several[several > 1].index)]
    if seeds.empty:
        return None
    gaps = [gap for stream in sorted(seeds["stream"].unique()) for gap in gaps_of(seeds, stream)]
    figures = [_accuracy(seeds), *([_differences(gaps)] if gaps else [])]
    return Section(
        "integration",
        "Time to integrate",
        "How much time do new units need before the next shift?",
        "",
        (
            "The updates in all are the same at every length; what changes is how many of them "
            "come before the task changes. The crossover is where the mean difference, fitted by "
            "the closest curve that never falls, reaches 0; its interval comes from drawing seeds.",
        ),
        tuple(figures),
        (_crossings(gaps), _table(seeds)) if gaps else (_table(seeds),),
    )


def learners(comparison: Comparison) -> pd.DataFrame:
    """Return every finished replicate of a stream: columns stream, name, task_steps, seed, taoa.

    A learner that several arms have bears its arm's name too.
    """
    parts = []
    for arm in comparison.done:
        if "continual" not in comparison.study.stages:
            continue
        rows = read_table("continual", "seeds", arm.folder)
        whole = rows[(rows["status"] == "ok") & rows["taoa"].notna()]
        parts.append(
            whole[["stream", "learner", "task_steps", "seed", "taoa"]].assign(arm=arm.name)
        )
    if not parts:
        return pd.DataFrame(columns=[*KEYS, "seed", "taoa"])
    every = pd.concat(parts, ignore_index=True)
    arms = every.groupby(["stream", "learner"])["arm"].transform("nunique")
    named = every["learner"].where(arms == 1, every["arm"] + " " + every["learner"])
    return every.assign(name=named.astype(str), taoa=every["taoa"].astype(float))


def gaps_of(seeds: pd.DataFrame, stream: str) -> list[Gap]:
    """Return grow less every other learner of a stream, at the lengths and seeds of both."""
    table = seeds[seeds["stream"] == stream].pivot_table(
        index="seed", columns=["name", "task_steps"], values="taoa"
    )
    names = [name for name in _order(seeds) if name in table.columns.get_level_values(0)]
    if GROW not in names:
        return []
    found = []
    for other in names:
        shared = sorted({*table[GROW].columns} & {*table[other].columns})
        both = (table[GROW][shared] - table[other][shared]).dropna()
        if other == GROW or len(shared) < 2 or both.empty:
            continue
        lengths = tuple(int(length) for length in shared)
        intervals = {length: t_interval(both[length].tolist()) for length in lengths}
        crossing = crossover(lengths, both.to_numpy().tolist())
        found.append(Gap(stream, other, lengths, intervals, crossing))
    return found


def crossing_text(gap: Gap) -> str:
    """Return where grow catches up with another learner, with what is known of the place."""
    first, last = f"{gap.lengths[0]:,}", f"{gap.lengths[-1]:,}"
    found = gap.crossing
    if found.at is None:
        if found.never > 0.5:
            return f"not within {first} to {last} steps"
        return f"at no length behind, from {first} steps on"
    low = f"below {first}" if found.low is None else f"{found.low:,.0f}"
    high = f"beyond {last}" if found.high is None else f"{found.high:,.0f}"
    return f"{found.at:,.0f} steps [{low}, {high}]"


def _order(seeds: pd.DataFrame) -> list[str]:
    """Return the learners' names as the catalogue has them, others after them."""
    known = [name for name in LEARNERS if name in set(seeds["name"])]
    return [*known, *sorted(set(seeds["name"]) - set(known))]


def _scales(names: Sequence[str]) -> tuple[alt.Color, alt.StrokeDash]:
    hues = [HUES.get(name.split()[-1]) for name in names]
    looks = {
        "color": [f"@{hue}" if hue else "@muted" for hue in hues],
        "dash": [list(DASHED.get(name.split()[-1], (1, 0))) for name in names],
    }
    legend = alt.Legend(orient="right", symbolStrokeWidth=2, symbolSize=300, labelLimit=220)
    scales = {
        look: alt.Scale(domain=list(names), range=values)  # type: ignore[arg-type]
        for look, values in looks.items()
    }
    same: dict[str, Any] = {"title": None, "sort": None, "legend": legend}
    return (
        alt.Color("name:N", scale=scales["color"], **same),
        alt.StrokeDash("name:N", scale=scales["dash"], **same),
    )


def _x(lengths: Sequence[int]) -> alt.X:
    ends = [min(lengths) / 1.1, max(lengths) * 1.1]
    return alt.X(
        "task_steps:Q",
        scale=alt.Scale(type="log", domain=ends, nice=False),
        axis=alt.Axis(values=sorted(set(lengths)), format=",d", labelOverlap=False),
        title="steps per task (log)",
    )


def _lines(rows: pd.DataFrame, names: Sequence[str], title: str) -> Any:
    """Return a line with whiskers and points for each name."""
    color, dash = _scales(names)
    y = alt.Y("mean:Q", scale=charts.linear(rows["mean"], rows["low"], rows["high"]), title=title)
    base = alt.Chart(charts.data(rows)).encode(x=_x(rows["task_steps"].tolist()), color=color)
    tooltip = [
        alt.Tooltip("name:N", title=" "),
        alt.Tooltip("task_steps:Q", format=",d"),
        *(alt.Tooltip(f"{column}:Q", format=".2f") for column in ("mean", "low", "high")),
        alt.Tooltip("n:Q"),
    ]
    return alt.layer(
        base.mark_line(strokeWidth=theme.LINE).encode(y=y, strokeDash=dash),
        base.mark_rule(strokeWidth=1.4).encode(y="low:Q", y2="high:Q"),
        base.mark_point(size=46, filled=True, opacity=1).encode(y=y, tooltip=tooltip),
    )


def _panels(parts: Sequence[tuple[str, Any]]) -> Any:
    return alt.vconcat(
        *(
            chart.properties(
                width=WIDTH,
                height=HEIGHT,
                title=alt.TitleParams(title_of(stream), fontWeight="normal", offset=6),
            )
            for stream, chart in parts
        )
    )


def _accuracy(seeds: pd.DataFrame) -> Figure:
    rows = numbers.over_seeds(seeds, KEYS, "taoa")
    names = _order(seeds)
    streams = sorted(rows["stream"].unique())
    chart = _panels(
        [
            (stream, _lines(rows[rows["stream"] == stream], names, "online accuracy (%)"))
            for stream in streams
        ]
    )
    return Figure(
        "integration",
        _finding(rows, streams),
        "Total average online accuracy (%) against the steps of a task",
        f"Points are means over seeds, whiskers 95 % t-intervals. n = {numbers.span(rows['n'])} "
        "seeds.",
        "continual/seeds.csv",
        rows,
        charts.spec(chart, "Online accuracy of each learner against the steps of a task"),
    )


def _finding(rows: pd.DataFrame, streams: Sequence[str]) -> str:
    """Return how far the best and the worst mean are apart at the shortest and longest length."""
    part = rows[rows["stream"] == streams[0]]
    ends = [int(part["task_steps"].min()), int(part["task_steps"].max())]
    spans = []
    for steps in ends:
        means = part[part["task_steps"] == steps]["mean"]
        spans.append(f"{float(means.max() - means.min()):.1f} points at {steps:,} steps")
    return f"Learners' means are {spans[0]} apart, {spans[1]}"


def _differences(gaps: Sequence[Gap]) -> Figure:
    rows = pd.DataFrame(
        [
            {"stream": gap.stream, "name": gap.other, "task_steps": steps, "mean": found.mean,
             "low": found.low, "high": found.high, "n": found.n}
            for gap in gaps
            for steps, found in gap.intervals.items()
        ]
    ).astype({"low": float, "high": float})  # fmt: skip
    names = list(dict.fromkeys(gap.other for gap in gaps))
    zero = alt.Chart(charts.data(pd.DataFrame({"zero": [0.0]}))).mark_rule(
        color="@ink", strokeWidth=1.2, strokeDash=[2, 2]
    )
    chart = _panels(
        [
            (
                stream,
                alt.layer(
                    zero.encode(y=alt.Y("zero:Q")),
                    _lines(rows[rows["stream"] == stream], names, "grow less the other (points)"),
                ),
            )
            for stream in dict.fromkeys(gap.stream for gap in gaps)
        ]
    )
    inside = [
        f"{gap.other.replace('_', ' ')} at {crossing_text(gap)}"
        for gap in gaps
        if gap.crossing.low is not None and gap.crossing.high is not None
    ]
    return Figure(
        "crossover",
        f"Grow catches up with {theme.listed(inside)}"
        if inside
        else "No crossover has both ends of its interval within the lengths tried",
        "Paired difference in online accuracy (points), grow less another learner",
        "Above 0 grow is ahead. Points are means over seeds, whiskers 95 % t-intervals, not "
        f"corrected for their number. n = {numbers.span(rows['n'])} seeds.",
        "continual/seeds.csv",
        rows,
        charts.spec(chart, "Grow less each other learner against the steps of a task"),
    )


def _crossings(gaps: Sequence[Gap]) -> Table:
    rows = []
    every = sorted({length for gap in gaps for length in gap.lengths})
    for gap in gaps:
        cells = [points(gap.intervals.get(steps)) for steps in every]
        rows.append((f"{gap.other} ({title_of(gap.stream)})", crossing_text(gap), *cells))
    steps = [f"{length:,}" for length in every]
    return Table(
        "Where grow catches up, and grow less the other at each number of steps per task.",
        ("grow less", "crossover", *steps),
        tuple(rows),
    )


def _table(seeds: pd.DataFrame) -> Table:
    lengths = sorted(seeds["task_steps"].unique())
    rows = []
    for (stream, name), part in seeds.groupby(["stream", "name"], sort=False):
        cells = [
            percent(numbers.interval(part.loc[part["task_steps"] == length, "taoa"]))
            for length in lengths
        ]
        rows.append((f"{name} ({title_of(str(stream))})", *cells))
    return Table(
        "Total average online accuracy at each number of steps per task.",
        ("learner", *(f"{int(length):,}" for length in lengths)),
        tuple(rows),
    )
