"""Monitoring: the champion's scores of each day, its drift from the training data, live performance, and served skew.

Here: the day assets of the group `monitoring`. Not here: what is up to date and what is due
(`orchestration/state/monitoring.py`), and the measures (`domain/monitoring/`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from fraud_retraining.adapters.days.counts_in_memory import SizedCounter
from fraud_retraining.adapters.days.day_drift import Count, DayDrift, DriftedDay, DriftReference, DriftRules
from fraud_retraining.adapters.days.known_labels import mature_frauds
from fraud_retraining.adapters.days.live_rows import RowLabels, judged_rows, scored_rows
from fraud_retraining.adapters.days.monitoring_reports import (
    DRIFT,
    FINGERPRINT,
    MISSED,
    PERFORMANCE,
    REPORT,
    SCORED,
    SHADOW,
    SKEW,
    WATCH,
    Profile,
    note_skew,
    parse_profile,
    profile_name,
    read_profile,
    report_of,
    write_profile,
)
from fraud_retraining.adapters.days.spark_counts import SparkCounter
from fraud_retraining.adapters.days.window_rows import TABLE
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.versions import ModelVersion
from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.locations import ObjectInfo
from fraud_retraining.adapters.storage.spark_parts import SparkPart, put_part, require_all_rows
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.evaluation.alert_recall import alert_recall
from fraud_retraining.domain.evaluation.judged import Judged
from fraud_retraining.domain.evaluation.metrics import evaluate
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.monitoring.bins import Bins
from fraud_retraining.domain.monitoring.drift import (
    SCORE,
    DriftReport,
    HoldoutProfile,
    ReferenceProfile,
)
from fraud_retraining.domain.monitoring.live_performance import PerformanceReport, ServedPart, measure
from fraud_retraining.domain.monitoring.missed_frauds import MissedFrauds
from fraud_retraining.domain.monitoring.served_skew import Batch, ServedSkew, compare_served
from fraud_retraining.domain.serving.log_parts import RANGES, PartRange, changed_ranges
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.values.digests import digest, table_digest
from fraud_retraining.domain.values.errors import DataInvalid, IntegrityError
from fraud_retraining.domain.values.schemas import AMOUNT, TIMESTAMP, TRANSACTION_ID
from fraud_retraining.orchestration import drift_rendering
from fraud_retraining.orchestration.assets.day_runs import Maker, materialize_assets
from fraud_retraining.orchestration.assets.promotion_watch import WatchMakers, shadow_metadata, watch_metadata
from fraud_retraining.orchestration.names import (
    FEATURES,
    TRANSACTIONS,
)
from fraud_retraining.orchestration.partitions import BACKFILL_DAYS_IN_ONE_RUN, days_of, looking_back
from fraud_retraining.orchestration.resources import ResourceBundle
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.orchestration.state.label_days import reviews_of
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

    # One step for all of them: a range of days then loads the champion once.
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
        selected = {key.path[-1] for key in context.selected_asset_keys}
        if SCORED in selected:
            monitor.scores_ahead(days_of(context))
        makers = {
            SCORED: Maker(monitor.scores, _scores_metadata),
            DRIFT: Maker(monitor.drift, monitor.drift_metadata),
            PERFORMANCE: Maker(monitor.performance, _performance_metadata),
            MISSED: Maker(monitor.missed, _missed_metadata),
            SKEW: Maker(monitor.skew, _skew_metadata),
            SHADOW: Maker(monitor.watches.shadow, shadow_metadata),
            WATCH: Maker(monitor.watches.watch, watch_metadata),
        }
        wanted = {asset: maker for asset, maker in makers.items() if asset in selected}
        # Where no promotion is watched, nothing is said of it day by day.
        if len(wanted) > 1 and not monitor.watches.any:
            wanted = {asset: maker for asset, maker in wanted.items() if asset not in (SHADOW, WATCH)}
        # Where nothing is scored live, nothing is said of it day by day.
        if len(wanted) > 1 and not monitor.serves:
            wanted.pop(SKEW, None)
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
            description="What the service was worth on the day and its week: on labels as known, where they are used "
            "so, and once they are mature.",
        ),
        dg.AssetSpec(
            SKEW,
            deps=[FEATURES],
            skippable=True,
            kinds={"python"},
            description="Answers of the scorer about the day's transactions that rested on other features than the "
            "batch's, and why.",
        ),
        dg.AssetSpec(
            SHADOW,
            deps=[FEATURES],
            skippable=True,
            kinds={"parquet"},
            description="The scores of the day by versions that did not serve it: those before a champion that is "
            "watched, and the candidate that waits.",
        ),
        dg.AssetSpec(
            WATCH,
            deps=[SCORED, SHADOW, TRANSACTIONS],
            skippable=True,
            kinds={"python"},
            description="Each promotion of the last days beside the version that it replaced, on the same live rows; "
            "the candidate that waits beside the champion.",
        ),
    ]


def _score_facts(table: pa.Table) -> dict[str, Any]:
    mean = float(table[SCORE].to_numpy().mean()) if table.num_rows else 0.0
    return {"rows": table.num_rows, "mean_score": mean}


def scored_on_worker(of: tuple[date, ObjectInfo], *, store: Store, model: Mapping[str, bytes]) -> SparkPart:
    """What a worker of Spark does with the features of a day; the model travels as the files that it is stored as."""
    day, file = of
    (path,) = store.location.fetch([file])
    table = scored_rows(FittedModel.from_files(model), path)
    return put_part(day, table, store=store, asset=SCORED, name=TABLE, facts_of=_score_facts)


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
        self._scored_ahead: dict[tuple[date, int], SparkPart] = {}
        self.watches = WatchMakers(state, resources.store, resources.registry, resources.ledger)

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
        facts = {
            VERSION: version.version,
            FINGERPRINT: version.fingerprint,
            "as_of": version.as_of.isoformat(),
            HINDSIGHT: day <= version.as_of,
        }
        part = self._scored_ahead.pop((day, plan.version), None)
        if part is not None:
            require_all_rows(part, features)
            whole, files = part.columns.table(), {TABLE: part.file}
            made = self._store.commit(SCORED, day, files, digest=whole, inputs=plan.inputs, facts=facts | part.facts)
        else:
            (path,) = self._store.paths([features], TABLE)
            table = scored_rows(model, path)
            facts |= _score_facts(table)
            whole = table_digest(table)
            made = self._store.write(SCORED, day, {TABLE: table}, digest=whole, inputs=plan.inputs, facts=facts)
        self._state.add_scores(made)
        return made

    def scores_ahead(self, days: Sequence[date]) -> None:
        """Scores the days that have to be on Spark's workers, where that is the engine; nothing is committed."""
        if self._engine.spark is None:
            return
        wanted: dict[int, list[Partition]] = {}
        for day in days:
            try:
                plan = self._state.scores(day)
                if isinstance(plan, Make):
                    wanted.setdefault(plan.version, []).append(self._state.features(day))
            # The day itself is refused with this reason, when its turn comes.
            except DataInvalid:
                continue
        for number, features in wanted.items():
            model = self._model(number)[1]
            usable = [one for one in features if {*model.features} <= {*one.facts["columns"]}]
            objects = self._store.objects(usable, TABLE)
            work = partial(scored_on_worker, store=self._store, model=model.files())
            parts = self._engine.spark.spread(
                [(one.day, file) for one, file in zip(usable, objects, strict=True)], work
            )
            self._scored_ahead |= {(one.day, number): part for one, part in zip(usable, parts, strict=True)}

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
        report = self._day_drift.report(self._drifted_day(day))
        return self._store.write(
            DRIFT,
            day,
            {},
            digest=digest(report),
            inputs=plan.inputs,
            facts={FINGERPRINT: report.fingerprint, REPORT: report.model_dump(mode="json")},
        )

    def _drifted_day(self, day: date) -> DriftedDay:
        features, scored = self._state.features(day), self._state.own_scores(day)
        return DriftedDay(
            day=day,
            rows=features.facts["rows"],
            features=self._store.paths([features], TABLE),
            scores=self._store.paths([scored], TABLE)
            if scored
            else f"{day} was scored by another version, which then served, or by none",
            labels=self._state.mature_labels(day),
        )

    @cached_property
    def _day_drift(self) -> DayDrift:
        champion, settings = self._state.champion, self._settings
        assert champion is not None
        return DayDrift(
            DriftReference(champion.version, champion.fingerprint, self.profile, self.holdout, self._importance),
            DriftRules(settings.drift, settings.feature_plan, settings.drift_threshold),
            self._engine,
            self._spark_counter if self._engine.spark is not None else None,
        )

    def _spark_counter(self, bins: Sequence[Bins]) -> Count:
        """Counts features of the run's days together on Spark; scores, which are one column, are read here."""
        if self._engine.spark is None or [one.name for one in bins] == [SCORE]:
            return SizedCounter(self._engine, bins).count
        files = {day: self._store.objects([one], TABLE) for day, one in self._state.features_to_compare().items()}
        return SparkCounter(self._engine.spark, self._store.location, files, bins).count

    @cached_property
    def _importance(self) -> dict[str, float]:
        """Importance of each feature in the champion, as a share; empty where it uses none."""
        champion = self._champion
        assert champion is not None
        shares = self._model(champion.version)[1].importance()
        return {} if not any(shares.values()) else shares

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
        fingerprint = scored.facts[FINGERPRINT]
        holdout = read_profile(self._store, HoldoutProfile, fingerprint)
        report = PerformanceReport(
            day=day,
            version=scored.facts[VERSION],
            fingerprint=fingerprint,
            known_by=plan.known_by or day + timedelta(days=self._settings.labels.delay_days),
            today=measure(self._judged_rows((day,), plan), (day,), self._state.metrics),
            recent=measure(self._judged_rows(plan.recent, plan), plan.recent, self._state.metrics),
            parts=tuple(self._served_parts(plan)),
            holdout=holdout.expected_live if holdout else None,
            delays=plan.delays,
        )
        facts = {FINGERPRINT: fingerprint, REPORT: report.model_dump(mode="json")}
        return self._store.write(PERFORMANCE, day, {}, digest=digest(report), inputs=plan.inputs, facts=facts)

    def _served_parts(self, plan: Make) -> Iterator[ServedPart]:
        """The days by the version that served them, each with the performance on its own holdout."""
        by_version: dict[str, list[date]] = {}
        for day in plan.recent:
            by_version.setdefault(self._state.scored[day].facts[FINGERPRINT], []).append(day)
        for fingerprint, served in by_version.items():
            scored = self._state.scored[served[0]]
            holdout = read_profile(self._store, HoldoutProfile, fingerprint)
            judged = self._judged_rows(served, plan)
            yield ServedPart(
                version=scored.facts[VERSION],
                as_of=date.fromisoformat(scored.facts["as_of"]),
                days=tuple(served),
                rows=judged.rows,
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
        alerts = alert_recall(self._judged_rows((day,), plan), self._state.metrics)
        if alerts is None:
            raise IntegrityError(
                f"scores of {day} are not all numbers", remedy=f"materialize scored_transactions of {day} again."
            )
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

    @property
    def serves(self) -> bool:
        """Whether transactions of any of the days were scored live."""
        return self._state.has_serving_log or any(any(self._recorded_parts(day)) for day in self._state.days)

    def skew(self, day: date) -> Partition | NotMade:
        """The answers of a day beside the batch's features."""
        plan = self._state.skew(day)
        if isinstance(plan, NotMade) and not self._state.was_served(day):
            self._require_none_recorded(day)
        if isinstance(plan, Partition):
            # The document of the latest day may have been lost or damaged since.
            note_skew(self._store, report_of(plan, ServedSkew))
        if not isinstance(plan, Make):
            return plan
        served = self._state.served_days.read(day)
        if served is None or not served.num_rows:
            self._require_none_recorded(day)
            return NotMade(f"no transaction of {day} was scored live")
        altered = changed_ranges(self._recorded_parts(day), self._state.served_days.digests(day))
        named = [one.summary for one in altered]
        report = compare_served(day, served, self._batch(day), self._settings.feature_plan, named)
        facts = {REPORT: report.model_dump(mode="json")}
        made = self._store.write(SKEW, day, {}, digest=digest(report), inputs=plan.inputs, facts=facts)
        note_skew(self._store, report)
        return made

    def _require_none_recorded(self, day: date) -> None:
        if any(self._recorded_parts(day)):
            raise IntegrityError(
                f"the ledger says that answers about transactions of {day} were logged, and the store has none of them",
                remedy="find out who removed them, and bring the serving log of that day back from a backup.",
                days=[day],
            )

    def _recorded_parts(self, day: date) -> Iterator[PartRange]:
        """What scorers recorded of their answers about transactions of a day."""
        for event in self._ledger.events(EventKind.ANSWERS_LOGGED, subject=day.isoformat()):
            yield from map(PartRange.model_validate, event.payload[RANGES])

    def _batch(self, day: date) -> Batch:
        features, plan = self._state.features(day), self._settings.feature_plan
        before = self._state.inventory.transactions.get(day - timedelta(days=1))
        (path,) = self._store.paths([features], TABLE)
        lake = pq.read_table(path, columns=[TRANSACTION_ID, TIMESTAMP, AMOUNT, *plan.entities])
        ids = None
        if before is not None:
            (earlier,) = self._store.paths([before], TABLE)
            ids = pq.read_table(earlier, columns=[TRANSACTION_ID])[TRANSACTION_ID]
        made_by = digest([features.inputs["plan"], features.inputs["code"]])
        return Batch(
            lake, _parts(path, plan.names), ids, made_by, self._state.state_changed(day), self._ids_of_all(features)
        )

    def _ids_of_all(self, features: Partition) -> pa.ChunkedArray | None:
        """Ids of a shared day whatever their segment; None where the model has the whole day."""
        whole = self._store.whole(features)
        if whole == features:
            return None
        (path,) = self._store.paths([whole], TABLE)
        return pq.read_table(path, columns=[TRANSACTION_ID])[TRANSACTION_ID]

    def _judged_rows(self, days: Sequence[date], plan: Make) -> Judged:
        """Labelled rows of some days under the scores that served them, with labels known within the label delay.

        Where the plan says by when, labels are those known at its end, at the latest, and weigh by its delays.
        """
        known_by, delays = plan.known_by, plan.delays
        transactions = self._store.paths([self._state.inventory.transactions[day] for day in days], TABLE)
        scores = self._store.paths([self._state.scored[day] for day in days], TABLE)
        return judged_rows(
            list(zip(days, transactions, scores, strict=True)),
            RowLabels(
                self._state.metrics.alert_column,
                self._settings.labels.delay_days,
                self._feed_frauds(days, known_by or date.max),
                known_by,
                {day: delays.weight((known_by - day).days) for day in days} if known_by and delays else None,
                reviews_of(self._settings, self._store, days, known_by or date.max),
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


def _parts(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """A table in its row groups: all features of a day at once take several times their memory."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=list(columns))


def _skew_metadata(record: Partition) -> dict[str, Any]:
    return drift_rendering.skew_metadata(report_of(record, ServedSkew))


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
