"""The MLflow run of a Dagster run: its start, its name and its end.

Here: binding the two through dagster-mlflow, and ending the run of a process that was killed. Not here: the content of
the run (`adapters/mlflow/registry.py`).
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Any

import dagster as dg

from fraud_retraining.adapters.mlflow.connection import mlflow_call
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.tags import AUTOMATED, DAGSTER_RUN, NOTE, RUN_NAME
from fraud_retraining.orchestration.runs.requests import request_of_run
from fraud_retraining.orchestration.runs.workers import Fate, fate_of, worker_of
from fraud_retraining.orchestration.tags import as_of_day
from fraud_retraining.settings import Settings

ENDINGS: Mapping[dg.DagsterRunStatus, str] = MappingProxyType(
    {
        dg.DagsterRunStatus.SUCCESS: "FINISHED",
        dg.DagsterRunStatus.FAILURE: "FAILED",
        dg.DagsterRunStatus.CANCELED: "KILLED",
    }
)
"""MLflow's status for the final status of a Dagster run."""

TIME_TO_CLOSE = timedelta(minutes=10)
"""Time that a process on another machine has to end its MLflow run after its Dagster run has ended."""


class MlflowRun:
    """At most one MLflow run: it starts when its id is first read, so a retrain that trains nothing has none."""

    def __init__(self, settings: Settings, context: dg.InitResourceContext) -> None:
        self._settings = settings
        self._context = context
        self._tracking: Iterator[Any] | None = None

    @cached_property
    def run_id(self) -> str:
        """Id of the run; a run that an earlier process of the same Dagster run started is continued.

        Raises:
            DependencyUnreachable: MLflow does not answer.
        """
        from dagster_mlflow import mlflow_tracking

        uri = self._settings.tracking_uri
        config = {
            "experiment_name": self._settings.mlflow.experiment,
            "mlflow_tracking_uri": uri,
            "env": {},
            "extra_tags": self._tags(),
        }
        tracking = mlflow_tracking.resource_fn(self._context.replace_config(config))
        with mlflow_call(uri, "bind the run to one of its own"):
            bound = next(tracking)
        self._tracking = tracking
        return str(bound.active_run().info.run_id)

    def close(self) -> None:
        """Ends the run, as failed where a step failed; an active run would receive the logs of the next one."""
        import mlflow

        if self._tracking is None:
            return
        # After its yield dagster-mlflow ends the run only while an exception is in flight; otherwise it stays active.
        for _ in self._tracking:
            pass
        # MLflow keeps one active run a process: left open, it would take the metrics of the next job.
        if mlflow.active_run() is not None:
            mlflow.end_run("FAILED" if self._failed() else "FINISHED")

    def _tags(self) -> dict[str, str]:
        run = self._context.dagster_run
        tags = run.tags if run is not None else {}
        request = request_of_run(run.run_id if run is not None else "", self._context.resources.ledger)
        as_of = as_of_day(tags)
        named = {RUN_NAME: f"{as_of} {request.trigger}"} if as_of is not None else {}
        reason = {NOTE: request.reason} if request.reason else {}
        return {AUTOMATED: "true", "trigger": request.trigger, **named, **reason}

    def _failed(self) -> bool:
        run, instance = self._context.dagster_run, self._context.instance
        failure = dg.DagsterEventType.STEP_FAILURE
        return bool(run and instance and instance.all_logs(run.run_id, of_type=failure))


def end_abandoned(instance: dg.DagsterInstance, registry: Registry, now: datetime) -> list[str]:
    """Ends MLflow runs that killed processes left open although their Dagster run is over; returns their ids.

    A model that was uploaded completely stays valid, and the next retrain of its window finds it.

    Raises:
        DependencyUnreachable: MLflow does not answer; the next call ends them.
    """
    ended = []
    for left in registry.open_runs():
        record = instance.get_run_record_by_id(left.tags[DAGSTER_RUN]) if DAGSTER_RUN in left.tags else None
        if record is None or not _is_abandoned(record, now):
            continue
        run = record.dagster_run
        why = f"Dagster run {run.run_id} ended as {run.status.value}, and its process could not end this run"
        registry.end_run(left.run_id, ENDINGS[run.status], why)
        ended.append(left.run_id)
    return ended


def _is_abandoned(record: dg.RunRecord, now: datetime) -> bool:
    run = record.dagster_run
    fate = fate_of(worker_of(run))
    if run.status not in ENDINGS or fate is Fate.ALIVE:
        return False
    # What cannot be seen from here gets time to end its run itself.
    return fate is Fate.GONE or now - record.update_timestamp.astimezone(UTC) > TIME_TO_CLOSE
