"""Confidence intervals of the curve and the metrics of a model, by a bootstrap over customers.

Here: a bootstrap over customers that is cheap enough for every retrain, because it looks at some hundred thresholds
only. Not here: the exact paired test that a gate rests on (`domain/evaluation/comparison.py`).

Rows are filed once under the threshold that they reach, and summed by customer; a resample is then a few sparse
products with the customers' Poisson weights, the same for both models. What so few thresholds cost a metric is taken
off again: an interval is the exact value plus what the resamples deviate from the value on the same thresholds.

Card Precision reads of each day only its suspects in order: a customer of weight 3 is three of them, each with an alert
of its own. The calibration error reads the sums of its bins by customer, and differs in one thing: an error is never
below 0, so the chance that resampling adds to that of the rows makes nearly every resample worse. Its interval is
around the middle of the resamples, where that addition cancels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fraud_retraining.domain.evaluation.comparison import customer_weights
from fraud_retraining.domain.evaluation.judged import Floats, Integers, Judged, Mask
from fraud_retraining.domain.evaluation.metrics import (
    ACCEPTED_FPR,
    CALIBRATION_ERROR,
    DaySuspects,
    calibration_bin,
    card_precision_name,
    daily_suspects,
    log_losses,
    squared_losses,
)
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.interval import Interval

RESAMPLES = 200
THRESHOLDS = 150


class CurvePoint(Value):
    """What one threshold gives. `low` and `high` bound its precision."""

    threshold: float
    recall: float = Field(description="Share of the frauds at or above it.")
    precision: float = Field(description="Share of frauds among the rows at or above it.")
    low: float
    high: float
    alerts: int = Field(description="Rows at or above it.")


class MetricIntervals(Value):
    """A metric of both models and their difference, each with its interval."""

    candidate: Interval
    champion: Interval | None = None
    difference: Interval | None = None


class Drawn(NamedTuple):
    """A model under each resample, by column; the first one is the rows as they are."""

    thresholds: Floats
    alerts: Floats
    caught: Floats
    rows: Floats
    frauds: Floats
    measured: Mapping[str, Floats]


@dataclass(frozen=True, eq=False)
class Alerting:
    """Whom a model alerts about on each day with `budget` alerts."""

    days: Sequence[DaySuspects]
    budget: int
    day_weights: Sequence[float]

    @classmethod
    def of(cls, judged: Judged, budget: int) -> "Alerting":
        """The suspects of every day."""
        days = tuple(daily_suspects(judged))
        return cls(days, budget, [judged.day_weight(one.day) for one in days])

    def precision(self, weights: NDArray[np.float32]) -> Floats:
        """Card Precision under each column of customer weights; who is detected is not alerted about again."""
        left = weights.copy()
        right, seen, spent = (np.zeros(weights.shape[1]) for _ in range(3))
        for day, known in zip(self.days, self.day_weights, strict=True):
            suspects, defrauded = self._reached(day, left)
            # A customer of weight 3 stands for three, each of whom can get an alert.
            open_ = left[suspects]
            alerts = np.clip(self.budget - (np.cumsum(open_, axis=0) - open_), 0, open_)
            left[suspects[defrauded]] -= alerts[defrauded]
            counts, of_frauds = day.counts, day.fraud_counts
            if counts is None or of_frauds is None:
                right += np.minimum(alerts[defrauded].sum(axis=0) * known, self.budget)
                continue
            spent += alerts.sum(axis=0)
            seen += (alerts * counts[: len(suspects), None]).sum(axis=0)
            right += (alerts * of_frauds[: len(suspects), None])[defrauded].sum(axis=0)
        if self.days[0].counts is not None:
            right = np.minimum(right / np.maximum(seen, 1e-9), 1.0) * spent
        return np.asarray(right / (self.budget * len(self.days)))

    def _reached(self, day: DaySuspects, left: NDArray[np.float32]) -> tuple[Integers, Mask]:
        """As many suspects, highest first, as spend the budget in every column."""
        # A customer is missing in 37 % of the resamples (Poisson of mean 1): twice the budget is mostly enough.
        kept = 2 * self.budget
        # Only as many suspects as can be alerted about: sorting all of them by resample would dominate the time.
        while kept < len(day.entities) and left[day.entities[:kept]].sum(axis=0).min() < self.budget:
            kept *= 2
        return day.entities[:kept], day.defrauded[:kept]


@dataclass(frozen=True, eq=False)
class Filed:
    """A model's rows by threshold and customer."""

    thresholds: Floats
    rows: Any
    frauds: Any
    totals: NDArray[np.float32]
    losses: Mapping[str, NDArray[np.float32]]
    surprise: Any
    alerting: Alerting

    @classmethod
    def of(cls, judged: Judged, budget: int) -> "Filed":
        """The rows of one model; a row under the last threshold counts in the totals only."""
        thresholds = _thresholds(judged)
        position = len(thresholds) - np.searchsorted(thresholds[::-1], judged.scores, side="right")
        count = int(judged.entities.max()) + 1
        fraud = judged.labels == 1
        reached = position < len(thresholds)
        shape = (len(thresholds), count)
        one = judged.counts
        known = one if judged.weights is None else judged.weights

        def filed(kept: Mask, each: Floats) -> Any:
            return _sums(each[kept], position[kept], judged.entities[kept], shape)

        totals = [np.bincount(judged.entities, each, count) for each in (one, known * fraud)]
        return cls(
            thresholds,
            filed(reached, one),
            filed(reached & fraud, known),
            np.stack(totals).astype(np.float32),
            _losses(judged, count),
            _surprise(judged, count),
            Alerting.of(judged, budget),
        )

    def drawn(self, weights: NDArray[np.float32]) -> Drawn:
        """The curve and the means under each column of customer weights."""
        totals: Floats = (self.totals @ weights).astype(np.float64)
        return Drawn(
            self.thresholds,
            np.cumsum(self.rows @ weights, axis=0, dtype=np.float64),
            np.cumsum(self.frauds @ weights, axis=0, dtype=np.float64),
            totals[0],
            totals[1],
            # A resample may draw no fraud at all: 0 over this small number is 0.
            dict(self._measured(weights, np.maximum(totals, 1e-9))),
        )

    def _measured(self, weights: NDArray[np.float32], totals: Floats) -> Iterator[tuple[str, Floats]]:
        yield card_precision_name(self.alerting.budget), self.alerting.precision(weights)
        if self.surprise is not None:
            yield CALIBRATION_ERROR, np.abs(self.surprise @ weights).sum(axis=0) / totals[0]
        yield from ((name, sums @ weights / totals[0]) for name, sums in self.losses.items())


def _thresholds(judged: Judged) -> Floats:
    """Scores to look at, falling: steps of recall among the frauds, steps of the number of alerts among all rows."""
    frauds = np.sort(judged.scores[judged.labels == 1])
    recalls = frauds[np.unique(np.linspace(0, len(frauds) - 1, THRESHOLDS).round().astype(int))]
    ranked = judged.ranked if judged.row_weights is None else judged.ranked[judged.known[judged.ranked]]
    alerts = np.unique(np.geomspace(1, len(ranked), THRESHOLDS).astype(int)) - 1
    return np.unique(np.concatenate([recalls, judged.scores[ranked[alerts]]]))[::-1]


def _sums(values: Floats, steps: Any, customers: Any, shape: tuple[int, int]) -> Any:
    from scipy.sparse import csr_array

    return csr_array((values.astype(np.float32), (steps, customers)), shape=shape)


def _surprise(judged: Judged, customers: int) -> Any:
    """Frauds that the model expects less those there are, by calibration bin and customer; None unless it says."""
    if not judged.probable:
        return None
    bin_ = calibration_bin(judged)
    known = 1.0 if judged.report_weights is None else judged.report_weights
    surprise = judged.scores - judged.labels * known
    surprise = surprise if judged.row_weights is None else surprise * judged.row_weights
    return _sums(surprise, bin_, judged.entities, (int(bin_.max()) + 1, customers))


def _losses(judged: Judged, customers: int) -> dict[str, NDArray[np.float32]]:
    """Sums by customer of the metrics that are means over the rows."""
    if not judged.probable:
        return {}
    return {
        name: np.bincount(judged.entities, values, customers).astype(np.float32)
        for name, values in (("brier_score", squared_losses(judged)), ("log_loss", log_losses(judged)))
    }


def draw(*models: Judged, alert_budget: int, resamples: int = RESAMPLES, seed: int = 0) -> list[Drawn]:
    """The models under the same resamples of customers; none where the rows hold no fraud or scores are no numbers."""
    if not all(model.frauds and model.rankable for model in models):
        return []
    filed = [Filed.of(model, alert_budget) for model in models]
    customers = int(models[0].entities.max()) + 1
    parts = [[one.drawn(weights) for one in filed] for weights in customer_weights(customers, resamples, seed)]
    return [_joined([part[position] for part in parts]) for position in range(len(models))]


def _joined(parts: list[Drawn]) -> Drawn:
    first = parts[0]
    return Drawn(
        first.thresholds,
        np.concatenate([part.alerts for part in parts], axis=1),
        np.concatenate([part.caught for part in parts], axis=1),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.frauds for part in parts]),
        {name: np.concatenate([part.measured[name] for part in parts]) for name in first.measured},
    )


def curve(drawn: Drawn, confidence: float) -> tuple[CurvePoint, ...]:
    """Precision over recall at each threshold, from the highest on, with the interval of the precision."""
    precision = _precision(drawn)
    resampled = np.where(drawn.alerts[:, 1:] > 0, precision[:, 1:], np.nan)
    low, high = _quantiles(resampled, confidence)
    recall = drawn.caught[:, 0] / drawn.frauds[0]
    columns = (drawn.thresholds, recall, precision[:, 0], low, high, drawn.alerts[:, 0])
    return tuple(
        # The highest thresholds have few alerts, and their percentiles can lie to one side of the value.
        CurvePoint(threshold=t, recall=r, precision=p, low=min(lo, p), high=max(hi, p), alerts=round(n))
        for t, r, p, lo, hi, n in zip(*(column.tolist() for column in columns), strict=True)
    )


def _quantiles(resampled: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Bounds by row; a threshold that no resample reaches has the widest ones."""
    known = np.isfinite(resampled).any(axis=1)
    low, high = np.zeros(len(resampled)), np.ones(len(resampled))
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    if known.any():
        low[known], high[known] = np.nanquantile(resampled[known], ends, axis=1)
    return low, high


def metric_intervals(
    drawn: Sequence[Drawn], exact: Sequence[Mapping[str, float | None]], confidence: float
) -> dict[str, MetricIntervals]:
    """Every metric that has one, of the candidate and, where both were drawn, the champion; `exact` are the values."""
    if not drawn:
        return {}
    measured = [_metrics(one) for one in drawn]
    found: dict[str, MetricIntervals] = {}
    for name in measured[0]:
        values = [known.get(name) for known in exact]
        if all(name in one for one in measured) and None not in values:
            centred = name == CALIBRATION_ERROR
            resampled = [_centred(one[name]) if centred else one[name] for one in measured]
            found[name] = _intervals(resampled, [float(value or 0) for value in values], confidence)
    return found


def _centred(drawn: Floats) -> Floats:
    """The resamples around their own middle, which stands where the rows as they are stood."""
    return np.concatenate([[np.median(drawn[1:])], drawn[1:]])


def _metrics(drawn: Drawn) -> dict[str, Floats]:
    gained = np.diff(drawn.caught, axis=0, prepend=0)
    precision = _precision(drawn)
    return {
        "average_precision": (gained * precision).sum(axis=0) / np.maximum(drawn.frauds, 1e-9),
        "roc_auc": _roc_auc(drawn),
        "recall_at_1pct_fpr": _recall_at_fpr(drawn),
        **drawn.measured,
    }


def _precision(drawn: Drawn) -> Floats:
    # Known frauds that stand for others can be more than the alerts.
    return np.minimum(drawn.caught / np.maximum(drawn.alerts, 1e-9), 1.0)


def _roc_auc(drawn: Drawn) -> Floats:
    edge = np.zeros((1, drawn.caught.shape[1]))
    caught = np.concatenate([edge, drawn.caught, drawn.frauds[None]])
    false = np.concatenate([edge, drawn.alerts - drawn.caught, (drawn.rows - drawn.frauds)[None]])
    area = (np.diff(false, axis=0) * (caught[1:] + caught[:-1]) / 2).sum(axis=0)
    return np.asarray(area / np.maximum(caught[-1] * false[-1], 1e-9))


def _recall_at_fpr(drawn: Drawn) -> Floats:
    """Between two thresholds in a straight line: the steps are too wide to operate at."""
    # Interpolation needs a rate that never falls; an estimate from frauds known in part can.
    false = np.maximum.accumulate(drawn.alerts - drawn.caught, axis=0) / np.maximum(drawn.rows - drawn.frauds, 1e-9)
    recall = drawn.caught / np.maximum(drawn.frauds, 1e-9)
    return np.array([np.interp(ACCEPTED_FPR, false[:, column], recall[:, column]) for column in range(false.shape[1])])


def _intervals(drawn: list[Floats], exact: list[float], confidence: float) -> MetricIntervals:
    models = (_interval(values, value, confidence) for values, value in zip(drawn, exact, strict=True))
    # Shifting to the exact value can move a bound below 0, where no metric is.
    candidate, *champion = (model.model_copy(update={"low": max(0.0, model.low)}) for model in models)
    if not champion:
        return MetricIntervals(candidate=candidate)
    difference = _interval(drawn[0] - drawn[1], exact[0] - exact[1], confidence)
    return MetricIntervals(candidate=candidate, champion=champion[0], difference=difference)


def _interval(drawn: Floats, exact: float, confidence: float) -> Interval:
    # Around the value on the same few thresholds: their error cancels in the difference.
    moved = drawn[1:] - drawn[0]
    low, high = np.quantile(moved, [(1 - confidence) / 2, (1 + confidence) / 2])
    deviation = float(moved.std(ddof=1))
    return Interval(value=exact, low=exact + float(low), high=exact + float(high), deviation=deviation)
