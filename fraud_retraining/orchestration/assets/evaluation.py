"""Evaluation: candidate and champion on holdout rows that neither was trained on, and the verdict of the gates.

Here: the as-of asset of the group `evaluation`. Not here: the metrics (`domain/evaluation/metrics.py`) and the gates
(`domain/evaluation/gates/`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from logging import Logger
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from fraud_retraining.adapters.days.judged_days import (
    DaysToJudge,
    JudgedDays,
    Rival,
    judged_days,
    label_columns,
    labelled_rows,
)
from fraud_retraining.adapters.days.monitoring_reports import (
    Profile,
    drift_reports,
    profile_name,
    read_profile,
    write_profile,
)
from fraud_retraining.adapters.days.review_reports import read_review_report, write_review_report
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.versions import ModelVersion
from fraud_retraining.adapters.pages.pictures import pictures
from fraud_retraining.adapters.pages.review_pictures import ReviewPictures, write_pictures
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.evaluation.ageing import Aged, serving_age
from fraud_retraining.domain.evaluation.alert_recall import alert_recall
from fraud_retraining.domain.evaluation.alert_volume import AlertChange
from fraud_retraining.domain.evaluation.gates import (
    NO_CHAMPION,
    NO_FIXED_SET,
    EvaluatedRows,
    Evidence,
    NotCompared,
    collect_evidence,
    judge,
)
from fraud_retraining.domain.evaluation.judged import Judged, Pair
from fraud_retraining.domain.evaluation.score_fits import FittedMapping
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.monitoring.drift import DriftReport, HoldoutProfile, ReferenceProfile
from fraud_retraining.domain.monitoring.fixed_evaluation_days import FixedSetAge, fixed_set_age
from fraud_retraining.domain.monitoring.live_performance import measure
from fraud_retraining.domain.releases.candidate import Evaluation, ModelFit, TrainedModel
from fraud_retraining.domain.releases.champions import champion_of_age
from fraud_retraining.domain.releases.lifecycle import champion_of_time
from fraud_retraining.domain.releases.verdict_checks import floors_missed, outcome_of
from fraud_retraining.domain.review.assembly import (
    ReviewContext,
    ReviewedModel,
    ReviewedModels,
    ReviewSubject,
    assemble_review_report,
    label_maturity,
)
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.training.refit import refit_window
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.training.windows import HoldoutPolicy, TrainingWindow, WindowDay
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import DataInvalid, IntegrityError, RecordAltered
from fraud_retraining.domain.values.schemas import AMOUNT, TIMESTAMP, TRANSACTION_ID
from fraud_retraining.orchestration.assets.refit import Serving, fit_again
from fraud_retraining.orchestration.assets.score_contract import (
    Followed,
    alerts_beside_champion,
    candidate_mapping,
    chosen_thresholds,
    cost_curves,
    mapped_fit,
    recent_scores,
    second_fit_mapping,
    served_scores,
)
from fraud_retraining.orchestration.assets.training import FitResources
from fraud_retraining.orchestration.evaluation_rendering import age_metrics, evaluation_metadata, flat_metrics
from fraud_retraining.orchestration.names import (
    EVALUATION,
    MODEL,
    RETRAIN_POOL,
    TRANSACTIONS,
    WINDOW,
)
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.services.recorded_versions import (
    recorded_champion,
    recorded_judged_fit,
    recorded_second_fit,
    recorded_version,
)
from fraud_retraining.settings import Settings

GROUP = "evaluation"
DRIFT_DAYS = 7


@dataclass(frozen=True)
class EvaluationResources(FitResources):
    """Resources of `model_evaluation`."""


@dataclass(frozen=True)
class Champion:
    """The serving version, loaded: the fit that is compared, the days it has learnt from, and the version as served.

    `model` is without a score mapping: what it is measured by does not depend on what its scores were made to mean.
    """

    version: ModelVersion
    model: FittedModel
    trained_on: DayRange
    followed: Followed

    @property
    def rival(self) -> Rival:
        """The champion as a candidate is compared with it: both by the scores of their estimators."""
        named = f"champion version {self.version.version} (as of {self.version.as_of})"
        return Rival(named, self.model, self.trained_on)


@dataclass(frozen=True)
class Judging:
    """A candidate, the champion that it is compared with, its window, and the resources that read it."""

    model: TrainedModel
    candidate: FittedModel
    opponent: Champion | NotCompared
    window: TrainingWindow
    resources: EvaluationResources

    @property
    def settings(self) -> Settings:
        """The settings of the resources."""
        return self.resources.settings

    @property
    def champion(self) -> Champion | None:
        """The champion, where there is one to compare with."""
        return self.opponent if isinstance(self.opponent, Champion) else None


def build_assets(partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets of this group."""

    @dg.asset(
        name=EVALUATION,
        group_name=GROUP,
        pool=RETRAIN_POOL,
        partitions_def=partitions,
        ins={"training_window": dg.AssetIn(WINDOW), "fraud_model": dg.AssetIn(MODEL)},
        required_resource_keys=EvaluationResources.keys(),
        kinds={"python", "mlflow"},
    )
    @retried
    def model_evaluation(
        context: dg.AssetExecutionContext, training_window: TrainingWindow, fraud_model: TrainedModel
    ) -> Evaluation:
        """Metrics of candidate and champion on the same holdout rows, every gate, and the verdict."""
        resources = EvaluationResources.of(context)
        resources.retrain_lease.hold(EVALUATION)
        # A release rests on the verdict that it was registered with: a second one could differ from it.
        known = recorded_evaluation(resources.ledger, fraud_model.fingerprint)
        if known is not None:
            context.add_output_metadata(_known_metadata(known, resources.store))
            return known
        judged = _judge_candidate(training_window, fraud_model, resources, context.log)
        judged = _fitted_again(judged, training_window, fraud_model, resources, context.run_id)
        judged = _mapped(judged, training_window, fraud_model, resources, context.run_id)
        _record(judged, fraud_model, resources)
        context.add_output_metadata(evaluation_metadata(judged.evaluation, judged.review_report, judged.pictures))
        resources.progress.advance(EVALUATION, 3)
        return judged.evaluation

    return [model_evaluation]


@dataclass(frozen=True)
class JudgedCandidate:
    """The evaluation of a candidate, with its review report and the pictures of it."""

    evaluation: Evaluation
    review_report: ReviewReport
    pictures: Mapping[str, bytes]
    fit: FittedModel
    profile: HoldoutProfile | None
    mapping: FittedMapping | None
    serving: Serving | None


def _judge_candidate(
    window: TrainingWindow, model: TrainedModel, resources: EvaluationResources, log: Logger
) -> JudgedCandidate:
    """Scores the holdout, applies the gates, and keeps the review report and the profile of scores."""
    progress, lease = resources.progress, resources.retrain_lease
    progress.start(EVALUATION, 3)
    serving = recorded_champion(resources.registry, resources.ledger)
    judging = Judging(
        model=model,
        candidate=resources.registry.load(model.run_id, expected_digest=model.artifact_digest),
        opponent=_opponent(serving, model, resources),
        window=window,
        resources=resources,
    )
    holdout = _judged(window.holdout, judging)
    fixed = _judged(window.fixed, judging) if window.fixed else None
    followed = judging.champion.followed if judging.champion else None
    settings, recent = resources.settings, recent_scores(window, judging.candidate, followed, resources)
    # What serves elsewhere keeps its scores as they are: thresholds rest on them.
    contract = "none" if model.determined_by.imported else settings.scores.contract
    mapping = candidate_mapping(window, recent, followed, lambda: holdout.candidate, contract)
    served = mapping.mapping if mapping else None
    curves = cost_curves(holdout.candidate, served, settings.serving.decisions)
    pair = _as_served(holdout, mapping, judging.champion)
    alerts = alerts_beside_champion(recent, mapping, pair, curves, settings)
    progress.advance(EVALUATION, 1)
    evidence = _evidence(judging, holdout, fixed, alerts)
    progress.advance(EVALUATION, 2)
    lease.hold()
    evaluation = _verdict(judging, serving, holdout, evidence).model_copy(
        update={
            "fixed_age": _fixed_age(judging, holdout, fixed),
            "aged": _aged(window, resources, log),
            "mapping": mapping.record if mapping else None,
            "thresholds": chosen_thresholds(recent, served, curves, settings.serving.decisions),
        }
    )
    review_report = _review_report(evaluation, judging, holdout, fixed).model_copy(update={"costs": tuple(curves)})
    lease.hold()
    drawn = pictures(review_report)
    # Report and pictures are stored before the evaluation that refers to them: a crash in between leaves no evaluation
    # whose digests name documents that do not exist.
    kept = {
        "review_digest": write_review_report(resources.store, review_report),
        "pictures_digest": write_pictures(resources.store, review_report.fingerprint, drawn),
    }
    evaluation = evaluation.model_copy(update=kept)
    # Later days are held against it by the scores that are served.
    as_served = holdout.candidate
    if mapping is not None and mapping.mapping is not None:
        as_served = as_served.with_scores(mapping.mapping(as_served.scores))
    profile = _holdout_profile(judging, as_served, review_report, evaluation.aged)
    if profile is not None:
        _keep_profile(profile, model.run_id, resources)
    return JudgedCandidate(evaluation, review_report, drawn, judging.candidate, profile, mapping, _serving(judging))


def _serving(judging: Judging) -> Serving | None:
    """The champion's second fit, where one serves: it is then not the fit that the candidate was compared with."""
    champion = judging.champion
    if champion is None or champion.followed.trained_on == champion.trained_on:
        return None
    return Serving(champion.followed.served.unmapped, champion.followed.trained_on)


def _fitted_again(
    judged: JudgedCandidate,
    window: TrainingWindow,
    model: TrainedModel,
    resources: EvaluationResources,
    dagster_run_id: str,
) -> JudgedCandidate:
    """The candidate with its second fit, where the settings ask for one and it may be promoted."""
    evaluation = judged.evaluation
    own_recipe = model.determined_by.imported is None
    wanted = own_recipe and resources.settings.window.refit.enabled and evaluation.newer_champion is None
    if not wanted or not evaluation.verdict.passed:
        return judged
    refit = fit_again(window, model, judged.fit, judged.serving, resources, dagster_run_id)
    if refit.serves and refit.fit is not None and judged.profile is not None:
        _log_profile(judged.profile, refit.fit.run_id, resources)
    return replace(judged, evaluation=evaluation.model_copy(update={"refit": refit}))


def _mapped(
    judged: JudgedCandidate,
    window: TrainingWindow,
    model: TrainedModel,
    resources: EvaluationResources,
    dagster_run_id: str,
) -> JudgedCandidate:
    """The candidate with the artifact that holds its score mapping, where it may be promoted."""
    evaluation, mapping = judged.evaluation, judged.mapping
    promotable = evaluation.verdict.passed or floors_missed(evaluation.verdict)
    if mapping is None or mapping.mapping is None or evaluation.newer_champion is not None or not promotable:
        return judged
    fit, fitted, learnt = ModelFit(**model.model_dump(include=set(ModelFit.model_fields))), judged.fit, window
    if (second := evaluation.second_fit) is not None:
        fit, learnt = second, refit_window(window)
        fitted = resources.registry.load(second.run_id, expected_digest=second.artifact_digest)
        mapping = second_fit_mapping(window, judged.fit.with_mapping(mapping.mapping), fitted, resources)
        if mapping.mapping is None:
            raise DataInvalid(
                "the second fit's scores cannot be made to mean what those of the judged fit mean",
                culprits=[mapping.record.reason],
                remedy="switch window.refit off for this retrain: then the judged fit is released.",
            )
    mapped = mapped_fit(model, fit, fitted, mapping, learnt, resources, dagster_run_id)
    if mapped is not None:
        # The version's run is the one of this artifact: monitoring looks there for what the store has lost.
        reference = read_profile(resources.store, ReferenceProfile, model.fingerprint)
        if judged.profile is not None:
            _log_profile(judged.profile, mapped.fit.run_id, resources)
        if reference is not None:
            _log_profile(reference, mapped.fit.run_id, resources)
    return replace(judged, evaluation=evaluation.model_copy(update={"mapped": mapped}))


def recorded_evaluation(ledger: Ledger, fingerprint: str) -> Evaluation | None:
    """The verdict of a fingerprint that has a release already: it is reused, and nothing is judged again."""
    if ledger.release_by_fingerprint(fingerprint) is None:
        return None
    event = ledger.last(EventKind.MODEL_EVALUATED, fingerprint=fingerprint)
    return Evaluation.model_validate({**event.payload, "reused": True}) if event else None


def _known_metadata(known: Evaluation, store: Store) -> dict[str, Any]:
    """What Dagster shows of an evaluation that was made before, its pictures as they were kept."""
    report = read_review_report(store, known.fingerprint, known.review_digest)
    return evaluation_metadata(known, report, ReviewPictures(store).of(known, report) if report else None)


def _opponent(
    serving: ModelVersion | None, candidate: TrainedModel, resources: EvaluationResources
) -> Champion | NotCompared:
    """The champion to compare with: the serving version, or the champion of the time for an earlier as-of day."""
    if serving is None:
        return NO_CHAMPION
    if serving.as_of <= candidate.as_of:
        champion = _as_judged(serving, resources)
        return _other_label_use(champion, resources.settings) or champion
    return _of_its_time(candidate, resources)


def _other_label_use(champion: Champion, settings: Settings) -> NotCompared | None:
    """Why a champion that learnt with the other use of labels is not compared; None for any other champion.

    Without a comparison a candidate waits for a human in every mode.
    """
    why = settings.feature_plan.other_label_use(champion.model.features)
    return NotCompared(reason=f"version {champion.version.version} cannot be scored: {why}") if why else None


def _loaded(registry: Registry, version: ModelVersion) -> Champion:
    served = registry.load(version.run_id, expected_digest=version.artifact_digest)
    followed = Followed(version.version, version.artifact_digest, served, version.trained_on)
    return Champion(version, served.unmapped, version.trained_on, followed)


def _as_judged(version: ModelVersion, resources: EvaluationResources) -> Champion:
    """A version by the fit of it that was judged, which has not learnt from its own holdout.

    The candidate is the judged fit of its recipe too: the two are compared at the same distance from their training. A
    second fit of the champion has learnt from most days of the candidate's holdout, and from later days than the
    candidate. Where the judged fit is gone, the one that serves is compared, on the days that it has not learnt from.
    """
    registry, ledger = resources.registry, resources.ledger
    served = _loaded(registry, version)
    judged = recorded_judged_fit(ledger, version.fingerprint)
    if judged is None or recorded_second_fit(ledger, version.fingerprint) is None:
        return served
    try:
        fitted = registry.load(judged.run_id, expected_digest=judged.artifact_digest)
    except RecordAltered:  # an IntegrityError too, but an altered ledger must stop the evaluation
        raise
    except IntegrityError:
        return served
    return Champion(version, fitted, judged.training, served.followed)


def _of_its_time(candidate: TrainedModel, resources: EvaluationResources) -> Champion | NotCompared:
    registry, ledger = resources.registry, resources.ledger
    then = champion_of_time(ledger.releases(), candidate.as_of)
    if then is None:
        return NotCompared(reason=f"no version as of a day before {candidate.as_of} has served")
    try:
        champion = _as_judged(recorded_version(registry.version(then.version), ledger), resources)
        _champion_features(champion, resources.settings)
    except RecordAltered:  # an IntegrityError too, but an altered ledger must stop the evaluation
        raise
    except (DataInvalid, IntegrityError) as error:
        return NotCompared(reason=f"version {then.version}, the champion of its time, cannot be scored: {error.what}")
    return champion


def _judged(days: Sequence[WindowDay], judging: Judging) -> JudgedDays:
    opponent, resources = judging.opponent, judging.resources
    _champion_features(judging.champion, judging.settings)
    return judged_days(
        DaysToJudge(days, judging.window, resources.store),
        judging.candidate,
        opponent if isinstance(opponent, NotCompared) else opponent.rival,
        judging.settings.gates,
        on_batch=resources.retrain_lease.hold,
    )


def _champion_features(champion: Champion | None, settings: Settings) -> Sequence[str]:
    """The champion's features, which the present settings must still define.

    Raises:
        DataInvalid: names those that they do not define.
    """
    if champion is None:
        return ()
    given = settings.feature_plan.names
    missing = [name for name in champion.model.features if name not in given]
    if missing:
        raise DataInvalid(
            f"the champion, version {champion.version.version}, cannot be scored: "
            "the present settings do not give all of its features",
            culprits=missing,
            remedy="bring their entities, windows or columns back and name them under features.retired: they are then "
            "still made for the champion, but no new model reads them. Once a model without them has been promoted, "
            "remove both. If the lake has them no more, another model.name begins without a champion.",
        )
    return champion.model.features


def _as_served(judged: JudgedDays, found: FittedMapping | None, champion: Champion | None) -> Pair | None:
    """Both models on rows with labels, by scores as they would be served.

    None where no rows compare them, and where a second fit of the champion serves, which has learnt from most of them.
    """
    pair = judged.comparison
    if not isinstance(pair, Pair) or champion is None or champion.followed.trained_on != champion.trained_on:
        return None
    mapping = found.mapping if found else None
    own = served_scores(mapping, pair.candidate.scores)
    theirs = served_scores(champion.followed.served.mapping, pair.champion.scores)
    return Pair(pair.candidate.with_scores(own), pair.champion.with_scores(theirs))


def _evidence(
    judging: Judging, holdout: JudgedDays, fixed: JudgedDays | None, alerts: AlertChange | NotCompared
) -> Evidence:
    settings = judging.settings
    return collect_evidence(
        settings.gates,
        holdout=EvaluatedRows(holdout.candidate, holdout.comparison),
        importance=judging.model.importance,
        columns=[*settings.features.numeric, *settings.features.categorical],
        fixed=EvaluatedRows(fixed.candidate, fixed.comparison)
        if fixed
        else _no_fixed_set(settings.holdout, judging.model.as_of),
        alerts=alerts,
    )


def _verdict(judging: Judging, serving: ModelVersion | None, holdout: JudgedDays, evidence: Evidence) -> Evaluation:
    model, champion = judging.model, judging.champion
    return Evaluation(
        as_of=model.as_of,
        fingerprint=model.fingerprint,
        champion_version=champion.version.version if champion else None,
        newer_champion=serving.version if serving and serving.as_of > model.as_of else None,
        compared_days=holdout.compared,
        evidence=evidence,
        verdict=judge(judging.settings.gates, evidence),
    )


def _fixed_age(judging: Judging, holdout: JudgedDays, fixed: JudgedDays | None) -> FixedSetAge | None:
    if fixed is None:
        return None
    return fixed_set_age(
        judging.model.as_of,
        [day.day for day in judging.window.fixed],
        scores=(fixed.candidate, holdout.candidate),
        samples=(fixed.sample.rows, holdout.sample.rows),
        importance=judging.model.importance,
    )


def _aged(window: TrainingWindow, resources: EvaluationResources, log: Logger) -> Aged | None:
    """The average precision of a champion of the usual serving age on the holdout; None where none can be scored."""
    settings, registry, ledger = resources.settings, resources.registry, resources.ledger
    schedule = settings.triggers.schedule
    as_of, holdout = window.days.as_of, window.days.holdout
    age = serving_age((as_of - holdout.end).days, len(holdout), schedule.every_hours // 24 if schedule else 1)
    found = champion_of_age(ledger.releases(), as_of, serving_age=age, holdout_days=len(holdout))
    if found is None:
        return None
    release, days = found
    try:
        old = _loaded(registry, recorded_version(registry.version(release.version), ledger))
        _champion_features(old, settings)
    except RecordAltered:  # an IntegrityError too, but an altered ledger must stop the evaluation
        raise
    except (DataInvalid, IntegrityError) as error:
        log.info(f"version {release.version} cannot show how models age: {error.what}")
        return None
    if any(day.day in old.trained_on for day in window.holdout):
        return None
    reached = measure(_scored(old.model, window, resources), (as_of,), settings.gates).average_precision
    if reached is None:
        return None
    return Aged(version=release.version, as_of=release.as_of, age_days=days, average_precision=reached)


def _scored(model: FittedModel, window: TrainingWindow, resources: EvaluationResources) -> Judged:
    """One model on all holdout rows; no columns but its features and the measured ones are read."""
    alert_column = resources.settings.gates.alert_column
    kept = [TIMESTAMP, alert_column, AMOUNT]
    read = [TRANSACTION_ID, *kept, *model.features]
    tables, scores = [], []
    for batch in labelled_rows(DaysToJudge(window.holdout, window, resources.store), read)():
        resources.retrain_lease.hold()
        tables.append(pa.Table.from_batches([batch]).select([*kept, *label_columns(batch)]))
        scores.append(model.predict(batch))
    return Judged.from_table(pa.concat_tables(tables), np.concatenate(scores), entity=alert_column)


def _review_report(
    evaluation: Evaluation, judging: Judging, holdout: JudgedDays, fixed: JudgedDays | None
) -> ReviewReport:
    champion, window, store = judging.champion, judging.window, judging.resources.store
    pair = holdout.comparison if isinstance(holdout.comparison, Pair) else None
    days = [day.day for day in (*window.training, *window.holdout, *window.fixed)]
    accepted = {day: partition.facts["rows"] for day, partition in store.partitions(TRANSACTIONS, days).items()}
    return assemble_review_report(
        ReviewSubject(evaluation.as_of, evaluation.fingerprint, evaluation.champion_version),
        ReviewedModels(
            candidate=ReviewedModel(pair.candidate if pair else holdout.candidate, judging.candidate),
            champion=ReviewedModel(pair.champion, champion.model) if pair and champion else None,
            sample=holdout.sample,
            fixed=_sides(fixed) if fixed else (),
        ),
        evaluation.evidence,
        judging.settings.gates,
        ReviewContext(label_maturity(window, accepted), _latest_drift(evaluation.as_of, champion, store)),
    )


def _sides(judged: JudgedDays) -> tuple[Judged, ...]:
    """Both models on the compared rows; the candidate on all rows where none are compared."""
    pair = judged.comparison
    return (pair.candidate, pair.champion) if isinstance(pair, Pair) else (judged.candidate,)


def _latest_drift(as_of: date, champion: Champion | None, store: Store) -> DriftReport | None:
    """The newest drift report against the champion, of the last `DRIFT_DAYS` days."""
    if champion is None:
        return None
    recent = [as_of - timedelta(days=before) for before in range(DRIFT_DAYS)]
    return max(drift_reports(store, champion.version.fingerprint, recent), key=lambda one: one.day, default=None)


def _holdout_profile(
    judging: Judging, judged: Judged, review_report: ReviewReport, aged: Aged | None
) -> HoldoutProfile | None:
    """The distribution of scores on the holdout, the reference for later days; None where rows cannot be ranked."""
    if not judged.rankable:
        return None
    reached = review_report.intervals.get("average_precision")
    return HoldoutProfile.of(
        judging.model.fingerprint,
        judged,
        bins=judging.settings.drift.bins,
        average_precision=reached.candidate if reached else None,
        aged=aged,
        alerts=alert_recall(judged, judging.settings.gates),
    )


def _keep_profile(profile: HoldoutProfile, run_id: str, resources: EvaluationResources) -> None:
    write_profile(resources.store, profile)
    _log_profile(profile, run_id, resources)


def _log_profile(profile: Profile, run_id: str, resources: EvaluationResources) -> None:
    document = profile.model_dump(mode="json")
    resources.registry.log_document(run_id, f"{profile_name(type(profile))}.json", document)


def _no_fixed_set(holdout: HoldoutPolicy, as_of: date) -> NotCompared:
    fixed = holdout.fixed
    if fixed is None:
        return NO_FIXED_SET
    return NotCompared(reason=f"the fixed evaluation days {fixed.start} to {fixed.end} are not mature as of {as_of}")


def _record(judged: JudgedCandidate, model: TrainedModel, resources: EvaluationResources) -> None:
    """Records the evaluation in MLflow, then in the ledger: an event in the ledger means that MLflow has it too."""
    evaluation, registry = judged.evaluation, resources.registry
    # The run of the artifact with the mapping too: it is the one that the version names.
    for run_id in (model.run_id, *([evaluation.mapped.fit.run_id] if evaluation.mapped else [])):
        registry.record_evaluation(
            run_id,
            metrics={**flat_metrics(evaluation.evidence), **age_metrics(evaluation)},
            tags={"verdict": outcome_of(evaluation.verdict)},
            document=evaluation.model_dump(mode="json"),
            pictures=judged.pictures,
        )
        registry.log_document(run_id, "review.json", judged.review_report.document())
    resources.ledger.append(
        EventKind.MODEL_EVALUATED,
        actor="pipeline",
        channel="dagster",
        keys=EventKeys(as_of=evaluation.as_of, fingerprint=evaluation.fingerprint),
        payload=evaluation.model_dump(mode="json"),
    )
