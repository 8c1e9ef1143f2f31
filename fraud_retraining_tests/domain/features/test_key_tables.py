"""Keys of either type are found in tables of any order, and what is not there is null."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.features.key_tables import (
    SortedKeys,
    StateTable,
    TransactionsByKey,
    in_key_order,
    key_array,
    state_columns,
)
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.point_in_time import entity_days, entity_state
from fraud_retraining_tests.domain.features.test_point_in_time import DAY, PLAN, at, table, transaction

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
keys = st.one_of(
    st.tuples(st.just(pa.int64()), st.sets(st.integers(-(2**63), 2**63 - 1))),
    st.tuples(st.just(pa.string()), st.sets(texts)),
)


@given(drawn=keys, others=st.lists(st.one_of(st.none(), texts, st.integers(-5, 5))))
def test_every_key_is_found_at_its_place_and_no_other(drawn, others):
    kind, present = drawn
    column = in_key_order(pa.table({"key": pa.array(list(present), kind)}))["key"]
    in_order = SortedKeys(key_array(column))
    places = in_order.places([*present, *others]).tolist()
    assert places == [in_order.place(key) for key in [*present, *others]]
    found = column.to_pylist()
    assert [found[place] for place in places[: len(present)]] == list(present)
    assert all(
        (found[place] == other) if place >= 0 else other not in present
        for place, other in zip(places[len(present) :], others, strict=True)
    )


@pytest.mark.parametrize("plan", [PLAN, PLAN.model_copy(update={"labels_as_known": True})])
@pytest.mark.parametrize("entity", ["customer", "terminal"])
def test_an_empty_state_has_the_columns_of_a_made_one(plan: FeaturePlan, entity: str, tmp_path):
    with Engine(temp_directory=tmp_path, threads=1) as engine:
        rows = engine.memtable(table(plan, [transaction(1, at(days_before=3), 10.0)]))
        days = engine.to_arrow(entity_days(rows, entity, plan, DAY).mutate(day=DAY))
        state = engine.to_arrow(entity_state(plan, DAY, entity, engine.memtable(days)))
    assert state_columns(plan, entity) == tuple(state.column_names[1:])
    empty, made = StateTable.empty(plan, entity).of([1, None]), StateTable.from_table(state).of([99, None])
    for name in state_columns(plan, entity):
        assert empty[name].isnull().values.all() and made[name].isnull().values.all(), name
        assert empty[name].values.dtype == made[name].values.dtype, name


@given(st.lists(st.one_of(st.none(), st.integers(1, 4))))
def test_the_transactions_of_a_key_are_all_of_them(drawn):
    found = TransactionsByKey(pa.chunked_array([pa.array(drawn, pa.int64())]))
    for key in range(6):
        assert sorted(found.rows(key)) == [place for place, one in enumerate(drawn) if one == key]


def test_times_are_exact_to_the_microsecond():
    moment = np.datetime64("2026-03-14T23:59:59.999999", "us")
    made = pa.table({"key": [7], "__customer_last_at": pa.array([moment], pa.timestamp("us"))})
    state = StateTable.from_table(made)
    assert state.of([7])["__customer_last_at"].values.tolist() == [moment.item()]
    assert (
        state.one(7) == {"__customer_last_at": moment.astype(np.int64)} and state.one(8)["__customer_last_at"] is None
    )
