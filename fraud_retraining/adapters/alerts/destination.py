"""What a destination of alerts has to do, and what it says when it cannot.

Here: the protocol that the outbox is drained by. Not here: the destinations (one module each beside this one), the list
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
Signer = Callable[[Mapping[str, Any]], str]


class Undelivered(Exception):
    """A message that did not arrive.

    `wait` is what was asked for. A message that was refused for what it is (`hopeless`) is never sent again; one that
    somebody has to mend something for (`blocked`) is, but does not hold up others.
    """

    def __init__(
        self, why: str, *, wait: timedelta | None = None, hopeless: bool = False, blocked: bool = False
    ) -> None:
        super().__init__(redact(why))
        self.wait = wait
        self.hopeless = hopeless
        self.blocked = blocked


class NotFromHere(Undelivered):
    """A message that another process has to send, which has what this one lacks."""


@dataclass(frozen=True)
class Means:
    """What one process sends with: the settings, the environment's secrets, the home's folder, and signed links."""

    policy: AlertPolicy
    environment: Mapping[str, str] = field(repr=False)
    home: Path
    sign: Signer

    def secret(self, variable: str) -> str:
        """A secret of the environment; empty where there is none."""
        return self.environment.get(variable, "").strip()


class Destination(Composer, Protocol):
    """One sort of destination: what it says of a notice, and how that is sent."""

    title: str
    """What people call it."""
    is_required: bool = True
    """Whether the settings are refused where it is on and the environment lacks a secret."""

    def variables(self, policy: AlertPolicy) -> tuple[str, ...]:
        """The environment variables that hold its secrets."""
        return ()

    def unfit(self, policy: AlertPolicy, environment: Mapping[str, str]) -> tuple[str, ...]:
        """What is wrong with the secrets that are there, in words that hold none of them."""
        return ()

    def told(self, policy: AlertPolicy) -> str:
        """Where it leads, in words; asked only where it can be reached."""
        return "on"

    def send(self, delivery: Delivery, means: Means) -> Receipt:
        """Sends a message, its end included, and gives what was answered.

        Raises:
            Undelivered: it did not arrive: to be tried again, later or never.
        """
        ...


def lacking(destination: Destination, policy: AlertPolicy, environment: Mapping[str, str]) -> list[str]:
    """The environment variables that a destination needs and that are not set."""
    return [name for name in destination.variables(policy) if not environment.get(name, "").strip()]


def secret_problems(destination: Destination, policy: AlertPolicy, environment: Mapping[str, str]) -> Iterator[str]:
    """Why the settings cannot be obeyed with the secrets of this environment."""
    if destination.is_on(policy) and destination.is_required:
        key = f"alerts.{destination.kind}"
        missing = lacking(destination, policy, environment)
        yield from (f"{key} is on, but the environment has no {name}" for name in missing)
        yield from destination.unfit(policy, environment)


def retry_after(headers: Mapping[str, str]) -> timedelta:
    """What `Retry-After` asks for, at most an hour; half a minute where it says nothing that is understood."""
    told = str(next((value for name, value in headers.items() if name.lower() == "retry-after"), ""))
    seconds = int(told) if told.isascii() and told.isdigit() and len(told) < 10 else 30
    return min(timedelta(seconds=seconds), LONGEST_WAIT)


def hang_up(opened: socket.socket | None) -> None:
    """Ends whatever waits for that connection; not by way of TLS, which would wait as well."""
    if opened is not None:
        with suppress(OSError):
            socket.socket.shutdown(opened, socket.SHUT_RDWR)


@contextmanager
def ended_after(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Calls `end` when the time is over, and every second from then on: a server that drips answers ends as well.

    The limit of one read is not enough: a message is claimed for a minute, and somebody else sends it afterwards.

    Raises:
        TimeoutError: the time was over, also where what was received until then looked whole.
    """
    done, over = threading.Event(), threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            over.set()
            end()
            wait = 1.0

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()
    if over.is_set():
        raise TimeoutError(f"it took longer than {seconds:g} s")
