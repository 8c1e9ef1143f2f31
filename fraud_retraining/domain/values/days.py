"""A day, as a value or as an expression of the query engine, and ranges of days.

A query over an expression is compiled once and then used for every day. A query over `EACH_DAY` answers for several
days at once: each row says in its column `THIS_DAY` for which. Not here: which days belong together
(`domain/training/windows.py`).
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Final, Self, TypeAlias

import ibis
import ibis.expr.types as ir
from pydantic import model_validator

from fraud_retraining.domain.values.base import Value

THIS_DAY = "__this_day"
"""Column of a query over `EACH_DAY` with the day that a row is read for; a row may be read for several."""


class EachDay:
    """Several days in one query, each for itself."""


EACH_DAY: Final = EachDay()

Day: TypeAlias = date | ir.DateScalar | EachDay
OneDay: TypeAlias = date | ir.DateValue


def day_of(day: Day, rows: ibis.Table) -> OneDay:
    """The day that the rows are read for: the same for all, or each row's own."""
    return rows[THIS_DAY] if isinstance(day, EachDay) else day


def by_day(day: Day) -> tuple[str, ...]:
    """Columns that keep days apart, where a query groups, orders or joins rows: none for a query over one day."""
    return (THIS_DAY,) if isinstance(day, EachDay) else ()


def start_of(day: OneDay) -> ir.TimestampValue:
    """First microsecond of a day."""
    if isinstance(day, date):
        return ibis.literal(datetime.combine(day, time.min), "timestamp(6)")
    return day.cast("timestamp(6)")


class DayRange(Value):
    """A range of whole UTC days, both ends included.

    >>> days = DayRange(start=date(2026, 2, 27), end=date(2026, 3, 1))
    >>> len(days), date(2026, 3, 1) in days, [day.day for day in days]
    (3, True, [27, 28, 1])
    """

    start: date
    end: date

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"{self.end} is before {self.start}")
        return self

    # pydantic iterates over fields; a range of days iterates over its days.
    def __iter__(self) -> Iterator[date]:  # type: ignore[override]
        return (self.start + timedelta(days=n) for n in range(len(self)))

    def __len__(self) -> int:
        return (self.end - self.start).days + 1

    def __contains__(self, day: date) -> bool:
        return self.start <= day <= self.end
