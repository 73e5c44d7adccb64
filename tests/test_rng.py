from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasticity import rng
from plasticity.structure import random_mask

KEYS = st.tuples(
    st.integers(0, 2**32 - 1),
    st.sampled_from(sorted(rng.PURPOSES)),
    st.lists(st.integers(0, 2**32 - 1), max_size=3),
)


def first_bits(seed, purpose, *index):
    return rng.stream(seed, purpose, *index).bit_generator.random_raw()


def test_purposes_keep_their_numbers():
    # They are part of every result ever written: a line may be added, none changed.
    numbers = {
        "init": 0,
        "order": 1,
        "augment": 2,
        "mask": 3,
        "edit": 4,
        "probe": 5,
        "ticket_init": 6,
        "ticket_order": 7,
        "ticket_augment": 8,
        "ticket_mask": 9,
        "task": 10,
        "stream_order": 11,
        "split": 12,
    }
    assert numbers.items() <= rng.PURPOSES.items()


def test_no_two_purposes_have_the_same_number():
    assert len(set(rng.PURPOSES.values())) == len(rng.PURPOSES)


@pytest.mark.parametrize(
    ("key", "bits"),
    [
        ((0, "init"), 17394127715520444142),
        ((7, "order", 3), 4491360187996368185),
        ((2, "edit", 1, 4), 12207995330208513523),
    ],
)
def test_a_stream_is_the_same_for_ever(key, bits):
    # Recorded with NumPy 2.4.6; NumPy promises that SeedSequence and PCG64 do not change.
    assert first_bits(*key) == bits


def test_the_same_key_gives_the_same_draws():
    one, other = rng.stream(3, "order", 5), rng.stream(3, "order", 5)
    assert one.permutation(11).tolist() == other.permutation(11).tolist()


def test_what_one_stream_draws_does_not_move_another():
    one, other = rng.stream(3, "order", 5), rng.stream(3, "probe", 5)
    other.random(1000)
    assert one.bit_generator.random_raw() == first_bits(3, "order", 5)


def test_no_two_of_many_streams_begin_alike():
    indices = [(), *product(range(4)), *product(range(4), repeat=2), *product(range(3), repeat=3)]
    keys = list(product(range(5), rng.PURPOSES, indices))
    begins = {first_bits(seed, purpose, *index) for seed, purpose, index in keys}
    assert len(begins) == len(keys)


@given(KEYS, st.integers(1, 2**32), st.sampled_from(sorted(rng.PURPOSES)))
def test_a_key_that_differs_in_one_place_gives_another_stream(key, step, purpose):
    seed, own, index = key
    others = [(seed + step, own, *index), (seed, own, *index, 0), (seed, own, 0, *index)]
    others += [(seed, purpose, *index)] if purpose != own else []
    others += [(seed, own, *reversed(index))] if index != index[::-1] else []
    begins = [first_bits(*other) for other in others if other != (seed, own, *index)]
    assert first_bits(seed, own, *index) not in begins


@pytest.mark.parametrize("seeds", [(2,), (2, 0), (0, 1, 2), tuple(range(9))])
def test_the_draws_of_a_seed_do_not_depend_on_the_seeds_beside_it(seeds):
    mask = random_mask(seeds, "mask", 11, 1, 4)
    assert mask[seeds.index(2)].tolist() == random_mask((2,), "mask", 11, 1, 4)[0].tolist()


def test_an_unknown_purpose_is_refused():
    with pytest.raises(KeyError, match="ordre"):
        rng.stream(0, "ordre")


@pytest.mark.parametrize("key", [(-1, "init"), (0, "init", -1)])
def test_negative_coordinates_are_refused(key):
    with pytest.raises(ValueError, match="non-negative"):
        rng.stream(*key)
