"""Events as a ledger would have written them, for rules that read the record."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fraud_retraining.domain.ledger.events import Event, EventKind

MORNING = datetime(2026, 9, 1, 8, tzinfo=UTC)


class Record:
    """A record that grows a row at a time; `days` moves its clock."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = MORNING

    def days(self, days: float) -> "Record":
        self.now += timedelta(days=days)
        return self

    def add(self, kind: EventKind, version: int | None = None, subject: str | None = None, **payload: Any) -> Event:
        event = Event(
            seq=len(self.events) + 1,
            at=self.now,
            model="fraud_detector",
            kind=kind,
            actor=payload.pop("actor", "alice"),
            channel="command line, own token",
            subject=subject,
            as_of=None,
            version=version,
            fingerprint=None,
            payload=payload,
            hash="",
        )
        self.events.append(event)
        return event

    def move(self, version: int, to: str, before: str = "awaiting_approval", **more: Any) -> Event:
        release = {"deadline": "2026-09-02T08:00:00Z", "trigger": "schedule", **more.pop("release", {})}
        step = {"from": before, "to": to, "reason": "because", "release": release}
        return self.add(EventKind.RELEASE_MOVED, version, **{**step, **more})

    def promote(
        self, version: int, by: str | None = "alice", *, rollback: bool = False, before: int | None = 1
    ) -> Event:
        intent = {"rollback": rollback, "expected_champion": before, "actor": by, "reason": "because"}
        return self.add(EventKind.PROMOTION_DONE, version, intent=intent, release={"decided_by": by})
