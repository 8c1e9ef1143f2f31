"""What honest customers do on a day."""

from datetime import date, timedelta

import numpy as np
import pytest

from fraud_retraining.simulation.behaviour import honest_payments, usual_amounts, usual_seconds
from fraud_retraining.simulation.payments import DAY_SECONDS, Channel
from fraud_retraining.simulation.policy import SimulationPolicy
from fraud_retraining.simulation.population import Population
from fraud_retraining.simulation.randomness import Stream, generator

START = date(2026, 1, 5)
"""A Monday."""
POLICY = SimulationPolicy(start=START, transactions_per_day=20_000, shift_on=START + timedelta(days=10))


@pytest.fixture(scope="module")
def population() -> Population:
    return Population(POLICY)


def test_honest_payments_are_no_frauds_and_lie_within_the_day(population: Population) -> None:
    day = honest_payments(POLICY, population, 0)
    assert (day.scenario == 0).all()
    assert ((day.second >= 0) & (day.second < DAY_SECONDS)).all()
    assert (day.amount > 0).all()


def test_online_payments_are_at_merchants_and_others_in_person(population: Population) -> None:
    day = honest_payments(POLICY, population, 0)
    assert ((day.terminal < population.online) == (day.channel == Channel.ONLINE)).all()


def test_wallets_appear_on_the_day_of_the_shift_in_the_share_of_the_policy(population: Population) -> None:
    before, after = honest_payments(POLICY, population, 9), honest_payments(POLICY, population, 10)
    assert not (before.channel == Channel.WALLET).any()
    in_person = after.channel != Channel.ONLINE
    assert (after.channel[in_person] == Channel.WALLET).mean() == pytest.approx(POLICY.wallet_share, abs=0.02)


def test_without_wallets_the_day_is_otherwise_the_same(population: Population) -> None:
    unshifted = POLICY.model_copy(update={"shift_on": None})
    shifted, plain = honest_payments(POLICY, population, 12), honest_payments(unshifted, population, 12)
    assert (shifted.customer == plain.customer).all()
    assert (shifted.second == plain.second).all()
    moved = shifted.channel == Channel.WALLET
    assert (shifted.amount[~moved] == plain.amount[~moved]).all()
    assert (shifted.amount[moved] < plain.amount[moved]).all()


def test_amounts_are_about_what_the_customer_usually_spends(population: Population) -> None:
    customer = np.zeros(20_000, dtype=np.int64)
    amounts = usual_amounts(population, customer, generator(7, Stream.HONEST, 0))
    assert amounts.mean() == pytest.approx(population.usual_amount[0], rel=0.02)


def test_customers_pay_later_at_the_weekend(population: Population) -> None:
    customer = np.full(20_000, np.argmin(np.abs(population.usual_hour - 12)))
    hours = [
        usual_seconds(population, customer, generator(7, Stream.HONEST, 0), weekend).mean() / 3600
        for weekend in (False, True)
    ]
    assert hours[1] - hours[0] == pytest.approx(1.1, abs=0.3)
