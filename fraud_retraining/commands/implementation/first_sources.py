"""What `init` looks at: a lake, a table of Athena or a label feed, opened as the environment says.

Here: opening them before there are settings, and which of their days are read. Not here: what their columns are
(`domain/proposal`) and what is written (`first_settings.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from fraud_retraining.adapters.storage.athena import AthenaLocation
from fraud_retraining.adapters.storage.lake import EARLIEST, DayFiles, Lake, Naming
from fraud_retraining.adapters.storage.locations import in_parallel
from fraud_retraining.domain.data.athena_table import SCHEME, AthenaPolicy
from fraud_retraining.domain.proposal.roles import Choices, Undecided
from fraud_retraining.domain.proposal.table import TableDays, decide_days, no_days
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import DataInvalid, SettingsError
from fraud_retraining.orchestration.resources import open_lake_location
from fraud_retraining.settings import Settings
from fraud_retraining.settings_checks import validation_problems

LOOKED_AT_DAYS = 60
"""The last days of a lake that are counted; a file is counted as a whole."""
COLUMN_DAYS = 7
"""Days of a table, spread over these, of which every column is unloaded."""
AT_ONCE = 5
"""Days of a table that are unloaded at once: Athena lets an account run about twenty queries."""

Answering = Callable[[Undecided, Choices], Choices]
Notify = Callable[[str], None]


class Sources(NamedTuple):
    """What was named: folders and addresses as a person wrote them, and how a table of Athena is queried."""

    lake: str | None = None
    transactions: Path | None = None
    labels: str | None = None
    athena_output: str | None = None
    athena_workgroup: str | None = None


class OpenedTable(NamedTuple):
    """A table of Athena whose days can be told apart."""

    settings: Settings
    policy: AthenaPolicy
    told_by: TableDays
    whole: AthenaLocation
    days: Mapping[date, DayFiles]

    def of_columns(self, names: Sequence[str]) -> AthenaLocation:
        """The same table with some columns alone."""
        return _table_location(self.settings, self.policy.uri, names)


def absolute(place: str) -> str:
    """A folder as a whole path, for Dagster starts runs in other working folders; other places as they are."""
    return place if "://" in place else str(Path(place).expanduser().absolute())


def require_places(sources: Sources) -> None:
    """Refuse places that do not go together.

    Raises:
        SettingsError: neither lake nor file; a table without the place of its results, or that place without a table.
    """
    if sources.lake is None and sources.transactions is None:
        raise SettingsError(
            "neither a lake nor a file was named",
            remedy="fraud-retraining init LAKE, or fraud-retraining init --transactions FILE.",
        )
    lake = sources.lake or ""
    if not lake.startswith(SCHEME):
        _require_no_table(sources)
        return
    if sources.transactions is not None:
        raise SettingsError(
            f"a file is made a lake of in a folder, and {lake} is none",
            remedy="leave out --transactions, or name a folder.",
        )
    database, _, table = lake.removeprefix(SCHEME).rpartition(".")
    if not database or not table:
        raise SettingsError(f"{lake} names no table", remedy="write it as athena://database.table.")
    if sources.athena_output is None:
        raise SettingsError(
            f"{lake} is a table of Athena, and no place is named for the results of its queries",
            remedy="add --athena-output s3://bucket/prefix: of this project alone, for what lies there is deleted.",
        )


def _require_no_table(sources: Sources) -> None:
    if sources.athena_output is not None or sources.athena_workgroup is not None:
        raise SettingsError(
            "--athena-output and --athena-workgroup are of a table of Athena, and the lake is none",
            remedy="fraud-retraining init athena://database.table --athena-output s3://bucket/prefix.",
        )
    if (sources.labels or "").startswith(SCHEME):
        raise SettingsError(
            f"{sources.labels} is a table of Athena, and the lake is none: nothing would say how to query it",
            remedy="name a lake athena://database.table too, or a feed in a folder or at s3://bucket/prefix.",
        )


def environment(**values: Any) -> Settings:
    """Settings of the environment: the settings file is what is being made.

    Raises:
        SettingsError: they cannot be obeyed.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError(
            "what was named, and the environment, make settings that cannot be obeyed",
            culprits=validation_problems(error),
        ) from None


def open_lake(settings: Settings, uri: str) -> Lake:
    """A folder or an S3 prefix."""
    return Lake(open_lake_location(settings, uri, None), first_day=EARLIEST)


def open_table(sources: Sources, choices: Choices, answer: Answering, notify: Notify) -> tuple[OpenedTable, Choices]:
    """A table of Athena, its days listed; and the choices with the answers that this took.

    Raises:
        Undecided: which day a row is of cannot be told, and nobody answered.
        DataInvalid: the table is not there, has no row, or Athena refuses what was said about its days.
    """
    uri = sources.lake or ""
    notify(f"describing {uri}")
    columns = _table_location(_table_settings(sources, {}), uri, None).described()
    while True:
        try:
            found = decide_days(columns, choices)
            settings = _table_settings(sources, {"day": found.day, "modified": found.modified})
            location = _table_location(settings, uri, None)
            notify(
                f"counting the rows of every day, as {found.day} tells them apart: of Parquet and ORC that reads no "
                "other column, of CSV and JSON every byte"
            )
            listing = Lake(location, first_day=EARLIEST).listing()
            if listing.set_aside and not listing.days:
                raise no_days(columns, found)
        except Undecided as questions:
            choices = answer(questions, choices)
            continue
        if not listing.days:
            raise DataInvalid(f"{uri} has no row", remedy="name a table that holds transactions.")
        assert settings.lake.athena is not None
        return OpenedTable(settings, settings.lake.athena, found, location, listing.days), choices


def _table_settings(sources: Sources, told_by: Mapping[str, str]) -> Settings:
    database, _, table = (sources.lake or "").removeprefix(SCHEME).rpartition(".")
    given = {"kind": "athena", "database": database, "table": table, "output": sources.athena_output, **told_by}
    workgroup = {"workgroup": sources.athena_workgroup} if sources.athena_workgroup else {}
    return environment(lake={**given, **workgroup})


def _table_location(settings: Settings, uri: str, columns: Sequence[str] | None) -> AthenaLocation:
    location = open_lake_location(settings, uri, columns)
    assert isinstance(location, AthenaLocation)
    return location


def label_days(settings: Settings, uri: str, within: DayRange | None) -> dict[date, Sequence[Path]]:
    """The files of the days of a label feed, or of those within the days of the transactions.

    Raises:
        DataInvalid: there is no feed, or it has no such day.
    """
    lake = Lake(open_lake_location(settings, uri, None), first_day=EARLIEST, naming=Naming("labels.uri", "label feed"))
    days = lake.listing().days
    if not days:
        raise DataInvalid(
            f"{uri} holds no day of labels",
            remedy="labels lie under year=YYYY/month=MM/day=DD/ by the day known (docs/labels.md), or in a table whose "
            "day is told apart as that of the transactions.",
        )
    chosen = {day: files for day, files in days.items() if within is None or day in within}
    if not chosen:
        raise DataInvalid(
            f"{uri} has labels that became known from {min(days)} to {max(days)}, and none of {within}, of which "
            "transactions were looked at",
            remedy="deliver the labels of these days, or name another feed.",
        )
    return fetched(lake, chosen, at_once=AT_ONCE if uri.startswith(SCHEME) else 1)


def last_days(days: Mapping[date, DayFiles]) -> DayRange:
    """The last days of a lake, those without rows included."""
    last = max(days)
    return DayRange(start=last - timedelta(days=LOOKED_AT_DAYS - 1), end=last)


def fetched(lake: Lake, days: Mapping[date, DayFiles], *, at_once: int = 1) -> dict[date, Sequence[Path]]:
    """Local files of some days."""
    found = in_parallel(lake.fetch, list(days.values()), workers=at_once)
    return {day: delivery.paths for day, delivery in zip(days, found, strict=True)}


def spread(days: Sequence[date], count: int) -> list[date]:
    """So many of the days, evenly, the first and the last among them.

    The last days alone would hold frauds that nobody has reported yet, and no label where labels come late.

    >>> [day.day for day in spread([date(2026, 1, number) for number in range(1, 11)], 4)]
    [1, 4, 7, 10]
    """
    if len(days) <= count:
        return list(days)
    return [days[round(place * (len(days) - 1) / (count - 1))] for place in range(count)]
