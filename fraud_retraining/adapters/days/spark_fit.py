"""The fit of a window by XGBoost's Spark estimator: its rows are read, weighed and learnt from on Spark's workers.

Here: what a worker reads, and the fit. Not here: which rows each worker gets (`domain/training/row_shares.py`), and the
same fit in the process of the run (`domain/training/fitting.py`).

Each worker reads its own share of the rows from the store, in the order of the window: nothing is shuffled, so that the
same window and number of workers give the same trees, bit for bit. The driver gets counts and the fitted trees, and no
row; ids of known frauds of a label feed come from it, as labels of a feed follow from all its days.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from fraud_retraining.adapters.days.known_labels import KnownLabels
from fraud_retraining.adapters.days.window_rows import WindowRows
from fraud_retraining.adapters.storage.spark_days import SparkDays
from fraud_retraining.adapters.storage.spark_files import ROWS_AT_ONCE, Batches
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.training.estimators.registry import ESTIMATORS
from fraud_retraining.domain.training.estimators.xgboost import FILE, booster_parameters, feature_types
from fraud_retraining.domain.training.fitting import FittedModel, ModelPolicy, fitted_model
from fraud_retraining.domain.training.row_shares import Share, equal_shares
from fraud_retraining.domain.training.training_rows import (
    Census,
    TrainingRows,
    as_numbers,
    category_counts,
    most_frequent,
)
from fraud_retraining.domain.training.windows import TrainingWindow, WindowDay
from fraud_retraining.domain.values.errors import DependencyUnreachable, IntegrityError, SettingsError
from fraud_retraining.domain.values.schemas import TRANSACTION_ID

if TYPE_CHECKING:
    from xgboost.spark import SparkXGBClassifier

T = TypeVar("T")
Hold = Callable[[], object]
"""Called while Spark works; what it raises ends the fit, as a lost lease or a used-up budget do."""
Words = dict[str, tuple[str, ...]]

LABEL, WEIGHT = "label", "weight"
HOLD_SECONDS = 2.0
SLOT_SECONDS = 120.0
"""How long workers of a cluster may take to come: all of a fit work at once, or none does."""


@dataclass(frozen=True)
class LearntRows:
    """Which rows a fit learns from, and where they lie; it goes to the workers."""

    store: Store
    window: TrainingWindow
    policy: ModelPolicy
    known: KnownLabels | None

    def of(self, days: Sequence[WindowDay], features: tuple[str, ...]) -> TrainingRows:
        """The rows of some days, with label and weight."""
        window, policy = self.window, self.policy
        batches = WindowRows(self.store, days, window.days.as_of, [TRANSACTION_ID, *features], self.known)
        categorical = tuple(name for name in window.categorical if name in features)
        return TrainingRows(batches, features, categorical, policy.downsample, policy.seed)


def fit_on_spark(
    policy: ModelPolicy, window: TrainingWindow, store: Store, spark: SparkDays, hold: Hold
) -> FittedModel:
    """The model that a window, this policy and its number of workers determine, bit for bit.

    With one worker it has the trees of the local fit. With more they differ: the bins of a feature are merged from
    those of each worker, and rows of a tree are drawn by each of them.

    Raises:
        DataInvalid: rows from which nothing can be learnt.
        IntegrityError: the store no longer holds the days of the window's manifest.
        SettingsError: Spark on this machine has fewer cores than the fit has workers.
        DependencyUnreachable: Spark gave up, or had no room for the workers in time; nothing is left of the fit.
    """
    assert policy.trainer_workers is not None
    learnt = LearntRows(store, window, policy, KnownLabels.of(window, store))
    with _Work(spark, hold) as work:
        require_slots(spark, policy.trainer_workers, hold)
        words = _vocabularies(learnt, work)
        found = work.spread(window.training, partial(_census, learnt=learnt, words=words))
        census = Census.merged(found)
        census.refuse_if_degenerate(window.features)
        shares = equal_shares([one.rows for one in found], policy.trainer_workers)
        booster = work.fitted(learnt, words, shares)
    # Read anew: this booster is set to the threads of a worker.
    core = ESTIMATORS[policy.estimator].load({FILE: bytes(booster.save_raw("ubj"))}, window.features)
    rows = learnt.of(window.training, window.features)
    return fitted_model(policy, core, rows, words, census)


def require_slots(spark: SparkDays, workers: int, hold: Hold, seconds: float = SLOT_SECONDS) -> None:
    """Waits until Spark has room for all workers of a fit.

    Raises:
        SettingsError: it never will, as it runs on this machine alone.
        DependencyUnreachable: it had none in time.
    """
    waited_until = time.monotonic() + seconds
    while (slots := spark.slots()) < workers:
        found = (
            f"Spark runs {slots} tasks at once, and the {workers} workers of a fit (model.trainer_workers) are one each"
        )
        if spark.is_local:
            raise SettingsError(found, remedy="lower model.trainer_workers, or give engine.master more cores.")
        if time.monotonic() > waited_until:
            raise DependencyUnreachable(
                found,
                remedy="give Spark more executors or cores (spark.executor.instances, spark.executor.cores in "
                "engine.config), or lower model.trainer_workers.",
            )
        hold()
        time.sleep(HOLD_SECONDS)


class _Work:
    """Work of Spark's, in a thread of its own, so that this one can end it; a context manager."""

    def __init__(self, spark: SparkDays, hold: Hold) -> None:
        self._spark = spark
        self._hold = hold
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spark-fit")

    def __enter__(self) -> "_Work":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def spread(self, days: Sequence[WindowDay], task: Callable[[WindowDay], T]) -> list[T]:
        """What a task gives for each day, on the workers."""
        return self._done(lambda: self._spark.spread(days, task))

    def fitted(self, learnt: LearntRows, words: Words, shares: Sequence[Share]) -> Any:
        """The booster."""
        return self._done(lambda: self._spark.run(lambda: _fitted(self._spark, learnt, words, shares)))

    def _done(self, task: Callable[[], T]) -> T:
        running = self._thread.submit(task)
        try:
            while not wait([running], HOLD_SECONDS).done:
                self._hold()
        except BaseException:
            self._end(running)
            raise
        return running.result()

    def _end(self, running: Future[Any]) -> None:
        # Again and again: a fit is more than one job, and may be between two of them.
        while not running.done():
            self._spark.cancel()
            wait([running], HOLD_SECONDS)


def _vocabularies(learnt: LearntRows, work: _Work) -> Words:
    window, policy = learnt.window, learnt.policy
    if not window.categorical:
        return {}
    counts = work.spread(window.training, partial(_category_counts, learnt=learnt))
    return most_frequent(counts, ESTIMATORS[policy.estimator].max_categories(policy.parameters))


def _category_counts(day: WindowDay, *, learnt: LearntRows) -> dict[str, pa.Table]:
    return category_counts(learnt.of([day], learnt.window.categorical))


def _census(day: WindowDay, *, learnt: LearntRows, words: Words) -> Census:
    census, features = Census(), learnt.window.features
    for table in learnt.of([day], features):
        census.add(as_numbers(table, features, words))
    return census


def _fitted(spark: SparkDays, learnt: LearntRows, words: Words, shares: Sequence[Share]) -> Any:
    names = [str(number) for number in range(len(learnt.window.features))]
    schema = pa.schema([(name, pa.float32()) for name in (*names, LABEL, WEIGHT)])
    frame = spark.partitions(len(shares), _share_reader(learnt, words, shares), schema)
    return _estimator(learnt, words, names).fit(frame).get_booster()


def _estimator(learnt: LearntRows, words: Words, names: list[str]) -> "SparkXGBClassifier":
    from xgboost.spark import SparkXGBClassifier

    # It logs each fit with all its parameters, and gives its logger a handler where there is none.
    logging.getLogger("XGBoost-PySpark").setLevel(logging.WARNING)
    policy, features = learnt.policy, learnt.window.features
    parameters: Any = policy.parameters
    # By number: Spark takes a name with a dot apart. Categories are given as types: it refuses `enable_categorical`,
    # and sets it where types are there. Objective (`binary:logistic` for two labels) and threads (spark.task.cpus) are
    # its own. The frame has a partition a worker, or rows would be dealt out anew, in an order that no run repeats.
    return SparkXGBClassifier(
        features_col=names,
        label_col=LABEL,
        weight_col=WEIGHT,
        feature_names=list(features),
        feature_types=feature_types(features, words),
        num_workers=policy.trainer_workers,
        n_estimators=parameters.n_estimators,
        random_state=policy.seed,
        force_repartition=False,
        verbose=False,
        **booster_parameters(parameters),
    )


def _share_reader(learnt: LearntRows, words: Words, shares: Sequence[Share]) -> Callable[[Batches], Batches]:
    """What a worker runs: gets the number of its share, and gives its rows as numbers."""

    def read(numbers: Batches) -> Batches:
        for batch in numbers:
            for number in batch.column(0).to_pylist():
                yield from _rows(learnt, words, shares[number])

    return read


def _rows(learnt: LearntRows, words: Words, share: Share) -> Iterator[pa.RecordBatch]:
    features = learnt.window.features
    skipped, wanted = share.skipped, share.rows
    for table in learnt.of(learnt.window.training[share.first : share.last + 1], features):
        part = table.slice(skipped, wanted)
        skipped = max(0, skipped - table.num_rows)
        wanted -= part.num_rows
        for first in range(0, part.num_rows, ROWS_AT_ONCE):
            block = as_numbers(part.slice(first, ROWS_AT_ONCE), features, words)
            columns = [pa.array(column) for column in (*block.columns, block.label, block.weight)]
            names = [*map(str, range(len(features))), LABEL, WEIGHT]
            yield pa.RecordBatch.from_arrays(columns, names=names)
        if not wanted:
            return
    raise IntegrityError(
        f"{wanted} rows of a share of the window are not there any more",
        culprits=[f"{learnt.window.training[share.first].day} to {learnt.window.training[share.last].day}"],
        remedy="nothing of the fit was published; run it again.",
    )
