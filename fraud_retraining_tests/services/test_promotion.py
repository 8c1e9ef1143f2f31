"""Moving the champion: smoke test and way back, what an ended process leaves, and a human who moves the alias."""

import pytest

from fraud_retraining.adapters.ledger.decisions import ReviewerDecision
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.promotions import AliasMove
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.lifecycle import Complete
from fraud_retraining.domain.releases.release import Decision, ReleaseState
from fraud_retraining.domain.retraining.pauses import Automation
from fraud_retraining.domain.values.errors import Conflict, DependencyUnreachable, GateFailed
from fraud_retraining.services.promotion import Promoter
from fraud_retraining_tests.support.approvals_fixture import BROKEN, Backend, require_invariants, touched
from fraud_retraining_tests.support.ledgers import ANYBODY, person

S = ReleaseState
BY = {"actor": "alice", "channel": "cli"}


def approved(backend: Backend, model: int) -> int:
    version = backend.waiting(model).version
    backend.ledger.record_decision(version, ReviewerDecision(Decision.APPROVE, person("alice"), "cli"), ANYBODY)
    return version


def smoke_tests(backend: Backend) -> list[tuple[int | None, bool]]:
    return [(event.version, event.payload["passed"]) for event in backend.ledger.events(EventKind.SMOKE_TESTED)]


def test_every_promotion_is_put_to_a_smoke_test_once(backend: Backend):
    backend.champion(0)
    backend.champion(1)
    backend.promoter.recover("start")
    backend.promoter.recover("start")
    assert smoke_tests(backend) == [(1, True), (2, True)]


def test_a_champion_that_cannot_serve_is_taken_back_by_itself_and_that_is_an_incident(backend: Backend):
    good = backend.champion(0)
    bad = approved(backend, BROKEN)
    with pytest.raises(GateFailed, match="a library of production is missing"):
        backend.promoter.promote(bad, **BY)
    assert backend.serving() == good.version
    assert backend.states() == {good.version: "promoted", bad: "rolled_back"}
    assert smoke_tests(backend) == [(good.version, True), (bad, False), (good.version, True)]
    assert "did not pass its smoke test" in backend.ledger.release_by_version(bad).reason
    assert backend.ledger.pause(Automation.PROMOTION) is not None
    require_invariants(backend)


def test_a_first_champion_that_cannot_serve_leaves_nobody_serving(backend: Backend):
    bad = approved(backend, BROKEN)
    with pytest.raises(GateFailed, match="the alias was taken away"):
        backend.promoter.promote(bad, **BY)
    assert (backend.serving(), backend.ledger.champion(), backend.states()) == (None, None, {bad: "rolled_back"})
    assert list(backend.ledger.events(EventKind.CHAMPION_MOVED_OUTSIDE)) == []
    backend.promoter.recover("start")
    require_invariants(backend)


def test_the_way_back_passes_over_a_damaged_version_to_the_last_good_one(backend: Backend):
    first, second = backend.champion(0), backend.champion(1)
    bad = approved(backend, BROKEN)
    with touched(backend.trained.folders[1]) as folder:
        (folder / "MLmodel").unlink()
        with pytest.raises(GateFailed, match=f"version {first.version} serves again"):
            backend.promoter.promote(bad, **BY)
    assert backend.states() == {first.version: "promoted", second.version: "superseded", bad: "rolled_back"}
    require_invariants(backend)


def test_with_no_way_back_the_champion_stays_and_that_is_said_once(backend: Backend):
    first = backend.champion(0)
    bad = approved(backend, BROKEN)
    with touched(backend.trained.folders[0]) as folder:
        (folder / "MLmodel").unlink()
        with pytest.raises(GateFailed, match="no version can take its place"):
            backend.promoter.promote(bad, **BY)
        backend.promoter.recover("start")
        assert (backend.serving(), smoke_tests(backend)) == (bad, [(first.version, True), (bad, False)])
    backend.promoter.recover("start")
    assert backend.serving() == first.version, "as soon as there is a way back it is taken"
    require_invariants(backend)


def test_a_version_that_was_brought_back_and_cannot_serve_gives_way_to_the_one_it_replaced_and_no_further(
    backend: Backend,
):
    """What worked before works no more: that is not the model, and history is not walked through for it."""
    backend.champion(0)
    backend.champion(1)
    last = backend.champion(2)
    with touched(backend.trained.folders[1]) as folder:
        promoter = backend.promoter
        promoter.verify(2)
        intent = backend.ledger.intend_promotion(AliasMove(2, last.version, rollback=True), reason="because", **BY)
        backend.registry.compare_and_set_champion(last.version, 2)
        backend.ledger.finish_promotion(intent, Complete(), **BY)
        (folder / "MLmodel").unlink()
        promoter.recover("start")
    assert backend.serving() == last.version
    assert [version for version, passed in smoke_tests(backend) if not passed] == [2]
    require_invariants(backend)


def test_a_smoke_test_that_could_not_be_run_is_repeated_and_condemns_nothing(backend: Backend):
    version = approved(backend, 0)
    nowhere = backend.trained.__class__("http://127.0.0.1:9", "x", [], []).registry("x", timeout_seconds=4)
    intent = backend.ledger.intend_promotion(AliasMove(version, None), **BY)
    backend.registry.compare_and_set_champion(None, version)
    backend.ledger.finish_promotion(intent, Complete(), **BY)
    with pytest.raises(DependencyUnreachable):
        Promoter(backend.ledger, nowhere, backend.policy).recover("start")
    assert smoke_tests(backend) == []
    backend.promoter.recover("start")
    assert (backend.serving(), smoke_tests(backend)) == (version, [(version, True)])


def test_what_a_human_put_there_is_neither_tested_nor_taken_away(backend: Backend):
    backend.champion(0)
    by_hand = backend.registered(BROKEN)
    backend.move_by_hand(by_hand.version)
    backend.promoter.recover("start")
    assert (backend.serving(), backend.ledger.champion().version) == (by_hand.version, by_hand.version)
    assert smoke_tests(backend) == [(1, True)]
    assert backend.kinds(EventKind.CHAMPION_MOVED_OUTSIDE) == ["champion_moved_outside"]


@pytest.mark.parametrize("reached", ["the answer", "the intent", "the alias", "the outcome"])
def test_what_an_ended_process_left_is_finished(backend: Backend, reached: str):
    champion = backend.champion(0)
    version = approved(backend, 1)
    if reached != "the answer":
        intent = backend.ledger.intend_promotion(AliasMove(version, champion.version), **BY)
    if reached in {"the alias", "the outcome"}:
        backend.registry.compare_and_set_champion(champion.version, version)
    if reached == "the outcome":
        backend.ledger.finish_promotion(intent, Complete(), **BY)
    backend.promoter.finish_approved()
    assert (backend.serving(), backend.states()) == (version, {champion.version: "superseded", version: "promoted"})
    assert smoke_tests(backend)[-1] == (version, True)
    require_invariants(backend)


def test_an_unfinished_first_champion_that_failed_is_recorded_as_such(backend: Backend):
    """Its alias was taken away, and the process ended before it could say so."""
    bad = approved(backend, BROKEN)
    intent = backend.ledger.intend_promotion(AliasMove(bad, None), **BY)
    backend.registry.compare_and_set_champion(None, bad)
    backend.ledger.finish_promotion(intent, Complete(), **BY)
    failure = {"passed": False, "rows": 0, "problem": "cannot be loaded"}
    backend.ledger.append(EventKind.SMOKE_TESTED, actor="smoke test", keys=EventKeys(version=bad), payload=failure)
    backend.move_by_hand(None)
    backend.promoter.recover("start")
    assert backend.states() == {bad: "rolled_back"}
    assert list(backend.ledger.events(EventKind.CHAMPION_MOVED_OUTSIDE)) == []


def test_an_approved_version_that_cannot_be_promoted_any_more_ends_with_its_reason(backend: Backend):
    backend.champion(0)
    damaged, overtaken = approved(backend, 2), None
    with touched(backend.trained.folders[2]) as folder:
        (folder / "MLmodel").unlink()
        backend.promoter.finish_approved()
    assert backend.states()[damaged] == "withdrawn"
    assert "not the one that was recorded" in backend.ledger.release_by_version(damaged).reason
    overtaken = approved(backend, 1)
    newer = backend.registered(3)
    backend.move_by_hand(newer.version)
    backend.promoter.finish_approved()
    assert backend.states()[overtaken] == "superseded"
    assert backend.serving() == newer.version
    require_invariants(backend)


def test_of_two_that_were_approved_and_left_the_newer_is_promoted_and_the_older_superseded(backend: Backend):
    by = {"actor": "promotion policy", "channel": "dagster"}
    older, newer = backend.registered(0).version, backend.registered(1).version
    for version in (older, newer):
        backend.ledger.move_release(version, S.APPROVED, reason="mode auto", **by)
    assert [release.version for release in backend.promoter.finish_approved()] == [newer]
    assert backend.states() == {older: "superseded", newer: "promoted"}
    require_invariants(backend)


def test_whoever_carried_it_out_meanwhile_has_carried_it_out(backend: Backend):
    version = approved(backend, 0)
    backend.promoter.finish_approved()
    assert backend.promoter.promote(version, **BY).state is S.PROMOTED
    assert smoke_tests(backend) == [(version, True)]
    with pytest.raises(Conflict):
        backend.promoter.promote(version, actor="bob", channel="cli")


def test_the_candidates_alias_follows_the_record(backend: Backend):
    first = backend.waiting(0)
    backend.promoter.point_candidate()
    assert backend.registry.candidate().version == first.version
    second = backend.waiting(1)
    backend.promoter.point_candidate()
    assert backend.registry.candidate().version == second.version
    backend.ledger.move_release(second.version, S.WITHDRAWN, reason="because", **BY)
    backend.promoter.point_candidate()
    assert backend.registry.candidate() is None


def test_a_human_who_moves_the_alias_during_a_promotion_wins(backend: Backend):
    first, second = backend.champion(0), backend.champion(1)
    version = approved(backend, 2)
    intent = backend.ledger.intend_promotion(AliasMove(version, second.version), **BY)
    backend.move_by_hand(first.version)
    backend.promoter.recover("start")
    assert backend.serving() == first.version
    assert backend.states() == {first.version: "promoted", second.version: "superseded", version: "superseded"}
    assert backend.ledger.last(EventKind.PROMOTION_UNDONE).payload["intent"]["seq"] == intent.seq
    require_invariants(backend)
