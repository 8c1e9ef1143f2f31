"""Which rows have an outcome, and how many rows each stands for."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.labels.blocked import (
    ROW_WEIGHT,
    by_outcome,
    effective,
    has_outcome,
    propensities,
    row_weights,
    was_blocked,
)

KINDS = st.lists(st.tuples(st.sampled_from([1.0, 0.25, 0.05, 0.0, None]), st.booleans()), max_size=20)


@given(KINDS)
def test_a_blocked_row_counts_only_for_its_own_review_and_only_where_nothing_stands_for_it(kinds):
    rows = pa.table({"propensity": pa.array([one for one, _ in kinds], pa.float64())})
    labelled = np.array([known for _, known in kinds], dtype=bool)
    propensity = propensities(rows)
    known = has_outcome(propensity, labelled)
    weights = row_weights(propensity, known)
    for (chance, label), has, weight, blocked in zip(kinds, known, weights, was_blocked(propensity), strict=True):
        assert blocked == (chance in (0.0, None))
        assert has == (label and chance != 0.0)
        assert weight == (0 if not has else 1 / (chance or 1.0))
    assert by_outcome(rows, known)[ROW_WEIGHT].to_pylist() == weights.tolist()


def test_rows_that_say_nothing_of_decisions_stay_as_they_are():
    rows = pa.table({"amount": [1.0, 2.0]})
    assert propensities(rows).tolist() == [1.0, 1.0]
    assert by_outcome(rows, np.array([True, False])) is rows


@given(st.lists(st.floats(0.1, 20), min_size=1, max_size=30))
def test_the_effective_size_lies_between_one_row_and_all_and_is_all_where_weights_are_equal(weights):
    found = effective(np.array(weights))
    assert 1 - 1e-9 <= found <= len(weights) + 1e-9
    assert abs(effective(np.full(len(weights), weights[0])) - len(weights)) < 1e-6
    assert effective(np.empty(0)) == 0
