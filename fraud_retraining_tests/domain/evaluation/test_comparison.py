"""Intervals are honest about noise: of customers, of pairs, and in any order of the rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from fraud_retraining.domain.evaluation.comparison import Ranking, compare
from fraud_retraining.domain.evaluation.judged import Pair
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy, card_precision_at_k, evaluate
from fraud_retraining_tests.support.judged_rows import EXAMPLES, FEW, POLICY, awkward_rows, judged, noisy_pair


@EXAMPLES
@given(awkward_rows(), st.integers(0, 1000))
def test_a_resample_gives_the_weighted_average_precision_of_scikit_learn_ties_included(rows, seed):
    weights = np.random.default_rng(seed).poisson(1, (10, 3)).astype(np.float32)
    ranking = Ranking(rows, rows.customers, 10)
    for drawn, column in zip(ranking.average_precision(weights), weights.T, strict=True):
        row_weights = column[rows.customers]
        if row_weights[rows.labels == 1].sum() == 0:
            assert np.isnan(drawn)
        else:
            expected = oracle.average_precision_score(rows.labels, rows.scores, sample_weight=row_weights)
            assert drawn == pytest.approx(expected)


@FEW
@given(st.integers(0, 10_000))
def test_nothing_depends_on_the_order_of_the_rows(seed):
    pair = noisy_pair(seed, rows=400, customers=60)
    order = np.random.default_rng(seed).permutation(400)
    shuffled = Pair(pair.candidate.where(order), pair.champion.where(order))
    assert compare(shuffled, POLICY).difference == compare(pair, POLICY).difference
    again, first = (evaluate(rows, POLICY).values for rows in (shuffled.candidate, pair.candidate))
    assert again == pytest.approx(first)


def test_a_model_does_not_differ_from_itself():
    rows = noisy_pair(4).candidate
    difference = compare(Pair(rows, rows), POLICY).difference
    assert (difference.value, difference.low, difference.high, difference.deviation) == (0, 0, 0, 0)


def test_swapping_the_models_mirrors_the_interval():
    pair = noisy_pair(5, noise=(0.2, 1.5))
    there, back = compare(pair, POLICY).difference, compare(Pair(pair.champion, pair.candidate), POLICY).difference
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))


def test_the_same_seed_gives_the_same_interval_and_another_seed_nearly_the_same():
    pair = noisy_pair(6)
    first = compare(pair, POLICY).difference
    assert compare(pair, POLICY).difference == first
    other = compare(pair, MetricsPolicy(resamples=200, seed=8)).difference
    assert other != first
    assert other.deviation == pytest.approx(first.deviation, rel=0.25)


def test_pairing_takes_away_most_of_the_noise_that_the_models_share():
    comparison = compare(noisy_pair(7, noise=(0.1, 0.1)), POLICY)
    assert comparison.difference.deviation < comparison.candidate.deviation / 3


def test_customers_with_one_row_each_give_the_noise_of_a_bootstrap_of_rows():
    pair = noisy_pair(8, rows=2000, customers=10)
    rows = judged(pair.candidate.labels, pair.candidate.scores)
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(300):
        index = random.integers(0, 2000, 2000)
        drawn.append(oracle.average_precision_score(rows.labels[index], rows.scores[index]))
    assert compare(Pair(rows, rows), POLICY).candidate.deviation == pytest.approx(np.std(drawn), rel=0.2)


def test_customers_whose_rows_are_copies_give_as_much_noise_as_one_row_each():
    rows = noisy_pair(9, rows=1500).candidate
    once = judged(rows.labels, rows.scores)
    copies = judged(np.repeat(rows.labels, 5), np.repeat(rows.scores, 5), np.repeat(np.arange(1500), 5))
    found = compare(Pair(copies, copies), POLICY).candidate
    assert found.deviation == pytest.approx(compare(Pair(once, once), POLICY).candidate.deviation)


def test_a_single_customer_leaves_nothing_to_draw():
    rows = judged([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1], customers=[3, 3, 3, 3])
    assert compare(Pair(rows, rows), POLICY).candidate.deviation == pytest.approx(0)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    true = compare(noisy_pair(99, rows=400_000, noise=(0.3, 0.9)), MetricsPolicy(resamples=100)).difference.value
    found = [compare(noisy_pair(seed, noise=(0.3, 0.9)), POLICY).difference for seed in range(100)]
    assert 0.88 <= np.mean([one.low <= true <= one.high for one in found]) <= 0.995


@pytest.mark.parametrize(("confidence", "reach"), [(0.8, 1.2816), (0.95, 1.96)])
def test_an_interval_holds_as_much_of_the_resamples_as_its_confidence_says(confidence, reach):
    found = compare(noisy_pair(12, rows=6000), MetricsPolicy(resamples=2000, confidence=confidence)).difference
    assert found.high - found.low == pytest.approx(2 * reach * found.deviation, rel=0.08)
    assert found.low < found.value < found.high


def test_slices_are_compared_where_they_hold_enough_frauds_and_are_not_everything():
    pair = noisy_pair(10, rows=20_000)
    comparison = compare(pair, MetricsPolicy(resamples=200, min_slice_frauds=30))
    assert [one.value for one in comparison.slices] == [
        "under 10", "10 to 50", "50 to 100", "100 to 250",
    ]  # fmt: skip
    band = pair.candidate.amounts < 10
    alone = compare(Pair(pair.candidate.where(band), pair.champion.where(band)), MetricsPolicy(resamples=200))
    assert comparison.slices[0].difference.value == pytest.approx(alone.difference.value)
    assert comparison.slices[0].difference.deviation == pytest.approx(alone.difference.deviation, rel=0.3)


def test_rows_without_a_fraud_cannot_compare_models():
    rows = judged([0, 0], [0.1, 0.2])
    assert compare(Pair(rows, rows), POLICY) is None


def test_customer_codes_may_have_gaps():
    rows = noisy_pair(11, rows=500, customers=50).candidate
    for spread in (3, 10**9):
        apart = judged(rows.labels, rows.scores, rows.customers * spread)
        assert compare(Pair(apart, apart), POLICY).candidate == compare(Pair(rows, rows), POLICY).candidate
        assert card_precision_at_k(apart, 5) == card_precision_at_k(rows, 5)
