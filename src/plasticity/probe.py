"""What each unit does on a fixed batch: its activations, and the gradient that reaches it.

Masked units are measured as if they were alive. Probes use their own images and change nothing:
switching them off leaves every trained weight as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

from plasticity import rng
from plasticity.network import Flow, Loss, Map, Trace, backward, cross_entropy, forward, unpooled
from plasticity.state import State
from plasticity.weights import Activation, Weights


@dataclass(frozen=True)
class Signals:
    """Of every slot of one layer of units; N is images times places, image by image.

    z is what enters the activation function: where hidden layers are normalised, what comes of
    that. So |dL/dz| is still the product of outgoing weights, derivative and the next layer's
    ``Flow.error``, which is taken before that layer's normalisation.
    """

    hidden: Tensor
    """(S, N, H) activations, before mask and gate; of two copies their sum."""
    derivative: Tensor
    """(S, N, H) of the activation function."""
    flow: Tensor
    """(S, N, H) dL/dh, L the image's own loss; a gate's strength is part of it."""

    @property
    def delta(self) -> Tensor:
        """Return dL/dz (S, N, H)."""
        return self.derivative * self.flow


@dataclass(frozen=True)
class Measurement:
    """A forward and a backward pass on the probe; L is each image's own loss."""

    trace: Trace
    flow: Flow
    loss: Tensor
    """(S, B)."""
    correct: Tensor
    """(S, B) bool."""
    signals: tuple[Signals | None, ...]
    """For each layer of units; None for the trunk unless it was asked for."""
    scale: tuple[Tensor, ...]
    """(S, H) for each layer of units: what activations were multiplied by, 0 where masked."""


def strengths(alive: Sequence[Tensor], gates: Sequence[Tensor] | None) -> tuple[Tensor, ...]:
    """Return what activations are multiplied by: 0 where masked, a gate's strength else."""
    if gates is None:
        return tuple(mask.float() for mask in alive)
    return tuple(mask * gate for mask, gate in zip(alive, gates, strict=True))


def measure(  # noqa: PLR0913 (a pass over the network, its parts all explicit)
    state: State,
    x: Tensor,
    labels: Tensor,
    activation: Activation,
    gates: Sequence[Tensor] | None = None,
    *,
    through_trunk: bool = False,
    loss_of: Loss = cross_entropy,
) -> Measurement:
    """Return what all slots of a state do on a batch.

    Parameters
    ----------
    state
        S networks at full capacity.
    x, labels
        (S, B, ...) and (S, B).
    activation
        As in evaluation.
    gates
        (S, H) strengths for each layer of units; None is 1 everywhere.
    through_trunk
        Whether channels of the trunk are measured too.
    loss_of
        The loss; without classes nothing counts as correct.
    """
    weights = state.weights
    dtype = weights.bias[0].dtype
    scale = tuple(part.to(dtype) for part in strengths(state.alive, gates))
    trace = forward(weights, x, activation, scale)
    loss, grad_logits = loss_of(trace.logits, labels)
    grad_logits.mul_(labels.shape[1])  # of each image's own loss
    flow = backward(
        weights, trace, grad_logits, None, activation, scale, through_trunk=through_trunk
    )
    signals = _signals(trace, flow, activation, scale, state.alive, through_trunk=through_trunk)
    return Measurement(trace, flow, loss, trace.logits.argmax(-1) == labels, signals, scale)


def _signals(
    trace: Trace,
    flow: Flow,
    activation: Activation,
    scale: Sequence[Tensor],
    alive: Sequence[Tensor],
    *,
    through_trunk: bool,
) -> tuple[Signals | None, ...]:
    depth = len(scale) - len(trace.hidden)
    result: list[Signals | None] = [None] * depth
    if through_trunk:
        for layer in range(depth):
            seeds = [
                _of_map(maps[layer].z, maps[layer].h, flows[layer], activation, layer, seed)
                for seed, (maps, flows) in enumerate(zip(trace.trunk, flow.trunk, strict=True))
            ]
            hidden, derivative, arriving = (torch.stack(part) for part in zip(*seeds, strict=True))
            result[layer] = _gated(hidden, derivative, arriving, scale[layer], alive[layer])
    for index, (z, h, arriving) in enumerate(zip(trace.z, trace.hidden, flow.hidden, strict=True)):
        layer = depth + index
        parts = _single(z, h, arriving, activation, activation.slope(layer), 2)
        result.append(_gated(*parts, scale[layer], alive[layer]))
    return tuple(result)


def _single(
    z: Tensor, h: Tensor, flow: Tensor, activation: Activation, slope: Tensor | None, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return activation, derivative and flow with one entry per unit.

    Two copies, relu(z) and relu(-z), are one unit |z| with derivative 1 or -1.
    """
    derivative = activation.derivative(z, h, slope, axis)
    if activation.copies == 1:
        return h, derivative, flow
    delta = activation.pull(flow, z, h, slope, axis)
    return torch.unflatten(h, axis, (-1, 2)).sum(axis + 1), derivative, delta * derivative


def _of_map(
    z: Tensor, h: Tensor, flow: Tensor, activation: Activation, layer: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return one seed's maps (B, C, height, width) as (N, C)."""
    parts = _single(z, h, flow, activation, activation.slope(layer, seed), 1)
    hidden, derivative, arriving = (part.movedim(1, -1).flatten(0, 2) for part in parts)
    return hidden, derivative, arriving


def _gated(
    hidden: Tensor, derivative: Tensor, flow: Tensor, scale: Tensor, alive: Tensor
) -> Signals:
    if bool((scale == alive).all()):
        return Signals(hidden, derivative, flow)
    return Signals(hidden, derivative, flow * torch.where(alive, scale, 1)[:, None])


def as_if_alive_gradients(
    state: State, measurement: Measurement, activation: Activation
) -> tuple[Weights, Weights]:
    """Return the gradients of all slots' incoming and of all slots' outgoing weights.

    In the first, every slot receives dL/dz as if alive, from the inputs that are alive. In the
    second, every slot sends its activation as if alive, to the consumers that are alive. L is the
    mean over images. Convolutions are left at 0 where the trunk was not measured. A masked slot of
    a normalised layer leaves the statistics as they are; alive units have their part in them.
    """
    weights, trace, flow = state.weights, measurement.trace, measurement.flow
    images = measurement.loss.shape[1]
    into, out_of = weights.map(torch.zeros_like), weights.map(torch.zeros_like)
    depth = len(weights.filters)
    for seed, arriving in enumerate(flow.trunk):
        maps = trace.trunk[seed]
        for layer, part in enumerate(maps):
            alive, scale = state.alive[layer][seed], measurement.scale[layer][seed]
            strength = torch.where(alive, scale, 1)[:, None, None]
            delta = _before_pooling(part, arriving[layer], activation, layer, seed) * strength
            filters = weights.filters[layer][seed]
            into.filters[layer][seed] = _filter_gradient(delta, part.entered, filters) / images
            if layer > 0:
                used = delta * alive[:, None, None]
                entered = _sent(maps[layer - 1], activation)
                out_of.filters[layer][seed] = _filter_gradient(used, entered, filters) / images
    for layer, error in enumerate(flow.error):
        signals = measurement.signals[depth + layer] if layer < len(trace.hidden) else None
        if signals is not None:
            delta = _before_normalisation(measurement, layer, signals, state.alive[depth + layer])
            into.incoming[layer].copy_(torch.bmm(delta.mT, trace.inputs[layer]) / images)
        if layer > 0:
            sent = trace.hidden[layer - 1]
        elif flow.trunk:
            sent = torch.stack([_sent(maps[-1], activation).flatten(1) for maps in trace.trunk])
        else:
            continue
        out_of.incoming[layer].copy_(torch.bmm(error.mT, sent) / images)
    return into, out_of


def _before_normalisation(
    measurement: Measurement, layer: int, signals: Signals, alive: Tensor
) -> Tensor:
    """Return dL/dz as a hidden layer's own weights make z, slots as if alive."""
    deviation = measurement.trace.deviation
    if not deviation:
        return signals.delta
    error = measurement.flow.error[layer]
    return torch.where(alive[:, None], error, signals.delta / deviation[layer])


def _before_pooling(
    part: Map, arriving: Tensor, activation: Activation, layer: int, seed: int
) -> Tensor:
    """Return dL/dz of a convolution's output, channels as if alive."""
    delta = activation.pull(arriving, part.z, part.h, activation.slope(layer, seed), 1)
    return unpooled(delta, part) if activation.monotone else delta


def _sent(part: Map, activation: Activation) -> Tensor:
    """Return what a convolution passes on, channels as if alive."""
    return part.h if activation.monotone else torch.max_pool2d(part.h, 2)


def _filter_gradient(delta: Tensor, entered: Tensor, filters: Tensor) -> Tensor:
    gradient: Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
        entered, list(filters.shape), delta, padding=1
    )
    return gradient


def gradients(
    state: State, x: Tensor, labels: Tensor, activation: Activation, count: int
) -> list[Weights]:
    """Return the gradients of the alive network on each of ``count`` parts of a batch.

    Parts differ by an image at most; of fewer images than ``count``, each is a part.
    """
    count = min(count, x.shape[1])
    dtype = state.weights.bias[0].dtype
    scale = tuple(mask.to(dtype) for mask in state.alive)
    result = []
    parts = zip(x.tensor_split(count, 1), labels.tensor_split(count, 1), strict=True)
    for images, classes in parts:
        trace = forward(state.weights, images, activation, scale)
        _, grad_logits = cross_entropy(trace.logits, classes)
        grads = state.weights.map(torch.zeros_like)
        backward(state.weights, trace, grad_logits, grads, activation, scale)
        result.append(grads)
    return result


def ablation(state: State, layer: int, x: Tensor, labels: Tensor, activation: Activation) -> Tensor:
    """Return (S, H): how much the loss rises when one unit is taken out, 0 for masked slots.

    The oracle that cheap utilities stand for: one forward pass for every slot.
    """
    dtype = state.weights.bias[0].dtype
    scale = [mask.to(dtype) for mask in state.alive]

    def loss(strength: Tensor) -> Tensor:
        parts = (*scale[:layer], strength, *scale[layer + 1 :])
        logits = forward(state.weights, x, activation, parts).logits
        return cross_entropy(logits, labels)[0].double().mean(1)

    whole, columns = loss(scale[layer]), []
    for slot in range(scale[layer].shape[1]):
        without = scale[layer].clone()
        without[:, slot] = 0
        columns.append(loss(without) - whole)
    return torch.stack(columns, 1)


def weighted_curvature(
    state: State,
    x: Tensor,
    labels: Tensor,
    activation: Activation,
    probes: int,
    seeds: Sequence[int],
) -> Weights:
    """Return w^2 d2L/dw2 of every weight of the alive network, estimated.

    Hutchinson's estimator of the Hessian's diagonal: the mean of r x (H r) over ``probes`` random
    sign vectors r, by differentiating twice. L is the mean over the batch.
    """
    dtype = state.weights.bias[0].dtype
    scale = tuple(mask.to(dtype) for mask in state.alive)
    weights = state.weights.map(lambda tensor: tensor.detach().clone().requires_grad_())
    trace = forward(weights, x, activation, scale)
    loss = torch.nn.functional.cross_entropy(
        trace.logits.flatten(0, 1), labels.flatten(), reduction="sum"
    )
    parts = weights.tensors()
    slope = torch.autograd.grad(loss / labels.shape[1], parts, create_graph=True)
    total = [torch.zeros_like(tensor) for tensor in state.weights.tensors()]
    for index in range(probes):
        draws = [rng.stream(seed, "curvature", index) for seed in seeds]
        signs = [_signs(tensor, draws) for tensor in total]
        product = torch.autograd.grad(slope, parts, signs, retain_graph=True)
        for sum_so_far, sign, part in zip(total, signs, product, strict=True):
            sum_so_far.add_(sign * part / probes)
    diagonal = state.weights.rebuilt(total)
    return state.weights.map(lambda w, d: w * w * d, diagonal)


def _signs(like: Tensor, draws: Sequence[np.random.Generator]) -> Tensor:
    signs = np.stack([draw.integers(0, 2, like.shape[1:]) * 2 - 1 for draw in draws])
    return torch.from_numpy(signs).to(like.device, like.dtype)
