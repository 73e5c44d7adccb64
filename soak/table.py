"""What the loops found, as ``reports/reliability.md``."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from soak.ledger import Ledger, Row
from soak.plan import PLAN
from soak.sabotage import SABOTAGES
from soak.warm import HERE

TABLE = HERE / "reports" / "reliability.md"
MUTANTS = Path(__file__).parent / "mutants.json"
TITLES = {
    "T1": "a stage is killed with kill -9, at a moment or at a call; half of a write, or all that "
    "was not synced, may be lost",
    "T1 dvc": "`dvc repro` is killed with kill -9, alone or with all it started, again and again",
    "T2": "each write, sync, rename and new file of each stage fails with EIO and ENOSPC, once and "
    "for good",
    "T2 report": "the same for each call of the report, with the errors in turns",
    "T4": "one byte of a file is changed",
    "T25": "one to three faults of any kind in a stage of one of four settings",
    "memory": "80 runs in one process, every other one with a fault",
}
SHOWN = 10
"""Failures that are listed for a loop."""


def write(ledger: Ledger, path: Path = TABLE) -> None:
    """Write the table."""
    path.write_text("\n".join(_lines(ledger.rows)) + "\n")


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    product = [row for row in rows if row.source == "product"]
    yield "# What faults do\n"
    yield "Written by `make soak`, which continues where it was stopped. Every loop lets the real"
    yield "stages of a small experiment (digits, scale tiny) go wrong, runs the same command again"
    yield "undisturbed, and compares every byte of every result. Wrong: another byte, half a file"
    yield "under a final name, a traceback, a damaged file that is used, a file left behind.\n"
    yield from _table(
        ("loop", "what happens", "cases", "faults", "what came of it", "wrong"),
        (_loop(name, text, product) for name, text in TITLES.items()),
    )
    yield from _failures(product)
    yield "\n## Does a loop see a fault?\n"
    yield "Each guard is taken out of a copy of the project; the loop must fail there. A loop ends"
    yield "after three failures.\n"
    yield from _table(
        ("what is taken out", "loop", "cases", "wrong", "for example"),
        (_control(name, loop, rows) for name, one in SABOTAGES.items() for loop in one.caught_by),
    )
    yield from _mutants()
    yield "\n## The plan, and the tests\n"
    yield from _table(
        ("", "to be survived", "tests", "beside them"),
        (
            (name, item.what, "<br>".join(f"`{test}`" for test in item.tests) or "-", item.beside)
            for name, item in PLAN.items()
        ),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        cells = [cell.replace("|", r"\|") for cell in row]
        yield f"| {' | '.join(cells)} |"


def _loop(name: str, text: str, product: Sequence[Row]) -> tuple[str, ...]:
    found = [row for row in product if row.loop == name]
    if not found:
        return name, text, "0", "0", "not run", "-"
    outcomes = Counter(row.outcome for row in found if not row.wrong)
    told = "; ".join(
        outcome if name == "memory" else f"{count:,} {outcome}"
        for outcome, count in sorted(outcomes.items(), key=lambda pair: -pair[1])
    )
    faults = sum(row.faults for row in found)
    wrong = sum(bool(row.wrong) for row in found)
    return name, text, f"{len(found):,}", f"{faults:,}", told, f"{wrong:,}"


def _failures(product: Sequence[Row]) -> Iterator[str]:
    for name in TITLES:
        bad = [row for row in product if row.loop == name and row.wrong]
        if bad:
            yield f"\nWrong in {name}:\n"
            yield from (f"- {row.name}: {row.wrong}" for row in bad[:SHOWN])
            if len(bad) > SHOWN:
                yield f"- and {len(bad) - SHOWN} more"


def _control(name: str, loop: str, rows: Sequence[Row]) -> tuple[str, ...]:
    found = [row for row in rows if (row.source, row.loop) == (name, loop)]
    bad = [row for row in found if row.wrong]
    example = (
        f"{bad[0].name}: {bad[0].wrong[:120]}" if bad else "not caught" if found else "not run"
    )
    return name, loop, str(len(found)), str(len(bad)), example


def _mutants(path: Path = MUTANTS) -> Iterator[str]:
    """Return the table of mutants, where they were made."""
    yield "\n## Do the tests see a changed line?\n"
    if not path.exists():
        yield "Not measured."
        return
    kept = json.loads(path.read_text())
    yield kept["how"] + "\n"
    mutants = kept["mutants"]
    modules = sorted({one["module"] for one in mutants})
    counts = Counter((one["module"], one["killed"]) for one in mutants)
    rows = [
        (name, str(counts[name, True] + counts[name, False]), str(counts[name, True]))
        for name in modules
    ]
    total = ("all", str(len(mutants)), str(sum(one["killed"] for one in mutants)))
    yield from _table(("module", "mutants", "killed"), [*rows, total])
    yield "\nSurvivors:\n"
    yield from _table(
        ("where", "was", "became", "looked at"),
        (
            (f"{one['module']}:{one['line']}", f"`{one['was']}`", f"`{one['became']}`", one["note"])
            for one in mutants
            if not one["killed"]
        ),
    )
