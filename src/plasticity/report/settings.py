"""What differs from the default rules, in words: a report names every intervention it is about."""

from collections.abc import Mapping

from plasticity import catalogue
from plasticity.catalogue import ADDING, REMOVING
from plasticity.sections import Choice, Params

TABLES: Mapping[str, Mapping[str, catalogue.Entry]] = {
    "selection.grow": catalogue.GROW_SELECTION,
    "selection.prune": catalogue.PRUNE_SELECTION,
    "insertion": catalogue.INSERTION,
    "gate": catalogue.GATE,
    "optimizer_state": catalogue.OPTIMIZER_STATE,
    "trainability": catalogue.TRAINABILITY,
    "activation": catalogue.ACTIVATION,
    "regularizer": catalogue.REGULARIZER,
    "normalisation": catalogue.NORMALISATION,
}
"""Families of rules; the first entry of each is the default."""
EVERYWHERE = ("activation", "normalisation", "regularizer")
"""Families that every operator uses."""
EDITS = {
    "continuity": "paper",
    "rewind_when": "removed",
    "allocation": "neutral",
    "count_rule": "ceil_remaining",
    "layers": "head",
    "maturity": 0,
}
"""Defaults of the clock and of what continues."""
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
    for name, table in TABLES.items():
        choice = _choice(params, name)
        if choice.rule != next(iter(table)):
            rows.append((name, f"{_told(choice, table)}{_idle(name, params.op)}"))
    for key, default in EDITS.items():
        value = getattr(params.edit, key)
        if value != default:
            rows.append((f"edit.{key}", str(value)))
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


def _idle(name: str, op: str) -> str:
    """Return a remark where the operator never comes to use a rule."""
    always = tuple(catalogue.OPERATORS)
    needs = {"selection.prune": REMOVING, **dict.fromkeys(EVERYWHERE, always)}.get(name, ADDING)
    return "" if op in needs else f", which {op} never uses"
