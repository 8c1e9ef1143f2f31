"""Metrics agree with their published definitions, and intervals are honest about noise."""

from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pydantic import ValidationError
from sklearn import metrics as oracle

from fraud_retraining.domain.metrics import (
    MISSING,
    OTHER,
    Categories,
    Judged,
    MetricsPolicy,
    Pair,
    Ranking,
    amount_bands,
    average_precision,
    brier_score,
    calibration,
    card_precision_at_k,
    categories,
    compare,
    entity_codes,
    evaluate,
    log_losses,
    recall_at_fpr,
    roc_auc,
    sliced,
)

POLICY = MetricsPolicy(resamples=200)
EXAMPLES = settings(deadline=None, max_examples=60)
FEW = settings(deadline=None, max_examples=15)
HANDBOOK = Path(__file__).parents[3] / "shared" / "data" / "handbook"


def judged(labels, scores, customers=None, days=None, amounts=None, **slices):
    """Judged rows with every column that is not given made up: one customer a row, one day, amount 1."""
    rows = len(labels)
    return Judged(
        labels=np.asarray(labels, dtype=np.int8),
        scores=np.asarray(scores, dtype=np.float64),
        customers=np.arange(rows) if customers is None else np.asarray(customers),
        days=np.zeros(rows, dtype=np.int32) if days is None else np.asarray(days, dtype=np.int32),
        amounts=np.ones(rows) if amounts is None else np.asarray(amounts, dtype=np.float64),
        slices={name: categories(pa.array(values)) for name, values in slices.items()},
    )


def noisy_pair(seed, rows=3000, customers=400, noise=(0.5, 0.5), rate=0.03):
    """Two models that see the same signal, each through noise of its own."""
    random = np.random.default_rng(seed)
    labels = (random.random(rows) < rate).astype(np.int8)
    signal = random.normal(size=rows) + 2.5 * labels - 4
    candidate, champion = (1 / (1 + np.exp(-(signal + spread * random.normal(size=rows)))) for spread in noise)
    first = judged(labels, candidate, random.integers(0, customers, rows), amounts=random.gamma(1, 60, rows))
    return Pair(first, first.with_scores(champion))


@st.composite
def awkward_rows(draw):
    """Few rows with many equal scores, entities that return and days that are uneven."""
    rows = draw(st.integers(2, 60))
    return judged(
        draw(npst.arrays(np.int8, rows, elements=st.integers(0, 1))),
        draw(npst.arrays(np.float64, rows, elements=st.sampled_from([0.0, 0.01, 0.1, 0.1000001, 0.5, 0.9, 1.0]))),
        draw(npst.arrays(np.int64, rows, elements=st.integers(0, 9))),
        draw(npst.arrays(np.int32, rows, elements=st.integers(0, 3))),
    )


@EXAMPLES
@given(awkward_rows())
def test_point_metrics_agree_with_scikit_learn(rows):
    assert np.mean(log_losses(rows)) == pytest.approx(oracle.log_loss(rows.labels, rows.scores, labels=[0, 1]))
    assert brier_score(rows) == pytest.approx(np.mean((rows.scores - rows.labels) ** 2))
    if 0 < rows.frauds < len(rows):
        assert average_precision(rows) == pytest.approx(oracle.average_precision_score(rows.labels, rows.scores))
        assert roc_auc(rows) == pytest.approx(oracle.roc_auc_score(rows.labels, rows.scores))


@EXAMPLES
@given(awkward_rows(), st.integers(0, 1000))
def test_a_resample_gives_the_weighted_average_precision_of_scikit_learn_ties_included(rows, seed):
    weights = np.random.default_rng(seed).poisson(1, (10, 3)).astype(np.float32)
    ranking = Ranking(rows.labels, rows.scores, rows.customers, 10)
    for drawn, column in zip(ranking.average_precision(weights), weights.T, strict=True):
        row_weights = column[rows.customers]
        if row_weights[rows.labels == 1].sum() == 0:
            assert np.isnan(drawn)
        else:
            expected = oracle.average_precision_score(rows.labels, rows.scores, sample_weight=row_weights)
            assert drawn == pytest.approx(expected)


@EXAMPLES
@given(awkward_rows())
def test_recall_at_a_false_positive_rate_is_that_of_the_best_threshold_that_keeps_it(rows):
    for accepted in (0.01, 0.3):
        found = recall_at_fpr(rows, accepted)
        if not 0 < rows.frauds < len(rows):
            assert found is None
            continue
        alerts = [rows.scores >= threshold for threshold in [np.inf, *np.unique(rows.scores)]]
        kept = [alert[rows.labels == 1].mean() for alert in alerts if alert[rows.labels == 0].mean() <= accepted]
        assert found == pytest.approx(max(kept))


def published_card_precision(frame, k):
    """The Fraud Detection Handbook's definition, written day by day over a frame; ties by entity."""
    detected, daily = set(), []
    for _, day in frame.groupby("day"):
        highest = day[~day.customer.isin(detected)].groupby("customer")[["score", "fraud"]].max().reset_index()
        top = highest.sort_values(["score", "customer"], ascending=[False, True]).head(k)
        caught = set(top[top.fraud == 1].customer)
        daily.append(len(caught) / k)
        detected |= caught
    return float(np.mean(daily))


def as_frame(rows):
    return pd.DataFrame({"day": rows.days, "customer": rows.customers, "score": rows.scores, "fraud": rows.labels})


@EXAMPLES
@given(awkward_rows(), st.integers(1, 12))
def test_card_precision_is_the_published_one(rows, k):
    assert card_precision_at_k(rows, k) == pytest.approx(published_card_precision(as_frame(rows), k))


def test_card_precision_on_the_handbooks_test_week():
    if not HANDBOOK.is_dir():
        pytest.skip(f"the handbook data is not at {HANDBOOK}")
    files = [HANDBOOK / f"year=2018/month=08/day={day:02}/transactions.parquet" for day in range(8, 15)]
    table = pa.concat_tables(pq.read_table(file, partitioning=None) for file in files)
    table = table.select(["TX_FRAUD", "TX_DATETIME", "TX_AMOUNT", "CUSTOMER_ID"])
    table = table.rename_columns(["is_fraud", "timestamp", "amount", "customer"])
    rows = Judged.from_table(table, table["amount"].to_numpy() / 3000, entity="customer")
    assert card_precision_at_k(rows, 100) == pytest.approx(published_card_precision(as_frame(rows), 100))


def test_card_precision_counts_an_entity_once_it_is_detected_no_more():
    rows = judged([1, 0, 1, 0], [0.9, 0.1, 0.9, 0.1], customers=[1, 2, 1, 2], days=[0, 0, 1, 1])
    assert card_precision_at_k(rows, 1) == pytest.approx((1 + 0) / 2)


def test_card_precision_divides_by_the_budget_even_on_a_day_with_fewer_entities():
    assert card_precision_at_k(judged([1, 0], [0.9, 0.1]), 4) == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("labels", "scores", "undefined"),
    [
        ([0, 0, 0], [0.1, 0.2, 0.3], {"average_precision", "roc_auc", "recall_at_1pct_fpr"}),
        ([1, 1, 1], [0.1, 0.2, 0.3], {"roc_auc", "recall_at_1pct_fpr"}),
        ([0, 1, 0], [-1.0, 2.0, 0.3], {"brier_score", "expected_calibration_error", "log_loss"}),
    ],
    ids=["no fraud", "only fraud", "not probabilities"],
)
def test_a_metric_that_is_not_defined_is_none_and_never_zero(labels, scores, undefined):
    values = evaluate(judged(labels, scores), POLICY).values
    assert {name for name, value in values.items() if value is None} == undefined


@pytest.mark.parametrize(
    "rows", [judged([0, 1], [0.1, np.nan]), judged([], [])], ids=["a score that is no number", "no rows"]
)
def test_no_metric_at_all_is_given_for(rows):
    metrics = evaluate(rows, POLICY)
    assert set(metrics.values.values()) == {None}
    assert metrics.calibration is None


def test_metrics_have_exactly_these_names():
    values = evaluate(noisy_pair(0).candidate, MetricsPolicy(alert_budget=50)).values
    assert list(values) == [
        "average_precision",
        "roc_auc",
        "card_precision_at_50",
        "recall_at_1pct_fpr",
        "brier_score",
        "expected_calibration_error",
        "log_loss",
    ]
    assert all(0 <= value <= 1 for value in values.values())


@EXAMPLES
@given(awkward_rows())
def test_calibration_bins_hold_every_row_once_and_never_part_equal_scores(rows):
    bins = calibration(rows).bins
    assert sum(one.rows for one in bins) == len(rows)
    assert sum(one.observed for one in bins) == rows.frauds
    assert sum(one.expected for one in bins) == pytest.approx(rows.scores.sum())
    assert len(bins) <= len(np.unique(rows.scores))


def test_a_calibrated_model_shows_the_error_that_chance_gives_it():
    random = np.random.default_rng(1)
    scores = random.beta(0.05, 5, 100_000)
    found = [
        calibration(judged((random.random(len(scores)) < scores).astype(np.int8), scores, np.zeros(len(scores))))
        for _ in range(20)
    ]
    assert np.mean([one.error for one in found]) == pytest.approx(np.mean([one.chance for one in found]), rel=0.15)


def test_bins_share_out_the_expected_frauds_and_not_the_rows():
    random = np.random.default_rng(2)
    scores = random.beta(0.05, 5, 100_000)
    bins = calibration(judged((random.random(len(scores)) < scores).astype(np.int8), scores)).bins
    assert len(bins) == 15
    assert [one.expected for one in bins] == pytest.approx([scores.sum() / 15] * 15, rel=0.01)
    assert bins[0].rows > 50 * bins[-1].rows


def test_a_model_that_expects_three_times_the_frauds_is_off_by_twice_the_fraud_rate():
    random = np.random.default_rng(3)
    truth = random.beta(0.2, 20, 200_000)
    found = calibration(judged((random.random(len(truth)) < truth).astype(np.int8), np.clip(3 * truth, 0, 1)))
    assert found.error == pytest.approx(2 * truth.mean(), rel=0.1)


def test_amount_bands_begin_at_their_edge():
    bands = amount_bands(np.array([0, 9.99, 10, 49, 50, 1e9]), (10.0, 50.0))
    assert [bands.names[code] for code in bands.codes] == [
        "under 10", "under 10", "10 to 50", "10 to 50", "50 and over", "50 and over",
    ]  # fmt: skip
    assert amount_bands(np.array([1.0, 2.0]), ()).names == ("any",)


@pytest.mark.parametrize("edges", [(0.0, 1.0), (5.0, 5.0), (10.0, 5.0)])
def test_amount_bands_that_do_not_increase_are_refused(edges):
    with pytest.raises(ValidationError, match="increasing"):
        MetricsPolicy(amount_bands=edges)


@pytest.mark.parametrize("slices", [("country", "country"), ("amount_band",)])
def test_a_slice_column_is_named_once_and_never_as_the_amount_bands_are(slices):
    with pytest.raises(ValidationError, match="slices names"):
        MetricsPolicy(slices=slices)


def test_slices_report_counts_and_loss_and_precision_only_with_enough_frauds():
    rows = judged([1, 0] * 4, [0.9, 0.2] * 4, country=["de"] * 6 + [None] * 2)
    policy = MetricsPolicy(min_slice_frauds=3)
    found = {(one.slice, one.value): one for one in evaluate(rows, policy).slices}
    assert set(found) == {("amount_band", "under 10"), ("country", "de"), ("country", MISSING)}
    assert found["country", "de"].average_precision == 1
    assert (found["country", MISSING].frauds, found["country", MISSING].average_precision) == (1, None)
    assert found["country", MISSING].log_loss == pytest.approx(oracle.log_loss([1, 0], [0.9, 0.2]))


def test_rare_values_of_a_slice_column_are_put_together():
    values = ["a"] * 5 + ["b"] * 4 + ["c"] * 2 + ["d"]
    rows = judged([0] * 12, [0.1] * 12, country=values)
    column = sliced(rows, MetricsPolicy(max_slice_values=3))["country"]
    assert [column.names[code] for code in column.codes] == ["a"] * 5 + ["b"] * 4 + [OTHER] * 3


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


def test_models_judged_on_other_rows_are_not_a_pair():
    rows = judged([0, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="same rows"):
        Pair(rows, judged([1, 0], [0.1, 0.2]))
    with pytest.raises(ValueError, match="same rows"):
        Pair(rows, judged([0, 1, 1], [0.1, 0.2, 0.3]))
    for other in ({"customers": [5, 6]}, {"days": [1, 1]}, {"amounts": [1, 2]}):
        with pytest.raises(ValueError, match="same rows"):
            Pair(rows, judged([0, 1], [0.1, 0.2], **other))


def test_a_champion_without_scores_is_an_error_and_not_a_weak_champion():
    rows = judged([0, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="champion gave scores that are not numbers"):
        Pair(rows, rows.with_scores([0.1, np.nan]))


def test_judged_rows_come_from_a_canonical_table():
    table = pa.table(
        {
            "is_fraud": pa.array([0, 1, 0], pa.int8()),
            "timestamp": pa.array(
                [datetime(2018, 8, 8), datetime(2018, 8, 8, 23, 59, 59, 999999), datetime(2018, 8, 9)]
            ),
            "amount": [1.0, 2.0, 3.0],
            "customer": ["b", "a", "b"],
            "country": ["de", None, "at"],
        }
    )
    rows = Judged.from_table(table, np.array([0.1, 0.2, 0.3], dtype=np.float32), entity="customer", slices=["country"])
    eighth = (date(2018, 8, 8) - date(1970, 1, 1)).days
    assert rows.days.tolist() == [eighth, eighth, eighth + 1]
    assert rows.customers.tolist() == [1, 0, 1]
    assert rows.slices["country"].names == (MISSING, "at", "de")
    assert rows.scores.dtype == np.float64


@pytest.mark.parametrize(
    ("column", "values", "complaint"),
    [("is_fraud", pa.array([0, None], pa.int8()), "no label"), ("customer", pa.array([1, None]), "key is missing")],
)
def test_unknown_labels_and_entities_do_not_judge(column, values, complaint):
    columns = {
        "is_fraud": pa.array([0, 1], pa.int8()),
        "timestamp": pa.array([datetime(2018, 8, 8)] * 2),
        "amount": [1.0, 2.0],
        "customer": [1, 2],
    }
    with pytest.raises(ValueError, match=complaint):
        Judged.from_table(pa.table(columns | {column: values}), np.zeros(2), entity="customer")


def test_columns_of_other_lengths_and_labels_other_than_0_and_1_are_refused():
    with pytest.raises(ValueError, match="scores, country"):
        Judged(
            np.zeros(2, dtype=np.int8), np.zeros(3), np.zeros(2, int), np.zeros(2, np.int32), np.zeros(2),
            {"country": Categories(np.zeros(1, int), ("de",))},
        )  # fmt: skip
    with pytest.raises(ValueError, match="0 or 1"):
        judged([0, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="codes from 0"):
        judged([0, 1], [0.1, 0.2], customers=[-1, 0])


def test_customer_codes_may_have_gaps():
    rows = noisy_pair(11, rows=500, customers=50).candidate
    for spread in (3, 10**9):
        apart = judged(rows.labels, rows.scores, rows.customers * spread)
        assert compare(Pair(apart, apart), POLICY).candidate == compare(Pair(rows, rows), POLICY).candidate
        assert card_precision_at_k(apart, 5) == card_precision_at_k(rows, 5)


@EXAMPLES
@given(st.lists(st.one_of(st.integers(-5, 5)), min_size=1))
def test_entity_codes_follow_the_order_of_the_keys(keys):
    expected = np.unique(keys, return_inverse=True)[1].tolist()
    assert entity_codes(pa.chunked_array([keys[:2], keys[2:]], pa.int64())).tolist() == expected
    assert entity_codes(pa.array([f"{key + 5:02}" for key in keys])).tolist() == expected
