"""Draining the outbox: each message to its destination, or to the file where this process lacks the credentials.

Here: draining, and undelivered messages. Not here: the destinations (`adapters/alerts/`, one
module each), what is sent and when again (`adapters/alerts/outbox.py`), and what a message says (`domain/alerts/`).
Secrets come from the environment only.
"""

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from fraud_retraining.adapters.alerts.destination import (
    Destination,
    NotFromHere,
    Receipt,
    Refused,
    SendingMeans,
    Undelivered,
    lacking,
)
from fraud_retraining.adapters.alerts.file import ALERT_FILE, forget_links
from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.adapters.alerts.records import Backlog, Delivery, OpenNotice, Unreadable
from fraud_retraining.adapters.alerts.registry import DESTINATIONS, FALLBACK
from fraud_retraining.domain.alerts.failures import Audience, Severity
from fraud_retraining.domain.alerts.notices import Action, AlertPolicy, Notice
from fraud_retraining.domain.alerts.routing import escalation_message
from fraud_retraining.domain.values.base import Value
from fraud_retraining.services.release_messages import ReleaseMessages

LOG = logging.getLogger("fraud_retraining.alerts")


class Notifier:
    """Delivery from one process to every destination, and to the file of alerts.

    `releases` composes what lets a reviewer decide; without it nothing of that kind is sent.
    """

    def __init__(
        self,
        policy: AlertPolicy,
        home: Path,
        environment: Mapping[str, str],
        releases: ReleaseMessages | None = None,
        destinations: Sequence[Destination] = DESTINATIONS,
    ) -> None:
        self._means = SendingMeans(policy, dict(environment), home, self._composed)
        self._releases = releases
        self.destinations = tuple(destinations)
        self.is_new = True
        self.file = home / ALERT_FILE

    def kinds(self) -> tuple[str, ...]:
        """The kinds of destination that can be reached with what the environment holds."""
        return tuple(one.kind for one in self.destinations if self._is_able(one))

    def destination_of(self, delivery: Delivery) -> Destination | None:
        """The destination of a message; none where this version knows none of its kind."""
        return next((one for one in self.destinations if one.kind == delivery.kind), None)

    def send(self, delivery: Delivery) -> Receipt:
        """Sends a message; what cannot be reached from here is written to the file.

        Raises:
            Undelivered: it did not arrive.
        """
        # What was opened in the file is also closed there: elsewhere nobody has seen it.
        diverted = FALLBACK.kind in (delivery.receipt or {})
        found = self.destination_of(delivery)
        if found is not None and self._is_able(found) and not diverted:
            self._require_named(found, delivery)
            return found.send(delivery, self._means)
        return self.write(delivery)

    def write(self, delivery: Delivery) -> Receipt:
        """Writes a message to the file of alerts and to the log."""
        return FALLBACK.send(delivery, self._means)

    def ways(self) -> dict[str, str]:
        """State of each kind of destination, in words."""
        return {one.kind: self._way(one) for one in self.destinations}

    def forget_links(self) -> None:
        """Takes signed links out of the file of alerts, where versions before this one wrote them."""
        forget_links(self._means.home)

    def _way(self, destination: Destination) -> str:
        if not destination.is_on(self._means.policy):
            return "off"
        missing = lacking(destination, self._means.policy, self._means.environment)
        if missing:
            problem = f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not set here"
            return problem if destination.pages else f"{problem}: alerts go to {self.file} and the log"
        return destination.summary(self._means.policy)

    def _is_able(self, destination: Destination) -> bool:
        policy, environment = self._means.policy, self._means.environment
        return destination.is_on(policy) and not lacking(destination, policy, environment)

    def _require_named(self, found: Destination, delivery: Delivery) -> None:
        """Refuse a destination that the settings do not name: the outbox's rows alone lead nowhere."""
        named = set(destinations_of(found, delivery.notice, self._means.policy))
        named |= self._releases.addresses() if self._releases is not None else frozenset()
        if delivery.destination not in named:
            raise Undelivered(f"the settings name no destination {delivery.destination[:200]}", hopeless=True)

    def _composed(self, delivery: Delivery) -> Mapping[str, Any]:
        """A message that lets a reviewer decide."""
        if self._releases is None:
            raise NotFromHere("this process knows no releases, and sends nothing that lets a reviewer decide")
        return self._releases.composed(delivery)


def destinations_of(found: Destination, notice: Notice, policy: AlertPolicy) -> Iterator[str]:
    """Every destination of a kind that the settings name, for whatever audience and severity."""
    if found.pages:
        yield found.kind
    for audience, severity in product(Audience, Severity):
        yield from found.addresses(notice.model_copy(update={"audience": audience, "severity": severity}), policy)


class Drained(Value):
    """What one draining of the outbox did."""

    sent: int = 0
    failed: int = 0
    given_up: int = 0
    escalated: int = 0
    errors: tuple[str, ...] = ()

    def summary(self) -> str:
        """The same in words."""
        parts = [f"{number} {name.replace('_', ' ')}" for name, number in self if isinstance(number, int) and number]
        return "; ".join([", ".join(parts) or "nothing to send", *self.errors])


def drain(outbox: Outbox, notifier: Notifier, policy: AlertPolicy, *, seconds: float = 30) -> Drained:
    """Sends due messages in order, until none is left, no destination answers, or the time is over.

    A kind of destination that does not answer is left alone until the next time. What this process has no credentials
    for is left to one that has and was at work within two minutes; else it goes to the file.
    """
    if notifier.is_new:
        outbox.forget_links()
        notifier.forget_links()
        notifier.is_new = False
    outbox.record_sender(notifier.kinds(), f"{socket.gethostname()}:{os.getpid()}")
    unreadable = outbox.set_aside_unreadable()
    for why in unreadable:
        LOG.error("%s", why)
    done = Drained(errors=tuple(unreadable), escalated=_escalated(outbox, policy))
    unable = {one.kind for one in notifier.destinations} - set(notifier.kinds())
    left = {kind for kind in unable if outbox.has_sender(kind)}
    # Bounded: a sensor's tick that takes long holds up the daemon's other ticks.
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            delivery = outbox.claim(left)
        except Unreadable as error:
            LOG.error("%s", error)
            done = done.model_copy(update={"given_up": done.given_up + 1, "errors": (*done.errors, str(error))})
            continue
        if delivery is None:
            break
        try:
            outbox.sent(delivery, notifier.send(delivery))
            done = done.model_copy(update={"sent": done.sent + 1})
        except Undelivered as error:
            # The other messages of that kind would wait for the same timeout.
            left |= set() if error.hopeless or error.blocked or isinstance(error, NotFromHere) else {delivery.kind}
            done = _undelivered(outbox, notifier, policy, delivery, error, done)
    return done


def _escalated(outbox: Outbox, policy: AlertPolicy) -> int:
    """Pages for messages that were not delivered in time."""
    if not any(one.pages and one.is_on(policy) for one in outbox.composers):
        return 0
    late = outbox.overdue(timedelta(minutes=policy.escalate_after_minutes))
    for known in late:
        _escalate(outbox, policy, known.notice)
    return len(late)


def _escalate(outbox: Outbox, policy: AlertPolicy, notice: Notice) -> None:
    message = escalation_message(notice, policy, outbox.composers)
    if message is not None and notice.severity.rank >= Severity.MEDIUM.rank:
        LOG.error("%s could not be delivered otherwise and goes to %s", notice.key, message.destination)
        outbox.escalate(notice, message)


def _undelivered(
    outbox: Outbox, notifier: Notifier, policy: AlertPolicy, delivery: Delivery, error: Undelivered, done: Drained
) -> Drained:
    LOG.error("%s of %s to %s: %s", delivery.action, delivery.notice.key, delivery.destination, error)
    errors = (*done.errors, f"{delivery.destination}: {error}")
    age = outbox.now() - delivery.created_at
    if error.hopeless or age > timedelta(hours=policy.give_up_after_hours):
        outbox.give_up(delivery, str(error))
        if delivery.action is Action.OPEN:
            notifier.write(delivery)
            # A request that is decided, or was never made, is nothing to wake somebody for.
            if not isinstance(error, Refused):
                _escalate(outbox, policy, delivery.notice)
        return done.model_copy(update={"given_up": done.given_up + 1, "errors": errors})
    found = notifier.destination_of(delivery)
    if error.blocked and found is not None and found.escalates and delivery.action is Action.OPEN:
        _escalate(outbox, policy, delivery.notice)
    outbox.postpone(delivery, str(error), error.wait)
    return done.model_copy(update={"failed": done.failed + 1, "errors": errors})


class Alerting(Value):
    """State of alerting: destinations, backlog and open notices.

    Each kind of destination has a field of its own name, which says in words how it stands with it.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, str]

    attended: dict[str, datetime] = Field(description="Time of the last delivery, by kind of destination.")
    backlog: Backlog
    open: tuple[OpenNotice, ...]
    problems: tuple[str, ...] = Field(description="Problems that keep alerts from arriving.")

    def summary(self) -> str:
        """The same in words."""
        titles = {one.kind: one.title for one in DESTINATIONS}
        ways = "; ".join(f"{titles.get(kind, kind)}: {way}" for kind, way in self.__pydantic_extra__.items())
        titled = [f"{one.notice.title}{f', {one.seen} times' if one.seen > 1 else ''}" for one in self.open]
        return f"{ways}; open: {', '.join(titled) or 'none'}"


def alerting(outbox: Outbox, notifier: Notifier, policy: AlertPolicy) -> Alerting:
    """Return the state of alerting, as seen from this process."""
    backlog, attended = outbox.backlog(), outbox.last_senders()
    return Alerting(
        **notifier.ways(),
        attended=attended,
        backlog=backlog,
        open=tuple(outbox.open_notices()),
        problems=tuple(_problems(backlog, outbox.now(), timedelta(minutes=policy.escalate_after_minutes))),
    )


def _problems(backlog: Backlog, now: datetime, patience: timedelta) -> Iterator[str]:
    why = f"; the last error: {backlog.last_error}" if backlog.last_error else ""
    if backlog.oldest is not None and now - backlog.oldest > patience:
        yield f"{backlog.waiting} messages to people wait since {backlog.oldest:%Y-%m-%d %H:%M} UTC{why}"
    if backlog.given_up:
        yield f"{backlog.given_up} messages to people were given up within a week{why}"
