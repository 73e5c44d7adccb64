"""What would go wrong here, and the command that mends it. Changes nothing. No torch."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import filelock

from plasticity import config, files, leases, raw
from plasticity.errors import PlasticityError
from plasticity.study_clone import uncommitted
from plasticity.study_plan import DISK
from plasticity.study_run import CLONES

Level = Literal["ok", "warn", "fail"]
LEAST_PYTHON = (3, 11)
MUCH = 5e9
"""Bytes of checkpoints that are worth a word."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    level: Level
    text: str
    """What was found, and the command that mends it."""


def examine(root: Path = Path()) -> list[Finding]:
    """Return what every check finds, none of which stops another."""
    return [Finding(name, *check(root)) for name, check in CHECKS.items()]


def python(_: Path) -> tuple[Level, str]:
    """Return whether this Python is new enough."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        return "fail", f"{found} is older than 3.11; make PYTHON=python3.12 .venv/ready"
    return "ok", found


def packages(root: Path) -> tuple[Level, str]:
    """Return which packages differ from the pins of ``requirements.txt``."""
    wrong = []
    for line in (root / "requirements.txt").read_text().splitlines():
        if not (pin := re.fullmatch(r"([A-Za-z0-9_.-]+)==(\S+)", line.strip())):
            continue
        name, wanted = pin.groups()
        found = _version(name)
        if found is None or found.partition("+")[0] != wanted:
            wrong.append(f"{name} {found or 'is missing'} (wanted {wanted})")
    if wrong:
        listed = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        return "fail", f"{listed}; rm -f .venv/ready && make .venv/ready"
    return "ok", "as pinned"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def parameters(root: Path) -> tuple[Level, str]:
    """Return whether ``params.yaml`` can be run."""
    try:
        config.load("report", root / files.PARAMS)
    except PlasticityError as error:
        return "fail", f"{error}; mend it, or git checkout HEAD -- params.yaml"
    return "ok", "params.yaml can be run"


def data(root: Path) -> tuple[Level, str]:
    """Return whether the data set of ``params.yaml`` is here."""
    try:
        chosen = config.load("prepare", root / files.PARAMS).dataset
    except PlasticityError:
        return "warn", "unknown as long as params.yaml cannot be run"
    source, home = {**raw.IDX, **raw.CIFAR}.get(chosen), files.data_root()
    wanted = () if source is None else source.files
    lacking = [name for name in wanted if not _there(home / name)]
    if lacking:
        return (
            "warn",
            f"{chosen}: {', '.join(lacking)} not in {home}; prepare will download "
            "them, or point PLASTICITY_DATA at the folder that has them",
        )
    return "ok", f"{chosen} is here"


def _there(path: Path) -> bool:
    return path.is_file() or path.with_name(f"{path.name}.gz").is_file()


def committed(root: Path) -> tuple[Level, str]:
    """Return whether the code is as committed, which studies need."""
    inside = _git(root, "rev-parse", "--is-inside-work-tree")
    if inside is None:
        return (
            "fail",
            "no Git repository, which DVC and studies need; git init && git add -A && git commit",
        )
    if changed := uncommitted(root):
        names = ", ".join(changed[:5])
        undo = "git checkout HEAD -- FILE undoes a change"
        return "warn", f"{names}: not committed, so studies refuse to run; commit it, or {undo}"
    return "ok", "src, stages, params.yaml and dvc.yaml are as committed"


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints, or None where it fails."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def disk(root: Path) -> tuple[Level, str]:
    """Return whether there is room for a run."""
    free = shutil.disk_usage(root).free
    if free < DISK:
        return "fail", f"{free / 1e9:.1f} GB free, {DISK / 1e9:.0f} needed; make room"
    return "ok", f"{free / 1e9:.0f} GB free"


def checkpoints(root: Path) -> tuple[Level, str]:
    """Return how much checkpoints take."""
    folders = files.checkpoint_folders(root / files.state_root())
    size = sum(path.stat().st_size for one in folders for path in one.rglob("*") if path.is_file())
    text = f"{size / 1e9:.1f} GB in {files.state_root()}"
    if size > MUCH:
        every = f"{files.state_root()}/{{train,retrain,continual}}-*"
        return (
            "warn",
            f"{text}; those that nobody continues go after {files.KEEP_DAYS} days; "
            f"rm -r {every} forgets all runs that were interrupted",
        )
    return "ok", text


def leftovers(root: Path) -> tuple[Level, str]:
    """Return which studies were killed and left clones behind."""
    dead = [
        clones.parent.name
        for clones in sorted((root / ".dvc/tmp/studies").glob(f"*/{CLONES}"))
        if any(clones.iterdir()) and _free(clones.parent / "lock")
    ]
    if dead:
        return (
            "warn",
            f"killed while running: {', '.join(dead)}; python -m stages.study "
            f"studies/{dead[0]}.yaml continues it and clears up",
        )
    return "ok", "no killed study"


def _free(lock: Path) -> bool:
    """Return whether nobody holds a lock."""
    try:
        with filelock.FileLock(lock, timeout=0):
            return True
    except filelock.Timeout:
        return False


def device(_: Path) -> tuple[Level, str]:
    """Return which NVIDIA devices a study would lease, without loading torch."""
    found = leases.devices()
    return "ok", f"{len(found)} CUDA devices" if found else "no CUDA device; runs use the CPU"


CHECKS: Mapping[str, Callable[[Path], tuple[Level, str]]] = {
    "python": python,
    "packages": packages,
    "parameters": parameters,
    "data": data,
    "code": committed,
    "disk": disk,
    "checkpoints": checkpoints,
    "studies": leftovers,
    "device": device,
}
