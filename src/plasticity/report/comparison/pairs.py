"""Which arms of a study differ in one thing alone, and their seeds side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plasticity.claims import Reference
from plasticity.report.comparison.gather import Arm, Comparison
from plasticity.report.comparison.values import Values
from plasticity.stats import Interval, t_interval


@dataclass(frozen=True)
class Pair:
    """Two arms that are equal but for what their names say."""

    first: Arm
    second: Arm


def grow_and_prune(comparison: Comparison) -> list[Pair]:
    """Return arms that differ in the operator alone: grow and prune, each with every continuity.

    The paper's prune rewinds and its grow does not, so continuity belongs to the operator here.
    """
    groups: dict[str, dict[str, list[Arm]]] = {}
    for arm in comparison.done:
        if arm.params.op in ("grow", "prune"):
            by_op = groups.setdefault(_key(arm, ("op",), CONTINUITY), {})
            by_op.setdefault(arm.params.op, []).append(arm)
    return [
        Pair(grown, pruned)
        for by_op in groups.values()
        for grown in by_op.get("grow", [])
        for pruned in by_op.get("prune", [])
    ]


def interventions(comparison: Comparison) -> dict[str, tuple[Arm, list[Arm]]]:
    """Return reference -> itself and the arms that differ from it in an intervention alone.

    The reference is the arm with the fewest changes in a group of arms that are equal otherwise.
    """
    groups: dict[str, list[Arm]] = {}
    for arm in comparison.done:
        groups.setdefault(_key(arm, ("intervention",), ()), []).append(arm)
    found = {}
    for group in groups.values():
        reference = min(group, key=lambda arm: len(changes(arm)))
        others = [arm for arm in group if arm is not reference]
        if others:
            found[reference.name] = reference, others
    return found


def changes(arm: Arm) -> Mapping[str, Any]:
    """Return the settings of an arm that are about interventions."""
    settings = arm.condition.settings
    return {key: value for key, value in settings.items() if key.startswith("intervention.")}


CONTINUITY = ("continuity", "rewind_when")


def _key(arm: Arm, sections: Sequence[str], of_edit: Sequence[str]) -> str:
    """Return what an arm trains with, as text, but for some sections and parts of ``edit``."""
    unseen = {"report", "retrain", "continual", "measure"}
    tree = arm.params.model_dump(mode="json", exclude={*sections, *unseen})
    tree["train"].pop("workers", None)
    for name in of_edit:
        tree["edit"].pop(name)
    return str(tree)


def difference(
    comparison: Comparison, first: Arm, second: Arm, measure: str, *arguments: str
) -> Interval | None:
    """Return the paired difference of a measure, or None where a side has none."""
    one, other = (
        comparison.values(Reference(arm.name, measure, arguments)) for arm in (first, second)
    )
    if not isinstance(one, Values) or not isinstance(other, Values):
        return None
    shared = sorted({*one.by_seed} & {*other.by_seed})
    gaps = [one.by_seed[seed] - other.by_seed[seed] for seed in shared]
    return t_interval(gaps) if gaps else None
