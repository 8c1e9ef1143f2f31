"""A table as plain cells, and the format of numbers in it.

Here: the value that every medium prints. Not here: which tables there are (`domain/review/tables.py`,
`domain/monitoring/drift_tables.py`, `domain/audit/period.py`) and printing them (`orchestration/rendering.py`,
`adapters/pages/html.py`, `commands/implementation/audit_tables.py`).

Cells are text or whole numbers. Text may come from outside: code that prints it has to escape it.
"""

from collections.abc import Iterable

from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.interval import Interval

Cell = str | int
NONE = "-"


class Grid(Value):
    """A table: name, title, columns, rows, and a note for the reader."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def grid(name: str, title: str, columns: tuple[str, ...], rows: Iterable[tuple[Cell, ...]], note: str = "") -> Grid:
    """A grid from an iterable of rows."""
    return Grid(name=name, title=title, columns=columns, rows=tuple(rows), note=note)


def number(value: float | None, form: str = ".4f") -> str:
    """A number as text; a dash where there is none.

    >>> number(0.12345), number(None), share(0.051)
    ('0.1235', '-', '5.1%')
    """
    return NONE if value is None else format(value, form)


def share(value: float | None) -> str:
    """A share in percent."""
    return number(value, ".1%")


def span(interval: Interval | None, form: str = ".4f") -> str:
    """An interval."""
    return NONE if interval is None else f"{interval.low:{form}} to {interval.high:{form}}"
