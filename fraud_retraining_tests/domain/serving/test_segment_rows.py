"""A scorer refuses transactions of another segment than its model's, and names the condition."""

from typing import Any

import pytest

from fraud_retraining.domain.data.lake_columns import INTEGER
from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.data.request_rows import RequestReader
from fraud_retraining.domain.data.segments import NumberRange, Where
from fraud_retraining.domain.serving.segment_rows import ServedSegment, foreign_rows

MAPPING = LakeMapping.model_validate(
    {
        "entities": {"customer": {"column": "CUSTOMER_ID", "nullable": True}},
        "numeric": ["AGE"],
        "categorical": ["COUNTRY"],
        "slices": ["MCC"],
    }
)
ROW = {
    "TRANSACTION_ID": 1,
    "TX_DATETIME": "2026-01-31T08:15:00Z",
    "TX_AMOUNT": 49.5,
    "CUSTOMER_ID": 7,
    "AGE": 30,
    "COUNTRY": "DE",
    "MCC": 742,
}


def refused(where: Where, *rows: dict[str, Any]) -> list[tuple[int, str, str]]:
    reader = RequestReader(MAPPING, {"transaction_id": INTEGER, "customer": INTEGER})
    found, problems = reader.read([ROW | row for row in rows])
    assert not problems
    return [(one.row, one.field, one.problem) for one in foreign_rows(found, MAPPING, ServedSegment("fr", where))]


def test_a_row_of_another_segment_is_named_with_the_column_and_the_condition() -> None:
    (problem,) = refused({"COUNTRY": ("FR", None)}, {"COUNTRY": "FR"}, {}, {"COUNTRY": None})
    assert problem == (1, "COUNTRY", "belongs to no transaction of model fr: COUNTRY is FR or missing")


@pytest.mark.parametrize(
    ("where", "other", "field"),
    [
        ({"amount": NumberRange(below=50)}, {"TX_AMOUNT": 50}, "TX_AMOUNT"),
        ({"customer": (7,)}, {"CUSTOMER_ID": None}, "CUSTOMER_ID"),
        ({"AGE": NumberRange(at_least=18)}, {"AGE": None}, "AGE"),
        ({"MCC": ("742",)}, {"MCC": "0742"}, "MCC"),
        ({"COUNTRY": ("DE",)}, {"COUNTRY": None}, "COUNTRY"),
    ],
    ids=["amount", "key", "number", "slice", "missing"],
)
def test_every_kind_of_column_tells_segments_apart_as_in_the_batch(
    where: Where, other: dict[str, Any], field: str
) -> None:
    assert [(row, name) for row, name, _ in refused(where, {}, other)] == [(1, field)]


def test_a_model_for_every_transaction_refuses_none() -> None:
    assert refused({}, {}, {"COUNTRY": None}) == []
