"""XGBoost: the same trees on any number of threads, and a file that XGBoost alone can open."""

import numpy as np
import pyarrow.compute as pc
import pytest

from fraud_retraining.domain.training.estimators.xgboost import MATRIX_ROWS
from fraud_retraining.domain.training.fitting import (
    ModelPolicy,
    fit,
)
from fraud_retraining_tests.support.training_transactions import (
    FEATURES,
    NUMERIC,
    SMALL,
    TRAINING,
    UNSEEN,
    given_in,
    policy,
)


def test_the_number_of_threads_does_not_change_the_trees():
    """An assumption about XGBoost: `ModelPolicy.threads` and the machine's cores are no part of a fingerprint."""
    one, three = (fit(policy(threads=threads), FEATURES, ("city",), given_in(TRAINING)) for threads in (1, 3))
    assert one.files()["model.ubj"] == three.files()["model.ubj"]


def test_the_seed_changes_the_trees():
    one, other = (fit(policy(seed=seed, subsample=0.5), NUMERIC, (), given_in(TRAINING)) for seed in (1, 2))
    assert one.files()["model.ubj"] != other.files()["model.ubj"]


def test_each_boosting_round_is_reported():
    rounds: list[tuple[int, int]] = []
    fit(policy(), NUMERIC, (), given_in(TRAINING), on_round=lambda done, total: rounds.append((done, total)))
    assert rounds == [(done, 12) for done in range(1, 13)]


def test_raising_in_a_round_ends_the_fit():
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise TimeoutError("the budget is spent")

    with pytest.raises(TimeoutError, match="the budget is spent"):
        fit(policy(), NUMERIC, (), given_in(TRAINING), on_round=stop)


def test_trees_come_from_histograms_and_boosting_starts_from_the_fraud_rate():
    """XGBoost 3 changed both defaults; a version that estimates the base score otherwise gives another model."""
    import json

    booster = fit(policy(), NUMERIC, (), given_in(TRAINING)).core.booster
    learner = json.loads(booster.save_config())["learner"]
    assert learner["gradient_booster"]["gbtree_train_param"]["tree_method"] == "hist"
    assert float(learner["learner_model_param"]["base_score"].strip("[]")) == pytest.approx(
        pc.mean(TRAINING["is_fraud"]).as_py(), rel=1e-3
    )


def test_the_ubj_is_a_model_of_plain_xgboost(tmp_path):
    """What production may fall back on: XGBoost alone opens the file and gives the same probabilities."""
    import xgboost

    own = ModelPolicy(params=SMALL["xgboost"], threads=1)
    fitted = fit(own, ("amount", "count"), (), given_in(TRAINING))
    fitted.save(tmp_path)
    classifier = xgboost.XGBClassifier()
    classifier.load_model(tmp_path / "model.ubj")
    plain = classifier.predict_proba(UNSEEN.select(["amount", "count"]).to_pandas())[:, 1]
    assert np.array_equal(plain.astype(np.float64), fitted.predict(UNSEEN))


def test_rows_have_the_same_scores_as_a_matrix_and_as_a_table():
    """An assumption about XGBoost: few rows are scored in the one form and many in the other, missing values and
    categories (other, missing, known, beyond the vocabulary) among them."""
    fitted = fit(policy(), FEATURES, ("city",), given_in(TRAINING))
    random, rows = np.random.default_rng(7), MATRIX_ROWS + 2
    columns = [np.where(random.random(rows) < 0.2, np.nan, random.standard_normal(rows)) for _ in NUMERIC]
    columns.append(random.integers(0, len(fitted.vocabularies["city"]) + 3, rows))
    every = fitted.core.probability([column.astype(np.float32) for column in columns])
    assert len(set(every)) > rows / 10
    for count in (1, 2, 3, 17, MATRIX_ROWS - 1, MATRIX_ROWS, MATRIX_ROWS + 1):
        for first in (0, 1):
            part = [column[first : first + count].astype(np.float32) for column in columns]
            assert fitted.core.probability(part).tobytes() == every[first : first + count].tobytes(), count
