"""What is known of the columns and days of a lake or file that nothing is mapped to yet.

Here: the facts, and how texts of a CSV file may be read. Not here: counting them (`adapters/storage/profiles.py`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Literal

from pydantic import Field

from fraud_retraining.domain.values.base import Value

Kind = Literal["integer", "number", "text", "time", "boolean", "empty", "other"]

MISSING = ("", "nan", "null", "none", "na", "n/a", "nat", "\\n")
"""Texts that programs write for what is missing, in small letters."""
BOOLEAN, INTEGER, NUMBER, DECIMAL_COMMA, THOUSANDS, ISO, TEXT = (
    "true or false",
    "whole numbers",
    "numbers",
    "numbers with a decimal comma",
    "numbers with commas between thousands",
    "ISO 8601",
    "text",
)
TIMES = ("", " %H:%M:%S", " %H:%M", " %H:%M:%S.%f")
DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d")
FORMATS = tuple(day + time for day in DATES for time in TIMES)
"""Formats of times that are tried, beside ISO 8601."""


class ColumnFacts(Value):
    """A column: its type, or what its texts can be read as, and counts of its values."""

    name: str
    kind: Kind
    rows: int
    missing: int = Field(0, description="Rows without a value; NaN and words such as null count.")
    distinct: int = Field(0, description="Different values, give or take a few percent unless `exact`.")
    exact: bool = False
    least: str = ""
    most: str = ""
    values: tuple[str, ...] = Field((), description="All values where they are few, in order; else none.")
    readings: tuple[str, ...] = Field((), description="How its texts can be read, all of them; the first one is used.")

    @property
    def known(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def unique(self) -> bool:
        """Whether nearly every row has a value of its own, as far as an estimate can say."""
        return self.known > 0 and self.distinct >= 0.9 * self.known

    @property
    def words(self) -> str:
        """The facts in a sentence, as comments of the proposed settings show them."""
        parts = [f"{self.name}: {self.kind}"]
        if self.values:
            parts.append(f"values {', '.join(self.values)}")
        elif self.kind != "empty":
            parts.append(f"{'' if self.exact else 'about '}{self.distinct:,} distinct values")
            parts += [f"{self.least} to {self.most}"] if self.kind in ("integer", "number", "time") else []
        if self.missing:
            parts.append(f"{self.missing / self.rows:.2%} missing")
        return ", ".join(parts)


class DayFacts(Value):
    """A day: its rows, those with a label, and the frauds."""

    day: date
    rows: int
    labelled: int
    frauds: int
    rejected: int = Field(0, description="Rows without an id, or without an amount of nought or more.")


class FeedFacts(Value):
    """A label feed beside the transactions of the days that were looked at, as known at the end of the last of them."""

    labels: int = Field(description="Different labels of these days that can count, whatever transaction they name.")
    named: int = Field(description="Transactions that they name.")
    found: int = Field(description="Of those, transactions of the days that were looked at.")
    early: int = Field(
        0, description="Of the transactions that were found, those whose labels are all older than they."
    )
    misplaced: int = Field(0, description="Labels that became known on another day than that of their folder.")
    unclear: int = Field(0, description="Labels without an id or a moment, or that say neither fraud nor genuine.")
    frauds_by_delay: Mapping[date, Mapping[int, int]] = Field(
        {}, description="By day of the transactions: how many of their frauds were first reported after how many days."
    )

    @property
    def frauds(self) -> int:
        """Transactions that were reported as frauds, also where a report was taken back."""
        return sum(count for by_delay in self.frauds_by_delay.values() for count in by_delay.values())

    @property
    def unknown_share(self) -> float:
        """Share of the transactions that the feed names and that are not among those looked at."""
        return 1 - self.found / self.named if self.named else 0.0

    @property
    def counted_share(self) -> float:
        """Share of the transactions that the feed names and of which a label counts."""
        return (self.found - self.early) / self.named if self.named else 0.0


def possible_readings(texts: Sequence[str], delimiter: str = ",") -> tuple[str, ...]:
    """What texts can all be read as, the best first; `TEXT` is always among them. Missing ones are passed over.

    A number with a leading zero is text: its zeros would be lost. `delimiter` is the file's: where it is no comma,
    `1,234` has a decimal comma.

    >>> possible_readings(["12.5", "", "7"], delimiter=";")
    ('numbers', 'text')
    >>> possible_readings(["007", "12"])
    ('text',)
    >>> possible_readings(["03/04/2024", "05/06/2024"])
    ('%d/%m/%Y', '%m/%d/%Y', 'text')
    """
    known = [text.strip() for text in texts if text.strip().lower() not in MISSING]
    if not known:
        return (TEXT,)
    comma = (THOUSANDS,) if delimiter == "," else (DECIMAL_COMMA,)
    tried = (BOOLEAN, INTEGER, NUMBER, *comma, ISO, *FORMATS)
    return (*(name for name in tried if all(map(_tests(name), known))), TEXT)


_PATTERNS = {
    BOOLEAN: r"(?i)true|false",
    INTEGER: r"[+-]?(0|[1-9]\d{0,17})",
    # An exponent or a point makes a number of what would otherwise be a key.
    NUMBER: r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?",
    DECIMAL_COMMA: r"[+-]?(\d{1,3}(\.\d{3})+|0|[1-9]\d*)(,\d+)?",
    THOUSANDS: r"[+-]?([1-9]\d{0,2}(,\d{3})+|0|[1-9]\d*)(\.\d+)?",
    ISO: r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?( ?(Z|z|UTC|[+-]\d{2}(:?\d{2})?))?)?",
}


def pattern(reading: str) -> str | None:
    """The regular expression that texts of a reading match as a whole; None for formats of times and text."""
    return _PATTERNS.get(reading)


def _tests(reading: str) -> Callable[[str], bool]:
    if reading in _PATTERNS:
        return lambda text: re.fullmatch(_PATTERNS[reading], text) is not None
    return lambda text: _is_time(text, reading)


def _is_time(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def kind_of(reading: str) -> Kind:
    """The type of a column that is read so.

    >>> kind_of("%d/%m/%Y"), kind_of(DECIMAL_COMMA), kind_of(TEXT)
    ('time', 'number', 'text')
    """
    kinds: dict[str, Kind] = {
        BOOLEAN: "boolean",
        INTEGER: "integer",
        NUMBER: "number",
        DECIMAL_COMMA: "number",
        THOUSANDS: "number",
        TEXT: "text",
    }
    return kinds.get(reading, "time")
