"""The grid over a whole leap year, downtime and late data: which as-of days a schedule asks for."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.retraining.triggers.decision import (
    days_to_check,
    decide,
)
from fraud_retraining.domain.retraining.triggers.registry import TriggerPolicy
from fraud_retraining.domain.retraining.triggers.schedule import SchedulePolicy, due_at, grid
from fraud_retraining.domain.retraining.triggers.values import (
    Retrain,
    Skip,
    Trigger,
)
from fraud_retraining_tests.support.trigger_inputs import DAY, LAST, LATE, ONLY_SCHEDULE, known


def walk(
    hours: Iterator[datetime], policy: TriggerPolicy = ONLY_SCHEDULE, asleep: Any = lambda now: False
) -> list[Any]:
    """Lives through the hours: every day's data is there at midnight, every retrain that is asked for succeeds."""
    last, retrains = LAST, []
    for now in hours:
        if asleep(now):
            continue
        latest = now.date() - DAY
        ready = {day: str(day) for day in days_to_check(policy, last, latest, now) if day <= latest}
        decision = decide(policy, known(now=now, ready=ready, last_as_of=last))
        if isinstance(decision, Retrain):
            retrains.append((now, decision.as_of))
            last = decision.as_of
    return retrains


def hourly(first: datetime, last: datetime) -> Iterator[datetime]:
    now = first
    while now <= last:
        yield now
        now += timedelta(hours=1)


def test_a_whole_leap_year_of_ticks_gives_a_retrain_each_48_hours_and_not_one_more() -> None:
    start, end = datetime(2024, 2, 27, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)
    retrains = walk(hourly(start, end))
    days = [as_of for _, as_of in retrains]
    assert days == [LAST + 2 * n * DAY for n in range(1, len(days) + 1)]
    assert {after - before for (before, _), (after, _) in pairwise(retrains)} == {timedelta(hours=48)}
    assert all(now == due_at(SchedulePolicy(), as_of) for now, as_of in retrains)
    assert days[-1] >= date(2025, 2, 26)


def test_the_nights_of_daylight_saving_and_the_ends_of_months_are_nights_like_any_other() -> None:
    around = [date(2024, 3, 31), date(2024, 10, 27), date(2024, 12, 31), date(2024, 2, 29), date(2024, 1, 31)]
    for day in around:
        retrains = grid(SchedulePolicy(), day - 2 * DAY, datetime.combine(day + 3 * DAY, datetime.min.time(), UTC))
        assert retrains == [day, day + 2 * DAY][: len(retrains)]
        assert retrains[0] == day


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 5), st.integers(1, 24 * 20))
def test_downtime_loses_nothing_and_ends_in_one_retrain_of_the_grid(start: int, hours: int) -> None:
    begin = datetime(2024, 6, 1, tzinfo=UTC) + timedelta(days=start)
    down = (begin, begin + timedelta(hours=hours))
    retrains = walk(
        hourly(datetime(2024, 5, 20, tzinfo=UTC), datetime(2024, 7, 10, tzinfo=UTC)),
        asleep=lambda now: down[0] <= now < down[1],
    )
    days = [as_of for _, as_of in retrains]
    assert all((as_of - LAST).days % 2 == 0 for as_of in days)
    assert len(set(days)) == len(days)
    before = max(as_of for now, as_of in retrains if now < down[0])
    missed = grid(SchedulePolicy(), before, down[1])
    woken = [as_of for now, as_of in retrains if now == down[1]]
    assert woken == missed[-1:]
    assert all((after - before).days >= 2 for before, after in pairwise(days))


def test_data_that_is_always_three_days_late_still_gets_its_retrains() -> None:
    policy, last, retrains = ONLY_SCHEDULE, LAST, []
    for now in hourly(datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)):
        latest = now.date() - 4 * DAY
        ready = {day: str(day) for day in days_to_check(policy, last, latest, now) if day <= latest}
        decision = decide(policy, known(now=now, ready=ready, last_as_of=last))
        if isinstance(decision, Retrain):
            retrains.append(decision.as_of)
            last = decision.as_of
    assert len(retrains) >= 12
    assert all((after - before).days == 2 for before, after in pairwise(retrains))


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
