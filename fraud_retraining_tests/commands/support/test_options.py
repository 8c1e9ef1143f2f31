"""Values made of command line arguments."""

from datetime import date, datetime

import pytest

from fraud_retraining.commands.support.options import checked_value, day_of
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.simulation import SimulationPolicy


def test_every_argument_outside_its_bounds_is_named() -> None:
    with pytest.raises(SettingsError) as refused:
        checked_value(SimulationPolicy, start=date(2024, 3, 1), days=0, transactions_per_day=-1)
    assert refused.value.exit_code == 2
    named = " ".join(map(str, refused.value.culprits))
    assert "days:" in named and "transactions_per_day:" in named


def test_a_problem_of_the_arguments_together_is_named_too() -> None:
    with pytest.raises(SettingsError) as refused:
        checked_value(DayRange, start=date(2024, 3, 2), end=date(2024, 3, 1))
    assert len(refused.value.culprits) == 1


def test_arguments_within_their_bounds_make_the_value() -> None:
    assert checked_value(DayRange, start=date(2024, 3, 1), end=date(2024, 3, 2)).end == date(2024, 3, 2)


def test_a_moment_is_cut_to_its_day_and_a_missing_one_stays_missing() -> None:
    assert day_of(datetime(2024, 3, 1, 23, 59)) == date(2024, 3, 1)
    assert day_of(None) is None
