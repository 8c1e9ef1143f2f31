"""Who may decide about a release, when two have to, until when, and when they are reminded."""

from datetime import timedelta
from typing import Any

import pytest

from fraud_retraining.domain.releases.approval_rules import reminders_due
from fraud_retraining.domain.releases.lifecycle import move, request_approval
from fraud_retraining.domain.releases.release import Decision, Reminder
from fraud_retraining.domain.releases.reviewers import Proof, ReviewerPolicy
from fraud_retraining.domain.retraining.requesters import UNKNOWN
from fraud_retraining.domain.values.errors import Conflict, GateFailed, NotPermitted
from fraud_retraining_tests.support.waiting_releases import ANYBODY, MISSED, NOON, S, by, decide, release, waiting


@pytest.mark.parametrize("decision", Decision)
@pytest.mark.parametrize(("seconds", "decided"), [(-1, True), (0, False), (1, False)])
def test_at_its_deadline_a_release_is_expired_and_not_a_moment_before(decision, seconds, decided):
    moved = by(at=NOON + timedelta(hours=24, seconds=seconds))
    if decided:
        assert decide(waiting(), decision, ANYBODY, moved).state in {S.APPROVED, S.REJECTED}
        with pytest.raises(Conflict, match="may be decided until"):
            move(waiting(), S.EXPIRED, moved)
    else:
        assert move(waiting(), S.EXPIRED, moved).state is S.EXPIRED
        with pytest.raises(Conflict, match="expired at 2026-11-23 12:00:00 UTC"):
            decide(waiting(), decision, ANYBODY, moved)


def test_only_reviewers_decide_where_reviewers_are_named():
    policy = ReviewerPolicy(reviewers=("alice",))
    for decision in Decision:
        with pytest.raises(NotPermitted, match="mallory is not a reviewer"):
            decide(waiting(), decision, policy, by("mallory"))
    assert decide(waiting(), Decision.APPROVE, policy, by("alice")).state is S.APPROVED


def test_a_name_alone_is_not_believed_where_proof_is_requested_or_could_be_given():
    provable = ReviewerPolicy(reviewers=({"name": "alice", "os_user": "adoe"},))
    strict = ReviewerPolicy(reviewers=("alice",), require_verified=True)
    for policy in (provable, strict):
        with pytest.raises(NotPermitted, match="alice has not proven to be alice"):
            decide(waiting(), Decision.APPROVE, policy, by("alice"))
        for proof in set(Proof) - {Proof.NOTHING}:
            assert decide(waiting(), Decision.APPROVE, policy, by("alice"), proof).state is S.APPROVED


def test_nobody_approves_what_they_requested_themselves_but_they_may_reject_it():
    own = waiting(trigger="manual", requested_by="bob")
    with pytest.raises(NotPermitted, match="bob requested version 5"):
        decide(own, Decision.APPROVE, ANYBODY, by("bob"))
    assert decide(own, Decision.REJECT, ANYBODY, by("bob")).state is S.REJECTED
    assert decide(waiting(requested_by=""), Decision.APPROVE, ANYBODY, by("bob")).state is S.APPROVED


@pytest.mark.parametrize("requester", ["bob", "bdoe", "U0BOB"])
@pytest.mark.parametrize("trigger", ["manual", "drift+manual", "schedule", "backfill"])
def test_whoever_asked_under_another_of_their_names_cannot_approve_it_either(requester: str, trigger: str):
    bob = {"name": "bob", "os_user": "bdoe", "slack_id": "U0BOB"}
    policy = ReviewerPolicy(reviewers=(bob, "alice"))
    own = waiting(trigger=trigger, requested_by=requester)
    with pytest.raises(NotPermitted, match="bob requested version 5"):
        decide(own, Decision.APPROVE, policy, by("bob"), Proof.SLACK)
    assert decide(own, Decision.APPROVE, policy, by("alice"), Proof.SLACK).state is S.APPROVED


def test_where_nobody_knows_who_asked_no_reviewer_approves_alone():
    own = waiting(requested_by=UNKNOWN)
    pair = ReviewerPolicy(reviewers=("alice", "bob"))
    first = decide(own, Decision.APPROVE, pair, by("alice"))
    assert (first.state, first.first_approval_by) == (S.AWAITING_APPROVAL, "alice")
    with pytest.raises(Conflict, match="A second reviewer"):
        decide(first, Decision.APPROVE, pair, by("alice"))
    assert decide(first, Decision.APPROVE, pair, by("bob")).state is S.APPROVED
    alone = ReviewerPolicy(reviewers=("alice",))
    assert decide(own, Decision.APPROVE, alone, by("alice")).state is S.APPROVED, "there is no second reviewer"


def test_an_answer_to_another_artifact_than_was_registered_decides_nothing():
    with pytest.raises(Conflict, match="not the model that was shown"):
        decide(waiting(), Decision.APPROVE, ANYBODY, by(), digest="another")
    assert decide(waiting(), Decision.APPROVE, ANYBODY, by(), digest="d").state is S.APPROVED


TWO = ReviewerPolicy(two_person=True)


def test_where_two_have_to_approve_the_first_leaves_it_waiting_and_another_one_decides():
    first = decide(waiting(), Decision.APPROVE, TWO, by("alice"))
    assert (first.state, first.first_approval_by, first.decided_by) == (S.AWAITING_APPROVAL, "alice", None)
    assert (first.moved_at, first.deadline) == (waiting().moved_at, waiting().deadline), "the deadline stands"
    second = decide(first, Decision.APPROVE, TWO, by("bob"))
    assert (second.state, second.first_approval_by, second.decided_by) == (S.APPROVED, "alice", "bob")


def test_nobody_is_two_people():
    first = decide(waiting(), Decision.APPROVE, TWO, by("alice"))
    with pytest.raises(Conflict, match="alice has approved version 5 already"):
        decide(first, Decision.APPROVE, TWO, by("alice"))


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_one_no_is_enough_even_after_ones_own_yes(who: str):
    first = decide(waiting(), Decision.APPROVE, TWO, by("alice"))
    assert decide(first, Decision.REJECT, TWO, by(who)).state is S.REJECTED


def test_a_first_approval_comes_too_late_as_any_other():
    with pytest.raises(Conflict, match="expired"):
        decide(waiting(), Decision.APPROVE, TWO, by(at=NOON + timedelta(hours=24)))


@pytest.mark.parametrize(
    ("hours_after", "sent", "due"),
    [
        (11.9, [], []),
        (12, [], [Reminder.HALF_TIME]),
        (12.1, [Reminder.HALF_TIME], []),
        (22.9, [], [Reminder.HALF_TIME]),
        (23, [Reminder.HALF_TIME], [Reminder.LAST_HOUR]),
        (23.5, [], [Reminder.LAST_HOUR]),
        (23.5, [Reminder.HALF_TIME, Reminder.LAST_HOUR], []),
        (24, [], []),
    ],
)
def test_reviewers_are_reminded_at_half_time_and_an_hour_before_the_deadline(hours_after, sent, due):
    waits = request_approval(release(), 24, by(at=NOON))
    assert list(reminders_due(waits, NOON + timedelta(hours=hours_after), sent)) == due


def test_what_waits_for_an_hour_or_less_has_no_last_hour_and_what_was_decided_no_reminder():
    waits = request_approval(release(), 1, by(at=NOON))
    assert reminders_due(waits, NOON + timedelta(minutes=10), ()) == ()
    assert reminders_due(waits, NOON + timedelta(minutes=40), ()) == (Reminder.HALF_TIME,)
    approved = decide(waiting(), Decision.APPROVE, ANYBODY, by())
    assert reminders_due(approved, NOON + timedelta(hours=23.5), ()) == ()


@pytest.mark.parametrize("more", [MISSED, {"needs_human": "it was not compared"}])
def test_what_needs_a_human_is_never_approved_without_having_waited_for_one(more: dict[str, Any]):
    with pytest.raises(GateFailed, match="by itself"):
        move(release(**more), S.APPROVED, by())
    assert decide(waiting(**more), Decision.APPROVE, ANYBODY, by()).state is S.APPROVED
