"""Settings of the engine: masters of Spark, and options that nobody may change or that would give a secret away."""

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.data.engine_policy import EnginePolicy, config_problems, fit_problems, slots


@pytest.mark.parametrize(
    "master",
    ["local", "local[*]", "local[4,2]", "local-cluster[2,1,1024]", "spark://h:7077", "yarn", "k8s://https://h"],
)
def test_masters_that_spark_knows(master: str) -> None:
    assert EnginePolicy(kind="spark", master=master).master == master


@pytest.mark.parametrize("master", ["", "http://h", "local[x]", "spark://a b"])
def test_other_masters_are_refused(master: str) -> None:
    with pytest.raises(ValidationError, match="master"):
        EnginePolicy(kind="spark", master=master)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("spark.sql.ansi.enabled", "fixed at true"),
        ("executor.memory", "no option of Spark"),
        ("spark.hadoop.fs.s3a.secret.key", "holds a secret"),
        ("spark.authenticate.secret", "holds a secret"),
        ("spark.master", "engine.master says it"),
        ("spark.app.name", "cannot be set"),
        ("spark.local.dir", "cannot be set"),
    ],
)
def test_options_that_cannot_be_set(name: str, problem: str) -> None:
    assert problem in config_problems({name: "x"})[0]
    with pytest.raises(ValidationError, match="config"):
        EnginePolicy(config={name: "x"})


@pytest.mark.parametrize("value", ["-Xmx4g -Djavax.net.ssl.trustStorePassword=hunter2", "https://u:pw@proxy"])
def test_an_option_whose_value_holds_a_secret_is_refused_without_it(value: str) -> None:
    (problem,) = config_problems({"spark.driver.extraJavaOptions": value})
    assert problem.startswith("spark.driver.extraJavaOptions is or holds a secret")
    assert "hunter2" not in problem and "pw" not in problem


def test_other_options_are_sparks_own() -> None:
    assert config_problems({"spark.driver.extraJavaOptions": "-XX:+UseG1GC -Duser.timezone=UTC"}) == []
    assert config_problems({"spark.executor.memory": "8g", "spark.kubernetes.namespace": "fraud"}) == []


def test_duckdb_computes_days_where_nothing_is_said() -> None:
    assert EnginePolicy().kind == "duckdb"


@pytest.mark.parametrize(
    ("master", "cpus", "cores", "found"),
    [
        ("local", "1", None, 1),
        ("local[4,2]", "1", None, 4),
        ("local[*]", "2", 8, 4),
        ("local[*]", "1", None, None),
        ("local-cluster[2,3,1024]", "2", None, 2),
        ("yarn", "1", 8, None),
        ("local[4]", "many", None, None),
    ],
)
def test_tasks_that_a_master_runs_at_once(master: str, cpus: str, cores: int | None, found: int | None) -> None:
    engine = EnginePolicy(kind="spark", master=master, config={"spark.task.cpus": cpus})
    assert slots(engine, cores) == found


def test_a_fit_needs_all_its_workers_at_once() -> None:
    cluster = EnginePolicy(kind="spark", master="local-cluster[2,1,1024]")
    assert fit_problems(cluster, 2) == []
    assert "3 workers run at once" in fit_problems(cluster, 3)[0]
    assert fit_problems(EnginePolicy(kind="spark"), 9) == [], "the cores of the machine are for doctor to count"
    assert "runs 8 tasks" in fit_problems(EnginePolicy(kind="spark"), 9, cores=8)[0]
    growing = EnginePolicy(kind="spark", master="yarn", config={"spark.dynamicAllocation.enabled": "True"})
    assert "fixed number of executors" in fit_problems(growing, 2)[0]
