"""Fitting the fraud model: which estimators there are, with which parameters, and how rows become a fitted model.

Here: the model policy, the pass over the training rows (category vocabularies, down-sampling, the refusal of data that
teaches nothing), and one fit function per estimator. Not here: which rows those are (`domain/training/windows.py`),
scoring (`domain/training/scoring.py`), and where the model is kept (`adapters/mlflow/registry.py`).

Rows arrive as `Batches`: a function that gives the same record batches, in the same order, each time it is called.
XGBoost passes over them several times and never holds them all; the other two estimators hold one matrix.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationError, field_validator, model_validator

from fraud_retraining.domain.training.scoring import (
    FIRST_CATEGORY,
    BoosterCore,
    Core,
    FittedModel,
    FloatColumn,
    HistogramCore,
    LogisticCore,
    category_texts,
    float_columns,
)
from fraud_retraining.domain.values.base import Policy
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import (
    IS_FRAUD,
    TRANSACTION_ID,
)

__all__ = ["Batches", "FittedModel", "ModelPolicy", "OnRound", "fit"]

Batches: TypeAlias = Callable[[], Iterator[pa.RecordBatch]]
OnRound: TypeAlias = Callable[[int, int], None]

WEIGHT = "weight"
BLOCK_ROWS = 1 << 18
MAX_CATEGORIES = 253
COMPACT_AT = 1 << 20


# ---------------------------------------------------------------- policy


class XGBoostParams(Policy):
    """Parameters of XGBoost, with the shipped defaults.

    Trees are grown from histograms (`tree_method=hist`, the only method that streams; many bins win back what it loses
    to `exact`). Boosting starts from the fraud rate: from 0.5, a model of few or slow rounds never comes down to it,
    and its probabilities are wrong; average precision on the handbook protocol is the same from either.
    """

    n_estimators: int = Field(200, ge=1, le=10_000, description="Boosting rounds.")
    learning_rate: float = Field(0.05, gt=0, le=1, description="Shrinkage of each tree.")
    max_depth: int = Field(6, ge=1, le=16, description="Depth of each tree.")
    max_bin: int = Field(1024, ge=2, le=65_535, description="Histogram bins per feature.")
    min_child_weight: float = Field(5.0, ge=0, description="Least sum of hessians in a leaf.")
    subsample: float = Field(0.8, gt=0, le=1, description="Share of rows per tree.")
    colsample_bytree: float = Field(0.4, gt=0, le=1, description="Share of features per tree.")
    colsample_bylevel: float = Field(1.0, gt=0, le=1, description="Share of a tree's features per level.")
    colsample_bynode: float = Field(1.0, gt=0, le=1, description="Share of a level's features per split.")
    gamma: float = Field(0.0, ge=0, description="Least loss reduction of a split.")
    reg_alpha: float = Field(0.0, ge=0, description="L1 penalty on leaf values.")
    reg_lambda: float = Field(5.0, ge=0, description="L2 penalty on leaf values.")
    max_delta_step: float = Field(0.0, ge=0, description="Most that one leaf may move the log-odds; 0 is no limit.")
    max_leaves: int = Field(0, ge=0, description="Most leaves of a tree; 0 is no limit.")
    grow_policy: Literal["depthwise", "lossguide"] = Field("depthwise", description="Which leaf is split next.")
    scale_pos_weight: float = Field(1.0, gt=0, description="Weight of frauds; other than 1 it distorts probabilities.")
    base_score: float | None = Field(
        None, gt=0, lt=1, description="Probability that boosting starts from; null is the training rows' fraud rate."
    )
    max_cat_to_onehot: int = Field(4, ge=1, description="Categories up to which a split takes one against the rest.")
    max_cat_threshold: int = Field(64, ge=1, description="Most categories on one side of a split.")


class HistogramParams(Policy):
    """Parameters of scikit-learn's histogram gradient boosting. Early stopping is off: it would cost repeatability."""

    max_iter: int = Field(200, ge=1, le=10_000, description="Boosting rounds.")
    learning_rate: float = Field(0.07, gt=0, le=1, description="Shrinkage of each tree.")
    max_leaf_nodes: int = Field(31, ge=2, description="Most leaves of a tree.")
    max_depth: int | None = Field(None, ge=1, description="Depth of each tree; null is no limit.")
    min_samples_leaf: int = Field(50, ge=1, description="Least rows in a leaf.")
    l2_regularization: float = Field(1.0, ge=0, description="L2 penalty on leaf values.")
    max_features: float = Field(1.0, gt=0, le=1, description="Share of features per split.")
    max_bins: int = Field(255, ge=8, le=255, description="Bins per feature.")


class LogisticParams(Policy):
    """Parameters of scikit-learn's logistic regression."""

    C: float = Field(1.0, gt=0, description="Inverse strength of the L2 penalty.")
    max_iter: int = Field(300, ge=1, le=100_000, description="Most iterations of the solver.")
    tol: float = Field(1e-4, gt=0, description="Tolerance at which the solver stops.")


PARAMETERS: dict[str, type[XGBoostParams] | type[HistogramParams] | type[LogisticParams]] = {
    "xgboost": XGBoostParams,
    "hist_gradient_boosting": HistogramParams,
    "logistic_regression": LogisticParams,
}


_SIGNS_OF_ADDRESSES = frozenset("/:@#?%'\"`\\")
"""Signs with a meaning in MLflow's addresses of models and in the text of its searches."""


class ModelPolicy(Policy):
    """Which estimator is fitted, with which parameters."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        "fraud_detector", description="Name of the registered model."
    )
    estimator: Literal["xgboost", "hist_gradient_boosting", "logistic_regression"] = Field(
        "xgboost", description="xgboost streams any number of rows; the other two hold the window in memory."
    )
    params: dict[str, bool | int | float | str | None] = Field(
        {}, description="Parameters of the estimator that differ from the shipped defaults, by name."
    )
    seed: int = Field(7, ge=0, lt=2**31, description="Seed of everything random in the fit.")
    downsample: float | None = Field(
        None, gt=0, le=1, description="Share of non-frauds to keep; kept ones weigh 1/share. Null keeps all."
    )
    threads: int = Field(0, ge=0, le=1024, description="Threads of XGBoost; 0 is every core. The model is the same.")

    @field_validator("name")
    @classmethod
    def _askable(cls, name: str) -> str:
        if signs := sorted({sign for sign in name if sign in _SIGNS_OF_ADDRESSES or not sign.isprintable()}):
            held = " ".join(repr(sign)[1:-1] for sign in signs)
            raise ValueError(f"{name!r} holds {held}, by which MLflow could not ask for a model")
        if name != name.strip():
            raise ValueError(f"{name!r} begins or ends with a space")
        return name

    @model_validator(mode="after")
    def _obeyable(self) -> Self:
        _ = self.parameters
        return self

    @property
    def parameters(self) -> XGBoostParams | HistogramParams | LogisticParams:
        """The shipped defaults of the estimator with `params` laid over them.

        Raises:
            ValueError: names every parameter that the estimator does not have or whose value is out of bounds.
        """
        kind = PARAMETERS[self.estimator]
        try:
            return kind.model_validate(self.params)
        except ValidationError as error:
            raise ValueError(_problems(error, self.estimator, tuple(kind.model_fields))) from None


def _problems(error: ValidationError, estimator: str, known: tuple[str, ...]) -> str:
    unknown = [str(problem["loc"][0]) for problem in error.errors() if problem["type"] == "extra_forbidden"]
    wrong = [
        f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors() if problem["type"] != "extra_forbidden"
    ]
    if unknown:
        wrong.insert(0, f"{estimator} has no parameter {', '.join(unknown)}; it has {', '.join(known)}")
    return "; ".join(wrong)


# ---------------------------------------------------------------- the training rows


@dataclass(frozen=True)
class TrainingRows:
    """The rows that are learnt from: every fraud, and the share of non-frauds that is kept.

    Which non-frauds are kept depends on the transaction's id and the seed alone (on the row's position where batches
    carry no id), so that a transaction stays kept when the window moves on.
    """

    batches: Batches
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    share: float | None
    seed: int

    def __iter__(self) -> Iterator[pa.Table]:
        """Blocks of exactly `BLOCK_ROWS` rows (the last one smaller), however the batches were cut."""
        held: list[pa.Table] = []
        rows = 0
        for table in self._kept():
            held.append(table)
            rows += table.num_rows
            while rows >= BLOCK_ROWS:
                joined = pa.concat_tables(held)
                yield joined.slice(0, BLOCK_ROWS).combine_chunks()
                rows -= BLOCK_ROWS
                held = [joined.slice(BLOCK_ROWS)] if rows else []
        if rows:
            yield pa.concat_tables(held).combine_chunks()

    def _kept(self) -> Iterator[pa.Table]:
        seen = 0
        for batch in self.batches():
            if batch.num_rows:
                table = self._sampled(_labelled(batch), seen)
                yield table.select([name for name in (*self.features, IS_FRAUD, WEIGHT) if name in table.column_names])
            seen += batch.num_rows

    def _sampled(self, table: pa.Table, first: int) -> pa.Table:
        if self.share is None or self.share >= 1:
            return table
        fraud = table.column(IS_FRAUD).to_numpy() != 0
        keep = fraud | (_uniform(table, first, self.seed) < self.share)
        weight = table.column(WEIGHT).to_numpy() / np.where(fraud, 1.0, self.share).astype(np.float32)
        position = table.schema.get_field_index(WEIGHT)
        return table.set_column(position, WEIGHT, pa.array(weight)).filter(pa.array(keep))


def _labelled(batch: pa.RecordBatch) -> pa.Table:
    """The batch with float32 label and weight (1 where batches carry none); unknown labels are refused."""
    table = pa.Table.from_batches([batch])
    if IS_FRAUD not in table.column_names:
        raise DataInvalid(f"The training rows have no column {IS_FRAUD}.", culprits=table.column_names)
    label = table.column(IS_FRAUD).cast(pa.float32()).combine_chunks()
    if label.null_count or not np.isin(label.to_numpy(zero_copy_only=False), (0.0, 1.0)).all():
        raise DataInvalid(
            "Rows whose label is unknown, or neither 0 nor 1, reached the fit.",
            culprits=[f"{label.null_count} without a label"],
            remedy="Only rows with a known label are training rows.",
        )
    weight = (
        table.column(WEIGHT).cast(pa.float32(), safe=False).combine_chunks()
        if WEIGHT in table.column_names
        else pa.array(np.ones(table.num_rows, np.float32))
    )
    values = weight.to_numpy(zero_copy_only=False)
    if not (np.isfinite(values) & (values > 0)).all():
        raise DataInvalid("A training row has a weight that is not a positive number.", culprits=[WEIGHT])
    kept = [name for name in table.column_names if name not in (IS_FRAUD, WEIGHT)]
    return table.select(kept).append_column(IS_FRAUD, label).append_column(WEIGHT, weight)


def _uniform(table: pa.Table, first: int, seed: int) -> np.ndarray[Any, Any]:
    """A number in [0, 1) per row that depends on the transaction's id and the seed only."""
    if TRANSACTION_ID not in table.column_names:
        keys = np.arange(first, first + table.num_rows, dtype=np.uint64)
    elif pa.types.is_integer(table.schema.field(TRANSACTION_ID).type):
        keys = table.column(TRANSACTION_ID).cast(pa.int64()).to_numpy().view(np.uint64)
    else:
        from pandas.util import hash_array

        texts = table.column(TRANSACTION_ID).cast(pa.string()).to_numpy(zero_copy_only=False)
        keys = hash_array(texts, categorize=False)
    return (_mixed(keys, seed) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(keys: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """SplitMix64 (Steele, Lea and Flood 2014), which scatters neighbouring keys."""
    with np.errstate(over="ignore"):
        mixed = keys + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 & (2**64 - 1))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def vocabularies(rows: TrainingRows, limit: int) -> dict[str, tuple[str, ...]]:
    """The most frequent categories of each categorical column, most frequent first, ties in the order of the text.

    Counting is exact: memory grows with the number of distinct categories, not with the rows.
    """
    if not rows.categorical:
        return {}
    counts: dict[str, list[pa.Table]] = {name: [] for name in rows.categorical}
    for table in rows:
        absent = [name for name in rows.categorical if name not in table.column_names]
        if absent:
            raise DataInvalid("The training rows lack categorical features.", culprits=absent)
        for name, parts in counts.items():
            parts.append(_counted(category_texts(table.column(name))))
            if sum(part.num_rows for part in parts) > COMPACT_AT:
                counts[name] = [_merged(parts)]
    return {name: _most_frequent(parts, limit) for name, parts in counts.items()}


def _counted(texts: pa.ChunkedArray) -> pa.Table:
    counts = pc.value_counts(texts.drop_null())
    return pa.table({"word": counts.field("values"), "rows": counts.field("counts")})


def _merged(parts: list[pa.Table]) -> pa.Table:
    merged = pa.concat_tables(parts).group_by("word").aggregate([("rows", "sum")])
    return merged.rename_columns({"rows_sum": "rows"}).select(["word", "rows"])


def _most_frequent(parts: list[pa.Table], limit: int) -> tuple[str, ...]:
    if not parts:
        return ()
    ordered = _merged(parts).sort_by([("rows", "descending"), ("word", "ascending")])
    return tuple(ordered.column("word").slice(0, limit).to_pylist())


# ---------------------------------------------------------------- blocks of numbers


@dataclass(frozen=True)
class Block:
    """Some training rows as numbers."""

    columns: list[FloatColumn]
    label: FloatColumn
    weight: FloatColumn


@dataclass
class Census:
    """What one pass over the training rows saw, and the law that every pass sees the same."""

    rows: int = 0
    frauds: int = 0
    weight: float = 0.0
    digest: int = 0
    first: dict[int, np.float32] = field(default_factory=dict)

    def add(self, block: Block) -> None:
        """Count a block."""
        if not self.rows:
            self.first = {position: column[0] for position, column in enumerate(block.columns)}
        self.first = {position: value for position, value in self.first.items() if _all(block.columns[position], value)}
        self.rows += len(block.label)
        self.frauds += int(block.label.sum(dtype=np.float64))
        self.weight += float(block.weight.sum(dtype=np.float64))
        for column in (block.label, block.weight, block.columns[0]):
            self.digest = zlib.crc32(column.tobytes(), self.digest)

    def constant(self, features: tuple[str, ...]) -> list[str]:
        """Features that say the same about every row."""
        return [features[position] for position in sorted(self.first)]

    def refuse_if_degenerate(self, features: tuple[str, ...]) -> None:
        """Raise DataInvalid for rows from which nothing can be learnt."""
        problems = []
        if not self.rows:
            problems.append("no rows")
        elif self.frauds in (0, self.rows):
            problems.append(f"one class only: {self.frauds} frauds in {self.rows} rows")
        if self.rows and len(self.constant(features)) == len(features):
            problems.append("every feature is constant")
        if problems:
            raise DataInvalid(
                "Nothing can be learnt from the training rows.",
                culprits=problems,
                remedy="Look at the labels and features of the window's days; widen the window.",
            )


def _all(column: FloatColumn, value: np.float32) -> bool:
    return bool(np.isnan(column).all() if np.isnan(value) else (column == value).all())


@dataclass
class Blocks:
    """The training rows as blocks of numbers; each pass is held against the first."""

    rows: TrainingRows
    features: tuple[str, ...]
    words: dict[str, tuple[str, ...]]
    census: Census | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[Block]:
        census = Census()
        for table in self.rows:
            block = Block(
                float_columns(table, self.features, self.words),
                table.column(IS_FRAUD).to_numpy(),
                table.column(WEIGHT).to_numpy(),
            )
            census.add(block)
            yield block
        self._close(census)

    def _close(self, census: Census) -> None:
        if self.census is None:
            census.refuse_if_degenerate(self.features)
            self.census = census
        elif (census.rows, census.digest) != (self.census.rows, self.census.digest):
            raise DataInvalid(
                "The training rows changed between two passes of the fit.",
                culprits=[f"first {self.census.rows} rows, then {census.rows}"],
                remedy="Read the window in a fixed order from files that nobody rewrites.",
            )

    def counted(self) -> Census:
        """The census, by a pass of its own when none was made yet."""
        for _ in self if self.census is None else ():
            pass
        assert self.census is not None
        return self.census

    def in_memory(self, dtype: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The whole matrix with labels and weights, filled into memory that a counting pass allocated."""
        rows = self.counted().rows
        matrix = np.empty((rows, len(self.features)), dtype)
        label, weight = np.empty(rows, np.float32), np.empty(rows, np.float32)
        first = 0
        for block in self:
            last = first + len(block.label)
            for position, column in enumerate(block.columns):
                matrix[first:last, position] = column
            label[first:last], weight[first:last] = block.label, block.weight
            first = last
        return matrix, label, weight


# ---------------------------------------------------------------- the fits


def fit(
    policy: ModelPolicy,
    features: tuple[str, ...],
    categorical: tuple[str, ...],
    batches: Batches,
    *,
    on_round: OnRound | None = None,
) -> FittedModel:
    """The model that these rows, this policy and this seed determine, bit for bit.

    Args:
        policy: estimator, parameters, seed and down-sampling.
        features: feature columns in the order that the model reads them.
        categorical: those of `features` that hold categories (text or integers).
        batches: re-iterable rows: the feature columns, `is_fraud`, optionally `weight` and `transaction_id`.
        on_round: called after each boosting round with (rounds done, rounds in all); what it raises ends the fit.
            scikit-learn's estimators have no such hook: they call it before and after the fit.

    Raises:
        DataInvalid: rows from which nothing can be learnt, a row without a label, an infinite value, a missing
            column, or rows that differ between two passes.
    """
    params = policy.parameters
    share = policy.downsample
    rows = TrainingRows(batches, features, categorical, share, policy.seed)
    words = vocabularies(rows, _category_limit(params))
    blocks = Blocks(rows, features, words)
    core, versions = _fitted_core(policy, params, blocks, on_round or (lambda done, total: None))
    census = blocks.counted()
    return FittedModel(
        estimator=policy.estimator,
        features=features,
        categorical=categorical,
        core=core,
        vocabularies=words,
        params={**params.model_dump(mode="json"), **({"downsample": share} if share is not None else {})},
        seed=policy.seed,
        versions={**versions, "numpy": np.__version__},
        facts={
            "rows": census.rows,
            "frauds": census.frauds,
            "weight": census.weight,
            "constant_features": census.constant(features),
        },
    )


def _category_limit(params: Policy) -> int:
    bins = params.max_bins if isinstance(params, HistogramParams) else MAX_CATEGORIES + FIRST_CATEGORY
    return min(MAX_CATEGORIES, bins - FIRST_CATEGORY)


def _fitted_core(policy: ModelPolicy, params: Policy, blocks: Blocks, on_round: OnRound) -> tuple[Core, dict[str, str]]:
    if isinstance(params, XGBoostParams):
        import xgboost

        return fit_xgboost(params, policy.seed, policy.threads, blocks, on_round), {"xgboost": xgboost.__version__}
    import sklearn

    on_round(0, 1)
    core: Core
    if isinstance(params, HistogramParams):
        core = fit_histogram(params, policy.seed, blocks)
    else:
        assert isinstance(params, LogisticParams)
        core = fit_logistic(params, policy.seed, blocks)
    on_round(1, 1)
    return core, {"scikit-learn": sklearn.__version__}


def fit_xgboost(params: XGBoostParams, seed: int, threads: int, blocks: Blocks, on_round: OnRound) -> BoosterCore:
    """Trees grown from quantised rows: the float matrix is never held.

    XGBoost makes four passes over the blocks to find the bins and fill its own matrix of bin numbers: two bytes a
    value up to 65,536 bins while no value is missing, else four.
    """
    import xgboost

    given = params.model_dump()
    rounds = given.pop("n_estimators")
    if given["base_score"] is None:
        del given["base_score"]
    matrix = xgboost.QuantileDMatrix(
        _block_iterator(blocks), max_bin=params.max_bin, nthread=threads, enable_categorical=bool(blocks.words)
    )
    booster = xgboost.train(
        {
            **given,
            "objective": "binary:logistic",
            "tree_method": "hist",
            "seed": seed,
            "nthread": threads,
        },
        matrix,
        rounds,
        callbacks=[_round_callback(rounds, on_round)],
    )
    return BoosterCore(booster, blocks.features)


def _block_iterator(blocks: Blocks) -> Any:
    """The blocks in the form that XGBoost asks for them."""
    import xgboost

    kinds = ["c" if name in blocks.words else "q" for name in blocks.features]

    class BlockIterator(xgboost.DataIter):
        def __init__(self) -> None:
            super().__init__()
            self.pass_ = iter(blocks)

        def reset(self) -> None:
            self.pass_ = iter(blocks)

        def next(self, input_data: Callable[..., None]) -> bool:
            block = next(self.pass_, None)
            if block is None:
                return False
            columns = [pa.array(column) for column in block.columns]
            input_data(
                data=pa.Table.from_arrays(columns, names=list(blocks.features)),
                label=block.label,
                weight=block.weight,
                feature_names=list(blocks.features),
                feature_types=kinds,
            )
            return True

    return BlockIterator()


def _round_callback(rounds: int, on_round: OnRound) -> Any:
    import xgboost

    class RoundCallback(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            on_round(epoch + 1, rounds)
            return False

    return RoundCallback()


def fit_histogram(params: HistogramParams, seed: int, blocks: Blocks) -> HistogramCore:
    """scikit-learn's gradient boosting, on the whole matrix in float64: it would copy a float32 one to float64."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    matrix, label, weight = blocks.in_memory(np.float64)
    classifier = HistGradientBoostingClassifier(
        **params.model_dump(),
        categorical_features=[name in blocks.words for name in blocks.features] if blocks.words else None,
        early_stopping=False,
        random_state=seed,
    )
    return HistogramCore(classifier.fit(matrix, label, sample_weight=weight))


def fit_logistic(params: LogisticParams, seed: int, blocks: Blocks) -> LogisticCore:
    """Logistic regression on numbers (missing ones at the median, standardised) and one-hot categories."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    matrix, label, weight = blocks.in_memory(np.float32)
    categorical = [position for position, name in enumerate(blocks.features) if name in blocks.words]
    numeric = [position for position in range(len(blocks.features)) if position not in categorical]
    codes = {position: matrix[:, position].astype(np.int32) for position in categorical}
    matrix = matrix[:, numeric] if categorical else matrix
    medians = _impute(matrix)
    scaler = StandardScaler(copy=False)
    if numeric:
        matrix = scaler.fit_transform(matrix, sample_weight=weight)
    widths = [len(blocks.words[blocks.features[position]]) + FIRST_CATEGORY for position in categorical]
    classifier = LogisticRegression(**params.model_dump(), random_state=seed)
    classifier.fit(_with_one_hot(matrix, list(codes.values()), widths), label, sample_weight=weight)
    return _logistic_core(classifier, scaler if numeric else None, medians, numeric, codes, widths, weight)


def _impute(matrix: np.ndarray[Any, Any]) -> list[float]:
    """Fill missing numbers with the column's median, in place (0 where nothing is known); give the medians."""
    medians = []
    for column in matrix.T:
        missing = np.isnan(column)
        median = 0.0 if missing.all() else float(np.median(column[~missing]))
        column[missing] = median
        medians.append(median)
    return medians


def _with_one_hot(numbers: np.ndarray[Any, Any], codes: list[np.ndarray[Any, Any]], widths: list[int]) -> Any:
    if not codes:
        return numbers
    from scipy import sparse

    rows = len(codes[0])
    ones, pointers = np.ones(rows, np.float32), np.arange(rows + 1)
    hot = [sparse.csr_array((ones, code, pointers), (rows, wide)) for code, wide in zip(codes, widths, strict=True)]
    return sparse.hstack([sparse.csr_array(numbers), *hot], format="csr")


def _logistic_core(
    classifier: Any,
    scaler: Any,
    medians: list[float],
    numeric: list[int],
    codes: dict[int, np.ndarray[Any, Any]],
    widths: list[int],
    weight: np.ndarray[Any, Any],
) -> LogisticCore:
    """The fitted coefficients as plain numbers, by position of the feature."""
    coefficients = np.asarray(classifier.coef_[0], np.float64)
    terms = {
        position: {
            "median": medians[n],
            "mean": float(scaler.mean_[n]),
            "scale": float(scaler.scale_[n]),
            "coefficient": float(coefficients[n]),
        }
        for n, position in enumerate(numeric)
    }
    levels, first = {}, len(numeric)
    for (position, column), width in zip(codes.items(), widths, strict=True):
        shares = np.bincount(column, weights=weight, minlength=width) / weight.sum(dtype=np.float64)
        levels[position] = {"coefficients": coefficients[first : first + width].tolist(), "shares": shares.tolist()}
        first += width
    return LogisticCore(float(classifier.intercept_[0]), terms, levels)
