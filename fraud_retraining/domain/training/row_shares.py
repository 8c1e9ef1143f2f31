"""Shares of a window's rows: which rows each worker of a distributed fit learns from.

The trees of such a fit depend on the shares and on the order of rows in each, so both follow from the window and the
number of workers alone. Not here: reading rows (`adapters/days/spark_fit.py`).
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from fraud_retraining.domain.values.errors import DataInvalid


class Share(NamedTuple):
    """Consecutive rows of a window.

    Attributes:
        first: position of the day in which they begin.
        last: position of the day in which they end.
        skipped: rows of the first of these days that come before them.
        rows: how many they are.
    """

    first: int
    last: int
    skipped: int
    rows: int


def equal_shares(rows: Sequence[int], workers: int) -> tuple[Share, ...]:
    """The rows of a window in their order, cut into consecutive shares whose sizes differ by one row at most.

    Args:
        rows: number of rows of each day, oldest first.
        workers: number of shares.

    Raises:
        DataInvalid: fewer rows than workers.

    >>> equal_shares([4, 0, 3, 5], 2)
    (Share(first=0, last=2, skipped=0, rows=6), Share(first=2, last=3, skipped=2, rows=6))
    """
    ends = list(accumulate(rows))
    total = ends[-1] if ends else 0
    if total < workers:
        raise DataInvalid(
            f"{total} rows cannot be shared out to {workers} workers.",
            culprits=["model.trainer_workers"],
            remedy="Lower model.trainer_workers, or fit here with model.trainer: local.",
        )
    cuts = [number * total // workers for number in range(workers + 1)]
    return tuple(_between(ends, start, end) for start, end in pairwise(cuts))


def _between(ends: Sequence[int], start: int, end: int) -> Share:
    # The day of a row is the first that ends behind it; a day without rows ends where the one before it does.
    first, last = bisect_right(ends, start), bisect_right(ends, end - 1)
    return Share(first, last, start - (ends[first - 1] if first else 0), end - start)
