"""The append-only log of events, and the words in which other records are kept beside it.

Here: adding events to the chain and finding them again. Not here: releases and promotions
(`adapters/ledger/ledger.py`), how rows are chained (`domain/ledger/hash_chain.py`), and SQL
(`adapters/ledger/statements.py`).
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date
from functools import cached_property, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from fraud_retraining.adapters.ledger.signed_rows import UNSIGNED, SignedRows
from fraud_retraining.domain.ledger.events import RELEASE_KINDS, Event, EventKind, plain
from fraud_retraining.domain.ledger.hash_chain import Head, Row, canonical_json
from fraud_retraining.domain.values.redaction import redact

if TYPE_CHECKING:
    import sqlalchemy as sa

    from fraud_retraining.adapters.ledger.database import Database, Transaction

PAGE = 500
ReadRows = Callable[..., Iterator[Row]]


class EventKeys(NamedTuple):
    """What an event is about, and what it is found by: each of these is a column of its row."""

    subject: str | None = None
    as_of: date | None = None
    version: int | None = None
    fingerprint: str | None = None


NO_KEYS = EventKeys()


class EventLog:
    """The events of one model; several models may share a database, and then one chain.

    Every method raises `DependencyUnreachable` when the database cannot be read or written after bounded retries. Where
    rows have to be signed, every method that reads events raises `RecordAltered` at one that is not.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "fraud_detector",
        patience: float = 20.0,
        signed: SignedRows = UNSIGNED,
    ) -> None:
        """Nothing is opened yet.

        Args:
            url: its database.
            model: whose events.
            patience: seconds after which a database that does not answer is given up.
            signed: which rows may be acted on, and the key that signs what is added.
        """
        self._url = url
        self._patience = patience
        self.model = model
        self.signed = signed

    @cached_property
    def _database(self) -> "Database":
        from fraud_retraining.adapters.ledger.database import Database

        return Database(self._url, self._patience, self.signed)

    def append(
        self,
        kind: EventKind,
        *,
        actor: str,
        payload: Mapping[str, Any] | None = None,
        channel: str = "",
        keys: EventKeys = NO_KEYS,
    ) -> Event:
        """Add one event to the chain. What happens to a release is recorded by the method that does it."""
        if kind in RELEASE_KINDS:
            raise ValueError(f"{kind} is not appended by hand")
        return self._database.write(
            lambda tx: self._event(tx, kind, payload or {}, actor=actor, channel=channel, **keys._asdict())
        )

    def append_changed(
        self, kind: EventKind, *, keys: EventKeys, payload: Mapping[str, Any], actor: str, channel: str = ""
    ) -> Event | None:
        """Add an event unless the last one of its kind and subject has the same payload; None if it has."""
        subject = _required(keys.subject)

        def work(tx: "Transaction") -> Event | None:
            last = self._last(tx.connection, kind, {"subject": subject})
            if last is not None and last.payload == plain(payload):
                return None
            return self._event(tx, kind, payload, actor=actor, channel=channel, **keys._asdict())

        return self._database.write(work)

    def append_once(
        self, kind: EventKind, *, keys: EventKeys, payload: Mapping[str, Any], actor: str, channel: str = ""
    ) -> Event | None:
        """Add an event unless there is one of its kind and subject; None if there is."""
        subject = _required(keys.subject)

        def work(tx: "Transaction") -> Event | None:
            if self._last(tx.connection, kind, {"subject": subject}) is not None:
                return None
            return self._event(tx, kind, payload, actor=actor, channel=channel, **keys._asdict())

        return self._database.write(work)

    def events(
        self,
        kind: EventKind | tuple[EventKind, ...] | None = None,
        *,
        subject: str | None = None,
        as_of: date | None = None,
        version: int | None = None,
        fingerprint: str | None = None,
        after: int = 0,
        skip_altered: bool = False,
    ) -> Iterator[Event]:
        """Events of this model, oldest first, read a page at a time.

        `skip_altered` leaves out what is not signed, instead of refusing to go on: for messages, never for decisions.
        """
        where = self._where(kind, subject=subject, as_of=as_of, version=version, fingerprint=fingerprint)
        yield from map(Event.of, self._rows(where, after, partial(_believed, skip_altered=skip_altered)))

    def rows(self, after: int = 0, version: int | None = None) -> Iterator[Row]:
        """Every event of this model as it is stored, signed or not, oldest first: to be looked at or exported."""
        return self._rows(self._where(None, version=version), after, _stored)

    def rows_of_all(self) -> Iterator[Row]:
        """Every event of every model of the chain as it is stored, oldest first."""
        return self._rows({}, 0, _stored)

    def last(
        self,
        kind: EventKind | tuple[EventKind, ...] | None = None,
        *,
        subject: str | None = None,
        as_of: date | None = None,
        version: int | None = None,
        fingerprint: str | None = None,
    ) -> Event | None:
        """The newest such event of this model."""
        about = {"subject": subject, "as_of": as_of, "version": version, "fingerprint": fingerprint}
        return self._database.read(lambda cn: self._last(cn, kind, about))

    def last_of_models(
        self, kind: EventKind | tuple[EventKind, ...], *, subject: str, models: Collection[str] = ()
    ) -> Event | None:
        """The newest such event of some models of the chain; of any, where none is named."""
        where = {"kind": kind, "subject": clean_text(subject), **({"model": sorted(models)} if models else {})}
        return self._database.read(lambda cn: next(map(Event.of, sql().events(cn, where, limit=1, newest=True)), None))

    def newest(self, kind: EventKind, *, limit: int) -> list[Event]:
        """The newest events of a kind, newest first."""
        where = self._where(kind)
        return self._database.read(
            lambda cn: [Event.of(row) for row in sql().events(cn, where, limit=limit, newest=True)]
        )

    def head(self) -> Head:
        """The last row of the chain; kept elsewhere, it shows later that nothing was cut off."""
        return self._database.read(lambda cn: Head.model_validate(sql().head(cn)))

    def _event(
        self, tx: "Transaction", kind: EventKind, payload: Mapping[str, Any], *, actor: str, channel: str, **about: Any
    ) -> Event:
        return Event.of(
            tx.append(
                model=self.model,
                kind=str(kind),
                actor=clean_text(actor),
                channel=clean_text(channel),
                payload=canonical_json(plain(payload)),
                **_columns(EventKeys(**about)),
            )
        )

    # A statement of its own for each page: a reader that stops half way leaves no transaction open in the database.
    def _rows(self, where: Mapping[str, Any], after: int, read: "ReadRows") -> Iterator[Row]:
        def page(seen: int) -> list[Row]:
            return self._database.read(lambda cn: list(read(cn, where, after=seen, limit=PAGE)))

        while found := page(after):
            yield from found
            after = found[-1].seq

    def _where(self, kind: EventKind | tuple[EventKind, ...] | None, **about: Any) -> dict[str, Any]:
        named = {name: value for name, value in _columns(EventKeys(**about)).items() if value is not None}
        return {"model": self.model, **({"kind": kind} if kind else {}), **named}

    def _last(
        self,
        cn: "sa.Connection",
        kind: EventKind | tuple[EventKind, ...] | None,
        about: Mapping[str, Any],
        *,
        skip_altered: bool = False,
    ) -> Event | None:
        rows = sql().events(cn, self._where(kind, **about), limit=1, newest=True, skip_altered=skip_altered)
        return next(map(Event.of, rows), None)


def _believed(cn: "sa.Connection", where: Mapping[str, Any], **page: Any) -> Iterator[Row]:
    rows: Iterator[Row] = sql().events(cn, where, **page)
    return rows


def _stored(cn: "sa.Connection", where: Mapping[str, Any], **page: Any) -> Iterator[Row]:
    rows: Iterator[Row] = sql().stored_rows(cn, where, **page)
    return rows


def sql() -> ModuleType:
    """The statements of `adapters/ledger/statements.py`, imported when needed: SQLAlchemy takes a second to import."""
    from fraud_retraining.adapters.ledger import statements

    return statements


def tables() -> ModuleType:
    """The tables of `adapters/ledger/tables.py`, imported when needed for the same reason."""
    from fraud_retraining.adapters.ledger import tables as ledger_tables

    return ledger_tables


def clean_text(value: str) -> str:
    """A text that every database can hold, without secrets."""
    # PostgreSQL refuses NUL in a text, and no driver can encode half of a surrogate pair.
    return redact(str(value).replace("\x00", "").encode("utf-8", "replace").decode())


def _required(subject: str | None) -> str:
    # without a subject the search for an earlier event would match every event of the kind
    if subject is None:
        raise ValueError("an event that is appended once needs a subject")
    return subject


def _columns(keys: EventKeys) -> dict[str, Any]:
    return {
        "subject": None if keys.subject is None else clean_text(keys.subject),
        "as_of": None if keys.as_of is None else keys.as_of.isoformat(),
        "version": None if keys.version is None else int(keys.version),
        "fingerprint": keys.fingerprint,
    }
