"""Tests of contrasts between conditions that t-tests do not cover. No torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from plasticity.stats import Interval, checked, mean_and_error, t_interval

EXACT_UP_TO = 30
"""Seeds whose 2^n signs are all counted."""

SIGN_DRAWS = 99_999
"""Random signs beyond that, so that p is a multiple of 1 / 100,000."""

TIE = 1e-12
"""Sums this near to the observed one, relative to the sum of sizes, are ties of it."""


@dataclass(frozen=True)
class Equivalence:
    """Whether a mean difference lies within a margin, by two one-sided t-tests."""

    interval: Interval
    """Of confidence 1 - 2 alpha: it lies inside the margin exactly where p < alpha."""
    margin: float
    p: float | None
    """The larger of the two one-sided p-values; None for a single seed."""


def sign_flip(differences: Sequence[float]) -> float:
    """Return the two-sided p of the mean of paired differences when their signs are free.

    The share of the 2^n choices of signs whose mean is at least as far from 0 as the observed one.
    All are counted up to 30 seeds; beyond, 99,999 random ones of a fixed seed, to which the
    observed one is added. The smallest p of n seeds is 2 / 2^n, so 5 seeds cannot reach 0.05.

    Raises
    ------
    ValueError
        For no values, or values that are not finite.

    Source: Fisher 1935; Phipson & Smyth 2010 for (k + 1) / (m + 1).
    """
    sizes = np.sort(np.abs(checked(differences, "a sign-flip test")))  # p depends on these alone
    n = len(sizes)
    least = abs(math.fsum(differences)) - TIE * float(sizes.sum())
    if least <= 0:
        return 1.0
    if n > EXACT_UP_TO:
        return _sampled(sizes, least)
    # A sum is one of each half; of every first half, count the second halves that reach `least`.
    # As many sums reach it from below: flip all signs.
    first, second = _signed_sums(sizes[::2]), np.sort(_signed_sums(sizes[1::2]))
    reach = len(second) - np.searchsorted(second, least - first)
    return 2 * int(reach.sum()) / 2.0**n


def _signed_sums(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of (k,) numbers under all 2^k choices of their signs."""
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def _sampled(sizes: NDArray[np.float64], least: float) -> float:
    draws = np.random.default_rng(0)
    sums = np.zeros(SIGN_DRAWS)
    for size in sizes:
        sums += np.where(draws.random(SIGN_DRAWS) < 0.5, size, -size)
    return (1 + int((np.abs(sums) >= least).sum())) / (SIGN_DRAWS + 1)


def equivalent(differences: Sequence[float], margin: float, alpha: float = 0.05) -> Equivalence:
    """Return whether the mean of paired differences lies within -margin and +margin.

    Differences that are all equal have p 0 inside the margin, else 1.

    Parameters
    ----------
    margin
        The largest difference that does not matter, in the unit of the values; set before the run.

    Raises
    ------
    ValueError
        For no values, values that are not finite, a margin that is not positive, or an alpha
        outside (0, 0.5).

    Source: Schuirmann 1987.
    """
    values = checked(differences, "an equivalence test")
    if not (0 < margin < math.inf and 0 < alpha < 0.5):
        raise ValueError(
            f"an equivalence test with margin {margin} and alpha {alpha},"
            " expected a positive, finite margin and an alpha between 0 and 0.5"
        )
    mean, error = mean_and_error(values)
    interval = t_interval(values, 1 - 2 * alpha)
    if error is None:
        return Equivalence(interval, margin, None)
    room = margin - abs(mean)  # to the nearer edge, whose p is the larger
    if error == 0:
        return Equivalence(interval, margin, float(room <= 0))
    return Equivalence(interval, margin, float(stats.t.sf(room / error, len(values) - 1)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values adjusted for their number, in the order given.

    None stays None and does not count.

    Raises
    ------
    ValueError
        For a p-value outside [0, 1].

    Source: Holm 1979.
    """
    known = [(p, place) for place, p in enumerate(p_values) if p is not None]
    for p, place in known:
        if not 0 <= p <= 1:
            raise ValueError(f"Holm's correction: value {place} is {p}, expected a p in [0, 1]")
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(sorted(known)):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted
