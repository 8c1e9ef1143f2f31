"""Dagster's resources by key: the adapters that the settings describe, and what is held for the length of a run.

Here: which adapter a key stands for, the lease and the MLflow run of a run. Not here: opening an adapter
(`orchestration/resources.py`). Heavy libraries are imported when a run first needs them, because every process of
Dagster pays for the import of the definitions.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_retraining.orchestration.resources import (
    open_engine,
    open_heads,
    open_lake,
    open_ledger,
    open_links,
    open_notifier,
    open_outbox,
    open_registry,
    open_store,
)
from fraud_retraining.orchestration.runs.progress import LogProgress
from fraud_retraining.orchestration.runs.step_retries import attempted
from fraud_retraining.orchestration.runs.workers import worker
from fraud_retraining.settings import Settings

if TYPE_CHECKING:
    from fraud_retraining.adapters.storage.engine import Engine
    from fraud_retraining.domain.retraining.lease_rules import LeasePolicy
    from fraud_retraining.orchestration.release_notifier import ReleaseNotifier
    from fraud_retraining.orchestration.runs.mlflow_run import MlflowRun
    from fraud_retraining.orchestration.runs.outcomes import Outcomes
    from fraud_retraining.orchestration.runs.retrain_lease import RetrainLease


def open_outcomes(settings: Settings) -> "Outcomes":
    """Records outcomes of ended runs in ledger and outbox."""
    from fraud_retraining.orchestration.runs.outcomes import Outcomes

    return Outcomes(settings, open_ledger(settings), open_outbox(settings), open_store(settings))


def retrain_lease(settings: Settings, policy: "LeasePolicy | None" = None) -> dg.ResourceDefinition:
    """The lease of a run; recorded in the ledger and released when the run ends."""

    @dg.resource(
        required_resource_keys={"ledger"},
        description="One retrain at a time, within the budget, for every trigger.",
    )
    def lease(context: dg.InitResourceContext) -> Iterator["RetrainLease"]:
        from fraud_retraining.orchestration.runs.retrain_lease import LeaseRules, RetrainLease, failure_of, requester_of

        run, instance = context.run, context.instance
        assert run is not None and instance is not None, "a lease is held by a run"
        opened = RetrainLease(
            context.resources.ledger,
            requester_of(run),
            LeaseRules(settings.budget, settings.triggers.when_busy, policy),
            notify=context.log.info if context.log else None,
        )
        try:
            yield opened
        finally:
            # In a `finally`: a lease that is kept after a failure would block retrains until it expires.
            opened.close(failure_of(instance, run.run_id))

    return lease


def open_release_notifier(settings: Settings) -> "ReleaseNotifier":
    """Notifies of releases, through the outbox."""
    from fraud_retraining.orchestration.release_notifier import OutboxReleaseNotifier

    return OutboxReleaseNotifier(
        settings, open_ledger(settings), open_outbox(settings), open_store(settings), open_links(settings)
    )


def _mlflow(settings: Settings) -> dg.ResourceDefinition:
    """The MLflow run of a Dagster run, which begins when a model is about to be trained."""

    @dg.resource(
        required_resource_keys={"ledger"},
        description="dagster-mlflow's mlflow_tracking: at most one MLflow run a Dagster run.",
    )
    def mlflow(context: dg.InitResourceContext) -> Iterator["MlflowRun"]:
        from fraud_retraining.orchestration.runs.mlflow_run import MlflowRun

        # Before dagster-mlflow, which would create the experiment with MLflow's default folder of artifacts.
        attempted(open_registry(settings).ensure_experiment, settings.retries, context.log)
        run = MlflowRun(settings, context)
        yield run
        run.close()

    return mlflow


def build_resources(settings: Settings) -> dict[str, Any]:
    """Every resource by key; `build_definitions(**overrides)` swaps any of them."""

    def lazily(build: Any) -> dg.ResourceDefinition:
        return dg.ResourceDefinition(lambda _: build(settings), description=build.__doc__)

    @dg.resource(description="A DuckDB engine with the configured limits, closed at the end of the run.")
    def engine(_: dg.InitResourceContext) -> Iterator["Engine"]:
        with open_engine(settings) as opened:
            yield opened

    from fraud_retraining.orchestration.io_managers import DocumentIOManager

    return {
        "settings": dg.ResourceDefinition.hardcoded_resource(settings),
        "lake": lazily(open_lake),
        "store": lazily(open_store),
        "engine": engine,
        "ledger": lazily(open_ledger),
        "heads": lazily(open_heads),
        "registry": lazily(open_registry),
        "retrain_lease": retrain_lease(settings),
        "mlflow": _mlflow(settings),
        "outbox": lazily(open_outbox),
        "notifier": lazily(open_notifier),
        "outcomes": lazily(open_outcomes),
        "worker": worker,
        "release_notifier": lazily(open_release_notifier),
        "progress": dg.ResourceDefinition.hardcoded_resource(LogProgress()),
        "io_manager": dg.IOManagerDefinition(resource_fn=lambda _: DocumentIOManager(open_store(settings))),
    }
