"""Whatever did not finish: seeds that diverged, conditions that failed."""

import pandas as pd

from plasticity.report.comparison.gather import Arm, Comparison
from plasticity.report.parts import Section, Table
from plasticity.tables import read_table

LINES = 3


def section(comparison: Comparison) -> Section | None:
    """Return what did not finish, or nothing where all did."""
    failed = [arm for arm in comparison.arms if arm.status == "failed"]
    lost = pd.concat(
        [_diverged(comparison, arm) for arm in comparison.done] or [pd.DataFrame()],
        ignore_index=True,
    )
    if not failed and lost.empty:
        return None
    tables = []
    if failed:
        rows = tuple(
            (arm.name, str(arm.record["error"]), " | ".join(arm.record.get("log", [])[-LINES:]))
            for arm in failed
        )
        tables.append(Table("Conditions that failed.", ("", "error", "end of the log"), rows))
    if len(lost):
        cells = tuple(tuple(str(cell) for cell in row) for row in lost.to_numpy().tolist())
        tables.append(Table("Seeds that diverged.", ("", "where", "seed", "at step"), cells))
    return Section(
        "failures",
        "What failed",
        "What did not finish?",
        f"{_counted(len(failed), 'condition')} failed and {_counted(len(lost), 'seed')} diverged",
        ("A diverged seed counts as chance in accuracies, and has no other value.",),
        (),
        tuple(tables),
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _diverged(comparison: Comparison, arm: Arm) -> pd.DataFrame:
    """Return the diverged seeds of an arm: columns arm, where, seed, step."""
    parts = []
    for stage, name in (("train", "op"), ("retrain", "variant"), ("continual", "learner")):
        if stage not in comparison.study.stages:
            continue
        rows = read_table(stage, "seeds", arm.folder)
        rows = rows[rows["status"] != "ok"]
        where = rows[name] if name in rows else pd.Series(arm.params.op, index=rows.index)
        parts.append(
            pd.DataFrame(
                {
                    "arm": arm.name,
                    "where": stage + ", " + where.astype(str),
                    "seed": rows["seed"],
                    "step": rows["diverged_step"],
                }
            )
        )
    return pd.concat(parts) if parts else pd.DataFrame()
