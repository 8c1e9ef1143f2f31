"""Packages against the lock and the requirements, and write tests that leave nothing."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fraud_retraining.commands.implementation import machine_checks
from fraud_retraining.commands.implementation.diagnosis import Answer, State
from fraud_retraining.commands.implementation.machine_checks import (
    disk_answer,
    installed,
    nearest,
    pins,
    unmet,
    write_problem,
)
from fraud_retraining.settings import Settings
from fraud_retraining_tests.support.spark import needs_spark


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


def test_another_build_of_a_library_is_in_its_place() -> None:
    wanted = [Requirement("xgboost-cpu>=3.2,<3.3")]
    assert list(machine_checks.unmet(wanted, {"xgboost": "3.2.0"})) == []
    assert list(machine_checks.unmet(wanted, {"xgboost": "3.1.0"})) == [
        "xgboost-cpu 3.1.0 is there, <3.3,>=3.2 is needed"
    ]
    assert list(machine_checks.unmet(wanted, {})) == ["xgboost-cpu is not installed"]


def test_a_gpu_is_looked_for_where_models_are_to_be_fitted_on_one() -> None:
    assert machine_checks.gpu_checks(Settings()) == []
    ((name, ask),) = machine_checks.gpu_checks(Settings(model={"params": {"device": "cuda"}}))
    found = ask()
    assert name == "gpu"
    assert found.state is State.OK or "pip uninstall -y xgboost-cpu" in found.remedy


@needs_spark
def test_workers_of_a_fit_are_counted_against_the_cores_of_this_machine() -> None:
    def answer(master: str, workers: int) -> Answer:
        model = {"trainer": "spark", "trainer_workers": workers}
        ((_, ask),) = machine_checks.spark_checks(Settings(model=model, engine={"kind": "spark", "master": master}))
        return ask()

    assert answer("local[3]", 3).found.endswith("fits by 3 workers at once")
    assert answer("yarn", 900).state is State.OK, "only the cluster knows"
    refused = answer("local[*]", 1000)
    assert refused.state is State.FAIL and "1000 workers run at once" in refused.found


def test_the_lock_file_holds_every_extra_but_the_build_for_cuda_and_spark() -> None:
    """Both builds of XGBoost have the same files: a lock file with both would install one over the other. Spark is
    large, and has a lock file of its own."""
    root = Path(machine_checks.__file__).parents[3]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (locked,) = re.findall(r"^LOCKED := (.*)$", (root / "Makefile").read_text(), re.MULTILINE)
    held = pins((root / "requirements.lock").read_text())
    assert set(locked.split()) == set(extras) - {"gpu", "spark"}
    assert set(pins((root / "requirements.spark.lock").read_text())) == {"pyspark", "py4j"}
    assert "pyspark" not in held
    assert "xgboost-cpu" in held and "xgboost" not in held
    wanted = [Requirement(line).name for name in locked.split() for line in extras[name]]
    assert [name for name in wanted if canonicalize_name(name) not in held] == []
