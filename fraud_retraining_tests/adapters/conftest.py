"""Locations for the storage tests: a folder, a bucket on a real S3-speaking server, and a server that misbehaves."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from fraud_retraining.adapters.storage.locations import Location, TransferPolicy
from fraud_retraining.adapters.storage.opening import open_location

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource

Behaviour = Callable[[BaseHTTPRequestHandler], None]


def s3_resource(endpoint: str, max_attempts: int = 3) -> "S3Resource":
    """What settings would hand to the adapters for that server."""
    from dagster_aws.s3 import S3Resource

    return S3Resource(
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",
        max_attempts=max_attempts,
    )


@pytest.fixture(scope="session")
def s3(s3_endpoint: str) -> "S3Resource":
    return s3_resource(s3_endpoint)


@pytest.fixture(scope="session")
def s3_client(s3: "S3Resource") -> Any:
    return s3.get_client()


@pytest.fixture
def bucket(s3_client: Any) -> str:
    """A fresh bucket."""
    name = f"lake-{uuid4().hex[:12]}"
    s3_client.create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["folder", "s3"])
def root_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a test keeps its files: the same tests run on both kinds of location."""
    if request.param == "folder":
        return str(tmp_path / "place")
    return f"s3://{request.getfixturevalue('bucket')}/place"


@pytest.fixture
def open_at(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Location]:
    """Opens a URI as another process would: with nothing in memory, but with this machine's cache."""

    def opened(uri: str, cache: Path | None = None, policy: TransferPolicy | None = None) -> Location:
        s3 = request.getfixturevalue("s3") if uri.startswith("s3://") else None
        return open_location(uri, s3=s3, cache=cache or tmp_path / "cache", policy=policy)

    return opened


@pytest.fixture
def location(root_uri: str, open_at: Callable[..., Location]) -> Location:
    return open_at(root_uri)


class MisbehavingServer:
    """An HTTP server on loopback that answers every request as a test says, and counts them."""

    def __init__(self) -> None:
        self.requests = 0
        self.behaviour: Behaviour = self.status(503)
        self._stopping = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests += 1
                outer.behaviour(self)

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def status(self, status: int) -> Behaviour:
        """Refuses with that status."""

        def behaviour(request: BaseHTTPRequestHandler) -> None:
            _begin(request, status, 0)

        return behaviour

    def body(self, body: bytes, claimed: int | None = None) -> Behaviour:
        """Sends `body`, whatever length it claims, and hangs up."""

        def behaviour(request: BaseHTTPRequestHandler) -> None:
            _begin(request, 200, len(body) if claimed is None else claimed)
            request.wfile.write(body)
            request.close_connection = True

        return behaviour

    def hang(self) -> Behaviour:
        """Accepts the request and never answers."""

        def behaviour(request: BaseHTTPRequestHandler) -> None:
            self._stopping.wait(30)
            request.close_connection = True

        return behaviour

    def crawl(self, length: int) -> Behaviour:
        """Answers a byte at a time, often enough that no single read times out."""

        def behaviour(request: BaseHTTPRequestHandler) -> None:
            _begin(request, 200, length)
            with suppress(OSError):
                while not self._stopping.wait(0.05):
                    request.wfile.write(b"x")
            request.close_connection = True

        return behaviour

    def in_turn(self, *behaviours: Behaviour) -> Behaviour:
        """The first request gets the first behaviour and so on; the last one stays."""
        left = list(behaviours)
        return lambda request: (left.pop(0) if len(left) > 1 else left[0])(request)


def _begin(request: BaseHTTPRequestHandler, status: int, length: int) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(length))
    request.end_headers()


@pytest.fixture
def misbehaving() -> Iterator[MisbehavingServer]:
    server = MisbehavingServer()
    yield server
    server.close()


@pytest.fixture
def hasty_location(misbehaving: MisbehavingServer, tmp_path: Path) -> Location:
    """A location on the misbehaving server that gives up within a second or two."""
    return _on(misbehaving, tmp_path, deadline_seconds=1.0)


@pytest.fixture
def patient_location(misbehaving: MisbehavingServer, tmp_path: Path) -> Location:
    """A location on the misbehaving server that makes all of its three attempts."""
    return _on(misbehaving, tmp_path, deadline_seconds=30)


def _on(server: MisbehavingServer, tmp_path: Path, deadline_seconds: float) -> Location:
    policy = TransferPolicy(
        connect_seconds=0.5, read_seconds=0.5, deadline_seconds=deadline_seconds, slowest_bytes_per_second=100_000
    )
    s3 = s3_resource(server.endpoint)
    return open_location("s3://bucket/x", s3=s3, cache=tmp_path / "cache", policy=policy)
