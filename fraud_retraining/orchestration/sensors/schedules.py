"""Schedules: the daily ingest, the daily clean-up, and the retrain at its hour.

Here: when they tick. Not here: which run starts then (`next_runs.py`). Schedules do not catch up after downtime; the
sensors of `triggering.py` do.
"""

from datetime import UTC

import dagster as dg

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.orchestration.names import (
    CLEAN,
    DAILY_CLEAN,
    DAILY_INGEST,
    INGEST,
    RETRAIN,
    RETRAIN_SCHEDULE,
)
from fraud_retraining.orchestration.sensors.next_runs import ingest_next, retrain_if_due
from fraud_retraining.settings import Settings


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """The schedules under these settings; without `triggers.schedule` there is none for retrains."""
    status = dg.DefaultScheduleStatus.STOPPED if settings.starts_stopped else dg.DefaultScheduleStatus.RUNNING

    @dg.schedule(
        name=DAILY_INGEST,
        job_name=INGEST,
        cron_schedule="30 0 * * *",
        execution_timezone="UTC",
        default_status=status,
        description="Ingests what has arrived by half past midnight, UTC.",
    )
    def daily_ingest(
        context: dg.ScheduleEvaluationContext,
        settings: dg.ResourceParam[Settings],
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[Store],
        ledger: dg.ResourceParam[Ledger],
    ) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(UTC)
        return ingest_next(settings, lake, store, ledger, context.instance, now)

    daily_clean = dg.ScheduleDefinition(
        name=DAILY_CLEAN,
        job_name=CLEAN,
        cron_schedule="0 5 * * *",
        execution_timezone="UTC",
        default_status=status,
        description="Removes what `retention` and an audit do not keep, and says what.",
    )
    if settings.triggers.schedule is None:
        return [daily_ingest, daily_clean]
    policy = settings.triggers.schedule

    @dg.schedule(
        name=RETRAIN_SCHEDULE,
        job_name=RETRAIN,
        cron_schedule=f"0 {policy.at_hour_utc} * * *",
        execution_timezone="UTC",
        default_status=status,
        description=f"Asks each night whether {policy.every_hours} hours have passed since the last as-of day, "
        "and if so retrains: a true grid, whatever the month's length.",
    )
    def retrain_schedule(
        context: dg.ScheduleEvaluationContext,
        settings: dg.ResourceParam[Settings],
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[Store],
        ledger: dg.ResourceParam[Ledger],
    ) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(UTC)
        channel = f"schedule {RETRAIN_SCHEDULE}"
        return retrain_if_due(settings, lake, store, ledger, context.instance, now, channel=channel)

    return [daily_ingest, daily_clean, retrain_schedule]
