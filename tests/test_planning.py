"""Numbers of seeds against simulated studies, and the searches against their own definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from plasticity import planning
from plasticity.planning import detectable, seeds_for, seeds_for_equivalence

STUDIES = 100_000
FOUR_DEVIATIONS = 4 * math.sqrt(0.25 / STUDIES)


def simulated(n, mean):
    """Return mean and standard error of n differences of deviation 1, in many studies."""
    values = np.random.default_rng(n).normal(mean, 1.0, size=(STUDIES, n))
    return values.mean(1), values.std(1, ddof=1) / math.sqrt(n)


@pytest.mark.parametrize(("n", "effect"), [(3, 2.0), (5, 1.5), (10, 1.0), (20, 0.3)])
def test_the_power_of_a_paired_test_is_that_of_simulated_studies(n, effect):
    mean, error = simulated(n, effect)
    found = np.mean(np.abs(mean) > stats.t.ppf(0.975, n - 1) * error)
    assert planning._power(n, effect, 0.05) == pytest.approx(found, abs=FOUR_DEVIATIONS)


@pytest.mark.parametrize(("n", "margin"), [(2, 5.0), (3, 1.5), (5, 1.0), (10, 1.0), (20, 0.6)])
def test_the_power_of_an_equivalence_is_that_of_simulated_studies(n, margin):
    mean, error = simulated(n, 0.0)
    found = np.mean(np.abs(mean) + stats.t.ppf(0.95, n - 1) * error < margin)
    power = planning._equivalence_power(n, margin, 0.05)
    assert power == pytest.approx(found, abs=FOUR_DEVIATIONS)


def test_many_seeds_need_what_the_normal_distribution_says():
    # ((z_0.975 + z_0.8) sd / d)^2 = 7.8489 x 10^4 and a little more for t;
    # ((z_0.95 + z_0.9) sd / margin)^2 = 8.5638 x 10^4.
    z = stats.norm.ppf
    assert seeds_for(0.01, 1.0) == pytest.approx((z(0.975) + z(0.8)) ** 2 * 1e4, abs=4)
    expected = (z(0.95) + z(0.9)) ** 2 * 1e4
    assert seeds_for_equivalence(0.01, 1.0) == pytest.approx(expected, abs=4)


def test_a_textbook_number_of_pairs():
    # Half a deviation at 80 % power: 34 pairs (Cohen 1988, and G*Power).
    assert seeds_for(0.5, 1.0) == 34


def test_the_sign_and_the_unit_of_a_difference_do_not_matter():
    assert seeds_for(-5.0, 10.0) == seeds_for(0.5, 1.0)
    assert seeds_for_equivalence(5.0, 10.0) == seeds_for_equivalence(0.5, 1.0)


@pytest.mark.parametrize("planner", [seeds_for, seeds_for_equivalence])
def test_a_huge_difference_needs_two_seeds(planner):
    assert planner(1e4, 1.0) == 2


@given(st.floats(0.05, 20), st.floats(0.1, 0.99), st.sampled_from([0.01, 0.05]))
def test_one_seed_less_is_too_few(effect, power, alpha):
    n = seeds_for(effect, 1.0, power, alpha)
    assert planning._power(n, effect, alpha) >= power
    assert n == 2 or planning._power(n - 1, effect, alpha) < power


@given(st.floats(0.1, 20), st.floats(0.1, 0.99), st.sampled_from([0.01, 0.05]))
def test_one_seed_less_is_too_few_for_an_equivalence(margin, power, alpha):
    n = seeds_for_equivalence(margin, 1.0, power, alpha)
    assert planning._equivalence_power(n, margin, alpha) >= power
    assert n == 2 or planning._equivalence_power(n - 1, margin, alpha) < power


@given(st.integers(2, 200), st.floats(0.01, 100), st.floats(0.1, 0.99))
def test_the_detectable_difference_has_the_power_asked_for(n, sd, power):
    difference = detectable(n, sd, power)
    assert planning._power(n, difference / sd, 0.05) == pytest.approx(power, rel=1e-9)
    assert seeds_for(1.000001 * difference, sd, power) <= n


@pytest.mark.parametrize("planner", [seeds_for, seeds_for_equivalence])
@pytest.mark.parametrize(
    "arguments",
    [
        (0.0, 1.0),
        (math.nan, 1.0),
        (1.0, 0.0),
        (1.0, math.inf),
        (1.0, 1.0, 1.0),
        (1.0, 1.0, 0.04),
        (1.0, 1.0, 0.8, 0.0),
    ],
)
def test_what_cannot_be_planned_is_refused(planner, arguments):
    with pytest.raises(ValueError, match="expected a positive, finite difference and sd, and 0 <"):
        planner(*arguments)


@pytest.mark.parametrize("planner", [seeds_for, seeds_for_equivalence])
def test_a_difference_far_below_the_noise_is_refused(planner):
    with pytest.raises(ValueError, match="more than 10,000,000 seeds"):
        planner(1e-5, 1.0)


def test_one_seed_detects_nothing():
    with pytest.raises(ValueError, match="1 seeds, expected at least 2"):
        detectable(1, 1.0)
