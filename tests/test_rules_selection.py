"""Every selection rule: an example worked by hand, and what must hold for each of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from rule_views import F, G, H, N, Permuted, S, random_view, view_of
from torch import Tensor

from plasticity import catalogue, rng
from plasticity.rules import selection
from plasticity.rules.view import LayerView, Options

NAN = float("nan")
TABLES = {"grow": selection.GROW, "prune": selection.PRUNE}
ENTRIES = {"grow": catalogue.GROW_SELECTION, "prune": catalogue.PRUNE_SELECTION}
RULES = [(family, name) for family, table in TABLES.items() for name in table]
every_rule = pytest.mark.parametrize(("family", "name"), RULES)


def draws_of(seeds: int) -> list[np.random.Generator]:
    return [rng.stream(seed, "edit", 0, 1) for seed in range(seeds)]


def utility_of(family: str, name: str, view: LayerView, draws=None, **chosen: str) -> Tensor:
    defaults = {n: o.default for n, o in ENTRIES[family][name].options.items()}
    options: Options = {**defaults, **chosen}
    draws = draws_of(view.alive.shape[0]) if draws is None else draws
    return TABLES[family][name](view, draws, options)


def tensors_of(view: LayerView) -> dict[str, Tensor]:
    values = {field.name: getattr(view, field.name) for field in fields(view)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def mapped(view: LayerView, function: Callable[[Tensor], Tensor]) -> LayerView:
    return replace(view, **{name: function(value) for name, value in tensors_of(view).items()})


def hand_view(units: int = 3, **known) -> LayerView:
    """Return one layer of one network in which only what is named is known: the rest is NaN."""
    weights, bias, images = torch.zeros(1, units, 3), torch.zeros(1, units), torch.zeros(1, 4, 3)
    view = view_of(weights, bias, weights, images, images, alive=bias == 0)
    unknown = mapped(view, lambda t: torch.full_like(t, NAN) if t.is_floating_point() else t)
    tensors = {n: torch.tensor([v]) if isinstance(v, tuple) else v for n, v in known.items()}
    return replace(unknown, **tensors)


def per_unit(*units: Sequence[float] | Tensor) -> Tensor:
    """Return (1, N, H) from N values for each unit."""
    return torch.stack([torch.as_tensor(u, dtype=torch.float64) for u in units], 1)[None]


Example = tuple[LayerView, list[float]]
"""A view and the utility of each unit; NaN where it does not matter."""


def activation_frequency_example() -> Example:
    """Lillo & Cheney 2026, section 3: above 0.05 on 1, 3 and 4 of 4 images; 0.05 is not above."""
    hidden = per_unit((0.0, 0.05, 0.2, 0.0), (0.06, 1.0, 0.0, 0.3), (1.0, 2.0, 3.0, 4.0))
    return hand_view(hidden=hidden), [0.25, 0.75, 1.0]


def zero_share_example() -> Example:
    """Hu et al. 2016, equation 1: 3, 0 and 2 zeros of 4, so 1 - APoZ is 1/4, 1 and 1/2.

    0.01 is not a zero, though below the threshold; -1 counts as one.
    """
    hidden = per_unit((0.0, 0.0, 2.0, 0.0), (1.0, 0.01, 3.0, 4.0), (-1.0, 0.0, 0.5, 0.5))
    return hand_view(hidden=hidden), [0.25, 1.0, 0.5]


def activation_example() -> Example:
    """Molchanov et al. 2017, section 2.2: (1 + 1 + 2 + 0) / 4, 0, and (3 + 1 + 4 + 0) / 4."""
    hidden = per_unit((1.0, -1.0, 2.0, 0.0), (0.0, 0.0, 0.0, 0.0), (-3.0, 1.0, -4.0, 0.0))
    return hand_view(hidden=hidden), [1.0, 0.0, 2.0]


def incoming_magnitude_example() -> Example:
    """Lillo & Cheney 2026, section 3: (1 + 3) / 2, (0.5 + 0.5) / 2 and (0 + 2) / 2.

    The last input is masked: it counts neither above nor below the fraction bar.
    """
    incoming = ((1.0, -3.0, NAN), (0.5, 0.5, NAN), (0.0, -2.0, NAN))
    return hand_view(incoming=incoming, input_alive=(True, True, False)), [2.0, 0.5, 1.0]


def outgoing_magnitude_example() -> Example:
    """After Han et al. 2015, section 3: (2 + 4) / 2, (1 + 0) / 2, (1 + 1) / 2; one consumer off."""
    outgoing = ((-2.0, NAN, 4.0), (1.0, NAN, 0.0), (-1.0, NAN, -1.0))
    return hand_view(outgoing=outgoing, output_alive=(True, False, True)), [3.0, 0.5, 1.0]


def path_norm_example() -> Example:
    """After Neyshabur et al. 2015: |(3, 4)| |(0, 2)| = 5 x 2, 1 x 13 and 10 x 0.5."""
    view = hand_view(
        incoming=((3.0, 4.0, NAN), (-1.0, 0.0, NAN), (6.0, 8.0, NAN)),
        outgoing=((0.0, NAN, 2.0), (5.0, NAN, 12.0), (0.3, NAN, 0.4)),
        input_alive=(True, True, False),
        output_alive=(True, False, True),
    )
    return view, [10.0, 13.0, 5.0]


def contribution_example() -> Example:
    """Dohare et al. 2024, equation 1: what training has kept, untouched."""
    return hand_view(utility=(0.5, 0.0, 2.0)), [0.5, 0.0, 2.0]


def gradient_example() -> Example:
    """Lillo & Cheney 2026, section 5 and table 7: mean |f'(z) dL/dh|.

    Unit 0: (|1 x 2| + 0 + |1 x -1| + 0) / 4 = 0.75. Unit 1: 4 / 4, though its sum is 0. Unit 2 is
    silent, so it has none.
    """
    view = hand_view(
        derivative=per_unit((1.0, 0.0, 1.0, 0.0), (1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0)),
        flow=per_unit((2.0, 5.0, -1.0, 3.0), (-1.0, -1.0, 1.0, 1.0), (9.0, 9.0, 9.0, 9.0)),
    )
    return view, [0.75, 1.0, 0.0]


def two_images_with_two_places() -> LayerView:
    """h dL/dh: unit 0 has (2, -1) and (-2, 0), unit 1 (3, -3) and (0, 0), unit 2 (1, 1) twice.

    The sums over places, which are dL/dm of each image: (1, -2), (0, 0) and (2, 2).
    """
    return hand_view(
        hidden=per_unit((1.0, 0.5, 2.0, 0.0), (3.0, 1.0, 0.0, 0.0), (1.0, 1.0, 0.5, 0.25)),
        flow=per_unit((2.0, -2.0, -1.0, 7.0), (1.0, -3.0, 8.0, 8.0), (1.0, 1.0, 2.0, 4.0)),
        num_images=2,
    )


def taylor_example() -> Example:
    """Molchanov et al. 2017, equation 8: (|1| + |-2|) / 2, 0 and (2 + 2) / 2."""
    return two_images_with_two_places(), [1.5, 0.0, 2.0]


def snip_example() -> Example:
    """Lee et al. 2019, equation 6: |1 - 2| / 2, 0 and |2 + 2| / 2."""
    return two_images_with_two_places(), [0.5, 0.0, 2.0]


def fisher_example() -> Example:
    """Theis et al. 2018: (1 + 4) / 2 / 2, 0 and (4 + 4) / 2 / 2."""
    return two_images_with_two_places(), [1.25, 0.0, 2.0]


def hessian_example() -> Example:
    """LeCun et al. 1990: half the sum of w^2 d2L/dw2."""
    return hand_view(curvature=(4.0, -1.0, 0.0)), [2.0, -0.5, 0.0]


# Patterns over four images with mean 0, pairwise uncorrelated.
FAST, SLOW, BOTH = torch.tensor([(1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1)])


def redundancy_example() -> Example:
    """After Srinivas & Babu 2015; from weak to strong, with the mean activation in brackets.

    Unit 0 (0): never active, so -1. Unit 1 (1): 1 + FAST, the opposite of unit 2 (2): 2 - 2 FAST,
    so -1. Unit 2: its correlation with unit 3 (7): 7 + 3 FAST + 4 SLOW, is -3 / 5; the weaker unit
    1 does not count. Unit 3: only the masked unit 4, its double, is stronger, so 0.
    """
    strongest = 7 + 3 * FAST + 4 * SLOW
    hidden = per_unit(0 * FAST, 1 + FAST, 2 - 2 * FAST, strongest, 2 * strongest)
    alive = (True, True, True, True, False)
    return hand_view(5, hidden=hidden, alive=alive), [-1.0, -1.0, -0.6, 0.0, NAN]


def incoming_gradient_example() -> Example:
    """Evci et al. 2020: |(3, 4)|, |(0, -2)| and 0, the last input masked."""
    gradients = ((3.0, 4.0, NAN), (0.0, -2.0, NAN), (0.0, 0.0, NAN))
    return hand_view(incoming_gradient=gradients, input_alive=(True, True, False)), [5.0, 2.0, 0.0]


def gradmax_example() -> Example:
    """Lillo & Cheney 2026, section 6: |(3, 4)| + |(0, 1)|, |(0, -2)| + |(6, 8)| and 0 + 2."""
    view = hand_view(
        incoming_gradient=((3.0, 4.0, NAN), (0.0, -2.0, NAN), (0.0, 0.0, NAN)),
        outgoing_gradient=((0.0, NAN, 1.0), (6.0, NAN, 8.0), (-2.0, NAN, 0.0)),
        input_alive=(True, True, False),
        output_alive=(True, False, True),
    )
    return view, [6.0, 12.0, 2.0]


def decorrelation_example() -> Example:
    """After Maile et al. 2022: units 0 and 1, -FAST and SLOW, are alive.

    Unit 2, 3 FAST + 4 SLOW: correlations -3/5 and 4/5, so 1 - 4/5. Unit 3, BOTH: uncorrelated, so
    1, and its masked double, unit 4, does not count. Unit 5 is never active, so 0.
    """
    alive = (True, True, False, False, False, False)
    patterns = (2 - 2 * FAST, 1 + SLOW, 7 + 3 * FAST + 4 * SLOW, 1 + BOTH, 2 + 2 * BOTH, 0 * FAST)
    view = hand_view(6, hidden=per_unit(*patterns), alive=alive)
    return view, [NAN, NAN, 0.2, 1.0, 1.0, 0.0]


def random_example() -> Example:
    """The control: the first three uniform numbers of the seed's stream."""
    return hand_view(), list(rng.stream(0, "edit", 0, 1).random(3))


GOLDEN: Mapping[tuple[str, str], Callable[[], Example]] = {
    ("grow", "activation_frequency"): activation_frequency_example,
    ("grow", "random"): random_example,
    ("grow", "gradient"): gradient_example,
    ("grow", "incoming_gradient"): incoming_gradient_example,
    ("grow", "gradmax"): gradmax_example,
    ("grow", "decorrelation"): decorrelation_example,
    ("prune", "incoming_magnitude"): incoming_magnitude_example,
    ("prune", "random"): random_example,
    ("prune", "outgoing_magnitude"): outgoing_magnitude_example,
    ("prune", "path_norm"): path_norm_example,
    ("prune", "activation"): activation_example,
    ("prune", "activation_frequency"): activation_frequency_example,
    ("prune", "zero_share"): zero_share_example,
    ("prune", "contribution"): contribution_example,
    ("prune", "taylor"): taylor_example,
    ("prune", "gradient"): gradient_example,
    ("prune", "snip"): snip_example,
    ("prune", "fisher"): fisher_example,
    ("prune", "hessian"): hessian_example,
    ("prune", "redundancy"): redundancy_example,
}


def test_every_rule_has_a_golden_example():
    assert set(GOLDEN) == set(RULES)


@every_rule
def test_a_rule_agrees_with_its_golden_example(family, name):
    view, expected = GOLDEN[family, name]()
    utility = utility_of(family, name, view)[0].double()
    wanted = torch.tensor(expected, dtype=torch.float64)
    matters = ~wanted.isnan()
    torch.testing.assert_close(utility[matters], wanted[matters], rtol=1e-6, atol=1e-12)


def test_the_magnitude_over_all_inputs_has_the_initial_weights_of_masked_slots_in_it():
    """Lillo & Cheney 2026, section 3, read as a mean of the whole row: (1 + 3 + 2) / 3,
    (0.5 + 0.5 + 8) / 3 and (0 + 2 + 1) / 3, so the last unit goes; over inputs that are alive the
    second goes, of means 2, 0.5 and 1."""
    view = hand_view(
        incoming=((1.0, -3.0, 2.0), (0.5, 0.5, -8.0), (0.0, -2.0, 1.0)),
        input_alive=(True, True, False),
    )
    alive = utility_of("prune", "incoming_magnitude", view, inputs="alive")
    assert alive.tolist() == [[2.0, 0.5, 1.0]]
    whole = utility_of("prune", "incoming_magnitude", view, inputs="all")
    assert whole.tolist() == [[2.0, 3.0, 1.0]]


def test_of_two_copies_the_lower_slot_stays():
    hidden = per_unit(1 + FAST, 3 + SLOW, 1 + FAST)
    utility = utility_of("prune", "redundancy", hand_view(hidden=hidden))
    torch.testing.assert_close(utility, torch.tensor([[0.0, 0.0, -1.0]]).double())


def test_a_constant_is_constant_in_spite_of_rounding():
    """The mean of 0.1 over three images is not 0.1, so the deviations from it are not 0."""
    hidden = per_unit((0.1, 0.1, 0.1), (1.0, 2.0, 4.0))
    assert hidden.mean(1)[0, 0] != 0.1
    view = hand_view(2, hidden=hidden, alive=(True, True))
    assert utility_of("prune", "redundancy", view).tolist() == [[-1.0, 0.0]]
    view = hand_view(2, hidden=hidden, alive=(True, False))
    assert utility_of("grow", "decorrelation", view).tolist() == [[0.0, 1.0]]


def test_rounding_makes_no_copy_worse_than_a_constant():
    patterns = torch.randn(20, 13, generator=torch.Generator().manual_seed(0))
    hidden = per_unit(*patterns, *patterns)
    view = hand_view(40, hidden=hidden, alive=(True,) * 20 + (False,) * 20)
    assert utility_of("grow", "decorrelation", view).min() >= 0
    view = hand_view(40, hidden=hidden)
    assert utility_of("prune", "redundancy", view).min() >= -1


def test_hessian_refuses_a_view_without_curvature():
    with pytest.raises(ValueError, match="no curvature"):
        utility_of("prune", "hessian", hand_view(curvature=None))


@every_rule
def test_only_the_rules_that_are_said_to_read_gradients_refuse_a_view_without(family, name):
    """Others must work without them: an event measures gradients for these alone."""
    view = replace(random_view(), incoming_gradient=None, outgoing_gradient=None)
    if family == "grow" and name in selection.GROW_BY_GRADIENT:
        with pytest.raises(ValueError, match="no gradients"):
            utility_of(family, name, view)
    else:
        assert utility_of(family, name, view).shape == (S, H)


def test_random_draws_differ_between_seeds():
    utility = utility_of("prune", "random", random_view())
    assert not (utility[0] == utility[1]).any()


def along(tensor: Tensor, size: int) -> int:
    """Return the axis of one size: the sizes of a random view are pairwise different."""
    return tuple(tensor.shape).index(size)


def blinded(view: LayerView, unread: Tensor) -> LayerView:
    """Return the view with NaN in all that belongs to the unread units, inputs or consumers."""
    size = unread.shape[1]

    def blind(tensor: Tensor) -> Tensor:
        if size not in tensor.shape or not tensor.is_floating_point():
            return tensor
        shape = [1] * tensor.ndim
        shape[0], shape[along(tensor, size)] = unread.shape
        return torch.where(unread.reshape(shape), NAN, tensor)

    return mapped(view, blind)


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_the_sizes_of_a_random_view_tell_its_axes_apart():
    assert len({S, N, F, H, G}) == 5


@every_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_utility_is_a_finite_number_for_every_slot(family, name, dtype):
    view = mapped(random_view(), lambda t: t.to(dtype) if t.is_floating_point() else t)
    utility = utility_of(family, name, view)
    assert utility.shape == (S, H)
    assert utility.is_floating_point()
    assert utility.isfinite().all()


@every_rule
def test_a_rule_leaves_its_inputs_alone(family, name):
    view = random_view()
    before = {field: tensor.clone() for field, tensor in tensors_of(view).items()}
    utility_of(family, name, view)
    assert all(torch.equal(before[field], tensor) for field, tensor in tensors_of(view).items())


@every_rule
def test_a_seed_alone_has_the_utility_it_has_in_a_batch(family, name):
    view = random_view()
    together = utility_of(family, name, view)
    for seed in range(S):
        alone = mapped(view, lambda t, seed=seed: t[seed : seed + 1])
        utility = utility_of(family, name, alone, draws_of(S)[seed : seed + 1])
        same(utility, together[seed : seed + 1])


@every_rule
def test_the_same_stream_gives_the_same_utility(family, name):
    view = random_view()
    assert torch.equal(utility_of(family, name, view), utility_of(family, name, view))


@every_rule
def test_a_utility_moves_with_its_unit(family, name):
    view, order = random_view(), np.random.default_rng(4).permutation(H)
    permuted = mapped(
        view,
        lambda t: t.index_select(along(t, H), torch.from_numpy(order)) if H in t.shape else t,
    )
    draws = [Permuted(draw, order) for draw in draws_of(S)]
    same(utility_of(family, name, permuted, draws), utility_of(family, name, view)[:, order])


@every_rule
def test_only_what_a_rule_reads_matters(family, name):
    """NaN in weights from masked inputs and to masked consumers, and in all units but those that
    the catalogue lets the rule read, leaves the utility of the others as it was."""
    view = random_view()
    reads = {"alive": view.alive, "masked": ~view.alive, "both": view.alive | ~view.alive}
    read = reads[ENTRIES[family][name].reads]
    blind = view
    for unread in (~read, ~view.input_alive, ~view.output_alive):
        blind = blinded(blind, unread)
    assert blind.incoming.isnan().any()
    assert blind.outgoing.isnan().any()
    same(utility_of(family, name, blind)[read], utility_of(family, name, view)[read])


@every_rule
def test_only_correlations_depend_on_who_is_alive(family, name):
    """A utility is that of the slot as if it were alive, masked or not."""
    view = random_view()
    flipped = replace(view, alive=~view.alive)
    unmoved = torch.equal(utility_of(family, name, view), utility_of(family, name, flipped))
    assert unmoved == (name not in ("redundancy", "decorrelation"))
