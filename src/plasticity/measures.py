"""Counts and averages: parameters, FLOPs, accuracy, cohorts, the newborn ratio."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from torch import Tensor

from plasticity.edit import Record
from plasticity.network import Architecture
from plasticity.probe import UnitStatistics
from plasticity.state import State
from plasticity.stats import Interval, t_interval
from plasticity.tables import Row


def num_parameters(architecture: Architecture) -> int:
    """Return weights and biases of one network whose ``widths`` are its alive units."""
    channels = (architecture.image[0], *architecture.trunk)
    sizes = architecture.sizes
    trunk = sum(9 * a * b + b for a, b in pairwise(channels))
    return trunk + sum(a * b + b for a, b in pairwise(sizes))


def _multiply_adds(architecture: Architecture) -> list[int]:
    """Return the multiply-adds of each layer for one image, forward."""
    channels, height, width = architecture.image
    layers = []
    for out in architecture.trunk:
        layers.append(9 * channels * out * height * width)
        channels, height, width = out, height // 2, width // 2
    sizes = architecture.sizes
    return layers + [a * b for a, b in pairwise(sizes)]


def forward_flops(architecture: Architecture) -> int:
    """Return the FLOPs of one image's forward pass: 2 per multiply-add, nothing else counted."""
    return 2 * sum(_multiply_adds(architecture))


def training_flops(architecture: Architecture) -> int:
    """Return the FLOPs of one image's training step.

    Forward, weight gradients, and input gradients of all layers but the first.
    """
    layers = _multiply_adds(architecture)
    return 2 * (3 * sum(layers) - layers[0])


def units_text(widths: Sequence[int]) -> str:
    """Return alive units per hidden layer as tables write them: ``205-205-102``."""
    return "-".join(map(str, widths))


def cohort_rows(
    statistics: UnitStatistics,
    cohorts: Sequence[Mapping[str, Tensor]],
    seeds: Sequence[int],
    where: Mapping[str, int | str],
) -> list[Row]:
    """Return the rows of ``train/cohorts.csv`` for one probe; empty cohorts have none.

    Parameters
    ----------
    statistics
        Of all slots.
    cohorts
        For each hidden layer, name -> (S, H) bool.
    seeds
        The S replicates.
    where
        event, cycle, step, age and moment of the probe.
    """
    rows: list[Row] = []
    for layer, members in enumerate(cohorts):
        rate, gradient = statistics.activation_rate[layer], statistics.gradient[layer]
        for cohort, member in members.items():
            for row, seed in enumerate(seeds):
                chosen = member[row]
                units = int(chosen.sum())
                if units == 0:
                    continue
                grads = gradient[row][chosen].double()
                felt = grads[grads > 0]
                rows.append(
                    {
                        "seed": seed,
                        **where,
                        "layer": layer,
                        "cohort": cohort,
                        "units": units,
                        "activation_rate": _finite(rate[row][chosen].double().mean().item()),
                        "gradient": _finite(grads.mean().item()),
                        "log_gradient": _finite(felt.log().mean().item()) if len(felt) else None,
                        "silent": int((grads == 0).sum()),
                    }
                )
    return rows


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def cohorts_before(state: State, record: Record) -> list[dict[str, Tensor]]:
    """Return the cohorts just before an event: what it will remove, keep and switch on."""
    result = []
    for alive, born, removed in zip(state.alive, record.born, record.removed, strict=True):
        if bool(removed.any()):
            named = {"kept": alive & ~removed, "removed": removed}
        else:
            named = {"incumbent": alive}
        result.append(named | {"newborn": born, "masked": ~alive & ~born})
    return result


def cohorts_after(state: State, record: Record) -> list[dict[str, Tensor]]:
    """Return the cohorts after an event: newborn are its own, incumbent all others alive."""
    return [
        {"newborn": born, "incumbent": alive & ~born, "masked": ~alive}
        for alive, born in zip(state.alive, record.born, strict=True)
    ]


def newborn_ratio(rows: Iterable[Row], column: str, moment: str, ok: set[int]) -> Interval | None:
    """Return the log newborn/incumbent ratio: per seed its mean over layers and events, then t.

    Events at step 0 are left out: there everybody is untrained. None where there are no newborns.

    Parameters
    ----------
    rows
        Of ``train/cohorts.csv``.
    column
        ``activation_rate`` or ``gradient``.
    moment
        ``birth`` or ``end``.
    ok
        Seeds that did not diverge.
    """
    values: dict[tuple[int, int, int], dict[str, float]] = {}
    for row in rows:
        seed, event, layer = int(row["seed"] or 0), int(row["event"] or 0), int(row["layer"] or 0)
        value = row[column]
        if seed not in ok or event == 0 or row["moment"] != moment or not value:
            continue
        values.setdefault((seed, event, layer), {})[str(row["cohort"])] = float(value)
    logs: dict[int, list[float]] = {}
    for (seed, _, _), pair in sorted(values.items()):
        if "newborn" in pair and "incumbent" in pair:
            logs.setdefault(seed, []).append(math.log(pair["newborn"] / pair["incumbent"]))
    per_seed = [math.fsum(parts) / len(parts) for parts in logs.values()]
    return t_interval(per_seed) if per_seed else None
