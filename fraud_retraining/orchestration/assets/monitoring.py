"""Monitoring: the champion's scores of each day, the drift of the day from its training data, and live performance.

Here: the day assets of the group `monitoring`. Not here: what is up to date and what is due
(`orchestration/state/monitoring.py`), and the measures (`domain/monitoring/`).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import dagster as dg
import pyarrow as pa

from fraud_retraining.adapters.days.day_counts import Counter, DayCounts, counts_without, heavy_keys_of
from fraud_retraining.adapters.days.known_labels import mature_frauds
from fraud_retraining.adapters.days.live_rows import RowLabels, judged_rows, scored_rows
from fraud_retraining.adapters.days.monitoring_reports import (
    DRIFT,
    FINGERPRINT,
    MISSED,
    PERFORMANCE,
    REPORT,
    SCORED,
    Profile,
    parse_profile,
    profile_name,
    read_profile,
    report_of,
    write_profile,
)
from fraud_retraining.adapters.days.window_rows import TABLE
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.versions import ModelVersion
from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.evaluation.alert_recall import alert_recall
from fraud_retraining.domain.evaluation.judged import Judged
from fraud_retraining.domain.evaluation.metrics import evaluate
from fraud_retraining.domain.monitoring.drift import (
    MISSING_MISCOUNTED,
    SCORE,
    SCORES,
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
from fraud_retraining.domain.monitoring.live_performance import PerformanceReport, ServedPart, measure
from fraud_retraining.domain.monitoring.missed_frauds import MissedFrauds
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.values.digests import digest, table_digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration import drift_rendering
from fraud_retraining.orchestration.assets.day_runs import Maker, materialize_assets
from fraud_retraining.orchestration.names import (
    FEATURES,
    TRANSACTIONS,
)
from fraud_retraining.orchestration.partitions import BACKFILL_DAYS_IN_ONE_RUN, days_of, looking_back
from fraud_retraining.orchestration.resources import ResourceBundle
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.runs.retries import retried
from fraud_retraining.orchestration.state.monitoring import (
    HINDSIGHT,
    VERSION,
    Make,
    MonitoringState,
    NotMade,
    ServedBy,
    Serving,
    former_champions,
    no_profile,
)
from fraud_retraining.services.recorded_versions import recorded_champion, recorded_version
from fraud_retraining.settings import Settings

GROUP = "monitoring"
NO_LABELS = "the labels say nothing: no fraud, or no known label, in the training days or on that day"


@dataclass(frozen=True)
class MonitoringResources(ResourceBundle):
    """Resources of the monitoring assets."""

    settings: Settings
    lake: Lake
    store: Store
    engine: Engine
    registry: Registry
    ledger: Ledger
    progress: Progress


def build_assets(partitions: dg.PartitionsDefinition, settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of this group."""

    # One step for three assets: a range of days then loads the champion once.
    @dg.multi_asset(
        name=GROUP,
        group_name=GROUP,
        partitions_def=partitions,
        backfill_policy=BACKFILL_DAYS_IN_ONE_RUN,
        can_subset=True,
        specs=_specs(settings),
        required_resource_keys=MonitoringResources.keys(),
    )
    @retried
    def monitoring(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        resources = MonitoringResources.of(context)
        monitor = Monitor.of_days(days_of(context), resources)
        makers = {
            SCORED: Maker(monitor.scores, _scores_metadata),
            DRIFT: Maker(monitor.drift, monitor.drift_metadata),
            PERFORMANCE: Maker(monitor.performance, _performance_metadata),
            MISSED: Maker(monitor.missed, _missed_metadata),
        }
        wanted = {asset: maker for asset, maker in makers.items() if dg.AssetKey(asset) in context.selected_asset_keys}
        yield from materialize_assets(context, wanted, resources.progress)

    return [monitoring]


def _specs(settings: Settings) -> list[dg.AssetSpec]:
    mature = dg.AssetDep(FEATURES, partition_mapping=looking_back(settings.labels.delay_days))
    missed = dg.AssetSpec(
        MISSED,
        deps=[SCORED, TRANSACTIONS],
        skippable=True,
        kinds={"python"},
        description="Frauds of the day that are known by now, and those of them that no alert was about.",
    )
    return [
        *([missed] if settings.watches_missed_frauds else []),
        dg.AssetSpec(
            SCORED,
            deps=[FEATURES],
            skippable=True,
            kinds={"parquet"},
            description="The scores that the champion of the time gave the day's transactions, with its version.",
        ),
        dg.AssetSpec(
            DRIFT,
            deps=[mature, SCORED],
            skippable=True,
            kinds={"duckdb"},
            description="How far the day is from what the champion has learnt from: features, scores, fraud rate.",
        ),
        dg.AssetSpec(
            PERFORMANCE,
            deps=[SCORED, TRANSACTIONS],
            skippable=True,
            kinds={"python"},
            description="What the service was worth on the day and its week, once the day's labels are mature.",
        ),
    ]


class Monitor:
    """Makes the monitoring that is missing or out of date."""

    def __init__(self, state: MonitoringState, champion: ModelVersion | None, resources: MonitoringResources) -> None:
        self._state = state
        self._champion = champion
        self._ledger = resources.ledger
        self._settings = resources.settings
        self._store = resources.store
        self._engine = resources.engine
        self._registry = resources.registry
        self._models: dict[int, tuple[ModelVersion, FittedModel]] = {}

    @classmethod
    def of_days(cls, days: Sequence[date], resources: MonitoringResources) -> "Monitor":
        """The monitor of some days, in order, under the present champion."""
        champion = recorded_champion(resources.registry, resources.ledger)
        serving = Serving.of(champion) if champion else None
        served = ServedBy(serving, tuple(former_champions(resources.ledger, days[0])))
        state = MonitoringState(resources.settings, resources.lake, resources.store, served, days)
        return cls(state, champion, resources)

    def scores(self, day: date) -> Partition | NotMade:
        """The scores of a day, by the champion of the time."""
        plan = self._state.scores(day)
        if not isinstance(plan, Make):
            return plan
        version, model = self._model(plan.version)
        features = self._state.features(day)
        _require_features(version, model, features)
        (path,) = self._store.paths([features], TABLE)
        table = scored_rows(model, path)
        facts = {
            VERSION: version.version,
            FINGERPRINT: version.fingerprint,
            "as_of": version.as_of.isoformat(),
            HINDSIGHT: day <= version.as_of,
            "rows": table.num_rows,
            "mean_score": float(table[SCORE].to_numpy().mean()) if table.num_rows else 0.0,
        }
        made = self._store.write(
            SCORED, day, {TABLE: table}, digest=table_digest(table), inputs=plan.inputs, facts=facts
        )
        self._state.add_scores(made)
        return made

    def _model(self, number: int) -> tuple[ModelVersion, FittedModel]:
        if number not in self._models:
            champion = self._champion
            serves = champion is not None and champion.version == number
            version = champion if serves else recorded_version(self._registry.version(number), self._ledger)
            assert version is not None
            model = self._registry.load(version.run_id, expected_digest=version.artifact_digest)
            self._models[number] = version, model
        return self._models[number]

    def drift(self, day: date) -> Partition | NotMade:
        """The drift report of a day."""
        plan = self._state.drift(day)
        if not isinstance(plan, Make):
            return plan
        report = self._report(day)
        return self._store.write(
            DRIFT,
            day,
            {},
            digest=digest(report),
            inputs=plan.inputs,
            facts={FINGERPRINT: report.fingerprint, REPORT: report.model_dump(mode="json")},
        )

    def _report(self, day: date) -> DriftReport:
        champion = self._state.champion
        assert champion is not None
        policy, plan, threshold = self._settings.drift, self._settings.feature_plan, self._settings.drift_threshold
        features = self._state.features(day)
        if not features.facts["rows"]:
            raise DataInvalid(f"{day} has no transactions, so nothing of it can be compared")
        score, no_score = self._score_drift(day)
        labels = self._state.mature_labels(day)
        rate = self._fraud_rate(labels)
        counted = self._count(self._counter, day, features)
        miscounted = {
            one.bins.name: MISSING_MISCOUNTED
            for one in self._judged
            if self.profile.miscounts(one, counted.counts[one.bins.name])
        }
        drifts = self._without_heavy_keys(list(self._feature_drifts(counted, miscounted)), features)
        found = [*drifts, *([score] if score else [])]
        return DriftReport(
            day=day,
            version=champion.version,
            fingerprint=champion.fingerprint,
            statistic=policy.statistic,
            threshold=threshold,
            rows=features.facts["rows"],
            features=tuple(sorted(found, key=lambda one: (-one.drift, one.name))),
            left_out={**self._left_out(), **miscounted},
            groups=policy.group_names(plan),
            scores=no_score,
            fraud_rate=rate,
            no_fraud_rate="" if rate else labels if isinstance(labels, str) else NO_LABELS,
            min_importance=policy.min_importance if self._importance else 0.0,
        )

    def _feature_drifts(self, counted: DayCounts, left_out: Collection[str]) -> Iterator[FeatureDrift]:
        policy = self._settings.drift
        groups = policy.grouped(self._settings.feature_plan)
        for profile in self._judged:
            name = profile.bins.name
            if name in left_out:
                continue
            importance = self._importance.get(name, 0.0) if self._importance else 1.0
            yield feature_drift(
                profile,
                counted.counts[name],
                FeatureRole(groups[name], importance, features=len(self._judged)),
                statistic=policy.statistic,
                newcomers=counted.newcomers.get(name, ()),
            )

    def _without_heavy_keys(self, found: list[FeatureDrift], record: Partition) -> list[FeatureDrift]:
        """The same drifts; a feature over the threshold because of a few heavy keys has its drift without them."""
        over = {one.name: one for one in found if one.drift > self._settings.drift_threshold}
        profiles = {profile.bins.name: profile for profile in self._judged if profile.bins.name in over}
        if not over:
            return found
        # Only for features over the threshold: finding heavy keys reads the rows of the day once more.
        paths, statistic = self._store.paths([record], TABLE), self._settings.drift.statistic
        bins = [profile.bins for profile in profiles.values()]
        entities = tuple(self._settings.feature_plan.entities)
        for heavy in heavy_keys_of(self._engine, paths, entities, record.facts["rows"]):
            rest = counts_without(self._engine, paths, bins, heavy)
            for name, profile in profiles.items():
                full = next(one for one in found if one.name == name)
                left = without_heavy(profile, full, rest[name], statistic)
                over[name] = min(over[name], excused(full, heavy, left), key=lambda one: one.drift)
        return [over.get(one.name, one) for one in found]

    @cached_property
    def _importance(self) -> dict[str, float]:
        """Importance of each feature in the champion, as a share; empty where it uses none."""
        champion = self._champion
        assert champion is not None
        shares = self._model(champion.version)[1].importance()
        return {} if not any(shares.values()) else shares

    def _score_drift(self, day: date) -> tuple[FeatureDrift | None, str]:
        """The drift of the scores from those on the holdout, or why it cannot be measured."""
        scored = self._state.own_scores(day)
        if scored is None:
            return None, f"{day} was scored by another version, which then served, or by none"
        if self.holdout is None:
            return None, "the champion has left no profile of its scores on the holdout"
        counts = self._count(Counter(self._engine, [self.holdout.score.bins]), day, scored).counts[SCORE]
        statistic = self._settings.drift.statistic
        return feature_drift(self.holdout.score, counts, FeatureRole(SCORES), statistic=statistic), ""

    def _fraud_rate(self, labels: FraudDay | str) -> FraudRateDrift | None:
        if isinstance(labels, str):
            return None
        factor, threshold = self._settings.drift.max_fraud_rate_factor, self._settings.drift_threshold
        return fraud_rate_drift(self.profile.fraud_days, labels, factor=factor, threshold=threshold)

    def _count(self, counter: Counter, day: date, record: Partition) -> DayCounts:
        return counter.count(day, self._store.paths([record], TABLE))

    @cached_property
    def _counter(self) -> Counter:
        return Counter(self._engine, [profile.bins for profile in self._judged])

    @cached_property
    def _judged(self) -> list[FeatureProfile]:
        """The profiles of features that the present settings define and do not leave out."""
        names = self._settings.drift.judged(self._settings.feature_plan)
        return [profile for profile in self.profile.features if profile.bins.name in names]

    def _left_out(self) -> dict[str, str]:
        profiled = {profile.bins.name for profile in self.profile.features}
        given = self._settings.drift.left_out
        gone = profiled - set(self._settings.feature_plan.names)
        return {**self.profile.left_out, **given, **dict.fromkeys(sorted(gone), "the settings do not give it any more")}

    @cached_property
    def profile(self) -> ReferenceProfile:
        """The reference profile of the champion's training window.

        Raises:
            DataInvalid: neither the store nor the champion's run has it.
        """
        found = self._profile(ReferenceProfile)
        if found is None:
            raise no_profile(self._state.champion.name if self._state.champion else "the champion")
        return found

    @cached_property
    def holdout(self) -> HoldoutProfile | None:
        """The distribution of the champion's scores on its holdout."""
        return self._profile(HoldoutProfile)

    def _profile(self, kind: type[Profile]) -> Profile | None:
        """A profile from the store, else from the champion's run in MLflow; it is then stored again."""
        champion = self._champion
        assert champion is not None
        # The store may have been emptied; the run in MLflow has a copy for as long as the version exists.
        kept = read_profile(self._store, kind, champion.fingerprint)
        if kept is not None:
            return kept
        data = self._registry.read_document(champion.run_id, f"{profile_name(kind)}.json")
        if data is None:
            return None
        found = parse_profile(kind, data, champion.fingerprint)
        write_profile(self._store, found)
        return found

    def drift_metadata(self, record: Partition) -> dict[str, Any]:
        """A report as Dagster's UI shows it."""
        return drift_rendering.drift_metadata(report_of(record, DriftReport), self.profile, self.holdout)

    def performance(self, day: date) -> Partition | NotMade:
        """The live performance of a day."""
        plan = self._state.performance(day)
        if not isinstance(plan, Make):
            return plan
        scored = self._state.scored[day]
        fingerprint, delay = scored.facts[FINGERPRINT], self._settings.labels.delay_days
        holdout = read_profile(self._store, HoldoutProfile, fingerprint)
        report = PerformanceReport(
            day=day,
            version=scored.facts[VERSION],
            fingerprint=fingerprint,
            known_by=date.fromordinal(day.toordinal() + delay),
            today=measure(self._judged_rows((day,)), (day,), self._state.metrics),
            recent=measure(self._judged_rows(plan.recent), plan.recent, self._state.metrics),
            parts=tuple(self._served_parts(plan.recent)),
            holdout=holdout.expected_live if holdout else None,
        )
        facts = {FINGERPRINT: fingerprint, REPORT: report.model_dump(mode="json")}
        return self._store.write(PERFORMANCE, day, {}, digest=digest(report), inputs=plan.inputs, facts=facts)

    def _served_parts(self, days: Sequence[date]) -> Iterator[ServedPart]:
        """The days by the version that served them, each with the performance on its own holdout."""
        by_version: dict[str, list[date]] = {}
        for day in days:
            by_version.setdefault(self._state.scored[day].facts[FINGERPRINT], []).append(day)
        for fingerprint, served in by_version.items():
            scored = self._state.scored[served[0]]
            holdout = read_profile(self._store, HoldoutProfile, fingerprint)
            judged = self._judged_rows(served)
            yield ServedPart(
                version=scored.facts[VERSION],
                as_of=date.fromisoformat(scored.facts["as_of"]),
                days=tuple(served),
                rows=len(judged),
                frauds=judged.frauds,
                average_precision=evaluate(judged, self._state.metrics).values["average_precision"],
                promised=holdout.expected_live if holdout else None,
                promised_rows=sum(holdout.score.counts) if holdout else 0,
            )

    def missed(self, day: date) -> Partition | NotMade:
        """The known frauds of a day that no alert was about."""
        plan = self._state.missed(day)
        if not isinstance(plan, Make):
            return plan
        assert plan.known_by is not None
        alerts = alert_recall(self._judged_rows((day,), plan.known_by), self._state.metrics)
        if alerts is None:
            return NotMade(f"scores of {day} are not all numbers")
        scored = self._state.scored[day]
        fingerprint = scored.facts[FINGERPRINT]
        holdout = read_profile(self._store, HoldoutProfile, fingerprint)
        report = MissedFrauds(
            day=day,
            version=scored.facts[VERSION],
            fingerprint=fingerprint,
            known_by=plan.known_by,
            alerts=alerts,
            promised=holdout.alerts if holdout else None,
        )
        facts = {FINGERPRINT: fingerprint, REPORT: report.model_dump(mode="json")}
        return self._store.write(MISSED, day, {}, digest=digest(report), inputs=plan.inputs, facts=facts)

    def _judged_rows(self, days: Sequence[date], known_by: date | None = None) -> Judged:
        """Labelled rows of some days under the scores that served them, with labels known within the label delay.

        With `known_by` labels are those known at its end, at the latest.
        """
        transactions = self._store.paths([self._state.inventory.transactions[day] for day in days], TABLE)
        scores = self._store.paths([self._state.scored[day] for day in days], TABLE)
        return judged_rows(
            list(zip(days, transactions, scores, strict=True)),
            RowLabels(
                self._state.metrics.alert_column,
                self._settings.labels.delay_days,
                self._feed_frauds(days, known_by or date.max),
                known_by,
            ),
        )

    def _feed_frauds(self, days: Sequence[date], known_by: date) -> dict[date, pa.Array] | None:
        """Frauds of a label feed as they were known when each day became mature, or before; None without a feed."""
        labels = self._settings.labels
        return mature_frauds(self._store, days, labels.delay_days, known_by) if labels.uri is not None else None


def _require_features(version: ModelVersion, model: FittedModel, features: Partition) -> None:
    missing = [name for name in model.features if name not in features.facts["columns"]]
    if missing:
        raise DataInvalid(
            f"version {version.version} cannot score {features.day}: "
            "the present settings do not give all of its features",
            culprits=missing,
            remedy="bring the entities, windows or columns back until a model without them has been promoted.",
        )


def _scores_metadata(record: Partition) -> dict[str, Any]:
    return {
        "dagster/partition_row_count": record.facts["rows"],
        "mean_score": record.facts["mean_score"],
        "champion_version": record.facts[VERSION],
        "fingerprint": record.facts[FINGERPRINT],
        "in hindsight": record.facts[HINDSIGHT],
        "digest": record.digest,
    }


def _missed_metadata(record: Partition) -> dict[str, Any]:
    report = report_of(record, MissedFrauds)
    promised = report.served.promised_missed
    return {
        "known_frauds": report.alerts.frauds,
        "outside_of_budget": report.alerts.missed,
        "promised_share": promised if promised is not None else "not known",
        "known_by": report.known_by.isoformat(),
        "champion_version": report.version,
    }


def _performance_metadata(record: Partition) -> dict[str, Any]:
    return drift_rendering.performance_metadata(report_of(record, PerformanceReport))
