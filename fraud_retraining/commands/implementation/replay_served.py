"""Served days of a replay by the labels that were known then: what the triggers `performance` and `labels` read.

Here: scores and labels of the days, and the promises of the models that served them. Not here: the measures
(`domain/monitoring/live_performance.py`, `domain/evaluation/alert_recall.py`) and when they fire
(`domain/retraining/triggers/`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from fraud_retraining.adapters.days.known_labels import mature_frauds
from fraud_retraining.adapters.days.live_rows import RowLabels, judged_rows, scored_rows
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.commands.implementation.replay_files import KeptFiles
from fraud_retraining.domain.evaluation.alert_recall import AlertRecall, alert_recall
from fraud_retraining.domain.evaluation.judged import Judged
from fraud_retraining.domain.evaluation.metrics import average_precision
from fraud_retraining.domain.labels.reporting_delays import ReportingDelays
from fraud_retraining.domain.monitoring.drift import HoldoutProfile
from fraud_retraining.domain.monitoring.live_performance import ServedPart, measure, service_level
from fraud_retraining.domain.monitoring.missed_frauds import MissedFrauds
from fraud_retraining.domain.retraining.triggers.labels import ServedFrauds
from fraud_retraining.domain.retraining.triggers.performance import LivePerformance
from fraud_retraining.orchestration.names import TRANSACTIONS
from fraud_retraining.orchestration.state.label_days import delays_known_on, reviews_of
from fraud_retraining.settings import Settings

TABLE = "rows"
WEEK = timedelta(days=6)
VERSION = 1
Served = Sequence[tuple[date, str]]
"""Days with the fingerprint of the model that served each, oldest first."""


def day_scores(kept: KeptFiles, fingerprint: str, features: Partition, path: Path) -> Path:
    """The scores of every row of a feature day by a kept model."""
    key = [fingerprint, features.digest]
    return kept.table_path("day_scores", key, lambda: scored_rows(kept.model(fingerprint), path))


@dataclass(frozen=True)
class ServedDays:
    """Days that models of a replay served; `features` are the records of days, `promise` the holdout of a model."""

    settings: Settings
    store: Store
    kept: KeptFiles
    features: Callable[[date], Partition]
    promise: Callable[[str], HoldoutProfile | None]

    def performance(self, served: Served, as_of: date) -> tuple[LivePerformance | None, LivePerformance | None]:
        """The latest judged week across models, and the latest mature one beside it where that is another.

        None while there is none, or without a fraud.
        """
        mature = self._level(_last_week(served, as_of - timedelta(days=self.settings.labels.delay_days)))
        week = _last_week(served, as_of - self.settings.judged_at_age)
        known_by = week[-1][0] + self.settings.judged_at_age if week else as_of
        if not week or self.settings.judged_at_age.days >= self.settings.labels.delay_days:
            return mature, None
        delays = delays_known_on(self.store, self.settings.labels, known_by)
        # Without delays the pipeline waits until labels are mature.
        return (mature, None) if delays is None else (self._level(week, delays), mature)

    def _level(self, week: Served, delays: ReportingDelays | None = None) -> LivePerformance | None:
        if not week:
            return None
        days = [day for day, _ in week]
        live = measure(self._judged(week, delays=delays), days, self.settings.gates)
        if live.average_precision is None:
            return None
        parts = [self._part(week, fingerprint, delays) for fingerprint in dict.fromkeys(one for _, one in week)]
        return service_level(live, live.average_precision, parts)

    def _part(self, week: Served, fingerprint: str, delays: ReportingDelays | None) -> ServedPart:
        own = [one for one in week if one[1] == fingerprint]
        rows, promise, model = self._judged(own, delays=delays), self.promise(fingerprint), self.kept.fit(fingerprint)
        assert model is not None
        return ServedPart(
            version=VERSION,
            as_of=model.as_of,
            days=tuple(day for day, _ in own),
            rows=len(rows),
            frauds=rows.frauds,
            average_precision=average_precision(rows),
            promised=promise.expected_live if promise else None,
            promised_rows=sum(promise.score.counts) if promise else 0,
        )

    def missed(self, served: Served, as_of: date) -> tuple[ServedFrauds, ...]:
        """Known frauds of each served day that no alert was about, by the labels known at the end of a day."""
        found = [self._missed(day, fingerprint, as_of) for day, fingerprint in served]
        return tuple(one for one in found if one is not None)

    def _missed(self, day: date, fingerprint: str, as_of: date) -> ServedFrauds | None:
        known_by = min(as_of, day + timedelta(days=self.settings.labels.delay_days))
        alerts = alert_recall(self._judged([(day, fingerprint)], known_by), self.settings.gates)
        return self._report(day, fingerprint, known_by, alerts).served if alerts is not None else None

    def _report(self, day: date, fingerprint: str, known_by: date, alerts: AlertRecall) -> MissedFrauds:
        promise = self.promise(fingerprint)
        return MissedFrauds(
            day=day,
            version=VERSION,
            fingerprint=fingerprint,
            known_by=known_by,
            alerts=alerts,
            promised=promise.alerts if promise else None,
        )

    def _judged(self, served: Served, as_of: date | None = None, delays: ReportingDelays | None = None) -> Judged:
        """Rows of served days with labels known when each was mature, or at the end of `as_of`.

        With `delays` labels are those known at the end of their as-of day, and weigh by them.
        """
        labels, days = self.settings.labels, [day for day, _ in served]
        as_of = delays.as_of if delays else as_of
        records = self.store.partitions(TRANSACTIONS, days)
        paths = self.store.paths([records[day] for day in days], TABLE)
        features = [self.features(day) for day in days]
        read = self.store.paths(features, TABLE)
        scores = [
            day_scores(self.kept, fingerprint, record, path)
            for (_, fingerprint), record, path in zip(served, features, read, strict=True)
        ]
        frauds = mature_frauds(self.store, days, labels.delay_days, as_of or date.max) if labels.uri else None
        weights = {day: delays.weight((delays.as_of - day).days) for day in days} if delays else None
        reviews = reviews_of(self.settings, self.store, days, as_of or date.max)
        known = RowLabels(self.settings.gates.alert_column, labels.delay_days, frauds, as_of, weights, reviews)
        return judged_rows(list(zip(days, paths, scores, strict=True)), known)


def _last_week(served: Served, last: date) -> Served:
    """The served days of the week that ends with the last one up to a day."""
    until = [one for one in served if one[0] <= last]
    return [one for one in until if one[0] >= until[-1][0] - WEEK]
