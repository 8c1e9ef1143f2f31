"""Moving the champion: smoke test and way back, what an ended process leaves, and a human who moves the alias."""

import pytest

from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.lifecycle import Complete, Decision, ReleaseState
from fraud_retraining.domain.retraining.pauses import Automation
from fraud_retraining.domain.values.errors import Conflict, DependencyUnreachable, GateFailed
from fraud_retraining.services.promotion import Publisher
from fraud_retraining_tests.support.approvals_fixture import BROKEN, World, require_invariants, touched
from fraud_retraining_tests.support.ledgers import ANYBODY, person

S = ReleaseState
BY = {"actor": "alice", "channel": "cli"}


def approved(world: World, model: int) -> int:
    version = world.waiting(model).version
    world.ledger.decide(version, Decision.APPROVE, policy=ANYBODY, by=person("alice"), channel="cli")
    return version


def smoke_tests(world: World) -> list[tuple[int | None, bool]]:
    return [(event.version, event.payload["passed"]) for event in world.ledger.events(EventKind.SMOKE_TESTED)]


def test_every_promotion_is_put_to_a_smoke_test_once(world: World):
    world.champion(0)
    world.champion(1)
    world.publisher.recover("start")
    world.publisher.recover("start")
    assert smoke_tests(world) == [(1, True), (2, True)]


def test_a_champion_that_cannot_serve_is_taken_back_by_itself_and_that_is_an_incident(world: World):
    good = world.champion(0)
    bad = approved(world, BROKEN)
    with pytest.raises(GateFailed, match="a library of production is missing"):
        world.publisher.promote(bad, **BY)
    assert world.serving() == good.version
    assert world.states() == {good.version: "promoted", bad: "rolled_back"}
    assert smoke_tests(world) == [(good.version, True), (bad, False), (good.version, True)]
    assert "did not pass its smoke test" in world.ledger.release_by_version(bad).reason
    assert world.ledger.pause(Automation.PROMOTION) is not None
    require_invariants(world)


def test_a_first_champion_that_cannot_serve_leaves_nobody_serving(world: World):
    bad = approved(world, BROKEN)
    with pytest.raises(GateFailed, match="the alias was taken away"):
        world.publisher.promote(bad, **BY)
    assert (world.serving(), world.ledger.champion(), world.states()) == (None, None, {bad: "rolled_back"})
    assert list(world.ledger.events(EventKind.CHAMPION_MOVED_OUTSIDE)) == []
    world.publisher.recover("start")
    require_invariants(world)


def test_the_way_back_passes_over_a_damaged_version_to_the_last_good_one(world: World):
    first, second = world.champion(0), world.champion(1)
    bad = approved(world, BROKEN)
    with touched(world.trained.folders[1]) as folder:
        (folder / "MLmodel").unlink()
        with pytest.raises(GateFailed, match=f"version {first.version} serves again"):
            world.publisher.promote(bad, **BY)
    assert world.states() == {first.version: "promoted", second.version: "superseded", bad: "rolled_back"}
    require_invariants(world)


def test_with_no_way_back_the_champion_stays_and_that_is_said_once(world: World):
    first = world.champion(0)
    bad = approved(world, BROKEN)
    with touched(world.trained.folders[0]) as folder:
        (folder / "MLmodel").unlink()
        with pytest.raises(GateFailed, match="no version can take its place"):
            world.publisher.promote(bad, **BY)
        world.publisher.recover("start")
        assert (world.serving(), smoke_tests(world)) == (bad, [(first.version, True), (bad, False)])
    world.publisher.recover("start")
    assert world.serving() == first.version, "as soon as there is a way back it is taken"
    require_invariants(world)


def test_a_version_that_was_brought_back_and_cannot_serve_gives_way_to_the_one_it_replaced_and_no_further(world: World):
    """What worked before works no more: that is not the model, and history is not walked through for it."""
    world.champion(0)
    world.champion(1)
    last = world.champion(2)
    with touched(world.trained.folders[1]) as folder:
        publisher = world.publisher
        publisher.verify(2)
        intent = world.ledger.intend_promotion(2, last.version, reason="because", rollback=True, **BY)
        world.registry.compare_and_set_champion(last.version, 2)
        world.ledger.finish_promotion(intent, Complete(), **BY)
        (folder / "MLmodel").unlink()
        publisher.recover("start")
    assert world.serving() == last.version
    assert [version for version, passed in smoke_tests(world) if not passed] == [2]
    require_invariants(world)


def test_a_smoke_test_that_could_not_be_run_is_repeated_and_condemns_nothing(world: World):
    version = approved(world, 0)
    nowhere = world.trained.__class__("http://127.0.0.1:9", "x", [], []).registry("x", timeout_seconds=4)
    intent = world.ledger.intend_promotion(version, None, **BY)
    world.registry.compare_and_set_champion(None, version)
    world.ledger.finish_promotion(intent, Complete(), **BY)
    with pytest.raises(DependencyUnreachable):
        Publisher(world.ledger, nowhere, world.policy).recover("start")
    assert smoke_tests(world) == []
    world.publisher.recover("start")
    assert (world.serving(), smoke_tests(world)) == (version, [(version, True)])


def test_what_a_human_put_there_is_neither_tested_nor_taken_away(world: World):
    world.champion(0)
    by_hand = world.registered(BROKEN)
    world.move_by_hand(by_hand.version)
    world.publisher.recover("start")
    assert (world.serving(), world.ledger.champion().version) == (by_hand.version, by_hand.version)
    assert smoke_tests(world) == [(1, True)]
    assert world.kinds(EventKind.CHAMPION_MOVED_OUTSIDE) == ["champion_moved_outside"]


@pytest.mark.parametrize("reached", ["the answer", "the intent", "the alias", "the outcome"])
def test_what_an_ended_process_left_is_finished(world: World, reached: str):
    champion = world.champion(0)
    version = approved(world, 1)
    if reached != "the answer":
        intent = world.ledger.intend_promotion(version, champion.version, **BY)
    if reached in {"the alias", "the outcome"}:
        world.registry.compare_and_set_champion(champion.version, version)
    if reached == "the outcome":
        world.ledger.finish_promotion(intent, Complete(), **BY)
    world.publisher.finish_approved()
    assert (world.serving(), world.states()) == (version, {champion.version: "superseded", version: "promoted"})
    assert smoke_tests(world)[-1] == (version, True)
    require_invariants(world)


def test_an_unfinished_first_champion_that_failed_is_recorded_as_such(world: World):
    """Its alias was taken away, and the process ended before it could say so."""
    bad = approved(world, BROKEN)
    intent = world.ledger.intend_promotion(bad, None, **BY)
    world.registry.compare_and_set_champion(None, bad)
    world.ledger.finish_promotion(intent, Complete(), **BY)
    told = {"passed": False, "rows": 0, "problem": "cannot be loaded"}
    world.ledger.append(EventKind.SMOKE_TESTED, actor="smoke test", version=bad, payload=told)
    world.move_by_hand(None)
    world.publisher.recover("start")
    assert world.states() == {bad: "rolled_back"}
    assert list(world.ledger.events(EventKind.CHAMPION_MOVED_OUTSIDE)) == []


def test_an_approved_version_that_cannot_be_promoted_any_more_ends_with_its_reason(world: World):
    world.champion(0)
    damaged, overtaken = approved(world, 2), None
    with touched(world.trained.folders[2]) as folder:
        (folder / "MLmodel").unlink()
        world.publisher.finish_approved()
    assert world.states()[damaged] == "withdrawn"
    assert "not the one that was recorded" in world.ledger.release_by_version(damaged).reason
    overtaken = approved(world, 1)
    newer = world.registered(3)
    world.move_by_hand(newer.version)
    world.publisher.finish_approved()
    assert world.states()[overtaken] == "superseded"
    assert world.serving() == newer.version
    require_invariants(world)


def test_of_two_that_were_approved_and_left_the_newer_is_promoted_and_the_older_superseded(world: World):
    by = {"actor": "promotion policy", "channel": "dagster"}
    older, newer = world.registered(0).version, world.registered(1).version
    for version in (older, newer):
        world.ledger.move_release(version, S.APPROVED, reason="mode auto", **by)
    assert [release.version for release in world.publisher.finish_approved()] == [newer]
    assert world.states() == {older: "superseded", newer: "promoted"}
    require_invariants(world)


def test_whoever_carried_it_out_meanwhile_has_carried_it_out(world: World):
    version = approved(world, 0)
    world.publisher.finish_approved()
    assert world.publisher.promote(version, **BY).state is S.PROMOTED
    assert smoke_tests(world) == [(version, True)]
    with pytest.raises(Conflict):
        world.publisher.promote(version, actor="bob", channel="cli")


def test_the_candidates_alias_follows_the_record(world: World):
    first = world.waiting(0)
    world.publisher.point_candidate()
    assert world.registry.candidate().version == first.version
    second = world.waiting(1)
    world.publisher.point_candidate()
    assert world.registry.candidate().version == second.version
    world.ledger.move_release(second.version, S.WITHDRAWN, reason="because", **BY)
    world.publisher.point_candidate()
    assert world.registry.candidate() is None


def test_a_human_who_moves_the_alias_during_a_promotion_wins(world: World):
    first, second = world.champion(0), world.champion(1)
    version = approved(world, 2)
    intent = world.ledger.intend_promotion(version, second.version, **BY)
    world.move_by_hand(first.version)
    world.publisher.recover("start")
    assert world.serving() == first.version
    assert world.states() == {first.version: "promoted", second.version: "superseded", version: "superseded"}
    assert world.ledger.last(EventKind.PROMOTION_UNDONE).payload["intent"]["seq"] == intent.seq
    require_invariants(world)
