"""Customers and terminals, from the seed alone."""

from datetime import date

import numpy as np
import pytest

from fraud_retraining.simulation.policy import SimulationPolicy
from fraud_retraining.simulation.population import Population

CHANCES = np.linspace(0, 1, 1001)[:-1]


@pytest.fixture(scope="module")
def population() -> Population:
    return Population(SimulationPolicy(start=date(2026, 1, 1), transactions_per_day=2000))


def test_a_terminal_of_a_district_lies_in_it(population: Population) -> None:
    for district in range(population.districts):
        found = population.terminal_in(np.full(len(CHANCES), district), CHANCES)
        assert (population.district_of(found) == district).all()
        assert ((found >= population.online) & (found < population.terminals)).all()


def test_low_chances_give_the_popular_terminals(population: Population) -> None:
    found = population.terminal_in(np.zeros(len(CHANCES), dtype=np.int64), CHANCES)
    assert (np.diff(found) >= 0).all()
    assert (found == found[0]).sum() > (found == found[-1]).sum()


def test_a_quiet_terminal_is_one_in_person(population: Population) -> None:
    found = population.quiet_terminal(CHANCES, CHANCES[::-1])
    assert ((found >= population.online) & (found < population.terminals)).all()


def test_a_merchant_is_online(population: Population) -> None:
    found = population.merchant(CHANCES)
    assert ((found >= 0) & (found < population.online)).all()


def test_a_terminal_is_replaced_more_often_as_days_pass(population: Population) -> None:
    terminals = np.arange(population.terminals)
    ages = [population.generation(terminals, index) for index in (0, 100, 1000)]
    assert (ages[0] <= ages[1]).all()
    assert (ages[1] <= ages[2]).all()
    assert (ages[2] > ages[0]).any()
    assert (ages[2][: population.online] == 0).all(), "online merchants last"


def test_a_customer_is_near_the_terminals_of_the_own_district(population: Population) -> None:
    customers = np.arange(population.customers)
    near = population.distance(customers, population.favourites[:, 0].astype(np.int64))
    assert (near <= 10 * np.sqrt(2)).all()
