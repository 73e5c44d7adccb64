"""Seed-stacked networks: forward, hand-written backward, and the compact working copy.

Dimensions, everywhere in the package: S seeds, B batch, I inputs of a layer, H slots of a layer,
K alive units, O outputs of the next layer, C classes. The seed axis is first and always there.

The truth (``State``) has full capacity. Between two events training runs on a ``WorkingCopy`` of
the alive units only. Masked and compact are one function: ``forward`` with ``alive`` on the truth
and without it on the copy give the same logits and gradients.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
class State:
    """S networks at full capacity, and all that their training continues from."""

    weights: Weights
    moments: tuple[Weights, ...]
    """() for plain SGD, (momentum,) or (first, second) for Adam."""
    alive: tuple[Tensor, ...]
    """(S, H) bool for each hidden layer."""
    age: tuple[Tensor, ...]
    """(S, H) int64: optimizer steps since the unit was inserted; masked slots keep theirs."""
    unit_step: tuple[Tensor, ...]
    """(S, H) int64: optimizer steps of the unit's moments; a rewind clears it, age goes on."""
    shared_step: Tensor
    """(S,) int64: the same for trunk and classifier."""
    diverged: Tensor
    """(S,) int64: step at which the seed's loss stopped being finite, -1 while it is finite."""

    def widths(self) -> tuple[int, ...]:
        """Return the number of alive units of each hidden layer, the same in every seed."""
        counts = [alive.sum(1).tolist() for alive in self.alive]
        assert all(len(set(count)) == 1 for count in counts), counts
        return tuple(int(count[0]) for count in counts)


@dataclass
class WorkingCopy:
    """The alive units of a ``State``, gathered; the optimizer changes it in place."""

    slots: tuple[Tensor, ...]
    """(S, K) int64 for each hidden layer: the slot of each unit, ascending."""
    weights: Weights
    moments: tuple[Weights, ...]
    grads: Weights
    unit_step: tuple[Tensor, ...]
    """(S, K) int64, at the time of gathering; ``taken`` steps have been added since."""
    shared_step: Tensor
    uniform_step: list[int]
    """For each seed the one count that all its units and the shared weights have, or -1."""
    taken: list[int]
    """Optimizer steps of each seed since the gathering."""
    diverged: list[int]


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


def new_state(weights: Weights, alive: tuple[Tensor, ...], num_moments: int, age: int = 0) -> State:
    """Return the state of networks that have not taken a step."""
    seeds = weights.bias[0].shape[0]
    device = weights.bias[0].device
    counts = tuple(torch.zeros_like(a, dtype=torch.int64) for a in alive)
    return State(
        weights=weights,
        moments=tuple(weights.map(torch.zeros_like) for _ in range(num_moments)),
        alive=alive,
        age=tuple(count + age for count in counts),
        unit_step=counts,
        shared_step=torch.zeros(seeds, dtype=torch.int64, device=device),
        diverged=torch.full((seeds,), -1, dtype=torch.int64, device=device),
    )


def alive_slots(alive: Tensor) -> Tensor:
    """Return the slots (S, K) of the alive units, ascending; K is the same in every seed."""
    seeds = alive.shape[0]
    return alive.nonzero()[:, 1].view(seeds, -1)


def gather(state: State) -> WorkingCopy:
    """Return a compact copy of the alive units, with room for gradients."""
    slots = tuple(alive_slots(alive) for alive in state.alive)
    weights = take_units(state.weights, slots)
    unit_step = tuple(
        step.gather(1, slot) for step, slot in zip(state.unit_step, slots, strict=True)
    )
    counts = torch.cat([*unit_step, state.shared_step[:, None]], 1)
    return WorkingCopy(
        slots=slots,
        weights=weights,
        moments=tuple(take_units(moment, slots) for moment in state.moments),
        grads=weights.map(torch.empty_like),
        unit_step=unit_step,
        shared_step=state.shared_step.clone(),
        uniform_step=[
            low if low == high else -1
            for low, high in zip(counts.amin(1).tolist(), counts.amax(1).tolist(), strict=True)
        ],
        taken=[0] * state.diverged.shape[0],
        diverged=state.diverged.tolist(),
    )


def scatter(state: State, copy: WorkingCopy) -> State:
    """Return the truth with a working copy's progress put back; masked slots are untouched."""
    taken = torch.tensor(copy.taken, device=state.shared_step.device)
    added = [a * taken[:, None] for a in state.alive]
    return replace(
        state,
        weights=_put_units(state.weights, copy.weights, copy.slots),
        moments=tuple(
            _put_units(truth, part, copy.slots)
            for truth, part in zip(state.moments, copy.moments, strict=True)
        ),
        age=tuple(age + more for age, more in zip(state.age, added, strict=True)),
        unit_step=tuple(step + more for step, more in zip(state.unit_step, added, strict=True)),
        shared_step=state.shared_step + taken,
        diverged=torch.tensor(copy.diverged, device=taken.device),
    )


def _axes(weights: Weights, slots: tuple[Tensor, ...]) -> list[tuple[Tensor | None, Tensor | None]]:
    """Return, for each tensor of ``weights``, the slots of its rows and of its columns."""
    rows = (*slots, None)
    columns = (None, *slots)
    trunk: list[tuple[Tensor | None, Tensor | None]] = [(None, None)] * (2 * len(weights.filters))
    return [*trunk, *zip(rows, columns, strict=True), *((row, None) for row in rows)]


def take_units(weights: Weights, slots: tuple[Tensor, ...]) -> Weights:
    """Return the compact weights of the units in ``slots`` ((S, K) for each hidden layer)."""

    def take(full: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
        parts = []
        for seed in range(full.shape[0]):
            part = full[seed]
            if rows is not None and rows.shape[1] < part.shape[0]:
                part = part.index_select(0, rows[seed])
            if columns is not None and columns.shape[1] < part.shape[1]:
                part = part.index_select(1, columns[seed])
            parts.append(part)
        return torch.stack(parts)

    axes = _axes(weights, slots)
    return weights.rebuilt(
        [take(full, *axis) for full, axis in zip(weights.tensors(), axes, strict=True)]
    )


def _put_units(weights: Weights, part: Weights, slots: tuple[Tensor, ...]) -> Weights:
    def put(full: Tensor, compact: Tensor, axis: tuple[Tensor | None, Tensor | None]) -> Tensor:
        rows, columns = axis
        result = full.clone()
        for seed in range(full.shape[0]):
            if rows is None and columns is None:
                result[seed].copy_(compact[seed])
            elif columns is None:
                assert rows is not None
                result[seed].index_copy_(0, rows[seed], compact[seed])
            elif rows is None:
                result[seed].index_copy_(1, columns[seed], compact[seed])
            else:
                wide = full[seed].index_select(0, rows[seed])
                wide.index_copy_(1, columns[seed], compact[seed])
                result[seed].index_copy_(0, rows[seed], wide)
        return result

    axes = _axes(weights, slots)
    tensors = zip(weights.tensors(), part.tensors(), axes, strict=True)
    return weights.rebuilt([put(*arguments) for arguments in tensors])
