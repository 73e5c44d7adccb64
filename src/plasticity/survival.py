"""How long until newborns catch up, when some never do while we watch. No torch.

A time that ended before the ratio was reached is right-censored: it says "longer than this".
Dropping it, or taking it for the time itself, would call slow newborns fast.
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def integration_time(
    ages: Sequence[float], ratios: Sequence[float], threshold: float, consecutive: int = 3
) -> tuple[float, bool]:
    """Return the age at which a cohort ratio has come to stay, and whether it was observed.

    That is the first age of the first ``consecutive`` successive probes at or above the threshold;
    if there are none, the last age and False: right-censored.

    Parameters
    ----------
    ages
        Of the probes, increasing (steps).
    ratios
        Newborn / incumbent at those ages. NaN, where a cohort has no ratio, reaches nothing.
    threshold
        Ratio to reach.
    consecutive
        Successive probes that must hold it, so that noise at one probe is no integration.

    Raises
    ------
    ValueError
        For no probes, unequal lengths, or ages that do not increase.
    """
    if not len(ages) or len(ages) != len(ratios):
        raise ValueError(f"got {len(ages)} ages and {len(ratios)} ratios, expected as many, not 0")
    if not np.all(np.diff(ages) > 0):
        raise ValueError(f"got ages {list(ages)}, expected each to be above the one before")
    streak = 0
    for index, ratio in enumerate(ratios):
        streak = streak + 1 if ratio >= threshold else 0
        if streak == consecutive:
            return float(ages[index - consecutive + 1]), True
    return float(ages[-1]), False


def kaplan_meier(times: Sequence[float], observed: Sequence[bool]) -> tuple[Floats, Floats]:
    """Return the share of cohorts that have not caught up by each step.

    Parameters
    ----------
    times
        One for each cohort: when it caught up, or when we stopped watching (steps).
    observed
        Whether it caught up. What stops at the same step as another catches up was still at risk.

    Returns
    -------
    steps
        0 and every distinct time, increasing.
    survival
        After each of these; it holds until the next. It may be below 1 at step 0 already.

    Raises
    ------
    ValueError
        For no times, unequal lengths, or times that are negative or not finite.

    Source: Kaplan & Meier 1958 (product-limit estimate).
    """
    steps, caught_up, at_risk = _counts(times, observed)
    return steps, np.cumprod((at_risk - caught_up) / at_risk, dtype=np.float64)


def log_log_interval(
    times: Sequence[float], observed: Sequence[bool], confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Return the lower and upper ends of a pointwise interval at the steps of ``kaplan_meier``.

    Greenwood's variance on the scale of log(-log(survival)), which keeps the ends in [0, 1]. Both
    are 1 while survival is 1, and NaN where it is 0, which has no variance.

    Parameters
    ----------
    times, observed
        As for ``kaplan_meier``.
    confidence
        Share of such intervals that hold the true survival, if times are independent. Layers and
        events of one seed are not: then the interval is too narrow.

    Raises
    ------
    ValueError
        As for ``kaplan_meier``.

    Source: Kalbfleisch & Prentice 1980; variance of Greenwood 1926.
    """
    _, caught_up, at_risk = _counts(times, observed)
    _, survival = kaplan_meier(times, observed)
    normal = NormalDist().inv_cdf((1 + confidence) / 2)
    inside = (survival > 0) & (survival < 1)
    # Nobody is left after the last step alone, and there survival is 0: its variance is not used.
    left = np.maximum(at_risk - caught_up, 1)
    variance = np.cumsum(caught_up / (at_risk * left))
    safe = np.where(inside, survival, 0.5)
    spread = np.exp(normal * np.sqrt(variance) / -np.log(safe))
    outside = np.where(survival == 1, 1.0, np.nan)
    return (
        np.where(inside, safe**spread, outside),
        np.where(inside, safe ** (1 / spread), outside),
    )


def restricted_mean(times: Sequence[float], observed: Sequence[bool], horizon: float) -> float:
    """Return the mean of the smaller of time and horizon: the area under survival (steps).

    Parameters
    ----------
    times, observed
        As for ``kaplan_meier``.
    horizon
        Where the area ends.

    Raises
    ------
    ValueError
        As for ``kaplan_meier``; for a horizon that is not above 0, or beyond the last time while
        survival is above 0: nobody watched what came then.

    Source: Irwin 1949; Royston & Parmar 2013.
    """
    steps, survival = kaplan_meier(times, observed)
    known = steps[-1] if survival[-1] > 0 else np.inf
    if not 0 < horizon <= known or not np.isfinite(horizon):
        raise ValueError(f"got a horizon of {horizon}, expected above 0 and at most {known}")
    within = steps < horizon
    widths = np.diff(np.append(steps[within], horizon))
    return float(np.sum(survival[within] * widths))


def _counts(times: Sequence[float], observed: Sequence[bool]) -> tuple[Floats, Counts, Counts]:
    """Return the steps, and at each how many catch up and how many had not before."""
    time = np.asarray(times, dtype=np.float64)
    caught = np.asarray(observed, dtype=bool)
    if time.ndim != 1 or not len(time) or time.shape != caught.shape:
        raise ValueError(
            f"got times {time.shape}, observed {caught.shape}, expected as many, not 0"
        )
    if not np.all(np.isfinite(time) & (time >= 0)):
        raise ValueError(f"got times {time.tolist()}, expected all finite and none below 0")
    steps = np.unique(np.append(time, 0.0))
    ends = np.sort(time[caught])
    caught_up = np.searchsorted(ends, steps, "right") - np.searchsorted(ends, steps, "left")
    at_risk = len(time) - np.searchsorted(np.sort(time), steps, "left")
    return steps, caught_up.astype(np.int64), at_risk.astype(np.int64)
