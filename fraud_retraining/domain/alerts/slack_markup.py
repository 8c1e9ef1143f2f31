"""Slack's markup: the one way in which text is escaped, and the blocks that messages are made of.

Here: escaping, links, headers, sections, bullets, within the limits of Block Kit. Not here: what a message says
(`slack.py` for notices, `domain/release_messages/slack_request.py` for requests).

Limits: https://docs.slack.dev/reference/block-kit/blocks
"""

import re
from collections.abc import Sequence
from typing import Any

from fraud_retraining.domain.alerts.notices import Link
from fraud_retraining.domain.alerts.text import CUT, clean, link_target, web_url

HEADER, SECTION, FIELD, FIELDS, ELEMENTS, TEXT = 150, 3000, 2000, 10, 10, 4000

Body = dict[str, Any]


def header(text: str) -> Body:
    """A header block."""
    return {"type": "header", "text": {"type": "plain_text", "text": heading(text), "emoji": True}}


def heading(text: str) -> str:
    """Plain text for a header, which has no escapes: what would be control characters becomes parentheses."""
    return clean(text, HEADER).translate({ord("<"): "(", ord(">"): ")"})


def marked_up(text: str) -> Body:
    """Text whose markup is our own; `verbatim` stops Slack from making links, names or mentions itself."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def section(text: str) -> Body:
    """A section of text whose markup is our own."""
    return {"type": "section", "text": marked_up(text)}


def fields(facts: Sequence[tuple[str, str]], limit: int) -> list[Body]:
    """A section of names and values, as many as Slack shows; none where there is nothing to show."""
    shown = [marked_up(f"*{mrkdwn(name, 100)}*\n{mrkdwn(value, limit)}") for name, value in facts[:FIELDS]]
    return [{"type": "section", "fields": shown}] if shown else []


def bullets(lines: Sequence[str], limit: int, *, each: int = 600, most: int | None = None) -> str:
    """The lines as bullets of at most `each` characters, as many as fit, and how many did not."""
    shown: list[str] = []
    room = limit - 40
    for line in lines[:most]:
        bullet = f"• {mrkdwn(line, each)}"
        room -= len(bullet) + 1
        if room < 0:
            break
        shown.append(bullet)
    more = len(lines) - len(shown)
    return "\n".join([*shown, *([f"• ... and {more} more"] if more else [])])


def slack_link(link: Link) -> str:
    """A link to the web; any other place as text."""
    text = mrkdwn(link.text, 75).replace("|", "/")
    address = web_address(link.url)
    return f"<{address}|{text}>" if address else f"{text}: {mrkdwn(link.url, 300)}"


def secret_link(url: str, text: str) -> str:
    """A link whose secret is not redacted, because the reader needs it.

    Raises:
        ValueError: it is no web address.
    """
    address = link_target(url)
    if address is None:
        raise ValueError("a signed link is no web address")
    return f"<{_escaped_address(address)}|{mrkdwn(text, 75).replace('|', '/')}>"


def web_address(url: str) -> str | None:
    """An address that cannot end the link that it stands in, without secrets; None for what is no web address."""
    found = web_url(url)
    return _escaped_address(found) if found is not None else None


def _escaped_address(address: str) -> str:
    return address.replace("&", "&amp;")


def mrkdwn(text: str, limit: int) -> str:
    """A line in which Slack sees no mention, link, channel or formatting, not longer than `limit` once it is escaped.

    Every text from data, names or people goes through here before it stands in a message. Slack's markup has no
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
