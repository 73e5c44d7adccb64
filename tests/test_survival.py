"""Remission of 21 patients under 6-mercaptopurine, in weeks (Freireich et al. 1963).

The example of most textbooks, worked by hand here; 12 of 21 times are censored.
"""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from plasticity.survival import (
    integration_time,
    kaplan_meier,
    log_log_interval,
    restricted_mean,
)

ENDED = [6, 6, 6, 7, 10, 13, 16, 22, 23]
CENSORED = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
TIMES = ENDED + CENSORED
OBSERVED = [True] * len(ENDED) + [False] * len(CENSORED)

# Few distinct times, so that ties are common.
COHORTS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=12)


def at(steps: np.ndarray, values: np.ndarray, step: float) -> float:
    """Return the value of a step function."""
    return float(values[np.searchsorted(steps, step, "right") - 1])


def test_survival_of_the_textbook_example_is_that_worked_by_hand():
    # At risk 21, 17, 15, 12, 11, 7, 6; three end at week 6 and one at each later step.
    factors = [18 / 21, 16 / 17, 14 / 15, 11 / 12, 10 / 11, 6 / 7, 5 / 6]
    steps, survival = kaplan_meier(TIMES, OBSERVED)
    found = [at(steps, survival, week) for week in (6, 7, 10, 13, 16, 22, 23)]
    assert found == pytest.approx(np.cumprod(factors).tolist())
    printed = [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    assert found == pytest.approx(printed, abs=5e-4)


def test_steps_are_zero_and_every_distinct_time():
    steps, survival = kaplan_meier(TIMES, OBSERVED)
    assert steps.tolist() == [0, *sorted(set(TIMES))]
    assert survival[0] == 1


def test_the_interval_of_the_textbook_example_is_the_printed_one():
    # Stata's and R's log-log interval of the same data.
    steps, _ = kaplan_meier(TIMES, OBSERVED)
    low, high = log_log_interval(TIMES, OBSERVED)
    printed = {
        6: (0.6197, 0.9516),
        7: (0.5631, 0.9228),
        10: (0.5032, 0.8894),
        13: (0.4316, 0.8491),
        16: (0.3675, 0.8049),
        22: (0.2678, 0.7468),
        23: (0.1881, 0.6801),
    }
    for week, ends in printed.items():
        assert (at(steps, low, week), at(steps, high, week)) == pytest.approx(ends, abs=1e-4)


def test_an_interval_of_one_time_in_four_is_that_worked_by_hand():
    # One of 4 ends: S = 3/4, variance of log S: 1 / (4 3) = 1/12. With z = 1 (a confidence of
    # 68.27 %): exponent exp(+-sqrt(1/12) / -log(3/4)) = exp(+-1.00345).
    confidence = math.erf(1 / math.sqrt(2))
    low, high = log_log_interval([1, 2, 2, 2], [True, False, False, False], confidence)
    spread = math.exp(math.sqrt(1 / 12) / math.log(4 / 3))
    assert low[1] == pytest.approx(0.75**spread, rel=1e-9)
    assert high[1] == pytest.approx(0.75 ** (1 / spread), rel=1e-9)
    assert (low[1], high[1]) == pytest.approx((0.4563, 0.8999), abs=5e-5)


def test_an_interval_is_certain_at_one_and_unknown_at_zero():
    low, high = log_log_interval([1, 2, 3], [False, True, True])
    assert low[:2].tolist() == high[:2].tolist() == [1, 1]
    assert 0 < low[2] < high[2] < 1
    assert math.isnan(low[3])
    assert math.isnan(high[3])


def test_the_mean_of_the_textbook_example_is_the_area_worked_by_hand():
    # Widths 6, 1, 3, 3, 3, 6, 1 and 7 up to week 30, times survival before each end.
    survival = np.cumprod([1, 18 / 21, 16 / 17, 14 / 15, 11 / 12, 10 / 11, 6 / 7, 5 / 6])
    expected = (np.array([6, 1, 3, 3, 3, 6, 1, 7]) * survival).sum()
    assert restricted_mean(TIMES, OBSERVED, 30) == pytest.approx(expected)
    assert restricted_mean(TIMES, OBSERVED, 30) == pytest.approx(21.05, abs=5e-3)


def test_a_horizon_between_steps_cuts_the_last_one():
    # Survival 1 up to 2, then 1/2.
    assert restricted_mean([2, 4], [True, False], 3) == 2.5
    assert restricted_mean([2, 4], [True, False], 1) == 1


def test_a_censored_time_is_neither_dropped_nor_taken_for_the_time_itself():
    # Of 2 censored and 10 the second alone is seen to end: dropped or redistributed, 10; taken
    # for itself, 6.
    assert restricted_mean([2, 10], [False, True], 12) == 10


def test_who_catches_up_at_birth_has_a_time_of_zero():
    steps, survival = kaplan_meier([0, 0, 4, 8], [True, False, True, True])
    assert (steps.tolist(), survival.tolist()) == ([0, 4, 8], [0.75, 0.375, 0])
    assert restricted_mean([0, 0, 4, 8], [True, False, True, True], 8) == 0.75 * 4 + 0.375 * 4


def test_a_censored_time_is_at_risk_when_another_ends_at_the_same_step():
    _, survival = kaplan_meier([5, 5], [True, False])
    assert survival[-1] == 0.5


def test_after_the_last_end_a_mean_may_go_on():
    assert restricted_mean([1, 3], [True, True], 100) == 2


@pytest.mark.parametrize("horizon", [0, -1, 4.5, math.inf, math.nan])
def test_a_horizon_that_nobody_watched_is_refused(horizon):
    with pytest.raises(ValueError, match="horizon"):
        restricted_mean([2, 4], [True, False], horizon)


def test_an_endless_horizon_is_refused_even_when_all_ended():
    with pytest.raises(ValueError, match="horizon"):
        restricted_mean([2, 4], [True, True], math.inf)


@pytest.mark.parametrize(
    ("times", "observed"),
    [([], []), ([1], [True, False]), ([-1], [True]), ([math.nan], [True]), ([math.inf], [False])],
)
def test_impossible_times_are_refused(times, observed):
    for function in (kaplan_meier, log_log_interval):
        with pytest.raises(ValueError, match="times"):
            function(times, observed)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 12))
def test_without_censoring_survival_and_mean_are_those_of_the_sample(times, horizon):
    steps, survival = kaplan_meier(times, [True] * len(times))
    assert survival.tolist() == pytest.approx([np.mean(np.array(times) > s) for s in steps])
    expected = np.minimum(times, horizon).mean()
    assert restricted_mean(times, [True] * len(times), horizon) == pytest.approx(expected)


@given(COHORTS)
def test_survival_is_that_of_mass_redistributed_to_the_right(cohorts):
    # Efron 1967: each censored time gives its mass in equal parts to all that were watched longer.
    order = sorted(cohorts, key=lambda cohort: (cohort[0], not cohort[1]))
    mass = [1 / len(order)] * len(order)
    for index, (_, ended) in enumerate(order):
        later = range(index + 1, len(order))
        if not ended and later:
            for other in later:
                mass[other] += mass[index] / len(later)
            mass[index] = 0
    steps, survival = kaplan_meier(*zip(*cohorts, strict=True))
    for step, value in zip(steps, survival, strict=True):
        gone = sum(
            m for m, (time, ended) in zip(mass, order, strict=True) if ended and time <= step
        )
        assert value == pytest.approx(1 - gone, abs=1e-12)


@given(COHORTS, st.randoms())
def test_the_order_of_cohorts_does_not_matter(cohorts, random):
    shuffled = random.sample(cohorts, len(cohorts))
    for function in (kaplan_meier, log_log_interval):
        one = function(*zip(*cohorts, strict=True))
        two = function(*zip(*shuffled, strict=True))
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, two, strict=True))


@given(COHORTS)
def test_another_unit_of_time_scales_steps_and_mean_alone(cohorts):
    times, observed = zip(*cohorts, strict=True)
    longest = max(times)
    assume(longest > 0)
    scaled = [4 * time for time in times]
    (steps, survival), (long, same) = kaplan_meier(times, observed), kaplan_meier(scaled, observed)
    assert (long.tolist(), same.tolist()) == ((4 * steps).tolist(), survival.tolist())
    mean = restricted_mean(times, observed, longest)
    assert restricted_mean(scaled, observed, 4 * longest) == 4 * mean


@given(COHORTS)
def test_an_interval_holds_its_survival_and_stays_between_zero_and_one(cohorts):
    times, observed = zip(*cohorts, strict=True)
    _, survival = kaplan_meier(times, observed)
    low, high = log_log_interval(times, observed)
    known = survival > 0
    assert (np.diff(survival) <= 0).all()
    assert (low[known] >= 0).all()
    assert (low[known] <= survival[known]).all()
    assert (survival[known] <= high[known]).all()
    assert (high[known] <= 1).all()


def test_intervals_hold_the_true_survival_in_95_of_100_studies():
    # 1,000 studies of 40 exponential times, censored at random: a standard error of 0.7 points.
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        times, limits = rng.exponential(10, 40), rng.uniform(0, 30, 40)
        watched, observed = np.minimum(times, limits), times <= limits
        steps, _ = kaplan_meier(watched, observed)
        low, high = log_log_interval(watched, observed)
        covered += at(steps, low, 8) <= math.exp(-0.8) <= at(steps, high, 8)
    assert 0.93 <= covered / 1000 <= 0.97


def test_the_mean_of_censored_times_is_that_of_all():
    # Exponential with mean 10 up to a horizon of 15: 10 (1 - exp(-1.5)) = 7.769; its standard
    # error with 20,000 times is 0.04. The mean of what was watched is 5.
    rng = np.random.default_rng(1)
    times, limits = rng.exponential(10, 20000), rng.uniform(0, 20, 20000)
    found = restricted_mean(np.minimum(times, limits), times <= limits, 15)
    assert found == pytest.approx(10 * (1 - math.exp(-1.5)), abs=0.15)


# Integration time.

AGES = [0, 1, 2, 5, 10, 20, 50]


def test_integration_is_the_first_of_three_probes_that_hold_the_ratio():
    ratios = [0.1, 0.5, 0.6, 0.4, 0.5, 0.9, 0.7]
    assert integration_time(AGES, ratios, 0.5) == (10, True)


def test_two_probes_that_hold_the_ratio_are_enough_when_two_are_asked_for():
    ratios = [0.1, 0.5, 0.6, 0.4, 0.5, 0.9, 0.7]
    assert integration_time(AGES, ratios, 0.5, 2) == (1, True)
    assert integration_time(AGES, ratios, 0.5, 1) == (1, True)


def test_later_losses_do_not_undo_an_integration():
    assert integration_time(AGES, [0.9, 0.9, 0.9, 0, 0, 0, 0], 0.9) == (0, True)


def test_without_integration_the_time_is_censored_at_the_last_age():
    assert integration_time(AGES, [0.1, 0.9, 0.9, 0.1, 0.1, 0.9, 0.9], 0.5) == (50, False)
    assert integration_time([0, 1], [1, 1], 0.5) == (1, False)


def test_a_missing_ratio_breaks_a_streak():
    assert integration_time(AGES, [1, 1, math.nan, 1, 1, 1, 1], 0.5) == (5, True)


@pytest.mark.parametrize(
    ("ages", "ratios"), [([], []), ([1, 2], [0.5]), ([1, 1], [0.5, 0.5]), ([2, 1], [0.5, 0.5])]
)
def test_impossible_probes_are_refused(ages, ratios):
    with pytest.raises(ValueError, match="ages"):
        integration_time(ages, ratios, 0.5)


@given(
    st.lists(st.sampled_from([0.0, 0.4, 0.5, 0.8, math.nan]), min_size=1, max_size=12),
    st.integers(1, 4),
)
def test_integration_is_that_of_windows_of_probes(ratios, consecutive):
    ages = [3 * index + 1 for index in range(len(ratios))]
    starts = [
        ages[i]
        for i in range(len(ratios) - consecutive + 1)
        if all(ratio >= 0.5 for ratio in ratios[i : i + consecutive])
    ]
    expected = (starts[0], True) if starts else (ages[-1], False)
    assert integration_time(ages, ratios, 0.5, consecutive) == expected


@given(st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=9))
def test_a_higher_threshold_is_never_reached_earlier(ratios):
    ages = list(range(len(ratios)))
    low, high = (integration_time(ages, ratios, q) for q in (0.5, 0.9))
    assert low[0] <= high[0]
    assert low[1] >= high[1]
