"""SGD with momentum and Adam on a working copy, in place.

All seeds are stepped at once, and those that have diverged are put back as they were. Adam visits
seeds one by one where their step counts differ.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plasticity.state import WorkingCopy
from plasticity.units import Axis, along_columns, along_rows, rows_and_columns


@dataclass(frozen=True)
class Optimizer:
    """The rule of the update and its constants."""

    rule: str
    """``sgd`` or ``adam``."""
    momentum: float = 0.0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    @property
    def num_moments(self) -> int:
        """Tensors of state per parameter."""
        return 2 if self.rule == "adam" else int(self.momentum > 0)


@dataclass(frozen=True)
class Gains:
    """Factors on some units' gradients or updates.

    A weight between two units has one owner: the newborn among them, the unit it enters where both
    are newborn, and the unit it enters where none is. So no weight takes a factor twice.
    """

    on: str
    """``gradient`` (before the moments) or ``update`` (after them)."""
    newborn: tuple[Tensor, ...]
    """(S, K) bool for each layer of units."""
    incoming: tuple[Tensor, ...]
    """(S, K): factor of incoming weights and bias."""
    outgoing: tuple[Tensor, ...]
    """(S, K): factor of outgoing weights."""
    shared: float = 1.0
    """Factor of what no unit owns: the classifier's bias, and its weights from incumbents."""


def step_(
    copy: WorkingCopy, optimizer: Optimizer, lr: Sequence[float], gains: Gains | None = None
) -> None:
    """Take one optimizer step from ``copy.grads`` with every seed that has not diverged.

    Parameters
    ----------
    copy
        Changed in place: weights, moments, gradients (weight decay is added) and ``taken``.
    optimizer
        As ``torch.optim.SGD`` or ``torch.optim.Adam``, which are the oracle in tests. Where units
        of a layer have different step counts, each weight is corrected by the count of the younger
        of the two units it joins: the count that is right for its moments.
    lr
        One learning rate for each seed.
    gains
        Factors on the gradients or updates; None where everybody learns alike.
    """
    still = [seed for seed, step in enumerate(copy.diverged) if step >= 0]
    changed = (copy.weights, *copy.moments)
    before = [
        (tensor[seed], tensor[seed].clone())
        for seed in still
        for part in changed
        for tensor in part.tensors()
    ]
    copy.taken = [taken + (seed not in still) for seed, taken in enumerate(copy.taken)]
    factors = None if gains is None else _factors(copy, gains)
    if factors is not None and gains is not None and gains.on == "gradient":
        for grad, factor in zip(copy.grads.tensors(), factors, strict=True):
            grad.mul_(factor)
        factors = None
    if optimizer.rule == "sgd":
        _sgd_(copy, optimizer, lr, factors)
    else:
        _adam_(copy, optimizer, lr, factors)
    for tensor, old in before:
        tensor.copy_(old)


def _factors(copy: WorkingCopy, gains: Gains) -> list[Tensor]:
    """Return what each tensor is multiplied by, broadcast as far as possible."""
    result = []
    shared = copy.weights.bias[-1].new_tensor(gains.shared)
    axes = rows_and_columns(copy.weights)
    for tensor, (rows, columns) in zip(copy.weights.tensors(), axes, strict=True):
        factor = shared if rows is None else along_rows(gains.incoming[rows.layer], rows, tensor)
        if columns is not None:
            outgoing = along_columns(gains.outgoing[columns.layer], columns, tensor)
            owner = along_columns(gains.newborn[columns.layer], columns, tensor)
            if rows is not None:
                owner = owner & ~along_rows(gains.newborn[rows.layer], rows, tensor)
            factor = torch.where(owner, outgoing, factor)
        result.append(factor)
    return result


def _sgd_(
    copy: WorkingCopy, optimizer: Optimizer, lr: Sequence[float], factors: list[Tensor] | None
) -> None:
    buffers = copy.moments[0].tensors() if optimizer.momentum else None
    alike = all(rate == lr[0] for rate in lr)
    rates = None if alike else copy.weights.bias[-1].new_tensor(lr)
    pairs = zip(copy.weights.tensors(), copy.grads.tensors(), strict=True)
    for index, (weight, update) in enumerate(pairs):
        if optimizer.weight_decay:
            update.add_(weight, alpha=optimizer.weight_decay)
        if buffers is not None:
            update = buffers[index].mul_(optimizer.momentum).add_(update)
        if factors is not None:
            update = update * factors[index]
        if rates is None:
            weight.add_(update, alpha=-lr[0])
        else:
            weight.addcmul_(update, rates.view(-1, *(1,) * (weight.dim() - 1)), value=-1)


def _adam_(
    copy: WorkingCopy, optimizer: Optimizer, lr: Sequence[float], factors: list[Tensor] | None
) -> None:
    """Take all seeds in one call where they have one rate and one count, or one by one."""
    counts = [
        _one_count(copy, optimizer, seed) if factors is None else None
        for seed in range(len(copy.taken))
    ]
    going = [seed for seed, step in enumerate(copy.diverged) if step < 0]
    if len({(lr[seed], counts[seed]) for seed in going}) == 1:
        parts = [slice(None)]
    else:
        parts = [slice(seed, seed + 1) for seed in going]
    for part in parts:
        first = going[0] if part.start is None else part.start
        count = counts[first]
        if count is None:
            _unit_adam_(copy, optimizer, part, lr[first], factors)
        else:
            _fused_adam_(copy, optimizer, part, lr[first], count)


def _one_count(copy: WorkingCopy, optimizer: Optimizer, seed: int) -> int | None:
    """Return the step count of every weight of a seed, or None where they have several.

    Counts that correct nothing any more, to the last bit, are as good as one: the youngest.
    """
    low, high = copy.step_range[seed]
    youngest = low + copy.taken[seed]
    dtype = copy.weights.bias[0].dtype
    return youngest if low == high or youngest >= _settled(optimizer, dtype) else None


@functools.cache
def _settled(optimizer: Optimizer, dtype: torch.dtype) -> int:
    """Return the count from which 1 - beta^t rounds to 1 for both moments."""
    tiny = math.log(torch.finfo(dtype).eps / 8)
    return max(math.ceil(tiny / math.log(beta)) for beta in (optimizer.beta1, optimizer.beta2))


def _fused_adam_(
    copy: WorkingCopy, optimizer: Optimizer, seeds: slice, lr: float, count: int
) -> None:
    """Step some seeds with the kernel of ``torch.optim.Adam(fused=True)``."""
    weights, grads, first, second = (
        [tensor[seeds] for tensor in part.tensors()]
        for part in (copy.weights, copy.grads, *copy.moments)
    )
    step = torch.full((), float(count), device=weights[0].device)
    torch._fused_adam_(
        weights,
        grads,
        first,
        second,
        [],
        [step] * len(weights),
        lr=lr,
        beta1=optimizer.beta1,
        beta2=optimizer.beta2,
        weight_decay=optimizer.weight_decay,
        eps=optimizer.eps,
        amsgrad=False,
        maximize=False,
    )


def _unit_adam_(
    copy: WorkingCopy, optimizer: Optimizer, seeds: slice, lr: float, factors: list[Tensor] | None
) -> None:
    """Step some seeds, each weight corrected by the count of the younger unit it joins."""
    tensors = zip(
        copy.weights.tensors(),
        copy.grads.tensors(),
        copy.moments[0].tensors(),
        copy.moments[1].tensors(),
        _corrections(copy, optimizer, seeds),
        strict=True,
    )
    for index, (weight, grad, first, second, (by_first, by_root_second)) in enumerate(tensors):
        w, g, m, v = weight[seeds], grad[seeds], first[seeds], second[seeds]
        if optimizer.weight_decay:
            g.add_(w, alpha=optimizer.weight_decay)
        m.lerp_(g, 1 - optimizer.beta1)
        v.mul_(optimizer.beta2).addcmul_(g, g, value=1 - optimizer.beta2)
        denominator = v.sqrt().mul_(by_root_second).add_(optimizer.eps)
        update = m.div(denominator).mul_(by_first)
        if factors is not None:
            update.mul_(factors[index] if factors[index].dim() == 0 else factors[index][seeds])
        w.sub_(update, alpha=lr)


def _corrections(
    copy: WorkingCopy, optimizer: Optimizer, seeds: slice
) -> list[tuple[Tensor, Tensor]]:
    """Return 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t) for each tensor, t of each weight.

    A weight's moments are as old as the younger of the two units it joins. Both factors fall with
    t, so the younger unit's is the larger one: a broadcast maximum of two vectors, and no matrix of
    counts.
    """
    shared = copy.shared_step[seeds, None]
    taken = shared.new_tensor(copy.taken)[seeds, None]
    t = (torch.cat([*(units.step[seeds] for units in copy.units), shared], 1) + taken).double()
    widths = [units.step.shape[1] for units in copy.units] + [1]
    dtype = copy.weights.bias[0].dtype
    first = (1 - optimizer.beta1**t).reciprocal().to(dtype).split(widths, 1)  # type: ignore[no-untyped-call]
    second = (1 - optimizer.beta2**t).rsqrt().to(dtype).split(widths, 1)  # type: ignore[no-untyped-call]
    axes = rows_and_columns(copy.weights)
    return [
        (_younger(first, rows, columns, part), _younger(second, rows, columns, part))
        for part, (rows, columns) in zip(copy.weights.tensors(), axes, strict=True)
    ]


def _younger(
    values: Sequence[Tensor], rows: Axis | None, columns: Axis | None, part: Tensor
) -> Tensor:
    """Return the larger of the values of the two units that each weight joins."""
    if rows is None:
        own = values[-1].view(-1, *(1,) * (part.dim() - 1))
    else:
        own = along_rows(values[rows.layer], rows, part)
    if columns is None:
        return own
    return torch.maximum(own, along_columns(values[columns.layer], columns, part))
