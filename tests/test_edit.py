"""One edit event: what must hold for any event, whichever rules it uses."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import (
    CONVNET,
    MLP,
    SEEDS,
    all_alive,
    engine_activation,
    random_alive,
    random_batch,
    state_of,
    with_history,
)

from plasticity import catalogue, probe, rng
from plasticity.edit import Context, Record, Rules, apply_event
from plasticity.errors import CheckError, ConfigError
from plasticity.optim import Optimizer
from plasticity.rules import gate, selection
from plasticity.rules.view import LayerView
from plasticity.schedule import Event
from plasticity.sections import Choice
from plasticity.state import State
from plasticity.structure import even_mask, random_mask
from plasticity.units import input_mask, output_mask, slots_of
from plasticity.weights import Architecture

THRESHOLD = 0.05
BATCH = 40


def choice(table: dict[str, catalogue.Entry], rule: str, **options: Any) -> Choice:
    defaults = {name: option.default for name, option in table[rule].options.items()}
    return Choice(rule=rule, options=defaults | options)


def rules(
    grow: str = "activation_frequency",
    prune: str = "incoming_magnitude",
    insertion: str = "late_init",
    optimizer_state: str = "zero_step",
    **options: Any,
) -> Rules:
    return Rules(
        grow=choice(catalogue.GROW_SELECTION, grow),
        prune=choice(catalogue.PRUNE_SELECTION, prune),
        insertion=choice(catalogue.INSERTION, insertion, **options),
        optimizer_state=choice(catalogue.OPTIMIZER_STATE, optimizer_state),
    )


def context_of(state: State, batch: Any, chosen: Rules) -> Context:
    return Context(
        rules=chosen,
        initial=state.weights.map(torch.clone),
        seeds=SEEDS,
        optimizer=Optimizer("adam"),
        activation=engine_activation("relu"),
        batch_at=lambda step: batch,  # noqa: ARG005
        threshold=THRESHOLD,
    )


def measured(state: State, context: Context, gates: Any = None) -> probe.Measurement:
    return probe.measure(
        state,
        *context.batch_at(0),
        context.activation,
        gates,
        through_trunk=bool(state.weights.filters),
    )


def applied(state: State, event: Event, context: Context) -> tuple[State, Record]:
    return apply_event(state, event, measured(state, context), context)


def counts(architecture: Architecture, **layers: int) -> tuple[int, ...]:
    return tuple(layers.get(name, 0) for name in architecture.layer_names)


def setting(
    architecture: Architecture = MLP, chosen: Rules | None = None, moments: int = 2
) -> tuple[State, Context]:
    generator = torch.Generator().manual_seed(5)
    state = with_history(state_of(architecture, all_alive(architecture), moments), generator)
    batch = random_batch(architecture, generator, batch=BATCH)
    return state, context_of(state, batch, chosen or rules())


def half_alive(
    architecture: Architecture, number: int, chosen: Rules, normalise: bool = False
) -> tuple[State, Context]:
    generator = torch.Generator().manual_seed(number)
    alive = random_alive(architecture, [-(-w // 2) for w in architecture.units], generator)
    state = state_of(architecture, alive, 2)
    context = context_of(state, random_batch(architecture, generator, batch=BATCH), chosen)
    return state, replace(context, activation=engine_activation("relu", normalise=normalise))


def test_grow_takes_the_most_active_masked_units_ties_by_slot() -> None:
    """Slot 0 is alive. Biases decide: slots 2 and 3 are always on, 4 never, the rest are ties."""
    state, context = setting()
    mask = torch.zeros(2, 11, dtype=torch.bool)
    mask[:, 0] = True
    state = replace(state, units=(replace(state.units[0], alive=mask), state.units[1]))
    state.weights.incoming[0].zero_()
    state.weights.bias[0].fill_(-1.0)
    state.weights.bias[0][:, 2:4] = 1.0
    state.weights.bias[0][1, 10] = 1.0
    _, record = applied(state, Event(0, 0, (3, 0), (0, 0), rewind=False), context)
    assert record.born[0].nonzero().tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [1, 10]]
    assert not record.born[1].any()


def test_prune_removes_the_smallest_incoming_weights_and_leaves_initial_ones() -> None:
    state, context = setting()
    for tensor in state.weights.tensors():
        tensor.add_(0.5)
    state.weights.incoming[0][0] = torch.arange(11.0, 0.0, -1.0)[:, None].double()
    after, record = applied(state, Event(0, 0, (0, 0), (3, 0), rewind=False), context)
    assert record.removed[0][0].nonzero()[:, 0].tolist() == [8, 9, 10]
    now, start = slots_of(after.weights, 0), slots_of(context.initial, 0)
    gone = record.removed[0]
    assert torch.equal(now.incoming[gone], start.incoming[gone])
    assert torch.equal(now.bias[gone], start.bias[gone])
    assert torch.equal(now.outgoing[gone], start.outgoing[gone])


@given(st.booleans(), st.integers(0, 10**6), st.data())
def test_any_event_moves_what_it_was_asked_and_touches_nothing_else(
    conv: bool, number: int, data: st.DataObject
) -> None:
    architecture = CONVNET if conv else MLP
    generator = torch.Generator().manual_seed(number)
    units = architecture.units
    widths = [data.draw(st.integers(1, w)) for w in units]
    add = tuple(data.draw(st.integers(0, c - w)) for c, w in zip(units, widths, strict=True))
    remove = tuple(data.draw(st.integers(0, w - 1)) for w in widths)
    alive = random_alive(architecture, widths, generator)
    state = with_history(state_of(architecture, alive, 2), generator)
    drawn = {
        "grow": data.draw(st.sampled_from(sorted(catalogue.GROW_SELECTION))),
        "prune": data.draw(st.sampled_from(["incoming_magnitude", "taylor", "redundancy"])),
        "insertion": data.draw(st.sampled_from(["late_init", "zero_out", "norm_matched"])),
        "optimizer_state": data.draw(st.sampled_from(["zero_step", "stale", "donor"])),
    }
    context = context_of(state, random_batch(architecture, generator), rules(**drawn))
    before = state.weights.map(torch.clone)
    after, record = applied(state, Event(1, 8, add, remove, rewind=False), context)
    assert after.widths() == tuple(w + a - r for w, a, r in zip(widths, add, remove, strict=True))
    assert all(map(torch.equal, before.tensors(), state.weights.tensors()))
    touched = [born | gone for born, gone in zip(record.born, record.removed, strict=True)]
    for layer in range(len(widths)):
        born, removed = record.born[layer], record.removed[layer]
        assert born.sum(1).tolist() == [add[layer]] * 2
        assert removed.sum(1).tolist() == [remove[layer]] * 2
        assert not (born & removed).any()
        assert not (born & alive[layer]).any()
        assert (removed <= alive[layer]).all()
        assert (after.units[layer].age[born] == 0).all()
        assert (after.units[layer].cohort[born] == 1).all()
        now, was = slots_of(after.weights, layer), slots_of(before, layer)
        kept = ~touched[layer]
        entering = ~_from_touched(state, touched, layer)
        same = (now.incoming == was.incoming) | ~(kept[:, :, None] & entering[:, None])
        assert same.all(), "an incumbent's weights from incumbents changed"
        assert (now.bias == was.bias)[kept].all()


def _from_touched(state: State, touched: list[torch.Tensor], layer: int) -> torch.Tensor:
    """Return (S, F): which incoming weights of a layer come from units that the event moved."""
    if layer == 0:
        shape = slots_of(state.weights, 0).incoming.shape
        return torch.zeros((shape[0], shape[2]), dtype=torch.bool)
    return input_mask(state.weights, tuple(touched), layer)


def rewound_setting() -> tuple[State, Context]:
    state, context = setting()
    for tensor in state.weights.tensors():
        tensor.add_(1)
    units = tuple(replace(part, age=part.age + 40) for part in state.units)
    return replace(state, units=units), context


def test_a_rewind_restores_weights_and_clears_moments_but_not_ages() -> None:
    state, context = rewound_setting()
    after, record = applied(state, Event(2, 40, (0, 0), (1, 1), rewind=True), context)
    assert all(map(torch.equal, after.weights.tensors(), context.initial.tensors()))
    assert all(not tensor.any() for m in after.moments for tensor in m.tensors())
    assert not any(part.step.any() for part in after.units)
    assert not after.shared_step.any()
    assert all((part.age == 40).all() for part in after.units)
    assert all(int(gone.sum()) == 2 for gone in record.removed)


def test_without_a_rewind_the_weights_of_those_that_stay_are_the_trained_ones() -> None:
    state, context = rewound_setting()
    after, record = applied(state, Event(2, 40, (0, 0), (1, 1), rewind=False), context)
    stays = ~record.removed[0]
    assert torch.equal(after.weights.bias[0][stays], state.weights.bias[0][stays])
    assert not torch.equal(after.weights.bias[0][stays], context.initial.bias[0][stays])


def test_an_event_that_cannot_be_met_fails() -> None:
    state, context = setting()
    with pytest.raises(CheckError, match="asked to move 12 units and has 11"):
        applied(state, Event(0, 0, (0, 0), (12, 0), rewind=False), context)


def test_an_insertion_that_cannot_be_made_is_told_with_rule_layer_and_event() -> None:
    """Eleven inputs of fc2 at most, ten units there already: no two more directions are left."""
    chosen = rules(insertion="orthogonal")
    wide = replace(MLP, widths=(11, 14))
    generator = torch.Generator().manual_seed(0)
    state = state_of(wide, random_alive(wide, [11, 10], generator), 2)
    context = context_of(state, random_batch(wide, generator), chosen)
    expected = r"intervention.insertion: orthogonal, layer 1, event 3: .* 2 newborns .* at most 1"
    with pytest.raises(ConfigError, match=expected):
        applied(state, Event(3, 0, (0, 2), (0, 0), rewind=False), context)


def test_a_unit_is_removed_only_when_older_than_maturity() -> None:
    state, context = setting()
    ages = torch.tensor([[5, 6, 7, 8, 9, 1, 1, 1, 1, 1, 1]] * 2)
    state = replace(state, units=(replace(state.units[0], age=ages), state.units[1]))
    context = replace(context, rules=replace(context.rules, maturity=6))
    _, record = applied(state, Event(0, 0, (0, 0), (3, 0), rewind=False), context)
    assert record.removed[0].nonzero()[:, 1].tolist() == [2, 3, 4] * 2
    expected = r"asked to move 4 units and has 3 older than edit.maturity \(6\); set it lower"
    with pytest.raises(CheckError, match=expected):
        applied(state, Event(0, 0, (0, 0), (4, 0), rewind=False), context)


def test_a_removed_units_mean_goes_into_the_biases_it_fed() -> None:
    """A unit that is constant on the probe leaves no trace in the logits."""
    state, context = setting()
    state.weights.incoming[0][:, 4] = 0
    state.weights.bias[0][:, 4] = 3.0
    state.weights.incoming[0][:, [0, 1, 2, 3]] *= 10
    context = replace(context, rules=replace(context.rules, transfer=True))
    after, record = applied(state, Event(0, 0, (0, 0), (1, 0), rewind=False), context)
    assert record.removed[0].nonzero()[:, 1].tolist() == [4, 4]
    logits = [measured(part, context).trace.logits for part in (state, after)]
    torch.testing.assert_close(*logits, rtol=0, atol=1e-12)


def test_a_removed_units_mean_goes_into_no_masked_units_bias() -> None:
    state, context = setting()
    alive = state.alive[1].clone()
    alive[:, 2] = False
    state = replace(state, units=(state.units[0], replace(state.units[1], alive=alive)))
    context = replace(context, rules=replace(context.rules, transfer=True))
    after, _ = applied(state, Event(0, 0, (0, 0), (3, 0), rewind=False), context)
    changed = after.weights.bias[1] != state.weights.bias[1]
    assert torch.equal(changed, alive)


def test_pruning_by_curvature_takes_all_weights_of_a_unit() -> None:
    state, context = setting(chosen=rules(prune="hessian"))
    event = Event(0, 7, (0, 0), (3, 2), rewind=False)
    _, record = applied(state, event, context)
    found = probe.weighted_curvature(
        state,
        *context.batch_at(7),
        context.activation,
        int(context.rules.prune.options["probes"]),
        SEEDS,
    )
    for layer, count in enumerate((3, 2)):
        slots = slots_of(found, layer)
        parts = [slots.incoming, slots.bias[:, :, None], slots.outgoing]
        lowest = torch.cat(parts, 2).sum(2).argsort(1)[:, :count]
        expected = lowest.sort(1).values
        removed = record.removed[layer].nonzero()[:, 1].reshape(len(SEEDS), count)
        assert torch.equal(removed, expected)


def test_no_draw_is_used_for_two_things_and_its_key_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys are part of every result: selection has none behind the layer, insertion a 1."""
    firsts: list[float] = []
    real = rng.stream

    def stream(*key: Any) -> Any:
        firsts.append(real(*key).random())
        return real(*key)

    chosen = rules(grow="random", insertion="net2wider", noise=0.1)
    state, context = half_alive(MLP, 3, chosen)
    monkeypatch.setattr(rng, "stream", stream)
    applied(state, Event(3, 0, (2, 2), (0, 0), rewind=False), context)
    keys = [(layer, *more) for layer in (0, 1) for more in ((), (1,))]
    assert sorted(firsts) == sorted(
        real(seed, "edit", 3, *key).random() for seed in SEEDS for key in keys
    )
    assert len(set(firsts)) == len(firsts)


def test_the_dormant_are_replaced_in_their_slots_however_many_they_are() -> None:
    state, context = setting()
    state.weights.incoming[0][0, [2, 7]] = 0
    state.weights.bias[0][0, [2, 7]] = -1.0
    event = Event(1, 5, (0, 0), (0, 0), rewind=False, same_slots=True, tau=0.0)
    after, record = applied(state, event, context)
    assert record.removed[0].nonzero().tolist() == [[0, 2], [0, 7]]
    assert torch.equal(record.born[0], record.removed[0])
    assert after.widths() == state.widths()


DORMANT = Event(1, 5, (0, 0), (0, 0), rewind=False, same_slots=True, tau=0.025)


def with_a_dead_layer(insertion: str, optimizer_state: str = "zero_step") -> tuple[State, Context]:
    """Return two seeds; in the first no unit of the first layer is ever active."""
    state, context = setting(chosen=rules(insertion=insertion, optimizer_state=optimizer_state))
    state.weights.incoming[0][0] = 0
    state.weights.bias[0][0] = -1.0
    return state, context


def test_all_units_of_a_wholly_dead_layer_are_dormant_and_replaced() -> None:
    state, context = with_a_dead_layer("zero_out")
    after, record = applied(state, DORMANT, context)
    assert record.removed[0].all(1).tolist() == [True, False]
    assert torch.equal(record.born[0], record.removed[0])
    assert all(tensor.isfinite().all() for tensor in after.weights.tensors())
    assert (measured(after, context).trace.hidden[0][0] > 0).any()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (("norm_matched",), "insertion: norm_matched, layer 0, event 1: .* none stays in seeds"),
        (("zero_out", "donor"), "optimizer_state: donor, layer 0, event 1: .* none stays"),
    ],
)
def test_rules_that_match_newborns_to_those_that_stay_refuse_where_nobody_does(
    chosen: tuple[str, ...], message: str
) -> None:
    state, context = with_a_dead_layer(*chosen)
    with pytest.raises(ConfigError, match=message):
        applied(state, DORMANT, context)


def test_no_unit_of_a_diverged_seed_is_dormant() -> None:
    state, context = with_a_dead_layer("norm_matched")
    _, record = applied(replace(state, diverged=torch.tensor([4, -1])), DORMANT, context)
    assert not any(gone[0].any() for gone in record.removed)


def test_a_diverged_seed_keeps_the_counts_of_the_others_and_leaves_them_as_they_are() -> None:
    state, context = setting()
    healthy, _ = applied(state, Event(0, 0, (0, 0), (3, 2), rewind=False), context)
    state.weights.incoming[0][0] = float("nan")
    state = replace(state, diverged=torch.tensor([4, -1]))
    after, _ = applied(state, Event(0, 0, (0, 0), (3, 2), rewind=False), context)
    assert after.widths() == (8, 7)
    assert all(
        torch.equal(a[1], b[1])
        for a, b in zip(after.weights.tensors(), healthy.weights.tensors(), strict=True)
    )


@pytest.mark.parametrize(("count", "parts"), [(1, 1), (30, 30), (40, 40), (99, 40)])
def test_a_batch_is_cut_into_as_many_parts_as_are_asked_for(count: int, parts: int) -> None:
    state, context = setting()
    found = probe.gradients(state, *context.batch_at(0), context.activation, count)
    assert len(found) == parts


def broken_rule(view: LayerView, draws: Any, options: Any) -> torch.Tensor:  # noqa: ARG001
    utility = view.bias.clone()
    utility[1, 3] = float("nan")
    return utility


def test_a_utility_that_is_no_number_is_told_with_rule_and_seed(monkeypatch) -> None:
    monkeypatch.setitem(selection.PRUNE, "incoming_magnitude", broken_rule)
    state, context = setting()
    event = Event(0, 0, (0, 0), (3, 2), rewind=False)
    expected = rf"prune: incoming_magnitude, layer 0: got .* NaN in seeds \[{SEEDS[1]}\]"
    with pytest.raises(CheckError, match=expected):
        applied(state, event, context)
    after, _ = applied(replace(state, diverged=torch.tensor([-1, 4])), event, context)
    assert after.widths() == (8, 7)


def test_a_seed_that_diverged_in_the_last_step_does_not_stop_the_others() -> None:
    state, context = setting()
    state.weights.incoming[0][0] = float("nan")
    after, _ = applied(state, Event(0, 0, (0, 0), (3, 2), rewind=False), context)
    assert after.widths() == (8, 7)


@pytest.mark.parametrize("insertion", catalogue.INSERTION)
@pytest.mark.parametrize("grow", catalogue.GROW_SELECTION)
def test_a_diverged_seed_stops_no_rule_and_changes_nothing_for_the_others(
    grow: str, insertion: str
) -> None:
    """The seed's numbers reach matrix routines, which fail as a whole on a single NaN."""
    state, context = half_alive(MLP, 4, rules(grow=grow, insertion=insertion))
    event = Event(1, 0, (1, 1), (0, 0), rewind=False)
    expected, _ = applied(state, event, context)
    broken = state.weights.map(torch.clone)
    broken.incoming[0][0] = float("nan")
    diverged = replace(state, weights=broken, diverged=torch.tensor([4, -1]))
    after, _ = applied(diverged, event, context)
    for found, wanted in zip(after.weights.tensors(), expected.weights.tensors(), strict=True):
        torch.testing.assert_close(found[1], wanted[1])


# -- what newborns do to the function

PRESERVING = {
    "zero_out": ({}, True),
    "zero_in": ({}, False),
    "gradmax": ({}, False),
    "paired_cancel": ({}, True),
    "net2wider": ({"noise": 0.0}, True),
}
"""Options, and whether it is defined for channels."""
EVERYWHERE = [
    (name, architecture, options)
    for name, (options, trunk) in PRESERVING.items()
    for architecture in ("mlp", "head", *(("trunk",) if trunk else ()))
]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize(("name", "where", "options"), EVERYWHERE)
def test_the_function_stays_when_neighbouring_layers_grow_in_one_event(
    name: str, where: str, options: dict[str, Any], number: int
) -> None:
    architecture = MLP if where == "mlp" else CONVNET
    state, context = half_alive(architecture, number, rules(insertion=name, **options))
    room = [int((~part.alive[0]).sum()) for part in state.units]
    depth = 0 if where == "trunk" else len(architecture.trunk)
    add = tuple(min(3, free) * (layer >= depth) for layer, free in enumerate(room))
    after, record = applied(state, Event(1, 8, add, (0,) * len(add), rewind=False), context)
    assert all(int(born.sum()) == 2 * n for born, n in zip(record.born, add, strict=True))
    before, now = (measured(part, context).trace.logits for part in (state, after))
    assert (now - before).abs().max() <= 1e-12
    assert before.abs().max() > 0.1


@pytest.mark.parametrize("name", PRESERVING)
def test_a_newborn_moves_the_statistics_of_its_layer_and_so_the_function(name: str) -> None:
    options, _ = PRESERVING[name]
    state, context = half_alive(MLP, 0, rules(insertion=name, **options), normalise=True)
    after, _ = applied(state, Event(1, 8, (3, 3), (0, 0), rewind=False), context)
    before, now = (measured(part, context).trace.logits for part in (state, after))
    assert (now - before).abs().max() > 1e-2


@pytest.mark.parametrize("architecture", [MLP, CONVNET], ids=["mlp", "trunk"])
def test_a_gate_that_starts_at_zero_leaves_the_function_at_birth(
    architecture: Architecture,
) -> None:
    state, context = half_alive(architecture, 0, rules())
    add = tuple(min(3, int((~part.alive[0]).sum())) for part in state.units)
    after, _ = applied(state, Event(1, 8, add, (0,) * len(add), rewind=False), context)
    gates = gate.strengths(after.units, "linear", {"steps": 391})
    before, now = measured(state, context), measured(after, context, gates)
    assert (now.trace.logits - before.trace.logits).abs().max() <= 1e-12
    ungated = measured(after, context)
    assert (ungated.trace.logits - before.trace.logits).abs().max() > 1e-3


@pytest.mark.parametrize("normalise", [False, True], ids=["raw", "normalised"])
@pytest.mark.parametrize("number", range(3))
def test_the_gradient_that_matching_predicts_is_there_when_one_layer_grows(
    number: int, normalise: bool
) -> None:
    """The prediction is for the function before the event, so here newborns take no part yet.

    Their gradient is measured as if they were alive, which they become one by one.
    """
    state, context = half_alive(MLP, number, rules(insertion="gradient_matched"), normalise)
    alive = state.units[1].alive
    after, record = applied(state, Event(1, 8, (0, 3), (0, 0), rewind=False), context)
    units = (after.units[0], replace(after.units[1], alive=alive))
    signals = measured(replace(after, units=units), context).signals[1]
    assert signals is not None
    size = signals.delta.abs().mean(1)
    for row in range(len(SEEDS)):
        incumbents = size[row, alive[row]].mean()
        newborns = size[row, record.born[1][row]]
        felt = newborns > 0
        torch.testing.assert_close(
            newborns[felt] / incumbents, torch.ones(int(felt.sum())).double(), rtol=1e-6, atol=0
        )
        assert felt.any()


@pytest.mark.parametrize("insertion", ["tiny", "gradmax"])
def test_directions_do_not_depend_on_a_unit_that_is_replaced_in_the_same_event(
    insertion: str,
) -> None:
    """Both layers replace a unit in its slot; only what the removed one sent to removed ones, and
    so nothing that stays, differs between the two states."""
    found = []
    for factor in (1.0, 50.0):
        state, context = setting(chosen=rules(insertion=insertion))
        state.weights.incoming[0][:, 4] *= 1e-3
        state.weights.bias[0][:, 4] = 1e-3 * factor
        state.weights.incoming[1][:, 2] *= 1e-3
        state.weights.incoming[1][:, :, 4] = 0
        event = Event(1, 8, (1, 1), (1, 1), rewind=False, same_slots=True)
        after, record = applied(state, event, context)
        assert [gone.nonzero()[:, 1].tolist() for gone in record.removed] == [[4, 4], [2, 2]]
        entering = slots_of(after.weights, 1).incoming[:, 2]
        found.append((entering, slots_of(after.weights, 1).outgoing[:, 2]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_weights_between_newborns_of_neighbouring_layers_are_their_slots_own() -> None:
    """Nobody owns the block newborn -> newborn but the slots: it is as at step 0."""
    state, context = half_alive(MLP, 1, rules(insertion="norm_matched"))
    after, record = applied(state, Event(1, 8, (3, 3), (0, 0), rewind=False), context)
    block = record.born[1][:, :, None] & record.born[0][:, None]
    now = slots_of(after.weights, 1).incoming[block]
    # The consumers' rule scales whole rows, those from newborn inputs too.
    ratio = now / slots_of(context.initial, 1).incoming[block]
    per_unit = ratio.view(len(SEEDS), 3, 3)
    torch.testing.assert_close(per_unit, per_unit[:, :, :1].expand_as(per_unit))


def test_consumers_that_are_masked_are_no_part_of_a_newborn() -> None:
    state, context = half_alive(MLP, 2, rules(insertion="zero_out"))
    after, record = applied(state, Event(1, 8, (3, 0), (0, 0), rewind=False), context)
    masked = ~output_mask(state.weights, state.alive, 0)
    block = record.born[0][:, :, None] & masked[:, None]
    now, start = slots_of(after.weights, 0), slots_of(context.initial, 0)
    assert torch.equal(now.outgoing[block], start.outgoing[block])
    assert (now.outgoing[record.born[0][:, :, None] & ~masked[:, None]] == 0).all()


# -- masks that are drawn


def test_a_smaller_random_mask_is_part_of_a_larger_one() -> None:
    small = random_mask(SEEDS, "mask", 20, 0, 5)
    large = random_mask(SEEDS, "mask", 20, 0, 13)
    assert (small <= large).all()
    assert not torch.equal(large[0], large[1])


def test_an_even_mask_spreads_its_units() -> None:
    assert even_mask(1, 9, 3)[0].nonzero()[:, 0].tolist() == [0, 3, 6]
