"""scikit-learn's histogram gradient boosting: holds the window in memory, is saved by skops without pickle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from fraud_retraining.domain.training.estimators.base import (
    MAX_CATEGORIES,
    Blocks,
    ContributionMethod,
    Core,
    Estimator,
    FitOptions,
    Matrix,
    permuted,
)
from fraud_retraining.domain.training.estimators.model_input import FIRST_CATEGORY, FloatColumn, stacked
from fraud_retraining.domain.values.base import Policy

FILE = "model.skops"
TRUSTED_TYPES = (
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
)


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


@dataclass(frozen=True)
class HistogramCore:
    """scikit-learn's histogram gradient boosting.

    Importance is the gain summed over the splits of all trees: free, and the same measure as XGBoost's. (Permutation
    importance would be unbiased towards many-valued features, but costs a prediction per feature and repeat.)
    """

    classifier: Any
    contribution_method: ClassVar[ContributionMethod] = "permutation"

    def probability(self, columns: Sequence[FloatColumn]) -> np.ndarray[Any, Any]:
        """P(fraud) per row."""
        if not len(columns[0]):
            return np.empty(0)
        return np.asarray(self.classifier.predict_proba(stacked(columns, np.float64))[:, 1], np.float64)

    def importance(self) -> list[float]:
        """Gain per feature, summed over every split."""
        total = np.zeros(self.classifier.n_features_in_)
        # A private attribute, because scikit-learn does not publish the gain; a test notices when it moves.
        for (tree,) in self.classifier._predictors:
            splits = tree.nodes[tree.nodes["is_leaf"] == 0]
            np.add.at(total, self._original(splits["feature_idx"]), splits["gain"])
        return [float(value) for value in total]

    def _original(self, positions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Undo scikit-learn's re-ordering, which moves categorical columns to the front."""
        categorical = self.classifier.is_categorical_
        if categorical is None:
            return positions
        return np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~categorical)])[positions]

    def contributions(self, columns: Sequence[FloatColumn], seed: int) -> Matrix:
        """Change of the log-odds when a feature is shuffled among the rows: a mean over rows, not exact for one row."""
        return permuted(self, columns, seed)

    def files(self) -> dict[str, bytes]:
        """skops: scikit-learn objects without pickle."""
        import skops.io

        return {FILE: skops.io.dumps(self.classifier)}


class HistGradientBoosting(Estimator[HistogramParams]):
    """`HistGradientBoostingClassifier`, which has no hook for rounds: progress is reported before and after the fit."""

    parameters = HistogramParams
    kind = "scikitlearn"
    fitting_libraries = ("scikit-learn",)
    scoring_libraries = ("scikit-learn", "skops")

    def max_categories(self, parameters: HistogramParams) -> int:
        """Codes, those of `other` and `missing` included, have to fit into the bins."""
        return min(MAX_CATEGORIES, parameters.max_bins - FIRST_CATEGORY)

    def fit(self, parameters: HistogramParams, blocks: Blocks, options: FitOptions) -> Core:
        """The classifier, fitted on the whole matrix in float64: it would copy a float32 one to float64."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        options.on_round(0, 1)
        matrix, label, weight = blocks.in_memory(np.float64)
        classifier = HistGradientBoostingClassifier(
            **parameters.model_dump(),
            categorical_features=[name in blocks.words for name in blocks.features] if blocks.words else None,
            # Early stopping would hold out random rows of its own choice.
            early_stopping=False,
            random_state=options.seed,
        )
        classifier.fit(matrix, label, sample_weight=weight)
        options.on_round(1, 1)
        return HistogramCore(classifier)

    def versions(self) -> dict[str, str]:
        """Version of scikit-learn."""
        import sklearn

        return {"scikit-learn": sklearn.__version__}

    def load(self, files: Mapping[str, bytes], features: tuple[str, ...]) -> Core:
        """Read skops, refusing every type that is not on the closed list."""
        import skops.io

        return HistogramCore(skops.io.loads(files[FILE], trusted=list(TRUSTED_TYPES)))
