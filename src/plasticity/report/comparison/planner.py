"""How many seeds would decide? From the spread of the differences that were measured."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from plasticity import planning
from plasticity.report import theme
from plasticity.report.comparison.gather import Comparison
from plasticity.report.parts import MISSING, Section, Table

POWER = 0.8
MOST = 10_000
"""Seeds beyond which a plan is no plan."""


@dataclass(frozen=True)
class Plan:
    """What it takes to decide one contrast."""

    text: str
    n: int
    deviation: float
    """Standard deviation of a seed's difference, in points."""
    detectable: float
    """The smallest difference that as many seeds as were run find with 80 % power."""
    size: float
    """The difference that is asked for, in points."""
    to_find: int | None
    """Seeds that find a difference of the size asked for; None beyond ``MOST``."""
    to_equate: int | None
    """Seeds that show a true difference of 0 to lie within it."""


def plans(comparison: Comparison, difference: float | None = None) -> list[Plan]:
    """Return a plan for each contrast in points that has more than one seed.

    Parameters
    ----------
    comparison
        A study with what is there of it.
    difference
        In points; None is each claim's margin.
    """
    found = []
    for decision in comparison.decisions:
        for one in decision.contrasts:
            interval = one.interval
            if one.unit != "points" or interval is None or not interval.half_width:
                continue
            deviation = statistics.stdev(one.differences)
            size = difference or one.margin
            found.append(
                Plan(
                    f"{decision.claim.name}: {one.text}",
                    interval.n,
                    deviation,
                    planning.detectable(interval.n, deviation, POWER),
                    size,
                    _within(planning.seeds_for, size, deviation),
                    _within(planning.seeds_for_equivalence, size, deviation),
                )
            )
    return found


def _within(
    planned: Callable[[float, float, float], int], size: float, deviation: float
) -> int | None:
    """Return a number of seeds, or None where it would be beyond ``MOST``."""
    if (deviation / size) ** 2 > MOST / 10:
        return None
    count = planned(size, deviation, POWER)
    return count if count <= MOST else None


def section(comparison: Comparison) -> Section | None:
    """Return how many seeds each contrast needs, or nothing where no spread is known."""
    found = plans(comparison)
    if not found:
        return None
    rows = tuple(
        (
            plan.text,
            str(plan.n),
            f"{plan.deviation:.2f}",
            f"{plan.detectable:.2f}",
            f"{plan.size:g}",
            _count(plan.to_find),
            _count(plan.to_equate),
        )
        for plan in found
    )
    head = (
        "",
        "seeds run",
        "deviation of a seed's difference (points)",
        "difference found in 80 % (points)",
        "margin (points)",
        "seeds to find the margin",
        "seeds to show equality",
    )
    return Section(
        "planner",
        "Planner",
        "How many seeds would decide?",
        f"With the seeds of this study, differences of {_span(found)} points are found in 80 % of "
        "studies",
        (
            "From the spread that was measured, which is itself uncertain with few seeds. A margin "
            "is what each claim calls a difference that matters. Equality is shown by two "
            "one-sided tests, if the true difference is 0.",
        ),
        (),
        (Table("Seeds for 80 % power, paired, at the 5 % level.", head, rows),),
    )


def _span(found: list[Plan]) -> str:
    low, high = (f(plan.detectable for plan in found) for f in (min, max))
    texts = dict.fromkeys(theme.number(value) for value in (low, high))
    return " to ".join(texts)


def _count(seeds: int | None) -> str:
    return MISSING if seeds is None else f"{seeds:,}"
