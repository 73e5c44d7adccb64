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
ROUNDING = 1e-9
"""What sums of differences may miss 0 by: a mean this close below it has reached it."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Crossover:
    """Where a difference that never falls reaches 0; infinite where that is outside the lengths."""

    at: float
    """The length. Minus infinity: it is at 0 or above at the shortest already; infinity: it stays
    below 0 to the longest."""
    low: float | None
    high: float | None
    """The ends of the 95 % percentile interval, each infinite where it lies outside the lengths;
    None for a single seed, which has no interval."""
    before: float
    """Share of draws whose curve is at 0 or above at the shortest length already."""
    never: float
    """Share of draws whose curve stays below 0 to the longest."""

    @property
    def inside(self) -> bool:
        """Whether the whole interval lies within the lengths."""
        ends = (self.low, self.high)
        return all(end is not None and math.isfinite(end) for end in ends)


def crossover(lengths: Sequence[float], differences: Sequence[Sequence[float]]) -> Crossover:
    """Return where the mean difference reaches 0.

    The interval is of ``DRAWS`` draws of seeds with replacement, by a generator of fixed seed. Of
    few seeds it is too narrow: in a simulation it held the true place in 75 % of cases with 3
    seeds, in 81 % with 5, in 90 % with 10 and in 91 % with 20.

    Parameters
    ----------
    lengths
        K of them, above 0 and rising.
    differences
        For each seed its K differences.

    Raises
    ------
    ValueError
        For lengths that do not rise from above 0, no seed, rows of another length, or a difference
        that is no number.

    Source: Barlow et al. 1972 (isotonic regression); Efron 1979 (percentile bootstrap).
    """
    values = np.asarray(differences, dtype=float)
    if values.ndim != 2 or values.shape[1] != len(lengths) or len(values) == 0:
        raise ValueError(f"got differences {values.shape}, expected (seeds, {len(lengths)})")
    if lengths[0] <= 0 or any(after <= before for before, after in pairwise(lengths)):
        raise ValueError(f"got lengths {list(lengths)}, expected them to rise from above 0")
    if not np.isfinite(values).all():
        raise ValueError("got a difference that is not finite, expected seeds with every length")
    logs = np.log(np.asarray(lengths, dtype=float))
    at = float(_crossings(rising(values.mean(0)[None]), logs)[0])
    if len(values) == 1:
        return Crossover(_length(at), None, None, float(at == -math.inf), float(at == math.inf))
    draws = np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))
    found = np.sort(_crossings(rising(values[draws].mean(1)), logs))
    low, high = found[int(0.025 * DRAWS)], found[int(0.975 * DRAWS) - 1]
    before, never = float(np.mean(found == -math.inf)), float(np.mean(found == math.inf))
    return Crossover(_length(at), _length(low), _length(high), before, never)


def _length(log: float) -> float:
    """Return the length of its logarithm; what lies outside stays infinite."""
    return float(log) if math.isinf(log) else math.exp(log)


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
    reached = curves >= -ROUNDING
    first = reached.argmax(1)
    rows = np.arange(len(curves))
    after = np.maximum(curves[rows, first], 0)
    before = curves[rows, np.maximum(first - 1, 0)]
    gap = np.where(after > before, after - before, 1.0)
    share = np.where(after > before, -before / gap, 1.0)
    left = logs[np.maximum(first - 1, 0)]
    at = left + share * (logs[first] - left)
    at = np.where(first == 0, -np.inf, at)
    return np.where(reached.any(1), at, np.inf)
