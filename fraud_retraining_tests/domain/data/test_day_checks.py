"""Checks of a day: what stops it, with which number, and that no answer is never a pass."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

from fraud_retraining.domain.data.canonical import canonical
from fraud_retraining.domain.data.day_checks import DAY_CHECKS, DayEvidence, DaysBefore, day_checks, delivered_together
from fraud_retraining.domain.data.ingestion import Arrival, DayFacts, ingest
from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.data.rule_results import CheckResult, Measure, Rule, results_of
from fraud_retraining.domain.data.validation import ValidationPolicy
from fraud_retraining.domain.training.window_checks import WINDOW_CHECKS
from fraud_retraining.domain.values.errors import DependencyUnreachable

DAY = date(2024, 2, 29)
NOON = datetime(2024, 2, 29, 12)
MAPPING = LakeMapping.model_validate({"entities": {"customer": {"column": "CARD"}}, "numeric": ["risk"]})
POLICY = ValidationPolicy(min_rows=100, max_reject_share=0.1)


def day_table(rows: int = 10, **columns) -> pa.Table:
    """Ten accepted rows, one of them a fraud, but for the columns given."""
    usual = {
        "transaction_id": pa.array(range(rows), pa.int64()),
        "timestamp": pa.array([NOON] * rows, pa.timestamp("us")),
        "amount": pa.array([float(n) for n in range(rows)], pa.float64()),
        "is_fraud": pa.array([1] * min(rows, 1) + [0] * (rows - 1), pa.int8()),
        "customer": pa.array([7] * rows, pa.int64()),
        "risk": pa.array([None] * rows, pa.float64()),
    }
    return pa.table({name: column for name, column in (usual | columns).items() if column is not None})


def facts(**changed) -> DayFacts:
    usual = {"rows": 10, "labelled": 10, "frauds": 1, "rejects": {}, "duplicates_dropped": 0, "nulls": {}, "files": 1}
    usual |= {"key_types": {"transaction_id": "integer", "customer": "integer"}, "source_version": "v"}
    return DayFacts(**(usual | {"arrived_at": datetime(2024, 3, 1, 6, tzinfo=UTC)} | changed))


def checked(
    table: pa.Table | None = None,
    *,
    of: DayFacts | None = None,
    earlier=(9, 10, 11),
    columns=("note",),
    policy=POLICY,
    same_delivery=False,
):
    rows = ibis.memtable(day_table() if table is None else table)
    before = DaysBefore(earlier, None if columns is None else frozenset(columns), same_delivery)
    results = day_checks(DayEvidence(rows, of or facts(), MAPPING, DAY, policy, before))
    return {result.name: result for result in results}


def failing(results: dict[str, CheckResult]) -> set[str]:
    return {name for name, result in results.items() if not result.passed}


class TestEveryCheck:
    def test_a_good_day_passes_every_check_with_its_numbers(self):
        results = checked()
        assert list(results) == list(DAY_CHECKS)
        assert failing(results) == set()
        assert {name: result.value for name, result in results.items()} == {
            "schema": 0,
            "nulls": 0,
            "ranges": 0,
            "uniqueness": 0,
            "row_count": 10,
            "fraud_rate": 0.1,
            "rejects_share": 0,
            "freshness": 6,
            "unread_files": 0,
            "new_columns": 0,
        }
        assert all(result.numbers and result.threshold for result in results.values())

    def test_what_is_a_mere_warning(self):
        warnings = [name for name, (severity, _) in DAY_CHECKS.items() if severity == "warn"]
        assert warnings == ["freshness", "unread_files", "new_columns"]
        assert [name for name, (severity, _) in WINDOW_CHECKS.items() if severity == "warn"] == ["reporting_delays"]

    def test_a_check_that_cannot_be_made_has_failed_with_the_reason(self):
        results = checked(day_table(amount=None))
        assert failing(results) == {"schema", "nulls", "ranges", "uniqueness", "row_count", "fraud_rate"}
        assert results["ranges"].message.startswith("gave no result: ")
        assert "amount" in results["ranges"].message
        assert results["ranges"].value is None

    def test_an_outage_while_measuring_is_no_word_on_the_data(self):
        def out_of_memory(subject: object) -> Measure:
            raise DependencyUnreachable("DuckDB ran out of memory", remedy="Raise engine.memory_limit.")

        with pytest.raises(DependencyUnreachable, match="out of memory"):
            results_of([Rule("ranges", "error", "Ranges.", out_of_memory)], None)

    def test_names_and_severities_are_known_without_pandera(self):
        modules = "fraud_retraining.domain.data.day_checks, fraud_retraining.domain.training.window_checks"
        code = f"import sys; import {modules}; sys.exit('pandera' in sys.modules)"
        root = Path(__file__).parents[3]
        assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


class TestRows:
    @pytest.mark.parametrize(
        ("columns", "named"),
        [
            ({"risk": pa.array(["x"] * 10)}, "risk"),
            ({"customer": None}, "customer"),
            ({"added": pa.array([1] * 10)}, "added"),
            ({"is_fraud": pa.array([0] * 10, pa.int64())}, "is_fraud"),
        ],
    )
    def test_a_column_of_another_shape_fails_the_schema(self, columns, named):
        result = checked(day_table(**columns))["schema"]
        assert not result.passed
        assert named in result.message

    def test_missing_values_are_counted_by_column(self):
        missing = pa.array([None] * 3 + [7] * 7, pa.int64())
        result = checked(day_table(customer=missing))["nulls"]
        assert (result.passed, result.value, result.numbers["customer"]) == (False, 3, 3)
        assert "customer: 3" in result.message

    @pytest.mark.parametrize(
        ("columns", "rule"),
        [
            ({"amount": pa.array([-1.0] + [1.0] * 9)}, "amount"),
            ({"amount": pa.array([float("nan")] + [1.0] * 9)}, "amount"),
            ({"amount": pa.array([float("inf")] + [1.0] * 9)}, "amount"),
            ({"is_fraud": pa.array([2] + [0] * 9, pa.int8())}, "label"),
            ({"timestamp": pa.array([datetime(2024, 3, 1)] + [NOON] * 9, pa.timestamp("us"))}, "timestamp"),
            ({"timestamp": pa.array([datetime(2024, 2, 28, 23, 59, 59, 999999)] + [NOON] * 9)}, "timestamp"),
        ],
    )
    def test_a_value_out_of_range_is_found_and_named_by_its_row(self, columns, rule):
        result = checked(day_table(**columns))["ranges"]
        assert (result.passed, result.value, result.numbers[rule]) == (False, 1, 1)
        assert "transaction_id 0" in result.message

    def test_a_repeated_id_is_found(self):
        ids = pa.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 8], pa.int64())
        result = checked(day_table(transaction_id=ids))["uniqueness"]
        assert (result.passed, result.value) == (False, 1)
        assert "for example 8" in result.message

    def test_a_message_never_lists_every_failing_row(self):
        results = checked(day_table(20_000, amount=pa.array([-1.0] * 20_000)))
        assert len(results["ranges"].message) < 400
        assert results["ranges"].numbers["amount"] == 20_000


class TestRowCount:
    @pytest.mark.parametrize(
        ("rows", "earlier", "passes"),
        [
            (10, (10, 10, 10), True),
            (2, (10, 10, 10), True),
            (1, (10, 10, 10), False),
            (50, (10, 10, 10), True),
            (51, (10, 10, 10), False),
            (100, (10, 10), True),
            (0, (), False),
            (0, (0, 0, 0), False),
            (1, (), True),
        ],
    )
    def test_a_day_has_about_as_many_rows_as_the_days_before(self, rows, earlier, passes):
        table = day_table(rows) if rows else day_table(1).slice(1)
        assert checked(table, earlier=earlier)["row_count"].passed is passes

    def test_too_little_history_is_said(self):
        assert "2 earlier days are too few" in checked(earlier=(10, 10))["row_count"].message

    def test_only_the_trailing_days_are_looked_at(self):
        policy = POLICY.model_copy(update={"trailing_days": 3})
        assert checked(earlier=(1000, 1000, 1000, 1000, 10, 10, 10), policy=policy)["row_count"].passed


class TestFraudRate:
    def labels(self, *values) -> pa.Table:
        return day_table(len(values), is_fraud=pa.array(values, pa.int8()))

    @pytest.mark.parametrize(
        ("labels", "passes", "value"),
        [
            ((0, 0, 0, 1), True, 0.25),
            ((1, 1, 0, 0), True, 0.5),
            ((1, 1, 1, 0), False, 0.75),
            ((1, 1, 1, 1), False, 1),
            ((0, 0, 0, 0), True, 0),
            ((1, 1, None, 0), False, 2 / 3),
            ((None, None, None, None), True, None),
            ((1, None, None, None), True, 0.25),
        ],
    )
    def test_the_share_of_frauds_is_plausible_among_what_is_labelled(self, labels, passes, value):
        result = checked(self.labels(*labels))["fraud_rate"]
        assert (result.passed, result.value) == (passes, value)

    def test_an_all_fraud_day_fails_whatever_the_policy_says(self):
        policy = POLICY.model_copy(update={"max_day_fraud_rate": 1.0})
        assert checked(self.labels(1, 1, 0), policy=policy)["fraud_rate"].passed
        assert not checked(self.labels(1, 1, 1), policy=policy)["fraud_rate"].passed

    def test_a_day_without_known_labels_passes_and_says_so(self):
        assert "no label" in checked(self.labels(None, None))["fraud_rate"].message


class TestArrival:
    def test_too_many_rejects_fail_with_their_reasons(self):
        assert checked(of=facts(rejects={"null key": 1}))["rejects_share"].passed
        result = checked(of=facts(rejects={"null key": 1, "duplicate id": 1}))["rejects_share"]
        assert (result.passed, result.value) == (False, 2 / 12)
        assert "duplicate id: 1" in result.message

    def test_labels_that_no_list_holds_are_named_with_the_remedy(self):
        unlisted = facts(rejects={"label in neither list": 7}, unlisted_labels={"disputed": 6, "?": 1})
        message = checked(of=unlisted)["rejects_share"].message
        assert "'disputed' 6, '?' 1; name them under labels.fraud_values or labels.genuine_values" in message

    @pytest.mark.parametrize(
        ("hours", "passes"), [(0, True), (72, True), (72.1, False), (-0.1, False), (24 * 30, False)]
    )
    def test_files_come_after_the_day_and_not_too_late(self, hours, passes):
        arrived = datetime(2024, 3, 1, tzinfo=UTC) + timedelta(hours=hours)
        assert checked(of=facts(arrived_at=arrived))["freshness"].passed is passes

    def test_history_that_is_delivered_years_later_is_not_late(self):
        arrived = datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=365 * 8)
        result = checked(of=facts(arrived_at=arrived))["freshness"]
        assert (result.passed, result.value) == (True, None)
        assert "history" in result.message

    def test_a_late_delivery_of_many_days_warns_at_its_first_day_only(self):
        late = facts(arrived_at=datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=20))
        assert not checked(of=late)["freshness"].passed
        result = checked(of=late, same_delivery=True)["freshness"]
        assert (result.passed, result.value) == (True, None)
        assert "together with the day before, 20 days after" in result.message

    @pytest.mark.parametrize(
        ("hours", "together"), [(0, True), (-3, True), (12, True), (24, False), (None, False)], ids=str
    )
    def test_days_that_each_come_a_day_apart_are_no_delivery_of_many(self, hours, together):
        arrived = datetime(2024, 3, 10, 6, tzinfo=UTC)
        before = None if hours is None else arrived - timedelta(hours=hours)
        assert delivered_together(arrived, before) is together

    def test_an_unknown_arrival_passes_and_says_so(self):
        result = checked(of=facts(arrived_at=None))["freshness"]
        assert (result.passed, result.value) == (True, None)
        assert "not known" in result.message


class TestNewColumns:
    @pytest.mark.parametrize(
        ("unread", "before", "passes"),
        [
            (("note",), ("note",), True),
            ((), ("note",), True),
            (("note", "channel"), ("note",), False),
            (("channel",), None, True),
        ],
        ids=["as the day before", "one went", "one is new", "nothing to compare with"],
    )
    def test_a_column_that_appears_and_that_nothing_reads_is_named(self, unread, before, passes):
        result = checked(of=facts(ignored_columns=unread), columns=before)["new_columns"]
        assert result.passed is passes
        assert ("channel" in result.message) is not passes

    def test_a_column_that_a_model_asks_for_and_the_day_lacks_is_named(self):
        result = checked(of=facts(unusable_columns={"CUNTRY": "is missing"}), columns=None)["new_columns"]
        assert (result.passed, result.severity) == (False, "warn")
        assert "CUNTRY is missing" in result.message


class TestIngestedDay:
    def test_what_ingestion_accepts_passes_the_checks_of_the_rows(self):
        raw = pa.table(
            {
                "TRANSACTION_ID": ["a", "b", "b", None, "c"],
                "TX_DATETIME": pa.array([NOON] * 5, pa.timestamp("us", "UTC")),
                "TX_AMOUNT": [1, 2, 3, 4, -5],
                "TX_FRAUD": [False, None, False, False, False],
                "CARD": pa.array([1, 2, 3, 4, 5], pa.uint64()),
                "risk": pa.nulls(5),
            }
        )
        arrival = Arrival(files=1, source_version="v")
        rows = canonical(ibis.memtable(raw), MAPPING)
        day = ingest(lambda shape: shape(rows, MAPPING, DAY).to_pyarrow(), MAPPING, arrival=arrival)
        results = checked(day.accepted, of=day.facts)
        assert failing(results) == {"rejects_share"}
