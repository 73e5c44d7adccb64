"""Slowly changing regression: a target network whose inputs flip one bit at a time.

Source: Dohare et al. 2024, section on the slowly changing regression problem. An input has ``BITS``
bits; the first ``SLOW`` of them stand still within a task, and one of these flips between two
tasks. The others are new at every step. The target is a fixed network of ``FEATURES`` linear
threshold units with weights of +-1, far larger than the learner, so the learner must go on
learning.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from plasticity import rng
from plasticity.data import Batch

BITS, SLOW, FEATURES, SHARE = 20, 15, 100, 0.7
Floats = NDArray[np.float64]


def target_network(seed: int) -> tuple[Floats, Floats, Floats]:
    """Return incoming weights (FEATURES, BITS + 1), thresholds and outgoing weights.

    The last input is a constant 1. A unit's threshold is (BITS + 1) x SHARE - (its weights of -1),
    so it is on when the inputs match more than SHARE of its signs.
    """
    draw = rng.stream(seed, "task", 0)
    incoming = draw.choice([-1.0, 1.0], size=(FEATURES, BITS + 1))
    outgoing = draw.choice([-1.0, 1.0], size=FEATURES)
    return incoming, (BITS + 1) * SHARE - (incoming < 0).sum(1), outgoing


def target_of(network: tuple[Floats, Floats, Floats], bits: Floats) -> Floats:
    """Return what the target network says of bits (..., BITS)."""
    incoming, threshold, outgoing = network
    seen = bits @ incoming[:, :BITS].T + incoming[:, BITS]
    said: Floats = (seen > threshold) @ outgoing
    return said


def slow_bits(seed: int, task: int) -> Floats:
    """Return the bits that stand still in a task: those of task 0 with one flip for each task."""
    start = rng.stream(seed, "task", 1).integers(2, size=SLOW)
    flips = rng.stream(seed, "task", 2).integers(SLOW, size=task)
    flipped = start + np.bincount(flips, minlength=SLOW)
    return (flipped % 2).astype(np.float64)


def task_bits(seed: int, task: int, count: int) -> Floats:
    """Return the inputs of a task, (count, BITS) of 0 and 1."""
    fast = rng.stream(seed, "stream_order", task).integers(2, size=(count, BITS - SLOW))
    slow = np.broadcast_to(slow_bits(seed, task), (count, SLOW))
    return np.concatenate([slow, fast], 1)


@dataclass(frozen=True)
class RegressionStream:
    """The examples of S seeds, each with a target network of its own."""

    seeds: tuple[int, ...]
    steps: int
    """Optimizer steps of a task."""
    batch: int
    dtype: torch.dtype
    device: torch.device
    _tasks: dict[int, Batch] = field(default_factory=dict)

    def batch_at(self, step: int) -> Batch:
        """Return the inputs (S, B, BITS) and targets (S, B) of a step."""
        task, within = divmod(step, self.steps)
        x, y = self._task(task)
        part = slice(within * self.batch, (within + 1) * self.batch)
        return x[:, part], y[:, part]

    def probe_at(self, step: int, count: int) -> Batch:
        """Return at most ``count`` examples of the task that a step belongs to."""
        x, y = self._task(step // self.steps)
        return x[:, :count], y[:, :count]

    def _task(self, task: int) -> Batch:
        if task not in self._tasks:
            self._tasks.clear()
            bits = [task_bits(seed, task, self.steps * self.batch) for seed in self.seeds]
            wanted = [
                target_of(target_network(seed), part)
                for seed, part in zip(self.seeds, bits, strict=True)
            ]
            inputs, targets = (torch.from_numpy(np.stack(part)) for part in (bits, wanted))
            where = (self.device, self.dtype)
            self._tasks[task] = inputs.to(*where), targets.to(*where)
        return self._tasks[task]
