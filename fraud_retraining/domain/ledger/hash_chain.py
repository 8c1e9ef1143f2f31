"""The chain of hashes that binds the rows of the ledger, and its verification.

Here: what a row is, its canonical text and hash, and the first row at which a chain is not what was written. Not here:
the kinds of events (`events.py`), where rows are kept (`adapters/ledger/ledger.py`), and whether the moves in them
follow the rules (`domain/audit/state_replay.py`).
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from fraud_retraining.domain.values.base import Value

NO_HASH = "0" * 64
KIND = re.compile(r"[a-z][a-z_]{0,39}")
MOST_SHOWN = 40
NONE_VOID: Mapping[int, str] = MappingProxyType({})


class Row(NamedTuple):
    """One row of the chain, exactly as it is stored.

    `at` and `as_of` are ISO texts (UTC), `payload` is canonical JSON, `txn` names the transaction that wrote it.
    `signature` is that of `signer` over the hash (`signatures.py`); both are null where nothing signs.
    """

    seq: int
    at: str
    model: str
    kind: str
    actor: str
    channel: str
    subject: str | None
    as_of: str | None
    version: int | None
    fingerprint: str | None
    payload: str
    txn: str
    prev_hash: str
    hash: str
    signer: str | None = None
    signature: str | None = None


NOT_HASHED = ("prev_hash", "hash", "signer", "signature")
"""Columns that are no content: a signature is made over the hash."""


class Head(Value):
    """The last row of a chain. Kept elsewhere, it shows later that nothing was cut off."""

    seq: int = 0
    hash: str = NO_HASH


NOTHING = Head()
"""The head of a chain that has no row yet."""


class BadRow(NamedTuple):
    """The first row at which a chain is not what was written."""

    seq: int
    why: str


def canonical_json(value: Any) -> str:
    """Return the one text of a plain value: sorted keys, no blanks, ASCII.

    Examples:
        >>> canonical_json({"b": 1, "a": [True, None]})
        '{"a":[true,null],"b":1}'
    """
    # Stored hashes are over these very bytes: no option may change. ASCII, so that no Unicode form makes two texts of
    # one.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def row_hash(row: Row) -> str:
    """SHA-256 of the previous row's hash followed by the canonical JSON of this row without hashes and signature."""
    content = row._asdict()
    for name in NOT_HASHED:
        del content[name]
    return hashlib.sha256((row.prev_hash + canonical_json(content)).encode()).hexdigest()


def named(row: Row) -> str:
    r"""A row for a message: its number and kind, of which whoever can insert rows may have made any text.

    >>> named(Row(7, "", "m", "\x1b[2Jall is well", "", "", None, None, None, None, "", "", "", ""))
    "row 7 ('\\x1b[2Jall is well')"
    """
    kind = row.kind.replace("_", " ") if KIND.fullmatch(row.kind) else repr(row.kind[:MOST_SHOWN])
    return f"row {row.seq} ({kind})"


def chained(row: Row) -> Row:
    """The row with its own hash filled in."""
    return row._replace(hash=row_hash(row))


def _fault(row: Row, after: Head, void: Mapping[int, str]) -> BadRow | None:
    # Numbers before hashes: "row 12 is missing" says more than that row 13 does not follow.
    if row.seq > after.seq + 1:
        return BadRow(after.seq + 1, f"row {after.seq + 1} is missing: row {row.seq} follows row {after.seq}")
    if row.seq <= after.seq:
        return BadRow(row.seq, f"row {row.seq} comes after row {after.seq}")
    if row.prev_hash != after.hash:
        return BadRow(row.seq, f"row {row.seq} does not follow from row {after.seq}: its previous hash is another one")
    # Whoever inserted a void row may have given it any hash; the rows after it follow from the one that it has.
    if row.seq in void:
        other = row.hash != void[row.seq]
        return BadRow(row.seq, f"row {row.seq} is not the row that was declared void") if other else None
    if row.hash != row_hash(row):
        return BadRow(row.seq, f"row {row.seq} is not what was written: its content does not give its hash")
    return None


def verify_chain(
    rows: Iterable[Row], *heads: Head, start: Head = NOTHING, void: Mapping[int, str] = NONE_VOID
) -> tuple[Head, BadRow | None]:
    """The last good row, and the first bad one with the reason, if there is one.

    `heads` are rows known from elsewhere (exports, the head row): a chain that ends before one of them, or that has
    another row in its place, was cut or written anew. `start` is the last row that was archived: the chain goes on
    from there, and about rows before it these rows say nothing. `void` gives the stored hash of rows that were declared
    void: they have to be in their place with that hash, whatever their content.
    """
    known: dict[int, set[str]] = {}
    for head in heads:
        known.setdefault(head.seq, set()).add(head.hash)
    # A head from before the first row proves nothing.
    known.pop(NOTHING.seq, None)
    last = start
    if known.get(start.seq, {start.hash}) != {start.hash}:
        return NOTHING, _other_head(start.seq)
    for row in rows:
        fault = _fault(row, last, void)
        if fault is None and known.get(row.seq, {row.hash}) != {row.hash}:
            fault = _other_head(row.seq)
        if fault is not None:
            return last, fault
        last = Head(seq=row.seq, hash=row.hash)
    # Rows that were cut off leave a chain that is whole; only a head that was kept elsewhere shows it.
    cut = max(known, default=0)
    if cut > last.seq:
        return last, BadRow(last.seq + 1, f"the chain was cut: it ends at row {last.seq}, a known head is row {cut}")
    return last, None


def _other_head(seq: int) -> BadRow:
    return BadRow(seq, f"row {seq} is not the row that was known as the head of the chain")
