"""The only place that starts other programs: Git, DVC, the driver of devices. No torch.

A child works on the repository of the folder it runs in, whatever repository a Git hook or a stage
of DVC names in this process's environment; what the user configured for Git changes no answer.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from plasticity import lifeline
from plasticity.errors import PlasticityError

SOURCE = str(Path(__file__).parents[1])
"""Where processes that were started elsewhere find this library."""
KEPT = (
    *("GIT_CONFIG", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME"),
    *("GIT_COMMITTER_EMAIL", "GIT_EXEC_PATH", "GIT_PYTHON_", "GIT_SSL_", "GIT_TEST_", "GIT_TRACE"),
    *("GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM"),
)
"""How variables of Git begin that say nothing of one repository or commit: configuration, people,
the installation, how far a repository is searched for. Any other is not handed on."""
OF_DVC = ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "DVCLIVE_RESUME")
"""What a stage of DVC knows of its own run; not handed on."""
MUCH = 600
"""Characters of what a program said that are worth quoting."""
NO_FILE = os.devnull
ANSWERS: Mapping[str, str] = {
    "core.hooksPath": NO_FILE,
    "core.fsmonitor": "false",  # a program of the user's, which may live on
    "core.quotePath": "false",
    "status.showUntrackedFiles": "all",
    "color.ui": "false",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "protocol.file.allow": "always",
    "init.templateDir": "",
    "init.defaultBranch": "main",
    "init.defaultRefFormat": "files",
    "feature.manyFiles": "false",
    "clone.defaultRemoteName": "origin",
    "clone.rejectShallow": "false",
    "fetch.prune": "false",
    "fetch.pruneTags": "false",
    "fetch.writeCommitGraph": "false",
}
"""Settings of Git that every command gets, so that none of the user's counts."""
CLONE: Mapping[str, str] = {
    **{name: ANSWERS[name] for name in ("core.hooksPath", "core.fsmonitor", "commit.gpgSign")},
    **{name: ANSWERS[name] for name in ("gc.auto", "maintenance.auto", "feature.manyFiles")},
    "core.autocrlf": "false",
    "core.attributesFile": NO_FILE,
    "core.excludesFile": NO_FILE,
    "user.name": "study",
    "user.email": "study@localhost",
}
"""Settings that a clone has of its own, since DVC works in it with Git in its own ways."""
_DVC = (  # `dvc` that ends when its launcher is gone, and the stage it runs then does so too
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from plasticity import lifeline; "
    "lifeline.join(); from dvc.cli import main; sys.exit(main(sys.argv[1:]))"
)


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child: this one, without what names a repository.

    Parameters
    ----------
    given
        Variables that the child gets besides.
    """
    handed_on = {
        name: value
        for name, value in os.environ.items()
        if name not in (*OF_DVC, lifeline.PARENT)
        and (not name.startswith("GIT_") or name.startswith(KEPT))
    }
    return handed_on | dict(given or {})


def run(
    command: Sequence[str],
    folder: Path | None = None,
    log: IO[str] | None = None,
    given: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Return how a program ended, and what it printed unless that went into a log.

    Parameters
    ----------
    command
        The program and its arguments.
    folder
        Where it runs; by default here.
    log
        An open file that takes all that it prints.
    given
        Variables of its environment besides this process's.
    """
    out = subprocess.PIPE if log is None else log
    return subprocess.run(
        command,
        cwd=folder,
        env=environment({**lifeline.environment(), **(given or {})}),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=out if log is None else subprocess.STDOUT,
        encoding="utf-8",
        errors="surrogateescape",  # a name of a file is any bytes
        check=False,
    )


def git(folder: Path, *arguments: str) -> str:
    """Return what a command of Git prints, whatever the user configured.

    Raises
    ------
    PlasticityError
        When it fails, or there is no Git: what it said, in one line.
    """
    if shutil.which("git") is None:
        raise PlasticityError("git: not found; install it, or add its folder to PATH")
    settings = [part for name, value in ANSWERS.items() for part in ("-c", f"{name}={value}")]
    plain = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    done = run(["git", *settings, *arguments], folder, given=plain)
    return _printed(done, f"git {arguments[0]}")


def dvc(folder: Path, *arguments: str) -> str:
    """Return what a command of DVC prints.

    Raises
    ------
    PlasticityError
        When it fails: what it said, in one line.
    """
    done = run(dvc_command(*arguments), folder)
    return _printed(done, f"dvc {arguments[0]}")


def dvc_command(*arguments: str) -> list[str]:
    """Return the command line of a DVC that does not outlive the process that starts it."""
    return [sys.executable, "-c", _DVC, SOURCE, *arguments]


def _printed(done: subprocess.CompletedProcess[str], name: str) -> str:
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise PlasticityError(f"{name}: {said[:MUCH]}")
    return done.stdout
