"""Sign flips, equivalence, Holm: small cases counted by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasticity import significance
from plasticity.significance import equivalent, holm, sign_flip
from plasticity.stats import t_interval

VALUES = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=9)
P_VALUES = st.lists(st.none() | st.floats(0, 1, allow_subnormal=False), max_size=9)


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([3.0], 1.0),  # +3 and -3 are as far
        ([1.0, 2.0, 3.0], 2 / 8),  # only +++ and --- reach 6
        ([-1.0, 2.0, 3.0], 4 / 8),  # 4: also +++ (6), and both negated
        ([1.0, 1.0, 1.0, -1.0], 10 / 16),  # 2: four with one minus, one without, and negated
        ([0.0, 0.0], 1.0),
        ([1.0, -1.0], 1.0),
        ([0.0, 1.0, 1.0], 4 / 8),  # the sign of 0 does not matter
    ],
)
def test_sign_flips_counted_by_hand(differences, p):
    assert sign_flip(differences) == p


def test_sums_that_differ_by_rounding_are_ties():
    # 0.1 + 0.2 = 0.3 in two ways; exactly compared, one of them falls short.
    assert sign_flip([0.3, 0.1, 0.2, -0.3]) == 12 / 16


@pytest.mark.parametrize("n", [5, 20, 30])
def test_the_smallest_p_is_that_of_equal_signs(n):
    assert sign_flip([1.0] * n) == 2 / 2**n


def test_beyond_the_exact_ones_signs_are_drawn():
    # 31 signs: P(|31 - 2 k| >= 11) = 2 P(k <= 10) for a fair coin.
    differences = [1.0] * 21 + [-1.0] * 10
    exact = 2 * sum(math.comb(31, k) for k in range(11)) / 2**31
    deviation = math.sqrt(exact * (1 - exact) / significance.SIGN_DRAWS)
    assert sign_flip(differences) == pytest.approx(exact, abs=4 * deviation)
    assert sign_flip(differences) == sign_flip(differences)


def test_drawn_signs_count_the_observed_ones():
    assert sign_flip([1.0] * 40) == 1 / 100_000


def test_drawn_and_counted_signs_agree(monkeypatch):
    differences = np.random.default_rng(3).normal(0.3, 1.0, 12).tolist()
    exact = sign_flip(differences)
    monkeypatch.setattr(significance, "EXACT_UP_TO", 0)
    assert sign_flip(differences) != exact
    assert sign_flip(differences) == pytest.approx(exact, abs=0.006)  # 4 deviations


@given(VALUES)
def test_sign_flips_are_those_of_all_signs(differences):
    signs = np.array(np.meshgrid(*[(1, -1)] * len(differences))).reshape(len(differences), -1)
    sums = np.abs(differences @ signs)
    least = abs(math.fsum(differences)) - significance.TIE * math.fsum(map(abs, differences))
    assert sign_flip(differences) == pytest.approx(np.mean(sums >= least), abs=1e-12)


@given(VALUES, st.randoms())
def test_sign_flips_ignore_order_and_side(differences, random):
    other = [-value for value in random.sample(differences, len(differences))]
    assert sign_flip(other) == sign_flip(differences)


def test_equivalence_of_two_seeds_is_that_of_the_cauchy_distribution():
    # Mean 1, error 1, margin 3: t = 2, P(T > 2) = 1/2 - atan(2) / pi.
    found = equivalent([0.0, 2.0], 3.0)
    assert found.p == pytest.approx(0.5 - math.atan(2) / math.pi, rel=1e-12)
    assert found.interval.half_width == pytest.approx(math.tan(0.45 * math.pi), rel=1e-9)
    assert (found.interval.mean, found.margin) == (1.0, 3.0)


def test_equivalence_outside_the_margin_is_far_from_shown():
    # Mean -4 is a margin of 3 by -1 error: P(T > -1) = 3/4.
    assert equivalent([-5.0, -3.0], 3.0).p == pytest.approx(0.75, rel=1e-12)


@pytest.mark.parametrize(("margin", "p"), [(0.5, 1.0), (0.25, 1.0), (0.51, 0.0)])
def test_equal_differences_are_surely_in_or_out(margin, p):
    assert equivalent([-0.5] * 3, margin).p == p


def test_a_single_difference_shows_no_equivalence():
    found = equivalent([0.0], 1.0)
    assert (found.p, found.interval.half_width) == (None, None)


@given(VALUES, st.floats(0.01, 1e6), st.floats(0.01, 0.2))
def test_the_interval_lies_inside_the_margin_where_equivalence_is_shown(values, margin, alpha):
    found = equivalent(values, margin, alpha)
    assert found.interval == t_interval(values, 1 - 2 * alpha)
    nearest = margin - max(abs(found.interval.low), abs(found.interval.high))
    if abs(nearest) > 1e-6 * margin:
        assert (found.p < alpha) == (nearest > 0)


@pytest.mark.parametrize(
    ("margin", "alpha"), [(0.0, 0.05), (-1.0, 0.05), (math.nan, 0.05), (math.inf, 0.05), (1.0, 0.5)]
)
def test_equivalence_needs_a_margin_and_a_level(margin, alpha):
    with pytest.raises(ValueError, match=r"expected a positive, finite margin and an alpha"):
        equivalent([1.0, 2.0], margin, alpha)


def test_holm_worked_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04 raised to 0.06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_a_contrast_without_p_does_not_count():
    assert holm([None, 0.02, None, 0.5]) == [None, 0.04, None, 0.5]


def test_holm_ends_at_one():
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_holm_of_nothing_is_nothing():
    assert holm([]) == []


@given(P_VALUES)
def test_holm_keeps_order_and_never_lowers(p_values):
    pairs = [(p, q) for p, q in zip(p_values, holm(p_values), strict=True) if p is not None]
    assert all(p <= q <= 1 for p, q in pairs)
    assert [q for _, q in sorted(pairs)] == sorted(q for _, q in pairs)
    if pairs:
        assert min(q for _, q in pairs) == min(1.0, len(pairs) * min(p for p, _ in pairs))


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p(bad):
    with pytest.raises(ValueError, match=r"value 1 is .*, expected a p in \[0, 1\]"):
        holm([None, bad])


@pytest.mark.parametrize("bad", [math.nan, -math.inf, None])
@pytest.mark.parametrize("function", [sign_flip, lambda values: equivalent(values, 1.0)])
def test_a_diverged_seed_is_refused(function, bad):
    with pytest.raises(ValueError, match=r"value 1 is .*, expected a finite number"):
        function([1.0, bad])


@pytest.mark.parametrize("function", [sign_flip, lambda values: equivalent(values, 1.0)])
def test_no_differences_are_refused(function):
    with pytest.raises(ValueError, match="at least one value, got none"):
        function([])
