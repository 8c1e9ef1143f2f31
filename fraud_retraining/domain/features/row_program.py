"""The features of one transaction as steps over plain numbers: recorded once, then run for each transaction.

Here: a value that records what is done with it, by the methods of Ibis expressions that features are written in, and
the steps that come of it. Not here: the features (`definitions.py`), and when rows are computed one by one
(`online.py`). Every step has the result of `arrays.NullableArray`, to the last bit. For a single row arrays cost more
than ten times as much: NumPy's price of an operation is that of a long array, and names, windows and what features have
in common would be worked out again.

Whole numbers are int, exact up to 2**53 in size; all others are float, which is float64; timestamps are microseconds
since 1970 in UTC. None is null, and counts as a missing float64. A cast is the last step of a feature: what follows a
cast to float32 is computed in float64 here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, TypeAlias

import numpy as np

Number: TypeAlias = int | float | None
Operand: TypeAlias = "Recorded | float | str | None"
Operation: TypeAlias = Callable[[Any, Any], Any]
"""A step. The second operand of one that needs none is None: a loop over steps of one shape takes half the time."""

BEGINS = "begins"
"""The first moment of the day, among the numbers of a row."""

HOUR = 3_600_000_000
DAY = 24 * HOUR


class RowProgram:
    """Some features as steps over the numbers of one row.

    Run it under `np.errstate(all="ignore")`, as with arrays: a division by zero is infinite or NaN.

    >>> program = RowProgram(lambda row, begins: {"mean": (row["sum"] / row["count"].nullif(0)).fill_null(-1)})
    >>> program.run({"begins": 0, "sum": 6.0, "count": 3}), program.run({"begins": 0, "sum": 0.0, "count": 0})
    ([2.0], [-1.0])
    """

    def __init__(self, features: "Callable[[Mapping[str, Recorded], Recorded], Mapping[str, Recorded]]") -> None:
        recording = _Recording()
        found = features(_Row(recording), recording.number(BEGINS))
        self.names = tuple(found)
        self._results = [one.place for one in found.values()]
        self._numbers = list(recording.numbers.items())
        self._steps = [(*step, place) for step, place in recording.steps.items()]
        self._constants = recording.constants

    def run(self, row: Mapping[str, Number]) -> list[Number]:
        """The features of a row, in the order of `names`."""
        memory = self._constants.copy()
        for name, place in self._numbers:
            memory[place] = row[name]
        for operation, one, other, place in self._steps:
            memory[place] = operation(memory[one], memory[other])
        return [memory[place] for place in self._results]


class _Recording:
    """Places of what is given and computed. What is computed again in the same way has the place of the first time."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.steps: dict[tuple[Operation, int, int], int] = {}
        self.constants: list[Any] = []
        self._places: dict[str, int] = {}

    def number(self, name: str) -> "Recorded":
        return Recorded(self, self._at(name, self.numbers))

    def step(self, operation: Operation, one: Operand, other: Operand) -> "Recorded":
        return Recorded(self, self._at((operation, self._place(one), self._place(other)), self.steps))

    def _place(self, operand: Operand) -> int:
        if isinstance(operand, Recorded):
            return operand.place
        # By its text: 0, 0.0 and -0.0 are equal, and not the same.
        place = self._at(repr(operand), self._places)
        self.constants[place] = operand
        return place

    def _at(self, what: Any, places: dict[Any, int]) -> int:
        if what not in places:
            places[what] = len(self.constants)
            self.constants.append(None)
        return places[what]


class _Row(dict[str, "Recorded"]):
    """The numbers of a row, by any name that is asked for."""

    def __init__(self, recording: _Recording) -> None:
        super().__init__()
        self._recording = recording

    def __missing__(self, name: str) -> "Recorded":
        return self._recording.number(name)


@dataclass(frozen=True, eq=False, slots=True)
class Recorded:
    """A number that is not known yet; what is done with it is recorded."""

    recording: _Recording
    place: int

    def __add__(self, other: Operand) -> "Recorded":
        return self._step(_sum, other)

    def __radd__(self, other: Operand) -> "Recorded":
        return self._step(_sum, other)

    def __sub__(self, other: Operand) -> "Recorded":
        return self._step(_difference, other)

    def __mul__(self, other: Operand) -> "Recorded":
        return self._step(_product, other)

    def __rmul__(self, other: Operand) -> "Recorded":
        return self._step(_product, other)

    def __truediv__(self, other: Operand) -> "Recorded":
        return self._step(_quotient, other)

    def __gt__(self, other: Operand) -> "Recorded":
        return self._step(_above, other)

    def __ge__(self, other: Operand) -> "Recorded":
        return self._step(_at_least, other)

    def __lt__(self, other: Operand) -> "Recorded":
        return self._step(_below, other)

    def __le__(self, other: Operand) -> "Recorded":
        return self._step(_at_most, other)

    def sqrt(self) -> "Recorded":
        """Square root; NaN of a negative number."""
        return self._step(_root)

    def abs(self) -> "Recorded":
        """Absolute value."""
        return self._step(_size)

    def cast(self, kind: str) -> "Recorded":
        """The number as another type holds it, by its name: int8, float32, float64."""
        return self._step(_cast, kind)

    def isnull(self) -> "Recorded":
        """Whether it is null."""
        return self._step(_is_null)

    def nullif(self, value: float) -> "Recorded":
        """Null where the number is `value`."""
        return self._step(_null_if, value)

    def fill_null(self, value: float) -> "Recorded":
        """`value` where it is null."""
        return self._step(_first_known, value)

    def coalesce(self, other: Operand) -> "Recorded":
        """The other where this is null."""
        return self._step(_first_known, other)

    def ifelse(self, true: Operand, false: Operand) -> "Recorded":
        """The one where it is true, the other where it is false or null."""
        if false is None:
            return self._step(_if_true, true)
        if true is None:
            return self._step(_if_not_true, false)
        return self._step(_one_of, self.recording.step(_pair, true, false))

    def greatest(self, other: Operand) -> "Recorded":
        """The greater of two; of equal ones this, of a null and a number the number."""
        return self._step(_greater, other)

    def least(self, other: Operand) -> "Recorded":
        """The lesser of two; of equal ones this, of a null and a number the number."""
        return self._step(_lesser, other)

    def delta(self, other: "Recorded", unit: str) -> "Recorded":
        """Whole microseconds since a moment."""
        if unit != "microsecond":
            raise ValueError(f"a timestamp counts in microseconds, not {unit}s")
        return self._step(_difference, other)

    def hour(self) -> "Recorded":
        """Hour of the day, 0 to 23."""
        return self._step(_hour)

    @property
    def day_of_week(self) -> "_DayOfWeek":
        """The day of the week."""
        return _DayOfWeek(self)

    def _step(self, operation: Operation, other: Operand = None) -> "Recorded":
        return self.recording.step(operation, self, other)


@dataclass(frozen=True, slots=True)
class _DayOfWeek:
    timestamp: Recorded

    def index(self) -> Recorded:
        """Days since Monday, 0 to 6."""
        return self.timestamp._step(_weekday)


# ---------------------------------------------------------------- the steps


def _sum(one: Number, other: Number) -> Number:
    return None if one is None or other is None else one + other


def _difference(one: Number, other: Number) -> Number:
    return None if one is None or other is None else one - other


def _product(one: Number, other: Number) -> Number:
    return None if one is None or other is None else one * other


def _quotient(one: Number, other: Number) -> Number:
    if one is None or other is None:
        return None
    return one / other if other else float(np.true_divide(one, other))


def _above(one: Number, other: Number) -> Number:
    return None if one is None or other is None else one > other


def _at_least(one: Number, other: Number) -> Number:
    return None if one is None or other is None else one >= other


def _below(one: Number, other: Number) -> Number:
    return None if one is None or other is None else one < other


def _at_most(one: Number, other: Number) -> Number:
    return None if one is None or other is None else one <= other


def _root(value: Number, _: None) -> Number:
    if value is None:
        return None
    return sqrt(value) if value >= 0 else float(np.sqrt(value))


def _size(value: Number, _: None) -> Number:
    return None if value is None else abs(value)


def _cast(value: Number, kind: str) -> Number:
    return None if value is None else np.asarray(value).astype(kind).item()


def _is_null(value: Number, _: None) -> Number:
    return value is None


def _null_if(value: Number, unwanted: float) -> Number:
    return None if value == unwanted else value


def _first_known(one: Number, other: Number) -> Number:
    return _in_common(one, other) if one is not None else _in_common(other, one)


def _if_true(condition: Number, value: Number) -> Number:
    return value if condition else None


def _if_not_true(condition: Number, value: Number) -> Number:
    return None if condition else value


def _pair(one: Number, other: Number) -> tuple[Number, Number]:
    return _in_common(one, other), _in_common(other, one)


def _one_of(condition: Number, pair: tuple[Number, Number]) -> Number:
    true, false = pair
    return true if condition else false


def _greater(one: Number, other: Number) -> Number:
    if one is None or (other is not None and other > one):
        return _in_common(other, one)
    return _in_common(one, other)


def _lesser(one: Number, other: Number) -> Number:
    if one is None or (other is not None and other < one):
        return _in_common(other, one)
    return _in_common(one, other)


def _in_common(chosen: Number, other: Number) -> Number:
    """The chosen one of two, as an array of both would hold it: 0 and 0.0 are the same, but not 0 * -1 and 0.0 * -1."""
    if isinstance(chosen, int) and not isinstance(other, int):
        return float(chosen)
    return chosen


def _hour(timestamp: Number, _: None) -> Number:
    return None if timestamp is None else timestamp // HOUR % 24


def _weekday(timestamp: Number, _: None) -> Number:
    # 1970-01-01 was a Thursday.
    return None if timestamp is None else (timestamp // DAY + 3) % 7
