"""Arrays with nulls do what Ibis expressions do in DuckDB, to the last bit."""

from collections.abc import Callable, Iterator
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.features.arrays import NullableArray, coalesce, greatest, least

EXPRESSIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "sum": lambda a, b, n: a + b + n + 1,
    "difference": lambda a, b, n: a - b - 1.5,
    "product": lambda a, b, n: 2 * a * b,
    "quotient": lambda a, b, n: a / b.nullif(0),
    "quotient of whole numbers": lambda a, b, n: n / (n - 3).nullif(0),
    "square root of what is above nought": lambda a, b, n: (a > 0).ifelse(a, None).sqrt(),
    "one or the other": lambda a, b, n: (a >= b).ifelse(a, b),
    "a constant or null": lambda a, b, n: (n < 2).ifelse(7.5, None),
    "without nulls": lambda a, b, n: a.fill_null(-1) * b.fill_null(3),
    "greatest": lambda a, b, n: greatest(a, b, -10.0),
    "least": lambda a, b, n: least(a, b),
    "first that is known": lambda a, b, n: coalesce(a, b, n),
    "yes or no as numbers": lambda a, b, n: (n <= 2).cast("int8"),
    "size": lambda a, b, n: a.abs(),
}

numbers = st.one_of(
    st.none(), st.floats(-1e9, 1e9).map(lambda one: round(one, 9)), st.sampled_from([0.0, 0.1, 1e-9, 3e15])
)
columns = st.lists(st.tuples(numbers, numbers, st.one_of(st.none(), st.integers(0, 5))), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(temp_directory=tmp_path_factory.mktemp("spill"), threads=1) as engine:
        yield engine


def nullable(column: pa.ChunkedArray) -> NullableArray:
    """A column of numbers as an array with its nulls."""
    values = pc.fill_null(column, 0).to_numpy()
    return NullableArray.of(values, pc.is_null(column).to_numpy())


@settings(max_examples=30, deadline=None)
@given(rows=columns)
def test_every_operation_is_that_of_the_engine(engine: Engine, rows: list[Any]):
    given_columns = dict(zip("abn", zip(*rows, strict=True), strict=True))
    table = pa.table(
        {name: pa.array(values, pa.int64() if name == "n" else pa.float64()) for name, values in given_columns.items()}
    )
    memory = engine.memtable(table.append_column("row", pa.array(range(len(rows)))))
    asked = {name: one(memory.a, memory.b, memory.n).cast("float32") for name, one in EXPRESSIONS.items()}
    found = engine.to_arrow(memory.select("row", **asked).order_by("row"))
    arrays = [nullable(table[name]) for name in "abn"]
    for name, one in EXPRESSIONS.items():
        with np.errstate(all="ignore"):
            value = one(*arrays).cast("float32")
        missing = [False] * len(rows) if value.missing is None else value.missing.tolist()
        assert missing == [entry is None for entry in found[name].to_pylist()], name
        ours, theirs = (np.where(missing, np.float32(0), one) for one in (value.values, nullable(found[name]).values))
        assert ours.astype(np.float32).tobytes() == theirs.astype(np.float32).tobytes(), name


def test_hours_and_days_of_the_week_are_those_of_the_engine(engine: Engine):
    moments = np.array(
        ["1969-12-31T23:59:59.999999", "2026-03-14T00:00", "2026-03-15T13:30", "2024-02-29T07:00"], "datetime64[us]"
    )
    rows = engine.memtable(pa.table({"row": range(len(moments)), "t": pa.array(moments)}))
    found = engine.to_arrow(rows.select("row", hour=rows.t.hour(), weekday=rows.t.day_of_week.index()).order_by("row"))
    ours = NullableArray(moments)
    assert ours.hour().values.tolist() == found["hour"].to_pylist()
    assert ours.day_of_week.index().values.tolist() == found["weekday"].to_pylist()


def test_microseconds_since_a_moment_are_those_of_the_engine(engine: Engine):
    moments = np.array(["2026-03-13T23:59:59.999999", "2026-03-14T00:00:01"], "datetime64[us]")
    rows = engine.memtable(pa.table({"t": pa.array(moments)}))
    begins = ibis.literal("2026-03-14 00:00:00").cast("timestamp(6)")
    wanted = engine.to_arrow(rows.select(since=rows.t.delta(begins, unit="microsecond")))["since"].to_pylist()
    assert NullableArray(moments).delta(np.datetime64("2026-03-14", "us"), "microsecond").values.tolist() == wanted
    with pytest.raises(ValueError, match="microseconds"):
        NullableArray(moments).delta(np.datetime64("2026-03-14", "us"), "day")


def test_an_array_without_nulls_says_so():
    assert NullableArray.of([1.0], np.array([False])).missing is None
    assert NullableArray.of([1.0]).isnull().values.tolist() == [False]
    assert NullableArray.of([1.0, 2.0], np.array([False, True])).isnull().values.tolist() == [False, True]
