"""Accuracy along training against what it cost, seed by seed, and two of them at equal FLOPs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from plasticity.report.comparison import values
from plasticity.report.comparison.values import Folders

COSTS = {"flops": "training FLOPs", "steps": "active-unit steps"}
EPSILON = 1e-9
"""Relative slack within which two costs are the same."""


@dataclass(frozen=True)
class Trajectory:
    """An arm along its training."""

    rows: pd.DataFrame
    """Columns seed, epoch, acc, flops, steps, cycle_end: every seed at every epoch."""

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

    @property
    def begun(self) -> float:
        """Return the FLOPs of the first epoch: of the seed that spent most, where seeds differ."""
        return float(self.rows.groupby("seed")["flops"].min().max())

    @property
    def cycle_ends(self) -> list[float]:
        """Return the FLOPs that were spent at the end of each cycle, least over seeds."""
        ends = self.rows[self.rows["cycle_end"]]
        return [float(spent) for spent in ends.groupby("epoch")["flops"].min()]


def read(folders: Folders) -> Trajectory | None:
    """Return the trajectory of an arm, or None where it has no history.

    A seed that diverged is at chance from then on, and costs what the others cost.

    Raises
    ------
    DataError
        When a table is missing or damaged.
    """
    history = values.table("train", "history", folders)
    seeds = values.table("train", "seeds", folders)
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
            "cycle_end": history["cycle_end"].astype(int),
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
    acc = rows["acc"].mask(lost, values.chance(folders)) if lost.any() else rows["acc"]
    ends = rows.groupby("epoch")["cycle_end"].transform("max") == 1
    return Trajectory(rows.assign(**costs, acc=acc, cycle_end=ends).drop(columns="step"))


def _lost(rows: pd.DataFrame, seeds: pd.DataFrame) -> pd.Series:
    """Return which epochs of which seeds have no network that learns any more.

    A seed that diverged keeps its last weights and is tested on, so that an accuracy is there says
    nothing: the step at which it diverged does.
    """
    broken = seeds[seeds["status"] != "ok"]
    at = dict(zip(broken["seed"].astype(int), broken["diverged_step"], strict=True))
    since = rows["seed"].map(at).astype(float)
    return rows["seed"].isin(list(at)) & (rows["acc"].isna() | (rows["step"] > since))


def at_equal_flops(mine: Trajectory, every: Sequence[Trajectory], measure: str) -> dict[int, float]:
    """Return seed -> accuracy of one trajectory at what the cheapest of all had spent.

    FLOPs at which not every seed of every trajectory has finished an epoch are left out, for all of
    them; empty where none are left.

    Parameters
    ----------
    mine
        One of ``every``.
    every
        All that are compared.
    measure
        ``equal_flops.acc``: when the cheapest has spent all; ``equal_flops.taa``: the mean over the
        cheapest one's cycle ends.
    """
    cheapest = min(every, key=lambda one: one.least)
    budgets = cheapest.cycle_ends if measure == "equal_flops.taa" else [cheapest.least]
    begun = max(one.begun for one in every) * (1 - EPSILON)
    found = [mine.at(flops) for flops in budgets if flops >= begun]
    if not found:
        return {}
    return {seed: sum(part[seed] for part in found) / len(found) for seed in found[0]}
