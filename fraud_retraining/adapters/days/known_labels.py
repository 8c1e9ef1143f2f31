"""The labels of a window's rows as they were known at the end of its as-of day.

Here: reading label days from the store, and putting labels and report weights beside rows. Not here: which labels count
(`domain/labels/events.py`) and which days a window has (`domain/training/windows.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.features.column_lineage import LABELS
from fraud_retraining.domain.labels.events import TRANSACTION_DAY
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.domain.values.schemas import IS_FRAUD, LABELLED_AT, TRANSACTION_ID

EVENTS = "rows"


@dataclass(frozen=True)
class KnownLabels:
    """Labels by what the window's manifest says of them.

    `frauds` are the ids of known frauds by day, where labels come from a feed; None where transactions carry labels.
    """

    window: TrainingWindow
    frauds: Mapping[date, pa.Array] | None

    @classmethod
    def of(cls, window: TrainingWindow, store: Store) -> Self | None:
        """The labels of a window; None where it uses mature labels alone, which its rows carry.

        Raises:
            IntegrityError: the store no longer holds the label days of the manifest.
        """
        if window.labels is None:
            return None
        return cls(window, _known_frauds(window, store) if window.labels.feed else None)

    def labelled(self, batch: pa.RecordBatch, day: date) -> pa.RecordBatch:
        """Rows of a day with their label; without those whose label is unknown.

        A row without a report is genuine in a feed. Where transactions carry labels that is so until the label delay is
        over; from then on a row without a label is unknown.
        """
        if self.frauds is not None:
            known = self.frauds.get(day)
            ids = batch.column(TRANSACTION_ID)
            # Cast: ids that a feed gives as 32 bits would equal none of 64 bits.
            fraud = pc.is_in(ids, value_set=known.cast(ids.type)) if known is not None else pa.repeat(False, len(ids))
            return _with_labels(batch, fraud.cast(pa.int8()))
        label, labelled_at = batch.column(IS_FRAUD), batch.column(LABELLED_AT)
        ends = datetime.combine(self.window.days.as_of + timedelta(days=1), time())
        in_time = pc.less(labelled_at, pa.scalar(ends, pa.timestamp("us")))
        if self._is_young(day):
            reported = pc.and_(pc.is_valid(label), pc.fill_null(in_time, False))
            return _with_labels(batch, pc.if_else(reported, label, pa.scalar(0, pa.int8())))
        known = pc.and_(pc.is_valid(label), pc.fill_null(in_time, True))
        return batch if pc.all(known).as_py() else batch.filter(known)

    def _is_young(self, day: date) -> bool:
        delays = self.window.labels.delays if self.window.labels else None
        return delays is not None and (self.window.days.as_of - day).days < delays.delay_days


def _with_labels(batch: pa.RecordBatch, labels: pa.Array) -> pa.RecordBatch:
    return batch.set_column(batch.schema.get_field_index(IS_FRAUD), IS_FRAUD, labels)


def _known_frauds(window: TrainingWindow, store: Store) -> dict[date, pa.Array]:
    """Ids of the frauds known at the end of the as-of day, by day of the transaction."""
    assert window.labels is not None
    records = store.partitions(LABELS, [day for day, _ in window.labels.days])
    changed = [
        f"labels known on {day}: {'are gone' if day not in records else 'have another digest'}"
        for day, digest in window.labels.days
        if day not in records or records[day].digest != digest
    ]
    if changed:
        raise IntegrityError(
            "The labels that would be read are not those of the window's manifest.",
            culprits=changed,
            remedy="materialize training_window of the as-of day again, and what follows from it.",
        )
    return frauds_by_day(list(records.values()), store)


def mature_frauds(
    store: Store, days: Iterable[date], delay_days: int, known_by: date = date.max
) -> dict[date, pa.Array]:
    """Ids of the frauds of a label feed by day of the transaction, as they were known when each day became mature, or
    at the end of `known_by` where that is earlier."""
    found: dict[date, pa.Array] = {}
    for day in days:
        stored = store.readable(LABELS, DayRange(start=day, end=day + timedelta(days=delay_days)))
        known = [one for known_on, one in stored.items() if known_on <= known_by]
        found |= {of: ids for of, ids in frauds_by_day(known, store).items() if of == day}
    return found


def frauds_by_day(records: Sequence[Partition], store: Store) -> dict[date, pa.Array]:
    """Ids of frauds by day of the transaction, as the last change of each says; `records` are label days in order."""
    columns = [TRANSACTION_ID, TRANSACTION_DAY, IS_FRAUD]
    state: dict[object, tuple[date, int]] = {}
    for path in store.paths(records, EVENTS):
        table = pq.read_table(path, columns=columns)
        ids, days, labels = (table[name].to_pylist() for name in columns)
        # In the order of the days known: the last change of a transaction wins.
        state |= dict(zip(ids, zip(days, labels, strict=True), strict=True))
    found: dict[date, list[object]] = {}
    for number, (day, is_fraud) in state.items():
        if is_fraud:
            found.setdefault(day, []).append(number)
    return {day: pa.array(ids) for day, ids in found.items()}
