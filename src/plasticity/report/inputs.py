"""What a report reads: the tables, metrics, times and parameters of one experiment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from plasticity.config import load
from plasticity.files import PARAMS, interpreting, metrics_path, read_json, sha256, timing_path
from plasticity.sections import Params
from plasticity.tables import read_table

STAGES = ("prepare", "train", "extract", "retrain", "continual")


@dataclass(frozen=True)
class Results:
    """One experiment. Only ``train``'s tables are sure to have rows."""

    params: Params
    seeds: pd.DataFrame
    history: pd.DataFrame
    edits: pd.DataFrame
    cohorts: pd.DataFrame
    shocks: pd.DataFrame
    health: pd.DataFrame
    lifelines: pd.DataFrame
    tickets: pd.DataFrame
    ticket_history: pd.DataFrame
    subnetworks: pd.DataFrame
    streams: pd.DataFrame
    tasks: pd.DataFrame
    profiles: pd.DataFrame
    stream_health: pd.DataFrame
    metrics: dict[str, dict[str, Any]]
    timing: dict[str, dict[str, Any]]
    """Stages whose times are known; a fresh clone has none."""

    @property
    def capacity(self) -> dict[str, int]:
        """Units of each layer that can be edited, by name; tables give widths of these."""
        network = self.params.network
        trunk = network.trunk if self.params.edit.layers == "all" else ()
        named = {f"conv{place}": width for place, width in enumerate(trunk, start=1)}
        return named | {f"fc{place}": width for place, width in enumerate(network.widths, start=1)}

    def whole(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table whose seeds finished training."""
        return table[table["seed"].isin(self.seeds.loc[self.seeds["status"] == "ok", "seed"])]


def read(root: Path = Path()) -> Results:
    """Return the results of the experiment whose project is at ``root``.

    Raises
    ------
    ConfigError
        When the parameters cannot be run.
    DataError
        When a table or a metrics file is missing or damaged.
    """
    return Results(
        params=load("report", root / PARAMS),
        seeds=read_table("train", "seeds", root),
        history=read_table("train", "history", root),
        edits=read_table("train", "edits", root),
        cohorts=read_table("train", "cohorts", root),
        shocks=read_table("train", "shocks", root),
        health=read_table("train", "health", root),
        lifelines=read_table("train", "lifelines", root),
        tickets=read_table("retrain", "seeds", root),
        ticket_history=read_table("retrain", "history", root),
        subnetworks=read_table("extract", "seeds", root),
        streams=read_table("continual", "seeds", root),
        tasks=read_table("continual", "tasks", root),
        profiles=read_table("continual", "profiles", root),
        stream_health=read_table("continual", "health", root),
        metrics={stage: read_json(root / metrics_path(stage)) for stage in STAGES},
        timing={stage: found for stage in STAGES if (found := _timing(stage, root))},
    )


def _timing(stage: str, root: Path) -> dict[str, Any]:
    """Return when and where a stage ran, or nothing where that is another run's."""
    path = root / timing_path(stage)
    if not path.is_file():
        return {}
    with interpreting(path):
        found: dict[str, Any] = dict(read_json(path))
    mine = found.pop("metrics", None) == sha256(root / metrics_path(stage))
    return found if mine else {}
