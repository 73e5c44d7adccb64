"""Tables condensed to intervals over seeds. Every number a report shows is computed here.

A seed is the unit of every interval: values are averaged within a seed first, then over seeds.
Seeds that diverged have no value at the end, so they are outside the means, and always named.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from plasticity.report import theme
from plasticity.stats import Interval, t_interval

Verdict = Literal["below", "unclear", "above", "single", "none"]


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


def span(counts: pd.Series) -> str:
    """Return the one count that all seeds share, or the range."""
    low, high = (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
    return str(low) if low == high else f"{low} to {high}"


def thinned(values: Sequence[float], limit: int = theme.POINTS_PER_LINE) -> list[float]:
    """Return at most ``limit`` of the values, evenly spread, first and last included."""
    ordered = sorted(set(values))
    if len(ordered) <= limit:
        return ordered
    places = np.linspace(0, len(ordered) - 1, limit).round().astype(int)
    return [ordered[place] for place in places]


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Return the values moved apart as little as needed, so that labels do not overlap.

    Neighbours that are too near become a block around their mean; blocks that then overlap are
    joined (the pool-adjacent-violators algorithm), so a value far from all others stays in place.
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    blocks: list[list[float]] = []
    for rank, i in enumerate(order):
        blocks.append([values[i] - rank * gap])
        while len(blocks) > 1 and _mean(blocks[-2]) >= _mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    free = [_mean(block) for block in blocks for _ in block]
    result = [0.0] * len(values)
    for rank, i in enumerate(order):
        result[i] = free[rank] + rank * gap
    return result


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


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
    """Return the change of test accuracy over the first epoch after an edit, mean over events.

    None where an event falls inside an epoch: then no epoch is the one after it.
    """
    moved = edits[(edits["added"] + edits["removed"] + edits["rewound"]) > 0]
    steps = set(moved["step"].astype(int)) - {0}
    if not steps <= set(history["step"].astype(int)):
        return None
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
