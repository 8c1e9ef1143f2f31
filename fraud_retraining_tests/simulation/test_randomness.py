"""Randomness that does not depend on the order of calls."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.simulation.randomness import Stream, generator, trait

SEEDS = st.integers(0, 2**32 - 1)


@given(seed=SEEDS, day=st.integers(0, 10_000))
def test_a_generator_of_one_purpose_and_day_always_gives_the_same(seed: int, day: int) -> None:
    first = generator(seed, Stream.HONEST, day).random(3)
    assert (generator(seed, Stream.HONEST, day).random(3) == first).all()
    assert (generator(seed, Stream.CRIME, day).random(3) != first).any()
    assert (generator(seed, Stream.HONEST, day + 1).random(3) != first).any()


@given(seed=SEEDS, purpose=st.integers(0, 100), keys=st.lists(st.integers(0, 2**40), min_size=1, max_size=50))
def test_a_trait_lies_in_the_unit_interval_and_belongs_to_its_key_alone(seed: int, purpose: int, keys: list[int]):
    together = trait(seed, purpose, np.array(keys, dtype=np.int64))
    alone = [trait(seed, purpose, np.array([key], dtype=np.int64))[0] for key in keys]
    assert ((together >= 0) & (together < 1)).all()
    assert together.tolist() == alone


def test_traits_are_spread_evenly() -> None:
    shares = np.histogram(trait(7, 1, np.arange(100_000)), bins=10, range=(0, 1))[0] / 100_000
    assert np.abs(shares - 0.1).max() < 0.005


def test_traits_of_two_purposes_have_nothing_in_common() -> None:
    keys = np.arange(100_000)
    assert abs(np.corrcoef(trait(7, 1, keys), trait(7, 2, keys))[0, 1]) < 0.02
