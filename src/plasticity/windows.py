"""What is written down of a window: sums over its steps, accuracy and health at its end."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from plasticity import cohorts, measures, probing
from plasticity.data import Images
from plasticity.job import GROUPS, Evaluation, Run, Watch
from plasticity.network import forward
from plasticity.state import compact
from plasticity.tables import Row

EARLY_PART = 0.1
"""Share of a window whose online accuracy is also recorded by itself."""
EVALUATION_BATCH = 500


def tally(current: Run, losses: Sequence[float], rights: Sequence[float]) -> None:
    """Add a step to the sums of its window; a seed whose loss is not finite is marked."""
    job, copy, progress = current.job, current.copy, current.progress
    within = current.step % job.window
    for row, value in enumerate(losses):
        if not math.isfinite(value) and copy.diverged[row] < 0:
            copy.diverged[row] = current.step
        if copy.diverged[row] >= 0:
            continue
        progress.loss[row] += value
        progress.online[row] += rights[row]
        if within < math.ceil(EARLY_PART * job.window):
            progress.early[row] += rights[row]
        if progress.bins:
            progress.bins[within * len(progress.bins) // job.window][row] += rights[row]


def close(current: Run) -> None:
    """Write the window's row for every seed and clear its sums."""
    job, progress = current.job, current.progress
    finished = current.step // job.window
    accuracy: list[float | None] = [None] * len(job.seeds)
    tested = 0
    full = False
    if job.evaluation is not None:
        full = finished in job.evaluation.full_at
        accuracy, tested = _evaluate(current, job.evaluation, full=full)
    early = math.ceil(EARLY_PART * job.window)
    scored = True if job.watch is None else _watch_window(current, job.watch, finished)
    graded = job.watch is None or job.watch.graded
    for row, seed in enumerate(job.seeds):
        whole = current.copy.diverged[row] < 0
        progress.windows.append(
            {
                "seed": seed,
                "window": finished - 1,
                "step": current.step,
                "lr": job.lr(finished - 1),
                "loss": progress.loss[row] / job.window if whole else None,
                "online_acc": 100 * progress.online[row] / job.window if graded else None,
                "early_acc": 100 * progress.early[row] / early if graded else None,
                "scored": int(scored),
                "parts": _parts(progress.bins, row, job.window),
                "acc": accuracy[row],
                "test_images": tested,
                "full": int(full),
                "units": measures.units_text(job.counted(current.widths())),
                "alive_units": sum(job.counted(current.widths())),
                "flops": progress.flops,
                "active_unit_steps": progress.active_unit_steps,
            }
        )
    zeros = [0.0] * len(job.seeds)
    progress.loss, progress.online, progress.early = zeros[:], zeros[:], zeros[:]
    progress.bins = [zeros[:] for _ in progress.bins]


def summary(current: Run) -> dict[str, Any]:
    """Return what the terminal shows of a window's end."""
    rows = current.progress.windows[-len(current.job.seeds) :]
    return {
        "seeds": list(current.job.seeds),
        "step": current.step,
        "steps": current.job.window * current.job.num_windows,
        "acc": [row["online_acc"] if row["acc"] is None else row["acc"] for row in rows],
        "loss": [row["loss"] for row in rows],
        "units": rows[0]["units"],
        "diverged": {
            seed: at
            for seed, at in zip(current.job.seeds, current.copy.diverged, strict=True)
            if at >= 0
        },
    }


def test_tasks(current: Run, images: Images, groups: Tensor, finished: int) -> list[Row]:
    """Return the test accuracy of every task after ``finished`` of them."""
    right = _right(current, images, torch.arange(len(images)))
    rows: list[Row] = []
    for row, seed in enumerate(current.job.seeds):
        for task in range(int(groups[row].max()) + 1):
            mine = groups[row] == task
            accuracy = 100 * float(right[row, mine].double().mean())
            rows.append({"seed": seed, "after": finished, "task": task, "acc": accuracy})
    return rows


def _parts(bins: Sequence[Sequence[float]], row: int, window: int) -> list[int | None]:
    """Return after how many steps of a window a seed first got half, and 0.9, of its end.

    The end is the mean over the last part. None where nothing is right in it, as of a seed that
    diverged: any part is as good as that. Empty outside streams. As fine as ``BINS`` parts.
    """
    if not bins:
        return []
    edges = [math.ceil(part * window / len(bins)) for part in range(len(bins) + 1)]
    means = [part[row] / (edges[place + 1] - edges[place]) for place, part in enumerate(bins)]
    if means[-1] == 0:
        return [None, None]
    return [
        next(edges[at + 1] for at, mean in enumerate(means) if mean >= share * means[-1])
        for share in (0.5, 0.9)
    ]


def _watch_window(current: Run, watch: Watch, finished: int) -> bool:
    """Record what belongs to a stream at the end of a window; return whether it is scored."""
    job, progress = current.job, current.progress
    window = finished - 1
    scored = watch.scored(window)
    groups = min(GROUPS, job.num_windows)
    group = progress.profile[window * groups // job.num_windows]
    edges = [math.ceil(part * job.window / len(group)) for part in range(len(group) + 1)]
    if scored:
        for place, part in enumerate(progress.bins):
            for row, value in enumerate(part):
                group[place][row] += 100 * value / (edges[place + 1] - edges[place])
    if watch.health and finished * groups // job.num_windows > window * groups // job.num_windows:
        state = compact(current.copy)
        measured = probing.measure(job, state, current.gates(), current.step - 1)
        where: dict[str, int | str] = {"event": window, "step": current.step}
        progress.health += cohorts.health_rows(
            state, measured, job.seeds, job.architecture.layer_names, where
        )
    if watch.tests is not None:
        progress.matrix += test_tasks(current, *watch.tests, finished)
    return scored


def _evaluate(
    current: Run, evaluation: Evaluation, *, full: bool
) -> tuple[list[float | None], int]:
    """Return the test accuracy of each seed in percent, and on how many images."""
    images = evaluation.images
    index = torch.arange(len(images)) if full else evaluation.subset
    correct = _right(current, images, index).sum(1)
    return [100 * value / len(index) for value in correct.tolist()], len(index)


def _right(current: Run, images: Images, index: Tensor) -> Tensor:
    """Return (S, N) bool: which of some images each seed gets right."""
    weights, activation, scale = current.copy.weights, current.job.activation, current.scale()
    seeds = weights.bias[0].shape[0]
    right = []
    for part in torch.split(index.to(images.pixels.device), EVALUATION_BATCH):
        x = images.standardise(images.pixels.index_select(0, part))
        trace = forward(weights, x.expand(seeds, *x.shape), activation, scale)
        right.append(trace.logits.argmax(-1) == images.labels[part])
    return torch.cat(right, 1)
