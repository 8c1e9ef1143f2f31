"""A look at the ledger's database that makes, migrates and locks nothing.

Here: its revision, its clock and whether this account may append. Not here: opening it for work (`engines.py`).
"""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.pool import NullPool

from fraud_retraining.adapters.ledger.engines import CONNECT_SECONDS, driver_url
from fraud_retraining.adapters.ledger.failures import failure
from fraud_retraining.adapters.ledger.migrations import VERSION_TABLE
from fraud_retraining.adapters.ledger.statements import clock
from fraud_retraining.adapters.ledger.tables import EVENTS
from fraud_retraining.adapters.storage.sqlite_files import first_value
from fraud_retraining.domain.values.redaction import redact

Found = TypeVar("Found")


class LedgerSeen(NamedTuple):
    """What was found of a ledger."""

    revision: str | None
    """Of its schema; None where there is none yet."""
    appendable: bool
    now: datetime | None
    """The database's own clock; None of a file, whose clock is this machine's."""


def inspect_ledger(url: str) -> LedgerSeen | None:
    """A ledger as it is; None where its file is not there yet.

    Raises:
        SettingsError: the URL names no ledger.
        DependencyUnreachable: it does not answer, or is damaged.
    """
    parsed = driver_url(url)
    if parsed.get_backend_name() == "sqlite":
        file = Path(str(parsed.database))
        if not file.exists():
            return None
        revision = first_value(file, f"SELECT version_num FROM {VERSION_TABLE}")
        return LedgerSeen(revision, os.access(file, os.W_OK) and os.access(file.parent, os.W_OK), None)
    return _read(parsed, _on_server)


def _read(url: sa.URL, work: Callable[[sa.Connection], Found]) -> Found:
    arguments = {
        "connect_timeout": CONNECT_SECONDS,
        "options": f"-c default_transaction_read_only=on -c statement_timeout={CONNECT_SECONDS}s",
    }
    engine = sa.create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)
    try:
        with engine.connect() as connection:
            return work(connection)
    except (exc.DBAPIError, OSError) as error:
        raise failure(error, redact(url.render_as_string(hide_password=True))) from error


def _on_server(connection: sa.Connection) -> LedgerSeen:
    now = datetime.fromisoformat(clock(connection))
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return LedgerSeen(None, True, now)
    revision = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar_one_or_none()
    may = connection.exec_driver_sql(f"SELECT has_table_privilege(current_user, '{EVENTS.name}', 'INSERT')").scalar()
    return LedgerSeen(revision, bool(may), now)
