"""The names a user can choose, with their options, labels and sources. No torch.

A rule is here and in its family's table (``plasticity.rules``), one to one; a test holds them
together. ``reads`` says which units a rule may look at: alive, masked or both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Number:
    """An option that is a number; an integer where its default is one."""

    default: float
    low: float
    high: float


@dataclass(frozen=True)
class Name:
    """An option that is one of a few names."""

    default: str
    allowed: tuple[str, ...]


Option = Number | Name


@dataclass(frozen=True)
class Entry:
    """What is known of a rule without running it."""

    label: str
    source: str
    reads: str
    options: Mapping[str, Option] = field(default_factory=dict)
    trunk: bool = True
    """Whether the rule is defined for the channels of a convolution."""


OPERATORS = {
    "dense": "all units, always",
    "grow": "starts from a few units and switches more on",
    "prune": "starts full and switches units off",
    "static": "the final unit counts from the start",
    "turnover": "the final unit counts from the start; events replace units",
    "grow_then_prune": "grows beyond the final unit counts, then prunes down to them",
    "prune_then_grow": "prunes below the final unit counts, then grows up to them",
    "single_event": "grows once, at one chosen epoch",
    "late_reveal": "the final units take part from the start, but learn only from their birth on",
}

REMOVING = ("prune", "turnover", "grow_then_prune", "prune_then_grow")
ADDING = ("grow", "turnover", "grow_then_prune", "prune_then_grow", "single_event", "late_reveal")
"""Operators that remove units, and that add them."""

_PAPER = "Lillo & Cheney 2026, section 3"

GROW_SELECTION = {
    "activation_frequency": Entry("most often active", _PAPER, "masked"),
    "random": Entry("random", "control", "masked"),
    "gradient": Entry(
        "largest mean |dL/dz|", "Lillo & Cheney 2026, table 7 (gradient top-k)", "masked"
    ),
    "incoming_gradient": Entry(
        "largest gradient of the incoming weights",
        "Evci et al. 2020 (RigL), at the level of units",
        "masked",
    ),
    "gradmax": Entry(
        "largest gradient of the incoming and the outgoing weights",
        "Lillo & Cheney 2026, section 6 (GradMax-style selection)",
        "masked",
    ),
    "decorrelation": Entry(
        "least correlated with any alive unit", "after Maile et al. 2022 (NORTH)", "both"
    ),
}

PRUNE_SELECTION = {
    "incoming_magnitude": Entry(
        "smallest mean |incoming weight|",
        _PAPER,
        "alive",
        {"inputs": Name("alive", ("alive", "all"))},
    ),
    "random": Entry("random", "control", "alive"),
    "outgoing_magnitude": Entry("smallest mean |outgoing weight|", "Han et al. 2015", "alive"),
    "path_norm": Entry(
        "smallest product of incoming and outgoing norm", "Neyshabur et al. 2015", "alive"
    ),
    "activation": Entry("smallest mean |activation|", "Molchanov et al. 2017", "alive"),
    "activation_frequency": Entry("least often active", "mirror of the paper's growth", "alive"),
    "zero_share": Entry("largest share of zero activations", "Hu et al. 2016 (APoZ)", "alive"),
    "contribution": Entry(
        "smallest running contribution",
        "Dohare et al. 2024 (continual backprop), equation 1",
        "alive",
        {
            "kind": Name("contribution", ("contribution", "adaptable_contribution")),
            "decay": Number(0.99, 0.0, 0.999999),
        },
        trunk=False,
    ),
    "taylor": Entry("smallest mean |dL/dm| of single images", "Molchanov et al. 2017", "alive"),
    "gradient": Entry("smallest mean |dL/dz|", "Lillo & Cheney 2026, section 5", "alive"),
    "snip": Entry(
        "smallest |dL/dm|, m the mask", "Lee et al. 2019, at the level of units", "alive"
    ),
    "fisher": Entry("smallest mean (h dL/dh)^2 / 2", "Theis et al. 2018", "alive"),
    "hessian": Entry(
        "smallest sum of w^2 d2L/dw2 / 2 over the unit's weights",
        "LeCun et al. 1990 (OBD), diagonal by Hutchinson's estimator",
        "alive",
        {"probes": Number(16, 1, 1024)},
        trunk=False,
    ),
    "redundancy": Entry(
        "most correlated with a stronger alive unit", "after Srinivas & Babu 2015", "alive"
    ),
}

INSERTION = {
    "late_init": Entry("the slot's initial weights, revealed late", _PAPER, "masked"),
    "fresh": Entry(
        "a new draw",
        "He et al. 2015",
        "both",
        {
            "fan_in": Name("full", ("full", "active")),
            "gain": Name("torch_default", ("torch_default", "kaiming_relu")),
        },
        trunk=False,
    ),
    "small": Entry(
        "the slot's initial weights, made small", "control", "masked", {"scale": Number(0.1, 0, 1)}
    ),
    "zero_out": Entry(
        "a new draw into the unit, zeros out of it",
        "Dohare et al. 2024; Sokar et al. 2023 (ReDo)",
        "both",
        {
            "fan_in": Name("full", ("full", "active")),
            "gain": Name("torch_default", ("torch_default", "kaiming_relu")),
        },
    ),
    "zero_in": Entry(
        "zeros into the unit, its initial weights out of it",
        "Evci et al. 2022, section 3, without the choice of directions",
        "both",
        {"bias": Number(1e-3, 1e-6, 1.0)},
        trunk=False,
    ),
    "gradmax": Entry(
        "zeros into the unit; out of it the directions of largest gradient",
        "Evci et al. 2022 (GradMax), equation 11",
        "both",
        {"scale": Number(0.5, 0.0, 100.0), "bias": Number(1e-3, 1e-6, 1.0)},
        trunk=False,
    ),
    "tiny": Entry(
        "the directions that lower the loss most at first order",
        "Verbockhaven et al. 2024 (TINY), proposition 3.2",
        "both",
        {
            "scale": Number(0.5, 0.0, 100.0),
            "threshold": Number(1e-6, 1e-12, 1.0),
            "projection": Name("residual", ("residual", "none")),
        },
        trunk=False,
    ),
    "net2wider": Entry(
        "a copy of an alive unit; both share its outgoing weights",
        "Chen et al. 2016 (Net2Net)",
        "alive",
        {"noise": Number(1e-3, 0.0, 1.0), "donor": Name("random", ("random", "most_active"))},
    ),
    "paired_cancel": Entry(
        "equal pairs whose outgoing weights cancel", "Yuan et al. 2023, section 3.1", "masked"
    ),
    "variance_transfer": Entry(
        "a new draw with the variance of the grown layer; alive units are scaled down",
        "Yuan et al. 2023, section 3.2",
        "both",
    ),
    "statistics_matched": Entry(
        "uniform, with the standard deviation of the alive units' weights",
        "gromo, copy_uniform",
        "alive",
    ),
    "norm_matched": Entry(
        "the slot's initial weights, scaled to the alive units' mean norms",
        "control for small outgoing weights",
        "both",
        {"sides": Name("both", ("both", "in", "out"))},
    ),
    "gradient_matched": Entry(
        "the slot's initial weights, outgoing scaled so that the gradient equals the alive units'",
        "direct test of starvation",
        "both",
    ),
    "orthogonal": Entry(
        "orthogonal to the alive units' incoming weights, norms matched",
        "after Maile et al. 2022 (NORTH)",
        "both",
    ),
}

GATE = {
    "none": Entry("at full strength from birth", _PAPER, "alive"),
    "linear": Entry(
        "fades in linearly", "soft insertion", "alive", {"steps": Number(391, 1, 10**9)}
    ),
    "cosine": Entry(
        "fades in along a half cosine", "soft insertion", "alive", {"steps": Number(391, 1, 10**9)}
    ),
}

OPTIMIZER_STATE = {
    "zero_step": Entry("moments and step count 0", "Dohare et al. 2024 (AdamGnT)", "alive"),
    "stale": Entry("left as they are in the slot, old step count", "masked backbone", "both"),
    "zero": Entry("moments 0, old step count", "common default", "alive"),
    "mean_incumbent": Entry(
        "mean of the alive units' moments",
        "control for a cold start",
        "alive",
    ),
    "donor": Entry(
        "moments and count of the alive unit with the nearest mean activation",
        "Lillo & Cheney 2026, section 5 (moment transplant)",
        "both",
        {"moments": Name("both", ("both", "first", "second"))},
    ),
    "rms_only": Entry(
        "second moment as the alive units' mean, first moment 0", "control for the scale", "alive"
    ),
    "global_reset": Entry("everybody's moments and counts 0", "control", "both"),
    "warm_probe": Entry(
        "moments gathered on batches before the first step",
        "after Fahlman & Lebiere 1990",
        "alive",
        {"batches": Number(10, 1, 1000)},
    ),
}

MATCHING = {
    "insertion": (
        "gradmax", "tiny", "net2wider", "variance_transfer", "statistics_matched", "norm_matched",
        "gradient_matched", "orthogonal",
    ),
    "optimizer_state": ("mean_incumbent", "donor", "rms_only"),
}  # fmt: skip
"""Rules that give newborns something of the layer's units that stay, so they need one at least."""

_WINDOW = Number(1955, 1, 10**9)

TRAINABILITY = {
    "none": Entry("everybody alike", _PAPER, "alive"),
    "two_speed": Entry(
        "newborn updates scaled up for a while",
        "Lillo & Cheney 2026, section 5 (Two-Speed)",
        "alive",
        {
            "factor": Number(5.0, 0.0, 1000.0),
            "steps": _WINDOW,
            "sides": Name("both", ("both", "in", "out")),
            "decay": Name("hard", ("hard", "linear", "exponential")),
        },
    ),
    "gradient_normalisation": Entry(
        "newborn gradients scaled to the alive units' root mean square",
        "direct cure of starvation under SGD",
        "alive",
        {"steps": _WINDOW, "clamp": Number(10.0, 1.0, 1e6)},
    ),
    "freeze_incumbents": Entry(
        "only newborns learn for a while",
        "after Fahlman & Lebiere 1990",
        "alive",
        {"steps": Number(100, 1, 10**9)},
    ),
    "warm_up": Entry(
        "newborn updates ramp up from a fraction",
        "the opposite of two_speed",
        "alive",
        {"start": Number(0.0, 0.0, 1.0), "steps": Number(391, 1, 10**9)},
    ),
    "local_schedule": Entry(
        "every newborn has a cosine of its own, from its birth",
        "control for the learning rate at birth",
        "alive",
        {"steps": _WINDOW, "limit": Number(100.0, 1.0, 1e6)},
    ),
    "unit_clipping": Entry(
        "each unit's gradient clipped to a share of its weights' norm",
        "Brock et al. 2021 (AGC)",
        "alive",
        {"share": Number(0.01, 1e-6, 100.0)},
    ),
    "cohort_rates": Entry(
        "each cohort's rate in proportion to the norm of its weights",
        "Yuan et al. 2023, section 3.3",
        "alive",
        {"per": Name("norm", ("norm", "rms"))},
    ),
}

ACTIVATION = {
    "relu": Entry("ReLU", _PAPER, "both"),
    "leaky_relu": Entry("leaky ReLU", "Maas et al. 2013", "both", {"slope": Number(0.01, 0, 1)}),
    "gelu": Entry("GELU", "Hendrycks & Gimpel 2016", "both"),
    "crelu": Entry("CReLU", "Shang et al. 2016; Abbas et al. 2023", "both"),
    "smooth_leaky": Entry(
        "smooth leaky ReLU",
        "Lillo & Cheney 2026 (ICLR), a x + (1 - a) x sigmoid(c x / p)",
        "both",
        {"slope": Number(0.3, -10.0, 10.0), "c": Number(3.0, 0.0, 100.0),
         "p": Number(5.0, 1e-3, 100.0)},
    ),
    "random_smooth_leaky": Entry(
        "smooth leaky ReLU with a random slope",
        "Lillo & Cheney 2026, section 5 and table 13 (CIFAR)",
        "both",
        {"c": Number(3.0, 0.0, 100.0), "p": Number(5.0, 1e-3, 100.0),
         "lower": Number(0.125, -10.0, 10.0), "upper": Number(0.333, -10.0, 10.0)},
    ),
}  # fmt: skip

NORMALISATION = {
    "none": Entry("pre-activations as they are", _PAPER, "both"),
    "layer_norm": Entry(
        "layer normalisation over the alive units, without parameters", "Ba et al. 2016", "alive"
    ),
}
"""What happens to the pre-activations of hidden layers; channels and logits stay as they are.

A newborn changes the mean and the variance of its layer, and so what all its units send on: with
``layer_norm`` no insertion leaves the function as it was, ``zero_out``, ``zero_in``, ``gradmax``,
``paired_cancel`` and ``net2wider`` without noise no more than the others. The directions of
``gradmax`` and ``tiny`` account for the next layer's normalisation, not for the newborn's own. A
unit that is alone in its layer is normalised to 0."""

TURNOVER = {
    "fraction": Entry(
        "a share of the units at every event",
        "Mocanu et al. 2018 (SET); Evci et al. 2020 (RigL), at the level of units",
        "both",
        {"share": Number(0.1, 1e-6, 1.0), "slots": Name("same", ("same", "other"))},
    ),
    "continual_backprop": Entry(
        "a small share of the mature units at every step",
        "Dohare et al. 2024, algorithm 1",
        "alive",
        {"rate": Number(1e-4, 0.0, 1.0), "transfer": Name("off", ("off", "on"))},
    ),
    "redo": Entry(
        "the dormant units at every event",
        "Sokar et al. 2023 (ReDo)",
        "alive",
        {"tau": Number(0.025, 0.0, 1.0)},
    ),
    "self_normalized_resets": Entry(
        "the units that have been silent for too long for them, at every step",
        "Farias & Jozefiak 2025, algorithm 1",
        "alive",
        {"eta": Number(0.02, 0.0, 1.0), "longest": Number(200, 1, 10_000)},
    ),
}

ALLOCATIONS: Mapping[str, tuple[float, float, float] | None] = {
    "neutral": (1.0, 1.0, 1.0),
    "fc1_protect": (1.5, 1.5, 0.6),
    "fc3_protect": (0.6, 0.6, 1.5),
    "ends_skewed": (1.2, 0.6, 1.2),
    "erk": None,
}
"""Bias of each hidden layer when the weight budget is split (Lillo & Cheney 2026, table 8). That of
``erk`` follows from the layers' sizes (``schedule.erdos_renyi_bias``), however many they are."""


@dataclass(frozen=True)
class Published:
    """A data set as readers know it."""

    label: str
    classes: int | None
    """None: as many as the user's folder has."""


DATASETS = {
    "digits": Published("digits", 10),
    "mnist": Published("MNIST", 10),
    "fashion_mnist": Published("Fashion-MNIST", 10),
    "cifar10": Published("CIFAR-10", 10),
    "cifar100": Published("CIFAR-100", 100),
    "folder": Published("a folder of images", None),
}

RETRAIN_VARIANTS = {
    "masked_fresh": "kept units, fresh weights drawn for the full network",
    "masked_original": "kept units, the weights they started from",
    "physical_fresh": "kept units, fresh weights drawn for the small network",
    "random_fresh": "random units, fresh weights drawn for the full network",
    "random_original": "random units, the weights they started from",
}
"""Masked and physical training are the same function; they differ only in the fan-in that sets
the scale of fresh weights. So there is no ``physical_original``: it equals ``masked_original``."""

STREAMS = {
    "permuted_inputs": Entry(
        "a new permutation of the pixels in every task", "Kumar et al. 2023", "both"
    ),
    "random_labels": Entry(
        "new random labels for the same images in every task", "Kumar et al. 2023", "both"
    ),
    "shuffled_labels": Entry(
        "a new permutation of the classes in every task", "Elsayed & Mahmood 2024", "both"
    ),
    "class_pairs": Entry(
        "two other classes to tell apart in every task", "Dohare et al. 2024", "both"
    ),
    "five_plus_one": Entry(
        "five new classes and one new class in turn; the five are scored",
        "Kumar et al. 2023 (5+1 CIFAR-100)",
        "both",
    ),
    "split_classes": Entry(
        "the next classes in every task, one head for all",
        "Lillo & Cheney 2026, section 7; van de Ven & Tolias 2019",
        "both",
        {
            "classes": Number(2, 1, 1000),
            "order": Name("groups", ("groups", "classes")),
            "replay": Number(0, 0, 10**6),
            "replay_total": Number(200, 1, 10**6),
        },
    ),
    "slowly_changing_regression": Entry(
        "a target network whose slow inputs flip one bit between tasks",
        "Dohare et al. 2024",
        "both",
    ),
}

REGULARIZER = {
    "none": Entry("the loss alone", _PAPER, "alive"),
    "l2": Entry(
        "pulled towards 0: strength x |weights|^2",
        "Krogh & Hertz 1992",
        "alive",
        {"strength": Number(1e-3, 0.0, 100.0)},
    ),
    "l2_init": Entry(
        "pulled towards their start: strength x |weights - initial|^2",
        "Kumar et al. 2023 (L2 Init)",
        "alive",
        {"strength": Number(1e-3, 0.0, 100.0)},
    ),
    "shrink_perturb": Entry(
        "shrunk and moved at random at every step",
        "Ash & Adams 2020",
        "alive",
        {"shrink": Number(1e-4, 0.0, 1.0), "noise": Number(1e-2, 0.0, 100.0)},
    ),
}
