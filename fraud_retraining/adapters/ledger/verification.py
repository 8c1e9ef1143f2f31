"""Whether the record is still what was written.

Here: recomputing the chain, replaying releases, comparing both with the working rows, with the guards and with heads
that were kept elsewhere; stopping automation where something differs; restoring the working rows. Not here: how rows
are chained (`domain/ledger/hash_chain.py`) and how releases are replayed (`domain/audit/state_replay.py`).
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fraud_retraining.adapters.ledger import append_only_triggers
from fraud_retraining.adapters.ledger.automation import AutomationRecords
from fraud_retraining.adapters.ledger.event_log import sql
from fraud_retraining.adapters.ledger.releases import ReleaseRecords, row_of
from fraud_retraining.adapters.ledger.signed_rows import NOT_BEGUN, UNSIGNED, SignedRows
from fraud_retraining.domain.audit.archiving import Archived, archived
from fraud_retraining.domain.audit.state_replay import ReleaseReplay
from fraud_retraining.domain.audit.stored_state import record_altered, row_difference
from fraud_retraining.domain.ledger.events import Event, EventKind, plain
from fraud_retraining.domain.ledger.hash_chain import NONE_VOID, NOTHING, BadRow, Head, Row, named, verify_chain
from fraud_retraining.domain.ledger.signatures import signature_problem
from fraud_retraining.domain.releases.release import Release
from fraud_retraining.domain.retraining.pauses import PAUSING, Automation, paused
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.errors import RecordAltered, RetrainingError, SettingsError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from fraud_retraining.adapters.ledger.database import Transaction

VERIFICATION = "verification"
MOST_NAMED = 5
"""Unsigned rows that a quick check names."""
LOG = logging.getLogger(__name__)


class Verification(Value):
    """Whether the record is still what was written."""

    ok: bool
    at: datetime
    count: int
    head: Head
    archived: int = 0
    first_bad: int | None = None
    why: str = ""
    releases: tuple[str, ...] = ()
    guards: tuple[str, ...] = Field((), description="What is wrong with tables, triggers and indexes, each a clause.")
    pinned: Head | None = Field(None, description="The newest head that was kept outside of the database.")
    signed_from: int | None = Field(None, description="Row from which on every row is signed; null: none has to be.")
    void: tuple[int, ...] = Field((), description="Rows that were declared void: in the chain, and never acted on.")
    warnings: tuple[str, ...] = Field((), description="What a person should look at, each a clause; nothing is wrong.")

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that was found, each as a clause; empty when all is well."""
        return (*((self.why,) if self.first_bad else ()), *self.releases, *self.guards)


class VerifiedRecords(ReleaseRecords, AutomationRecords):
    """A record that can be verified, and that stops automation once it was altered."""

    def __init__(
        self,
        url: str,
        *,
        model: str = "fraud_detector",
        patience: float = 20.0,
        pins: Callable[[], Sequence[Head]] = tuple,
        signed: SignedRows = UNSIGNED,
    ) -> None:
        """Nothing is opened yet.

        Args:
            url: its database.
            model: whose decisions.
            patience: seconds after which a database that does not answer is given up.
            pins: gives the heads that were kept outside of the database, for `verify`.
            signed: which rows may be acted on, and the key that signs what is added.
        """
        super().__init__(url, model=model, patience=patience, signed=signed)
        self._pins = pins

    def verify(
        self, *known: Head, archive: Iterable[Row] | None = None, also_pinned: Sequence[Head] = ()
    ) -> Verification:
        """Recompute the whole chain, of all models, run the state machine again, and compare every release with it.

        Where rows have to be signed, each row's signature is verified, from the row at which signing began.

        Tables, guards and the head row have to be what the migrations made, and the heads that were kept outside of
        the database have to be in the chain: those of `pins`, and `also_pinned` ones.

        `known` are heads that were exported, `archive` the rows that were moved out of the database, in order; without
        them the chain is verified from the last row that was archived on.

        Raises:
            SettingsError: a known head is older than what is left of the chain, and no archive was given.
        """

        pins = (*self._pins(), *also_pinned)
        return self._database.read(lambda cn: _verified(cn, known, pins, archive))

    def require_intact(self, also_pinned: Sequence[Head] = ()) -> None:
        """Refuse to act on a record that is not what was written.

        Raises:
            RecordAltered: it is recorded once, and promotion and retraining stop until a person resumes them.
        """
        found = self.verify(also_pinned=also_pinned)
        if not found.ok:
            error = record_altered(found.problems)
            self.stop_for(error)
            raise error

    def weakness(self) -> tuple[str, ...]:
        """What a quick check finds wrong, each as a clause: tables, guards, head row, working rows and the newest pin.

        Where rows have to be signed, those since the newest pin are.

        The hashes of the chain are for `verify`, whose time grows with it.
        """
        return self.checked_head()[1]

    def checked_head(self) -> tuple[Head, tuple[str, ...]]:
        """The last row that the quick check looked at, and what it found wrong; a head that may be kept elsewhere."""
        newest = max(self._pins(), key=lambda head: head.seq, default=None)
        head, found = self._database.read(lambda cn: _weakness(cn, newest))
        if found:
            return head, found
        try:
            # Reads the last row of every release, each of which has to be signed where any has to.
            self.releases()
        except RecordAltered as altered:
            return head, altered.culprits
        return head, ()

    def stop_for(self, error: RecordAltered) -> None:
        """Record that something is not what the record says, and stop what goes on by itself.

        The same finding is recorded once. A record that cannot even be added to is logged: the refusal itself stands.
        """
        payload = {"what": error.what, "culprits": error.culprits, "remedy": error.remedy}

        def work(tx: "Transaction") -> None:
            # What was altered is not read here: a forged row must not keep the finding about it from being recorded.
            last = self._last(tx.connection, EventKind.RECORD_ALTERED, {}, skip_altered=True)
            resumed = self._last(tx.connection, EventKind.AUTOMATION_RESUMED, {}, skip_altered=True)
            if last is None or last.payload != plain(payload) or (resumed is not None and resumed.seq > last.seq):
                self._event(tx, EventKind.RECORD_ALTERED, payload, actor=VERIFICATION, channel=VERIFICATION)
            for subject in Automation:
                self._pause(tx, subject, f"the record was changed: {'; '.join(error.culprits)[:500]}")

        # The caller raises `error` in any case, so a record that cannot be written does not replace it.
        try:
            self._database.write(work)
        except RetrainingError as unwritten:
            LOG.error("a changed record could not be recorded: %s", unwritten)

    def _pause(self, tx: "Transaction", subject: Automation, reason: str) -> None:
        rows = sql().events(tx.connection, self._where(PAUSING, subject=subject), skip_altered=True)
        if paused(map(Event.of, rows), subject) is None:
            payload = {"reason": reason, "cause": reason, "inputs": "", "until_resumed": True}
            about = {"actor": VERIFICATION, "channel": VERIFICATION, "subject": subject}
            self._event(tx, EventKind.AUTOMATION_PAUSED, payload, **about)

    def restore_releases(self, *, actor: str, channel: str, reason: str) -> tuple[str, ...]:
        """Write the table of releases anew from the chain; gives what differed, each as a clause.

        Raises:
            RecordAltered: the chain itself, its guards or its pinned heads are not what was written.
        """

        def work(tx: "Transaction") -> tuple[str, ...]:
            gone = _archived(tx.connection)
            stored = sql().stored_rows(tx.connection, {})
            rows = _Replayed(stored, incomplete=gone is not None, signatures=_Signatures.of(tx.connection))
            found = _verified(tx.connection, (), self._pins(), None, rows)
            # A chain that is not whole cannot say what the table should hold.
            if found.first_bad or found.guards:
                raise record_altered(found.problems)
            if found.releases:
                _write_anew(tx, rows.releases)
                payload = {"reason": reason, "restored": found.releases}
                self._event(tx, EventKind.RECORD_RESTORED, payload, actor=actor, channel=channel)
            return found.releases

        return self._database.write(work)


def _require_reach(known: Iterable[Head], start: Head) -> None:
    """Refuses a head about whose row nothing is left to say."""
    before = [str(head.seq) for head in known if head.seq < start.seq]
    if before:
        raise SettingsError(
            f"row {', '.join(before)} was archived: what is left of the chain goes on after row {start.seq}",
            remedy="Name the folder of the archives too: `fraud-retraining audit verify --head ... --archive FOLDER`.",
        )


def _verified(
    cn: "sa.Connection",
    known: Sequence[Head],
    pins: Sequence[Head],
    archive: Iterable[Row] | None,
    replayed: "_Replayed | None" = None,
) -> Verification:
    """What one state of the database comes to, held against heads that were kept elsewhere."""
    at = datetime.fromisoformat(sql().clock(cn))
    missing = tuple(f"the table {problem}" for problem in append_only_triggers.missing_tables(cn))
    newest = max(pins, key=lambda head: head.seq, default=None)
    if missing:
        why = "; ".join(missing)
        return Verification(ok=False, at=at, count=0, head=Head(), why=why, guards=missing, pinned=newest)
    signatures = _Signatures.of(cn)
    gone = _archived(cn)
    start = gone.through if gone and archive is None else NOTHING
    _require_reach(known, start)
    stated = sql().stated_head(cn)
    heads = (*known, *(pin for pin in pins if pin.seq >= start.seq), *((stated,) if stated else ()))
    replayed = replayed or _Replayed(
        chain(archive or (), sql().stored_rows(cn, {})), incomplete=start != NOTHING, signatures=signatures
    )
    last, bad = verify_chain(replayed, *heads, start=start, void=signatures.void)
    bad = bad or replayed.problem
    stored = sql().releases(cn, {})
    differing = _differing(stored, replayed.releases, gone.releases if gone else {}) if bad is None else ()
    weak = (
        *append_only_triggers.guard_problems(cn),
        *(_head_problems(stated, last) if bad is None else ()),
        *signatures.unbegun(last),
    )
    return Verification(
        ok=bad is None and not differing and not weak,
        at=at,
        count=last.seq,
        head=last,
        archived=start.seq,
        first_bad=bad.seq if bad else None,
        why=bad.why if bad else "; ".join((*differing, *weak)),
        releases=differing,
        guards=weak,
        pinned=newest,
        signed_from=signatures.began.seq if signatures.began else None,
        void=tuple(sorted(signatures.void)),
        warnings=tuple(replayed.warnings),
    )


def _weakness(cn: "sa.Connection", newest: Head | None) -> tuple[Head, tuple[str, ...]]:
    missing = tuple(f"the table {problem}" for problem in append_only_triggers.missing_tables(cn))
    if missing:
        return NOTHING, missing
    last = sql().last_row(cn)
    lost = () if newest is None or _holds(cn, newest, last) else (f"row {newest.seq}, which was pinned, is not in it",)
    signatures = _Signatures.of(cn)
    return last, (
        *append_only_triggers.guard_problems(cn),
        *_head_problems(sql().stated_head(cn), last),
        *lost,
        *signatures.unbegun(last),
        *islice(signatures.of_rows(sql().stored_rows(cn, {}, after=newest.seq if newest else 0)), MOST_NAMED),
    )


def _holds(cn: "sa.Connection", head: Head, last: Head) -> bool:
    """Whether the chain has the row of a head, or had it before it was archived."""
    row = next(iter(sql().stored_rows(cn, {"seq": head.seq})), None)
    if row is not None:
        return row.hash == head.hash
    gone = _archived(cn)
    return gone is not None and head.seq <= gone.through.seq <= last.seq


def _write_anew(tx: "Transaction", recorded: Mapping[tuple[str, int], Release]) -> None:
    """The table of releases as the chain has it; rows that no event made go, those of archived events stay."""
    gone = _archived(tx.connection)
    for row in sql().releases(tx.connection, {}):
        found = recorded.get((row["model"], row["version"]))
        if row_difference(row, found, gone.releases if gone else {}) is not None:
            with append_only_triggers.suspended(tx.connection, "releases_no_delete"):
                tx.delete_release(row)
    stored = {(row["model"], row["version"]) for row in sql().releases(tx.connection, {})}
    for key, release in recorded.items():
        if key not in stored:
            tx.insert_release(row_of(release))


def _head_problems(stated: Head | None, last: Head) -> tuple[str, ...]:
    """Whether the head row names the last row; by one that names an earlier row the next event would take its place."""
    if stated == last:
        return ()
    return (f"the head row names row {stated.seq if stated else 'none'}, but the last row is row {last.seq}",)


def _archived(cn: "sa.Connection") -> Archived | None:
    """The newest archiving that the chain tells of; one that is not signed, where it has to be, tells nothing."""
    if not _Signatures.of(cn).begun_if_demanded:
        return archived(sql().stored_rows(cn, {"kind": EventKind.HISTORY_ARCHIVED}))
    return archived(sql().events(cn, {"kind": EventKind.HISTORY_ARCHIVED}, skip_altered=True))


class _Signatures:
    """Signatures of rows as a verification sees them: findings, where readers would be refused."""

    def __init__(self, signed: SignedRows, began: Head | None, void: Mapping[int, str]) -> None:
        self.began = began
        self.void = void
        self._signed = signed

    @classmethod
    def of(cls, cn: "sa.Connection") -> "_Signatures":
        """Those of a database, as the settings of this process demand them."""
        signed: SignedRows = sql().signed_rows(cn)
        began = signed.began(cn) if signed.demanded else None
        return cls(signed, began, signed.void(cn) if began else NONE_VOID)

    @property
    def begun_if_demanded(self) -> bool:
        """Whether rows have to be signed, and a row says from where on."""
        return self.began is not None

    def unbegun(self, last: Head) -> tuple[str, ...]:
        """That rows have to be signed, and no row says from where on; a ledger without rows needs none."""
        return (NOT_BEGUN,) if self._signed.demanded and self.began is None and last.seq else ()

    def problem(self, row: Row, *, hashed: bool = False) -> str | None:
        """What is wrong with the signature of a row, as a clause; `hashed` where the chain found its content whole."""
        if self.began is None or row.seq <= self.began.seq:
            return None
        return signature_problem(row, self._signed.signers, hashed=hashed)

    def of_rows(self, rows: Iterable[Row]) -> Iterator[str]:
        """What is wrong with the signatures of rows, each as a clause; rows that were declared void do not count."""
        if self.began is not None:
            found = (self.problem(row) for row in rows if row.seq not in self.void)
            yield from (problem for problem in found if problem is not None)


class _Replayed:
    """Rows as they pass, each taken by the state machine once the chain has found it whole."""

    def __init__(self, rows: Iterable[Row], *, incomplete: bool, signatures: _Signatures) -> None:
        self.problem: BadRow | None = None
        self.warnings: list[str] = []
        self._rows = rows
        self._signatures = signatures
        self._replay = ReleaseReplay(incomplete=incomplete)

    @property
    def releases(self) -> Mapping[tuple[str, int], Release]:
        """What the releases have come to."""
        return self._replay.releases

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            yield row
            if self.problem is None:
                self.problem = self._fault(row)

    def _fault(self, row: Row) -> BadRow | None:
        if row.seq in self._signatures.void:
            # By the settings of now: those of whom declared it void did not know its signer, or not yet.
            if self._signatures.problem(row) is None:
                self.warnings.append(f"{named(row)} was declared void, and is soundly signed")
            return None
        unsigned = self._signatures.problem(row, hashed=True)
        if unsigned is not None:
            return BadRow(row.seq, unsigned)
        why = self._replay.take(row)
        return BadRow(row.seq, f"{named(row)}: {why}") if why is not None else None


def _differing(
    rows: list[dict[str, Any]], recorded: Mapping[tuple[str, int], Release], archived: Mapping[str, str]
) -> tuple[str, ...]:
    """Releases whose row is not what their last event left."""
    stored = {(row["model"], row["version"]): row for row in rows}
    keys = sorted(stored.keys() | recorded.keys() | set(map(_key, archived)))
    found = (row_difference(stored.get(key), recorded.get(key), archived) for key in keys)
    return tuple(problem for problem in found if problem is not None)


def _key(named: str) -> tuple[str, int]:
    model, _, version = named.rpartition("/")
    return model, int(version)
