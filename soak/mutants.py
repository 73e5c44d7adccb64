"""Draw mutants of the modules that count most, and see whether the tests notice them.

The mutants are those of cosmic-ray (``pip install cosmic-ray``), which no other part needs. Of
every place in a module at most one is drawn; places in annotations are left out, for changing them
only breaks the import.
"""

import argparse
import ast
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from soak.table import MUTANTS
from soak.warm import HERE

SEED, EACH = 20261201, 25
TESTS = {
    "edit": (
        "test_edit.py",
        "test_golden.py",
        "test_turnover.py",
        "test_train.py::test_training_with_an_edit_equals_a_plain_loop_per_seed",
        "test_streams.py::test_head_reset_starts_only_the_classifier_again",
        "test_architecture.py::test_data_cannot_be_changed_but_where_a_run_has_to",
    ),
    "optim": (
        "test_golden.py",
        "test_train.py::test_adam_with_one_count_equals_torch_adam",
        "test_train.py::test_gains_multiply_each_weight_by_its_owners_factor",
        "test_train.py::test_a_diverging_seed_is_marked_and_leaves_the_others_as_they_were",
        "test_train.py::test_weights_of_one_age_take_the_quick_way_and_others_do_not",
        "test_rules_learning.py",
        "test_train.py::test_training_with_an_edit_equals_a_plain_loop_per_seed",
    ),
    "checkpoint": (
        "test_train.py::test_a_damaged_checkpoint_falls_back_to_the_one_before",
        "test_train.py::test_what_a_run_wrote_down_may_be_long",
        "test_train.py::test_a_checkpoint_whose_name_fits_but_not_its_content_is_passed_over_in_one_line",
        "test_train.py::test_a_checkpoint_that_cannot_be_read_is_passed_over",
        "test_train.py::test_a_checkpoint_of_another_run_is_passed_over_and_pushes_out_none",
        "test_train.py::test_an_interrupted_run_continues_to_the_same_bytes",
        "test_checkpoint_folder.py",
        "test_architecture.py::test_data_cannot_be_changed_but_where_a_run_has_to",
        "test_soak.py::test_a_sample_of_a_loop_finds_nothing_wrong",
    ),
    "stats": (
        "test_stats.py",
        "test_stats_peers.py",
        "test_significance.py",
        "test_study_effects.py",
        "test_ranks.py",
        "test_planning.py",
        "test_published.py",
        "test_architecture.py::test_data_cannot_be_changed_but_where_a_run_has_to",
    ),
}
"""Module -> the tests that are to notice a change of it, the quickest first."""
HOW = (
    f"{EACH} mutants of each module, drawn with seed {SEED} among those of cosmic-ray, at most one "
    "for each place of the source and none in an annotation. A mutant is killed when one of the "
    "module's tests fails (`soak/mutants.py` lists them)."
)


def main() -> None:
    """Try the mutants of the modules asked for, and note them beside this file."""
    parser = argparse.ArgumentParser(prog="python -m soak.mutants", description=__doc__)
    parser.add_argument("module", nargs="*", choices=[[], *TESTS], help="by default all")
    kept = json.loads(MUTANTS.read_text())["mutants"] if MUTANTS.exists() else []
    notes = {(one["module"], one["was"], one["became"]): one["note"] for one in kept}
    for module in parser.parse_args().module or TESTS:
        found = list(_tried(module))
        for one in found:
            one["note"] = notes.get((module, one["was"], one["became"]), "")
        kept = [one for one in kept if one["module"] != module] + found
        MUTANTS.write_text(json.dumps({"how": HOW, "mutants": kept}, indent=1) + "\n")
        killed = sum(one["killed"] for one in found)
        sys.stderr.write(f"[mutants] {module}: {killed} of {len(found)} killed\n")


def _tried(module: str) -> Iterator[dict[str, Any]]:
    """Return the drawn mutants of a module, tried in a copy of the project."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns(".venv", "__pycache__", ".git"))
        there = [test for test in TESTS[module] if (copy / "tests" / test.split(":")[0]).exists()]
        command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider " + " ".join(
            f"tests/{test}" for test in there
        )
        config, session = Path(folder) / "config.toml", Path(folder) / "session.sqlite"
        config.write_text(
            f'[cosmic-ray]\nmodule-path = "src/plasticity/{module}.py"\ntimeout = 600.0\n'
            f'excluded-modules = []\ntest-command = "{command}"\n'
            '[cosmic-ray.distributor]\nname = "local"\n'
        )
        _cosmic_ray(copy, "init", str(config), str(session))
        _draw(session, module)
        _cosmic_ray(copy, "baseline", str(config))
        _cosmic_ray(copy, "exec", str(config), str(session))
        with sqlite3.connect(session) as database:
            rows = database.execute(
                "select start_pos_row, test_outcome, diff from mutation_specs "
                "join work_results using (job_id) order by 1"
            ).fetchall()
        for line, outcome, diff in rows:
            changed = [
                part
                for part in diff.splitlines()
                if part[:1] in "+-" and part[:3] not in ("+++", "---")
            ]
            was, became = (
                " ".join(part[1:].strip() for part in changed if part[0] == sign) for sign in "-+"
            )
            yield {
                "module": module,
                "line": line,
                "was": was,
                "became": became,
                "killed": outcome != "SURVIVED",
            }


def _cosmic_ray(folder: Path, *arguments: str) -> None:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}  # bytecode may be of another mutant
    subprocess.run(["cosmic-ray", *arguments], cwd=folder, env=environment, check=True)


def _draw(session: Path, module: str) -> None:
    """Keep the drawn mutants of a session."""
    skipped = list(_annotations((HERE / f"src/plasticity/{module}.py").read_text()))
    with sqlite3.connect(session) as database:
        rows = database.execute(
            "select start_pos_row, start_pos_col, operator_name, occurrence, "
            "coalesce(operator_args, ''), job_id from mutation_specs"
        ).fetchall()
        rows = sorted(
            row for row in rows if not any(low <= row[:2] < high for low, high in skipped)
        )
        numbers = random.Random(f"{SEED}-{module}")
        places = sorted({row[:2] for row in rows})
        chosen = numbers.sample(places, min(EACH, len(places)))
        kept = [numbers.choice([row for row in rows if row[:2] == place])[-1] for place in chosen]
        for table in ("mutation_specs", "work_items"):
            marks = ", ".join("?" * len(kept))
            database.execute(f"delete from {table} where job_id not in ({marks})", kept)


def _annotations(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Return where annotations begin and end."""
    for node in ast.walk(ast.parse(source)):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(part, ast.expr):
                yield (
                    (part.lineno, part.col_offset),
                    (part.end_lineno or part.lineno, part.end_col_offset or 0),
                )


if __name__ == "__main__":
    main()
