"""The latest values that somebody asked for, made once and given to many.

Here: a small memory by key, safe among threads. Not here: what is made, and what a key has to name so that a value that
is kept is never an old one.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Latest(Generic[V]):
    """At most so many values; the one that nobody asked for longest goes first. What fails to be made is not kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], V], whole: Callable[[V], bool] = lambda _: True) -> V:
        """The value of a key; two that ask at once for a new one may both make it. Only a whole one is kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        if not whole(made):
            return made
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made
