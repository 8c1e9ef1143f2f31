"""Notices as messages of Slack (Block Kit).

Here: pure functions from a notice to the body of a message. Not here: escaping and limits (`slack_markup.py`), sending
(`adapters/alerts/slack.py`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fraud_retraining.domain.alerts.composer import Composer
from fraud_retraining.domain.alerts.failures import Severity
from fraud_retraining.domain.alerts.notices import SLACK, Action, AlertPolicy, Notice, sentences
from fraud_retraining.domain.alerts.slack_markup import (
    ELEMENTS,
    FIELD,
    SECTION,
    TEXT,
    Body,
    bullets,
    fields,
    header,
    marked_up,
    mrkdwn,
    section,
    slack_link,
)

MARKS: Mapping[Severity, str] = MappingProxyType(
    {
        Severity.INFO: ":information_source:",
        Severity.MEDIUM: ":large_yellow_circle:",
        Severity.HIGH: ":large_orange_circle:",
        Severity.CRITICAL: ":red_circle:",
    }
)
CURED = ":white_check_mark:"


class SlackComposer(Composer):
    """A message in the channel of the notice's audience, updated with the notice, with a thread."""

    kind = SLACK
    escalates = True

    def is_on(self, policy: AlertPolicy) -> bool:
        """Whether the settings name its channels."""
        return policy.slack is not None

    def addresses(self, notice: Notice, policy: AlertPolicy) -> tuple[str, ...]:
        """The channel of the notice's audience."""
        return () if policy.slack is None else (f"{SLACK}:{getattr(policy.slack.channels, notice.audience)}",)

    def opening(self, notice: Notice, policy: AlertPolicy) -> Body:
        """The message."""
        return slack_message(notice)

    def reminding(self, notice: Notice, seen: int) -> Body | None:
        """The message with how often it was seen."""
        return slack_message(notice, seen=seen)

    def resolving(self, notice: Notice, why: str, seen: int) -> tuple[tuple[Action, Body], ...]:
        """The message as it is from then on, and a reply in its thread."""
        reply = {"text": f"{CURED} Resolved: {mrkdwn(why, SECTION)}"}
        return (Action.UPDATE, slack_message(notice, seen=seen, resolved=why)), (Action.REPLY, reply)

    def following(self, notice: Notice, action: Action, body: Mapping[str, Any], text: str) -> Body | None:
        """The body as it was composed: it was made for Slack."""
        return dict(body)


def slack_message(notice: Notice, *, seen: int = 1, resolved: str = "") -> Body:
    """Return text and blocks of a notice: what happened, to what, why, what still serves, what to do, where to look."""
    mark = CURED if resolved else MARKS[notice.severity]
    title = f"Resolved: {notice.title}" if resolved else notice.title
    sections = {
        "Why": bullets(notice.why, SECTION - 100),
        "Still serving": mrkdwn(notice.serving, SECTION // 2),
        "What to do": "" if resolved else mrkdwn(notice.todo, SECTION // 2),
        "Resolved": mrkdwn(resolved, SECTION // 2),
    }
    blocks: list[Body] = [
        header(f"{mark} {title}"),
        *fields(notice.facts, FIELD - 200),
        *(section(f"*{name}*\n{words}") for name, words in sections.items() if words),
        {"type": "context", "elements": [marked_up(text) for text in _footer(notice, seen)]},
    ]
    text = sentences(title, *notice.why[:1], notice.serving)
    return {"text": mrkdwn(f"{mark} {text}", TEXT), "blocks": blocks}


def _footer(notice: Notice, seen: int) -> list[str]:
    parts = [slack_link(link) for link in notice.links[: ELEMENTS - 2]]
    parts.append(f"{mrkdwn(notice.category.replace('_', ' '), 60)}, {notice.severity}")
    return [*parts, f"seen {seen} times"] if seen > 1 else parts
