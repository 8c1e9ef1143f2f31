"""The table of a lake: its settings, its queries, and the days that they give."""

from datetime import date

import pytest

from fraud_retraining.domain.data.athena_table import AthenaPolicy, day_of_path, rows_of_version, table_day

POLICY = AthenaPolicy(database='pay"ments', table="tx", output="s3://bucket/out")


def test_names_are_quoted_and_days_are_dates() -> None:
    query = POLICY.unload_query(date(2026, 3, 1), ['a"b', "c"], "s3://bucket/out/x/")
    assert query.startswith('UNLOAD (SELECT "a""b", "c" FROM "pay""ments"."tx" WHERE TRY_CAST(day AS date) BETWEEN')
    assert "TO 's3://bucket/out/x/'" in query


def test_another_table_is_read_as_the_first_one() -> None:
    assert POLICY.at("athena://other.labels").name == '"other"."labels"'
    assert POLICY.at("athena://labels").name == '"pay""ments"."labels"'


def test_a_day_has_a_path_a_version_and_a_time() -> None:
    found = table_day("2026-03-01", "12", "2026-03-02 04:00:00.123 UTC")
    assert day_of_path(found.path) == date(2026, 3, 1)
    assert rows_of_version(found.version) == 12
    assert found.seconds == 1772424000.0
    assert table_day("2026-03-01", "12", "of a view").seconds == 0.0
    assert table_day(None, "3", "x").day is None
    assert table_day("latest", "3", "x").day is None
    with pytest.raises(ValueError, match="no day of a table"):
        day_of_path("year=2026/rows.parquet")
