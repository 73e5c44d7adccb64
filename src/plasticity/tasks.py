"""A stream's batches on the device: a pure function of (seed, task, step)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from plasticity import rng, streams
from plasticity.data import Batch, Images
from plasticity.sections import Choice
from plasticity.streams import Integers, Source, Task

CHUNK = 256
"""Images of a seed that are gathered at once; small batches would cost more to cut than to use."""


@dataclass(frozen=True)
class TaskStream:
    """The batches of S seeds in a stream of image tasks."""

    images: Images
    source: Source
    seeds: tuple[int, ...]
    stream: Choice
    steps: int
    """Optimizer steps of a task."""
    batch: int
    """Images of a step; a task with fewer shows some of them twice in it."""
    _tasks: dict[int, list[Task]] = field(default_factory=dict)
    _orders: dict[tuple[int, int, int], Integers] = field(default_factory=dict)
    _chunks: dict[int, Batch] = field(default_factory=dict)

    def task(self, index: int) -> list[Task]:
        """Return a task as every seed meets it."""
        if index not in self._tasks:
            self._tasks.clear()
            rule = streams.TABLE[self.stream.rule]
            self._tasks[index] = [
                rule(self.source, seed, index, self.stream.options) for seed in self.seeds
            ]
        return self._tasks[index]

    def scored(self, index: int) -> bool:
        """Return whether a task counts, alike in every seed."""
        return self.task(index)[0].scored

    def batch_at(self, step: int) -> Batch:
        """Return the images (S, B, ...) and labels (S, B) of a step.

        Within a task its images are passed in shuffled epochs, each cut to whole batches; seeds
        whose task has another number of images have epochs of another length.
        """
        task, within = divmod(step, self.steps)
        per_chunk = max(1, CHUNK // self.batch)
        chunk, position = divmod(within, per_chunk)
        key = task * self.steps + chunk
        if key not in self._chunks:
            self._chunks.clear()
            last = min((chunk + 1) * per_chunk, self.steps)
            self._chunks[key] = self._cut(task, range(chunk * per_chunk, last))
        x, labels = self._chunks[key]
        part = slice(position * self.batch, (position + 1) * self.batch)
        return x[:, part], labels[:, part]

    def probe_at(self, step: int, count: int) -> Batch:
        """Return at most ``count`` images of the task that a step belongs to, the same all task."""
        index = step // self.steps
        found = self.task(index)
        count = min(count, *(len(task.images) for task in found))
        chosen = [
            rng.stream(seed, "probe", index).permutation(len(task.images))[:count]
            for seed, task in zip(self.seeds, found, strict=True)
        ]
        pairs = zip(found, chosen, strict=True)
        rows = [(task.images[index], task.labels[index]) for task, index in pairs]
        return self._gathered(index, rows)

    def _cut(self, task: int, steps: range) -> Batch:
        """Return the images and labels of neighbouring steps of a task, one after the other."""
        found = self.task(task)
        rows = [self._row(row, one, task, steps) for row, one in enumerate(found)]
        return self._gathered(task, rows)

    def _row(self, row: int, one: Task, task: int, steps: range) -> tuple[Integers, Integers]:
        """Return which images a seed sees in some steps, and with which labels."""
        old = 0 if one.replay is None else self.batch // 2
        fresh = self.batch - old
        per_epoch = max(1, len(one.images) // fresh)
        images, labels = [], []
        for step in steps:
            epoch, position = divmod(step, per_epoch)
            order = self._order(row, task, epoch, len(one.images))
            index = order.take(range(position * fresh, (position + 1) * fresh), mode="wrap")
            images.append(one.images[index])
            labels.append(one.labels[index])
            if one.replay is not None:
                draw = rng.stream(self.seeds[row], "replay", task, step)
                again = one.replay[draw.integers(len(one.replay), size=old)]
                images.append(again)
                labels.append(self.source.labels[again])
        return np.concatenate(images), np.concatenate(labels)

    def _order(self, row: int, task: int, epoch: int, count: int) -> Integers:
        key = row, task, epoch
        if key not in self._orders:
            if len(self._orders) > 4 * len(self.seeds):
                self._orders.clear()
            draw = rng.stream(self.seeds[row], "stream_order", task, epoch)
            self._orders[key] = draw.permutation(count)
        return self._orders[key]

    def _gathered(self, task: int, rows: Sequence[tuple[Integers, Integers]]) -> Batch:
        """Return some images of every seed, their pixels moved where the task moves them.

        They are moved when they are read: a short task reads few of its images.
        """
        pixels = self.images.pixels
        gathered = []
        for one, (images, _) in zip(self.task(task), rows, strict=True):
            grid = pixels.index_select(0, torch.from_numpy(images).to(pixels.device))
            grid = grid.to(self.images.scale.dtype)  # three times as fast to move as bytes
            if one.pixels is not None:
                order = torch.from_numpy(one.pixels).to(pixels.device)
                flat = grid.flatten(1, 2) if grid.dim() == 4 else grid
                grid = flat.index_select(1, order).view(grid.shape)
            gathered.append(grid)
        labels = torch.from_numpy(np.stack([row for _, row in rows])).to(pixels.device)
        return self.images.standardise(torch.stack(gathered)), labels

    def test_groups(self, labels: Tensor, num_tasks: int) -> Tensor:
        """Return (S, N): the task whose classes each test image belongs to, or -1."""
        groups = torch.full((len(self.seeds), len(labels)), -1, dtype=torch.int64)
        for index in range(num_tasks):
            for row, one in enumerate(self.task(index)):
                classes = torch.from_numpy(np.unique(one.labels))
                groups[row, torch.isin(labels.cpu(), classes)] = index
        return groups.to(labels.device)
