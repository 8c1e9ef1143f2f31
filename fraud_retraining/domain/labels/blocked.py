"""Blocked transactions: which rows nobody knows the outcome of, and how many rows a known one stands for.

Here: the rule, on arrays. Not here: how a decision becomes a propensity (`domain/data/canonical.py`), and what metrics
make of the weights (`domain/evaluation/judged.py`).

A transaction that was blocked has no outcome: without a review it is unknown, never genuine. Where some are let through
by chance, each of this control group stands for 1/p transactions that the decision meant, itself included (Horvitz &
Thompson 1952, "A generalization of sampling without replacement from a finite universe"). The blocked ones are then
left out, those with a review too: the control group stands for all of them already. A blocked transaction that nothing
stands for counts once its review is known, for itself alone.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fraud_retraining.domain.values.schemas import PROPENSITY

ROW_WEIGHT = "row_weight"

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


def propensities(rows: pa.Table | pa.RecordBatch) -> Floats:
    """The propensity of each row, NaN for one that nothing stands for; 1 everywhere where rows say nothing of it."""
    if PROPENSITY not in rows.schema.names:
        return np.ones(rows.num_rows)
    return np.asarray(rows.column(PROPENSITY).to_numpy(zero_copy_only=False), dtype=np.float64)


def has_outcome(propensity: Floats, labelled: Mask) -> Mask:
    """Whether the outcome of each row is known, where `labelled` says whether a label of it is.

    >>> has_outcome(np.array([1.0, 0.05, 0.0, np.nan, np.nan]), np.array([True, True, True, True, False])).tolist()
    [True, True, False, True, False]
    """
    return labelled & (propensity != 0)


def was_reviewed(propensity: Floats) -> Mask:
    """Whether only a review can have labelled a row: it was blocked, and nothing stands for it."""
    return np.isnan(propensity)


def was_blocked(propensity: Floats) -> Mask:
    """Whether a row was blocked."""
    return ~(propensity > 0)


def row_weights(propensity: Floats, known: Mask) -> Floats:
    """How many rows each one stands for: 0 where its outcome is unknown, 1/p, and 1 of a reviewed one.

    >>> row_weights(np.array([1.0, 0.05, 0.0, np.nan]), np.array([True, True, False, True])).tolist()
    [1.0, 20.0, 0.0, 1.0]
    """
    seen = np.where(known & ~np.isnan(propensity), propensity, 1.0)
    return np.where(known, 1 / seen, 0.0)


def by_outcome(rows: Any, known: Mask) -> Any:
    """Rows with a weight (`ROW_WEIGHT`), where they say with which probability they were let through."""
    if PROPENSITY not in rows.schema.names:
        return rows
    return rows.append_column(ROW_WEIGHT, pa.array(row_weights(propensities(rows), known)))


def effective(weights: Floats) -> float:
    """Effective sample size: how many equally weighted rows are as good (Kish 1965, "Survey Sampling", 11.7).

    >>> effective(np.array([1.0, 1.0, 20.0]))
    1.2039800995024876
    """
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0
