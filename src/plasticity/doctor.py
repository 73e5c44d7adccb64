"""What would go wrong here, and the command that mends it. Changes nothing. No torch."""

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import filelock

from plasticity import command, config, files, leases, processes, raw, study, study_clone
from plasticity.errors import ConfigError, PlasticityError
from plasticity.study_plan import DISK
from plasticity.study_run import CLONES

Level = Literal["ok", "warn", "fail"]
LEAST_PYTHON = (3, 11)
MUCH = 5e9
"""Bytes of checkpoints that are worth a word."""
IDENTITY = {"user.name": "GIT_COMMITTER_NAME", "user.email": "GIT_COMMITTER_EMAIL"}
"""Setting of Git -> the variable that stands for it."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    level: Level
    text: str
    """What was found, and the command that mends it."""


def examine(root: Path = Path()) -> list[Finding]:
    """Return what every check finds, none of which stops another."""
    return [Finding(name, *_checked(check, root)) for name, check in CHECKS.items()]


def _checked(check: Callable[[Path], tuple[Level, str]], root: Path) -> tuple[Level, str]:
    try:
        return check(root)
    except (PlasticityError, OSError) as error:
        return "fail", " ".join(str(error).split())


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
        params = config.load("prepare", root / files.PARAMS)
    except PlasticityError:
        return "warn", "unknown as long as params.yaml cannot be run"
    chosen = params.dataset
    source, home = {**raw.IDX, **raw.CIFAR}.get(chosen), files.data_root()
    if chosen == "folder" and not (folder := files.image_folder(params.data.folder)).is_dir():
        return (
            "fail",
            f"data.folder: {folder} is not there; it starts at the project, or is absolute",
        )
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


def place(root: Path) -> tuple[Level, str]:
    """Return whether DVC works in a folder of this path."""
    path = str(root.absolute())
    try:
        command.check_place(root)
    except ConfigError as error:
        return "fail", str(error)
    if not (root / ".dvc").is_dir():
        return "fail", f"{path}: no .dvc here, which DVC needs; git checkout HEAD -- .dvc"
    if not path.isascii() or {"#", "?"} & {*path}:
        return (
            "warn",
            f"{path!r}: DVC fails with --temp and --queue where the path has '#', '?' or letters "
            "beyond ASCII; all else works here, and those two in a folder of another name",
        )
    return "ok", "DVC takes this path"


def committed(root: Path) -> tuple[Level, str]:
    """Return whether a study would find what it runs, the committed code."""
    try:
        processes.git(root, "rev-parse", "--git-dir")
    except PlasticityError as error:
        makes = "git init && git add -A && git commit makes one"
        return "fail", f"{error}{f'; {makes}' if 'not a git repository' in str(error) else ''}"
    try:
        study_clone.committed(root)
    except PlasticityError as error:
        return "warn", f"studies refuse to run: {error}"
    return "ok", "src, stages, params.yaml and dvc.yaml are as committed"


def identity(root: Path) -> tuple[Level, str]:
    """Return whether Git knows whose an experiment is; a study's are of an author of their own."""
    try:
        lacking = [
            key
            for key, variable in IDENTITY.items()
            if not os.environ.get(variable)
            and not processes.git(root, "config", "--default", "", "--get", key).strip()
        ]
    except PlasticityError as error:
        return "warn", f"unknown: {error}"
    if lacking:
        commands = " && ".join(f"git config --global {key} ..." for key in lacking)
        return (
            "warn",
            f"{' and '.join(lacking)} not set, without which dvc exp run fails; {commands}",
        )
    return "ok", "Git knows a name and an address"


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


def kept(root: Path) -> tuple[Level, str]:
    """Return which studies, and which records of their conditions, cannot be read."""
    wrong, count = [], 0
    for path in sorted((root / "studies").glob("*.yaml")):
        try:
            study.read(path, root / files.PARAMS)
        except PlasticityError as error:
            wrong.append(" ".join(str(error).split()))
    for folder in sorted((root / files.study_path("*", "*").parent.parent).glob("*/*/")):
        try:
            count += bool(study.record(folder))
        except PlasticityError as error:
            wrong.append(str(error))
    if wrong:
        more = f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return "fail", f"{wrong[0]}{more}"
    return "ok", f"{count} records of conditions can be read"


def device(root: Path) -> tuple[Level, str]:
    """Return which NVIDIA devices a study would lease, and whether torch can use them.

    Torch is asked, in a process of its own, where the driver knows a device.
    """
    found = leases.devices()
    if not found:
        return "ok", "no CUDA device; runs use the CPU"
    asked = "import torch; print(torch.__version__, torch.cuda.is_available())"
    said = processes.run([sys.executable, "-W", "ignore", "-c", asked], root).stdout.split()
    if said[1:] != ["True"]:
        return (
            "warn",
            f"nvidia-smi knows {len(found)} CUDA devices, but torch {said[0] if said else ''} can "
            "use none, so runs use the CPU; rm -f .venv/ready && make .venv/ready installs one "
            "with CUDA, or the driver is too old for it",
        )
    return "ok", f"{len(found)} CUDA devices"


CHECKS: Mapping[str, Callable[[Path], tuple[Level, str]]] = {
    "python": python,
    "packages": packages,
    "place": place,
    "parameters": parameters,
    "data": data,
    "code": committed,
    "identity": identity,
    "disk": disk,
    "checkpoints": checkpoints,
    "studies": leftovers,
    "results": kept,
    "device": device,
}
