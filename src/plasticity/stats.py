"""Intervals and tests over seeds. No torch.

Student's t covers 95 % at every n we use; a percentile bootstrap covers 77 % at n = 3. Arms share
their seeds, so nearly everything here is about paired differences, one per seed.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

EXACT_SEEDS = 14
"""Up to here all sign flips are counted; beyond, that many are drawn."""
FLIPS = 20_000
DRAWS = 10_000
Planner = Callable[[float, float, float], int]
"""Size of a difference, deviation of a seed's difference, power -> seeds."""
LEAST_CONDITIONS = 4


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


@dataclass(frozen=True)
class Test:
    """A difference of two means with its 95 % interval and two-sided p."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of a mean difference against a margin on either side."""

    p: float | None
    """The larger of both; None for a single seed."""
    low: float | None
    high: float | None
    """The 90 % interval, which lies within the margin exactly when p is at most 5 %."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho over the means of conditions."""

    rho: float | None
    low: float | None
    high: float | None
    """Percentile interval from drawing conditions; None for too few of them."""
    within: float | None
    """Mean over conditions of rho over the seeds of each."""


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of values, one per seed, with its t-interval.

    Raises
    ------
    ValueError
        For no values at all, or one that is not finite.
    """
    n = len(_finite(values))
    if n == 0:
        raise ValueError("an interval needs at least one value, got none")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, None, 1)
    return Interval(mean, t_quantile(n, confidence) * _deviation(values, mean) / math.sqrt(n), n)


def t_quantile(n: int, confidence: float = 0.95) -> float:
    """Return how many standard errors a t-interval of ``n`` values reaches to either side."""
    return float(stats.t.ppf((1 + confidence) / 2, n - 1))


def t_test(differences: Sequence[float], against: float = 0.0) -> float | None:
    """Return the two-sided p of a mean, or None for a single seed."""
    n, mean, error = _standing(differences)
    if error is None:
        return None
    if error == 0:
        return 1.0 if mean == against else 0.0
    return float(2 * stats.t.sf(abs(mean - against) / error, n - 1))


def welch(first: Sequence[float], second: Sequence[float]) -> Test | None:
    """Return the difference of two means as if they shared no seeds, to repeat published tests.

    None when an arm has fewer than two values, or neither has any spread.
    """
    n_first, mean_first, error_first = _standing(first)
    n_second, mean_second, error_second = _standing(second)
    if error_first is None or error_second is None:
        return None
    return _welch(mean_first - mean_second, (error_first, n_first), (error_second, n_second))


def welch_from_summary(
    first: tuple[float, float, int], second: tuple[float, float, int]
) -> Test | None:
    """Return Welch's test from published numbers.

    Parameters
    ----------
    first, second
        Mean, half-width of its 95 % t-interval, and n (at least 2).
    """
    errors = [(half / t_quantile(n), n) for _, half, n in (first, second)]
    return _welch(first[0] - second[0], *errors)


def _welch(difference: float, first: tuple[float, int], second: tuple[float, int]) -> Test | None:
    squares = first[0] ** 2, second[0] ** 2
    error = math.sqrt(sum(squares))
    if error == 0:
        return None
    spread = squares[0] ** 2 / (first[1] - 1) + squares[1] ** 2 / (second[1] - 1)
    freedom = error**4 / spread
    half = float(stats.t.ppf(0.975, freedom)) * error
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    return Test(difference, difference - half, difference + half, p)


def sign_flip(differences: Sequence[float]) -> float:
    """Return the two-sided p of the mean under random signs of the differences.

    Exact up to ``EXACT_SEEDS`` seeds; beyond, from ``FLIPS`` draws of a fixed generator, the
    observed signs counted among them.
    """
    values = np.asarray(_finite(differences), dtype=float)
    observed = abs(values.sum())
    enough = observed * (1 - 1e-12)  # equal sums may differ in their last bits
    if len(values) <= EXACT_SEEDS:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(values))))
        return float(np.mean(np.abs(signs @ values) >= enough))
    signs = np.random.default_rng(0).choice((1.0, -1.0), size=(FLIPS, len(values)))
    return float((np.sum(np.abs(signs @ values) >= enough) + 1) / (FLIPS + 1))


def equivalent(differences: Sequence[float], margin: float) -> Equivalence:
    """Return whether a mean difference lies within ``margin`` of 0 (TOST; Schuirmann 1987)."""
    n, mean, error = _standing(differences)
    if error is None:
        return Equivalence(None, None, None)
    interval = t_interval(differences, 0.9)
    if error == 0:
        p = 0.0 if abs(mean) < margin else 1.0
    else:
        p = float(stats.t.sf((margin - abs(mean)) / error, n - 1))
    return Equivalence(p, interval.low, interval.high)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number (Holm 1979), in the same order.

    None stays None and does not count.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    result: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        result[place] = highest
    return result


def iqm(values: Sequence[float]) -> float:
    """Return the interquartile mean: a quarter is cut at either end (Agarwal et al. 2021)."""
    return float(stats.trim_mean(_finite(values), 0.25))


def probability_of_improvement(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the share of pairs, one of each arm, in which the first is higher; ties count half."""
    one, other = np.asarray(_finite(first)), np.asarray(_finite(second))
    return float(np.mean((one[:, None] > other) + 0.5 * (one[:, None] == other)))


def spearman(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Return Spearman's rho, or None where there are fewer than two or all are equal."""
    if len({*_finite(xs)}) < 2 or len({*_finite(ys)}) < 2:
        return None
    return float(stats.spearmanr(xs, ys).statistic)


def spearman_by_cluster(
    xs: Sequence[Sequence[float]], ys: Sequence[Sequence[float]]
) -> RankCorrelation:
    """Return the rank correlation of conditions' means; conditions, not seeds, are the sample.

    Parameters
    ----------
    xs, ys
        For each condition one value per seed.
    """
    means = [np.array([np.mean(part) for part in side]) for side in (xs, ys)]
    rho = spearman(*(side.tolist() for side in means))
    inside = [spearman(x, y) for x, y in zip(xs, ys, strict=True)]
    known = [value for value in inside if value is not None]
    within = math.fsum(known) / len(known) if known else None
    if rho is None or len(xs) < LEAST_CONDITIONS:
        return RankCorrelation(rho, None, None, within)
    draw = np.random.default_rng(0).integers(len(xs), size=(DRAWS, len(xs)))
    drawn = _rank_correlations(means[0][draw], means[1][draw])
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return RankCorrelation(rho, float(low), float(high), within)


def _rank_correlations(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Return rho of each row; NaN where a row's values are all equal."""
    ranks = [stats.rankdata(side, axis=1) for side in (xs, ys)]
    centred = [side - side.mean(1, keepdims=True) for side in ranks]
    scale = np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (centred[0] * centred[1]).sum(1) / scale
    return found


def power(n: int, difference: float, deviation: float, alpha: float = 0.05) -> float:
    """Return the chance that a paired t-test of ``n`` seeds finds a mean difference.

    Parameters
    ----------
    n
        Seeds, at least 2.
    difference
        The true mean difference.
    deviation
        Standard deviation of a seed's difference.
    alpha
        Of the two-sided test.
    """
    limit = float(stats.t.ppf(1 - alpha / 2, n - 1))
    shift = abs(difference) / deviation * math.sqrt(n)
    return float(stats.nct.sf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift))


def seeds_for(difference: float, deviation: float, wanted: float = 0.8) -> int:
    """Return how many seeds find a mean difference with the power that is wanted.

    Raises
    ------
    ValueError
        For a difference of 0, which no number of seeds finds.
    """
    if difference == 0:
        raise ValueError("got a difference of 0, expected another: no number of seeds finds it")
    n = 2
    while power(n, difference, deviation) < wanted:
        n += max(1, n // 50)
    while n > 2 and power(n - 1, difference, deviation) >= wanted:
        n -= 1
    return n


def detectable(n: int, deviation: float, wanted: float = 0.8) -> float:
    """Return the smallest mean difference that ``n`` seeds find with the power that is wanted."""
    high = 1.0
    while power(n, high, 1.0) < wanted:  # scipy's noncentral t has no value far out
        high *= 2
    return float(optimize.brentq(lambda d: power(n, d, 1.0) - wanted, 0.0, high)) * deviation


def equivalence_power(n: int, margin: float, deviation: float) -> float:
    """Return the chance that ``n`` seeds show equivalence when the true difference is 0.

    Over the distribution of the sample's deviation: the mean must lie within the margin less the
    one-sided t-quantile times the standard error.
    """
    quantile = float(stats.t.ppf(0.95, n - 1))
    grid = (np.arange(2000) + 0.5) / 2000
    sampled = deviation * np.sqrt(stats.chi2.ppf(grid, n - 1) / (n - 1))
    room = np.maximum(0.0, margin - quantile * sampled / math.sqrt(n))
    return float(np.mean(2 * stats.norm.cdf(room * math.sqrt(n) / deviation) - 1))


def seeds_for_equivalence(margin: float, deviation: float, wanted: float = 0.8) -> int:
    """Return how many seeds show that a difference of 0 is within the margin."""
    n = 2
    while equivalence_power(n, margin, deviation) < wanted:
        n += max(1, n // 50)
    while n > 2 and equivalence_power(n - 1, margin, deviation) >= wanted:
        n -= 1
    return n


def _finite(values: Sequence[float]) -> Sequence[float]:
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"got {list(values)}, expected finite numbers: leave diverged seeds out")
    return values


def _deviation(values: Sequence[float], mean: float) -> float:
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _standing(values: Sequence[float]) -> tuple[int, float, float | None]:
    """Return n, the mean, and its standard error, which a single value has not."""
    n = len(_finite(values))
    if n == 0:
        raise ValueError("a test needs at least one value, got none")
    mean = math.fsum(values) / n
    return n, mean, None if n == 1 else _deviation(values, mean) / math.sqrt(n)
