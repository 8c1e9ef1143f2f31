"""What the triggers share: what each of them knows, what it may answer, and what they decide together.

Not here: what only one of them knows (its own module).
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum

from pydantic import Field

from fraud_retraining.domain.values.base import Value


class Trigger(StrEnum):
    """Why a retrain was asked for: by a trigger that other code names, or by a person."""

    SCHEDULE = "schedule"
    NEW_DATA = "new_data"
    DRIFT = "drift"
    PERFORMANCE = "performance"
    MANUAL = "manual"
    BACKFILL = "backfill"


class Running(Value):
    """A retrain that is queued or under way."""

    as_of: date | None
    since: datetime
    by: str


class Failed(Value):
    """A retrain that failed; `inputs` is the digest of everything that it was to be made from."""

    at: datetime
    as_of: date
    cause: str
    inputs: str


class Unfinished(Value):
    """The last retrain, where it ended without an answer for no fault of its own: killed, or without what it needs."""

    as_of: date
    triggers: tuple[str, ...] = Field(min_length=1)
    reason: str = ""
    cause: str
    drift_since: date | None = None


class Paused(Value):
    """Automation that stopped after failures, until its input is another one or somebody resumes it."""

    since: datetime
    cause: str
    inputs: str
    until_resumed: bool = Field(False, description="Whether it waits for a person, whatever the input is.")


class CommonInputs(Value):
    """What every trigger knows. `ready` names as-of days whose window can be built, with their inputs."""

    now: datetime = Field(description="Aware, UTC.")
    grace: timedelta = Field(timedelta(0), description="How long a due retrain is left to somebody else who ticks.")
    ready: Mapping[date, str] = Field(description="As-of day: digest of what its model would be made from.")
    unready: Mapping[date, str] = Field(default_factory=dict, description="As-of day: why it cannot be built yet.")
    pending: frozenset[date] = Field(frozenset(), description="Those of `unready` that only wait for an ingest.")
    last_as_of: date | None = Field(None, description="Latest as-of day that was trained.")
    running: Running | None = None
    failed: tuple[Failed, ...] = Field((), description="Failures since the last success or resume, oldest first.")
    unfinished: Unfinished | None = None
    paused: Paused | None = None


class Retrain(Value):
    """A retrain is asked for."""

    as_of: date
    triggers: tuple[str, ...] = Field(min_length=1)
    reason: str
    inputs: str
    drift_since: date | None = None
    resumes: bool = Field(False, description="Whether automation was paused and goes on because the input is new.")


class Skip(Value):
    """Nothing is asked for, and why."""

    reason: str


class Pause(Value):
    """The same input failed too often with the same cause: automation stops until something changes."""

    as_of: date
    cause: str
    inputs: str
    reason: str


Decision = Retrain | Skip | Pause


class Fired(Value):
    """What a trigger answers that asks for a retrain; one that does not answers in words why."""

    as_of: date
    reason: str
    drift_since: date | None = None


TriggerResult = Fired | str


def latest_ready(known: CommonInputs) -> date | str:
    """The latest as-of day that is ready and was not trained yet, or why there is none."""
    newer = [day for day in known.ready if known.last_as_of is None or day > known.last_as_of]
    if newer:
        return max(newer)
    return f"no day after the last as-of day, {known.last_as_of}, is ready" if known.last_as_of else "no day is ready"
