"""Derivation of the decomposition, checked here.

A unit's dL/dz on image x is act'(z(x)) v . error(x), so the mean of its magnitude is

    mean |act'| |v| |error| |cos| = |v| (mean |act'|) D (sum |act'| |error| |cos|) / (D sum |act'|)

with D any positive number; D = mean |error| makes the last factor 1 for a unit whose outgoing
weights lie along the error of images with as much error as the mean. Logarithms add.
"""

import math

import numpy as np
import pytest
import torch
from rule_views import random_view
from torch import Tensor, nn

from plasticity.diagnostics import (
    RESIDUAL,
    TAUS,
    Decomposition,
    GradientCovariance,
    contribution_share,
    cosine_covariance,
    decompose,
    dormant_share,
    effective_rank,
    example_gradient_cosines,
    matched_weights,
    stable_rank,
)

S, N, H, G = 2, 13, 11, 5
NAN = math.nan


def drawn(number: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def bools(number: int, *shape: int) -> Tensor:
    """Return a mask of which every row has True and False."""
    mask = drawn(number, *shape) > 0
    mask[:, 0], mask[:, 1] = True, False
    return mask


def shuffled(size: int) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(size))


def derivatives(kind: str, number: int = 0) -> Tensor:
    z = drawn(number, S, N, H)
    below = {"relu": 0.0, "leaky": 0.7, "steep": -0.3}[kind]
    return torch.where(z > 0, 1.0, below)


def layer(kind: str = "relu") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return outgoing, output_alive, derivative, error."""
    return drawn(1, S, H, G), bools(2, S, G), derivatives(kind), drawn(3, S, N, G)


def columns(result: Decomposition) -> list[Tensor]:
    terms = (result.log_norm, result.log_gate, result.log_alignment, result.log_gradient)
    return [*terms, result.felt]


def residual(result: Decomposition) -> Tensor:
    total = result.log_norm + result.log_gate + result.log_error + result.log_alignment
    return (total - result.log_gradient)[result.felt].abs()


# Two consumers take part, errors (3, 4) and (0, -10): D = (5 + 10) / 2 = 7.5.
GOLDEN = (
    torch.tensor([[[0.0, 2.0, NAN], [3.0, 4.0, NAN], [0.0, 0.0, NAN], [1.0, 1.0, NAN]]]),
    torch.tensor([[True, True, False]]),
    torch.tensor([[[1.0, 1.0, 1.0, 0.0], [0.0, -0.1, 1.0, 0.0]]]),
    torch.tensor([[[3.0, 4.0, NAN], [0.0, -10.0, NAN]]]),
)


def test_the_terms_of_a_gradient_are_those_worked_by_hand():
    # Unit 0: |v| 2, open on the first image: gate 0.5; cosine 4/5, so A = 5 (4/5) / 7.5 = 8/15;
    # gradient 8/2 = 4. Unit 1, leaky: |v| 5, gate 1.1/2; cosines 1 and 4/5, so
    # A = (5 + 0.1 10 4/5) / (1.1 7.5) = 5.8/8.25; gradient (25 + 0.1 40)/2 = 14.5.
    result = decompose(*GOLDEN)
    assert result.log_gradient[0, :2].exp().tolist() == pytest.approx([4, 14.5])
    assert result.log_norm[0, :2].exp().tolist() == pytest.approx([2, 5])
    assert result.log_gate[0, :2].exp().tolist() == pytest.approx([0.5, 0.55])
    assert result.log_error.exp().tolist() == [[pytest.approx(7.5)]]
    assert result.log_alignment[0, :2].exp().tolist() == pytest.approx([8 / 15, 5.8 / 8.25])


def test_units_without_weights_or_with_a_closed_gate_are_not_felt():
    assert decompose(*GOLDEN).felt.tolist() == [[True, True, False, False]]


def test_all_terms_of_a_unit_that_is_not_felt_are_zero():
    for term in columns(decompose(*GOLDEN)):
        assert term[0, 2:].tolist() == [0, 0]


def test_a_term_of_every_unit_is_float64_for_float32_inputs():
    outgoing, alive, derivative, error = layer()
    result = decompose(outgoing.float(), alive, derivative.float(), error.float())
    assert {term.dtype for term in columns(result)[:-1]} == {torch.float64}
    assert residual(result).max() < RESIDUAL


@pytest.mark.parametrize("kind", ["relu", "leaky", "steep"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weights", [1e-12, 1.0, 1e6])
@pytest.mark.parametrize("errors", [1e-12, 1.0, 1e6])
def test_the_terms_add_up_to_the_gradient_at_every_scale(kind, dtype, weights, errors):
    outgoing, alive, derivative, error = layer(kind)
    outgoing[:, ::3] *= 1e-9  # newborns of next to no weight
    error[:, ::4] *= 1e-9  # images that are learnt
    result = decompose(
        (weights * outgoing).to(dtype), alive, derivative, (errors * error).to(dtype)
    )
    assert result.felt.all()
    assert residual(result).max() < RESIDUAL


def test_terms_add_up_for_nearly_orthogonal_errors_too():
    # Cosines from 1e-16 to 1e-4: what rounding decides is not felt, the rest adds up.
    v = torch.tensor([0.1, 0.3], dtype=torch.float64)
    across = torch.tensor([0.3, -0.1], dtype=torch.float64)
    tilts = torch.logspace(-16, -4, 60, dtype=torch.float64)
    error = (across + tilts[:, None] * v)[:, None]  # one seed for each tilt
    count = len(tilts)
    alive = torch.ones(count, 2, dtype=torch.bool)
    derivative = torch.ones(count, 1, 1, dtype=torch.float64)
    result = decompose(v.expand(count, 1, 2), alive, derivative, error)
    assert not result.felt[:20].any()
    assert result.felt[40:].all()
    assert residual(result).max() < RESIDUAL


@pytest.mark.parametrize("kind", ["relu", "leaky"])
def test_the_gradient_is_that_of_autograd(kind):
    outgoing, alive, _, _ = layer()
    z = drawn(4, S, N, H).requires_grad_()
    slope = {"relu": 0.0, "leaky": 0.1}[kind]
    hidden = nn.functional.leaky_relu(z, slope)
    consumers = (torch.einsum("snh,shg->sng", hidden, outgoing) * alive[:, None]).requires_grad_()
    loss = consumers.pow(3).sum()
    of_z, error = torch.autograd.grad(loss, (z, consumers))
    derivative = torch.where(z > 0, 1.0, slope).detach()
    result = decompose(outgoing, alive, derivative, error)
    expected = of_z.abs().mean(1)
    assert result.felt.equal(expected > 0)
    torch.testing.assert_close(result.log_gradient.exp()[result.felt], expected[result.felt])


def test_the_gradient_is_that_of_a_rule_s_view():
    view = random_view()
    result = decompose(view.outgoing, view.output_alive, view.derivative, view.error)
    assert result.felt.equal(view.gradient > 0)
    log = view.gradient[result.felt].log()
    torch.testing.assert_close(result.log_gradient[result.felt], log)


def test_each_term_is_that_of_a_plain_loop():
    outgoing, alive, derivative, error = layer("leaky")
    result = decompose(outgoing, alive, derivative, error)
    for s in range(S):
        used = alive[s].numpy()
        e = error[s].numpy()[:, used]
        size = np.linalg.norm(e, axis=1)
        assert result.log_error[s].item() == pytest.approx(np.log(size.mean()))
        for j in range(H):
            v = outgoing[s, j].numpy()[used]
            slope = np.abs(derivative[s, :, j].numpy())
            cosine = np.abs(e @ v) / (size * np.linalg.norm(v))
            alignment = (slope * size * cosine).sum() / (slope.sum() * size.mean())
            terms = [column[s, j].item() for column in columns(result)[:3]]
            expected = [np.linalg.norm(v), slope.mean(), alignment]
            assert terms == pytest.approx(np.log(expected).tolist())


def test_larger_outgoing_weights_change_only_norm_and_gradient():
    outgoing, alive, derivative, error = layer("leaky")
    one = decompose(outgoing, alive, derivative, error)
    two = decompose(8 * outgoing, alive, derivative, error)
    changes = [(b - a) for a, b in zip(columns(one)[:-1], columns(two)[:-1], strict=True)]
    expected = [math.log(8), 0, 0, math.log(8)]
    for change, number in zip(changes, expected, strict=True):
        torch.testing.assert_close(change, torch.full_like(change, number))


def test_terms_do_not_read_masked_consumers():
    outgoing, alive, derivative, error = layer()
    expected = decompose(outgoing, alive, derivative, error)
    outgoing = torch.where(alive[:, None], outgoing, NAN)
    error = torch.where(alive[:, None], error, NAN)
    found = decompose(outgoing, alive, derivative, error)
    assert all(a.equal(b) for a, b in zip(columns(found), columns(expected), strict=True))


def test_terms_move_with_their_units_and_no_image_has_a_place():
    outgoing, alive, derivative, error = layer()
    units, images = shuffled(H), shuffled(N)
    expected = decompose(outgoing, alive, derivative, error)
    found = decompose(
        outgoing[:, units], alive, derivative[:, images][:, :, units], error[:, images]
    )
    for a, b in zip(columns(found), columns(expected), strict=True):
        torch.testing.assert_close(a, b[:, units])


def test_a_seed_alone_has_the_terms_it_has_in_a_batch_with_a_diverged_one():
    outgoing, alive, derivative, error = layer()
    expected = decompose(outgoing[:1], alive[:1], derivative[:1], error[:1])
    error[1] = NAN
    found = decompose(outgoing, alive, derivative, error)
    for a, b in zip(columns(found), columns(expected), strict=True):
        torch.testing.assert_close(a[:1], b)
        assert not a[1].any()


def test_without_any_error_no_unit_is_felt():
    outgoing, alive, derivative, error = layer()
    result = decompose(outgoing, alive, derivative, 0 * error)
    assert not result.felt.any()
    assert not result.log_error.any()


def test_inputs_of_a_decomposition_stay_as_they_are():
    before = layer()
    after = layer()
    decompose(*after)
    assert all(a.equal(b) for a, b in zip(after, before, strict=True))


# Contribution.


def test_contribution_shares_are_those_worked_by_hand():
    # Mean |h| 2, 1, 3 times norms 5, 2, 1 (the third consumer is masked): 10, 2 and, masked, 3.
    hidden = torch.tensor([[[1.0, -2.0, 3.0], [-3.0, 0.0, 3.0]]])
    outgoing = torch.tensor([[[3.0, 4.0, 7.0], [0.0, -2.0, NAN], [1.0, 0.0, 0.0]]])
    alive = torch.tensor([[True, True, False]])
    shares = contribution_share(hidden, outgoing, alive, torch.tensor([[True, True, False]]))
    assert shares.tolist() == [pytest.approx([10 / 12, 2 / 12, 0])]


def test_contribution_shares_of_a_seed_alone_sum_to_one_and_ignore_masked_slots():
    hidden, outgoing, alive = drawn(1, S, N, H), drawn(2, S, H, G), bools(3, S, H)
    consumers = bools(4, S, G)
    expected = contribution_share(hidden, outgoing, alive, consumers)
    torch.testing.assert_close(expected.sum(1), torch.ones(S, dtype=torch.float64))
    hidden = torch.where(alive[:, None], hidden, NAN)
    hidden[1, 2, 0] = NAN
    found = contribution_share(hidden, outgoing, alive, consumers)
    torch.testing.assert_close(found[:1], expected[:1])
    assert found[1].isnan().all()


def test_a_layer_that_sends_nothing_has_no_shares():
    ones = torch.ones(1, H, dtype=torch.bool)
    shares = contribution_share(torch.zeros(1, N, H), drawn(1, 1, H, G), ones, ones[:, :G])
    assert not shares.any()


# Matched cohorts.


def test_matched_weights_are_those_worked_by_hand():
    # Newborns: one in bin 0, two in bin 1, one in bin 9, where no incumbent is. Incumbents: two in
    # bin 0 share 1/3, one in bin 1 has 2/3, one in bin 5 has nobody to match.
    gate = torch.tensor([[0.05, 0.15, 0.1001, 1.0, 0.01, 0.02, 0.12, 0.5, NAN]])
    newborn = torch.tensor([[True] * 4 + [False] * 5])
    incumbent = torch.tensor([[False] * 4 + [True] * 4 + [False]])
    matched = matched_weights(gate, newborn, incumbent)
    assert matched.weights.tolist() == [pytest.approx([0, 0, 0, 0, 1 / 6, 1 / 6, 2 / 3, 0, 0])]
    assert matched.newborn.tolist() == [[True] * 3 + [False] * 6]
    assert matched.dropped.tolist() == [1]


def test_a_bin_holds_its_lower_end_and_the_last_one_its_upper_end_too():
    # Bins of a half: 0.5 is with 1, not with 0.25.
    gate = torch.tensor([[0.5, 0.25, 1.0]])
    newborn = torch.tensor([[True, False, False]])
    assert matched_weights(gate, newborn, ~newborn, 2).weights.tolist() == [[0, 0, 1]]


def cohorts(number: int = 0, size: int = 200) -> tuple[Tensor, Tensor, Tensor]:
    gate = drawn(number, S, size).sigmoid()
    newborn = gate + 0.3 * drawn(number + 1, S, size) > 0.6
    incumbent = ~newborn & (drawn(number + 2, S, size) > -1)
    return gate, newborn, incumbent


def test_weighted_incumbents_have_the_newborns_distribution_over_bins():
    gate, newborn, incumbent = cohorts()
    matched = matched_weights(gate, newborn, incumbent, 7)
    assert not matched.weights[~incumbent].any()
    for s in range(S):
        edges = np.linspace(0, 1, 8)
        births, _ = np.histogram(gate[s][matched.newborn[s]], edges)
        peers, _ = np.histogram(gate[s], edges, weights=matched.weights[s])
        assert peers.tolist() == pytest.approx((births / births.sum()).tolist())
    assert matched.dropped.equal((newborn & ~matched.newborn).sum(1))


def test_matched_weights_move_with_their_units_and_stay_in_their_seed():
    gate, newborn, incumbent = cohorts()
    expected = matched_weights(gate, newborn, incumbent)
    order = shuffled(gate.shape[1])
    alone = matched_weights(gate[:1, order], newborn[:1, order], incumbent[:1, order])
    torch.testing.assert_close(alone.weights, expected.weights[:1, order])
    assert alone.newborn.equal(expected.newborn[:1, order])
    assert alone.dropped.equal(expected.dropped[:1])


def test_matching_removes_a_gap_that_gate_rates_alone_make():
    # A measure that is the gate itself: cohorts differ by 0.19, matched ones by less than a bin.
    gate, newborn, incumbent = cohorts(5, 2000)
    matched = matched_weights(gate, newborn, incumbent)
    for s in range(S):
        plain = gate[s][newborn[s]].mean() - gate[s][incumbent[s]].mean()
        rest = gate[s][matched.newborn[s]].mean() - (matched.weights[s] * gate[s]).sum()
        assert plain > 0.15
        assert abs(rest) < 0.02


def test_newborns_without_any_peer_or_gate_are_dropped():
    gate = torch.tensor([[0.9, NAN, 0.1, NAN]])
    newborn = torch.tensor([[True, True, False, False]])
    matched = matched_weights(gate, newborn, ~newborn)
    assert not matched.weights.any()
    assert matched.dropped.tolist() == [2]


# Dormancy.


def test_dormant_shares_are_those_worked_by_hand():
    # Mean |h| 0, 0.01, 0.1, 0.5, 4.39, over their mean of 1: the 0.01 and 0.1 count at tau itself.
    hidden = torch.tensor([[[0, -0.02, 0.1, 1.0, 4.39], [0, 0.0, -0.1, 0.0, -4.39]]])
    hidden = hidden.double()
    assert dormant_share(hidden, (0.0, 0.009, 0.011, 0.12)).tolist() == [
        pytest.approx([0.2, 0.2, 0.4, 0.6])
    ]


def test_a_unit_at_its_threshold_is_dormant():
    # Mean |h| 1, 3, 4, 8, over their mean of 4: a quarter, 3/4, 1, 2.
    hidden = torch.tensor([[[1.0, 3.0, 4.0, 8.0]]])
    assert dormant_share(hidden, (0.25, 0.74, 1.0)).tolist() == [[0.25, 0.25, 0.75]]


def test_dormancy_is_reported_at_four_thresholds():
    assert TAUS == (0, 0.01, 0.025, 0.1)
    assert dormant_share(drawn(0, S, N, H)).shape == (S, 4)


def test_all_units_of_a_layer_of_zeros_are_dormant():
    zeros = torch.zeros(1, N, H)
    assert dormant_share(zeros).tolist() == [[1.0] * 4]


def test_dormancy_has_no_scale():
    hidden = drawn(0, S, N, H) * torch.logspace(-4, 0, H)
    assert dormant_share(hidden).equal(dormant_share(2.0**-40 * hidden))
    assert dormant_share(hidden).unique().numel() > 2


def test_units_that_are_zero_on_every_image_are_dormant_at_zero():
    hidden = drawn(0, S, N, H)
    hidden[0, :, :3] = 0
    hidden[1, 1:, :3] = 0  # zero on all images but one
    assert dormant_share(hidden, (0.0,))[:, 0].tolist() == [pytest.approx(3 / H), 0]


def test_a_diverged_seed_has_no_dormancy():
    hidden = drawn(0, S, N, H)
    alone = dormant_share(hidden[:1])
    hidden[1, 2, 3] = NAN
    assert dormant_share(hidden)[0].equal(alone[0])
    assert dormant_share(hidden)[1].isnan().all()


# Ranks.


def with_spectrum(values: list[float], number: int = 0) -> Tensor:
    """Return (1, N, K) with these singular values along random directions."""
    k = len(values)
    left, _ = torch.linalg.qr(drawn(number, 1, N, k))
    right, _ = torch.linalg.qr(drawn(number + 1, 1, k, k))
    return left * torch.tensor(values, dtype=torch.float64) @ right.mT


def test_the_ranks_of_singular_values_two_one_one_are_those_worked_by_hand():
    # Entropy of 1/2, 1/4, 1/4: 1.5 log 2. Squares 4 + 1 + 1 over 4. 1/2 and 3/4 of the sum.
    activations = with_spectrum([2, 1, 1])
    assert effective_rank(activations).tolist() == [pytest.approx(2**1.5)]
    assert stable_rank(activations).tolist() == [pytest.approx(1.5)]


@pytest.mark.parametrize("scale", [1.0, 0.3, 1e-9, 1e9])
def test_equal_singular_values_count_fully(scale):
    activations = scale * torch.eye(100, dtype=torch.float64)[None]
    assert effective_rank(activations).tolist() == [pytest.approx(100)]
    assert stable_rank(activations).tolist() == [pytest.approx(100)]


def test_activations_of_one_direction_have_rank_one():
    activations = drawn(0, S, N, 1) * drawn(1, S, 1, H)
    for rank in (effective_rank, stable_rank):
        assert rank(activations).tolist() == pytest.approx([1, 1])


def test_activations_of_zero_have_rank_zero():
    for rank in (effective_rank, stable_rank):
        assert rank(torch.zeros(1, N, H)).tolist() == [0]


@pytest.mark.parametrize("shape", [(N, H), (H, N)])
def test_ranks_are_those_of_a_loop_over_singular_values(shape):
    activations = drawn(0, S, *shape).relu()
    for s in range(S):
        sigma = np.linalg.svd(activations[s].numpy(), compute_uv=False)
        p = sigma / sigma.sum()
        assert effective_rank(activations)[s].item() == pytest.approx(
            np.exp(-(p * np.log(p)).sum())
        )
        frobenius = (activations[s] ** 2).sum().item()
        assert stable_rank(activations)[s].item() == pytest.approx(frobenius / sigma[0] ** 2)


@pytest.mark.parametrize("rank", [effective_rank, stable_rank])
def test_a_rank_depends_on_its_own_seed_and_on_no_order(rank):
    activations = drawn(0, S, N, H)
    alone = rank(activations[:1])
    activations[0] = activations[0][shuffled(N)][:, shuffled(H)]
    activations[1, 0, 0] = math.inf
    found = rank(activations)
    assert found[0].item() == pytest.approx(alone.item())
    assert found[1].isnan()


# Gradients of single images.


def gradient_covariance(gradients: Tensor) -> GradientCovariance:
    """Return that of gradients (S, M, P) which are built, one for each image."""
    size = gradients.double().norm(dim=2, keepdim=True)
    unit = gradients.double() / torch.where(size == 0, 1.0, size)
    return cosine_covariance(unit @ unit.mT)


def test_the_covariance_of_three_gradients_is_that_worked_by_hand():
    # (1, 0), (0, 5), (2, 2): cosines 0, 1/sqrt 2, 1/sqrt 2. Eigenvalues of the matrix 2, 1, 0:
    # entropy log 3 - (2/3) log 2. The fourth image has no gradient.
    gradients = torch.tensor([[[1.0, 0.0], [0.0, 5.0], [2.0, 2.0], [0.0, 0.0]]])
    result = gradient_covariance(gradients)
    assert result.mean_cosine.tolist() == [pytest.approx(math.sqrt(2) / 3)]
    assert result.effective_rank.tolist() == [pytest.approx(3 / 2 ** (2 / 3))]
    assert result.images.tolist() == [3]


def test_orthogonal_gradients_have_full_rank_and_equal_ones_rank_one():
    gradients = torch.stack([torch.eye(7), torch.ones(7, 7)])
    result = gradient_covariance(gradients)
    assert result.mean_cosine.tolist() == pytest.approx([0, 1])
    assert result.effective_rank.tolist() == pytest.approx([7, 1])


def test_opposed_gradients_have_a_negative_cosine():
    result = gradient_covariance(torch.tensor([[[1.0, 2.0], [-3.0, -6.0]]]))
    assert result.mean_cosine.tolist() == [pytest.approx(-1)]
    assert result.effective_rank.tolist() == [pytest.approx(1)]


@pytest.mark.parametrize("felt", [0, 1])
def test_fewer_than_two_gradients_have_no_mean_cosine(felt):
    gradients = torch.zeros(1, 4, 3)
    gradients[:, :felt] = 1
    result = gradient_covariance(gradients)
    assert result.mean_cosine.isnan().all()
    assert result.effective_rank.tolist() == [pytest.approx(felt)]


def test_a_covariance_depends_on_its_own_seed_and_on_no_order_or_size_of_images():
    gradients = drawn(0, S, 6, 17)
    alone = gradient_covariance(gradients[:1])
    factor = torch.logspace(-6, 6, 6, dtype=torch.float64)[:, None]
    gradients[0] = (gradients[0] * factor)[shuffled(6)]
    gradients[1, 0] = NAN
    found = gradient_covariance(gradients)
    assert found.mean_cosine[0].item() == pytest.approx(alone.mean_cosine.item())
    assert found.effective_rank[0].item() == pytest.approx(alone.effective_rank.item())
    assert found.mean_cosine[1].isnan()
    assert found.effective_rank[1].isnan()


def test_cosines_of_a_single_layer_are_those_worked_by_hand():
    # Inputs (1, 0) and (1, 1), deltas (1, 0) and (3, 4): products 1 (1 + 1) = 2, 25 (2 + 1) = 75
    # and 3 (1 + 1) = 6.
    inputs = [torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])]
    deltas = [torch.tensor([[[1.0, 0.0], [3.0, 4.0]]])]
    cosine = example_gradient_cosines(inputs, deltas)[0]
    assert cosine[0, 1].item() == pytest.approx(6 / math.sqrt(150))
    assert cosine.diagonal().tolist() == pytest.approx([1, 1])


def nets() -> list[nn.Sequential]:
    torch.manual_seed(0)
    sizes = ((7, 11), (11, 6), (6, 3))
    models = [[nn.Linear(*pair).double() for pair in sizes] for _ in range(S)]
    return [nn.Sequential(a, nn.ReLU(), b, nn.Tanh(), c) for a, b, c in models]


def test_cosines_of_images_are_those_of_gradients_that_autograd_builds():
    images, labels = drawn(1, S, 5, 7), torch.tensor([[0, 1, 2, 0, 1], [2, 2, 1, 0, 0]])
    rows, inputs, deltas = [], [], []
    for net, x, y in zip(nets(), images, labels, strict=True):
        single = []
        for a, b in zip(x, y, strict=True):
            loss = nn.functional.cross_entropy(net(a), b)
            parts = torch.autograd.grad(loss, list(net.parameters()))
            single.append(torch.cat([part.flatten() for part in parts]))
        rows.append(torch.stack(single))
        z1 = net[0](x)
        h1 = net[1](z1)
        z2 = net[2](h1)
        h2 = net[3](z2)
        z3 = net[4](h2)
        loss = nn.functional.cross_entropy(z3, y)  # the mean: a factor for each image
        inputs.append([x, h1.detach(), h2.detach()])
        deltas.append(torch.autograd.grad(loss, (z1, z2, z3)))
    gradients = torch.stack(rows)
    found = example_gradient_cosines(
        [torch.stack(part) for part in zip(*inputs, strict=True)],
        [torch.stack(part) for part in zip(*deltas, strict=True)],
    )
    unit = gradients / gradients.norm(dim=2, keepdim=True)
    torch.testing.assert_close(found, unit @ unit.mT, rtol=0, atol=1e-12)
    one, two = cosine_covariance(found), gradient_covariance(gradients)
    torch.testing.assert_close(one.mean_cosine, two.mean_cosine)
    torch.testing.assert_close(one.effective_rank, two.effective_rank)


def test_an_image_without_a_gradient_has_no_cosine():
    deltas = drawn(2, S, 4, H)
    deltas[:, 1] = 0
    cosines = example_gradient_cosines([drawn(1, S, 4, 7)], [deltas])
    assert not cosines[:, 1].any()
    assert not cosines[:, :, 1].any()
    assert cosine_covariance(cosines).images.tolist() == [3, 3]


def test_cosines_of_a_seed_alone_are_those_it_has_in_a_batch():
    inputs, deltas = [drawn(1, S, 4, 7), drawn(2, S, 4, H)], [drawn(3, S, 4, H), drawn(4, S, 4, G)]
    together = example_gradient_cosines(inputs, deltas)
    alone = example_gradient_cosines([x[1:] for x in inputs], [d[1:] for d in deltas])
    torch.testing.assert_close(together[1:], alone)


def test_every_layer_needs_inputs_and_deltas():
    with pytest.raises(ValueError, match="shorter"):
        example_gradient_cosines([drawn(1, S, 4, 7)] * 2, [drawn(2, S, 4, H)])
