"""Counts of small days: their numbers are read into memory, where numpy counts them a column at a time.

Here: that, and which days are small. Not here: categories, and the queries that count large days
(`adapters/days/day_counts.py`): they take less memory, and longer for small days, because every champion's bins are
a query of their own. Both give the same counts.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraud_retraining.adapters.days.day_counts import Counter, DayCounts, counts_by_day
from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.monitoring.bins import Bins, number_counts
from fraud_retraining.domain.monitoring.drift import Counts

VALUES_AT_ONCE = 10_000_000
"""Rows times columns of a day up to which its numbers are read into memory: 80 MB, for a moment."""


class SizedCounter:
    """Counts days by fixed bins: small ones in memory, large ones by a query."""

    def __init__(self, engine: Engine, bins: Sequence[Bins]) -> None:
        self._columns = len(bins)
        self._small, self._large = MemoryCounter(engine, bins), Counter(engine, bins)

    def count(self, day: date, paths: Sequence[Path]) -> DayCounts:
        """The counts of a day's files."""
        return (self._small if _is_small(paths, self._columns) else self._large).count(day, paths)


def sized_counts_by_day(
    engine: Engine, paths: Mapping[date, Path], bins: Sequence[Bins]
) -> dict[date, dict[str, Counts]]:
    """The counts of several days, small ones in memory and large ones by a query, as `counts_by_day` gives them."""
    small = {day: path for day, path in paths.items() if _is_small([path], len(bins))}
    large = {day: path for day, path in paths.items() if day not in small}
    counted = memory_counts_by_day(engine, small, bins) if small else {}
    return counted | (counts_by_day(engine, large, bins) if large else {})


def _is_small(paths: Sequence[Path], columns: int) -> bool:
    return sum(pq.read_metadata(path).num_rows for path in paths) * columns <= VALUES_AT_ONCE


class MemoryCounter:
    """Counts days by fixed bins, as `Counter` does."""

    def __init__(self, engine: Engine, bins: Sequence[Bins]) -> None:
        self._numbers, categorical = _parted(bins)
        self._categories = Counter(engine, categorical) if categorical else None

    def count(self, day: date, paths: Sequence[Path]) -> DayCounts:
        """The counts of a day's files."""
        counted = _number_counts(paths, self._numbers)
        if self._categories is None:
            return DayCounts(counted, {})
        rest = self._categories.count(day, paths)
        return DayCounts(counted | rest.counts, rest.newcomers)


def memory_counts_by_day(
    engine: Engine, paths: Mapping[date, Path], bins: Sequence[Bins]
) -> dict[date, dict[str, Counts]]:
    """The counts of several days, as `counts_by_day` gives them."""
    numbers, categorical = _parted(bins)
    rest = counts_by_day(engine, paths, categorical) if categorical else {}
    return {day: _number_counts([path], numbers) | rest.get(day, {}) for day, path in paths.items()}


def _parted(bins: Sequence[Bins]) -> tuple[list[Bins], list[Bins]]:
    """Bins of numbers, and bins of categories."""
    return [one for one in bins if one.categories is None], [one for one in bins if one.categories is not None]


def _number_counts(paths: Sequence[Path], bins: Sequence[Bins]) -> dict[str, Counts]:
    if not bins:
        return {}
    columns = [one.name for one in bins]
    rows = pa.concat_tables([pq.ParquetFile(path).read(columns=columns) for path in paths])
    return {one.name: number_counts(one, _numbers(rows[one.name])) for one in bins}


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """The values, NaN where one is missing."""
    floating = column if pa.types.is_floating(column.type) else column.cast(pa.float64())
    return floating.to_numpy()
