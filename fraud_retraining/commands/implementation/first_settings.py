"""A first `retraining.yaml` for a lake, or for one file that is made a lake of.

Here: looking at the data, deciding, writing. Not here: asking a person (`commands/init.py`), counting
(`adapters/storage/profiles.py`) and guessing (`domain/proposal`).
"""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from fraud_retraining.adapters.storage.lake import EARLIEST, Lake
from fraud_retraining.adapters.storage.locations import reaching, replacing
from fraud_retraining.adapters.storage.machine_memory import usable_memory
from fraud_retraining.adapters.storage.opening import open_location
from fraud_retraining.adapters.storage.profiles import Profiler
from fraud_retraining.domain.data.memory import default_memory_limit, limit_bytes
from fraud_retraining.domain.proposal.facts import ColumnFacts, DayFacts
from fraud_retraining.domain.proposal.roles import Choices, Roles, Undecided, decide_roles
from fraud_retraining.domain.proposal.settings_text import settings_text
from fraud_retraining.domain.proposal.volumes import proposed_volumes
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import Conflict, DataInvalid, SettingsError
from fraud_retraining.orchestration.resources import s3_resource
from fraud_retraining.settings import Settings, home_folder, load_settings
from fraud_retraining.settings_checks import validation_problems

LOOKED_AT_DAYS = 60
"""The last days of a lake that are counted; a file is counted as a whole."""

MOST_MEMORY = "1GB"
"""Beyond it rows are sorted on disk, which costs little: a file of any size takes no more."""

Answering = Callable[[Undecided, Choices], Choices]


class FirstSettings(NamedTuple):
    """What was written, and what it says."""

    settings: Path
    lake: str
    rows: int
    days: int
    frauds: int
    roles: Roles


def write_first_settings(
    lake: str | None,
    transactions: Path | None,
    target: Path,
    choices: Choices,
    answer: Answering,
    *,
    overwrite: bool,
    notify: Callable[[str], None],
) -> FirstSettings:
    """Look at the data, write the lake where a file was given, and write the settings.

    Args:
        lake: folder or s3:// URI of the lake; where a file is given, the folder to write, by default `lake` here.
        transactions: a CSV or Parquet file, or a folder of Parquet files.
        target: the settings file.
        choices: what was said about the columns.
        answer: the answers to questions that are left, or its error.
        overwrite: whether a settings file that is there is replaced.
        notify: gets what is being done, in words.

    Raises:
        Conflict: the settings file, or something in place of the lake, is there already.
        Undecided: something cannot be told, and nobody answered.
        DataInvalid: the data is not there, cannot be read, or is too little.
        SettingsError: the environment makes the proposed settings impossible.
    """
    if target.exists() and not overwrite:
        raise Conflict(f"{target} is there already", remedy="move it away, name another --out, or give --force.")
    if lake is None and transactions is None:
        raise SettingsError(
            "neither a lake nor a file was named",
            remedy="fraud-retraining init LAKE, or fraud-retraining init --transactions FILE.",
        )
    # Also of a relative path: Dagster starts runs in other working folders.
    place = lake if lake is not None and "://" in lake else str(Path(lake or "lake").expanduser().absolute())
    spill = home_folder() / "scratch"
    with Profiler(memory_limit=_memory_limit(), threads=None, temp_directory=spill) as profiler:
        if transactions is None:
            return _of_lake(profiler, place, target, choices, answer, notify)
        return _of_file(profiler, transactions.expanduser(), place, target, choices, answer, notify)


def _memory_limit() -> str:
    usual = default_memory_limit(usable_memory())
    return usual if limit_bytes(usual) < limit_bytes(MOST_MEMORY) else MOST_MEMORY


def _of_file(
    profiler: Profiler,
    file: Path,
    lake: str,
    target: Path,
    choices: Choices,
    answer: Answering,
    notify: Callable[[str], None],
) -> FirstSettings:
    if "://" in lake:
        raise SettingsError(
            f"a file is made a lake of in a folder, and {lake} is none",
            remedy="name a folder, and copy it there afterwards: aws s3 sync FOLDER s3://...",
        )
    folder = Path(lake)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(
            f"{folder} is there already, and nothing is overwritten",
            remedy="name another folder for the lake; or, if that is the lake, leave out --transactions.",
        )
    source = profiler.file(file)
    notify(f"looking at the columns of {file}")
    roles = _decided(profiler.columns(source), choices, answer, is_file=True)
    notify("counting its days")
    days = profiler.days(source, roles)
    # Before anything is written: too few days, no frauds or impossible settings make no lake.
    text = _text(roles, days, lake, str(file), partly=False)
    _try(target, text)
    notify(f"writing {len(days)} days to {folder}")
    rows = profiler.write_lake(source, roles, folder, len(days))
    _write(target, text)
    return FirstSettings(target, lake, rows, len(days), sum(day.frauds for day in days), roles)


def _of_lake(
    profiler: Profiler, uri: str, target: Path, choices: Choices, answer: Answering, notify: Callable[[str], None]
) -> FirstSettings:
    if "://" not in uri and Path(uri).is_file():
        raise SettingsError(
            f"{uri} is a file, and a lake is a folder", remedy="fraud-retraining init --transactions FILE."
        )
    notify(f"listing {uri}")
    found = _opened(uri)
    listing = found.listing()
    if not listing.days:
        aside = [str(one) for one in listing.set_aside[:5]]
        raise DataInvalid(
            f"{uri} holds no day of transactions",
            culprits=aside,
            remedy="days lie under year=YYYY/month=MM/day=DD/; of one file, or of a folder of other Parquet files, "
            "init --transactions makes a lake.",
        )
    last = max(listing.days)
    chosen = [files for day, files in listing.days.items() if day > last - timedelta(days=LOOKED_AT_DAYS)]
    notify(f"looking at the columns of {len(chosen)} days")
    source = profiler.parquet([path for files in chosen for path in found.fetch(files).paths])
    roles = _decided(profiler.columns(source), choices, answer, is_file=False)
    within = DayRange(start=last - timedelta(days=LOOKED_AT_DAYS - 1), end=last)
    days = [day for day in profiler.days(source, roles) if day.day in within]
    partly = len(chosen) < len(listing.days)
    _write(target, _text(roles, days, uri, uri, partly=partly))
    return FirstSettings(
        target, uri, sum(day.rows for day in days), len(listing.days), sum(day.frauds for day in days), roles
    )


def _opened(uri: str) -> Lake:
    """The lake; S3 as the environment says, for the settings file is what is being made."""
    if not uri.startswith("s3://"):
        return Lake(open_location(uri, s3=None, cache=home_folder() / "cache"), first_day=EARLIEST)
    try:
        settings = Settings()
    except ValidationError as error:
        raise SettingsError(
            "the environment holds settings that cannot be obeyed", culprits=validation_problems(error)
        ) from None
    place = open_location(
        uri, s3=s3_resource(settings), cache=home_folder() / "cache", policy=settings.lake.s3.transfer
    )
    return Lake(place, first_day=EARLIEST)


def _decided(columns: list[ColumnFacts], choices: Choices, answer: Answering, *, is_file: bool) -> Roles:
    while True:
        try:
            return decide_roles(columns, choices, is_file=is_file)
        except Undecided as questions:
            choices = answer(questions, choices)


def _text(roles: Roles, days: list[DayFacts], lake: str, source: str, *, partly: bool) -> str:
    volumes = proposed_volumes(days, label_times=roles.label_time is not None)
    return settings_text(roles, volumes, days, lake=lake, source=source, partly=partly)


def _try(target: Path, text: str) -> None:
    """Load the settings from a file that is gone afterwards.

    Raises:
        SettingsError: they are impossible, with what the environment says besides.
    """
    trial = target.with_name(f".{target.name}.{os.getpid()}.trial")
    try:
        with reaching("write", trial):
            trial.write_text(text, encoding="utf-8")
        load_settings(trial)
    finally:
        trial.unlink(missing_ok=True)


def _write(target: Path, text: str) -> None:
    _try(target, text)
    with replacing(target.absolute()) as file:
        file.write(text.encode())
