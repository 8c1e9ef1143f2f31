"""What triggers that fire together come to, and what a running, failed, paused or unfinished retrain changes."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.alerts.failures import Category
from fraud_retraining.domain.labels.arrival import LabelArrival
from fraud_retraining.domain.retraining.triggers.decision import (
    INTEGRITY,
    begins_again,
    days_to_check,
    decide,
    first_reason,
)
from fraud_retraining.domain.retraining.triggers.drift import DriftTriggerPolicy
from fraud_retraining.domain.retraining.triggers.new_data import NewDataTriggerPolicy
from fraud_retraining.domain.retraining.triggers.registry import TriggerPolicy
from fraud_retraining.domain.retraining.triggers.schedule import SchedulePolicy, grid
from fraud_retraining.domain.retraining.triggers.values import (
    Failed,
    Pause,
    Paused,
    Retrain,
    Running,
    Skip,
    Trigger,
    Unfinished,
)
from fraud_retraining_tests.support.trigger_inputs import DAY, LAST, LATE, ONLY_SCHEDULE, drifting, known


def test_triggers_that_fire_together_make_one_retrain_as_of_the_latest_day_that_names_them_all() -> None:
    ready = {date(2024, 2, 28): "grid", date(2024, 2, 29): "latest"}
    decision = decide(TriggerPolicy(), known(ready=ready, drift=drifting(0.3, 0.3)))
    assert isinstance(decision, Retrain)
    assert decision.triggers == (Trigger.SCHEDULE, Trigger.DRIFT)
    assert (decision.as_of, decision.inputs) == (date(2024, 2, 29), "latest")
    assert "schedule: " in decision.reason
    assert "drift: " in decision.reason


def test_a_trigger_that_comes_while_a_retrain_runs_is_kept() -> None:
    busy = Running(as_of=LAST, since=LATE - timedelta(hours=1), by="Dagster run 1234")
    skipped = decide(ONLY_SCHEDULE, known(running=busy))
    assert isinstance(skipped, Skip)
    assert "under way since 2024-02-29 01:00 UTC (Dagster run 1234)" in skipped.reason
    assert isinstance(decide(ONLY_SCHEDULE, known()), Retrain)


def failure(minutes: int, cause: str = "unexpected: ValueError", inputs: str = "abc") -> Failed:
    return Failed(at=LATE - timedelta(minutes=minutes), as_of=date(2024, 2, 28), cause=cause, inputs=inputs)


@pytest.mark.parametrize(
    ("failed", "kind", "why"),
    [
        ((failure(5),), Skip, "the next try comes ten minutes after the last"),
        ((failure(11),), Retrain, "one failure is tried again"),
        ((failure(30), failure(11)), Pause, "two with the same cause"),
        ((failure(30), failure(11, cause="other")), Retrain, "two with different causes"),
        ((failure(30, inputs="old"), failure(20, inputs="old")), Retrain, "another input"),
    ],
)
def test_a_retrain_that_failed_is_not_tried_again_and_again(failed: tuple[Failed, ...], kind: type, why: str) -> None:
    assert isinstance(decide(ONLY_SCHEDULE, known(failed=failed)), kind), why


def left(as_of: date = date(2024, 2, 27), *triggers: Trigger, **more: Any) -> Unfinished:
    return Unfinished(as_of=as_of, triggers=triggers or (Trigger.DRIFT,), cause="worker_died", **more)


EARLIER, NEWER = date(2024, 2, 27), date(2024, 2, 28)


BOTH_READY = {EARLIER: "earlier", NEWER: "newer"}


@pytest.mark.parametrize("trigger", list(Trigger))
def test_a_retrain_that_died_keeps_its_window_whatever_requested_it_though_a_day_has_arrived(trigger: Trigger) -> None:
    policy = TriggerPolicy(drift=DriftTriggerPolicy(), new_data=NewDataTriggerPolicy(rows=1))
    more = {"reason": "why it was asked for", "drift_since": EARLIER if trigger is Trigger.DRIFT else None}
    given = {"ready": BOTH_READY, "drift": drifting(0.3, 0.3), "new_rows": 5, "now": LATE - DAY}
    again = decide(policy, known(unfinished=left(EARLIER, trigger, **more), **given))
    assert isinstance(again, Retrain)
    assert (again.as_of, again.triggers, again.inputs) == (EARLIER, (trigger,), "earlier")
    assert again.reason == "again as of 2024-02-27, as the last try ended with worker_died: why it was asked for"
    assert first_reason(again.reason) == "why it was asked for"
    assert again.drift_since == more["drift_since"]
    other = decide(policy, known(**given))
    assert isinstance(other, Retrain) and other.as_of == NEWER, "without it, the latest day"


@pytest.mark.parametrize(
    ("changes", "as_of", "why"),
    [
        ({"last_as_of": EARLIER}, NEWER, "it was answered meanwhile"),
        ({"ready": {NEWER: "newer"}}, NEWER, "its window cannot be built any more"),
        ({"now": LATE}, NEWER, "the next one of the grid is due"),
        ({"last_as_of": None}, EARLIER, "before the first model every day would be due"),
        ({"ready": {NEWER: "newer"}, "unready": {EARLIER: "x"}, "pending": frozenset({EARLIER})}, None, "it waits"),
        ({"running": Running(as_of=EARLIER, since=LATE, by="it")}, None, "one at a time"),
    ],
)
def test_when_an_unfinished_retrain_is_begun_again(changes: dict[str, Any], as_of: date | None, why: str) -> None:
    policy = TriggerPolicy(new_data=NewDataTriggerPolicy(rows=1), drift=None)
    given = {"ready": BOTH_READY, "new_rows": 5, "now": LATE - DAY, **changes}
    decision = decide(policy, known(unfinished=left(), **given))
    assert (decision.as_of if isinstance(decision, Retrain) else None) == as_of, why


@pytest.mark.parametrize(
    ("failed", "kind", "as_of", "why"),
    [
        ((5,), Skip, None, "its retry pause holds the newer day back too"),
        ((11,), Retrain, EARLIER, "then it is tried again"),
        ((30, 11), Retrain, NEWER, "it has had its tries: what a new day brings goes on"),
    ],
)
def test_an_unfinished_retrain_has_its_pause_and_its_tries(
    failed: tuple[int, ...], kind: type, as_of: date | None, why: str
) -> None:
    policy = TriggerPolicy(schedule=None, drift=None, new_data=NewDataTriggerPolicy(rows=1))
    failures = tuple(failure(minutes, "worker_died", "earlier") for minutes in failed)
    decision = decide(policy, known(unfinished=left(), ready=BOTH_READY, new_rows=5, failed=failures))
    assert isinstance(decision, kind), why
    assert getattr(decision, "as_of", None) == as_of, why


@pytest.mark.parametrize(
    ("category", "trigger", "again"),
    [
        (Category.WORKER_DIED, Trigger.MANUAL, True),
        (Category.OUT_OF_RESOURCES, Trigger.SCHEDULE, True),
        (Category.DEPENDENCY, Trigger.PERFORMANCE, True),
        (Category.INTERRUPTED, Trigger.DRIFT, True),
        (Category.INTERRUPTED, Trigger.MANUAL, False),
        (Category.INTERRUPTED, Trigger.BACKFILL, False),
        (Category.DATA_VALIDATION, Trigger.SCHEDULE, False),
        (Category.GATE_FAILED, Trigger.DRIFT, False),
        (Category.INTEGRITY, Trigger.DRIFT, False),
    ],
)
def test_what_is_begun_again(category: Category, trigger: Trigger, again: bool) -> None:
    assert begins_again(category, (trigger,)) is again


def test_paused_automation_stays_so_until_its_input_is_another_one() -> None:
    paused = Paused(since=LATE - timedelta(hours=3), cause="unexpected: ValueError", inputs="abc")
    still = decide(ONLY_SCHEDULE, known(paused=paused))
    assert isinstance(still, Skip)
    assert "paused since 2024-02-28 23:00 UTC" in still.reason
    assert "fraud-retraining resume" in still.reason
    again = decide(ONLY_SCHEDULE, known(paused=paused, ready={date(2024, 2, 28): "delivered again"}))
    assert isinstance(again, Retrain)
    assert again.resumes


def test_an_integrity_failure_pauses_at_once_and_only_a_person_resumes() -> None:
    failed = (failure(300, cause="integrity:f00d", inputs="an older input"),)
    paused = decide(ONLY_SCHEDULE, known(failed=failed))
    assert isinstance(paused, Pause)
    assert (paused.cause, INTEGRITY) == ("integrity:f00d", str(Category.INTEGRITY))
    stopped = Paused(since=LATE - timedelta(hours=3), cause=paused.cause, inputs="abc")
    again = decide(ONLY_SCHEDULE, known(paused=stopped, ready={date(2024, 2, 28): "delivered again"}))
    assert isinstance(again, Skip)
    assert "automation is stopped since" in again.reason
    since_then = (*failed, failure(20, cause="dependency:x"))
    assert isinstance(decide(ONLY_SCHEDULE, known(failed=since_then)), Retrain)


def test_with_every_trigger_off_nothing_is_requested() -> None:
    assert decide(TriggerPolicy(schedule=None, drift=None), known()) == Skip(reason="every trigger is off")


# ------------------------------------------------------------------ labels that have not arrived

FIRST, LIVED = date(2024, 6, 1), 20


class Seen(NamedTuple):
    """A moment of a life with a feed: what has arrived, what was decided, and the last as-of day before."""

    now: datetime
    arrival: LabelArrival
    last: date | None
    decision: Any


def lives(policy: TriggerPolicy, wait_days: int, late: list[int], labels_late: list[int | None]) -> Iterator[Seen]:
    """Every six hours a decision. Transactions and labels of a day are so many hours late; None: labels never come.

    A day of transactions does not come before the one that precedes it; every retrain succeeds at once.
    """
    midnights = [datetime.combine(FIRST + n * DAY, time(), UTC) + DAY for n in range(len(late))]
    transactions = list(accumulate((at + timedelta(hours=h) for at, h in zip(midnights, late, strict=True)), max))
    labels = [at + timedelta(hours=h) for at, h in zip(midnights, labels_late, strict=True) if h is not None]
    days = [n for n, h in enumerate(labels_late) if h is not None]
    last = None
    for tick in range(4 * len(late) + 40):
        now = midnights[0] + timedelta(hours=6 * tick)
        arrived = [FIRST + n * DAY for n, at in enumerate(transactions) if at <= now]
        delivered = [FIRST + n * DAY for n, at in zip(days, labels, strict=True) if at <= now]
        if not arrived:
            continue
        arrival = LabelArrival(latest=arrived[-1], delivered=max(delivered, default=None), wait_days=wait_days)
        settled = arrival.settled if arrival.settled in arrived else None
        waits = {day: arrival.awaited(day) for day in days_to_check(policy, last, arrived[-1], now, settled)}
        inputs = known(
            now=now,
            ready={day: str(day) for day, why in waits.items() if why is None and day in arrived},
            unready={day: why or "it has not arrived" for day, why in waits.items() if why or day not in arrived},
            last_as_of=last,
            new_rows=sum(day <= arrival.settled and (last is None or day > last) for day in arrived),
        )
        decision = decide(policy, inputs)
        yield Seen(now, arrival, last, decision)
        last = decision.as_of if isinstance(decision, Retrain) else last


hours = st.lists(st.sampled_from([0, 6, 30]), min_size=LIVED, max_size=LIVED)
label_hours = st.lists(st.sampled_from([0, 6, 12, 30, 54, None]), min_size=LIVED, max_size=LIVED)


@settings(max_examples=40)
@given(st.integers(0, 4), hours, label_hours)
def test_a_trigger_gets_the_newest_day_that_is_labelled_or_no_longer_waited_for(
    wait_days: int, late: list[int], labels_late: list[int | None]
) -> None:
    policy = TriggerPolicy(schedule=None, drift=None, new_data=NewDataTriggerPolicy(rows=1))
    for seen in lives(policy, wait_days, late, labels_late):
        newest = seen.arrival.settled
        due = newest >= FIRST and (seen.last is None or newest > seen.last)
        assert (seen.decision.as_of if isinstance(seen.decision, Retrain) else None) == (newest if due else None)
        if not due and newest < seen.arrival.latest:
            assert isinstance(seen.decision, Skip)


@settings(max_examples=40)
@given(st.integers(0, 4), st.sampled_from([24, 48, 72]), hours, label_hours)
def test_the_schedule_gets_the_newest_due_day_that_is_labelled_or_no_longer_waited_for(
    wait_days: int, every: int, late: list[int], labels_late: list[int | None]
) -> None:
    policy = TriggerPolicy(schedule=SchedulePolicy(every_hours=every), drift=None)
    as_of_days = []
    for seen in lives(policy, wait_days, late, labels_late):
        settled = seen.arrival.settled
        due = [settled] if seen.last is None else grid(policy.schedule or SchedulePolicy(), seen.last, seen.now)
        ready = [day for day in due if FIRST <= day <= settled]
        assert (seen.decision.as_of if isinstance(seen.decision, Retrain) else None) == max(ready, default=None)
        as_of_days += [seen.decision.as_of] if ready else []
    assert as_of_days == sorted(set(as_of_days))
    last = FIRST + (LIVED - 1 - wait_days) * DAY
    assert (last - as_of_days[-1]).days < every / 24, "no feed starves the schedule"


def test_a_feed_that_is_always_a_day_late_is_retrained_with_as_of_every_day() -> None:
    policy = TriggerPolicy(schedule=SchedulePolicy(every_hours=24), drift=None)
    for wait_days, unlabelled in ((1, False), (0, True)):
        seen = list(lives(policy, wait_days, [0] * LIVED, [24] * LIVED))
        as_of_days = [one.decision.as_of for one in seen if isinstance(one.decision, Retrain)]
        assert as_of_days == [FIRST + n * DAY for n in range(LIVED)]
        arrived = [one.arrival.arrived(one.decision.as_of) for one in seen if isinstance(one.decision, Retrain)]
        assert arrived[1:-1] == [not unlabelled] * (LIVED - 2)


def test_a_skip_says_which_labels_are_waited_for_and_until_when() -> None:
    awaited = LabelArrival(latest=NEWER, delivered=EARLIER, wait_days=1).awaited(NEWER)
    assert awaited is not None
    policy = TriggerPolicy(new_data=NewDataTriggerPolicy(rows=1))
    skipped = decide(policy, known(ready={}, unready={NEWER: awaited}, drift=drifting(0.3, 0.3), new_rows=5))
    assert isinstance(skipped, Skip)
    said = "labels of 2024-02-28 have not arrived (they are waited for until the transactions of 2024-02-29 have)"
    assert skipped.reason.count(said) == 3, "by schedule, drift and new data alike"
    assert f"schedule: a retrain as of 2024-02-28 is due, but {said}" in skipped.reason


def test_a_retrain_without_the_labels_of_its_day_says_so_as_long_as_they_are_missing() -> None:
    missing = {"unlabelled": frozenset({NEWER})}
    requested = decide(ONLY_SCHEDULE, known(**missing))
    assert isinstance(requested, Retrain)
    assert requested.reason.endswith("; without the labels of 2024-02-28, which have not arrived")
    reason = first_reason(requested.reason)
    assert reason == "schedule: 48 hours since the last as-of day, 2024-02-26"
    for changes, words in ((missing, "; without the labels of 2024-02-28, which have not arrived"), ({}, "")):
        again = decide(ONLY_SCHEDULE, known(unfinished=left(NEWER, reason=reason), **changes))
        assert isinstance(again, Retrain)
        assert again.reason == f"again as of 2024-02-28, as the last try ended with worker_died: {reason}{words}"
        assert first_reason(again.reason) == reason
