"""Closed forms of Student's t.

With one degree of freedom it is the Cauchy distribution, so the quantile of p is
tan(pi (p - 1/2)). With two, it is (2p - 1) / sqrt(2 p (1 - p)).
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasticity.stats import t_interval

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
