"""Notices as e-mails: subject, plain text and HTML.

Here: pure functions from a notice to the parts of a mail, with hostile text escaped. Not here: headers of threads and
sending (`adapters/alerts/mail.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from fraud_retraining.domain.alerts.composer import Body, Composer
from fraud_retraining.domain.alerts.failures import Severity
from fraud_retraining.domain.alerts.notices import Action, AlertPolicy, Link, Notice
from fraud_retraining.domain.alerts.text import clean, web_url
from fraud_retraining.domain.values.redaction import redact

EMAIL = "email"
SUBJECT, LINE, LINES, WORDS = 200, 1000, 100, 20_000


class EmailComposer(Composer):
    """A mail to each address of the notice's audience; later messages are replies in its thread."""

    kind = EMAIL
    escalates = True

    def is_on(self, policy: AlertPolicy) -> bool:
        """Whether the settings name a server."""
        return policy.email is not None

    def addresses(self, notice: Notice, policy: AlertPolicy) -> tuple[str, ...]:
        """Each address of the notice's audience, each one destination: a retry goes only to the one that refused."""
        addresses = () if policy.email is None else getattr(policy.email.channels, notice.audience)
        return tuple(f"{EMAIL}:{address}" for address in addresses)

    def opening(self, notice: Notice, policy: AlertPolicy) -> Body:
        """The mail that begins the thread."""
        parts = [("Why", notice.why), ("Still serving", (notice.serving,)), ("What to do", (notice.todo,))]
        about = [*notice.facts, ("Severity", str(notice.severity))]
        return _mail(subject(notice), notice.title, about, parts, notice.links)

    def resolving(self, notice: Notice, why: str, seen: int) -> tuple[tuple[Action, Body], ...]:
        """A reply in the thread."""
        about = [("Seen", f"{seen} times")] if seen > 1 else []
        parts = [("Still serving", (notice.serving,))]
        mail = _mail(f"Re: {subject(notice)}", f"Resolved: {why}", about, parts, ())
        return ((Action.RESOLVE, mail),)

    def following(self, notice: Notice, action: Action, body: Mapping[str, Any], text: str) -> Body | None:
        """A reply in the thread; a mail that was sent is not changed."""
        return _mail(f"Re: {subject(notice)}", text, (), (), ()) if action is Action.REPLY and text else None

    def worded(self, body: Body, text: str) -> Body:
        """The mail with other words."""
        shown = _lines_of(text)
        return {**body, "text": shown, "html": f"<pre>{escape(shown)}</pre>"}


def subject(notice: Notice) -> str:
    """Return the subject of a thread, one line."""
    mark = f"{notice.severity}: " if notice.severity.rank >= Severity.HIGH.rank else ""
    return clean(f"[{notice.model}] {mark}{notice.title}", SUBJECT)


def _mail(
    about: str,
    title: str,
    facts: Sequence[tuple[str, str]],
    parts: Sequence[tuple[str, Sequence[str]]],
    links: Sequence[Link],
) -> Body:
    """A mail's subject and both of its forms, which say the same."""
    heading = clean(title, 2 * LINE)
    rows = [(clean(name, 100), clean(value, LINE)) for name, value in facts[:LINES]]
    said = [(name, list(_shown(lines))) for name, lines in parts if any(lines)]
    places = [(clean(link.text, 100), link.url) for link in links[:LINES]]
    text = [heading, "", *(f"{name}: {value}" for name, value in rows)]
    for name, lines in said:
        text += ["", f"{name}:", *(f"- {line}" for line in lines)]
    text += ["", *(f"{name}: {web_url(url) or clean(url, LINE)}" for name, url in places)]
    html = [f"<h3>{escape(heading)}</h3>"]
    if rows:
        cells = "".join(
            f"<tr><th align='left'>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows
        )
        html.append(f"<table>{cells}</table>")
    for name, lines in said:
        html.append(f"<p><b>{escape(name)}</b></p><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>")
    html += [f"<p>{_html_link(name, url)}</p>" for name, url in places]
    return {"subject": about, "text": "\n".join(text).strip(), "html": "\n".join(html)}


def _shown(lines: Sequence[str]) -> Iterator[str]:
    yield from (clean(line, LINE) for line in lines[:LINES])
    if len(lines) > LINES:
        yield f"... and {len(lines) - LINES} more"


def _html_link(name: str, url: str) -> str:
    address = web_url(url)
    if address is None:
        return f"{escape(name)}: {escape(clean(url, LINE))}"
    return f'<a href="{escape(address)}">{escape(name)}</a>'


def _lines_of(text: str) -> str:
    """Lines that hold nothing but printable characters, without secrets."""
    lines = ("".join(char if char.isprintable() else " " for char in line) for line in text.split("\n"))
    return redact("\n".join(lines))[:WORDS]
