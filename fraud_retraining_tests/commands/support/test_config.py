"""The settings file that a command reads."""

import os
from pathlib import Path

import pytest

from fraud_retraining.commands.support.config import read_settings
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.settings import CONFIG_VARIABLE


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "named by the environment.yaml"))
    (tmp_path / "named by the environment.yaml").write_text("model: {seed: 1}")


def test_the_option_wins_over_the_environment_and_is_handed_to_processes_that_are_started(tmp_path: Path) -> None:
    named = tmp_path / "named by the option.yaml"
    named.write_text("model: {seed: 2}")
    assert read_settings(named).model.seed == 2
    assert os.environ[CONFIG_VARIABLE] == str(named)


def test_without_the_option_the_environment_names_the_file() -> None:
    assert read_settings(None).model.seed == 1


def test_a_file_that_is_not_there_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no settings file"):
        read_settings(tmp_path / "missing.yaml")
