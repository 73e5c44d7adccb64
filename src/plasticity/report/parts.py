"""What sections are made of, and numbers as cells of tables."""

from dataclasses import dataclass

import pandas as pd

from plasticity.report import findings, theme
from plasticity.report.charts import Figure
from plasticity.stats import Interval

MISSING = "\u2013"


@dataclass(frozen=True)
class Table:
    """Text, ready to show; the first column is aligned left, the others right."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: bool = False
    """All columns are words: aligned left, the last one wraps."""


@dataclass(frozen=True)
class Section:
    """One question and its answer."""

    anchor: str
    topic: str
    question: str
    finding: str
    text: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()


def percent(interval: Interval | None) -> str:
    """Return a mean of percents with its interval, or a dash."""
    return MISSING if interval is None else theme.percent(interval)


def points(interval: Interval | None) -> str:
    """Return a mean difference with its interval, or a dash."""
    return MISSING if interval is None else theme.points(interval)


def plain(interval: Interval | None) -> str:
    """Return a mean without a unit, with its interval, or a dash."""
    return MISSING if interval is None else theme.plain(interval)


def ratio(interval: Interval | None) -> str:
    """Return a geometric mean with its interval, or a dash."""
    return MISSING if interval is None else findings.ratio(interval)


def accuracy(value: float) -> str:
    """Return one seed's accuracy, or a dash."""
    return MISSING if pd.isna(value) else f"{value:.2f}"


def mean(values: pd.Series) -> str:
    """Return the mean of counts, or a dash."""
    known = values.dropna()
    return MISSING if known.empty else theme.count(float(known.mean()))
