"""Totals over a bootstrap of customers, who are drawn with all of their rows and alike for both models."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.evaluation.metrics import MetricsPolicy
from fraud_retraining.domain.evaluation.resampled_totals import drawn_totals, interval_of, ratio_of

POLICY = MetricsPolicy(resamples=100)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=30))
def test_the_first_total_is_that_of_the_rows_and_one_column_twice_is_drawn_alike(rows):
    customers, amounts = np.array(rows, np.int64).reshape(-1, 2).T
    own, theirs = drawn_totals(customers, [amounts, amounts], POLICY)
    assert own[0] == amounts.sum() and len(own) == 1 + POLICY.resamples
    assert (own == theirs).all()


def test_the_rows_of_a_customer_are_drawn_together():
    alone = drawn_totals(np.arange(400), [np.ones(400)], POLICY)[0]
    together = drawn_totals(np.repeat(np.arange(4), 100), [np.ones(400)], POLICY)[0]
    assert alone[1:].std() == pytest.approx(20, rel=0.3), "the root of 400"
    assert together[1:].std() == pytest.approx(200, rel=0.3), "a hundred times the root of 4"


def test_of_nothing_there_is_no_ratio_and_resamples_without_one_say_nothing():
    assert ratio_of(np.array([3.0, 2.0]), np.array([0.0, 1.0]), 0.95) is None
    found = ratio_of(np.array([3.0, 2.0, 4.0]), np.array([2.0, 0.0, 2.0]), 0.95)
    assert found is not None and (found.value, found.low, found.high) == (1.5, 2.0, 2.0)
    assert interval_of(np.array([7.0, np.nan]), 0.95).low == 7.0
