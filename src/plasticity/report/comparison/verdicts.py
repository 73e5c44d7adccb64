"""Contrasts and claims decided, by rules that were fixed before the study ran.

A contrast is decided by the 95 % t-interval of its paired differences: ``more`` is supported above
0 and contradicted below; ``not_less`` has minus the margin in the place of 0; ``same`` is supported
when the 90 % interval lies within the margin (two one-sided tests at 5 %), and contradicted when
the 95 % interval lies outside. Anything else is inconclusive.

A claim that says the same of several contrasts is supported when every one is: that needs no
correction. It is contradicted when at least one is, after Holm's correction for all contrasts that
the claim states, run or not. While one of them was not run, a claim is contradicted or not run.

A correlation across conditions is decided where its interval excludes 0 and, of all orders of the
conditions, at most 5 % are as far from none: of few conditions the interval alone decides too
often.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from plasticity import ranks, significance, stats
from plasticity.claims import MEASURES, Claim, Reference, leaves
from plasticity.report.comparison.values import Values
from plasticity.stats import Interval

Verdict = Literal["supported", "contradicted", "inconclusive", "not run"]
Found = Mapping[Reference, "Values | str"]
"""The values of each reference, or why there are none."""
LEVEL = 0.05
_LESS = {"points": "less", "ratio": "over", "error": "less"}


@dataclass(frozen=True)
class Contrast:
    """One side less the other, seed by seed."""

    text: str
    measures: tuple[str, ...]
    """Of its sides, each once."""
    seeds: tuple[int, ...]
    first: tuple[float, ...]
    """Of each seed; logarithms where the unit is a ratio."""
    second: tuple[float, ...]
    """The same of the other side; a number repeats."""
    expects: str
    margin: float
    unit: str
    interval: Interval | None
    p: float | None
    """Two-sided, of no difference."""
    p_sign_flip: float | None
    p_welch: float | None
    p_equivalence: float | None
    """Of a difference beyond the margin (two one-sided tests)."""
    against: float | None
    """Two-sided p of the claim's bound where the mean lies beyond it, else 1."""
    against_holm: float | None
    """The same, corrected within the claim."""
    verdict: Verdict
    notes: tuple[str, ...]
    """What a reader must know: what was not run, seeds left out or counted as chance, n."""

    @property
    def differences(self) -> tuple[float, ...]:
        """Return the first side less the second."""
        return tuple(a - b for a, b in zip(self.first, self.second, strict=True))


@dataclass(frozen=True)
class Correlation:
    """Two measures across conditions."""

    measures: tuple[str, str]
    conditions: tuple[str, ...]
    rho: float | None
    low: float | None
    high: float | None
    within: float | None
    """Mean rank correlation over the seeds of a condition."""
    points: tuple[tuple[str, int, float, float], ...]
    """Condition, seed, both values; not a number where a seed has only the other one."""
    p: float | None = None
    """Two-sided, of conditions in any order."""
    notes: tuple[str, ...] = ()
    """What a reader must know: seeds left out of a measure or counted as chance."""

    @property
    def sign(self) -> int:
        """Return 1 or -1 where interval and p agree that there is a direction, else 0."""
        if self.low is None or self.high is None or self.p is None or self.p > LEVEL:
            return 0
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class Decision:
    """A claim with what was found."""

    claim: Claim
    contrasts: tuple[Contrast, ...]
    correlation: Correlation | None
    verdict: Verdict
    reason: str
    """Why there is no verdict, or what it rests on; empty where the contrasts say all."""


def decide(claim: Claim, found: Found) -> Decision:
    """Return the verdict on a claim.

    Parameters
    ----------
    claim
        Of a study.
    found
        The values of every reference of the claim.
    """
    if claim.across:
        return _correlated(claim, found)
    contrasts = [_contrast(claim, pair, found) for pair in claim.contrasts]
    corrected = significance.holm([1.0 if (p := one.against) is None else p for one in contrasts])
    contrasts = [
        replace(one, against_holm=p, verdict=_softened(one.verdict, p))
        if one.against is not None
        else one
        for one, p in zip(contrasts, corrected, strict=True)
    ]
    verdict, reason = _together([one.verdict for one in contrasts])
    return Decision(claim, tuple(contrasts), None, verdict, reason)


def _softened(verdict: Verdict, p: float | None) -> Verdict:
    """Return a verdict that survives correction: one contradiction among many may be chance."""
    if verdict == "contradicted" and (p is None or p > LEVEL):
        return "inconclusive"
    return verdict


def _together(verdicts: Sequence[Verdict]) -> tuple[Verdict, str]:
    count = {kind: verdicts.count(kind) for kind in dict.fromkeys(verdicts)}
    parts = ", ".join(f"{number} {kind}" for kind, number in count.items())
    reason = f"of {len(verdicts)} contrasts: {parts}" if len(verdicts) > 1 else ""
    if "contradicted" in count:
        return "contradicted", reason
    if "not run" in count:
        return "not run", reason
    if set(count) == {"supported"}:
        return "supported", reason
    return "inconclusive", reason


def _contrast(claim: Claim, pair: tuple[Any, Any], found: Found) -> Contrast:
    unit = MEASURES[next(claim.references).measure].unit
    references = list(leaves(pair, Reference))
    notes = [why for one in references if isinstance(why := found[one], str)]
    values = {one: part for one in references if isinstance(part := found[one], Values)}
    seeds: tuple[int, ...] = ()
    if not notes:
        seeds, notes = _shared_seeds(values)
    first, second = (tuple(_side(part, values, seed, unit) for seed in seeds) for part in pair)
    empty = Contrast(
        text=_label(pair, unit, measured=len({one.measure for one in claim.references}) > 1),
        measures=tuple(dict.fromkeys(one.measure for one in references)),
        seeds=seeds,
        first=first,
        second=second,
        expects=claim.expects,
        margin=claim.margin,
        unit=unit,
        interval=None,
        p=None,
        p_sign_flip=None,
        p_welch=None,
        p_equivalence=None,
        against=None,
        against_holm=None,
        verdict="not run",
        notes=tuple(dict.fromkeys(notes)),
    )
    return _tested(empty, apart=all(isinstance(part, Reference) for part in pair))


def _tested(one: Contrast, *, apart: bool) -> Contrast:
    """Return a contrast with its interval, its tests and its verdict."""
    differences = one.differences
    if not differences:
        return one
    interval = stats.t_interval(differences)
    if interval.low is None or interval.high is None:
        note = "one seed has no interval: run more seeds"
        return replace(one, interval=interval, notes=(*one.notes, note))
    equivalence = significance.equivalent(differences, one.margin).p if one.margin else None
    against = _against(one, differences, interval)
    return replace(
        one,
        interval=interval,
        p=stats.t_test(differences),
        p_sign_flip=significance.sign_flip(differences),
        p_welch=stats.welch(one.first, one.second).p if apart else None,
        p_equivalence=equivalence,
        against=against,
        verdict=_verdict(one, interval, equivalence),
    )


def _bounds(one: Contrast) -> tuple[float | None, float | None]:
    """Return between which values the mean must lie for the claim."""
    match one.expects:
        case "more":
            return 0.0, None
        case "less":
            return None, 0.0
        case "not_less":
            return -one.margin, None
        case "not_more":
            return None, one.margin
    return -one.margin, one.margin


def _verdict(one: Contrast, interval: Interval, equivalence: float | None) -> Verdict:
    low, high = _bounds(one)
    assert interval.low is not None
    assert interval.high is not None
    if (low is not None and interval.high < low) or (high is not None and interval.low > high):
        return "contradicted"
    if one.expects == "same":
        return "supported" if equivalence is not None and equivalence <= LEVEL else "inconclusive"
    inside = (low is None or interval.low > low) and (high is None or interval.high < high)
    return "supported" if inside else "inconclusive"


def _against(one: Contrast, differences: Sequence[float], interval: Interval) -> float | None:
    low, high = _bounds(one)
    for bound, beyond in ((low, -1), (high, 1)):
        if bound is not None and beyond * (interval.mean - bound) > 0:
            return stats.t_test(differences, bound)
    return 1.0


def _shared_seeds(values: Mapping[Reference, Values]) -> tuple[tuple[int, ...], list[str]]:
    """Return the seeds that every side has a number for, and what is to be said of the others."""
    common = set.intersection(*({*part.by_seed} for part in values.values()))
    notes = []
    sizes = {str(one.condition): len(part.seeds) for one, part in values.items()}
    if len({*sizes.values()}) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in sizes.items())
        notes.append(f"unequal numbers of seeds ({listed}): paired over the {len(common)} shared")
    for one, part in values.items():
        notes += _without_number(one.condition, one, part)
    if not common:
        notes.append("no seed has a number on every side")
    return tuple(sorted(common)), notes


def _without_number(name: str, one: Reference, part: Values) -> list[str]:
    """Return what is to be said of the seeds of a condition, or parts of them, without a number."""
    notes = [f"{name} is there in part: {why}" for why in part.lacking]
    if part.diverged:
        kept = set(part.diverged) <= {*part.by_seed}
        what = f"counted as {part.counted_as}" if kept else "left out"
        noun = "seed" if len(part.diverged) == 1 else "seeds"
        listed = ", ".join(map(str, part.diverged))
        notes.append(f"{name}: {noun} {listed} diverged, {what}")
    if lost := [s for s in part.seeds if s not in part.by_seed and s not in part.diverged]:
        notes.append(f"{one}: no number for seeds {', '.join(map(str, lost))}")
    if part.lost:
        notes.append(f"{one}: left out where one side is exactly 0, {part.lost} times")
    return notes


def _side(part: Any, values: Mapping[Reference, Values], seed: int, unit: str) -> float:
    if isinstance(part, Reference):
        return values[part].by_seed[seed]
    if isinstance(part, tuple):
        return _side(part[0], values, seed, unit) - _side(part[1], values, seed, unit)
    return math.log(part) if unit == "ratio" else part


def _label(pair: tuple[Any, Any], unit: str, *, measured: bool) -> str:
    """Return a contrast in words; what both of its sides share comes last, in brackets.

    A condition that they share comes first. Measures are named where the claim has several, or its
    contrasts could not be told apart.
    """
    words = [_words(part, measured=measured) for part in pair]
    if not all(isinstance(part, Reference) for part in pair):
        return f" {_LESS[unit]} ".join(_text(part, unit, measured=measured) for part in pair)
    shared = [word for word in words[0] if word in words[1]]
    own = [[word for word in part if word not in shared] for part in words]
    if not all(own):
        return f" {_LESS[unit]} ".join(" ".join(part) for part in words)
    text = f" {_LESS[unit]} ".join(" ".join(part) for part in own)
    if pair[0].condition == pair[1].condition:
        shared.remove(pair[0].condition)
        text = f"{pair[0].condition}: {text}"
    return f"{text} ({', '.join(shared)})" if shared else text


def _words(part: Any, *, measured: bool) -> list[str]:
    if not isinstance(part, Reference):
        return []
    return [part.condition, *([part.measure] if measured else []), *part.arguments]


def _text(side: Any, unit: str, *, measured: bool) -> str:
    if isinstance(side, tuple):
        return f"({f' {_LESS[unit]} '.join(_text(part, unit, measured=measured) for part in side)})"
    return " ".join(_words(side, measured=measured)) if isinstance(side, Reference) else f"{side:g}"


def _correlated(claim: Claim, found: Found) -> Decision:
    """Return the verdict on a rank correlation across conditions."""
    sides: dict[str, tuple[Values, Values]] = {}
    absent: list[str] = []
    notes: list[str] = []
    for pair in claim.across:
        missing = [why for one in pair if (why := _why_none(one, found[one]))]
        if missing:
            absent += missing
            continue
        xs, ys = (part for one in pair if isinstance(part := found[one], Values))
        sides[pair[0].condition] = xs, ys
        for one, part in zip(pair, (xs, ys), strict=True):
            notes += _without_number(f"{one.condition} {one.measure}", one, part)
    result = _ranked(claim, sides, notes)
    verdict, why = _rank_verdict(claim, result)
    return Decision(claim, (), result, verdict, "; ".join([*([why] if why else []), *absent]))


def _why_none(one: Reference, found: Values | str) -> str:
    """Return why a condition has no number of a measure; empty where it has one."""
    if isinstance(found, str):
        return found
    return "" if found.by_seed else f"{one}: no seed has a number"


def _ranked(
    claim: Claim, sides: Mapping[str, tuple[Values, Values]], notes: Sequence[str]
) -> Correlation:
    """Return the correlation of conditions, each measure a mean over the seeds that have it.

    A seed that diverged has an accuracy and no ratio: it counts in the one and not in the other.
    """
    measures = claim.across[0][0].measure, claim.across[0][1].measure
    if not sides:
        return Correlation(measures, (), None, None, None, None, ())
    points = tuple(
        (name, seed, xs.by_seed.get(seed, math.nan), ys.by_seed.get(seed, math.nan))
        for name, (xs, ys) in sides.items()
        for seed in sorted({*xs.by_seed} | {*ys.by_seed})
    )
    whole = [
        [(x, y) for who, _, x, y in points if who == name and not math.isnan(x + y)]
        for name in sides
    ]
    own = [group for group in whole if group]
    within, _ = ranks.spearman_within(*([[p[side] for p in g] for g in own] for side in (0, 1)))
    x, y = (
        [stats.mean_and_error([*part[side].by_seed.values()])[0] for part in sides.values()]
        for side in (0, 1)
    )
    rho, low, high = ranks.spearman_interval(x, y)
    p = ranks.permutation_p(x, y)
    return Correlation(measures, (*sides,), rho, low, high, within, points, p, tuple(notes))


def _rank_verdict(claim: Claim, found: Correlation) -> tuple[Verdict, str]:
    """Return the verdict on a correlation, and what it rests on."""
    n = len(found.conditions)
    if not n:
        return "not run", ""
    if n < ranks.FEWEST_DECIDED:
        return "inconclusive", f"{n} {'condition is' if n == 1 else 'conditions are'} too few"
    if found.rho is None:
        return "inconclusive", f"a measure is the same in all {n} conditions"
    sign = found.sign * (1 if claim.expects == "more" else -1)
    verdicts: tuple[Verdict, ...] = ("inconclusive", "supported", "contradicted")
    return verdicts[sign], f"across {n} conditions"
