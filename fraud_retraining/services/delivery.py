"""Sending what the outbox holds: Slack, PagerDuty, and a file where neither can be reached with what is known.

Here: the clients, what their refusals mean, and draining the outbox. Not here: what is sent and when again
(`adapters/alerts/outbox.py`), and what a message says (`domain/alerts/composing.py`). Tokens come from the environment
only. No retries are left to the clients: they would sleep in a sensor, and PagerDuty's does so without end.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fraud_retraining.adapters.alerts.outbox import Backlog, Delivery, OpenNotice, Outbox
from fraud_retraining.adapters.pages.signed_links import LINK_VARIABLE, ReleaseLinks
from fraud_retraining.adapters.storage.private_files import private_file
from fraud_retraining.domain.alerts.composing import escalation, file_entry
from fraud_retraining.domain.alerts.failures import Severity
from fraud_retraining.domain.alerts.notices import FILE, PAGERDUTY, SLACK, Action, AlertPolicy, Notice
from fraud_retraining.domain.approvals.slack_request import LINK, with_signed_link
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.redaction import redact

if TYPE_CHECKING:
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError

SLACK_VARIABLE = "SLACK_BOT_TOKEN"
PAGERDUTY_VARIABLE = "PAGERDUTY_ROUTING_KEY"
ALERT_FILE = "alerts.jsonl"
TIMEOUT_SECONDS = 10
LONGEST_WAIT = timedelta(hours=1)

LOG = logging.getLogger("fraud_retraining.alerts")
LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.MEDIUM: logging.WARNING,
    Severity.HIGH: logging.ERROR,
    Severity.CRITICAL: logging.ERROR,
}

SLACK_BODY_REFUSED = frozenset({"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long"})
SLACK_GONE = frozenset({"cant_update_message", "edit_window_closed", "message_not_found", "thread_not_found"})
SLACK_PASSING = frozenset(
    {
        "accesslimited",
        "fatal_error",
        "internal_error",
        "ratelimited",
        "rate_limited",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
    }
)

Receipt = dict[str, Any]


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


class BodyRefused(Undelivered):
    """A message whose form was refused."""


class Notifier:
    """One process's way to Slack, PagerDuty and the file of alerts."""

    def __init__(
        self, policy: AlertPolicy, home: Path, environment: Mapping[str, str], links: ReleaseLinks | None = None
    ) -> None:
        self._policy = policy
        self._links = links
        self.is_new = True
        self._slack_token = environment.get(SLACK_VARIABLE, "").strip()
        self._routing_key = environment.get(PAGERDUTY_VARIABLE, "").strip()
        self.file = home / ALERT_FILE

    def kinds(self) -> tuple[str, ...]:
        """The kinds of destination that can be reached with what the environment holds."""
        able = {
            SLACK: self._policy.slack is not None and self._slack_token,
            PAGERDUTY: self._policy.pagerduty is not None and self._routing_key,
        }
        return tuple(kind for kind, has in able.items() if has)

    def send(self, delivery: Delivery) -> Receipt:
        """Sends a message; what cannot be reached from here is written to the file.

        Raises:
            Undelivered: it did not arrive.
        """
        diverted = FILE in (delivery.receipt or {})
        if delivery.kind in self.kinds() and not diverted:
            return self._slack(delivery) if delivery.kind == SLACK else self._pagerduty(delivery)
        return self.write(delivery)

    def write(self, delivery: Delivery) -> Receipt:
        """Writes a message to the file of alerts and to the log; the change of a message is no line of its own."""
        if delivery.action is not Action.UPDATE:
            told = str(delivery.body.get("text") or delivery.body.get("resolved") or "")
            entry = {**file_entry(delivery.notice), "text": redact(told)} if told else file_entry(delivery.notice)
            about = {"action": delivery.action, "key": delivery.notice.key, "destination": delivery.destination}
            self._append({"at": datetime.now(UTC).isoformat(timespec="seconds"), **about, **entry})
            level = LEVELS[delivery.notice.severity] if delivery.action is Action.OPEN else logging.INFO
            LOG.log(level, "%s", told if delivery.action is not Action.OPEN and told else delivery.notice.title)
        return {FILE: str(self.file)}

    def forget_links(self) -> None:
        """Takes signed links out of the file of alerts, where versions before this one wrote them."""
        try:
            text = self.file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        except OSError as error:
            LOG.error("%s cannot be searched for signed links: %s", self.file, error)
            return
        if "?link=" in text:
            fresh = private_file(self.file.with_suffix(".new"))
            fresh.write_text(redact(text), encoding="utf-8")
            fresh.replace(self.file)

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry) + "\n"
        try:
            with private_file(self.file).open("a", encoding="utf-8") as lines:
                lines.write(line)
        except OSError as error:
            raise Undelivered(f"{self.file} cannot be written: {error}") from error

    # -- Slack

    def _slack(self, delivery: Delivery) -> Receipt:
        if delivery.action is not Action.OPEN and not delivery.receipt:
            raise Undelivered("the message that it belongs to never arrived", hopeless=True)
        body = self._with_link(delivery.body)
        try:
            return self._posted(delivery, body)
        except Undelivered as error:
            if not (isinstance(error, BodyRefused) and "blocks" in delivery.body):
                raise
            LOG.error("Slack refused the blocks of %s; its text goes alone: %s", delivery.notice.key, error)
            return self._posted(delivery, {"text": delivery.body["text"]})

    def _with_link(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The message with the signed link that it asks for."""
        if LINK not in body:
            return body
        base = self._policy.links.releases
        if self._links is None or base is None:
            raise NotFromHere(f"this process cannot sign links: {LINK_VARIABLE} is not set here")
        return with_signed_link(body, self._links.fill(base, body[LINK]))

    def _posted(self, delivery: Delivery, body: Mapping[str, Any]) -> Receipt:
        from slack_sdk.errors import SlackApiError, SlackClientError

        try:
            return _posted(self._slack_client(), delivery, body)
        except SlackApiError as error:
            raise _slack_refusal(error) from error
        except (SlackClientError, OSError, HTTPException) as error:
            raise Undelivered(f"Slack did not answer: {error}") from error

    def _slack_client(self) -> "WebClient":
        from dagster_slack import SlackResource

        client = SlackResource(token=self._slack_token).get_client()
        if self._policy.slack is not None:
            client.base_url = self._policy.slack.api_url
        client.timeout = TIMEOUT_SECONDS
        client.retry_handlers = []
        return client

    # -- PagerDuty

    def _pagerduty(self, delivery: Delivery) -> Receipt:
        from pagerduty import Error, EventsApiV2Client

        policy = self._policy.pagerduty
        action = "resolve" if delivery.action is Action.RESOLVE else "trigger"
        client = EventsApiV2Client(self._routing_key, base_url=policy.api_url if policy else None)
        client.timeout, client.retry, client.max_network_attempts = TIMEOUT_SECONDS, {429: 1}, 0
        # below 0: an answer that asks to come again later is given to the caller instead of slept upon
        client.max_http_attempts = -1
        try:
            return {"dedup_key": client.send_event(action, **delivery.body)}
        except Error as error:
            raise _pagerduty_refusal(error, self._routing_key) from error
        finally:
            client.close()


def _posted(client: "WebClient", delivery: Delivery, body: Mapping[str, Any]) -> Receipt:
    known = delivery.receipt or {}
    if delivery.action is Action.UPDATE:
        answer = client.chat_update(channel=known["channel"], ts=known["ts"], **body)
    elif delivery.action is Action.REPLY:
        answer = client.chat_postMessage(channel=known["channel"], thread_ts=known["ts"], **body)
    else:
        channel = delivery.destination.split(":", 1)[1]
        answer = client.chat_postMessage(channel=channel, unfurl_links=False, **body)
    return {"channel": answer["channel"], "ts": answer["ts"]}


def _slack_refusal(error: "SlackApiError") -> Undelivered:
    response = error.response
    status, headers = getattr(response, "status_code", None), getattr(response, "headers", None) or {}
    code = response.get("error") if isinstance(response.data, dict) else None
    told = f"Slack answered {status}: {code}"
    if status == 429 or code in ("ratelimited", "rate_limited"):
        return Undelivered(told, wait=_retry_after(headers))
    if (isinstance(status, int) and status >= 500) or code is None or code in SLACK_PASSING:
        return Undelivered(told)
    if code in SLACK_BODY_REFUSED:
        return BodyRefused(told, hopeless=True)
    return Undelivered(told, hopeless=code in SLACK_GONE, blocked=code not in SLACK_GONE)


def _pagerduty_refusal(error: Any, secret: str) -> Undelivered:
    response = error.response
    why = str(error.__cause__ or error).replace(secret, "***")
    if response is None:
        return Undelivered(f"PagerDuty did not answer: {why}")
    status = response.status_code
    told = f"PagerDuty answered {status}: {why}"
    wait = _retry_after(response.headers) if status == 429 else None
    return Undelivered(told, wait=wait, hopeless=status == 400, blocked=status in (401, 403, 404))


def _retry_after(headers: Mapping[str, str]) -> timedelta:
    """What `Retry-After` asks for, at most an hour; half a minute where it says nothing that is understood."""
    told = str(next((value for name, value in headers.items() if name.lower() == "retry-after"), ""))
    seconds = int(told) if told.isdigit() else 30
    return min(timedelta(seconds=seconds), LONGEST_WAIT)


class Drained(Value):
    """What one draining of the outbox did."""

    sent: int = 0
    failed: int = 0
    given_up: int = 0
    escalated: int = 0
    errors: tuple[str, ...] = ()

    def told(self) -> str:
        """It in words."""
        parts = [f"{number} {name.replace('_', ' ')}" for name, number in self if isinstance(number, int) and number]
        return "; ".join([", ".join(parts) or "nothing to send", *self.errors])


def drain(outbox: Outbox, notifier: Notifier, policy: AlertPolicy, *, seconds: float = 30) -> Drained:
    """Sends what is due, in order, until nothing is left, nobody answers, or the time is over.

    A kind of destination that does not answer is left alone until the next time. What this process has no credentials
    for is left to one that has and was at work within two minutes; else it goes to the file.
    """
    if notifier.is_new:
        outbox.forget_links()
        notifier.forget_links()
        notifier.is_new = False
    outbox.attend(notifier.kinds(), f"{socket.gethostname()}:{os.getpid()}")
    done = Drained(escalated=_escalated(outbox, policy))
    left = {kind for kind in (SLACK, PAGERDUTY) if kind not in notifier.kinds() and outbox.is_attended(kind)}
    until = time.monotonic() + seconds
    while time.monotonic() < until and (delivery := outbox.claim(left)) is not None:
        try:
            outbox.sent(delivery, notifier.send(delivery))
            done = done.model_copy(update={"sent": done.sent + 1})
        except Undelivered as error:
            left |= set() if error.hopeless or error.blocked or isinstance(error, NotFromHere) else {delivery.kind}
            done = _undelivered(outbox, notifier, policy, delivery, error, done)
    return done


def _escalated(outbox: Outbox, policy: AlertPolicy) -> int:
    """Sends to PagerDuty what Slack has not taken in time."""
    late = [] if policy.pagerduty is None else outbox.overdue(timedelta(minutes=policy.escalate_after_minutes))
    for known in late:
        _escalate(outbox, policy, known.notice)
    return len(late)


def _escalate(outbox: Outbox, policy: AlertPolicy, notice: Notice) -> None:
    message = escalation(notice, policy)
    if message is not None and notice.severity.rank >= Severity.MEDIUM.rank:
        LOG.error("%s could not be delivered to Slack and goes to PagerDuty", notice.key)
        outbox.escalate(notice, message)


def _undelivered(
    outbox: Outbox, notifier: Notifier, policy: AlertPolicy, delivery: Delivery, error: Undelivered, done: Drained
) -> Drained:
    LOG.error("%s of %s to %s: %s", delivery.action, delivery.notice.key, delivery.destination, error)
    told = (*done.errors, f"{delivery.destination}: {error}")
    age = outbox.now() - delivery.created_at
    if error.hopeless or age > timedelta(hours=policy.give_up_after_hours):
        outbox.give_up(delivery, str(error))
        if delivery.action is Action.OPEN:
            notifier.write(delivery)
            _escalate(outbox, policy, delivery.notice)
        return done.model_copy(update={"given_up": done.given_up + 1, "errors": told})
    if error.blocked and delivery.kind == SLACK and delivery.action is Action.OPEN:
        _escalate(outbox, policy, delivery.notice)
    outbox.postpone(delivery, str(error), error.wait)
    return done.model_copy(update={"failed": done.failed + 1, "errors": told})


class Alerting(Value):
    """Where alerts go, what waits to be sent, and what nothing has cured yet."""

    slack: str
    pagerduty: str
    attended: dict[str, datetime] = Field(description="When somebody last delivered, by kind of destination.")
    backlog: Backlog
    open: tuple[OpenNotice, ...]
    problems: tuple[str, ...] = Field(description="What keeps people from being told.")

    def told(self) -> str:
        """It in words."""
        ways = f"Slack: {self.slack}; PagerDuty: {self.pagerduty}"
        told = [f"{one.notice.title}{f', {one.seen} times' if one.seen > 1 else ''}" for one in self.open]
        return f"{ways}; open: {', '.join(told) or 'none'}"


def alerting(outbox: Outbox, notifier: Notifier, policy: AlertPolicy) -> Alerting:
    """How it stands with telling people, as seen from this process."""
    backlog, attended = outbox.backlog(), outbox.attended()
    ways = _ways(notifier, policy)
    return Alerting(
        **ways,
        attended=attended,
        backlog=backlog,
        open=tuple(outbox.open_notices()),
        problems=tuple(_problems(backlog, outbox.now(), timedelta(minutes=policy.escalate_after_minutes))),
    )


def _ways(notifier: Notifier, policy: AlertPolicy) -> dict[str, str]:
    able, file = notifier.kinds(), f"alerts go to {notifier.file} and the log"
    channels = ", ".join(dict(policy.slack.channels).values()) if policy.slack else "off"
    return {
        SLACK: channels if SLACK in able or not policy.slack else f"{SLACK_VARIABLE} is not set here: {file}",
        PAGERDUTY: "on"
        if PAGERDUTY in able
        else f"{PAGERDUTY_VARIABLE} is not set here"
        if policy.pagerduty
        else "off",
    }


def _problems(backlog: Backlog, now: datetime, patience: timedelta) -> Iterator[str]:
    why = f"; the last error: {backlog.last_error}" if backlog.last_error else ""
    if backlog.oldest is not None and now - backlog.oldest > patience:
        yield f"{backlog.waiting} messages to people wait since {backlog.oldest:%Y-%m-%d %H:%M} UTC{why}"
    if backlog.given_up:
        yield f"{backlog.given_up} messages to people were given up within a week{why}"
