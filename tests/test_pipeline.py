import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from commands import python
from import_graph import ROOT, import_closure, modules

from plasticity import config, sections, tables
from plasticity.yaml12 import read_yaml

DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES = DVC["stages"]
COMPUTING = ("prepare", "train", "extract", "retrain", "continual")
BESIDE = {"compare", "doctor", "export", "study"}
"""Modules of ``stages`` that the pipeline does not run."""
STREAMS = "[permuted_inputs, random_labels, split_classes, slowly_changing_regression]"
REPORT_FOLDER = ROOT / "src" / "plasticity" / "report"
FILES_READ = {
    # what a stage reads of others' results
    "prepare": set(),
    "train": {"data/prepared"},
    "extract": {"data/prepared", "data/trained"},
    "retrain": {"data/prepared", "data/subnetworks", "reports/train/seeds.csv"},
    "continual": {"data/prepared"},
    "report": {f"reports/{stage}/{table}.csv" for stage, table in tables.SCHEMAS}
    | {f"reports/{stage}/metrics.json" for stage in COMPUTING},
}


def paths(entries):
    """Return path -> options of the outs, metrics or deps of a stage."""
    pairs = [entry if isinstance(entry, dict) else {entry: {}} for entry in entries or []]
    return {path: options for pair in pairs for path, options in pair.items()}


def outputs(stage):
    return paths(STAGES[stage].get("outs")) | paths(STAGES[stage].get("metrics"))


def code_of(stage):
    """Return the files that running a stage may load, and those that its package shows."""
    package = ROOT / "stages" / "__init__.py"
    files = import_closure(ROOT / "stages" / f"{stage}.py") | import_closure(package)
    if any(REPORT_FOLDER in file.parents for file in files):
        files |= {
            path
            for path in REPORT_FOLDER.rglob("*")
            if path.is_file()
            and path.suffix not in {".py", ".pyc"}
            and "comparison" not in path.parts  # of studies, which no stage runs
        }
    return {str(file.relative_to(ROOT)) for file in files}


# -- dvc.yaml


def test_dvc_reads_the_pipeline(tmp_path):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    result = python(tmp_path, "-m", "dvc", "stage", "list", "--name-only")
    assert result.stdout.split() == [*COMPUTING, "report"], result.stderr


def test_every_stage_is_a_module_of_its_name():
    names = {path.stem for path in (ROOT / "stages").glob("[!_]*.py")} - BESIDE
    assert {name: stage["cmd"] for name, stage in STAGES.items()} == {
        name: f"python -m stages.{name}" for name in names
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_it_runs_and_the_files_it_reads(stage):
    assert set(STAGES[stage]["deps"]) == code_of(stage) | FILES_READ[stage]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_no_dependency_twice(stage):
    assert len(STAGES[stage]["deps"]) == len(set(STAGES[stage]["deps"]))


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_reads_another_one_writes(stage):
    others = {path for other in STAGES if other != stage for path in outputs(other)}
    assert FILES_READ[stage] <= others


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_parameters_it_may_see_and_the_presets_that_fill_them(stage):
    presets = read_yaml(ROOT / "params.yaml")["presets"]
    filled = {section for sets in presets.values() for pair in sets.values() for section in pair}
    seen = config.STAGE_PARAMS[stage]
    templates = [f"presets.${{scale}}.${{dataset}}.{name}" for name in seen if name in filled]
    assert sorted(STAGES[stage]["params"]) == sorted([*seen, *templates])


@pytest.mark.parametrize(("stage", "table"), tables.SCHEMAS, ids=map("/".join, tables.SCHEMAS))
def test_a_table_is_an_output_of_its_stage_kept_by_git(stage, table):
    outs = paths(STAGES[stage]["outs"])
    assert outs.get(f"reports/{stage}/{table}.csv") == {"cache": False}


@pytest.mark.parametrize("stage", COMPUTING)
def test_the_metrics_of_a_stage_are_one_file_kept_by_git(stage):
    assert paths(STAGES[stage]["metrics"]) == {f"reports/{stage}/metrics.json": {"cache": False}}


def test_no_stage_writes_into_what_another_writes():
    written = [Path(path) for stage in STAGES for path in outputs(stage)]
    nested = [
        (str(a), str(b))
        for i, a in enumerate(written)
        for b in written[i + 1 :]
        if a == b or a in b.parents or b in a.parents
    ]
    assert nested == []


@pytest.mark.parametrize("module", modules(REPORT_FOLDER))
def test_editing_a_module_of_the_report_runs_only_the_report_again(module):
    file = str(modules(REPORT_FOLDER)[module].relative_to(ROOT))
    of_studies = module.startswith("plasticity.report.comparison")
    assert [stage for stage in STAGES if file in code_of(stage)] == ["report"] * (not of_studies)


@pytest.mark.parametrize("stage", COMPUTING)
def test_a_stage_that_computes_depends_on_no_text_of_the_report(stage):
    assert "report" not in STAGES[stage]["params"]


def test_the_plots_show_columns_that_there_are():
    plots = [plot for entry in DVC["plots"] for plot in entry.values()]
    shown = {
        (path, column)
        for plot in plots
        for path, y in plot["y"].items()
        for column in (plot["x"], y)
    }
    there = {
        (f"reports/{stage}/{table}.csv", column)
        for (stage, table), schema in tables.SCHEMAS.items()
        for column in schema
    }
    assert shown <= there


def test_the_templates_of_the_plots_are_there():
    templates = [plot["template"] for entry in DVC["plots"] for plot in entry.values()]
    assert all((ROOT / ".dvc" / "plots" / f"{name}.json").exists() for name in templates)


# -- the stages at work


def run_each(folder, stages):
    """Run stages as DVC does, a process for each."""
    for stage in stages:
        result = python(folder, "-m", f"stages.{stage}")
        assert result.returncode == 0, result.stderr


ONE_PROCESS = """
import re, runpy, sys
from pathlib import Path
for task in sys.argv[1:]:
    stage, workers = task.split(":")
    params = Path("params.yaml")
    params.write_text(re.sub(r"(?m)^  workers: \\w+", f"  workers: {workers}", params.read_text()))
    sys.argv = [stage]
    runpy.run_module(f"stages.{stage}", run_name="__main__")
"""


def run_together(folder, workers):
    """Run stages in one process, which loads torch once; each with its number of workers."""
    tasks = [f"{stage}:{number}" for stage, number in workers.items()]
    result = python(folder, "-c", ONE_PROCESS, *tasks)
    assert result.returncode == 0, result.stderr


def project(folder, op):
    """Make a copy of the project at scale tiny, with 7 seeds: a group of 5 and one of 2."""
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "params.yaml").read_text()
    for pattern, line in (
        (r"^op: \w+", f"op: {op}"),
        (r"^dataset: \w+", "dataset: digits"),
        (r"^scale: \w+", "scale: tiny"),
        (r"^  workers: \w+", "  workers: 1"),
        (r"^  streams: .*", f"  streams: {STREAMS}"),
        (r"^  learners: \[operator\]", "  learners: [operator, l2_init]"),
        (r"^  tune_rates: \[\]", "  tune_rates: [0.001, 0.01]"),
        (r"^  tune_seeds: 3", "  tune_seeds: 2"),
    ):
        text, count = re.subn(pattern, line, text, flags=re.MULTILINE)
        assert count == 1, pattern
    before, train = text.split("\ntrain:\n")
    train = re.sub(r"^  seeds:$", "  seeds: 7", train, count=1, flags=re.MULTILINE)
    (folder / "params.yaml").write_text(f"{before}\ntrain:\n{train}")
    return folder


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    folder = project(tmp_path_factory.mktemp("grown"), "grow")
    run_each(folder, STAGES)
    return folder


@pytest.fixture(scope="module")
def grown_in_parallel(tmp_path_factory):
    """At this scale there are two jobs of streams and eight of retraining."""
    folder = project(tmp_path_factory.mktemp("grown_in_parallel"), "grow")
    run_together(folder, dict.fromkeys(COMPUTING, 1) | {"retrain": 4, "continual": 2})
    return folder


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    folder = project(tmp_path_factory.mktemp("pruned"), "prune")
    run_together(folder, dict.fromkeys(COMPUTING, 1))
    return folder


@pytest.fixture(scope="module")
def pruned_again(tmp_path_factory):
    folder = project(tmp_path_factory.mktemp("pruned_again"), "prune")
    run_together(folder, dict.fromkeys(COMPUTING, 1) | {"train": 2})
    return folder


@pytest.fixture(scope="module")
def grown_from_5(tmp_path_factory):
    """Train and retrain seeds 5 and 6 alone: the second group of the seven."""
    folder = project(tmp_path_factory.mktemp("grown_from_5"), "grow")
    text = (folder / "params.yaml").read_text()
    for pattern, line in (
        (r"^  seeds: 7$", "  seeds: 2"),
        (r"^  first_seed: 0", "  first_seed: 5"),
    ):
        text, count = re.subn(pattern, line, text, flags=re.MULTILINE)
        assert count == 1, pattern
    (folder / "params.yaml").write_text(text)
    run_together(folder, dict.fromkeys(("prepare", "train", "extract", "retrain"), 1))
    return folder


@pytest.fixture(params=["grown", "pruned"])
def done(request):
    return request.getfixturevalue(request.param)


def results(folder):
    """Return the bytes of every result: all data, and the tables and metrics of all stages."""
    found = [path for path in (folder / "data").rglob("*") if path.is_file()]
    for stage in COMPUTING:
        found += (folder / "reports" / stage).glob("*.csv")
        found.append(folder / "reports" / stage / "metrics.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(found)}


def metrics(folder):
    """Return stage -> dotted name -> value, as DVC shows them."""

    def flat(tree, prefix=""):
        for key, value in tree.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    return {
        stage: dict(flat(json.loads((folder / f"reports/{stage}/metrics.json").read_text())))
        for stage in COMPUTING
    }


def all_metrics(folder):
    return {name: value for values in metrics(folder).values() for name, value in values.items()}


@pytest.mark.slow
def test_every_stage_writes_all_its_outputs(done):
    stages = STAGES if (done / "reports/report.html").exists() else COMPUTING
    missing = [path for stage in stages for path in outputs(stage) if not (done / path).exists()]
    assert missing == []


@pytest.mark.slow
def test_the_report_is_written_as_dvc_runs_it(grown):
    assert all((grown / path).exists() for path in outputs("report"))


@pytest.mark.slow
def test_stages_write_nothing_that_neither_dvc_nor_git_knows(grown):
    known = [grown / path for stage in STAGES for path in outputs(stage)]
    ignored = {"timing.json", "progress.jsonl"}
    stray = [
        str(path.relative_to(grown))
        for top in ("data", "reports")
        for path in (grown / top).rglob("*")
        if path.is_file()
        and path.name not in ignored
        and not any(out == path or out in path.parents for out in known)
    ]
    assert stray == []


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "table"), tables.SCHEMAS, ids=map("/".join, tables.SCHEMAS))
def test_a_table_that_a_stage_wrote_can_be_read(done, stage, table):
    assert len(tables.read_table(stage, table, root=done)) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "cycle.acc",
        "cycle.acc_ci",
        "cycle.taa",
        "ticket.acc",
        "ticket.acc_ci",
        "ticket.taa",
        "delta.acc",
        "stream.taoa",
    ],
)
def test_a_metric_is_a_percentage(done, name):
    assert -100 <= all_metrics(done)[name] <= 100


@pytest.mark.slow
def test_the_status_of_a_tiny_run_says_so(done):
    assert all_metrics(done)["status"] == "tiny"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["act", "grad", "birth_act", "birth_grad"])
def test_grow_has_ratios_of_newborns(grown, name):
    assert all_metrics(grown)[f"newborn.{name}"] > 0


@pytest.mark.slow
def test_prune_has_no_newborns(pruned):
    assert [name for name in all_metrics(pruned) if name.startswith("newborn")] == []


@pytest.mark.slow
def test_no_two_stages_have_a_metric_of_the_same_name(done):
    names = [name for values in metrics(done).values() for name in values]
    assert sorted(names) == sorted(set(names))


@pytest.mark.slow
def test_make_show_names_metrics_and_parameters_that_there_are(grown):
    line = re.search(r"^SHOWN := (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    names = [name.replace("\\.", ".") for name in str(line and line[1]).split("|")]
    known = {"Experiment", *sections.Params.model_fields, *all_metrics(grown)}
    assert [name for name in names if name not in known] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("once", "again"),
    [("grown", "grown_in_parallel"), ("pruned", "pruned_again")],
    ids=["grow with two and four workers", "prune with one and two workers"],
)
def test_a_second_run_gives_the_same_bytes_with_any_number_of_workers(request, once, again):
    one = results(request.getfixturevalue(once))
    other = results(request.getfixturevalue(again))
    assert sorted(one) == sorted(other)
    assert [path for path in one if one[path] != other[path]] == []


SEED_BY_SEED = [
    (stage, table)
    for stage, table in tables.SCHEMAS
    if stage in ("train", "extract", "retrain")
    and "seed" in tables.SCHEMAS[stage, table]
    and table != "lifelines"  # of the first seed alone, whichever that is
]


@pytest.mark.parametrize(("stage", "table"), SEED_BY_SEED)
def test_a_run_from_a_later_seed_on_is_that_of_these_seeds(grown, grown_from_5, stage, table):
    every = tables.read_table(stage, table, grown)
    later = tables.read_table(stage, table, grown_from_5)
    expected = every[every["seed"] >= 5].reset_index(drop=True)
    assert sorted(set(later["seed"])) == [5, 6]
    pd.testing.assert_frame_equal(later, expected, check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "stage", "workers"),
    [
        ("pruned", "train", 1),
        ("pruned_again", "train", 2),
        ("grown_in_parallel", "retrain", 4),
        ("grown_in_parallel", "continual", 2),
    ],
)
def test_a_stage_uses_the_workers_it_is_given(request, run, stage, workers):
    timing = request.getfixturevalue(run) / "reports" / stage / "timing.json"
    assert json.loads(timing.read_text())["workers"] == workers
