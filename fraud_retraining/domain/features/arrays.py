"""Columns of one batch in memory, with the methods of Ibis expressions that features are written in.

Here: NumPy arrays in which an entry may be missing, as SQL's null is. Not here: the features
(`definitions.py`). Every operation is the one of IEEE 754 that DuckDB does too (add, subtract, multiply, divide,
square root, and rounding to float32), so that a feature has the same bits in both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import ibis
import numpy as np
from numpy.typing import NDArray

from fraud_retraining.domain.features.row_program import Recorded

Operand: TypeAlias = "NullableArray | float | int | None"
SECONDS_OF_HOUR = 3600
MICROSECONDS = np.timedelta64(1, "us")


@dataclass(eq=False, slots=True)
class NullableArray:
    """One entry a row; `missing` marks those that are null, None where none is. What a null stands in is null.

    A null's entry holds anything, zeros to divide by among them: compute under `np.errstate(all="ignore")`.

    >>> sums, counts = NullableArray.of([6.0, 0.0]), NullableArray.of([3, 0])
    >>> with np.errstate(all="ignore"):
    ...     (sums / counts.nullif(0)).fill_null(-1).values.tolist()
    [2.0, -1.0]
    """

    values: NDArray[Any]
    missing: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, values: Any, missing: NDArray[np.bool_] | None = None) -> "NullableArray":
        """The entries as an array; those that `missing` marks are null."""
        return cls(np.asarray(values), missing if missing is not None and missing.any() else None)

    def __len__(self) -> int:
        return len(self.values)

    # ------------------------------------------------------------ arithmetic

    def __add__(self, other: Operand) -> "NullableArray":
        return self._with(np.add, other)

    def __radd__(self, other: Operand) -> "NullableArray":
        return self._with(np.add, other)

    def __sub__(self, other: Operand) -> "NullableArray":
        return self._with(np.subtract, other)

    def __mul__(self, other: Operand) -> "NullableArray":
        return self._with(np.multiply, other)

    def __rmul__(self, other: Operand) -> "NullableArray":
        return self._with(np.multiply, other)

    def __truediv__(self, other: Operand) -> "NullableArray":
        return self._with(np.true_divide, other)

    def __gt__(self, other: Operand) -> "NullableArray":
        return self._with(np.greater, other)

    def __ge__(self, other: Operand) -> "NullableArray":
        return self._with(np.greater_equal, other)

    def __lt__(self, other: Operand) -> "NullableArray":
        return self._with(np.less, other)

    def __le__(self, other: Operand) -> "NullableArray":
        return self._with(np.less_equal, other)

    def sqrt(self) -> "NullableArray":
        """Square root."""
        return NullableArray(np.sqrt(self.values), self.missing)

    def abs(self) -> "NullableArray":
        """Absolute value."""
        return NullableArray(np.abs(self.values), self.missing)

    def cast(self, kind: str) -> "NullableArray":
        """Entries of another type, by its name: int8, float32, float64."""
        return NullableArray(self.values.astype(kind), self.missing)

    # ------------------------------------------------------------ nulls

    def isnull(self) -> "NullableArray":
        """Which entries are null."""
        return NullableArray(np.zeros(len(self), dtype=bool) if self.missing is None else self.missing)

    def nullif(self, value: float) -> "NullableArray":
        """Null where an entry is `value`."""
        return NullableArray.of(self.values, _either(self.missing, self.values == value))

    def fill_null(self, value: float) -> "NullableArray":
        """`value` where an entry is null."""
        if self.missing is None:
            return self
        return NullableArray(np.where(self.missing, value, self.values))

    def ifelse(self, true: Operand, false: Operand) -> "NullableArray":
        """The one where the entry is true, the other where it is false or null."""
        chosen = self.values if self.missing is None else self.values & ~self.missing
        (yes, no), (yes_missing, no_missing) = zip(_parts(true), _parts(false), strict=True)
        missing = np.where(chosen, _mask(yes_missing), _mask(no_missing))
        return NullableArray.of(np.where(chosen, yes, no), np.broadcast_to(missing, self.values.shape))

    # ------------------------------------------------------------ timestamps, as microseconds in UTC

    def delta(self, other: np.datetime64, unit: str) -> "NullableArray":
        """Whole microseconds since a moment."""
        if unit != "microsecond":
            raise ValueError(f"an array counts in microseconds, not {unit}s")
        return NullableArray((self.values - other) // MICROSECONDS, self.missing)

    def hour(self) -> "NullableArray":
        """Hour of the day, 0 to 23."""
        hours = self.values.astype("datetime64[h]").astype(np.int64) % 24
        return NullableArray(hours, self.missing)

    @property
    def day_of_week(self) -> "_DayOfWeek":
        """The day of the week."""
        return _DayOfWeek(self)

    def _with(self, operation: Callable[..., NDArray[Any]], other: Operand) -> "NullableArray":
        value, missing = _parts(other)
        return NullableArray(operation(self.values, value), _either(self.missing, missing))


@dataclass(frozen=True, slots=True)
class _DayOfWeek:
    timestamps: NullableArray

    def index(self) -> NullableArray:
        """Days since Monday, 0 to 6."""
        days = self.timestamps.values.astype("datetime64[D]").astype(np.int64)
        # 1970-01-01 was a Thursday.
        return NullableArray((days + 3) % 7, self.timestamps.missing)


Numbers: TypeAlias = Any
"""An Ibis expression, a `NullableArray` or a `Recorded`; Ibis has no types that a checker could tell apart from any
other."""


def greatest(first: Numbers, *others: Any) -> Numbers:
    """The greatest of some columns, row by row; nulls do not count, as in DuckDB."""
    if isinstance(first, Recorded):
        return reduce(Recorded.greatest, others, first)
    if isinstance(first, NullableArray):
        return reduce(_extreme(np.greater), others, first)
    return ibis.greatest(first, *others)


def least(first: Numbers, *others: Any) -> Numbers:
    """The least of some columns, row by row; nulls do not count."""
    if isinstance(first, Recorded):
        return reduce(Recorded.least, others, first)
    if isinstance(first, NullableArray):
        return reduce(_extreme(np.less), others, first)
    return ibis.least(first, *others)


def coalesce(first: Numbers, *others: Any) -> Numbers:
    """The first of some columns that is not null, row by row."""
    if isinstance(first, Recorded):
        return reduce(Recorded.coalesce, others, first)
    if isinstance(first, NullableArray):
        return reduce(_first, others, first)
    return ibis.coalesce(first, *others)


def _extreme(beyond: Callable[..., NDArray[Any]]) -> Callable[[NullableArray, Operand], NullableArray]:
    def of_two(first: NullableArray, second: Operand) -> NullableArray:
        value, missing = _parts(second)
        # Of 0.0 and -0.0, which are equal, the first stays, as in DuckDB; NumPy's own maximum takes either.
        found = np.where(beyond(value, first.values), value, first.values)
        if first.missing is None and missing is None:
            return NullableArray(found)
        a, b = _mask(first.missing), _mask(missing)
        known = np.where(a, value, np.where(b, first.values, found))
        return NullableArray.of(known, np.broadcast_to(a & b, first.values.shape))

    return of_two


def _first(first: NullableArray, second: Operand) -> NullableArray:
    if first.missing is None:
        return first
    value, missing = _parts(second)
    return NullableArray.of(np.where(first.missing, value, first.values), first.missing & _mask(missing))


def _parts(value: Operand) -> tuple[Any, NDArray[np.bool_] | None]:
    if isinstance(value, NullableArray):
        return value.values, value.missing
    # Null as a constant: any number, all of it missing.
    return (0, np.array(True)) if value is None else (value, None)


def _mask(missing: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return np.array(False) if missing is None else missing


def _either(first: NDArray[np.bool_] | None, second: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    if first is None or second is None:
        return second if first is None else first
    return first | second
