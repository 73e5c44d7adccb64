"""Which conditions differ only in what is to be compared, and their differences seed by seed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from plasticity.claims import Reference
from plasticity.report import numbers
from plasticity.report.comparison.gather import Arm, Comparison
from plasticity.report.comparison.values import Values
from plasticity.sections import Params
from plasticity.stats import Interval, t_interval

HARMLESS = (
    "report",
    "continual",
    "measure.enabled",
    "retrain.variants",
    "train.workers",
    "train.seeds",
    "train.first_seed",
)
"""Parameters, and a whole section, that change no weight of the networks compared here; seeds are
paired, and of the retrained variants the same one is compared."""
ACCURACIES = ("cycle.acc", "cycle.taa", "ticket.acc")
"""What is asked of two arms, the first first."""
THREE = ("cycle.taa", "cycle.acc", "ticket.acc")
"""The measures by which growing and pruning are ranked."""


@dataclass(frozen=True)
class Pair:
    """Two conditions that differ in growing or pruning, and in what continues at an event."""

    grow: Arm
    prune: Arm

    @property
    def text(self) -> str:
        """Return the names."""
        return f"{self.grow.name} less {self.prune.name}"


def key(params: Params, *free: str) -> str:
    """Return the parameters as a text that is equal where networks are trained alike.

    Parameters
    ----------
    params
        Of a condition.
    free
        Parameters or sections that may differ, such as ``edit.continuity``.
    """
    tree = params.model_dump(mode="json")
    for name in (*HARMLESS, *free):
        section, _, parameter = name.partition(".")
        (tree[section] if parameter else tree).pop(parameter or section, None)
    return json.dumps(tree, sort_keys=True)


def grow_and_prune(comparison: Comparison) -> tuple[Pair, ...]:
    """Return every two conditions that differ in growing or pruning.

    Apart from what continues at an event they are equal; both have tables.
    """
    keys = {
        arm.name: key(arm.params, "op", "edit.continuity", "edit.rewind_when")
        for arm in comparison.done
    }
    grown, pruned = (
        [arm for arm in comparison.done if arm.params.op == op] for op in ("grow", "prune")
    )
    return tuple(
        Pair(first, second)
        for first, second in product(grown, pruned)
        if keys[first.name] == keys[second.name]
    )


def values(comparison: Comparison, arm: Arm, measure: str, *arguments: str) -> Values | None:
    """Return one measure of one condition, or None where there is none."""
    found = comparison.values(Reference(arm.name, measure, arguments))
    return found if isinstance(found, Values) and found.by_seed else None


def differences(comparison: Comparison, first: Arm, second: Arm, measure: str) -> dict[int, float]:
    """Return seed -> first less second; a ticket is of the first variant that both have."""
    arguments: tuple[str, ...] = ()
    if measure.startswith(("ticket.", "delta.")):
        others = second.params.retrain.variants
        arguments = tuple(one for one in first.params.retrain.variants if one in others)[:1]
        if not arguments:
            return {}
    one, other = (values(comparison, arm, measure, *arguments) for arm in (first, second))
    return {} if one is None or other is None else less(one.by_seed, other.by_seed)


def less(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """Return first less second for the seeds that both have."""
    return {seed: first[seed] - second[seed] for seed in sorted({*first} & {*second})}


def interval(by_seed: Mapping[int, float]) -> Interval | None:
    """Return the interval of one value per seed, or None where there is no seed."""
    return t_interval(list(by_seed.values())) if by_seed else None


def ahead(found: Sequence[Interval | None]) -> tuple[int, int, int]:
    """Return how many intervals lie above 0, below 0, and neither; None counts nowhere."""
    told = [numbers.verdict(one) for one in found if one is not None]
    above, below = told.count("above"), told.count("below")
    return above, below, len(told) - above - below


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is not one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
