"""What holds a unit back, and how healthy a layer is: measures beyond rate and gradient.

Pure functions of what a probe left. Inputs may be float32, all sums are float64. S seeds, N images
(times places of a convolution's map), H slots, K alive units, F incoming and G outgoing weights of
a unit, M images of a small batch, P parameters. Every measure is of one seed alone: a diverged one
has NaN, or units that are not felt, and its batch mates notice nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TAUS = (0.0, 0.01, 0.025, 0.1)
"""Thresholds at which dormancy is reported."""

RESIDUAL = 1e-6
"""Nats by which the terms of a decomposition may miss its gradient."""


@dataclass(frozen=True)
class Decomposition:
    """Why a unit's gradient is what it is: natural logarithms, (S, H) float64.

    ``log_gradient = log_norm + log_gate + log_error + log_alignment`` for every felt unit, within
    ``RESIDUAL``. All terms of other units are 0: leave those out and count them.
    """

    log_gradient: Tensor
    """Of the mean over images of |dL/dz|, L the image's own loss."""
    log_norm: Tensor
    """Of the Euclidean norm of the outgoing weights to alive consumers."""
    log_gate: Tensor
    """Of the mean over images of |act'(z)|: for ReLU the share of images that open the unit."""
    log_error: Tensor
    """(S, 1): of the mean over images of the Euclidean norm of the consumers' dL/dz; 0 where there
    is no error at all. The same for all units, so it leaves every difference of cohorts."""
    log_alignment: Tensor
    """Of the mean |cosine| of outgoing weights and error, each image weighted by |act'| and by its
    error. It exceeds 0 for a unit that opens mostly on images with more error than the mean."""
    felt: Tensor
    """(S, H) bool: gradient, norm and gate are all above 0, the gradient by more than rounding."""


def decompose(
    outgoing: Tensor, output_alive: Tensor, derivative: Tensor, error: Tensor
) -> Decomposition:
    """Return the logarithm of each unit's gradient as a sum of four measured causes.

    With D the mean error norm and p_j the gate of unit j with outgoing weights v_j:
    grad(j) = |v_j| p_j D A_j. Each factor comes from its own arrays. In particular A_j is

        sum_x |act'_j(x)| |error(x)| |cos(v_j, error(x))| / (D sum_x |act'_j(x)|)

    from unit vectors, never the remainder of the others: that the terms add up is then a check.

    Parameters
    ----------
    outgoing
        (S, H, G) weights from each slot.
    output_alive
        (S, G) bool: whether a consumer takes part. What others hold is never read.
    derivative
        (S, N, H) of the activation function, for every slot as if it were alive.
    error
        (S, N, G) dL/dz of the consumers, L the image's own loss.

    Notes
    -----
    A scalar product that cancels is known only up to G machine epsilons of the two norms. A unit
    is felt if its mean |cosine|, weighted as in A_j, is so far above that rounding moves no term by
    more than ``RESIDUAL``. For G = 512 that is above 1e-7; a random direction has 0.035.
    """
    used = output_alive[:, None]
    weights = torch.where(used, outgoing.double(), 0.0)
    error = torch.where(used, error.double(), 0.0)
    derivative = derivative.double()
    norm, weight_directions = _polar(weights)
    size, error_directions = _polar(error)

    flow = torch.einsum("sng,shg->snh", error, weights)
    gradient = flow.mul_(derivative).abs_().mean(1)  # (S, H)

    opening = derivative.abs()
    gate = opening.mean(1)
    mean_error = size.mean(1, keepdim=True)
    lever = opening * size[:, :, None]
    cosine = torch.einsum("sng,shg->snh", error_directions, weight_directions)
    aligned = cosine.abs_().mul_(lever).mean(1)  # (S, H)
    rounding = weights.shape[2] * torch.finfo(torch.float64).eps / RESIDUAL
    felt = (gradient > 0) & (aligned > rounding * lever.mean(1))
    return Decomposition(
        log_gradient=_log(gradient, felt),
        log_norm=_log(norm, felt),
        log_gate=_log(gate, felt),
        log_error=_log(mean_error, mean_error > 0),
        log_alignment=_log(aligned / (gate * mean_error), felt),
        felt=felt,
    )


def _polar(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return norms and directions of vectors along the last axis; a zero vector has direction 0."""
    norm = torch.linalg.vector_norm(vectors, dim=-1)
    return norm, vectors / torch.where(norm > 0, norm, 1.0)[..., None]


def _log(values: Tensor, where: Tensor) -> Tensor:
    """Return logarithms, 0 elsewhere."""
    return torch.where(where, values, 1.0).log()


def contribution_share(
    hidden: Tensor, outgoing: Tensor, alive: Tensor, output_alive: Tensor
) -> Tensor:
    """Return each unit's share of what its layer sends on, (S, H); masked slots have 0.

    Mean |h_j| times |v_j|, over the sum of that in the layer. A fair share is 1 / alive units. A
    layer that sends nothing has only zeros.

    Parameters
    ----------
    hidden
        (S, N, H) activations.
    outgoing
        (S, H, G) weights from each slot.
    alive, output_alive
        (S, H) and (S, G) bool; what masked slots and consumers hold is never read.

    Source: the contribution utility of Dohare et al. 2024 (continual backprop). Deviation: the
    Euclidean norm of the outgoing weights, as in ``decompose``, for their sum of magnitudes.
    """
    weights = torch.where(output_alive[:, None], outgoing.double(), 0.0)
    sent = hidden.double().abs().mean(1) * torch.linalg.vector_norm(weights, dim=2)
    sent = torch.where(alive, sent, 0.0)
    total = sent.sum(1, keepdim=True)
    return sent / torch.where(total == 0, 1.0, total)


@dataclass(frozen=True)
class Matched:
    """Incumbents weighted to be open as often as the newborns they are compared with."""

    newborn: Tensor
    """(S, H) bool: newborns with incumbents in their bin. Compare only these, each weighing 1."""
    weights: Tensor
    """(S, H) float64, of incumbents; they sum to 1 per seed, or are all 0 where nobody matches."""
    dropped: Tensor
    """(S,) int64: newborns with no incumbent in their bin."""


def matched_weights(gate: Tensor, newborn: Tensor, incumbent: Tensor, bins: int = 10) -> Matched:
    """Return weights that give incumbents the newborns' distribution of gate rates.

    In a bin with n of the T matched newborns, each of m incumbents weighs n / (m T). A cohort
    ratio that remains is then no matter of how often units are open: selection by activity picks
    newborns with open gates, which hides what they lack. Weights use every comparable incumbent
    and need no random draw, which a sub-sample would.

    Parameters
    ----------
    gate
        (S, H) in [0, 1]. Bins have equal width; values outside go to the first or last.
    newborn, incumbent
        (S, H) bool, disjoint. Gates of other slots are never read; NaN is in no bin.
    bins
        Number of bins.
    """
    known = ~gate.isnan()
    place = (torch.where(known, gate.double(), 0.0) * bins).floor().clamp(0, bins - 1).long()
    member = torch.nn.functional.one_hot(place, bins).double() * known[:, :, None]  # (S, H, bins)
    peers = (member * incumbent[:, :, None]).sum(1)  # (S, bins)
    met = newborn & known & (peers.gather(1, place) > 0)
    births = (member * met[:, :, None]).sum(1)
    total = births.sum(1, keepdim=True)
    weight = births / (peers * total).clamp(min=1)
    weights = torch.einsum("shb,sb->sh", member, weight) * incumbent
    return Matched(met, weights, (newborn & ~met).sum(1))


def dormant_share(hidden: Tensor, taus: Sequence[float] = TAUS) -> Tensor:
    """Return the share of dormant units at each threshold, (S, thresholds).

    Parameters
    ----------
    hidden
        (S, N, K) activations of the alive units alone.
    taus
        Thresholds of ``dormant``.
    """
    strength = hidden.double().abs().mean(1)
    alive = torch.ones_like(strength, dtype=torch.bool)
    shares = torch.stack([dormant(strength, alive, tau).double().mean(1) for tau in taus], 1)
    return torch.where(strength.isfinite().all(1, keepdim=True), shares, torch.nan)


def dormant(strength: Tensor, alive: Tensor, tau: float) -> Tensor:
    """Return which units are dormant, (S, H) bool.

    A unit is dormant at tau if its mean |h| is at most tau times the layer's mean of that. In a
    layer of zeros every unit is dormant at every tau.

    Parameters
    ----------
    strength
        (S, H) mean |activation|; what masked slots hold is never read.
    alive
        (S, H) bool.
    tau
        Threshold.

    Source: Sokar et al. 2023 (ReDo), definition 3.1.
    """
    total = torch.where(alive, strength, 0).sum(1, keepdim=True)
    # Without a division: a layer of zeros would have no score.
    return alive & (strength <= tau * (total / alive.sum(1, keepdim=True)))


def effective_rank(activations: Tensor) -> Tensor:
    """Return exp of the entropy of the singular values' distribution, (S,); 0 for zeros.

    Parameters
    ----------
    activations
        (S, N, K) of the alive units alone, not centred.

    Source: Roy & Vetterli 2007, definition 1.
    """
    return _entropy_rank(_singular_values(activations))


def stable_rank(activations: Tensor) -> Tensor:
    """Return the squared Frobenius norm over the squared largest singular value, (S,).

    0 for zeros.

    Parameters
    ----------
    activations
        (S, N, K) of the alive units alone, not centred.

    Source: Rudelson & Vershynin 2007.
    """
    values = _singular_values(activations)
    largest = values[:, :1]
    return (values / torch.where(largest == 0, 1.0, largest)).square().sum(1)


def _singular_values(activations: Tensor) -> Tensor:
    """Return (S, min(N, K)), the largest first."""
    return _spectrum(torch.linalg.svdvals, activations.double())


def _spectrum(function: Callable[[Tensor], Tensor], matrices: Tensor) -> Tensor:
    """Return singular values or eigenvalues of each seed; NaN for a matrix that is not finite.

    One such matrix would make the function raise for all.
    """
    finite = matrices.isfinite().all(2).all(1)
    values = function(torch.where(finite[:, None, None], matrices, 0.0))
    return torch.where(finite[:, None], values, torch.nan)


def _entropy_rank(values: Tensor) -> Tensor:
    """Return exp of the entropy of non-negative values over their sum, (S,); 0 for zeros."""
    total = values.sum(1, keepdim=True)
    rank = torch.special.entr(values / total).sum(1).exp()
    return torch.where(total[:, 0] > 0, rank, total[:, 0])


@dataclass(frozen=True)
class GradientCovariance:
    """How alike the gradients of single images are. One number per seed, (S,)."""

    mean_cosine: Tensor
    """Over all pairs of different images; NaN where fewer than two images have a gradient."""
    effective_rank: Tensor
    """Of the matrix of cosines: the number of images if all are orthogonal, 1 if all agree."""
    images: Tensor
    """int64: how many have a gradient. Others have no direction and are left out."""


def cosine_covariance(cosines: Tensor) -> GradientCovariance:
    """Return how alike gradients of single images are.

    Parameters
    ----------
    cosines
        (S, M, M) as ``example_gradient_cosines`` gives them.

    Source: Lyle et al. 2023 (gradient covariance). Deviation: numbers for its picture.
    """
    own = cosines.diagonal(dim1=1, dim2=2)
    images = (own > 0).sum(1)
    others = cosines.sum((1, 2)) - own.sum(1)
    # The matrix is positive semidefinite; rounding alone makes an eigenvalue negative.
    values = _spectrum(torch.linalg.eigvalsh, cosines).clamp(min=0)
    return GradientCovariance(others / (images * (images - 1)), _entropy_rank(values), images)


def example_gradient_cosines(inputs: Sequence[Tensor], deltas: Sequence[Tensor]) -> Tensor:
    """Return the cosines between all images' gradients of fully connected layers, (S, M, M).

    An image's gradient of weights is the outer product of its delta and its input, that of biases
    its delta. So the scalar product of two images' gradients is the sum over layers of
    (delta_a . delta_b)(input_a . input_b + 1), and no gradient is ever built. Exact. An image
    without a gradient has zeros, on the diagonal too.

    Parameters
    ----------
    inputs
        For each layer (S, M, F): what enters, masked units as 0.
    deltas
        For each layer (S, M, H): dL/dz, masked units as 0. A factor per image, such as that of a
        mean over images, does not matter.

    Notes
    -----
    Convolutions share weights between places, so theirs are not outer products: leave them out.
    """
    products = [
        torch.einsum("sah,sbh->sab", delta, delta) * (torch.einsum("saf,sbf->sab", x, x) + 1)
        for x, delta in ((a.double(), b.double()) for a, b in zip(inputs, deltas, strict=True))
    ]
    return _cosines(torch.stack(products).sum(0))


def _cosines(products: Tensor) -> Tensor:
    """Return cosines from scalar products (S, M, M); rows of zero vectors are 0."""
    norm = products.diagonal(dim1=1, dim2=2).sqrt()
    scale = torch.where(norm > 0, 1 / norm, 0.0)
    return products * scale[:, :, None] * scale[:, None, :]
