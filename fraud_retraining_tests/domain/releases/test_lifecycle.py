"""What may happen to a release, what a second decision is refused with, and how an interrupted promotion ends."""

from datetime import date, timedelta
from itertools import product

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.releases.lifecycle import (
    BY_HAND,
    MOVES,
    OPEN,
    TERMINAL,
    Await,
    Complete,
    HumanMoved,
    Promote,
    Supersede,
    Undo,
    adopt,
    begin_promotion,
    champion_of_time,
    clear_champion,
    displaced,
    end_promotion,
    move,
    newer_than,
    outdated_by,
    promotion_of,
    recovery,
    replace_champion,
    request_approval,
)
from fraud_retraining.domain.releases.promotion_mode import PromotionPolicy
from fraud_retraining.domain.releases.release import Decision, Intent, ReleaseState
from fraud_retraining.domain.values.errors import Conflict, GateFailed, SettingsError
from fraud_retraining_tests.support.waiting_releases import ANYBODY, MISSED, NOON, S, by, decide, release, waiting


def intent(version: int = 5, expected: int | None = 4, rollback: bool = False, reason: str = "because") -> Intent:
    return Intent(
        seq=17,
        model="fraud_detector",
        version=version,
        expected_champion=expected,
        artifact_digest="d",
        rollback=rollback,
        came_from=S.SUPERSEDED if rollback else S.APPROVED,
        actor="bob",
        channel="cli",
        reason=reason,
        at=NOON,
    )


@pytest.mark.parametrize(("state", "to"), list(product(ReleaseState, sorted(BY_HAND))))
def test_a_release_moves_only_as_the_table_says(state: ReleaseState, to: ReleaseState):
    deadline = NOON if to is S.EXPIRED else NOON + timedelta(hours=24)
    before = release(state, deadline=deadline if state is S.AWAITING_APPROVAL else None)
    if state in OPEN and to in MOVES[state]:
        assert move(before, to, by()).state is to
    else:
        with pytest.raises(Conflict, match="by alice at 2026-11-22 12:00:00 UTC"):
            move(before, to, by())


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_nothing_leads_out_of_a_terminal_state(state: ReleaseState):
    assert MOVES[state] == frozenset()


@pytest.mark.parametrize("to", [S.PROMOTING, S.PROMOTED, S.ROLLED_BACK, S.AWAITING_APPROVAL, S.REGISTERED])
def test_promotion_and_waiting_are_no_moves_by_hand(to: ReleaseState):
    with pytest.raises(ValueError, match="not a move of its own"):
        move(release(S.APPROVED), to, by())


def test_a_decision_names_who_when_and_how():
    approved = decide(waiting(), Decision.APPROVE, ANYBODY, by("bob"))
    assert (approved.state, approved.decided_by, approved.decided_via) == (S.APPROVED, "bob", "cli")
    assert approved.decided_at == NOON + timedelta(hours=1)


def test_the_second_answer_names_who_decided_and_when():
    approved = decide(waiting(), Decision.APPROVE, ANYBODY, by("bob", reason="looks right"))
    with pytest.raises(Conflict, match="it was approved by bob at 2026-11-22 13:00:00 UTC: looks right"):
        decide(approved, Decision.REJECT, ANYBODY, by("carol"))


def test_nobody_decides_on_a_release_that_does_not_wait():
    with pytest.raises(Conflict):
        decide(release(S.REGISTERED), Decision.APPROVE, ANYBODY, by())


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_rejection_needs_a_reason_and_an_approval_does_not(reason: str):
    with pytest.raises(SettingsError, match="without a reason"):
        decide(waiting(), Decision.REJECT, ANYBODY, by(reason=reason))
    assert decide(waiting(), Decision.APPROVE, ANYBODY, by(reason=reason)).state is S.APPROVED


def test_a_first_champion_that_cannot_serve_is_rolled_back_to_nothing():
    assert clear_champion(release(S.PROMOTED), by(reason="smoke test")).state is S.ROLLED_BACK
    with pytest.raises(Conflict):
        clear_champion(release(S.APPROVED), by())


@pytest.mark.parametrize("who", ["", " "])
def test_nobody_moves_nothing(who: str):
    with pytest.raises(SettingsError, match="without a name"):
        move(release(), S.APPROVED, by(who))


def test_without_a_passed_verdict_a_release_only_ends():
    failed = release(verdict_passed=False)
    for step in (lambda: request_approval(failed, 24, by()), lambda: move(failed, S.APPROVED, by())):
        with pytest.raises(GateFailed):
            step()
    assert move(failed, S.GATE_FAILED, by()).state is S.GATE_FAILED


def test_a_missed_floor_can_be_excepted_by_a_human_with_a_reason_only():
    waits = request_approval(release(**MISSED), 24, by(at=NOON))
    assert waits.state is S.AWAITING_APPROVAL
    with pytest.raises(SettingsError, match="without a reason"):
        decide(waits, Decision.APPROVE, ANYBODY, by(reason=" "))
    approved = decide(waits, Decision.APPROVE, ANYBODY, by(reason="fraud has changed; it is the better one"))
    assert approved.state is S.APPROVED
    intent = Intent(
        seq=1,
        model="fraud_detector",
        version=5,
        expected_champion=None,
        artifact_digest="d",
        rollback=False,
        came_from=S.APPROVED,
        actor="bob",
        channel="cli",
        at=NOON,
    )
    assert begin_promotion(approved, None, intent).state is S.PROMOTING


def test_a_deadline_is_counted_from_the_moment_of_asking():
    assert request_approval(release(), 1.5, by(at=NOON)).deadline == NOON + timedelta(minutes=90)


@pytest.mark.parametrize("hours", [0, -1, 24 * 31])
def test_the_deadline_is_bounded(hours: float):
    with pytest.raises(ValidationError):
        PromotionPolicy(approval_hours=hours)


@pytest.mark.parametrize(
    ("champion_as_of", "version", "mode", "outcome"),
    [
        (None, 4, "auto", Promote()),
        (None, 4, "manual", Await()),
        (date(2026, 11, 19), 99, "auto", Promote()),
        (date(2026, 11, 19), 99, "manual", Await()),
        (date(2026, 11, 20), 1, "auto", Promote()),  # same day, other settings or corrected data
        (date(2026, 11, 20), 1, "manual", Await()),
        (date(2026, 11, 20), 99, "auto", Supersede),
        (date(2026, 11, 21), 1, "manual", Supersede),
    ],
)
def test_a_candidate_never_replaces_a_newer_champion(champion_as_of, version, mode, outcome):
    champion = release(S.PROMOTED, version=version, as_of=champion_as_of) if champion_as_of else None
    answer = promotion_of(release(), champion, automatic=mode == "auto", passed=True)
    if outcome is Supersede:
        assert isinstance(answer, Supersede) and f"champion version {version}" in answer.reason
    else:
        assert answer == outcome


@pytest.mark.parametrize("automatic", [True, False])
def test_an_imported_model_is_the_first_champion_or_none(automatic: bool):
    imported = {"trigger": "import"}
    champion = release(S.PROMOTED, version=4, as_of=date(2026, 11, 1))
    answer = promotion_of(release(**imported), champion, automatic=automatic, passed=True)
    assert isinstance(answer, Supersede) and "only the first champion is imported" in answer.reason
    with pytest.raises(Conflict, match="only the first champion is imported"):
        begin_promotion(release(S.APPROVED, **imported), champion, intent())
    assert not isinstance(promotion_of(release(**imported), None, automatic=automatic, passed=True), Supersede)
    back = begin_promotion(release(S.SUPERSEDED, promoted_at=NOON, **imported), champion, intent(rollback=True))
    assert back.state == S.PROMOTING, "a rollback brings it back"


@pytest.mark.parametrize(
    ("as_of", "version"),
    [(date(2026, 11, 10), None), (date(2026, 11, 11), 1), (date(2026, 11, 20), 1), (date(2026, 11, 23), 4)],
)
def test_the_champion_of_an_old_day_is_who_served_last_before_it(as_of: date, version: int | None):
    served = {"promoted_at": NOON}
    known = [
        release(S.ROLLED_BACK, 1, date(2026, 11, 10), **served),
        release(S.SUPERSEDED, 2, date(2026, 11, 12)),  # it never served
        release(S.SUPERSEDED, 3, date(2026, 11, 20), **served),
        release(S.PROMOTED, 4, date(2026, 11, 20), **served),
    ]
    then = champion_of_time(known, as_of)
    assert (then.version if then else None) == version


def test_a_candidate_whose_gates_failed_is_not_even_asked_about():
    with pytest.raises(GateFailed):
        promotion_of(release(), None, automatic=True, passed=False)


def test_of_two_that_wait_the_newer_as_of_day_stays_and_of_equals_the_later_one():
    older, same, newer = (waiting(version=v, as_of=date(2026, 11, day)) for v, day in ((3, 19), (4, 20), (6, 21)))
    candidate, others = release(), [older, same, newer, release(S.REJECTED, version=2, as_of=date(2026, 11, 1))]
    assert outdated_by(candidate, others) == [older, same]
    assert newer_than(candidate, others) == newer
    assert newer_than(candidate, [older, same]) is None


def test_a_promotion_begins_from_approved_only_and_never_over_a_newer_champion():
    begun = begin_promotion(release(S.APPROVED), release(S.PROMOTED, version=4, as_of=date(2026, 11, 1)), intent())
    assert (begun.state, begun.intent, begun.champion_before) == (S.PROMOTING, 17, 4)
    with pytest.raises(Conflict):
        begin_promotion(waiting(), None, intent(expected=None))
    for newer in (release(S.PROMOTED, version=6), release(S.PROMOTED, version=4, as_of=date(2026, 11, 21))):
        with pytest.raises(Conflict, match=f"cannot be promoted: champion version {newer.version}"):
            begin_promotion(release(S.APPROVED), newer, intent())


def test_a_rollback_goes_to_what_was_champion_once_and_needs_a_reason():
    once = release(S.SUPERSEDED, promoted_at=NOON)
    champion = release(S.PROMOTED, version=6, as_of=date(2026, 11, 22))
    assert begin_promotion(once, champion, intent(rollback=True)).state is S.PROMOTING
    with pytest.raises(SettingsError, match="needs a reason"):
        begin_promotion(once, champion, intent(rollback=True, reason=" "))
    for never in (release(S.SUPERSEDED), release(S.APPROVED), release(S.REJECTED)):
        with pytest.raises(Conflict, match="never champion"):
            begin_promotion(never, champion, intent(rollback=True))
    with pytest.raises(Conflict):
        begin_promotion(release(S.PROMOTED, promoted_at=NOON), champion, intent(rollback=True))


@pytest.mark.parametrize(
    ("alias", "outcome"),
    [(5, Complete()), (4, Undo()), (3, HumanMoved(3)), (None, HumanMoved(None))],
    ids=["the alias was moved", "it was not touched", "a human moved it elsewhere", "a human removed it"],
)
def test_an_interrupted_promotion_comes_to_what_the_alias_says(alias, outcome):
    assert recovery(intent(version=5, expected=4), alias) == outcome


def test_an_interrupted_first_promotion_is_undone_where_there_is_no_alias():
    assert recovery(intent(version=5, expected=None), None) == Undo()


@pytest.mark.parametrize(
    ("outcome", "rollback", "state"),
    [
        (Complete(), False, S.PROMOTED),
        (Complete(), True, S.PROMOTED),
        (Undo(), False, S.APPROVED),
        (Undo(), True, S.SUPERSEDED),
        (HumanMoved(3), False, S.SUPERSEDED),
        (HumanMoved(3), True, S.SUPERSEDED),
    ],
)
def test_a_promotion_ends_as_it_came_out(outcome, rollback, state):
    begun = release(S.PROMOTING, intent=17)
    ended = end_promotion(begun, intent(rollback=rollback), outcome, by())
    assert (ended.state, ended.intent) == (state, None)
    assert ended.was_promoted is (state is S.PROMOTED)


def test_a_promotion_ends_once():
    for other in (release(S.PROMOTED), release(S.PROMOTING, intent=16)):
        with pytest.raises(Conflict, match="already finished"):
            end_promotion(other, intent(), Complete(), by())


def test_a_champion_is_superseded_by_a_promotion_and_rolled_back_by_a_rollback():
    champion = release(S.PROMOTED, version=4)
    assert replace_champion(champion, intent(), by()).reason == "version 5 was promoted"
    back = replace_champion(champion, intent(rollback=True, reason="alerts doubled"), by())
    assert (back.state, back.reason) == (S.ROLLED_BACK, "alerts doubled")


def test_a_human_who_moves_the_alias_wins_whatever_the_state():
    for state in ReleaseState:
        assert adopt(release(state), by()).state is S.PROMOTED
    assert displaced(release(S.PROMOTED), 7, by()).reason == "the alias was moved to version 7 by hand"
