"""Activation functions with their derivatives.

Each is a function of the units' axis too, because CReLU has two outputs for a unit. Where pooling
may come before the activation (a monotone function), the network lets it.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from plasticity import rng
from plasticity.rules.view import Options
from plasticity.weights import RELU, Activation

aten = torch.ops.aten

SLOPES_PER_DRAW = 1000
_LOWEST, _HIGHEST = -0.0998, 1.0998
"""Bounds of the derivative of x sigmoid(x)."""


def relu(options: Options) -> Activation:  # noqa: ARG001 (every rule's form)
    """Return max(z, 0); its derivative at 0 is 0, as in torch."""
    return RELU


def leaky_relu(options: Options) -> Activation:
    """Return z above 0 and slope x z below; the derivative at 0 is the slope, as in torch."""
    slope = float(options["slope"])

    def value(z: Tensor, _: Tensor | None, axis: int) -> Tensor:  # noqa: ARG001
        return torch.nn.functional.leaky_relu(z, slope)

    def pull(flow: Tensor, z: Tensor, h: Tensor, _: Tensor | None, axis: int) -> Tensor:  # noqa: ARG001
        back: Tensor = aten.leaky_relu_backward(flow, z, slope, self_is_result=False)
        return back

    return Activation(value, pull)


def gelu(options: Options) -> Activation:  # noqa: ARG001
    """Return z Phi(z), Phi the normal distribution (Hendrycks & Gimpel 2016)."""

    def value(z: Tensor, _: Tensor | None, axis: int) -> Tensor:  # noqa: ARG001
        return torch.nn.functional.gelu(z)

    def pull(flow: Tensor, z: Tensor, h: Tensor, _: Tensor | None, axis: int) -> Tensor:  # noqa: ARG001
        back: Tensor = aten.gelu_backward(flow, z)
        return back

    return Activation(value, pull, monotone=False)


def crelu(options: Options) -> Activation:  # noqa: ARG001
    """Return relu(z) and relu(-z), neighbours in the output (Shang et al. 2016).

    A unit has two outgoing weights where it had one; the published use halves the width to keep
    the number of weights. Here the width is ``network.widths``, so halve it there.
    """

    def value(z: Tensor, _: Tensor | None, axis: int) -> Tensor:
        return torch.stack((z.relu(), z.neg().relu_()), axis + 1).flatten(axis, axis + 1)

    def pull(flow: Tensor, z: Tensor, h: Tensor, _: Tensor | None, axis: int) -> Tensor:  # noqa: ARG001
        above, below = torch.unflatten(flow, axis, (-1, 2)).unbind(axis + 1)
        return torch.where(z > 0, above, 0) - torch.where(z < 0, below, 0)

    return Activation(value, pull, copies=2, monotone=False)


def smooth_leaky(options: Options) -> Activation:
    """Return a z + (1 - a) z sigmoid(c z / p), a the slope (Lillo & Cheney 2026)."""
    return _smooth(options, _rises(float(options["slope"])))


def random_smooth_leaky(options: Options) -> Activation:
    """Return the smooth leaky function whose slope is drawn for every step.

    The slope is uniform between ``lower`` and ``upper`` in training and their middle in evaluation
    and in probes. Source: Lillo & Cheney 2026, section 5. Deviation: the paper does not say what
    shares a draw; here each seed and layer has one slope a step, so that masked and compact
    networks, and pooling before or after, remain the same function.
    """
    middle = (float(options["lower"]) + float(options["upper"])) / 2
    ends = [_rises(float(options[end])) for end in ("lower", "upper")]
    return _smooth({**options, "slope": middle}, all(ends))


def _rises(slope: float) -> bool:
    """Return whether the smooth leaky function is monotone."""
    return min(slope + (1 - slope) * end for end in (_LOWEST, _HIGHEST)) >= 0


def _smooth(options: Options, monotone: bool) -> Activation:  # noqa: FBT001
    rate, fixed = float(options["c"]) / float(options["p"]), float(options["slope"])

    def value(z: Tensor, slope: Tensor | None, axis: int) -> Tensor:  # noqa: ARG001
        a = fixed if slope is None else slope
        return z * (torch.sigmoid(rate * z) * (1 - a) + a)

    def pull(flow: Tensor, z: Tensor, h: Tensor, slope: Tensor | None, axis: int) -> Tensor:  # noqa: ARG001
        a = fixed if slope is None else slope
        gate = torch.sigmoid(rate * z)
        swish = gate * (1 - gate) * (rate * z) + gate  # derivative of z sigmoid(rate z)
        return flow * swish.mul_(1 - a).add_(a)

    return Activation(value, pull, monotone=monotone)


def slopes(
    name: str, options: Options, seeds: Sequence[int], layers: int, purpose: str
) -> Callable[[int], np.ndarray] | None:
    """Return the function step -> (S, layers) random slopes, or None where there are none."""
    if name != "random_smooth_leaky":
        return None
    lower, upper = float(options["lower"]), float(options["upper"])

    @lru_cache(2)
    def drawn(block: int) -> np.ndarray:
        parts = [
            rng.stream(seed, purpose, block).uniform(lower, upper, (SLOPES_PER_DRAW, layers))
            for seed in seeds
        ]
        return np.stack(parts, 1)  # (steps, S, layers)

    return lambda step: drawn(step // SLOPES_PER_DRAW)[step % SLOPES_PER_DRAW]


TABLE: dict[str, Callable[[Options], Activation]] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "gelu": gelu,
    "crelu": crelu,
    "smooth_leaky": smooth_leaky,
    "random_smooth_leaky": random_smooth_leaky,
}
