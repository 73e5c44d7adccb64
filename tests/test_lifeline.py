"""No process outlives its parent, whenever that is killed; one that a user started stays."""

import os
import signal
import sys
import time
from pathlib import Path

import commands
import pytest

from plasticity import lifeline

SOURCE = str(Path(lifeline.__file__).parents[1])
JOIN = "from plasticity import lifeline; lifeline.join()\n"
ALIVE = "import os, time; print(os.getpid(), flush=True)\n"
SLEEP = "time.sleep(60)\n"
HELD = "import ctypes; ctypes.PyDLL(None).sleep(60)\n"
"""As an import that loads a library: nothing else in the interpreter runs meanwhile."""
DEAF = "import signal; signal.signal(signal.SIGTERM, lambda *_: None)\n"
NAMING = """
import subprocess, sys
from plasticity import lifeline
with lifeline.named():
    subprocess.run([sys.executable, "-c", {child!r}])
"""
DVC = 'import subprocess; subprocess.run(["/bin/sh", "-c", {command!r}])'
"""Starts its stages so, within its own group of processes."""


def start(code, **more):
    """Start a Python process that prints the process id of the one that counts."""
    return commands.start(Path(), "-c", code, group=True, PYTHONPATH=SOURCE, **more)


def through_a_shell(child):
    """Return what starts a child through a shell that stays."""
    return DVC.format(command=f"{sys.executable} -c '{child}'; true")


def survives(parent, seconds):
    """Kill a parent; return whether its child is alive after so many seconds, and end that too."""
    with parent:
        child = int(parent.stdout.readline())
        parent.kill()
        limit = time.monotonic() + seconds
        while alive(child) and time.monotonic() < limit:
            time.sleep(0.02)
        if survived := alive(child):
            os.kill(child, signal.SIGKILL)
    return survived


def alive(pid):
    """Return whether a process is there; one that is dead and not buried is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("code", "more", "seconds"),
    [
        (NAMING.format(child=JOIN + ALIVE + HELD), {}, 5.0),
        (NAMING.format(child=JOIN + DEAF + ALIVE + SLEEP), {}, 5.0),
        (through_a_shell(JOIN + ALIVE + SLEEP), {"DVC_STAGE": "train"}, 2.0),
        (through_a_shell(JOIN + DEAF + ALIVE + SLEEP), {"DVC_STAGE": "train"}, 5.0),
    ],
    ids=["in an import", "while it saves", "behind a shell", "behind a shell, while it saves"],
)
def test_a_child_ends_with_its_parent(code, more, seconds):
    assert not survives(start(code, **more), seconds)


@pytest.mark.parametrize(
    "more",
    [{lifeline.PARENT: "1"}, {"DVC_STAGE": "train"}],
    ids=["another parent was named", "of another group than DVC's"],
)
def test_a_child_whose_parent_died_before_its_first_line_ends_at_once(more):
    with start(JOIN + ALIVE + "time.sleep(5)", **more) as child:
        assert child.stdout.read() == ""
    assert child.returncode == 75


def test_a_process_that_a_user_started_lives_on():
    """Such as one in the background of a terminal that is closed."""
    child = JOIN + ALIVE + SLEEP
    shell = start(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    assert survives(shell, 1.0)


def test_the_name_of_a_parent_goes_no_further_than_its_children():
    grandchild = f"import os; print(os.environ.get({lifeline.PARENT!r}))"
    child = f"{JOIN}import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    told, _ = start(NAMING.format(child=child)).communicate(timeout=20)
    assert told == "None\n"
