"""A look at a promotion: which days it compares, when it is taken, and how sure it has to be."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.evaluation.comparison import compare
from fraud_retraining.domain.evaluation.judged import Pair
from fraud_retraining.domain.evaluation.matured import MaturedOutcome, outcome_of
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy
from fraud_retraining.domain.monitoring.promotion_watch import (
    WatchedPromotion,
    WatchReport,
    needed_versions,
    shared_among,
    watched_days,
)
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.interval import Interval
from fraud_retraining_tests.support.judged_rows import noisy_pair
from fraud_retraining_tests.support.matured import watched

AS_OF = date(2026, 11, 5)
AGE = timedelta(days=2)


def day(number: int) -> date:
    return AS_OF + timedelta(days=number)


def promotion(serves: bool = True, learnt: tuple[DayRange, ...] = ()) -> WatchedPromotion:
    return WatchedPromotion(
        version=7,
        as_of=AS_OF,
        fingerprint="f",
        predecessor_version=6,
        serves=serves,
        days=watched_days(AS_OF, 3),
        learnt=learnt,
    )


def test_the_champion_is_looked_at_each_day_and_a_replaced_version_once_at_the_end():
    looks = [[one for one in range(8) if promotion(serves).is_due(day(one), AGE)] for serves in (True, False)]
    assert looks == [[3, 4, 5, 6, 7], [5, 6, 7]]
    assert [one for one in range(8) if promotion().is_over(day(one), AGE)] == [5, 6, 7]


def test_days_that_either_version_has_learnt_from_are_left_out():
    learnt = (DayRange(start=day(-9), end=day(-2)), DayRange(start=day(-3), end=day(1)))
    assert promotion(learnt=learnt).live_days(day(9)) == (day(2), day(3))
    assert promotion(learnt=learnt).live_days(day(2)) == (day(2),)
    needed = {number: needed_versions([promotion(learnt=learnt)], day(number)) for number in range(5)}
    assert needed == {0: set(), 1: set(), 2: {6, 7}, 3: {6, 7}, 4: set()}


@given(
    st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    st.floats(0.001, 0.2),
    st.integers(1, 60),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_more_looks_never_decide_what_one_alone_would_not(
    ends: tuple[float, float, float], deviation: float, looks: int, confidence: float
):
    low, value, high = sorted(ends)
    alone = Interval(value=value, low=low, high=high, deviation=deviation)
    wide = shared_among(alone, looks, confidence)
    assert wide.low <= low and high <= wide.high
    if looks == 1:
        assert wide == pytest.approx(alone)
    refuted = [outcome_of(one, 0.01) is MaturedOutcome.REFUTED for one in (alone, wide)]
    assert refuted in ([False, False], [True, False], [True, True])


def test_calm_days_refute_no_sound_model_and_a_blind_one_is_found():
    """14 looks at days that come one by one: models of one quality are left alone, one without a signal is not."""
    policy, looks = MetricsPolicy(resamples=100), 14
    for seed in range(4):
        calm, blind = noisy_pair(seed, rows=2800), noisy_pair(seed, rows=2800, noise=(6.0, 0.5))
        assert not any(_refutes(calm, n, looks, policy) for n in range(4, looks + 1))
        assert _refutes(blind, looks, looks, policy)


def _refutes(pair: Pair, seen: int, looks: int, policy: MetricsPolicy) -> bool:
    rows = np.arange(len(pair.candidate)) < len(pair.candidate) * seen // looks
    found = compare(Pair(pair.candidate.where(rows), pair.champion.where(rows)), policy)
    assert found is not None
    return outcome_of(shared_among(found.difference, looks, policy.confidence), 0.01) is MaturedOutcome.REFUTED


@pytest.mark.parametrize(
    ("now", "standing", "says"),
    [
        (-0.2, "clearly worse, ended", "Clearly worse on live rows of 2026-11-05"),
        (0.1, "not worse, ended", "differs from version 6 by +0.100"),
        (None, "not measured, ended", "Cannot be compared with version 6: version 6 is gone."),
    ],
)
def test_a_look_says_what_it_found(now: float | None, standing: str, says: str):
    found = watched(7, 6, now, reason="version 6 is gone")
    assert found.standing == standing and says in found.summary
    report = WatchReport(day=AS_OF, watches=(found,))
    assert (report.of(7), report.of(6)) == (found, None)
