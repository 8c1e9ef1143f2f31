"""The deliveries of the outbox: which message is due, who sends it, and how it ended.

Here: claiming, postponing, giving up, escalating, and who delivers at all. Not here: which messages there are
(`outbox.py`), how one is sent (the destinations), and the loop that drains the queue (`services/delivery.py`).

A message is claimed for a minute, sent, and its receipt is stored. If a sender dies between sending and storing, Slack
shows the message twice; where a message has a key, as in PagerDuty, its receiver recognises it.
"""

import json
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fraud_retraining.adapters.alerts.records import (
    Backlog,
    Delivery,
    OpenNotice,
    Unreadable,
    open_notice,
    read_row,
    stamp,
    stored_notice,
    stored_object,
    when,
)
from fraud_retraining.adapters.ledger.event_log import EventLog
from fraud_retraining.adapters.ledger.signed_rows import UNSIGNED, SignedRows
from fraud_retraining.domain.alerts.composer import Composer
from fraud_retraining.domain.alerts.failures import Severity
from fraud_retraining.domain.alerts.notices import Action, Message, Notice
from fraud_retraining.domain.alerts.routing import COMPOSERS, composer_of
from fraud_retraining.domain.ledger.events import plain
from fraud_retraining.domain.ledger.hash_chain import canonical_json
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.redaction import redact

if TYPE_CHECKING:
    import sqlalchemy as sa

    from fraud_retraining.adapters.ledger.database import Transaction

CLAIM = timedelta(seconds=60)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=15), timedelta(minutes=5)
SENDER_LASTS = timedelta(minutes=2)

Clock = Callable[[], datetime]


class DeliveryQueue(EventLog):
    """The deliveries of one model's notices.

    `clock` replaces the database's clock, `composers` the destinations that are known.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "fraud_detector",
        patience: float = 20.0,
        signed: SignedRows = UNSIGNED,
        clock: Clock | None = None,
        composers: Sequence[Composer] = COMPOSERS,
    ) -> None:
        super().__init__(url, model=model, patience=patience, signed=signed)
        self._clock = clock
        self.composers = tuple(composers)

    def claim(self, without: Collection[str] = ()) -> Delivery | None:
        """Claim the next message to send for a minute; kinds of destination in `without` are skipped.

        Raises:
            Unreadable: its row is none that this program wrote; it is given up, and the next call gives the next.
        """
        # Read first: a sensor looks often, and an empty queue must not take the ledger's write lock.
        if self._database.read(lambda cn: rows().due(cn, self.model, self._stamp(cn), without)) is None:
            return None

        def work(tx: "Transaction") -> Delivery | Unreadable | None:
            now = self._now(tx.connection)
            row = rows().due(tx.connection, self.model, stamp(now), without)
            if row is None:
                return None
            try:
                claimed = self._delivery(tx.connection, row)
            except Unreadable as error:
                # Returned, not raised: an exception would roll back that it is given up.
                rows().update_delivery(tx.connection, row["id"], given_up_at=stamp(now), error=plain(str(error)))
                return error
            until = stamp(now + CLAIM)
            rows().update_delivery(tx.connection, row["id"], attempts=claimed.attempts, claimed_until=until)
            return claimed

        found = self._database.write(work)
        if isinstance(found, Unreadable):
            raise found
        return found

    def set_aside_unreadable(self) -> list[str]:
        """End open notices whose rows cannot be read, so that they stop no other; return why, a line each."""

        def bad(cn: "sa.Connection") -> list[Unreadable]:
            return [one for one in map(_readable, rows().open_notices(cn, self.model)) if isinstance(one, Unreadable)]

        # Read first: it is asked at each draining, and an empty answer must not take the ledger's write lock.
        if not self._database.read(bad):
            return []

        def work(tx: "Transaction") -> list[str]:
            found, now = bad(tx.connection), self._stamp(tx.connection)
            for one in found:
                rows().update_notice(tx.connection, one.row, resolved_at=now)
            return [str(one) for one in found]

        return self._database.write(work)

    def sent(self, delivery: Delivery, receipt: Mapping[str, Any]) -> None:
        """Record that a message has arrived, and the receiver's answer."""
        stored = canonical_json(plain(receipt))
        self._end(delivery, lambda now: {"delivered_at": now, "receipt": stored, "error": None})

    def postpone(self, delivery: Delivery, error: str, wait: timedelta | None = None) -> None:
        """Record that a message did not arrive, and when to try again: later each time, or after `wait`."""
        pause = wait if wait is not None else pause_after(delivery.attempts)

        def work(tx: "Transaction") -> None:
            due = stamp(self._now(tx.connection) + pause)
            rows().update_unsent(tx.connection, delivery.id, due_at=due, claimed_until=None, error=plain(error))
            if wait is not None:
                rows().not_before(tx.connection, self.model, delivery.kind, due)

        self._database.write(work)

    def give_up(self, delivery: Delivery, error: str) -> None:
        """Record that a message will never arrive."""
        self._end(delivery, lambda now: {"given_up_at": now, "error": plain(error)})

    def overdue(self, patience: timedelta) -> list[OpenNotice]:
        """Open notices of medium severity or more that nothing accepted within `patience` and that paged no one."""

        def work(cn: "sa.Connection") -> list[OpenNotice]:
            before = stamp(self._now(cn) - patience)
            return [
                one
                for one in self._open_notices(cn)
                if one.notice.severity.rank >= Severity.MEDIUM.rank
                and self._is_overdue(rows().deliveries_of(cn, one.id), before)
            ]

        return self._database.read(work)

    def escalate(self, notice: Notice, message: Message) -> None:
        """Queue one more message of an open notice, unless its destination has one already."""

        def work(tx: "Transaction") -> None:
            row = rows().open_notice(tx.connection, self.model, notice.key)
            queued = [] if row is None else rows().deliveries_of(tx.connection, row["id"])
            if row is not None and all(one["destination"] != message.destination for one in queued):
                self._queue(tx, row["id"], message)

        self._database.write(work)

    def forget_links(self) -> None:
        """Remove signed links from stored messages; earlier versions of this software stored them."""
        if self._database.read(lambda cn: rows().messages_with_links(cn)):
            self._database.write(lambda tx: rows().forget_links(tx.connection, redact))

    def backlog(self) -> Backlog:
        """Return how much is still to be sent, since when, and why; and how much was given up within a week."""

        def work(cn: "sa.Connection") -> Backlog:
            waiting = rows().unsent(cn, self.model)
            lost = rows().given_up(cn, self.model, stamp(self._now(cn) - timedelta(days=7)))
            errors = [row["error"] for row in (*lost, *waiting) if row["error"]]
            return Backlog(
                waiting=len(waiting),
                oldest=_oldest(waiting),
                last_error=errors[-1] if errors else None,
                given_up=len(lost),
            )

        return self._database.read(work)

    def record_sender(self, kinds: Collection[str], owner: str) -> None:
        """Record that this process delivers to those kinds of destination now."""

        def work(tx: "Transaction") -> None:
            now = self._now(tx.connection)
            for kind in kinds:
                rows().record_sender(
                    tx.connection, self._sender_name(kind), owner, stamp(now), stamp(now + SENDER_LASTS)
                )

        self._database.write(work)

    def last_senders(self) -> dict[str, datetime]:
        """When a process last delivered, by kind of destination."""
        names = {self._sender_name(one.kind): one.kind for one in self.composers}
        found = self._database.read(lambda cn: rows().senders(cn, list(names)))
        return {names[row["name"]]: at for row in found if (at := _time_of(row["seen_at"])) is not None}

    def has_sender(self, kind: str) -> bool:
        """Whether a process that can deliver there was running within the last two minutes."""
        seen = self.last_senders().get(kind)
        return seen is not None and self.now() - seen < SENDER_LASTS

    def now(self) -> datetime:
        """The time by the database's clock."""
        return self._database.read(self._now)

    # -- inside a transaction

    def _queue(self, tx: "Transaction", notice: int, *messages: Message) -> None:
        now = self._now(tx.connection)
        for message in messages:
            pending = _pending(rows().deliveries_of(tx.connection, notice), message.destination, stamp(now))
            # The message that waits is changed in its place: after an outage a channel gets the last state, not each of
            # them.
            if message.action is Action.UPDATE and pending and pending[-1]["action"] in (Action.OPEN, Action.UPDATE):
                rows().update_delivery(tx.connection, pending[-1]["id"], message=_stored(message))
                continue
            if message.action is Action.RESOLVE and self._pages(message.destination) and pending:
                # No page is sent for what is over; but an attempt without an answer may have paged, so it is resolved.
                for one in pending:
                    rows().update_delivery(tx.connection, one["id"], given_up_at=stamp(now), error=None)
                if all(one["attempts"] == 0 for one in pending):
                    continue
            rows().insert_delivery(tx.connection, _delivery_row(notice, message, stamp(now)))

    def _delivery(self, cn: "sa.Connection", row: Mapping[str, Any]) -> Delivery:
        first = next(
            (
                one["receipt"]
                for one in rows().deliveries_of(cn, row["notice_id"])
                if one["destination"] == row["destination"] and one["action"] == Action.OPEN
            ),
            None,
        )
        known = rows().notice_by_id(cn, row["notice_id"])
        return read_row(
            "deliveries",
            row,
            lambda one: Delivery(
                id=one["id"],
                notice=stored_notice(known["notice"]),
                thread=digest([known["model"], known["dedup_key"], known["id"], known["opened_at"]])[:32],
                is_open=known["resolved_at"] is None,
                destination=one["destination"],
                action=one["action"],
                body=stored_object(one["message"]),
                attempts=one["attempts"] + 1,
                created_at=when(one["created_at"]),
                receipt=stored_object(first) if first else None,
            ),
        )

    def _open_notices(self, cn: "sa.Connection") -> list[OpenNotice]:
        """Open notices whose rows can be read; the others are set aside when the outbox is drained."""
        found = map(_readable, rows().open_notices(cn, self.model))
        return [one for one in found if isinstance(one, OpenNotice)]

    def _is_overdue(self, deliveries: Sequence[Mapping[str, Any]], before: str) -> bool:
        if any(self._pages(one["destination"]) for one in deliveries):
            return False
        return any(
            composer_of(one["destination"], self.composers).escalates
            and one["action"] == Action.OPEN
            and one["delivered_at"] is None
            and one["created_at"] <= before
            for one in deliveries
        )

    def _pages(self, destination: str) -> bool:
        return composer_of(destination, self.composers).pages

    def _end(self, delivery: Delivery, values: Callable[[str], Mapping[str, Any]]) -> None:
        def work(tx: "Transaction") -> None:
            ended = values(self._stamp(tx.connection))
            rows().update_unsent(tx.connection, delivery.id, claimed_until=None, **ended)

        self._database.write(work)

    def _now(self, cn: "sa.Connection") -> datetime:
        return self._clock() if self._clock is not None else datetime.fromisoformat(rows().now(cn))

    def _stamp(self, cn: "sa.Connection") -> str:
        return stamp(self._now(cn))

    def _sender_name(self, kind: str) -> str:
        return f"delivery to {kind} for {self.model}"


def rows() -> ModuleType:
    """The statements of `adapters/alerts/statements.py`, imported when needed: SQLAlchemy takes a second to import."""
    from fraud_retraining.adapters.alerts import statements as outbox_rows

    return outbox_rows


def pause_after(attempts: int) -> timedelta:
    """How long to wait after so many attempts: doubled each time up to five minutes, with jitter."""
    # The exponent is bounded: a message that fails for days would overflow the time.
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempts - 1, 10))
    return longest * random.uniform(0.75, 1)


def _readable(row: Mapping[str, Any]) -> OpenNotice | Unreadable:
    try:
        return open_notice(row)
    except Unreadable as error:
        return error


def _time_of(text: str) -> datetime | None:
    try:
        return when(text)
    except (ValueError, TypeError):
        return None


def _oldest(waiting: Sequence[Mapping[str, Any]]) -> datetime | None:
    """When the first of the messages whose time can be read was created."""
    return next((at for row in waiting if (at := _time_of(row["created_at"])) is not None), None)


def _stored(message: Message) -> str:
    return json.dumps(message.body)


def _delivery_row(notice: int, message: Message, now: str) -> dict[str, Any]:
    return {
        "notice_id": notice,
        "destination": message.destination,
        "action": message.action,
        "message": _stored(message),
        "attempts": 0,
        "created_at": now,
        "due_at": now,
    }


def _pending(deliveries: Sequence[Mapping[str, Any]], destination: str, now: str) -> list[Mapping[str, Any]]:
    """Deliveries to a destination that are neither sent nor being sent."""
    return [one for one in _unsent(deliveries, destination) if not (one["claimed_until"] or "") > now]


def _unsent(deliveries: Sequence[Mapping[str, Any]], destination: str) -> Iterator[Mapping[str, Any]]:
    return (
        one
        for one in deliveries
        if one["destination"] == destination and one["delivered_at"] is None and one["given_up_at"] is None
    )
