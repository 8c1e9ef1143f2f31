"""Settings of the engine: masters of Spark, and options that nobody may change or that would give a secret away."""

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.data.engine_policy import EnginePolicy, config_problems


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
        ("spark.hadoop.fs.s3a.secret.key", "is a secret"),
        ("spark.authenticate.secret", "is a secret"),
    ],
)
def test_options_that_cannot_be_set(name: str, problem: str) -> None:
    assert problem in config_problems({name: "x"})[0]
    with pytest.raises(ValidationError, match="config"):
        EnginePolicy(config={name: "x"})


def test_other_options_are_sparks_own() -> None:
    assert config_problems({"spark.executor.memory": "8g", "spark.kubernetes.namespace": "fraud"}) == []


def test_duckdb_computes_days_where_nothing_is_said() -> None:
    assert EnginePolicy().kind == "duckdb"
