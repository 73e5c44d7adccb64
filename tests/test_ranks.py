"""Interquartile means, shares of pairs, rank correlations: worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from plasticity.ranks import (
    Resampled,
    iqm,
    iqm_interval,
    permutation_p,
    probability_of_improvement,
    spearman,
    spearman_by_cluster,
)

VALUES = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=9)
PAIRS = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=9)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 4.5),  # 3, 4, 5, 6
        ([100.0, 1.0, 3.0, 2.0], 2.5),  # 2, 3
        ([100.0, 1.0, 4.0, 2.0, 3.0, 5.0, 0.0], 3.0),  # 7 // 4 = 1 a side: 1 to 5
        ([1.0, 2.0, 6.0], 3.0),  # nothing is cut
        ([97.25], 97.25),
    ],
)
def test_interquartile_means_worked_by_hand(values, expected):
    assert iqm(values) == expected


def test_a_collapsed_seed_does_not_move_an_interquartile_mean():
    assert iqm([70.0, 71.0, 72.0, 0.0]) == iqm([70.0, 71.0, 72.0, 69.0])


@given(VALUES)
def test_an_interquartile_mean_has_its_interval_within_the_values(values):
    found = iqm_interval(values, draws=200)
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack
    assert (found.value, found.n) == (iqm(values), len(values))


def test_the_interval_of_two_values_ends_at_them():
    # Of four resamples one is (1, 1) and one (4, 4), each far more than 2.5 %.
    assert iqm_interval([1.0, 4.0]) == Resampled(2.5, 1.0, 4.0, 2)


def test_the_interval_cuts_each_resample():
    # The middle two of a resample are both 100 with three or four of them, P = 13 / 256: more than
    # 2.5 % and less than 10 %. With two, P = 54 / 256, one of the middle two is.
    values = [1.0, 2.0, 3.0, 100.0]
    assert iqm_interval(values, 0.95).high == 100.0
    assert 50.5 <= iqm_interval(values, 0.8).high <= 51.5


def test_a_single_value_has_no_interval():
    assert iqm_interval([3.0]) == Resampled(3.0, None, None, 1)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([2.0, 3.0], [1.0, 2.0], 3.5 / 4),
        ([1.0, 1.0], [1.0], 0.5),
        ([1.0], [2.0, 3.0, 0.0], 1 / 3),
    ],
)
def test_probabilities_of_improvement_worked_by_hand(a, b, expected):
    assert probability_of_improvement(a, b) == pytest.approx(expected, rel=1e-15)


@given(VALUES, VALUES)
def test_an_improvement_of_a_is_none_of_b(a, b):
    forth, back = probability_of_improvement(a, b), probability_of_improvement(b, a)
    assert forth + back == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(
    ("xs", "ys", "expected"),
    [
        # 1 - 6 sum d^2 / (n (n^2 - 1)); ranks 1 2 3 4 against 2 1 4 3: d^2 1 1 1 1.
        ([1.0, 2.0, 3.0, 4.0], [20.0, 10.0, 40.0, 30.0], 0.6),
        ([1.0, 2.0, 3.0], [0.0, -1.0, -100.0], -1.0),
        # Ranks -1 0 1 against -1/2 -1/2 1: 1.5 / sqrt(2 x 1.5).
        ([1.0, 2.0, 3.0], [5.0, 5.0, 6.0], 1.5 / math.sqrt(3)),
    ],
)
def test_rank_correlations_worked_by_hand(xs, ys, expected):
    assert spearman(xs, ys) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("xs", "ys"), [([1.0], [2.0]), ([1.0, 2.0], [3.0, 3.0])])
def test_a_constant_side_has_no_correlation(xs, ys):
    assert spearman(xs, ys) is None


@given(PAIRS)
def test_ranks_do_not_see_a_monotone_change(pairs):
    xs, ys = zip(*pairs, strict=True)
    rho = spearman(xs, ys)
    assert spearman([math.exp(x) for x in xs], ys) == rho
    negated = spearman(xs, [-y for y in ys])
    assert rho is None if negated is None else negated == pytest.approx(-rho, rel=1e-12)


def test_a_correlation_needs_as_many_values_on_both_sides():
    with pytest.raises(ValueError, match="a correlation of 2 and 1 values"):
        spearman([1.0, 2.0], [1.0])


def clusters(means, offsets):
    """Return of each condition its mean plus the offsets of its seeds."""
    return [[mean + offset for offset in offsets] for mean in means]


def test_a_correlation_over_conditions_is_that_of_their_means():
    # Means as by hand above: 0.6. Within, seeds are ordered against each other: -1.
    x = clusters([1.0, 2.0, 3.0, 4.0], [-9.0, 0.0, 9.0])
    y = clusters([20.0, 10.0, 40.0, 30.0], [90.0, 0.0, -90.0])
    found = spearman_by_cluster(x, y)
    assert found.between == pytest.approx(0.6, rel=1e-12)
    assert found.within == pytest.approx(-1.0, rel=1e-12)
    assert (found.conditions, found.conditions_within) == (4, 4)
    assert -1 <= found.low < 0.6 < found.high <= 1


def test_the_interval_is_the_quantiles_over_resampled_conditions():
    draws = np.random.default_rng(5)
    x = draws.normal(size=(7, 3))
    y = x + draws.normal(size=(7, 3))
    places = np.random.default_rng(1).integers(0, 7, (10_000, 7))  # other resamples than its own
    means = x.mean(1), y.mean(1)
    rhos = [spearman(means[0][row], means[1][row]) for row in places[:2000]]
    expected = np.quantile([rho for rho in rhos if rho is not None], [0.1, 0.9])
    found = spearman_by_cluster(x.tolist(), y.tolist(), 0.8)
    assert [found.low, found.high] == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(
    ("means_x", "means_y"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),  # fewer than four
        ([1.0, 2.0, 3.0, 4.0], [5.0, 5.0, 5.0, 5.0]),  # constant
    ],
)
def test_too_few_or_constant_conditions_have_no_interval(means_x, means_y):
    found = spearman_by_cluster(clusters(means_x, [0.0]), clusters(means_y, [0.0]))
    assert (found.low, found.high) == (None, None)
    assert found.between == (None if means_y[0] == means_y[1] else pytest.approx(1.0))


def test_conditions_of_two_seeds_or_constant_seeds_have_no_correlation_within():
    x = [[1.0, 2.0], [3.0, 3.0, 3.0], [1.0, 2.0, 3.0, 4.0]]
    y = [[2.0, 1.0], [1.0, 2.0, 3.0], [20.0, 10.0, 40.0, 30.0]]
    found = spearman_by_cluster(x, y)
    assert (found.within, found.conditions_within) == (pytest.approx(0.6), 1)


def test_resamples_of_one_condition_do_not_count():
    # Of four, 4 / 256 are one condition four times; counted as 0 they would be the lowest 1.6 %.
    ordered = clusters([1.0, 2.0, 3.0, 4.0], [0.0])
    found = spearman_by_cluster(ordered, ordered, 0.99)
    assert [found.low, found.high] == pytest.approx([1.0, 1.0])


def test_the_same_conditions_have_the_same_interval():
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).tolist()
    assert spearman_by_cluster(*x) == spearman_by_cluster(*x)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([], [], "over 0 and 0 conditions"),
        ([[1.0]], [[1.0], [2.0]], "over 1 and 2 conditions"),
        ([[1.0, 2.0]], [[1.0]], "of 2 and 1 values"),
        ([[]], [[]], "at least one value, got none"),
    ],
)
def test_conditions_that_do_not_match_are_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        spearman_by_cluster(x, y)


@pytest.mark.parametrize(
    ("xs", "ys", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], 2 / 24),  # this order and its reverse
        ([1.0, 2.0, 3.0, 4.0], [5.0, 4.0, 3.0, 1.0], 2 / 24),
        ([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0], 2 / 120),
        # 1 - 6 x 2 / 120 = 0.9: four swaps of neighbours and the order itself, and their reverses.
        ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 3.0, 4.0, 5.0], 10 / 120),
        ([1.0, 2.0, 3.0], [1.0, 1.0, 2.0], 4 / 6),  # the odd one is at either end
        ([1.0, 2.0, 3.0], [7.0, 7.0, 7.0], None),
    ],
)
def test_the_share_of_orders_as_far_from_none_worked_by_hand(xs, ys, expected):
    assert permutation_p(xs, ys) == (None if expected is None else pytest.approx(expected))


def test_orders_that_are_drawn_agree_with_those_of_students_t():
    draw = np.random.default_rng(4)
    xs = draw.normal(size=30)
    ys = 0.4 * xs + draw.normal(size=30)
    rho = spearman(xs.tolist(), ys.tolist())
    expected = 2 * stats.t.sf(abs(rho) * math.sqrt(28 / (1 - rho**2)), 28)
    found = permutation_p(xs.tolist(), ys.tolist())
    assert found == pytest.approx(expected, abs=0.01)
    assert found == permutation_p(xs.tolist(), ys.tolist())
    assert permutation_p(range(12), range(12)) == pytest.approx(1 / 10_001)


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
@pytest.mark.parametrize(
    "function",
    [
        iqm,
        iqm_interval,
        lambda values: probability_of_improvement(values, [1.0]),
        lambda values: probability_of_improvement([1.0], values),
        lambda values: spearman(values, [1.0, 2.0]),
        lambda values: spearman_by_cluster([[1.0, 2.0]], [values]),
    ],
)
def test_a_diverged_seed_is_refused(function, bad):
    with pytest.raises(ValueError, match=r"value 1 is .*, expected a finite number"):
        function([1.0, bad])
