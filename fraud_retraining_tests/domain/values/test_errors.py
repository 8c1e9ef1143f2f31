"""Errors carry problem, culprits and remedy, keep their exit code, and cross processes unchanged."""

import pickle
from datetime import date

import pytest

from fraud_retraining.domain.values import errors
from fraud_retraining.domain.values.errors import Busy, Conflict, IntegrityError, RetrainingError

EXIT_CODES = {
    "SettingsError": 2,
    "NotPermitted": 2,
    "DataInvalid": 3,
    "GateFailed": 4,
    "Conflict": 5,
    "Busy": 5,
    "BudgetExceeded": 6,
    "DependencyUnreachable": 7,
    "IntegrityError": 1,
    "RecordAltered": 1,
    "ChampionLost": 1,
}
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RetrainingError)]


def test_the_exit_codes_are_those_of_the_contract() -> None:
    assert {kind.__name__: kind.exit_code for kind in KINDS if kind is not RetrainingError} == EXIT_CODES


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_crosses_processes_unchanged(kind: type[RetrainingError]) -> None:
    days = [date(2024, 3, 2), date(2024, 3, 1), date(2024, 3, 2)]
    first = kind("it failed", culprits=["a", 7], remedy="repair it.", days=days)
    again = pickle.loads(pickle.dumps(first))
    assert type(again) is kind
    assert (str(again), again.answer, again.days) == (str(first), first.answer, first.days)
    assert first.days == (date(2024, 3, 1), date(2024, 3, 2))
    assert str(first) == "it failed\n  - a\n  - 7\nRemedy: repair it."


def test_the_family_says_what_may_be_caught_together() -> None:
    assert issubclass(Busy, Conflict)
    assert issubclass(IntegrityError, errors.DependencyUnreachable)
    assert str(Busy("another retrain runs")) == "another retrain runs"
