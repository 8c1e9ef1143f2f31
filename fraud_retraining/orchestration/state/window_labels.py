"""What is known of the labels of a window's days at the end of its as-of day.

Here: counts by day from stored facts, the reporting delays that follow, and the label days that a manifest pins. Not
here: the estimate (`domain/labels/reporting_delays.py`), and labels of rows (`adapters/days/known_labels.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Self

from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.data.refused_days import ranges
from fraud_retraining.domain.labels.events import reports_by_delay
from fraud_retraining.domain.labels.reporting_delays import ReportingDelays, estimate_delays
from fraud_retraining.domain.training.windows import FeatureDay, LabelsUsed
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.state.label_days import LabelInventory
from fraud_retraining.settings import Settings

Counts = tuple[date | None, int, int]
"""Day known (null: with the label delay), labels, frauds."""


@dataclass(frozen=True)
class WindowLabels:
    """Labels of some days as known: what the manifest says of them, and counts of each day."""

    used: LabelsUsed | None
    as_of: date
    by_day: Mapping[date, Sequence[Counts]]
    reviewed: Mapping[date, Sequence[Counts]] = field(default_factory=dict)

    @classmethod
    def mature(cls, as_of: date) -> Self:
        """Mature labels, whose counts the features of each day hold."""
        return cls(None, as_of, {})

    @classmethod
    def of(
        cls, days: DayRange, features: Mapping[date, Partition], settings: Settings, lake: Lake, store: Store
    ) -> Self:
        """Labels of the days of a window, up to its as-of day, the last of `days`.

        Raises:
            DataInvalid: label days are missing or out of date.
        """
        if settings.labels.use == "mature":
            return cls.mature(days.end)
        inventory = LabelInventory.of(days, settings, store, lake.label_feed)
        # A manifest over stale label days would pin what is about to be replaced.
        _require_current(inventory, days.end)
        if not inventory.has_feed:
            found = {day: _counts(one.facts["label_days"]) for day, one in features.items()}
            return cls(LabelsUsed(feed=False, delays=_delays(_reports(found), days.end, settings)), days.end, found)
        labels = {day: one for day, one in inventory.labels.items() if day <= days.end}
        reports = reports_by_delay({day.isoformat(): one.facts["first_reports"] for day, one in labels.items()})
        delays = _delays({date.fromisoformat(day): one for day, one in reports.items()}, days.end, settings)
        pinned = tuple((day, labels[day].digest) for day in sorted(labels) if day in days)
        reviewed = _by_day(labels, days, "reviewed")
        return cls(LabelsUsed(feed=True, delays=delays, days=pinned), days.end, _by_day(labels, days), reviewed)

    @property
    def needs_mature_days(self) -> bool:
        """Whether too few frauds of mature days are known to say how many of a young day are still to be reported."""
        return self.used is not None and self.used.delays is None

    def known_from(self, first: date) -> LabelsUsed | None:
        """What the manifest of a window that begins on `first` says of them."""
        if self.used is None:
            return None
        return self.used.model_copy(update={"days": tuple(one for one in self.used.days if one[0] >= first)})

    def feature_day(self, features: Partition, digest: str) -> FeatureDay:
        """Facts of a day of the window; `digest` is that of its transactions."""
        day, rows = features.day, None
        counts = self.by_day.get(day, ()) if self.used else _counts(features.facts["label_days"])
        delays = self.used.delays if self.used else None
        young = delays is not None and (self.as_of - day).days < delays.delay_days
        if self.used is not None and (self.used.feed or young):
            rows = features.facts.get("seen", features.facts["rows"])
        if self.used is not None and self.used.feed:
            reviewed = self.reviewed.get(day, ())
        else:
            reviewed = _counts(features.facts.get("reviewed_days", ()))
        return FeatureDay(
            digest=digest,
            features_digest=features.digest,
            label_days=tuple(counts),
            rows=rows,
            reviewed_days=tuple(reviewed),
        )


def _require_current(inventory: LabelInventory, as_of: date) -> None:
    problems = [f"labels known on {day}: {why}" for day, why in inventory.refused.items()]
    if stale := inventory.stale():
        problems.append(f"labels known on {ranges(stale)} are missing or out of date")
    if problems:
        raise DataInvalid(
            f"labels that the window as of {as_of} needs cannot be used",
            culprits=problems,
            remedy=f"run the job `ingest` for those days, or `fraud-retraining retrain --as-of {as_of}`, which does.",
        )


def _delays(reports: Mapping[date, Mapping[int, int]], as_of: date, settings: Settings) -> ReportingDelays | None:
    return estimate_delays(reports, as_of, settings.labels.delay_days, settings.labels.min_delay_frauds)


def _counts(label_days: Sequence[Sequence[object]]) -> list[Counts]:
    return [
        (date.fromisoformat(str(day)) if day is not None else None, int(str(labels)), int(str(frauds)))
        for day, labels, frauds in label_days
    ]


def _reports(counts: Mapping[date, Sequence[Counts]]) -> dict[date, dict[int, int]]:
    """Frauds by day and delay in days; a label before its transaction was known at once."""
    found: dict[date, dict[int, int]] = {}
    for day, rows in counts.items():
        for known_on, _, frauds in rows:
            if known_on is not None and frauds:
                delay = max((known_on - day).days, 0)
                by_delay = found.setdefault(day, {})
                by_delay[delay] = by_delay.get(delay, 0) + frauds
    return found


def _by_day(labels: Mapping[date, Partition], days: DayRange, fact: str = "by_day") -> dict[date, list[Counts]]:
    found: dict[date, list[Counts]] = {}
    for known_on in sorted(labels):
        for text, new, frauds in labels[known_on].facts.get(fact, ()):
            day = date.fromisoformat(text)
            if day in days:
                found.setdefault(day, []).append((known_on, new, frauds))
    return found
