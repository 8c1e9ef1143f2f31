"""What tests of several layers share: the handbook lake, and a small pipeline that has lived through one retrain."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fraud_retraining.simulation import SimulationPolicy, Simulator, lake_path

if TYPE_CHECKING:
    from fraud_retraining_tests.adapters.desks import Trained, World

START = date(2024, 2, 1)
DAYS = 26
AS_OF = START + timedelta(days=22)

SMALL: dict[str, Any] = {
    "entities": {
        "customer": {"column": "CUSTOMER_ID", "windows_days": [1, 3]},
        "terminal": {"column": "TERMINAL_ID", "windows_days": [1, 3], "fraud_share": True},
    },
    "labels": {"delay_days": 2},
    "window": {"strategy": "rolling", "days": 8},
    "holdout": {"days": 4},
    "validation": {"min_rows": 5000},
    "retries": {"delay_seconds": 0.1},
    "model": {"params": {"n_estimators": 25, "max_bin": 256, "max_depth": 4, "learning_rate": 0.2}},
    "gates": {"min_average_precision": 0.05, "min_roc_auc": 0.5, "max_calibration_error": 5, "resamples": 100},
}
"""A pipeline that fits in seconds: a short memory, a short window, a small model, floors that it passes."""


@pytest.fixture(scope="session")
def handbook() -> Path:
    """The handbook's lake, which lies beside the checkout where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "handbook"
    if not folder.is_dir():
        pytest.skip(f"the handbook data is not there: {folder}")
    return folder


@dataclass
class Place:
    """A lake, a home and a settings file of one test's own."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def lake(self) -> Path:
        return self.folder / "lake"

    @property
    def config(self) -> Path:
        return self.folder / "retraining.yaml"

    def day_file(self, day: date) -> Path:
        return self.lake / lake_path(day)

    def configure(self, **changes: Any) -> None:
        self.config.write_text(yaml.safe_dump(merged({**SMALL, "lake": {"uri": str(self.lake)}}, changes)))

    def read_day(self, day: date) -> pa.Table:
        return pq.ParquetFile(self.day_file(day)).read()

    def write_day(self, day: date, table: pa.Table) -> None:
        self.day_file(day).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, self.day_file(day))


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, section by section."""
    out = dict(base)
    for key, value in changes.items():
        out[key] = (
            merged(out[key], value) if isinstance(value, Mapping) and isinstance(out.get(key), Mapping) else value
        )
    return out


@pytest.fixture(scope="session")
def small_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """26 simulated days of about 2,000 transactions, 2 % of them frauds."""
    place = Place(tmp_path_factory.mktemp("small"))
    policy = SimulationPolicy(start=START, days=DAYS, transactions_per_day=2000, seed=11, fraud_rate=0.02)
    for day, table in Simulator(policy):
        place.write_day(day, table)
    return place.lake


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
def place(tmp_path: Path, small_lake: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A fresh home over a copy of the small lake."""
    fresh = Place(tmp_path)
    shutil.copytree(small_lake, fresh.lake)
    fresh.configure()
    enter(fresh, monkeypatch)
    yield fresh


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> "Trained":
    """A real MLflow store with a few small models in it."""
    from fraud_retraining_tests.adapters.desks import train_models

    return train_models(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def world(trained: "Trained", tmp_path: Path) -> "World":
    """A registered model and a ledger of the test's own over those models."""
    from fraud_retraining_tests.adapters.desks import new_world

    return new_world(trained, f"sqlite:///{tmp_path}/ledger.db")


def enter(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the process a user of this place: its home, its settings, nothing else of the environment."""
    import os

    for name in list(os.environ):
        if name.startswith(("FRAUD_RETRAINING_", "DAGSTER_HOME", "SLACK_", "PAGERDUTY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(place.home))
    monkeypatch.setenv("FRAUD_RETRAINING_CONFIG", str(place.config))


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory, small_lake: Path) -> Place:
    """A home with a champion as of `AS_OF`, promoted by policy."""
    place = Place(tmp_path_factory.mktemp("lived"))
    shutil.copytree(small_lake, place.lake)
    place.configure(promotion={"mode": "auto"})
    with pytest.MonkeyPatch.context() as patch:
        enter(place, patch)
        from fraud_retraining_tests.command_line import retrain

        code, answer, _ = retrain()
    assert (code, answer["status"]) == (0, "promoted"), answer
    return place


@pytest.fixture
def home(lived: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy of that home, for a test to break."""
    shutil.copytree(lived.folder, tmp_path / "copy")
    copy = Place(tmp_path / "copy")
    copy.configure(promotion={"mode": "auto"})
    enter(copy, monkeypatch)
    return copy
