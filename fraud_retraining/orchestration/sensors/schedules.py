"""Schedules: the daily ingest, the daily clean-up, and the retrain at its hour.

Here: when they tick. Not here: which run starts then (`next_runs.py`). Schedules do not catch up after downtime; the
sensors of `triggering.py` do.
"""

from datetime import UTC

import dagster as dg

from fraud_retraining.domain.retraining.triggers.schedule import SchedulePolicy
from fraud_retraining.orchestration.names import (
    CLEAN,
    DAILY_CLEAN,
    DAILY_INGEST,
    INGEST,
    RETRAIN,
    RETRAIN_SCHEDULE,
)
from fraud_retraining.orchestration.sensors.next_runs import TickResult, ingest_next, retrain_if_due
from fraud_retraining.orchestration.state.sources import Sources
from fraud_retraining.settings import Settings

RETRAIN_CHANNEL = f"schedule {RETRAIN_SCHEDULE}"


def build_day_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """The schedules of days, which all models share."""
    return [_daily_ingest(_status(settings))]


def build_clean_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """The schedule of retention."""
    return dg.ScheduleDefinition(
        name=DAILY_CLEAN,
        job_name=CLEAN,
        cron_schedule="0 5 * * *",
        execution_timezone="UTC",
        default_status=_status(settings),
        description="Removes runs and artifacts that neither `retention` nor an audit keeps.",
    )


def build_model_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """The schedules of a model; without `triggers.schedule` there is none for retrains."""
    policy = settings.triggers.schedule
    return [_retrain_schedule(policy, _status(settings))] if policy else []


def _status(settings: Settings) -> dg.DefaultScheduleStatus:
    return dg.DefaultScheduleStatus.STOPPED if settings.starts_stopped else dg.DefaultScheduleStatus.RUNNING


def _daily_ingest(status: dg.DefaultScheduleStatus) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=DAILY_INGEST,
        job_name=INGEST,
        cron_schedule="30 0 * * *",
        execution_timezone="UTC",
        default_status=status,
        description="Ingests what has arrived by half past midnight, UTC.",
        required_resource_keys=Sources.keys(),
    )
    def daily_ingest(context: dg.ScheduleEvaluationContext) -> TickResult:
        return ingest_next(Sources.of(context), context.instance, context.scheduled_execution_time.astimezone(UTC))

    return daily_ingest


def _retrain_schedule(policy: SchedulePolicy, status: dg.DefaultScheduleStatus) -> dg.ScheduleDefinition:
    # A cron expression has no "every 48 hours": it would begin anew each month. So it ticks each night, and the trigger
    # counts the days.
    @dg.schedule(
        name=RETRAIN_SCHEDULE,
        job_name=RETRAIN,
        cron_schedule=f"0 {policy.at_hour_utc} * * *",
        execution_timezone="UTC",
        default_status=status,
        description=f"Checks each night whether {policy.every_hours} hours have passed since the last as-of day, "
        "and if so retrains: a true grid, whatever the month's length.",
        required_resource_keys=Sources.keys(),
    )
    def retrain_schedule(context: dg.ScheduleEvaluationContext) -> TickResult:
        now = context.scheduled_execution_time.astimezone(UTC)
        return retrain_if_due(Sources.of(context), context.instance, now, channel=RETRAIN_CHANNEL)

    return retrain_schedule
