"""Notices and deliveries as values, read from the outbox's rows.

Here: what the outbox gives to its callers, and how times are stored. Not here: reading and writing rows
(`statements.py`), and when which of them changes (`outbox.py`, `delivery_queue.py`).
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import Field

from fraud_retraining.domain.alerts.notices import Action, Notice, kind_of
from fraud_retraining.domain.values.base import Value

MOST_CHARACTERS = 1_000_000
"""Length of a stored notice, message or receipt; this program's own are far shorter."""
T = TypeVar("T")


class Unreadable(Exception):
    """A row of the outbox that this program cannot have written so. It is set aside, and the others are sent.

    Attributes:
        row: number of the row.
    """

    def __init__(self, table: str, row: Any, why: str) -> None:
        super().__init__(f"row {row} of {table} cannot be read and is set aside: {why}")
        self.row = row


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
    """The time that a text of `stamp` stands for.

    Raises:
        ValueError: it is none.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text[:40]!r} names no time zone")
    return at


def stored_object(text: str) -> dict[str, Any]:
    """The object that a text of JSON stands for.

    Raises:
        ValueError: it is none, or holds what no destination takes.
    """
    found = json.loads(_bounded(text))
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    # A lone surrogate or NaN can be read and not sent.
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    return found


def stored_notice(text: str) -> Notice:
    """The notice that a text of JSON stands for.

    Raises:
        ValueError: it is none.
    """
    return Notice.model_validate_json(_bounded(text))


def _bounded(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(text)} characters, more than {MOST_CHARACTERS}")
    return text


def read_row(table: str, row: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]) -> T:
    """Return what `read` makes of a row.

    Raises:
        Unreadable: it can make nothing of it.
    """
    try:
        return read(row)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise Unreadable(table, row["id"], f"{type(error).__name__}: {said}") from error


def open_notice(row: Mapping[str, Any]) -> OpenNotice:
    """Return the notice of a row of the table `notices`.

    Raises:
        Unreadable: this program cannot have written it so.
    """
    return read_row("notices", row, _open_notice)


def _open_notice(row: Mapping[str, Any]) -> OpenNotice:
    return OpenNotice(
        id=row["id"],
        notice=stored_notice(row["notice"]),
        seen=row["seen"],
        opened_at=when(row["opened_at"]),
        seen_at=when(row["seen_at"]),
    )
