"""One edit event: golden examples worked by hand, and what must hold for any event."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import CONVNET, MLP, SEEDS, all_alive, fresh_weights, random_alive, state_of

from plasticity import catalogue, rng
from plasticity.edit import Rules, apply_event, even_mask, random_mask
from plasticity.errors import CheckError
from plasticity.probe import UnitStatistics, unit_statistics
from plasticity.rules import insertion, selection
from plasticity.rules.selection import LayerView
from plasticity.schedule import Event
from plasticity.state import new_state

RULES = Rules("activation_frequency", "incoming_magnitude", "late_init")
NAN = float("nan")


def statistics_of(architecture, fill=None):
    generator = torch.Generator().manual_seed(9)
    rate = tuple(torch.rand(2, w, generator=generator).double() for w in architecture.widths)
    if fill is not None:
        rate = tuple(torch.full_like(r, fill) for r in rate)
    return UnitStatistics(rate, tuple(torch.rand_like(r) for r in rate))


def view_2x3() -> LayerView:
    """Two units with three inputs, the last input masked; one seed."""
    return LayerView(
        incoming=torch.tensor([[[1.0, -3.0, NAN], [0.5, 0.5, NAN]]]),
        alive=torch.tensor([[True, True]]),
        alive_inputs=torch.tensor([[True, True, False]]),
        activation_rate=torch.tensor([[0.25, 0.75]]),
        gradient=torch.tensor([[0.1, 0.2]]),
    )


def test_incoming_magnitude_by_hand():
    """(|1| + |-3|) / 2 = 2 and (0.5 + 0.5) / 2 = 0.5; the masked input's NaN is not read."""
    utility = selection.incoming_magnitude(view_2x3(), [])
    torch.testing.assert_close(utility, torch.tensor([[2.0, 0.5]]))


def test_activation_frequency_by_hand():
    """Activations above 0.05: unit 0 on one image of four, unit 1 on three; 0.05 is not above."""
    hidden = torch.tensor([[[0.0, 0.06], [0.05, 1.0], [0.2, 0.0], [0.0, 0.3]]])
    delta = torch.tensor([[[0.1, 0.0], [-0.2, 0.0], [0.0, 0.5], [0.3, -0.5]]])
    statistics = unit_statistics([hidden], [delta], 0.05)
    torch.testing.assert_close(statistics.activation_rate[0], torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(statistics.gradient[0], torch.tensor([[0.6, 1.0]]))
    view = LayerView(**(vars(view_2x3()) | {"activation_rate": statistics.activation_rate[0]}))
    assert torch.equal(selection.activation_frequency(view, []), statistics.activation_rate[0])


def test_random_selection_draws_each_seed_from_its_own_stream():
    """The utility of seed 3's slots is the first uniform draws of its stream, alone or not."""
    draws = [rng.stream(seed, "edit", 0, 1) for seed in SEEDS]
    view = LayerView(**(vars(view_2x3()) | {"alive": torch.ones(2, 4, dtype=torch.bool)}))
    both = selection.random(view, draws)
    expected = torch.from_numpy(rng.stream(3, "edit", 0, 1).random(4))
    assert torch.equal(both[1], expected)


@pytest.mark.parametrize("rule", [*selection.GROW.values(), *selection.PRUNE.values()])
def test_every_selection_rule_is_equivariant_and_leaves_its_inputs(rule):
    generator = torch.Generator().manual_seed(0)
    view = LayerView(
        incoming=torch.randn(2, 5, 7, generator=generator),
        alive=torch.rand(2, 5, generator=generator) > 0.5,
        alive_inputs=torch.ones(2, 7, dtype=torch.bool),
        activation_rate=torch.rand(2, 5, generator=generator),
        gradient=torch.rand(2, 5, generator=generator),
    )
    before = {name: tensor.clone() for name, tensor in vars(view).items()}

    def draws():
        return [rng.stream(seed, "edit", 0, 0) for seed in SEEDS]

    utility = rule(view, draws())
    assert utility.shape == (2, 5)
    assert torch.isfinite(utility).all()
    assert all(torch.equal(before[name], tensor) for name, tensor in vars(view).items())
    assert torch.equal(utility, rule(view, draws()))
    if rule is not selection.random:
        order = torch.tensor([3, 1, 4, 0, 2])
        permuted = LayerView(
            view.incoming[:, order],
            view.alive[:, order],
            view.alive_inputs,
            view.activation_rate[:, order],
            view.gradient[:, order],
        )
        assert torch.equal(rule(permuted, draws()), utility[:, order])


def test_late_init_reveals_the_initial_weights():
    weights = fresh_weights(MLP)
    assert insertion.late_init(weights, weights) is weights


def test_grow_takes_the_most_active_masked_units_ties_by_slot():
    alive = tuple(torch.zeros(2, w, dtype=torch.bool) for w in MLP.widths)
    for mask in alive:
        mask[:, 0] = True
    rate = (
        torch.tensor([[0.9, 0.1, 0.5, 0.5, 0.5] + [0.0] * 6, [0.9] + [0.0] * 9 + [0.2]]),
        torch.zeros(2, 9),
    )
    state = state_of(MLP, alive)
    after, record = apply_event(
        state,
        Event(0, 0, (2, 1), (0, 0), rewind=False),
        UnitStatistics(rate, rate),
        RULES,
        state.weights,
        SEEDS,
    )
    assert record.born[0].nonzero().tolist() == [[0, 2], [0, 3], [1, 1], [1, 10]]
    assert record.born[1].nonzero().tolist() == [[0, 1], [1, 1]]
    assert after.widths() == (3, 2)


def test_prune_removes_the_smallest_incoming_weights():
    weights = fresh_weights(MLP)
    weights.incoming[0][0] = torch.arange(11.0, 0.0, -1.0)[:, None].double()
    state = new_state(weights, all_alive(MLP), 0)
    _, record = apply_event(
        state,
        Event(0, 0, (0, 0), (3, 0), rewind=False),
        statistics_of(MLP),
        RULES,
        weights,
        SEEDS,
    )
    assert record.removed[0][0].nonzero()[:, 0].tolist() == [8, 9, 10]


@given(st.booleans(), st.integers(0, 10**6), st.data())
def test_any_event_moves_what_it_was_asked_and_touches_nothing_else(conv, number, data):
    architecture = CONVNET if conv else MLP
    generator = torch.Generator().manual_seed(number)
    widths = [data.draw(st.integers(1, w)) for w in architecture.widths]
    add = tuple(
        data.draw(st.integers(0, c - w)) for c, w in zip(architecture.widths, widths, strict=True)
    )
    remove = tuple(data.draw(st.integers(0, w - 1)) for w in widths)
    alive = random_alive(architecture, widths, generator)
    state = state_of(architecture, alive, 2)
    rules = Rules(
        data.draw(st.sampled_from(sorted(catalogue.GROW_SELECTION))),
        data.draw(st.sampled_from(sorted(catalogue.PRUNE_SELECTION))),
        data.draw(st.sampled_from(sorted(catalogue.INSERTION))),
    )
    event = Event(1, 8, add, remove, rewind=False)
    after, record = apply_event(
        state, event, statistics_of(architecture), rules, state.weights, SEEDS
    )
    assert after.widths() == tuple(w + a - r for w, a, r in zip(widths, add, remove, strict=True))
    for layer in range(len(widths)):
        born, removed = record.born[layer], record.removed[layer]
        assert born.sum(1).tolist() == [add[layer]] * 2
        assert removed.sum(1).tolist() == [remove[layer]] * 2
        assert not (born & removed).any()
        assert not (born & alive[layer]).any()
        assert (removed <= alive[layer]).all()
        assert (after.age[layer][born] == 0).all()
    for before, tensor in zip(state.weights.tensors(), after.weights.tensors(), strict=True):
        assert torch.equal(before, tensor)


def test_a_rewind_restores_weights_and_clears_moments_but_not_ages():
    state = state_of(MLP, all_alive(MLP), 2)
    initial = state.weights.map(torch.clone)
    trained = state_of(MLP, all_alive(MLP), 2)
    for tensor in (*trained.weights.tensors(), *trained.moments[1].tensors()):
        tensor.add_(1)
    for age in (*trained.age, *trained.unit_step, trained.shared_step):
        age.add_(40)
    after, _ = apply_event(
        trained,
        Event(2, 40, (0, 0), (1, 1), rewind=True),
        statistics_of(MLP),
        RULES,
        initial,
        SEEDS,
    )
    assert all(
        torch.equal(a, b) for a, b in zip(after.weights.tensors(), initial.tensors(), strict=True)
    )
    assert all(not tensor.any() for m in after.moments for tensor in m.tensors())
    assert all(not step.any() for step in (*after.unit_step, after.shared_step))
    assert all((age == 40).all() for age in after.age)


def test_an_event_that_cannot_be_met_fails():
    state = state_of(MLP, all_alive(MLP))
    with pytest.raises(CheckError, match="asked to move 12 units and has 11"):
        apply_event(
            state,
            Event(0, 0, (0, 0), (12, 0), rewind=False),
            statistics_of(MLP),
            RULES,
            state.weights,
            SEEDS,
        )


def test_a_diverged_seed_keeps_the_counts_of_the_others():
    state = state_of(MLP, all_alive(MLP))
    state.weights.incoming[0][0] = NAN
    after, _ = apply_event(
        state,
        Event(0, 0, (0, 0), (3, 2), rewind=False),
        statistics_of(MLP, fill=NAN),
        RULES,
        state.weights,
        SEEDS,
    )
    assert after.widths() == (8, 7)


def test_a_smaller_random_mask_is_part_of_a_larger_one():
    small = random_mask(SEEDS, "mask", 20, 0, 5)
    large = random_mask(SEEDS, "mask", 20, 0, 13)
    assert (small <= large).all()
    assert not torch.equal(large[0], large[1])


def test_an_even_mask_spreads_its_units():
    assert even_mask(1, 9, 3)[0].nonzero()[:, 0].tolist() == [0, 3, 6]
