"""The store: what this program computed, day by day, behind a commit record.

Here: partitions, their records, small documents, and what it means that one of them is whole. Not here: how bytes are
moved (`adapters/storage/locations.py`) and what the tables hold (`domain/`).

A partition's data files go first, under names that their content determines; the record `_partition.json`, which names
each with its size and digest, goes last and atomically. Readers start from the record, so a writer that dies leaves
the previous partition, and of two writers the last record wins while the files of both stay readable for a while.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from fraud_retraining.adapters.storage.locations import (
    CONTENT,
    Location,
    ObjectInfo,
    in_parallel,
    reaching,
    temporary_file,
)
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable, IntegrityError

if TYPE_CHECKING:
    import pyarrow as pa

LOG = logging.getLogger(__name__)
RECORD, DAMAGED = "_partition.json", "_damaged.json"
FEW_FOLDERS = 3
"""As many folders are listed one by one; for more, the asset is listed as a whole."""
ROW_GROUP_ROWS = 131_072
GRACE_SECONDS = 3600.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*(/[A-Za-z0-9][A-Za-z0-9._=-]*)*")


class StoredFile(Value):
    """A data file as its partition's record names it."""

    path: str = Field(description="Path within the store.")
    size: int = Field(ge=0, description="Bytes.")
    rows: int = Field(ge=0)
    digest: str = Field(description="SHA-256 of the bytes.")


class Partition(Value):
    """The commit record of one day of one asset: which files it consists of, from what it was computed."""

    asset: str
    day: date
    digest: str = Field(description="Digest of the content, as lineage and fingerprints refer to it.")
    files: dict[str, StoredFile] = Field(description="Data files by table name.")
    inputs: dict[str, str] = Field(default_factory=dict, description="What it was computed from: name, digest.")
    facts: dict[str, Any] = Field(default_factory=dict, description="Numbers about the content, JSON values only.")

    @property
    def kind(self) -> str:
        """The asset without the folder of the model that it belongs to."""
        return self.asset.rpartition("/")[2]


class Standing(NamedTuple):
    """What there is of a partition: its record, None where that cannot be understood; and what is wrong, if anything.

    Of a partition with a problem, some of what the record names is lost.
    """

    record: Partition | None
    problem: str = ""


class Store:
    """Partitions and documents in a location; `scratch` is a local folder for files that are being written."""

    def __init__(self, location: Location, scratch: Path, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self._location = location
        self._scratch = scratch
        self._grace_seconds = grace_seconds

    @property
    def location(self) -> Location:
        """The place itself, in which the paths of files are."""
        return self._location

    @property
    def own_location(self) -> Location:
        """The part of it that no other model writes to, for what lies beside partitions: the serving log."""
        return self.location

    def partition(self, asset: str, day: date) -> Partition | None:
        """The record of a partition; None means that it was never committed.

        Raises:
            IntegrityError: the record cannot be understood.
        """
        return self._committed(asset, day)

    def _committed(self, asset: str, day: date) -> Partition | None:
        path = f"{_folder(asset, day)}/{RECORD}"
        data = self._location.read_bytes(path)
        if data is None:
            return None
        try:
            found = Partition.model_validate_json(data)
        except ValidationError as error:
            raise self._damaged([f"{path}: {error.errors()[0]['msg']}"], [day]) from error
        # A record that was copied from another folder is well-formed, and of another day.
        if (found.asset, found.day) != (asset, day):
            raise self._damaged([f"{path}: is the record of {found.asset} of {found.day}"], [day])
        return found

    def whole(self, record: Partition) -> Partition:
        """The record with the files of all rows of its day, whichever of them this store shows."""
        return record

    def partitions(self, asset: str, days: Iterable[date]) -> dict[date, Partition]:
        """The records of those days that have one, oldest first."""
        wanted = sorted(set(days))
        found = in_parallel(lambda day: self.partition(asset, day), wanted)
        return {day: record for day, record in zip(wanted, found, strict=True) if record is not None}

    def readable(self, asset: str, days: Iterable[date]) -> dict[date, Partition]:
        """The same without those that are damaged, for callers who list what is to be made: those are."""
        found = {}
        for day, standing in self.standing(asset, days).items():
            if standing.problem:
                LOG.warning("%s of %s is damaged and counts as not made: %s", asset, day, standing.problem)
            elif standing.record is not None:
                found[day] = standing.record
        return found

    def standing(self, asset: str, days: Iterable[date]) -> dict[date, Standing]:
        """What there is of those days that were ever committed, oldest first.

        Files that are gone or cut are seen at once, from a listing; other bytes are once they were read
        (`paths`).
        """
        wanted = sorted(set(days))
        records = dict(zip(wanted, in_parallel(lambda day: self._standing(asset, day), wanted), strict=True))
        there = [day for day, one in records.items() if one.record is not None and one.record.files]
        # Listed after the records were read: the other way round, files of a newer record would look lost.
        sizes = self._sizes(asset, there)
        return {
            day: Standing(one.record, self._loss(one.record, sizes) if one.record else one.problem)
            for day, one in records.items()
            if one.record or one.problem
        }

    def write(
        self,
        asset: str,
        day: date,
        tables: "Mapping[str, pa.Table]",
        *,
        digest: str,
        inputs: Mapping[str, str],
        facts: Mapping[str, Any],
    ) -> Partition:
        """Commit a partition and give the record that then stands, which is another writer's if that came later.

        The files of the partition that was there before stay for readers that still hold its record; older ones go.
        """
        # Read before anything is written: readers may still hold this record, so its files have to stay.
        before = self._standing(asset, day).record
        return self._commit(asset, day, self.put(asset, day, tables), before, digest=digest, inputs=inputs, facts=facts)

    def put(self, asset: str, day: date, tables: "Mapping[str, pa.Table]") -> dict[str, StoredFile]:
        """Write the data files of a partition, which nobody sees until it is committed (`commit`)."""
        return {name: self._put_table(_folder(asset, day), name, table) for name, table in tables.items()}

    def commit(
        self,
        asset: str,
        day: date,
        files: Mapping[str, StoredFile],
        *,
        digest: str,
        inputs: Mapping[str, str],
        facts: Mapping[str, Any],
    ) -> Partition:
        """As `write`, of data files that another process has put there.

        Raises:
            IntegrityError: one of them is not there as it was put.
        """
        before = self._standing(asset, day).record
        sizes = {info.path: info.size for info in self._location.list(_folder(asset, day))}
        lost = [
            f"{file.path}: is not there as it was written"
            for file in files.values()
            if sizes.get(file.path) != file.size
        ]
        if lost:
            raise self._damaged(lost, [day])
        return self._commit(asset, day, files, before, digest=digest, inputs=inputs, facts=facts)

    def objects(self, partitions: Sequence[Partition], name: str) -> list[ObjectInfo]:
        """The files of one table as `Location.fetch` takes them, one a partition, in order.

        Raises:
            DataInvalid: a partition has no such table.
        """
        lacking = [f"{record.asset} of {record.day}" for record in partitions if name not in record.files]
        if lacking:
            raise DataInvalid(f"there is no table {name!r} in", culprits=lacking, remedy="Ingest those days again.")
        return [
            ObjectInfo(file.path, file.size, CONTENT + file.digest)
            for file in (record.files[name] for record in partitions)
        ]

    def _commit(
        self,
        asset: str,
        day: date,
        files: Mapping[str, StoredFile],
        before: Partition | None,
        *,
        digest: str,
        inputs: Mapping[str, str],
        facts: Mapping[str, Any],
    ) -> Partition:
        folder = _folder(asset, day)
        record = Partition(
            asset=asset, day=day, digest=digest, files=dict(files), inputs=dict(inputs), facts=dict(facts)
        )
        # Last, after every file that it names: a writer that dies before it has written nothing.
        self._location.write_bytes(f"{folder}/{RECORD}", record.model_dump_json().encode())
        # Read again: of two writers the later record wins, and both go on with that one.
        stands = self._committed(asset, day) or record
        self._prune(folder, [kept for kept in (before, record, stands) if kept is not None])
        return stands

    def paths(self, partitions: Sequence[Partition], name: str) -> list[Path]:
        """Local readable files of one table, one a partition, in order.

        Raises:
            DataInvalid: a partition has no such table.
            IntegrityError: a file is gone, or is not the one that the record names; its partition then counts as not
                made (`readable`).
        """
        wanted = self.objects(partitions, name)
        try:
            return self._location.fetch(wanted)
        except IntegrityError as error:
            broken = [record for record in partitions if _names_any(error.culprits, record.files[name].path)]
            for record in broken:
                self._remember(record, name)
            raise self._damaged(error.culprits, [record.day for record in broken]) from error

    def annotate(self, asset: str, day: date, name: str, document: BaseModel | Mapping[str, Any]) -> None:
        """Put a small JSON document beside a partition, replacing the one of that name."""
        data = document.model_dump_json() if isinstance(document, BaseModel) else json.dumps(document)
        self._location.write_bytes(f"{_folder(asset, day)}/{_checked(name)}.json", data.encode())

    def annotation(self, asset: str, day: date, name: str) -> dict[str, Any] | None:
        """A document beside a partition; None means that there is none."""
        path = f"{_folder(asset, day)}/{_checked(name)}.json"
        data = self._location.read_bytes(path)
        if data is None:
            return None
        try:
            found = json.loads(data)
        except ValueError as error:
            raise self._damaged([f"{path}: {error}"], [day]) from error
        if not isinstance(found, dict):
            raise self._damaged([f"{path}: is no JSON object"], [day])
        return found

    def read_document(self, asset: str, key: str) -> bytes | None:
        """A document by its key; None means that there is none."""
        return self._location.read_bytes(f"{_checked(asset)}/{_checked(key)}.json")

    def write_document(self, asset: str, key: str, data: bytes) -> None:
        """Put a document, replacing the one of that key."""
        self._location.write_bytes(f"{_checked(asset)}/{_checked(key)}.json", data)

    def _standing(self, asset: str, day: date) -> Standing:
        """The record of a partition; one that is damaged is replaced all the same, which is its remedy."""
        try:
            return Standing(self._committed(asset, day))
        except IntegrityError as error:
            return Standing(None, "; ".join(error.culprits))

    def _sizes(self, asset: str, days: Sequence[date]) -> dict[str, int]:
        """The sizes of the files in the folders of partitions, read after their records."""
        folders = [_folder(asset, day) for day in days]
        listings = in_parallel(self._location.list, folders if len(folders) <= FEW_FOLDERS else [_checked(asset)])
        return {info.path: info.size for listing in listings for info in listing}

    def _loss(self, record: Partition, sizes: Mapping[str, int]) -> str:
        """What of a partition is lost; nothing of most."""
        for file in record.files.values():
            if file.path not in sizes:
                return f"{file.path}: is not there"
            if sizes[file.path] != file.size:
                return f"{file.path}: has {sizes[file.path]} bytes, not {file.size}"
        mark = f"{_folder(record.asset, record.day)}/{DAMAGED}"
        marked = (self._location.read_bytes(mark) or b"").decode(errors="replace") if mark in sizes else ""
        return next((f"{one.path}: is damaged" for one in record.files.values() if one.path in marked), "")

    def _remember(self, record: Partition, name: str) -> None:
        """Leaves a mark that a file of a partition was found to be damaged, which a new partition takes away."""
        mark = f"{_folder(record.asset, record.day)}/{DAMAGED}"
        try:
            self._location.write_bytes(mark, json.dumps({"damaged": record.files[name].path}).encode())
        # The mark is a help for later readers; the damage itself is raised in any case.
        except DependencyUnreachable as error:
            LOG.warning("%s cannot be marked as damaged: %s", record.files[name].path, error)

    def _put_table(self, folder: str, name: str, table: "pa.Table") -> StoredFile:
        with temporary_file(self._scratch) as local, reaching("write", local):
            _write_parquet(table, local)
            size, digest = local.stat().st_size, _file_digest(local)
            # The name follows the content: a second writer of the same table replaces nothing by other bytes.
            path = f"{folder}/{_checked(name)}-{digest[:16]}.parquet"
            self._location.put_file(local, path)
        return StoredFile(path=path, size=size, rows=table.num_rows, digest=digest)

    def _prune(self, folder: str, keep: Sequence[Partition]) -> None:
        """Remove data files that no kept record names, but not young ones: their writer may not have committed yet.

        The mark of damage goes too: what it speaks of was written anew.
        """
        named = {file.path for record in keep for file in record.files.values()}
        for info in self._location.list(folder):
            old = info.path.endswith(".parquet") and info.modified <= time.time() - self._grace_seconds
            if info.path == f"{folder}/{DAMAGED}" or (old and info.path not in named):
                self._location.delete(info.path)

    def _damaged(self, culprits: Sequence[str], days: Sequence[date]) -> IntegrityError:
        when = ", ".join(str(day) for day in days)
        what = f"the store at {self._location.uri} is not as it was written"
        return IntegrityError(
            what,
            culprits=culprits,
            remedy=f"Ingest {when} again, or leave it to the daemon; it also makes again what monitoring left there.",
        )


def _folder(asset: str, day: date) -> str:
    return f"{_checked(asset)}/day={day.isoformat()}"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for the store")
    return name


def _names_any(culprits: Iterable[str], path: str) -> bool:
    return any(culprit.startswith(f"{path}:") for culprit in culprits)


def _write_parquet(table: "pa.Table", path: Path) -> None:
    """Row groups small enough to stream, in what is fastest to write and to read many times over.

    Whole numbers and times as differences, dictionaries for text only. Fractions plain: byte by byte
    (BYTE_STREAM_SPLIT) a day of features is 6 % smaller, takes twice as long to read, and Spark refuses it.
    """
    import pyarrow.parquet as pq
    import pyarrow.types as pat

    whole = [field.name for field in table.schema if pat.is_integer(field.type) or pat.is_temporal(field.type)]
    numbers = {*whole, *(field.name for field in table.schema if pat.is_floating(field.type))}
    pq.write_table(
        table,
        path,
        compression="lz4",
        row_group_size=ROW_GROUP_ROWS,
        use_dictionary=[name for name in table.column_names if name not in numbers],
        column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
        write_statistics=True,
    )


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
