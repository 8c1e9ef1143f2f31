"""Events of the ledger: their kinds, canonical text, and the chain of hashes that binds them.

Here: how a row is encoded and hashed, and how a chain is verified. Not here: where rows are kept
(`adapters/ledger/ledger.py`) and what may happen to a release (`domain/releases/lifecycle.py`).
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import PurePath
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, SecretBytes, SecretStr

from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.redaction import BLANK, is_secret_name, redact

NO_HASH = "0" * 64


class EventKind(StrEnum):
    """Kinds of events. The values are stored and never change."""

    RETRAIN_DECIDED = "retrain_decided"
    RETRAIN_REQUESTED = "retrain_requested"
    RETRAIN_FAILED = "retrain_failed"
    RETRAIN_SKIPPED = "retrain_skipped"
    WINDOW_BUILT = "window_built"
    DAY_CHANGED = "day_changed"
    REPRODUCIBILITY_CHANGED = "reproducibility_changed"
    ARTIFACT_BUILT = "artifact_built"
    MODEL_TRAINED = "model_trained"
    MODEL_EVALUATED = "model_evaluated"
    VERSION_REGISTERED = "version_registered"
    RELEASE_MOVED = "release_moved"
    FLOOR_EXCEPTED = "floor_excepted"
    DECISION_REFUSED = "decision_refused"
    PROMOTION_INTENDED = "promotion_intended"
    PROMOTION_DONE = "promotion_done"
    PROMOTION_UNDONE = "promotion_undone"
    APPROVAL_RECORDED = "approval_recorded"
    CHAMPION_MOVED_OUTSIDE = "champion_moved_outside"
    CHAMPION_CHECKED = "champion_checked"
    SMOKE_TESTED = "smoke_tested"
    REVIEWERS_REMINDED = "reviewers_reminded"
    LINK_MADE = "link_made"
    CONFIGURATION_CHANGED = "configuration_changed"
    RETRAIN_FINISHED = "retrain_finished"
    INGEST_FAILED = "ingest_failed"
    MONITORING_FAILED = "monitoring_failed"
    CLEANING_FAILED = "cleaning_failed"
    DECISION_FAILED = "decision_failed"
    AUTOMATION_PAUSED = "automation_paused"
    AUTOMATION_RESUMED = "automation_resumed"
    NOTICE_OPENED = "notice_opened"
    NOTICE_RESOLVED = "notice_resolved"
    ARTIFACTS_REMOVED = "artifacts_removed"
    RELEASE_ANNOUNCED = "release_told"
    HISTORY_ARCHIVED = "history_archived"
    RECORD_ALTERED = "record_altered"
    RECORD_RESTORED = "record_restored"


RELEASE_KINDS = frozenset(
    {
        EventKind.VERSION_REGISTERED,
        EventKind.RELEASE_MOVED,
        EventKind.PROMOTION_INTENDED,
        EventKind.PROMOTION_DONE,
        EventKind.PROMOTION_UNDONE,
        EventKind.APPROVAL_RECORDED,
    }
)
"""Kinds of events that hold the release as it then was, under `release` in their payload."""


class Row(NamedTuple):
    """One row of the chain, exactly as it is stored.

    `at` and `as_of` are ISO texts (UTC), `payload` is canonical JSON, `txn` names the transaction that wrote it.
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


class Event(Value):
    """One row of the chain, to be read. `at` is aware, UTC, from the database's clock."""

    seq: int
    at: datetime
    model: str
    kind: str
    actor: str
    channel: str
    subject: str | None
    as_of: date | None
    version: int | None
    fingerprint: str | None
    payload: dict[str, Any]
    hash: str

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return the event of a stored row."""
        values = {name: value for name, value in row._asdict().items() if name in cls.model_fields}
        return cls(**{**values, "payload": json.loads(row.payload)})


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


def _plain_float(value: float) -> float | str:
    """JSON has no NaN and no infinity; the record says them in words."""
    return value if math.isfinite(value) else str(value)


def plain(value: Any) -> Any:
    """A value as JSON can hold it, secrets blanked: dates in ISO format, sets sorted, models by their fields.

    Raises:
        TypeError: something that has no canonical text.
    """
    match value:
        case Enum():
            return plain(value.value)
        case None | bool() | int():
            return value
        case float():
            return _plain_float(float(value))
        case str():
            return redact(str(value))
        case SecretStr() | SecretBytes():
            return BLANK
        case date():
            return value.isoformat()
        case Decimal() | PurePath():
            return redact(str(value))
        case BaseModel():
            return plain(dict(value))
        case Mapping():
            return {
                name: _plain_field(name, item) for name, item in zip(map(_name, value), value.values(), strict=True)
            }
        case tuple() if hasattr(value, "_asdict"):
            return plain(value._asdict())
        case Set():
            return sorted((plain(item) for item in value), key=canonical_json)
        case Sequence() if not isinstance(value, bytes | bytearray | memoryview):
            return [plain(item) for item in value]
    listed = getattr(value, "tolist", None)
    if callable(listed) and not isinstance(value, memoryview):
        return plain(listed())
    raise TypeError(f"{type(value).__name__} has no place in a record: {value!r:.80}")


def _name(key: Any) -> str:
    return redact(str(key))


def _plain_field(name: str, value: Any) -> Any:
    return BLANK if is_secret_name(name) and value is not None else plain(value)


def canonical_json(value: Any) -> str:
    """Return the one text of a plain value: sorted keys, no blanks, ASCII.

    Examples:
        >>> canonical_json({"b": 1, "a": [True, None]})
        '{"a":[true,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def row_hash(row: Row) -> str:
    """SHA-256 of the previous row's hash followed by the canonical JSON of this row without its two hashes."""
    content = row._asdict()
    previous = content.pop("prev_hash")
    del content["hash"]
    return hashlib.sha256((previous + canonical_json(content)).encode()).hexdigest()


def chained(row: Row) -> Row:
    """The row with its own hash filled in."""
    return row._replace(hash=row_hash(row))


def _fault(row: Row, after: Head) -> BadRow | None:
    if row.seq > after.seq + 1:
        return BadRow(after.seq + 1, f"row {after.seq + 1} is missing: row {row.seq} follows row {after.seq}")
    if row.seq <= after.seq:
        return BadRow(row.seq, f"row {row.seq} comes after row {after.seq}")
    if row.prev_hash != after.hash:
        return BadRow(row.seq, f"row {row.seq} does not follow from row {after.seq}: its previous hash is another one")
    if row.hash != row_hash(row):
        return BadRow(row.seq, f"row {row.seq} is not what was written: its content does not give its hash")
    return None


def verify_chain(rows: Iterable[Row], *heads: Head, start: Head = NOTHING) -> tuple[Head, BadRow | None]:
    """The last good row, and the first bad one with the reason, if there is one.

    `heads` are rows known from elsewhere (exports, the head row): a chain that ends before one of them, or that has
    another row in its place, was cut or written anew. `start` is the last row that was archived: the chain goes on
    from there, and about rows before it these rows say nothing.
    """
    known: dict[int, set[str]] = {}
    for head in heads:
        known.setdefault(head.seq, set()).add(head.hash)
    known.pop(NOTHING.seq, None)
    last = start
    if known.get(start.seq, {start.hash}) != {start.hash}:
        return NOTHING, _other_head(start.seq)
    for row in rows:
        fault = _fault(row, last)
        if fault is None and known.get(row.seq, {row.hash}) != {row.hash}:
            fault = _other_head(row.seq)
        if fault is not None:
            return last, fault
        last = Head(seq=row.seq, hash=row.hash)
    cut = max(known, default=0)
    if cut > last.seq:
        return last, BadRow(last.seq + 1, f"the chain was cut: it ends at row {last.seq}, a known head is row {cut}")
    return last, None


def _other_head(seq: int) -> BadRow:
    return BadRow(seq, f"row {seq} is not the row that was known as the head of the chain")
