"""How many seeds a comparison needs, before it is run. No torch.

Seeds are paired, so ``sd`` is the standard deviation of the differences between two conditions
over seeds, in the unit of the difference: take it from a pilot, not from the seeds of the report.
"""

import math
from collections.abc import Callable

from scipy import integrate, optimize, stats

MOST_SEEDS = 10_000_000


def seeds_for(difference: float, sd: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Return the seeds with which a paired t-test finds a mean difference with this power.

    Parameters
    ----------
    difference
        The true mean difference, of either sign.
    alpha
        Level of the two-sided test.

    Raises
    ------
    ValueError
        For a difference of 0, a standard deviation that is not positive, values that are not
        finite, a power outside (alpha, 1), or more than 10 million seeds.
    """
    _check(abs(difference), sd, power, alpha)
    effect = abs(difference) / sd
    return _fewest(lambda n: _power(n, effect, alpha) >= power)


def detectable(n: int, sd: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest mean difference that n paired seeds find with this power.

    Raises
    ------
    ValueError
        For fewer than two seeds, a standard deviation that is not positive or finite, or a power
        outside (alpha, 1).
    """
    _check(1.0, sd, power, alpha)
    if n < 2:
        raise ValueError(f"{n} seeds, expected at least 2: one seed has no interval")
    low, high = 1e-9, 1.0
    while _power(n, high, alpha) < power:
        low, high = high, 2 * high
    root = optimize.brentq(lambda effect: _power(n, effect, alpha) - power, low, high, xtol=1e-14)
    return sd * float(root)


def seeds_for_equivalence(margin: float, sd: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Return the seeds with which ``equivalent`` shows a true difference of 0 with this power.

    Parameters
    ----------
    margin
        The largest difference that does not matter.
    alpha
        Level of each of the two one-sided tests.

    Raises
    ------
    ValueError
        For a margin or a standard deviation that is not positive or finite, a power outside
        (alpha, 1), or more than 10 million seeds.
    """
    _check(margin, sd, power, alpha)
    return _fewest(lambda n: _equivalence_power(n, margin / sd, alpha) >= power)


def _power(n: int, effect: float, alpha: float) -> float:
    """Return the power of the two-sided paired t-test at a mean of ``effect`` > 0 deviations.

    t squared is noncentral F; SciPy's noncentral t is NaN where the effect is large.
    """
    critical = float(stats.t.isf(alpha / 2, n - 1)) ** 2
    return float(stats.ncf.sf(critical, 1, n - 1, n * effect**2))


def _equivalence_power(n: int, margin: float, alpha: float) -> float:
    """Return the power of two one-sided t-tests at a true difference of 0; margin in deviations.

    Given the sample deviation s, in true deviations, both tests reject where the mean is within
    margin - t s / sqrt(n): a normal probability. The mean over s, which is chi / sqrt(n - 1) and
    independent of the mean, is exact (Owen 1965).
    """
    degrees = n - 1
    per_chi = float(stats.t.isf(alpha, degrees)) / math.sqrt(degrees)
    room = margin * math.sqrt(n)

    def shown(chi: float) -> float:
        inside = math.erf((room - per_chi * chi) / math.sqrt(2))
        return inside * float(stats.chi.pdf(chi, degrees))

    # chi lies within 9 of sqrt(degrees): its deviation is at most 0.71.
    low = max(0.0, math.sqrt(degrees) - 9)
    high = min(room / per_chi, math.sqrt(degrees) + 9)
    return float(integrate.quad(shown, low, high)[0]) if low < high else 0.0


def _fewest(enough: Callable[[int], bool]) -> int:
    """Return the smallest n from 2 on that is enough; where one is, all larger ones are."""
    low, high = 1, 2  # low is never enough
    while not enough(high):
        if high > MOST_SEEDS:
            raise ValueError(f"more than {MOST_SEEDS:,} seeds: the difference is too small for sd")
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(size: float, sd: float, power: float, alpha: float) -> None:
    if not (0 < size < math.inf and 0 < sd < math.inf and 0 < alpha < power < 1):
        raise ValueError(
            f"difference or margin {size}, sd {sd}, power {power}, alpha {alpha}; expected a"
            " positive, finite difference and sd, and 0 < alpha < power < 1"
        )
