"""The outbox: the notices that were sent, and the messages that are still to be sent, in the ledger's database.

Here: one open notice a key, its messages written in the same transaction, and its place in the chain of events, so
that notices survive an outage of a destination and the death of a sender. Not here: what a message says
(`domain/alerts/routing.py`) and the deliveries (`delivery_queue.py`).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fraud_retraining.adapters.alerts.delivery_queue import DeliveryQueue, rows
from fraud_retraining.adapters.alerts.records import Opened, OpenNotice, Unreadable, open_notice
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.domain.alerts.notices import Action, Message, Notice, Success, remaining_notice
from fraud_retraining.domain.alerts.routing import closing_messages, composer_of
from fraud_retraining.domain.ledger.events import Event, EventKind

if TYPE_CHECKING:
    from fraud_retraining.adapters.ledger.database import Transaction

LOG = logging.getLogger("fraud_retraining.alerts")

Again = Callable[[int], Sequence[Message]]


class Announcement(NamedTuple):
    """A notice to open, its messages, and the messages for when it is open already (by how often it was seen)."""

    notice: Notice
    messages: Sequence[Message] = ()
    again: Again | None = None


class Writing:
    """Writes to an outbox inside one transaction: all of them are made, or none."""

    def __init__(self, outbox: "Outbox", tx: "Transaction", actor: str, channel: str) -> None:
        self._outbox = outbox
        self._tx = tx
        self._by = (actor, channel)

    def open(self, notice: Notice, messages: Sequence[Message]) -> Opened:
        """As `Outbox.open`."""
        return self._outbox._open(self._tx, notice, messages, _nothing, *self._by)

    def update(self, key: str, body: Mapping[str, Any], text: str = "") -> bool:
        """As `Outbox.update`."""
        return self._outbox._follow(self._tx, key, Action.UPDATE, body, text)

    def reply(self, key: str, body: Mapping[str, Any], text: str = "") -> bool:
        """As `Outbox.reply`."""
        return self._outbox._follow(self._tx, key, Action.REPLY, body, text)

    def resolve(self, key: str, why: str, messages: Sequence[Message] | None = None) -> bool:
        """As `Outbox.resolve`."""
        return self._outbox._end_notice(self._tx, key, why, messages, *self._by)


class Outbox(DeliveryQueue):
    """The notices of one model, and the queue of their messages."""

    def open(
        self,
        notice: Notice,
        messages: Sequence[Message],
        again: Again | None = None,
        *,
        actor: str = "pipeline",
        channel: str = "dagster",
    ) -> Opened:
        """Open a notice and queue its messages; one that is open already is counted, and `again(seen)` queued."""
        return self._database.write(lambda tx: self._open(tx, notice, messages, again or _nothing, actor, channel))

    def record_failure(
        self,
        kind: EventKind,
        payload: Mapping[str, Any],
        announced: Announcement | None,
        *,
        keys: EventKeys,
        channel: str,
    ) -> Event | None:
        """Record a failed run (the subject of `keys`) and open its notice, in one transaction.

        Returns None, and changes nothing, where the run has recorded a failure of this kind already.
        """

        def work(tx: "Transaction") -> Event | None:
            run_id = keys.subject
            if run_id is not None and self._last(tx.connection, kind, {"subject": run_id}) is not None:
                return None
            event = self._event(tx, kind, payload, actor="pipeline", channel=channel, **keys._asdict())
            if announced is not None:
                again = announced.again or _nothing
                self._open(tx, announced.notice, announced.messages, again, "pipeline", channel)
            return event

        return self._database.write(work)

    def update(self, key: str, body: Mapping[str, Any], text: str = "") -> bool:
        """Replace what Slack shows of a notice; False when there is no such notice.

        `text` says the same in plain words, for destinations that make a message of them.
        """
        return self._database.write(lambda tx: self._follow(tx, key, Action.UPDATE, body, text))

    def reply(self, key: str, body: Mapping[str, Any], text: str = "") -> bool:
        """Add to the notice's thread, also after its end; False when there is no such notice.

        `body` is for Slack; `text` says the same in plain words.
        """
        return self._database.write(lambda tx: self._follow(tx, key, Action.REPLY, body, text))

    def write_once(
        self,
        kind: EventKind,
        *,
        subject: str,
        payload: Mapping[str, Any],
        work: Callable[[Writing], object],
        actor: str = "pipeline",
        channel: str = "dagster",
    ) -> bool:
        """Add an event and its notices in one transaction; False, and no change, where the event is there."""

        def once(tx: "Transaction") -> bool:
            if self._last(tx.connection, kind, {"subject": subject}) is not None:
                return False
            self._event(tx, kind, payload, actor=actor, channel=channel, subject=subject)
            work(Writing(self, tx, actor, channel))
            return True

        return self._database.write(once)

    def resolve(
        self,
        key: str,
        why: str,
        messages: Sequence[Message] | None = None,
        *,
        actor: str = "pipeline",
        channel: str = "dagster",
    ) -> bool:
        """Resolve a notice, once, and notify every recipient that it was sent to; False when none is open.

        `messages` replace the standard ones.
        """
        return self._database.write(lambda tx: self._end_notice(tx, key, why, messages, actor, channel))

    def resolve_after(self, success: Success, *, channel: str = "dagster") -> list[str]:
        """Resolve every notice whose cause a success has removed, and return their keys."""
        # Read first: most successes resolve nothing, and a write excludes every other writer.
        if not any(remaining_notice(known.notice, success) != known.notice for known in self.open_notices()):
            return []

        def work(tx: "Transaction") -> list[str]:
            known = self._open_notices(tx.connection)
            return [one.notice.key for one in known if self._resolved_by(tx, one, success, channel)]

        return self._database.write(work)

    def open_notices(self) -> list[OpenNotice]:
        """Notices whose cause lasts, oldest first."""
        return self._database.read(self._open_notices)

    # -- inside a transaction

    def _open(
        self, tx: "Transaction", notice: Notice, messages: Sequence[Message], again: Again, actor: str, channel: str
    ) -> Opened:
        now, stored = self._stamp(tx.connection), notice.model_dump_json()
        row = rows().open_notice(tx.connection, self.model, notice.key)
        if row is not None:
            seen = row["seen"] + 1
            rows().update_notice(tx.connection, row["id"], seen=seen, seen_at=now, notice=stored)
            self._queue(tx, row["id"], *again(seen))
            return Opened(id=row["id"], new=False, seen=seen)
        values = {"model": self.model, "dedup_key": notice.key, "category": notice.category, "notice": stored}
        number = rows().insert_notice(
            tx.connection, {**values, "severity": notice.severity, "seen": 1, "opened_at": now, "seen_at": now}
        )
        self._queue(tx, number, *messages)
        payload = notice.model_dump(mode="json", exclude={"links", "todo"})
        self._event(
            tx, EventKind.NOTICE_OPENED, payload, actor=actor, channel=channel, subject=notice.key, as_of=notice.as_of
        )
        return Opened(id=number, new=True, seen=1)

    def _end_notice(
        self,
        tx: "Transaction",
        key: str,
        why: str,
        messages: Sequence[Message] | None,
        actor: str,
        channel: str,
    ) -> bool:
        known = _known(rows().open_notice(tx.connection, self.model, key))
        if known is not None:
            self._resolve(tx, known, why, messages, actor, channel)
        return known is not None

    def _resolve(
        self,
        tx: "Transaction",
        known: OpenNotice,
        why: str,
        messages: Sequence[Message] | None,
        actor: str,
        channel: str,
    ) -> None:
        rows().update_notice(tx.connection, known.id, resolved_at=self._stamp(tx.connection))
        if messages is None:
            recipients = _recipients(rows().deliveries_of(tx.connection, known.id))
            messages = closing_messages(known.notice, recipients, why, known.seen, self.composers)
        self._queue(tx, known.id, *messages)
        payload = {"category": known.notice.category, "why": why, "seen": known.seen, "opened_at": known.opened_at}
        about = {"subject": known.notice.key, "as_of": known.notice.as_of}
        self._event(tx, EventKind.NOTICE_RESOLVED, payload, actor=actor, channel=channel, **about)

    def _resolved_by(self, tx: "Transaction", known: OpenNotice, success: Success, channel: str) -> bool:
        left = remaining_notice(known.notice, success)
        if left is None:
            self._resolve(tx, known, success.summary(), None, "pipeline", channel)
        elif left != known.notice:
            rows().update_notice(tx.connection, known.id, notice=left.model_dump_json())
        return left is None

    def _follow(self, tx: "Transaction", key: str, action: Action, body: Mapping[str, Any], text: str) -> bool:
        known = _known(rows().newest_notice(tx.connection, self.model, key))
        if known is None:
            return False
        for one in _recipients(rows().deliveries_of(tx.connection, known.id)):
            followed = composer_of(one, self.composers).following(known.notice, action, body, text)
            if followed is not None:
                self._queue(tx, known.id, Message(destination=one, action=action, body=followed))
        return True


def _known(row: Mapping[str, Any] | None) -> OpenNotice | None:
    """The notice of a row; none where the row cannot be read: what is said then is opened as a message of its own."""
    try:
        return None if row is None else open_notice(row)
    except Unreadable as error:
        LOG.error("%s", error)
        return None


def _nothing(_: int) -> Sequence[Message]:
    return ()


def _recipients(deliveries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Destinations that a notice was sent to, or is about to be."""
    return tuple(one["destination"] for one in deliveries if one["action"] == Action.OPEN and not one["given_up_at"])
