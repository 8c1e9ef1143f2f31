"""MLflow's store, looked at without making or migrating it."""

import sqlite3
from pathlib import Path

import pytest

from fraud_retraining.adapters.mlflow.inspection import ask_server, folder_of, inspect_database
from fraud_retraining.domain.values.errors import DependencyUnreachable


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert inspect_database(f"sqlite:///{tmp_path}/mlflow.db") is None
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_another_version_has_another_revision(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as made:
        made.execute("CREATE TABLE alembic_version (version_num)")
        made.execute("INSERT INTO alembic_version VALUES ('of another time')")
    seen = inspect_database(f"sqlite:///{tmp_path}/mlflow.db")
    assert seen is not None and seen.revision == "of another time"
    assert len(seen.wanted) == 12, "Alembic's name of the installed MLflow's schema"


def test_a_server_that_is_not_there_is_an_error_without_its_password() -> None:
    with pytest.raises(DependencyUnreachable) as refused:
        ask_server("http://ada:pa55word@127.0.0.1:1", 1)
    assert "pa55word" not in str(refused.value)


def test_a_folder_may_be_written_as_an_address(tmp_path: Path) -> None:
    assert folder_of(f"file://{tmp_path}/ml%20runs") == tmp_path / "ml runs"
    assert folder_of("mlruns") == Path("mlruns")
