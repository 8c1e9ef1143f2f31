"""When a retrain is asked for, and when it is not.

Here: the four triggers with their policies, the 48-hour grid, and the one decision that they make together: from what
is known to a retrain with its reasons, a skip with its reason, or a pause. Not here: finding out what is known
(`orchestration/state/trigger_inputs.py`) and Dagster's schedules and sensors.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from fraud_retraining.domain.alerts.failures import Category
from fraud_retraining.domain.values.base import Policy, Value

MOST_WAITED_FOR = 3
"""Due as-of days up to which a later one that is being ingested is waited for, so that downtime ends in one retrain.

With more, days arrive faster than they are ingested, and who waits for the last of them waits for ever.
"""
INTEGRITY = str(Category.INTEGRITY)
"""After failures of this category automation waits for a person."""


class Trigger(StrEnum):
    """Why a retrain was asked for."""

    SCHEDULE = "schedule"
    NEW_DATA = "new_data"
    DRIFT = "drift"
    PERFORMANCE = "performance"
    MANUAL = "manual"
    BACKFILL = "backfill"


class SchedulePolicy(Policy):
    """A retrain every so many hours after the last as-of day."""

    every_hours: int = Field(48, ge=24, le=24 * 60, multiple_of=24, description="Hours between as-of days; whole days.")
    at_hour_utc: int = Field(2, ge=0, le=23, description="Hour of the day, UTC, at which the retrain is due.")


class DriftTriggerPolicy(Policy):
    """A retrain when m of the last n days drifted."""

    threshold: float = Field(0.2, gt=0, description="Population stability index above which a day counts as drifted.")
    days: tuple[int, int] = Field((2, 3), description="m of the last n days must have drifted.")
    cooldown_days: int = Field(4, ge=1, le=365, description="Least days between two retrains that drift asks for.")

    @model_validator(mode="after")
    def _m_of_n(self) -> Self:
        m, n = self.days
        if not 1 <= m <= n:
            raise ValueError(f"days [{m}, {n}] does not mean m of n with 1 <= m <= n")
        return self


class NewDataTriggerPolicy(Policy):
    """A retrain after so many new accepted rows."""

    rows: int = Field(ge=1, description="Accepted rows since the last training.")


class PerformanceTriggerPolicy(Policy):
    """A retrain when the performance of the service on matured days falls, whoever was champion on them."""

    min_average_precision: float | None = Field(
        None, ge=0, le=1, description="Average precision on matured days below which to retrain; null sets no floor."
    )
    below_holdout: bool = Field(
        True, description="Whether to retrain when it is below the holdouts of who served by more than the noise."
    )
    cooldown_days: int = Field(4, ge=1, le=365, description="Least days between two retrains that it asks for.")

    def told(self, promised: float | None) -> str:
        """The rule in words, for those who read a value beside it."""
        floor = None if self.min_average_precision is None else f"at least {self.min_average_precision:g}"
        holdout = None
        if self.below_holdout and promised is not None:
            holdout = f"an interval that reaches {promised:.3f}"
        return ", and ".join(filter(None, (floor, holdout))) or "none"


class TriggerPolicy(Policy):
    """Which triggers are on, and their thresholds; null turns one off."""

    schedule: SchedulePolicy | None = Field(SchedulePolicy(), description="The grid of as-of days.")
    drift: DriftTriggerPolicy | None = Field(DriftTriggerPolicy(), description="Drift of the features.")
    new_data: NewDataTriggerPolicy | None = Field(None, description="New rows.")
    performance: PerformanceTriggerPolicy | None = Field(
        None, description="Live performance. Its decay warns and alerts also where this is null, by the defaults."
    )
    poll_seconds: int = Field(20, ge=5, le=3600, description="Seconds between two looks of the sensors.")
    when_busy: Literal["skip", "queue"] = Field(
        "skip",
        description="What a retrain does that finds another one running: give up, or wait; a backfill always waits.",
    )
    max_failures: int = Field(2, ge=1, le=20, description="Failures with one cause after which automation pauses.")
    retry_minutes: float = Field(
        10, ge=0, le=24 * 60, description="Least minutes between a failed retrain and the next try on the same input."
    )


class DriftDay(Value):
    """How far a day is from what the champion has learnt from."""

    day: date
    value: float = Field(description="Drift that features which carry enough of the model reach.")
    worst: tuple[str, ...] = Field((), description="Features over the threshold, the most important first.")


class DriftRetrain(Value):
    """The last retrain that drift asked for and that came to an answer."""

    as_of: date = Field(description="As-of day of the retrain that answered it: the one asked for, or a later one.")
    since: date = Field(description="First drifted day of the run of days that asked for it.")


class LivePerformance(Value):
    """Average precision of the service on matured days, whoever was champion, beside what its versions promised."""

    first: date
    last: date
    value: float
    low: float = Field(0.0, description="Lower end of the interval.")
    high: float = Field(description="Upper end of the interval.")
    holdout_value: float | None = Field(None, description="What the versions that served reached on their holdouts.")
    holdout_low: float | None = Field(None, description="Lower end of the interval on their holdouts.")
    compared: str = Field("", description="Days, rows, frauds and versions that the numbers are of, in words.")

    def told(self, why: str | None) -> str:
        """The value with its interval, what it is of, what was promised, and why it is too low, if it is."""
        value = f"average precision {self.value:.3f} ({self.low:.3f} to {self.high:.3f}) on {self.first} to {self.last}"
        of = f" ({self.compared})" if self.compared else ""
        promised = "nothing is known that was promised"
        if self.holdout_value is not None:
            promised = f"promised {self.holdout_value:.3f} (at least {self.holdout_low:.3f})"
        return f"{value}{of}; {promised}" + (f": it is {why}" if why else "")


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
    triggers: tuple[Trigger, ...] = Field(min_length=1)
    reason: str = ""
    cause: str
    drift_since: date | None = None


class Paused(Value):
    """Automation that stopped after failures, until its input is another one or somebody resumes it."""

    since: datetime
    cause: str
    inputs: str
    until_resumed: bool = Field(False, description="Whether it waits for a person, whatever the input is.")


class TriggerInputs(Value):
    """Everything that a decision rests on. `ready` names as-of days whose window can be built, with their inputs."""

    now: datetime = Field(description="Aware, UTC.")
    grace: timedelta = Field(timedelta(0), description="How long a due retrain is left to somebody else who ticks.")
    ready: Mapping[date, str] = Field(description="As-of day: digest of what its model would be made from.")
    unready: Mapping[date, str] = Field(default_factory=dict, description="As-of day: why it cannot be built yet.")
    pending: frozenset[date] = Field(frozenset(), description="Those of `unready` that only wait for an ingest.")
    last_as_of: date | None = Field(None, description="Latest as-of day that was trained.")
    new_rows: int = Field(0, description="Accepted rows of days after the last as-of day.")
    drift: tuple[DriftDay, ...] = Field((), description="Reports against the present champion, oldest first.")
    last_drift: DriftRetrain | None = None
    performance: LivePerformance | None = None
    last_performance: date | None = Field(
        None, description="As-of day of the last retrain that answered what performance asked for."
    )
    learns_after_days: int = Field(14, description="Label delay and holdout: days until a day enters the window.")
    running: Running | None = None
    failed: tuple[Failed, ...] = Field((), description="Failures since the last success or resume, oldest first.")
    unfinished: Unfinished | None = None
    paused: Paused | None = None


class Retrain(Value):
    """A retrain is asked for."""

    as_of: date
    triggers: tuple[Trigger, ...] = Field(min_length=1)
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
    """One trigger that asks for a retrain."""

    trigger: Trigger
    as_of: date
    reason: str
    drift_since: date | None = None


def decide(policy: TriggerPolicy, known: TriggerInputs) -> Decision:
    """What to do now. Triggers that fire together make one retrain, as of the latest day that any of them asks for.

    A retrain that ended without an answer comes first, as of its own day: a new day that arrives meanwhile does not
    move its window, unless the next one of the grid is due.
    """
    answers = list(_answers(policy, known))
    fired = [answer for answer in answers if isinstance(answer, Fired)]
    wanted = _again(policy, known, fired)
    if isinstance(wanted, Skip):
        return wanted
    if wanted is None and not fired:
        return Skip(reason="; ".join(str(answer) for answer in answers) or "every trigger is off")
    wanted = wanted or _together(fired, known)
    if known.running is not None:
        return Skip(reason=f"{_running(known.running)}; kept until it has ended: {wanted.reason}")
    return _after_failures(policy, known, wanted)


def _again(policy: TriggerPolicy, known: TriggerInputs, fired: Sequence[Fired]) -> Retrain | Skip | None:
    """The unfinished retrain, or that it waits for an ingest; None where there is none or it has had its tries."""
    one = known.unfinished
    if one is None or (known.last_as_of is not None and one.as_of <= known.last_as_of):
        return None
    if known.last_as_of is not None and any(a.trigger is Trigger.SCHEDULE and a.as_of > one.as_of for a in fired):
        return None
    told = f"again as of {one.as_of}, as the last try ended with {one.cause}"
    if one.as_of in known.pending:
        return Skip(reason=f"{told}; but {known.unready[one.as_of]}")
    inputs = known.ready.get(one.as_of)
    if inputs is None or _tries(known, inputs)[1] >= policy.max_failures:
        return None
    reason = f"{told}: {one.reason}" if one.reason else told
    return Retrain(as_of=one.as_of, triggers=one.triggers, reason=reason, inputs=inputs, drift_since=one.drift_since)


AGAIN = re.compile(r"^again as of \S+, as the last try ended with \w+(: )?")
BEGUN_AGAIN = frozenset(
    {Category.WORKER_DIED, Category.OUT_OF_RESOURCES, Category.DEPENDENCY, Category.UNEXPECTED, Category.INTERRUPTED}
)


def begins_again(category: str, triggers: Sequence[Trigger]) -> bool:
    """Whether a retrain that failed so is begun again as it was. What a person asked for and interrupted is not."""
    by_hand = set(triggers) <= {Trigger.MANUAL, Trigger.BACKFILL}
    return category in BEGUN_AGAIN and not (by_hand and category == Category.INTERRUPTED)


def first_reason(reason: str) -> str:
    """The reason of the first try, from that of a later one."""
    return AGAIN.sub("", reason)


def _tries(known: TriggerInputs, inputs: str) -> tuple[str, int]:
    """The most frequent cause of failures on an input, and how often it was."""
    causes = Counter(failure.cause for failure in known.failed if failure.inputs == inputs)
    return causes.most_common(1)[0] if causes else ("", 0)


def due_at(policy: SchedulePolicy, as_of: date) -> datetime:
    """When the retrain of an as-of day is due: at the hour of the next day, UTC."""
    return datetime.combine(as_of + timedelta(days=1), time(hour=policy.at_hour_utc), UTC)


def next_due(policy: SchedulePolicy, last_as_of: date | None, latest: date) -> tuple[date, datetime]:
    """The next as-of day of the grid and when it is due.

    The grid is counted from the last as-of day in whole intervals, so that no month end shortens or doubles one; with
    no model yet the latest day is due.
    """
    as_of = latest if last_as_of is None else last_as_of + timedelta(hours=policy.every_hours)
    return as_of, due_at(policy, as_of)


def grid(policy: SchedulePolicy, last_as_of: date, now: datetime) -> list[date]:
    """As-of days after the last one that are due by now, oldest first."""
    days, step = [], timedelta(hours=policy.every_hours)
    as_of = last_as_of + step
    while due_at(policy, as_of) <= now:
        days.append(as_of)
        as_of += step
    return days


def worth_asking(policy: TriggerPolicy, last_as_of: date | None, latest: date, now: datetime) -> list[date]:
    """As-of days about which a decision may want to know whether they are ready: the latest day, and the due ones."""
    due = grid(policy.schedule, last_as_of, now) if policy.schedule and last_as_of else []
    recent = [day for day in due if day <= latest][-2:]
    return sorted({*recent, *due[:1], latest})


def _answers(policy: TriggerPolicy, known: TriggerInputs) -> Iterator[Fired | str]:
    if policy.schedule is not None:
        yield _schedule(policy.schedule, known)
    if policy.drift is not None:
        yield _drift(policy.drift, known)
    if policy.new_data is not None:
        yield _new_data(policy.new_data, known)
    if policy.performance is not None:
        yield _performance(policy.performance, known)


def _schedule(policy: SchedulePolicy, known: TriggerInputs) -> Fired | str:
    if known.last_as_of is None:
        return _first(known)
    due = grid(policy, known.last_as_of, known.now - known.grace)
    if not due:
        as_of, at = next_due(policy, known.last_as_of, known.last_as_of)
        return f"schedule: the next retrain, as of {as_of}, is due {at:%Y-%m-%d %H:%M} UTC"
    ready = [day for day in due if day in known.ready]
    coming = [day for day in due if day in known.pending and day > max(ready, default=due[0])]
    arrived = [day for day in due if day <= max([*known.ready, *known.unready], default=day)]
    if coming and not (ready and len(arrived) > MOST_WAITED_FOR):
        return f"schedule: a retrain as of {coming[-1]} is due, but {known.unready[coming[-1]]}"
    if not ready:
        return f"schedule: a retrain as of {due[0]} is due, but {known.unready.get(due[0], 'it has not arrived')}"
    hours = (ready[-1] - known.last_as_of) // timedelta(hours=1)
    return Fired(
        trigger=Trigger.SCHEDULE,
        as_of=ready[-1],
        reason=f"schedule: {hours} hours since the last as-of day, {known.last_as_of}",
    )


def _first(known: TriggerInputs) -> Fired | str:
    if known.ready:
        return Fired(trigger=Trigger.SCHEDULE, as_of=max(known.ready), reason="schedule: no model has been trained yet")
    why = known.unready[max(known.unready)] if known.unready else "no day has arrived"
    return f"schedule: no model has been trained yet, and {why}"


def _latest(known: TriggerInputs) -> date | str:
    """The latest as-of day that is ready and was not trained yet, or why there is none."""
    newer = [day for day in known.ready if known.last_as_of is None or day > known.last_as_of]
    if newer:
        return max(newer)
    return f"no day after the last as-of day, {known.last_as_of}, is ready" if known.last_as_of else "no day is ready"


def _drift(policy: DriftTriggerPolicy, known: TriggerInputs) -> Fired | str:
    needed, looked_at = policy.days
    recent = known.drift[-looked_at:]
    over = [day for day in recent if day.value > policy.threshold]
    if not recent:
        return "drift: no day has been compared with the champion's training window yet"
    if len(over) < needed or recent[-1] not in over:
        return (
            f"drift: {len(over)} of the last {len(recent)} days to {recent[-1].day} over {policy.threshold:g} "
            f"({needed} of {looked_at}, the latest among them, are needed); greatest {max(d.value for d in recent):.2f}"
        )
    as_of = _latest(known)
    if isinstance(as_of, str):
        return f"drift: since {_since(policy, known.drift)}, but {as_of}"
    return _drift_again(policy, known, as_of, over)


def _drift_again(
    policy: DriftTriggerPolicy, known: TriggerInputs, as_of: date, over: Sequence[DriftDay]
) -> Fired | str:
    """Fires unless the same drift was answered already by a retrain that could not know its labels yet."""
    since = _since(policy, known.drift)
    helps = since + timedelta(days=known.learns_after_days)
    told = f"days since {since} are in the training window from as-of day {helps} on"
    last = known.last_drift
    if last is not None and last.as_of >= since and as_of < helps:
        return f"drift: since {since}, answered by the retrain as of {last.as_of}; {told}, before that none can help"
    if last is not None and (as_of - last.as_of).days < policy.cooldown_days:
        return f"drift: cooling down for {policy.cooldown_days} days since the retrain as of {last.as_of}"
    worst = ", ".join(over[-1].worst[:3]) or "the scores"
    later = "" if as_of >= helps else f"; {told}: expect the full effect then"
    return Fired(
        trigger=Trigger.DRIFT,
        as_of=as_of,
        drift_since=since,
        reason=f"drift: {len(over)} of the last {policy.days[1]} days over {policy.threshold:g}, "
        f"{over[-1].day} at {over[-1].value:.2f} ({worst}){later}",
    )


def _since(policy: DriftTriggerPolicy, history: Sequence[DriftDay]) -> date:
    """First drifted day of the present run of them; as many calm days as could still fire do not end a run."""
    needed, looked_at = policy.days
    over = [day.day for day in history if day.value > policy.threshold]
    since = over[-1]
    for day in reversed(over):
        if (since - day).days > looked_at - needed + 1:
            break
        since = day
    return since


def _new_data(policy: NewDataTriggerPolicy, known: TriggerInputs) -> Fired | str:
    if known.new_rows < policy.rows:
        return f"new data: {known.new_rows:,} of {policy.rows:,} rows since the last training"
    as_of = _latest(known)
    if isinstance(as_of, str):
        return f"new data: {known.new_rows:,} rows, but {as_of}"
    reason = f"new data: {known.new_rows:,} rows since the last training, {policy.rows:,} are enough"
    return Fired(trigger=Trigger.NEW_DATA, as_of=as_of, reason=reason)


def _performance(policy: PerformanceTriggerPolicy, known: TriggerInputs) -> Fired | str:
    live = known.performance
    if live is None:
        return "performance: no matured day has been judged yet"
    told = f"performance: average precision {live.value:.3f} on {live.first} to {live.last}"
    why = decay(policy, live)
    if why is None:
        return f"{told} is high enough"
    as_of = _latest(known)
    if isinstance(as_of, str):
        return f"{told} is {why}, but {as_of}"
    if known.last_performance is not None and (as_of - known.last_performance).days < policy.cooldown_days:
        return f"{told} is {why}; cooling down since the retrain as of {known.last_performance}"
    return Fired(trigger=Trigger.PERFORMANCE, as_of=as_of, reason=f"{told} is {why}")


def decay(policy: PerformanceTriggerPolicy, live: LivePerformance) -> str | None:
    """Why live performance is too low, in words that complete "it is ..."; None while it is not."""
    floor = policy.min_average_precision
    if floor is not None and live.value < floor:
        return f"under the floor of {floor:.3f}"
    if policy.below_holdout and live.holdout_low is not None and live.high < live.holdout_low:
        return (
            f"under the {live.holdout_low:.3f} that the holdouts of who served let expect, by more than the noise of "
            "both"
        )
    return None


def _together(fired: Sequence[Fired], known: TriggerInputs) -> Retrain:
    as_of = max(answer.as_of for answer in fired)
    return Retrain(
        as_of=as_of,
        triggers=tuple(answer.trigger for answer in fired),
        reason="; ".join(answer.reason for answer in fired),
        inputs=known.ready[as_of],
        drift_since=next((answer.drift_since for answer in fired if answer.drift_since), None),
    )


def _running(running: Running) -> str:
    what = f"a retrain as of {running.as_of}" if running.as_of else "a retrain"
    return f"{what} is under way since {running.since:%Y-%m-%d %H:%M} UTC ({running.by})"


def _is_integrity(cause: str) -> bool:
    """Whether a failure was about what is stored: no re-run cures it, and other input hides it."""
    return cause.partition(":")[0] == INTEGRITY


def _after_failures(policy: TriggerPolicy, known: TriggerInputs, wanted: Retrain) -> Decision:
    paused = known.paused
    if paused is not None and (paused.until_resumed or _is_integrity(paused.cause)):
        return Skip(
            reason=f"automation is stopped since {paused.since:%Y-%m-%d %H:%M} UTC: {paused.cause}; "
            f"`fraud-retraining resume` lets it go on. Kept: {wanted.reason}"
        )
    if known.paused is not None and known.paused.inputs == wanted.inputs:
        return Skip(
            reason=f"automation is paused since {known.paused.since:%Y-%m-%d %H:%M} UTC after {known.paused.cause}; it "
            f"goes on with new input or `fraud-retraining resume`. Kept: {wanted.reason}"
        )
    if known.failed and _is_integrity(last := known.failed[-1].cause):
        reason = f"the last retrain found stored bytes that are not what was recorded ({last}): a person has to look"
        return Pause(as_of=wanted.as_of, cause=last, inputs=wanted.inputs, reason=reason)
    alike = [failure for failure in known.failed if failure.inputs == wanted.inputs]
    cause, times = _tries(known, wanted.inputs)
    if times >= policy.max_failures:
        reason = (
            f"the retrain as of {wanted.as_of} failed {times} times with the same cause ({cause}) on the same input"
        )
        return Pause(as_of=wanted.as_of, cause=cause, inputs=wanted.inputs, reason=reason)
    if alike and known.now < (again := alike[-1].at + timedelta(minutes=policy.retry_minutes)):
        return Skip(reason=f"the last try failed ({alike[-1].cause}); the next one is at {again:%H:%M} UTC")
    return wanted.model_copy(update={"resumes": known.paused is not None})
