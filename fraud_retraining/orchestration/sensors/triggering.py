"""Sensors that start runs: ingest, monitoring, verdicts that are measured again, and retrains that a trigger requests.

Here: how often they look. Not here: which run starts, and why none does (`next_runs.py`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from fraud_retraining.orchestration.names import (
    INGEST,
    INGEST_SENSOR,
    JUDGE_AGAIN,
    MATURED_VERDICT_SENSOR,
    MONITOR,
    MONITORING_SENSOR,
    RETRAIN,
    RETRAIN_SENSOR,
)
from fraud_retraining.orchestration.runs.outcomes import Outcomes
from fraud_retraining.orchestration.sensors.next_runs import (
    TickResult,
    ingest_next,
    judge_again_next,
    latest_performance,
    latest_served,
    monitor_next,
    retrain_if_due,
)
from fraud_retraining.orchestration.state.sources import Sources
from fraud_retraining.settings import Settings

RETRAIN_CHANNEL = f"sensor {RETRAIN_SENSOR}"
LEAVE_TO_SCHEDULE = timedelta(minutes=2)
"""A retrain that is due by schedule is left to the schedule for so long, so that the two do not request it twice."""


@dataclass(frozen=True)
class NotifyingSources(Sources):
    """The sources, and the notices about what is found in them."""

    outcomes: Outcomes


def build_day_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors that start runs of days, which all models share."""
    return [_ingest_sensor(settings)]


def build_model_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors that start runs of a model."""
    again = [_matured_verdict_sensor(settings)] if settings.judges_fresh else []
    return [_retrain_sensor(settings), _monitoring_sensor(settings), *again]


def _status(settings: Settings) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.STOPPED if settings.starts_stopped else dg.DefaultSensorStatus.RUNNING


def _ingest_sensor(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=INGEST_SENSOR,
        job_name=INGEST,
        minimum_interval_seconds=settings.triggers.poll_seconds,
        default_status=_status(settings),
        description="Ingests days that are missing or have changed, one run at a time: first what a retrain waits for, "
        "then the oldest.",
        required_resource_keys=NotifyingSources.keys(),
    )
    def ingest_sensor(context: dg.SensorEvaluationContext) -> TickResult:
        sources, now = NotifyingSources.of(context), datetime.now(UTC)
        return ingest_next(sources, context.instance, now, sources.outcomes.notify_set_aside)

    return ingest_sensor


def _retrain_sensor(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=RETRAIN_SENSOR,
        job_name=RETRAIN,
        minimum_interval_seconds=settings.paced(settings.triggers.poll_seconds),
        default_status=_status(settings),
        description="Evaluates every trigger, catches up on what the schedule missed, and starts the one retrain that "
        "is requested.",
        required_resource_keys=Sources.keys(),
    )
    def retrain_sensor(context: dg.SensorEvaluationContext) -> TickResult:
        sources, now = Sources.of(context), datetime.now(UTC)
        return retrain_if_due(sources, context.instance, now, grace=LEAVE_TO_SCHEDULE, channel=RETRAIN_CHANNEL)

    return retrain_sensor


def _monitoring_sensor(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=MONITORING_SENSOR,
        job_name=MONITOR,
        minimum_interval_seconds=settings.paced(settings.triggers.poll_seconds),
        default_status=_status(settings),
        description="Scores the days that the champion serves, measures their drift from its training data, and their "
        "performance once their labels are mature, and compares live answers with the batch; notifies when live "
        "performance decays or answers differ without a reason, and when that is over.",
        required_resource_keys=NotifyingSources.keys(),
    )
    def monitoring_sensor(context: dg.SensorEvaluationContext) -> TickResult:
        sources = NotifyingSources.of(context)
        answer = monitor_next(sources, context.instance)
        # Only when nothing is left to monitor: halfway through a range of days the latest performance is not the last.
        if isinstance(answer, dg.SkipReason):
            sources.outcomes.notify_decay(latest_performance(sources))
            sources.outcomes.notify_skew(latest_served(sources))
        return answer

    return monitoring_sensor


def _matured_verdict_sensor(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=MATURED_VERDICT_SENSOR,
        job_name=JUDGE_AGAIN,
        minimum_interval_seconds=settings.paced(settings.triggers.poll_seconds),
        default_status=_status(settings),
        description="Measures the verdict of a release again once the labels of its holdout are mature.",
        required_resource_keys=Sources.keys(),
    )
    def matured_verdict_sensor(context: dg.SensorEvaluationContext) -> TickResult:
        return judge_again_next(Sources.of(context), context.instance)

    return matured_verdict_sensor
