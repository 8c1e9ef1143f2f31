"""Crews of fraudsters: who strikes on which day."""

from datetime import date, timedelta

import numpy as np
import pytest

from fraud_retraining.simulation.crews import Roster
from fraud_retraining.simulation.policy import SimulationPolicy
from fraud_retraining.simulation.tactics import MULE_TERMINAL

START = date(2026, 1, 1)
POLICY = SimulationPolicy(start=START, transactions_per_day=20_000, shift_on=START + timedelta(days=40), seed=3)


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(
        all(np.array_equal(a, b) for a, b in zip(one[tactic], other[tactic], strict=True)) for tactic in one
    )


def test_a_day_is_the_same_after_any_other_day() -> None:
    roster = Roster(POLICY)
    later, earlier = roster.on(30), roster.on(5)
    assert same(later, Roster(POLICY).on(30))
    assert same(earlier, Roster(POLICY).on(5))


def test_strikes_are_of_crews_that_have_some() -> None:
    for strikes in Roster(POLICY).on(20).values():
        assert (strikes.strikes > 0).all()
        assert len(strikes.crew) == len(set(strikes.crew.tolist()))


def test_a_crew_that_was_caught_begins_another_campaign() -> None:
    roster = Roster(POLICY)
    seen: dict[int, int] = {}
    for index in range(60):
        mules = roster.on(index)[MULE_TERMINAL]
        for crew, campaign in zip(mules.crew.tolist(), mules.campaign.tolist(), strict=True):
            assert campaign >= seen.get(crew, 0)
            seen[crew] = campaign
    assert max(seen.values()) > 0


def test_a_gradual_shift_replaces_crews_one_after_the_other() -> None:
    """Mule terminals exist after the shift alone; a gradual one brings a few of their crews each day."""

    def mules(shift_days: int) -> list[int]:
        roster = Roster(POLICY.model_copy(update={"shift_days": shift_days}))
        return [len(roster.on(index)[MULE_TERMINAL].crew) for index in (39, 42, 50, 60)]

    sudden, gradual = mules(3), mules(20)
    assert sudden[0] == gradual[0] == 0
    assert sudden[1] == pytest.approx(sudden[3], rel=0.2)
    assert gradual == sorted(gradual) and 0 < gradual[1] < gradual[2] < gradual[3]
    assert gradual[3] == pytest.approx(sudden[3], rel=0.2)
