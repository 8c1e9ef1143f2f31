"""Trigger, channel, as-of day and days of a Dagster run, read from its tags.

Here: reading tags. Not here: their names (`names.py`) and who requested a run (`runs/requests.py`).
"""

from collections.abc import Mapping
from datetime import date

from fraud_retraining.domain.retraining.requesters import DAGSTER_UI
from fraud_retraining.domain.retraining.triggers.values import Trigger
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.orchestration.names import (
    AS_OF_TAG,
    BACKFILL_TAG,
    CHANNEL_TAG,
    PARTITION_TAG,
    RANGE_END,
    RANGE_START,
    TRIGGER_TAG,
)


def trigger_of(tags: Mapping[str, str]) -> str:
    """The run's triggers, joined by a plus; a run without that tag was started by hand.

    >>> trigger_of({"trigger": "drift+schedule"}), trigger_of({"dagster/backfill": "abc"}), trigger_of({})
    ('drift+schedule', 'backfill', 'manual')
    """
    return tags[TRIGGER_TAG] if TRIGGER_TAG in tags else typed_in_ui(tags)


def channel_of(tags: Mapping[str, str]) -> str:
    """The channel that started the run: a command, sensor, schedule or the UI."""
    if CHANNEL_TAG in tags:
        return tags[CHANNEL_TAG]
    for kind in ("sensor", "schedule"):
        if (name := tags.get(f"dagster/{kind}_name")) is not None:
            return f"{kind} {name}"
    return DAGSTER_UI


def as_of_day(tags: Mapping[str, str]) -> date | None:
    """The as-of day of a retrain."""
    named = tags.get(AS_OF_TAG) or tags.get(PARTITION_TAG)
    return date.fromisoformat(named) if named else None


def typed_in_ui(tags: Mapping[str, str]) -> str:
    """The trigger of a run that was launched in Dagster's UI: by hand, or a backfill of Dagster's own."""
    return str(Trigger.BACKFILL if BACKFILL_TAG in tags else Trigger.MANUAL)


def days_of_tags(tags: Mapping[str, str]) -> tuple[date, ...]:
    """The days of a run: a range, or one."""
    if RANGE_START in tags:
        return tuple(DayRange(start=date.fromisoformat(tags[RANGE_START]), end=date.fromisoformat(tags[RANGE_END])))
    return (date.fromisoformat(tags[PARTITION_TAG]),) if PARTITION_TAG in tags else ()
