"""Old events, moved out of the ledger into a file that verifies together with what is left.

Here: writing rows of the chain as Parquet, reading them back, and the one transaction that removes what is older than
the ledger keeps. Not here: which rows may go (`domain/audit/archiving.py`).

The guards that keep `audit_events` from being rewritten are lifted by this transaction only, for the delete alone, and
are back before it ends: DDL is transactional in SQLite and PostgreSQL, so a process
that dies in between has changed nothing.
It takes the owner of the tables; the application's own role cannot.
"""

import hashlib
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fraud_retraining.adapters.ledger.event_log import EventLog, sql, tables
from fraud_retraining.adapters.storage.locations import reaching, replacing
from fraud_retraining.domain.audit.archiving import (
    Archived,
    archived,
    cut_off,
    live,
    release_digest,
    release_key,
    standing_pauses,
)
from fraud_retraining.domain.audit.stored_state import record_altered
from fraud_retraining.domain.ledger.events import RELEASE_KINDS, Event, EventKind
from fraud_retraining.domain.ledger.hash_chain import NONE_VOID, NOTHING, Head, Row, verify_chain
from fraud_retraining.domain.releases.release import Release
from fraud_retraining.domain.retraining.pauses import PAUSING
from fraud_retraining.domain.values.errors import Conflict, IntegrityError, SettingsError

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

    from fraud_retraining.adapters.ledger.database import Transaction

PREFIX, SUFFIX = "ledger-", ".parquet"
DELETE_GUARD = {"sqlite": "audit_events_no_delete", "postgresql": "audit_events_no_update"}
UNSIGNED_COLUMNS = tuple(name for name in Row._fields if name not in ("signer", "signature"))
INTEGERS = frozenset({"seq", "version"})


def columns_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """The columns of a file of rows; those of a ledger that signs nothing lack signer and signature."""
    return Row._fields if any(row.signer or row.signature for row in rows) else UNSIGNED_COLUMNS


def rows_table(rows: Sequence[Row]) -> "pa.Table":
    """Rows of the chain as a table, every column as it is stored."""
    import pyarrow as pa

    columns = columns_of(rows)
    schema = pa.schema([(name, pa.int64() if name in INTEGERS else pa.string()) for name in columns])
    return pa.Table.from_pylist([row._asdict() for row in rows], schema=schema)


def table_rows(table: "pa.Table") -> Iterator[Row]:
    """The rows that `rows_table` was given."""
    for batch in table.to_batches(max_chunksize=1000):
        yield from (Row(**record) for record in batch.to_pylist())


class Archives:
    """The rows that a folder's archives hold, in the order of the chain; read anew each time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __iter__(self) -> Iterator[Row]:
        import pyarrow.parquet as pq

        files = sorted(self._folder.glob(f"{PREFIX}*{SUFFIX}"))
        if not files:
            raise SettingsError(f"there is no archive of the ledger in {self._folder}")
        for file in files:
            with reaching("read", file):
                table = pq.read_table(file)
            if tuple(table.column_names) not in (Row._fields, UNSIGNED_COLUMNS):
                raise IntegrityError(f"{file} is no archive of the ledger")
            yield from table_rows(table)


class ArchivingLedger(EventLog):
    """A ledger whose old events can be moved out, of all models: they share one chain."""

    def move_out(self, folder: Path, retention_days: int, *, actor: str, channel: str) -> Archived | None:
        """Archive what is older than `retention_days`, then remove it; None where nothing is that old.

        The rows are in the folder, read back and found whole, before one of them goes.

        Raises:
            IntegrityError: the chain is not whole, a row that has to be signed is not, or a guard is not in its place;
                nothing was removed.
            SettingsError: this user does not own the ledger's tables.
            Conflict: another process archived meanwhile.
        """
        # Asked first: who may not delete would otherwise leave an archive of rows that the ledger still has.
        self._database.read(_require_owner)
        found = self._database.read(lambda cn: _outlived(cn, retention_days))
        if found is None:
            return None
        rows, facts = found
        file = _written(rows, folder)
        facts = facts.model_copy(update={"file": file.name, "file_digest": _digest(file)})
        return self._database.write(lambda tx: self._remove(tx, facts, actor, channel))

    def _remove(self, tx: "Transaction", facts: Archived, actor: str, channel: str) -> Archived:
        events = tables().EVENTS
        self._event(tx, EventKind.HISTORY_ARCHIVED, facts.model_dump(mode="json"), actor=actor, channel=channel)
        going = events.c.seq.between(facts.first, facts.through.seq)
        with _guard_suspended(tx.connection):
            # Of two processes that archive, the second finds nothing left to delete: its count tells it.
            gone = tx.connection.execute(events.delete().where(going)).rowcount
        if gone != facts.through.seq - facts.first + 1:
            raise Conflict("another process archived the same rows", remedy="Look at `audit list` and try again.")
        return facts


def _outlived(cn: "sa.Connection", retention_days: int) -> tuple[list[Row], Archived] | None:
    """Rows that may go, if there are any, and what is to be said of them; from one state of the database."""
    now = datetime.fromisoformat(cn.exec_driver_sql(sql().CLOCKS[cn.dialect.name]).scalar_one())
    signed = sql().signed_rows(cn)
    earlier = archived(sql().events(cn, {"kind": EventKind.HISTORY_ARCHIVED}))
    start = earlier.through if earlier else NOTHING
    releases = sql().releases(cn, {})
    void = signed.void(cn) if signed.demanded else NONE_VOID
    end = min(_first_younger(cn, cut_off(now, retention_days), void), _first_needed(cn, releases, void))
    # As they are stored: a row that was declared void goes with the others.
    rows = list(_until(sql().stored_rows(cn, {}), end))
    # Of a void row the times say nothing.
    times = [row.at for row in rows if row.seq not in void]
    if not times:
        return None
    for row in rows if signed.demanded else ():
        if row.seq not in void and (problem := signed.problem(cn, row)) is not None:
            raise record_altered([problem])
    last, bad = verify_chain(rows, start=start, void=void)
    if bad is not None:
        raise IntegrityError(
            f"The ledger was changed: {bad.why}.", remedy="`fraud-retraining audit verify`; nothing was archived."
        )
    return rows, Archived(
        first=rows[0].seq,
        through=last,
        oldest=datetime.fromisoformat(times[0]),
        newest=datetime.fromisoformat(max(times)),
        retention_days=retention_days,
        file="",
        file_digest="",
        releases=_last_seen(cn, releases, last, void),
        signing_began=signed.began(cn) if signed.demanded else None,
        void=tuple(Head(seq=seq, hash=hash) for seq, hash in sorted(void.items()) if seq <= last.seq),
    )


def _until(rows: Iterator[Row], end: int) -> Iterator[Row]:
    for row in rows:
        if row.seq >= end:
            return
        yield row


def _first_younger(cn: "sa.Connection", cut: datetime, void: Container[int]) -> int:
    """The first row that is younger than the cut, or the one after the last."""
    events = tables().EVENTS
    found = _first(cn, events.c.at >= cut.strftime("%Y-%m-%dT%H:%M:%S"), void)
    return found or sql().head(cn).seq + 1


def _first(cn: "sa.Connection", where: "sa.ColumnElement[bool]", void: Container[int]) -> int | None:
    """The first row that is not void and that the condition holds for."""
    import sqlalchemy as sa

    events = tables().EVENTS
    with cn.execute(sa.select(events.c.seq).where(where).order_by(events.c.seq)) as found:
        return next((int(seq) for seq in found.scalars() if seq not in void), None)


def _first_needed(cn: "sa.Connection", releases: Sequence[dict[str, object]], void: Container[int]) -> int:
    """The first row of a release that is live or of a pause that stands, or the one after the last row."""
    events = tables().EVENTS
    firsts = [sql().head(cn).seq + 1, *standing_pauses(map(Event.of, sql().events(cn, {"kind": PAUSING})))]
    for release in live(Release.model_validate(row) for row in releases):
        about = (events.c.fingerprint == release.fingerprint) | (events.c.as_of == release.as_of.isoformat())
        found = _first(cn, (events.c.model == release.model) & about, void)
        firsts += [found] if found is not None else []
    return min(firsts)


def _last_seen(
    cn: "sa.Connection", releases: Sequence[dict[str, object]], last: Head, void: Container[int]
) -> dict[str, str]:
    """The digest of every release about which no row is left."""
    import sqlalchemy as sa

    events = tables().EVENTS
    about = sa.select(events.c.model, events.c.version, events.c.seq).where(events.c.version.is_not(None))
    left = about.where(events.c.seq > last.seq, events.c.kind.in_(RELEASE_KINDS))
    kept = {(model, version) for model, version, seq in cn.execute(left) if seq not in void}
    return {
        release_key(str(row["model"]), int(str(row["version"]))): release_digest(row)
        for row in releases
        if (row["model"], row["version"]) not in kept
    }


def _written(rows: list[Row], folder: Path) -> Path:
    """The archive of some rows, on the disk and read back."""
    import pyarrow.parquet as pq

    file = folder / f"{PREFIX}{rows[0].seq:09d}-{rows[-1].seq:09d}{SUFFIX}"
    with reaching("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
    with replacing(file) as out:
        pq.write_table(rows_table(rows), out, compression="zstd")
    with reaching("read", file):
        found = list(table_rows(pq.read_table(file)))
    if found != rows:
        raise IntegrityError(f"{file} does not hold what was written to it", remedy="Archive to another disk.")
    return file


def _digest(file: Path) -> str:
    with reaching("read", file), file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _require_owner(cn: "sa.Connection") -> None:
    if cn.dialect.name != "postgresql":
        return
    owner = "SELECT pg_get_userbyid(relowner), current_user, pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = "
    table, user, may = cn.exec_driver_sql(f"{owner}'audit_events'::regclass").one()
    if not may:
        raise SettingsError(
            f"{user} cannot archive: the ledger's tables belong to {table}",
            remedy="Archive with the owner's URL; the application's role may only add.",
        )


@contextmanager
def _guard_suspended(cn: "sa.Connection") -> Iterator[None]:
    """Rows can be deleted while this is open; before and after, the guard stands as the migration made it."""
    name = DELETE_GUARD[cn.dialect.name]
    lift, restore = _sqlite_guard(cn, name) if cn.dialect.name == "sqlite" else _postgresql_guard(cn, name)
    cn.exec_driver_sql(lift)
    yield
    cn.exec_driver_sql(restore)


def _sqlite_guard(cn: "sa.Connection", name: str) -> tuple[str, str]:
    find = "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?"
    made_by = cn.exec_driver_sql(find, (name,)).scalar_one_or_none()
    if made_by is None:
        raise _no_guard(name)
    return f"DROP TRIGGER {name}", str(made_by)


def _postgresql_guard(cn: "sa.Connection", name: str) -> tuple[str, str]:
    find = "SELECT tgenabled FROM pg_trigger WHERE tgrelid = 'audit_events'::regclass AND tgname = %s"
    if cn.exec_driver_sql(find, (name,)).scalar_one_or_none() not in ("O", "A"):
        raise _no_guard(name)
    return f"ALTER TABLE audit_events DISABLE TRIGGER {name}", f"ALTER TABLE audit_events ENABLE TRIGGER {name}"


def _no_guard(name: str) -> IntegrityError:
    return IntegrityError(
        f"the guard {name} of the ledger is not in its place", remedy="Find out who removed it; nothing was removed."
    )
