"""A table of Amazon Athena as a lake: its settings, its queries, and what a row of their answers means.

Here: SQL that Athena and DuckDB both understand, and the paths and versions of days. Not here: sending queries
(`adapters/storage/athena.py`).
"""

import re
from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import NamedTuple, Self

from pydantic import Field

from fraud_retraining.domain.values.base import Policy

SCHEME = "athena://"
FILE = "rows.parquet"
_DAY = re.compile(r"year=(\d{4})/month=(\d{2})/day=(\d{2})/" + re.escape(FILE))


class AthenaPolicy(Policy):
    """A table of Athena, and what its queries may take."""

    database: str = Field(min_length=1, description="Database of the table.")
    table: str = Field(min_length=1, description="Table, or a view for which `modified` is set.")
    output: str = Field(
        pattern=r"^s3://[^/]+(/.*)?$",
        description="s3:// prefix for results and unloaded rows, of this project alone: they are deleted when read.",
    )
    workgroup: str = Field("primary", min_length=1, description="Workgroup; it has to limit the bytes of a query.")
    catalog: str = Field("AwsDataCatalog", min_length=1, description="Data catalog of the database.")
    day: str = Field(
        "TRY_CAST(day AS date)",
        min_length=1,
        description="SQL of a row's UTC day, of partition columns alone, so that other days are not scanned.",
    )
    modified: str = Field(
        'max("$file_modified_time")',
        min_length=1,
        description="SQL aggregate that says when a day was written last; a view needs one of its own columns.",
    )
    max_scanned_bytes: int = Field(
        200 * 2**30, ge=10 * 2**20, description="Most bytes that one query may scan; the workgroup's limit is below."
    )
    deadline_seconds: float = Field(
        900, gt=0, le=7200, description="Longest that a query may take; then it is stopped."
    )
    listing_seconds: float = Field(
        45, gt=0, le=900, description="Longest that a listing of days may take; a sensor waits for it."
    )
    listing_keep_seconds: float = Field(
        120, ge=0, le=3600, description="Time for which a process believes a listing; every query is paid for."
    )
    poll_seconds: float = Field(1.0, gt=0, le=60, description="Time between two looks at a query that runs.")
    endpoint: str | None = Field(None, description="Endpoint of another server that speaks Athena's protocol.")

    @property
    def uri(self) -> str:
        """The table, as a person would write it."""
        return f"{SCHEME}{self.database}.{self.table}"

    def at(self, uri: str) -> Self:
        """The same for another table, `athena://database.table`; a name without a point is of the same database."""
        database, _, table = uri.removeprefix(SCHEME).rpartition(".")
        return self.model_copy(update={"database": database or self.database, "table": table})

    @property
    def name(self) -> str:
        """The table in SQL."""
        return f"{quoted(self.database)}.{quoted(self.table)}"

    def days_query(self, where: str = "") -> str:
        """The days of the table, each with its rows and its last change."""
        day = f"CAST({self.day} AS varchar)"
        return (
            f"SELECT {day} AS day, CAST(count(*) AS varchar) AS row_count, "
            f"CAST({self.modified} AS varchar) AS modified FROM {self.name} {where} GROUP BY {day}"
        )

    def between(self, first: date, last: date) -> str:
        """The partition filter of some days."""
        return f"WHERE {self.day} BETWEEN DATE '{first}' AND DATE '{last}'"

    def unload_query(self, day: date, columns: Collection[str] | None, target: str) -> str:
        """What writes the rows of a day as Parquet files below a target."""
        chosen = ", ".join(quoted(name) for name in columns) if columns else "*"
        return (
            f"UNLOAD (SELECT {chosen} FROM {self.name} {self.between(day, day)}) "
            f"TO '{target}' WITH (format = 'PARQUET', compression = 'SNAPPY')"
        )


class TableColumns(NamedTuple):
    """Names and types of a table's columns, those that it is partitioned by apart; a view has none of these."""

    columns: tuple[tuple[str, str], ...]
    partitions: tuple[tuple[str, str], ...]
    is_view: bool = False


class TableDay(NamedTuple):
    """A day of the table. `day` is None for rows that have none."""

    day: date | None
    rows: int
    modified: str

    @property
    def version(self) -> str:
        """What changes whenever the day is written again."""
        return f"{self.rows} rows, {self.modified}"

    @property
    def path(self) -> str:
        """The day as the lake's layout names it."""
        if self.day is None:
            return "rows-without-a-day"
        return self.day.strftime("year=%Y/month=%m/day=%d/") + FILE

    @property
    def seconds(self) -> float:
        """Its last change in seconds since 1970, from a time like `2026-03-01 10:00:00.000 UTC`; else 0.0."""
        try:
            return datetime.fromisoformat(self.modified[:19]).replace(tzinfo=UTC).timestamp()
        except ValueError:
            return 0.0


def table_day(day: str | None, rows: str | None, modified: str | None) -> TableDay:
    """A row of `AthenaPolicy.days_query`; a day that is no date is none.

    >>> table_day("2026-03-01", "12", "2026-03-02 04:00:00.000 UTC").path
    'year=2026/month=03/day=01/rows.parquet'
    """
    try:
        found = date.fromisoformat((day or "")[:10])
    except ValueError:
        found = None
    return TableDay(found, int(rows or 0), modified or "")


def day_of_path(path: str) -> date:
    """The day that a path names.

    Raises:
        ValueError: it is no day of a table.
    """
    found = _DAY.fullmatch(path)
    if found is None:
        raise ValueError(f"{path} is no day of a table")
    return date(*(int(part) for part in found.groups()))


def rows_of_version(version: str) -> int:
    """The rows that a day had when it was listed."""
    return int(version.split(" ", 1)[0])


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'
