"""XGBoost: gradient-boosted trees that stream any number of rows, and are saved in XGBoost's own format (UBJ).

XGBoost passes over the rows several times and never holds them all.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from fraud_retraining.domain.training.estimators.base import (
    Blocks,
    ContributionMethod,
    Core,
    Estimator,
    FitOptions,
    Matrix,
    OnRound,
)
from fraud_retraining.domain.training.estimators.model_input import FloatColumn, stacked
from fraud_retraining.domain.values.base import ExtendedValue, Policy

FILE = "model.ubj"

MATRIX_ROWS = 512
"""Rows up to which they are scored as one matrix. XGBoost describes each column of a table in JSON, which for one row
takes five times as long as all else; from here on both take the same, and a table needs no copy of the rows."""
THREADS_FROM = 4096
"""Rows from which scoring uses every core: for fewer, waking the threads takes longer than the trees, and where other
processes have the cores, a hundred times as long."""
EXPLAINED_THREADS_FROM = 64
"""The same where rows are explained, each of which takes as long as some dozens that are scored."""


class XGBoostParams(ExtendedValue, Policy):
    """Parameters of XGBoost, with the shipped defaults.

    Trees are grown from histograms (`tree_method=hist`, the only method that streams; many bins win back what it loses
    to `exact`). Boosting starts from the fraud rate: from 0.5, a model of few or slow rounds never comes down to it,
    and its probabilities are wrong; average precision on the handbook protocol is the same from either.
    """

    ADDED = frozenset({"device"})

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
    device: Literal["cpu", "cuda"] = Field(
        "cpu",
        description="Where trees are grown. On a GPU (extra gpu) two fits of one fingerprint may differ in last bits.",
    )


@dataclass(frozen=True)
class BoosterCore:
    """XGBoost trees. Importance is total gain: how much of the loss reduction came from splits on the feature."""

    booster: Any
    features: tuple[str, ...]
    contribution_method: ClassVar[ContributionMethod] = "shap"

    def probability(self, columns: Sequence[FloatColumn]) -> np.ndarray[Any, Any]:
        """P(fraud) per row; many rows straight from the columns, without a copy."""
        if not len(columns[0]):
            return np.empty(0)
        rows = stacked(columns) if len(columns[0]) <= MATRIX_ROWS else self._table(columns)
        # The columns stand in the order of the features: there is nothing to validate.
        booster = self._single_threaded if len(columns[0]) < THREADS_FROM else self.booster
        return np.asarray(booster.inplace_predict(rows, validate_features=False), np.float64)

    @cached_property
    def _single_threaded(self) -> Any:
        # A copy: a parameter that changes makes a booster configure itself anew.
        booster = self.booster.copy()
        booster.set_param({"nthread": 1})
        return booster

    def _table(self, columns: Sequence[FloatColumn]) -> pa.Table:
        return pa.Table.from_arrays([pa.array(column) for column in columns], names=list(self.features))

    @cached_property
    def _kinds(self) -> Sequence[str]:
        """The type of each feature."""
        return self.booster.feature_types or ()

    def importance(self) -> list[float]:
        """Total gain per feature."""
        gain = self.booster.get_score(importance_type="total_gain")
        return [float(gain.get(name, 0.0)) for name in self.features]

    def contributions(self, columns: Sequence[FloatColumn], seed: int) -> Matrix:
        """Exact SHAP values.

        Lundberg et al. 2018, "Consistent Individualized Feature Attribution for Tree Ensembles", arXiv:1802.03888.
        """
        import xgboost

        if not len(columns[0]):
            return np.empty((0, len(columns)))
        # Names and types take longer than the matrix of a row, and the order says all; but types mark the categories.
        kinds = self._kinds if "c" in self._kinds else None
        few = len(columns[0]) < EXPLAINED_THREADS_FROM
        matrix = xgboost.DMatrix(
            stacked(columns), feature_types=kinds, enable_categorical=kinds is not None, nthread=1 if few else None
        )
        booster = self._single_threaded if few else self.booster
        effects = booster.predict(matrix, pred_contribs=True, validate_features=False)
        return np.asarray(effects, np.float64)[:, :-1]  # the last column is the base value, the same for every row

    def files(self) -> dict[str, bytes]:
        """UBJ, XGBoost's own format."""
        return {FILE: bytes(self.booster.save_raw("ubj"))}


class XGBoost(Estimator[XGBoostParams]):
    """Trees grown from quantised rows: the float matrix is never held."""

    parameters = XGBoostParams
    kind = "xgboost"
    fitting_libraries = ("xgboost-cpu",)
    scoring_libraries = ("xgboost-cpu",)

    def fit(self, parameters: XGBoostParams, blocks: Blocks, options: FitOptions) -> Core:
        """The booster.

        XGBoost makes four passes over the blocks to find the bins and fill its own matrix of bin numbers: two bytes a
        value up to 65,536 bins while no value is missing, else four.
        """
        import xgboost

        rounds = parameters.n_estimators
        # `max_bin` has to be the same here and in the parameters, or training refuses the matrix.
        matrix = xgboost.QuantileDMatrix(
            _block_iterator(blocks),
            max_bin=parameters.max_bin,
            nthread=options.threads,
            enable_categorical=bool(blocks.words),
        )
        booster = xgboost.train(
            {
                **booster_parameters(parameters),
                "objective": "binary:logistic",
                "seed": options.seed,
                "nthread": options.threads,
            },
            matrix,
            rounds,
            callbacks=[_round_callback(rounds, options.on_round)],
        )
        # Scores are those of the processor wherever the trees were grown: the scorer's, and the batch's.
        booster.set_param({"device": "cpu"})
        return BoosterCore(booster, blocks.features)

    def versions(self) -> dict[str, str]:
        """Version of XGBoost."""
        import xgboost

        return {"xgboost": xgboost.__version__}

    def load(self, files: Mapping[str, bytes], features: tuple[str, ...]) -> Core:
        """Read UBJ natively."""
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(bytearray(files[FILE]))
        return BoosterCore(booster, features)


def booster_parameters(parameters: XGBoostParams) -> dict[str, Any]:
    """Parameters of the trees, under XGBoost's names; the number of rounds is none of them."""
    given = parameters.model_dump(exclude={"n_estimators"})
    # XGBoost takes the fraud rate of the training rows only when the parameter is absent.
    if given["base_score"] is None:
        del given["base_score"]
    return {**given, "tree_method": "hist"}


def feature_types(features: Sequence[str], words: Collection[str]) -> list[str]:
    """XGBoost's type of each feature, which the booster keeps: "c" of those with a vocabulary, "q" of numbers."""
    return ["c" if name in words else "q" for name in features]


def _block_iterator(blocks: Blocks) -> Any:
    """The blocks as an iterator of XGBoost."""
    import xgboost

    kinds = feature_types(blocks.features, blocks.words)

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
