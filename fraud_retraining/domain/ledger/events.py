"""Events of the ledger: their kinds, and their payloads in plain form.

Here: which kinds of events there are, an event as it is read, and how a value becomes a payload that JSON can hold.
Not here: how rows are hashed and a chain is verified (`hash_chain.py`), where rows are kept
(`adapters/ledger/ledger.py`) and what may happen to a release (`domain/releases/lifecycle.py`).
"""

import json
import math
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import PurePath
from typing import Any, Self

from pydantic import BaseModel, SecretBytes, SecretStr

from fraud_retraining.domain.ledger.hash_chain import Row, canonical_json, named
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.errors import RecordAltered
from fraud_retraining.domain.values.redaction import BLANK, is_secret_name, redact

POLICY_ACTOR = "promotion policy"
"""Actor of a decision that no person made."""


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
    MODEL_IMPORTED = "model_imported"
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
    MATURED_VERDICT = "matured_verdict"
    STATE_PUBLISHED = "state_published"
    ANSWERS_LOGGED = "answers_logged"
    PROMOTION_WATCHED = "promotion_watched"
    CANDIDATE_SHADOWED = "candidate_shadowed"
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
    RUNS_FORGOTTEN = "runs_forgotten"
    RELEASE_ANNOUNCED = "release_told"
    HISTORY_ARCHIVED = "history_archived"
    RECORD_ALTERED = "record_altered"
    RECORD_RESTORED = "record_restored"
    SIGNING_BEGAN = "signing_began"
    ROW_VOIDED = "row_voided"


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
        """Return the event of a stored row.

        Raises:
            RecordAltered: it holds none.
        """
        values = {name: value for name, value in row._asdict().items() if name in cls.model_fields}
        try:
            return cls(**{**values, "payload": json.loads(row.payload)})
        except (ValueError, TypeError, RecursionError) as error:
            raise RecordAltered(
                "The record of decisions was changed: a row of it holds no event.",
                culprits=[f"{named(row)} holds no event: {str(error)[:200]!r}"],
                remedy="`fraud-retraining audit verify`, and find out who wrote it; see the runbook, integrity.",
            ) from error


def _plain_float(value: float) -> float | str:
    """JSON has no NaN and no infinity; the record says them in words."""
    return value if math.isfinite(value) else str(value)


def plain(value: Any) -> Any:
    """A value as JSON can hold it, secrets blanked: dates in ISO format, sets sorted, models by their fields.

    Raises:
        TypeError: something that has no canonical text.
    """
    match value:
        # Before text and numbers: a StrEnum is both, and its value is what is stored.
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
            # By their text: elements of a set may be of types that cannot be compared.
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
