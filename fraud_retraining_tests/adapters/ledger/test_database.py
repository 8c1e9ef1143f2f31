"""What a database does under the ledger: starting up together, waiting, restarting, and being out of reach."""

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from fraud_retraining.adapters.ledger import engines, migrations
from fraud_retraining.adapters.ledger.database import Database
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.tables import METADATA
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.values.errors import (
    Conflict,
    DependencyUnreachable,
    IntegrityError,
    SettingsError,
)
from fraud_retraining_tests.support.ledgers import append_many, sqlite_path

pytest_plugins = ("fraud_retraining_tests.support.databases",)


def append(ledger: Ledger, n: int = 0) -> int:
    return ledger.append(EventKind.RETRAIN_REQUESTED, actor="cron", payload={"n": n}).seq


def in_processes(count: int, url: str, each: int) -> None:
    """`count` processes, each starting on its own, append `each` events."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(count)
    workers = [spawn.Process(target=append_many, args=(url, n, each, barrier)) for n in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * count


def test_the_migrations_give_the_tables_that_the_statements_expect(ledger: Ledger, ledger_url: str):
    append(ledger)
    engine = sa.create_engine(engines.driver_url(ledger_url))
    with engine.connect() as connection:
        options = {
            "include_name": lambda name, kind, _: (
                kind not in {"index", "unique_constraint"} and name != migrations.VERSION_TABLE
            )
        }
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []
    engine.dispose()


def test_the_revision_that_is_known_without_alembic_is_the_last_one():
    assert ScriptDirectory(os.path.dirname(str(migrations.__file__))).get_current_head() == migrations.HEAD


def test_two_processes_that_start_on_nothing_both_succeed_and_leave_one_whole_chain(ledger_url: str):
    in_processes(2, ledger_url, 50)
    ledger = Ledger(ledger_url)
    verification = ledger.verify()
    assert verification.ok and verification.count == 100
    written = [(event.actor, event.payload["n"]) for event in ledger.events()]
    for actor in ("writer 0", "writer 1"):
        assert [n for who, n in written if who == actor] == list(range(50))


def test_many_threads_share_one_ledger(ledger: Ledger):
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda n: append(ledger, n), range(40))) == list(range(1, 41))
    assert ledger.verify().count == 40


def test_nothing_is_touched_before_the_first_use(tmp_path: Path):
    Ledger(f"sqlite:///{tmp_path}/deep/ledger.db")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_ledger_does_not_import_sqlalchemy():
    code = "import sys, fraud_retraining.adapters.ledger.ledger; sys.exit('sqlalchemy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
def test_an_up_to_date_ledger_opens_without_alembic(ledger: Ledger, ledger_url: str):
    append(ledger)
    code = (
        "import sys; from fraud_retraining.adapters.ledger.ledger import Ledger; "
        "assert Ledger(sys.argv[1]).head().seq == 1; sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, ledger_url], check=True, timeout=60)


def test_a_ledger_of_a_newer_version_is_left_alone(sqlite_ledger: Ledger, sqlite_url: str):
    append(sqlite_ledger)
    with sqlite3.connect(sqlite_path(sqlite_url)) as raw:
        raw.execute(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(SettingsError, match="written by another version"):
        Ledger(sqlite_url).head()


def test_a_writer_waits_for_another_writer(sqlite_ledger: Ledger, sqlite_url: str):
    append(sqlite_ledger)
    raw = sqlite3.connect(sqlite_path(sqlite_url), isolation_level=None, check_same_thread=False)
    raw.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, raw.rollback).start()
    assert append(sqlite_ledger) == 2


def test_a_ledger_that_stays_locked_is_unreachable_in_the_end(
    sqlite_ledger: Ledger, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
):
    append(sqlite_ledger)
    monkeypatch.setattr(engines, "BUSY_SECONDS", 0.1)
    raw = sqlite3.connect(sqlite_path(sqlite_url), isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(DependencyUnreachable, match="locked") as failure:
        append(Ledger(sqlite_url, patience=1))
    assert time.monotonic() - began < 5 and failure.value.exit_code == 7
    assert Ledger(sqlite_url, patience=1).head().seq == 1, "readers do not wait for the writer"
    raw.close()


@pytest.mark.parametrize("content", [b"not a database, but long enough to be taken for one" * 100])
def test_a_file_that_is_no_ledger_is_not_taken_for_an_empty_one(tmp_path: Path, content: bytes):
    (tmp_path / "ledger.db").write_bytes(content)
    with pytest.raises(IntegrityError, match="is damaged"):
        Ledger(f"sqlite:///{tmp_path}/ledger.db").head()
    assert (tmp_path / "ledger.db").read_bytes() == content


def test_a_folder_that_cannot_be_made_is_unreachable_at_once(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DependencyUnreachable, match="cannot be used"):
        Ledger(f"sqlite:///{tmp_path}/file/ledger.db").head()


def test_a_full_disk_is_a_clean_failure_and_the_next_try_works(
    sqlite_ledger: Ledger, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
):
    append(sqlite_ledger)

    def without_room(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA max_page_count = 1")

    with monkeypatch.context() as patched:
        patched.setattr(engines, "_prepare_sqlite", without_room)
        cramped = Ledger(sqlite_url)
        with pytest.raises(DependencyUnreachable, match="full"):
            cramped.append(EventKind.RETRAIN_REQUESTED, actor="cron", payload={"long": "x" * 1_000_000})
    assert append(sqlite_ledger) == 2
    assert sqlite_ledger.verify().ok


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://u:hunter2@h/d", "no url, hunter2", ""])
def test_a_place_where_no_ledger_can_be_kept_is_refused_without_its_password(url: str):
    with pytest.raises(SettingsError) as refusal:
        Ledger(url).head()
    assert "hunter2" not in str(refusal.value)


def test_an_unreachable_server_is_reported_without_its_password():
    ledger = Ledger("postgresql://ledger:hunter2@127.0.0.1:1/fraud", patience=0.3)
    with pytest.raises(DependencyUnreachable) as failure:
        ledger.head()
    assert "postgresql+psycopg://ledger:***@127.0.0.1:1/fraud" not in str(failure.value)
    assert "postgresql+psycopg://***@127.0.0.1:1/fraud" in str(failure.value)
    assert "hunter2" not in str(failure.value)


def test_a_wrong_password_is_not_tried_again(postgres_url: str):
    url = sa.make_url(postgres_url).set(password="hunter2").render_as_string(hide_password=False)
    began = time.monotonic()
    with pytest.raises(DependencyUnreachable, match="password authentication failed"):
        Ledger(url, patience=30).head()
    assert time.monotonic() - began < 10


def test_a_restart_of_the_server_loses_no_event_and_doubles_none(postgres, postgres_url: str):
    ledger = Ledger(postgres_url, patience=60)
    append(ledger, -1)
    acknowledged: list[int] = []

    def write() -> None:
        for n in range(60):
            append(ledger, n)
            acknowledged.append(n)

    writer = threading.Thread(target=write)
    writer.start()
    while len(acknowledged) < 10:
        time.sleep(0.01)
    postgres.stop()
    postgres.start()
    writer.join(90)
    assert [event.payload["n"] for event in ledger.events()] == list(range(-1, 60))
    assert ledger.verify().ok


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_commit_without_an_answer_is_neither_lost_nor_done_twice(sqlite_url: str, lost: str):
    store = Database(sqlite_url, patience=10)
    Ledger(sqlite_url).head()
    engine = store._started()
    answers = iter([True, False, False])

    def hang_up(dialect: object, connection: sqlite3.Connection) -> None:
        if next(answers):
            if lost == "after":
                connection.commit()
            raise sqlite3_busy()

    engine.dialect.do_commit = lambda connection: (hang_up(engine.dialect, connection), connection.commit())[1]
    seq = store.write(
        lambda tx: (
            tx.append(
                model="m",
                kind="k",
                actor="a",
                channel="c",
                subject=None,
                as_of=None,
                version=None,
                fingerprint=None,
                payload="{}",
            ).seq
        )
    )
    assert seq == 1
    assert Ledger(sqlite_url).verify().count == 1


def sqlite3_busy() -> sqlite3.OperationalError:
    """The error that SQLite gives for a database that another process has locked."""
    one, other = sqlite3.connect("file:busy?mode=memory&cache=shared", uri=True), None
    one.isolation_level = None
    one.execute("BEGIN EXCLUSIVE")
    other = sqlite3.connect("file:busy?mode=memory&cache=shared", uri=True, timeout=0)
    try:
        other.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        return error
    finally:
        one.close()
        other.close()
    raise AssertionError("the database was not locked")


def test_a_lock_is_held_by_one_and_ends_with_it(ledger: Ledger, ledger_url: str):
    other = Ledger(ledger_url)
    with ledger.promotion_lock():
        with pytest.raises(Conflict, match="another process has held"), other.promotion_lock(wait=0.3):
            pass
        assert append(other) == 1, "the lock is no obstacle to the record"
    with other.promotion_lock(wait=0.3):
        pass


@pytest.mark.slow
def test_a_lock_of_a_killed_process_is_free(ledger: Ledger, ledger_url: str):
    code = (
        "import sys, time; from fraud_retraining.adapters.ledger.ledger import Ledger\n"
        "with Ledger(sys.argv[1]).promotion_lock(): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, ledger_url], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(Conflict), ledger.promotion_lock(wait=0.2):
        pass
    holder.kill()
    holder.wait(10)
    holder.stdout.close()
    with ledger.promotion_lock(wait=10):
        pass
