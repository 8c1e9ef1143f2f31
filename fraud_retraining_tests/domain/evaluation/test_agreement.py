"""A second fit agrees with the judged one if it ranks, alerts and expects alike; each bound is one by itself."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.evaluation.agreement import Agreement, agreement
from fraud_retraining.domain.training.windows import RefitPolicy

DAYS = date(2026, 3, 1), date(2026, 3, 7)
POLICY = RefitPolicy(enabled=True)
SCORES = 1 / (1 + np.exp(-np.random.default_rng(7).normal(-4, 2, 5000)))


def held(refitted, judged=SCORES, alerts: int = 100) -> Agreement:
    return agreement(judged, refitted, POLICY, DAYS, alerts)


def test_the_same_scores_agree() -> None:
    found = held(SCORES)
    assert found.agrees
    assert (found.rows, found.rank_correlation, found.alert_ratio) == (5000, pytest.approx(1), 1)
    assert found.calibration_difference == pytest.approx(0)


@pytest.mark.parametrize(
    ("refitted", "problem"),
    [
        (np.random.default_rng(1).permutation(SCORES), "rank correlation"),
        (SCORES**0.5, "times the alerts at the judged threshold"),
        (SCORES**1.5, "expected frauds"),
        (np.full_like(SCORES, SCORES.mean()), "rank correlation not known"),
        (np.where(np.arange(5000) == 0, np.nan, SCORES), "rank correlation not known"),
    ],
    ids=["another order", "more alerts", "fewer frauds", "one score", "no number"],
)
def test_scores_that_differ_say_in_what(refitted: np.ndarray, problem: str) -> None:
    found = held(refitted)
    assert not found.agrees
    assert any(problem in one for one in found.problems), found.problems


def test_without_rows_nothing_agrees() -> None:
    assert len(held(np.empty(0), np.empty(0)).problems) == 3


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.2), st.integers(1, 500))
def test_agreement_does_not_depend_on_the_order_of_the_rows(seed: int, noise: float, alerts: int) -> None:
    random = np.random.default_rng(seed)
    refitted = np.clip(SCORES + noise * random.random(len(SCORES)), 0, 1)
    order = random.permutation(len(SCORES))
    one, other = held(refitted, alerts=alerts), held(refitted[order], SCORES[order], alerts)
    assert one.alert_ratio == other.alert_ratio
    assert one.rank_correlation == pytest.approx(other.rank_correlation)
    assert one.problems == other.problems
