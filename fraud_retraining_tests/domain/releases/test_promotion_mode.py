"""When a routine release may go by itself, what makes one unusual, and what puts trust back to nothing."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases import promotion_mode
from fraud_retraining.domain.releases.promotion_mode import (
    POLICY,
    Candidate,
    EarnedPolicy,
    PromotionPolicy,
    by_mode,
    by_trust,
    standing,
    unusual,
)
from fraud_retraining.domain.retraining.pauses import Automation, Pause
from fraud_retraining_tests.support.recorded import MORNING, Record

DOCS = Path(__file__).parents[3] / "docs" / "releases.md"
THREE = EarnedPolicy(releases=3, days=10)
PAST = tuple({"average_precision": 0.70 + n / 100, "roc_auc": 0.9 + n / 1000} for n in range(6))
USUAL = Candidate(
    trigger="schedule",
    automatic=True,
    metrics={"average_precision": 0.72, "roc_auc": 0.902, "brier_score": 9},
    past=PAST,
)
PAUSE = Pause(subject=Automation.PROMOTION, since=MORNING, by="bob", reason="alerts doubled")

Happening = Callable[[Record], object]

INCIDENTS: dict[str, Happening] = {
    "a rollback": lambda record: record.promote(1, rollback=True),
    "a first champion taken away": lambda record: record.move(3, "rolled_back", "promoted"),
    "a failed smoke test": lambda record: record.add(EventKind.SMOKE_TESTED, 3, passed=False, problem="x"),
    "a refuted promotion": lambda record: record.add(EventKind.MATURED_VERDICT, 3, outcome="refuted"),
    "a promotion that is worse live": lambda record: record.add(EventKind.PROMOTION_WATCHED, 3, outcome="refuted"),
    "a damaged artifact": lambda record: record.add(EventKind.CHAMPION_CHECKED, 3, sound=False, problem="x"),
    "a moved alias": lambda record: record.add(EventKind.CHAMPION_MOVED_OUTSIDE, 2, **{"from": 3, "to": 2}),
    "a changed record": lambda record: record.add(EventKind.RECORD_ALTERED, None, what="x", culprits=[]),
    "a retrain that failed by itself": lambda record: record.add(
        EventKind.RETRAIN_FAILED, None, category="dependency", severity="critical", cause="dependency:as-of 2026-11-05"
    ),
    "a page": lambda record: record.add(EventKind.NOTICE_OPENED, None, severity="critical", title="The disk is full"),
}
NONE: dict[str, Happening] = {
    "days that a check stopped": lambda record: record.add(
        EventKind.RETRAIN_FAILED, None, category="data_validation", severity="high", cause="data_validation:day"
    ),
    "a candidate that its gates stopped": lambda record: record.add(
        EventKind.RETRAIN_FAILED, None, category="gate_failed", severity="medium", cause="gate_failed:as-of"
    ),
    "a promotion that mature labels confirmed": lambda record: record.add(
        EventKind.MATURED_VERDICT, 3, outcome="confirmed"
    ),
    "a watch that found nothing": lambda record: record.add(EventKind.PROMOTION_WATCHED, 3, outcome="undecided"),
    "a message that wakes nobody": lambda record: record.add(EventKind.NOTICE_OPENED, None, severity="high", title="x"),
}


def test_every_incident_is_in_the_documentation_in_these_words():
    text = " ".join(DOCS.read_text().split())
    assert [incident.what for incident in promotion_mode.INCIDENTS if incident.what not in text] == []


@pytest.mark.parametrize("happening", NONE)
def test_what_the_pipeline_is_for_is_no_incident(happening: str):
    record = trusted()
    NONE[happening](record)
    assert stands(record).earned


def trusted() -> Record:
    """Three approved releases, a day apart, and eight quiet days."""
    record = Record()
    for version in (1, 2, 3):
        record.promote(version)
        record.add(EventKind.SMOKE_TESTED, version, passed=True)
        record.days(1)
    return record.days(8)


def stands(record: Record):
    return standing(THREE, record.events, record.now)


def test_trust_is_earned_by_releases_in_a_row_and_days_without_incident():
    found = stands(trusted())
    assert (found.approved, found.days, found.incident) == (3, 11, None)
    assert found.earned


def test_neither_days_nor_releases_alone_are_enough():
    record = Record()
    for version in (1, 2, 3):
        record.promote(version)
    assert not stands(record.days(9.9)).earned
    assert stands(record.days(0.2)).earned
    record = Record()
    record.promote(1)
    record.promote(2)
    assert not stands(record.days(100)).earned


def test_with_nothing_on_record_there_is_no_trust():
    found = stands(Record().days(100))
    assert (found.approved, found.days, found.earned) == (0, 0, False)
    assert "last incident: none" in found.summary


@pytest.mark.parametrize("incident", INCIDENTS)
def test_an_incident_puts_it_back_to_manual_and_trust_begins_anew(incident: str):
    record = trusted()
    INCIDENTS[incident](record)
    found = stands(record)
    assert (found.approved, found.days, found.earned) == (0, 0, False)
    assert found.incident is not None and found.incident in found.summary
    for version in (4, 5, 6):
        record.promote(version)
    assert not stands(record.days(9)).earned, "the days are counted from the incident"
    assert stands(record.days(1)).earned


@pytest.mark.parametrize("to", ["rejected", "withdrawn"])
def test_a_humans_no_breaks_the_row_but_is_no_incident(to: str):
    record = trusted()
    record.move(4, to)
    found = stands(record)
    assert (found.approved, found.incident) == (0, None)
    assert found.days > 10


@pytest.mark.parametrize("to", ["expired", "superseded", "gate_failed"])
def test_what_nobody_decided_says_nothing(to: str):
    record = trusted()
    record.move(4, to)
    assert stands(record).earned


def test_what_the_policy_promoted_neither_adds_nor_breaks():
    record = trusted()
    record.promote(4, by=POLICY)
    assert stands(record).approved == 3
    assert stands(record).earned


def test_sound_artifacts_and_passed_smoke_tests_are_no_incidents():
    record = trusted()
    record.add(EventKind.CHAMPION_CHECKED, 3, sound=True)
    record.add(EventKind.SMOKE_TESTED, 3, passed=True)
    assert stands(record).earned


@given(st.lists(st.sampled_from(["promote", "auto", "reject", "expire", *INCIDENTS]), max_size=30))
def test_trust_never_survives_an_incident_or_a_no_and_never_exceeds_what_was_approved_since(happenings: list[str]):
    record, since = Record(), 0
    for happening in happenings:
        record.days(0.1)
        match happening:
            case "promote":
                record.promote(1)
                since += 1
            case "auto":
                record.promote(1, by=POLICY)
            case "expire":
                record.move(1, "expired")
            case "reject":
                record.move(1, "rejected")
                since = 0
            case _:
                INCIDENTS[happening](record)
                since = 0
    assert stands(record).approved == since
    assert stands(record).earned == (since >= 3 and stands(record).days >= 10)


def test_a_candidate_like_all_others_is_routine():
    assert unusual(THREE, USUAL) == []


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({"trigger": "drift"}, "its trigger is drift, not schedule"),
        ({"trigger": "drift+schedule"}, "its trigger is drift+schedule"),
        ({"automatic": False}, "a person requested its retrain"),
        ({"warnings": ("arrival: two days late",)}, "warning: arrival: two days late"),
        ({"metrics": {"average_precision": 0.60, "roc_auc": 0.902}}, "average_precision is 0.6000, usual is 0.6750"),
        ({"metrics": {"average_precision": 0.90, "roc_auc": 0.902}}, "average_precision is 0.9000"),
        ({"metrics": {"average_precision": None, "roc_auc": 0.902}}, "average_precision is not defined"),
        (
            {"metrics": {"average_precision": 0.72, "card_precision_at_100": 0.3}},
            "card_precision_at_100 is not defined",
        ),
        ({"past": PAST[:4]}, "no usual range yet: 4 of 5"),
        ({"past": ()}, "no usual range yet: 0 of 5"),
    ],
)
def test_anything_unusual_is_named(change: dict[str, object], clause: str):
    (found,) = unusual(THREE, USUAL.model_copy(update=change))
    assert clause in found


def test_everything_unusual_is_named_at_once():
    odd = USUAL.model_copy(update={"trigger": "manual", "warnings": ("a", "b"), "past": ()})
    assert len(unusual(THREE, odd)) == 4


def test_only_the_latest_champions_make_the_usual_range():
    policy = EarnedPolicy(range_releases=5, tolerance=0)
    long_ago = ({"average_precision": 0.1, "roc_auc": 0.1},)
    low = USUAL.model_copy(update={"metrics": {"average_precision": 0.5}, "past": PAST + long_ago})
    assert len(unusual(policy, low)) == 1


@pytest.mark.parametrize(
    ("mode", "pause", "automatic", "why"),
    [
        ("manual", None, False, "mode is manual"),
        ("manual", PAUSE, False, "mode is manual"),
        ("auto", None, True, "mode is auto"),
        ("auto", PAUSE, False, "paused since 2026-09-01 08:00 UTC by bob: alerts doubled"),
        ("earned", PAUSE, False, "paused since"),
    ],
)
def test_the_mode_and_a_pause_decide_before_any_record(mode: str, pause: Pause | None, automatic: bool, why: str):
    allowed = by_mode(PromotionPolicy(mode=mode), pause)
    assert allowed is not None
    assert allowed.automatic is automatic
    assert why in allowed.why


def test_mode_earned_asks_the_record():
    assert by_mode(PromotionPolicy(mode="earned"), None) is None


def test_a_routine_candidate_goes_by_itself_once_trust_is_earned_and_not_before():
    assert by_trust(THREE, stands(trusted()), USUAL).automatic
    early = by_trust(THREE, stands(Record()), USUAL)
    assert not early.automatic
    assert "0 of 3 releases" in early.why


def test_an_unusual_candidate_asks_however_much_trust_there_is():
    choice = by_trust(THREE, stands(trusted()), USUAL.model_copy(update={"trigger": "performance"}))
    assert not choice.automatic
    assert "trigger is performance" in choice.why


def test_defaults_are_twenty_releases_and_sixty_days():
    assert (PromotionPolicy().earned.releases, PromotionPolicy().earned.days) == (20, 60)
    with pytest.raises(ValidationError):
        PromotionPolicy(mode="sometimes")


def test_time_passes_by_the_ledgers_clock():
    record = trusted()
    assert standing(THREE, record.events, record.now + timedelta(days=1)).days == 12
