"""Metrics agree with their published definitions, and are None where the rows cannot give them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn import metrics as oracle

from fraud_retraining.domain.evaluation.judged import MISSING, Judged
from fraud_retraining.domain.evaluation.metrics import (
    OTHER,
    MetricsPolicy,
    amount_bands,
    average_precision,
    brier_score,
    calibration,
    card_precision_at_k,
    evaluate,
    log_losses,
    recall_at_fpr,
    roc_auc,
    sliced,
)
from fraud_retraining_tests.support.judged_rows import EXAMPLES, POLICY, awkward_rows, judged, noisy_pair

HANDBOOK = Path(__file__).parents[4] / "shared" / "data" / "handbook"


@EXAMPLES
@given(awkward_rows())
def test_point_metrics_agree_with_scikit_learn(rows):
    assert np.mean(log_losses(rows)) == pytest.approx(oracle.log_loss(rows.labels, rows.scores, labels=[0, 1]))
    assert brier_score(rows) == pytest.approx(np.mean((rows.scores - rows.labels) ** 2))
    if 0 < rows.frauds < len(rows):
        assert average_precision(rows) == pytest.approx(oracle.average_precision_score(rows.labels, rows.scores))
        assert roc_auc(rows) == pytest.approx(oracle.roc_auc_score(rows.labels, rows.scores))


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
