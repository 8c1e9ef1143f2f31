"""Failures of the ledger's database: which of them pass by themselves, and what users read of the others.

Here: SQLite's and PostgreSQL's codes, translated. Not here: trying again (`adapters/ledger/database.py`).
"""

import sqlite3

from sqlalchemy import exc

from fraud_retraining.domain.values.errors import DependencyUnreachable, IntegrityError
from fraud_retraining.domain.values.redaction import redact

# 08: connection; 53300: too many clients; 57P0x: shutting down or starting; the rest: lock contention
TRANSIENT_STATES = ("08", "40001", "40P01", "53300", "55P03", "57P01", "57P02", "57P03")
STARTING = ("starting up", "shutting down", "recovery", "too many")


def sqlite_code(error: BaseException | None) -> int:
    """SQLite's primary result code."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def passes(error: exc.DBAPIError | OSError) -> bool:
    """Whether the failure may be gone in a moment: contention, a restart, a lost connection."""
    if isinstance(error, OSError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return sqlite_code(error.orig) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(TRANSIENT_STATES)
    text = str(error.orig)
    return isinstance(error, exc.OperationalError) and ("FATAL:" not in text or any(hint in text for hint in STARTING))


def failure(error: exc.DBAPIError | OSError, shown: str) -> DependencyUnreachable:
    """The same failure as users read it, without a password."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    text = redact(str(cause).strip())
    damaged = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    if isinstance(cause, sqlite3.Error) and sqlite_code(cause) in damaged:
        return IntegrityError(f"the ledger {shown} is damaged: {text}", remedy="Restore it from a backup.")
    return DependencyUnreachable(
        f"the ledger {shown} cannot be used: {text}",
        remedy="Check that it is reachable, writable and has space left; then try again.",
    )
