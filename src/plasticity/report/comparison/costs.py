"""Accuracy against what it costs: epochs, training FLOPs, or steps of active units."""

from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd

from plasticity.report import charts, numbers, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import pairs
from plasticity.report.comparison.gather import Arm, Comparison
from plasticity.report.comparison.pairs import Pair
from plasticity.report.parts import Section, Table, points
from plasticity.stats import Interval, t_interval
from plasticity.tables import read_table

COSTS = {
    "epoch": "epochs",
    "flops": "training FLOPs",
    "active_unit_steps": "active-unit steps",
}
WIDTH, HEIGHT = 560, 320
MOST_ARMS, POINTS = 16, 60


@dataclass(frozen=True)
class AtEqualCost:
    """Grow less prune where both have spent the same."""

    pair: Pair
    gaps: dict[str, Interval]
    """By what is held equal; the most that every seed of both has spent."""


def section(comparison: Comparison) -> Section | None:
    """Return accuracy against cost, or nothing where nothing was trained."""
    if "train" not in comparison.study.stages or not comparison.done:
        return None
    arms = comparison.done[:MOST_ARMS]
    rows = pd.concat([_curve(arm) for arm in arms], ignore_index=True)
    equal = at_equal_cost(comparison)
    tables = (_relative(comparison), *((_equal(equal),) if equal else ()))
    return Section(
        "costs",
        "Accuracy against cost",
        "Who is ahead when both have spent the same?",
        "",
        (
            "A pruned network has more units early, so an epoch of it costs more. Choose below "
            "what is held equal.",
        ),
        (_figure(rows, finding(equal), len(comparison.done)),),
        tables,
    )


def at_equal_cost(comparison: Comparison) -> list[AtEqualCost]:
    """Return grow less prune at the largest cost that every seed of both arms has reached."""
    return [
        AtEqualCost(pair, {cost: gap for cost in COSTS if (gap := _gap(pair, cost)) is not None})
        for pair in pairs.grow_and_prune(comparison)
    ]


def _gap(pair: Pair, cost: str) -> Interval | None:
    first, second = (_histories(arm) for arm in (pair.first, pair.second))
    shared = sorted({*first} & {*second})
    if not shared:
        return None
    most = min(float(part[seed][cost].iloc[-1]) for part in (first, second) for seed in shared)
    gaps = [_at(first[seed], cost, most) - _at(second[seed], cost, most) for seed in shared]
    return t_interval(gaps)


def _at(history: pd.DataFrame, cost: str, where: float) -> float:
    """Return a seed's accuracy at a cost, between two epochs by linear interpolation."""
    return float(np.interp(where, history[cost].astype(float), history["acc"].astype(float)))


def _histories(arm: Arm) -> dict[int, pd.DataFrame]:
    """Return seed -> its history, for seeds that finished."""
    whole = numbers.finished(read_table("train", "seeds", arm.folder))["seed"]
    history = read_table("train", "history", arm.folder)
    history = history[history["seed"].isin(whole) & history["acc"].notna()]
    return {int(str(seed)): part for seed, part in history.groupby("seed", sort=True)}


def _curve(arm: Arm) -> pd.DataFrame:
    """Return an arm's mean accuracy by epoch, with its mean cost up to there."""
    parts = _histories(arm)
    columns = ["epoch", "acc", "flops", "active_unit_steps"]
    if not parts:
        return pd.DataFrame(columns=["arm", "op", *columns])
    every = pd.concat(parts.values())[columns].astype(float)
    mean = every.groupby("epoch", sort=True).mean().reset_index()
    kept = numbers.thinned(mean["epoch"].tolist(), POINTS)
    return mean[mean["epoch"].isin(kept)].assign(arm=arm.name, op=arm.params.op)


def finding(equal: list[AtEqualCost]) -> str:
    """Return how many pairs favour whom for sure at equal FLOPs."""
    sides = [numbers.verdict(one.gaps.get("flops")) for one in equal]
    if not sides:
        return "Accuracy on the way, against what it has cost"
    grow, prune = sides.count("above"), sides.count("below")
    return (
        f"At equal training FLOPs grow is ahead in {grow} and prune in {prune} of {len(sides)} "
        "pairs for sure"
    )


def _figure(rows: pd.DataFrame, title: str, arms: int) -> Figure:
    long = rows.melt(
        id_vars=["arm", "op", "acc", "epoch"], value_vars=["flops", "active_unit_steps"],
        var_name="cost", value_name="spent",
    )  # fmt: skip
    epochs = rows.assign(cost="epoch", spent=rows["epoch"])[long.columns]
    long = pd.concat([epochs, long]).assign(cost=lambda frame: frame["cost"].map(COSTS))
    chosen = alt.param(
        name="held_equal",
        value=COSTS["flops"],
        bind=alt.binding_radio(options=[*COSTS.values()], name="cost: "),
    )
    ops = [op for op in theme.SHAPES if op in set(rows["op"])]
    order = [*dict.fromkeys(rows["arm"])]
    dashes = [list(_DASHES[place % len(_DASHES)]) for place, _ in enumerate(order)]
    chart = (
        alt.Chart(charts.data(long))
        .transform_filter("datum.cost == held_equal")
        .mark_line(strokeWidth=theme.LINE)
        .encode(
            x=alt.X("spent:Q", title="spent so far", axis=alt.Axis(format="~s")),
            y=alt.Y("acc:Q", scale=charts.linear(rows["acc"]), title="test accuracy (%)"),
            color=alt.Color(
                "op:N",
                scale=alt.Scale(domain=ops, range=[f"@{op}" for op in ops]),
                legend=alt.Legend(title=None),
            ),
            strokeDash=alt.StrokeDash(
                "arm:N",
                sort=None,
                scale=alt.Scale(domain=order, range=dashes),
                legend=alt.Legend(title=None, symbolSize=300, labelLimit=220),
            ),
            tooltip=["arm:N", alt.Tooltip("acc:Q", format=".2f"), "epoch:Q",
                     alt.Tooltip("spent:Q", format=".3s")],
        )
        .add_params(chosen)
        .properties(width=WIDTH, height=HEIGHT)
    )  # fmt: skip
    rest = f" The first {len(order)} of {arms} arms are drawn." if len(order) < arms else ""
    return Figure(
        "costs",
        title,
        "Test accuracy (%) while structure changes, against what has been spent; mean over seeds",
        f"A line is an arm. Intervals at equal cost, with their n, are in the table below.{rest}",
        "train/history.csv",
        long,
        charts.spec(chart, "Accuracy of each arm against epochs, FLOPs or active-unit steps"),
    )


_DASHES = ((1, 0), (6, 3), (2, 2), (9, 2, 2, 2), (4, 1), (1, 3))


def _relative(comparison: Comparison) -> Table:
    """Return what each arm spent in all, beside the arm that spent most."""
    spent = {
        arm.name: read_table("train", "seeds", arm.folder)[["flops", "active_unit_steps"]].mean()
        for arm in comparison.done
    }
    most = pd.DataFrame(spent).max(axis=1)
    rows = tuple(
        (name, f"{values['flops']:.3g}", *(f"{values[key] / most[key]:.2f}" for key in most.index))
        for name, values in spent.items()
    )
    head = ("", "training FLOPs", "of the most", "active-unit steps, of the most")
    return Table("What each arm spent on training: mean over seeds.", head, rows)


def _equal(equal: list[AtEqualCost]) -> Table:
    rows = tuple(
        (
            f"{one.pair.first.name} less {one.pair.second.name}",
            *(points(one.gaps.get(cost)) for cost in COSTS),
        )
        for one in equal
    )
    head = ("at equal", *COSTS.values())
    return Table("Grow less prune at the largest cost that both have reached.", head, rows)
