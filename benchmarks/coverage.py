"""What intervals hold and how often tests err, over simulated studies of normal values."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from plasticity.ranks import iqm_interval, spearman_by_cluster
from plasticity.significance import equivalent, holm, sign_flip
from plasticity.stats import Interval, differences, paired, t_interval, t_test, welch

STUDIES = 2000
COUNTS = (5, 10, 20)
CONTRASTS = 8
MARGIN = 0.5
GOAL = (93.5, 96.5)
"""Percent: where 2,000 studies cannot tell an interval from one of 95 %."""
DRAWS = 1000
"""Resamples of a bootstrap here; ten times as many change the shares by less than they vary."""

Study = Callable[[np.random.Generator, int], bool]


def _arms(draws: np.random.Generator, arms: int, n: int) -> list[list[float]]:
    """Return the values of n seeds in arms of mean 0; half of their variance is the seed's."""
    values: list[list[float]] = (draws.normal(size=(arms, n)) + draws.normal(size=n)).tolist()
    return values


def _holds(interval: Interval, true: float) -> bool:
    return interval.low <= true <= interval.high


def _mean(draws: np.random.Generator, n: int) -> bool:
    return _holds(t_interval(draws.normal(70, 3, n).tolist()), 70)


def _paired(draws: np.random.Generator, n: int) -> bool:
    return _holds(paired(*_arms(draws, 2, n)), 0)


def _welch(draws: np.random.Generator, n: int) -> bool:
    return _holds(welch(draws.normal(70, 3, n), draws.normal(68, 3, n)).interval, 2)


def _welch_unequal(draws: np.random.Generator, n: int) -> bool:
    return _holds(welch(draws.normal(70, 3, n), draws.normal(68, 6, n)).interval, 2)


def _equivalent_at_the_edge(draws: np.random.Generator, n: int) -> bool:
    return equivalent(draws.normal(MARGIN, 0.5, n).tolist(), MARGIN).p < 0.05


def _sign_flip(draws: np.random.Generator, n: int) -> bool:
    return sign_flip(differences(*_arms(draws, 2, n))) <= 0.05


def _holm(draws: np.random.Generator, n: int) -> bool:
    adjusted = holm([t_test(values) for values in draws.normal(size=(CONTRASTS, n)).tolist()])
    return min(adjusted) <= 0.05


def _holm_one_control(draws: np.random.Generator, n: int) -> bool:
    control, *arms = _arms(draws, CONTRASTS + 1, n)
    return min(holm([t_test(differences(arm, control)) for arm in arms])) <= 0.05


def _iqm(draws: np.random.Generator, n: int) -> bool:
    found = iqm_interval(draws.normal(70, 3, n).tolist(), draws=DRAWS)
    return found.low <= 70 <= found.high


def _spearman(draws: np.random.Generator, n: int) -> bool:
    """Means correlate by 0.8 with deviation 2, five seeds around them with 1, n conditions.

    The means of seeds then correlate by r = 3.2 / 4.2, and rho = 6 / pi asin(r / 2).
    """
    means = draws.multivariate_normal([0, 0], [[4, 3.2], [3.2, 4]], size=n, method="cholesky")
    x, y = (means[:, :, None] + draws.normal(size=(n, 2, 5))).transpose(1, 0, 2).tolist()
    found = spearman_by_cluster(x, y, draws=DRAWS)
    return found.low <= 6 / math.pi * math.asin(3.2 / 4.2 / 2) <= found.high


T_INTERVALS: dict[str, Study] = {
    "mean, t": _mean,
    "paired difference, t": _paired,
    "difference, Welch": _welch,
    "difference, Welch, deviations 1 to 2": _welch_unequal,
}
ERRORS: dict[str, tuple[Study, float]] = {
    "equivalence, true difference on the margin": (_equivalent_at_the_edge, 6.0),
    "sign-flip, no difference": (_sign_flip, 6.0),
    f"Holm, {CONTRASTS} independent contrasts, none real": (_holm, 6.0),
    f"Holm, {CONTRASTS} contrasts with one control, none real": (_holm_one_control, 6.0),
}
"""A test that should not reject, and the largest share in percent in which it may."""
BOOTSTRAPS: dict[str, Study] = {
    "interquartile mean of n values": _iqm,
    "Spearman's rho over n conditions of 5 seeds": _spearman,
}


def share(study: Study, n: int, studies: int = STUDIES) -> float:
    """Return in how many percent of studies of n seeds something is so; seeds are fixed."""
    draws = np.random.default_rng(n)
    return 100 * sum(study(draws, n) for _ in range(studies)) / studies


def lines() -> Iterator[str]:
    """Return three tables of percent: intervals, tests, bootstraps."""
    counts = " | ".join(f"n = {n}" for n in COUNTS)
    yield "\n## Intervals and tests over seeds\n"
    yield f"Shares of {STUDIES:,} simulated studies, in %; they vary by 0.5 at 95 or 5. A value"
    yield f"outside its goal is marked. Bootstraps have {DRAWS:,} resamples.\n"
    yield f"| 95 % intervals that hold the truth | goal | {counts} |"
    yield "| --- | --- | --- | --- | --- |"
    for name, study in T_INTERVALS.items():
        yield f"| {name} | {GOAL[0]} to {GOAL[1]} | {_cells(study, *GOAL)} |"
    yield f"\n| false findings at 5 % | goal | {counts} |"
    yield "| --- | --- | --- | --- | --- |"
    for name, (study, most) in ERRORS.items():
        yield f"| {name} | at most {most:g} | {_cells(study, 0, most)} |"
    yield f"\n| 95 % bootstrap intervals that hold the truth | {counts} |"
    yield "| --- | --- | --- | --- |"
    for name, study in BOOTSTRAPS.items():
        yield f"| {name} | {_cells(study, 0, 100)} |"


def _cells(study: Study, low: float, high: float) -> str:
    found = [share(study, n) for n in COUNTS]
    return " | ".join(f"{p:.1f}" + ("" if low <= p <= high else " **missed**") for p in found)
