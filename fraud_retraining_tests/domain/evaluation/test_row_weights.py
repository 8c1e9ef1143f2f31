"""Blocked rows: a control group stands for them in every metric and resample, and nobody takes them for genuine."""

import itertools
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fraud_retraining.domain.evaluation.alert_recall import alert_recall
from fraud_retraining.domain.evaluation.comparison import compare
from fraud_retraining.domain.evaluation.cost_curve import cost_curve
from fraud_retraining.domain.evaluation.gates import NotCompared, comparable
from fraud_retraining.domain.evaluation.judged import UNKNOWN, Judged, Pair
from fraud_retraining.domain.evaluation.metric_intervals import Alerting, draw, metric_intervals
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy, calibration, card_precision_at_k, evaluate
from fraud_retraining.domain.review.tables import metrics_grid
from fraud_retraining.domain.serving.policy import CostPolicy

POLICY = MetricsPolicy(min_slice_frauds=2, resamples=100, alert_budget=5)
EXACT = ("average_precision", "roc_auc", "recall_at_1pct_fpr", "brier_score", "log_loss")
SHARE = 0.2
MANY = POLICY.model_copy(update={"alert_budget": 200})


def truth(seed: int, count: int = 400, customers: int = 60) -> Judged:
    draw_ = np.random.default_rng(seed)
    scores = draw_.random(count).round(3)
    return Judged(
        labels=(draw_.random(count) < scores**2 / 2).astype(np.int8),
        scores=scores,
        customers=draw_.integers(0, customers, count),
        days=draw_.integers(0, 3, count).astype(np.int32),
        amounts=draw_.gamma(1.0, 50.0, count),
    )


def blocked(judged: Judged, seed: int, *, at: float = 0.8, share: float = SHARE) -> Judged:
    """What is left of it where rows from a score on are blocked, but those of a share of the customers' days."""
    draw_ = np.random.default_rng(seed)
    entity_day = judged.customers * 10 + judged.days
    lucky = draw_.random(int(entity_day.max()) + 1)[entity_day] < share
    meant = production(judged) >= at
    weights = np.where(meant, np.where(lucky, 1 / max(share, 0.01), 0.0), 1.0)
    return replace(judged, labels=np.where(weights > 0, judged.labels, UNKNOWN).astype(np.int8), row_weights=weights)


def production(judged: Judged) -> np.ndarray:
    """A production score beside the judged one."""
    return np.clip(judged.scores + np.random.default_rng(3).normal(0, 0.1, len(judged)), 0, 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 2.0]))
def test_a_row_of_whole_weight_is_as_good_as_so_many_equal_rows(seed: int, report: float):
    one = truth(seed)
    times = np.random.default_rng(seed).integers(0, 4, len(one))
    labels = np.where(times > 0, one.labels, UNKNOWN).astype(np.int8)
    reports = np.full(len(one), report)
    weighted = replace(one, labels=labels, row_weights=times.astype(float), report_weights=reports)
    many = replace(one, report_weights=reports).where(np.repeat(np.arange(len(one)), times))  # type: ignore[arg-type]
    found, wanted = evaluate(weighted, POLICY), evaluate(many, POLICY)
    for name in EXACT:
        assert_allclose(found.values[name], wanted.values[name], err_msg=name)
    assert (found.rows, found.frauds) == ((times > 0).sum(), one.labels[times > 0].sum())
    assert_allclose(weighted.expected_frauds, many.expected_frauds)
    assert_allclose(found.fraud_rate, wanted.fraud_rate)
    for mine, theirs in zip(found.slices, wanted.slices, strict=False):
        assert_allclose(mine.log_loss, theirs.log_loss)
    mine, theirs = calibration(weighted), calibration(many)
    assert_allclose([one.expected for one in mine.bins], [one.expected for one in theirs.bins])
    assert_allclose(mine.error, theirs.error)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_labels_of_blocked_rows_change_nothing(seed: int):
    """Whatever stands behind a blocked row: no number rests on it."""
    one = blocked(truth(seed), seed)
    other = replace(one, amounts=np.where(one.known, one.amounts, 1e9))
    costs = CostPolicy(missed=1.0, alert=1.0, disturbed=1.0)
    for look in (
        lambda rows: evaluate(rows, POLICY).values,
        lambda rows: alert_recall(rows, POLICY),
        lambda rows: cost_curve("block", costs, rows),
    ):
        assert look(one) == look(other)
    frauds = truth(seed).labels[one.known].sum()
    assert (one.frauds, one.rows) == (frauds, one.known.sum())


def test_the_mean_over_control_groups_is_the_truth_and_naive_numbers_are_not():
    whole = truth(5, count=30_000, customers=4000)
    wanted = evaluate(whole, MANY).values
    corrected, naive, dropped = [], [], []
    for seed in range(40):
        seen = blocked(whole, seed)
        corrected.append(evaluate(seen, MANY).values)
        naive.append(evaluate(seen.assuming(fraud=False), MANY).values)
        dropped.append(evaluate(whole.where(seen.known), MANY).values)
    for name in (*EXACT, "card_precision_at_200"):
        mean, blind, without = (np.mean([one[name] for one in each]) for each in (corrected, naive, dropped))
        noise = np.std([one[name] for one in corrected]) / np.sqrt(len(corrected))
        assert abs(mean - wanted[name]) < 4 * noise + 0.01 * wanted[name], name
        if name in ("average_precision", "card_precision_at_200"):
            assert blind < 0.7 * wanted[name], name
        if name == "average_precision":
            assert abs(without - wanted[name]) > 5 * abs(mean - wanted[name]), name


def test_the_intervals_of_a_control_group_are_wider_and_hold_the_truth():
    whole = truth(5, count=20_000, customers=3000)
    wanted, sure = evaluate(whole, MANY).values, intervals(whole)
    hits = 0
    for seed in range(10):
        found = intervals(blocked(whole, seed))
        for name in ("average_precision", "card_precision_at_200"):
            hits += found[name].candidate.low <= wanted[name] <= found[name].candidate.high
        wider = [found["average_precision"], sure["average_precision"]]
        assert wider[0].candidate.deviation > 1.3 * wider[1].candidate.deviation
    assert hits >= 16


def intervals(judged: Judged):
    drawn = draw(judged, alert_budget=MANY.alert_budget, seed=2)
    return metric_intervals(drawn, [evaluate(judged, MANY).values], 0.95)


def test_a_comparison_reads_the_weights():
    seen = blocked(truth(8, count=5000), 1)
    worse = seen.with_scores(np.random.default_rng(0).random(len(seen)))
    found = compare(Pair(seen, worse), POLICY)
    assert found.candidate.value == pytest.approx(evaluate(seen, POLICY).values["average_precision"], rel=1e-4)
    assert (found.rows, found.frauds) == (seen.rows, seen.frauds)
    with pytest.raises(ValueError, match="same rows"):
        Pair(seen, replace(worse, row_weights=seen.row_weights * 2))


def test_alerts_of_a_day_go_to_blocked_rows_too_and_are_judged_by_the_others():
    """Of three alerts one is about a blocked row; of the two that are known the one that stands for three is right."""
    rows = Judged(
        labels=np.array([UNKNOWN, 1, 0, 1], dtype=np.int8),
        scores=np.array([0.9, 0.8, 0.7, 0.6]),
        customers=np.arange(4),
        days=np.zeros(4, np.int32),
        amounts=np.ones(4),
        row_weights=np.array([0.0, 3.0, 1.0, 1.0]),
    )
    assert card_precision_at_k(rows, 3) == pytest.approx(3 / 4)
    nobody = rows.where(np.array([True, False, False, False]))
    assert evaluate(nobody, POLICY).rows == 0
    assert set(evaluate(nobody, POLICY).values.values()) == {None}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_bounds_are_what_the_unknown_rows_could_be_at_worst_and_at_best(seed: int, alerts: int):
    draw_ = np.random.default_rng(seed)
    labels = draw_.choice([0, 1, UNKNOWN], 12, p=[0.4, 0.2, 0.4]).astype(np.int8)
    rows = Judged(
        labels=labels,
        scores=draw_.permutation(12) / 12,
        customers=np.arange(12),
        days=np.zeros(12, np.int32),
        amounts=np.ones(12),
        row_weights=(labels != UNKNOWN).astype(float),
    )
    found = evaluate(rows, POLICY.model_copy(update={"alert_budget": alerts})).selected
    top = rows.scores >= np.sort(rows.scores)[-alerts]
    unknown = np.flatnonzero(labels == UNKNOWN)
    precisions, recalls = [], []
    for guess in itertools.product((0, 1), repeat=len(unknown)):
        possible = labels.copy()
        possible[unknown] = guess
        precisions.append(possible[top].mean())
        recalls += [possible[top].sum() / possible.sum()] if possible.sum() else []
    assert found.precision == pytest.approx((min(precisions), max(precisions)))
    if found.recall is not None:
        assert found.recall == pytest.approx((min(recalls), max(recalls)))


def test_a_reviewed_blocked_fraud_counts_once_while_others_of_its_day_are_reported():
    """Of ten alerts five are about reviewed blocked frauds; a quarter of the day's other frauds are reported."""
    reviewed = np.repeat([True, False], 5)
    rows = Judged(
        labels=reviewed.astype(np.int8),
        scores=np.linspace(0.9, 0.1, 10),
        customers=np.arange(10),
        days=np.zeros(10, np.int32),
        amounts=np.ones(10),
        report_weights=np.where(reviewed, 1.0, 4.0),
        row_weights=np.ones(10),
    )
    assert card_precision_at_k(rows, 10) == 0.5
    assert Alerting.of(rows, 10).precision(np.ones((10, 1), np.float32)) == pytest.approx([0.5])
    # A fraud that the control group let through, for two, and reported by a quarter, stands for eight.
    mixed = replace(
        rows,
        labels=np.array([1, 1, 1, 1, 1, 1, 0, 0, 0, 0], np.int8),
        row_weights=np.array([1.0, 1, 1, 1, 1, 2, 1, 1, 1, 1]),
    )
    found = alert_recall(mixed, POLICY)
    assert (found.frauds, found.missed, found.missed_share) == (6, 1, 8 / 13)
    assert found.missed_share_of_known == 4 / 9
    # An entity with both is known by its review.
    both = replace(mixed, customers=np.array([0, 1, 2, 3, 4, 4, 6, 7, 8, 9]), row_weights=np.ones(10))
    assert alert_recall(both, POLICY).missed_share == 0


def test_a_fraud_that_is_not_reported_yet_is_no_surely_genuine_row_of_the_bounds():
    labels = np.array([1, 0, UNKNOWN, 1, 0, 0, 0, UNKNOWN], np.int8)
    mature = Judged(
        labels=labels,
        scores=np.linspace(0.9, 0.1, 8),
        customers=np.arange(8),
        days=np.zeros(8, np.int32),
        amounts=np.ones(8),
        row_weights=(labels != UNKNOWN).astype(float),
    )
    three = POLICY.model_copy(update={"alert_budget": 3})
    known = evaluate(mature, three).selected
    assert (known.precision, known.recall) == ((1 / 3, 2 / 3), (1 / 3, 2 / 3))
    assert "awaits_reports" not in known.model_dump() and "not reported yet" not in known.summary
    fresh = evaluate(replace(mature, report_weights=np.full(8, 2.0)), three).selected
    assert (fresh.precision, fresh.recall) == ((2 / 3, 1.0), (2 / 5, 3 / 5))
    assert "if frauds that are not reported yet score like those that are; more cannot be known" in fresh.summary
    # At most every known row is a fraud.
    assert evaluate(replace(mature, report_weights=np.full(8, 9.0)), three).selected.precision == (2 / 3, 1.0)


def test_what_is_unknown_is_said_with_and_without_a_control_group():
    whole = truth(5, count=4000, customers=600)
    with_group = evaluate(blocked(whole, 1), POLICY)
    assert "a control group stands for" in with_group.selected.summary
    assert "of equal weight" in with_group.frauds_words
    assert with_group.selected.effective_frauds < with_group.frauds
    without = evaluate(blocked(whole, 1, share=0.0), POLICY)
    assert "no control group stands for them" in without.selected.summary
    assert without.selected.represented == 0
    assert without.selected.naive == evaluate(blocked(whole, 1, share=0.0).assuming(fraud=False), POLICY).values
    values, bounds = evaluate(whole, POLICY).values, without.selected.bounds
    assert list(bounds) == ["average_precision", f"card_precision_at_{POLICY.alert_budget}"]
    for name, (low, high) in bounds.items():
        assert low < values[name] < high and f"{low:.3f} to {high:.3f}" in without.selected.summary, name
    low, high = without.selected.amount_caught
    assert low < high and f"frauds of {low:,.0f} to {high:,.0f} a day caught" in without.selected.summary
    table = metrics_grid(without)
    assert [row[-1] == "-" for row in table.rows] == [row[0] not in bounds for row in table.rows]
    assert "least to most" in table.columns and "least to most" not in metrics_grid(with_group).columns
    assert evaluate(whole, POLICY).selected is None
    assert "selected" not in evaluate(whole, POLICY).model_dump()


def test_few_frauds_of_great_weight_are_too_few_to_compare_by():
    labels = np.array([1] * 30 + [0] * 70, np.int8)
    rows = Judged(
        labels=labels,
        scores=np.linspace(1, 0, 100),
        customers=np.arange(100),
        days=np.zeros(100, np.int32),
        amounts=np.ones(100),
        row_weights=np.where(np.arange(100) == 0, 500.0, 1.0),
    )
    everything = np.ones(100, dtype=bool)
    found = comparable(rows, rows.scores, everything, named="champion version 3", min_frauds=20)
    assert isinstance(found, NotCompared) and "worth 1 of equal weight" in found.reason
    assert isinstance(comparable(rows, rows.scores, everything, named="x", min_frauds=1), Pair)


def test_an_unlabelled_row_that_was_not_blocked_is_refused():
    columns = {
        "timestamp": pa.array([0, 1], pa.timestamp("us")),
        "amount": [1.0, 2.0],
        "customer": [1, 2],
        "is_fraud": pa.array([0, None], pa.int8()),
    }
    with pytest.raises(ValueError, match="1 judged rows have no label"):
        Judged.from_table(pa.table(columns | {"row_weight": [0.5, 1.0]}), np.array([0.1, 0.2]), entity="customer")
    found = Judged.from_table(pa.table(columns | {"row_weight": [1.0, 0.0]}), np.array([0.1, 0.2]), entity="customer")
    assert (found.labels.tolist(), found.rows) == ([0, UNKNOWN], 1)
