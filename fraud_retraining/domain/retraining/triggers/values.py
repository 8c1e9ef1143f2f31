"""Values that the triggers share: common inputs, results and decisions.

Not here: inputs of only one trigger (its own module).
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum

from pydantic import Field

from fraud_retraining.domain.values.base import Value


class Trigger(StrEnum):
    """Why a retrain was requested: by a trigger that other code names, or by a person."""

    SCHEDULE = "schedule"
    NEW_DATA = "new_data"
    DRIFT = "drift"
    PERFORMANCE = "performance"
    LABELS = "labels"
    MANUAL = "manual"
    BACKFILL = "backfill"


class Running(Value):
    """A retrain that is queued or under way."""

    as_of: date | None
    since: datetime
    by: str


class Failed(Value):
    """A retrain that failed; `inputs` is the digest of everything that its model would be made from."""

    at: datetime
    as_of: date
    cause: str
    inputs: str


class Unfinished(Value):
    """The last retrain, if an external cause ended it without a result: killed, or a dependency was missing."""

    as_of: date
    triggers: tuple[str, ...] = Field(min_length=1)
    reason: str = ""
    cause: str
    drift_since: date | None = None


class Paused(Value):
    """Automation that stopped after failures, until its inputs change or a person resumes it."""

    since: datetime
    cause: str
    inputs: str
    until_resumed: bool = Field(False, description="Whether it waits for a person, also with new inputs.")


class CommonInputs(Value):
    """Inputs of every trigger. `ready` names as-of days whose window can be built, with the digest of their inputs."""

    now: datetime = Field(description="Aware, UTC.")
    grace: timedelta = Field(timedelta(0), description="Time that a due retrain is left to another scheduler.")
    ready: Mapping[date, str] = Field(description="As-of day: digest of what its model would be made from.")
    unready: Mapping[date, str] = Field(default_factory=dict, description="As-of day: why it cannot be built yet.")
    pending: frozenset[date] = Field(frozenset(), description="Those of `unready` that only wait for an ingest.")
    unlabelled: frozenset[date] = Field(
        frozenset(), description="Those of `ready` whose labels have not arrived and are no longer waited for."
    )
    last_as_of: date | None = Field(None, description="Latest as-of day that was trained.")
    learns_after_days: int = Field(14, description="Days from a day until it enters the training window.")
    running: Running | None = None
    failed: tuple[Failed, ...] = Field((), description="Failures since the last success or resume, oldest first.")
    unfinished: Unfinished | None = None
    paused: Paused | None = None


class Retrain(Value):
    """Decision: a retrain is requested."""

    as_of: date
    triggers: tuple[str, ...] = Field(min_length=1)
    reason: str
    inputs: str
    drift_since: date | None = None
    resumes: bool = Field(False, description="Whether automation was paused and goes on because the input is new.")


class Skip(Value):
    """Decision: no retrain, with the reason."""

    reason: str


class Pause(Value):
    """Decision: the same inputs failed too often with the same cause; automation stops until something changes."""

    as_of: date
    cause: str
    inputs: str
    reason: str


Decision = Retrain | Skip | Pause


class Fired(Value):
    """Result of a trigger that requests a retrain. One that does not returns the reason in words."""

    as_of: date
    reason: str
    drift_since: date | None = None


TriggerResult = Fired | str


def latest_ready(inputs: CommonInputs) -> date | str:
    """Return the latest as-of day that is ready and not trained yet, or the reason why there is none."""
    newer = [day for day in inputs.ready if inputs.last_as_of is None or day > inputs.last_as_of]
    if newer:
        return max(newer)
    none = f"no day after the last as-of day, {inputs.last_as_of}, is ready" if inputs.last_as_of else "no day is ready"
    why = why_unready(inputs)
    return f"{none}: {why}" if why else none


def why_unready(inputs: CommonInputs) -> str | None:
    """Return why the newest as-of day that is not trained yet is not ready; None where none is known.

    A day that only waits for an ingest comes first: it will be ready next.
    """
    newer = [day for day in inputs.unready if inputs.last_as_of is None or day > inputs.last_as_of]
    pending = [day for day in newer if day in inputs.pending]
    return inputs.unready[max(pending or newer)] if newer else None
