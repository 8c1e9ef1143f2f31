"""A real Dagster daemon over a place, as a process of its own that a test starts, kills and ends."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg

import fraud_retraining
from fraud_retraining.domain.events import EventKind
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.knowledge import last_as_of
from fraud_retraining.orchestration.resources import open_ledger, open_store
from fraud_retraining.settings import load_settings
from fraud_retraining.simulation import lake_path
from fraud_retraining_tests.conftest import Place

ROOT = Path(fraud_retraining.__file__).parents[1]


class Daemon:
    """`dagster-daemon run` in a process group of its own."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.log = place.folder / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, dies: str | None = None) -> None:
        """Starts it; `dies` names a stage of a sensor's tick at which it is killed."""
        module = ["fraud_retraining_tests.mortal_daemon", dies] if dies else ["dagster._daemon"]
        self.place.home.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "FRAUD_RETRAINING_HOME": str(self.place.home),
            "FRAUD_RETRAINING_CONFIG": str(self.place.config),
            "DAGSTER_HOME": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": str(ROOT),
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *module, "run", "--workspace", str(ROOT / "workspace.yaml")],
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

    def has_died(self) -> bool:
        return self._process is not None and self._process.poll() == -signal.SIGKILL

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


@contextmanager
def daemon_over(place: Place) -> Iterator[Daemon]:
    """A running daemon, ended afterwards whatever happens."""
    daemon = Daemon(place)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


def wait_until(what: Callable[[], object], daemon: Daemon, seconds: float = 240) -> float:
    """Seconds until `what` is true.

    Raises:
        AssertionError: it did not come true; the message holds the daemon's log.
    """
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if what():
            return time.monotonic() - began
        time.sleep(1)
    raise AssertionError(f"it did not happen within {seconds:g} s; the daemon says:\n{daemon.told()}")


class Watched:
    """A place that a daemon works on, and what has come of it so far."""

    def __init__(self, place: Place, later: Path) -> None:
        self.place, self._later = place, later
        self.settings = load_settings()
        self.instance = open_instance()

    def land(self, day: date) -> None:
        """A day arrives, as one rename."""
        target = self.place.day_file(day)
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
