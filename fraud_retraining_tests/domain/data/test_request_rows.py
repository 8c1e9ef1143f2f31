"""Rows of a request become the transactions that the same rows in a file of the lake become, bit by bit."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.adapters.storage.engine import Engine, lake_day
from fraud_retraining.domain.data.ingestion import judge
from fraud_retraining.domain.data.lake_columns import INTEGER, TEXT, key_kinds
from fraud_retraining.domain.data.lake_mapping import REASON, LakeMapping
from fraud_retraining.domain.data.request_rows import RequestReader, RequestRows, RowProblem

DAY = date(2024, 2, 29)
MAPPING = LakeMapping.model_validate(
    {
        "columns": {"transaction_id": "ID", "timestamp": "AT", "amount": "SUM", "is_fraud": "BAD"},
        "entities": {
            "customer": {"column": "CARD"},
            "device": {"column": "DEVICE", "nullable": True},
            "shop": {"column": ["SHOP", "TILL"]},
            "route": {"column": ["FROM", "TO"], "nullable": True},
        },
        "numeric": ["risk"],
        "categorical": ["channel"],
        "slices": ["country"],
    }
)
TYPES = {"transaction_id": INTEGER, "customer": INTEGER, "device": TEXT}
TYPES |= {"__shop.SHOP": INTEGER, "__shop.TILL": TEXT, "__route.FROM": TEXT, "__route.TO": TEXT}
GOOD = {
    "ID": 1,
    "AT": "2024-02-29T12:00:00",
    "SUM": 12.5,
    "CARD": 7,
    "DEVICE": "d",
    "SHOP": 9,
    "TILL": "t",
    "FROM": "NL",
    "TO": "FR",
    "risk": 0.5,
    "channel": "web",
    "country": "NL",
}


LONG = 10**4_000
"""An integer that no float64 holds."""


def read(*rows: Any, types: dict[str, str] = TYPES) -> RequestRows:
    return RequestReader(MAPPING, types).read(rows)


def value_of(field: str, value: Any, column: str, types: dict[str, str] = TYPES) -> Any:
    """What a value becomes in a column of the result; its problem where it has one."""
    rows, problems = read(GOOD | {field: value}, types=types)
    if problems:
        ((row, name, problem),) = problems
        assert (row, name, rows.places, rows.ids) == (0, field, [], [])
        return problem
    columns = {"id": rows.ids, "at": rows.timestamps, "amount": rows.amounts}
    return (columns | rows.keys | rows.numeric | rows.categories)[column][0]


class TestRows:
    def test_a_row_has_every_canonical_column(self):
        rows, problems = read(GOOD)
        assert problems == ()
        assert (rows.places, rows.ids, rows.amounts.tolist()) == ([0], [1], [12.5])
        assert rows.timestamps.tolist() == [datetime(2024, 2, 29, 12)]
        assert rows.keys == {"customer": [7], "device": ["d"], "shop": ["9|t"], "route": ["NL|FR"]}
        assert {name: values.tolist() for name, values in rows.numeric.items()} == {"risk": [0.5]}
        assert rows.categories == {"channel": ["web"], "country": ["NL"]}

    def test_no_rows_are_columns_of_the_same_types(self):
        none, some = read().transactions, read(GOOD).transactions
        assert none.places == none.ids == none.keys["customer"] == none.categories["channel"] == []
        for empty, filled in ((none.timestamps, some.timestamps), (none.amounts, some.amounts)):
            assert (empty.shape, empty.dtype) == ((0,), filled.dtype)
        assert none.numeric["risk"].dtype == np.float64

    def test_labels_and_columns_that_nothing_is_mapped_to_are_ignored(self):
        rows, problems = read(GOOD | {"BAD": "neither 0 nor 1", "extra": [[{}]], "sum": -1})
        assert (rows.amounts.tolist(), problems) == ([12.5], ())

    def test_good_rows_keep_their_places_beside_bad_ones(self):
        bad = GOOD | {"risk": "high", "FROM": True, "ID": None}
        rows, problems = read(bad, GOOD | {"ID": 5}, [GOOD], GOOD | {"ID": 6, "TO": None}, bad)
        assert (rows.places, rows.ids) == ([1, 3], [5, 6])
        assert (rows.keys["route"], len(rows.timestamps), len(rows.numeric["risk"])) == (["NL|FR", None], 2, 2)
        assert [(problem.row, problem.field) for problem in problems] == [
            *((0, field) for field in ("ID", "FROM", "risk")),
            (2, ""),
            *((4, field) for field in ("ID", "FROM", "risk")),
        ]

    @pytest.mark.parametrize("row", [None, [], "text", 7, True, math.nan])
    def test_what_is_no_object_is_a_problem(self, row):
        (problem,) = read(row).problems
        assert (problem.field, problem.problem.split("; ")[1]) == ("", "expected an object")

    def test_an_empty_object_lacks_what_is_required_and_nothing_else(self):
        rows, problems = read({})
        assert rows.places == []
        assert problems == (
            RowProblem(0, "ID", "null key"),
            RowProblem(0, "CARD", "null key"),
            RowProblem(0, "SHOP", "null key"),
            RowProblem(0, "TILL", "null key"),
            RowProblem(0, "AT", "null timestamp"),
            RowProblem(0, "SUM", "null amount"),
        )

    def test_what_may_be_missing_may_be_absent(self):
        optional = ("DEVICE", "FROM", "TO", "risk", "channel", "country")
        rows, problems = read({name: value for name, value in GOOD.items() if name not in optional})
        assert problems == ()
        assert (rows.keys["device"], rows.keys["route"]) == ([None], [None])
        assert math.isnan(rows.numeric["risk"][0])
        assert rows.categories == {"channel": [None], "country": [None]}

    def test_a_column_with_two_uses_has_one_problem(self):
        mapping = MAPPING.model_copy(update={"categorical": ("CARD",)})
        bad = GOOD | {"CARD": "\ud800"}
        (problem,) = RequestReader(mapping, TYPES | {"customer": TEXT}).read([bad]).problems
        assert problem == RowProblem(0, "CARD", "text that UTF-8 cannot hold")


class TestKeys:
    @pytest.mark.parametrize(
        ("value", "key"),
        [
            (7, 7),
            (-1, -1),
            (7.0, 7),
            (-0.0, 0),
            (2.0**53 - 1, 2**53 - 1),
            (2.0**53, "key not a whole number"),
            (7.5, "key not a whole number"),
            (math.inf, "key not a whole number"),
            (math.nan, "null key"),
            (None, "null key"),
            (2**63 - 1, 2**63 - 1),
            (-(2**63) + 1, -(2**63) + 1),
            (-(2**63), "key not a whole number"),
            (2**63, "number beyond 64 bits"),
            (LONG, "number beyond 64 bits"),
            ("7", "is text; expected an integer"),
            (True, "is a boolean; expected an integer"),
            ([7], "is a list; expected an integer"),
            ({"id": 7}, "is an object; expected an integer"),
        ],
    )
    def test_an_integer_key_is_a_whole_number(self, value, key):
        found = value_of("CARD", value, "customer")
        assert (found, type(found)) == (key, type(key))

    @pytest.mark.parametrize(
        ("value", "key"),
        [
            ("0012", "0012"),
            (" ", " "),
            ("é", "é"),
            ("", None),
            (None, None),
            (math.nan, None),
            (7, "7"),
            (2**64 - 1, "18446744073709551615"),
            (2**64, "number beyond 64 bits"),
            (LONG, "number beyond 64 bits"),
            (7.0, "is a number; expected text or an integer"),
            (False, "is a boolean; expected text or an integer"),
            (["x"], "is a list; expected text or an integer"),
            ("a\0b", "text with a NUL character"),
            ("\udcff", "text that UTF-8 cannot hold"),
        ],
    )
    def test_a_text_key_is_text_or_an_integer(self, value, key):
        assert value_of("DEVICE", value, "device") == key

    def test_an_empty_text_is_no_key(self):
        assert value_of("CARD", "", "customer", TYPES | {"customer": TEXT}) == "null key"

    def test_a_key_of_which_no_day_knows_the_type_is_text(self):
        rows, _ = read(GOOD, GOOD | {"ID": "a"}, types={})
        assert (rows.ids, rows.keys["customer"]) == (["1", "a"], ["7", "7"])

    @pytest.mark.parametrize(
        ("parts", "key"),
        [
            (("a|b", "c"), "a\\|b|c"),
            (("a", "b|c"), "a|b\\|c"),
            (("a\\", "|"), "a\\\\|\\|"),
            ((4, "x"), "4|x"),
            (("", "x"), None),
            (("x", None), None),
        ],
    )
    def test_several_columns_are_one_key(self, parts, key):
        rows, problems = read(GOOD | dict(zip(("FROM", "TO"), parts, strict=True)))
        assert (rows.keys["route"], problems) == ([key], ())

    @pytest.mark.parametrize(
        ("value", "key"),
        [
            (9, "9|t"),
            (9.0, "9|t"),
            (9.5, "9.5|t"),
            (math.nan, "null key"),
            ("9", "is text; expected an integer"),
            (True, "is a boolean; expected an integer"),
            (2**64, "number beyond 64 bits"),
        ],
    )
    def test_a_number_may_be_a_part_of_a_key(self, value, key):
        assert value_of("SHOP", value, "shop") == key


class TestTimestamps:
    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("2024-02-29T12:00:00", "2024-02-29T12:00:00.000000"),
            ("2024-02-29 12:00", "2024-02-29T12:00:00.000000"),
            ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00.000000"),
            ("2024-02-29T12:00:00+05:45", "2024-02-29T06:15:00.000000"),
            ("2024-02-29T12:00:00-0330", "2024-02-29T15:30:00.000000"),
            ("2024-02-29T23:59:59,5-01", "2024-03-01T00:59:59.500000"),
            ("2024-02-29T12:00:00.1", "2024-02-29T12:00:00.100000"),
            ("2024-02-29T12:00:00.123456789Z", "2024-02-29T12:00:00.123456"),
            ("2024-02-29T23:59:59.9999999", "2024-02-29T23:59:59.999999"),
            ("2024-02-29T12:00:00." + "9" * 400, "2024-02-29T12:00:00.999999"),
        ],
    )
    def test_iso_8601_is_a_moment_in_utc_and_digits_beyond_microseconds_are_cut(self, text, moment):
        assert str(value_of("AT", text, "at")) == moment

    @pytest.mark.parametrize(
        "value",
        [
            1709208000,
            1709208000.0,
            True,
            [2024, 2, 29],
            "",
            "now",
            "1709208000",
            "12:00:00",
            "2024-02-29",
            "2024-02-29T12",
            "20240229T120000",
            "2024-W09-4T12:00",
            "2024-02-29T12:00:00.Z",
            "2024-02-29T12:00:00 UTC",
            " 2024-02-29T12:00:00",
            "2024-02-29T12:00:00\n",
            "2024-02-29T12:00:00\0",
            "\u0662024-02-29T12:00:00",
        ],
    )
    def test_anything_else_is_no_time(self, value):
        assert "expected a time as ISO 8601 writes it" in value_of("AT", value, "at")

    @pytest.mark.parametrize(
        "text",
        [
            "2023-02-29T12:00:00",
            "2024-02-29T25:00:00",
            "2024-02-29T12:00:60",
            "0000-01-01T00:00:00",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "2024-02-29T12:00:00+24:00",
        ],
    )
    def test_a_moment_that_no_calendar_has_is_a_problem(self, text):
        assert value_of("AT", text, "at") == "no moment of the calendar"

    def test_a_missing_one_is_a_problem(self):
        assert value_of("AT", None, "at") == "null timestamp"


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "amount"),
        [
            (0, 0.0),
            (-0.0, 0.0),
            (12, 12.0),
            (5e-324, 5e-324),
            (2**53 + 1, 2.0**53),
            (10**30, 1e30),
            (None, "null amount"),
            (-0.01, "negative or not finite amount"),
            (math.nan, "negative or not finite amount"),
            (math.inf, "negative or not finite amount"),
            (-math.inf, "negative or not finite amount"),
            (LONG, "number beyond 64 bits"),
            (True, "is a boolean; expected a number"),
            ("12.5", "is text; expected a number"),
            ([12.5], "is a list; expected a number"),
        ],
    )
    def test_an_amount_is_finite_and_not_negative(self, value, amount):
        found = value_of("SUM", value, "amount")
        assert bits(found) == bits(amount)

    @pytest.mark.parametrize(
        ("value", "number"),
        [
            (3, 3.0),
            (-1.5, -1.5),
            (-0.0, 0.0),
            (True, 1.0),
            (False, 0.0),
            (None, math.nan),
            (math.nan, math.nan),
            (math.inf, math.nan),
            (-math.inf, math.nan),
            (LONG, "number beyond 64 bits"),
            ("3", "is text; expected a number or boolean"),
            ({}, "is an object; expected a number or boolean"),
        ],
    )
    def test_a_further_number_is_finite_or_missing(self, value, number):
        assert bits(value_of("risk", value, "risk")) == bits(number)


class TestCategories:
    @pytest.mark.parametrize(
        ("value", "category"),
        [
            ("web", "web"),
            ("", ""),
            ("é😀", "é😀"),
            (None, None),
            (math.nan, None),
            (4, "4"),
            (742.0, "742"),
            (0.5, "0.5"),
            (-0.0, "-0"),
            (1e22, "1e+22"),
            (math.inf, "inf"),
            (True, "true"),
            (False, "false"),
            (2**64 - 1, "18446744073709551615"),
            (2**64, "number beyond 64 bits"),
            (LONG, "number beyond 64 bits"),
            ("a\0", "text with a NUL character"),
            ("\ud83d", "text that UTF-8 cannot hold"),
            (["web"], "is a list; expected text, an integer or boolean"),
            ({"web": 1}, "is an object; expected text, an integer or boolean"),
        ],
    )
    @pytest.mark.parametrize("column", ["channel", "country"])
    def test_a_category_is_text_or_what_the_engine_writes_for_it(self, column, value, category):
        assert value_of(column, value, column) == category


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([10**400, "\ud800", "\0"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(ANYTHING | st.fixed_dictionaries({}, optional=dict.fromkeys(GOOD, ANYTHING)), max_size=3))
def test_no_json_is_an_error(rows):
    transactions, problems = RequestReader(MAPPING, TYPES).read(rows)
    assert sorted({*transactions.places, *(problem.row for problem in problems)}) == list(range(len(rows)))
    assert not {*transactions.places} & {problem.row for problem in problems}


# ---------------------------------------------------------------- agreement with a file of the lake


class Kind(NamedTuple):
    """A type of a column, values that it mostly has there, and odd ones."""

    type: pa.DataType
    usual: st.SearchStrategy[Any]
    odd: st.SearchStrategy[Any]

    def values(self) -> st.SearchStrategy[Any]:
        """Mostly usual ones: with this many columns hardly a row would be accepted otherwise."""
        return st.integers(0, 15).flatmap(lambda dice: [st.none(), self.odd][dice] if dice < 2 else self.usual)


FEW = st.integers(0, 3)
TEXTS = st.text("a|\\\x010.é😀 ", min_size=1, max_size=3)
ODD_FLOATS = st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324, 2.0**53, 1e16, 1e17, 1e-5, 742.0, 7.5])
SINGLES = st.floats(width=32)
INT64 = Kind(pa.int64(), FEW, st.sampled_from([-1, 2**53, 2**63 - 1, -(2**63), -(2**63) + 1]))
UINT64 = Kind(pa.uint64(), FEW, st.sampled_from([2**63, 2**64 - 1]))
UINT8 = Kind(pa.uint8(), FEW, st.integers(0, 255))
STRING = Kind(pa.string(), TEXTS, st.just(""))
BOOLEAN = Kind(pa.bool_(), st.booleans(), st.booleans())
FLOAT64 = Kind(pa.float64(), st.floats(0, 1e3), ODD_FLOATS | st.floats())
FLOAT32 = Kind(pa.float32(), st.floats(0, 1024, width=32), st.just(math.nan) | SINGLES)
CENTS = st.integers(0, 10**8).map(lambda cents: Decimal(cents) / 100)
DECIMAL = Kind(pa.decimal128(9, 2), CENTS, CENTS.map(lambda amount: -amount))
WHOLE64 = Kind(pa.float64(), FEW.map(float), ODD_FLOATS | st.floats())
WHOLE32 = Kind(pa.float32(), FEW.map(float), st.just(math.nan) | SINGLES)

KEY = st.sampled_from([INT64, UINT64, UINT8, STRING, WHOLE64, WHOLE32])
KINDS = {
    "ID": KEY,
    "SUM": st.sampled_from([FLOAT64, FLOAT32, INT64, DECIMAL]),
    **dict.fromkeys(("CARD", "DEVICE", "SHOP", "TILL", "FROM", "TO"), KEY),
    "risk": st.sampled_from([FLOAT64, FLOAT32, INT64, UINT64, BOOLEAN, DECIMAL]),
    **dict.fromkeys(("channel", "country"), st.sampled_from([STRING, INT64, UINT64, FLOAT64, FLOAT32, BOOLEAN])),
}
MICROSECONDS = st.integers(0, 86_400_000_000 - 1)
MOMENTS = st.integers(0, 15).flatmap(lambda dice: MICROSECONDS if dice else st.none())
TIMES = st.sampled_from([pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("us", "Asia/Kathmandu")])


class Delivery(NamedTuple):
    """Rows as a file of the lake has them, and the same as JSON."""

    table: pa.Table
    text: str


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    count = draw(st.integers(1, 6))
    columns: dict[str, pa.Array] = {}
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, kinds in KINDS.items():
        kind = draw(kinds)
        values = draw(st.lists(kind.values(), min_size=count, max_size=count))
        columns[name] = pa.array(values, kind.type)
        for row, value in zip(rows, values, strict=True):
            if value is not None or draw(st.booleans()):
                row[name] = float(value) if isinstance(value, Decimal) else value
    times = draw(TIMES)
    moments = draw(st.lists(MOMENTS, min_size=count, max_size=count))
    digits = draw(st.integers(0, 999)) if times.unit == "ns" else 0
    columns["AT"] = pa.array([_ticks(one, times, digits) for one in moments], times)
    for row, moment in zip(rows, moments, strict=True):
        row["AT"] = None if moment is None else written(draw, moment, f"{digits:03}" if times.unit == "ns" else "")
    columns["BAD"] = pa.array([0] * count)
    return Delivery(pa.table(columns), json.dumps(rows))


def _ticks(moment: int | None, times: pa.DataType, digits: int) -> int | None:
    if moment is None:
        return None
    ticks = moment + int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp()) * 1_000_000
    return ticks * 1000 + digits if times.unit == "ns" else ticks


def written(draw: st.DrawFn, moment: int, digits: str) -> str:
    """A moment of the day as text, in one of the forms that ISO 8601 has."""
    at = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(microseconds=moment)
    offset = draw(st.none() | st.integers(-1439, 1439))
    local = at if offset is None else at.astimezone(timezone(timedelta(minutes=offset)))
    text = local.strftime(f"%Y-%m-%d{draw(st.sampled_from('T '))}%H:%M:%S.%f") + digits
    if offset is None:
        return text + draw(st.sampled_from(["", "Z"]))
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    return f"{text}{sign}{minutes // 60:02}{draw(st.sampled_from([':', '']))}{minutes % 60:02}"


def bits(value: Any) -> Any:
    """A value by which floats with other bits differ; a missing number is one NaN."""
    if isinstance(value, float | np.floating):
        return "NaN" if np.isnan(value) else np.float64(value).tobytes()
    return value


class Lake(NamedTuple):
    """A lake with one file, and the engine that reads it."""

    engine: Engine
    file: Path

    def judged(self, table: pa.Table) -> list[dict[str, Any]]:
        """The rows of a day as ingestion sees them, in the order of the file."""
        pq.write_table(table, self.file)
        day = lake_day([self.file], MAPPING)
        return self.engine.lake_query("requests", DAY, day, MAPPING)(judge).to_pylist()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp("lake")
    with Engine(temp_directory=folder / "spill", threads=1) as engine:
        yield Lake(engine, folder / "part.parquet")


def types_of(schema: pa.Schema) -> dict[str, str]:
    """The types of keys and of their parts, as facts of a day state them."""
    named = {name: lakes[0] for name, lakes in MAPPING.keys.items() if len(lakes) == 1}
    named |= {part: column for part, (_, column) in MAPPING.key_parts.items()}
    return {name: next(iter(key_kinds({"file": schema}, column))) for name, column in named.items()}


@settings(max_examples=100, deadline=None)
@given(delivery=deliveries())
def test_rows_are_those_of_a_file_of_the_lake(lake: Lake, delivery: Delivery):
    judged = lake.judged(delivery.table)
    rows, problems = RequestReader(MAPPING, types_of(delivery.table.schema)).read(json.loads(delivery.text))
    reasons = {row: [problem.problem for problem in problems if problem.row == row] for row in range(len(judged))}
    assert {row for row, found in reasons.items() if not found} == set(rows.places)
    for row, canonical in enumerate(judged):
        reason = canonical[REASON]
        assert bool(reasons[row]) == (reason is not None), (reason, reasons[row])
        assert reason is None or any(reason.startswith(problem) for problem in reasons[row]), (reason, reasons[row])
    columns = {"transaction_id": rows.ids, "timestamp": rows.timestamps.tolist(), "amount": rows.amounts}
    columns |= rows.keys | rows.numeric | rows.categories
    for entry, place in enumerate(rows.places):
        expected = {name: bits(judged[place][name]) for name in columns}
        expected |= {name: "NaN" for name in rows.numeric if expected[name] is None}
        found = {name: bits(values[entry]) for name, values in columns.items()}
        assert found == expected
        assert {name: type(value) for name, value in found.items()} == {
            name: type(value) for name, value in expected.items()
        }
