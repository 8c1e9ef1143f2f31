"""Digests of feature rows: two rows have the same one where every feature is the same to the last bit.

Here: the digest of a row, of arrays as a scorer has them and of a table of a day. Not here: computing features
(`online.py`, `point_in_time.py`) and what follows from digests that differ.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.values.schemas import AMOUNT

Floats32 = NDArray[np.float32]

DIGEST_BYTES = 16
_ROWS_AT_ONCE = 65_536
"""Rows of a table that are held a second time, side by side."""
_LENGTH_BYTES = 4
_NULL = b"\xff" * _LENGTH_BYTES
"""Stands where the length of a text would: no text is as long."""


class RowDigests:
    """Digests of rows with the features of a plan, in its order; made once, as the order takes longer than a row.

    A digest is BLAKE2b of 16 bytes over the amount as float64, the other numbers as float32 with one pattern for every
    NaN, and the categories as UTF-8 behind their length. Zero and minus zero are two values, and so are null and the
    empty text.
    """

    def __init__(self, plan: FeaturePlan) -> None:
        self._numeric, self._categorical = plan.numeric, plan.categorical
        others = {AMOUNT, *plan.numeric, *plan.categorical}
        self._own = [name for name in plan.names if name not in others]

    def of(
        self,
        amounts: NDArray[np.float64],
        own: Mapping[str, Floats32],
        numeric: Mapping[str, Floats32],
        categories: Mapping[str, Sequence[str | None]],
    ) -> list[str]:
        """The digest of each row as 32 hexadecimal digits.

        Args:
            amounts: an entry a row, as every other column has.
            own: features that are computed, as `online_features` gives them; others are ignored.
            numeric: numeric columns that pass through, as `numeric_features` gives them; NaN where there is none.
            categories: categorical columns; None where there is none.

        Raises:
            KeyError: a feature of the plan is missing.
            ValueError: columns differ in length.
        """
        columns = [own[name] for name in self._own] + [numeric[name] for name in self._numeric]
        packed = _packed(amounts, columns)
        if self._categorical:
            texts = [[_text(value) for value in categories[name]] for name in self._categorical]
            packed = [row + b"".join(parts) for row, *parts in zip(packed, *texts, strict=True)]
        return [blake2b(row, digest_size=DIGEST_BYTES).hexdigest() for row in packed]

    def of_table(self, table: pa.Table) -> list[str]:
        """The digest of each row of `transaction_features`, in its order."""
        return [digest for part in _parts(table) for digest in self._of_part(part)]

    def _of_part(self, part: pa.Table) -> list[str]:
        # A null of a float column is NaN in NumPy.
        numbers = {name: part[name].to_numpy() for name in (*self._own, *self._numeric)}
        categories = {name: part[name].to_pylist() for name in self._categorical}
        return self.of(part[AMOUNT].to_numpy(), numbers, numbers, categories)


def _packed(amounts: NDArray[np.float64], columns: Sequence[Floats32]) -> list[bytes]:
    """The bytes of the numbers of each row."""
    # Arrays are buffers, which types of Python 3.11 cannot say; joined by NumPy, one row takes three times as long.
    buffers: Sequence[Any] = columns
    numbers = np.frombuffer(bytearray().join(buffers), np.float32)
    numbers[np.isnan(numbers)] = np.nan
    rows, width = len(amounts), 8 + 4 * len(columns)
    halves = amounts.view(np.uint32).reshape(rows, 2)
    side_by_side = np.concatenate([halves, numbers.view(np.uint32).reshape(len(columns), rows).T], axis=1).tobytes()
    return [side_by_side[start : start + width] for start in range(0, rows * width, width)]


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    encoded = value.encode()
    return len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded


def _parts(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, _ROWS_AT_ONCE):
        yield table.slice(start, _ROWS_AT_ONCE)
