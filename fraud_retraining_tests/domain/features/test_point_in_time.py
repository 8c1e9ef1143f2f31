"""Features are point-in-time, agree with the obvious definition, and are the same whenever they are computed."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.features.definitions import never_seen_seconds, no_label_days
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.point_in_time import entity_days, transaction_features
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.schemas import EntityPolicy
from fraud_retraining_tests.support.features_reference import reference_features

DAY = date(2026, 3, 14)
"""A Saturday."""

PLAN = FeaturePlan(
    entities={
        "customer": EntityPolicy(column="c", windows_days=(1, 3, 5)),
        "terminal": EntityPolicy(column="t", windows_days=(1, 3, 5), fraud_share=True),
    },
    label_delay_days=2,
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(temp_directory=tmp_path_factory.mktemp("spill"), threads=1) as engine:
        yield engine


def at(days_before: int = 0, hour: int = 12, minute: int = 0, second: int = 0, micro: int = 0) -> datetime:
    moment = datetime(DAY.year, DAY.month, DAY.day, hour, minute, second, micro)
    return moment - timedelta(days=days_before)


def transaction(number: Any, when: datetime, amount: float = 10.0, **others: Any) -> dict[str, Any]:
    row = {"transaction_id": number, "timestamp": when, "amount": float(amount), "is_fraud": 0}
    return row | {"customer": 1, "terminal": 1} | others


def table(plan: FeaturePlan, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a canonical partition holds them, but in no order: nothing may rest on it."""
    text = {name for name in ("transaction_id", *plan.entities) if rows and isinstance(rows[0][name], str)}
    fields = [
        ("transaction_id", pa.string() if "transaction_id" in text else pa.int64()),
        ("timestamp", pa.timestamp("us")),
        ("amount", pa.float64()),
        ("is_fraud", pa.int8()),
        *((name, pa.string() if name in text else pa.int64()) for name in plan.entities),
        *((("labelled_at", pa.timestamp("us")),) if plan.labelled_at else ()),
        *((name, pa.float64()) for name in plan.numeric),
        *((name, pa.string()) for name in (*plan.categorical, *plan.slices)),
    ]
    return pa.Table.from_pylist([{name: row.get(name) for name, _ in fields} for row in rows], pa.schema(fields))


def computed(engine: Engine, plan: FeaturePlan, rows: list[dict[str, Any]], day: date = DAY) -> pd.DataFrame:
    """Features of `day` along the way of the pipeline: days that have no rows have no partition."""

    def of(*days: date) -> ibis.Table | None:
        found = [row for row in rows if row["timestamp"].date() in days]
        return engine.memtable(table(plan, found)) if found else None

    needed = plan.lookback(day)
    history = {entity: _statistics(engine, plan, entity, days, of) for entity, days in needed.entity_days.items()}
    expression = transaction_features(
        plan,
        day,
        today=of(day),
        yesterday=of(needed.yesterday),
        entity_days={entity: days for entity, days in history.items() if days is not None},
    )
    return engine.to_arrow(expression).to_pandas()


def _statistics(engine: Engine, plan: FeaturePlan, entity: str, days: DayRange, of: Any) -> ibis.Table | None:
    tables = [
        engine.to_arrow(entity_days(rows, entity, plan, day).mutate(day=ibis.literal(day)))
        for day in days
        if (rows := of(day)) is not None
    ]
    some = [table for table in tables if len(table)] or tables[:1]
    return engine.memtable(pa.concat_tables(some)) if tables else None


def expected(plan: FeaturePlan, rows: list[dict[str, Any]], day: date = DAY) -> pd.DataFrame:
    frame = table(plan, rows).to_pandas()
    frame["timestamp"] = pd.to_datetime(frame.timestamp)
    return reference_features(plan, day, frame)


def assert_agrees(engine: Engine, plan: FeaturePlan, rows: list[dict[str, Any]]) -> None:
    found, wanted = computed(engine, plan, rows), expected(plan, rows)
    assert list(found.transaction_id) == list(wanted.transaction_id)
    numbers = [name for name in plan.names if name not in plan.categorical]
    np.testing.assert_allclose(
        found[numbers].to_numpy(float), wanted[numbers].to_numpy(float), rtol=1e-3, atol=2e-3, err_msg=str(numbers)
    )
    for name in plan.categorical:
        assert list(found[name]) == list(wanted[name])


def one(engine: Engine, rows: list[dict[str, Any]], number: Any, plan: FeaturePlan = PLAN) -> pd.Series:
    found = computed(engine, plan, rows)
    return found[found.transaction_id == number].iloc[0]


# ---------------------------------------------------------------- the meaning of single features


def test_a_first_transaction_gets_neutral_values(engine: Engine):
    row = one(engine, [transaction(1, at(), amount=250)], 1)
    assert row.customer_count_1d == row.customer_count_5d == 1
    assert row.customer_mean_amount_1d == row.customer_max_amount_5d == 250
    assert row.customer_amount_ratio_1d == 1
    assert row.customer_amount_zscore_5d == 0
    assert row.customer_seconds_since_previous == never_seen_seconds(PLAN.entities["customer"]) == 6 * 86_400
    assert row.terminal_fraud_share_5d == row.terminal_labelled_count_5d == 0


def test_count_mean_and_maximum_include_the_transaction_but_ratio_and_zscore_compare_it_with_the_past(engine: Engine):
    rows = [transaction(1, at(hour=9), 10), transaction(2, at(hour=10), 20), transaction(3, at(hour=11), 60)]
    row = one(engine, rows, 3)
    assert (row.customer_count_1d, row.customer_mean_amount_1d, row.customer_max_amount_1d) == (3, 30, 60)
    assert row.customer_max_ratio_1d == 2
    assert row.customer_amount_ratio_1d == pytest.approx(60 / 15)
    assert row.customer_amount_zscore_1d == pytest.approx((60 - 15) / np.std([10, 20], ddof=1))


def test_the_last_24_hours_exclude_what_is_exactly_24_hours_old(engine: Engine):
    rows = [transaction(1, at(1), 10), transaction(2, at(1, micro=1), 20), transaction(3, at(), 30)]
    row = one(engine, rows, 3)
    assert (row.customer_count_1d, row.customer_mean_amount_1d) == (2, 25)
    assert row.customer_count_3d == 3


def test_a_longer_window_is_the_day_so_far_and_whole_days(engine: Engine):
    first = datetime.combine(DAY - timedelta(days=3), datetime.min.time())
    rows = [transaction(1, first - timedelta(microseconds=1)), transaction(2, first), transaction(3, at(hour=23))]
    row = one(engine, rows, 3)
    assert row.customer_count_3d == 2
    assert row.customer_count_5d == 3


def test_at_one_instant_the_smaller_id_comes_first(engine: Engine):
    rows = [transaction(number, at(), amount=number) for number in (2, 1, 3)]
    found = computed(engine, PLAN, rows)
    assert list(found.transaction_id) == [1, 2, 3]
    assert list(found.customer_count_1d) == list(found.customer_count_3d) == [1, 2, 3]
    assert list(found.customer_seconds_since_previous) == [6 * 86_400, 0, 0]


def test_time_since_the_previous_transaction_reaches_back_over_the_longest_window(engine: Engine):
    rows = [transaction(1, at(5, hour=1, micro=500_000)), transaction(2, at(hour=2))]
    assert one(engine, rows, 2).customer_seconds_since_previous == 5 * 86_400 + 3_599.5


@pytest.mark.parametrize("past", [[7.77] * 2, [1e6 / 3] * 40, [0.0] * 3, [1e9, 1e9]])
def test_a_past_without_spread_gives_a_neutral_zscore(engine: Engine, past: list[float]):
    rows = [transaction(number, at(hour=1, minute=number), amount) for number, amount in enumerate(past)]
    row = one(engine, [*rows, transaction(99, at(), 5.0)], 99)
    assert row.customer_amount_zscore_1d == row.customer_amount_zscore_3d == 0


def test_ratio_and_zscore_are_bounded(engine: Engine):
    rows = [transaction(1, at(hour=1), 1.0), transaction(2, at(hour=2), 1.01), transaction(3, at(hour=3), 1e6)]
    row = one(engine, rows, 3)
    assert row.customer_amount_ratio_1d == 1_000
    assert row.customer_amount_zscore_1d == 50


@pytest.mark.parametrize("amount", [0.0, 0.01, 1e16, 1e39, 1e200, 1e308])
def test_no_amount_breaks_a_day(engine: Engine, amount: float):
    rows = [transaction(number, at(number % 2, hour=number), amount) for number in range(6)]
    found = computed(engine, PLAN, [*rows, transaction(9, at(hour=20), 10.0)])
    assert np.isfinite(found[list(PLAN.names)].to_numpy(float)).all()


def test_labels_count_up_to_the_end_of_the_last_day_that_may_be_used(engine: Engine):
    fraud = {"customer": 2, "is_fraud": 1}
    rows = [
        transaction(1, at(2, hour=0), **fraud),
        transaction(2, at(3, hour=23), **fraud),
        transaction(3, at(3, hour=0), customer=2),
        transaction(4, at(4, hour=23), customer=2, is_fraud=None),
        transaction(5, at(5, hour=0), **fraud),
        transaction(6, at(6, hour=23), **fraud),
        transaction(9, at(hour=1)),
    ]
    row = one(engine, rows, 9)
    assert (row.terminal_labelled_count_1d, row.terminal_fraud_share_1d) == (2, 0.5)
    assert (row.terminal_labelled_count_3d, row.terminal_fraud_share_3d) == (3, pytest.approx(2 / 3))
    assert (row.terminal_labelled_count_5d, row.terminal_fraud_share_5d) == (4, 0.75)
    assert (row.terminal_days_since_first_fraud, row.terminal_days_since_last_fraud) == (6, 3)


@pytest.mark.parametrize(
    ("labels", "nonfraud", "began", "streak"),
    [
        pytest.param([0, 0, 1, 1, 1], 6, 5, 3, id="frauds only, since some day"),
        pytest.param([1, 1, 0, 1, None], 5, 4, 1, id="the streak begins after the last non-fraud"),
        pytest.param([0, 1, 1, 1, 0], 3, 8, 0, id="a non-fraud ends it"),
        pytest.param([None, 0, 1, None, 1], 6, 5, 2, id="an unknown label does not"),
        pytest.param([0, 1, 1, 1, 1], 8, 6, 4, id="the non-fraud is out of sight: every fraud in sight"),
        pytest.param([None] * 5, 8, 8, 0, id="nothing known"),
    ],
)
def test_a_fraud_streak_is_the_known_frauds_since_the_last_known_nonfraud(
    engine: Engine, labels: list[int | None], nonfraud: int, began: int, streak: int
):
    days = (8, 6, 5, 4, 3)
    past = [transaction(before, at(before), is_fraud=label) for before, label in zip(days, labels, strict=True)]
    row = one(engine, [*past, transaction(9, at(1), is_fraud=0), transaction(10, at())], 10)
    assert row.terminal_days_since_last_nonfraud == nonfraud
    assert (row.terminal_days_since_fraud_streak_began, row.terminal_fraud_streak) == (began, streak)


def test_a_day_with_a_fraud_and_a_nonfraud_is_not_part_of_a_streak(engine: Engine):
    past = [transaction(1, at(4, hour=1), is_fraud=0), transaction(2, at(4, hour=2), is_fraud=1)]
    row = one(engine, [*past, transaction(3, at(3), is_fraud=1), transaction(9, at())], 9)
    assert row.terminal_days_since_last_nonfraud == 4
    assert (row.terminal_days_since_fraud_streak_began, row.terminal_fraud_streak) == (3, 1)


def test_without_a_known_fraud_its_age_is_beyond_what_can_be_seen(engine: Engine):
    rows = [transaction(1, at(2), is_fraud=1), transaction(2, at(8), is_fraud=1), transaction(9, at())]
    row = one(engine, rows, 9)
    assert row.terminal_days_since_first_fraud == row.terminal_days_since_last_fraud == 8
    assert no_label_days(PLAN.entities["terminal"], PLAN.label_delay_days) == 8


def test_a_label_counts_only_when_it_was_known_before_the_first_day_that_may_use_it(engine: Engine):
    plan = PLAN.model_copy(update={"labelled_at": True})
    begins = datetime.combine(DAY, datetime.min.time())
    rows = [
        transaction(1, at(3, hour=1), is_fraud=1, labelled_at=begins - timedelta(microseconds=1)),
        transaction(2, at(3, hour=2), is_fraud=1, labelled_at=begins),
        transaction(3, at(3, hour=3), is_fraud=1, labelled_at=None),
        transaction(4, at(4, hour=3), is_fraud=1, labelled_at=begins - timedelta(hours=1)),
        transaction(5, at(4, hour=4), is_fraud=0, labelled_at=begins - timedelta(days=1, hours=1)),
        transaction(9, at()),
    ]
    row = one(engine, rows, 9, plan)
    assert (row.terminal_labelled_count_1d, row.terminal_fraud_share_1d) == (2, 1)
    assert (row.terminal_labelled_count_3d, row.terminal_fraud_share_3d) == (3, pytest.approx(2 / 3))


def test_night_ends_after_its_sixth_hour_and_the_weekend_is_saturday_and_sunday(engine: Engine):
    rows = [transaction(1, at(hour=6, minute=59)), transaction(2, at(hour=7)), transaction(3, at(-2, hour=0))]
    saturday = computed(engine, PLAN, rows)
    assert list(saturday.hour) == [6, 7]
    assert list(saturday.night) == [1, 0]
    assert list(saturday.weekend) == [1, 1]
    assert list(computed(engine, PLAN, rows, DAY + timedelta(days=2)).weekend) == [0]


def test_columns_of_the_lake_pass_through(engine: Engine):
    plan = FeaturePlan(entities={}, numeric=("score",), categorical=("country",), slices=("channel",))
    rows = [
        transaction(1, at(hour=1), score=0.25, country="NL", channel="web"),
        transaction(2, at(hour=2), score=None, country=None, channel=None),
        transaction(3, at(hour=3), score=float("inf"), country="Ünseen", channel="pos"),
    ]
    found = computed(engine, plan, rows)
    np.testing.assert_array_equal(found.score, np.array([0.25, np.nan, np.nan], np.float32))
    assert found.country.tolist() == ["NL", None, "Ünseen"]
    assert found.channel.tolist() == ["web", None, "pos"]


def test_unknown_labels_stay_unknown(engine: Engine):
    found = computed(engine, PLAN, [transaction(1, at(), is_fraud=None), transaction(2, at(), is_fraud=1)])
    assert found.is_fraud.isna().tolist() == [True, False]


# ---------------------------------------------------------------- agreement with the reference


def awkward(seed: int, keys: str = "integer", labelled_at: bool = False) -> list[dict[str, Any]]:
    """Sixteen days with ties in and across days, keys seen once, a day without rows, gaps, and missing labels."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in rng.permutation(260).tolist():
        before = int(rng.integers(-1, 15))
        if before in (2, 6):
            continue
        hour, minute, micro = rng.choice([0, 11, 12, 13, 23]), rng.choice([0, 0, 30, 59]), rng.integers(2)
        when = at(before, int(hour), int(minute), 0, int(micro))
        who, where = int(rng.integers(12)) ** 2 // 10, int(rng.integers(4))
        amount = float(rng.choice([0.0, 0.01, 12.34, 1e6, round(float(rng.gamma(1, 50)), 2)]))
        fraud = [0, 1, None][int(rng.choice(3, p=[0.5, 0.3, 0.2]))]
        row = transaction(number, when, amount, customer=who, terminal=where, is_fraud=fraud)
        if labelled_at:
            row["labelled_at"] = when + timedelta(days=float(rng.uniform(0, 5))) if fraud is not None else None
        if keys == "text":
            row |= {"transaction_id": f"t{number}", "customer": f"cüst-{who}", "terminal": f" {where}"}
        rows.append(row)
    return rows


@pytest.mark.parametrize("keys", ["integer", "text"])
@pytest.mark.parametrize("labelled_at", [False, True])
def test_agrees_with_the_reference_on_awkward_data(engine: Engine, keys: str, labelled_at: bool):
    plan = PLAN.model_copy(update={"labelled_at": labelled_at})
    assert_agrees(engine, plan, awkward(1, keys, labelled_at))


@pytest.mark.parametrize(
    "entities",
    [
        pytest.param({"customer": EntityPolicy(column="c", windows_days=(1,), fraud_share=True)}, id="last 24 hours"),
        pytest.param({"customer": EntityPolicy(column="c", windows_days=(4, 2), fraud_share=True)}, id="whole days"),
        pytest.param({}, id="no entities"),
    ],
)
@pytest.mark.parametrize("delay", [0, 2])
def test_agrees_with_the_reference_whatever_the_windows(engine: Engine, entities: dict[str, EntityPolicy], delay: int):
    plan = FeaturePlan(entities=entities, label_delay_days=delay)
    assert_agrees(engine, plan, awkward(2))


# ---------------------------------------------------------------- keys that are missing

NULLABLE = FeaturePlan(
    entities={
        name: policy.model_copy(update={"nullable": name == "terminal"}) for name, policy in PLAN.entities.items()
    },
    label_delay_days=PLAN.label_delay_days,
)
OWN = [name for name in NULLABLE.names if name.startswith("terminal_")]


def test_a_row_without_the_key_is_as_one_whose_key_was_never_seen(engine: Engine):
    past = [transaction(n, at(n % 5, hour=n % 20), 10.0 * n, is_fraud=n % 2, terminal=None) for n in range(1, 20)]
    known = [transaction(50 + n, at(n, hour=1), 5.0, is_fraud=1, terminal=7) for n in range(6)]
    absent = one(engine, [*past, *known, transaction(99, at(hour=22), 33.0, terminal=None)], 99, NULLABLE)
    first_seen = one(engine, [*past, *known, transaction(99, at(hour=22), 33.0, terminal=1234)], 99, NULLABLE)
    pd.testing.assert_series_equal(absent[OWN], first_seen[OWN], check_names=False)
    assert not absent[OWN].isna().any()


def test_rows_without_the_key_change_no_feature_of_the_others(engine: Engine):
    rows = awkward(3)
    odd = [row | {"terminal": None} if row["transaction_id"] % 4 == 0 else row for row in rows]
    without = [row for row in odd if row["terminal"] is not None]
    found = computed(engine, NULLABLE, odd).set_index("transaction_id")[OWN]
    wanted = computed(engine, PLAN, without).set_index("transaction_id")[OWN]
    pd.testing.assert_frame_equal(found.loc[wanted.index], wanted)


@pytest.mark.parametrize("without", [0, 1], ids=["no row of today has it", "no row of yesterday has it"])
def test_a_day_without_any_text_key_joins_with_the_days_beside_it(engine: Engine, without: int):
    """Such a day does not know that the key is text, and has it as integers without a value."""
    rows = [transaction(n, at(n % 3, hour=n), customer=n % 2, terminal=f"t{n % 2}") for n in range(12)]
    rows = [row | {"terminal": None} if row["timestamp"].date() == at(without).date() else row for row in rows]
    found = computed(engine, NULLABLE, rows)
    assert len(found) == 4
    assert not found[OWN].isna().any().any()


# ---------------------------------------------------------------- laws

few = settings(max_examples=10, deadline=None)

LAWS = FeaturePlan(
    entities={
        "customer": EntityPolicy(column="c", windows_days=(1, 2)),
        "terminal": EntityPolicy(column="t", windows_days=(1, 2), fraud_share=True),
    },
    label_delay_days=1,
)

moments = st.builds(
    at,
    days_before=st.integers(0, 5),
    hour=st.sampled_from([0, 11, 12, 23]),
    minute=st.sampled_from([0, 30]),
    micro=st.integers(0, 1),
)
facts = st.fixed_dictionaries(
    {
        "when": moments,
        "amount": st.sampled_from([0.0, 0.1, 99.99, 1e6]) | st.floats(0, 1e4),
        "customer": st.integers(1, 3),
        "terminal": st.integers(1, 2),
        "is_fraud": st.sampled_from([0, 1, None]),
    }
)
histories = st.lists(facts, min_size=1, max_size=30).map(
    lambda drawn: [transaction(number, **fact) for number, fact in enumerate(drawn)]
)


def before(row: dict[str, Any], judged: dict[str, Any]) -> bool:
    return (row["timestamp"], row["transaction_id"]) < (judged["timestamp"], judged["transaction_id"])


def judged_in(engine: Engine, judged: dict[str, Any], *pasts: list[dict[str, Any]]) -> list[list[float]]:
    """Features of one transaction in several histories, bit for bit: laws hold exactly, not nearly.

    The pasts are computed together, each with keys of its own, so every law also says that strangers do not matter.
    """
    rows = [
        {
            **row,
            "transaction_id": row["transaction_id"] + 10_000 * past,
            "customer": row["customer"] + 10 * past,
            "terminal": row["terminal"] + 10 * past,
        }
        for past, history in enumerate(pasts)
        for row in history
    ]
    found = computed(engine, LAWS, rows).set_index("transaction_id")[list(LAWS.names)]
    return [found.loc[judged["transaction_id"] + 10_000 * past].tolist() for past in range(len(pasts))]


@few
@given(history=histories, judged=facts, others=histories, amounts=st.lists(st.floats(0, 1e9), min_size=30, max_size=30))
def test_nothing_at_or_after_a_transaction_changes_its_features(
    engine: Engine,
    history: list[dict[str, Any]],
    judged: dict[str, Any],
    others: list[dict[str, Any]],
    amounts: list[float],
):
    mine = transaction(1_000, **{**judged, "when": at(0, judged["when"].hour)})
    past = [row for row in history if before(row, mine)]
    later = [row for row in history if not before(row, mine)]
    changed = [{**row, "amount": amount, "is_fraud": 1} for row, amount in zip(later, amounts, strict=False)]
    more = [{**row, "transaction_id": 2_000 + number} for number, row in enumerate(others)]
    appended = [row for row in more if not before(row, mine)]
    features = judged_in(
        engine, mine, [*history, mine], [*past, mine], [*past, mine, *changed], [*history, mine, *appended]
    )
    assert features == [features[0]] * 4


@few
@given(history=histories, labels=st.lists(st.sampled_from([0, 1, None]), min_size=31, max_size=31))
def test_labels_younger_than_the_delay_have_no_effect(
    engine: Engine, history: list[dict[str, Any]], labels: list[int | None]
):
    mine = transaction(1_000, at())
    last = LAWS.label_day(DAY)
    changed = [
        {**row, "is_fraud": label} if row["timestamp"].date() > last else row
        for row, label in zip(history, labels, strict=False)
    ]
    known, other = judged_in(engine, mine, [*history, mine], [*changed, {**mine, "is_fraud": labels[-1]}])
    assert known == other


@few
@given(history=histories, planted=st.floats(1e5, 1e9))
def test_a_planted_future_value_has_no_effect(engine: Engine, history: list[dict[str, Any]], planted: float):
    """An amount and a label that would give everything away, at the same instant, a microsecond and a day later."""
    mine = transaction(1_000, at())
    future = [
        transaction(1_001 + number, when, planted, is_fraud=1)
        for number, when in enumerate((at(), at(micro=1), at(-1)))
    ]
    without, planted_in = judged_in(engine, mine, [*history, mine], [*history, mine, *future])
    assert without == planted_in


def test_the_same_day_is_the_same_to_the_last_bit_in_any_order_and_with_any_number_of_threads(tmp_path: Any):
    rng = np.random.default_rng(5)
    rows = [
        transaction(number, at(int(rng.integers(9)), int(rng.integers(24))), float(rng.gamma(1, 80)), terminal=1)
        for number in range(3_000)
    ]
    results = []
    for threads in (1, 2):
        with Engine(temp_directory=tmp_path, threads=threads) as engine:
            statistics = entity_days(engine.memtable(table(PLAN, rows)), "terminal", PLAN, DAY)
            results.append((engine.to_arrow(statistics).to_pandas(), computed(engine, PLAN, rows)))
            rows = rows[::-1]
    for first, second in zip(*results, strict=True):
        pd.testing.assert_frame_equal(first, second, check_exact=True)
