"""Checks of a window: what stops it, with which number."""

from datetime import date, timedelta

import pytest

from fraud_retraining.domain.data.rule_results import CheckResult
from fraud_retraining.domain.data.validation import ValidationPolicy
from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.training.window_checks import WINDOW_CHECKS, WindowEvidence, window_checks
from fraud_retraining.domain.training.windows import (
    HoldoutPolicy,
    RollingWindow,
    TrainingWindow,
    WindowDay,
    window_days,
)

POLICY = ValidationPolicy(min_rows=100, max_reject_share=0.1)
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


def failing(results: dict[str, CheckResult]) -> set[str]:
    return {name for name, result in results.items() if not result.passed}


def window_checked(window: TrainingWindow = WHOLE, *, policy=POLICY, columns=COLUMNS, **digests):
    found = {"digests": DIGESTS, "features_digests": FEATURES_DIGESTS} | digests
    return {
        result.name: result for result in window_checks(WindowEvidence(window, policy, frozenset(columns), **found))
    }


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
