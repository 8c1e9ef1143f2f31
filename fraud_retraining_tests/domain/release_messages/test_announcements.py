"""Notices say what happened, how urgent it is, and what to type; an alarm ends under the key it began with."""

import pytest

from fraud_retraining.domain.evaluation.matured import MaturedVerdict
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.release_messages.announcements import ANNOUNCED_KINDS, ReleaseNotice, notice_of
from fraud_retraining.domain.releases.promotion_mode import POLICY
from fraud_retraining.domain.retraining.pauses import Automation
from fraud_retraining_tests.support.matured import matured, watched
from fraud_retraining_tests.support.recorded import Record
from fraud_retraining_tests.support.shadows import candidate_shadow


def only_notice(event) -> ReleaseNotice:
    notice = notice_of(event)
    assert notice is not None
    assert notice == notice_of(event)
    assert notice.seq == event.seq
    return notice


def test_a_candidate_that_waits_tells_until_when_why_and_what_to_type():
    notice = only_notice(Record().move(7, "awaiting_approval", "registered", reason="promotion.mode is manual"))
    assert (notice.kind, notice.version) == ("waiting", 7)
    assert "2026-09-02 08:00 UTC" in notice.title
    assert "promotion.mode is manual" in notice.text
    assert "approve 7" in notice.remedy and "reject 7" in notice.remedy


@pytest.mark.parametrize(
    ("to", "before", "kind"),
    [
        ("approved", "awaiting_approval", "approved"),
        ("rejected", "awaiting_approval", "rejected"),
        ("expired", "awaiting_approval", "expired"),
        ("superseded", "awaiting_approval", "superseded"),
        ("superseded", "approved", "superseded"),
        ("withdrawn", "approved", "withdrawn"),
        ("superseded", "promoted", None),
        ("superseded", "registered", None),
        ("rolled_back", "promoted", None),
        ("promoted", "superseded", None),
    ],
)
def test_every_end_of_waiting_is_reported_and_what_a_promotion_reports_anyway_is_not(to, before, kind):
    notice = notice_of(Record().move(7, to, before))
    assert (notice.kind if notice else None) == kind


def test_an_approval_by_policy_is_reported_by_its_promotion():
    assert notice_of(Record().move(7, "approved", "registered", actor=POLICY)) is None


def test_a_reminder_says_how_much_time_is_left_and_each_is_one_notice():
    record = Record()
    deadline = "2026-09-02T08:00:00Z"
    half, last = (
        only_notice(record.add(EventKind.REVIEWERS_REMINDED, 7, reminder=reminder, deadline=deadline))
        for reminder in ("half_time", "last_hour")
    )
    assert "half of the time" in half.title and "an hour is left" in last.title
    assert half.dedup_key != last.dedup_key


def test_a_rollback_is_urgent_and_names_both_versions():
    notice = only_notice(Record().promote(3, "bob", rollback=True, before=5))
    assert notice.severity == "critical"
    assert "Version 3 serves again: version 5 was rolled back by bob" in notice.title
    assert only_notice(Record().promote(3, before=None)).title == "Version 3 is champion in place of no version"


def test_two_promotions_of_one_version_are_two_notices():
    record = Record()
    assert only_notice(record.promote(3)).dedup_key != only_notice(record.promote(3)).dedup_key


def test_an_alias_moved_by_hand_names_whence_and_whither():
    notice = only_notice(Record().add(EventKind.CHAMPION_MOVED_OUTSIDE, 9, **{"from": 3, "to": 9, "known": False}))
    assert "from version 3 to version 9, which this pipeline did not register" in notice.title
    gone = only_notice(Record().add(EventKind.CHAMPION_MOVED_OUTSIDE, None, **{"from": 3, "to": None, "known": False}))
    assert "to no version" in gone.title


def test_a_damaged_champion_offers_the_last_good_version_and_its_alarm_ends_when_it_is_sound():
    record = Record()
    damaged = only_notice(record.add(EventKind.CHAMPION_CHECKED, 5, sound=False, problem="one byte", last_good=4))
    assert "rollback --to 4" in damaged.remedy and damaged.severity == "critical" and not damaged.resolves
    nothing = only_notice(record.add(EventKind.CHAMPION_CHECKED, 5, sound=False, problem="gone", last_good=None))
    assert "no other sound version" in nothing.remedy
    sound = only_notice(record.add(EventKind.CHAMPION_CHECKED, 4, sound=True, problem="", last_good=None))
    assert sound.resolves and sound.dedup_key == damaged.dedup_key == nothing.dedup_key


def test_a_failed_smoke_test_ends_with_one_that_passes():
    record = Record()
    failed = only_notice(record.add(EventKind.SMOKE_TESTED, 5, passed=False, problem="no input example"))
    passed = only_notice(record.add(EventKind.SMOKE_TESTED, 4, passed=True, problem=""))
    assert failed.severity == "critical" and "no input example" in failed.text
    assert passed.resolves and passed.dedup_key == failed.dedup_key


def test_a_pause_of_promotion_ends_with_its_resumption_and_retraining_is_not_this_modules_business():
    record = Record()
    paused, resumed = (
        only_notice(record.add(kind, subject=Automation.PROMOTION, reason="x"))
        for kind in (EventKind.AUTOMATION_PAUSED, EventKind.AUTOMATION_RESUMED)
    )
    assert resumed.resolves and paused.dedup_key == resumed.dedup_key
    assert notice_of(record.add(EventKind.AUTOMATION_PAUSED, subject=Automation.RETRAINING, reason="x")) is None


def test_a_first_approval_asks_for_the_second():
    notice = only_notice(
        Record().add(EventKind.APPROVAL_RECORDED, 7, release={"first_approval_by": "alice"}, reason="fine")
    )
    assert "approved by alice, and needs a second reviewer" in notice.title


def test_an_undone_promotion_is_reported():
    assert only_notice(Record().add(EventKind.PROMOTION_UNDONE, 7)).kind == "promotion_undone"


def test_other_events_are_nobodys_business():
    for kind in set(EventKind) - set(ANNOUNCED_KINDS):
        assert notice_of(Record().add(kind, 7)) is None


def again(verdict: MaturedVerdict) -> Event:
    event = Record().add(EventKind.MATURED_VERDICT, verdict.version)
    return event.model_copy(update={"payload": verdict.model_dump(mode="json")})


def test_what_a_waiting_candidate_would_change_is_told_with_a_line_a_threshold():
    shadow = candidate_shadow(version=7)
    event = Record().add(EventKind.CANDIDATE_SHADOWED, 7)
    notice = only_notice(event.model_copy(update={"payload": shadow.model_dump(mode="json")}))
    assert (notice.kind, notice.severity) == ("shadowed", "info")
    assert (
        shadow.summary in notice.text and "block from 0.8 on: " in notice.text and "review from 0.7 on: " in notice.text
    )


def test_a_refuted_promotion_is_reported_with_both_differences_and_the_way_back():
    verdict = matured(version=7, champion=6, now=-0.2)
    notice = only_notice(again(verdict))
    assert (notice.kind, notice.severity) == ("refuted", "high")
    assert "-0.200" in notice.text and "+0.020" in notice.text
    assert "rollback --to 6" in notice.remedy


@pytest.mark.parametrize("now", [0.1, -0.01, None])
def test_a_promotion_that_is_not_refuted_is_not_reported(now: float | None):
    verdict = matured(version=7, champion=6, now=now, reason="version 6 is gone")
    assert notice_of(again(verdict)) is None


def looked(now: float | None) -> Event:
    watch = watched(7, 6, now, reason="version 6 is gone")
    event = Record().add(EventKind.PROMOTION_WATCHED, 7)
    return event.model_copy(update={"payload": watch.model_dump(mode="json")})


def test_a_promotion_that_is_worse_live_is_reported_with_the_way_back():
    notice = only_notice(looked(-0.2))
    assert (notice.kind, notice.severity, "rollback --to 6" in notice.remedy) == ("worse_live", "high", True)
    assert "-0.200" in notice.text
    assert (only_notice(looked(None)).kind, notice_of(looked(0.1))) == ("not_watched", None)


def test_a_row_that_was_declared_void_ends_the_alarm_about_the_record():
    record = Record()
    altered = record.add(EventKind.RECORD_ALTERED, what="changed", culprits=["row 9 is not signed"], remedy="look")
    about = {"row": 9, "row_kind": "automation_resumed", "why": "row 9 is not signed", "reason": "a stray process"}
    notice = only_notice(record.add(EventKind.ROW_VOIDED, **about))
    assert notice.resolves and notice.dedup_key == only_notice(altered).dedup_key
    assert "Row 9 of the ledger (automation resumed)" in notice.title and "a stray process" in notice.text
