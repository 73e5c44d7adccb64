"""Plausible tables of one experiment, small and the same every time."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from plasticity import catalogue, config, sections
from plasticity.files import metrics_path, sha256, timing_path, write_json
from plasticity.sections import label
from plasticity.tables import SCHEMAS, Row, write_table

ROOT = Path(__file__).parents[1]
EPOCHS, CYCLES, STEPS = 20, 5, 45
AGES = (0, 1, 2, 5, 10, 20, 50, 100, 180)
GROWN = ("52-52", "78-78", "104-104", "128-128", "128-128")
PRUNED = ("224-224", "192-192", "160-160", "128-128", "128-128")
STARTS = {
    "grow": "26-26",
    "prune": "256-256",
    "dense": "256-256",
    "static": "128-128",
    "turnover": "128-128",
}
LAYERS = ("fc1", "fc2")
TERMS = {"fc1": (-0.3, 0.05, -0.9), "fc2": (-1.1, 0.1, -0.02)}
"""Of newborns over incumbents: logarithms of norm, gate and alignment."""
REPLACED = 13
CYCLE = STEPS * EPOCHS // CYCLES


def write_experiment(
    folder: Path,
    op: str = "grow",
    seeds: int = 5,
    diverged: tuple[int, ...] = (),
    changes: Mapping[str, Any] | None = None,
) -> sections.Params:
    """Write parameters, tables, metrics and times into the current folder, which is ``folder``."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree |= {"op": op, "scale": "quick"}
    tree["train"]["epochs"] = tree["retrain"]["epochs"] = EPOCHS
    for name, value in (changes or {}).items():
        *path, key = name.split(".")
        node = tree
        for part in path:
            node = node[part]
        node[key] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(tree))
    params = config.load("report", folder / "params.yaml")
    draw = np.random.default_rng(7)
    finals = {seed: 96.6 + draw.normal(0, 0.4) for seed in range(seeds)}
    ok = [seed for seed in range(seeds) if seed not in diverged]
    ends = _write_train(op, finals, diverged, draw)
    _write_units(params, list(finals), draw)
    _write_retrain(op, ends, params.retrain.variants, ok, draw)
    _write_extract(op, ok)
    names = [label(stream, catalogue.STREAMS) for stream in params.continual.streams]
    lengths = params.continual.sweep or (500,)
    _write_continual(op, names, params.continual.learners, lengths, min(seeds, 3), draw)
    _write_metrics(ok)
    return params


def _units(op: str) -> list[str]:
    per_cycle = {"grow": GROWN, "prune": PRUNED}.get(op, (STARTS[op],) * CYCLES)
    return [units for units in per_cycle for _ in range(EPOCHS // CYCLES)]


def _alive(units: str) -> int:
    return sum(int(part) for part in units.split("-"))


def _curve(final: float, epoch: int, op: str, noise: float) -> float:
    dip = 2.5 * math.exp(-((epoch - 1) % (EPOCHS // CYCLES))) if op == "prune" and epoch > 4 else 0
    return min(99.9, final - 45 * math.exp(-epoch / 3.0) - dip + noise)


def _write_train(
    op: str, finals: dict[int, float], diverged: tuple[int, ...], draw: np.random.Generator
) -> dict[int, float]:
    units = _units(op)
    history: list[Row] = []
    summaries: list[Row] = []
    for seed, final in finals.items():
        steps_done = 0.0
        last = 7 if seed in diverged else EPOCHS
        accuracies = []
        for epoch in range(1, last + 1):
            steps_done += STEPS * _alive(units[epoch - 1])
            accuracies.append(_curve(final, epoch, op, draw.normal(0, 0.3)))
            history.append(
                {
                    "seed": seed,
                    "epoch": epoch,
                    "cycle": (epoch - 1) // (EPOCHS // CYCLES),
                    "step": epoch * STEPS,
                    "lr": 0.1,
                    "loss": 1.0 / epoch,
                    "online_acc": accuracies[-1],
                    "acc": accuracies[-1],
                    "test_images": 360,
                    "cycle_end": int(epoch % (EPOCHS // CYCLES) == 0),
                    "units": units[epoch - 1],
                    "alive_units": _alive(units[epoch - 1]),
                    "flops": 1e6 * steps_done,
                    "active_unit_steps": steps_done,
                }
            )
        broken = seed in diverged
        summaries.append(
            {
                "seed": seed,
                "status": "diverged" if broken else "ok",
                "diverged_step": 7 * STEPS + 3 if broken else None,
                "cycle_acc": None if broken else accuracies[-1],
                "cycle_taa": None if broken else float(np.mean(accuracies[3::4])),
                "epoch_taa": None if broken else float(np.mean(accuracies)),
                "units": units[-1],
                "parameters": 26122,
                "flops": None if broken else 1e6 * steps_done,
                "active_unit_steps": None if broken else steps_done,
            }
        )
    write_table("train", "seeds", summaries)
    write_table("train", "history", history)
    write_table("train", "edits", _edits(op, list(finals)))
    return {row["seed"]: row["acc"] for row in history if row["epoch"] == EPOCHS}


def _edits(op: str, seeds: list[int]) -> list[Row]:
    if op not in {"grow", "prune", "turnover"}:
        return []
    rows: list[Row] = []
    before = STARTS[op]
    for event, after in enumerate(_units(op)[:: EPOCHS // CYCLES]):
        pairs = zip(before.split("-"), after.split("-"), strict=True)
        replaced = REPLACED if op == "turnover" and event else 0
        for layer, (old, new) in zip(LAYERS, ((int(a), int(b)) for a, b in pairs), strict=True):
            rows += [
                {
                    "seed": seed,
                    "event": event,
                    "cycle": event,
                    "step": event * CYCLE,
                    "layer": layer,
                    "requested": abs(new - old) + 2 * replaced,
                    "added": max(new - old, 0) + replaced,
                    "removed": max(old - new, 0) + replaced,
                    "alive_before": old,
                    "alive_after": new,
                    "rewound": int(op == "prune" and new != old),
                }
                for seed in seeds
            ]
        before = after
    return rows


def _write_units(params: sections.Params, seeds: list[int], draw: np.random.Generator) -> None:
    """Write what probes saw, or empty tables where nothing was measured, and the lifelines."""
    measured = seeds if params.measure.enabled else []
    exact = params.intervention.activation.rule != "crelu"
    cohorts = [
        row
        for event in range(CYCLES - 1)
        for seed in measured
        for layer in LAYERS
        for row in _probes(params.op, seed, event, layer, draw)
    ]
    empty = {key: None for key in SCHEMAS["train", "cohorts"] if "log" in key}
    write_table("train", "cohorts", cohorts if exact else [row | empty for row in cohorts])
    write_table("train", "shocks", _shocks(params.op, measured, draw))
    write_table("train", "health", _health(params.op, measured, draw))
    write_table("train", "lifelines", _lifelines(params.op))


def _probes(op: str, seed: int, event: int, layer: str, draw: np.random.Generator) -> list[Row]:
    noise = float(draw.normal(0, 0.08))
    place = LAYERS.index(layer)
    rows: list[Row] = []

    def add(age: int, moment: str, cohort: str, rate: float, gradient: float) -> None:
        inner = TERMS[layer] if "newborn" in cohort else (0.0, 0.0, 0.0)
        norm, gate, alignment = (-1.0 + inner[0] + noise, -1.5 + inner[1], -2.0 + inner[2])
        stepped = {"update_in": 4e-3, "update_out": 6e-3} if age > 0 else {}
        if "newborn" in cohort and stepped:
            stepped = {"update_in": 1e-3 * math.exp(noise), "update_out": 7e-3 * math.exp(noise)}
        rows.append(
            dict.fromkeys(SCHEMAS["train", "cohorts"])
            | {
                "seed": seed,
                "event": event,
                "cycle": event,
                "step": event * CYCLE + max(age, 0),
                "age": age,
                "moment": moment,
                "layer": layer,
                "cohort": cohort,
                "units": 26,
                "silent": place,
                "activation_rate": rate,
                "gradient": gradient,
                "log_gradient": norm + gate - 3.0 + alignment,
                "log_norm": norm,
                "log_gate": gate,
                "log_error": -3.0,
                "log_alignment": alignment,
                "contribution": 0.3 if "newborn" in cohort else 1.1,
                "median_log_gradient": norm + gate - 3.1 + alignment,
            }
            | stepped
        )

    for age in AGES:
        moment = "birth" if age == 0 else "end" if age == AGES[-1] else "along"
        if op in {"grow", "turnover"} and not (op == "turnover" and event == 0):
            parity = math.log1p(age) / 12
            low = 1e-4 * math.exp(-1.6 + 0.3 * place + parity + 0.15 * event + noise)
            add(age, moment, "newborn", 0.34 * math.exp(noise), low)
            if moment != "along":
                add(age, moment, "matched_newborn", 0.34, 2 * low)
                add(age, moment, "matched_incumbent", 0.34, 1e-4)
        if op == "prune":
            rate, gradient = 0.3 + 0.04 * math.log1p(age) / 5, math.exp(0.9 - math.log1p(age) / 6)
            add(age, moment, "incumbent", rate, 1e-4 * gradient * math.exp(noise))
        else:
            add(age, moment, "incumbent", 0.36, 1e-4)
    if op in {"prune", "turnover"}:
        add(-1, "before", "kept", 0.36, 9e-5)
        add(-1, "before", "removed", 0.27 * math.exp(noise), 7e-5 * math.exp(2 * noise))
    return rows


def _shocks(op: str, seeds: list[int], draw: np.random.Generator) -> list[Row]:
    jump = {"grow": 0.01, "prune": 0.4, "turnover": 0.02}.get(op, 0.0)
    return [
        {
            "seed": seed,
            "event": event,
            "step": event * CYCLE,
            "logit_shift": 5 * jump,
            "loss_before": 0.2,
            "loss_after": 0.2 + jump * (1 + 0.1 * float(draw.normal())),
            "acc_before": 95.0,
            "acc_after": 95.0 - 10 * jump,
        }
        for seed in seeds
        for event in range(CYCLES)
    ]


def _health(op: str, seeds: list[int], draw: np.random.Generator) -> list[Row]:
    widths = [[int(part) for part in units.split("-")] for units in _units(op)[:: EPOCHS // CYCLES]]
    rows: list[Row] = []
    for event, alive in enumerate(widths):
        for seed in seeds:
            own = {"seed": seed, "event": event, "step": (event + 1) * CYCLE}
            for place, (layer, units) in enumerate(zip(LAYERS, alive, strict=True)):
                dormant = 0.02 * (place + 1) + 0.01 * event + 0.002 * abs(float(draw.normal()))
                rows.append(
                    dict.fromkeys(SCHEMAS["train", "health"])
                    | own
                    | {
                        "layer": layer,
                        "units": units,
                        "dead": 0.01,
                        "dormant_010": dormant / 2,
                        "dormant_025": dormant,
                        "dormant_100": 2 * dormant,
                        "effective_rank": 0.3 * units,
                        "stable_rank": 1.5,
                        "weight_norm": 0.8 - 0.02 * event,
                    }
                )
            rows.append(
                dict.fromkeys(SCHEMAS["train", "health"])
                | own
                | {"layer": "all", "units": sum(alive)}
                | {"gradient_cosine": 0.03, "gradient_rank": 20.0 + event}
            )
    return rows


def _lifelines(op: str) -> list[Row]:
    """Units are added from the lowest free slot up, removed from the highest down."""
    rows: list[dict[str, Any]] = []
    for place, layer in enumerate(LAYERS):
        living: list[dict[str, Any]] = []

        def born(slot: int, step: int, name: str = layer) -> dict[str, Any]:
            life = {"seed": 0, "layer": name, "slot": slot, "born_step": step, "removed_step": None}
            rows.append(life)
            return life

        for event, units in enumerate((STARTS[op], *_units(op)[:: EPOCHS // CYCLES])):
            step, want = max(event - 1, 0) * CYCLE, int(units.split("-")[place])
            gone = REPLACED if op == "turnover" and event > 1 else max(len(living) - want, 0)
            for life in [living.pop() for _ in range(gone)]:
                life["removed_step"] = step
            living += [born(slot, step) for slot in range(len(living), want)]
    return rows


def _write_retrain(
    op: str,
    finals: dict[int, float],
    variants: tuple[str, ...],
    ok: list[int],
    draw: np.random.Generator,
) -> None:
    gains = {"masked_fresh": 0.1, "physical_fresh": 0.2, "masked_original": 0.3}
    summaries: list[Row] = []
    history: list[Row] = []
    for variant in variants:
        for seed in ok:
            final = finals[seed] + gains.get(variant, -0.2) + draw.normal(0, 0.25)
            curve = [_curve(final, epoch, "dense", 0.0) for epoch in range(1, EPOCHS + 1)]
            history += [
                {
                    "variant": variant,
                    "seed": seed,
                    "epoch": epoch,
                    "step": epoch * STEPS,
                    "loss": 1.0 / epoch,
                    "acc": acc,
                    "test_images": 360,
                    "cycle_end": int(epoch % 4 == 0),
                }
                for epoch, acc in enumerate(curve, start=1)
            ]
            summaries.append(
                {
                    "variant": variant,
                    "seed": seed,
                    "status": "ok",
                    "diverged_step": None,
                    "ticket_acc": curve[-1],
                    "ticket_taa": float(np.mean(curve[3::4])),
                    "epoch_taa": float(np.mean(curve)),
                    "delta_acc": curve[-1] - finals[seed],
                    "units": _units(op)[-1],
                    "parameters": 26122,
                    "flops": 3.2e11,
                }
            )
    write_table("retrain", "seeds", summaries)
    write_table("retrain", "history", history)


def _write_extract(op: str, ok: list[int]) -> None:
    units = _units(op)[-1]
    write_table(
        "extract",
        "seeds",
        [
            {
                "seed": seed,
                "units_requested": units,
                "units": units,
                "parameters": 26122,
                "forward_flops": 51712,
                "full_parameters": 85002,
                "full_forward_flops": 168960,
                "max_difference": 3.8e-6,
                "largest_logit": 14.2,
                "same_predictions": 1,
            }
            for seed in ok
        ],
    )


TASKS, PARTS = 8, 4


def _write_continual(
    op: str,
    names: Sequence[str],
    learners: Sequence[str],
    lengths: Sequence[int],
    seeds: int,
    draw: np.random.Generator,
) -> None:
    tables: dict[str, list[Row]] = {
        name: [] for name in ("seeds", "tasks", "profiles", "health", "matrix", "tuning")
    }
    for stream, learner, steps in itertools.product(names, learners, lengths):
        where: Row = {"stream": stream, "learner": learner, "task_steps": steps}
        level = (82.0 if stream == "permuted_inputs" else 41.0) - 5 * learners.index(learner)
        graded = stream != "slowly_changing_regression"
        for seed in range(seeds):
            curve = [level + 0.6 * task + draw.normal(0, 0.8) for task in range(TASKS)]
            units = [_units(op)[min(task * 4, EPOCHS - 1)] for task in range(TASKS)]
            tables["tasks"] += [
                {
                    **where,
                    "seed": seed,
                    "task": task,
                    "tasks": 1,
                    "step": (task + 1) * steps,
                    "online_acc": acc if graded else None,
                    "early_acc": acc - 20 if graded else None,
                    "loss": 0.5,
                    "units": units[task],
                    "alive_units": _alive(units[task]),
                    "flops": 1e9 * (task + 1),
                }
                for task, acc in enumerate(curve)
            ]
            tables["health"] += [
                {
                    **where,
                    "seed": seed,
                    "task": task,
                    "layer": layer,
                    "units": 20,
                    "dead": 0.05,
                    "dormant_025": 0.1 + 0.02 * task + draw.normal(0, 0.002),
                    "effective_rank": 12.0 - 0.3 * task + draw.normal(0, 0.1),
                    "weight_norm": 1.0 + 0.1 * task,
                }
                for task in range(TASKS)
                for layer in ("fc1", "fc2")
            ]
            tables["seeds"].append(
                {
                    **where,
                    "seed": seed,
                    "status": "ok",
                    "diverged_step": None,
                    "lr": 0.001,
                    "own": None,
                    "tasks": TASKS,
                    "taoa": float(np.mean(curve)) if graded else None,
                    "early_acc": float(np.mean(curve)) - 20 if graded else None,
                    "first_task": curve[0] if graded else None,
                    "last_task": curve[-1] if graded else None,
                    "slope": 0.6 if graded else None,
                    "plasticity_loss": curve[0] - curve[-1] if graded else None,
                    "steps_50": 75.0 if graded else None,
                    "steps_90": 300.0 + seed if graded else None,
                    "loss": 0.5,
                    "final_acc": None,
                    "forgetting": None,
                    "backward_transfer": None,
                    "forward_transfer": None,
                    "units": units[-1],
                    "flops": 8e9,
                }
            )
        tables["profiles"] += [
            {
                **where,
                "task": task,
                "part": part,
                "step": 125 * (part + 1),
                "acc": level - 20 + 6 * part,
                "seeds": seeds,
            }
            for task in range(TASKS)
            for part in range(PARTS)
        ]
    for name, rows in tables.items():
        write_table("continual", name, rows)


def _write_metrics(ok: list[int]) -> None:
    write_json(metrics_path("train"), {"status": "ok", "cycle": {"acc": 96.6}})
    write_json(
        metrics_path("prepare"),
        {
            "data": {
                "train_images": 1437,
                "validation_images": 0,
                "test_images": 360,
                "classes": 10,
            }
        },
    )
    for stage in ("extract", "retrain", "continual"):
        write_json(metrics_path(stage), {})
    write_json(
        timing_path("train"),
        {
            "metrics": sha256(metrics_path("train")),
            "finished": "2026-06-01T10:00:00+00:00",
            "seconds": 41.2,
            "device": "cpu",
            "torch": "2",
        },
    )
    write_json(
        timing_path("extract"),
        {
            "metrics": sha256(metrics_path("extract")),
            "seconds": 1.5,
            "latency_ms": {"masked_batch_1": 0.42, "extracted_batch_1": 0.17},
            "seeds": len(ok),
        },
    )
