"""What the cache keeps, and what it makes again."""

import pytest

from fraud_retraining.serving.lru_cache import LruCache


class Maker:
    """Makes values, and counts how many."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> int:
        self.made += 1
        return self.made


def test_a_value_is_made_once() -> None:
    cache, make = LruCache[int](2), Maker()
    assert [cache.get("a", make) for _ in range(3)] == [1, 1, 1]


def test_the_least_recently_used_value_goes_first() -> None:
    cache, make = LruCache[int](2), Maker()
    for key in ("a", "b", "a", "c"):
        cache.get(key, make)
    assert cache.get("a", make) == 1, "used after b"
    assert cache.get("b", make) == 4, "it was dropped for c"


def test_an_incomplete_value_is_returned_and_not_kept() -> None:
    cache, make = LruCache[int](2), Maker()
    assert cache.get("a", make, lambda value: value > 1) == 1
    assert cache.get("a", make, lambda value: value > 1) == 2
    assert cache.get("a", make, lambda value: value > 1) == 2


def test_a_value_that_cannot_be_made_is_tried_again() -> None:
    cache = LruCache[int](2)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 // 0)
    assert cache.get("a", lambda: 7) == 7
