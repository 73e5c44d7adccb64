"""SGD with momentum and Adam on a working copy, in place.

Every update runs on one seed's slice at a time: the same bits whatever the other seeds do, a
learning rate of its own for each seed, and a diverged seed that simply is not visited.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plasticity.state import WorkingCopy


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


def step_(copy: WorkingCopy, optimizer: Optimizer, lr: Sequence[float]) -> None:
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
    """
    for seed, rate in enumerate(lr):
        if copy.diverged[seed] >= 0:
            continue
        copy.taken[seed] += 1
        if optimizer.rule == "sgd":
            _sgd_(copy, optimizer, seed, rate)
        elif copy.uniform_step[seed] >= 0:
            _adam_(copy, optimizer, seed, rate)
        else:
            _unit_adam_(copy, optimizer, seed, rate)


def _sgd_(copy: WorkingCopy, optimizer: Optimizer, seed: int, lr: float) -> None:
    buffers = copy.moments[0].tensors() if optimizer.momentum else None
    for index, (weight, grad) in enumerate(
        zip(copy.weights.tensors(), copy.grads.tensors(), strict=True)
    ):
        update = grad[seed]
        if optimizer.weight_decay:
            update.add_(weight[seed], alpha=optimizer.weight_decay)
        if buffers is not None:
            update = buffers[index][seed].mul_(optimizer.momentum).add_(update)
        weight[seed].add_(update, alpha=-lr)


def _adam_(copy: WorkingCopy, optimizer: Optimizer, seed: int, lr: float) -> None:
    weights = [tensor[seed] for tensor in copy.weights.tensors()]
    count = torch.tensor(float(copy.uniform_step[seed] + copy.taken[seed]))
    torch._fused_adam_(  # the kernel of torch.optim.Adam(fused=True)
        weights,
        [tensor[seed] for tensor in copy.grads.tensors()],
        [tensor[seed] for tensor in copy.moments[0].tensors()],
        [tensor[seed] for tensor in copy.moments[1].tensors()],
        [],
        [count.to(weights[0].device)] * len(weights),
        lr=lr,
        beta1=optimizer.beta1,
        beta2=optimizer.beta2,
        weight_decay=optimizer.weight_decay,
        eps=optimizer.eps,
        amsgrad=False,
        maximize=False,
    )


def _unit_adam_(copy: WorkingCopy, optimizer: Optimizer, seed: int, lr: float) -> None:
    tensors = zip(
        copy.weights.tensors(),
        copy.grads.tensors(),
        copy.moments[0].tensors(),
        copy.moments[1].tensors(),
        _counts(copy, seed),
        strict=True,
    )
    for weight, grad, first, second, counts in tensors:
        w, g, m, v = weight[seed], grad[seed], first[seed], second[seed]
        if optimizer.weight_decay:
            g.add_(w, alpha=optimizer.weight_decay)
        m.lerp_(g, 1 - optimizer.beta1)
        v.mul_(optimizer.beta2).addcmul_(g, g, value=1 - optimizer.beta2)
        denominator = v.sqrt().mul_(_correction(optimizer.beta2, counts, w).sqrt_())
        update = m.div(denominator.add_(optimizer.eps))
        w.sub_(update.mul_(_correction(optimizer.beta1, counts, w)), alpha=lr)


def _counts(copy: WorkingCopy, seed: int) -> list[tuple[Tensor, Tensor | None]]:
    """Return, for each tensor, the step counts (K,) of its rows and of its columns."""
    taken = copy.taken[seed]
    shared = copy.shared_step[seed : seed + 1] + taken  # (1,), for trunk and classifier
    units = [step[seed] + taken for step in copy.unit_step]
    rows = [*units, shared]
    columns: list[Tensor | None] = [None, *units]
    trunk: list[tuple[Tensor, Tensor | None]] = [(shared, None)] * (2 * len(copy.weights.filters))
    return [*trunk, *zip(rows, columns, strict=True), *((row, None) for row in rows)]


def _correction(beta: float, counts: tuple[Tensor, Tensor | None], like: Tensor) -> Tensor:
    """Return 1 / (1 - beta^t) for each weight of a tensor, t the younger unit's step count.

    The factor falls with t, so the younger unit's is the larger one: one broadcast maximum of two
    vectors, and no matrix of counts.
    """
    rows, columns = (
        None if count is None else (1 - beta ** count.double()).reciprocal().to(like.dtype)
        for count in counts
    )
    assert rows is not None
    rows = rows.view(-1, *[1] * (like.dim() - 1))
    return rows.clone() if columns is None else torch.maximum(rows, columns)
