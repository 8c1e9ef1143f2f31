"""Redaction of secrets in text: passwords, tokens, keys and card numbers.

Here: blanking secrets in a text, and fields whose name says that they hold one. Not here: the source of secrets
(`settings.py`) and what is recorded (`domain/ledger/events.py`).
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
    re.compile(r"(?P<keep>)\b(?:xox[a-z]|xapp)-[A-Za-z0-9-]+"),
    re.compile(r"(?P<keep>)\b(?:gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_\w{20,255}|AIza[\w-]{35})"),
    re.compile(r"(?P<keep>)\beyJ[\w-]{8,4000}\.eyJ[\w-]{8,4000}\.[\w-]{8,4000}"),
    re.compile(r"(?s)(?P<keep>)-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"),
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

    Redacting twice gives the same text: blanking is repeated until nothing changes.

    >>> redact("postgresql://user:pa55@db/ledger?token=abc")
    'postgresql://***@db/ledger?token=***'
    """
    # Blanking can uncover a further secret beside the first, so it is repeated until nothing changes.
    while (blanked := _redact_once(text)) != text:
        text = blanked
    return text


def _redact_once(text: str) -> str:
    for rule in _USERINFO:
        text = rule.sub(rf"\g<keep>{BLANK}@", text)
    for rule in _TOKENS:
        text = rule.sub(rf"\g<keep>{BLANK}", text)
    return _CARD_DIGITS.sub(_without_cards, text)


_CARD_DIGITS = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,40}(?!\w)")
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d{2}|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|6(?:011|5\d{2})\d{12}|35\d{14}|3(?:0[0-5]|[68]\d)\d{11}"
)


def _without_cards(found: re.Match[str]) -> str:
    """Digits in groups; as many groups in a row as make a payment card's number are blanked."""
    # A card number may stand between other digits, so every run of groups is tried.
    groups = re.split("([ -])", found[0])
    for first in range(0, len(groups), 2):
        for last in range(first, len(groups), 2):
            if _is_card("".join(groups[first : last + 1 : 2])):
                return "".join([*groups[:first], BLANK, *groups[last + 1 :]])
    return found[0]


def _is_card(digits: str) -> bool:
    """Whether it has an issuer's first digits and length, and the check digit (Luhn) is right."""
    if _ISSUERS.fullmatch(digits) is None:
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def is_secret_name(name: str) -> bool:
    """Whether the name of a field says that it holds a secret.

    >>> is_secret_name("slack_token"), is_secret_name("tokens_used")
    (True, False)
    """
    return _SECRET_NAME.search(name) is not None
