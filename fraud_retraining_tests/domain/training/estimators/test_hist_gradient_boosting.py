"""Histogram gradient boosting: codes fit into its bins, and its file opens only with the closed list of types."""

import numpy as np
import pytest
import skops.io

from fraud_retraining.domain.training.estimators.hist_gradient_boosting import (
    FILE,
    HistGradientBoosting,
    HistogramParams,
)
from fraud_retraining.domain.training.fitting import fit
from fraud_retraining_tests.support.training_transactions import FEATURES, TRAINING, UNSEEN, given_in, policy


class Foreign:
    """A type that no fitted classifier has."""


@pytest.mark.parametrize(("bins", "most"), [(255, 253), (8, 6)])
def test_a_vocabulary_leaves_bins_for_other_and_missing(bins: int, most: int) -> None:
    assert HistGradientBoosting().max_categories(HistogramParams(max_bins=bins)) == most


def test_a_file_with_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="Foreign"):
        HistGradientBoosting().load({FILE: skops.io.dumps(Foreign())}, FEATURES)


def test_importance_is_given_to_the_right_feature_beside_a_categorical_one() -> None:
    """scikit-learn moves categorical columns to the front; importance has to undo that."""
    model = fit(policy("hist_gradient_boosting"), ("noise", "amount", "city"), ("city",), given_in(TRAINING))
    assert next(iter(model.importance())) == "amount"
    assert np.isfinite(model.core.contributions([np.zeros(3, np.float32)] * 3, 0)).all()
    assert model.predict(UNSEEN).std() > 0
