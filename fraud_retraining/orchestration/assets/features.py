"""Features: the sufficient statistics of each entity and day, and the point-in-time features of each transaction.

Here: the day assets of the group `features`. Not here: what a feature is (`domain/features/definitions.py`).
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import ibis.expr.types as ir

from fraud_retraining.adapters.storage.engine import Engine, PreparedQuery
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.data.refused_days import ranges
from fraud_retraining.domain.features import point_in_time as features
from fraud_retraining.domain.features.partition_inputs import label_days_lookback, lookback
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.labels.day_counts import label_facts
from fraud_retraining.domain.values.digests import ColumnDigests, digest, table_digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.assets.day_runs import DayWork, materialize_days
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
        inventory = Inventory(store, settings, days_of(context), made=(ENTITY_DAYS,))
        refresh = partial(refresh_entity_days, store=store, engine=engine, inventory=inventory)
        yield from materialize_days(context, ENTITY_DAYS, DayWork(refresh, _entity_metadata), progress)

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
        days = days_of(context)
        inventory = Inventory(
            store, settings, {*days, *(d for day in days for d in lookback(plan, day))}, made=(FEATURES,)
        )
        refresh = partial(refresh_features, store=store, engine=engine, inventory=inventory)
        yield from materialize_days(context, FEATURES, DayWork(refresh, _features_metadata), progress)

    return [entity_days, transaction_features]


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


def refresh_entity_days(day: date, *, store: Store, engine: Engine, inventory: Inventory) -> Partition:
    """The sums of a day, made again only if something that they are made of changed."""
    require_checked(inventory, [day])
    inputs = inventory.entity_days_inputs(day)
    known = inventory.entity_days.get(day)
    if known is not None and known.inputs == inputs:
        return known
    plan = inventory.plan
    rows = store.paths([inventory.transactions[day]], "rows")
    tables = {
        entity: engine.prepared(
            PreparedQuery(f"{ENTITY_DAYS}_{entity}", _sums_of(plan, entity), recipe=inventory.plan_digest),
            day,
            {TODAY: rows},
        )
        for entity in plan.entities
    }
    # Facts and labels apart: a late label changes what features with labels read, and nothing else.
    columns = [ColumnDigests.of(table) for table in tables.values()]
    facts = {
        "facts": digest([of.table(name for name in of.columns if name not in LABEL_STATISTICS) for of in columns]),
        "labels": digest([of.table(["key", *LABEL_STATISTICS]) for of in columns]),
        "keys": {entity: table.num_rows for entity, table in tables.items()},
    }
    whole = digest([facts["facts"], facts["labels"]])
    return store.write(ENTITY_DAYS, day, tables, digest=whole, inputs=inputs, facts=facts)


def _sums_of(plan: FeaturePlan, entity: str) -> Callable[[ir.DateScalar, Mapping[str, ir.Table]], ir.Table]:
    def build(day: ir.DateScalar, tables: Mapping[str, ir.Table]) -> ir.Table:
        return features.entity_days(tables[TODAY], entity, plan, day).order_by("key").mutate(day=day)

    return build


def refresh_features(day: date, *, store: Store, engine: Engine, inventory: Inventory) -> Partition:
    """The features of a day, made again only if something that they are made of changed."""
    require_checked(inventory, [*lookback(inventory.plan, day), day])
    require_labels(inventory, day)
    inputs = inventory.features_inputs(day)
    known = inventory.features.get(day)
    if known is not None and known.inputs == inputs:
        return known
    plan = inventory.plan
    query = PreparedQuery(
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
        recipe=inventory.plan_digest,
    )
    table = engine.prepared(query, day, _tables(day, store, inventory))
    facts = {"rows": table.num_rows, **label_facts(table), "columns": table.column_names}
    return store.write(FEATURES, day, {"rows": table}, digest=table_digest(table), inputs=inputs, facts=facts)


def _tables(day: date, store: Store, inventory: Inventory) -> dict[str, list[Path]]:
    """The files that the features of `day` read; inputs without any stored day are left out."""
    needed = inventory.plan.lookback(day)
    tables = {TODAY: store.paths([inventory.transactions[day]], "rows")}
    if needed.yesterday in inventory.transactions:
        tables[YESTERDAY] = store.paths([inventory.transactions[needed.yesterday]], "rows")
    return tables | history_tables(day, store, inventory)


def history_tables(day: date, store: Store, inventory: Inventory) -> dict[str, list[Path]]:
    """The files of whole days before `day` that its features read, by entity; their reports under `REPORTS`."""
    tables = {}
    for entity, days in inventory.plan.lookback(day).entity_days.items():
        # A day that never arrived is a day without transactions; how many may be missing, the checks of the window say.
        present = [inventory.entity_days[earlier] for earlier in days if earlier in inventory.entity_days]
        if present:
            tables[entity] = store.paths(present, entity)
    reports = [inventory.entity_label_days[known] for known in _label_days(inventory, day)]
    for entity, policy in inventory.plan.entities.items():
        if reports and policy.fraud_share:
            tables[REPORTS.format(entity)] = store.paths(reports, entity)
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
