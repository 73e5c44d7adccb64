"""The extract stage: every seed's subnetwork, its equality with the masked network, its cost."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from plasticity import files, measures, recipe, structure, subnetwork
from plasticity.data import Dataset
from plasticity.errors import CheckError
from plasticity.network import forward
from plasticity.results import read_state
from plasticity.rules import gate
from plasticity.sections import Params
from plasticity.state import State
from plasticity.tables import Row, write_table
from plasticity.units import Slots, slots_of, with_slots

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
    requested = measures.units_text(_counted(structure.targets(params, backbone), params))
    rows: list[Row] = []
    latency: dict[str, float] = {}
    for seed in params.train.all_seeds:
        masked = _Masked(read_state(seed, backbone), params)
        path = folder / files.subnetwork_path(seed).name
        chosen = params.intervention
        subnetwork.save(
            path,
            _folded(masked),
            0,
            backbone,
            dataset,
            chosen.activation,
            normalise=chosen.normalisation.rule == "layer_norm",
        )
        extracted = subnetwork.load_subnetwork(path)
        row = _compare(masked, extracted, dataset) | {
            "seed": seed,
            "units_requested": requested,
            "full_parameters": measures.num_parameters(backbone),
            "full_forward_flops": measures.forward_flops(backbone),
        }
        if int(masked.state.diverged[0]) < 0:
            _check(row)
        rows.append(row)
        if not latency:
            latency = _latency(masked, extracted, dataset)
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


def _counted(units: tuple[int, ...], params: Params) -> tuple[int, ...]:
    """Return the units of the layers that can be edited."""
    return units if params.edit.layers == "all" else units[len(params.network.trunk) :]


class _Masked:
    """One seed's network at full capacity, as it ended training."""

    def __init__(self, state: State, params: Params) -> None:
        self.state, self.params = state, params
        fade = params.intervention.gate
        self.strengths = gate.strengths(state.units, fade.rule, fade.options)
        self._activation = recipe.activation_of(params)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of standardised images."""
        x = x if self.params.network.trunk else x.flatten(1)
        dtype = self.state.weights.bias[0].dtype
        pairs = zip(self.state.alive, self.strengths, strict=True)
        scale = tuple((alive * strength).to(dtype) for alive, strength in pairs)
        return forward(self.state.weights, x[None], self._activation, scale).logits[0]


def _folded(masked: _Masked) -> State:
    """Return the state with every unit's strength taken into its outgoing weights."""
    weights = masked.state.weights
    for layer, strength in enumerate(masked.strengths):
        slots = slots_of(weights, layer)
        outgoing = slots.outgoing * strength[:, :, None].to(slots.outgoing.dtype)
        kept = Slots(slots.incoming, slots.bias, outgoing, slots.next_bias)
        weights = with_slots(weights, layer, kept)
    return replace(masked.state, weights=weights)


def _compare(masked: _Masked, extracted: subnetwork.Subnetwork, dataset: Dataset) -> dict[str, Any]:
    """Return how far the logits of the masked and of the extracted network differ."""
    largest = difference = 0.0
    same = True
    for part in torch.split(dataset.test_images, 1000):
        x = extracted.standardise(part)
        full = masked.logits(x)
        with torch.no_grad():
            small = extracted.module(x)
        largest = max(largest, float(full.abs().max()))
        difference = max(difference, float((full - small).abs().max()))
        same = same and bool((full.argmax(1) == small.argmax(1)).all())
    alone = extracted.architecture
    return {
        "units": measures.units_text(_counted(alone.units, masked.params)),
        "parameters": sum(p.numel() for p in extracted.module.parameters()),
        "forward_flops": measures.forward_flops(alone),
        "max_difference": difference,
        "largest_logit": largest,
        "same_predictions": int(same),
    }


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


def _latency(
    masked: _Masked, extracted: subnetwork.Subnetwork, dataset: Dataset
) -> dict[str, float]:
    """Return the median time of a forward pass, masked and extracted, per batch size."""
    result = {}
    for batch in LATENCY_BATCHES:
        x = extracted.standardise(dataset.test_images[:batch])
        calls: dict[str, Callable[[Tensor], Tensor]] = {
            "masked": masked.logits,
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
