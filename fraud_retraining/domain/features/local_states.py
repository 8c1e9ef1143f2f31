"""States and the transactions since, kept by one process for itself.

Not here: places that several processes share (`adapters/online/redis_states.py`), and features (`live.py`).
"""

from datetime import date

from fraud_retraining.domain.features.key_tables import StateTable
from fraud_retraining.domain.features.live import (
    DAY,
    KEPT_STATES,
    Known,
    OnlineState,
    StateAge,
    StateName,
    age_among,
    by_day,
    part,
)
from fraud_retraining.domain.features.online import Batch, RecentDay
from fraud_retraining.domain.features.plan import FeaturePlan


class LocalStates:
    """`LiveStates` of one process, for one thread at a time."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._plan = plan
        self._states: dict[date, OnlineState] = {}
        self._days: dict[date, RecentDay] = {}
        self._nothing = {entity: StateTable.empty(plan, entity) for entity in plan.entities}
        self.lacks_transactions = True

    @property
    def newest(self) -> StateName | None:
        """The state that was published for the latest day."""
        if not self._states:
            return None
        state = self._states[max(self._states)]
        return StateName(state.day, state.digest)

    def filled(self) -> None:
        """Says that everything that was scored before has been added."""
        self.lacks_transactions = False

    def follow(self) -> None:
        """Nobody else publishes here."""

    def prepare(self, state: OnlineState) -> bool:
        """A state is used where it is."""
        return True

    def publish(self, state: OnlineState) -> None:
        """Takes a state over."""
        self._states[state.day] = state
        newest = max(self._states)
        self._states = {day: one for day, one in self._states.items() if day > newest - KEPT_STATES * DAY}
        self._days[state.day] = state.recent
        self._days = {day: one for day, one in self._days.items() if day >= newest - KEPT_STATES * DAY}

    def age_on(self, day: date) -> StateAge:
        """The state that transactions of a day are scored with."""
        return age_among(self._states, day)

    def add(self, batch: Batch) -> None:
        """Adds transactions that are not scored here."""
        for day, rows in by_day(batch).items():
            self._day(day).add(part(batch, rows))

    def know(self, day: date, batch: Batch) -> Known:
        """Adds transactions of a day, and gives what is known of their keys then."""
        today, age = self._day(day), self.age_on(day)
        today.add(batch)
        entities = self._states[age.day].entities if age.day is not None else self._nothing
        return Known(age, entities, today, self._days.get(day - DAY))

    def _day(self, day: date) -> RecentDay:
        if day not in self._days:
            self._days[day] = RecentDay(self._plan, day)
            # Days of no state are few, whatever is sent; those that the newest state goes with stay.
            newest = max(self._states, default=None)
            others = [one for one in self._days if newest is None or abs(one - newest) > DAY]
            for old in sorted(others)[: -(KEPT_STATES + 2)]:
                del self._days[old]
        return self._days.setdefault(day, RecentDay(self._plan, day))
