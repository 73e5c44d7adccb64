"""Where one learner catches up with another, by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.isotonic import IsotonicRegression

from plasticity.crossover import crossover, rising

LENGTHS = (100.0, 1_000.0, 10_000.0)


def test_the_curve_crosses_between_two_lengths_on_a_logarithmic_axis() -> None:
    """From -1 at 100 to +1 at 1,000: half way, at the geometric mean."""
    found = crossover(LENGTHS, [[-1.0, 1.0, 2.0]] * 3)
    assert found.at == pytest.approx(math.sqrt(100 * 1000))
    assert found.low == found.high == pytest.approx(found.at)
    assert found.before == found.never == 0
    assert found.inside


@pytest.mark.parametrize(
    ("curve", "side", "before", "never"),
    [
        ([-3.0, -2.0, -1.0], math.inf, 0, 1),
        ([1.0, 2.0, 3.0], -math.inf, 1, 0),
        ([0.0, 0.0, 0.0], -math.inf, 1, 0),
        ([0.0, 1.0, 2.0], -math.inf, 1, 0),
    ],
)
def test_a_curve_of_one_sign_crosses_outside_the_lengths(
    curve: list[float], side: float, before: float, never: float
) -> None:
    found = crossover(LENGTHS, [curve] * 4)
    assert (found.at, found.low, found.high) == (side, side, side)
    assert (found.before, found.never) == (before, never)
    assert not found.inside


@pytest.mark.parametrize(("curve", "at"), [([-1.0, 0.0, 1.0], 1000), ([-2.0, -1.0, 0.0], 10_000)])
def test_a_curve_that_reaches_zero_at_a_length_crosses_there(curve: list[float], at: float) -> None:
    assert crossover(LENGTHS, [curve] * 2).at == pytest.approx(at)


def test_what_rounding_leaves_below_zero_has_reached_it() -> None:
    """0.1 + 0.2 - 0.3 is 6e-17 off; pooled means may miss 0 by as much."""
    assert crossover(LENGTHS, [[-0.5, -0.2, -1e-16]] * 2).at == pytest.approx(10_000)


def test_a_dip_is_smoothed_before_the_crossing_is_read() -> None:
    """-2, 1, -1, 3 becomes -2, 0, 0, 3: it reaches 0 at the second length."""
    found = crossover((1.0, 10.0, 100.0, 1000.0), [[-2.0, 1.0, -1.0, 3.0]] * 2)
    assert found.at == pytest.approx(10)


def test_seeds_that_disagree_leave_an_end_open() -> None:
    """Half of the seeds never get there: the upper end lies beyond the longest length."""
    found = crossover(LENGTHS, [[-1.0, -0.5, 4.0], [-3.0, -3.0, -3.0]] * 3)
    assert found.high == math.inf
    assert found.low is not None
    assert math.isfinite(found.low)
    assert 0 < found.never < 1
    assert found.before == 0
    assert not found.inside


def test_an_interval_that_is_beyond_the_lengths_has_both_ends_there() -> None:
    """To be behind at every length is no reason to call the lower end short."""
    found = crossover(LENGTHS, [[-3.0, -2.0, -1.0], [-2.0, -2.0, -0.5]])
    assert (found.low, found.high) == (math.inf, math.inf)


def test_one_seed_has_no_interval() -> None:
    found = crossover(LENGTHS, [[-1.0, 1.0, 2.0]])
    assert found.at == pytest.approx(math.sqrt(100 * 1000))
    assert (found.low, found.high) == (None, None)
    assert not found.inside


def test_the_same_seeds_give_the_same_interval() -> None:
    seeds = np.random.default_rng(1).normal([-1.0, 0.2, 1.0], 1.0, (6, 3)).tolist()
    assert crossover(LENGTHS, seeds) == crossover(LENGTHS, seeds)


def test_the_interval_holds_the_true_crossing_about_as_often_as_it_says() -> None:
    """Straight mean curves through 0 at 1,000, ten seeds with noise of their own."""
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(60):
        noise = generator.normal(0, 1.0, (10, 1)) + generator.normal(0, 0.3, (10, 3))
        found = crossover(LENGTHS, np.array([-2.0, 0.0, 2.0]) + noise)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1000 <= found.high
    assert 48 <= held < 60  # bootstrap of ten seeds: about 90 %


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(float, (3, 6), elements=st.integers(-50, 50).map(lambda n: n / 10)))
def test_the_fit_is_that_of_scikit_learn(curves: np.ndarray) -> None:
    for ours, curve in zip(rising(curves), curves, strict=True):
        theirs = IsotonicRegression().fit_transform(np.arange(6), curve)
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize(
    ("lengths", "differences"),
    [
        ((2.0, 1.0), [[1.0, 1.0]]),
        ((0.0, 1.0), [[1.0, 1.0]]),
        ((1.0, 2.0), [[1.0]]),
        ((1.0, 2.0), [[1.0, math.nan]]),
        ((1.0,), []),
    ],
)
def test_what_is_no_set_of_curves_is_refused(
    lengths: tuple[float, ...], differences: list[list[float]]
) -> None:
    with pytest.raises(ValueError, match="expected"):
        crossover(lengths, differences)
