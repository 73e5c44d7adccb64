"""Streams of tasks: who goes on learning, how fast within a task, and what becomes of the units."""

import altair as alt
import pandas as pd

from plasticity.catalogue import STREAMS
from plasticity.learner_catalogue import LEARNERS
from plasticity.report import charts, findings, lines, numbers, parts, theme
from plasticity.report.charts import Figure
from plasticity.report.findings import Summary
from plasticity.report.inputs import Results
from plasticity.report.numbers import verdict
from plasticity.report.parts import Section, Table

QUESTION = "What if the task keeps changing?"


def section(results: Results, summary: Summary) -> Section:
    """Return what happened in the streams, or why there is nothing to show."""
    if numbers.finished(results.streams).empty:
        reason = (
            "No stream was run: continual.streams is empty."
            if results.streams.empty
            else "Every seed of every stream diverged, so there is nothing to show."
        )
        return Section("streams", "Continual streams", QUESTION, reason)
    rows = numbers.finished(results.streams)
    figures = [trajectories(results, summary)]
    if len(results.stream_health):
        figures.append(plasticity(results, summary))
    if len(results.profiles):
        figures.append(within_tasks(results, summary))
    if rows["task_steps"].nunique() > 1:
        figures.append(integration(rows, summary))
    return Section(
        "streams",
        "Continual streams",
        QUESTION,
        findings.streams(_first(rows)),
        (
            "Unless a learner's name says so, no task boundary is told to the network, and "
            "structure changes on a clock of its own.",
        ),
        tuple(figures),
        tuple(_tables(results)),
    )


def label(learner: str, summary: Summary) -> str:
    """Return a learner as readers know it."""
    return lines.look(learner, summary.op).label


def title_of(stream: str) -> str:
    """Return a stream's name in words."""
    return stream.replace("_", " ").replace("-", ", ")


def _first(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each stream's first learner, at its first number of steps per task."""
    order = list(LEARNERS)
    kept = []
    for _, part in rows.groupby("stream", sort=True):
        first = min(part["learner"], key=order.index)
        steps = int(part["task_steps"].min())
        kept.append(part[(part["learner"] == first) & (part["task_steps"] == steps)])
    result: pd.DataFrame = pd.concat(kept)
    return result


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Return at most ``MOST_LINES`` learners of a frame, at the first number of steps per task."""
    order = [name for name in LEARNERS if name in set(frame["learner"])][: lines.MOST_LINES]
    first = frame.groupby("stream")["task_steps"].transform("min")
    shown: pd.DataFrame = frame[frame["learner"].isin(order) & (frame["task_steps"] == first)]
    return shown


def _whole(frame: pd.DataFrame, streams: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of replicates that did not diverge."""
    keys = ["stream", "learner", "task_steps", "seed"]
    whole: pd.DataFrame = frame.merge(numbers.finished(streams)[keys], on=keys)
    return whole


def _measure(rows: pd.DataFrame) -> tuple[str, str]:
    """Return what a stream is measured by: its online accuracy, or its loss."""
    if rows["online_acc"].notna().any():
        return "online_acc", "online accuracy (%)"
    return "loss", "squared error"


def _looks(frame: pd.DataFrame, summary: Summary) -> lines.Looks:
    return {name: lines.look(name, summary.op) for name in dict.fromkeys(frame["learner"])}


def trajectories(results: Results, summary: Summary) -> Figure:
    """Return online accuracy by task over alive units, a panel for each stream."""
    rows = _shown(_whole(results.tasks, results.streams))
    tables, panels = [], []
    for name, part in rows.groupby("stream", sort=True):
        kept = numbers.thinned(part["task"].tolist())
        part = part[part["task"].isin(kept)].assign(task=lambda frame: frame["task"] + 1)
        value, title = _measure(part)
        mean = numbers.over_seeds(part, ["learner", "task"], value)
        alive = numbers.over_seeds(part, ["learner", "task"], "alive_units")
        tables.append(mean.assign(stream=name, alive=alive["mean"]))
        looks, last = _looks(mean, summary), int(max(kept)) + 1
        x = lines.task_axis(last, looks, lines.PANEL, None)
        upper = lines.panel(mean, x, title, looks, 220).properties(
            width=lines.PANEL, height=220, title=title_of(str(name))
        )
        color, dash = lines.scales(mean, looks)
        lower = (
            alt.Chart(charts.data(alive))
            .mark_line(interpolate="step-before", strokeWidth=1.6)
            .encode(
                x=lines.task_axis(last, looks, lines.PANEL),
                y=alt.Y(
                    "mean:Q",
                    title="alive units",
                    scale=alt.Scale(zero=True),
                    axis=alt.Axis(tickCount=2),
                ),
                color=color,
                strokeDash=dash,
                tooltip=["learner:N", "task:Q", alt.Tooltip("mean:Q", format=".1f")],
            )
            .properties(width=lines.PANEL, height=44)
        )
        panels.append(alt.vconcat(upper, lower, spacing=26).resolve_scale(x="shared"))
    table = pd.concat(tables, ignore_index=True)
    hidden = results.streams["learner"].nunique() - rows["learner"].nunique()
    more = f" {hidden} more learners are in the table." if hidden else ""
    return Figure(
        "streams",
        findings.streams(_first(numbers.finished(results.streams))),
        "Online accuracy (%): each batch before it is learned from, mean over a task; the axes "
        "do not start at zero and differ between streams",
        f"Bold is the mean over seeds. {charts.band_text(table)}; {lines.n(table)}.{more}",
        "continual/tasks.csv",
        table[["stream", "learner", "task", "mean", "low", "high", "n", "alive"]],
        charts.spec(alt.concat(*panels, columns=2, spacing=56), "Online accuracy by task"),
    )


def plasticity(results: Results, summary: Summary) -> Figure:
    """Return dormant units, effective rank and weight norm by task, means over layers."""
    rows = _shown(_whole(results.stream_health, results.streams))
    looks = _looks(rows, summary)
    tables, charted = [], []
    for name, part in rows.groupby("stream", sort=True):
        found, chart = lines.health(part, looks, [title_of(str(name))])
        tables.append(found.assign(stream=name))
        charted.append(chart)
    table = pd.concat(tables, ignore_index=True)
    return Figure(
        "streams_health",
        "What the units do as tasks go by",
        "At the ends of tasks, on images of the task: dormant is a mean activation of at most "
        "0.025 of the layer's; means over layers",
        f"{charts.band_text(table)}; {lines.n(table)}. The axes do not start at zero.",
        "continual/health.csv",
        table[["stream", "learner", "measure", "task", "mean", "low", "high", "n"]],
        charts.spec(alt.vconcat(*charted, spacing=30), "Dormancy, rank and norm by task"),
    )


def within_tasks(results: Results, summary: Summary) -> Figure:
    """Return accuracy by task and step within the task, the first learner of each stream."""
    first = _first(numbers.finished(results.streams))
    pairs = first[["stream", "learner", "task_steps"]].drop_duplicates()
    rows = results.profiles.merge(pairs, on=["stream", "learner", "task_steps"])
    rows = rows.assign(task=rows["task"] + 1)
    panels = []
    for name, part in rows.groupby("stream", sort=True):
        learner = label(str(part["learner"].iloc[0]), summary)
        panels.append(
            alt.Chart(charts.data(part[["task", "step", "acc", "seeds"]]))
            .mark_rect()
            .encode(
                x=alt.X("step:O", title="step of the task", axis=_few(part["step"])),
                y=alt.Y("task:O", title="task", axis=_few(part["task"])),
                color=alt.Color(
                    "acc:Q",
                    scale=alt.Scale(scheme="viridis"),
                    legend=alt.Legend(title="%", gradientLength=120),
                ),
                tooltip=["task:Q", "step:Q", alt.Tooltip("acc:Q", format=".1f"), "seeds:Q"],
            )
            .properties(width=300, height=200, title=f"{title_of(str(name))}, {learner}")
        )
    chart = alt.concat(*panels, columns=2, spacing=40).resolve_scale(color="independent")
    return Figure(
        "streams_within",
        "How fast each task is learned",
        "Online accuracy (%) by task and by step within the task",
        "One row is a task, or a group of neighbouring tasks; brighter to the left is faster. "
        f"Means over seeds that finished; {lines.n(rows.rename(columns={'seeds': 'n'}))}.",
        "continual/profiles.csv",
        rows[["stream", "learner", "task", "step", "acc", "seeds"]],
        charts.spec(chart, "Online accuracy within tasks"),
    )


def _few(values: pd.Series) -> alt.Axis:
    """Return an axis of places with at most five labels, the last one among them."""
    places = sorted(set(values.astype(int).tolist()))
    kept = numbers.thinned(places, 5)
    return alt.Axis(values=[int(place) for place in kept], labelAngle=0, ticks=False)


def integration(rows: pd.DataFrame, summary: Summary) -> Figure:
    """Return online accuracy by steps per task, at equal updates in all."""
    order = [name for name in LEARNERS if name in set(rows["learner"])]
    tables, panels = [], []
    for name, part in rows.groupby("stream", sort=True):
        value = "taoa" if part["taoa"].notna().any() else "loss"
        mean = numbers.over_seeds(
            part[part["learner"].isin(order[: lines.MOST_LINES])], ["learner", "task_steps"], value
        )
        tables.append(mean.assign(stream=name))
        title = "mean online accuracy (%)" if value == "taoa" else "squared error"
        panels.append(
            lines.by_length(mean, title, _looks(mean, summary), 260).properties(
                width=lines.PANEL, height=260, title=title_of(str(name))
            )
        )
    table = pd.concat(tables, ignore_index=True)
    return Figure(
        "streams_integration",
        crossovers(rows, summary),
        "Mean online accuracy (%) by the steps of a task, at the same number of updates in all",
        f"{charts.band_text(table)}; {lines.n(table)}. Tasks of more steps are fewer tasks.",
        "continual/seeds.csv",
        table[["stream", "learner", "task_steps", "mean", "low", "high", "n"]],
        charts.spec(alt.concat(*panels, columns=2, spacing=56), "Accuracy by steps per task"),
    )


def crossovers(rows: pd.DataFrame, summary: Summary) -> str:
    """Return at which steps per task the first learner is clearly ahead of each other one."""
    order = [name for name in LEARNERS if name in set(rows["learner"])]
    texts = [
        f"{title_of(str(name))}: {_crossed(part, order, summary)}"
        for name, part in rows.groupby("stream", sort=True)
        if part["taoa"].notna().any()
    ]
    whole = ". ".join(text[:1].upper() + text[1:] for text in texts)
    return whole or "Error by steps per task"


def _crossed(rows: pd.DataFrame, order: list[str], summary: Summary) -> str:
    found: dict[str, list[str]] = {}
    for other in order[1:]:
        sides: dict[str, list[str]] = {"above": [], "below": []}
        for steps, part in rows.groupby("task_steps", sort=True):
            _, change = numbers.paired(
                part[part["learner"] == order[0]], part[part["learner"] == other], "taoa"
            )
            side = verdict(change)
            if side in sides:
                sides[side].append(f"{int(str(steps)):,}")
        found.setdefault(_side(sides), []).append(label(other, summary))
    texts = [text.format(others=theme.listed(names)) for text, names in found.items()]
    return f"{label(order[0], summary)} {'; it '.join(texts)}"


def _side(sides: dict[str, list[str]]) -> str:
    words = [
        f"is {word} {{others}} at {theme.listed(sides[side])} steps per task"
        for side, word in (("above", "ahead of"), ("below", "behind"))
        if sides[side]
    ]
    return " and ".join(words) or "is not clearly different from {others} at any length"


def _tables(results: Results) -> list[Table]:
    """Return the measures of every learner, stream by stream."""
    return [
        _table(str(stream), int(str(steps)), part)
        for (stream, steps), part in results.streams.groupby(["stream", "task_steps"], sort=True)
    ]


COLUMNS = {
    "taoa": ("mean", parts.percent),
    "early_acc": ("early", parts.percent),
    "first_task": ("first task", parts.percent),
    "last_task": ("last task", parts.percent),
    "plasticity_loss": ("first less last", parts.points),
    "steps_90": ("steps to 0.9", parts.plain),
    "loss": ("loss", parts.plain),
    "final_acc": ("all classes at the end", parts.percent),
    "forgetting": ("forgetting", parts.points),
    "backward_transfer": ("backward transfer", parts.points),
    "forward_transfer": ("forward transfer", parts.points),
}
"""Columns of the table; those without any value are left out."""


def _table(stream: str, steps: int, rows: pd.DataFrame) -> Table:
    shown = [column for column in COLUMNS if rows[column].notna().any()]
    order = [name for name in LEARNERS if name in set(rows["learner"])]
    lines = []
    for learner in order:
        part = rows[rows["learner"] == learner]
        done = numbers.finished(part)
        cells = [COLUMNS[column][1](numbers.interval(done[column])) for column in shown]
        rate = f"{float(part['lr'].iloc[0]):g}"
        chosen = part["own"].dropna()
        own = f", {chosen.iloc[0]}" if len(chosen) else ""
        name = f"{learner.replace('_', ' ')}: {LEARNERS[learner].label}{own}"
        lines.append((name, rate, *cells, f"{len(done)} of {len(part)}"))
    base = STREAMS[stream.partition("-")[0]].label
    return Table(
        f"{title_of(stream)} ({base}), {steps:,} steps per task. Accuracies are online ones, each "
        "batch before it is learned from; early is the first tenth of each task, first "
        "less last the first 5 % of the tasks less the last: loss of plasticity, where the number "
        "of units stays. [95 % t-interval]",
        ("learner", "rate", *(COLUMNS[column][0] for column in shown), "seeds finished"),
        tuple(lines),
    )
