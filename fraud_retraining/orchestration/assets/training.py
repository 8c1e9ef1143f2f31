"""Training: the manifest of a training window, and the model that is fitted on it.

Here: the as-of assets of the group `training`. Not here: which days a window has (`domain/training/windows.py`) and how
a model is fitted (`domain/training/fitting.py`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa
from pydantic import Field, ValidationError

from fraud_retraining.adapters.days.counts_in_memory import sized_counts_by_day
from fraud_retraining.adapters.days.day_counts import measure_reference
from fraud_retraining.adapters.days.known_labels import KnownLabels
from fraud_retraining.adapters.days.monitoring_reports import profile_name, write_profile
from fraud_retraining.adapters.days.spark_fit import fit_on_spark
from fraud_retraining.adapters.days.window_rows import WindowRows
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.environment import environment
from fraud_retraining.adapters.mlflow.gpu import require_device
from fraud_retraining.adapters.mlflow.logged_models import TrainingSource
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.runs import TrainedRun
from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.alerts.notices import mlflow_run_url
from fraud_retraining.domain.data.reproducibility import rewritten_days
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.monitoring.drift import ReferenceProfile
from fraud_retraining.domain.releases.candidate import Making, TrainedModel
from fraud_retraining.domain.retraining.requesters import RetrainRequest
from fraud_retraining.domain.training.fingerprint import IMPORT_TRIGGER, Fingerprint
from fraud_retraining.domain.training.fitting import Batches, OnRound, fit
from fraud_retraining.domain.training.imported import require_importable
from fraud_retraining.domain.training.windows import (
    ExpandingWindow,
    TrainingWindow,
)
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import IntegrityError, RecordAltered, SettingsError
from fraud_retraining.domain.values.schemas import TRANSACTION_ID
from fraud_retraining.orchestration.names import (
    FEATURES,
    FINGERPRINT_TAG,
    IMPORTED_TAG,
    MODEL,
    REASON_TAG,
    RETRAIN_POOL,
    TRIGGER_TAG,
    WINDOW,
)
from fraud_retraining.orchestration.partitions import days_of, window_mapping
from fraud_retraining.orchestration.rendering import importance_table, links_of, window_table
from fraud_retraining.orchestration.resources import ResourceBundle
from fraud_retraining.orchestration.runs.mlflow_run import MlflowRun
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.runs.requests import record_request, request_of_run
from fraud_retraining.orchestration.runs.retrain_lease import RetrainLease
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.orchestration.state.check_reports import require_window_checks
from fraud_retraining.orchestration.state.inventory import (
    Inventory,
)
from fraud_retraining.orchestration.state.reproducibility import mark_versions
from fraud_retraining.orchestration.state.window_assembly import build_window, model_fingerprint
from fraud_retraining.services.recorded_versions import recorded_digests, require_kept
from fraud_retraining.settings import Settings

GROUP = "training"
EXAMPLE_ROWS = 20


@dataclass(frozen=True)
class WindowResources(ResourceBundle):
    """Resources of `training_window`."""

    settings: Settings
    lake: Lake
    store: Store
    registry: Registry
    ledger: Ledger
    retrain_lease: RetrainLease


@dataclass(frozen=True)
class FitResources(ResourceBundle):
    """Resources by which a model is fitted."""

    settings: Settings
    store: Store
    engine: Engine
    registry: Registry
    ledger: Ledger
    progress: Progress
    retrain_lease: RetrainLease


@dataclass(frozen=True)
class TrainingResources(FitResources):
    """Resources of `fraud_model`."""

    mlflow: MlflowRun


class RetrainForm(dg.Config):
    """Fields of a retrain in the launch form of Dagster's UI."""

    reason: str = Field(
        "",
        max_length=1000,
        description="Why the retrain is requested; recorded in ledger, release and MLflow.",
    )
    window_days: int = Field(
        0, ge=0, le=3660, description="Days of the training window, for this run only; 0: window.days of the settings."
    )


def build_assets(partitions: dg.PartitionsDefinition, settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of this group."""
    mapping = window_mapping(settings.window, settings.holdout, settings.window_labels.lag_days)

    @dg.asset(
        name=WINDOW,
        group_name=GROUP,
        pool=RETRAIN_POOL,
        partitions_def=partitions,
        deps=[dg.AssetDep(FEATURES, partition_mapping=mapping)],
        required_resource_keys=WindowResources.keys(),
        kinds={"json"},
    )
    @retried
    def training_window(context: dg.AssetExecutionContext, config: RetrainForm) -> TrainingWindow:
        """Which days the model of this as-of day learns from and is judged on, pinned by digest; no copy of rows."""
        resources = WindowResources.of(context)
        settings, store, ledger = resources.settings, resources.store, resources.ledger
        # Recorded before the lease is taken: a request that is refused or waits is on the record too.
        record_request(context.run_id, _tags_of_request(context.run.tags, config), settings, ledger)
        resources.retrain_lease.hold(WINDOW)
        # Early: a champion that MLflow has lost would end the retrain after the training instead of before it.
        require_kept(resources.registry, ledger)
        # An imported model is not fitted.
        if IMPORTED_TAG not in context.run.tags:
            require_device(settings.model)
        as_of, wanted = days_of(context)[0], _with_window(settings, config.window_days)
        window = build_window(as_of, wanted, resources.lake, store)
        for change in _record_window(window, Inventory(store, settings, window.digests), ledger):
            context.log.warning(change)
        mark_versions(settings, store, resources.registry, ledger)
        context.add_output_metadata(_window_metadata(window))
        return window

    @dg.asset(
        name=MODEL,
        group_name=GROUP,
        pool=RETRAIN_POOL,
        partitions_def=partitions,
        required_resource_keys=TrainingResources.keys(),
        kinds={"mlflow"},
    )
    @retried
    def fraud_model(context: dg.AssetExecutionContext, training_window: TrainingWindow) -> TrainedModel:
        """The fitted model in MLflow. A fingerprint that was trained before is found, and nothing is trained."""
        resources = TrainingResources.of(context)
        settings, ledger = resources.settings, resources.ledger
        resources.retrain_lease.hold(MODEL)
        require_window_checks(resources.store, training_window)
        imported = _imported(context.run.tags, ledger)
        determined_by = imported or model_fingerprint(training_window, settings)
        context.instance.add_run_tags(context.run_id, {FINGERPRINT_TAG: determined_by.digest})
        model = (
            _taken_in(training_window, determined_by, resources)
            if imported
            else _found_or_trained(training_window, determined_by, resources, context.run_id)
        )
        # A process that died after the upload left a model without this event; the next run finds the model and records
        # it.
        if ledger.last(EventKind.MODEL_TRAINED, fingerprint=model.fingerprint) is None:
            making = _making(training_window, determined_by, settings, request_of_run(context.run_id, ledger))
            _record_model(model, making, ledger, context.run_id)
        context.add_output_metadata(_model_metadata(model))
        context.add_output_metadata(links_of(mlflow_run=mlflow_run_url(settings.alerts.links, model.run_id)))
        return model

    return [training_window, fraud_model]


def _found_or_trained(
    window: TrainingWindow, determined_by: Fingerprint, resources: TrainingResources, dagster_run_id: str
) -> TrainedModel:
    """The model of a fingerprint: the one that an earlier run trained, else a new one."""
    registry = resources.registry
    known = registry.find_run(determined_by.digest, recorded_digests(resources.ledger, determined_by.digest))
    run = known
    if run is None:
        # The profile goes first: a run whose model was uploaded counts as trained, and must have its profile.
        run_id = resources.mlflow.run_id
        keep_profile(window, determined_by.digest, run_id, resources)
        run = train(window, determined_by, run_id, run_tags(window, dagster_run_id), resources)
    return TrainedModel(
        as_of=window.days.as_of,
        fingerprint=determined_by.digest,
        determined_by=determined_by,
        run_id=run.run_id,
        artifact_digest=run.artifact_digest,
        reused=known is not None,
        training=window.days.training,
        importance=registry.importance(run),
    )


def _imported(tags: Mapping[str, str], ledger: Ledger) -> Fingerprint | None:
    """What the ledger says of the imported model that a run is about; None for a retrain.

    Raises:
        RecordAltered: the ledger knows of no such import, or the run does not say that it is one. A tag is only text
            that a person typed.
    """
    if IMPORTED_TAG not in tags:
        return None
    # By this trigger the record knows an imported release, which never replaces a champion.
    if tags.get(TRIGGER_TAG) != IMPORT_TRIGGER:
        raise RecordAltered(
            f"the run has the tag {IMPORTED_TAG}, and its trigger is {tags.get(TRIGGER_TAG)!r}",
            remedy="Import the model with `fraud-retraining import-champion`.",
        )
    event = ledger.last(EventKind.MODEL_IMPORTED, fingerprint=tags[IMPORTED_TAG])
    if event is None:
        raise RecordAltered(
            f"the ledger knows of no imported model {tags[IMPORTED_TAG]}",
            remedy="Import it with `fraud-retraining import-champion`.",
        )
    return Fingerprint.model_validate(event.payload["determined_by"])


def _taken_in(window: TrainingWindow, determined_by: Fingerprint, resources: TrainingResources) -> TrainedModel:
    """The imported model, which was uploaded and recorded before the run began.

    Raises:
        Conflict: another model is champion.
        SettingsError: it may have learnt from days that it would be judged on, or is imported as of another day.
    """
    imported, registry = determined_by.imported, resources.registry
    assert imported is not None
    champion = resources.ledger.champion()
    require_importable(window.days, determined_by, champion.fingerprint if champion else None)
    run = registry.find_run(determined_by.digest, recorded_digests(resources.ledger, determined_by.digest))
    if run is None:
        raise IntegrityError(
            f"MLflow has no run of the imported model {determined_by.digest}", remedy="Import the file again."
        )
    # Later days are held against these: nobody knows the rows that it has learnt from.
    keep_profile(window, determined_by.digest, run.run_id, resources)
    return TrainedModel(
        as_of=window.days.as_of,
        fingerprint=determined_by.digest,
        determined_by=determined_by,
        run_id=run.run_id,
        artifact_digest=run.artifact_digest,
        reused=True,
        training=imported.training,
        importance=registry.importance(run),
    )


def _tags_of_request(tags: Mapping[str, str], config: RetrainForm) -> Mapping[str, str]:
    """The run's tags, with the reason of the launch form where the tags have none."""
    return {**tags, REASON_TAG: config.reason} if config.reason and not tags.get(REASON_TAG) else tags


def _with_window(settings: Settings, days: int) -> Settings:
    """The settings with a training window of `days` days; 0 keeps the length of the settings.

    Raises:
        SettingsError: the window has no such length.
    """
    if days == 0:
        return settings
    window = settings.window
    if isinstance(window, ExpandingWindow):
        raise SettingsError("an expanding window has no length that could be set", remedy="leave window_days at 0.")
    try:
        changed = type(window).model_validate({**window.model_dump(), "days": days})
    except ValidationError as error:
        problems = [str(one["msg"]) for one in error.errors()]
        raise SettingsError(f"a window of {days} days is not possible", culprits=problems) from None
    return settings.model_copy(update={"window": changed})


def _record_window(window: TrainingWindow, inventory: Inventory, ledger: Ledger) -> list[str]:
    """Records the window, and each day that was rewritten since a window used it; returns a warning for each."""
    as_of, warnings = window.days.as_of, []
    before = ledger.last(EventKind.WINDOW_BUILT, as_of=as_of) or ledger.last(EventKind.WINDOW_BUILT)
    if before is not None:
        used = TrainingWindow.model_validate(before.payload)
        same_rules = used.features_policy == window.features_policy
        for change in rewritten_days(used.digests, inventory.stored_days, same_rules=same_rules):
            ledger.append(
                EventKind.DAY_CHANGED,
                actor="pipeline",
                channel="dagster",
                keys=EventKeys(subject=change.day.isoformat(), as_of=as_of),
                payload={**change.model_dump(mode="json"), "used_before_as_of": before.as_of},
            )
            warnings.append(f"{change.day} was rewritten since it was used as of {before.as_of}")
    ledger.append(
        EventKind.WINDOW_BUILT,
        actor="pipeline",
        channel="dagster",
        keys=EventKeys(as_of=as_of),
        payload=window.model_dump(mode="json"),
    )
    return warnings


def train(
    window: TrainingWindow, determined_by: Fingerprint, run_id: str, tags: Mapping[str, str], resources: FitResources
) -> TrainedRun:
    """Fits on the training days of a window, and puts the model into a run of MLflow."""
    settings, lease = resources.settings, resources.retrain_lease
    known = KnownLabels.of(window, resources.store)
    columns = [TRANSACTION_ID, *window.features]
    rows = WindowRows(resources.store, window.training, window.days.as_of, columns, known)
    on_round = _rounds(resources.progress, lease)
    if settings.model.trainer == "spark":
        spark = resources.engine.spark
        assert spark is not None
        # Spark tells of no rounds; lease and budget are checked while it works.
        model = fit_on_spark(settings.model, window, resources.store, spark, lease.hold)
        resources.progress.advance(MODEL, 1)
    else:
        model = fit(settings.model, window.features, window.categorical, _watched(rows, lease), on_round=on_round)
    return resources.registry.log_model(
        run_id,
        model,
        TrainingSource(window, determined_by, rows_uri=f"{settings.store_uri}/{FEATURES}"),
        example=_example(rows),
        tags=tags,
        on_built=record_artifact(resources, window.days.as_of, determined_by.digest, run_id),
    )


def record_artifact(resources: FitResources, as_of: date, fingerprint: str, run_id: str) -> Callable[[str], object]:
    """Records an artifact by its digest before it is uploaded.

    A model whose upload is cut off by a crash is recognized by the digest in the ledger.
    """
    return lambda artifact_digest: resources.ledger.append(
        EventKind.ARTIFACT_BUILT,
        actor="pipeline",
        channel="dagster",
        keys=EventKeys(as_of=as_of, fingerprint=fingerprint),
        payload={"artifact_digest": artifact_digest, "run_id": run_id},
    )


def keep_profile(window: TrainingWindow, fingerprint: str, run_id: str, resources: FitResources) -> None:
    """Stores the reference profile of the training rows, which drift of later days is measured against."""
    settings, store = resources.settings, resources.store
    profile = measure_reference(
        store, resources.engine, window, settings.feature_plan, settings.drift, fingerprint, sized_counts_by_day
    )
    write_profile(store, profile)
    name = f"{profile_name(ReferenceProfile)}.json"
    resources.registry.log_document(run_id, name, profile.model_dump(mode="json"))


def _watched(rows: WindowRows, lease: RetrainLease) -> Batches:
    """The rows, with the lease and the time budget checked before each batch: passes over rows are long too."""

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows():
            lease.hold()
            yield batch

    return batches


def _rounds(progress: Progress, lease: RetrainLease) -> OnRound:
    """Reports each round of boosting to the lease, which may end the training, and to the progress."""
    started = False
    progress.start(MODEL, 1)

    def report(done: int, total: int) -> None:
        nonlocal started
        # First: what it raises ends the training, and the round is not reported as done.
        lease.on_round(done, total)
        if not started:
            progress.start(MODEL, total)
            started = True
        progress.advance(MODEL, done)

    return report


def example_rows(window: TrainingWindow, resources: FitResources) -> pa.Table:
    """Some training rows of a window, as an example of what its model reads."""
    columns = [TRANSACTION_ID, *window.features]
    known = KnownLabels.of(window, resources.store)
    return _example(WindowRows(resources.store, window.training, window.days.as_of, columns, known))


def _example(rows: WindowRows) -> pa.Table:
    return pa.Table.from_batches([next(rows())]).slice(0, EXAMPLE_ROWS)


def run_tags(window: TrainingWindow, dagster_run_id: str) -> dict[str, str]:
    """Tags of a run of MLflow that holds a model of a window."""
    training, holdout = window.days.training, window.days.holdout
    return {
        "as_of": window.days.as_of.isoformat(),
        "window": f"{window.days.strategy} {training.start} to {training.end}",
        "holdout": f"{holdout.start} to {holdout.end}",
        "dagster_run_id": dagster_run_id,
    }


def _making(window: TrainingWindow, determined_by: Fingerprint, settings: Settings, request: RetrainRequest) -> Making:
    imported = determined_by.imported
    return Making(
        trigger=request.trigger,
        reason=request.reason,
        parameters=(imported or settings.model.parameters).model_dump(mode="json"),
        environment=environment(),
        window_digest=digest(window),
    )


def _record_model(model: TrainedModel, making: Making, ledger: Ledger, dagster_run_id: str) -> None:
    ledger.append(
        EventKind.MODEL_TRAINED,
        actor="pipeline",
        channel="dagster",
        keys=EventKeys(as_of=model.as_of, fingerprint=model.fingerprint),
        payload={**model.model_dump(mode="json"), "dagster_run_id": dagster_run_id, "making": making},
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
