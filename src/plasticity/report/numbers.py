"""Tables condensed to intervals over seeds. Every number a report shows is computed here.

A seed is the unit of every interval: values are averaged within a seed first, then over seeds.
Seeds that diverged have no value at the end, so they are outside the means, and always named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from plasticity.report import theme
from plasticity.stats import Interval, t_interval

Verdict = Literal["below", "unclear", "above", "single", "none"]

MEASURES = {"activation": "activation_rate", "gradient": "gradient"}
AFTER = ("birth", "along", "end")


def verdict(interval: Interval | None, reference: float = 0.0) -> Verdict:
    """Return on which side of a reference an interval lies; nothing else may choose a wording."""
    if interval is None:
        return "none"
    if interval.low is None or interval.high is None:
        return "single"
    if interval.high < reference:
        return "below"
    if interval.low > reference:
        return "above"
    return "unclear"


def interval(values: pd.Series) -> Interval | None:
    """Return the interval of one value per seed, or None where no seed has one."""
    known = [float(value) for value in values.dropna()]
    return t_interval(known) if known else None


def finished(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of seeds that did not diverge."""
    return frame[frame["status"] == "ok"]


def over_seeds(frame: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Return mean, low, high and n per group of a frame that has one row per seed and group."""
    rows = []
    for key, group in frame.dropna(subset=[value]).groupby(list(by), sort=True):
        part = t_interval(group[value].astype(float).tolist())
        rows.append((*key, part.mean, part.low, part.high, part.n))
    columns = [*by, "mean", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).astype({"low": float, "high": float})


def thinned(values: Sequence[float], limit: int = theme.POINTS_PER_LINE) -> list[float]:
    """Return at most ``limit`` of the values, evenly spread, first and last included."""
    ordered = sorted(set(values))
    if len(ordered) <= limit:
        return ordered
    places = np.linspace(0, len(ordered) - 1, limit).round().astype(int)
    return [ordered[place] for place in places]


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Return the values moved apart as little as needed, so that labels do not overlap."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    placed: list[float] = []
    for i in order:
        placed.append(max(values[i], placed[-1] + gap) if placed else values[i])
    shift = (sum(placed) - sum(values)) / len(values) if values else 0.0
    result = [0.0] * len(values)
    for i, value in zip(order, placed, strict=True):
        result[i] = value - shift
    return result


@dataclass(frozen=True)
class Ratios:
    """Log ratios of two cohorts' means, per seed, event, layer and age."""

    rows: pd.DataFrame
    """Columns seed, event, layer, age, moment, measure, log_ratio."""
    pairs: int
    undefined: int
    """Pairs in which a cohort's mean is zero, so that no ratio exists; they are left out."""

    def at(self, measure: str, moment: str) -> Interval | None:
        """Return the interval over seeds of the mean log ratio at a moment."""
        rows = self.rows
        chosen = rows[(rows["measure"] == measure) & (rows["moment"] == moment)]
        return interval(chosen.groupby("seed", sort=True)["log_ratio"].mean())

    def over_seeds(self, by: Sequence[str]) -> pd.DataFrame:
        """Return intervals of the per-seed mean log ratio, one row per group."""
        means = self.rows.groupby(["seed", *by], sort=True)["log_ratio"].mean().reset_index()
        return over_seeds(means, by, "log_ratio")


def newborn_ratios(cohorts: pd.DataFrame) -> Ratios:
    """Return newborn over incumbent, from birth to the end of the cycle."""
    after = _trained(cohorts)
    after = after[after["moment"].isin(AFTER)]
    return _ratios(after, "newborn", after, "incumbent", ["seed", "event", "layer", "age"])


def survivor_ratios(cohorts: pd.DataFrame) -> Ratios:
    """Return units that survived an event, after it over just before it."""
    trained = _trained(cohorts)
    after = trained[trained["moment"].isin(AFTER)]
    before = trained[trained["moment"] == "before"]
    return _ratios(after, "incumbent", before, "kept", ["seed", "event", "layer"])


def removed_ratios(cohorts: pd.DataFrame) -> Ratios:
    """Return removed over kept units just before the event that parted them."""
    trained = _trained(cohorts)
    before = trained[trained["moment"] == "before"]
    return _ratios(before, "removed", before, "kept", ["seed", "event", "layer"])


def _trained(cohorts: pd.DataFrame) -> pd.DataFrame:
    """Return the events after the first, which is at step 0, where every unit is untrained."""
    return cohorts[cohorts["event"] > 0]


def _ratios(
    upper: pd.DataFrame, upper_name: str, lower: pd.DataFrame, lower_name: str, keys: list[str]
) -> Ratios:
    identity = ["seed", "event", "layer", "age", "moment"]
    columns = list(MEASURES.values())
    top = upper[upper["cohort"] == upper_name][[*identity, *columns]]
    # An age may be measured twice: on the grid and as the end of its cycle.
    bottom = lower[lower["cohort"] == lower_name].drop_duplicates(keys)[[*keys, *columns]]
    both = top.merge(bottom, on=keys, how="inner", suffixes=("", "_below"))
    parts = []
    for measure, column in MEASURES.items():
        above, below = both[column].astype(float), both[f"{column}_below"].astype(float)
        defined = (above > 0) & (below > 0)
        ratio = np.log(above.where(defined)) - np.log(below.where(defined))
        parts.append(both[identity].assign(measure=measure, log_ratio=ratio))
    rows = pd.concat(parts, ignore_index=True)
    known = rows.dropna(subset=["log_ratio"]).sort_values([*identity, "measure"])
    return Ratios(known.reset_index(drop=True), len(rows), len(rows) - len(known))


def paired(
    first: pd.DataFrame, second: pd.DataFrame, value: str
) -> tuple[pd.DataFrame, Interval | None]:
    """Return first minus second per seed that both have, and the interval of the differences."""
    both = first[["seed", value]].merge(second[["seed", value]], on="seed", suffixes=("", "_other"))
    both = both.assign(difference=both[value] - both[f"{value}_other"]).dropna()
    return both[["seed", "difference"]], interval(both["difference"])


def ticket_values(tickets: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Return the finished seeds of one retraining variant."""
    return finished(tickets[tickets["variant"] == variant])


def event_costs(history: pd.DataFrame, edits: pd.DataFrame) -> Interval | None:
    """Return the change of test accuracy over the first epoch after an edit, mean over events."""
    moved = edits[(edits["added"] + edits["removed"] + edits["rewound"]) > 0]
    steps = set(moved["step"].astype(int)) - {0}
    ordered = history.sort_values(["seed", "epoch"])
    change = ordered.groupby("seed")["acc"].diff()
    previous = ordered.groupby("seed")["step"].shift()
    after = ordered.assign(change=change)[previous.isin(steps)]
    return interval(after.groupby("seed")["change"].mean())


def event_epochs(history: pd.DataFrame, edits: pd.DataFrame) -> list[float]:
    """Return when structure changed, in epochs finished."""
    moved = edits[(edits["added"] + edits["removed"] + edits["rewound"]) > 0]
    first = history.iloc[0]
    steps_per_epoch = float(first["step"]) / float(first["epoch"])
    return sorted({round(float(step) / steps_per_epoch, 3) for step in moved["step"]})


def widths(units: str) -> list[int]:
    """Return the alive units per layer of ``205-205-102``."""
    return [int(part) for part in units.split("-")]
