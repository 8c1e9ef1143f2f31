"""Online state: what the scorer knows of every entity when a day begins.

Here: the asset `online_state` of the group `serving`. Its partition D holds the whole days up to D, for transactions
of D+1: the statistics that `transaction_features`[D+1] joins, and the transactions of D for windows of 24 hours. Not
here: the statistics (`domain/features/point_in_time.py`) and reading them to score (`adapters/online/`).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any

import dagster as dg
import ibis.expr.types as ir
import pyarrow.parquet as pq

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.online.published_state import RECENT, is_recorded, publish
from fraud_retraining.adapters.storage.engine import Engine, PreparedQuery
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.data.refused_days import ranges
from fraud_retraining.domain.features.partition_inputs import lookback
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.point_in_time import entity_state
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest, table_digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import AMOUNT, TIMESTAMP, TRANSACTION_ID
from fraud_retraining.orchestration.assets.day_runs import DayWork, materialize_days
from fraud_retraining.orchestration.assets.features import (
    REPORTS,
    history_tables,
    require_checked,
    require_labels,
)
from fraud_retraining.orchestration.names import ENTITY_DAYS, ENTITY_LABEL_DAYS, ONLINE_STATE, TRANSACTIONS
from fraud_retraining.orchestration.partitions import BACKFILL_DAYS_IN_ONE_RUN, days_of, state_mappings
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.orchestration.state.inventory import REPLACED, Inventory
from fraud_retraining.settings import Settings

GROUP = "serving"
DAY = timedelta(days=1)


def build_assets(partitions: dg.PartitionsDefinition, plan: FeaturePlan) -> list[dg.AssetsDefinition]:
    """The assets of this group."""
    mappings = state_mappings(plan)
    read = [TRANSACTIONS, ENTITY_DAYS, *([ENTITY_LABEL_DAYS] if plan.labels_as_known else [])]

    @dg.asset(
        name=ONLINE_STATE,
        group_name=GROUP,
        partitions_def=partitions,
        deps=[dg.AssetDep(name, partition_mapping=mappings[name]) for name in read],
        backfill_policy=BACKFILL_DAYS_IN_ONE_RUN,
        output_required=False,
        kinds={"duckdb", "parquet"},
    )
    @retried
    def online_state(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[Store],
        ledger: dg.ResourceParam[Ledger],
        engine: dg.ResourceParam[Engine],
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.MaterializeResult]:
        """What features of the next day read of the past of each entity: published for the scorer, newest day first."""
        alone = context.run.asset_selection == {dg.AssetKey(ONLINE_STATE)}
        # Nobody scores the days of the past: of a range that is ingested, the last day is published.
        days = days_of(context) if alone else days_of(context)[-1:]
        behind = {earlier for day in days for earlier in lookback(plan, day + DAY)}
        inventory = Inventory(store, settings, {*days, *behind})
        arrived = lake.days(DayRange(start=min(behind | {*days}), end=max(days)))
        pending = [day for day in arrived if day in behind and day not in inventory.transactions]
        if pending and not alone:
            # The ingest of a day by itself is no mistake, only nothing to score with.
            context.log.warning(f"not made, because {_pending(pending)}")
            days = []
        refresh = partial(
            refresh_state, store=store, ledger=ledger, engine=engine, inventory=inventory, pending=pending
        )
        work = DayWork(refresh, _metadata, partial(_publish, store, ledger))
        yield from materialize_days(context, ONLINE_STATE, work, progress, days)

    return [online_state]


def _publish(store: Store, ledger: Ledger, made: Sequence[Partition]) -> None:
    for partition in made:
        publish(store, ledger, partition)


def _pending(days: Sequence[date]) -> str:
    return f"features look back on days that have arrived and are not ingested: {ranges(days)}"


def refresh_state(
    day: date,
    *,
    store: Store,
    ledger: Ledger,
    engine: Engine,
    inventory: Inventory,
    pending: Collection[date] = (),
) -> Partition:
    """The state after a day, made again if something that it is made of changed, or the ledger does not know it.

    `pending` are days that have arrived and are not ingested: a state without one that it looks back on would score as
    if nothing had happened on it.
    """
    plan = inventory.plan
    if lacking := sorted({*pending} & {*lookback(plan, day + DAY)}):
        raise DataInvalid(
            f"{ONLINE_STATE} of {day} cannot be made: {_pending(lacking)}",
            remedy=f"fraud-retraining ingest --from {lacking[0]} --to {day}",
            days=[day],
        )
    require_checked(inventory, [*lookback(plan, day + DAY), day])
    require_labels(inventory, day + DAY)
    if day not in inventory.entity_days:
        raise DataInvalid(f"{ENTITY_DAYS} of {day} have not been made", remedy=f"ingest {day} first.")
    inputs = inventory.online_state_inputs(day)
    known = inventory.online_states.get(day)
    # Without its event it was made by a run that was killed, or by somebody else.
    if known is not None and known.inputs == inputs and is_recorded(ledger, known):
        return known
    sources = history_tables(day + DAY, store.paths, inventory)
    tables = {
        entity: engine.prepared(
            PreparedQuery(f"{ONLINE_STATE}_{entity}", _state_of(plan, entity), recipe=inventory.plan_digest),
            day + DAY,
            {name: files for name, files in sources.items() if name in (entity, REPORTS.format(entity))},
        )
        for entity in plan.entities
    }
    (rows,) = store.paths([inventory.transactions[day]], "rows")
    tables[RECENT] = pq.read_table(rows, columns=[TRANSACTION_ID, TIMESTAMP, AMOUNT, *plan.entities])
    facts = {
        "feature_version": inventory.recipes.feature_version,
        "key_types": inventory.key_types,
        "keys": {entity: tables[entity].num_rows for entity in plan.entities},
        "transactions": tables[RECENT].num_rows,
    }
    whole = digest([table_digest(table) for table in tables.values()])
    if known is not None:
        # Scorers may have loaded them: it is a reason why they computed other features than the batch.
        replaced = [*known.facts.get(REPLACED, ()), known.digest]
        if others := [one for one in dict.fromkeys(replaced) if one != whole]:
            facts[REPLACED] = others
    return store.write(ONLINE_STATE, day, tables, digest=whole, inputs=inputs, facts=facts)


def _state_of(plan: FeaturePlan, entity: str) -> Callable[[ir.DateScalar, Mapping[str, ir.Table]], ir.Table]:
    def build(next_day: ir.DateScalar, tables: Mapping[str, ir.Table]) -> ir.Table:
        found = entity_state(plan, next_day, entity, tables[entity], tables.get(REPORTS.format(entity)))
        # In the order of their keys, which is how the scorer finds them.
        return found.order_by(found.columns[0])

    return build


def _metadata(partition: Partition) -> dict[str, Any]:
    facts = partition.facts
    return {
        **{f"{entity}_keys": count for entity, count in facts["keys"].items()},
        "transactions": facts["transactions"],
        "feature_version": facts["feature_version"],
        "digest": partition.digest,
    }
