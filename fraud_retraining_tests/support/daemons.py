"""Real servers over a project, each a process of its own that a test starts, kills and ends: Dagster's daemon, its
webserver, the app of releases.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg

import fraud_retraining
from fraud_retraining.commands.implementation.development_servers import dagster_home
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.resources import open_ledger, open_store
from fraud_retraining.orchestration.state.trigger_inputs import last_as_of
from fraud_retraining.settings import load_settings
from fraud_retraining.simulation import lake_path
from fraud_retraining_tests.support.project_homes import ProjectHome

ROOT = Path(fraud_retraining.__file__).parents[1]
WORKSPACE = str(ROOT / "workspace.yaml")
RUN = ["run", "--workspace", WORKSPACE]


class Server:
    """A command over a project, in a process group of its own."""

    def __init__(
        self, project: ProjectHome, name: str, command: Sequence[str], secrets: Mapping[str, str] | None = None
    ) -> None:
        self.project = project
        self.log = project.folder / f"{name}.log"
        self._command = [sys.executable, "-m", *command]
        self._secrets = dict(secrets or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.project.home.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "FRAUD_RETRAINING_HOME": str(self.project.home),
            "FRAUD_RETRAINING_CONFIG": str(self.project.config),
            "DAGSTER_HOME": str(dagster_home(self.project.home)),
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": str(ROOT),
            **self._secrets,
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=self.project.folder,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As a power cut would: the daemon and all that it started."""
        self._signal(signal.SIGKILL)

    def has_died(self) -> bool:
        return self._process is not None and self._process.poll() == -signal.SIGKILL

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def output(self) -> str:
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

    def __init__(self, project: ProjectHome) -> None:
        super().__init__(project, "daemon", ["dagster._daemon", *RUN])

    def start(self, dies: str | None = None) -> None:
        """Starts it; `dies` names a stage of a sensor's tick at which it is killed."""
        module = ["fraud_retraining_tests.support.killed_daemon", dies] if dies else ["dagster._daemon"]
        self._command = [sys.executable, "-m", *module, *RUN]
        super().start()


@contextmanager
def daemon_over(project: ProjectHome) -> Iterator[Daemon]:
    """A running daemon, ended afterwards in any case."""
    daemon = Daemon(project)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


@contextmanager
def webserver_over(project: ProjectHome) -> Iterator[str]:
    """The address of Dagster's UI."""
    command = ["dagster_webserver", "--workspace", WORKSPACE]
    with _serving(project, "webserver", command, {}) as address:
        yield address


@contextmanager
def releases_over(project: ProjectHome, secrets: Mapping[str, str]) -> Iterator[str]:
    """The address of the page of releases, as `fraud-retraining serve-approvals` shows it."""
    with _serving(project, "releases", ["fraud_retraining.cli", "serve-approvals"], secrets) as address:
        yield f"{address}/releases"


@contextmanager
def _serving(project: ProjectHome, name: str, command: Sequence[str], secrets: Mapping[str, str]) -> Iterator[str]:
    """The address of a server that answers, ended afterwards in any case."""
    port = free_port()
    server = Server(project, name, [*command, "--host", "127.0.0.1", "--port", str(port)], secrets)
    server.start()
    try:
        wait_until(lambda: _listens(port), server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def free_port() -> int:
    """A loopback port that no server listens on."""
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
    raise AssertionError(f"it did not happen within {seconds:g} s; the server says:\n{server.output()}")


class Watched:
    """A project that a daemon works on, and what has come of it so far."""

    def __init__(self, project: ProjectHome, later: Path) -> None:
        self.project, self._later = project, later
        self.settings = load_settings()
        self.instance = open_instance()

    def land(self, day: date) -> None:
        """A day arrives, as one rename."""
        target = self.project.day_file(day)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self._later / lake_path(day), target.with_suffix(".part"))
        target.with_suffix(".part").rename(target)

    def champion(self) -> date | None:
        champion = open_ledger(self.settings).champion()
        return champion.as_of if champion else None

    def answered(self) -> date | None:
        """The latest as-of day that came to an answer: a release, or gates that failed."""
        return last_as_of(open_ledger(self.settings))

    def ingested(self, day: date) -> bool:
        return day in open_store(self.settings).partitions("transaction_features", [day])

    def runs(self, job: str) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(job_name=job)))

    def trained(self) -> list[date]:
        return [event.as_of for event in open_ledger(self.settings).events(EventKind.MODEL_TRAINED) if event.as_of]
