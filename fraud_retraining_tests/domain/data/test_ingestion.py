"""Ingestion: which columns and rows are refused and why, and that nothing else changes the outcome."""

import itertools
import math
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import ibis
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fraud_retraining.domain.data.canonical import canonical, split_keys
from fraud_retraining.domain.data.ingestion import Arrival, BlockedFacts, DayQuery, Ingested, classify, ingest
from fraud_retraining.domain.data.lake_columns import check_columns, column_problems, ignored_columns, same_shape
from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.data.validation import RejectReason
from fraud_retraining.domain.values.digests import table_digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import ColumnPolicy

LEAP_DAY = date(2024, 2, 29)
NOON = datetime(2024, 2, 29, 12)
COLUMNS = {"transaction_id": "ID", "timestamp": "AT", "amount": "SUM", "is_fraud": "BAD"}
ENTITIES = {"customer": {"column": "CARD"}, "terminal": {"column": "SHOP"}}
MAPPING = LakeMapping.model_validate({"columns": COLUMNS, "entities": ENTITIES})
WIDE = LakeMapping.model_validate(
    {
        "columns": COLUMNS | {"labelled_at": "KNOWN"},
        "entities": ENTITIES,
        "numeric": ["risk"],
        "categorical": ["channel"],
        "slices": ["country", "channel"],
    }
)


def lake(rows: int = 1, **columns) -> pa.Table:
    """A day's file in which everything is right, but for the columns given; None leaves a column out."""
    usual = {"ID": list(range(rows)), "AT": [NOON] * rows, "SUM": [1.0] * rows, "BAD": [0] * rows}
    usual |= {"CARD": [7] * rows, "SHOP": [9] * rows}
    return pa.table({name: values for name, values in (usual | columns).items() if values is not None})


def wide(**columns) -> pa.Table:
    return lake(**({"KNOWN": [NOON], "risk": [0.5], "channel": ["web"], "country": ["FR"]} | columns))


def ingested(table: pa.Table, mapping: LakeMapping = MAPPING, day: date = LEAP_DAY) -> Ingested:
    return ingest(query_of(table, mapping, day), mapping, arrival=Arrival(files=1, source_version="v1"))


def query_of(table: pa.Table, mapping: LakeMapping = MAPPING, day: date = LEAP_DAY) -> DayQuery:
    rows = canonical(ibis.memtable(table), mapping)
    return lambda shape: shape(rows, mapping, day).to_pyarrow()


def outcome(table: pa.Table, **options) -> tuple[list, dict]:
    result = ingested(table, **options)
    return result.accepted["transaction_id"].to_pylist(), result.facts.rejects


class TestMapping:
    def test_lake_names_are_in_canonical_order(self):
        assert list(WIDE.lake_names.items()) == [
            ("transaction_id", ("ID",)),
            ("timestamp", ("AT",)),
            ("amount", ("SUM",)),
            ("is_fraud", ("BAD",)),
            ("labelled_at", ("KNOWN",)),
            ("customer", ("CARD",)),
            ("terminal", ("SHOP",)),
            ("risk", ("risk",)),
            ("channel", ("channel",)),
            ("country", ("country",)),
        ]

    @pytest.mark.parametrize(
        "names",
        [
            {"entities": {"amount": {"column": "X"}}},
            {"entities": {"card": {"column": "X"}}, "numeric": ["risk", "Risk"]},
            {"entities": {"card": {"column": "X"}}, "numeric": ["reason"]},
            {"entities": {"card": {"column": "X"}}, "numeric": ["labelled_at"]},
            {"entities": {"card": {"column": "X"}}, "numeric": ["risk"], "categorical": ["risk"]},
        ],
    )
    def test_one_name_cannot_mean_two_columns(self, names):
        with pytest.raises(ValidationError, match="twice"):
            LakeMapping.model_validate(names)


class TestColumns:
    def test_every_problem_is_reported_at_once(self):
        schema = wide(ID=None, AT=["noon"], SUM=["1"], BAD=["yes"], CARD=[[1]], KNOWN=[1], risk=["high"]).schema
        assert column_problems({"day.parquet": schema}, WIDE) == [
            "ID (transaction_id) is missing",
            "AT (timestamp) is string; expected a timestamp",
            "SUM (amount) is string; expected a number",
            "BAD (is_fraud) is string; expected 0/1 or boolean, "
            "or what labels.fraud_values and labels.genuine_values list",
            "KNOWN (labelled_at) is int64; expected a timestamp",
            "CARD (customer) is list<item: int64>; expected an integer, text or UUID",
            "risk is string; expected a number or boolean",
        ]

    def test_a_problem_of_some_files_names_them(self):
        good, bad = lake().schema, lake(SUM=None).schema
        files = {"a": good} | {f"part-{n}": bad for n in range(5)}
        assert column_problems(files, MAPPING) == [
            "SUM (amount) is missing in part-0, part-1, part-2 and 2 more",
        ]

    @pytest.mark.parametrize(
        "columns",
        [
            {"ID": pa.array(["a"]).dictionary_encode(), "CARD": pa.array(["c"], pa.large_string())},
            {"ID": pa.array([1], pa.uint64()), "SHOP": pa.array(["c"], pa.string_view())},
            {"AT": pa.array([NOON], pa.timestamp("s")), "SUM": pa.array([Decimal("1.50")])},
            {"AT": pa.array([NOON], pa.timestamp("ns", "Asia/Tokyo")), "SUM": pa.array([1], pa.uint8())},
            {"BAD": [True], "KNOWN": pa.nulls(1), "channel": [4], "country": [True], "risk": [Decimal(1)]},
            {"BAD": [Decimal(1)], "risk": [True], "channel": [True]},
            {"BAD": pa.array([float("nan")], pa.float32()), "risk": [False], "channel": pa.nulls(1)},
        ],
    )
    def test_types_that_people_write_are_accepted(self, columns):
        assert column_problems({"f": wide(**columns).schema}, WIDE) == []

    @pytest.mark.parametrize("column", ["ID", "AT", "SUM", "BAD", "CARD"])
    @pytest.mark.parametrize("values", [[date(2024, 2, 29)], [b"x"], [[1]], [{"a": 1}]])
    def test_types_that_mean_something_else_are_refused(self, column, values):
        (problem,) = column_problems({"f": lake(**{column: values}).schema}, MAPPING)
        assert problem.startswith(column)

    def test_keys_are_integers_or_text_but_not_both(self):
        schemas = {"a": lake().schema, "b": lake(CARD=["x"]).schema}
        assert column_problems(schemas, MAPPING) == [
            "CARD (customer) is integer in a and text in b; expected one of them"
        ]

    def test_a_missing_column_is_reported_with_the_nearest_name_and_all_that_are_there(self):
        with pytest.raises(DataInvalid) as refused:
            check_columns({"a": lake(CARD=None, Card_Id=[7]).schema}, MAPPING)
        assert refused.value.culprits == (
            "CARD (customer) is missing",
            "Card_Id is nearest to CARD",
            "columns that are there: AT, BAD, Card_Id, ID, SHOP, SUM",
        )

    def test_a_column_that_single_models_alone_ask_for_hurts_nobody_else(self):
        asked = {"Shp": ("models.a.where",), "seen": ("models.b.where",), "channel": ("models.c.gates.slices",)}
        mapping = MAPPING.model_copy(update={"slices": ("Shp", "seen", "channel"), "asked_by": asked})
        table = lake(seen=[b"x"], channel=["web"])
        assert column_problems({"a": table.schema}, mapping) == []
        report = check_columns({"a": table.schema}, mapping)
        assert report.unusable == {
            "Shp": "is missing; SHOP is nearest",
            "seen": "is binary; expected text, an integer or boolean",
        }
        assert report.columns_there == ("columns that are there: AT, BAD, CARD, ID, SHOP, SUM, channel, seen",)
        rows = canonical(ibis.memtable(table), mapping, unusable=report.unusable)
        arrival = Arrival(files=1, source_version="v", unusable_columns=report.unusable)
        found = ingest(lambda shape: shape(rows, mapping, LEAP_DAY).to_pyarrow(), mapping, arrival=arrival)
        assert found.accepted.select(["Shp", "seen", "channel"]).to_pylist() == [
            {"Shp": None, "seen": None, "channel": "web"}
        ]
        assert found.accepted.column_names[-3:] == ["Shp", "seen", "channel"]
        assert found.facts.unusable_columns == report.unusable
        with pytest.raises(DataInvalid, match="columns of the day are not as mapped"):
            check_columns({"a": lake(SUM=None).schema}, mapping)

    def test_names_that_differ_in_letter_case_only_are_refused(self):
        assert column_problems({"a": lake(sum=[1.0]).schema}, MAPPING) == ["SUM (amount) appears twice"]

    def test_added_columns_are_listed_and_ignored(self):
        schemas = {"a": lake(new=[1]).schema, "b": lake(also=[1]).schema}
        assert column_problems(schemas, MAPPING) == []
        assert ignored_columns(schemas, MAPPING) == ["also", "new"]

    def test_a_day_with_problems_is_refused(self):
        with pytest.raises(DataInvalid, match="SUM"):
            check_columns({"a": lake(SUM=None).schema}, MAPPING)

    def test_files_of_one_shape_are_read_together_whatever_the_order_of_columns(self):
        plain = lake()
        shapes = {"a": plain.schema, "b": plain.select(plain.column_names[::-1]).schema, "c": lake(BAD=[True]).schema}
        assert same_shape(shapes) == [["a", "b"], ["c"]]


class TestCanonical:
    def test_a_label_may_be_a_decimal_as_databases_write_their_numbers(self):
        accepted = ingested(lake(BAD=[Decimal(1)])).accepted
        assert accepted.column("is_fraud").to_pylist() == [1]

    def test_columns_have_their_canonical_types(self):
        accepted = ingested(wide(BAD=[True], SUM=[Decimal("1.50")], risk=[3], channel=[4]), mapping=WIDE).accepted
        assert accepted.schema == pa.schema(
            {
                "transaction_id": pa.int64(),
                "timestamp": pa.timestamp("us"),
                "amount": pa.float64(),
                "is_fraud": pa.int8(),
                "labelled_at": pa.timestamp("us"),
                "customer": pa.int64(),
                "terminal": pa.int64(),
                "risk": pa.float64(),
                "channel": pa.string(),
                "country": pa.string(),
            }
        )
        assert accepted.to_pylist() == [
            {"transaction_id": 0, "timestamp": NOON, "amount": 1.5, "is_fraud": 1, "labelled_at": NOON}
            | {"customer": 7, "terminal": 9, "risk": 3.0, "channel": "4", "country": "FR"}
        ]

    def test_keys_too_large_for_an_integer_are_kept_as_text(self):
        table = lake(2, CARD=pa.array([2**64 - 1, 5], pa.uint64()))
        result = ingested(table)
        assert result.accepted["customer"].to_pylist() == ["18446744073709551615", "5"]
        assert result.facts.key_types == {"transaction_id": "integer", "customer": "text", "terminal": "integer"}

    def test_a_uuid_is_a_key_and_is_read_as_text(self, tmp_path):
        """As Parquet's own type, which DuckDB writes for a column of UUIDs."""
        known = UUID("9f2c0f44-6ab1-4c9e-8f5e-0d2b7c1a0001")
        keys = pa.array([known.bytes, None], pa.uuid())
        table = lake(2).drop_columns("CARD").append_column("CARD", keys)
        pq.write_table(table, tmp_path / "part.parquet")
        schema = pq.read_schema(tmp_path / "part.parquet")
        assert column_problems({"part.parquet": schema}, MAPPING) == []
        assert check_columns({"part.parquet": schema}, MAPPING).text_keys == {"customer"}
        rows = canonical(ibis.duckdb.connect().read_parquet(tmp_path / "part.parquet"), MAPPING)
        assert rows.customer.to_pyarrow().to_pylist() == [str(known), None]

    def test_time_zones_become_utc(self):
        local = pa.array([datetime(2024, 3, 1, 5, 44, 59), datetime(2024, 3, 1, 5, 45)], pa.timestamp("us"))
        at = pc.assume_timezone(local, "Asia/Kathmandu")
        result = ingested(lake(2, AT=at))
        assert result.accepted["timestamp"].to_pylist() == [datetime(2024, 2, 29, 23, 59, 59)]
        assert result.facts.rejects == {RejectReason.OUTSIDE_DAY: 1}

    @pytest.mark.parametrize(
        ("values", "labels"),
        [
            ([True, False, None], [1, 0, None]),
            ([1.0, 0.0, float("nan")], [1, 0, None]),
            (pa.array([1, 0, None], pa.uint8()), [1, 0, None]),
            (pa.nulls(3), [None, None, None]),
        ],
    )
    def test_a_missing_label_is_unknown_and_never_no_fraud(self, values, labels):
        result = ingested(lake(3, BAD=values))
        assert result.accepted["is_fraud"].to_pylist() == labels
        assert result.facts.labelled == 3 - labels.count(None)

    def test_numbers_that_are_not_finite_are_missing(self):
        odd = enumerate([math.nan, math.inf, -math.inf])
        table = pa.concat_tables([wide(ID=[n], risk=[value]) for n, value in odd])
        result = ingested(table, mapping=WIDE)
        assert result.accepted["risk"].to_pylist() == [None] * 3
        assert result.facts.nulls["risk"] == 3


class TestRejects:
    @pytest.mark.parametrize(
        ("columns", "reason"),
        [
            ({"ID": pa.array([None], pa.int64())}, "null key ID (transaction_id)"),
            ({"CARD": pa.array([None], pa.string())}, "null key CARD (customer)"),
            ({"SHOP": [""]}, "null key SHOP (terminal)"),
            ({"SHOP": [math.nan]}, "null key SHOP (terminal)"),
            ({"CARD": [7.5]}, "key not a whole number CARD (customer)"),
            ({"CARD": [2.0**53]}, "key not a whole number CARD (customer)"),
            ({"CARD": [math.inf]}, "key not a whole number CARD (customer)"),
            ({"AT": pa.array([None], pa.timestamp("us"))}, RejectReason.NULL_TIMESTAMP),
            ({"SUM": pa.array([None], pa.float64())}, RejectReason.NULL_AMOUNT),
            ({"SUM": [-0.01]}, RejectReason.NEGATIVE_AMOUNT),
            ({"SUM": [math.nan]}, RejectReason.NEGATIVE_AMOUNT),
            ({"SUM": [math.inf]}, RejectReason.NEGATIVE_AMOUNT),
            ({"BAD": [2]}, RejectReason.INVALID_LABEL),
            ({"BAD": [-1]}, RejectReason.INVALID_LABEL),
            ({"BAD": [0.5]}, RejectReason.INVALID_LABEL),
            ({"AT": [datetime(2024, 2, 28, 23, 59, 59, 999999)]}, RejectReason.OUTSIDE_DAY),
            ({"AT": [datetime(2024, 3, 1)]}, RejectReason.OUTSIDE_DAY),
            ({"AT": [datetime(2024, 3, 1)], "BAD": [3], "SUM": [-1.0]}, RejectReason.NEGATIVE_AMOUNT),
        ],
    )
    def test_a_row_is_filed_under_the_first_rule_that_it_breaks(self, columns, reason):
        assert outcome(lake(**columns)) == ([], {reason: 1})

    @pytest.mark.parametrize(
        "columns",
        [
            {"SUM": [0]},
            {"SUM": [-0.0]},
            {"AT": [datetime(2024, 2, 29)]},
            {"AT": [datetime(2024, 2, 29, 23, 59, 59, 999999)]},
            {"CARD": [-1]},
            {"CARD": [" "]},
        ],
    )
    def test_rows_at_the_edge_are_accepted(self, columns):
        assert outcome(lake(**columns)) == ([0], {})

    def test_rejects_keep_what_was_delivered(self):
        result = ingested(lake(2, BAD=[0, 7], SUM=[1.0, -3.0]))
        assert result.rejects.to_pylist() == [
            {"reason": "negative or not finite amount", "transaction_id": 1, "timestamp": NOON, "amount": -3.0}
            | {"is_fraud": 7.0, "customer": 7, "terminal": 9}
        ]

    def test_an_empty_day_is_not_an_error_here(self):
        result = ingested(lake().slice(0, 0))
        assert (len(result.accepted), len(result.rejects), result.facts.reject_share) == (0, 0, 0.0)
        assert result.facts.key_types == {}


def listed(fraud: list, genuine: list) -> LakeMapping:
    labels = {"fraud_values": fraud, "genuine_values": genuine}
    return LakeMapping.model_validate({"columns": COLUMNS, "entities": ENTITIES, "labels": labels})


class TestListedLabels:
    @pytest.mark.parametrize(
        ("fraud", "genuine", "values"),
        [
            (["fraud"], ["legit"], ["fraud", "legit", " Fraud\t", "LEGIT", None, "", "  "]),
            (["Y"], ["N"], ["Y", "N", "y", "n", None, "", " "]),
            ([True], [False], [True, False, True, False, None, None, None]),
            ([True], [False], ["yes", "No", "TRUE", "off", None, "", " "]),
            ([2], [1], [2, 1, 2, 1, None, None, None]),
            ([2], [1], [2.0, 1.0, 2.0, 1.0, None, math.nan, None]),
            ([1.0], [0], ["1", "0", "1", "0", None, "", " "]),
            (["chargeback", "stolen"], ["ok"], pa.array(["stolen", "ok", "chargeback", "ok", None, "", " "])),
        ],
        ids=["words", "flags", "booleans", "booleans as text", "numbers", "floats", "number text", "two words"],
    )
    def test_listed_labels_are_what_the_lists_say_and_a_missing_one_is_unknown(self, fraud, genuine, values):
        result = ingested(lake(7, BAD=values), mapping=listed(fraud, genuine))
        assert result.accepted["is_fraud"].to_pylist() == [1, 0, 1, 0, None, None, None]
        assert result.accepted.column_names == ingested(lake()).accepted.column_names

    def test_dictionaries_are_read_like_text(self):
        values = pa.array(["fraud", "legit"]).dictionary_encode()
        result = ingested(lake(2, BAD=values), mapping=listed(["fraud"], ["legit"]))
        assert result.accepted["is_fraud"].to_pylist() == [1, 0]

    def test_a_label_in_neither_list_is_rejected_by_name(self):
        values = ["fraud", "legit", "disputed", "disputed", "x" * 99, None]
        result = ingested(lake(6, BAD=values), mapping=listed(["fraud"], ["legit"]))
        assert result.facts.rejects == {"label in neither list": 3}
        assert result.facts.unlisted_labels == {"disputed": 2, "x" * 40: 1}
        assert result.rejects["delivered_label"].to_pylist() == ["disputed", "disputed", "x" * 99]
        assert result.facts.labelled == 2

    def test_numbers_that_no_list_holds_are_rejected_too(self):
        result = ingested(lake(4, BAD=[1.0, 0.0, 0.5, math.inf]), mapping=listed([1], [0]))
        assert result.facts.unlisted_labels == {"0.5": 1, "inf": 1}

    def test_few_of_many_wrong_labels_are_named(self):
        result = ingested(lake(50, BAD=[f"w{n:02}" for n in range(50)]), mapping=listed(["fraud"], ["legit"]))
        assert result.facts.rejects == {"label in neither list": 50}
        assert list(result.facts.unlisted_labels) == ["w00", "w01", "w02", "w03", "w04"]

    def test_copies_that_spell_their_label_otherwise_are_copies(self):
        result = ingested(lake(2, ID=[5, 5], BAD=["fraud", "FRAUD"]), mapping=listed(["fraud"], ["legit"]))
        assert (result.facts.rows, result.facts.duplicates_dropped, result.facts.rejects) == (1, 1, {})

    def test_text_without_lists_is_refused_with_the_remedy(self):
        (problem,) = column_problems({"f": lake(BAD=["fraud"]).schema}, MAPPING)
        assert "labels.fraud_values" in problem
        assert column_problems({"f": lake(BAD=["fraud"]).schema}, listed(["fraud"], ["legit"])) == []

    @pytest.mark.parametrize(
        ("fraud", "genuine", "message"),
        [
            (["fraud"], [], "together"),
            ([], ["legit"], "together"),
            (["Y"], ["N", "y"], "both list y"),
            ([1], [True, "1"], "both list 1"),
            ([True], ["yes"], "both list yes"),
            (["fraud"], [" "], "always unknown"),
        ],
    )
    def test_lists_that_do_not_tell_labels_apart_are_refused(self, fraud, genuine, message):
        with pytest.raises(ValidationError, match=message):
            listed(fraud, genuine)


def with_entities(**entities: dict) -> LakeMapping:
    return LakeMapping.model_validate({"columns": COLUMNS, "entities": entities, "categorical": ["channel"]})


class TestKeys:
    DEVICE = with_entities(device={"column": "CARD", "nullable": True}, terminal={"column": "SHOP"})

    def ingested(self, mapping: LakeMapping, **columns) -> Ingested:
        return ingested(lake(**{"channel": ["web"] * columns["rows"], **columns}), mapping=mapping)

    @pytest.mark.parametrize(
        ("values", "keys"),
        [
            ([7, None, 9], [7, None, 9]),
            ([7.0, math.nan, 9.0], [7, None, 9]),
            (["a", "", None], ["a", None, None]),
            (pa.array([7, None, 9], pa.float32()), [7, None, 9]),
            (pa.nulls(3), [None] * 3),
        ],
        ids=["integers", "floats as pandas makes them", "text", "float32", "no row has one"],
    )
    def test_rows_may_lack_a_key_that_is_nullable(self, values, keys):
        result = self.ingested(self.DEVICE, rows=3, CARD=values)
        assert (result.accepted["device"].to_pylist(), result.facts.rejects) == (keys, {})
        assert result.facts.nulls["device"] == keys.count(None)
        assert ("device" in result.facts.key_types) is any(key is not None for key in keys)

    def test_a_fraction_is_no_key_though_the_key_may_be_missing(self):
        result = self.ingested(self.DEVICE, rows=2, CARD=[7.0, 7.25])
        assert result.facts.rejects == {"key not a whole number CARD (device)": 1}

    def test_another_key_is_still_required(self):
        result = self.ingested(self.DEVICE, rows=2, SHOP=[9, None])
        assert result.facts.rejects == {"null key SHOP (terminal)": 1}

    def test_a_day_on_which_nobody_has_the_key_keeps_its_type_of_the_day_before(self):
        report = check_columns({"f": lake(CARD=pa.nulls(1), channel=["web"]).schema}, self.DEVICE, {"device": "text"})
        assert report.text_keys == {"device"}

    def test_several_columns_are_one_key_and_a_part_that_is_missing_misses_it(self):
        mapping = with_entities(card={"column": ["CARD", "SHOP"], "nullable": True})
        columns = {"CARD": [1, 1, 12, None, 1], "SHOP": ["a", "b", "a", "a", ""]}
        assert self.ingested(mapping, rows=5, **columns).accepted["card"].to_pylist() == [
            "1|a",
            "1|b",
            "12|a",
            None,
            None,
        ]

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(*[st.text(st.sampled_from("a|\\"), min_size=1, max_size=4)] * 2), min_size=2, max_size=9))
    def test_different_parts_never_are_the_same_key(self, pairs):
        mapping = with_entities(card={"column": ["CARD", "SHOP"]})
        first, second = zip(*pairs, strict=True)
        keys = self.ingested(mapping, rows=len(pairs), CARD=list(first), SHOP=list(second)).accepted["card"]
        assert len(set(keys.to_pylist())) == len(set(pairs))
        assert [tuple(column.to_pylist()) for column in split_keys(keys.combine_chunks(), 2)] == [first, second]

    def test_a_whole_float_is_the_same_part_as_an_integer(self):
        mapping = with_entities(card={"column": ["CARD", "SHOP"]})
        floats = self.ingested(mapping, rows=1, CARD=[7.0], SHOP=["x"])
        assert floats.accepted["card"].to_pylist() == ["7|x"]
        assert self.ingested(mapping, rows=1, CARD=[7], SHOP=["x"]).accepted["card"].to_pylist() == ["7|x"]

    def test_a_missing_part_of_a_required_key_names_its_columns(self):
        mapping = with_entities(card={"column": ["CARD", "SHOP"]})
        result = self.ingested(mapping, rows=2, CARD=[1, None])
        assert result.facts.rejects == {"null key CARD + SHOP (card)": 1}

    def test_a_key_may_be_a_category_too(self):
        mapping = LakeMapping.model_validate(
            {"columns": COLUMNS, "entities": {"who": {"column": "CARD"}}, "categorical": ["CARD"]}
        )
        accepted = ingested(lake(2, CARD=[7, 8]), mapping=mapping).accepted
        assert (accepted["who"].to_pylist(), accepted["CARD"].to_pylist()) == ([7, 8], ["7", "8"])

    def test_a_category_may_be_a_float_that_stands_for_integers(self):
        mapping = with_entities(card={"column": "CARD"})
        accepted = ingested(lake(3, channel=[742.0, math.nan, 0.5]), mapping=mapping).accepted
        assert accepted["channel"].to_pylist() == ["742", None, "0.5"]

    def test_no_entity_is_needed(self):
        mapping = LakeMapping.model_validate({"columns": COLUMNS, "entities": {}})
        result = ingested(lake(2), mapping=mapping)
        assert result.accepted.column_names == ["transaction_id", "timestamp", "amount", "is_fraud"]


class TestDuplicates:
    def test_the_same_rows_twice_are_counted_once(self):
        once = lake(3, BAD=[0, 1, None], SUM=[1.0, 0.0, 2.0])
        twice = ingested(pa.concat_tables([once, lake(3, BAD=[0, 1, None], SUM=[1.0, -0.0, 2.0])]))
        assert table_digest(twice.accepted) == table_digest(ingested(once).accepted)
        assert (twice.facts.duplicates_dropped, twice.facts.rejected) == (3, 0)

    EARLY, LATE = NOON + timedelta(days=2), NOON + timedelta(days=9)

    @pytest.mark.parametrize(
        ("first", "second", "stays"),
        [
            ({"BAD": 1, "SUM": 9.0}, {"BAD": 0, "SUM": 1.0}, {"BAD": 1, "SUM": 9.0}),
            ({"BAD": 1, "SUM": 1.0}, {"BAD": 0, "SUM": 9.0}, {"BAD": 1, "SUM": 1.0}),
            ({"BAD": 0, "SUM": 1.0}, {"BAD": None, "SUM": 9.0}, {"BAD": 0, "SUM": 1.0}),
            ({"BAD": 0, "SUM": 1.0}, {"BAD": 0, "SUM": 9.0}, {"BAD": 0, "SUM": 9.0}),
            ({"AT": NOON}, {"AT": NOON - timedelta(hours=1)}, {"AT": NOON}),
            ({"BAD": 1, "KNOWN": EARLY}, {"BAD": 0, "KNOWN": LATE}, {"BAD": 0}),
            ({"BAD": 1, "KNOWN": LATE}, {"BAD": 0, "KNOWN": EARLY}, {"BAD": 1}),
            ({"BAD": 1, "KNOWN": LATE}, {"BAD": 0, "KNOWN": LATE}, {"BAD": 1}),
            ({"BAD": 1, "KNOWN": None}, {"BAD": 0, "KNOWN": LATE}, {"BAD": 1}),
            ({"BAD": 1, "KNOWN": EARLY}, {"BAD": 0, "KNOWN": None}, {"BAD": 1}),
            ({"BAD": 0, "KNOWN": EARLY}, {"BAD": None, "KNOWN": LATE}, {"BAD": 0}),
        ],
        ids=[
            "fraud of a larger amount",
            "fraud of a smaller amount",
            "a known label",
            "the larger amount",
            "the later time",
            "a fraud that was taken back",
            "a fraud that was found",
            "a fraud of the same moment",
            "a fraud of an unknown moment",
            "genuine at an unknown moment",
            "a known label, at any moment",
        ],
    )
    def test_of_copies_that_differ_the_one_that_says_most_stays_in_any_order(self, first, second, stays):
        mapping = MAPPING.model_copy(update={"columns": ColumnPolicy(**COLUMNS, labelled_at="KNOWN")})
        known = pa.timestamp("us")
        for rows in ([first, second], [second, first]):
            columns = {name: [row[name] for row in rows] for name in first}
            columns |= {"KNOWN": pa.array(columns.get("KNOWN", [None, None]), known)}
            result = ingested(lake(2, ID=[5, 5], **columns), mapping=mapping if "KNOWN" in first else MAPPING)
            kept = {"BAD": "is_fraud", "SUM": "amount", "AT": "timestamp"}
            (row,) = result.accepted.to_pylist()
            assert {name: row[kept[name]] for name in stays} == stays
            assert result.facts.rejects == {str(RejectReason.DUPLICATE_ID): 1}

    def test_which_of_many_copies_stays_does_not_depend_on_their_order(self):
        amounts = [1.0, 2.0, 2.0, 3.0, 0.5, 3.0]
        labels = [None, 1, 1, 0, 1, None]
        digests = set()
        for order in itertools.islice(itertools.permutations(range(6)), 0, 720, 90):
            table = lake(6, ID=[5] * 6, SUM=amounts, BAD=pa.array(labels, pa.int64())).take(list(order))
            result = ingested(table)
            digests.add((table_digest(result.accepted), table_digest(result.rejects)))
            assert (result.accepted["amount"].to_pylist(), result.accepted["is_fraud"].to_pylist()) == ([2.0], [1])
        assert len(digests) == 1

    def test_a_broken_row_does_not_take_the_place_of_a_good_one(self):
        accepted, rejects = outcome(lake(2, ID=[5, 5], SUM=[-1.0, 2.0], AT=[NOON - timedelta(hours=1), NOON]))
        assert (accepted, rejects) == ([5], {"negative or not finite amount": 1})

    def test_rows_without_an_id_are_never_copies_of_each_other(self):
        result = ingested(lake(3, ID=pa.array([None, None, 1], pa.int64())))
        assert (result.facts.rejects, result.facts.duplicates_dropped) == ({"null key ID (transaction_id)": 2}, 0)


class TestAwkwardDay:
    """The night of 31 March 2024, when Europe's clocks skipped an hour: in UTC a day like any other."""

    def day(self) -> pa.Table:
        at = [
            datetime(2024, 3, 30, 23, 59, 59, 999999),  # 00:59:59 in Paris, already the 31st there: still the 30th
            datetime(2024, 3, 31),  # midnight itself belongs to the day
            datetime(2024, 3, 31, 0, 59, 59),  # last second before the clocks skip
            datetime(2024, 3, 31, 1),  # 03:00 in Paris; 02:00 to 03:00 never was
            datetime(2024, 3, 31, 22, 30),  # 00:30 on 1 April in Paris: still the 31st
            datetime(2024, 4, 1),  # the next midnight does not belong to it
        ]
        zoned = pa.array(at, pa.timestamp("us", "UTC")).cast(pa.timestamp("us", "Europe/Paris"))
        cards = ["0012", "0012", "é-7", "12", "0012", "é-7"]  # leading zeros and accents are part of a key
        return lake(6, ID=[f"t{n}" for n in range(6)], AT=zoned, CARD=cards)

    def test_no_hour_is_lost_and_none_is_borrowed(self):
        result = ingested(self.day(), day=date(2024, 3, 31))
        assert result.accepted["transaction_id"].to_pylist() == ["t1", "t2", "t3", "t4"]
        assert result.accepted["timestamp"].to_pylist()[2] == datetime(2024, 3, 31, 1)
        assert result.accepted["customer"].to_pylist() == ["0012", "é-7", "12", "0012"]
        assert result.facts.rejects == {"timestamp outside its day": 2}

    def test_days_split_a_stream_without_gap_or_overlap(self):
        counted = [ingested(self.day(), day=date(2024, 3, 30) + timedelta(days=n)).facts.rows for n in range(3)]
        assert counted == [1, 4, 1]


IDS = st.sampled_from([None, 1, 2, 3])
ROWS = st.lists(
    st.tuples(
        IDS,
        st.sampled_from([None, NOON, NOON + timedelta(seconds=1), NOON + timedelta(days=1)]),
        st.sampled_from([None, -1.0, math.nan, 0.0, -0.0, 5.0]),
        st.sampled_from([None, 0.0, 1.0, 2.0, math.nan]),
        st.sampled_from([None, "", "a", "b"]),
    ),
    max_size=14,
)
KINDS = (pa.int64(), pa.timestamp("us"), pa.float64(), pa.float64(), pa.string())


def day_of(rows: list[tuple]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * 5
    names = ("ID", "AT", "SUM", "BAD", "CARD")
    arrays = {name: pa.array(values, kind) for name, values, kind in zip(names, columns, KINDS, strict=True)}
    return pa.table(arrays | {"SHOP": pa.array([9] * len(rows), pa.int64())})


def first_broken_rule(row: tuple) -> str | None:
    """The rules again, one row at a time, as a person would read them."""
    key, at, amount, label, card = row
    if key is None:
        return "null key ID (transaction_id)"
    if not card:
        return "null key CARD (customer)"
    if at is None:
        return RejectReason.NULL_TIMESTAMP
    if amount is None:
        return RejectReason.NULL_AMOUNT
    if not 0 <= amount < math.inf:
        return RejectReason.NEGATIVE_AMOUNT
    if label is not None and not math.isnan(label) and label not in (0, 1):
        return RejectReason.INVALID_LABEL
    return None if at.date() == LEAP_DAY else RejectReason.OUTSIDE_DAY


def content(row: tuple) -> tuple:
    """A row as it counts for identity: zero has one sign, an empty key is none, a NaN label is a missing one."""
    key, at, amount, label, card = row
    amount = None if amount is None else str(amount + 0.0)
    return key, at, amount, None if label is None or math.isnan(label) else label, card or None


def expected(rows: list[tuple]) -> tuple[int, Counter, int]:
    """Accepted, rejects by reason and surplus copies, by sets of contents."""
    without_id = [row for row in rows if row[0] is None]
    once = {content(row): first_broken_rule(row) for row in rows if row[0] is not None}
    rejects = Counter(str(reason) for reason in [*map(first_broken_rule, without_id), *once.values()] if reason)
    good = [row for row, reason in once.items() if reason is None]
    accepted = len({row[0] for row in good})
    if len(good) > accepted:
        rejects[str(RejectReason.DUPLICATE_ID)] = len(good) - accepted
    return accepted, rejects, len(rows) - len(without_id) - len(once)


class TestLaws:
    @settings(max_examples=40, deadline=None)
    @given(ROWS)
    def test_every_row_is_accepted_rejected_or_a_surplus_copy(self, rows):
        result = ingested(day_of(rows))
        facts = result.facts
        assert facts.rows + facts.rejected + facts.duplicates_dropped == len(rows)
        assert (facts.rows, Counter(facts.rejects), facts.duplicates_dropped) == expected(rows)
        assert (len(result.accepted), len(result.rejects)) == (facts.rows, facts.rejected)
        assert result.accepted["transaction_id"].null_count == 0

    @settings(max_examples=25, deadline=None)
    @given(ROWS.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
    def test_the_order_of_rows_changes_nothing(self, both):
        one, other = (ingested(day_of(list(rows))) for rows in both)
        assert table_digest(one.accepted) == table_digest(other.accepted)
        assert table_digest(one.rejects) == table_digest(other.rejects)
        assert one.facts == other.facts

    @settings(max_examples=20, deadline=None)
    @given(ROWS)
    def test_the_short_way_for_days_without_duplicates_agrees_with_the_long_one(self, rows):
        result = ingested(day_of(rows))
        table = classify(ibis.memtable(day_of(rows)), MAPPING, LEAP_DAY).to_pyarrow().to_pylist()
        kept = [row for row in table if not row["surplus"]]
        assert Counter(row["reason"] for row in kept if row["reason"]) == Counter(result.facts.rejects)
        assert len(table) - len(kept) == result.facts.duplicates_dropped

    def test_accepted_rows_are_sorted_by_time_and_then_id(self):
        table = lake(4, ID=["b", "B", "a", "é"], AT=[NOON, NOON, NOON, NOON - timedelta(seconds=1)])
        assert ingested(table).accepted["transaction_id"].to_pylist() == ["é", "B", "a", "b"]

    @pytest.mark.parametrize("ids", [[3, 1, 2], ["c", "a", "b"]])
    def test_equal_times_are_told_apart_by_id(self, ids):
        assert ingested(lake(3, ID=ids)).accepted["transaction_id"].to_pylist() == sorted(ids)

    def test_facts_tell_what_arrived(self):
        arrival = Arrival(files=2, source_version="etag", arrived_at=datetime(2024, 3, 1, 4, tzinfo=UTC))
        query = query_of(lake(4, BAD=[0, 1, None, 1], SUM=[1.0, 2.0, 3.0, 6.0]))
        facts = ingest(query, MAPPING, arrival=arrival, ignored=["x"]).facts
        assert (facts.rows, facts.labelled, facts.frauds, facts.fraud_rate) == (4, 3, 2, 2 / 3)
        assert (facts.min_amount, facts.mean_amount, facts.max_amount) == (1.0, 3.0, 6.0)
        assert (facts.files, facts.source_version, facts.ignored_columns) == (2, "etag", ("x",))
        assert facts.arrived_at == arrival.arrived_at


NONE = "(null)"


def decided(policy: dict, *, propensity: bool = False) -> LakeMapping:
    columns = COLUMNS | {"decision": "DID"} | ({"propensity": "P"} if propensity else {})
    return LakeMapping.model_validate({"columns": columns, "entities": ENTITIES, "blocked": policy})


def propensities(decisions: list, chances: list | None = None, **policy) -> list:
    """What becomes of rows by their decision: the propensity, `(null)`, or why the row was rejected."""
    rows = len(decisions)
    more = {} if chances is None else {"P": pa.array(chances, pa.float64())}
    result = ingested(
        lake(rows, DID=pa.array(decisions, pa.string()), **more), decided(policy, propensity=chances is not None)
    )
    found = {row["transaction_id"]: row["propensity"] for row in result.accepted.to_pylist()}
    found = {number: NONE if one is None else one for number, one in found.items()}
    found |= {row["transaction_id"]: row["reason"] for row in result.rejects.to_pylist()}
    assert sorted(found) == list(range(rows))
    return [found[number] for number in range(rows)]


class TestDecisions:
    def test_without_a_control_group_nothing_stands_for_what_was_blocked(self):
        assert propensities(["approve", " Block ", "DECLINE", "challenge"]) == [1.0, NONE, NONE, 1.0]

    def test_a_control_group_of_one_share_stands_for_what_was_blocked(self):
        control = {"control_decisions": ["holdback"], "control_share": 0.1}
        assert propensities(["approve", "block", "Holdback"], **control) == [1.0, 0.0, 0.1]

    def test_a_share_below_the_cap_of_the_weights_is_capped(self):
        control = {"control_decisions": ["holdback"], "control_share": 0.01, "max_weight": 20}
        assert propensities(["holdback", "approve"], **control) == [0.05, 1.0]

    @pytest.mark.parametrize(
        ("decision", "chance", "becomes"),
        [
            ("approve", 1.0, 1.0),
            ("approve", 0.25, 0.25),
            ("approve", 0.001, 0.05),
            ("block", 0.25, 0.0),
            ("block", None, 0.0),
            ("block", 0.0, NONE),
            ("approve", None, str(RejectReason.NULL_PROPENSITY)),
            ("approve", math.nan, str(RejectReason.NULL_PROPENSITY)),
            ("approve", 0.0, str(RejectReason.INVALID_PROPENSITY)),
            ("approve", 1.5, str(RejectReason.INVALID_PROPENSITY)),
            ("approve", math.inf, str(RejectReason.INVALID_PROPENSITY)),
            ("block", -0.5, str(RejectReason.INVALID_PROPENSITY)),
            ("block", 1.0, str(RejectReason.SURELY_BLOCKED)),
            (None, 0.5, str(RejectReason.NULL_DECISION)),
            ("  ", 0.5, str(RejectReason.NULL_DECISION)),
        ],
    )
    def test_a_propensity_of_its_own(self, decision, chance, becomes):
        assert propensities([decision], [chance]) == [becomes]

    def test_a_decision_that_is_missing_rejects_the_row(self):
        assert propensities([None, "", "block"]) == [str(RejectReason.NULL_DECISION)] * 2 + [NONE]

    def test_decisions_may_be_booleans(self):
        mapping = decided({"decisions": [True]})
        assert ingested(lake(2, DID=[True, False]), mapping).accepted["propensity"].to_pylist() == [None, 1.0]

    def test_the_day_says_what_was_blocked_and_whether_the_control_group_fits(self):
        rows = lake(
            6,
            DID=["block"] * 3 + ["approve"] * 3,
            P=[0.25, 0.25, 0.0, 0.25, 0.5, 1.0],
            BAD=pa.array([None, None, 1, 0, 0, 0], pa.int64()),
        )
        facts = ingested(rows, decided({}, propensity=True)).facts.blocked
        counts = {"blocked": 2, "unseen": 1, "reviewed": 1, "control": 2, "stands_for": 4.0}
        assert facts.model_dump() == counts | {"decisions": {"approve": 3, "block": 3}}

    def test_a_decision_that_reads_like_blocking_and_is_in_no_list_is_named(self):
        rows = lake(5, DID=["BLOCKED", " declined", "approve", "Block", None])
        result = ingested(rows, decided({}))
        facts = result.facts.blocked
        assert facts.decisions == {"approve": 1, "block": 1, "blocked": 1, "declined": 1}
        assert facts.unlisted == {"blocked": 1, "declined": 1}
        assert "'blocked' (1), 'declined' (1); add it to labels.blocked.decisions" in facts.warning
        for kept in (result.accepted, result.rejects):
            assert "delivered_decision" not in kept.column_names
        listed = decided({"decisions": ["block", "blocked"], "control_decisions": ["declined"], "control_share": 0.5})
        assert ingested(rows, listed).facts.blocked.unlisted == {}

    def test_a_list_that_no_decision_of_many_is_in_is_named(self):
        def facts(decisions: dict[str, int], unseen: int = 0) -> BlockedFacts:
            return BlockedFacts(blocked=0, unseen=unseen, reviewed=unseen, control=0, stands_for=0, decisions=decisions)

        assert "columns.decision says '3' (9,000), '7' (1,000): correct" in facts({"7": 1000, "3": 9000}).warning
        assert facts({"3": 9999}).warning is None
        assert facts({"3": 9999, "block": 1}, unseen=1).warning is None
        month = BlockedFacts.of_days([{"blocked": facts({"3": 6000}).model_dump()}] * 2)
        assert month.decisions == {"3": 12000} and month.warning is not None

    def test_copies_whose_decisions_mean_the_same_are_counted_alike_in_any_order(self):
        decisions = ["approve", "challenge"]
        found = [ingested(lake(2, ID=[1, 1], DID=order), decided({})) for order in (decisions, decisions[::-1])]
        assert [one.facts.blocked.decisions for one in found] == [{"approve": 1}] * 2
        assert [one.facts.duplicates_dropped for one in found] == [1, 1]

    @pytest.mark.parametrize(
        ("counts", "words"),
        [
            ((0, 40, 39, 0, 0.0), "nothing stands for the 1 blocked transactions without a label"),
            ((0, 40, 40, 0, 0.0), None),
            ((199, 0, 0, 0, 0.0), None),
            ((200, 0, 0, 0, 0.0), "the control group is empty"),
            ((400, 0, 0, 20, 380.0), None),
            ((400, 0, 0, 19, 4000.0), None),
            ((400, 0, 0, 20, 4000.0), "the propensities are wrong"),
            ((4000, 0, 0, 20, 380.0), "the propensities are wrong"),
        ],
    )
    def test_a_control_group_that_cannot_be_right_is_named(self, counts, words):
        names = ("blocked", "unseen", "reviewed", "control", "stands_for")
        facts = BlockedFacts(**dict(zip(names, counts, strict=True)))
        assert (facts.warning is None) if words is None else words in facts.warning
        assert BlockedFacts.of_days([{"rows": 1}]) is None
        both = BlockedFacts.of_days(
            [{"blocked": facts.model_dump()}, {"blocked": None}, {"blocked": facts.model_dump()}]
        )
        assert both.blocked == 2 * counts[0] and both.stands_for == 2 * counts[4]

    def test_without_decisions_a_day_is_as_it_was(self):
        result = ingested(lake())
        assert "propensity" not in result.accepted.column_names
        assert "blocked" not in result.facts.model_dump()
        assert "blocked" not in MAPPING.model_dump() and "decision" not in MAPPING.model_dump()["columns"]

    def test_columns_of_the_wrong_type_are_named(self):
        schema = {"part": lake(DID=[date(2024, 1, 1)], P=["often"]).schema}
        found = "; ".join(column_problems(schema, decided({}, propensity=True)))
        assert "DID (propensity)" in found and "P (propensity)" in found
