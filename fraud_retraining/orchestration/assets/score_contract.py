"""The score mapping of a candidate, what thresholds do under it, and the artifact that it travels in.

Here: on which rows it is fitted and alerts are counted, and putting the released fit with its mapping into a run of
MLflow. Not here: the fits (`domain/evaluation/score_fits.py`), the mapping as a function
(`domain/training/score_mapping.py`) and counting alerts (`domain/evaluation/alert_volume.py`).

A fit is determined by its fingerprint, the mapping by the champion of the moment too. So `fraud_model` stays the fit
alone, and the fit with its mapping is an artifact of its own, made after the verdict, as a second fit is. What it was
made of is its fingerprint: a run that was cut off finds it again, and another champion gives another one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraud_retraining.adapters.days.live_rows import SCORE, scored_rows
from fraud_retraining.adapters.days.window_rows import ASSET, BATCH_ROWS, TABLE
from fraud_retraining.adapters.mlflow.logged_models import TrainingSource
from fraud_retraining.adapters.mlflow.tags import AUTOMATED, NOTE, REFIT_OF
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.evaluation.alert_volume import (
    AlertChange,
    ScoredRows,
    Threshold,
    alert_change,
    highest,
)
from fraud_retraining.domain.evaluation.cost_curve import CostCurve, cost_curve
from fraud_retraining.domain.evaluation.gates import NotCompared
from fraud_retraining.domain.evaluation.judged import (
    Categories,
    Floats,
    Integers,
    Judged,
    Pair,
    categories,
    entity_codes,
)
from fraud_retraining.domain.evaluation.score_fits import (
    Contract,
    FittedMapping,
    MappingRecord,
    calibrated,
    matched,
)
from fraud_retraining.domain.releases.candidate import MappedFit, ModelFit, TrainedModel
from fraud_retraining.domain.serving.policy import DecisionPolicy
from fraud_retraining.domain.training.score_mapping import ScoreMapping
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.schemas import TRANSACTION_ID
from fraud_retraining.orchestration.assets.refit import comparable_days
from fraud_retraining.orchestration.assets.training import FitResources, example_rows, record_artifact, run_tags
from fraud_retraining.services.recorded_versions import recorded_digests
from fraud_retraining.settings import Settings

TRIGGER = "trigger"
ALERT_BUDGET = "alert budget"
"""What the threshold is called that is judged where the settings name no decision."""
NO_CONTRACT = NotCompared(reason="scores.contract is none, so scores need not mean what the champion's mean")


@dataclass(frozen=True)
class Followed:
    """The version whose scores a candidate's are to mean, as it is served, and the days that it has learnt from."""

    version: int
    artifact_digest: str
    served: FittedModel
    trained_on: DayRange


@dataclass(frozen=True, eq=False)
class RecentScores:
    """The latest days that neither model has learnt from: the candidate without a mapping, the champion as it serves.

    `champion` is None without one. Each column has one entry a row.
    """

    days: Sequence[Partition]
    candidate: Floats
    champion: Floats | None
    customers: Integers
    slices: Mapping[str, Categories]


def recent_scores(
    window: TrainingWindow, candidate: FittedModel, followed: Followed | None, resources: FitResources
) -> RecentScores:
    """Scores of both models for every row of the latest days, with or without a label.

    No day is read where nothing rests on it: without a champion to follow, and without a threshold to choose.
    """
    settings, gates = resources.settings, resources.settings.gates
    compared = followed is not None and settings.scores.contract != "none"
    learnt = followed.trained_on if followed else None
    days = recent_days(window, learnt, resources) if compared or settings.serving.chooses else []
    models = [candidate, *([followed.served] if followed else [])]
    kept = [gates.alert_column, *gates.slices]
    columns = list(dict.fromkeys([TRANSACTION_ID, *kept, *(name for model in models for name in model.features)]))
    tables: list[pa.Table] = []
    scores: list[list[Floats]] = [[np.empty(0)] for _ in models]
    for path in resources.store.paths(days, TABLE):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH_ROWS, columns=columns):
            resources.retrain_lease.hold()
            tables.append(pa.Table.from_batches([batch]).select(kept))
            for model, found in zip(models, scores, strict=True):
                found.append(model.predict(batch))
    own, *theirs = (np.concatenate(found) for found in scores)
    rows = pa.concat_tables(tables) if tables else None
    return RecentScores(
        days=days,
        candidate=own,
        champion=theirs[0] if theirs else None,
        customers=entity_codes(rows[gates.alert_column]) if rows is not None else np.empty(0, np.int64),
        slices={name: categories(rows[name]) for name in gates.slices} if rows is not None else {},
    )


def candidate_mapping(
    window: TrainingWindow,
    recent: RecentScores,
    followed: Followed | None,
    judged: Callable[[], Judged],
    contract: Contract,
) -> FittedMapping | None:
    """The mapping of a candidate; None where the settings want none.

    Args:
        window: the candidate's.
        recent: both models on the latest days.
        followed: the champion that it is compared with; None without one.
        judged: gives the candidate on the holdout, with labels; called where the labels say what scores mean.
        contract: what its scores are to mean.
    """
    if contract == "none":
        return None
    if contract == "probability" or followed is None or recent.champion is None:
        pins = tuple((day.day, day.features_digest) for day in window.holdout)
        empty = MappingRecord(contract="probability", matched_to="labels", days=pins, rows=0, knots=0)
        return calibrated(judged(), empty)
    record = _record(recent.days, len(recent.candidate)).model_copy(
        update={"champion_version": followed.version, "champion_digest": followed.artifact_digest}
    )
    return matched(recent.candidate, recent.champion, record)


def chosen_thresholds(
    recent: RecentScores,
    mapping: ScoreMapping | None,
    curves: Sequence[CostCurve],
    decisions: Sequence[DecisionPolicy],
) -> tuple[Threshold, ...]:
    """The least scores of decisions with alerts a day or costs, by the candidate's scores as they would be served.

    `curves` are the costs of decisions on the judged days. What no row could choose is left out.
    """
    scores, cheapest = served_scores(mapping, recent.candidate), {one.name: one.at for one in curves}
    found = []
    for one in decisions:
        if one.alerts_per_day is not None and len(scores):
            at = highest(scores, one.alerts_per_day * len(recent.days))
        elif one.costs is not None and one.name in cheapest:
            at = cheapest[one.name]
        else:
            continue
        found.append(Threshold(name=one.name, at=at, alerts_per_day=one.alerts_per_day, choice=one.choice or ""))
    return tuple(found)


def cost_curves(judged: Judged, mapping: ScoreMapping | None, decisions: Sequence[DecisionPolicy]) -> list[CostCurve]:
    """What each decision with costs would cost on the judged days, by scores as they would be served."""
    rows = judged.with_scores(served_scores(mapping, judged.scores))
    found = [cost_curve(one.name, one.costs, rows) for one in decisions if one.costs is not None]
    return [one for one in found if one is not None]


def alerts_beside_champion(
    recent: RecentScores,
    found: FittedMapping | None,
    judged: Pair | None,
    curves: Sequence[CostCurve],
    settings: Settings,
) -> AlertChange | NotCompared:
    """What each threshold does under candidate and champion; or why that is not compared.

    Rows that the mapping was fitted on are counted by a mapping that was fitted on the others.

    Args:
        recent: both models on the latest days.
        found: the candidate's mapping.
        judged: both models on rows with labels, by scores as they would be served; None where none compare them.
        curves: the costs of decisions; at the score that they choose both models are counted.
        settings: decisions, alert budget and resamples.
    """
    if recent.champion is None:
        return NotCompared(reason="there is no champion whose alerts it could keep")
    if found is None:
        return NO_CONTRACT
    if not len(recent.candidate):
        return NotCompared(reason="there is no day that neither model has learnt from")
    rows = ScoredRows(
        days=[day.day for day in recent.days],
        candidate=_held_out(recent, found),
        champion=recent.champion,
        customers=recent.customers,
        slices=recent.slices,
    )
    budget = DecisionPolicy(name=ALERT_BUDGET, alerts_per_day=settings.gates.alert_budget)
    thresholds = _judged_thresholds(settings.serving.decisions, recent, curves)
    return alert_change(rows, thresholds or _judged_thresholds([budget], recent, ()), settings.gates, judged)


def _judged_thresholds(
    decisions: Sequence[DecisionPolicy], recent: RecentScores, curves: Sequence[CostCurve]
) -> list[Threshold]:
    """The scores at which both models are counted; for alerts a day the one that gives them under the champion."""
    found = {one.name: one.at for one in curves}
    for one in decisions:
        if one.at is not None:
            found[one.name] = one.at
        elif one.alerts_per_day is not None and recent.champion is not None:
            found[one.name] = highest(recent.champion, one.alerts_per_day * len(recent.days))
    return [
        Threshold(name=one.name, at=found[one.name], alerts_per_day=one.alerts_per_day, choice=one.choice or "")
        for one in decisions
        if one.name in found
    ]


def served_scores(mapping: ScoreMapping | None, scores: Floats) -> Floats:
    """Scores of an estimator as they are served."""
    return scores if mapping is None else mapping(scores)


def _held_out(recent: RecentScores, found: FittedMapping) -> Floats:
    """The candidate's scores as they would be served, each by a mapping that was fitted on other rows."""
    if found.record.matched_to != "champion" or recent.champion is None:
        return served_scores(found.mapping, recent.candidate)
    # By customers, whose rows are alike. By days it would fail candidates while fraud changes from one to the next.
    part = recent.customers % 2
    scores = recent.candidate.copy()
    for half in (part == 0, part == 1):
        mapping = matched(recent.candidate[~half], recent.champion[~half], found.record).mapping
        scores[half] = served_scores(mapping, recent.candidate[half])
    return scores


def second_fit_mapping(
    window: TrainingWindow, judged: FittedModel, refitted: FittedModel, resources: FitResources
) -> FittedMapping:
    """The mapping of a second fit: its scores mean what those of the judged fit mean, on days that neither has learnt.

    `judged` has its mapping.
    """
    days = comparable_days(window, resources)
    own, theirs = scores_of((refitted, judged), days, resources)
    return matched_to_judged(days, own, theirs)


def matched_to_judged(days: Sequence[Partition], second: Floats, judged: Floats) -> FittedMapping:
    """The mapping of a second fit from its scores on some days and those of the judged fit as it would be served."""
    return matched(second, judged, _record(days, len(second)).model_copy(update={"matched_to": "judged_fit"}))


def recent_days(window: TrainingWindow, learnt: DayRange | None, resources: FitResources) -> list[Partition]:
    """The latest days that neither a candidate has learnt from nor a champion, which learnt `learnt`; oldest first.

    Those are the days after the holdout, whose labels are not known yet; where there are none, the holdout.
    """
    return fair_days(window, comparable_days(window, resources), learnt, resources.store)


def fair_days(
    window: TrainingWindow, after: Iterable[Partition], learnt: DayRange | None, store: Store
) -> list[Partition]:
    """Days `after` the holdout that a champion has not learnt; where there are none, those of the holdout."""
    known = learnt or ()
    unlearnt = [day for day in after if day.day not in known]
    if unlearnt:
        return unlearnt
    held = {day.day: day.features_digest for day in window.holdout if day.day not in known}
    stored = store.partitions(ASSET, held)
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
        # Why it was retrained stands on the run that the version names, as on that of the fit.
        asked_by = {
            name: text for name, text in registry.run(fit.run_id).tags.items() if name in (AUTOMATED, TRIGGER, NOTE)
        }
        tags = {**asked_by, **run_tags(window, dagster_run_id), REFIT_OF: model.fingerprint}
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
