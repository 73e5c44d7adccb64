"""The hand-written engine against autograd, and masked against compact.

Masked and compact compute the same sums in another order: float64 must agree to 1e-10.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import (
    ACTIVATIONS,
    CONVNET,
    MLP,
    SEEDS,
    Act,
    all_alive,
    architecture_for,
    engine_activation,
    fresh_weights,
    joined,
    named_parameters,
    plain_module,
    random_alive,
    random_batch,
    random_slopes,
    random_strengths,
    random_widths,
    state_of,
    with_history,
)
from torch import Tensor, nn
from torch.nn import functional

from plasticity import optim, rng
from plasticity.network import backward, cross_entropy, forward
from plasticity.probe import ablation, as_if_alive_gradients, measure, weighted_curvature
from plasticity.state import State, gather, new_state, scatter, take_units
from plasticity.weights import RELU, Architecture, Weights, initial_weights

architectures = pytest.mark.parametrize("architecture", [MLP, CONVNET], ids=["mlp", "convnet"])
activations = pytest.mark.parametrize("case", ACTIVATIONS)
norms = pytest.mark.parametrize("normalise", [False, True], ids=["raw", "normalised"])


def gradients(weights: Weights, x, y, activation=RELU, scale=None):
    grads = weights.map(torch.empty_like)
    trace = forward(weights, x, activation, scale)
    loss, grad_logits = cross_entropy(trace.logits, y)
    backward(weights, trace, grad_logits, grads, activation, scale)
    return trace, loss, grads


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


@norms
@activations
@architectures
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
def test_logits_loss_and_gradients_equal_autograd_of_plain_modules(
    architecture, case, scaled, normalise
):
    """Scaled: some units of every layer masked, the others gated; slopes are given."""
    generator = torch.Generator().manual_seed(0)
    architecture = architecture_for(case, architecture)
    weights = fresh_weights(architecture)
    x, y = random_batch(architecture, generator)
    slopes = random_slopes(case, architecture, generator)
    scale = None
    if scaled:
        alive = random_alive(architecture, [w // 2 + 1 for w in architecture.units], generator)
        strengths = random_strengths(alive, generator)
        scale = tuple(mask * part for mask, part in zip(alive, strengths, strict=True))
    activation = engine_activation(case, slopes, normalise)
    trace, loss, grads = gradients(weights, x, y, activation, scale)
    for row in range(len(SEEDS)):
        module = plain_module(weights, row, case, slopes, scale, normalise)
        logits = module(x[row])
        expected = functional.cross_entropy(logits, y[row])
        expected.backward()
        assert_close(trace.logits[row], logits)
        assert_close(loss[row].mean(), expected)
        for ours, theirs in zip(grads.tensors(), named_parameters(module), strict=True):
            assert_close(ours[row], theirs.grad)


def normal(z: Tensor, alive: Tensor) -> Tensor:
    """Return z normalised over alive units, others with these statistics as given numbers."""
    mean = z[:, alive].mean(1, keepdim=True)
    deviation = (z[:, alive].var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    others = (z - mean.detach()) / deviation.detach()
    return torch.where(alive, (z - mean) / deviation, others)


def as_if_alive(
    state: State, row: int, x: Tensor, y: Tensor, case: str, gates: list[Tensor], normalise: bool
):
    """Return by autograd, for each layer: dL/dz of every slot as if it were alive, the gradients of
    weights into such slots, and those of weights out of them (from the second layer on).

    Beside each unit stands a copy that reads nothing new, is never masked and adds exactly 0: what
    it would do to the loss flows to its pre-activation. Beside each layer's weights stand others,
    all 0, from the units that are not masked. L is each image's own loss. Where layers are
    normalised, z is what comes of that; the copies of masked units find its statistics given.
    """
    weights, depth = state.weights, len(state.weights.filters)
    matrices = [*weights.filters, *weights.incoming]
    biases = [*weights.filter_bias, *weights.bias]
    act, given, free = Act(case), x, None
    deltas, into, out_of = [], [], []
    for layer, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
        if layer == depth:
            given, free = given.flatten(1), None if free is None else free.flatten(1)

        def through(h, w, layer=layer):
            return functional.conv2d(h, w, padding=1) if layer < depth else h @ w.mT

        shape = (-1, 1, 1) if layer < depth else (-1,)
        z = through(given, matrix[row]) + bias[row].view(shape)
        if free is not None:
            out_of.append(torch.zeros_like(matrix[row], requires_grad=True))
            z = z + through(free, out_of[-1])
        if layer == len(matrices) - 1:
            break
        into.append(torch.zeros_like(matrix[row], requires_grad=True))
        copied = z.detach() + through(given.detach(), into[-1])
        if normalise and layer >= depth:
            z, copied = (normal(part, state.alive[layer][row]) for part in (z, copied))
        deltas.append(copied)
        deltas[-1].retain_grad()
        outputs = act(z), act(deltas[-1])
        if layer < depth:
            outputs = [functional.max_pool2d(h, 2) for h in outputs]
        alive, gate = state.alive[layer][row], gates[layer][row]
        strengths = [torch.where(alive, gate, other) for other in (0, 1)]
        strengths = [s.repeat_interleave(len(outputs[0][0]) // len(s)) for s in strengths]
        masked, copied = (h * s.view(shape) for h, s in zip(outputs, strengths, strict=True))
        given, free = masked + copied - copied.detach(), outputs[1].detach()
    functional.cross_entropy(z, y, reduction="sum").backward()
    return deltas, into, out_of


def measured_case(architecture: Architecture, case: str, low: float, normalise: bool):
    """Return a probe of a state with masked units in every layer, the others gated from ``low``."""
    generator = torch.Generator().manual_seed(1)
    architecture = architecture_for(case, architecture)
    alive = random_alive(architecture, [w // 2 for w in architecture.units], generator)
    state = new_state(fresh_weights(architecture), alive, 0)
    batch = random_batch(architecture, generator)
    gates = random_strengths(alive, generator, low)
    given = None if low == 1 else gates
    activation = engine_activation(case, normalise=normalise)
    measured = measure(state, *batch, activation, given, through_trunk=True)
    theirs = [
        as_if_alive(state, row, *(b[row] for b in batch), case, gates, normalise)
        for row in range(2)
    ]
    return state, measured, theirs


@norms
@activations
@architectures
@pytest.mark.parametrize("low", [1, 0.1], ids=["plain", "gated"])
def test_probes_measure_masked_units_as_if_they_were_alive(architecture, case, low, normalise):
    """Of channels a monotone function is measured where pooling looks, the others everywhere."""
    state, measured, theirs = measured_case(architecture, case, low, normalise)
    for row, (deltas, _, _) in enumerate(theirs):
        for signals, expected in zip(measured.signals, deltas, strict=True):
            delta = expected.grad
            if delta.dim() == 4:
                if engine_activation(case).monotone:
                    delta = functional.avg_pool2d(delta, 2, divisor_override=1)
                delta = delta.movedim(1, -1).flatten(0, 2)
            assert_close(signals.delta[row], delta)
    for signals, alive in zip(measured.signals, state.alive, strict=True):
        assert signals.delta.abs().amax(1)[~alive].max() > 0


@norms
@activations
@pytest.mark.parametrize(
    ("architecture", "low"),
    [
        pytest.param(MLP, 1, id="mlp-plain"),
        pytest.param(CONVNET, 1, id="convnet-plain"),
        pytest.param(MLP, 0.1, id="mlp-gated"),
        pytest.param(CONVNET, 0.1, id="convnet-gated"),
    ],
)
def test_gradients_as_if_alive_are_those_of_autograd(architecture, case, low, normalise):
    """With gates for masked slots alone, which are never gated and are all that rules read."""
    state, measured, theirs = measured_case(architecture, case, low, normalise)
    activation = engine_activation(case, normalise=normalise)
    into, out_of = as_if_alive_gradients(state, measured, activation)
    images = measured.loss.shape[1]
    for row, (_, theirs_into, theirs_out_of) in enumerate(theirs):
        for layer, alive in enumerate(state.alive):
            known = ~alive[row] if low < 1 else torch.ones_like(alive[row])
            ours = [*into.filters, *into.incoming][layer][row]
            assert_close(ours[known], theirs_into[layer].grad[known] / images)
            ours = [*out_of.filters, *out_of.incoming][layer + 1][row]
            known = known.repeat_interleave(ours.shape[1] // len(known))
            assert_close(ours[:, known], theirs_out_of[layer].grad[:, known] / images)


@norms
@architectures
def test_the_error_is_the_gradient_of_what_weights_make_before_any_normalisation(
    architecture, normalise
):
    """Insertion rules take dL/dz x input for the gradient of weights into the next layer."""
    generator = torch.Generator().manual_seed(2)
    alive = random_alive(architecture, [w // 2 for w in architecture.units], generator)
    state = new_state(fresh_weights(architecture), alive, 0)
    x, y = random_batch(architecture, generator)
    activation = engine_activation("relu", normalise=normalise)
    measured = measure(state, x, y, activation)
    for row in range(2):
        module = plain_module(state.weights, row, scale=alive, normalise=normalise)
        h, made = x[row], []
        for layer in module:
            h = layer(h)
            if isinstance(layer, nn.Linear):
                h.retain_grad()
                made.append(h)
        functional.cross_entropy(h, y[row], reduction="sum").backward()
        for error, z in zip(measured.flow.error, made, strict=True):
            assert_close(error[row], z.grad)


@norms
def test_the_curvature_is_that_of_the_whole_hessian(normalise):
    """One random vector of signs r: w^2 x r x (H r), H by autograd from plain modules."""
    generator = torch.Generator().manual_seed(2)
    alive = random_alive(MLP, (6, 5), generator)
    state = new_state(fresh_weights(MLP), alive, 0)
    x, y = random_batch(MLP, generator)
    activation = engine_activation("gelu", normalise=normalise)
    ours = weighted_curvature(state, x, y, activation, 1, SEEDS)
    for row, seed in enumerate(SEEDS):
        module = plain_module(state.weights, row, "gelu", scale=alive, normalise=normalise)
        parameters = named_parameters(module)
        loss = functional.cross_entropy(module(x[row]), y[row])
        slope = torch.autograd.grad(loss, parameters, create_graph=True)
        flat = torch.cat([part.flatten() for part in slope])
        hessian = torch.stack(
            [
                torch.cat(
                    [
                        part.flatten()
                        for part in torch.autograd.grad(entry, parameters, retain_graph=True)
                    ]
                )
                for entry in flat
            ]
        )
        draw = rng.stream(seed, "curvature", 0)
        signs = torch.cat(
            [torch.from_numpy(draw.integers(0, 2, p.shape) * 2.0 - 1).flatten() for p in parameters]
        )
        weights = torch.cat([p.detach().flatten() for p in parameters])
        found = torch.cat([tensor[row].flatten() for tensor in ours.tensors()])
        assert_close(found, weights.square() * signs * (hessian @ signs))


@norms
@architectures
def test_gradients_of_masked_weights_are_exactly_zero(architecture, normalise):
    generator = torch.Generator().manual_seed(2)
    alive = random_alive(architecture, [w // 2 for w in architecture.units], generator)
    x, y = random_batch(architecture, generator)
    scale = tuple(mask.double() for mask in alive)
    activation = engine_activation("relu", normalise=normalise)
    _, _, grads = gradients(fresh_weights(architecture), x, y, activation, scale)
    for grad, used in zip(grads.tensors(), joined(architecture, alive), strict=True):
        assert (grad[~used] == 0).all()
        assert (grad[used] != 0).any()


@given(
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.sampled_from([("sgd", 0.0), ("sgd", 0.9), ("adam", 0.0)]),
    st.sampled_from(sorted(ACTIVATIONS)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=500)
def test_masked_and_compact_agree_in_logits_gradients_and_twenty_steps(
    conv, number, rule, case, gated, old, normalise
):
    """500 random plans: units of every layer, slots, strengths, activation, normalisation, slopes,
    weights, data, optimizer; old: moments and step counts of their own for every unit. Normalised
    layers have three units or more and learn at a tenth of the rate: two units that are almost
    equal are divided by almost nothing, and rounding grows from step to step."""
    generator = torch.Generator().manual_seed(number)
    architecture = architecture_for(case, CONVNET if conv else MLP)
    widths = random_widths(architecture, generator, least=3 if normalise else 1)
    alive = random_alive(architecture, widths, generator)
    optimizer = optim.Optimizer(rule[0], momentum=rule[1], weight_decay=1e-3)
    full = state_of(architecture, all_alive(architecture), optimizer.num_moments)
    full = with_history(full, generator) if old else full
    units = zip(full.units, alive, strict=True)
    state = replace(full, units=tuple(replace(part, alive=mask) for part, mask in units))
    x, y = random_batch(architecture, generator)
    slopes = random_slopes(case, architecture, generator)
    activation = engine_activation(case, slopes, normalise)
    strengths = random_strengths(alive, generator, 0.1 if gated else 1.0)
    copy, masked = gather(state), gather(full)
    mask_scale = tuple(mask * part for mask, part in zip(alive, strengths, strict=True))
    copy_scale = tuple(part.gather(1, s) for part, s in zip(strengths, copy.slots, strict=True))
    nets = (copy, copy_scale if gated else None), (masked, mask_scale)

    for step in range(20):
        logits = []
        for net, scale in nets:
            trace = forward(net.weights, x, activation, scale)
            _, grad_logits = cross_entropy(trace.logits, y)
            backward(net.weights, trace, grad_logits, net.grads, activation, scale)
            logits.append(trace.logits)
        if step == 0:
            assert_close(*logits, 1e-10)
            expected = take_units(masked.grads, copy.slots)
            for ours, theirs in zip(copy.grads.tensors(), expected.tensors(), strict=True):
                assert_close(ours, theirs, 1e-10)
        for net, _ in nets:
            optim.step_(net, optimizer, [0.005 if normalise else 0.05] * 2)
    expected = take_units(masked.weights, copy.slots)
    for ours, theirs in zip(copy.weights.tensors(), expected.tensors(), strict=True):
        assert_close(ours, theirs, 1e-10)


def test_scatter_puts_progress_back_and_leaves_masked_slots_alone():
    generator = torch.Generator().manual_seed(3)
    alive = random_alive(CONVNET, (2, 3, 4, 3, 2), generator)
    state = state_of(CONVNET, alive, 2)
    copy = gather(state)
    for weights in (copy.weights, *copy.moments):
        for tensor in weights.tensors():
            tensor.add_(1)
    after = scatter(state, copy)
    used = joined(CONVNET, alive)
    pairs = zip((state.weights, *state.moments), (after.weights, *after.moments), strict=True)
    for before, now in pairs:
        for old, new, known in zip(before.tensors(), now.tensors(), used, strict=True):
            assert torch.equal(new, torch.where(known, old + 1, old))
    for tensor, other in zip(copy.weights.tensors(), gather(after).weights.tensors(), strict=True):
        assert torch.equal(tensor, other)


def test_scatter_adds_the_steps_taken_to_alive_units_and_puts_running_means_back():
    generator = torch.Generator().manual_seed(3)
    state = state_of(CONVNET, random_alive(CONVNET, (2, 3, 4, 3, 2), generator))
    copy = gather(state)
    copy.taken = [7, 2]
    for units in copy.units:
        units.utility.add_(1)
        units.activity.add_(2)
    after = scatter(state, copy)
    assert after.shared_step.tolist() == [7, 2]
    for units in after.units:
        assert torch.equal(units.age, units.alive * torch.tensor([[7], [2]]))
        assert torch.equal(units.step, units.age)
        assert torch.equal(units.utility, units.alive.double())
        assert torch.equal(units.activity, 2 * units.alive.double())


def test_a_seed_alone_equals_the_seed_in_a_group():
    generator = torch.Generator().manual_seed(4)
    both = fresh_weights(CONVNET)
    one = fresh_weights(CONVNET, SEEDS[1:])
    x, y = random_batch(CONVNET, generator)
    _, _, grads = gradients(both, x, y)
    _, _, alone = gradients(one, x[1:], y[1:])
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


def test_ablation_is_the_rise_of_the_loss_of_a_network_without_the_unit():
    generator = torch.Generator().manual_seed(4)
    alive = random_alive(MLP, [7, 6], generator)
    state = new_state(fresh_weights(MLP), alive, 0)
    x, y = random_batch(MLP, generator)
    activation = engine_activation("relu")
    for layer in range(2):
        rise = ablation(state, layer, x, y, activation)
        assert (rise[~alive[layer]] == 0).all()
        for row, slot in alive[layer].nonzero().tolist():
            module = plain_module(state.weights, row)
            for index, mask in enumerate(alive):
                off = (~mask[row]).nonzero()[:, 0].tolist()
                with torch.no_grad():
                    module[2 * index + 3].weight[:, off] = 0
            whole = torch.nn.functional.cross_entropy(module(x[row]), y[row])
            with torch.no_grad():
                module[2 * layer + 3].weight[:, slot] = 0
            without = torch.nn.functional.cross_entropy(module(x[row]), y[row])
            assert_close(rise[row, slot], (without - whole).detach())
