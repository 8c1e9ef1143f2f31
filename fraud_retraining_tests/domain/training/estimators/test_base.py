"""Contributions by shuffling: a feature that a model does not read contributes nothing."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.training.estimators.base import log_odds, permuted
from fraud_retraining.domain.training.estimators.model_input import FloatColumn


class FirstOnly:
    """A core whose score is its first column."""

    def probability(self, columns: Sequence[FloatColumn]) -> np.ndarray:
        return np.asarray(columns[0], np.float64)


def test_only_the_feature_that_decides_contributes() -> None:
    columns = [np.linspace(0.1, 0.9, 50, dtype=np.float32), np.arange(50, dtype=np.float32)]
    effects = permuted(FirstOnly(), columns, seed=1)  # type: ignore[arg-type]
    assert np.abs(effects[:, 0]).max() > 0
    assert not effects[:, 1].any()
    assert np.array_equal(effects, permuted(FirstOnly(), columns, seed=1))  # type: ignore[arg-type]


@given(st.floats(0, 1))
def test_log_odds_are_finite_and_undone_by_the_logistic_function(score: float) -> None:
    odds = log_odds(np.array([score]))
    assert np.isfinite(odds).all()
    assert abs(1 / (1 + np.exp(-odds[0])) - score) < 1e-8
