"""Every registered estimator keeps the promises of the protocol."""

import numpy as np
import pytest

from fraud_retraining.adapters.mlflow.code_versions import PARTS
from fraud_retraining.domain.training.estimators.registry import ESTIMATORS
from fraud_retraining.domain.training.fitting import fit
from fraud_retraining_tests.support import golden
from fraud_retraining_tests.support.training_transactions import NUMERIC, TRAINING, UNSEEN, given_in, policy


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_parameter_has_a_default_a_description_and_is_closed(name: str) -> None:
    kind = ESTIMATORS[name].parameters
    assert kind.model_config["extra"] == "forbid"
    assert [field for field, about in kind.model_fields.items() if about.is_required() or not about.description] == []


@pytest.mark.parametrize("name", ESTIMATORS)
def test_its_code_is_part_of_the_fingerprint_and_its_metrics_are_golden(name: str) -> None:
    assert type(ESTIMATORS[name]).__module__ in PARTS["training"].modules
    assert name in golden.ESTIMATORS


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_loaded_core_scores_explains_and_ranks_as_the_fitted_one(name: str) -> None:
    core = fit(policy(name), NUMERIC, (), given_in(TRAINING)).core
    loaded = ESTIMATORS[name].load(core.files(), NUMERIC)
    columns = [UNSEEN[feature].to_numpy()[:200] for feature in NUMERIC]
    assert np.array_equal(loaded.probability(columns), core.probability(columns))
    assert np.array_equal(loaded.contributions(columns, 1), core.contributions(columns, 1))
    assert loaded.importance() == core.importance()
    assert loaded.contribution_method == core.contribution_method


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_rows_have_no_scores_and_no_contributions(name: str) -> None:
    core = fit(policy(name), NUMERIC, (), given_in(TRAINING)).core
    nothing = [np.empty(0, np.float32)] * len(NUMERIC)
    assert core.probability(nothing).shape == (0,)
    assert core.contributions(nothing, 0).shape == (0, len(NUMERIC))
