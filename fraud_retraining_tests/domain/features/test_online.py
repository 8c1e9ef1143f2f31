"""Features of transactions as they come in are those of their day in the lake, to the last bit."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.features.definitions import LARGEST
from fraud_retraining.domain.features.key_tables import StateTable
from fraud_retraining.domain.features.online import (
    SMALL_BATCH,
    Batch,
    KeyDay,
    OnlineFeatures,
    RecentDay,
    numeric_features,
)
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.point_in_time import entity_days, entity_state, transaction_features
from fraud_retraining.domain.values.schemas import EntityPolicy
from fraud_retraining_tests.domain.features.test_point_in_time import DAY, PLAN, at, table, transaction

AS_KNOWN = PLAN.model_copy(update={"labels_as_known": True})
NULLABLE = FeaturePlan(
    entities={
        "customer": EntityPolicy(column="c", windows_days=(2, 4)),
        "terminal": EntityPolicy(column="t", windows_days=(1, 7), fraud_share=True, nullable=True),
    },
    label_delay_days=1,
)
LONGEST = 12
DAY_AND_MORE = 9 * 1440
"""Minutes of a day and the days before it."""
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(temp_directory=tmp_path_factory.mktemp("spill"), threads=1) as engine:
        yield engine


class Lake:
    """Rows of several days, with what became known of their labels, as the days of a store."""

    def __init__(self, engine: Engine, plan: FeaturePlan, rows: Rows) -> None:
        self.engine, self.plan, self.rows = engine, plan, rows
        self._entity_days: dict[tuple[str, date], pa.Table] = {}

    def day(self, day: date) -> pa.Table:
        return table(self.plan, [row for row in self.rows if row["timestamp"].date() == day])

    def history(self, entity: str, day: date) -> ibis.Table:
        days = [day - timedelta(days=age) for age in range(1, LONGEST + 1)]
        with_rows = {row["timestamp"].date() for row in self.rows}
        found = [self._entity_day(entity, one) for one in days if one in with_rows]
        return self.engine.memtable(
            pa.concat_tables([one for one in found if len(one)] or [self._entity_day(entity, days[0])])
        )

    def _entity_day(self, entity: str, day: date) -> pa.Table:
        """Computed once: a property is tested over many moments of one lake."""
        if (entity, day) not in self._entity_days:
            rows = self.engine.memtable(self.day(day))
            sums = entity_days(rows, entity, self.plan, day).mutate(day=ibis.literal(day))
            self._entity_days[entity, day] = self.engine.to_arrow(sums)
        return self._entity_days[entity, day]

    def reports(self, entity: str) -> ibis.Table:
        """Every fraud becomes known on the day after it."""
        schema = pa.schema(
            [("key", pa.int64()), ("day", pa.date32()), ("frauds", pa.int32()), ("known_on", pa.date32())]
        )
        frauds = [row for row in self.rows if row["is_fraud"] and row[entity] is not None]
        days = [(row[entity], row["timestamp"].date()) for row in frauds]
        changed = [{"key": key, "day": day, "frauds": 1, "known_on": day + timedelta(days=1)} for key, day in days]
        return self.engine.memtable(pa.Table.from_pylist(changed, schema))

    def batch_features(self, day: date) -> dict[Any, dict[str, np.float32]]:
        """Features of every row of a day, computed over the day as the pipeline does."""
        found = self.engine.to_arrow(
            transaction_features(
                self.plan,
                day,
                today=self.engine.memtable(self.day(day)),
                yesterday=self.engine.memtable(self.day(day - timedelta(days=1))),
                entity_days={entity: self.history(entity, day) for entity in self.plan.entities},
                entity_label_days={entity: self.reports(entity) for entity in self.plan.entities},
            )
        ).to_pylist()
        return {row["transaction_id"]: {name: np.float32(row[name]) for name in own(self.plan)} for row in found}

    def states(self, day: date) -> dict[str, StateTable]:
        return {
            entity: StateTable.from_table(
                self.engine.to_arrow(
                    entity_state(self.plan, day, entity, self.history(entity, day), self.reports(entity))
                )
            )
            for entity in self.plan.entities
        }

    def online(
        self, day: date, parts: Sequence[Rows], small_batch: int = SMALL_BATCH
    ) -> dict[Any, dict[str, np.float32]]:
        """Features of the rows of a day, which come in batches."""
        online = OnlineFeatures(self.plan, small_batch)
        yesterday = RecentDay(self.plan, day - timedelta(days=1))
        yesterday.add(Batch.of(self.day(yesterday.day), self.plan))
        today, states = RecentDay(self.plan, day), self.states(day)
        found: dict[Any, dict[str, np.float32]] = {}
        for part in parts:
            batch = Batch.of(table(self.plan, part), self.plan)
            today.add(batch)
            features = online.of(batch, states=states, today=today, yesterday=yesterday)
            for place, number in enumerate(batch.ids):
                found[number] = {name: values[place] for name, values in features.items()}
        return found


def own(plan: FeaturePlan) -> list[str]:
    """Features that are computed, in the order of the plan."""
    return [name for name in plan.names if name not in {"amount", *plan.numeric, *plan.categorical}]


def assert_same_bits(one: dict[Any, dict[str, np.float32]], other: dict[Any, dict[str, np.float32]]) -> None:
    assert one.keys() == other.keys()
    for number, features in one.items():
        assert list(features) == list(other[number])
        unlike = {
            name: (value, other[number][name])
            for name, value in features.items()
            if value.tobytes() != other[number][name].tobytes()
        }
        assert not unlike, f"transaction {number}"


moments = st.tuples(st.integers(0, 8), st.integers(0, 23), st.sampled_from([0, 1, 59]), st.integers(0, 2))
amounts = st.one_of(st.floats(0, 1e6), st.sampled_from([0.0, 0.01, 1e-7, 219.99, 1e9]), st.floats(-100, 100))
payments = st.tuples(moments, amounts, st.integers(1, 3), st.sampled_from([1, 2, None]), st.booleans())


def rows_of(drawn: list[Any], plan: FeaturePlan) -> Rows:
    nullable = plan.entities["terminal"].nullable
    return [
        transaction(
            number,
            at(days, hour, minute, 0, micro),
            amount,
            customer=customer,
            terminal=terminal if terminal or nullable else 3,
            is_fraud=int(fraud),
        )
        for number, ((days, hour, minute, micro), amount, customer, terminal, fraud) in enumerate(drawn)
    ]


@settings(max_examples=10, deadline=None)
@pytest.mark.parametrize("plan", [PLAN, AS_KNOWN, NULLABLE], ids=["mature", "as known", "keys may be missing"])
@given(drawn=st.lists(payments, min_size=1, max_size=40), size=st.integers(1, 7))
def test_in_order_of_time_every_feature_has_the_bits_of_its_day(
    engine: Engine, plan: FeaturePlan, drawn: list[Any], size: int
):
    lake = Lake(engine, plan, rows_of(drawn, plan))
    today = sorted(
        (row for row in lake.rows if row["timestamp"].date() == DAY),
        key=lambda row: (row["timestamp"], row["transaction_id"]),
    )
    if not today:
        return
    parts = [today[first : first + size] for first in range(0, len(today), size)]
    wanted = lake.batch_features(DAY)
    for small_batch in (0, SMALL_BATCH):
        assert_same_bits(lake.online(DAY, parts, small_batch), wanted)


def test_within_a_batch_the_order_does_not_matter(engine: Engine):
    rows = [transaction(n, at(hour=n % 7, micro=n), 10.0 * n + 0.37) for n in range(30)]
    lake = Lake(engine, PLAN, rows)
    assert_same_bits(lake.online(DAY, [rows[::-1]]), lake.batch_features(DAY))


def test_large_amounts_have_the_same_bits_in_any_order(engine: Engine):
    """Large and nearly alike: the variance is what is left of sums of squares beyond 2**53 parts of the grid."""
    rng = np.random.default_rng(5)
    moments = rng.permutation(DAY_AND_MORE)[:600]
    rows = [
        transaction(number, at(int(m // 1440), int(m % 1440 // 60), int(m % 60)), amount, customer=1, terminal=1)
        for number, (m, amount) in enumerate(zip(moments, np.round(rng.uniform(1e6, 1.0001e6, 600), 2), strict=True))
    ]
    lake = Lake(engine, PLAN, rows)
    today = sorted((row for row in rows if row["timestamp"].date() == DAY), key=lambda row: row["timestamp"])
    assert len(today) > 20
    wanted = lake.batch_features(DAY)
    assert_same_bits(lake.online(DAY, [today[::-1]], 0), wanted)
    assert_same_bits(lake.online(DAY, [[row] for row in today]), wanted)
    assert_same_bits(Lake(engine, PLAN, rows[::-1]).batch_features(DAY), wanted)


def test_one_that_comes_late_is_scored_as_the_lake_will_see_it_and_the_one_before_without_it(engine: Engine):
    early, late, after = (transaction(n, at(hour=hour), 10) for n, hour in ((1, 8), (2, 9), (3, 10)))
    lake = Lake(engine, PLAN, [early, late, after])
    found, wanted = lake.online(DAY, [[early], [after], [late]]), lake.batch_features(DAY)
    assert_same_bits({2: found[2], 1: found[1]}, {2: wanted[2], 1: wanted[1]})
    assert (found[3]["customer_count_1d"], wanted[3]["customer_count_1d"]) == (2, 3)


def test_one_that_is_sent_again_counts_once(engine: Engine):
    first, second = transaction(1, at(hour=8), 10), transaction(2, at(hour=9), 30)
    lake = Lake(engine, PLAN, [first, second])
    assert_same_bits(lake.online(DAY, [[first], [first], [second], [second]]), lake.batch_features(DAY))


def test_a_day_of_a_key_gives_the_sums_before_and_after_a_moment():
    day = KeyDay()
    for clock, number, amount in ((5, "b", 2.0), (9, "a", 7.0), (5, "a", 4.0)):
        day.add(clock, number, amount)
    until = [day.before(*moment) for moment in ((5, "a"), (5, "b"), (10, "z"))]
    assert [last for _, last in until] == [None, 5, 9]
    assert [sums.past for sums, _ in until] == [(0, 0.0, 0.0, 0.0), (1, 4.0, 16.0, 4.0), (3, 13.0, 69.0, 7.0)]
    later = [day.after(clock).past for clock in (4, 5, 9)]
    assert later == [(3, 13.0, 69.0, 7.0), (1, 7.0, 49.0, 7.0), (0, 0.0, 0.0, 0.0)]


def test_transactions_in_falling_order_of_time_are_summed_once():
    day, count = KeyDay(), 20_000
    for clock in range(count, 0, -1):
        day.add(clock, clock, 1.0)
    assert day.before(count, count)[0].rows == count - 1 and day.after(1).rows == count - 1


def test_the_clock_of_a_day_counts_from_its_midnight():
    rows = table(PLAN, [transaction(1, datetime(2026, 3, 14, 0, 0, 1))])
    assert Batch.of(rows, PLAN).clocks(DAY) == [1_000_000]


BEYOND = float(np.nextafter(LARGEST, np.inf))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.sampled_from([LARGEST, -LARGEST, BEYOND, -BEYOND, 1e-45]) | st.floats(), min_size=1))
def test_numeric_columns_pass_through_as_in_the_batch(engine: Engine, numbers: list[float | None]) -> None:
    plan = FeaturePlan(entities={}, numeric=("risk",))
    rows = [transaction(number, at(0), 1.0, risk=risk) for number, risk in enumerate(numbers)]
    day = engine.to_arrow(
        transaction_features(plan, DAY, today=engine.memtable(table(plan, rows)), yesterday=None, entity_days={})
    )
    batch = day["risk"].to_numpy(zero_copy_only=False)
    online = numeric_features(plan, {"risk": np.array(numbers, np.float64)})["risk"]
    assert online.dtype == np.float32
    missing = np.isnan(batch)
    np.testing.assert_array_equal(np.isnan(online), missing)
    assert online[~missing].tobytes() == batch[~missing].tobytes()
