"""Counts of the days of a run by the bins of a profile, on Spark: one query for all of them.

Here: that. Not here: bins (`domain/monitoring/bins.py`), and counting a single day (`adapters/days/day_counts.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path

import ibis.expr.types as ir
import pyarrow as pa

from fraud_retraining.adapters.days.day_counts import DayCounts
from fraud_retraining.adapters.storage.engine import PreparedQuery
from fraud_retraining.adapters.storage.locations import ObjectInfo
from fraud_retraining.adapters.storage.spark_days import SparkDays
from fraud_retraining.adapters.storage.spark_files import Place
from fraud_retraining.domain.monitoring.bins import Bins, bin_counts, newcomers, parcels, tallies, words
from fraud_retraining.domain.monitoring.drift import Counts
from fraud_retraining.domain.values.days import THIS_DAY

ROWS = "rows"


class SparkCounter:
    """Counts the days of a run by fixed bins; the first day that is asked for has all of them counted.

    `files` has the feature rows of each day, which lie in `place`.
    """

    def __init__(
        self, spark: SparkDays, place: Place, files: Mapping[date, Sequence[ObjectInfo]], bins: Sequence[Bins]
    ) -> None:
        self._spark = spark
        self._place = place
        self._files = files
        self._bins = tuple(bins)

    def count(self, day: date, paths: Sequence[Path]) -> DayCounts:
        """The counts of a day of the run; its local `paths` are not read."""
        return self._counted[day]

    @cached_property
    def _counted(self) -> dict[date, DayCounts]:
        counts: dict[date, dict[str, Counts]] = {day: {} for day in self._files}
        new: dict[date, dict[str, list[tuple[str, int]]]] = {day: {} for day in self._files}
        for some in parcels(self._bins):
            for day, table in self._ask(some, lambda rows, bins: bin_counts(rows, bins, by=_by(rows))).items():
                counts[day] |= tallies(table, some)
        for some in parcels([one for one in self._bins if one.categories is not None]):
            for day, table in self._ask(some, lambda rows, bins: newcomers(rows, bins, by=(THIS_DAY,))).items():
                new[day] |= words(table)
        return {day: DayCounts(counts[day], new[day]) for day in self._files}

    def _ask(self, bins: Sequence[Bins], build: Callable[[ir.Table, Sequence[Bins]], ir.Table]) -> dict[date, pa.Table]:
        query = PreparedQuery(
            ROWS,
            lambda _, tables: build(tables[ROWS], bins),
            columns=[one.name for one in bins],
            read_often=frozenset({ROWS}),
        )
        return self._spark.ask(query, {ROWS: self._place}, {day: {ROWS: files} for day, files in self._files.items()})


def _by(rows: ir.Table) -> dict[str, ir.Column]:
    return {THIS_DAY: rows[THIS_DAY]}
