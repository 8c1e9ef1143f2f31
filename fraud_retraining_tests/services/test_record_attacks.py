"""Ways to bring a model into production past the record, or to weaken it: each is refused before anything is done.

The attacker can write to the ledger's file, takes the guards away and puts them back. Every case has to be noticed by
`audit verify`, and to be refused by whoever would act on it.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.promotions import AliasMove
from fraud_retraining.adapters.ledger.tables import RELEASES
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.ledger.hash_chain import Head
from fraud_retraining.domain.releases.promotion_mode import POLICY
from fraud_retraining.domain.releases.release import ReleaseState
from fraud_retraining.domain.retraining.pauses import Automation
from fraud_retraining.domain.values.errors import RecordAltered
from fraud_retraining_tests.support.forgeries import Change, forged_event, past_the_guards, rewritten_history
from fraud_retraining_tests.support.ledgers import opened, promoted, waiting

S = ReleaseState
IDENTITY = {"name": "alice", "verified": False, "how": "unverified"}
APPROVED = {"version": 4, "state": "approved", "decided_by": "alice", "decided_via": "cli, unverified"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 served, version 2 serves, version 3 failed its gates, version 4 waits."""
    file = tmp_path_factory.mktemp("attacked") / "ledger.db"
    ledger = Ledger(f"sqlite:///{file}")
    promoted(ledger, 1, day=1)
    promoted(ledger, 2, day=3, expected=1)
    opened(ledger, 3, day=5, verdict_passed=False)
    ledger.move_release(3, S.GATE_FAILED, actor="pipeline", channel="dagster")
    waiting(ledger, 4, day=7)
    assert ledger.verify().ok
    ledger._database._started().dispose()
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


@pytest.fixture
def file(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(template, tmp_path / "ledger.db"))


def at(file: Path, *pins: Head) -> Ledger:
    return Ledger(f"sqlite:///{file}", pins=lambda: pins)


def moved(to: str, **more: object) -> dict[str, object]:
    return {"from": "awaiting_approval", "to": to, "reason": "", **more}


OTHER_VALUES = {
    "model": "'other'",
    "version": "9",
    "as_of": "'2026-11-30'",
    "state": "'approved'",
    "verdict_passed": "0",
    "champion_before": "7",
    "intent": "3",
    **dict.fromkeys(("opened_at", "moved_at", "decided_at", "promoted_at", "deadline"), "'2026-11-30T00:00:00Z'"),
}
COLUMNS = [
    pytest.param(
        f"UPDATE releases SET {column.name} = {OTHER_VALUES.get(column.name, chr(39) + 'x' + chr(39))} "
        "WHERE version = 4",
        id=f"column {column.name}",
    )
    for column in RELEASES.columns
]
ROWS: dict[str, str | Change] = {
    "the champion's row says that it is withdrawn": "UPDATE releases SET state = 'withdrawn' WHERE version = 2",
    "an earlier champion's row says that it serves": "UPDATE releases SET state = 'superseded' WHERE version = 2; "
    "UPDATE releases SET state = 'promoted' WHERE version = 1",
    "a state that there is none of": "UPDATE releases SET state = 'blessed' WHERE version = 4",
    "approved in alice's name": "UPDATE releases SET state = 'approved', decided_by = 'alice', decided_via = 'cli'",
    "a release that nobody registered": "CREATE TABLE copied AS SELECT * FROM releases WHERE version = 4; "
    "UPDATE copied SET version = 9, fingerprint = 'f9', artifact_digest = 'd9', state = 'approved', "
    "decided_by = 'alice'; "
    "INSERT INTO releases SELECT * FROM copied; DROP TABLE copied",
    "a release deleted": "DELETE FROM releases WHERE version = 4",
    "every release deleted": "DELETE FROM releases",
}
FORGED: dict[str, Change] = {
    "an approval without an answer": forged_event("release_moved", APPROVED, moved("approved")),
    "an approval that another answered": forged_event(
        "release_moved", APPROVED, moved("approved", identity={**IDENTITY, "name": "bob"})
    ),
    "an approval by another way than the answer came": forged_event(
        "release_moved", APPROVED, moved("approved", identity={**IDENTITY, "how": "own token"})
    ),
    "an approval with another digest": forged_event(
        "release_moved", {**APPROVED, "artifact_digest": "evil"}, moved("approved", identity=IDENTITY)
    ),
    "an approval decided by somebody else": forged_event(
        "release_moved", {**APPROVED, "decided_by": "bob"}, moved("approved", identity=IDENTITY)
    ),
    "a version under a floor, with no exception made": forged_event(
        "release_moved",
        {**APPROVED, "verdict_passed": False, "floors_missed": "average_precision_floor"},
        moved("approved", identity=IDENTITY),
    ),
    "a failed verdict that passed": forged_event(
        "release_moved",
        {"version": 3, "state": "approved", "verdict_passed": True},
        moved("approved", identity=IDENTITY),
    ),
    "out of a state that has no way out": forged_event(
        "release_moved",
        {"version": 3, "state": "awaiting_approval", "deadline": "2030-01-01T00:00:00Z"},
        {"from": "gate_failed", "to": "awaiting_approval", "reason": ""},
    ),
    "promoted without an intent": forged_event(
        "release_moved", {"version": 4, "state": "promoted"}, moved("promoted", identity=IDENTITY)
    ),
    "another fingerprint under the same version": forged_event(
        "release_moved", {"version": 4, "fingerprint": "evil", "state": "withdrawn", "reason": "r"}, moved("withdrawn")
    ),
    "a version registered twice": forged_event("version_registered", {"version": 4, "state": "registered"}),
    "a version born approved": forged_event(
        "version_registered",
        {"version": 9, "model": "fraud_detector", "fingerprint": "f9", "as_of": "2026-11-09", "trigger": "schedule",
         "state": "approved", "artifact_digest": "d9", "verdict_passed": True, "verdict_digest": "", "reason": "",
         "requested_by": "", "opened_at": "2026-11-26T00:00:00Z"},
    ),
    "an intent out of waiting": forged_event(
        "promotion_intended",
        {"version": 4, "state": "promoting", "intent": 1, "champion_before": 2},
        {"intent": {"seq": 1, "model": "fraud_detector", "version": 4, "expected_champion": 2, "artifact_digest": "d4",
                    "rollback": False, "came_from": "approved", "actor": "alice", "channel": "cli, unverified",
                    "at": "2026-11-26T00:00:00Z"}},
    ),
    "an event that tells of no release": forged_event("release_moved", {"version": 4, "state": "blessed"}, moved("x")),
    "the event of another version": forged_event(
        "release_moved", {**APPROVED, "as_of": "2026-11-30"}, moved("approved", identity=IDENTITY)
    ),
}  # fmt: skip
GUARDS: dict[str, Callable[[Path], None]] = {
    "a guard dropped": lambda file: run(file, "DROP TRIGGER audit_events_no_update"),
    "a guard that does nothing": lambda file: run(
        file,
        "DROP TRIGGER releases_no_delete; CREATE TRIGGER releases_no_delete BEFORE DELETE ON releases "
        "BEGIN SELECT 1; END",
    ),
    "a guard on another table": lambda file: run(
        file,
        "DROP TRIGGER audit_events_in_order; CREATE TABLE spare (seq, prev_hash); CREATE TRIGGER audit_events_in_order "
        "BEFORE INSERT ON spare BEGIN SELECT 1; END",
    ),
    "a trigger that rewrites": lambda file: run(
        file,
        "CREATE TRIGGER helpful AFTER INSERT ON releases BEGIN UPDATE releases SET state = 'approved'; END",
    ),
    "a view in place of the releases": lambda file: run(
        file, "ALTER TABLE releases RENAME TO kept; CREATE VIEW releases AS SELECT * FROM kept"
    ),
    "a view in place of the events": lambda file: run(
        file, "ALTER TABLE audit_events RENAME TO kept; CREATE VIEW audit_events AS SELECT * FROM kept"
    ),
    "a table dropped": lambda file: run(file, "DROP TABLE releases"),
    "the index of one champion dropped": lambda file: run(file, "DROP INDEX releases_one_promoted"),
    "the head set to 0": lambda file: past_the_guards(
        file, f"UPDATE ledger_head SET seq = 0, hash = '{'0' * 64}'"
    ),
    "the head set back": lambda file: past_the_guards(
        file, "UPDATE ledger_head SET seq = 3, hash = (SELECT hash FROM audit_events WHERE seq = 3)"
    ),
    "the head deleted": lambda file: past_the_guards(file, "DELETE FROM ledger_head"),
    "a row edited": lambda file: past_the_guards(file, "UPDATE audit_events SET actor = 'bob' WHERE seq = 3"),
    "a row deleted": lambda file: past_the_guards(file, "DELETE FROM audit_events WHERE seq = 3"),
    "the last row deleted": lambda file: past_the_guards(
        file, "DELETE FROM audit_events WHERE seq = (SELECT max(seq) FROM audit_events)"
    ),
    "two rows changed places": lambda file: past_the_guards(
        file,
        "UPDATE audit_events SET seq = -1 WHERE seq = 3; UPDATE audit_events SET seq = 3 WHERE seq = 4; "
        "UPDATE audit_events SET seq = 4 WHERE seq = -1",
    ),
    "all events deleted": lambda file: past_the_guards(file, "DELETE FROM audit_events"),
    "row 9999": lambda file: past_the_guards(
        file, "UPDATE audit_events SET seq = 9999 WHERE seq = (SELECT max(seq) FROM audit_events)"
    ),
}  # fmt: skip
CUT_WITH_RIGHT_HEAD = """DELETE FROM audit_events WHERE seq > 9;
    UPDATE ledger_head SET seq = 9, hash = (SELECT hash FROM audit_events WHERE seq = 9);
    DELETE FROM releases WHERE version > 1; UPDATE releases SET state = 'promoted' WHERE version = 1;"""
PINNED: dict[str, Callable[[Path, Path], None]] = {
    "history computed anew": lambda file, _: past_the_guards(
        file, rewritten_history(1, lambda payload: payload["facts"].update(run_id="another"))
    ),
    "the end cut off and the head put right": lambda file, _: past_the_guards(
        file, "DELETE FROM audit_events; DELETE FROM releases; UPDATE ledger_head SET seq = 0, "
        f"hash = '{'0' * 64}'"
    ),
    "the file deleted": lambda file, _: file.unlink(),
    "an older copy put back": lambda file, older: shutil.copy(older, file) and None,
}  # fmt: skip


def run(file: Path, script: str) -> None:
    with closing(sqlite3.connect(file)) as raw:
        raw.executescript(script)


def require_refused(ledger: Ledger) -> None:
    """Nothing is promoted, whoever asks, and whatever asks finds automation stopped."""
    acts: list[Callable[[], object]] = [
        ledger.require_intact,
        lambda: ledger.intend_promotion(AliasMove(4, 2), actor="alice", channel="cli"),
        lambda: ledger.intend_promotion(AliasMove(1, 2, rollback=True), actor="alice", channel="cli", reason="r"),
    ]
    for act in acts:
        with pytest.raises(RecordAltered):
            act()


@pytest.mark.parametrize("change", COLUMNS)
def test_a_working_row_is_never_believed(file: Path, change: str):
    past_the_guards(file, change)
    found = at(file).verify()
    assert not found.ok and found.first_bad is None and found.releases
    for read in (at(file).champion, at(file).waiting, at(file).latest_champions, at(file).unfinished_intents):
        with pytest.raises(RecordAltered, match="record of decisions was changed"):
            read()
    require_refused(at(file))


@pytest.mark.parametrize("attack", ROWS)
def test_rows_that_no_event_made_are_refused(file: Path, attack: str):
    past_the_guards(file, ROWS[attack])
    assert at(file).verify().releases
    with pytest.raises(RecordAltered, match="record of decisions was changed"):
        at(file).champion()
    require_refused(at(file))


@pytest.mark.parametrize("attack", FORGED)
def test_an_event_in_a_right_chain_that_is_no_legal_move_is_named(file: Path, attack: str):
    last = at(file).head().seq
    past_the_guards(file, FORGED[attack])
    found = at(file).verify()
    assert (found.ok, found.first_bad) == (False, last + 1), found.why
    require_refused(at(file))


@pytest.mark.parametrize("attack", GUARDS)
def test_a_weakened_record_is_no_record(file: Path, attack: str):
    GUARDS[attack](file)
    found = at(file).verify()
    assert not found.ok and found.problems, found
    with pytest.raises(RecordAltered):
        at(file).require_intact()


@pytest.mark.parametrize("attack", PINNED)
def test_what_only_a_head_kept_elsewhere_shows_is_shown_by_it(file: Path, tmp_path: Path, attack: str):
    older = Path(shutil.copy(file, tmp_path / "older.db"))
    ledger = at(file)
    ledger.append(EventKind.RETRAIN_REQUESTED, actor="pipeline", payload={"trigger": "schedule"})
    pin = ledger.head()
    ledger._database._started().dispose()
    run(file, "PRAGMA wal_checkpoint(TRUNCATE)")
    PINNED[attack](file, older)
    assert at(file).verify().ok, "without a pinned head nothing shows it"
    found = at(file, pin).verify()
    assert not found.ok and found.first_bad is not None
    with pytest.raises(RecordAltered):
        at(file, pin).require_intact()


def test_a_changed_record_is_recorded_once_and_stops_what_goes_on_by_itself(file: Path):
    past_the_guards(file, "UPDATE releases SET state = 'approved' WHERE version = 4")
    ledger = at(file)
    for _ in range(3):
        with pytest.raises(RecordAltered):
            ledger.require_intact()
    (altered,) = ledger.events(EventKind.RECORD_ALTERED)
    assert "version 4: state" in altered.payload["culprits"][0]
    assert ledger.pause(Automation.PROMOTION) is not None and ledger.pause(Automation.RETRAINING) is not None


def test_an_approval_by_the_policy_needs_no_answer_of_a_person(file: Path):
    ledger = at(file)
    opened(ledger, 5, day=9)
    ledger.move_release(5, S.APPROVED, actor=POLICY, channel="dagster", reason="all gates passed")
    assert ledger.verify().ok
