"""Ranges of days include both ends; a day starts at midnight, as a value and as an expression."""

from datetime import date, datetime, timedelta

import ibis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fraud_retraining.domain.values.days import DayRange, start_of

DAYS = st.dates(date(2000, 1, 1), date(2100, 1, 1))


@given(DAYS, st.integers(0, 60), DAYS)
def test_length_members_and_order_agree(start: date, more: int, other: date) -> None:
    days = DayRange(start=start, end=start + timedelta(days=more))
    listed = list(days)
    assert len(days) == len(listed) == more + 1
    assert listed == sorted(listed) and (listed[0], listed[-1]) == (days.start, days.end)
    assert (other in days) == (other in listed)


def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValidationError, match="2024-02-29 is before 2024-03-01"):
        DayRange(start=date(2024, 3, 1), end=date(2024, 2, 29))


def test_a_day_starts_at_midnight_as_a_value_and_as_an_expression() -> None:
    day = date(2024, 2, 29)
    found = [ibis.duckdb.connect().execute(start_of(one)) for one in (day, ibis.literal(day))]
    assert [one.to_pydatetime() for one in found] == [datetime(2024, 2, 29)] * 2
