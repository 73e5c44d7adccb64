"""A process that has loaded the library once, and forks a child for every stage that is to run.

So a stage costs a fraction of a second instead of several. ``Warm`` is the side that asks; run as
a module, this is the side that answers, one JSON object a line.
"""

import importlib
import json
import os
import pkgutil
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from soak import disk

HERE = Path(__file__).resolve().parents[1]
LONGEST = 600.0
"""Seconds after which a stage is said to hang."""
HIDDEN = ("DVC_", "PLASTICITY_", "PYTHONPATH", "PYTHONWARNINGS")


def environment() -> dict[str, str]:
    """Return the environment without what would change where a stage reads or writes."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(HIDDEN)}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int
    """Exit code, or minus the signal."""
    text: str
    """What it wrote to stderr."""
    seconds: float
    told: dict[str, Any]
    """Counts of calls, and what else the child was asked for; empty when it was killed."""


class Warm:
    """Asks the loaded process; a context manager."""

    def __init__(self, root: Path) -> None:
        """Load the library of a copy of the project at ``root``."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "soak.warm", str(root)],
            cwd=HERE,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, folder: Path, stage: str, plan: disk.Plan | None = None, **more: Any) -> Ended:
        """Run a stage in a folder.

        Parameters
        ----------
        folder
            Of the project; checkpoints lie in its ``state``.
        stage
            Its name, or ``read STAGE TABLE``, or ``again STAGE``.
        plan
            What goes wrong.
        more
            ``after`` so many seconds the signal ``send`` is sent; ``again`` has ``plans``.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"folder": str(folder), "stage": stage, "plan": plan and asdict(plan), **more}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the loaded process ended ({self._process.wait()})")
        return Ended(**json.loads(answer))

    def memory(self) -> float:
        """Return the resident memory of the loaded process, in MiB."""
        return _memory(self._process.pid)


def _memory(pid: int | str) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _load(root: Path) -> None:
    """Import all that any stage imports, on one thread."""
    sys.path[:0] = [str(root), str(root / "src")]
    for name in ("sklearn.datasets", "pandas", "scipy.stats", "altair"):
        importlib.import_module(name)
    for top in ("plasticity", "stages"):
        package = importlib.import_module(top)
        assert Path(str(package.__file__)).is_relative_to(root), package.__file__
        for module in pkgutil.walk_packages(package.__path__, f"{top}."):
            importlib.import_module(module.name)
    import torch

    torch.set_num_threads(1)


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(_ask(json.loads(line))) + "\n")
        answers.flush()


def _ask(asked: dict[str, Any]) -> dict[str, Any]:
    """Fork a child that does what is asked; return how it ended."""
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as told:
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _child(asked, errors.fileno(), told.fileno())
        longest = LONGEST * max(1, len(asked.get("plans", "")))
        code = _wait(pid, asked.get("after"), asked.get("send", signal.SIGKILL), longest)
        seconds = time.monotonic() - started
        texts = []
        for file in (errors, told):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return {
        "code": code,
        "text": texts[0],
        "seconds": seconds,
        "told": json.loads(texts[1] or "{}"),
    }


def _wait(pid: int, after: float | None, number: int, longest: float) -> int:
    """Wait for a child's end, perhaps sending it a signal on the way; return its code."""
    started, sent = time.monotonic(), after is None
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        elapsed = time.monotonic() - started
        if after is not None and not sent and elapsed >= after:
            os.kill(pid, number)
            sent = True
        if elapsed > longest:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _child(asked: dict[str, Any], errors: int, told: int) -> None:
    """Do what is asked, and end; never returns."""
    code = 1
    try:
        os.dup2(errors, 2)
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        os.chdir(asked["folder"])
        os.environ["PLASTICITY_STATE"] = str(Path(asked["folder"]) / "state")
        more = _watch_checkpoints()
        drawn = _remember(Path(asked["folder"]).parent / "drawn.json")
        counted = disk.install(disk.Plan(**asked["plan"]) if asked["plan"] else None)
        what, *rest = asked["stage"].split()
        if what == "read":
            code, more["cells"] = _read(*rest)
        elif what == "again":
            more |= _again(rest[0], asked["plans"], counted)
            code = 0
        else:
            code = _stage(what)
        counted.plan = None
        os.pwrite(told, json.dumps({"counts": counted.counts, **more}).encode(), 0)
        drawn()
    except BaseException:
        traceback.print_exc()
    with suppress(BaseException):
        sys.stderr.flush()
    os._exit(code)


def _stage(name: str) -> int:
    """Run a stage as its command line does; return its exit code."""
    sys.argv = [name]
    sys.modules.pop(f"stages.{name}", None)
    try:
        runpy.run_module(f"stages.{name}", run_name="__main__")
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _watch_checkpoints() -> dict[str, Any]:
    """Note the sum of every checkpoint whose content is used."""
    import hashlib

    from plasticity import checkpoint

    used: list[str] = []
    real: Callable[..., Any] = checkpoint.unpack

    def unpack(content: bytes, *rest: Any, **named: Any) -> Any:
        used.append(hashlib.sha256(content).hexdigest())
        return real(content, *rest, **named)

    checkpoint.unpack = unpack
    return {"used": used}


def _remember(path: Path) -> Callable[[], None]:
    """Have charts that were drawn before read from a file; return what adds the new ones to it."""
    import vl_convert

    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    before = set(known)

    def remembering(name: str) -> Callable[[Any], str]:
        real = getattr(vl_convert, name)

        def call(asked: Any) -> str:
            key = f"{name} {json.dumps(asked)}"
            if key not in known:
                known[key] = real(asked)
            return known[key]

        return call

    for name in ("vegalite_to_svg", "javascript_bundle"):
        setattr(vl_convert, name, remembering(name))

    def keep() -> None:
        if set(known) != before:
            path.write_text(json.dumps(known))

    return keep


def _read(stage: str, table: str) -> tuple[int, list[list[Any]]]:
    """Return 0 and the cells of a table, or the exit code of what is told."""
    from plasticity.errors import PlasticityError
    from plasticity.tables import read_table

    try:
        found = read_table(stage, table)
    except PlasticityError as error:
        sys.stderr.write(f"[read] {error}\n")
        return error.exit_code, []
    cells = found.astype(object).where(found.notna(), None)
    return 0, [list(cells.columns), *cells.to_numpy().tolist()]


def _again(stage: str, plans: list[dict[str, Any] | None], counted: disk.Disk) -> dict[str, Any]:
    """Run a stage anew for each plan in this one process; return what it held after each."""
    memory, handles, codes = [], [], []
    for plan in plans:
        shutil.rmtree("state", ignore_errors=True)
        counted.plan = disk.Plan(**plan) if plan else None
        counted.counts.clear()
        codes.append(_stage(stage))
        counted.plan = None
        memory.append(_memory("self"))
        handles.append(len(list(Path("/proc/self/fd").iterdir())))
    return {"memory": memory, "handles": handles, "codes": codes}


if __name__ == "__main__":
    _load(Path(sys.argv[1]).resolve())
    with suppress(BrokenPipeError):  # whoever asked has been stopped
        _serve()
