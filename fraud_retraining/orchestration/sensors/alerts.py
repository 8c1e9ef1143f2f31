"""The sensors that see to it that people are told: of runs that could not tell it themselves, and of all else.

Here: how often they look, and what they do with what they find. Not here: what a failure means and what is told of it
(`orchestration/runs/outcomes.py`).
"""

from datetime import UTC, datetime

import dagster as dg

from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.orchestration.names import DEAD_RUNS_SENSOR, FAILED_RUNS_SENSOR, NOTICES_SENSOR
from fraud_retraining.orchestration.runs.failed_runs import (
    close_abandoned,
    fail_dead,
    looked_until,
    notify_unreported,
)
from fraud_retraining.orchestration.runs.outcomes import Outcomes
from fraud_retraining.services.delivery import Notifier, drain
from fraud_retraining.settings import Settings

DRAIN_SECONDS = 25


def build_alert_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors of this module."""
    status = dg.DefaultSensorStatus.STOPPED if settings.starts_stopped else dg.DefaultSensorStatus.RUNNING

    @dg.sensor(
        name=DEAD_RUNS_SENSOR,
        minimum_interval_seconds=15,
        default_status=status,
        description="Fails runs whose process is gone: killed, or out of memory. Dagster's default launcher does not. "
        "Ends what they left open in MLflow.",
    )
    def dead_runs_sensor(
        context: dg.SensorEvaluationContext,
        outcomes: dg.ResourceParam[Outcomes],
        registry: dg.ResourceParam[Registry],
    ) -> dg.SkipReason:
        told = fail_dead(context.instance, outcomes)
        return dg.SkipReason("; ".join(filter(None, [told, close_abandoned(context.instance, registry)])))

    @dg.sensor(
        name=FAILED_RUNS_SENSOR,
        minimum_interval_seconds=30,
        default_status=status,
        description="Records and tells of failed runs that could not do it themselves.",
    )
    def failed_runs_sensor(context: dg.SensorEvaluationContext, outcomes: dg.ResourceParam[Outcomes]) -> dg.SkipReason:
        now = datetime.now(UTC)
        since = looked_until(context.cursor, now)
        found = notify_unreported(context.instance, outcomes, since)
        context.update_cursor(now.isoformat())
        return dg.SkipReason(f"told of {', '.join(found)}" if found else "every failed run has told of itself")

    @dg.sensor(
        name=NOTICES_SENSOR,
        minimum_interval_seconds=15,
        default_status=status,
        description="Sends what people are to be told to where the settings say, or to the file of alerts.",
    )
    def notices_sensor(
        context: dg.SensorEvaluationContext,
        settings: dg.ResourceParam[Settings],
        outcomes: dg.ResourceParam[Outcomes],
        outbox: dg.ResourceParam[Outbox],
        notifier: dg.ResourceParam[Notifier],
    ) -> dg.SkipReason:
        outcomes.notify_pause()
        return dg.SkipReason(drain(outbox, notifier, settings.alerts, seconds=DRAIN_SECONDS).summary())

    return [dead_runs_sensor, failed_runs_sensor, notices_sensor]
