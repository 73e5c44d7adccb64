"""Accuracy along training against what it cost, seed by seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from plasticity.errors import DataError
from plasticity.report.comparison import pairs, values
from plasticity.report.comparison.gather import Arm, Comparison

COSTS = {"flops": "training FLOPs", "steps": "active-unit steps"}
EPSILON = 1e-9
"""Relative slack within which two costs are the same."""


@dataclass(frozen=True)
class Curve:
    """One condition along its training."""

    arm: Arm
    rows: pd.DataFrame
    """Columns seed, epoch, acc, flops, steps: every seed at every epoch."""

    def last(self, cost: str) -> float:
        """Return the mean over seeds of what the whole training cost."""
        ends = self.rows[self.rows["epoch"] == self.rows["epoch"].max()]
        return float(ends[cost].mean())

    @property
    def least(self) -> float:
        """Return the FLOPs of the seed that spent fewest: all seeds have spent as many."""
        return float(self.rows.groupby("seed")["flops"].max().min())

    def at(self, flops: float) -> dict[int, float]:
        """Return seed -> accuracy when so much was spent, on a line between two epochs.

        Seeds whose first epoch cost more are left out: nothing was measured before it.
        """
        found = {}
        known = self.rows.dropna(subset=["acc"])
        for seed in known["seed"].unique():
            rows = known[known["seed"] == seed]
            spent = rows["flops"].to_numpy(float)
            if spent[0] <= flops * (1 + EPSILON):
                found[int(seed)] = float(np.interp(flops, spent, rows["acc"].to_numpy(float)))
        return found

    def epoch(self, flops: float) -> float:
        """Return the epoch, with its fraction, at which so much was spent, as mean over seeds."""
        mean = self.rows.groupby("epoch")["flops"].mean()
        return float(np.interp(flops, mean.to_numpy(float), mean.index.to_numpy(float)))


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
    """Return the curve of a condition, or None where it has no history.

    A seed that diverged is at chance from then on, and costs what the others cost.
    """
    try:
        history = values.table("train", "history", arm.folders)
        seeds = values.table("train", "seeds", arm.folders)
    except DataError:
        return None
    if history.empty:
        return None
    measured = pd.DataFrame(
        {
            "seed": history["seed"].astype(int),
            "epoch": history["epoch"].astype(int),
            "step": history["step"].astype(int),
            "acc": history["acc"].astype(float),
            "flops": history["flops"].astype(float),
            "steps": history["active_unit_steps"].astype(float),
        }
    )
    every = pd.MultiIndex.from_product(
        [sorted(seeds["seed"].astype(int)), sorted(measured["epoch"].unique())],
        names=["seed", "epoch"],
    )
    rows = measured.set_index(["seed", "epoch"]).reindex(every).reset_index()
    costs = {
        name: rows[name].fillna(rows.groupby("epoch")[name].transform("mean")) for name in COSTS
    }
    lost = _lost(rows, seeds)
    acc = rows["acc"].mask(lost, values.chance(arm.folders)) if lost.any() else rows["acc"]
    return Curve(arm, rows.assign(**costs, acc=acc).drop(columns="step"))


def _lost(rows: pd.DataFrame, seeds: pd.DataFrame) -> pd.Series:
    """Return which epochs of which seeds have no network that learns any more.

    A seed that diverged keeps its last weights and is tested on, so that an accuracy is there says
    nothing: the step at which it diverged does.
    """
    broken = seeds[seeds["status"] != "ok"]
    at = dict(zip(broken["seed"].astype(int), broken["diverged_step"], strict=True))
    since = rows["seed"].map(at).astype(float)
    return rows["seed"].isin(list(at)) & (rows["acc"].isna() | (rows["step"] > since))
