"""A day, as a value or as an expression of the engine.

Here: when a day starts, in the form that a query needs. A query over an expression is compiled once and then serves
every day. Not here: which days belong together (`domain/windows.py`).
"""

from datetime import date, datetime, time
from typing import TypeAlias

import ibis
import ibis.expr.types as ir

Day: TypeAlias = date | ir.DateScalar


def start_of(day: Day) -> ir.TimestampScalar:
    """Its first microsecond."""
    if isinstance(day, date):
        return ibis.literal(datetime.combine(day, time.min), "timestamp(6)")
    return day.cast("timestamp(6)")
