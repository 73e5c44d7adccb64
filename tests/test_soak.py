"""The fault loops themselves: a few cases of each, and that they see a guard that is missing."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from soak import loops, project, table
from soak.ledger import Ledger, code_sum
from soak.loops import Bench, Verdict
from soak.plan import PLAN
from soak.sabotage import SABOTAGES

SAMPLE = {
    "T1": ("kill 0", "kill 2", "kill 19", "kill 31"),
    "T2": (
        "train write 9 ENOSPC for good",
        "train fsync 3 EIO once",
        "prepare create 2 ENOSPC once",
        "extract rename 4 EIO for good",
    ),
    "T4": ("checksummed 0", "checksummed 9", "other 11"),
    "T25": ("run 33", "run 51", "run 52"),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with loops.bench(project.HERE, tmp_path_factory.mktemp("soak")) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_of_a_loop_finds_nothing_wrong(bench: Bench, name: str) -> None:
    loop = loops.LOOPS[name]
    cases = {case["name"]: case for case in loop.cases(bench)}
    verdicts = [loop.run(bench, cases[one]) for one in SAMPLE[name]]
    assert [verdict.wrong for verdict in verdicts] == [""] * len(verdicts)
    assert sum(verdict.faults for verdict in verdicts) >= 1


TAKEN_OUT = (
    "a write that fails is forgotten",
    "a manifest's sums are not compared",
    "a run that continues skips a step",
)


@pytest.mark.slow
def test_every_loop_sees_a_guard_that_is_missing(tmp_path: Path) -> None:
    root = project.copy_source(tmp_path / "code", [SABOTAGES[name].change for name in TAKEN_OUT])
    with loops.bench(root, tmp_path) as sabotaged:
        for name, sample in SAMPLE.items():
            cases = {case["name"]: case for case in loops.LOOPS[name].cases(sabotaged)}
            verdicts = [loops.LOOPS[name].run(sabotaged, cases[one]) for one in sample]
            assert any(verdict.wrong for verdict in verdicts), name


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_guard_that_is_to_be_taken_out_is_there(name: str, tmp_path: Path) -> None:
    project.copy_source(tmp_path, [SABOTAGES[name].change])


def test_every_loop_has_a_guard_that_it_watches() -> None:
    assert {loop for one in SABOTAGES.values() for loop in one.caught_by} == set(loops.LOOPS)


def test_a_guard_that_is_no_longer_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=r"src/plasticity/files\.py: has 0 of the text"):
        project.copy_source(tmp_path, [("src/plasticity/files.py", "no such text", "")])


def test_a_stopped_soak_continues_and_other_code_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, case = tmp_path / "ledger.jsonl", {"loop": "T1", "name": "kill 0"}
    Ledger(path).add("product", case, Verdict("killed"), 1.0)
    with path.open("a") as file:
        file.write('{"source": "prod')  # killed while it wrote
    again = Ledger(path)
    assert again.has("product", case)
    again.add("product", case | {"name": "kill 1"}, Verdict("killed", wrong="bytes"), 1.0)
    assert [row.wrong for row in Ledger(path).rows] == ["", "bytes"]
    assert json.loads(path.read_text().splitlines()[0]) == {"code": code_sum()}
    monkeypatch.setattr("soak.ledger.code_sum", lambda: "other")
    assert not Ledger(path).has("product", case)


def test_the_table_counts_what_is_wrong_and_says_what_was_not_run(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.add("product", {"loop": "T1", "name": "kill 0"}, Verdict("killed"), 1.0)
    ledger.add("product", {"loop": "T1", "name": "kill 1"}, Verdict("killed", 1, "bytes"), 1.0)
    table.write(ledger, tmp_path / "table.md")
    text = (tmp_path / "table.md").read_text()
    assert "| 2 | 2 | 1 killed | 1 |" in text
    assert "- kill 1: bytes" in text
    assert "| 0 | 0 | not run | - |" in text


def test_the_tests_that_the_plan_names_are_there() -> None:
    there = {
        f"{path.name}::{node.name}"
        for path in Path(__file__).parent.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert [test for item in PLAN.values() for test in item.tests if test not in there] == []
    assert list(PLAN) == [f"T{number}" for number in range(1, 26)]
