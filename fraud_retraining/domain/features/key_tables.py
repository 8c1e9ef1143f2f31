"""What is known of the keys of an entity, found by key: the whole days of a state, and the transactions of a past day.

Here: tables in the order of their keys, and how a key is found in them. Not here: what the columns mean
(`point_in_time.py`), and where the tables are kept (`adapters/online/`).
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Mapping, Sequence
from math import isnan
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fraud_retraining.domain.features.arrays import NullableArray
from fraud_retraining.domain.features.definitions import Past, column_of
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.row_program import Number

Key: TypeAlias = Hashable
Floats: TypeAlias = NDArray[np.float64]


class KeyPlaces(Protocol):
    """Distinct keys, each with its place in a table."""

    def __len__(self) -> int: ...

    def place(self, key: Key | None) -> int:
        """The place of a key; -1 for one that is not there, or is None."""
        ...

    def places(self, keys: Sequence[Key | None]) -> NDArray[np.int64]:
        """The place of each key, as `place` gives it."""
        ...

    def between(self, first: int, last: int) -> Sequence[Key]:
        """The keys from one place up to another, without that."""
        ...


class SortedKeys:
    """Distinct keys in their order: int64 as an array, text as an Arrow array."""

    def __init__(self, keys: "NDArray[np.int64] | pa.LargeStringArray") -> None:
        self._keys = keys
        self._kind = str if isinstance(keys, pa.Array) else int
        # Arrow and DuckDB order text by its bytes in UTF-8, which is how Python orders it too.
        self._in_order: Any = _Texts(keys) if isinstance(keys, pa.Array) else keys

    def __len__(self) -> int:
        return len(self._keys)

    def place(self, key: Key | None) -> int:
        """The place of a key; -1 for one that is not there, or is None."""
        if not isinstance(key, self._kind):
            return -1
        place = bisect_left(self._in_order, key)
        return place if place < len(self._keys) and self._in_order[place] == key else -1

    def places(self, keys: Sequence[Key | None]) -> NDArray[np.int64]:
        """The place of each key, as `place` gives it."""
        if self._kind is str:
            return np.array([self.place(key) for key in keys], np.int64)
        wanted = np.array([key if isinstance(key, int) else 0 for key in keys], np.int64)
        places = np.searchsorted(self._keys, wanted)
        found = (places < len(self._keys)) & np.array([isinstance(key, int) for key in keys], bool)
        found[found] = self._keys[places[found]] == wanted[found]
        return np.where(found, places, -1)

    def between(self, first: int, last: int) -> Sequence[Key]:
        """The keys from one place up to another, without that."""
        return self._keys[first:last].tolist()


class FetchedKeys:
    """A few distinct keys in any order."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = keys
        self._places = {key: place for place, key in enumerate(keys)}

    def __len__(self) -> int:
        return len(self._keys)

    def place(self, key: Key | None) -> int:
        """The place of a key; -1 for one that is not there, or is None."""
        return self._places.get(key, -1)

    def places(self, keys: Sequence[Key | None]) -> NDArray[np.int64]:
        """The place of each key, as `place` gives it."""
        return np.array([self.place(key) for key in keys], np.int64)

    def between(self, first: int, last: int) -> Sequence[Key]:
        """The keys from one place up to another, without that."""
        return self._keys[first:last]


class _Texts:
    """An Arrow array of text as `bisect` reads it: entries are made when they are looked at."""

    def __init__(self, texts: pa.LargeStringArray) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, place: int) -> str:
        return str(self._texts[place].as_py())


class StateTable:
    """Statistics of an entity before a day begins, a row a key: what `point_in_time.entity_state` gives.

    `values` has a row a key and a column a statistic; NaN stands for null. float64 holds each of them exactly: counts,
    ages, and times as microseconds, which are named in `times`.
    """

    def __init__(self, keys: KeyPlaces, values: Floats, names: Sequence[str], times: Sequence[str]) -> None:
        self.names = tuple(names)
        self._keys = keys
        # Of a file that is mapped into memory too: a row of a plain array is found in half the time.
        self._values = np.asarray(values)
        self._times = frozenset(times)
        self._unknown: Mapping[str, Number] = dict.fromkeys(self.names)

    @classmethod
    def from_table(cls, table: pa.Table) -> "StateTable":
        """From a table whose first column is the key, in any order."""
        table = in_key_order(table)
        names = table.column_names[1:]
        times = [name for name in names if pa.types.is_timestamp(table.schema.field(name).type)]
        return cls(SortedKeys(key_array(table.column(0))), state_values(table), names, times)

    @classmethod
    def empty(cls, plan: FeaturePlan, entity: str) -> "StateTable":
        """One in which no key is known."""
        names = state_columns(plan, entity)
        times = [name for name in names if name == column_of(entity, "last_at")]
        return cls(FetchedKeys([]), np.empty((0, len(names))), names, times)

    def of_keys(self, keys: Sequence[Key], values: Floats) -> "StateTable":
        """One with the columns of this, of a few keys and their rows of statistics one after the other."""
        rows = values.reshape(len(keys), len(self.names))
        return StateTable(FetchedKeys(keys), rows, self.names, tuple(self._times))

    def __len__(self) -> int:
        return len(self._keys)

    def parts(self, size: int) -> Iterator[tuple[Sequence[Key], Floats]]:
        """Every key with its row of statistics, at most `size` at a time."""
        for first in range(0, len(self), size):
            yield self._keys.between(first, first + size), self._values[first : first + size]

    def of(self, keys: Sequence[Key | None]) -> Mapping[str, NullableArray]:
        """Statistics of keys, in their order; null for keys that are not known."""
        places = self._keys.places(keys)
        unknown = np.less(places, 0).reshape(-1, 1)
        none: Floats = np.full((len(places), len(self.names)), np.nan)
        rows: Floats = self._values[places] if len(self._keys) else none
        missing = np.isnan(rows) | unknown
        lacking = np.atleast_1d(missing.any(axis=0))
        return {
            name: NullableArray(self._typed(name, rows[:, place]), missing[:, place] if lacking[place] else None)
            for place, name in enumerate(self.names)
        }

    def one(self, key: Key | None) -> Mapping[str, Number]:
        """Statistics of one key as numbers, times in microseconds since 1970; null for a key that is not known."""
        place = self._keys.place(key)
        if place < 0:
            return self._unknown
        known = {
            name: None if isnan(value) else value
            for name, value in zip(self.names, self._values[place].tolist(), strict=True)
        }
        return known | {name: int(time) for name in self._times if (time := known[name]) is not None}

    def _typed(self, name: str, values: Floats) -> NDArray[np.generic]:
        if name not in self._times:
            return values
        return np.nan_to_num(values).astype(np.int64).view("datetime64[us]")


def state_columns(plan: FeaturePlan, entity: str) -> tuple[str, ...]:
    """Names of the statistics of `point_in_time.entity_state`, in its order and without the key."""
    policy = plan.entities[entity]
    names = ["last_at"]
    for window in policy.windows_days:
        if window > 1:
            names += [f"days{window}_{name}" for name in Past._fields]
    if policy.fraud_share:
        names += ["first_fraud", "last_fraud", "last_nonfraud", "fraud_streak_began", "fraud_streak"]
        names += ["last_report"] if plan.labels_as_known else []
        names += [f"days{window}_{name}" for window in policy.windows_days for name in ("labelled", "frauds")]
    return tuple(column_of(entity, name) for name in names)


def in_key_order(table: pa.Table) -> pa.Table:
    """A table in the order of its first column, as keys are looked up in it: text by its bytes in UTF-8."""
    return table.sort_by(table.column_names[0])


def key_array(column: pa.ChunkedArray) -> "NDArray[np.int64] | pa.LargeStringArray":
    """A column of keys, int64 or text; one without any key counts as int64."""
    if pa.types.is_integer(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.int64()).to_numpy()
    return column.cast(pa.large_string()).combine_chunks()


def state_values(table: pa.Table) -> Floats:
    """The statistics of a table as float64, NaN where they are null; a row a key."""
    values = np.empty((table.num_rows, table.num_columns - 1))
    for place, column in enumerate(table.columns[1:]):
        plain = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        values[:, place] = pc.fill_null(plain.cast(pa.float64()), np.nan).to_numpy()
    return values


class TransactionsByKey:
    """The transactions of a finished day, found by the key of one entity."""

    def __init__(self, keys: pa.ChunkedArray) -> None:
        # One array: pyarrow sorts a chunked one without rows into a crash.
        column = keys.combine_chunks()
        known = pc.indices_nonzero(pc.is_valid(column))
        present = column.take(known)
        order = pc.sort_indices(present)
        ordered = present.take(order)
        self._rows = known.take(order).to_numpy().astype(np.int64)
        self._starts = _starts(ordered)
        first = pa.array(self._starts[:-1], pa.int64())
        self._keys = SortedKeys(key_array(pa.chunked_array([ordered.take(first)])))

    def rows(self, key: Key) -> NDArray[np.int64]:
        """Places of the transactions of a key, in no order."""
        (place,) = self._keys.places([key])
        if place < 0:
            return np.empty(0, np.int64)
        return self._rows[self._starts[place] : self._starts[place + 1]]

    def each(self) -> Iterator[tuple[Key, NDArray[np.int64]]]:
        """Every key with the places of its transactions, in no order."""
        for place, key in enumerate(self._keys.between(0, len(self._keys))):
            yield key, self._rows[self._starts[place] : self._starts[place + 1]]


def _starts(ordered: pa.Array) -> NDArray[np.int64]:
    """Where each distinct value begins in an ordered column, and its end."""
    count = len(ordered)
    if not count:
        return np.zeros(1, np.int64)
    encoded = ordered.dictionary_encode().indices.to_numpy()
    changes = np.flatnonzero(np.diff(encoded)) + 1
    return np.concatenate([[0], changes, [count]]).astype(np.int64)
