"""The tactics of simulated fraudsters, and what they change to.

Here: how each tactic works, and its share of all frauds before and after the shift. Not here: who works when
(`crews.py`) and the payments of a tactic (`fraudulent_payments.py`).
"""

from typing import NamedTuple


class Tactic(NamedTuple):
    """How a kind of fraudster works, and its share of all frauds before and after the shift; shares sum to 1."""

    scenario: int
    share_before: float
    share_after: float
    strikes_a_day: float
    payments_a_strike: float
    caught: float
    strikes_survived: int
    longest_days: int


LONE_THEFT = Tactic(1, 0.08, 0.08, 1.0, 1.0, 1.0, 1, 1)
CARD_TESTING = Tactic(2, 0.20, 0.00, 1.0, 6.0, 0.3, 4, 14)
SKIMMED_TERMINAL = Tactic(3, 0.32, 0.00, 2.0, 1.0, 0.05, 4, 30)
TAKEOVER = Tactic(4, 0.40, 0.15, 1.5, 1.0, 0.25, 3, 14)
MULE_TERMINAL = Tactic(5, 0.00, 0.60, 5.0, 1.0, 0.1, 4, 7)
HOPPING = Tactic(6, 0.00, 0.17, 1.0, 7.0, 0.5, 1, 3)
TACTICS = (LONE_THEFT, CARD_TESTING, SKIMMED_TERMINAL, TAKEOVER, MULE_TERMINAL, HOPPING)
