"""What must never be written down: passwords, tokens and keys, wherever they hide in text.

Here: finding and blanking secrets in a text, and knowing a field by its name as secret. Not here: where secrets come
from (`settings.py`) and what is recorded (`domain/events.py`).
"""

import re

BLANK = "***"

_SECRET_WORDS = r"(?:password|passwd|pwd|secret|token|api_?key|access_?key|signature)"
# every repetition is bounded or cannot overlap the next try: a long text costs no more than its length
_USERINFO = (
    re.compile(r"(?P<keep>://)[^\s/?#]*@"),
    # a password with an unquoted slash; a colon that opens a port number is no password
    re.compile(r"(?P<keep>://)[^\s/?#@:]{1,200}:(?!\d+[/?#])[^\s@]{1,2000}@"),
)
_TOKENS = (
    re.compile(r"(?P<keep>hooks\.slack\.com/(?:services|workflows)/)[^\s\"'?]+"),
    re.compile(r"(?P<keep>[?&]link=)[\w.~%-]{16,}"),
    re.compile(r"(?P<keep>)\bxox[a-z]-[A-Za-z0-9-]+"),
    re.compile(r"(?P<keep>)\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    re.compile(r"(?i)(?P<keep>\bbearer\s{1,3})[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(rf"(?i)(?P<keep>{_SECRET_WORDS}[\w.-]{{0,40}}\s{{0,3}}=\s{{0,3}})[^\s&;,\"']+"),
)
_SECRET_NAME = re.compile(
    r"(?i)(?:password|passwd|secret|credential|authorization|webhook|private_?key|api_?key|access_?key|routing_?key"
    r"|(?:^|_)(?:token|pwd)$)"
)


def redact(text: str) -> str:
    """The text with every secret in it blanked; hosts, paths and user-readable words stay.

    What was redacted stays as it is when it is redacted again: what blanking uncovers is blanked at once.
    """
    while (blanked := _redact_once(text)) != text:
        text = blanked
    return text


def _redact_once(text: str) -> str:
    for rule in _USERINFO:
        text = rule.sub(rf"\g<keep>{BLANK}@", text)
    for rule in _TOKENS:
        text = rule.sub(rf"\g<keep>{BLANK}", text)
    return text


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret, whatever its value looks like."""
    return _SECRET_NAME.search(name) is not None
