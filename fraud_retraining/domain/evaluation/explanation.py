"""What moves a model's scores, feature by feature, on a sample of rows.

Here: contributions to the log-odds of each row, by the way that the estimator allows. Not here: the share of the gain,
which the model knows without any row (`FittedModel.importance`).

XGBoost gives exact SHAP values (Lundberg et al. 2018, "Consistent Individualized Feature Attribution for Tree
Ensembles", arXiv:1802.03888); a linear model's are its terms. Histogram gradient boosting has neither, so each
feature is shuffled among the rows and the change of the log-odds stands for its effect: a mean over rows, no
explanation of one row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from fraud_retraining.domain.evaluation.judged import Floats
from fraud_retraining.domain.training.scoring import (
    BoosterCore,
    FittedModel,
    FloatColumn,
    LogisticCore,
    float_columns,
    stacked,
)

Method = Literal["shap", "linear", "permutation"]
SMALLEST = 1e-9


@dataclass(frozen=True, eq=False)
class Explanation:
    """Effects on the log-odds: one row a sample row, one column a feature."""

    method: Method
    features: tuple[str, ...]
    effects: Floats

    @property
    def of_rows(self) -> bool:
        """Whether a row of `effects` explains that row's score."""
        return self.method != "permutation"

    @property
    def shares(self) -> dict[str, float]:
        """Mean absolute effect by feature, as a share of the sum."""
        sizes = np.abs(self.effects).mean(axis=0) if len(self.effects) else np.zeros(len(self.features))
        total = sizes.sum()
        values = sizes / total if total > 0 else sizes
        return dict(zip(self.features, values.tolist(), strict=True))


def explain(model: FittedModel, rows: pa.Table, *, seed: int = 0) -> Explanation:
    """The effects of every feature of a model on its scores for `rows`."""
    columns = float_columns(rows, model.features, model.vocabularies)
    if isinstance(model.core, BoosterCore):
        return Explanation("shap", model.features, _shap(model.core, columns, model))
    if isinstance(model.core, LogisticCore):
        return Explanation("linear", model.features, _terms(model.core, columns))
    return Explanation("permutation", model.features, _permuted(model, columns, seed))


def _shap(core: BoosterCore, columns: Sequence[FloatColumn], model: FittedModel) -> Floats:
    import xgboost

    if not len(columns[0]):
        return np.empty((0, len(columns)))
    matrix = xgboost.DMatrix(
        stacked(columns),
        feature_names=list(model.features),
        feature_types=["c" if name in model.vocabularies else "q" for name in model.features],
        enable_categorical=bool(model.vocabularies),
    )
    effects = core.booster.predict(matrix, pred_contribs=True)
    return np.asarray(effects, np.float64)[:, :-1]


def _terms(core: LogisticCore, columns: Sequence[FloatColumn]) -> Floats:
    """Each term less its mean over the training rows."""
    effects = np.zeros((len(columns[0]), len(columns)))
    for position, term in core.numeric.items():
        values = np.where(np.isnan(columns[position]), term["median"], columns[position])
        effects[:, position] = (values - term["mean"]) / term["scale"] * term["coefficient"]
    for position, levels in core.categorical.items():
        weights, shares = np.asarray(levels["coefficients"]), np.asarray(levels["shares"])
        effects[:, position] = weights[columns[position].astype(np.intp)] - shares @ weights
    return effects


def _permuted(model: FittedModel, columns: Sequence[FloatColumn], seed: int) -> Floats:
    as_they_are = _log_odds(model.core.probability(columns))
    order = np.random.default_rng(seed).permutation(len(as_they_are))
    effects = np.zeros((len(as_they_are), len(columns)))
    for position, column in enumerate(columns):
        shuffled = [*columns[:position], column[order], *columns[position + 1 :]]
        effects[:, position] = as_they_are - _log_odds(model.core.probability(shuffled))
    return effects


def _log_odds(scores: np.ndarray[Any, Any]) -> Floats:
    kept = np.clip(scores, SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(kept / (1 - kept)), np.float64)
