"""Checks: what stops a day or a window, with which number, and that no answer is never a pass."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

from fraud_retraining.domain.ingestion import Arrival, DayFacts, LakeMapping, canonical, ingest
from fraud_retraining.domain.schemas import LabelPolicy, ValidationPolicy
from fraud_retraining.domain.validation import DAY_CHECKS, WINDOW_CHECKS, CheckResult, day_checks, window_checks
from fraud_retraining.domain.windows import HoldoutPolicy, RollingWindow, TrainingWindow, WindowDay, window_days

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


def checked(table: pa.Table | None = None, *, told: DayFacts | None = None, earlier=(9, 10, 11), policy=POLICY):
    rows = ibis.memtable(day_table() if table is None else table)
    results = day_checks(rows, told or facts(), MAPPING, DAY, policy, earlier_rows=earlier)
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
        }
        assert all(result.numbers and result.threshold for result in results.values())

    def test_only_a_late_arrival_is_a_mere_warning(self):
        assert [name for name, (severity, _) in DAY_CHECKS.items() if severity == "warn"] == ["freshness"]
        assert {severity for severity, _ in WINDOW_CHECKS.values()} == {"error"}

    def test_a_check_that_cannot_be_made_has_failed_with_the_reason(self):
        results = checked(day_table(amount=None))
        assert failing(results) == {"schema", "nulls", "ranges", "uniqueness", "row_count", "fraud_rate"}
        assert results["ranges"].message.startswith("gave no result: ")
        assert "amount" in results["ranges"].message
        assert results["ranges"].value is None

    def test_names_and_severities_are_known_without_pandera(self):
        code = "import sys; import fraud_retraining.domain.validation; sys.exit('pandera' in sys.modules)"
        root = Path(__file__).parents[2]
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
        assert checked(told=facts(rejects={"null key": 1}))["rejects_share"].passed
        result = checked(told=facts(rejects={"null key": 1, "duplicate id": 1}))["rejects_share"]
        assert (result.passed, result.value) == (False, 2 / 12)
        assert "duplicate id: 1" in result.message

    @pytest.mark.parametrize(
        ("hours", "passes"), [(0, True), (72, True), (72.1, False), (-0.1, False), (24 * 30, False)]
    )
    def test_files_come_after_the_day_and_not_too_late(self, hours, passes):
        arrived = datetime(2024, 3, 1, tzinfo=UTC) + timedelta(hours=hours)
        assert checked(told=facts(arrived_at=arrived))["freshness"].passed is passes

    def test_history_that_is_delivered_years_later_is_not_late(self):
        arrived = datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=365 * 8)
        result = checked(told=facts(arrived_at=arrived))["freshness"]
        assert (result.passed, result.value) == (True, None)
        assert "history" in result.message

    def test_an_unknown_arrival_passes_and_says_so(self):
        result = checked(told=facts(arrived_at=None))["freshness"]
        assert (result.passed, result.value) == (True, None)
        assert "not known" in result.message


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
        results = checked(day.accepted, told=day.facts)
        assert failing(results) == {"rejects_share"}


AS_OF = date(2024, 3, 31)
FEATURES = ("amount", "hour")
COLUMNS = {"transaction_id", "timestamp", "is_fraud", *FEATURES}


def manifest(**changed) -> TrainingWindow:
    """Three training days with 50 rows and 2 frauds each, two holdout days with 12 frauds each."""
    days = window_days(AS_OF, RollingWindow(days=3), HoldoutPolicy(days=2), LabelPolicy(delay_days=7))

    def pinned(day: date, frauds: int) -> WindowDay:
        return WindowDay(day=day, digest=f"d{day}", features_digest=f"f{day}", rows=50, frauds=frauds)

    values = {
        "days": days,
        "label_delay_days": 7,
        "training": tuple(pinned(day, 2) for day in days.training),
        "holdout": tuple(pinned(day, 12) for day in days.holdout),
        "history": ((days.training.start - timedelta(days=1), "h"),),
        "features": FEATURES,
        "features_policy": "p",
    }
    return TrainingWindow(**(values | changed))


WHOLE = manifest()
DIGESTS = {day.day: day.digest for day in (*WHOLE.training, *WHOLE.holdout)} | dict(WHOLE.history)
FEATURES_DIGESTS = {day.day: day.features_digest for day in (*WHOLE.training, *WHOLE.holdout)}


def window_checked(window: TrainingWindow = WHOLE, *, policy=POLICY, columns=COLUMNS, **digests):
    found = {"digests": DIGESTS, "features_digests": FEATURES_DIGESTS} | digests
    return {result.name: result for result in window_checks(window, policy, columns=columns, **found)}


def altered(days: tuple[WindowDay, ...], **changed) -> tuple[WindowDay, ...]:
    return tuple(day.model_copy(update=changed) for day in days)


class TestWindow:
    def test_a_good_window_passes_every_check_with_its_numbers(self):
        results = window_checked()
        assert list(results) == list(WINDOW_CHECKS)
        assert failing(results) == set()
        assert results["minimum_rows"].numbers == {"rows": 150, "days": 3}
        assert results["fraud_rate"].value == 0.04
        assert results["holdout_frauds"].value == 24

    @pytest.mark.parametrize(
        ("window", "fails"),
        [
            (manifest(training=altered(WHOLE.training, rows=33)), {"minimum_rows"}),
            (manifest(training=altered(WHOLE.training, frauds=6)), {"fraud_rate"}),
            (manifest(training=altered(WHOLE.training, frauds=0)), {"fraud_rate", "both_classes"}),
            (manifest(training=altered(WHOLE.training, frauds=50)), {"fraud_rate", "both_classes"}),
            (manifest(training=()), {"minimum_rows", "fraud_rate", "both_classes", "missing_days"}),
            (manifest(training=WHOLE.training[1:], missing=()), {"missing_days"}),
            (manifest(holdout=altered(WHOLE.holdout, frauds=9)), {"holdout_frauds"}),
            (manifest(training=(*WHOLE.training, WHOLE.holdout[0])), {"no_overlap"}),
            (manifest(fixed=WHOLE.training[:1]), {"no_overlap"}),
        ],
    )
    def test_each_shortcoming_fails_its_own_check(self, window, fails):
        assert failing(window_checked(window)) == fails

    def test_missing_days_are_named_and_may_be_allowed(self):
        window = manifest(training=WHOLE.training[1:])
        assert "2024-03-20" in window_checked(window)["missing_days"].message
        assert window_checked(window, policy=POLICY.model_copy(update={"max_missing_days": 1}))["missing_days"].passed

    def test_a_feature_that_is_not_there_is_named(self):
        result = window_checked(columns=COLUMNS - {"hour"})["required_columns"]
        assert not result.passed
        assert "hour" in result.message

    @pytest.mark.parametrize("kind", ["digests", "features_digests"])
    @pytest.mark.parametrize("day", [WHOLE.training[0].day, WHOLE.holdout[0].day])
    def test_a_day_that_is_another_than_the_manifest_says_is_named(self, kind, day):
        usual = {"digests": DIGESTS, "features_digests": FEATURES_DIGESTS}[kind]
        for now in (usual | {day: "x"}, {known: digest for known, digest in usual.items() if known != day}):
            result = window_checked(**{kind: now})["digests"]
            assert (result.passed, result.value) == (False, 1)
            assert str(day) in result.message

    def test_days_that_features_look_back_on_count_too(self):
        result = window_checked(digests=DIGESTS | {WHOLE.history[0][0]: "x"})["digests"]
        assert not result.passed
