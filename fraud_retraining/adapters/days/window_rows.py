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
from fraud_retraining.domain.labels.blocked import (
    ROW_WEIGHT,
    Mask,
    by_outcome,
    has_outcome,
    propensities,
    was_blocked,
    was_reviewed,
)
from fraud_retraining.domain.training.windows import WindowDay
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.domain.values.schemas import IS_FRAUD, LABELLED_AT, PROPENSITY

ASSET = "transaction_features"
TABLE = "rows"
WEIGHT = "weight"
BATCH_ROWS = 131_072


class WindowRows:
    """Labelled rows of some days, in the same batches each time that it is called.

    A batch holds `columns`, `is_fraud` and `weight` (float32, what the row counts in a fit). Rows whose label the
    as-of day does not know are left out. With `known`, labels are those of a window that uses them as known, and a
    further column is `report_weight` (float64): how many frauds a known one of the day stands for. Where rows say with
    which probability they were let through, `weight` counts each as often as it stands for others, and a column
    `row_weight` (float64) says how often that is. With `unknown` blocked rows whose outcome nobody knows come too:
    their label is null and both weights are 0.

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
        *,
        unknown: bool = False,
    ) -> None:
        self._store = store
        self._unknown = unknown
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
                rows += batch.num_rows - batch.column(IS_FRAUD).null_count
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
        labels = [name for name in (IS_FRAUD, LABELLED_AT, PROPENSITY) if name in names and name not in self._columns]
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=[*self._columns, *labels]):
            kept = self._with_outcome(self._known.labelled(batch, day) if self._known is not None else batch)
            if kept.num_rows:
                yield kept

    def _with_outcome(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        known = pc.is_valid(batch.column(IS_FRAUD))
        if self._known is None and LABELLED_AT in batch.schema.names:
            in_time = pc.less(batch.column(LABELLED_AT), pa.scalar(self._known_before, pa.timestamp("us")))
            known = pc.and_(known, pc.fill_null(in_time, True))
        if PROPENSITY in batch.schema.names:
            return self._weighted(batch, known.to_numpy(zero_copy_only=False))
        return batch if pc.all(known).as_py() else batch.filter(known)

    def _weighted(self, batch: pa.RecordBatch, labelled: Mask) -> pa.RecordBatch:
        propensity = propensities(batch)
        known = has_outcome(propensity, labelled)
        kept = known | (was_blocked(propensity) if self._unknown else False)
        column = batch.column(IS_FRAUD)
        label = pc.if_else(pa.array(known), column, pa.scalar(None, column.type))
        batch = batch.set_column(batch.schema.get_field_index(IS_FRAUD), IS_FRAUD, label)
        return by_outcome(batch, known).filter(pa.array(kept))


def _with_weights(batch: pa.RecordBatch, weight: float, stands_for: float | None) -> pa.RecordBatch:
    """The weight of the day, times what a known fraud stands for where labels are used as known, and times what a row
    of the control group stands for."""
    weights = np.full(batch.num_rows, weight, dtype=np.float32)
    reviewed = np.zeros(batch.num_rows, dtype=np.bool_)
    if ROW_WEIGHT in batch.schema.names:
        weights *= batch.column(ROW_WEIGHT).to_numpy().astype(np.float32)
        reviewed = was_reviewed(propensities(batch))
        batch = batch.drop_columns([PROPENSITY])
    if stands_for is None:
        return batch.append_column(WEIGHT, pa.array(weights))
    # Only frauds: for a genuine row there is nothing that is not reported yet. A review of a blocked one is its own.
    reported = np.where(reviewed, 1.0, stands_for)
    fraud = pc.fill_null(batch.column(IS_FRAUD), 0).to_numpy() == 1
    weights[fraud] *= reported[fraud].astype(np.float32)
    batch = batch.append_column(WEIGHT, pa.array(weights))
    return batch.append_column(REPORT_WEIGHT, pa.array(reported))


def _other_days(problems: list[str]) -> IntegrityError:
    return IntegrityError(
        "The days that would be loaded are not those of the window's manifest.",
        culprits=problems,
        remedy="materialize training_window of the as-of day again, and what follows from it.",
    )
