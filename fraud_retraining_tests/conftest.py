"""What tests of several layers share: the handbook lake, and a small pipeline after its first retrain."""

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings as hypothesis_settings

from fraud_retraining.simulation import SimulationPolicy, Simulator
from fraud_retraining_tests.support.project_homes import DAYS, START, ProjectHome, use_home

if TYPE_CHECKING:
    from fraud_retraining_tests.support.approvals_fixture import Backend, Trained

# Examples run on machines of any speed and load: a law does not depend on the time that an example takes.
hypothesis_settings.register_profile("fraud_retraining", deadline=None)
hypothesis_settings.load_profile("fraud_retraining")


# Python walks the millions of objects of the libraries again and again; as often as this, it takes half the time.
gc.set_threshold(20_000, 50, 50)

LONGEST = (
    "test_faults.py",
    "test_shift.py",
    "orchestration/test_killed_between_writes.py",
    "test_drift_controls.py",
    "test_end_to_end.py",
    "orchestration/sensors/test_next_runs.py",
    "test_performance_trigger.py",
    "test_in_browser.py",
    "orchestration/test_daemon.py",
    "test_alerts.py",
    "domain/monitoring/test_wide_drift.py",
    "orchestration/test_one_at_a_time.py",
    "orchestration/test_label_feed.py",
    "orchestration/assets/test_refit.py",
    "orchestration/assets/test_monitoring.py",
)
"""Files that take minutes, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then end-to-end tests, units last: two workers that take file after file end together.

    The Makefile turns off that pytest-xdist puts files with the most tests first, for those are units.
    """
    items.sort(key=lambda item: _turn(item.path.relative_to(Path(__file__).parent)))


def _turn(file: Path) -> tuple[int, int]:
    name = file.as_posix()
    return LONGEST.index(name) if name in LONGEST else len(LONGEST), len(file.parts)


@pytest.fixture(scope="session")
def handbook() -> Path:
    """The handbook's lake, which lies beside the checkout where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "handbook"
    if not folder.is_dir():
        pytest.skip(f"the handbook data is not there: {folder}")
    return folder


@pytest.fixture(scope="session")
def small_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """26 simulated days of about 2,000 transactions, 2 % of them frauds."""
    project = ProjectHome(tmp_path_factory.mktemp("small"))
    policy = SimulationPolicy(start=START, days=DAYS, transactions_per_day=2000, seed=11, fraud_rate=0.02)
    for day, table in Simulator(policy):
        project.write_day(day, table)
    return project.lake


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3-speaking server on a free loopback port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def project(tmp_path: Path, small_lake: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProjectHome]:
    """A fresh home over a copy of the small lake."""
    fresh = ProjectHome(tmp_path)
    shutil.copytree(small_lake, fresh.lake)
    fresh.configure()
    use_home(fresh, monkeypatch)
    yield fresh


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> "Trained":
    """A real MLflow store with a few small models in it."""
    from fraud_retraining_tests.support.approvals_fixture import train_models

    return train_models(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def backend(trained: "Trained", tmp_path: Path) -> "Backend":
    """A registered model and a ledger of the test's own over those models."""
    from fraud_retraining_tests.support.approvals_fixture import new_backend

    return new_backend(trained, f"sqlite:///{tmp_path}/ledger.db")


@pytest.fixture(scope="session")
def promoted_home(tmp_path_factory: pytest.TempPathFactory, small_lake: Path) -> ProjectHome:
    """A home with a champion as of `AS_OF`, promoted by policy."""
    project = ProjectHome(tmp_path_factory.mktemp("promoted"))
    shutil.copytree(small_lake, project.lake)
    project.configure(promotion={"mode": "auto"})
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        from fraud_retraining_tests.support.command_line import retrain

        code, answer, _ = retrain()
    assert (code, answer["status"]) == (0, "promoted"), answer
    return project


@pytest.fixture
def home(promoted_home: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHome:
    """A copy of that home, for a test to break."""
    shutil.copytree(promoted_home.folder, tmp_path / "copy")
    copy = ProjectHome(tmp_path / "copy")
    copy.configure(promotion={"mode": "auto"})
    use_home(copy, monkeypatch)
    return copy
