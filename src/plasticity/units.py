"""The network seen as layers of units: which entries of which tensor belong to a unit.

A layer of units is a convolution's channels or a hidden layer. A unit has an incoming row, a bias
and outgoing columns: one block of neighbouring columns for each unit of the layer, as wide as the
unit has outputs (places of a flattened map, copies of an activation). Everything that edits,
gathers or scales units does it through here, so nobody else knows the layout.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plasticity.weights import Weights


@dataclass(frozen=True)
class Slots:
    """The weights of one layer's slots; F incoming and G outgoing weights each."""

    incoming: Tensor
    """(S, H, F)."""
    bias: Tensor
    """(S, H)."""
    outgoing: Tensor
    """(S, H, G)."""
    next_bias: Tensor | None
    """(S, G) bias of the unit that each outgoing weight reaches; None where a unit has more than
    one outgoing weight to the same unit."""


@dataclass(frozen=True)
class Axis:
    """The units along the rows or the columns of a tensor: ``width`` neighbours for each unit."""

    layer: int
    width: int


def rows_and_columns(weights: Weights) -> list[tuple[Axis | None, Axis | None]]:
    """Return whose units the rows and columns of each tensor are, in the order of ``tensors()``.

    None for rows of the classifier, for columns of images, and for the columns of a bias.
    """
    depth, hidden = len(weights.filters), len(weights.incoming) - 1
    tensors = [*weights.filters, *weights.incoming]
    size = [tensor.shape[1] for tensor in tensors[:-1]]
    rows = [*(Axis(layer, 1) for layer in range(depth + hidden)), None]
    columns = [
        None if index == 0 else Axis(index - 1, tensor.shape[2] // size[index - 1])
        for index, tensor in enumerate(tensors)
    ]
    biases: list[tuple[Axis | None, Axis | None]] = [(row, None) for row in rows]
    pairs = list(zip(rows, columns, strict=True))
    return [*pairs[:depth], *biases[:depth], *pairs[depth:], *biases[depth:]]


def _matrix(weights: Weights, index: int) -> Tensor:
    """Return the weights into layer ``index``, the classifier being the last."""
    depth = len(weights.filters)
    return weights.filters[index] if index < depth else weights.incoming[index - depth]


def _bias(weights: Weights, index: int) -> Tensor:
    depth = len(weights.filters)
    return weights.filter_bias[index] if index < depth else weights.bias[index - depth]


def slots_of(weights: Weights, layer: int) -> Slots:
    """Return one layer's units; the tensors may be views."""
    incoming, after = _matrix(weights, layer), _matrix(weights, layer + 1)
    capacity = incoming.shape[1]
    blocks = torch.unflatten(after, 2, (capacity, -1)).movedim(2, 1)  # (S, H, O, width, ...)
    single = after.dim() == 3 and after.shape[2] == capacity
    return Slots(
        incoming=incoming.flatten(2),
        bias=_bias(weights, layer),
        outgoing=blocks.flatten(2),
        next_bias=_bias(weights, layer + 1) if single else None,
    )


def with_slots(weights: Weights, layer: int, slots: Slots) -> Weights:
    """Return the weights with one layer's units replaced."""
    incoming, after = _matrix(weights, layer), _matrix(weights, layer + 1)
    capacity = incoming.shape[1]
    blocks = torch.unflatten(after, 2, (capacity, -1)).movedim(2, 1)
    outgoing = slots.outgoing.view(blocks.shape).movedim(1, 2).flatten(2, 3)
    result = _replaced(weights, layer, slots.incoming.view(incoming.shape), slots.bias)
    next_bias = _bias(weights, layer + 1) if slots.next_bias is None else slots.next_bias
    return _replaced(result, layer + 1, outgoing.contiguous(), next_bias)


def _replaced(weights: Weights, index: int, matrix: Tensor, bias: Tensor) -> Weights:
    depth = len(weights.filters)
    if index < depth:
        return replace(
            weights,
            filters=_set(weights.filters, index, matrix),
            filter_bias=_set(weights.filter_bias, index, bias),
        )
    return replace(
        weights,
        incoming=_set(weights.incoming, index - depth, matrix),
        bias=_set(weights.bias, index - depth, bias),
    )


def _set(tensors: tuple[Tensor, ...], index: int, value: Tensor) -> tuple[Tensor, ...]:
    return (*tensors[:index], value, *tensors[index + 1 :])


def input_mask(weights: Weights, alive: tuple[Tensor, ...], layer: int) -> Tensor:
    """Return (S, F) bool: which incoming weights come from alive units, or from the image."""
    matrix = _matrix(weights, layer)
    seeds, columns = matrix.shape[0], matrix.shape[2]
    if layer == 0:
        known = torch.ones((seeds, columns), dtype=torch.bool, device=matrix.device)
    else:
        known = alive[layer - 1].repeat_interleave(columns // alive[layer - 1].shape[1], 1)
    return known.repeat_interleave(matrix[0, 0, 0].numel(), 1)


def output_mask(weights: Weights, alive: tuple[Tensor, ...], layer: int) -> Tensor:
    """Return (S, G) bool: which outgoing weights reach alive units, or classes."""
    after = _matrix(weights, layer + 1)
    width = after[0, 0].numel() // _matrix(weights, layer).shape[1]
    if layer + 1 < len(alive):
        known = alive[layer + 1]
    else:
        known = torch.ones(after.shape[:2], dtype=torch.bool, device=after.device)
    return known.repeat_interleave(width, 1)


def alive_weights(weights: Weights, alive: tuple[Tensor, ...]) -> list[Tensor]:
    """Return for each tensor which of its weights take part: bool, to be broadcast over it.

    A weight takes part where every unit that it joins is alive.
    """
    masks = []
    for tensor, (rows, columns) in zip(weights.tensors(), rows_and_columns(weights), strict=True):
        mask = torch.ones((1,) * tensor.dim(), dtype=torch.bool, device=tensor.device)
        if rows is not None:
            mask = mask & along_rows(alive[rows.layer], rows, tensor)
        if columns is not None:
            mask = mask & along_columns(alive[columns.layer], columns, tensor)
        masks.append(mask)
    return masks


def along_rows(values: Tensor, axis: Axis, tensor: Tensor) -> Tensor:
    """Return values (..., H) of units, shaped to multiply a tensor (..., H, rest)."""
    assert axis.width == 1
    return values.view(*values.shape, *(1 for _ in tensor.shape[values.dim() :]))


def along_columns(values: Tensor, axis: Axis, tensor: Tensor) -> Tensor:
    """Return values (..., H) of units, shaped to multiply a tensor (..., rows, columns, rest)."""
    wide = values if axis.width == 1 else values.repeat_interleave(axis.width, -1)
    return wide.view(*wide.shape[:-1], 1, -1, *(1 for _ in tensor.shape[values.dim() + 1 :]))
