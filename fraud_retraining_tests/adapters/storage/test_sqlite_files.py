"""SQLite files are read without a change, in any state that a process may leave them in."""

import sqlite3
from pathlib import Path

import pytest

from fraud_retraining.adapters.storage.sqlite_files import first_value
from fraud_retraining.domain.values.errors import DependencyUnreachable


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_file_with_a_log_is_read_whether_its_writer_is_at_work_or_gone(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE t (x)")
    writer.execute("INSERT INTO t VALUES ('one')")
    there = names(tmp_path)
    assert (first_value(file, "SELECT x FROM t"), names(tmp_path)) == ("one", there)
    writer.close()
    assert (first_value(file, "SELECT x FROM t"), names(tmp_path)) == ("one", {"a.db"})


def test_a_table_that_is_missing_or_empty_has_no_value(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    file.touch()
    assert first_value(file, "SELECT x FROM t") is None
    with sqlite3.connect(file) as made:
        made.execute("CREATE TABLE t (x)")
    assert first_value(file, "SELECT x FROM t") is None


def test_a_file_that_is_no_database_or_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("no database, but long enough to be asked for its header" * 20)
    for name in ("a.db", "b.db"):
        with pytest.raises(DependencyUnreachable, match=name):
            first_value(tmp_path / name, "SELECT 1 FROM t")
    assert names(tmp_path) == {"a.db"}
