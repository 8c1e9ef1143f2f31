"""scikit-learn's logistic regression: holds the window in memory, saved as plain coefficients in JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from fraud_retraining.domain.training.estimators.base import (
    Blocks,
    ContributionMethod,
    Core,
    Estimator,
    FitOptions,
    Matrix,
)
from fraud_retraining.domain.training.estimators.model_input import FIRST_CATEGORY, FloatColumn
from fraud_retraining.domain.values.base import Policy

FILE = "coefficients.json"


class LogisticParams(Policy):
    """Parameters of scikit-learn's logistic regression."""

    C: float = Field(1.0, gt=0, description="Inverse strength of the L2 penalty.")
    max_iter: int = Field(300, ge=1, le=100_000, description="Most iterations of the solver.")
    tol: float = Field(1e-4, gt=0, description="Tolerance at which the solver stops.")


@dataclass(frozen=True)
class LogisticCore:
    """Logistic regression on standardised numbers and one-hot categories, as plain coefficients.

    `median`, `mean` and `scale` were learnt once, from the training rows; scoring never re-fits them. Importance of a
    feature is the standard deviation of its contribution to the log-odds over the training rows.
    """

    intercept: float
    numeric: dict[int, dict[str, float]]
    categorical: dict[int, dict[str, list[float]]]
    contribution_method: ClassVar[ContributionMethod] = "linear"

    def probability(self, columns: Sequence[FloatColumn]) -> np.ndarray[Any, Any]:
        """P(fraud) per row."""
        odds = np.full(len(columns[0]), self.intercept)
        for position, term in self.numeric.items():
            values = np.where(np.isnan(columns[position]), term["median"], columns[position])
            odds += (values - term["mean"]) / term["scale"] * term["coefficient"]
        for position, levels in self.categorical.items():
            odds += np.asarray(levels["coefficients"])[columns[position].astype(np.intp)]
        return _sigmoid(odds)

    def importance(self) -> list[float]:
        """Standard deviation of each feature's contribution."""
        spread = {position: abs(term["coefficient"]) for position, term in self.numeric.items()}
        for position, levels in self.categorical.items():
            # Of a one-hot group only differences count: its mean is taken off, as the intercept can carry it.
            share, weight = np.asarray(levels["shares"]), np.asarray(levels["coefficients"])
            spread[position] = float(np.sqrt(share @ (weight - share @ weight) ** 2))
        return [spread[position] for position in sorted(spread)]

    def contributions(self, columns: Sequence[FloatColumn], seed: int) -> Matrix:
        """Each term less its mean over the training rows."""
        effects = np.zeros((len(columns[0]), len(columns)))
        for position, term in self.numeric.items():
            values = np.where(np.isnan(columns[position]), term["median"], columns[position])
            effects[:, position] = (values - term["mean"]) / term["scale"] * term["coefficient"]
        for position, levels in self.categorical.items():
            weights, shares = np.asarray(levels["coefficients"]), np.asarray(levels["shares"])
            effects[:, position] = weights[columns[position].astype(np.intp)] - shares @ weights
        return effects

    def files(self) -> dict[str, bytes]:
        """Coefficients as JSON."""
        terms = {"intercept": self.intercept, "numeric": self.numeric, "categorical": self.categorical}
        return {FILE: json.dumps(terms, indent=1).encode()}


def _sigmoid(odds: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    # tanh does not overflow for large odds, 1 / (1 + exp(-x)) does.
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * odds)), np.float64)


class LogisticRegression(Estimator[LogisticParams]):
    """`LogisticRegression` on numbers (missing ones at the median, standardised) and one-hot categories."""

    parameters = LogisticParams
    kind = "scikitlearn"
    fitting_libraries = ("scikit-learn",)
    scoring_libraries = ()

    def fit(self, parameters: LogisticParams, blocks: Blocks, options: FitOptions) -> Core:
        """The coefficients. The solver has no hook for rounds: progress is reported before and after the fit."""
        from sklearn import linear_model

        options.on_round(0, 1)
        matrix, label, weight = blocks.in_memory(np.float32)
        numbers, matrix, categories = _prepared(matrix, weight, blocks)
        classifier = linear_model.LogisticRegression(**parameters.model_dump(), random_state=options.seed)
        classifier.fit(_with_one_hot(matrix, categories), label, sample_weight=weight)
        options.on_round(1, 1)
        return _core(classifier, numbers, categories, weight)

    def versions(self) -> dict[str, str]:
        """Version of scikit-learn."""
        import sklearn

        return {"scikit-learn": sklearn.__version__}

    def load(self, files: Mapping[str, bytes], features: tuple[str, ...]) -> Core:
        """Read the coefficients."""
        terms = json.loads(files[FILE])
        return LogisticCore(
            terms["intercept"],
            {int(position): term for position, term in terms["numeric"].items()},
            {int(position): levels for position, levels in terms["categorical"].items()},
        )


@dataclass(frozen=True)
class _Numbers:
    """The numeric features: their positions, medians, and the scaler (none where there are no numbers)."""

    positions: list[int]
    medians: list[float]
    scaler: Any


@dataclass(frozen=True)
class _Categories:
    """The categorical features: codes by position, and how many codes each can have."""

    codes: dict[int, Matrix]
    widths: list[int]


def _prepared(matrix: Matrix, weight: Matrix, blocks: Blocks) -> tuple[_Numbers, Matrix, _Categories]:
    """The numeric features, imputed and standardised in place to save memory, and the categorical ones."""
    from sklearn.preprocessing import StandardScaler

    categorical = [position for position, name in enumerate(blocks.features) if name in blocks.words]
    numeric = [position for position in range(len(blocks.features)) if position not in categorical]
    codes = {position: matrix[:, position].astype(np.int32) for position in categorical}
    widths = [len(blocks.words[blocks.features[position]]) + FIRST_CATEGORY for position in categorical]
    matrix = matrix[:, numeric] if categorical else matrix
    # In place: a copy of the window's matrix may not fit into memory.
    medians = _impute(matrix)
    scaler = StandardScaler(copy=False) if numeric else None
    if scaler is not None:
        matrix = scaler.fit_transform(matrix, sample_weight=weight)
    return _Numbers(numeric, medians, scaler), matrix, _Categories(codes, widths)


def _impute(matrix: Matrix) -> list[float]:
    """Fill missing numbers with the column's median, in place (0 where nothing is known); give the medians."""
    medians = []
    for column in matrix.T:
        missing = np.isnan(column)
        median = 0.0 if missing.all() else float(np.median(column[~missing]))
        column[missing] = median
        medians.append(median)
    return medians


def _with_one_hot(numbers: Matrix, categories: _Categories) -> Any:
    if not categories.codes:
        return numbers
    from scipy import sparse

    rows = len(numbers)
    ones, pointers = np.ones(rows, np.float32), np.arange(rows + 1)
    hot = [
        sparse.csr_array((ones, code, pointers), (rows, wide))
        for code, wide in zip(categories.codes.values(), categories.widths, strict=True)
    ]
    # Sparse: a one-hot column of 253 categories would multiply the memory of the window.
    return sparse.hstack([sparse.csr_array(numbers), *hot], format="csr")


def _core(classifier: Any, numbers: _Numbers, categories: _Categories, weight: Matrix) -> LogisticCore:
    """The fitted coefficients as plain numbers, by position of the feature."""
    coefficients = np.asarray(classifier.coef_[0], np.float64)
    terms = {
        position: {
            "median": numbers.medians[n],
            "mean": float(numbers.scaler.mean_[n]),
            "scale": float(numbers.scaler.scale_[n]),
            "coefficient": float(coefficients[n]),
        }
        for n, position in enumerate(numbers.positions)
    }
    levels, first = {}, len(numbers.positions)
    for (position, column), width in zip(categories.codes.items(), categories.widths, strict=True):
        shares = np.bincount(column, weights=weight, minlength=width) / weight.sum(dtype=np.float64)
        levels[position] = {"coefficients": coefficients[first : first + width].tolist(), "shares": shares.tolist()}
        first += width
    return LogisticCore(float(classifier.intercept_[0]), terms, levels)
