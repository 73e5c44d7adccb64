"""Where a stage keeps its checkpoints: a folder named by all that could change a byte."""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plasticity import RESULTS_VERSION, files
from plasticity.config import STAGE_PARAMS
from plasticity.data import prepared_sum
from plasticity.errors import Interrupted
from plasticity.items import Item
from plasticity.sections import Params

LOCK_SECONDS = 60
POLL_SECONDS = 0.05
NAMED = 5
"""Of the folders that are removed, how many a message names."""
PATIENT = "PLASTICITY_PATIENT"
"""Set in the environment of a study's conditions: two that share a stage wait for each other."""


def name_of(params: Params, stage: str, device: str, work: Sequence[Item]) -> str:
    """Return the name under which this work's checkpoints are kept.

    It names parameters, code, data, seeds and their groups, device, versions: whatever could change
    a byte of the result. The number of workers cannot.
    """
    sections = params.model_dump(mode="json", include=set(STAGE_PARAMS[stage]))
    del sections["train"]["workers"]
    inputs = {
        "stage": stage,
        "params": sections,
        "items": [item.key for item in work],
        "code": _code_sum(),
        "data": prepared_sum(files.PREPARED),
        "subnetworks": _subnetwork_sums(work) if stage == "retrain" else None,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "torch": torch.__version__,
        "numpy": np.__version__,  # which draws everything that is random
        "results": RESULTS_VERSION,
    }
    text = json.dumps(inputs, sort_keys=True)
    return f"{stage}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _code_sum() -> str:
    """Return the sum of every module of the package that is loaded."""
    root = Path(__file__).parent
    paths = sorted(
        Path(str(module.__file__))
        for module in list(sys.modules.values())
        if getattr(module, "__file__", None) and root in Path(str(module.__file__)).parents
    )
    return hashlib.sha256("".join(files.sha256(path) for path in paths).encode()).hexdigest()


def _subnetwork_sums(work: Sequence[Item]) -> list[str]:
    seeds = sorted({seed for item in work for seed in item.seeds})
    return [files.sha256(files.subnetwork_path(seed) / "manifest.json") for seed in seeds]


class Lock:
    """The lock of a folder, which ends with the last process that holds it.

    One that is pickled for a process at its start gives it the lock as well, before its first
    instruction: a worker whose parent was killed still holds the folder that it writes in.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __reduce__(self) -> tuple[Any, ...]:
        return _inherited, (reduction.DupFd(self._handle),)

    def release(self) -> None:
        """Let others have the folder."""
        os.close(self._handle)


def _inherited(handle: Any) -> Lock:
    return Lock(handle.detach())


def _take(folder: Path) -> Lock | None:
    """Make a folder and return its lock, or None where another process holds it."""
    path = folder / "lock"
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # another process has just removed the folder
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return Lock(handle)
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # of a folder that another process has just removed


@contextmanager
def held(folder: Path) -> Iterator[Lock]:
    """Hold the folder for this process, and those that it gives the lock to, alone.

    Raises
    ------
    Interrupted
        When another process holds it for too long.
    StorageError
        When the folder cannot be made, locked or written in.
    """
    owner = folder / "owner"
    with files.storing(folder / "lock"):
        lock = _take(folder) or _waited(folder, owner)
    try:
        files.write_text(owner, str(os.getpid()))
        yield lock
    finally:
        lock.release()


def _waited(folder: Path, owner: Path) -> Lock:
    """Wait for another process to end, and return the lock then."""
    patient = PATIENT in os.environ
    limit = "" if patient else f" up to {LOCK_SECONDS} s"
    sys.stderr.write(f"waiting{limit} for process {_read(owner)}, which runs the same\n")
    started = time.monotonic()
    while patient or time.monotonic() - started < LOCK_SECONDS:
        time.sleep(POLL_SECONDS)
        if lock := _take(folder):
            return lock
    raise Interrupted(
        f"{folder}: process {_read(owner)} is still running the same work; wait for it to end "
        "or stop it, then run the same command again"
    )


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else "unknown"


def forget_old(current: Path, tell: Callable[[str], object]) -> None:
    """Remove checkpoints that nobody has touched for ``files.KEEP_DAYS``, and tell which.

    A clock may have jumped. So age counts up to the last time that anybody else's checkpoint was
    saved, not up to now: after a jump nothing is older than the newest. What is held stays.
    """
    others = [path for path in files.checkpoint_folders(current.parent) if path != current]
    touched = {folder: when for folder in others if (when := _touched(folder)) is not None}
    latest = min(time.time(), max(touched.values(), default=0.0))
    old = [name for name, when in touched.items() if when < latest - files.KEEP_DAYS * 86400]
    if gone := sorted(folder.name for folder in old if _removed(folder)):
        tell(
            f"removed {len(gone)} checkpoint folders of {current.parent} that nobody has touched "
            f"for {files.KEEP_DAYS} days: {', '.join(gone[:NAMED])}{', ...' * (len(gone) > NAMED)}"
        )


def _touched(folder: Path) -> float | None:
    """Return when a folder was last written to, or None where it changes under our eyes."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return None


def _removed(folder: Path) -> bool:
    """Remove a folder unless somebody holds it; the lock goes last, so nobody can meanwhile."""
    with suppress(OSError):
        if (lock := _take(folder)) is None:
            return False
        try:
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != "lock":
                    path.unlink()
            (folder / "lock").unlink()
            folder.rmdir()
        finally:
            lock.release()
    return not folder.exists()
