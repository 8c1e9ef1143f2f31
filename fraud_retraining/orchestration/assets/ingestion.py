"""Ingestion: the files of the lake as they arrived, and the canonical transactions of each day.

Here: the day assets of the group `ingestion`. Not here: what makes a row or a day acceptable
(`domain/data/ingestion.py`, `domain/data/day_checks.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import Any

import dagster as dg

from fraud_retraining.adapters.days.stored_days import EARLIER, stored_day
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.storage.engine import Engine, lake_day
from fraud_retraining.adapters.storage.lake import DayFiles, Lake
from fraud_retraining.adapters.storage.spark_ingestion import (
    REJECTS,
    SparkIngestion,
    WrittenDay,
    arrival_of,
    tables_of,
)
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.data.identity import Identity, clashes
from fraud_retraining.domain.data.ingestion import BlockedFacts, DayFacts, Ingested, ingest
from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import ColumnDigests, digest
from fraud_retraining.domain.values.errors import DataInvalid, RetrainingError, SettingsError
from fraud_retraining.domain.values.schemas import IS_FRAUD, LABELLED_AT, PROPENSITY, TRANSACTION_ID
from fraud_retraining.orchestration.assets.day_runs import DayParts, DayWork, materialize_days
from fraud_retraining.orchestration.assets.submitted_days import made_by_jobs
from fraud_retraining.orchestration.names import (
    RAW,
    TRANSACTIONS,
)
from fraud_retraining.orchestration.partitions import BACKFILL_DAYS_IN_ONE_RUN, days_of
from fraud_retraining.orchestration.resources import ledger_of, open_registry
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.orchestration.state.inventory import (
    Inventory,
)
from fraud_retraining.orchestration.state.readiness import days_behind, days_of_window
from fraud_retraining.orchestration.state.reproducibility import mark_versions
from fraud_retraining.settings import Settings

GROUP = "ingestion"
LONGEST_REACH = timedelta(days=100)


@dataclass(frozen=True)
class IngestionResources(DayParts):
    """Resources of `transactions`."""

    progress: Progress
    registry: Registry
    ledger: Ledger


def build_assets(partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets of this group."""
    raw = dg.AssetSpec(
        RAW,
        group_name=GROUP,
        partitions_def=partitions,
        kinds={"parquet"},
        description="Files as they arrived in the lake: Parquet under `year=YYYY/month=MM/day=DD/`. Written by others.",
    )

    @dg.asset(
        name=TRANSACTIONS,
        group_name=GROUP,
        partitions_def=partitions,
        deps=[raw],
        backfill_policy=BACKFILL_DAYS_IN_ONE_RUN,
        required_resource_keys=IngestionResources.keys(),
        kinds={"duckdb", "parquet"},
    )
    @retried
    def transactions(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        """Canonical rows of the day: one a transaction id, sorted; rejected rows beside them with the reason."""
        resources = IngestionResources.of(context)
        work = made_by_jobs(
            context,
            TRANSACTIONS,
            lambda: transactions_work(
                days_of(context),
                resources,
                context.log_event,
                partial(_mark_rewritten, resources=resources, warn=context.log.warning),
            ),
            resources.settings,
        )
        yield from materialize_days(context, TRANSACTIONS, work, resources.progress)

    return [raw, transactions]


def _unseen(event: dg.AssetObservation) -> None:
    """For jobs: what arrived is reported by the step that waits for them."""


def _unmarked(done: Sequence[Partition], *, before: Mapping[date, Partition]) -> None:
    """For jobs: models are marked by the step that waits for them."""


def transactions_work(
    days: Sequence[date],
    parts: DayParts,
    log_event: Callable[[dg.AssetObservation], None] = _unseen,
    rewritten: Callable[..., None] = _unmarked,
) -> DayWork:
    """How `transactions` are made; `rewritten` gets the days that were made, and what they were before."""
    ingestion = DayIngestion.of_days(days, parts.lake, parts.store, parts.settings)
    return DayWork(
        refresh=partial(_ingest_day, ingestion=ingestion, resources=parts, log_event=log_event),
        metadata=_metadata,
        ahead=partial(_ingest_ahead, ingestion=ingestion, resources=parts),
        stale=ingestion.stale,
        settle=partial(rewritten, before=ingestion.before),
    )


@dataclass(frozen=True)
class DayIngestion:
    """The days of a run beside the days around them, in the lake and in the store.

    `before` are the stored partitions of the run's own days, `reach` the time in which days are compared.
    """

    arrived: Mapping[date, DayFiles]
    inventory: Inventory
    before: Mapping[date, Partition]
    reach: timedelta
    made: dict[date, WrittenDay | DataInvalid] = field(default_factory=dict)
    """Days that Spark has read, or why it could not; nothing of them is committed."""

    @classmethod
    def of_days(cls, days: Sequence[date], lake: Lake, store: Store, settings: Settings) -> "DayIngestion":
        """Reads lake and store once for all days of a run, `days` in order."""
        reach = reach_of(settings, days[0])
        # Later days too: a day that arrives late is compared with those that are there.
        around = DayRange(start=days[0] - reach, end=days[-1] + reach)
        inventory = Inventory(store, settings, around, made=(TRANSACTIONS,))
        before = {day: record for day in days if (record := inventory.before(day)) is not None}
        return cls(lake.days(around), inventory, before, reach)

    def stale(self, days: Sequence[date]) -> list[date]:
        """Those of some days whose files are new or changed, or that were ingested by other rules."""
        wanted = set(self.inventory.stale_transactions(self.arrived))
        return [day for day in days if day in wanted]


def _ingest_day(
    day: date,
    *,
    ingestion: DayIngestion,
    resources: DayParts,
    log_event: Callable[[dg.AssetObservation], None],
) -> Partition:
    """The partition of a day; a day that is refused is remembered, so that it is not tried again until it changes."""
    files = _arrived(resources.lake, ingestion.arrived, day)
    # Before the day is read: also a delivery that is refused has been seen.
    log_event(_observation(day, files))
    try:
        beside = ingestion.inventory.beside(day, ingestion.arrived, ingestion.reach)
        way = LakeToStore(resources.settings.mapping, resources.lake, resources.store, resources.engine, ingestion.made)
        return refresh_transactions(DayInput(day, files, beside), ingestion.inventory, way)
    except DataInvalid as error:
        ingestion.inventory.refuse(day, files, "; ".join([error.what, *error.culprits]))
        raise


def _mark_rewritten(
    done: Sequence[Partition],
    *,
    before: Mapping[date, Partition],
    resources: IngestionResources,
    warn: Callable[[str], None],
) -> None:
    """Marks model versions that were trained on a day whose rows are different now."""
    rewritten = [new.day for new in done if new.day in before and before[new.day].digest != new.digest]
    if not rewritten:
        return
    settings, store, ledger = resources.settings, resources.store, resources.ledger
    if not settings.models:
        mark_versions(settings, store, resources.registry, ledger, rewritten)
        return
    for one in settings.each_model():
        try:
            mark_versions(one, store, open_registry(one), ledger_of(ledger, one), rewritten)
        # The days stand, for all models; the next retrain of this one marks its versions, or fails by itself.
        except RetrainingError as error:
            warn(f"versions of {one.segment} are not marked by days that were rewritten: {error}")


@dataclass(frozen=True)
class LakeToStore:
    """The way of rows from the lake into the store, under a mapping of columns."""

    mapping: LakeMapping
    lake: Lake
    store: Store
    engine: Engine
    made: dict[date, WrittenDay | DataInvalid] = field(default_factory=dict)


@dataclass(frozen=True)
class DayInput:
    """The files of a day, and how the days beside it write their keys and categories."""

    day: date
    files: DayFiles
    beside: Mapping[date, Identity]


def _arrived(lake: Lake, arrived: Mapping[date, DayFiles], day: date) -> DayFiles:
    if day not in arrived:
        raise DataInvalid(
            f"no files of {day} have arrived in {lake.uri}",
            remedy="deliver the day, or leave it out; validation.max_missing_days says how many a window may miss.",
        )
    return arrived[day]


def refresh_transactions(of: DayInput, inventory: Inventory, resources: LakeToStore) -> Partition:
    """The partition of a day, made again only if its files, the mapping or the code changed; added to `inventory`."""
    known = inventory.transactions
    inputs = inventory.transactions_inputs(of.files)
    if of.day not in known or known[of.day].inputs != inputs:
        known[of.day] = _ingest(of, inputs, inventory, resources)
    return known[of.day]


def reach_of(settings: Settings, day: date) -> timedelta:
    """Time back to the earliest day that a window or a feature joins with a day; at most `LONGEST_REACH`."""
    try:
        joined = days_of_window(settings, day).needed
    except SettingsError:  # a day before the start of an expanding window is in none
        joined = (day,)
    return min(day - days_behind(settings, joined)[0], LONGEST_REACH)


def _ingest(of: DayInput, inputs: dict[str, str], inventory: Inventory, resources: LakeToStore) -> Partition:
    written = resources.made.pop(of.day, None)
    if isinstance(written, DataInvalid):
        raise written
    store, day = resources.store, of.day
    if written is not None:
        _require_fit(day, written.facts, inventory, of.beside)
        whole, facts = _day_facts(written.facts, written.columns, inventory.before(day), inputs)
        return store.commit(TRANSACTIONS, day, written.files, digest=whole, inputs=inputs, facts=facts)
    result = _ingest_here(of, resources)
    _require_fit(day, result.facts, inventory, of.beside)
    whole, facts = _day_facts(result.facts, ColumnDigests.of(result.accepted), inventory.before(day), inputs)
    return store.write(TRANSACTIONS, day, tables_of(result), digest=whole, inputs=inputs, facts=facts)


def _ingest_here(of: DayInput, resources: LakeToStore) -> Ingested:
    """The rows of a day by DuckDB, in this process."""
    mapping, delivery = resources.mapping, resources.lake.fetch(of.files)
    source = lake_day(delivery.paths, mapping, _types_beside(of.beside))
    arrival = arrival_of(of.files, delivery, source)
    query = resources.engine.lake_query(TRANSACTIONS, of.day, source, mapping)
    return ingest(query, mapping, arrival=arrival, ignored=source.ignored, part_types=source.part_types)


def _ingest_ahead(days: Sequence[date], *, ingestion: DayIngestion, resources: DayParts) -> None:
    """Reads the days that are stale on Spark, where that is the engine; nothing is committed."""
    spark, inventory = resources.engine.spark, ingestion.inventory
    stale = {day: ingestion.arrived[day] for day in ingestion.stale(days)}
    if spark is None or not stale:
        return
    beside = {day: _types_beside(inventory.beside(day, ingestion.arrived, ingestion.reach)) for day in stale}
    way = SparkIngestion(spark, resources.lake, resources.store, resources.settings.mapping, TRANSACTIONS)
    ingestion.made.update(way.read(stale, beside))


def _day_facts(
    found: DayFacts, digests: ColumnDigests, before: Partition | None, inputs: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """Digest and facts of a day."""
    columns = list(digests.columns)
    # Two digests beside the whole: scores depend on the facts alone, performance on the labels.
    labels = [name for name in (IS_FRAUD, LABELLED_AT) if name in columns]
    lacking = sorted(found.unusable_columns)
    whole = _with_lacking(digests.table(), lacking)
    return whole, {
        **found.model_dump(mode="json"),
        "facts": _with_lacking(digests.table(name for name in columns if name not in labels), lacking),
        # Decisions are among the facts as well: label events of a feed are counted by them.
        "labels": digests.table([TRANSACTION_ID, *labels, *(name for name in (PROPENSITY,) if name in columns)]),
        # Earlier digests stay with the day: models that were trained on them can be named as irreproducible.
        EARLIER: _earlier_digests(before, inputs, whole),
    }


def _with_lacking(of_rows: str, lacking: Sequence[str]) -> str:
    """The digest of a day's rows; a day that lacks a column is another one than a day in which it is null."""
    return digest([of_rows, lacking]) if lacking else of_rows


def _types_beside(beside: Mapping[date, Identity]) -> dict[str, str]:
    """The types of keys on other days, for a column that is empty on this day; later days win."""
    return {name: kind for day in sorted(beside) for name, kind in beside[day].key_types.items()}


def _require_fit(day: date, facts: DayFacts, inventory: Inventory, beside: Mapping[date, Identity]) -> None:
    """Refuses a day whose keys or categories are written in another form than on the days that a window joins with it.

    Raises:
        DataInvalid: names each column, and what to do.
    """
    own = Identity(key_types=facts.key_types, spellings=facts.spellings, samples=facts.samples)
    found = clashes(own, beside)
    if not found:
        return
    inventory.clashing[day] = sorted({clash.day for clash in found})
    first = min(beside)
    raise DataInvalid(
        "keys or categories are not written as on other days, so they would not meet them",
        culprits=[clash.words(inventory.lake_column(clash.column)) for clash in found],
        remedy=f"deliver the day as the others are; or, if this is how it is to be from now on, deliver every day from "
        f"{first} on again in this form (lake.first_day leaves older ones out).",
    )


def _earlier_digests(before: Partition | None, inputs: Mapping[str, str], digest: str) -> dict[str, Any]:
    if before is None:
        return {}
    same_files = before.inputs["source"] == inputs["source"]
    return stored_day(before).followed_by(digest, same_files=same_files).model_dump(mode="json", exclude={"digest"})


def _observation(day: date, files: DayFiles) -> dg.AssetObservation:
    return dg.AssetObservation(
        RAW,
        partition=day.isoformat(),
        metadata={"files": len(files.files), "bytes": sum(f.size for f in files.files), "version": files.version},
        tags={"dagster/data_version": files.version, "dagster/data_version_is_user_provided": "true"},
    )


def _metadata(partition: Partition) -> dict[str, Any]:
    facts = partition.facts
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": facts["rows"],
        "frauds": facts["frauds"],
        "labelled": facts["labelled"],
        "rejected": sum(facts["rejects"].values()),
        "day_digest": partition.digest,
    }
    if facts["rejects"]:
        metadata["rejects"] = dg.MetadataValue.md(
            "\n".join(f"- {why}: {count}" for why, count in facts["rejects"].items())
        )
        metadata["rejects_file"] = partition.files[REJECTS].path
    if (blocked := BlockedFacts.of_days([facts])) is not None:
        metadata |= blocked.model_dump() | {"control_group": blocked.summary}
    if facts.get("unread_files"):
        metadata["unread_files"] = ", ".join(facts["unread_files"])
    if facts.get("unusable_columns"):
        found = [f"- {name} {why}" for name, why in facts["unusable_columns"].items()]
        metadata["lacks_for_single_models"] = dg.MetadataValue.md("\n".join(found))
    if facts["ignored_columns"]:
        metadata["ignored_columns"] = ", ".join(facts["ignored_columns"])
    return metadata
