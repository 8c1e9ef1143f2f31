"""Features of transactions as they come in, the same to the last bit as those of their day in the lake.

Here: what is kept of the last two days' transactions, and the features of a batch beside the state of its entities. Not
here: the features (`definitions.py`), the state of whole days (`point_in_time.entity_state`), and storing either.

A transaction belongs to the day of its timestamp, and sees the transactions that were added before or with it and are
earlier, whatever the order in which they came. One that comes after a later one of its entity is therefore scored as
the lake will see it, but the later one was scored without it.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fraud_retraining.domain.features.arrays import MICROSECONDS, NullableArray
from fraud_retraining.domain.features.definitions import Past, column_of, gridded, passed_through
from fraud_retraining.domain.features.key_tables import Key, TransactionsByKey
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.values.schemas import AMOUNT, TIMESTAMP, TRANSACTION_ID


class EntityState(Protocol):
    """The whole days before one day, by key of an entity."""

    def of(self, keys: Sequence[Key | None]) -> Mapping[str, NullableArray]:
        """Statistics under the names of `column_of`, an entry a key; null for keys that are not known."""
        ...


class Sums(NamedTuple):
    """Transactions of a key: how many, the sums of their amounts and squares on the grid, and the greatest amount."""

    rows: int = 0
    total: float = 0.0
    squares: float = 0.0
    maximum: float = 0.0


@dataclass(slots=True)
class KeyDay:
    """The transactions of one key on one day, by time of day and id."""

    _seen: list[tuple[int, Any, float]] = field(default_factory=list)
    _until: list[Sums] = field(default_factory=list)
    _greatest_from: list[float] = field(default_factory=list)

    def add(self, clock: int, number: Any, amount: float) -> None:
        """Adds a transaction; one that was added before stays as it is."""
        place = bisect_left(self._seen, (clock, number), key=itemgetter(0, 1))
        if place < len(self._seen) and self._seen[place][:2] == (clock, number):
            return
        self._seen.insert(place, (clock, number, amount))
        # In order of arrival this is the last place, and nothing is computed again.
        del self._until[place:]
        for _, _, one in self._seen[place:]:
            self._until.append(_with(self._until[-1] if self._until else None, one))
        self._greatest_from.clear()

    def before(self, clock: int, number: Any) -> tuple[Sums, int | None]:
        """Those before a transaction, and the time of the last of them."""
        place = bisect_left(self._seen, (clock, number), key=itemgetter(0, 1))
        return (self._until[place - 1], self._seen[place - 1][0]) if place else (Sums(), None)

    def after(self, clock: int) -> Sums:
        """Those after a time of day."""
        place = bisect_left(self._seen, clock + 1, key=itemgetter(0))
        if place == len(self._seen):
            return Sums()
        if not self._greatest_from:
            # Of equal amounts the earlier one stays: 0.0 and -0.0 have other bits.
            backwards = accumulate((amount for _, _, amount in reversed(self._seen)), lambda late, one: max(one, late))
            self._greatest_from.extend(reversed(list(backwards)))
        every, past = self._until[-1], self._until[place - 1] if place else Sums()
        # Sums on the grid are exact, and so are their differences.
        return Sums(
            every.rows - past.rows, every.total - past.total, every.squares - past.squares, self._greatest_from[place]
        )


def _with(before: Sums | None, amount: float) -> Sums:
    summed = gridded(amount)
    if before is None:
        return Sums(1, summed, summed * summed, amount)
    return Sums(before.rows + 1, before.total + summed, before.squares + summed * summed, max(before.maximum, amount))


class Batch(NamedTuple):
    """Transactions of one day in any order: an entry a transaction. A key is None where a nullable entity has none."""

    ids: Sequence[Any]
    timestamps: NDArray[np.datetime64]
    amounts: NDArray[np.float64]
    keys: Mapping[str, Sequence[Key | None]]

    @classmethod
    def of(cls, rows: pa.Table, plan: FeaturePlan) -> "Batch":
        """Rows of a canonical table."""
        return cls(
            rows[TRANSACTION_ID].to_pylist(),
            rows[TIMESTAMP].cast(pa.timestamp("us")).to_numpy(),
            rows[AMOUNT].to_numpy(),
            {entity: rows[entity].to_pylist() for entity in plan.entities},
        )

    def clocks(self, day: date) -> list[int]:
        """Microseconds since the day began."""
        return ((self.timestamps - np.datetime64(day, "us")) // MICROSECONDS).tolist()


class FinishedDay:
    """The transactions of a whole day as columns: `transaction_id`, `timestamp`, `amount`, and the keys."""

    def __init__(self, rows: pa.Table, plan: FeaturePlan, day: date) -> None:
        self._ids = rows[TRANSACTION_ID]
        times = rows[TIMESTAMP].cast(pa.timestamp("us")).to_numpy()
        self._clocks = (times - np.datetime64(day, "us")) // MICROSECONDS
        self._amounts = rows[AMOUNT].to_numpy()
        self._by_key = {entity: TransactionsByKey(rows[entity]) for entity in plan.entities}

    def of(self, entity: str, key: Key) -> KeyDay | None:
        """The transactions of a key; None where there are none."""
        rows = self._by_key[entity].rows(key)
        if not len(rows):
            return None
        found = KeyDay()
        for row in rows[np.argsort(self._clocks[rows], kind="stable")]:
            found.add(int(self._clocks[row]), self._ids[int(row)].as_py(), float(self._amounts[row]))
        return found


class RecentDay:
    """The transactions of one day, by key of each entity: those that were scored or added, and of a finished day all.

    Those of a finished day are laid out for a key when it is first asked for.
    """

    def __init__(self, plan: FeaturePlan, day: date, finished: FinishedDay | None = None) -> None:
        self.day = day
        self._finished = finished
        self._keys: dict[str, dict[Key, KeyDay]] = {entity: {} for entity in plan.entities}

    def add(self, batch: Batch) -> None:
        """Adds transactions of the day; those that were added before stay as they are."""
        clocks, amounts = batch.clocks(self.day), batch.amounts.tolist()
        for entity, known in self._keys.items():
            for key, clock, number, amount in zip(batch.keys[entity], clocks, batch.ids, amounts, strict=True):
                if key is not None:
                    found = self.of(entity, key)
                    if found is None:
                        found = known[key] = KeyDay()
                    found.add(clock, number, amount)

    def of(self, entity: str, key: Key | None) -> KeyDay | None:
        """The transactions of a key; None where there are none."""
        if key is None:
            return None
        known = self._keys[entity]
        found = known.get(key)
        if found is None and self._finished is not None and (found := self._finished.of(entity, key)) is not None:
            known[key] = found
        return found


def online_features(
    plan: FeaturePlan,
    batch: Batch,
    *,
    states: Mapping[str, EntityState],
    today: RecentDay,
    yesterday: RecentDay | None,
) -> dict[str, NDArray[np.float32]]:
    """The features that are computed here, of transactions of one day that `today` holds; float32, an entry each.

    `states` are those of the day, by entity. `yesterday` is None where nothing is known of it.
    """
    clocks = batch.clocks(today.day)
    rows: dict[str, NullableArray] = {
        TIMESTAMP: NullableArray(batch.timestamps),
        AMOUNT: NullableArray(batch.amounts),
    }
    for entity in plan.entities:
        rows |= states[entity].of(batch.keys[entity])
        rows |= _recent(entity, batch, clocks, today, yesterday)
    begins = np.datetime64(today.day, "us")
    with np.errstate(all="ignore"):
        return {name: value.cast("float32").values for name, value in plan.own_features(rows, begins).items()}


def numeric_features(plan: FeaturePlan, numeric: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float32]]:
    """The numeric columns that pass through, of transactions with those columns in float64; NaN is null in both.

    Categories pass through as the text that they are.
    """
    features = {name: passed_through(NullableArray(numeric[name])) for name in plan.numeric}
    return {
        name: value.values if value.missing is None else np.where(value.missing, np.float32("nan"), value.values)
        for name, value in features.items()
    }


def _recent(
    entity: str, batch: Batch, clocks: Sequence[int], today: RecentDay, yesterday: RecentDay | None
) -> dict[str, NullableArray]:
    """The last 24 hours of a batch's keys, up to each transaction."""
    keys = batch.keys[entity]
    earlier, lasts, later = [], [], []
    for key, clock, number in zip(keys, clocks, batch.ids, strict=True):
        now, before = today.of(entity, key), yesterday.of(entity, key) if yesterday else None
        sums, last = now.before(clock, number) if now else (Sums(), None)
        earlier.append(sums)
        lasts.append(last)
        later.append(before.after(clock) if before else Sums())
    found = {"clock": NullableArray.of(np.array(clocks, np.int64), _missing(keys))}
    found["last"] = NullableArray.of(np.array([last or 0 for last in lasts], np.int64), _missing(lasts))
    for name, sums_of in (("today", earlier), ("yesterday", later)):
        found |= {
            f"{name}_{field}": NullableArray(np.array(values))
            for field, values in zip(Past._fields, zip(*sums_of, strict=True), strict=True)
        }
    return {column_of(entity, name): values for name, values in found.items()}


def _missing(values: Sequence[Any]) -> NDArray[np.bool_]:
    return np.array([value is None for value in values])
