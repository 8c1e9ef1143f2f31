"""Days that still have to be ingested, and as-of days whose window can be built.

Here: comparing the lake with the store for all the days that a retrain needs. Not here: what makes a partition stale
(`domain/features/partition_inputs.py`) and starting the runs (`commands/implementation/pipeline.py`,
`orchestration/sensors/triggering.py`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cached_property
from itertools import groupby
from typing import Any

from pydantic import Field

from fraud_retraining.adapters.online.published_state import is_published
from fraud_retraining.adapters.storage.lake import DayFiles, Lake, LakeListing
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.features.partition_inputs import label_days_lookback, lookback
from fraud_retraining.domain.labels.arrival import LabelArrival
from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.training.refit import unjudged_days
from fraud_retraining.domain.training.windows import WindowDays, window_days
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.orchestration.names import (
    ENTITY_DAYS,
    ENTITY_LABEL_DAYS,
    FEATURES,
    LABELS,
    ONLINE_STATE,
    TRANSACTIONS,
)
from fraud_retraining.orchestration.state.inventory import (
    DAY_ASSETS,
    Inventory,
)
from fraud_retraining.orchestration.state.label_days import LabelInventory, label_arrival
from fraud_retraining.settings import Settings

# Bounded, so that the first ingest of a long lake shows progress and loses at most one run when it is killed.
DAYS_IN_ONE_RUN = 62


class Work(Value):
    """A range of days that one Dagster run can ingest, and the assets that it has to make."""

    days: DayRange
    assets: tuple[str, ...]
    inputs: str = Field(description="Digest of the inputs of the days.")


class Ready(Value):
    """An as-of day whose window can be built now; `inputs` is the digest of the inputs of its model."""

    as_of: date
    inputs: str
    labelled: bool = Field(True, description="Whether the labels of the day have arrived, where a feed delivers them.")


class NotReady(Value):
    """An as-of day whose window cannot be built yet, with the reason."""

    as_of: date
    why: str
    pending: bool = Field(False, description="Whether only an ingest of days that have arrived is missing.")


def days_of_window(
    settings: Settings, as_of: date, labels: LabelPolicy | None = None, judged_days: int | None = None
) -> WindowDays:
    """The days of the window of an as-of day under these settings; `labels` replaces how windows use labels.

    Where the length of the holdout depends on labels it is the longest; `judged_days` says it once it is known.

    Raises:
        SettingsError: there is no such window.
    """
    try:
        return window_days(as_of, settings.window, settings.holdout, labels or settings.window_labels, judged_days)
    except ValueError as error:
        raise SettingsError(f"as of {as_of} there is no window: {error}") from None


def first_trainable(settings: Settings, arrived: Iterable[date]) -> date | None:
    """The first as-of day whose window lies in the days that have arrived; None where none does."""
    there = frozenset(arrived)
    most = settings.validation.max_missing_days
    return next((day for day in sorted(there) if _missing(settings, day, there) <= most), None)


def _missing(settings: Settings, as_of: date, there: frozenset[date]) -> int:
    return sum(day not in there for day in days_of_window(settings, as_of).needed)


def days_behind(settings: Settings, days: Iterable[date]) -> list[date]:
    """Those days and every earlier day that their features look back on, oldest first."""
    wanted = set(days)
    return sorted(wanted | {earlier for day in wanted for earlier in lookback(settings.feature_plan, day)})


def contiguous_ranges(days: Iterable[date], longest: int | None = None) -> Iterator[DayRange]:
    """Ranges of days without a gap, of at most `longest` days each.

    >>> [str(days.end) for days in contiguous_ranges([date(2024, 3, 1), date(2024, 3, 2), date(2024, 3, 5)])]
    ['2024-03-02', '2024-03-05']
    """
    ordered = sorted(days)
    for _, run in groupby(enumerate(ordered), key=lambda pair: pair[1].toordinal() - pair[0]):
        members = [day for _, day in run]
        step = longest or len(members)
        for first in range(0, len(members), step):
            part = members[first : first + step]
            yield DayRange(start=part[0], end=part[-1])


class Readiness:
    """The lake beside the store, for the days that retrains up to the latest need. Read once; nothing is changed."""

    def __init__(self, settings: Settings, lake: Lake, store: Store) -> None:
        self._settings = settings
        self._lake = lake
        self._store = store
        self._earliest: date | None = None

    @cached_property
    def listing(self) -> LakeListing:
        """Everything that the lake holds.

        Raises:
            DataInvalid: there is no lake.
        """
        return self._lake.listing()

    @property
    def latest(self) -> date | None:
        """The last day that has arrived.

        Raises:
            DataInvalid: there is no lake.
        """
        return max(self.listing.days, default=None)

    @property
    def first(self) -> date | None:
        """The first day that has arrived; read with the latest."""
        return min(self.listing.days, default=None)

    @cached_property
    def label_arrival(self) -> LabelArrival | None:
        """How far the label feed has come; None where there is no feed, or no day has arrived.

        Raises:
            DataInvalid: there is no lake, or no feed.
            DependencyUnreachable: lake or feed cannot be reached.
        """
        return None if self.latest is None else label_arrival(self._settings, self._lake.label_feed, self.latest)

    @property
    def settled(self) -> date | None:
        """The last day that has arrived whose labels are not waited for; None where no label is."""
        arrival = self.label_arrival
        if arrival is None or arrival.settled == arrival.latest:
            return None
        return max((day for day in self.listing.days if day <= arrival.settled), default=None)

    def reach_back_to(self, as_of: date) -> None:
        """Includes the days of an earlier as-of day; must be called before anything is read about it."""
        self._earliest = min(as_of, self._earliest or as_of)

    @cached_property
    def arrived(self) -> dict[date, DayFiles]:
        """The days that have arrived, from the first that a retrain of the latest needs, or of an earlier one."""
        if self.latest is None:
            return {}
        first = self._first_needed(self._from)
        return {day: files for day, files in self.listing.days.items() if day >= first}

    @property
    def _from(self) -> date:
        assert self.latest is not None
        return min(self._earliest or self.latest, self.latest)

    def _first_needed(self, as_of: date) -> date:
        return days_behind(self._settings, days_of_window(self._settings, as_of).needed)[0]

    @cached_property
    def featured(self) -> list[date]:
        """Arrived days whose features a retrain of the latest day, or of an earlier or later one, reads."""
        if self.latest is None:
            return []
        needed = days_of_window(self._settings, self.latest).needed
        earlier = days_of_window(self._settings, self._from).needed
        return [day for day in self.arrived if day in needed or day in earlier or day >= earlier[-1]]

    def within_reach(self) -> date | None:
        """The last as-of day before the latest for which no more than features have to be made; None if the latest is.

        It is read by itself: no day is ingested only for it that later as-of days do not need.
        """
        if self.latest is None or self._store.readable(TRANSACTIONS, [self.latest]):
            return None
        recent = [self.latest - timedelta(days=n) for n in range(DAYS_IN_ONE_RUN)]
        ingested = max(self._store.readable(TRANSACTIONS, recent), default=None)
        if ingested is None:
            return None
        # An object of its own: the cached inventory of this one would otherwise grow by the days of that window.
        alone = Readiness(self._settings, self._lake, self._store)
        alone.listing = self.listing
        alone.reach_back_to(ingested)
        days = days_of_window(self._settings, ingested)
        return None if alone._blocking_reason(ingested, days) or alone._stale_behind(days) else ingested

    @cached_property
    def inventory(self) -> Inventory:
        """The stored partitions of the arrived days, and of the days before them that checks compare with."""
        first = min(self.arrived, default=None)
        before = (
            [first - timedelta(days=n) for n in range(1, self._settings.validation.trailing_days + 1)] if first else []
        )
        return Inventory(self._store, self._settings, [*before, *self.arrived], made=DAY_ASSETS)

    @cached_property
    def refused(self) -> dict[date, str]:
        """Arrived days that were refused as they are now, with the reason; only another delivery changes that."""
        found = {day: self.inventory.refusal(day, files) for day, files in self.arrived.items()}
        return {day: why for day, why in found.items() if why is not None}

    @cached_property
    def stale(self) -> list[date]:
        """Days whose transactions or entity days have to be made, oldest first; without refused ones."""
        current = {day: files for day, files in self.arrived.items() if day not in self.refused}
        # A process that was killed between rows and checks leaves a day without a report; no check has passed for it.
        unreported = {day for day in self.inventory.transactions if self.inventory.report(day) is None}
        found = {*self.inventory.stale_transactions(current), *self.inventory.stale_entity_days(), *unreported}
        return sorted(day for day in found if day in current)

    @cached_property
    def labels(self) -> LabelInventory:
        """The labels of the arrived days; of no day unless labels are used as known."""
        as_known = self._settings.labels.use == "as_known"
        return LabelInventory.of(self.arrived if as_known else (), self._settings, self._store, self._lake.label_feed)

    @cached_property
    def stale_labels(self) -> list[date]:
        """Days known whose labels have to be made, oldest first; none before the transactions of all days are made."""
        # A label refers to any day before it: made earlier, its transaction would count as unknown.
        return [] if self.stale else self.labels.stale()

    @cached_property
    def stale_features(self) -> list[date]:
        """Days whose features have to be made, oldest first; without those that look back on a refused or stale day."""
        # Features made from a stale day would be made twice: once now, once after its ingest.
        unsound = {*self.refused, *self.stale}
        unread = {*self.labels.refused, *self.stale_labels}
        plan = self._settings.feature_plan
        sound = [
            day
            for day in self.featured
            if not unsound & {day, *lookback(plan, day)} and not unread & {*label_days_lookback(plan, day)}
        ]
        return self.inventory.stale_features(sound)

    def work(self, as_of_days: Iterable[date] = ()) -> Work | None:
        """The next days to ingest; None when the store is as the lake.

        First the features that one of `as_of_days` still needs, if its days are ingested: days that arrive in the
        meantime do not delay its retrain. Then days, the oldest first, and then other features.
        """
        for as_of in sorted(as_of_days):
            missing = self._missing_features(as_of)
            for days in contiguous_ranges(missing, DAYS_IN_ONE_RUN):
                return self._work(days, (FEATURES,))
        if self.stale:
            days = next(contiguous_ranges(self.stale, DAYS_IN_ONE_RUN))
            # Features in the same run only if no other day is pending: they may look back on it.
            alone = set(self.stale) <= set(days) and not self.refused
            wanted = alone and set(days) <= set(self.featured)
            made = (TRANSACTIONS, *self._label_assets, ENTITY_DAYS)
            return self._work(days, (*made, FEATURES, *self._state_beside(days)) if wanted else made)
        for days in contiguous_ranges(self.stale_labels, DAYS_IN_ONE_RUN):
            return self._work(days, self._label_assets)
        for days in contiguous_ranges(self.stale_features, DAYS_IN_ONE_RUN):
            return self._work(days, (FEATURES, *self._state_beside(days)))
        if self.stale_state is not None:
            return self._work(DayRange(start=self.stale_state, end=self.stale_state), (ONLINE_STATE,))
        return None

    @cached_property
    def stale_state(self) -> date | None:
        """The latest ingested day, if the state after it has to be made and can be; no earlier state is made again."""
        day = max(self.inventory.transactions, default=None)
        if day is None or day not in self.arrived or day not in self.inventory.entity_days:
            return None
        unsound, unread = {*self.refused, *self.stale}, {*self.labels.refused, *self.stale_labels}
        plan, next_day = self._settings.feature_plan, day + timedelta(days=1)
        if unsound & {day, *lookback(plan, next_day)} or unread & {*label_days_lookback(plan, next_day)}:
            return None
        known = self.inventory.online_states.get(day)
        if known is None or known.inputs != self.inventory.online_state_inputs(day):
            return day
        return None if is_published(self._store, known) else day

    def _state_beside(self, days: DayRange) -> tuple[str, ...]:
        """The state after the latest day is made in the run that makes its features."""
        return (ONLINE_STATE,) if days.end == self.latest else ()

    @property
    def _label_assets(self) -> tuple[str, ...]:
        return (LABELS, ENTITY_LABEL_DAYS) if self._settings.labels.use == "as_known" else ()

    def _missing_features(self, as_of: date) -> list[date]:
        """Days of a window whose features have to be made, if nothing else of the window is missing."""
        days = days_of_window(self._settings, as_of)
        if self._blocking_reason(as_of, days) is not None or self._stale_behind(days):
            return []
        return [day for day in self._featured_for(days) if day in self.stale_features]

    def _featured_for(self, days: WindowDays) -> tuple[date, ...]:
        """Days whose features a retrain reads: those of its window, and those that compare a second fit."""
        if not self._settings.window.refit.enabled:
            return days.needed
        later = [day for span in unjudged_days(days) for day in span if day in self.arrived and day not in self.refused]
        return (*days.needed, *later)

    def of(self, as_of: date) -> Ready | NotReady:
        """Whether the window of an as-of day can be built."""
        days = days_of_window(self._settings, as_of)
        why = self._blocking_reason(as_of, days)
        # After what blocks, as a refused day has to be named; before what is pending, as a schedule waits for that.
        why = why or (self.label_arrival.awaited(as_of) if self.label_arrival else None)
        if why is not None:
            return NotReady(as_of=as_of, why=why)
        pending = self._pending(days)
        if pending:
            why = f"{_several(pending)} still {'has' if len(pending) == 1 else 'have'} to be ingested"
            return NotReady(as_of=as_of, why=why, pending=True)
        # The digest tells triggers whether a window that failed has changed since.
        return Ready(as_of=as_of, inputs=self._inputs(as_of, days), labelled=self._labelled(as_of))

    def _labelled(self, as_of: date) -> bool:
        arrival = self.label_arrival
        return arrival is None or arrival.arrived(as_of) or any(day >= as_of for day in self.labels.arrived)

    def rows_after(self, as_of: date | None) -> int:
        """Accepted rows of ingested days after an as-of day, without days whose labels are waited for."""
        found, arrival = self.inventory.transactions.items(), self.label_arrival
        # A retrain cannot reach days that wait: counted now, they would ask for a retrain once more later.
        last = arrival.settled if arrival else date.max
        return sum(record.facts["rows"] for day, record in found if (as_of is None or day > as_of) and day <= last)

    def _work(self, days: DayRange, assets: tuple[str, ...]) -> Work:
        versions: dict[str, Any] = {day.isoformat(): self.arrived[day].version for day in days}
        feed = {day: files.version for day, files in self.labels.arrived.items() if day in days}
        versions |= {f"labels {day.isoformat()}": version for day, version in feed.items()}
        return Work(
            days=days,
            assets=assets,
            inputs=digest([versions, assets, self.inventory.recipes.every(), self._settings.shared.validation]),
        )

    def _blocking_reason(self, as_of: date, days: WindowDays) -> str | None:
        if as_of not in self.arrived:
            return f"{as_of} has not arrived"
        behind = [day for day in days_behind(self._settings, days.needed) if day in self.arrived]
        bad = [day for day in behind if day in self.refused]
        if bad:
            return f"{bad[0]} is refused: {self.refused[bad[0]]}"
        unread = [day for day in self.labels.refused if days.needed[0] <= day <= as_of]
        if unread:
            return f"labels of {unread[0]} are refused: {self.labels.refused[unread[0]]}"
        missing = [day for day in days.needed if day not in self.arrived]
        if len(missing) > self._settings.validation.max_missing_days:
            return f"{_several(missing)} {'has' if len(missing) == 1 else 'have'} not arrived"
        return None

    def _pending(self, days: WindowDays) -> list[date]:
        return (
            self._stale_behind(days)
            or [day for day in self.stale_labels if day <= days.as_of]
            or [day for day in self._featured_for(days) if day in self.stale_features]
        )

    def _stale_behind(self, days: WindowDays) -> list[date]:
        """Days of a window, and those that their features look back on, that are stale."""
        behind = set(days_behind(self._settings, self._featured_for(days)))
        return [day for day in self.stale if day in behind]

    def _inputs(self, as_of: date, days: WindowDays) -> str:
        features, transactions = self.inventory.features, self.inventory.transactions
        used: Mapping[str, str] = {day.isoformat(): features[day].digest for day in days.needed if day in features}
        behind: Mapping[str, str] = {
            day.isoformat(): transactions[day].digest
            for day in days_behind(self._settings, days.needed)
            if day in transactions
        }
        labels = [[day.isoformat(), one.digest] for day, one in self.labels.labels.items() if day <= as_of]
        found = [as_of.isoformat(), used, behind, self._settings.model_dump(mode="json", exclude={"serving", "models"})]
        return digest([*found, labels] if labels else found)


def _several(days: Sequence[date]) -> str:
    return str(days[0]) if len(days) == 1 else f"{len(days)} days from {days[0]} to {days[-1]}"
