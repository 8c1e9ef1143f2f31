"""When a retrain is asked for: each trigger as a table of cases, and the grid over a whole leap year."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.alerts.failures import Category
from fraud_retraining.domain.retraining.triggers import (
    INTEGRITY,
    DriftDay,
    DriftRetrain,
    DriftTriggerPolicy,
    Failed,
    LivePerformance,
    NewDataTriggerPolicy,
    Pause,
    Paused,
    PerformanceTriggerPolicy,
    Retrain,
    Running,
    SchedulePolicy,
    Skip,
    Trigger,
    TriggerInputs,
    TriggerPolicy,
    Unfinished,
    begins_again,
    decide,
    due_at,
    first_reason,
    grid,
    worth_asking,
)

DAY = timedelta(days=1)
LAST = date(2024, 2, 26)
ONLY_SCHEDULE = TriggerPolicy(drift=None)
ONLY_DRIFT = TriggerPolicy(schedule=None)
LATE = datetime(2024, 2, 29, 2, 0, tzinfo=UTC)


def known(**changes: Any) -> TriggerInputs:
    values: dict[str, Any] = {
        "now": LATE,
        "ready": {date(2024, 2, 28): "abc"},
        "last_as_of": LAST,
    }
    return TriggerInputs(**{**values, **changes})


def drifting(*values: float, first: date = date(2024, 2, 24)) -> tuple[DriftDay, ...]:
    return tuple(
        DriftDay(day=first + n * DAY, value=value, worst=("amount",) if value > 0.2 else ())
        for n, value in enumerate(values)
    )


# ------------------------------------------------------------------ schedule


def walk(
    hours: Iterator[datetime], policy: TriggerPolicy = ONLY_SCHEDULE, asleep: Any = lambda now: False
) -> list[Any]:
    """Lives through the hours: every day's data is there at midnight, every retrain that is asked for succeeds."""
    last, asked = LAST, []
    for now in hours:
        if asleep(now):
            continue
        latest = now.date() - DAY
        ready = {day: str(day) for day in worth_asking(policy, last, latest, now) if day <= latest}
        decision = decide(policy, known(now=now, ready=ready, last_as_of=last))
        if isinstance(decision, Retrain):
            asked.append((now, decision.as_of))
            last = decision.as_of
    return asked


def hourly(first: datetime, last: datetime) -> Iterator[datetime]:
    now = first
    while now <= last:
        yield now
        now += timedelta(hours=1)


def test_a_whole_leap_year_of_ticks_gives_a_retrain_each_48_hours_and_not_one_more() -> None:
    start, end = datetime(2024, 2, 27, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)
    asked = walk(hourly(start, end))
    days = [as_of for _, as_of in asked]
    assert days == [LAST + 2 * n * DAY for n in range(1, len(days) + 1)]
    assert {after - before for (before, _), (after, _) in pairwise(asked)} == {timedelta(hours=48)}
    assert all(now == due_at(SchedulePolicy(), as_of) for now, as_of in asked)
    assert days[-1] >= date(2025, 2, 26)


def test_the_nights_of_daylight_saving_and_the_ends_of_months_are_nights_like_any_other() -> None:
    around = [date(2024, 3, 31), date(2024, 10, 27), date(2024, 12, 31), date(2024, 2, 29), date(2024, 1, 31)]
    for day in around:
        asked = grid(SchedulePolicy(), day - 2 * DAY, datetime.combine(day + 3 * DAY, datetime.min.time(), UTC))
        assert asked == [day, day + 2 * DAY][: len(asked)]
        assert asked[0] == day


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 5), st.integers(1, 24 * 20))
def test_downtime_loses_nothing_and_ends_in_one_retrain_of_the_grid(start: int, hours: int) -> None:
    begin = datetime(2024, 6, 1, tzinfo=UTC) + timedelta(days=start)
    down = (begin, begin + timedelta(hours=hours))
    asked = walk(
        hourly(datetime(2024, 5, 20, tzinfo=UTC), datetime(2024, 7, 10, tzinfo=UTC)),
        asleep=lambda now: down[0] <= now < down[1],
    )
    days = [as_of for _, as_of in asked]
    assert all((as_of - LAST).days % 2 == 0 for as_of in days)
    assert len(set(days)) == len(days)
    before = max(as_of for now, as_of in asked if now < down[0])
    missed = grid(SchedulePolicy(), before, down[1])
    woken = [as_of for now, as_of in asked if now == down[1]]
    assert woken == missed[-1:]
    assert all((after - before).days >= 2 for before, after in pairwise(days))


def test_data_that_is_always_three_days_late_still_gets_its_retrains() -> None:
    policy, last, asked = ONLY_SCHEDULE, LAST, []
    for now in hourly(datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)):
        latest = now.date() - 4 * DAY
        ready = {day: str(day) for day in worth_asking(policy, last, latest, now) if day <= latest}
        decision = decide(policy, known(now=now, ready=ready, last_as_of=last))
        if isinstance(decision, Retrain):
            asked.append(decision.as_of)
            last = decision.as_of
    assert len(asked) >= 12
    assert all((after - before).days == 2 for before, after in pairwise(asked))


def test_before_its_hour_a_retrain_is_not_due_and_the_skip_says_when_it_is() -> None:
    decision = decide(ONLY_SCHEDULE, known(now=LATE - timedelta(minutes=1)))
    assert decision == Skip(reason="schedule: the next retrain, as of 2024-02-28, is due 2024-02-29 02:00 UTC")


def test_a_due_retrain_whose_days_are_not_ready_waits_and_says_for_what() -> None:
    unready = {date(2024, 2, 28): "2024-02-20 still has to be ingested"}
    decision = decide(ONLY_SCHEDULE, known(ready={}, unready=unready))
    assert isinstance(decision, Skip)
    assert decision.reason == "schedule: a retrain as of 2024-02-28 is due, but 2024-02-20 still has to be ingested"


def test_a_later_due_day_that_only_waits_for_its_ingest_is_waited_for_so_that_downtime_gives_one_retrain() -> None:
    later = date(2024, 3, 1)
    now = datetime(2024, 3, 2, 3, tzinfo=UTC)
    unready = {later: "2024-02-23 still has to be ingested"}
    waiting = decide(ONLY_SCHEDULE, known(now=now, unready=unready, pending=frozenset({later})))
    assert waiting == Skip(
        reason="schedule: a retrain as of 2024-03-01 is due, but 2024-02-23 still has to be ingested"
    )
    refused = decide(ONLY_SCHEDULE, known(now=now, unready={later: "2024-02-23 is refused"}))
    assert isinstance(refused, Retrain), "what cannot be had is not waited for"
    assert refused.as_of == date(2024, 2, 28)


def test_without_a_model_the_latest_ready_day_is_due_at_once() -> None:
    decision = decide(ONLY_SCHEDULE, known(last_as_of=None, now=datetime(2024, 2, 29, tzinfo=UTC)))
    assert isinstance(decision, Retrain)
    assert (decision.as_of, decision.triggers) == (date(2024, 2, 28), (Trigger.SCHEDULE,))


# ------------------------------------------------------------------ drift


@pytest.mark.parametrize(
    ("values", "fires", "why"),
    [
        ((0.1, 0.3, 0.3), True, "two of the last three, the latest among them"),
        ((0.3, 0.1, 0.3), True, "two of three, with a calm day between"),
        ((0.3, 0.3, 0.1), False, "the latest day is calm"),
        ((0.1, 0.1, 0.3), False, "a single day may be a holiday"),
        ((0.2, 0.2, 0.2), False, "on the threshold is not over it"),
        ((0.3, 0.1, 0.1, 0.3), False, "the first is too long ago"),
        ((), False, "nothing was compared"),
    ],
)
def test_drift_fires_when_m_of_n_days_are_over(values: tuple[float, ...], fires: bool, why: str) -> None:
    decision = decide(ONLY_DRIFT, known(drift=drifting(*values)))
    assert isinstance(decision, Retrain) is fires, why
    assert decision.reason.startswith("drift: ")


def test_a_drift_retrain_says_from_when_on_the_new_fraud_can_be_learnt() -> None:
    decision = decide(ONLY_DRIFT, known(drift=drifting(0.1, 0.3, 0.35)))
    assert isinstance(decision, Retrain)
    assert decision.drift_since == date(2024, 2, 25)
    assert "days since 2024-02-25 are in the training window from as-of day 2024-03-10 on" in decision.reason
    assert "2024-02-26 at 0.35 (amount)" in decision.reason


def test_drift_that_was_answered_does_not_retrain_in_a_circle_before_its_labels_can_be_learnt() -> None:
    """One shift on 1 March, seen every day since: one retrain at once, the next when shifted days are in the window."""
    shift, last, last_drift, asked = date(2024, 3, 1), LAST, None, []
    for n in range(40):
        latest = shift + n * DAY
        history = drifting(*(0.4 if day >= shift else 0.05 for day in (latest - i * DAY for i in range(20, -1, -1))))
        history = tuple(d.model_copy(update={"day": latest - (20 - i) * DAY}) for i, d in enumerate(history))
        decision = decide(
            ONLY_DRIFT, known(ready={latest: str(latest)}, last_as_of=last, drift=history, last_drift=last_drift)
        )
        if isinstance(decision, Retrain):
            asked.append(latest)
            last, last_drift = latest, DriftRetrain(as_of=latest, since=decision.drift_since or latest)
    assert asked[0] == shift + DAY
    assert asked[1] == shift + 14 * DAY
    assert all((after - before).days >= 4 for before, after in pairwise(asked))


def test_a_new_drift_after_an_answered_one_cools_down_first() -> None:
    history = drifting(0.1, 0.3, 0.3)
    earlier = DriftRetrain(as_of=date(2024, 2, 24), since=date(2024, 2, 20))
    decision = decide(ONLY_DRIFT, known(drift=history, last_drift=earlier, ready={date(2024, 2, 27): "x"}))
    assert isinstance(decision, Skip)
    assert "cooling down for 4 days" in decision.reason
    later = decide(ONLY_DRIFT, known(drift=history, last_drift=earlier, ready={date(2024, 2, 28): "x"}))
    assert isinstance(later, Retrain)


def test_drift_without_a_new_day_has_nothing_to_train_on() -> None:
    decision = decide(ONLY_DRIFT, known(drift=drifting(0.3, 0.3), ready={LAST: "x"}))
    assert isinstance(decision, Skip)
    assert "no day after the last as-of day" in decision.reason


# ------------------------------------------------------------------ new data, performance


@pytest.mark.parametrize(("rows", "fires"), [(999, False), (1000, True), (5000, True)])
def test_new_data_fires_at_its_number_of_rows(rows: int, fires: bool) -> None:
    policy = TriggerPolicy(schedule=None, drift=None, new_data=NewDataTriggerPolicy(rows=1000))
    decision = decide(policy, known(new_rows=rows))
    assert isinstance(decision, Retrain) is fires
    assert f"{rows:,}" in decision.reason


@pytest.mark.parametrize(
    ("live", "fires", "why"),
    [
        ({"value": 0.49, "high": 0.55}, True, "under the floor"),
        ({"value": 0.50, "high": 0.72}, False, "at the floor, and chance explains the rest"),
        ({"value": 0.60, "high": 0.69, "holdout_low": 0.70}, True, "below its holdout by more than the noise"),
        ({"value": 0.60, "high": 0.71, "holdout_low": 0.70}, False, "the intervals touch"),
        ({"value": 0.60, "high": 0.61}, False, "its holdout is not known"),
    ],
)
def test_performance_fires_under_its_floor_or_under_its_own_holdout(
    live: dict[str, float], fires: bool, why: str
) -> None:
    policy = TriggerPolicy(schedule=None, drift=None, performance=PerformanceTriggerPolicy(min_average_precision=0.5))
    judged = LivePerformance(first=date(2024, 2, 14), last=date(2024, 2, 20), **live)
    assert isinstance(decide(policy, known(performance=judged)), Retrain) is fires, why
    recent = decide(policy, known(performance=judged, last_performance=date(2024, 2, 25)))
    assert isinstance(recent, Skip), "it cools down"


# ------------------------------------------------------------------ together, busy, failed, paused


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
def test_a_retrain_that_died_keeps_its_window_whatever_asked_for_it_though_a_day_has_arrived(trigger: Trigger) -> None:
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


def test_days_that_arrive_faster_than_they_are_ingested_do_not_keep_a_due_retrain_waiting() -> None:
    """One due day is ready, and the latest always waits for its ingest: up to three due ones, it is waited for."""
    decisions = []
    for behind in range(1, 6):
        latest = LAST + 2 * behind * DAY
        now = due_at(SchedulePolicy(), latest)
        waiting = {latest: "it still has to be ingested"} if behind > 1 else {}
        decision = decide(
            ONLY_SCHEDULE,
            known(now=now, ready={LAST + 2 * DAY: "x"}, unready=waiting, pending=frozenset(waiting)),
        )
        decisions.append(isinstance(decision, Retrain))
    assert decisions == [True, False, False, True, True]


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


def test_with_every_trigger_off_nothing_is_asked_for() -> None:
    assert decide(TriggerPolicy(schedule=None, drift=None), known()) == Skip(reason="every trigger is off")


@given(
    st.lists(st.floats(0, 1), max_size=30),
    st.integers(1, 5),
    st.integers(0, 4),
    st.floats(0.05, 0.9),
)
def test_whatever_the_history_drift_fires_only_with_its_latest_day_over(
    values: list[float], m: int, more: int, threshold: float
) -> None:
    policy = TriggerPolicy(schedule=None, drift=DriftTriggerPolicy(threshold=threshold, days=(m, m + more)))
    decision = decide(policy, known(drift=drifting(*values, first=date(2024, 1, 1))))
    if isinstance(decision, Retrain):
        assert values[-1] > threshold
        assert sum(value > threshold for value in values[-(m + more) :]) >= m
        assert decision.drift_since is not None
        assert decision.drift_since <= date(2024, 1, 1) + (len(values) - 1) * DAY
