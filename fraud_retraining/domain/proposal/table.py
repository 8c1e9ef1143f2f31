"""How a table of Athena says which day a row is of: guesses from its partition columns, and what only a person can say.

Here: SQL that Athena and DuckDB both understand. Not here: asking Athena (`adapters/storage/athena.py`).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from fraud_retraining.domain.data.athena_table import AthenaPolicy, TableColumns, quoted
from fraud_retraining.domain.proposal.roles import Choices, Question, Undecided, plain_name

_PARTS = (("year", "yyyy", "y"), ("month", "mm", "m"), ("day", "dd", "d"))
_DAY_NAMES = r"(.+_)?(day|date|dt|ds)|(day|date|dt|ds)_.+"
_TEXTS, _WHOLE = ("string", "varchar", "char"), ("tinyint", "smallint", "int", "integer", "bigint")
ASKS = "which SQL gives a row's UTC day, of partition columns alone"


class TableDays(NamedTuple):
    """SQL of a row's day and of when a day was written last, and why; `columns` say nothing but the day."""

    day: str
    modified: str
    why: str
    columns: tuple[str, ...]


def decide_days(table: TableColumns, choices: Choices) -> TableDays:
    """How the days of a table are told apart.

    Raises:
        Undecided: its partition columns do not say, or it is a view, which has no time of change; all at once.
    """
    asked: list[Question] = []
    guess = _guess(table)
    day = choices.athena_day or (guess[0] if guess else "")
    if not day:
        asked.append(Question("athena_day", ASKS, _possible_days(table)))
    modified = choices.athena_modified or AthenaPolicy.model_fields["modified"].default
    if table.is_view and choices.athena_modified is None:
        asked.append(
            Question(
                "athena_modified",
                "it is a view: which SQL aggregate says when a day was written last",
                ("max(COLUMN)",),
            )
        )
    if asked:
        raise Undecided(asked)
    if choices.athena_day or guess is None:
        return TableDays(day, modified, "as --athena-day says", _named_in(day, table))
    return TableDays(day, modified, guess[1], guess[2])


def no_days(table: TableColumns, found: TableDays) -> Undecided:
    """The question that is left where an expression gives no row a day."""
    others = tuple(one for one in _possible_days(table) if one != found.day)
    return Undecided([Question("athena_day", f"{found.day} gives no row a day: {ASKS}", others)])


def _guess(table: TableColumns) -> tuple[str, str, tuple[str, ...]] | None:
    """The day, why, and the columns that it is of."""
    partitions = table.partitions
    if parts := _date_parts([name for name, _ in partitions]):
        return _of_parts(parts), f"partitioned by {', '.join(parts)}", parts
    dates = [one for one in partitions if one[1] == "date"]
    named = [one for one in partitions if re.fullmatch(_DAY_NAMES, plain_name(one[0]))]
    found = dates or named
    if len(found) != 1:
        return None
    name, kind = found[0]
    expressions = _expressions(name, kind)
    return (expressions[0], f"partitioned by {name} ({kind})", (name,)) if expressions else None


def _possible_days(table: TableColumns) -> tuple[str, ...]:
    """What the day may be: of partitions, or where there are none, of columns with dates and times."""
    found = [sql for name, kind in table.partitions for sql in _expressions(name, kind)]
    if not table.partitions:
        times = [name for name, kind in table.columns if kind == "date" or kind.startswith("timestamp")]
        found = [f"CAST({quoted(name)} AS date)" for name in times]
    return tuple(found[:12])


def _date_parts(names: Sequence[str]) -> tuple[str, ...]:
    """The columns of year, month and day, where there is each of them."""
    known = {name.lower(): name for name in names}
    found = [[known[spelt] for spelt in spellings if spelt in known] for spellings in _PARTS]
    return tuple(one[0] for one in found) if all(found) else ()


def _of_parts(parts: Sequence[str]) -> str:
    year, month, day = (f"CAST({quoted(name)} AS varchar)" for name in parts)
    return f"TRY_CAST({year} || '-' || lpad({month}, 2, '0') || '-' || lpad({day}, 2, '0') AS date)"


def _expressions(name: str, kind: str) -> tuple[str, ...]:
    """The day of a partition column: a date or a text like 2026-03-01; then digits like 20260301."""
    text = f"CAST({quoted(name)} AS varchar)"
    parts = " || '-' || ".join(f"substr({text}, {start}, {length})" for start, length in ((1, 4), (5, 2), (7, 2)))
    plain, digits = f"TRY_CAST({quoted(name)} AS date)", f"TRY_CAST({parts} AS date)"
    if kind.startswith(_TEXTS):
        return plain, digits
    if kind in _WHOLE:
        return (digits,)
    return (plain,) if kind == "date" or kind.startswith("timestamp") else ()


def _named_in(sql: str, table: TableColumns) -> tuple[str, ...]:
    """Columns that an expression names, other than times, of which the transaction's own may be one."""
    words = set(re.findall(r"\w+", re.sub(r"(?i)\bas\s+\w+\b", "", sql.lower())))
    return tuple(
        name
        for name, kind in (*table.partitions, *table.columns)
        if name.lower() in words and not kind.startswith("timestamp")
    )
