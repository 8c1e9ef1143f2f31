"""Intervals over customers agree with the slow way to them, and points on the curve are exact."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fraud_retraining.domain.evaluation.comparison import compare
from fraud_retraining.domain.evaluation.metric_intervals import Alerting, curve, draw, metric_intervals
from fraud_retraining.domain.evaluation.metrics import (
    MetricsPolicy,
    average_precision,
    brier_score,
    calibration,
    card_precision_at_k,
    daily_alerts,
    evaluate,
    log_losses,
    metric_names,
    recall_at_fpr,
    roc_auc,
)
from fraud_retraining_tests.support.judged_rows import EXAMPLES, awkward_rows, judged, noisy_pair

BUDGET = 20
POLICY = MetricsPolicy(resamples=200, alert_budget=BUDGET)
MEASURES = {
    "average_precision": average_precision,
    "roc_auc": roc_auc,
    "recall_at_1pct_fpr": recall_at_fpr,
    "brier_score": brier_score,
    "log_loss": lambda rows: float(log_losses(rows).mean()),
    f"card_precision_at_{BUDGET}": lambda rows: card_precision_at_k(rows, BUDGET),
    "expected_calibration_error": lambda rows: calibration(rows).error,
}


def intervals(*models, seed=0):
    drawn = draw(*models, alert_budget=BUDGET, seed=seed)
    return metric_intervals(drawn, [evaluate(model, POLICY).values for model in models], 0.95)


def over_days(rows, days=4):
    """The same rows, spread over some days."""
    return replace(rows, days=np.arange(len(rows), dtype=np.int32) * days // len(rows))


def repeated(rows, weights):
    """The rows of each customer as often as its weight says, each time as a customer of its own."""
    times = weights[rows.entities]
    copies = np.concatenate([np.arange(n) for n in times])
    again = rows.where(np.repeat(np.arange(len(rows)), times))
    return replace(again, customers=again.customers * (weights.max() + 1) + copies)


@given(awkward_rows())
@EXAMPLES
def test_every_point_of_the_curve_is_what_counting_gives(rows):
    for drawn in draw(rows, alert_budget=1):
        for point in curve(drawn, 0.95):
            alerted = rows.scores >= point.threshold
            assert point.alerts == alerted.sum()
            assert point.recall == pytest.approx(rows.labels[alerted].sum() / rows.frauds)
            assert point.precision == pytest.approx(rows.labels[alerted].mean())
            assert 0 <= point.low <= point.precision <= point.high <= 1


def test_recall_rises_to_everything_along_the_curve():
    (drawn,) = draw(noisy_pair(1).candidate, alert_budget=1)
    points = curve(drawn, 0.95)
    assert [point.recall for point in points] == sorted(point.recall for point in points)
    assert points[-1].recall == 1
    assert len(points) < 400


@pytest.mark.parametrize("name", MEASURES)
def test_an_interval_is_as_wide_as_resampling_customers_row_by_row_makes_it(name):
    rows = over_days(noisy_pair(3, rows=6000).candidate)
    random = np.random.default_rng(5)
    slow = [MEASURES[name](repeated(rows, random.poisson(1, rows.entities.max() + 1))) for _ in range(200)]
    found = intervals(rows)[name].candidate
    assert found.value == pytest.approx(MEASURES[name](rows))
    assert found.low < found.value < found.high
    assert found.deviation == pytest.approx(np.std(slow), rel=0.25)


@given(awkward_rows(), st.integers(1, 12), st.data())
@EXAMPLES
def test_card_precision_under_weights_is_that_of_rows_repeated_customer_by_customer(rows, budget, data):
    customers = int(rows.entities.max()) + 1
    weights = data.draw(npst.arrays(np.int64, (customers, 3), elements=st.integers(0, 3)))
    found = Alerting.of(rows, budget).precision(weights.astype(np.float32))
    days = len(np.unique(rows.days))
    for column, value in zip(weights.T, found, strict=True):
        again = repeated(rows, column) if column[rows.entities].any() else None
        right = sum(len(day.right) for day in daily_alerts(again, budget)) if again else 0
        assert value == pytest.approx(right / (budget * days))


def test_card_precision_looks_as_deep_as_a_resample_needs_to_spend_its_budget():
    rows = judged([0] * 30 + [1], np.linspace(1, 0.1, 31))
    weights = np.zeros((31, 2), np.float32)
    weights[30], weights[:3, 1] = 1, 2
    assert Alerting.of(rows, 2).precision(weights).tolist() == [1 / 2, 0]


@given(awkward_rows())
@EXAMPLES
def test_every_interval_of_a_metric_holds_what_the_rows_give_and_no_other_value_than_theirs(rows):
    values = evaluate(rows, POLICY).values
    found = intervals(rows)
    assert found.keys() <= {name for name, value in values.items() if value is not None}
    for name, one in found.items():
        assert one.candidate.value == pytest.approx(values[name])
        assert one.candidate.low <= one.candidate.high
    if "expected_calibration_error" in found:
        error = found["expected_calibration_error"].candidate
        assert 0 <= error.low <= error.value <= error.high


def test_every_metric_has_an_interval_and_one_seed_gives_one():
    pair = noisy_pair(9)
    found = intervals(pair.candidate, pair.champion, seed=3)
    assert tuple(found) and set(found) == set(metric_names(POLICY))
    assert found == intervals(pair.candidate, pair.champion, seed=3)
    assert found != intervals(pair.candidate, pair.champion, seed=4)
    assert all(one.champion is not None and one.difference is not None for one in found.values())


def test_the_interval_of_a_calibration_error_is_not_moved_by_the_chance_that_resampling_adds():
    random = np.random.default_rng(2)
    scores = random.beta(0.5, 20, 20_000)
    rows = judged((random.random(20_000) < scores).astype(int), scores)
    drawn = draw(rows, alert_budget=BUDGET)[0].measured["expected_calibration_error"]
    assert np.quantile(drawn[1:], 0.1) > drawn[0]
    error = intervals(rows)["expected_calibration_error"].candidate
    assert error.low < error.value < error.high
    assert error.high - error.value == pytest.approx(error.value - error.low, rel=0.6)


def test_the_difference_of_two_models_is_as_sure_as_the_paired_test_says():
    pair = noisy_pair(7, rows=8000, noise=(0.4, 0.8))
    exact = compare(pair, MetricsPolicy(resamples=500)).difference
    found = intervals(pair.candidate, pair.champion)["average_precision"].difference
    assert found.value == pytest.approx(exact.value)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=exact.deviation * 0.6)
    assert found.deviation == pytest.approx(exact.deviation, rel=0.25)


def test_a_model_against_itself_differs_by_nothing():
    rows = noisy_pair(2).candidate
    for found in intervals(rows, rows).values():
        assert (found.difference.low, found.difference.high) == (0, 0)


@pytest.mark.parametrize(
    "rows",
    [judged([0, 0, 0], [0.1, 0.2, 0.3]), judged([1, 0], [np.nan, 0.1])],
    ids=["no fraud", "scores that are no numbers"],
)
def test_rows_that_give_no_curve_give_none(rows):
    assert draw(rows, alert_budget=1) == []
    assert intervals(rows) == {}


def test_scores_that_are_no_probabilities_have_a_ranking_and_no_loss():
    rows = noisy_pair(4).candidate
    found = intervals(rows.with_scores(rows.scores * 5 + 2))
    assert set(found) == {"average_precision", "roc_auc", f"card_precision_at_{BUDGET}", "recall_at_1pct_fpr"}


def test_only_frauds_have_no_area_under_a_curve_of_two_classes():
    found = intervals(judged([1, 1, 1], [0.1, 0.2, 0.3]))
    assert "roc_auc" not in found and found["average_precision"].candidate.value == 1
