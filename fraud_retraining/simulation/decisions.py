"""Decisions of a simulated production: which transactions it blocks, and which it lets through by chance.

Here: a simple score, the share that it blocks, the control group, and what the lake then does not say. Not here:
reports of fraud (`reports.py`) and writing files. The decisions of a day depend on the seed and the day alone.
"""

from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from fraud_retraining.domain.values.base import Policy
from fraud_retraining.simulation.randomness import trait

DECISION, PROPENSITY = "DECISION", "PROPENSITY"
APPROVE, BLOCK, CONTROL = "approve", "block", "control"
LABEL_COLUMNS = ("TX_FRAUD", "LABELLED_AT")
_PURPOSE = 8_001


class BlockingPolicy(Policy):
    """What production blocks."""

    block_share: float = Field(gt=0, le=0.5, description="Share of a day's transactions that are to be blocked.")
    control_share: float = Field(
        0.0, ge=0, le=1, description="Share of the customers of a day whose transactions are let through all the same."
    )


class Decisions(NamedTuple):
    """A day's decisions: what each row was decided to be, and whether it has no outcome."""

    names: NDArray[np.str_]
    blocked: NDArray[np.bool_]


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
        return Decisions(np.where(spared, CONTROL, np.where(meant, BLOCK, APPROVE)), meant & ~spared)

    def decided(self, decisions: Decisions, transactions: pa.Table) -> pa.Table:
        """The transactions with decision and, where there is a control group, propensity; a blocked one has no label.

        The truth stays in TX_FRAUD_SCENARIO, which may not be a feature.
        """
        table = transactions
        for name in LABEL_COLUMNS:
            if name in table.column_names:
                column = table[name].combine_chunks()
                known = pa.array(column.to_pylist(), column.type, mask=decisions.blocked)
                table = table.set_column(table.schema.get_field_index(name), pa.field(name, column.type), known)
        table = table.append_column(DECISION, pa.array(decisions.names.tolist(), pa.string()))
        if not self.policy.control_share:
            return table
        sure = decisions.names == APPROVE
        return table.append_column(PROPENSITY, pa.array(np.where(sure, 1.0, self.policy.control_share)))


def production_score(transactions: pa.Table) -> NDArray[np.float64]:
    """How suspicious a simple rule finds each transaction: the joint rarity of amount and distance (Fisher 1925)."""
    distance = np.nan_to_num(transactions["TX_DISTANCE_KM"].to_numpy())
    return np.asarray(-sum(np.log(_tail(one)) for one in (transactions["TX_AMOUNT"].to_numpy(), distance)))


def _tail(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the values that are as large, by value."""
    return (len(values) - np.searchsorted(np.sort(values), values, side="left")) / len(values)
