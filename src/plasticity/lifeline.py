"""No process outlives its parent: one that we or DVC started ends when who started it is gone.

A process joins at its first line, before any import that takes long. From then on Linux itself
sends it SIGTERM at its parent's death (PR_SET_PDEATHSIG): that needs no lock of the interpreter,
which an import can hold for seconds, and ends it at once where nobody handles the signal yet. A
thread looks too, for other systems and for a shell that stands between DVC and its stage; it ends
the process, if need be, after the seconds that a run has to be saved. A parent that died before
the first line is found by comparing. POSIX only, no torch.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plasticity.errors import Interrupted

PARENT = "PLASTICITY_PARENT"
"""In the environment of a child that is to end with us: our process id."""
POLL_SECONDS, SAVE_SECONDS = 0.5, 3.0
SHELLS = {"sh", "dash", "bash", "zsh", "ksh", "fish"}
_PR_SET_PDEATHSIG = 1
_joined: list[tuple[int, ...]] = []


def join() -> None:
    """End this process with its parent, where that is one of ours or DVC; called first of all.

    A process that a user started has nobody to end with. Only the first call counts.
    """
    named = os.environ.pop(PARENT, None)
    if named is not None:
        end_with_parent()
        if os.getppid() != int(named):
            _end()
    elif "DVC_STAGE" in os.environ:
        end_with_parent()
        if any(not _in_our_group(pid) for pid in _joined[0]):
            _end()


def end_with_parent() -> None:
    """End this process when the parent that it has now is gone; only the first call counts."""
    if _joined:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    _joined.append(_elders())
    threading.Thread(target=_watch, args=(_joined[0],), daemon=True).start()


@contextmanager
def named() -> Iterator[None]:
    """Name this process in its environment as the parent that children are to end with."""
    os.environ |= environment()
    try:
        yield
    finally:
        os.environ.pop(PARENT, None)


def environment() -> dict[str, str]:
    """Return what to add to a child's environment so that it ends with this process."""
    return {PARENT: str(os.getpid())}


def _elders() -> tuple[int, ...]:
    """Return the parent, and where that is a shell its parent too: DVC may start us through one."""
    parent = os.getppid()
    try:
        name, _, rest = Path(f"/proc/{parent}/stat").read_text().partition("(")[2].rpartition(")")
        return (parent, int(rest.split()[1])) if name in SHELLS else (parent,)
    except (OSError, IndexError):  # no such folder on this system, or it has just ended
        return (parent,)


def _in_our_group(pid: int) -> bool:
    """Return whether a process is of our group: DVC and its shell are, who adopts us is not."""
    try:
        return os.getpgid(pid) == os.getpgrp()
    except OSError:
        return False


def _watch(elders: tuple[int, ...]) -> None:
    while _elders() == elders:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SAVE_SECONDS)
    _end()


def _end() -> None:
    os._exit(Interrupted.exit_code)
