"""Scores stay with their transactions, and a row is judged only once its label was known in time."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.days.live_rows import RowLabels, judged_rows, rows_of_two, scored_rows
from fraud_retraining.domain.training.fitting import FittedModel, ModelPolicy, fit
from fraud_retraining.domain.values.errors import IntegrityError

DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12)


@pytest.fixture(scope="module")
def model() -> FittedModel:
    random = np.random.default_rng(0)
    amount = random.gamma(2, 40, 4000)
    fraud = (random.random(4000) < np.where(amount > 150, 0.5, 0.01)).astype(np.int8)
    rows = pa.table({"amount": amount, "is_fraud": fraud}).combine_chunks()
    return fit(ModelPolicy(params={"n_estimators": 5, "max_bin": 64}), ("amount",), (), lambda: iter(rows.to_batches()))


def written(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path, row_group_size=7)
    return path


def transactions(rows: int = 40, known: list[datetime | None] | None = None) -> pa.Table:
    columns = {
        "transaction_id": pa.array(range(rows), pa.int64()),
        "timestamp": pa.array([NOON + timedelta(seconds=n) for n in range(rows)], pa.timestamp("us")),
        "customer": pa.array([n % 5 for n in range(rows)], pa.int64()),
        "amount": pa.array([10.0 * n for n in range(rows)]),
        "is_fraud": pa.array([n % 4 == 0 for n in range(rows)]).cast(pa.int8()),
    }
    if known is not None:
        columns["labelled_at"] = pa.array(known, pa.timestamp("us"))
    return pa.table(columns)


def scores(table: pa.Table) -> pa.Table:
    return pa.table({"transaction_id": table["transaction_id"], "score": table["amount"].to_numpy() / 1000})


def test_every_row_is_scored_in_the_days_order(model: FittedModel, tmp_path: Path) -> None:
    table = transactions(rows=50)
    found = scored_rows(model, written(tmp_path / "features.parquet", table))
    assert found["transaction_id"].equals(table["transaction_id"])
    np.testing.assert_array_equal(found["score"].to_numpy(), model.predict(table))


def test_an_empty_day_has_no_scores(model: FittedModel, tmp_path: Path) -> None:
    found = scored_rows(model, written(tmp_path / "features.parquet", transactions(rows=0)))
    assert (found.num_rows, found.column_names) == (0, ["transaction_id", "score"])


def judged(tmp_path: Path, table: pa.Table, scored: pa.Table | None = None, **more: Any):
    paths = written(tmp_path / "rows.parquet", table), written(tmp_path / "scores.parquet", scored or scores(table))
    return judged_rows([(DAY, *paths)], RowLabels("customer", 7, **more))


def test_scores_and_labels_lie_side_by_side(tmp_path: Path) -> None:
    table = transactions()
    found = judged(tmp_path, table)
    assert found.labels.tolist() == table["is_fraud"].to_pylist()
    np.testing.assert_allclose(found.scores, table["amount"].to_numpy() / 1000)


def test_an_unknown_label_is_not_judged(tmp_path: Path) -> None:
    table = transactions(rows=4)
    unknown = table.set_column(4, "is_fraud", pa.array([1, None, 0, None], pa.int8()))
    assert judged(tmp_path, unknown).scores.tolist() == [0.0, 0.02]


@pytest.mark.parametrize(
    ("known_at", "counts", "why"),
    [
        (NOON, True, "known at once"),
        (datetime(2026, 3, 8, 23, 59, 59), True, "known before the day that makes it mature has ended"),
        (datetime(2026, 3, 9), False, "known a moment later"),
        (None, True, "a label that does not say is known with the delay"),
    ],
)
def test_a_label_counts_if_it_was_known_when_its_day_became_mature(
    tmp_path: Path, known_at: datetime | None, counts: bool, why: str
) -> None:
    table = transactions(rows=2, known=[NOON, known_at])
    assert (len(judged(tmp_path, table)) == 2) is counts, why


def test_scores_of_other_rows_are_refused(tmp_path: Path) -> None:
    table = transactions()
    with pytest.raises(IntegrityError, match="2026-03-01"):
        judged(tmp_path, table, scores(table.slice(1)))


@pytest.mark.parametrize(
    ("as_of", "labels", "why"),
    [
        (DAY, [1, 0, 0, 0], "only the first is known by then; the others count as genuine"),
        (DAY + timedelta(days=2), [1, 1, 0, 0], "one more"),
        (DAY + timedelta(days=7), [1, 1, 1], "mature: a label that does not say counts, one that comes later does not"),
    ],
)
def test_of_a_young_day_what_is_not_known_as_fraud_counts_as_genuine(
    tmp_path: Path, as_of: date, labels: list[int], why: str
) -> None:
    known = [NOON, NOON + timedelta(days=2), None, NOON + timedelta(days=9)]
    table = transactions(rows=4, known=known).set_column(4, "is_fraud", pa.array([1, 1, 1, 1], pa.int8()))
    assert judged(tmp_path, table, as_of=as_of).labels.tolist() == labels, why


def test_frauds_of_a_feed_are_the_only_ones_of_a_young_day(tmp_path: Path) -> None:
    table = transactions(rows=3).set_column(4, "is_fraud", pa.array([None, None, None], pa.int8()))
    assert judged(tmp_path, table, as_of=DAY, frauds={DAY: pa.array([1])}).labels.tolist() == [0, 1, 0]


def test_two_models_are_laid_over_the_same_rows_with_the_labels_of_a_feed(model: FittedModel, tmp_path: Path) -> None:
    other = fit(
        ModelPolicy(params={"n_estimators": 2, "max_bin": 64}),
        ("amount",),
        (),
        lambda: iter(transactions(rows=400).select(["amount", "is_fraud"]).to_batches()),
    )
    table = transactions()
    path = written(tmp_path / "day.parquet", table.drop_columns(["is_fraud"]))
    labels = RowLabels("customer", 7, {DAY: pa.array([3, 5])})
    with_labels = written(tmp_path / "rows.parquet", table)
    first, second = rows_of_two([(DAY, with_labels, path)], (model, other), labels)
    assert np.flatnonzero(first.labels).tolist() == [3, 5]
    np.testing.assert_array_equal(first.scores, model.predict(table))
    np.testing.assert_array_equal(second, other.predict(table))


def test_known_frauds_of_a_young_day_carry_its_weight(tmp_path: Path) -> None:
    found = judged(tmp_path, transactions(rows=5), as_of=DAY, frauds={DAY: pa.array([1])}, weights={DAY: 2.5})
    assert (found.frauds, found.expected_frauds) == (1, 2.5)


def decided(known: list[datetime | None] | None = None) -> pa.Table:
    """Eight rows of which every second is let through: control, let through, blocked, reviewed, blocked."""
    table = transactions(rows=8, known=known)
    chances = [0.25, 1.0, 0.0, 1.0, None, 1.0, None, 1.0]
    labels = pa.array([1, 0, None, 0, 1, 0, None, 1], pa.int8())
    return table.set_column(4, "is_fraud", labels).append_column("propensity", pa.array(chances, pa.float64()))


def test_blocked_rows_are_scored_and_known_only_by_a_review(tmp_path: Path) -> None:
    found = judged(tmp_path, decided())
    assert found.labels.tolist() == [1, 0, -1, 0, 1, 0, -1, 1]
    assert found.counts.tolist() == [4.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    assert (found.rows, found.frauds) == (6, 3)


def test_a_young_blocked_row_is_not_genuine_where_a_young_row_without_a_report_is(tmp_path: Path) -> None:
    """By the evening only the control fraud is reported; the review of the next day is not known yet."""
    later = NOON + timedelta(days=1)
    known = [NOON, None, None, None, later, None, None, later]
    found = judged(tmp_path, decided(known), as_of=DAY, weights={DAY: 3.0})
    assert found.labels.tolist() == [1, 0, -1, 0, -1, 0, -1, 0]
    assert found.expected_frauds == 12.0


def test_a_review_that_is_known_is_its_own_fraud(tmp_path: Path) -> None:
    known = [NOON, None, None, None, NOON, None, None, None]
    found = judged(tmp_path, decided(known), as_of=DAY, weights={DAY: 3.0})
    assert found.labels.tolist() == [1, 0, -1, 0, 1, 0, -1, 0]
    assert found.expected_frauds == 13.0


def test_in_a_feed_reviews_say_which_blocked_rows_are_genuine(tmp_path: Path) -> None:
    feed = {"frauds": {DAY: pa.array([0, 4])}, "reviewed": {DAY: pa.array([6])}}
    assert judged(tmp_path, decided(), **feed).labels.tolist() == [1, 0, -1, 0, 1, 0, 0, 0]
    assert judged(tmp_path, decided(), frauds={DAY: pa.array([0])}).labels.tolist() == [1, 0, -1, 0, -1, 0, -1, 0]
