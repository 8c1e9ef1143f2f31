"""What honest customers do on a day: how many payments, when, where, how much, by which channel.

Here: habits of the population, among them the move to wallets on the shift day. Not here: anything that is fraud.
"""

from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from fraud_retraining.simulation.payments import DAY_SECONDS, Channel, Payments
from fraud_retraining.simulation.policy import SimulationPolicy
from fraud_retraining.simulation.population import Population
from fraud_retraining.simulation.randomness import Stream, generator

_WEEKDAY_FACTORS = (0.98, 0.97, 0.99, 1.01, 1.06, 1.08, 0.91)
_VOLUME_NOISE = 0.015
_AMOUNT_SHAPE = 4.0
_LARGE_PURCHASE_CHANCE, _LARGE_PURCHASE_TIMES = 0.01, (2.5, 6.0)
_ERRAND_CHANCE, _ERRAND_SHORTEST, _ERRAND_SECONDS = 0.2, 180.0, 1200.0
_ANY_TIME_CHANCE, _AWAY_CHANCE, _EXPLORING_CHANCE = 0.06, 0.05, 0.12
_WALLET_TIMES = 0.25


def honest_payments(policy: SimulationPolicy, population: Population, index: int) -> Payments:
    """The honest payments of the day with this number, by customer."""
    random = generator(policy.seed, Stream.HONEST, index)
    weekday = (policy.start + timedelta(days=index)).weekday()
    customer = _who_pays(policy, population, weekday, random)
    channel = _channels(population, customer, random)
    amount = usual_amounts(population, customer, random)
    large = random.random(len(customer)) < _LARGE_PURCHASE_CHANCE
    amount = np.where(large, amount * random.uniform(*_LARGE_PURCHASE_TIMES, len(customer)), amount)
    second = _with_errands(customer, usual_seconds(population, customer, random, weekday >= 5), random)
    terminal = _where(population, customer, channel, random)
    moves = (channel != Channel.ONLINE) & (random.random(len(customer)) < policy.wallet_share)
    if policy.is_shifted(index):
        channel = np.where(moves, Channel.WALLET, channel)
        amount = np.where(moves, amount * _WALLET_TIMES, amount)
    return Payments(
        customer=customer,
        terminal=terminal,
        generation=population.generation(terminal, index),
        second=second,
        amount=amount,
        channel=channel.astype(np.int8),
        scenario=np.zeros(len(customer), dtype=np.int8),
    )


def usual_amounts(
    population: Population, customer: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.float64]:
    """Amounts as these customers are used to spend them."""
    return population.usual_amount[customer] * random.gamma(_AMOUNT_SHAPE, 1 / _AMOUNT_SHAPE, len(customer))


def usual_seconds(
    population: Population, customer: NDArray[np.int64], random: np.random.Generator, weekend: bool
) -> NDArray[np.float64]:
    """Times of the day at which these customers are used to pay; later at the weekend."""
    size = len(customer)
    hour = population.usual_hour[customer] + (1.2 if weekend else 0.0) + random.normal(0, 3.5, size)
    hour = np.where(random.random(size) < _ANY_TIME_CHANCE, random.uniform(0, 24, size), hour)
    return (hour % 24) * 3600


def _who_pays(
    policy: SimulationPolicy, population: Population, weekday: int, random: np.random.Generator
) -> NDArray[np.int64]:
    honest = (policy.transactions_per_day - policy.frauds_per_day) / population.payments_a_day.sum()
    volume = honest * _WEEKDAY_FACTORS[weekday] * np.exp(random.normal(0, _VOLUME_NOISE))
    counts = random.poisson(population.payments_a_day * volume)
    return np.repeat(np.arange(population.customers, dtype=np.int64), counts)


def _channels(population: Population, customer: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    in_person = np.where(
        random.random(len(customer)) < population.contactless_share[customer], Channel.CONTACTLESS, Channel.CHIP
    )
    return np.where(random.random(len(customer)) < population.online_share[customer], Channel.ONLINE, in_person)


def _with_errands(
    customer: NDArray[np.int64], second: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.float64]:
    """Some payments follow the customer's other one within minutes, so that haste alone is not suspicious."""
    soon = np.roll(second, 1) + _ERRAND_SHORTEST + random.exponential(_ERRAND_SECONDS, len(second))
    follows = (random.random(len(second)) < _ERRAND_CHANCE) & (customer == np.roll(customer, 1)) & (soon < DAY_SECONDS)
    follows[:1] = False
    return np.where(follows, soon, second)


def _where(
    population: Population, customer: NDArray[np.int64], channel: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int64]:
    size = len(customer)
    chance, habit = random.random(size), random.random(size)
    away = habit < _AWAY_CHANCE
    district = np.where(away, random.integers(0, population.districts, size), population.home[customer])
    terminal = population.favourite(customer, chance)
    explored = population.terminal_in(district, chance)
    terminal = np.where(habit < _AWAY_CHANCE + _EXPLORING_CHANCE, explored, terminal)
    return np.where(channel == Channel.ONLINE, population.merchant(chance), terminal)
