"""While nobody looks: deadlines pass, reviewers are reminded once, and a champion that was touched is noticed."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.values.errors import ChampionLost, DependencyUnreachable
from fraud_retraining.services.approvals import ReleaseDesk
from fraud_retraining.services.release_watch import ReleaseWatch
from fraud_retraining_tests.support.approvals_fixture import World, require_invariants, touched
from fraud_retraining_tests.support.ledgers import person

HOUR = 1.0
SOON = 1e-7


def kinds(world: World, after: int | None = None) -> list[str]:
    return [notice.kind for notice in world.watch.news(after).notices]


def test_what_nobody_decided_expires_the_champion_stays_and_people_are_told(world: World):
    champion = world.champion(0)
    release = world.waiting(1, hours=SOON)
    before = world.ledger.head().seq
    assert [one.version for one in world.watch.mind_deadlines()] == [release.version]
    assert world.watch.mind_deadlines() == []
    assert (world.states()[release.version], world.serving()) == ("expired", champion.version)
    assert kinds(world, before) == ["expired"]
    require_invariants(world)


def test_deadlines_pass_while_mlflow_is_down(world: World):
    release = world.waiting(0, hours=SOON)
    nowhere = world.trained.__class__("http://127.0.0.1:9", "x", [], []).registry("x", timeout_seconds=4)
    watch = ReleaseWatch(world.ledger, nowhere, world.policy)
    assert [one.version for one in watch.mind_deadlines()] == [release.version]
    assert [notice.kind for notice in watch.news(None).notices] == ["waiting", "expired"]
    with pytest.raises(DependencyUnreachable):
        watch.mind_champion()


def test_waiting_blocks_nothing_the_next_candidate_supersedes(world: World):
    first = world.waiting(0)
    second = world.waiting(1)
    assert world.states() == {first.version: "superseded", second.version: "awaiting_approval"}
    assert kinds(world) == ["waiting", "superseded", "waiting"]


def test_reviewers_are_reminded_once_however_often_and_by_however_many_it_is_looked(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    world.waiting(0, hours=24)
    asked = world.ledger.now()
    reminders: list[tuple[float, list[str]]] = []
    for hours in (0, 11, 12.5, 13, 23.5, 23.9):
        monkeypatch.setattr(type(world.ledger), "now", lambda _, at=asked + timedelta(hours=hours): at)
        before = world.ledger.head().seq
        for watch in (world.watch, world.watch):
            watch.mind_deadlines()
        events = world.ledger.events(EventKind.REVIEWERS_REMINDED, after=before)
        reminders.append((hours, [event.payload["reminder"] for event in events]))
    assert [found for _, found in reminders] == [[], [], ["half_time"], [], ["last_hour"], []]
    told = [notice.dedup_key for notice in world.watch.news(0).notices if notice.kind == "reminder"]
    assert told == ["release 1 half_time", "release 1 last_hour"]


def test_news_are_told_from_where_they_were_told_last(world: World):
    first = world.watch.news(None)
    assert first.notices == ()
    world.champion(0)
    told = world.watch.news(first.cursor)
    assert [notice.kind for notice in told.notices] == ["promoted", "smoke_test_passed"]
    assert world.watch.news(told.cursor).notices == ()
    assert world.watch.news(first.cursor) == told, "asked again, the same is told"


def test_a_first_look_tells_nothing_that_is_older_than_a_day(world: World, monkeypatch: pytest.MonkeyPatch):
    world.champion(0)
    later = world.ledger.now() + timedelta(days=2)
    monkeypatch.setattr(type(world.ledger), "now", lambda _: later)
    first = world.watch.news(None)
    assert (first.notices, first.cursor) == ((), world.ledger.head().seq)


def test_an_alias_that_a_human_moved_is_noticed_recorded_told_once_and_stands(world: World):
    first, second = world.champion(0), world.champion(1)
    before = world.ledger.head().seq
    world.move_by_hand(first.version)
    for _ in range(3):
        world.watch.mind_champion()
    assert (world.serving(), world.ledger.champion().version) == (first.version, first.version)
    assert kinds(world, before) == ["alias_moved"]
    assert world.states() == {first.version: "promoted", second.version: "superseded"}
    require_invariants(world)


def test_an_alias_that_was_taken_away_is_noticed(world: World):
    world.champion(0)
    world.move_by_hand(None)
    world.watch.mind_champion()
    assert world.ledger.champion() is None
    assert world.ledger.last(EventKind.CHAMPION_MOVED_OUTSIDE).payload == {"from": 1, "to": None, "known": False}


def _deleted(folder) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def _changed(folder) -> None:
    with next(folder.rglob("*.ubj")).open("r+b") as stored:
        stored.write(b"\x80\x04")


@pytest.mark.parametrize("damage", [_deleted, _changed], ids=["deleted", "changed"])
def test_a_damaged_champion_is_told_once_offers_the_last_good_version_and_ends_with_a_rollback(
    world: World, damage: Callable
):
    good, champion = world.champion(0), world.champion(1)
    before = world.ledger.head().seq
    with touched(world.trained.folders[1]) as folder:
        damage(folder)
        for _ in range(3):
            world.watch.mind_champion()
        (notice,) = world.watch.news(before).notices
        assert (notice.kind, notice.severity, notice.version) == ("artifact_damaged", "critical", champion.version)
        assert f"rollback --to {good.version}" in notice.remedy
        assert world.serving() == champion.version, "nobody is moved without being asked"
        ReleaseDesk(world.ledger, world.registry, world.policy).rollback(
            good.version, person("alice"), "damaged", channel="cli"
        )
        for _ in range(2):
            world.watch.mind_champion()
    assert world.serving() == good.version
    alarm = [notice for notice in world.watch.news(before).notices if notice.dedup_key == "champion artifact"]
    assert [(one.kind, one.resolves) for one in alarm] == [("artifact_damaged", False), ("artifact_sound", True)]
    require_invariants(world)


def test_a_champion_that_is_brought_back_to_what_it_was_ends_the_alarm(world: World):
    world.champion(0)
    before = world.ledger.head().seq
    with touched(world.trained.folders[0]) as folder:
        _changed(folder)
        world.watch.mind_champion()
    world.watch.mind_champion()
    assert kinds(world, before) == ["artifact_damaged", "artifact_sound"]
    assert "no other sound version" in world.watch.news(before).notices[0].remedy


def test_a_deleted_version_of_the_champion_is_lost_and_no_alias_that_somebody_took_away(world: World):
    champion = world.champion(0)
    world.registry._client.delete_model_version(world.registry.model_name, str(champion.version))
    with pytest.raises(ChampionLost):
        world.watch.mind_champion()
    assert kinds(world)[-1] == "artifact_damaged" and world.ledger.champion() is not None


def test_while_all_is_well_nothing_is_recorded(world: World):
    world.champion(0)
    world.waiting(1)
    world.watch.mind_champion()
    before = world.ledger.head()
    for _ in range(3):
        world.watch.mind_deadlines()
        world.watch.mind_champion()
    assert world.ledger.head() == before


def test_what_was_approved_and_never_promoted_is_promoted_by_the_watch(world: World):
    from fraud_retraining.domain.releases.lifecycle import Decision

    version = world.waiting(0).version
    world.ledger.decide(version, Decision.APPROVE, policy=world.policy, by=person("alice"), channel="cli")
    assert [(one.version, str(one.state)) for one in world.watch.mind_champion()] == [(version, "promoted")]
    assert world.watch.mind_champion() == []
    done = world.ledger.last(EventKind.PROMOTION_DONE)
    assert (done.actor, done.channel) == ("alice", "cli, unverified"), "in the name of whoever approved it"
