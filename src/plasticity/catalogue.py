"""The names a user can choose, with their options, labels and sources. No torch.

A rule is here and in its family's table (``plasticity.rules``), one to one; a test holds them
together. ``reads`` says which units a rule may look at: alive, masked or both.
"""

from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Entry:
    """What is known of a rule without running it."""

    label: str
    source: str
    reads: str
    options: MappingProxyType[str, float] = field(default_factory=lambda: MappingProxyType({}))


OPERATORS = {
    "dense": "all units, always",
    "grow": "starts from a few units and switches more on",
    "prune": "starts full and switches units off",
    "static": "the final unit counts from the start",
}

GROW_SELECTION = {
    "activation_frequency": Entry("most often active", "Lillo & Cheney 2026, section 3", "masked"),
    "random": Entry("random", "control", "masked"),
}

PRUNE_SELECTION = {
    "incoming_magnitude": Entry(
        "smallest mean |incoming weight|", "Lillo & Cheney 2026, section 3", "alive"
    ),
    "random": Entry("random", "control", "alive"),
}

INSERTION = {
    "late_init": Entry(
        "the slot's initial weights, revealed late", "Lillo & Cheney 2026, section 3", "masked"
    ),
}

ALLOCATIONS = {
    "neutral": (1.0, 1.0, 1.0),
    "fc1_protect": (1.5, 1.5, 0.6),
    "fc3_protect": (0.6, 0.6, 1.5),
    "ends_skewed": (1.2, 0.6, 1.2),
}
"""Bias of each hidden layer when the weight budget is split (Lillo & Cheney 2026, table 8)."""

DATASETS = {
    "digits": "digits",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
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
    "permuted_inputs": "a new permutation of the pixels in every task",
    "random_labels": "new random labels for the same images in every task",
}
