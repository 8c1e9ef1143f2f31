"""XGBoost: its defaults, a file that XGBoost alone can open, and the threads of a few rows."""

from pathlib import Path
from threading import get_native_id

import numpy as np
import pyarrow.compute as pc
import pytest

from fraud_retraining.domain.training.estimators.xgboost import THREADS_FROM
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


def time_of_other_threads() -> int:
    """Nanoseconds that the other threads of this process have had a core so far."""
    others = [task for task in Path("/proc/self/task").iterdir() if int(task.name) != get_native_id()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in others)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not count a thread's time")
def test_a_few_rows_wait_for_no_other_thread():
    """Where other processes have the cores, a payment would wait for them too: 20 ms instead of 0.2."""
    core = fit(ModelPolicy(params=SMALL["xgboost"], threads=1), ("amount", "count"), (), given_in(TRAINING)).core
    core.booster.set_param({"nthread": 2})
    few, many = ([np.ones(rows, np.float32)] * 2 for rows in (1, THREADS_FROM))
    taken = []
    for columns in (few, many):
        # The first time threads are made, and boosters configured.
        core.probability(columns), core.contributions(columns, 0)
        before = time_of_other_threads()
        for _ in range(20):
            core.probability(columns), core.contributions(columns, 0)
        taken.append(time_of_other_threads() - before)
    assert taken[0] < taken[1] / 10
