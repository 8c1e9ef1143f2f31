"""Randomness that does not depend on the order of calls.

Here: one generator per purpose and day, and a hash that gives campaigns their lasting traits. Because nothing is
drawn from a generator that another day used, any day can be made without the days before it.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Stream(IntEnum):
    """What a generator is for. The numbers are part of every lake: never reuse one."""

    CUSTOMERS = 1
    FAVOURITES = 2
    TERMINALS = 3
    HONEST = 4
    CREW = 5
    CRIME = 6
    REPORTS = 7


def generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """The generator of one purpose, e.g. of one day."""
    return np.random.default_rng([seed, int(stream), *key])


def trait(seed: int, purpose: int, *keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in [0, 1) that belongs to its keys for ever (SplitMix64; Steele, Lea and Flood, 2014)."""
    state = np.full(np.broadcast_shapes(*(key.shape for key in keys)), seed, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for key in (np.int64(purpose), *keys):
            state = _scramble(state + _GOLDEN + np.asarray(key).astype(np.uint64))
    return (state >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _scramble(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
