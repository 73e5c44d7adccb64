"""Kills of the real commands, and of one process that runs again and again."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import mean

from soak import project
from soak.disk import ERRORS, Plan
from soak.loops import Bench, Case, Verdict, draw
from soak.warm import HERE, environment

CHAINS, KILLS_PER_CHAIN = 4, 5
LATEST = 14.0
"""Seconds after which `dvc repro` is killed at the latest."""
PATIENCE = 5.0
"""Seconds that processes have to end after whoever started them was killed."""
RUNS_IN_ONE_PROCESS = 80
FLAT = 0.05


def dvc_cases(bench: Bench) -> list[Case]:
    """Return pipelines of ``dvc repro`` that are killed again and again."""
    del bench
    return [{"loop": "T1 dvc", "name": f"chain {number}"} for number in range(CHAINS)]


def run_dvc(bench: Bench, case: Case) -> Verdict:
    """Kill ``dvc repro`` at random moments, alone or with all it started, until it may end."""
    numbers = draw(case)
    expected = bench.base(project.REPORT).expected
    work = _dvc_project(bench)
    killed = 0
    while killed < KILLS_PER_CHAIN:
        process = _repro(work)
        time.sleep(numbers.uniform(0.3, LATEST))
        if process.poll() is not None:
            break
        numbers.choice((os.kill, os.killpg))(process.pid, signal.SIGKILL)
        killed += 1
        process.communicate()
        if left := _left(process.pid):
            return Verdict("killed", killed, f"still there after {PATIENCE} s: {left}")
    process = _repro(work)
    _, text = process.communicate()
    if process.returncode:
        return Verdict("killed", killed, f"exit code {process.returncode}: {text[-300:]}")
    wrong = project.differing(project.results(work), expected)
    told = f"other bytes: {', '.join(wrong[:3])}" if wrong else ""
    if not told and (left_files := project.strays(work)):
        told = f"left behind: {', '.join(left_files[:3])}"
    return Verdict("killed (dvc repro), then the same bytes", killed, told)


def _dvc_project(bench: Bench) -> Path:
    work = bench.scratch / "work"
    shutil.rmtree(work, ignore_errors=True)
    project.copy_source(work)
    shutil.copy(HERE / "dvc.yaml", work)
    shutil.copytree(HERE / ".dvc" / "plots", work / ".dvc" / "plots")
    (work / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    text = project.parameters(bench.root, "grow")
    (work / "params.yaml").write_text(text.replace("  workers: 1", "  workers: 2"))
    return work


def _repro(work: Path) -> subprocess.Popen[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=work,
        env=environment() | {"PLASTICITY_STATE": str(work / "state"), "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _left(session: int) -> list[str]:
    """Return the commands of a session that are still there after a while."""
    end = time.monotonic() + PATIENCE
    while (found := _of_session(session)) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def _of_session(session: int) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " ")[:120])
        except OSError:
            continue
    return found


def memory_cases(bench: Bench) -> list[Case]:
    """Return one process for each stage that trains."""
    del bench
    return [{"loop": "memory", "name": stage} for stage in ("train", "retrain", "continual")]


def run_memory(bench: Bench, case: Case) -> Verdict:
    """Run a stage often in one process, every other time with a fault; see what it holds."""
    numbers, stage = draw(case), case["name"]
    base = bench.bases()[stage]
    work = bench.work(base.before)
    plans = [_fault(numbers, base.counts["any"]) if n % 2 else None
             for n in range(RUNS_IN_ONE_PROCESS)]  # fmt: skip
    ended = bench.warm.run(work, f"again {stage}", plans=plans)
    if ended.code:
        return Verdict("ended", 0, f"exit code {ended.code}: {ended.text.strip()[-300:]}")
    told = ended.told
    part = RUNS_IN_ONE_PROCESS // 4
    early, late = mean(told["memory"][part : 2 * part]), mean(told["memory"][-part:])
    handles = told["handles"]
    wrong = ""
    if late > (1 + FLAT) * early:
        wrong = f"memory grew from {early:.0f} to {late:.0f} MiB"
    if handles[-1] > handles[part]:
        wrong = f"open files grew from {handles[part]} to {handles[-1]}"
    if set(told["codes"]) - {0, 7}:
        wrong = f"exit codes {sorted(set(told['codes']))}"
    outcome = (
        f"{stage}: {early:.0f} MiB in runs {part + 1} to {2 * part}, {late:.0f} MiB in the last "
        f"{part}; {handles[part]} and {handles[-1]} open files"
    )
    return Verdict(outcome, sum(code != 0 for code in told["codes"]), wrong)


def _fault(numbers: random.Random, calls: int) -> dict[str, object]:
    return asdict(Plan("any", numbers.randint(1, calls), numbers.choice(ERRORS)))
