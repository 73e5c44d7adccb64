"""Arms: conditions that differ in their first seed alone, compared as one."""

import csv
from pathlib import Path

import pandas as pd
import pytest
from study_tables import ARMS, CODE, write_study

from plasticity import RESULTS_VERSION, study
from plasticity.files import write_json, write_text
from plasticity.report.comparison import curves, failures, gather, page, scorecard, values
from plasticity.report.comparison.gather import Comparison
from plasticity.tables import SCHEMAS

STAGES = ["train", "extract", "retrain"]
NAMES = ("grow_50", "prune_50")
WHOLE = {name: ARMS[name] | {"train.seeds": 4} for name in NAMES}
PARTS = {
    f"{name}_s{first}": ARMS[name] | {"train.seeds": 2, "train.first_seed": first}
    for first in (0, 2)
    for name in NAMES
}
CLAIMS = {
    "end": {"says": "Grow ends higher", "expects": "more", "contrasts": [list(NAMES)]},
    "starved": {
        "says": "Newborn units are starved",
        "metric": "newborn.grad end",
        "expects": "less",
        "contrasts": [["grow_50", 1], ["grow_50 newborn.grad end fc2", 1]],
    },
    "ticket": {
        "says": "Tickets differ",
        "metric": "ticket.acc random_fresh",
        "expects": "more",
        "contrasts": [list(NAMES)],
    },
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("whole")
    seeds = dict.fromkeys(WHOLE, 4)
    diverged = {"prune_50": (2,)}
    return write_study(folder, WHOLE, CLAIMS, seeds=seeds, diverged=diverged, stages=STAGES)


def parted(folder: Path, whole: Comparison, missing: tuple[str, ...] = ()) -> Comparison:
    """Write the study of the parts, each with the rows that the whole has of its seeds."""
    empty = write_study(folder, PARTS, CLAIMS, missing=tuple(PARTS), stages=STAGES)
    for part in empty.parts:
        if part.name in missing:
            continue
        (source,) = whole.arm(part.condition.arm).folders
        seeds = {str(seed) for seed in part.condition.params.train.all_seeds}
        made = [
            path for stage in ("prepare", *STAGES) for path in source.glob(f"reports/{stage}/*")
        ]
        for path in made:
            if path.suffix == ".csv":
                _keep(path, part.folder / path.relative_to(source), seeds)
            else:
                write_text(part.folder / path.relative_to(source), path.read_text())
        record = {"condition": part.name, "results_version": RESULTS_VERSION, "code": CODE}
        write_json(part.folder / study.DONE, record)
    return gather.read(empty.study, folder)


def _keep(path: Path, target: Path, seeds: set[str]) -> None:
    rows = list(csv.DictReader(path.read_text().splitlines()))
    kept = [row for row in rows if row.get("seed", "0") in seeds or "seed" not in row]
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, SCHEMAS[path.parent.name, path.stem], lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)


@pytest.fixture(scope="module")
def pooled(whole: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return parted(tmp_path_factory.mktemp("parts"), whole)


def test_the_tables_of_an_arm_are_those_of_one_condition_with_all_its_seeds(
    whole: Comparison, pooled: Comparison
) -> None:
    assert [arm.name for arm in pooled.arms] == [*NAMES]
    for name in NAMES:
        folders, (folder,) = pooled.arm(name).folders, whole.arm(name).folders
        assert len(folders) == 2
        for stage, table in SCHEMAS:
            if stage in STAGES and table not in ("curve", "lifelines"):
                one, other = (values.table(stage, table, some) for some in (folders, (folder,)))
                pd.testing.assert_frame_equal(one, other, check_exact=True)
        one, other = (curves.read(made.arm(name)) for made in (pooled, whole))
        assert one is not None
        assert other is not None
        pd.testing.assert_frame_equal(one.rows, other.rows, check_exact=True)


def test_contrasts_of_pooled_seeds_are_those_of_one_condition_with_these_seeds(
    whole: Comparison, pooled: Comparison
) -> None:
    for table in (scorecard.frame, scorecard.seeds_frame):
        pd.testing.assert_frame_equal(
            table(pooled.decisions), table(whole.decisions), check_exact=True
        )
    assert [len(one.seeds) for one in pooled.decisions[0].contrasts] == [4]
    assert scorecard.markdown(pooled.decisions) == scorecard.markdown(whole.decisions)
    pd.testing.assert_frame_equal(
        page.values_frame(pooled), page.values_frame(whole), check_exact=True
    )


def test_an_arm_of_which_some_seeds_are_there_is_compared_and_says_what_is_lacking(
    whole: Comparison, tmp_path: Path
) -> None:
    comparison = parted(tmp_path, whole, missing=("prune_50_s2",))
    (contrast,) = comparison.decisions[0].contrasts
    assert contrast.seeds == (0, 1)
    assert contrast.verdict != "not run"
    assert "prune_50 is there in part: prune_50_s2 was not run" in contrast.notes
    assert "unequal numbers of seeds (grow_50 4, prune_50 2): paired over the 2 shared" in (
        contrast.notes
    )
    rows = {row[0]: row[1:] for row in page.conditions(comparison).rows}
    assert rows["grow_50"][:2] == ("done", "4")
    state = "1 of 2 conditions done; prune_50_s2 was not run"
    assert rows["prune_50"] == (state, "2", "op prune")
    assert page.unfinished(comparison) == "1 of 4 conditions are missing."


def test_an_arm_of_which_nothing_is_there_says_why_of_each_condition(
    whole: Comparison, tmp_path: Path
) -> None:
    comparison = parted(tmp_path, whole, missing=("prune_50_s0", "prune_50_s2"))
    why = "prune_50_s0 was not run; prune_50_s2 was not run"
    assert comparison.arm("prune_50").why_not == why
    assert comparison.decisions[0].contrasts[0].notes == (why,)
    assert comparison.decisions[0].verdict == "not run"


def test_a_part_of_an_arm_that_failed_or_is_of_other_code_is_told_by_its_own_name(
    whole: Comparison, tmp_path: Path
) -> None:
    comparison = parted(tmp_path, whole, missing=("grow_50_s2",))
    parts = {part.name: part for part in comparison.parts}
    record = {"condition": "x", "results_version": RESULTS_VERSION, "code": CODE}
    failure = {"error": "no luck", "log": ["a line"]}
    write_json(parts["grow_50_s2"].folder / study.FAILED, record | failure)
    other = {"code": CODE | {"src": "d" * 40}}
    write_json(parts["prune_50_s0"].folder / study.DONE, record | other)
    again = gather.read(comparison.study, tmp_path)
    section = failures.section(again)
    assert section is not None
    assert section.finding.startswith("1 condition failed")
    assert section.tables[0].caption.startswith("grow_50_s2 failed: no luck")
    assert sorted(again.code.values()) == [["grow_50_s0", "prune_50_s2"], ["prune_50_s0"]]
