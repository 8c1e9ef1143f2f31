"""What fraudsters pay: one function per tactic, from the day's strikes to payments.

Here: amounts, hours, terminals and victims that distinguish a tactic. Not here: who strikes when (`crews.py`).
Lasting traits of a campaign (its victim, its terminal) come from a hash, all else from the day's own generator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraud_retraining.simulation.behaviour import usual_amounts, usual_seconds
from fraud_retraining.simulation.crews import Strikes
from fraud_retraining.simulation.payments import DAY_SECONDS, Channel, Payments
from fraud_retraining.simulation.population import Population
from fraud_retraining.simulation.randomness import Stream, generator, trait
from fraud_retraining.simulation.tactics import (
    CARD_TESTING,
    HOPPING,
    LONE_THEFT,
    MULE_TERMINAL,
    SKIMMED_TERMINAL,
    TAKEOVER,
    Tactic,
)

_VICTIM, _TERMINAL = 21, 22
_CHANNELS = {
    LONE_THEFT: Channel.CONTACTLESS,
    CARD_TESTING: Channel.ONLINE,
    SKIMMED_TERMINAL: Channel.CHIP,
    TAKEOVER: Channel.CHIP,
    MULE_TERMINAL: Channel.CONTACTLESS,
    HOPPING: Channel.CONTACTLESS,
}


@dataclass(frozen=True)
class Scene:
    """Where and when a tactic is played: the world, the day and the day's own randomness."""

    population: Population
    seed: int
    index: int
    random: np.random.Generator

    def random_customers(self, size: int) -> NDArray[np.int64]:
        """Customers whose cards were stolen at random."""
        return self.random.integers(0, self.population.customers, size)


def fraudulent_payments(
    population: Population, seed: int, index: int, strikes: dict[Tactic, Strikes]
) -> list[Payments]:
    """The payments of every tactic on the day with this number."""
    return [
        _PLAYED[tactic](Scene(population, seed, index, generator(seed, Stream.CRIME, tactic.scenario, index)), doing)
        for tactic, doing in strikes.items()
    ]


def _lone_theft(scene: Scene, doing: Strikes) -> Payments:
    """A stolen card used once, much as its owner would."""
    customer = scene.random_customers(max(1, int(doing.strikes.sum())))
    amount = usual_amounts(scene.population, customer, scene.random) * scene.random.uniform(0.8, 2.0, len(customer))
    second = usual_seconds(scene.population, customer, scene.random, weekend=False)
    terminal = scene.population.terminal_in(scene.population.home[customer], scene.random.random(len(customer)))
    return _fraud(scene, LONE_THEFT, customer, terminal, second, amount)


def _card_testing(scene: Scene, doing: Strikes) -> Payments:
    """A batch of cards is tried with small amounts at one online merchant; then comes the large one."""
    strike = np.repeat(np.arange(len(doing.crew)), doing.strikes)
    burst = _burst(scene, len(strike), 4, 9, mean_gap=45.0, shortest_gap=5.0)
    customer = scene.random_customers(len(strike))[burst.strike]
    merchant = (0.3 + 0.7 * _traits(scene, CARD_TESTING, _TERMINAL, doing))[strike][burst.strike]
    large = scene.population.usual_amount[customer] * scene.random.uniform(2.5, 6.0, len(customer))
    amount = np.where(burst.last, large, scene.random.uniform(0.5, 5.0, len(customer)))
    begin = scene.random.uniform(0, DAY_SECONDS - 3600, len(strike))[burst.strike]
    terminal = scene.population.merchant(merchant)
    return _fraud(scene, CARD_TESTING, customer, terminal, begin + burst.offset, amount)


def _skimmed_terminal(scene: Scene, doing: Strikes) -> Payments:
    """Cards copied at a terminal are used there for weeks, for a little more than their owners spend."""
    district = (scene.population.districts * _traits(scene, SKIMMED_TERMINAL, _VICTIM, doing)).astype(np.int64)
    terminal = scene.population.terminal_in(district, 0.05 + 0.3 * _traits(scene, SKIMMED_TERMINAL, _TERMINAL, doing))
    terminal = np.repeat(terminal, doing.strikes)
    customer = scene.random_customers(len(terminal))
    amount = usual_amounts(scene.population, customer, scene.random) * scene.random.uniform(1.0, 1.6, len(customer))
    second = usual_seconds(scene.population, customer, scene.random, weekend=False)
    return _fraud(scene, SKIMMED_TERMINAL, customer, terminal, second, amount)


def _takeover(scene: Scene, doing: Strikes) -> Payments:
    """One customer's card, at night, far from home, at a multiple of the usual amount."""
    victim = (scene.population.customers * _traits(scene, TAKEOVER, _VICTIM, doing)).astype(np.int64)
    customer = np.repeat(victim, doing.strikes)
    size = len(customer)
    amount = scene.population.usual_amount[customer] * scene.random.uniform(2.5, 7.0, size)
    hour = np.where(
        scene.random.random(size) < 0.75, scene.random.uniform(-2, 5, size), scene.random.uniform(5, 22, size)
    )
    terminal = scene.population.quiet_terminal(scene.random.random(size), scene.random.random(size))
    return _fraud(scene, TAKEOVER, customer, terminal, (hour % 24) * 3600, amount)


def _mule_terminal(scene: Scene, doing: Strikes) -> Payments:
    """A terminal of the fraudsters' own: new, by day, ordinary amounts, many cards; gone before a label is mature."""
    crew = np.repeat(doing.crew, doing.strikes)
    customer = scene.random_customers(len(crew))
    amount = usual_amounts(scene.population, customer, scene.random) * scene.random.uniform(0.8, 1.2, len(customer))
    second = 3600 * scene.random.uniform(9, 20, len(customer))
    payments = _fraud(scene, MULE_TERMINAL, customer, scene.population.terminals + crew, second, amount)
    return payments._replace(generation=np.repeat(doing.campaign, doing.strikes))


def _hopping(scene: Scene, doing: Strikes) -> Payments:
    """One card on a tour of quiet terminals by day, each time for an ordinary amount."""
    strikes = int(doing.strikes.sum())
    burst = _burst(scene, strikes, 5, 10, mean_gap=80.0, shortest_gap=40.0)
    customer = scene.random_customers(strikes)[burst.strike]
    size = len(customer)
    amount = usual_amounts(scene.population, customer, scene.random) * scene.random.uniform(0.8, 1.2, size)
    begin = 3600 * scene.random.uniform(8, 18, strikes)[burst.strike]
    terminal = scene.population.quiet_terminal(scene.random.random(size), scene.random.random(size))
    return _fraud(scene, HOPPING, customer, terminal, begin + burst.offset, amount)


class _Burst(NamedTuple):
    """Payments in quick succession: to which strike each belongs, seconds since its first, whether it is the last."""

    strike: NDArray[np.int64]
    offset: NDArray[np.float64]
    last: NDArray[np.bool_]


def _burst(scene: Scene, strikes: int, fewest: int, limit: int, *, mean_gap: float, shortest_gap: float) -> _Burst:
    sizes = scene.random.integers(fewest, limit, strikes)
    strike = np.repeat(np.arange(strikes), sizes)
    ends = np.cumsum(sizes)
    gaps = np.minimum(shortest_gap + scene.random.exponential(mean_gap, len(strike)), 6 * mean_gap)
    elapsed = np.cumsum(gaps)
    last = np.zeros(len(strike), dtype=np.bool_)
    last[ends - 1] = True
    return _Burst(strike, elapsed - elapsed[ends - sizes][strike], last)


def _traits(scene: Scene, tactic: Tactic, purpose: int, doing: Strikes) -> NDArray[np.float64]:
    return trait(scene.seed, purpose, np.full(len(doing.crew), tactic.scenario), doing.crew, doing.campaign)


def _fraud(
    scene: Scene,
    tactic: Tactic,
    customer: NDArray[np.int64],
    terminal: NDArray[np.int64],
    second: NDArray[np.float64],
    amount: NDArray[np.float64],
) -> Payments:
    return Payments(
        customer=customer,
        terminal=terminal,
        generation=scene.population.generation(terminal, scene.index),
        second=second,
        amount=amount,
        channel=np.full(len(customer), _CHANNELS[tactic], dtype=np.int8),
        scenario=np.full(len(customer), tactic.scenario, dtype=np.int8),
    )


_PLAYED: dict[Tactic, Callable[[Scene, Strikes], Payments]] = {
    LONE_THEFT: _lone_theft,
    CARD_TESTING: _card_testing,
    SKIMMED_TERMINAL: _skimmed_terminal,
    TAKEOVER: _takeover,
    MULE_TERMINAL: _mule_terminal,
    HOPPING: _hopping,
}
