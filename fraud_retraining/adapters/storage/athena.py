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
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from fraud_retraining.adapters.storage.locations import Listing, LocalFiles, ObjectInfo, changed, reaching
from fraud_retraining.adapters.storage.s3 import ObjectCache, S3Location
from fraud_retraining.domain.data.athena_table import AthenaPolicy, TableDay, day_of_path, rows_of_version, table_day
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable, SettingsError

LOG = logging.getLogger(__name__)

RAN, RUNNING = "SUCCEEDED", ("QUEUED", "RUNNING")
OF_USER = 2
"""Athena's category of errors that the query or its tables are the cause of; 1 is the service's own."""
ORPHANS_AFTER = timedelta(days=1)
BATCH_ROWS = 131_072
_MONTH = re.compile(r"year=(\d{4})/month=(\d{1,2})")
_STAMP = "%Y%m%dT%H%M%SZ"


class AthenaLocation:
    """The days of a table, each as one Parquet file `year=YYYY/month=MM/day=DD/rows.parquet`.

    Args:
        policy: the table.
        client: boto3's client of Athena.
        columns: columns that are unloaded; None: all.
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
        output: S3Location,
        cache: ObjectCache,
        setting: str = "lake",
    ) -> None:
        self._policy = policy
        self._open = client
        self._columns = columns
        self._output = output
        self._cache = cache
        self._setting = setting

    @property
    def uri(self) -> str:
        """`athena://database.table`."""
        return self._policy.uri

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
        return sorted(_info(table_day(*row)) for row in self._rows(self._policy.days_query(where)))

    def _day(self, info: ObjectInfo) -> Path:
        copy = self._cache.place(self.uri, info)
        if copy.exists():
            return copy
        day = day_of_path(info.path)
        self._require_unchanged(info, day)
        with self._unloaded(day) as files:
            self._cache.make_room(sum(file.size for file in files), using=[copy])
            rows = _joined(self._output.fetch(files), copy)
        if rows != rows_of_version(info.version):
            copy.unlink(missing_ok=True)
            raise changed(self.uri, [f"{day}: {rows} rows were unloaded, and it was listed as {info.version}"])
        try:
            self._require_unchanged(info, day)
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        return copy

    def _require_unchanged(self, info: ObjectInfo, day: date) -> None:
        found = self._days(self._policy.between(day, day))
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
            done = self._run(query)
            yield self._files_of(done, folder, day)
        finally:
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
                remedy="run again; let no rule of the bucket remove files below the output prefix.",
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
        """Files of queries that were cut off, older than any query may be."""
        before = f"{datetime.now(UTC) - ORPHANS_AFTER:{_STAMP}}"
        for folder in self._output.folders("unload"):
            if folder < before:
                for file in self._output.list(f"unload/{folder}"):
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
        return client

    def _rows(self, query: str) -> list[list[str | None]]:
        """The rows of a small answer, without its heading."""
        done = self._run(query)
        found: list[list[str | None]] = []
        asked: dict[str, Any] = {"QueryExecutionId": done["QueryExecutionId"]}
        while True:
            with self._translated("give a result"):
                page = self._client.get_query_results(**asked)
            found += [[cell.get("VarCharValue") for cell in row["Data"]] for row in page["ResultSet"]["Rows"]]
            if not page.get("NextToken"):
                return found[1:]
            asked["NextToken"] = page["NextToken"]

    def _run(self, query: str) -> Mapping[str, Any]:
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
        deadline = time.monotonic() + self._policy.deadline_seconds
        try:
            while state in RUNNING:
                with self._translated("tell of a query"):
                    done: Mapping[str, Any] = self._client.get_query_execution(QueryExecutionId=started)
                done = done["QueryExecution"]
                state = done["Status"]["State"]
                if state in RUNNING:
                    if time.monotonic() > deadline:
                        raise DependencyUnreachable(
                            f"Athena needed more than {self._policy.deadline_seconds:g} s for a query of {self.uri}; "
                            "it was stopped",
                            remedy=f"run again, or raise {self._setting}.deadline_seconds.",
                        )
                    time.sleep(self._policy.poll_seconds)
        finally:
            if state in RUNNING:
                self._stop(started)
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


def _joined(parts: Sequence[Path], target: Path) -> int:
    """Write the rows of several files into one, a batch at a time, and count them."""
    rows = 0
    schema = pa.unify_schemas([pq.read_schema(part).remove_metadata() for part in parts])
    with reaching("write", target):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{uuid4().hex}.partial")
        try:
            with pq.ParquetWriter(partial, schema) as writer:
                for part in parts:
                    with pq.ParquetFile(part) as file:
                        for batch in file.iter_batches(batch_size=BATCH_ROWS):
                            writer.write_table(pa.Table.from_batches([batch]).cast(schema))
                            rows += batch.num_rows
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return rows
