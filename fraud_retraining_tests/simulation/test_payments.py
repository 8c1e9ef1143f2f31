"""Payments, and the table of a day that is made from them."""

from datetime import date, datetime

import numpy as np

from fraud_retraining.simulation.payments import LAKE_SCHEMA, Channel, Payments, day_table

DAY = date(2026, 1, 2)


def payments(*seconds: float, channel: Channel = Channel.CHIP, scenario: int = 0, amount: float = 10.0) -> Payments:
    size = len(seconds)
    return Payments(
        customer=np.arange(size),
        terminal=np.arange(size),
        generation=np.zeros(size, dtype=np.int64),
        second=np.array(seconds, dtype=np.float64),
        amount=np.full(size, amount),
        channel=np.full(size, channel, dtype=np.int8),
        scenario=np.full(size, scenario, dtype=np.int8),
    )


def table(given: Payments, day: date = DAY):
    return day_table(day, given, terminal_id=given.terminal, distance=np.full(len(given.second), 1.26))


def test_payments_of_several_sources_are_put_in_order_of_time() -> None:
    whole = Payments.together([payments(30.0, 10.0), payments(20.0, scenario=4)]).in_order()
    assert whole.second.tolist() == [10.0, 20.0, 30.0]
    assert whole.scenario.tolist() == [0, 4, 0]


def test_payments_of_the_same_time_keep_their_order() -> None:
    assert payments(5.0, 5.0, 5.0).in_order().customer.tolist() == [0, 1, 2]


def test_a_day_has_the_lake_s_columns_and_its_own_times() -> None:
    found = table(payments(0.0, 86_399.9999))
    assert found.schema == LAKE_SCHEMA
    assert found["TX_DATETIME"].to_pylist() == [datetime(2026, 1, 2), datetime(2026, 1, 2, 23, 59, 59, 999000)]


def test_no_time_reaches_into_the_next_day() -> None:
    (time,) = table(payments(86_400.0))["TX_DATETIME"].to_pylist()
    assert time.date() == DAY


def test_ids_grow_within_a_day_and_from_day_to_day() -> None:
    first = table(payments(1.0, 2.0))["TRANSACTION_ID"].to_pylist()
    later = table(payments(1.0), date(2026, 1, 3))["TRANSACTION_ID"].to_pylist()
    assert first == sorted(set(first))
    assert first[-1] < later[0]


def test_an_online_payment_has_no_distance() -> None:
    assert table(payments(1.0, channel=Channel.ONLINE))["TX_DISTANCE_KM"].to_pylist() == [None]
    assert table(payments(1.0))["TX_DISTANCE_KM"].to_pylist() == [1.3]


def test_a_scenario_is_a_fraud_and_none_is_not() -> None:
    assert table(payments(1.0, scenario=2))["TX_FRAUD"].to_pylist() == [1]
    assert table(payments(1.0))["TX_FRAUD"].to_pylist() == [0]


def test_no_payment_is_of_nothing() -> None:
    assert table(payments(1.0, amount=0.0001))["TX_AMOUNT"].to_pylist() == [0.01]
