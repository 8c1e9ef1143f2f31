"""The sensor writes the cards that the record has left behind, and waits for MLflow where it is down."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.storage.opening import open_location
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.orchestration.sensors.model_cards import build_sensor
from fraud_retraining.settings import Settings
from fraud_retraining_tests.services.test_model_cards import registered
from fraud_retraining_tests.support.ledger_history import FIRST, approved, waiting
from fraud_retraining_tests.support.registries import registry_at, store_in

pytest_plugins = ("fraud_retraining_tests.support.databases",)


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with TemporaryDirectory(prefix="cards-") as folder:
        yield registry_at(store_in(Path(folder)), Path(folder) / "artifacts")


def look(ledger: Ledger, registry: Registry, folder: Path, cursor: str | None = None) -> tuple[str | None, str]:
    """Cursor and reason of one tick."""
    store = Store(open_location(str(folder / "store"), s3=None, cache=folder / "c"), scratch=folder / "s")
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"ledger": ledger, "registry": registry, "store": store}
        )
        found = build_sensor(Settings())(context)
    assert isinstance(found, dg.SensorResult) and not found.run_requests
    reason = found.skip_reason
    return found.cursor, str(reason.skip_message if isinstance(reason, dg.SkipReason) else reason)


def test_cards_follow_every_channel_that_moves_a_release(registry: Registry, sqlite_ledger: Ledger, tmp_path: Path):
    version = registered(registry)
    waiting(sqlite_ledger, version, FIRST, None)
    cursor, found = look(sqlite_ledger, registry, tmp_path)
    assert found == f"cards written: version {version}"
    assert look(sqlite_ledger, registry, tmp_path, cursor)[1] == "the record has nothing new"
    approved(sqlite_ledger, version)
    cursor, found = look(sqlite_ledger, registry, tmp_path, cursor)
    assert found == f"cards written: version {version}"
    described = registry._client.get_model_version(registry.model_name, str(version)).description
    assert "approved by alice" in described


def test_while_mlflow_is_down_the_record_is_looked_at_again(sqlite_ledger: Ledger, tmp_path: Path):
    waiting(sqlite_ledger, 1, FIRST, None)
    down = Registry("http://127.0.0.1:9", "e", "m", timeout_seconds=3)
    cursor, found = look(sqlite_ledger, down, tmp_path, "1")
    assert cursor == "1" and found.startswith("cards stay as they are for now: MLflow at")
