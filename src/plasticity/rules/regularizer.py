"""What pulls the weights, besides the loss: towards 0, towards their start, or at random.

A rule is four numbers of one step: with L the loss, theta a weight and theta0 its initial value,

    gradient = dL/dtheta + to_zero * theta + to_initial * (theta - theta0)
    after the optimizer: theta <- (1 - shrink) * theta + noise * xi

where xi is a draw from the distribution of initial weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

from plasticity.rules.view import Options


@dataclass(frozen=True)
class Pull:
    """The four numbers; all 0 is no regularizer."""

    to_zero: float = 0.0
    to_initial: float = 0.0
    shrink: float = 0.0
    noise: float = 0.0


Rule = Callable[[Options], Pull]


def none(options: Options) -> Pull:  # noqa: ARG001 (every rule's form)
    """Return no pull."""
    return Pull()


def l2(options: Options) -> Pull:
    """Return the pull of a loss term strength * |theta|^2, whose gradient has a factor of 2."""
    return Pull(to_zero=2 * float(options["strength"]))


def l2_init(options: Options) -> Pull:
    """Return the pull of a loss term strength * |theta - theta0|^2.

    Source: Kumar et al. 2023 (L2 Init), equation 1.
    """
    return Pull(to_initial=2 * float(options["strength"]))


def shrink_perturb(options: Options) -> Pull:
    """Return a shrinking by ``shrink`` and a random move at every step.

    Draws are made for the alive units alone, so they depend on how many there are: arms of
    different width are not paired in this noise, as they are in batches and initial weights.

    Source: Ash & Adams 2020; at every step, as Kumar et al. 2023 and Dohare et al. 2024 have it.
    """
    return Pull(shrink=float(options["shrink"]), noise=float(options["noise"]))


TABLE: dict[str, Rule] = {
    "none": none,
    "l2": l2,
    "l2_init": l2_init,
    "shrink_perturb": shrink_perturb,
}
