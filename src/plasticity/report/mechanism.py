"""Why newborns get the gradient they get: three causes that multiply to it, layer by layer.

A unit's gradient is the norm of its outgoing weights, times how often its gate is open, times the
error of the next layer, times how well the two are aligned. The error is the same for newborns and
incumbents, so the mean logarithms of the other three add up to that of the gradient ratio.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from plasticity.report import ages, charts, contrasts, findings, numbers, parts, theme, wordings
from plasticity.report.charts import Figure
from plasticity.report.contrasts import Ratios
from plasticity.report.findings import Summary
from plasticity.report.inputs import Results
from plasticity.report.numbers import Verdict, verdict
from plasticity.report.parts import Section, Table
from plasticity.stats import Interval

MOMENTS = {"birth": "at birth", "end": "at the end of its cycle"}
PANELS = {
    "total": "gradient",
    "norm": "= outgoing norm",
    "gate": f"{theme.TIMES} gate rate",
    "alignment": f"{theme.TIMES} alignment",
}
ROWS = {name: panel.lstrip(f"={theme.TIMES} ") for name, panel in PANELS.items()}
COLUMNS = 3
WIDE = 740


@dataclass(frozen=True)
class Cause:
    """What the gradient ratio of one layer is made of, and which factor is clearly the most."""

    layer: str
    total: Interval | None
    largest: str
    """The factor furthest on the side of the total; it claims nothing by itself."""
    factor: Interval | None
    dominates: bool
    """Whether ``largest`` is clear of 1, and of both other factors, on the side of the total."""

    @property
    def verdict(self) -> Verdict:
        """On which side of 1 the gradient ratio is."""
        return verdict(self.total)


def causes(terms: Ratios, moment: str) -> list[Cause]:
    """Return for each layer the cause that dominates at a moment, if one clearly does.

    One does if, over seeds, the interval of its logarithm and those of its paired differences to
    both others all lie on the side of the total's.
    """
    return [_cause(terms.of_layer(layer), layer, moment) for layer in terms.layers]


def _cause(terms: Ratios, layer: str, moment: str) -> Cause:
    values = {name: terms.values(name, moment) for name in contrasts.TERMS}
    total = terms.at("total", moment)
    if total is None:
        return Cause(layer, None, "", None, dominates=False)
    sign = -1 if total.mean < 0 else 1
    largest = max(values, key=lambda name: sign * float(values[name].mean()))
    others = [values[name] for name in values if name != largest]
    sides = [
        verdict(total),
        verdict(numbers.interval(values[largest])),
        *(verdict(numbers.interval(values[largest] - other)) for other in others),
    ]
    clear = set(sides) in ({"below"}, {"above"})
    return Cause(layer, total, largest, numbers.interval(values[largest]), dominates=clear)


def finding(found: Sequence[Cause], moment: str = "end") -> str:
    """Return which cause dominates in which layers, at birth or at the end of the cycle."""
    if not found:
        return wordings.CAUSE_NONE
    groups: dict[tuple[Verdict, str], list[Cause]] = {}
    for cause in found:
        named = cause.dominates or cause.verdict == "single"
        groups.setdefault((cause.verdict, cause.largest if named else ""), []).append(cause)
    sides: dict[Verdict, list[str]] = {}
    for (side, largest), group in groups.items():
        phrase = wordings.BECAUSE.get((side, largest), wordings.NO_CAUSE[side])
        where = theme.listed([_told(cause, named=bool(largest)) for cause in group])
        sides.setdefault(side, []).append(phrase.format(layers=where, name=ROWS.get(largest, "")))
    texts = [f"{wordings.CAUSE[side]} {', '.join(parts)}" for side, parts in sides.items()]
    return f"{wordings.CAUSE_MOMENTS[moment]} newborns {'; they '.join(texts)}"


def _told(cause: Cause, *, named: bool) -> str:
    whole = findings.ratio(cause.total)
    part = f"{findings.ratio(cause.factor)} of {whole.partition(' ')[0]}" if named else whole
    return f"{cause.layer} ({part})"


def residual(terms: Ratios) -> float:
    """Return the largest difference, in nats, between a gradient and the sum of its causes."""
    wide = terms.rows.pivot_table(
        index=contrasts.IDENTITY, columns="measure", values="log_ratio", aggfunc="first"
    ).dropna(subset=["total", *contrasts.TERMS])
    miss = wide["total"] - wide[list(contrasts.TERMS)].sum(axis=1)
    return float(miss.abs().max()) if len(wide) else 0.0


def section(results: Results, summary: Summary) -> Section:
    """Return why newborns get less gradient, or more: over age, by layer, and as a table."""
    cohorts = results.whole(results.cohorts)
    terms = contrasts.newborns(cohorts, contrasts.LOGS)
    found = causes(terms, "end")
    missing = [layer for layer in results.capacity if layer not in terms.layers]
    text = (*wordings.CAUSES_TEXT, *_silent(cohorts, summary)) if found else ()
    text = (*text, *_undefined(missing, results))
    title = finding(found)
    drawn = (over_age(terms, summary, title), by_layer(terms, summary)) if found else ()
    return Section(
        "causes",
        "Causes",
        "Why do newborns get the gradient they get?",
        title,
        text,
        drawn,
        (table(cohorts, terms, summary),),
    )


def _undefined(missing: Sequence[str], results: Results) -> tuple[str, ...]:
    if not missing:
        return ()
    if results.params.intervention.activation.rule == "crelu":
        why = "a unit of crelu has two outputs, which open in turn"
    else:
        why = "their channels share one outgoing weight between many places"
    return (f"The causes are not defined for {theme.listed(list(missing))}: {why}.",)


def _silent(cohorts: pd.DataFrame, summary: Summary) -> tuple[str, ...]:
    """Return how many units feel no gradient, so that logarithms leave them out."""
    counts = {
        cohort: [
            contrasts.silent(cohorts, cohort, "end", layer) for layer in summary.newborn.layers
        ]
        for cohort in ("newborn", "incumbent")
    }
    shares = [
        f"{sum(silent for silent, _ in part):,} of {sum(units for _, units in part):,} {name}s"
        for name, part in counts.items()
    ]
    return (
        f"Units without any gradient have no logarithm, so they are outside the causes, the "
        f"median and the geometric mean, but inside the ratio of means: {shares[0]} and "
        f"{shares[1]}, summed over seeds, layers and events at the ends of their cycles.",
    )


def over_age(terms: Ratios, summary: Summary, title: str) -> Figure:
    """Return the gradient ratio and its three factors by age, side by side."""
    figure = ages.by_age("causes", title, ("Newborns", "incumbents"), PANELS, terms, summary)
    return charts.extended(
        figure,
        f" In the sentence above, brackets hold the cause's factor of the whole ratio. Read the "
        f"panels from left to right as an equation: at every age the three factors multiply to "
        f"the first panel, exact to {max(residual(terms), 1e-9):.0e} nats. Geometric means over "
        "units, too, so the first panel is not that of the birth certificate, which compares "
        "means.",
    )


def by_layer(terms: Ratios, summary: Summary) -> Figure:
    """Return the factors of each layer at birth and at the end of the cycle."""
    means = terms.over_seeds(["layer", "moment", "measure"])
    frame = charts.exponentiated(
        means[means["moment"].isin(MOMENTS) & means["measure"].isin(list(PANELS))]
    )
    frame = frame.assign(
        name=frame["measure"].map(PANELS),
        when=frame["moment"].map(MOMENTS),
    )
    dots = _dots(terms)
    values = pd.concat([frame[["mean", "low", "high"]], dots.rename(columns={"value": "mean"})])
    domain = charts.ratio_domain(values)
    columns = min(len(terms.layers), COLUMNS)
    width = (WIDE - 34 * (columns - 1)) // columns
    panels = [
        _layer_panel(
            frame[frame["layer"] == layer],
            dots[dots["layer"] == layer],
            domain,
            summary.op,
            named=place % COLUMNS == 0,
        ).properties(width=width, height=150, title=layer)
        for place, layer in enumerate(terms.layers)
    ]
    chart = alt.concat(*panels, columns=COLUMNS, spacing=34)
    return Figure(
        "causes_by_layer",
        finding(causes(terms, "birth"), "birth"),
        "Newborns divided by incumbents in each layer, geometric mean over units, events after "
        "step 0 and seeds; logarithmic axes",
        f"Open marks are at birth, filled ones at the end of the cycle; the last three rows "
        f"multiply to the first. {_whiskers(frame)}, pale dots single seeds at the end; "
        f"{ages.n_of(frame, summary)}.",
        "train/cohorts.csv",
        frame[["layer", "moment", "measure", "mean", "low", "high", "n"]],
        charts.spec(chart, "Factors of the gradient ratio by layer"),
    )


def _whiskers(frame: pd.DataFrame) -> str:
    if frame["low"].notna().any():
        return "Whiskers are 95 % t-intervals over seeds"
    return "One seed has no interval, so there are no whiskers"


def _dots(terms: Ratios) -> pd.DataFrame:
    """Return each drawn seed's mean factors at the end of the cycle."""
    rows = terms.rows[(terms.rows["moment"] == "end") & terms.rows["measure"].isin(list(PANELS))]
    means = rows.groupby(["seed", "layer", "measure"])["log_ratio"].mean().reset_index()
    kept = sorted(means["seed"].unique())[: theme.SEEDS_DRAWN]
    means = means[means["seed"].isin(kept)]
    return means.assign(
        name=means["measure"].map(PANELS), value=[math.exp(value) for value in means["log_ratio"]]
    )[["layer", "name", "seed", "value"]]


def _layer_panel(
    frame: pd.DataFrame, dots: pd.DataFrame, domain: tuple[float, float], op: str, *, named: bool
) -> Any:
    x = alt.X(
        "mean:Q", scale=charts.ratio_scale(domain), axis=charts.ratio_axis(domain), title=None
    )
    y = alt.Y(
        "name:N",
        sort=list(PANELS.values()),
        title=None,
        axis=alt.Axis(grid=False, labelColor="@ink", labelPadding=10, labels=named),
    )
    own = alt.Chart(charts.data(frame))
    seeds = alt.Chart(charts.data(dots))
    tips = [
        alt.Tooltip("name:N", title=" "),
        alt.Tooltip("when:N", title=" "),
        *(alt.Tooltip(f"{c}:Q", format=".3f") for c in ("mean", "low", "high")),
        alt.Tooltip("n:Q"),
    ]
    parts = [
        charts.parity("x", domain),
        seeds.mark_point(
            size=20, filled=True, opacity=0.35, color=f"@{op}-text", yOffset=14
        ).encode(
            x=alt.X("value:Q", scale=charts.ratio_scale(domain)),
            y=y,
            tooltip=[alt.Tooltip("seed:Q"), alt.Tooltip("value:Q", format=".3f")],
        ),
    ]
    for moment, offset, fill in (("birth", -7, "@paper"), ("end", 5, f"@{op}")):
        base = own.transform_filter(f"datum.moment == '{moment}'").encode(y=y)
        parts += [
            base.transform_filter("isValid(datum.low)")
            .mark_rule(strokeWidth=1.8, color=f"@{op}", yOffset=offset)
            .encode(x=alt.X("low:Q", scale=charts.ratio_scale(domain)), x2="high:Q"),
            base.mark_point(
                size=64,
                opacity=1,
                strokeWidth=1.8,
                shape=theme.SHAPES[op],
                stroke=f"@{op}",
                fill=fill,
                yOffset=offset,
            ).encode(x=x, tooltip=tips),
        ]
    return alt.layer(*parts)


def table(cohorts: pd.DataFrame, terms: Ratios, summary: Summary) -> Table:
    """Return every ratio of newborns to incumbents by layer, at birth and at the end."""
    matched = contrasts.matched(cohorts)
    kinds: list[tuple[str, Ratios, str]] = [
        ("how often active", summary.newborn, "activation"),
        ("gradient, ratio of means", summary.newborn, "gradient"),
        ("the same, where gates open as often", matched, "gradient"),
        ("gradient, ratio of medians", terms, "median"),
        ("gradient, ratio of geometric means", terms, "total"),
        ("= outgoing norm", terms, "norm"),
        (f"{theme.TIMES} gate rate", terms, "gate"),
        (f"{theme.TIMES} alignment", terms, "alignment"),
    ]
    places = [(layer, moment) for layer in summary.newborn.layers for moment in MOMENTS]
    rows = [
        (
            name,
            *(parts.ratio(ratios.of_layer(layer).at(measure, when)) for layer, when in places),
        )
        for name, ratios, measure in kinds
    ]
    for cohort in ("newborn", "incumbent"):
        counts = [contrasts.silent(cohorts, cohort, when, layer) for layer, when in places]
        shares = [
            f"{100 * silent / units:.1f} %" if units else parts.MISSING for silent, units in counts
        ]
        rows.append((f"{cohort}s without gradient", *shares))
    head = (
        "",
        *(f"{layer}, {MOMENTS[when].removesuffix(' of its cycle')}" for layer, when in places),
    )
    return Table(
        "Newborns divided by incumbents: means over events after step 0 within a seed, then over "
        "seeds [95 % t-interval]. A dash: not defined for this layer; a ratio without brackets: "
        "known of one seed alone.",
        head,
        tuple(rows),
    )
