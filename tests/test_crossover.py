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


@pytest.mark.parametrize(
    ("curve", "before", "never"),
    [([-3.0, -2.0, -1.0], 0, 1), ([1.0, 2.0, 3.0], 1, 0), ([0.0, 0.0, 0.0], 1, 0)],
)
def test_a_curve_of_one_sign_has_no_crossover(
    curve: list[float], before: float, never: float
) -> None:
    found = crossover(LENGTHS, [curve] * 4)
    assert (found.at, found.low, found.high) == (None, None, None)
    assert (found.before, found.never) == (before, never)


def test_a_curve_that_reaches_zero_at_a_length_crosses_there() -> None:
    assert crossover(LENGTHS, [[-1.0, 0.0, 1.0]] * 2).at == pytest.approx(1000)


def test_a_dip_is_smoothed_before_the_crossing_is_read() -> None:
    """-2, 1, -1, 3 becomes -2, 0, 0, 3: it reaches 0 at the second length."""
    found = crossover((1.0, 10.0, 100.0, 1000.0), [[-2.0, 1.0, -1.0, 3.0]] * 2)
    assert found.at == pytest.approx(10)


def test_seeds_that_disagree_leave_an_end_open() -> None:
    """Half of the seeds never get there: the upper end lies beyond the longest length."""
    found = crossover(LENGTHS, [[-1.0, -0.5, 4.0], [-3.0, -3.0, -3.0]] * 3)
    assert found.at is not None
    assert found.high is None
    assert found.low is not None
    assert 0 < found.never < 1


def test_one_seed_has_no_interval() -> None:
    found = crossover(LENGTHS, [[-1.0, 1.0, 2.0]])
    assert found.at is not None
    assert (found.low, found.high) == (None, None)


def test_the_interval_holds_the_true_crossing_about_as_often_as_it_says() -> None:
    """Straight mean curves through 0 at 1,000, ten seeds with noise of their own."""
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(60):
        noise = generator.normal(0, 1.0, (10, 1)) + generator.normal(0, 0.3, (10, 3))
        found = crossover(LENGTHS, np.array([-2.0, 0.0, 2.0]) + noise)
        low, high = found.low or LENGTHS[0], found.high or LENGTHS[-1]
        held += low <= 1000 <= high
    assert held >= 50  # bootstrap of ten seeds: about 90 %


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(float, (3, 6), elements=st.integers(-50, 50).map(lambda n: n / 10)))
def test_the_fit_is_that_of_scikit_learn(curves: np.ndarray) -> None:
    for ours, curve in zip(rising(curves), curves, strict=True):
        theirs = IsotonicRegression().fit_transform(np.arange(6), curve)
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize(
    ("lengths", "differences"), [((2.0, 1.0), [[1.0, 1.0]]), ((1.0, 2.0), [[1.0]]), ((1.0,), [])]
)
def test_what_is_no_set_of_curves_is_refused(
    lengths: tuple[float, ...], differences: list[list[float]]
) -> None:
    with pytest.raises(ValueError, match="expected"):
        crossover(lengths, differences)
