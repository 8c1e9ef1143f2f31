"""Features of transactions as they come in, the same to the last bit as those of their day in the lake.

Here: what is kept of the last two days' transactions, and the features of a batch beside the state of its entities. Not
here: the features (`definitions.py`), the state of whole days (`point_in_time.entity_state`), and storing either.

A transaction belongs to the day of its timestamp, and sees the transactions that were added before or with it and are
earlier, whatever the order in which they came. One that comes after a later one of its entity is therefore scored as
the lake will see it, but the later one was scored without it.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fraud_retraining.domain.features.arrays import MICROSECONDS, NullableArray
from fraud_retraining.domain.features.definitions import Past, column_of, gridded, in_two_parts, passed_through
from fraud_retraining.domain.features.key_tables import Key, TransactionsByKey
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.row_program import BEGINS, Number, RowProgram
from fraud_retraining.domain.values.schemas import AMOUNT, TIMESTAMP, TRANSACTION_ID

SMALL_BATCH = 8
"""Transactions up to which each is computed by itself, as plain numbers. Measured with the shipped features: one takes
a fifth of the time of arrays, which cost nearly the same for one as for ten; from ten on arrays are faster."""


class EntityState(Protocol):
    """The whole days before one day, by key of an entity."""

    def of(self, keys: Sequence[Key | None]) -> Mapping[str, NullableArray]:
        """Statistics under the names of `column_of`, an entry a key; null for keys that are not known."""
        ...

    def one(self, key: Key | None) -> Mapping[str, Number]:
        """The same of one key, as numbers of a `RowProgram`."""
        ...


class DayByKey(Protocol):
    """Transactions of one day, by key of each entity."""

    @property
    def day(self) -> date:
        """The day."""
        ...

    def of(self, entity: str, key: Key | None) -> "KeyDay | None":
        """The transactions of a key; None where there are none."""
        ...


class Sums(NamedTuple):
    """Transactions of a key: how many, the sums of their amounts and squares on the grid, and the greatest amount.

    The sum of squares is in the two parts of `in_two_parts`.
    """

    rows: int = 0
    total: float = 0.0
    high_squares: float = 0.0
    low_squares: float = 0.0
    maximum: float = 0.0

    @property
    def past(self) -> Past:
        """The same as features read it."""
        return Past(self.rows, self.total, self.high_squares + self.low_squares, self.maximum)


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
        # Summed when they are read: many that come in falling order of time would be summed again for each.
        del self._until[place:]
        self._greatest_from.clear()

    def before(self, clock: int, number: Any) -> tuple[Sums, int | None]:
        """Those before a transaction, and the time of the last of them."""
        place = bisect_left(self._seen, (clock, number), key=itemgetter(0, 1))
        return (self._sums_until(place), self._seen[place - 1][0]) if place else (Sums(), None)

    def after(self, clock: int) -> Sums:
        """Those after a time of day."""
        place = bisect_left(self._seen, clock + 1, key=itemgetter(0))
        if place == len(self._seen):
            return Sums()
        if not self._greatest_from:
            # Of equal amounts the earlier one stays: 0.0 and -0.0 have other bits.
            backwards = accumulate((amount for _, _, amount in reversed(self._seen)), lambda late, one: max(one, late))
            self._greatest_from.extend(reversed(list(backwards)))
        every, past = self._sums_until(len(self._seen)), self._sums_until(place) if place else Sums()
        # Sums on the grid are exact, and so are their differences.
        return Sums(
            every.rows - past.rows,
            every.total - past.total,
            every.high_squares - past.high_squares,
            every.low_squares - past.low_squares,
            self._greatest_from[place],
        )

    def _sums_until(self, place: int) -> Sums:
        """The sums of the first transactions, at least one."""
        for _, _, amount in self._seen[len(self._until) : place]:
            self._until.append(_with(self._until[-1] if self._until else None, amount))
        return self._until[place - 1]


def _with(before: Sums | None, amount: float) -> Sums:
    summed = gridded(amount)
    high, low = in_two_parts(summed * summed)
    if before is None:
        return Sums(1, summed, high, low, amount)
    return Sums(
        before.rows + 1,
        before.total + summed,
        before.high_squares + high,
        before.low_squares + low,
        max(before.maximum, amount),
    )


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

    def each(self, entity: str) -> Iterator[tuple[Key, list[tuple[int, Any, float]]]]:
        """Every key with its transactions: time of day in microseconds, id and amount, in order of time."""
        ids, clocks, amounts = self._ids.to_pylist(), self._clocks.tolist(), self._amounts.tolist()
        for key, rows in self._by_key[entity].each():
            yield (
                key,
                [(clocks[row], ids[row], amounts[row]) for row in rows[np.argsort(self._clocks[rows], kind="stable")]],
            )


class RecentDay:
    """The transactions of one day, by key of each entity: those that were scored or added, and of a finished day all.

    Those of a finished day are laid out for a key when it is first asked for.
    """

    def __init__(self, plan: FeaturePlan, day: date, finished: FinishedDay | None = None) -> None:
        self.day = day
        self.finished = finished
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
        if found is None and self.finished is not None and (found := self.finished.of(entity, key)) is not None:
            known[key] = found
        return found


_Recent: TypeAlias = Sequence[Sequence[Number]]
"""Of each transaction the values that `_recent_columns` names."""


class OnlineFeatures:
    """The features of a plan that are computed here; batches of more than `small_batch` transactions as arrays."""

    def __init__(self, plan: FeaturePlan, small_batch: int = SMALL_BATCH) -> None:
        self._plan = plan
        self._small_batch = small_batch
        self._program = RowProgram(plan.own_features)
        self._recent = {entity: _recent_columns(entity) for entity in plan.entities}

    def of(
        self, batch: Batch, *, states: Mapping[str, EntityState], today: DayByKey, yesterday: DayByKey | None
    ) -> dict[str, NDArray[np.float32]]:
        """Those of at least one transaction of a day, all of which `today` holds; float32, an entry each.

        `states` are those of the day, by entity. `yesterday` is None where nothing is known of it.
        """
        clocks = batch.clocks(today.day)
        recent = {entity: _recent(entity, batch, clocks, today, yesterday) for entity in self._plan.entities}
        compute = self._row_by_row if len(clocks) <= self._small_batch else self._as_arrays
        # Divisions by zero are those of IEEE 754, and no reason to warn.
        with np.errstate(all="ignore"):
            return compute(batch, clocks, today.day, states, recent)

    def _row_by_row(
        self,
        batch: Batch,
        clocks: Sequence[int],
        day: date,
        states: Mapping[str, EntityState],
        recent: Mapping[str, _Recent],
    ) -> dict[str, NDArray[np.float32]]:
        begins = int(np.datetime64(day, "us").astype(np.int64))
        found = []
        for place, (clock, amount) in enumerate(zip(clocks, batch.amounts.tolist(), strict=True)):
            row: dict[str, Number] = {BEGINS: begins, TIMESTAMP: begins + clock, AMOUNT: amount}
            for entity, columns in self._recent.items():
                row |= states[entity].one(batch.keys[entity][place])
                row |= zip(columns, recent[entity][place], strict=True)
            found.append(self._program.run(row))
        features = np.array(found, np.float64).T.astype(np.float32, order="C")
        return dict(zip(self._program.names, features, strict=True))

    def _as_arrays(
        self,
        batch: Batch,
        clocks: Sequence[int],
        day: date,
        states: Mapping[str, EntityState],
        recent: Mapping[str, _Recent],
    ) -> dict[str, NDArray[np.float32]]:
        rows: dict[str, NullableArray] = {
            TIMESTAMP: NullableArray(batch.timestamps),
            AMOUNT: NullableArray(batch.amounts),
        }
        for entity, columns in self._recent.items():
            rows |= states[entity].of(batch.keys[entity])
            rows |= zip(columns, map(_array, zip(*recent[entity], strict=True)), strict=True)
        features = self._plan.own_features(rows, np.datetime64(day, "us"))
        return {name: value.cast("float32").values for name, value in features.items()}


def numeric_features(plan: FeaturePlan, numeric: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float32]]:
    """The numeric columns that pass through, of transactions with those columns in float64; NaN is null in both.

    Categories pass through as the text that they are.
    """
    features = {name: passed_through(NullableArray(numeric[name])) for name in plan.numeric}
    return {
        name: value.values if value.missing is None else np.where(value.missing, np.float32("nan"), value.values)
        for name, value in features.items()
    }


def _recent(entity: str, batch: Batch, clocks: Sequence[int], today: DayByKey, yesterday: DayByKey | None) -> _Recent:
    """The last 24 hours of a batch's keys, up to each transaction."""
    found: list[tuple[Number, ...]] = []
    for key, clock, number in zip(batch.keys[entity], clocks, batch.ids, strict=True):
        now, before = today.of(entity, key), yesterday.of(entity, key) if yesterday else None
        earlier, last = now.before(clock, number) if now else (Sums(), None)
        later = before.after(clock) if before else Sums()
        found.append((None if key is None else clock, last, *earlier.past, *later.past))
    return found


def _recent_columns(entity: str) -> tuple[str, ...]:
    sums = (f"{day}_{name}" for day in ("today", "yesterday") for name in Past._fields)
    return tuple(column_of(entity, name) for name in ("clock", "last", *sums))


def _array(values: Sequence[Number]) -> NullableArray:
    missing = np.array([value is None for value in values])
    return NullableArray.of(np.array([0 if value is None else value for value in values]), missing)
