"""The hand-written engine against autograd, and masked against compact.

Masked and compact compute the same sums in another order: float64 must agree to 1e-10.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import (
    CONVNET,
    MLP,
    SEEDS,
    all_alive,
    fresh_weights,
    named_parameters,
    plain_module,
    random_alive,
    random_batch,
    state_of,
)

from plasticity import optim
from plasticity.network import (
    Architecture,
    Weights,
    backward,
    cross_entropy,
    forward,
    initial_weights,
)
from plasticity.state import gather, scatter, take_units


def gradients(weights: Weights, x, y, alive=None):
    grads = weights.map(torch.empty_like)
    trace = forward(weights, x, alive)
    loss, grad_logits = cross_entropy(trace.logits, y)
    deltas = backward(weights, trace, grad_logits, grads, alive)
    return trace, loss, grads, deltas


@pytest.mark.parametrize("architecture", [MLP, CONVNET])
def test_logits_loss_and_gradients_equal_autograd_of_plain_modules(architecture):
    generator = torch.Generator().manual_seed(0)
    weights = fresh_weights(architecture)
    x, y = random_batch(architecture, generator)
    trace, loss, grads, _ = gradients(weights, x, y)
    for row in range(len(SEEDS)):
        module = plain_module(weights, row)
        logits = module(x[row])
        expected = torch.nn.functional.cross_entropy(logits, y[row])
        expected.backward()
        torch.testing.assert_close(trace.logits[row], logits, rtol=0, atol=1e-12)
        torch.testing.assert_close(loss[row].mean(), expected, rtol=0, atol=1e-12)
        for ours, theirs in zip(grads.tensors(), named_parameters(module), strict=True):
            torch.testing.assert_close(ours[row], theirs.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("architecture", [MLP, CONVNET])
def test_deltas_of_masked_units_are_what_they_would_receive_if_alive(architecture):
    """A gate of value 0 multiplies the masked unit; with u the gate, dL/dz of the unit, were its
    own gate 1, is relu'(z) * sum_k v_k delta_k: the gradient of the loss in h, times relu'(z)."""
    generator = torch.Generator().manual_seed(1)
    weights = fresh_weights(architecture)
    alive = random_alive(architecture, [w // 2 for w in architecture.widths], generator)
    x, y = random_batch(architecture, generator)
    trace, _, _, deltas = gradients(weights, x, y, alive)
    features = trace.inputs[0]
    h, gates = features, []
    for layer in range(len(architecture.widths)):
        z = torch.einsum("sbi,shi->sbh", h, weights.incoming[layer]) + weights.bias[layer][:, None]
        h = z.relu() * alive[layer][:, None]
        extra = torch.zeros_like(h, requires_grad=True)
        gates.append((extra, z))
        h = h + extra
    logits = torch.einsum("sbi,shi->sbh", h, weights.incoming[-1]) + weights.bias[-1][:, None]
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum").div(
        y.shape[1]
    ).backward()
    for delta, (extra, z) in zip(deltas, gates, strict=True):
        torch.testing.assert_close(delta, extra.grad * (z > 0), rtol=0, atol=1e-12)
    masked_part = deltas[0].abs().sum(1)[~alive[0]]
    assert masked_part.max() > 0


def test_gradients_of_masked_weights_are_exactly_zero():
    generator = torch.Generator().manual_seed(2)
    weights = fresh_weights(MLP)
    alive = random_alive(MLP, (4, 3), generator)
    x, y = random_batch(MLP, generator)
    _, _, grads, _ = gradients(weights, x, y, alive)
    for layer, mask in enumerate(alive):
        assert (grads.incoming[layer][~mask] == 0).all()
        assert (grads.bias[layer][~mask] == 0).all()
        assert (grads.incoming[layer + 1].mT[~mask] == 0).all()


@given(
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.sampled_from([("sgd", 0.0), ("sgd", 0.9), ("adam", 0.0)]),
)
@settings(max_examples=500)
def test_masked_and_compact_agree_in_logits_gradients_and_twenty_steps(conv, number, rule):
    """500 random plans: widths, slots, weights, data, optimizer."""
    generator = torch.Generator().manual_seed(number)
    architecture = CONVNET if conv else MLP
    widths = [int(torch.randint(1, w + 1, (), generator=generator)) for w in architecture.widths]
    alive = random_alive(architecture, widths, generator)
    optimizer = optim.Optimizer(rule[0], momentum=rule[1], weight_decay=1e-3)
    state = state_of(architecture, alive, optimizer.num_moments)
    x, y = random_batch(architecture, generator)

    copy = gather(state)
    compact_trace, _, compact_grads, _ = gradients(copy.weights, x, y)
    masked_trace, _, masked_grads, _ = gradients(state.weights, x, y, alive)
    torch.testing.assert_close(compact_trace.logits, masked_trace.logits, rtol=0, atol=1e-10)
    for ours, theirs in zip(
        compact_grads.tensors(), take_units(masked_grads, copy.slots).tensors(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)

    masked = gather(state_of(architecture, all_alive(architecture), optimizer.num_moments))
    for _ in range(20):
        for net, mask in ((copy, None), (masked, alive)):
            trace = forward(net.weights, x, mask)
            _, grad_logits = cross_entropy(trace.logits, y)
            backward(net.weights, trace, grad_logits, net.grads, mask)
        optim.step_(copy, optimizer, [0.05] * 2)
        optim.step_(masked, optimizer, [0.05] * 2)
    for ours, theirs in zip(
        copy.weights.tensors(), take_units(masked.weights, copy.slots).tensors(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_scatter_puts_progress_back_and_leaves_masked_slots_alone():
    generator = torch.Generator().manual_seed(3)
    alive = random_alive(CONVNET, (4, 3, 2), generator)
    state = state_of(CONVNET, alive, 2)
    copy = gather(state)
    for tensor in copy.weights.tensors():
        tensor.add_(1)
    copy.taken = [7, 2]
    after = scatter(state, copy)
    grown = gather(after)
    for tensor, other in zip(copy.weights.tensors(), grown.weights.tensors(), strict=True):
        assert torch.equal(tensor, other)
    for layer, mask in enumerate(alive):
        before = state.weights.incoming[layer]
        assert torch.equal(after.weights.incoming[layer][~mask], before[~mask])
        assert (after.age[layer][0][mask[0]] == 7).all()
        assert (after.unit_step[layer][1][mask[1]] == 2).all()
        assert (after.age[layer][~mask] == 0).all()


def test_a_seed_alone_equals_the_seed_in_a_group():
    generator = torch.Generator().manual_seed(4)
    both = fresh_weights(CONVNET)
    one = fresh_weights(CONVNET, SEEDS[1:])
    x, y = random_batch(CONVNET, generator)
    _, _, grads, _ = gradients(both, x, y)
    _, _, alone, _ = gradients(one, x[1:], y[1:])
    for a, b in zip(grads.tensors(), alone.tensors(), strict=True):
        torch.testing.assert_close(a[1:], b, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("rule", "gain"), [("torch_default", 1.0), ("kaiming_relu", 6**0.5)])
def test_initial_weights_fill_their_bounds_and_no_more(rule, gain):
    architecture = Architecture((1, 10, 10), (), (400,), 3)
    weights = initial_weights(architecture, (0,), rule).incoming[0]
    bound = gain / 100**0.5
    assert 0.999 * bound < weights.abs().max() <= bound
    assert abs(float(weights.mean())) < 0.01 * bound


def test_a_wider_layer_does_not_change_the_draws_of_the_others():
    narrow = fresh_weights(MLP)
    wide = fresh_weights(Architecture(MLP.image, (), (13, 9), MLP.classes))
    assert torch.equal(narrow.incoming[0], wide.incoming[0][:, :11])
    assert torch.equal(narrow.incoming[2], wide.incoming[2])
