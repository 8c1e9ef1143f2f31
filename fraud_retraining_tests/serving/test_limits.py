"""Limits of the web app: bodies, heads, connections and time; every response has a type and the strict headers."""

import asyncio
import gc
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import httpx
import pytest

from fraud_retraining.serving import limits
from fraud_retraining.serving.limits import BODY_BYTES, HEADERS, MOST_CONNECTIONS
from fraud_retraining.serving.release_app import SLACK_ACTIONS, SLACK_BYTES
from fraud_retraining_tests.support.hostile import Odd, odd_requests
from fraud_retraining_tests.support.release_apps import Reviewed_

pytest_plugins = (
    "fraud_retraining_tests.support.reviewer_fixtures",
    "fraud_retraining_tests.support.release_app_fixtures",
)

AT_ONCE = 20
TYPED = frozenset({200, 204, 304, 307, 400, 401, 403, 404, 405, 409, 413})


def connected(reviewed: Reviewed_) -> socket.socket:
    """A bare connection to the app."""
    address = httpx.URL(reviewed.address)
    assert address.host == "127.0.0.1"
    return socket.create_connection((address.host, address.port or 0), timeout=30)


def answer_to(reviewed: Reviewed_, *parts: bytes, pause: float = 0) -> bytes:
    """Everything that comes back for bytes as they are."""
    with closing(connected(reviewed)) as line:
        with suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                line.sendall(part)
                time.sleep(pause)
        found = b""
        while more := _received(line):
            found += more
        return found


def _received(line: socket.socket) -> bytes:
    try:
        return line.recv(65_536)
    except ConnectionResetError:
        return b""


def post(length: int, path: str = "/releases/4") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


@pytest.mark.parametrize(("path", "most"), [("/releases/4", BODY_BYTES), (SLACK_ACTIONS, SLACK_BYTES)])
def test_a_body_that_is_too_long_is_refused_before_it_is_read(reviewed: Reviewed_, path: str, most: int) -> None:
    began = time.monotonic()
    answer = answer_to(reviewed, post(600_000_000, path))
    assert answer.startswith(b"HTTP/1.1 413") and time.monotonic() - began < 5, "nothing of the body was sent"
    assert b"connection: close" in answer.lower()
    assert httpx.post(reviewed.address + path, content=b"x" * (most + 1), timeout=60).status_code == 413
    assert httpx.post(reviewed.address + path, content=b"x" * most, timeout=60).status_code in (400, 401, 403)


def test_a_body_without_a_length_is_read_no_further_than_its_bound(reviewed: Reviewed_) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 200_000_000:
            sent += 10_000
            yield b"x" * 10_000

    with suppress(httpx.WriteError):
        assert httpx.post(f"{reviewed.address}/releases/4", content=endless(), timeout=30).status_code == 413
    assert sent < 20_000_000, "the connection was closed"


def test_a_page_takes_no_body(reviewed: Reviewed_) -> None:
    assert httpx.request("GET", f"{reviewed.address}/releases", content=b"x" * 10, timeout=60).status_code == 400


@pytest.mark.parametrize("bits", [(), (b"GET /releases HT",), (b"GET /", b"r", b"e", b"l", b"e", b"a", b"s")])
def test_a_head_that_does_not_come_in_time_ends_the_connection(
    reviewed: Reviewed_, bits: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.5)
    began = time.monotonic()
    assert answer_to(reviewed, *bits, pause=0.1) == b""
    assert time.monotonic() - began < 10


def test_a_body_that_does_not_come_in_time_is_refused(reviewed: Reviewed_, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.3)
    answer = answer_to(reviewed, post(100), b"dec")
    assert answer.startswith(b"HTTP/1.1 408") and b"x-content-type-options: nosniff" in answer.lower()


def test_beyond_a_number_of_connections_others_are_turned_away_and_soon_let_in_again(
    reviewed: Reviewed_, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_CONNECTIONS", 10)
    idle = [connected(reviewed) for _ in range(12)]
    try:
        idle[-1].settimeout(10)
        assert _received(idle[-1]) == b"", "the last one is closed"
    finally:
        for line in idle:
            line.close()
    deadline = time.monotonic() + 20
    while True:
        try:
            assert httpx.get(f"{reviewed.address}/releases", timeout=60).status_code == 200
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert MOST_CONNECTIONS >= 100


@pytest.mark.parametrize(
    "request_",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET /releases HTTP/1.1\r\n\r\n",
        b"GET /releases HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /releases/4 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_refused_with_the_headers(reviewed: Reviewed_, request_: bytes) -> None:
    answer = answer_to(reviewed, request_).lower()
    assert answer.startswith(b"http/1.1 4")
    for name in HEADERS:
        assert name.lower().encode() + b":" in answer


def test_a_connection_that_is_over_leaves_nothing_that_must_be_collected(reviewed: Reviewed_) -> None:
    """A scorer sets aside what is there while it serves: circles among that would never be collected."""

    def connections() -> int:
        return sum(isinstance(one, limits.BoundedConnection) for one in gc.get_objects())

    gc.collect()
    before = connections()
    gc.disable()
    try:
        for _ in range(5):
            assert b"HTTP/1.1 " in answer_to(reviewed, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        # One whose client does not wait for the answer.
        with closing(connected(reviewed)) as line:
            line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        until = time.monotonic() + 5
        while connections() > before and time.monotonic() < until:
            time.sleep(0.05)
        assert connections() <= before
    finally:
        gc.enable()


@pytest.mark.parametrize("number", ["2147483648", "9223372036854775808", "9" * 5000, "0", "-1", "%EF%BC%94", "x"])
def test_a_number_that_no_version_has_is_not_found(reviewed: Reviewed_, number: str) -> None:
    for method in ("GET", "POST"):
        assert httpx.request(method, f"{reviewed.address}/releases/{number}", timeout=60).status_code == 404


def test_twenty_readers_at_once_cost_little_each(reviewed: Reviewed_) -> None:
    """Measured as time of the processor, both ends of the wire, so that a busy machine does not matter."""
    path, spent = f"{reviewed.address}/releases/4", 0.0
    with httpx.Client(timeout=60, limits=httpx.Limits(max_connections=AT_ONCE)) as client:
        client.get(path)
        spent = time.process_time()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda _: client.get(path), range(AT_ONCE)))
        spent = time.process_time() - spent
    assert {answer.status_code for answer in answers} == {200}
    assert spent / AT_ONCE < 0.1, "seconds a page; drawing its pictures takes ten times as long"


# ------------------------------------------------------------------ all of it


def require_typed(reviewed: Reviewed_, odd: list[Odd]) -> Counter[int]:
    """Sends them, some at a time; every answer is typed, none is 500, and all have the headers."""
    return asyncio.run(_sent(reviewed.address, odd))


async def _sent(address: str, odd: list[Odd]) -> Counter[int]:
    found: Counter[int] = Counter()
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=8)) as client:
        gate = asyncio.Semaphore(8)

        async def send(one: Odd) -> None:
            async with gate:
                answer = await _answer(client, address, one)
            if answer is None:
                found[0] += 1
                return
            found[answer.status_code] += 1
            assert answer.status_code in TYPED, (one, answer.status_code)
            missing = [name for name in HEADERS if name not in answer.headers]
            assert not missing, (one, missing)

        await asyncio.gather(*(send(one) for one in odd))
    return found


async def _answer(client: httpx.AsyncClient, address: str, one: Odd) -> Any:
    """The answer; None where the client itself cannot send such a thing, or the connection was closed under it."""
    headers = {name: value.encode("latin-1", "replace") for name, value in one.headers.items()}
    try:
        return await client.request(one.method, address + one.path, headers=headers, content=one.body)
    except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return None


def tokens_of(reviewed: Reviewed_) -> tuple[str, ...]:
    release = reviewed.ledger.release_by_version(4)
    assert release is not None
    return (reviewed.links.token(release, "mallory"), reviewed.links.token(release, "nobody"))


def test_no_odd_request_is_an_error_of_ours(reviewed: Reviewed_) -> None:
    before = {one.version: one.state for one in reviewed.ledger.releases()}
    found = require_typed(reviewed, list(odd_requests(7, 700, tokens_of(reviewed))))
    assert found[0] < 0.2 * found.total(), f"most could be sent: {found}"
    assert {one.version: one.state for one in reviewed.ledger.releases()} == before
    assert reviewed.ledger.verify().ok


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_odd_request_of_twenty_thousand_is_an_error_of_ours(reviewed: Reviewed_) -> None:
    """It takes some 100 seconds of one core, both ends of the wire together."""
    began = time.monotonic()
    found = require_typed(reviewed, list(odd_requests(11, 20_000, tokens_of(reviewed))))
    seconds = time.monotonic() - began
    print(f"{found.total():,} requests in {seconds:.0f} s; answers by status: {dict(sorted(found.items()))}")
    assert found.total() == 20_000 and found[0] < 4_000
    assert reviewed.ledger.verify().ok
