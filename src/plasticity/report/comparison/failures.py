"""What went wrong: conditions that failed, and seeds that diverged."""

from contextlib import suppress

import pandas as pd

from plasticity.errors import DataError
from plasticity.report.comparison import pairs, values
from plasticity.report.comparison.gather import Arm, Comparison, Part
from plasticity.report.parts import MISSING, Section, Table

STAGES = ("train", "retrain", "continual")
COUNTED = (
    "Seeds that diverged. In accuracies of trained and retrained networks they count as chance, in "
    "those of streams as wrong in every step from then on; deltas, ratios, errors, and what is "
    "measured of units leave them out."
)
LINES = 5
"""Last lines of a log that are shown."""


def section(comparison: Comparison) -> Section | None:
    """Return what failed and what diverged, or nothing where all went well."""
    failed = [part for part in comparison.parts if part.status == "failed"]
    earlier = [
        (part.name, part.status, error)
        for part in comparison.parts
        for error in part.record.get("earlier_errors", [])
    ]
    broken = [row for arm in comparison.done for row in diverged(arm)]
    if not failed and not earlier and not broken:
        return None
    told = []
    if failed:
        told.append(f"{pairs.counted(len(failed), 'condition')} failed")
    if earlier:
        told.append(f"{len(earlier)} tried again")
    if broken:
        told.append(f"{pairs.counted(len(broken), 'run')} of a seed diverged")
    tables = [_log(part) for part in failed]
    if earlier:
        about = "Attempts that failed and were tried again from the last checkpoint."
        tables.append(Table(about, ("", "is now", "error"), tuple(earlier)))
    if broken:
        tables.append(
            Table(
                COUNTED,
                ("", "what was trained", "seed", "optimizer step"),
                tuple(broken),
            )
        )
    return Section(
        "failures",
        "Failures",
        "What went wrong?",
        "; ".join(told),
        (),
        (),
        tuple(tables),
    )


def _log(part: Part) -> Table:
    """Return the error of a condition over the last lines of its log."""
    lines = [str(line) for line in part.record.get("log", [])][-LINES:]
    return Table(
        f"{part.name} failed: {part.record['error']}. The last lines of its log:",
        ("", "line"),
        tuple((str(place), line) for place, line in enumerate(lines, start=1 - len(lines))),
    )


def seed_tables(arm: Arm) -> list[tuple[str, pd.DataFrame]]:
    """Return stage -> table of seeds of what an arm has.

    A study need not run every stage, and a damaged table is told elsewhere.
    """
    found = []
    for stage in STAGES:
        with suppress(DataError):
            found.append((stage, values.table(stage, "seeds", arm.folders)))
    return found


def diverged(arm: Arm) -> list[tuple[str, str, str, str]]:
    """Return condition, what was trained, seed and step of every run that diverged."""
    rows = []
    for stage, seeds in seed_tables(arm):
        for _, row in seeds[seeds["status"] != "ok"].iterrows():
            named = [str(row[key]) for key in ("variant", "stream", "learner") if key in row]
            step = row["diverged_step"]
            rows.append(
                (
                    arm.name,
                    " ".join([stage, *named]),
                    str(int(row["seed"])),
                    MISSING if pd.isna(step) else f"{int(step):,}",
                )
            )
    return rows
