"""The weights of newborn units."""

from collections.abc import Callable

from plasticity.network import Weights

Rule = Callable[[Weights, Weights], Weights]


def late_init(weights: Weights, initial: Weights) -> Weights:  # noqa: ARG001 (every rule's form)
    """Return the weights unchanged: a masked slot has kept its initial weights exactly.

    So a newborn is an initial unit revealed late (Lillo & Cheney 2026, section 3).
    """
    return weights


TABLE: dict[str, Rule] = {
    "late_init": late_init,
}
