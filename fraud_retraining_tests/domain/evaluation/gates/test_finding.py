"""A finding's numbers are there, and are shown with enough digits to distinguish them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.evaluation.gates.finding import UnmeasuredError, figures, measured


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_two_different_numbers_are_never_shown_as_the_same(first: int, second: int) -> None:
    value, limit = first / 10**6, second / 10**6
    shown, at, distance = figures(value, limit)
    assert (shown == at) == (first == second)
    assert (float(distance) > 0) == (first != second)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_number_that_is_not_there_is_refused_by_its_name(value: float | None) -> None:
    with pytest.raises(UnmeasuredError, match="the ROC AUC is not defined"):
        measured(value, "ROC AUC")
    assert measured(0.5, "ROC AUC") == 0.5
