"""Fraudsters and their careers: who is at work on a day, in which campaign, and when they move on.

Here: the roster that follows every crew from day to day: a crew works a campaign
(a stolen card, a terminal, a batch of cards) until it was caught too often or the campaign has grown old, and begins
the next one elsewhere on the following day. Not here: what the tactics are (`tactics.py`) and the payments
of a campaign (`fraudulent_payments.py`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraud_retraining.simulation.policy import SimulationPolicy
from fraud_retraining.simulation.randomness import Stream, generator, trait
from fraud_retraining.simulation.tactics import MULE_TERMINAL, TACTICS, Tactic

RAMP_DAYS = 7
_AGE_AT_START = 11


class Strikes(NamedTuple):
    """What the crews of one tactic do on a day: crew, number of its campaign, strikes; only those that strike."""

    crew: NDArray[np.int64]
    campaign: NDArray[np.int64]
    strikes: NDArray[np.int64]


class Crews:
    """The crews of one tactic, each in a campaign of its own."""

    def __init__(self, policy: SimulationPolicy, tactic: Tactic) -> None:
        self._seed, self._tactic = policy.seed, tactic
        largest = max(tactic.share_before, tactic.share_after)
        strikes = largest * policy.frauds_per_day / tactic.payments_a_strike
        self.size = max(1, round(strikes / tactic.strikes_a_day))
        self._strikes_a_day = strikes / self.size
        crew = np.arange(self.size, dtype=np.int64)
        self._begins, self._ends = self._career(policy, crew, largest)
        self.campaign = np.zeros(self.size, dtype=np.int64)
        self._caught = np.zeros(self.size, dtype=np.int64)
        age = tactic.longest_days * trait(self._seed, _AGE_AT_START, crew + 1000 * tactic.scenario)
        self._age = np.where(self._begins < RAMP_DAYS, age.astype(np.int64), 0)

    def _career(
        self, policy: SimulationPolicy, crew: NDArray[np.int64], largest: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First day at work and first day no more, for each crew."""
        never, shift = np.iinfo(np.int64).max, policy.shift_index
        change = np.full(self.size, never) if shift is None else shift + crew % policy.shift_days
        from_start = crew < round(self.size * self._tactic.share_before / largest)
        stays = crew < round(self.size * self._tactic.share_after / largest)
        return np.where(from_start, crew * RAMP_DAYS // self.size, change), np.where(stays, never, change)

    def work(self, index: int) -> Strikes:
        """The strikes of the day with this number; afterwards every crew is where the next day finds it."""
        # A generator of its own a day and tactic: changing one tactic leaves all other draws as they were.
        random = generator(self._seed, Stream.CREW, self._tactic.scenario, index)
        at_work = (self._begins <= index) & (index < self._ends)
        strikes = random.poisson(self._strikes_a_day, self.size) * at_work
        caught = random.binomial(strikes, self._tactic.caught)
        busy = np.flatnonzero(strikes)
        day = Strikes(busy, self.campaign[busy], strikes[busy])
        self._move_on(at_work, caught)
        return day

    def _move_on(self, at_work: NDArray[np.bool_], caught: NDArray[np.int64]) -> None:
        self._age += at_work
        self._caught += caught
        over = (self._caught >= self._tactic.strikes_survived) | (self._age >= self._tactic.longest_days)
        self.campaign += over
        self._caught[over] = 0
        self._age[over] = 0


class Roster:
    """All crews of a lake. For days in order it steps; for an earlier day it starts again."""

    def __init__(self, policy: SimulationPolicy) -> None:
        self._policy = policy
        self._restart()

    def _restart(self) -> None:
        self._next = 0
        self._crews = {tactic: Crews(self._policy, tactic) for tactic in TACTICS}

    def mule_terminals(self) -> int:
        """How many terminals the fraudsters run at any one time."""
        return self._crews[MULE_TERMINAL].size

    def on(self, index: int) -> dict[Tactic, Strikes]:
        """What every tactic's crews do on the day with this number."""
        if index < self._next:
            self._restart()
        while True:
            strikes = {tactic: crews.work(self._next) for tactic, crews in self._crews.items()}
            self._next += 1
            if self._next > index:
                return strikes
