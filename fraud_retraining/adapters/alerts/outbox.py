"""The outbox: what people were told, and what still has to be sent, in the ledger's database.

Here: one open notice a key, deliveries that survive an outage of Slack and a death of their sender, and their place in
the chain of events. Not here: what a message says (`domain/alerts/routing.py`) and how it is sent
(`services/delivery.py`).

A notice and its messages are written in one transaction; whoever drains the outbox claims a message for a minute, sends
it, and notes the receipt. A sender that dies between sending and noting makes Slack show the message twice; where a
message has a key, as in PagerDuty, its receiver knows it again.
"""

import json
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from fraud_retraining.adapters.ledger.event_log import EventKeys, EventLog
from fraud_retraining.domain.alerts.composer import Composer
from fraud_retraining.domain.alerts.failures import Severity
from fraud_retraining.domain.alerts.notices import (
    Action,
    Message,
    Notice,
    Success,
    kind_of,
    remaining_notice,
)
from fraud_retraining.domain.alerts.routing import COMPOSERS, closing_messages, composer_of
from fraud_retraining.domain.ledger.events import Event, EventKind, canonical_json, plain
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.redaction import redact

if TYPE_CHECKING:
    import sqlalchemy as sa

    from fraud_retraining.adapters.ledger.database import Transaction

CLAIM = timedelta(seconds=60)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=15), timedelta(minutes=5)
PRESENT = timedelta(minutes=2)

Clock = Callable[[], datetime]
Again = Callable[[int], Sequence[Message]]


class Announcement(NamedTuple):
    """A notice to open, its messages, and the messages for when it is open already (by how often it was seen)."""

    notice: Notice
    messages: Sequence[Message] = ()
    again: Again | None = None


class Opened(Value):
    """A notice that is open now: `new` when it was not before, `seen` how often it was opened since."""

    id: int
    new: bool
    seen: int


class OpenNotice(Value):
    """A notice that nothing has cured yet."""

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
    """What is still to be sent, and what never will be."""

    waiting: int
    oldest: datetime | None
    last_error: str | None
    given_up: int


class Writing:
    """What can be written to an outbox inside one transaction; either all of it is there afterwards or nothing."""

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


class Outbox(EventLog):
    """The notices of one model. `clock` replaces the database's clock, `composers` the destinations that are known."""

    def __init__(
        self,
        url: str,
        *,
        model: str = "fraud_detector",
        patience: float = 20.0,
        clock: Clock | None = None,
        composers: Sequence[Composer] = COMPOSERS,
    ) -> None:
        super().__init__(url, model=model, patience=patience)
        self._clock = clock
        self.composers = tuple(composers)

    # -- notices

    def open(
        self,
        notice: Notice,
        messages: Sequence[Message],
        again: Again | None = None,
        *,
        actor: str = "pipeline",
        channel: str = "dagster",
    ) -> Opened:
        """Opens a notice and queues its messages; one that is open already is counted, and `again(seen)` queued."""
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
        """Puts another body in the place of what Slack shows of a notice; False when there is no such notice.

        `text` says the same in plain words, for destinations that make a message of them.
        """
        return self._database.write(lambda tx: self._follow(tx, key, Action.UPDATE, body, text))

    def reply(self, key: str, body: Mapping[str, Any], text: str = "") -> bool:
        """Adds to the notice's thread, also after its end; False when there is no such notice.

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
        """An event and what people are told of it, in one transaction; False, and nothing, where the event is there."""

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
        """Ends a notice, once, and tells everybody who was told of it; False when none is open.

        `messages` replace the standard ones.
        """
        return self._database.write(lambda tx: self._end_notice(tx, key, why, messages, actor, channel))

    def cure(self, success: Success, *, channel: str = "dagster") -> list[str]:
        """Ends every notice that a success cures, and gives their keys."""
        if not any(remaining_notice(known.notice, success) != known.notice for known in self.open_notices()):
            return []

        def work(tx: "Transaction") -> list[str]:
            known = map(_open_notice, rows().open_notices(tx.connection, self.model))
            return [one.notice.key for one in known if self._cured(tx, one, success, channel)]

        return self._database.write(work)

    def open_notices(self) -> list[OpenNotice]:
        """What nothing has cured yet, oldest first."""
        return [_open_notice(row) for row in self._database.read(lambda cn: rows().open_notices(cn, self.model))]

    # -- deliveries

    def claim(self, without: Collection[str] = ()) -> Delivery | None:
        """The next message to send, for a minute nobody else's; kinds of destination `without` are left alone."""
        if self._database.read(lambda cn: rows().due(cn, self.model, self._stamp(cn), without)) is None:
            return None

        def work(tx: "Transaction") -> Delivery | None:
            now = self._now(tx.connection)
            row = rows().due(tx.connection, self.model, stamp(now), without)
            if row is None:
                return None
            attempts = row["attempts"] + 1
            rows().update_delivery(tx.connection, row["id"], attempts=attempts, claimed_until=stamp(now + CLAIM))
            return self._delivery(tx.connection, {**row, "attempts": attempts})

        return self._database.write(work)

    def sent(self, delivery: Delivery, receipt: Mapping[str, Any]) -> None:
        """Notes that a message has arrived, and what was answered."""
        told = canonical_json(plain(receipt))
        self._end(delivery, lambda now: {"delivered_at": now, "receipt": told, "error": None})

    def postpone(self, delivery: Delivery, error: str, wait: timedelta | None = None) -> None:
        """Notes that a message did not arrive, and when to try again: later each time, or after `wait`."""
        pause = wait if wait is not None else pause_after(delivery.attempts)

        def work(tx: "Transaction") -> None:
            due = stamp(self._now(tx.connection) + pause)
            rows().update_unsent(tx.connection, delivery.id, due_at=due, claimed_until=None, error=plain(error))
            if wait is not None:
                rows().not_before(tx.connection, self.model, delivery.kind, due)

        self._database.write(work)

    def give_up(self, delivery: Delivery, error: str) -> None:
        """Notes that a message will never arrive."""
        self._end(delivery, lambda now: {"given_up_at": now, "error": plain(error)})

    def overdue(self, patience: timedelta) -> list[OpenNotice]:
        """Open notices of at least medium severity that were not taken in that time, and that nobody was woken for."""

        def work(cn: "sa.Connection") -> list[OpenNotice]:
            before = stamp(self._now(cn) - patience)
            known = map(_open_notice, rows().open_notices(cn, self.model))
            return [
                one
                for one in known
                if one.notice.severity.rank >= Severity.MEDIUM.rank
                and self._is_overdue(rows().deliveries_of(cn, one.id), before)
            ]

        return self._database.read(work)

    def escalate(self, notice: Notice, message: Message) -> None:
        """Queues one more message of an open notice, unless its destination has been told."""

        def work(tx: "Transaction") -> None:
            row = rows().open_notice(tx.connection, self.model, notice.key)
            told = [] if row is None else rows().deliveries_of(tx.connection, row["id"])
            if row is not None and all(one["destination"] != message.destination for one in told):
                self._queue(tx, row["id"], message)

        self._database.write(work)

    def forget_links(self) -> None:
        """Takes signed links out of messages that versions before this one stored; their reviewers have the page."""
        if self._database.read(lambda cn: rows().messages_with_links(cn)):
            self._database.write(lambda tx: rows().forget_links(tx.connection, redact))

    def backlog(self) -> Backlog:
        """How much is still to be sent, since when, and why; what was given up within a week."""

        def work(cn: "sa.Connection") -> Backlog:
            waiting = rows().unsent(cn, self.model)
            lost = rows().given_up(cn, self.model, stamp(self._now(cn) - timedelta(days=7)))
            errors = [row["error"] for row in (*lost, *waiting) if row["error"]]
            return Backlog(
                waiting=len(waiting),
                oldest=when(waiting[0]["created_at"]) if waiting else None,
                last_error=errors[-1] if errors else None,
                given_up=len(lost),
            )

        return self._database.read(work)

    def attend(self, kinds: Collection[str], owner: str) -> None:
        """Notes that somebody delivers to those kinds of destination now."""

        def work(tx: "Transaction") -> None:
            now = self._now(tx.connection)
            for kind in kinds:
                rows().beat(tx.connection, self._post(kind), owner, stamp(now), stamp(now + PRESENT))

        self._database.write(work)

    def attended(self) -> dict[str, datetime]:
        """When somebody last delivered, by kind of destination."""
        names = {self._post(one.kind): one.kind for one in self.composers}
        found = self._database.read(lambda cn: rows().beats(cn, list(names)))
        return {names[row["name"]]: when(row["seen_at"]) for row in found}

    def is_attended(self, kind: str) -> bool:
        """Whether somebody who can deliver there was at work within two minutes."""
        seen = self.attended().get(kind)
        return seen is not None and self.now() - seen < PRESENT

    def now(self) -> datetime:
        """The time by the database's clock."""
        return self._database.read(self._now)

    # -- inside a transaction

    def _open(
        self, tx: "Transaction", notice: Notice, messages: Sequence[Message], again: Again, actor: str, channel: str
    ) -> Opened:
        now, told = self._stamp(tx.connection), notice.model_dump_json()
        row = rows().open_notice(tx.connection, self.model, notice.key)
        if row is not None:
            seen = row["seen"] + 1
            rows().update_notice(tx.connection, row["id"], seen=seen, seen_at=now, notice=told)
            self._queue(tx, row["id"], *again(seen))
            return Opened(id=row["id"], new=False, seen=seen)
        values = {"model": self.model, "dedup_key": notice.key, "category": notice.category, "notice": told}
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
        row = rows().open_notice(tx.connection, self.model, key)
        if row is not None:
            self._resolve(tx, _open_notice(row), why, messages, actor, channel)
        return row is not None

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
            told = _stated_at(rows().deliveries_of(tx.connection, known.id))
            messages = closing_messages(known.notice, told, why, known.seen, self.composers)
        self._queue(tx, known.id, *messages)
        payload = {"category": known.notice.category, "why": why, "seen": known.seen, "opened_at": known.opened_at}
        about = {"subject": known.notice.key, "as_of": known.notice.as_of}
        self._event(tx, EventKind.NOTICE_RESOLVED, payload, actor=actor, channel=channel, **about)

    def _cured(self, tx: "Transaction", known: OpenNotice, success: Success, channel: str) -> bool:
        left = remaining_notice(known.notice, success)
        if left is None:
            self._resolve(tx, known, success.summary(), None, "pipeline", channel)
        elif left != known.notice:
            rows().update_notice(tx.connection, known.id, notice=left.model_dump_json())
        return left is None

    def _follow(self, tx: "Transaction", key: str, action: Action, body: Mapping[str, Any], text: str) -> bool:
        row = rows().newest_notice(tx.connection, self.model, key)
        if row is None:
            return False
        told = _stated_at(rows().deliveries_of(tx.connection, row["id"]))
        notice = Notice.model_validate_json(row["notice"])
        for one in told:
            followed = composer_of(one, self.composers).following(notice, action, body, text)
            if followed is not None:
                self._queue(tx, row["id"], Message(destination=one, action=action, body=followed))
        return True

    def _queue(self, tx: "Transaction", notice: int, *messages: Message) -> None:
        now = self._now(tx.connection)
        for message in messages:
            pending = _pending(rows().deliveries_of(tx.connection, notice), message.destination, stamp(now))
            if message.action is Action.UPDATE and pending and pending[-1]["action"] in (Action.OPEN, Action.UPDATE):
                rows().update_delivery(tx.connection, pending[-1]["id"], message=_stored(message))
                continue
            if message.action is Action.RESOLVE and self._pages(message.destination) and pending:
                # nobody is woken for what is over; an attempt without an answer may have woken somebody
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
        return Delivery(
            id=row["id"],
            notice=Notice.model_validate_json(known["notice"]),
            thread=digest([known["model"], known["dedup_key"], known["id"], known["opened_at"]])[:32],
            is_open=known["resolved_at"] is None,
            destination=row["destination"],
            action=row["action"],
            body=json.loads(row["message"]),
            attempts=row["attempts"],
            created_at=when(row["created_at"]),
            receipt=json.loads(first) if first else None,
        )

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

    def _post(self, kind: str) -> str:
        return f"delivery to {kind} for {self.model}"


def rows() -> ModuleType:
    """The statements of `adapters/alerts/statements.py`, imported when needed: SQLAlchemy takes a second to import."""
    from fraud_retraining.adapters.alerts import statements as outbox_rows

    return outbox_rows


def stamp(at: datetime) -> str:
    """A time as text that sorts as the times do."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def when(text: str) -> datetime:
    """The time that a text of `stamp` tells."""
    return datetime.fromisoformat(text)


def pause_after(attempts: int) -> timedelta:
    """How long to wait after so many attempts: doubled each time up to five minutes, with jitter."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempts - 1, 10))
    return longest * random.uniform(0.75, 1)


def _nothing(_: int) -> Sequence[Message]:
    return ()


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


def _open_notice(row: Mapping[str, Any]) -> OpenNotice:
    return OpenNotice(
        id=row["id"],
        notice=Notice.model_validate_json(row["notice"]),
        seen=row["seen"],
        opened_at=when(row["opened_at"]),
        seen_at=when(row["seen_at"]),
    )


def _pending(deliveries: Sequence[Mapping[str, Any]], destination: str, now: str) -> list[Mapping[str, Any]]:
    """Those to a destination that nobody has sent and nobody is sending."""
    return [one for one in _unsent(deliveries, destination) if not (one["claimed_until"] or "") > now]


def _unsent(deliveries: Sequence[Mapping[str, Any]], destination: str) -> Iterator[Mapping[str, Any]]:
    return (
        one
        for one in deliveries
        if one["destination"] == destination and one["delivered_at"] is None and one["given_up_at"] is None
    )


def _stated_at(deliveries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Where a notice was told of, or is about to be."""
    return tuple(one["destination"] for one in deliveries if one["action"] == Action.OPEN and not one["given_up_at"])
