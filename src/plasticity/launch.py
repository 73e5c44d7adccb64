"""Runs the jobs of a stage: seed groups on worker processes, checkpoints, locks, progress.

Seeds run in groups whose size depends on the network alone, so the bytes do not depend on the
number of processes. Each process computes on one thread: two threads that wait for each other
are slower than two processes that do not.
"""

import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import filelock
import numpy as np
import torch

from plasticity import RESULTS_VERSION, checkpoint, files, recipe, subnetwork, train
from plasticity.command import leave_with_parent
from plasticity.config import STAGE_PARAMS
from plasticity.data import Dataset, load_prepared, prepared_sum
from plasticity.errors import DeviceError, Interrupted
from plasticity.job import Job
from plasticity.learner_catalogue import LEARNERS
from plasticity.learners import StreamRun
from plasticity.progress import Display
from plasticity.sections import Params

GROUP_SIZE = {"mlp": 5, "convnet": 1}
"""Seeds computed together on a CPU. A trunk loops over seeds anyway."""
TUNING_SEED = 1000
"""The first seed of tuning; ``continual.seeds`` are at most as many, so no seed is both."""
LOCK_SECONDS = 60
PATIENT = "PLASTICITY_PATIENT"
"""Set in the environment of a study's conditions: two that share a stage wait for each other."""
KEEP_DAYS = 14
SAVE_SECONDS = 20
"""That a worker has to save its run when it is asked to end."""


@dataclass(frozen=True)
class Item:
    """One job of a stage: a variant (or a stream) and a group of seeds."""

    stage: str
    variant: str
    seeds: tuple[int, ...]
    run: StreamRun | None = None
    """In a stream: who learns in which."""
    lrs: tuple[float, ...] = ()
    """In a stream: the learning rate of each seed."""

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.variant}-seeds-{self.seeds[0]}-{self.seeds[-1]}"

    @property
    def key(self) -> list[Any]:
        """Return what tells it from any other work of the stage."""
        own = None if self.run is None else self.run.own
        return [self.name, list(self.seeds), list(self.lrs), own]


@dataclass(frozen=True)
class Outcome:
    """What a finished item left."""

    item: Item
    final: checkpoint.Checkpoint


def resolve_device(wanted: str) -> str:
    """Return ``cpu`` or ``cuda``.

    Raises
    ------
    DeviceError
        When ``cuda`` is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "train.device: got cuda, but torch sees no CUDA device here; use auto or cpu"
        )
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def items(params: Params, stage: str, variants: Sequence[str], num_seeds: int) -> list[Item]:
    """Return the jobs of a stage: every variant for every group of seeds."""
    on_gpu = resolve_device(params.train.device) == "cuda"
    size = num_seeds if on_gpu else GROUP_SIZE[params.network.kind]
    groups = [tuple(range(num_seeds))[start : start + size] for start in range(0, num_seeds, size)]
    return [Item(stage, variant, group) for variant in variants for group in groups]


def stream_items(params: Params, runs: Iterable[StreamRun]) -> list[Item]:
    """Return the jobs of some runs in streams, for every group of the reported seeds."""
    found = list(runs)
    names = [run.name for run in found]
    by_name = dict(zip(names, found, strict=True))
    return [
        replace(item, run=one, lrs=(one.lr or params.continual.lr,) * len(item.seeds))
        for item in items(params, "continual", names, params.continual.seeds)
        for one in [by_name[item.variant]]
    ]


def tuning_items(params: Params, runs: Iterable[StreamRun]) -> list[Item]:
    """Return the jobs that try every rate, and every value of a learner's own parameter.

    Rates lie on the seed axis. The seeds are no reported ones: they start at ``TUNING_SEED``.
    """
    settings = params.continual
    pairs = [
        (TUNING_SEED + seed, rate)
        for rate in settings.tune_rates
        for seed in range(settings.tune_seeds)
    ]
    seeds, lrs = (tuple(part) for part in zip(*pairs, strict=True))
    return [
        Item("continual", f"tune-{one.name}", seeds, one, lrs)
        for run in runs
        for one in _with_own(run)
    ]


def _with_own(run: StreamRun) -> list[StreamRun]:
    count = len(LEARNERS[run.learner].values)
    return [replace(run, own=index) for index in range(count)] or [run]


def run(params: Params, stage: str, work: Sequence[Item]) -> tuple[list[Outcome], dict[str, Any]]:
    """Run all items, continuing what was begun; return their outcomes in order, and the timing.

    Raises
    ------
    Interrupted
        After a signal, all progress saved; or when another process runs the same items.
    DeviceError, StorageError
        As they occur.
    """
    device = resolve_device(params.train.device)
    folder = files.state_root() / _key(params, stage, device, work)
    started = time.monotonic()
    workers = _num_workers(params, device, len(work))
    timing = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "workers": workers,
        "torch": torch.__version__,
        "key": folder.name,
    }
    if not work:
        return [], timing
    with (
        _locked(folder),
        _asked_to_stop() as asked,
        Display(stage, params, device, folder, len(work)) as display,
    ):
        _forget_old(folder)
        if workers == 1:
            for item in work:
                _run_item(params, item, device, folder, display.show, lambda: bool(asked))
        else:
            _run_parallel(params, work, device, folder, workers, display, asked)
    outcomes = []
    for item in work:
        final = checkpoint.load(folder / item.name, torch.device("cpu"))
        assert final is not None
        outcomes.append(Outcome(item, final))
    return outcomes, timing | {
        "compute_seconds": round(time.monotonic() - started, 3),
        "peak_memory_mb": _peak_memory(device),
    }


def _peak_memory(device: str) -> int:
    """Return the most memory that one process had so far, or the device, in MiB."""
    if device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**20)
    kib = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF,
                                                           resource.RUSAGE_CHILDREN))  # fmt: skip
    return round(kib / 2**10)


def prepare_process() -> None:
    """Set what every computing process has in common: one thread, true float32, no denormals."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def _num_workers(params: Params, device: str, num_items: int) -> int:
    if device == "cuda":
        return 1
    cores = os.cpu_count() if params.train.workers == "all" else params.train.workers
    return max(1, min(cores or 1, num_items))


@cache
def _dataset(folder: Path) -> Dataset:
    return load_prepared(folder)


def _run_item(
    params: Params,
    item: Item,
    device: str,
    folder: Path,
    report: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool],
) -> None:
    prepare_process()
    setting = recipe.Setting(_dataset(files.PREPARED), torch.device(device))
    try:
        job = _job(params, setting, item)
        train.run(job, folder / item.name, lambda news: report(news | {"item": item.name}), stop)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{device}: out of memory with {len(item.seeds)} seeds at once; set train.seeds lower"
        ) from error


def _job(params: Params, setting: recipe.Setting, item: Item) -> Job:
    if item.stage == "train":
        return recipe.train_job(params, setting, item.seeds)
    if item.stage == "retrain":
        kept = [subnetwork.load_subnetwork(files.subnetwork_path(s)) for s in item.seeds]
        masks = subnetwork.kept_masks(kept)
        return recipe.retrain_job(params, setting, item.seeds, item.variant, masks)
    assert item.run is not None
    return recipe.continual_job(params, setting, item.seeds, item.run, item.lrs)


_channel: Any = None
_stop: Any = None
_asked: list[int] = []


def _start_worker(channel: Any, stop: Any) -> None:
    global _channel, _stop
    _channel, _stop = channel, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _save_and_end)
    leave_with_parent()


def _save_and_end(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 (signal's form)
    """Have the run saved; the alarm ends a worker that nobody gives an end to afterwards."""
    _asked.append(signum)
    signal.alarm(SAVE_SECONDS)


def _work(params: Params, item: Item, device: str, folder: Path) -> None:
    stop = lambda: bool(_asked) or _stop.is_set()  # noqa: E731
    _run_item(params, item, device, folder, _channel.put, stop)


def _run_parallel(  # noqa: PLR0913 (hands everything on to the workers)
    params: Params,
    work: Sequence[Item],
    device: str,
    folder: Path,
    workers: int,
    display: Display,
    asked: Sequence[int],
) -> None:
    context = multiprocessing.get_context("spawn")
    channel, stop = context.Queue(), context.Event()
    with ProcessPoolExecutor(workers, context, _start_worker, (channel, stop)) as pool:
        pending = {pool.submit(_work, params, item, device, folder) for item in work}
        try:
            while pending:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                if asked:
                    stop.set()
                while not channel.empty():
                    display.show(channel.get())
                for future in done:
                    future.result()
        except BrokenProcessPool as error:
            raise _killed(bool(asked)) from error
        finally:
            stop.set()  # for those that still run where another one failed
            for future in pending:
                future.cancel()


def _killed(asked: bool) -> Interrupted | DeviceError:  # noqa: FBT001
    """Return what to say of a worker that ended by a signal."""
    if asked:
        return Interrupted("stopped; the same command continues from the last checkpoint")
    return DeviceError(
        "a worker process was killed, perhaps for want of memory; the same command continues from "
        "the last checkpoint, and fewer train.workers need less memory"
    )


def _key(params: Params, stage: str, device: str, work: Sequence[Item]) -> str:
    """Return the name under which this work's checkpoints are kept.

    It names parameters, code, data, seeds and their groups, device, versions: whatever could change
    a byte of the result. The number of workers cannot.
    """
    sections = params.model_dump(mode="json", include=set(STAGE_PARAMS[stage]))
    del sections["train"]["workers"]
    inputs = {
        "stage": stage,
        "params": sections,
        "items": [item.key for item in work],
        "code": _code_sum(),
        "data": prepared_sum(files.PREPARED),
        "subnetworks": _subnetwork_sums(work) if stage == "retrain" else None,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "torch": torch.__version__,
        "numpy": np.__version__,  # which draws everything that is random
        "results": RESULTS_VERSION,
    }
    text = json.dumps(inputs, sort_keys=True)
    return f"{stage}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _code_sum() -> str:
    """Return the sum of every module of the package that is loaded."""
    root = Path(__file__).parent
    paths = sorted(
        Path(str(module.__file__))
        for module in list(sys.modules.values())
        if getattr(module, "__file__", None) and root in Path(str(module.__file__)).parents
    )
    return hashlib.sha256("".join(files.sha256(path) for path in paths).encode()).hexdigest()


def _subnetwork_sums(work: Sequence[Item]) -> list[str]:
    seeds = sorted({seed for item in work for seed in item.seeds})
    return [files.sha256(files.subnetwork_path(seed) / "manifest.json") for seed in seeds]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process alone."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "owner"
    lock = filelock.FileLock(folder / "lock")
    seconds = -1 if PATIENT in os.environ else LOCK_SECONDS
    limit = "" if seconds < 0 else f" up to {seconds} s"
    try:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            told = f"waiting{limit} for process {_read(owner)}, which runs the same\n"
            sys.stderr.write(told)
            lock.acquire(timeout=seconds)
    except filelock.Timeout as error:
        raise Interrupted(
            f"{folder}: process {_read(owner)} is still running the same work; wait for it to end "
            "or stop it, then run the same command again"
        ) from error
    try:
        owner.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else "unknown"


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Give a list that SIGINT and SIGTERM are added to, so that runs can save before they end.

    A list, since an event has a lock, which the signal may find held by the process it interrupts.
    """
    asked: list[int] = []

    def ask(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 (signal's form)
        asked.append(signum)

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _forget_old(current: Path) -> None:
    """Remove checkpoints that nobody has touched for ``KEEP_DAYS``."""
    limit = time.time() - KEEP_DAYS * 86400
    for folder in current.parent.iterdir():
        if folder != current and folder.is_dir() and _touched(folder) < limit:
            shutil.rmtree(folder, ignore_errors=True)


def _touched(folder: Path) -> float:
    """Return when a folder was last written to; what changes under our eyes is written to now."""
    try:
        return max((path.stat().st_mtime for path in folder.rglob("*")), default=0.0)
    except FileNotFoundError:
        return time.time()
