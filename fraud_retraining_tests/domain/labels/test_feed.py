"""A day of the label feed is read under canonical names, and refused as a whole where its columns are not as mapped."""

from datetime import datetime

import ibis
import pyarrow as pa
import pytest

from fraud_retraining.domain.data.canonical import NO_WHOLE_KEY
from fraud_retraining.domain.labels.feed import canonical_feed, check_feed
from fraud_retraining.domain.labels.policy import LabelColumns
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import LabelValues

NOON = datetime(2026, 3, 1, 12)
NUMBERS, TEXTS = LabelValues(), LabelValues(fraud_values=("fraud",), genuine_values=("legit",))
FEED = pa.schema([("transaction_id", pa.int64()), ("is_fraud", pa.int8()), ("known_at", pa.timestamp("us"))])


def read(table: pa.Table, columns: LabelColumns, values: LabelValues = NUMBERS, text_ids: bool = False) -> list[dict]:
    raw = ibis.memtable(table)
    return ibis.duckdb.connect().to_pyarrow(canonical_feed(raw, columns, values, text_ids=text_ids)).to_pylist()


def test_a_feed_of_frauds_only_needs_no_label_column():
    table = pa.table({"transaction_id": [1], "known_at": [NOON]})
    columns = LabelColumns(is_fraud=None)
    check_feed({"a": table.schema}, columns, NUMBERS)
    assert read(table, columns) == [{"transaction_id": 1, "known_at": NOON, "is_fraud": 1.0, "source": None}]


def test_labels_may_be_text_that_the_settings_list_and_ids_become_text_where_transactions_have_text():
    table = pa.table({"ID": [1, 2], "L": ["Fraud ", "legit"], "AT": [NOON] * 2, "BY": ["bank", None]})
    columns = LabelColumns(transaction_id="ID", is_fraud="L", known_at="AT", source="BY")
    check_feed({"a": table.schema}, columns, TEXTS)
    found = read(table, columns, TEXTS, text_ids=True)
    assert [(row["transaction_id"], row["is_fraud"], row["source"]) for row in found] == [
        ("1", 1.0, "bank"), ("2", 0.0, None),
    ]  # fmt: skip


def test_a_label_that_is_no_number_is_unknown():
    table = pa.table({"transaction_id": [1], "is_fraud": [float("nan")], "known_at": [NOON]})
    assert read(table, LabelColumns())[0]["is_fraud"] is None


def test_every_problem_is_named_with_the_setting_and_the_columns_that_are_there():
    wrong = pa.schema([("transaction_id", pa.int64()), ("is_fraud", pa.string()), ("knownAt", pa.timestamp("us"))])
    with pytest.raises(DataInvalid) as refused:
        check_feed({"good": FEED, "bad": wrong}, LabelColumns(), NUMBERS)
    message = str(refused.value)
    assert "known_at (labels.columns.known_at) is missing in bad" in message
    assert "is_fraud (labels.columns.is_fraud) is string in bad" in message
    assert "knownAt" in message and "labels.columns" in message


@pytest.mark.parametrize("ids", [["7", None, "x-7", ""], [7.0, None, 7.5, float("nan")]], ids=["text", "floats"])
def test_ids_become_integers_where_transactions_have_integers(ids: list[object]):
    """Exported files turn integers into text, or into floats where one is missing."""
    table = pa.table({"transaction_id": ids, "is_fraud": [1] * 4, "known_at": [NOON] * 4})
    found = [row["transaction_id"] for row in read(table, LabelColumns())]
    assert found == [7, None, NO_WHOLE_KEY, None], "what is no integer names no transaction, and is not missing"
