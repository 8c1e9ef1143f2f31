"""Days of the lake read by Spark: files as they arrived, to canonical rows in the store.

Here: which files go into one query, and the rows of a day as a worker splits and writes them. Not here: what makes a
row acceptable (`domain/data/ingestion.py`), and whether a day fits the days beside it
(`orchestration/assets/ingestion.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import ibis
import pyarrow as pa

from fraud_retraining.adapters.storage.engine import LakeDay, lake_day_of, read_schemas
from fraud_retraining.adapters.storage.lake import DayFiles, Delivery, Lake
from fraud_retraining.adapters.storage.locations import ObjectInfo
from fraud_retraining.adapters.storage.spark_days import Finish, Rows, SparkDays
from fraud_retraining.adapters.storage.spark_files import FileRead, merged
from fraud_retraining.adapters.storage.store import Store, StoredFile
from fraud_retraining.domain.data.canonical import canonical
from fraud_retraining.domain.data.ingestion import (
    Arrival,
    DayFacts,
    Ingested,
    judge,
    settle_duplicates,
    split_settled,
)
from fraud_retraining.domain.data.lake_columns import key_kinds
from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.values.days import EACH_DAY, THIS_DAY
from fraud_retraining.domain.values.digests import ColumnDigests
from fraud_retraining.domain.values.errors import DataInvalid, IntegrityError

ROWS, REJECTS = "rows", "rejects"


class SeenDay(NamedTuple):
    """A day's files as a worker saw them: the delivery, their schemas, and the rows that their footers state."""

    delivery: Delivery
    schemas: Mapping[Path, pa.Schema]
    rows: int


class WrittenDay(NamedTuple):
    """A day that lies in the store and is not committed: its files, the digests of its accepted rows, its facts."""

    files: dict[str, StoredFile]
    columns: ColumnDigests
    facts: DayFacts


class _Described(NamedTuple):
    """A day whose columns are as mapped."""

    seen: SeenDay
    source: LakeDay
    arrival: Arrival


def arrival_of(files: DayFiles, delivery: Delivery, source: LakeDay) -> Arrival:
    """What arrived for a day."""
    return Arrival(
        files=len(delivery.files),
        unread_files=tuple(one.path for one in delivery.unread),
        unusable_columns=dict(source.unusable),
        columns_there=source.columns_there,
        source_version=files.version,
        arrived_at=datetime.fromtimestamp(max(file.modified for file in delivery.files), UTC),
    )


def tables_of(result: Ingested) -> dict[str, pa.Table]:
    """The tables of a day in the store; a day without rejects has no table of them."""
    return {ROWS: result.accepted, **({REJECTS: result.rejects} if result.rejects.num_rows else {})}


class SparkIngestion:
    """Reads days of a lake on Spark's workers, under a mapping of columns."""

    def __init__(self, spark: SparkDays, lake: Lake, store: Store, mapping: LakeMapping, asset: str) -> None:
        self._spark = spark
        self._lake = lake
        self._store = store
        self._mapping = mapping
        self._asset = asset
        self._columns = list(dict.fromkeys(name for parts in mapping.lake_names.values() for name in parts))

    def read(
        self, days: Mapping[date, DayFiles], types_beside: Mapping[date, Mapping[str, str]]
    ) -> dict[date, WrittenDay | DataInvalid]:
        """The rows of some days in the store, or why a day is refused. Nothing is committed.

        A day is left out where the type of a key is for its neighbours to say, and these are of this run: it is made
        when they stand.
        """
        found: dict[date, WrittenDay | DataInvalid] = {}
        described: dict[date, _Described] = {}
        answers = self._spark.spread(list(days.values()), partial(_see, lake=self._lake))
        for (day, files), seen in zip(days.items(), answers, strict=True):
            try:
                described[day] = self._described(files, _seen(seen), types_beside[day])
            except DataInvalid as error:
                found[day] = error
        waiting = [day for day, one in described.items() if self._needs_neighbours(one)]
        ready = {day: one for day, one in described.items() if day not in waiting}
        return found | self._written(ready)

    def _described(self, files: DayFiles, seen: SeenDay, beside: Mapping[str, str]) -> _Described:
        source = lake_day_of(seen.schemas, self._mapping, beside)
        return _Described(seen, source, arrival_of(files, seen.delivery, source))

    def _needs_neighbours(self, of: _Described) -> bool:
        named = {str(path): schema for path, schema in of.seen.schemas.items()}
        single = [parts[0] for parts in self._mapping.keys.values() if len(parts) == 1]
        return any(not key_kinds(named, lake) for lake in single)

    def _written(self, days: Mapping[date, _Described]) -> dict[date, WrittenDay]:
        tables: dict[str, list[tuple[ibis.Table, list[date]]]] = {}
        for rows, text_keys, unusable in self._groups(days):
            raw = self._spark.rows(self._lake.place, rows)
            table = canonical(raw, self._mapping, text_keys, unusable=unusable, keep=[THIS_DAY])
            tables.setdefault(str(table.schema()), []).append(
                (table, sorted({day for one in rows.days for day in one}))
            )
        written: dict[date, WrittenDay] = {}
        work = partial(
            _write_day,
            store=self._store,
            asset=self._asset,
            mapping=self._mapping,
            days={day: (one.arrival, one.source.ignored, one.source.part_types) for day, one in days.items()},
        )
        for parts in tables.values():
            # Keys of one type together: a day with text keys and one with numbers are two tables.
            rows_of = ibis.union(*(table for table, _ in parts)) if len(parts) > 1 else parts[0][0]
            judged = settle_duplicates(judge(rows_of, self._mapping, EACH_DAY), EACH_DAY)
            some = sorted({day for _, found in parts for day in found})
            written |= self._spark.finish(judged, some, Finish((), work))
        for day, one in written.items():
            _require_all(day, one.facts, days[day].seen.rows)
        return written

    def _groups(self, days: Mapping[date, _Described]) -> list[tuple[Rows, frozenset[str], frozenset[str]]]:
        """Files that one reading serves: same types of the mapped columns, same text keys of their days, and the same
        columns that these lack."""
        groups: dict[tuple[str, frozenset[str], frozenset[str]], list[tuple[date, ObjectInfo]]] = {}
        schemas: dict[str, pa.Schema] = {}
        for day, one in days.items():
            unusable = frozenset(one.source.unusable)
            wanted = [name for name in self._columns if name not in unusable]
            for file, (_, schema) in zip(one.seen.delivery.files, one.seen.schemas.items(), strict=True):
                kind = merged([schema], wanted)
                schemas[str(kind)] = kind
                groups.setdefault((str(kind), one.source.text_keys, unusable), []).append((day, file))
        return [
            (
                Rows([file for _, file in files], [[day] for day, _ in files], FileRead(schemas[kind], True)),
                keys,
                lacking,
            )
            for (kind, keys, lacking), files in groups.items()
        ]


def see_days(spark: SparkDays, lake: Lake, days: Sequence[DayFiles]) -> list[SeenDay]:
    """The files of some days, as workers see them.

    Raises:
        DataInvalid: the first day whose files cannot be used.
    """
    return [_seen(found) for found in spark.spread(days, partial(_see, lake=lake))]


def _seen(found: SeenDay | DataInvalid) -> SeenDay:
    if isinstance(found, DataInvalid):
        raise found
    return found


def _see(files: DayFiles, *, lake: Lake) -> SeenDay | DataInvalid:
    """A day's files on a worker; what is wrong with the day is an answer, and no failure of the work."""
    try:
        delivery = lake.fetch(files)
        schemas = {path: schema.remove_metadata() for path, schema in read_schemas(delivery.paths).items()}
        return SeenDay(delivery, schemas, _stated_rows(delivery.paths))
    except DataInvalid as error:
        return error


def _stated_rows(paths: Sequence[Path]) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in paths)


Description = tuple[Arrival, tuple[str, ...], Mapping[str, str]]


def _write_day(
    day: date,
    settled: pa.Table,
    *,
    store: Store,
    asset: str,
    mapping: LakeMapping,
    days: Mapping[date, Description],
) -> WrittenDay:
    arrival, ignored, part_types = days[day]
    result = split_settled(settled, mapping, arrival=arrival, ignored=ignored, part_types=part_types)
    return WrittenDay(store.put(asset, day, tables_of(result)), ColumnDigests.of(result.accepted), result.facts)


def _require_all(day: date, facts: DayFacts, stated: int) -> None:
    """Refuses a day of which rows were lost on the way.

    Raises:
        IntegrityError: accepted, rejected and surplus rows are not those that the footers state; nothing was committed.
    """
    found = facts.rows + facts.rejected + facts.duplicates_dropped
    if found != stated:
        raise IntegrityError(
            f"Spark gave {found:,} of the {stated:,} rows of {day}",
            remedy="nothing of it was published; run it again, and report it if it happens again.",
        )
