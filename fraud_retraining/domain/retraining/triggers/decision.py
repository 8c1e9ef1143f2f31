"""One decision from the results of all triggers: a retrain with its reasons, a skip with its reason, or a pause.

Here: triggers that fire together, an unfinished retrain, and the effect of a running retrain, failures and pauses. Not
here: the result of each trigger (its own module).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from fraud_retraining.domain.alerts.failures import Category
from fraud_retraining.domain.retraining.triggers.registry import TriggerInputs, TriggerPolicy, trigger_results
from fraud_retraining.domain.retraining.triggers.schedule import grid
from fraud_retraining.domain.retraining.triggers.values import (
    Decision,
    Fired,
    Pause,
    Retrain,
    Running,
    Skip,
    Trigger,
)

INTEGRITY = str(Category.INTEGRITY)
"""After failures of this category automation waits for a person."""


def decide(policy: TriggerPolicy, inputs: TriggerInputs) -> Decision:
    """Return what to do now. Triggers that fire together make one retrain, as of the latest day that any requests.

    A retrain that ended without a result comes first, as of its own day: a new day that arrives meanwhile does not
    move its window, unless the next one of the grid is due.
    """
    given = trigger_results(policy, inputs)
    fired = {name: answer for name, answer in given.items() if isinstance(answer, Fired)}
    wanted = _again(policy, inputs, fired)
    if isinstance(wanted, Skip):
        return wanted
    if wanted is None and not fired:
        return Skip(reason="; ".join(str(answer) for answer in given.values()) or "every trigger is off")
    wanted = wanted or _together(fired, inputs)
    # After the triggers: the skip then says what is kept for when the running one has ended.
    if inputs.running is not None:
        return Skip(reason=f"{_running(inputs.running)}; kept until it has ended: {wanted.reason}")
    return _after_failures(policy, inputs, wanted)


def _again(policy: TriggerPolicy, inputs: TriggerInputs, fired: Mapping[str, Fired]) -> Retrain | Skip | None:
    """The unfinished retrain, or a skip while it waits for an ingest; None without one, or after its last attempt."""
    one = inputs.unfinished
    if one is None or (inputs.last_as_of is not None and one.as_of <= inputs.last_as_of):
        return None
    due = fired.get(Trigger.SCHEDULE)
    if inputs.last_as_of is not None and due is not None and due.as_of > one.as_of:
        return None
    reason = f"again as of {one.as_of}, as the last try ended with {one.cause}"
    if one.as_of in inputs.pending:
        return Skip(reason=f"{reason}; but {inputs.unready[one.as_of]}")
    digest = inputs.ready.get(one.as_of)
    if digest is None or _tries(inputs, digest)[1] >= policy.max_failures:
        return None
    reason = f"{reason}: {one.reason}" if one.reason else reason
    return Retrain(
        as_of=one.as_of,
        triggers=one.triggers,
        reason=_with_missing_labels(reason, one.as_of, inputs),
        inputs=digest,
        drift_since=one.drift_since,
    )


AGAIN = re.compile(r"^again as of \S+, as the last try ended with \w+(: )?")
UNLABELLED = "; without the labels of {day}, which have not arrived"
WITHOUT_LABELS = re.compile(UNLABELLED.format(day=r"\S+") + "$")
BEGUN_AGAIN = frozenset(
    {Category.WORKER_DIED, Category.OUT_OF_RESOURCES, Category.DEPENDENCY, Category.UNEXPECTED, Category.INTERRUPTED}
)


def begins_again(category: str, triggers: Sequence[str]) -> bool:
    """Whether a retrain with this failure is started again unchanged; not if a person requested and interrupted it."""
    by_hand = set(triggers) <= {Trigger.MANUAL, Trigger.BACKFILL}
    return category in BEGUN_AGAIN and not (by_hand and category == Category.INTERRUPTED)


def first_reason(reason: str) -> str:
    """Return the reason of the first attempt, from that of a later one.

    Examples:
        >>> first_reason("again as of 2026-03-01, as the last try ended with dependency: schedule: it is due")
        'schedule: it is due'
    """
    # Labels may have arrived since the first attempt.
    return WITHOUT_LABELS.sub("", AGAIN.sub("", reason))


def _with_missing_labels(reason: str, as_of: date, inputs: TriggerInputs) -> str:
    return reason + UNLABELLED.format(day=as_of) if as_of in inputs.unlabelled else reason


def _tries(inputs: TriggerInputs, digest: str) -> tuple[str, int]:
    """The most frequent cause of failures on these inputs, and its number."""
    causes = Counter(failure.cause for failure in inputs.failed if failure.inputs == digest)
    return causes.most_common(1)[0] if causes else ("", 0)


def days_to_check(
    policy: TriggerPolicy, last_as_of: date | None, latest: date, now: datetime, settled: date | None = None
) -> list[date]:
    """Return the as-of days whose readiness a decision may need: the latest day, and the due ones.

    `settled` is the last day whose labels are not waited for, where later days wait: it is among them, and the last due
    day up to it, so that a wait holds back the newest days only.
    """
    due = grid(policy.schedule, last_as_of, now) if policy.schedule and last_as_of else []
    recent = [day for day in due if day <= latest][-2:]
    wanted = {*recent, *due[:1], latest}
    if settled is not None and (last_as_of is None or settled > last_as_of):
        wanted |= {settled, *[day for day in due if day <= settled][-1:]}
    return sorted(wanted)


def _together(fired: Mapping[str, Fired], inputs: TriggerInputs) -> Retrain:
    as_of = max(answer.as_of for answer in fired.values())
    return Retrain(
        as_of=as_of,
        triggers=tuple(fired),
        reason=_with_missing_labels("; ".join(answer.reason for answer in fired.values()), as_of, inputs),
        inputs=inputs.ready[as_of],
        drift_since=next((answer.drift_since for answer in fired.values() if answer.drift_since), None),
    )


def _running(running: Running) -> str:
    what = f"a retrain as of {running.as_of}" if running.as_of else "a retrain"
    return f"{what} is under way since {running.since:%Y-%m-%d %H:%M} UTC ({running.by})"


def _is_integrity(cause: str) -> bool:
    """Whether a failure was about stored bytes: no re-run repairs it, and other input would hide it."""
    return cause.partition(":")[0] == INTEGRITY


def _after_failures(policy: TriggerPolicy, inputs: TriggerInputs, wanted: Retrain) -> Decision:
    paused = inputs.paused
    if paused is not None and (paused.until_resumed or _is_integrity(paused.cause)):
        return Skip(
            reason=f"automation is stopped since {paused.since:%Y-%m-%d %H:%M} UTC: {paused.cause}; "
            f"`fraud-retraining resume` lets it go on. Kept: {wanted.reason}"
        )
    if paused is not None and paused.inputs == wanted.inputs:
        return Skip(
            reason=f"automation is paused since {paused.since:%Y-%m-%d %H:%M} UTC after {paused.cause}; it "
            f"goes on with new input or `fraud-retraining resume`. Kept: {wanted.reason}"
        )
    # Whatever the input: new data does not make damaged bytes sound.
    if inputs.failed and _is_integrity(last := inputs.failed[-1].cause):
        reason = f"the last retrain found stored bytes that are not what was recorded ({last}): a person has to look"
        return Pause(as_of=wanted.as_of, cause=last, inputs=wanted.inputs, reason=reason)
    alike = [failure for failure in inputs.failed if failure.inputs == wanted.inputs]
    cause, times = _tries(inputs, wanted.inputs)
    if times >= policy.max_failures:
        reason = (
            f"the retrain as of {wanted.as_of} failed {times} times with the same cause ({cause}) on the same input"
        )
        return Pause(as_of=wanted.as_of, cause=cause, inputs=wanted.inputs, reason=reason)
    if alike and inputs.now < (again := alike[-1].at + timedelta(minutes=policy.retry_minutes)):
        return Skip(reason=f"the last try failed ({alike[-1].cause}); the next one is at {again:%H:%M} UTC")
    return wanted.model_copy(update={"resumes": paused is not None})
