"""Limits of the web app against any client: heads, bodies, connections and time, and the headers of every response.

Here: what holds for each request, checked before anything is read. Not here: what the app answers (`release_routes.py`,
`slack_actions.py`).

A body is read up to a limit that its path sets, within a time; more is refused before it is read. Every failure is
answered in the same form, with the headers that keep a browser from running or framing anything.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # A page behind a signed link may not stay in a shared browser or a proxy.
    "Cache-Control": "no-store",
}
BODY_BYTES = 64_000
HEAD_BYTES = 16_384
HEAD_SECONDS = 10.0
BODY_SECONDS = 15.0
ANSWER_SECONDS = 60.0
KEEP_ALIVE_SECONDS = 5
MOST_CONNECTIONS = 256
WITH_BODY = frozenset({"POST"})
PLAIN = "text/plain; charset=utf-8"
LOG = logging.getLogger("fraud_retraining.releases")


class Refusal(NamedTuple):
    """The response to a request that is refused."""

    status: int
    why: str


TOO_LONG = Refusal(413, "The body is too long.")
TOO_SLOW = Refusal(408, "The body did not arrive in time.")
TAKES_NONE = Refusal(400, "A request of this kind has no body.")
BUSY = Refusal(503, "The answer took too long; try again.")
BROKEN = Refusal(500, "That was not done; the log of this server says why.")


class Limited:
    """An app behind the limits. `bodies` are the most bytes of a body by path, where it is not `BODY_BYTES`."""

    def __init__(self, app: "ASGIApp", bodies: Mapping[str, int]) -> None:
        self._app = app
        self._bodies = bodies

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Response(send)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._answered(scope, receive, answer)
        except TimeoutError:
            await answer.refuse(BUSY)
        except Exception:
            LOG.exception("a request could not be answered: %s %s", scope["method"], scope["path"][:200])
            await answer.refuse(BROKEN)

    async def _answered(self, scope: "Scope", receive: "Receive", answer: "_Response") -> None:
        body = await self._body(scope, receive)
        if isinstance(body, Refusal):
            await answer.refuse(body)
        elif body is not None:
            await self._app(scope, _once(body), answer)

    async def _body(self, scope: "Scope", receive: "Receive") -> bytes | Refusal | None:
        """The whole body, the refusal to read it, or None where the client has disconnected."""
        said = {name: value for name, value in scope["headers"] if name in (b"content-length", b"transfer-encoding")}
        if scope["method"] not in WITH_BODY:
            return TAKES_NONE if said.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in said else b""
        # The declared length spares reading; the read itself is limited too, for a length may lie or be missing.
        most = self._bodies.get(scope["path"], BODY_BYTES)
        if int(said.get(b"content-length", b"0")) > most:
            return TOO_LONG
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await _read(receive, most)
        except TimeoutError:
            return TOO_SLOW


async def _read(receive: "Receive", most: int) -> bytes | Refusal | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > most:
            return TOO_LONG
        if not message.get("more_body", False):
            return bytes(body)


def _once(body: bytes) -> Callable[[], Awaitable[MutableMapping[str, Any]]]:
    """An ASGI channel that gives the body, and then a disconnect."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        return left.pop() if left else {"type": "http.disconnect"}

    return receive


class _Response:
    """Sends a response with the headers that every one has."""

    def __init__(self, send: "Send") -> None:
        self._send = send
        self._began = False

    async def __call__(self, message: "Message") -> None:
        if message["type"] == "http.response.start":
            self._began = True
            message = {**message, "headers": _with_headers(message.get("headers", []))}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Send the refusal; a response that has begun is cut off, so that the client sees it is incomplete."""
        if self._began:
            raise ConnectionAbortedError(refusal.why)
        body = refusal.why.encode()
        headers = [(b"content-type", PLAIN.encode()), (b"content-length", str(len(body)).encode())]
        # The rest of a refused body is still on the line, and would be read as the next request.
        closing = [*headers, (b"connection", b"close")]
        await self({"type": "http.response.start", "status": refusal.status, "headers": closing})
        await self._send({"type": "http.response.body", "body": body})


def _with_headers(headers: Any) -> list[tuple[bytes, bytes]]:
    present = {bytes(name).lower() for name, _ in headers}
    added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    return [*headers, *((name, value) for name, value in added if name not in present)]


class BoundedConnection(H11Protocol):
    """One connection: refused where there are too many, closed where a head does not arrive in time."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse a connection beyond the limit; start the clock of its first head."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Start or stop the clock, depending on whether a head is awaited."""
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_watch()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP; where a response has begun already, only close."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        body = msg.encode("ascii", "replace")
        headers = _with_headers([(b"content-type", PLAIN.encode()), (b"connection", b"close")])
        parts = (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage())
        self.transport.write(b"".join(self.conn.send(part) or b"" for part in parts))
        self.transport.close()

    def _should_upgrade(self) -> bool:
        """Never: a client that requests another protocol is answered in HTTP."""
        return False

    def _watch_head(self) -> None:
        """Start the clock while a head is awaited; bytes that trickle in do not reset it (slow loris)."""
        if self.conn.their_state is not h11.IDLE:
            self._stop_watch()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _stop_watch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _head_is_late(self) -> None:
        self._late = None
        answering = self.cycle is not None and not self.cycle.response_complete
        if not answering and self.conn.their_state is h11.IDLE:
            self.transport.abort()


def server_config(app: "ASGIApp", host: str, port: int) -> Config:
    """The configuration of uvicorn for an app within the limits."""
    return Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        # h11, also where httptools is installed: the limits below are those of this protocol.
        http=BoundedConnection,
        ws="none",
        proxy_headers=False,  # X-Forwarded-For can be forged; `promotion.proxy_peers` checks the peer itself
        lifespan="off",
        server_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=MOST_CONNECTIONS,
    )
