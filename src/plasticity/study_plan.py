"""What a study still has to do, and how long that takes. No torch.

The estimate scales the time of conditions that are there by work: images that pass through a
network, times its multiplications at full capacity. It is rough: units that are masked cost less.
"""

import datetime
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from plasticity.catalogue import DATASETS
from plasticity.sections import Params
from plasticity.study import Condition, Study, place, record, status

PIXELS = {"digits": (64, 8), "mnist": (784, 28), "fashion_mnist": (784, 28)}
"""Inputs of an MLP and height of an image; any other data set has 3 x 32 x 32, or a folder's."""
IMAGES = {"digits": 1437}
MANY = 50_000
"""Training images where a data set's own number is asked for."""
DISK = 2e9
"""Bytes that one running condition may need for its clone, data and checkpoints."""


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    lines: tuple[str, ...]
    """One for each condition: its state and its folder."""
    to_run: int
    seconds: float | None
    """Of all that is to be run, as if one at a time; None where no time is known."""
    free_bytes: int
    needed_bytes: int

    def text(self) -> str:
        """Return the plan in one line."""
        time = "no estimate yet: nothing of this study was timed"
        if self.seconds is not None:
            seconds = datetime.timedelta(seconds=round(self.seconds))
            time = f"about {seconds} at the pace so far, one at a time"
        return f"{self.to_run} to run, {time}; {self.free_bytes / 1e9:.0f} GB free"


def plan(study: Study, conditions: Sequence[Condition], jobs: int = 1, root: Path = Path()) -> Plan:
    """Return what is to be run of some conditions.

    Parameters
    ----------
    study, conditions
        What is asked for.
    jobs
        Conditions at a time.
    root
        Of the project.
    """
    states = {one.name: status(study, one, root) for one in conditions}
    todo = [one for one in conditions if states[one.name] != "done"]
    timed = []
    for one in study.conditions:
        done = status(study, one, root) == "done"
        seconds = record(root / place(study, one)).get("seconds") if done else None
        if seconds is not None:
            timed.append((float(seconds), work(one.params, study.stages)))
    total = sum(done for _, done in timed)
    pace = sum(seconds for seconds, _ in timed) / total if total else None
    left = sum(work(one.params, study.stages) for one in todo)
    return Plan(
        tuple(f"{states[one.name]:8}{one.experiment}" for one in conditions),
        len(todo),
        None if pace is None else pace * left,
        shutil.disk_usage(root).free,
        int(DISK * min(jobs, len(todo))),
    )


def work(params: Params, stages: Sequence[str]) -> float:
    """Return multiplications of all that some stages train, up to a factor that all share."""
    images = params.data.train_images
    count = IMAGES.get(params.dataset, MANY) if images == "all" else int(images)
    widths, trunk = params.network.widths, params.network.trunk
    epoch = count * params.train.seeds * _multiplications(params, widths, trunk)
    own = params.continual
    updates = len(own.streams) * len(own.learners) * max(1, len(own.sweep)) * own.tasks * own.steps
    parts = {
        "train": params.train.epochs * epoch,
        "retrain": len(params.retrain.variants) * params.retrain.epochs * epoch,
        "continual": updates
        * own.batch
        * own.seeds
        * _multiplications(params, own.widths, own.trunk),
    }
    return float(sum(parts.get(stage, 0.0) for stage in stages))


def _multiplications(params: Params, widths: Sequence[int], trunk: Sequence[int]) -> float:
    """Return those of one image through the full network."""
    classes = DATASETS[params.dataset].classes or 10
    inputs, side = PIXELS.get(params.dataset, (3072, 32))
    total = 0.0
    channels = 1 if params.dataset in PIXELS else 3
    for filters in trunk:
        total += 9 * channels * filters * side * side
        channels, side = filters, side // 2
    flat = channels * side * side if trunk else inputs
    return total + sum(a * b for a, b in pairwise((flat, *widths, classes)))
