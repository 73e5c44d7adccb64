"""A part of labelled images in which no class is lost. No torch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

SHOWN_CLASSES = 5
"""Names of classes that a message shows."""


def part(labels: Integers, order: Integers, count: int, rule: str) -> Integers:
    """Return ``count`` images of an order, in that order.

    Parameters
    ----------
    labels
        Of all images.
    order
        Indices of the images to choose from.
    count
        How many to keep, at most as many as there are.
    rule
        ``random``: the first of the order. ``stratified``: the first of every class, of each its
        share. Shares are rounded down, to one image at least; what is left goes to the largest
        remainders, the lowest class first. With fewer images than classes it is as ``random``.
    """
    own = labels[order]
    classes, sizes = np.unique(own, return_counts=True)
    if rule == "random" or count < len(classes):
        return order[:count]
    exact = count * sizes / len(order)
    quota = np.maximum(1, np.floor(exact)).astype(np.int64)
    while (left := count - int(quota.sum())) != 0:
        step = 1 if left > 0 else -1
        movable = quota < sizes if step == 1 else quota > 1
        quota[np.argmax(np.where(movable, step * (exact - quota), -np.inf))] += step
    kept = [np.flatnonzero(own == one)[:each] for one, each in zip(classes, quota, strict=True)]
    return order[np.sort(np.concatenate(kept))]


def lost(labels: Integers, classes: Sequence[str]) -> list[str]:
    """Return the names of the classes that have no image among ``labels``."""
    there = set(np.unique(labels).tolist())
    return [name for label, name in enumerate(classes) if label not in there]


def told(names: Sequence[str], total: int) -> str:
    """Return some lost classes as a message shows them, of ``total`` classes."""
    shown = ", ".join(names[:SHOWN_CLASSES]) + (", ..." if len(names) > SHOWN_CLASSES else "")
    return f"no image of {len(names)} of the {total} classes ({shown})"
