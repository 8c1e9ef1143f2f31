"""A source of labels that falls silent or gets slow is noticed; a quiet or young one is not."""

from datetime import date, timedelta

from fraud_retraining.domain.labels.feed_health import reporting_on

DAY = date(2026, 3, 20)


def days(count: int, reports: dict[int, int]) -> dict[date, dict[int, int]]:
    return {DAY - timedelta(days=n): dict(reports) for n in range(count)}


def test_a_day_without_reports_is_silent_where_some_are_usual():
    assert reporting_on(DAY, {**days(20, {1: 5, 3: 5}), DAY: {}}).silent
    assert reporting_on(DAY, {**days(20, {1: 5, 3: 5}), DAY: {1: 1}}).silent
    assert not reporting_on(DAY, days(20, {1: 5, 3: 5})).silent


def test_a_quiet_lake_and_the_first_day_of_a_feed_are_not_silent():
    assert not reporting_on(DAY, {**days(20, {1: 2}), DAY: {}}).silent
    assert not reporting_on(DAY, {DAY: {}}).silent
    assert reporting_on(DAY, {DAY: {}}).usual_frauds is None


def test_a_label_day_that_was_not_made_does_not_count_as_a_day_without_reports():
    sparse = {day: reports for day, reports in days(20, {1: 10}).items() if day.day % 2 == 0}
    assert reporting_on(DAY, sparse).usual_frauds == 10


def test_reports_that_come_half_as_late_again_are_slow():
    before = {day: {2: 10} for day in days(40, {})}
    assert not reporting_on(DAY, before).slow
    slow = {**before, **{DAY - timedelta(days=n): {4: 10} for n in range(7)}}
    found = reporting_on(DAY, slow)
    assert (found.slow, found.delay, found.usual_delay) == (True, 4.0, 2.0)
    assert "4.0 days after the transaction (2.0 before)" in found.summary()


def test_without_reports_there_is_no_delay():
    found = reporting_on(DAY, {DAY: {}})
    assert found.delay is None and not found.slow and "no day to compare with" in found.summary()
