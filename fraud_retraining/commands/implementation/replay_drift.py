"""Drift of past days under the champions of a replay, by the reports of the pipeline.

Here: which days are compared, and their features, scores and labels as they were known. Not here: the report
(`adapters/days/day_drift.py`) and when it fires (`domain/retraining/triggers/drift.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from fraud_retraining.adapters.days.counts_in_memory import MemoryCounter, memory_counts_by_day
from fraud_retraining.adapters.days.day_counts import reference_bins
from fraud_retraining.adapters.days.day_drift import DayDrift, DriftedDay, DriftReference, DriftRules
from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.commands.implementation.replay_files import KeptFiles
from fraud_retraining.commands.implementation.replay_served import TABLE, VERSION, day_scores
from fraud_retraining.domain.monitoring.drift import HoldoutProfile, ReferenceProfile
from fraud_retraining.domain.replay.timeline import ReplayedModel
from fraud_retraining.domain.retraining.triggers.drift import DriftDay
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.orchestration.state.monitoring import MonitoringState, ServedBy, Serving
from fraud_retraining.orchestration.state.trigger_inputs import watched_days
from fraud_retraining.settings import Settings

NOT_SERVED = "the day was served by another model"


@dataclass(frozen=True)
class DriftSources:
    """What drift is read from."""

    settings: Settings
    store: Store
    engine: Engine
    kept: KeptFiles

    @property
    def rules(self) -> DriftRules:
        """How drift is measured."""
        return DriftRules(self.settings.drift, self.settings.feature_plan, self.settings.drift_threshold)


def days_to_compare(settings: Settings, as_of: date, champion: ReplayedModel, first: date) -> list[date]:
    """The watched days that a champion has not learnt from, oldest first; none before the first with features."""
    return [day for day in watched_days(settings, as_of) if day > champion.training.end and day >= first]


def reference_of(sources: DriftSources, window: TrainingWindow, fingerprint: str) -> ReferenceProfile:
    """The profile of what a model has learnt from."""
    settings, engine = sources.settings, sources.engine

    def make() -> ReferenceProfile:
        chosen = reference_bins(sources.store, engine, window, settings.feature_plan, settings.drift)
        return chosen.profile(window, fingerprint, memory_counts_by_day(engine, chosen.paths, chosen.bins))

    return sources.kept.document("references", [fingerprint, settings.drift], ReferenceProfile, make)


class ChampionDrift:
    """Drift of days under one champion."""

    def __init__(
        self,
        sources: DriftSources,
        champion: ReplayedModel,
        model: FittedModel,
        profiles: tuple[ReferenceProfile, HoldoutProfile | None],
    ) -> None:
        self._sources = sources
        self._champion = champion
        importance = model.importance()
        shares = importance if any(importance.values()) else {}
        self._reference = DriftReference(VERSION, champion.fingerprint, *profiles, shares)
        self._drift = DayDrift(
            self._reference, sources.rules, sources.engine, lambda bins: MemoryCounter(sources.engine, bins).count
        )

    def days(self, state: MonitoringState, days: Sequence[date], served: Sequence[date]) -> tuple[DriftDay, ...]:
        """How far some days are from what the champion has learnt from; `served` are those that it has served."""
        return tuple(self._day(state, day, served=day in served) for day in days)

    def _day(self, state: MonitoringState, day: date, *, served: bool) -> DriftDay:
        features, labels = state.features(day), state.mature_labels(day)
        rules = self._sources.rules
        about = [self._champion.fingerprint, features.digest, digest(labels), served]
        key = [*about, rules.policy, rules.threshold, self._reference.holdout]

        def make() -> DriftDay:
            paths = self._sources.store.paths([features], TABLE)
            fingerprint = self._champion.fingerprint
            compared = DriftedDay(
                day=day,
                rows=features.facts["rows"],
                features=paths,
                scores=[day_scores(self._sources.kept, fingerprint, features, paths[0])] if served else NOT_SERVED,
                labels=labels,
            )
            return self._drift.report(compared).drift_day

        return self._sources.kept.document("drift", key, DriftDay, make)


def monitoring_of(sources: DriftSources, lake: Lake, champion: ReplayedModel, days: Sequence[date]) -> MonitoringState:
    """Features and labels of some days as monitoring under the champion would read them."""
    serving = Serving(
        version=VERSION, fingerprint=champion.fingerprint, as_of=champion.as_of, training=champion.training
    )
    return MonitoringState(sources.settings, lake, sources.store, ServedBy(serving), days)
