"""Features of transactions of any day that can be scored now, and how old the state is that they rest on.

Here: which state and which days' transactions a transaction is scored with. Not here: the features themselves
(`online.py`), and where states come from (`adapters/online/`).

The state after day D serves transactions of D+1. It is published once D is ingested; until then transactions of D+1 are
scored with the state before, a day late. What is late is said with each transaction. A transaction of D or of D-1 that
comes after the state of D was published is scored with the state of its own day, as the lake will see it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraud_retraining.domain.features.key_tables import StateTable
from fraud_retraining.domain.features.online import Batch, EntityState, OnlineFeatures, RecentDay
from fraud_retraining.domain.features.plan import FeaturePlan

DAY = timedelta(days=1)
KEPT_STATES = 2
"""The newest state and the one before it, for transactions that come after midnight."""


class OnlineState(NamedTuple):
    """What is known when the day after `day` begins: statistics by entity, and the transactions of `day` itself."""

    day: date
    digest: str
    entities: Mapping[str, EntityState]
    recent: RecentDay


class StateAge(NamedTuple):
    """The state that features rest on: its last whole day, and how many days that is too early. None: there is none."""

    day: date | None
    days_late: int = 0

    @property
    def exact(self) -> bool:
        """Whether it is the state of the transaction's own day."""
        return self.day is not None and not self.days_late


class LiveRows(NamedTuple):
    """The features that are computed here, of transactions in any order: float32, an entry each; and their states."""

    features: dict[str, NDArray[np.float32]]
    ages: list[StateAge]


class LiveFeatures:
    """The states that are published, and the transactions since; for one thread at a time."""

    def __init__(self, plan: FeaturePlan) -> None:
        self.plan = plan
        self._features = OnlineFeatures(plan)
        self._states: dict[date, OnlineState] = {}
        self._days: dict[date, RecentDay] = {}
        self._nothing = {entity: StateTable.empty(plan, entity) for entity in plan.entities}

    @property
    def newest(self) -> OnlineState | None:
        """The state that was published for the latest day."""
        return self._states[max(self._states)] if self._states else None

    def publish(self, state: OnlineState) -> None:
        """Takes a state over. One of an earlier day than the newest serves late transactions alone.

        The lake's transactions of its day take the place of those that were scored: rows that the lake refused, or that
        never came here, count as they do in the lake.
        """
        self._states[state.day] = state
        newest = max(self._states)
        self._states = {day: one for day, one in self._states.items() if day > newest - KEPT_STATES * DAY}
        self._days[state.day] = state.recent
        self._days = {day: one for day, one in self._days.items() if day >= newest - KEPT_STATES * DAY}

    def add(self, batch: Batch) -> None:
        """Adds transactions that are not scored here."""
        for day, rows in _by_day(batch).items():
            self._day(day).add(_part(batch, rows))

    def age_on(self, day: date) -> StateAge:
        """The state that transactions of a day are scored with."""
        found = max((one for one in self._states if one < day), default=None)
        return StateAge(found, (day - found).days - 1) if found is not None else StateAge(None)

    def features(self, batch: Batch) -> LiveRows:
        """Adds transactions, and gives their features with what is known now."""
        days = _by_day(batch)
        if len(days) == 1:
            ((day, _),) = days.items()
            return LiveRows(self._features_of(day, batch), [self.age_on(day)] * len(batch.ids))
        columns: dict[str, NDArray[np.float32]] = {}
        ages: list[StateAge] = [StateAge(None)] * len(batch.ids)
        for day, rows in sorted(days.items()):
            for name, values in self._features_of(day, _part(batch, rows)).items():
                columns.setdefault(name, np.empty(len(batch.ids), np.float32))[rows] = values
            for row in rows:
                ages[row] = self.age_on(day)
        return LiveRows(columns, ages)

    def _features_of(self, day: date, batch: Batch) -> dict[str, NDArray[np.float32]]:
        today, age = self._day(day), self.age_on(day)
        today.add(batch)
        state = self._states[age.day] if age.day is not None else None
        known = state.entities if state is not None else self._nothing
        return self._features.of(batch, states=known, today=today, yesterday=self._days.get(day - DAY))

    def _day(self, day: date) -> RecentDay:
        if day not in self._days:
            self._days[day] = RecentDay(self.plan, day)
            # Days of no state are few, whatever is sent; those that the newest state goes with stay.
            newest = max(self._states, default=None)
            others = [one for one in self._days if newest is None or abs(one - newest) > DAY]
            for old in sorted(others)[: -(KEPT_STATES + 2)]:
                del self._days[old]
        return self._days.setdefault(day, RecentDay(self.plan, day))


def _by_day(batch: Batch) -> dict[date, list[int]]:
    """Places of a batch's transactions by their day."""
    days = batch.timestamps.astype("datetime64[D]").tolist()
    if days.count(days[0]) == len(days) if days else True:
        return {days[0]: list(range(len(days)))} if days else {}
    places: dict[date, list[int]] = defaultdict(list)
    for place, day in enumerate(days):
        places[day].append(place)
    return dict(places)


def _part(batch: Batch, places: Sequence[int]) -> Batch:
    if len(places) == len(batch.ids):
        return batch
    return Batch(
        [batch.ids[place] for place in places],
        batch.timestamps[places],
        batch.amounts[places],
        {entity: [keys[place] for place in places] for entity, keys in batch.keys.items()},
    )
