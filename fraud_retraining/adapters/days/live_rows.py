"""A day's rows with a model's scores, and later with the labels that have become known.

Here: scoring a feature day batch by batch, and laying scores and labels side by side. Not here: which model scores
which day (`orchestration/state/monitoring.py`) and what the scores are worth (`domain/monitoring/live_performance.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraud_retraining.adapters.days.known_labels import feed_labels, without_outcome_null
from fraud_retraining.adapters.days.window_rows import BATCH_ROWS
from fraud_retraining.domain.evaluation.judged import REPORT_WEIGHT, Floats, Judged, entity_codes
from fraud_retraining.domain.labels.blocked import (
    ROW_WEIGHT,
    by_outcome,
    has_outcome,
    propensities,
    was_blocked,
    was_reviewed,
)
from fraud_retraining.domain.monitoring.candidate_shadow import ScoresOfTwo
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.domain.values.schemas import AMOUNT, IS_FRAUD, LABELLED_AT, PROPENSITY, TIMESTAMP, TRANSACTION_ID

SCORE = "score"
DAY = "(day)"


def scored_rows(model: FittedModel, path: Path) -> pa.Table:
    """The score of every transaction of a feature day, in its order; the features are held one batch at a time."""
    file = pq.ParquetFile(path)
    columns = [TRANSACTION_ID, *model.features]
    parts = [
        pa.table({TRANSACTION_ID: batch.column(TRANSACTION_ID), SCORE: model.predict(batch)})
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns)
    ]
    # A day without rows has no batch, and its table still needs the columns.
    empty = pa.schema([file.schema_arrow.field(TRANSACTION_ID), pa.field(SCORE, pa.float64())]).empty_table()
    return pa.concat_tables(parts) if parts else empty


@dataclass(frozen=True)
class RowLabels:
    """How rows of some days are labelled, and to which entity they belong.

    `frauds` are by day the ids of frauds of a label feed, in which every other transaction is then genuine; None where
    transactions carry their labels. With `as_of` labels are those known at the end of that day: of a day that is not
    mature then, a row that is not known as fraud counts as genuine. Else they are those known when each day became
    mature, `delay_days` later. `weights` say by day how many frauds a known one stands for; None: one everywhere.
    `reviewed` are of a feed: by day the ids of blocked transactions that were found to be genuine.
    """

    entity: str
    delay_days: int
    frauds: Mapping[date, pa.Array] | None = None
    as_of: date | None = None
    weights: Mapping[date, float] | None = None
    reviewed: Mapping[date, pa.Array] = field(default_factory=dict)


def judged_rows(days: Sequence[tuple[date, Path, Path]], labels: RowLabels) -> Judged:
    """Rows whose label is known, and those that were blocked and whose outcome nobody knows, with their scores.

    `days` gives for each day its transactions and its scores.

    Raises:
        IntegrityError: the scores are not those of the transactions.
    """
    tables, scores = [], []
    for day, transactions, scored in days:
        rows, kept = _labelled(day, transactions, labels)
        score = _read(scored, [TRANSACTION_ID, SCORE])
        _require_same_ids(day, rows, score)
        tables.append(_kept(day, rows.filter(kept), labels))
        scores.append(score[SCORE].filter(kept).to_numpy())
    return Judged.from_table(pa.concat_tables(tables), np.concatenate(scores), entity=labels.entity)


def rows_of_two(
    days: Sequence[tuple[date, Path, Path]], models: tuple[FittedModel, FittedModel], labels: RowLabels
) -> tuple[Judged, Floats]:
    """The same rows under two models: judged by the first, with the scores of the second beside.

    `days` gives for each day its transactions and its features.

    Raises:
        IntegrityError: the features are not those of the transactions.
    """
    tables, scores = [], []
    for day, transactions, features in days:
        rows, kept = _labelled(day, transactions, labels)
        scored = [scored_rows(model, features) for model in models]
        _require_same_ids(day, rows, scored[0])
        tables.append(_kept(day, rows.filter(kept), labels))
        scores.append([one[SCORE].filter(kept).to_numpy() for one in scored])
    first, second = (np.concatenate(parts) for parts in zip(*scores, strict=True))
    return Judged.from_table(pa.concat_tables(tables), first, entity=labels.entity), second


def scores_of_two(days: Sequence[tuple[date, Path, Path, Path]], entity: str) -> ScoresOfTwo:
    """Rows of some days under two models, whatever is known of their labels.

    `days` gives for each day its transactions and the scores of both.

    Raises:
        IntegrityError: scores are not those of the transactions.
    """
    tables, scores = [], []
    for day, transactions, *scored in days:
        rows = _read(transactions, dict.fromkeys([TRANSACTION_ID, entity, AMOUNT]))
        both = [_read(path, [TRANSACTION_ID, SCORE]) for path in scored]
        for one in both:
            _require_same_ids(day, rows, one)
        number = pa.array(np.full(rows.num_rows, (day - date(1970, 1, 1)).days, dtype=np.int32))
        tables.append(rows.select(list(dict.fromkeys([entity, AMOUNT]))).append_column(DAY, number))
        scores.append([one[SCORE].to_numpy() for one in both])
    whole = pa.concat_tables(tables)
    candidate, champion = (np.concatenate(parts) for parts in zip(*scores, strict=True))
    amounts = whole[AMOUNT].to_numpy().astype(np.float64)
    return ScoresOfTwo(whole[DAY].to_numpy(), entity_codes(whole[entity]), amounts, candidate, champion)


def _labelled(day: date, transactions: Path, labels: RowLabels) -> tuple[pa.Table, pa.ChunkedArray]:
    """Rows of a day with their labels, and whether each is kept: its label is known, or it was blocked."""
    columns = dict.fromkeys([TRANSACTION_ID, TIMESTAMP, labels.entity, AMOUNT, IS_FRAUD, LABELLED_AT, PROPENSITY])
    rows = _read(transactions, columns)
    if labels.frauds is not None:
        rows = _with_labels(rows, feed_labels(rows, labels.frauds.get(day), labels.reviewed.get(day)))
    mature = day + timedelta(days=labels.delay_days)
    if labels.as_of is None or labels.as_of >= mature:
        return _with_unknown(rows, _known(rows, mature))
    rows = _as_known(rows, labels.as_of)
    return _with_unknown(rows, pc.is_valid(rows[IS_FRAUD]))


def _with_unknown(rows: pa.Table, labelled: pa.ChunkedArray) -> tuple[pa.Table, pa.ChunkedArray]:
    if PROPENSITY not in rows.column_names:
        return rows, labelled
    propensity = propensities(rows)
    known = has_outcome(propensity, labelled.to_numpy())
    labels = pc.if_else(pa.array(known), rows[IS_FRAUD], pa.scalar(None, rows[IS_FRAUD].type))
    kept = pa.chunked_array([pa.array(known | was_blocked(propensity))])
    return by_outcome(_with_labels(rows, labels), known), kept


def _kept(day: date, rows: pa.Table, labels: RowLabels) -> pa.Table:
    """The columns that are judged, with the weight of the day."""
    further = [name for name in (ROW_WEIGHT,) if name in rows.column_names]
    kept = rows.select([TIMESTAMP, labels.entity, AMOUNT, IS_FRAUD, *further])
    if labels.weights is None:
        return kept
    # A review of a blocked row is its own: no other one waits to be reported beside it.
    weights = np.where(was_reviewed(propensities(rows)), 1.0, labels.weights[day])
    return kept.append_column(REPORT_WEIGHT, pa.array(weights))


def _require_same_ids(day: date, rows: pa.Table, scored: pa.Table) -> None:
    if not rows[TRANSACTION_ID].equals(scored[TRANSACTION_ID]):
        raise IntegrityError(
            f"The scores of {day} are not those of its transactions.",
            remedy=f"materialize scored_transactions of {day} again.",
        )


def _with_labels(rows: pa.Table, labels: Any) -> pa.Table:
    return rows.set_column(rows.column_names.index(IS_FRAUD), IS_FRAUD, labels)


def _read(path: Path, columns: Iterable[str]) -> pa.Table:
    file = pq.ParquetFile(path)
    return file.read(columns=[name for name in columns if name in file.schema_arrow.names])


def _as_known(rows: pa.Table, as_of: date) -> pa.Table:
    """Rows of a young day; only where they say since when is a label known."""
    if LABELLED_AT not in rows.column_names:
        return rows
    reported = pc.and_(pc.is_valid(rows[IS_FRAUD]), pc.fill_null(_known_by(rows, as_of), False))
    young = pc.if_else(reported, rows[IS_FRAUD], pa.scalar(0, rows[IS_FRAUD].type))
    return _with_labels(rows, without_outcome_null(rows, young, reported))


def _known(rows: pa.Table, as_of: date) -> pa.ChunkedArray:
    """Whether each label is known as of a day; one that does not say since when is, once its day is mature."""
    known = pc.is_valid(rows[IS_FRAUD])
    if LABELLED_AT not in rows.column_names:
        return known
    return pc.and_(known, pc.fill_null(_known_by(rows, as_of), True))


def _known_by(rows: pa.Table, as_of: date) -> pa.ChunkedArray:
    """Whether labels became known by the end of a day; null where they do not say."""
    end = pa.scalar(datetime.combine(as_of + timedelta(days=1), time()), pa.timestamp("us"))
    return pc.less(rows[LABELLED_AT], end)
