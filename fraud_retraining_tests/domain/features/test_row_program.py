"""Recorded steps over plain numbers do what arrays do, to the last bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.features.arrays import NullableArray, greatest, least
from fraud_retraining.domain.features.row_program import BEGINS, RowProgram
from fraud_retraining_tests.domain.features.test_arrays import EXPRESSIONS

HOSTILE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "quotient by nought": lambda a, b, n: a / b + a / n,
    "square root of any number": lambda a, b, n: a.sqrt() - n.sqrt(),
    "overflow": lambda a, b, n: a * b * 1e300 - b,
    "whether it is null": lambda a, b, n: a.isnull(),
    "null where it is true": lambda a, b, n: (a < b).ifelse(None, n),
    "a null that becomes a number": lambda a, b, n: a.fill_null(0) * -1,
    "nought, whole or not": lambda a, b, n: (a < b).ifelse(0, b) * -1,
    "a whole number that is greater": lambda a, b, n: greatest(a, 0) * -1 + least(0 + b, 0) * -1,
    "noughts of either sign": lambda a, b, n: greatest(least(a, b), -0.0),
    "a whole number beside others": lambda a, b, n: greatest(least(n, a), b),
}

hostile = st.one_of(
    st.none(),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1e-45, 5e-324, 3.5e38, 1e308, float("inf"), float("-inf"), float("nan")]),
)


def array(values: list[Any], kind: Any) -> NullableArray:
    known = np.array([0 if value is None else value for value in values], kind)
    return NullableArray.of(known, np.array([value is None for value in values]))


def bits(values: Any) -> bytes:
    """The bits of numbers as float32; those of NaN depend on the order of operands in the processor's instruction."""
    numbers = np.asarray(values, np.float64).astype(np.float32)
    return np.where(np.isnan(numbers), np.float32("nan"), numbers).tobytes()


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(hostile, hostile, st.none() | st.integers(-3, 3)), min_size=1, max_size=12))
@example(rows=[(a, b, n) for a in (0.0, -0.0, -1.0, None) for b in (0.0, -0.0, 2.0, None) for n in (0, 1, None)])
def test_every_step_has_the_bits_of_arrays(rows: list[tuple[Any, Any, Any]]):
    expressions = EXPRESSIONS | HOSTILE
    program = RowProgram(
        lambda row, begins: {name: one(*(row[it] for it in "abn")) for name, one in expressions.items()}
    )
    arrays = [
        array([row[place] for row in rows], kind) for place, kind in enumerate((np.float64, np.float64, np.int64))
    ]
    with np.errstate(all="ignore"):
        ours = zip(*(program.run(dict(zip("abn", row, strict=True)) | {BEGINS: 0}) for row in rows), strict=True)
        for (name, one), found in zip(expressions.items(), ours, strict=True):
            value = one(*arrays)
            missing = [False] * len(rows) if value.missing is None else value.missing.tolist()
            assert [entry is None for entry in found] == missing, name
            known = [entry for entry in found if entry is not None]
            assert bits(known) == bits(value.values[np.logical_not(missing)]), name


@pytest.mark.parametrize(
    "moment", ["1969-12-31T23:59:59.999999", "2026-03-14T00:00", "2026-03-15T13:30", "2024-02-29T07:00", None]
)
def test_timestamps_are_those_of_arrays(moment: str | None):
    times = NullableArray.of(np.array([moment or 0], "datetime64[us]"), np.array([moment is None]))
    begins = np.datetime64("2026-03-14", "us")

    def features(row: Any, begins: Any) -> dict[str, Any]:
        weekday = row["t"].day_of_week.index()
        return {"hour": row["t"].hour(), "weekday": weekday, "since": row["t"].delta(begins, unit="microsecond")}

    number = None if moment is None else int(times.values.astype(np.int64)[0])
    found = RowProgram(features).run({"t": number, BEGINS: int(begins.astype(np.int64))})
    wanted = features({"t": times}, begins).values()
    assert found == [None if one.missing is not None else one.values.item() for one in wanted]


def test_a_cast_rounds_as_arrays_do():
    program = RowProgram(
        lambda row, begins: (
            {kind: row["a"].cast(kind) for kind in ("int8", "float32", "float64")}
            | {"truth": (row["a"] > 1).cast("int8")}
        )
    )
    assert program.run({"a": 2.1, BEGINS: 0}) == [2, float(np.float32(2.1)), 2.1, 1]
    assert program.run({"a": None, BEGINS: 0}) == [None] * 4


def test_a_difference_in_another_unit_is_refused():
    with pytest.raises(ValueError, match="microseconds"):
        RowProgram(lambda row, begins: {"days": row["t"].delta(begins, unit="day")})
