"""Payments on their way into the lake, and the lake's columns.

Here: the arrays that honest customers and fraudsters both produce, and the table of a day made from them.
Not here: who pays what (`behaviour.py`, `fraudulent_payments.py`).
"""

from collections.abc import Sequence
from datetime import date
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

DAY_SECONDS = 86_400
CHANNEL = "TX_CHANNEL"
DISTANCE = "TX_DISTANCE_KM"
SCENARIO = "TX_FRAUD_SCENARIO"

LAKE_SCHEMA = pa.schema(
    [
        pa.field("TRANSACTION_ID", pa.int64(), nullable=False),
        pa.field("TX_DATETIME", pa.timestamp("us"), nullable=False),
        pa.field("CUSTOMER_ID", pa.int64(), nullable=False),
        pa.field("TERMINAL_ID", pa.int64(), nullable=False),
        pa.field("TX_AMOUNT", pa.float64(), nullable=False),
        pa.field(CHANNEL, pa.string(), nullable=False),
        pa.field(DISTANCE, pa.float64()),
        pa.field("TX_FRAUD", pa.int8(), nullable=False),
        pa.field(SCENARIO, pa.int8(), nullable=False),
    ]
)

_EPOCH = date(1970, 1, 1)
_IDS_PER_DAY = 100_000_000


class Channel(IntEnum):
    """How a card was presented; the lake holds the name in lower case."""

    CHIP = 0
    CONTACTLESS = 1
    ONLINE = 2
    WALLET = 3


class Payments(NamedTuple):
    """Payments of one day as parallel arrays; `terminal` and `generation` together say which merchant."""

    customer: NDArray[np.int64]
    terminal: NDArray[np.int64]
    generation: NDArray[np.int64]
    second: NDArray[np.float64]
    amount: NDArray[np.float64]
    channel: NDArray[np.int8]
    scenario: NDArray[np.int8]

    @classmethod
    def together(cls, parts: Sequence["Payments"]) -> "Payments":
        """All the payments of several sources."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def in_order(self) -> "Payments":
        """The same payments by time."""
        order: NDArray[Any] = np.argsort(self.second, kind="stable")
        columns: tuple[NDArray[Any], ...] = self
        return Payments(*(column[order] for column in columns))


def day_table(day: date, payments: Payments, terminal_id: NDArray[np.int64], distance: NDArray[np.float64]) -> pa.Table:
    """The lake's table of a day from payments in order; ids grow with time and are unique over all days."""
    since_epoch = (day - _EPOCH).days
    # An errand late at night could otherwise fall into the next day's folder.
    milliseconds = np.minimum((payments.second * 1000).astype(np.int64), DAY_SECONDS * 1000 - 1)
    online = payments.channel == Channel.ONLINE
    columns = [
        pa.array(since_epoch * _IDS_PER_DAY + np.arange(len(milliseconds), dtype=np.int64)),
        pa.array((since_epoch * DAY_SECONDS * 1000 + milliseconds) * 1000).cast(pa.timestamp("us")),
        pa.array(payments.customer),
        pa.array(terminal_id),
        pa.array(np.maximum(np.round(payments.amount, 2), 0.01)),
        pa.array([channel.name.lower() for channel in Channel]).take(pa.array(payments.channel)),
        pa.array(np.round(distance, 1), mask=online),
        pa.array((payments.scenario > 0).astype(np.int8)),
        pa.array(payments.scenario),
    ]
    return pa.Table.from_arrays(columns, schema=LAKE_SCHEMA)
