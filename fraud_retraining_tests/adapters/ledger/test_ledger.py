"""Every decision is one transaction, the first answer wins, and nothing that was written can be changed unnoticed."""

import multiprocessing
import sqlite3
import time
from contextlib import closing
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from fraud_retraining.adapters.ledger.database import Transaction
from fraud_retraining.adapters.ledger.decisions import ReviewerDecision
from fraud_retraining.adapters.ledger.engines import driver_url
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.promotions import AliasMove
from fraud_retraining.adapters.ledger.releases import NewRelease
from fraud_retraining.adapters.ledger.statements import events
from fraud_retraining.adapters.ledger.tables import EVENTS, HEAD
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.ledger.hash_chain import Head, canonical_json, chained
from fraud_retraining.domain.releases.lifecycle import Complete, HumanMoved, Undo, recovery
from fraud_retraining.domain.releases.promotion_mode import POLICY
from fraud_retraining.domain.releases.release import Decision, Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import ReviewerPolicy
from fraud_retraining.domain.values.errors import Conflict, GateFailed, IntegrityError, SettingsError
from fraud_retraining_tests.support.ledgers import (
    ANYBODY,
    append_many,
    approved,
    attempt,
    opened,
    person,
    promoted,
    sqlite_path,
    waiting,
)

pytest_plugins = ("fraud_retraining_tests.support.databases",)

S = ReleaseState


def answer(ledger: Ledger, version: int, decision: Decision, actor: str = "alice", **more: Any) -> Release:
    policy = more.pop("policy", ANYBODY)
    values = {"channel": "cli", "reason": "because", **more}
    return ledger.record_decision(version, ReviewerDecision(decision, person(actor), **values), policy)


def states(ledger: Ledger) -> dict[int, ReleaseState]:
    return {release.version: release.state for release in ledger.releases()}


# -- events


def test_an_event_is_found_by_what_it_is_about(ledger: Ledger):
    day = date(2026, 11, 20)
    ledger.append(
        EventKind.RETRAIN_REQUESTED,
        actor="cron",
        channel="dagster",
        keys=EventKeys(as_of=day),
        payload={"trigger": "schedule"},
    )
    ledger.append(
        EventKind.DAY_CHANGED, actor="pipeline", keys=EventKeys(subject="2026-11-01"), payload={"digest": "d2"}
    )
    ledger.append(EventKind.MODEL_TRAINED, actor="pipeline", keys=EventKeys(as_of=day, fingerprint="f1", version=1))
    ledger.append(
        EventKind.RETRAIN_REQUESTED, actor="bob", channel="cli", keys=EventKeys(as_of=day + timedelta(days=2))
    )
    assert [event.seq for event in ledger.events()] == [1, 2, 3, 4]
    assert [event.seq for event in ledger.events(EventKind.RETRAIN_REQUESTED)] == [1, 4]
    assert [event.seq for event in ledger.events((EventKind.DAY_CHANGED, EventKind.MODEL_TRAINED))] == [2, 3]
    assert [event.seq for event in ledger.events(as_of=day)] == [1, 3]
    assert [event.seq for event in ledger.events(after=2)] == [3, 4]
    assert ledger.last(EventKind.DAY_CHANGED, subject="2026-11-01").payload == {"digest": "d2"}
    assert ledger.last(fingerprint="f1").seq == ledger.last(version=1).seq == 3
    assert ledger.last(EventKind.RETRAIN_REQUESTED).actor == "bob"
    assert ledger.last(EventKind.RETRAIN_REQUESTED, as_of=day).payload == {"trigger": "schedule"}
    assert ledger.last(EventKind.PROMOTION_DONE) is None


def test_times_come_from_the_databases_clock_in_utc_and_in_order(ledger: Ledger):
    times = [ledger.append(EventKind.MODEL_TRAINED, actor="a").at for _ in range(3)]
    assert times == sorted(times)
    assert times[0].utcoffset() == timedelta(0)
    assert abs(times[0].timestamp() - time.time()) < 60


def test_a_long_record_is_read_in_pages(sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fraud_retraining.adapters.ledger.event_log.PAGE", 3)
    for n in range(7):
        sqlite_ledger.append(EventKind.MODEL_TRAINED, actor="a", payload={"n": n})
    assert [event.payload["n"] for event in sqlite_ledger.events()] == list(range(7))


def test_what_says_the_same_as_before_is_not_said_again(ledger: Ledger):
    def configured(days: int, subject: str = "settings") -> bool:
        payload = {"window": {"days": days}, "reviewers": ("alice",)}
        kind = EventKind.CONFIGURATION_CHANGED
        return (
            ledger.append_changed(kind, keys=EventKeys(subject=subject), payload=payload, actor="pipeline") is not None
        )

    assert [configured(30), configured(30), configured(60), configured(30), configured(30)] == [1, 0, 1, 1, 0]
    assert configured(30, "lock file")


def test_what_happens_to_a_release_is_not_appended_by_hand(sqlite_ledger: Ledger):
    with pytest.raises(ValueError, match="not appended by hand"):
        sqlite_ledger.append(EventKind.PROMOTION_DONE, actor="mallory")


def test_no_secret_reaches_the_database(sqlite_ledger: Ledger, sqlite_url: str):
    url = "postgresql://u:hunter2@h/d"
    about = {"actor": f"me {url}", "channel": url, "keys": EventKeys(subject=url)}
    sqlite_ledger.append(EventKind.RETRAIN_FAILED, payload={"error": url, "key": SecretStr("hunter2")}, **about)
    waiting(sqlite_ledger, 1, facts={"slack": {"webhook": "hunter2"}})
    answer(sqlite_ledger, 1, Decision.REJECT, reason=f"tried {url}")
    sqlite_ledger.verify()
    stored = b"".join(path.read_bytes() for path in _files(sqlite_url))
    assert b"hunter2" not in stored and b"***" in stored
    assert sqlite_ledger.verify().ok


def _files(url: str) -> list[Any]:
    from pathlib import Path

    path = Path(sqlite_path(url))
    return [found for found in path.parent.iterdir() if found.name.startswith(path.name)]


@pytest.mark.parametrize(
    "text", ["null \x00 character", "half \ud83d pair", "naïve 9 pm 🌙", "tok\x00en=hunter2", "a\nb", "'; DROP TABLE x"]
)
def test_any_text_can_be_a_reason(ledger: Ledger, text: str):
    waiting(ledger, 1)
    answer(ledger, 1, Decision.REJECT, reason=text)
    assert ledger.verify().ok
    ledger.append(EventKind.MODEL_TRAINED, actor=text, payload={text: text})
    assert ledger.verify().ok


def test_two_models_share_one_chain_and_nothing_else(ledger: Ledger, ledger_url: str):
    other = Ledger(ledger_url, model="account_takeover")
    promoted(ledger, 1)
    promoted(other, 1)
    assert ledger.champion().model == "fraud_detector"
    assert other.champion().model == "account_takeover"
    assert {event.model for event in other.events()} == {"account_takeover"}
    assert other.verify().count == ledger.head().seq == ledger.last().seq + len(list(other.events()))


# -- append-only


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET actor = 'mallory' WHERE seq = 2",
        "DELETE FROM audit_events WHERE seq = 2",
        "DELETE FROM releases",
    ],
)
def test_the_database_refuses_to_rewrite_the_record(ledger: Ledger, ledger_url: str, statement: str):
    promoted(ledger, 1)
    with pytest.raises(sa.exc.DBAPIError, match=r"append-only|never deleted"):
        _run(ledger_url, statement)
    assert ledger.verify().ok


def test_sqlite_refuses_replacement_and_gaps(sqlite_ledger: Ledger, sqlite_url: str):
    promoted(sqlite_ledger, 1)
    for seq in (2, 99):
        columns = f"{seq}, at, model, kind, 'mallory', channel, subject, as_of, version, fingerprint, payload, txn"
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            _run(
                sqlite_url,
                f"INSERT OR REPLACE INTO audit_events SELECT {columns}, prev_hash, hash, signer, signature "
                "FROM audit_events WHERE seq = 2",
            )
    assert sqlite_ledger.verify().ok


@pytest.mark.parametrize("table", ["audit_events", "releases"])
def test_postgresql_refuses_to_truncate(postgres_url: str, table: str):
    ledger = Ledger(postgres_url)
    promoted(ledger, 1)
    with pytest.raises(sa.exc.DBAPIError, match=r"append-only|never deleted"):
        _run(postgres_url, f"TRUNCATE {table}")
    assert ledger.verify().ok


def _run(url: str, *statements: str) -> None:
    engine = sa.create_engine(driver_url(url))
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


def _tamper(url: str, *statements: str) -> None:
    """What somebody with the file and a grudge can do: drop the guards first."""
    with closing(sqlite3.connect(sqlite_path(url))) as raw:
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            raw.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            raw.execute(statement)
        raw.commit()


@pytest.fixture
def ten(sqlite_ledger: Ledger) -> Ledger:
    """A ledger of ten rows."""
    promoted(sqlite_ledger, 1)
    while sqlite_ledger.head().seq < 10:
        sqlite_ledger.append(
            EventKind.MODEL_TRAINED, actor="pipeline", keys=EventKeys(as_of=date(2026, 11, 1)), payload={"n": 1}
        )
    return sqlite_ledger


def test_an_untouched_record_verifies(ten: Ledger):
    verification = ten.verify(ten.head())
    assert verification.ok and verification.count == 10 and verification.head == ten.head()


COLUMNS = ["at", "model", "kind", "actor", "channel", "subject", "as_of", "version", "fingerprint", "payload", "txn"]


@pytest.mark.parametrize("column", [*COLUMNS, "prev_hash", "hash"])
@pytest.mark.parametrize("seq", [1, 4, 10])
def test_an_edited_row_is_named(ten: Ledger, sqlite_url: str, seq: int, column: str):
    value = "7" if column == "version" else "'[]'"
    _tamper(sqlite_url, f"UPDATE audit_events SET {column} = {value} WHERE seq = {seq}")
    verification = ten.verify()
    assert (verification.ok, verification.first_bad) == (False, seq)
    assert verification.why


@pytest.mark.parametrize("seq", range(1, 11))
def test_a_deleted_row_is_named_even_the_last(ten: Ledger, sqlite_url: str, seq: int):
    _tamper(sqlite_url, f"DELETE FROM audit_events WHERE seq = {seq}")
    assert ten.verify().first_bad == seq


@pytest.mark.parametrize(("one", "other"), [(1, 2), (3, 9), (9, 10)])
def test_rows_that_changed_places_are_found_at_the_first(ten: Ledger, sqlite_url: str, one: int, other: int):
    _tamper(
        sqlite_url,
        f"UPDATE audit_events SET seq = -1 WHERE seq = {one}",
        f"UPDATE audit_events SET seq = {one} WHERE seq = {other}",
        f"UPDATE audit_events SET seq = {other} WHERE seq = -1",
    )
    assert ten.verify().first_bad == one


@pytest.mark.parametrize("left", [0, 1, 6, 9])
def test_a_tail_cut_off_with_the_head_row_put_right_is_found_by_an_exported_head(
    ten: Ledger, sqlite_url: str, left: int
):
    exported = ten.head()
    last = Head() if left == 0 else Head(seq=left, hash=[event.hash for event in ten.events()][left - 1])
    _tamper(
        sqlite_url,
        f"DELETE FROM audit_events WHERE seq > {left}",
        f"UPDATE ledger_head SET seq = {left}, hash = '{last.hash}'",
        "DELETE FROM releases",
    )
    verification = ten.verify(exported)
    assert verification.first_bad == left + 1
    assert verification.why == f"the chain was cut: it ends at row {left}, a known head is row 10"


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE releases SET state = 'approved', artifact_digest = 'x'", "artifact_digest, state differ"),
        ("UPDATE releases SET decided_by = NULL", "decided_by differ"),
        ("DELETE FROM releases", "in the chain but not in the table"),
        ("UPDATE releases SET version = 8", "version 8"),
    ],
)
def test_a_release_that_is_not_what_its_last_event_left_is_named(ten: Ledger, sqlite_url: str, statement, named):
    _tamper(sqlite_url, statement)
    verification = ten.verify()
    assert not verification.ok and verification.first_bad is None
    assert "version 1" in verification.why and named in verification.why


def test_a_lost_head_row_is_no_empty_ledger(ten: Ledger, sqlite_url: str):
    _tamper(sqlite_url, "DELETE FROM ledger_head")
    with pytest.raises(IntegrityError, match="lost its head row"):
        ten.append(EventKind.MODEL_TRAINED, actor="a")


def test_ten_thousand_events_are_verified_in_two_seconds(sqlite_ledger: Ledger):
    payload = canonical_json({"metrics": {"average_precision": 0.74}, "days": ["2026-11-01"] * 60})
    sqlite_ledger.append(EventKind.MODEL_TRAINED, actor="pipeline", keys=EventKeys(fingerprint="f" * 64))
    rows = sqlite_ledger._database.read(lambda cn: list(events(cn, {})))
    while len(rows) < 10_000:
        last = rows[-1]
        rows.append(chained(last._replace(seq=last.seq + 1, payload=payload, prev_hash=last.hash)))

    def write(tx: Transaction) -> None:
        tx.connection.execute(EVENTS.insert(), [row._asdict() for row in rows[1:]])
        tx.connection.execute(HEAD.update().values(seq=rows[-1].seq, hash=rows[-1].hash))

    sqlite_ledger._database.write(write)
    began = time.process_time()
    verification = sqlite_ledger.verify()
    assert verification.ok and verification.count == 10_000
    assert time.process_time() - began < 2


# -- releases


def test_a_fingerprint_has_one_release_however_often_it_is_opened(ledger: Ledger):
    first = opened(ledger, 1)
    new = NewRelease(2, "f1", date(2026, 11, 9), "manual", artifact_digest="x", verdict_passed=False)
    again = ledger.open_release(new, actor="b", channel="cli")
    assert again == first == ledger.release_by_fingerprint("f1") == ledger.release_by_version(1)
    assert ledger.release_by_version(2) is None
    assert len(list(ledger.events(EventKind.VERSION_REGISTERED))) == 1


def test_a_version_belongs_to_one_fingerprint(ledger: Ledger):
    opened(ledger, 1)
    new = NewRelease(1, "f9", date(2026, 11, 9), "manual", artifact_digest="x", verdict_passed=True)
    with pytest.raises(IntegrityError, match="another fingerprint"):
        ledger.open_release(new, actor="b", channel="cli")


def test_a_release_is_opened_with_its_facts(ledger: Ledger):
    opened(ledger, 1, facts={"metrics": {"average_precision": 0.74}}, champion_before=None, requested_by="bob")
    event = ledger.last(EventKind.VERSION_REGISTERED, version=1)
    assert event.payload["facts"] == {"metrics": {"average_precision": 0.74}}
    assert (event.fingerprint, event.as_of) == ("f1", date(2026, 11, 1))


def test_the_second_decision_is_refused_with_a_reason_and_recorded(ledger: Ledger):
    waiting(ledger, 1)
    answer(ledger, 1, Decision.APPROVE, "alice", reason="better by .02")
    with pytest.raises(Conflict, match=r"it was approved by alice at .* UTC: better by \.02") as refusal:
        answer(ledger, 1, Decision.REJECT, "bob")
    assert refusal.value.exit_code == 5
    assert states(ledger) == {1: S.APPROVED}
    refused = ledger.last(EventKind.DECISION_REFUSED, version=1)
    assert (refused.actor, refused.payload["decision"]) == ("bob", "reject")


def test_a_stranger_is_refused_and_recorded(ledger: Ledger):
    waiting(ledger, 1)
    with pytest.raises(SettingsError, match="mallory is not a reviewer"):
        answer(ledger, 1, Decision.APPROVE, "mallory", policy=ReviewerPolicy(reviewers=("alice",)))
    assert states(ledger) == {1: S.AWAITING_APPROVAL}
    assert ledger.last(EventKind.DECISION_REFUSED).actor == "mallory"


def test_an_unknown_version_is_refused_as_unknown(ledger: Ledger):
    with pytest.raises(SettingsError, match="version 41 of fraud_detector has no release"):
        answer(ledger, 41, Decision.APPROVE)


def test_a_newer_candidate_supersedes_the_one_that_waits(ledger: Ledger):
    waiting(ledger, 1, day=1)
    waiting(ledger, 2, day=3)
    assert states(ledger) == {1: S.SUPERSEDED, 2: S.AWAITING_APPROVAL}
    assert [release.version for release in ledger.waiting()] == [2]
    assert ledger.release_by_version(1).reason == "version 2 is newer"


def test_an_older_candidate_does_not_wait_beside_a_newer_one(ledger: Ledger):
    waiting(ledger, 1, day=3)
    assert waiting(ledger, 2, day=1).state is S.SUPERSEDED
    assert states(ledger) == {1: S.AWAITING_APPROVAL, 2: S.SUPERSEDED}


def test_a_candidate_whose_gates_failed_supersedes_nothing(ledger: Ledger):
    waiting(ledger, 1, day=1)
    opened(ledger, 2, day=3, verdict_passed=False)
    with pytest.raises(GateFailed):
        ledger.await_decision(2, hours=24, actor="pipeline", channel="dagster")
    assert states(ledger) == {1: S.AWAITING_APPROVAL, 2: S.REGISTERED}
    ledger.move_release(2, S.GATE_FAILED, actor="pipeline", channel="dagster", reason="average_precision 0.1 < 0.3")
    assert states(ledger) == {1: S.AWAITING_APPROVAL, 2: S.GATE_FAILED}


def test_a_release_that_is_not_decided_in_time_expires_once(ledger: Ledger):
    waiting(ledger, 1, hours=0.3 / 3600)
    assert ledger.expire_due(actor="policy", channel="sensor") == [] or states(ledger) == {1: S.EXPIRED}
    time.sleep(0.4)
    with pytest.raises(Conflict, match="expired"):
        answer(ledger, 1, Decision.APPROVE)
    ledger.expire_due(actor="policy", channel="sensor")
    assert states(ledger) == {1: S.EXPIRED}
    assert ledger.expire_due(actor="policy", channel="sensor") == []
    assert ledger.verify().ok


def test_a_release_without_a_human_names_the_policy_that_stood_for_one(ledger: Ledger):
    opened(ledger, 1)
    release = ledger.move_release(1, S.APPROVED, actor=POLICY, channel="policy")
    assert (release.decided_by, release.decided_via) == (POLICY, "policy")


# -- promotion


def test_a_promotion_is_written_before_and_after(ledger: Ledger):
    promoted(ledger, 1, day=1)
    approved(ledger, 2, day=3)
    intent = ledger.intend_promotion(AliasMove(2, 1), actor="alice", channel="cli")
    assert ledger.unfinished_intents() == [intent]
    assert (intent.expected_champion, intent.artifact_digest) == (1, "d2")
    assert states(ledger) == {1: S.PROMOTED, 2: S.PROMOTING}
    ledger.finish_promotion(intent, Complete(), actor="alice", channel="cli")
    assert states(ledger) == {1: S.SUPERSEDED, 2: S.PROMOTED}
    assert ledger.unfinished_intents() == []
    assert ledger.champion().version == 2 and ledger.champion().champion_before == 1
    assert ledger.last(EventKind.PROMOTION_DONE).subject == str(intent.seq)
    assert ledger.verify().ok


def test_a_new_champion_makes_older_candidates_pointless_and_leaves_newer_ones(ledger: Ledger):
    approved(ledger, 2, day=3)
    intent = ledger.intend_promotion(AliasMove(2, None), actor="alice", channel="cli")
    waiting(ledger, 1, day=1)
    ledger.finish_promotion(intent, Complete(), actor="alice", channel="cli")
    assert states(ledger) == {1: S.SUPERSEDED, 2: S.PROMOTED}
    waiting(ledger, 3, day=5)
    assert states(ledger)[3] is S.AWAITING_APPROVAL


def test_a_finished_promotion_may_be_reported_again_but_not_otherwise(ledger: Ledger):
    approved(ledger, 1)
    intent = ledger.intend_promotion(AliasMove(1, None), actor="alice", channel="cli")
    done = ledger.finish_promotion(intent, Complete(), actor="alice", channel="cli")
    count = ledger.head().seq
    assert ledger.finish_promotion(intent, Complete(), actor="recovery", channel="start-up") == done
    assert ledger.head().seq == count
    with pytest.raises(Conflict, match="already finished"):
        ledger.finish_promotion(intent, Undo(), actor="recovery", channel="start-up")


def test_an_undone_promotion_can_be_tried_again(ledger: Ledger):
    approved(ledger, 1)
    first = ledger.intend_promotion(AliasMove(1, None), actor="alice", channel="cli")
    assert ledger.finish_promotion(first, recovery(first, None), actor="r", channel="start-up").state is S.APPROVED
    second = ledger.intend_promotion(AliasMove(1, None), actor="alice", channel="cli")
    assert ledger.finish_promotion(second, Complete(), actor="alice", channel="cli").state is S.PROMOTED


def test_only_one_promotion_is_under_way(ledger: Ledger):
    approved(ledger, 1, day=1)
    ledger.intend_promotion(AliasMove(1, None), actor="alice", channel="cli")
    approved(ledger, 2, day=3)
    with pytest.raises(Conflict, match="version 1 is being promoted by alice"):
        ledger.intend_promotion(AliasMove(2, None), actor="bob", channel="cli")


def test_an_older_candidate_is_not_promoted_over_a_newer_champion(ledger: Ledger):
    promoted(ledger, 1, day=3)
    approved(ledger, 2, day=2)
    with pytest.raises(Conflict, match="champion version 1 is as of 2026-11-03"):
        ledger.intend_promotion(AliasMove(2, 1), actor="alice", channel="cli")
    assert states(ledger) == {1: S.PROMOTED, 2: S.APPROVED}


def test_nothing_is_promoted_while_alias_and_ledger_disagree(ledger: Ledger):
    promoted(ledger, 1, day=1)
    approved(ledger, 2, day=3)
    for alias in (7, None):
        with pytest.raises(Conflict, match="the ledger's champion is version 1"):
            ledger.intend_promotion(AliasMove(2, alias), actor="alice", channel="cli")


def test_a_rollback_brings_back_what_was_champion(ledger: Ledger):
    promoted(ledger, 1, day=1)
    promoted(ledger, 2, day=3, expected=1)
    why = {"actor": "alice", "channel": "cli", "reason": "alerts doubled"}
    intent = ledger.intend_promotion(AliasMove(1, 2, rollback=True), **why)
    ledger.finish_promotion(intent, Complete(), actor="alice", channel="cli")
    assert states(ledger) == {1: S.PROMOTED, 2: S.ROLLED_BACK}
    assert ledger.release_by_version(2).reason == "alerts doubled"
    undone = ledger.intend_promotion(AliasMove(2, 1, rollback=True), **why)
    ledger.finish_promotion(undone, Undo(), actor="alice", channel="cli")
    assert states(ledger) == {1: S.PROMOTED, 2: S.ROLLED_BACK}
    assert ledger.verify().ok


def test_a_human_who_moves_the_alias_wins(ledger: Ledger):
    promoted(ledger, 1, day=1)
    waiting(ledger, 2, day=3)
    event = ledger.champion_moved(2, actor="unknown", channel="registry")
    assert event.payload == {"from": 1, "to": 2, "known": True}
    assert states(ledger) == {1: S.SUPERSEDED, 2: S.PROMOTED}
    assert ledger.champion_moved(2, actor="unknown", channel="registry") is None
    assert ledger.verify().ok


def test_a_champion_that_the_ledger_never_saw_is_recorded_once(ledger: Ledger):
    promoted(ledger, 1)
    assert ledger.champion_moved(99, actor="unknown", channel="registry").payload["known"] is False
    assert ledger.champion_moved(99, actor="unknown", channel="registry") is None
    assert ledger.champion() is None
    assert ledger.champion_moved(98, actor="unknown", channel="registry") is not None
    assert ledger.champion_moved(None, actor="unknown", channel="registry") is not None
    assert ledger.champion_moved(None, actor="unknown", channel="registry") is None


def test_a_human_who_moves_the_alias_during_a_promotion_wins(ledger: Ledger):
    promoted(ledger, 1, day=1)
    promoted(ledger, 2, day=3, expected=1)
    approved(ledger, 3, day=5)
    intent = ledger.intend_promotion(AliasMove(3, 2), actor="alice", channel="cli")
    with pytest.raises(Conflict, match="under way"):
        ledger.champion_moved(1, actor="unknown", channel="registry")
    outcome = recovery(intent, alias_target=1)
    assert outcome == HumanMoved(1)
    ledger.finish_promotion(intent, outcome, actor="recovery", channel="start-up")
    assert states(ledger) == {1: S.PROMOTED, 2: S.SUPERSEDED, 3: S.SUPERSEDED}
    assert ledger.unfinished_intents() == []
    assert ledger.verify().ok


# -- two at once


def _at_once(url: str, step: str) -> dict[str, str]:
    spawn = multiprocessing.get_context("spawn")
    barrier, answers = spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=attempt, args=(url, step, who, barrier, answers)) for who in ("alice", "bob")]
    for process in processes:
        process.start()
    heard = dict(answers.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(60)
    return heard


@pytest.mark.slow
def test_of_two_decisions_at_once_one_wins_and_the_other_is_refused(ledger: Ledger, ledger_url: str):
    waiting(ledger, 2)
    heard = _at_once(ledger_url, "decide")
    winner, loser = ("alice", "bob") if heard["alice"] == "won" else ("bob", "alice")
    assert heard[winner] == "won"
    assert f"by {winner} at 20" in heard[loser]
    assert states(ledger) == {2: S.APPROVED if winner == "alice" else S.REJECTED}
    assert ledger.verify().ok


def test_of_two_promotions_at_once_one_wins_and_the_chain_is_whole(ledger: Ledger, ledger_url: str):
    promoted(ledger, 1, day=1)
    approved(ledger, 2, day=3)
    opened(ledger, 3, day=4)
    ledger.move_release(3, S.APPROVED, actor=POLICY, channel="policy")
    heard = _at_once(ledger_url, "promote")
    assert sorted(answer == "won" for answer in heard.values()) == [False, True]
    assert len(ledger.releases(S.PROMOTED)) == 1
    assert ledger.verify().ok


@pytest.mark.slow
def test_a_verification_while_others_write_sees_one_state(ledger: Ledger, ledger_url: str):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(2)
    writer = spawn.Process(target=append_many, args=(ledger_url, 0, 40, barrier))
    writer.start()
    barrier.wait(60)
    while writer.is_alive():
        assert ledger.verify().ok
    writer.join(10)
    assert ledger.verify().count == 40
