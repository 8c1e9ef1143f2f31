"""Training: the manifest of a window, and the model that it gives.

Here: the as-of assets of the group `training`. Not here: which days a window has (`domain/windows.py`) and how a model
is fitted (`domain/training.py`).
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa

from fraud_retraining.adapters.environment import library_versions, source_files
from fraud_retraining.adapters.lake import DayFiles, Lake
from fraud_retraining.adapters.ledger import Ledger
from fraud_retraining.adapters.registry import Registry, TrainedRun
from fraud_retraining.adapters.store import Store
from fraud_retraining.adapters.window_rows import WindowRows
from fraud_retraining.domain.candidate import TrainedModel
from fraud_retraining.domain.errors import DataInvalid, SettingsError
from fraud_retraining.domain.events import EventKind
from fraud_retraining.domain.fingerprint import Fingerprint, code_digest, digest, fingerprint
from fraud_retraining.domain.lineage import lookback
from fraud_retraining.domain.schemas import TRANSACTION_ID
from fraud_retraining.domain.training import OnRound, fit
from fraud_retraining.domain.windows import (
    DayRange,
    FeatureDay,
    TrainingWindow,
    WindowDays,
    build_manifest,
    changed_days,
    window_days,
)
from fraud_retraining.orchestration.checks.data_checks import require_window_checks
from fraud_retraining.orchestration.inventory import FEATURES, Inventory
from fraud_retraining.orchestration.jobs import TRIGGER_TAG
from fraud_retraining.orchestration.partitions import days_of, window_mapping
from fraud_retraining.orchestration.progress import Progress
from fraud_retraining.orchestration.rendering import importance_table, window_table
from fraud_retraining.settings import Settings

GROUP = "training"
WINDOW = "training_window"
MODEL = "fraud_model"
EXAMPLE_ROWS = 20
MODEL_CODE = (
    "fraud_retraining.domain.days",
    "fraud_retraining.domain.features",
    "fraud_retraining.domain.ingestion",
    "fraud_retraining.domain.scoring",
    "fraud_retraining.domain.training",
)


def build_assets(partitions: dg.PartitionsDefinition, settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of this group."""
    mapping = window_mapping(settings.window, settings.holdout, settings.labels.delay_days)

    @dg.asset(
        name=WINDOW,
        group_name=GROUP,
        partitions_def=partitions,
        deps=[dg.AssetDep(FEATURES, partition_mapping=mapping)],
        kinds={"json"},
    )
    def training_window(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[Store],
        ledger: dg.ResourceParam[Ledger],
    ) -> TrainingWindow:
        """Which days the model of this as-of day learns from and is judged on, pinned by digest; no copy of rows."""
        window = _build_window(days_of(context)[0], settings, lake, store)
        _record_window(context, window, ledger)
        context.add_output_metadata(_window_metadata(window))
        return window

    @dg.asset(name=MODEL, group_name=GROUP, partitions_def=partitions, kinds={"mlflow", "xgboost"})
    def fraud_model(
        context: dg.AssetExecutionContext,
        training_window: TrainingWindow,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        ledger: dg.ResourceParam[Ledger],
        progress: dg.ResourceParam[Progress],
        mlflow: dg.ResourceParam[Any],
    ) -> TrainedModel:
        """The fitted model in MLflow. A fingerprint that was trained before is found, and nothing is trained."""
        require_window_checks(store, training_window)
        determined_by = _fingerprint(training_window, settings)
        known = registry.find_run(determined_by.digest)
        reused = known is not None
        if known is None:
            known = _train(context, training_window, determined_by, settings, store, registry, progress, mlflow)
        else:
            mlflow.set_tag("reused_run", known.run_id)
        model = TrainedModel(
            as_of=training_window.days.as_of,
            fingerprint=determined_by.digest,
            determined_by=determined_by,
            run_id=known.run_id,
            artifact_digest=known.artifact_digest,
            reused=reused,
            training=training_window.days.training,
            importance=registry.importance(known),
        )
        if not model.reused:
            _record_model(context, model, ledger)
        context.add_output_metadata(_model_metadata(model))
        return model

    return [training_window, fraud_model]


def _build_window(as_of: date, settings: Settings, lake: Lake, store: Store) -> TrainingWindow:
    days = _window(as_of, settings)
    plan = settings.feature_plan
    history = sorted({earlier for day in days.needed for earlier in lookback(plan, day)} - set(days.needed))
    used = sorted({*history, *days.needed})
    inventory = Inventory(store, settings, used)
    arrived = {day: files for day, files in lake.days(DayRange(start=used[0], end=used[-1])).items() if day in used}
    _require_current(days, arrived, inventory)
    found = {
        day: FeatureDay(
            digest=inventory.transactions[day].digest,
            features_digest=partition.digest,
            label_days=partition.facts["label_days"],
        )
        for day, partition in inventory.features.items()
        if day in days.needed and day in arrived
    }
    return build_manifest(
        days,
        found,
        {day: inventory.transactions[day].digest for day in history if day in inventory.transactions},
        label_delay_days=settings.labels.delay_days,
        features=plan.names,
        categorical=plan.categorical,
        features_policy=digest(plan),
    )


def _window(as_of: date, settings: Settings) -> WindowDays:
    try:
        return window_days(as_of, settings.window, settings.holdout, settings.labels)
    except ValueError as error:
        raise SettingsError(f"as of {as_of} there is no window: {error}") from None


def _require_current(days: WindowDays, arrived: Mapping[date, DayFiles], inventory: Inventory) -> None:
    """Refuses days that are in the lake but not, or not any more, in the store as they are there; or not checked.

    Raises:
        DataInvalid: names the days.
    """
    stale = dict.fromkeys(inventory.stale_transactions(arrived), "has arrived but is not ingested as it is now")
    stale |= {day: "its sums are missing or out of date" for day in inventory.stale_entity_days() if day not in stale}
    current = [day for day in days.needed if day in inventory.entity_days and day not in stale]
    stale |= dict.fromkeys(inventory.stale_features(current), "its features are missing or out of date")
    problems = [*(f"{day}: {why}" for day, why in sorted(stale.items())), *inventory.unchecked(arrived)]
    if problems:
        raise DataInvalid(
            f"days that the window as of {days.as_of} needs cannot be used",
            culprits=problems,
            remedy=f"materialize them with the job `ingest`, or run `fraud-retraining retrain --as-of {days.as_of}`, "
            "which does; days that failed a check have to be delivered again.",
        )


def _record_window(context: dg.AssetExecutionContext, window: TrainingWindow, ledger: Ledger) -> None:
    as_of = window.days.as_of
    before = ledger.last(EventKind.WINDOW_BUILT, as_of=as_of) or ledger.last(EventKind.WINDOW_BUILT)
    if before is not None:
        for change in changed_days(TrainingWindow.model_validate(before.payload), window):
            ledger.append(
                EventKind.DAY_CHANGED,
                actor="pipeline",
                channel="dagster",
                subject=change.day.isoformat(),
                as_of=as_of,
                payload={**change.model_dump(mode="json"), "used_before_as_of": before.as_of},
            )
            context.log.warning(f"{change.day} was rewritten since it was used as of {before.as_of}")
    ledger.append(
        EventKind.WINDOW_BUILT,
        actor="pipeline",
        channel="dagster",
        as_of=as_of,
        payload=window.model_dump(mode="json"),
    )


def _fingerprint(window: TrainingWindow, settings: Settings) -> Fingerprint:
    return fingerprint(
        window,
        model=settings.model.model_copy(update={"threads": 0}),
        code=code_digest(source_files(MODEL_CODE)),
        libraries=library_versions(),
    )


def _train(
    context: dg.AssetExecutionContext,
    window: TrainingWindow,
    determined_by: Fingerprint,
    settings: Settings,
    store: Store,
    registry: Registry,
    progress: Progress,
    mlflow: Any,
) -> TrainedRun:
    rows = WindowRows(store, window.training, window.days.as_of, [TRANSACTION_ID, *window.features])
    progress.start(MODEL, 1)
    model = fit(settings.model, window.features, window.categorical, rows, on_round=_rounds(progress))
    return registry.log_model(
        mlflow.active_run().info.run_id,
        model,
        example=_example(rows),
        tags=_tags(context, window, determined_by),
        window=window,
        fingerprint=determined_by,
    )


def _rounds(progress: Progress) -> OnRound:
    started = False

    def told(done: int, total: int) -> None:
        nonlocal started
        if not started:
            progress.start(MODEL, total)
            started = True
        progress.advance(MODEL, done)

    return told


def _example(rows: WindowRows) -> pa.Table:
    return pa.Table.from_batches([next(rows())]).slice(0, EXAMPLE_ROWS)


def _tags(context: dg.AssetExecutionContext, window: TrainingWindow, determined_by: Fingerprint) -> dict[str, str]:
    training, holdout = window.days.training, window.days.holdout
    return {
        "trigger": context.run.tags.get(TRIGGER_TAG, "manual"),
        "as_of": window.days.as_of.isoformat(),
        "window": f"{window.days.strategy} {training.start} to {training.end}",
        "holdout": f"{holdout.start} to {holdout.end}",
        "dagster_run_id": context.run_id,
    }


def _record_model(context: dg.AssetExecutionContext, model: TrainedModel, ledger: Ledger) -> None:
    ledger.append(
        EventKind.MODEL_TRAINED,
        actor="pipeline",
        channel="dagster",
        as_of=model.as_of,
        fingerprint=model.fingerprint,
        payload={**model.model_dump(mode="json"), "dagster_run_id": context.run_id},
    )


def _window_metadata(window: TrainingWindow) -> dict[str, Any]:
    return {
        "dagster/row_count": window.rows,
        "frauds": window.frauds,
        "fraud_rate": window.frauds / window.rows if window.rows else 0.0,
        "holdout_rows": window.holdout_rows,
        "holdout_frauds": window.holdout_frauds,
        "missing_days": ", ".join(map(str, window.missing)) or "none",
        "strategy": window.days.strategy,
        "days": window_table(window),
    }


def _model_metadata(model: TrainedModel) -> dict[str, Any]:
    return {
        "fingerprint": model.fingerprint,
        "mlflow_run_id": model.run_id,
        "artifact_digest": model.artifact_digest,
        "reused": model.reused,
        "importance": importance_table(model.importance),
    }
