"""Features of transactions of any day that can be scored now, and how old the state is that they rest on.

Here: what a place for states has to offer, and the features of a batch with what it knows. Not here: the features
themselves (`online.py`), the places (`local_states.py`; `adapters/online/redis_states.py`), and where states come from
(`adapters/online/published_state.py`).

The state after day D serves transactions of D+1. It is published once D is ingested; until then transactions of D+1 are
scored with the state before, a day late. What is late is said with each transaction. A transaction of D or of D-1 that
comes after the state of D was published is scored with the state of its own day, as the lake will see it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fraud_retraining.domain.features.key_tables import StateTable
from fraud_retraining.domain.features.online import Batch, DayByKey, EntityState, OnlineFeatures, RecentDay
from fraud_retraining.domain.features.plan import FeaturePlan

DAY = timedelta(days=1)
KEPT_STATES = 2
"""The newest state and the one before it, for transactions that come after midnight."""


class OnlineState(NamedTuple):
    """What is known when the day after `day` begins: statistics by entity, and the transactions of `day` itself."""

    day: date
    digest: str
    entities: Mapping[str, StateTable]
    recent: RecentDay


class StateName(NamedTuple):
    """Which state: the last whole day that it knows, and its digest."""

    day: date
    digest: str


class StateAge(NamedTuple):
    """The state that features rest on: its last whole day, and how many days that is too early. None: there is none."""

    day: date | None
    days_late: int = 0

    @property
    def exact(self) -> bool:
        """Whether it is the state of the transaction's own day."""
        return self.day is not None and not self.days_late


class Known(NamedTuple):
    """What transactions of one day are scored with. `today` holds them, and `yesterday` is None if nothing is known."""

    age: StateAge
    entities: Mapping[str, EntityState]
    today: DayByKey
    yesterday: DayByKey | None


class StatesMoved(Exception):
    """Another state was published while a batch was looked at; its ages have to be looked up again."""


class LiveStates(Protocol):
    """Where the last states and the transactions since are kept: in one process, or shared by several.

    A place that is shared raises `DependencyUnreachable` from every method that asks it, where it does not answer.
    """

    @property
    def newest(self) -> StateName | None:
        """The state that was published for the latest day, as of the last time that it was looked up."""
        ...

    @property
    def lacks_transactions(self) -> bool:
        """Whether those that were scored since the newest state have to be added again, and `filled` be called."""
        ...

    def filled(self) -> None:
        """Says that everything that was scored before has been added."""
        ...

    def follow(self) -> None:
        """Looks up what others have published."""
        ...

    def prepare(self, state: OnlineState) -> bool:
        """Brings a state to where it is kept, unseen until `publish`; False where another process is doing so."""
        ...

    def publish(self, state: OnlineState) -> None:
        """Takes a state over that was prepared. One of an earlier day than the newest serves late transactions alone.

        The lake's transactions of its day take the place of those that were scored: rows that the lake refused, or that
        never came here, count as they do in the lake.
        """
        ...

    def age_on(self, day: date) -> StateAge:
        """The state that transactions of a day are scored with."""
        ...

    def add(self, batch: Batch) -> None:
        """Adds transactions of any days that are not scored here; those that were added before stay as they are."""
        ...

    def know(self, day: date, batch: Batch) -> Known:
        """Adds transactions of a day, and gives what is known of their keys then.

        Raises:
            StatesMoved: other states are published than those that `age_on` told of.
        """
        ...


class LiveRows(NamedTuple):
    """The features that are computed here, of transactions in any order: float32, an entry each; and their states."""

    features: dict[str, NDArray[np.float32]]
    ages: list[StateAge]


class LiveFeatures:
    """The features of a plan, with what a place for states knows."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._features = OnlineFeatures(plan)

    def of(self, batch: Batch, states: LiveStates) -> LiveRows:
        """Adds transactions, and gives their features with what is known now.

        Raises:
            StatesMoved: other states are published than those that `age_on` told of.
        """
        days = by_day(batch)
        if len(days) == 1:
            ((day, _),) = days.items()
            features, age = self._of_day(day, batch, states)
            return LiveRows(features, [age] * len(batch.ids))
        columns: dict[str, NDArray[np.float32]] = {}
        ages: list[StateAge] = [StateAge(None)] * len(batch.ids)
        for day, rows in sorted(days.items()):
            features, age = self._of_day(day, part(batch, rows), states)
            for name, values in features.items():
                columns.setdefault(name, np.empty(len(batch.ids), np.float32))[rows] = values
            for row in rows:
                ages[row] = age
        return LiveRows(columns, ages)

    def _of_day(self, day: date, batch: Batch, states: LiveStates) -> tuple[dict[str, NDArray[np.float32]], StateAge]:
        known = states.know(day, batch)
        features = self._features.of(batch, states=known.entities, today=known.today, yesterday=known.yesterday)
        return features, known.age


def age_among(states: Iterable[date], day: date) -> StateAge:
    """The state that transactions of a day are scored with, among those after some days."""
    found = max((one for one in states if one < day), default=None)
    return StateAge(found, (day - found).days - 1) if found is not None else StateAge(None)


def by_day(batch: Batch) -> dict[date, list[int]]:
    """Places of a batch's transactions by their day."""
    days = batch.timestamps.astype("datetime64[D]").tolist()
    if days.count(days[0]) == len(days) if days else True:
        return {days[0]: list(range(len(days)))} if days else {}
    places: dict[date, list[int]] = defaultdict(list)
    for place, day in enumerate(days):
        places[day].append(place)
    return dict(places)


def part(batch: Batch, places: Sequence[int]) -> Batch:
    """Some transactions of a batch, by their places."""
    if len(places) == len(batch.ids):
        return batch
    return Batch(
        [batch.ids[place] for place in places],
        batch.timestamps[places],
        batch.amounts[places],
        {entity: [keys[place] for place in places] for entity, keys in batch.keys.items()},
    )


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches as one, in their order; at least one batch, all with the same entities."""
    if len(batches) == 1:
        return batches[0]
    return Batch(
        [one for batch in batches for one in batch.ids],
        np.concatenate([batch.timestamps for batch in batches]),
        np.concatenate([batch.amounts for batch in batches]),
        {entity: [key for batch in batches for key in batch.keys[entity]] for entity in batches[0].keys},
    )
