"""Histories hold only reports about the model that is asked for, and what cannot be read is never nothing."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from fraud_retraining.adapters.days.monitoring_reports import (
    DRIFT,
    drift_history,
    drift_reports,
    live_performance,
    performance_history,
    read_profile,
    write_profile,
)
from fraud_retraining.adapters.storage.opening import open_location
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.monitoring.bins import Bins
from fraud_retraining.domain.monitoring.drift import (
    DriftReport,
    FeatureDrift,
    FeatureProfile,
    HoldoutProfile,
    ReferenceProfile,
)
from fraud_retraining.domain.values.errors import IntegrityError

START = date(2026, 3, 1)
DAYS = [START + timedelta(days=n) for n in range(5)]
OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(
        open_location(str(tmp_path / "store"), s3=None, cache=tmp_path / "cache"), scratch=tmp_path / "scratch"
    )


def write_report(store: Store, day: date, fingerprint: str, drift: float) -> DriftReport:
    report = DriftReport(
        day=day,
        version=1,
        fingerprint=fingerprint,
        statistic="psi",
        threshold=0.2,
        rows=10,
        features=(
            FeatureDrift(
                name="amount",
                group="transaction",
                psi=drift,
                jensen_shannon=0,
                usual=0,
                drift=drift,
                missing=0,
                new=0,
                counts=(10,),
            ),
        ),
        left_out={},
        groups=("transaction",),
        scores="",
        fraud_rate=None,
        no_fraud_rate="",
    )
    facts = {"fingerprint": fingerprint, "report": report.model_dump(mode="json")}
    store.write(DRIFT, day, {}, digest="d", inputs={}, facts=facts)
    return report


def test_reports_about_an_earlier_champion_do_not_count(store: Store) -> None:
    write_report(store, DAYS[0], OLD, 0.9)
    kept = [write_report(store, day, NEW, 0.1 * number) for number, day in enumerate(DAYS[1:4], start=1)]
    assert drift_reports(store, NEW, DAYS) == tuple(kept)
    history = drift_history(store, NEW, DAYS)
    assert [(one.day, round(one.value, 3)) for one in history] == [(DAYS[1], 0.1), (DAYS[2], 0.2), (DAYS[3], 0.3)]
    assert history[-1].worst == ("amount",)


def test_only_the_requested_days_are_read(store: Store) -> None:
    for day in DAYS:
        write_report(store, day, NEW, 0.1)
    assert [one.day for one in drift_history(store, NEW, DAYS[3:])] == DAYS[3:]


def test_without_reports_the_history_is_empty(store: Store) -> None:
    assert drift_history(store, NEW, DAYS) == ()
    assert performance_history(store, DAYS) == ()
    assert live_performance(store, DAYS) is None


def test_a_report_that_cannot_be_understood_is_named_in_the_log_and_counts_as_not_made(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.write(DRIFT, DAYS[0], {}, digest="d", inputs={}, facts={"fingerprint": NEW, "report": {"day": "yesterday"}})
    assert drift_history(store, NEW, DAYS) == ()
    assert f"drift_report of {DAYS[0]}" in caplog.text


def profile() -> FeatureProfile:
    return FeatureProfile.of(Bins(name="score", edges=(0.0, 0.5, 1.0)), [(0, 5, 5, 0, 0), (0, 6, 4, 0, 0)])


def test_a_profile_is_kept_under_its_fingerprint(store: Store) -> None:
    kept = HoldoutProfile(fingerprint=NEW, score=profile(), average_precision=None)
    write_profile(store, kept)
    assert read_profile(store, HoldoutProfile, NEW) == kept
    assert read_profile(store, HoldoutProfile, OLD) is None
    assert read_profile(store, ReferenceProfile, NEW) is None


def test_a_damaged_profile_is_not_a_missing_one(store: Store) -> None:
    store.write_document("reference_profile", NEW, b"{}")
    with pytest.raises(IntegrityError, match="reference_profile of fingerprint bbbbbbbbbbbb"):
        read_profile(store, ReferenceProfile, NEW)
