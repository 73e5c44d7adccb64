"""Runs one condition of a study as an experiment of DVC in a private clone. No torch.

A clone holds the committed state, and shares the cache and the checkpoints of the project: so
conditions cannot disturb each other, and one that was killed continues.
"""

import io
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ruamel.yaml
from configobj import ConfigObj, ConfigObjError

from plasticity import RESULTS_VERSION, config, files, leases, processes
from plasticity.errors import CheckError, ConfigError, PlasticityError
from plasticity.escapes import quoted
from plasticity.study import Condition, Study, put_all
from plasticity.yaml12 import read_yaml

COMMITTED = ("src", "stages", "params.yaml", "dvc.yaml")
"""What decides a result, and so must be as committed when conditions run."""
MANY = 10
"""Files that a message names."""
FIRST_NEWS, LONGEST_SILENCE = 10.0, 300.0
"""Seconds until a condition's progress is told, and at most between two times; they double."""


@dataclass(frozen=True)
class Source:
    """The committed state of the project that conditions run."""

    root: Path
    commit: str
    trees: Mapping[str, str]
    """Folder of code -> hash of its content."""
    within: Path = Path()
    """The project's folder in its repository, which may be a bigger one."""


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
        more = f" and {len(changed) - MANY} more" if len(changed) > MANY else ""
        raise ConfigError(
            f"{', '.join(changed[:MANY])}{more}: not as committed, and conditions run what is "
            "committed; commit the change, or undo it (git checkout HEAD -- FILE), then run the "
            "command again"
        )
    try:
        answer = processes.git(root, "rev-parse", "HEAD", "HEAD:./src", "HEAD:./stages")
    except PlasticityError as error:
        raise ConfigError(
            f"{root.absolute()}: the project is no part of what its repository at "
            f"{_top(root)} has committed ({error}); commit it there, or make it a "
            "repository of its own (git init && git add -A && git commit)"
        ) from error
    commit, *trees = answer.split()
    within = root.resolve().relative_to(_top(root))
    return Source(root.absolute(), commit, dict(zip(("src", "stages"), trees, strict=True)), within)


def uncommitted(root: Path) -> list[str]:
    """Return the files that decide a result and are not as committed, or new.

    Raises
    ------
    PlasticityError
        When Git cannot tell: no repository, or one of another owner.
    """
    prefix = processes.git(root, "rev-parse", "--show-prefix").removesuffix("\n")
    changes = processes.git(root, "status", "--porcelain", "-z", "--no-renames", "--", *COMMITTED)
    return [change[3:].removeprefix(prefix) for change in changes.split("\0") if change]


def _top(root: Path) -> Path:
    """Return the top folder of a project's repository."""
    return Path(processes.git(root, "rev-parse", "--show-toplevel").removesuffix("\n")).resolve()


def run_in_clone(job: Job, clone: Path) -> Callable[[], None]:
    """Run a condition in a clone; return what gives it to the project as an experiment of DVC.

    Raises
    ------
    PlasticityError
        When a command fails; the log says why.
    """
    cache = processes.dvc(job.source.root, "cache", "dir").removesuffix("\n")
    project = _cloned(job, clone)
    _write_config(project / ".dvc/config.local", cache, str(project / ".dvc/tmp/site"))
    for table in tables(project):
        table.unlink()  # of another experiment: only what this one brings up to date is kept
    _write_params(project / files.PARAMS, job.condition)
    wanted = job.condition.params.train.device != "cpu"
    devices = leases.devices() if wanted else ()
    waits = partial(tell, f"{job.condition.name}: waits for one of {len(devices)} devices")
    with leases.lease(devices, waits=waits) as shown, _news(job):
        _dvc(job, project, "repro", *job.study.stages, shown=shown)
    return partial(_share, job, clone)


def _cloned(job: Job, clone: Path) -> Path:
    """Clone the project's repository as committed, in an empty folder; return the project there."""
    own = [f"--config={name}={value}" for name, value in processes.CLONE.items()]
    plain = ("--quiet", "--shared", "--no-checkout")
    processes.git(job.source.root, "clone", *plain, *own, str(_top(job.source.root)), str(clone))
    processes.git(clone, "checkout", "--quiet", "--detach", job.source.commit)
    return clone / job.source.within


def _share(job: Job, clone: Path) -> None:
    """Make what a clone's stages left an experiment of DVC, and give it to the project.

    Raises
    ------
    PlasticityError
        When a command fails; the log may say why.
    """
    name = f"{job.study.name}-{job.condition.experiment}"
    _dvc(job, clone / job.source.within, "exp", "run", "--name", name, *job.study.stages)
    _give(clone, job.source.root, name)


def _give(clone: Path, root: Path, name: str) -> None:
    """Bring an experiment from a clone into the project's repository.

    Git fetches it: DVC's own push cannot have a ':' in the path, and takes hooks along.
    """
    known = processes.git(clone, "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{name}")
    refs = [f"+{ref}:{ref}" for ref in known.split()]
    if not refs:
        raise PlasticityError(f"dvc exp run: left no experiment {name}")
    alone = ("--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
    processes.git(root, "fetch", "--quiet", *alone, str(clone), *refs)


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


def _dvc(job: Job, project: Path, *arguments: str, shown: Mapping[str, str] | None = None) -> None:
    """Run a command of DVC, which prints into the log, and sees the devices that are leased."""
    root = job.source.root
    given = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PLASTICITY_STATE": str(root / files.state_root()),
        "PLASTICITY_DATA": str(root / files.data_root()),
        "PLASTICITY_PROJECT": str(root),
        "PLASTICITY_PATIENT": "1",
        **(shown or {}),
    }
    with job.log.open("a") as log:
        done = processes.run(processes.dvc_command(*arguments), project, log, given)
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
