"""From which length on does one learner catch up with another? No torch.

The mean difference over lengths is fitted by the closest curve that never falls (isotonic
regression): growth is expected to gain with time. The crossover is where that curve reaches 0, on a
logarithmic axis; its interval comes from drawing seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Crossover:
    """Where a difference that never falls reaches 0."""

    at: float | None
    """The length; None where the fitted curve has one sign at all lengths."""
    low: float | None
    high: float | None
    """The 95 % percentile interval; an end is None where it lies outside the lengths, and both are
    for a single seed."""
    before: float
    """Share of draws whose curve is at 0 or above at the shortest length already."""
    never: float
    """Share of draws whose curve stays below 0 to the longest."""


def crossover(lengths: Sequence[float], differences: Sequence[Sequence[float]]) -> Crossover:
    """Return where the mean difference reaches 0.

    Parameters
    ----------
    lengths
        K of them, rising.
    differences
        For each seed its K differences.

    Raises
    ------
    ValueError
        For lengths that do not rise, no seed, or rows of another length.
    """
    values = np.asarray(differences, dtype=float)
    if values.ndim != 2 or values.shape[1] != len(lengths) or len(values) == 0:
        raise ValueError(f"got differences {values.shape}, expected (seeds, {len(lengths)})")
    if any(after <= before for before, after in pairwise(lengths)):
        raise ValueError(f"got lengths {list(lengths)}, expected them to rise")
    logs = np.log(np.asarray(lengths, dtype=float))
    at = float(_crossings(rising(values.mean(0)[None]), logs)[0])
    known = None if math.isinf(at) else math.exp(at)
    if len(values) == 1:
        return Crossover(known, None, None, float(at == -math.inf), float(at == math.inf))
    draws = np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))
    found = np.sort(_crossings(rising(values[draws].mean(1)), logs))
    ends = found[int(0.025 * DRAWS)], found[int(0.975 * DRAWS) - 1]
    low, high = (None if math.isinf(end) else math.exp(end) for end in ends)
    before, never = float(np.mean(found == -math.inf)), float(np.mean(found == math.inf))
    return Crossover(known, low, high, before, never)


def rising(curves: Numbers) -> Numbers:
    """Return the closest curves that never fall, by the max-min formula of isotonic regression.

    Parameters
    ----------
    curves
        (N, K).
    """
    sums = np.concatenate([np.zeros((len(curves), 1)), np.cumsum(curves, 1)], 1)
    count = curves.shape[1]
    fitted = np.empty_like(curves)
    for place in range(count):
        best = np.full(len(curves), -np.inf)
        for start in range(place + 1):
            means = [
                (sums[:, end + 1] - sums[:, start]) / (end + 1 - start)
                for end in range(place, count)
            ]
            best = np.maximum(best, np.min(means, 0))
        fitted[:, place] = best
    return fitted


def _crossings(curves: Numbers, logs: Numbers) -> Numbers:
    """Return the log length at which each curve reaches 0; minus or plus infinity where not."""
    reached = curves >= 0
    first = reached.argmax(1)
    rows = np.arange(len(curves))
    after = curves[rows, first]
    before = curves[rows, np.maximum(first - 1, 0)]
    gap = np.where(after > before, after - before, 1.0)
    share = np.where(after > before, -before / gap, 1.0)
    left = logs[np.maximum(first - 1, 0)]
    at = left + share * (logs[first] - left)
    at = np.where(first == 0, -np.inf, at)
    return np.where(reached.any(1), at, np.inf)
