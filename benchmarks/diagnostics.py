"""What measuring units costs: at the paper's schedule, composed, and in whole runs."""

import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.cases import CONVNET, job_of, params_of, random_dataset, ratios, spread, turns
from benchmarks.edits import steps
from plasticity import probing, recipe, train
from plasticity.data import Dataset
from plasticity.device import prepare_process
from plasticity.job import Job, Progress, Run
from plasticity.state import State, gather

CYCLE = 40 * 391
"""Steps of a cycle of the paper: 40 epochs of 50,000 images in batches of 128."""
LAPTOP = {"cifar10": ((3, 32, 32), 10_000, 10_000), "mnist": ((1, 28, 28), 20_000, 10_000)}
"""Size, number of training images and of test images of the data sets."""


def resumed(job: Job, state: State, step: int) -> Run:
    """Return a run that stands at a step."""
    zeros = [0.0] * len(job.seeds)
    progress = Progress(loss=zeros[:], online=zeros[:], early=zeros[:])
    return Run(job, step, state, gather(state), progress)


def events(job: Job, state: State) -> Iterator[None]:
    """Apply the second event for ever to the same state, with what is measured around it."""
    event = job.events[1]
    while True:
        train._edit(resumed(job, state, event.step), event)
        yield


def along(job: Job, state: State, moment: str) -> Iterator[None]:
    """Measure the newborns of the second event for ever, as the loop does after a step."""
    current = resumed(job, state, job.events[1].step)
    while True:
        before = current.copy.weights.map(torch.clone)
        probing.along(current, (1, 1, moment), before)
        yield


def of_paper() -> Iterator[str]:
    """Return the cost of a cycle's probes, composed from the cost of each kind."""
    job = job_of(CONVNET, {"op": "grow", "scale": "paper", "train.lr": 0.1})
    first = resumed(job, train.start(job, None).state, 0)
    train._edit(first, job.events[0])
    train.advance(first)
    first.settle()
    born = resumed(job, first.state, job.events[1].step)
    train._edit(born, job.events[1])
    loops = {
        "step": steps(job, born.state),
        "event": events(replace(job, probing=True), first.state),
        "bare event": events(replace(job, probing=False), first.state),
        "along": along(job, born.state, "along"),
        "end": along(job, born.state, "end"),
    }
    seconds, _ = turns(loops, least=1)
    extra = [a - b for a, b in zip(seconds["event"], seconds["bare event"], strict=True)]
    birth, each, end = (
        ratios(part, seconds["step"]) for part in (extra, seconds["along"], seconds["end"])
    )
    count = sum(0 < age < CYCLE for age in probing.PROBE_AGES)
    cycle = [a + count * b + c for a, b, c in zip(birth, each, end, strict=True)]
    yield "| a probe, in steps | number in a cycle | steps each |\n| --- | --- | --- |"
    yield f"| before and after the event | 1 | {spread(birth)} |"
    yield f"| along the cycle | {count} | {spread(each)} |"
    yield f"| at its end | 1 | {spread(end)} |"
    share = [100 * part / CYCLE for part in cycle]
    yield f"| **sum, in % of a cycle's {CYCLE:,} steps** | {count + 2} | {spread(share)} |"


def by_turns(jobs: dict[str, Job]) -> dict[str, list[float]]:
    """Run jobs to their ends, an epoch each in turn; return processor seconds of each epoch."""
    batons = {name: threading.Semaphore(int(index == 0)) for index, name in enumerate(jobs)}
    names = list(jobs)
    after = dict(zip(names, (*names[1:], names[0]), strict=True))
    seconds: dict[str, list[float]] = {name: [] for name in jobs}

    def work(name: str) -> None:
        batons[name].acquire()
        prepare_process()  # denormals are a matter of each thread
        started = time.thread_time()

        def epoch_ended(news: dict[str, Any]) -> None:  # noqa: ARG001 (a report's form)
            nonlocal started
            seconds[name].append(time.thread_time() - started)
            batons[after[name]].release()
            batons[name].acquire()
            started = time.thread_time()

        with tempfile.TemporaryDirectory() as folder:
            train.run(jobs[name], Path(folder), epoch_ended)
        batons[after[name]].release()

    threads = [threading.Thread(target=work, args=(name,)) for name in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds


def of_laptop(name: str, dataset: Dataset) -> str:
    """Return the row of one data set: whole runs with and without diagnostics, cycle by cycle."""
    jobs = {}
    for enabled in (True, False):
        params = params_of({"dataset": name, "scale": "laptop", "measure.enabled": enabled})
        setting = recipe.Setting(dataset, torch.device("cpu"))
        jobs[str(enabled)] = recipe.train_job(params, setting, (0,))
    seconds = by_turns(jobs)
    epochs = params.train.epochs // params.edit.cycles
    starts = range(0, params.train.epochs, epochs)
    on, off = ([sum(part[s : s + epochs]) for s in starts] for part in seconds.values())
    extra = [100 * (ratio - 1) for ratio in ratios(on, off)]
    total = 100 * (sum(on) / sum(off) - 1)
    cycle = epochs * jobs["True"].window
    rate = 1e3 * median(off) / cycle
    return f"| {name} | {cycle} | {rate:.1f} | {spread(extra, '{:.1f}')} | {total:.1f} |"


def lines() -> Iterator[str]:
    """Return the lines of the result, as they are measured."""
    yield "\n## Diagnostics\n"
    yield f"Composed for the paper's schedule ({CONVNET.name}, one seed, batch 128, {CYCLE:,} steps"
    yield "a cycle): the cost of each kind of probe in steps, times how many a cycle has. Steps are"
    yield "those of the second cycle, where the network is small and probes weigh most.\n"
    yield from of_paper()
    yield "\nWhole runs of the preset `laptop`, one seed, random images: `measure.enabled` true"
    yield "against false, an epoch each in turn, with evaluation and checkpoints on both sides.\n"
    yield "| data set | steps a cycle | ms a step without | % more, by cycle | % more, whole run |"
    yield "| --- | --- | --- | --- | --- |"
    for name, (image, train_images, test_images) in LAPTOP.items():
        yield of_laptop(name, random_dataset(image, train_images, test_images))
