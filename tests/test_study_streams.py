"""Who goes on learning: every learner of every arm under one name, and the tables' own numbers."""

import csv
import json

import pandas as pd
import pytest
from study_tables import write_study

from plasticity.claims import Reference
from plasticity.report import lines, numbers
from plasticity.report.comparison import replicates, stream_tables
from plasticity.report.comparison.replicates import read
from plasticity.report.comparison.stream_tables import changing, finding
from plasticity.report.parts import percent
from plasticity.tables import read_table

STREAM = {"continual.streams": ["permuted_inputs"]}
GROW = {**STREAM, "continual.learners": ["grow", "backprop"]}
PLAIN = {**STREAM, "continual.learners": ["backprop"]}


def names_of(tmp_path, arms):
    return {*replicates.read(write_study(tmp_path, arms))["name"]}


def test_a_learner_bears_its_arms_name_where_several_arms_have_it(tmp_path):
    assert names_of(tmp_path, {"a": GROW, "b": {**PLAIN, "compactness": 0.2}}) == {
        "grow", "a backprop", "b backprop",
    }  # fmt: skip


def test_the_operator_is_each_arms_own(tmp_path):
    own = {**STREAM, "continual.learners": ["operator"]}
    assert names_of(tmp_path, {"a": own}) == {"a operator"}


def at(steps, tasks, **more):
    return {**PLAIN, "continual.sweep": [steps], "continual.tasks": tasks,
            "continual.steps": steps, "continual.edit_every": steps} | more  # fmt: skip


def test_arms_that_differ_in_the_length_of_tasks_alone_have_one_learner(tmp_path):
    seeds = replicates.read(write_study(tmp_path, {"a": at(100, 50), "b": at(500, 10)}))
    assert {*seeds["name"]} == {"backprop"}
    assert {*seeds["updates"]} == {5000}


def test_arms_that_differ_in_more_are_two_learners(tmp_path):
    arms = {"a": at(100, 50), "b": at(500, 10, **{"continual.lr": 0.01})}
    assert names_of(tmp_path, arms) == {"a backprop", "b backprop"}


def test_streams_of_other_images_or_updates_are_not_side_by_side(tmp_path):
    arms = {"a": at(100, 10), "b": at(100, 20), "c": at(100, 10, **{"continual.images": 400})}
    seeds = replicates.read(write_study(tmp_path, arms))
    assert seeds.groupby(replicates.PLACE).ngroups == 3
    assert {*seeds["name"]} == {"backprop"}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    arms = {
        "a": {**GROW, "continual.streams": ["permuted_inputs", "slowly_changing_regression"]},
        "b": {**PLAIN, "compactness": 0.2},
    }
    return write_study(tmp_path_factory.mktemp("two"), arms)


def test_a_cell_is_the_interval_over_the_seeds_of_the_arm(two):
    graded = next(t for t in stream_tables.section(two).tables if t.head[1] == "mean")
    rows = read_table("continual", "seeds", two.arm("b").folders[0])
    cells = {row[0]: row for row in graded.rows}
    assert cells["b backprop"][1] == percent(numbers.interval(rows["taoa"]))
    assert cells["b backprop"][-1] == "3 of 3"
    assert graded.head == (
        "learner", "mean", "first task", "last task", "first less last", "early",
        "seeds finished",
    )  # fmt: skip


def test_a_regression_shows_its_error_instead(two):
    section = stream_tables.section(two)
    table = next(t for t in section.tables if "regression" in t.caption)
    assert table.head == ("learner", "loss", "seeds finished")
    assert [row[0] for row in table.rows] == ["backprop", "grow"]
    assert "images" not in table.caption
    drawn = section.figures[0].data
    assert set(drawn[drawn["stream"] == "slowly_changing_regression"]["mean"]) == {0.5}


def test_both_figures_have_every_learner_and_task_of_every_stream(two):
    accuracy, health = stream_tables.section(two).figures
    assert len(accuracy.data) == 8 * (3 + 2)
    assert len(health.data) == 3 * len(accuracy.data)
    assert set(health.data["measure"]) == set(lines.HEALTH)
    assert accuracy.data["task"].max() == 8


def test_every_panel_has_the_colours_of_its_own_learners(two):
    """A grid shares scales unless told not to: then a panel has the colours of the first one."""
    for figure in stream_tables.section(two).figures:
        assert figure.spec["resolve"]["scale"] == {
            "color": "independent", "strokeDash": "independent",
        }  # fmt: skip


def rewrite(comparison, arm, stage, change):
    """Write what ``change`` makes of each row of a kept table of seeds in place of it."""
    path = comparison.arm(arm).folders[0] / f"reports/{stage}/seeds.csv"
    rows = [change(row) for row in csv.DictReader(path.read_text().splitlines())]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


BOTH = {"continual.streams": ["permuted_inputs", "slowly_changing_regression"],
        "continual.learners": ["backprop"]}  # fmt: skip


def diverged(**numbers):
    """Return a change that makes a row of seed 1 diverge, with these numbers where it has some."""

    def change(row):
        if row["seed"] != "1":
            return row
        own = {"status": "diverged", "diverged_step": "30"}
        return row | own | {key: value for key, value in numbers.items() if row[key]}

    return change


def test_a_seed_that_diverged_counts_in_accuracies_and_in_no_error(tmp_path):
    """Wrong in every step from then on, its accuracy is low; its network's health is no one's."""
    made = write_study(tmp_path, {"a": BOTH})
    rewrite(made, "a", "continual", diverged(taoa="31.5", first_task="80.0", loss=""))
    section = stream_tables.section(made)
    tables = {t.head[1]: t for t in section.tables}
    (row,) = tables["mean"].rows
    seeds = read_table("continual", "seeds", made.arm("a").folders[0])
    known = seeds[seeds["stream"] == "permuted_inputs"]["taoa"]
    assert row[1] == percent(numbers.interval(known)) != percent(numbers.interval(known[[0, 2]]))
    assert [t.rows[0][-1] for t in tables.values()] == ["2 of 3", "2 of 3"]
    assert "Runs of a seed that diverged: 1 counted as wrong" in tables["mean"].caption
    assert "Runs of a seed that diverged: 1 left out" in tables["loss"].caption
    accuracy, health = section.figures
    counts = accuracy.data.groupby("stream")["n"].unique().map(list).to_dict()
    assert counts == {"permuted_inputs": [3], "slowly_changing_regression": [2]}
    assert "1 counted as wrong in every step from then on; 1 left out" in accuracy.reading
    assert {*health.data["n"]} == {2}
    assert "not corrected for their number" in accuracy.reading
    assert "diverged are left out" in health.reading


def test_the_same_learner_of_two_arms_has_one_hue_and_two_dashes(two):
    seeds = replicates.read(two)
    looks = replicates.looks(seeds[seeds["stream"] == "permuted_inputs"])
    first, second = looks["a backprop"], looks["b backprop"]
    assert first.color == second.color == "@dense"
    assert first.dash != second.dash
    assert second.label == "b backprop"


def test_a_large_study_stays_small_on_the_page(tmp_path):
    learners = ["backprop", "grow", "prune_warm", "static", "leaky", "l2", "l2_init", "redo",
                "grow_rewind", "prune_rewind"]  # fmt: skip
    streams = ["permuted_inputs", "random_labels", "shuffled_labels"]
    arm = {"continual.streams": streams, "continual.learners": learners,
           "continual.sweep": [100, 1000]}  # fmt: skip
    arms = {"a": arm, "b": {**arm, "continual.images": 400}, "c": {**arm, "continual.images": 300}}
    study = write_study(tmp_path, arms, seeds=dict.fromkeys(arms, 1))
    section = stream_tables.section(study)
    accuracy = section.figures[0]
    panels = accuracy.data.groupby([*replicates.PLACE, "task_steps"])
    assert panels.ngroups == stream_tables.MOST_PANELS
    assert panels["learner"].nunique().max() == lines.MOST_LINES
    assert set(accuracy.data["task_steps"]) == {100}
    assert len(section.tables) == 18
    assert "12 more streams or lengths" in accuracy.reading
    assert "2 learners of a panel" in accuracy.reading
    assert sum(len(json.dumps(figure.spec)) for figure in section.figures) < 1_000_000


def test_without_streams_there_is_no_section(tmp_path):
    assert stream_tables.section(write_study(tmp_path, {"a": {"continual.streams": []}})) is None
    other = write_study(tmp_path / "less", {"a": {}}, stages=["train"])
    assert stream_tables.section(other) is None


def losses(stream="permuted_inputs", tasks=500, **by_learner):
    return pd.DataFrame(
        [
            {"stream": stream, "tasks": tasks, "task_steps": 625, "learner": learner,
             "own_arm": "", "name": learner, "seed": seed, "plasticity_loss": loss}
            for learner, values in by_learner.items()
            for seed, loss in enumerate(values)
        ]
    )  # fmt: skip


FADES, STAYS = (9.0, 10.0, 11.0), (-1.0, 0.2, 1.0)


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([losses(backprop=FADES, leaky=STAYS)],
         "By its 95 % interval plasticity is lost by backprop in permuted inputs"),
        ([losses(backprop=STAYS)], "No learner loses plasticity by its 95 % interval"),
        ([losses(backprop=FADES, leaky=FADES), losses("random_labels", leaky=STAYS)],
         "By its 95 % interval plasticity is lost by all 2 in permuted inputs; by none in 1 more"),
        ([losses(backprop=FADES), losses(tasks=20, leaky=FADES)],
         "By its 95 % interval plasticity is lost by backprop in permuted inputs (500 tasks of 625 "
         "steps); by leaky in permuted inputs (20 tasks of 625 steps)"),
        ([losses(backprop=(None, None))], "Squared error by task"),
    ],
)  # fmt: skip
def test_the_title_names_those_whose_interval_excludes_no_loss(places, expected):
    assert finding(places) == expected


def test_a_network_of_another_size_is_not_said_to_have_lost_plasticity():
    places = [losses(operator=FADES, static=FADES)]
    assert finding(places, {"operator"}) == (
        "By its 95 % interval plasticity is lost by static in permuted inputs. Less accurate at "
        "the end, with another number of units: operator in permuted inputs"
    )
    assert finding([losses(operator=FADES)], {"operator"}).startswith("No learner of constant size")


def test_learners_whose_units_change_are_known_by_their_tables(tmp_path):
    made = write_study(tmp_path, {"a": {"op": "prune"}})
    path = made.arm("a").folders[0] / "reports/continual/health.csv"
    rows = pd.read_csv(path)
    rows.loc[rows["task"] == rows["task"].max(), "units"] += 1
    path.write_text(rows.to_csv(index=False, lineterminator="\n"))
    assert changing(made, read(made)) == {*read(made)["name"]}
    same = write_study(tmp_path / "same", {"a": {"op": "static"}})
    flat = pd.read_csv(path).assign(units=4)
    (same.arm("a").folders[0] / "reports/continual/health.csv").write_text(
        flat.to_csv(index=False, lineterminator="\n")
    )
    assert changing(same, read(same)) == set()


def test_of_a_stream_a_diverged_seed_counts_as_its_table_says(tmp_path):
    """Its steps from then on are wrong already; a squared error that is not finite is no number."""
    made = write_study(tmp_path, {"a": BOTH})
    rewrite(made, "a", "continual", diverged(taoa="31.5", early_acc=""))
    found = made.values(Reference("a", "taoa"))
    assert (found.by_seed[1], found.diverged) == (31.5, (1,))
    assert found.counted_as == "wrong from then on"
    assert made.values(Reference("a", "early")).by_seed[1] == 10.0  # chance of ten classes
    assert {*made.values(Reference("a", "taoa", ("slowly_changing_regression",))).by_seed} == set()
    assert {*made.values(Reference("a", "loss", ("slowly_changing_regression",))).by_seed} == {0, 2}
