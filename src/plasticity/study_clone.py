"""Runs one condition of a study as an experiment of DVC in a private clone. No torch.

A clone holds the committed state, and shares the cache and the checkpoints of the project: so
conditions cannot disturb each other, and one that was killed continues.
"""

import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ruamel.yaml
from configobj import ConfigObj, ConfigObjError

from plasticity import RESULTS_VERSION, config, files, leases
from plasticity.errors import CheckError, ConfigError, PlasticityError
from plasticity.escapes import quoted
from plasticity.study import Condition, Study, put_all
from plasticity.yaml12 import read_yaml

COMMITTED = ("src", "stages", "params.yaml", "dvc.yaml")
"""What decides a result, and so must be as committed when conditions run."""
FIRST_NEWS, LONGEST_SILENCE = 10.0, 300.0
"""Seconds until a condition's progress is told, and at most between two times; they double."""
_DVC = (  # `dvc` that ends when its launcher is gone, and the stage it runs then does so too
    "import sys; sys.path.insert(0, 'src'); from plasticity import command; "
    "command.leave_with_parent(); from dvc.cli import main; sys.exit(main(sys.argv[1:]))"
)


@dataclass(frozen=True)
class Source:
    """The committed state of the project that conditions run."""

    root: Path
    commit: str
    trees: Mapping[str, str]
    """Folder of code -> hash of its content."""


@dataclass(frozen=True)
class Job:
    """One condition to be run."""

    study: Study
    condition: Condition
    source: Source

    @property
    def scratch(self) -> Path:
        """Return the folder of what the study needs only while it runs."""
        return self.source.root / files.study_scratch(self.study.name)

    @property
    def log(self) -> Path:
        """Return the file that takes all that its commands print."""
        return self.scratch / f"{self.condition.experiment}.log"

    @property
    def note(self) -> Path:
        """Return the file of the time that calls before this one spent."""
        return self.scratch / f"{self.condition.experiment}.json"

    @property
    def record(self) -> dict[str, Any]:
        """Return what was run, for those who read its tables."""
        return {
            "study": self.study.name,
            "condition": self.condition.name,
            "settings": dict(self.condition.settings),
            "stages": list(self.study.stages),
            "results_version": RESULTS_VERSION,
            "code": {"commit": self.source.commit, **self.source.trees},
        }


def committed(root: Path) -> Source:
    """Return the committed state.

    Raises
    ------
    ConfigError
        When a file that decides results differs from it.
    """
    if changed := uncommitted(root):
        raise ConfigError(
            f"{', '.join(changed)}: not as committed, and conditions run what is committed; "
            "commit the change, or undo it (git checkout HEAD -- FILE), then run the command again"
        )
    commit, *trees = _output(root, "git", "rev-parse", "HEAD", "HEAD:src", "HEAD:stages").split()
    return Source(root.absolute(), commit, dict(zip(("src", "stages"), trees, strict=True)))


def uncommitted(root: Path) -> list[str]:
    """Return the files that decide a result and are not as committed, or new.

    Raises
    ------
    PlasticityError
        When Git cannot tell.
    """
    lines = _output(root, "git", "status", "--porcelain", "--no-renames", "--", *COMMITTED)
    return [line[3:] for line in lines.splitlines()]


def _output(folder: Path, *command: str) -> str:
    """Return what a command prints."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PlasticityError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def run_in_clone(job: Job, clone: Path) -> None:
    """Run a condition as an experiment in a clone, and give the experiment to the project.

    Raises
    ------
    PlasticityError
        When a command fails; the log says why.
    """
    root, name = job.source.root, f"{job.study.name}-{job.condition.experiment}"
    cache = _output(root, sys.executable, "-m", "dvc", "cache", "dir").strip()
    author = ("--config", "user.name=study", "--config", "user.email=study@localhost")
    plain = ("--quiet", "--shared", "--no-checkout")
    _output(root, "git", "clone", *plain, *author, ".", str(clone))
    _output(clone, "git", "checkout", "--quiet", "--detach", job.source.commit)
    _write_config(clone / ".dvc/config.local", cache, str(clone / ".dvc/tmp/site"))
    for table in tables(clone):
        table.unlink()  # of another experiment: only what this one brings up to date is kept
    _write_params(clone / files.PARAMS, job.condition)
    wanted = job.condition.params.train.device != "cpu"
    devices = leases.devices() if wanted else ()
    waits = partial(tell, f"{job.condition.name}: waits for one of {len(devices)} devices")
    with leases.lease(devices, waits=waits) as shown, _news(job):
        _dvc(job, clone, "exp", "run", "--name", name, *job.study.stages, shown=shown)
    _dvc(job, clone, "exp", "push", "--quiet", "--no-cache", "--force", "origin", name)


def _write_config(path: Path, cache: str, site: str) -> None:
    """Write DVC's settings of a clone in their own format, whatever characters its paths have.

    ``dvc config`` would write ASCII alone.

    Raises
    ------
    ConfigError
        When DVC would read another path than the one that is written.
    """
    wanted = {"cache": {"dir": cache}, "core": {"site_cache_dir": site}}
    buffer = io.BytesIO()
    ConfigObj(wanted, encoding="utf-8", interpolation=False).write(buffer)
    files.write_bytes(path, buffer.getvalue())
    try:
        read = ConfigObj(buffer.getvalue().decode().splitlines()).dict()  # as DVC does
    except ConfigObjError as error:
        raise ConfigError(_no_path(cache, str(error))) from error
    if read != wanted:
        raise ConfigError(_no_path(cache, f"it reads {quoted(read['cache'])}"))


def _no_path(cache: str, why: str) -> str:
    return f"{cache}: DVC cannot have its cache in this path ({why}); move the project"


@contextmanager
def _news(job: Job) -> Iterator[None]:
    """Tell the last line of a condition's log now and then: its stage, and that stage's ETA."""
    ended = threading.Event()

    def watch() -> None:
        told, pause = "", FIRST_NEWS
        while not ended.wait(pause):
            pause = min(2 * pause, LONGEST_SILENCE)
            lines = job.log.read_text(errors="replace").split("\n") if job.log.exists() else []
            last = next((line.strip() for line in reversed(lines) if line.strip()), "")
            if last != told:
                tell(f"{job.condition.name}: {last}")
                told = last

    teller = threading.Thread(target=watch, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def _dvc(job: Job, clone: Path, *arguments: str, shown: Mapping[str, str] | None = None) -> None:
    """Run a command of DVC, which prints into the log, and sees the devices that are leased."""
    root = job.source.root
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PLASTICITY_STATE": str(root / files.state_root()),
        "PLASTICITY_DATA": str(root / files.data_root()),
        "PLASTICITY_PROJECT": str(root),
        "PLASTICITY_PATIENT": "1",
        **(shown or {}),
    }
    with job.log.open("a") as file:
        done = subprocess.run(
            [sys.executable, "-c", _DVC, *arguments],
            cwd=clone,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        raise PlasticityError(f"dvc {' '.join(arguments)}: exit code {done.returncode}")


def _write_params(path: Path, condition: Condition) -> None:
    """Write a condition's settings into a parameter file, which keeps its comments.

    ``dvc exp run -S`` would merge a mapping into the one that it is to replace.
    """
    yaml = ruamel.yaml.YAML()
    yaml.width = 4096
    tree = yaml.load(path)
    put_all(tree, condition.settings)
    yaml.dump(tree, path)
    if config.resolve(read_yaml(path), str(path)) != condition.params:
        raise CheckError(
            f"{path}: does not give the parameters of '{condition.name}' when it is written and "
            "read again; write its values in a plainer form"
        )


def tables(folder: Path) -> list[Path]:
    """Return the tables and metrics that stages left in a folder's ``reports``."""
    patterns = [
        str(pattern)
        for stage in config.STAGE_PARAMS
        for pattern in (files.table_path(stage, "*"), files.metrics_path(stage))
    ]
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def tell(text: str) -> None:
    """Print a line of a study's progress."""
    sys.stderr.write(f"[study] {text}\n")
    sys.stderr.flush()
