"""What is created for this account only, under any umask, and what is told where it is not."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fraud_retraining.adapters.storage.private_files import close_new_files, exposed, private_file, private_folder


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_made_is_for_this_account_only(tmp_path: Path, umask: int) -> None:
    file = private_file(tmp_path / "deep" / "home" / "ledger.db")
    assert (mode(file.parent), mode(file)) == (0o700, 0o600)
    with sqlite3.connect(file) as cn:
        cn.execute("PRAGMA journal_mode=WAL")
        cn.execute("CREATE TABLE t (a)")
        assert {mode(path) for path in file.parent.iterdir()} == {0o600}
    assert list(exposed(file.parent, [file])) == []


def test_what_exists_is_left_and_reported_with_its_remedy(tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "home" / "alerts.jsonl"
    home.mkdir()
    file.write_text("x")
    home.chmod(0o755)
    file.chmod(0o640)
    private_file(private_folder(home) / "alerts.jsonl")
    assert list(exposed(home, [file, home / "not there"])) == [
        f"other accounts can read {home} (mode 0755): chmod 700 {home}",
        f"other accounts can read {file} (mode 0640): chmod 600 {file}",
    ]
    assert file.read_text() == "x"


def test_a_process_makes_all_that_it_creates_later_private(tmp_path: Path, umask: int) -> None:
    close_new_files()
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert (mode(tmp_path / "file"), mode(tmp_path / "folder")) == (0o600, 0o700)
