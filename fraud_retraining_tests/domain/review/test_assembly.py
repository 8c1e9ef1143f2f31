"""A reviewer's pack says what both models do on the same rows, and nothing about rows that it did not see."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from fraud_retraining.domain.evaluation.gates import NO_CHAMPION
from fraud_retraining.domain.evaluation.metrics import average_precision, card_precision_at_k, metric_names
from fraud_retraining.domain.review.assembly import kolmogorov_distance, stability_index
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining_tests.support.judged_rows import EXAMPLES
from fraud_retraining_tests.support.reviews import (
    POLICY,
    ROWS,
    evidence_of,
    fitted,
    judged,
    review_report,
    review_report_of,
    rows,
)


def test_the_twenty_transactions_come_with_both_scores_and_the_reason():
    shown = review_report().disagreements
    assert len(shown) == 20
    apart = [abs(one.candidate - one.champion) for one in shown]
    assert apart == sorted(apart, reverse=True)
    by_id = dict(zip(rows()["transaction_id"].to_pylist(), rows().to_pylist(), strict=True))
    for one in shown:
        row = by_id[int(one.transaction_id)]
        assert (one.amount, one.is_fraud, one.at) == (row["amount"], bool(row["is_fraud"]), row["timestamp"])
        assert len(one.because) == 3
    assert sum("night" in one.because for one in shown) >= 10, "the champion does not know the night"


def test_a_feature_that_only_the_candidate_has_shows_as_a_shift():
    features = {one.name: one for one in review_report().features}
    assert features["night"].champion_gain is None and features["night"].champion_effect is None
    assert features["night"].shift == features["night"].effect > 0.05
    assert sum(one.effect for one in features.values()) == pytest.approx(1)
    assert sum(one.champion_effect or 0 for one in features.values()) == pytest.approx(1)
    assert (review_report().effects.candidate, review_report().effects.champion) == ("shap", "linear")


def test_effects_without_rows_of_their_own_give_no_reasons():
    shown = review_report("hist_gradient_boosting", "logistic_regression")
    assert shown.effects.candidate == "permutation"
    assert all(one.because == () for one in shown.disagreements)


def test_the_alerts_of_the_days_are_the_card_precision_at_the_budget():
    shown = review_report()
    mean = np.mean([one.candidate for one in shown.alerts]) / shown.alert_budget
    assert mean == pytest.approx(card_precision_at_k(judged(fitted()), POLICY.alert_budget))
    assert all(0 <= one.same <= shown.alert_budget for one in shown.alerts)
    same = review_report("xgboost", None)
    assert [one.champion for one in same.alerts] == [None] * 4


def test_metrics_on_the_fixed_evaluation_days_have_intervals_of_their_own():
    candidate, champion = fitted(), fitted("logistic_regression")
    mine, rival = judged(candidate), judged(champion)
    some = np.arange(ROWS) % 2 == 0
    fixed = mine.where(some), rival.where(some)
    found = review_report_of(mine, candidate, rival, champion, fixed=fixed).fixed_intervals
    assert set(found) == set(metric_names(POLICY))
    assert found["average_precision"].candidate.value == pytest.approx(average_precision(fixed[0]))
    assert found["average_precision"].champion.value == pytest.approx(average_precision(fixed[1]))
    alone = review_report_of(mine, candidate, rival, champion, fixed=fixed[:1]).fixed_intervals
    assert all(one.champion is None for one in alone.values())
    assert alone["roc_auc"].candidate == found["roc_auc"].candidate
    assert review_report().fixed_intervals == {}


def test_scores_are_counted_by_label_and_their_shift_measured():
    scores = review_report().scores
    assert sum(scores.candidate.frauds) == sum(scores.champion.frauds) == judged(fitted()).frauds
    assert sum(scores.candidate.others) == ROWS - judged(fitted()).frauds
    assert scores.stability_index > 0 and 0 < scores.distance < 1


def test_without_a_champion_there_is_a_curve_with_an_interval_and_nothing_to_compare():
    alone = review_report("xgboost", None)
    assert alone.curve and not alone.champion_curve and not alone.disagreements
    assert alone.not_compared == NO_CHAMPION.reason
    interval = alone.intervals["average_precision"]
    assert interval.candidate.low < interval.candidate.value < interval.candidate.high
    assert interval.candidate.value == pytest.approx(average_precision(judged(fitted())))
    assert interval.champion is None


def test_slices_name_every_value_with_its_counts():
    slices = {(one.slice, one.value): one for one in review_report().slices}
    assert slices["city", "ash"].rows > 1000
    assert {value for name, value in slices if name == "city"} == {"ash", "birch", "<b>elm</b>"}
    evidence = evidence_of(fitted(), fitted("logistic_regression", ("amount", "count", "city")))
    for one in evidence.comparison.slices:
        shown = slices[one.slice, one.value]
        assert (shown.champion, shown.low, shown.high) == (one.champion, one.difference.low, one.difference.high)


def test_drift_that_was_not_measured_is_not_the_same_as_none():
    assert review_report(drift=False).drift is None
    assert review_report().drift.over() == ("amount",)


@pytest.mark.parametrize("against", ["logistic_regression", None])
def test_the_document_is_small_and_says_the_same(against):
    made = review_report("xgboost", against)
    text = json.dumps(made.document(), allow_nan=False)
    assert len(text) < 120_000
    read = ReviewReport.model_validate_json(text)
    assert read.document() == made.document()
    assert read.curve[3].precision == pytest.approx(made.curve[3].precision, rel=1e-5)


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=1), st.lists(st.floats(0, 1), min_size=1))
@EXAMPLES
def test_the_distance_of_two_distributions_is_the_known_one(first, second):
    one, other = np.sort(np.array(first)), np.sort(np.array(second))
    with np.errstate(divide="ignore"):
        known = ks_2samp(one, other, method="asymp").statistic
    assert kolmogorov_distance(one, other) == pytest.approx(known)


def test_scores_that_did_not_move_have_a_stability_index_of_nothing():
    random = np.random.default_rng(0)
    scores = random.beta(1, 30, 20_000)
    assert stability_index(scores, scores) == 0
    assert stability_index(random.beta(1, 30, 20_000), scores) < 0.01
    assert stability_index(scores * 2, scores) > 0.2
    assert stability_index(np.full(100, 0.5), np.full(100, 0.5)) == 0
