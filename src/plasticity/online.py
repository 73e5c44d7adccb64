"""Measures of learning in a stream of tasks, from accuracies. No torch."""

import math
from collections.abc import Mapping, Sequence
from statistics import median

Matrix = Mapping[tuple[int, int], float]
"""(tasks finished, task) -> test accuracy. Tasks count from 0: after task t, t + 1 are finished."""


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return math.fsum(values) / len(values)


def plasticity_loss(accuracies: Sequence[float], share: float = 0.05) -> float:
    """Return the mean of the first tasks less that of the last: positive where learning fades.

    Parameters
    ----------
    accuracies
        Online accuracy of each task, in order.
    share
        Part of the tasks at either end, at least one.
    """
    count = max(1, math.floor(share * len(accuracies)))
    return mean(accuracies[:count]) - mean(accuracies[-count:])


def slope(accuracies: Sequence[float]) -> float | None:
    """Return the median slope between all pairs of the second half's tasks, per task.

    Source: Theil 1950, Sen 1968. None for a single task. Of more than 200 tasks, 200 evenly spaced
    ones.
    """
    start = len(accuracies) // 2
    places = list(range(start, len(accuracies)))
    if len(places) > 200:
        places = [places[index * (len(places) - 1) // 199] for index in range(200)]
    slopes = [
        (accuracies[b] - accuracies[a]) / (b - a)
        for at, a in enumerate(places)
        for b in places[at + 1 :]
    ]
    return median(slopes) if slopes else None


def average_accuracy(matrix: Matrix, tasks: int) -> float:
    """Return the mean test accuracy of all tasks after the last."""
    return mean([matrix[tasks, task] for task in range(tasks)])


def forgetting(matrix: Matrix, tasks: int) -> float | None:
    """Return the mean drop of each earlier task from its best to the end; None for one task.

    Source: Mammoth's formula. Its best is over all times, the end included, so nothing is forgotten
    less than not at all; Chaudhry et al. 2018, equation 3, leave the end out.
    """
    if tasks < 2:
        return None
    drops = [
        max(matrix[after, task] for after in range(1, tasks + 1)) - matrix[tasks, task]
        for task in range(tasks - 1)
    ]
    return mean(drops)


def backward_transfer(matrix: Matrix, tasks: int) -> float | None:
    """Return the mean change of each earlier task since it was learned; None for one task.

    Source: Lopez-Paz & Ranzato 2017 (GEM), equation 3.
    """
    if tasks < 2:
        return None
    return mean([matrix[tasks, task] - matrix[task + 1, task] for task in range(tasks - 1)])


def forward_transfer(matrix: Matrix, tasks: int) -> float | None:
    """Return what is known of each task just before it, over the untrained network's accuracy.

    Source: Lopez-Paz & Ranzato 2017 (GEM), equation 4. ``matrix[0, task]`` is the untrained one.
    """
    if tasks < 2:
        return None
    return mean([matrix[task, task] - matrix[0, task] for task in range(1, tasks)])
