"""Which GPU is whose: a condition that runs alone on a device leases it. No torch.

A lease is a lock on a file of this machine, so studies that run side by side share its devices, and
the lease of a killed process ends with it.
"""

import getpass
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import filelock

from plasticity import processes

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 1.0


def devices() -> tuple[str, ...]:
    """Return the NVIDIA devices that this process may use, by UUID: one device has one name.

    They are those that ``CUDA_VISIBLE_DEVICES`` lists where it is set (by a scheduler, say), up to
    the first that does not exist, as CUDA reads it; else all that the driver lists.
    """
    known = _known()
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return tuple(dict.fromkeys(known.values()))
    names = (name.strip() for name in visible.split(","))
    return tuple(takewhile(bool, (known.get(name, _own(name)) for name in names)))


def _own(name: str) -> str:
    """Return a name that the driver's list need not have, such as a part of a device, or none."""
    return name if name.startswith(("GPU-", "MIG-")) else ""


def _known() -> dict[str, str]:
    """Return the index and the UUID of every device -> its UUID."""
    if (driver := shutil.which("nvidia-smi")) is None:
        return {}
    asked = [driver, "--query-gpu=index,uuid", "--format=csv,noheader"]
    done = processes.run(asked)
    pairs = [line.split(", ") for line in done.stdout.splitlines() if line.count(", ") == 1]
    return {name: uuid for index, uuid in pairs for name in (index, uuid)}


@contextmanager
def lease(
    names: Sequence[str], folder: Path | None = None, waits: Callable[[], None] = lambda: None
) -> Iterator[dict[str, str]]:
    """Wait for a device that nobody leases; yield the environment that shows this one alone.

    Parameters
    ----------
    names
        Of the devices to choose from; of none nothing is leased, and nothing is hidden.
    folder
        Of the locks; by default one of this user on this machine.
    waits
        Called once when no device is free.
    """
    if not names:
        yield {}
        return
    folder = folder or Path(tempfile.gettempdir()) / f"plasticity-devices-{getpass.getuser()}"
    folder.mkdir(parents=True, exist_ok=True)
    if (held := _take(names, folder)) is None:
        waits()
    while held is None:
        time.sleep(POLL_SECONDS)
        held = _take(names, folder)
    name, lock = held
    try:
        yield {VISIBLE: name}
    finally:
        lock.release()


def _take(names: Sequence[str], folder: Path) -> tuple[str, filelock.BaseFileLock] | None:
    """Return the first device that is free, and the lock that now holds it."""
    for name in names:
        lock = filelock.FileLock(folder / name.replace(os.sep, "_"), timeout=0)
        try:
            lock.acquire()
            return name, lock
        except filelock.Timeout:
            continue
    return None
