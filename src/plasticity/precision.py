"""Products of training in a lower precision than the weights (mixed precision).

The optimizer's weights stay as they are. The engine works on a twin: the same biases, and matrices
and filters in the lower precision, rounded anew at every step. Products round their operands and
their results and accumulate in float32, as ``torch.autocast`` has it.
"""

from dataclasses import dataclass, replace

import torch

from plasticity.weights import Weights

PRODUCTS = {"float32": None, "bfloat16": torch.bfloat16}
"""Of ``train.precision``: the type of products, None for that of the weights."""


@dataclass(frozen=True)
class Twin:
    """What the engine computes on, and what it writes gradients into."""

    weights: Weights
    grads: Weights
    _of: tuple[Weights, Weights]
    """The weights and the gradients of the optimizer."""

    def refresh(self) -> None:
        """Round the optimizer's weights."""
        _copy_(self.weights, self._of[0])

    def collect(self) -> None:
        """Give the optimizer its gradients."""
        _copy_(self._of[1], self.grads)


def twin(weights: Weights, grads: Weights, products: torch.dtype | None) -> Twin:
    """Return the twin of weights and gradients, to be refreshed before each use.

    Without a type of products it has the same tensors, and neither costs anything.
    """
    return Twin(_lowered(weights, products), _lowered(grads, products), (weights, grads))


def _lowered(weights: Weights, products: torch.dtype | None) -> Weights:
    """Return weights with room for filters and matrices of a type, all but the classifier's.

    The classifier's products are small, and the loss is taken of what they give: rounded outputs
    would tie.
    """
    if products is None:
        return weights
    return replace(
        weights,
        filters=tuple(torch.empty_like(part, dtype=products) for part in weights.filters),
        incoming=(
            *(torch.empty_like(part, dtype=products) for part in weights.incoming[:-1]),
            weights.incoming[-1],
        ),
    )


def _copy_(to: Weights, of: Weights) -> None:
    for target, source in zip(to.tensors(), of.tensors(), strict=True):
        if target is not source:
            target.copy_(source)
