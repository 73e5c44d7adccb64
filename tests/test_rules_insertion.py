"""Every insertion rule: an example worked by hand, what must hold for each, and theorems."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import sqrt

import numpy as np
import pytest
import torch
from rule_views import DTYPE, F, G, H, N, Permuted, S, random_view, slots_of, view_of
from torch import Tensor

from plasticity import catalogue, rng
from plasticity.rules import insertion, newborns
from plasticity.rules.view import LayerView, Options, Slots

NAN = float("nan")
K = 3
ENTRIES = catalogue.INSERTION


def cases() -> list[tuple[str, dict[str, float | int | str]]]:
    """Return each rule with its defaults and with every other name of every option."""
    found = []
    for name, entry in ENTRIES.items():
        defaults = {key: option.default for key, option in entry.options.items()}
        found.append((name, defaults))
        for key, option in entry.options.items():
            if isinstance(option, catalogue.Name):
                others = [value for value in option.allowed if value != option.default]
                found += [(name, {**defaults, key: value}) for value in others]
    return found


def label(value: object) -> str | None:
    return "-".join(str(v) for v in value.values()) if isinstance(value, dict) else None


every_case = pytest.mark.parametrize(("name", "options"), cases(), ids=label)
every_rule = pytest.mark.parametrize("name", ENTRIES)


def draws_of(seeds: int = S) -> list[np.random.Generator]:
    return [rng.stream(seed, "edit", 0, 0, 1) for seed in range(seeds)]


def layer(number: int = 0, alive_units: int = 2, count: int = K) -> tuple[LayerView, Slots, Tensor]:
    """Return a random layer, its current weights and newborns in other slots of each seed."""
    view = random_view(number, alive_units)
    born = torch.zeros_like(view.alive)
    for row, masked in enumerate(~view.alive):
        free = masked.nonzero()[:, 0]
        born[row, free[torch.randperm(len(free), generator=torch.Generator().manual_seed(row))]] = (
            torch.arange(len(free)) < count
        )
    next_bias = torch.randn(S, G, generator=torch.Generator().manual_seed(number), dtype=DTYPE)
    return view, Slots(view.incoming, view.bias, view.outgoing, next_bias), born


def inserted(name: str, view, current, born, *, draws=None, initial=None, **options) -> Slots:
    defaults: Options = {key: option.default for key, option in ENTRIES[name].options.items()}
    initial = slots_of(view) if initial is None else initial
    draws = draws_of(len(born)) if draws is None else draws
    return insertion.TABLE[name](view, current, born, initial, draws, {**defaults, **options})


def tensors(thing: LayerView | Slots) -> dict[str, Tensor]:
    values = {part.name: getattr(thing, part.name) for part in fields(thing)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def mapped(thing, function: Callable[[str, Tensor], Tensor]):
    return replace(thing, **{name: function(name, t) for name, t in tensors(thing).items()})


def assert_equal(one: Slots, other: Slots, tolerance: float | None = None) -> None:
    for name, tensor in tensors(one).items():
        if tolerance is None:
            assert torch.equal(tensor, tensors(other)[name]), name
        else:
            torch.testing.assert_close(tensor, tensors(other)[name], rtol=0, atol=tolerance)


# Worked by hand


@dataclass(frozen=True)
class Example:
    """One network. Everything that is not written is NaN; the expectation lists every slot."""

    alive: list[int]
    born: list[int]
    current: tuple[list, list, list, list]
    expected: tuple[list, list, list, list]
    options: Mapping[str, float | int | str] = field(default_factory=dict)
    initial: tuple[list, list, list, list] | None = None
    draws: Mapping[str, list] = field(default_factory=dict)
    known: Mapping[str, list] = field(default_factory=dict)


class Given:
    """A generator that gives what is written; uniform draws one by one, as they can be skipped."""

    def __init__(self, draws: Mapping[str, list]) -> None:
        self._left = {name: list(values) for name, values in draws.items()}
        tables = self._left.pop("uniform", [])
        self._uniform = [x for table in tables for x in np.asarray(table, dtype=float).flat]
        self.bit_generator = self

    def __getattr__(self, name: str):
        return lambda *_: np.asarray(self._left[name].pop(0), dtype=float)

    def advance(self, count: int) -> None:
        del self._uniform[:count]

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
        assert (low, high) == (-1.0, 1.0)
        values = [self._uniform.pop(0) for _ in range(int(np.prod(shape)))]
        return np.reshape(values, shape)


def late_init_example() -> Example:
    """The slot keeps what it has. Lillo & Cheney 2026, section 3."""
    weights = ([[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0], [[7.0], [8.0]], [9.0])
    return Example([0], [1], weights, weights)


def small_example() -> Example:
    """A tenth of what slot 1 started from, whatever it holds now: (2, -4), 1 and 30."""
    return Example(
        [0],
        [1],
        ([[1.0, 1.0], [9.0, 9.0]], [1.0, 9.0], [[1.0], [9.0]], [5.0]),
        ([[1.0, 1.0], [0.2, -0.4]], [1.0, 0.1], [[1.0], [3.0]], [5.0]),
        {"scale": 0.1},
        initial=([[NAN, NAN], [2.0, -4.0]], [NAN, 1.0], [[NAN], [30.0]], [NAN]),
    )


FOUR = ([[1.0] * 4] * 4, [1.0] * 4, [[1.0]] * 4, [5.0])
DRAWN = [
    [[0.0] * 4, [0.8, -0.6, 0.4, 1.0], [0.0] * 4, [0.0] * 4],
    [0.0, 0.2, 0.0, 0.0],
    [[0.0], [0.5], [0.0], [0.0]],
]


def fresh_example() -> Example:
    """F = H = 4, so every bound is 1 / sqrt(4): half of each draw from U(-1, 1).

    torch.nn.Linear; He et al. 2015, section 2.2.
    """
    incoming = [[1.0] * 4, [0.4, -0.3, 0.2, 0.5], [1.0] * 4, [1.0] * 4]
    expected = (incoming, [1.0, 0.1, 1.0, 1.0], [[1.0], [0.25], [1.0], [1.0]], [5.0])
    return Example([0], [1], FOUR, expected, draws={"uniform": DRAWN})


def zero_out_example() -> Example:
    """The incoming draw of ``fresh``; all else is 0. Dohare et al. 2024, algorithm 1."""
    incoming = [[1.0] * 4, [0.4, -0.3, 0.2, 0.5], [1.0] * 4, [1.0] * 4]
    expected = (incoming, [1.0, 0.0, 1.0, 1.0], [[1.0], [0.0], [1.0], [1.0]], [5.0])
    return Example([0], [1], FOUR, expected, draws={"uniform": DRAWN})


def zero_in_example() -> Example:
    """relu(0.5) (2, -4) = (1, -2) leaves the next biases (1, 1): (0, 3). Evci et al. 2022."""
    return Example(
        [0],
        [1],
        ([[1.0], [9.0]], [1.0, 9.0], [[1.0, 1.0], [2.0, -4.0]], [1.0, 1.0]),
        ([[1.0], [0.0]], [1.0, 0.5], [[1.0, 1.0], [2.0, -4.0]], [0.0, 3.0]),
        {"bias": 0.5},
    )


def gradmax_example() -> Example:
    """Inputs (2, 0) and (0, 2), errors (0, -3) and (1, 0): B = [[0, -1], [3, 0]].

    Singular values 3 and 1, left vectors (0, 1) and (1, 0). Outgoing norms 5 and 1, mean 3, times
    1/2: (0, 1.5) and (1.5, 0). Constant output 1/2: each next bias loses 0.75. Evci et al. 2022,
    equation 11.
    """
    return Example(
        [0, 3],
        [1, 2],
        ([[1.0, 1.0]] * 4, [1.0] * 4, [[3.0, 4.0], [NAN, NAN], [NAN, NAN], [0.0, 1.0]], [1.0, 2.0]),
        (
            [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]],
            [1.0, 0.5, 0.5, 1.0],
            [[3.0, 4.0], [0.0, 1.5], [1.5, 0.0], [0.0, 1.0]],
            [0.25, 1.25],
        ),
        {"scale": 0.5, "bias": 0.5},
        known={"inputs": [[2.0, 0.0], [0.0, 2.0]], "error": [[0.0, -3.0], [1.0, 0.0]]},
    )


def tiny_example() -> Example:
    """Inputs (4, 0) and (0, -1), errors (0, -1) and (-3, 0), two images.

    S = diag(16, 1) / 2, N = [[0, 4], [-3, 0]] / 2, S^(-1/2) N = [[0, 1], [-3, 0]] / sqrt(2). First
    -3: (0, 1) in, (-1, 0) out, which relu never lets through, so (0, -1) in, (1, 0) out. Then 1:
    (1, 0) in, (0, 1) out. Without S the order would be the other. Norms: mean of 1 and 3 in, half
    the mean of 5 and 1 out. Verbockhaven et al. 2024, proposition 3.2.
    """
    return Example(
        [0, 3],
        [1, 2],
        (
            [[1.0, 0.0], [NAN, NAN], [NAN, NAN], [0.0, 3.0]],
            [1.0] * 4,
            [[3.0, 4.0], [NAN, NAN], [NAN, NAN], [0.0, 1.0]],
            [1.0, 2.0],
        ),
        (
            [[1.0, 0.0], [0.0, -2.0], [2.0, 0.0], [0.0, 3.0]],
            [1.0, 0.0, 0.0, 1.0],
            [[3.0, 4.0], [1.5, 0.0], [0.0, 1.5], [0.0, 1.0]],
            [1.0, 2.0],
        ),
        {"scale": 0.5, "projection": "none"},
        known={"inputs": [[4.0, 0.0], [0.0, -1.0]], "error": [[0.0, -1.0], [-3.0, 0.0]]},
    )


def net2wider_example() -> Example:
    """Two incumbents in the order of their second draws: slot 2, then slot 0.

    First draws 0.9 and 0.6 times 2 are ranks 1 and 1: slot 0 is the donor of both, and three share
    (6, -3). Its row (1, 7) has root mean square 5, half of it is 2.5: draws (1, -1) and (0, 2) give
    (3.5, 4.5) and (1, 12). Chen et al. 2016, section 2.1.
    """
    rows = [[1.0, 7.0], [3.5, 4.5], [2.0, 2.0], [1.0, 12.0]]
    shared = [2.0, -1.0]
    return Example(
        [0, 2],
        [1, 3],
        (
            [[1.0, 7.0], [NAN, NAN], [2.0, 2.0], [NAN, NAN]],
            [4.0, NAN, 8.0, NAN],
            [[6.0, -3.0], [NAN, NAN], [1.0, 1.0], [NAN, NAN]],
            [1.0, 2.0],
        ),
        (rows, [4.0, 4.0, 8.0, 4.0], [shared, shared, [1.0, 1.0], shared], [1.0, 2.0]),
        {"noise": 0.5},
        draws={
            "random": [[0.1, 0.9, 0.1, 0.6], [0.7, 0.0, 0.3, 0.0]],
            "standard_normal": [[[9.0, 9.0], [1.0, -1.0], [9.0, 9.0], [0.0, 2.0]]],
        },
    )


def paired_cancel_example() -> Example:
    """Three newborns, all like slot 1: out go v, -v/2 and -v/2. Yuan et al. 2023, section 3.1."""
    unread, row, nine = [NAN, NAN], [2.0, 3.0], [9.0, 9.0]
    return Example(
        [0],
        [1, 2, 3],
        (
            [unread, row, nine, nine],
            [NAN, 1.0, 9.0, 9.0],
            [unread, [8.0, -4.0], nine, nine],
            [1.0, 2.0],
        ),
        (
            [unread, row, row, row],
            [NAN, 1.0, 1.0, 1.0],
            [unread, [8.0, -4.0], [-4.0, 2.0], [-4.0, 2.0]],
            [1.0, 2.0],
        ),
    )


UNIT = 1 / sqrt(3)
"""A draw that becomes 1 when it is given a standard deviation of 1."""
SIGNS = [
    [[0.0, 0.0], [UNIT, -UNIT], [-UNIT, UNIT], [0.0, UNIT]],
    [0.0, UNIT, 0.0, -UNIT],
    [[0.0, 0.0], [UNIT, UNIT], [0.0, -UNIT], [UNIT, 0.0]],
]


def variance_transfer_example() -> Example:
    """One unit becomes four: its (2, -2) is halved to (1, -1), root mean square 1.

    Incoming (1, 7) has 5, for the weights and the bias. Yuan et al. 2023, section 3.2.
    """
    return Example(
        [0],
        [1, 2, 3],
        (
            [[1.0, 7.0], [NAN, NAN], [NAN, NAN], [NAN, NAN]],
            [9.0, NAN, NAN, NAN],
            [[2.0, -2.0], [NAN, NAN], [NAN, NAN], [NAN, NAN]],
            [1.0, 2.0],
        ),
        (
            [[1.0, 7.0], [5.0, -5.0], [-5.0, 5.0], [0.0, 5.0]],
            [9.0, 5.0, 0.0, -5.0],
            [[1.0, -1.0], [1.0, 1.0], [0.0, -1.0], [1.0, 0.0]],
            [1.0, 2.0],
        ),
        draws={"uniform": SIGNS},
    )


def statistics_matched_example() -> Example:
    """Root mean squares about 0: incoming (1, 7, 7, 1) 5, biases (2, 2) 2, outgoing 3 everywhere.

    About their means they would be 3, 0 and 0. gromo, copy_uniform.
    """
    return Example(
        [0, 3],
        [1, 2],
        (
            [[1.0, 7.0], [NAN, NAN], [NAN, NAN], [7.0, 1.0]],
            [2.0, NAN, NAN, 2.0],
            [[3.0, 3.0], [NAN, NAN], [NAN, NAN], [3.0, 3.0]],
            [1.0, 2.0],
        ),
        (
            [[1.0, 7.0], [5.0, -5.0], [-5.0, 5.0], [7.0, 1.0]],
            [2.0, 2.0, 0.0, 2.0],
            [[3.0, 3.0], [3.0, 3.0], [0.0, -3.0], [3.0, 3.0]],
            [1.0, 2.0],
        ),
        draws={"uniform": SIGNS},
    )


def norm_matched_example() -> Example:
    """Incoming norms 5 and 1, mean 3: (0, 6) and its bias are halved. Outgoing norms 2 and 4, mean
    3: (3, 4) of norm 5 becomes (1.8, 2.4). The other newborn has nothing that a factor could scale.
    """
    return Example(
        [0, 3],
        [1, 2],
        (
            [[3.0, 4.0], [0.0, 6.0], [0.0, 0.0], [0.0, 1.0]],
            [9.0, 4.0, 7.0, 9.0],
            [[0.0, 2.0], [3.0, 4.0], [0.0, 0.0], [4.0, 0.0]],
            [1.0, 2.0],
        ),
        (
            [[3.0, 4.0], [0.0, 3.0], [0.0, 0.0], [0.0, 1.0]],
            [9.0, 2.0, 7.0, 9.0],
            [[0.0, 2.0], [1.8, 2.4], [0.0, 0.0], [4.0, 0.0]],
            [1.0, 2.0],
        ),
    )


def gradient_matched_example() -> Example:
    """Mean |dL/dz| 1 and 3 of the incumbents, mean 2; 4 of slot 1: halved; 0 of slot 2: kept."""
    ones, kept = [1.0, 1.0], [3.0, 3.0]
    return Example(
        [0, 3],
        [1, 2],
        ([ones] * 4, [1.0] * 4, [ones, [6.0, -2.0], kept, ones], [1.0, 2.0]),
        ([ones] * 4, [1.0] * 4, [ones, [3.0, -1.0], kept, ones], [1.0, 2.0]),
        known={
            "derivative": [[1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0]],
            "flow": [[1.0, -3.0, 7.0, -6.0], [-1.0, 5.0, 7.0, 9.0]],
        },
    )


def orthogonal_example() -> Example:
    """(5, 3, 4) without the direction (2, 0, 0) is (0, 3, 4); at norm 2: (0, 1.2, 1.6).

    Outgoing (0, 1) is brought to the norm 5 of (3, 4). After Maile et al. 2022.
    """
    return Example(
        [0],
        [1],
        ([[2.0, 0.0, 0.0], [9.0] * 3], [1.0, 7.0], [[3.0, 4.0], [0.0, 1.0]], [1.0, 2.0]),
        ([[2.0, 0.0, 0.0], [0.0, 1.2, 1.6]], [1.0, 7.0], [[3.0, 4.0], [0.0, 5.0]], [1.0, 2.0]),
        draws={"standard_normal": [[[9.0] * 3, [5.0, 3.0, 4.0]]]},
    )


GOLDEN: dict[str, Callable[[], Example]] = {
    "late_init": late_init_example,
    "fresh": fresh_example,
    "small": small_example,
    "zero_out": zero_out_example,
    "zero_in": zero_in_example,
    "gradmax": gradmax_example,
    "tiny": tiny_example,
    "net2wider": net2wider_example,
    "paired_cancel": paired_cancel_example,
    "variance_transfer": variance_transfer_example,
    "statistics_matched": statistics_matched_example,
    "norm_matched": norm_matched_example,
    "gradient_matched": gradient_matched_example,
    "orthogonal": orthogonal_example,
}


def batch(values: object) -> Tensor:
    return torch.tensor(values, dtype=DTYPE)[None]


def test_every_rule_of_the_catalogue_is_in_the_table_and_has_an_example():
    assert list(insertion.TABLE) == list(ENTRIES) == list(GOLDEN)


@every_rule
def test_the_example_worked_by_hand(name):
    example = GOLDEN[name]()
    current = Slots(*(batch(values) for values in example.current))
    units = current.bias.shape[1]
    alive, born = (
        torch.isin(torch.arange(units), torch.tensor(part))[None]
        for part in (example.alive, example.born)
    )
    fan_in, fan_out = current.incoming.shape[2], current.outgoing.shape[2]
    images = [torch.full((1, 2, size), NAN, dtype=DTYPE) for size in (fan_in, fan_out)]
    view = view_of(current.incoming, current.bias, current.outgoing, *images, alive)
    unknown = mapped(view, lambda _, t: torch.full_like(t, NAN) if t.is_floating_point() else t)
    weights = {key: tensors(current)[key] for key in ("incoming", "bias", "outgoing")}
    known = {key: batch(values) for key, values in example.known.items()}
    initial = mapped(current, lambda _, t: torch.full_like(t, NAN))
    if example.initial is not None:
        initial = Slots(*(batch(values) for values in example.initial))
    after = inserted(
        name,
        replace(unknown, **weights, **known),
        current,
        born,
        draws=[Given(example.draws)],
        initial=initial,
        **example.options,
    )
    for tensor, values in zip(tensors(after).values(), example.expected, strict=True):
        torch.testing.assert_close(tensor, batch(values), rtol=0, atol=1e-12, equal_nan=True)


# What holds for every rule


@every_case
def test_weights_keep_their_form_and_are_finite(name, options):
    view, current, born = layer()
    after = inserted(name, view, current, born, **options)
    for part, tensor in tensors(after).items():
        before = tensors(current)[part]
        assert (tensor.shape, tensor.dtype) == (before.shape, before.dtype)
        assert torch.isfinite(tensor).all()


@every_case
def test_nothing_given_is_changed(name, options):
    view, current, born = layer()
    initial = slots_of(view)
    given = [view, current, initial]
    before = [{key: tensor.clone() for key, tensor in tensors(thing).items()} for thing in given]
    inserted(name, view, current, born, initial=initial, **options)
    for thing, copy in zip(given, before, strict=True):
        assert all(torch.equal(tensor, copy[key]) for key, tensor in tensors(thing).items())


def changeable(name: str, view: LayerView, born: Tensor) -> dict[str, Tensor]:
    """Return what the contract lets a rule change."""
    units = born | view.alive if name in ("net2wider", "variance_transfer") else born
    biases = view.output_alive & (name in ("zero_in", "gradmax"))
    return {
        "incoming": born[..., None] & view.input_alive[:, None],
        "bias": born,
        "outgoing": units[..., None] & view.output_alive[:, None],
        "next_bias": biases,
    }


@every_case
def test_everything_else_stays_to_the_bit(name, options):
    view, current, born = layer()
    after = tensors(inserted(name, view, current, born, **options))
    for part, allowed in changeable(name, view, born).items():
        assert torch.equal(after[part][~allowed], tensors(current)[part][~allowed]), part


@every_rule
def test_no_newborns_change_nothing(name):
    view, current, born = layer(alive_units=6)  # more units than inputs
    assert_equal(inserted(name, view, current, torch.zeros_like(born)), current)


@every_case
def test_a_seed_alone_is_a_seed_in_a_batch(name, options):
    view, current, born = layer()
    both = inserted(name, view, current, born, **options)
    for row in range(S):

        def alone(_: str, tensor: Tensor, row: int = row) -> Tensor:
            return tensor[row : row + 1]

        one = inserted(
            name,
            mapped(view, alone),
            mapped(current, alone),
            alone("", born),
            draws=draws_of()[row : row + 1],
            initial=mapped(slots_of(view), alone),
            **options,
        )
        assert_equal(one, mapped(both, alone), 1e-12)


def permuted(thing, order: Tensor):
    def moved(name: str, tensor: Tensor) -> Tensor:
        if name in ("input_alive", "output_alive", "inputs", "error", "next_bias"):
            return tensor
        return tensor.index_select(2 if name in ("hidden", "derivative", "flow") else 1, order)

    return mapped(thing, moved)


def after_permuting(name: str, options, born: Tensor, view, current, order: Tensor) -> Slots:
    return inserted(
        name,
        permuted(view, order),
        permuted(current, order),
        born[:, order],
        draws=[Permuted(draw, order.numpy()) for draw in draws_of()],
        initial=permuted(slots_of(view), order),
        **options,
    )


IN_SLOT_ORDER = ("gradmax", "tiny", "paired_cancel")
"""Which newborn gets which direction, or which partner, is a matter of slot order."""


def in_slot_order(name: str, options: Options) -> bool:
    return name in IN_SLOT_ORDER or options.get("donor") == "most_active"


@every_case
def test_permuting_units_permutes_the_weights(name, options):
    view, current, born = layer()
    order = torch.randperm(H, generator=torch.Generator().manual_seed(3))
    if in_slot_order(name, options):  # the same slots in both seeds, kept in their order
        view, current, born = same_slots(view, current, count=K)
        order = order[torch.argsort(born[0, order].int(), stable=True)]
        order[-K:] = order[-K:].sort().values
    both = permuted(inserted(name, view, current, born, **options), order)
    assert_equal(after_permuting(name, options, born, view, current, order), both, 1e-12)


def same_slots(view: LayerView, current: Slots, count: int) -> tuple[LayerView, Slots, Tensor]:
    alive = view.alive[:1].expand(S, -1).clone()
    born = ~alive & ((~alive).cumsum(1) <= count)
    return replace(view, alive=alive), current, born


@pytest.mark.parametrize("name", ["gradmax", "tiny"])
def test_directions_go_to_newborns_in_slot_order_whatever_the_slots(name):
    view, current, born = layer()
    order = torch.randperm(H, generator=torch.Generator().manual_seed(3))
    one = inserted(name, view, current, born)
    other = after_permuting(name, {}, born, view, current, order)
    for part in ("incoming", "bias", "outgoing"):
        used = changeable(name, view, born)[part].to(DTYPE)
        expected = (tensors(one)[part] * used)[born]
        got = (tensors(other)[part] * used[:, order])[born[:, order]]
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@every_case
def test_what_takes_no_part_is_not_read(name, options):
    """Masked inputs, masked consumers, masked slots; incumbents or slots' own weights, where the
    catalogue says so; and units that an event removed, which the probe still saw."""
    view, current, born = layer()
    unread = {"alive": ~view.alive, "masked": ~born, "both": ~view.alive & ~born}[
        ENTRIES[name].reads
    ]
    sides = {"incoming": view.input_alive, "outgoing": view.output_alive}

    def spoiled(part: str, tensor: Tensor) -> Tensor:
        if part in ("inputs", "error"):
            used = view.input_alive if part == "inputs" else view.output_alive
            return tensor.masked_fill(~used[:, None], NAN)
        if part == "next_bias":
            return tensor.masked_fill(~view.output_alive, NAN)
        if not tensor.is_floating_point():
            return tensor
        axis_last = part in ("hidden", "derivative", "flow", "bias", "utility", "curvature")
        gone = unread[:, None] if tensor.dim() == 3 and axis_last else unread
        gone = gone if axis_last else gone[..., None]
        tensor = tensor.masked_fill(gone, NAN)
        side = sides.get(part.removesuffix("_gradient"))
        return tensor if side is None else tensor.masked_fill(~side[:, None], NAN)

    expected = tensors(inserted(name, view, current, born, **options))
    bad = inserted(
        name,
        mapped(view, spoiled),
        mapped(current, spoiled),
        born,
        initial=mapped(slots_of(view), spoiled),
        **options,
    )
    for part, allowed in changeable(name, view, born).items():
        assert torch.equal(tensors(bad)[part][allowed], expected[part][allowed]), part


DRAWING = (
    "fresh",
    "zero_out",
    "net2wider",
    "variance_transfer",
    "statistics_matched",
    "orthogonal",
)


@every_rule
def test_the_draws_are_those_of_the_seeds_own_streams(name):
    view, current, born = layer()
    first = inserted(name, view, current, born)
    assert_equal(first, inserted(name, view, current, born))
    others = [rng.stream(seed, "edit", 1, 0, 1) for seed in range(S)]
    same = torch.equal(first.incoming, inserted(name, view, current, born, draws=others).incoming)
    assert same == (name not in DRAWING)


@pytest.mark.parametrize("name", ["fresh", "zero_out", "statistics_matched", "norm_matched"])
def test_a_newborn_does_not_depend_on_who_else_is_born(name):
    view, current, born = layer()
    less = born & (born.cumsum(1) == 1)
    one, three = (inserted(name, view, current, some) for some in (less, born))
    assert_equal(
        mapped(one, lambda _, t: t[less] if t.shape[1] == H else t),
        mapped(three, lambda _, t: t[less] if t.shape[1] == H else t),
    )


@every_rule
def test_float32_gives_the_same_weights(name):
    view, current, born = layer()
    initial = slots_of(view)

    def single(_: str, tensor: Tensor) -> Tensor:
        return tensor.float() if tensor.is_floating_point() else tensor

    expected = inserted(name, view, current, born, initial=initial)
    low = [mapped(thing, single) for thing in (view, current, initial)]
    got = inserted(name, low[0], low[1], born, initial=low[2])
    assert all(tensor.dtype == torch.float32 for tensor in tensors(got).values())
    assert_equal(mapped(got, lambda _, t: t.double()), expected, 1e-4)


def activations(view: LayerView, slots: Slots) -> Tensor:
    z = torch.einsum("snf,shf->snh", view.inputs, slots.incoming) + slots.bias[:, None]
    return view.value_at(z)


def next_layer(view: LayerView, slots: Slots, alive: Tensor) -> Tensor:
    """Return the next layer's pre-activations of consumers in use."""
    hidden = activations(view, slots) * alive[:, None]
    z = torch.einsum("snh,shg->sng", hidden, slots.outgoing) + slots.next_bias[:, None]
    return z * view.output_alive[:, None]


BY_DESIGN = ("zero_out", "zero_in", "gradmax", "tiny", "net2wider")
"""With other rules it is a matter of the draw or of the slot whether a unit is born dead."""


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("name", BY_DESIGN)
def test_no_unit_is_born_dead(name, number):
    view, current, born = layer(number)
    active = (activations(view, inserted(name, view, current, born)) > 0).any(1)
    assert active[view.alive].all(), "or donors would be dead"
    assert active[born].all()


@pytest.mark.parametrize("name", ["late_init", "small", "norm_matched", "gradient_matched"])
def test_units_with_their_slots_own_weights_open_on_the_same_images(name):
    view, current, born = layer()
    after = inserted(name, view, current, born, initial=current)
    one, other = (activations(view, slots) > 0 for slots in (current, after))
    assert torch.equal(one, other)


# Properties

PRESERVING = {
    "zero_out": {},
    "zero_in": {"bias": 0.3},
    "gradmax": {"bias": 0.3},
    "net2wider": {"noise": 0.0},
    "paired_cancel": {},
}


@pytest.mark.parametrize("activation", [torch.relu, torch.nn.functional.gelu])
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("name", PRESERVING)
def test_the_function_stays(name, count, activation):
    view, current, born = layer(count=count)
    view = replace(view, value_at=activation)
    before = next_layer(view, current, view.alive)
    after = inserted(name, view, current, born, **PRESERVING[name])
    assert (next_layer(view, after, view.alive | born) - before).abs().max() <= 1e-12
    assert not torch.equal(after.incoming, current.incoming)


def test_most_active_donors_are_taken_in_turn():
    """Three newborns, two incumbents: the more active one is copied twice."""
    view, current, born = layer()
    after = inserted("net2wider", view, current, born, noise=0.0, donor="most_active")
    for row in range(S):
        rate = torch.where(view.alive[row], view.activation_rate[row], -1)
        donors = rate.argsort(descending=True, stable=True)[:2]
        copied = donors[torch.tensor([0, 1, 0])]
        assert torch.equal(after.bias[row, born[row]], current.bias[row, copied])


def test_pairs_follow_slot_order_and_an_odd_count_ends_in_three():
    view, current, born = layer(count=5)
    after = inserted("paired_cancel", view, current, born)
    for row in range(S):
        slots = born[row].nonzero()[:, 0]
        assert torch.equal(after.bias[row, slots], current.bias[row, slots[[0, 0, 2, 2, 2]]])
        v = current.outgoing[row, slots[[0, 0, 2, 2, 2]]]
        expected = v * torch.tensor([1, -1, 1, -0.5, -0.5], dtype=DTYPE)[:, None]
        used = view.output_alive[row]
        assert torch.equal(after.outgoing[row, slots][:, used], expected[:, used])


def test_fresh_bounds_follow_the_options():
    """Five inputs and five units are alive after the event: F = 7 and H = 11 become 5 and 5."""
    view, current, born = layer()
    full = inserted("fresh", view, current, born)
    active = inserted("fresh", view, current, born, fan_in="active")
    he = inserted("fresh", view, current, born, gain="kaiming_relu")
    for part, more, gained in (("incoming", F / 5, 6), ("bias", F / 5, 1), ("outgoing", H / 5, 6)):
        used = changeable("fresh", view, born)[part]
        base, wide, tall = (tensors(slots)[part][used] for slots in (full, active, he))
        torch.testing.assert_close(wide, base * sqrt(more))
        torch.testing.assert_close(tall, base * sqrt(gained))


@pytest.mark.parametrize("number", range(3))
def test_the_matched_gradient_is_the_incumbents(number):
    view, current, born = layer(number, alive_units=4)
    after = inserted("gradient_matched", view, current, born)
    masks = (view.alive, view.input_alive, view.output_alive)
    then = view_of(after.incoming, after.bias, after.outgoing, view.inputs, view.error, *masks)
    felt = born & (view.gradient > 0)
    assert felt.any()
    wanted = (view.gradient * view.alive).sum(1, keepdim=True) / 4
    assert ((then.gradient / wanted)[felt] - 1).abs().max() < 1e-6


def mean_norm(weights: Tensor, view: LayerView, used: Tensor) -> Tensor:
    norms = (weights * used[:, None]).norm(dim=2)
    return torch.stack([norms[row][view.alive[row]].mean() for row in range(S)])


@pytest.mark.parametrize("number", range(3))
def test_gradmax_finds_the_leading_subspace_and_the_gradient_it_predicts(number):
    """By an independent SVD of the dense B, and by autograd through the inserted layer."""
    view, current, born = layer(number)
    after = inserted("gradmax", view, current, born, scale=0.7)
    norm = 0.7 * mean_norm(current.outgoing, view, view.output_alive)
    incoming = after.incoming.clone().requires_grad_()
    z = next_layer(view, replace(after, incoming=incoming), view.alive | born)
    (z * view.error).sum((0, 2)).mean().backward()
    for row in range(S):
        dense = -view.error[row].T @ view.inputs[row] / N
        left, values, _ = torch.linalg.svd(dense)
        made = after.outgoing[row, born[row]] * view.output_alive[row] / norm[row]  # (K, G)
        torch.testing.assert_close(made @ made.T, torch.eye(K, dtype=DTYPE))
        assert (made.gather(1, made.abs().argmax(1, keepdim=True)) > 0).all()
        angles = torch.linalg.svdvals(left[:, K:].T @ made.T)  # sines of the principal angles
        assert angles.max() < 1e-4
        squared = incoming.grad[row, born[row]].square().sum()
        predicted = norm[row].square() * values[:K].square().sum()
        torch.testing.assert_close(squared, predicted, rtol=1e-6, atol=0)


def tiny_residual(view: LayerView, row: int) -> Tensor:
    """Return -dL/dz without its least-squares fit by alive units and a bias."""
    alive = view.hidden[row][:, view.alive[row]]
    regressors = torch.cat((alive, torch.ones(len(alive), 1, dtype=DTYPE)), 1).numpy()
    target = -view.error[row].numpy()
    return torch.from_numpy(target - regressors @ np.linalg.lstsq(regressors, target)[0])


def few_images(view: LayerView, count: int) -> LayerView:
    parts = ("hidden", "derivative", "flow", "inputs", "error")
    return replace(view, **{part: getattr(view, part)[:, :count] for part in parts})


@pytest.mark.parametrize(
    ("projection", "threshold"), [("residual", 1e-6), ("none", 1e-6), ("none", 0.3)]
)
@pytest.mark.parametrize("images", [N, 6, 4])
def test_tiny_solves_its_proposition(images, projection, threshold):
    """S and N as matrices, S inverted on its range: more images than inputs, and fewer."""
    view, current, born = layer(count=1)
    view = few_images(view, images)
    after = inserted("tiny", view, current, born, projection=projection, threshold=threshold)
    for row in range(S):
        x = view.inputs[row]
        target = tiny_residual(view, row) if projection == "residual" else -view.error[row]
        values, vectors = torch.linalg.eigh(x.T @ x / images)
        kept = values > threshold * values.max()
        root = vectors[:, kept] * values[kept].rsqrt() @ vectors[:, kept].T
        left, _, right = torch.linalg.svd(root @ (x.T @ target / images))
        for part, direction, used in (
            ("incoming", root @ left[:, 0], view.input_alive),
            ("outgoing", right[0], view.output_alive),
        ):
            made = tensors(after)[part][row, born[row]][0] * used[row]
            cosine = (made @ direction).abs() / made.norm() / direction.norm()
            assert abs(cosine - 1) < 1e-8


def decrease(view: LayerView, row: int, w: Tensor, v: Tensor, target: Tensor) -> Tensor:
    """Return the first-order fall of the loss with units w (K, F), v (K, G), summed over them."""
    return (view.value_at(view.inputs[row] @ w.T) * (target @ v.T)).mean(0)


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("projection", ["residual", "none"])
@pytest.mark.parametrize("number", range(3))
def test_tiny_lowers_the_loss_more_than_random_units(number, projection, linear):
    """Every unit lowers it, the first one more than random units of the same outgoing norm do.

    More than every one of 300 with a linear activation and an equal root mean square of the
    pre-activation, where it is a theorem; with relu and an equal incoming norm, for which the
    proposition is an approximation, more than 95 % of them.
    """
    view, current, born = layer(number)
    view = replace(view, value_at=(lambda z: z) if linear else torch.relu)
    after = inserted("tiny", view, current, born, projection=projection)
    generator = torch.Generator().manual_seed(number)
    for row in range(S):
        target = tiny_residual(view, row) if projection == "residual" else -view.error[row]
        w = after.incoming[row, born[row]] * view.input_alive[row]
        v = after.outgoing[row, born[row]] * view.output_alive[row]
        fall = decrease(view, row, w, v, target)
        assert (fall > 0).all()
        others, out = (torch.randn(300, n, generator=generator, dtype=DTYPE) for n in (F, G))
        others, out = others * view.input_alive[row], out * view.output_alive[row]
        x = view.inputs[row] if linear else torch.eye(F, dtype=DTYPE)
        others = others * ((x @ w[0]).norm() / (x @ others.T).norm(dim=0))[:, None]
        out = out * (v[0].norm() / out.norm(dim=1))[:, None]
        lower = fall[0] > decrease(view, row, others, out, target)
        assert lower.double().mean() >= (1.0 if linear else 0.95)


@pytest.mark.parametrize("name", ["variance_transfer", "statistics_matched"])
def test_matched_draws_have_the_incumbents_root_mean_square(name):
    """1,000 newborns: within 5 % of the incumbents', with a uniform's bound of sqrt(3)."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(1, 1006, size, generator=generator, dtype=DTYPE) + 1 for size in (F, G)]
    images = [torch.zeros(1, N, size, dtype=DTYPE) for size in (F, G)]
    alive = torch.arange(1006)[None] < 6
    bias = weights[0][..., 0]
    view = view_of(weights[0], bias, weights[1], *images, alive)
    after = inserted(name, view, Slots(weights[0], bias, weights[1], None), ~alive)
    for part in (after.incoming, after.outgoing):
        old, new = part[0, :6], part[0, 6:]
        assert abs(new.square().mean().sqrt() / old.square().mean().sqrt() - 1) < 0.05
        assert new.abs().max() <= sqrt(3) * old.square().mean().sqrt()
        assert abs(new.mean()) < 0.1 * new.abs().max()
    shrunk = (after.outgoing / weights[1])[0, :6]
    expected = sqrt(6 / 1006) if name == "variance_transfer" else 1.0
    torch.testing.assert_close(shrunk, torch.full_like(shrunk, expected), rtol=1e-12, atol=0)


@pytest.mark.parametrize("sides", ["both", "in", "out"])
def test_norms_are_matched_on_the_sides_that_are_asked_for(sides):
    view, current, born = layer()
    after = inserted("norm_matched", view, current, born, sides=sides)
    for part, used, other in (
        ("incoming", view.input_alive, "out"),
        ("outgoing", view.output_alive, "in"),
    ):
        if sides == other:
            assert torch.equal(tensors(after)[part], tensors(current)[part])
            continue
        norms = (tensors(after)[part] * used[:, None]).norm(dim=2)[born].view(S, K)
        wanted = mean_norm(tensors(current)[part], view, used)[:, None].expand(S, K)
        torch.testing.assert_close(norms, wanted)
    assert torch.equal(after.bias, current.bias) == (sides == "out")


def test_orthogonal_rows_are_orthogonal_to_incumbents_and_to_each_other():
    """Two incumbents and three newborns use up all five inputs."""
    view, current, born = layer()
    after = inserted("orthogonal", view, current, born)
    for row in range(S):
        rows = after.incoming[row] * view.input_alive[row]
        old, new = rows[view.alive[row]], rows[born[row]]
        norm = old.norm(dim=1).mean()
        assert (new @ old.T).abs().max() < 1e-12
        torch.testing.assert_close(new @ new.T, norm**2 * torch.eye(K, dtype=DTYPE))


def test_orthogonal_directions_of_a_diverged_seed_stop_no_other():
    view, current, born = layer()
    expected = inserted("orthogonal", view, current, born)
    broken = current.incoming.clone()
    broken[1] = NAN
    found = inserted("orthogonal", view, replace(current, incoming=broken), born)
    assert torch.equal(found.incoming[0], expected.incoming[0])


# What cannot be made is refused


def softmax_view() -> LayerView:
    """Return a layer whose errors sum to 0 over the consumers, as those of a softmax do."""
    view = random_view(0, 2)
    mean = view.error.sum(2, keepdim=True) / view.output_alive.sum(1)[:, None, None]
    return replace(view, error=(view.error - mean) * view.output_alive[:, None])


def refusals() -> dict[str, tuple[str, LayerView, int, str]]:
    plain = random_view(0, 2)
    return {
        "orthogonal": ("orthogonal", plain, 4, "at most 3 possible .5 inputs are alive, 2 units"),
        "orthogonal: too many": (
            "orthogonal",
            random_view(0, 6),
            1,
            "at most 0 possible .5 inputs .* 6 units",
        ),
    }


@pytest.mark.parametrize("case", refusals())
def test_what_cannot_be_made_is_refused_with_the_limit_and_the_way_out(case):
    name, view, count, message = refusals()[case]
    born = ~view.alive & ((~view.alive).cumsum(1) <= count)
    current = Slots(view.incoming, view.bias, view.outgoing, torch.zeros(S, G, dtype=DTYPE))
    with pytest.raises(ValueError, match=message) as error:
        inserted(name, view, current, born)
    assert "choose another rule" in str(error.value)


def without_error(view: LayerView) -> LayerView:
    assert view.error is not None
    return replace(view, error=view.error * 0)


def crowds() -> dict[str, tuple[LayerView, int, int]]:
    """Return a view, how many newborns are asked for and how many directions there are."""
    plain = random_view(0, 2)
    return {
        "4 consumers": (plain, 6, 4),
        "softmax": (softmax_view(), 5, 3),
        "no errors": (without_error(plain), 3, 0),
    }


@pytest.mark.parametrize("case", crowds())
@pytest.mark.parametrize("name", ["gradmax", "tiny"])
def test_newborns_beyond_the_rank_mix_its_directions_and_no_two_are_alike(name, case):
    """Of 0 directions the mixtures are random; all norms are those of the first newborns."""
    view, count, rank = crowds()[case]
    born = ~view.alive & ((~view.alive).cumsum(1) <= count)
    current = Slots(view.incoming, view.bias, view.outgoing, torch.zeros(S, G, dtype=DTYPE))
    after = inserted(name, view, current, born, projection="none")
    for row in range(S):
        out = after.outgoing[row, born[row]][:, view.output_alive[row]]
        sizes = out.norm(dim=1)
        torch.testing.assert_close(sizes, sizes[:1].expand(count))
        assert sizes[0] > 0
        values = torch.linalg.svdvals(out)
        assert int((values > 1e-9 * values[0]).sum()) == (rank or min(count, len(values)))
        cosines = (out @ out.T / sizes[0].square()).abs().fill_diagonal_(0)
        assert cosines.max() < 1 - 1e-6


def test_tiny_asks_for_no_direction_where_incumbents_express_everything():
    """Three images and six incumbents: the residual is rounding, so newborns are random."""
    view = few_images(random_view(0, 6), 3)
    born = ~view.alive & ((~view.alive).cumsum(1) <= 1)
    current = Slots(view.incoming, view.bias, view.outgoing, torch.zeros(S, G, dtype=DTYPE))
    with pytest.raises(KeyError, match="standard_normal"):  # no draw is given
        inserted("tiny", view, current, born, draws=[Given({})] * S)
    assert_finite(inserted("tiny", view, current, born))


def assert_finite(slots: Slots) -> None:
    assert all(torch.isfinite(tensor).all() for tensor in tensors(slots).values())


def test_a_lonely_newborn_of_paired_cancel_has_no_outgoing_weights():
    view = random_view(0, 2)
    born = ~view.alive & ((~view.alive).cumsum(1) <= 1)
    current = Slots(view.incoming, view.bias, view.outgoing, torch.zeros(S, G, dtype=DTYPE))
    after = inserted("paired_cancel", view, current, born)
    assert (after.outgoing[born] * view.output_alive[:, :]).abs().max() == 0
    assert torch.equal(after.incoming, current.incoming)


@pytest.mark.parametrize("name", ["zero_in", "gradmax", "tiny"])
def test_layers_without_one_weight_for_each_pair_of_units_are_refused(name):
    view, current, born = layer()
    with pytest.raises(ValueError, match="fully connected layer with one weight"):
        inserted(name, replace(view, error=None), replace(current, next_bias=None), born)


def test_skipping_draws_leaves_the_numbers_that_drawing_all_would_give():
    born = np.array([False, True, False, False, True, True, False])
    one, other = (rng.stream(3, "edit", 1, 0, 1) for _ in range(2))
    assert np.array_equal(
        newborns.uniform_rows(one, (7, 5), born), other.uniform(-1.0, 1.0, (7, 5))[born]
    )
    assert one.random() == other.random()
