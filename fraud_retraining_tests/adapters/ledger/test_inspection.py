"""A ledger as it is, looked at without making or migrating it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fraud_retraining.adapters.ledger.database import Database
from fraud_retraining.adapters.ledger.inspection import inspect_ledger
from fraud_retraining.adapters.ledger.migrations import HEAD
from fraud_retraining.domain.values.errors import DependencyUnreachable, SettingsError
from fraud_retraining_tests.support.databases import Cluster

pytest_plugins = ["fraud_retraining_tests.support.databases"]


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert inspect_ledger(f"sqlite:///{tmp_path}/ledger.db") is None
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_has_its_revision(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    Database(url, patience=5).read(lambda connection: None)
    seen = inspect_ledger(url)
    assert seen is not None and (seen.revision, seen.appendable, seen.now) == (HEAD, True, None)
    (tmp_path / "empty.db").touch()
    empty = inspect_ledger(f"sqlite:///{tmp_path}/empty.db")
    assert empty is not None and empty.revision is None


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        inspect_ledger("mysql://db/ledger")
    with pytest.raises(DependencyUnreachable) as refused:
        inspect_ledger("postgresql://ada:pa55word@127.0.0.1:1/ledger")
    assert "pa55word" not in str(refused.value)


def test_a_database_server_tells_revision_permission_and_time(postgres: Cluster) -> None:
    before = inspect_ledger(postgres.url)
    assert before is not None and before.now is not None
    Database(postgres.url, patience=30).read(lambda connection: None)
    seen = inspect_ledger(postgres.url)
    assert seen is not None and (seen.revision, seen.appendable) == (HEAD, True)
    assert seen.now is not None and abs(seen.now - datetime.now(UTC)) < timedelta(seconds=30)
