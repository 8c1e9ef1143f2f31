"""Evaluation: candidate beside champion on rows that neither has learnt from, and the verdict of the gates.

Here: the as-of asset of the group `evaluation`. Not here: the metrics (`domain/metrics.py`) and the gates
(`domain/gates.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from fraud_retraining.adapters.ledger import Ledger
from fraud_retraining.adapters.registry import ModelVersion, Registry
from fraud_retraining.adapters.store import Store
from fraud_retraining.adapters.window_rows import WindowRows
from fraud_retraining.domain.candidate import Evaluation, TrainedModel
from fraud_retraining.domain.comparison import Comparison
from fraud_retraining.domain.errors import DataInvalid
from fraud_retraining.domain.events import EventKind
from fraud_retraining.domain.gates import NO_CHAMPION, NO_FIXED_SET, Evidence, NotCompared, gather_evidence, judge
from fraud_retraining.domain.judged import Judged, Pair
from fraud_retraining.domain.metrics import Metrics
from fraud_retraining.domain.schemas import AMOUNT, IS_FRAUD, TIMESTAMP
from fraud_retraining.domain.scoring import FittedModel
from fraud_retraining.domain.windows import DayRange, HoldoutPolicy, TrainingWindow, WindowDay
from fraud_retraining.orchestration import rendering
from fraud_retraining.orchestration.assets.training import MODEL, WINDOW
from fraud_retraining.orchestration.jobs import RETRAIN_POOL
from fraud_retraining.orchestration.progress import Progress
from fraud_retraining.orchestration.retrain_lease import RetrainLease
from fraud_retraining.settings import Settings

GROUP = "evaluation"
EVALUATION = "model_evaluation"


@dataclass(frozen=True)
class Champion:
    """The serving version, loaded, and the days it has learnt from."""

    version: ModelVersion
    model: FittedModel
    trained_on: DayRange


@dataclass(frozen=True)
class JudgedDays:
    """The candidate on every row of some days, and both models on the rows that the champion has not learnt from."""

    candidate: Judged
    comparison: Pair | NotCompared
    compared: tuple[date, ...]


def build_assets(partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets of this group."""

    @dg.asset(
        name=EVALUATION,
        group_name=GROUP,
        pool=RETRAIN_POOL,
        partitions_def=partitions,
        ins={"training_window": dg.AssetIn(WINDOW), "fraud_model": dg.AssetIn(MODEL)},
        kinds={"scikitlearn"},
    )
    def model_evaluation(
        context: dg.AssetExecutionContext,
        training_window: TrainingWindow,
        fraud_model: TrainedModel,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        ledger: dg.ResourceParam[Ledger],
        progress: dg.ResourceParam[Progress],
        mlflow: dg.ResourceParam[Any],
        retrain_lease: dg.ResourceParam[RetrainLease],
    ) -> Evaluation:
        """Metrics of candidate and champion on the same holdout rows, every gate, and the verdict."""
        retrain_lease.hold()
        known = recorded_evaluation(ledger, fraud_model.fingerprint)
        if known is not None:
            context.add_output_metadata(_metadata(known))
            return known
        progress.start(EVALUATION, 3)
        champion = _champion(registry, fraud_model)
        candidate = registry.load(fraud_model.run_id, expected_digest=fraud_model.artifact_digest)
        judging = (candidate, champion, training_window, settings, store)
        holdout = _judged(training_window.holdout, *judging)
        fixed = _judged(training_window.fixed, *judging) if training_window.fixed else None
        progress.advance(EVALUATION, 1)
        evidence = gather_evidence(
            settings.gates,
            holdout=holdout.candidate,
            comparison=holdout.comparison,
            importance=fraud_model.importance,
            fixed=fixed.candidate if fixed else None,
            fixed_comparison=fixed.comparison if fixed else _no_fixed_set(settings.holdout, fraud_model.as_of),
        )
        progress.advance(EVALUATION, 2)
        evaluation = Evaluation(
            as_of=fraud_model.as_of,
            fingerprint=fraud_model.fingerprint,
            champion_version=champion.version.version if champion else None,
            compared_days=holdout.compared,
            evidence=evidence,
            verdict=judge(settings.gates, evidence),
        )
        _record(context, evaluation, fraud_model, holdout, settings, registry, ledger)
        progress.advance(EVALUATION, 3)
        return evaluation

    return [model_evaluation]


def recorded_evaluation(ledger: Ledger, fingerprint: str) -> Evaluation | None:
    """The verdict of a fingerprint that has a release: it was judged once, and is not judged again."""
    if ledger.release_by_fingerprint(fingerprint) is None:
        return None
    event = ledger.last(EventKind.MODEL_EVALUATED, fingerprint=fingerprint)
    return Evaluation.model_validate({**event.payload, "reused": True}) if event else None


def _champion(registry: Registry, candidate: TrainedModel) -> Champion | None:
    version = registry.champion()
    if version is None:
        return None
    return Champion(version, registry.load(version.run_id, expected_digest=version.artifact_digest), version.trained_on)


def _judged(
    days: Sequence[WindowDay],
    candidate: FittedModel,
    champion: Champion | None,
    window: TrainingWindow,
    settings: Settings,
    store: Store,
) -> JudgedDays:
    gates = settings.gates
    told = [TIMESTAMP, gates.alert_entity, AMOUNT, *gates.slices]
    read = [*told, *candidate.features, *_champion_features(champion, window)]
    tables, scores, rivals = [], [], []
    for batch in WindowRows(store, days, window.days.as_of, read)():
        tables.append(pa.Table.from_batches([batch]).select([*told, IS_FRAUD]))
        scores.append(candidate.predict(batch))
        if champion is not None:
            rivals.append(champion.model.predict(batch))
    if not tables:
        raise DataInvalid("no day that judges the model has a labelled row", culprits=[day.day for day in days])
    judged = Judged.from_table(
        pa.concat_tables(tables), np.concatenate(scores), entity=gates.alert_entity, slices=gates.slices
    )
    if champion is None:
        return JudgedDays(judged, NO_CHAMPION, ())
    return _compared(judged, np.concatenate(rivals), days, champion, window)


def _champion_features(champion: Champion | None, window: TrainingWindow) -> Sequence[str]:
    """The champion's features, which the present settings must still give.

    Raises:
        DataInvalid: names those that they do not.
    """
    if champion is None:
        return ()
    missing = [name for name in champion.model.features if name not in window.features]
    if missing:
        raise DataInvalid(
            f"the champion, version {champion.version.version}, cannot be scored: "
            "the present settings do not give all of its features",
            culprits=missing,
            remedy="bring the entities, windows or columns back until a model without them has been promoted; "
            "a feature may be added at any time, and removed once the champion does not read it.",
        )
    return champion.model.features


def _compared(
    judged: Judged, rival: np.ndarray[Any, Any], days: Sequence[WindowDay], champion: Champion, window: TrainingWindow
) -> JudgedDays:
    fair = tuple(day.day for day in days if day.day not in champion.trained_on)
    if not fair:
        reason = (
            f"champion version {champion.version.version} (as of {champion.version.as_of}) has learnt from every day "
            f"that judges this candidate; it cannot be promoted over it"
        )
        return JudgedDays(judged, NotCompared(reason=reason), ())
    epoch = date(1970, 1, 1)
    mask = np.isin(judged.days, [(day - epoch).days for day in fair])
    return JudgedDays(judged, Pair(judged.where(mask), judged.with_scores(rival).where(mask)), fair)


def _no_fixed_set(holdout: HoldoutPolicy, as_of: date) -> NotCompared:
    fixed = holdout.fixed
    if fixed is None:
        return NO_FIXED_SET
    return NotCompared(reason=f"the fixed evaluation days {fixed.start} to {fixed.end} are not mature as of {as_of}")


def _record(
    context: dg.AssetExecutionContext,
    evaluation: Evaluation,
    model: TrainedModel,
    holdout: JudgedDays,
    settings: Settings,
    registry: Registry,
    ledger: Ledger,
) -> None:
    pictures = _pictures(holdout, evaluation.evidence)
    registry.record_evaluation(
        model.run_id,
        metrics=flat_metrics(evaluation.evidence),
        tags={"verdict": "passed" if evaluation.verdict.passed else "gate_failed"},
        document=evaluation.model_dump(mode="json"),
        pictures=pictures,
    )
    ledger.append(
        EventKind.MODEL_EVALUATED,
        actor="pipeline",
        channel="dagster",
        as_of=evaluation.as_of,
        fingerprint=evaluation.fingerprint,
        payload=evaluation.model_dump(mode="json"),
    )
    context.add_output_metadata(
        {**_metadata(evaluation), **{name: rendering.markdown_image(png, name) for name, png in pictures.items()}}
    )


def _pictures(holdout: JudgedDays, evidence: Evidence) -> dict[str, bytes]:
    pair = holdout.comparison if isinstance(holdout.comparison, Pair) else None
    return {
        "precision_recall": rendering.precision_recall_png(
            pair.candidate if pair else holdout.candidate, pair.champion if pair else None
        ),
        "scores": rendering.score_histogram_png(holdout.candidate),
        "calibration": rendering.calibration_png(compared_candidate(evidence), evidence.champion),
    }


def compared_candidate(evidence: Evidence) -> Metrics:
    """The candidate on the rows that the champion was judged on too; on all rows where there is no champion."""
    return evidence.candidate_compared or evidence.candidate


def flat_metrics(evidence: Evidence) -> dict[str, float]:
    """Every defined number under a flat name, as MLflow keeps them."""
    found = {
        "holdout": evidence.candidate,
        "champion": evidence.champion,
        "fixed": evidence.fixed_candidate,
        "fixed_champion": evidence.fixed_champion,
    }
    return {
        f"{name}.{metric}" if name != "holdout" else metric: value
        for name, metrics in found.items()
        if metrics is not None
        for metric, value in metrics.values.items()
        if value is not None
    }


def _comparison(evidence: Evidence) -> Comparison | None:
    return evidence.comparison if isinstance(evidence.comparison, Comparison) else None


def _metadata(evaluation: Evaluation) -> dict[str, Any]:
    evidence = evaluation.evidence
    numbers = {name: value for name, value in evidence.candidate.values.items() if value is not None}
    fixed = evidence.fixed_candidate
    return {
        **numbers,
        "verdict": "passed" if evaluation.verdict.passed else "gate failed",
        "champion_version": evaluation.champion_version or "none",
        "gates": rendering.gates_table(evaluation.verdict),
        "metrics": rendering.metrics_table(compared_candidate(evidence), evidence.champion),
        **({"fixed_metrics": rendering.metrics_table(fixed, evidence.fixed_champion)} if fixed else {}),
        "slices": rendering.slices_table(evidence.candidate, _comparison(evidence)),
        "reused": evaluation.reused,
    }
