"""The embedded engine: DuckDB through Ibis, with a memory limit, spill under the home folder, UTC and no network.

Here: opening it, bringing Parquet and Arrow in, taking Arrow out, and turning its failures into ours. Not here: what is
computed (Ibis expressions in `domain/`) and where files come from (`adapters/storage/lake.py`,
`adapters/storage/store.py`).
"""

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend

from fraud_retraining.adapters.storage.machine_memory import usable_memory
from fraud_retraining.domain.data.canonical import canonical
from fraud_retraining.domain.data.ingestion import DayQuery, DayShape
from fraud_retraining.domain.data.lake_columns import check_columns, same_shape
from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.data.memory import memory_remedy
from fraud_retraining.domain.values.days import Day
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable

if TYPE_CHECKING:
    from fraud_retraining.adapters.storage.spark_days import SparkDays

_SPILL_FAILURES = ("failed to offload", "no space left", "file too large", "disk quota")
_NANOSECONDS = ("TIMESTAMP_NS", "TIMESTAMPTZ_NS", "TIMESTAMP WITH TIME ZONE_NS")
_FLOATS = ("FLOAT", "DOUBLE")
_BELIEVES_STATISTICS = "statistics_propagation"
"""DuckDB's rewrite by the least and greatest value that a Parquet file states. Such statistics leave NaN out, so with
it `isnan`, comparisons and `max` miss every NaN of a file that has them."""


THIS_DAY = "this_day"
INTERRUPTED = "Query interrupted"
"""The message that DuckDB raises for Ctrl-C, as a RuntimeError."""


@ibis.udf.scalar.builtin(name="getvariable", signature=((dt.string,), dt.date))
def _variable(variable: str) -> Any:
    """The value of a variable of the connection, as the engine gives it."""


class LakeDay(NamedTuple):
    """A day's files, their columns checked: those of one shape together, and what is known of their columns."""

    groups: tuple[tuple[Path, ...], ...]
    text_keys: frozenset[str]
    ignored: tuple[str, ...]
    part_types: Mapping[str, str]
    unusable: Mapping[str, str] = MappingProxyType({})
    columns_there: tuple[str, ...] = ()


class PreparedQuery(NamedTuple):
    """A query over the files of a day, to be compiled once.

    Attributes:
        name: begins the names of its views; two queries of an engine need two names.
        build: gets the day and the tables, and gives the expression; for many days on Spark it gets `EACH_DAY`.
        recipe: text of what `build` depends on besides: another recipe is compiled anew.
        keep_nan: whether NaN stays NaN; otherwise it is read as null.
        columns: the columns that are read; a query over few columns of a wide table is planned much faster with them.
        spread_by: by table the column by which Spark may spread rows that many days read: the query groups by it.
        table_columns: the same as `columns` for single tables, on Spark.
        read_often: tables that the query reads more than once: Spark keeps their rows meanwhile.
    """

    name: str
    build: Callable[[Day, Mapping[str, ibis.Table]], ibis.Table]
    recipe: str = ""
    keep_nan: bool = False
    columns: Sequence[str] | None = None
    spread_by: Mapping[str, str] = MappingProxyType({})
    table_columns: Mapping[str, Sequence[str]] = MappingProxyType({})
    read_often: frozenset[str] = frozenset()

    def columns_of(self, table: str) -> Sequence[str] | None:
        """The columns of a table that are read; None: all."""
        return self.table_columns.get(table, self.columns)


class Engine:
    """One DuckDB in memory; a context manager, not shared between threads.

    Raises:
        DependencyUnreachable: memory limit reached, no room to spill, or a file that cannot be reached.
        DataInvalid: a Parquet file that is corrupt; the culprits are the files.
    """

    def __init__(
        self,
        *,
        memory_limit: str = "1GB",
        threads: int | None = None,
        temp_directory: Path,
        spark: "SparkDays | None" = None,
    ) -> None:
        self.spark = spark
        """Runs queries over the days of a run on Spark; None: each day is made here."""
        self._memory_limit = memory_limit
        self._open = ExitStack()
        if spark is not None:
            self._open.callback(spark.close)
        self._spill = self._open.enter_context(_spill_folder(temp_directory))
        config = {
            "memory_limit": memory_limit,
            "temp_directory": str(self._spill),
            # No download at run time, and no code that was not installed with this program.
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "disabled_optimizers": _BELIEVES_STATISTICS,
        } | ({"threads": str(threads)} if threads else {})
        self._connection = duckdb.connect(":memory:", config=config)
        self._open.callback(self._connection.close)
        self._backend: Backend = ibis.duckdb.from_connection(self._connection)
        self._files: dict[str, tuple[str, ...]] = {}
        self._tables: dict[str, pa.Table] = {}
        self._prepared: dict[str, tuple[str, pa.Schema]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free memory and spill; the tables that this engine gave are dead afterwards."""
        self._open.close()

    def read_parquet(self, paths: Sequence[Path | str], columns: Sequence[str] | None = None) -> ibis.Table:
        """Files of one shape as one lazy table, in the order given.

        Columns are matched by name. Timestamps in nanoseconds are cut, never rounded, to microseconds in UTC, so that
        the last moment of a day stays in it. NaN is read as null. Folder names are not columns.
        """
        if not paths:
            raise ValueError("read_parquet needs at least one file")
        files = tuple(str(path) for path in paths)
        name = ibis.util.gen_name("parquet")
        with self._translated(files):
            self._connection.execute(f"CREATE VIEW {name} AS {self._select(files, columns=columns)}")
            table = self._backend.table(name)
        self._files[name] = files
        return table

    def memtable(self, table: pa.Table) -> ibis.Table:
        """An Arrow table as a table of this engine; nothing is copied."""
        name = ibis.util.gen_name("arrow")
        # A cursor does not see what the connection registered: `batches` registers it again.
        self._tables[name] = table
        self._connection.register(name, table)
        return self._backend.table(name)

    def to_arrow(self, expression: ibis.Table) -> pa.Table:
        """The result in memory."""
        with self._translated(self._sources(expression)):
            return self._backend.to_pyarrow(expression)

    def prepared(self, query: PreparedQuery, day: date, tables: Mapping[str, Sequence[Path | str]]) -> pa.Table:
        """Return the result of a query over the files of a day, compiled for the first day only.

        Compiling costs more than running. `query.build` is called once for each name, recipe, set of tables and their
        types: it gets the day as an expression and the tables as views, which each call points at other files.
        """
        views = {table: f"{query.name}_{table}" for table in tables}
        files = tuple(str(path) for paths in tables.values() for path in paths)
        with self._translated(files):
            # The day is a variable and no literal, so that the compiled statement serves every day.
            self._connection.execute(f"SET VARIABLE {THIS_DAY} = DATE '{day.isoformat()}'")
            for table, paths in tables.items():
                listed = tuple(str(path) for path in paths)
                self._connection.execute(
                    f"CREATE OR REPLACE VIEW {views[table]} AS {self._select(listed, query.keep_nan, query.columns)}"
                )
            # Another type of a column changes the SQL that Ibis writes, so it is part of the key.
            kinds = {view: str(self._connection.table(view).types) for view in views.values()}
            key = f"{query.name} {query.recipe} {kinds}"
            if key not in self._prepared:
                bound = {table: self._backend.table(view) for table, view in views.items()}
                expression = query.build(_variable(THIS_DAY), bound)
                self._prepared[key] = (self._backend.compile(expression), expression.schema().to_pyarrow())
            statement, schema = self._prepared[key]
            return self._connection.sql(statement).to_arrow_table().cast(schema)

    def lake_query(self, name: str, day: date, files: LakeDay, mapping: LakeMapping) -> DayQuery:
        """Return queries of a day of the lake under canonical names and types, also where its files mix types.

        What NaN means there is for `canonical` to say: a missing label, but an amount to be rejected.
        """
        tables = {f"shape{number}": group for number, group in enumerate(files.groups)}

        def rows(views: Mapping[str, ibis.Table]) -> ibis.Table:
            parts = [canonical(view, mapping, files.text_keys, unusable=files.unusable) for view in views.values()]
            return ibis.union(*parts) if len(parts) > 1 else parts[0]

        recipe = str([sorted(files.text_keys), sorted(files.unusable)]) + mapping.model_dump_json()

        def answer(shape: DayShape) -> pa.Table:
            query = _shaped(name, rows, shape, mapping)._replace(recipe=recipe, keep_nan=True)
            return self.prepared(query, day, tables)

        return answer

    def stored_query(self, name: str, day: date, paths: Sequence[Path], mapping: LakeMapping) -> DayQuery:
        """Questions about a day of the store."""

        def answer(shape: DayShape) -> pa.Table:
            query = _shaped(name, lambda views: views["rows"], shape, mapping)
            return self.prepared(query._replace(recipe=mapping.model_dump_json()), day, {"rows": paths})

        return answer

    def batches(self, expression: ibis.Table, rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        """The result as a stream of at most `rows` a batch, in bounded memory and in the same order each time.

        Each stream has a cursor of its own, so several may be read at once.
        """
        schema = expression.schema().to_pyarrow()
        # A stream on the connection itself would end at the next query; a cursor knows no registered table and no time
        # zone.
        with self._translated(self._sources(expression)), self._connection.cursor() as cursor:
            cursor.execute("SET timezone = 'UTC'")
            for name, table in self._arrow_tables(expression):
                cursor.register(name, table)
            for batch in cursor.sql(self._backend.compile(expression)).to_arrow_reader(rows):
                yield batch if batch.schema.equals(schema) else batch.cast(schema)

    def _select(self, files: Sequence[str], keep_nan: bool = False, columns: Sequence[str] | None = None) -> str:
        # Escaped: DuckDB takes `[` and `*` in a file's name for a pattern.
        listed = ", ".join(_quoted(glob.escape(file)) for file in files)
        # By name and without folder names: files of one day may differ in their order of columns, and DuckDB would read
        # `day=01` as a column.
        source = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
        described = self._connection.sql(f"SELECT * FROM {source}")
        kinds = dict(zip(described.columns, map(str, described.types), strict=True))
        read = [_read_as(_identifier(name), kinds.get(name, ""), keep_nan) for name in columns or kinds]
        return f"SELECT {', '.join(read)} FROM {source}"

    def _sources(self, expression: ibis.Table) -> tuple[str, ...]:
        tables = expression.op().find(ops.DatabaseTable)
        return tuple(file for table in tables for file in self._files.get(table.name, ()))

    def _arrow_tables(self, expression: ibis.Table) -> Iterator[tuple[str, pa.Table]]:
        for table in expression.op().find(ops.InMemoryTable):
            yield table.name, table.data.to_pyarrow(table.schema)
        for table in expression.op().find(ops.DatabaseTable):
            if table.name in self._tables:
                yield table.name, self._tables[table.name]

    @contextmanager
    def _translated(self, files: Sequence[str]) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            self._refuse(error, files)
        except RuntimeError as error:
            if str(error) == INTERRUPTED:
                raise KeyboardInterrupt from error
            raise

    def _refuse(self, error: duckdb.Error, files: Sequence[str]) -> NoReturn:
        said = str(error).split("\n", 1)[0]
        if isinstance(error, duckdb.OutOfMemoryException | duckdb.IOException) and self._about_spill(said):
            raise DependencyUnreachable(
                f"the engine could not spill to {self._spill}",
                culprits=[said],
                remedy=f"free disk space under the home folder, or {self._more_memory}",
            ) from error
        if isinstance(error, duckdb.OutOfMemoryException):
            raise DependencyUnreachable(
                f"the engine needs more than its memory limit of {self._memory_limit}",
                culprits=[said],
                remedy=self._more_memory,
            ) from error
        # DuckDB does not always name the file that it failed on, so each is read by itself.
        _refuse_files([file for file in files if not self._readable(file)], error)
        if isinstance(error, duckdb.IOException):
            raise DependencyUnreachable("the engine could not read or write", culprits=[said]) from error
        raise error

    @property
    def _more_memory(self) -> str:
        return memory_remedy(self._memory_limit, usable_memory())

    def _about_spill(self, said: str) -> bool:
        return str(self._spill) in said or any(sign in said.lower() for sign in _SPILL_FAILURES)

    def _readable(self, file: str) -> bool:
        try:
            with self._connection.cursor() as cursor:
                for _ in cursor.sql(f"SELECT * FROM read_parquet({_quoted(glob.escape(file))})").to_arrow_reader():
                    pass
        except duckdb.Error:
            return False
        return True


def _shaped(
    name: str, rows: Callable[[Mapping[str, ibis.Table]], ibis.Table], shape: DayShape, mapping: LakeMapping
) -> PreparedQuery:
    """The query that gives the canonical rows of a day one shape."""

    def build(this_day: Day, views: Mapping[str, ibis.Table]) -> ibis.Table:
        return shape(rows(views), mapping, this_day)

    return PreparedQuery(f"{name}_{shape.__name__}", build)


def lake_day(paths: Sequence[Path], mapping: LakeMapping, earlier_keys: Mapping[str, str] | None = None) -> LakeDay:
    """A day's files once their columns are known to be as mapped.

    `earlier_keys` are the key types of earlier days, which a day may not change.

    Raises:
        DataInvalid: files that are corrupt, or every column problem of every file at once.
    """
    return lake_day_of(read_schemas(paths), mapping, earlier_keys)


def lake_day_of(
    schemas: Mapping[Path, pa.Schema], mapping: LakeMapping, earlier_keys: Mapping[str, str] | None = None
) -> LakeDay:
    """As `lake_day`, of files whose schemas are known."""
    report = check_columns({path.name: schema for path, schema in schemas.items()}, mapping, earlier_keys)
    return LakeDay(
        tuple(map(tuple, same_shape(schemas))),
        report.text_keys,
        report.ignored,
        report.part_types,
        report.unusable,
        report.columns_there,
    )


def read_schemas(paths: Sequence[Path]) -> dict[Path, pa.Schema]:
    """The Arrow schema of each Parquet file, from its footer alone.

    Raises:
        DataInvalid: corrupt files, all of them named.
        DependencyUnreachable: files that cannot be reached.
    """
    if not paths:
        raise DataInvalid("the day has no files")
    schemas, corrupt = {}, []
    for path in paths:
        try:
            schemas[path] = pq.read_schema(path)
        except (OSError, pa.ArrowException) as error:
            # pyarrow raises OSError for a bad footer too, then without a number of the system.
            if isinstance(error, OSError) and error.errno is not None:
                raise DependencyUnreachable("a file of the lake could not be read", culprits=[error]) from error
            corrupt.append((path, error))
    if corrupt:
        _refuse_files([str(path) for path, _ in corrupt], corrupt[0][1])
    return schemas


def _refuse_files(files: Sequence[str], error: Exception) -> None:
    if gone := [file for file in files if not os.access(file, os.R_OK)]:
        raise DependencyUnreachable("files could not be read", culprits=gone) from error
    if files:
        said = str(error).split("\n", 1)[0]
        raise DataInvalid(
            f"corrupt Parquet: {said}",
            culprits=files,
            remedy="deliver the named files again; the other days are not affected",
        ) from error


@contextmanager
def _spill_folder(parent: Path) -> Iterator[Path]:
    """A folder of this engine's own under `parent`; folders whose engine died are cleared away."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _locked(parent / "lock", wait=True):
            _clear_dead(parent)
            folder = Path(tempfile.mkdtemp(prefix="engine-", dir=parent))
            alive = _lock(folder / "alive")
    except OSError as error:
        raise DependencyUnreachable(
            f"the engine's spill folder {parent} cannot be used", culprits=[error], remedy="free disk space there"
        ) from error
    try:
        yield folder
    finally:
        alive.close()
        shutil.rmtree(folder, ignore_errors=True)


def _clear_dead(parent: Path) -> None:
    for folder in parent.glob("engine-*"):
        try:
            # A lock ends with its process, however it died; a process id would be used again.
            _lock(folder / "alive").close()
        except BlockingIOError:
            continue
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    handle = _lock(path, wait=wait)
    try:
        yield
    finally:
        handle.close()


def _lock(path: Path, *, wait: bool = False) -> IO[bytes]:
    handle = path.open("wb")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        handle.close()
        raise
    return handle


def _read_as(column: str, kind: str, keep_nan: bool) -> str:
    """How a column of a Parquet file is read."""
    if kind in _NANOSECONDS:
        # Cut and not cast: DuckDB rounds, which puts the last moment of a day into the next.
        return f"make_timestamp(epoch_ns({column}) // 1000) AS {column}"
    if kind in _FLOATS and not keep_nan:
        return f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END AS {column}"
    return column


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
