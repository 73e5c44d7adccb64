"""Which units an event takes: a utility per slot, higher = keep (prune) or take (grow).

A rule computes, for every slot; ``edit`` chooses. It reads the layer before the event (a view),
one generator per seed and its own options, and returns (S, H). Weights from masked inputs and to
masked consumers do not count, as they take no part in the network; one option says otherwise. Means
over images are also means over the places of a convolution's map, unless a rule says otherwise.
"""
# ruff: noqa: ARG001
# Every rule takes the same three arguments, whether or not it needs them.

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from plasticity.rules.view import Draws, LayerView, Options, norms_of

Rule = Callable[[LayerView, Draws, Options], Tensor]


def random(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return a uniform draw from [0, 1) for each slot, each seed from its own stream."""
    utility = np.stack([draw.random(view.alive.shape[1]) for draw in draws])
    return torch.from_numpy(utility).to(view.alive.device)


def activation_frequency(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return the share of images on which each slot is active, as if unmasked.

    Source: Lillo & Cheney 2026, section 3; for pruning its mirror image, ours.
    """
    return view.activation_rate


def zero_share(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return 1 - the share of zero activations of each slot.

    Source: Hu et al. 2016, equation 1 (APoZ). Deviation: an activation below 0 counts as a zero,
    for activation functions that are never exactly 0; with ReLU nothing changes.
    """
    return (view.hidden > 0).to(view.hidden.dtype).mean(1)


def activation(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return the mean |activation| of each slot.

    Source: Molchanov et al. 2017, section 2.2. Deviation: the absolute value, for activation
    functions that go below 0; with ReLU nothing changes.
    """
    return view.hidden.abs().mean(1, dtype=torch.float64)


def incoming_magnitude(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return the mean |incoming weight| of each slot.

    With ``inputs: alive`` over the inputs that are alive. With ``inputs: all`` over the whole row
    of the weight matrix: a weight from a masked input counts with its initial value, which the slot
    keeps.

    Source: Lillo & Cheney 2026, section 3, which does not say over which inputs.
    """
    every = torch.ones_like(view.input_alive)
    return _mean_magnitude(view.incoming, every if options["inputs"] == "all" else view.input_alive)


def outgoing_magnitude(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return the mean |outgoing weight| of each slot over the consumers that are alive.

    Source: after Han et al. 2015, section 3, who remove single weights of small magnitude.
    """
    return _mean_magnitude(view.outgoing, view.output_alive)


def path_norm(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return the product of the L2 norms of each slot's incoming and outgoing weights.

    It is the square root of the sum, over all paths input - unit - consumer, of the squared product
    of the path's two weights. The bias does not count.

    Source: after Neyshabur et al. 2015; theirs runs over paths through the whole network.
    """
    incoming = norms_of(view.incoming, view.input_alive)
    return incoming * norms_of(view.outgoing, view.output_alive)


def contribution(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return the running contribution of each slot.

    Source: Dohare et al. 2024, equation 1. It is updated at every training step, where this rule's
    options apply; here it is only read.
    """
    return view.utility


def gradient(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return the mean over images of |dL/dz| of each slot, as if unmasked.

    Source: Lillo & Cheney 2026, table 7 (growth) and section 5 (pruning).
    """
    return view.gradient


def taylor(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return the mean over images of |dL/dm|, m the slot's mask and L the image's own loss.

    The first-order estimate of how much each image's loss changes when the unit goes, whether up
    or down. Changes of different images do not cancel, which is what sets it apart from ``snip``.

    Source: Molchanov et al. 2017, equation 8. Deviation: their mean over places is a sum here, the
    same factor for all units of a layer; no normalisation across layers, which share no ranking.
    """
    return _mask_gradient(view).abs().mean(1)


def snip(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return |dL/dm|, m the slot's mask and L the mean loss over images.

    Source: Lee et al. 2019, equation 6. Deviation: units in place of weights; at any event in place
    of once before training; not divided by the sum over units, which changes no ranking.
    """
    return _mask_gradient(view).mean(1).abs()


def fisher(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return the mean over images of (dL/dm)^2 / 2, m the slot's mask and L the image's own loss.

    The second-order estimate of how much the mean loss rises when the unit goes, the curvature
    taken from the empirical Fisher information.

    Source: Theis et al. 2018, Fisher pruning of feature maps, without the cost of computation.
    """
    return _mask_gradient(view).square().mean(1) / 2


def hessian(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return the sum of w^2 d2L/dw2 / 2 over the weights of each slot.

    Source: LeCun et al. 1990, the saliency of optimal brain damage. Deviation: summed over a unit;
    the diagonal is estimated where the view is made. A negative sum stays negative: at second
    order the loss falls without the unit.

    Raises
    ------
    ValueError
        If the view has no curvature.
    """
    if view.curvature is None:
        raise ValueError("hessian: the view has no curvature; measure it before the rule is called")
    return view.curvature / 2


def redundancy(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return -max |correlation| of each slot's activations with those of stronger alive units.

    Strength is the mean |activation|; of two equally strong units the lower slot is the stronger,
    so that one of two copies stays. The strongest unit has utility 0. A unit that is constant on
    the probe, such as one that is never active, has utility -1: the next layer's bias replaces it.

    Source: after Srinivas & Babu 2015. Deviation: they compare weights, free of data; here
    activations. No weights are merged.
    """
    strength = activation(view, draws, options)
    slot = torch.arange(strength.shape[1], device=strength.device)
    tie = (strength[:, :, None] == strength[:, None]) & (slot[:, None] > slot)
    weaker = (strength[:, :, None] < strength[:, None]) | tie  # (S, H, H): the first than the other
    return -_largest_correlation(view.hidden, weaker & view.alive[:, None])


def incoming_gradient(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return the L2 norm of the gradient of each slot's incoming weights, as if unmasked.

    Source: Evci et al. 2020 (RigL), section 3, at the level of units. The bias does not count.

    Raises
    ------
    ValueError
        If the view has no gradients.
    """
    return _gradient_norm(view.incoming_gradient, view.input_alive)


def gradmax(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return the L2 norm of the gradient of the incoming weights plus that of the outgoing ones.

    Source: Lillo & Cheney 2026, section 6; after Evci et al. 2022, who choose the weights of new
    units so that this gradient is large. Here the weights are given and units are chosen.

    Raises
    ------
    ValueError
        If the view has no gradients.
    """
    incoming = _gradient_norm(view.incoming_gradient, view.input_alive)
    return incoming + _gradient_norm(view.outgoing_gradient, view.output_alive)


def decorrelation(view: LayerView, draws: Draws, options: Options) -> Tensor:
    """Return 1 - max |correlation| of each slot's activations with those of any alive unit.

    A slot that is constant on the probe, such as one that is never active, has utility 0, as a copy
    of an alive unit has: it is correlated with nobody only because it does nothing.

    Source: after Maile et al. 2022 (NORTH), who make new units orthogonal to the alive ones.
    """
    return 1 - _largest_correlation(view.hidden, view.alive[:, None])


def _mean_magnitude(weights: Tensor, used: Tensor) -> Tensor:
    """Return (S, H): mean |weight| over the places in use, (S, F)."""
    magnitude = torch.where(used[:, None], weights.abs(), 0)
    return magnitude.sum(2, dtype=torch.float64) / used.sum(1, keepdim=True)


def _gradient_norm(gradient: Tensor | None, used: Tensor) -> Tensor:
    """Return (S, H): L2 norm over the places in use, (S, F)."""
    if gradient is None:
        raise ValueError("the view has no gradients; measure them before the rule is called")
    return norms_of(gradient, used)


def _mask_gradient(view: LayerView) -> Tensor:
    """Return (S, images, H): dL/dm of each image, the sum over places of h dL/dh."""
    seeds, _, slots = view.hidden.shape
    product = (view.hidden * view.flow).reshape(seeds, view.num_images, -1, slots)
    return product.sum(2, dtype=torch.float64)


def _largest_correlation(hidden: Tensor, partner: Tensor) -> Tensor:
    """Return (S, H): the largest |correlation| of each slot with its partners, 0 without any.

    Partners are (S, H or 1, H) bool. A slot that is constant has 1, and is nobody's partner.
    """
    # By its values: rounding leaves a constant a variance.
    constant = hidden.amax(1) == hidden.amin(1)
    mean = hidden.mean(1, keepdim=True, dtype=torch.float64)
    centred = hidden - mean.to(hidden.dtype)
    norm = torch.linalg.vector_norm(centred, dim=1, keepdim=True, dtype=torch.float64)
    standard = torch.where(constant[:, None], 0, centred / norm.to(hidden.dtype))
    correlation = standard.mT @ standard  # (S, H, H)
    largest = torch.where(partner, correlation.abs(), 0).amax(2).clamp(max=1)
    return torch.where(constant, 1, largest)


GROW: dict[str, Rule] = {
    "activation_frequency": activation_frequency,
    "random": random,
    "gradient": gradient,
    "incoming_gradient": incoming_gradient,
    "gradmax": gradmax,
    "decorrelation": decorrelation,
}

GROW_BY_GRADIENT = frozenset({"incoming_gradient", "gradmax"})
"""The rules that read the weights' gradients; a view has them for these alone."""

PRUNE: dict[str, Rule] = {
    "incoming_magnitude": incoming_magnitude,
    "random": random,
    "outgoing_magnitude": outgoing_magnitude,
    "path_norm": path_norm,
    "activation": activation,
    "activation_frequency": activation_frequency,
    "zero_share": zero_share,
    "contribution": contribution,
    "taylor": taylor,
    "gradient": gradient,
    "snip": snip,
    "fisher": fisher,
    "hessian": hessian,
    "redundancy": redundancy,
}
