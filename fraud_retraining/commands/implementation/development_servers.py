"""The servers of `dev`: Dagster and MLflow on one machine, on a lake that may grow by a day a minute.

Here: which processes are started, on which ports, and how they end together. Not here: what they do.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import NamedTuple

import yaml
from rich.console import Console

from fraud_retraining.adapters.storage.private_files import private_folder
from fraud_retraining.commands.implementation.simulated_lake import grow_simulated_lake, write_simulated_lake
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable
from fraud_retraining.orchestration.instance import CONFIG, config_folder
from fraud_retraining.orchestration.resources import open_lake
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.settings import (
    CONFIG_VARIABLE,
    HOME_VARIABLE,
    Settings,
    home_folder,
    load_settings,
)
from fraud_retraining.simulation import SimulationPolicy

HOST = "127.0.0.1"
FIRST_DAYS = 60
LIVE_DAYS = 120
SHIFT_AFTER = 70
TRANSACTIONS_PER_DAY = 4000
PATIENCE_SECONDS = 120
END_SECONDS = 20
QUIET_MLFLOW = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}

LINKS = {"dagster": f"http://{HOST}:3000", "mlflow": f"http://{HOST}:5000"}
"""Their addresses under `make ui` and `make dev`, while these ports are free."""

LIVELY = {
    "alerts": {"links": LINKS},
    "promotion": {"mode": "auto"},
    "validation": {"min_rows": 20_000},
    "model": {"params": {"n_estimators": 60, "learning_rate": 0.15, "max_bin": 256}},
    "gates": {"resamples": 200},
}
"""A small lake of 4,000 transactions a day, and a model that keeps up with a day a minute."""


class Address(NamedTuple):
    """Where a server of ours listens."""

    name: str
    port: int

    @property
    def url(self) -> str:
        """The address for a browser."""
        return f"http://{HOST}:{self.port}"


@dataclass(frozen=True)
class Started:
    """A process that was started here and is ended here."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path


def simulation(start: date) -> SimulationPolicy:
    """The lake that `dev` shows: fraudsters change their tactics ten minutes after the first start."""
    return SimulationPolicy(
        start=start,
        days=FIRST_DAYS,
        transactions_per_day=TRANSACTIONS_PER_DAY,
        shift_on=start + timedelta(days=SHIFT_AFTER),
        fraud_rate=0.015,
    )


def live_settings(home: Path) -> Settings:
    """The settings of the growing lake, written beside it the first time."""
    os.environ[HOME_VARIABLE] = str(home)
    config = home / "retraining.yaml"
    if not config.exists():
        private_folder(home)
        config.write_text(yaml.safe_dump({"lake": {"uri": str(home / "lake")}, **LIVELY}), encoding="utf-8")
    os.environ[CONFIG_VARIABLE] = str(config)
    return load_settings(config)


def run(
    settings: Settings, progress: Progress, err: Console, *, port: int, mlflow_port: int, live: float | None
) -> int:
    """Start the servers and wait until interrupted, or until one ends; return 0, or 1 when one ended by itself.

    `live` is the number of seconds after which the lake grows by a day; None leaves the lake alone.
    """
    policy = _first_days(settings, progress, err) if live else None
    dagster, mlflow = Address("Dagster", _free(port)), Address("MLflow", _free(mlflow_port))
    stop = threading.Event()
    with _until_interrupted(stop), _processes(settings, dagster, mlflow) as started:
        for address in (dagster, mlflow):
            _await(address, started, stop)
            err.print(f"{address.name}: [bold]{address.url}[/]", highlight=False)
        err.print(f"Logs: {settings.home / 'logs'}. Ctrl-C ends it all.", highlight=False)
        if policy is not None and live:
            _grow(settings, policy, live, started, stop, err)
        while not stop.wait(1.0) and not _ended(started):
            pass
        return _exit_code(_ended(started), err)


def _first_days(settings: Settings, progress: Progress, err: Console) -> SimulationPolicy:
    try:
        start = min(open_lake(settings).days(), default=None)
    except DataInvalid:
        start = None
    if start is not None:
        return simulation(start)
    policy = simulation(datetime.now(UTC).date() - timedelta(days=FIRST_DAYS + LIVE_DAYS))
    err.print(f"Simulating the first {FIRST_DAYS} days in {settings.lake_uri}", highlight=False)
    write_simulated_lake(settings, policy, progress)
    return policy


def _grow(
    settings: Settings,
    policy: SimulationPolicy,
    seconds: float,
    started: Sequence[Started],
    stop: threading.Event,
    err: Console,
) -> None:
    err.print(
        f"A day arrives every {seconds:g} s; fraudsters change their tactics on {policy.shift_on}. Watch the sensors "
        "under Automation, and the runs.",
        highlight=False,
    )
    grow_simulated_lake(
        settings,
        policy,
        pause=lambda: not stop.wait(seconds) and not _ended(started),
        arrived=lambda day, rows: err.print(f"{day} has arrived: {rows:,} transactions", highlight=False),
    )


@contextmanager
def _processes(settings: Settings, dagster: Address, mlflow: Address) -> Iterator[list[Started]]:
    logs = settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    started: list[Started] = []
    try:
        for name, command in _commands(settings, dagster, mlflow).items():
            started.append(_start(name, command, logs / f"{name}.log", settings.home))
        yield started
    finally:
        _end(started)


def _commands(settings: Settings, dagster: Address, mlflow: Address) -> Mapping[str, Sequence[str]]:
    workspace = str(config_folder() / "workspace.yaml")
    at_home = ["--workers", "1", "--backend-store-uri", settings.tracking_uri]
    artifacts = ["--default-artifact-root", str(settings.home / "artifacts")]
    webserver = ["dagster_webserver", "--host", HOST, "--port", str(dagster.port), "--workspace", workspace]
    return {
        "webserver": [sys.executable, "-m", *webserver],
        "daemon": [sys.executable, "-m", "dagster._daemon", "run", "--workspace", workspace],
        "mlflow": [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            HOST,
            "--port",
            str(mlflow.port),
            *at_home,
            *artifacts,
        ],
    }


def _start(name: str, command: Sequence[str], log: Path, home: Path) -> Started:
    environment = {**os.environ, HOME_VARIABLE: str(home), "DAGSTER_HOME": str(dagster_home(home)), **QUIET_MLFLOW}
    with log.open("ab") as file:
        # A session of its own: Ctrl-C reaches this process alone, which then ends the children in order.
        process = subprocess.Popen(
            command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )
    return Started(name, process, log)


def dagster_home(home: Path) -> Path:
    """DAGSTER_HOME as set, else a folder under the home with the project's dagster.yaml.

    Dagster's webserver and daemon make folders in DAGSTER_HOME, even with telemetry off; a checkout is no place for it.
    """
    source = config_folder()
    if os.environ.get("DAGSTER_HOME"):
        return source
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / CONFIG, folder / CONFIG)
    return folder


def _end(started: Sequence[Started]) -> None:
    """Terminate every process and its children; kill those that do not end."""
    for one in started:
        _signal(one, signal.SIGTERM)
    deadline = monotonic() + END_SECONDS
    for one in started:
        try:
            one.process.wait(max(0.1, deadline - monotonic()))
        except subprocess.TimeoutExpired:
            _signal(one, signal.SIGKILL)
            one.process.wait()


def _signal(one: Started, number: signal.Signals) -> None:
    # The group: Dagster's daemon and MLflow have children of their own.
    try:
        os.killpg(one.process.pid, number)
    except ProcessLookupError:
        return


def _ended(started: Sequence[Started]) -> Started | None:
    return next((one for one in started if one.process.poll() is not None), None)


def _exit_code(ended: Started | None, err: Console) -> int:
    if ended is None:
        return 0
    err.print(f"[bold red]{ended.name}[/] ended by itself; see {ended.log}", highlight=False)
    return 1


def _await(address: Address, started: Sequence[Started], stop: threading.Event) -> None:
    deadline = monotonic() + PATIENCE_SECONDS
    while not _listens(address.port):
        ended = _ended(started)
        if ended is not None or monotonic() > deadline:
            culprits = [f"{ended.name}: see {ended.log}"] if ended else [f"nothing answers at {address.url}"]
            raise DependencyUnreachable(
                f"{address.name} did not start", culprits=culprits, remedy="look into the log that is named."
            )
        if stop.wait(0.3):
            return


def _listens(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.settimeout(1)
        return attempt.connect_ex((HOST, port)) == 0


def _free(port: int) -> int:
    """The port, or the next free one."""
    while _listens(port):
        port += 1
    return port


@contextmanager
def _until_interrupted(stop: threading.Event) -> Iterator[None]:
    def stopped(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, stopped) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def own_lake() -> Settings | None:
    """The settings of the user's own lake, where a settings file or the environment names one; else None."""
    settings = load_settings()
    return settings if settings.lake.uri or settings.lake.athena else None


def demo_home() -> Path:
    """The folder of the growing lake, under the home."""
    base = home_folder()
    return base if base.name == "dev" else base / "dev"
