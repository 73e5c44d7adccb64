"""A study's page: what accuracy costs, what interventions do, correlations, and what failed."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from study_tables import ABOVE, ARMS, BELOW, NEAR, put, told, with_decision, write_study

from plasticity.report.comparison import (
    correlation,
    costs,
    curves,
    failures,
    interventions,
    trajectory,
)
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
    curve = trajectory.Trajectory(rows)
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


CHEAP = {"epoch": [1, 2, 3, 4], "flops": [10.0, 20.0, 30.0, 40.0], "acc": [20.0, 30.0, 40.0, 60.0]}
DEAR = {"epoch": [1, 2, 3, 4], "flops": [16.0, 32.0, 48.0, 64.0], "acc": [30.0, 50.0, 70.0, 90.0]}


def of_two_cycles(numbers: dict[str, list], seed: int = 0) -> trajectory.Trajectory:
    ends = [False, True, False, True]
    return trajectory.Trajectory(pd.DataFrame(numbers | {"seed": seed, "cycle_end": ends}))


def test_means_over_cycle_ends_at_equal_flops_are_over_those_of_the_cheaper() -> None:
    """The cheaper ends cycles at 20 and 40 FLOPs. The dearer has 30 + 4/16 20 = 35 percent at 20
    and 50 + 8/16 20 = 60 at 40; that it reaches 90 at 64 does not count."""
    cheap, dear = of_two_cycles(CHEAP), of_two_cycles(DEAR)
    for every in ((cheap, dear), (dear, cheap)):
        assert trajectory.at_equal_flops(dear, every, "equal_flops.taa") == {0: (35 + 60) / 2}
        assert trajectory.at_equal_flops(cheap, every, "equal_flops.taa") == {0: (30 + 60) / 2}
        assert trajectory.at_equal_flops(dear, every, "equal_flops.acc") == {0: 60.0}
        assert trajectory.at_equal_flops(cheap, every, "equal_flops.acc") == {0: 60.0}


def test_a_cycle_end_at_which_a_seed_has_no_epoch_yet_counts_for_nobody() -> None:
    """At 20 FLOPs the late seed, whose first epoch costs 21, has no accuracy; at 40 all have."""
    late = of_two_cycles(DEAR | {"flops": [21.0, 32.0, 48.0, 64.0]}, seed=1)
    cheap, early = of_two_cycles(CHEAP), of_two_cycles(DEAR)
    dear = trajectory.Trajectory(pd.concat([early.rows, late.rows]))
    for measure in ("equal_flops.taa", "equal_flops.acc"):
        assert trajectory.at_equal_flops(dear, (cheap, dear), measure) == {0: 60.0, 1: 60.0}
        assert trajectory.at_equal_flops(cheap, (cheap, dear), measure) == {0: 60.0}
    never = of_two_cycles(DEAR | {"flops": [41.0, 52.0, 68.0, 84.0]})
    assert trajectory.at_equal_flops(cheap, (cheap, never), "equal_flops.taa") == {}


def test_the_cheapest_of_a_contrast_keeps_its_means_and_the_others_are_cut(
    tmp_path: Path,
) -> None:
    """Pruned to half, a network is cheaper than the dense one, and cut earlier beside grow."""
    names = ("grow_50", "prune_50", "dense")
    pair = {"says": "x", "expects": "more"}
    claims = {
        "taa": pair | {"metric": "equal_flops.taa", "contrasts": [["prune_50", "dense"]]},
        "acc": pair
        | {"metric": "equal_flops.acc", "contrasts": [["prune_50", "dense"], ["grow_50", "dense"]]},
    }
    arms = {name: ARMS[name] for name in names}
    made = write_study(tmp_path, arms, claims, diverged={"prune_50": (1,)})
    seeds = {name: read_table("train", "seeds", made.arm(name).folders[0]) for name in names}
    (means,), (end, grown) = (decision.contrasts for decision in made.decisions)
    for one, name, column in ((means, "prune_50", "cycle_taa"), (end, "prune_50", "cycle_acc"),
                              (grown, "grow_50", "cycle_acc")):  # fmt: skip
        whole = seeds[name].set_index("seed")[column].astype(float)
        if name == "prune_50":
            whole[1] = 10.0  # diverged: chance
            assert "prune_50: seed 1 diverged, counted as chance" in one.notes
        assert one.seeds == (0, 1, 2, 3, 4)
        assert one.first == pytest.approx(tuple(whole))
    dense = seeds["dense"]["cycle_taa"].astype(float)
    assert all(cut < full for cut, full in zip(means.second, dense, strict=True))
    assert all(cut < later for cut, later in zip(grown.second, end.second, strict=True))


def test_an_arm_without_tables_leaves_a_contrast_at_equal_flops_open(tmp_path: Path) -> None:
    claims = {"a": {"says": "x", "expects": "more", "metric": "equal_flops.acc",
                    "contrasts": [["grow_50", "dense"]]}}  # fmt: skip
    arms = {name: ARMS[name] for name in ("grow_50", "dense")}
    made = write_study(tmp_path, arms, claims, missing=("dense",))
    (decision,) = made.decisions
    assert decision.verdict == "not run"
    assert decision.contrasts[0].notes == ("dense was not run",)


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
