"""Which arms of a study can be compared at what their training cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from plasticity.errors import DataError
from plasticity.report.comparison import pairs, trajectory
from plasticity.report.comparison.gather import Arm, Comparison
from plasticity.report.comparison.trajectory import Trajectory


@dataclass(frozen=True)
class Curve(Trajectory):
    """An arm along its training."""

    arm: Arm


@dataclass(frozen=True)
class Group:
    """Conditions trained alike on the same images: their costs can be compared."""

    curves: tuple[Curve, ...]
    dense: Curve | None
    """The full network, trained without an interruption."""
    flops: float
    """The most that every condition spends."""


def groups(comparison: Comparison) -> tuple[Group, ...]:
    """Return the conditions that have a history, those of like training together."""
    found: dict[str, list[Curve]] = {}
    for arm in comparison.done:
        if (curve := read(arm)) is not None:
            alike = pairs.key(arm.params, "op", "compactness", "edit", "intervention", "measure")
            found.setdefault(alike, []).append(curve)
    return tuple(_group(curves) for curves in found.values())


def _group(curves: Sequence[Curve]) -> Group:
    dense = [one for one in curves if one.arm.params.op == "dense" and not one.arm.params.rewinds]
    ends = min(one.least for one in curves)
    return Group(tuple(curves), next(iter(dense), None), ends)


def read(arm: Arm) -> Curve | None:
    """Return the curve of an arm, or None where it has no history."""
    try:
        found = trajectory.read(arm.folders)
    except DataError:
        return None
    return None if found is None else Curve(found.rows, arm)
