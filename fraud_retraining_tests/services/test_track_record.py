"""A routine candidate goes by itself once the record says so: read from a real ledger, release after release."""

import pytest

from fraud_retraining.adapters.ledger.decisions import ReviewerDecision
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.promotions import AliasMove
from fraud_retraining.domain.evaluation.gates import Verdict
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.releases.lifecycle import recovery
from fraud_retraining.domain.releases.promotion_mode import EarnedPolicy, PromotionPolicy
from fraud_retraining.domain.releases.release import Decision, ReleaseState
from fraud_retraining.domain.retraining.requesters import UNKNOWN, Requester
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.services.track_record import permission_for, read_standing
from fraud_retraining_tests.support.approvals_fixture import an_evaluation
from fraud_retraining_tests.support.ledgers import ANYBODY, opened, person

EARNED = PromotionPolicy(mode="earned", earned=EarnedPolicy(releases=5, days=0))
BY = {"actor": "alice", "channel": "cli"}

pytest_plugins = ("fraud_retraining_tests.support.databases",)


def registered(ledger, version: int, average_precision: float = 0.7, warnings: tuple[str, ...] = (), **more):
    """A version that was judged against whoever serves."""
    champion = ledger.champion()
    judged = an_evaluation(f"f{version}", ledger_day(version), average_precision)
    return judged_as(
        ledger, judged.model_copy(update={"champion_version": champion and champion.version}), warnings, **more
    )


def judged_as(ledger, judged: Evaluation, warnings: tuple[str, ...] = (), asker: str = "", **more):
    version = int(judged.fingerprint[1:])
    payload = judged.model_dump(mode="json")
    ledger.append(
        EventKind.MODEL_EVALUATED, actor="pipeline", keys=EventKeys(fingerprint=judged.fingerprint), payload=payload
    )
    more = {"verdict_digest": digest(judged.verdict), **more}
    run = requested(ledger, version, asker)
    return opened(ledger, version, version, facts={"warnings": list(warnings), "dagster_run_id": run}, **more)


def requested(ledger, version: int, asker: str) -> str:
    """A run that automation decided on, unless a person asked for it."""
    run, as_of = f"run {version}", ledger_day(version)
    recorded = {"trigger": "schedule", "reason": ""}
    ledger.append_once(
        EventKind.RETRAIN_DECIDED, keys=EventKeys(subject=run, as_of=as_of), payload=recorded, actor="automation"
    )
    by = Requester(name=asker or UNKNOWN, channel="command line")
    ledger.record_retrain_request(run, as_of, decided=None if asker else run, asker=by, **recorded)
    return run


def ledger_day(version: int):
    from datetime import date

    return date(2026, 11, version)


def approved_and_promoted(ledger, version: int, average_precision: float = 0.7) -> None:
    registered(ledger, version, average_precision)
    ledger.await_decision(version, hours=24, **BY)
    ledger.record_decision(version, ReviewerDecision(Decision.APPROVE, person("alice"), "cli"), ANYBODY)
    champion = ledger.champion()
    intent = ledger.intend_promotion(AliasMove(version, champion.version if champion else None), **BY)
    ledger.finish_promotion(intent, recovery(intent, version), **BY)


@pytest.fixture
def trusted(sqlite_ledger):
    for version in range(1, 7):
        approved_and_promoted(sqlite_ledger, version, 0.7 + version / 100)
    return sqlite_ledger


def test_trust_grows_with_every_approved_release(sqlite_ledger):
    grown = []
    for version in range(1, 6):
        approved_and_promoted(sqlite_ledger, version)
        grown.append(read_standing(sqlite_ledger, EARNED.earned).approved)
    assert grown == [1, 2, 3, 4, 5]


def test_a_routine_release_goes_by_itself(trusted):
    allowed = permission_for(trusted, EARNED, registered(trusted, 7, 0.73))
    assert allowed.automatic, allowed.why
    assert "6 of 5 releases approved in a row" in allowed.why


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"average_precision": 0.5}, "average_precision is 0.5000, usual is"),
        ({"average_precision": 0.99}, "average_precision is 0.9900"),
        ({"asker": "alice", "trigger": "schedule"}, "a person requested its retrain"),
        ({"trigger": "drift"}, "its trigger is drift"),
        ({"warnings": ("arrival: late",)}, "warning: arrival: late"),
    ],
)
def test_an_unusual_one_asks_and_says_why(trusted, more, why):
    allowed = permission_for(trusted, EARNED, registered(trusted, 7, **{"average_precision": 0.73, **more}))
    assert not allowed.automatic
    assert why in allowed.why


def test_a_version_of_which_nobody_recorded_warnings_asks(trusted):
    judged = an_evaluation("f7", ledger_day(7), 0.73).model_copy(update={"champion_version": 6})
    trusted.append(
        EventKind.MODEL_EVALUATED, actor="p", keys=EventKeys(fingerprint="f7"), payload=judged.model_dump(mode="json")
    )
    release = opened(trusted, 7, 7, verdict_digest=digest(judged.verdict))
    allowed = permission_for(trusted, EARNED, release)
    assert not allowed.automatic
    assert "does not say what checks warned of" in allowed.why


@pytest.mark.parametrize("incident", ["rollback", "alias", "artifact", "smoke test"])
def test_an_incident_puts_it_back_to_manual(trusted, incident: str):
    match incident:
        case "rollback":
            intent = trusted.intend_promotion(AliasMove(5, 6, rollback=True), reason="alerts doubled", **BY)
            trusted.finish_promotion(intent, recovery(intent, 5), **BY)
            trusted.resume("promotion", reason="looked at it", **BY)
        case "alias":
            trusted.champion_moved(5, actor="somebody", channel="registry")
        case "artifact":
            recorded = {"version": 6, "sound": False, "problem": "x", "last_good": 5}
            trusted.append(EventKind.CHAMPION_CHECKED, actor="watch", payload=recorded, keys=EventKeys(version=6))
        case "smoke test":
            trusted.append(
                EventKind.SMOKE_TESTED, actor="smoke test", payload={"passed": False}, keys=EventKeys(version=6)
            )
    allowed = permission_for(trusted, EARNED, registered(trusted, 7, 0.73))
    assert not allowed.automatic
    assert "0 of 5 releases approved in a row" in allowed.why


def test_a_rollback_pauses_even_mode_auto(trusted):
    auto = PromotionPolicy(mode="auto")
    intent = trusted.intend_promotion(AliasMove(5, 6, rollback=True), reason="alerts doubled", **BY)
    trusted.finish_promotion(intent, recovery(intent, 5), **BY)
    candidate = registered(trusted, 7, 0.73)
    assert "rolled back to version 5: alerts doubled" in permission_for(trusted, auto, candidate).why
    trusted.resume("promotion", reason="looked at it", **BY)
    assert permission_for(trusted, auto, candidate).automatic


@pytest.mark.parametrize("mode", ["auto", "earned", "manual"])
def test_answers_that_differ_without_a_reason_ask_in_the_automatic_modes(trusted, mode: str):
    policy, candidate = EARNED.model_copy(update={"mode": mode}), registered(trusted, 7, 0.73)
    assert permission_for(trusted, policy, candidate).automatic is (mode != "manual")
    asked = permission_for(trusted, policy, candidate, "of the last day served, 12 rows had other features")
    assert not asked.automatic
    assert asked.why == (
        "promotion.mode is manual: a human decides"
        if mode == "manual"
        else "a human decides: of the last day served, 12 rows had other features"
    )


def not_compared(version: int, champion: int | None) -> Evaluation:
    judged = an_evaluation(f"f{version}", ledger_day(version), 0.73)
    gates = tuple(
        one.model_copy(update={"applicable": False, "message": "Not compared: it has learnt from every day."})
        if one.name == "no_regression"
        else one
        for one in judged.verdict.gates
    )
    return judged.model_copy(update={"champion_version": champion, "verdict": Verdict(passed=True, gates=gates)})


@pytest.mark.parametrize("mode", ["auto", "earned", "manual"])
def test_what_was_not_compared_with_the_champion_asks_in_every_mode(trusted, mode: str):
    candidate = judged_as(trusted, not_compared(7, 6))
    allowed = permission_for(trusted, EARNED.model_copy(update={"mode": mode}), candidate)
    assert not allowed.automatic
    assert "it was not compared with version 6, which serves (Not compared: it has learnt" in allowed.why


@pytest.mark.parametrize("judged_against", [None, 5])
def test_a_comparison_with_somebody_else_than_who_serves_asks(trusted, judged_against: int | None):
    candidate = judged_as(trusted, not_compared(7, judged_against))
    allowed = permission_for(trusted, PromotionPolicy(mode="auto"), candidate)
    assert not allowed.automatic
    assert "version 6 serves now" in allowed.why


def test_with_the_champion_gone_nobody_takes_its_place_unasked(trusted):
    """The alias was taken away; that is no first model."""
    trusted.champion_moved(None, actor="somebody", channel="registry")
    allowed = permission_for(trusted, PromotionPolicy(mode="auto"), judged_as(trusted, not_compared(7, None)))
    assert not allowed.automatic
    assert "version 6 has served" in allowed.why


def test_a_verdict_that_is_not_the_registered_one_asks(trusted):
    allowed = permission_for(trusted, PromotionPolicy(mode="auto"), registered(trusted, 7, 0.73, verdict_digest="x"))
    assert not allowed.automatic
    assert "does not hold the verdict" in allowed.why


def test_an_exception_from_a_floor_has_an_event_of_its_own(trusted):
    opened(trusted, 7, 7, verdict_passed=False, floors_missed=("average_precision_floor",), needs_human="below a floor")
    trusted.await_decision(7, hours=24, **BY)
    trusted.record_decision(
        7, ReviewerDecision(Decision.APPROVE, person("bob"), "cli", reason="better than what is"), ANYBODY
    )
    excepted = trusted.last(EventKind.FLOOR_EXCEPTED, version=7)
    assert excepted.actor == "bob"
    assert (excepted.payload["floors"], excepted.payload["why"]) == ("average_precision_floor", "below a floor")
    assert excepted.payload["reason"] == "better than what is"
    assert trusted.verify().ok


def test_the_reason_stays_with_the_release(trusted):
    candidate = registered(trusted, 7, 0.73, trigger="drift")
    why = permission_for(trusted, EARNED, candidate).why
    waiting = trusted.await_decision(7, hours=24, reason=why, actor="promotion policy", channel="dagster")
    assert (waiting.state, waiting.reason) == (ReleaseState.AWAITING_APPROVAL, why)
