"""Decisions of a simulated production: which transactions it blocks, lets through by chance, and has reviewed.

Here: a simple score, the share that it blocks, the control group, reviews of what was blocked, and what the lake then
does not say. Not here: reports of fraud (`reports.py`) and writing files. The decisions of a day depend on the seed and
the day alone.
"""

from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from fraud_retraining.domain.values.base import Policy
from fraud_retraining.simulation.randomness import trait
from fraud_retraining.simulation.reports import ANALYST, DAY_MICROSECONDS, label_events

DECISION, PROPENSITY = "DECISION", "PROPENSITY"
APPROVE, BLOCK, CONTROL = "approve", "block", "control"
_PURPOSE, _REVIEWED, _REVIEW_DELAY = 8_001, 8_002, 8_003


class BlockingPolicy(Policy):
    """What production blocks."""

    block_share: float = Field(gt=0, le=0.5, description="Share of a day's transactions that are to be blocked.")
    control_share: float = Field(
        0.0, ge=0, le=1, description="Share of the customers of a day whose transactions are let through all the same."
    )
    review_share: float = Field(
        0.0, ge=0, le=1, description="Share of the blocked transactions that an analyst reviews, drawn by chance."
    )
    review_days: float = Field(
        1.0, gt=0, le=14, description="Mean days until a review is known; each takes half to one and a half of it."
    )


class Decisions(NamedTuple):
    """A day's decisions: what each row was decided to be, whether it was blocked, and whether a review then tells."""

    names: NDArray[np.str_]
    blocked: NDArray[np.bool_]
    reviewed: NDArray[np.bool_]

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """Rows of which nothing ever becomes known."""
        return self.blocked & ~self.reviewed


class Blocking:
    """Production's decisions on a simulated lake."""

    def __init__(self, policy: BlockingPolicy, *, seed: int) -> None:
        self.policy = policy
        self._seed = seed

    def of(self, day: date, transactions: pa.Table) -> Decisions:
        """What production does with each transaction of a day.

        The score is a rule of thumb: how rare the amount and the distance are among the day's transactions. The control
        group is drawn by customer and day, so that what an alert about a customer is worth can be seen whole.
        """
        score = production_score(transactions)
        most = np.argsort(-score, kind="stable")[: round(self.policy.block_share * len(score))]
        meant = np.zeros(len(score), dtype=np.bool_)
        meant[most] = True
        customer = transactions["CUSTOMER_ID"].to_numpy()
        chance = trait(self._seed, _PURPOSE, customer, np.full(len(customer), day.toordinal()))
        spared = meant & (chance < self.policy.control_share)
        blocked = meant & ~spared
        drawn = trait(self._seed, _REVIEWED, transactions["TRANSACTION_ID"].to_numpy())
        names = np.where(spared, CONTROL, np.where(meant, BLOCK, APPROVE))
        return Decisions(names, blocked, blocked & (drawn < self.policy.review_share))

    def reviews(self, decisions: Decisions, transactions: pa.Table) -> pa.Table:
        """Label events of the reviews of a day's blocked transactions: the truth, and when it became known."""
        found = transactions.filter(pa.array(decisions.reviewed))
        ids = found["TRANSACTION_ID"].to_numpy()
        truth = _truth(found)
        sources = np.full(len(ids), ANALYST)
        return label_events(ids, self._reviewed_at(found), truth, sources)

    def _reviewed_at(self, transactions: pa.Table) -> NDArray[np.int64]:
        """Microseconds since 1970 at which a review of each transaction becomes known."""
        happened = transactions["TX_DATETIME"].cast(pa.int64()).to_numpy()
        chance = trait(self._seed, _REVIEW_DELAY, transactions["TRANSACTION_ID"].to_numpy())
        delay = self.policy.review_days * (0.5 + chance) * DAY_MICROSECONDS
        return np.asarray(happened + delay.astype(np.int64), np.int64)

    def decided(self, decisions: Decisions, transactions: pa.Table) -> pa.Table:
        """The transactions with decision and, where there is a control group, propensity.

        A blocked one has the label of its review, or none. The truth stays in TX_FRAUD_SCENARIO, which may not be a
        feature.
        """
        table = transactions
        known_by_review: dict[str, NDArray[Any]] = {"TX_FRAUD": _truth(table), "LABELLED_AT": self._reviewed_at(table)}
        for name, reviewed in known_by_review.items():
            if name in table.column_names:
                column = table[name].combine_chunks()
                given = column.cast(pa.int64()).fill_null(0).to_numpy()
                values = pa.array(np.where(decisions.reviewed, reviewed, given), mask=decisions.unknown)
                table = table.set_column(
                    table.schema.get_field_index(name), pa.field(name, column.type), values.cast(column.type)
                )
        table = table.append_column(DECISION, pa.array(decisions.names.tolist(), pa.string()))
        if not self.policy.control_share:
            return table
        sure = decisions.names == APPROVE
        return table.append_column(PROPENSITY, pa.array(np.where(sure, 1.0, self.policy.control_share)))


def _truth(transactions: pa.Table) -> NDArray[np.int8]:
    return (transactions["TX_FRAUD_SCENARIO"].to_numpy() > 0).astype(np.int8)


def production_score(transactions: pa.Table) -> NDArray[np.float64]:
    """How suspicious a simple rule finds each transaction: the joint rarity of amount and distance (Fisher 1925)."""
    distance = np.nan_to_num(transactions["TX_DISTANCE_KM"].to_numpy())
    return np.asarray(-sum(np.log(_tail(one)) for one in (transactions["TX_AMOUNT"].to_numpy(), distance)))


def _tail(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the values that are as large, by value."""
    return (len(values) - np.searchsorted(np.sort(values), values, side="left")) / len(values)
