"""Verdicts by rules that were fixed beforehand, worked by hand on a few differences."""

import math

import pytest

from plasticity.claims import Claim, Reference
from plasticity.report.comparison.values import Values
from plasticity.report.comparison.verdicts import decide

A, B, C = (Reference(name, "cycle.acc") for name in "abc")
RATIO = Reference("a", "newborn.grad", ("end",))


def values(*numbers, diverged=(), seeds=None):
    """Return values of seeds 0, 1, ..., None for one without a number."""
    known = {seed: number for seed, number in enumerate(numbers) if number is not None}
    return Values(known, tuple(range(seeds or len(numbers))), diverged)


def claim(expects="more", margin=1.0, pairs=((A, B),), **more):
    return Claim("C1", "says", "", expects, margin, tuple(pairs), **more)


def verdict(expects, *differences, margin=1.0):
    """Return the verdict on these differences to an arm that has 50 everywhere."""
    found = {A: values(*(50 + d for d in differences)), B: values(*[50.0] * len(differences))}
    return decide(claim(expects, margin), found).verdict


ABOVE = (2.0, 2.2, 1.8, 2.1)  # 2.02 +- 0.27
NEAR = (0.1, -0.1, 0.2, 0.0)  # 0.05 +- 0.21
WIDE = (3.0, -3.0, 2.0, -1.0)  # 0.25 +- 4.4
BELOW = tuple(-d for d in ABOVE)


@pytest.mark.parametrize(
    ("expects", "above", "near", "wide", "below"),
    [
        ("more", "supported", "inconclusive", "inconclusive", "contradicted"),
        ("less", "contradicted", "inconclusive", "inconclusive", "supported"),
        ("same", "contradicted", "supported", "inconclusive", "contradicted"),
        ("not_less", "supported", "supported", "inconclusive", "contradicted"),
        ("not_more", "contradicted", "supported", "inconclusive", "supported"),
    ],
)
def test_the_interval_and_the_bound_decide(expects, above, near, wide, below):
    found = [verdict(expects, *differences) for differences in (ABOVE, NEAR, WIDE, BELOW)]
    assert found == [above, near, wide, below]


def test_a_larger_margin_makes_what_was_contradicted_the_same():
    assert verdict("same", *ABOVE, margin=2.0) == "inconclusive"
    assert verdict("same", *ABOVE, margin=3.0) == "supported"


def test_a_contrast_knows_its_interval_its_tests_and_its_seeds():
    """Differences 1, 2, 3: mean 2, t = 2 / (1 / sqrt 3) = 3.4641, p = 0.0742 at 2 degrees."""
    found = {A: values(51.0, 52.0, 53.0), B: values(50.0, 50.0, 50.0)}
    (one,) = decide(claim(), found).contrasts
    assert one.seeds == (0, 1, 2)
    assert one.differences == (1.0, 2.0, 3.0)
    assert one.interval.mean == 2
    assert one.interval.half_width == pytest.approx(4.302652729749464 / math.sqrt(3))
    assert one.p == pytest.approx(0.0741799, abs=1e-6)
    assert one.p_sign_flip == 0.25
    assert one.verdict == "inconclusive"


def test_a_claim_needs_every_contrast_and_falls_with_one():
    found = {A: values(*(50 + d for d in ABOVE)), B: values(*[50.0] * 4), C: values(*[50.0] * 4)}
    both = ((A, B), (A, C))
    assert decide(claim(pairs=both), found).verdict == "supported"
    mixed = found | {C: values(50.0, 54.0, 51.0, 53.0)}
    assert decide(claim(pairs=both), mixed).verdict == "inconclusive"
    worse = found | {C: values(*(50 + 2 * d for d in ABOVE))}
    outcome = decide(claim(pairs=both), worse)
    assert outcome.verdict == "contradicted"
    assert outcome.reason == "of 2 contrasts: 1 supported, 1 contradicted"


def test_a_contradiction_among_many_contrasts_must_survive_holm():
    """One of ten at p = 0.04 is what chance gives."""
    barely = (-0.4, -1.6, -1.3, -0.7)  # mean -1, sd 0.548, t = -3.65, p = 0.0355
    pairs = [(A, Reference(f"b{i}", "cycle.acc")) for i in range(10)]
    found = {one: values(*(50 - d for d in WIDE)) for _, one in pairs}
    found |= {A: values(*[50.0] * 4), pairs[0][1]: values(*(50 - d for d in barely))}
    alone = decide(claim(pairs=pairs[:1]), found).contrasts[0]
    among = decide(claim(pairs=pairs), found).contrasts[0]
    assert alone.against == among.against == pytest.approx(0.0355, abs=1e-3)
    assert alone.verdict == "contradicted"
    assert among.verdict == "inconclusive"
    assert among.against_holm == pytest.approx(10 * among.against)


def test_a_difference_of_differences_is_a_contrast():
    found = {A: values(3.0, 4.0), B: values(1.0, 1.0), C: values(0.5, 1.5)}
    (one,) = decide(claim(pairs=[((A, B), (C, 0.5))]), found).contrasts
    assert one.differences == (2.0, 2.0)
    assert one.text == "(a less b) less (c less 0.5)"


def test_a_ratio_is_compared_by_its_logarithm():
    found = {RATIO: values(math.log(0.5), math.log(0.4), math.log(0.6))}
    (one,) = decide(claim("less", 0.0, [(RATIO, 1.0)]), found).contrasts
    assert one.verdict == "supported"
    assert one.interval.mean == pytest.approx(math.log(0.5 * 0.4 * 0.6) / 3)


def test_where_an_arm_is_missing_there_is_no_verdict():
    outcome = decide(claim(), {A: values(1.0, 2.0), B: "b was not run"})
    assert outcome.verdict == "not run"
    assert outcome.contrasts[0].notes == ("b was not run",)
    assert outcome.contrasts[0].interval is None
    both = decide(claim(pairs=[(A, B), (A, 0.0)]), {A: values(1.0, 2.0, 1.5), B: "b was not run"})
    assert both.verdict == "not run"
    assert both.reason == "of 2 contrasts: 1 not run, 1 supported"


def test_a_contrast_that_was_not_run_counts_in_the_correction():
    """So that no verdict is withdrawn when it comes."""
    found = {A: values(0.0, 0.0, 0.0, 0.0, 0.0), B: values(1.0, 2.0, 0.3, 1.5, 0.4)}
    alone = decide(claim("more", 0.0, [(A, B)]), found)
    assert 0.025 < alone.contrasts[0].p < 0.05
    assert alone.verdict == "contradicted"
    absent = decide(claim("more", 0.0, [(A, B), (C, B)]), found | {C: "c was not run"})
    assert absent.contrasts[0].against_holm == 2 * absent.contrasts[0].against
    assert absent.verdict == "not run"


def test_one_seed_is_no_basis():
    outcome = decide(claim(), {A: values(1.0), B: values(0.0)})
    assert outcome.verdict == "not run"
    assert "one seed has no interval" in outcome.contrasts[0].notes[0]


def test_seeds_that_only_one_side_has_are_left_out_and_named():
    outcome = decide(claim(), {A: values(1.0, 2.0, 3.0, 4.0), B: values(0.0, 0.0, 0.0)})
    (one,) = outcome.contrasts
    assert one.seeds == (0, 1, 2)
    assert one.notes == ("unequal numbers of seeds (a 4, b 3): paired over the 3 shared",)


def test_a_diverged_seed_is_told_whether_it_counts_or_not():
    found = {A: values(9.0, 10.0, 9.5, diverged=(1,)), B: values(5.0, None, 5.0, diverged=(1,))}
    (one,) = decide(claim(), found).contrasts
    assert one.seeds == (0, 2)
    assert one.notes == (
        "a: seed 1 diverged, counted as chance",
        "b: seed 1 diverged, left out",
    )


def test_seeds_that_all_agree_are_decided_without_a_division_by_zero():
    assert verdict("more", 1.0, 1.0, 1.0) == "supported"
    assert verdict("same", 0.5, 0.5, 0.5) == "supported"
    assert verdict("less", 1.0, 1.0, 1.0) == "contradicted"


def rising(name, level):
    """Return a condition whose two measures are both about ``level``."""
    first, second = Reference(name, "newborn.grad", ("birth",)), Reference(name, "cycle.taa")
    return (first, second), {
        first: values(level, level + 0.1, level + 0.2),
        second: values(10 * level, 10 * level + 1, 10 * level + 2),
    }


def test_a_correlation_across_conditions_is_supported_where_its_interval_is_above_zero():
    pairs, found = zip(*(rising(f"c{i}", float(i)) for i in range(8)), strict=True)
    together = {key: value for part in found for key, value in part.items()}
    outcome = decide(claim("more", 0.0, (), across=pairs), together)
    assert outcome.correlation.rho == 1
    assert outcome.verdict == "supported"
    assert len(outcome.correlation.points) == 24
    assert decide(claim("less", 0.0, (), across=pairs), together).verdict == "contradicted"


def across(*levels):
    """Return pairs of conditions c0, c1, ... in the order of levels, and their values."""
    pairs, found = zip(*(rising(f"c{i}", float(one)) for i, one in enumerate(levels)), strict=True)
    return pairs, {key: value for part in found for key, value in part.items()}


def test_a_correlation_of_too_few_conditions_is_inconclusive_and_says_so():
    for count, said in ((4, "4 conditions are"), (3, "3 conditions are"), (1, "1 condition is")):
        pairs, found = across(*range(count))
        outcome = decide(claim("more", 0.0, (), across=pairs), found)
        assert (outcome.verdict, outcome.reason) == ("inconclusive", f"{said} too few")


def test_a_correlation_without_any_condition_is_not_run_and_says_why():
    pairs, found = across(0, 1)
    outcome = decide(
        claim("more", 0.0, (), across=pairs), {**dict.fromkeys(found, "c was not run")}
    )
    assert outcome.verdict == "not run"
    assert "c was not run" in outcome.reason
    assert outcome.correlation.points == ()
    empty = decide(claim("more", 0.0, (), across=pairs), dict.fromkeys(found, values(None, None)))
    assert empty.verdict == "not run"
    assert "c0 cycle.taa: no seed has a number" in empty.reason


@pytest.mark.parametrize(("count", "expected"), [(4, "inconclusive"), (5, "supported")])
def test_a_perfect_order_of_four_conditions_is_what_chance_gives(count, expected):
    """2 of 24 orders are perfect, 8.3 %; 2 of 120 are, 1.7 %."""
    pairs, found = across(*range(count))
    outcome = decide(claim("more", 0.0, (), across=pairs), found)
    assert outcome.correlation.low == pytest.approx(1)
    assert outcome.verdict == expected
    assert outcome.correlation.p == pytest.approx({4: 2 / 24, 5: 2 / 120}[count])


def test_a_measure_that_never_changes_decides_nothing():
    pairs, found = across(*range(5))
    flat = {key: values(5.0, 5.0) for key in found if key.measure == "cycle.taa"}
    outcome = decide(claim("more", 0.0, (), across=pairs), found | flat)
    assert (outcome.verdict, outcome.reason) == (
        "inconclusive", "a measure is the same in all 5 conditions"
    )  # fmt: skip


def test_a_diverged_seeds_chance_accuracy_counts_in_its_condition():
    """It has no ratio: the highest condition by that has the lowest accuracy, and is no tie."""
    pairs, found = across(*range(6))
    last = pairs[-1]
    found[last[0]] = values(5.0, 5.1, None, diverged=(2,))
    found[last[1]] = values(50.0, 51.0, -500.0, diverged=(2,))
    outcome = decide(claim("more", 0.0, (), across=pairs), found)
    assert outcome.correlation.rho == pytest.approx(1 - 6 * (5**2 + 5) / (6 * 35))
    assert outcome.verdict == "inconclusive"
    assert outcome.correlation.notes == (
        "c5 newborn.grad: seed 2 diverged, left out",
        "c5 cycle.taa: seed 2 diverged, counted as chance",
    )


def test_contrasts_of_several_measures_are_told_apart():
    ticket = [Reference(name, "ticket.acc", ("masked_fresh",)) for name in "ab"]
    found = dict.fromkeys([A, B, *ticket], values(50.0, 51.0))
    one, two = decide(claim(pairs=[(A, B), tuple(ticket)]), found).contrasts
    assert (one.text, one.measures) == ("a less b (cycle.acc)", ("cycle.acc",))
    assert (two.text, two.measures) == ("a less b (ticket.acc, masked_fresh)", ("ticket.acc",))
    (mixed,) = decide(claim(pairs=[(ticket[0], B)]), found).contrasts
    assert mixed.text == "a ticket.acc masked_fresh less b cycle.acc"
    (single,) = decide(claim(), found).contrasts
    assert single.text == "a less b"


def test_ratios_that_do_not_exist_are_told():
    found = {RATIO: Values({0: -1.0, 1: -1.1}, (0, 1), lost=3)}
    (one,) = decide(claim("less", pairs=[(RATIO, 1.0)]), found).contrasts
    assert one.notes == ("a newborn.grad end: left out where one side is exactly 0, 3 times",)
