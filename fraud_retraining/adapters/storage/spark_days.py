"""Days made by Spark: one query over all days of a run, each day finished and written by a worker.

Here: reading the files of several days into one query, and what a worker does with the rows of a day. Not here: the
queries (Ibis expressions in `domain/`, over `EACH_DAY`), and which days are made (`orchestration/assets/`).

A day's rows come together on one worker, which sorts them, takes their digests and writes their files: to the driver
come digests, counts and names of files, and no row. The driver commits each day by its record, as with DuckDB.
"""

import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import ibis
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraud_retraining.adapters.storage.engine import PreparedQuery
from fraud_retraining.adapters.storage.locations import ObjectInfo
from fraud_retraining.adapters.storage.spark_files import Batches, FileRead, Place, merged, read_batches
from fraud_retraining.adapters.storage.spark_session import (
    SparkOptions,
    carried,
    forget_session,
    is_gone,
    start_spark,
    translated,
)
from fraud_retraining.domain.values.days import EACH_DAY, THIS_DAY
from fraud_retraining.domain.values.errors import DependencyUnreachable, RetrainingError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from fraud_retraining.adapters.storage.spark_backend import SparkBackend

Result = TypeVar("Result")
FILE, ANSWER = "__file", "__answer"
ENDING_SECONDS = 5.0
LOCAL = re.compile(r"local(\[|$)")
DEFAULT_PROFILE = 0
"""The number of Spark's resource profile of tasks that ask for nothing special."""
TASKS_A_CORE = 4
"""More pieces than cores, so that a long one does not hold up the others."""

Sources = Mapping[date, Mapping[str, Sequence[ObjectInfo]]]
"""By day the files of each table that is read for it; days may share files."""


class Rows(NamedTuple):
    """Files of one shape, the days that each is read for, and how."""

    files: Sequence[ObjectInfo]
    days: Sequence[Sequence[date]]
    how: FileRead
    spread_by: str | None = None
    keep: bool = False


class Finish(NamedTuple, Generic[Result]):
    """What a worker does with the sorted rows of a day.

    Attributes:
        order: columns by which rows of a day are sorted; no two rows are equal in all of them.
        work: gets the day and its rows, and gives what the driver has to know of it, which is small.
    """

    order: tuple[str, ...]
    work: Callable[[date, pa.Table], Result]


class SparkDays:
    """Runs queries over days on Spark; a context manager. Spark starts with the first of them.

    Raises:
        DependencyUnreachable: Spark cannot be reached, or gave up after its attempts.
    """

    def __init__(self, options: SparkOptions) -> None:
        self._options = options
        self._numbers = count()
        self._kept: list[DataFrame] = []

    def close(self) -> None:
        """Stop Spark, if it was started."""
        session = self.__dict__.pop("_session", None)
        self.__dict__.pop("_backend", None)
        if session is None:
            return
        if is_gone(session):
            forget_session()
        else:
            session.stop()

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Around what Spark does; a Java process that ended is no longer used, so that a next attempt starts another.

        Raises:
            DependencyUnreachable: Spark gave up, or its Java process ended.
        """
        try:
            with translated():
                yield
        except Exception as error:
            session = self.__dict__.get("_session")
            ours = isinstance(error, RetrainingError) and not isinstance(error, DependencyUnreachable)
            # Of a process that ended py4j says anything, a KeyError among it; its connections end before it does.
            if ours or session is None or not is_gone(session, ENDING_SECONDS):
                raise
            self._kept.clear()
            self.close()
            raise DependencyUnreachable(
                "Spark's Java process ended: it was killed, or needed more memory than there is",
                culprits=[f"{type(error).__name__}: {str(error)[:200]}"],
                remedy="nothing of the work was published; run it again. If it ran out of memory, give the driver more "
                "(spark.driver.memory in engine.config).",
            ) from error

    def make(
        self, query: PreparedQuery, places: Mapping[str, Place], sources: Sources, finish: Finish[Result]
    ) -> dict[date, Result]:
        """Run a query once over several days and finish each on a worker; `places` has the place of each table's files.

        `query.build` gets `EACH_DAY` and tables with the column `THIS_DAY`; so has what it gives. Days whose files
        differ in the types of their columns are run apart: one day's type of a key is no other's.
        """
        made: dict[date, Result] = {}
        for days, tables in self._tables(query, places, sources):
            try:
                made |= self.finish(query.build(EACH_DAY, tables), days, finish)
            finally:
                self._forget()
        return made

    def ask(self, query: PreparedQuery, places: Mapping[str, Place], sources: Sources) -> dict[date, pa.Table]:
        """The small answers of a query about several days, such as counts, by day; a day without any has no rows."""
        found: dict[date, pa.Table] = {}
        for days, tables in self._tables(query, places, sources):
            try:
                answer = self.answer(query.build(EACH_DAY, tables))
            finally:
                self._forget()
            of_day = answer[THIS_DAY]
            found |= {
                day: answer.filter(pc.equal(of_day, pa.scalar(day, of_day.type))).drop_columns([THIS_DAY])
                for day in days
            }
        return found

    def _tables(
        self, query: PreparedQuery, places: Mapping[str, Place], sources: Sources
    ) -> Iterator[tuple[list[date], dict[str, ibis.Table]]]:
        """Days that one query can answer for, and the tables that it reads for them."""
        files = dict.fromkeys(
            (name, file) for tables in sources.values() for name, found in tables.items() for file in found
        )
        answers = self.spread([(places[name], file) for name, file in files], _schema)
        schemas = dict(zip(files, answers, strict=True))
        shapes = {
            day: {
                name: merged([schemas[name, file] for file in found], query.columns_of(name))
                for name, found in tables.items()
            }
            for day, tables in sources.items()
        }
        for days, kinds in alike(shapes):
            yield (
                days,
                {
                    name: self.rows(
                        places[name], _read_for(name, days, sources, FileRead(schema, query.keep_nan), query)
                    )
                    for name, schema in kinds.items()
                },
            )

    def spread(self, items: Sequence[Any], work: Callable[[Any], Result]) -> list[Result]:
        """What `work` gives for each item, on the workers.

        Raises:
            RetrainingError: the first failure, where `work` raised one.
        """
        if not items:
            return []

        def run(numbers: Batches) -> Batches:
            for batch in numbers:
                for number in batch.column(0).to_pylist():
                    try:
                        answer = pickle.dumps(work(items[number]))
                    except RetrainingError as error:
                        raise carried(error) from error
                    yield pa.RecordBatch.from_arrays([pa.array([number]), pa.array([answer])], names=["id", ANSWER])

        with self._running():
            found = self._numbered(len(items)).mapInArrow(run, f"id long, {ANSWER} binary").collect()
        return [_unpacked(row[ANSWER]) for row in sorted(found, key=lambda row: int(row["id"]))]

    @property
    def is_local(self) -> bool:
        """Whether Spark runs in one process on this machine, which will never have more room."""
        return LOCAL.match(self._options.master or "") is not None

    def slots(self) -> int:
        """How many tasks Spark can run at once, as it is now: executors of a cluster come one by one."""
        with self._running():
            context = self._session.sparkContext._jsc.sc()
            profile = context.resourceProfileManager().resourceProfileFromId(DEFAULT_PROFILE)
            return int(context.maxNumConcurrentTasks(profile))

    def partitions(self, parts: int, read: Callable[[Batches], Batches], schema: pa.Schema) -> "DataFrame":
        """A frame of exactly so many partitions, in each of which lie the rows that `read` gives for its number."""
        from pyspark.sql.pandas.types import from_arrow_schema

        return self._session.range(0, parts, 1, parts).mapInArrow(_reporting(read), from_arrow_schema(schema))

    def run(self, work: Callable[[], Result]) -> Result:
        """What a library does with Spark, its failures as ours.

        Raises:
            DependencyUnreachable: Spark gave up, or its Java process ended.
        """
        with self._running():
            return work()

    def cancel(self) -> None:
        """Ends whatever runs on Spark for this process."""
        with self._running():
            self._session.sparkContext.cancelAllJobs()

    def rows(self, place: Place, rows: Rows) -> ibis.Table:
        """Files as a table of Spark with the day that each row is read for, in the types that DuckDB would give."""
        from pyspark.sql import functions
        from pyspark.sql.pandas.types import from_arrow_schema

        days, once = rows.days, all(len(found) == 1 for found in rows.days)

        def added(number: int) -> dict[str, pa.Scalar]:
            if once:
                return {THIS_DAY: pa.scalar(days[number][0], pa.date32())}
            return {FILE: pa.scalar(number, pa.int32())}

        kind = pa.field(THIS_DAY, pa.date32()) if once else pa.field(FILE, pa.int32())
        schema = from_arrow_schema(rows.how.schema.append(kind), prefer_timestamp_ntz=True)
        frame = self._numbered(len(rows.files)).mapInArrow(
            _reporting(read_batches(place, rows.files, rows.how, added)), schema
        )
        if rows.keep:
            frame = frame.persist()
            self._kept.append(frame)
        if rows.spread_by is not None:
            # Before rows are repeated for every day that reads them: they cross the network once.
            frame = frame.repartition(self._parts(len(rows.files) * TASKS_A_CORE), rows.spread_by)
        if not once:
            pairs = [(number, day) for number, found in enumerate(days) for day in found]
            read_for = self._session.createDataFrame(pairs, f"{FILE} int, {THIS_DAY} date")
            frame = frame.join(functions.broadcast(read_for), FILE).drop(FILE)
        return self.table(frame, rows.how.schema)

    def table(self, frame: "DataFrame", schema: pa.Schema) -> ibis.Table:
        """A frame of Spark as a table of Ibis, whose times have the same type as in DuckDB."""
        name = f"fraud_retraining_{next(self._numbers)}"
        frame.createOrReplaceTempView(name)
        table: ibis.Table = self._backend.table(name)
        times = {field.name: "timestamp(6)" for field in schema if pa.types.is_timestamp(field.type)}
        return table.cast(times) if times else table

    def finish(self, rows: ibis.Table, days: Sequence[date], finish: Finish[Result]) -> dict[date, Result]:
        """Compute an expression over several days, and finish each of them on a worker."""
        schema = rows.drop(THIS_DAY).schema().to_pyarrow()
        work = _on_day(schema, finish)
        ordered = rows.select(*schema.names, THIS_DAY)
        # By number: Spark takes a name with a dot or a backtick apart when it looks a column up.
        numbered = [str(number) for number in range(len(schema))]
        frame = self._session.sql(self._backend.compile(ordered)).toDF(*numbered, THIS_DAY)
        with self._running():
            found = frame.groupBy(THIS_DAY).applyInArrow(work, f"{THIS_DAY} date, {ANSWER} binary").collect()
        made: dict[date, Result] = {row[THIS_DAY]: _unpacked(row[ANSWER]) for row in found}
        # No group is made of no rows; such a day is finished here.
        empty = schema.empty_table()
        return {day: made[day] if day in made else finish.work(day, empty) for day in days}

    def answer(self, rows: ibis.Table) -> pa.Table:
        """A small result, such as counts."""
        with self._running():
            found = self._session.sql(self._backend.compile(rows)).toArrow()
        return found.cast(rows.schema().to_pyarrow())

    @cached_property
    def _session(self) -> "SparkSession":
        return start_spark(self._options)

    @cached_property
    def _backend(self) -> "SparkBackend":
        from pyspark.sql.pandas.functions import pandas_udf
        from pyspark.sql.types import StringType

        from fraud_retraining.adapters.storage.spark_backend import FLOAT_TEXT, SparkBackend, float_text

        # Its many overloads know plain functions of one kind only.
        as_udf: Any = pandas_udf
        backend = SparkBackend()
        backend.do_connect(self._session)
        self._session.udf.register(FLOAT_TEXT, as_udf(float_text, StringType()))
        return backend

    def _forget(self) -> None:
        while self._kept:
            self._kept.pop().unpersist()

    def _numbered(self, items: int) -> "DataFrame":
        return self._session.range(0, items, 1, self._parts(items))

    def _parts(self, most: int) -> int:
        return max(1, min(most, TASKS_A_CORE * self._session.sparkContext.defaultParallelism))


def alike(shapes: Mapping[date, Mapping[str, pa.Schema]]) -> list[tuple[list[date], dict[str, pa.Schema]]]:
    """Days that one query can answer for, with the schema of each of its tables; a day may lack some."""
    groups: list[tuple[list[date], dict[str, pa.Schema]]] = []
    for day, schemas in shapes.items():
        for days, kinds in groups:
            if all(kinds.get(name, schema).equals(schema) for name, schema in schemas.items()):
                days.append(day)
                kinds.update(schemas)
                break
        else:
            groups.append(([day], dict(schemas)))
    return groups


def _read_for(name: str, days: Sequence[date], sources: Sources, how: FileRead, query: PreparedQuery) -> Rows:
    readers: dict[ObjectInfo, list[date]] = {}
    for day in days:
        for file in sources[day].get(name, ()):
            readers.setdefault(file, []).append(day)
    return Rows(list(readers), list(readers.values()), how, query.spread_by.get(name), name in query.read_often)


def _schema(placed: tuple[Place, ObjectInfo]) -> pa.Schema:
    place, file = placed
    (path,) = place.fetch([file])
    return pq.read_schema(path).remove_metadata()


def _reporting(read: Callable[[Batches], Batches]) -> Callable[[Batches], Batches]:
    def run(numbers: Batches) -> Batches:
        try:
            yield from read(numbers)
        except RetrainingError as error:
            raise carried(error) from error

    return run


def _on_day(schema: pa.Schema, finish: Finish[Result]) -> Callable[[pa.Table], pa.Table]:
    """What a worker runs with all rows of a day."""

    def run(rows: pa.Table) -> pa.Table:
        day = rows[THIS_DAY][0].as_py()
        try:
            answer = pickle.dumps(finish.work(day, in_order(_plain(rows, schema), finish.order)))
        except RetrainingError as error:
            raise carried(error) from error
        return pa.table({THIS_DAY: pa.array([day], pa.date32()), ANSWER: pa.array([answer], pa.binary())})

    return run


def _plain(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [rows[str(number)] for number in range(len(schema))]
    # A moment is the same with and without the zone of the session, which is UTC.
    return pa.table(columns, names=schema.names).cast(schema).combine_chunks()


def in_order(rows: pa.Table, order: Sequence[str]) -> pa.Table:
    """Rows sorted, missing values last."""
    if not order:
        return rows
    # By number: Arrow reads a key with a dot or a bracket as a path.
    keys = pa.table([rows[name] for name in order], names=[str(number) for number in range(len(order))])
    return rows.take(pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]))


def _unpacked(answer: bytes) -> Any:
    return pickle.loads(bytes(answer))
