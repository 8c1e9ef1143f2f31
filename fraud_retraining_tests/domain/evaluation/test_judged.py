"""Rows that judge a model are whole: known labels, known entities, one entry a row, the same rows for a pair."""

from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.evaluation.judged import MISSING, Categories, Judged, Pair, entity_codes
from fraud_retraining_tests.support.judged_rows import EXAMPLES, judged


def test_models_judged_on_other_rows_are_not_a_pair():
    rows = judged([0, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="same rows"):
        Pair(rows, judged([1, 0], [0.1, 0.2]))
    with pytest.raises(ValueError, match="same rows"):
        Pair(rows, judged([0, 1, 1], [0.1, 0.2, 0.3]))
    for other in ({"customers": [5, 6]}, {"days": [1, 1]}, {"amounts": [1, 2]}):
        with pytest.raises(ValueError, match="same rows"):
            Pair(rows, judged([0, 1], [0.1, 0.2], **other))


def test_a_champion_without_scores_is_an_error_and_not_a_weak_champion():
    rows = judged([0, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="champion gave scores that are not numbers"):
        Pair(rows, rows.with_scores([0.1, np.nan]))


def test_judged_rows_come_from_a_canonical_table():
    table = pa.table(
        {
            "is_fraud": pa.array([0, 1, 0], pa.int8()),
            "timestamp": pa.array(
                [datetime(2018, 8, 8), datetime(2018, 8, 8, 23, 59, 59, 999999), datetime(2018, 8, 9)]
            ),
            "amount": [1.0, 2.0, 3.0],
            "customer": ["b", "a", "b"],
            "country": ["de", None, "at"],
        }
    )
    rows = Judged.from_table(table, np.array([0.1, 0.2, 0.3], dtype=np.float32), entity="customer", slices=["country"])
    eighth = (date(2018, 8, 8) - date(1970, 1, 1)).days
    assert rows.days.tolist() == [eighth, eighth, eighth + 1]
    assert rows.customers.tolist() == [1, 0, 1]
    assert rows.slices["country"].names == (MISSING, "at", "de")
    assert rows.scores.dtype == np.float64


def test_rows_without_a_key_are_no_one_customer():
    codes = entity_codes(pa.chunked_array([["b", None, "a"], [None, "b"]]))
    assert codes.tolist() == [1, 2, 0, 3, 1]


@pytest.mark.parametrize(
    ("column", "values", "complaint"),
    [("is_fraud", pa.array([0, None], pa.int8()), "no label")],
)
def test_unknown_labels_and_entities_do_not_judge(column, values, complaint):
    columns = {
        "is_fraud": pa.array([0, 1], pa.int8()),
        "timestamp": pa.array([datetime(2018, 8, 8)] * 2),
        "amount": [1.0, 2.0],
        "customer": [1, 2],
    }
    with pytest.raises(ValueError, match=complaint):
        Judged.from_table(pa.table(columns | {column: values}), np.zeros(2), entity="customer")


def test_columns_of_other_lengths_and_labels_other_than_0_and_1_are_refused():
    with pytest.raises(ValueError, match="scores, country"):
        Judged(
            np.zeros(2, dtype=np.int8), np.zeros(3), np.zeros(2, int), np.zeros(2, np.int32), np.zeros(2),
            {"country": Categories(np.zeros(1, int), ("de",))},
        )  # fmt: skip
    with pytest.raises(ValueError, match="0 or 1"):
        judged([0, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="codes from 0"):
        judged([0, 1], [0.1, 0.2], customers=[-1, 0])


@EXAMPLES
@given(st.lists(st.one_of(st.integers(-5, 5)), min_size=1))
def test_entity_codes_follow_the_order_of_the_keys(keys):
    expected = np.unique(keys, return_inverse=True)[1].tolist()
    assert entity_codes(pa.chunked_array([keys[:2], keys[2:]], pa.int64())).tolist() == expected
    assert entity_codes(pa.array([f"{key + 5:02}" for key in keys])).tolist() == expected
