"""A small day in the lake, and scorers that answer its transactions in any order.

The batch's features are those of a scorer that had the whole day before it answered anything.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from fraud_retraining.domain.features.live import LiveFeatures
from fraud_retraining.domain.features.local_states import LocalStates
from fraud_retraining.domain.features.online import Batch as Transactions
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.row_digests import RowDigests
from fraud_retraining.domain.monitoring.served_skew import Batch
from fraud_retraining.domain.serving.served_rows import schema
from fraud_retraining.domain.values.schemas import AMOUNT, TIMESTAMP, TRANSACTION_ID, EntityPolicy

DAY = date(2026, 3, 14)
YESTERDAY = DAY - timedelta(days=1)
NOON = datetime(2026, 3, 14, 12)
VERSION = "f1"
PLAN = FeaturePlan(
    entities={
        "customer": EntityPolicy(column="c", windows_days=(1,)),
        "device": EntityPolicy(column="d", windows_days=(1,), nullable=True),
    },
    numeric=("risk",),
    categorical=("channel",),
)
KEY_TYPES = {"transaction_id": "integer", "customer": "integer", "device": "text"}
NUMBERS = [name for name in PLAN.names if name not in PLAN.categorical]


class Paid(NamedTuple):
    """A transaction, `minute` minutes after noon."""

    number: int
    minute: float
    customer: int = 1
    amount: float = 10.0
    device: str | None = None
    risk: float = 0.5
    channel: str | None = "web"

    @property
    def at(self) -> datetime:
        return NOON + timedelta(minutes=self.minute)


def transactions(rows: Sequence[Paid]) -> Transactions:
    return Transactions(
        [row.number for row in rows],
        np.array([row.at for row in rows], "datetime64[us]"),
        np.array([row.amount for row in rows], np.float64),
        {"customer": [row.customer for row in rows], "device": [row.device for row in rows]},
    )


def features(live: LocalStates, rows: Sequence[Paid]) -> dict[str, Any]:
    """Every feature of the plan, as arrays; the amount as float64."""
    own = LiveFeatures(PLAN).of(transactions(rows), live).features
    return {
        **own,
        AMOUNT: np.array([row.amount for row in rows], np.float64),
        "risk": np.array([row.risk for row in rows], np.float32),
        "channel": [row.channel for row in rows],
    }


def batch(rows: Sequence[Paid], *, before: Sequence[int] = (), parts: int = 2, state_changed: bool = False) -> Batch:
    """The day as the lake has it, features in several parts."""
    live = LocalStates(PLAN)
    live.add(transactions(rows))
    found = features(live, rows)
    lake = pa.table(
        {
            TRANSACTION_ID: [row.number for row in rows],
            TIMESTAMP: pa.array([row.at for row in rows], pa.timestamp("us")),
            AMOUNT: found[AMOUNT],
            "customer": [row.customer for row in rows],
            "device": pa.array([row.device for row in rows], pa.string()),
        }
    )
    whole = pa.table({TRANSACTION_ID: lake[TRANSACTION_ID], **{name: found[name] for name in PLAN.names}})
    step = max(1, len(rows) // parts)
    ids = pa.chunked_array([pa.array(list(before), pa.int64())])
    return Batch(lake, [whole.slice(at, step) for at in range(0, len(rows), step)], ids, VERSION, state_changed)


class Scorer:
    """Answers transactions as they come; `log` has what it would have written."""

    def __init__(self, name: str = "a") -> None:
        self.live = LocalStates(PLAN)
        self.log: list[dict[str, Any]] = []
        self._name = name

    def score(self, row: Paid, *, at: float | None = None, sampled: bool = False, **other: Any) -> None:
        """Answers a transaction `at` minutes after noon, by default at once; `other` columns are replaced."""
        found = features(self.live, [row])
        numeric = {"risk": found["risk"]}
        (digest,) = RowDigests(PLAN).of(found[AMOUNT], found, numeric, {"channel": found["channel"]})
        self.log.append(
            {
                TRANSACTION_ID: row.number,
                TIMESTAMP: row.at,
                AMOUNT: row.amount,
                "customer": row.customer,
                "device": row.device,
                "scored_at": NOON + timedelta(minutes=row.minute if at is None else at),
                "scorer": self._name,
                "sequence": len(self.log),
                "version": 4,
                "score": 0.5,
                "decision": None,
                "state_day": YESTERDAY,
                "feature_version": VERSION,
                "features_digest": digest,
                "features": [float(found[name][0]) for name in NUMBERS] if sampled else None,
                "categories": found["channel"] if sampled else None,
                **other,
            }
        )


def served(*scorers: Scorer) -> pa.Table:
    """What several scorers have answered, as it is read."""
    rows = sorted((row for one in scorers for row in one.log), key=lambda row: (row["scored_at"], row["scorer"]))
    return pa.Table.from_pylist(rows, schema=schema(PLAN.entities, KEY_TYPES))


def in_order(rows: Sequence[Paid], **other: Any) -> Scorer:
    """A scorer that answered transactions in this order."""
    scorer = Scorer()
    for row in rows:
        scorer.score(row, **other)
    return scorer
