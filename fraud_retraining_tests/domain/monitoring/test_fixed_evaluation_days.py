"""The fixed evaluation days tell their age, and how far what happens today is from them."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from fraud_retraining.domain.monitoring.fixed_evaluation_days import fixed_set_age
from fraud_retraining_tests.support.judged_rows import judged

AS_OF = date(2026, 11, 30)
DAYS = [AS_OF - timedelta(days=200 - n) for n in range(3)]
IMPORTANCE = {"amount": 0.7, "city": 0.2, "night": 0.1}


def rows(shift: float = 0.0, elm: float = 0.3, seed: int = 0, missing: float = 0.0) -> pa.Table:
    random = np.random.default_rng(seed)
    amount = random.normal(shift, 1, 1000)
    amount[random.random(1000) < missing] = np.nan
    return pa.table(
        {
            "amount": amount,
            "city": np.where(random.random(1000) < elm, "elm", "ash").tolist(),
            "night": (random.random(1000) < 0.2).astype(np.float32),
        }
    )


def scored(shift: float = 0.0, seed: int = 0):
    random = np.random.default_rng(seed)
    return judged((random.random(2000) < 0.1).astype(int), random.beta(1 + shift, 20, 2000))


def age(after: pa.Table, scores=None):
    both = (scored(), scores or scored(seed=1))
    return fixed_set_age(AS_OF, DAYS, scores=both, samples=(rows(), after), importance=IMPORTANCE)


def test_days_like_todays_are_old_but_near():
    found = age(rows(seed=1))
    assert (found.first, found.last, found.age_days) == (DAYS[0], DAYS[-1], 198)
    assert found.drift_index < 0.05 and found.score_drift < 0.05
    assert "198 days old" in found.summary


@pytest.mark.parametrize(
    ("after", "moved"),
    [
        (rows(1.5, seed=1), "amount"),
        (rows(elm=0.95, seed=1), "city"),
        (rows(seed=1, missing=0.4), "amount"),
    ],
)
def test_the_feature_that_moved_is_named(after: pa.Table, moved: str):
    found = age(after)
    assert next(iter(found.most_moved)) == moved
    assert found.drift_index > 0.1


def test_scores_that_moved_are_reported_beside_the_features():
    assert age(rows(seed=1), scored(shift=3, seed=1)).score_drift > 0.25


def test_without_samples_the_age_is_reported_all_the_same():
    both = (scored(), scored().with_scores(np.full(2000, np.nan)))
    found = fixed_set_age(AS_OF, DAYS, scores=both, samples=(None, rows()), importance=IMPORTANCE)
    assert (found.age_days, found.drift_index, found.score_drift) == (198, 0.0, None)
