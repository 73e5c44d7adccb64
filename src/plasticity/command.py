"""How every stage starts and ends: ``--help`` without torch, faults as exit codes, timing."""

import argparse
import datetime
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from plasticity.errors import ConfigError, DeviceError, Interrupted, PlasticityError
from plasticity.escapes import quoted
from plasticity.files import metrics_path, sha256, storage_error, timing_path, write_json

EXIT_CODES = (
    "exit codes: 0 ok, 2 bad parameters, 3 missing or bad data, 4 a check failed, 5 every seed "
    "diverged, 6 device, memory or cluster, 7 disk, 75 interrupted (the same command continues)"
)

UNFIT = ("{", "}", "\n")
"""What DVC 3.67 cannot have in a path: its progress bars take braces for their own."""


def run(stage: str, description: str, work: Callable[[], dict[str, object]]) -> None:
    """Run a stage's work, write its ``timing.json``, and exit with the code of what happened.

    Parameters
    ----------
    stage
        Name of the stage and of its folder under ``reports``.
    description
        One line for ``--help``.
    work
        Does the work; returns what differs between machines or runs, for ``timing.json``.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{stage}",
        description=f"{description} All parameters are in params.yaml.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show tracebacks of faults")
    verbose = bool(parser.parse_args().verbose)
    signal.signal(signal.SIGTERM, _terminate)
    started = time.monotonic()

    def whole() -> None:
        if "DVC_STAGE" in os.environ:
            check_place(Path.cwd())
        details = work()
        results = metrics_path(stage)
        of = {"metrics": sha256(results)} if results.is_file() else {}
        write_json(
            timing_path(stage),
            {
                **of,  # DVC may put back other results without the timing that belongs to them
                "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - started, 3),
                **details,
            },
        )
        sys.stderr.write(f"[{stage}] done in {time.monotonic() - started:.1f} s\n")

    _to_its_end(stage, whole, verbose=verbose)


def remark(stage: str, lines: Sequence[str]) -> None:
    """Print what a user should know before a stage starts, a line each, on standard error."""
    sys.stderr.write("".join(f"[{stage}] note: {line}\n" for line in lines))


def finish(name: str, work: Callable[[], object]) -> None:
    """Run a command that is no stage, and exit with the code of what happened.

    Parameters
    ----------
    name
        Of the command, which begins the line that tells of a fault.
    work
        Does the work, and prints for a reader who may have read enough before the end.
    """

    def printing() -> None:
        try:
            work()
        except BrokenPipeError:
            sys.stderr.close()

    _to_its_end(name, printing)


def check_place(folder: Path) -> None:
    """Refuse a folder in whose path DVC does not work.

    Raises
    ------
    ConfigError
        Naming the folder, and what of its path is too much.
    """
    place = str(folder.absolute())
    if wrong := [repr(mark) for mark in UNFIT if mark in place]:
        raise ConfigError(
            f"{place!r}: DVC fails where the path has {' or '.join(wrong)}; move the project to a "
            "folder of another name"
        )


def _to_its_end(name: str, work: Callable[[], object], *, verbose: bool = False) -> None:
    """Do the work; a fault ends the process with one line and the code of its kind."""
    try:
        work()
    except (KeyboardInterrupt, PlasticityError, MemoryError, OSError) as error:
        if verbose:
            traceback.print_exc()
        fault = _fault(error)
        sys.stderr.write(f"[{name}] {fault}\n")
        sys.exit(fault.exit_code)


def _fault(error: BaseException) -> PlasticityError:
    """Return what to tell of an exception."""
    if isinstance(error, PlasticityError):
        return error
    if isinstance(error, MemoryError):
        return DeviceError(f"out of memory ({error}); lower train.seeds or continual.seeds")
    if isinstance(error, OSError):
        return storage_error(error.filename, error)
    return Interrupted("stopped; run the same command to continue")


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 (signal's form)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough, and ends what is being told
    raise KeyboardInterrupt


def positive(text: str) -> float:
    """Return a positive number of the command line.

    Raises
    ------
    argparse.ArgumentTypeError
        For anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {quoted(text)}, expected a positive number")
    return value
