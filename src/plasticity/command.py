"""How every stage starts and ends: ``--help`` without torch, faults as exit codes, timing."""

import argparse
import datetime
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from plasticity.errors import ConfigError, DeviceError, Interrupted, PlasticityError, StorageError
from plasticity.escapes import quoted
from plasticity.files import metrics_path, sha256, timing_path, write_json

EXIT_CODES = (
    "exit codes: 0 ok, 2 bad parameters, 3 missing or bad data, 4 a check failed, 5 every seed "
    "diverged, 6 device or memory, 7 disk, 75 interrupted (the same command continues)"
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
    if "DVC_STAGE" in os.environ:
        leave_with_parent()
    started = time.monotonic()
    try:
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
    except KeyboardInterrupt:
        sys.exit(_tell(stage, Interrupted("stopped; run the same command to continue"), verbose))
    except PlasticityError as error:
        sys.exit(_tell(stage, error, verbose))
    except MemoryError as error:
        told = f"out of memory ({error}); lower train.seeds or continual.seeds"
        sys.exit(_tell(stage, DeviceError(told), verbose))
    except OSError as error:
        sys.exit(_tell(stage, StorageError(f"{error.filename}: {error.strerror}"), verbose))


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
        Does the work.
    """
    try:
        work()
    except BrokenPipeError:
        sys.stderr.close()  # whoever read what it prints has read enough
    except KeyboardInterrupt:
        told = Interrupted("stopped; run the same command to continue")
        sys.exit(_tell(name, told, verbose=False))
    except PlasticityError as error:
        sys.exit(_tell(name, error, verbose=False))
    except OSError as error:
        sys.exit(_tell(name, StorageError(f"{error.filename}: {error.strerror}"), verbose=False))


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


def _tell(stage: str, error: PlasticityError, verbose: bool) -> int:  # noqa: FBT001 (private)
    if verbose:
        traceback.print_exc()
    sys.stderr.write(f"[{stage}] {error}\n")
    return error.exit_code


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 (signal's form)
    raise KeyboardInterrupt


def leave_with_parent() -> None:
    """End this process when its parent is gone: a killed ``dvc`` or launcher leaves no orphan."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(Interrupted.exit_code)

    threading.Thread(target=watch, daemon=True).start()


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
