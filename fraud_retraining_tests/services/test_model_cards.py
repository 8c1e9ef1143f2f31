"""The model card lies in a real registry and follows the record, whoever moved the release."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.logged_models import TrainingSource
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.versions import NewVersion
from fraud_retraining.adapters.storage.opening import open_location
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.review.model_card import MOST_CHARACTERS
from fraud_retraining.domain.values.errors import DependencyUnreachable
from fraud_retraining.services.model_cards import PAGE, SHOWS, Cards
from fraud_retraining_tests.support.ledger_history import FIRST, approved, promoted, waiting
from fraud_retraining_tests.support.pages_read import Read
from fraud_retraining_tests.support.registries import (
    a_fingerprint,
    a_window,
    fitted,
    registry_at,
    rows,
    store_in,
)

pytest_plugins = ("fraud_retraining_tests.support.databases",)


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with TemporaryDirectory(prefix="cards-") as folder:
        yield registry_at(store_in(Path(folder)), Path(folder) / "artifacts")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(open_location(str(tmp_path / "store"), s3=None, cache=tmp_path / "cache"), scratch=tmp_path / "s")


def registered(registry: Registry) -> int:
    """A version of a real model in MLflow."""
    fingerprint = a_fingerprint()
    run_id = registry.start_run("trained")
    run = registry.log_model(
        run_id,
        fitted(),
        TrainingSource(a_window(), fingerprint),
        example=rows(),
        tags={},
    )
    about = {"as_of": a_window().days.as_of, "trained_on": a_window().days.training}
    return registry.register(
        NewVersion(
            run_id,
            fingerprint=fingerprint.digest,
            artifact_digest=run.artifact_digest,
            **about,
        )
    ).version


def shown(registry: Registry, version: int) -> tuple[str, str]:
    """What a person finds in MLflow: the description of a version, and the page of its run."""
    client: Any = registry._client
    found = client.get_model_version(registry.model_name, str(version))
    with TemporaryDirectory() as folder:
        return found.description, Path(client.download_artifacts(found.run_id, PAGE, folder)).read_text()


def test_the_card_follows_the_release_from_candidate_to_champion_and_away(
    registry: Registry, sqlite_ledger: Ledger, store: Store
):
    cards = Cards(sqlite_ledger, registry, store)
    version = registered(registry)
    waiting(sqlite_ledger, version, FIRST, None, store)
    text = cards.refresh(version)
    description, page = shown(registry, version)
    assert description == text and len(text) <= MOST_CHARACTERS
    assert "does not serve: awaiting approval" in description
    assert "There is no decision about it." in Read(page).text and "img" in Read(page).elements

    approved(sqlite_ledger, version, by="alice", reason="better at night")
    promoted(sqlite_ledger, version, None)
    assert cards.refresh_stale() == [version]
    description, page = shown(registry, version)
    assert "serves since" in description and "approved by alice" in description
    assert "better at night" in Read(page).text
    assert cards.refresh_stale() == []

    newer = registered(registry)
    waiting(sqlite_ledger, newer, FIRST.replace(day=20), version, store)
    approved(sqlite_ledger, newer)
    promoted(sqlite_ledger, newer, version)
    assert cards.refresh_stale() == [version, newer], "the one that was replaced has another story now too"
    assert f"version {newer} was promoted" in shown(registry, version)[0]


def test_a_damaged_review_report_is_left_out_of_the_card(registry: Registry, sqlite_ledger: Ledger, store: Store):
    version = registered(registry)
    release = waiting(sqlite_ledger, version, FIRST, None, store)
    store.write_document("review_pack", release.fingerprint, b"{}")
    Cards(sqlite_ledger, registry, store).refresh(version)
    assert "No review report was made" in Read(shown(registry, version)[1]).text


def test_a_version_that_the_ledger_does_not_know_has_no_card(registry: Registry, sqlite_ledger: Ledger, store: Store):
    version = registered(registry)
    assert version not in Cards(sqlite_ledger, registry, store).refresh_stale()
    assert SHOWS not in registry.version(version).tags


def test_a_registry_that_is_down_is_reported(sqlite_ledger: Ledger, store: Store):
    down = Registry("http://127.0.0.1:9", "e", "m", timeout_seconds=3)
    with pytest.raises(DependencyUnreachable):
        Cards(sqlite_ledger, down, store).refresh_stale()
