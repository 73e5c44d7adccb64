"""What differs from the default rules, in words: a report names every intervention it is about."""

from collections.abc import Mapping

from plasticity import catalogue, remarks
from plasticity.remarks import FAMILIES
from plasticity.sections import Choice, Params

PLAIN = {
    "data.subset": "random",
    "network.fan_in": "capacity",
    "edit.continuity": "paper",
    "edit.rewind_when": "removed",
    "edit.allocation": "neutral",
    "edit.count_rule": "ceil_remaining",
    "edit.until": "last_cycle",
    "edit.layers": "head",
    "edit.maturity": 0,
    "train.momentum": 0.0,
    "train.weight_decay": 0.0,
    "train.schedule": "cosine",
    "train.hold": 0.6,
    "train.last_batch": "keep",
    "train.precision": "float32",
}
"""Parameters that are no rule, with their defaults: those that change what is compared."""
OWN = {
    "turnover": ("turnover",),
    "single_event": ("at_epoch",),
    "grow_then_prune": ("peak",),
    "prune_then_grow": ("trough",),
}
"""Settings that an operator always names."""


def changed(params: Params) -> list[tuple[str, str]]:
    """Return name and value of every setting that is not the default, and of the operator's own."""
    rows = []
    idle = remarks.idle(params)
    for name, table in FAMILIES.items():
        choice = _choice(params, name)
        if choice.rule != next(iter(table)):
            unused = f", which {params.op} never uses" if f"intervention.{name}" in idle else ""
            rows.append((name, f"{_told(choice, table)}{unused}"))
    for key, default in PLAIN.items():
        value = remarks.value_of(params, key)
        if value != default:
            rows.append((key, str(value)))
    if params.measure.accuracy_on != "test":
        told = f"{params.measure.accuracy_on}: every accuracy here is of images put aside"
        rows.append(("measure.accuracy_on", told))
    for key in OWN.get(params.op, ()):
        value = getattr(params.edit, key)
        known = isinstance(value, Choice)
        rows.append((f"edit.{key}", _told(value, catalogue.TURNOVER) if known else str(value)))
    return rows


def _choice(params: Params, name: str) -> Choice:
    family: Choice = params.intervention  # type: ignore[assignment]
    for part in name.split("."):
        family = getattr(family, part)
    return family


def _told(choice: Choice, table: Mapping[str, catalogue.Entry]) -> str:
    """Return a rule with its label, and its options where it has any."""
    options = ", ".join(f"{key} {value}" for key, value in choice.options.items())
    label = table[choice.rule].label
    return f"{choice.rule} ({label}{'; ' if options else ''}{options})"
