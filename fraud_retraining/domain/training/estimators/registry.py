"""The estimators by the names that settings and stored models know them by."""

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from fraud_retraining.domain.training.estimators.base import Estimator, Reader
from fraud_retraining.domain.training.estimators.catboost import CatBoost
from fraud_retraining.domain.training.estimators.hist_gradient_boosting import HistGradientBoosting
from fraud_retraining.domain.training.estimators.lightgbm import LightGBM
from fraud_retraining.domain.training.estimators.logistic_regression import LogisticRegression
from fraud_retraining.domain.training.estimators.onnx import Onnx
from fraud_retraining.domain.training.estimators.xgboost import XGBoost

ESTIMATORS: dict[str, Estimator[Any]] = {
    "xgboost": XGBoost(),
    "lightgbm": LightGBM(),
    "catboost": CatBoost(),
    "hist_gradient_boosting": HistGradientBoosting(),
    "logistic_regression": LogisticRegression(),
}
"""A name is stored in settings, fingerprints and models; do not change it later."""

IMPORTED: dict[str, Reader] = {"onnx": Onnx()}
"""Formats of models that are not fitted here, and score all the same."""

READERS: Mapping[str, Reader] = ChainMap[str, Reader](ESTIMATORS, IMPORTED)  # type: ignore[arg-type]
"""What a stored model may be."""
