"""As of which days automation retrains: those whose labels have arrived, and those whose wait is over."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.labels.arrival import LabelArrival

LATEST = date(2026, 3, 10)


def day(age: int) -> date:
    return LATEST - timedelta(days=age)


@pytest.mark.parametrize(
    ("delivered", "wait_days", "settled", "why"),
    [
        (day(0), 1, day(0), "labels are as far as transactions"),
        (day(1), 1, day(1), "the labels of the last day are to come"),
        (day(2), 1, day(1), "they are a day late: the day before is not waited for any more"),
        (day(2), 3, day(2), "the wait is longer than they are late"),
        (None, 2, day(2), "nothing was ever delivered"),
        (day(-1), 1, day(0), "a later label day, as one without reports has no file"),
        (day(5), 0, day(0), "nothing is waited for"),
    ],
)
def test_the_last_day_that_does_not_wait(delivered: date | None, wait_days: int, settled: date, why: str) -> None:
    assert LabelArrival(latest=LATEST, delivered=delivered, wait_days=wait_days).settled == settled, why


def test_what_is_waited_for_is_said_with_its_end() -> None:
    arrival = LabelArrival(latest=LATEST, delivered=day(3), wait_days=2)
    assert [arrival.awaited(day(age)) is None for age in range(4)] == [False, False, True, True]
    assert arrival.awaited(LATEST) == (
        "labels of 2026-03-10 have not arrived (they are waited for until the transactions of 2026-03-12 have)"
    )
    assert [arrival.arrived(day(age)) for age in (2, 3, 4)] == [False, True, True]


days = st.integers(0, 30).map(lambda n: date(2026, 1, 1) + timedelta(days=n))
waits = st.integers(0, 14)


@given(days, st.none() | days, waits)
def test_no_feed_holds_a_retrain_back_for_longer_than_the_wait(
    latest: date, delivered: date | None, wait_days: int
) -> None:
    arrival = LabelArrival(latest=latest, delivered=delivered, wait_days=wait_days)
    assert latest - timedelta(days=wait_days) <= arrival.settled <= latest
    assert arrival.awaited(arrival.settled) is None
    if arrival.settled < latest:
        assert arrival.awaited(arrival.settled + timedelta(days=1)) is not None


@given(days, days, st.none() | days, days, waits)
def test_days_that_arrive_never_make_an_earlier_one_wait_again(
    latest: date, later: date, delivered: date | None, more: date, wait_days: int
) -> None:
    before = LabelArrival(latest=latest, delivered=delivered, wait_days=wait_days)
    after = LabelArrival(latest=max(latest, later), delivered=max(more, delivered or more), wait_days=wait_days)
    assert after.settled >= before.settled
