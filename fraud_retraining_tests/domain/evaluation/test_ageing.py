"""Live days are held against what a model of their age reaches, not against a holdout the day after training."""

from datetime import UTC, date, datetime, timedelta

import pytest

from fraud_retraining.domain.evaluation.ageing import (
    ASSUMED_LOSS,
    Aged,
    age_on_holdout,
    expected_live,
    serving_age,
)
from fraud_retraining.domain.monitoring.drift import FeatureProfile, HoldoutProfile
from fraud_retraining.domain.monitoring.live_performance import Live, ServedPart, service_level
from fraud_retraining.domain.releases.champions import champion_of_age
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.values.interval import Interval

AS_OF = date(2026, 11, 30)
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
FRESH = Interval(value=0.612, low=0.590, high=0.634, deviation=0.011)
OLD = Interval(value=0.566, low=0.544, high=0.588, deviation=0.011)


def release(version: int, days_before: int, promoted: bool = True) -> Release:
    return Release(
        model="fraud_detector",
        version=version,
        fingerprint=f"f{version}",
        as_of=AS_OF - timedelta(days=days_before),
        trigger="schedule",
        state=ReleaseState.SUPERSEDED,
        artifact_digest="d",
        verdict_passed=True,
        opened_at=NOON,
        moved_at=NOON,
        moved_by="alice",
        promoted_at=NOON if promoted else None,
    )


def test_ages_are_counted_from_the_end_of_training_to_the_middle_of_the_days():
    """As of day 0 with a label delay and a holdout of 7 days, training ends on day -14; days 1 and 2 are served."""
    assert serving_age(7, 7, 2) == pytest.approx((15 + 16) / 2)
    assert age_on_holdout(0, 7) == pytest.approx(sum(range(1, 8)) / 7)
    assert age_on_holdout(12, 7) == pytest.approx(16)


@pytest.mark.parametrize(
    ("ages", "chosen"),
    [
        ([2, 4, 6], None),  # none has grown old enough
        ([2, 8, 10, 12, 14], 12),
        ([2, 9], 9),
        ([30], None),
    ],
)
def test_the_champion_of_before_that_is_as_old_as_a_model_that_serves(ages: list[int], chosen: int | None):
    known = [release(days, days) for days in ages] + [release(99, 11, promoted=False)]
    found = champion_of_age(known, AS_OF, serving_age=serving_age(7, 7, 2), holdout_days=7)
    assert (found[0].version if found else None) == chosen


def profile(aged: Interval | None) -> HoldoutProfile:
    known = Aged(version=3, as_of=AS_OF, age_days=15.5, average_precision=aged) if aged else None
    score = FeatureProfile.model_construct()
    return HoldoutProfile.model_construct(fingerprint="f", score=score, average_precision=FRESH, aged=known)


def live(value: float, promised: Interval | None):
    reached = Interval(value=value, low=value - 0.02, high=value + 0.02, deviation=0.01)
    week = Live(first=AS_OF, last=AS_OF, rows=60_000, frauds=500, values={}, intervals={"average_precision": reached})
    part = ServedPart(
        version=9, as_of=AS_OF, days=(AS_OF,), rows=60_000, frauds=500, average_precision=value, promised=promised
    )
    return service_level(week, reached, (part,))


def test_the_real_case_is_no_decay_at_its_age_and_was_one_against_the_fresh_holdout():
    """.612 on the holdout, .566 on the days then served: as it was measured on real card data."""
    against_fresh = live(0.566, FRESH)
    assert against_fresh.high < against_fresh.holdout_low
    for profiled in (profile(OLD), profile(None)):
        against_age = live(0.566, profiled.expected_live)
        assert against_age.high >= against_age.holdout_low


def test_a_model_that_falls_under_the_level_of_its_age_is_still_noticed():
    fallen = live(0.40, profile(OLD).expected_live)
    assert fallen.high < fallen.holdout_low
    assert expected_live(FRESH, None).low == pytest.approx(FRESH.low * (1 - ASSUMED_LOSS))
    assert expected_live(None, None) is None
