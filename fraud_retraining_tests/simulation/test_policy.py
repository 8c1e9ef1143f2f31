"""The policy of a simulated lake, and the sizes that follow from it."""

from datetime import date

import pytest
from pydantic import ValidationError

from fraud_retraining.simulation.policy import SimulationPolicy

START = date(2026, 1, 1)


def test_customers_and_terminals_follow_from_the_volume() -> None:
    policy = SimulationPolicy(start=START, transactions_per_day=20_000, fraud_rate=0.01)
    assert (policy.customers, policy.terminals, policy.frauds_per_day) == (10_000, 20_000, 200)


def test_the_end_is_the_last_day_that_is_in_the_lake() -> None:
    assert SimulationPolicy(start=START, days=1).end == START
    assert SimulationPolicy(start=START, days=31).end == date(2026, 1, 31)


def test_the_shift_holds_from_its_day_on() -> None:
    policy = SimulationPolicy(start=START, shift_on=date(2026, 1, 11))
    assert policy.shift_index == 10
    assert [policy.is_shifted(index) for index in (0, 9, 10, 11)] == [False, False, True, True]


def test_without_a_shift_no_day_is_shifted() -> None:
    assert not SimulationPolicy(start=START).is_shifted(3000)


def test_a_shift_before_the_lake_is_refused() -> None:
    with pytest.raises(ValidationError, match="before start"):
        SimulationPolicy(start=START, shift_on=date(2025, 12, 31))
