"""SGD with momentum and Adam on a working copy, in place.

A seed's update has the same bits whatever the other seeds do: Adam visits one seed's slice at a
time and leaves out diverged ones, plain SGD takes all seeds at once, a diverged one with a gradient
of 0.
"""

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
    if optimizer.rule == "sgd" and optimizer.momentum == 0 and gains is None:
        _plain_sgd_(copy, optimizer, lr)
        return
    if optimizer.rule == "adam" and gains is None and _alike(copy, lr):
        _plain_adam_(copy, optimizer, lr[0])
        return
    for seed, rate in enumerate(lr):
        if copy.diverged[seed] < 0:
            copy.taken[seed] += 1
            _step_seed_(copy, optimizer, seed, rate, gains)


def _step_seed_(
    copy: WorkingCopy, optimizer: Optimizer, seed: int, rate: float, gains: Gains | None
) -> None:
    factors = None if gains is None else _factors(copy, gains, seed)
    if factors is not None and gains is not None and gains.on == "gradient":
        for grad, factor in zip(copy.grads.tensors(), factors, strict=True):
            grad[seed].mul_(factor)
        factors = None
    if optimizer.rule == "sgd":
        _sgd_(copy, optimizer, seed, rate, factors)
    elif copy.uniform_step[seed] >= 0 and factors is None:
        _fused_adam_(copy, optimizer, rate, copy.uniform_step[seed] + copy.taken[seed], seed)
    else:
        _unit_adam_(copy, optimizer, seed, rate, factors)


def _factors(copy: WorkingCopy, gains: Gains, seed: int) -> list[Tensor]:
    """Return what each tensor of one seed is multiplied by, broadcast as far as possible."""
    result = []
    shared = copy.weights.bias[-1].new_tensor(gains.shared)
    axes = rows_and_columns(copy.weights)
    for tensor, (rows, columns) in zip(copy.weights.tensors(), axes, strict=True):
        part = tensor[seed]
        factor = shared if rows is None else _by_row(gains.incoming, rows, part, seed)
        if columns is not None:
            outgoing = along_columns(gains.outgoing[columns.layer][seed], columns, part)
            owner = along_columns(gains.newborn[columns.layer][seed], columns, part)
            if rows is not None:
                owner = owner & ~_by_row(gains.newborn, rows, part, seed)
            factor = torch.where(owner, outgoing, factor)
        result.append(factor)
    return result


def _by_row(values: Sequence[Tensor], rows: Axis, part: Tensor, seed: int) -> Tensor:
    return along_rows(values[rows.layer][seed], rows, part)


def _plain_sgd_(copy: WorkingCopy, optimizer: Optimizer, lr: Sequence[float]) -> None:
    """Step all seeds at once: a stream of single examples spends its time on calls, not on sums."""
    still = [seed for seed, step in enumerate(copy.diverged) if step >= 0]
    copy.taken = [taken + (seed not in still) for seed, taken in enumerate(copy.taken)]
    same = all(rate == lr[0] for rate in lr)
    for weight, grad in zip(copy.weights.tensors(), copy.grads.tensors(), strict=True):
        if optimizer.weight_decay:
            grad.add_(weight, alpha=optimizer.weight_decay)
        for seed in still:
            grad[seed].zero_()
        if same:
            weight.add_(grad, alpha=-lr[0])
        else:
            rates = weight.new_tensor(lr).view(-1, *(1,) * (weight.dim() - 1))
            weight.addcmul_(grad, rates, value=-1)


def _alike(copy: WorkingCopy, lr: Sequence[float]) -> bool:
    """Return whether one call of Adam can take all seeds: same rate, same count everywhere."""
    taken = {count for count, step in zip(copy.taken, copy.diverged, strict=True) if step < 0}
    return len({*copy.uniform_step}) == len({*lr}) == len(taken) == 1 and copy.uniform_step[0] >= 0


def _plain_adam_(copy: WorkingCopy, optimizer: Optimizer, lr: float) -> None:
    """Step all seeds in one call; seeds that have diverged are put back as they were."""
    tensors = (copy.weights, copy.grads, *copy.moments)
    still = [seed for seed, step in enumerate(copy.diverged) if step >= 0]
    before = [
        (tensor[seed], tensor[seed].clone())
        for part in tensors
        for tensor in part.tensors()
        for seed in still
    ]
    copy.taken = [taken + (seed not in still) for seed, taken in enumerate(copy.taken)]
    going = next(seed for seed, step in enumerate(copy.diverged) if step < 0)
    _fused_adam_(copy, optimizer, lr, copy.uniform_step[going] + copy.taken[going])
    for tensor, old in before:
        tensor.copy_(old)


def _sgd_(
    copy: WorkingCopy, optimizer: Optimizer, seed: int, lr: float, factors: list[Tensor] | None
) -> None:
    buffers = copy.moments[0].tensors() if optimizer.momentum else None
    for index, (weight, grad) in enumerate(
        zip(copy.weights.tensors(), copy.grads.tensors(), strict=True)
    ):
        update = grad[seed]
        if optimizer.weight_decay:
            update.add_(weight[seed], alpha=optimizer.weight_decay)
        if buffers is not None:
            update = buffers[index][seed].mul_(optimizer.momentum).add_(update)
        if factors is not None:
            update = update * factors[index]
        weight[seed].add_(update, alpha=-lr)


def _fused_adam_(
    copy: WorkingCopy, optimizer: Optimizer, lr: float, count: int, seed: int | None = None
) -> None:
    """Step one seed or all, with the kernel of ``torch.optim.Adam(fused=True)``."""
    weights, grads, first, second = (
        [*part.tensors()] if seed is None else [tensor[seed] for tensor in part.tensors()]
        for part in (copy.weights, copy.grads, *copy.moments)
    )
    step = torch.tensor(float(count), device=weights[0].device)
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
    copy: WorkingCopy, optimizer: Optimizer, seed: int, lr: float, factors: list[Tensor] | None
) -> None:
    tensors = zip(
        copy.weights.tensors(),
        copy.grads.tensors(),
        copy.moments[0].tensors(),
        copy.moments[1].tensors(),
        _corrections(copy, optimizer, seed),
        strict=True,
    )
    for index, (weight, grad, first, second, (by_first, by_root_second)) in enumerate(tensors):
        w, g, m, v = weight[seed], grad[seed], first[seed], second[seed]
        if optimizer.weight_decay:
            g.add_(w, alpha=optimizer.weight_decay)
        m.lerp_(g, 1 - optimizer.beta1)
        v.mul_(optimizer.beta2).addcmul_(g, g, value=1 - optimizer.beta2)
        denominator = v.sqrt().mul_(by_root_second).add_(optimizer.eps)
        update = m.div(denominator).mul_(by_first)
        if factors is not None:
            update.mul_(factors[index])
        w.sub_(update, alpha=lr)


def _corrections(copy: WorkingCopy, optimizer: Optimizer, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t) for each tensor, t of each weight.

    A weight's moments are as old as the younger of the two units it joins. Both factors fall with
    t, so the younger unit's is the larger one: a broadcast maximum of two vectors, and no matrix of
    counts.
    """
    shared = copy.shared_step[seed : seed + 1]
    counts = torch.cat([*(units.step[seed] for units in copy.units), shared]) + copy.taken[seed]
    widths = [units.step.shape[1] for units in copy.units] + [1]
    t = counts.double()
    dtype = copy.weights.bias[0].dtype
    first = (1 - optimizer.beta1**t).reciprocal().to(dtype).split(widths)  # type: ignore[no-untyped-call]
    second = (1 - optimizer.beta2**t).rsqrt().to(dtype).split(widths)  # type: ignore[no-untyped-call]
    axes = rows_and_columns(copy.weights)
    return [
        (_younger(first, rows, columns, part[seed]), _younger(second, rows, columns, part[seed]))
        for part, (rows, columns) in zip(copy.weights.tensors(), axes, strict=True)
    ]


def _younger(
    values: Sequence[Tensor], rows: Axis | None, columns: Axis | None, part: Tensor
) -> Tensor:
    """Return the larger of the values of the two units that each weight joins."""
    own = values[-1] if rows is None else along_rows(values[rows.layer], rows, part)
    if columns is None:
        return own
    return torch.maximum(own, along_columns(values[columns.layer], columns, part))
