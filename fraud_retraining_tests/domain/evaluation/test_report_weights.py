"""A known fraud of a young day counts for those of its age that are not known yet, in every metric and resample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fraud_retraining.domain.evaluation.comparison import Ranking, compare
from fraud_retraining.domain.evaluation.judged import Judged, Pair
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy, calibration, evaluate
from fraud_retraining.domain.evaluation.uncertainty import draw, metric_intervals

POLICY = MetricsPolicy(min_slice_frauds=2, resamples=100, alert_budget=5)
REPLICATED = ("average_precision", "roc_auc", "recall_at_1pct_fpr", "brier_score", "log_loss")


def rows(seed: int, count: int = 400, weights: tuple[float, ...] | None = (1.0, 2.0, 3.0)) -> Judged:
    """Rows of as many days as there are weights; a day's known frauds count by its weight."""
    draw_ = np.random.default_rng(seed)
    days = draw_.integers(0, 3, count).astype(np.int32)
    scores = draw_.random(count).round(2)
    return Judged(
        labels=(draw_.random(count) < scores**2 / 2).astype(np.int8),
        scores=scores,
        customers=draw_.integers(0, 60, count),
        days=days,
        amounts=draw_.gamma(1.0, 50.0, count),
        report_weights=None if weights is None else np.array(weights)[days],
    )


def replicated(judged: Judged) -> Judged:
    """The same with each fraud as often as it counts."""
    assert judged.weights is not None
    at = np.repeat(np.arange(len(judged)), judged.weights.astype(int))
    return Judged(judged.labels[at], judged.scores[at], judged.customers[at], judged.days[at], judged.amounts[at])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_fraud_that_counts_twice_is_two_frauds(seed: int):
    weighted = rows(seed)
    found, wanted = evaluate(weighted, POLICY), evaluate(replicated(weighted), POLICY)
    for name in REPLICATED:
        assert_allclose(found.values[name], wanted.values[name], err_msg=name)
    for mine, theirs in zip(found.slices, wanted.slices, strict=True):
        assert_allclose(mine.log_loss, theirs.log_loss)
    assert weighted.expected_frauds == replicated(weighted).frauds > weighted.frauds


def test_weights_of_one_change_nothing():
    plain, ones = rows(3, weights=None), rows(3, weights=(1.0, 1.0, 1.0))
    for name, value in evaluate(plain, POLICY).values.items():
        assert_allclose(evaluate(ones, POLICY).values[name], value, err_msg=name)
    assert plain.weights is None and plain.expected_frauds == ones.expected_frauds


def test_resamples_of_a_ranking_count_frauds_by_their_weight():
    weighted = rows(5)
    copies = replicated(weighted)
    drawn = np.random.default_rng(1).poisson(1.0, (60, 8)).astype(np.float32)
    mine = Ranking(weighted, weighted.customers, 60).average_precision(drawn)
    theirs = Ranking(copies, copies.customers, 60).average_precision(drawn)
    assert_allclose(mine, theirs, rtol=1e-5)


def test_a_comparison_and_its_intervals_rest_on_weighted_rows():
    candidate = rows(7)
    champion = candidate.with_scores(np.random.default_rng(2).random(len(candidate)))
    found = compare(Pair(candidate, champion), POLICY)
    assert found is not None
    assert_allclose(found.candidate.value, evaluate(candidate, POLICY).values["average_precision"], rtol=1e-5)
    drawn = draw(candidate, champion, alert_budget=5, seed=1)
    exact = [evaluate(one, POLICY).values for one in (candidate, champion)]
    assert_allclose(drawn[0].measured["brier_score"][0], exact[0]["brier_score"], rtol=1e-4)
    assert_allclose(drawn[0].measured["card_precision_at_5"][0], exact[0]["card_precision_at_5"], rtol=1e-4)
    assert set(metric_intervals(drawn, exact, 0.9)) >= {"average_precision", "expected_calibration_error"}


def test_two_models_with_other_weights_are_not_judged_on_the_same_rows():
    with pytest.raises(ValueError, match="same rows"):
        Pair(rows(1), rows(1, weights=(1.0, 2.0, 4.0)))


def test_calibration_is_not_deceived_by_frauds_that_are_not_reported_yet():
    """A perfectly calibrated model of which half of the frauds are known: without weights it would look wrong."""
    draw_ = np.random.default_rng(4)
    count = 200_000
    scores = draw_.beta(0.5, 20, count)
    known = (draw_.random(count) < scores) & (draw_.random(count) < 0.5)
    judged = Judged(
        labels=known.astype(np.int8),
        scores=scores,
        customers=np.arange(count),
        days=np.zeros(count, dtype=np.int32),
        amounts=np.ones(count),
        report_weights=np.full(count, 2.0),
    )
    weighted = calibration(judged)
    blind = calibration(Judged(judged.labels, scores, judged.customers, judged.days, judged.amounts))
    assert weighted is not None and blind is not None
    assert weighted.error < 1.6 * weighted.chance and blind.error > 10 * blind.chance


def test_card_precision_expects_right_alerts_of_frauds_that_are_not_known_but_never_more_than_alerts():
    def precision(weight: float) -> float:
        judged = rows(9, weights=(weight,) * 3)
        value = evaluate(judged, POLICY).values["card_precision_at_5"]
        assert value is not None
        return value

    assert 0 < precision(1.0) < precision(1.5) <= 1.0
    assert precision(1000.0) == 1.0


def test_metrics_say_how_many_frauds_are_known_and_how_many_to_be_expected():
    found, plain = evaluate(rows(2), POLICY), evaluate(rows(2, weights=None), POLICY)
    assert found.frauds == plain.frauds and found.expected_frauds is not None
    assert found.fraud_rate == found.expected_frauds / found.rows
    assert found.frauds_words == f"{found.frauds} known, {found.expected_frauds:.0f} to be expected"
    assert plain.expected_frauds is None and "expected_frauds" not in plain.model_dump()
    assert type(found).model_validate(found.model_dump()) == found
