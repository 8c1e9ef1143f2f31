"""How old events leave the ledger without breaking its chain.

Here: which rows may go, and the event that stands for them afterwards. Not here: moving them
(`adapters/ledger/archive.py`).

The chain goes on from the last row that went. The event `history_archived`, itself a row of the chain, names that row
and its hash; so a chain that begins later than row 1 verifies only if a row that is still in it says so.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from pydantic import Field, ValidationError

from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.ledger.hash_chain import Head, Row, canonical_json, row_hash
from fraud_retraining.domain.releases.lifecycle import OPEN
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.errors import RecordAltered

LEAST_DAYS = 365
LIVE = OPEN | {ReleaseState.PROMOTING, ReleaseState.PROMOTED}


class Archived(Value):
    """Payload of `history_archived`: which rows were moved out, where to, and the last states of their releases."""

    first: int = Field(description="First row that went.")
    through: Head = Field(description="Last row that went; the chain goes on from it.")
    oldest: datetime
    newest: datetime
    retention_days: int = Field(ge=LEAST_DAYS)
    file: str = Field(description="Name of the archive that holds them.")
    file_digest: str = Field(description="SHA-256 of that file.")
    releases: dict[str, str] = Field(
        description="Digest of the last state of every release whose last event went, by `model/version`."
    )
    signing_began: Head | None = Field(None, description="Row from which on every row is signed, where rows are.")
    void: tuple[Head, ...] = Field((), description="Rows that were declared void, as far as they went.")


def archived(rows: Iterable[Row]) -> Archived | None:
    """Return the newest archiving among the rows.

    A row whose content does not give its hash does not count, nor does one that moved younger rows than permitted.
    """
    # Only rows that hash as they should: an event that was written into the table by hand could hide any number of
    # rows.
    valid = [found for row in sorted(rows) if (found := _archived(row)) is not None]
    return valid[-1] if valid else None


def _archived(row: Row) -> Archived | None:
    if row.kind != EventKind.HISTORY_ARCHIVED or row.hash != row_hash(row):
        return None
    try:
        event = Event.of(row)
        found = Archived.model_validate(event.payload)
        return found if found.newest < cut_off(event.at, found.retention_days) else None
    except (RecordAltered, ValidationError, TypeError):
        # TypeError: times of which one says no zone.
        return None


def release_key(model: str, version: int) -> str:
    """How `Archived.releases` names a release."""
    return f"{model}/{version}"


def release_digest(row: Mapping[str, Any]) -> str:
    """Digest of a release's row; fields that are not set do not count, so that a later schema may add some."""
    text = canonical_json({name: value for name, value in row.items() if value not in (None, "")})
    return sha256(text.encode()).hexdigest()


def cut_off(now: datetime, retention_days: int) -> datetime:
    """The time before which events may go."""
    return now - timedelta(days=retention_days)


def live(releases: Iterable[Release]) -> list[Release]:
    """Return releases whose whole history stays at any age: open ones, champions, and the champions before these."""
    known = list(releases)
    serving = [release for release in known if release.state in LIVE]
    before = {(release.model, release.champion_before) for release in serving}
    return [release for release in known if release in serving or (release.model, release.version) in before]


def standing_pauses(events: Iterable[Event]) -> list[int]:
    """Return the rows that began a pause which is still in force: they stay, or automation would resume by itself."""
    began: dict[tuple[str, str | None], int] = {}
    for event in sorted(events, key=lambda event: event.seq):
        if event.kind == EventKind.AUTOMATION_RESUMED:
            began.pop((event.model, event.subject), None)
        elif event.kind == EventKind.AUTOMATION_PAUSED:
            began.setdefault((event.model, event.subject), event.seq)
    return list(began.values())
