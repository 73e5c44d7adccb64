"""One number of each seed: the measures of claims, read from the tables that a study keeps."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from plasticity.catalogue import STREAMS
from plasticity.claims import MEASURES, Reference, arguments_of
from plasticity.files import interpreting, metrics_path, read_json
from plasticity.report import contrasts
from plasticity.sections import Params, label
from plasticity.tables import KEYS, read_table

AS_CHANCE = ("cycle.acc", "cycle.taa", "epoch.taa", "equal_flops.acc", "equal_flops.taa",
             "ticket.acc", "ticket.taa")  # fmt: skip
"""Measures of which a diverged seed has the accuracy of chance: to leave it out would flatter."""
AS_WRITTEN = ("taoa", "early")
"""Measures of streams, in which every step of a seed from where it diverged on is wrong already."""
REGRESSION = "slowly_changing_regression"
"""The stream without classes; its diverged seeds have no number."""
ACCURACIES = ("taoa", "early_acc")
"""Columns of ``continual/seeds.csv`` that such a seed must have."""
LATE = 0.2
"""Share of a stream's tasks, the last ones, over which a late error is the mean."""


@dataclass(frozen=True)
class Values:
    """One measure of one condition."""

    by_seed: Mapping[int, float]
    """Seeds without a number, such as a diverged seed's ratio, are left out."""
    seeds: tuple[int, ...]
    """All that were run."""
    diverged: tuple[int, ...] = ()
    """Those that diverged; where the measure is an accuracy they have a number all the same."""
    counted_as: str = "chance"
    """What a diverged seed counts as where it has a number."""
    lost: int = 0
    """Ratios that do not exist, as one side is exactly 0; a seed's number is without them."""
    lacking: tuple[str, ...] = ()
    """Why further seeds are not there: conditions of the arm without tables."""


Folders = tuple[Path, ...]
"""Those that the ``reports`` of an arm's conditions lie in; no seed is in two of them."""
Given = Mapping[str, str]
Found = pd.DataFrame
"""Columns seed, status, value; and lost, where ratios can be."""


def of(one: Reference, params: Params, folders: Folders) -> Values:
    """Return the values of a reference.

    Parameters
    ----------
    one
        Checked against ``params``.
    params
        Of its arm.
    folders
        Of the arm.

    Raises
    ------
    DataError
        When a table is missing or damaged.
    """
    return finished(one, _READERS[one.measure](folders, arguments_of(one, params), params), folders)


def finished(one: Reference, found: Found, folders: Folders) -> Values:
    """Return what was read of a reference as its values, diverged seeds as the measure counts them.

    Parameters
    ----------
    one
        The reference.
    found
        What was read of every seed.
    folders
        Of the arm.
    """
    diverged = tuple(int(seed) for seed in found.loc[found["status"] != "ok", "seed"])
    if one.measure not in AS_WRITTEN:
        of_diverged = chance(folders) if one.measure in AS_CHANCE else math.nan
        found = found.assign(value=found["value"].where(found["status"] == "ok", of_diverged))
    if MEASURES[one.measure].unit == "ratio" and one.measure not in _LOGS:
        found = found.assign(value=found["value"].map(math.log, na_action="ignore"))
    known = found.dropna(subset=["value"])
    pairs = zip(known["seed"].astype(int), known["value"].astype(float), strict=True)
    counted_as = "wrong from then on" if one.measure in AS_WRITTEN else "chance"
    seeds = tuple(int(seed) for seed in found["seed"])
    lost = int(found["lost"].sum()) if "lost" in found else 0
    return Values(dict(pairs), seeds, diverged, counted_as, lost)


@cache
def table(stage: str, name: str, folders: Folders) -> pd.DataFrame:
    """Return a kept table of an arm, read once; nobody may change it.

    Parameters
    ----------
    stage, name
        Of the table, whose rows are of single seeds.
    folders
        Of the arm: the rows are as those of one condition with all the seeds.

    Raises
    ------
    DataError
        When the table of one of them is missing or damaged.
    """
    found = [read_table(stage, name, folder) for folder in folders]
    if len(found) == 1:
        return found[0]
    keys = [key for key in KEYS if key in found[0]]
    return pd.concat(found).sort_values(keys, kind="stable", ignore_index=True)


def chance(folders: Folders) -> float:
    """Return the accuracy of guessing, in percent; an arm has one data set."""
    path = folders[0] / metrics_path("prepare")
    with interpreting(path):
        return 100 / int(read_json(path)["data"]["classes"])


def train_images(params: Params, folders: Folders) -> int:
    """Return the training images of an arm; all of a data set are those that were prepared."""
    if params.data.train_images != "all":
        return params.data.train_images
    path = folders[0] / metrics_path("prepare")
    with interpreting(path):
        return int(read_json(path)["data"]["train_images"])


def graded(rows: pd.DataFrame, folders: Folders) -> pd.DataFrame:
    """Return seeds of streams in which every diverged one has its accuracies.

    They stay as written, with every step from there on wrong; without a number it is chance. A
    regression has no accuracy to give.

    Parameters
    ----------
    rows
        Of ``continual/seeds.csv``.
    folders
        Of the arm.
    """
    lost = (rows["status"] != "ok") & ~rows["stream"].str.startswith(REGRESSION)
    accuracies = rows[list(ACCURACIES)].astype(float)
    if not (gaps := accuracies.isna().mul(lost, axis=0)).any(axis=None):
        return rows
    return rows.assign(**accuracies.mask(gaps, chance(folders)))


def _trained(column: str) -> Callable[[Folders, Given, Params], Found]:
    def read(folders: Folders, _: Given, __: Params) -> Found:
        rows = table("train", "seeds", folders)
        return rows[["seed", "status"]].assign(value=rows[column].astype(float))

    return read


def _retrained(column: str) -> Callable[[Folders, Given, Params], Found]:
    def read(folders: Folders, given: Given, params: Params) -> Found:
        rows = table("retrain", "seeds", folders)
        first = next(iter(params.retrain.variants), "")
        rows = rows[rows["variant"] == given.get("variant", first)]
        return rows[["seed", "status"]].assign(value=rows[column].astype(float))

    return read


def _newborn(measure: str) -> Callable[[Folders, Given, Params], Found]:
    def read(folders: Folders, given: Given, _: Params) -> Found:
        seeds = table("train", "seeds", folders)[["seed", "status"]]
        ratios = contrasts.newborns(table("train", "cohorts", folders))
        if layer := given.get("layer"):
            ratios = ratios.of_layer(layer)
        logs = ratios.values(measure, given["moment"]).rename("value").reset_index()
        lost = ratios.lost_of(measure, given["moment"]).rename("lost").reset_index()
        return seeds.merge(logs, on="seed", how="left").merge(lost, on="seed", how="left")

    return read


def _streamed(column: str) -> Callable[[Folders, Given, Params], Found]:
    def read(folders: Folders, given: Given, params: Params) -> Found:
        rows = graded(_chosen(table("continual", "seeds", folders), given, params), folders)
        return rows[["seed", "status"]].assign(value=rows[column].astype(float))

    return read


def _late_loss(folders: Folders, given: Given, params: Params) -> Found:
    rows = _chosen(table("continual", "tasks", folders), given, params)
    late = rows[rows["task"] >= (1 - LATE) * (rows["task"].max() + 1)]
    loss = late.groupby("seed")["loss"].mean().rename("value").reset_index()
    seeds = _chosen(table("continual", "seeds", folders), given, params)[["seed", "status"]]
    return seeds.merge(loss, on="seed", how="left")


def _chosen(rows: pd.DataFrame, given: Given, params: Params) -> pd.DataFrame:
    """Return the rows of one learner in one stream at one length, the first where none is named."""
    settings = params.continual
    learner = given.get("learner", settings.learners[0])
    steps = int(given.get("steps", (settings.sweep or (settings.steps,))[0]))
    stream = given.get("stream", label(settings.streams[0], STREAMS))
    return rows[
        (rows["learner"] == learner) & (rows["task_steps"] == steps) & (rows["stream"] == stream)
    ]


_LOGS = ("newborn.act", "newborn.grad")
"""Ratios that are logarithms already."""

_READERS: Mapping[str, Callable[[Folders, Given, Params], Found]] = {
    "cycle.acc": _trained("cycle_acc"),
    "cycle.taa": _trained("cycle_taa"),
    "epoch.taa": _trained("epoch_taa"),
    "ticket.acc": _retrained("ticket_acc"),
    "ticket.taa": _retrained("ticket_taa"),
    "delta.acc": _retrained("delta_acc"),
    "newborn.act": _newborn("activation"),
    "newborn.grad": _newborn("gradient"),
    "flops": _trained("flops"),
    "active_unit_steps": _trained("active_unit_steps"),
    "taoa": _streamed("taoa"),
    "early": _streamed("early_acc"),
    "loss": _late_loss,
}
