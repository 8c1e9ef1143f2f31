"""Intervals over customers agree with the slow way to them, and points on the curve are exact."""

import numpy as np
import pytest
from hypothesis import given

from fraud_retraining.domain.comparison import compare
from fraud_retraining.domain.metrics import (
    MetricsPolicy,
    average_precision,
    brier_score,
    evaluate,
    log_losses,
    recall_at_fpr,
    roc_auc,
)
from fraud_retraining.domain.uncertainty import curve, draw, metric_intervals
from fraud_retraining_tests.domain.judged_rows import EXAMPLES, POLICY, awkward_rows, judged, noisy_pair

MEASURES = {
    "average_precision": average_precision,
    "roc_auc": roc_auc,
    "recall_at_1pct_fpr": recall_at_fpr,
    "brier_score": brier_score,
    "log_loss": lambda rows: float(log_losses(rows).mean()),
}


def intervals(*models):
    return metric_intervals(draw(*models), [evaluate(model, POLICY).values for model in models], 0.95)


@given(awkward_rows())
@EXAMPLES
def test_every_point_of_the_curve_is_what_counting_gives(rows):
    for drawn in draw(rows):
        for point in curve(drawn, 0.95):
            alerted = rows.scores >= point.threshold
            assert point.alerts == alerted.sum()
            assert point.recall == pytest.approx(rows.labels[alerted].sum() / rows.frauds)
            assert point.precision == pytest.approx(rows.labels[alerted].mean())
            assert 0 <= point.low <= point.precision <= point.high <= 1


def test_recall_rises_to_everything_along_the_curve():
    (drawn,) = draw(noisy_pair(1).candidate)
    points = curve(drawn, 0.95)
    assert [point.recall for point in points] == sorted(point.recall for point in points)
    assert points[-1].recall == 1
    assert len(points) < 400


@pytest.mark.parametrize("name", MEASURES)
def test_an_interval_is_as_wide_as_resampling_customers_row_by_row_makes_it(name):
    rows = noisy_pair(3, rows=6000).candidate
    random = np.random.default_rng(5)
    slow = []
    for _ in range(200):
        weight = random.poisson(1, rows.entities.max() + 1)[rows.entities]
        again = np.repeat(np.arange(len(rows)), weight)
        slow.append(MEASURES[name](rows.where(again)))
    found = intervals(rows)[name].candidate
    assert found.value == pytest.approx(MEASURES[name](rows))
    assert found.low < found.value < found.high
    assert found.deviation == pytest.approx(np.std(slow), rel=0.25)


def test_the_difference_of_two_models_is_as_sure_as_the_paired_test_says():
    pair = noisy_pair(7, rows=8000, noise=(0.4, 0.8))
    exact = compare(pair, MetricsPolicy(resamples=500)).difference
    found = intervals(pair.candidate, pair.champion)["average_precision"].difference
    assert found.value == pytest.approx(exact.value)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=exact.deviation * 0.6)
    assert found.deviation == pytest.approx(exact.deviation, rel=0.25)


def test_a_model_against_itself_differs_by_nothing():
    rows = noisy_pair(2).candidate
    for told in intervals(rows, rows).values():
        assert (told.difference.low, told.difference.high) == (0, 0)


@pytest.mark.parametrize(
    "rows",
    [judged([0, 0, 0], [0.1, 0.2, 0.3]), judged([1, 0], [np.nan, 0.1])],
    ids=["no fraud", "scores that are no numbers"],
)
def test_rows_that_give_no_curve_give_none(rows):
    assert draw(rows) == []
    assert intervals(rows) == {}


def test_scores_that_are_no_probabilities_have_a_ranking_and_no_loss():
    rows = noisy_pair(4).candidate
    told = intervals(rows.with_scores(rows.scores * 5 + 2))
    assert set(told) == {"average_precision", "roc_auc", "recall_at_1pct_fpr"}


def test_only_frauds_have_no_area_under_a_curve_of_two_classes():
    told = intervals(judged([1, 1, 1], [0.1, 0.2, 0.3]))
    assert "roc_auc" not in told and told["average_precision"].candidate.value == 1
