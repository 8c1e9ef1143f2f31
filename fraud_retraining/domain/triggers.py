"""When a retrain is asked for.

Here: the words for a trigger, its policies, and the 48-hour grid. Not here: Dagster's schedules and sensors.
"""

from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from fraud_retraining.domain.schemas import Policy


class Trigger(StrEnum):
    """Why a retrain was asked for."""

    SCHEDULE = "schedule"
    NEW_DATA = "new_data"
    DRIFT = "drift"
    PERFORMANCE = "performance"
    MANUAL = "manual"
    BACKFILL = "backfill"


class SchedulePolicy(Policy):
    """A retrain every so many hours after the last as-of day."""

    every_hours: int = Field(48, ge=24, le=24 * 60, multiple_of=24, description="Hours between as-of days; whole days.")
    at_hour_utc: int = Field(2, ge=0, le=23, description="Hour of the day, UTC, at which the retrain is due.")


class DriftTriggerPolicy(Policy):
    """A retrain when m of the last n days drifted."""

    threshold: float = Field(0.2, gt=0, description="Population stability index above which a day counts as drifted.")
    days: tuple[int, int] = Field((2, 3), description="m of the last n days must have drifted.")
    cooldown_days: int = Field(4, ge=1, le=365, description="Least days between two retrains that drift asks for.")

    @model_validator(mode="after")
    def _m_of_n(self) -> Self:
        m, n = self.days
        if not 1 <= m <= n:
            raise ValueError(f"days [{m}, {n}] does not mean m of n with 1 <= m <= n")
        return self


class NewDataTriggerPolicy(Policy):
    """A retrain after so many new accepted rows."""

    rows: int = Field(ge=1, description="Accepted rows since the last training.")


class PerformanceTriggerPolicy(Policy):
    """A retrain when the champion's performance on matured days falls."""

    min_average_precision: float | None = Field(
        None, ge=0, le=1, description="Average precision on matured days below which to retrain; null sets no floor."
    )
    below_holdout: bool = Field(
        True, description="Whether to retrain when it is below the champion's own holdout by more than its noise."
    )
    cooldown_days: int = Field(4, ge=1, le=365, description="Least days between two retrains that it asks for.")


class TriggerPolicy(Policy):
    """Which triggers are on, and their thresholds; null turns one off."""

    schedule: SchedulePolicy | None = Field(SchedulePolicy(), description="The grid of as-of days.")
    drift: DriftTriggerPolicy | None = Field(DriftTriggerPolicy(), description="Drift of the features.")
    new_data: NewDataTriggerPolicy | None = Field(None, description="New rows.")
    performance: PerformanceTriggerPolicy | None = Field(None, description="The champion's live performance.")
    when_busy: Literal["skip", "queue"] = Field(
        "skip", description="What a retrain does that finds another one running: give up, or wait for it."
    )
    max_failures: int = Field(2, ge=1, le=20, description="Failures with one cause after which automation pauses.")


def next_due(policy: SchedulePolicy, last_as_of: date | None, today: date) -> datetime:
    """The naive UTC time at which the next retrain is due, and thus its as-of day plus one.

    The grid is counted from the last as-of day, so that no month end shortens or doubles an interval. With no model
    yet, a retrain is due today.
    """
    days = policy.every_hours // 24
    as_of = last_as_of + timedelta(days=days) if last_as_of else today - timedelta(days=1)
    return datetime.combine(as_of + timedelta(days=1), time(hour=policy.at_hour_utc))
