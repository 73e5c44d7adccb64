"""Who goes on learning: every learner of every arm, stream by stream."""

from collections.abc import Collection, Sequence

import pandas as pd

from plasticity.catalogue import STREAMS
from plasticity.report import charts, lines, numbers, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import marks, replicates
from plasticity.report.comparison.gather import Comparison
from plasticity.report.comparison.replicates import PLACE
from plasticity.report.parts import Section, Table
from plasticity.report.streams import COLUMNS, title_of

GRADED = ("taoa", "first_task", "last_task", "plasticity_loss", "early_acc")
SPLIT = ("final_acc", "forgetting")
"""Columns of class-incremental streams alone."""
MOST_PANELS = 6
POINTS = 100
"""Tasks, or groups of them, along a line."""


def section(comparison: Comparison) -> Section | None:
    """Return how every learner did in every stream, or nothing where no stream was run."""
    seeds = replicates.read(comparison)
    if replicates.counted(seeds).empty:
        return None
    places = _drawn(seeds)
    left = f"{replicates.diverged_text(seeds)}{_left_out(seeds, places)}"
    figures = [_accuracy(comparison, seeds, places, left)]
    if (found := _health(comparison, places)) is not None:
        figures.append(found)
    return Section(
        "learning",
        "Streams of tasks",
        "Who goes on learning when the tasks change?",
        "",
        (
            "Learners side by side have met the same tasks with the same images for as many "
            "updates. Where several arms have the same learner, its name says the arm.",
        ),
        tuple(figures),
        tuple(_table(part) for part in _panels(seeds)),
    )


def _panels(seeds: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the replicates of each stream at each length."""
    return [part for _, part in seeds.groupby([*PLACE, "task_steps"], sort=True)]


def _drawn(seeds: pd.DataFrame) -> list[pd.DataFrame]:
    """Return what is drawn: of each stream the shortest length, and not more than a page holds."""
    kept = []
    for part in _shortest(seeds)[:MOST_PANELS]:
        names = replicates.ordered(part)[: lines.MOST_LINES]
        kept.append(part[part["name"].isin(names)])
    return kept


def _shortest(seeds: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the replicates of each stream at its shortest length."""
    done = replicates.counted(seeds)
    shortest = done.groupby(PLACE)["task_steps"].transform("min")
    return _panels(done[done["task_steps"] == shortest])


def changing(comparison: Comparison, seeds: pd.DataFrame) -> set[str]:
    """Return the names of learners whose number of units changes in a stream."""
    found = set()
    for part in (whole for panel in _shortest(seeds) if len(whole := numbers.finished(panel))):
        rows = replicates.table(comparison, "health", part)
        if len(rows):
            units = rows.groupby(["name", "task"])["units"].mean().groupby("name")
            found |= {str(name) for name, count in units.nunique().items() if count > 1}
    return found


def _left_out(seeds: pd.DataFrame, places: Sequence[pd.DataFrame]) -> str:
    """Return what of the replicates is not drawn, as a sentence, or nothing."""
    panels = len(_panels(replicates.counted(seeds))) - len(places)
    learners = max(
        seeds.merge(part[[*PLACE, "task_steps"]].drop_duplicates())["name"].nunique()
        - part["name"].nunique()
        for part in places
    )
    texts = [
        *([f"{panels} more streams or lengths"] if panels else []),
        *([f"up to {learners} learners of a panel"] if learners else []),
    ]
    return f" In the tables alone: {theme.listed(texts)}." if texts else ""


def _title(part: pd.DataFrame) -> list[str]:
    """Return the lines above a panel: the stream, its length, its images."""
    stream, images = replicates.heading(part.iloc[0])
    return [stream, _length(part), *([images] if images else [])]


def _length(part: pd.DataFrame) -> str:
    one = part.iloc[0]
    return f"{int(one['tasks']):,} tasks of {int(one['task_steps']):,} steps"


def _accuracy(
    comparison: Comparison, seeds: pd.DataFrame, places: Sequence[pd.DataFrame], left: str
) -> Figure:
    """Return online accuracy by task, a panel for each stream."""
    tables, panels = [], []
    width = lines.PANEL if len(places) > 1 else 2 * lines.PANEL
    for part in places:
        rows = _named(replicates.table(comparison, "tasks", part))
        kept = numbers.thinned(rows["task"].tolist(), POINTS)
        graded = part["taoa"].notna().any()
        value, title = (
            ("online_acc", "online accuracy (%)") if graded else ("loss", "squared error")
        )
        mean = numbers.over_seeds(rows[rows["task"].isin(kept)], ["learner", "task"], value)
        looks = replicates.looks(part)
        x = lines.task_axis(int(max(kept)), looks, width)
        panels.append(
            lines.panel(mean, x, title, looks, 240).properties(
                width=width, height=240, title=_title(part)
            )
        )
        tables.append(_placed(mean, part))
    table = pd.concat(tables, ignore_index=True)
    return Figure(
        "stream_accuracy",
        finding(_shortest(seeds), changing(comparison, seeds)),
        "Online accuracy (%): each batch before it is learned from, mean over a task; of a "
        "regression the squared error. The axes do not start at zero and differ between streams",
        f"Lines are means over seeds. {charts.band_text(table)}; {lines.n(table)}. Of many tasks "
        f"each point is the mean of neighbouring ones. {marks.UNCORRECTED}.{left}",
        "continual/tasks.csv",
        table,
        charts.spec(lines.beside(panels, 2, 56), "Online accuracy by task"),
    )


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows whose learner is the name that readers see, tasks counted from 1."""
    return rows.assign(learner=rows["name"], task=rows["task"] + 1)


def _placed(table: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    return replicates.placed(table.assign(task_steps=part["task_steps"].iloc[0]), part)


def finding(places: Sequence[pd.DataFrame], resized: Collection[str] = ()) -> str:
    """Return who by its interval learns the last tasks of a stream less well than the first.

    Parameters
    ----------
    places
        The replicates of each stream.
    resized
        Learners whose number of units changes: that alone can make the last tasks harder.
    """
    graded = [part for part in places if part["plasticity_loss"].notna().any()]
    if not graded:
        return "Squared error by task"
    streams = [str(part["stream"].iloc[0]) for part in graded]
    texts, others, none = [], [], 0
    for stream, part in zip(streams, graded, strict=True):
        length = f" ({_length(part)})" if streams.count(stream) > 1 else ""
        same = part[~part["name"].isin(resized)]
        if fading := _fading(same):
            texts.append(f"by {fading} in {title_of(stream)}{length}")
        elif len(same):
            none += 1
        if fading := _fading(part[part["name"].isin(resized)]):
            others.append(f"{fading} in {title_of(stream)}{length}")
    kind = "learner of constant size" if others else "learner"
    told = f"No {kind} loses plasticity by its 95 % interval"
    if texts:
        rest = f"; by none in {none} more" if none else ""
        told = f"By its 95 % interval plasticity is lost {'; '.join(texts)}{rest}"
    if others:
        told += f". Less accurate at the end, with another number of units: {'; '.join(others)}"
    return told


def _fading(part: pd.DataFrame) -> str:
    """Return who loses plasticity by the interval of the loss, or nothing."""
    losses = {
        name: part.loc[part["name"] == name, "plasticity_loss"].astype(float)
        for name in replicates.ordered(part)
    }
    fading = [
        name.replace("_", " ")
        for name, loss in losses.items()
        if numbers.verdict(numbers.interval(loss)) == "above"
    ]
    return f"all {len(losses)}" if len(fading) == len(losses) > 1 else theme.listed(fading)


def _health(comparison: Comparison, places: Sequence[pd.DataFrame]) -> Figure | None:
    """Return dormant units, effective rank and weight norm by task."""
    tables, charted = [], []
    for part in (whole for place in places if len(whole := numbers.finished(place))):
        rows = replicates.table(comparison, "health", part)
        if len(rows):
            rows = rows.assign(learner=rows["name"])
            found, chart = lines.health(rows, replicates.looks(part), _title(part)[:2])
            tables.append(_placed(found, part))
            charted.append(chart)
    if not tables:
        return None
    table = pd.concat(tables, ignore_index=True)
    return Figure(
        "stream_health",
        "What the units do as tasks go by",
        "At the ends of tasks, on images of the task: dormant is a mean activation of at most "
        "0.025 of the layer's; means over layers",
        f"{charts.band_text(table)}; {lines.n(table)}. The axes do not start at zero."
        f"{_without_diverged(places)}",
        "continual/health.csv",
        table,
        charts.spec(lines.beside(charted, 1, 30), "Dormancy, rank and norm by task"),
    )


def _without_diverged(places: Sequence[pd.DataFrame]) -> str:
    lost = any((part["status"] != "ok").any() for part in places)
    return " Seeds that diverged are left out." if lost else ""


def _table(part: pd.DataFrame) -> Table:
    """Return the measures of every learner in one stream at one length."""
    graded = part["taoa"].notna().any()
    columns = (*GRADED, *SPLIT) if graded else ("loss",)
    shown = [column for column in columns if part[column].notna().any()]
    rows = []
    for name in replicates.ordered(part):
        mine = part[part["name"] == name]
        done, known = numbers.finished(mine), replicates.counted(mine)
        cells = [
            COLUMNS[column][1](
                numbers.interval((known if column in GRADED else done)[column].astype(float))
            )
            for column in shown
        ]
        rows.append((name.replace("_", " "), *cells, f"{len(done)} of {len(mine)}"))
    stream, *length = _title(part)
    base = STREAMS[str(part["stream"].iloc[0]).partition("-")[0]].label
    explained = (
        "Mean is the total average online accuracy, early its first tenth of each task, first "
        "less last that of the first 5 % of the tasks less the last: loss of plasticity, where the "
        "number of units stays."
        if graded
        else "Loss is the mean squared error over the stream."
    )
    return Table(
        f"{stream} ({base}), {', '.join(length)}. {explained}{_counted_text(part, shown)} "
        "[95 % t-interval over seeds]",
        ("learner", *(COLUMNS[column][0] for column in shown), "seeds finished"),
        tuple(rows),
    )


def _counted_text(part: pd.DataFrame, shown: Sequence[str]) -> str:
    """Return what the diverged seeds of a table count as; its columns after the end have none."""
    text = replicates.diverged_text(part)
    names = [COLUMNS[column][0] for column in shown if column in SPLIT]
    return f"{text} {theme.listed(names)} leave them out." if text and names else text
