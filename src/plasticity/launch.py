"""Runs the items of a stage on worker processes, with checkpoints and progress.

Each process computes on one thread: two threads that wait for each other are slower than two
processes that do not.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from plasticity import checkpoint, checkpoint_folder, files, recipe, subnetwork, train
from plasticity.command import leave_with_parent
from plasticity.data import Dataset, load_prepared
from plasticity.device import peak_memory, prepare_process, resolve_device
from plasticity.errors import DeviceError, Interrupted
from plasticity.items import Item, Outcome
from plasticity.job import Job
from plasticity.progress import Display
from plasticity.sections import Params

SAVE_SECONDS = 20
"""That a worker has to save its run when it is asked to end."""


def run(params: Params, stage: str, work: Sequence[Item]) -> tuple[list[Outcome], dict[str, Any]]:
    """Run all items, continuing what was begun; return their outcomes in order, and the timing.

    Raises
    ------
    Interrupted
        After a signal, all progress saved; or when another process runs the same items.
    DeviceError, StorageError
        As they occur.
    """
    device = resolve_device(params.train.device, params.train.precision)
    folder = files.state_root() / checkpoint_folder.name_of(params, stage, device, work)
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
        checkpoint_folder.held(folder),
        _asked_to_stop() as asked,
        Display(stage, params, device, folder, len(work)) as display,
    ):
        checkpoint_folder.forget_old(folder)
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
        "peak_memory_mb": peak_memory(device),
    }


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
            f"{device}: out of memory with {len(item.seeds)} seeds at once; set "
            f"{item.setting} lower"
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
