"""What a rule may know of one layer before an event: the same form for every kind of layer.

F is the number of incoming weights of a unit, G that of its outgoing weights, whatever the
neighbouring layers are: a channel of the last convolution has one outgoing weight for each unit of
the first hidden layer and each place of its map. N counts images times places (one place in a
fully connected layer). Rules work on this view and never know the network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plasticity.units import Slots

__all__ = ["Draws", "LayerView", "Options", "Slots", "norms_of"]

Options = Mapping[str, float | int | str]
Draws = Sequence[np.random.Generator]
"""One generator per seed."""


@dataclass(frozen=True)
class LayerView:
    """One layer of S networks before an event; statistics are those of the probe batch.

    What a masked slot would do is measured as if it were alive: ``hidden``, ``flow``, ``delta`` and
    the two gradients are filled for every slot. z is what enters the activation function; where
    layers are normalised, ``error`` alone is taken before that.
    """

    incoming: Tensor
    """(S, H, F) weights into each slot."""
    bias: Tensor
    """(S, H)."""
    outgoing: Tensor
    """(S, H, G) weights out of each slot."""
    alive: Tensor
    """(S, H) bool."""
    input_alive: Tensor
    """(S, F) bool: whether the unit at the other end takes part; always true for pixels. For an
    insertion: after the event, newborns of the previous layer included."""
    output_alive: Tensor
    """(S, G) bool: likewise; always true for classes. For an insertion: before and after the event,
    newborns of the next layer excluded, whose incoming weights are their own rule's to choose."""
    utility: Tensor
    """(S, H) running utility of continual backprop; zeros where nobody keeps it."""
    hidden: Tensor
    """(S, N, H) activations, before mask and gate."""
    derivative: Tensor
    """(S, N, H) of the activation function at the pre-activation."""
    flow: Tensor
    """(S, N, H) dL/dh, L the image's own loss; a gate's strength is part of it."""
    inputs: Tensor | None
    """(S, N, F) what enters, masked units as 0; None for a convolution."""
    error: Tensor | None
    """(S, N, G) dL/dz of the next layer, masked units as 0; None where that is not a fully
    connected layer with one weight per unit pair."""
    incoming_gradient: Tensor | None
    """(S, H, F) dL/dw, L the mean over images; None unless the rule asks for it."""
    outgoing_gradient: Tensor | None
    """(S, H, G) dL/dv, L the mean over images; likewise."""
    curvature: Tensor | None
    """(S, H) sum over the unit's weights of w^2 d2L/dw2; None unless the rule asks for it."""
    num_images: int
    """Images of the probe: N divided by the places of the layer's map."""
    threshold: float
    """An activation above it counts as active."""
    value_at: Callable[[Tensor], Tensor]
    """The activation function, as in evaluation."""

    @property
    def delta(self) -> Tensor:
        """Return (S, N, H): dL/dz of every slot as if it were alive."""
        return self.derivative * self.flow

    @property
    def activation_rate(self) -> Tensor:
        """Return (S, H): share of images (and places) on which a slot is active."""
        # Into a float tensor: 5 times faster on a CPU than a mean of booleans.
        return torch.gt(self.hidden, self.threshold, out=torch.empty_like(self.hidden)).mean(1)

    @property
    def gradient(self) -> Tensor:
        """Return (S, H): mean over images (and places) of |dL/dz|."""
        return self.delta.abs().mean(1)


def norms_of(weights: Tensor, used: Tensor) -> Tensor:
    """Return (S, H): L2 norm over the weights in use, (S, F) or (S, G)."""
    kept = torch.where(used[:, None], weights, 0)
    norms: Tensor = torch.linalg.vector_norm(kept, dim=2, dtype=torch.float64)
    return norms
