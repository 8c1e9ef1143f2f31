"""Spark's options, what is missing before it can start, and its failures; nothing here starts it."""

from pathlib import Path

import pytest

from fraud_retraining.adapters.storage import spark_session
from fraud_retraining.adapters.storage.spark_session import (
    SparkOptions,
    carried,
    java_version,
    options_of,
    require_spark,
    translated,
)
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable, SettingsError


class PySparkLost(Exception):
    """A failure as PySpark raises it."""

    __module__ = "pyspark.errors"


def test_no_port_is_open_and_results_do_not_depend_on_options(tmp_path: Path) -> None:
    mine = {"spark.ui.enabled": "true", "spark.sql.session.timeZone": "CET"}
    found = options_of(SparkOptions("local[2]", mine, tmp_path))
    assert found["spark.ui.enabled"] == "true"
    assert found["spark.sql.session.timeZone"] == "UTC"
    assert found["spark.driver.bindAddress"] == "127.0.0.1"
    assert options_of(SparkOptions("yarn", {}, tmp_path))["spark.ui.enabled"] == "false"
    assert "spark.driver.host" not in options_of(SparkOptions("yarn", {}, tmp_path))


def test_without_java_spark_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java_version() is None
    with pytest.raises(SettingsError, match="there is none") as refused:
        require_spark()
    assert "openjdk" in refused.value.remedy


def test_java_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SettingsError, match="this is Java 11"):
        require_spark()


def test_without_pyspark_spark_is_refused_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="PySpark") as refused:
        require_spark()
    assert "[spark]" in refused.value.remedy


def test_a_failure_of_ours_comes_back_from_a_worker() -> None:
    sent = DataInvalid("a file is corrupt", culprits=["x.parquet"], remedy="deliver it again")
    with pytest.raises(DataInvalid, match="a file is corrupt") as raised, translated():
        raise PySparkLost(f"Job aborted ... RuntimeError: {carried(sent)}\n at java.lang.Thread")
    assert raised.value.culprits == ("x.parquet",)


def test_a_lost_worker_is_a_dependency_that_can_be_tried_again() -> None:
    with pytest.raises(DependencyUnreachable, match="gave the work up") as raised, translated():
        raise PySparkLost("Job aborted\nExecutorLostFailure (executor 1 exited): worker lost\n")
    assert raised.value.culprits == ("ExecutorLostFailure (executor 1 exited): worker lost",)


def test_any_other_failure_stays_what_it_is() -> None:
    with pytest.raises(PySparkLost), translated():
        raise PySparkLost("no such column")
    with pytest.raises(KeyError), translated():
        raise KeyError("x")


def test_a_machine_with_java_says_its_version() -> None:
    version = java_version()
    assert version is None or version >= 8
    assert spark_session.LEAST_JAVA == 17
