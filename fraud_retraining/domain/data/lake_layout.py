"""The meaning of a path in the lake: a file of a day, a file that is not read, or a temporary file of a writer.

Here: the layout `year=YYYY/month=MM/day=DD/`. Not here: listing a place and reading files
(`adapters/storage/lake.py`, `adapters/storage/locations.py`).

Every path has a meaning. A path that cannot belong to a day is set aside by name, and the days beside it are read as
before; only temporary files of writers are ignored without a report.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import PurePosixPath
from typing import NamedTuple

from pydantic import Field

from fraud_retraining.domain.values.base import Policy

LAYOUT = "year=YYYY/month=MM/day=DD/"
PARQUET = (".parquet", ".parq", ".pq")
MAGIC = b"PAR1"
"""How a Parquet file begins."""

_LEFTOVER_SUFFIXES = (".crc", ".tmp", ".inprogress", "._COPYING_", "_$folder$", ".md5", ".sha1", ".sha256", ".asc")
_OTHER_FORMATS = (
    *(".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".xml", ".html", ".md", ".log", ".yaml", ".yml"),
    *(".orc", ".avro", ".arrow", ".feather", ".xlsx", ".pdf", ".zip", ".csv.gz", ".json.gz", ".parquet.gz"),
)
_TABLE_LOGS = {"_delta_log": "Delta"}
_SIGNS = {"year": "%Y", "month": "%m", "day": "%d"}
_PARTS = (("year", r"[0-9]{4}"), ("month", r"[0-9]{1,2}"), ("day", r"[0-9]{1,2}"))
_READ_BELOW_A_DAY = re.compile(r"(?!year=|month=|day=)[^=/]+=.*|[0-9]{1,2}|.*\.(parquet|parq|pq)", re.IGNORECASE)


class DayLimits(Policy):
    """Size limits of a day, checked before any row is read: a larger day is taken for a mistake or an attack."""

    max_bytes: int = Field(20 * 2**30, ge=1, description="Most bytes of a day's files.")
    max_rows: int = Field(
        50_000_000,
        ge=1,
        description="Most rows of a day, as its files say: few bytes may hold any number of equal rows.",
    )
    max_decoded_bytes: int = Field(
        16 * 2**30, ge=1, description="Most bytes of the columns of a day that are read, once they are decoded."
    )
    max_file_rows: int = Field(20_000_000, ge=1, description="Most rows of one file.")
    max_file_decoded_bytes: int = Field(
        8 * 2**30, ge=1, description="Most bytes of the columns of one file that are read, once they are decoded."
    )


class FileSize(NamedTuple):
    """Size of a file by its footer: rows, and decoded bytes of the columns that are read."""

    path: str
    rows: int
    decoded_bytes: int


class Excess(NamedTuple):
    """A file or day that is larger than allowed, as text, and the setting with the limit."""

    words: str
    setting: str


def excesses(day: date, sizes: Sequence[FileSize], limits: DayLimits) -> list[Excess]:
    """Every file that is larger than a file may be; where there is none, what makes the day as a whole too large."""
    return list(_of_files(sizes, limits)) or list(_of_day(day, sizes, limits))


def _of_files(sizes: Sequence[FileSize], limits: DayLimits) -> Iterator[Excess]:
    for path, rows, decoded in sizes:
        if rows > limits.max_file_rows:
            yield Excess(_more(path, rows, "rows", "file", limits.max_file_rows), "max_file_rows")
        if decoded > limits.max_file_decoded_bytes:
            words = _more(path, decoded, "bytes once decoded", "file", limits.max_file_decoded_bytes)
            yield Excess(words, "max_file_decoded_bytes")


def _of_day(day: date, sizes: Sequence[FileSize], limits: DayLimits) -> Iterator[Excess]:
    largest = max(sizes, key=lambda one: (one.decoded_bytes, one.rows)).path
    name = f"{day} ({len(sizes)} files, the largest is {largest})"
    rows, decoded = sum(one.rows for one in sizes), sum(one.decoded_bytes for one in sizes)
    if rows > limits.max_rows:
        yield Excess(_more(name, rows, "rows", "day", limits.max_rows), "max_rows")
    if decoded > limits.max_decoded_bytes:
        words = _more(name, decoded, "bytes once decoded", "day", limits.max_decoded_bytes)
        yield Excess(words, "max_decoded_bytes")


def _more(name: str, found: int, unit: str, whole: str, most: int) -> str:
    return f"{name} has {found:,} {unit}, and a {whole} may have {most:,}"


class SetAside(NamedTuple):
    """A file or folder that is not read, and why."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


class DayPath(NamedTuple):
    """A place in a day's folder. `unread` is the reason why it is not read; `certain`: its name says Parquet."""

    day: date
    certain: bool = True
    unread: str = ""


def meaning_of(path: str, *, is_folder: bool = False) -> DayPath | SetAside | None:
    """The meaning of a path below the lake's root; None for temporary files of writers, which are not reported.

    >>> meaning_of("year=2026/month=03/day=01/a.parquet")
    DayPath(day=datetime.date(2026, 3, 1), certain=True, unread='')
    >>> print(meaning_of("year=2026/month=02/day=30/a.parquet"))
    year=2026/month=02/day=30 names a day that no calendar has
    >>> meaning_of("year=2026/month=03/day=01/_SUCCESS")

    `is_folder` is for folders that cannot be listed; a day's folder is one, a file in its place is not.
    """
    parts = PurePosixPath(path).parts
    if parts and parts[0] in _TABLE_LOGS:
        return SetAside(
            parts[0], f"is the log of a {_TABLE_LOGS[parts[0]]} table: it is not read, but files that it removed are"
        )
    # Spark, Hive and Delta hide their own files by these prefixes, and readers skip them.
    if any(part.startswith(("_", ".")) for part in parts) or path.endswith(_LEFTOVER_SUFFIXES):
        return None
    for depth, (name, digits) in enumerate(_PARTS):
        if depth >= len(parts) - (0 if is_folder else 1):
            return SetAside(path, f"lies in no day's folder ({LAYOUT})")
        if not re.fullmatch(f"{name}={digits}", parts[depth]):
            return SetAside("/".join(parts[: depth + 1]), f"names no {name} ({LAYOUT})")
    day = _day(parts)
    return SetAside("/".join(parts[:3]), "names a day that no calendar has") if day is None else _in_day(day, parts[3:])


def _day(parts: tuple[str, ...]) -> date | None:
    try:
        return date(*(int(part.partition("=")[2]) for part in parts[:3]))
    except ValueError:
        return None


def _in_day(day: date, below: tuple[str, ...]) -> DayPath:
    folders, name = below[:-1], below[-1] if below else ""
    if any(not _READ_BELOW_A_DAY.fullmatch(folder) for folder in folders):
        return DayPath(day, unread="lies in a folder below the day that is none of its parts, such as hour=HH")
    if not below or name.lower().endswith(PARQUET):
        return DayPath(day)
    if name.lower().endswith(_OTHER_FORMATS):
        return DayPath(day, unread="is no Parquet file")
    return DayPath(day, certain=False)


def one_file(uri: str) -> bool:
    """Whether the place of a lake is written like a single file of data."""
    return uri.lower().endswith((*PARQUET, *_OTHER_FORMATS))


def how_to_split(uri: str, timestamp: str) -> str:
    """The statement with which DuckDB makes a lake of one file; `timestamp` is its column with the time."""
    name, time = uri.replace("'", "''"), '"' + timestamp.replace('"', '""') + '"'
    days = ", ".join(f"strftime({time}, '{sign}') AS {part}" for part, sign in _SIGNS.items())
    return (
        f"COPY (SELECT *, {days} FROM '{name}') TO 'lake' "
        "(FORMAT parquet, PARTITION_BY (year, month, day), OVERWRITE_OR_IGNORE)"
    )


def outside_of_time(day: date, first: date, today: date) -> str:
    """Reason why a day of the lake cannot be run; empty when it can.

    The day after `today` is no reason: it has begun elsewhere, and waits until it begins here.
    """
    if day < first:
        return f"is before {first}, the first day that can be run; lake.first_day in the settings says otherwise"
    # One day of tolerance: a producer may be in a time zone that is ahead of UTC.
    return "is after today" if day > today + timedelta(days=1) else ""
