"""Pauses of automation, read from the ledger.

Here: whether a pause is in force. Not here: who pauses (a rollback pauses promotion, repeated failures pause
retraining) and what a pause leads to (`domain/releases/promotion_mode.py`, the sensors).
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.values.base import Value

PAUSING = (EventKind.AUTOMATION_PAUSED, EventKind.AUTOMATION_RESUMED)
"""The events that `paused` has to see."""


class Automation(StrEnum):
    """What can be paused; subject of the events."""

    PROMOTION = "promotion"
    RETRAINING = "retraining"


class Pause(Value):
    """Automation that was stopped until a person resumes it."""

    subject: Automation
    since: datetime
    by: str
    reason: str

    @property
    def summary(self) -> str:
        """Since when it is paused, by whom and why, as a clause."""
        return f"paused since {self.since:%Y-%m-%d %H:%M} UTC by {self.by}: {self.reason or 'no reason given'}"


def paused(events: Iterable[Event], subject: Automation) -> Pause | None:
    """Return the pause in force, None if it was resumed since; of several the first, which began it."""
    standing: Pause | None = None
    # By the row and not the time: a database's clock may be set back.
    for event in sorted(events, key=lambda event: event.seq):
        if event.subject != subject or event.kind not in PAUSING:
            continue
        if event.kind == EventKind.AUTOMATION_RESUMED:
            standing = None
        elif standing is None:
            reason = str(event.payload.get("reason", ""))
            standing = Pause(subject=subject, since=event.at, by=event.actor, reason=reason)
    return standing
