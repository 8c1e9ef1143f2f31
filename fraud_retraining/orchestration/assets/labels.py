"""Labels: what became known of transactions on a day, from a label feed or from the transactions themselves.

Here: the assets `labels` and `entity_label_days`, by the day known; they exist where labels are used as known. Not
here: which labels count (`domain/labels/events.py`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import dagster as dg
import ibis.expr.types as ir
import pyarrow as pa

from fraud_retraining.adapters.storage.engine import Engine, PreparedQuery, read_schemas
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.data.lake_columns import TEXT
from fraud_retraining.domain.labels.events import (
    LabelDay,
    carried_events,
    entity_label_days,
    in_order,
    judged_events,
    settled_events,
    split_events,
)
from fraud_retraining.domain.labels.feed import canonical_feed, check_feed
from fraud_retraining.domain.labels.feed_health import shares_within
from fraud_retraining.domain.values.digests import digest, table_digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import PROPENSITY, TRANSACTION_ID
from fraud_retraining.orchestration.assets.day_runs import DayWork, materialize_days
from fraud_retraining.orchestration.names import ENTITY_LABEL_DAYS, LABELS, TRANSACTIONS
from fraud_retraining.orchestration.partitions import BACKFILL_DAYS_IN_ONE_RUN, days_of, looking_back
from fraud_retraining.orchestration.resources import ResourceBundle
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.orchestration.state.label_days import LabelInventory
from fraud_retraining.settings import Settings

GROUP = "ingestion"
EVENTS, REJECTS = "rows", "rejects"
FEED, TRANSACTION_ROWS, EARLIER_EVENTS = "feed", "transactions", "earlier"


@dataclass(frozen=True)
class LabelResources(ResourceBundle):
    """Resources of `labels`."""

    settings: Settings
    lake: Lake
    store: Store
    engine: Engine
    progress: Progress


def build_assets(partitions: dg.PartitionsDefinition, settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of labels; none where labels are used once they are mature."""
    if settings.labels.use != "as_known":
        return []

    @dg.asset(
        name=LABELS,
        group_name=GROUP,
        partitions_def=partitions,
        deps=[dg.AssetDep(TRANSACTIONS, partition_mapping=looking_back(settings.labels.reach_days))],
        backfill_policy=BACKFILL_DAYS_IN_ONE_RUN,
        required_resource_keys=LabelResources.keys(),
        kinds={"duckdb", "parquet"},
    )
    @retried
    def labels(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        """What became known on the day: one row a transaction whose label changed; labels that do not count apart."""
        resources = LabelResources.of(context)
        inventory = LabelInventory.of(days_of(context), resources.settings, resources.store, resources.lake.label_feed)
        refresh = partial(refresh_labels, inventory=inventory, resources=resources)
        yield from materialize_days(context, LABELS, DayWork(refresh, _metadata), resources.progress)

    @dg.asset(
        name=ENTITY_LABEL_DAYS,
        group_name="features",
        partitions_def=partitions,
        deps=[labels],
        backfill_policy=BACKFILL_DAYS_IN_ONE_RUN,
        kinds={"duckdb", "parquet"},
    )
    @retried
    def entity_label_days(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
        engine: dg.ResourceParam[Engine],
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.MaterializeResult]:
        """Per entity, day known and day of the transactions: frauds that became known, less those taken back."""
        inventory = LabelInventory.of(days_of(context), settings, store, None)
        refresh = partial(refresh_sums, inventory=inventory, store=store, engine=engine)
        yield from materialize_days(context, ENTITY_LABEL_DAYS, DayWork(refresh, _sums_metadata), progress)

    return [labels, entity_label_days]


# ---------------------------------------------------------------- labels


def refresh_labels(day: date, *, inventory: LabelInventory, resources: LabelResources) -> Partition:
    """The labels of a day known, made again only if something that they are made of changed."""
    inputs = inventory.labels_inputs(day)
    known = inventory.labels.get(day)
    if known is not None and known.inputs == inputs:
        return known
    try:
        make = _from_feed if inventory.has_feed else _carried
        made = make(day, inventory, resources)
    except DataInvalid as error:
        if day in inventory.arrived:
            inventory.refuse(day, "; ".join([error.what, *error.culprits]))
        raise
    tables = {EVENTS: made.events, **({REJECTS: made.rejects} if made.rejects.num_rows else {})}
    facts = made.facts.model_dump(mode="json")
    written = resources.store.write(LABELS, day, tables, digest=table_digest(made.events), inputs=inputs, facts=facts)
    inventory.labels[day] = written
    return written


def _from_feed(day: date, inventory: LabelInventory, resources: LabelResources) -> LabelDay:
    """The labels that the feed delivered for a day known; a day without files has none."""
    entities = carried_columns(resources.settings)
    behind = inventory.transactions_behind(day)
    if not behind:
        raise DataInvalid(
            f"labels of {day} cannot be matched: no transactions of the {resources.settings.labels.reach_days} days "
            "up to it have been ingested",
            remedy="ingest the transactions first; labels.reach_days says how far back they are looked up.",
        )
    files = inventory.arrived.get(day)
    if files is None:
        return in_order(_no_events(inventory, behind[-1], resources))
    policy, values = resources.settings.labels, resources.settings.label_values
    feed = resources.lake.label_feed
    assert feed is not None, "files come from a feed"
    delivery = feed.fetch(files)
    check_feed({path.name: schema for path, schema in read_schemas(delivery.paths).items()}, policy.columns, values)
    text_ids = inventory.key_types(behind).get(TRANSACTION_ID) == TEXT
    tables = {
        FEED: delivery.paths,
        TRANSACTION_ROWS: resources.store.paths(behind, "rows"),
    }
    earlier = inventory.labels_before(day)
    if earlier:
        tables[EARLIER_EVENTS] = resources.store.paths(earlier, EVENTS)

    def settled(this_day: ir.DateScalar, views: Mapping[str, ir.Table]) -> ir.Table:
        events = canonical_feed(views[FEED], policy.columns, values, text_ids=text_ids)
        judged = judged_events(events, views[TRANSACTION_ROWS], this_day, entities)
        return settled_events(judged, views.get(EARLIER_EVENTS))

    query = PreparedQuery(LABELS, settled, recipe=digest([policy, text_ids, entities]), keep_nan=True)
    return split_events(resources.engine.prepared(query, day, tables), entities)


def _carried(day: date, inventory: LabelInventory, resources: LabelResources) -> LabelDay:
    """The labels that transactions carry themselves and that became known on the day."""
    settings = resources.settings
    behind, entities = inventory.transactions_behind(day), carried_columns(settings)
    if not behind:
        raise DataInvalid(f"no transactions up to {day} have been ingested", remedy=f"ingest {day} first.")
    labelled_at = settings.columns.labelled_at is not None

    def carried(this_day: ir.DateScalar, views: Mapping[str, ir.Table]) -> ir.Table:
        rows = views[TRANSACTION_ROWS]
        return carried_events(rows, this_day, entities, settings.labels.delay_days, labelled_at=labelled_at)

    query = PreparedQuery(f"{LABELS}_carried", carried, recipe=digest([settings.labels, labelled_at, entities]))
    paths = {TRANSACTION_ROWS: resources.store.paths(behind, "rows")}
    return in_order(resources.engine.prepared(query, day, paths))


def carried_columns(settings: Settings) -> tuple[str, ...]:
    """Columns of a transaction that its label events carry: the keys, and whether its outcome could be seen."""
    return (*settings.entities, *((PROPENSITY,) if settings.columns.decision is not None else ()))


def _no_events(inventory: LabelInventory, last: Partition, resources: LabelResources) -> pa.Table:
    """An empty day of labels, with the key types of the transactions."""
    entities = carried_columns(resources.settings)
    (path,) = resources.store.paths([last], "rows")
    rows = resources.engine.read_parquet([path]).limit(0)
    return resources.engine.to_arrow(
        carried_events(rows, last.day, entities, resources.settings.labels.delay_days, labelled_at=False)
    )


def _metadata(partition: Partition) -> dict[str, Any]:
    facts = partition.facts
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": facts["events"],
        "frauds": sum(frauds for _, _, frauds in (*facts["by_day"], *facts.get("reviewed", ()))),
        "reversed": facts["reversed"],
        "kept_aside": sum(facts["rejects"].values()),
        "digest": partition.digest,
        **_reporting_delay(partition),
    }
    for name in ("rejects", "sources"):
        if facts[name]:
            metadata[name] = dg.MetadataValue.md("\n".join(f"- {key}: {count}" for key, count in facts[name].items()))
    return metadata


def _reporting_delay(partition: Partition) -> dict[str, float]:
    """How late the first reports of the day are, as numbers: the UI draws them over the partitions."""
    delays: Counter[int] = Counter()
    for day, count in partition.facts["first_reports"]:
        delays[(partition.day - date.fromisoformat(day)).days] += count
    if not delays.total():
        return {}
    mean = sum(delay * count for delay, count in delays.items()) / delays.total()
    within = {f"reported_within_{days}_days": share for days, share in shares_within(delays).items()}
    return {"mean_reporting_delay_days": mean, **within}


# ---------------------------------------------------------------- entity_label_days


def refresh_sums(day: date, *, inventory: LabelInventory, store: Store, engine: Engine) -> Partition:
    """The sums of a day known, made again only if its labels or the plan changed."""
    if day not in inventory.labels:
        raise DataInvalid(f"labels of {day} have not been made", remedy=f"ingest {day} first.")
    inputs = inventory.sums_inputs(day)
    known = inventory.sums.get(day)
    if known is not None and known.inputs == inputs:
        return known
    paths = {EVENTS: store.paths([inventory.labels[day]], EVENTS)}
    tables = {
        entity: engine.prepared(
            PreparedQuery(f"{ENTITY_LABEL_DAYS}_{entity}", partial(_sums, entity=entity)), day, paths
        )
        for entity in inventory.labelled_entities
    }
    whole = digest([table_digest(table) for table in tables.values()])
    facts = {"keys": {entity: table.num_rows for entity, table in tables.items()}}
    written = store.write(ENTITY_LABEL_DAYS, day, tables, digest=whole, inputs=inputs, facts=facts)
    inventory.sums[day] = written
    return written


def _sums(this_day: ir.DateScalar, views: Mapping[str, ir.Table], *, entity: str) -> ir.Table:
    return entity_label_days(views[EVENTS], entity).mutate(known_on=this_day).order_by("day", "key")


def _sums_metadata(partition: Partition) -> dict[str, Any]:
    return {**{f"{entity}_keys": n for entity, n in partition.facts["keys"].items()}, "digest": partition.digest}
