"""Packages against the lock and the requirements, and write tests that leave nothing."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from fraud_retraining.commands.implementation import machine_checks
from fraud_retraining.commands.implementation.diagnosis import State
from fraud_retraining.commands.implementation.machine_checks import (
    disk_answer,
    installed,
    nearest,
    pins,
    unmet,
    write_problem,
)


def test_the_projects_own_lock_pins_what_it_needs() -> None:
    pinned = pins((Path(machine_checks.__file__).parents[3] / "requirements.lock").read_text())
    assert {"dagster", "mlflow", "duckdb", "pandas"} <= set(pinned)
    assert pinned["pandas"].startswith("2."), "one version a package, that of this Python"


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ("numpy>=2", []),
        ("numpy>=3", ["numpy 2.4.0 is there, >=3 is needed"]),
        ("nothing-such", ["nothing-such is not installed"]),
        ("nothing-such; extra == 'redis'", []),
        ("nothing-such; python_version < '3'", []),
        ("Num_Py>=1", ["Num_Py is not installed"]),
        ("Ruamel.Yaml>=0.18", []),
    ],
)
def test_requirements_that_are_not_met_are_named(wanted: str, problem: list[str]) -> None:
    assert list(unmet([Requirement(wanted)], {"numpy": "2.4.0", "ruamel-yaml": "0.19b1"})) == problem


def test_this_environment_has_what_the_package_needs() -> None:
    assert "fraud-retraining" in installed()
    answers = {check.name: check.ask() for check in machine_checks.machine_checks()[:2]}
    assert {name: answer.state for name, answer in answers.items()} == {"python": State.OK, "packages": State.OK}


def test_a_write_test_leaves_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    assert write_problem(tmp_path / "not" / "there") == ""
    assert write_problem(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    assert write_problem(tmp_path / "home" / "store") == f"{tmp_path / 'home'} is a file, not a folder"
    assert nearest(tmp_path / "home" / "store") == tmp_path / "home"


def test_a_home_that_others_can_read_is_a_warning_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(home))
    ask = dict(machine_checks.machine_checks())["home"]
    assert (ask().state, home.exists()) == (State.OK, False)
    home.mkdir(mode=0o755)
    assert (ask().state, ask().remedy) == (State.WARN, f"chmod 700 {home}")
    home.chmod(0o700)
    assert ask().state is State.OK


@pytest.mark.parametrize(("free", "state"), [(1, State.FAIL), (2 * 2**30, State.WARN), (2**40, State.OK)])
def test_little_space_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: State) -> None:
    usage = machine_checks.shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda place: usage)
    assert disk_answer(tmp_path / "later").state is state
