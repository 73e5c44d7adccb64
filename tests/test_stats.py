"""Closed forms of Student's t.

With one degree of freedom it is the Cauchy distribution, so the quantile of p is
tan(pi (p - 1/2)). With two, it is (2p - 1) / sqrt(2 p (1 - p)).
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import coverage
from plasticity.stats import (
    Interval,
    Welch,
    by_chance,
    paired,
    t_interval,
    t_test,
    welch,
    welch_from_summary,
)

VALUES = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=9)


def test_two_values_have_the_interval_of_the_cauchy_distribution():
    # Values 1 and 4: standard error |1 - 4| / 2 = 1.5; tan(0.475 pi) = 12.7062.
    interval = t_interval([1.0, 4.0])
    assert interval.half_width == pytest.approx(math.tan(0.475 * math.pi) * 1.5, rel=1e-9)
    assert interval.half_width == pytest.approx(19.0593, abs=5e-5)


def test_three_values_have_the_closed_interval_of_two_degrees_of_freedom():
    # Values 1, 2, 6: mean 3, variance (4 + 1 + 9) / 2 = 7; t = 0.95 / sqrt(2 0.975 0.025) = 4.3027.
    quantile = 0.95 / math.sqrt(2 * 0.975 * 0.025)
    interval = t_interval([1.0, 2.0, 6.0])
    assert interval.half_width == pytest.approx(quantile * math.sqrt(7 / 3), rel=1e-9)
    assert interval.half_width == pytest.approx(6.5724, abs=5e-5)


def test_another_confidence_has_another_quantile():
    # p = 0.75: tan(pi / 4) = 1.
    assert t_interval([1.0, 4.0], 0.5).half_width == pytest.approx(1.5, rel=1e-9)


def test_the_ends_lie_a_half_width_from_the_mean():
    interval = t_interval([1.0, 2.0, 6.0])
    assert (interval.low, interval.high) == (
        interval.mean - interval.half_width,
        interval.mean + interval.half_width,
    )


def test_an_interval_knows_its_number_of_values():
    assert t_interval([1.0, 2.0, 6.0]).n == 3


def test_the_error_of_a_mean_is_the_deviation_over_the_root_of_the_number():
    assert t_interval([1.0, 2.0, 3.0, 6.0]).error == pytest.approx((14 / 3 / 4) ** 0.5)
    assert t_interval([7.0]).error is None


def test_a_single_value_has_a_mean():
    assert t_interval([97.25]).mean == 97.25


def test_a_single_value_has_no_interval():
    interval = t_interval([97.25])
    assert (interval.half_width, interval.low, interval.high) == (None, None, None)


def test_no_value_is_a_fault_of_the_caller():
    with pytest.raises(ValueError, match="at least one value"):
        t_interval([])


def test_equal_values_have_an_interval_of_no_width():
    assert t_interval([97.25] * 5).half_width == 0


@given(VALUES, st.randoms())
def test_the_order_of_values_does_not_matter(values, random):
    shuffled = random.sample(values, len(values))
    assert t_interval(shuffled).mean == t_interval(values).mean


@given(VALUES, st.sampled_from([-8.0, 0.25, 2.0]))
def test_an_interval_scales_with_its_values(values, factor):
    half = t_interval(values).half_width
    scaled = t_interval([factor * value for value in values]).half_width
    assert scaled == pytest.approx(abs(factor) * half, rel=1e-12)


@pytest.mark.parametrize("n", [5, 10, 20])
def test_intervals_hold_the_true_mean_in_95_of_100_studies(n):
    # 2,000 studies: the share has a standard error of 0.5 points.
    draws = np.random.default_rng(n).normal(70.0, 3.0, size=(2000, n))
    intervals = [t_interval(study) for study in draws.tolist()]
    covered = sum(interval.low <= 70.0 <= interval.high for interval in intervals)
    assert 0.935 <= covered / 2000 <= 0.965


@pytest.mark.parametrize("value", [0.1, 1 / 3, 97.25])
def test_equal_values_have_themselves_as_mean(value):
    # 3 x 0.1 / 3 is not 0.1, and its rounding would pass for variance.
    assert t_interval([value] * 3) == Interval(value, 0.0, 3)


def test_a_paired_difference_is_the_interval_of_the_differences():
    # Differences 1 and 4: as two values above.
    interval = paired([11.0, 24.0], [10.0, 20.0])
    assert (interval.mean, interval.n) == (2.5, 2)
    assert interval.half_width == pytest.approx(math.tan(0.475 * math.pi) * 1.5, rel=1e-9)


def test_a_paired_difference_takes_another_confidence():
    assert paired([11.0, 24.0], [10.0, 20.0], 0.5).half_width == pytest.approx(1.5, rel=1e-9)


def test_one_pair_has_a_difference_and_no_interval():
    assert paired([3.0], [1.0]) == Interval(2.0, None, 1)


def test_a_pair_needs_as_many_values_on_both_sides():
    with pytest.raises(ValueError, match=r"2 and 1 values.*same order"):
        paired([1.0, 2.0], [1.0])


def test_two_values_have_the_p_of_the_cauchy_distribution():
    # Values 1 and 3: t = 2 / 1, P(|T| > 2) = 1 - 2 atan(2) / pi = 0.295167.
    assert t_test([1.0, 3.0]) == pytest.approx(1 - 2 * math.atan(2) / math.pi, rel=1e-12)
    assert t_test([1.0, 3.0]) == pytest.approx(0.295167, abs=5e-7)


def test_three_values_have_the_closed_p_of_two_degrees_of_freedom():
    # Values 1, 2, 6 against 1: t = 2 / sqrt(7 / 3), p = 1 - t / sqrt(2 + t^2) = 0.320377.
    t = 2 / math.sqrt(7 / 3)
    assert t_test([1.0, 2.0, 6.0], 1.0) == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-12)


def test_a_single_value_has_no_p():
    assert t_test([1.0]) is None


@pytest.mark.parametrize(("expected", "p"), [(0.1, 1.0), (0.2, 0.0)])
def test_equal_values_have_a_sure_p(expected, p):
    assert t_test([0.1] * 3, expected) == p


@given(VALUES, st.floats(0.5, 0.99))
def test_p_is_the_confidence_at_which_the_interval_ends_at_the_expected_mean(values, confidence):
    interval = t_interval(values, confidence)
    if interval.half_width > 1e-6 * abs(interval.mean):
        assert t_test(values, interval.high) == pytest.approx(1 - confidence, rel=1e-6)


def test_welch_worked_by_hand():
    # a = 1, 3: variance 2, error^2 1. b = 4, 6, 8: variance 4, error^2 4/3.
    # Difference -4, error sqrt(7/3); degrees (7/3)^2 / (1/1 + (16/9)/2) = 49/17.
    found = welch([1.0, 3.0], [4.0, 6.0, 8.0])
    assert (found.interval.mean, found.interval.n) == (-4.0, 5)
    assert found.degrees == pytest.approx(49 / 17, rel=1e-12)
    reach = found.interval.half_width / math.sqrt(7 / 3)
    assert 3.1824 < reach < 0.95 / math.sqrt(2 * 0.975 * 0.025)  # 3 and 2 degrees
    assert 0.05 < found.p < 0.1


def test_welch_with_two_seeds_a_side_and_equal_spread_has_two_degrees():
    # Errors^2 1 and 1; t = 4 / sqrt(2), p = 1 - t / sqrt(2 + t^2) = 1 - sqrt(0.8).
    found = welch([1.0, 3.0], [5.0, 7.0])
    assert found.degrees == pytest.approx(2.0, rel=1e-12)
    assert found.p == pytest.approx(1 - math.sqrt(0.8), rel=1e-12)
    assert found.interval.half_width == pytest.approx(
        0.95 / math.sqrt(2 * 0.975 * 0.025) * math.sqrt(2), rel=1e-9
    )


def test_welch_against_a_constant_has_the_degrees_of_the_other():
    assert welch([1.0, 2.0, 6.0], [2.0] * 5).degrees == pytest.approx(2.0, rel=1e-12)


@pytest.mark.parametrize(("b", "p"), [(0.1, 1.0), (0.3, 0.0)])
def test_welch_of_two_constants_is_sure(b, p):
    assert welch([0.1] * 3, [b] * 3) == Welch(Interval(0.1 - b, 0.0, 6), None, p)


def test_welch_with_one_seed_on_a_side_has_a_difference_alone():
    assert welch([3.0], [1.0, 1.0]) == Welch(Interval(2.0, None, 3), None, None)


@pytest.mark.parametrize(
    ("grow", "prune", "p"),
    [
        ((52.055, 0.324), (52.057, 0.283), 0.9917),
        ((51.626, 0.232), (51.615, 0.280), 0.9461),
        ((50.791, 0.338), (51.205, 0.415), 0.0980),
        ((50.260, 0.257), (50.320, 0.415), 0.7846),
    ],
)
def test_a_published_table_gives_its_published_p(grow, prune, p):
    """Lillo & Cheney 2026, tables 4 and 5: tickets of grow and prune, CIFAR-100, 10 seeds."""
    found = welch_from_summary(*grow, 10, *prune, 10)
    assert found.p == pytest.approx(p, abs=5e-4)  # means and half-widths have three digits


@given(VALUES, VALUES)
def test_a_summary_gives_what_the_values_give(a, b):
    first, second = t_interval(a), t_interval(b)
    found = welch_from_summary(
        first.mean, first.half_width, first.n, second.mean, second.half_width, second.n
    )
    expected = welch(a, b)
    assert found.interval.mean == expected.interval.mean
    assert found.interval.half_width == pytest.approx(expected.interval.half_width, rel=1e-9)
    assert found.p == pytest.approx(expected.p, rel=1e-6, abs=1e-300)


@given(VALUES, VALUES)
def test_welch_changes_sign_with_its_sides(a, b):
    forth, back = welch(a, b), welch(b, a)
    assert forth.interval.mean == -back.interval.mean
    assert forth.p == pytest.approx(back.p, rel=1e-9)


@pytest.mark.parametrize(("n", "half"), [(1, 0.3), (10, -0.3)])
def test_a_summary_needs_two_seeds_and_a_width(n, half):
    with pytest.raises(ValueError, match="at least two seeds a side and no negative half-width"):
        welch_from_summary(1.0, half, n, 1.0, 0.3, 10)


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
@pytest.mark.parametrize(
    "function",
    [
        t_test,
        lambda values: paired(values, [1.0, 2.0]),
        lambda values: paired([1.0, 2.0], values),
        lambda values: welch(values, [1.0, 2.0]),
        lambda values: welch([1.0, 2.0], values),
        lambda values: welch_from_summary(values[1], 1.0, 5, 0.0, 1.0, 5),
    ],
)
def test_a_diverged_seed_is_refused(function, bad):
    with pytest.raises(ValueError, match="expected a finite number; leave out seeds that diverged"):
        function([1.0, bad])


@pytest.mark.parametrize("name", coverage.T_INTERVALS)
def test_t_intervals_of_five_seeds_hold_the_truth_in_95_of_100_studies(name):
    low, high = coverage.GOAL
    assert low <= coverage.share(coverage.T_INTERVALS[name], 5) <= high


def test_means_of_ten_seeds_are_two_errors_apart_by_chance_in_six_of_a_hundred_cases():
    assert by_chance(2.0, 10, 10) == pytest.approx(0.0608, abs=1e-4)  # Student's t, 18 degrees
    assert by_chance(2.0, 3, 10) == pytest.approx(0.131, abs=1e-3)
    assert by_chance(2.0, 3, 10) == by_chance(2.0, 10, 3)
