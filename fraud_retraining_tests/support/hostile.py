"""Requests as a stranger would send them: from a seed, each odd in one or several ways. Sent to loopback only."""

import hashlib
import hmac
import json
import random
import string
import time
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote, urlencode

from fraud_retraining_tests.support.release_apps import ANNA, EVE, PROXY_SECRET, SIGNING


class Odd(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


NUMBERS = (
    "0",
    "1",
    "4",
    "-1",
    "007",
    "2147483647",
    "2147483648",
    "9223372036854775808",
    "9" * 30,
    "9" * 5000,
    "1e9",
    "\u0663",
    "\uff14",
    "1.0",
    "0x1",
    "",
)
TEXTS = (
    "",
    " ",
    "\x00",
    "\x00\x01",
    "\ud7ff",
    "\U0001f9ff" * 9,
    "<script>alert(1)</script>",
    "' OR 1=1 --",
    "%",
    "%zz",
    "../../etc/passwd",
    "a" * 3000,
    "{{7*7}}",
    "\r\nX: y",
    "\u202e",
    "null",
    "[]",
    "{}",
    "true",
)
ORIGINS = (
    "null",
    "",
    "http://",
    "http://[",
    "http://[::1",
    "http://[::1]:99999",
    "//",
    "http://a:b@c:d",
    "http://evil.example",
    "file:///",
    "http://127.0.0.1",
    "://",
    "http://\x7f",
    "x" * 4000,
)
METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "get", "X" * 40)
TYPES = (
    "application/x-www-form-urlencoded",
    "application/json",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "text/plain; charset=utf-7",
    "application/x-www-form-urlencoded; charset=klingon",
    "",
    "\xff",
)
ENCODINGS = ("gzip", "deflate", "br", "identity", "x", "gzip, gzip")


def odd_requests(seed: int, count: int, tokens: tuple[str, ...]) -> Iterator[Odd]:
    """That many requests; the same seed gives the same ones. `tokens` are links of which some are good."""
    dice = random.Random(seed)
    makers = (_page, _page, _form, _form, _picture, _click, _anything)
    for _ in range(count):
        yield _seasoned(dice, dice.choice(makers)(dice, tokens))


def _page(dice: random.Random, tokens: tuple[str, ...]) -> Odd:
    query = dice.choice(("", "?", f"?link={_token(dice, tokens)}", "?link=&link=&link=", f"?{_noise(dice, 200)}"))
    return Odd("GET", f"/releases/{quote(dice.choice(NUMBERS))}{query}", {}, b"")


def _picture(dice: random.Random, tokens: tuple[str, ...]) -> Odd:
    key = dice.choice(("0" * 16, quote(dice.choice(TEXTS), safe=""), "..", "%2e%2e"))
    name = dice.choice(("scores.png", "scores", ".png", quote(dice.choice(TEXTS), safe="") + ".png", "a/b.png"))
    return Odd("GET", f"/releases/{quote(dice.choice(NUMBERS))}/pictures/{key}/{name}", {"If-None-Match": "*, x"}, b"")


def _form(dice: random.Random, tokens: tuple[str, ...]) -> Odd:
    fields = [
        ("decision", dice.choice(("approve", "reject", "", "APPROVE", dice.choice(TEXTS)))),
        ("reason", dice.choice(TEXTS)),
        ("link", _token(dice, tokens)),
        *((_noise(dice, 5), _noise(dice, 5)) for _ in range(dice.choice((0, 0, 1, 50)))),
    ]
    body = dice.choice((urlencode(fields).encode("utf-8", "replace"), _bytes(dice, 500), b"&" * 500, b"\xff\xfe"))
    return Odd("POST", f"/releases/{quote(dice.choice(NUMBERS))}", {"Content-Type": dice.choice(TYPES)}, body)


def _click(dice: random.Random, tokens: tuple[str, ...]) -> Odd:
    """What Slack has signed, so that only its shape protects the app."""
    payload = dice.choice((_json(dice, 4), _broken_click(dice), [], None, "x" * 50, {"type": "block_actions"}))
    shapes = (
        urlencode({"payload": json.dumps(payload)}).encode(),
        urlencode({"payload": "[" * 20_000}).encode(),
        b"payload=%ff",
        b"ssl_check=1&token=x",
        json.dumps(payload).encode(),
        _bytes(dice, 300),
        b"",
    )
    body, at = dice.choice(shapes), str(int(time.time()))
    signed = "v0=" + hmac.new(SIGNING.encode(), f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
    good = dice.random() < 0.8
    headers = {
        "X-Slack-Request-Timestamp": at if good else dice.choice((*NUMBERS, "nan", "-1e400")),
        "X-Slack-Signature": signed if good else dice.choice(("v0=", "\xe9", signed[:-1])),
        "Content-Type": dice.choice(TYPES),
        "X-Slack-Retry-Num": dice.choice(("1", "x")),
    }
    return Odd("POST", "/slack/actions", headers, body)


def _broken_click(dice: random.Random) -> object:
    """A click with one thing wrong; what is whole belongs to a stranger."""
    value = f"{dice.choice(NUMBERS)}:{'0' * 64}"
    whole = dice.choice(
        (
            {
                "type": "block_actions",
                "user": {"id": EVE},
                "trigger_id": "T",
                "actions": [{"type": "button", "action_id": "approve_release", "block_id": "b", "value": value}],
            },
            {
                "type": "view_submission",
                "user": {"id": EVE},
                "view": {
                    "type": "modal",
                    "callback_id": "reject_release_reason",
                    "private_metadata": value,
                    "state": {"values": {"reason": {"text": {"value": "x"}}}},
                },
            },
        )
    )
    broken = json.loads(json.dumps(whole))
    place = broken
    for _ in range(dice.randint(0, 3)):
        inner = [key for key in place if isinstance(place[key], dict)]
        if not inner:
            break
        place = place[dice.choice(inner)]
    if dice.random() < 0.9:
        place[dice.choice(list(place))] = dice.choice((None, [], {}, 0, ANNA, dice.choice(TEXTS), [None], [{}]))
    return broken


def _anything(dice: random.Random, tokens: tuple[str, ...]) -> Odd:
    path = dice.choice(
        ("/", "//", "/releases/", "/%00", "/..%2f..", "/slack/actions", "*", "/" + quote(_noise(dice, 40)))
    )
    return Odd(dice.choice(METHODS), path, {}, _bytes(dice, 50) if dice.random() < 0.3 else b"")


def _seasoned(dice: random.Random, odd: Odd) -> Odd:
    """With headers that nothing requires, now and then another method, or far too much."""
    extra = {
        "Origin": dice.choice(ORIGINS),
        "Referer": dice.choice(ORIGINS),
        "Cookie": dice.choice(("a=b; " * 400, "=;=;", '"\\', "a")),
        "X-Login": dice.choice(("anna", "mallory", "\xe9\xff", "a" * 5000, " ")),
        "X-Proxy-Secret": dice.choice((PROXY_SECRET, PROXY_SECRET, "\xe9", "")),
        "Content-Encoding": dice.choice(ENCODINGS),
        "Accept": dice.choice(("*/*", "", "q=;,,", "text/html;q=x")),
        "Range": "bytes=0-,5-1,-9",
        "X-Forwarded-Host": "evil.example",
        "Upgrade": "websocket",
        "Connection": dice.choice(("upgrade", "close", "keep-alive")),
        "Expect": "100-continue",
    }
    chosen = {name: value for name, value in extra.items() if dice.random() < 0.15}
    method = dice.choice(METHODS) if dice.random() < 0.1 else odd.method
    body = odd.body * 400 if dice.random() < 0.02 else odd.body
    return Odd(method, odd.path, {**odd.headers, **chosen}, body)


def _token(dice: random.Random, tokens: tuple[str, ...]) -> str:
    good = dice.choice(tokens)
    return dice.choice((good, good[:-2], good[::-1], good + "\x00", dice.choice(TEXTS), ".".join("abc"), "." * 300))


def _json(dice: random.Random, depth: int) -> object:
    if depth == 0 or dice.random() < 0.3:
        return dice.choice((None, 0, -1, 1e308, True, *TEXTS[:8]))
    if dice.random() < 0.5:
        return [_json(dice, depth - 1) for _ in range(dice.randint(0, 3))]
    names = ("type", "user", "actions", "view", "payload", "id", "value", "state")
    return {dice.choice(names): _json(dice, depth - 1) for _ in range(dice.randint(0, 4))}


def _noise(dice: random.Random, most: int) -> str:
    return "".join(dice.choices(string.printable[:95], k=dice.randint(0, most)))


def _bytes(dice: random.Random, most: int) -> bytes:
    return dice.randbytes(dice.randint(0, most))
