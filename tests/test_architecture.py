import ast
import re
from graphlib import TopologicalSorter

import pytest
from import_graph import ROOT, SRC, imported_files, imported_names, module_name, modules

from plasticity import catalogue, learner_catalogue
from plasticity.rules import (
    activation,
    gate,
    insertion,
    optimizer_state,
    regularizer,
    selection,
    trainability,
)

LAYERS = {
    0: (
        "plasticity",
        "plasticity.catalogue",
        "plasticity.claims",
        "plasticity.combinations",
        "plasticity.command",
        "plasticity.config",
        "plasticity.crossover",
        "plasticity.errors",
        "plasticity.escapes",
        "plasticity.files",
        "plasticity.inert",
        "plasticity.learner_catalogue",
        "plasticity.learners",
        "plasticity.leases",
        "plasticity.lifeline",
        "plasticity.machine",
        "plasticity.online",
        "plasticity.planning",
        "plasticity.processes",
        "plasticity.progress",
        "plasticity.published",
        "plasticity.ranks",
        "plasticity.remarks",
        "plasticity.rng",
        "plasticity.sections",
        "plasticity.significance",
        "plasticity.stats",
        "plasticity.study",
        "plasticity.study_plan",
        "plasticity.subset",
        "plasticity.survival",
        "plasticity.tables",
        "plasticity.yaml12",
    ),
    1: (
        "plasticity.checkpoint",
        "plasticity.data",
        "plasticity.device",
        "plasticity.diagnostics",
        "plasticity.image_folder",
        "plasticity.network",
        "plasticity.optim",
        "plasticity.precision",
        "plasticity.probe",
        "plasticity.raw",
        "plasticity.regression",
        "plasticity.schedule",
        "plasticity.state",
        "plasticity.streams",
        "plasticity.tasks",
        "plasticity.units",
        "plasticity.weights",
    ),
    2: (
        "plasticity.rules",
        "plasticity.rules.activation",
        "plasticity.rules.directions",
        "plasticity.rules.gate",
        "plasticity.rules.insertion",
        "plasticity.rules.newborns",
        "plasticity.rules.optimizer_state",
        "plasticity.rules.regularizer",
        "plasticity.rules.selection",
        "plasticity.rules.silence",
        "plasticity.rules.trainability",
        "plasticity.rules.view",
    ),
    3: (
        "plasticity.cohorts",
        "plasticity.description",
        "plasticity.edit",
        "plasticity.measures",
        "plasticity.subnetwork",
    ),
    4: (
        "plasticity.job",
        "plasticity.probing",
        "plasticity.recipe",
        "plasticity.structure",
        "plasticity.train",
        "plasticity.windows",
    ),
    5: (
        "plasticity.checkpoint_folder",
        "plasticity.export",
        "plasticity.extraction",
        "plasticity.items",
        "plasticity.launch",
        "plasticity.results",
        "plasticity.stream_results",
    ),
    6: (
        "plasticity.doctor",
        "plasticity.study_clone",
        "plasticity.study_run",
    ),
}
LAYER = {name: layer for layer, names in LAYERS.items() for name in names}
LIBRARY = modules(SRC / "plasticity")
STAGES = modules(ROOT / "stages")
REPORT = [name for name in LIBRARY if f"{name}.".startswith("plasticity.report.")]
REST = [name for name in LIBRARY if name not in REPORT]


def imported_modules(name: str) -> set[str]:
    return {module_name(path) for path in imported_files((LIBRARY | STAGES)[name])}


def test_every_module_has_exactly_one_layer():
    listed = [name for names in LAYERS.values() for name in names]
    assert sorted(listed) == sorted(REST)


@pytest.mark.parametrize("name", REST)
def test_a_module_imports_only_its_own_layer_and_those_below(name):
    above = {
        other: LAYER.get(other, "report or stages")
        for other in imported_modules(name)
        if other not in LAYER or LAYER[other] > LAYER[name]
    }
    assert above == {}, f"{name} is in layer {LAYER[name]}"


@pytest.mark.parametrize("name", REPORT)
def test_the_report_imports_only_itself_and_the_lowest_layer(name):
    allowed = {*LAYERS[0], *REPORT}
    assert imported_modules(name) <= allowed


def test_no_two_modules_import_each_other():
    order = TopologicalSorter({name: imported_modules(name) for name in LIBRARY}).static_order()
    assert set(order) == set(LIBRARY)


@pytest.mark.parametrize("name", [*LAYERS[0], *REPORT])
def test_the_lowest_layer_and_the_report_never_import_torch(name):
    tops = {imported.split(".")[0] for imported in imported_names(LIBRARY[name])}
    assert tops.isdisjoint({"torch", "torchvision", "safetensors"})


@pytest.mark.parametrize("name", [*LIBRARY, *STAGES])
def test_what_only_tests_need_is_never_imported(name):
    tops = {imported.split(".")[0] for imported in imported_names((LIBRARY | STAGES)[name])}
    assert tops.isdisjoint({"hypothesis", "pytest", "statsmodels"})


CHANGEABLE = {"plasticity.state.WorkingCopy", "plasticity.job.Progress", "plasticity.job.Run"}
"""What a run changes as it goes; all other data stay as they were made."""


def test_data_cannot_be_changed_but_where_a_run_has_to():
    changeable = {
        f"{name}.{node.name}"
        for name, path in LIBRARY.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for decorator in map(ast.unparse, node.decorator_list)
        if decorator.startswith("dataclass") and "frozen=True" not in decorator
    }
    assert changeable == CHANGEABLE


@pytest.mark.parametrize("name", [*LIBRARY, *STAGES])
def test_nothing_imports_a_module_by_a_text(name):
    called = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(ast.parse((LIBRARY | STAGES)[name].read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
    }
    assert called.isdisjoint({"import_module", "__import__", "exec", "run_module", "run_path"})


STARTS = ("subprocess.", "os.system", "os.popen", "os.exec", "os.spawn", "os.posix_spawn", "pty.")
STARTERS = {SRC / "plasticity/processes.py", ROOT / "tests/commands.py"}
"""Who may start a program: all others call these."""
PYTHON = [
    path for top in ("src", "stages", "tests", "benchmarks") for path in (ROOT / top).rglob("*.py")
]


@pytest.mark.parametrize("path", sorted({*PYTHON} - STARTERS), ids=lambda path: path.stem)
def test_programs_are_started_in_one_place(path):
    """Git and DVC would take another repository for ours where a hook names it."""
    called = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    }
    assert [name for name in called if name.startswith(STARTS)] == []
    taken = {name.rpartition(".")[2] for name in imported_names(path) if "subprocess." in name}
    assert taken <= {"Popen", "CompletedProcess"}  # types; calling one is refused below
    assert called.isdisjoint({"Popen"})


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (catalogue.GROW_SELECTION, selection.GROW),
        (catalogue.PRUNE_SELECTION, selection.PRUNE),
        (catalogue.INSERTION, insertion.TABLE),
        (catalogue.GATE, gate.TABLE),
        (catalogue.OPTIMIZER_STATE, optimizer_state.TABLE),
        (catalogue.TRAINABILITY, trainability.TABLE),
        (catalogue.ACTIVATION, activation.TABLE),
        (catalogue.REGULARIZER, regularizer.TABLE),
    ],
    ids=[
        "grow",
        "prune",
        "insertion",
        "gate",
        "optimizer_state",
        "trainability",
        "activation",
        "regularizer",
    ],
)
def test_the_catalogue_and_the_rule_table_name_the_same_rules(names, table):
    assert sorted(names) == sorted(table)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_has_at_most_sixty_lines(name):
    assert len(STAGES[name].read_text().splitlines()) <= 60


@pytest.mark.parametrize("name", [name for name in STAGES if name != "stages"])
def test_a_stage_imports_no_other_stage(name):
    others = {other for other in imported_modules(name) if other.startswith("stages")}
    assert others == set()


FAMILIES = {
    "op": catalogue.OPERATORS,
    "intervention.selection.grow": catalogue.GROW_SELECTION,
    "intervention.selection.prune": catalogue.PRUNE_SELECTION,
    "intervention.insertion": catalogue.INSERTION,
    "intervention.gate": catalogue.GATE,
    "intervention.optimizer_state": catalogue.OPTIMIZER_STATE,
    "intervention.trainability": catalogue.TRAINABILITY,
    "intervention.activation": catalogue.ACTIVATION,
    "intervention.normalisation": catalogue.NORMALISATION,
    "intervention.regularizer": catalogue.REGULARIZER,
    "edit.turnover": catalogue.TURNOVER,
    "edit.allocation": catalogue.ALLOCATIONS,
    "continual.streams": catalogue.STREAMS,
    "continual.learners": learner_catalogue.LEARNERS,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_readme_lists_every_rule(family):
    rows = re.findall(r"(?m)^\| `([\w.]+)`[^|]*\| ([^|]+) \|$", (ROOT / "README.md").read_text())
    listed = dict(rows)[family].split(", ")
    assert sorted(listed) == sorted(FAMILIES[family])
