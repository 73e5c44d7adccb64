"""Seed-stacked networks: initialisation, forward, and hand-written backward.

Dimensions, everywhere in the package: S seeds, B batch, I inputs of a layer, H slots of a layer,
K alive units, O outputs of the next layer, C classes. The seed axis is first and always there.

Masked and compact networks are one function: ``forward`` with ``alive`` at full capacity and
without it on the alive units alone (``plasticity.state``) give the same logits and gradients.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from plasticity import rng

aten = torch.ops.aten


@dataclass(frozen=True)
class Architecture:
    """The shape of a network: an optional convolutional trunk, hidden layers, a classifier.

    Each trunk layer is a 3 x 3 convolution (padding 1), ReLU and 2 x 2 max-pooling. The hidden
    layers are fully connected with ReLU; they can be edited, trunk and classifier cannot
    (Lillo & Cheney 2026, section 3).
    """

    image: tuple[int, int, int]
    """Channels, height, width."""
    trunk: tuple[int, ...]
    widths: tuple[int, ...]
    classes: int

    @property
    def feature_map(self) -> tuple[int, int, int]:
        """Channels, height and width of what enters the first hidden layer."""
        channels, height, width = self.image
        for channels in self.trunk:  # noqa: B007 (the last one counts)
            height, width = height // 2, width // 2
        return channels, height, width

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs of the first hidden layer, hidden widths, classes."""
        return (prod(self.feature_map), *self.widths, self.classes)


@dataclass(frozen=True)
class Weights:
    """One tensor per parameter of S networks; gradients and moments have the same form."""

    filters: tuple[Tensor, ...]
    """(S, O, I, 3, 3) for each trunk layer."""
    filter_bias: tuple[Tensor, ...]
    """(S, O) for each trunk layer."""
    incoming: tuple[Tensor, ...]
    """(S, H, I) for each hidden layer, then (S, C, H) for the classifier."""
    bias: tuple[Tensor, ...]
    """(S, H) for each hidden layer, then (S, C)."""

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all tensors in a fixed order."""
        return (*self.filters, *self.filter_bias, *self.incoming, *self.bias)

    def rebuilt(self, tensors: Sequence[Tensor]) -> "Weights":
        """Return weights of this form from tensors in the order of ``tensors()``."""
        trunk, layers = len(self.filters), len(self.incoming)
        assert len(tensors) == 2 * (trunk + layers)
        cut = (trunk, 2 * trunk, 2 * trunk + layers)
        return Weights(
            tuple(tensors[: cut[0]]),
            tuple(tensors[cut[0] : cut[1]]),
            tuple(tensors[cut[1] : cut[2]]),
            tuple(tensors[cut[2] :]),
        )

    def map(self, function: Callable[..., Tensor], *others: "Weights") -> "Weights":
        """Return the weights made by a function of corresponding tensors."""
        columns = zip(self.tensors(), *(other.tensors() for other in others), strict=True)
        return self.rebuilt([function(*column) for column in columns])


@dataclass(frozen=True)
class Trace:
    """What a forward pass leaves for the backward pass and for the probes."""

    trunk: tuple[tuple[tuple[Tensor, Tensor, Tensor, Tensor], ...], ...]
    """For each seed and trunk layer: input, pre-activation, pooling index, output."""
    inputs: tuple[Tensor, ...]
    """(S, B, I): what enters each fully connected layer, masked units as 0."""
    hidden: tuple[Tensor, ...]
    """(S, B, H) for each hidden layer: after the activation, before the mask."""
    logits: Tensor
    """(S, B, C)."""


def initial_weights(
    architecture: Architecture,
    seeds: Sequence[int],
    rule: str,
    *,
    purpose: str = "init",
    dtype: torch.dtype = torch.float32,
) -> Weights:
    """Return fresh weights, each seed and layer from its own stream.

    Parameters
    ----------
    architecture
        Full capacity. A static network starts as a part of these weights.
    seeds
        One network for each.
    rule
        ``torch_default``: U(+-1 / sqrt(fan_in)). ``kaiming_relu``: weights U(+-sqrt(6 / fan_in)).
        Biases are U(+-1 / sqrt(fan_in)) in both, as torch.nn.Linear has them.
    purpose
        Stream of ``plasticity.rng``.
    dtype
        Of the result; draws are made in float64.
    """
    gain = {"torch_default": 1.0, "kaiming_relu": 6.0**0.5}[rule]

    def layer(index: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        weight, bias = [], []
        bound = prod(shape[1:]) ** -0.5
        for seed in seeds:
            draw = rng.stream(seed, purpose, index)
            weight.append(draw.uniform(-bound * gain, bound * gain, shape))
            bias.append(draw.uniform(-bound, bound, shape[0]))
        return (
            torch.from_numpy(np.stack(weight)).to(dtype),
            torch.from_numpy(np.stack(bias)).to(dtype),
        )

    channels = (architecture.image[0], *architecture.trunk)
    sizes = architecture.sizes
    trunk = [
        layer(index, (channels[index + 1], channels[index], 3, 3))
        for index in range(len(architecture.trunk))
    ]
    linear = [
        layer(len(trunk) + index, (sizes[index + 1], sizes[index]))
        for index in range(len(sizes) - 1)
    ]
    return Weights(
        tuple(w for w, _ in trunk),
        tuple(b for _, b in trunk),
        tuple(w for w, _ in linear),
        tuple(b for _, b in linear),
    )


def forward(weights: Weights, x: Tensor, alive: tuple[Tensor, ...] | None = None) -> Trace:
    """Return the trace of S networks on their own batches.

    Parameters
    ----------
    weights
        Of S networks.
    x
        (S, B, C, H, W) with a trunk, (S, B, I) without.
    alive
        (S, H) for each hidden layer, or None when every unit is alive. A masked unit's activation
        is multiplied by 0 after the activation function.
    """
    features, trunk = _trunk_forward(weights, x)
    inputs: list[Tensor] = [features]
    hidden: list[Tensor] = []
    last = len(weights.incoming) - 1
    for layer, (incoming, bias) in enumerate(zip(weights.incoming, weights.bias, strict=True)):
        z = torch.baddbmm(bias[:, None], inputs[-1], incoming.mT)  # (S, B, H)
        if layer == last:
            return Trace(trunk, tuple(inputs), tuple(hidden), z)
        h = z.relu_()
        hidden.append(h)
        inputs.append(h if alive is None else h * alive[layer][:, None].to(h.dtype))
    raise AssertionError("a network has a classifier")


def _trunk_forward(
    weights: Weights, x: Tensor
) -> tuple[Tensor, tuple[tuple[tuple[Tensor, Tensor, Tensor, Tensor], ...], ...]]:
    """Return features (S, B, I) and, for each seed, what the backward pass needs.

    Pooling comes before the activation, which changes neither values nor gradients for a monotone
    function and leaves it a quarter of the work.
    """
    if not weights.filters:
        return x, ()
    traces = []
    features = x.new_empty(0)
    for seed in range(x.shape[0]):
        h, layers = x[seed], []
        for filters, bias in zip(weights.filters, weights.filter_bias, strict=True):
            z = torch.conv2d(h, filters[seed], bias[seed], padding=1)
            pooled, where = aten.max_pool2d_with_indices(z, [2, 2], [2, 2])
            out = pooled.relu_()
            layers.append((h, z, where, out))
            h = out
        if seed == 0:
            features = h.new_empty((x.shape[0], h.shape[0], prod(h.shape[1:])))  # (S, B, I)
        features[seed].view(h.shape).copy_(h)
        traces.append(tuple(layers))
    return features, tuple(traces)


def backward(
    weights: Weights,
    trace: Trace,
    grad_logits: Tensor,
    grads: Weights | None,
    alive: tuple[Tensor, ...] | None = None,
) -> tuple[Tensor, ...]:
    """Write the gradients and return dL/dz of every hidden unit, masked ones included.

    A masked unit's dL/dz is what it would receive were it alive: its own activation derivative
    times its outgoing weights times dL/dz of the next layer's alive units. Autograd would give 0
    through the mask.

    Parameters
    ----------
    weights
        Of S networks.
    trace
        From ``forward`` with the same weights and ``alive``.
    grad_logits
        (S, B, C): dL/dlogits, the loss being a mean over B and a sum over S.
    grads
        Filled in place; None when only dL/dz is asked for.
    alive
        As in ``forward``.

    Returns
    -------
    (S, B, H) for each hidden layer.
    """
    deltas: list[Tensor] = []
    delta = grad_logits
    for layer in range(len(weights.incoming) - 1, -1, -1):
        if grads is not None:
            torch.bmm(delta.mT, trace.inputs[layer], out=grads.incoming[layer])
            torch.sum(delta, 1, out=grads.bias[layer])
        if layer == 0:
            break
        delta = torch.bmm(delta, weights.incoming[layer])  # (S, B, H)
        delta = aten.threshold_backward(delta, trace.hidden[layer - 1], 0)
        deltas.append(delta)
        if alive is not None:
            delta = delta * alive[layer - 1][:, None].to(delta.dtype)
    if grads is not None and weights.filters:
        _trunk_backward(weights, trace, torch.bmm(delta, weights.incoming[0]), grads)
    return tuple(reversed(deltas))


def _trunk_backward(weights: Weights, trace: Trace, grad: Tensor, grads: Weights) -> None:
    for seed, layers in enumerate(trace.trunk):
        flow = grad[seed].view(layers[-1][3].shape).contiguous(memory_format=torch.channels_last)
        for layer in range(len(layers) - 1, -1, -1):
            h, z, where, out = layers[layer]
            flow = aten.threshold_backward(flow, out, 0)
            flow = aten.max_pool2d_with_indices_backward(
                flow, z, [2, 2], [2, 2], [0, 0], [1, 1], ceil_mode=False, indices=where
            )
            filters = weights.filters[layer][seed]
            flow, grad_filters, grad_bias = aten.convolution_backward(
                flow,
                h,
                filters,
                bias_sizes=[filters.shape[0]],
                stride=[1, 1],
                padding=[1, 1],
                dilation=[1, 1],
                transposed=False,
                output_padding=[0, 0],
                groups=1,
                output_mask=[layer > 0, True, True],
            )
            grads.filters[layer][seed].copy_(grad_filters)
            grads.filter_bias[layer][seed].copy_(grad_bias)


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of each example (S, B) and dL/dlogits (S, B, C), L being its mean over B."""
    log_p = torch.log_softmax(logits, -1)
    index = labels.unsqueeze(-1)
    loss = -log_p.gather(-1, index).squeeze(-1)
    grad = log_p.exp_()
    grad.scatter_add_(-1, index, torch.full_like(loss, -1).unsqueeze(-1))
    return loss, grad.div_(labels.shape[1])
