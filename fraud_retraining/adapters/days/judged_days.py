"""A candidate on the rows of some days, and beside it the champion on those that the champion has not learnt from.

Here: reading and scoring the rows in one pass, batch by batch. Not here: which days judge
(`domain/training/windows.py`), which labels they have (`adapters/days/window_rows.py`), and what is measured on them
(`domain/evaluation/`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from fraud_retraining.adapters.days.known_labels import KnownLabels
from fraud_retraining.adapters.days.window_rows import WindowRows
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.evaluation.gates import GatePolicy, NotCompared, comparable
from fraud_retraining.domain.evaluation.judged import REPORT_WEIGHT, Judged, Pair
from fraud_retraining.domain.labels.blocked import ROW_WEIGHT
from fraud_retraining.domain.review.row_sample import RowSample
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.training.windows import TrainingWindow, WindowDay
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import AMOUNT, IS_FRAUD, TIMESTAMP, TRANSACTION_ID


@dataclass(frozen=True)
class Rival:
    """The champion as a candidate is compared with it: its name in messages, the model, the days it has learnt from."""

    named: str
    model: FittedModel
    trained_on: DayRange


@dataclass(frozen=True)
class DaysToJudge:
    """Days of a window, which says what labels they have, and the store that holds their rows."""

    days: Sequence[WindowDay]
    window: TrainingWindow
    store: Store


@dataclass(frozen=True)
class JudgedDays:
    """The candidate on every row of some days, and both models on the rows that the champion was not trained on."""

    candidate: Judged
    comparison: Pair | NotCompared
    compared: tuple[date, ...]
    sample: RowSample


def judged_days(
    judged: DaysToJudge,
    candidate: FittedModel,
    opponent: Rival | NotCompared,
    gates: GatePolicy,
    *,
    on_batch: Callable[[], object] = lambda: None,
) -> JudgedDays:
    """Score the rows of some days by the candidate, and by its rival where there is one.

    Args:
        judged: the days, their window and the store.
        candidate: the model under decision.
        opponent: the champion, or why there is none to compare with.
        gates: the entity and slices that metrics read, and the frauds that a comparison needs.
        on_batch: called before each batch; what it raises ends the pass.

    Raises:
        DataInvalid: no day has a labelled row.
        IntegrityError: the store no longer holds the days of the window.
    """
    rival = opponent if isinstance(opponent, Rival) else None
    kept = [TIMESTAMP, gates.alert_column, AMOUNT, *gates.slices]
    read = [TRANSACTION_ID, *kept, *candidate.features, *(rival.model.features if rival else ())]
    fair = _fair(judged.days, rival)
    sample = RowSample(sum(day.rows for day in judged.days if day.day in fair or not fair))
    tables, scores, rivals = [], [], []
    for batch in labelled_rows(judged, read)():
        on_batch()
        tables.append(pa.Table.from_batches([batch]).select([*kept, *label_columns(batch)]))
        scores.append(candidate.predict(batch))
        if rival is not None:
            rivals.append(rival.model.predict(batch))
        # The first row stands for the batch: batches never hold rows of two days.
        if batch.column(TIMESTAMP)[0].as_py().date() in fair or not fair:
            _add(sample, batch, scores[-1], rivals[-1] if rival is not None and fair else None)
    if not tables:
        raise DataInvalid("no day that judges the model has a labelled row", culprits=[day.day for day in judged.days])
    rows = Judged.from_table(
        pa.concat_tables(tables), np.concatenate(scores), entity=gates.alert_column, slices=gates.slices
    )
    if isinstance(opponent, NotCompared):
        return JudgedDays(rows, opponent, (), sample)
    comparison = _compared(rows, np.concatenate(rivals), fair, opponent, gates.min_compared_frauds)
    return JudgedDays(rows, comparison, fair if isinstance(comparison, Pair) else (), sample)


def _add(
    sample: RowSample, batch: pa.RecordBatch, scores: np.ndarray[Any, Any], rival: np.ndarray[Any, Any] | None
) -> None:
    """The rows of a batch whose label is known: no other one is an example of anything."""
    known = batch.column(IS_FRAUD).is_valid()
    if batch.column(IS_FRAUD).null_count:
        mask = known.to_numpy(zero_copy_only=False)
        batch, scores, rival = batch.filter(known), scores[mask], rival[mask] if rival is not None else None
    if batch.num_rows:
        sample.add(batch, scores, rival)


def label_columns(batch: pa.RecordBatch) -> list[str]:
    """The columns of labels that a batch has."""
    return [name for name in (IS_FRAUD, REPORT_WEIGHT, ROW_WEIGHT) if name in batch.schema.names]


def labelled_rows(judged: DaysToJudge, columns: Sequence[str]) -> WindowRows:
    """Rows of some days of a window, with the labels that its as-of day knows; blocked ones without an outcome too."""
    window, store = judged.window, judged.store
    return WindowRows(store, judged.days, window.days.as_of, columns, KnownLabels.of(window, store), unknown=True)


def _fair(days: Sequence[WindowDay], rival: Rival | None) -> tuple[date, ...]:
    """Those of the days that the champion was not trained on; all of them without a champion."""
    return tuple(day.day for day in days if rival is None or day.day not in rival.trained_on)


def _compared(
    judged: Judged, rival_scores: np.ndarray[Any, Any], fair: Sequence[date], rival: Rival, min_frauds: int
) -> Pair | NotCompared:
    epoch = date(1970, 1, 1)
    mask = np.isin(judged.days, [(day - epoch).days for day in fair])
    return comparable(judged, rival_scores, mask, named=rival.named, min_frauds=min_frauds)
