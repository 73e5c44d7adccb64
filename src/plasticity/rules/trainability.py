"""How fast newborns and incumbents learn: factors on gradients or on updates.

A newborn, here, is a unit that an event inserted and that is younger than the rule's ``steps``.
``optim.Gains`` says which of two units owns the weight between them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from plasticity.optim import Gains
from plasticity.rules.view import Options
from plasticity.units import slots_of
from plasticity.weights import Weights


@dataclass(frozen=True)
class Learners:
    """The alive units of S networks at one optimizer step."""

    inserted: tuple[Tensor, ...]
    """(S, K) bool for each layer of units: not a founder."""
    age: tuple[Tensor, ...]
    """(S, K) optimizer steps since insertion."""
    since_birth: int
    """The same for the youngest unit of all."""
    step: int
    """Optimizer steps that the run has taken."""
    rate: float
    """Learning rate of this step over the rate at step 0."""
    weights: Weights
    grads: Weights

    def newborn(self, options: Options) -> tuple[Tensor, ...]:
        """Return which units are newborn by the rule's window."""
        return tuple(
            inserted & (age < float(options["steps"]))
            for inserted, age in zip(self.inserted, self.age, strict=True)
        )


Rule = Callable[[Learners, Options], Gains | None]


def none(learners: Learners, options: Options) -> None:
    """Return no factors."""


def two_speed(learners: Learners, options: Options) -> Gains | None:
    """Return ``factor`` for newborns' updates, 1 for everybody else's.

    ``decay`` says how it ends: at once (hard), or linearly, or as exp(-3 age / steps) towards 1.
    Source: Lillo & Cheney 2026, section 5 (Two-Speed: 5 over 1955 steps).
    """
    if learners.since_birth >= float(options["steps"]):
        return None
    newborn = learners.newborn(options)
    extra = float(options["factor"]) - 1
    factors = []
    for new, age in zip(newborn, learners.age, strict=True):
        part = age.double() / float(options["steps"])
        shape = {
            "hard": torch.ones_like(part),
            "linear": 1 - part,
            "exponential": (-3 * part).exp(),
        }
        factors.append(torch.where(new, 1 + extra * shape[str(options["decay"])], 1))
    return _gains("update", learners, newborn, factors, str(options["sides"]))


def warm_up(learners: Learners, options: Options) -> Gains | None:
    """Return a factor that rises from ``start`` to 1 over ``steps``."""
    if learners.since_birth >= float(options["steps"]):
        return None
    newborn, start = learners.newborn(options), float(options["start"])
    factors = [
        torch.where(new, start + (1 - start) * age.double() / float(options["steps"]), 1)
        for new, age in zip(newborn, learners.age, strict=True)
    ]
    return _gains("update", learners, newborn, factors, "both")


def local_schedule(learners: Learners, options: Options) -> Gains | None:
    """Return what turns the common learning rate into a newborn's own cosine from the first rate.

    At most ``limit``, because the common rate ends at 0. A newborn older than ``steps`` has the
    common rate again.
    """
    if learners.since_birth >= float(options["steps"]):
        return None
    newborn = learners.newborn(options)
    factors = []
    for new, age in zip(newborn, learners.age, strict=True):
        own = (1 + (math.pi * age.double() / float(options["steps"])).cos()) / 2
        wanted = (own / max(learners.rate, 1e-12)).clamp(max=float(options["limit"]))
        factors.append(torch.where(new, wanted, 1))
    return _gains("update", learners, newborn, factors, "both")


def freeze_incumbents(learners: Learners, options: Options) -> Gains | None:
    """Return 0 for everything but newborns' weights; moments go on."""
    if learners.since_birth >= float(options["steps"]):
        return None
    newborn = learners.newborn(options)
    factors = [new.double() for new in newborn]
    return _gains("update", learners, newborn, factors, "both", shared=0.0)


def gradient_normalisation(learners: Learners, options: Options) -> Gains | None:
    """Return what gives newborns' gradients the incumbents' mean root mean square.

    Incoming and outgoing weights apart, within 1 / ``clamp`` and ``clamp``; a unit without gradient
    keeps it. Under SGD this is the direct cure of starvation; Adam is nearly blind to it.
    """
    if learners.since_birth >= float(options["steps"]):
        return None
    newborn = learners.newborn(options)
    incoming, outgoing = [], []
    for layer, new in enumerate(newborn):
        slots = slots_of(learners.grads, layer)
        incoming.append(_matching(slots.incoming, new, float(options["clamp"])))
        outgoing.append(_matching(slots.outgoing, new, float(options["clamp"])))
    return Gains("gradient", newborn, _like(learners, incoming), _like(learners, outgoing))


def _matching(gradient: Tensor, newborn: Tensor, clamp: float) -> Tensor:
    size = gradient.double().square().mean(2).sqrt()  # (S, K)
    others = (~newborn).sum(1, keepdim=True).clamp(min=1)
    target = torch.where(newborn, 0, size).sum(1, keepdim=True) / others
    factor = (target / size).clamp(1 / clamp, clamp)
    return torch.where(newborn & (size > 0) & (target > 0), factor, 1)


def unit_clipping(learners: Learners, options: Options) -> Gains:
    """Return what clips each unit's incoming gradient to ``share`` of its weights' norm.

    Source: Brock et al. 2021, equation 3, with their floor of 1e-3 under the norm; the classifier
    is left out, as there.
    """
    factors = []
    for layer in range(len(learners.age)):
        weight, gradient = (slots_of(w, layer) for w in (learners.weights, learners.grads))
        limit = weight.incoming.norm(dim=2).clamp(min=1e-3) * float(options["share"])
        factors.append((limit / gradient.incoming.norm(dim=2)).clamp(max=1).nan_to_num(1.0))
    nobody = tuple(torch.zeros_like(inserted) for inserted in learners.inserted)
    ones = [torch.ones_like(factor) for factor in factors]
    return Gains("gradient", nobody, _like(learners, factors), _like(learners, ones))


def cohort_rates(learners: Learners, options: Options) -> Gains | None:
    """Return for each cohort the norm of its weights over that of the founders' weights.

    A cohort is the units of a layer that are equally old; founders are as old as the run, those
    that an event at step 0 added among them. Incoming and outgoing weights have a factor each, of
    the weights as they are now. With ``per: norm`` it is a ratio of Frobenius norms, so a cohort of
    fewer units learns more slowly; with ``per: rms`` of root mean squares, so their number does not
    matter. A side without weights, or whose founders are gone, keeps the common rate.

    Source: Yuan et al. 2023, section 3.3 (their weight norm is the Frobenius norm). Deviation: they
    split a matrix by the stage that added each weight; here a weight belongs to one of the two
    units that it joins, as ``optim.Gains`` says.
    """
    if learners.since_birth >= learners.step:
        return None  # everybody is a founder
    founders = tuple(age >= learners.step for age in learners.age)
    incoming: list[Tensor] = []
    outgoing: list[Tensor] = []
    for layer, (age, founder) in enumerate(zip(learners.age, founders, strict=True)):
        slots = slots_of(learners.weights, layer)
        together = (age[:, :, None] == age[:, None, :]).double()
        for side, factors in ((slots.incoming, incoming), (slots.outgoing, outgoing)):
            square = side.double().square().sum(2)  # (S, K)
            own = (together @ square[:, :, None])[:, :, 0]
            first = square.masked_fill(~founder, 0).sum(1, keepdim=True)
            if options["per"] == "rms":
                own = own / together.sum(2)
                first = first / founder.sum(1, keepdim=True).clamp(min=1)
            known = (first > 0) & (own > 0) & ~founder
            factors.append(torch.where(known, (own / first).sqrt(), 1))
    newborn = tuple(~founder for founder in founders)
    return Gains("update", newborn, _like(learners, incoming), _like(learners, outgoing))


def _gains(
    on: str,
    learners: Learners,
    newborn: tuple[Tensor, ...],
    factors: list[Tensor],
    sides: str,
    shared: float = 1.0,
) -> Gains:
    own = _like(learners, factors)
    ones = tuple(torch.ones_like(factor) for factor in own)
    return Gains(
        on,
        newborn,
        incoming=ones if sides == "out" else own,
        outgoing=ones if sides == "in" else own,
        shared=shared,
    )


def _like(learners: Learners, factors: list[Tensor]) -> tuple[Tensor, ...]:
    return tuple(factor.to(learners.weights.bias[0].dtype) for factor in factors)


TABLE: dict[str, Rule] = {
    "none": none,
    "two_speed": two_speed,
    "gradient_normalisation": gradient_normalisation,
    "freeze_incumbents": freeze_incumbents,
    "warm_up": warm_up,
    "local_schedule": local_schedule,
    "unit_clipping": unit_clipping,
    "cohort_rates": cohort_rates,
}
