"""Runs the items of a stage on worker processes, with checkpoints and progress.

Each process computes on one thread: two threads that wait for each other are slower than two
processes that do not.
"""

import multiprocessing
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

from plasticity import (
    checkpoint,
    checkpoint_folder,
    files,
    lifeline,
    machine,
    recipe,
    subnetwork,
    train,
)
from plasticity.data import Dataset, load_prepared
from plasticity.device import peak_memory, prepare_process, resolve_device
from plasticity.errors import DeviceError, Interrupted, StorageError
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
    with checkpoint_folder.held(folder) as lock:
        with (
            _asked_to_stop() as asked,
            Display(stage, params, device, folder.name, len(work)) as display,
        ):
            checkpoint_folder.forget_old(folder, display.tell)
            if workers == 1:
                ends = [
                    _run_item(params, item, device, folder, display.show, lambda: bool(asked))
                    for item in work
                ]
            else:
                ends = _run_parallel(params, work, device, folder, workers, lock, display, asked)
        outcomes = [_outcome(item, folder, end) for item, end in zip(work, ends, strict=True)]
    return outcomes, timing | {
        "compute_seconds": round(time.monotonic() - started, 3),
        "peak_memory_mb": peak_memory(device),
    }


def refuse(params: Params, work: Sequence[Item], dataset: Dataset) -> None:
    """Refuse items that the prepared data cannot give, before any of them begins.

    Parameters
    ----------
    params
        Of the experiment.
    work
        All items of a stage, also those that wait for the outcomes of others.
    dataset
        As it was prepared.

    Raises
    ------
    ConfigError
        As building their jobs would.
    """
    for item in work:
        if item.run is None:
            recipe.steps_per_epoch(params, len(dataset.train_labels))
        else:
            recipe.refuse_stream(params, dataset, item.seeds, item.run)


def _num_workers(params: Params, device: str, num_items: int) -> int:
    if device == "cuda":
        return 1
    asked = params.train.workers
    return max(1, min(machine.processors() if asked == "all" else asked, num_items))


def _outcome(item: Item, folder: Path, end: int) -> Outcome:
    """Return what a finished item left; an earlier checkpoint of it is no result.

    Raises
    ------
    StorageError
        When its final checkpoint, which has just been there, cannot be used.
    """
    told: list[str] = []
    early = lambda found: None if found.step == end else f"it ends at step {found.step:,}"  # noqa: E731
    final = checkpoint.load(folder / item.name, torch.device("cpu"), told.append, early)
    if final is None:
        raise StorageError(
            f"{folder / item.name}: its final checkpoint, of step {end:,}, is no longer whole "
            f"({told[0] if told else 'it is gone'}); run the same command again"
        )
    return Outcome(item, final)


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
) -> int:
    """Run an item; return its last step."""
    prepare_process()
    setting = recipe.Setting(_dataset(files.PREPARED), torch.device(device))
    try:
        job = _job(params, setting, item)
        place, named = folder / item.name, {"item": item.name}
        return train.run(job, place, lambda news: report(news | named), stop).step
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
_lock: Any = None
_asked: list[int] = []


def _start_worker(channel: Any, stop: Any, lock: checkpoint_folder.Lock) -> None:
    """Prepare a worker, which holds the folder's lock from its first instant to its last."""
    global _channel, _stop, _lock
    _channel, _stop, _lock = channel, stop, lock
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _save_and_end)
    lifeline.join()


def _save_and_end(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 (signal's form)
    """Have the run saved; the alarm ends a worker that nobody gives an end to afterwards."""
    _asked.append(signum)
    signal.alarm(SAVE_SECONDS)


def _work(params: Params, item: Item, device: str, folder: Path) -> int:
    stop = lambda: bool(_asked) or _stop.is_set()  # noqa: E731
    return _run_item(params, item, device, folder, _channel.put, stop)


def _run_parallel(  # noqa: PLR0913 (hands everything on to the workers)
    params: Params,
    work: Sequence[Item],
    device: str,
    folder: Path,
    workers: int,
    lock: checkpoint_folder.Lock,
    display: Display,
    asked: Sequence[int],
) -> list[int]:
    """Run the items side by side; return the last step of each."""
    context = multiprocessing.get_context("spawn")
    channel, stop = context.Queue(), context.Event()
    given = (channel, stop, lock)
    with lifeline.named(), ProcessPoolExecutor(workers, context, _start_worker, given) as pool:
        futures = [pool.submit(_work, params, item, device, folder) for item in work]
        pending = set(futures)
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
        while not channel.empty():
            display.show(channel.get())
        return [future.result() for future in futures]


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
