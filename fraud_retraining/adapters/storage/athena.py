"""A table of Amazon Athena as a location: its days are the lake's, and a day's file is what a query gives.

Here: the queries, their limits and what their failures mean. Not here: which days count and how a file is read
(`adapters/storage/lake.py`), and S3 (`adapters/storage/s3.py`). boto3, AWS's own library, speaks to the service:
dagster-aws's client neither stops a query whose time is over nor gives Parquet.

A day is listed with its number of rows and the time of its last change. It is fetched by UNLOAD into an empty prefix of
its own; of that, what the query's manifest names is read and nothing else, and rows that were listed and rows that came
have to be as many. So an attempt that failed half-way leaves files that nobody reads, and they are deleted.
"""

import csv
import io
import logging
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from fraud_retraining.adapters.storage.locations import (
    Listing,
    LocalFiles,
    ObjectInfo,
    changed,
    reaching,
    temporary_file,
)
from fraud_retraining.adapters.storage.s3 import ObjectCache, S3Location
from fraud_retraining.domain.data.athena_table import (
    AthenaPolicy,
    TableColumns,
    TableDay,
    day_of_path,
    rows_of_version,
    table_day,
)
from fraud_retraining.domain.data.lake_layout import DayLimits
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable, SettingsError

LOG = logging.getLogger(__name__)

RAN, RUNNING = "SUCCEEDED", ("QUEUED", "RUNNING")
OF_USER = 2
"""Athena's category of errors that the query or its tables are the cause of; 1 is the service's own."""
ORPHANS_AFTER = timedelta(days=1)
_LISTED: dict[tuple[str, str, str], tuple[float, list[ObjectInfo]]] = {}
_LISTING = Lock()
BATCH_ROWS = 131_072
_MONTH = re.compile(r"year=(\d{4})/month=(\d{1,2})")
_STAMP = "%Y%m%dT%H%M%SZ"


class AthenaLocation:
    """The days of a table, each as one Parquet file `year=YYYY/month=MM/day=DD/rows.parquet`.

    Args:
        policy: the table.
        client: boto3's client of Athena.
        columns: columns that are unloaded, under these very names; None: all.
        optional: those of them that are left out where the table has none of that name; the catalog is asked then.
        limits: what a day may be; a larger one is refused before it is unloaded or downloaded.
        output: the prefix of `policy.output`.
        cache: where unloaded days are kept.
        setting: the part of the settings that names the table, for messages.

    Raises:
        SettingsError: the workgroup sets no limit, or a larger one than the settings.
        DataInvalid: Athena refuses the query for its table or columns, or it scanned too much.
        DependencyUnreachable: Athena failed, or took too long.
    """

    def __init__(
        self,
        policy: AthenaPolicy,
        client: Callable[[], Any],
        *,
        columns: Collection[str] | None,
        optional: Collection[str] = (),
        limits: DayLimits,
        output: S3Location,
        cache: ObjectCache,
        setting: str = "lake",
    ) -> None:
        self._policy = policy
        self._open = client
        self._wanted = columns
        self._optional = frozenset(optional)
        self._limits = limits
        self._output = output
        self._cache = cache
        self._setting = setting
        self._scanned = 0
        self._counting = Lock()

    one_file_a_day = True

    @property
    def uri(self) -> str:
        """`athena://database.table`."""
        return self._policy.uri

    @property
    def scanned_bytes(self) -> int:
        """What the queries of this object scanned so far."""
        return self._scanned

    def described(self) -> TableColumns:
        """The columns and partitions of the table, from the data catalog; nothing is scanned.

        Raises:
            DataInvalid: the catalog knows no such table.
            DependencyUnreachable: Athena does not answer, or does not let this account ask (`athena:GetTableMetadata`).
        """
        from botocore.exceptions import ClientError

        with self._translated("describe the table (athena:GetTableMetadata)"):
            try:
                found = self._client.get_table_metadata(
                    CatalogName=self._policy.catalog, DatabaseName=self._policy.database, TableName=self._policy.table
                )["TableMetadata"]
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "MetadataException":
                    raise
                raise DataInvalid(
                    f"there is no table {self.uri}",
                    culprits=[str(error.response["Error"].get("Message"))],
                    remedy="correct database and table, region and catalog.",
                ) from error
        columns, partitions = (
            tuple((str(one["Name"]), str(one.get("Type", "")).lower()) for one in found.get(part, ()))
            for part in ("Columns", "PartitionKeys")
        )
        return TableColumns(columns, partitions, is_view="VIEW" in str(found.get("TableType", "")).upper())

    @cached_property
    def _columns(self) -> Collection[str] | None:
        """The columns that are unloaded: one that the table has not would end the query of every day."""
        if self._wanted is None or not self._optional:
            return self._wanted
        try:
            table = self.described()
        except DependencyUnreachable as error:
            # Who may unload need not be permitted to read the catalog; Athena itself refuses a column then.
            LOG.warning("columns of %s are asked for without the catalog: %s", self.uri, error)
            return self._wanted
        there = {name.casefold() for name, _ in (*table.columns, *table.partitions)}
        return [name for name in self._wanted if name not in self._optional or name.casefold() in there]

    def survey(self, prefix: str = "") -> Listing:
        """The days of the table, or of the month that a prefix names. Rows without a day are named as a problem."""
        if not prefix:
            return self._days("")
        month = _MONTH.fullmatch(prefix)
        # A month is asked for in both spellings, and listed in one.
        if month is None or len(month[2]) != 2:
            return []
        first = date(int(month[1]), int(month[2]), 1)
        last = (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)
        return self._days(self._policy.between(first, last))

    def exists_root(self) -> bool:
        """Whether the table is there: a query of it that found no row says so."""
        return True

    def first_bytes(self, info: ObjectInfo, count: int) -> bytes:
        """Nothing: a day's file has a name that says what it is."""
        return b""

    def fetch(self, objects: Sequence[ObjectInfo]) -> LocalFiles:
        """The rows of each day as one local file.

        Raises:
            IntegrityError: a day was written again since it was listed, or other rows came than were listed.
        """
        return [self._day(info) for info in objects]

    # ------------------------------------------------------------ listing

    def _days(self, where: str) -> list[ObjectInfo]:
        query = self._policy.days_query(where)
        known = (self._policy.catalog, self._policy.workgroup, query)
        # Several sensors of a process ask for the same days within seconds, and each query is paid for.
        with _LISTING:
            at, found = _LISTED.get(known, (float("-inf"), []))
            if time.monotonic() - at > self._policy.listing_keep_seconds:
                found = self._listed_now(where)
                _LISTED[known] = (time.monotonic(), found)
        return found

    def _listed_now(self, where: str) -> list[ObjectInfo]:
        rows = self._rows(self._policy.days_query(where), self._policy.listing_seconds)
        return sorted(_info(table_day(*row)) for row in rows)

    def _day(self, info: ObjectInfo) -> Path:
        day, rows = day_of_path(info.path), rows_of_version(info.version)
        # What a day's file holds depends on the query, and not on the table alone.
        asked = digest([self._policy.catalog, self._policy.unload_query(day, self._columns, "")])
        copy = self._cache.place(f"{self.uri}?{asked}", info)
        if copy.exists():
            os.utime(copy)
            return copy
        if rows > self._limits.max_rows:
            raise self._too_large(day, f"{rows:,} rows", "max_rows", self._limits.max_rows)
        self._require_unchanged(info, day)
        with temporary_file(copy.parent) as joined:
            with self._unloaded(day) as files:
                parts = self._downloaded(day, files, copy)
                came = _joined(parts, joined, self._columns)
                for part in parts:
                    part.unlink(missing_ok=True)
            if came != rows:
                raise changed(self.uri, [f"{day}: {came} rows were unloaded, and it was listed as {info.version}"])
            self._require_unchanged(info, day)
            with reaching("write", copy), joined.open("rb") as written:
                os.fsync(written.fileno())
                joined.replace(copy)
        return copy

    def _downloaded(self, day: date, files: Sequence[ObjectInfo], copy: Path) -> Sequence[Path]:
        """The parts of a day; they lie beside the file that they are joined into until it is written."""
        size = sum(file.size for file in files)
        if size > self._limits.max_bytes:
            raise self._too_large(day, f"{size:,} bytes", "max_bytes", self._limits.max_bytes)
        self._cache.make_room(2 * size, using=[copy])
        return self._output.fetch(files)

    def _too_large(self, day: date, found: str, setting: str, most: int) -> DataInvalid:
        return DataInvalid(
            f"{day} of {self.uri} has {found}, and a day may have {most:,}",
            remedy=f"look at the table; or, if it is right, raise lake.limits.{setting} in the settings.",
        )

    def _require_unchanged(self, info: ObjectInfo, day: date) -> None:
        found = self._listed_now(self._policy.between(day, day))
        if [one.version for one in found] != [info.version]:
            now = found[0].version if found else "is gone"
            raise changed(self.uri, [f"{day}: was listed as {info.version}, now {now}"])

    @contextmanager
    def _unloaded(self, day: date) -> Iterator[list[ObjectInfo]]:
        """The files of a day's rows, deleted afterwards."""
        self._delete_orphans()
        folder = f"unload/{datetime.now(UTC):{_STAMP}}-{uuid4().hex}"
        if self._output.list(folder):
            raise DependencyUnreachable(
                f"{self._output.uri}/{folder} is not empty", remedy="let nothing else write below the output prefix."
            )
        query = self._policy.unload_query(day, self._columns, f"{self._output.uri}/{folder}/")
        try:
            done = self._run(query, self._policy.deadline_seconds)
            yield self._files_of(done, folder, day)
        finally:
            self._delete(folder)

    def _delete(self, folder: str) -> None:
        for file in self._output.list(folder):
            self._output.delete(file.path)

    def _files_of(self, done: Mapping[str, Any], folder: str, day: date) -> list[ObjectInfo]:
        """What the manifest of an UNLOAD names; files beside it are of nobody."""
        manifest = self._manifest(str(done.get("Statistics", {}).get("DataManifestLocation", "")), day)
        there = {f"{self._output.uri}/{file.path}": file for file in self._output.list(folder)}
        missing = [name for name in manifest if name not in there]
        if missing or not manifest:
            raise DependencyUnreachable(
                f"what Athena unloaded of {day} is incomplete",
                culprits=missing or ["the manifest names no file"],
                remedy="run again; let no rule of the bucket remove files of this day below the output prefix.",
            )
        return [there[name] for name in manifest]

    def _manifest(self, uri: str, day: date) -> list[str]:
        base = f"{self._output.uri}/"
        # Results of a workgroup that enforces its own settings lie elsewhere.
        data = self._output.read_bytes(uri.removeprefix(base)) if uri.startswith(base) else None
        if data is None:
            raise SettingsError(
                f"the manifest of what Athena unloaded of {day} is not below {base}",
                culprits=[uri or "Athena names none"],
                remedy=f"set {self._setting}.output to the prefix that the workgroup {self._policy.workgroup} "
                "enforces, or let the workgroup not enforce one.",
            )
        return [line[0] for line in csv.reader(io.StringIO(data.decode())) if line]

    def _delete_orphans(self) -> None:
        """Rows and results of queries that were cut off, older than any query may be."""
        before = datetime.now(UTC) - ORPHANS_AFTER
        for folder in self._output.folders("unload"):
            if folder < f"{before:{_STAMP}}":
                self._delete(f"unload/{folder}")
        for file in self._output.list("results"):
            if file.modified < before.timestamp():
                self._output.delete(file.path)

    # ------------------------------------------------------------ queries

    @cached_property
    def _client(self) -> Any:
        client = self._open()
        with self._translated("read the workgroup"):
            group = client.get_work_group(WorkGroup=self._policy.workgroup)["WorkGroup"]
        limit = group.get("Configuration", {}).get("BytesScannedCutoffPerQuery")
        if limit is None or limit > self._policy.max_scanned_bytes:
            found = "sets no limit" if limit is None else f"allows {limit:,} bytes"
            raise SettingsError(
                f"the workgroup {self._policy.workgroup} {found} for a query, and "
                f"{self._setting}.max_scanned_bytes is {self._policy.max_scanned_bytes:,}",
                remedy=f"aws athena update-work-group --work-group {self._policy.workgroup} --configuration-updates "
                f"BytesScannedCutoffPerQuery={self._policy.max_scanned_bytes}",
            )
        self._require_own_results(group.get("Configuration", {}))
        return client

    def _require_own_results(self, group: Mapping[str, Any]) -> None:
        """Raise SettingsError where the workgroup puts results elsewhere: the manifest would not be found."""
        enforced = str(group.get("ResultConfiguration", {}).get("OutputLocation", ""))
        if group.get("EnforceWorkGroupConfiguration") and not f"{enforced.rstrip('/')}/".startswith(
            f"{self._output.uri}/"
        ):
            raise SettingsError(
                f"the workgroup {self._policy.workgroup} puts results into {enforced or 'a place of its own'}, "
                f"which is not below {self._setting}.output",
                remedy=f"set {self._setting}.output to a prefix of this project's own and the workgroup's result "
                "location to results/ below it, or let the workgroup not enforce its settings.",
            )

    def _rows(self, query: str, seconds: float) -> list[list[str | None]]:
        """The rows of a small answer, without its heading."""
        done = self._run(query, seconds)
        try:
            return self._answer(done)
        finally:
            for kind in (".csv", ".csv.metadata"):
                self._output.delete(f"results/{done['QueryExecutionId']}{kind}")

    def _answer(self, done: Mapping[str, Any]) -> list[list[str | None]]:
        found: list[list[str | None]] = []
        asked: dict[str, Any] = {"QueryExecutionId": done["QueryExecutionId"]}
        while True:
            with self._translated("give the result of a query"):
                page = self._client.get_query_results(**asked)
            found += [[cell.get("VarCharValue") for cell in row["Data"]] for row in page["ResultSet"]["Rows"]]
            if not page.get("NextToken"):
                return found[1:]
            asked["NextToken"] = page["NextToken"]

    def _run(self, query: str, seconds: float) -> Mapping[str, Any]:
        """The execution of a query that succeeded; one that did not, or takes too long, is stopped."""
        with self._translated("start a query"):
            started = self._client.start_query_execution(
                QueryString=query,
                # A request that is repeated for a lost answer starts nothing twice.
                ClientRequestToken=uuid4().hex,
                QueryExecutionContext={"Database": self._policy.database, "Catalog": self._policy.catalog},
                ResultConfiguration={"OutputLocation": f"{self._output.uri}/results/"},
                WorkGroup=self._policy.workgroup,
            )["QueryExecutionId"]
        state = RUNNING[0]
        deadline = time.monotonic() + seconds
        try:
            while state in RUNNING:
                with self._translated("give the state of a query"):
                    done: Mapping[str, Any] = self._client.get_query_execution(QueryExecutionId=started)
                done = done["QueryExecution"]
                state = done["Status"]["State"]
                if state in RUNNING:
                    if time.monotonic() > deadline:
                        raise DependencyUnreachable(
                            f"Athena needed more than {seconds:g} s for a query of {self.uri}; it was stopped",
                            remedy=f"run again, or raise {self._setting}.deadline_seconds (of an unload) or "
                            f"{self._setting}.listing_seconds.",
                        )
                    time.sleep(self._policy.poll_seconds)
        finally:
            if state in RUNNING:
                self._stop(started)
        with self._counting:
            self._scanned += int(done.get("Statistics", {}).get("DataScannedInBytes", 0))
        self._require_success(done, state)
        return done

    def _stop(self, execution: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.stop_query_execution(QueryExecutionId=execution)
        except (BotoCoreError, ClientError) as error:  # raised, it would hide why the query is stopped
            LOG.warning("the query %s of %s could not be stopped: %s", execution, self.uri, error)

    def _require_success(self, done: Mapping[str, Any], state: str) -> None:
        if state != RAN:
            status = done["Status"]
            why = str(status.get("StateChangeReason", state))
            if "bytes scanned limit" in why.lower():
                raise self._too_much(why)
            if status.get("AthenaError", {}).get("ErrorCategory") == OF_USER:
                raise DataInvalid(
                    f"Athena refuses a query of {self.uri}",
                    culprits=[why],
                    remedy=f"correct {self._setting} (database, table, day, modified) or columns in the settings.",
                )
            raise DependencyUnreachable(
                f"a query of {self.uri} did not succeed", culprits=[why], remedy="run again; nothing was kept of it."
            )
        scanned = int(done.get("Statistics", {}).get("DataScannedInBytes", 0))
        if scanned > self._policy.max_scanned_bytes:
            raise self._too_much(f"{scanned:,} bytes")

    def _too_much(self, found: str) -> DataInvalid:
        return DataInvalid(
            f"a query of {self.uri} scans more than {self._policy.max_scanned_bytes:,} bytes",
            culprits=[found],
            remedy=f"let {self._setting}.day be an expression of partition columns alone, so that one day is "
            f"scanned; or raise {self._setting}.max_scanned_bytes and the workgroup's limit.",
        )

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            refused = error.response.get("Error", {})
            raise DependencyUnreachable(
                f"Athena did not {what} of {self.uri}",
                culprits=[f"{refused.get('Code')}: {refused.get('Message')}"],
                remedy=f"look at the region, the permissions and {self._setting} in the settings, then run again.",
            ) from error
        except BotoCoreError as error:
            raise DependencyUnreachable(
                f"Athena could not be reached to {what} of {self.uri}",
                culprits=[str(error)],
                remedy="look at region, endpoint and credentials (AWS's usual chain, or lake.s3.profile), "
                "then run again.",
            ) from error


def _info(found: TableDay) -> ObjectInfo:
    problem = "" if found.day else f"{found.rows} rows of the table have no day"
    return ObjectInfo(found.path, 0, found.version, modified=found.seconds, problem=problem)


def _joined(parts: Sequence[Path], target: Path, columns: Collection[str] | None) -> int:
    """Write the rows of several files into one, a batch at a time, and count them.

    Athena writes names in lower case: columns get the spelling that was asked for.
    """
    rows = 0
    spelling = {name.casefold(): name for name in columns or ()}
    schema = pa.unify_schemas([pq.read_schema(part).remove_metadata() for part in parts])
    named = pa.schema([field.with_name(spelling.get(field.name.casefold(), field.name)) for field in schema])
    with reaching("write", target), pq.ParquetWriter(target, named) as writer:
        for part in parts:
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS):
                    table = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
                    writer.write_table(table.rename_columns(named.names))
                    rows += batch.num_rows
    return rows
