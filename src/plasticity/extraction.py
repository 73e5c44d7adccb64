"""The extract stage: every seed's subnetwork, its equality with the masked network, its cost."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from plasticity import files, measures, recipe, subnetwork
from plasticity.config import Params
from plasticity.data import Dataset
from plasticity.errors import CheckError
from plasticity.network import forward
from plasticity.results import read_state
from plasticity.state import State
from plasticity.tables import Row, write_table

TOLERANCE = 1e-5
"""Largest difference of a logit allowed, relative to the largest logit (float32)."""
LATENCY_BATCHES = (1, 128)
LATENCY_REPEATS = 30


def extract_all(params: Params, dataset: Dataset, folder: Path) -> dict[str, object]:
    """Write the subnetwork of every seed below ``folder``; return latencies in milliseconds.

    Raises
    ------
    CheckError
        When a subnetwork has other units than asked for, or other logits than its masked network.
    """
    backbone = recipe.architecture(params, dataset)
    requested = measures.units_text(recipe.targets(params, backbone))
    rows: list[Row] = []
    latency: dict[str, float] = {}
    for seed in range(params.train.seeds):
        state = read_state(seed)
        path = folder / files.subnetwork_path(seed).name
        subnetwork.save(path, state, 0, backbone, dataset)
        extracted = subnetwork.load_subnetwork(path)
        row = _compare(state, extracted, dataset) | {
            "seed": seed,
            "units_requested": requested,
            "full_parameters": measures.num_parameters(backbone),
            "full_forward_flops": measures.forward_flops(backbone),
        }
        if int(state.diverged[0]) < 0:
            _check(row)
        rows.append(row)
        if not latency:
            latency = _latency(state, extracted, dataset)
    write_table("extract", "seeds", rows)
    first = rows[0]
    files.write_json(
        files.metrics_path("extract"),
        {
            "subnetwork": {
                "units": first["units"],
                "parameters": first["parameters"],
                "parameters_full": first["full_parameters"],
                "forward_flops": first["forward_flops"],
                "forward_flops_full": first["full_forward_flops"],
                "max_difference": max(float(row["max_difference"] or 0) for row in rows),
            }
        },
    )
    return {"latency_ms": latency}


def _compare(state: State, extracted: subnetwork.Subnetwork, dataset: Dataset) -> dict[str, Any]:
    """Return how far the logits of the masked and of the extracted network differ."""
    largest = difference = 0.0
    same = True
    for part in torch.split(dataset.test_images, 1000):
        x = extracted.standardise(part)
        full = _masked_logits(state, extracted, x)
        with torch.no_grad():
            small = extracted.module(x)
        largest = max(largest, float(full.abs().max()))
        difference = max(difference, float((full - small).abs().max()))
        same = same and bool((full.argmax(1) == small.argmax(1)).all())
    alone = extracted.architecture
    return {
        "units": measures.units_text(alone.widths),
        "parameters": sum(p.numel() for p in extracted.module.parameters()),
        "forward_flops": measures.forward_flops(alone),
        "max_difference": difference,
        "largest_logit": largest,
        "same_predictions": int(same),
    }


def _masked_logits(state: State, extracted: subnetwork.Subnetwork, x: Tensor) -> Tensor:
    """Return the logits of the full network with its masks, for standardised images."""
    x = x if extracted.architecture.trunk else x.flatten(1)
    return forward(state.weights, x[None], state.alive).logits[0]


def _check(row: Row) -> None:
    where = f"extract: seed {row['seed']}"
    if row["units"] != row["units_requested"]:
        raise CheckError(
            f"{where}: got {row['units']} units, expected {row['units_requested']}; the edits did "
            "not reach their target"
        )
    limit = TOLERANCE * float(row["largest_logit"] or 0)
    if float(row["max_difference"] or 0) > limit:
        raise CheckError(
            f"{where}: the extracted network's logits differ by {row['max_difference']} from the "
            f"masked network's, more than {limit}; extraction is wrong for this network"
        )


def _latency(state: State, extracted: subnetwork.Subnetwork, dataset: Dataset) -> dict[str, float]:
    """Return the median time of a forward pass, masked and extracted, per batch size."""
    result = {}
    for batch in LATENCY_BATCHES:
        x = extracted.standardise(dataset.test_images[:batch])
        calls: dict[str, Callable[[Tensor], Tensor]] = {
            "masked": lambda x: _masked_logits(state, extracted, x),
            "extracted": extracted.module,
        }
        for name, call in calls.items():
            seconds = []
            with torch.no_grad():
                for _ in range(LATENCY_REPEATS):
                    started = time.perf_counter()
                    call(x)
                    seconds.append(time.perf_counter() - started)
            result[f"{name}_batch_{batch}"] = round(1000 * median(seconds), 4)
    return result
