"""What a user should know before a run, above all of settings that have no effect. No torch.

A value that is not the default and changes nothing is told before work starts. What contradicts
another value is refused instead (``combinations``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from plasticity import catalogue
from plasticity.catalogue import ADDING, REMOVING
from plasticity.learners import stream_runs
from plasticity.sections import Choice, Params, label

STAGES = ("train", "retrain", "continual")
"""Stages that make remarks."""
MOVING = ("grow", "prune", "grow_then_prune", "prune_then_grow", "late_reveal")
"""Operators that spread their units over several events."""
FROM_SEEDS = ("grow", "grow_then_prune", "single_event", "late_reveal")
"""Operators that start from ``edit.seed_fraction``."""

LOOKING: Mapping[str, tuple[str, ...]] = {
    "grow": tuple(name for name in catalogue.GROW_SELECTION if name != "random"),
    "prune": (
        "activation", "activation_frequency", "zero_share", "taylor", "gradient", "snip", "fisher",
        "hessian", "redundancy",
    ),
    "insertion": ("gradmax", "tiny", "gradient_matched"),
    "optimizer_state": ("donor", "warm_probe"),
    "turnover": ("redo",),
}  # fmt: skip
"""Rules of each family that look at the probe images."""


@dataclass(frozen=True)
class Setting:
    """A parameter that does not act everywhere."""

    key: str
    default: object
    """Its value in ``params.yaml``; of a rule, the name that ``value_of`` gives it."""
    acts: Callable[[Params], bool]
    """Whether it has an effect in training."""
    why: str
    """Why it has none; may name {op} and {value}."""


def _replaces_by_choice(params: Params) -> bool:
    """Return whether an event chooses masked units to switch on."""
    turnover = params.edit.turnover
    elsewhere = turnover.rule == "fraction" and turnover.options["slots"] == "other"
    return params.op in ADDING and (params.op != "turnover" or elsewhere)


def _chooses_to_remove(params: Params) -> bool:
    """Return whether an event chooses alive units to switch off by a rule of selection."""
    dormant = params.op == "turnover" and params.edit.turnover.rule == "redo"
    return params.op in REMOVING and not dormant


def _changes_continuity(params: Params) -> bool:
    """Return whether weights go on, or start over, otherwise than ``paper`` has it."""
    return (params.op == "prune") != params.rewinds


def _used(params: Params) -> dict[str, Choice]:
    """Return the rules that an event comes to use, by their family."""
    chosen, op = params.intervention, params.op
    used = {
        "grow": chosen.selection.grow if _replaces_by_choice(params) else None,
        "prune": chosen.selection.prune if _chooses_to_remove(params) else None,
        "insertion": chosen.insertion if op in ADDING else None,
        "optimizer_state": chosen.optimizer_state if op in ADDING else None,
        "turnover": params.edit.turnover if op == "turnover" else None,
    }
    return {family: rule for family, rule in used.items() if rule is not None}


def _counts_activity(params: Params) -> bool:
    """Return whether a rule that is used asks how often units are active."""
    used = _used(params).values()
    return any(
        one.rule == "activation_frequency" or one.options.get("donor") == "most_active"
        for one in used
    )


def _looks_at_images(params: Params) -> bool:
    """Return whether a rule that is used looks at the probe images."""
    used = _used(params)
    moves_means = any(one.options.get("transfer") == "on" for one in used.values())
    running = any("decay" in one.options for one in used.values())
    looks = any(one.rule in LOOKING[family] for family, one in used.items())
    return looks or _counts_activity(params) or (moves_means and not running)


def _leaves_out(params: Params) -> bool:
    """Return whether not all images are used."""
    return params.data.train_images != "all" or params.data.validation > 0


def _partial(params: Params) -> bool:
    """Return whether an epoch ends with a partial batch; assumed where the number is not known."""
    images = params.data.train_images
    return images == "all" or images % params.train.batch > 0


SETTINGS = (
    Setting("compactness", 0.5, lambda p: p.op != "dense", "op={op} keeps all units"),
    Setting("data.subset", "random", _leaves_out, "all images are used"),
    Setting("data.image_size", 32, lambda p: p.dataset == "folder", "only dataset=folder has it"),
    Setting("network.fan_in", "capacity", lambda p: p.op != "dense", "op={op} keeps all units"),
    Setting(
        "edit.seed_fraction",
        0.1,
        lambda p: p.op in FROM_SEEDS,
        "op={op} does not start from few units",
    ),
    Setting(
        "edit.continuity",
        "paper",
        _changes_continuity,
        "with op={op} it means what 'paper' means",
    ),
    Setting("edit.rewind_when", "removed", lambda p: p.rewinds, "op={op} rewinds nothing"),
    Setting("edit.allocation", "neutral", lambda p: p.op != "dense", "op={op} keeps all units"),
    Setting(
        "edit.count_rule",
        "ceil_remaining",
        lambda p: p.op in MOVING,
        "op={op} does not spread its units over events",
    ),
    Setting(
        "edit.cycle_index",
        1,
        lambda p: p.op in MOVING and p.edit.count_rule == "ceil_remaining",
        "only ceil_remaining counts cycles, where op={op} spreads its units over events",
    ),
    Setting("edit.static_mask", "random", lambda p: p.op == "static", "only op=static has it"),
    Setting("edit.maturity", 0, lambda p: p.op in REMOVING, "op={op} removes no unit"),
    Setting("edit.peak", 1.0, lambda p: p.op == "grow_then_prune", "op={op} has no peak"),
    Setting("edit.trough", 0.1, lambda p: p.op == "prune_then_grow", "op={op} has no trough"),
    Setting("edit.at_epoch", 0, lambda p: p.op == "single_event", "only op=single_event has it"),
    Setting("edit.turnover", "fraction", lambda p: p.op == "turnover", "only op=turnover has it"),
    Setting(
        "intervention.selection.grow",
        "activation_frequency",
        _replaces_by_choice,
        "op={op} chooses no masked unit",
    ),
    Setting(
        "intervention.selection.prune",
        "incoming_magnitude",
        _chooses_to_remove,
        "op={op} chooses no unit to remove by it",
    ),
    Setting(
        "intervention.insertion", "late_init", lambda p: p.op in ADDING, "op={op} inserts no unit"
    ),
    Setting("intervention.gate", "none", lambda p: p.op in ADDING, "op={op} inserts no unit"),
    Setting(
        "intervention.optimizer_state",
        "zero_step",
        lambda p: p.op in ADDING,
        "op={op} inserts no unit",
    ),
    Setting(
        "intervention.trainability",
        "none",
        lambda p: p.op in ADDING or p.intervention.trainability.rule == "unit_clipping",
        "op={op} inserts no unit",
    ),
    Setting("train.last_batch", "keep", _partial, "train.batch divides the images"),
    Setting(
        "measure.probe_images",
        512,
        lambda p: p.measure.enabled or _looks_at_images(p),
        "measure.enabled is false, and no rule looks at images",
    ),
    Setting(
        "measure.activation_threshold",
        0.05,
        lambda p: p.measure.enabled or _counts_activity(p),
        "measure.enabled is false, and no rule counts how often units are active",
    ),
)
"""Every parameter that may be set in vain, with where it acts."""

DEFAULTS = {setting.key: setting.default for setting in SETTINGS}


@dataclass(frozen=True)
class Option:
    """An option of a rule that does not act everywhere the rule does."""

    key: str
    rule: str
    name: str
    acts: Callable[[Params, Choice], bool]
    why: str


OPTIONS = (
    Option(
        "intervention.trainability",
        "local_schedule",
        "limit",
        lambda p, _: p.train.schedule != "constant",
        "the common rate never falls",
    ),
    Option(
        "continual.streams",
        "split_classes",
        "replay_total",
        lambda _, chosen: chosen.options["replay"] != 0,
        "replay is 0",
    ),
)
"""Every option that may be set in vain with its own rule in use, with where it acts."""

FAMILIES: Mapping[str, Mapping[str, catalogue.Entry]] = {
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
"""Families of rules of ``intervention``; the first rule of each is the default."""
RULES = {
    **{f"intervention.{name}": table for name, table in FAMILIES.items()},
    "edit.turnover": catalogue.TURNOVER,
}
"""Parameters that are rules."""
PLAIN = {key: next(iter(table)) for key, table in RULES.items()} | DEFAULTS
"""Defaults of all rules, and of all parameters that may be set in vain."""
IN_STREAMS = {
    "train.first_seed": (0, "streams have seeds of their own, from 0 on"),
    "train.momentum": (0.0, "streams have the optimizer of continual, without momentum"),
    "train.weight_decay": (0.0, "streams have the optimizer of continual, without decay"),
    "train.schedule": ("cosine", "streams have a constant rate"),
    "train.hold": (0.6, "streams have a constant rate"),
    "train.last_batch": ("keep", "streams have whole batches"),
    "measure.accuracy_on": ("test", "streams are scored by their online accuracy"),
}
"""Parameters that streams do not have, with their defaults and the reason."""
OF_CONTINUAL = {
    "continual.learners": ("operator",),
    "continual.edits": 5,
    "continual.reset_head": False,
    "continual.sweep": (),
    "continual.tune_rates": (),
    "continual.tune_seeds": 3,
}
"""Parameters of streams that no preset sets, with their defaults."""


def value_of(params: Params, key: str) -> object:
    """Return a parameter's value by its dotted name.

    A rule is its name with the options that are not its defaults.
    """
    value: object = params
    for part in key.split("."):
        value = getattr(value, part)
    return label(value, RULES[key]) if isinstance(value, Choice) else value


def idle(params: Params) -> dict[str, str]:
    """Return each parameter that is not its default and has no effect in training, with the reason.

    Parameters
    ----------
    params
        Complete and possible.
    """
    found = {
        setting.key: setting.why.format(op=params.op)
        for setting in SETTINGS
        if value_of(params, setting.key) != setting.default and not setting.acts(params)
    }
    return found | {
        option.key: f"{option.name}: {option.why}"
        for option in OPTIONS
        if option.key in RULES and option.key not in found
        for chosen in [_choice(params, option.key)]
        if _in_vain(option, chosen, params)
    }


def _choice(params: Params, key: str) -> Choice:
    value: object = params
    for part in key.split("."):
        value = getattr(value, part)
    assert isinstance(value, Choice)
    return value


def _in_vain(option: Option, chosen: Choice, params: Params) -> bool:
    """Return whether a rule is used with an option that is not its default and does not act."""
    if chosen.rule != option.rule or option.acts(params, chosen):
        return False
    table = catalogue.STREAMS if option.key == "continual.streams" else RULES[option.key]
    return chosen.options[option.name] != table[option.rule].options[option.name].default


def remarks(params: Params, stage: str, images: int | None = None) -> list[str]:
    """Return what to say before a stage starts, a line each.

    Parameters
    ----------
    params
        As the stage sees them.
    stage
        One of ``STAGES``.
    images
        Training images that there are, for ``data.train_images: all``.
    """
    if stage == "continual":
        return _on_streams(params)
    lines = [_line(params, key, why) for key, why in idle(params).items()]
    known = params.data.train_images if images is None else images
    return lines if known == "all" else lines + _rest_of_epoch(params, known)


def _line(params: Params, key: str, why: str) -> str:
    return f"{key}: got {value_of(params, key)}, which has no effect: {why}"


def small_rest(params: Params, images: int) -> int:
    """Return the images of every epoch's last step where they are fewer than half a batch, else 0.

    Accuracy is measured right after that step. Of a batch that is larger than the data set, and of
    a rest that is dropped, there is none.

    Parameters
    ----------
    params
        Of the experiment.
    images
        Training images.
    """
    rest = images % params.train.batch
    small = 2 * rest < params.train.batch <= images
    return rest if small and params.train.last_batch == "keep" else 0


def _rest_of_epoch(params: Params, images: int) -> list[str]:
    rest = small_rest(params, images)
    if rest == 0:
        return []
    return [
        f"train.last_batch: every epoch ends with a step on {rest} images in place of "
        f"{params.train.batch}, right before accuracy is measured; use "
        f"data.train_images={images - rest}, or drop"
    ]


def _on_streams(params: Params) -> list[str]:
    """Return what is set in vain for the runs in streams."""
    runs = stream_runs(params).values()
    if not runs:
        return [
            _line(params, key, "continual.streams is empty")
            for key, default in OF_CONTINUAL.items()
            if value_of(params, key) != default
        ]
    resolved = [run.resolved(params) for run in runs]
    each = [_idle_in_stream(params, own) for own in resolved]
    lines = [
        _line(params, key, why)
        for key, why in each[0].items()
        if all(key in others for others in each)
    ]
    lines += [
        f"continual.streams: got {run.stream_name}, whose {option.name} has no effect: {option.why}"
        for run in {run.stream_name: run for run in runs}.values()
        for option in OPTIONS
        if option.key == "continual.streams" and _in_vain(option, run.stream, params)
    ]
    if params.continual.tune_seeds != OF_CONTINUAL["continual.tune_seeds"] and not (
        params.continual.tune_rates
    ):
        lines.append(_line(params, "continual.tune_seeds", "continual.tune_rates is empty"))
    if not any(_heeds_clock(own) for own in resolved):
        lines.append(
            "continual.edit_every, continual.edits, edit.until: have no effect: no learner edits, "
            "rewinds or resets at these steps"
        )
    return lines


def _idle_in_stream(params: Params, own: Params) -> dict[str, str]:
    """Return what one run in streams does not heed of the experiment, with the reason."""
    found = {
        key: why for key, (default, why) in IN_STREAMS.items() if value_of(params, key) != default
    }
    idle_there = idle(own)
    if not _counts_activity(own):
        idle_there["measure.activation_threshold"] = "no rule counts how often units are active"
    if own.continual.images != "all":  # a part is chosen for every task
        idle_there.pop("data.subset", None)
    for key, default in PLAIN.items():
        if key in IN_STREAMS or value_of(params, key) == default:
            continue
        if key in idle_there:
            found[key] = f"in these streams {idle_there[key]}"
        elif value_of(own, key) != value_of(params, key):
            found[key] = _why_replaced(params, own, key)
    return found


def _why_replaced(params: Params, own: Params, key: str) -> str:
    """Return why a run in streams has another value than the experiment."""
    used = value_of(own, key)
    if key == "edit.allocation":
        return (
            "it is defined for three hidden layers; the streams' network has "
            f"{len(params.continual.widths)}, and {used} is used there"
        )
    return f"the learners of these streams have their own, such as {used}"


def _heeds_clock(own: Params) -> bool:
    """Return whether a run in streams does anything at the steps that ``continual`` gives."""
    if own.op == "single_event":
        return False
    always = own.op == "turnover" and own.edit.turnover.rule == "continual_backprop"
    edits = own.op not in ("dense", "static") and not always
    return edits or own.rewinds or own.continual.reset_head
