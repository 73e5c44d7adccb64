"""The paper's tables beside ours, cell by cell: what was run, and what did not come out."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from plasticity import online, published, stats
from plasticity.claims import MEASURES, Reference
from plasticity.errors import DataError
from plasticity.learners import StreamRun, stream_runs
from plasticity.published import Row
from plasticity.report import theme
from plasticity.report.comparison.gather import Arm, Comparison
from plasticity.report.comparison.values import Values, table
from plasticity.report.parts import MISSING, Section, Table
from plasticity.sections import Params
from plasticity.stats import Interval, by_chance

PAPER = "paper_"
"""How the names of the studies begin that are the paper's tables."""
APART = 2.0
"""Standard errors beyond which a cell of equal size is listed."""
NOT_RUN, NOT_MEASURED = "not run", "not measured"
PLUS_MINUS = "\u00b1"


@dataclass(frozen=True)
class Cell:
    """One published number, and what is there of it."""

    row: Row
    measure: str
    published: Interval | None
    """None where the paper has none."""
    condition: str = ""
    """Which of ours has the row's settings; empty where none has."""
    scale: str = ""
    """Of the condition, and in what it is another setting than the paper's."""
    equal: bool = False
    """Whether it has the published size at scale paper."""
    ours: Interval | None = None
    why: str = NOT_RUN
    """Why there is none of ours."""
    diverged: int = 0

    @property
    def apart(self) -> float | None:
        """Ours less the paper's in standard errors; None where either has no interval."""
        if self.ours is None or self.published is None:
            return None
        return self.ours.errors_from(self.published)


@dataclass(frozen=True)
class _Match:
    """A condition, or one learner in one of its streams, with the settings of a row."""

    arm: Arm
    params: Params
    run: StreamRun | None = None


def section(comparison: Comparison) -> Section | None:
    """Return the published tables that this study has conditions for, or nothing.

    A study whose name begins with ``paper_`` shows whole tables, run or not; another one the data
    sets and streams of which it has results.

    Raises
    ------
    DataError
        When published numbers are missing or damaged.
    """
    shown = cells(comparison)
    if not shown:
        return None
    judged = [cell for cell in shown if cell.equal and cell.apart is not None]
    far = [cell for cell in judged if abs(cell.apart or 0.0) > APART]
    tables = tuple(_table(group) for group in _groups(shown))
    return Section(
        "published",
        "Published",
        "Do the published numbers come out here?",
        _finding(judged, len(far)),
        _text(shown, len(judged)),
        tables=(*([_failures(far)] if far else []), *tables),
    )


def frame(comparison: Comparison) -> pd.DataFrame:
    """Return every cell that is shown, one row each: what ``published.csv`` holds."""
    rows = [
        {
            "table": cell.row.table,
            "group": cell.row.group,
            "row": cell.row.name,
            "measure": cell.measure,
            "published": cell.published and cell.published.mean,
            "published_ci95": cell.published and cell.published.half_width,
            "condition": cell.condition,
            "scale": cell.scale,
            "ours": cell.ours and cell.ours.mean,
            "ours_ci95": cell.ours and cell.ours.half_width,
            "n": cell.ours and cell.ours.n,
            "errors_apart": cell.apart,
            "why_not": "" if cell.ours else cell.why,
        }
        for cell in cells(comparison)
    ]
    return pd.DataFrame(rows).astype({"n": "Int64"}) if rows else pd.DataFrame()


def cells(comparison: Comparison) -> list[Cell]:
    """Return every cell that is shown; a row that several conditions have comes once for each."""
    found = [(row, _matches(comparison, row)) for row in published.read()]
    if comparison.study.name.startswith(PAPER):
        tables = {row.table for row, matches in found if matches} or {row.table for row, _ in found}
        found = [(row, matches) for row, matches in found if row.table in tables]
    else:
        there = {(row.table, row.group) for row, matches in found if any(map(_is_done, matches))}
        found = [(row, matches) for row, matches in found if (row.table, row.group) in there]
    return [
        cell
        for row, matches in found
        for match in (matches or (None,))
        for cell in _row_of(comparison, row, match)
    ]


def _is_done(match: _Match) -> bool:
    return not match.arm.why_not


def _matches(comparison: Comparison, row: Row) -> list[_Match]:
    stages = {*comparison.study.stages}
    if row.stream:
        arms = comparison.arms if "continual" in stages else ()
        return [
            _Match(arm, params, run)
            for arm in arms
            if any(stream.rule == row.stream for stream in arm.params.continual.streams)
            for run, params in published.runs_of(
                row, arm.params, list(stream_runs(arm.params).values())
            )
        ]
    arms = comparison.arms if stages & {"train", "retrain"} else ()
    return [_Match(arm, arm.params) for arm in arms if published.matches(row, arm.params)]


def _row_of(comparison: Comparison, row: Row, match: _Match | None) -> Iterator[Cell]:
    for measure, number in row.cells.items():
        if match is None:
            yield Cell(row, measure, number, scale=row.remark)
            continue
        values = _values(comparison, row, measure, match)
        known = values if isinstance(values, Values) and values.by_seed else None
        same = published.same_size(row, match.params)
        parts = [match.params.scale] if same else [match.params.scale, _unlike(row, match.params)]
        yield Cell(
            row,
            measure,
            number,
            match.arm.name,
            ": ".join(parts),
            same and match.params.scale == "paper",
            stats.t_interval([*known.by_seed.values()]) if known else None,
            NOT_RUN if match.arm.why_not else NOT_MEASURED,
            len(known.diverged) if known else 0,
        )


def _unlike(row: Row, params: Params) -> str:
    """Return in what a condition is another setting than the paper's."""
    return row.remark or ("other size" if params.scale == "paper" else "reduced")


def _values(comparison: Comparison, row: Row, measure: str, match: _Match) -> Values | str:
    name, run = match.arm.name, match.run
    if match.arm.why_not:
        return match.arm.why_not
    if run is None:
        ticket = MEASURES[measure].stage == "retrain"
        if ticket and "masked_fresh" not in match.params.retrain.variants:
            return "its tickets are others"
        return comparison.values(
            Reference(name, measure, ("masked_fresh",) if ticket else ())
        )  # the paper masks and draws anew
    if row.stream != "split_classes":
        where = (run.learner, run.stream_name, str(run.steps))
        return comparison.values(Reference(name, measure, where))
    return _seen(match.arm, run) if measure == "taoa" else "not defined for checkpoints"


def _seen(arm: Arm, run: StreamRun) -> Values | str:
    """Return the mean accuracy on the tasks seen so far, over the ends of tasks (section 4)."""
    try:
        rows, seeds = (table("continual", name, arm.folders) for name in ("matrix", "seeds"))
    except DataError as error:
        return str(error)
    where = {"stream": run.stream_name, "learner": run.learner, "task_steps": run.steps}
    for key, value in where.items():
        rows, seeds = rows[rows[key] == value], seeds[seeds[key] == value]
    found = {}
    for seed, own in rows.groupby("seed"):
        matrix = {
            (int(after), int(task)): float(acc)
            for after, task, acc in zip(own["after"], own["task"], own["acc"], strict=True)
        }
        ends = sorted({after for after, _ in matrix if after})
        found[int(str(seed))] = online.mean([online.average_accuracy(matrix, end) for end in ends])
    diverged = seeds.loc[seeds["status"] != "ok", "seed"].astype(int)
    return Values(found, tuple(seeds["seed"].astype(int)), tuple(diverged))


def _groups(shown: Sequence[Cell]) -> list[list[Cell]]:
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in shown:
        groups.setdefault((cell.row.table, cell.row.group), []).append(cell)
    return list(groups.values())


def _table(group: Sequence[Cell]) -> Table:
    row = group[0].row
    measures = published.MEASURES[row.table]
    lines = [group[at : at + len(measures)] for at in range(0, len(group), len(measures))]
    head = [text for name in measures for text in (f"{_label(row, name)}, paper", "here")]
    title = ", ".join(part for part in (row.table, row.group) if part)
    return Table(
        f"{title[0].upper()}{title[1:]}.",
        ("", "condition", *head),
        tuple(_line(line) for line in lines),
    )


def _label(row: Row, measure: str) -> str:
    if row.stream == "split_classes" and measure == "taoa":
        return "accuracy on seen tasks"
    return MEASURES[measure].label


def _line(line: Sequence[Cell]) -> tuple[str, ...]:
    first = line[0]
    diverged = max(cell.diverged for cell in line)
    here = f"{first.condition} ({first.scale})" if first.condition else first.scale or MISSING
    here += f", {diverged} diverged" if diverged else ""
    pairs = [(_number(cell.published, _decimals(cell)), _ours(cell)) for cell in line]
    return (first.row.name, here, *(text for pair in pairs for text in pair))


def _decimals(cell: Cell) -> int:
    return 1 if cell.row.table == "T14" else 2


def _number(number: Interval | None, decimals: int) -> str:
    if number is None:
        return MISSING
    text = theme.number(number.mean, decimals)
    if number.half_width is None:
        return text
    return f"{text} {PLUS_MINUS} {number.half_width:.{decimals}f}"


def _ours(cell: Cell) -> str:
    if cell.ours is None:
        return cell.why
    far = cell.apart is not None and abs(cell.apart) >= 10
    apart = "" if cell.apart is None else f", {theme.signed(cell.apart, 0 if far else 1)} SE"
    return f"{_number(cell.ours, _decimals(cell))} (n {cell.ours.n}{apart})"


def _failures(far: Sequence[Cell]) -> Table:
    rows = [
        (
            f"{cell.row.table}, {cell.row.group}: {cell.row.name}",
            cell.condition,
            _label(cell.row, cell.measure),
            _number(cell.published, _decimals(cell)),
            _ours(cell),
        )
        for cell in sorted(far, key=lambda cell: -abs(cell.apart or 0.0))
    ]
    return Table(
        "What did not replicate at equal size: more than 2 standard errors apart, the farthest "
        "first.",
        ("", "condition", "measure", "paper", "here"),
        tuple(rows),
    )


def _finding(judged: Sequence[Cell], far: int) -> str:
    if not judged:
        return "Nothing here is of the published size: a difference is no failure to replicate"
    noun = "number" if len(judged) == 1 else "numbers"
    chance = math.fsum(
        by_chance(APART, cell.ours.n, cell.published.n)
        for cell in judged
        if cell.ours is not None and cell.published is not None
    )
    return (
        f"Of {len(judged)} {noun} at equal size, {far} {'is' if far == 1 else 'are'} more than 2 "
        f"standard errors apart; about {chance:.1f} would be by chance alone"
    )


def _text(shown: Iterable[Cell], judged: int) -> tuple[str, ...]:
    tables = {cell.row.table for cell in shown}
    text = [
        f"Mean {PLUS_MINUS} half-width of the 95 % t-interval, ten seeds in the paper; SE: ours "
        "less the paper's, in standard errors of the difference (the seeds are not paired). A "
        "condition stands beside a row when its settings are the row's; where its size is another, "
        "that is said beside its name, and a difference is no failure to replicate."
    ]
    if judged:
        text.append(
            "The differences are not corrected for their number, and those of one condition hang "
            "together."
        )
    notes = {
        "T3": "T3 retrains the structures that streams left; here only those of MNIST are.",
        "T7": "T7 prints 1.96 standard errors; they are widened to t-intervals here.",
        "T14": "T14 is printed to 0.1: a half-width of 0.0 is one below 0.05, and differences to "
        "it are too large in standard errors. The paper says neither its streams' networks nor "
        "when they are edited, nor how long the early part of a task is (here a tenth).",
    }
    return (*text, *(note for table, note in notes.items() if table in tables))
