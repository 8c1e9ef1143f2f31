"""Notices as JSON for a webhook, and the signature that its receiver checks.

Here: pure functions from a notice to a payload, and from a payload to its signature. Not here: sending
(`adapters/alerts/webhook.py`). The form is described in `docs/alerts.md`.
"""

import hmac
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fraud_retraining.domain.alerts.composer import Body, Composer
from fraud_retraining.domain.alerts.notices import Action, AlertPolicy, Notice, sentences
from fraud_retraining.domain.alerts.text import clean, dedup_key, web_url
from fraud_retraining.domain.values.redaction import redact

WEBHOOK = "webhook"
VERSION = 1
LINE, LINES, WORDS = 1000, 50, 20_000
EVENTS: Mapping[Action, str] = MappingProxyType(
    {Action.OPEN: "opened", Action.UPDATE: "seen_again", Action.REPLY: "replied", Action.RESOLVE: "resolved"}
)


class WebhookComposer(Composer):
    """Every notice, its repetitions, its thread and its end, for a program that reads them."""

    kind = WEBHOOK
    escalates = True

    def is_on(self, policy: AlertPolicy) -> bool:
        """Whether the settings name its address."""
        return policy.webhook is not None

    def addresses(self, notice: Notice, policy: AlertPolicy) -> tuple[str, ...]:
        """The one receiver; its address stands in the settings only."""
        return (WEBHOOK,)

    def opening(self, notice: Notice, policy: AlertPolicy) -> Body:
        """The notice."""
        return payload(notice)

    def reminding(self, notice: Notice, seen: int) -> Body | None:
        """The notice with how often it was seen."""
        return payload(notice, seen=seen)

    def resolving(self, notice: Notice, why: str, seen: int) -> tuple[tuple[Action, Body], ...]:
        """The notice with what ended it."""
        return ((Action.RESOLVE, payload(notice, seen=seen, resolved=why, text=f"Resolved: {clean(why, LINE)}")),)

    def following(self, notice: Notice, action: Action, body: Mapping[str, Any], text: str) -> Body | None:
        """The notice with the text that was added to its thread."""
        return payload(notice, text=clean(text, WORDS)) if action is Action.REPLY and text else None

    def worded(self, body: Body, text: str) -> Body:
        """The notice with the words in full."""
        return {**body, "text": redact(text)[:WORDS]}


def payload(notice: Notice, *, seen: int = 1, resolved: str = "", text: str = "") -> Body:
    """Return the JSON of a notice; fields that differ between attempts are added when it is sent."""
    return {
        "key": dedup_key(notice),
        "model": clean(notice.model, LINE),
        "category": clean(notice.category, LINE),
        "severity": str(notice.severity),
        "audience": str(notice.audience),
        "title": clean(notice.title, LINE),
        "text": text or clean(sentences(notice.title, *notice.why[:1], notice.serving), 4 * LINE),
        "facts": [{"name": clean(name, 100), "value": clean(value, LINE)} for name, value in notice.facts[:LINES]],
        "why": _lines(notice.why),
        "serving": clean(notice.serving, LINE),
        "todo": clean(notice.todo, LINE),
        "links": [
            {"text": clean(link.text, 100), "url": web_url(link.url) or clean(link.url, LINE)}
            for link in notice.links[:LINES]
        ],
        "as_of": str(notice.as_of) if notice.as_of else None,
        "days": [str(day) for day in notice.days],
        "dagster_run_id": notice.dagster_run_id,
        "seen": seen,
        "resolved": clean(resolved, LINE) or None,
    }


def _lines(lines: Sequence[str]) -> list[str]:
    more = len(lines) - LINES
    return [*(clean(line, LINE) for line in lines[:LINES]), *([f"... and {more} more"] if more > 0 else [])]


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Return the signature that proves that a holder of the secret sent these bytes at that time.

    Examples:
        >>> signature("secret", 1764201600, b"{}")
        'v1=785ea79e6610327a0b1176425107fccb2fbee7e570cd5e43e0acbcc07c064b8f'
    """
    return f"v1={hmac.new(secret.encode(), f'{timestamp}.'.encode() + body, 'sha256').hexdigest()}"
