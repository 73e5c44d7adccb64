"""What a user should know before a run, above all of settings that have no effect. No torch.

A value that is not the default and changes nothing is told before work starts. What contradicts
another value is refused instead (``combinations``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from plasticity import catalogue
from plasticity.catalogue import ADDING, REMOVING
from plasticity.learners import StreamRun, stream_runs
from plasticity.sections import Choice, Params

STAGES = ("train", "retrain", "continual")
"""Stages that make remarks."""
MOVING = ("grow", "prune", "grow_then_prune", "prune_then_grow", "late_reveal")
"""Operators that spread their units over several events."""
FROM_SEEDS = ("grow", "grow_then_prune", "single_event", "late_reveal")
"""Operators that start from ``edit.seed_fraction``."""


@dataclass(frozen=True)
class Setting:
    """A parameter that does not act everywhere."""

    key: str
    default: object
    """Its value, or the name of its rule, in ``params.yaml``."""
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
)
"""Every parameter that may be set in vain, with where it acts."""

DEFAULTS = {setting.key: setting.default for setting in SETTINGS}
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
IN_STREAMS = {
    "train.first_seed": 0,
    "train.momentum": 0.0,
    "train.weight_decay": 0.0,
    "train.schedule": "cosine",
    "train.last_batch": "keep",
    "measure.accuracy_on": "test",
}
"""Parameters that streams do not have, with their defaults."""


def value_of(params: Params, key: str) -> object:
    """Return a parameter's value by its dotted name; of a rule its name."""
    value: object = params
    for part in key.split("."):
        value = getattr(value, part)
    return value.rule if isinstance(value, Choice) else value


def idle(params: Params) -> dict[str, str]:
    """Return each parameter that is not its default and has no effect in training, with the reason.

    Parameters
    ----------
    params
        Complete and possible.
    """
    return {
        setting.key: setting.why.format(op=params.op)
        for setting in SETTINGS
        if value_of(params, setting.key) != setting.default and not setting.acts(params)
    }


def remarks(params: Params, stage: str) -> list[str]:
    """Return what to say before a stage starts, a line each.

    Parameters
    ----------
    params
        As the stage sees them.
    stage
        One of ``STAGES``.
    """
    if stage == "continual":
        return _on_streams(params)
    lines = [
        f"{key}: {_told(params, key)} has no effect: {why}" for key, why in idle(params).items()
    ]
    return lines + rest_of_epoch(params, params.data.train_images)


def rest_of_epoch(params: Params, images: int | str) -> list[str]:
    """Return a warning where the last batch of every epoch is small.

    Parameters
    ----------
    params
        Of the experiment.
    images
        Training images; ``all`` is not known here.
    """
    batch = params.train.batch
    rest = 0 if isinstance(images, str) else images % batch
    if params.train.last_batch == "drop" or not 0 < 2 * rest < batch or int(images) < batch:
        return []
    return [
        f"train.last_batch: every epoch ends with a step on {rest} images in place of {batch}, "
        f"right before accuracy is measured; use data.train_images={int(images) - rest}, or drop"
    ]


def _told(params: Params, key: str) -> str:
    return f"got {value_of(params, key)}, which"


def _on_streams(params: Params) -> list[str]:
    """Return what is set in vain for the runs in streams."""
    runs = stream_runs(params).values()
    if not runs:
        return []
    lines = [
        f"{key}: {_told(params, key)} has no effect in streams: they have seeds of their own, a "
        "constant rate, whole batches, online accuracy, and the optimizer of continual"
        for key, default in IN_STREAMS.items()
        if value_of(params, key) != default
    ]
    resolved = [run.resolved(params) for run in runs]
    everywhere = set.intersection(*(set(_idle_in_stream(own)) for own in resolved))
    lines += [
        f"{key}: {_told(params, key)} has no effect in these streams"
        for key in sorted(everywhere)
        if key not in IN_STREAMS and value_of(params, key) != DEFAULTS[key]
    ]
    lines += _allocation_in(params, next(iter(runs)))
    if all(run.learner != "operator" for run in runs):
        lines += _without_operator(params)
    if not any(own.op not in ("dense", "static") or own.continual.reset_head for own in resolved):
        lines.append(
            "continual.edit_every, continual.edits: no learner edits or resets, so no event acts"
        )
    return lines


def _idle_in_stream(own: Params) -> set[str]:
    """Return what has no effect in a stream; a part of the images is chosen for each task too."""
    names = set(idle(own))
    return names - {"data.subset"} if own.continual.images != "all" else names


def _allocation_in(params: Params, run: StreamRun) -> list[str]:
    chosen, used = params.edit.allocation, run.resolved(params).edit.allocation
    if chosen == used:
        return []
    return [
        f"edit.allocation: got {chosen}, which is defined for three hidden layers; the streams' "
        f"network has {len(params.continual.widths)}, and {used} is used there"
    ]


def _without_operator(params: Params) -> list[str]:
    return [
        f"{key}: {_told(params, key)} has no effect in streams: 'operator' is none of "
        "continual.learners"
        for key in (f"intervention.{name}" for name in FAMILIES)
        if value_of(params, key) != next(iter(FAMILIES[key.removeprefix("intervention.")]))
    ]
