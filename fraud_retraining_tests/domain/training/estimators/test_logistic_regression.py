"""Logistic regression: plain coefficients give what scikit-learn gives, missing numbers count as the median."""

import json

import numpy as np
import pytest

from fraud_retraining.domain.training.estimators.logistic_regression import FILE, LogisticRegression
from fraud_retraining.domain.training.fitting import fit
from fraud_retraining_tests.support.training_transactions import (
    FEATURES,
    NUMERIC,
    TRAINING,
    UNSEEN,
    changed,
    given_in,
    policy,
)


def test_coefficients_score_as_scikit_learn_does() -> None:
    from sklearn.linear_model import LogisticRegression as Reference
    from sklearn.preprocessing import StandardScaler

    model = fit(policy("logistic_regression"), NUMERIC, (), given_in(TRAINING))
    learned, judged = (np.column_stack([table[name].to_numpy() for name in NUMERIC]) for table in (TRAINING, UNSEEN))
    scaler = StandardScaler().fit(learned)
    reference = Reference(max_iter=300).fit(scaler.transform(learned), TRAINING["is_fraud"].to_numpy())
    assert model.predict(UNSEEN) == pytest.approx(reference.predict_proba(scaler.transform(judged))[:, 1], abs=1e-3)


def test_a_missing_number_scores_as_the_median_of_the_training_rows() -> None:
    model = fit(policy("logistic_regression"), NUMERIC, (), given_in(TRAINING))
    median = float(np.median(TRAINING["amount"].to_numpy()))
    rows = UNSEEN.slice(0, 20)
    missing, filled = (changed(rows, "amount", [value] * 20) for value in (np.nan, median))
    assert model.predict(missing) == pytest.approx(model.predict(filled), rel=1e-6)


def test_contributions_and_a_base_add_up_to_the_log_odds_after_a_trip_through_its_file() -> None:
    model = fit(policy("logistic_regression"), FEATURES, ("city",), given_in(TRAINING))
    core = LogisticRegression().load(model.core.files(), FEATURES)
    columns = [np.linspace(-1, 1, 9, dtype=np.float32)] * 4 + [np.zeros(9, np.float32)]
    scores = core.probability(columns)
    rest = np.log(scores / (1 - scores)) - core.contributions(columns, 0).sum(axis=1)
    assert np.ptp(rest) < 1e-9
    assert set(json.loads(core.files()[FILE])) == {"intercept", "numeric", "categorical"}
