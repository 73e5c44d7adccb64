"""The sections of ``params.yaml`` as frozen models, each value checked by itself. No torch.

Every value is there: what stands for a preset's value in the file is filled in by ``config``.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
)

from plasticity import catalogue, learner_catalogue
from plasticity.escapes import LONGEST, brief, quoted, unprintable

MOST = 10**9
"""Of anything that is counted; far beyond what can be run, and far below where integers end."""
SCALES = ("tiny", "quick", "laptop", "paper")


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return a hint at the allowed name that is most like a wrong one, or nothing."""
    if len(name) > LONGEST:
        return ""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def _one_of(names: Iterable[str]) -> Callable[[str], str]:
    allowed = tuple(names)

    def check(name: str) -> str:
        if name not in allowed:
            raise ValueError(
                f"unknown {quoted(name)}{nearest(name, allowed)} (allowed: {', '.join(allowed)})"
            )
        return name

    return check


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("names one entry twice")
    return values


def printable(text: str) -> str:
    """Return a text that pages and figures can show.

    Raises
    ------
    ValueError
        When it holds a control character or half of a surrogate pair.
    """
    if wrong := unprintable(text):
        raise ValueError(f"holds the character {wrong}, which no page can show; leave it out")
    return text


Text = Annotated[str, AfterValidator(printable)]
Count = Annotated[int, Field(ge=1, le=MOST)]
Amount = Annotated[int, Field(ge=0, le=MOST)]
Fraction = Annotated[float, Field(gt=0, le=1)]


def _size(value: Any) -> int | Literal["all"]:
    if value == "all":
        return "all"
    if type(value) is int and 1 <= value <= MOST:
        return value
    raise ValueError(
        f"got {quoted(value)}, expected 'all' or an integer of at least 1 and at most {MOST:,}"
    )


Size = Annotated[int | Literal["all"], PlainValidator(_size)]


class Section(BaseModel):
    """What all sections have in common: strict, frozen, no unknown keys, finite numbers."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Choice(Section):
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
                f"got {quoted(value)}, expected a name or {{rule: name, option: value}} "
                f"(allowed: {', '.join(table)})"
            )
        entry = table[known(value["rule"])]
        given = {key: setting for key, setting in value.items() if key != "rule"}
        wrong = [
            f"{brief(key)}: unknown option{nearest(str(key), entry.options)} "
            f"(allowed: {', '.join(entry.options) or 'none'})"
            for key in given
            if key not in entry.options
        ]
        wrong += [
            f"{brief(key)}: got {quoted(setting)}, expected {_expected(entry.options[key])}"
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


def _until(value: Any) -> float | Literal["last_cycle"]:
    if value == "last_cycle":
        return "last_cycle"
    if type(value) is float and 0 < value < 1:
        return value
    raise ValueError(f"got {quoted(value)}, expected 'last_cycle' or a number between 0 and 1")


class Data(Section):
    """What ``prepare`` puts aside."""

    train_images: Size
    validation: Amount
    subset: Literal["random", "stratified"]
    """Which images are kept where not all are: any, or every class its share, at least one."""
    test_images: Size
    """Test images used each epoch; the ends of cycles always use all."""
    pixels: Literal["standardised", "unit"]
    """``standardised`` by mean and deviation of the training images, or as they are in [0, 1]."""
    folder: Annotated[Text, Field(max_length=4000)]
    """dataset=folder: holds ``train`` and ``test``; empty for every other data set."""
    image_size: Annotated[int, Field(ge=16, le=256)]
    """dataset=folder: height and width in pixels; 16 is enough for a trunk of four layers."""


class Network(Section):
    """The backbone at full capacity (Lillo & Cheney 2026, section 3)."""

    kind: Literal["mlp", "convnet"]
    widths: Annotated[tuple[Count, ...], Field(strict=False, min_length=1, max_length=8)]
    trunk: Annotated[tuple[Count, ...], Field(strict=False, max_length=4)]
    init: Literal["torch_default", "kaiming_relu"]
    fan_in: Literal["capacity", "alive"]
    """Inputs that scale initial weights: all, or those alive after the event at step 0."""


class Edit(Section):
    """When structure changes, how much, and what continues."""

    cycles: Count
    seed_fraction: Fraction
    continuity: Literal["paper", "warm", "rewind"]
    rewind_when: Literal["removed", "every_event"]
    allocation: Annotated[str, AfterValidator(_one_of(catalogue.ALLOCATIONS))]
    count_rule: Literal["ceil_remaining", "linear"]
    cycle_index: Annotated[int, Field(ge=0, le=1)]
    until: Annotated[float | Literal["last_cycle"], PlainValidator(_until)]
    """The last event's place, as a share of training; ``last_cycle``: the start of that cycle."""
    static_mask: Literal["uniform", "random"]
    layers: Literal["head", "all"]
    """``head``: hidden layers; ``all``: the trunk's channels too."""
    maturity: Amount
    """Steps before a unit can be removed."""
    peak: Fraction
    """op=grow_then_prune: share of every layer that it grows to first."""
    trough: Fraction
    """op=prune_then_grow: share of every layer that it prunes to first."""
    at_epoch: Amount
    """op=single_event: the epoch before which it grows."""
    turnover: Annotated[Choice, BeforeValidator(_rule_of(catalogue.TURNOVER))]


class Selection(Section):
    """Which units an event takes."""

    grow: Annotated[Choice, BeforeValidator(_rule_of(catalogue.GROW_SELECTION))]
    prune: Annotated[Choice, BeforeValidator(_rule_of(catalogue.PRUNE_SELECTION))]


class Intervention(Section):
    """The rules of an edit and of what follows it, each with its options."""

    selection: Selection
    insertion: Annotated[Choice, BeforeValidator(_rule_of(catalogue.INSERTION))]
    gate: Annotated[Choice, BeforeValidator(_rule_of(catalogue.GATE))]
    optimizer_state: Annotated[Choice, BeforeValidator(_rule_of(catalogue.OPTIMIZER_STATE))]
    trainability: Annotated[Choice, BeforeValidator(_rule_of(catalogue.TRAINABILITY))]
    activation: Annotated[Choice, BeforeValidator(_rule_of(catalogue.ACTIVATION))]
    regularizer: Annotated[Choice, BeforeValidator(_rule_of(catalogue.REGULARIZER))]
    normalisation: Annotated[Choice, BeforeValidator(_rule_of(catalogue.NORMALISATION))]


class Train(Section):
    """How the network learns."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    """Of training's products; weights, optimizer, loss, probes and evaluation are float32."""
    workers: Size
    seeds: Annotated[int, Field(ge=1, le=1000)]
    first_seed: Annotated[int, Field(ge=0, le=1_000_000)]
    epochs: Count
    batch: Count
    optimizer: Literal["sgd", "adam"]
    lr: Annotated[float, Field(gt=0, le=100)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    schedule: Literal["cosine", "constant", "cosine_per_cycle", "hold_cosine"]
    hold: Annotated[float, Field(gt=0, lt=1)]
    """schedule=hold_cosine: share of training at the full rate."""
    last_batch: Literal["keep", "drop"]
    """What happens to the images that fill no whole batch at the end of an epoch."""
    augment: Literal["none", "crop_flip"]

    @property
    def all_seeds(self) -> range:
        """Return the seeds of the run: as many as asked for, from the first on."""
        return range(self.first_seed, self.first_seed + self.seeds)


class Measure(Section):
    """What the probes look at, and whether they look."""

    enabled: bool
    """False: no probes but those that rules need; trained weights are the same."""
    accuracy_on: Literal["test", "validation"]
    """Images that accuracies are of; settings are chosen on ``validation``, never on ``test``."""
    probe_images: Count
    activation_threshold: Annotated[float, Field(ge=0)]


class Retrain(Section):
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
    if value in ("task", "spread") or (type(value) is int and 1 <= value <= MOST):
        return value
    raise ValueError(
        f"got {quoted(value)}, expected 'task', 'spread' or an integer of at least 1 and at most "
        f"{MOST:,}"
    )


class Continual(Section):
    """The streams of tasks, who learns in them, and when structure changes."""

    streams: Annotated[
        tuple[Annotated[Choice, BeforeValidator(_rule_of(catalogue.STREAMS))], ...],
        Field(strict=False),
        AfterValidator(_different),
    ]
    learners: Annotated[
        tuple[Annotated[str, AfterValidator(_one_of(learner_catalogue.LEARNERS))], ...],
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


class Report(Section):
    """Texts of the report."""

    title: Annotated[Text, Field(max_length=200)]


class Params(Section):
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
