"""Stored days of labels, and which of them are stale.

Here: the records of `labels` and `entity_label_days` by the day known, and their inputs from the present feed,
transactions and settings. Not here: which labels count (`domain/labels/events.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from typing import Any, Self

import pyarrow as pa

from fraud_retraining.adapters.days.known_labels import mature_reviews
from fraud_retraining.adapters.mlflow.code_versions import code_version
from fraud_retraining.adapters.storage.lake import DayFiles, Lake
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.labels.arrival import LabelArrival
from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.labels.reporting_delays import ReportingDelays, estimate_delays
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.orchestration.names import ENTITY_LABEL_DAYS, LABELS, TRANSACTIONS
from fraud_retraining.settings import Settings

REFUSED = "refused"
DELAYS_REACH = timedelta(days=60)
"""Label days from which the reporting delays of served days are estimated."""
LATER = timedelta(days=7)
"""Label days after an as-of day that show that its own has arrived; bounded, as a feed is listed by month."""


def label_arrival(settings: Settings, feed: Lake | None, latest: date) -> LabelArrival | None:
    """The label days that the feed has delivered around the last day of transactions; None where there is no feed.

    Raises:
        DataInvalid: there is no feed at labels.uri.
        DependencyUnreachable: the feed cannot be reached.
    """
    if feed is None:
        return None
    wait_days = settings.labels.wait_days
    found = feed.days(DayRange(start=latest - timedelta(days=wait_days), end=latest + LATER))
    return LabelArrival(latest=latest, delivered=max(found, default=None), wait_days=wait_days)


def first_reports(store: Store, first: date, last: date) -> dict[date, dict[int, int]]:
    """First reports of frauds by label day and delay in days, of the label days that have been made."""
    return reports_of(store.readable(LABELS, DayRange(start=first, end=last)))


def reports_of(made: Mapping[date, Partition]) -> dict[date, dict[int, int]]:
    """First reports of frauds by label day and delay in days."""
    found: dict[date, dict[int, int]] = {}
    for known_on, record in made.items():
        delays = found.setdefault(known_on, {})
        for day, count in record.facts["first_reports"]:
            delay = (known_on - date.fromisoformat(day)).days
            delays[delay] = delays.get(delay, 0) + count
    return found


def reviews_of(
    settings: Settings, store: Store, days: Iterable[date], known_by: date = date.max
) -> dict[date, pa.Array]:
    """Ids of blocked transactions that the label feed says are genuine, by day; none without feed or decisions.

    As `mature_frauds`: as they were known when each day became mature, or at the end of `known_by`.
    """
    labels = settings.labels
    if labels.uri is None or settings.columns.decision is None:
        return {}
    return mature_reviews(store, days, labels.delay_days, known_by)


def delays_known_on(store: Store, policy: LabelPolicy, as_of: date) -> ReportingDelays | None:
    """Reporting delays of frauds as known at the end of a day; None where too few frauds were known."""
    first = as_of - DELAYS_REACH
    reports: dict[date, dict[int, int]] = {}
    for known_on, delays in first_reports(store, first, as_of).items():
        for delay, frauds in delays.items():
            day = known_on - timedelta(days=delay)
            # Of earlier days only the slow reports lie within reach: delays would look longer than they are.
            if day >= first:
                by_delay = reports.setdefault(day, {})
                by_delay[delay] = by_delay.get(delay, 0) + frauds
    return estimate_delays(reports, as_of, policy.delay_days, policy.min_delay_frauds)


@dataclass
class LabelInventory:
    """The records of some days known, and of the transactions that their labels may refer to; read once.

    `labels` and `sums` are updated by a run as it makes days.
    """

    settings: Settings
    store: Store
    arrived: Mapping[date, DayFiles]
    transactions: Mapping[date, Partition]
    labels: dict[date, Partition]
    sums: dict[date, Partition]
    days: tuple[date, ...] = field(default=())

    @classmethod
    def of(cls, days: Iterable[date], settings: Settings, store: Store, feed: Lake | None) -> Self:
        """Reads feed and store once for days known; without `feed` its files are not looked at.

        Raises:
            DataInvalid: there is no feed at labels.uri.
            DependencyUnreachable: feed or store cannot be reached.
        """
        wanted = tuple(sorted(set(days)))
        if not wanted:
            return cls(settings, store, {}, {}, {}, {})
        first = wanted[0] - timedelta(days=settings.labels.reach_days)
        reach = list(DayRange(start=first, end=wanted[-1]))
        arrived = feed.days(DayRange(start=wanted[0], end=wanted[-1])) if feed is not None else {}
        return cls(
            settings,
            store,
            arrived,
            store.readable(TRANSACTIONS, reach),
            store.readable(LABELS, reach),
            store.readable(ENTITY_LABEL_DAYS, wanted),
            wanted,
        )

    @property
    def has_feed(self) -> bool:
        """Whether labels come from a feed; otherwise transactions carry them."""
        return self.settings.labels.uri is not None

    @property
    def labelled_entities(self) -> tuple[str, ...]:
        """Entities of which frauds are summed up."""
        return tuple(name for name, entity in self.settings.feature_plan.entities.items() if entity.fraud_share)

    def transactions_behind(self, day: date) -> list[Partition]:
        """Transactions that a label known on a day may refer to, oldest first."""
        return [self.transactions[earlier] for earlier in self._reach(day, self.transactions)]

    def labels_before(self, day: date) -> list[Partition]:
        """Labels of earlier days that changed something, oldest first."""
        # A day without changes cannot have changed what is known: left out, its making leaves later days as they are.
        earlier = [self.labels[known] for known in self._reach(day, self.labels) if known < day]
        return [one for one in earlier if one.facts["events"]]

    def key_types(self, partitions: Sequence[Partition]) -> dict[str, str]:
        """Whether each key is integer or text; the latest day wins."""
        return {name: kind for one in partitions for name, kind in one.facts["key_types"].items()}

    def labels_inputs(self, day: date) -> dict[str, str]:
        """Inputs of `labels` of a day known."""
        files = self.arrived.get(day)
        # Labels of a feed refer to ids, times and keys: labels in the lake itself are no input then.
        part = "facts" if self.has_feed else "labels"
        behind = [[one.day.isoformat(), one.facts[part]] for one in self.transactions_behind(day)]
        earlier = [[one.day.isoformat(), one.digest] for one in self.labels_before(day)]
        return {
            "source": files.version if files else "",
            "transactions": digest(behind),
            "earlier": digest(earlier if self.has_feed else []),
            "settings": self._recipe,
            "code": code_version("labels"),
        }

    def sums_inputs(self, day: date) -> dict[str, str]:
        """Inputs of `entity_label_days` of a day known."""
        return {
            "labels": self.labels[day].digest,
            "entities": digest(self.labelled_entities),
            "code": code_version("labels"),
        }

    def stale(self) -> list[date]:
        """Days known whose labels or sums are missing or were made from something else; without refused ones."""
        refused = self.refused
        return [
            day for day in self.days if day not in refused and self.transactions_behind(day) and self._is_stale(day)
        ]

    def _is_stale(self, day: date) -> bool:
        if day not in self.labels or self.labels[day].inputs != self.labels_inputs(day):
            return True
        return day not in self.sums or self.sums[day].inputs != self.sums_inputs(day)

    def refuse(self, day: date, why: str) -> None:
        """Records that the labels of a day cannot be read, so that they are not tried again until inputs change."""
        self.store.annotate(LABELS, day, REFUSED, {"inputs": self.labels_inputs(day), "why": why})

    @cached_property
    def refused(self) -> dict[date, str]:
        """Days known whose labels were refused as they are now, with the reason."""
        found = {day: self._refusal(day) for day in self.days if day in self.arrived}
        return {day: str(one["why"]) for day, one in found.items() if one.get("inputs") == self.labels_inputs(day)}

    def _refusal(self, day: date) -> dict[str, Any]:
        try:
            return self.store.annotation(LABELS, day, REFUSED) or {}
        except IntegrityError:  # made again like any other day
            return {}

    def digests(self) -> dict[date, str]:
        """Digests of `entity_label_days` by day known, for the inputs of features."""
        return {day: one.digest for day, one in self.sums.items()}

    @cached_property
    def _recipe(self) -> str:
        settings = self.settings
        columns = [settings.labels.columns, settings.label_values] if self.has_feed else [settings.labels.delay_days]
        decisions = [settings.labels.blocked] if settings.columns.decision is not None else []
        return digest([settings.labels.reach_days, list(settings.entities), columns, *decisions])

    def _reach(self, day: date, among: Mapping[date, Partition]) -> list[date]:
        first = day - timedelta(days=self.settings.labels.reach_days)
        return sorted(one for one in among if first <= one <= day)
