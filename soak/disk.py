"""A disk that fails: calls of this process that write, sync, rename or create files are counted.

One of them fails, or ends the process. Only calls from Python are seen; the product writes nothing
in another way.
"""

import builtins
import errno
import io
import os
import signal
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

KINDS = ("write", "fsync", "rename", "create")
ERRORS = ("EIO", "ENOSPC")
ENDS = ("kill", "torn", "power")
"""kill: the process ends before the call. torn: half of a write happens before that. power: what
was not synced is lost too."""


@dataclass(frozen=True)
class Plan:
    """Which call goes wrong, and how."""

    kind: str
    """One of ``KINDS``, or ``any``."""
    at: int
    """Number of the call, counted from 1."""
    does: str
    """One of ``ERRORS`` or ``ENDS``."""
    lasting: bool = False
    """Whether all calls of the kind after it fail too."""


@dataclass
class Disk:
    """Counts calls, and lets the planned one go wrong."""

    plan: Plan | None
    counts: Counter[str] = field(default_factory=Counter)
    dirty: dict[tuple[int, int], str] = field(default_factory=dict)
    """Files (device, inode) written to and not synced since -> path."""

    def call(self, kind: str, name: object, half: Callable[[], object] | None = None) -> None:
        """Count a call that is about to happen; raise OSError or end the process when planned."""
        self.counts[kind] += 1
        self.counts["any"] += 1
        plan = self.plan
        if plan is None or plan.kind not in (kind, "any"):
            return
        number = self.counts[plan.kind]
        if number == plan.at or (plan.lasting and number > plan.at):
            if plan.does in ENDS:
                self._end(plan.does, half)
            number = getattr(errno, plan.does)
            raise OSError(number, os.strerror(number), name)

    def _end(self, does: str, half: Callable[[], object] | None) -> NoReturn:
        self.plan = None
        if half is not None and does != "kill":
            half()
        if does == "power":
            for path in self.dirty.values():
                if os.path.exists(path):
                    os.truncate(path, 0)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("a killed process goes on")

    def written(self, handle: int, name: object) -> None:
        """Note that a file has content that is not synced."""
        if (key := _regular(handle)) is not None:
            self.dirty[key] = _path(handle, name)

    def synced(self, handle: int) -> None:
        """Note that the content of a file would outlive a power cut."""
        self.dirty.pop(_regular(handle) or (0, 0), None)

    def renamed(self, target: object) -> None:
        """Note where a file is now, if it is not synced."""
        if isinstance(target, str | os.PathLike):
            info = os.stat(target)
            if (info.st_dev, info.st_ino) in self.dirty:
                self.dirty[info.st_dev, info.st_ino] = os.path.abspath(target)


def _regular(handle: int) -> tuple[int, int] | None:
    info = os.fstat(handle)
    return (info.st_dev, info.st_ino) if stat.S_ISREG(info.st_mode) else None


def _path(handle: int, name: object) -> str:
    """Return the path of an open file, which Linux knows even of one opened by its number."""
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    except OSError:
        return os.path.abspath(str(name))


def install(plan: Plan | None) -> Disk:
    """Count this process's calls from now on, and let the planned one go wrong."""
    disk = Disk(plan)
    put = {
        (io, "open"): _opening(disk, io.open),
        (builtins, "open"): _opening(disk, io.open),
        (os, "open"): _creating(disk, os.open),
        (os, "write"): _writing(disk, os.write),
        (os, "fsync"): _syncing(disk, os.fsync),
        (os, "rename"): _moving(disk, os.rename),
        (os, "replace"): _moving(disk, os.replace),
    }
    for (owner, name), function in put.items():
        setattr(owner, name, function)
    return disk


def _opening(disk: Disk, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return an ``open`` whose files count what is written to them."""

    class Raw(io.FileIO):
        def write(self, content: Any) -> int:
            view = memoryview(content)
            disk.call("write", self.name, lambda: super(Raw, self).write(view[: len(view) // 2]))
            disk.written(self.fileno(), self.name)
            return super().write(content)

    def opened(  # noqa: PLR0913 (the form of the real one)
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: Any = None,
        errors: Any = None,
        newline: Any = None,
        closefd: bool = True,  # noqa: FBT001, FBT002
        opener: Any = None,
    ) -> Any:
        if not set(mode) & set("wax+"):
            return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if not isinstance(file, int):
            disk.call("create", file)
        raw = Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding, errors, newline, buffering == 1)

    return opened


def _creating(disk: Disk, real: Callable[..., int]) -> Callable[..., int]:
    def create(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            disk.call("create", path)
        return real(path, flags, *rest, **named)

    return create


def _writing(disk: Disk, real: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
    def write(handle: int, content: Any) -> int:
        if _regular(handle):
            half = memoryview(content)[: len(content) // 2]
            disk.call("write", _path(handle, handle), lambda: real(handle, half))
            disk.written(handle, handle)
        return real(handle, content)

    return write


def _syncing(disk: Disk, real: Callable[[int], None]) -> Callable[[Any], None]:
    def fsync(file: Any) -> None:
        handle = file if isinstance(file, int) else file.fileno()
        disk.call("fsync", _path(handle, handle))
        real(handle)
        disk.synced(handle)

    return fsync


def _moving(disk: Disk, real: Callable[..., None]) -> Callable[..., None]:
    def move(source: Any, target: Any, **named: Any) -> None:
        disk.call("rename", target)
        real(source, target, **named)
        disk.renamed(target)

    return move
