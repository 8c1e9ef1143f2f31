"""Any program over HTTP: signed JSON to one address. No redirect is followed, and no proxy of the environment used."""

import json
import time
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from fraud_retraining.adapters.alerts.destination import (
    Destination,
    Receipt,
    SendingMeans,
    Undelivered,
    ended_after,
    hang_up,
    retry_after,
)
from fraud_retraining.adapters.alerts.records import Delivery
from fraud_retraining.domain.alerts.notices import AlertPolicy
from fraud_retraining.domain.alerts.text import clean
from fraud_retraining.domain.alerts.webhook import EVENTS, VERSION, WebhookComposer, signature

WEBHOOK_VARIABLE = "ALERTS_WEBHOOK_SECRET"
LEAST_CHARACTERS = 32
PASSING = frozenset({408, 425, 429})
HOPELESS = frozenset({400, 409, 413, 415, 422})
READ = 2000


class WebhookDestination(WebhookComposer, Destination):
    """One address that takes every message. A receiver knows a message that it got before by its key."""

    title = "Webhook"

    def variables(self, policy: AlertPolicy) -> tuple[str, ...]:
        """The secret that messages are signed with."""
        return (WEBHOOK_VARIABLE,)

    def unfit(self, policy: AlertPolicy, environment: Mapping[str, str]) -> tuple[str, ...]:
        """A secret that can be guessed."""
        secret = environment.get(WEBHOOK_VARIABLE, "").strip()
        if not secret or len(secret) >= LEAST_CHARACTERS:
            return ()
        return (f"{WEBHOOK_VARIABLE} is too short to sign with: give it {LEAST_CHARACTERS} random characters or more",)

    def summary(self, policy: AlertPolicy) -> str:
        """The host that it leads to; the rest of an address may be a secret."""
        return urlsplit(policy.webhook.url).netloc if policy.webhook else "off"

    def send(self, delivery: Delivery, means: SendingMeans) -> Receipt:
        """Posts a message, signed anew each time."""
        policy = means.policy.webhook
        if policy is None:
            raise Undelivered("alerts.webhook is off", blocked=True)
        body, key = posted_body(delivery), idempotency_key(delivery)
        now = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "Connection": "close",
            "User-Agent": "fraud-retraining",
            "Idempotency-Key": key,
            "X-Fraud-Retraining-Timestamp": str(now),
            "X-Fraud-Retraining-Signature": signature(means.secret(WEBHOOK_VARIABLE), now, body),
        }
        try:
            status, said, answered = _post(policy.url, body, headers, policy.timeout_seconds)
        except (OSError, HTTPException) as error:
            raise Undelivered(
                f"the webhook did not answer: {type(error).__name__}: {clean(str(error), 200)}"
            ) from error
        if not 200 <= status < 300:
            raise _refusal(status, clean(said.replace(means.secret(WEBHOOK_VARIABLE), "***"), 200), answered)
        return {"status": status, "idempotency_key": key}


def idempotency_key(delivery: Delivery) -> str:
    """What stays the same however often a message is sent."""
    return f"{delivery.thread}.{delivery.id}"


def posted_body(delivery: Delivery) -> bytes:
    """The bytes that are signed and sent."""
    envelope = {
        "version": VERSION,
        "event": EVENTS[delivery.action],
        "idempotency_key": idempotency_key(delivery),
        "thread": delivery.thread,
        "open": delivery.is_open,
    }
    return json.dumps({**delivery.body, **envelope}, sort_keys=True).encode()


def _post(url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> tuple[int, str, dict[str, str]]:
    """Status, the beginning of the answer, and its headers."""
    parts = urlsplit(url)
    # Not urllib: it follows redirects and the environment's proxy, and either would send the signed message elsewhere.
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    with closing(kind(parts.hostname or "", parts.port, timeout=timeout)) as connection:
        connection.connect()
        opened = connection.sock
        with ended_after(3 * timeout, lambda: hang_up(opened)):
            connection.request("POST", target, body, dict(headers))
            with closing(connection.getresponse()) as answer:
                # The beginning is enough for a message; an answer without end is not read.
                said = answer.read1(READ).decode("utf-8", "replace") if answer.status >= 300 else ""
                return answer.status, said, dict(answer.getheaders())


def _refusal(status: int, said: str, headers: Mapping[str, str]) -> Undelivered:
    why = f"the webhook answered {status}{f': {said}' if said else ''}"
    has_wait = any(name.lower() == "retry-after" for name in headers)
    if status >= 500 or status in PASSING:
        return Undelivered(why, wait=retry_after(headers) if status == 429 or has_wait else None)
    if 300 <= status < 400:
        return Undelivered(f"{why}; redirects are not followed: correct alerts.webhook.url", blocked=True)
    return Undelivered(why, hopeless=status in HOPELESS, blocked=status not in HOPELESS)
