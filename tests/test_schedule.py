"""Golden vectors are worked from Lillo & Cheney 2026, section 3 and tables 8 and 9.

Backbone of the paper's ConvNet: 64 channels of 8 x 8 before hidden layers of 512, 512 and 256.
"""

import math
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from plasticity import config, schedule, structure
from plasticity.catalogue import ALLOCATIONS
from plasticity.weights import Architecture
from plasticity.yaml12 import read_yaml

ROOT = Path(__file__).resolve().parents[1]
CONVNET = (64 * 8 * 8, 512, 512, 256)
MLP = (784, 256, 256)
NUMBERS_OF_CYCLES = st.integers(1, 12)
RULES = st.sampled_from(["ceil_remaining", "linear"])
SIZES = st.lists(st.integers(1, 700), min_size=2, max_size=5)


def counts_after_each_event(start, target, cycle_index):
    moved = schedule.moves(start, target, 5, cycle_index, "ceil_remaining")
    sign = 1 if target > start else -1
    return tuple(accumulate((sign * count for count in moved), initial=start))[1:]


# -- golden vectors


@pytest.mark.parametrize(
    ("cycle_index", "target", "counts"),
    [
        (0, 102, (430, 348, 266, 184, 102)),
        (0, 154, (440, 368, 296, 225, 154)),
        (0, 205, (450, 388, 327, 266, 205)),
        (0, 256, (460, 409, 358, 307, 256)),
        (1, 102, (409, 306, 204, 102, 102)),
        (1, 154, (422, 332, 243, 154, 154)),
        (1, 205, (435, 358, 281, 205, 205)),
        (1, 256, (448, 384, 320, 256, 256)),
    ],
)
def test_prune_passes_the_published_counts_of_512_units(cycle_index, target, counts):
    assert counts_after_each_event(512, target, cycle_index) == counts


@pytest.mark.parametrize(
    ("cycle_index", "start", "target", "counts"),
    [
        (0, 51, 102, (62, 72, 82, 92, 102)),
        (0, 51, 154, (72, 93, 114, 134, 154)),
        (0, 51, 205, (82, 113, 144, 175, 205)),
        (0, 51, 256, (92, 133, 174, 215, 256)),
        (1, 51, 102, (64, 77, 90, 102, 102)),
        (1, 51, 256, (103, 154, 205, 256, 256)),
        (0, 26, 128, (47, 68, 88, 108, 128)),
        (1, 26, 128, (52, 78, 103, 128, 128)),
    ],
)
def test_grow_passes_the_published_counts(cycle_index, start, target, counts):
    assert counts_after_each_event(start, target, cycle_index) == counts


@pytest.mark.parametrize(
    ("compactness", "targets"),
    [
        (0.2, (102, 102, 51)),
        (0.3, (154, 154, 77)),
        (0.4, (205, 205, 102)),
        (0.5, (256, 256, 128)),
    ],
)
def test_neutral_allocation_gives_the_published_targets(compactness, targets):
    assert schedule.unit_targets(CONVNET, compactness, ALLOCATIONS["neutral"]) == targets


@pytest.mark.parametrize(("compactness", "target"), [(0.2, 51), (0.3, 77), (0.4, 102), (0.5, 128)])
def test_an_mlp_gets_the_published_targets(compactness, target):
    assert schedule.unit_targets(MLP, compactness) == (target, target)


@pytest.mark.parametrize(
    ("allocation", "compactness", "exact"),
    [
        ("fc1_protect", 0.2, (105.7, 105.7, 21.1)),
        ("fc1_protect", 0.5, (264.3, 264.3, 52.9)),
        ("fc3_protect", 0.2, (94.9, 94.9, 118.6)),
        ("fc3_protect", 0.4, (189.8, 189.8, 237.3)),
        ("fc3_protect", 0.5, (241.8, 241.8, 256.0)),  # before: 237.3, 237.3, 296.6 > 256
        ("ends_skewed", 0.2, (108.1, 54.0, 54.0)),
        ("ends_skewed", 0.5, (270.2, 135.1, 135.1)),
    ],
)
def test_biased_allocation_gives_the_published_targets(allocation, compactness, exact):
    targets = schedule.unit_targets(CONVNET, compactness, ALLOCATIONS[allocation])
    assert targets == tuple(round(units) for units in exact)


# By hand, sizes 4096, 512, 512, 256: bias x mass is m + n = 4608, 1024, 768, in all 6400, and the
# mass 2490368. At 0.2, 498073.6 weights: 4608/6400 of them / 4096 = 87.55 units, 1024/6400 / 512 =
# 155.65 and 768/6400 / 512 = 116.74. At 0.5, 1245184 weights: the third would get 291.84 of 256
# units; 1245184 - 131072 = 1114112 are left: 4608/5632 of them / 4096 = 222.55 units and
# 1024/5632 / 512 = 395.64.
@pytest.mark.parametrize(
    ("compactness", "targets"), [(0.2, (88, 156, 117)), (0.5, (223, 396, 256))]
)
def test_erdos_renyi_allocation_by_hand(compactness, targets):
    bias = schedule.erdos_renyi_bias(CONVNET)
    assert schedule.unit_targets(CONVNET, compactness, bias) == targets


def test_erdos_renyi_bias_by_hand():
    assert schedule.erdos_renyi_bias((10, 8, 6)) == (18 / 80, 14 / 48)


@pytest.mark.parametrize(
    ("widths", "targets"),
    [
        # Hidden layers of 784-256-256 have mass 266240; m + n is 1040 and 512, in all 1552. At 0.2,
        # 53248 weights: 1040/1552 of them / 784 = 45.51 units, 512/1552 / 256 = 68.62.
        ((256, 256), (46, 69)),
        # One layer alone has the whole budget: 0.2 x 256.
        ((256,), (51,)),
    ],
)
def test_erdos_renyi_allocation_is_for_any_number_of_layers(widths, targets):
    tree = read_yaml(ROOT / "params.yaml")
    tree |= {"dataset": "mnist", "scale": "paper", "compactness": 0.2}
    tree["edit"]["allocation"] = "erk"
    tree["network"]["widths"] = list(widths)
    params = config.resolve(tree)
    assert structure.targets(params, Architecture((1, 28, 28), (), widths, 10)) == targets


def test_what_a_full_layer_cannot_take_goes_to_the_others_in_proportion():
    # By hand: masses 10*8=80, 8*6=48, 6*5=30; bias 1, 1, 9 -> the budget 0.5*158=79 gives the
    # last layer 270/398*79/6 = 8.9 > 5 units. 79-30=49 are left for masses 80 and 48:
    # 80/128*49/10 = 3.06 and 48/128*49/8 = 2.30.
    assert schedule.unit_targets((10, 8, 6, 5), 0.5, (1, 1, 9)) == (3, 2, 5)


def test_a_layer_that_only_redistribution_fills_is_clipped_too():
    # By hand: three masses of 25, so 60 weights to share; bias 1, 3, 4 -> 1.5, 4.5 and 6 units: the
    # third is full. The other 35 weights, shared 1 to 3, are 1.75 and 5.25 units: the second is
    # full as well, and 10 weights, 2 units, are left for the first.
    assert schedule.unit_targets((5, 5, 5, 5), 0.8, (1, 3, 4)) == (2, 5, 5)


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0.1), (40, 0.0905), (80, 0.0655), (120, 0.0345), (160, 0.0095)]
)
def test_the_cosine_rate_passes_the_published_values(epoch, rate):
    # Half of 0.1 * (1 + cos(pi * epoch / 200)), to four decimals.
    assert round(schedule.learning_rate("cosine", 0.1, epoch, 200, 5), 4) == rate


def test_the_cosine_rate_is_small_at_the_end():
    assert round(schedule.learning_rate("cosine", 0.1, 180, 200, 5), 4) == 0.0024


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.1), (20, 0.05), (39, 0.0002), (40, 0.1)])
def test_the_cosine_of_each_cycle_starts_anew(epoch, rate):
    # Cycles of 40 epochs: cos(pi * 39 / 40) = -0.99692.
    assert round(schedule.learning_rate("cosine_per_cycle", 0.1, epoch, 200, 5), 4) == rate


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0.2), (12, 0.2), (14, 0.1707), (16, 0.1), (18, 0.0293), (19, 0.0076)]
)
def test_the_held_rate_is_constant_first_and_then_one_cosine(epoch, rate):
    # 20 epochs, 12 at the full rate; then half of 0.2 * (1 + cos(pi * k / 8)), k = epoch - 12.
    assert round(schedule.learning_rate("hold_cosine", 0.2, epoch, 20, 5, 0.6), 4) == rate


def test_a_hold_leaves_more_of_the_budget_to_late_units_than_the_cosine():
    """Of 20 epochs, at 20, 40, 60 and 80 % of them.

    A cosine's budget is 10.5 epochs at the full rate, a hold's 12 + 4.5; 12.5, 8.5, 4.5 and 0.99
    of these are left.
    """
    left = {}
    for rule in ("cosine", "hold_cosine"):
        rates = [schedule.learning_rate(rule, 1.0, epoch, 20, 5, 0.6) for epoch in range(20)]
        left[rule] = [round(100 * sum(rates[at:]) / sum(rates), 1) for at in (4, 8, 12, 16)]
    assert left["cosine"] == [62.7, 31.5, 11.0, 1.7]
    assert left["hold_cosine"] == [75.8, 51.5, 27.3, 6.0]


@pytest.mark.parametrize(
    ("edits", "every", "last", "steps"),
    [
        (5, 10, None, (0, 10, 20, 30, 40)),
        (5, 10, 20.0, (0, 5, 10, 15, 20)),
        (5, 312, 624.0, (0, 156, 312, 468, 624)),
        (3, 10, 7.0, (0, 4, 7)),
        (1, 10, 7.0, (0,)),
    ],
)
def test_events_lie_evenly_up_to_the_last_one(edits, every, last, steps):
    assert schedule.event_steps(edits, every, last) == steps


@pytest.mark.parametrize("epoch", [3, 7, 199])
def test_the_constant_rate_is_constant(epoch):
    assert schedule.learning_rate("constant", 0.1, epoch, 200, 5) == 0.1


@pytest.mark.parametrize(
    ("capacity", "counts"), [((512, 512, 256), (51, 51, 26)), ((256, 256), (26, 26))]
)
def test_grow_starts_from_a_tenth_of_the_units(capacity, counts):
    assert schedule.seed_counts(capacity, 0.1) == counts


def test_grow_starts_from_at_least_one_unit_of_each_layer():
    assert schedule.seed_counts((3, 40), 0.1) == (1, 4)


def test_linear_moves_are_equal_steps():
    # By hand: 11 units in 4 events reach 2.75, 5.5, 8.25, 11 -> 3, 6, 8, 11.
    assert schedule.moves(2, 13, 4, 0, "linear") == (3, 3, 2, 3)


def test_uniform_targets_give_remainders_to_the_largest_fractions():
    # By hand: 10 of 11+7+5=23 units: 4.78, 3.04, 2.17 -> 4, 3, 2 and one more for the first.
    assert schedule.uniform_targets((11, 7, 5), 10) == (5, 3, 2)


def test_uniform_targets_prefer_the_first_of_equal_fractions():
    assert schedule.uniform_targets((9, 9, 9), 11) == (4, 4, 3)


# -- properties


@given(st.integers(0, 600), st.integers(0, 600), NUMBERS_OF_CYCLES, st.integers(0, 1), RULES)
def test_moves_sum_to_the_distance(start, target, cycles, cycle_index, rule):
    assert sum(schedule.moves(start, target, cycles, cycle_index, rule)) == abs(target - start)


@given(st.integers(0, 600), st.integers(0, 600), NUMBERS_OF_CYCLES, st.integers(0, 1), RULES)
def test_moves_are_never_negative(start, target, cycles, cycle_index, rule):
    assert min(schedule.moves(start, target, cycles, cycle_index, rule)) >= 0


@given(st.integers(0, 600), st.integers(0, 600), NUMBERS_OF_CYCLES, st.integers(0, 1), RULES)
def test_there_is_one_move_for_each_event(start, target, cycles, cycle_index, rule):
    assert len(schedule.moves(start, target, cycles, cycle_index, rule)) == cycles


@given(st.integers(0, 600), st.integers(0, 600), NUMBERS_OF_CYCLES, st.integers(0, 1), RULES)
def test_moves_never_overshoot(start, target, cycles, cycle_index, rule):
    moved = accumulate(schedule.moves(start, target, cycles, cycle_index, rule))
    assert max(moved) <= abs(target - start)


@given(st.integers(0, 600), st.integers(0, 600), NUMBERS_OF_CYCLES, RULES)
def test_growth_mirrors_pruning(start, target, cycles, rule):
    there = schedule.moves(start, target, cycles, 0, rule)
    assert there == schedule.moves(target, start, cycles, 0, rule)


@given(st.integers(1, 600), st.integers(2, 12))
def test_counted_from_one_the_last_event_moves_nothing(distance, cycles):
    assert schedule.moves(0, distance, cycles, 1, "ceil_remaining")[-1] == 0


@st.composite
def allocations(draw):
    sizes = draw(SIZES)
    bias = draw(st.lists(st.floats(0.1, 9), min_size=len(sizes) - 1, max_size=len(sizes) - 1))
    return sizes, bias


@given(allocations(), st.floats(0.001, 1))
def test_targets_lie_between_one_unit_and_the_capacity(case, compactness):
    sizes, bias = case
    targets = schedule.unit_targets(sizes, compactness, bias)
    assert all(1 <= units <= most for units, most in zip(targets, sizes[1:], strict=True))


@given(allocations(), st.floats(0.001, 1), st.floats(0.001, 1))
def test_more_weights_never_give_fewer_units(case, one, other):
    sizes, bias = case
    fewer = schedule.unit_targets(sizes, min(one, other), bias)
    more = schedule.unit_targets(sizes, max(one, other), bias)
    assert all(a <= b for a, b in zip(fewer, more, strict=True))


@given(allocations(), st.floats(0.001, 1))
def test_the_whole_budget_is_spent(case, compactness):
    sizes, bias = case
    masses = [inputs * width for inputs, width in pairwise(sizes)]
    targets = schedule.unit_targets(sizes, compactness, bias)
    spent = sum(units * inputs for units, inputs in zip(targets, sizes[:-1], strict=True))
    rounding = sum(max(1, inputs) for inputs in sizes[:-1])  # up to a unit in each layer
    assert abs(spent - compactness * sum(masses)) <= rounding


@given(SIZES)
def test_all_weights_give_all_units(sizes):
    assert schedule.unit_targets(sizes, 1.0) == tuple(sizes[1:])


@given(SIZES, st.floats(0.001, 1))
def test_a_neutral_allocation_keeps_the_same_share_of_every_layer(sizes, compactness):
    targets = schedule.unit_targets(sizes, compactness)
    for units, width in zip(targets, sizes[1:], strict=True):
        assert math.isclose(units, max(1, compactness * width), abs_tol=0.5 + 1e-9)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=4), st.floats(0.01, 1))
def test_uniform_targets_sum_to_the_total(capacity, share):
    total = round(share * sum(capacity))
    assume(total * min(capacity) >= sum(capacity))  # a unit and more for every layer
    assert sum(schedule.uniform_targets(capacity, total)) == total


@given(st.lists(st.integers(1, 700), min_size=1, max_size=4), st.floats(0.01, 1))
@example([100, 1, 1], 0.03)
def test_uniform_targets_sum_to_the_total_where_a_layer_has_less_than_a_unit(capacity, share):
    total = max(len(capacity), round(share * sum(capacity)))
    assert sum(schedule.uniform_targets(capacity, total)) == total


@given(st.lists(st.integers(1, 700), min_size=1, max_size=4), st.floats(0.01, 1))
def test_uniform_targets_lie_between_one_unit_and_the_capacity(capacity, share):
    total = max(len(capacity), round(share * sum(capacity)))
    counts = schedule.uniform_targets(capacity, total)
    assert all(1 <= units <= most for units, most in zip(counts, capacity, strict=True))


@given(st.lists(st.integers(1, 700), min_size=1, max_size=4), st.floats(0.01, 1))
def test_seeds_lie_between_one_unit_and_the_capacity(capacity, fraction):
    counts = schedule.seed_counts(capacity, fraction)
    assert all(1 <= units <= most for units, most in zip(counts, capacity, strict=True))


@given(
    st.sampled_from(["cosine", "cosine_per_cycle", "constant", "hold_cosine"]),
    st.floats(1e-6, 100),
    st.integers(1, 9),
    st.integers(1, 30),
)
def test_a_rate_lies_between_zero_and_its_setting(rule, lr, cycles, cycle_epochs):
    epochs = cycles * cycle_epochs
    rates = [
        schedule.learning_rate(rule, lr, epoch, epochs, cycles, 0.6) for epoch in range(epochs)
    ]
    assert rates[0] == lr
    assert all(0 < rate <= lr for rate in rates)


# -- the events of a whole experiment


@pytest.mark.parametrize("compactness", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize(
    "op", ["grow", "prune", "grow_then_prune", "prune_then_grow", "single_event"]
)
def test_events_end_at_the_targets(op, allocation, compactness):
    tree = read_yaml(ROOT / "params.yaml")
    tree |= {"op": op, "dataset": "cifar100", "scale": "paper", "compactness": compactness}
    tree["edit"]["allocation"] = allocation
    params = config.resolve(tree)
    backbone = Architecture((3, 32, 32), params.network.trunk, params.network.widths, 100)
    events = structure.events(
        params, backbone, structure.Clock(schedule.event_steps(params.edit.cycles, 40), 8, 200)
    )
    end = tuple(
        units + sum(event.add[layer] - event.remove[layer] for event in events)
        for layer, units in enumerate(structure.waypoints(params, backbone)[0])
    )
    assert end == structure.targets(params, backbone)


def test_a_unit_with_two_outputs_counts_twice_in_the_next_fan_in():
    """Fan-ins 8192, 1024, 1024: masses 512, 64 and 32 x 8192, so c = 0.2 is 121.6 x 8192.

    With biases 1.5, 1.5, 0.6 the shares are 768, 96 and 19.2 of 883.2 x 8192: 121.6 x 768 / 883.2
    = 105.7 units of 8192, 121.6 x 96 / 883.2 x 8 = 105.7 of 1024, 121.6 x 19.2 / 883.2 x 8 = 21.1.
    """
    sizes, bias = (8192, 512, 512, 256), (1.5, 1.5, 0.6)
    assert schedule.unit_targets(sizes, 0.2, bias, copies=2) == (106, 106, 21)
    assert schedule.unit_targets(sizes, 0.2, bias) == (104, 104, 21)
    assert schedule.erdos_renyi_bias(sizes, copies=2)[1] == (1024 + 512) / (1024 * 512)
