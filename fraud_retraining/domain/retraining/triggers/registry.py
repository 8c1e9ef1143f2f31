"""Registry of the triggers: row, settings and inputs of each.

A trigger has one name: the key of its row, the field of its policy in `TriggerPolicy`, and the word for it in requests,
in the ledger and after `--trigger`. Inputs that only it needs are a class among the bases of `TriggerInputs`.
"""

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from fraud_retraining.domain.retraining.triggers.drift import DriftInputs, DriftTriggerPolicy, drift
from fraud_retraining.domain.retraining.triggers.labels import LabelsInputs, LabelsTriggerPolicy, labels
from fraud_retraining.domain.retraining.triggers.new_data import NewDataInputs, NewDataTriggerPolicy, new_data
from fraud_retraining.domain.retraining.triggers.performance import (
    PerformanceInputs,
    PerformanceTriggerPolicy,
    performance,
)
from fraud_retraining.domain.retraining.triggers.schedule import SchedulePolicy, schedule
from fraud_retraining.domain.retraining.triggers.values import Trigger, TriggerResult
from fraud_retraining.domain.values.base import Policy


class TriggerPolicy(Policy):
    """Which triggers are on, and their thresholds; null turns one off."""

    schedule: SchedulePolicy | None = Field(SchedulePolicy(), description="The grid of as-of days.")
    drift: DriftTriggerPolicy | None = Field(DriftTriggerPolicy(), description="Drift of the features.")
    new_data: NewDataTriggerPolicy | None = Field(None, description="New rows.")
    performance: PerformanceTriggerPolicy | None = Field(
        None, description="Live performance. Its decay warns and alerts also where this is null, by the defaults."
    )
    labels: LabelsTriggerPolicy | None = Field(None, description="Known frauds outside of the alert budget.")
    poll_seconds: int = Field(20, ge=5, le=3600, description="Seconds between two looks of the sensors.")
    when_busy: Literal["skip", "queue"] = Field(
        "skip",
        description="What a retrain does that finds another one running: give up, or wait; a backfill always waits.",
    )
    max_failures: int = Field(2, ge=1, le=20, description="Failures with one cause after which automation pauses.")
    retry_minutes: float = Field(
        10, ge=0, le=24 * 60, description="Least minutes between a failed retrain and the next try on the same input."
    )


class TriggerInputs(DriftInputs, NewDataInputs, PerformanceInputs, LabelsInputs):
    """All inputs of a decision."""


Rule = Callable[[Any, TriggerInputs], TriggerResult]

TRIGGERS: dict[str, Rule] = {
    Trigger.SCHEDULE.value: schedule,
    Trigger.DRIFT.value: drift,
    Trigger.NEW_DATA.value: new_data,
    Trigger.PERFORMANCE.value: performance,
    Trigger.LABELS.value: labels,
}
"""The rule of each trigger: its own policy and the inputs give its result. A decision names them in this order."""


def trigger_results(policy: TriggerPolicy, inputs: TriggerInputs) -> dict[str, TriggerResult]:
    """Return the result of every trigger that is on, by its name."""
    # Without a default: a row without its field is a mistake, and no trigger that is off.
    own = {name: getattr(policy, name) for name in TRIGGERS}
    return {name: rule(own[name], inputs) for name, rule in TRIGGERS.items() if own[name] is not None}


def trigger_names() -> tuple[str, ...]:
    """Return every valid word for the trigger of a retrain: those that the code names, then further triggers."""
    return tuple(dict.fromkeys([*(one.value for one in Trigger), *TRIGGERS]))
