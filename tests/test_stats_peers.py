"""The statistics against SciPy, to 1e-12, and against statsmodels, to 1e-10."""

import math

import numpy as np
import pytest
from scipy import stats as peer
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttest_ind, ttost_paired

from plasticity.planning import detectable, seeds_for
from plasticity.ranks import iqm, probability_of_improvement, spearman
from plasticity.significance import equivalent, holm, sign_flip
from plasticity.stats import differences, paired, t_test, welch, welch_from_summary

SIZES = [2, 3, 5, 10, 20]
SCIPY = {"rel": 1e-12, "abs": 1e-15}
STATSMODELS = {"rel": 1e-10, "abs": 1e-14}


def sample(n, mean, sd=1.0):
    return np.random.default_rng([n, round(10 * sd)]).normal(mean, sd, n).tolist()


@pytest.mark.parametrize("n", SIZES)
def test_paired_tests_agree(n):
    a, b = sample(n, 1.0), sample(n, 0.5, 0.6)
    theirs = peer.ttest_rel(a, b)
    assert t_test(differences(a, b)) == pytest.approx(theirs.pvalue, **SCIPY)
    ours, ends = paired(a, b, 0.9), theirs.confidence_interval(0.9)
    assert [ours.low, ours.high] == pytest.approx([ends.low, ends.high], **SCIPY)
    described = DescrStatsW(differences(a, b))
    assert t_test(differences(a, b), 0.3) == pytest.approx(
        described.ttest_mean(0.3)[1], **STATSMODELS
    )
    assert [ours.low, ours.high] == pytest.approx(described.tconfint_mean(0.1), **STATSMODELS)


@pytest.mark.parametrize("n", SIZES)
def test_welch_tests_agree(n):
    a, b = sample(n, 1.0), sample(n + 3, 0.5, 2.0)
    ours = welch(a, b, 0.9)
    found = [ours.degrees, ours.p, ours.interval.low, ours.interval.high]
    theirs = peer.ttest_ind(a, b, equal_var=False)
    ends = theirs.confidence_interval(0.9)
    assert found == pytest.approx([theirs.df, theirs.pvalue, ends.low, ends.high], **SCIPY)
    _, p, degrees = ttest_ind(a, b, usevar="unequal")
    compared = CompareMeans(DescrStatsW(a), DescrStatsW(b)).tconfint_diff(0.1, usevar="unequal")
    assert found == pytest.approx([degrees, p, *compared], **STATSMODELS)


def test_welch_tests_of_a_table_agree():
    # The deviation of a published half-width: half sqrt(n) / t.
    halves, counts, means = (0.324, 0.5), (10, 5), (52.055, 51.7)
    sds = [
        half * math.sqrt(n) / peer.t.ppf(0.975, n - 1)
        for half, n in zip(halves, counts, strict=True)
    ]
    theirs = peer.ttest_ind_from_stats(
        means[0], sds[0], counts[0], means[1], sds[1], counts[1], equal_var=False
    )
    ours = welch_from_summary(means[0], halves[0], counts[0], means[1], halves[1], counts[1])
    assert ours.p == pytest.approx(theirs.pvalue, **SCIPY)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_sign_flips_agree(n):
    values = sample(n, 0.4)
    theirs = peer.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=math.inf
    )
    assert sign_flip(values) == pytest.approx(theirs.pvalue, **SCIPY)


@pytest.mark.parametrize("n", SIZES)
def test_equivalences_agree(n):
    a, b = sample(n, 1.0), sample(n, 0.8, 0.5)
    low = peer.ttest_1samp(differences(a, b), -0.7, alternative="greater").pvalue
    high = peer.ttest_1samp(differences(a, b), 0.7, alternative="less").pvalue
    ours = equivalent(differences(a, b), 0.7).p
    assert ours == pytest.approx(max(low, high), **SCIPY)
    theirs = ttost_paired(np.array(a), np.array(b), -0.7, 0.7)[0]
    assert ours == pytest.approx(theirs, **STATSMODELS)


def test_holms_corrections_agree():
    p_values = np.random.default_rng(0).uniform(0, 0.3, 12).round(2).tolist()
    theirs = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(theirs.tolist(), **STATSMODELS)


@pytest.mark.parametrize("n", [1, *SIZES])
def test_interquartile_means_agree(n):
    assert iqm(sample(n, 70.0)) == pytest.approx(peer.trim_mean(sample(n, 70.0), 0.25), **SCIPY)


@pytest.mark.parametrize("n", SIZES)
def test_shares_of_pairs_agree(n):
    a, b = (np.round(sample(k, 0.0), 1).tolist() for k in (n, n + 3))  # with ties
    theirs = peer.mannwhitneyu(a, b).statistic / (n * (n + 3))
    assert probability_of_improvement(a, b) == pytest.approx(theirs, **SCIPY)


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_rank_correlations_agree(n):
    xs, ys = np.round(sample(n, 0.0), 1).tolist(), np.round(sample(n, 0.0, 2.0), 0).tolist()
    assert spearman(xs, ys) == pytest.approx(peer.spearmanr(xs, ys).statistic, **SCIPY)


@pytest.mark.parametrize("effect", [0.3, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("power", [0.8, 0.95])
def test_numbers_of_seeds_agree(effect, power):
    theirs = TTestPower().solve_power(effect_size=effect, alpha=0.05, power=power)
    assert seeds_for(effect, 1.0, power) == max(2, math.ceil(theirs))


@pytest.mark.parametrize("n", SIZES)
def test_detectable_differences_agree(n):
    theirs = TTestPower().power(detectable(n, 1.0), n, 0.05)
    assert theirs == pytest.approx(0.8, **STATSMODELS)
