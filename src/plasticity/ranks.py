"""Statistics of order and rank over seeds or conditions, and their bootstrap. No torch.

They are not means, so they have no t-interval. A percentile bootstrap covers less than it says
where values are few: ``python -m benchmarks coverage`` measures by how much.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from plasticity.stats import checked, mean_and_error

DRAWS = 10_000
"""Resamples of a bootstrap."""

FEWEST_CONDITIONS = 4
"""Fewer conditions than this have too few resamples for an interval."""

FEWEST_DECIDED = 5
"""Of fewer conditions no order is rare: two of the 24 of four are p = 0.083."""

MOST_EXACT = 8
"""Conditions whose every order is counted, 40,320 of them; of more, ``DRAWS`` orders are drawn."""

ROUNDING = 1e-9
"""What two correlations of the same order may differ by."""

FEWEST_PAIRS = 3
"""Seeds a condition needs for a correlation of its own; two points always correlate by 1."""


@dataclass(frozen=True)
class Resampled:
    """A statistic with the ends of its percentile bootstrap interval."""

    value: float
    low: float | None
    """None for a single value."""
    high: float | None
    n: int


@dataclass(frozen=True)
class ClusterCorrelation:
    """How two measures go together over conditions, and within them over seeds."""

    between: float | None
    """Spearman's rho of the conditions' means; None for one condition or constant means."""
    low: float | None
    high: float | None
    conditions: int
    within: float | None
    """Mean over conditions of rho over their seeds; None where no condition has one."""
    conditions_within: int
    """Conditions that have a rho of their own."""


def iqm(values: Sequence[float]) -> float:
    """Return the interquartile mean: a quarter of the values, rounded down, is cut at each end.

    Below four values nothing is cut, and it is the mean.

    Raises
    ------
    ValueError
        For no values, or values that are not finite.

    Source: Agarwal et al. 2021 (rliable, ``aggregate_iqm``).
    """
    ordered = sorted(checked(values, "an interquartile mean"))
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return math.fsum(kept) / len(kept)


def iqm_interval(
    values: Sequence[float], confidence: float = 0.95, draws: int = DRAWS
) -> Resampled:
    """Return the interquartile mean with a percentile bootstrap over values, of a fixed seed.

    It covers less than it says below some 20 values: see ``python -m benchmarks coverage``.

    Raises
    ------
    ValueError
        For no values, or values that are not finite.
    """
    value, n = iqm(values), len(values)
    if n == 1:
        return Resampled(value, None, None, 1)
    resamples = np.sort(np.asarray(values, dtype=float)[_places(n, draws)])  # (draws, n)
    low, high = _ends(resamples[:, n // 4 : n - n // 4].mean(1), confidence)
    return Resampled(value, low, high, n)


def probability_of_improvement(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the share of pairs of one a and one b in which a is larger; a tie counts half.

    Raises
    ------
    ValueError
        For no values, or values that are not finite.

    Source: Mann & Whitney 1947, U over the number of pairs; Agarwal et al. 2021.
    """
    first = np.array(checked(a, "a probability of improvement, side a"))[:, None]
    second = np.array(checked(b, "a probability of improvement, side b"))
    return float(((first > second) + 0.5 * (first == second)).mean())


def spearman(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, ties by mean ranks; None where a side is constant.

    Raises
    ------
    ValueError
        For lists of unequal length, no values, or values that are not finite.
    """
    if len(xs) != len(ys):
        raise ValueError(f"a correlation of {len(xs)} and {len(ys)} values, expected as many")
    x, y = (np.array([checked(side, "a correlation")]) for side in (xs, ys))
    rho = float(_rank_correlations(x, y)[0])
    return None if math.isnan(rho) else rho


def spearman_by_cluster(
    groups_x: Sequence[Sequence[float]],
    groups_y: Sequence[Sequence[float]],
    confidence: float = 0.95,
    draws: int = DRAWS,
) -> ClusterCorrelation:
    """Return how two measures correlate over conditions, with several seeds each.

    The interval is a percentile bootstrap over conditions, the unit of the claim, of a fixed seed;
    resamples without two different conditions have no correlation and do not count. There is none
    for fewer than four conditions or constant means. A perfect order has the interval [1, 1],
    which claims more than so few conditions can show.

    Parameters
    ----------
    groups_x, groups_y
        Of each condition the values of its seeds; both measures have the same seeds.

    Raises
    ------
    ValueError
        For lists of unequal length, no conditions, no seeds, or values that are not finite.
    """
    if len(groups_x) != len(groups_y) or not groups_x:
        raise ValueError(
            f"a correlation over {len(groups_x)} and {len(groups_y)} conditions,"
            " expected as many on both sides, at least one"
        )
    within, counted = spearman_within(groups_x, groups_y)
    x, y = ([mean_and_error(g)[0] for g in side] for side in (groups_x, groups_y))
    between, low, high = spearman_interval(x, y, confidence, draws)
    return ClusterCorrelation(between, low, high, len(x), within, counted)


def spearman_within(
    groups_x: Sequence[Sequence[float]], groups_y: Sequence[Sequence[float]]
) -> tuple[float | None, int]:
    """Return the mean over conditions of rho over their seeds, and how many have one.

    Raises
    ------
    ValueError
        For lists of unequal length, no seeds, or values that are not finite.
    """
    own = [spearman(x, y) for x, y in zip(groups_x, groups_y, strict=True)]
    within = [
        rho
        for rho, group in zip(own, groups_x, strict=True)
        if rho is not None and len(group) >= FEWEST_PAIRS
    ]
    return (math.fsum(within) / len(within) if within else None), len(within)


def spearman_interval(
    xs: Sequence[float], ys: Sequence[float], confidence: float = 0.95, draws: int = DRAWS
) -> tuple[float | None, float | None, float | None]:
    """Return rho over conditions and the ends of its interval, as ``spearman_by_cluster`` has them.

    Parameters
    ----------
    xs, ys
        One mean for each condition.

    Raises
    ------
    ValueError
        For lists of unequal length, no conditions, or values that are not finite.
    """
    rho, n = spearman(xs, ys), len(xs)
    if rho is None or n < FEWEST_CONDITIONS:
        return rho, None, None
    places, x, y = _places(n, draws), np.asarray(xs), np.asarray(ys)
    rhos = _rank_correlations(x[places], y[places])
    low, high = _ends(rhos[~np.isnan(rhos)], confidence)
    return rho, low, high


def permutation_p(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Return the two-sided p of rho if every order were as likely; None where it has no rho.

    Exact for up to ``MOST_EXACT`` conditions. Of more, ``DRAWS`` orders are drawn by a generator of
    fixed seed, and the order found counts as one of them, so that p is never 0. The bootstrap of
    few conditions excludes 0 far more often than it says; this does not.

    Raises
    ------
    ValueError
        For lists of unequal length, no values, or values that are not finite.

    Source: Phipson & Smyth 2010 (p of drawn permutations).
    """
    rho = spearman(xs, ys)
    if rho is None:
        return None
    n, exact = len(xs), len(xs) <= MOST_EXACT
    if exact:
        orders = np.array(list(permutations(range(n))))
    else:
        orders = np.random.default_rng(0).permuted(np.tile(np.arange(n), (DRAWS, 1)), axis=1)
    shuffled = np.asarray(ys, dtype=float)[orders]
    rhos = _rank_correlations(
        np.broadcast_to(np.asarray(xs, dtype=float), shuffled.shape), shuffled
    )
    extreme = int((np.abs(rhos) >= abs(rho) - ROUNDING).sum())
    return extreme / len(orders) if exact else (extreme + 1) / (len(orders) + 1)


def _places(n: int, draws: int) -> NDArray[np.int64]:
    """Return the places (draws, n) of resamples with replacement; the same ones at every call."""
    return np.random.default_rng(0).integers(0, n, size=(draws, n))


def _ends(statistics: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    low, high = np.quantile(statistics, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _rank_correlations(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Spearman's rho of each row of two arrays (rows, n); NaN where a row is constant."""
    ranks = stats.rankdata(np.stack([xs, ys]), axis=-1)  # (2, rows, n)
    x, y = ranks - (xs.shape[1] + 1) / 2
    scale = np.sqrt((x * x).sum(1) * (y * y).sum(1))  # (rows,)
    undefined = scale == 0
    rho = (x * y).sum(1) / np.where(undefined, 1.0, scale)
    return np.where(undefined, np.nan, rho)
