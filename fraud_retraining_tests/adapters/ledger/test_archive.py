"""Old events leave the ledger whole, and what is left still shows every change."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from fraud_retraining.adapters.ledger import statements
from fraud_retraining.adapters.ledger.archive import Archives, ArchivingLedger, rows_table, table_rows
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.signed_rows import SignedRows
from fraud_retraining.domain.audit.archiving import Archived
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.ledger.hash_chain import Head
from fraud_retraining.domain.retraining.pauses import Automation
from fraud_retraining.domain.values.errors import IntegrityError, RecordAltered, SettingsError
from fraud_retraining_tests.support.ledgers import opened, promoted
from fraud_retraining_tests.support.signing import SIGNERS, append_forged, signed_ledger, signing_as
from fraud_retraining_tests.support.tampering import lift_guards, run_sql, tamper

pytest_plugins = ("fraud_retraining_tests.support.databases",)

DAYS = 400


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the database's clock so many days back."""
    real = dict(statements.CLOCKS)

    def back(days: int) -> None:
        then = datetime.now(UTC) - timedelta(days=days)
        for dialect in real:
            clock = f"SELECT '{then:%Y-%m-%dT%H:%M:%S.000Z}'"
            monkeypatch.setitem(statements.CLOCKS, dialect, clock if days else real[dialect])

    return back


def noted(ledger: Ledger, count: int = 1) -> None:
    for n in range(count):
        ledger.append(EventKind.RETRAIN_REQUESTED, actor="cron", payload={"n": n})


@pytest.fixture
def aged(ledger: Ledger, at: Callable[[int], None]) -> Ledger:
    """Version 1 served two years ago, 2 replaced it and was replaced by 3 a year and a half ago, 4 a month ago."""
    at(800)
    noted(ledger, 3)
    promoted(ledger, 1, day=1)
    at(700)
    promoted(ledger, 2, day=3, expected=1)
    at(620)
    noted(ledger, 2)
    at(600)
    promoted(ledger, 3, day=5, expected=2)
    at(30)
    promoted(ledger, 4, day=7, expected=3)
    at(0)
    return ledger


def move_out(url: str, folder: Path, days: int = DAYS) -> Archived | None:
    return ArchivingLedger(url).move_out(folder, days, actor="olga", channel="command line")


def test_rows_survive_the_way_through_a_table(sqlite_ledger: Ledger):
    promoted(sqlite_ledger, 1)
    rows = list(sqlite_ledger.rows())
    assert list(table_rows(rows_table(rows))) == rows
    assert list(table_rows(rows_table([]))) == []


def test_what_is_old_goes_and_the_rest_verifies(aged: Ledger, ledger_url: str, tmp_path: Path):
    before = list(aged.rows())
    head = aged.head()
    archived = move_out(ledger_url, tmp_path / "archive")
    assert archived is not None
    left = list(aged.rows())
    assert (archived.first, left[0].seq, left[0].prev_hash) == (1, archived.through.seq + 1, archived.through.hash)
    assert left[:-1] == before[archived.through.seq :]
    assert (left[-1].kind, left[-1].actor) == ("history_archived", "olga")
    verification = aged.verify(head)
    assert verification.ok, verification.why
    assert (verification.archived, verification.count) == (archived.through.seq, head.seq + 1)


def test_the_history_of_the_champion_and_of_the_one_before_it_stays_however_old(
    aged: Ledger, ledger_url: str, tmp_path: Path
):
    move_out(ledger_url, tmp_path)
    versions = {row.version for row in aged.rows()}
    assert {3, 4} <= versions and 1 not in versions
    assert next(event.kind for event in aged.events(version=3)) == "version_registered"


def test_the_archive_and_what_is_left_are_one_chain(aged: Ledger, ledger_url: str, tmp_path: Path):
    before = list(aged.rows())
    early = Head(seq=2, hash=before[1].hash)
    archived = move_out(ledger_url, tmp_path)
    assert archived is not None
    with pytest.raises(SettingsError, match="row 2 was archived"):
        aged.verify(early)
    assert aged.verify(early, archive=Archives(tmp_path)).ok
    assert list(Archives(tmp_path)) == before[: archived.through.seq]
    assert aged.verify(archived.through).ok
    assert aged.verify(archived.through.model_copy(update={"hash": "0" * 64})).first_bad == archived.through.seq


def test_archiving_again_goes_on_where_it_stopped(aged: Ledger, ledger_url: str, tmp_path: Path):
    first = move_out(ledger_url, tmp_path, days=650)
    assert first is not None
    assert move_out(ledger_url, tmp_path, days=650) is None
    second = move_out(ledger_url, tmp_path)
    assert second is not None and second.first == first.through.seq + 1
    assert set(first.releases) <= set(second.releases)
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    assert aged.verify().ok and aged.verify(archive=Archives(tmp_path)).ok


def test_nothing_is_that_old(ledger: Ledger, ledger_url: str, tmp_path: Path):
    promoted(ledger, 1)
    assert move_out(ledger_url, tmp_path / "archive") is None
    assert not (tmp_path / "archive").exists()


def test_the_record_is_as_hard_to_rewrite_afterwards(aged: Ledger, ledger_url: str, tmp_path: Path):
    move_out(ledger_url, tmp_path)
    last = aged.head().seq
    for statement in (
        f"DELETE FROM audit_events WHERE seq = {last}",
        f"UPDATE audit_events SET actor = 'mallory' WHERE seq = {last}",
    ):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            run_sql(ledger_url, statement)
    noted(aged)
    assert aged.verify().ok


def test_a_rolled_back_archiving_leaves_rows_and_guards(
    aged: Ledger, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = list(aged.rows())
    monkeypatch.setattr(ArchivingLedger, "_event", _killed)
    with pytest.raises(KeyboardInterrupt):
        move_out(ledger_url, tmp_path)
    assert list(aged.rows()) == before
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        run_sql(ledger_url, "DELETE FROM audit_events WHERE seq = 1")


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("left_of_the_cut", [0, 1, 2])
def test_rows_missing_after_the_cut_are_named(aged: Ledger, ledger_url: str, tmp_path: Path, left_of_the_cut: int):
    archived = move_out(ledger_url, tmp_path)
    assert archived is not None
    seq = archived.through.seq + 1 + left_of_the_cut
    tamper(ledger_url, f"DELETE FROM audit_events WHERE seq = {seq}")
    assert aged.verify().first_bad == seq


def test_a_beginning_that_no_archiving_accounts_for_is_named(aged: Ledger, ledger_url: str):
    tamper(ledger_url, "DELETE FROM audit_events WHERE seq < 6")
    assert aged.verify().first_bad == 1


def test_an_archiving_that_was_made_up_accounts_for_nothing(aged: Ledger, ledger_url: str):
    """Somebody who can add events, and delete, says that yesterday's rows were archived."""
    rows = list(aged.rows())
    through = Head(seq=rows[-2].seq, hash=rows[-2].hash)
    now = datetime.now(UTC)
    forged = {"first": 1, "through": through, "oldest": now, "newest": now, "retention_days": 365}
    aged.append(
        EventKind.HISTORY_ARCHIVED, actor="olga", payload={**forged, "file": "", "file_digest": "", "releases": {}}
    )
    tamper(ledger_url, f"DELETE FROM audit_events WHERE seq <= {through.seq}")
    assert aged.verify().first_bad == 1


@pytest.mark.parametrize("field", ["through", "newest", "releases"])
def test_an_edited_archiving_is_found(aged: Ledger, ledger_url: str, tmp_path: Path, field: str):
    move_out(ledger_url, tmp_path)
    tamper(
        ledger_url,
        f"UPDATE audit_events SET payload = replace(payload, '{field}', 'x') WHERE kind = 'history_archived'",
    )
    assert not aged.verify().ok


def test_a_release_whose_events_went_is_still_checked(aged: Ledger, ledger_url: str, tmp_path: Path):
    archived = move_out(ledger_url, tmp_path)
    assert archived is not None and "fraud_detector/1" in archived.releases
    tamper(ledger_url, "UPDATE releases SET decided_by = 'mallory' WHERE version = 1")
    verification = aged.verify()
    assert not verification.ok and "version 1" in verification.why


def test_an_archive_that_was_changed_is_found(aged: Ledger, ledger_url: str, tmp_path: Path):
    move_out(ledger_url, tmp_path)
    (file,) = tmp_path.glob("*.parquet")
    rows = list(table_rows(pq.read_table(file)))
    rows[1] = rows[1]._replace(actor="mallory")
    pq.write_table(rows_table(rows), file)
    assert aged.verify(archive=Archives(tmp_path)).first_bad == 2


def test_a_changed_record_is_not_archived(aged: Ledger, ledger_url: str, tmp_path: Path):
    tamper(ledger_url, "UPDATE audit_events SET actor = 'mallory' WHERE seq = 2")
    with pytest.raises(IntegrityError, match="row 2 is not what was written"):
        move_out(ledger_url, tmp_path)
    assert aged.verify().first_bad == 2


def test_without_its_guard_nothing_is_removed(aged: Ledger, ledger_url: str, tmp_path: Path):
    lift_guards(ledger_url)
    with pytest.raises(IntegrityError, match="guard"):
        move_out(ledger_url, tmp_path)
    found = aged.verify()
    assert found.first_bad is None and not found.releases and all("the guard" in problem for problem in found.guards)


def test_a_pause_that_stands_stays_and_one_that_ended_goes(
    ledger: Ledger, ledger_url: str, tmp_path: Path, at: Callable[[int], None]
):
    at(600)
    ledger.append(EventKind.AUTOMATION_PAUSED, actor="alice", keys=EventKeys(subject="retraining"))
    at(590)
    ledger.append(
        EventKind.AUTOMATION_PAUSED,
        actor="alice",
        keys=EventKeys(subject="promotion"),
        payload={"reason": "an incident"},
    )
    noted(ledger)
    at(500)
    ledger.append(EventKind.AUTOMATION_RESUMED, actor="alice", keys=EventKeys(subject="retraining"))
    at(0)
    archived = move_out(ledger_url, tmp_path)
    assert archived is not None and archived.through.seq == 1
    left = next(iter(ledger.rows()))
    assert (left.kind, left.subject) == ("automation_paused", "promotion")
    assert ledger.pause(Automation.PROMOTION) is not None and ledger.pause(Automation.RETRAINING) is None
    assert ledger.verify().ok


def test_two_models_share_one_archive(aged: Ledger, ledger_url: str, tmp_path: Path, at: Callable[[int], None]):
    other = Ledger(ledger_url, model="account_takeover")
    at(500)
    opened(other, 1)
    at(0)
    archived = move_out(ledger_url, tmp_path)
    assert archived is not None
    assert [row.kind for row in other.rows()] == ["version_registered"], "it is open, so its story stays"
    assert aged.verify().ok


class TestSigned:
    """Signatures, the row at which signing began, and rows that are void go into archives like everything else."""

    @pytest.fixture
    def signed(self, ledger_url: str, at: Callable[[int], None]) -> Ledger:
        """Three rows that nobody signed, signing that began, a row that is void, and a release of each age."""
        at(800)
        noted(Ledger(ledger_url), 3)
        ledger = signed_ledger(ledger_url)
        ledger.begin_signing(actor="alice", channel="cli", reason="keys are there")
        stray = append_forged(ledger_url, EventKind.AUTOMATION_RESUMED, {}, at=ledger.now().isoformat()).seq
        ledger.void_row(stray, actor="alice", channel="cli", reason="a stray process")
        promoted(ledger, 1, day=1)
        at(30)
        promoted(ledger, 2, day=3, expected=1)
        at(0)
        return ledger

    def archiving(self, url: str, folder: Path, days: int = DAYS) -> Archived | None:
        ledger = ArchivingLedger(url, signed=signing_as("pipeline"))
        return ledger.move_out(folder, days, actor="olga", channel="command line")

    def test_a_forged_release_row_that_is_void_keeps_nothing_and_hides_nothing(
        self, ledger_url: str, tmp_path: Path, at: Callable[[int], None]
    ):
        signed = signed_ledger(ledger_url)
        at(800)
        promoted(signed, 1, day=1)
        # Younger than the cut by its own word, and about a release that will serve.
        early = append_forged(ledger_url, EventKind.AUTOMATION_RESUMED, {}, fingerprint="f4", stored={"at": "no time"})
        signed.void_row(early.seq, actor="alice", channel="cli", reason="forged")
        for version in (2, 3):
            promoted(signed, version, day=version, expected=version - 1)
        at(30)
        promoted(signed, 4, day=7, expected=3)
        bad = append_forged(
            ledger_url, EventKind.RELEASE_MOVED, {}, version=1, fingerprint="f1", stored={"at": "no time", "hash": ""}
        )
        signed.void_row(bad.seq, actor="alice", channel="cli", reason="forged")
        archived = self.archiving(ledger_url, tmp_path)
        assert archived is not None and list(archived.releases) == ["fraud_detector/1"]
        reader = Ledger(ledger_url, signed=SignedRows(SIGNERS))
        assert [one.version for one in reader.releases()] == [1, 2, 3, 4]
        for found in (reader.verify(), reader.verify(archive=Archives(tmp_path))):
            assert (found.ok, found.void) == (True, (early.seq, bad.seq)), found.problems

    def test_what_is_left_is_read_and_verified_without_the_row_at_which_signing_began(
        self, signed: Ledger, ledger_url: str, tmp_path: Path, at: Callable[[int], None]
    ):
        promoted(signed, 3, day=5, expected=2)
        archived = self.archiving(ledger_url, tmp_path)
        assert archived is not None and archived.signing_began is not None
        assert (archived.signing_began.seq, [one.seq for one in archived.void]) == (4, [5]) and archived.through.seq > 5
        reader = Ledger(ledger_url, signed=SignedRows(SIGNERS))
        found = reader.verify()
        assert (found.ok, found.signed_from, found.archived) == (True, 4, archived.through.seq), found.problems
        whole = reader.verify(archive=Archives(tmp_path))
        assert (whole.ok, whole.void) == (True, (5,)), whole.problems
        champion = reader.champion()
        assert champion is not None and champion.version == 3
        noted(signed_ledger(ledger_url))
        assert reader.verify().ok
        append_forged(ledger_url, EventKind.HISTORY_ARCHIVED, archived.model_dump(mode="json"))
        assert not reader.verify().ok

    def test_an_archive_that_was_changed_is_found(self, signed: Ledger, ledger_url: str, tmp_path: Path):
        promoted(signed, 3, day=5, expected=2)
        self.archiving(ledger_url, tmp_path)
        (file,) = tmp_path.glob("*.parquet")
        rows = list(table_rows(pq.read_table(file)))
        last = rows[-1].signature or ""
        rows[-1] = rows[-1]._replace(signature=last[::-1])
        pq.write_table(rows_table(rows), file)
        found = signed.verify(archive=Archives(tmp_path))
        assert (found.ok, found.first_bad) == (False, rows[-1].seq) and "did not make" in found.why

    def test_nothing_is_archived_beside_a_row_that_is_not_signed(self, signed: Ledger, ledger_url: str, tmp_path: Path):
        promoted(signed, 3, day=5, expected=2)
        put = tmp_path / "archive"
        old = signed.now() - timedelta(days=700)
        append_forged(ledger_url, EventKind.AUTOMATION_RESUMED, {}, at=old.isoformat())
        with pytest.raises(RecordAltered, match="is not signed"):
            self.archiving(ledger_url, put)
        assert not put.exists() or not list(put.glob("*.parquet"))
