"""Which SQL gives a row's day, by the partition columns of a table; the SQL runs in an engine."""

from datetime import date
from typing import Any

import duckdb
import pytest

from fraud_retraining.domain.data.athena_table import TableColumns
from fraud_retraining.domain.proposal.roles import Choices, Undecided
from fraud_retraining.domain.proposal.table import TableDays, decide_days, no_days

OWN = (("id", "bigint"), ("created_at", "timestamp"), ("amount", "double"))


def table(*partitions: tuple[str, str], is_view: bool = False) -> TableColumns:
    return TableColumns(OWN, partitions, is_view=is_view)


def asked(found: TableColumns, **choices: Any) -> dict[str, tuple[str, ...]]:
    with pytest.raises(Undecided) as raised:
        decide_days(found, Choices(**choices))
    return {question.option: question.candidates for question in raised.value.questions}


def day_of(sql: str, **values: Any) -> date | None:
    columns = ", ".join(f'{value!r} AS "{name}"' for name, value in values.items())
    ((found,),) = duckdb.sql(f"SELECT {sql} FROM (SELECT {columns})").fetchall()
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("partitions", "values", "columns"),
    [
        ((("day", "string"),), {"day": "2026-03-01"}, ("day",)),
        ((("event_date", "date"),), {"event_date": "2026-03-01"}, ("event_date",)),
        ((("country", "varchar(2)"), ("dt", "varchar")), {"dt": "2026-03-01"}, ("dt",)),
        ((("ds", "int"), ("hour", "int")), {"ds": 20260301}, ("ds",)),
        ((("year", "int"), ("month", "int"), ("day", "int")), {"year": 2026, "month": 3, "day": 1},
         ("year", "month", "day")),
        ((("y", "string"), ("m", "string"), ("d", "string")), {"y": "2026", "m": "03", "d": "01"}, ("y", "m", "d")),
    ],
)  # fmt: skip
def test_partitions_that_say_the_day(
    partitions: tuple[tuple[str, str], ...], values: dict[str, Any], columns: tuple[str, ...]
) -> None:
    found = decide_days(table(*partitions), Choices())
    assert found.columns == columns
    assert day_of(found.day, **values) == date(2026, 3, 1)
    assert day_of(found.day, **dict.fromkeys(values, "latest")) is None


@pytest.mark.parametrize(
    ("partitions", "candidates"),
    [
        ((), ('CAST("created_at" AS date)',)),
        ((("country", "string"),), 2),
        ((("event_day", "string"), ("load_day", "string")), 4),
        ((("year", "int"), ("month", "int")), 2),
    ],
)
def test_what_partitions_do_not_say_is_asked(partitions: tuple[tuple[str, str], ...], candidates: Any) -> None:
    found = asked(table(*partitions))["--athena-day"]
    assert (found if isinstance(candidates, tuple) else len(found)) == candidates


def test_days_in_digits_are_the_answer_to_texts_that_are_no_dates() -> None:
    found = decide_days(table(("dt", "string")), Choices())
    (question,) = no_days(table(("dt", "string")), found).questions
    assert found.day in question.asks
    assert [day_of(sql, dt="20260301") for sql in question.candidates] == [date(2026, 3, 1)]


def test_what_is_said_wins_and_its_columns_are_no_features() -> None:
    said = 'TRY_CAST(concat(country, "dt") AS date)'
    found = decide_days(table(("dt", "string"), ("country", "string"), ("date", "string")), Choices(athena_day=said))
    assert found == TableDays(said, 'max("$file_modified_time")', "as --athena-day says", ("dt", "country"))
    times = decide_days(table(), Choices(athena_day="CAST(created_at AS date)"))
    assert times.columns == ()


def test_a_view_has_no_time_of_change() -> None:
    view = table(is_view=True)
    assert set(asked(view)) == {"--athena-day", "--athena-modified"}
    found = decide_days(view, Choices(athena_day="CAST(created_at AS date)", athena_modified="max(loaded_at)"))
    assert found.modified == "max(loaded_at)"
