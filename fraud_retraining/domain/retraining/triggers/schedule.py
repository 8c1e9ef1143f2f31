"""The trigger `schedule`: a retrain every so many hours after the last as-of day, on a grid of as-of days."""

from datetime import UTC, date, datetime, time, timedelta

from pydantic import Field

from fraud_retraining.domain.retraining.triggers.values import (
    CommonInputs,
    Fired,
    TriggerResult,
    why_unready,
)
from fraud_retraining.domain.values.base import Policy

MOST_WAITED_FOR = 3
"""Number of due as-of days up to which the schedule waits for a later one that is being ingested: after downtime there
is one retrain then.

With more, days arrive faster than they are ingested, and waiting for the last of them would never end.
"""


class SchedulePolicy(Policy):
    """A retrain every so many hours after the last as-of day."""

    every_hours: int = Field(48, ge=24, le=24 * 60, multiple_of=24, description="Hours between as-of days; whole days.")
    at_hour_utc: int = Field(2, ge=0, le=23, description="Hour of the day, UTC, at which the retrain is due.")


def schedule(policy: SchedulePolicy, inputs: CommonInputs) -> TriggerResult:
    """Fire when the next as-of day of the grid is due and ready; without any model, on the latest day."""
    if inputs.last_as_of is None:
        return _first(inputs)
    # The sensor leaves a due retrain to the schedule for a moment: else both would request it.
    due = grid(policy, inputs.last_as_of, inputs.now - inputs.grace)
    if not due:
        as_of, at = next_due(policy, inputs.last_as_of, inputs.last_as_of)
        return f"schedule: the next retrain, as of {as_of}, is due {at:%Y-%m-%d %H:%M} UTC"
    ready = [day for day in due if day in inputs.ready]
    coming = [day for day in due if day in inputs.pending and day > max(ready, default=due[0])]
    arrived = [day for day in due if day <= max([*inputs.ready, *inputs.unready], default=day)]
    if coming and not (ready and len(arrived) > MOST_WAITED_FOR):
        return f"schedule: a retrain as of {coming[-1]} is due, but {inputs.unready[coming[-1]]}"
    if not ready:
        return f"schedule: a retrain as of {due[0]} is due, but {inputs.unready.get(due[0], 'it has not arrived')}"
    hours = (ready[-1] - inputs.last_as_of) // timedelta(hours=1)
    return Fired(
        as_of=ready[-1],
        reason=f"schedule: {hours} hours since the last as-of day, {inputs.last_as_of}",
    )


def _first(inputs: CommonInputs) -> TriggerResult:
    if inputs.ready:
        return Fired(as_of=max(inputs.ready), reason="schedule: no model has been trained yet")
    return f"schedule: no model has been trained yet, and {why_unready(inputs) or 'no day has arrived'}"


def due_at(policy: SchedulePolicy, as_of: date) -> datetime:
    """Return when the retrain of an as-of day is due: at the hour of the next day, UTC.

    Examples:
        >>> due_at(SchedulePolicy(at_hour_utc=2), date(2026, 2, 28)).isoformat()
        '2026-03-01T02:00:00+00:00'
    """
    return datetime.combine(as_of + timedelta(days=1), time(hour=policy.at_hour_utc), UTC)


def next_due(policy: SchedulePolicy, last_as_of: date | None, latest: date) -> tuple[date, datetime]:
    """Return the next as-of day of the grid and when it is due.

    The grid is counted from the last as-of day in whole intervals, so that no month end shortens or doubles one; with
    no model yet the latest day is due.
    """
    as_of = latest if last_as_of is None else last_as_of + timedelta(hours=policy.every_hours)
    return as_of, due_at(policy, as_of)


def grid(policy: SchedulePolicy, last_as_of: date, now: datetime) -> list[date]:
    """Return the as-of days after the last one that are due by now, oldest first."""
    days, step = [], timedelta(hours=policy.every_hours)
    # Counted from the last as-of day: a calendar rule ("every second day of the month") slips at each month's end.
    as_of = last_as_of + step
    while due_at(policy, as_of) <= now:
        days.append(as_of)
        as_of += step
    return days
