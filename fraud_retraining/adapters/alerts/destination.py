"""The protocol of alert destinations, and their error.

Here: what the loop that drains the outbox calls. Not here: the destinations (one module each beside this one), the list
of them (`registry.py`), and when which message is sent (`services/delivery.py`).
"""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from fraud_retraining.adapters.alerts.records import Delivery
from fraud_retraining.domain.alerts.composer import Composer
from fraud_retraining.domain.alerts.notices import AlertPolicy
from fraud_retraining.domain.values.redaction import redact

TIMEOUT_SECONDS = 10
LONGEST_WAIT = timedelta(hours=1)

Receipt = dict[str, Any]
Composed = Callable[[Delivery], Mapping[str, Any]]


class Undelivered(Exception):
    """A message that did not arrive.

    Attributes:
        wait: how long the receiver wants no message.
        hopeless: refused for what it is; it is never sent again.
        blocked: an operator has to correct something; it is sent again, but does not hold up others.
    """

    def __init__(
        self, why: str, *, wait: timedelta | None = None, hopeless: bool = False, blocked: bool = False
    ) -> None:
        super().__init__(redact(why))
        self.wait = wait
        self.hopeless = hopeless
        self.blocked = blocked


class NotFromHere(Undelivered):
    """A message that this process cannot send, because it lacks a secret that another process has."""


class Refused(Undelivered):
    """A message that lets nobody decide, because the ledger and the settings do not have what it says."""

    def __init__(self, why: str) -> None:
        super().__init__(why, hopeless=True)


@dataclass(frozen=True)
class SendingMeans:
    """What one process needs to send: the settings, the environment's secrets, and the home folder.

    `composed` gives the body of a message that lets a reviewer decide, from the ledger and not from the outbox.
    """

    policy: AlertPolicy
    environment: Mapping[str, str] = field(repr=False)
    home: Path
    composed: Composed

    def secret(self, variable: str) -> str:
        """A secret of the environment; empty where there is none."""
        return self.environment.get(variable, "").strip()


class Destination(Composer, Protocol):
    """One kind of destination: how it composes the messages of a notice, and how it sends them."""

    title: str
    """Its name in messages to users."""
    is_required: bool = True
    """Whether the settings are refused where it is on and the environment lacks a secret."""

    def variables(self, policy: AlertPolicy) -> tuple[str, ...]:
        """The environment variables that hold its secrets."""
        return ()

    def unfit(self, policy: AlertPolicy, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Problems of the secrets that are set, in words that hold none of them."""
        return ()

    def summary(self, policy: AlertPolicy) -> str:
        """Where its messages go, in words; called only where it can be reached."""
        return "on"

    def send(self, delivery: Delivery, means: SendingMeans) -> Receipt:
        """Send a message and return the receiver's answer.

        Raises:
            Undelivered: it did not arrive; its attributes say whether to try again.
        """
        ...


def lacking(destination: Destination, policy: AlertPolicy, environment: Mapping[str, str]) -> list[str]:
    """The environment variables that a destination needs and that are not set."""
    return [name for name in destination.variables(policy) if not environment.get(name, "").strip()]


def secret_problems(destination: Destination, policy: AlertPolicy, environment: Mapping[str, str]) -> Iterator[str]:
    """Why the settings cannot work with the secrets of this environment."""
    if destination.is_on(policy) and destination.is_required:
        key = f"alerts.{destination.kind}"
        missing = lacking(destination, policy, environment)
        yield from (f"{key} is on, but the environment has no {name}" for name in missing)
        yield from destination.unfit(policy, environment)


def require_form(body: Mapping[str, Any], needed: Mapping[str, type], optional: Mapping[str, type]) -> None:
    """Refuse a stored body that is not of the form that the destination takes.

    Raises:
        Undelivered: a field lacks, has another type, or is none of the destination's.
    """
    known = {**needed, **optional}
    wrong = [name for name, kind in needed.items() if not isinstance(body.get(name), kind)]
    wrong += [name for name, one in body.items() if name not in known or not isinstance(one, known[name])]
    if wrong:
        named = ", ".join(name[:40] for name in dict.fromkeys(wrong[:10]))
        raise Undelivered(f"the stored message is none of this program's: {named}", hopeless=True)


def retry_after(headers: Mapping[str, str]) -> timedelta:
    """Return the wait that a `Retry-After` header requests, at most an hour; 30 s where it holds no number.

    >>> retry_after({"Retry-After": "120"})
    datetime.timedelta(seconds=120)
    >>> retry_after({"Retry-After": "Wed, 21 Oct"})
    datetime.timedelta(seconds=30)
    """
    stated = str(next((value for name, value in headers.items() if name.lower() == "retry-after"), ""))
    seconds = int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 10 else 30
    return min(timedelta(seconds=seconds), LONGEST_WAIT)


def hang_up(opened: socket.socket | None) -> None:
    """Close a connection, so that reads from it end; without TLS's own farewell, which would wait as well."""
    if opened is not None:
        with suppress(OSError):
            socket.socket.shutdown(opened, socket.SHUT_RDWR)


@contextmanager
def ended_after(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Call `end` when the time is over, and every second from then on.

    A time limit for one read is not enough: a server that sends a byte at a time would never reach it. A message is
    claimed for a minute, and another process sends it afterwards.

    Raises:
        TimeoutError: the time was over, also where what was received until then looked whole.
    """
    done, over = threading.Event(), threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            over.set()
            end()
            # Again each second: what is connected anew after the first end would wait without limit.
            wait = 1.0

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()
    if over.is_set():
        raise TimeoutError(f"it took longer than {seconds:g} s")
