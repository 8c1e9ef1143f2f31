"""Opening the ledger's database: its URL, its driver, its transactions, and the schema of this code's revision.

Here: SQLite and PostgreSQL as SQLAlchemy engines, and migrating them. Not here: reads, writes and trying again
(`adapters/ledger/database.py`), and the migrations themselves (`adapters/ledger/migrations`).
"""

import importlib.util
import os
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.pool import NullPool

from fraud_retraining.adapters.ledger import migrations
from fraud_retraining.adapters.storage.private_files import private_file
from fraud_retraining.domain.values.errors import SettingsError

BUSY_SECONDS = 5
CONNECT_SECONDS = 5
MIGRATION_LOCK = 0x66726175645F6C67


def driver_url(url: str) -> sa.URL:
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
        # Absolute: Dagster starts runs in other working folders.
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
    # Errors go to logs: SQLAlchemy would quote the values of the statement in them.
    engine = sa.create_engine(url, poolclass=NullPool, connect_args=connect_args, hide_parameters=True)
    if url.get_backend_name() == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    else:
        sa.event.listen(engine, "begin", _begin_postgresql)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Transactions are begun by us, and a commit is on the disk before it is believed."""
    # Left to itself, pysqlite begins a transaction before some statements only.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=FULL")
    # What is no UTF-8 was not written by us; read with marks in it, it is found by its hash and stops no reader.
    connection.text_factory = _text


def _text(stored: bytes) -> str:
    return stored.decode(errors="replace")


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("ledger_write")
    # A plain BEGIN locks at the first write, after its reads: of two such writers one fails instead of waiting.
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


def migrated(url: sa.URL, shown: str) -> sa.Engine:
    """An engine whose schema is this code's revision; of several processes that start at once, one migrates."""
    engine = _engine(url)
    with engine.connect() as connection:
        # Without a lock first: nearly every start finds the schema up to date.
        if _revision(connection) == migrations.HEAD:
            return engine
    if engine.dialect.name == "sqlite":
        _use_wal(engine)
    with engine.connect() as connection, connection.execution_options(ledger_write=True).begin():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        # Again under the lock: another process may have migrated meanwhile.
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
    # Alembic's configuration takes a single % for the beginning of a variable.
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SettingsError(
            f"the ledger {shown} was written by another version of this software: {error}",
            remedy="Install that version or a newer one.",
        ) from error
