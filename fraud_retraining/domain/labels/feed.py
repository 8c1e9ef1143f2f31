"""The label feed: which columns its files must have, and its rows under canonical names and types.

Here: one delivered day of labels before anything is known of their transactions. Not here: whether a label counts
(`domain/labels/events.py`), and listing and reading files (`adapters/storage`).
"""

from collections.abc import Mapping

import ibis
import pyarrow as pa

from fraud_retraining.domain.data.canonical import (
    NO_WHOLE_KEY,
    canonical_key,
    canonical_label,
    canonical_text,
    canonical_text_key,
    canonical_time,
)
from fraud_retraining.domain.data.lake_columns import (
    KEY_TYPES,
    LABEL_TYPES,
    LISTED_LABEL_TYPES,
    TIME_TYPES,
    AcceptedTypes,
    type_problems,
)
from fraud_retraining.domain.labels.events import KNOWN_AT, SOURCE
from fraud_retraining.domain.labels.policy import LabelColumns
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import IS_FRAUD, TRANSACTION_ID, LabelValues

Schemas = Mapping[str, pa.Schema]


def check_feed(schemas: Schemas, columns: LabelColumns, values: LabelValues) -> None:
    """Refuse a day of the feed whose files (name: schema) lack a column or have one of the wrong type.

    Raises:
        DataInvalid: every problem of every column and file at once, and the columns that are there.
    """
    problems = [
        f"{lake} (labels.columns.{name}) {problem}"
        for name, lake, accepted in _expected(columns, values)
        for problem in type_problems(schemas, lake, accepted)
    ]
    if problems:
        there = sorted({name for schema in schemas.values() for name in schema.names})
        raise DataInvalid(
            "columns of the label feed are not as mapped",
            culprits=[*problems, f"columns that are there: {', '.join(there[:40])}"],
            remedy="correct the files, or map the feed's columns under `labels.columns` in the settings",
        )


def _expected(columns: LabelColumns, values: LabelValues) -> list[tuple[str, str, AcceptedTypes]]:
    expected = [("transaction_id", columns.transaction_id, KEY_TYPES), ("known_at", columns.known_at, TIME_TYPES)]
    if columns.is_fraud is not None:
        expected.append(("is_fraud", columns.is_fraud, LISTED_LABEL_TYPES if values.frauds else LABEL_TYPES))
    return expected


def canonical_feed(raw: ibis.Table, columns: LabelColumns, values: LabelValues, *, text_ids: bool) -> ibis.Table:
    """Rows of the feed as transaction_id, known_at, is_fraud (float64, null where it says neither) and source (text).

    `text_ids` says whether transactions have text ids: the feed's become what theirs are. Text that is no integer
    where theirs are integers names no transaction (`NO_WHOLE_KEY`).
    """
    label = ibis.literal(1.0) if columns.is_fraud is None else canonical_label(raw[columns.is_fraud], values)
    source = ibis.null("string") if columns.source is None else canonical_text(raw[columns.source])
    return raw.select(
        _matching_id(raw[columns.transaction_id], text_ids=text_ids).name(TRANSACTION_ID),
        canonical_time(raw[columns.known_at]).name(KNOWN_AT),
        label.cast("float64").name(IS_FRAUD),
        source.name(SOURCE),
    )


def _matching_id(column: ibis.Column, *, text_ids: bool) -> ibis.Value:
    """An id of the feed in the type of the transactions' ids."""
    if text_ids:
        return canonical_text_key(column)
    key = canonical_key(column)
    if not key.type().is_string():
        return key
    # An id that is missing and one that names no transaction are rejected for different reasons.
    return key.isnull().ifelse(ibis.null("int64"), key.try_cast("int64").fill_null(NO_WHOLE_KEY))
