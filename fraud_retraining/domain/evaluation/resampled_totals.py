"""Totals of rows under a bootstrap over customers: what two models have in common cancels.

Here: sums by customer, their totals in each resample, and the interval of what is made of them. Not here: what is
summed (`alert_volume.py`, `domain/monitoring/candidate_shadow.py`) and drawing the customers (`comparison.py`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraud_retraining.domain.evaluation.comparison import customer_weights
from fraud_retraining.domain.evaluation.judged import Floats, Integers
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy
from fraud_retraining.domain.values.interval import Interval


def drawn_totals(customers: Integers, columns: Sequence[NDArray[Any]], policy: MetricsPolicy) -> Floats:
    """Totals (column, 1 + resample) of columns with an entry a row: first of the rows as they are, then of each
    resample of customers, whose weights are the same in every column."""
    sums = _by_customer(customers, columns)
    weights = customer_weights(sums.shape[1], policy.resamples, policy.seed)
    return np.concatenate([sums @ piece.astype(np.float64) for piece in weights], axis=1)


def _by_customer(customers: Integers, columns: Sequence[NDArray[Any]]) -> Floats:
    """Sums (column, customer) over the rows of each customer who has any."""
    if not len(customers):
        return np.zeros((len(columns), 1))
    _, codes = np.unique(customers, return_inverse=True)
    sums = np.array([np.bincount(codes, weights=np.asarray(one, np.float64)) for one in columns])
    kept = sums[:, sums.any(axis=0)]
    return kept if kept.shape[1] else np.zeros((len(columns), 1))


def interval_of(drawn: Floats, confidence: float) -> Interval:
    """The first value with the percentile interval of the others; those that are not finite say nothing."""
    resampled = drawn[1:][np.isfinite(drawn[1:])]
    if not len(resampled):
        resampled = drawn[:1]
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value=float(drawn[0]), low=float(low), high=float(high), deviation=float(resampled.std()))


def ratio_of(own: Floats, theirs: Floats, confidence: float) -> Interval | None:
    """One total over another; None where the other is 0 on the rows as they are."""
    if not theirs[0]:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return interval_of(own / theirs, confidence)
