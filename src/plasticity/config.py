"""``params.yaml`` -> frozen, complete parameters; all errors at once. No torch.

``null`` in a section means the preset's value (``presets.<scale>.<dataset>``), ``all`` means all.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from plasticity import catalogue
from plasticity.combinations import impossible
from plasticity.errors import ConfigError
from plasticity.escapes import brief, listed, quoted
from plasticity.files import PARAMS
from plasticity.sections import SCALES, Params, nearest
from plasticity.yaml12 import read_yaml

_EDITING = ("op", "dataset", "scale", "compactness", "data", "network", "edit", "intervention",
            "train", "measure")  # fmt: skip
STAGE_PARAMS = {
    "prepare": ("dataset", "scale", "data"),
    "train": _EDITING,
    "extract": _EDITING,
    "retrain": (*_EDITING, "retrain"),
    "continual": (*_EDITING, "continual"),
    "report": (*_EDITING, "retrain", "continual", "report"),
}
"""What each stage may see, and so what ``dvc.yaml`` must list and a checkpoint's key must hold."""


def load(stage: str, path: Path = PARAMS) -> Params:
    """Return the parameters of one experiment, complete and checked, as one stage may see them.

    The whole file is checked, whatever the stage, but for presets that are not chosen. A section
    that is not in ``STAGE_PARAMS`` is absent from the result, so that a stage cannot depend on what
    DVC does not know of.

    Raises
    ------
    ConfigError
        Listing every error of the file with its key, its value and what is allowed.
    """
    params = resolve(read_yaml(path), str(path))
    seen = {section: getattr(params, section) for section in STAGE_PARAMS[stage]}
    return Params.model_construct(**seen)


def resolve(tree: Mapping[str, Any], name: str = "params.yaml") -> Params:
    """Return complete parameters from the tree of a parameter file; see ``load``."""
    filled, origin, errors = _fill_from_preset(tree)
    params: Params | None = None
    try:
        params = Params.model_validate(filled)
    except ValidationError as invalid:
        known = _preset_exists(tree.get("scale"), tree.get("dataset"))
        errors += [
            _explain(error, origin)
            for error in invalid.errors()
            if known or len(error["loc"]) == 1 or not _is_null(error)  # else the preset is at fault
        ]
    if params is not None:
        errors += impossible(params)
    if errors or params is None:
        every = sorted(set(errors))
        noun = "error" if len(every) == 1 else "errors"
        lines = listed(every, f"{name}: ")
        raise ConfigError(f"{len(every)} {noun} in the parameters\n{lines}")
    return params


def _fill_from_preset(
    tree: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[tuple[str, ...], str], list[str]]:
    """Return the tree without presets, each null filled; where a value came from; errors."""
    filled = {key: value for key, value in tree.items() if key != "presets"}
    origin: dict[tuple[str, ...], str] = {}
    scale, dataset = tree.get("scale"), tree.get("dataset")
    if not _preset_exists(scale, dataset):
        preset: Any = {}
        errors = []
    else:
        where = f"presets.{scale}.{dataset}"
        preset = _descend(tree.get("presets"), str(scale), str(dataset))
        if not isinstance(preset, dict):
            return (
                filled,
                origin,
                [f"{where}: got {quoted(preset)}, expected a mapping of sections"],
            )
        errors = [
            f"{where}.{brief(section)}: got {quoted(values)}, expected a mapping"
            for section, values in preset.items()
            if not isinstance(values, dict)
        ]
        for section, values in preset.items():
            if not isinstance(values, dict):
                continue
            own = filled.get(section)
            if not isinstance(own, dict):
                shown = brief(section)
                errors.append(f"{where}.{shown}: no section '{shown}' to give values to")
                continue
            unknown = sorted(set(map(str, values)) - set(map(str, own)))
            errors += [
                f"{where}.{section}.{brief(key)}: unknown key{nearest(key, map(str, own))}"
                for key in unknown
            ]
            taken = {k: v for k, v in values.items() if k in own and own[k] is None}
            filled[section] = own | taken
            origin |= {(section, str(k)): f"{where}.{section}.{k}" for k in taken}
    return filled, origin, errors


def _preset_exists(scale: Any, dataset: Any) -> bool:
    names = isinstance(scale, str) and isinstance(dataset, str)
    return names and scale in SCALES and dataset in catalogue.DATASETS


def _descend(tree: Any, *keys: str) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _is_null(error: Any) -> bool:
    """Return whether a known key is there, with no value."""
    return error["input"] is None and error["type"] not in {"extra_forbidden", "missing"}


def _explain(error: Any, origin: Mapping[tuple[str, ...], str]) -> str:
    """Return one line: key, value, what is allowed, the nearest name."""
    location = tuple(map(brief, error["loc"]))
    key = origin.get(location[:2], ".".join(location[:2]))
    key = ".".join((key, *location[2:]))
    value = error["input"]
    if _is_null(error):
        return f"{key}: is null and the preset gives no value; set it"
    match error["type"]:
        case "extra_forbidden":
            parent = _descend_model(location[:-1])
            return f"{key}: unknown key{nearest(location[-1], parent)}"
        case "missing":
            return f"{key}: is missing; put it back (null takes the preset's value)"
        case "value_error":
            return f"{key}: {error['ctx']['error']}"
        case "literal_error":
            hint = (
                nearest(value, re.findall(r"'([^']*)'", error["ctx"]["expected"]))
                if (isinstance(value, str))
                else ""
            )
            return f"{key}: got {quoted(value)}, expected {error['ctx']['expected']}{hint}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{key}: got {value}, expected a finite number"
    expected = error["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"{key}: got {quoted(value)} ({type(value).__name__}), expected {expected}"


def _descend_model(location: tuple[str, ...]) -> list[str]:
    model: Any = Params
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return []
        model = field.annotation
    return list(getattr(model, "model_fields", {}))
