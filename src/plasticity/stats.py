"""Means and differences over seeds, with Student's t. No torch.

Student's t covers 95 % at every n we use; a percentile bootstrap covers 77 % at n = 3. What is not
a mean is in ``ranks.py``, tests without t-intervals in ``significance.py``, numbers of seeds in
``planning.py``; what each interval covers is measured by ``python -m benchmarks coverage``.

All take one value per seed, in the order of seeds where they are paired.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with the half-width of its t-interval, 95 % unless another is asked for."""

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


@dataclass(frozen=True)
class Welch:
    """The difference of two means whose seeds are not paired."""

    interval: Interval
    """Of the mean of a minus the mean of b; its n counts the seeds of both."""
    degrees: float | None
    """Degrees of freedom; None where a side has one seed, or no value varies."""
    p: float | None
    """Two-sided; None where a side has one seed."""


def checked(values: Sequence[float], what: str) -> list[float]:
    """Return the values as a list.

    Raises
    ------
    ValueError
        For no value, or for one that is not a finite number: a diverged seed has no value, and
        whoever leaves it out must say so.
    """
    if len(values) == 0:
        raise ValueError(f"{what} needs at least one value, got none")
    for place, value in enumerate(values):
        if value is None or not math.isfinite(value):
            raise ValueError(
                f"{what}: value {place} is {value}, expected a finite number;"
                " leave out seeds that diverged (of a pair, both sides) and say how many"
            )
    return [float(value) for value in values]


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return mean and standard error of at least one value; a single one has no error."""
    n = len(values)
    if n > 1 and min(values) == max(values):
        return values[0], 0.0  # else rounding of the mean passes for variance
    mean = math.fsum(values) / n
    if n == 1:
        return mean, None
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return mean, math.sqrt(variance / n)


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
    mean, error = mean_and_error(values)
    return Interval(mean, None if error is None else _quantile(confidence, n - 1) * error, n)


def differences(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """Return a minus b, seed by seed.

    Raises
    ------
    ValueError
        For lists of unequal length, no values, or values that are not finite.
    """
    if len(a) != len(b):
        raise ValueError(
            f"a paired difference of {len(a)} and {len(b)} values, expected as many on both sides;"
            " give the seeds that both have, in the same order"
        )
    sides = checked(a, "a paired difference, side a"), checked(b, "a paired difference, side b")
    return [x - y for x, y in zip(*sides, strict=True)]


def paired(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of a minus b over the seeds both share, with its t-interval.

    Raises
    ------
    ValueError
        As ``differences``.
    """
    return t_interval(differences(a, b), confidence)


def t_test(values: Sequence[float], expected: float = 0.0) -> float | None:
    """Return the two-sided p of Student's t-test of a mean; of differences, the paired t-test.

    None for a single value. Values that are all equal have p 1 where they equal the expected mean,
    else 0.

    Raises
    ------
    ValueError
        For no values, or values that are not finite.
    """
    mean, error = mean_and_error(checked(values, "a t-test"))
    return None if error is None else _two_sided(mean - expected, error, len(values) - 1)


def welch(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Welch:
    """Return the mean of a minus that of b, for seeds that are not paired.

    Raises
    ------
    ValueError
        For no values, or values that are not finite.

    Source: Welch 1947; degrees of freedom by Satterthwaite 1946.
    """
    mean_a, error_a = mean_and_error(checked(a, "Welch's test, side a"))
    mean_b, error_b = mean_and_error(checked(b, "Welch's test, side b"))
    return _welch(mean_a - mean_b, (error_a, error_b), (len(a), len(b)), confidence)


def welch_from_summary(
    mean_a: float, half_a: float, n_a: int, mean_b: float, half_b: float, n_b: int
) -> Welch:
    """Return Welch's test from published means and the half-widths of their 95 % t-intervals.

    Raises
    ------
    ValueError
        For fewer than two seeds on a side, a negative half-width, or values that are not finite.
    """
    checked([mean_a, half_a, mean_b, half_b], "Welch's test from a table")
    if min(n_a, n_b) < 2 or min(half_a, half_b) < 0:
        raise ValueError(
            f"Welch's test from a table: n {n_a} and {n_b}, half-widths {half_a} and {half_b};"
            " expected at least two seeds a side and no negative half-width"
        )
    errors = half_a / _quantile(0.95, n_a - 1), half_b / _quantile(0.95, n_b - 1)
    return _welch(mean_a - mean_b, errors, (n_a, n_b), 0.95)


def by_chance(apart: float, n_a: int, n_b: int) -> float:
    """Return how likely two means are so many standard errors apart though nothing differs.

    By Welch's degrees of freedom at equal spread; of two seeds it says a quarter where a simulation
    gives a sixth, of three and more it is within two hundredths.

    Parameters
    ----------
    apart
        Standard errors of the difference.
    n_a, n_b
        Seeds of the sides, at least two.
    """
    errors = n_a**-0.5, n_b**-0.5
    p = _welch(apart * math.hypot(*errors), errors, (n_a, n_b), 0.95).p
    assert p is not None
    return p


def _quantile(confidence: float, degrees: float) -> float:
    """Return how many standard errors a t-interval reaches to each side."""
    return float(stats.t.ppf((1 + confidence) / 2, degrees))


def _two_sided(difference: float, error: float, degrees: float) -> float:
    if error == 0:
        return float(difference == 0)
    return 2 * float(stats.t.sf(abs(difference) / error, degrees))


def _welch(
    difference: float,
    errors: tuple[float | None, float | None],
    counts: tuple[int, int],
    confidence: float,
) -> Welch:
    n = sum(counts)
    error_a, error_b = errors
    if error_a is None or error_b is None:
        return Welch(Interval(difference, None, n), None, None)
    error = math.hypot(error_a, error_b)
    if error == 0:
        return Welch(Interval(difference, 0.0, n), None, _two_sided(difference, 0.0, n - 2))
    share_a, share_b = (error_a / error) ** 2, (error_b / error) ** 2
    degrees = 1 / (share_a**2 / (counts[0] - 1) + share_b**2 / (counts[1] - 1))
    half = _quantile(confidence, degrees) * error
    return Welch(Interval(difference, half, n), degrees, _two_sided(difference, error, degrees))
