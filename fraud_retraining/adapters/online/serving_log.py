"""The log of what a scorer answered: kept locally at once, and brought to the store in the background.

Here: appending, flushing, and what a scorer that starts again has to know of the transactions that were scored. Not
here: the journal's files (`journal_segments.py`), the parts in the store (`served_days.py`), and when to flush.

An append is in the hands of the operating system before it returns: a process that is killed loses no answer. The disk
itself has it from the next flush on, so what a machine loses that loses power is what came since. Rows leave the
journal when they lie in the store; a flush that is interrupted is done again and gives the same files.
"""

import logging
import re
import time
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from fraud_retraining.adapters.online import journal_segments
from fraud_retraining.adapters.online.journal_segments import Segment, number_of, read_segment, segment_paths
from fraud_retraining.adapters.online.served_days import ServedDays, in_order
from fraud_retraining.adapters.storage.locations import Location
from fraud_retraining.adapters.storage.private_files import private_folder
from fraud_retraining.domain.features.online import Batch
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.serving.served_rows import ORDER, ServedRows, own_key_types, schema
from fraud_retraining.domain.values.errors import IntegrityError, SettingsError
from fraud_retraining.domain.values.schemas import AMOUNT, TIMESTAMP, TRANSACTION_ID

LOG = logging.getLogger(__name__)
SEGMENT_ROWS = 100_000
"""A segment is flushed as a whole, in memory: as many rows take about 100 MB and two seconds."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Waiting(NamedTuple):
    """What the journal holds: transactions that are not in the store yet, and the age of the oldest in seconds."""

    rows: int
    seconds: float


class ServingLog:
    """The log of one scorer; several threads may append while one flushes.

    Args:
        location: where parts go: the store.
        folder: local folder of the journal; made for this account only. Scorers of one machine may share it.
        plan: names the entities.
        scorer: id of this process, letters, digits and `._-`. Sequence numbers rise within it, so a process that
            starts again takes another one.
        key_types: whether each key is `INTEGER` or `TEXT`, as `RequestReader` takes it.
        segment_rows: about how many transactions a segment holds at most.

    Raises:
        SettingsError: `scorer` is no name for a file.
        DependencyUnreachable: the folder cannot be read or written.
    """

    def __init__(
        self,
        location: Location,
        folder: Path,
        plan: FeaturePlan,
        scorer: str,
        key_types: Mapping[str, str],
        *,
        segment_rows: int = SEGMENT_ROWS,
    ) -> None:
        if not _NAME.fullmatch(scorer):
            raise SettingsError(f"{scorer!r} is no name for a scorer", remedy="Use up to 100 of A-Z a-z 0-9 . _ -")
        self._days = ServedDays(location)
        self._folder = private_folder(folder)
        self._plan, self._scorer, self._segment_rows = plan, scorer, segment_rows
        self._key_types = own_key_types(plan.entities, key_types)
        self._appending, self._flushing = Lock(), Lock()
        self._sequence, self._last_number = 0, 0
        self._current: Segment | None = None
        self._full = journal_segments.take_leftovers(self._folder)
        self._dropped = 0
        self._put: dict[date, dict[str, str]] = {}
        for segment in self._full:
            self._count_dropped(segment.dropped)

    @property
    def waiting(self) -> Waiting:
        """What was not flushed yet, also of earlier processes."""
        with self._appending:
            segments = [one for one in (*self._full, self._current) if one is not None and one.rows]
            rows = sum(segment.rows for segment in segments)
        oldest = min((segment.began for segment in segments), default=None)
        return Waiting(rows, 0.0 if oldest is None else max(0.0, time.time() - oldest))

    @property
    def dropped_lines(self) -> int:
        """Lines of the journal that could not be read: the torn last ones of killed processes, or damage."""
        return self._dropped

    def append(self, rows: ServedRows) -> None:
        """Keeps rows, before they are answered.

        Raises:
            DependencyUnreachable: the local disk refused them; none of them is in the log.
        """
        if not rows.ids:
            return
        content = journal_segments.encoded(rows)
        with self._appending:
            segment = self._current = self._current or self._begin()
            try:
                segment.append(self._sequence, len(rows.ids), content)
            except BaseException:
                # It may end in a torn line now, which nothing may follow.
                self._end_current()
                raise
            self._sequence += len(rows.ids)
            if segment.rows >= self._segment_rows:
                self._end_current()

    def flush(self) -> None:
        """Brings everything that waits to the store, and removes it from the journal.

        Raises:
            DependencyUnreachable: the location or the disk refused; what is not in the store stays in the journal.
            IntegrityError: a file of the journal is gone; the next flush goes on with the others.
        """
        with self._flushing:
            with self._appending:
                current, full = self._current, list(self._full)
            for segment in (*full, *([] if current is None else [current])):
                segment.sync()
            # The current segment stays as it is while these do not go: an outage leaves few large files, not many.
            for segment in full:
                self._publish(segment)
            with self._appending:
                # It may have become full, and another one current, meanwhile.
                if current is None or current is not self._current:
                    return
                self._end_current()
            self._publish(current)

    def take_put(self) -> dict[date, dict[str, str]]:
        """Parts that were put into the store since the last time: of each day, by name the SHA-256."""
        with self._flushing:
            put, self._put = self._put, {}
        return put

    def recent(self, days: Collection[date]) -> dict[date, Batch]:
        """The transactions of some days that were scored, by day, in the order in which they were; by every scorer.

        A transaction that was scored twice is in it twice.

        Raises:
            IntegrityError: a part in the store is damaged.
            DependencyUnreachable: the location or the disk does not answer.
        """
        columns = [TRANSACTION_ID, TIMESTAMP, AMOUNT, *self._plan.entities, *ORDER]
        # The journal first: a segment that is flushed meanwhile then counts once, instead of not at all.
        journal = self._journal(columns)
        known = schema(self._plan.entities, self._key_types).empty_table().select(columns)
        found = {}
        for day in sorted(set(days)):
            parts = self._days.parts(day, columns, without=journal)
            parts += [rows for table in journal.values() if (rows := _by_day(table).get(day)) is not None]
            if parts:
                found[day] = Batch.of(in_order([known, *parts]), self._plan)
        return found

    def close(self) -> None:
        """Lets go of the journal; what waits is found by the next log of the folder."""
        with self._flushing, self._appending:
            self._end_current()
            for segment in self._full:
                segment.close()
            self._full = []

    def _begin(self) -> Segment:
        segment = journal_segments.begin(self._folder, self._scorer, self._key_types, after=self._last_number)
        self._last_number = number_of(segment)
        return segment

    def _end_current(self) -> None:
        segment, self._current = self._current, None
        if segment is not None and segment.rows:
            self._full.append(segment)
        elif segment is not None:
            segment.remove()

    def _publish(self, segment: Segment) -> None:
        found = read_segment(segment.path)
        if found is not None:
            for day, rows in _by_day(found.table).items():
                name = segment.path.stem
                self._put.setdefault(day, {})[name] = self._days.put(day, name, rows, self._folder)
            self._count_dropped(found.dropped - segment.dropped)
        segment.remove()
        with self._appending:
            self._full.remove(segment)
        if found is None:
            raise IntegrityError(
                f"{segment.path} is gone, with {segment.rows} answers that were not in the store yet",
                remedy="Let nothing else remove files of the journal; these answers are not compared.",
            )

    def _journal(self, columns: Collection[str]) -> dict[str, pa.Table]:
        """Rows of every segment in the folder, also of those that another process holds, by the name of its parts."""
        found = {}
        for path in segment_paths(self._folder):
            segment = read_segment(path)
            # None: it was flushed since its folder was listed.
            if segment is not None:
                found[path.stem] = segment.table.select([one for one in segment.table.column_names if one in columns])
        return found

    def _count_dropped(self, lines: int) -> None:
        if lines:
            self._dropped += lines
            LOG.warning("%d line(s) of the serving log's journal were torn or damaged, and are left out", lines)


def _by_day(table: pa.Table) -> dict[date, pa.Table]:
    """Rows by the day of their timestamp, in their order."""
    days = table[TIMESTAMP].cast(pa.date32())
    return {day: table.filter(pc.equal(days, pa.scalar(day, pa.date32()))) for day in days.unique().to_pylist()}
