"""``params.yaml`` -> frozen, complete parameters; all errors at once. No torch.

``null`` in a section means the preset's value (``presets.<scale>.<dataset>``), ``all`` means all.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
)

from plasticity import catalogue
from plasticity.errors import ConfigError
from plasticity.files import PARAMS
from plasticity.yaml12 import read_yaml

SCALES = ("tiny", "quick", "laptop", "paper")

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


def _nearest(name: str, allowed: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def _one_of(names: Iterable[str]) -> Callable[[str], str]:
    allowed = tuple(names)

    def check(name: str) -> str:
        if name not in allowed:
            raise ValueError(
                f"unknown '{name}'{_nearest(name, allowed)} (allowed: {', '.join(allowed)})"
            )
        return name

    return check


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("names one entry twice")
    return values


Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]


def _size(value: Any) -> int | Literal["all"]:
    if value == "all":
        return "all"
    if type(value) is int and value >= 1:
        return value
    raise ValueError(f"got {value!r}, expected 'all' or an integer of at least 1")


Size = Annotated[int | Literal["all"], PlainValidator(_size)]


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Choice(_Section):
    """A rule of the catalogue with all its options."""

    rule: str
    options: dict[str, float | int | str]


def _rule_of(table: Mapping[str, catalogue.Entry]) -> Callable[[Any], Choice]:
    """Return the function that reads ``name`` or ``{rule: name, option: value}``."""
    known = _one_of(table)

    def read(value: Any) -> Choice:
        if isinstance(value, Choice):
            return value
        if isinstance(value, str):
            return Choice(rule=known(value), options=_defaults(table[value]))
        if not isinstance(value, dict) or not isinstance(value.get("rule"), str):
            raise ValueError(
                f"got {value!r}, expected a name or {{rule: name, option: value}} "
                f"(allowed: {', '.join(table)})"
            )
        entry = table[known(value["rule"])]
        given = {key: setting for key, setting in value.items() if key != "rule"}
        wrong = [
            f"{key}: unknown option{_nearest(str(key), entry.options)} "
            f"(allowed: {', '.join(entry.options) or 'none'})"
            for key in given
            if key not in entry.options
        ]
        wrong += [
            f"{key}: got {setting!r}, expected {_expected(entry.options[key])}"
            for key, setting in given.items()
            if key in entry.options and not _fits(setting, entry.options[key])
        ]
        if wrong:
            raise ValueError(f"{value['rule']}: " + "; ".join(wrong))
        chosen = {key: _typed(entry.options[key], setting) for key, setting in given.items()}
        return Choice(rule=value["rule"], options=_defaults(entry) | chosen)

    return read


def _defaults(entry: catalogue.Entry) -> dict[str, float | int | str]:
    return {name: option.default for name, option in entry.options.items()}


def _fits(value: Any, option: catalogue.Option) -> bool:
    if isinstance(option, catalogue.Name):
        return value in option.allowed
    integer = type(option.default) is int
    numeric = type(value) is int or (type(value) is float and not integer)
    return numeric and math.isfinite(value) and option.low <= value <= option.high


def _expected(option: catalogue.Option) -> str:
    if isinstance(option, catalogue.Name):
        return f"one of {', '.join(option.allowed)}"
    kind = "an integer" if type(option.default) is int else "a number"
    return f"{kind} from {option.low:g} to {option.high:g}"


def _typed(option: catalogue.Option, value: Any) -> float | int | str:
    wants_float = isinstance(option, catalogue.Number) and type(option.default) is float
    return float(value) if wants_float else value


class Data(_Section):
    """What ``prepare`` puts aside."""

    train_images: Size
    validation: Annotated[int, Field(ge=0)]
    test_images: Size
    """Test images used each epoch; the ends of cycles always use all."""
    pixels: Literal["standardised", "unit"]
    """``standardised`` by mean and deviation of the training images, or as they are in [0, 1]."""


class Network(_Section):
    """The backbone at full capacity (Lillo & Cheney 2026, section 3)."""

    kind: Literal["mlp", "convnet"]
    widths: Annotated[tuple[Count, ...], Field(strict=False, min_length=1, max_length=8)]
    trunk: Annotated[tuple[Count, ...], Field(strict=False, max_length=4)]
    init: Literal["torch_default", "kaiming_relu"]


class Edit(_Section):
    """When structure changes, how much, and what continues."""

    cycles: Count
    seed_fraction: Fraction
    continuity: Literal["paper", "warm", "rewind"]
    rewind_when: Literal["removed", "every_event"]
    allocation: Annotated[str, AfterValidator(_one_of(catalogue.ALLOCATIONS))]
    count_rule: Literal["ceil_remaining", "linear"]
    cycle_index: Annotated[int, Field(ge=0, le=1)]
    static_mask: Literal["uniform", "random"]
    layers: Literal["head", "all"]
    """``head``: hidden layers; ``all``: the trunk's channels too."""
    maturity: Annotated[int, Field(ge=0)]
    """Steps before a unit can be removed."""
    peak: Fraction
    """op=grow_then_prune: share of every layer that it grows to first."""
    trough: Fraction
    """op=prune_then_grow: share of every layer that it prunes to first."""
    at_epoch: Annotated[int, Field(ge=0)]
    """op=single_event: the epoch before which it grows."""
    turnover: Annotated[Choice, BeforeValidator(_rule_of(catalogue.TURNOVER))]


class Selection(_Section):
    """Which units an event takes."""

    grow: Annotated[Choice, BeforeValidator(_rule_of(catalogue.GROW_SELECTION))]
    prune: Annotated[Choice, BeforeValidator(_rule_of(catalogue.PRUNE_SELECTION))]


class Intervention(_Section):
    """The rules of an edit and of what follows it, each with its options."""

    selection: Selection
    insertion: Annotated[Choice, BeforeValidator(_rule_of(catalogue.INSERTION))]
    gate: Annotated[Choice, BeforeValidator(_rule_of(catalogue.GATE))]
    optimizer_state: Annotated[Choice, BeforeValidator(_rule_of(catalogue.OPTIMIZER_STATE))]
    trainability: Annotated[Choice, BeforeValidator(_rule_of(catalogue.TRAINABILITY))]
    activation: Annotated[Choice, BeforeValidator(_rule_of(catalogue.ACTIVATION))]
    regularizer: Annotated[Choice, BeforeValidator(_rule_of(catalogue.REGULARIZER))]
    normalisation: Annotated[Choice, BeforeValidator(_rule_of(catalogue.NORMALISATION))]


class Train(_Section):
    """How the network learns."""

    device: Literal["auto", "cpu", "cuda"]
    workers: Size
    seeds: Annotated[int, Field(ge=1, le=1000)]
    epochs: Count
    batch: Count
    optimizer: Literal["sgd", "adam"]
    lr: Annotated[float, Field(gt=0, le=100)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    schedule: Literal["cosine", "constant", "cosine_per_cycle"]
    augment: Literal["none", "crop_flip"]


class Measure(_Section):
    """What the probes look at, and whether they look."""

    enabled: bool
    """False: no probes but those that rules need; trained weights are the same."""
    probe_images: Count
    activation_threshold: Annotated[float, Field(ge=0)]


class Retrain(_Section):
    """Which controls of the extracted network are trained from scratch."""

    variants: Annotated[
        tuple[Annotated[str, AfterValidator(_one_of(catalogue.RETRAIN_VARIANTS))], ...],
        Field(strict=False),
        AfterValidator(_unique),
    ]
    epochs: Count


def label(choice: Choice, table: Mapping[str, catalogue.Entry]) -> str:
    """Return a rule's name with the options that are not its defaults, fit for a file's name."""
    defaults = _defaults(table[choice.rule])
    changed = [
        f"{name}={value}" for name, value in choice.options.items() if value != defaults[name]
    ]
    return "-".join([choice.rule, *changed])


def _different(streams: tuple[Choice, ...]) -> tuple[Choice, ...]:
    _unique(tuple(label(stream, catalogue.STREAMS) for stream in streams))
    return streams


def _every(value: Any) -> Any:
    if value in ("task", "spread") or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"got {value!r}, expected 'task', 'spread' or an integer of at least 1")


class Continual(_Section):
    """The streams of tasks, who learns in them, and when structure changes."""

    streams: Annotated[
        tuple[Annotated[Choice, BeforeValidator(_rule_of(catalogue.STREAMS))], ...],
        Field(strict=False),
        AfterValidator(_different),
    ]
    learners: Annotated[
        tuple[Annotated[str, AfterValidator(_one_of(catalogue.LEARNERS))], ...],
        Field(strict=False, min_length=1),
        AfterValidator(_unique),
    ]
    seeds: Annotated[int, Field(ge=1, le=1000)]
    widths: Annotated[tuple[Count, ...], Field(strict=False, min_length=1, max_length=8)]
    trunk: Annotated[tuple[Count, ...], Field(strict=False, max_length=4)]
    images: Size
    tasks: Count
    steps: Count
    """Optimizer steps per task."""
    batch: Count
    optimizer: Literal["sgd", "adam"]
    lr: Annotated[float, Field(gt=0, le=100)]
    edit_every: Annotated[int | str, PlainValidator(_every)]
    """Optimizer steps between two events, the first at step 0; or at every task; or spread evenly
    over the stream."""
    edits: Size
    """Events of a stream; ``all``: as many as fit."""
    reset_head: bool
    """Whether the classifier starts over at every event but the first."""
    sweep: Annotated[tuple[Count, ...], Field(strict=False), AfterValidator(_unique)]
    """Steps per task to be run in place of ``steps``, each for as many updates in all."""
    tune_rates: Annotated[
        tuple[Annotated[float, Field(gt=0, le=100)], ...],
        Field(strict=False),
        AfterValidator(_unique),
    ]
    """Learning rates to choose from for every learner, before the seeds that are reported."""
    tune_seeds: Annotated[int, Field(ge=1, le=1000)]

    def every(self, steps: int, total: int) -> int:
        """Return the steps between two events of a stream."""
        if self.edit_every == "task":
            return steps
        if self.edit_every == "spread":
            return max(1, total // (5 if self.edits == "all" else int(self.edits)))
        return int(self.edit_every)

    def num_edits(self, every: int, total: int) -> int:
        """Return the events of a stream."""
        return -(-total // every) if self.edits == "all" else int(self.edits)


class Report(_Section):
    """Texts of the report."""

    title: Annotated[str, Field(max_length=200)]


class Params(_Section):
    """One experiment: one operator, all its seeds. Complete: no value is left open."""

    op: Annotated[str, AfterValidator(_one_of(catalogue.OPERATORS))]
    dataset: Annotated[str, AfterValidator(_one_of(catalogue.DATASETS))]
    scale: Annotated[str, AfterValidator(_one_of(SCALES))]
    compactness: Fraction
    data: Data
    network: Network
    edit: Edit
    intervention: Intervention
    train: Train
    measure: Measure
    retrain: Retrain
    continual: Continual
    report: Report

    @property
    def rewinds(self) -> bool:
        """Whether surviving units go back to their initial weights at events."""
        if self.edit.continuity == "paper":
            return self.op == "prune"
        return self.edit.continuity == "rewind"


@dataclass(frozen=True)
class StreamRun:
    """One learner in one stream."""

    stream: Choice
    learner: str
    steps: int
    """Optimizer steps per task."""
    tasks: int
    lr: float | None = None
    """Learning rate that tuning chose; None is the parameter's."""
    own: int | None = None
    """Which of the values of its own parameter the learner has; None is its default."""

    @property
    def stream_name(self) -> str:
        """Return the stream with its options, as tables name it."""
        return label(self.stream, catalogue.STREAMS)

    @property
    def name(self) -> str:
        """Return a name that no other run of the stage has."""
        own = "" if self.own is None else f"-{self.own}"
        return f"{self.stream_name}-{self.learner}-{self.steps}{own}"

    def resolved(self, params: Params) -> Params:
        """Return the parameters of this run: the learner's, on the stream's network."""
        own = overlaid(params, learner_settings(self.learner) | self._tuned())
        own = overlaid(own, {"edit.allocation": "neutral"})  # the others name three layers
        settings = own.continual
        kind: Literal["mlp", "convnet"] = "convnet" if settings.trunk else "mlp"
        if self.stream.rule == "slowly_changing_regression":
            settings, kind = settings.model_copy(update={"trunk": ()}), "mlp"
        network = own.network.model_copy(
            update={"kind": kind, "widths": settings.widths, "trunk": settings.trunk}
        )
        train = own.train.model_copy(
            update={"optimizer": settings.optimizer, "lr": settings.lr, "momentum": 0.0,
                    "weight_decay": 0.0}
        )  # fmt: skip
        return own.model_copy(update={"network": network, "train": train, "continual": settings})

    def _tuned(self) -> dict[str, Any]:
        chosen: dict[str, Any] = {} if self.lr is None else {"continual.lr": self.lr}
        if self.own is not None:
            learner = catalogue.LEARNERS[self.learner]
            chosen[learner.own] = learner.values[self.own]
        return chosen


def stream_runs(params: Params) -> dict[str, StreamRun]:
    """Return every run of the continual stage by its name."""
    settings = params.continual
    total = settings.tasks * settings.steps
    lengths = settings.sweep or (settings.steps,)
    runs = [
        StreamRun(stream, learner, steps, max(1, total // steps))
        for stream in settings.streams
        for steps in lengths
        for learner in settings.learners
    ]
    return {run.name: run for run in runs}


def learner_settings(name: str) -> dict[str, Any]:
    """Return what a learner sets; ``operator`` leaves the experiment as it is."""
    own = catalogue.LEARNERS[name].settings
    return dict(own) if name == "operator" else {**catalogue.PLAIN, **own}


def overlaid(params: Params, settings: Mapping[str, Any]) -> Params:
    """Return parameters with some changed, each by its dotted name, and checked by itself."""
    changed: dict[str, Any] = {}
    for section in {key.partition(".")[0] for key in settings}:
        tree = _tree(getattr(params, section))
        for key, value in settings.items():
            top, _, rest = key.partition(".")
            if top == section and not rest:
                tree = value
            elif top == section:
                *path, last = rest.split(".")
                place = tree
                for part in path:
                    place = place[part]
                place[last] = value
        kind = type(getattr(params, section))
        changed[section] = kind.model_validate(tree) if issubclass(kind, _Section) else tree
    return params.model_copy(update=changed)


def _tree(value: Any) -> Any:
    """Return a section as nested dictionaries; rules stay whole."""
    if isinstance(value, _Section) and not isinstance(value, Choice):
        return {name: _tree(getattr(value, name)) for name in type(value).model_fields}
    return value


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
        errors += _impossible_combinations(params)
    if errors or params is None:
        lines = "\n".join(f"  {name}: {line}" for line in sorted(set(errors)))
        noun = "error" if len(set(errors)) == 1 else "errors"
        raise ConfigError(f"{len(set(errors))} {noun} in the parameters\n{lines}")
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
            return filled, origin, [f"{where}: got {preset!r}, expected a mapping of sections"]
        errors = [
            f"{where}.{section}: got {values!r}, expected a mapping"
            for section, values in preset.items()
            if not isinstance(values, dict)
        ]
        for section, values in preset.items():
            if not isinstance(values, dict):
                continue
            own = filled.get(section)
            if not isinstance(own, dict):
                errors.append(f"{where}.{section}: no section '{section}' to give values to")
                continue
            unknown = sorted(set(map(str, values)) - set(map(str, own)))
            errors += [
                f"{where}.{section}.{key}: unknown key{_nearest(key, map(str, own))}"
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
    location = tuple(str(part) for part in error["loc"])
    key = origin.get(location[:2], ".".join(location[:2]))
    key = ".".join((key, *location[2:]))
    value = error["input"]
    if _is_null(error):
        return f"{key}: is null and the preset gives no value; set it"
    match error["type"]:
        case "extra_forbidden":
            parent = _descend_model(location[:-1])
            return f"{key}: unknown key{_nearest(location[-1], parent)}"
        case "missing":
            return f"{key}: is missing; put it back (null takes the preset's value)"
        case "value_error":
            return f"{key}: {error['ctx']['error']}"
        case "literal_error":
            hint = (
                _nearest(value, re.findall(r"'([^']*)'", error["ctx"]["expected"]))
                if (isinstance(value, str))
                else ""
            )
            return f"{key}: got {value!r}, expected {error['ctx']['expected']}{hint}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{key}: got {value}, expected a finite number"
    expected = error["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"{key}: got {value!r} ({type(value).__name__}), expected {expected}"


def _descend_model(location: tuple[str, ...]) -> list[str]:
    model: Any = Params
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return []
        model = field.annotation
    return list(getattr(model, "model_fields", {}))


def _impossible_combinations(params: Params) -> list[str]:
    """Return what is wrong with values that are each allowed but make no sense together."""
    edit, network, train = params.edit, params.network, params.train
    rules: list[tuple[bool, str]] = [
        (
            network.kind == "mlp" and bool(network.trunk),
            f"network.trunk: got {list(network.trunk)}, but an mlp has no trunk; expected []",
        ),
        (
            network.kind == "convnet" and not network.trunk,
            "network.trunk: got [], but a convnet needs the channels of at least one layer",
        ),
        (
            network.kind == "convnet" and params.dataset == "digits",
            "network.kind: a convnet needs images of at least 28 x 28; digits has 8 x 8",
        ),
        (
            edit.allocation not in ("neutral", "erk") and len(network.widths) != 3,
            f"edit.allocation: '{edit.allocation}' is defined for three hidden layers, "
            f"network.widths has {len(network.widths)}; use neutral or erk",
        ),
        (
            train.epochs % edit.cycles != 0,
            f"train.epochs: got {train.epochs}, expected a multiple of edit.cycles ({edit.cycles})",
        ),
        (
            params.retrain.epochs % edit.cycles != 0,
            f"retrain.epochs: got {params.retrain.epochs}, expected a multiple of edit.cycles "
            f"({edit.cycles})",
        ),
        (
            params.op == "grow" and params.compactness < edit.seed_fraction,
            f"compactness: got {params.compactness}, but grow starts from edit.seed_fraction "
            f"({edit.seed_fraction}) and cannot end below it",
        ),
        (
            edit.continuity == "rewind"
            and params.op in {"dense", "static"}
            and edit.rewind_when == "removed",
            f"edit.rewind_when: '{params.op}' removes no unit, so it would never rewind; "
            "use every_event",
        ),
        (
            edit.continuity == "rewind" and params.op == "grow" and edit.rewind_when == "removed",
            "edit.rewind_when: 'grow' removes no unit, so it would never rewind; use every_event",
        ),
        (
            train.optimizer == "adam" and train.momentum != 0,
            f"train.momentum: got {train.momentum}, but adam has its own moments; use 0.0",
        ),
        (
            train.augment == "crop_flip" and params.dataset not in {"cifar10", "cifar100"},
            f"train.augment: crop_flip mirrors images, which changes what {params.dataset} "
            "shows; use none",
        ),
        *_impossible_rules(params),
    ]
    found = [message for wrong, message in rules if wrong]
    return found or _impossible_streams(params)


def _impossible_streams(params: Params) -> list[str]:
    """Return what is wrong with the runs of the continual stage."""
    settings = params.continual
    total = settings.tasks * settings.steps
    found = [
        f"continual.sweep: {steps} steps per task are more than the stream's "
        f"{settings.tasks} x {settings.steps}"
        for steps in settings.sweep
        if steps > total
    ]
    for run in stream_runs(params).values():
        own = run.resolved(params)
        length = run.tasks * run.steps
        every = own.continual.every(run.steps, length)
        edits = own.continual.num_edits(every, length)
        if own.op != "single_event" and own.continual.edits != "all" and edits * every > length:
            found.append(
                f"continual.edit_every: {edits} events every {every} steps do not fit in "
                f"{run.tasks} tasks of {run.steps} steps ({length})"
            )
        found += [
            f"continual.learners: '{run.learner}' in {run.stream_name}: {message}"
            for wrong, message in [*_impossible_rules(own), *_impossible_on(run, own)]
            if wrong
        ]
    return found


def _most_tasks(stream: Choice, classes: int) -> int | None:
    """Return how many tasks a stream has, or None where there is always one more."""
    match stream.rule:
        case "class_pairs":
            return classes * (classes - 1) // 2
        case "five_plus_one":
            return 2 * (classes // 6)
        case "split_classes":
            return classes // int(stream.options["classes"])
    return None


def _impossible_on(run: StreamRun, own: Params) -> list[tuple[bool, str]]:
    """Return what is wrong with a stream on this data set."""
    stream, classes = run.stream, catalogue.DATASETS[own.dataset].classes
    limit = _most_tasks(stream, classes)
    rules = own.intervention.optimizer_state.rule, own.intervention.selection.prune.rule
    return [
        (
            limit is not None and run.tasks > limit,
            f"{run.tasks} tasks, but {own.dataset} has {classes} classes, enough for {limit}; set "
            "continual.tasks lower",
        ),
        (
            stream.rule == "slowly_changing_regression"
            and ("warm_probe" in rules or "hessian" in rules),
            "warm_probe and hessian are defined for classes alone",
        ),
        (
            bool(own.continual.trunk) and own.dataset == "digits",
            "continual.trunk: a trunk needs images of at least 28 x 28; digits has 8 x 8",
        ),
    ]


REMOVING = ("prune", "turnover", "grow_then_prune", "prune_then_grow")
EQUAL_COUNTS = ("gradmax", "tiny", "net2wider", "paired_cancel", "orthogonal")
"""Insertion rules that take newborns together."""
ADDING = ("grow", "turnover", "grow_then_prune", "prune_then_grow", "single_event", "late_reveal")


def _impossible_rules(params: Params) -> list[tuple[bool, str]]:
    """Return what is wrong with rules that do not go together."""
    edit, chosen, train = params.edit, params.intervention, params.train
    stateless = train.optimizer == "sgd" and train.momentum == 0
    state, trunk = chosen.optimizer_state.rule, edit.layers == "all"
    used = (
        ("selection.grow", catalogue.GROW_SELECTION, chosen.selection.grow),
        ("selection.prune", catalogue.PRUNE_SELECTION, chosen.selection.prune),
        ("insertion", catalogue.INSERTION, chosen.insertion),
    )
    return [
        (
            stateless and state != "zero_step",
            f"intervention.optimizer_state: '{state}' handles moments, but sgd without momentum "
            "has none; use adam or train.momentum, or zero_step",
        ),
        (
            train.optimizer == "sgd" and state == "rms_only",
            "intervention.optimizer_state: 'rms_only' needs adam's second moment",
        ),
        (
            trunk and params.network.kind == "mlp",
            "edit.layers: 'all' adds the trunk's channels, but an mlp has no trunk; use head",
        ),
        (
            trunk and edit.allocation != "neutral",
            f"edit.allocation: '{edit.allocation}' is defined for hidden layers alone; use neutral "
            "with edit.layers: all",
        ),
        *(
            (
                trunk and not table[choice.rule].trunk,
                f"intervention.{name}: '{choice.rule}' is not defined for channels of a "
                "convolution; use another or edit.layers: head",
            )
            for name, table, choice in used
        ),
        *(
            (
                chosen.activation.rule == "crelu" and not table[choice.rule].trunk,
                f"intervention.{name}: '{choice.rule}' needs one outgoing weight per pair of "
                "units; crelu has two",
            )
            for name, table, choice in used
        ),
        (
            chosen.normalisation.rule != "none" and chosen.gate.rule != "none",
            f"intervention.normalisation: '{chosen.normalisation.rule}' counts every alive unit in "
            f"full, also one that fades in by '{chosen.gate.rule}'; use none for one of the two",
        ),
        (
            params.op == "turnover" and chosen.insertion.rule == "gradient_matched",
            "intervention.insertion: 'gradient_matched' needs the gradient of the new weights, but "
            "op=turnover measures the replaced unit's; use norm_matched",
        ),
        (
            params.op == "turnover"
            and edit.turnover.rule == "redo"
            and chosen.insertion.rule in EQUAL_COUNTS,
            f"intervention.insertion: '{chosen.insertion.rule}' makes the same number of newborns "
            "in every seed, but redo replaces as many as are dormant; use zero_out or another",
        ),
        (
            params.op == "late_reveal" and chosen.trainability.rule != "none",
            "intervention.trainability: op=late_reveal decides itself who learns; use none",
        ),
        (
            params.op == "late_reveal" and chosen.insertion.rule != "late_init",
            "intervention.insertion: op=late_reveal has its units from the start; use late_init",
        ),
        (
            params.op in ("late_reveal", "single_event", "grow_then_prune", "prune_then_grow")
            and params.compactness < edit.seed_fraction,
            f"compactness: got {params.compactness}, but {params.op} starts from "
            f"edit.seed_fraction ({edit.seed_fraction}) and cannot end below it",
        ),
        (
            params.op == "grow_then_prune" and edit.peak < params.compactness,
            f"edit.peak: got {edit.peak}, expected at least compactness ({params.compactness})",
        ),
        (
            params.op == "prune_then_grow" and edit.trough > params.compactness,
            f"edit.trough: got {edit.trough}, expected at most compactness ({params.compactness})",
        ),
        (
            params.op == "single_event" and edit.at_epoch >= train.epochs,
            f"edit.at_epoch: got {edit.at_epoch}, expected less than train.epochs ({train.epochs})",
        ),
        (
            chosen.selection.prune.rule == "contribution"
            and params.op in REMOVING
            and chosen.activation.rule == "crelu",
            "intervention.selection.prune: 'contribution' is not defined for crelu",
        ),
    ]
