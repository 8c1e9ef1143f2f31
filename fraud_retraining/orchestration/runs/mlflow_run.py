"""The MLflow run of a Dagster run: when it begins, what it is called, how it ends.

Here: binding the two through dagster-mlflow. Not here: what is written into the run (`adapters/mlflow/registry.py`).
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import dagster as dg

from fraud_retraining.adapters.mlflow.registry import AUTOMATED, NOTE, RUN_NAME, asking_mlflow
from fraud_retraining.orchestration.runs.requests import as_of_of, request_of_run
from fraud_retraining.settings import Settings


class MlflowRun:
    """At most one MLflow run: it begins when its id is first asked for, so a retrain that trains nothing has none."""

    def __init__(self, settings: Settings, context: dg.InitResourceContext) -> None:
        self._settings = settings
        self._context = context
        self._tracking: Iterator[Any] | None = None

    @cached_property
    def run_id(self) -> str:
        """Id of the run, the one that an earlier process of the same Dagster run began where there is one.

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
        with asking_mlflow(uri, "bind the run to one of its own"):
            bound = next(tracking)
        self._tracking = tracking
        return str(bound.active_run().info.run_id)

    def close(self) -> None:
        """Ends the run, as failed where a step failed, so that the next one does not write into it."""
        import mlflow

        if self._tracking is None:
            return
        for _ in self._tracking:
            pass
        if mlflow.active_run() is not None:
            mlflow.end_run("FAILED" if self._failed() else "FINISHED")

    def _tags(self) -> dict[str, str]:
        run = self._context.dagster_run
        tags = run.tags if run is not None else {}
        request = request_of_run(run.run_id if run is not None else "", self._context.resources.ledger)
        as_of = as_of_of(tags)
        named = {RUN_NAME: f"{as_of} {request.trigger}"} if as_of is not None else {}
        reason = {NOTE: request.reason} if request.reason else {}
        return {AUTOMATED: "true", "trigger": request.trigger, **named, **reason}

    def _failed(self) -> bool:
        run, instance = self._context.dagster_run, self._context.instance
        failure = dg.DagsterEventType.STEP_FAILURE
        return bool(run and instance and instance.all_logs(run.run_id, of_type=failure))
