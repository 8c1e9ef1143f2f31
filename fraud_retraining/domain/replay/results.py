"""What a policy was worth: each served day, and all of them.

Here: average precision, Card Precision and the amount caught by day. Not here: how the metrics are defined
(`domain/evaluation/metrics.py`) and the comparison of two policies (`comparison.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from statistics import fmean

import numpy as np
from pydantic import Field

from fraud_retraining.domain.evaluation.judged import Integers, Judged
from fraud_retraining.domain.evaluation.metrics import average_precision, daily_alerts
from fraud_retraining.domain.replay.timeline import PolicyHistory, Step
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.interval import Interval

EPOCH = date(1970, 1, 1)
HOUR_SECONDS = 3600


class DayResult(Value):
    """A served day by its labels of today."""

    day: date
    rows: int
    frauds: int
    average_precision: float | None = Field(description="Null on a day without a fraud.")
    card_precision: float = Field(description="Share of the daily alerts that were right.")
    amount_caught: float = Field(
        description="Amount of that day's frauds of the entities that alerts were right about."
    )


class Differences(Value):
    """A policy less the present settings, by day-block bootstrap."""

    average_precision: Interval | None = None
    card_precision: Interval
    amount_caught: Interval = Field(description="Over all served days.")


class PolicyResult(Value):
    """What a policy was worth on all served days, and what it did for it."""

    name: str
    days: tuple[DayResult, ...]
    average_precision: float | None = Field(description="Mean over the days that have a fraud.")
    card_precision: float = Field(description="Mean over the days.")
    amount_caught: float = Field(description="Sum over the days.")
    retrains: int
    promotions: int
    refusals: int
    asked: int = Field(description="Candidates about which a human would have been asked; the champion stayed.")
    failed: int = Field(description="Retrains without a model: their window could not be used.")
    hours: float = Field(description="Hours of compute of all fits and judgements.")
    cost: float | None = None
    against_present: Differences | None = None


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
    return tuple(_day(served, alerts.day, alerts.right, budget) for alerts in daily_alerts(served, budget))


def _day(served: Judged, day: int, right: Integers, budget: int) -> DayResult:
    today = served.where(served.days == day)
    caught = (served.days == day) & (served.labels == 1) & np.isin(served.entities, right)
    return DayResult(
        day=EPOCH + timedelta(days=day),
        rows=len(today),
        frauds=today.frauds,
        average_precision=average_precision(today),
        card_precision=len(right) / budget,
        amount_caught=float(served.amounts[caught].sum()),
    )


def policy_result(history: PolicyHistory, days: Sequence[DayResult], cost_per_hour: float | None) -> PolicyResult:
    """The sums of a policy; differences are laid beside it later."""
    hours = history.seconds / HOUR_SECONDS
    judged = [day.average_precision for day in days if day.average_precision is not None]
    retrains = sum(step.outcome is not None for step in history.steps)
    return PolicyResult(
        name=history.policy,
        days=tuple(days),
        average_precision=fmean(judged) if judged else None,
        card_precision=fmean(day.card_precision for day in days) if days else 0.0,
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
