"""The SQL that Spark gets means what DuckDB's means: floats above all."""

import duckdb
import ibis
import pytest

from fraud_retraining_tests.support.spark import MISSING

if MISSING:
    pytest.skip(MISSING, allow_module_level=True)

import pandas as pd

from fraud_retraining.adapters.storage.spark_backend import Compiler, float_text

ROWS = ibis.table({"a": "float64", "b": "string"}, name="t")


def sql(value: ibis.Value) -> str:
    return str(Compiler().to_sqlglot(ROWS.select(x=value)).sql(Compiler.dialect))


@pytest.mark.parametrize(
    ("value", "said", "unsaid"),
    [
        (ROWS.a.isnull(), "`a` IS NULL", "ISNAN"),
        (ROWS.a.notnull(), "`a` IS NULL", "ISNAN"),
        (ROWS.a.isinf(), "Infinity", "FALSE"),
        (ROWS.a.cast("string"), "float_text", "AS STRING"),
        (ROWS.a + 0.1, "CAST(0.1 AS DOUBLE)", "DECIMAL"),
    ],
)
def test_floats_mean_what_they_mean_in_duckdb(value: ibis.Value, said: str, unsaid: str) -> None:
    found = sql(value)
    assert said.lower() in found.lower() and unsaid.lower() not in found.lower()


def test_floats_are_written_as_duckdb_writes_them() -> None:
    numbers = [12.0, 12345678.0, 1e15, 1e16, 0.0001, 0.00001, 0.1, float("inf")]
    written = duckdb.sql(f"SELECT unnest({numbers[:-1]!r}::DOUBLE[])::VARCHAR").fetchall()
    assert float_text(pd.Series(numbers)).tolist() == [*(text for (text,) in written), "inf"]
