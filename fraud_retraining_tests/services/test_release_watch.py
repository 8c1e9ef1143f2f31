"""While nobody looks: deadlines pass, reviewers are reminded once, and a champion that was touched is noticed."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from fraud_retraining.adapters.ledger.decisions import ReviewerDecision
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.promotion_mode import PromotionPolicy
from fraud_retraining.domain.values.errors import ChampionLost, DependencyUnreachable
from fraud_retraining.services.approvals import ReleaseApprovals
from fraud_retraining.services.promotion_watches import watched_promotions
from fraud_retraining.services.release_watch import ReleaseWatch
from fraud_retraining_tests.support.approvals_fixture import Backend, require_invariants, touched
from fraud_retraining_tests.support.ledgers import person
from fraud_retraining_tests.support.matured import matured, record, record_watch, watched

HOUR = 1.0
SOON = 1e-7


def kinds(backend: Backend, after: int | None = None) -> list[str]:
    return [notice.kind for notice in backend.watch.notices_after(after).notices]


def test_what_nobody_decided_expires_the_champion_stays_and_reviewers_are_notified(backend: Backend):
    champion = backend.champion(0)
    release = backend.waiting(1, hours=SOON)
    before = backend.ledger.head().seq
    assert [one.version for one in backend.watch.check_deadlines()] == [release.version]
    assert backend.watch.check_deadlines() == []
    assert (backend.states()[release.version], backend.serving()) == ("expired", champion.version)
    assert kinds(backend, before) == ["expired"]
    require_invariants(backend)


def test_deadlines_pass_while_mlflow_is_down(backend: Backend):
    release = backend.waiting(0, hours=SOON)
    nowhere = backend.trained.__class__("http://127.0.0.1:9", "x", [], []).registry("x", timeout_seconds=4)
    watch = ReleaseWatch(backend.ledger, nowhere, backend.policy)
    assert [one.version for one in watch.check_deadlines()] == [release.version]
    assert [notice.kind for notice in watch.notices_after(None).notices] == ["waiting", "expired"]
    with pytest.raises(DependencyUnreachable):
        watch.check_champion()


def test_waiting_blocks_nothing_the_next_candidate_supersedes(backend: Backend):
    first = backend.waiting(0)
    second = backend.waiting(1)
    assert backend.states() == {first.version: "superseded", second.version: "awaiting_approval"}
    assert kinds(backend) == ["waiting", "superseded", "waiting"]


def test_reviewers_are_reminded_once_however_often_and_by_however_many_it_is_looked(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
):
    backend.waiting(0, hours=24)
    requested_at = backend.ledger.now()
    reminders: list[tuple[float, list[str]]] = []
    for hours in (0, 11, 12.5, 13, 23.5, 23.9):
        monkeypatch.setattr(type(backend.ledger), "now", lambda _, at=requested_at + timedelta(hours=hours): at)
        before = backend.ledger.head().seq
        for watch in (backend.watch, backend.watch):
            watch.check_deadlines()
        events = backend.ledger.events(EventKind.REVIEWERS_REMINDED, after=before)
        reminders.append((hours, [event.payload["reminder"] for event in events]))
    assert [found for _, found in reminders] == [[], [], ["half_time"], [], ["last_hour"], []]
    notices = [notice.dedup_key for notice in backend.watch.notices_after(0).notices if notice.kind == "reminder"]
    assert notices == ["release 1 half_time", "release 1 last_hour"]


def test_news_are_reported_from_where_the_last_report_ended(backend: Backend):
    first = backend.watch.notices_after(None)
    assert first.notices == ()
    backend.champion(0)
    news = backend.watch.notices_after(first.cursor)
    assert [notice.kind for notice in news.notices] == ["promoted", "smoke_test_passed"]
    assert backend.watch.notices_after(news.cursor).notices == ()
    assert backend.watch.notices_after(first.cursor) == news, "read again, it is the same"


def test_a_first_look_tells_nothing_that_is_older_than_a_day(backend: Backend, monkeypatch: pytest.MonkeyPatch):
    backend.champion(0)
    later = backend.ledger.now() + timedelta(days=2)
    monkeypatch.setattr(type(backend.ledger), "now", lambda _: later)
    first = backend.watch.notices_after(None)
    assert (first.notices, first.cursor) == ((), backend.ledger.head().seq)


def test_an_alias_that_a_human_moved_is_noticed_recorded_told_once_and_stands(backend: Backend):
    first, second = backend.champion(0), backend.champion(1)
    before = backend.ledger.head().seq
    backend.move_by_hand(first.version)
    for _ in range(3):
        backend.watch.check_champion()
    assert (backend.serving(), backend.ledger.champion().version) == (first.version, first.version)
    assert kinds(backend, before) == ["alias_moved"]
    assert backend.states() == {first.version: "promoted", second.version: "superseded"}
    require_invariants(backend)


def test_an_alias_that_was_taken_away_is_noticed(backend: Backend):
    backend.champion(0)
    backend.move_by_hand(None)
    backend.watch.check_champion()
    assert backend.ledger.champion() is None
    assert backend.ledger.last(EventKind.CHAMPION_MOVED_OUTSIDE).payload == {"from": 1, "to": None, "known": False}


def _deleted(folder) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def _changed(folder) -> None:
    with next(folder.rglob("*.ubj")).open("r+b") as stored:
        stored.write(b"\x80\x04")


@pytest.mark.parametrize("damage", [_deleted, _changed], ids=["deleted", "changed"])
def test_a_damaged_champion_is_reported_once_offers_the_last_good_version_and_ends_with_a_rollback(
    backend: Backend, damage: Callable
):
    good, champion = backend.champion(0), backend.champion(1)
    before = backend.ledger.head().seq
    with touched(backend.trained.folders[1]) as folder:
        damage(folder)
        for _ in range(3):
            backend.watch.check_champion()
        (notice,) = backend.watch.notices_after(before).notices
        assert (notice.kind, notice.severity, notice.version) == ("artifact_damaged", "critical", champion.version)
        assert f"rollback --to {good.version}" in notice.remedy
        assert backend.serving() == champion.version, "nobody is moved without being asked"
        ReleaseApprovals(backend.ledger, backend.registry, backend.policy).rollback(
            good.version, person("alice"), "damaged", channel="cli"
        )
        for _ in range(2):
            backend.watch.check_champion()
    assert backend.serving() == good.version
    alarm = [
        notice for notice in backend.watch.notices_after(before).notices if notice.dedup_key == "champion artifact"
    ]
    assert [(one.kind, one.resolves) for one in alarm] == [("artifact_damaged", False), ("artifact_sound", True)]
    require_invariants(backend)


def test_a_champion_that_is_brought_back_to_what_it_was_ends_the_alarm(backend: Backend):
    backend.champion(0)
    before = backend.ledger.head().seq
    with touched(backend.trained.folders[0]) as folder:
        _changed(folder)
        backend.watch.check_champion()
    backend.watch.check_champion()
    assert kinds(backend, before) == ["artifact_damaged", "artifact_sound"]
    assert "no other sound version" in backend.watch.notices_after(before).notices[0].remedy


def test_a_deleted_version_of_the_champion_is_lost_and_no_alias_that_somebody_took_away(backend: Backend):
    champion = backend.champion(0)
    backend.registry._client.delete_model_version(backend.registry.model_name, str(champion.version))
    with pytest.raises(ChampionLost):
        backend.watch.check_champion()
    assert kinds(backend)[-1] == "artifact_damaged" and backend.ledger.champion() is not None


def test_while_all_is_well_nothing_is_recorded(backend: Backend):
    backend.champion(0)
    backend.waiting(1)
    backend.watch.check_champion()
    before = backend.ledger.head()
    for _ in range(3):
        backend.watch.check_deadlines()
        backend.watch.check_champion()
    assert backend.ledger.head() == before


def test_what_was_approved_and_never_promoted_is_promoted_by_the_watch(backend: Backend):
    from fraud_retraining.domain.releases.release import Decision

    version = backend.waiting(0).version
    backend.ledger.record_decision(version, ReviewerDecision(Decision.APPROVE, person("alice"), "cli"), backend.policy)
    assert [(one.version, str(one.state)) for one in backend.watch.check_champion()] == [(version, "promoted")]
    assert backend.watch.check_champion() == []
    done = backend.ledger.last(EventKind.PROMOTION_DONE)
    assert (done.actor, done.channel) == ("alice", "cli, unverified"), "in the name of whoever approved it"


class TestARefutedChampion:
    """Version 2 took the place of version 1 and is refuted."""

    @pytest.fixture
    def refuted(self, backend: Backend) -> Backend:
        backend.champion(0)
        backend.champion(1)
        record(backend.ledger, matured(version=2, champion=1))
        return backend

    def watch(self, backend: Backend, on_refuted: str = "rollback") -> ReleaseWatch:
        return ReleaseWatch(backend.ledger, backend.registry, PromotionPolicy(on_refuted=on_refuted))

    def test_stays_and_is_reported_once_where_settings_say_alert(self, refuted: Backend):
        for _ in range(2):
            assert self.watch(refuted, "alert").check_champion() == []
        assert refuted.serving() == 2
        assert kinds(refuted).count("refuted") == 1
        require_invariants(refuted)

    def test_is_rolled_back_once_where_settings_say_so(self, refuted: Backend):
        (back,) = self.watch(refuted).check_champion()
        assert (back.version, refuted.serving(), back.moved_by) == (1, 1, "promotion policy")
        assert self.watch(refuted).check_champion() == []
        assert refuted.states() == {1: "promoted", 2: "rolled_back"}
        assert refuted.ledger.pause("promotion") is not None
        require_invariants(refuted)

    def test_that_a_person_brings_back_stays(self, refuted: Backend):
        self.watch(refuted).check_champion()
        refuted.promoter.promote(2, actor="alice", channel="cli", reason="we know better", rollback=True)
        assert self.watch(refuted).check_champion() == []
        assert refuted.serving() == 2

    def test_stays_where_the_one_before_cannot_serve_and_that_is_recorded_once(self, refuted: Backend):
        with touched(refuted.trained.folders[0]) as folder:
            _deleted(folder)
            for _ in range(2):
                assert self.watch(refuted).check_champion() == []
        (event,) = refuted.ledger.events(EventKind.DECISION_REFUSED)
        assert (event.version, event.payload) == (
            2, {"decision": "rollback", "refused": "version 1 cannot serve again"},
        )  # fmt: skip
        assert refuted.serving() == 2

    def test_goes_back_to_no_version_that_was_refuted_itself(self, refuted: Backend):
        record(refuted.ledger, matured(version=1, champion=3))
        assert self.watch(refuted).check_champion() == []
        assert refuted.serving() == 2

    def test_that_was_replaced_needs_no_way_back(self, refuted: Backend):
        refuted.champion(2)
        assert self.watch(refuted).check_champion() == []
        assert refuted.serving() == 3


class TestAChampionThatIsWorseLive:
    """Version 2 took the place of version 1, and its watch refuted it."""

    @pytest.fixture
    def worse(self, backend: Backend) -> Backend:
        backend.champion(0)
        backend.champion(1)
        record_watch(backend.ledger, watched(2, 1))
        return backend

    def watch(self, backend: Backend, **answers: Any) -> ReleaseWatch:
        return ReleaseWatch(backend.ledger, backend.registry, PromotionPolicy(**answers))

    def test_is_rolled_back_once_by_the_setting_of_its_own(self, worse: Backend):
        assert self.watch(worse, on_refuted="rollback").check_champion() == []
        (back,) = self.watch(worse, on_worse="rollback").check_champion()
        assert (back.version, worse.serving(), back.moved_by) == (1, 1, "promotion policy")
        assert self.watch(worse, on_worse="rollback").check_champion() == []
        assert worse.promoter.restorable(2) is None, "no rollback goes back to it by itself"
        assert watched_promotions(worse.ledger, 14, date.min) == ()
        require_invariants(worse)

    def test_stays_where_mature_labels_refuted_the_one_before(self, worse: Backend):
        record(worse.ledger, matured(version=1, champion=3))
        for _ in range(2):
            assert self.watch(worse, on_worse="rollback").check_champion() == []
        (refused,) = worse.ledger.events(EventKind.DECISION_REFUSED)
        assert (refused.version, refused.payload["refused"]) == (2, "version 1 cannot serve again")
        assert worse.serving() == 2

    def test_that_was_replaced_is_not_answered(self, worse: Backend):
        worse.champion(2)
        assert self.watch(worse, on_worse="rollback").check_champion() == []
        assert worse.serving() == 3
