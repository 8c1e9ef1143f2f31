"""Beginning to sign the rows of a ledger, and declaring a row void that is not signed.

Here: what is recorded of both. Not here: which rows may be acted on (`signed_rows.py`) and the check of all of them
(`verification.py`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fraud_retraining.adapters.ledger.event_log import sql
from fraud_retraining.adapters.ledger.signed_rows import NOT_BEGUN, SignedRows
from fraud_retraining.adapters.ledger.verification import VerifiedRecords
from fraud_retraining.domain.audit.stored_state import record_altered
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.ledger.hash_chain import MOST_SHOWN, Head, Row, named
from fraud_retraining.domain.values.errors import Conflict, RecordAltered, SettingsError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from fraud_retraining.adapters.ledger.database import Transaction


MOST_VOID = 10_000
"""Rows that one event declares void: it names each with its hash, some 90 bytes a row."""


class SigningRecords(VerifiedRecords):
    """A record whose rows are signed from one row on."""

    def begin_signing(self, *, actor: str, channel: str, reason: str, also_pinned: Sequence[Head] = ()) -> Event:
        """Sign from here on; the signed row vouches for those before it, which are verified first.

        Raises:
            SettingsError: no signers are named, or this process has no key of one.
            RecordAltered: what is there is not what was written.
            Conflict: signing began before, or somebody else wrote meanwhile.
        """
        self._require_signers()
        found = self.verify(also_pinned=also_pinned)
        if problems := [problem for problem in found.problems if problem != NOT_BEGUN]:
            raise record_altered(problems)

        def work(tx: "Transaction") -> Event:
            if (began := self.signed.began(tx.connection)) is not None:
                raise Conflict(f"signing began at row {began.seq}", remedy="There is nothing to do.")
            if tx.head != found.head:
                raise Conflict(
                    f"the ledger was written to after it was verified up to row {found.head.seq}",
                    remedy="Stop what writes to it, so that every process that starts again signs; then try again.",
                )
            signers = {name: signer.public_key for name, signer in self.signed.signers.items()}
            payload = {"reason": reason, "rows": found.head.seq, "signers": signers}
            return self._event(tx, EventKind.SIGNING_BEGAN, payload, actor=actor, channel=channel)

        return self._database.write(work)

    def void_row(
        self,
        seq: int,
        *,
        actor: str,
        channel: str,
        reason: str,
        through: int | None = None,
        despite_signature: bool = False,
    ) -> Event:
        """Take rows that are not signed out of the record: they stay in the chain, and nobody acts on them any more.

        Args:
            seq: the row, or the first of several.
            actor: who says so.
            channel: by which way.
            reason: why.
            through: the last of several; what is void before it stays so.
            despite_signature: also rows that are signed, but by a signer whom these settings do not list, or do not let
                sign them. It may be the settings that are wrong.

        Raises:
            SettingsError: there is no such row, too many are named, no signers are, or this process has no key of one.
            Conflict: a row is signed as it should be, or was declared void before.
        """
        self._require_signers()
        last = seq if through is None else through
        if not 0 <= last - seq < MOST_VOID:
            raise SettingsError(
                f"rows {seq} to {last} cannot be declared void at once",
                remedy=f"name the first row, then the last, at most {MOST_VOID:,} in one go.",
            )

        def work(tx: "Transaction") -> Event:
            stored = list(sql().stored_rows(tx.connection, {}, after=seq - 1, limit=last - seq + 1))
            if not stored or (stored[0].seq, stored[-1].seq) != (seq, last):
                missing = seq if not stored or stored[0].seq != seq else last
                raise SettingsError(
                    f"the ledger has no row {missing}", remedy="`audit verify` names the row that is meant."
                )
            void = self.signed.void(tx.connection)
            rows = [row for row in stored if row.seq not in void]
            if not rows:
                raise Conflict(f"{_rows(seq, last)} declared void before", remedy="There is nothing to do.")
            whys = [self._why_void(tx.connection, row, despite_signature) for row in rows]
            first = rows[0]
            payload: dict[str, Any] = {"row": seq, "hash": first.hash, "row_kind": first.kind[:MOST_SHOWN]}
            if through is not None:
                payload |= {"through": last, "rows": [{"seq": row.seq, "hash": row.hash} for row in rows]}
            payload |= {"why": whys[0], "reason": reason}
            return self._event(tx, EventKind.ROW_VOIDED, payload, actor=actor, channel=channel, subject=str(seq))

        return self._database.write(work)

    def _why_void(self, cn: "sa.Connection", row: Row, despite_signature: bool) -> str:
        """What is wrong with a row that is to be void.

        Raises:
            Conflict: nothing, or only these settings say so.
        """
        found = self.signed.unsound(cn, row)
        if found is None or row.seq <= self.signed.require_begun(cn).seq:
            raise Conflict(
                f"{named(row)} is not one that is unsigned; only such rows are void",
                remedy="What was recorded stays; a decision is corrected by another decision.",
            )
        if found.by_settings and not despite_signature:
            raise Conflict(
                f"{found.why}; perhaps it is the settings of this process that are of before, and the row is sound",
                remedy="Compare ledger.signers with that of the process that wrote it. Where its signer should not "
                "have signed it, `fraud-retraining audit void --despite-signature` takes it out of the record.",
            )
        return found.why

    def disbelieved(self, rows: Sequence[Row]) -> dict[int, str]:
        """Why rows are not acted on, by their number; those that are do not appear, and hold an event each."""

        def work(cn: "sa.Connection") -> dict[int, str]:
            signed: SignedRows = sql().signed_rows(cn)
            if not signed.demanded:
                return {}
            void = signed.void(cn)
            problems = {row.seq: signed.problem(cn, row) for row in rows}
            whys = {seq: f"void: {why or 'as was said'}" if seq in void else why for seq, why in problems.items()}
            return {seq: why for seq, why in whys.items() if why is not None}

        found = self._database.read(work)
        return found | {row.seq: why for row in rows if row.seq not in found and (why := _no_event(row)) is not None}

    def _require_signers(self) -> None:
        if not self.signed.demanded:
            raise SettingsError(
                "ledger.signers is empty: nothing has to be signed",
                remedy="`fraud-retraining audit key --out FILE` makes a key and prints what belongs there.",
            )
        self.signed.key()


def _rows(first: int, last: int) -> str:
    return f"row {first} was" if first == last else f"rows {first} to {last} were all"


def _no_event(row: Row) -> str | None:
    try:
        Event.of(row)
    except RecordAltered as altered:
        return "; ".join(altered.culprits)
    return None
