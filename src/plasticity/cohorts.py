"""Rows of ``train/cohorts.csv`` and ``train/health.csv``: what groups of units do on a probe."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from plasticity import diagnostics
from plasticity.edit import Record
from plasticity.probe import Measurement
from plasticity.state import FOUNDER, State
from plasticity.tables import Row
from plasticity.units import output_mask, slots_of

Updates = tuple[tuple[Tensor, Tensor], ...]
"""For each layer of units (S, H) |change| / |weight| of the last step, incoming and outgoing."""

AVERAGED = (
    "activation_rate",
    "gradient",
    "log_gradient",
    "log_norm",
    "log_gate",
    "log_error",
    "log_alignment",
    "update_in",
    "update_out",
    "contribution",
)
"""Columns that are a mean over a cohort's units; logarithms over those that feel a gradient."""
GRADIENT_IMAGES = 64


def before(state: State, record: Record) -> list[dict[str, Tensor]]:
    """Return the cohorts just before an event: what it will remove, keep and switch on."""
    result = []
    for alive, born, removed in zip(state.alive, record.born, record.removed, strict=True):
        if bool(removed.any()):
            named = {"kept": alive & ~removed, "removed": removed}
        else:
            named = {"incumbent": alive & ~born}
        result.append(named | {"newborn": born & ~removed, "masked": ~alive & ~born})
    return result


def after(state: State, event: int, moment: str) -> list[dict[str, Tensor]]:
    """Return the cohorts after an event: newborn are its own, incumbent all others alive.

    At birth also the masked slots; at the end of a cycle also founders and the newborns of every
    earlier event, each by itself.
    """
    result = []
    for units in state.units:
        newborn = units.alive & (units.cohort == event)
        named = {"newborn": newborn, "incumbent": units.alive & ~newborn}
        if moment == "birth":
            named["masked"] = ~units.alive
        if moment == "end":
            named["founder"] = units.alive & (units.cohort == FOUNDER) & ~units.asleep
            for earlier in range(event):
                named[f"event{earlier}"] = units.alive & (units.cohort == earlier)
        result.append(named)
    return result


def rows(  # noqa: PLR0913 (what was measured, on whom, and where it goes)
    state: State,
    measurement: Measurement,
    cohorts: Sequence[Mapping[str, Tensor]],
    threshold: float,
    seeds: Sequence[int],
    names: Sequence[str],
    where: Mapping[str, int | str],
    gates: Sequence[Tensor] | None = None,
    updates: Updates | None = None,
    *,
    matched: bool = False,
) -> list[Row]:
    """Return the rows of one probe; empty cohorts have none.

    Parameters
    ----------
    state
        S networks at full capacity.
    measurement
        Of all their slots.
    cohorts
        For each layer of units, name -> (S, H) bool.
    threshold
        An activation above it counts as active.
    seeds, names
        The S replicates; the names of the layers.
    where
        event, cycle, step, age and moment of the probe.
    gates
        (S, H) for each layer: strengths of units that fade in.
    updates
        Of the last optimizer step, where it is known.
    matched
        Whether newborns are also compared with incumbents that are open as often.
    """
    result: list[Row] = []
    for layer, members in enumerate(cohorts):
        if measurement.signals[layer] is None:
            continue
        gate = None if gates is None else gates[layer]
        columns, felt = _of_units(state, measurement, layer, threshold, gate)
        if updates is not None:
            columns["update_in"], columns["update_out"] = updates[layer]
        weights = {name: mask.double() for name, mask in members.items()}
        if matched and bool(members["newborn"].any()):
            weights |= _matched(columns, members)
        result += _means(columns, felt, weights, seeds, dict(where) | {"layer": names[layer]})
    return result


def _matched(columns: Mapping[str, Tensor], members: Mapping[str, Tensor]) -> dict[str, Tensor]:
    pair = diagnostics.matched_weights(columns["gate"], members["newborn"], members["incumbent"])
    return {"matched_newborn": pair.newborn.double(), "matched_incumbent": pair.weights}


def _of_units(
    state: State, measurement: Measurement, layer: int, threshold: float, gate: Tensor | None
) -> tuple[dict[str, Tensor], Tensor]:
    """Return each quantity of a layer's slots, (S, H) float64, and who feels a gradient."""
    signals = measurement.signals[layer]
    assert signals is not None
    units, slots = state.units[layer], slots_of(state.weights, layer)
    reaching = output_mask(state.weights, state.alive, layer)
    outgoing = slots.outgoing if gate is None else slots.outgoing * gate[:, :, None]
    columns = {
        # Into a float tensor: 5 times faster on a CPU than a mean of booleans.
        "activation_rate": torch.gt(
            signals.hidden, threshold, out=torch.empty_like(signals.hidden)
        ).mean(1),
        "gradient": signals.delta.abs().mean(1),
        "contribution": units.alive.sum(1, keepdim=True)
        * diagnostics.contribution_share(signals.hidden, outgoing, units.alive, reaching),
        "gate": signals.derivative.abs().mean(1),
    }
    depth = len(state.weights.filters)
    if layer < depth or slots.next_bias is None:
        return {name: part.double() for name, part in columns.items()}, columns["gradient"] > 0
    parts = diagnostics.decompose(
        outgoing, reaching, signals.derivative, measurement.flow.error[layer - depth + 1]
    )
    columns |= {
        "log_gradient": parts.log_gradient,
        "log_norm": parts.log_norm,
        "log_gate": parts.log_gate,
        "log_error": parts.log_error.expand_as(parts.log_norm),
        "log_alignment": parts.log_alignment,
    }
    return {name: part.double() for name, part in columns.items()}, parts.felt


def _means(
    columns: Mapping[str, Tensor],
    felt: Tensor,
    weights: Mapping[str, Tensor],
    seeds: Sequence[int],
    where: Mapping[str, int | str],
) -> list[Row]:
    """Return one row for each cohort and seed: weighted means of every column."""
    stacked = torch.stack(list(weights.values()))  # (C, S, H)
    count = (stacked > 0).sum(2).tolist()
    silent = ((stacked > 0) & ~felt).sum(2).tolist()
    feeling = stacked * felt
    means: dict[str, list[list[float]]] = {}
    for name, values in columns.items():
        weight = feeling if name.startswith("log_") else stacked
        safe = torch.where(weight > 0, values, 0.0)
        means[name] = ((weight * safe).sum(2) / weight.sum(2)).tolist()
    result: list[Row] = []
    for index, cohort in enumerate(weights):
        for row, seed in enumerate(seeds):
            if count[index][row] == 0:
                continue
            measured = {
                name: _finite(means[name][index][row]) if name in means else None
                for name in AVERAGED
            }
            median = None
            if "log_gradient" in columns and not cohort.startswith("matched"):
                chosen = columns["log_gradient"][row][feeling[index, row] > 0]
                # Of an even number torch takes the lower of the two in the middle.
                median = float(chosen.median()) if len(chosen) else None
            result.append(
                {
                    "seed": seed,
                    **where,
                    "cohort": cohort,
                    "units": count[index][row],
                    "silent": silent[index][row],
                    **measured,
                    "median_log_gradient": median,
                }
            )
    return result


def _finite(value: float) -> float | None:
    """Return a number with nine significant digits, which keeps tables in Git small."""
    return float(f"{value:.9g}") if math.isfinite(value) else None


def health_rows(
    state: State,
    measurement: Measurement,
    seeds: Sequence[int],
    names: Sequence[str],
    where: Mapping[str, int | str],
) -> list[Row]:
    """Return the rows of ``train/health.csv`` for one probe: each layer's alive units, then all.

    The row ``all`` has what belongs to the whole network: how alike the gradients of
    ``GRADIENT_IMAGES`` images are, over the fully connected layers.
    """
    result: list[Row] = []
    empty = dict.fromkeys(HEALTH, None)
    depth = len(state.weights.filters)
    for layer, units in enumerate(state.units):
        signals = measurement.signals[layer]
        if signals is None:
            continue
        incoming = slots_of(state.weights, layer).incoming
        for row, seed in enumerate(seeds):
            slots = units.alive[row].nonzero()[:, 0]
            hidden = signals.hidden[row : row + 1].index_select(2, slots)
            shares = diagnostics.dormant_share(hidden)[0].tolist()
            result.append(
                {
                    "seed": seed,
                    **where,
                    "layer": names[layer],
                    **empty,
                    "units": len(slots),
                    **dict(zip(("dead", "dormant_010", "dormant_025", "dormant_100"), shares,
                               strict=True)),
                    "effective_rank": _number(diagnostics.effective_rank(hidden)),
                    "stable_rank": _number(diagnostics.stable_rank(hidden)),
                    "weight_norm": _number(incoming[row, slots].norm(dim=1).mean()[None]),
                }
            )  # fmt: skip
    part = slice(0, GRADIENT_IMAGES)
    cosines = diagnostics.example_gradient_cosines(
        [entered[:, part] for entered in measurement.trace.inputs],
        [error[:, part] for error in measurement.flow.error],
    )
    alike = diagnostics.cosine_covariance(torch.nan_to_num(cosines))
    for row, seed in enumerate(seeds):
        result.append(
            {
                "seed": seed,
                **where,
                "layer": "all",
                **empty,
                "units": sum(state.widths()[depth:]),
                "gradient_cosine": _number(alike.mean_cosine[row : row + 1]),
                "gradient_rank": _number(alike.effective_rank[row : row + 1]),
            }
        )
    return result


HEALTH = (
    "units",
    "dead",
    "dormant_010",
    "dormant_025",
    "dormant_100",
    "effective_rank",
    "stable_rank",
    "weight_norm",
    "gradient_cosine",
    "gradient_rank",
)


def _number(value: Tensor) -> float | None:
    return _finite(float(value[0]))
