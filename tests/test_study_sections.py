"""The sections of a study's page: findings agree with the tables, and undecided is no win."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import pytest
from study_tables import ABOVE, ARMS, BELOW, EVIL, NEAR, put, told, with_decision, write_study

from plasticity.files import STUDY_HTML
from plasticity.report import numbers
from plasticity.report.comparison import (
    costs,
    matrix,
    page,
    pairs,
    sections,
    slope,
    tickets,
    values,
)
from plasticity.report.comparison.gather import Comparison
from plasticity.stats import t_interval
from plasticity.tables import read_table

PAIRS = [("grow_50", "prune_50"), ("grow_50", "prune_50_warm"), ("grow_20", "prune_20")]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return write_study(tmp_path_factory.mktemp("study"), ARMS)


def two(tmp_path: Path, **measures: Iterable[float]) -> Comparison:
    """Return a study of grow and prune; grow less prune is as given, by column."""
    comparison = write_study(tmp_path, {"grow_50": {}, "prune_50": {"op": "prune"}})
    for column, gaps in measures.items():
        variant = "masked_fresh" if column.startswith("ticket") else ""
        put(comparison, "prune_50", column, [90.0] * 5, variant)
        put(comparison, "grow_50", column, [90.0 + gap for gap in gaps], variant)
    return comparison


# -- which conditions are compared


def test_pairs_of_grow_and_prune_differ_in_nothing_else(study: Comparison) -> None:
    found = [(pair.grow.name, pair.prune.name) for pair in pairs.grow_and_prune(study)]
    assert found == PAIRS


def test_what_trains_a_network_otherwise_makes_no_pair(tmp_path: Path) -> None:
    arms = {
        "grow": {},
        "prune": {"op": "prune", "train.seeds": 3, "report.title": "other"},
        "fast": {"op": "prune", "train.lr": 0.2},
        "longer": {"op": "prune", "retrain.epochs": 10},
    }
    comparison = write_study(tmp_path, arms)
    assert [pair.prune.name for pair in pairs.grow_and_prune(comparison)] == ["prune"]


def test_a_ticket_is_compared_with_the_same_variant(tmp_path: Path) -> None:
    arms = {
        "grow": {"retrain.variants": ["masked_fresh", "physical_fresh"]},
        "prune": {"op": "prune", "retrain.variants": ["physical_fresh", "masked_fresh"]},
    }
    comparison = write_study(tmp_path, arms)
    put(comparison, "grow", "ticket_acc", [91.0] * 5, "masked_fresh")
    put(comparison, "prune", "ticket_acc", [90.0] * 5, "masked_fresh")
    (pair,) = pairs.grow_and_prune(comparison)
    found = pairs.differences(comparison, pair.grow, pair.prune, "ticket.acc")
    assert found == dict.fromkeys(range(5), 1.0)


def test_seeds_that_only_one_side_has_are_left_out(tmp_path: Path) -> None:
    arms = {"grow": {}, "prune": {"op": "prune", "train.seeds": 3}}
    comparison = write_study(tmp_path, arms, seeds={"grow": 5, "prune": 3})
    (pair,) = pairs.grow_and_prune(comparison)
    assert [*pairs.differences(comparison, pair.grow, pair.prune, "cycle.acc")] == [0, 1, 2]


# -- grow or prune


def test_a_cell_is_the_paired_difference_of_the_tables(study: Comparison) -> None:
    cells = matrix.frame(matrix.cells(study, pairs.grow_and_prune(study)))
    first, second = (
        read_table("train", "seeds", study.arm(name).folders[0]).set_index("seed")["cycle_acc"]
        for name in ("grow_50", "prune_50")
    )
    cell = cells[(cells["prune"] == "prune_50") & (cells["measure"] == "cycle.acc")]
    expected = t_interval((first - second).astype(float).tolist())
    found = cell[["mean", "low", "high", "n"]].iloc[0].tolist()
    assert found == pytest.approx([expected.mean, expected.low, expected.high, 5])
    assert cell["compactness"].item() == 0.5
    assert len(cells) == 8  # the warm prune has no ticket


def test_rows_say_what_tells_pairs_apart(study: Comparison, tmp_path: Path) -> None:
    assert matrix.rows(pairs.grow_and_prune(study)) == [
        "digits; grow warm, prune rewinds",
        "digits; grow warm, prune warm",
        "digits; grow warm, prune rewinds",
    ]
    arms = {
        f"{op}_{place}": {"op": op, "network.widths": widths}
        for place, widths in enumerate(([256, 256], [100, 100]))
        for op in ("grow", "prune")
    }
    comparison = write_study(tmp_path, arms)
    assert matrix.rows(pairs.grow_and_prune(comparison)) == [
        "digits; network.widths [256, 256]",
        "digits; network.widths [100, 100]",
    ]


def test_pairs_that_nothing_tells_apart_are_told_by_their_names(tmp_path: Path) -> None:
    always = {"edit.continuity": "rewind", "edit.rewind_when": "removed"}
    arms = {"grow": {}, "prune": {"op": "prune"}, "again": {"op": "prune"} | always}
    comparison = write_study(tmp_path, arms)
    assert matrix.rows(pairs.grow_and_prune(comparison)) == [
        "digits (grow less prune)",
        "digits (grow less again)",
    ]


def test_only_an_interval_without_zero_favours_a_side(tmp_path: Path) -> None:
    comparison = two(tmp_path, cycle_acc=ABOVE, cycle_taa=NEAR, ticket_acc=BELOW)
    (figure,) = matrix.section(comparison).figures
    assert figure.title == (
        "Cycle ACC, continuing differently: grow is ahead in 1 of 1 cell, prune in 0 (0 undecided)"
    )
    assert [*figure.data["favours"]] == ["grow", "undecided", "prune"]
    assert [*figure.data["mean"]] == pytest.approx([2.0, 0.0, -2.0])


def test_pairs_that_continue_alike_are_counted_apart(tmp_path: Path) -> None:
    warm = {"op": "prune", "edit.continuity": "warm"}
    comparison = write_study(tmp_path, {"grow": {}, "prune": {"op": "prune"}, "warm": warm})
    for arm, gaps in (("grow", ABOVE), ("prune", [0] * 5), ("warm", [4.0 + one for one in ABOVE])):
        put(comparison, arm, "cycle_acc", [90.0 + gap for gap in gaps])
    (figure,) = matrix.section(comparison).figures
    assert figure.title == (
        "Cycle ACC, both continuing alike: grow is ahead in 0 of 1 cell, prune in 1 (0 undecided); "
        "continuing differently: grow is ahead in 1 of 1 cell, prune in 0 (0 undecided)"
    )


def test_one_seed_is_no_win(tmp_path: Path) -> None:
    arms = {"grow_50": {}, "prune_50": {"op": "prune"}}
    comparison = write_study(tmp_path, arms, seeds=dict.fromkeys(arms, 1))
    (figure,) = matrix.section(comparison).figures
    assert set(figure.data["favours"]) == {"undecided"}
    assert "one seed" in json.dumps(figure.spec)


def test_of_many_pairs_the_first_are_drawn_and_the_page_says_so(
    study: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "MOST_ROWS", 1)
    (figure,) = matrix.section(study).figures
    rows = list(dict.fromkeys(figure.data["row"]))
    assert f"The first 1 of {len(rows)} rows are drawn." in figure.reading
    assert rows[0] in json.dumps(figure.spec)
    assert rows[-1] not in json.dumps(figure.spec)


# -- three measures


def test_an_order_turns_only_where_both_intervals_say_so(tmp_path: Path) -> None:
    turned = two(tmp_path / "a", cycle_acc=ABOVE, ticket_acc=BELOW, cycle_taa=NEAR)
    (figure,) = slope.section(turned).figures
    assert figure.title == (
        "The order is reversed between measures in 1 of 1 pair of grow and prune: grow_50 and "
        "prune_50: grow ahead in Cycle ACC, prune in Ticket ACC"
    )
    kept = two(tmp_path / "b", cycle_acc=ABOVE, ticket_acc=[-5, 4, -5, 4, -5], cycle_taa=NEAR)
    (figure,) = slope.section(kept).figures
    assert figure.title == (
        "No reversal of the order between measures is supported in 1 pair of grow and prune"
    )


def test_a_slope_has_the_means_of_the_tables(study: Comparison) -> None:
    (figure,) = slope.section(study).figures
    rows = figure.data[figure.data["condition"] == "grow_20"].set_index("measure")
    seeds = read_table("train", "seeds", study.arm("grow_20").folders[0])
    assert rows.loc["Cycle TAA", "mean"] == pytest.approx(seeds["cycle_taa"].mean())
    assert set(rows.index) == {"Cycle TAA", "Cycle ACC", "Ticket ACC"}
    without = figure.data[figure.data["condition"] == "dense"]
    assert set(without["measure"]) == {"Cycle TAA", "Cycle ACC"}


# -- tickets


def test_tickets_are_compared_with_their_controls(study: Comparison) -> None:
    section = tickets.section(study)
    rows = read_table("retrain", "seeds", study.arm("grow_20").folders[0])
    by = rows.pivot_table(index="seed", columns="variant", values="ticket_acc").astype(float)
    for other in ("random_fresh", "physical_fresh"):
        found = tickets.less(study, study.arm("grow_20"), "masked_fresh", other)
        gaps = (by["masked_fresh"] - by[other]).tolist()
        assert found.mean == pytest.approx(t_interval(gaps).mean)
    names = {row[0] for row in section.tables[0].rows}
    assert names == {"grow_50", "grow_20", "prune_50", "prune_20", "fading", "faster"}
    kinds = section.figures[0].data.groupby("condition")["network"].agg(set)
    assert kinds["static_50"] >= {"always these units, random", "masked_fresh"}
    assert kinds["dense"] == {"dense"}


def test_a_ticket_is_more_than_its_width_only_where_the_interval_says_so(tmp_path: Path) -> None:
    variants = ["masked_fresh", "masked_original", "random_fresh", "random_original"]
    arms = {"a": {}, "b": {"compactness": 0.3}, "c": {"op": "prune"}}
    comparison = write_study(
        tmp_path, {name: one | {"retrain.variants": variants} for name, one in arms.items()}
    )
    for arm, gaps in (("a", ABOVE), ("b", NEAR), ("c", BELOW)):
        for weights in ("fresh", "original"):
            put(comparison, arm, "ticket_acc", [90.0] * 5, f"random_{weights}")
            put(comparison, arm, "ticket_acc", [90.0 + gap for gap in gaps], f"masked_{weights}")
    assert tickets.section(comparison).figures[0].title == (
        "With the weights they started from, kept units are better than as many random ones in 1 "
        "of 3 tickets, worse in 1 (1 undecided)"
    )


def test_a_ticket_of_fresh_weights_is_no_more_than_its_width_whatever_the_interval(
    tmp_path: Path,
) -> None:
    variants = ["masked_fresh", "random_fresh"]
    comparison = write_study(tmp_path, {"a": {"retrain.variants": variants}})
    put(comparison, "a", "ticket_acc", [90.0] * 5, "random_fresh")
    put(comparison, "a", "ticket_acc", [90.0 + gap for gap in ABOVE], "masked_fresh")
    title = tickets.section(comparison).figures[0].title
    assert "from fresh weights, kept units and random ones differ by chance alone" in title


def test_marks_of_one_size_are_moved_apart_and_others_stay() -> None:
    table = pd.DataFrame({"parameters": [1000.0, 1000.0, 5000.0]})
    place = tickets.placed(table, (500.0, 10000.0), 600)["place"].tolist()
    assert place[0] < 1000 < place[1]
    assert place[0] * place[1] == pytest.approx(1e6)
    assert place[2] == pytest.approx(5000)


# -- all of them


def test_a_study_without_data_has_no_sections(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, {"grow_50": {}}, missing=("grow_50",))
    assert sections.every(comparison) == ()


def test_a_condition_by_itself_is_compared_with_nothing(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, {"grow_50": {"retrain.variants": []}})
    anchors = [section.anchor for section in sections.every(comparison)]
    assert anchors == ["measures", "costs", "learning"]


def test_a_damaged_table_takes_a_condition_out_and_leaves_the_page(tmp_path: Path) -> None:
    comparison = two(tmp_path, cycle_acc=ABOVE)
    for name in ("train/seeds", "train/history", "retrain/seeds"):
        path = comparison.arm("prune_50").folders[0] / f"reports/{name}.csv"
        path.write_text(path.read_text()[:-1])
    found = {section.anchor: section for section in sections.every(comparison)}
    assert "matrix" not in found
    assert set(found["costs"].figures[0].data["condition"]) == {"grow_50"}


def test_every_figure_states_n_and_is_drawn_from_rounded_data(study: Comparison) -> None:
    drawn = [
        figure
        for section in sections.every(with_decision(study, told(0.9, 0.2, 1.0)))
        for figure in section.figures
    ]
    names = ["matrix", "slope", "tickets", "costs", "interventions", "correlation_1"]
    streams = ["stream_accuracy", "stream_health"]
    assert [figure.name for figure in drawn] == names + streams
    for figure in drawn:
        assert "n = " in figure.reading, figure.name
        assert figure.spec["description"]
        assert len(figure.data), figure.name
        for rows in figure.spec["datasets"].values():
            for value in (value for row in rows for value in row.values()):
                assert not isinstance(value, float) or value == float(f"{value:.6g}")


def test_no_text_of_a_study_can_break_out_of_its_page(tmp_path: Path) -> None:
    arms = {"grow_50": {"report.title": EVIL}, "prune_50": {"op": "prune"}}
    failed = {"evil": EVIL}
    comparison = write_study(tmp_path, arms | {"evil": {"compactness": 0.3}}, failed=failed)
    page.write(with_decision(comparison, told(0.9, 0.2, 1.0)), tmp_path)
    html = (tmp_path / STUDY_HTML).read_text()
    assert EVIL not in html
    assert html.count("<script") == 4
    assert "evil failed: &lt;/script&gt;" in html


def test_lines_beyond_the_cap_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    arms = {f"grow_{place}": {"compactness": 0.2 + 0.02 * place} for place in range(26)}
    comparison = write_study(tmp_path, arms | {"prune_25": {"op": "prune", "compactness": 0.7}})
    for section in (slope.section(comparison), costs.section(comparison)):
        assert "3 of 27 conditions are not drawn" in section.figures[0].reading
    names = {row["condition"] for row in records(slope.section(comparison).figures[0].spec)}
    assert len(names) == 24
    assert {"grow_25", "prune_25"} <= names  # what is compared is drawn first


def records(spec: Mapping) -> list[Mapping]:
    return [row for rows in spec["datasets"].values() for row in rows if "condition" in row]


def test_labels_far_from_the_others_stay_in_place() -> None:
    places = numbers.spread([10.0, 10.2, 50.0], 2.0)
    assert places == pytest.approx([9.1, 11.1, 50.0])


def test_a_table_is_read_once(study: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    values.table.cache_clear()
    read = []
    real = values.read_table

    def counted(stage: str, name: str, root: Path) -> pd.DataFrame:
        read.append((stage, name, root))
        return real(stage, name, root)

    monkeypatch.setattr(values, "read_table", counted)
    sections.every(Comparison(study.study, study.arms))
    assert len(read) == len(set(read)) > len(ARMS)
