"""Intervals over seeds. No torch.

Student's t covers 95 % at every n we use; a percentile bootstrap covers 77 % at n = 3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with the half-width of its 95 % t-interval."""

    mean: float
    half_width: float | None
    """None for a single seed, which has no interval."""
    n: int

    @property
    def low(self) -> float | None:
        """Lower end, or None for a single seed."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """Upper end, or None for a single seed."""
        return None if self.half_width is None else self.mean + self.half_width

    @property
    def error(self) -> float | None:
        """Standard error of the mean: a 95 % half-width over its t-quantile at n - 1; or None."""
        if self.half_width is None:
            return None
        return self.half_width / float(stats.t.ppf(0.975, self.n - 1))

    def errors_from(self, other: "Interval") -> float | None:
        """Return this mean less another, in standard errors of the difference of unpaired means.

        None where a side has no interval, or where neither varies.
        """
        if self.error is None or other.error is None:
            return None
        both = math.hypot(self.error, other.error)
        return (self.mean - other.mean) / both if both else None


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of values, one per seed, with its t-interval.

    Raises
    ------
    ValueError
        For no values at all.
    """
    n = len(values)
    if n == 0:
        raise ValueError("an interval needs at least one value, got none")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    quantile = float(stats.t.ppf((1 + confidence) / 2, n - 1))
    return Interval(mean, quantile * math.sqrt(variance / n), n)
