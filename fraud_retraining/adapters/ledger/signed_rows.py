"""Which rows of a ledger may be acted on, where the settings name signers: those that one of them signed.

Here: the row at which signing began, the rows before it, rows that were declared void, and signing what is added. Not
here: what makes a signature a good one (`domain/ledger/signatures.py`).

Settings demand signatures, never the database: a ledger without a valid `signing_began` is not read at all. That row is
signed and carries the hash of the row before it, so that it vouches for every row before it, which nobody signed. Once
it was archived, `history_archived` names it.

`statements.events` asks here for every reader, so that no reader can forget it.
"""

import json
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fraud_retraining.domain.audit.stored_state import UNSIGNED as UNSIGNED_ROW
from fraud_retraining.domain.audit.stored_state import record_altered
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.ledger.hash_chain import NOTHING, Head, Row, named, row_hash, verify_chain
from fraud_retraining.domain.ledger.signatures import (
    KINDS,
    SignerPolicy,
    SigningKey,
    Unsound,
    signature_problem,
    unsound,
)
from fraud_retraining.domain.values.errors import SettingsError

if TYPE_CHECKING:
    import sqlalchemy as sa

NOT_BEGUN = "ledger.signers is set, but the ledger has no row, signed by one of them, that says that signing began"
REMEDY = (
    "`fraud-retraining audit sign --by WHO --reason TEXT` begins it, once somebody has looked at what is there. If it "
    "had begun, that row was removed, or its signer is no longer listed: see `fraud-retraining audit verify`."
)


def _no_key() -> SigningKey:
    raise SettingsError("this process has no private key for the ledger")


class SignedRows:
    """The signers of a ledger, and what this process has found out about its rows. Without signers nothing is asked."""

    def __init__(
        self, signers: Mapping[str, SignerPolicy] | None = None, key: Callable[[], SigningKey] = _no_key
    ) -> None:
        """Nothing is read yet.

        Args:
            signers: by name; none where rows are not signed.
            key: gives the private key of this process, or raises `SettingsError` where it has none. Called when the
                first row is added.
        """
        self.signers = dict(signers or {})
        self._find_key = key
        self._key: SigningKey | None = None
        self._began: Head | None = None
        self._before: Mapping[int, str] | None = None
        self._broken: weakref.WeakSet[sa.Connection] = weakref.WeakSet()
        self._void: tuple[Head, Mapping[int, str]] = (NOTHING, {})
        self._lock = threading.Lock()

    @property
    def demanded(self) -> bool:
        """Whether rows have to be signed."""
        return bool(self.signers)

    # ------------------------------------------------------------ writing

    def key(self) -> SigningKey:
        """The private key of this process.

        Raises:
            SettingsError: it has none that a signer has.
        """
        if self._key is None:
            self._key = self._find_key()
        return self._key

    def signed(self, row: Row) -> Row:
        """A row that is to be added, signed where that is demanded.

        Raises:
            SettingsError: this process has no key, or one that may not write such events.
        """
        if not self.demanded:
            return row
        made = self.key().signed(row)
        if (problem := signature_problem(made, self.signers)) is not None:
            signer = self.signers[self.key().signer]
            may = ", ".join(sorted(KINDS[signer.writes])) if signer.writes != "everything" else "everything"
            raise SettingsError(
                f"this process cannot add to the ledger: {problem}",
                remedy=f"give it the key of another signer; ledger.signers.{self.key().signer} may write: {may}.",
            )
        return made

    # ------------------------------------------------------------ reading

    def began(self, cn: "sa.Connection") -> Head | None:
        """The row at which signing began; None where no signed row says so."""
        if self._began is None:
            self._began = self._beginning(cn)
        return self._began

    def _beginning(self, cn: "sa.Connection") -> Head | None:
        from fraud_retraining.adapters.ledger.statements import stored_rows

        for row in stored_rows(cn, {"kind": EventKind.SIGNING_BEGAN}):
            if signature_problem(row, self.signers) is None:
                return Head(seq=row.seq, hash=row.hash)
        for row in stored_rows(cn, {"kind": EventKind.HISTORY_ARCHIVED}, newest=True):
            if signature_problem(row, self.signers) is None:
                try:
                    return Head.model_validate(json.loads(row.payload)["signing_began"])
                except (ValidationError, ValueError, KeyError, TypeError):
                    # One that was archived before signing began names none.
                    continue
        return None

    def require_begun(self, cn: "sa.Connection") -> Head:
        """The row at which signing began.

        Raises:
            SettingsError: no signed row says so.
        """
        began = self.began(cn)
        if began is None:
            raise SettingsError(f"{NOT_BEGUN}; nothing is read from it or added to it", remedy=REMEDY)
        return began

    def nothing_there(self, cn: "sa.Connection") -> bool:
        """Whether the ledger has no row yet, which nobody has to sign.

        Raises:
            SettingsError: it has rows, and no signed row says that signing began.
        """
        from fraud_retraining.adapters.ledger.statements import last_row

        if self.began(cn) is None and last_row(cn) == NOTHING:
            return True
        self.require_begun(cn)
        return False

    def problem(self, cn: "sa.Connection", row: Row) -> str | None:
        """Why a row may not be acted on, as a clause that names it; None where it may."""
        found = self.unsound(cn, row)
        return None if found is None else found.why

    def unsound(self, cn: "sa.Connection", row: Row) -> Unsound | None:
        """The same, and whether settings of another time may find nothing wrong with it."""
        began = self.require_begun(cn)
        if row.seq > began.seq:
            return unsound(row, self.signers)
        known = began.hash if row.seq == began.seq else self._unsigned(cn, began).get(row.seq)
        if row.hash == known and row.hash == row_hash(row):
            return None
        why = f"{named(row)} is none of those that row {began.seq}, at which signing began, follows from"
        return Unsound(why, by_settings=False)

    def _unsigned(self, cn: "sa.Connection", began: Head) -> Mapping[int, str]:
        """Hashes of the rows before signing began, by row; none where they do not lead to the row that began it."""
        from fraud_retraining.adapters.ledger.statements import stored_rows

        with self._lock:
            if self._before is not None:
                return self._before
            # A connection is one transaction, whose state does not change: what is broken is not read again a row.
            if cn in self._broken:
                return {}
            rows: dict[int, str] = {}
            start: Head | None = None
            last: Head | None = None
            for row in stored_rows(cn, {}):
                # What was archived before the first row that is left is for the verification to judge.
                start = start or Head(seq=row.seq - 1, hash=row.prev_hash)
                last, bad = verify_chain([row], start=last or start)
                if bad is not None:
                    break
                if row.seq == began.seq:
                    # Known for good: this very chain leads to a row that is signed.
                    self._before = rows if row.hash == began.hash else {}
                    return self._before
                rows[row.seq] = row.hash
            self._broken.add(cn)
            return {}

    def void(self, cn: "sa.Connection") -> Mapping[int, str]:
        """Rows that a signed `row_voided` takes out of the record, with the hash that it states of each.

        They stay in the chain, and nobody acts on them. Of rows that this process has looked through, none is looked
        at again while the last of them is still there.
        """
        from fraud_retraining.adapters.ledger.statements import last_row, stored_rows

        seen, found = self._void
        if seen != NOTHING and not any(row.hash == seen.hash for row in stored_rows(cn, {"seq": seen.seq})):
            seen, found = NOTHING, {}
        more: dict[int, str] = {}
        for row in stored_rows(cn, {"kind": [EventKind.ROW_VOIDED, EventKind.HISTORY_ARCHIVED]}, after=seen.seq):
            if signature_problem(row, self.signers) is None:
                more.update(_declared_void(json.loads(row.payload)))
        if more:
            found = {**found, **more}
        self._void = (last_row(cn), found)
        return found

    def believed(self, cn: "sa.Connection", rows: Iterable[Row], *, skip: bool) -> Iterator[Row]:
        """The rows that may be acted on.

        Args:
            cn: the database that they were read from.
            rows: as they are stored.
            skip: leave out the others, instead of refusing to go on.

        Raises:
            RecordAltered: names the first that may not, unless they are skipped.
        """
        for row in rows:
            problem = self.problem(cn, row)
            if problem is None:
                yield row
            elif not skip:
                raise record_altered([problem], UNSIGNED_ROW)


def _declared_void(payload: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Rows that an event declares void, or says to have been; with the hash of each."""
    if "row" in payload and "rows" not in payload:
        yield int(payload["row"]), str(payload["hash"])
    for one in (*payload.get("rows", ()), *payload.get("void", ())):
        yield int(one["seq"]), str(one["hash"])


UNSIGNED = SignedRows()
"""Nothing is signed, and nothing has to be."""
