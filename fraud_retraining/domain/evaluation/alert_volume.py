"""What a threshold does under a candidate and under the champion: alerts, money stopped, customers disturbed.

Here: the named thresholds of a version, and the two models counted at each of them, with intervals. Not here: how much
the alerts may change (`domain/evaluation/gates/alerts.py`), and reading the rows
(`orchestration/assets/score_contract.py`).

Alerts are counted on the latest days, which have no labels yet; money and customers on the judged ones. Intervals are
percentile intervals of a bootstrap over customers, whose weights are the same for both models: what they have in common
cancels. An alert is a transaction that reaches the threshold; a customer is disturbed once a day.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from pydantic import Field

from fraud_retraining.domain.evaluation.judged import Categories, Floats, Integers, Mask, Pair
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy
from fraud_retraining.domain.evaluation.resampled_totals import drawn_totals, interval_of, ratio_of
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.interval import Interval


class Threshold(Value):
    """A decision and the least score from which it is taken."""

    name: str
    at: float
    alerts_per_day: int | None = Field(None, description="The alerts a day that it was chosen for; None: otherwise.")
    choice: str = Field("", description="What it was chosen by, as the settings of then say; empty: it was given.")


class Change(Value):
    """A number a day under candidate and champion, and their difference with its interval."""

    candidate: float
    champion: float
    difference: Interval


class SliceAlerts(Value):
    """Alerts on the rows that share a value. `ratio` is the candidate's over the champion's; None where that is 0."""

    slice: str
    value: str
    candidate: int
    champion: int
    ratio: Interval | None


class ThresholdAlerts(Value):
    """What one threshold does under both models."""

    name: str
    at: float
    candidate: int = Field(description="Alerts on the latest days.")
    champion: int
    ratio: Interval | None = Field(description="Candidate's over champion's; None where the champion has no alert.")
    slices: tuple[SliceAlerts, ...] = ()
    money: Change | None = Field(None, description="Amount of known frauds at or above it a day; None without labels.")
    disturbed: Change | None = Field(
        None, description="Customers a day with a transaction at or above it that is not known as fraud."
    )


class AlertChange(Value):
    """Every threshold under candidate and champion."""

    first: date
    last: date
    days: int = Field(description="Days without labels on which alerts were counted.")
    rows: int
    judged_days: int = Field(0, description="Days with labels, on which money and customers were counted.")
    confidence: float
    thresholds: tuple[ThresholdAlerts, ...]


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """Rows without labels under both models: scores as they would be served; one entry a row in each column."""

    days: Sequence[date]
    """The days of the rows, oldest first."""
    candidate: Floats
    champion: Floats
    customers: Integers
    slices: Mapping[str, Categories] = field(default_factory=dict)


def highest(scores: Floats, alerts: int) -> float:
    """The score that so many rows reach, or few more where scores are equal; the lowest one where there are fewer."""
    place = len(scores) - min(max(alerts, 1), len(scores))
    return float(np.partition(scores, place)[place])


def alert_change(
    rows: ScoredRows, thresholds: Sequence[Threshold], policy: MetricsPolicy, judged: Pair | None = None
) -> AlertChange:
    """Count both models at some thresholds.

    Args:
        rows: the latest rows, at least one.
        thresholds: on the champion's scores as they are served.
        policy: resamples, confidence and seed.
        judged: both models on rows with labels, by scores as they would be served; None where none compare them.
    """
    return AlertChange(
        first=rows.days[0],
        last=rows.days[-1],
        days=len(rows.days),
        rows=len(rows.candidate),
        judged_days=len(np.unique(judged.candidate.days)) if judged is not None else 0,
        confidence=policy.confidence,
        thresholds=tuple(_counted(one, rows, policy, judged) for one in thresholds),
    )


def _counted(threshold: Threshold, rows: ScoredRows, policy: MetricsPolicy, judged: Pair | None) -> ThresholdAlerts:
    own, theirs = rows.candidate >= threshold.at, rows.champion >= threshold.at
    money, disturbed = _effects(threshold.at, judged, policy) if judged is not None else (None, None)
    return ThresholdAlerts(
        name=threshold.name,
        at=threshold.at,
        candidate=int(own.sum()),
        champion=int(theirs.sum()),
        ratio=_ratio(own, theirs, rows.customers, policy),
        slices=tuple(_sliced(own, theirs, rows, policy)),
        money=money,
        disturbed=disturbed,
    )


def _sliced(own: Mask, theirs: Mask, rows: ScoredRows, policy: MetricsPolicy) -> Iterator[SliceAlerts]:
    for name, column in rows.slices.items():
        for code in np.unique(column.codes[own | theirs]):
            mask = column.codes == code
            yield SliceAlerts(
                slice=name,
                value=column.names[code],
                candidate=int((own & mask).sum()),
                champion=int((theirs & mask).sum()),
                ratio=_ratio(own & mask, theirs & mask, rows.customers, policy),
            )


def _ratio(own: Mask, theirs: Mask, customers: Integers, policy: MetricsPolicy) -> Interval | None:
    if not theirs.any():
        return None
    alerted = own | theirs
    candidate, champion = drawn_totals(customers[alerted], [own[alerted], theirs[alerted]], policy)
    return ratio_of(candidate, champion, policy.confidence)


def _effects(at: float, judged: Pair, policy: MetricsPolicy) -> tuple[Change, Change]:
    """Money of frauds stopped, and customers disturbed, a day."""
    rows, days = judged.candidate, len(np.unique(judged.candidate.days))
    own, theirs = rows.scores >= at, judged.champion.scores >= at
    weights = rows.counts if rows.weights is None else rows.weights
    amounts = np.where(rows.labels == 1, rows.amounts * weights, 0.0)
    genuine = rows.labels == 0
    columns = [own * amounts, theirs * amounts, *(_once_a_day(one & genuine, judged) for one in (own, theirs))]
    drawn = drawn_totals(rows.customers, columns, policy) / days
    return _change(drawn[0], drawn[1], policy.confidence), _change(drawn[2], drawn[3], policy.confidence)


def _once_a_day(alerted: Mask, judged: Pair) -> Floats:
    """What the first of a customer's alerted rows of each day stands for, 0 of any other."""
    places = np.flatnonzero(alerted)
    keys = np.column_stack([judged.candidate.customers[places], judged.candidate.days[places]])
    _, first = np.unique(keys, axis=0, return_index=True)
    found = np.zeros(len(alerted))
    found[places[first]] = judged.candidate.counts[places[first]]
    return found


def _change(candidate: Floats, champion: Floats, confidence: float) -> Change:
    return Change(
        candidate=float(candidate[0]),
        champion=float(champion[0]),
        difference=interval_of(candidate - champion, confidence),
    )
