"""A known fraud of a young day counts for those of its age that are not known yet, in every metric and resample."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fraud_retraining.domain.evaluation.comparison import Ranking, compare
from fraud_retraining.domain.evaluation.judged import Judged, Pair
from fraud_retraining.domain.evaluation.metric_intervals import draw, metric_intervals
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy, calibration, evaluate

POLICY = MetricsPolicy(min_slice_frauds=2, resamples=100, alert_budget=5)
EXACT = ("average_precision", "roc_auc", "recall_at_1pct_fpr", "brier_score", "log_loss")


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


def with_unreported(judged: Judged) -> tuple[Judged, Judged]:
    """The same with the frauds that known ones stand for as rows of their own: as they are known, and as they are.

    A known fraud of weight w is joined by w - 1 of its score, customer, day and amount that are not reported.
    """
    assert judged.weights is not None
    at = np.repeat(np.arange(len(judged)), judged.weights.astype(int))
    known = judged.where(at)  # type: ignore[arg-type]  # positions keep rows too, and more than once
    first = np.r_[True, at[1:] != at[:-1]]
    truth = replace(known, report_weights=None)
    return replace(known, labels=np.where(first, known.labels, 0).astype(np.int8)), truth


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_known_frauds_that_stand_for_unreported_ones_like_them_give_the_metrics_of_the_truth(seed: int):
    known, truth = with_unreported(rows(seed))
    found, wanted = evaluate(known, POLICY), evaluate(truth, POLICY)
    for name in EXACT:
        assert_allclose(found.values[name], wanted.values[name], err_msg=name)
    for mine, theirs in zip(found.slices, wanted.slices, strict=True):
        assert_allclose(mine.log_loss, theirs.log_loss)
        if mine.average_precision is not None:
            assert_allclose(mine.average_precision, theirs.average_precision)
    assert known.expected_frauds == truth.frauds > known.frauds


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_metrics_on_reports_by_chance_are_those_of_the_truth_on_average(share: float):
    """Each fraud is known with the same chance; metrics that count the others as genuine are far below the truth."""
    truth = rows(11, count=20_000, weights=None)
    draw_ = np.random.default_rng(6)
    drawn = [draw_.random(len(truth)) < share for _ in range(60)]
    weights = np.full(len(truth), 1 / share)
    found = [
        evaluate(replace(truth, labels=truth.labels * one, report_weights=weights), POLICY).values for one in drawn
    ]
    blind = [evaluate(replace(truth, labels=truth.labels * one), POLICY).values for one in drawn]
    wanted = evaluate(truth, POLICY).values
    for name in EXACT:
        mean, naive = (np.mean([one[name] for one in each]) for each in (found, blind))
        if name == "recall_at_1pct_fpr":  # a step function of few frauds: cautious by some per cent
            assert mean == pytest.approx(wanted[name], rel=0.1)
        else:
            assert mean == pytest.approx(wanted[name], rel=0.02), name
            assert abs(mean - wanted[name]) < abs(naive - wanted[name]) / 3, name


def test_weights_of_one_change_nothing():
    plain, ones = rows(3, weights=None), rows(3, weights=(1.0, 1.0, 1.0))
    for name, value in evaluate(plain, POLICY).values.items():
        assert_allclose(evaluate(ones, POLICY).values[name], value, err_msg=name)
    assert plain.weights is None and plain.expected_frauds == ones.expected_frauds


def test_resamples_of_a_ranking_are_those_of_the_truth():
    known, truth = with_unreported(rows(5))
    drawn = np.random.default_rng(1).poisson(1.0, (60, 8)).astype(np.float32)
    mine = Ranking(known, known.customers, 60).average_precision(drawn)
    theirs = Ranking(truth, truth.customers, 60).average_precision(drawn)
    assert_allclose(mine, theirs, rtol=1e-5)


def test_intervals_are_those_of_the_truth():
    known, truth = with_unreported(rows(5))
    mine, theirs = (
        metric_intervals(draw(one, alert_budget=5, seed=1), [evaluate(one, POLICY).values], 0.9)
        for one in (known, truth)
    )
    for name in EXACT:
        assert mine[name].candidate.value == pytest.approx(theirs[name].candidate.value, rel=1e-4), name
        width = theirs[name].candidate.high - theirs[name].candidate.low
        assert mine[name].candidate.low == pytest.approx(theirs[name].candidate.low, abs=width / 4), name
        assert mine[name].candidate.high == pytest.approx(theirs[name].candidate.high, abs=width / 4), name


def test_precision_is_at_most_one_where_known_frauds_stand_for_more_than_there_are_alerts():
    judged = Judged(
        labels=np.array([1, 0, 0], dtype=np.int8),
        scores=np.array([0.9, 0.5, 0.1]),
        customers=np.arange(3),
        days=np.zeros(3, dtype=np.int32),
        amounts=np.ones(3),
        report_weights=np.full(3, 2.5),
    )
    assert evaluate(judged, POLICY).values["average_precision"] == 1.0
    assert evaluate(judged, POLICY).values["roc_auc"] == 1.0


def test_a_comparison_and_its_intervals_rest_on_known_frauds_by_their_weight():
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
