"""Ranges of days for runs, and the days that features and windows need."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.orchestration.state.readiness import (
    contiguous_ranges,
    days_behind,
    days_of_window,
    first_trainable,
)
from fraud_retraining.settings import Settings

FIRST = date(2024, 1, 1)
some_days = st.sets(st.integers(0, 60)).map(lambda numbers: {FIRST + timedelta(days=n) for n in numbers})


@given(some_days, st.one_of(st.none(), st.integers(1, 10)))
def test_ranges_cover_every_day_once_in_order_and_none_is_too_long(days: set[date], longest: int | None) -> None:
    ranges = list(contiguous_ranges(days, longest))
    assert [day for one in ranges for day in one] == sorted(days)
    assert all(longest is None or len(one) <= longest for one in ranges)


@given(some_days)
def test_two_ranges_are_never_neighbours_unless_one_was_full(days: set[date]) -> None:
    ranges = list(contiguous_ranges(days))
    assert all(later.start > earlier.end + timedelta(days=1) for earlier, later in pairwise(ranges))


def test_features_of_a_day_reach_back_to_the_longest_window() -> None:
    settings = Settings.model_validate(
        {
            "entities": {"customer": {"column": "CUSTOMER_ID", "windows_days": [1, 5]}},
            "gates": {"alert_entity": "customer"},
        }
    )
    behind = days_behind(settings, [FIRST])
    assert (behind[0], behind[-1], len(behind)) == (FIRST - timedelta(days=5), FIRST, 6)


def test_the_first_trainable_day_has_its_whole_window_in_the_lake() -> None:
    settings = Settings()
    arrived = [FIRST + timedelta(days=n) for n in range(120)]
    found = first_trainable(settings, arrived)
    assert found is not None
    assert days_of_window(settings, found).needed[0] >= FIRST
    assert days_of_window(settings, found - timedelta(days=1)).needed[0] < FIRST


def test_a_lake_too_short_for_a_window_has_no_trainable_day() -> None:
    assert first_trainable(Settings(), [FIRST, FIRST + timedelta(days=1)]) is None


def test_an_as_of_day_before_an_expanding_window_begins_is_refused() -> None:
    settings = Settings.model_validate({"window": {"strategy": "expanding", "start": "2024-03-01"}})
    with pytest.raises(SettingsError, match="there is no window"):
        days_of_window(settings, FIRST)
