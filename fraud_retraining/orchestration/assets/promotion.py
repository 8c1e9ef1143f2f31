"""Promotion: the version of a candidate, and whether it is promoted, waits for a reviewer, or is superseded.

Here: the as-of assets of the group `promotion`. Not here: the rule of who may serve (`domain/releases/lifecycle.py`)
and the order of intent, alias and outcome (`services/promotion.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from logging import Logger
from typing import Any

import dagster as dg

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.releases import NewRelease
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.tags import AUTOMATED, RELEASED_FIT
from fraud_retraining.adapters.mlflow.versions import ModelVersion, NewVersion
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.alerts.notices import mlflow_version_url, release_url
from fraud_retraining.domain.releases.candidate import Evaluation, RegisteredVersion, ReleaseOutcome, TrainedModel
from fraud_retraining.domain.releases.lifecycle import Await, Promote, Supersede, promotion_of
from fraud_retraining.domain.releases.promotion_mode import POLICY
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.releases.verdict_checks import floors_missed, require_registrable, why_human
from fraud_retraining.domain.retraining.lease_rules import Lease
from fraud_retraining.domain.retraining.retrain_status import RetrainStatus
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import Conflict, RetrainingError
from fraud_retraining.orchestration.names import (
    EVALUATION,
    MODEL,
    PRODUCTION,
    REGISTERED,
    RETRAIN_POOL,
    WINDOW,
    WINDOW_REPORT,
)
from fraud_retraining.orchestration.rendering import links_of
from fraud_retraining.orchestration.resources import ResourceBundle
from fraud_retraining.orchestration.runs.requests import request_of_run
from fraud_retraining.orchestration.runs.retrain_lease import RetrainLease
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.orchestration.state.check_reports import readable_report
from fraud_retraining.orchestration.state.inventory import Inventory
from fraud_retraining.services.model_cards import Cards
from fraud_retraining.services.promotion import Promoter
from fraud_retraining.services.recorded_versions import recorded_champion
from fraud_retraining.services.track_record import WARNINGS, permission_for, skew_concern
from fraud_retraining.settings import Settings

GROUP = "promotion"
CHANNEL = "dagster"
IMPORTED_NEEDS_HUMAN = "it is an imported model: what it has learnt from is a claim"


@dataclass(frozen=True)
class PromotionResources(ResourceBundle):
    """Resources of `registered_model` and `production_model`."""

    settings: Settings
    store: Store
    registry: Registry
    ledger: Ledger
    retrain_lease: RetrainLease

    @property
    def promoter(self) -> Promoter:
        """The service that moves the alias `champion`."""
        return Promoter(self.ledger, self.registry, self.settings.promotion)

    @property
    def cards(self) -> Cards:
        """The model cards."""
        return Cards(self.ledger, self.registry, self.store)


@dataclass(frozen=True)
class Candidate:
    """A trained model with its window and its evaluation."""

    window: TrainingWindow
    model: TrainedModel
    evaluation: Evaluation


def build_assets(partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets of this group."""

    @dg.asset(
        name=REGISTERED,
        group_name=GROUP,
        pool=RETRAIN_POOL,
        partitions_def=partitions,
        ins={
            "training_window": dg.AssetIn(WINDOW),
            "fraud_model": dg.AssetIn(MODEL),
            "model_evaluation": dg.AssetIn(EVALUATION),
        },
        required_resource_keys=PromotionResources.keys(),
        kinds={"mlflow"},
    )
    @retried
    def registered_model(
        context: dg.AssetExecutionContext,
        training_window: TrainingWindow,
        fraud_model: TrainedModel,
        model_evaluation: Evaluation,
    ) -> RegisteredVersion:
        """The registry's version of the candidate, alias `candidate`; a registered fingerprint is found and reused."""
        resources = PromotionResources.of(context)
        candidate = Candidate(training_window, fraud_model, model_evaluation)
        registered = _registered(candidate, resources, context.run_id)
        context.add_output_metadata(_version_metadata(registered, fraud_model.run_id, resources.settings))
        context.add_output_metadata(_card(resources.cards, registered.version, context.log))
        return registered

    @dg.asset(
        name=PRODUCTION,
        group_name=GROUP,
        pool=RETRAIN_POOL,
        partitions_def=partitions,
        ins={"registered_model": dg.AssetIn(REGISTERED)},
        required_resource_keys=PromotionResources.keys(),
        kinds={"mlflow"},
    )
    @retried
    def production_model(context: dg.AssetExecutionContext, registered_model: RegisteredVersion) -> ReleaseOutcome:
        """What became of the candidate: promoted, waiting for a decision, superseded, or decided in an earlier run."""
        resources = PromotionResources.of(context)
        lease = resources.retrain_lease.hold(PRODUCTION)
        promoter = resources.promoter
        # A promotion that an earlier process began is completed or undone first: it may make the candidate superseded.
        promoter.recover(POLICY)
        resources.retrain_lease.hold()
        outcome = _released(registered_model, resources, promoter, lease)
        promoter.point_candidate()
        _refresh_cards(resources.cards, context.log)
        context.add_output_metadata(_outcome_metadata(outcome, resources.registry.champion(), resources.settings))
        resources.retrain_lease.record_outcome(outcome.status)
        return outcome

    return [registered_model, production_model]


def _registered(candidate: Candidate, resources: PromotionResources, dagster_run_id: str) -> RegisteredVersion:
    """The version of a candidate whose verdict and artifact are verified from the record."""
    lease = resources.retrain_lease.hold(REGISTERED)
    model, evaluation = candidate.model, candidate.evaluation
    known = resources.ledger.release_by_fingerprint(model.fingerprint)
    # From the record, and not because the graph says that the check before has passed.
    require_registrable(evaluation, model.fingerprint, known)
    resources.retrain_lease.hold()
    champion = recorded_champion(resources.registry, resources.ledger)
    warnings = warnings_of(candidate.window, evaluation, resources.settings, resources.store, champion)
    facts = {"dagster_run_id": dagster_run_id, WARNINGS: warnings}
    version = _register(candidate, resources, facts, lease)
    return RegisteredVersion(as_of=model.as_of, fingerprint=model.fingerprint, version=version, created=known is None)


def _version_metadata(registered: RegisteredVersion, run_id: str, settings: Settings) -> dict[str, Any]:
    links, version = settings.alerts.links, registered.version
    pages = links_of(
        mlflow_version=mlflow_version_url(links, settings.model.name, version), release_page=release_url(links, version)
    )
    return {"version": version, "created": registered.created, "run_id": run_id, **pages}


def _outcome_metadata(outcome: ReleaseOutcome, champion: ModelVersion | None, settings: Settings) -> dict[str, Any]:
    return {
        "status": outcome.status.value,
        "reason": outcome.reason,
        "version": outcome.version,
        "champion_version": champion.version if champion else "none",
        **links_of(release_page=release_url(settings.alerts.links, outcome.version)),
    }


def _card(cards: Cards, version: int, log: Logger) -> dict[str, Any]:
    """The model card as metadata; a version is registered without one too, and the next run writes it."""
    try:
        return {"card": dg.MetadataValue.md(cards.refresh(version))}
    except RetrainingError as error:
        log.warning(f"the model card of version {version} was not written: {error}")
        return {}


def _refresh_cards(cards: Cards, log: Logger) -> None:
    try:
        cards.refresh_stale()
    except RetrainingError as error:
        log.warning(f"model cards are not up to date: {error}")


def _register(candidate: Candidate, resources: PromotionResources, facts: Mapping[str, Any], lease: Lease) -> int:
    ledger, model, evaluation = resources.ledger, candidate.model, candidate.evaluation
    request = request_of_run(facts["dagster_run_id"], ledger)
    second, released = evaluation.second_fit, evaluation.released_fit
    version = resources.registry.register(
        NewVersion(
            released.run_id if released else model.run_id,
            fingerprint=model.fingerprint,
            artifact_digest=released.artifact_digest if released else model.artifact_digest,
            as_of=model.as_of,
            trained_on=second.training if second else model.training,
            tags={
                AUTOMATED: "true",
                "trigger": request.trigger,
                "dagster_run_id": facts["dagster_run_id"],
                **({RELEASED_FIT: "second" if second else "judged"} if evaluation.refit else {}),
            },
        ),
        taken=[one.version for one in ledger.releases() if one.fingerprint != model.fingerprint],
    )
    release = NewRelease(
        version=version.version,
        fingerprint=model.fingerprint,
        as_of=model.as_of,
        trigger=request.trigger,
        artifact_digest=version.artifact_digest,
        verdict_passed=evaluation.verdict.passed,
        verdict_digest=digest(evaluation.verdict),
        # Stored with the release: a reviewer and a later promotion read the reason of the day on which it was judged.
        needs_human=IMPORTED_NEEDS_HUMAN
        if model.determined_by.imported
        else why_human(evaluation, evaluation.champion_version),
        floors_missed=floors_missed(evaluation.verdict) if evaluation.newer_champion is None else (),
        requested_by=request.requested_by,
        champion_before=evaluation.champion_version,
    )
    ledger.open_release(
        release,
        actor="pipeline",
        channel=CHANNEL,
        facts={"run_id": version.run_id, **facts},
        lease=lease,
    )
    return version.version


def _released(
    registered: RegisteredVersion, resources: PromotionResources, promoter: Promoter, lease: Lease
) -> ReleaseOutcome:
    ledger = resources.ledger
    release = _recorded_release(ledger, registered.version)
    if release.state is ReleaseState.REGISTERED:
        release = _moved(release, resources, promoter, lease)
    elif release.state is ReleaseState.APPROVED:
        # An approval that a crash left without its promotion: carried out under the name of who approved.
        by, via = release.decided_by or POLICY, release.decided_via or CHANNEL
        release = promoter.promote(release.version, actor=by, channel=via, reason=release.reason, lease=lease)
    else:
        return _outcome(registered, RetrainStatus.ALREADY_TRAINED, f"version {release.version} is {_words(release)}")
    status = RetrainStatus.JUDGED if _is_older(release, ledger.champion()) else _STATUS[release.state]
    return _outcome(registered, status, release.reason or _words(release))


def _is_older(release: Release, champion: Release | None) -> bool:
    """Whether its as-of day is before the champion's: such a release is judged and never promoted."""
    return champion is not None and champion.as_of > release.as_of


_STATUS = {
    ReleaseState.PROMOTED: RetrainStatus.PROMOTED,
    ReleaseState.AWAITING_APPROVAL: RetrainStatus.AWAITING_APPROVAL,
    ReleaseState.SUPERSEDED: RetrainStatus.SUPERSEDED,
}


def _moved(release: Release, resources: PromotionResources, promoter: Promoter, lease: Lease) -> Release:
    """The release after the promotion policy has moved it: superseded, waiting for a reviewer, or promoted."""
    ledger, policy = resources.ledger, resources.settings.promotion
    by: dict[str, Any] = {"actor": POLICY, "channel": CHANNEL, "lease": lease}
    champion = ledger.champion()
    if champion is not None and _is_older(release, champion) and not release.may_serve:
        why = f"judged, not promotable: its gates did not pass, and champion version {champion.version} is newer"
        return ledger.move_release(release.version, ReleaseState.GATE_FAILED, reason=why, **by)
    allowed = permission_for(ledger, policy, release, skew_concern(resources.store))
    answer = promotion_of(release, champion, automatic=allowed.automatic, passed=release.may_serve)
    match answer:
        case Supersede(reason):
            reason = f"judged, not promotable: {reason}" if _is_older(release, champion) else reason
            return ledger.move_release(release.version, ReleaseState.SUPERSEDED, reason=reason, **by)
        case Await():
            return ledger.await_decision(release.version, hours=policy.approval_hours, reason=allowed.why, **by)
        case Promote():
            # Two events, so that a crash in between leaves an approval that the champion's sensor carries out.
            ledger.move_release(release.version, ReleaseState.APPROVED, reason=allowed.why, **by)
            return promoter.promote(release.version, reason=allowed.why, **by)


def warnings_of(
    window: TrainingWindow, evaluation: Evaluation, settings: Settings, store: Store, champion: ModelVersion | None
) -> list[str]:
    """Failed gates and checks that did not block: of the window, and of its days that are newer than the champion."""
    found = [f"{gate.name}: {gate.message}" for gate in evaluation.verdict.gates if not gate.passed]
    document = store.read_document(WINDOW_REPORT, window.days.as_of.isoformat())
    window_report = readable_report(document)
    reports = [window_report] if window_report is not None else []
    found += [f"{WINDOW_REPORT}: cannot be read back"] if document is not None and window_report is None else []
    seen = champion.as_of - timedelta(days=window.label_delay_days) if champion is not None else date.min
    days = [day for day in window.days.needed if day > seen]
    inventory = Inventory(store, settings, days)
    reports += [report for day in days if day in inventory.transactions and (report := inventory.report(day))]
    results = [result for report in reports for result in report.results if not result.passed]
    return found + [f"{result.name}: {result.message}" for result in results]


def _recorded_release(ledger: Ledger, version: int) -> Release:
    release = ledger.release_by_version(version)
    if release is None:
        raise Conflict(
            f"the ledger knows no release of version {version}", remedy="materialize registered_model again."
        )
    return release


def _words(release: Release) -> str:
    return str(release.state).replace("_", " ")


def _outcome(registered: RegisteredVersion, status: RetrainStatus, reason: str) -> ReleaseOutcome:
    return ReleaseOutcome(
        as_of=registered.as_of,
        fingerprint=registered.fingerprint,
        version=registered.version,
        status=status,
        reason=reason,
    )
