"""Seed-stacked networks: forward, and hand-written backward.

Dimensions, everywhere in the package: S seeds, B batch, I inputs of a layer, H slots of a layer,
K alive units, O outputs of the next layer, C classes. The seed axis is first and always there.

Masked and compact networks are one function: ``forward`` with ``alive`` at full capacity and
without it on the alive units alone (``plasticity.state``) give the same logits and gradients.

A product (a convolution or a matrix product) has the precision of its layer's weights. What lies
between products has that of the biases: activations, sums over the batch, the loss. With weights
of one precision nothing is converted (``plasticity.precision`` makes others).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from plasticity.weights import RELU, Activation, Weights

aten = torch.ops.aten


@dataclass(frozen=True)
class Map:
    """What one convolution of one seed leaves."""

    entered: Tensor
    """In the precision of the product."""
    convolved: Tensor
    """What was pooled: pre-activations, or activations where the function is not monotone."""
    index: Tensor
    """Of the pooled maxima."""
    z: Tensor
    """Pre-activations: pooled ones where the function is monotone."""
    h: Tensor
    """After the activation, pooled where z is; before the mask."""


@dataclass(frozen=True)
class Trace:
    """What a forward pass leaves for the backward pass and for the probes."""

    trunk: tuple[tuple[Map, ...], ...]
    """For each seed, for each convolution."""
    inputs: tuple[Tensor, ...]
    """(S, B, I): what enters each fully connected layer, masked units as 0, in the precision of its
    product."""
    z: tuple[Tensor, ...]
    """(S, B, H) for each hidden layer: pre-activations, or h where ReLU has overwritten them.
    Where they are normalised, what came of that, never overwritten."""
    hidden: tuple[Tensor, ...]
    """(S, B, H) for each hidden layer: after the activation, before the mask."""
    logits: Tensor
    """(S, B, C)."""
    deviation: tuple[Tensor, ...]
    """(S, B, 1) for each hidden layer: what normalisation divided by; () without it."""


Scale = tuple[Tensor | None, ...]
"""(S, H) for each layer of units: what its activations are multiplied by; None is 1."""

NORM_EPS = 1e-5
"""Added to the variance, as torch.nn.LayerNorm does."""


def normalised(z: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return a layer's z less its mean over its standard deviation, and that deviation (S, B, 1).

    Layer normalisation (Ba et al. 2016) without parameters. Mean and biased variance are those of
    the image's alive units, the ones with a scale above 0. Masked units are normalised alike but
    count for nothing, so they can be measured as if alive. A unit alone in its layer gets 0.

    Parameters
    ----------
    z
        (S, B, H).
    scale
        (S, H), or None where all units are alive.
    """
    centred = z - _mean_of_alive(z, scale)
    deviation = (_mean_of_alive(centred.square(), scale) + NORM_EPS).sqrt()
    return centred / deviation, deviation


def _before_normalisation(
    delta: Tensor, z: Tensor, deviation: Tensor, scale: Tensor | None
) -> Tensor:
    """Return dL/dz before ``normalised`` from that after it (S, B, H), masked units as 0."""
    along = z * _mean_of_alive(delta * z, scale)
    raw = (delta - _mean_of_alive(delta, scale) - along) / deviation
    return raw if scale is None else raw * (scale > 0)[:, None]


def _mean_of_alive(values: Tensor, scale: Tensor | None) -> Tensor:
    """Return the mean over the alive units, (S, B, 1)."""
    if scale is None:
        return values.mean(2, keepdim=True)
    alive = (scale > 0).to(values.dtype)
    return torch.bmm(values, (alive / alive.sum(1, keepdim=True))[:, :, None])


def forward(
    weights: Weights, x: Tensor, activation: Activation = RELU, scale: Scale | None = None
) -> Trace:
    """Return the trace of S networks on their own batches.

    Parameters
    ----------
    weights
        Of S networks.
    x
        (S, B, C, H, W) with a trunk, (S, B, I) without.
    activation
        Of every layer of units. Hidden layers alone are normalised before it, channels and logits
        never.
    scale
        Applied after the activation: 0 for masked units, a gate's strength for units that fade in.
    """
    depth = len(weights.filters)
    features, trunk = _trunk_forward(weights, x, activation, scale)
    inputs: list[Tensor] = []
    pre: list[Tensor] = []
    hidden: list[Tensor] = []
    deviations: list[Tensor] = []
    last = len(weights.incoming) - 1
    h = features
    for layer, (incoming, bias) in enumerate(zip(weights.incoming, weights.bias, strict=True)):
        inputs.append(h.to(incoming.dtype))
        z = torch.baddbmm(bias.to(incoming.dtype)[:, None], inputs[-1], incoming.mT)  # (S, B, H)
        z = z.to(bias.dtype)
        if layer == last:
            return Trace(trunk, tuple(inputs), tuple(pre), tuple(hidden), z, tuple(deviations))
        factor = None if scale is None else scale[depth + layer]
        entered = z
        if activation.normalise:
            z, deviation = normalised(z, factor)
            deviations.append(deviation)
            entered = z.clone()  # may be overwritten, z is needed on the way back
        h = activation.value(entered, activation.slope(depth + layer), 2)
        pre.append(z)
        hidden.append(h)
        h = h if factor is None else h * repeated(factor, activation.copies)[:, None]
    raise AssertionError("a network has a classifier")


def repeated(factor: Tensor, times: int) -> Tensor:
    """Return (..., H) with each entry repeated, as columns of neighbouring copies need it."""
    return factor if times == 1 else factor.repeat_interleave(times, -1)


def _trunk_forward(
    weights: Weights, x: Tensor, activation: Activation, scale: Scale | None
) -> tuple[Tensor, tuple[tuple[Map, ...], ...]]:
    """Return features (S, B, I) and, for each seed, what the backward pass needs.

    Pooling comes before a monotone activation, which changes neither values nor gradients and
    leaves the activation a quarter of the work.
    """
    if not weights.filters:
        return x, ()
    traces = []
    features = x.new_empty(0)
    for seed in range(x.shape[0]):
        h, maps = x[seed], []
        for layer, (filters, bias) in enumerate(
            zip(weights.filters, weights.filter_bias, strict=True)
        ):
            slope = activation.slope(layer, seed)
            entered = h.to(filters.dtype)
            added = bias[seed].to(filters.dtype)
            convolved = torch.conv2d(entered, filters[seed], added, padding=1)
            if activation.monotone:  # pooling chooses, which no precision changes
                z, index = aten.max_pool2d_with_indices(convolved, [2, 2], [2, 2])
                z = z.to(bias.dtype)
                out = after = activation.value(z, slope, 1)
            else:
                z = convolved.to(bias.dtype)
                convolved = after = activation.value(z, slope, 1)
                out, index = aten.max_pool2d_with_indices(convolved, [2, 2], [2, 2])
            maps.append(Map(entered, convolved, index, z, after))
            factor = None if scale is None else scale[layer]
            if factor is not None:
                out = out * repeated(factor[seed], activation.copies)[:, None, None]
            h = out
        if seed == 0:
            features = h.new_empty((x.shape[0], h.shape[0], prod(h.shape[1:])))  # (S, B, I)
        features[seed].view(h.shape).copy_(h)
        traces.append(tuple(maps))
    return features, tuple(traces)


@dataclass(frozen=True)
class Flow:
    """dL/dh of every unit, masked ones included, L the mean over the batch."""

    trunk: tuple[tuple[Tensor, ...], ...]
    """For each seed and convolution, as ``Map.h``; () unless asked for."""
    hidden: tuple[Tensor, ...]
    """(S, B, H) for each hidden layer, as ``Trace.hidden``."""
    error: tuple[Tensor, ...]
    """(S, B, O): dL/dz of each fully connected layer, the classifier last, masked units as 0; z as
    the layer's weights make it, before any normalisation."""


def backward(  # noqa: PLR0913 (a pass over the network, its parts all explicit)
    weights: Weights,
    trace: Trace,
    grad_logits: Tensor,
    grads: Weights | None,
    activation: Activation = RELU,
    scale: Scale | None = None,
    *,
    through_trunk: bool = False,
) -> Flow:
    """Write the gradients and return what flows to every hidden unit, masked ones included.

    A masked unit's dL/dh is what it would receive were it alive: its outgoing weights times dL/dz
    of the next layer's alive units. Autograd would give 0 through the mask.

    Parameters
    ----------
    weights
        Of S networks.
    trace
        From ``forward`` with the same weights, activation and ``scale``.
    grad_logits
        (S, B, C): dL/dlogits, the loss being a mean over B and a sum over S.
    grads
        Filled in place, in the precisions of ``weights``; None when only the flow is asked for.
    activation, scale
        As in ``forward``.
    through_trunk
        Whether the flow is wanted for the trunk as well.
    """
    depth = len(weights.filters)
    flows: list[Tensor] = []
    errors: list[Tensor] = [grad_logits]
    for layer in range(len(weights.incoming) - 1, -1, -1):
        delta = errors[-1]
        error = delta.to(weights.incoming[layer].dtype)
        if grads is not None:
            # Of one example it is an outer product, three times as fast and the same bits.
            product = torch.mul if delta.shape[1] == 1 else torch.bmm
            product(_rows(error), trace.inputs[layer], out=grads.incoming[layer])
            torch.sum(delta, 1, out=grads.bias[layer])
        if layer == 0:
            break
        unit = depth + layer - 1
        flow = torch.bmm(error, weights.incoming[layer]).to(delta.dtype)  # (S, B, H)
        flows.append(flow)
        z, h = trace.z[layer - 1], trace.hidden[layer - 1]
        delta = activation.pull(flow, z, h, activation.slope(unit), 2)
        factor = None if scale is None else scale[unit]
        delta = delta if factor is None else delta * factor[:, None]
        if activation.normalise:
            delta = _before_normalisation(delta, z, trace.deviation[layer - 1], factor)
        errors.append(delta)
    trunk: tuple[tuple[Tensor, ...], ...] = ()
    if weights.filters and (grads is not None or through_trunk):
        flow = torch.bmm(errors[-1].to(weights.incoming[0].dtype), weights.incoming[0])
        trunk = _trunk_backward(weights, trace, flow, grads, activation, scale)
    return Flow(trunk, tuple(reversed(flows)), tuple(reversed(errors)))


def _rows(error: Tensor) -> Tensor:
    """Return (S, B, O) as (S, O, B); in bfloat16 laid out anew, for which products are faster."""
    return error.mT.contiguous() if error.dtype == torch.bfloat16 else error.mT


def _trunk_backward(
    weights: Weights,
    trace: Trace,
    grad: Tensor,
    grads: Weights | None,
    activation: Activation,
    scale: Scale | None,
) -> tuple[tuple[Tensor, ...], ...]:
    between = weights.bias[-1].dtype
    flows = []
    for seed, maps in enumerate(trace.trunk):
        pooled = [part // 2 for part in maps[-1].convolved.shape[2:]]
        flow = grad[seed].view(grad.shape[1], -1, *pooled)
        flow = flow.contiguous(memory_format=torch.channels_last).to(between)
        seen: list[Tensor] = []
        for layer in range(len(maps) - 1, -1, -1):
            part = maps[layer]
            slope = activation.slope(layer, seed)
            factor = None if scale is None else scale[layer]
            if activation.monotone:
                seen.append(flow)
                flow = activation.pull(flow, part.z, part.h, slope, 1)
                flow = unpooled(flow, part)
            else:
                flow = unpooled(flow, part)
                seen.append(flow)
                flow = activation.pull(flow, part.z, part.h, slope, 1)
            if factor is not None:
                flow = flow * factor[seed][:, None, None]
            filters = weights.filters[layer][seed]
            flow, grad_filters, grad_bias = aten.convolution_backward(
                flow.to(filters.dtype),
                part.entered,
                filters,
                bias_sizes=[filters.shape[0]],
                stride=[1, 1],
                padding=[1, 1],
                dilation=[1, 1],
                transposed=False,
                output_padding=[0, 0],
                groups=1,
                output_mask=[layer > 0, grads is not None, grads is not None],
            )
            if grads is not None:
                grads.filters[layer][seed].copy_(grad_filters)
                grads.filter_bias[layer][seed].copy_(grad_bias)
            if layer > 0:
                flow = flow.to(between)
        flows.append(tuple(reversed(seen)))
    return tuple(flows)


def unpooled(flow: Tensor, part: Map) -> Tensor:
    """Return a gradient of pooled maxima as that of what was pooled."""
    spread: Tensor = aten.max_pool2d_with_indices_backward(
        flow.to(part.convolved.dtype),
        part.convolved,
        [2, 2],
        [2, 2],
        [0, 0],
        [1, 1],
        ceil_mode=False,
        indices=part.index,
    )
    return spread


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of each example (S, B) and dL/dlogits (S, B, C), L being its mean over B."""
    log_p = torch.log_softmax(logits, -1)
    index = labels.unsqueeze(-1)
    loss = -log_p.gather(-1, index).squeeze(-1)
    grad = log_p.exp_()
    grad.scatter_add_(-1, index, torch.full_like(loss, -1).unsqueeze(-1))
    return loss, grad.div_(labels.shape[1])


def squared_error(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of each example (S, B), (output - target)^2, and dL/doutputs (S, B, 1)."""
    miss = outputs - targets[..., None]
    return miss.square().squeeze(-1), miss.mul_(2 / targets.shape[1])


Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Outputs and labels -> the loss of each example and the gradient of its mean."""
