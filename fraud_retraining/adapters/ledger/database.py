"""The ledger's database: its tables, its transactions, and what an unreachable one looks like.

Here: SQLite and PostgreSQL through SQLAlchemy Core: connecting, migrating, serialising writers, retrying what passes by
itself, and the few statements that the ledger is made of. Not here: what is recorded and why
(`adapters/ledger/ledger.py`). Importing this module imports SQLAlchemy, which is slow: import it inside functions.
"""

import importlib.util
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.pool import NullPool

from fraud_retraining.adapters.ledger import migrations
from fraud_retraining.adapters.storage.private_files import private_file
from fraud_retraining.domain.audit.record_checks import record_altered
from fraud_retraining.domain.ledger.events import RELEASE_KINDS, Head, Row, chained
from fraud_retraining.domain.values.errors import (
    Conflict,
    DependencyUnreachable,
    IntegrityError,
    SettingsError,
)
from fraud_retraining.domain.values.redaction import redact

T = TypeVar("T")

METADATA = sa.MetaData()
SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

EVENTS = sa.Table(
    "audit_events",
    METADATA,
    sa.Column("seq", SEQ, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("at", "model", "kind", "actor", "channel")),
    *(sa.Column(name, sa.Text) for name in ("subject", "as_of")),
    sa.Column("version", sa.Integer),
    sa.Column("fingerprint", sa.Text),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("payload", "txn", "prev_hash", "hash")),
)
HEAD = sa.Table(
    "ledger_head",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", SEQ, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
RELEASES = sa.Table(
    "releases",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    *(
        sa.Column(name, sa.Text, nullable=False)
        for name in (
            "fingerprint",
            "as_of",
            "trigger",
            "state",
            "artifact_digest",
            "verdict_digest",
            "requested_by",
            "reason",
            "opened_at",
            "moved_at",
            "moved_by",
        )
    ),
    *(
        sa.Column(name, sa.Text)
        for name in (
            "deadline",
            "first_approval_by",
            "decided_by",
            "decided_via",
            "decided_at",
            "promoted_at",
            "needs_human",
            "floors_missed",
        )
    ),
    sa.Column("verdict_passed", sa.Boolean, nullable=False),
    sa.Column("champion_before", sa.Integer),
    sa.Column("intent", SEQ),
)
LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("token", SEQ, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("owner", "detail", "taken_at", "seen_at", "expires_at")),
)
NOTICES = sa.Table(
    "notices",
    METADATA,
    sa.Column("id", SEQ, primary_key=True),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("model", "dedup_key", "category", "severity", "notice")),
    sa.Column("seen", sa.Integer, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("opened_at", "seen_at")),
    sa.Column("resolved_at", sa.Text),
)
DELIVERIES = sa.Table(
    "deliveries",
    METADATA,
    sa.Column("id", SEQ, primary_key=True),
    sa.Column("notice_id", SEQ, sa.ForeignKey("notices.id"), nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("destination", "action", "message")),
    sa.Column("attempts", sa.Integer, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("created_at", "due_at")),
    *(sa.Column(name, sa.Text) for name in ("claimed_until", "delivered_at", "given_up_at", "receipt", "error")),
)
USED_LINKS = sa.Table(
    "used_links",
    METADATA,
    sa.Column("nonce", sa.Text, primary_key=True),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("used_at", "used_by")),
)

CLOCKS = {
    "sqlite": "SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
    "postgresql": """SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
}
BUSY_SECONDS = 5
CONNECT_SECONDS = 5
MIGRATION_LOCK = 0x66726175645F6C67
# 08: connection; 53300: too many clients; 57P0x: shutting down or starting; the rest: lock contention
TRANSIENT_STATES = ("08", "40001", "40P01", "53300", "55P03", "57P01", "57P02", "57P03")
STARTING = ("starting up", "shutting down", "recovery", "too many")


class Transaction:
    """One open write: nobody else appends until it ends."""

    def __init__(self, connection: sa.Connection, txn: str, head: Head) -> None:
        self.connection = connection
        self.txn = txn
        self.head = head
        self.now = clock(connection)

    def append(self, **columns: Any) -> Row:
        """Chain one row to the head."""
        seq, before = self.head.seq + 1, self.head.hash
        row = chained(Row(seq=seq, at=self.now, txn=self.txn, prev_hash=before, hash="", **columns))
        self.connection.execute(EVENTS.insert().values(row._asdict()))
        self.connection.execute(HEAD.update().values(seq=row.seq, hash=row.hash))
        self.head = Head(seq=row.seq, hash=row.hash)
        return row

    def insert_release(self, row: Mapping[str, Any]) -> None:
        """The first row of a release."""
        self.connection.execute(RELEASES.insert().values(dict(row)))

    def update_release(self, row: Mapping[str, Any]) -> None:
        """The current row of a release, in place of the one before."""
        where = (RELEASES.c.model == row["model"]) & (RELEASES.c.version == row["version"])
        self.connection.execute(RELEASES.update().where(where).values(dict(row)))

    def delete_release(self, row: Mapping[str, Any]) -> None:
        """Remove a row of the table of releases; its guard refuses that, unless it was lifted."""
        where = (RELEASES.c.model == row["model"]) & (RELEASES.c.version == row["version"])
        self.connection.execute(RELEASES.delete().where(where))

    def used_link(self, nonce: str) -> dict[str, Any] | None:
        """When and by whom a link was used, if it was."""
        row = self.connection.execute(sa.select(USED_LINKS).where(USED_LINKS.c.nonce == nonce)).one_or_none()
        return dict(row._mapping) if row is not None else None

    def use_link(self, nonce: str, by: str) -> None:
        """Use up a link."""
        self.connection.execute(USED_LINKS.insert().values(nonce=nonce, used_at=self.now, used_by=by))

    def save_lease(self, row: Mapping[str, Any]) -> None:
        """A lease as it now is, in place of what was there."""
        known = self.connection.execute(LEASES.update().where(LEASES.c.name == row["name"]).values(dict(row)))
        if not known.rowcount:
            self.connection.execute(LEASES.insert().values(dict(row)))


class Database:
    """A ledger's database. Nothing is touched before the first read or write, which creates or migrates it."""

    def __init__(self, url: str, patience: float) -> None:
        self._url = _driver_url(url)
        self.shown = redact(self._url.render_as_string(hide_password=True))
        self._patience = patience
        self._engine: sa.Engine | None = None
        self._starting = threading.Lock()

    def write(self, work: Callable[[Transaction], T]) -> T:
        """The result of `work` in one transaction that excludes every other writer.

        A transaction whose COMMIT got no answer is not done twice: the next attempt first looks for it.
        """
        txn = uuid4().hex
        answers: list[T] = []

        def attempt() -> T:
            with self._connect() as connection, connection.execution_options(ledger_write=True).begin():
                head = _lock_head(connection)
                if answers and _has(connection, txn):
                    return answers[-1]
                answers.append(work(Transaction(connection, txn, head)))
            return answers[-1]

        return self._patiently(attempt)

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """The result of `work` on one consistent state of the database."""

        def attempt() -> T:
            with self._connect() as connection, connection.begin():
                return work(connection)

        return self._patiently(attempt)

    @contextmanager
    def exclusive(self, name: str, wait: float) -> Iterator[None]:
        """Hold a lock that ends with this process, whatever ends it.

        Raises:
            Conflict: another process has held it for `wait` seconds.
        """
        self._started()
        holding = self._hold_file(name, wait) if self._url.get_backend_name() == "sqlite" else self._hold(name, wait)
        with holding:
            yield

    @contextmanager
    def _hold_file(self, name: str, wait: float) -> Iterator[None]:
        path = f"{self._url.database}.{name.replace(os.sep, '-')}.lock"
        held = sqlite3.connect(path, timeout=wait, isolation_level=None)
        try:
            held.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            held.close()
            if _sqlite_code(error) == sqlite3.SQLITE_BUSY:
                raise _busy(name, wait) from error
            raise DependencyUnreachable(f"the lock {path} cannot be taken: {error}") from error
        try:
            yield
        finally:
            held.close()

    @contextmanager
    def _hold(self, name: str, wait: float) -> Iterator[None]:
        connection = self._patiently(lambda: _with_advisory(self._connect(), name, wait))
        try:
            yield
        finally:
            # a lost connection has given the lock back already
            with suppress(exc.DBAPIError):
                connection.close()

    def _connect(self) -> sa.Connection:
        return self._started().connect()

    def _started(self) -> sa.Engine:
        with self._starting:
            if self._engine is None:
                self._engine = self._patiently(lambda: _migrated(self._url, self.shown))
            return self._engine

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Try until it succeeds, fails for good, or patience ends."""
        deadline = time.monotonic() + self._patience
        pause = 0.05
        while True:
            try:
                return attempt()
            except (exc.DBAPIError, OSError) as error:
                if not _passes(error) or time.monotonic() + pause > deadline:
                    raise _failure(error, self.shown) from error
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 1.0)


def head(connection: sa.Connection) -> Head:
    """The last row of the chain, as the head row tells it."""
    told = stated_head(connection)
    if told is None:
        raise record_altered(["it has lost its head row"])
    return told


def stated_head(connection: sa.Connection) -> Head | None:
    """What the head row tells, if there is one."""
    row = connection.execute(sa.select(HEAD.c.seq, HEAD.c.hash)).first()
    return Head(seq=row.seq, hash=row.hash) if row is not None else None


def events(
    connection: sa.Connection,
    where: Mapping[str, Any],
    *,
    after: int = 0,
    limit: int | None = None,
    newest: bool = False,
) -> Iterator[Row]:
    """Rows of the chain whose columns have the given values (or one of them, for a sequence)."""
    statement = sa.select(EVENTS).where(EVENTS.c.seq > after, *_conditions(EVENTS, where))
    statement = statement.order_by(EVENTS.c.seq.desc() if newest else EVENTS.c.seq).limit(limit)
    return (Row(*row) for row in connection.execute(statement.execution_options(yield_per=1000)))


def releases(connection: sa.Connection, where: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Current rows of releases, by version."""
    statement = sa.select(RELEASES).where(*_conditions(RELEASES, where)).order_by(RELEASES.c.model, RELEASES.c.version)
    return [dict(row._mapping) for row in connection.execute(statement)]


def last_release_rows(connection: sa.Connection, where: Mapping[str, Any]) -> dict[int, Row]:
    """The last row of the chain about each release whose columns have the given values, by version."""
    about = (EVENTS.c.kind.in_(sorted(RELEASE_KINDS)), *_conditions(EVENTS, where))
    last = sa.select(sa.func.max(EVENTS.c.seq)).where(*about).group_by(EVENTS.c.version)
    rows = connection.execute(sa.select(EVENTS).where(EVENTS.c.seq.in_(last)))
    return {row.version: Row(*row) for row in rows}


def lease(connection: sa.Connection, name: str) -> dict[str, Any] | None:
    """The row of a lease, if it was ever taken."""
    row = connection.execute(sa.select(LEASES).where(LEASES.c.name == name)).one_or_none()
    return dict(row._mapping) if row else None


def clock(connection: sa.Connection) -> str:
    """The database's time, which is the same for everybody."""
    return str(connection.exec_driver_sql(CLOCKS[connection.dialect.name]).scalar_one())


def _conditions(table: sa.Table, where: Mapping[str, Any]) -> Iterator[sa.ColumnElement[bool]]:
    for name, value in where.items():
        column = table.c[name]
        many = isinstance(value, Sequence | set | frozenset) and not isinstance(value, str)
        yield column.in_(list(value)) if many else column == value


def _lock_head(connection: sa.Connection) -> Head:
    """The head, which nobody else may move until this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(HEAD.c.id).with_for_update())
    told, last = head(connection), last_row(connection)
    if told != last:
        raise record_altered([f"its head row names row {told.seq}, but its last row is row {last.seq}"])
    return told


def last_row(connection: sa.Connection) -> Head:
    """The last row that the chain has, whatever the head row tells."""
    row = connection.execute(sa.select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc()).limit(1)).first()
    return Head(seq=row.seq, hash=row.hash) if row is not None else Head()


def _has(connection: sa.Connection, txn: str) -> bool:
    return connection.execute(sa.select(EVENTS.c.seq).where(EVENTS.c.txn == txn).limit(1)).first() is not None


def _with_advisory(connection: sa.Connection, name: str, wait: float) -> sa.Connection:
    """The connection, in a transaction that holds the named lock."""
    key = int.from_bytes(sha256(f"fraud_retraining {name}".encode()).digest()[:8], "big", signed=True)
    deadline = time.monotonic() + wait
    try:
        while not connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(key))).scalar_one():
            connection.rollback()
            if time.monotonic() >= deadline:
                raise _busy(name, wait)
            time.sleep(0.1)
    except BaseException:
        connection.close()
        raise
    return connection


def _busy(name: str, wait: float) -> Conflict:
    return Conflict(
        f"another process has held the {name} lock of the ledger for {wait:g} s",
        remedy="Wait until it is done; the lock ends with its process.",
    )


def _driver_url(url: str) -> sa.URL:
    """The URL with the driver that this project uses."""
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        raise SettingsError("ledger.url is not a database URL", remedy="sqlite:///FILE or postgresql://...") from None
    backend = parsed.get_backend_name()
    if backend in {"postgresql", "postgres"}:
        if importlib.util.find_spec("psycopg") is None:
            raise SettingsError("a PostgreSQL ledger needs psycopg", remedy="pip install 'fraud-retraining[postgres]'")
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(drivername="sqlite+pysqlite", database=os.path.abspath(parsed.database))
    raise SettingsError(
        f"a ledger cannot be kept in {parsed.render_as_string(hide_password=True)}",
        remedy="sqlite:///FILE or postgresql://USER@HOST/DATABASE",
    )


def _engine(url: sa.URL) -> sa.Engine:
    """An engine without a pool: no connection outlives a fork, a database restart or a long wait."""
    if url.get_backend_name() == "sqlite":
        private_file(Path(str(url.database)))
        connect_args: dict[str, Any] = {"timeout": BUSY_SECONDS}
    else:
        connect_args = {"connect_timeout": CONNECT_SECONDS, "application_name": "fraud-retraining ledger"}
    engine = sa.create_engine(url, poolclass=NullPool, connect_args=connect_args, hide_parameters=True)
    if url.get_backend_name() == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    else:
        sa.event.listen(engine, "begin", _begin_postgresql)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Transactions are begun by us, and a commit is on the disk before it is believed."""
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("ledger_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: sa.Connection) -> None:
    """A writer that was stopped with the head locked gives it back; a reader sees one state only."""
    options = connection.get_execution_options()
    if options.get("ledger_write"):
        connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '60s'")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def _revision(connection: sa.Connection) -> str | None:
    """The revision of the schema; none where there is no ledger yet."""
    if not sa.inspect(connection).has_table(migrations.VERSION_TABLE):
        return None
    return connection.exec_driver_sql(f"SELECT version_num FROM {migrations.VERSION_TABLE}").scalar_one_or_none()


def _migrated(url: sa.URL, shown: str) -> sa.Engine:
    """An engine whose schema is this code's revision; of several processes that start at once, one migrates."""
    engine = _engine(url)
    with engine.connect() as connection:
        if _revision(connection) == migrations.HEAD:
            return engine
    if engine.dialect.name == "sqlite":
        _use_wal(engine)
    with engine.connect() as connection, connection.execution_options(ledger_write=True).begin():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        if _revision(connection) != migrations.HEAD:
            _upgrade(connection, shown)
    return engine


def _use_wal(engine: sa.Engine) -> None:
    """Let readers and the writer not wait for each other. The file keeps it; a transaction cannot set it."""
    raw = sqlite3.connect(str(engine.url.database), timeout=BUSY_SECONDS, isolation_level=None)
    try:
        raw.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:
        raise exc.OperationalError("PRAGMA journal_mode=WAL", None, error) from error
    finally:
        raw.close()


def _upgrade(connection: sa.Connection, shown: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SettingsError(
            f"the ledger {shown} was written by another version of this software: {error}",
            remedy="Install that version or a newer one.",
        ) from error


def _sqlite_code(error: BaseException | None) -> int:
    """SQLite's primary result code."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _passes(error: exc.DBAPIError | OSError) -> bool:
    """Whether the failure may be gone in a moment: contention, a restart, a lost connection."""
    if isinstance(error, OSError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_code(error.orig) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(TRANSIENT_STATES)
    text = str(error.orig)
    return isinstance(error, exc.OperationalError) and ("FATAL:" not in text or any(hint in text for hint in STARTING))


def _failure(error: exc.DBAPIError | OSError, shown: str) -> DependencyUnreachable:
    """The same failure as people meet it, without a password."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    text = redact(str(cause).strip())
    damaged = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    if isinstance(cause, sqlite3.Error) and _sqlite_code(cause) in damaged:
        return IntegrityError(f"the ledger {shown} is damaged: {text}", remedy="Restore it from a backup.")
    return DependencyUnreachable(
        f"the ledger {shown} cannot be used: {text}",
        remedy="Check that it is reachable, writable and has space left; then try again.",
    )
