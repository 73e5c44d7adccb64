"""The only place where tests start programs: as a user would, without this process's settings."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from plasticity import processes

HIDDEN = {"PLASTICITY_PROJECT", "PLASTICITY_STATE", "PYTHONPATH", "PYTHONWARNINGS"}
TIMEOUT = 300


def environment(**given: str) -> dict[str, str]:
    """Return the environment of a program that a test starts."""
    own = processes.environment(given)
    return {name: value for name, value in own.items() if name in given or name not in HIDDEN}


def run(
    command: Sequence[str], folder: Path | None = None, **given: str
) -> subprocess.CompletedProcess[str]:
    """Return what a program in a folder printed and how it ended."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(**given),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def python(folder: Path, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    """Return what ``python ARGUMENTS`` in a folder printed and how it ended."""
    return run([sys.executable, *arguments], folder, **given)


def start(
    folder: Path, *arguments: str, group: bool = False, log: IO[str] | None = None, **given: str
) -> subprocess.Popen[str]:
    """Start ``python ARGUMENTS`` in a folder, in a process group of its own if asked for.

    What it prints goes into the log, or else into pipes.
    """
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(**given),
        stdout=log or subprocess.PIPE,
        stderr=log or subprocess.PIPE,
        text=True,
        start_new_session=group,
    )


def git(folder: Path, *arguments: str) -> str:
    """Return what Git prints, by the same function as the product's."""
    return processes.git(folder, *arguments)


def commit(folder: Path) -> None:
    """Commit all that is in a folder, which becomes a repository if it is none."""
    own = ("user.name=test", "user.email=test@localhost", "core.excludesFile=/dev/null")
    settings = [part for setting in own for part in ("-c", setting)]
    for command in ("init --quiet", "add --all", "commit --quiet --message all"):
        git(folder, *settings, *command.split())
