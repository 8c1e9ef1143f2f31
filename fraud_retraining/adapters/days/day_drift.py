"""The drift report of a day: its rows counted by the bins of what a model has learnt from.

Here: which features, scores and labels are compared, and reading the rows of the day. Not here: the measures
(`domain/monitoring/drift.py`), counting (`adapters/days/day_counts.py`), and which day is compared with which model
(`orchestration/state/monitoring.py`).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

from fraud_retraining.adapters.days.counts_in_memory import SizedCounter
from fraud_retraining.adapters.days.day_counts import DayCounts, counts_without, heavy_keys_of
from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.monitoring.bins import Bins
from fraud_retraining.domain.monitoring.drift import (
    MISSING_MISCOUNTED,
    SCORE,
    SCORES,
    DriftPolicy,
    DriftReport,
    FeatureDrift,
    FeatureProfile,
    FeatureRole,
    FraudDay,
    FraudRateDrift,
    HoldoutProfile,
    ReferenceProfile,
    excused,
    feature_drift,
    fraud_rate_drift,
    without_heavy,
)
from fraud_retraining.domain.values.errors import DataInvalid

NO_LABELS = "the labels say nothing: no fraud, or no known label, in the training days or on that day"
Count = Callable[[date, Sequence[Path]], DayCounts]
CounterOf = Callable[[Sequence[Bins]], Count]
"""Gives for some bins what counts the rows of a day by them."""


@dataclass(frozen=True)
class DriftRules:
    """How drift is measured, of which features, and above which value a day has drifted."""

    policy: DriftPolicy
    plan: FeaturePlan
    threshold: float


@dataclass(frozen=True)
class DriftReference:
    """The model that a day is compared with: what it has learnt from, its scores on the holdout, its importance.

    `importance` is the share of each feature, empty where the model uses none.
    """

    version: int
    fingerprint: str
    profile: ReferenceProfile
    holdout: HoldoutProfile | None
    importance: Mapping[str, float]


@dataclass(frozen=True)
class DriftedDay:
    """A day to be compared: its features, the scores of that model or why there are none, and its mature labels."""

    day: date
    rows: int
    features: Sequence[Path]
    scores: Sequence[Path] | str
    labels: FraudDay | str


class DayDrift:
    """Drift reports of days under one model. Bins are compiled once."""

    def __init__(
        self, reference: DriftReference, rules: DriftRules, engine: Engine, counter: CounterOf | None = None
    ) -> None:
        self._reference = reference
        self._rules = rules
        self._engine = engine
        self._counter_of: CounterOf = counter or (lambda bins: SizedCounter(engine, bins).count)

    def report(self, day: DriftedDay) -> DriftReport:
        """The report of a day.

        Raises:
            DataInvalid: the day has no transactions.
        """
        rules, reference = self._rules, self._reference
        if not day.rows:
            raise DataInvalid(f"{day.day} has no transactions, so nothing of it can be compared")
        score, no_score = self._score_drift(day)
        rate = self._fraud_rate(day.labels)
        counted = self._count(day.day, day.features)
        miscounted = {
            one.bins.name: MISSING_MISCOUNTED
            for one in self._judged
            if reference.profile.miscounts(one, counted.counts[one.bins.name])
        }
        drifts = self._without_heavy_keys(list(self._feature_drifts(counted, miscounted)), day)
        found = [*drifts, *([score] if score else [])]
        return DriftReport(
            day=day.day,
            version=reference.version,
            fingerprint=reference.fingerprint,
            statistic=rules.policy.statistic,
            threshold=rules.threshold,
            rows=day.rows,
            features=tuple(sorted(found, key=lambda one: (-one.drift, one.name))),
            left_out={**self._left_out(), **miscounted},
            groups=rules.policy.group_names(rules.plan),
            scores=no_score,
            fraud_rate=rate,
            no_fraud_rate="" if rate else day.labels if isinstance(day.labels, str) else NO_LABELS,
            min_importance=rules.policy.min_importance if reference.importance else 0.0,
        )

    def _feature_drifts(self, counted: DayCounts, left_out: Collection[str]) -> Iterator[FeatureDrift]:
        policy, importance = self._rules.policy, self._reference.importance
        groups = policy.grouped(self._rules.plan)
        for profile in self._judged:
            name = profile.bins.name
            if name in left_out:
                continue
            yield feature_drift(
                profile,
                counted.counts[name],
                FeatureRole(groups[name], importance.get(name, 0.0) if importance else 1.0, features=len(self._judged)),
                statistic=policy.statistic,
                newcomers=counted.newcomers.get(name, ()),
            )

    def _without_heavy_keys(self, found: list[FeatureDrift], day: DriftedDay) -> list[FeatureDrift]:
        """The same drifts; a feature over the threshold because of a few heavy keys has its drift without them."""
        over = {one.name: one for one in found if one.drift > self._rules.threshold}
        profiles = {profile.bins.name: profile for profile in self._judged if profile.bins.name in over}
        if not over:
            return found
        # Only for features over the threshold: finding heavy keys reads the rows of the day once more.
        bins, statistic = [profile.bins for profile in profiles.values()], self._rules.policy.statistic
        for heavy in heavy_keys_of(self._engine, day.features, tuple(self._rules.plan.entities), day.rows):
            rest = counts_without(self._engine, day.features, bins, heavy)
            for name, profile in profiles.items():
                full = next(one for one in found if one.name == name)
                left = without_heavy(profile, full, rest[name], statistic)
                over[name] = min(over[name], excused(full, heavy, left), key=lambda one: one.drift)
        return [over.get(one.name, one) for one in found]

    def _score_drift(self, day: DriftedDay) -> tuple[FeatureDrift | None, str]:
        """The drift of the scores from those on the holdout, or why it cannot be measured."""
        holdout = self._reference.holdout
        if isinstance(day.scores, str):
            return None, day.scores
        if holdout is None:
            return None, "the champion has left no profile of its scores on the holdout"
        counts = self._counter_of([holdout.score.bins])(day.day, day.scores).counts[SCORE]
        statistic = self._rules.policy.statistic
        return feature_drift(holdout.score, counts, FeatureRole(SCORES), statistic=statistic), ""

    def _fraud_rate(self, labels: FraudDay | str) -> FraudRateDrift | None:
        if isinstance(labels, str):
            return None
        factor, threshold = self._rules.policy.max_fraud_rate_factor, self._rules.threshold
        return fraud_rate_drift(self._reference.profile.fraud_days, labels, factor=factor, threshold=threshold)

    @cached_property
    def _count(self) -> Count:
        return self._counter_of([profile.bins for profile in self._judged])

    @cached_property
    def _judged(self) -> list[FeatureProfile]:
        """The profiles of features that the present settings define and do not leave out."""
        names = self._rules.policy.judged(self._rules.plan)
        return [profile for profile in self._reference.profile.features if profile.bins.name in names]

    def _left_out(self) -> dict[str, str]:
        profile = self._reference.profile
        profiled = {one.bins.name for one in profile.features}
        gone = profiled - set(self._rules.plan.names)
        missing = dict.fromkeys(sorted(gone), "the settings do not give it any more")
        return {**profile.left_out, **self._rules.policy.left_out, **missing}
