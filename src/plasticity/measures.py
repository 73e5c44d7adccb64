"""Counts and averages: parameters, FLOPs, the newborn ratio."""

import math
from collections.abc import Iterable, Sequence

from plasticity.stats import Interval, t_interval
from plasticity.tables import Row
from plasticity.weights import Architecture


def num_parameters(architecture: Architecture) -> int:
    """Return weights and biases of one network whose ``widths`` are its alive units."""
    trunk = sum(9 * a * b + b for a, b in architecture.channels)
    return trunk + sum(a * b + b for a, b in architecture.linears)


def _multiply_adds(architecture: Architecture) -> list[int]:
    """Return the multiply-adds of each layer for one image, forward."""
    _, height, width = architecture.image
    layers = []
    for inputs, outputs in architecture.channels:
        layers.append(9 * inputs * outputs * height * width)
        height, width = height // 2, width // 2
    return layers + [a * b for a, b in architecture.linears]


def forward_flops(architecture: Architecture) -> int:
    """Return the FLOPs of one image's forward pass: 2 per multiply-add, nothing else counted.

    Elementwise work is left out: activations, pooling and normalisation.
    """
    return 2 * sum(_multiply_adds(architecture))


def training_flops(architecture: Architecture) -> int:
    """Return the FLOPs of one image's training step.

    Forward, weight gradients, and input gradients of all layers but the first.
    """
    layers = _multiply_adds(architecture)
    return 2 * (3 * sum(layers) - layers[0])


def units_text(widths: Sequence[int]) -> str:
    """Return alive units per layer as tables write them: ``205-205-102``."""
    return "-".join(map(str, widths))


def newborn_ratio(rows: Iterable[Row], column: str, moment: str, ok: set[int]) -> Interval | None:
    """Return the log newborn/incumbent ratio: per seed its mean over layers and events, then t.

    Events at step 0 are left out: there everybody is untrained. So is a layer of an event where
    either mean is 0, which has no logarithm; the report counts those. None where there are no
    newborns.

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
    values: dict[tuple[int, int, str], dict[str, float]] = {}
    for row in rows:
        seed, event, layer = int(row["seed"] or 0), int(row["event"] or 0), str(row["layer"])
        born, value = int(row["step"] or 0) - int(row["age"] or 0), row[column]
        if seed not in ok or born == 0 or row["moment"] != moment or not value:
            continue
        values.setdefault((seed, event, layer), {})[str(row["cohort"])] = float(value)
    logs: dict[int, list[float]] = {}
    for (seed, _, _), pair in sorted(values.items()):
        if "newborn" in pair and "incumbent" in pair:
            logs.setdefault(seed, []).append(math.log(pair["newborn"] / pair["incumbent"]))
    per_seed = [math.fsum(parts) / len(parts) for parts in logs.values()]
    return t_interval(per_seed) if per_seed else None
