"""Streams of tasks: which images a task shows, with which labels, its pixels moved how. No torch.

Everything is a pure function of (seed, task), so a stream continues from any step and all learners
meet the same tasks. No task boundary is told to a learner unless its own name says so. But an
event that falls on one measures units on images of the task that begins.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from plasticity import rng, subset
from plasticity.errors import ConfigError

Options = Mapping[str, float | int | str]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """One task of one seed."""

    images: Integers
    """(N,) indices of training images."""
    labels: Integers
    """(N,) what is to be said of each."""
    pixels: Integers | None = None
    """The old position of each new pixel position; None leaves all in place."""
    scored: bool = True
    """Whether its accuracy counts."""
    replay: Integers | None = None
    """Indices of earlier tasks' training images that half of every batch is drawn from."""


@dataclass(frozen=True)
class Source:
    """The training set that a stream is cut from."""

    labels: Integers
    """(M,) of every training image."""
    positions: int
    """Pixels of an image, all channels together at one place."""
    num_classes: int
    num_images: int | None
    """Images of a task; None is all that there are."""
    subset: str = "random"
    """How they are chosen where all classes are shown: a rule of ``subset.part``."""


Rule = Callable[[Source, int, int, Options], Task]


def permuted_inputs(source: Source, seed: int, task: int, options: Options) -> Task:  # noqa: ARG001
    """Return the seed's images with a new permutation of their pixels; task 0 too is permuted.

    Source: Kumar et al. 2023 (L2 Init), section 5; Goodfellow et al. 2013.
    """
    images = _subset(source, seed)
    order = rng.stream(seed, "task", task).permutation(source.positions)
    return Task(images, source.labels[images], pixels=order)


def random_labels(source: Source, seed: int, task: int, options: Options) -> Task:  # noqa: ARG001
    """Return the seed's images, every one with a new uniform label.

    Source: Kumar et al. 2023, section 5; Lyle et al. 2023.
    """
    images = _subset(source, seed)
    labels = rng.stream(seed, "task", task).integers(source.num_classes, size=len(images))
    return Task(images, labels)


def shuffled_labels(source: Source, seed: int, task: int, options: Options) -> Task:  # noqa: ARG001
    """Return the seed's images with a new permutation of the classes.

    Source: Elsayed & Mahmood 2024 (UPGD), label-permuted streams; they permute the current labels
    again, which has the same distribution.
    """
    images = _subset(source, seed)
    order = rng.stream(seed, "task", task).permutation(source.num_classes)
    return Task(images, order[source.labels[images]])


def class_pairs(source: Source, seed: int, task: int, options: Options) -> Task:  # noqa: ARG001
    """Return the images of two classes, labelled 0 and 1; no pair comes twice.

    Source: Dohare et al. 2024 (continual ImageNet), here over the classes of any data set.

    Raises
    ------
    ValueError
        When there are no more pairs.
    """
    pairs = list(combinations(range(source.num_classes), 2))
    order = rng.stream(seed, "task").permutation(len(pairs))
    _refuse_beyond(task, len(pairs))
    pair = pairs[order[task]]
    images = images_of(source, seed, pair)
    return Task(images, (source.labels[images] == pair[1]).astype(np.int64))


def five_plus_one(source: Source, seed: int, task: int, options: Options) -> Task:  # noqa: ARG001
    """Return a hard task of five classes and an easy one of one class in turn; none comes twice.

    Only hard tasks are scored. Source: Kumar et al. 2023 (5+1 CIFAR-100).

    Raises
    ------
    ValueError
        When there are no more classes.
    """
    order = rng.stream(seed, "task").permutation(source.num_classes)
    first = 6 * (task // 2) + 5 * (task % 2)
    classes = order[first : first + (1 if task % 2 else 5)]
    _refuse_beyond(task, 2 * (source.num_classes // 6))
    images = images_of(source, seed, classes.tolist())
    return Task(images, source.labels[images], scored=task % 2 == 0)


def split_classes(source: Source, seed: int, task: int, options: Options) -> Task:
    """Return the images of the next group of ``classes`` classes, one head for all.

    ``order`` groups keeps neighbouring classes together and draws the order of the groups (as in
    Split-MNIST), classes draws the order of all classes (as in Split-CIFAR-100). With ``replay``
    images of each earlier class, at most ``replay_total`` in all, half of every batch is drawn from
    them.

    Source: Lillo & Cheney 2026, section 7; van de Ven & Tolias 2019; Chaudhry et al. 2019 (Tiny ER,
    with a buffer per class that is full from the start of the next task).

    Raises
    ------
    ValueError
        When there are no more classes.
    """
    size = int(options["classes"])
    groups = class_groups(source.num_classes, size, seed, str(options["order"]))
    _refuse_beyond(task, len(groups))
    images = images_of(source, seed, groups[task])
    found = Task(images, source.labels[images])
    earlier = [one for group in groups[:task] for one in group]
    kept = int(options["replay"])
    if not earlier or kept == 0:
        return found
    each = max(1, min(kept, int(options["replay_total"]) // len(earlier)))
    return replace(found, replay=images_of(source, seed, earlier, each))


def class_groups(num_classes: int, size: int, seed: int, order: str) -> list[tuple[int, ...]]:
    """Return the classes of each task; a rest that fills no group is left out."""
    draw = rng.stream(seed, "task")
    if order == "classes":
        return grouped(draw.permutation(num_classes).tolist(), size)
    groups = grouped(range(num_classes), size)
    return [groups[index] for index in draw.permutation(len(groups))]


def grouped(order: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Return a sequence cut into groups of neighbours."""
    return [tuple(order[at : at + size]) for at in range(0, len(order) - size + 1, size)]


def images_of(
    source: Source, seed: int, classes: Sequence[int], each: int | None = None
) -> Integers:
    """Return the images of some classes, class by class.

    Parameters
    ----------
    source, seed
        Of the stream.
    classes
        Which classes.
    each
        Images of each class; None is an equal share of the task's images, or all.
    """
    if each is None and source.num_images is not None:
        each = max(1, source.num_images // len(classes))
    parts = []
    for label in classes:
        members = np.flatnonzero(source.labels == label)
        if each is not None:
            order = rng.stream(seed, "stream_order", int(label)).permutation(len(members))
            members = np.sort(members[order[:each]])
        parts.append(members)
    return np.concatenate(parts)


def _subset(source: Source, seed: int) -> Integers:
    """Return the images that every task of a seed shows: random ones; the paper has the first."""
    order = rng.stream(seed, "stream_order").permutation(len(source.labels))
    count = len(order) if source.num_images is None else min(source.num_images, len(order))
    return subset.part(source.labels, order, count, source.subset)


def refuse_lost_classes(source: Source, rule: str, seeds: Sequence[int], data_set: str) -> None:
    """Refuse a stream in which a task would be scored without an image of one of its classes.

    Parameters
    ----------
    source, seeds
        Of the stream.
    rule
        Its name. The labels of ``random_labels`` are drawn, so no class can be lost there.
    data_set
        Its name, for the message.

    Raises
    ------
    ConfigError
        Naming the stream, the classes and a way out.
    """
    names = [str(label) for label in range(source.num_classes)]
    parts = [(source.labels, "the training images")]
    if rule in WHOLE:
        parts += [
            (source.labels[_subset(source, seed)], f"the continual.images of seed {seed}")
            for seed in seeds
        ]
    for labels, whose in parts:
        if lost := subset.lost(labels, names):
            raise ConfigError(
                f"continual.streams: '{rule}' on {data_set}: {whose} ({len(labels)}) have "
                f"{subset.told(lost, len(names))}; set data.subset to stratified, or use more"
            )


def _refuse_beyond(task: int, limit: int) -> None:
    if task >= limit:
        raise ValueError(f"got task {task}, expected less than {limit}: no class comes twice")


WHOLE = ("permuted_inputs", "shuffled_labels")
"""Streams whose every task asks for all classes of the data set."""

TABLE: dict[str, Rule] = {
    "permuted_inputs": permuted_inputs,
    "random_labels": random_labels,
    "shuffled_labels": shuffled_labels,
    "class_pairs": class_pairs,
    "five_plus_one": five_plus_one,
    "split_classes": split_classes,
}
"""Streams of images; ``slowly_changing_regression`` has a module of its own."""


def num_outputs(stream: str, num_classes: int) -> int:
    """Return the outputs of a stream's network."""
    return {"class_pairs": 2, "slowly_changing_regression": 1}.get(stream, num_classes)
