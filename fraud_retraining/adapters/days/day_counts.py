"""Counting days of the store by the bins of a profile, and measuring the profile of a training window.

Here: reading feature days, one at a time, with one query that is compiled once. Not here: bins and measures
(`domain/monitoring/bins.py`, `domain/monitoring/drift.py`).

A window's profile costs a bounded sample of it and one pass that counts; a day's counts cost one pass over that day.
Each pass takes the features in parcels, so that its memory follows the rows in flight and not the number of features.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraud_retraining.adapters.days.window_rows import ASSET, TABLE
from fraud_retraining.adapters.storage.engine import Engine, PreparedQuery
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.monitoring.bins import (
    ROWS,
    TEXTS_AT_ONCE,
    Bins,
    bin_counts,
    category_bins,
    category_counts,
    newcomers,
    number_bins,
    parcels,
    tallies,
    words,
)
from fraud_retraining.domain.monitoring.drift import (
    HEAVY_SHARE,
    Counts,
    DriftPolicy,
    FeatureProfile,
    HeavyKeys,
    Reference,
    ReferenceProfile,
    fraud_days,
    heavy_keys,
    reference_days,
)
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.domain.values.schemas import TIMESTAMP

CountsByDay = Callable[[Engine, Mapping[date, Path], Sequence[Bins]], dict[date, dict[str, Counts]]]
"""Gives the counts of several days by some bins."""

TODAY, DAY = "today", "day"
SAMPLE_DAYS = 10


class DayCounts(NamedTuple):
    """The rows of a day in every bin, and the categories that have none, by feature."""

    counts: dict[str, Counts]
    newcomers: dict[str, list[tuple[str, int]]]


class Counter:
    """Counts days by fixed bins; the query is compiled for the first day and then used for all."""

    def __init__(self, engine: Engine, bins: Sequence[Bins]) -> None:
        self._engine = engine
        self._bins = tuple(bins)
        self._categorical = [one for one in self._bins if one.categories is not None]

    def count(self, day: date, paths: Sequence[Path]) -> DayCounts:
        """The counts of a day's files."""
        counts: dict[str, Counts] = {}
        for some in parcels(self._bins):
            counts |= tallies(self._ask("bins", day, paths, some, bin_counts), some)
        new: dict[str, list[tuple[str, int]]] = {}
        for some in parcels(self._categorical):
            new |= words(self._ask("newcomers", day, paths, some, newcomers))
        return DayCounts(counts, new)

    def _ask(
        self,
        what: str,
        day: date,
        paths: Sequence[Path],
        bins: Sequence[Bins],
        build: Callable[[ir.Table, Sequence[Bins]], ir.Table],
    ) -> pa.Table:
        tables, name = {TODAY: [str(path) for path in paths]}, f"{what}_{digest(bins)[:16]}"
        columns = [one.name for one in bins]
        query = PreparedQuery(name, lambda _, given: build(given[TODAY], bins), columns=columns)
        return self._engine.prepared(query, day, tables)


def heavy_keys_of(engine: Engine, paths: Sequence[Path], entities: Sequence[str], rows: int) -> list[HeavyKeys]:
    """The heavy keys of each entity on a day, of those that have any."""
    found = []
    for entity in entities:
        table = engine.read_parquet(paths, columns=[entity])
        counted = table.filter(table[entity].notnull()).group_by(entity).agg(**{ROWS: ibis._.count()})
        # Filtered in the engine: a day has millions of keys, and at most a hundred are heavy.
        known = engine.to_arrow(counted.filter(ibis._[ROWS] > HEAVY_SHARE * rows))
        heavy = heavy_keys(entity, zip(known[entity].to_pylist(), known[ROWS].to_pylist(), strict=True), rows)
        found += [heavy] if heavy else []
    return found


def counts_without(engine: Engine, paths: Sequence[Path], bins: Sequence[Bins], heavy: HeavyKeys) -> dict[str, Counts]:
    """The rows of a day in every bin, but for those of heavy keys."""
    counts: dict[str, Counts] = {}
    for some in parcels(bins):
        columns = [heavy.entity, *(one.name for one in some if one.name != heavy.entity)]
        rows = engine.read_parquet(paths, columns=columns)
        key = rows[heavy.entity]
        # SQL's NOT IN is null for a missing key, which would drop its row.
        kept = rows.filter(key.isnull() | key.notin(list(heavy.keys)))
        counts |= tallies(engine.to_arrow(bin_counts(kept, some)), some)
    return counts


def measure_reference(
    store: Store,
    engine: Engine,
    window: TrainingWindow,
    plan: FeaturePlan,
    policy: DriftPolicy,
    fingerprint: str,
    count: CountsByDay,
) -> ReferenceProfile:
    """The profile of a training window: every row of its days, whether its label is known or not.

    Raises:
        IntegrityError: the store no longer holds a day with the manifest's digest.
    """
    chosen = reference_bins(store, engine, window, plan, policy)
    return chosen.profile(window, fingerprint, count(engine, chosen.paths, chosen.bins))


class ReferenceBins(NamedTuple):
    """The bins of a training window's features, the days that each is counted on, and the files of all days."""

    paths: dict[date, Path]
    reference: Reference
    bins: list[Bins]

    def profile(
        self, window: TrainingWindow, fingerprint: str, days: Mapping[date, Mapping[str, Counts]]
    ) -> ReferenceProfile:
        """The profile of the window, from the counts of its days."""
        return ReferenceProfile(
            fingerprint=fingerprint,
            as_of=window.days.as_of,
            training=window.days.training,
            features=tuple(
                FeatureProfile.of(one, [days[day][one.name] for day in self.reference.days[one.name]])
                for one in self.bins
            ),
            left_out=self.reference.left_out,
            fraud_days=fraud_days(window.training),
            missing_counted=True,
        )


def reference_bins(
    store: Store, engine: Engine, window: TrainingWindow, plan: FeaturePlan, policy: DriftPolicy
) -> ReferenceBins:
    """The bins that a training window is counted by.

    Raises:
        IntegrityError: the store no longer holds a day with the manifest's digest.
    """
    paths = _paths(store, window)
    reference = reference_days(plan, policy, tuple(paths), _first_day(window))
    judged = {name: reference.days[name] for name in plan.names if name in reference.days}
    return ReferenceBins(paths, reference, choose_bins(engine, paths, judged, plan.categorical, policy))


def _paths(store: Store, window: TrainingWindow) -> dict[date, Path]:
    found = store.partitions(ASSET, [day.day for day in window.training])
    records: list[Partition] = []
    for day in window.training:
        if day.day not in found or found[day.day].digest != day.features_digest:
            raise IntegrityError(
                "The days that would be profiled are not those of the window's manifest.",
                culprits=[day.day],
                remedy="materialize training_window of the as-of day again, and what follows from it.",
            )
        records.append(found[day.day])
    paths = store.paths(records, TABLE)
    return dict(zip((record.day for record in records), paths, strict=True))


def _first_day(window: TrainingWindow) -> date:
    return min((*(day for day, _ in window.history), *(day.day for day in window.training)))


def counts_by_day(engine: Engine, paths: Mapping[date, Path], bins: Sequence[Bins]) -> dict[date, dict[str, Counts]]:
    """The counts of several days. A day without a row counts as nothing in every bin."""
    found: dict[date, dict[str, Counts]] = {day: {} for day in paths}
    for some in parcels(bins):
        rows = engine.read_parquet(list(paths.values()), columns=[TIMESTAMP, *(one.name for one in some)])
        counted = engine.to_arrow(bin_counts(rows, some, by={DAY: rows[TIMESTAMP].date()}))
        for day in paths:
            found[day] |= tallies(counted.filter(pc.equal(counted[DAY], pa.scalar(day, pa.date32()))), some)
    return found


def choose_bins(
    engine: Engine,
    paths: Mapping[date, Path],
    features: Mapping[str, tuple[date, ...]],
    categorical: Sequence[str],
    policy: DriftPolicy,
) -> list[Bins]:
    """The bins of each feature: of numbers from a sample of the days that are named for it, of categories from all."""
    texts = [name for name in features if name in categorical]
    known = _categories(engine, paths, texts, policy.categories)
    found = {name: category_bins(name, known.get(name, []), policy.categories) for name in texts}
    for some in parcels([name for name in features if name not in texts]):
        sample = _sample(paths, {name: features[name] for name in some}, policy.sample_rows)
        found |= {name: number_bins(name, sample[name], policy.bins) for name in some}
    return [found[name] for name in features]


def _sample(paths: Mapping[date, Path], days: Mapping[str, tuple[date, ...]], rows: int) -> dict[str, np.ndarray]:
    """About so many values of each feature, from one row group of each of some of its days, evenly spread.

    Each day gives a later row group than the one before, so that all hours are met and little is read.
    """
    alike: dict[tuple[date, ...], list[str]] = {}
    for name, reference in days.items():
        alike.setdefault(reference, []).append(name)
    sample: dict[str, np.ndarray] = {}
    for reference, names in alike.items():
        chosen = reference[:: -(-len(reference) // SAMPLE_DAYS)]
        parts = [_thinned(paths[day], number, names, rows // len(chosen)) for number, day in enumerate(chosen)]
        sample |= {name: np.concatenate([part[name].to_numpy() for part in parts]) for name in names}
    return sample


def _thinned(path: Path, number: int, names: Sequence[str], wanted: int) -> pa.Table:
    """Every so manieth row of one row group."""
    file = pq.ParquetFile(path)
    if not file.num_row_groups:
        return file.read(columns=list(names))
    # One row group and not the file: a sample that reads the whole window would cost as much as the count.
    group = file.read_row_group(number % file.num_row_groups, columns=list(names))
    return group.take(np.arange(0, group.num_rows, max(1, group.num_rows // max(wanted, 1))))


def _categories(
    engine: Engine, paths: Mapping[date, Path], names: Sequence[str], most: int
) -> dict[str, list[tuple[str, int]]]:
    """The most frequent categories of the whole window."""
    found: dict[str, list[tuple[str, int]]] = {}
    for some in parcels(names, TEXTS_AT_ONCE):
        rows = engine.read_parquet(list(paths.values()), columns=some)
        found |= words(engine.to_arrow(category_counts(rows, some, most)))
    return found
