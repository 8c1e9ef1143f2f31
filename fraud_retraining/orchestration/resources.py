"""Resources: settings wired to adapters.

Here: which adapter a key stands for. Not here: what an adapter does. Heavy libraries are imported when a run first
asks for them, because every process of Dagster pays for the import of the definitions.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_retraining.adapters.storage.private_files import private_file, private_folder
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.orchestration.runs.progress import LogProgress
from fraud_retraining.orchestration.runs.retries import attempted
from fraud_retraining.orchestration.runs.workers import worker
from fraud_retraining.settings import MLFLOW_FILE, Settings

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource

    from fraud_retraining.adapters.alerts.outbox import Outbox
    from fraud_retraining.adapters.ledger.ledger import Ledger
    from fraud_retraining.adapters.ledger.pinned_heads import PinnedHeads
    from fraud_retraining.adapters.mlflow.registry import Registry
    from fraud_retraining.adapters.pages.signed_links import ReleaseLinks
    from fraud_retraining.adapters.storage.engine import Engine
    from fraud_retraining.adapters.storage.lake import Lake
    from fraud_retraining.adapters.storage.locations import Location
    from fraud_retraining.adapters.storage.store import Store
    from fraud_retraining.domain.retraining.leases import LeasePolicy
    from fraud_retraining.orchestration.runs.lease import RetrainLease
    from fraud_retraining.orchestration.runs.mlflow_run import MlflowRun
    from fraud_retraining.orchestration.runs.outcomes import Outcomes
    from fraud_retraining.orchestration.sensors.releases import ReleaseNotifier
    from fraud_retraining.services.delivery import Notifier


def s3_resource(settings: Settings) -> "S3Resource":
    """dagster-aws's S3 as the settings describe it."""
    from dagster_aws.s3 import S3Resource

    policy = settings.lake.s3
    return S3Resource(
        region_name=policy.region,
        endpoint_url=policy.endpoint,
        profile_name=policy.profile,
        max_attempts=policy.max_attempts,
    )


def open_location_of(settings: Settings, uri: str) -> "Location":
    """A folder or an S3 prefix."""
    from fraud_retraining.adapters.storage.opening import open_location

    return open_location(
        uri,
        s3=s3_resource(settings) if uri.startswith("s3://") else None,
        cache=settings.home / "cache",
        policy=settings.lake.s3.transfer,
    )


def open_lake(settings: Settings) -> "Lake":
    """The lake of raw days."""
    from fraud_retraining.adapters.storage.lake import EARLIEST, Lake
    from fraud_retraining.orchestration.partitions import DEFAULT_FIRST_DAY

    first_day = DEFAULT_FIRST_DAY if "://" in settings.lake_uri else EARLIEST
    return Lake(
        open_location_of(settings, settings.lake_uri),
        first_day=settings.lake.first_day or first_day,
        limits=settings.lake.limits,
        timestamp=settings.columns.timestamp,
        columns={lake for parts in settings.mapping.lake_names.values() for lake in parts},
    )


def open_store(settings: Settings) -> "Store":
    """The store of partitions and documents."""
    from fraud_retraining.adapters.storage.store import Store

    return Store(open_location_of(settings, settings.store_uri), scratch=settings.home / "scratch")


def open_engine(settings: Settings) -> "Engine":
    """A DuckDB engine with the configured limits, or with those that follow from the machine."""
    from fraud_retraining.adapters.storage.engine import Engine
    from fraud_retraining.adapters.storage.machine_memory import usable_memory
    from fraud_retraining.domain.data.memory import default_memory_limit

    return Engine(
        memory_limit=settings.engine.memory_limit or default_memory_limit(usable_memory()),
        threads=settings.engine.threads,
        temp_directory=settings.home / "scratch" / "engine",
    )


def open_ledger(settings: Settings) -> "Ledger":
    """The record of decisions, migrated to its newest form."""
    from fraud_retraining.adapters.ledger.ledger import Ledger

    private_folder(settings.home)
    return Ledger(settings.ledger_url, model=settings.model.name, pins=lambda: open_heads(settings).heads())


def open_heads(settings: Settings) -> "PinnedHeads":
    """Where heads of the ledger's chain are kept, outside of its database."""
    from fraud_retraining.adapters.ledger.pinned_heads import HeadFile, HeadObjects

    if "://" in settings.heads_uri:
        return HeadObjects(open_location_of(settings, settings.heads_uri))
    return HeadFile(Path(settings.heads_uri))


def open_outbox(settings: Settings) -> "Outbox":
    """What people were told, and what still has to be sent; in the ledger's database."""
    from fraud_retraining.adapters.alerts.outbox import Outbox

    private_folder(settings.home)
    return Outbox(settings.ledger_url, model=settings.model.name)


def open_notifier(settings: Settings) -> "Notifier":
    """The way to every destination of alerts, with the secrets of this process's environment."""
    from fraud_retraining.services.delivery import Notifier

    return Notifier(settings.alerts, settings.home, os.environ, open_links(settings))


def open_outcomes(settings: Settings) -> "Outcomes":
    """What runs that ended tell the ledger and people."""
    from fraud_retraining.orchestration.runs.outcomes import Outcomes

    return Outcomes(settings, open_ledger(settings), open_outbox(settings), open_store(settings))


def open_registry(settings: Settings) -> "Registry":
    """MLflow's runs and versions."""
    from fraud_retraining.adapters.mlflow.registry import Registry

    private_folder(settings.home)
    if settings.mlflow.tracking_uri is None:
        private_file(settings.home / MLFLOW_FILE)
    return Registry(
        settings.tracking_uri,
        settings.mlflow.experiment,
        settings.model.name,
        artifact_root=settings.home / "artifacts",
        timeout_seconds=settings.mlflow.timeout_seconds,
    )


def retrain_lease(settings: Settings, policy: "LeasePolicy | None" = None) -> dg.ResourceDefinition:
    """The claim of a run to be the only retrain; entered in the ledger and given back when the run ends."""

    @dg.resource(
        required_resource_keys={"ledger"},
        description="One retrain at a time, within the budget, whatever asked for it.",
    )
    def lease(context: dg.InitResourceContext) -> Iterator["RetrainLease"]:
        from fraud_retraining.orchestration.runs.lease import RetrainLease, failure_of, requester_of

        run, instance = context.run, context.instance
        assert run is not None and instance is not None, "a lease is held by a run"
        opened = RetrainLease(
            context.resources.ledger,
            requester_of(run),
            settings.budget,
            when_busy=settings.triggers.when_busy,
            policy=policy,
            tell=context.log.info if context.log else None,
        )
        try:
            yield opened
        finally:
            opened.close(failure_of(instance, run.run_id))

    return lease


def open_links(settings: Settings) -> "ReleaseLinks | None":
    """Signed links to the page of releases; none where the environment has no secret for them.

    Raises:
        SettingsError: the secret is too short.
    """
    from fraud_retraining.adapters.pages.signed_links import LEAST_CHARACTERS, LINK_VARIABLE, ReleaseLinks

    secret = os.environ.get(LINK_VARIABLE, "")
    if not secret:
        return None
    if len(secret) < LEAST_CHARACTERS:
        raise SettingsError(
            f"{LINK_VARIABLE} is too short to sign with",
            remedy=f"give it at least {LEAST_CHARACTERS} random characters.",
        )
    return ReleaseLinks(secret, settings.promotion.approval_hours)


def open_release_notifier(settings: Settings) -> "ReleaseNotifier":
    """Whoever tells people about releases: by the outbox."""
    from fraud_retraining.orchestration.sensors.release_notifier import OutboxReleaseNotifier

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
