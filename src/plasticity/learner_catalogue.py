"""Every learner of streams by name, as settings over plain backprop. Data only, no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_PAPER = "Lillo & Cheney 2026, section 3"


@dataclass(frozen=True)
class Learner:
    """Somebody who learns in a stream: settings over ``PLAIN``."""

    label: str
    source: str
    settings: Mapping[str, object] = field(default_factory=dict)
    own: str = ""
    """The parameter of its own that tuning varies, with ``values``."""
    values: tuple[object, ...] = ()


PLAIN: Mapping[str, object] = {
    "op": "dense",
    "edit.continuity": "warm",
    "edit.maturity": 0,
    "intervention.selection.grow": "activation_frequency",
    "intervention.selection.prune": "incoming_magnitude",
    "intervention.insertion": "late_init",
    "intervention.gate": "none",
    "intervention.optimizer_state": "zero_step",
    "intervention.trainability": "none",
    "intervention.activation": "relu",
    "intervention.regularizer": "none",
    "intervention.normalisation": "none",
}
"""Backprop through the full network with ReLU: what all learners but ``operator`` start from."""


_REWIND = {"edit.continuity": "rewind", "edit.rewind_when": "every_event"}
_AT_TASKS = {"continual.edit_every": "task", "continual.edits": "all"}
_KAIMING_ZERO_OUT = {"rule": "zero_out", "gain": "kaiming_relu"}
LEARNERS = {
    "operator": Learner("this experiment's operator and rules", _PAPER),
    "backprop": Learner("all units, ReLU, nothing else", "control"),
    "grow": Learner("grow", _PAPER, {"op": "grow"}),
    "grow_rewind": Learner(
        "grow, starting over at every event", "control", {"op": "grow", **_REWIND}
    ),
    "prune_warm": Learner("prune, weights going on", "control", {"op": "prune"}),
    "prune_rewind": Learner(
        "prune, starting over at every event that removes units",
        _PAPER,
        {"op": "prune", "edit.continuity": "rewind", "edit.rewind_when": "removed"},
    ),
    "prune_rewind_every_event": Learner(
        "prune, starting over at every event",
        "control",
        {"op": "prune", **_REWIND},
    ),
    "dense_rewind": Learner("all units, starting over at every event", "control", _REWIND),
    "static": Learner("the final unit counts from the start", "control", {"op": "static"}),
    "grow_two_speed": Learner(
        "grow, newborns faster", _PAPER, {"op": "grow", "intervention.trainability": "two_speed"}
    ),
    "grow_gradmax": Learner(
        "grow where the gradient is largest",
        _PAPER,
        {"op": "grow", "intervention.selection.grow": "gradmax"},
    ),
    "grow_random_smooth_leaky": Learner(
        "grow with random smooth leaky ReLU",
        _PAPER,
        {"op": "grow", "intervention.activation": "random_smooth_leaky"},
    ),
    "leaky": Learner(
        "leaky ReLU",
        "Lillo & Cheney 2026 (ICLR)",
        {"intervention.activation": {"rule": "leaky_relu", "slope": 0.8}},
        "intervention.activation",
        tuple({"rule": "leaky_relu", "slope": slope} for slope in (0.1, 0.6, 0.8)),
    ),
    "random_smooth_leaky": Learner(
        "random smooth leaky ReLU",
        "Lillo & Cheney 2026 (ICLR)",
        {"intervention.activation": "random_smooth_leaky"},
    ),
    "crelu": Learner(
        "CReLU, with twice the outgoing weights",
        "Abbas et al. 2023",
        {"intervention.activation": "crelu"},
    ),
    "layer_norm": Learner(
        "layer normalisation",
        "Lyle et al. 2023",
        {"intervention.normalisation": "layer_norm"},
    ),
    "l2": Learner(
        "L2",
        "Kumar et al. 2023",
        {"intervention.regularizer": "l2"},
        "intervention.regularizer",
        tuple({"rule": "l2", "strength": strength} for strength in (1e-4, 1e-3, 1e-2)),
    ),
    "l2_init": Learner(
        "L2 Init",
        "Kumar et al. 2023",
        {"intervention.regularizer": "l2_init"},
        "intervention.regularizer",
        tuple({"rule": "l2_init", "strength": strength} for strength in (1e-4, 1e-3, 1e-2)),
    ),
    "shrink_perturb": Learner(
        "shrink and perturb",
        "Ash & Adams 2020",
        {"intervention.regularizer": "shrink_perturb"},
        "intervention.regularizer",
        tuple({"rule": "shrink_perturb", "shrink": shrink} for shrink in (1e-5, 1e-4, 1e-3)),
    ),
    "continual_backprop": Learner(
        "continual backprop",
        "Dohare et al. 2024",
        {
            "op": "turnover",
            "compactness": 1.0,
            "edit.turnover": {"rule": "continual_backprop", "rate": 1e-4},
            "edit.maturity": 100,
            "intervention.selection.prune": "contribution",
            "intervention.insertion": _KAIMING_ZERO_OUT,
        },
        "edit.turnover",
        tuple({"rule": "continual_backprop", "rate": rate} for rate in (1e-5, 1e-4, 1e-3)),
    ),
    "redo": Learner(
        "ReDo",
        "Sokar et al. 2023",
        {
            "op": "turnover",
            "compactness": 1.0,
            "edit.turnover": "redo",
            "intervention.insertion": _KAIMING_ZERO_OUT,
            **_AT_TASKS,
        },
        "edit.turnover",
        tuple({"rule": "redo", "tau": tau} for tau in (0.0, 0.025, 0.1)),
    ),
    "self_normalized_resets": Learner(
        "self-normalized resets",
        "Farias & Jozefiak 2025",
        {
            "op": "turnover",
            "compactness": 1.0,
            "edit.turnover": "self_normalized_resets",
            "intervention.insertion": _KAIMING_ZERO_OUT,
        },
        "edit.turnover",
        tuple({"rule": "self_normalized_resets", "eta": eta} for eta in (0.005, 0.02, 0.08)),
    ),
    "head_reset": Learner(
        "a new classifier in every task (it is told when)",
        "control",
        {"continual.reset_head": True, **_AT_TASKS},
    ),
    "full_reset": Learner(
        "back to the initial weights in every task (it is told when)",
        "control",
        {**_REWIND, **_AT_TASKS},
    ),
    "growing": Learner(
        "random units added in every task, to the full network (it is told when)",
        "after Kong & Sutton 2026",
        {
            "op": "grow",
            "compactness": 1.0,
            "intervention.selection.grow": "random",
            "intervention.insertion": "fresh",
            **_AT_TASKS,
        },
    ),
}
"""Who can learn in a stream.

Each is complete but for the budget and the schedule of its edits, which are the experiment's:
compactness, seed fraction, count rule. ``operator`` is the experiment's in all.
"""
