"""Killed at any moment, the same command continues and ends with the same bytes."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import kills
import pytest
from commands import start

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the project whose train stage computes for a few seconds."""
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "params.yaml").read_text()
    for old, new in (
        ("\nscale: quick", "\nscale: tiny"),
        ("  workers: all ", "  workers: 1 "),
        ("  epochs:\n  batch:", "  epochs: 400\n  batch:"),
        ("  seeds:\n  epochs: 400", "  seeds: 6\n  epochs: 400"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (tmp_path / "params.yaml").write_text(text)
    stage(tmp_path, "prepare").communicate()
    return tmp_path


def stage(project: Path, name: str, mark: str = "") -> Popen[str]:
    given = {"PLASTICITY_STATE": str(project / "state"), kills.MARK: mark}
    return start(project, "-m", f"stages.{name}", group=True, **given)


def on_workers(project: Path, workers: int) -> None:
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("  workers: 1 ", f"  workers: {workers} "))


def finished(process: Popen[str]) -> int:
    process.communicate()
    return process.returncode


def results(project: Path) -> dict[str, bytes]:
    """Return the bytes of every table, metric and state; timing and progress differ by nature."""
    return {
        str(path.relative_to(project)): path.read_bytes()
        for folder in ("reports/train", "data/trained")
        for path in sorted((project / folder).rglob("*"))
        if path.name not in {"timing.json", "progress.jsonl"}
    }


def clear(project: Path) -> None:
    for folder in ("reports/train", "data/trained", "state"):
        shutil.rmtree(project / folder, ignore_errors=True)


@pytest.mark.slow
def test_after_four_kills_9_nobody_is_left_and_a_rerun_gives_the_same_bytes(project: Path) -> None:
    """While workers import, and later; ``kills.py`` does forty, of DVC and studies too."""
    on_workers(project, 2)
    assert finished(stage(project, "train")) == 0
    expected = results(project)
    assert len(expected) == 16
    clear(project)
    for number, (victim, early) in enumerate(
        [("parent", True), ("worker", True), ("parent", False), ("group", False)]
    ):
        mark = f"{project}-{number}"
        process = stage(project, "train", mark)
        if early:
            while not any(one.kind == "worker" for one in kills.processes(mark)):
                time.sleep(0.01)
            time.sleep(0.3)
        else:
            wait_for_workers(project, process, 2)
        found = kills.orphans(process, victim, mark)
        assert found is not None
        assert found[0] == []
        process.communicate()
    assert finished(stage(project, "train")) == 0
    assert results(project) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("send", "workers"), [(os.kill, 1), (os.kill, 2), (os.killpg, 2)], ids=["one", "two", "group"]
)
def test_sigterm_saves_exits_75_and_continues_to_the_same_bytes(
    project: Path, send: Callable[[int, int], None], workers: int
) -> None:
    """A scheduler sends it to the whole group, so to the workers too."""
    on_workers(project, workers)
    assert finished(stage(project, "train")) == 0
    expected = results(project)
    clear(project)
    process = stage(project, "train")
    wait_for_workers(project, process, workers)
    send(process.pid, signal.SIGTERM)
    asked = time.time()
    _, text = process.communicate()
    assert process.returncode == 75
    saved = [path.stat().st_mtime for path in (project / "state").glob("*/*/step-*")]
    assert max(saved) - asked < 5
    assert "saved" in text
    assert "Traceback" not in text
    assert finished(stage(project, "train")) == 0
    assert results(project) == expected


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told_and_the_same_command_continues(project: Path) -> None:
    on_workers(project, 2)
    assert finished(stage(project, "train")) == 0
    expected = results(project)
    clear(project)
    process = stage(project, "train")
    wait_for_workers(project, process, 2)
    os.kill(worker_of(process.pid), signal.SIGKILL)
    _, text = process.communicate()
    assert process.returncode == 6
    assert "a worker process was killed" in text
    assert "Traceback" not in text
    assert finished(stage(project, "train")) == 0
    assert results(project) == expected


def wait_for_workers(project: Path, process: Popen[str], workers: int) -> None:
    """Wait until so many have saved something, so that none is still loading its modules."""
    while len({path.parent for path in (project / "state").glob("*/*/step-*")}) < workers:
        assert process.poll() is None
        time.sleep(0.01)


def worker_of(pid: int) -> int:
    """Return a process that computes for another one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = {child: Path(f"/proc/{child}/cmdline").read_text() for child in children}
    return next(int(child) for child, line in lines.items() if "spawn_main" in line)


@pytest.mark.slow
def test_a_second_run_waits_for_the_first(project: Path) -> None:
    """The first is held still until the second has said that it waits."""
    first = stage(project, "train")
    while not any(path.read_text() for path in (project / "state").glob("*/owner")):
        assert first.poll() is None
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGSTOP)
    second = stage(project, "train")
    assert second.stderr is not None
    told = second.stderr.readline()
    os.kill(first.pid, signal.SIGCONT)
    assert told == f"waiting up to 60 s for process {first.pid}, which runs the same\n"
    assert finished(first) == 0
    assert finished(second) == 0
