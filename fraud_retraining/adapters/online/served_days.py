"""Served rows by the day of their transactions, as they lie in the store: `serving_log/day=<day>/<segment>.parquet`.

Here: writing and reading those parts. Not here: the rows that were not flushed yet (`serving_log.py`).

A part is written once, under a name that only its segment has; a flush that is done again replaces it by the same rows.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from fraud_retraining.adapters.storage.locations import Location, ObjectInfo, reaching, temporary_file
from fraud_retraining.adapters.storage.private_files import private_file
from fraud_retraining.domain.serving.served_rows import ORDER, schema
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.domain.values.schemas import TRANSACTION_ID

FOLDER = "serving_log"
_KIND, _DAY = ".parquet", "day="
_ALWAYS = [field for field in schema((), {}) if field.name != TRANSACTION_ID]
"""Columns that every part has with the same type; those of keys differ."""


class ServedDays:
    """The parts of the serving log in a location."""

    def __init__(self, location: Location) -> None:
        self._location = location

    def days(self, among: Iterable[date]) -> set[date]:
        """Those of some days that have parts, in one listing that does not grow with the parts."""
        named = set(self._location.folders(FOLDER))
        return {day for day in among if f"{_DAY}{day}" in named}

    def version(self, day: date) -> str:
        """Digest of which parts a day has, from a listing; it changes with every part."""
        return digest([[info.path, info.size, info.version] for info in self._infos(day)])

    def read(self, day: date) -> pa.Table | None:
        """Every row of a day in the order in which they were scored; None where there is none.

        Returns:
            Columns as `served_rows.schema` names them. An entity that a part lacks is null there, and keys that are
            integers in one part and text in another are text.

        Raises:
            IntegrityError: a part is damaged, or is no part of a serving log; names them all.
            DependencyUnreachable: the location does not answer.
        """
        parts = self.parts(day)
        return in_order(parts) if parts else None

    def parts(
        self, day: date, columns: Collection[str] | None = None, *, without: Collection[str] = ()
    ) -> list[pa.Table]:
        """The parts of a day with some columns, without those of some segments; errors as of `read`."""
        infos = [info for info in self._infos(day) if PurePosixPath(info.path).stem not in without]
        tables, damaged = [], []
        for info, path in zip(infos, self._location.fetch(infos), strict=True):
            try:
                tables.append(_read(path, columns))
            except (OSError, ValueError, pa.ArrowException) as error:
                damaged.append(f"{info.path}: {str(error).splitlines()[0]}")
        if damaged:
            raise IntegrityError(
                f"the serving log of {day} at {self._location.uri} is not as it was written",
                culprits=damaged,
                remedy="Restore those files from a backup, or remove them: their answers are then not compared.",
                days=[day],
            )
        return tables

    def _infos(self, day: date) -> list[ObjectInfo]:
        return [info for info in self._location.list(_folder(day)) if info.path.endswith(_KIND)]

    def digests(self, day: date) -> dict[str, str]:
        """SHA-256 of each part of a day, by the name of its segment.

        Raises:
            DependencyUnreachable: the location does not answer.
        """
        infos = self._infos(day)
        return {
            PurePosixPath(info.path).stem: _sha256(path)
            for info, path in zip(infos, self._location.fetch(infos), strict=True)
        }

    def put(self, day: date, segment: str, rows: pa.Table, scratch: Path) -> str:
        """Writes the rows of a segment that belong to a day, and gives the SHA-256 of the part.

        `scratch` is a private local folder.

        Raises:
            DependencyUnreachable: the location does not answer, or the local disk refuses.
        """
        with temporary_file(scratch) as local:
            with reaching("write", local):
                pq.write_table(rows, private_file(local), compression="zstd", write_page_checksum=True)
            # Of what was written here, not of what a store gives back.
            written = _sha256(local)
            self._location.put_file(local, f"{_folder(day)}/{segment}{_KIND}")
        return written


def in_order(parts: Sequence[pa.Table]) -> pa.Table:
    """Parts as one table, in the order in which rows were scored."""
    types: dict[str, pa.DataType] = {}
    for field in (field for part in parts for field in part.schema):
        known = types.setdefault(field.name, field.type)
        # A scorer that started before any day had a key took it for text.
        types[field.name] = known if known == field.type else pa.string()
    cast = [part.cast(pa.schema([(name, types[name]) for name in part.column_names])) for part in parts]
    return pa.concat_tables(cast, promote_options="default").sort_by([(name, "ascending") for name in ORDER])


def _sha256(path: Path) -> str:
    with reaching("read", path), path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _read(path: Path, columns: Collection[str] | None) -> pa.Table:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        found = file.schema_arrow
        if TRANSACTION_ID not in found.names or any(
            field.name not in found.names or found.field(field.name).type != field.type for field in _ALWAYS
        ):
            raise ValueError("has other columns than a serving log")
        return file.read(None if columns is None else [name for name in found.names if name in columns])


def _folder(day: date) -> str:
    return f"{FOLDER}/{_DAY}{day}"
