"""What fraudsters pay, tactic by tactic."""

from datetime import date

import numpy as np
import pytest

from fraud_retraining.simulation.crews import Strikes
from fraud_retraining.simulation.fraudulent_payments import fraudulent_payments
from fraud_retraining.simulation.payments import Channel, Payments
from fraud_retraining.simulation.policy import SimulationPolicy
from fraud_retraining.simulation.population import Population
from fraud_retraining.simulation.tactics import (
    CARD_TESTING,
    HOPPING,
    LONE_THEFT,
    MULE_TERMINAL,
    SKIMMED_TERMINAL,
    TACTICS,
    TAKEOVER,
    Tactic,
)

STRIKES = Strikes(crew=np.array([0, 1]), campaign=np.array([0, 2]), strikes=np.array([3, 2]))


@pytest.fixture(scope="module")
def population() -> Population:
    return Population(SimulationPolicy(start=date(2026, 1, 1), transactions_per_day=2000))


def played(population: Population, tactic: Tactic) -> Payments:
    (payments,) = fraudulent_payments(population, seed=7, index=3, strikes={tactic: STRIKES})
    return payments


@pytest.mark.parametrize("tactic", TACTICS, ids=lambda tactic: f"scenario {tactic.scenario}")
def test_every_payment_of_a_tactic_is_marked_as_its_fraud(population: Population, tactic: Tactic) -> None:
    payments = played(population, tactic)
    assert len(payments.amount) >= STRIKES.strikes.sum()
    assert set(payments.scenario.tolist()) == {tactic.scenario}
    assert (payments.amount > 0).all()


@pytest.mark.parametrize(
    ("tactic", "channel"),
    [
        (LONE_THEFT, Channel.CONTACTLESS),
        (CARD_TESTING, Channel.ONLINE),
        (SKIMMED_TERMINAL, Channel.CHIP),
        (TAKEOVER, Channel.CHIP),
        (MULE_TERMINAL, Channel.CONTACTLESS),
        (HOPPING, Channel.CONTACTLESS),
    ],
)
def test_a_tactic_has_one_channel(population: Population, tactic: Tactic, channel: Channel) -> None:
    assert set(played(population, tactic).channel.tolist()) == {channel}


def test_card_testing_ends_each_strike_with_a_large_payment(population: Population) -> None:
    payments = played(population, CARD_TESTING)
    large = payments.amount > 5.0
    assert large.sum() == STRIKES.strikes.sum()
    assert (payments.terminal < population.online).all()


def test_a_takeover_uses_one_card_a_campaign(population: Population) -> None:
    assert len(set(played(population, TAKEOVER).customer.tolist())) <= len(STRIKES.crew)


def test_a_skimmed_terminal_is_one_a_campaign(population: Population) -> None:
    assert len(set(played(population, SKIMMED_TERMINAL).terminal.tolist())) <= len(STRIKES.crew)


def test_a_mule_terminal_is_none_of_the_honest_ones_and_new_with_each_campaign(population: Population) -> None:
    payments = played(population, MULE_TERMINAL)
    assert payments.terminal.tolist() == [population.terminals + crew for crew in (0, 0, 0, 1, 1)]
    assert payments.generation.tolist() == [0, 0, 0, 2, 2]


def test_the_same_day_is_played_the_same_again(population: Population) -> None:
    first, again = played(population, HOPPING), played(population, HOPPING)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
