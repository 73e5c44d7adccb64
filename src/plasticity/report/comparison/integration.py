"""How much time new units need: online accuracy against the steps of a task, and the crossover."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import pandas as pd

from plasticity.crossover import DRAWS, Crossover, crossover
from plasticity.report import charts, lines, numbers, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import replicates
from plasticity.report.comparison.gather import Comparison
from plasticity.report.comparison.replicates import PLACE
from plasticity.report.parts import MISSING, Section, Table, percent, points
from plasticity.report.streams import title_of
from plasticity.stats import Interval, t_interval

GROW = "grow"
WIDTH, HEIGHT = 640, 300
MOST_PLACES = 4
ROW = 16
EN_DASH = "\u2013"


@dataclass(frozen=True)
class Gap:
    """Grow less another learner, over the lengths that both have."""

    stream: str
    grow: str
    other: str
    lengths: tuple[int, ...]
    intervals: Mapping[int, Interval]
    """The mean difference at each length, over the seeds that both have there."""
    crossing: Crossover | None
    """Over the seeds that both have at every length; None where there is one length, or no seed,
    or where the difference falls."""
    seeds: int
    """How many the crossover is of."""

    @property
    def falls(self) -> bool:
        """Return whether the difference is surely smaller at some length than at a shorter one.

        A crossover is read off a curve that never falls, which would be no picture of it then.
        """
        return _falls([self.intervals[length] for length in self.lengths])


def section(comparison: Comparison) -> Section | None:
    """Return how learners depend on the steps of a task, or nothing where only one was tried."""
    places = at_several_lengths(replicates.read(comparison))
    if not places:
        return None
    found = [(part, gaps_of(part)) for part in places]
    gaps = [gap for _, own in found for gap in own]
    figures = [_accuracy(places), *([_differences(found)] if gaps else [])]
    return Section(
        "integration",
        "Time to integrate",
        "How much time do new units need before the next shift?",
        "",
        (
            "The updates in all are the same at every length; what changes is how many of them "
            "come before the task changes. The crossover is where the mean difference of grow to "
            "another learner, fitted by the closest curve that never falls, reaches 0 on the "
            f"logarithmic axis. Its 95 % interval is of {DRAWS:,} draws of seeds with replacement, "
            "with a fixed generator; draws without a crossing count as below the shortest or "
            "above the longest length, and are never left out. Where the difference is surely "
            "smaller at one length than at a shorter one, no crossover is sought. With few seeds "
            "the interval is too narrow: in a simulation it held the true place in 75 of "
            "100 cases with 3 seeds, in 81 with 5 and in 90 with 10.",
        ),
        tuple(figures),
        (*((_crossings(gaps),) if gaps else ()), *(_table(part) for part in places)),
    )


def at_several_lengths(seeds: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the replicates with an accuracy, of each stream that has several lengths.

    Diverged seeds are among them: theirs is of a stream with every step from there on wrong.

    Parameters
    ----------
    seeds
        As ``replicates.read`` returns them.
    """
    done = seeds[seeds["taoa"].notna()].astype({"taoa": float})
    places = [part for _, part in done.groupby(PLACE, sort=True)]
    return [part for part in places if part["task_steps"].nunique() > 1][:MOST_PLACES]


def gaps_of(part: pd.DataFrame) -> list[Gap]:
    """Return grow less every other learner of a stream, paired by seed.

    Where several arms have the same learners, only those of one arm are compared.
    """
    owner = dict(zip(part["name"], part["own_arm"], strict=True))
    order = replicates.ordered(part)
    grown = [name for name in order if (part.loc[part["name"] == name, "learner"] == GROW).all()]
    return [
        gap
        for first in grown
        for other in order
        if other not in grown and (not owner[first] or owner[other] in ("", owner[first]))
        if (gap := _gap(part, first, other)) is not None
    ]


def _gap(part: pd.DataFrame, first: str, other: str) -> Gap | None:
    by_seed = {
        name: part[part["name"] == name].pivot(index="seed", columns="task_steps", values="taoa")
        for name in (first, other)
    }
    apart = (by_seed[first] - by_seed[other]).dropna(axis=1, how="all").sort_index(axis=1)
    lengths = tuple(int(str(length)) for length in apart.columns)
    if not lengths:
        return None
    whole = apart.dropna()
    intervals = {length: t_interval(apart[length].dropna().tolist()) for length in lengths}
    known = len(lengths) > 1 and len(whole) > 0 and not _falls(list(intervals.values()))
    return Gap(
        str(part["stream"].iloc[0]),
        first,
        other,
        lengths,
        intervals,
        crossover(lengths, whole.to_numpy().tolist()) if known else None,
        len(whole),
    )


def _falls(intervals: Sequence[Interval]) -> bool:
    return any(
        earlier.low is not None and later.high is not None and earlier.low > later.high
        for place, later in enumerate(intervals)
        for earlier in intervals[:place]
    )


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _ends(gap: Gap) -> tuple[str, str]:
    return f"{gap.lengths[0]:,}", f"{gap.lengths[-1]:,}"


def crossing_text(gap: Gap) -> str:
    """Return from which length on grow is not behind another learner, as far as is known."""
    found = gap.crossing
    if gap.falls:
        return f"none sought: the difference falls with longer tasks ({_course(gap)})"
    if found is None:
        return MISSING
    if math.isfinite(found.at):
        return f"{found.at:,.0f} steps"
    first, last = _ends(gap)
    side = "below" if found.at > 0 else "above"
    return f"no crossover within {first}{EN_DASH}{last} steps: the fitted curve stays {side} 0"


def _course(gap: Gap) -> str:
    """Return the mean difference at every length."""
    return ", ".join(f"{one.mean:+.1f} at {length:,}" for length, one in gap.intervals.items())


def interval_text(gap: Gap) -> str:
    """Return the interval of a crossover; an end outside the lengths is open, and says so."""
    found = gap.crossing
    if found is None or found.low is None or found.high is None:
        return MISSING
    return f"[{_end(gap, found.low)}, {_end(gap, found.high)}]"


def _end(gap: Gap, length: float) -> str:
    if math.isfinite(length):
        return f"{length:,.0f}"
    first, last = _ends(gap)
    return f">{last}" if length > 0 else f"<{first}"


def _shown(part: pd.DataFrame) -> pd.DataFrame:
    """Return as many learners as a panel holds, with the name that readers see."""
    names = replicates.ordered(part)[: lines.MOST_LINES]
    return (
        part[part["name"].isin(names)].drop(columns="learner").rename(columns={"name": "learner"})
    )


def _title(part: pd.DataFrame) -> list[str]:
    one = part.iloc[0]
    stream, images = replicates.heading(one)
    return [stream, f"{int(one['updates']):,} updates in all, {images}"]


def _accuracy(places: Sequence[pd.DataFrame]) -> Figure:
    """Return online accuracy by steps per task, a panel for each stream."""
    tables, panels = [], []
    for part in places:
        mean = numbers.over_seeds(_shown(part), ["learner", "task_steps"], "taoa")
        tables.append(replicates.placed(mean, part))
        chart = lines.by_length(
            mean, "mean online accuracy (%)", replicates.looks(part), HEIGHT, WIDTH
        )
        panels.append(chart.properties(width=WIDTH, height=HEIGHT, title=_title(part)))
    table = pd.concat(tables, ignore_index=True)
    return Figure(
        "integration",
        _finding(table),
        "Mean online accuracy (%) by the steps of a task, at the same number of updates in all",
        f"{charts.band_text(table)}; {lines.n(table)}. Tasks of more steps are fewer tasks."
        f"{_lost(places)}",
        "continual/seeds.csv",
        table,
        charts.spec(lines.beside(panels, 1, 40), "Online accuracy by steps per task"),
    )


def _lost(places: Sequence[pd.DataFrame]) -> str:
    return replicates.diverged_text(pd.concat(places, ignore_index=True))


def _finding(table: pd.DataFrame) -> str:
    """Return how far the best and the worst mean are apart at the shortest and longest length."""
    texts = []
    for _, part in table.groupby(PLACE, sort=True):
        spans = []
        for steps in (part["task_steps"].min(), part["task_steps"].max()):
            means = part.loc[part["task_steps"] == steps, "mean"]
            spans.append(f"{float(means.max() - means.min()):.1f} at {int(steps):,}")
        texts.append(f"in {title_of(str(part['stream'].iloc[0]))} {' and '.join(spans)}")
    return f"Points between the best and the worst mean at steps per task: {'; '.join(texts)}"


def _differences(found: Sequence[tuple[pd.DataFrame, Sequence[Gap]]]) -> Figure:
    """Return grow less each other learner by steps per task, a panel for each stream."""
    tables, panels = [], []
    for part, gaps in found:
        if not gaps:
            continue
        rows = pd.DataFrame(
            [
                {"learner": _of(gap, gaps), "task_steps": steps, "mean": one.mean, "low": one.low,
                 "high": one.high, "n": one.n}
                for gap in gaps[: lines.MOST_LINES]
                for steps, one in gap.intervals.items()
            ]
        ).astype({"low": float, "high": float})  # fmt: skip
        tables.append(replicates.placed(rows, part))
        looks = _of_gaps(part, gaps)
        chart = lines.by_length(rows, "grow less another (points)", looks, HEIGHT, WIDTH, (0.0,))
        upper = alt.layer(_zero(rows["task_steps"]), chart)
        upper = upper.properties(width=WIDTH, height=HEIGHT, title=_title(part))
        lower = _marks(gaps, looks, rows["task_steps"].unique().tolist())
        panels.append(upper if lower is None else alt.vconcat(upper, lower, spacing=24))
    table = pd.concat(tables, ignore_index=True)
    return Figure(
        "crossover",
        title([gap for _, gaps in found for gap in gaps]),
        "Paired difference in mean online accuracy (points), grow less the learner of the line",
        "Above 0 grow is ahead. Below: crossovers with their 95 % intervals, cut at the lengths "
        f"tried; a triangle points to where one lies beyond them. {charts.band_text(table)}, "
        f"length by length, not corrected for their number; {lines.n(table)}."
        f"{_lost([part for part, _ in found])}",
        "continual/seeds.csv",
        table,
        charts.spec(lines.beside(panels, 1, 40), "Grow less each other learner by steps per task"),
    )


def title(gaps: Sequence[Gap]) -> str:
    """Return the crossovers that are certain to lie within the lengths: only these are claimed."""
    streams = {gap.stream for gap in gaps}
    claimed = [
        f"{_plain(gap.other)}{f' in {title_of(gap.stream)}' if len(streams) > 1 else ''} at "
        f"{crossing_text(gap)} {interval_text(gap)}"
        for gap in gaps
        if gap.crossing is not None and gap.crossing.inside
    ]
    if not claimed:
        return "No crossover has both ends of its interval within the lengths tried"
    return f"Grow catches up with {theme.listed(claimed)}"


def _of(gap: Gap, gaps: Sequence[Gap]) -> str:
    """Return the name of a difference: the other learner, and of which grow if there are more."""
    several = len({one.grow for one in gaps}) > 1
    return f"{gap.other} (of {gap.grow})" if several else gap.other


def _of_gaps(part: pd.DataFrame, gaps: Sequence[Gap]) -> lines.Looks:
    looks = replicates.looks(part)
    return {
        name: replace(looks[gap.other], label=_plain(name))
        for gap in gaps
        if (name := _of(gap, gaps))
    }


def _zero(lengths: pd.Series) -> Any:
    """Return the line of no difference, from the shortest length to the longest."""
    row = pd.DataFrame([{"first": lengths.min(), "last": lengths.max(), "zero": 0.0}])
    return (
        alt.Chart(charts.data(row))
        .mark_rule(color="@ink", strokeWidth=1.2, strokeDash=[2, 2])
        .encode(x="first:Q", x2="last:Q", y="zero:Q")
    )


def _marks(gaps: Sequence[Gap], looks: lines.Looks, lengths: Sequence[float]) -> Any | None:
    """Return a row for each crossover with its interval, under the lengths; None without any."""
    rows = []
    for gap in gaps[: lines.MOST_LINES]:
        found = gap.crossing
        if found is None:
            continue
        first, last = float(gap.lengths[0]), float(gap.lengths[-1])
        low, task_steps, high = (
            None if end is None else min(max(end, first), last)
            for end in (found.low, found.at, found.high)
        )
        kind = "inside" if math.isfinite(found.at) else "beyond" if found.at > 0 else "before"
        rows.append({"learner": _of(gap, gaps), "low": low, "task_steps": task_steps,
                     "high": high, "kind": kind})  # fmt: skip
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    above = pd.DataFrame({"learner": [_of(gap, gaps) for gap in gaps[: lines.MOST_LINES]]})
    color, _ = lines.scales(above, looks)  # of all lines above: two scales would conflict
    y = alt.Y("learner:N", sort=None, title="crossover", axis=alt.Axis(labels=False, grid=False))
    base = alt.Chart(charts.data(frame)).encode(y=y, color=color)
    shapes = alt.Scale(
        domain=["before", "inside", "beyond"], range=["triangle-left", "diamond", "triangle-right"]
    )
    interval = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2)
    point = base.mark_point(size=80, filled=True, opacity=1).encode(
        x=lines.length_axis(lengths, looks, WIDTH),
        shape=alt.Shape("kind:N", scale=shapes, legend=None),
        tooltip=[
            alt.Tooltip("learner:N"),
            *(
                alt.Tooltip(f"{column}:Q", format=",.0f")
                for column in ("task_steps", "low", "high")
            ),
        ],
    )
    names = [
        alt.Chart(charts.data(frame[frame["learner"] == name].assign(end=max(lengths))))
        .mark_text(align="left", dx=10, fontSize=12, color=looks[name].ink, text=looks[name].label)
        .encode(x="end:Q", y=y)
        for name in frame["learner"]
    ]
    chart = alt.layer(interval.encode(x=alt.X("low:Q"), x2="high:Q"), point, *names)
    return chart.properties(width=WIDTH, height=ROW * len(frame))


def _crossings(gaps: Sequence[Gap]) -> Table:
    """Return all differences with their intervals, and every crossover with what is known of it."""
    lengths = sorted({length for gap in gaps for length in gap.lengths})
    rows = []
    for gap in gaps:
        found = gap.crossing
        shares = (
            (MISSING, MISSING)
            if found is None or found.low is None
            else (f"{100 * found.before:.1f} %", f"{100 * found.never:.1f} %")
        )
        rows.append(
            (
                f"{_plain(gap.grow)} less {_plain(gap.other)}, {title_of(gap.stream)}",
                crossing_text(gap),
                interval_text(gap),
                *shares,
                str(gap.seeds),
                *(points(gap.intervals.get(steps)) for steps in lengths),
            )
        )
    return Table(
        "Where grow catches up: the crossover, its 95 % interval, the share of draws that are not "
        "behind at the shortest length already and that are behind to the longest, and the seeds "
        "with every length; then the difference at each number of steps per task.",
        ("", "crossover", "interval", "draws below", "draws above", "seeds",
         *(f"{length:,} steps" for length in lengths)),
        tuple(rows),
    )  # fmt: skip


def _table(part: pd.DataFrame) -> Table:
    """Return the accuracy of every learner at every length."""
    lengths = sorted(part["task_steps"].unique())
    rows = []
    for name in replicates.ordered(part):
        mine = part[part["name"] == name]
        cells = [
            percent(numbers.interval(mine.loc[mine["task_steps"] == length, "taoa"]))
            for length in lengths
        ]
        rows.append((_plain(name), *cells))
    return Table(
        f"{', '.join(_title(part))}: mean online accuracy at each number of steps per task.",
        ("learner", *(f"{int(length):,} steps" for length in lengths)),
        tuple(rows),
    )
