"""How long until newborns have caught up, and what their weights do meanwhile.

A newborn cohort that had not caught up when its cycle ended is right-censored: it took longer than
that. None is dropped.
"""

from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from plasticity.report import ages, charts, contrasts, findings, numbers, parts, theme, wordings
from plasticity.report.charts import Figure
from plasticity.report.findings import Summary
from plasticity.report.inputs import Results
from plasticity.report.numbers import verdict
from plasticity.report.parts import Section, Table
from plasticity.stats import Interval
from plasticity.survival import integration_time, kaplan_meier, restricted_mean

PROBES = 3
"""Successive probes at which a level must hold."""
PANELS = {"incoming": "Incoming weights", "outgoing": "Outgoing weights"}
COLUMNS = 3
WIDE = 830


@dataclass(frozen=True)
class Level:
    """A level that newborns are to reach."""

    name: str
    label: str
    column: str
    threshold: float
    dash: tuple[int, ...]

    @property
    def relative(self) -> bool:
        """Whether newborns are divided by incumbents; a contribution is a share already."""
        return self.column == "gradient"


LEVELS = (
    Level("gradient_50", "half the gradient", "gradient", 0.5, (1, 0)),
    Level("gradient_90", "0.9 of the gradient", "gradient", 0.9, (6, 3)),
    Level("contribution_50", "half a fair share", "contribution", 0.5, (1, 2)),
)


def times(cohorts: pd.DataFrame) -> pd.DataFrame:
    """Return when each newborn cohort reached each level, or until when it was watched.

    Returns
    -------
    One row for each seed, event, layer and level: columns level, time (steps), caught (whether it
    was observed to get there) and followed (the age of its last probe).
    """
    keys = ["seed", "event", "layer", "age"]
    step = cohorts["step"] - cohorts["age"].clip(lower=0)
    later = cohorts[(step > 0) & cohorts["moment"].isin(contrasts.AFTER)]
    newborn = later[later["cohort"] == "newborn"].drop_duplicates(keys)
    incumbent = later[later["cohort"] == "incumbent"].drop_duplicates(keys)
    both = newborn.merge(incumbent[[*keys, "gradient"]], on=keys, how="left", suffixes=("", "_of"))
    rows = []
    for (seed, event, layer), part in both.sort_values(keys).groupby(keys[:3], sort=True):
        followed = float(part["age"].iloc[-1])
        below = part["gradient_of"].astype(float).to_numpy()
        for level in LEVELS:
            ratios = part[level.column].astype(float).to_numpy()
            if level.relative:
                ratios = np.divide(ratios, below, out=np.full(len(below), np.nan), where=below > 0)
            found = integration_time(part["age"].tolist(), ratios.tolist(), level.threshold, PROBES)
            rows.append((seed, event, layer, level.name, *found, followed))
    columns = ["seed", "event", "layer", "level", "time", "caught", "followed"]
    return pd.DataFrame(rows, columns=columns)


def horizon(found: pd.DataFrame) -> float:
    """Return until when every cohort was watched, in steps."""
    return float(found["followed"].min())


def curves(found: pd.DataFrame) -> pd.DataFrame:
    """Return the share of cohorts below a level by age, until the horizon, per layer and level.

    Columns layer, level, age, share, low and high in percent, and n. The share is the estimate of
    Kaplan and Meier over all cohorts; its interval is over seeds, whose events are not independent.
    """
    end = horizon(found)
    rows = []
    for (layer, level), part in found.groupby(["layer", "level"], sort=True):
        grid = sorted({0.0, end, *part.loc[part["time"] <= end, "time"]})
        pooled = _survival(part, grid)
        single = [_survival(own, grid) for _, own in part.groupby("seed", sort=True)]
        for place, age in enumerate(grid):
            spread = numbers.interval(pd.Series([own[place] for own in single]))
            assert spread is not None
            low, high = _clipped(spread)
            rows.append((layer, level, age, 100 * pooled[place], low, high, spread.n))
    frame = pd.DataFrame(rows, columns=["layer", "level", "age", "share", "low", "high", "n"])
    return frame.astype({"low": float, "high": float})


def _survival(part: pd.DataFrame, grid: list[float]) -> list[float]:
    steps, share = kaplan_meier(part["time"].tolist(), part["caught"].tolist())
    return [float(share[np.searchsorted(steps, age, "right") - 1]) for age in grid]


def _clipped(spread: Interval) -> tuple[float | None, float | None]:
    if spread.low is None or spread.high is None:
        return None, None
    return 100 * max(spread.low, 0.0), 100 * min(spread.high, 1.0)


def waiting(found: pd.DataFrame, layer: str, level: str) -> tuple[Interval | None, Interval | None]:
    """Return restricted mean time (steps) and share not caught up, means over seeds."""
    chosen = found[(found["layer"] == layer) & (found["level"] == level)]
    by_seed = [part for _, part in chosen.groupby("seed", sort=True)]
    end = horizon(found)
    means = [restricted_mean(own["time"].tolist(), own["caught"].tolist(), end) for own in by_seed]
    shares = [1.0 - float(own["caught"].mean()) for own in by_seed]
    return numbers.interval(pd.Series(means)), numbers.interval(pd.Series(shares))


def finding(found: pd.DataFrame) -> str:
    """Return whether most newborn cohorts came to half the incumbents' gradient in their cycle."""
    half = found[found["level"] == "gradient_50"]
    late = numbers.interval(1.0 - half.groupby("seed")["caught"].mean())
    count = f"{int((~half['caught']).sum())} of {len(half)}"
    return wordings.CAUGHT_UP[verdict(late, 0.5)].format(share=share(late), count=count)


def share(late: Interval | None) -> str:
    """Return a share with its interval, in percent, bounds within 0 and 100."""
    if late is None:
        return parts.MISSING
    low, high = _clipped(late)
    mean = f"{100 * late.mean:.0f} %"
    # Seeds that all agree have no spread, which is no proof that others would.
    return mean if low is None or low == high else f"{mean} [{low:.0f}, {high:.0f}]"


def section(results: Results, summary: Summary) -> Section:
    """Return how long newborns take to catch up."""
    found = times(results.whole(results.cohorts))
    return Section(
        "integration",
        "Integration",
        "How long until newborns have caught up?",
        finding(found),
        wordings.INTEGRATION_TEXT,
        (survival(found, summary),),
        (table(found),),
    )


def survival(found: pd.DataFrame, summary: Summary) -> Figure:
    """Return the share of newborn cohorts that have not caught up, by age, for each layer."""
    frame = curves(found)
    end = horizon(found)
    layers = sorted(found["layer"].unique())
    columns = min(len(layers), COLUMNS)
    width = (WIDE - 132 * columns) // columns
    known = frame["low"].notna().any()
    band = (
        f"{charts.band_text(frame)}{', of the solid curve, cut off at 0 and 100' if known else ''}"
    )
    panels = [
        _panel(frame[frame["layer"] == layer], end, summary.op, layer, width) for layer in layers
    ]
    return Figure(
        "integration",
        finding(found),
        "Newborn cohorts that have not yet reached a level (%), by optimizer steps since birth; "
        "logarithmic axis",
        f"A curve falls where cohorts reach its level for {PROBES} successive probes; what is left "
        f"at the right had not when watching ended, {end:,.0f} steps after birth. Solid: half the "
        "incumbents' gradient; dashed: 0.9 of it; dotted: half a fair share of contribution. "
        f"Estimates of Kaplan and Meier over all seeds and events. {band}; "
        f"{ages.n_of(frame, summary)}.",
        "train/cohorts.csv",
        frame,
        charts.spec(alt.concat(*panels, columns=COLUMNS, spacing=20), "Survival by layer"),
    )


def _panel(frame: pd.DataFrame, end: float, op: str, layer: str, width: int) -> Any:
    x = ages.age_axis(end)
    scale = alt.Scale(domain=[0, 100], nice=False)
    y = alt.Y("share:Q", scale=scale, title=None, axis=alt.Axis(values=[0, 25, 50, 75, 100]))
    layers: list[Any] = []
    last = frame.sort_values("age").groupby("level", sort=False).tail(1)
    apart = numbers.spread(last["share"].tolist(), 9.0)
    apart = [place + max(0.0, 4.0 - min(apart)) for place in apart]
    labels = last.assign(
        place=apart,
        text=[next(v.label for v in LEVELS if v.name == name) for name in last["level"]],
    )
    for level in LEVELS:
        base = alt.Chart(charts.data(frame[frame["level"] == level.name])).encode(x=x)
        color = f"@{op}" if level.relative else "@ink"
        if level is LEVELS[0]:
            layers.append(
                base.mark_area(
                    interpolate="step-after", opacity=theme.BAND, color=color, clip=True
                ).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
            )
        layers += [
            base.mark_line(
                interpolate="step-after", strokeWidth=2, color=color, strokeDash=list(level.dash)
            ).encode(y=y),
            base.mark_point(size=60, opacity=0).encode(
                y=y,
                tooltip=[
                    alt.Tooltip("age:Q", title="steps"),
                    *(alt.Tooltip(f"{c}:Q", format=".0f") for c in ("share", "low", "high")),
                    "n:Q",
                ],
            ),
        ]
    layers.append(
        alt.Chart(charts.data(labels))
        .mark_text(align="left", dx=6, fontSize=11)
        .encode(
            x=x,
            y=alt.Y("place:Q", scale=scale),
            text="text:N",
            color=alt.condition(
                "datum.level == 'contribution_50'", alt.value("@ink"), alt.value(f"@{op}-text")
            ),
        )
    )
    return alt.layer(*layers).properties(width=width, height=200, title=layer)


def _steps(mean: Interval | None, end: float) -> str:
    if mean is None:
        return parts.MISSING
    if mean.low is None or mean.high is None or mean.half_width == 0:
        return f"{mean.mean:,.0f}"
    return f"{mean.mean:,.0f} [{max(mean.low, 0):,.0f}, {min(mean.high, end):,.0f}]"


def table(found: pd.DataFrame) -> Table:
    """Return restricted mean times and shares not caught up, for every layer and level."""
    end = horizon(found)
    rows = []
    for layer in sorted(found["layer"].unique()):
        for level in LEVELS:
            chosen = found[(found["layer"] == layer) & (found["level"] == level.name)]
            mean, late = waiting(found, layer, level.name)
            caught = int(chosen["caught"].sum())
            rows.append(
                (
                    f"{layer}: {level.label}",
                    _steps(mean, end),
                    share(late),
                    f"{len(chosen) - caught} of {len(chosen)}",
                )
            )
    return Table(
        f"Time until newborns reach a level, in optimizer steps, restricted to the {end:,.0f} that "
        "every cohort was watched: a cohort that never got there counts as that long. Means over "
        "events within a seed, then over seeds [95 % t-interval, cut off at what is possible].",
        ("", f"mean time, at most {end:,.0f}", "not by the end", "cohorts, of all"),
        tuple(rows),
    )


def updates(results: Results, summary: Summary) -> Section:
    """Return how fast newborns' weights change, next to incumbents'."""
    question = "Do newborns learn as slowly as their gradient suggests?"
    ratios = contrasts.newborns(results.whole(results.cohorts), contrasts.UPDATES)
    if ratios.rows.empty:
        return Section(
            "updates", "Learning speed", question, "No update of a newborn was measured."
        )
    finding = moved(ratios)
    return Section(
        "updates",
        "Learning speed",
        question,
        finding,
        wordings.UPDATES_TEXT,
        (
            ages.by_age(
                "updates",
                finding,
                ("Relative update of newborns", "that of incumbents"),
                PANELS,
                ratios,
                summary,
            ),
        ),
    )


def moved(ratios: contrasts.Ratios) -> str:
    """Return how far newborns' weights move next to incumbents', at the end of the cycle."""
    incoming, outgoing = (ratios.at(measure, "end") for measure in contrasts.UPDATES)
    first = wordings.MOVED[verdict(incoming)].format(ratio=findings.ratio(incoming))
    second = wordings.MOVED_TOO[verdict(outgoing)].format(ratio=findings.ratio(outgoing))
    return (
        f"At the end of the cycle newborns' incoming weights {first}; their outgoing ones {second}"
    )
