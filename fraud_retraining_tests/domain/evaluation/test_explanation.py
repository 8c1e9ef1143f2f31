"""Effects add up to the scores where a method promises it, and point at the feature that decides."""

import numpy as np
import pyarrow as pa
import pytest

from fraud_retraining.domain.evaluation.explanation import explain
from fraud_retraining.domain.training.estimators.base import log_odds
from fraud_retraining_tests.support.registries import FEATURES, fitted, rows

ESTIMATORS = {
    "xgboost": "shap",
    "lightgbm": "shap",
    "catboost": "shap",
    "hist_gradient_boosting": "permutation",
    "logistic_regression": "linear",
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_feature_that_makes_the_label_has_the_greatest_effect(estimator):
    found = explain(fitted(estimator), rows())
    assert found.method == ESTIMATORS[estimator]
    assert found.effects.shape == (len(rows()), len(FEATURES))
    assert max(found.shares, key=found.shares.__getitem__) == "amount"
    assert sum(found.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("estimator", ["xgboost", "lightgbm", "catboost", "logistic_regression"])
def test_the_effects_on_a_row_add_up_to_itslog_odds(estimator):
    model = fitted(estimator)
    found = explain(model, rows())
    assert found.of_rows
    rest = log_odds(model.predict(rows())) - found.effects.sum(axis=1)
    assert np.ptp(rest) < 1e-3, "all but the same base for every row"


def test_a_missing_number_and_a_category_never_seen_are_explained():
    odd = pa.table({"amount": pa.array([None, 3.0]), "count": [1.0, None], "city": ["elm", None]})
    for estimator in ESTIMATORS:
        assert np.isfinite(explain(fitted(estimator), odd).effects).all()


def test_no_rows_have_no_effects():
    for estimator in ESTIMATORS:
        assert set(explain(fitted(estimator), rows().slice(0, 0)).shares.values()) == {0.0}


def test_the_same_rows_give_the_same_effects():
    first, second = (explain(fitted("hist_gradient_boosting"), rows()).effects for _ in range(2))
    assert np.array_equal(first, second)
