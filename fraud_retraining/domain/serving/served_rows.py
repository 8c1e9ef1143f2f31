"""Transactions with the score that they were answered with: their columns, and of which the features are kept whole.

Here: the columns of the serving log, and the sample. Not here: digests of features (`domain/features/row_digests.py`)
and files (`adapters/online/serving_log.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fraud_retraining.domain.data.lake_columns import INTEGER, TEXT
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.values.schemas import AMOUNT, TIMESTAMP, TRANSACTION_ID

Key = int | str

SCORED_AT, SCORER, SEQUENCE = "scored_at", "scorer", "sequence"
ORDER = (SCORED_AT, SCORER, SEQUENCE)
"""Columns by which served rows are sorted."""
_HASH_BYTES = 8


class Sample(NamedTuple):
    """The features of one row.

    Attributes:
        numbers: float32, the amount and every other feature that is a number, in the order of the plan; NaN for null.
        categories: the categories in the order of the plan; None for null.
    """

    numbers: NDArray[np.float32]
    categories: list[str | None]


class ServedRows(NamedTuple):
    """Transactions that were scored together: an entry a transaction in every column.

    Attributes:
        ids: transaction ids, all of them integers or all of them text.
        timestamps: datetime64[us], UTC.
        amounts: float64.
        keys: by entity; None where a nullable entity has none.
        scored_at: when they were scored, with its time zone.
        version: version of the model that scored them.
        feature_version: digest of the code that made their features.
        scores: float64.
        decisions: what was advised; None where nothing was.
        state_days: last whole day that the features rest on; None where there was no state.
        digests: digests of the features, as `RowDigests` gives them.
        samples: by place, the features of the rows that are sampled.
    """

    ids: Sequence[Key]
    timestamps: NDArray[np.datetime64]
    amounts: NDArray[np.float64]
    keys: Mapping[str, Sequence[Key | None]]
    scored_at: datetime
    version: int
    feature_version: str
    scores: NDArray[np.float64]
    decisions: Sequence[str | None]
    state_days: Sequence[date | None]
    digests: Sequence[str]
    samples: Mapping[int, Sample]


class Sampler:
    """Keeps the features of a share of all transactions; made once.

    A hash of the transaction id decides, so that every scorer samples the same transactions, after a restart too.
    """

    def __init__(self, plan: FeaturePlan, share: float) -> None:
        self._limit = share * 2 ** (8 * _HASH_BYTES)
        self._categorical = plan.categorical
        self._numbers = [name for name in plan.names if name not in {AMOUNT, *plan.categorical}]

    def of(
        self,
        ids: Sequence[Key],
        amounts: NDArray[np.float64],
        own: Mapping[str, NDArray[np.float32]],
        numeric: Mapping[str, NDArray[np.float32]],
        categories: Mapping[str, Sequence[str | None]],
    ) -> dict[int, Sample]:
        """The features of the rows that are sampled, by place; columns as `RowDigests.of` takes them."""
        chosen = [place for place, number in enumerate(ids) if _hash(number) < self._limit]
        if not chosen:
            return {}
        others = [own[name] if name in own else numeric[name] for name in self._numbers]
        return {
            place: Sample(
                np.array([amounts[place], *(column[place] for column in others)], np.float32),
                [categories[name][place] for name in self._categorical],
            )
            for place in chosen
        }


def _hash(number: Key) -> int:
    return int.from_bytes(blake2b(str(number).encode(), digest_size=_HASH_BYTES).digest(), "little")


def own_key_types(entities: Iterable[str], key_types: Mapping[str, str]) -> dict[str, str]:
    """Whether the transaction id and each entity's key are `INTEGER` or `TEXT`; as in requests, what no day says is
    text (`RequestReader`)."""
    return {name: key_types.get(name, TEXT) for name in (TRANSACTION_ID, *entities)}


def schema(entities: Iterable[str], key_types: Mapping[str, str]) -> pa.Schema:
    """Columns of the serving log; times are UTC, and the features are null in rows that are not sampled.

    >>> schema(["customer"], {"transaction_id": "integer"}).names[:5]
    ['transaction_id', 'timestamp', 'amount', 'customer', 'scored_at']
    """
    kinds = own_key_types(entities, key_types)
    keys = {name: pa.int64() if kind == INTEGER else pa.string() for name, kind in kinds.items()}
    return pa.schema(
        [
            pa.field(TRANSACTION_ID, keys.pop(TRANSACTION_ID)),
            pa.field(TIMESTAMP, pa.timestamp("us")),
            pa.field(AMOUNT, pa.float64()),
            *(pa.field(name, kind) for name, kind in keys.items()),
            pa.field(SCORED_AT, pa.timestamp("us")),
            pa.field(SCORER, pa.string()),
            pa.field(SEQUENCE, pa.int64()),
            pa.field("version", pa.int32()),
            pa.field("score", pa.float64()),
            pa.field("decision", pa.string()),
            pa.field("state_day", pa.date32()),
            pa.field("feature_version", pa.string()),
            pa.field("features_digest", pa.string()),
            pa.field("features", pa.list_(pa.float32())),
            pa.field("categories", pa.list_(pa.string())),
        ]
    )
