"""Labels: what became known of transactions on a day, from a label feed or from the transactions themselves.

Here: the assets `labels` and `entity_label_days`, by the day known; they exist where labels are used as known. Not
here: which labels count (`domain/labels/events.py`).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from fraud_retraining.adapters.storage.engine import Engine, PreparedQuery, read_schemas
from fraud_retraining.adapters.storage.spark_days import Finish
from fraud_retraining.adapters.storage.spark_ingestion import see_days
from fraud_retraining.adapters.storage.spark_parts import SparkPart, put_part
from fraud_retraining.adapters.storage.store import Partition, Store, StoredFile
from fraud_retraining.domain.data.lake_columns import TEXT
from fraud_retraining.domain.labels.events import (
    LabelDay,
    LabelDayFacts,
    carried_events,
    entity_label_days,
    in_order,
    judged_events,
    settled_events,
    split_events,
)
from fraud_retraining.domain.labels.feed import canonical_feed, check_feed
from fraud_retraining.domain.labels.feed_health import shares_within
from fraud_retraining.domain.labels.policy import LabelColumns
from fraud_retraining.domain.values.days import THIS_DAY, Day, by_day, day_of
from fraud_retraining.domain.values.digests import ColumnDigests, digest, table_digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import IS_FRAUD, LABELLED_AT, PROPENSITY, TIMESTAMP, TRANSACTION_ID
from fraud_retraining.orchestration.assets.day_runs import DayParts, DayWork, materialize_days
from fraud_retraining.orchestration.assets.submitted_days import made_by_jobs
from fraud_retraining.orchestration.names import ENTITY_LABEL_DAYS, LABELS, TRANSACTIONS
from fraud_retraining.orchestration.partitions import BACKFILL_DAYS_IN_ONE_RUN, days_of, looking_back
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.orchestration.state.label_days import LabelInventory
from fraud_retraining.settings import Settings

GROUP = "ingestion"
EVENTS, REJECTS = "rows", "rejects"
FEED, TRANSACTION_ROWS, EARLIER_EVENTS = "feed", "transactions", "earlier"


@dataclass(frozen=True)
class LabelResources(DayParts):
    """Resources of `labels`."""

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
        work = made_by_jobs(context, LABELS, lambda: labels_work(days_of(context), resources), resources.settings)
        yield from materialize_days(context, LABELS, work, resources.progress)

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
        work = made_by_jobs(
            context, ENTITY_LABEL_DAYS, lambda: label_sums_work(days_of(context), settings, store, engine), settings
        )
        yield from materialize_days(context, ENTITY_LABEL_DAYS, work, progress)

    return [labels, entity_label_days]


# ---------------------------------------------------------------- labels


def labels_work(days: Sequence[date], parts: DayParts) -> DayWork:
    """How `labels` are made."""
    inventory = LabelInventory.of(days, parts.settings, parts.store, parts.lake.label_feed)
    made: dict[date, WrittenLabels] = {}
    return DayWork(
        partial(refresh_labels, inventory=inventory, resources=parts, made=made),
        _metadata,
        ahead=partial(_carried_ahead, inventory=inventory, resources=parts, made=made),
        stale=partial(_stale_labels, inventory=inventory),
    )


def _stale_labels(days: Sequence[date], *, inventory: LabelInventory) -> list[date]:
    """Those of some days known whose labels have to be made; without transactions behind it a day is refused."""
    return [
        day
        for day in days
        if inventory.transactions_behind(day)
        and (day not in inventory.labels or inventory.labels[day].inputs != inventory.labels_inputs(day))
    ]


class WrittenLabels(NamedTuple):
    """A day of labels that lies in the store and is not committed."""

    files: dict[str, StoredFile]
    digest: str
    facts: LabelDayFacts


def refresh_labels(
    day: date, *, inventory: LabelInventory, resources: DayParts, made: dict[date, WrittenLabels]
) -> Partition:
    """The labels of a day known, made again only if something that they are made of changed.

    `made` are days that Spark has computed.
    """
    inputs = inventory.labels_inputs(day)
    known = inventory.labels.get(day)
    if known is not None and known.inputs == inputs:
        return known
    try:
        make = _from_feed if inventory.has_feed else _carried
        found = made.pop(day, None) or make(day, inventory, resources)
    except DataInvalid as error:
        if day in inventory.arrived:
            inventory.refuse(day, "; ".join([error.what, *error.culprits]))
        raise
    store, facts = resources.store, found.facts.model_dump(mode="json")
    if isinstance(found, WrittenLabels):
        written = store.commit(LABELS, day, found.files, digest=found.digest, inputs=inputs, facts=facts)
    else:
        whole = table_digest(found.events)
        written = store.write(LABELS, day, _tables(found), digest=whole, inputs=inputs, facts=facts)
    inventory.labels[day] = written
    return written


def _tables(labels: LabelDay) -> dict[str, pa.Table]:
    return {EVENTS: labels.events, **({REJECTS: labels.rejects} if labels.rejects.num_rows else {})}


def _put_labels(day: date, rows: pa.Table, *, store: Store, split: Callable[[pa.Table], LabelDay]) -> WrittenLabels:
    """What a worker does with the labels of a day."""
    labels = split(rows)
    return WrittenLabels(store.put(LABELS, day, _tables(labels)), table_digest(labels.events), labels.facts)


def _from_feed(day: date, inventory: LabelInventory, resources: DayParts) -> LabelDay | WrittenLabels:
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
    text_ids = inventory.key_types(behind).get(TRANSACTION_ID) == TEXT
    earlier = inventory.labels_before(day)
    stored = {TRANSACTION_ROWS: (behind, "rows"), **({EARLIER_EVENTS: (earlier, EVENTS)} if earlier else {})}

    def settled(this_day: Day, views: Mapping[str, ir.Table]) -> ir.Table:
        events = canonical_feed(views[FEED], policy.columns, values, text_ids=text_ids)
        judged = judged_events(events, views[TRANSACTION_ROWS], this_day, entities)
        return settled_events(judged, views.get(EARLIER_EVENTS))

    query = PreparedQuery(LABELS, settled, recipe=digest([policy, text_ids, entities]), keep_nan=True)
    spark, store = resources.engine.spark, resources.store
    if spark is None:
        delivery = feed.fetch(files)
        check_feed(_by_name(read_schemas(delivery.paths)), policy.columns, values)
        paths = {name: store.paths(records, table) for name, (records, table) in stored.items()}
        tables = {FEED: delivery.paths, **paths}
        return split_events(resources.engine.prepared(query, day, tables), entities)
    seen = see_days(spark, feed, [files])[0]
    check_feed(_by_name(seen.schemas), policy.columns, values)
    # One day at a time: what a label changes depends on what the days before it said.
    of_day = query._replace(
        build=lambda _, views: settled(ibis.literal(day), views).mutate(**{THIS_DAY: ibis.literal(day)}),
        table_columns={FEED: _feed_columns(policy.columns)},
    )
    sources = {name: store.objects(records, table) for name, (records, table) in stored.items()}
    sources[FEED] = list(seen.delivery.files)
    places = {**dict.fromkeys(sources, store.location), FEED: feed.place}
    work = partial(_put_labels, store=store, split=partial(split_events, entities=entities))
    return spark.make(of_day, places, {day: sources}, Finish((), work))[day]


def _feed_columns(columns: LabelColumns) -> list[str]:
    named = (columns.transaction_id, columns.known_at, columns.is_fraud, columns.source)
    return list(dict.fromkeys(name for name in named if name is not None))


def _by_name(schemas: Mapping[Path, pa.Schema]) -> dict[str, pa.Schema]:
    return {path.name: schema for path, schema in schemas.items()}


def _carried(day: date, inventory: LabelInventory, resources: DayParts) -> LabelDay:
    """The labels that transactions carry themselves and that became known on the day."""
    behind = inventory.transactions_behind(day)
    if not behind:
        raise DataInvalid(f"no transactions up to {day} have been ingested", remedy=f"ingest {day} first.")
    paths = {TRANSACTION_ROWS: resources.store.paths(behind, "rows")}
    return in_order(resources.engine.prepared(_carried_query(resources.settings), day, paths))


def _carried_query(settings: Settings) -> PreparedQuery:
    entities, labelled_at = carried_columns(settings), settings.columns.labelled_at is not None

    def carried(this_day: Day, views: Mapping[str, ir.Table]) -> ir.Table:
        rows = views[TRANSACTION_ROWS]
        return carried_events(rows, this_day, entities, settings.labels.delay_days, labelled_at=labelled_at)

    return PreparedQuery(f"{LABELS}_carried", carried, recipe=digest([settings.labels, labelled_at, entities]))


def _carried_ahead(
    days: Sequence[date],
    *,
    inventory: LabelInventory,
    resources: DayParts,
    made: dict[date, WrittenLabels],
) -> None:
    """Computes the stale days of labels that transactions carry on Spark, where that is the engine."""
    spark, store, settings = resources.engine.spark, resources.store, resources.settings
    if spark is None or inventory.has_feed:
        return
    files = {
        day: {TRANSACTION_ROWS: store.objects(inventory.transactions_behind(day), "rows")}
        for day in _stale_labels(days, inventory=inventory)
    }
    if not files:
        return
    labelled_at = (LABELLED_AT,) if settings.columns.labelled_at is not None else ()
    columns = [TRANSACTION_ID, TIMESTAMP, *carried_columns(settings), IS_FRAUD, *labelled_at]
    query = _carried_query(settings)._replace(columns=columns)
    work = partial(_put_labels, store=store, split=in_order)
    made.update(spark.make(query, {TRANSACTION_ROWS: store.location}, files, Finish((), work)))


def carried_columns(settings: Settings) -> tuple[str, ...]:
    """Columns of a transaction that its label events carry: the keys, and whether its outcome could be seen."""
    return (*settings.entities, *((PROPENSITY,) if settings.columns.decision is not None else ()))


def _no_events(inventory: LabelInventory, last: Partition, resources: DayParts) -> pa.Table:
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


def label_sums_work(days: Sequence[date], settings: Settings, store: Store, engine: Engine) -> DayWork:
    """How `entity_label_days` are made."""
    makers = LabelSums(store, engine, LabelInventory.of(days, settings, store, None))
    return DayWork(makers.refresh, _sums_metadata, ahead=makers.ahead, stale=makers.stale)


@dataclass
class LabelSums:
    """Makes `entity_label_days`: each day when its turn comes, or the days of a run together on Spark."""

    store: Store
    engine: Engine
    inventory: LabelInventory
    made: dict[date, dict[str, SparkPart]] = field(default_factory=dict)

    def stale(self, days: Sequence[date]) -> list[date]:
        """Those of some days known whose sums have to be made, and can be."""
        return [day for day in days if day in self.inventory.labels and self._is_stale(day)]

    def ahead(self, days: Sequence[date]) -> None:
        """Computes the days that are stale on Spark, where that is the engine; nothing is committed."""
        spark, inventory = self.engine.spark, self.inventory
        stale = self.stale(days)
        if spark is None or not stale:
            return
        files = {day: {EVENTS: self.store.objects([inventory.labels[day]], EVENTS)} for day in stale}
        for entity in inventory.labelled_entities:
            work = partial(put_part, store=self.store, asset=ENTITY_LABEL_DAYS, name=entity)
            finish = Finish(("day", "key"), work)
            for day, part in spark.make(_sums_query(entity), {EVENTS: self.store.location}, files, finish).items():
                self.made.setdefault(day, {})[entity] = part

    def refresh(self, day: date) -> Partition:
        """The sums of a day known, made again only if its labels or the plan changed."""
        inventory, store = self.inventory, self.store
        if day not in inventory.labels:
            raise DataInvalid(f"labels of {day} have not been made", remedy=f"ingest {day} first.")
        if not self._is_stale(day):
            return inventory.sums[day]
        inputs, parts = inventory.sums_inputs(day), self.made.pop(day, None)
        if parts is not None:
            whole, facts = _sums_facts({entity: part.columns for entity, part in parts.items()})
            files = {entity: part.file for entity, part in parts.items()}
            written = store.commit(ENTITY_LABEL_DAYS, day, files, digest=whole, inputs=inputs, facts=facts)
        else:
            paths = {EVENTS: store.paths([inventory.labels[day]], EVENTS)}
            tables = {
                entity: self.engine.prepared(_sums_query(entity), day, paths) for entity in inventory.labelled_entities
            }
            whole, facts = _sums_facts({entity: ColumnDigests.of(table) for entity, table in tables.items()})
            written = store.write(ENTITY_LABEL_DAYS, day, tables, digest=whole, inputs=inputs, facts=facts)
        inventory.sums[day] = written
        return written

    def _is_stale(self, day: date) -> bool:
        known = self.inventory.sums.get(day)
        return known is None or known.inputs != self.inventory.sums_inputs(day)


def _sums_facts(columns: Mapping[str, ColumnDigests]) -> tuple[str, dict[str, Any]]:
    """Digest and facts of a day, from those of its tables by entity."""
    facts = {"keys": {entity: of.rows for entity, of in columns.items()}}
    return digest([of.table() for of in columns.values()]), facts


def _sums_query(entity: str) -> PreparedQuery:
    def sums(day: Day, views: Mapping[str, ir.Table]) -> ir.Table:
        found = entity_label_days(views[EVENTS], entity, day)
        known = found.mutate(known_on=day_of(day, found))
        return known if by_day(day) else known.order_by("day", "key")

    return PreparedQuery(f"{ENTITY_LABEL_DAYS}_{entity}", sums)


def _sums_metadata(partition: Partition) -> dict[str, Any]:
    return {**{f"{entity}_keys": n for entity, n in partition.facts["keys"].items()}, "digest": partition.digest}
