"""Notices and deliveries as values, read from the outbox's rows.

Here: what the outbox gives to its callers, and how times are stored. Not here: reading and writing rows
(`statements.py`), and when which of them changes (`outbox.py`, `delivery_queue.py`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from fraud_retraining.domain.alerts.notices import Action, Notice, kind_of
from fraud_retraining.domain.values.base import Value


class Opened(Value):
    """A notice that is open now: `new` when it was not before, `seen` how often it was opened since."""

    id: int
    new: bool
    seen: int


class OpenNotice(Value):
    """A notice whose cause lasts."""

    id: int
    notice: Notice
    seen: int
    opened_at: datetime
    seen_at: datetime


class Delivery(Value):
    """A message that was claimed for sending."""

    id: int
    notice: Notice
    destination: str
    action: Action
    body: dict[str, Any]
    attempts: int
    created_at: datetime
    receipt: dict[str, Any] | None
    thread: str = Field(description="What all messages of a notice have in common, and those of no other.")
    is_open: bool = Field(description="Whether the notice is still open, now that the message is sent.")

    @property
    def kind(self) -> str:
        """The sort of destination."""
        return kind_of(self.destination)


class Backlog(Value):
    """What is still to be sent, and what was given up."""

    waiting: int
    oldest: datetime | None
    last_error: str | None
    given_up: int


def stamp(at: datetime) -> str:
    """A time as text that sorts as the times do."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def when(text: str) -> datetime:
    """The time that a text of `stamp` stands for."""
    return datetime.fromisoformat(text)


def open_notice(row: Mapping[str, Any]) -> OpenNotice:
    """Return the notice of a row of the table `notices`."""
    return OpenNotice(
        id=row["id"],
        notice=Notice.model_validate_json(row["notice"]),
        seen=row["seen"],
        opened_at=when(row["opened_at"]),
        seen_at=when(row["seen_at"]),
    )
