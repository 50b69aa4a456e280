"""Randomness depends on the seed and the place only, and recipes give the generators back as they were."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite_recipes.loading.randomness import derive_seed, draw_seed, preserve_generators, seed_generators, set_seed


def _draw():
    return random.random(), float(np.random.rand()), torch.rand(()).item()


def test_a_derived_seed_is_the_same_in_every_process_and_version():
    assert derive_seed(42, "step", 1) == 1711124428365674191


@given(st.integers(0, 2**64 - 1), st.sampled_from(["step", "train fetch"]), st.integers(0, 10**9))
def test_a_derived_seed_fits_every_generator(seed, place, position):
    derived = derive_seed(seed, place, position)
    assert 0 <= derived < 2**64
    seed_generators(derived)


@given(st.integers(0, 2**64 - 1))
def test_seeding_twice_draws_the_same(seed):
    seed_generators(seed)
    first = _draw()
    seed_generators(seed)
    assert _draw() == first


def test_neighbouring_places_are_unrelated():
    seeds = {derive_seed(s, place, n) for s in range(10) for place in ("step", "fetch") for n in range(100)}
    assert len(seeds) == 2000


def test_preserve_generators_puts_all_three_back_even_after_an_error():
    set_seed(1)
    expected = _draw()
    set_seed(1)

    def fail():
        with preserve_generators(torch.device("cpu")):
            seed_generators(99)
            _draw()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert _draw() == expected


def test_set_seed_repeats_all_three_generators():
    set_seed(7)
    first = _draw()
    set_seed(7)
    assert _draw() == first
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark


def test_set_seed_can_ask_for_deterministic_algorithms():
    try:
        set_seed(0, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=f"got {seed}"):
        set_seed(seed)


def test_a_drawn_seed_follows_the_global_generator():
    set_seed(3)
    first = draw_seed()
    set_seed(3)
    assert draw_seed() == first
