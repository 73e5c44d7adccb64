"""Tickets against their size, and whether a ticket is more than its width."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from plasticity.claims import Reference
from plasticity.report import charts, findings, parts, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import marks, pairs, values
from plasticity.report.comparison.gather import Arm, Comparison
from plasticity.report.comparison.values import Values
from plasticity.report.parts import Section, Table
from plasticity.stats import Interval

WIDE, NARROW, HEIGHT = 640, 360, 320
GAP = 10.0
"""Pixels between marks of networks of one size."""
SHAPES = {
    "masked_fresh": "circle",
    "physical_fresh": "square",
    "random_fresh": "cross",
    "masked_original": "triangle-up",
    "random_original": "triangle-down",
    "always these units, random": "diamond",
    "always these units, uniform": "triangle-right",
    "dense": "triangle-left",
}
"""Of each retrained variant, and of networks that never changed, which are trained once."""
UNEDITED = ("static", "dense")
"""Operators that choose no units: what they keep is random, or all."""
PHYSICAL = {"masked_fresh": "physical_fresh"}
CONTROLS = (("random units", findings.RANDOM_CONTROL), ("physically small", PHYSICAL))


def section(comparison: Comparison) -> Section | None:
    """Return tickets by their size, or nothing where nothing was retrained."""
    table = frame(comparison)
    if not table["ticket"].any():
        return None
    differences = {
        name: [
            (arm, kept, found)
            for arm in comparison.done
            if arm.params.op not in UNEDITED
            for kept, other in control.items()
            if (found := less(comparison, arm, kept, other)) is not None
        ]
        for name, control in CONTROLS
    }
    telling = [
        found for _, kept, found in differences["random units"] if kept.endswith("_original")
    ]
    return Section(
        "tickets",
        "Tickets",
        "Is a ticket more than its width?",
        "",
        (
            "The extracted network is trained again from scratch: with the units that were kept, "
            "with as many random ones (random), in the full network (masked) or built small "
            "(physical). Networks that had their units from the start and never changed are the "
            "control that costs nothing to find.",
            "With fresh weights the units of a layer are exchangeable: which of them were kept "
            "cannot matter on average, so such tickets of the same widths differ by chance alone. "
            "With the weights that units started from it can. Random and physically small networks "
            "of one size are the same runs in every condition, so differences to them are not "
            "independent of each other.",
        ),
        (_figure(table, title(telling, fresh=bool(differences["random units"]))),),
        (_table(comparison, differences),) if any(differences.values()) else (),
    )


def less(comparison: Comparison, arm: Arm, first: str, second: str) -> Interval | None:
    """Return the ticket accuracy of one variant less another, paired by seed."""
    one, other = (
        pairs.values(comparison, arm, "ticket.acc", variant)
        if variant in arm.params.retrain.variants
        else None
        for variant in (first, second)
    )
    if one is None or other is None:
        return None
    return pairs.interval(pairs.less(one.by_seed, other.by_seed))


def title(found: Sequence[Interval], *, fresh: bool) -> str:
    """Return in how many conditions kept units are better than random ones, where they can be."""
    if not found:
        if not fresh:
            return "Accuracy of retrained networks by their size; no random units were retrained"
        return (
            "Accuracy of retrained networks by their size; from fresh weights, kept units and "
            "random ones differ by chance alone"
        )
    more, fewer, open_ = pairs.ahead(found)
    return (
        "With the weights they started from, kept units are better than as many random ones in "
        f"{more} of {pairs.counted(len(found), 'ticket')}, worse in {fewer} ({open_} undecided)"
    )


def frame(comparison: Comparison) -> pd.DataFrame:
    """Return every retrained variant and every network that never changed, with size, accuracy."""
    rows = []
    for arm in comparison.done:
        for kind, found, size in _networks(comparison, arm):
            interval = pairs.interval(found.by_seed)
            assert interval is not None
            rows.append(
                {
                    "condition": arm.name,
                    "op": arm.params.op,
                    "dataset": arm.params.dataset,
                    "network": kind,
                    "ticket": kind in arm.params.retrain.variants,
                    "parameters": size,
                    "mean": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                    "n": interval.n,
                }
            )
    columns = ["condition", "op", "dataset", "network", "ticket", "parameters", "mean"]
    table = pd.DataFrame(rows, columns=[*columns, "low", "high", "n"])
    return table.astype({"low": float, "high": float, "ticket": bool})


def _networks(comparison: Comparison, arm: Arm) -> list[tuple[str, Values, float]]:
    """Return kind, accuracy and parameters of each network of a condition."""
    result = []
    for variant in arm.params.retrain.variants if arm.params.op != "dense" else ():
        found = comparison.values(Reference(arm.name, "ticket.acc", (variant,)))
        if isinstance(found, Values) and found.by_seed:
            rows = values.table("retrain", "seeds", arm.folders)
            size = rows.loc[rows["variant"] == variant, "parameters"].mean()
            result.append((variant, found, float(size)))
    if arm.params.op in UNEDITED and not arm.params.rewinds:
        kind = f"always these units, {arm.params.edit.static_mask}"
        trained = pairs.values(comparison, arm, "cycle.acc")
        if trained is not None:
            size = values.table("train", "seeds", arm.folders)["parameters"].mean()
            result.append(("dense" if arm.params.op == "dense" else kind, trained, float(size)))
    return result


def _table(
    comparison: Comparison, differences: dict[str, list[tuple[Arm, str, Interval]]]
) -> Table:
    """Return masked less random and masked less physical for every condition that has them."""
    found = {
        name: {(arm.name, kept): interval for arm, kept, interval in some}
        for name, some in differences.items()
    }
    keys = dict.fromkeys(key for some in found.values() for key in some)
    order = [arm.name for arm in comparison.done]
    used = [name for name, _ in CONTROLS if found[name]]
    rows = [
        (
            name,
            kept,
            *(parts.points(found[control].get((name, kept))) for control in used),
            marks.n_of(
                part.n for some in found.values() if (part := some.get((name, kept))) is not None
            ).removeprefix("n = "),
        )
        for name, kept in sorted(keys, key=lambda one: order.index(one[0]))
    ]
    return Table(
        "Ticket accuracy of the kept units less that of a control, paired by seed "
        "[95 % t-interval].",
        ("", "kept units", *(f"{theme.MINUS} {control}" for control in used), "n"),
        tuple(rows),
    )


def _figure(table: pd.DataFrame, finding: str) -> Figure:
    sets = list(dict.fromkeys(table["dataset"]))
    width = WIDE if len(sets) == 1 else NARROW
    kinds = [kind for kind in SHAPES if (table["network"] == kind).any()]
    panels = [
        _panel(table[table["dataset"] == name], kinds, marks.present(table["op"]), width)
        .properties(width=width, height=HEIGHT, title=name)
        for name in sets
    ]  # fmt: skip
    chart = alt.concat(*panels, columns=2, spacing={"row": 40, "column": 70})
    return Figure(
        "tickets",
        finding,
        "Test accuracy (%) against parameters of the network; logarithmic size, and the accuracy "
        "does not start at zero",
        "Whiskers are 95 % t-intervals over seeds. Marks of one size are moved apart sideways; "
        f"pointing at one tells its size. {marks.UNCORRECTED}. {marks.n_of(table['n'])}; diverged "
        "seeds count as chance.",
        "retrain/seeds.csv, train/seeds.csv",
        table.drop(columns="ticket"),
        charts.spec(chart, "Accuracy of retrained networks against their parameters"),
    )


def _domain(sizes: pd.Series) -> tuple[float, float]:
    low, high = float(sizes.min()), float(sizes.max())
    margin = max((high / low) ** 0.12, 1.25)
    return low / margin, high * margin


def placed(table: pd.DataFrame, domain: tuple[float, float], width: int) -> pd.DataFrame:
    """Return networks with ``place``, those of about one size moved apart on a logarithmic axis.

    Parameters
    ----------
    table
        Column parameters.
    domain, width
        Of the axis, in parameters and in pixels.
    """
    per_pixel = np.log(domain[1] / domain[0]) / width
    logs = np.log(table["parameters"].to_numpy(float))
    place = np.empty(len(logs))
    for near in set(np.round(logs, 2)):
        some = np.flatnonzero(np.round(logs, 2) == near)
        gap = min(GAP, 0.16 * width / len(some))
        place[some] = logs[some] + per_pixel * gap * (np.arange(len(some)) - (len(some) - 1) / 2)
    return table.assign(place=np.exp(place))


def _panel(table: pd.DataFrame, kinds: Sequence[str], ops: Sequence[str], width: int) -> Any:
    domain = _domain(table["parameters"])
    scale = charts.linear(table["mean"], table["low"], table["high"])
    x = alt.X(
        "place:Q",
        scale=alt.Scale(type="log", domain=list(domain), nice=False),
        axis=alt.Axis(tickCount=6, format="~s", title="parameters"),
    )
    y = alt.Y("mean:Q", scale=scale, title="test accuracy (%)")
    colour = alt.Color(
        "op:N",
        scale=alt.Scale(domain=list(ops), range=[f"@{op}" for op in ops]),
        legend=marks.legend("edited by"),
    )
    base = alt.Chart(charts.data(placed(table, domain, width))).encode(x=x, color=colour)
    shape = alt.Shape(
        "network:N",
        scale=alt.Scale(domain=list(kinds), range=[SHAPES[kind] for kind in kinds]),
        legend=marks.legend("trained", 3),
    )
    return alt.layer(
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=1.4)
        .encode(y=alt.Y("low:Q", scale=scale, title="test accuracy (%)"), y2="high:Q"),
        base.mark_point(size=70, filled=True, opacity=1).encode(
            y=y,
            shape=shape,
            tooltip=[
                "condition:N",
                "network:N",
                alt.Tooltip("parameters:Q", format=",.0f"),
                *(alt.Tooltip(f"{name}:Q", format=".2f") for name in ("mean", "low", "high")),
                "n:Q",
            ],
        ),
    )
