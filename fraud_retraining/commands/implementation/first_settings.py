"""A first `retraining.yaml` for a lake and its label feed, or for one file that is made a lake of.

Here: looking at the data, deciding, writing. Not here: asking a person (`commands/init.py`), opening what was named
(`first_sources.py`), counting (`adapters/storage/profiles.py`, `feed_profiles.py`) and guessing (`domain/proposal`).
"""

import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

from fraud_retraining.adapters.storage.feed_profiles import count_with_feed
from fraud_retraining.adapters.storage.lake import EARLIEST, DayFiles, Lake, LakeLocation
from fraud_retraining.adapters.storage.locations import reaching, replacing
from fraud_retraining.adapters.storage.machine_memory import usable_memory
from fraud_retraining.adapters.storage.profiles import Profiler, Source
from fraud_retraining.commands.implementation.first_sources import (
    AT_ONCE,
    COLUMN_DAYS,
    Answering,
    Notify,
    OpenedTable,
    Sources,
    absolute,
    environment,
    fetched,
    label_days,
    last_days,
    open_lake,
    open_table,
    require_places,
    spread,
)
from fraud_retraining.domain.data.athena_table import SCHEME
from fraud_retraining.domain.data.memory import default_memory_limit, limit_bytes
from fraud_retraining.domain.proposal.facts import ColumnFacts, DayFacts
from fraud_retraining.domain.proposal.feed import FeedRoles, decide_feed, require_same_ids
from fraud_retraining.domain.proposal.roles import (
    Choices,
    Question,
    Roles,
    Undecided,
    counted_columns,
    decide_roles,
    pinned,
)
from fraud_retraining.domain.proposal.settings_text import ProposedFeed, ProposedTable, settings_text
from fraud_retraining.domain.proposal.volumes import proposed_volumes
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import Conflict, DataInvalid, SettingsError
from fraud_retraining.settings import Settings, home_folder, load_settings

MOST_MEMORY = "1GB"
"""Beyond it rows are sorted on disk, which costs little: a file of any size takes no more."""


class FirstSettings(NamedTuple):
    """What was written, and what it says."""

    settings: Path
    lake: str
    rows: int
    days: int
    frauds: int
    roles: Roles
    table: ProposedTable | None = None
    feed: ProposedFeed | None = None
    scanned_bytes: int | None = None


class _Work(NamedTuple):
    """What every step needs."""

    profiler: Profiler
    sources: Sources
    target: Path
    answer: Answering
    notify: Notify


class _Feed(NamedTuple):
    """A label feed: its files by the day known, and facts of its columns."""

    uri: str
    files: Mapping[date, Sequence[Path]]
    columns: list[ColumnFacts]


class _Looked(NamedTuple):
    """What the columns are, and what was counted."""

    roles: Roles
    days: list[DayFacts]
    feed: ProposedFeed | None


def write_first_settings(
    sources: Sources,
    target: Path,
    choices: Choices,
    answer: Answering,
    *,
    overwrite: bool,
    notify: Notify,
) -> FirstSettings:
    """Look at the data, write the lake where a file was given, and write the settings.

    Args:
        sources: folder, s3:// URI or athena://database.table of the lake; where a file is given, the folder to write,
            by default `lake` here; and the label feed, if there is one.
        target: the settings file.
        choices: what was said about the columns.
        answer: the answers to questions that are left, or its error.
        overwrite: whether a settings file that is there is replaced.
        notify: gets what is being done, in words.

    Raises:
        Conflict: the settings file, or something in place of the lake, is there already.
        Undecided: something cannot be told, and nobody answered.
        DataInvalid: the data is not there, cannot be read, or is too little; or the feed is of other transactions.
        SettingsError: the environment makes the proposed settings impossible; or what was named does not go together.
    """
    if target.exists() and not overwrite:
        raise Conflict(f"{target} is there already", remedy="move it away, name another --out, or give --force.")
    require_places(sources)
    place = absolute(sources.lake or "lake")
    with Profiler(memory_limit=_memory_limit(), threads=None, temp_directory=home_folder() / "scratch") as profiler:
        work = _Work(profiler, sources, target, answer, notify)
        if sources.transactions is not None:
            return _of_file(work, sources.transactions.expanduser(), place, choices)
        return _of_table(work, place, choices) if place.startswith(SCHEME) else _of_lake(work, place, choices)


def _memory_limit() -> str:
    usual = default_memory_limit(usable_memory())
    return usual if limit_bytes(usual) < limit_bytes(MOST_MEMORY) else MOST_MEMORY


def _of_file(work: _Work, file: Path, lake: str, choices: Choices) -> FirstSettings:
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
    source = work.profiler.file(file)
    work.notify(f"looking at the columns of {file}")
    feed = _feed(work, None, None)
    roles, labels = _decided(work, work.profiler.columns(source), feed, choices, is_file=True)
    work.notify("counting its days")
    looked = _counted(work, source, roles, feed, labels, None)
    # Before anything is written: too few days, no frauds or impossible settings make no lake.
    text = _text(looked, lake, str(file), partly=False)
    _try(work.target, text)
    work.notify(f"writing {len(looked.days)} days to {folder}")
    rows = work.profiler.write_lake(source, roles, folder, len(looked.days))
    _write(work.target, text)
    return _written(work, lake, looked, len(looked.days))._replace(rows=rows)


def _of_lake(work: _Work, uri: str, choices: Choices) -> FirstSettings:
    if "://" not in uri and Path(uri).is_file():
        raise SettingsError(
            f"{uri} is a file, and a lake is a folder", remedy="fraud-retraining init --transactions FILE."
        )
    work.notify(f"listing {uri}")
    settings = environment()
    lake = open_lake(settings, uri)
    listing = lake.listing()
    if not listing.days:
        aside = [str(one) for one in listing.set_aside[:5]]
        raise DataInvalid(
            f"{uri} holds no day of transactions",
            culprits=aside,
            remedy="days lie under year=YYYY/month=MM/day=DD/; of one file, or of a folder of other Parquet files, "
            "init --transactions makes a lake.",
        )
    within = last_days(listing.days)
    chosen = {day: files for day, files in listing.days.items() if day in within}
    work.notify(f"looking at the columns of {len(chosen)} days")
    source = work.profiler.parquet(_all(fetched(lake, chosen)))
    feed = _feed(work, settings, within)
    roles, labels = _decided(work, work.profiler.columns(source), feed, choices, is_file=False)
    looked = _counted(work, source, roles, feed, labels, within)
    _write(work.target, _text(looked, uri, uri, partly=len(chosen) < len(listing.days)))
    return _written(work, uri, looked, len(listing.days))


def _of_table(work: _Work, uri: str, choices: Choices) -> FirstSettings:
    """A table of Athena: what its columns are by a few days, and counts of all days by the columns that these take."""
    profiler = work.profiler
    table, choices = open_table(work.sources, choices, work.answer, work.notify)
    within = last_days(table.days)
    chosen = {day: files for day, files in table.days.items() if day in within}
    few = {day: chosen[day] for day in spread(list(chosen), COLUMN_DAYS)}
    limit = table.policy.max_scanned_bytes
    work.notify(
        f"unloading {len(few)} of {len(chosen)} days with all columns; a query may scan {limit:,} bytes at most"
    )
    first = _first_columns(profiler, table, _all(_unloaded(table.whole, few)))
    feed = _feed(work, table.settings, within)
    roles, _ = _decided(work, first, feed, choices, is_file=False)
    names = counted_columns(first, roles)
    work.notify(f"unloading {len(chosen)} days with {len(names)} columns: {', '.join(names)}")
    narrow = table.of_columns(names)
    source = profiler.parquet(_all(_unloaded(narrow, chosen)))
    counted = {one.name: one for one in profiler.columns(source)}
    columns = [counted.get(one.name, one) for one in first]
    roles, labels = _decided(work, columns, feed, pinned(choices, roles), is_file=False)
    looked = _counted(work, source, roles, feed, labels, within)
    proposed = ProposedTable(table.policy, table.told_by.why)
    _write(work.target, _text(looked, uri, uri, partly=len(chosen) < len(table.days), table=proposed))
    scanned = table.whole.scanned_bytes + narrow.scanned_bytes
    work.notify(f"Athena scanned {scanned:,} bytes of {uri}")
    return _written(work, uri, looked, len(table.days))._replace(table=proposed, scanned_bytes=scanned)


def _first_columns(profiler: Profiler, table: OpenedTable, paths: Sequence[Path]) -> list[ColumnFacts]:
    """The columns of a table but those that say nothing else than the day."""
    day = {name.lower() for name in table.told_by.columns}
    return [one for one in profiler.columns(profiler.parquet(paths)) if one.name.lower() not in day]


def _unloaded(location: LakeLocation, days: Mapping[date, DayFiles]) -> dict[date, Sequence[Path]]:
    return fetched(Lake(location, first_day=EARLIEST), days, at_once=AT_ONCE)


def _all(files: Mapping[date, Sequence[Path]]) -> list[Path]:
    return [path for paths in files.values() for path in paths]


def _feed(work: _Work, settings: Settings | None, within: DayRange | None) -> _Feed | None:
    """The label feed that was named, as far as it is of the days of the transactions."""
    if work.sources.labels is None:
        return None
    uri = absolute(work.sources.labels)
    work.notify(f"looking at the label feed {uri}")
    files = label_days(settings or environment(), uri, within)
    return _Feed(uri, files, work.profiler.columns(work.profiler.parquet(_all(files))))


def _decided(
    work: _Work, columns: list[ColumnFacts], feed: _Feed | None, choices: Choices, *, is_file: bool
) -> tuple[Roles, FeedRoles | None]:
    """What the columns of transactions and feed are; the questions of both come at once."""
    while True:
        questions: list[Question] = []
        roles = labels = None
        try:
            roles = decide_roles(columns, choices, is_file=is_file, has_feed=feed is not None)
        except Undecided as undecided:
            questions += undecided.questions
        try:
            known = roles.transaction_id.name if roles and roles.transaction_id else choices.transaction_id
            labels = decide_feed(feed.columns, choices, known) if feed else None
        except Undecided as undecided:
            questions += undecided.questions
        if roles is not None and not questions:
            return roles, labels
        choices = work.answer(Undecided(questions), choices)


def _counted(
    work: _Work,
    source: Source,
    roles: Roles,
    feed: _Feed | None,
    labels: FeedRoles | None,
    within: DayRange | None,
) -> _Looked:
    """The days of the transactions, within those that a lake was asked for."""
    if feed is None or labels is None:
        days = work.profiler.days(source, roles)
        return _Looked(roles, [day for day in days if within is None or day.day in within], None)
    assert roles.transaction_id is not None
    days, facts = count_with_feed(work.profiler, source, roles, feed.files, labels, within)
    require_same_ids(facts, roles.transaction_id, labels, feed.uri)
    proposed = ProposedFeed(feed.uri, labels, facts)
    work.notify(f"label feed: {proposed.words}")
    return _Looked(roles, days, proposed)


def _written(work: _Work, lake: str, looked: _Looked, days: int) -> FirstSettings:
    rows, frauds = sum(day.rows for day in looked.days), sum(day.frauds for day in looked.days)
    return FirstSettings(work.target, lake, rows, days, frauds, looked.roles, feed=looked.feed)


def _text(looked: _Looked, lake: str, source: str, *, partly: bool, table: ProposedTable | None = None) -> str:
    roles, days, feed = looked
    volumes = proposed_volumes(
        days,
        label_times=roles.label_time is not None or feed is not None,
        frauds_by_delay=feed.facts.frauds_by_delay if feed else None,
    )
    return settings_text(roles, volumes, days, lake=lake, source=source, partly=partly, table=table, feed=feed)


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
