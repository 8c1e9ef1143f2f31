"""The fit: repeatable, faithful to weights, and strict about parameters."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fraud_retraining.domain.training.fitting import (
    FittedModel,
    ModelPolicy,
    fit,
)
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining_tests.support.training_transactions import (
    ESTIMATORS,
    FEATURES,
    NUMERIC,
    TRAINING,
    UNSEEN,
    changed,
    given_in,
    policy,
)

BOOSTERS = ("xgboost", "lightgbm", "catboost")
FEWEST_ROWS_IN_A_LEAF = {"hist_gradient_boosting": {"min_samples_leaf": 1}, "lightgbm": {"min_data_in_leaf": 1}}


@pytest.fixture(scope="module", params=ESTIMATORS)
def model(request) -> FittedModel:
    return fit(policy(request.param), FEATURES, ("city",), given_in(TRAINING))


def test_a_fit_ranks_frauds_first_and_its_probabilities_have_the_base_rate(model):
    from sklearn.metrics import roc_auc_score

    fraud, scores = UNSEEN["is_fraud"].to_numpy(), model.predict(UNSEEN)
    assert scores.dtype == np.float64
    assert ((scores >= 0) & (scores <= 1)).all()
    assert roc_auc_score(fraud, scores) > 0.85
    assert scores.mean() == pytest.approx(fraud.mean(), abs=0.015)


def test_importance_is_a_share_and_noise_has_the_least_of_it(model):
    importance = model.importance()
    assert set(importance) == set(FEATURES)
    assert sum(importance.values()) == pytest.approx(1)
    assert importance["amount"] == max(importance.values())
    if model.estimator != "logistic_regression":  # which cannot see the product of count and ratio
        assert importance["noise"] == min(importance.values())


def test_the_facts_of_a_fit_count_its_rows(model):
    frauds = int(TRAINING["is_fraud"].to_numpy().sum())
    assert model.facts == {"rows": 8000, "frauds": frauds, "weight": 8000.0, "constant_features": []}
    assert set(model.versions) == {"numpy", model.estimator if model.estimator in BOOSTERS else "scikit-learn"}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_same_rows_give_the_same_model(estimator):
    first, second = (fit(policy(estimator), FEATURES, ("city",), given_in(TRAINING)) for _ in range(2))
    assert np.array_equal(first.predict(UNSEEN), second.predict(UNSEEN))
    if estimator != "hist_gradient_boosting":  # skops files name objects by their address
        assert first.files() == second.files()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_weight_of_two_is_the_row_twice(estimator):
    few = TRAINING.slice(0, 3000)
    exact = FEWEST_ROWS_IN_A_LEAF.get(estimator, {})
    if estimator in BOOSTERS:  # rows that are drawn are others, and CatBoost's noise follows the rows
        exact = exact | {"lightgbm": {"bagging_freq": 0}}.get(estimator, {"subsample": 1.0})
    exact = exact | ({"random_strength": 0.0} if estimator == "catboost" else {})
    doubled = changed(few, "weight", np.full(3000, 2.0, np.float32))
    twice = pa.table({name: few[name].take(np.repeat(np.arange(3000), 2)) for name in few.column_names})
    by_weight = fit(policy(estimator, **exact), NUMERIC, (), given_in(doubled)).predict(UNSEEN)
    by_row = fit(policy(estimator, **exact), NUMERIC, (), given_in(twice)).predict(UNSEEN)
    assert np.corrcoef(by_weight, by_row)[0, 1] > 0.98
    assert by_weight.mean() == pytest.approx(by_row.mean(), rel=0.02)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_missing_numbers_are_learnt_from(estimator):
    amounts = TRAINING["amount"].to_numpy().copy()
    amounts[::3] = np.nan
    model = fit(policy(estimator), FEATURES, ("city",), given_in(changed(TRAINING, "amount", amounts)))
    assert np.isfinite(model.predict(changed(UNSEEN, "amount", np.full(4000, np.nan)))).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_unknown_and_impossible_parameter_is_named_at_once(estimator):
    wrong = {"learning_rate": 0.0} if estimator != "logistic_regression" else {"C": 0.0, "max_iter": 0}
    with pytest.raises(ValidationError) as refusal:
        ModelPolicy(estimator=estimator, params={"depht": 3, "tree_method": "exact", **wrong})
    message = str(refusal.value)
    assert f"{estimator} has no parameter depht, tree_method" in message
    known = set(type(ModelPolicy(estimator=estimator).parameters).model_fields)
    assert all(name in message for name in known)
    assert all(f"{name}: Input should be greater" in message for name in wrong)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"trainer_workers": None}, "needs trainer_workers"),
        ({"estimator": "logistic_regression"}, "fits xgboost alone, and estimator is logistic_regression"),
        ({"params": {"device": "cuda"}}, "fits on processors"),
        ({"params": {"n_jobs": 4}}, "no parameter n_jobs"),
        ({"params": {"enable_categorical": True}}, "no parameter enable_categorical"),
        ({"params": {"early_stopping_rounds": 5}}, "no parameter early_stopping_rounds"),
        ({"threads": 4}, "spark.task.cpus"),
        ({"trainer": "local"}, "trainer_workers says nothing without trainer: spark"),
    ],
)
def test_what_a_fit_on_spark_cannot_take_is_refused_by_name(changes, problem):
    with pytest.raises(ValidationError) as refusal:
        ModelPolicy.model_validate({"trainer": "spark", "trainer_workers": 2} | changes)
    assert problem in str(refusal.value)


def test_trainer_and_workers_are_part_of_a_model_and_change_none_that_is_fitted_here():
    spark = [ModelPolicy(trainer="spark", trainer_workers=workers).model_dump() for workers in (2, 3)]
    assert {"trainer", "trainer_workers"}.isdisjoint(ModelPolicy().model_dump())
    assert [(one["trainer"], one["trainer_workers"]) for one in spark] == [("spark", 2), ("spark", 3)]


def test_parameters_override_the_defaults_by_name():
    model = fit(policy(max_depth=2), NUMERIC, (), given_in(TRAINING))
    assert model.params["max_depth"] == 2
    assert model.params["min_child_weight"] == ModelPolicy().parameters.min_child_weight


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.floats(-1e6, 1e6, width=32) | st.none(), st.sampled_from(["a", "b", None]), st.booleans()),
        min_size=2,
        max_size=40,
    )
)
def test_a_fit_gives_probabilities_or_refuses(rows):
    amount, city, fraud = (list(column) for column in zip(*rows, strict=True))
    table = pa.table(
        {
            "amount": pa.array(amount, pa.float32()),
            "city": pa.array(city, pa.string()),
            "is_fraud": pa.array([int(value) for value in fraud], pa.int8()),
        }
    )
    try:
        model = fit(policy(), ("amount", "city"), ("city",), given_in(table, 3))
    except DataInvalid:
        return
    scores = model.predict(table)
    assert ((scores > 0) & (scores < 1)).all()
