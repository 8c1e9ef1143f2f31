"""The second fit of a candidate that passed its gates, and whether it is released in place of the judged one.

Here: fitting it, and scoring the days after the holdout with both. Not here: its window
(`domain/training/refit.py`) and the bounds of agreement (`domain/evaluation/agreement.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fraud_retraining.adapters.days.live_rows import SCORE, scored_rows
from fraud_retraining.adapters.days.window_rows import TABLE
from fraud_retraining.adapters.mlflow.runs import TrainedRun
from fraud_retraining.adapters.mlflow.tags import REFIT_OF
from fraud_retraining.adapters.storage.store import Partition
from fraud_retraining.domain.evaluation.agreement import Agreement, agreement
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.candidate import ModelFit, Refit, ServingFit, TrainedModel
from fraud_retraining.domain.training.fingerprint import Fingerprint
from fraud_retraining.domain.training.refit import refit_fingerprint, refit_window, unjudged_days
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.orchestration.assets.training import FitResources, keep_profile, run_tags, train
from fraud_retraining.orchestration.state.inventory import Inventory
from fraud_retraining.services.recorded_versions import recorded_digests


@dataclass(frozen=True)
class Serving:
    """The second fit of the champion, as its estimator scores, and the days that it has learnt from."""

    model: FittedModel
    training: DayRange


@dataclass(frozen=True)
class _Second:
    """The window of a second fit, what determines it, and whose it is."""

    window: TrainingWindow
    determined_by: Fingerprint
    judged: TrainedModel
    dagster_run_id: str


def fit_again(
    window: TrainingWindow,
    model: TrainedModel,
    judged: FittedModel,
    serving: Serving | None,
    resources: FitResources,
    dagster_run_id: str,
) -> Refit:
    """Fits the judged recipe on window and holdout, and says which of the two fits is released.

    After a change of fraud the second fit differs from the judged one because it alone has learnt of it. Then it is
    held against the second fit that serves, which has learnt of it too. A second fit that an earlier process made is
    found, and so is its result.
    """
    days = comparable_days(window, resources)
    if not days:
        beside = ServingFit(training=serving.training, agreement=None) if serving else None
        return Refit(fit=None, agreement=None, serves=False, judged=model.training, serving=beside)
    own = refit_window(window)
    second = _Second(own, refit_fingerprint(model.determined_by, own), model, dagster_run_id)
    run = _found(second, resources)
    known = _decided(model, run, resources)
    if known is not None:
        return known
    if run is None:
        run = _fitted(second, resources)
    refitted = resources.registry.load(run.run_id, expected_digest=run.artifact_digest)
    found = _agreement(judged, refitted, days, resources)
    beside = None
    if serving is not None:
        asked = None if found.agrees else _agreement(serving.model, refitted, days, resources)
        beside = ServingFit(training=serving.training, agreement=asked)
    fit = ModelFit(
        fingerprint=second.determined_by.digest,
        run_id=run.run_id,
        artifact_digest=run.artifact_digest,
        training=own.days.training,
    )
    refit = Refit.decided(fit, found, model.training, beside)
    if refit.serves:
        keep_profile(own, model.fingerprint, run.run_id, resources)
    return refit


def comparable_days(window: TrainingWindow, resources: FitResources) -> list[Partition]:
    """Features of the days after the holdout, made from their transactions as they are, oldest first."""
    wanted = [day for days in unjudged_days(window.days) for day in days]
    inventory = Inventory(resources.store, resources.settings, wanted)
    made = {day: one for day, one in inventory.features.items() if day in inventory.transactions}
    current = {
        day: one for day, one in made.items() if one.inputs["transactions"] == inventory.transactions[day].digest
    }
    return [current[day] for day in wanted if day in current]


def _found(second: _Second, resources: FitResources) -> TrainedRun | None:
    fingerprint = second.determined_by.digest
    return resources.registry.find_run(fingerprint, recorded_digests(resources.ledger, fingerprint))


def _decided(model: TrainedModel, run: TrainedRun | None, resources: FitResources) -> Refit | None:
    """What an earlier process recorded of this second fit: its version may be registered already."""
    event = resources.ledger.last(EventKind.MODEL_EVALUATED, fingerprint=model.fingerprint)
    recorded = event.payload.get("refit") if event is not None else None
    if run is None or not recorded:
        return None
    refit = Refit.model_validate(recorded)
    return refit if refit.fit is not None and refit.fit.artifact_digest == run.artifact_digest else None


def _fitted(second: _Second, resources: FitResources) -> TrainedRun:
    """Fits on window and holdout, in a run of MLflow of its own."""
    as_of, registry = second.window.days.as_of, resources.registry
    tags = {**run_tags(second.window, second.dagster_run_id), REFIT_OF: second.judged.fingerprint}
    run_id = registry.start_run(f"{as_of} second fit", tags)
    run = train(second.window, second.determined_by, run_id, tags, resources)
    registry.end_run(run_id, "FINISHED", f"the second fit of run {second.judged.run_id} is complete")
    return run


def _agreement(
    judged: FittedModel, refitted: FittedModel, days: Sequence[Partition], resources: FitResources
) -> Agreement:
    scores: list[list[np.ndarray]] = [[], []]
    for path in resources.store.paths(days, TABLE):
        for model, found in zip((judged, refitted), scores, strict=True):
            resources.retrain_lease.hold()
            found.append(scored_rows(model, path)[SCORE].to_numpy())
    first, second = (np.concatenate(found) for found in scores)
    settings = resources.settings
    alerts = settings.gates.alert_budget * len(days)
    return agreement(first, second, settings.window.refit, (days[0].day, days[-1].day), alerts)
