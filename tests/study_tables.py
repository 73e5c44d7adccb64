"""A study with kept tables of plausible experiments, without running any."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from report_tables import ROOT, write_experiment

from plasticity import RESULTS_VERSION, study
from plasticity.files import write_json, write_text
from plasticity.report.comparison import gather
from plasticity.report.comparison.gather import Comparison

CODE = {"commit": "c" * 40, "src": "a" * 40, "stages": "b" * 40}
BASE = {"scale": "quick", "dataset": "digits", "train.epochs": 20, "retrain.epochs": 20}


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
