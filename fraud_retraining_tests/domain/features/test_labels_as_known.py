"""Label features as known read every label that was known before the day began, and none that became known later."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.features.partition_inputs import label_days_lookback, labels_lookback, lookback
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.point_in_time import entity_days, transaction_features
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.schemas import EntityPolicy
from fraud_retraining_tests.domain.features.test_point_in_time import DAY, PLAN, at, table, transaction

AS_KNOWN = PLAN.model_copy(update={"labels_as_known": True})
BEGINS = datetime.combine(DAY, datetime.min.time())
LABELS = [name for name, topic in AS_KNOWN.topics.items() if topic.endswith("_labels")]
LONGEST = 5


class Report(NamedTuple):
    """A label of a transaction from a moment on."""

    transaction_id: int
    known_at: datetime
    is_fraud: int = 1


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(temp_directory=tmp_path_factory.mktemp("spill"), threads=1) as engine:
        yield engine


def computed(engine: Engine, rows: list[dict[str, Any]], reports: list[Report]) -> pd.DataFrame:
    """Label features of `DAY`, from statistics by day and from changes by day known."""
    history, changes = {}, {}
    for entity in AS_KNOWN.entities:
        days = []
        for before in range(1, LONGEST + 1):
            day = DAY - timedelta(days=before)
            there = [row for row in rows if row["timestamp"].date() == day]
            if there:
                sums = entity_days(engine.memtable(table(AS_KNOWN, there)), entity, AS_KNOWN, day)
                days.append(engine.to_arrow(sums.mutate(day=ibis.literal(day))))
        if days:
            history[entity] = engine.memtable(pa.concat_tables(days))
        changes[entity] = engine.memtable(_changes(rows, reports, entity))
    today = [row for row in rows if row["timestamp"].date() == DAY]
    found = transaction_features(
        AS_KNOWN,
        DAY,
        today=engine.memtable(table(AS_KNOWN, today)),
        yesterday=None,
        entity_days=history,
        entity_label_days=changes,
    )
    return engine.to_arrow(found).to_pandas().set_index("transaction_id")[LABELS]


def _changes(rows: list[dict[str, Any]], reports: list[Report], entity: str) -> pa.Table:
    keys = {row["transaction_id"]: row for row in rows}
    state: dict[int, int] = {}
    changed = []
    for report in sorted(reports, key=lambda one: (one.known_at, one.is_fraud)):
        before = state.get(report.transaction_id, 0)
        state[report.transaction_id] = report.is_fraud
        if report.is_fraud != before:
            row = keys[report.transaction_id]
            changed.append((row[entity], row["timestamp"].date(), report.is_fraud - before, report.known_at.date()))
    schema = pa.schema([("key", pa.int64()), ("day", pa.date32()), ("frauds", pa.int32()), ("known_on", pa.date32())])
    return pa.Table.from_pylist([dict(zip(schema.names, one, strict=True)) for one in changed], schema)


def expected(rows: list[dict[str, Any]], reports: list[Report]) -> pd.DataFrame:
    """The same, one transaction at a time."""
    found = {
        row["transaction_id"]: _of_terminal(row["terminal"], rows, reports)
        for row in rows
        if row["timestamp"].date() == DAY
    }
    return pd.DataFrame.from_dict(found, orient="index", columns=LABELS)


def _of_terminal(terminal: int, rows: list[dict[str, Any]], reports: list[Report]) -> dict[str, float]:
    known = [one for one in sorted(reports, key=lambda one: (one.known_at, one.is_fraud)) if one.known_at < BEGINS]
    last = {one.transaction_id: one for one in known}
    ages: dict[int, list[bool]] = {}
    for row in rows:
        age = (DAY - row["timestamp"].date()).days
        if row["terminal"] == terminal and 1 <= age <= LONGEST:
            report = last.get(row["transaction_id"])
            ages.setdefault(age, []).append(report is not None and report.is_fraud == 1)
    reported = _last_reports(terminal, rows, known)
    never = LONGEST + 1
    frauds = {age: sum(of) for age, of in ages.items() if sum(of)}
    nonfraud = min((age for age, of in ages.items() if not all(of)), default=never)
    streak = {age: count for age, count in frauds.items() if age < nonfraud}
    values: dict[str, float] = {}
    for window in (1, 3, 5):
        inside = [one for age, of in ages.items() if age <= window for one in of]
        values[f"terminal_known_fraud_share_{window}d"] = sum(inside) / len(inside) if inside else 0.0
        values[f"terminal_known_frauds_{window}d"] = sum(inside)
    return values | {
        "terminal_days_since_first_known_fraud": max(frauds, default=never),
        "terminal_days_since_last_known_fraud": min(frauds, default=never),
        "terminal_days_since_last_unreported": nonfraud,
        "terminal_days_since_known_fraud_streak_began": max(streak, default=never),
        "terminal_known_fraud_streak": sum(streak.values()),
        "terminal_days_since_fraud_became_known": min((reported[age] for age in frauds), default=never),
    }


def _last_reports(terminal: int, rows: list[dict[str, Any]], known: list[Report]) -> dict[int, int]:
    """By age of the terminal's days: days since more of their frauds became known than were taken back."""
    net: dict[tuple[int, int], int] = {}
    for row in rows:
        mine = [one for one in known if one.transaction_id == row["transaction_id"]]
        for earlier, one in zip([0, *(e.is_fraud for e in mine)], mine, strict=False):
            at_ = ((DAY - row["timestamp"].date()).days, (DAY - one.known_at.date()).days)
            if row["terminal"] == terminal:
                net[at_] = net.get(at_, 0) + one.is_fraud - earlier
    return {
        age: min(since for (of, since), n in net.items() if of == age and n > 0)
        for age, since in net
        if net[age, since] > 0
    }


past = st.tuples(st.integers(1, 7), st.integers(0, 23), st.integers(1, 3))
labels = st.tuples(st.integers(0, 11), st.integers(0, 9), st.integers(0, 23), st.integers(0, 1))


def _rows_and_reports(
    transactions: list[tuple[int, int, int]], of: list[tuple[int, int, int, int]]
) -> tuple[list[Any], list[Report]]:
    rows = [transaction(n, at(before, hour), terminal=where) for n, (before, hour, where) in enumerate(transactions)]
    rows += [transaction(100 + where, at(hour=3), terminal=where) for where in (1, 2, 3)]
    reports = {
        Report(n, rows[n]["timestamp"] + timedelta(days=after, hours=hour), is_fraud)
        for n, after, hour, is_fraud in of
        if n < len(transactions)
    }
    return rows, sorted(reports)


@settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(st.lists(past, max_size=12), st.lists(labels, max_size=14))
def test_agrees_with_the_obvious_definition(engine: Engine, transactions: list[Any], of: list[Any]):
    rows, reports = _rows_and_reports(transactions, of)
    found, wanted = computed(engine, rows, reports), expected(rows, reports)
    np.testing.assert_allclose(found.loc[wanted.index].to_numpy(float), wanted.to_numpy(float), rtol=1e-6)


@settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(st.lists(past, min_size=1, max_size=10), st.lists(labels, max_size=10), st.data())
def test_no_label_known_from_the_start_of_the_day_on_changes_a_feature(
    engine: Engine, transactions: list[Any], of: list[Any], data: st.DataObject
):
    rows, reports = _rows_and_reports(transactions, of)
    number = data.draw(st.integers(0, len(transactions) - 1))
    later = Report(number, BEGINS + timedelta(hours=data.draw(st.integers(0, 50))), data.draw(st.integers(0, 1)))
    before = [one for one in reports if one.known_at < BEGINS]
    pd.testing.assert_frame_equal(computed(engine, rows, before), computed(engine, rows, [*reports, later]))


@pytest.mark.parametrize("before", [1, 3, 5])
def test_a_label_known_the_moment_before_the_day_changes_its_features_whatever_its_age(engine: Engine, before: int):
    rows = [transaction(1, at(before, hour=1)), transaction(9, at(hour=1))]
    known = computed(engine, rows, [Report(1, BEGINS - timedelta(microseconds=1))]).loc[9]
    late = computed(engine, rows, [Report(1, BEGINS)]).loc[9]
    assert known.terminal_days_since_last_known_fraud == before and known.terminal_days_since_fraud_became_known == 1
    assert (late.terminal_days_since_last_known_fraud, late.terminal_known_fraud_share_5d) == (LONGEST + 1, 0)


def test_a_label_that_was_taken_back_is_forgotten(engine: Engine):
    rows = [transaction(1, at(4)), transaction(9, at(hour=1))]
    reports = [Report(1, BEGINS - timedelta(days=3)), Report(1, BEGINS - timedelta(days=1), 0)]
    row = computed(engine, rows, reports).loc[9]
    assert row.terminal_known_frauds_5d == 0 and row.terminal_days_since_fraud_became_known == LONGEST + 1


def test_a_plan_of_mature_labels_has_the_digest_that_it_had():
    assert "labels_as_known" not in PLAN.model_dump() and digest(PLAN) != digest(AS_KNOWN)
    assert FeaturePlan.model_validate(AS_KNOWN.model_dump()) == AS_KNOWN


def test_as_known_looks_back_on_days_of_reports_and_on_no_day_more_than_amounts_do():
    assert label_days_lookback(AS_KNOWN, DAY) == [DAY - timedelta(days=n) for n in (5, 4, 3, 2, 1)]
    assert labels_lookback(AS_KNOWN, DAY) == [] and label_days_lookback(PLAN, DAY) == []
    assert lookback(AS_KNOWN, DAY) == [DAY - timedelta(days=n) for n in (5, 4, 3, 2, 1)]
    assert AS_KNOWN.horizons["terminal_known_fraud_share_3d"] == 3 and PLAN.horizons["terminal_fraud_share_3d"] == 5
    assert AS_KNOWN.label_day(DAY) == date(2026, 3, 13)


def test_an_entity_without_frauds_reads_no_labels():
    plan = FeaturePlan(entities={"customer": EntityPolicy(column="c", windows_days=(1, 3))}, labels_as_known=True)
    assert label_days_lookback(plan, DAY) == [] and not any("fraud" in name for name in plan.names)
