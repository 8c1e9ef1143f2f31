"""What must never be written down: passwords, tokens and keys, wherever they hide in text.

Here: finding and blanking secrets in a text, and knowing a field by its name as secret. Not here: where secrets come
from (`settings.py`) and what is recorded (`domain/events.py`).
"""

import re

BLANK = "***"

_SCHEME = r"(?P<keep>[a-zA-Z][a-zA-Z0-9+.\-]*://)"
_RULES = tuple(
    re.compile(pattern)
    for pattern in (
        _SCHEME + r"[^\s/?#]*@",
        # a password with an unquoted slash; a colon that opens a port number is no password
        _SCHEME + r"[^\s/?#@:]+:(?!\d+[/?#])[^\s@]+@",
        r"(?P<keep>hooks\.slack\.com/(?:services|workflows)/)[^\s\"'?]+",
        r"(?P<keep>)\bxox[a-z]-[A-Za-z0-9-]+",
        r"(?P<keep>)\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        r"(?i)(?P<keep>\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}",
        r"(?i)(?P<keep>\b[\w.-]*(?:password|passwd|pwd|secret|token|api_?key|access_?key|signature)[\w.-]*\s*=\s*)[^\s&;,\"']+",
    )
)
_USERINFO = frozenset(_RULES[:2])
_SECRET_NAME = re.compile(
    r"(?i)(?:password|passwd|secret|credential|authorization|webhook|private_?key|api_?key|access_?key|routing_?key"
    r"|(?:^|_)(?:token|pwd)$)"
)


def redact(text: str) -> str:
    """The text with every secret in it blanked; hosts, paths and user-readable words stay."""
    for rule in _RULES:
        text = rule.sub(rf"\g<keep>{BLANK}{'@' if rule in _USERINFO else ''}", text)
    return text


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret, whatever its value looks like."""
    return _SECRET_NAME.search(name) is not None
