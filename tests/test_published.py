"""Published numbers: read whole or refused, each in its place, each beside the right condition."""

import contextlib
import csv
import math
import shutil

import pytest
from report_tables import ROOT
from scipy import stats
from study_tables import write_study

from plasticity import catalogue, config, published, study
from plasticity.errors import DataError
from plasticity.files import PUBLISHED, published_path
from plasticity.learners import stream_runs
from plasticity.report.comparison import published as beside
from plasticity.report.parts import MISSING
from plasticity.stats import Interval, t_interval
from plasticity.study import put_all
from plasticity.tables import write_table
from plasticity.yaml12 import read_yaml

ROWS = published.read(ROOT)
TREE = read_yaml(ROOT / "params.yaml")
STUDY_OF = {
    "T3": "paper_mlp",
    "T4": "paper_cifar100",
    "T7": "paper_selection",
    "T9": "paper_allocation",
    "T10": "paper_cifar10",
    "T14": "paper_streams",
}


def row(table, name, group=""):
    (found,) = [
        one for one in ROWS if (one.table, one.name) == (table, name) and group in one.group
    ]
    return found


def raw(name):
    return list(csv.DictReader((ROOT / published_path(name)).read_text().splitlines()))


def params(**changes):
    """Return an experiment on CIFAR-10 at the paper's size with changes ('__' for '.')."""
    tree = read_yaml(ROOT / "params.yaml")
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    assert put_all(tree, {"dataset": "cifar10", "scale": "paper", "op": "grow"} | dotted) == []
    return config.resolve(tree)


# -- the tables


def test_every_number_of_the_printed_tables_is_read():
    counts = {table: sum(one.table == table for one in ROWS) for table in published.MEASURES}
    assert counts == {
        "T3": 27, "T4": 9, "T7": 8, "T9": 12, "T10": 9, "T14": 174, "other papers": 5
    }  # fmt: skip
    assert all(tuple(one.cells) == published.MEASURES[one.table] for one in ROWS)
    empty = [one.name for one in ROWS if None in one.cells.values()]
    assert empty == ["dense"] * 3


def test_numbers_stand_in_their_rows():
    assert row("T4", "grow, 20 %").cells["cycle.acc"] == Interval(52.316, 0.317, 10)
    assert row("T9", "grow, 50 %, fc1_protect").cells["ticket.taa"] == Interval(46.887, 0.210, 10)
    assert row("T10", "prune, 40 %").cells["cycle.taa"] == Interval(82.301, 0.295, 10)
    assert row("T3", "prune, 50 %", "Split-Fashion").cells["delta.acc"] == Interval(5.71, 1.54, 10)
    lost = row("T14", "grow+net2wider, 50 %", "Split-CIFAR-100").cells
    assert lost == {"taoa": Interval(16.9, 1.1, 10), "early": Interval(47.2, 2.7, 10)}
    assert row("T7", "grow, 40 %, by gradient").cells["ticket.acc"].mean == 50.89


def test_the_published_p_values_follow_from_the_half_widths():
    """Tables 5, 6, 11 and 12: so half-widths are Student's t at n = 10, and errors are right."""
    for line in raw("welch_p"):
        table = {"cifar100": "T4", "cifar10": "T10"}[line["dataset"]]
        for kind, printed in (("cycle", line["cycle_p"]), ("ticket", line["wt_p"])):
            measure = f"{kind}.{line['metric']}"
            a, b = (
                row(table, f"{op}, {line['compactness']} %").cells[measure]
                for op in ("grow", "prune")
            )
            degrees = (a.error**2 + b.error**2) ** 2 / (a.error**4 / 9 + b.error**4 / 9)
            p = 2 * stats.t.sf(abs(a.errors_from(b)), degrees)
            assert p == pytest.approx(float(printed), abs=0.01)


def test_table_7_is_widened_to_the_intervals_of_table_4():
    """Its rows by activity are those of table 4, printed with 1.96 standard errors."""
    for share in (20, 30, 40, 50):
        widened = row("T7", f"grow, {share} %, by activation").cells
        for measure, there in row("T4", f"grow, {share} %").cells.items():
            if measure in widened:
                assert widened[measure].half_width == pytest.approx(there.half_width, abs=0.0075)


def test_the_published_biases_are_those_of_the_catalogue():
    for line in raw("allocation_bias"):
        bias = tuple(float(line[f"b_{layer}"]) for layer in ("fc1", "fc2", "fc3"))
        assert catalogue.ALLOCATIONS[line["schedule"]] == bias


DAMAGE = {
    "cut": ("cifar10", lambda text: text[: len(text) // 2], "line|rows"),
    "a row less": ("streams", lambda text: text.rpartition("\nT14")[0] + "\n", "got 173 rows"),
    "empty": ("mlp", lambda _: "", "got columns \\[\\]"),
    "columns": ("cifar100", lambda text: text.replace("wt_acc,", "ticket,"), "expected .*wt_acc"),
    "no number": ("cifar10", lambda text: text.replace("83.739", "high", 1), "line 2: could not"),
    "no finite": ("cifar10", lambda text: text.replace("83.739", "nan", 1), "line 2: cycle_acc"),
    "half-width": ("cifar10", lambda text: text.replace("0.158", "-0.1", 1), "half-width below 0"),
    "a gap": ("cifar10", lambda text: text.replace("83.739", "", 1), "line 2"),
    "half a pair": ("mlp", lambda text: text.replace("-1.16", "", 1), "got one of the two"),
    "a cell more": ("mlp", lambda text: text.replace("-1.16", "-1.16,5", 1), "line 3"),
    "arm": ("streams", lambda text: text.replace("grow+rsl", "grow+xyz", 1), "arm is 'grow\\+xyz'"),
    "stream": ("streams", lambda text: text.replace("permuted_mnist", "new", 1), "stream is 'new'"),
    "table": ("cifar10", lambda text: text.replace("T10", "T11", 1), "table is 'T11'"),
    "bytes": ("rsl_settings", lambda text: text + "\udcff", "could not be read"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_table_is_refused_with_its_place(tmp_path, case):
    name, damaged, message = DAMAGE[case]
    shutil.copytree(ROOT / PUBLISHED, tmp_path / PUBLISHED)
    path = tmp_path / published_path(name)
    path.write_bytes(damaged(path.read_text()).encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message) as error:
        published.read(tmp_path)
    assert str(path) in str(error.value)
    assert "git checkout" in str(error.value)


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"mlp\.csv: is missing; run at the project's root"):
        published.read(tmp_path)


def test_standard_errors_apart_by_hand():
    """Half-widths of 1 and 2 standard errors at n = 10 and n = 3: 5 / sqrt(1 + 4)."""
    ours = Interval(55.0, 2 * 4.302652729749464, 3)
    paper = Interval(50.0, 2.2621571628540993, 10)
    assert (paper.error, ours.error) == (pytest.approx(1.0), pytest.approx(2.0))
    assert ours.errors_from(paper) == pytest.approx(5 / math.sqrt(5))
    assert paper.errors_from(ours) == pytest.approx(-5 / math.sqrt(5))
    assert ours.errors_from(Interval(50.0, None, 1)) is None
    assert Interval(1.0, 0.0, 5).errors_from(Interval(2.0, 0.0, 5)) is None


# -- which condition belongs to which row


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"compactness": 0.5}, ["grow, 50 %"]),
        ({"compactness": 0.2, "edit__continuity": "warm"}, ["grow, 20 %"]),
        ({"op": "prune", "compactness": 0.3}, ["prune, 30 %"]),
        ({"op": "prune", "edit__continuity": "rewind"}, ["prune, 50 %"]),
        ({"op": "dense", "compactness": 0.7}, ["dense"]),
        ({"op": "prune", "edit__continuity": "warm"}, []),
        ({"op": "dense", "edit__continuity": "rewind", "edit__rewind_when": "every_event"}, []),
        ({"op": "static"}, []),
        ({"compactness": 0.25}, []),
        ({"edit__cycles": 10}, []),
        ({"edit__allocation": "fc1_protect"}, []),
        ({"intervention__selection__grow": "gradient"}, []),
        ({"intervention__insertion": "net2wider"}, []),
        ({"dataset": "digits"}, []),
    ],
)
def test_a_condition_belongs_to_the_row_that_has_its_settings(own, expected):
    table = [one for one in ROWS if one.table == "T10"]
    assert [one.name for one in table if published.matches(one, params(**own))] == expected


@pytest.mark.parametrize(
    ("own", "same"),
    [
        ({}, True),
        ({"train__batch": 256}, True),  # which the paper does not state
        ({"train__epochs": 100}, False),
        ({"train__lr": 0.2}, False),
        ({"data__validation": 5000}, False),
        ({"network__widths": [512, 512, 512]}, False),
        ({"scale": "laptop"}, False),
    ],
)
def test_equal_size_is_what_the_paper_states(own, same):
    assert published.same_size(row("T10", "grow, 50 %"), params(**own)) is same


def test_a_substitute_is_never_of_equal_size():
    own = params(dataset="cifar100", continual__streams=["class_pairs"], continual__images=1200,
                 continual__batch=100, continual__tasks=500, continual__steps=120,
                 continual__edit_every=120, continual__learners=["backprop"])  # fmt: skip
    substitute = row("T14", "dense", "ImageNet")
    ((_, own),) = published.runs_of(substitute, own, list(stream_runs(own).values()))
    assert not published.same_size(substitute, own)


def settings_of(name):
    """Return the arms of a study, each with its parameters and the runs of its streams."""
    asked = study.read(ROOT / "studies" / f"{name}.yaml", ROOT / "params.yaml")
    return [(one.params, list(stream_runs(one.params).values())) for one in asked.conditions]


@pytest.mark.parametrize("table", STUDY_OF)
def test_every_published_row_has_one_condition_of_its_size_in_the_paper_study(table):
    arms = settings_of(STUDY_OF[table])
    for one in (one for one in ROWS if one.table == table and not one.unlike):
        if one.stream:
            found = [own for p, runs in arms for _, own in published.runs_of(one, p, runs)]
        else:
            found = [p for p, _ in arms if published.matches(one, p)]
        assert len(found) == 1, one.name
        assert published.same_size(one, found[0]) is not bool(one.remark), one.name
    assert {p.scale for p, _ in arms} == {"paper"}


def test_a_learner_of_a_stream_belongs_to_the_row_that_has_its_settings():
    own = params(dataset="mnist", continual__streams=["permuted_inputs"], op="grow",
                 continual__learners=["grow", "prune_rewind", "prune_warm", "grow_rewind",
                                      "backprop", "leaky", "grow_random_smooth_leaky"])  # fmt: skip
    runs = list(stream_runs(own).values())
    found = {
        one.name: [run.learner for run, _ in published.runs_of(one, own, runs)]
        for one in ROWS
        if one.group == "permuted MNIST"
    }
    assert {name: learners for name, learners in found.items() if learners} == {
        "dense": ["backprop"],
        "grow, 50 %": ["grow"],
        "prune, 50 %": ["prune_rewind"],
    }  # the activation's options are not those published for this stream


def test_of_a_sweep_only_the_published_length_counts():
    own = params(dataset="mnist", continual__streams=["permuted_inputs"],
                 continual__sweep=[150, 625, 2500], continual__edit_every="spread",
                 continual__learners=["backprop"])  # fmt: skip
    runs = list(stream_runs(own).values())
    found = published.runs_of(row("T14", "dense", "permuted"), own, runs)
    assert [run.steps for run, _ in found] == [625]


def test_another_paper_is_shown_at_its_own_size_alone():
    other = next(one for one in ROWS if one.name.startswith("leaky, permuted"))
    own = params(dataset="mnist", continual__streams=["permuted_inputs"],
                 continual__learners=["leaky"], continual__images=10000,
                 continual__tasks=500, continual__steps=625)  # fmt: skip
    assert len(published.runs_of(other, own, list(stream_runs(own).values()))) == 1
    short = own.model_copy(update={"continual": own.continual.model_copy(update={"tasks": 20})})
    assert published.runs_of(other, short, list(stream_runs(short).values())) == []


# -- the section

PAPER = {"scale": "paper", "dataset": "cifar10"}
ARMS = {
    "grow_50": {"op": "grow", "compactness": 0.5},
    "grow_50_small": {"op": "grow", "compactness": 0.5, "scale": "laptop"},
    "prune_50": {"op": "prune", "compactness": 0.5},
    "prune_20": {"op": "prune", "compactness": 0.2},
    "dense": {"op": "dense", "retrain.variants": ["physical_fresh"]},
    "grow_40": {"op": "grow", "compactness": 0.4, "scale": "laptop", "train.lr": 0.1,
                "data.train_images": "all", "data.test_images": "all",
                "train.epochs": 200, "retrain.epochs": 200},
}  # fmt: skip
"""The last has the paper's size, but all else from another scale."""


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    made = write_study(folder, ARMS, name="paper_x", settings=PAPER,
                       stages=["train", "extract", "retrain"], missing=("prune_20",),
                       diverged={"prune_50": (1,)})  # fmt: skip
    put(made, "grow_50", "cycle_acc", [83.0, 84.0, 85.0, 84.0, 83.0])
    return made


def put(comparison, arm, column, numbers):
    path = comparison.arm(arm).folders[0] / "reports/train/seeds.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    for line, number in zip(rows, numbers, strict=True):
        line[column] = repr(number)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table_of(comparison, caption):
    (found,) = [one for one in beside.section(comparison).tables if caption in one.caption]
    return found


def line_of(comparison, caption, name):
    return [line for line in table_of(comparison, caption).rows if line[0] == name]


def test_every_cell_of_a_published_table_has_a_place(paper):
    found = {(one.row.name, one.measure) for one in beside.cells(paper)}
    table = [one for one in ROWS if one.table == "T10"]
    assert found == {(one.name, measure) for one in table for measure in one.cells}
    assert [one.caption for one in beside.section(paper).tables[1:]] == ["T10, CIFAR-10."]


def test_a_condition_stands_beside_its_row_with_its_difference_in_standard_errors(paper):
    """Mean 83.8, standard error sqrt(0.7 / 5) = 0.3742; the paper's 83.802 and 0.152 / 2.262."""
    full, small = line_of(paper, "T10", "grow, 50 %")
    assert full[1:4] == ("grow_50 (paper)", "83.80 ± 0.15", "83.80 ± 1.04 (n 5, 0.0 SE)")
    assert small[1] == "grow_50_small (laptop: reduced)"
    assert line_of(paper, "T10", "grow, 40 %")[0][1] == "grow_40 (laptop)"
    cell = next(one for one in beside.cells(paper) if one.condition == "grow_50")
    error = math.hypot(0.152 / 2.2621571628540993, math.sqrt(0.7 / 5))
    assert cell.apart == pytest.approx((83.8 - 83.802) / error)


def test_what_was_not_run_says_so_and_what_was_not_measured_too(paper):
    (missing,) = line_of(paper, "T10", "prune, 20 %")
    assert missing[1] == "prune_20 (paper)"
    assert missing[3::2] == ("not run",) * 4
    (nobody,) = line_of(paper, "T10", "grow, 30 %")
    assert (nobody[1], nobody[3::2]) == (MISSING, ("not run",) * 4)
    (dense,) = line_of(paper, "T10", "dense")
    assert dense[7::2] == ("not measured",) * 2  # its ticket is not the paper's
    (prune,) = line_of(paper, "T10", "prune, 50 %")
    assert prune[1] == "prune_50 (paper), 1 diverged"


def test_only_cells_of_equal_size_can_fail_to_replicate(paper):
    judged = [one for one in beside.cells(paper) if one.equal and one.apart is not None]
    assert {one.condition for one in judged} == {"grow_50", "prune_50", "dense"}
    failures = table_of(paper, "did not replicate")
    assert {line[1] for line in failures.rows} <= {"grow_50", "prune_50", "dense"}
    shown = {(line[1], line[2]) for line in failures.rows}
    assert ("grow_50", "Cycle ACC") not in shown
    assert ("grow_50", "Ticket ACC") in shown
    far = sum(abs(one.apart) > 2 for one in judged)
    assert len(failures.rows) == far
    assert beside.section(paper).finding.startswith(
        f"Of {len(judged)} numbers at equal size, {far}"
    )
    degrees = 0.3**2 / (0.2**2 / 4 + 0.1**2 / 9)  # five seeds here, ten there
    expected = 2 * stats.t.sf(beside.APART, degrees) * len(judged)
    assert f"about {expected:.1f} would be by chance" in beside.section(paper).finding


def test_every_cell_is_kept_as_a_number(paper):
    frame = beside.frame(paper)
    assert len(frame) == len(beside.cells(paper))
    one = frame[(frame["condition"] == "grow_50") & (frame["measure"] == "cycle.acc")].iloc[0]
    assert (one["published"], one["ours"], one["n"]) == (83.802, pytest.approx(83.8), 5)
    assert set(frame.loc[frame["ours"].isna(), "why_not"]) == {"not run", "not measured"}


def test_a_study_of_another_name_shows_what_it_has_results_of(tmp_path):
    made = write_study(tmp_path / "a", {"grow_50": ARMS["grow_50"]}, settings=PAPER)
    (only,) = [one for one in beside.section(made).tables if "T10" in one.caption]
    assert len(only.rows) == 9
    none = write_study(tmp_path / "b", {"grow_50": ARMS["grow_50"]}, settings=PAPER,
                       missing=("grow_50",))  # fmt: skip
    assert beside.section(none) is None
    assert beside.frame(none).empty
    assert beside.section(write_study(tmp_path / "c", {"grow_50": {}})) is None


def test_a_paper_study_without_any_row_shows_all_tables(tmp_path):
    made = write_study(tmp_path, {"static": {"op": "static"}}, name="paper_y", settings=PAPER)
    captions = {one.caption.partition(",")[0] for one in beside.section(made).tables}
    assert captions >= {"T3", "T4", "T7", "T9", "T10", "T14"}
    assert {one.why for one in beside.cells(made)} == {"not run"}
    assert beside.section(made).finding.startswith("Nothing here is of the published size")


def test_streams_stand_beside_table_14_and_split_classes_by_the_tasks_seen(tmp_path):
    """Accuracy on the tasks seen: 80 after one task, the mean of 40 and 60 after two; so 65."""
    arms = {
        "permuted": {"continual.streams": ["permuted_inputs"], "dataset": "mnist"},
        "split": {"continual.streams": [{"rule": "split_classes", "classes": 10}]},
    }
    common = {"scale": "paper", "dataset": "cifar100", "compactness": 0.5, "continual.tasks": 8,
              "continual.steps": 500, "continual.edit_every": 500}  # fmt: skip
    common["continual.learners"] = ["grow"]
    made = write_study(tmp_path, arms, settings=common, stages=["continual"])
    where = {"stream": "split_classes-classes=10", "learner": "grow", "task_steps": 500}
    accuracies = {(0, 0): 1.0, (0, 1): 2.0, (1, 0): 80.0, (1, 1): 3.0, (2, 0): 40.0, (2, 1): 60.0}
    with contextlib.chdir(made.arm("split").folders[0]):
        write_table("continual", "matrix", [
            where | {"seed": seed, "after": after, "task": task, "acc": acc + seed}
            for seed in (0, 1) for (after, task), acc in accuracies.items()
        ])  # fmt: skip
    seeds = made.arm("split").folders[0] / "reports/continual/seeds.csv"
    seeds.write_text(seeds.read_text().replace(",1,ok,", ",1,diverged,"))
    (line,) = line_of(made, "T14, Split-CIFAR-100", "grow, 50 %")
    assert line[1] == "split (paper: its length is not published), 1 diverged"
    assert line[3].startswith("65.5 ± ")
    assert line[5] == "not measured"
    head = table_of(made, "T14, Split-CIFAR-100").head
    assert head[2] == "accuracy on seen tasks, paper"
    (line,) = line_of(made, "T14, permuted MNIST", "grow, 50 %")
    ours = t_interval([*made.values(beside.Reference("permuted", "taoa")).by_seed.values()])
    assert line[1] == "permuted (paper: other size)"
    assert line[3].startswith(f"{ours.mean:.1f} ± {ours.half_width:.1f} (n 3, ")
