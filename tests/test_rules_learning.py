"""Rules between events and of the optimizer's state: examples by hand, and what must always hold.

Families: activation, gate, trainability, optimizer_state.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from plasticity import catalogue
from plasticity.optim import Gains, Optimizer, step_
from plasticity.rules import activation, gate, optimizer_state, trainability
from plasticity.rules.optimizer_state import Births
from plasticity.rules.trainability import Learners
from plasticity.rules.view import Options
from plasticity.state import FOUNDER, State, gather, new_state
from plasticity.units import Slots, slots_of, with_slots
from plasticity.weights import Weights

NAN = float("nan")
FAMILIES = {
    "activation": (catalogue.ACTIVATION, activation.TABLE),
    "gate": (catalogue.GATE, gate.TABLE),
    "trainability": (catalogue.TRAINABILITY, trainability.TABLE),
    "optimizer_state": (catalogue.OPTIMIZER_STATE, optimizer_state.TABLE),
}


def options_of(family: str, name: str, **changed: float | str) -> Options:
    entries, _ = FAMILIES[family]
    defaults = {key: option.default for key, option in entries[name].options.items()}
    assert set(changed) <= set(defaults)
    return defaults | changed


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Activations: value and derivative at z = -2, 0, 2 by hand; at 0 the derivative is torch's.
def at(name: str, *z: float, **options: float) -> tuple[Tensor, Tensor]:
    rule = activation.TABLE[name](options_of("activation", name, **options))
    points = tensor(*z)[None, :, None]  # three images of one unit
    h = rule.value(points.clone(), None, 2)
    derivative = rule.derivative(points, h, None, 2)
    return h[0, :, :], derivative[0, :, 0]


def relu_example() -> None:
    value, derivative = at("relu", -2, 0, 2)
    assert value[:, 0].tolist() == [0, 0, 2]
    assert derivative.tolist() == [0, 0, 1]


def leaky_relu_example() -> None:
    value, derivative = at("leaky_relu", -2, 0, 2, slope=0.1)
    torch.testing.assert_close(value[:, 0], tensor(-0.2, 0, 2))
    torch.testing.assert_close(derivative, tensor(0.1, 0.1, 1))


def gelu_example() -> None:
    """Phi(2) = 0.9772499, phi(2) = 0.0539910: h(2) = 1.9544997, h'(2) = Phi + 2 phi = 1.0852319;
    h(-2) = -2 (1 - Phi(2)) = -0.0455003, h'(-2) = 0.0227501 - 0.1079819 = -0.0852318; h'(0) = 0.5.
    """
    value, derivative = at("gelu", -2, 0, 2)
    torch.testing.assert_close(value[:, 0], tensor(-0.0455003, 0, 1.9544997), atol=1e-7, rtol=0)
    torch.testing.assert_close(derivative, tensor(-0.0852318, 0.5, 1.0852319), atol=2e-7, rtol=0)


def crelu_example() -> None:
    """relu(z) and relu(-z) side by side; their derivatives add up to the sign of z."""
    value, derivative = at("crelu", -2, 0, 2)
    assert value.tolist() == [[0, 2], [0, 0], [2, 0]]
    assert derivative.tolist() == [-1, 0, 1]


def smooth_leaky_example() -> None:
    """a = 0.2, c/p = 0.5: sigmoid(1) = 0.7310586. h(2) = 0.4 + 1.6 x 0.7310586 = 1.5696937;
    h(-2) = -0.4 - 1.6 x 0.2689414 = -0.8303063; h'(0) = 0.2 + 0.8 x 0.5 = 0.6;
    h'(2) = 0.2 + 0.8 (0.7310586 + 2 x 0.5 x 0.1966119) = 0.9421364."""
    value, derivative = at("smooth_leaky", -2, 0, 2, slope=0.2, c=1.0, p=2.0)
    torch.testing.assert_close(value[:, 0], tensor(-0.8303063, 0, 1.5696937), atol=1e-7, rtol=0)
    torch.testing.assert_close(derivative[1:], tensor(0.6, 0.9421364), atol=1e-7, rtol=0)


def random_smooth_leaky_example() -> None:
    """In evaluation the slope is the middle of 0.1 and 0.3, so it is the example above; in training
    a slope of 1 makes the function the identity."""
    fixed = {"lower": 0.1, "upper": 0.3, "c": 1.0, "p": 2.0}
    value, _ = at("random_smooth_leaky", -2, 0, 2, **fixed)
    torch.testing.assert_close(value[:, 0], tensor(-0.8303063, 0, 1.5696937), atol=1e-7, rtol=0)
    rule = activation.TABLE["random_smooth_leaky"](
        options_of("activation", "random_smooth_leaky", **fixed)
    )
    z = tensor(-2, 0, 2)[None, :, None]
    assert torch.equal(rule.value(z, torch.ones(1, 1, 1, dtype=torch.float64), 2), z)


# Gates: age 0, a quarter, half and all of 8 steps, and later.
AGES = torch.tensor([[0, 2, 4, 8, 20]])


def gate_none_example() -> None:
    assert gate.none(AGES, {}).tolist() == [[1, 1, 1, 1, 1]]


def gate_linear_example() -> None:
    assert gate.linear(AGES, {"steps": 8}).tolist() == [[0, 0.25, 0.5, 1, 1]]


def gate_cosine_example() -> None:
    """(1 - cos(pi / 4)) / 2 = 0.1464466 at a quarter."""
    torch.testing.assert_close(
        gate.cosine(AGES, {"steps": 8}), tensor(0, 0.1464466, 0.5, 1, 1)[None], atol=1e-7, rtol=0
    )


# Trainability: one hidden layer of three units, the last two inserted 2 and 30 steps ago.
def one_layer(
    incoming: list[list[float]], outgoing: list[list[float]], bias: list[float] | None = None
) -> Weights:
    """Return a network of one hidden layer from each unit's incoming and outgoing weights."""
    hidden = len(incoming)
    classes = len(outgoing[0])
    return Weights(
        (),
        (),
        (
            torch.tensor([incoming], dtype=torch.float64),
            torch.tensor([outgoing], dtype=torch.float64).mT.contiguous(),
        ),
        (tensor(*(bias or [0.0] * hidden))[None], torch.zeros(1, classes, dtype=torch.float64)),
    )


def learners_of(**changed: object) -> Learners:
    grads = one_layer([[3.0, 4.0], [0.3, 0.4], [6.0, 8.0]], [[1.0], [0.1], [2.0]])
    weights = one_layer([[30.0, 40.0], [30.0, 40.0], [3.0, 4.0]], [[1.0], [1.0], [1.0]])
    base = Learners(
        inserted=(torch.tensor([[False, True, True]]),),
        age=(torch.tensor([[500, 2, 30]]),),
        since_birth=2,
        step=500,
        rate=0.5,
        weights=weights,
        grads=grads,
    )
    return replace(base, **changed)


def gains_of(name: str, learners: Learners | None = None, **options: float | str) -> Gains | None:
    learners = learners_of() if learners is None else learners
    return trainability.TABLE[name](learners, options_of("trainability", name, **options))


def trainability_none_example() -> None:
    assert gains_of("none") is None


def two_speed_example() -> None:
    """Window 8: unit 1 (age 2) is newborn, unit 2 (age 30) no more. Factor 5 hard; linear
    1 + 4 (1 - 2/8) = 4; exponential 1 + 4 exp(-3/4) = 2.8894662. sides=in leaves outgoing at 1."""
    gains = gains_of("two_speed", steps=8, factor=5.0)
    assert gains is not None
    assert gains.on == "update"
    assert gains.newborn[0].tolist() == [[False, True, False]]
    assert gains.incoming[0].tolist() == gains.outgoing[0].tolist() == [[1, 5, 1]]
    linear = gains_of("two_speed", steps=8, factor=5.0, decay="linear", sides="in")
    assert linear is not None
    assert linear.incoming[0].tolist() == [[1, 4, 1]]
    assert linear.outgoing[0].tolist() == [[1, 1, 1]]
    fading = gains_of("two_speed", steps=8, factor=5.0, decay="exponential")
    assert fading is not None
    assert float(fading.incoming[0][0, 1]) == pytest.approx(1 + 4 * math.exp(-0.75))


def warm_up_example() -> None:
    """From 0.2 to 1 over 8 steps: at age 2, 0.2 + 0.8 x 2/8 = 0.4."""
    gains = gains_of("warm_up", steps=8, start=0.2)
    assert gains is not None
    torch.testing.assert_close(gains.incoming[0], tensor(1, 0.4, 1)[None])


def local_schedule_example() -> None:
    """Common rate 0.5 of the first; own cosine at age 2 of 8: (1 + cos(pi/4))/2 = 0.8535534, so the
    factor is 1.7071068; with a limit of 1.5, 1.5."""
    gains = gains_of("local_schedule", steps=8)
    assert gains is not None
    torch.testing.assert_close(gains.incoming[0], tensor(1, 1.7071068, 1)[None], atol=1e-7, rtol=0)
    limited = gains_of("local_schedule", steps=8, limit=1.5)
    assert limited is not None
    assert limited.outgoing[0].tolist() == [[1, 1.5, 1]]


def freeze_incumbents_example() -> None:
    gains = gains_of("freeze_incumbents", steps=8)
    assert gains is not None
    assert gains.incoming[0].tolist() == [[0, 1, 0]]
    assert gains.shared == 0


def gradient_normalisation_example() -> None:
    """Incoming root mean squares 5/sqrt 2, 0.5/sqrt 2, 10/sqrt 2: the incumbents' mean is
    7.5/sqrt 2, so the newborn's factor is 15, clamped to 10. Outgoing 1, 0.1, 2: factor 15, too."""
    gains = gains_of("gradient_normalisation", steps=8, clamp=100.0)
    assert gains is not None
    assert gains.on == "gradient"
    torch.testing.assert_close(gains.incoming[0], tensor(1, 15, 1)[None])
    torch.testing.assert_close(gains.outgoing[0], tensor(1, 15, 1)[None])
    clamped = gains_of("gradient_normalisation", steps=8)
    assert clamped is not None
    assert clamped.incoming[0].tolist() == [[1, 10, 1]]


def unit_clipping_example() -> None:
    """|w| = 50, 50, 5, a share of 0.05: limits 2.5, 2.5, 0.25; |g| = 5, 0.5, 10: factors 0.5, 1,
    0.025. Nobody is newborn, so outgoing weights are left to the units they enter."""
    gains = gains_of("unit_clipping", share=0.05)
    assert gains is not None
    torch.testing.assert_close(gains.incoming[0], tensor(0.5, 1, 0.025)[None])
    assert not gains.newborn[0].any()


def cohort_rates_example() -> None:
    """Unit 0 is as old as the run. Incoming norms 50, 50, 5, outgoing 1, 1, 1: factors 1, 1, 0.1
    and 1, 1, 1. With units 1 and 2 in one cohort its norm is (2500 + 25)^0.5 = 50.249, its root
    mean square over units 35.532; outgoing 2^0.5 and 1."""
    gains = gains_of("cohort_rates")
    assert gains is not None
    assert gains.on == "update"
    assert gains.newborn[0].tolist() == [[False, True, True]]
    torch.testing.assert_close(gains.incoming[0], tensor(1, 1, 0.1)[None])
    assert gains.outgoing[0].tolist() == [[1, 1, 1]]
    pair = learners_of(age=(torch.tensor([[500, 2, 2]]),))
    whole = gains_of("cohort_rates", pair)
    assert whole is not None
    torch.testing.assert_close(whole.incoming[0], tensor(1, 1.0049876, 1.0049876)[None])
    torch.testing.assert_close(whole.outgoing[0], tensor(1, 1.4142136, 1.4142136)[None])
    mean = gains_of("cohort_rates", pair, per="rms")
    assert mean is not None
    torch.testing.assert_close(mean.incoming[0], tensor(1, 0.7106335, 0.7106335)[None])
    torch.testing.assert_close(mean.outgoing[0], tensor(1, 1, 1)[None])


# Optimizer state: slots 0 and 1 are incumbents with moments, slot 2 is born, slot 3 masked.
def births_example(num_moments: int = 2) -> tuple[State, Births]:
    weights = one_layer([[1.0, 1.0]] * 4, [[1.0]] * 4)
    alive = (torch.tensor([[True, True, True, False]]),)
    state = new_state(weights, alive, num_moments)
    inwards = [[2.0, 4.0], [4.0, 8.0], [9.0, 9.0], [NAN, NAN]]
    first = one_layer(inwards, [[1.0], [3.0], [9.0], [NAN]], [1.0, 3.0, 9.0, NAN])
    second = first.map(lambda m: m * m)
    units = replace(state.units[0], step=torch.tensor([[40, 30, 7, 0]]))
    state = replace(
        state,
        moments=(first, second)[:num_moments],
        units=(units,),
        shared_step=torch.tensor([50]),
    )
    born = (torch.tensor([[False, False, True, False]]),)
    activity = (tensor(0.1, 0.9, 0.7, 0.7)[None],)
    grads = one_layer([[1.0, 2.0]] * 4, [[3.0]] * 4, [4.0] * 4)
    return state, Births(born, activity, Optimizer("adam"), lambda state, count: [grads] * count)  # noqa: ARG005


def after(name: str, **options: float | str) -> tuple[list[Slots], Tensor, State]:
    """Return each moment's slots and the counts after a rule."""
    state, births = births_example()
    result = optimizer_state.TABLE[name](
        state, births, options_of("optimizer_state", name, **options)
    )
    return [slots_of(moment, 0) for moment in result.moments], result.units[0].step[0], result


def newborn(slots: Slots) -> list[float]:
    """Return the moments of slot 2: incoming, bias, outgoing."""
    return [*slots.incoming[0, 2].tolist(), float(slots.bias[0, 2]), *slots.outgoing[0, 2].tolist()]


def zero_step_example() -> None:
    (first, second), step, _ = after("zero_step")
    assert newborn(first) == newborn(second) == [0, 0, 0, 0]
    assert step.tolist() == [40, 30, 0, 0]
    assert first.incoming[0, 0].tolist() == [2, 4]


def zero_example() -> None:
    """Moments as above, but the count of the weights that no unit owns: 50."""
    (first, _), step, _ = after("zero")
    assert newborn(first) == [0, 0, 0, 0]
    assert step.tolist() == [40, 30, 50, 0]


def stale_example() -> None:
    (first, second), step, _ = after("stale")
    assert newborn(first) == [9, 9, 9, 9]
    assert newborn(second) == [81, 81, 81, 81]
    assert step.tolist() == [40, 30, 50, 0]


def mean_incumbent_example() -> None:
    """(2 + 4)/2 = 3, (4 + 8)/2 = 6, bias and outgoing (1 + 3)/2 = 2; squares (4 + 16)/2 = 10."""
    (first, second), step, _ = after("mean_incumbent")
    assert newborn(first) == [3, 6, 2, 2]
    assert newborn(second) == [10, 40, 5, 5]
    assert step.tolist() == [40, 30, 50, 0]


def rms_only_example() -> None:
    (first, second), step, _ = after("rms_only")
    assert newborn(first) == [0, 0, 0, 0]
    assert newborn(second) == [10, 40, 5, 5]
    assert step.tolist() == [40, 30, 50, 0]


def donor_example() -> None:
    """Mean activations 0.1 and 0.9; the newborn's 0.7 is nearer to unit 1."""
    (first, second), step, _ = after("donor")
    assert newborn(first) == [4, 8, 3, 3]
    assert newborn(second) == [16, 64, 9, 9]
    assert step.tolist() == [40, 30, 30, 0]
    (first, second), _, _ = after("donor", moments="second")
    assert newborn(first) == [0, 0, 0, 0]
    assert newborn(second) == [16, 64, 9, 9]


def global_reset_example() -> None:
    (first, _), step, state = after("global_reset")
    assert first.incoming.abs().sum() == 0
    assert step.tolist() == [0, 0, 0, 0]
    assert state.shared_step.tolist() == [0]


def warm_probe_example() -> None:
    """Two equal gradients g: first moment (1 - 0.9^2) g = 0.19 g, second (1 - 0.999^2) g^2."""
    (first, second), step, _ = after("warm_probe", batches=2)
    assert newborn(first) == pytest.approx([0.19, 0.38, 0.76, 0.57])
    assert newborn(second) == pytest.approx([x * 0.001999 for x in (1, 4, 16, 9)])
    assert step.tolist() == [40, 30, 2, 0]


GOLDEN: dict[tuple[str, str], Callable[[], None]] = {
    ("activation", "relu"): relu_example,
    ("activation", "leaky_relu"): leaky_relu_example,
    ("activation", "gelu"): gelu_example,
    ("activation", "crelu"): crelu_example,
    ("activation", "smooth_leaky"): smooth_leaky_example,
    ("activation", "random_smooth_leaky"): random_smooth_leaky_example,
    ("gate", "none"): gate_none_example,
    ("gate", "linear"): gate_linear_example,
    ("gate", "cosine"): gate_cosine_example,
    ("trainability", "none"): trainability_none_example,
    ("trainability", "two_speed"): two_speed_example,
    ("trainability", "warm_up"): warm_up_example,
    ("trainability", "local_schedule"): local_schedule_example,
    ("trainability", "freeze_incumbents"): freeze_incumbents_example,
    ("trainability", "gradient_normalisation"): gradient_normalisation_example,
    ("trainability", "unit_clipping"): unit_clipping_example,
    ("trainability", "cohort_rates"): cohort_rates_example,
    ("optimizer_state", "zero_step"): zero_step_example,
    ("optimizer_state", "zero"): zero_example,
    ("optimizer_state", "stale"): stale_example,
    ("optimizer_state", "mean_incumbent"): mean_incumbent_example,
    ("optimizer_state", "rms_only"): rms_only_example,
    ("optimizer_state", "donor"): donor_example,
    ("optimizer_state", "global_reset"): global_reset_example,
    ("optimizer_state", "warm_probe"): warm_probe_example,
}


def test_every_rule_has_a_golden_example() -> None:
    rules = {(family, name) for family, (_, table) in FAMILIES.items() for name in table}
    assert set(GOLDEN) == rules


@pytest.mark.parametrize(("family", "name"), GOLDEN)
def test_the_example_worked_by_hand_holds(family: str, name: str) -> None:
    GOLDEN[family, name]()


@pytest.mark.parametrize("name", activation.TABLE)
def test_an_activation_is_what_autograd_says_and_alike_on_every_axis(name: str) -> None:
    rule = activation.TABLE[name](options_of("activation", name))
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    h = rule.value(z * 1, None, 1)
    assert h.shape == (2, 5 * rule.copies, 3, 4)
    flow = torch.randn(h.shape, generator=generator, dtype=torch.float64)
    h.backward(flow)
    ours = rule.pull(flow, (z * 1).detach(), h.detach(), None, 1)
    torch.testing.assert_close(ours, z.grad, rtol=0, atol=1e-12)
    swapped = rule.value(z.detach().movedim(1, -1).contiguous(), None, 3)
    torch.testing.assert_close(swapped, h.detach().movedim(1, -1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", activation.TABLE)
def test_only_monotone_activations_commute_with_pooling(name: str) -> None:
    rule = activation.TABLE[name](options_of("activation", name))
    z = torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before = rule.value(torch.max_pool2d(z, 2), None, 1)
    after_it = torch.max_pool2d(rule.value(z.clone(), None, 1), 2)
    assert torch.allclose(before, after_it) == rule.monotone


def test_a_random_slope_is_the_same_for_a_seed_alone_and_stays_within_its_bounds() -> None:
    options = options_of("activation", "random_smooth_leaky")
    both = activation.slopes("random_smooth_leaky", options, (0, 3), 2, "slope")
    one = activation.slopes("random_smooth_leaky", options, (3,), 2, "slope")
    assert both is not None
    assert one is not None
    for step in (0, 999, 1000, 2345):
        assert np.array_equal(both(step)[1:], one(step))
        assert (both(step) >= options["lower"]).all()
        assert (both(step) <= options["upper"]).all()
    assert not np.array_equal(both(0), both(1))


@pytest.mark.parametrize("name", trainability.TABLE)
def test_gains_of_a_seed_alone_are_those_in_a_batch(name: str) -> None:
    one = learners_of()
    two = Learners(
        tuple(torch.cat([t, ~t]) for t in one.inserted),
        tuple(torch.cat([t, t.flip(1)]) for t in one.age),
        one.since_birth,
        one.step,
        one.rate,
        one.weights.map(lambda t: torch.cat([t, t * 2])),
        one.grads.map(lambda t: torch.cat([t, t * 3])),
    )
    alone, both = gains_of(name, one), gains_of(name, two)
    if name == "none":
        assert alone is None
        return
    assert alone is not None
    assert both is not None
    for field in ("newborn", "incoming", "outgoing"):
        for a, b in zip(getattr(alone, field), getattr(both, field), strict=True):
            assert torch.equal(a, b[:1])
            assert torch.isfinite(b.double()).all()


@pytest.mark.parametrize("name", trainability.TABLE)
def test_gains_are_equivariant_to_permuting_units_and_leave_their_inputs(name: str) -> None:
    order = torch.tensor([2, 0, 1])
    base = learners_of()
    copies = [t.clone() for t in (*base.weights.tensors(), *base.grads.tensors())]

    def permuted(weights: Weights) -> Weights:
        slots = slots_of(weights, 0)
        moved = Slots(
            slots.incoming[:, order], slots.bias[:, order], slots.outgoing[:, order], None
        )
        return with_slots(weights, 0, moved)

    other = Learners(
        tuple(t[:, order] for t in base.inserted),
        tuple(t[:, order] for t in base.age),
        base.since_birth,
        base.step,
        base.rate,
        permuted(base.weights),
        permuted(base.grads),
    )
    a, b = gains_of(name, base), gains_of(name, other)
    if a is not None and b is not None:
        assert torch.equal(a.incoming[0][:, order], b.incoming[0])
        assert torch.equal(a.outgoing[0][:, order], b.outgoing[0])
    now = (*base.weights.tensors(), *base.grads.tensors())
    assert all(torch.equal(x, y) for x, y in zip(copies, now, strict=True))


FOR_EVER = {"unit_clipping", "cohort_rates"}
"""Rules without a window."""


@pytest.mark.parametrize("name", sorted(set(trainability.TABLE) - {"none"} - FOR_EVER))
def test_a_window_that_is_over_leaves_everybody_alike(name: str) -> None:
    assert gains_of(name, learners_of(since_birth=31), steps=31) is None


def test_cohort_rates_leave_all_alike_until_somebody_is_born_and_where_there_is_no_norm() -> None:
    assert gains_of("cohort_rates", learners_of(step=2)) is None  # born at step 0 at the latest
    gone = gains_of("cohort_rates", learners_of(step=501))  # all founders were replaced
    assert gone is not None
    assert gone.incoming[0].tolist() == [[1, 1, 1]]
    empty = one_layer([[30.0, 40.0], [0.0, 0.0], [3.0, 4.0]], [[1.0], [1.0], [0.0]])
    zero = gains_of("cohort_rates", learners_of(weights=empty))
    assert zero is not None
    torch.testing.assert_close(zero.incoming[0], tensor(1, 1, 0.1)[None])
    assert zero.outgoing[0].tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("name", optimizer_state.TABLE)
def test_a_rule_changes_newborns_alone_unless_it_resets_all(name: str) -> None:
    """Slots 0 and 1 keep their moments and counts; masked slot 3, full of NaN, is never read."""
    before, _ = births_example()
    moments, step, _ = after(name)
    changed = name == "global_reset"
    for old, new in zip(before.moments, moments, strict=True):
        kept = slots_of(old, 0)
        for a, b in ((kept.incoming, new.incoming), (kept.outgoing, new.outgoing)):
            assert torch.equal(a[0, :2], b[0, :2]) != changed
            assert torch.isfinite(b[0, 2]).all()
    assert (step[:2].tolist() == [40, 30]) != changed


@pytest.mark.parametrize("name", optimizer_state.TABLE)
def test_a_rule_does_not_change_the_state_it_is_given(name: str) -> None:
    state, births = births_example()
    held = [t.clone() for m in state.moments for t in m.tensors()] + [state.units[0].step.clone()]
    optimizer_state.TABLE[name](state, births, options_of("optimizer_state", name))
    now = [t for m in state.moments for t in m.tensors()] + [state.units[0].step]
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(held, now, strict=True))


LATE = {1: 3.16, 2: 4.25, 5: 5.80, 8: 6.38, 10: 6.53, 12: 6.57, 20: 6.24, 50: 4.50, 100: 3.24,
        300: 1.96, 1000: 1.26, 3000: 1.03}  # fmt: skip
"""Adam's update of a newborn with moments 0 and an old count, over that of a unit born with its
network, under a constant gradient: (1 - 0.9^k) / sqrt(1 - 0.999^k), by hand."""


@pytest.mark.parametrize(
    ("rule", "expected"), [("zero", LATE), ("zero_step", dict.fromkeys(LATE, 1.0))]
)
def test_the_late_birth_multiplier_of_adam_is_the_published_one(
    rule: str, expected: dict[int, float]
) -> None:
    """One weight under the constant gradient 1: Adam's step is lr, times the multiplier."""
    state, births = births_example()
    units = replace(state.units[0], step=torch.full((1, 4), 20_000))
    state = replace(state, units=(units,), shared_step=torch.tensor([20_000]))
    state = replace(
        state, moments=tuple(m.map(lambda t: t.nan_to_num() * 0) for m in state.moments)
    )
    born = optimizer_state.TABLE[rule](state, births, options_of("optimizer_state", rule))
    copy = gather(born)
    for tensor_ in copy.grads.tensors():
        tensor_.fill_(1.0)
    for step in range(1, 3001):
        before = copy.weights.incoming[0][0, 2, 0].item()
        step_(copy, Optimizer("adam"), [1e-3])
        moved = (before - copy.weights.incoming[0][0, 2, 0].item()) / 1e-3
        if step in expected:
            assert moved == pytest.approx(expected[step], abs=0.005 if rule == "zero" else 1e-5)


@pytest.mark.parametrize("young", [300, 3_000, 18_100])
def test_adam_corrects_by_the_younger_count_until_that_corrects_nothing(young: int) -> None:
    """The formula in float64 against single precision, before and after counts stop to matter."""
    state, _ = births_example()
    state = replace(
        state,
        weights=state.weights.map(lambda t: torch.zeros_like(t, dtype=torch.float32)),
        moments=tuple(m.map(lambda t: torch.full_like(t, 1e-3, dtype=torch.float32))
                      for m in state.moments),
        units=(replace(state.units[0], step=torch.tensor([[young, 10**6, 10**6, young]])),),
        shared_step=torch.tensor([10**6]),
    )  # fmt: skip
    copy = gather(state)
    for part in copy.grads.tensors():
        part.fill_(2e-3)
    step_(copy, Optimizer("adam"), [1e-1])
    t = copy.units[0].step.double() + 1
    m, v = 0.9 * 1e-3 + 0.1 * 2e-3, 0.999 * 1e-3 + 0.001 * 4e-6
    update = m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    moved = -copy.weights.bias[0].double() / 1e-1
    torch.testing.assert_close(moved, update, rtol=1e-5, atol=0)


def test_founders_are_at_full_strength_whatever_their_age() -> None:
    state, _ = births_example()
    cohort = torch.tensor([[FOUNDER, FOUNDER, 3, FOUNDER]])
    units = replace(state.units[0], cohort=cohort, age=torch.tensor([[0, 1, 2, 3]]))
    (strength,) = gate.strengths((units,), "linear", {"steps": 8})
    assert strength.tolist() == [[1, 1, 0.25, 1]]
