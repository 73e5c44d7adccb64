"""Which GPU is whose: a condition that runs alone on a device leases it. No torch.

A lease is a lock on a file of this machine, so studies that run side by side share its devices, and
the lease of a killed process ends with it.
"""

import getpass
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import filelock

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 1.0


def devices() -> tuple[str, ...]:
    """Return the NVIDIA devices that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    Those of that variable where it is set (a scheduler's choice), or all that the driver lists.
    """
    if (visible := os.environ.get(VISIBLE)) is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip())
    if (driver := shutil.which("nvidia-smi")) is None:
        return ()
    asked = [driver, "--query-gpu=uuid", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return tuple(done.stdout.split()) if done.returncode == 0 else ()


@contextmanager
def lease(names: Sequence[str], folder: Path | None = None) -> Iterator[dict[str, str]]:
    """Wait for a device that nobody leases; yield the environment that shows this one alone.

    Parameters
    ----------
    names
        Of the devices to choose from; of none nothing is leased, and nothing is hidden.
    folder
        Of the locks; by default one of this user on this machine.
    """
    if not names:
        yield {}
        return
    folder = folder or Path(tempfile.gettempdir()) / f"plasticity-devices-{getpass.getuser()}"
    folder.mkdir(parents=True, exist_ok=True)
    while (held := _take(names, folder)) is None:
        time.sleep(POLL_SECONDS)
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
