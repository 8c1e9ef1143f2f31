"""Alerts, money and customers at a threshold under two models, with intervals that are wide where rows say little."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from fraud_retraining.domain.evaluation.alert_volume import ScoredRows, Threshold, alert_change, highest
from fraud_retraining.domain.evaluation.judged import Pair, categories
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy
from fraud_retraining_tests.support.judged_rows import judged

POLICY = MetricsPolicy(resamples=200)
DAYS = [date(2026, 3, 1) + timedelta(days=number) for number in range(2)]
REVIEW = Threshold(name="review", at=0.5)


def rows(candidate, champion, customers=None, **slices) -> ScoredRows:
    own, theirs = np.asarray(candidate, float), np.asarray(champion, float)
    return ScoredRows(
        days=DAYS,
        candidate=own,
        champion=theirs,
        customers=np.arange(len(own)) if customers is None else np.asarray(customers),
        slices={name: categories(pa.array(values)) for name, values in slices.items()},
    )


def test_alerts_are_counted_overall_and_by_slice() -> None:
    found = alert_change(
        rows([0.6, 0.5, 0.2, 0.9], [0.6, 0.4, 0.1, 0.8], country=["DE", "DE", "FR", "FR"]), [REVIEW], POLICY
    )
    (one,) = found.thresholds
    assert (found.first, found.last, found.days, found.rows) == (DAYS[0], DAYS[1], 2, 4)
    assert (one.candidate, one.champion) == (3, 2) and one.ratio is not None and one.ratio.value == 1.5
    assert [(part.value, part.candidate, part.champion) for part in one.slices] == [("DE", 2, 1), ("FR", 1, 1)]
    assert one.money is None and one.disturbed is None


def test_the_same_alerts_are_sure_and_other_ones_are_not() -> None:
    random = np.random.default_rng(7)
    scores, other = random.random(4000), random.random(4000)
    same = alert_change(rows(scores, scores), [REVIEW], POLICY).thresholds[0].ratio
    assert same is not None and (same.low, same.high) == (1, 1)
    apart = alert_change(rows(scores, other), [REVIEW], POLICY).thresholds[0].ratio
    assert apart is not None and apart.low < apart.value < apart.high
    # A ratio of two counts of 2000 that have half of their rows in common: 1 / sqrt(2000) is its deviation.
    assert apart.deviation == pytest.approx(2000**-0.5, rel=0.3)
    crowded = alert_change(rows(scores, other, random.integers(0, 40, 4000)), [REVIEW], POLICY).thresholds[0].ratio
    assert crowded is not None and crowded.deviation > 0


def test_without_an_alert_of_the_champion_there_is_no_ratio() -> None:
    (one,) = alert_change(rows([0.9, 0.1], [0.1, 0.1]), [REVIEW], POLICY).thresholds
    assert (one.candidate, one.champion, one.ratio) == (1, 0, None)
    (none,) = alert_change(rows([0.1], [0.1]), [REVIEW], POLICY).thresholds
    assert (none.candidate, none.ratio) == (0, None)


def test_money_is_that_of_frauds_and_a_customer_is_disturbed_once_a_day() -> None:
    candidate = judged(
        [1, 0, 0, 0, 1],
        [0.9, 0.9, 0.9, 0.9, 0.1],
        customers=[1, 2, 2, 2, 3],
        days=[0, 0, 0, 1, 1],
        amounts=[100.0, 7.0, 7.0, 7.0, 40.0],
    )
    pair = Pair(candidate, candidate.with_scores(np.array([0.1, 0.9, 0.1, 0.1, 0.9])))
    (one,) = alert_change(rows([0.9], [0.9]), [REVIEW], POLICY, pair).thresholds
    assert one.money is not None and one.disturbed is not None
    assert (one.money.candidate, one.money.champion, one.money.difference.value) == (50, 20, 30)
    assert (one.disturbed.candidate, one.disturbed.champion) == (1.0, 0.5), "two days of customer 2, of two days"
    assert one.money.difference.low <= 30 <= one.money.difference.high


def test_the_score_that_so_many_rows_reach() -> None:
    scores = np.array([0.1, 0.5, 0.5, 0.9])
    assert [highest(scores, alerts) for alerts in (1, 2, 3, 4, 99)] == [0.9, 0.5, 0.5, 0.1, 0.1]
