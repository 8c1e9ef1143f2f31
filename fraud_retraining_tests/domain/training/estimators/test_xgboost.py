"""XGBoost: its defaults, and a file that XGBoost alone can open."""

import numpy as np
import pyarrow.compute as pc
import pytest

from fraud_retraining.domain.training.fitting import (
    ModelPolicy,
    fit,
)
from fraud_retraining_tests.support.training_transactions import (
    NUMERIC,
    SMALL,
    TRAINING,
    UNSEEN,
    given_in,
    policy,
)


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
