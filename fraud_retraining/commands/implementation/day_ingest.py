"""The days of an ingest or a retrain: which are missing or stale, made in runs without a gap, refusals put together.

Not here: how a run is executed (`job_runner.py`), and what a day has to be like (`domain/data/`).
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date
from functools import cached_property
from uuid import uuid4

from fraud_retraining.adapters.storage.lake import DayFiles, Lake, LakeListing, some_of
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.commands.implementation.job_runner import CHANNEL, JobRunner, logged
from fraud_retraining.domain.data.lake_layout import LAYOUT
from fraud_retraining.domain.data.refused_days import ranges, remedy_of
from fraud_retraining.domain.training.refit import unjudged_days
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.names import (
    CHANNEL_TAG,
    ENTITY_DAYS,
    ENTITY_LABEL_DAYS,
    FEATURES,
    INGEST,
    LABELS,
    ONLINE_STATE,
    RANGE_END,
    RANGE_START,
    TRANSACTIONS,
)
from fraud_retraining.orchestration.resources import open_lake, open_store
from fraud_retraining.orchestration.runs.outcomes import THRESHOLDS
from fraud_retraining.orchestration.state.inventory import DAY_ASSETS, Inventory
from fraud_retraining.orchestration.state.label_days import LabelInventory, label_arrival
from fraud_retraining.orchestration.state.readiness import (
    Readiness,
    contiguous_ranges,
    days_behind,
    days_of_window,
    first_trainable,
)
from fraud_retraining.settings import Settings

LOG = logging.getLogger(__name__)


class DayIngest:
    """The days of one lake, brought up to date in one store.

    `require_budget` is called before each run of days; it raises where the retrain has used up its time.
    """

    def __init__(self, settings: Settings, runner: JobRunner) -> None:
        self._settings = settings
        self._runner = runner
        self.require_budget: Callable[[], None] = lambda: None

    # Opened when first used: a lake that cannot be reached is reported before a store is made.
    @cached_property
    def lake(self) -> Lake:
        """The lake of raw days."""
        return open_lake(self._settings)

    @cached_property
    def store(self) -> Store:
        """The store of days, with every row of them."""
        return open_store(self._settings.shared)

    def latest_day(self) -> date:
        """The last day that has arrived.

        Raises:
            DataInvalid: there is no lake, or no day in it.
        """
        listing = self.listing()
        if not listing.days:
            raise DataInvalid(
                f"the lake at {self.lake.uri} holds no day",
                culprits=some_of(listing.set_aside),
                remedy=f"a day's Parquet files lie under {LAYOUT}; correct lake.uri or deliver them. DuckDB makes "
                "Parquet of other formats: COPY (FROM 'rows.csv') TO 'part-0.parquet'.",
            )
        return max(listing.days)

    def listing(self) -> LakeListing:
        """The days of the lake; what is set aside in it opens an alert."""
        listing = self.lake.listing()
        with logged("the alert about files set aside could not be opened; the daemon tries again"):
            self._runner.outcomes_of_days.notify_set_aside(self.lake.uri, listing.set_aside)
        return listing

    def make(self, arrived: dict[date, DayFiles]) -> list[str]:
        """Make the day assets of these days, a run for each range without a gap; return the ids of the runs.

        Raises:
            DataInvalid: days were refused; the others stand.
        """
        runs, refused = [], []
        for run in contiguous_ranges(arrived):
            try:
                runs.append(self._run_days(run))
            except DataInvalid as error:
                refused += [error, *self._others({day: arrived[day] for day in run if day not in error.days})]
        # Only now: a refused day must not keep the days beside it from being ingested.
        if refused:
            raise _together(refused, (), ())
        return runs

    def make_ready(self, as_of: date) -> None:
        """Ingest the days of the retrain that are missing from the store, or differ from the lake."""
        window = days_of_window(self._settings, as_of)
        needed = set(days_behind(self._settings, window.needed))
        if self._settings.labels.use == "as_known":
            # What became known up to the as-of day counts, though the days that are judged may end before.
            needed |= set(DayRange(start=window.needed[0], end=as_of))
        arrived = self.lake.days(DayRange(start=min(needed), end=max(as_of, *needed)))
        if as_of not in arrived:
            raise DataInvalid(
                f"as-of day {as_of} has not arrived in {self.lake.uri}",
                culprits=[f"the last day that has is {self.latest_day()}"],
                remedy="an as-of day is the last day whose transactions are in; name an earlier one.",
            )
        wanted = {day: files for day, files in arrived.items() if day in needed}
        self._require_window(as_of, window.needed, wanted)
        self._bring_up(wanted, [day for day in window.needed if day in wanted])
        if self._settings.window.refit.enabled:
            self._bring_up_compared([day for days in unjudged_days(window) for day in days])
        # What is promoted can then be served. Where features look back on days that no window needs, those are first to
        # be ingested, which is the daily work and no retrain's.
        if Readiness(self._settings, self.lake, self.store).stale_state == as_of:
            self._run_days(DayRange(start=as_of, end=as_of), [ONLINE_STATE])

    def _bring_up_compared(self, days: Sequence[date]) -> None:
        """Make the features of days on which a second fit is compared; a refused one fails no retrain."""
        behind = days_behind(self._settings, days)
        if not behind:
            return
        arrived = self.lake.days(DayRange(start=behind[0], end=behind[-1]))
        arrived = {day: arrived[day] for day in behind if day in arrived}
        try:
            self._bring_up(arrived, [day for day in days if day in arrived])
        except DataInvalid as error:
            LOG.warning("days after the holdout cannot compare a second fit: %s", error)

    def labels_arrived(self, as_of: date) -> bool | None:
        """Whether the feed has delivered the labels of an as-of day; None where there is no feed.

        Raises:
            DataInvalid: there is no feed.
            DependencyUnreachable: the feed cannot be reached.
        """
        found = label_arrival(self._settings, self.lake.label_feed, as_of)
        return None if found is None else found.arrived(as_of)

    def _require_window(self, as_of: date, needed: Sequence[date], arrived: Collection[date]) -> None:
        """Refuse an as-of day that is too early for its window, before anything is ingested for it."""
        missing = [day for day in needed if day not in arrived]
        if len(missing) <= self._settings.validation.max_missing_days:
            return
        days = self.lake.days()
        if missing[0] >= min(days):
            return
        first = first_trainable(self._settings, days)
        raise DataInvalid(
            f"as-of day {as_of} is too early: its window begins on {needed[0]}, and the lake on {min(days)}",
            culprits=[f"{ranges(missing)}: not in {self.lake.uri}"],
            remedy=f"retrain as of {first} or later, or shorten the window."
            if first
            else f"deliver more days or shorten the window: it needs {len(needed)} days without a gap.",
        )

    def _bring_up(self, arrived: dict[date, DayFiles], featured: Sequence[date]) -> None:
        """Make what is missing or stale of `arrived`, and of the features of the `featured` among them.

        Raises:
            DataInvalid: names every day that was refused; all others stand.
        """
        refused: list[DataInvalid] = []
        for days in contiguous_ranges(self._stale_days(arrived)):
            refused += self._attempt(days, [TRANSACTIONS, ENTITY_DAYS])
        # A run of days stops at its first refused day; the days beside it get a second run.
        bad = _blamed(refused)
        for days in contiguous_ranges(day for day in self._stale_days(arrived) if bad and day not in bad):
            refused += self._attempt(days, [TRANSACTIONS, ENTITY_DAYS])
        inventory = Inventory(self.store, self._settings, arrived, made=(FEATURES,))
        problems = inventory.unchecked(arrived)
        if refused or problems:
            raise _together(refused, problems, inventory.unfit(arrived))
        # After all transactions: a label may refer to any day before it.
        for days in contiguous_ranges(self._stale_labels(arrived)):
            self._run_days(days, [LABELS, ENTITY_LABEL_DAYS])
        inventory = Inventory(self.store, self._settings, arrived, made=(FEATURES,))
        for days in contiguous_ranges(inventory.stale_features(featured)):
            self._run_days(days, [FEATURES])

    def _others(self, standing: dict[date, DayFiles]) -> list[DataInvalid]:
        """Make and check the days beside those that a run was refused for; return what else is refused."""
        try:
            self._bring_up(standing, ())
        except DataInvalid as error:
            return [error]
        return []

    def _stale_days(self, arrived: dict[date, DayFiles]) -> list[date]:
        inventory = Inventory(self.store, self._settings, arrived, made=DAY_ASSETS)
        unreported = {day for day in inventory.transactions if inventory.report(day) is None}
        stale = {*inventory.stale_transactions(arrived), *inventory.stale_entity_days(), *unreported}
        return sorted(day for day in stale if day in arrived)

    def _stale_labels(self, arrived: dict[date, DayFiles]) -> list[date]:
        """Days known whose labels have to be made; none unless labels are used as known."""
        if self._settings.labels.use != "as_known":
            return []
        inventory = LabelInventory.of(arrived, self._settings, self.store, self.lake.label_feed)
        # One that was refused is tried again: a user who asks for it wants to hear why.
        return sorted({*inventory.stale(), *inventory.refused})

    def _attempt(self, days: DayRange, assets: Sequence[str]) -> list[DataInvalid]:
        try:
            self._run_days(days, assets)
        except DataInvalid as error:
            return [error]
        return []

    def _run_days(self, days: DayRange, assets: Sequence[str] | None = None) -> str:
        self.require_budget()
        run_id = str(uuid4())
        tags = {RANGE_START: days.start.isoformat(), RANGE_END: days.end.isoformat(), CHANNEL_TAG: CHANNEL}
        self._runner.run(INGEST, run_id, tags, assets=assets)
        return run_id


def _blamed(refused: Iterable[DataInvalid]) -> set[date]:
    return {day for error in refused for day in error.days}


def _together(refused: Sequence[DataInvalid], problems: Sequence[str], unfit: Sequence[date]) -> DataInvalid:
    """One error for all days that cannot be used: refused ones, and those whose checks failed."""
    if len(refused) == 1 and not problems:
        return refused[0]
    unread = [error for error in refused if not set(error.culprits) & set(problems)]
    culprits = [line for error in unread for line in _lines(error)] + list(problems)
    remedy = THRESHOLDS if problems else remedy_of(refused) or THRESHOLDS
    return DataInvalid("days cannot be used", culprits=culprits, remedy=remedy, days={*unfit, *_blamed(refused)})


def _lines(error: DataInvalid) -> tuple[str, ...]:
    """A refusal of several days names each in a culprit of its own; one of a single day is one line."""
    return (
        error.culprits if len(error.days) > 1 else (": ".join(filter(None, [error.what, "; ".join(error.culprits)])),)
    )
