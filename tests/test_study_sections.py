"""The sections of a study's page: findings agree with the tables, and undecided is no win."""

from pathlib import Path

import pandas as pd
import pytest
from study_tables import write_study

from plasticity.claims import Claim, Reference
from plasticity.report.comparison import (
    correlation,
    costs,
    failures,
    interventions,
    matrix,
    pairs,
    sections,
    slope,
    tickets,
)
from plasticity.report.comparison.gather import Comparison
from plasticity.report.comparison.values import Values
from plasticity.report.comparison.verdicts import decide
from plasticity.tables import read_table

ARMS = {
    "grow_50": {},
    "grow_20": {"compactness": 0.2},
    "prune_50": {"op": "prune"},
    "prune_50_warm": {"op": "prune", "edit.continuity": "warm", "retrain.variants": []},
    "fading": {"intervention.gate": "linear"},
    "faster": {"intervention.trainability": "two_speed"},
    "static_50": {"op": "static"},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return write_study(tmp_path_factory.mktemp("study"), ARMS)


def test_pairs_of_grow_and_prune_differ_in_nothing_else(study: Comparison) -> None:
    found = {(pair.first.name, pair.second.name) for pair in pairs.grow_and_prune(study)}
    assert found == {("grow_50", "prune_50"), ("grow_50", "prune_50_warm")}


def test_interventions_are_compared_with_the_arm_that_has_none(study: Comparison) -> None:
    found = {
        name: [arm.name for arm in others]
        for name, (_, others) in pairs.interventions(study).items()
    }
    assert found == {"grow_50": ["fading", "faster"]}


def test_a_cell_is_the_paired_difference_of_the_tables(study: Comparison) -> None:
    cells = matrix.cells(study)
    first, second = (
        read_table("train", "seeds", study.arm(name).folder).set_index("seed")["cycle_acc"]
        for name in ("grow_50", "prune_50")
    )
    cell = cells[
        cells["row"].str.contains("rewinding") & cells["measure"].str.startswith("Cycle A")
    ]
    assert cell["mean"].item() == pytest.approx((first - second).mean())
    assert cell["compactness"].item() == "0.5"
    assert set(cells["row"]) == {
        "digits, mlp: grow less prune, rewinding",
        "digits, mlp: grow less prune",
    }
    assert len(cells) == 5  # the warm prune has no tickets


@pytest.mark.parametrize(
    ("low", "high", "side"),
    [(0.1, 0.3, "grow"), (-0.3, -0.1, "prune"), (-0.1, 0.3, "undecided"), (None, None, "one seed")],
)
def test_only_an_interval_without_zero_favours_a_side(
    low: float | None, high: float | None, side: str
) -> None:
    assert matrix._side(low, high) == side


def test_undecided_cells_are_no_win() -> None:
    rows = pd.DataFrame(
        {
            "measure": ["Cycle ACC, at the end of editing"] * 3 + ["Ticket ACC, retrained"],
            "side": ["grow", "undecided", "one seed", "prune"],
        }
    )
    assert matrix.finding(rows) == "Cycle ACC: 1 grow and 2 undecided; Ticket ACC: 1 prune"


def test_an_order_turns_only_where_both_intervals_say_so(
    study: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert slope.finding(study).startswith("No grown and pruned arm changes places")
    real = pairs.difference

    def turned(comparison, first, second, measure, *arguments):
        found = real(comparison, first, second, measure, *arguments)
        if found is None or measure != "ticket.acc":
            return found
        return type(found)(-found.mean, found.half_width, found.n)

    monkeypatch.setattr(pairs, "difference", turned)
    assert slope.finding(study) == "The order turns between measures for grow_50 and prune_50"


def test_a_ticket_is_compared_with_as_many_random_units(study: Comparison) -> None:
    section = tickets.section(study)
    assert section is not None
    rows = read_table("retrain", "seeds", study.arm("grow_20").folder)
    by = rows.pivot_table(index="seed", columns="variant", values="ticket_acc")
    mean = (by["masked_fresh"] - by["random_fresh"]).mean()
    controls = {
        one.arm: one.interval for one in tickets._controls(study) if "random" in one.control
    }
    assert controls["grow_20"].mean == pytest.approx(mean)
    assert "prune_50_warm" not in controls
    assert tickets.STATIC in set(section.figures[0].data["variant"])


def test_the_finding_of_tickets_counts_only_what_is_sure() -> None:
    def control(mean: float) -> tickets.Control:
        interval = tickets.Interval(mean, 0.5, 5)
        return tickets.Control("a", "masked_fresh", "random_fresh", interval)

    text = tickets._finding([control(1.0), control(0.2), control(-1.0)])
    assert text == (
        "Of 3 tickets 1 beat random units of the same number for sure, 1 fall behind them"
    )
    assert tickets._finding([]).startswith("No arm was retrained with random units")


def test_effects_of_interventions_are_paired(study: Comparison) -> None:
    rows = interventions.effects(study)
    assert set(rows["arm"]) == {"fading", "faster"}
    assert (rows["mean"].abs() < 1e-12).all()  # the same made-up tables
    assert interventions.finding(rows).startswith("Cycle ACC: 0 raise it, 0 lower it, of 2")


def test_a_correlation_says_its_rho_its_interval_and_its_verdict() -> None:
    pairs_of, found = [], {}
    for place, name in enumerate("abcdef"):
        first = Reference(name, "newborn.grad", ("birth",))
        second = Reference(name, "cycle.taa")
        pairs_of.append((first, second))
        for one, scale in ((first, 0.1), (second, 10.0)):
            by_seed = {seed: scale * (place + 0.1 * seed) for seed in range(3)}
            found[one] = Values(by_seed, (0, 1, 2))
    decision = decide(Claim("C8", "says", "", "more", 0.0, (), tuple(pairs_of)), found)
    drawn = correlation.figure(decision, decision.correlation)
    assert drawn.title == "C8: rho 1.00 [1.00, 1.00] across 6 conditions, supported"
    assert "rho is 1.00 in the mean" in drawn.reading
    assert len(drawn.data) == 18


def test_equal_cost_is_read_between_the_epochs_of_a_seed() -> None:
    """At 15 of 10 and 20 FLOPs, half way from 50 to 60 percent."""
    history = pd.DataFrame({"flops": [10.0, 20.0], "acc": [50.0, 60.0]})
    assert costs._at(history, "flops", 15.0) == 55.0


def test_at_the_cost_of_the_cheaper_arm_the_gap_is_paired(study: Comparison) -> None:
    (one, _) = costs.at_equal_cost(study)
    histories = [
        read_table("train", "history", study.arm(name).folder) for name in ("grow_50", "prune_50")
    ]
    last = [float(part["flops"].max()) for part in histories]
    assert last[0] < last[1]
    gaps = []
    for seed in range(5):
        grown, pruned = (part[part["seed"] == seed] for part in histories)
        gaps.append(float(grown["acc"].iloc[-1]) - costs._at(pruned, "flops", last[0]))
    assert one.gaps["flops"].mean == pytest.approx(sum(gaps) / 5)
    assert one.gaps["epoch"].n == 5


def test_the_finding_of_costs_counts_only_what_is_sure() -> None:
    def at(mean: float) -> costs.AtEqualCost:
        return costs.AtEqualCost(None, {"flops": tickets.Interval(mean, 0.5, 5)})

    text = "At equal training FLOPs grow is ahead in 1 and prune in 1 of 3 pairs for sure"
    assert costs.finding([at(1.0), at(0.1), at(-2.0)]) == text


def test_what_failed_and_who_diverged_is_listed(tmp_path: Path) -> None:
    comparison = write_study(
        tmp_path,
        {"grow_50": {}, "prune_50": {"op": "prune"}},
        failed={"prune_50": "no luck"},
        diverged={"grow_50": (1, 3)},
    )
    section = failures.section(comparison)
    assert section.finding == "1 condition failed and 2 seeds diverged"
    assert section.tables[0].rows == (("prune_50", "no luck", "a line | the last line"),)
    assert [row[2] for row in section.tables[1].rows] == ["1", "3"]


def test_where_all_finished_nothing_is_told_of_failures(study: Comparison) -> None:
    assert failures.section(study) is None


def test_a_study_without_data_has_no_sections(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, {"grow_50": {}}, missing=("grow_50",))
    assert sections.every(comparison) == ()


def test_every_figure_states_n_and_that_its_data_are_there(study: Comparison) -> None:
    drawn = [figure for section in sections.every(study) for figure in section.figures]
    assert len({figure.name for figure in drawn}) == len(drawn) >= 4
    for figure in drawn:
        assert "n = " in figure.reading or " n" in figure.reading, figure.name
        assert len(figure.data), figure.name
