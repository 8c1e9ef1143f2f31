"""Files in which a scorer keeps what it answered until that lies in the store: segments of a journal.

Here: the lines of a segment, and whose it is. Not here: when segments begin and are flushed (`serving_log.py`).

A segment is one file of a scorer, `<scorer>-<microseconds since 1970>.journal`, that only grows. Its lines are JSON
behind a checksum, one an append: a process that is killed leaves at most a torn last line, of an answer that it had not
given. The first line has the types of the keys, so that a segment can be read when the settings have changed. Who
holds a segment has a lock on it, which goes with the process.
"""

import base64
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pyarrow as pa

from fraud_retraining.adapters.storage.locations import reaching
from fraud_retraining.adapters.storage.private_files import FILE
from fraud_retraining.domain.serving.served_rows import SCORED_AT, SCORER, SEQUENCE, ServedRows, schema
from fraud_retraining.domain.values.schemas import AMOUNT, TIMESTAMP, TRANSACTION_ID

SUFFIX = ".journal"
_DIGIT, _DIGITS = "[0-9]", 16
_KEYS, _KEY_TYPES, _SAMPLES = "keys", "key_types", "samples"
_EPOCH, _EPOCH_DAY, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), date(1970, 1, 1).toordinal(), timedelta(0, 0, 1)
_ONE_A_ROW = (TRANSACTION_ID, TIMESTAMP, AMOUNT, "score", "decision", "state_day", "features_digest")
_ONE_A_LINE = (SCORED_AT, "version", "feature_version")
_to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class SegmentRows(NamedTuple):
    """What a segment holds, in the order in which it came, and how many lines could not be read."""

    table: pa.Table
    dropped: int


class _Line(NamedTuple):
    sequence: int
    rows: int
    content: bytes


class Segment:
    """A segment that this process holds: a new one to append to, or one that another process left.

    Attributes:
        path: its file.
        rows: transactions in it.
        dropped: lines that could not be read when it was found.
    """

    def __init__(self, path: Path, file: FileIO, rows: int = 0, dropped: int = 0) -> None:
        self.path, self.rows, self.dropped = path, rows, dropped
        self._file = file
        self._on_disk = False

    @property
    def began(self) -> float:
        """When the first answer in it was given, in seconds since 1970."""
        return _number(self.path) / 1e6

    def append(self, sequence: int, rows: int, content: bytes) -> None:
        """Adds one line.

        Raises:
            DependencyUnreachable: the disk refused it. The segment may then end in a torn line, and is not to be
                appended to.
        """
        line = _line(sequence, rows, content)
        with reaching("write", self.path):
            written = self._file.write(line)
            if written != len(line):
                # A full disk takes a part; the next call would say why.
                self._file.write(line[written:])
                raise OSError(f"only {written} of {len(line)} bytes were written")
        self.rows += rows
        self._on_disk = False

    def sync(self) -> None:
        """Has the disk itself hold what was appended."""
        if self._on_disk:
            return
        # Before the call: what is appended during it may not be part of it.
        self._on_disk = True
        with reaching("write", self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Lets go of the segment, which stays for another process."""
        self._file.close()

    def remove(self) -> None:
        """Removes the segment."""
        with reaching("delete", self.path):
            self.path.unlink(missing_ok=True)
        # Only now: a process that looks for segments would take one that has no lock.
        self._file.close()


def begin(folder: Path, scorer: str, key_types: Mapping[str, str], *, after: int) -> Segment:
    """A new segment of a scorer, whose number is greater than `after`.

    Args:
        folder: that of the journal.
        scorer: name of the scorer.
        key_types: as `own_key_types` gives them.
        after: number of the last segment, as the clock may be set back.
    """
    path = folder / f"{scorer}-{max(time.time_ns() // 1000, after + 1):0{_DIGITS}d}{SUFFIX}"
    # Without the folder's lock another process could take the file before it is locked.
    with reaching("write", path), _locked(folder):
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, FILE)
        segment = Segment(path, FileIO(handle, "ab"))
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        segment.append(0, 0, _to_json({_KEY_TYPES: dict(key_types)}).encode())
    except BaseException:
        segment.remove()
        raise
    return segment


def number_of(segment: Segment) -> int:
    """The number of a segment: microseconds since 1970."""
    return _number(segment.path)


def take_leftovers(folder: Path) -> list[Segment]:
    """The segments of a folder that no living process holds, the oldest first; they are then held by this one."""
    with reaching("read", folder), _locked(folder):
        taken = [(path, _taken(path)) for path in segment_paths(folder)]
    return [_counted(path, file) for path, file in taken if file is not None]


def segment_paths(folder: Path) -> list[Path]:
    """Every segment of a folder, whoever holds it; the oldest first."""
    return sorted(folder.glob(f"*-{_DIGIT * _DIGITS}{SUFFIX}"), key=_number)


def read_segment(path: Path) -> SegmentRows | None:
    """The rows of a segment; lines that are torn or damaged are counted and left out. None: there is no such file."""
    content = _content(path)
    if content is None:
        return None
    lines, dropped = _lines(content)
    if not lines or _KEY_TYPES not in (first := json.loads(lines[0].content)):
        # Nothing says what the keys are: the file was damaged from its beginning on.
        return SegmentRows(schema((), {}).empty_table(), dropped + len(lines))
    key_types = first[_KEY_TYPES]
    entities = [name for name in key_types if name != TRANSACTION_ID]
    return SegmentRows(_table(lines[1:], schema(entities, key_types), entities, _scorer(path)), dropped)


def encoded(rows: ServedRows) -> bytes:
    """The content of a line."""
    columns: dict[str, Any] = {
        TRANSACTION_ID: rows.ids,
        TIMESTAMP: rows.timestamps.astype(np.int64).tolist(),
        AMOUNT: rows.amounts.tolist(),
        _KEYS: dict(rows.keys),
        SCORED_AT: (rows.scored_at - _EPOCH) // _MICROSECOND,
        "version": rows.version,
        "feature_version": rows.feature_version,
        "score": rows.scores.tolist(),
        "decision": rows.decisions,
        "state_day": [None if day is None else day.toordinal() - _EPOCH_DAY for day in rows.state_days],
        "features_digest": rows.digests,
    }
    if rows.samples:
        columns[_SAMPLES] = [
            (place, base64.b64encode(sample.numbers.tobytes()).decode(), sample.categories)
            for place, sample in rows.samples.items()
        ]
    return _to_json(columns).encode()


def _table(lines: Sequence[_Line], wanted: pa.Schema, entities: Sequence[str], scorer: str) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in wanted.names}
    for sequence, rows, content in lines:
        line = json.loads(content)
        for name in _ONE_A_ROW:
            columns[name] += line[name]
        for name in entities:
            columns[name] += line[_KEYS][name]
        for name in _ONE_A_LINE:
            columns[name] += [line[name]] * rows
        columns[SCORER] += [scorer] * rows
        columns[SEQUENCE] += range(sequence, sequence + rows)
        features: list[Any] = [None] * rows
        categories: list[Any] = [None] * rows
        for place, numbers, texts in line.get(_SAMPLES, ()):
            features[place] = np.frombuffer(base64.b64decode(numbers), np.float32)
            categories[place] = texts
        columns["features"] += features
        columns["categories"] += categories
    return pa.table([pa.array(columns[field.name], field.type) for field in wanted], schema=wanted)


# ---------------------------------------------------------------- lines


def _line(sequence: int, rows: int, content: bytes) -> bytes:
    body = b"%d %d %s" % (sequence, rows, content)
    return b"%08x %s\n" % (crc32(body), body)


def _content(path: Path) -> bytes | None:
    with reaching("read", path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def _lines(content: bytes) -> tuple[list[_Line], int]:
    """Whole lines, and how many are not."""
    # What follows the last end of a line is torn.
    *lines, torn = content.split(b"\n")
    whole = [found for line in lines if (found := _checked(line)) is not None]
    return whole, len(lines) - len(whole) + bool(torn)


def _checked(line: bytes) -> _Line | None:
    """A line that is as it was written."""
    checksum, _, body = line.partition(b" ")
    if b"%08x" % crc32(body) != checksum:
        return None
    sequence, rows, content = body.split(b" ", 2)
    return _Line(int(sequence), int(rows), content)


# ---------------------------------------------------------------- files


def _taken(path: Path) -> FileIO | None:
    """The file with this process's lock on it; None where another process has it or has removed it."""
    try:
        file = FileIO(path, "rb")
    except FileNotFoundError:
        return None
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its process may have removed it between the two.
        if path.exists():
            return file
    file.close()
    return None


def _counted(path: Path, file: FileIO) -> Segment:
    lines, dropped = _lines(_content(path) or b"")
    return Segment(path, file, sum(line.rows for line in lines), dropped)


def _scorer(path: Path) -> str:
    return path.name.removesuffix(SUFFIX).rpartition("-")[0]


def _number(path: Path) -> int:
    return int(path.name.removesuffix(SUFFIX).rpartition("-")[2])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lets no other process begin or take a segment meanwhile."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
