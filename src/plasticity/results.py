"""Outcomes -> the rows of a stage's tables and its metrics."""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch

from plasticity import checkpoint, files, measures
from plasticity.data import Dataset
from plasticity.errors import DivergedError
from plasticity.escapes import csv_text
from plasticity.items import Outcome
from plasticity.recipe import architecture
from plasticity.sections import Params
from plasticity.state import State, Units
from plasticity.stats import t_interval
from plasticity.tables import Row, write_table
from plasticity.weights import Architecture

NOT_OF_EPOCHS = {"window", "full", "early_acc", "scored", "parts"}
"""What a window has that the table of epochs has not, or has by another name."""


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _windows(outcome: Outcome, seed: int) -> list[dict[str, Any]]:
    return [row for row in outcome.final.progress["windows"] if row["seed"] == seed]


def status_of(outcome: Outcome, row: int) -> dict[str, Any]:
    """Return whether a replicate diverged, and at which step, as tables say it."""
    step = int(outcome.final.state.diverged[row])
    return {
        "status": "ok" if step < 0 else "diverged",
        "diverged_step": None if step < 0 else step,
    }


def _size(outcome: Outcome, params: Params, dataset: Dataset) -> dict[str, Any]:
    widths = outcome.final.state.widths()
    alone = architecture(params, dataset).with_units(widths)
    shown = _windows(outcome, outcome.item.seeds[0])[-1]["units"]
    return {"units": shown, "parameters": measures.num_parameters(alone)}


def _scores(windows: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """Return final accuracy, the mean over the ends of cycles, the mean over epochs."""
    ends = [row["acc"] for row in windows if row["full"]]
    return windows[-1]["acc"], _mean(ends), _mean([row["acc"] for row in windows])


def overall_status(params: Params, rows: Sequence[Row], what: str) -> str:
    """Return what ``dvc exp show`` says of a run: ok, how many seeds diverged, or tiny.

    Raises
    ------
    DivergedError
        When no seed is left.
    """
    failed = [row for row in rows if row["status"] != "ok"]
    if failed and len(failed) == len(rows):
        first = min(int(row["diverged_step"] or 0) for row in failed)
        raise DivergedError(
            f"{what}: all {len(rows)} seeds diverged, the first at step {first}; lower the "
            "learning rate"
        )
    if failed:
        return f"{len(failed)} diverged"
    return "tiny" if params.scale == "tiny" else "ok"


def _metric(values: Sequence[float]) -> dict[str, float | None]:
    """Return ``acc`` and ``acc_ci`` in percent, two decimals."""
    interval = t_interval(values)
    half = interval.half_width
    return {"acc": round(interval.mean, 2), "acc_ci": None if half is None else round(half, 2)}


def write_train(params: Params, dataset: Dataset, outcomes: Sequence[Outcome]) -> None:
    """Write what the train stage found: tables, metrics, and each seed's final state."""
    seeds: list[Row] = []
    history: list[Row] = []
    cohorts: list[Row] = []
    edits: list[Row] = []
    shocks: list[Row] = []
    health: list[Row] = []
    cycle_epochs = params.train.epochs // params.edit.cycles
    for outcome in outcomes:
        progress = outcome.final.progress
        edits += progress["edits"]
        cohorts += progress["cohorts"]
        shocks += progress["shocks"]
        health += progress["health"]
        for row, seed in enumerate(outcome.item.seeds):
            windows = _windows(outcome, seed)
            acc, taa, epoch_taa = _scores(windows)
            seeds.append(
                {
                    "seed": seed,
                    **status_of(outcome, row),
                    "cycle_acc": acc,
                    "cycle_taa": taa,
                    "epoch_taa": epoch_taa,
                    **_size(outcome, params, dataset),
                    "flops": windows[-1]["flops"],
                    "active_unit_steps": windows[-1]["active_unit_steps"],
                }
            )
            history += [
                {
                    **{k: v for k, v in w.items() if k not in NOT_OF_EPOCHS},
                    "epoch": w["window"] + 1,
                    "cycle": w["window"] // cycle_epochs,
                    "cycle_end": w["full"],
                }
                for w in windows
            ]
    status = overall_status(params, seeds, "train")
    ok = {int(row["seed"] or 0) for row in seeds if row["status"] == "ok"}
    write_table("train", "seeds", seeds)
    write_table("train", "history", history)
    write_table("train", "edits", edits)
    write_table("train", "cohorts", cohorts)
    write_table("train", "shocks", shocks)
    write_table("train", "health", health)
    write_table("train", "lifelines", _lifelines(outcomes[0]))
    write_table("train", "curve", _curve(history, ok))
    final = [row for row in seeds if row["seed"] in ok]
    metrics: dict[str, Any] = {
        "status": status,
        "cycle": _metric([float(row["cycle_acc"] or 0) for row in final])
        | {"taa": round(_mean([float(row["cycle_taa"] or 0) for row in final]), 2)},
        "effective": {
            "seeds": len(seeds),
            "epochs": params.train.epochs,
            "lr": params.train.lr,
            "batch": params.train.batch,
            "units": seeds[0]["units"],
        },
    }
    if newborn := _newborn(cohorts, ok):
        metrics["newborn"] = newborn
    files.write_json(files.metrics_path("train"), metrics)
    _write_states(outcomes)


def _newborn(cohorts: Sequence[Row], ok: set[int]) -> dict[str, float]:
    """Return the geometric newborn/incumbent ratios with their interval's ends."""
    result = {}
    for name, column, moment in (
        ("act", "activation_rate", "end"),
        ("grad", "gradient", "end"),
        ("birth_act", "activation_rate", "birth"),
        ("birth_grad", "gradient", "birth"),
    ):
        interval = measures.newborn_ratio(cohorts, column, moment, ok)
        if interval is None:
            continue
        result[name] = round(math.exp(interval.mean), 4)
        if interval.low is not None and interval.high is not None:
            result[f"{name}_low"] = round(math.exp(interval.low), 4)
            result[f"{name}_high"] = round(math.exp(interval.high), 4)
    return result


def _curve(history: Sequence[Row], ok: set[int]) -> list[Row]:
    by_epoch: dict[int, list[float]] = {}
    for row in history:
        if row["seed"] in ok:
            by_epoch.setdefault(int(row["epoch"] or 0), []).append(float(row["acc"] or 0))
    rows: list[Row] = []
    for epoch, values in sorted(by_epoch.items()):
        interval = t_interval(values)
        low = interval.mean if interval.low is None else interval.low
        high = interval.mean if interval.high is None else interval.high
        rows.append(
            {"epoch": epoch, "seeds": interval.n, "mean": interval.mean, "low": low, "high": high}
        )
    return rows


def _write_states(outcomes: Sequence[Outcome]) -> None:
    """Write each seed's final state and, for every event, the units it moved."""
    columns = ("seed", "event", "step", "layer", "slot", "change")
    units: list[list[Any]] = []
    with files.fresh_folder(files.TRAINED) as folder:
        for outcome in outcomes:
            moved = outcome.final.progress["units"]
            units += [[row[column] for column in columns] for row in moved]
            for row, seed in enumerate(outcome.item.seeds):
                content = checkpoint.pack(one_seed(outcome.final.state, row), {"seed": str(seed)})
                files.write_bytes(folder / files.final_state_path(seed).name, content)
        files.write_text(folder / "units.csv", csv_text(columns, units))


def _lifelines(outcome: Outcome) -> list[Row]:
    """Return every life of every unit of the first seed; a slot may have several."""
    seed = outcome.item.seeds[0]
    lives: list[dict[str, Any]] = []
    current: dict[tuple[str, int], dict[str, Any]] = {}
    for unit in outcome.final.progress["units"]:
        place = unit["layer"], unit["slot"]
        if unit["seed"] != seed:
            continue
        if unit["change"] == "removed":
            current.pop(place)["removed_step"] = unit["step"]
            continue
        current[place] = {
            "seed": seed,
            "layer": unit["layer"],
            "slot": unit["slot"],
            "born_step": unit["step"],
            "removed_step": None,
        }
        lives.append(current[place])
    return [dict(life) for life in lives]


def one_seed(state: State, row: int) -> State:
    """Return the state of one seed, its axis kept."""
    part = slice(row, row + 1)
    return State(
        weights=state.weights.map(lambda tensor: tensor[part]),
        moments=tuple(moment.map(lambda tensor: tensor[part]) for moment in state.moments),
        units=tuple(
            Units(**{name: tensor[part] for name, tensor in vars(units).items()})
            for units in state.units
        ),
        shared_step=state.shared_step[part],
        diverged=state.diverged[part],
    )


def read_state(seed: int, backbone: Architecture) -> State:
    """Return the final state of one seed of the train stage.

    Raises
    ------
    DataError
        When it is missing, damaged, or of a network that is not this one.
    """
    path = files.final_state_path(seed)
    with files.interpreting(path):
        state, _, _ = checkpoint.unpack(path.read_bytes(), torch.device("cpu"))
        slots = (tensor for units in state.units for tensor in vars(units).values())
        of_units = ((1, width) for width in backbone.units for _ in fields(Units))
        wanted = (*backbone.shapes(1), *of_units)
        weights = (tuple(tensor.shape) for tensor in state.weights.tensors())
        found = (*weights, *(tuple(tensor.shape[:2]) for tensor in slots))
        if found != wanted:
            raise ValueError(f"got shapes {found}, expected {wanted}")
    return state


def write_retrain(
    params: Params, dataset: Dataset, outcomes: Sequence[Outcome], cycle_acc: dict[int, float]
) -> None:
    """Write what the retrain stage found; ``cycle_acc`` is the train stage's, by seed."""
    seeds: list[Row] = []
    history: list[Row] = []
    for outcome in outcomes:
        variant = outcome.item.variant
        for row, seed in enumerate(outcome.item.seeds):
            windows = _windows(outcome, seed)
            acc, taa, epoch_taa = _scores(windows)
            seeds.append(
                {
                    "variant": variant,
                    "seed": seed,
                    **status_of(outcome, row),
                    "ticket_acc": acc,
                    "ticket_taa": taa,
                    "epoch_taa": epoch_taa,
                    "delta_acc": acc - cycle_acc[seed] if seed in cycle_acc else None,
                    **_size(outcome, params, dataset),
                    "flops": windows[-1]["flops"],
                }
            )
            history += [
                {
                    "variant": variant,
                    "seed": seed,
                    "epoch": w["window"] + 1,
                    "cycle_end": w["full"],
                    **{k: w[k] for k in ("step", "loss", "acc", "test_images")},
                }
                for w in windows
            ]
    metrics: dict[str, Any] = {}
    if params.retrain.variants:
        first = [row for row in seeds if row["variant"] == params.retrain.variants[0]]
        overall_status(params, first, f"retrain {params.retrain.variants[0]}")
        whole = [row for row in first if row["status"] == "ok"]
        metrics["ticket"] = _metric([float(row["ticket_acc"] or 0) for row in whole]) | {
            "taa": round(_mean([float(row["ticket_taa"] or 0) for row in whole]), 2)
        }
        deltas = [float(row["delta_acc"]) for row in whole if row["delta_acc"] is not None]
        if deltas:
            metrics["delta"] = _metric(deltas)
    write_table("retrain", "seeds", seeds)
    write_table("retrain", "history", history)
    files.write_json(files.metrics_path("retrain"), metrics)
