"""The ledger's database: transactions that exclude other writers, and retries of what passes by itself.

Here: reading, writing, chaining a row to the head, and locks between processes, in SQLite and PostgreSQL. Not here:
what is recorded and why (`adapters/ledger/ledger.py`), tables and statements (`tables.py`, `statements.py` beside it),
and opening and migrating (`engines.py`). Importing this module imports SQLAlchemy, which is slow: import it inside
functions.
"""

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import Any, TypeVar
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import exc

from fraud_retraining.adapters.ledger.engines import driver_url, migrated
from fraud_retraining.adapters.ledger.failures import failure, passes, sqlite_code
from fraud_retraining.adapters.ledger.signed_rows import UNSIGNED, SignedRows
from fraud_retraining.adapters.ledger.statements import SIGNED_ROWS, clock, head, last_row, signed_rows
from fraud_retraining.adapters.ledger.tables import EVENTS, HEAD, LEASES, RELEASES, USED_LINKS
from fraud_retraining.domain.audit.stored_state import record_altered
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.ledger.hash_chain import NOTHING, Head, Row, canonical_json, chained
from fraud_retraining.domain.values.errors import Conflict, DependencyUnreachable
from fraud_retraining.domain.values.redaction import redact

T = TypeVar("T")


class Transaction:
    """One open write: no other process appends until it ends."""

    def __init__(self, connection: sa.Connection, txn: str, head: Head) -> None:
        self.connection = connection
        self.txn = txn
        self.head = head
        self.now = clock(connection)

    def append(self, **columns: Any) -> Row:
        """Chain one row to the head, signed where rows have to be.

        Raises:
            SettingsError: it has to be signed, and this process cannot, or signing has not begun in this ledger.
        """
        signed = signed_rows(self.connection)
        if signed.demanded and columns["kind"] != EventKind.SIGNING_BEGAN:
            self._begin(signed, columns["model"])
        seq, before = self.head.seq + 1, self.head.hash
        row = signed.signed(chained(Row(seq=seq, at=self.now, txn=self.txn, prev_hash=before, hash="", **columns)))
        self.connection.execute(EVENTS.insert().values(row._asdict()))
        self.connection.execute(HEAD.update().values(seq=row.seq, hash=row.hash))
        self.head = Head(seq=row.seq, hash=row.hash)
        return row

    def _begin(self, signed: SignedRows, model: str) -> None:
        """Begin signing with the first row of a ledger; one that has rows needs a person who has looked at them."""
        if self.head != NOTHING:
            signed.require_begun(self.connection)
            return
        nobody = {"subject": None, "as_of": None, "version": None, "fingerprint": None}
        payload = canonical_json({"reason": "the ledger is new", "rows": 0})
        self.append(
            model=model, kind=EventKind.SIGNING_BEGAN, actor="ledger", channel="ledger", payload=payload, **nobody
        )

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

    def __init__(self, url: str, patience: float, signed: SignedRows = UNSIGNED) -> None:
        self._signed = signed
        self._url = driver_url(url)
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
        """Hold a lock that ends with this process, also when it is killed.

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
        # SQLite's lock on the file ends with the process; a file that stands for a lock would outlive a kill.
        held = sqlite3.connect(path, timeout=wait, isolation_level=None)
        try:
            held.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            held.close()
            if sqlite_code(error) == sqlite3.SQLITE_BUSY:
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
        return self._started().connect().execution_options(**{SIGNED_ROWS: self._signed})

    def _started(self) -> sa.Engine:
        with self._starting:
            if self._engine is None:
                self._engine = self._patiently(lambda: migrated(self._url, self.shown))
            return self._engine

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Try until it succeeds, fails for good, or patience ends."""
        deadline = time.monotonic() + self._patience
        pause = 0.05
        while True:
            try:
                return attempt()
            except (exc.DBAPIError, OSError) as error:
                if not passes(error) or time.monotonic() + pause > deadline:
                    raise failure(error, self.shown) from error
            # Spread, so that processes that got into each other's way do not meet again at once.
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 1.0)


def _lock_head(connection: sa.Connection) -> Head:
    """The head, which no other transaction can move until this one ends."""
    # The row lock makes writers take turns; in SQLite BEGIN IMMEDIATE has done so already.
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(HEAD.c.id).with_for_update())
    stated, last = head(connection), last_row(connection)
    if stated == last:
        return stated
    # Rows that somebody added past the head row: where they have to be signed, nobody acts on them, and the chain goes
    # on after them. They are no reason to keep the finding, an end of automation or the repair from being recorded.
    if signed_rows(connection).demanded and stated.seq < last.seq and _is_there(connection, stated):
        return last
    # With a head row that was set back, the next event would take the place of one that is there.
    raise record_altered([f"its head row names row {stated.seq}, but its last row is row {last.seq}"])


def _is_there(connection: sa.Connection, head: Head) -> bool:
    if head == NOTHING:
        return True
    found = connection.execute(sa.select(EVENTS.c.hash).where(EVENTS.c.seq == head.seq)).scalar_one_or_none()
    return found == head.hash


def _has(connection: sa.Connection, txn: str) -> bool:
    return connection.execute(sa.select(EVENTS.c.seq).where(EVENTS.c.txn == txn).limit(1)).first() is not None


def _with_advisory(connection: sa.Connection, name: str, wait: float) -> sa.Connection:
    """The connection, in a transaction that holds the named lock."""
    # Advisory locks have numbers: 64 bits of a digest keep names apart.
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
