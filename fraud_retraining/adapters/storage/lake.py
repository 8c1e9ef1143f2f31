"""The lake: which days of transactions have arrived, as which files.

Here: listing it, and giving a day's files. Not here: what a path means (`domain/data/lake_layout.py`), what is in the
files (`domain/data/ingestion.py`) and how bytes are moved (`adapters/storage/locations.py`).
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fraud_retraining.adapters.storage.locations import Listing, LocalFiles, ObjectInfo, in_parallel
from fraud_retraining.domain.data.lake_layout import (
    LAYOUT,
    MAGIC,
    DayLimits,
    DayPath,
    FileSize,
    SetAside,
    excesses,
    how_to_split,
    meaning_of,
    one_file,
    outside_of_time,
)
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import DataInvalid

if TYPE_CHECKING:
    import pyarrow.parquet as pq

EARLIEST = date(2000, 1, 1)
"""Days before are what a clock or a missing date leaves behind, unless settings name an earlier first day."""
NAMED = 10
_CELL_BYTES = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8}
TEXT_CELL_BYTES = 16
"""What the engine needs for a text beside its letters; decimals and UUIDs of a fixed length need as much."""


class DayFiles(NamedTuple):
    """The files of one day; `version` changes whenever a file is added, removed or written again.

    `uncertain` are those whose names do not say that they are Parquet: their first bytes do. `unread` are files of
    other formats. `unreadable` is what may be Parquet and cannot be read: such a day is refused as a whole.
    """

    day: date
    files: tuple[ObjectInfo, ...]
    version: str
    uncertain: frozenset[str] = frozenset()
    unread: tuple[SetAside, ...] = ()
    unreadable: tuple[SetAside, ...] = ()


class Delivery(NamedTuple):
    """The Parquet files of a day, as listed and as local readable files, and what of the day is not read."""

    files: tuple[ObjectInfo, ...]
    paths: tuple[Path, ...]
    unread: tuple[SetAside, ...]


class LakeListing(NamedTuple):
    """The days of the lake, oldest first, and what lies there that is none."""

    days: dict[date, DayFiles]
    set_aside: tuple[SetAside, ...]


class Naming(NamedTuple):
    """Names of a lake in the settings and in its files, for reading and for messages to users."""

    setting: str = "lake.uri"
    kind: str = "lake"
    timestamp: str = "TX_DATETIME"
    columns: Collection[str] | None = None
    """Columns that are read; None: all."""


class LakeLocation(Protocol):
    """What a lake needs of its place: a folder, an S3 prefix, or a table.

    `one_file_a_day` says that the place makes one file of each day, however many rows that has.
    """

    one_file_a_day: bool

    @property
    def uri(self) -> str:
        """The place, as a person would write it."""

    def survey(self, prefix: str = "") -> Listing:
        """Everything below a folder, what cannot be read with its problem."""

    def exists_root(self) -> bool:
        """Whether the place itself is there."""

    def first_bytes(self, info: ObjectInfo, count: int) -> bytes:
        """How a listed file begins."""

    def fetch(self, objects: Sequence[ObjectInfo]) -> LocalFiles:
        """Local readable files with exactly the bytes of `objects`, in their order."""


class Lake:
    """Transactions as they arrive, one folder a UTC day, one or several Parquet files in it."""

    def __init__(
        self,
        location: LakeLocation,
        *,
        first_day: date = EARLIEST,
        limits: DayLimits | None = None,
        naming: Naming | None = None,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
        label_feed: "Lake | None" = None,
    ) -> None:
        self._naming = naming or Naming()
        self.label_feed = label_feed
        """Labels by the day known, in a lake of their own; None where there is no such feed."""
        self._limits = limits or DayLimits()
        self._location = location
        self._first_day = first_day
        self._today = today

    @property
    def uri(self) -> str:
        """The place of the lake, as a person would write it."""
        return self._location.uri

    @property
    def place(self) -> LakeLocation:
        """Where its files are."""
        return self._location

    def days(self, within: DayRange | None = None) -> dict[date, DayFiles]:
        """The days that have files, oldest first; with `within`, only its months are listed.

        Raises:
            DataInvalid: there is no lake.
        """
        return self.listing(within).days

    def listing(self, within: DayRange | None = None) -> LakeListing:
        """The days that have files, and everything else that lies there, by name.

        Raises:
            DataInvalid: there is no lake.
        """
        prefixes = [""] if within is None else list(_month_prefixes(within))
        found = [info for listing in in_parallel(self._location.survey, prefixes) for info in listing]
        # An empty listing is asked for a second time: a lake that is not there is no lake without days.
        if not found and not self._location.exists_root():
            raise self._no_lake()
        listing = _sorted_out(found, self._first_day, self._today())
        days = {day: files for day, files in listing.days.items() if within is None or day in within}
        return LakeListing(days, listing.set_aside)

    def fetch(self, files: DayFiles) -> Delivery:
        """The day's Parquet files, with exactly the bytes that were listed.

        Raises:
            DataInvalid: something of the day cannot be read, nothing of it is Parquet, or a file or the day is larger
                than it may be; named, and found without reading any data.
            IntegrityError: a file is gone or was written again since it was listed.
        """
        if files.unreadable:
            raise DataInvalid(
                f"files of {files.day} cannot be read",
                culprits=some_of(files.unreadable),
                remedy="deliver them as plain files that the user of this program may read; other days stand.",
            )
        chosen = tuple(info for info in files.files if info.path not in files.uncertain or self._is_parquet(info))
        others = tuple(SetAside(info.path, "is no Parquet file") for info in files.files if info not in chosen)
        if not chosen:
            raise DataInvalid(
                f"no file of {files.day} is Parquet",
                culprits=some_of((*others, *files.unread)),
                remedy="deliver the day as Parquet, for example by DuckDB: COPY (FROM 'rows.csv') TO 'part-0.parquet'; "
                "other days stand.",
            )
        # Before fetching: the listing knows the bytes, and a day that is too large is not downloaded.
        self._require_bytes(files.day, chosen)
        paths = tuple(self._location.fetch(chosen))
        self._require_sizes(files.day, [self._size(info, path) for info, path in zip(chosen, paths, strict=True)])
        return Delivery(chosen, paths, (*files.unread, *others))

    def _require_bytes(self, day: date, chosen: Sequence[ObjectInfo]) -> None:
        found, most = sum(info.size for info in chosen), self._limits.max_bytes
        if found > most:
            raise DataInvalid(
                f"the files of {day} have {found:,} bytes, which is more than a day may have ({most:,})",
                remedy="deliver the day again; or, if it is right, raise lake.limits.max_bytes in the settings.",
            )

    def _require_sizes(self, day: date, sizes: Sequence[FileSize]) -> None:
        limits = self._limits
        if self._location.one_file_a_day:
            whole = {"max_file_rows": limits.max_rows, "max_file_decoded_bytes": limits.max_decoded_bytes}
            limits = limits.model_copy(update=whole)
        found = excesses(day, sizes, limits)
        if found:
            settings = dict.fromkeys(f"lake.limits.{one.setting}" for one in found)
            raise DataInvalid(
                f"{day} holds more than lake.limits allow, as the footers of its files say; nothing of it was read",
                culprits=_first([one.words for one in found]),
                remedy="deliver the day again, a file that is too large in several; or, if it is right, raise "
                f"{' and '.join(settings)} in the settings.",
            )

    def _size(self, info: ObjectInfo, path: Path) -> FileSize:
        return FileSize(info.path, *_told_by_footer(path, self._naming.columns))

    def _no_lake(self) -> DataInvalid:
        missing, kind = f"there is no {self._naming.kind} at {self.uri}", self._naming.kind
        if not one_file(self.uri):
            return DataInvalid(missing, remedy=f"Correct {self._naming.setting} in the settings.")
        return DataInvalid(
            f"{missing}: it is written like one file, and a {kind} is a folder of days ({LAYOUT})",
            remedy=f"split it, for example in DuckDB with\n  {how_to_split(self.uri, self._naming.timestamp)}\n"
            f"and name the new folder as {self._naming.setting}.",
        )

    def _is_parquet(self, info: ObjectInfo) -> bool:
        return self._location.first_bytes(info, len(MAGIC)) == MAGIC


def _told_by_footer(path: Path, columns: Collection[str] | None) -> tuple[int, int]:
    """Rows, and decoded bytes of `columns`; a file that is corrupt says none, and is refused by who reads it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        footer = pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return 0, 0
    leaves = [n for n in range(footer.num_columns) if columns is None or footer.schema.column(n).path in columns]
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    # The footer's total may be wrong or forged; what is read are the row groups.
    rows = max(footer.num_rows, sum(group.num_rows for group in groups))
    return rows, sum(_decoded_bytes(group.column(leaf), group.num_rows) for group in groups for leaf in leaves)


def _decoded_bytes(chunk: "pq.ColumnChunkMetaData", rows: int) -> int:
    """What a chunk of a column takes once it is read: what its writer says, but no less than its rows need.

    Equal values are stored once, or as runs, and the writer's number counts them so.
    """
    return max(int(chunk.total_uncompressed_size), rows * _cell_bytes(chunk))


def _cell_bytes(chunk: "pq.ColumnChunkMetaData") -> int:
    if chunk.physical_type in _CELL_BYTES:
        return _CELL_BYTES[chunk.physical_type]
    stated = chunk.statistics if chunk.physical_type == "BYTE_ARRAY" else None
    texts = [stated.min_raw, stated.max_raw] if stated is not None and stated.has_min_max else [b""]
    return TEXT_CELL_BYTES + min(map(len, texts))


def some_of(culprits: Sequence[SetAside]) -> list[str]:
    """As many of them as a message names, and how many more there are."""
    return _first([str(one) for one in culprits])


def _first(words: Sequence[str]) -> list[str]:
    more = [f"and {len(words) - NAMED} more"] if len(words) > NAMED else []
    return [*words[:NAMED], *more]


@dataclass
class _Day:
    """What was found of a day so far."""

    folder: str
    files: list[ObjectInfo] = field(default_factory=list)
    uncertain: set[str] = field(default_factory=set)
    unread: list[SetAside] = field(default_factory=list)
    unreadable: list[SetAside] = field(default_factory=list)

    def add(self, info: ObjectInfo, meaning: DayPath) -> None:
        if meaning.unread:
            self.unread.append(SetAside(info.path, meaning.unread))
        elif info.problem:
            self.unreadable.append(SetAside(info.path, info.problem))
        else:
            self.files.append(info)
            self.uncertain |= set() if meaning.certain else {info.path}

    def settled(self, day: date) -> DayFiles:
        # What cannot be read is part of the version: once it is mended, the day is looked at again.
        broken = [ObjectInfo(path, 0, why) for path, why in self.unreadable]
        return DayFiles(
            day,
            tuple(sorted(self.files)),
            _version([*self.files, *broken]),
            frozenset(self.uncertain),
            tuple(sorted(self.unread)),
            tuple(sorted(self.unreadable)),
        )


def _sorted_out(found: Iterable[ObjectInfo], first: date, today: date) -> LakeListing:
    days: dict[date, _Day] = {}
    aside: dict[str, list[str]] = defaultdict(list)
    for info in found:
        meaning = meaning_of(info.path, is_folder=info.is_folder)
        if isinstance(meaning, DayPath):
            folder = "/".join(info.path.split("/")[:3])
            days.setdefault(meaning.day, _Day(folder)).add(info, meaning)
        elif meaning is not None:
            aside[meaning.path].append(info.problem or meaning.why)
    odd = {day: why for day, one in days.items() if (why := _oddity(day, one, first, today))}
    set_aside = [SetAside(path, whys[0]) for path, whys in aside.items()]
    set_aside += [SetAside(days[day].folder, why) for day, why in odd.items()]
    # A day ahead of the clock may not become the as-of day.
    real = {day: days[day].settled(day) for day in sorted(days) if day not in odd and day <= today}
    return LakeListing(real, tuple(sorted(set_aside)))


def _oddity(day: date, found: _Day, first: date, today: date) -> str:
    if why := outside_of_time(day, first, today):
        return why
    if not found.files and not found.unreadable:
        return f"holds no Parquet file, but {found.unread[0].path.rpartition('/')[2]}"
    return ""


def _version(files: Iterable[ObjectInfo]) -> str:
    # Sorted: S3 and file systems list in different orders.
    listing = [[info.path, info.size, info.version] for info in sorted(files)]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _spellings(number: int) -> set[str]:
    return {str(number), f"{number:02d}"}


def _month_prefixes(within: DayRange) -> Iterator[str]:
    """The folders of each month, with and without a leading zero."""
    for year, month in sorted({(day.year, day.month) for day in within}):
        yield from (f"year={year:04d}/month={text}" for text in sorted(_spellings(month)))
