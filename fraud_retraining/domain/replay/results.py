"""What a policy was worth: each served day, and all of them.

Here: average precision, Card Precision and the amount caught by day. Not here: how the metrics are defined
(`domain/evaluation/metrics.py`) and the comparison of two policies (`comparison.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from statistics import fmean
from typing import ClassVar

import numpy as np
from pydantic import Field

from fraud_retraining.domain.evaluation.judged import Judged
from fraud_retraining.domain.evaluation.metrics import DayAlerts, average_precision, daily_alerts
from fraud_retraining.domain.replay.decisions import ReplayedDecision
from fraud_retraining.domain.replay.timeline import PolicyHistory, Step
from fraud_retraining.domain.values.base import ExtendedValue, Value
from fraud_retraining.domain.values.interval import Interval

EPOCH = date(1970, 1, 1)
HOUR_SECONDS = 3600


class DayResult(ExtendedValue):
    """A served day by its labels of today; of blocked rows nobody knows the outcome, and they count neither way."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"unknown"})

    day: date
    rows: int = Field(description="Rows whose outcome is known.")
    unknown: int = Field(0, description="Blocked rows whose outcome nobody knows.")
    frauds: int
    average_precision: float | None = Field(description="Null on a day without a fraud.")
    card_precision: float | None = Field(
        description="Share of the daily alerts that were right; null where the outcome of none of them is known."
    )
    amount_caught: float = Field(
        description="Amount of that day's frauds of the entities that alerts were right about."
    )


class Differences(Value):
    """A policy less the present settings, by day-block bootstrap."""

    average_precision: Interval | None = None
    card_precision: Interval | None = None
    amount_caught: Interval = Field(description="Over all served days.")


class PolicyResult(Value):
    """What a policy was worth on all served days, and what it did for it."""

    name: str
    days: tuple[DayResult, ...]
    average_precision: float | None = Field(description="Mean over the days that have a fraud.")
    card_precision: float | None = Field(description="Mean over the days on which it is known.")
    amount_caught: float = Field(description="Sum over the days.")
    retrains: int
    promotions: int
    refusals: int
    asked: int = Field(description="Candidates about which a human would have been asked; the champion stayed.")
    failed: int = Field(description="Retrains without a model: their window could not be used.")
    hours: float = Field(description="Hours of compute of all fits and judgements.")
    cost: float | None = None
    against_present: Differences | None = None
    decisions: tuple[ReplayedDecision, ...] = Field((), description="Alerts at the decisions of the settings.")


class Replay(Value):
    """A replay of some days under several policies."""

    first: date
    last: date
    alert_budget: int
    alert_entity: str
    confidence: float
    policies: tuple[PolicyResult, ...]
    steps: dict[str, tuple[Step, ...]] = Field(description="Decisions by policy, oldest first.")
    limits: tuple[str, ...] = Field(description="What the numbers rest on, and what cannot be known, in sentences.")
    conclusion: str


def measured_days(served: Judged, budget: int) -> tuple[DayResult, ...]:
    """Each served day: rows with the score that served them, and their labels of today.

    Scores of different models are never ranked against each other: every metric ranks within a day. An entity that was
    detected gets no further alert, as Card Precision defines it.
    """
    return tuple(_day(served, alerts, budget) for alerts in daily_alerts(served, budget))


def _day(served: Judged, alerts: DayAlerts, budget: int) -> DayResult:
    today = served.where(served.days == alerts.day)
    caught = (served.days == alerts.day) & (served.labels == 1) & np.isin(served.entities, alerts.right)
    amounts = served.amounts if served.weights is None else served.amounts * served.weights
    return DayResult(
        day=EPOCH + timedelta(days=alerts.day),
        rows=today.rows,
        unknown=len(today) - today.rows,
        frauds=today.frauds,
        average_precision=average_precision(today),
        card_precision=len(alerts.right) / budget if served.row_weights is None else _right_of_known(alerts, budget),
        amount_caught=float(amounts[caught].sum()),
    )


def _right_of_known(alerts: DayAlerts, budget: int) -> float | None:
    """The share of the day's alerts that were right, as among those whose outcome is known."""
    if not alerts.stands_for:
        return None
    return min(alerts.right_stands_for / alerts.stands_for, 1.0) * len(alerts.alerts) / budget


def policy_result(history: PolicyHistory, days: Sequence[DayResult], cost_per_hour: float | None) -> PolicyResult:
    """The sums of a policy; differences are laid beside it later."""
    hours = history.seconds / HOUR_SECONDS
    judged = [day.average_precision for day in days if day.average_precision is not None]
    right = [day.card_precision for day in days if day.card_precision is not None]
    retrains = sum(step.outcome is not None for step in history.steps)
    return PolicyResult(
        name=history.policy,
        days=tuple(days),
        average_precision=fmean(judged) if judged else None,
        card_precision=fmean(right) if right else None if days else 0.0,
        amount_caught=float(sum(day.amount_caught for day in days)),
        retrains=retrains,
        promotions=history.count("promoted"),
        refusals=history.count("refused"),
        asked=history.count("asked"),
        failed=history.count("failed"),
        hours=hours,
        cost=None if cost_per_hour is None else hours * cost_per_hour,
    )


def model_ages(history: PolicyHistory) -> Mapping[date, int]:
    """How many days old the model was that served each day."""
    return {day: (day - history.as_of[fingerprint]).days for day, fingerprint in history.served}
