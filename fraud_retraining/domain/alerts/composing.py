"""How a notice looks in Slack (Block Kit) and in PagerDuty (Events v2).

Here: pure functions from a notice to the body of a message, within the limits of both, with hostile text escaped and
secrets blanked. Not here: what a notice says (`support/notices.py`) and sending (`services/delivery.py`).

Limits: https://docs.slack.dev/reference/block-kit/blocks, https://developer.pagerduty.com/docs/send-alert-event
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from fraud_retraining.domain.alerts.failures import Severity
from fraud_retraining.domain.alerts.notices import (
    FILE,
    PAGERDUTY,
    SLACK,
    Action,
    AlertPolicy,
    Link,
    Message,
    Notice,
    destinations,
    kind_of,
    sentences,
)
from fraud_retraining.domain.values.redaction import redact

HEADER, SECTION, FIELD, FIELDS, ELEMENTS, URL, TEXT = 150, 3000, 2000, 10, 10, 2000, 4000
SUMMARY, DEDUP_KEY, DETAIL, DETAILS = 1024, 255, 1000, 50
CUT = "…"

Body = dict[str, Any]

MARKS: Mapping[Severity, str] = MappingProxyType(
    {
        Severity.INFO: ":information_source:",
        Severity.MEDIUM: ":large_yellow_circle:",
        Severity.HIGH: ":large_orange_circle:",
        Severity.CRITICAL: ":red_circle:",
    }
)
CURED = ":white_check_mark:"
PAGERDUTY_SEVERITY: Mapping[Severity, str] = MappingProxyType(
    {
        Severity.INFO: "info",
        Severity.MEDIUM: "warning",
        Severity.HIGH: "error",
        Severity.CRITICAL: "critical",
    }
)


def opening(notice: Notice, policy: AlertPolicy) -> tuple[Message, ...]:
    """The messages that tell of a notice, one a destination."""
    return tuple(_opening(destination, notice, policy) for destination in destinations(notice, policy))


def escalation(notice: Notice, policy: AlertPolicy) -> Message | None:
    """The message to PagerDuty for a notice that could not be delivered otherwise; none where it is off."""
    return None if policy.pagerduty is None else _opening(PAGERDUTY, notice, policy)


def seen_again(notice: Notice, policy: AlertPolicy, seen: int) -> tuple[Message, ...]:
    """The change of a message whose notice was seen for the n-th time; nobody is told anew."""
    return tuple(
        Message(destination=destination, action=Action.UPDATE, body=slack_message(notice, seen=seen))
        for destination in destinations(notice, policy)
        if kind_of(destination) == SLACK
    )


def closing(notice: Notice, told_at: Sequence[str], why: str, seen: int = 1) -> tuple[Message, ...]:
    """The messages that tell of a notice's end at every destination that was told of it: same thread, same incident."""
    return tuple(message for destination in told_at for message in _closing(destination, notice, why, seen))


def _opening(destination: str, notice: Notice, policy: AlertPolicy) -> Message:
    if kind_of(destination) == SLACK:
        body = slack_message(notice)
    elif kind_of(destination) == PAGERDUTY:
        body = pagerduty_event(notice, policy.pagerduty.source if policy.pagerduty else "")
    else:
        body = file_entry(notice)
    return Message(destination=destination, action=Action.OPEN, body=body)


def _closing(destination: str, notice: Notice, why: str, seen: int) -> list[Message]:
    kind = kind_of(destination)
    if kind == PAGERDUTY:
        return [Message(destination=destination, action=Action.RESOLVE, body={"dedup_key": dedup_key(notice)})]
    if kind == FILE:
        return [Message(destination=destination, action=Action.RESOLVE, body={**file_entry(notice), "resolved": why})]
    reply = {"text": f"{CURED} Resolved: {mrkdwn(why, SECTION)}"}
    return [
        Message(destination=destination, action=Action.UPDATE, body=slack_message(notice, seen=seen, resolved=why)),
        Message(destination=destination, action=Action.REPLY, body=reply),
    ]


def slack_message(notice: Notice, *, seen: int = 1, resolved: str = "") -> Body:
    """Text and blocks of a notice: what happened, to what, why, what still serves, what to do, where to look."""
    mark = CURED if resolved else MARKS[notice.severity]
    title = f"Resolved: {notice.title}" if resolved else notice.title
    sections = {
        "Why": _bullets(notice.why, SECTION - 100),
        "Still serving": mrkdwn(notice.serving, SECTION // 2),
        "What to do": "" if resolved else mrkdwn(notice.todo, SECTION // 2),
        "Resolved": mrkdwn(resolved, SECTION // 2),
    }
    blocks: list[Body] = [
        {"type": "header", "text": {"type": "plain_text", "text": heading(f"{mark} {title}"), "emoji": True}},
        *_fields(notice.facts),
        *(_section(f"*{name}*\n{text}") for name, text in sections.items() if text),
        {"type": "context", "elements": [marked_up(text) for text in _footer(notice, seen)]},
    ]
    told = sentences(title, *notice.why[:1], notice.serving)
    return {"text": mrkdwn(f"{mark} {told}", TEXT), "blocks": blocks}


def heading(text: str) -> str:
    """Plain text for a header, which has no escapes: what are control characters elsewhere becomes parentheses."""
    return clean(text, HEADER).translate({ord("<"): "(", ord(">"): ")"})


def marked_up(text: str) -> Body:
    """Text whose markup is our own; Slack is told to look for no links, names or mentions of its own accord."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _section(text: str) -> Body:
    return {"type": "section", "text": marked_up(text)}


def _fields(facts: Sequence[tuple[str, str]]) -> list[Body]:
    shown = [marked_up(f"*{mrkdwn(name, 100)}*\n{mrkdwn(value, FIELD - 200)}") for name, value in facts[:FIELDS]]
    return [{"type": "section", "fields": shown}] if shown else []


def _bullets(lines: Sequence[str], limit: int) -> str:
    """The lines as bullets, as many as fit, and how many did not."""
    shown: list[str] = []
    room = limit - 40
    for line in lines:
        bullet = f"• {mrkdwn(line, 600)}"
        room -= len(bullet) + 1
        if room < 0:
            return "\n".join([*shown, f"• ... and {len(lines) - len(shown)} more"])
        shown.append(bullet)
    return "\n".join(shown)


def _footer(notice: Notice, seen: int) -> list[str]:
    told = [_slack_link(link) for link in notice.links[: ELEMENTS - 2]]
    told.append(f"{mrkdwn(notice.category.replace('_', ' '), 60)}, {notice.severity}")
    return [*told, f"seen {seen} times"] if seen > 1 else told


def _slack_link(link: Link) -> str:
    text = mrkdwn(link.text, 75).replace("|", "/")
    address = web_address(link.url)
    return f"<{address}|{text}>" if address else f"{text}: {mrkdwn(link.url, 300)}"


def web_address(url: str) -> str | None:
    """An address that cannot end the link that it stands in, without secrets; None for what is no web address."""
    if re.match(r"https?://[^\s/]", url) is None:
        return None
    unsafe = {"<": "%3C", ">": "%3E", "|": "%7C", " ": "%20", '"': "%22"}
    address = "".join(unsafe.get(char, char) for char in redact(url) if char.isprintable()).replace("&", "&amp;")
    return address if len(address) <= URL else None


def mrkdwn(text: str, limit: int) -> str:
    """A line in which Slack sees no mention, link, channel or formatting, not longer than `limit` once it is escaped.

    Whatever comes from data, names or people goes through here before it stands in a message. Slack's markup has no
    escape character for `*_~` and quotes of code: they become signs that look like them. An underscore within a word
    formats nothing and stays, so that names can be copied. See https://docs.slack.dev/messaging/formatting-message-text.
    """
    shown = _unformatted(clean(text, limit))
    if len(escape(shown)) <= limit:
        return escape(shown)
    kept, room = [], limit - 1
    for piece in map(escape, shown):
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + CUT


def _unformatted(line: str) -> str:
    plain = _LONE_UNDERSCORE.sub("\uff3f", line.translate(_LOOKALIKES))
    plain = _WEB.sub(r"\1[:]//", _EVERYBODY.sub("\uff20", plain))
    return f"\u203a{plain[1:]}" if plain.startswith(">") else plain


_LOOKALIKES = {ord("*"): "\u2217", ord("~"): "\u223c", ord("`"): "'"}
_LONE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_EVERYBODY = re.compile(r"@(?=(?:channel|here|everyone)(?![^\W_]))", re.IGNORECASE)
_WEB = re.compile(r"(?i)(https?)://")


def escape(text: str) -> str:
    """Text without Slack's control characters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def clean(text: str, limit: int) -> str:
    """A printable line without secrets, not longer than `limit`."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    shown = redact(line)
    return shown if len(shown) <= limit else shown[: limit - 1] + CUT


def dedup_key(notice: Notice) -> str:
    """The key under which PagerDuty knows the incident, for trigger and resolve alike."""
    key = f"{notice.model}/{notice.key}"
    return key if len(key) <= DEDUP_KEY else f"{key[: DEDUP_KEY - 17]}/{sha256(key.encode()).hexdigest()[:16]}"


def pagerduty_event(notice: Notice, source: str) -> Body:
    """A trigger event without its routing key."""
    return {
        "dedup_key": dedup_key(notice),
        "payload": {
            "summary": clean(f"{notice.model}: {sentences(notice.title, *notice.why[:1])}", SUMMARY),
            "source": clean(source or notice.model, DETAIL),
            "severity": PAGERDUTY_SEVERITY[notice.severity],
            "component": clean(notice.model, DETAIL),
            "class": clean(notice.category, DETAIL),
            "custom_details": _details(notice),
        },
        "links": [
            {"href": redact(link.url), "text": clean(link.text, DETAIL)}
            for link in notice.links
            if web_address(link.url)
        ],
    }


def _details(notice: Notice) -> Body:
    why = [clean(line, DETAIL) for line in notice.why[:DETAILS]]
    more = len(notice.why) - len(why)
    told = {
        **{clean(name, 100): clean(value, DETAIL) for name, value in notice.facts[:DETAILS]},
        "Why": [*why, *([f"... and {more} more"] if more > 0 else [])],
        "Still serving": clean(notice.serving, DETAIL),
        "What to do": clean(notice.todo, DETAIL),
        "Runbook": next((link.url for link in notice.links if not web_address(link.url)), ""),
    }
    return {name: value for name, value in told.items() if value}


def file_entry(notice: Notice) -> Body:
    """What a line of the file of alerts says."""
    return {
        "severity": str(notice.severity),
        "category": notice.category,
        "title": clean(notice.title, TEXT),
        "why": [clean(line, TEXT) for line in notice.why],
        "serving": clean(notice.serving, TEXT),
        "todo": clean(notice.todo, TEXT),
        "links": [redact(link.url) for link in notice.links],
    }
