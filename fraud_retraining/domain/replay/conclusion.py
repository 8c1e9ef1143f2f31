"""A replay in one sentence, which compares the best policy with the present settings.

Here: which policies are named, and the words. Not here: the numbers (`results.py`, `comparison.py`).
"""

from collections.abc import Sequence

from fraud_retraining.domain.replay.comparison import mean_difference
from fraud_retraining.domain.replay.policies import NEVER, PRESENT
from fraud_retraining.domain.replay.results import PolicyResult

DAYS_A_MONTH = 30.4


def best(policies: Sequence[PolicyResult]) -> PolicyResult:
    """The policy with the greatest average precision; of equal ones that with the least compute."""
    return max(policies, key=lambda one: (one.average_precision or 0.0, -one.hours))


def conclusion(policies: Sequence[PolicyResult], budget: int, confidence: float) -> str:
    """The sentence: the best policy instead of the present settings; if these are best, instead of no retrain.

    It says so where the interval of the difference holds 0.
    """
    by_name = {one.name: one for one in policies}
    winner = best(policies)
    other = by_name[NEVER.name] if winner.name == PRESENT.name else by_name[PRESENT.name]
    gained = mean_difference(
        [day.average_precision for day in winner.days], [day.average_precision for day in other.days], confidence
    )
    if gained is None:
        return f"No served day has a fraud: nothing can be said about {winner.name}."
    month = (winner.amount_caught - other.amount_caught) / len(winner.days) * DAYS_A_MONTH
    chance = "" if gained.low > 0 else "; chance could explain the difference"
    return (
        f"{winner.name} instead of {other.name}: {_signed(gained.value)} average precision, "
        f"an amount of {month:,.0f} a month at {budget} alerts a day, for {_hours(winner.hours)} of compute{chance}."
    )


def _signed(value: float) -> str:
    """A difference with two decimals and its sign, without a leading 0.

    >>> _signed(0.081), _signed(-0.2)
    ('+.08', '-.20')
    """
    return f"{value:+.2f}".replace("0.", ".", 1)


def _hours(hours: float) -> str:
    if hours >= 10:
        return f"{hours:,.0f} hours"
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.0f} minutes"
