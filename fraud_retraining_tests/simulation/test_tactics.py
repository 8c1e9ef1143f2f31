"""The tactics of simulated fraudsters."""

import pytest

from fraud_retraining.simulation.tactics import HOPPING, MULE_TERMINAL, TACTICS


def test_shares_of_tactics_sum_to_one_before_and_after_the_shift() -> None:
    assert sum(tactic.share_before for tactic in TACTICS) == pytest.approx(1)
    assert sum(tactic.share_after for tactic in TACTICS) == pytest.approx(1)


def test_the_shift_brings_tactics_that_were_not_there() -> None:
    new = {tactic for tactic in TACTICS if tactic.share_before == 0}
    assert new == {MULE_TERMINAL, HOPPING}
    assert sum(tactic.share_after for tactic in new) > 0.5
