"""Facts of the columns and days of files that nothing is mapped to yet, and a lake that is made of one of them.

Here: reading CSV and Parquet by DuckDB, in memory that does not grow with them. Not here: what the columns are
(`domain/proposal/roles.py`).
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import uuid4

import duckdb

from fraud_retraining.adapters.storage.locations import reaching
from fraud_retraining.domain.proposal.facts import (
    BOOLEAN,
    DECIMAL_COMMA,
    INTEGER,
    ISO,
    MISSING,
    NUMBER,
    TEXT,
    THOUSANDS,
    ColumnFacts,
    DayFacts,
    Kind,
    kind_of,
    pattern,
    possible_readings,
)
from fraud_retraining.domain.proposal.roles import FOLDERS, ROW_NUMBER, UNIT_SECONDS, Roles
from fraud_retraining.domain.values.errors import Conflict, DataInvalid, DependencyUnreachable

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE = 5_000
FEW_VALUES = 12
NEARLY_UNIQUE = 0.85
"""Estimates of distinct values above this share of the rows are counted."""
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""The name of DuckDB's folder for rows without a value."""
GROUP = 40
"""Columns that one query counts."""
CSV = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
_KINDS: tuple[tuple[tuple[str, ...], Kind], ...] = (
    (("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"), "integer"),
    (("FLOAT", "DOUBLE", "DECIMAL"), "number"),
    (("VARCHAR", "UUID", "ENUM"), "text"),
    (("TIMESTAMP", "DATE"), "time"),
    (("BOOLEAN",), "boolean"),
)


class Source(NamedTuple):
    """Files as a table of DuckDB: its SQL, whether every column of it is text, and the delimiter of a CSV file."""

    sql: str
    texts: bool
    delimiter: str = ","


def quoted(name: str) -> str:
    """A name of a column as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


class Profiler:
    """One DuckDB in memory; a context manager.

    Raises:
        DataInvalid: a file that is not there, is empty, or cannot be read as CSV or Parquet.
    """

    def __init__(self, *, memory_limit: str, threads: int | None, temp_directory: Path) -> None:
        self._spill = temp_directory / f"init-{uuid4().hex[:8]}"
        with reaching("make", self._spill):
            # DuckDB makes the last folder only, and only once it spills.
            self._spill.mkdir(parents=True)
        config: dict[str, Any] = {
            "memory_limit": memory_limit,
            "temp_directory": str(self._spill),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            # As of the engine of the pipeline: NaN would be missed otherwise.
            "disabled_optimizers": "statistics_propagation",
        }
        self._connection = duckdb.connect(":memory:", config=config | ({"threads": str(threads)} if threads else {}))
        self._connection.execute("SET TimeZone = 'UTC'")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def file(self, path: Path) -> Source:
        """A CSV or Parquet file, or a folder of Parquet files, whose `name=value` folders are columns.

        Raises:
            DataInvalid: it is not there, empty, or of another format.
        """
        if path.is_dir():
            found = sorted(one for one in path.rglob("*.parquet") if not one.name.startswith(("_", ".")))
            if not found:
                raise DataInvalid(f"{path} holds no Parquet file", remedy="name one CSV or Parquet file.")
            return self.parquet(found, folders=True)
        if not path.is_file():
            raise DataInvalid(f"there is no file {path}", remedy="correct --transactions.")
        if not path.stat().st_size:
            raise DataInvalid(f"{path} is empty", remedy="name a file with a header and rows.")
        with path.open("rb") as file:
            if file.read(4) == b"PAR1":
                return self.parquet([path])
        if not path.name.lower().endswith(CSV):
            raise DataInvalid(
                f"{path} is neither Parquet nor named as CSV", remedy=f"convert it; CSV files end in {', '.join(CSV)}."
            )
        return self._csv(path)

    def parquet(self, paths: Sequence[Path], *, folders: bool = False) -> Source:
        """Parquet files as one table, columns matched by name."""
        listed = ", ".join(literal(str(path)) for path in paths)
        hive = "true, hive_types_autocast = false" if folders else "false"
        return Source(f"read_parquet([{listed}], union_by_name = true, hive_partitioning = {hive})", texts=False)

    def _csv(self, path: Path) -> Source:
        # As text: a type that DuckDB chose by the first rows would lose leading zeros, and fail at a later row.
        options = "all_varchar = true, null_padding = false, strict_mode = true"
        with self._reading(path):
            sniffed = self._connection.execute(
                f"SELECT Delimiter, HasHeader FROM sniff_csv({literal(str(path))}, all_varchar = true)"
            ).fetchone()
        delimiter, header = sniffed or (",", True)
        if not header:
            raise DataInvalid(f"{path} has no header", remedy="write the names of its columns into its first line.")
        sql = f"read_csv({literal(str(path))}, header = true, delim = {literal(delimiter)}, {options})"
        return Source(sql, texts=True, delimiter=delimiter)

    def columns(self, source: Source) -> list[ColumnFacts]:
        """Facts of every column, by one or a few passes over all rows.

        Raises:
            DataInvalid: there are no rows, or a row cannot be read.
        """
        with self._reading(source.sql):
            described = self._connection.execute(f"DESCRIBE SELECT * FROM {source.sql}").fetchall()
            names = {str(row[0]): str(row[1]) for row in described}
            sample = self._connection.sql(f"SELECT * FROM {source.sql} LIMIT {SAMPLE}").to_arrow_table()
            tried = {
                name: possible_readings(
                    [str(value) for value in sample.column(name).to_pylist() if value is not None], source.delimiter
                )
                if source.texts or _kind(kind) == "text"
                else ()
                for name, kind in names.items()
            }
            facts: list[ColumnFacts] = []
            listed = list(names)
            for start in range(0, len(listed), GROUP):
                part = {name: names[name] for name in listed[start : start + GROUP]}
                facts += self._counted(source, part, tried)
            return facts

    def _counted(
        self, source: Source, names: Mapping[str, str], tried: Mapping[str, Sequence[str]]
    ) -> list[ColumnFacts]:
        """Facts of some columns by two passes: how many values there are, then what those values are."""
        selected = ["count(*)"]
        for name, type_name in names.items():
            value = _value(name, type_name)
            selected += [f"count({value})", f"approx_count_distinct({value})"]
            selected += [f"count({_read(value, reading)})" for reading in tried[name]]
        rows, *answers = self._one_row(source, selected)
        if not rows:
            raise DataInvalid("there are no rows", remedy="name a file or lake with transactions.")
        counted, found = iter(answers), []
        for name, type_name in names.items():
            known, distinct = next(counted), next(counted)
            readable = tuple(reading for reading in tried[name] if next(counted) == known)
            found.append(_column(source, name, type_name, (rows, known, min(distinct, known)), readable))
        return self._looked_into(source, names, found)

    def _looked_into(
        self, source: Source, names: Mapping[str, str], columns: Sequence[ColumnFacts]
    ) -> list[ColumnFacts]:
        """The same with ranges, the values where they are few, and an exact count where it may be an id."""
        selected: list[str] = []
        for one in columns:
            value = _value(one.name, names[one.name])
            ranged = _read(value, one.readings[0]) if one.readings else value
            is_ranged, is_few, is_id = one.kind in ("integer", "number", "time"), _has_few(one), _may_be_id(one)
            selected.append(f"min({ranged})::VARCHAR" if is_ranged else "NULL")
            selected.append(f"max({ranged})::VARCHAR" if is_ranged else "NULL")
            selected.append(
                f"list_sort(list(DISTINCT {value}::VARCHAR) FILTER ({value} IS NOT NULL))" if is_few else "NULL"
            )
            # Whether every row has its own is what makes an id, and an estimate cannot say it.
            selected.append(f"count(DISTINCT hash({value}))" if is_id else "NULL")
        answers = iter(self._one_row(source, selected))
        found = []
        for one in columns:
            least, most, values, exact = (next(answers) for _ in range(4))
            few = tuple(values) if values is not None and len(values) <= FEW_VALUES else ()
            found.append(
                one.model_copy(
                    update={
                        "least": least or "",
                        "most": most or "",
                        "values": few,
                        "distinct": len(values) if values is not None else one.distinct if exact is None else exact,
                        "exact": values is not None or exact is not None,
                    }
                )
            )
        return found

    def _one_row(self, source: Source, selected: Sequence[str]) -> tuple[Any, ...]:
        return self._connection.execute(f"SELECT {', '.join(selected)} FROM {source.sql}").fetchone() or ()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows that a statement gives.

        Raises:
            DataInvalid: the rows that it reads cannot be read.
            DependencyUnreachable: memory or disk do not suffice.
        """
        with self._reading(sql):
            return self._connection.execute(sql).fetchall()

    def schema(self, sql: str) -> "pa.Schema":
        """Names and types of the columns of a table."""
        with self._reading(sql):
            return self._connection.sql(f"SELECT * FROM {sql} LIMIT 0").to_arrow_table().schema

    def days(self, source: Source, roles: Roles) -> list[DayFacts]:
        """Rows, labelled rows and frauds of every UTC day, oldest first.

        Raises:
            DataInvalid: a row has no time, so that it belongs to no day.
        """
        time, label, rejected = time_sql(roles), label_sql(roles), rejected_sql(source, roles)
        with self._reading(source.sql):
            found = self._connection.execute(
                f"SELECT ({time})::DATE AS day, count(*), count({label}), coalesce(sum({label}), 0), "
                f"count(*) FILTER ({rejected}) "
                f"FROM {source.sql} GROUP BY 1 ORDER BY 1 NULLS FIRST"
            ).fetchall()
        return day_facts(found, roles)

    def write_lake(self, source: Source, roles: Roles, lake: Path, days: int) -> int:
        """Write all rows of a source as a lake, one folder a UTC day; whole or not at all. The number of rows.

        Raises:
            Conflict: something lies there already.
            DataInvalid: a row has no time, so that it belongs to no day.
            DependencyUnreachable: the disk is full.
        """
        time = time_sql(roles)
        with self._reading(source.sql), _whole_folder(lake) as folder:
            columns = [column_sql(source, name, roles) for name in self._names(source) if name.lower() not in FOLDERS]
            added = [f"row_number() OVER () AS {quoted(ROW_NUMBER)}"] if roles.transaction_id is None else []
            parts = [f"strftime(\"__time\", '{sign}') AS {part}" for part, sign in _PARTS.items()]
            # Sorted, which DuckDB does on disk: otherwise a file of a day would be begun for every few of its rows.
            # The number of a row is its place in the file; nothing else depends on the order.
            self._connection.execute(f"SET preserve_insertion_order = {'true' if added else 'false'}")
            self._connection.execute(f"SET partitioned_write_max_open_files = {min(max(days, 100), 1000)}")
            inner = f'SELECT *, {time} AS "__time"{"".join(f", {one}" for one in added)} FROM {source.sql}'
            written = self._connection.execute(
                f"COPY (SELECT {', '.join([*columns, *(quoted(ROW_NUMBER) for _ in added), *parts])} FROM ({inner}) "
                f'ORDER BY "__time") TO {literal(str(folder))} '
                "(FORMAT parquet, COMPRESSION zstd, PARTITION_BY (year, month, day))"
            ).fetchone()
            if (folder / f"year={NO_VALUE}").exists():
                raise _without_time(0, roles)
        return int(written[0]) if written else 0

    def _names(self, source: Source) -> list[str]:
        return [str(row[0]) for row in self._connection.execute(f"DESCRIBE SELECT * FROM {source.sql}").fetchall()]

    @contextmanager
    def _reading(self, what: object) -> Iterator[None]:
        try:
            yield
        except duckdb.OutOfMemoryException as error:
            raise DependencyUnreachable(
                f"the engine ran out of memory or disk: {str(error).splitlines()[0]}",
                remedy="free disk space under FRAUD_RETRAINING_HOME, or give this machine more memory.",
            ) from error
        except duckdb.IOException as error:
            raise DependencyUnreachable(
                f"a file cannot be read or written: {str(error).splitlines()[0]}",
                remedy="look at the disk and its space.",
            ) from error
        except duckdb.Error as error:
            raise DataInvalid(
                "the rows cannot be read",
                # Behind `LINE 1:` DuckDB repeats its own statement.
                culprits=[line for line in str(error).partition("\nLINE ")[0].splitlines() if line.strip()][:6],
                remedy="correct the rows that are named, or write the file anew as UTF-8 CSV or Parquet.",
            ) from error


def day_facts(found: Sequence[tuple[Any, ...]], roles: Roles) -> list[DayFacts]:
    """Days from their counts (day, rows, labelled, frauds, rejected), oldest first, rows without a day before them.

    Raises:
        DataInvalid: a row has no time, so that it belongs to no day; or there is no row.
    """
    if found and found[0][0] is None:
        raise _without_time(found[0][1], roles)
    if not found:
        raise DataInvalid("no row has a time", culprits=[roles.time.words], remedy="see --time-column, --time-format.")
    return [
        DayFacts(day=day, rows=rows, labelled=known, frauds=int(frauds), rejected=bad)
        for day, rows, known, frauds, bad in found
    ]


def _without_time(rows: int, roles: Roles) -> DataInvalid:
    return DataInvalid(
        f"{f'{rows:,}' if rows else 'some'} rows have no time that can be read from {roles.time.name}",
        remedy="correct or remove them, or name another --time-column or --time-format.",
    )


def _column(
    source: Source, name: str, type_name: str, counts: tuple[int, int, int], readable: tuple[str, ...]
) -> ColumnFacts:
    """A column by its counts (rows, rows with a value, distinct values) and how its texts can be read."""
    rows, known, distinct = counts
    kind: Kind = "empty" if not known else kind_of(readable[0]) if readable else _kind(type_name)
    # A text of Parquet stays text; only its times are converted.
    if not source.texts and readable and known and kind != "time":
        kind = "text"
    readings = readable if kind == "time" or source.texts else ()
    return ColumnFacts(name=name, kind=kind, rows=rows, missing=rows - known, distinct=distinct, readings=readings)


def _has_few(one: ColumnFacts) -> bool:
    return one.distinct <= FEW_VALUES and one.kind not in ("empty", "other", "time")


def _may_be_id(one: ColumnFacts) -> bool:
    return one.kind in ("integer", "text") and one.distinct >= NEARLY_UNIQUE * one.known and not _has_few(one)


_PARTS = {"year": "%Y", "month": "%m", "day": "%d"}


def _kind(type_name: str) -> Kind:
    return next((kind for names, kind in _KINDS if type_name.startswith(names)), "other")


def _value(name: str, type_name: str) -> str:
    """A column as SQL; null where it holds what stands for a missing value."""
    column = quoted(name)
    if _kind(type_name) == "text":
        missing = ", ".join(literal(word) for word in MISSING)
        return f"(CASE WHEN lower(trim({column}::VARCHAR)) IN ({missing}) THEN NULL ELSE {column}::VARCHAR END)"
    return f"(CASE WHEN isnan({column}) THEN NULL ELSE {column} END)" if _is_float(type_name) else column


def _is_float(type_name: str) -> bool:
    return type_name in ("FLOAT", "DOUBLE")


def _read(value: str, reading: str) -> str:
    """A text read in one way; null where it cannot be."""
    text = f"trim({value})"
    if reading == TEXT:
        return value
    casts = {
        BOOLEAN: f"try_cast({text} AS BOOLEAN)",
        INTEGER: f"try_cast({text} AS BIGINT)",
        NUMBER: f"try_cast({text} AS DOUBLE)",
        DECIMAL_COMMA: f"try_cast(replace(replace({text}, '.', ''), ',', '.') AS DOUBLE)",
        THOUSANDS: f"try_cast(replace({text}, ',', '') AS DOUBLE)",
        # A cast to a timestamp without a zone would drop the offset.
        ISO: f"make_timestamp(epoch_us(try_cast({text} AS TIMESTAMPTZ)))",
    }
    if (form := pattern(reading)) is not None:
        return f"(CASE WHEN regexp_full_match({text}, {literal(form)}) THEN {casts[reading]} END)"
    return f"try_strptime({text}, {literal(reading)})::TIMESTAMP"


def time_sql(roles: Roles) -> str:
    """The time of a row as a UTC timestamp."""
    column, reading = quoted(roles.time.name), roles.time_reading
    if reading in UNIT_SECONDS:
        start = roles.origin or date(1970, 1, 1)
        micros = UNIT_SECONDS[reading] * 1_000_000
        number = f"try_cast({column} AS DOUBLE)" if roles.time.kind == "number" else f"try_cast({column} AS HUGEINT)"
        counted = f"{number} * {micros:.0f}" if micros >= 1 else f"{number} // {1 / micros:.0f}"
        return f"make_timestamp(epoch_us(TIMESTAMP '{start} 00:00:00') + ({counted})::BIGINT)"
    if reading:
        return _read(_value(roles.time.name, "VARCHAR"), reading)
    # With a zone its moment counts; a date alone is its midnight.
    return f"make_timestamp(epoch_us({column}::TIMESTAMPTZ))"


def label_sql(roles: Roles) -> str:
    """The label of a row: 1 fraud, 0 not, null unknown."""
    if roles.label is None:
        return "NULL::INTEGER"
    text = f"lower(trim({quoted(roles.label.name)}::VARCHAR))"
    if roles.fraud_values:
        listed = ", ".join(literal(value.strip().lower()) for value in roles.fraud_values)
        others = ", ".join(literal(value.strip().lower()) for value in roles.genuine_values)
        return f"(CASE WHEN {text} IN ({listed}) THEN 1 WHEN {text} IN ({others}) THEN 0 END)"
    return f"(CASE WHEN {text} IN ('true', '1', '1.0') THEN 1 WHEN {text} IN ('false', '0', '0.0') THEN 0 END)"


def rejected_sql(source: Source, roles: Roles) -> str:
    """Whether a row will be rejected for its amount or its id, as SQL."""
    amount = _value(roles.amount.name, "VARCHAR" if source.texts else "DOUBLE")
    if source.texts:
        amount = _read(amount, roles.amount.readings[0] if roles.amount.readings else NUMBER)
    bad = f"{amount} IS NULL OR {amount} < 0"
    if roles.transaction_id is None:
        return bad
    return f"{bad} OR {_value(roles.transaction_id.name, 'VARCHAR')} IS NULL"


def column_sql(source: Source, name: str, roles: Roles) -> str:
    """A column of the lake that is written, under its name: texts of CSV in the type that they were read as."""
    facts = {one.name: one for one in _all(roles)}
    column = quoted(name)
    if name == roles.time.name:
        return f'"__time" AS {column}'
    known = facts.get(name)
    if roles.label_time is not None and name == roles.label_time.name and roles.label_time.readings:
        same = [one for one in roles.label_time.readings if one[:2] == roles.time_reading[:2]]
        return f"{_read(_value(name, 'VARCHAR'), (same or roles.label_time.readings)[0])} AS {column}"
    if source.texts and known is not None and known.readings and known.kind != "text":
        reading = known.readings[0] if known.kind != "time" else TEXT
        return f"{_read(_value(name, 'VARCHAR'), reading)} AS {column}"
    return f"{_value(name, 'VARCHAR')} AS {column}" if source.texts else column


def _all(roles: Roles) -> Iterator[ColumnFacts]:
    yield from (one for one in (roles.transaction_id, roles.amount, roles.label, roles.label_time) if one is not None)
    yield from (entity.column for entity in roles.entities)
    yield from (*roles.numeric, *roles.categorical, *roles.forbidden)
    yield from (one for one, _ in roles.left_out)


@contextmanager
def _whole_folder(lake: Path) -> Iterator[Path]:
    """A folder beside the lake's place that takes its place once it is whole, and is removed otherwise.

    Raises:
        Conflict: something lies there already.
    """
    if lake.exists() and (not lake.is_dir() or any(lake.iterdir())):
        raise Conflict(
            f"{lake} is there already, and nothing is overwritten",
            remedy="name another folder for the lake; or, if that is the lake, leave out --transactions.",
        )
    lake.parent.mkdir(parents=True, exist_ok=True)
    part = lake.with_name(f".{lake.name}.{uuid4().hex[:8]}.partial")
    try:
        yield part
        # An empty folder is replaced; one that has been filled meanwhile refuses.
        os.replace(part, lake)
    finally:
        shutil.rmtree(part, ignore_errors=True)
