"""The local servers of `dev`: ports, folders, settings, and how a server that fails is reported."""

import socket
import sys
import threading
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from fraud_retraining.commands.implementation import development_servers as servers
from fraud_retraining.domain.values.errors import DependencyUnreachable
from fraud_retraining.orchestration.instance import CONFIG
from fraud_retraining.settings import CONFIG_VARIABLE, HOME_VARIABLE


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (HOME_VARIABLE, CONFIG_VARIABLE):
        monkeypatch.setenv(name, str(tmp_path / "dev"))
    monkeypatch.delenv(CONFIG_VARIABLE)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return tmp_path / "dev"


def test_a_port_that_is_taken_gives_way_to_the_next_free_one() -> None:
    with socket.create_server((servers.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        free = servers._free(port)
    assert free > port


def test_dagster_has_a_folder_of_its_own_with_the_projects_configuration(home: Path) -> None:
    folder = servers.dagster_home(home)
    assert folder == home / "dagster"
    assert (folder / CONFIG).read_text() == (servers.config_folder() / CONFIG).read_text()


def test_the_settings_of_the_growing_lake_are_written_once_and_kept_as_edited(home: Path) -> None:
    first = servers.live_settings(home)
    assert first.lake.uri == str(home / "lake")
    assert first.promotion.mode == "auto"
    config = home / "retraining.yaml"
    config.write_text(config.read_text().replace("mode: auto", "mode: manual"))
    assert servers.live_settings(home).promotion.mode == "manual"


def test_a_lake_of_ones_own_is_used_only_where_the_settings_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert servers.own_lake() is None
    (tmp_path / "retraining.yaml").write_text(f"lake: {{uri: {tmp_path}/lake}}")
    own = servers.own_lake()
    assert own is not None
    assert own.lake_uri == f"{tmp_path}/lake"


def test_a_server_that_ends_by_itself_is_named_with_its_log_and_the_others_are_ended(tmp_path: Path) -> None:
    ends = servers._start("ends", [sys.executable, "-c", "print('why')"], tmp_path / "ends.log", tmp_path)
    stays = servers._start(
        "stays", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "stays.log", tmp_path
    )
    try:
        ends.process.wait(30)
        with pytest.raises(DependencyUnreachable) as refused:
            servers._await(servers.Address("Dagster", 9), [ends, stays], threading.Event())
        assert str(tmp_path / "ends.log") in str(refused.value)
        err = Console(file=StringIO(), width=200)
        assert servers._exit_code(servers._ended([ends, stays]), err) == 1
        assert "ends ended by itself" in err.file.getvalue()  # type: ignore[attr-defined]
    finally:
        servers._end([ends, stays])
    assert stays.process.poll() is not None
    assert (tmp_path / "ends.log").read_text() == "why\n"
