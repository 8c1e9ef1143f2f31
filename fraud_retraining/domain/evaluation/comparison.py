"""Comparison of two models on the same rows, with its uncertainty.

Here: the paired bootstrap of average precision, overall and by slice. Not here: the metrics of one model
(`domain/evaluation/metrics.py`) and how much worse is too much (`domain/evaluation/gates/`).
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fraud_retraining.domain.evaluation.judged import Floats, Integers, Judged, Mask, Pair
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy, slice_masks
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.interval import Interval

SLICE_RESAMPLES = 200


class SliceDifference(Value):
    """Candidate against champion on the rows that share a value; average precision of both."""

    slice: str
    value: str
    frauds: int
    candidate: float
    champion: float
    difference: Interval


class Comparison(Value):
    """Candidate against champion on the same rows; differences are candidate minus champion."""

    rows: int
    frauds: int
    candidate: Interval = Field(description="Average precision of the candidate.")
    champion: Interval = Field(description="Average precision of the champion.")
    difference: Interval = Field(description="Difference of the two, resampled in pairs.")
    resamples: int = Field(description="Resamples that had a fraud.")
    confidence: float
    slices: tuple[SliceDifference, ...] = ()


class NotCompared(Value):
    """Why there is no champion to compare with on these rows. Never used for a champion that could not be read."""

    reason: str = Field(min_length=1, description="Clause, such as 'there is no champion yet'.")


class Ranking:
    """One model's ranking of the rows, prepared so that a resample costs two sparse products and no sorting.

    Average precision reads only the thresholds that are the score of a fraud. So each row is filed once under the
    first such threshold that it reaches, and summed by customer. With customer weights W, `rows @ W` is the weight
    that each threshold adds to the alerts and `frauds @ W` what it adds to the frauds caught. Equal scores share a
    threshold, exactly as in scikit-learn's `average_precision_score(..., sample_weight=...)`.
    """

    def __init__(self, judged: Judged, customers: Integers, customer_count: int) -> None:
        from scipy.sparse import csc_array

        scores, fraud = judged.scores, judged.labels == 1
        one = judged.counts
        thresholds = np.unique(scores[fraud])
        step = len(thresholds) - np.searchsorted(thresholds, scores, side="right")
        shape = (len(thresholds), customer_count)

        def counts(kept: Mask, each: Floats) -> Any:
            return csc_array((each[kept].astype(np.float32), (step[kept], customers[kept])), shape=shape)

        self._rows = counts(step < len(thresholds), one)
        self._frauds = counts(fraud, one if judged.weights is None else judged.weights)

    def average_precision(self, weights: NDArray[np.float32]) -> Floats:
        """Average precision under each column of customer weights; NaN where no fraud has weight."""
        # A step's sum is exact in float32; the running sum over all rows of a window is not.
        alerts: Floats = np.cumsum(self._rows @ weights, axis=0, dtype=np.float64)
        gained: Floats = (self._frauds @ weights).astype(np.float64)
        caught: Floats = np.cumsum(gained, axis=0)
        precision = np.divide(caught, alerts, out=np.zeros_like(caught), where=alerts > 0)
        # Known frauds that stand for others can be more than the alerts.
        np.minimum(precision, 1.0, out=precision)
        total: Floats = gained.sum(axis=0)
        area: Floats = np.full_like(total, np.nan)
        np.divide((gained * precision).sum(axis=0), total, out=area, where=total > 0)
        return area


def compare(pair: Pair, policy: MetricsPolicy) -> Comparison | None:
    """Paired bootstrap of average precision that resamples customers; None where the rows hold no fraud.

    A customer's transactions are fraud, or not, together: drawing rows would make the interval too narrow. Each
    customer gets a Poisson(1) weight (Chamandy et al. 2012, "Estimating Uncertainty for Massive Data Streams"), the
    same for both models, so the noise that the models share cancels. Intervals are percentile intervals. With a
    single customer there is nothing to draw and the interval is the point. A slice gets `SLICE_RESAMPLES` at most:
    its gate reads the standard deviation, which 200 give to 5 %.
    """
    if not pair.candidate.frauds or not pair.candidate.rankable:
        return None
    everything = np.ones(len(pair.candidate), dtype=bool)
    ((candidate, champion),) = _resampled(pair, [everything], policy.resamples, policy.seed)
    return Comparison(
        rows=pair.candidate.rows,
        frauds=pair.candidate.frauds,
        candidate=_interval(candidate, policy.confidence),
        champion=_interval(champion, policy.confidence),
        difference=_interval(candidate - champion, policy.confidence),
        resamples=int(np.isfinite(candidate[1:]).sum()),
        confidence=policy.confidence,
        slices=tuple(_slice_differences(pair, policy)),
    )


def _slice_differences(pair: Pair, policy: MetricsPolicy) -> Iterator[SliceDifference]:
    """The comparison within each slice that has enough frauds, save one that is all the rows again."""
    slices = [
        (name, value, mask)
        for name, value, mask in slice_masks(pair.candidate, policy)
        if not mask.all() and (pair.candidate.labels[mask] == 1).sum() >= policy.min_slice_frauds
    ]
    drawn = _resampled(pair, [mask for _, _, mask in slices], min(policy.resamples, SLICE_RESAMPLES), policy.seed)
    for (name, value, mask), (candidate, champion) in zip(slices, drawn, strict=True):
        yield SliceDifference(
            slice=name,
            value=value,
            frauds=int((pair.candidate.labels[mask] == 1).sum()),
            candidate=candidate[0],
            champion=champion[0],
            difference=_interval(candidate - champion, policy.confidence),
        )


def _resampled(pair: Pair, subsets: Sequence[Mask], resamples: int, seed: int) -> Iterator[tuple[Floats, Floats]]:
    """Average precision of both models on each subset: first of the rows as they are, then of each resample."""
    customers = pair.candidate.entities
    count = int(customers.max()) + 1
    rankings = [
        Ranking(model.where(mask), customers[mask], count)
        for mask in subsets
        for model in (pair.candidate, pair.champion)
    ]
    drawn: list[list[Floats]] = [[] for _ in rankings]
    # Pieces outside, models inside: every model and slice sees the same customers in the same resample.
    for weights in customer_weights(count, resamples, seed):
        for values, ranking in zip(drawn, rankings, strict=True):
            values.append(ranking.average_precision(weights))
    whole = [np.concatenate(values) for values in drawn]
    return zip(whole[::2], whole[1::2], strict=True)


def customer_weights(customers: int, resamples: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Weights (customer, resample): all one first, then Poisson(1), in pieces that fit the processor's cache."""
    yield np.ones((customers, 1), dtype=np.float32)
    draw = np.random.default_rng(seed)
    table = _poisson_table()
    piece = max(1, min(64, 16_000_000 // customers))
    for start in range(0, resamples, piece):
        uniform = draw.integers(0, len(table), size=(customers, min(piece, resamples - start)), dtype=np.uint16)
        yield table[uniform]


@lru_cache(maxsize=1)
def _poisson_table() -> NDArray[np.float32]:
    """Poisson(1) by 16-bit quantiles: ten times faster to draw from than the exact generator, mean 1 to four digits."""
    # Fewer than 1 in 10^9 draws lie above 11: less than a quantile of 16 bits can show.
    k = np.arange(12)
    distribution = np.cumsum(np.exp(-1) / np.cumprod(np.maximum(k, 1)))
    return np.searchsorted(distribution, (np.arange(65_536) + 0.5) / 65_536).astype(np.float32)


def _interval(drawn: Floats, confidence: float) -> Interval:
    """The first value with the percentile interval of the others."""
    # A resample that drew no fraud has no average precision, and says nothing about it.
    resampled = drawn[1:][np.isfinite(drawn[1:])]
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value=float(drawn[0]), low=float(low), high=float(high), deviation=float(resampled.std(ddof=1)))
