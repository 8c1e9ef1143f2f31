"""The rows of a window, streamed from the store one batch at a time.

Here: reading exactly the days that a manifest names, with the labels that its as-of day knows. Not here: which days
those are (`domain/training/windows.py`) and what is learnt from them (`domain/training/fitting.py`).
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraud_retraining.adapters.days.known_labels import KnownLabels
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.evaluation.judged import REPORT_WEIGHT
from fraud_retraining.domain.training.windows import WindowDay
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.domain.values.schemas import IS_FRAUD, LABELLED_AT

ASSET = "transaction_features"
TABLE = "rows"
WEIGHT = "weight"
BATCH_ROWS = 131_072


class WindowRows:
    """Labelled rows of some days, in the same batches each time that it is called.

    A batch holds `columns`, `is_fraud` and `weight` (float32, what the row counts in a fit). Rows whose label the
    as-of day does not know are left out. With `known`, labels are those of a window that uses them as known, and a
    further column is `report_weight` (float64): how many frauds a known one of the day stands for.

    Raises:
        IntegrityError: the store no longer holds a day with the manifest's digest, or a pass gave other rows or frauds
            than the manifest counts.
    """

    def __init__(
        self,
        store: Store,
        days: Sequence[WindowDay],
        as_of: date,
        columns: Sequence[str],
        known: KnownLabels | None = None,
    ) -> None:
        self._store = store
        self._known = known
        self._days = tuple(days)
        self._columns = list(dict.fromkeys(columns))
        self._known_before = datetime.combine(as_of + timedelta(days=1), time())

    def __call__(self) -> Iterator[pa.RecordBatch]:
        """One pass, oldest day first."""
        records = self._records()
        for day, path in zip(self._days, self._store.paths(records, TABLE), strict=True):
            rows = frauds = 0
            stands_for = self._known.window.report_weight(day.day) if self._known else None
            for batch in self._labelled(pq.ParquetFile(path), day.day):
                rows += batch.num_rows
                frauds += pc.sum(batch.column(IS_FRAUD)).as_py() or 0
                yield _with_weights(batch, day.weight, stands_for)
            # The digest pins the features; what is known of labels is counted again.
            if (rows, frauds) != (day.rows, day.frauds):
                raise _other_days(
                    [f"{day.day}: {rows} rows and {frauds} frauds instead of {day.rows} and {day.frauds}"]
                )

    def _records(self) -> list[Partition]:
        found = self._store.partitions(ASSET, [day.day for day in self._days])
        problems = [
            f"{day.day}: {'is gone' if day.day not in found else 'has another digest'}"
            for day in self._days
            if day.day not in found or found[day.day].digest != day.features_digest
        ]
        if problems:
            raise _other_days(problems)
        return [found[day.day] for day in self._days]

    def _labelled(self, file: pq.ParquetFile, day: date) -> Iterator[pa.RecordBatch]:
        names = set(file.schema_arrow.names)
        labels = [name for name in (IS_FRAUD, LABELLED_AT) if name in names and name not in self._columns]
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=[*self._columns, *labels]):
            if self._known is not None:
                labelled = self._known.labelled(batch, day)
                if labelled.num_rows:
                    yield labelled
                continue
            known = pc.is_valid(batch.column(IS_FRAUD))
            if LABELLED_AT in names:
                in_time = pc.less(batch.column(LABELLED_AT), pa.scalar(self._known_before, pa.timestamp("us")))
                known = pc.and_(known, pc.fill_null(in_time, True))
            kept = batch if pc.all(known).as_py() else batch.filter(known)
            if kept.num_rows:
                yield kept


def _with_weights(batch: pa.RecordBatch, weight: float, stands_for: float | None) -> pa.RecordBatch:
    """The weight of the day, times what a known fraud stands for where labels are used as known."""
    weights = np.full(batch.num_rows, weight, dtype=np.float32)
    if stands_for is None:
        return batch.append_column(WEIGHT, pa.array(weights))
    # Only frauds: for a genuine row there is nothing that is not reported yet.
    weights[batch.column(IS_FRAUD).to_numpy() == 1] *= stands_for
    batch = batch.append_column(WEIGHT, pa.array(weights))
    return batch.append_column(REPORT_WEIGHT, pa.array(np.full(batch.num_rows, stands_for)))


def _other_days(problems: list[str]) -> IntegrityError:
    return IntegrityError(
        "The days that would be loaded are not those of the window's manifest.",
        culprits=problems,
        remedy="materialize training_window of the as-of day again, and what follows from it.",
    )
