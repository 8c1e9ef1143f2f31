"""Beginning to sign the rows of a ledger, and declaring a row void that is not signed.

Here: what is recorded of both. Not here: which rows may be acted on (`signed_rows.py`) and the check of all of them
(`verification.py`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fraud_retraining.adapters.ledger.event_log import sql
from fraud_retraining.adapters.ledger.signed_rows import NOT_BEGUN, SignedRows
from fraud_retraining.adapters.ledger.verification import VerifiedRecords
from fraud_retraining.domain.audit.stored_state import record_altered
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.ledger.hash_chain import Head, Row
from fraud_retraining.domain.values.errors import Conflict, SettingsError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from fraud_retraining.adapters.ledger.database import Transaction


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

    def void_row(self, seq: int, *, actor: str, channel: str, reason: str) -> Event:
        """Take a row that is not signed out of the record: it stays in the chain, and nobody acts on it any more.

        Raises:
            SettingsError: there is no such row, no signers are named, or this process has no key of one.
            Conflict: the row is signed as it should be, or was declared void before.
        """
        self._require_signers()

        def work(tx: "Transaction") -> Event:
            row = next(iter(sql().stored_rows(tx.connection, {"seq": seq})), None)
            if row is None:
                raise SettingsError(
                    f"the ledger has no row {seq}", remedy="`audit verify` names the row that is meant."
                )
            problem = self.signed.problem(tx.connection, row)
            began = self.signed.require_begun(tx.connection)
            if problem is None or seq <= began.seq:
                raise Conflict(
                    f"row {seq} ({row.kind.replace('_', ' ')}) is not one that is unsigned; only such rows are void",
                    remedy="What was recorded stays; a decision is corrected by another decision.",
                )
            if seq in self.signed.void(tx.connection):
                raise Conflict(f"row {seq} was declared void before", remedy="There is nothing to do.")
            payload = {"row": seq, "hash": row.hash, "row_kind": row.kind, "why": problem, "reason": reason}
            return self._event(tx, EventKind.ROW_VOIDED, payload, actor=actor, channel=channel, subject=str(seq))

        return self._database.write(work)

    def disbelieved(self, rows: Sequence[Row]) -> dict[int, str]:
        """Why rows are not acted on, by their number; those that are do not appear."""

        def work(cn: "sa.Connection") -> dict[int, str]:
            signed: SignedRows = sql().signed_rows(cn)
            if not signed.demanded:
                return {}
            problems = {row.seq: signed.problem(cn, row) for row in rows}
            void = signed.void(cn)
            return {seq: f"void: {why}" if seq in void else why for seq, why in problems.items() if why is not None}

        return self._database.read(work)

    def _require_signers(self) -> None:
        if not self.signed.demanded:
            raise SettingsError(
                "ledger.signers is empty: nothing has to be signed",
                remedy="`fraud-retraining audit key --out FILE` makes a key and prints what belongs there.",
            )
        self.signed.key()
