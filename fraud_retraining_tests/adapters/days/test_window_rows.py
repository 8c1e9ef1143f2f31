"""Rows of a window: exactly those of the manifest, with the labels that the as-of day knows."""

from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from fraud_retraining.adapters.days.known_labels import KnownLabels, feed_labels
from fraud_retraining.adapters.days.window_rows import ASSET, WEIGHT, WindowRows
from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.training.windows import WindowDay
from fraud_retraining.domain.values.errors import IntegrityError

FIRST, SECOND = date(2026, 11, 1), date(2026, 11, 2)
AS_OF = date(2026, 11, 9)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(FolderLocation(tmp_path / "store"), tmp_path / "scratch")


def stored(store: Store, day: date, labels: list[int | None], labelled_at: list[datetime | None] | None = None) -> None:
    columns = {
        "amount": pa.array([float(number) for number in range(len(labels))]),
        "is_fraud": pa.array(labels, pa.int8()),
    }
    if labelled_at is not None:
        columns["labelled_at"] = pa.array(labelled_at, pa.timestamp("us"))
    store.write(ASSET, day, {"rows": pa.table(columns)}, digest=f"f{day}", inputs={}, facts={})


def counted(day: date, rows: int, frauds: int, weight: float = 1.0) -> WindowDay:
    return WindowDay(day=day, digest="d", features_digest=f"f{day}", rows=rows, frauds=frauds, weight=weight)


def read(store: Store, *days: WindowDay) -> pa.Table:
    return pa.Table.from_batches(list(WindowRows(store, days, AS_OF, ["amount"])()))


def test_days_come_in_order_with_their_weights(store: Store) -> None:
    stored(store, FIRST, [0, 1])
    stored(store, SECOND, [0])
    found = read(store, counted(FIRST, 2, 1), counted(SECOND, 1, 0, weight=3.0))
    assert found["amount"].to_pylist() == [0.0, 1.0, 0.0]
    assert found[WEIGHT].to_pylist() == [1.0, 1.0, 3.0]


def test_a_row_without_a_label_is_left_out(store: Store) -> None:
    stored(store, FIRST, [0, None, 1])
    assert read(store, counted(FIRST, 2, 1))["amount"].to_pylist() == [0.0, 2.0]


def test_a_label_that_became_known_after_the_as_of_day_is_not_known(store: Store) -> None:
    last, later = datetime(2026, 11, 9, 23, 59, 59, 999999), datetime(2026, 11, 10)
    stored(store, FIRST, [1, 1, 0], [last, later, None])
    assert read(store, counted(FIRST, 2, 1))["amount"].to_pylist() == [0.0, 2.0]


def test_each_pass_gives_the_same_rows(store: Store) -> None:
    stored(store, FIRST, [0, 1, 0])
    rows = WindowRows(store, [counted(FIRST, 3, 1)], AS_OF, ["amount"])
    assert list(rows()) == list(rows())


@pytest.mark.parametrize(("rows", "frauds"), [(3, 1), (2, 0)])
def test_a_day_with_other_counts_than_the_manifest_is_refused(store: Store, rows: int, frauds: int) -> None:
    stored(store, FIRST, [0, 1])
    with pytest.raises(IntegrityError, match="not those of the window's manifest") as refusal:
        read(store, counted(FIRST, rows, frauds))
    assert "2 rows and 1 frauds instead" in refusal.value.culprits[0]


def test_all_days_that_are_gone_or_rewritten_are_named_before_any_is_read(store: Store) -> None:
    stored(store, FIRST, [0, 1])
    rewritten = counted(FIRST, 2, 1).model_copy(update={"features_digest": "another"})
    with pytest.raises(IntegrityError) as refusal:
        next(iter(WindowRows(store, [rewritten, counted(SECOND, 1, 0)], AS_OF, ["amount"])()))
    assert list(refusal.value.culprits) == [f"{FIRST}: has another digest", f"{SECOND}: is gone"]


CHANCES = [1.0, 0.25, 0.0, None, None, 1.0]
"""Let through, of the control group, blocked beside it, reviewed, blocked without a review, let through."""


def stored_decisions(store: Store, labels: list[int | None]) -> None:
    rows = {
        "transaction_id": pa.array(range(6), pa.int64()),
        "is_fraud": pa.array(labels, pa.int8()),
        "propensity": pa.array(CHANCES, pa.float64()),
    }
    store.write(ASSET, FIRST, {"rows": pa.table(rows)}, digest=f"f{FIRST}", inputs={}, facts={})


def decided(store: Store, day: WindowDay, known: KnownLabels | None = None, *, unknown: bool = False) -> list[dict]:
    rows = WindowRows(store, [day], AS_OF, ["transaction_id"], known, unknown=unknown)
    return pa.Table.from_batches(list(rows())).to_pylist()


def test_a_control_group_stands_for_what_was_blocked_and_a_review_for_itself(store: Store) -> None:
    stored_decisions(store, [0, 1, 1, 1, None, 0])
    found = decided(store, counted(FIRST, 4, 2, weight=3.0))
    assert [(one["transaction_id"], one["weight"]) for one in found] == [(0, 3.0), (1, 12.0), (3, 3.0), (5, 3.0)]
    assert all("propensity" not in one for one in found)


def test_blocked_rows_come_to_those_who_judge_without_a_label_and_weigh_nothing(store: Store) -> None:
    stored_decisions(store, [0, 1, 1, 1, None, 0])
    found = decided(store, counted(FIRST, 4, 2), unknown=True)
    assert [(one["is_fraud"], one["row_weight"]) for one in found] == [
        (0, 1.0),
        (1, 4.0),
        (None, 0.0),
        (1, 1.0),
        (None, 0.0),
        (0, 1.0),
    ]


@pytest.mark.parametrize(
    ("frauds", "reviewed", "labels"),
    [
        (None, None, [0, 0, 0, None, None, 0]),
        ([1, 3], None, [0, 1, 0, 1, None, 0]),
        ([1], [4], [0, 1, 0, None, 0, 0]),
    ],
)
def test_in_a_feed_a_blocked_row_is_unknown_until_somebody_has_reviewed_it(frauds, reviewed, labels) -> None:
    rows = pa.table({"transaction_id": pa.array(range(6), pa.int64()), "propensity": pa.array(CHANCES, pa.float64())})
    ids = [None if one is None else pa.array(one, pa.int32()) for one in (frauds, reviewed)]
    assert feed_labels(rows, *ids).to_pylist() == labels
