"""The statements that read the ledger's tables.

Here: events, releases, leases, the head and the clock. Not here: writing, which only an open `Transaction` of
`adapters/ledger/database.py` can, and what the rows mean (`domain/ledger/events.py`). Importing this module imports
SQLAlchemy, which takes a second: `event_log.sql()` imports it when it is needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa

from fraud_retraining.adapters.ledger.signed_rows import UNSIGNED, SignedRows
from fraud_retraining.adapters.ledger.tables import EVENTS, HEAD, LEASES, RELEASES
from fraud_retraining.domain.audit.stored_state import record_altered
from fraud_retraining.domain.ledger.events import RELEASE_KINDS
from fraud_retraining.domain.ledger.hash_chain import Head, Row

VERSION = Row._fields.index("version")
NO_VERSION = -1
"""In place of a version that is no number: no event has it."""
AT_ONCE = 500
"""Rows that one statement asks for by number; databases bound how many it may name."""
SIGNED_ROWS = "ledger_signed_rows"
"""The option of a connection that says which rows may be acted on."""
CLOCKS = {
    "sqlite": "SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
    "postgresql": """SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
}


def head(connection: sa.Connection) -> Head:
    """The last row of the chain, as the head row states it."""
    stated = stated_head(connection)
    if stated is None:
        raise record_altered(["it has lost its head row"])
    return stated


def stated_head(connection: sa.Connection) -> Head | None:
    """What the head row states, if there is one."""
    row = connection.execute(sa.select(HEAD.c.seq, HEAD.c.hash)).first()
    return Head(seq=row.seq, hash=row.hash) if row is not None else None


def events(
    connection: sa.Connection,
    where: Mapping[str, Any],
    *,
    after: int = 0,
    limit: int | None = None,
    newest: bool = False,
    skip_altered: bool = False,
) -> Iterator[Row]:
    """Rows of the chain that may be acted on, whose columns have the given values (or one of them, for a sequence).

    Where rows have to be signed, each is. `skip_altered` leaves out the others: for what has to go on beside a record
    that was altered, such as saying so.

    Raises:
        RecordAltered: names the first row that may not be acted on; when it is reached.
        SettingsError: signing has not begun in this ledger.
    """
    signed = signed_rows(connection)
    if not signed.demanded:
        return stored_rows(connection, where, after=after, limit=limit, newest=newest)
    if signed.nothing_there(connection):
        return iter(())
    void = signed.void(connection)
    # So many that enough are left, whichever of them are void.
    read = None if limit is None or skip_altered else limit + len(void)
    stored = stored_rows(connection, where, after=after, limit=read, newest=newest)
    rows = (row for row in stored if row.seq not in void)
    return islice(signed.believed(connection, rows, skip=skip_altered), limit)


def signed_rows(connection: sa.Connection) -> SignedRows:
    """Which rows may be acted on, for readers of this connection."""
    found: SignedRows = connection.get_execution_options().get(SIGNED_ROWS, UNSIGNED)
    return found


def stored_rows(
    connection: sa.Connection,
    where: Mapping[str, Any],
    *,
    after: int = 0,
    limit: int | None = None,
    newest: bool = False,
) -> Iterator[Row]:
    """Rows exactly as they are stored, whoever wrote them: to be verified or exported, never to be acted on."""
    statement = sa.select(EVENTS).where(EVENTS.c.seq > after, *_conditions(EVENTS, where))
    statement = statement.order_by(EVENTS.c.seq.desc() if newest else EVENTS.c.seq).limit(limit)
    # Streamed: a chain of years does not fit into memory.
    return map(_row, connection.execute(statement.execution_options(yield_per=1000)))


def _row(stored: Sequence[Any]) -> Row:
    """A row as it is stored; a column of SQLite holds anything, and what is no text becomes one that nobody wrote."""
    values = list(map(_text, stored)) if any(isinstance(value, bytes) for value in stored) else list(stored)
    if not isinstance(values[VERSION], int | None):
        values[VERSION] = NO_VERSION
    return Row(*values)


def _text(value: Any) -> Any:
    return f"x'{value.hex()}'" if isinstance(value, bytes) else value


def releases(connection: sa.Connection, where: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Current rows of releases, by version."""
    statement = sa.select(RELEASES).where(*_conditions(RELEASES, where)).order_by(RELEASES.c.model, RELEASES.c.version)
    return [dict(row._mapping) for row in connection.execute(statement)]


def last_release_rows(connection: sa.Connection, where: Mapping[str, Any]) -> dict[int, Row]:
    """The last row of the chain about each release whose columns have the given values, by version.

    Raises:
        RecordAltered: one of them may not be acted on.
        SettingsError: signing has not begun in this ledger.
    """
    signed = signed_rows(connection)
    if signed.demanded and signed.nothing_there(connection):
        return {}
    about = [EVENTS.c.kind.in_(sorted(RELEASE_KINDS)), *_conditions(EVENTS, where)]
    grouped = sa.select(EVENTS.c.version, sa.func.max(EVENTS.c.seq)).where(*about).group_by(EVENTS.c.version)
    last = dict(connection.execute(grouped).tuples().all())
    void = signed.void(connection) if signed.demanded else {}
    if not void.keys().isdisjoint(last.values()):
        every = sa.select(EVENTS.c.version, EVENTS.c.seq).where(*about).order_by(EVENTS.c.seq)
        last = {version: seq for version, seq in connection.execute(every) if seq not in void}
    seqs = sorted(last.values())
    some = (seqs[first : first + AT_ONCE] for first in range(0, len(seqs), AT_ONCE))
    rows = [row for those in some for row in stored_rows(connection, {"seq": those})]
    if signed.demanded:
        rows = list(signed.believed(connection, rows, skip=False))
    return {row.version: row for row in rows if row.version is not None}


def lease(connection: sa.Connection, name: str) -> dict[str, Any] | None:
    """The row of a lease, if it was ever taken."""
    row = connection.execute(sa.select(LEASES).where(LEASES.c.name == name)).one_or_none()
    return dict(row._mapping) if row else None


def clock(connection: sa.Connection) -> str:
    """The database's time, which is the same for all processes."""
    return str(connection.exec_driver_sql(CLOCKS[connection.dialect.name]).scalar_one())


def last_row(connection: sa.Connection) -> Head:
    """The last row that the chain has, also where the head row states another."""
    row = connection.execute(sa.select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc()).limit(1)).first()
    return Head(seq=row.seq, hash=_text(row.hash)) if row is not None else Head()


def _conditions(table: sa.Table, where: Mapping[str, Any]) -> Iterator[sa.ColumnElement[bool]]:
    for name, value in where.items():
        column = table.c[name]
        many = isinstance(value, Sequence | set | frozenset) and not isinstance(value, str)
        yield column.in_(list(value)) if many else column == value
