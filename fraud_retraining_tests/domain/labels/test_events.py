"""What is known of a transaction at the end of a day is its last label up to then, whatever order labels come in."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.labels.events import (
    BEFORE,
    REASON,
    LabelDay,
    LabelReject,
    carried_events,
    entity_label_days,
    in_order,
    judged_events,
    reports_by_delay,
    settled_events,
    split_events,
)

FIRST = date(2026, 3, 1)
TRANSACTIONS = pa.schema(
    [
        ("transaction_id", pa.int64()),
        ("timestamp", pa.timestamp("us")),
        ("card", pa.int64()),
        ("is_fraud", pa.int8()),
        ("labelled_at", pa.timestamp("us")),
    ]
)
EVENTS = pa.schema(
    [
        ("transaction_id", pa.int64()),
        ("known_at", pa.timestamp("us")),
        ("is_fraud", pa.float64()),
        ("source", pa.string()),
    ]
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(temp_directory=tmp_path_factory.mktemp("spill"), threads=1) as engine:
        yield engine


def at(day: int, hour: float = 12) -> datetime:
    return datetime(FIRST.year, FIRST.month, FIRST.day) + timedelta(days=day, hours=hour)


def transaction(number: int, day: int = 0, hour: float = 10, **others: Any) -> dict[str, Any]:
    return {"transaction_id": number, "timestamp": at(day, hour), "card": number % 3, **others}


def label(
    number: int | None, day: int, is_fraud: float | None = 1, hour: float = 12, source: str | None = "bank"
) -> dict[str, Any]:
    known_at = None if day < 0 else at(day, hour)
    return {"transaction_id": number, "known_at": known_at, "is_fraud": is_fraud, "source": source}


def label_day(
    engine: Engine,
    day: int,
    delivered: list[dict[str, Any]],
    transactions: list[dict[str, Any]],
    earlier: list[LabelDay] | None = None,
) -> LabelDay:
    """One day of labels along the way of the pipeline."""
    events = engine.memtable(pa.Table.from_pylist(delivered, EVENTS))
    known = engine.memtable(pa.Table.from_pylist(transactions, TRANSACTIONS))
    judged = judged_events(events, known, FIRST + timedelta(days=day), ["card"])
    before = [one.events for one in earlier or ()]
    changes = engine.memtable(pa.concat_tables(before)) if before else None
    return split_events(engine.to_arrow(settled_events(judged, changes)), ["card"])


def reasons(found: LabelDay) -> dict[int | None, str]:
    return dict(zip(found.rejects["transaction_id"].to_pylist(), found.rejects[REASON].to_pylist(), strict=True))


def test_every_label_that_cannot_count_is_kept_aside_with_its_reason(engine: Engine):
    transactions = [transaction(number, day=2) for number in range(1, 8)]
    delivered = [
        label(1, 3),
        label(None, 3),
        label(2, -1),
        label(3, 3, is_fraud=2),
        label(4, 3, is_fraud=None),
        label(5, 4),
        label(99, 3),
        label(6, 3, hour=-20),
    ]
    found = label_day(engine, 3, delivered, transactions)
    assert found.events["transaction_id"].to_pylist() == [1]
    assert reasons(found) == {
        None: LabelReject.NULL_ID,
        2: LabelReject.NULL_KNOWN_AT,
        3: LabelReject.INVALID_LABEL,
        4: LabelReject.INVALID_LABEL,
        5: LabelReject.OUTSIDE_DAY,
        99: LabelReject.UNKNOWN_TRANSACTION,
        6: LabelReject.OUTSIDE_DAY,
    }


def test_a_label_before_its_transaction_does_not_count(engine: Engine):
    found = label_day(engine, 2, [label(1, 2, hour=9)], [transaction(1, day=2, hour=10)])
    assert reasons(found) == {1: LabelReject.BEFORE_TRANSACTION}


def test_an_exact_copy_is_dropped_and_of_two_labels_of_a_day_the_last_counts(engine: Engine):
    delivered = [label(1, 1), label(1, 1), label(1, 1, is_fraud=0, hour=18)]
    found = label_day(engine, 1, delivered, [transaction(1)])
    assert found.events["is_fraud"].to_pylist() == [0]
    assert reasons(found) == {1: LabelReject.SUPERSEDED}


def test_of_two_labels_of_one_moment_fraud_counts(engine: Engine):
    found = label_day(engine, 1, [label(1, 1, is_fraud=0), label(1, 1, is_fraud=1)], [transaction(1)])
    assert found.events["is_fraud"].to_pylist() == [1]


def test_what_was_known_already_changes_nothing_and_a_label_can_be_taken_back(engine: Engine):
    transactions = [transaction(1)]
    first = label_day(engine, 1, [label(1, 1)], transactions)
    again = label_day(engine, 2, [label(1, 2)], transactions, [first])
    assert again.events.num_rows == 0 and reasons(again) == {1: LabelReject.REPEATED}
    taken_back = label_day(engine, 3, [label(1, 3, is_fraud=0)], transactions, [first, again])
    assert taken_back.events[BEFORE].to_pylist() == [1]
    assert (taken_back.facts.frauds, taken_back.facts.reversed) == (-1, 1)


def test_a_label_of_an_id_that_two_days_hold_means_the_latest_transaction_before_it(engine: Engine):
    transactions = [transaction(1, day=0), transaction(1, day=2), transaction(1, day=5)]
    found = label_day(engine, 3, [label(1, 3)], transactions)
    assert found.events["day"].to_pylist() == [FIRST + timedelta(days=2)]


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 5), st.sampled_from([0.0, 1.0]), st.integers(0, 23)), max_size=14
    ),
    st.randoms(use_true_random=False),
)
def test_the_last_label_known_by_the_end_of_a_day_is_what_its_sums_say(
    engine: Engine, labels: list[tuple[int, int, float, int]], order: Any
):
    transactions = [transaction(number, day=0) for number in range(1, 5)]
    delivered = [label(number, day, is_fraud, hour) for number, day, is_fraud, hour in labels]
    order.shuffle(delivered)
    days: list[LabelDay] = []
    sums: dict[int, int] = {}
    for day in range(1, 6):
        today = [one for one in delivered if one["known_at"].date() == FIRST + timedelta(days=day)]
        days.append(label_day(engine, day, today, transactions, list(days)))
        events = engine.memtable(days[-1].events)
        for row in engine.to_arrow(entity_label_days(events, "card", FIRST)).to_pylist():
            sums[row["key"]] = sums.get(row["key"], 0) + row["frauds"]
        assert {key: count for key, count in sums.items() if count} == _known(transactions, delivered, day)
        assert days[-1].events.num_rows + days[-1].rejects.num_rows == len({tuple(one.values()) for one in today})


def _known(transactions: list[dict[str, Any]], delivered: list[dict[str, Any]], day: int) -> dict[int, int]:
    """Frauds by card, by the obvious rule: the last label up to the end of the day."""
    frauds: dict[int, int] = {}
    for one in transactions:
        mine = [e for e in delivered if e["transaction_id"] == one["transaction_id"] and e["known_at"] < at(day + 1, 0)]
        if mine and max(mine, key=lambda event: (event["known_at"], event["is_fraud"]))["is_fraud"]:
            frauds[one["card"]] = frauds.get(one["card"], 0) + 1
    return frauds


def test_labels_that_transactions_carry_are_events_of_the_day_known(engine: Engine):
    rows = [
        transaction(1, 0, is_fraud=1, labelled_at=at(2)),
        transaction(2, 0, is_fraud=0, labelled_at=None),
        transaction(3, 0, is_fraud=None, labelled_at=at(2)),
        transaction(4, 0, is_fraud=1, labelled_at=at(-1)),
    ]
    known = engine.memtable(pa.Table.from_pylist(rows, TRANSACTIONS))

    def ids(day: int, labelled_at: bool = True) -> list[int]:
        expression = carried_events(known, FIRST + timedelta(days=day), ["card"], 3, labelled_at=labelled_at)
        return in_order(engine.to_arrow(expression)).events["transaction_id"].to_pylist()

    assert [ids(day) for day in range(5)] == [[4], [], [1], [2], []]
    assert [ids(day, labelled_at=False) for day in range(5)] == [[], [], [], [1, 2, 4], []]


def test_a_day_without_labels_has_facts_too(engine: Engine):
    found = label_day(engine, 1, [], [transaction(1)])
    assert found.facts.model_dump() == {
        "events": 0, "by_day": (), "first_reports": (), "reversed": 0, "rejects": {}, "sources": {},
    }  # fmt: skip


def test_first_reports_become_delays():
    assert reports_by_delay({"2026-03-05": [("2026-03-01", 4)], "2026-03-02": [("2026-03-01", 1)]}) == {
        "2026-03-01": {1: 1, 4: 4}
    }


def test_a_key_that_is_missing_has_no_sums(engine: Engine):
    found = label_day(engine, 1, [label(1, 1)], [{**transaction(1), "card": None}])
    assert engine.to_arrow(entity_label_days(engine.memtable(found.events), "card", FIRST)).num_rows == 0


def test_reviews_of_blocked_transactions_are_counted_apart_from_reports(engine: Engine):
    """Of four reported frauds one was let through, one is of the control group; blocked are the others."""
    chances = {1: 1.0, 2: 0.05, 3: 0.0, 4: None, 5: None}
    rows = [transaction(number) | {"propensity": chance} for number, chance in chances.items()]
    known = engine.memtable(pa.Table.from_pylist(rows, TRANSACTIONS.append(pa.field("propensity", pa.float64()))))
    delivered = [label(number, 1) for number in (1, 2, 3, 4)] + [label(5, 1, is_fraud=0)]
    events = engine.memtable(pa.Table.from_pylist(delivered, EVENTS))
    columns = ["card", "propensity"]
    judged = judged_events(events, known, FIRST + timedelta(days=1), columns)
    found = split_events(engine.to_arrow(settled_events(judged, None)), columns)
    assert found.events["propensity"].to_pylist() == [1.0, 0.05, 0.0, None, None]
    assert found.facts.by_day == ((str(FIRST), 2, 2),)
    assert found.facts.first_reports == ((str(FIRST), 2),)
    assert found.facts.reviewed == ((str(FIRST), 2, 1),)
    assert found.facts.events == 5
