"""A study's page: what accuracy costs, what interventions do, correlations, and what failed."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from study_tables import ABOVE, ARMS, BELOW, NEAR, put, told, with_decision, write_study

from plasticity.report.comparison import correlation, costs, curves, failures, interventions
from plasticity.report.comparison.gather import Comparison
from plasticity.stats import t_interval
from plasticity.tables import read_table


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return write_study(tmp_path_factory.mktemp("study"), ARMS)


# -- costs


def test_equal_cost_is_read_between_the_epochs_of_a_seed() -> None:
    """At 15 of 10 and 20 FLOPs, half way from 50 to 60 percent; before 10 nothing was measured."""
    rows = pd.DataFrame(
        {"seed": [0, 0, 1, 1], "epoch": [1, 2, 1, 2], "acc": [50.0, 60.0, 40.0, 44.0],
         "flops": [10.0, 20.0, 16.0, 20.0], "steps": 1.0}
    )  # fmt: skip
    curve = curves.Curve(None, rows)
    assert curve.at(15.0) == {0: 55.0}
    assert curve.at(18.0) == {0: 58.0, 1: 42.0}
    assert curve.at(20.0) == {0: 60.0, 1: 44.0}


def test_at_the_cost_of_the_cheapest_arm_the_gap_is_paired(study: Comparison) -> None:
    (group,) = curves.groups(study)
    ends = {
        arm.name: float(read_table("train", "history", arm.folders[0])["flops"].max())
        for arm in study.done
    }
    assert group.flops == min(ends.values())
    assert group.dense.arm.name == "dense"
    at = {pair.text: (flops, found) for pair, flops, found in costs.at_equal_flops(study, (group,))}
    flops, found = at["grow_50 less prune_50"]
    history = read_table("train", "history", study.arm("prune_50").folders[0])
    grown = read_table("train", "seeds", study.arm("grow_50").folders[0])["cycle_acc"]
    assert flops == ends["grow_50"] < ends["prune_50"]
    gaps = []
    for seed in range(5):
        part = history[history["seed"] == seed]
        before = part[part["flops"] <= flops].iloc[-1]
        after = part[part["flops"] > flops].iloc[0]
        share = (flops - before["flops"]) / (after["flops"] - before["flops"])
        gaps.append(grown[seed] - (before["acc"] + share * (after["acc"] - before["acc"])))
    assert found.mean == pytest.approx(sum(gaps) / 5)


def test_a_third_condition_changes_no_pair_at_equal_cost(study: Comparison) -> None:
    (group,) = curves.groups(study)
    before = costs.at_equal_flops(study, (group,))
    dense = group.curves[[one.arm.name for one in group.curves].index("dense")]
    cheap = replace(dense, rows=dense.rows.assign(flops=dense.rows["flops"] / 1000))
    more = curves._group([*(one for one in group.curves if one is not dense), cheap])
    assert more.flops < min(flops for _, flops, _ in before)
    assert costs.at_equal_flops(study, (more,)) == before


def test_costs_are_shares_of_the_dense_network(study: Comparison) -> None:
    table = costs.section(study).tables[0]
    shares = {row[0]: row[2:4] for row in table.rows}
    seeds = {
        name: read_table("train", "seeds", study.arm(name).folders[0])["active_unit_steps"].mean()
        for name in ("grow_50", "dense")
    }
    assert shares["dense"] == ("100.0 %", "100.0 %")
    assert shares["grow_50"][1] == f"{100 * seeds['grow_50'] / seeds['dense']:.1f} %"


def test_a_seed_that_diverged_is_at_chance_from_then_on(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, {"grow": {}}, diverged={"grow": (1,)})
    rows = curves.read(comparison.arm("grow")).rows.set_index(["seed", "epoch"])
    assert rows.loc[(1, 7), "acc"] > 50
    assert rows.loc[(1, 8), "acc"] == 10.0
    assert rows.loc[(1, 20), "flops"] == rows.loc[(0, 20), "flops"]


def test_what_a_seed_that_diverged_is_tested_at_afterwards_does_not_count(tmp_path: Path) -> None:
    """Its frozen network is tested to the end: step 318 is the fourth of epoch 8."""
    comparison = write_study(tmp_path, {"grow": {}}, diverged={"grow": (1,)})
    path = comparison.arm("grow").folders[0] / "reports/train/history.csv"
    history = pd.read_csv(path)
    tested = history[history["seed"] == 0].assign(seed=1, acc=88.0)
    other = history[history["seed"] != 1]
    pd.concat([other, tested], ignore_index=True).to_csv(path, index=False)
    rows = curves.read(comparison.arm("grow")).rows.set_index(["seed", "epoch"])
    assert [rows.loc[(1, epoch), "acc"] for epoch in (7, 8, 20)] == [88.0, 10.0, 10.0]


def test_the_finding_of_costs_counts_only_what_is_sure() -> None:
    found = [(None, 1.0, t_interval(gaps)) for gaps in (ABOVE, NEAR, BELOW, BELOW)]
    assert costs.title(found) == (
        "When the cheaper of two has spent all its FLOPs and the other, still in training, as "
        "many, grow is ahead in 1 of 4 pairs, prune in 2 (1 undecided)"
    )


# -- interventions


def test_interventions_are_compared_with_the_arm_that_has_none(tmp_path: Path) -> None:
    arms = {name: ARMS[name] for name in ("fading", "grow_50", "faster", "prune_50")}
    comparison = write_study(tmp_path, arms)
    for arm, gaps in (("grow_50", [0] * 5), ("fading", NEAR), ("faster", ABOVE)):
        put(comparison, arm, "cycle_acc", [90.0 + gap for gap in gaps])
        put(comparison, arm, "cycle_taa", [90.0 - gap for gap in gaps])
    (group,) = interventions.groups(comparison)
    assert group.reference.name == "grow_50"
    assert [one.arm.name for one in group.effects] == ["faster", "fading"]
    section = interventions.section(comparison)
    assert section.figures[0].title == (
        "Of 2 interventions on grow_50: Cycle ACC is raised by 1 and lowered by 0, Cycle TAA is "
        "raised by 0 and lowered by 1, Ticket ACC is raised by 0 and lowered by 0"
    )
    rows = {row[0]: row for row in section.tables[0].rows}
    assert rows["faster"][1] == "+2.0 points [+1.8, +2.2]"
    assert rows["fading"][1].endswith(" n.s.")
    assert [rows[name][-1] for name in ("faster", "fading")] == [
        "trainability two_speed steps 316",
        "gate linear",
    ]


def test_without_a_plain_arm_there_is_no_reference(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, {name: ARMS[name] for name in ("fading", "faster")})
    assert interventions.section(comparison) is None


# -- correlations


@pytest.mark.parametrize(
    ("rho", "low", "high", "begins"),
    [
        (0.9, 0.2, 1.0, "Cycle TAA rises with newborn / incumbent gradient"),
        (-0.9, -1.0, -0.2, "Cycle TAA falls with newborn / incumbent gradient"),
        (0.9, -0.1, 1.0, "No order of Cycle TAA by newborn / incumbent gradient is supported"),
        (0.9, None, None, "newborn / incumbent gradient and Cycle TAA: rho 0.90, permutation"),
        (None, None, None, "No rank correlation"),
    ],
)
def test_a_correlation_has_a_direction_only_where_its_interval_has(
    rho: float | None, low: float | None, high: float | None, begins: str
) -> None:
    assert correlation.title(told(rho, low, high)).startswith(begins)


def test_a_direction_needs_its_p_too_and_the_title_shows_it() -> None:
    assert correlation.title(told(0.9, 0.2, 1.0, 0.083)) == (
        "No order of Cycle TAA by newborn / incumbent gradient is supported (../C8): "
        "rho 0.90 [0.20, 1.00], permutation p = 0.083"
    )


def test_a_seed_with_one_of_the_two_measures_counts_in_that_mean(study: Comparison) -> None:
    decision = told(0.9, 0.2, 1.0)
    found = decision.correlation
    lost = ("grow_50", 2, math.nan, 10.0)
    note = "grow_50 newborn.grad: seed 2 diverged, left out"
    decision = replace(
        decision, correlation=replace(found, points=(*found.points, lost), notes=(note,))
    )
    mean = correlation.means(decision.correlation).set_index("condition")
    assert mean.loc["grow_50", "x"] == pytest.approx(2.718281828)
    assert mean.loc["grow_50", "y"] == pytest.approx((80 + 82 + 10) / 3)
    (figure,) = correlation.section(with_decision(study, decision)).figures
    assert note in figure.reading
    assert "NaN" not in json.dumps(figure.spec)


def test_conditions_are_drawn_at_their_geometric_mean_ratio(study: Comparison) -> None:
    decision = told(0.9, 0.2, 1.0)
    mean = correlation.means(decision.correlation).set_index("condition")
    assert mean.loc["grow_50", "x"] == pytest.approx(2.718281828)
    assert mean.loc["grow_50", "y"] == 81.0
    (figure,) = correlation.section(with_decision(study, decision)).figures
    assert figure.name == "correlation_1"  # the name of a claim is no name for a file
    assert figure.data["x"].tolist() == pytest.approx([1.0, 7.389056, 0.367879], rel=1e-5)


# -- failures


def test_what_failed_and_who_diverged_is_listed(tmp_path: Path) -> None:
    arms = {"grow_50": {}, "prune_50": {"op": "prune"}}
    failed, diverged = {"prune_50": "no luck"}, {"grow_50": (1, 3)}
    comparison = write_study(tmp_path, arms, failed=failed, diverged=diverged)
    section = failures.section(comparison)
    assert section.finding == "1 condition failed; 2 runs of a seed diverged"
    log, seeds = section.tables
    assert log.caption == "prune_50 failed: no luck. The last lines of its log:"
    assert [row[1] for row in log.rows] == ["a line", "the last line"]
    assert seeds.rows == (("grow_50", "train", "1", "318"), ("grow_50", "train", "3", "318"))


def test_a_condition_that_finished_at_a_second_try_still_shows_its_first(study: Comparison) -> None:
    arms = [
        replace(arm, parts=(replace(part, record=part.record | {"earlier_errors": ["no luck"]}),))
        if arm.name == "grow_50"
        else arm
        for arm in study.arms
        for part in arm.parts
    ]
    section = failures.section(replace(study, arms=tuple(arms)))
    assert section.finding == "1 tried again"
    assert section.tables[0].rows == (("grow_50", "done", "no luck"),)


def test_where_all_finished_nothing_is_told_of_failures(study: Comparison) -> None:
    assert failures.section(study) is None
