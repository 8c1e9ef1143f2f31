"""Counts of the labels of a day's rows."""

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from fraud_retraining.domain.labels.day_counts import label_facts

MORNING = datetime(2026, 3, 2, 8)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"is_fraud": [1, 0, None]}, {"label_days": [[None, 2, 1]]}),
        (
            {"is_fraud": [1, 0, None], "labelled_at": [MORNING, None, MORNING]},
            {"label_days": [[None, 1, 0], ["2026-03-02", 1, 1]]},
        ),
        (
            {"is_fraud": [1, 0, 1, 1], "propensity": [1.0, 0.5, 0.0, None]},
            {"label_days": [[None, 2, 1]], "reviewed_days": [[None, 1, 1]], "seen": 2},
        ),
        ({"is_fraud": []}, {"label_days": [[None, 0, 0]]}),
    ],
    ids=["without label times", "with label times", "blocked", "no row"],
)
def test_labels_are_counted_by_the_day_that_they_became_known(
    columns: dict[str, list[Any]], expected: dict[str, Any]
) -> None:
    kinds = {"is_fraud": pa.int8(), "labelled_at": pa.timestamp("us"), "propensity": pa.float64()}
    found = label_facts(pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()}))
    assert {name: sorted(one, key=str) if isinstance(one, list) else one for name, one in found.items()} == {
        name: sorted(one, key=str) if isinstance(one, list) else one for name, one in expected.items()
    }
