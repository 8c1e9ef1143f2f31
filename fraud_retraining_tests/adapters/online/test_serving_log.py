"""No answer that was given is lost or counted twice: not by a kill, an outage, a full disk, or a second scorer."""

import logging
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from fraud_retraining.adapters.online.served_days import ServedDays
from fraud_retraining.adapters.online.serving_log import ServingLog
from fraud_retraining.adapters.storage.locations import FolderLocation, Location
from fraud_retraining.adapters.storage.opening import open_location
from fraud_retraining.domain.values.errors import DependencyUnreachable, IntegrityError, SettingsError
from fraud_retraining_tests.support.served import KEY_TYPES, NOON, PLAN, POINTS, TEXT_TYPES, killed_scorer, served

DAY = NOON.date()
YESTERDAY = DAY - timedelta(days=1)


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return FolderLocation(tmp_path / "place")


def new_log(location: Location, folder: Path, scorer: str = "scorer", **named: Any) -> ServingLog:
    return ServingLog(location, folder, PLAN, scorer, named.pop("key_types", KEY_TYPES), **named)


def ids(location: Location, day: date = DAY) -> list[Any]:
    found = ServedDays(location).read(day)
    return [] if found is None else found["transaction_id"].to_pylist()


def segments(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------- flushing


def test_a_flush_brings_every_day_to_the_store(root_uri: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    s3 = request.getfixturevalue("s3") if root_uri.startswith("s3") else None
    location = open_location(root_uri, s3=s3, cache=tmp_path / "cache")
    log = new_log(location, tmp_path / "journal")
    log.append(served([1, 2], sampled=True))
    log.append(served([3], at=NOON - timedelta(days=1)))
    log.append(served([]))
    assert log.waiting.rows == 3
    log.flush()
    log.append(served([4]))
    log.flush()
    log.flush()
    assert (ids(location), ids(location, YESTERDAY)) == ([1, 2, 4], [3])
    assert log.waiting == (0, 0.0)
    assert segments(tmp_path / "journal") == []
    days = {info.path.split("/")[1] for info in location.list("serving_log")}
    assert days == {f"day={DAY}", f"day={YESTERDAY}"}


def test_sequence_numbers_rise_over_segments(location: Location, tmp_path: Path) -> None:
    log = new_log(location, tmp_path / "journal", segment_rows=3)
    for first in range(0, 10, 2):
        log.append(served([first, first + 1]))
    assert len(segments(tmp_path / "journal")) == 3
    log.flush()
    found = ServedDays(location).read(DAY)
    assert found is not None
    assert found["sequence"].to_pylist() == found["transaction_id"].to_pylist() == list(range(10))


def test_threads_append_while_another_flushes(location: Location, tmp_path: Path) -> None:
    log, done = new_log(location, tmp_path / "journal", segment_rows=50), Event()

    def flush() -> None:
        while not done.is_set():
            log.flush()

    flusher = Thread(target=flush)
    writers = [
        Thread(target=lambda first=first: [log.append(served([first + number])) for number in range(200)])
        for first in (0, 1000, 2000)
    ]
    for thread in (flusher, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    flusher.join()
    log.flush()
    assert sorted(ids(location)) == [first + number for first in (0, 1000, 2000) for number in range(200)]


# ---------------------------------------------------------------- kills


@pytest.mark.parametrize("point", ["", *POINTS])
def test_a_kill_loses_no_answer_and_doubles_none(point: str, location: Location, tmp_path: Path) -> None:
    """The process is killed at a named point, or whenever; the next one flushes what it left."""
    folder, answered = tmp_path / "journal", tmp_path / "answered"
    process = killed_scorer(folder, tmp_path / "place", answered, point)
    if not point:
        wait_for(lambda: answered.exists() and len(answered.read_text().splitlines()) > 300)
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    given = [int(line) for line in answered.read_text().splitlines()]
    assert given
    log = new_log(location, folder, "next")
    assert log.dropped_lines == (point == "in a line")
    known = log.recent([DAY])[DAY].ids
    log.flush()
    found = ids(location)
    assert known == found
    # At most the one that it was about to answer is there as well.
    assert Counter(found) - Counter([*given, given[-1] + 1]) == Counter()
    assert set(given) <= set(found)
    # What the killed process was writing goes with the next files that are written, once it is old.
    assert all(name.endswith(".tmp") for name in segments(folder))


def wait_for(happened: Any) -> None:
    ends = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < ends
        time.sleep(0.02)


# ---------------------------------------------------------------- outages


def test_what_cannot_be_flushed_waits_and_goes_later(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.write_text("no folder")
    log = new_log(FolderLocation(place), tmp_path / "journal")
    for number in range(4):
        log.append(served([number]))
        with pytest.raises(DependencyUnreachable):
            log.flush()
    # An outage makes no file a flush: the first one waits, and the others are one.
    assert len(segments(tmp_path / "journal")) == 2
    assert log.waiting.rows == 4
    assert 0 < log.waiting.seconds < 60
    place.unlink()
    log.flush()
    assert ids(FolderLocation(place)) == [0, 1, 2, 3]
    assert log.waiting.rows == 0


def test_s3_that_does_not_answer_costs_nothing(hasty_location: Location, misbehaving: Any, tmp_path: Path) -> None:
    misbehaving.behaviour = misbehaving.status(503)
    log = new_log(hasty_location, tmp_path / "journal")
    log.append(served([1]))
    with pytest.raises(DependencyUnreachable):
        log.flush()
    log.append(served([2]))
    assert log.waiting.rows == 2


def test_a_full_disk_refuses_rows_and_loses_none_before_or_after(location: Location, tmp_path: Path) -> None:
    log = new_log(location, tmp_path / "journal")
    log.append(served([1]))
    with largest_file(1000), pytest.raises(DependencyUnreachable, match="cannot write"):
        log.append(served(list(range(100, 200))))
    log.append(served([2]))
    log.flush()
    assert ids(location) == [1, 2]
    assert log.dropped_lines == 1


def test_a_disk_that_is_full_from_the_beginning_leaves_no_files(location: Location, tmp_path: Path) -> None:
    log = new_log(location, tmp_path / "journal")
    for limit in (10, 300):
        with largest_file(limit), pytest.raises(DependencyUnreachable):
            log.append(served([1]))
    assert segments(tmp_path / "journal") == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Files that grow beyond it are cut there, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_was_taken_from_the_journal_is_told_once(location: Location, tmp_path: Path) -> None:
    log = new_log(location, tmp_path / "journal")
    log.append(served([1]))
    (path,) = (tmp_path / "journal").iterdir()
    path.unlink()
    with pytest.raises(IntegrityError, match="1 answers"):
        log.flush()
    log.append(served([2]))
    log.flush()
    assert ids(location) == [2]


# ---------------------------------------------------------------- several scorers


def test_two_scorers_of_one_folder_leave_each_other_alone(location: Location, tmp_path: Path) -> None:
    one = new_log(location, tmp_path / "journal", "one")
    one.append(served([1]))
    two = new_log(location, tmp_path / "journal", "two")
    two.append(served([2]))
    two.flush()
    assert (one.waiting.rows, two.waiting.rows, ids(location)) == (1, 0, [2])
    assert sorted(two.recent([DAY])[DAY].ids) == [1, 2]
    one.close()
    three = new_log(location, tmp_path / "journal", "three")
    assert three.waiting.rows == 1
    three.flush()
    assert ids(location) == [1, 2]


def test_two_scorers_with_a_folder_each_share_a_store(location: Location, tmp_path: Path) -> None:
    logs = [new_log(location, tmp_path / name, name) for name in ("one", "two")]
    for number, log in enumerate(logs):
        log.append(served([number]))
        log.flush()
    found = ServedDays(location).read(DAY)
    assert found is not None
    assert found.select(["transaction_id", "scorer", "sequence"]).to_pylist() == [
        {"transaction_id": 0, "scorer": "one", "sequence": 0},
        {"transaction_id": 1, "scorer": "two", "sequence": 0},
    ]


@pytest.mark.parametrize("scorer", ["", "a/b", "..", "a b", "x" * 101])
def test_a_scorer_has_a_name_that_a_file_can_have(scorer: str, location: Location, tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        new_log(location, tmp_path, scorer)


# ---------------------------------------------------------------- what a new scorer knows


@pytest.mark.parametrize(("types", "prefix"), [(KEY_TYPES, ""), (TEXT_TYPES, "t")])
def test_recent_days_are_known_again_from_store_and_journal(
    types: dict[str, str], prefix: str, location: Location, tmp_path: Path
) -> None:
    def named(*numbers: int) -> list[Any]:
        return [f"{prefix}{number}" if prefix else number for number in numbers]

    log = new_log(location, tmp_path / "journal", key_types=types)
    log.append(served(named(1, 3)))
    log.append(served(named(4), at=NOON - timedelta(days=1)))
    log.append(served(named(5), at=NOON - timedelta(days=2)))
    log.flush()
    flushed = log.recent([DAY])[DAY]
    log.append(served(named(6)))
    log.close()
    again = new_log(location, tmp_path / "journal", "again", key_types=types)
    found = again.recent([DAY, YESTERDAY, DAY + timedelta(days=1)])
    assert {day: batch.ids for day, batch in found.items()} == {YESTERDAY: named(4), DAY: named(1, 3, 6)}
    wanted = served(named(1, 3, 6))
    assert found[DAY].keys == wanted.keys
    assert found[DAY].amounts.tolist() == wanted.amounts.tolist()
    assert found[DAY].timestamps.tolist() == wanted.timestamps.tolist()
    assert flushed.ids == named(1, 3)


def test_nothing_was_scored_yet(location: Location, tmp_path: Path) -> None:
    assert new_log(location, tmp_path / "journal").recent([DAY, YESTERDAY]) == {}


def test_torn_lines_are_told_without_what_is_in_them(
    location: Location, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = new_log(location, tmp_path / "journal")
    log.append(served([77001, 77002]))
    log.append(served([77003]))
    log.close()
    (path,) = (tmp_path / "journal").iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    with caplog.at_level(logging.DEBUG):
        again = new_log(location, tmp_path / "journal", "again")
        again.flush()
    assert (again.dropped_lines, ids(location)) == (1, [77001, 77002])
    assert "1 line(s)" in caplog.text
    assert "7700" not in caplog.text


def test_the_journal_is_private(location: Location, tmp_path: Path) -> None:
    new_log(location, tmp_path / "journal").append(served([1]))
    (path,) = (tmp_path / "journal").iterdir()
    assert [one.stat().st_mode & 0o777 for one in (path.parent, path)] == [0o700, 0o600]
