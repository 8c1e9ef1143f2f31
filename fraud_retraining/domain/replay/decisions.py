"""What the decisions of the settings came to under a policy: transactions that reached the least score of each.

Here: the counts by day, and their mean. Not here: the least scores and score mappings
(`commands/implementation/replay_decisions.py`).
"""

from collections.abc import Sequence
from datetime import date

from pydantic import Field

from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.plain_tables import NONE, Cell, Grid, grid, number


class DecisionDay(Value):
    """One served day of a decision."""

    day: date
    at: float = Field(description="The least score of the version that served.")
    alerts: int = Field(description="Transactions that reached it, labelled or not.")
    rows: int


class ReplayedDecision(Value):
    """A decision under a policy; days on which no version had a least score for it are left out."""

    name: str
    days: tuple[DecisionDay, ...]

    @property
    def per_day(self) -> float | None:
        """Mean alerts a day."""
        return sum(day.alerts for day in self.days) / len(self.days) if self.days else None


def decisions_grid(policies: Sequence[tuple[str, Sequence[ReplayedDecision]]]) -> Grid | None:
    """Alerts a day of each decision under each policy, by its name; None where the settings name no decision."""
    rows: list[tuple[Cell, ...]] = [
        (
            one.name,
            policy,
            number(one.per_day, ",.1f"),
            number(min((day.alerts for day in one.days), default=None), ",d"),
            number(max((day.alerts for day in one.days), default=None), ",d"),
            _scores(one),
        )
        for place in range(max((len(found) for _, found in policies), default=0))
        for policy, found in policies
        for one in found[place : place + 1]
    ]
    columns = ("decision", "policy", "alerts a day", "least", "most", "from score")
    note = (
        "Transactions that reach the least score of each decision, by scores as they would be served (scores.contract)."
    )
    return grid("decision_alerts", "What decisions come to", columns, rows, note) if rows else None


def _scores(one: ReplayedDecision) -> str:
    """The least scores over the days: one where it stayed."""
    scores = [day.at for day in one.days]
    if not scores:
        return NONE
    low, high = f"{min(scores):.4g}", f"{max(scores):.4g}"
    return low if low == high else f"{low} to {high}"
