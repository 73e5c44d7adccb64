"""Outcomes of streams -> the tables and metrics of the continual stage."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from plasticity import files, online
from plasticity.items import Outcome
from plasticity.learner_catalogue import LEARNERS
from plasticity.learners import StreamRun
from plasticity.results import overall_status, status_of
from plasticity.sections import Params
from plasticity.stats import t_interval
from plasticity.tables import Row, write_table

MOST_ROWS = 100
"""Rows of a seed in ``continual/tasks.csv``."""
HEALTH = ("units", "dead", "dormant_025", "effective_rank", "weight_norm")

Window = dict[str, Any]


def _run_of(outcome: Outcome) -> StreamRun:
    assert outcome.item.run is not None
    return outcome.item.run


def _windows(outcome: Outcome, row: int) -> list[Window]:
    """Return the tasks of one replicate; a seed may be there more than once."""
    found: list[Window] = outcome.final.progress["windows"][row :: len(outcome.item.seeds)]
    return found


def _where(outcome: Outcome) -> dict[str, Any]:
    run = _run_of(outcome)
    return {"stream": run.stream_name, "learner": run.learner, "task_steps": run.steps}


def _score(windows: Sequence[Window]) -> float:
    """Return the mean online accuracy of scored tasks, or the loss with its sign turned."""
    scored = [window for window in windows if window["scored"]]
    if all(window["online_acc"] is not None for window in scored):
        return online.mean([window["online_acc"] for window in scored])
    losses = [window["loss"] for window in scored]
    return -online.mean(losses) if all(loss is not None for loss in losses) else -math.inf


def own_text(run: StreamRun) -> str:
    """Return the value of a learner's own parameter as tables write it."""
    if run.own is None:
        return ""
    value = LEARNERS[run.learner].values[run.own]
    assert isinstance(value, dict)
    return " ".join(f"{key}={part}" for key, part in value.items() if key != "rule")


def _tried(run: StreamRun, outcomes: Sequence[Outcome]) -> list[tuple[float, float, StreamRun]]:
    """Return score, rate and run of every configuration of a learner, a mean over its seeds.

    A rate with which a seed diverged has the score of its steps so far: a stopped seed is wrong in
    all that are left.
    """
    found = []
    for outcome in outcomes:
        tried = _run_of(outcome)
        if replace(tried, own=None) != replace(run, own=None):
            continue
        for rate in sorted(set(outcome.item.lrs)):
            rows = [row for row, lr in enumerate(outcome.item.lrs) if lr == rate]
            score = online.mean([_score(_windows(outcome, row)) for row in rows])
            found.append((score, rate, tried))
    return found


def best(run: StreamRun, outcomes: Sequence[Outcome]) -> StreamRun:
    """Return a run with the rate and the value that did best in tuning; ties go to the first."""
    _, rate, tried = max(_tried(run, outcomes), key=lambda found: found[0])
    return replace(tried, lr=rate)


def write(params: Params, outcomes: Sequence[Outcome], tried: Sequence[Outcome]) -> None:
    """Write what the continual stage found."""
    tables: dict[str, list[Row]] = {
        name: [] for name in ("seeds", "tasks", "profiles", "health", "matrix")
    }
    for outcome in outcomes:
        for row, seed in enumerate(outcome.item.seeds):
            tables["seeds"].append(_seed_row(outcome, row, seed))
            tables["tasks"] += _task_rows(outcome, row, seed)
        where = _where(outcome)
        tables["matrix"] += [where | row for row in outcome.final.progress["matrix"]]
        tables["health"] += [
            where
            | {name: row[name] for name in ("seed", "layer", *HEALTH)}
            | {"task": row["event"]}
            for row in outcome.final.progress["health"]
            if row["layer"] != "all"
        ]
    for name in sorted({_run_of(outcome).name for outcome in outcomes}):
        same = [outcome for outcome in outcomes if _run_of(outcome).name == name]
        tables["profiles"] += _profile_rows(same)
    write_table("continual", "tuning", _tuning_rows(outcomes, tried))
    for name, rows in tables.items():
        write_table("continual", name, rows)
    files.write_json(files.metrics_path("continual"), _metrics(params, outcomes, tables["seeds"]))


def _metrics(
    params: Params, outcomes: Sequence[Outcome], seeds: Sequence[Row]
) -> dict[str, dict[str, float | None]]:
    """Return the total average online accuracy of the first learner in the first stream."""
    if not outcomes:
        return {}
    where = _where(outcomes[0])
    first = [row for row in seeds if all(row[key] == value for key, value in where.items())]
    overall_status(params, first, f"continual {_run_of(outcomes[0]).name}")
    whole = [float(row["taoa"]) for row in first if row["status"] == "ok" and row["taoa"]]
    if not whole:
        return {}
    interval = t_interval(whole)
    half = interval.half_width
    return {
        "stream": {
            "taoa": round(interval.mean, 2),
            "taoa_ci": None if half is None else round(half, 2),
        }
    }


def _seed_row(outcome: Outcome, row: int, seed: int) -> Row:
    windows, run = _windows(outcome, row), _run_of(outcome)
    scored = [window for window in windows if window["scored"]]
    accuracies = [window["online_acc"] for window in scored]
    graded = None not in accuracies
    matrix = {
        (found["after"], found["task"]): found["acc"]
        for found in outcome.final.progress["matrix"]
        if found["seed"] == seed
    }
    tasks = run.tasks if matrix else 0
    losses = [window["loss"] for window in windows if window["loss"] is not None]
    return {
        **_where(outcome),
        "seed": seed,
        **status_of(outcome, row),
        "lr": outcome.item.lrs[row],
        "own": own_text(run),
        "tasks": run.tasks,
        "taoa": online.mean(accuracies) if graded else None,
        "early_acc": online.mean([w["early_acc"] for w in scored]) if graded else None,
        "first_task": accuracies[0] if graded else None,
        "last_task": accuracies[-1] if graded else None,
        "slope": online.slope(accuracies) if graded else None,
        "plasticity_loss": online.plasticity_loss(accuracies) if graded else None,
        "steps_50": _mean_steps(scored, 0) if graded else None,
        "steps_90": _mean_steps(scored, 1) if graded else None,
        "loss": online.mean(losses) if len(losses) == len(windows) else None,
        "final_acc": online.average_accuracy(matrix, tasks) if tasks else None,
        "forgetting": online.forgetting(matrix, tasks) if tasks else None,
        "backward_transfer": online.backward_transfer(matrix, tasks) if tasks else None,
        "forward_transfer": online.forward_transfer(matrix, tasks) if tasks else None,
        "units": windows[-1]["units"],
        "flops": windows[-1]["flops"],
    }


def _mean_steps(windows: Sequence[Window], place: int) -> float | None:
    """Return the mean of one of ``parts`` over the tasks in which anything was learned."""
    steps = [window["parts"][place] for window in windows if window["parts"][place] is not None]
    return online.mean(steps) if steps else None


def _groups(count: int, most: int = MOST_ROWS) -> list[range]:
    """Return the tasks of each group of neighbours, at most ``most`` groups."""
    number = min(most, count)
    edges = [math.ceil(group * count / number) for group in range(number + 1)]
    return [range(start, end) for start, end in pairwise(edges)]


def _task_rows(outcome: Outcome, row: int, seed: int) -> list[Row]:
    windows = _windows(outcome, row)
    rows: list[Row] = []
    for group in _groups(len(windows)):
        scored = [windows[task] for task in group if windows[task]["scored"]]
        if not scored:
            continue
        last = windows[group[-1]]
        rows.append(
            {
                **_where(outcome),
                "seed": seed,
                "task": group[-1],
                "tasks": len(scored),
                **{name: last[name] for name in ("step", "units", "alive_units", "flops")},
                **{name: _mean_of(scored, name) for name in ("online_acc", "early_acc", "loss")},
            }
        )
    return rows


def _mean_of(windows: Sequence[Window], name: str) -> float | None:
    values = [window[name] for window in windows]
    return None if None in values else online.mean(values)


def _profile_rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """Return the accuracy within tasks, a mean over the seeds that did not diverge."""
    run = _run_of(outcomes[0])
    rows: list[Row] = []
    windows = _windows(outcomes[0], 0)
    groups = _groups(run.tasks, len(outcomes[0].final.progress["profile"]))
    for place, group in enumerate(groups):
        scored = sum(windows[task]["scored"] for task in group)
        parts = len(outcomes[0].final.progress["profile"][place])
        for part in range(parts):
            values = [
                outcome.final.progress["profile"][place][part][row] / scored
                for outcome in outcomes
                for row in range(len(outcome.item.seeds))
                if scored and status_of(outcome, row)["status"] == "ok"
            ]
            if values and windows[group[-1]]["online_acc"] is not None:
                rows.append(
                    {
                        **_where(outcomes[0]),
                        "task": group[-1],
                        "part": part,
                        "step": math.ceil((part + 1) * run.steps / parts),
                        "acc": round(online.mean(values), 4),
                        "seeds": len(values),
                    }
                )
    return rows


def _tuning_rows(outcomes: Sequence[Outcome], tried: Sequence[Outcome]) -> list[Row]:
    chosen = [_run_of(outcome) for outcome in outcomes]
    rows: list[Row] = []
    for outcome in tried:
        run = _run_of(outcome)
        for row, (seed, rate) in enumerate(zip(outcome.item.seeds, outcome.item.lrs, strict=True)):
            score = _score(_windows(outcome, row))
            rows.append(
                {
                    **_where(outcome),
                    "own": own_text(run),
                    "lr": rate,
                    "seed": seed,
                    "score": score if math.isfinite(score) else None,
                    "chosen": int(replace(run, lr=rate) in chosen),
                }
            )
    return rows
