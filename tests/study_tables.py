"""A study with kept tables of plausible experiments, without running any."""

import contextlib
import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from report_tables import ROOT, write_experiment

from plasticity import RESULTS_VERSION, study
from plasticity.claims import Claim, Reference
from plasticity.files import write_json, write_text
from plasticity.report.comparison import gather
from plasticity.report.comparison.gather import Comparison
from plasticity.report.comparison.verdicts import Correlation, Decision

CODE = {"commit": "c" * 40, "src": "a" * 40, "stages": "b" * 40}
BASE = {"scale": "quick", "dataset": "digits", "train.epochs": 20, "retrain.epochs": 20}
ARMS = {
    "grow_50": {},
    "grow_20": {"compactness": 0.2},
    "prune_50": {"op": "prune"},
    "prune_50_warm": {"op": "prune", "edit.continuity": "warm", "retrain.variants": []},
    "prune_20": {"op": "prune", "compactness": 0.2},
    "fading": {"intervention.gate": "linear"},
    "faster": {"intervention.trainability": {"rule": "two_speed", "steps": 316}},
    "static_50": {"op": "static"},
    "dense": {"op": "dense", "retrain.variants": []},
}
ABOVE, BELOW, NEAR = (
    (2.0, 2.2, 1.8, 2.1, 1.9),
    (-2.0, -2.2, -1.8, -2.1, -1.9),
    (1.0, -1.0, 0, 2, -2),
)
"""Differences of five seeds: clearly above 0, clearly below, and neither."""
EVIL = "</script><script>alert(1)</script>"


def write_study(
    folder: Path,
    conditions: Mapping[str, Mapping[str, Any]],
    claims: Mapping[str, Any] | None = None,
    *,
    missing: tuple[str, ...] = (),
    failed: Mapping[str, str] | None = None,
    seeds: Mapping[str, int] | None = None,
    diverged: Mapping[str, tuple[int, ...]] | None = None,
    title: str = "Two arms",
    name: str = "two",
    **more: Any,
) -> Comparison:
    """Write a study and the tables of its conditions into a folder; return what is there.

    Parameters
    ----------
    folder
        Becomes a project.
    conditions
        Name -> settings; the operator is ``op``, grow where it is not given.
    claims
        As a study writes them.
    missing, failed
        Conditions without tables, and those that failed with why.
    seeds, diverged
        Of single conditions; 5 and none where not given.
    title, name, more
        Of the study.
    """
    content = {"title": title, "settings": BASE, "conditions": dict(conditions), **more}
    path = folder / "studies" / f"{name}.yaml"
    write_text(folder / "params.yaml", (ROOT / "params.yaml").read_text())
    write_text(path, yaml.safe_dump(content | {"claims": dict(claims or {})}, sort_keys=False))
    asked = study.read(path, folder / "params.yaml")
    for condition in asked.conditions:
        place = folder / study.place(asked, condition)
        record = {"condition": condition.name, "results_version": RESULTS_VERSION, "code": CODE}
        if condition.name in (failed or {}):
            error = {"error": (failed or {})[condition.name], "log": ["a line", "the last line"]}
            write_json(place / study.FAILED, record | error)
        elif condition.name not in missing:
            place.mkdir(parents=True)
            with contextlib.chdir(place):
                write_experiment(
                    place,
                    condition.params.op,
                    (seeds or {}).get(condition.name, 5),
                    (diverged or {}).get(condition.name, ()),
                    condition.settings,
                )
            (place / "params.yaml").unlink()
            write_json(place / study.DONE, record)
    return gather.read(asked, folder)


def put(
    comparison: Comparison, arm: str, column: str, numbers_: Iterable[float], variant: str = ""
) -> None:
    """Write one number for each seed into a kept table, in place of what is there."""
    stage = "retrain" if column.startswith("ticket") else "train"
    path = comparison.arm(arm).folders[0] / f"reports/{stage}/seeds.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    chosen = [row for row in rows if not variant or row["variant"] == variant]
    for row, number in zip(chosen, numbers_, strict=True):
        row[column] = repr(float(number))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def told(
    rho: float | None, low: float | None, high: float | None, p: float | None = 0.01
) -> Decision:
    """Return a decision on a correlation of two conditions with two seeds each."""
    points = (("grow_50", 0, 0.0, 80.0), ("grow_50", 1, 2.0, 82.0), ("grow_20", 0, -1.0, 70.0))
    names = ("newborn.grad", "cycle.taa")
    found = Correlation(names, ("grow_50", "grow_20"), rho, low, high, 0.5, points, p)
    references = tuple(
        (Reference(arm, "newborn.grad", ("birth",)), Reference(arm, "cycle.taa"))
        for arm in ("grow_50", "grow_20")
    )
    claim = Claim("../C8", EVIL, "", "more", 0.0, (), references)
    return Decision(claim, (), found, "inconclusive", "")


def with_decision(comparison: Comparison, decision: Decision) -> Comparison:
    made = Comparison(comparison.study, comparison.arms)
    vars(made)["decisions"] = (decision,)
    return made
