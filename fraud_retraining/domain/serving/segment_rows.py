"""Rows of a request that are of another segment than the model that was asked.

Here: which rows, and the problem that each is answered with. Not here: what a condition means
(`domain/data/segments.py`), and rows that are no transaction (`domain/data/request_rows.py`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.data.request_rows import CanonicalRows, RowProblem
from fraud_retraining.domain.data.segments import Where, fulfilled, summary
from fraud_retraining.domain.values.schemas import AMOUNT


class ServedSegment(NamedTuple):
    """The model that serves, and the condition of its segment by names of stored columns; {} for every transaction."""

    model: str
    where: Where


def foreign_rows(rows: CanonicalRows, mapping: LakeMapping, segment: ServedSegment) -> list[RowProblem]:
    """A problem for each condition that a row does not fulfil, without the row's value.

    >>> from fraud_retraining.domain.data.request_rows import RequestReader
    >>> mapping = LakeMapping.model_validate({"entities": {}, "categorical": ["COUNTRY"]})
    >>> row = {"TRANSACTION_ID": "t", "TX_DATETIME": "2026-01-31T08:15:00Z", "TX_AMOUNT": 5, "COUNTRY": "DE"}
    >>> rows, _ = RequestReader(mapping, {}).read([row])
    >>> foreign_rows(rows, mapping, ServedSegment("fr", {"COUNTRY": ("FR",)}))
    [RowProblem(row=0, field='COUNTRY', problem='belongs to no transaction of model fr: COUNTRY is FR')]
    """
    if not segment.where or not rows.places:
        return []
    there: Mapping[str, Any] = {AMOUNT: rows.amounts, **rows.keys, **rows.numeric, **rows.categories}
    table = pa.table({name: pa.array(there[name]) for name in segment.where})
    problems = []
    for name, found in fulfilled(table, segment.where).items():
        (lake,) = mapping.lake_names[name]
        problem = f"belongs to no transaction of model {segment.model}: {summary({lake: segment.where[name]})}"
        others = np.flatnonzero(~found.to_numpy(zero_copy_only=False)).tolist()
        problems += [RowProblem(rows.places[row], lake, problem) for row in others]
    return sorted(problems, key=lambda one: one.row)
