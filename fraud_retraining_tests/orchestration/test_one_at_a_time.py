"""Whole retrains in real processes at the same time: one trains, and none is published twice."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.cli import app
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.orchestration.resources import open_ledger, open_registry
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.company_servers import CompanyServers
from fraud_retraining_tests.support.project_homes import AS_OF, START, ProjectHome, use_home
from fraud_retraining_tests.support.retrainers import EXPIRES_SECONDS

pytest_plugins = ["fraud_retraining_tests.support.company_servers", "fraud_retraining_tests.support.databases"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Child = subprocess.Popen
Spawn = Callable[..., Child]


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, small_lake: Path) -> ProjectHome:
    """A home whose days are ready to be learnt from."""
    project = ProjectHome(tmp_path_factory.mktemp("ingested"))
    shutil.copytree(small_lake, project.lake)
    project.configure(promotion={"mode": "auto"})
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        assert command("ingest", "--from", str(START), "--to", str(AS_OF))[0] == 0
        open_registry(load_settings()).ensure_experiment()
    return project


@pytest.fixture
def home(ingested: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHome:
    shutil.copytree(ingested.folder, tmp_path / "copy")
    copy = ProjectHome(tmp_path / "copy")
    copy.configure(promotion={"mode": "auto"})
    use_home(copy, monkeypatch)
    return copy


@pytest.fixture(params=["embedded", "servers"])
def database(request: pytest.FixtureRequest, home: ProjectHome, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the record is kept: under the home; or on the servers that several machines share: Dagster's storage and
    the ledger in PostgreSQL, models with MLflow's server, which wants a name and a password."""
    if request.param == "servers":
        servers: CompanyServers = request.getfixturevalue("company_servers")
        for name, value in servers.environment().items():
            monkeypatch.setenv(name, value)
        # Names of its own: other tests share MLflow's server.
        name = f"at_once_{uuid4().hex[:8]}"
        home.configure(promotion={"mode": "auto"}, model={"name": name}, mlflow={"experiment": name})
        open_registry(load_settings()).ensure_experiment()
    return str(request.param)


@pytest.fixture
def restart(database: str, request: pytest.FixtureRequest) -> Callable[[], None]:
    """Restarts PostgreSQL, with every connection cut off; nothing where there is no server."""

    def cut_off() -> None:
        if database == "servers":
            servers: CompanyServers = request.getfixturevalue("company_servers")
            servers.postgres.stop()
            servers.postgres.start()

    return cut_off


@pytest.fixture
def spawn(home: ProjectHome) -> Iterator[Spawn]:
    """Starts a process of its own that retrains as `retrainers` says."""
    running: list[Child] = []

    def start(*arguments: str) -> Child:
        module = "fraud_retraining_tests.support.retrainers"
        log = (home.folder / f"retrain-{len(running)}.log").open("w")
        command = [sys.executable, "-m", module, *arguments]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True))
        return running[-1]

    yield start
    for child in running:
        child.kill()
        child.communicate()


def command(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    return result.exit_code, json.loads(result.stdout)


def heard(child: Child) -> str:
    assert child.stdout is not None
    return str(child.stdout.readline()).strip()


def ledger() -> Ledger:
    return open_ledger(load_settings())


def endings() -> list[str]:
    return sorted(event.payload["status"] for event in ledger().events(EventKind.RETRAIN_FINISHED))


def require_one_publication() -> None:
    """One version, which is champion with its artifact, once trained, and a record that is whole."""
    registry = open_registry(load_settings())
    champion = registry.champion()
    assert champion is not None
    registry.download(champion.version)
    assert [version.version for version in registry.versions()] == [champion.version] == [1]
    assert len(list(ledger().events(EventKind.MODEL_TRAINED))) == 1
    assert len(list(ledger().events(EventKind.PROMOTION_DONE))) == 1
    assert ledger().verify().ok


def first_to_say(children: list[Child]) -> tuple[Child, Child]:
    """The one that trains, and the other."""
    streams = {child.stdout: child for child in children}
    (stream, *_), _, _ = select.select(list(streams), [], [], 600)
    trains = streams[stream]
    (other,) = [child for child in children if child is not trains]
    return trains, other


def test_of_two_processes_at_once_one_trains_and_the_other_one_reports_it(
    home: ProjectHome, restart: Callable[[], None], spawn: Spawn
) -> None:
    go_on = home.folder / "go on"
    first_lines = {heard(child): child for child in [spawn("wait", str(AS_OF), str(go_on)) for _ in range(2)]}
    assert set(first_lines) == {"training", "Busy: another retrain is under way"}
    trains, other = first_lines["training"], first_lines["Busy: another retrain is under way"]
    assert other.wait(60) == 5
    restart()
    go_on.touch()
    assert heard(trains) == "promoted"
    assert trains.wait(120) == 0
    assert endings() == ["promoted"]
    (skipped,) = ledger().events(EventKind.RETRAIN_SKIPPED)
    assert str(trains.pid) in skipped.payload["culprits"][0]
    require_one_publication()


def test_where_the_policy_says_so_the_other_waits_and_finds_it_done(home: ProjectHome, spawn: Spawn) -> None:
    home.configure(promotion={"mode": "auto"}, triggers={"when_busy": "queue"})
    go_on = home.folder / "go on"
    trains, other = first_to_say([spawn("wait", str(AS_OF), str(go_on)) for _ in range(2)])
    assert heard(trains) == "training"
    time.sleep(10)
    assert other.poll() is None, "it waits"
    go_on.touch()
    assert (heard(trains), heard(other)) == ("promoted", "already_trained")
    assert (trains.wait(120), other.wait(120)) == (0, 0)
    assert endings() == ["already_trained", "promoted"]
    require_one_publication()


def test_after_a_worker_was_killed_in_training_the_next_retrain_need_not_wait(home: ProjectHome, spawn: Spawn) -> None:
    killed = spawn("wait", str(AS_OF), str(home.folder / "never"))
    assert heard(killed) == "training"
    killed.kill()
    killed.wait()
    code, answer = command("retrain", "--as-of", str(AS_OF))
    assert (code, answer["status"]) == (0, "promoted")
    assert endings() == ["lost", "promoted"]
    require_one_publication()


def test_a_worker_that_was_stopped_in_evaluation_and_goes_on_publishes_nothing(
    home: ProjectHome, database: str, spawn: Spawn
) -> None:
    stopped = spawn("stop", str(AS_OF))
    _, status = os.waitpid(stopped.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    time.sleep(EXPIRES_SECONDS)
    code, answer = command("retrain", "--as-of", str(AS_OF))
    assert (code, answer["status"]) == (0, "promoted"), answer
    before = open_registry(load_settings()).champion()
    stopped.send_signal(signal.SIGCONT)
    assert heard(stopped).startswith("Conflict: this retrain lost its lease")
    assert stopped.wait(120) == 5
    assert open_registry(load_settings()).champion() == before
    assert endings() == ["lost", "promoted"]
    require_one_publication()
