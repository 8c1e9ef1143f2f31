"""An upgrade that moves a model names itself: each estimator on a lake that never changes, within stored bounds."""

import pytest

from fraud_retraining.adapters.mlflow.environment import library_versions
from fraud_retraining_tests.support.golden import ESTIMATORS, LIBRARIES, Features, lake_digest, moved, stored

STORED = stored()


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    return Features(tmp_path_factory.mktemp("golden"))


def test_the_lake_is_the_one_that_the_bounds_were_measured_on() -> None:
    assert lake_digest() == STORED["lake"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_an_estimator_is_as_good_as_before(features: Features, estimator: str) -> None:
    found = moved(STORED, estimator, features.measured(estimator))
    assert not found, "\n".join(found)


WRONG = {
    "xgboost": {"learning_rate": 0.3, "max_depth": 10, "min_child_weight": 0.0},
    "lightgbm": {"learning_rate": 0.005},
    "catboost": {"learning_rate": 0.005},
    "hist_gradient_boosting": {"learning_rate": 0.01},
    "logistic_regression": {"C": 1e-4},
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_default_that_changes_leaves_the_bounds(features: Features, estimator: str) -> None:
    assert moved(STORED, estimator, features.measured(estimator, **WRONG[estimator]))


def test_another_seed_stays_within_them(features: Features) -> None:
    assert not moved(STORED, "xgboost", features.measured("xgboost", seed=3))


def test_what_moved_is_reported_with_the_libraries_that_changed() -> None:
    worse = {name: value - 0.1 for name, value in STORED["metrics"]["xgboost"].items()}
    older = {**STORED, "libraries": {**STORED["libraries"], "xgboost-cpu": "1.7.6"}}
    metric, *_, suspects = moved(older, "xgboost", worse)
    assert metric.startswith("xgboost: average_precision is 0.") and "+- 0.0" in metric
    assert "xgboost-cpu 1.7.6 -> " in suspects
    same = {**STORED, "libraries": library_versions(LIBRARIES)}
    assert "own code" in moved(same, "xgboost", worse)[-1]
