"""A small cache by key, safe among threads; the least recently used value goes first.

Not here: what is cached, and what a key has to name so that a cached value is never out of date.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class LruCache(Generic[V]):
    """At most `most` values; the least recently used goes first. `functools.lru_cache` has no rule for what to keep."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], V], complete: Callable[[V], bool] = lambda _: True) -> V:
        """The value of a key, made where it is not cached; only a complete one is kept.

        `make` runs outside of the lock: two threads may both make the value of a new key, and none waits for the other.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        # Outside of the lock: rendering takes long, and other keys may be read meanwhile.
        made = make()
        if not complete(made):
            return made
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made
