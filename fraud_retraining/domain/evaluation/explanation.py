"""Contributions of features to a model's scores, on a sample of rows.

Here: contributions to the log-odds of each row, by the way that the estimator allows. Not here: the share of the gain,
which the model knows without any row (`FittedModel.importance`).

XGBoost gives exact SHAP values (Lundberg et al. 2018, "Consistent Individualized Feature Attribution for Tree
Ensembles", arXiv:1802.03888); a linear model's are its terms. Histogram gradient boosting has neither, so each
feature is shuffled among the rows and the change of the log-odds stands for its effect: a mean over rows, no
explanation of one row.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fraud_retraining.domain.evaluation.judged import Floats
from fraud_retraining.domain.training.estimators.base import ContributionMethod
from fraud_retraining.domain.training.estimators.model_input import float_columns
from fraud_retraining.domain.training.scoring import FittedModel


@dataclass(frozen=True, eq=False)
class Explanation:
    """Effects on the log-odds: one row a sample row, one column a feature."""

    method: ContributionMethod
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
    return Explanation(model.core.contribution_method, model.features, model.core.contributions(columns, seed))
