"""Transactions of any day are scored with the state of their own day, and what is late is said."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.features.live import LiveFeatures, LiveStates, OnlineState, StateAge, joined, part
from fraud_retraining.domain.features.local_states import LocalStates
from fraud_retraining.domain.features.online import SMALL_BATCH, Batch, FinishedDay, RecentDay
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining_tests.domain.features.test_online import (
    AS_KNOWN,
    NULLABLE,
    Lake,
    Rows,
    assert_same_bits,
    payments,
    rows_of,
)
from fraud_retraining_tests.domain.features.test_point_in_time import DAY, PLAN, at, table, transaction

BEFORE = DAY - timedelta(days=1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(temp_directory=tmp_path_factory.mktemp("spill"), threads=1) as engine:
        yield engine


def state_after(lake: Lake, day: date) -> OnlineState:
    recent = RecentDay(lake.plan, day, FinishedDay(lake.day(day), lake.plan, day))
    return OnlineState(day, "digest", lake.states(day + timedelta(days=1)), recent)


def scored(states: LiveStates, lake: Lake, rows: Rows) -> tuple[dict[Any, Any], list[StateAge]]:
    found = LiveFeatures(lake.plan).of(Batch.of(table(lake.plan, rows), lake.plan), states)
    named = {
        row["transaction_id"]: {name: values[place] for name, values in found.features.items()}
        for place, row in enumerate(rows)
    }
    return named, found.ages


@settings(max_examples=5, deadline=None)
@pytest.mark.parametrize("plan", [PLAN, AS_KNOWN, NULLABLE], ids=["mature", "as known", "keys may be missing"])
@given(drawn=st.lists(payments, min_size=1, max_size=40), size=st.integers(1, 9))
def test_days_that_follow_each_other_have_the_bits_of_the_lake(
    engine: Engine, plan: FeaturePlan, drawn: list[Any], size: int
):
    lake = Lake(engine, plan, rows_of(drawn, plan))
    states = LocalStates(plan)
    for day in (BEFORE, DAY):
        states.publish(state_after(lake, day - timedelta(days=1)))
        rows = sorted(
            (row for row in lake.rows if row["timestamp"].date() == day),
            key=lambda row: (row["timestamp"], row["transaction_id"]),
        )
        found: dict[Any, Any] = {}
        for first in range(0, len(rows), size):
            named, ages = scored(states, lake, rows[first : first + size])
            assert {age.exact for age in ages} == {True}
            found |= named
        if rows:
            assert_same_bits(found, lake.batch_features(day))


def test_one_of_yesterday_that_comes_after_midnight_is_scored_with_the_state_of_its_day(engine: Engine):
    rows = [transaction(n, at(days_before=days, hour=n), 10.0 * n) for n, days in ((1, 1), (2, 1), (3, 0), (4, 2))]
    lake = Lake(engine, PLAN, rows)
    states = LocalStates(PLAN)
    for day in (BEFORE - timedelta(days=1), BEFORE):
        states.publish(state_after(lake, day))
    named, ages = scored(states, lake, rows[1:3])
    assert_same_bits({2: named[2]}, {2: lake.batch_features(BEFORE)[2]})
    assert_same_bits({3: named[3]}, {3: lake.batch_features(DAY)[3]})
    assert [age.day for age in ages] == [BEFORE - timedelta(days=1), BEFORE]


@pytest.mark.parametrize("size", [1, SMALL_BATCH, 2 * SMALL_BATCH + 2, 40])
def test_batches_of_any_size_that_span_two_days_have_the_bits_of_the_lake(engine: Engine, size: int):
    rows = [transaction(n, at(days_before=int(n < 20), hour=n % 20), 0.37 * n, customer=n % 3) for n in range(40)]
    lake = Lake(engine, PLAN, rows)
    states = LocalStates(PLAN)
    for day in (BEFORE - timedelta(days=1), BEFORE):
        states.publish(state_after(lake, day))
    found: dict[Any, Any] = {}
    for first in range(0, len(rows), size):
        found |= scored(states, lake, rows[first : first + size])[0]
    assert_same_bits(found, lake.batch_features(BEFORE) | lake.batch_features(DAY))


def test_a_state_that_is_late_or_missing_is_said(engine: Engine):
    rows = [transaction(1, at(days_before=3), 10.0), transaction(2, at(), 20.0)]
    lake = Lake(engine, PLAN, rows)
    states = LocalStates(PLAN)
    named, ages = scored(states, lake, rows[1:])
    assert ages == [StateAge(None)] and not ages[0].exact
    assert named[2]["customer_count_5d"] == 1
    states.publish(state_after(lake, BEFORE - timedelta(days=1)))
    named, ages = scored(states, lake, rows[1:])
    assert ages == [StateAge(BEFORE - timedelta(days=1), days_late=1)] and not ages[0].exact
    assert named[2]["customer_count_5d"] == 2


def test_what_the_lake_took_counts_and_not_what_was_scored(engine: Engine):
    """One that the lake refused, or that was never sent to the scorer, counts as in the lake from midnight on."""
    refused, missed, new = (
        transaction(1, at(days_before=1, hour=20), 1.0),
        transaction(2, at(days_before=1, hour=21), 2.0),
        transaction(3, at(hour=1), 3.0),
    )
    lake = Lake(engine, PLAN, [missed, new])
    states = LocalStates(PLAN)
    states.add(Batch.of(table(PLAN, [refused]), PLAN))
    states.publish(state_after(lake, BEFORE))
    named, _ = scored(states, lake, [new])
    assert_same_bits(named, lake.batch_features(DAY))


def test_days_that_are_long_gone_are_forgotten(engine: Engine):
    states = LocalStates(PLAN)
    for days in range(40, 0, -1):
        states.add(Batch.of(table(PLAN, [transaction(days, at(days_before=days), 1.0)]), PLAN))
    assert len(states._days) <= 4


def test_later_days_do_not_take_the_place_of_those_that_the_state_goes_with(engine: Engine):
    rows = [transaction(1, at(days_before=1, hour=20), 1.0), transaction(2, at(hour=1), 2.0)]
    lake = Lake(engine, PLAN, rows)
    states = LocalStates(PLAN)
    states.publish(state_after(lake, BEFORE))
    for days in range(1, 9):
        states.add(Batch.of(table(PLAN, [transaction(10 + days, at(days_before=-days), 1.0)]), PLAN))
    named, ages = scored(states, lake, rows[1:])
    assert ages[0].exact
    assert_same_bits(named, lake.batch_features(DAY))
    assert len(states._days) <= 7


@settings(max_examples=20, deadline=None)
@given(drawn=st.lists(payments, min_size=1, max_size=20), size=st.integers(1, 21))
def test_parts_of_a_batch_are_joined_to_it(drawn: list[Any], size: int):
    whole = Batch.of(table(NULLABLE, rows_of(drawn, NULLABLE)), NULLABLE)
    places = range(len(whole.ids))
    found = joined([part(whole, places[first : first + size]) for first in places[::size]])
    assert (found.ids, found.keys) == (whole.ids, whole.keys)
    assert found.timestamps.tolist() == whole.timestamps.tolist() and found.amounts.tolist() == whole.amounts.tolist()
