"""Watches over promotions: scores of versions that did not serve a day, and the looks at promotions.

Here: the day assets `shadow_scores` and `promotion_watch` of the step `monitoring`. Not here: what they need
(`orchestration/state/promotion_watch.py`), and comparing and recording (`services/promotion_watches.py`).
"""

from collections.abc import Iterable
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fraud_retraining.adapters.days.known_labels import mature_frauds
from fraud_retraining.adapters.days.live_rows import RowLabels, scored_rows
from fraud_retraining.adapters.days.monitoring_reports import REPORT, SHADOW, WATCH, report_of
from fraud_retraining.adapters.days.window_rows import TABLE
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.evaluation.gates import NotCompared
from fraud_retraining.domain.monitoring.candidate_shadow import CandidateShadow
from fraud_retraining.domain.monitoring.promotion_watch import WatchReport
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.values.digests import digest, table_digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.state.label_days import delays_known_on, reviews_of
from fraud_retraining.orchestration.state.monitoring import MonitoringState, NotMade
from fraud_retraining.orchestration.state.promotion_watch import (
    UNSCORED,
    DueLook,
    DueShadow,
    ScoredBy,
    ShadowPlan,
    WatchPlan,
    WatchState,
    table_of,
)
from fraud_retraining.services.candidate_shadows import compare_shadow, record_shadow
from fraud_retraining.services.promotion_watches import Look, PromotionWatches
from fraud_retraining.services.recorded_versions import clause_of, recorded_model, require_columns


class WatchMakers:
    """Makes scores and looks of days, and records what ends a watch."""

    def __init__(self, monitoring: MonitoringState, store: Store, registry: Registry, ledger: Ledger) -> None:
        self._monitoring = monitoring
        self._settings = monitoring.settings
        self._store = store
        self._registry = registry
        self._ledger = ledger
        self._models: dict[int, FittedModel | str] = {}

    @cached_property
    def _state(self) -> WatchState:
        return WatchState.of(self._monitoring, self._store, self._ledger, self._monitoring.days)

    @property
    def any(self) -> bool:
        """Whether a promotion is watched, or a candidate waits."""
        return self._state.any

    def shadow(self, day: date) -> Partition | NotMade:
        """The scores of a day by the versions that a watch reads and that did not serve it.

        Raises:
            DependencyUnreachable: MLflow or the store did not answer.
        """
        plan = self._state.shadow(day)
        if not isinstance(plan, ShadowPlan):
            return plan
        tables, unscored = self._kept(plan.kept)
        for version in plan.versions:
            scored = self._scored(version, day)
            if isinstance(scored, str):
                unscored[str(version)] = scored
            else:
                tables[table_of(version)] = scored
        made = self._store.write(
            SHADOW,
            day,
            tables,
            digest=digest([sorted((name, table_digest(table)) for name, table in tables.items()), unscored]),
            inputs=plan.inputs,
            facts={UNSCORED: unscored},
        )
        self._state.add_shadow(made)
        return made

    def _kept(self, kept: Partition | None) -> tuple[dict[str, pa.Table], dict[str, str]]:
        if kept is None:
            return {}, {}
        paths = {name: self._store.paths([kept], name)[0] for name in kept.files}
        return {name: pq.ParquetFile(path).read() for name, path in paths.items()}, dict(kept.facts[UNSCORED])

    def _scored(self, version: int, day: date) -> pa.Table | str:
        """The scores of a day by a version, or why it cannot give them."""
        model = self._model(version)
        if isinstance(model, str):
            return model
        features = self._monitoring.features(day)
        try:
            require_columns(features, (model,))
        except DataInvalid as error:
            return clause_of(error)
        return scored_rows(model, self._store.paths([features], TABLE)[0])

    def _model(self, version: int) -> FittedModel | str:
        if version not in self._models:
            self._models[version] = self._opened(version)
        return self._models[version]

    def _opened(self, version: int) -> FittedModel | str:
        release = self._ledger.release_by_version(version)
        assert release is not None
        try:
            return recorded_model(release, self._registry, self._ledger)
        except DataInvalid as error:
            return clause_of(error)

    def watch(self, day: date) -> Partition | NotMade:
        """The looks of a day; a look that ends a watch is recorded first."""
        plan = self._state.looks(day)
        if not isinstance(plan, WatchPlan):
            return plan
        watches = PromotionWatches(self._ledger, self._settings.gates, self._settings.promotion.watch_days)
        made = []
        for due in plan.looks:
            look = self._look(due)
            watch = watches.take(look, self._labels(look, plan.known_by), plan.known_by)
            # Before the report: one that is there is not made again, and its event would never be written.
            watches.record(watch, due.promotion.fingerprint)
            made.append(watch)
        report = WatchReport(day=day, watches=tuple(made), shadow=self._compared(plan.shadow))
        facts = {REPORT: report.model_dump(mode="json")}
        return self._store.write(WATCH, day, {}, digest=digest(report), inputs=plan.inputs, facts=facts)

    def _compared(self, due: DueShadow | None) -> CandidateShadow | None:
        """The waiting candidate beside the champion; recorded, so that what a reviewer saw stays known."""
        if due is None:
            return None
        shadow = compare_shadow(due.candidate, self._paths(due.days), self._monitoring.metrics)
        record_shadow(self._ledger, shadow, due.candidate.fingerprint)
        return shadow

    def _look(self, due: DueLook) -> Look:
        return Look(due.promotion, self._paths(due.days), due.missing, due.ends)

    def _paths(self, days: Iterable[tuple[Partition, ScoredBy, ScoredBy]]) -> tuple[tuple[date, Path, Path, Path], ...]:
        """Of each day the files of its transactions and of both scores."""
        return tuple(
            (
                rows.day,
                self._store.paths([rows], TABLE)[0],
                self._store.paths([own.partition], own.table)[0],
                self._store.paths([other.partition], other.table)[0],
            )
            for rows, own, other in days
        )

    def _labels(self, look: Look, known_by: date) -> RowLabels | NotCompared:
        """The labels of a look's rows as they were known; young frauds weigh by the reporting delays known then."""
        labels, days = self._settings.labels, [day for day, *_ in look.days]
        young = any(known_by < day + timedelta(days=labels.delay_days) for day in days)
        delays = delays_known_on(self._store, labels, known_by) if young else None
        if young and delays is None:
            return NotCompared(reason=f"the reporting delay of frauds cannot be estimated as of {known_by}")
        return RowLabels(
            self._settings.gates.alert_column,
            labels.delay_days,
            mature_frauds(self._store, days, labels.delay_days, known_by) if labels.uri and days else None,
            known_by,
            {day: delays.weight((known_by - day).days) for day in days} if delays else None,
            reviews_of(self._settings, self._store, days, known_by),
        )


def shadow_metadata(record: Partition) -> dict[str, Any]:
    """Which versions scored a day, and why others did not."""
    unscored = {f"version {version}": reason for version, reason in record.facts[UNSCORED].items()}
    return {"scored_by": ", ".join(sorted(record.files)).replace("_", " ") or "none", **unscored}


def watch_metadata(record: Partition) -> dict[str, Any]:
    """Each look, and the difference of the last one."""
    report = report_of(record, WatchReport)
    watches, waits = report.watches, report.shadow
    last = watches[-1].difference if watches else None
    numbers = {"difference": last.difference.value} if last else {}
    looks = {f"version {one.version}": f"{one.standing}: {one.summary}" for one in watches}
    return {**numbers, **looks, **({f"candidate version {waits.version}": waits.summary} if waits else {})}
