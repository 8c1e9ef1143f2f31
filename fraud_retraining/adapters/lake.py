"""The lake: which days of transactions have arrived, as which files.

Here: the layout `year=YYYY/month=MM/day=DD/*.parquet` and what a day's files are. Not here: what is in them
(`domain/ingestion.py`) and how bytes are moved (`adapters/locations.py`).
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

from fraud_retraining.adapters.locations import Location, ObjectInfo, in_parallel
from fraud_retraining.domain.errors import DataInvalid
from fraud_retraining.domain.windows import DayRange

_DAY_FILE = re.compile(r"year=([^/]*)/month=([^/]*)/day=([^/]*)/[^/._][^/]*\.parquet")


class DayFiles(NamedTuple):
    """The files of one day; `version` changes whenever a file is added, removed or written again."""

    day: date
    files: tuple[ObjectInfo, ...]
    version: str


class Lake:
    """Transactions as they arrive, one folder a UTC day, one or several Parquet files in it."""

    def __init__(self, location: Location) -> None:
        self._location = location

    @property
    def uri(self) -> str:
        """The place of the lake, as a person would write it."""
        return self._location.uri

    def days(self, within: DayRange | None = None) -> dict[date, DayFiles]:
        """The days that have files, oldest first; with `within`, only its months are listed.

        Raises:
            DataInvalid: there is no lake, or Parquet files lie under a folder that names no day.
        """
        found = self._found([""] if within is None else list(_month_prefixes(within)))
        return {day: files for day, files in sorted(found.items()) if within is None or day in within}

    def fetch(self, files: DayFiles) -> list[Path]:
        """Local readable files with exactly the bytes that were listed."""
        return self._location.fetch(files.files)

    def _found(self, prefixes: list[str]) -> dict[date, DayFiles]:
        listings = in_parallel(self._location.list, prefixes)
        days = _by_day(self.uri, (info for listing in listings for info in listing))
        if not days and not self._location.exists_root():
            raise DataInvalid(f"there is no lake at {self.uri}", remedy="Correct lake.uri in the settings.")
        return days


def _by_day(uri: str, files: Iterable[ObjectInfo]) -> dict[date, DayFiles]:
    days: dict[date, list[ObjectInfo]] = defaultdict(list)
    strays = []
    for info in files:
        if (match := _DAY_FILE.fullmatch(info.path)) is None:
            continue
        if (day := _parsed(*match.groups())) is None:
            strays.append(info.path)
        else:
            days[day].append(info)
    if strays:
        raise DataInvalid(
            f"folders of the lake at {uri} name no day but hold Parquet files",
            culprits=strays,
            remedy="Name them year=YYYY/month=MM/day=DD or move their files away.",
        )
    return {day: DayFiles(day, tuple(sorted(found)), _version(found)) for day, found in days.items()}


def _parsed(year: str, month: str, day: str) -> date | None:
    if not re.fullmatch(r"[0-9]{4} [0-9]{1,2} [0-9]{1,2}", f"{year} {month} {day}"):
        return None
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def _version(files: Iterable[ObjectInfo]) -> str:
    listing = [[info.path, info.size, info.version] for info in sorted(files)]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _spellings(number: int) -> set[str]:
    return {str(number), f"{number:02d}"}


def _month_prefixes(within: DayRange) -> Iterator[str]:
    """The folders of each month, with and without a leading zero."""
    for year, month in sorted({(day.year, day.month) for day in within}):
        yield from (f"year={year:04d}/month={text}" for text in sorted(_spellings(month)))
