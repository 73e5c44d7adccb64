"""Runs the conditions of a study, each as an experiment of DVC in a private clone. No torch.

A clone holds the committed state, and shares the cache and the checkpoints of the project: so
conditions cannot disturb each other, and one that was killed continues. Its tables are put in their
place whole or not at all.
"""

import datetime
import os
import shutil
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import joblib
import ruamel.yaml
from joblib.externals.loky.process_executor import TerminatedWorkerError

from plasticity import RESULTS_VERSION, config, files, study_plan
from plasticity.command import leave_with_parent
from plasticity.errors import (
    CheckError,
    ConfigError,
    Interrupted,
    PlasticityError,
    StorageError,
)
from plasticity.study import DONE, FAILED, Condition, Study, place, put_all, status
from plasticity.yaml12 import read_yaml

COMMITTED = ("src", "stages", "params.yaml", "dvc.yaml")
"""What decides a result, and so must be as committed when conditions run."""
SOURCE = str(Path(__file__).parents[1])
"""Where workers that were started elsewhere find this library."""
LOG_LINES = 40
CLONES = "clones"
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


Runner = Callable[[Job, Path], None]
"""Runs a condition in an empty folder, and leaves ``reports`` there."""


def committed(root: Path) -> Source:
    """Return the committed state.

    Raises
    ------
    ConfigError
        When a file that decides results differs from it.
    """
    changed = _output(root, "git", "diff", "--name-only", "HEAD", "--", *COMMITTED).splitlines()
    if changed:
        raise ConfigError(
            f"{', '.join(changed)}: not as committed, and conditions run what is committed; "
            "commit the change, or undo it (git checkout), then run the same command again"
        )
    commit, *trees = _output(root, "git", "rev-parse", "HEAD", "HEAD:src", "HEAD:stages").split()
    return Source(root.absolute(), commit, dict(zip(("src", "stages"), trees, strict=True)))


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
    files.write_text(
        clone / ".dvc/config.local",
        f"[cache]\n    dir = {cache}\n[core]\n    site_cache_dir = {clone / '.dvc/tmp/site'}\n",
    )
    for table in _tables(clone):
        table.unlink()  # of another experiment: only what this one brings up to date is kept
    _write_params(clone / files.PARAMS, job.condition)
    _dvc(job, clone, "exp", "run", "--name", name, *job.study.stages)
    _dvc(job, clone, "exp", "push", "--quiet", "--no-cache", "--force", "origin", name)


def _dvc(job: Job, clone: Path, *arguments: str) -> None:
    """Run a command of DVC, which prints into the log."""
    root = job.source.root
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PLASTICITY_STATE": str(root / files.state_root()),
        "PLASTICITY_DATA": str(root / files.data_root()),
        "PLASTICITY_PROJECT": str(root),
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


def _tables(folder: Path) -> list[Path]:
    """Return the tables and metrics that stages left in a folder's ``reports``."""
    patterns = [
        str(pattern)
        for stage in config.STAGE_PARAMS
        for pattern in (files.table_path(stage, "*"), files.metrics_path(stage))
    ]
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def _keep(job: Job, clone: Path, seconds: float) -> None:
    """Put a finished condition's tables in their place, whole or not at all."""
    with files.fresh_folder(job.source.root / place(job.study, job.condition)) as folder:
        for table in _tables(clone):
            files.write_bytes(folder / table.relative_to(clone), table.read_bytes())
        params = job.condition.params.model_dump(mode="json")
        spent = {"seconds": round(seconds), "cores": os.cpu_count()}
        files.write_json(folder / DONE, job.record | spent | {"params": params})


def _keep_failure(job: Job, error: Exception) -> None:
    """Put the record of a failure where the tables would be."""
    tail = job.log.read_text(errors="replace").splitlines()[-LOG_LINES:] if job.log.exists() else []
    with files.fresh_folder(job.source.root / place(job.study, job.condition)) as folder:
        files.write_json(folder / FAILED, job.record | {"error": str(error), "log": tail})


def _run_one(job: Job, runner: Runner, *, in_worker: bool) -> tuple[str, float, str | None]:
    """Run a condition; return its name, its seconds, and why it failed."""
    if in_worker:
        leave_with_parent()
    started = time.monotonic()
    job.log.unlink(missing_ok=True)
    _tell(f"{job.condition.name}: starts; log in {job.log.relative_to(job.source.root)}")
    why = None
    with tempfile.TemporaryDirectory(dir=job.scratch / CLONES, ignore_cleanup_errors=True) as clone:
        try:
            runner(job, Path(clone))
            _keep(job, Path(clone), time.monotonic() - started)
        except (PlasticityError, OSError) as error:
            why = str(error)
            _keep_failure(job, error)
    return job.condition.name, time.monotonic() - started, why


@dataclass(frozen=True)
class Engine:
    """Who runs conditions side by side; what is not loky is no requirement of the project."""

    name: str = "loky"
    """``loky`` (processes of this machine), ``dask`` or ``ray``."""
    address: str | None = None
    """Of a running cluster, whose machines share this file system; None starts a local one."""


def run(
    study: Study,
    conditions: Sequence[Condition],
    root: Path = Path(),
    jobs: int = 1,
    runner: Runner = run_in_clone,
    engine: Engine = Engine(),
) -> None:
    """Run the conditions that have no tables yet, so many at a time; one that fails stops no other.

    Raises
    ------
    ConfigError
        Before anything starts, when what would run is not committed.
    Interrupted
        When another process runs this study.
    PlasticityError
        At the end, naming the conditions that failed.
    """
    todo = [one for one in conditions if status(study, one, root) != "done"]
    _tell(f"{study.name}: {len(conditions) - len(todo)} of {len(conditions)} conditions are there")
    if not todo:
        return
    planned = study_plan.plan(study, conditions, jobs, root)
    _tell(planned.text())
    if planned.free_bytes < planned.needed_bytes:
        raise StorageError(
            f"{root.absolute()}: {planned.free_bytes / 1e9:.1f} GB are free, and {jobs} conditions "
            f"at a time may need {planned.needed_bytes / 1e9:.0f}; make room, or take fewer --jobs"
        )
    source = committed(root)
    scratch = source.root / files.study_scratch(study.name)
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(scratch / "lock", timeout=0):
            shutil.rmtree(scratch / CLONES, ignore_errors=True)  # of a killed process
            (scratch / CLONES).mkdir(exist_ok=True)
            failed = _run_all([Job(study, one, source) for one in todo], jobs, runner, engine)
    except filelock.Timeout as error:
        raise Interrupted(
            f"{study.name}: another process runs this study; wait for it to end or stop it"
        ) from error
    if failed:
        raise PlasticityError(
            f"{len(failed)} of {len(todo)} conditions failed: {', '.join(sorted(failed))}; see "
            f"{files.study_path(study.name, '*') / FAILED}; the same command tries them again"
        )


@contextmanager
def _pool(engine: Engine, workers: int) -> Iterator[joblib.Parallel]:
    """Yield what calls functions side by side.

    Raises
    ------
    ConfigError
        When the engine's package is not there, or no cluster answers at its address.
    """
    if engine.name == "loky":
        yield joblib.Parallel(n_jobs=workers, backend="loky", return_as="generator_unordered")
        return
    try:
        if engine.name == "dask":
            from distributed import Client

            local = {} if engine.address else {"n_workers": workers, "threads_per_worker": 1}
            with Client(engine.address, **local) as client, joblib.parallel_config("dask"):
                client.run(site.addsitedir, SOURCE)
                yield joblib.Parallel(return_as="generator_unordered")
        else:
            import ray
            from ray.util.joblib import register_ray

            seen = {"env_vars": {"PYTHONPATH": f"{SOURCE}:{os.environ.get('PYTHONPATH', '')}"}}
            cores = None if engine.address else workers
            ray.init(address=engine.address, num_cpus=cores, runtime_env=seen)
            register_ray()
            try:
                with joblib.parallel_config("ray"):
                    yield joblib.Parallel(n_jobs=workers)  # no results before all are there
            finally:
                ray.shutdown()
    except ImportError as error:
        package = {"dask": "dask[distributed]"}.get(engine.name, engine.name)
        raise ConfigError(
            f"--engine {engine.name}: {error}; install it (pip install '{package}'), or use loky"
        ) from error
    except (OSError, ConnectionError) as error:
        raise ConfigError(
            f"--engine {engine.name}: no cluster answers at {engine.address} ({error})"
        ) from error


def _run_all(work: Sequence[Job], jobs: int, runner: Runner, engine: Engine) -> list[str]:
    """Return the names of the conditions that failed."""
    workers = min(jobs, len(work))
    try:
        with _pool(engine, workers) as pool:
            apart = workers > 1 or engine.name != "loky"
            calls = (joblib.delayed(_run_one)(job, runner, in_worker=apart) for job in work)
            return _told(pool(calls), len(work))
    except TerminatedWorkerError as error:
        raise Interrupted(
            "a worker was killed, perhaps for want of memory; the same command continues"
        ) from error


def _told(outcomes: Iterable[tuple[str, float, str | None]], count: int) -> list[str]:
    """Print each outcome as it comes; return the names of the conditions that failed."""
    started, failed = time.monotonic(), []
    for done, (name, seconds, why) in enumerate(outcomes, start=1):
        elapsed = time.monotonic() - started
        left = elapsed / done * (count - done)
        _tell(
            f"{name}: {'done' if why is None else f'failed ({why})'} in {_duration(seconds)} · "
            f"{done}/{count} · elapsed {_duration(elapsed)} · eta {_duration(left)}"
        )
        if why is not None:
            failed.append(name)
    return failed


def _duration(seconds: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=round(seconds))


def _tell(text: str) -> None:
    sys.stderr.write(f"[study] {text}\n")
    sys.stderr.flush()
