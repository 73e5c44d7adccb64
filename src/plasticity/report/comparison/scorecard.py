"""The scorecard: one row for each claim, with the verdict and what it rests on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from plasticity import ranks
from plasticity.claims import BOUNDED, EXPECTS
from plasticity.escapes import markdown as escaped
from plasticity.report import parts, theme
from plasticity.report.comparison.verdicts import Contrast, Correlation, Decision
from plasticity.report.parts import MISSING

WIDTH, HEIGHT = 190, 22
SPAN = 4.0
"""Margins, or the factor, that a glyph shows on either side; what lies beyond ends in an arrow."""


@dataclass(frozen=True)
class Line:
    """A contrast, ready to show."""

    text: str
    glyph: Markup
    value: str
    n: str
    verdict: str
    title: str
    """Tests and notes, for those who point at it."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A claim, ready to show."""

    name: str
    says: str
    measure: str
    expects: str
    paper: str
    verdict: str
    reason: str
    lines: tuple[Line, ...]


def entries(decisions: Sequence[Decision]) -> list[Entry]:
    """Return the rows of the scorecard."""
    return [_entry(decision) for decision in decisions]


def _entry(decision: Decision) -> Entry:
    claim = decision.claim
    if decision.correlation is not None:
        names = decision.correlation.measures
        measure, expects = f"{names[0]} with {names[1]}", f"rank correlation {claim.expects} than 0"
        lines: tuple[Line, ...] = (_correlation(decision),)
    else:
        measures = dict.fromkeys(one.measure for one in claim.references)
        measure = ", ".join(measures)
        expects = EXPECTS[claim.expects].format(
            none=1 if claim.unit == "ratio" else 0, margin=_margin(claim.unit, claim.margin)
        )
        lines = tuple(_line(one) for one in decision.contrasts)
    return Entry(
        claim.name,
        claim.says,
        measure,
        expects,
        claim.paper,
        decision.verdict,
        decision.reason,
        lines,
    )


def _margin(unit: str, margin: float) -> str:
    if unit == "ratio":
        return f"a factor of {math.exp(margin):.3g}"
    noun = "" if unit != "points" else " point" if margin == 1 else " points"
    return f"{margin:g}{noun}"


def _line(one: Contrast) -> Line:
    tests = (
        ("t-test", one.p),
        ("sign-flip", one.p_sign_flip),
        ("Welch", one.p_welch),
        (f"equivalence within {_margin(one.unit, one.margin)}", one.p_equivalence),
        ("against the claim, Holm", one.against_holm),
    )
    title = "; ".join(f"{name} p = {p:.3g}" for name, p in tests if p is not None)
    n = str(len(one.seeds)) if one.seeds else MISSING
    return Line(one.text, glyph(one), value(one), n, one.verdict, title, one.notes)


def value(one: Contrast) -> str:
    """Return the mean difference of a contrast with its interval, in its unit."""
    if one.interval is None:
        return MISSING
    if one.unit == "points":
        return theme.points(one.interval)
    if one.unit == "ratio":
        return parts.ratio(one.interval)
    return theme.plain(one.interval, sign=True)


def against(decision: Decision) -> str:
    """Return what contradicts a claim: contrasts with their means, intervals and n."""
    if decision.correlation is not None:
        return correlation_text(decision.correlation)
    found = [one for one in decision.contrasts if one.verdict == "contradicted"]
    told = "; ".join(f"{one.text}: {value(one)}, n {len(one.seeds)}" for one in found)
    lacking = sum(one.verdict == "not run" for one in decision.contrasts)
    return f"{told}; {lacking} of {len(decision.contrasts)} not run" if lacking else told


def correlation_text(found: Correlation) -> str:
    """Return rho with its interval and its p, or a dash."""
    if found.rho is None:
        return MISSING
    text = f"rho {theme.number(found.rho, 2)}"
    if found.low is not None and found.high is not None:
        text += f" [{theme.number(found.low, 2)}, {theme.number(found.high, 2)}]"
    return text if found.p is None else f"{text}, permutation p = {found.p:.2g}"


def _correlation(decision: Decision) -> Line:
    found = decision.correlation
    assert found is not None
    text = correlation_text(found)
    within = "" if found.within is None else f"within conditions {theme.number(found.within, 2)}"
    return Line(
        f"across {len(found.conditions)} conditions",
        Markup(""),
        text,
        str(len(found.conditions)),
        decision.verdict,
        within,
        found.notes,
    )


def _scale(one: Contrast) -> float:
    """Return what lies at either end of a glyph."""
    if one.unit == "points":
        return SPAN * one.margin
    if one.unit == "ratio":
        return math.log(SPAN)
    found = one.interval
    ends = [] if found is None else [found.mean, found.low or 0.0, found.high or 0.0]
    return 1.2 * max(map(abs, ends), default=0.0) or 1.0


def glyph(one: Contrast) -> Markup:
    """Return an interval as a small picture: 0, the margin, the mean, the 95 % interval."""
    scale = _scale(one)

    def x(number: float) -> float:
        return WIDTH / 2 * (1 + max(-1.0, min(1.0, number / scale)))

    middle = HEIGHT / 2
    marks = []
    if one.margin and one.expects in BOUNDED:
        left, right = x(-one.margin), x(one.margin)
        marks.append(
            f'<rect class="band" x="{left:.1f}" y="1" width="{right - left:.1f}" height="20"/>'
        )
    marks.append(f'<line class="zero" x1="{x(0):.1f}" y1="0" x2="{x(0):.1f}" y2="{HEIGHT}"/>')
    found = one.interval
    if found is not None and found.low is not None and found.high is not None:
        low, high = x(found.low), x(found.high)
        marks.append(
            f'<line class="ci" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>'
        )
    if found is not None:
        where, beyond = x(found.mean), abs(found.mean) > scale
        if beyond:
            back = where + (6 if found.mean < 0 else -6)
            points = f"{where:.1f},{middle} {back:.1f},{middle - 4} {back:.1f},{middle + 4}"
            marks.append(f'<polygon class="mean" points="{points}"/>')
        else:
            marks.append(f'<circle class="mean" cx="{where:.1f}" cy="{middle}" r="3.4"/>')
    body = "".join(marks)
    label = f"{value(one)}"
    return Markup(
        '<svg viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, HEIGHT, WIDTH, HEIGHT, label, Markup(body))


def markdown(decisions: Sequence[Decision]) -> str:
    """Return the scorecard as a Markdown table: what ``scorecard.md`` holds."""
    rows = [("claim", "the paper", "here (95 % interval, n)", "verdict"), ("---",) * 4]
    for entry in entries(decisions):
        found = [
            f"{escaped(line.text)}: {line.value}" + (f" (n {line.n})" if line.n != MISSING else "")
            for line in entry.lines
        ]
        verdict = f"**{entry.verdict}**"
        rows.append(
            (
                f"{escaped(entry.name)}: {escaped(entry.says)}",
                escaped(entry.paper),
                "<br>".join(found),
                verdict,
            )
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def seeds_frame(decisions: Sequence[Decision]) -> pd.DataFrame:
    """Return every seed of every contrast as a row: what ``seeds.csv`` holds."""
    rows = [
        {"claim": decision.claim.name, "contrast": one.text, "seed": seed, "first": a, "second": b}
        for decision in decisions
        for one in decision.contrasts
        for seed, a, b in zip(one.seeds, one.first, one.second, strict=True)
    ]
    return pd.DataFrame(rows, columns=["claim", "contrast", "seed", "first", "second"])


def _robust(one: Contrast) -> dict[str, float | None]:
    """Return the interquartile mean of the differences, and the share of pairs with first > second.

    The mean's interval is a bootstrap, which covers less than it says where seeds are few.
    """
    if not one.seeds:
        return dict.fromkeys(("iqm", "iqm_low", "iqm_high", "improvement"))
    found = ranks.iqm_interval([a - b for a, b in zip(one.first, one.second, strict=True)])
    improvement = ranks.probability_of_improvement(one.first, one.second)
    return {"iqm": found.value, "iqm_low": found.low, "iqm_high": found.high,
            "improvement": improvement}  # fmt: skip


def frame(decisions: Sequence[Decision]) -> pd.DataFrame:
    """Return every contrast as a row of numbers: what ``contrasts.csv`` holds."""
    rows = []
    for decision in decisions:
        for one in decision.contrasts:
            found = one.interval
            rows.append(
                {
                    "claim": decision.claim.name,
                    "claim_verdict": decision.verdict,
                    "contrast": one.text,
                    "measure": ", ".join(one.measures),
                    "unit": f"log {one.unit}" if one.unit == "ratio" else one.unit,
                    "expects": one.expects,
                    "margin": one.margin,
                    "n": len(one.seeds),
                    "mean": None if found is None else found.mean,
                    "low": None if found is None else found.low,
                    "high": None if found is None else found.high,
                    **_robust(one),
                    "p": one.p,
                    "p_sign_flip": one.p_sign_flip,
                    "p_welch": one.p_welch,
                    "p_equivalence": one.p_equivalence,
                    "p_against_holm": one.against_holm,
                    "verdict": one.verdict,
                    "notes": "; ".join(one.notes),
                }
            )
    return pd.DataFrame(rows)
