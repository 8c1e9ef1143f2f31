"""Adapters opened as the settings describe them, and bundles of the resources that an asset or sensor uses.

Here: which settings an adapter gets. Not here: what an adapter does, and Dagster's keys for them
(`orchestration/runs/resource_definitions.py`). Heavy libraries are imported inside the functions, because every process
of Dagster pays for the import of the definitions.
"""

import os
from collections.abc import Collection
from copy import copy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fraud_retraining.adapters.storage.private_files import private_file, private_folder
from fraud_retraining.domain.data.athena_table import SCHEME
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.settings import MLFLOW_FILE, Settings

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource

    from fraud_retraining.adapters.alerts.outbox import Outbox
    from fraud_retraining.adapters.ledger.chain_heads import PinnedHeads
    from fraud_retraining.adapters.ledger.ledger import Ledger
    from fraud_retraining.adapters.ledger.signed_rows import SignedRows
    from fraud_retraining.adapters.mlflow.registry import Registry
    from fraud_retraining.adapters.pages.signed_links import ReleaseLinks
    from fraud_retraining.adapters.storage.engine import Engine
    from fraud_retraining.adapters.storage.lake import Lake, LakeLocation
    from fraud_retraining.adapters.storage.locations import Location
    from fraud_retraining.adapters.storage.spark_days import SparkDays
    from fraud_retraining.adapters.storage.spark_jobs import JobService
    from fraud_retraining.adapters.storage.store import Store
    from fraud_retraining.services.delivery import Notifier


@dataclass(frozen=True)
class ResourceBundle:
    """Resources that are used together. Each field is named as the key of its resource.

    An asset or sensor requires `keys()` and takes the values with `of(context)`, instead of one parameter a resource.
    """

    @classmethod
    def keys(cls) -> set[str]:
        """Keys that Dagster has to provide."""
        return {field.name for field in fields(cls)}

    @classmethod
    def of(cls, context: Any) -> Self:
        """The resources of a Dagster context that requires `keys()`."""
        return cls(**{name: getattr(context.resources, name) for name in sorted(cls.keys())})


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
    from fraud_retraining.adapters.storage.lake import EARLIEST, Lake, Naming
    from fraud_retraining.orchestration.partitions import DEFAULT_FIRST_DAY

    # The partitions of a remote lake begin with this day where it cannot be listed in time; both have to agree.
    first_day = DEFAULT_FIRST_DAY if "://" in settings.lake_uri else EARLIEST
    columns = {lake for parts in settings.mapping.lake_names.values() for lake in parts}
    return Lake(
        open_lake_location(settings, settings.lake_uri, columns, settings.mapping.asked_by),
        first_day=settings.lake.first_day or first_day,
        limits=settings.lake.limits,
        naming=Naming("lake", timestamp=settings.columns.timestamp, columns=columns)
        if settings.lake.athena
        else Naming(timestamp=settings.columns.timestamp, columns=columns),
        label_feed=_open_label_feed(settings),
    )


def open_lake_location(
    settings: Settings, uri: str, columns: Collection[str] | None, optional: Collection[str] = ()
) -> "LakeLocation":
    """A folder, an S3 prefix, or a table of Athena, of which `columns` are read (None: all), `optional` ones if it has
    them.

    Raises:
        SettingsError: a table without `lake.kind: athena`, which says how it is queried.
    """
    if not uri.startswith(SCHEME):
        return open_location_of(settings, uri)
    policy = settings.lake.athena
    if policy is None:
        raise SettingsError(
            f"{uri} is a table of Athena, and nothing says how to query it",
            remedy="set lake.kind: athena with its workgroup and output.",
        )
    from fraud_retraining.adapters.storage.athena import AthenaLocation
    from fraud_retraining.adapters.storage.s3 import ObjectCache, S3Location

    if uri != policy.uri:
        policy = policy.at(uri)
    bucket, _, prefix = policy.output.removeprefix("s3://").partition("/")
    s3, transfer, cache = s3_resource(settings), settings.lake.s3.transfer, settings.home / "cache"
    return AthenaLocation(
        policy,
        lambda: athena_client(settings),
        columns=None if columns is None else sorted(columns),
        optional=optional,
        limits=settings.lake.limits,
        output=S3Location(bucket, prefix.strip("/"), s3=s3, cache=cache, policy=transfer),
        cache=ObjectCache(cache, limit=transfer.cache_bytes, keep_seconds=transfer.cache_keep_seconds),
    )


def athena_client(settings: Settings) -> Any:
    """boto3's client of Athena, with the region, profile and attempts of `lake.s3`."""
    import boto3
    from botocore.config import Config

    policy, table = settings.lake.s3, settings.lake.athena
    session = boto3.Session(profile_name=policy.profile, region_name=policy.region)
    limits = Config(
        connect_timeout=policy.transfer.connect_seconds,
        read_timeout=policy.transfer.read_seconds,
        retries={"mode": "standard", "max_attempts": policy.max_attempts},
    )
    return session.client("athena", endpoint_url=table.endpoint if table else None, config=limits)


def job_service(settings: Settings) -> "JobService":
    """The service that runs the jobs which make days.

    Raises:
        SettingsError: no job is submitted by these settings.
    """
    import boto3
    from botocore.config import Config

    from fraud_retraining.adapters.storage.spark_jobs import EmrServerlessJobs, GlueJobs
    from fraud_retraining.domain.data.submit_policy import EmrServerlessPolicy

    submit, policy = settings.engine.submit, settings.lake.s3
    if submit is None:
        raise SettingsError("engine.submit is not set", remedy="set it, or let this process be the driver.")
    session = boto3.Session(region_name=policy.region)
    config = Config(
        connect_timeout=policy.transfer.connect_seconds,
        read_timeout=policy.transfer.read_seconds,
        retries={"mode": "standard", "max_attempts": policy.max_attempts},
    )
    if isinstance(submit, EmrServerlessPolicy):
        return EmrServerlessJobs(submit, session.client("emr-serverless", endpoint_url=submit.endpoint, config=config))
    return GlueJobs(submit, session.client("glue", endpoint_url=submit.endpoint, config=config))


def _open_label_feed(settings: Settings) -> "Lake | None":
    """The label feed, where there is one: folders by the day known, as in the lake."""
    from fraud_retraining.adapters.storage.lake import EARLIEST, Lake, Naming

    labels = settings.labels
    if labels.uri is None:
        return None
    named = (labels.columns.transaction_id, labels.columns.known_at, labels.columns.is_fraud, labels.columns.source)
    columns = {name for name in named if name is not None}
    return Lake(
        open_lake_location(settings, labels.uri, columns),
        first_day=settings.lake.first_day or EARLIEST,
        limits=settings.lake.limits,
        naming=Naming("labels.uri", "label feed", labels.columns.known_at, columns),
    )


def open_store(settings: Settings) -> "Store":
    """The store of partitions and documents; of a segment with its rows of shared days."""
    from fraud_retraining.adapters.storage.store import Store

    location, scratch = open_location_of(settings, settings.store_uri), settings.home / "scratch"
    if not settings.segment and not settings.model.where:
        return Store(location, scratch)
    from fraud_retraining.adapters.storage.model_store import ModelStore

    return ModelStore(
        location,
        scratch,
        own=open_own_location(settings),
        model=settings.segment,
        where=settings.segment_where,
        asked=settings.own_columns,
    )


def open_own_location(settings: Settings) -> "Location":
    """The part of the store that the model has to itself; the whole store, where there is one model."""
    from fraud_retraining.adapters.storage.model_store import own_folder

    folder = f"/{own_folder(settings.segment)}" if settings.segment else ""
    return open_location_of(settings, f"{settings.store_uri}{folder}")


def open_engine(settings: Settings) -> "Engine":
    """A DuckDB engine with the configured limits, or with those that follow from the machine; and Spark, if it is set.

    Raises:
        SettingsError: Spark is set, and PySpark or Java is missing.
    """
    from fraud_retraining.adapters.storage.engine import Engine
    from fraud_retraining.adapters.storage.machine_memory import usable_memory
    from fraud_retraining.domain.data.memory import default_memory_limit

    return Engine(
        memory_limit=settings.engine.memory_limit or default_memory_limit(usable_memory()),
        threads=settings.engine.threads,
        temp_directory=settings.home / "scratch" / "engine",
        # Where jobs are submitted, they are the driver, and neither PySpark nor Java has to be here.
        spark=_open_spark(settings) if settings.engine.kind == "spark" and settings.engine.submit is None else None,
    )


def _open_spark(settings: Settings) -> "SparkDays":
    from fraud_retraining.adapters.storage.spark_days import SparkDays
    from fraud_retraining.adapters.storage.spark_session import SparkOptions, require_spark

    # At once, and not when the first query of a run needs it.
    require_spark()
    engine = settings.engine
    return SparkDays(SparkOptions(engine.master, engine.config, settings.home / "scratch" / "spark"))


def open_ledger(settings: Settings) -> "Ledger":
    """The ledger, its database migrated to the newest schema."""
    from fraud_retraining.adapters.ledger.ledger import Ledger

    private_folder(settings.home)
    # A function and no list: heads are read when the chain is verified, and not by every process that opens the ledger.
    return Ledger(
        settings.ledger_url,
        model=settings.recorded_as,
        pins=lambda: open_heads(settings).heads(),
        signed=open_signed_rows(settings),
    )


def ledger_of(ledger: "Ledger", settings: Settings) -> "Ledger":
    """A ledger that is open already, for the decisions of another model."""
    return ledger_named(ledger, settings.recorded_as)


def ledger_named(ledger: "Ledger", model: str) -> "Ledger":
    """A ledger that is open already, for the decisions of the model of a name."""
    if ledger.model == model:
        return ledger
    found = copy(ledger)
    found.model = model
    return found


def open_signed_rows(settings: Settings) -> "SignedRows":
    """Which rows of the ledger may be acted on; the private key is read when the first row is added."""
    from fraud_retraining.adapters.ledger.signed_rows import SignedRows
    from fraud_retraining.adapters.ledger.signing_keys import read_key

    policy = settings.ledger
    return SignedRows(policy.signers, lambda: read_key(policy.signers, os.environ, policy.key_file))


def require_signing_key(settings: Settings) -> None:
    """Refuse to start a process that writes to the ledger, and could not sign what it writes.

    Raises:
        SettingsError: rows have to be signed, and this process has no key of a signer.
    """
    if settings.ledger.signers:
        open_signed_rows(settings).key()


def require_signing(settings: Settings) -> None:
    """Refuse to start what adds to the ledger where it could not, before hours of work.

    Raises:
        SettingsError: rows have to be signed, and this process has no key of a signer, or signing has not begun.
    """
    require_signing_key(settings)
    if settings.ledger.signers:
        # Any read asks whether signing has begun.
        open_ledger(settings).newest(EventKind.SIGNING_BEGAN, limit=1)


def open_heads(settings: Settings) -> "PinnedHeads":
    """The pinned heads of the ledger's chain, which are kept outside of its database."""
    from fraud_retraining.adapters.ledger.chain_heads import HeadFile, HeadObjects

    if "://" in settings.heads_uri:
        return HeadObjects(open_location_of(settings, settings.heads_uri))
    return HeadFile(Path(settings.heads_uri))


def open_outbox(settings: Settings) -> "Outbox":
    """The outbox of notices and messages, in the ledger's database."""
    from fraud_retraining.adapters.alerts.outbox import Outbox

    private_folder(settings.home)
    return Outbox(settings.ledger_url, model=settings.recorded_as, signed=open_signed_rows(settings))


def open_notifier(settings: Settings) -> "Notifier":
    """The sender to every destination of alerts, with the secrets of this process's environment."""
    from fraud_retraining.services.delivery import Notifier
    from fraud_retraining.services.release_messages import ReleaseMessages

    releases = ReleaseMessages(
        open_ledger(settings),
        open_store(settings),
        settings.promotion,
        settings.alerts.links,
        open_links(settings),
    )
    return Notifier(settings.alerts, settings.home, os.environ, releases)


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
    return ReleaseLinks(secret, settings.promotion.approval_hours, settings.segment)
