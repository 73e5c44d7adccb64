"""Runs the conditions of a study side by side, and keeps what they leave. No torch.

The tables of a condition are put in their place whole or not at all.
"""

import datetime
import math
import os
import re
import shutil
import site
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import filelock
import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from plasticity import files, lifeline, machine, processes, study_plan
from plasticity.command import check_place
from plasticity.errors import (
    ConfigError,
    DataError,
    DeviceError,
    Interrupted,
    PlasticityError,
    StorageError,
)
from plasticity.study import DONE, FAILED, Condition, Study, place, record, status
from plasticity.study_clone import Job, Source, committed, run_in_clone, tables, tell

LOG_LINES = 40
CLONES = "clones"
ADDRESSES = {"dask": "DASK_SCHEDULER_ADDRESS", "ray": "RAY_ADDRESS"}
"""Engine -> the variable in which it names a running cluster."""
ANSWER_SECONDS = 10
_HOST_AND_PORT = re.compile(r"(?:^|//)([^/:@]+|\[[^\]]+\]):(\d+)$")
Runner = Callable[[Job, Path], Callable[[], None] | None]
"""Runs a condition in an empty folder, and leaves ``reports`` in the project there; may return what
is still to be done when these are kept, and may fail."""


def _keep(job: Job, project: Path, seconds: float, errors: Sequence[str]) -> None:
    """Put a finished condition's tables in their place, whole or not at all."""
    with files.fresh_folder(job.source.root / place(job.study, job.condition)) as folder:
        for table in tables(project):
            files.write_bytes(folder / table.relative_to(project), table.read_bytes())
        params = job.condition.params.model_dump(mode="json")
        spent = {"seconds": round(seconds), "cores": machine.processors()}
        before = {"earlier_errors": list(errors)}
        files.write_json(folder / DONE, job.record | spent | before | {"params": params})


def _keep_failure(job: Job, errors: Sequence[str]) -> None:
    """Put the record of a failure where the tables would be."""
    tail = job.log.read_text(errors="replace").splitlines()[-LOG_LINES:] if job.log.exists() else []
    failure = {"error": errors[-1], "earlier_errors": list(errors[:-1]), "log": tail}
    try:
        with files.fresh_folder(job.source.root / place(job.study, job.condition)) as folder:
            files.write_json(folder / FAILED, job.record | failure)
    except (StorageError, OSError) as error:  # a full disk, say: the others go on
        tell(f"{job.condition.name}: its failure cannot be recorded ({error})")


def _run_one(
    job: Job, runner: Runner, retries: int, *, in_worker: bool
) -> tuple[str, float, str | None]:
    """Run a condition, again when it fails; return its name, its seconds, and why it failed."""
    if in_worker:
        lifeline.end_with_parent()
    started = time.monotonic() - _spent(job)
    job.log.unlink(missing_ok=True)
    tell(f"{job.condition.name}: starts; log in {job.log.relative_to(job.source.root)}")
    errors: list[str] = []
    while len(errors) <= retries:
        why = _attempt(job, runner, started, errors)
        if why is None:
            return job.condition.name, time.monotonic() - started, None
        errors.append(why)
        if len(errors) <= retries:
            tell(f"{job.condition.name}: failed ({why}); tried again from its last checkpoint")
    _keep_failure(job, errors)
    return job.condition.name, time.monotonic() - started, errors[-1]


def _spent(job: Job) -> float:
    """Return the seconds that killed calls spent on a condition, and note that one more begins.

    A call that is killed leaves no time behind but that of its last line in the log.
    """
    spent, since = 0.0, math.inf
    try:
        if job.note.exists():
            note = files.read_json(job.note)
            with files.interpreting(job.note):
                spent, since = float(note["spent"]), float(note["since"])
    except DataError as error:  # which costs no more than the time
        tell(f"{job.condition.name}: the time that earlier calls spent is not known ({error})")
    last = job.log.stat().st_mtime if job.log.exists() else -math.inf
    spent += max(0.0, last - since)
    with suppress(StorageError, OSError):  # a full disk, which the condition itself will tell of
        files.write_json(job.note, {"spent": spent, "since": time.time()})
    return spent


def _attempt(job: Job, runner: Runner, started: float, errors: Sequence[str]) -> str | None:
    """Run a condition once and keep its tables; return why it failed.

    Nothing that happens once they are kept is a failure.
    """
    folder = job.scratch / CLONES
    kept = False
    try:
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as clone:
            later = runner(job, Path(clone))
            project = Path(clone) / job.source.within
            _keep(job, project, time.monotonic() - started, errors)
            kept = True
            if later is not None:
                later()
        job.note.unlink(missing_ok=True)
    except (PlasticityError, OSError) as error:
        if not kept:
            return str(error)
        tell(f"{job.condition.name}: its tables are kept, but its experiment is not ({error})")
    return None


@dataclass(frozen=True)
class Engine:
    """Who runs conditions side by side; what is not loky is no requirement of the project."""

    name: str = "loky"
    """``loky`` (processes of this machine), ``dask`` or ``ray``."""
    address: str | None = None
    """Of a running cluster, whose machines share this file system; None takes the one that the
    engine's own variable names, or else starts a local one."""
    jobs: int = 1
    """Conditions at a time; a running cluster has a number of its own."""
    retries: int = 0
    """How often a condition that fails is tried again in one call."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be."""
        for option, value, lowest in (("--jobs", self.jobs, 1), ("--retries", self.retries, 0)):
            if value < lowest:
                raise ConfigError(f"{option}: got {value}, expected at least {lowest}")

    @property
    def cluster(self) -> str | None:
        """Return the address of the running cluster that is to be used, if there is one."""
        return self.address or os.environ.get(ADDRESSES.get(self.name, "")) or None


def run(
    study: Study,
    conditions: Sequence[Condition],
    root: Path = Path(),
    engine: Engine = Engine(),
    runner: Runner = run_in_clone,
) -> None:
    """Run the conditions that have no tables yet; one that fails stops no other.

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
    tell(f"{study.name}: {len(conditions) - len(todo)} of {len(conditions)} conditions are there")
    if not todo:
        return
    planned = study_plan.plan(study, conditions, engine.jobs, root)
    tell(planned.text())
    if planned.free_bytes < planned.needed_bytes:
        raise StorageError(
            f"{root.absolute()}: {planned.free_bytes / 1e9:.1f} GB are free, and {engine.jobs} "
            f"conditions at a time may need {planned.needed_bytes / 1e9:.0f}; make room, or take "
            "fewer --jobs"
        )
    check_place(root)
    source = committed(root)
    if others := _other_code(study, conditions, source):
        tell(f"{', '.join(others)}: run with other code than this; the page will say so")
    scratch = source.root / files.study_scratch(study.name)
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(scratch / "lock", timeout=0):
            shutil.rmtree(scratch / CLONES, ignore_errors=True)  # of a killed process
            (scratch / CLONES).mkdir(exist_ok=True)
            work = [Job(study, one, source) for one in todo]
            failed = _run_all(work, runner, engine)
    except filelock.Timeout as error:
        raise Interrupted(
            f"{study.name}: another process runs this study; wait for it to end or stop it"
        ) from error
    if failed:
        raise PlasticityError(
            f"{len(failed)} of {len(todo)} conditions failed: {', '.join(sorted(failed))}; see "
            f"{files.study_path(study.name, '*') / FAILED}; the same command tries them again"
        )


def _other_code(study: Study, conditions: Sequence[Condition], source: Source) -> list[str]:
    """Return the finished conditions whose code was not this one."""
    kept = {
        one.name: record(source.root / place(study, one))["code"]
        for one in conditions
        if status(study, one, source.root) == "done"
    }
    trees = source.trees.items()
    return [name for name, code in kept.items() if any(code.get(k) != tree for k, tree in trees)]


@contextmanager
def _pool(engine: Engine, workers: int) -> Iterator[joblib.Parallel]:
    """Yield what calls functions side by side.

    Raises
    ------
    ConfigError
        When the engine's package is not there.
    DeviceError
        When no cluster answers at its address.
    """
    if engine.name == "loky":
        with lifeline.named():
            yield joblib.Parallel(n_jobs=workers, backend="loky", return_as="generator_unordered")
        return
    with ExitStack() as opened:
        try:
            calls = {"dask": _dask, "ray": _ray}[engine.name](engine, workers, opened)
        except ImportError as error:
            package = {"dask": "dask[distributed]"}.get(engine.name, engine.name)
            raise ConfigError(
                f"--engine {engine.name}: {error}; install it (pip install '{package}'), or "
                "use loky"
            ) from error
        yield calls


@contextmanager
def _answering(engine: Engine) -> Iterator[None]:
    """Connect to a running cluster or start one; that it cannot be had is told in one line.

    Its port is tried first: clients wait for minutes, and one of them then ends the process.

    Raises
    ------
    DeviceError
        When nobody answers.
    """
    place = _HOST_AND_PORT.search(engine.cluster or "")
    try:
        if place is not None:
            socket.create_connection((place[1].strip("[]"), int(place[2])), ANSWER_SECONDS).close()
        yield
    except Exception as error:  # clients raise what they like
        why = " ".join(str(error).split())[:200] or type(error).__name__
        if engine.cluster is None:
            text = f"a cluster on this machine does not start ({why}); use loky"
        else:
            text = (
                f"no cluster answers at {engine.cluster} ({why}); start it, or leave out --address "
                f"and unset {ADDRESSES[engine.name]} for one on this machine"
            )
        raise DeviceError(f"--engine {engine.name}: {text}") from error


def _dask(engine: Engine, workers: int, opened: ExitStack) -> joblib.Parallel:
    from distributed import Client

    local = {} if engine.cluster else {"n_workers": workers, "threads_per_worker": 1}
    with _answering(engine):
        client = opened.enter_context(Client(engine.cluster, **local))
    opened.enter_context(joblib.parallel_config("dask"))
    client.run(site.addsitedir, processes.SOURCE)
    return joblib.Parallel(return_as="generator_unordered")


def _ray(engine: Engine, workers: int, opened: ExitStack) -> joblib.Parallel:
    import ray
    from ray.util.joblib import register_ray

    seen = {"env_vars": {"PYTHONPATH": f"{processes.SOURCE}:{os.environ.get('PYTHONPATH', '')}"}}
    with _answering(engine):
        if engine.cluster in (None, "local"):
            ray.init(address="local", num_cpus=workers, runtime_env=seen)
        else:
            ray.init(address=engine.cluster, runtime_env=seen)
    opened.callback(ray.shutdown)
    register_ray()
    devices = int(ray.cluster_resources().get("GPU", 0))  # ray hides what is not asked for
    share = {"ray_remote_args": {"num_gpus": 1}} if devices else {}
    opened.enter_context(joblib.parallel_config("ray", **share))
    return joblib.Parallel(n_jobs=min(workers, devices or workers))  # gives no result before all


def _run_all(work: Sequence[Job], runner: Runner, engine: Engine) -> list[str]:
    """Return the names of the conditions that failed."""
    workers = min(engine.jobs, len(work))
    try:
        with _pool(engine, workers) as pool:
            apart = workers > 1 or engine.name != "loky"
            one = joblib.delayed(_run_one)
            calls = (one(job, runner, engine.retries, in_worker=apart) for job in work)
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
        tell(
            f"{name}: {'done' if why is None else f'failed ({why})'} in {_duration(seconds)} · "
            f"{done}/{count} · elapsed {_duration(elapsed)} · eta {_duration(left)}"
        )
        if why is not None:
            failed.append(name)
    return failed


def _duration(seconds: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=round(seconds))
