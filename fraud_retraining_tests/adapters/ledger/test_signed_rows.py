"""Where the settings name signers, nothing in the database makes a reader believe a row that none of them signed."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.signed_rows import NOT_BEGUN, SignedRows
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.release import ReleaseState
from fraud_retraining.domain.retraining.pauses import Automation
from fraud_retraining.domain.values.errors import Conflict, RecordAltered, SettingsError
from fraud_retraining_tests.support.forgeries import past_the_guards, rewritten_history
from fraud_retraining_tests.support.ledgers import approved, promoted, sqlite_path, waiting
from fraud_retraining_tests.support.signing import SIGNERS, append_forged, signed_ledger, signer, signing_as
from fraud_retraining_tests.support.tampering import lift_guards, put_back, run_sql

pytest_plugins = ("fraud_retraining_tests.support.databases",)

RESUMED = {"reason": "all is well"}


def note(ledger: Ledger, n: int = 0) -> None:
    ledger.append(EventKind.RETRAIN_REQUESTED, actor="cron", payload={"n": n})


def begun(ledger: Ledger) -> Ledger:
    ledger.begin_signing(actor="alice", channel="cli", reason="keys are there")
    return ledger


def only_public(signers: Any = SIGNERS) -> SignedRows:
    return SignedRows(signers)


def test_a_new_ledger_is_signed_from_its_first_row(ledger_url: str):
    ledger = signed_ledger(ledger_url)
    assert list(ledger.events()) == [] and ledger.releases() == [] and ledger.verify().ok
    promoted(ledger, 1)
    rows = list(ledger.rows())
    assert rows[0].kind == EventKind.SIGNING_BEGAN and {row.signer for row in rows} == {"pipeline"}
    found = ledger.verify()
    assert (found.ok, found.signed_from, found.problems) == (True, 1, ())
    assert ledger.weakness() == () and ledger.champion() is not None


def test_who_has_public_keys_only_reads_and_verifies_and_cannot_add(ledger_url: str):
    promoted(signed_ledger(ledger_url), 1)
    reader = Ledger(ledger_url, signed=only_public())
    assert reader.verify().ok and reader.champion() is not None
    with pytest.raises(SettingsError, match="no private key"):
        note(reader)
    assert reader.verify().count == signed_ledger(ledger_url).verify().count


def test_a_key_that_may_not_write_an_event_is_refused_before_it_does(ledger_url: str):
    promoted(signed_ledger(ledger_url), 1)
    scorer = signed_ledger(ledger_url, "scorer")
    scorer.append(EventKind.ANSWERS_LOGGED, actor="scorer", payload={}, keys=EventKeys(subject="2026-11-20"))
    with pytest.raises(SettingsError, match="may sign answers only") as refusal:
        scorer.resume(Automation.PROMOTION, actor="x", channel="x", reason="x") or note(scorer)
    assert "answers_logged" in str(refusal.value.remedy)
    assert scorer.verify().ok


def test_without_signers_nothing_is_signed_and_nothing_asked(ledger: Ledger, ledger_url: str):
    promoted(ledger, 1)
    assert all(row.signer is None and row.signature is None for row in ledger.rows())
    append_forged(ledger_url, EventKind.AUTOMATION_RESUMED, RESUMED, subject="promotion")
    found = ledger.verify()
    assert (found.ok, found.signed_from) == (True, None), "as before: only heads kept elsewhere could show it"


class TestBeginning:
    def test_a_ledger_of_before_is_neither_read_nor_written_until_a_person_begins(self, ledger_url: str):
        promoted(Ledger(ledger_url), 1)
        ledger = signed_ledger(ledger_url)
        for act in (ledger.champion, lambda: list(ledger.events()), lambda: note(ledger), ledger.releases):
            with pytest.raises(SettingsError, match="no row, signed by one of them") as refusal:
                act()
            assert "audit sign" in str(refusal.value.remedy)
        found = ledger.verify()
        assert not found.ok and found.problems == (NOT_BEGUN,) and ledger.weakness() == (NOT_BEGUN,)
        begun(ledger)
        assert ledger.champion() is not None and ledger.verify().ok and ledger.weakness() == ()
        note(ledger)
        assert [event.kind for event in ledger.events()][-2:] == ["signing_began", "retrain_requested"]

    def test_it_begins_once_and_with_a_key_that_may_write_everything(self, ledger_url: str):
        note(Ledger(ledger_url))
        with pytest.raises(SettingsError, match="may sign decisions only"):
            begun(signed_ledger(ledger_url, "page"))
        began = begun(signed_ledger(ledger_url)).signed
        with pytest.raises(Conflict, match="signing began at row 2"):
            begun(Ledger(ledger_url, signed=began))
        with pytest.raises(SettingsError, match=r"ledger\.signers is empty"):
            begun(Ledger(ledger_url))

    def test_it_does_not_begin_over_a_record_that_was_altered(self, sqlite_url: str):
        ledger = Ledger(sqlite_url)
        promoted(ledger, 1)
        past_the_guards(sqlite_path(sqlite_url), "UPDATE audit_events SET actor = 'mallory' WHERE seq = 2;")  # type: ignore[arg-type]
        with pytest.raises(RecordAltered):
            begun(signed_ledger(sqlite_url))

    def test_it_does_not_begin_over_rows_that_nobody_verified(self, sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
        note(Ledger(sqlite_url))
        ledger = signed_ledger(sqlite_url)
        verify = ledger.verify

        def then_forge(*known: Any, **more: Any) -> Any:
            found = verify(*known, **more)
            append_forged(sqlite_url, EventKind.AUTOMATION_RESUMED, RESUMED, subject="promotion")
            return found

        monkeypatch.setattr(ledger, "verify", then_forge)
        with pytest.raises(Conflict, match="written to after it was verified up to row 1"):
            begun(ledger)

    @pytest.mark.parametrize(
        "change",
        [
            rewritten_history(2, lambda payload: payload.update(n=99)),
            "UPDATE audit_events SET actor = 'mallory' WHERE seq = 2;",
            "DELETE FROM audit_events WHERE seq = 2;",
        ],
        ids=["rewritten", "edited", "deleted"],
    )
    def test_rows_of_before_are_those_that_the_signed_row_follows_from(
        self, sqlite_url: str, change: str | Callable[[sqlite3.Connection], None]
    ):
        for n in range(3):
            note(Ledger(sqlite_url), n)
        begun(signed_ledger(sqlite_url))
        assert len(list(signed_ledger(sqlite_url).events(EventKind.RETRAIN_REQUESTED))) == 3
        past_the_guards(sqlite_path(sqlite_url), change)  # type: ignore[arg-type]
        with pytest.raises((RecordAltered, SettingsError)):
            list(signed_ledger(sqlite_url).events(EventKind.RETRAIN_REQUESTED))
        assert not signed_ledger(sqlite_url).verify().ok

    def test_a_ledger_cut_back_to_before_it_began_is_not_signed_anew_by_itself(self, sqlite_url: str):
        note(Ledger(sqlite_url))
        begun(signed_ledger(sqlite_url))
        past_the_guards(
            sqlite_path(sqlite_url),  # type: ignore[arg-type]
            "DELETE FROM audit_events WHERE seq > 1;"
            "UPDATE ledger_head SET seq = 1, hash = (SELECT hash FROM audit_events WHERE seq = 1);",
        )
        append_forged(sqlite_url, EventKind.AUTOMATION_RESUMED, RESUMED, subject="promotion")
        ledger = signed_ledger(sqlite_url)
        with pytest.raises(SettingsError, match="no row, signed"):
            note(ledger)
        with pytest.raises(SettingsError, match="no row, signed"):
            ledger.pause(Automation.PROMOTION)


def test_rows_before_signing_that_were_changed_are_read_once_and_not_once_a_row(sqlite_url: str):
    for n in range(20):
        note(Ledger(sqlite_url), n)
    begun(signed_ledger(sqlite_url))
    past_the_guards(sqlite_path(sqlite_url), "UPDATE audit_events SET actor = 'mallory' WHERE seq = 2;")  # type: ignore[arg-type]
    ledger = signed_ledger(sqlite_url)
    asked: list[str] = []
    sa.event.listen(ledger._database._started(), "before_cursor_execute", lambda *about: asked.append(about[2]))
    assert len(list(ledger.events(skip_altered=True))) == 1, "the row at which signing began"
    assert len(asked) < 15


class TestAnUnsignedRow:
    @pytest.fixture
    def ledger(self, ledger_url: str) -> Ledger:
        ledger = signed_ledger(ledger_url)
        promoted(ledger, 1)
        return ledger

    @pytest.mark.parametrize(
        ("signed", "why"),
        [
            ({}, "is not signed"),
            ({"signer": "pipeline", "signature": "00" * 64}, "the key of pipeline did not make"),
            ({"signer": "mallory", "signature": "00" * 64}, "whom ledger.signers does not name"),
        ],
    )
    def test_is_named_wherever_it_would_be_acted_on(
        self, ledger: Ledger, ledger_url: str, signed: dict[str, str], why: str
    ):
        row = append_forged(ledger_url, EventKind.AUTOMATION_RESUMED, RESUMED, subject="promotion", signed=signed)
        named = f"row {row.seq} \\(automation resumed\\).*{why}"
        for act in (
            lambda: ledger.pause(Automation.PROMOTION),
            lambda: ledger.last(EventKind.AUTOMATION_RESUMED),
            lambda: ledger.newest(EventKind.AUTOMATION_RESUMED, limit=3),
            lambda: list(ledger.events()),
            ledger.require_intact,
        ):
            with pytest.raises(RecordAltered, match=named):
                act()
        found = ledger.verify()
        assert (found.ok, found.first_bad) == (False, row.seq) and why in found.why
        assert any(why in problem for problem in ledger.weakness())

    def test_a_signature_of_another_row_does_not_count(self, ledger: Ledger, ledger_url: str):
        ledger.append(EventKind.AUTOMATION_RESUMED, actor="alice", payload=RESUMED, keys=EventKeys(subject="promotion"))
        old = list(ledger.rows())[-1]
        assert old.signer is not None and old.signature is not None
        signed = {"signer": old.signer, "signature": old.signature}
        append_forged(ledger_url, old.kind, RESUMED, subject="promotion", signed=signed)
        with pytest.raises(RecordAltered, match="did not make"):
            ledger.pause(Automation.PROMOTION)

    def test_does_not_keep_the_finding_from_being_recorded(self, ledger: Ledger, ledger_url: str):
        """Neither a forged end of a pause nor a forged finding hides that the record was altered."""
        for kind in (EventKind.RECORD_ALTERED, EventKind.AUTOMATION_RESUMED, EventKind.AUTOMATION_PAUSED):
            append_forged(ledger_url, kind, RESUMED, subject="promotion")
        with pytest.raises(RecordAltered) as altered:
            ledger.require_intact()
        ledger.stop_for(altered.value)
        rows = list(ledger.rows())[-3:]
        assert [row.kind for row in rows] == ["record_altered", "automation_paused", "automation_paused"]
        assert {row.signer for row in rows} == {"pipeline"}, "it was recorded once, by require_intact"
        heard = list(ledger.events((EventKind.RECORD_ALTERED, EventKind.AUTOMATION_PAUSED), skip_altered=True))
        assert [event.kind for event in heard] == ["record_altered", "automation_paused", "automation_paused"]

    def test_that_was_there_long_ago_is_found_by_a_reader_that_meets_it(self, ledger: Ledger, ledger_url: str):
        append_forged(ledger_url, EventKind.STATE_PUBLISHED, {"record_digest": "d"}, subject="2026-11-20")
        for n in range(3):
            note(ledger, n)
        with pytest.raises(RecordAltered, match="state published"):
            ledger.last(EventKind.STATE_PUBLISHED, subject="2026-11-20")

    def test_is_void_once_a_person_says_so(self, ledger: Ledger, ledger_url: str):
        approved(ledger, 2, day=3)
        forged = append_forged(ledger_url, EventKind.AUTOMATION_RESUMED, RESUMED, subject="promotion")
        note(ledger)
        done = ledger.void_row(forged.seq, actor="alice", channel="cli", reason="a stray process")
        assert done.payload["why"].endswith("is not signed") and done.payload["hash"] == forged.hash
        found = ledger.verify()
        assert (found.ok, found.void, found.problems) == (True, (forged.seq,), ()) and ledger.weakness() == ()
        assert forged.seq not in [event.seq for event in ledger.events()]
        assert ledger.last(EventKind.AUTOMATION_RESUMED) is None and ledger.pause(Automation.PROMOTION) is None
        again = signed_ledger(ledger_url)
        assert again.verify().ok and again.last() == ledger.last()

    def test_a_forged_release_that_is_void_leaves_the_one_before(self, ledger: Ledger, ledger_url: str):
        before = waiting(ledger, 2, day=3)
        release = {**before.model_dump(mode="json"), "state": "approved", "decided_by": "alice"}
        forged = append_forged(
            ledger_url,
            EventKind.RELEASE_MOVED,
            {"release": release, "from": "awaiting_approval", "to": "approved", "reason": ""},
            release=release,
            version=2,
            fingerprint=before.fingerprint,
            as_of=before.as_of.isoformat(),
        )
        with pytest.raises(RecordAltered, match=r"row \d+ \(release moved\) is not signed"):
            ledger.releases(ReleaseState.APPROVED)
        ledger.void_row(forged.seq, actor="alice", channel="cli", reason="forged")
        with pytest.raises(RecordAltered, match="state is approved, recorded awaiting_approval"):
            ledger.releases(ReleaseState.APPROVED)
        ledger.restore_releases(actor="alice", channel="cli", reason="forged")
        assert ledger.releases(ReleaseState.APPROVED) == [] and ledger.release_by_version(2) == before
        assert ledger.verify().ok

    def test_only_an_unsigned_row_can_be_void(self, ledger: Ledger, ledger_url: str):
        with pytest.raises(Conflict, match="not one that is unsigned"):
            ledger.void_row(2, actor="alice", channel="cli", reason="because")
        with pytest.raises(SettingsError, match="no row 9999"):
            ledger.void_row(9999, actor="alice", channel="cli", reason="because")
        forged = append_forged(ledger_url, EventKind.AUTOMATION_RESUMED, RESUMED, subject="promotion")
        append_forged(ledger_url, EventKind.ROW_VOIDED, {"row": 2, "hash": "", "kind": ""}, subject="2")
        with pytest.raises(RecordAltered, match=f"row {forged.seq} "):
            list(ledger.events())

    @pytest.mark.parametrize("how", [{"head": False}, {"stored": {"hash": ""}}, {"stored": {"hash": "a" * 64}}])
    def test_that_is_no_proper_row_either_stops_neither_the_alarm_nor_the_repair(
        self, ledger: Ledger, ledger_url: str, how: dict[str, Any]
    ):
        forged = append_forged(ledger_url, EventKind.AUTOMATION_RESUMED, RESUMED, subject="promotion", **how)
        assert ledger.weakness()
        with pytest.raises(RecordAltered):
            ledger.require_intact()
        assert [event.kind for event in ledger.events(skip_altered=True)][-3:] == [
            "record_altered",
            "automation_paused",
            "automation_paused",
        ]
        ledger.void_row(forged.seq, actor="alice", channel="cli", reason="forged")
        ledger.require_intact()
        ledger.resume(Automation.PROMOTION, actor="alice", channel="cli", reason="forged row is void")
        assert ledger.weakness() == () and signed_ledger(ledger_url).verify().void == (forged.seq,)

    def test_that_was_void_is_still_held_to_the_hash_that_it_had(self, ledger: Ledger, ledger_url: str):
        forged = append_forged(ledger_url, EventKind.AUTOMATION_RESUMED, RESUMED, stored={"hash": "a" * 64})
        ledger.void_row(forged.seq, actor="alice", channel="cli", reason="forged")
        lift_guards(ledger_url)
        run_sql(ledger_url, f"UPDATE audit_events SET hash = '{'b' * 64}' WHERE seq = {forged.seq}")
        found = ledger.verify()
        assert (found.ok, found.first_bad) == (False, forged.seq) and "declared void" in found.why

    def test_many_are_void_by_one_event_unless_a_sound_one_is_among_them(self, ledger: Ledger, ledger_url: str):
        first = append_forged(ledger_url, EventKind.RELEASE_MOVED, {}, version=1).seq
        for _ in range(2):
            append_forged(ledger_url, EventKind.RELEASE_MOVED, {}, version=1)
        note(ledger)
        with pytest.raises(Conflict, match=rf"row {first + 3} \(retrain requested\) is not one that is unsigned"):
            ledger.void_row(first, through=first + 3, actor="alice", channel="cli", reason="forged")
        with pytest.raises(SettingsError, match="no row 9999"):
            ledger.void_row(first, through=9999, actor="alice", channel="cli", reason="forged")
        done = ledger.void_row(first, through=first + 2, actor="alice", channel="cli", reason="forged")
        assert [one["seq"] for one in done.payload["rows"]] == [first, first + 1, first + 2]
        again = signed_ledger(ledger_url)
        assert again.verify().void == (first, first + 1, first + 2) and again.champion() == ledger.champion()
        with pytest.raises(Conflict, match=f"rows {first} to {first + 2} were all declared void before"):
            again.void_row(first, through=first + 2, actor="alice", channel="cli", reason="forged")

    def test_a_sound_row_is_not_void_by_settings_of_before_unless_that_is_meant(self, ledger: Ledger, ledger_url: str):
        new = {**SIGNERS, "pipeline-2": signer("pipeline-2")}
        row = signed_ledger(ledger_url, "pipeline-2", new).append(EventKind.RETRAIN_REQUESTED, actor="x", payload={})
        with pytest.raises(Conflict, match="perhaps it is the settings") as refusal:
            ledger.void_row(row.seq, actor="alice", channel="cli", reason="unknown")
        assert "--despite-signature" in str(refusal.value.remedy)
        ledger.void_row(row.seq, actor="alice", channel="cli", reason="unknown", despite_signature=True)
        assert ledger.verify().warnings == ()
        found = signed_ledger(ledger_url, "pipeline-2", new).verify()
        assert found.ok and found.void == (row.seq,)
        assert found.warnings == (f"row {row.seq} (retrain requested) was declared void, and is soundly signed",)

    def test_that_is_no_text_is_named_and_void_all_the_same(self, sqlite_url: str):
        ledger = signed_ledger(sqlite_url)
        note(ledger)
        forged = append_forged(sqlite_url, EventKind.AUTOMATION_RESUMED, RESUMED)
        columns = "payload = CAST(x'ff' AS TEXT), kind = CAST(x'1bff' AS TEXT)"
        past_the_guards(sqlite_path(sqlite_url), f"UPDATE audit_events SET {columns} WHERE seq = {forged.seq};")  # type: ignore[arg-type]
        assert ledger.verify().first_bad == forged.seq
        assert ledger.disbelieved(list(ledger.rows())) == {
            forged.seq: f"row {forged.seq} ('\\x1b\ufffd') is not signed"
        }
        ledger.void_row(forged.seq, actor="alice", channel="cli", reason="forged")
        assert ledger.verify().ok and len(list(ledger.events())) == 3

    def test_one_that_was_taken_back_with_its_transaction_is_not_remembered(self, ledger: Ledger, ledger_url: str):
        forged = append_forged(ledger_url, EventKind.AUTOMATION_RESUMED, RESUMED, subject="promotion")

        def void_and_fail(tx: Any) -> None:
            payload = {"row": forged.seq, "hash": forged.hash}
            ledger._event(tx, EventKind.ROW_VOIDED, payload, actor="alice", channel="cli")
            assert forged.seq in ledger.signed.void(tx.connection)
            raise Conflict("interrupted")

        with pytest.raises(Conflict, match="interrupted"):
            ledger._database.write(void_and_fail)
        note_refused = ledger.verify()
        assert (note_refused.first_bad, note_refused.void) == (forged.seq, ())


class TestKeys:
    def test_are_replaced_one_after_the_other(self, ledger_url: str):
        note(signed_ledger(ledger_url))
        through = signed_ledger(ledger_url).head().seq
        both = {**SIGNERS, "pipeline": signer("pipeline", through=through), "pipeline-2": signer("pipeline-2")}
        note(signed_ledger(ledger_url, "pipeline-2", both))
        assert Ledger(ledger_url, signed=only_public(both)).verify().ok
        with pytest.raises(SettingsError, match=f"good up to row {through}"):
            note(signed_ledger(ledger_url, "pipeline", both))
        # The old key is out in the world: what it signs after its row counts for nothing.
        note(signed_ledger(ledger_url))
        found = Ledger(ledger_url, signed=only_public(both)).verify()
        assert (found.ok, found.first_bad) == (False, through + 2) and "good up to row" in found.why

    def test_that_is_no_longer_listed_makes_its_rows_unbelievable(self, ledger_url: str):
        ledger = signed_ledger(ledger_url)
        note(ledger)
        other = {**SIGNERS, "pipeline": signer("another")}
        with pytest.raises(SettingsError, match="no row, signed by one of them"):
            list(Ledger(ledger_url, signed=only_public(other)).events())


def test_a_row_that_was_changed_in_the_file_is_found_by_the_reader_that_meets_it(sqlite_url: str):
    ledger = signed_ledger(sqlite_url)
    for n in range(3):
        note(ledger, n)
    list(ledger.events())
    past_the_guards(sqlite_path(sqlite_url), "UPDATE audit_events SET payload = '{\"n\":9}' WHERE seq = 3;")  # type: ignore[arg-type]
    with pytest.raises(RecordAltered, match=r"row 3 .* its content does not give its hash"):
        list(ledger.events())


def test_every_change_of_a_signature_is_found_at_its_row(ledger_url: str):
    ledger = signed_ledger(ledger_url)
    for n in range(3):
        note(ledger, n)
    rows = list(ledger.rows())
    changes = ("signature = NULL", "signer = NULL", "signer = 'page'", "signer = 'x'", "signature = upper(signature)")
    lift_guards(ledger_url)
    for row in (rows[0], rows[2]):
        for change in changes:
            run_sql(ledger_url, f"UPDATE audit_events SET {change} WHERE seq = {row.seq}")
            found = signed_ledger(ledger_url).verify()
            # Without the row that says so, no row is known from which on they are signed.
            assert (NOT_BEGUN in found.guards) if row.seq == 1 else (found.first_bad == row.seq), change
            put_back(ledger_url, rows)
    assert signed_ledger(ledger_url).verify().first_bad is None


def test_every_history_of_releases_is_signed_as_it_was_without(ledger_url: str):
    """The columns of a row that were hashed before are hashed as before."""
    ledger = Ledger(ledger_url, signed=signing_as("pipeline"))
    promoted(ledger, 1, day=1)
    promoted(ledger, 2, day=3, expected=1)
    waiting(ledger, 3, day=5)
    assert ledger.verify(ledger.head()).ok
    assert [str(one.state) for one in ledger.releases()] == ["superseded", "promoted", "awaiting_approval"]


def test_the_guards_let_nobody_take_a_signature_away(sqlite_url: str):
    note(signed_ledger(sqlite_url))
    with (
        closing(sqlite3.connect(sqlite_path(sqlite_url))) as raw,
        pytest.raises(sqlite3.IntegrityError, match="append"),
    ):
        raw.execute("UPDATE audit_events SET signature = NULL")
