"""Inputs of triggers, days that drifted, and a trigger that is added."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import Field

from fraud_retraining.domain.retraining.triggers.drift import DriftDay
from fraud_retraining.domain.retraining.triggers.registry import TriggerInputs, TriggerPolicy
from fraud_retraining.domain.retraining.triggers.values import CommonInputs, Fired, TriggerResult, latest_ready
from fraud_retraining.domain.values.base import Policy

DAY = timedelta(days=1)
LAST = date(2024, 2, 26)
ONLY_SCHEDULE = TriggerPolicy(drift=None)
ONLY_DRIFT = TriggerPolicy(schedule=None)
LATE = datetime(2024, 2, 29, 2, 0, tzinfo=UTC)


def known(**changes: Any) -> TriggerInputs:
    values: dict[str, Any] = {
        "now": LATE,
        "ready": {date(2024, 2, 28): "abc"},
        "last_as_of": LAST,
    }
    return TriggerInputs(**{**values, **changes})


def drifting(*values: float, first: date = date(2024, 2, 24)) -> tuple[DriftDay, ...]:
    return tuple(
        DriftDay(day=first + n * DAY, value=value, worst=("amount",) if value > 0.2 else ())
        for n, value in enumerate(values)
    )


class DisputesPolicy(Policy):
    """A retrain when customers dispute more payments than usual."""

    rate: float = Field(0.01, gt=0, le=1, description="Share of payments that are disputed.")


class DisputesInputs(CommonInputs):
    """What the added trigger has to know."""

    disputed: float = Field(0.0, description="Share of the last week's payments.")


def disputes(policy: DisputesPolicy, known: DisputesInputs) -> TriggerResult:
    """Fires when more payments are disputed than the policy allows."""
    share = f"disputes: {known.disputed:.1%} of payments"
    if known.disputed <= policy.rate:
        return f"{share}, up to {policy.rate:.1%} are accepted"
    as_of = latest_ready(known)
    return f"{share}, but {as_of}" if isinstance(as_of, str) else Fired(as_of=as_of, reason=share)


class WithDisputes(TriggerPolicy):
    """The settings with the added trigger's."""

    disputes: DisputesPolicy | None = None


class WithDisputesInputs(TriggerInputs, DisputesInputs):
    """What is known, with what the added trigger has to know."""
