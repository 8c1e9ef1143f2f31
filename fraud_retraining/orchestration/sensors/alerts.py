"""Sensors of alerts: dead runs, failed runs without a record, and the delivery of notices.

Here: how often they look. Not here: finding and recording such runs (`orchestration/runs/failed_runs.py`).
"""

from datetime import UTC, datetime

import dagster as dg

from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.orchestration.names import DEAD_RUNS_SENSOR, FAILED_RUNS_SENSOR, NOTICES_SENSOR
from fraud_retraining.orchestration.runs.failed_runs import (
    close_abandoned,
    fail_dead,
    fail_unheard,
    fence_ended,
    looked_until,
    notify_unreported,
)
from fraud_retraining.orchestration.runs.outcomes import Outcomes
from fraud_retraining.services.delivery import Notifier, drain
from fraud_retraining.settings import Settings

# Well below the minute for which a message is claimed.
DRAIN_SECONDS = 25


def build_alert_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors of this module."""
    status = dg.DefaultSensorStatus.STOPPED if settings.starts_stopped else dg.DefaultSensorStatus.RUNNING

    @dg.sensor(
        name=DEAD_RUNS_SENSOR,
        minimum_interval_seconds=settings.paced(15),
        default_status=status,
        description="Fails runs whose process is gone: killed, or out of memory. Dagster's default launcher does not. "
        "So does it with a retrain that cannot be seen and let its lease expire. "
        "Takes the lease from retrains that Dagster failed from outside, and ends what is left open in MLflow.",
    )
    def dead_runs_sensor(
        context: dg.SensorEvaluationContext,
        outcomes: dg.ResourceParam[Outcomes],
        registry: dg.ResourceParam[Registry],
        ledger: dg.ResourceParam[Ledger],
    ) -> dg.SkipReason:
        failed = fail_dead(context.instance, outcomes)
        unheard = fail_unheard(context.instance, outcomes, ledger, settings.budget, ledger.now())
        fenced = fence_ended(context.instance, ledger, settings.budget, datetime.now(UTC))
        return dg.SkipReason(
            "; ".join(filter(None, [failed, unheard, fenced, close_abandoned(context.instance, registry)]))
        )

    @dg.sensor(
        name=FAILED_RUNS_SENSOR,
        minimum_interval_seconds=settings.paced(30),
        default_status=status,
        description="Records failed runs that could not record themselves, and notifies of them.",
    )
    def failed_runs_sensor(context: dg.SensorEvaluationContext, outcomes: dg.ResourceParam[Outcomes]) -> dg.SkipReason:
        now = datetime.now(UTC)
        since = looked_until(context.cursor, now)
        found = notify_unreported(context.instance, outcomes, since)
        # The time before the search, less an overlap: a run that failed during it is found by the next tick.
        context.update_cursor(now.isoformat())
        return dg.SkipReason(f"recorded {', '.join(found)}" if found else "every failed run is recorded")

    @dg.sensor(
        name=NOTICES_SENSOR,
        minimum_interval_seconds=settings.paced(15),
        default_status=status,
        description="Sends notices to the destinations of the settings, or to the file of alerts.",
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
