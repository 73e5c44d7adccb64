"""Run the fault loops, or continue them, and write ``reports/reliability.md``."""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import filelock

from soak import loops, project, real, table
from soak.ledger import Ledger
from soak.loops import Bench, Case, Loop
from soak.sabotage import SABOTAGES
from soak.warm import HERE

ALL: dict[str, Loop] = {
    **loops.LOOPS,
    "T1 dvc": Loop("kill -9 of `dvc repro`", real.dvc_cases, real.run_dvc),
    "memory": Loop("many runs in one process", real.memory_cases, real.run_memory),
}
PRODUCT = "product"
CONTROL_CASES, ENOUGH = 80, 3
"""Cases that a loop has to fail on a sabotaged copy, and failures after which it has."""
SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Prints how far a loop is, now and then."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._started = self._last = time.monotonic()
        self._done = 0

    def tell(self, wrong: int, *, always: bool = False) -> None:
        """Take note of a case, and print a line when it is time."""
        self._done += not always
        now = time.monotonic()
        if always or now - self._last > SECONDS_BETWEEN_LINES:
            self._last = now
            left = (now - self._started) / max(1, self._done) * (self._total - self._done)
            sys.stderr.write(
                f"[soak] {self._title}: {self._done}/{self._total} · {wrong} wrong · "
                f"eta {left / 60:.1f} min\n"
            )


def control_cases(loop: Loop, bench: Bench) -> list[Case]:
    """Return the cases of a loop that are tried on a sabotaged copy, drawn at random."""
    cases = loop.cases(bench)
    return random.Random(loops.SEED).sample(cases, min(CONTROL_CASES, len(cases)))


@dataclass(frozen=True)
class Limits:
    """How much is run."""

    end: float
    """On the monotonic clock, in seconds."""
    every: int
    """Of so many cases one."""


def run_loop(name: str, bench: Bench, ledger: Ledger, source: str, limits: Limits) -> bool:
    """Run the cases of a loop that are not in the ledger; return whether there was time for all."""
    loop, control = ALL[name], source != PRODUCT
    cases = control_cases(loop, bench) if control else loop.cases(bench)[:: limits.every]
    todo = [case for case in cases if not ledger.has(source, case)]
    wrong = sum(bool(r.wrong) for r in ledger.rows if (r.source, r.loop) == (source, name))
    progress = Progress(f"{name} · {source}", len(todo))
    for case in todo:
        if control and wrong >= ENOUGH:
            break
        if time.monotonic() > limits.end:
            return False
        started = time.monotonic()
        verdict = loop.run(bench, case)
        ledger.add(source, case, verdict, time.monotonic() - started)
        if verdict.wrong and not control:
            sys.stderr.write(f"[soak] {name} · {case['name']}: {verdict.wrong}\n")
        wrong += bool(verdict.wrong)
        progress.tell(wrong)
    progress.tell(wrong, always=True)
    return True


def sources(asked: list[str], scratch: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Return what is run: its name, the folder of its code, and its loops."""
    yield PRODUCT, HERE, asked
    for name, sabotage in SABOTAGES.items():
        wanted = [loop for loop in sabotage.caught_by if loop in asked]
        if wanted:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                root = Path(folder).resolve()
                yield name, project.copy_source(root, [sabotage.change]), wanted


def main() -> int:
    """Run what is asked for; return 1 when something is wrong, 75 when time is up."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    option = parser.add_argument
    option("--loop", action="append", choices=ALL, help="this one; repeat it (default: all)")
    option("--budget", type=float, default=60, metavar="MINUTES", help="then stop (default: 60)")
    option("--folder", type=Path, help="of the work and of what was found so far")
    option("--every", type=int, default=1, metavar="N", help="run every N-th case only")
    option("--no-table", action="store_true", help="do not write reports/reliability.md")
    arguments = parser.parse_args()
    scratch = arguments.folder or Path(tempfile.gettempdir()) / "plasticity-soak"
    scratch.mkdir(parents=True, exist_ok=True)
    scratch = scratch.resolve()
    limits = Limits(time.monotonic() + 60 * arguments.budget, arguments.every)
    asked = arguments.loop or list(ALL)
    with ExitStack() as opened:
        opened.enter_context(filelock.FileLock(scratch / "lock", timeout=0))
        ledger = Ledger(scratch / "ledger.jsonl")
        whole = True
        for source, root, wanted in sources(asked, scratch):
            with loops.bench(root, scratch / "bench") as bench:
                for name in wanted:
                    whole &= run_loop(name, bench, ledger, source, limits)
        if not arguments.no_table:
            table.write(ledger)
    if not whole:
        sys.stderr.write("[soak] time is up; the same command continues\n")
        return 75
    return int(any(row.wrong for row in ledger.rows if row.source == PRODUCT))


if __name__ == "__main__":
    sys.exit(main())
