"""Model, trigger, channel, as-of day and days of a Dagster run, read from its tags.

Here: reading tags. Not here: their names (`names.py`) and who requested a run (`runs/requests.py`).
"""

from collections.abc import Mapping
from datetime import date

import dagster as dg

from fraud_retraining.domain.retraining.requesters import DAGSTER_UI
from fraud_retraining.domain.retraining.triggers.values import Trigger
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.orchestration.names import (
    AS_OF_TAG,
    BACKFILL_TAG,
    CHANNEL_TAG,
    DECIDE,
    JUDGE_AGAIN,
    MODEL_TAG,
    MONITOR,
    PARTITION_TAG,
    RANGE_END,
    RANGE_START,
    RETRAIN,
    TRIGGER_TAG,
)
from fraud_retraining.settings import Settings

OF_A_MODEL = frozenset({RETRAIN, MONITOR, JUDGE_AGAIN, DECIDE})
"""Jobs of which no run is about the days that several models share."""


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


def model_of(run: dg.DagsterRun) -> str:
    """The model that a run is about; empty for days that several models share, and for runs of older versions."""
    if MODEL_TAG in run.tags:
        return run.tags[MODEL_TAG]
    # Assets that a user selected in the UI, without a job: the first part of their keys is their model.
    chosen = {key.path[0] for key in run.asset_selection or () if len(key.path) > 1}
    return min(chosen, default="")


def concerns(run: dg.DagsterRun, settings: Settings) -> bool:
    """Whether a run is about the model of the settings, or about the days that all of its models share."""
    model = model_of(run)
    if settings.models:
        return not model and run.job_name not in OF_A_MODEL
    return model == settings.model.name or (not model and not settings.segment)


def typed_in_ui(tags: Mapping[str, str]) -> str:
    """The trigger of a run that was launched in Dagster's UI: by hand, or a backfill of Dagster's own."""
    return str(Trigger.BACKFILL if BACKFILL_TAG in tags else Trigger.MANUAL)


def days_of_tags(tags: Mapping[str, str]) -> tuple[date, ...]:
    """The days of a run: a range, or one."""
    if RANGE_START in tags:
        return tuple(DayRange(start=date.fromisoformat(tags[RANGE_START]), end=date.fromisoformat(tags[RANGE_END])))
    return (date.fromisoformat(tags[PARTITION_TAG]),) if PARTITION_TAG in tags else ()
