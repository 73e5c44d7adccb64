"""Kills -9 in the first ten seconds of stages, DVC and studies: who is left, what a rerun gives.

As a script it works in a copy of the project that it makes, resumes where it was itself stopped,
and prints a table: ``PYTHONPATH=src python tests/kills.py FOLDER --kills 40``.
"""

import argparse
import csv
import itertools
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import commands

ROOT = Path(__file__).resolve().parents[1]
MARK = "PLASTICITY_KILLS"
"""In the environment of a run, so that all that it started can be found."""
SECONDS_LEFT = 5.0
FIRST_SECONDS = 10.0
SUBJECTS = {
    "train": ("-m", "stages.train"),
    "continual": ("-m", "stages.continual"),
    "dvc": ("-m", "dvc", "repro", "--force", "--single-item", "train"),
    "study": ("-m", "stages.study", "studies/kills.yaml", "--jobs", "2", "--retries", "0"),
}
VICTIMS = {
    "train": ("parent", "worker", "group"),
    "continual": ("parent", "worker", "group"),
    "dvc": ("parent", "worker", "group"),
    "study": ("parent", "worker", "dvc", "group"),
}
RESULTS = {
    "train": ("reports/train", "data/trained"),
    "continual": ("reports/continual",),
    "dvc": ("reports/train", "data/trained"),
    "study": ("reports/studies",),
}
DIFFERING = {"timing.json", "progress.jsonl", "condition.json", "failed.json"}
STUDY = """
title: Kills
settings: {scale: tiny, train.seeds: 6, train.workers: 2, train.epochs: 60}
conditions:
  grow: {op: grow}
  prune: {op: prune}
stages: [train]
"""


@dataclass(frozen=True)
class Found:
    """A process of a run."""

    pid: int
    parent: int
    command: str

    @property
    def kind(self) -> str:
        """Return what it is for."""
        if "resource_tracker" in self.command:
            return "tracker"
        if "--multiprocessing-fork" in self.command or "popen_loky_posix" in self.command:
            return "worker"
        return "dvc" if "dvc" in self.command.split("stages.")[0] else "other"


def start(folder: Path, arguments: tuple[str, ...], mark: str) -> Popen[str]:
    """Start a command of Python as a user would, in a group of its own."""
    with (folder / "kills.log").open("a") as log:
        return commands.start(folder, *arguments, group=True, log=log, **{MARK: mark})


def processes(mark: str) -> list[Found]:
    """Return the processes of a run that are not dead."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() not in (place / "environ").read_bytes().split(b"\0"):
                continue
            state, parent = (place / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if state != "Z":
            found.append(Found(int(place.name), int(parent), command))
    return found


def below(pid: int, found: list[Found]) -> set[int]:
    """Return a process and all that it started."""
    tree = {pid}
    while more := {one.pid for one in found if one.parent in tree} - tree:
        tree |= more
    return tree


def left_after(seconds: float, mark: str, of: Callable[[Found], bool]) -> tuple[list[Found], float]:
    """Return who is still there after so many seconds, and when nobody was."""
    started = time.monotonic()
    while left := [one for one in processes(mark) if of(one)]:
        if time.monotonic() - started > seconds:
            break
        time.sleep(0.05)
    return left, time.monotonic() - started


def kill(top: Popen[str], victim: str, mark: str) -> tuple[set[int], bool] | None:
    """Kill who is meant as soon as it is there; return whom that concerns, or None: all is done."""
    if victim == "group":
        os.killpg(top.pid, signal.SIGKILL)
        return set(), True
    while top.poll() is None:
        found = processes(mark)
        wanted = [one.pid for one in found if one.kind == victim]
        if victim == "parent" or wanted:
            pid = top.pid if victim == "parent" else random.choice(wanted)
            os.kill(pid, signal.SIGKILL)
            return below(pid, found), pid == top.pid
        time.sleep(0.02)
    return None


def orphans(
    top: Popen[str], victim: str, mark: str, patience: float = 600.0
) -> tuple[list[Found], float] | None:
    """Kill -9 one process; return those that were left behind, and after how long none was.

    None is returned where all had ended before.
    """
    if (concerned := kill(top, victim, mark)) is None:
        return None
    tree, everybody = concerned
    left, seconds = left_after(SECONDS_LEFT, mark, lambda one: everybody or one.pid in tree)
    if not left and not everybody:
        top.wait(patience)
        left, _ = left_after(SECONDS_LEFT, mark, lambda _: True)
    for one in left:
        os.kill(one.pid, signal.SIGKILL)
    top.wait(patience)
    return left, seconds


def results(folder: Path, subject: str) -> dict[str, bytes]:
    """Return the bytes of all that a run leaves but what differs by nature."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for place in RESULTS[subject]
        for path in sorted((folder / place).rglob("*"))
        if path.is_file() and path.name not in DIFFERING
    }


def clear(folder: Path) -> None:
    """Remove what runs left, and what DVC would take in their place."""
    for name in (".checkpoints", ".dvc/cache/runs", ".dvc/tmp/studies"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for place in {place for places in RESULTS.values() for place in places}:
        shutil.rmtree(folder / place, ignore_errors=True)


def make(folder: Path) -> None:
    """Make a committed copy of the project at the tiny scale, and prepare its data."""
    for name in ("src", "stages"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("dvc.yaml", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    text = (ROOT / "params.yaml").read_text()
    for old, new in (
        ("\nscale: quick", "\nscale: tiny"),
        ("  workers: all ", "  workers: 2 "),
        ("  seeds:\n  epochs:\n  batch:", "  seeds: 6\n  epochs: 60\n  batch:"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "params.yaml").write_text(text)
    (folder / "studies").mkdir()
    (folder / "studies/kills.yaml").write_text(STUDY)
    commands.commit(folder)
    assert start(folder, ("-m", "dvc", "repro", "prepare"), "make").wait(600) == 0


def trial(folder: Path, subject: str, victim: str, moment: float) -> dict[str, object] | None:
    """Kill one run and run it again; return a row of the table, or None: it was over before."""
    clear(folder)
    mark = f"{folder.name}-{time.time_ns()}"
    started = time.monotonic()
    top = start(folder, SUBJECTS[subject], mark)
    while time.monotonic() - started < moment:
        if top.poll() is not None:
            return None
        time.sleep(0.01)
    if (found := orphans(top, victim, mark)) is None:
        return None
    left, seconds = found
    again = start(folder, SUBJECTS[subject], f"{mark}-again").wait(900)
    return {
        "subject": subject,
        "victim": victim,
        "at": round(moment, 2),
        "left": len(left),
        "gone_after": round(seconds, 2),
        "rerun": again,
        "seconds": round(time.monotonic() - started),
    }


def main() -> None:
    """Kill as often as asked; end with 1 where something was left or differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the copy; made where it is missing")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        make(folder)
        (folder / "made").touch()
    table = folder / "kills.csv"
    rows = list(csv.DictReader(table.open())) if table.exists() else []
    pairs = itertools.cycle((one, victim) for one in SUBJECTS for victim in VICTIMS[one])
    expected: dict[str, dict[str, bytes]] = {}
    for number, (subject, victim) in enumerate(itertools.islice(pairs, asked.kills)):
        draw = random.Random(f"{asked.seed} {number}")
        moment = draw.uniform(0, FIRST_SECONDS)
        if number < len(rows):
            continue
        if subject not in expected:
            clear(folder)
            assert start(folder, SUBJECTS[subject], "whole").wait(900) == 0, subject
            expected[subject] = results(folder, subject)
            assert expected[subject], subject
        while (row := trial(folder, subject, victim, moment)) is None:
            moment *= 0.7  # it was over by then
        row["same"] = results(folder, subject) == expected[subject]
        rows.append({key: str(value) for key, value in row.items()})
        sys.stdout.write(f"{number} {row}\n")
        sys.stdout.flush()
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    good = [row for row in rows if (row["left"], row["rerun"], row["same"]) == ("0", "0", "True")]
    told = f"{len(good)} of {len(rows)} kills: nobody left after {SECONDS_LEFT:g} s, same bytes"
    sys.stdout.write(f"{told}\n")
    sys.exit(len(good) < len(rows))


if __name__ == "__main__":
    main()
