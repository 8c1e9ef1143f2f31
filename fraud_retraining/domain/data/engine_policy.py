"""What computes days: the settings of the engine, and the options of Spark that results depend on.

Not here: starting engines (`adapters/storage/engine.py`, `adapters/storage/spark_session.py`).
"""

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator

from fraud_retraining.domain.data.submit_policy import SubmitPolicy
from fraud_retraining.domain.values.base import Policy
from fraud_retraining.domain.values.redaction import is_secret_name, redact

FIXED_OPTIONS: Mapping[str, str] = {
    # One meaning of a time without a zone, on the driver and on every worker.
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    # An overflow or a wrong cast is an error, and never a null that nobody sees.
    "spark.sql.ansi.enabled": "true",
    # Names of columns in other letters are the same column, as in DuckDB.
    "spark.sql.caseSensitive": "false",
}
"""Options of Spark that the values of days depend on."""
SET_ELSEWHERE: Mapping[str, str] = {
    "spark.master": "engine.master says it",
    "spark.app.name": "runs are found by it",
    "spark.local.dir": "it is the scratch folder of the home",
}
"""Options of Spark that are set already, and what says so."""


_ON_THIS_MACHINE = re.compile(
    r"local(\[(?P<threads>\*|\d+)(,\d+)?\])?|local-cluster\[(?P<workers>\d+),(?P<cores>\d+),\d+\]"
)
TASK_CPUS, DYNAMIC = "spark.task.cpus", "spark.dynamicAllocation.enabled"


class EnginePolicy(Policy):
    """What computes days, and what it may use."""

    kind: Literal["duckdb", "spark"] = Field(
        "duckdb", description="duckdb, in this process; or spark, which needs the extra spark and Java."
    )
    master: str | None = Field(
        "local[*]",
        pattern=r"^(local(\[(\*|\d+)(,\d+)?\])?|local-cluster\[\d+,\d+,\d+\]|spark://\S+|yarn|k8s://\S+)$",
        description="Spark's master: local[4], spark://host:7077, yarn, k8s://https://host; null: spark-submit's.",
    )
    config: dict[str, str] = Field(
        {}, description="Options of Spark by name, such as {spark.executor.memory: 8g}; no secrets."
    )
    submit: SubmitPolicy | None = Field(
        None,
        description="A service whose jobs make days (kind: emr_serverless or glue); null: this process is the driver.",
    )
    memory_limit: str | None = Field(
        None,
        pattern=r"^\d+(\.\d+)?\s?(MB|GB|MiB|GiB)$",
        description="DuckDB's memory before it spills, such as 2GB; by default a quarter of what the process may use.",
    )
    threads: int | None = Field(None, ge=1, le=1024, description="DuckDB's threads; by default one a core.")

    @field_validator("config")
    @classmethod
    def _acceptable(cls, config: dict[str, str]) -> dict[str, str]:
        if problems := config_problems(config):
            raise ValueError("; ".join(problems))
        return config


def config_problems(config: Mapping[str, str]) -> list[str]:
    """Why options of Spark cannot be used; empty when they can.

    >>> config_problems({"spark.sql.session.timeZone": "CET"})
    ['spark.sql.session.timeZone is fixed at UTC: the values of days depend on it']
    """
    problems = [f"{name} is no option of Spark: they begin with spark." for name in config if name[:6] != "spark."]
    problems += [
        f"{name} is fixed at {FIXED_OPTIONS[name]}: the values of days depend on it"
        for name in config
        if name in FIXED_OPTIONS
    ]
    problems += [f"{name} cannot be set: {why}" for name, why in SET_ELSEWHERE.items() if name in config]
    # They would stand in the command line of Java, which every user of the machine can read.
    return problems + [
        f"{name} is or holds a secret: leave it to the environment or the role of the machine"
        for name, value in config.items()
        if is_secret_name(name.replace(".", "_")) or redact(value) != value
    ]


def slots(engine: EnginePolicy, cores: int | None = None) -> int | None:
    """Tasks that Spark runs at once where its master says so; None where only the cluster knows.

    Args:
        engine: master and options.
        cores: cores of this machine, which `local[*]` takes; None where they are not known.

    >>> slots(EnginePolicy(kind="spark", master="local-cluster[2,4,1024]", config={"spark.task.cpus": "2"}))
    4
    """
    found = _ON_THIS_MACHINE.fullmatch(engine.master or "")
    cpus = engine.config.get(TASK_CPUS, "1")
    if found is None or not cpus.isdecimal() or not int(cpus):
        return None
    if found["workers"]:
        return int(found["workers"]) * (int(found["cores"]) // int(cpus))
    threads = cores if found["threads"] == "*" else int(found["threads"] or 1)
    return None if threads is None else threads // int(cpus)


def fit_problems(engine: EnginePolicy, workers: int, cores: int | None = None) -> list[str]:
    """Why a fit cannot be shared out to so many workers of Spark, which all have to run at once.

    >>> fit_problems(EnginePolicy(), 2)
    ['model.trainer: spark needs engine.kind: spark; set it, or model.trainer: local']
    """
    if engine.kind != "spark":
        return ["model.trainer: spark needs engine.kind: spark; set it, or model.trainer: local"]
    if engine.submit is not None:
        return ["engine.submit makes days, and fits none: set model.trainer: local"]
    problems = []
    if engine.config.get(DYNAMIC, "").lower() == "true":
        problems.append(
            f"engine.config: {DYNAMIC} cannot be used with model.trainer: spark, whose workers all run at once; give a "
            "fixed number of executors"
        )
    room = slots(engine, cores)
    if room is not None and room < workers:
        problems.append(
            f"model.trainer_workers: {workers} workers run at once, and engine.master {engine.master} runs {room} "
            f"tasks of {engine.config.get(TASK_CPUS, '1')} cores; lower one or raise the other"
        )
    return problems
