"""Features: the sufficient statistics of each entity and day, and the point-in-time features of each transaction.

Here: the day assets of the group `features`. Not here: what a feature is (`domain/features/definitions.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import dagster as dg
import ibis.expr.types as ir
import pyarrow as pa

from fraud_retraining.adapters.storage.engine import Engine, PreparedQuery
from fraud_retraining.adapters.storage.spark_days import Finish
from fraud_retraining.adapters.storage.spark_parts import SparkPart, put_part, require_all_rows
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.data.refused_days import ranges
from fraud_retraining.domain.features import point_in_time as features
from fraud_retraining.domain.features.partition_inputs import label_days_lookback, lookback
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.labels.day_counts import label_facts
from fraud_retraining.domain.values.days import Day, by_day, day_of
from fraud_retraining.domain.values.digests import ColumnDigests, digest, table_digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import AMOUNT, IS_FRAUD, LABELLED_AT, TIMESTAMP, TRANSACTION_ID
from fraud_retraining.orchestration.assets.day_runs import DayWork, materialize_days
from fraud_retraining.orchestration.assets.submitted_days import made_by_jobs
from fraud_retraining.orchestration.names import (
    ENTITY_DAYS,
    ENTITY_LABEL_DAYS,
    FEATURES,
    TRANSACTIONS,
)
from fraud_retraining.orchestration.partitions import BACKFILL_DAYS_IN_ONE_RUN, days_of, feature_mappings
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.orchestration.state.inventory import (
    Inventory,
)
from fraud_retraining.settings import Settings

GROUP = "features"
TODAY, YESTERDAY = "__today", "__yesterday"
LABEL_STATISTICS = ("labelled", "frauds")
File = TypeVar("File")
FilesOf: TypeAlias = Callable[[Sequence[Partition], str], list[File]]
"""Gives the files of one table, one a partition: local ones (`Store.paths`), or as a worker fetches them."""
REPORTS = "__reports_{}"
"""Name of the table of an entity's label days; an entity cannot have such a name."""


def build_assets(partitions: dg.PartitionsDefinition, plan: FeaturePlan) -> list[dg.AssetsDefinition]:
    """The assets of this group."""
    mappings = feature_mappings(plan)

    @dg.asset(
        name=ENTITY_DAYS,
        group_name=GROUP,
        partitions_def=partitions,
        deps=[TRANSACTIONS],
        backfill_policy=BACKFILL_DAYS_IN_ONE_RUN,
        kinds={"duckdb", "parquet"},
    )
    @retried
    def entity_days(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
        engine: dg.ResourceParam[Engine],
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.MaterializeResult]:
        """Per entity and day: count, sums, maximum, last time, labels and frauds; later days read only this."""
        work = made_by_jobs(
            context, ENTITY_DAYS, lambda: entity_days_work(days_of(context), settings, store, engine), settings
        )
        yield from materialize_days(context, ENTITY_DAYS, work, progress)

    @dg.asset(
        name=FEATURES,
        group_name=GROUP,
        partitions_def=partitions,
        deps=[
            dg.AssetDep(TRANSACTIONS, partition_mapping=mappings[TRANSACTIONS]),
            dg.AssetDep(entity_days, partition_mapping=mappings[ENTITY_DAYS]),
            *(
                [dg.AssetDep(ENTITY_LABEL_DAYS, partition_mapping=mappings[ENTITY_LABEL_DAYS])]
                if plan.labels_as_known
                else []
            ),
        ],
        backfill_policy=BACKFILL_DAYS_IN_ONE_RUN,
        kinds={"duckdb", "parquet"},
    )
    @retried
    def transaction_features(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
        engine: dg.ResourceParam[Engine],
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.MaterializeResult]:
        """Point-in-time features of every transaction of the day: nothing from at or after it."""
        work = made_by_jobs(
            context, FEATURES, lambda: features_work(days_of(context), settings, store, engine), settings
        )
        yield from materialize_days(context, FEATURES, work, progress)

    return [entity_days, transaction_features]


def entity_days_work(days: Sequence[date], settings: Settings, store: Store, engine: Engine) -> DayWork:
    """How `entity_days` are made."""
    makers = EntityDays(store, engine, Inventory(store, settings, days, made=(ENTITY_DAYS,)))
    return DayWork(makers.refresh, _entity_metadata, ahead=makers.ahead, stale=makers.stale)


def features_work(days: Sequence[date], settings: Settings, store: Store, engine: Engine) -> DayWork:
    """How `transaction_features` are made."""
    read = {*days, *(earlier for day in days for earlier in lookback(settings.feature_plan, day))}
    makers = Features(store, engine, Inventory(store, settings, read, made=(FEATURES,)))
    return DayWork(makers.refresh, _features_metadata, ahead=makers.ahead, stale=makers.stale)


def require_checked(inventory: Inventory, days: list[date]) -> None:
    """Refuses the last of some days where it was not ingested, or one of them did not pass its checks."""
    day = days[-1]
    if day not in inventory.transactions:
        raise DataInvalid(f"transactions of {day} have not been ingested", remedy=f"ingest {day} first.")
    problems = inventory.unchecked(days)
    if problems:
        raise DataInvalid(
            f"features of {day} need days that did not pass their checks",
            culprits=problems,
            remedy="deliver those days again, or take them out of the lake.",
            days=inventory.unfit(days),
        )


@dataclass
class EntityDays:
    """Makes `entity_days`: each day when its turn comes, or the days of a run together on Spark."""

    store: Store
    engine: Engine
    inventory: Inventory
    made: dict[date, dict[str, SparkPart]] = field(default_factory=dict)

    def stale(self, days: Sequence[date]) -> list[date]:
        """Those of some days that have to be made, and can be."""
        return [day for day in days if self._is_stale(day)]

    def ahead(self, days: Sequence[date]) -> None:
        """Computes the days that are stale on Spark, where that is the engine; nothing is committed."""
        spark, inventory = self.engine.spark, self.inventory
        stale = self.stale(days)
        if spark is None or not stale:
            return
        files = {day: {TODAY: self.store.objects([inventory.transactions[day]], "rows")} for day in stale}
        for entity in inventory.plan.entities:
            finish = Finish(("key",), partial(put_part, store=self.store, asset=ENTITY_DAYS, name=entity))
            for day, part in spark.make(self._query(entity), {TODAY: self.store.location}, files, finish).items():
                self.made.setdefault(day, {})[entity] = part

    def refresh(self, day: date) -> Partition:
        """The partition of a day, made again only if what it is made of changed."""
        inventory, store = self.inventory, self.store
        require_checked(inventory, [day])
        inputs = inventory.entity_days_inputs(day)
        known = inventory.entity_days.get(day)
        if known is not None and known.inputs == inputs:
            return known
        parts = self.made.pop(day, None)
        if parts is not None:
            whole, facts = _entity_facts({entity: part.columns for entity, part in parts.items()})
            files = {entity: part.file for entity, part in parts.items()}
            return store.commit(ENTITY_DAYS, day, files, digest=whole, inputs=inputs, facts=facts)
        rows = {TODAY: store.paths([inventory.transactions[day]], "rows")}
        tables = {entity: self.engine.prepared(self._query(entity), day, rows) for entity in inventory.plan.entities}
        whole, facts = _entity_facts({entity: ColumnDigests.of(table) for entity, table in tables.items()})
        return store.write(ENTITY_DAYS, day, tables, digest=whole, inputs=inputs, facts=facts)

    def _query(self, entity: str) -> PreparedQuery:
        plan = self.inventory.plan
        read = [entity, TIMESTAMP, AMOUNT, IS_FRAUD, *([LABELLED_AT] if plan.labelled_at else [])]
        return PreparedQuery(
            f"{ENTITY_DAYS}_{entity}",
            _sums_of(plan, entity),
            recipe=self.inventory.plan_digest,
            table_columns={TODAY: read},
        )

    def _is_stale(self, day: date) -> bool:
        known = self.inventory.entity_days.get(day)
        return not self.inventory.unchecked([day]) and (
            known is None or known.inputs != self.inventory.entity_days_inputs(day)
        )


def _entity_facts(columns: Mapping[str, ColumnDigests]) -> tuple[str, dict[str, Any]]:
    """Digest and facts of a day, from those of its tables by entity."""
    # Facts and labels apart: a late label changes what features with labels read, and nothing else.
    facts = {
        "facts": digest(
            [of.table(name for name in of.columns if name not in LABEL_STATISTICS) for of in columns.values()]
        ),
        "labels": digest([of.table(["key", *LABEL_STATISTICS]) for of in columns.values()]),
        "keys": {entity: of.rows for entity, of in columns.items()},
    }
    return digest([facts["facts"], facts["labels"]]), facts


def _sums_of(plan: FeaturePlan, entity: str) -> Callable[[Day, Mapping[str, ir.Table]], ir.Table]:
    def build(day: Day, tables: Mapping[str, ir.Table]) -> ir.Table:
        found = features.entity_days(tables[TODAY], entity, plan, day)
        ordered = found if by_day(day) else found.order_by("key")
        return ordered.mutate(day=day_of(day, ordered))

    return build


@dataclass
class Features:
    """Makes `transaction_features`: each day when its turn comes, or the days of a run together on Spark."""

    store: Store
    engine: Engine
    inventory: Inventory
    made: dict[date, SparkPart] = field(default_factory=dict)

    def stale(self, days: Sequence[date]) -> list[date]:
        """Those of some days that have to be made, and can be."""
        return [day for day in days if self._is_stale(day)]

    def ahead(self, days: Sequence[date]) -> None:
        """Computes the days that are stale on Spark, where that is the engine; nothing is committed."""
        spark = self.engine.spark
        stale = self.stale(days)
        if spark is None or not stale:
            return
        files = {day: _tables(day, self.store.objects, self.inventory) for day in stale}
        places = {name: self.store.location for tables in files.values() for name in tables}
        work = partial(put_part, store=self.store, asset=FEATURES, name="rows", facts_of=_features_facts)
        self.made = spark.make(self._query, places, files, Finish((TIMESTAMP, TRANSACTION_ID), work))
        for day, part in self.made.items():
            require_all_rows(part, self.inventory.transactions[day])

    def refresh(self, day: date) -> Partition:
        """The partition of a day, made again only if what it is made of changed."""
        inventory, store = self.inventory, self.store
        require_checked(inventory, [*lookback(inventory.plan, day), day])
        require_labels(inventory, day)
        inputs = inventory.features_inputs(day)
        known = inventory.features.get(day)
        if known is not None and known.inputs == inputs:
            return known
        part = self.made.pop(day, None)
        if part is not None:
            whole = part.columns.table()
            return store.commit(FEATURES, day, {"rows": part.file}, digest=whole, inputs=inputs, facts=part.facts)
        paths: dict[str, list[Path]] = _tables(day, store.paths, inventory)
        table = self.engine.prepared(self._query, day, paths)
        facts = _features_facts(table)
        return store.write(FEATURES, day, {"rows": table}, digest=table_digest(table), inputs=inputs, facts=facts)

    @property
    def _query(self) -> PreparedQuery:
        plan = self.inventory.plan
        return PreparedQuery(
            FEATURES,
            lambda this_day, tables: features.transaction_features(
                plan,
                this_day,
                today=tables[TODAY],
                yesterday=tables.get(YESTERDAY),
                entity_days={entity: tables[entity] for entity in plan.entities if entity in tables},
                entity_label_days={
                    entity: tables[name] for entity in plan.entities if (name := REPORTS.format(entity)) in tables
                },
            ),
            recipe=self.inventory.plan_digest,
            table_columns={YESTERDAY: [TRANSACTION_ID, TIMESTAMP, AMOUNT, *plan.entities]},
            read_often=frozenset({TODAY}),
            spread_by=dict.fromkeys((*plan.entities, *map(REPORTS.format, plan.entities)), "key"),
        )

    def _is_stale(self, day: date) -> bool:
        inventory = self.inventory
        try:
            require_checked(inventory, [*lookback(inventory.plan, day), day])
            require_labels(inventory, day)
        except DataInvalid:
            # The day itself is refused with this reason, when its turn comes.
            return False
        known = inventory.features.get(day)
        return known is None or known.inputs != inventory.features_inputs(day)


def _features_facts(table: pa.Table) -> dict[str, Any]:
    return {"rows": table.num_rows, **label_facts(table), "columns": table.column_names}


def _tables(day: date, files: FilesOf[File], inventory: Inventory) -> dict[str, list[File]]:
    """The files that the features of `day` read; inputs without any stored day are left out."""
    needed = inventory.plan.lookback(day)
    tables = {TODAY: files([inventory.transactions[day]], "rows")}
    if needed.yesterday in inventory.transactions:
        tables[YESTERDAY] = files([inventory.transactions[needed.yesterday]], "rows")
    return tables | history_tables(day, files, inventory)


def history_tables(day: date, files: FilesOf[File], inventory: Inventory) -> dict[str, list[File]]:
    """The files of whole days before `day` that its features read, by entity; their reports under `REPORTS`."""
    tables = {}
    for entity, days in inventory.plan.lookback(day).entity_days.items():
        # A day that never arrived is a day without transactions; how many may be missing, the checks of the window say.
        present = [inventory.entity_days[earlier] for earlier in days if earlier in inventory.entity_days]
        if present:
            tables[entity] = files(present, entity)
    reports = [inventory.entity_label_days[known] for known in _label_days(inventory, day)]
    for entity, policy in inventory.plan.entities.items():
        if reports and policy.fraud_share:
            tables[REPORTS.format(entity)] = files(reports, entity)
    return tables


def _label_days(inventory: Inventory, day: date) -> list[date]:
    """Days whose labels the features of `day` read, as far as they have been made."""
    return [known for known in label_days_lookback(inventory.plan, day) if known in inventory.entity_label_days]


def require_labels(inventory: Inventory, day: date) -> None:
    """Refuses a day whose labels are not all there: they would be read as days without a report.

    Raises:
        DataInvalid: names the days known whose labels have not been made.
    """
    known = [one for one in label_days_lookback(inventory.plan, day) if one in inventory.transactions]
    missing = [one for one in known if one not in inventory.entity_label_days]
    if missing:
        raise DataInvalid(
            f"features of {day} need labels that have not been made",
            culprits=[f"labels known on {ranges(missing)}"],
            remedy="materialize labels and entity_label_days of those days, or run the job `ingest`.",
            days=missing,
        )


def _entity_metadata(partition: Partition) -> dict[str, Any]:
    return {**{f"{entity}_keys": keys for entity, keys in partition.facts["keys"].items()}, "digest": partition.digest}


def _features_metadata(partition: Partition) -> dict[str, Any]:
    labelled = sum(count for _, count, _ in partition.facts["label_days"])
    frauds = sum(count for _, _, count in partition.facts["label_days"])
    return {
        "dagster/partition_row_count": partition.facts["rows"],
        "labelled": labelled,
        "frauds": frauds,
        "digest": partition.digest,
    }
