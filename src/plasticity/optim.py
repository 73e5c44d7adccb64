"""SGD with momentum and Adam on a working copy, in place.

Every update runs on one seed's slice at a time: the same bits whatever the other seeds do, a
learning rate of its own for each seed, and a diverged seed that simply is not visited.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

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
        _corrections(copy, optimizer, seed),
        strict=True,
    )
    for weight, grad, first, second, (by_first, by_root_second) in tensors:
        w, g, m, v = weight[seed], grad[seed], first[seed], second[seed]
        if optimizer.weight_decay:
            g.add_(w, alpha=optimizer.weight_decay)
        m.lerp_(g, 1 - optimizer.beta1)
        v.mul_(optimizer.beta2).addcmul_(g, g, value=1 - optimizer.beta2)
        denominator = v.sqrt().mul_(by_root_second).add_(optimizer.eps)
        w.sub_(m.div(denominator).mul_(by_first), alpha=lr)


def _corrections(
    copy: WorkingCopy, optimizer: Optimizer, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t) for each tensor, t of each weight.

    A weight's moments are as old as the younger of the two units it joins. Both factors fall with
    t, so the younger unit's is the larger one: a broadcast maximum of two vectors, and no matrix of
    counts.
    """
    shared = copy.shared_step[seed : seed + 1]
    counts = torch.cat([*(step[seed] for step in copy.unit_step), shared]) + copy.taken[seed]
    widths = [step.shape[1] for step in copy.unit_step] + [1]
    t = counts.double()
    dtype = copy.weights.bias[0].dtype
    first = (1 - optimizer.beta1**t).reciprocal().to(dtype).split(widths)  # type: ignore[no-untyped-call]
    second = (1 - optimizer.beta2**t).rsqrt().to(dtype).split(widths)  # type: ignore[no-untyped-call]
    for _ in range(2 * len(copy.weights.filters)):
        yield first[-1], second[-1]
    yield first[0][:, None], second[0][:, None]
    for inputs, outputs in pairwise(range(len(widths))):
        yield (
            torch.maximum(first[outputs][:, None], first[inputs]),
            torch.maximum(second[outputs][:, None], second[inputs]),
        )
    yield from zip(first, second, strict=True)
