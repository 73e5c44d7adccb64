"""Two cohorts compared: logarithms of the ratio of what their units do, per seed and event."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from plasticity.report import numbers
from plasticity.stats import Interval

Measures = Mapping[str, str]
"""Name of a measure -> its column in ``train/cohorts.csv``."""

MEASURES: Measures = {"activation": "activation_rate", "gradient": "gradient"}
GRADIENT: Measures = {"gradient": "gradient"}
UPDATES: Measures = {"incoming": "update_in", "outgoing": "update_out"}
TERMS: Measures = {"norm": "log_norm", "gate": "log_gate", "alignment": "log_alignment"}
LOGS: Measures = {"total": "log_gradient", **TERMS, "median": "median_log_gradient"}
"""Columns that are logarithms already; ``total`` is the sum of ``TERMS`` in every contrast, since
the error of the next layer is the same for both cohorts."""

AFTER = ("birth", "along", "end")
IDENTITY = ["seed", "event", "layer", "age", "moment"]


@dataclass(frozen=True)
class Ratios:
    """Log ratios of two cohorts, per seed, event, layer and age."""

    rows: pd.DataFrame
    """Columns seed, event, layer, age, moment, measure, log_ratio."""
    pairs: int
    lost: pd.DataFrame
    """Such pairs in which a cohort's mean is zero, so that no ratio exists; they are left out."""

    @property
    def undefined(self) -> int:
        """Return in how many pairs no ratio exists."""
        return len(self.lost)

    def of_layer(self, layer: str) -> "Ratios":
        """Return the ratios of one layer; ``pairs`` stays that of all."""
        rows, lost = (part[part["layer"] == layer] for part in (self.rows, self.lost))
        return replace(self, rows=rows, lost=lost)

    def values(self, measure: str, moment: str) -> pd.Series:
        """Return each seed's mean log ratio at a moment, by seed."""
        rows = self.rows
        chosen = rows[(rows["measure"] == measure) & (rows["moment"] == moment)]
        return chosen.groupby("seed", sort=True)["log_ratio"].mean()

    def lost_of(self, measure: str, moment: str) -> pd.Series:
        """Return in how many pairs a measure has no ratio at a moment, by seed; most have none."""
        rows = self.lost
        chosen = rows[(rows["measure"] == measure) & (rows["moment"] == moment)]
        return chosen.groupby("seed", sort=True).size()

    def at(self, measure: str, moment: str) -> Interval | None:
        """Return the interval over seeds of the mean log ratio at a moment."""
        return numbers.interval(self.values(measure, moment))

    def at_age(self, measure: str, age: int) -> Interval | None:
        """Return the interval over seeds of the mean log ratio at an age."""
        chosen = self.rows[(self.rows["measure"] == measure) & (self.rows["age"] == age)]
        return numbers.interval(chosen.groupby("seed", sort=True)["log_ratio"].mean())

    def over_seeds(self, by: Sequence[str]) -> pd.DataFrame:
        """Return intervals of the per-seed mean log ratio, one row per group."""
        means = self.rows.groupby(["seed", *by], sort=True)["log_ratio"].mean().reset_index()
        return numbers.over_seeds(means, by, "log_ratio")

    @property
    def layers(self) -> list[str]:
        """Names of the layers compared, from input to output."""
        return sorted(self.rows["layer"].unique())


def newborns(cohorts: pd.DataFrame, measures: Measures = MEASURES) -> Ratios:
    """Return newborn over incumbent, from birth to the end of the cycle."""
    after = _later(cohorts, AFTER)
    return _ratios((after, "newborn"), (after, "incumbent"), IDENTITY[:-1], measures)


def matched(cohorts: pd.DataFrame) -> Ratios:
    """Return the gradient of newborns over that of incumbents whose gates open as often."""
    after = _later(cohorts, ("birth", "end"))
    pair = (after, "matched_newborn"), (after, "matched_incumbent")
    return _ratios(*pair, IDENTITY[:-1], GRADIENT)


def survivors(cohorts: pd.DataFrame) -> Ratios:
    """Return units that survived an event, after it over just before it."""
    after, before = _later(cohorts, AFTER), _later(cohorts, ("before",))
    return _ratios((after, "incumbent"), (before, "kept"), IDENTITY[:3], MEASURES)


def removed(cohorts: pd.DataFrame) -> Ratios:
    """Return removed over kept units just before the event that parted them."""
    before = _later(cohorts, ("before",))
    return _ratios((before, "removed"), (before, "kept"), IDENTITY[:3], MEASURES)


def silent(cohorts: pd.DataFrame, cohort: str, moment: str, layer: str) -> tuple[int, int]:
    """Return how many units of a cohort feel no gradient, and how many it has, over all events."""
    chosen = _later(cohorts, (moment,))
    chosen = chosen[(chosen["cohort"] == cohort) & (chosen["layer"] == layer)]
    return int(chosen["silent"].sum()), int(chosen["units"].sum())


def _later(cohorts: pd.DataFrame, moments: Sequence[str]) -> pd.DataFrame:
    """Return some moments of the events after step 0, where every unit is untrained."""
    event_step = cohorts["step"] - cohorts["age"].clip(lower=0)
    return cohorts[(event_step > 0) & cohorts["moment"].isin(moments)]


def _ratios(
    upper: tuple[pd.DataFrame, str],
    lower: tuple[pd.DataFrame, str],
    keys: list[str],
    measures: Measures,
) -> Ratios:
    columns = list(measures.values())
    top = upper[0][upper[0]["cohort"] == upper[1]][[*IDENTITY, *columns]]
    # An age may be measured twice: on the grid and as the end of its cycle.
    bottom = lower[0][lower[0]["cohort"] == lower[1]].drop_duplicates(keys)[[*keys, *columns]]
    both = top.merge(bottom, on=keys, how="inner", suffixes=("", "_below"))
    parts = []
    for measure, column in measures.items():
        above, below = both[column].astype(float), both[f"{column}_below"].astype(float)
        if column in LOGS.values():
            ratio = above - below
        else:
            defined = (above > 0) & (below > 0)
            ratio = (above.where(defined) / below.where(defined)).map(math.log, na_action="ignore")
        measured = above.notna() & below.notna()
        parts.append(both[IDENTITY].assign(measure=measure, log_ratio=ratio)[measured])
    rows = pd.concat(parts, ignore_index=True)
    known = rows.dropna(subset=["log_ratio"]).sort_values([*IDENTITY, "measure"])
    return Ratios(known.reset_index(drop=True), len(rows), rows[rows["log_ratio"].isna()])
