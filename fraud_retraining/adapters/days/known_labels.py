"""The labels of a window's rows as they were known at the end of its as-of day.

Here: reading label days from the store, and putting labels and report weights beside rows. Not here: which labels count
(`domain/labels/events.py`) and which days a window has (`domain/training/windows.py`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Self, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.features.column_lineage import LABELS
from fraud_retraining.domain.labels.blocked import propensities, was_reviewed
from fraud_retraining.domain.labels.events import TRANSACTION_DAY
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.domain.values.schemas import IS_FRAUD, LABELLED_AT, PROPENSITY, TRANSACTION_ID

EVENTS = "rows"


@dataclass(frozen=True)
class KnownLabels:
    """Labels by what the window's manifest says of them.

    `frauds` are the ids of known frauds by day, where labels come from a feed; None where transactions carry labels.
    `reviewed` are of a feed too: by day the ids of blocked transactions that were found to be genuine.
    """

    window: TrainingWindow
    frauds: Mapping[date, pa.Array] | None
    reviewed: Mapping[date, pa.Array] = field(default_factory=dict)

    @classmethod
    def of(cls, window: TrainingWindow, store: Store) -> Self | None:
        """The labels of a window; None where it uses mature labels alone, which its rows carry.

        Raises:
            IntegrityError: the store no longer holds the label days of the manifest.
        """
        if window.labels is None:
            return None
        if not window.labels.feed:
            return cls(window, None)
        records = _pinned(window, store)
        return cls(window, frauds_by_day(records, store), reviewed_by_day(records, store))

    def labelled(self, batch: pa.RecordBatch, day: date) -> pa.RecordBatch:
        """Rows of a day with their label, null where it is unknown.

        A row without a report is genuine in a feed. Where transactions carry labels that is so until the label delay is
        over; from then on a row without a label is unknown. One that was blocked is unknown until it is reviewed.
        """
        if self.frauds is not None:
            return _with_labels(batch, feed_labels(batch, self.frauds.get(day), self.reviewed.get(day)))
        label, labelled_at = batch.column(IS_FRAUD), batch.column(LABELLED_AT)
        ends = datetime.combine(self.window.days.as_of + timedelta(days=1), time())
        in_time = pc.less(labelled_at, pa.scalar(ends, pa.timestamp("us")))
        if self._is_young(day):
            reported = pc.and_(pc.is_valid(label), pc.fill_null(in_time, False))
            labels = pc.if_else(reported, label, pa.scalar(0, pa.int8()))
            return _with_labels(batch, without_outcome_null(batch, labels, reported))
        known = pc.and_(pc.is_valid(label), pc.fill_null(in_time, True))
        return _with_labels(batch, pc.if_else(known, label, pa.scalar(None, label.type)))

    def _is_young(self, day: date) -> bool:
        delays = self.window.labels.delays if self.window.labels else None
        return delays is not None and (self.window.days.as_of - day).days < delays.delay_days


def feed_labels(rows: Any, frauds: pa.Array | None, reviewed: pa.Array | None) -> Any:
    """Labels of a feed: fraud, else genuine; null of a row that was blocked and that nobody has reviewed.

    `rows` is a table or a batch; `reviewed` are the ids of blocked transactions that were found to be genuine.
    """
    ids = rows.column(TRANSACTION_ID)

    def named(known: pa.Array | None) -> Any:
        # Cast: ids that a feed gives as 32 bits would equal none of 64 bits.
        return pc.is_in(ids, value_set=known.cast(ids.type)) if known is not None else pa.repeat(False, len(ids))

    fraud = named(frauds)
    return without_outcome_null(rows, fraud.cast(pa.int8()), pc.or_(fraud, named(reviewed)))


def without_outcome_null(rows: Any, labels: Any, reported: Any) -> Any:
    """The labels, null where a row was blocked and nothing was reported of it."""
    if PROPENSITY not in rows.schema.names:
        return labels
    propensity = propensities(rows)
    silent = was_reviewed(propensity) & ~reported.to_numpy(zero_copy_only=False)
    return pc.if_else(pa.array(silent), pa.scalar(None, labels.type), labels)


def _with_labels(batch: pa.RecordBatch, labels: pa.Array) -> pa.RecordBatch:
    return batch.set_column(batch.schema.get_field_index(IS_FRAUD), IS_FRAUD, labels)


def _pinned(window: TrainingWindow, store: Store) -> list[Partition]:
    """The label days of the manifest.

    Raises:
        IntegrityError: the store no longer holds one of them.
    """
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
    return list(records.values())


def mature_frauds(
    store: Store, days: Iterable[date], delay_days: int, known_by: date = date.max
) -> dict[date, pa.Array]:
    """Ids of the frauds of a label feed by day of the transaction, as they were known when each day became mature, or
    at the end of `known_by` where that is earlier."""
    return _mature(store, days, delay_days, known_by, frauds_by_day)


def mature_reviews(
    store: Store, days: Iterable[date], delay_days: int, known_by: date = date.max
) -> dict[date, pa.Array]:
    """The same of blocked transactions that a review found to be genuine."""
    return _mature(store, days, delay_days, known_by, reviewed_by_day)


def _mature(
    store: Store, days: Iterable[date], delay_days: int, known_by: date, read: "_ByDay"
) -> dict[date, pa.Array]:
    found: dict[date, pa.Array] = {}
    for day in days:
        stored = store.readable(LABELS, DayRange(start=day, end=day + timedelta(days=delay_days)))
        known = [one for known_on, one in stored.items() if known_on <= known_by]
        found |= {of: ids for of, ids in read(known, store).items() if of == day}
    return found


def frauds_by_day(records: Sequence[Partition], store: Store) -> dict[date, pa.Array]:
    """Ids of frauds by day of the transaction, as the last change of each says; `records` are label days in order."""
    return _ids_by_day(records, store, 1)


def reviewed_by_day(records: Sequence[Partition], store: Store) -> dict[date, pa.Array]:
    """The same of transactions that were blocked, that nothing stands for, and that are known to be genuine."""
    return _ids_by_day(records, store, 0, pc.field(PROPENSITY).is_null())


_ByDay: TypeAlias = Callable[[Sequence[Partition], Store], dict[date, pa.Array]]


def _ids_by_day(
    records: Sequence[Partition], store: Store, label: int, kept: pc.Expression | None = None
) -> dict[date, pa.Array]:
    columns = [TRANSACTION_ID, TRANSACTION_DAY, IS_FRAUD]
    state: dict[object, tuple[date, int]] = {}
    for path in store.paths(records, EVENTS):
        # Label days from before the decisions were read have no such rows.
        if kept is not None and PROPENSITY not in pq.read_schema(path).names:
            continue
        table = pq.read_table(path, columns=columns, filters=kept)
        ids, days, labels = (table[name].to_pylist() for name in columns)
        # In the order of the days known: the last change of a transaction wins.
        state |= dict(zip(ids, zip(days, labels, strict=True), strict=True))
    found: dict[date, list[object]] = {}
    for number, (day, is_fraud) in state.items():
        if is_fraud == label:
            found.setdefault(day, []).append(number)
    return {day: pa.array(ids) for day, ids in found.items()}
