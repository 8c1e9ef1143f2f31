"""Sensors: days that arrived or changed are ingested and watched, and retrains start when a trigger asks for them.

Here: how often they look and what they say. Not here: what to do then (`orchestration/sensors/next_runs.py`).
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.orchestration.names import (
    INGEST,
    INGEST_SENSOR,
    MONITOR,
    MONITORING_SENSOR,
    RETRAIN,
    RETRAIN_SENSOR,
)
from fraud_retraining.orchestration.runs.outcomes import Outcomes
from fraud_retraining.orchestration.sensors.next_runs import (
    ingest_next,
    latest_performance,
    monitor_next,
    retrain_if_due,
)
from fraud_retraining.settings import Settings

RETRAIN_CHANNEL = f"sensor {RETRAIN_SENSOR}"
LEAVE_TO_SCHEDULE = timedelta(minutes=2)


def build_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors that start runs."""
    status = dg.DefaultSensorStatus.STOPPED if settings.starts_stopped else dg.DefaultSensorStatus.RUNNING

    @dg.sensor(
        name=INGEST_SENSOR,
        job_name=INGEST,
        minimum_interval_seconds=settings.triggers.poll_seconds,
        default_status=status,
        description="Ingests days that are missing or have changed, one run at a time: first what a retrain waits for, "
        "then the oldest.",
    )
    def ingest_sensor(
        context: dg.SensorEvaluationContext,
        settings: dg.ResourceParam[Settings],
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[Store],
        ledger: dg.ResourceParam[Ledger],
        outcomes: dg.ResourceParam[Outcomes],
    ) -> dg.RunRequest | dg.SkipReason:
        now = datetime.now(UTC)
        return ingest_next(settings, lake, store, ledger, context.instance, now, outcomes.notify_set_aside)

    @dg.sensor(
        name=RETRAIN_SENSOR,
        job_name=RETRAIN,
        minimum_interval_seconds=settings.triggers.poll_seconds,
        default_status=status,
        description="Weighs every trigger, catches up on what the schedule missed, and starts the one retrain that is "
        "asked for.",
    )
    def retrain_sensor(
        context: dg.SensorEvaluationContext,
        settings: dg.ResourceParam[Settings],
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[Store],
        ledger: dg.ResourceParam[Ledger],
    ) -> dg.RunRequest | dg.SkipReason:
        now = datetime.now(UTC)
        return retrain_if_due(settings, lake, store, ledger, context.instance, now, LEAVE_TO_SCHEDULE, RETRAIN_CHANNEL)

    @dg.sensor(
        name=MONITORING_SENSOR,
        job_name=MONITOR,
        minimum_interval_seconds=settings.triggers.poll_seconds,
        default_status=status,
        description="Scores the days that the champion serves, compares them with what it has learnt, and judges them "
        "once their labels are mature; tells people when live performance decays, and when it is back.",
    )
    def monitoring_sensor(
        context: dg.SensorEvaluationContext,
        settings: dg.ResourceParam[Settings],
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[Store],
        ledger: dg.ResourceParam[Ledger],
        outcomes: dg.ResourceParam[Outcomes],
    ) -> dg.RunRequest | dg.SkipReason:
        answer = monitor_next(settings, lake, store, ledger, context.instance)
        if isinstance(answer, dg.SkipReason):
            outcomes.notify_decay(latest_performance(settings, lake, store))
        return answer

    return [ingest_sensor, retrain_sensor, monitoring_sensor]
