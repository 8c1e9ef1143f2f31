"""The simulated lake: reproducible day by day, of the promised shape, with fraudsters that change tactics on a day."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fraud_retraining.domain.values.schemas import ColumnFeaturePolicy, ColumnPolicy
from fraud_retraining.simulation import SimulationPolicy, Simulator, lake_path, write_lake

START = date(2026, 1, 1)
SHIFT = START + timedelta(days=30)
LONE, TESTING, SKIMMED, TAKEOVER, MULE, HOPPING = range(1, 7)


def policy(**changes: object) -> SimulationPolicy:
    values = {"start": START, "days": 45, "transactions_per_day": 10_000, "shift_on": SHIFT, "seed": 7} | changes
    return SimulationPolicy.model_validate(values)


def day(index: int) -> date:
    return START + timedelta(days=index)


@pytest.fixture(scope="module")
def lake() -> list[pa.Table]:
    return [table for _, table in Simulator(policy())]


def scenarios(table: pa.Table) -> dict[int, int]:
    counted = pc.value_counts(table["TX_FRAUD_SCENARIO"]).to_pylist()
    return {entry["values"]: entry["counts"] for entry in counted}


def of_scenario(tables: list[pa.Table], *wanted: int) -> pa.Table:
    table = pa.concat_tables(tables)
    return table.filter(pc.is_in(table["TX_FRAUD_SCENARIO"], pa.array(wanted, pa.int8())))


class TestTheSameLakeAgain:
    def test_the_same_seed_gives_the_same_bytes(self, lake: list[pa.Table]) -> None:
        again = Simulator(policy())
        assert all(again.table(day(index)).equals(lake[index]) for index in (0, 1, 2))

    def test_another_seed_gives_another_lake(self, lake: list[pa.Table]) -> None:
        assert not Simulator(policy(seed=8)).table(START).equals(lake[0])

    def test_a_day_can_be_made_without_making_those_before_it(self, lake: list[pa.Table]) -> None:
        assert Simulator(policy()).table(day(37)).equals(lake[37])

    def test_days_may_be_made_in_any_order(self, lake: list[pa.Table]) -> None:
        simulator = Simulator(policy())
        assert all(simulator.table(day(index)).equals(lake[index]) for index in (33, 4, 4, 31))

    def test_a_longer_lake_begins_with_the_shorter_one(self, lake: list[pa.Table]) -> None:
        continued = Simulator(policy(days=46)).since(day(44))
        assert [table.num_rows > 0 for _, table in continued] == [True, True]
        assert next(Simulator(policy(days=400)).since(day(44)))[1].equals(lake[44])

    def test_a_shift_decided_later_leaves_earlier_days_as_they_were(self, lake: list[pa.Table]) -> None:
        unshifted = Simulator(policy(shift_on=None))
        assert unshifted.table(day(29)).equals(lake[29])
        assert not unshifted.table(day(30)).equals(lake[30])

    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), index=st.integers(0, 120), days=st.integers(1, 200))
    def test_a_day_depends_on_seed_start_and_number_only(self, seed: int, index: int, days: int) -> None:
        small = {"transactions_per_day": 300, "seed": seed}
        alone = Simulator(policy(days=days, **small)).table(day(index))
        stepped = Simulator(policy(days=index + 1, **small))
        stepped.table(day(index // 2))
        assert stepped.table(day(index)).equals(alone)


class TestLayout:
    def test_columns_are_the_defaults_of_the_column_policy(self, lake: list[pa.Table]) -> None:
        expected = ColumnPolicy()
        schema = lake[0].schema
        assert schema.field(expected.transaction_id).type == pa.int64()
        assert schema.field(expected.timestamp).type == pa.timestamp("us")
        assert schema.field(expected.amount).type == pa.float64()
        assert schema.field(expected.is_fraud).type == pa.int8()
        assert [schema.field(name).type for name in ("CUSTOMER_ID", "TERMINAL_ID")] == [pa.int64()] * 2
        assert [schema.field(name).type for name in ("TX_CHANNEL", "TX_DISTANCE_KM")] == [pa.string(), pa.float64()]

    def test_the_answer_is_among_the_forbidden_columns(self, lake: list[pa.Table]) -> None:
        assert set(ColumnFeaturePolicy().forbidden) <= set(lake[0].column_names)

    def test_every_day_has_the_same_schema(self, lake: list[pa.Table]) -> None:
        assert {table.schema for table in lake} == {lake[0].schema}

    def test_a_day_lies_in_the_hive_layout(self) -> None:
        assert lake_path(date(2026, 3, 9)) == "year=2026/month=03/day=09/transactions.parquet"

    def test_timestamps_lie_within_their_day_in_order(self, lake: list[pa.Table]) -> None:
        for index, table in enumerate(lake):
            stamps = table["TX_DATETIME"].to_numpy()
            begin = np.datetime64(day(index), "us")
            assert begin <= stamps[0] and stamps[-1] < begin + np.timedelta64(1, "D")
            assert (np.diff(stamps) >= np.timedelta64(0)).all()

    def test_transaction_ids_are_unique_over_the_lake(self, lake: list[pa.Table]) -> None:
        ids = pa.concat_tables(lake)["TRANSACTION_ID"].to_numpy()
        assert len(np.unique(ids)) == len(ids)

    def test_lakes_that_start_on_other_days_share_no_id(self) -> None:
        first, second = (
            set(Simulator(policy(start=start, transactions_per_day=300)).table(start)["TRANSACTION_ID"].to_pylist())
            for start in (START, day(1))
        )
        assert not first & second

    def test_amounts_are_positive_with_two_decimals(self, lake: list[pa.Table]) -> None:
        amounts = pa.concat_tables(lake)["TX_AMOUNT"].to_numpy()
        assert amounts.min() > 0 and np.isfinite(amounts).all()
        assert np.array_equal(amounts, np.round(amounts, 2))

    def test_only_online_payments_have_no_distance(self, lake: list[pa.Table]) -> None:
        online = pc.equal(lake[0]["TX_CHANNEL"], "online")
        assert pc.is_null(lake[0]["TX_DISTANCE_KM"]).equals(online)
        assert lake[0]["TX_DISTANCE_KM"].null_count < lake[0].num_rows

    def test_a_fraud_has_a_scenario_and_nothing_else_has(self, lake: list[pa.Table]) -> None:
        table = pa.concat_tables(lake)
        assert pc.equal(table["TX_FRAUD"], 1).equals(pc.greater(table["TX_FRAUD_SCENARIO"], 0))


class TestRates:
    def test_daily_volume_is_the_wanted_one_but_for_the_week_and_noise(self, lake: list[pa.Table]) -> None:
        rows = np.array([table.num_rows for table in lake])
        assert abs(rows.mean() / 10_000 - 1) < 0.03
        same_weekday = rows[: len(rows) // 7 * 7].reshape(-1, 7)
        assert (np.abs(same_weekday / same_weekday.mean(axis=0) - 1) < 0.07).all()

    def test_saturdays_are_busier_than_sundays(self, lake: list[pa.Table]) -> None:
        rows = {number: [t.num_rows for i, t in enumerate(lake) if day(i).weekday() == number] for number in (5, 6)}
        assert np.mean(rows[5]) > 1.1 * np.mean(rows[6])

    def test_fraud_is_steady_after_a_short_ramp(self, lake: list[pa.Table]) -> None:
        frauds = [pc.sum(table["TX_FRAUD"]).as_py() for table in lake]
        rows = [table.num_rows for table in lake]
        assert sum(frauds[:3]) < 0.75 * sum(frauds[10:13])
        assert 0.006 < sum(frauds[7:30]) / sum(rows[7:30]) < 0.010
        assert 0.006 < sum(frauds[30:]) / sum(rows[30:]) < 0.010

    @pytest.mark.parametrize("volume", [200, 1_000, 10_000])
    def test_no_day_is_without_fraud_and_none_is_mostly_fraud(self, volume: int) -> None:
        for _, table in Simulator(policy(transactions_per_day=volume, days=40)):
            assert 0 < pc.mean(table["TX_FRAUD"]).as_py() < 0.10

    def test_the_wanted_fraud_rate_is_met(self) -> None:
        tables = [table for _, table in Simulator(policy(fraud_rate=0.02)).since(day(10))]
        assert pc.mean(pa.concat_tables(tables)["TX_FRAUD"]).as_py() == pytest.approx(0.02, rel=0.15)

    @pytest.mark.parametrize("volume", [1_000, 10_000, 100_000])
    def test_customers_and_terminals_scale_with_volume(self, volume: int) -> None:
        table = Simulator(policy(transactions_per_day=volume)).table(day(8))
        assert table.num_rows == pytest.approx(volume, rel=0.15)
        assert pc.count_distinct(table["CUSTOMER_ID"]).as_py() == pytest.approx(0.4 * volume, rel=0.1)
        assert pc.count_distinct(table["TERMINAL_ID"]).as_py() > 0.2 * volume

    def test_customers_pay_by_day_and_rarely_at_night(self, lake: list[pa.Table]) -> None:
        honest = of_scenario(lake[:30], 0)
        night = pc.mean(pc.cast(pc.less_equal(pc.hour(honest["TX_DATETIME"]), 6), pa.float64())).as_py()
        assert 0.01 < night < 0.15


class TestFraudsters:
    def test_before_the_shift_only_the_old_tactics_are_played(self, lake: list[pa.Table]) -> None:
        assert set(scenarios(pa.concat_tables(lake[:30]))) == {0, LONE, TESTING, SKIMMED, TAKEOVER}

    def test_new_tactics_begin_on_the_shift_day(self, lake: list[pa.Table]) -> None:
        assert scenarios(lake[30]).get(MULE, 0) + scenarios(lake[30]).get(HOPPING, 0) > 0

    def test_old_tactics_have_faded_three_days_later(self, lake: list[pa.Table]) -> None:
        after = scenarios(pa.concat_tables(lake[33:]))
        assert not {TESTING, SKIMMED} & set(after)
        frauds = sum(count for scenario, count in after.items() if scenario)
        assert (after[MULE] + after[HOPPING]) / frauds > 0.6
        assert after[TAKEOVER] / frauds < 0.25

    def test_without_a_shift_nothing_changes(self) -> None:
        tables = [table for _, table in Simulator(policy(shift_on=None)).since(day(30))]
        table = pa.concat_tables(tables)
        assert not {MULE, HOPPING} & set(scenarios(table))
        assert "wallet" not in table["TX_CHANNEL"].unique().to_pylist()

    def test_a_lake_may_begin_with_the_shift(self) -> None:
        tables = [table for _, table in Simulator(policy(shift_on=START, days=12))]
        assert not {TESTING, SKIMMED} & set(scenarios(pa.concat_tables(tables[3:])))

    def test_customers_take_to_wallets_on_the_shift_day_at_once(self, lake: list[pa.Table]) -> None:
        assert "wallet" not in lake[29]["TX_CHANNEL"].unique().to_pylist()
        wallet = lake[30].filter(pc.equal(lake[30]["TX_CHANNEL"], "wallet"))
        assert wallet.num_rows / lake[30].num_rows == pytest.approx(0.4 * 0.8, rel=0.1)
        assert pc.mean(wallet["TX_AMOUNT"]).as_py() < 0.5 * pc.mean(lake[29]["TX_AMOUNT"]).as_py()

    def test_fraudsters_move_on_from_a_victim(self, lake: list[pa.Table]) -> None:
        taken = of_scenario(lake[:30], TAKEOVER).to_pandas()
        spans = taken.groupby("CUSTOMER_ID").TX_DATETIME.agg(lambda times: (times.max() - times.min()).days)
        assert len(spans) > 50
        assert (spans <= 14).mean() > 0.9

    def test_a_mule_terminal_is_new_and_gone_before_its_labels_mature(self, lake: list[pa.Table]) -> None:
        mules = of_scenario(lake, MULE).to_pandas()
        seen_before = set(pa.concat_tables(lake[:30])["TERMINAL_ID"].unique().to_pylist())
        spans = mules.groupby("TERMINAL_ID").TX_DATETIME.agg(lambda times: (times.max() - times.min()).days)
        assert not set(mules.TERMINAL_ID) & seen_before
        assert len(spans) > 15 and spans.max() <= 7

    def test_no_honest_customer_pays_at_a_mule_terminal(self, lake: list[pa.Table]) -> None:
        mules = set(of_scenario(lake, MULE)["TERMINAL_ID"].to_pylist())
        assert not mules & set(of_scenario(lake, 0)["TERMINAL_ID"].to_pylist())

    def test_new_tactics_mimic_ordinary_amounts_and_hours(self, lake: list[pa.Table]) -> None:
        usual = pc.mean(of_scenario(lake[:30], 0)["TX_AMOUNT"]).as_py()
        new = of_scenario(lake, MULE, HOPPING)
        assert pc.mean(new["TX_AMOUNT"]).as_py() == pytest.approx(usual, rel=0.15)
        hours = pc.hour(new["TX_DATETIME"])
        assert pc.min(hours).as_py() >= 8 and pc.max(hours).as_py() <= 20
        assert pc.mean(of_scenario(lake[:30], TAKEOVER)["TX_AMOUNT"]).as_py() > 3 * usual

    def test_old_tactics_show_in_amounts_hours_and_repeated_terminals(self, lake: list[pa.Table]) -> None:
        takeovers = pc.hour(of_scenario(lake[:30], TAKEOVER)["TX_DATETIME"]).to_numpy()
        assert ((takeovers >= 22) | (takeovers < 5)).mean() > 0.6
        tests = of_scenario(lake[:30], TESTING)["TX_AMOUNT"].to_numpy()
        assert 0.7 < (tests < 5.01).mean() < 0.95
        skimmed = of_scenario(lake[:30], SKIMMED).to_pandas()
        assert skimmed.groupby("TERMINAL_ID").size().max() >= 20


class TestWritingALake:
    def test_the_sink_gets_every_day_once_in_order(self) -> None:
        days: list[date] = []
        small = policy(transactions_per_day=200, days=5)
        rows = write_lake(small, lambda at, table: days.append(at))
        assert days == [day(index) for index in range(5)]
        assert rows == sum(table.num_rows for _, table in Simulator(small))

    def test_a_lake_can_be_continued(self) -> None:
        days: list[date] = []
        write_lake(policy(transactions_per_day=200, days=5), lambda at, table: days.append(at), since=day(3))
        assert days == [day(3), day(4)]

    def test_days_are_made_one_at_a_time(self) -> None:
        made = iter(Simulator(policy(days=3660)))
        assert next(made)[0] == START

    def test_a_day_before_the_start_is_refused(self) -> None:
        with pytest.raises(ValueError, match="before the start"):
            Simulator(policy(transactions_per_day=200)).table(day(-1))


@pytest.mark.parametrize(
    "changes",
    [
        {"shift_on": day(-1)},
        {"days": 0},
        {"transactions_per_day": 10},
        {"fraud_rate": 0.5},
        {"wallet_share": 1.0},
        {"seed": -1},
        {"unknown": 1},
    ],
)
def test_an_impossible_policy_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        policy(**changes)
