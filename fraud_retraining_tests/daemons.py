"""Real servers over a place, each a process of its own that a test starts, kills and ends: Dagster's daemon, its
webserver, the app of releases.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import fraud_retraining
from fraud_retraining_tests.conftest import Place

ROOT = Path(fraud_retraining.__file__).parents[1]
WORKSPACE = str(ROOT / "workspace.yaml")


class Server:
    """A command over a place, in a process group of its own."""

    def __init__(
        self, place: Place, name: str, command: Sequence[str], secrets: Mapping[str, str] | None = None
    ) -> None:
        self.place = place
        self.log = place.folder / f"{name}.log"
        self._command = [sys.executable, "-m", *command]
        self._secrets = dict(secrets or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.place.home.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "FRAUD_RETRAINING_HOME": str(self.place.home),
            "FRAUD_RETRAINING_CONFIG": str(self.place.config),
            "DAGSTER_HOME": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            **self._secrets,
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=self.place.folder,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As a power cut would: the daemon and all that it started."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def told(self) -> str:
        """The end of its log, for a test that fails."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(line for line in lines if "DEBUG" not in line)[-6000:]

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, number)
            self._process.wait(30)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None


class Daemon(Server):
    """`dagster-daemon run`."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, "daemon", ["dagster._daemon", "run", "--workspace", WORKSPACE])


@contextmanager
def daemon_over(place: Place) -> Iterator[Daemon]:
    """A running daemon, ended afterwards whatever happens."""
    daemon = Daemon(place)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


@contextmanager
def webserver_over(place: Place) -> Iterator[str]:
    """The address of Dagster's UI."""
    command = ["dagster_webserver", "--workspace", WORKSPACE]
    with _serving(place, "webserver", command, {}) as address:
        yield address


@contextmanager
def releases_over(place: Place, secrets: Mapping[str, str]) -> Iterator[str]:
    """The address of the page of releases, as `fraud-retraining serve` shows it."""
    with _serving(place, "releases", ["fraud_retraining.cli", "serve"], secrets) as address:
        yield f"{address}/releases"


@contextmanager
def _serving(place: Place, name: str, command: Sequence[str], secrets: Mapping[str, str]) -> Iterator[str]:
    """The address of a server that answers, ended afterwards whatever happens."""
    port = free_port()
    server = Server(place, name, [*command, "--host", "127.0.0.1", "--port", str(port)], secrets)
    server.start()
    try:
        wait_until(lambda: _listens(port), server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.settimeout(1)
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def wait_until(what: Callable[[], object], server: Server, seconds: float = 240) -> float:
    """Seconds until `what` is true.

    Raises:
        AssertionError: it did not come true; the message holds the server's log.
    """
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if what():
            return time.monotonic() - began
        time.sleep(1)
    raise AssertionError(f"it did not happen within {seconds:g} s; the server says:\n{server.told()}")
