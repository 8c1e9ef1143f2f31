"""The score mapping of a candidate, and the artifact that it travels in.

Here: on which rows it is fitted, and putting the released fit with its mapping into a run of MLflow. Not here: the fits
(`domain/evaluation/score_fits.py`) and the mapping as a function (`domain/training/score_mapping.py`).

A fit is determined by its fingerprint, the mapping by the champion of the moment too. So `fraud_model` stays the fit
alone, and the fit with its mapping is an artifact of its own, made after the verdict, as a second fit is. What it was
made of is its fingerprint: a run that was cut off finds it again, and another champion gives another one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from fraud_retraining.adapters.days.live_rows import SCORE, scored_rows
from fraud_retraining.adapters.days.window_rows import ASSET, TABLE
from fraud_retraining.adapters.mlflow.logged_models import TrainingSource
from fraud_retraining.adapters.mlflow.tags import REFIT_OF
from fraud_retraining.adapters.storage.store import Partition
from fraud_retraining.domain.evaluation.judged import Floats, Judged
from fraud_retraining.domain.evaluation.score_fits import FittedMapping, MappingRecord, calibrated, matched
from fraud_retraining.domain.releases.candidate import MappedFit, ModelFit, TrainedModel
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.orchestration.assets.refit import comparable_days
from fraud_retraining.orchestration.assets.training import FitResources, example_rows, record_artifact, run_tags
from fraud_retraining.services.recorded_versions import recorded_digests


@dataclass(frozen=True)
class Followed:
    """The version whose scores a candidate's are to mean, as it is served, and the days that it has learnt from."""

    version: int
    artifact_digest: str
    served: FittedModel
    trained_on: DayRange


def candidate_mapping(
    window: TrainingWindow,
    candidate: FittedModel,
    followed: Followed | None,
    judged: Judged,
    resources: FitResources,
) -> FittedMapping | None:
    """The mapping of a candidate; None where the settings want none.

    Args:
        window: the candidate's.
        candidate: without a mapping.
        followed: the champion that it is compared with; None without one.
        judged: the candidate on the holdout, with labels.
        resources: settings and store.
    """
    contract = resources.settings.scores.contract
    if contract == "none":
        return None
    if contract == "probability" or followed is None:
        pins = tuple((day.day, day.features_digest) for day in window.holdout)
        empty = MappingRecord(contract="probability", matched_to="labels", days=pins, rows=0, knots=0)
        return calibrated(judged, empty)
    days = recent_days(window, followed.trained_on, resources)
    own, theirs = scores_of((candidate, followed.served), days, resources)
    record = _record(days, len(own)).model_copy(
        update={"champion_version": followed.version, "champion_digest": followed.artifact_digest}
    )
    return matched(own, theirs, record)


def second_fit_mapping(
    window: TrainingWindow, judged: FittedModel, refitted: FittedModel, resources: FitResources
) -> FittedMapping:
    """The mapping of a second fit: its scores mean what those of the judged fit mean, on days that neither has learnt.

    `judged` has its mapping.
    """
    days = comparable_days(window, resources)
    own, theirs = scores_of((refitted, judged), days, resources)
    return matched(own, theirs, _record(days, len(own)).model_copy(update={"matched_to": "judged_fit"}))


def recent_days(window: TrainingWindow, learnt: DayRange, resources: FitResources) -> list[Partition]:
    """The latest days that neither a candidate nor who learnt `learnt` has learnt from, oldest first.

    Those are the days after the holdout, whose labels are not known yet; where there are none, the holdout.
    """
    after = [day for day in comparable_days(window, resources) if day.day not in learnt]
    if after:
        return after
    held = {day.day: day.features_digest for day in window.holdout if day.day not in learnt}
    stored = resources.store.partitions(ASSET, held)
    return [stored[day] for day in sorted(held) if day in stored and stored[day].digest == held[day]]


def scores_of(models: Sequence[FittedModel], days: Sequence[Partition], resources: FitResources) -> list[Floats]:
    """The scores of some models for every row of some days, in the order of the rows."""
    found: list[list[Floats]] = [[] for _ in models]
    for path in resources.store.paths(days, TABLE):
        for model, scores in zip(models, found, strict=True):
            resources.retrain_lease.hold()
            scores.append(scored_rows(model, path)[SCORE].to_numpy())
    return [np.concatenate(scores) if scores else np.empty(0) for scores in found]


def _record(days: Iterable[Partition], rows: int) -> MappingRecord:
    pins: tuple[tuple[date, str], ...] = tuple((day.day, day.digest) for day in days)
    return MappingRecord(contract="alert_rate", matched_to="champion", days=pins, rows=rows, knots=0)


def mapped_fit(
    model: TrainedModel,
    fit: ModelFit,
    fitted: FittedModel,
    found: FittedMapping,
    window: TrainingWindow,
    resources: FitResources,
    dagster_run_id: str,
) -> MappedFit | None:
    """Puts a fit with its mapping into a run of its own; None without a mapping.

    Args:
        model: the candidate as it was judged.
        fit: the fit that is released: the judged one, or a second one.
        fitted: that fit, without a mapping.
        found: its mapping.
        window: the window that the fit has learnt.
        resources: registry and ledger.
        dagster_run_id: the run that makes it.
    """
    if found.mapping is None:
        return None
    registry, ledger, as_of = resources.registry, resources.ledger, window.days.as_of
    fingerprint = digest({"fit": fit.fingerprint, "score_mapping": found.mapping.document()})
    run = registry.find_run(fingerprint, recorded_digests(ledger, fingerprint))
    if run is None:
        tags = {**run_tags(window, dagster_run_id), REFIT_OF: model.fingerprint}
        run_id = registry.start_run(f"{as_of} with its score mapping", tags)
        run = registry.log_model(
            run_id,
            fitted.with_mapping(found.mapping),
            TrainingSource(window, model.determined_by, rows_uri=f"{resources.settings.store_uri}/{ASSET}"),
            example=example_rows(window, resources),
            tags=tags,
            fingerprint=fingerprint,
            on_built=record_artifact(resources, as_of, fingerprint, run_id),
        )
        registry.log_document(run_id, "score_mapping.json", found.mapping.document())
        registry.end_run(run_id, "FINISHED", f"run {fit.run_id} with its score mapping is complete")
    made = ModelFit(
        fingerprint=fingerprint, run_id=run.run_id, artifact_digest=run.artifact_digest, training=fit.training
    )
    return MappedFit(fit=made, mapping=found.record)
