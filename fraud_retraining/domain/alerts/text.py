"""Text that is safe to send: one printable line, without secrets, not longer than a destination takes.

Here: what every destination does with text from data, names or people. Not here: markup, which each
destination escapes in its own way (`slack_markup.py`, `mail.py`).
"""

import re
from hashlib import sha256

from fraud_retraining.domain.alerts.notices import Notice
from fraud_retraining.domain.values.redaction import redact

CUT = "…"
URL, DEDUP_KEY = 2000, 255
_UNSAFE = {"<": "%3C", ">": "%3E", "|": "%7C", " ": "%20", '"': "%22"}


def clean(text: str, limit: int) -> str:
    r"""Return a printable line without secrets, not longer than `limit`.

    Examples:
        >>> clean("a line\nand another\x00 one", 17)
        'a line and anoth…'
    """
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    shown = redact(line)
    return shown if len(shown) <= limit else shown[: limit - 1] + CUT


def web_url(url: str) -> str | None:
    """An address that cannot end the link that it stands in, without secrets; None for what is no web address."""
    found = link_target(redact(url))
    return found if found is not None and len(found.replace("&", "&amp;")) <= URL else None


def link_target(url: str) -> str | None:
    """As `web_url`, of any length and not redacted: for links that are secrets themselves."""
    if re.match(r"https?://[^\s/]", url) is None:
        return None
    return "".join(_UNSAFE.get(char, char) for char in url if char.isprintable())


def dedup_key(notice: Notice) -> str:
    """The key under which a destination knows the incident, for its beginning and its end alike."""
    key = f"{notice.model}/{notice.key}"
    return key if len(key) <= DEDUP_KEY else f"{key[: DEDUP_KEY - 17]}/{sha256(key.encode()).hexdigest()[:16]}"
