"""`doctor` as it is called: one table or one JSON object, the exit code of the first failure, nothing changed."""

import hashlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fraud_retraining.cli import app
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import ProjectHome


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_settings_that_cannot_be_obeyed_are_a_finding_beside_the_others(project: ProjectHome) -> None:
    project.config.write_text("window: {dayz: 3}\n")
    code, answer, _ = run("doctor")
    first = answer["checks"][0]
    assert (code, answer["exit_code"], first["check"], first["state"]) == (2, 2, "settings", "fail")
    assert "dayz" in first["found"]
    assert {"python", "packages", "lock", "home", "disk", "daemon"} <= {one["check"] for one in answer["checks"]}


def test_the_table_says_what_was_found(project: ProjectHome) -> None:
    found = CliRunner().invoke(app, ["doctor"])
    assert found.exit_code == 0, found.stdout
    assert "mapped columns are in" in found.stdout
    assert not project.home.exists(), "nothing is made"


@pytest.mark.slow
def test_a_home_after_its_first_retrain_is_sound_and_stays_as_it_is(home: ProjectHome) -> None:
    before = contents(home.folder)
    code, answer, _ = run("doctor")
    assert code == 0, answer
    failing = {one["check"] for one in answer["checks"] if one["state"] != "ok"}
    assert failing <= {"Slack", "daemon", "lock", "disk", "home"}, answer
    assert contents(home.folder) == before
