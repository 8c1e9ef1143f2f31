"""Segments: which rows fulfil a condition, and which settings an entry may hold."""

import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from fraud_retraining.domain.data.segments import NumberRange, SegmentPolicy, Where, columns_of, summary, taken
from fraud_retraining.domain.values.errors import DataInvalid

WHERE: TypeAdapter[Where] = TypeAdapter(Where)
COUNTRIES = ("DE", "FR", "", None)
LONG = 2**53


def where(condition: dict[str, Any]) -> Where:
    return WHERE.validate_python(condition)


@given(
    st.lists(st.tuples(st.sampled_from(COUNTRIES), st.one_of(st.none(), st.floats(-5, 5))), max_size=30),
    st.lists(st.sampled_from(COUNTRIES), min_size=1, max_size=3),
    st.floats(-5, 5),
)
def test_a_row_is_taken_exactly_if_it_fulfils_every_condition(
    rows: list[tuple[str | None, float | None]], listed: list[str | None], bound: float
) -> None:
    countries, amounts = [list(column) for column in zip(*rows, strict=True)] or [[], []]
    table = pa.table({"country": pa.array(countries, pa.string()), "amount": pa.array(amounts, pa.float64())})
    found = taken(table, where({"country": listed, "amount": {"at_least": bound}})).to_pylist()
    assert found == [country in listed and amount is not None and amount >= bound for country, amount in rows]


@given(st.lists(st.floats(-10, 10), max_size=30), st.floats(-9, 9))
def test_two_ranges_that_meet_take_every_number_once(amounts: list[float], bound: float) -> None:
    table = pa.table({"amount": pa.array(amounts, pa.float64())})
    low, high = (taken(table, where({"amount": one})).to_pylist() for one in ({"below": bound}, {"at_least": bound}))
    assert [a != b for a, b in zip(low, high, strict=True)] == [True] * len(amounts)


@pytest.mark.parametrize(
    ("column", "condition", "expected"),
    [
        (pa.array([LONG, LONG + 1, None]), LONG + 1, [False, True, False]),
        (pa.array([1, 2, 3]), ["1", 2.0], [True, True, False]),
        (pa.array([1, 2]), ["x", 1.5], [False, False]),
        (pa.array([1.5, math.nan, None]), [1.5, None], [True, True, True]),
        (pa.array([1.5, math.nan]), 1.5, [True, False]),
        (pa.array([1, -1, None]), [10**19, 10**400, -1], [False, True, False]),
        (pa.array([2**64 - 1, 1], pa.uint64()), [2**64 - 1, -1, 2**64], [True, False]),
        (pa.array([1.0, float(LONG)]), [LONG + 1, 10**400, "1"], [True, False]),
        (pa.array([Decimal("1.50"), None]), [1.5], [True, False]),
        (pa.array([Decimal("1.50"), None]), {"below": 2}, [True, False]),
        (pa.array([2**60 + 1, 1]), {"at_least": 2}, [True, False]),
        (pa.array(["1", "1.0", None]), 1, [True, False, False]),
        (pa.array(["a", None]).dictionary_encode(), ["a"], [True, False]),
    ],
    ids=[
        "long keys",
        "numbers as text",
        "no such number",
        "missing listed",
        "missing",
        "int64",
        "uint64",
        "double",
        "decimal",
        "decimals",
        "long",
        "text",
        "dictionary",
    ],
)
def test_values_are_compared_as_what_the_column_holds(column: pa.Array, condition: Any, expected: list[bool]) -> None:
    rows = pa.table({"x": column})
    assert taken(rows, where({"x": condition})).to_pylist() == expected
    assert taken(rows.to_batches()[0], where({"x": condition})).to_pylist() == expected


def test_without_a_condition_every_row_is_taken() -> None:
    assert taken(pa.table({"x": [1, None]}), {}).to_pylist() == [True, True]


@pytest.mark.parametrize(
    ("condition", "culprit"),
    [({"y": "a"}, "y"), ({"x": {"below": 3}}, "string")],
    ids=["a column that is not there", "a range of text"],
)
def test_rows_that_cannot_be_told_apart_are_refused(condition: dict[str, Any], culprit: str) -> None:
    with pytest.raises(DataInvalid, match=culprit):
        taken(pa.table({"x": ["a"]}), where(condition))


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"name": "a b"}, "pattern"),
        ({"name": "9"}, "pattern"),
        ({"name": "a", "lake": {}}, "a: lake: all models share it"),
        ({"name": "a", "model": {"name": "b"}}, "a: model.name: no model has its own"),
        ({"name": "a", "validation": {"max_reject_share": 1}}, "a: validation.max_reject_share: no model has its own"),
        ({"name": "a", "where": {"country": False}}, "quotes"),
        ({"name": "a", "where": {"country": []}}, "takes no transaction"),
        ({"name": "a", "where": {"x": [math.inf]}}, "a number that is none"),
        ({"name": "a", "where": {"x": {}}}, "a range needs"),
        ({"name": "a", "where": {"x": {"at_least": 2, "below": 2}}}, "no number is at least 2 and below 2"),
    ],
)
def test_an_entry_that_cannot_be_obeyed_is_refused(entry: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        SegmentPolicy.model_validate(entry)


def test_an_entry_says_what_it_replaces_and_what_it_is_made_of() -> None:
    entry = SegmentPolicy.model_validate({"name": "a", "where": {"x": 1, "y": [None]}, "window": {"days": 9}})
    assert entry.overrides == {"window": {"days": 9}}
    assert entry.where == {"x": (1,), "y": (None,)}
    assert columns_of([entry, entry]) == ("x", "y")
    assert summary({**entry.where, "z": NumberRange(below=2)}) == "x is 1, and y is missing, and z is below 2"
    assert summary({}) == "every transaction"
