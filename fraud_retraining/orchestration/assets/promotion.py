"""Promotion: the version of a candidate, and whether it serves, waits for a human, or came too late.

Here: the as-of assets of the group `promotion`. Not here: the rule of who may serve (`domain/releases/lifecycle.py`)
and the order of intent, alias and outcome (`services/promotion.py`).
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.releases import NewRelease
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.tags import AUTOMATED
from fraud_retraining.adapters.mlflow.versions import ModelVersion, NewVersion
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.alerts.notices import mlflow_version_url, release_url
from fraud_retraining.domain.releases.candidate import Evaluation, RegisteredVersion, ReleaseOutcome, TrainedModel
from fraud_retraining.domain.releases.lifecycle import (
    Await,
    Promote,
    Release,
    ReleaseState,
    Supersede,
    promotion_of,
)
from fraud_retraining.domain.releases.trust import POLICY
from fraud_retraining.domain.releases.verdict_checks import floors_missed, require_registrable, why_human
from fraud_retraining.domain.retraining.leases import Lease
from fraud_retraining.domain.retraining.statuses import RetrainStatus
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
from fraud_retraining.orchestration.runs.lease import RetrainLease
from fraud_retraining.orchestration.runs.requests import request_of_run
from fraud_retraining.orchestration.runs.retries import retried
from fraud_retraining.orchestration.state.check_reports import readable_report
from fraud_retraining.orchestration.state.inventory import Inventory
from fraud_retraining.services.model_cards import Cards
from fraud_retraining.services.promotion import Promoter
from fraud_retraining.services.recorded_versions import recorded_champion
from fraud_retraining.services.track_record import WARNINGS, permission_for
from fraud_retraining.settings import Settings

GROUP = "promotion"
CHANNEL = "dagster"


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
        kinds={"mlflow"},
    )
    @retried
    def registered_model(
        context: dg.AssetExecutionContext,
        training_window: TrainingWindow,
        fraud_model: TrainedModel,
        model_evaluation: Evaluation,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        ledger: dg.ResourceParam[Ledger],
        retrain_lease: dg.ResourceParam[RetrainLease],
    ) -> RegisteredVersion:
        """The registry's version of the candidate, alias `candidate`; a registered fingerprint is found and reused."""
        lease = retrain_lease.hold(REGISTERED)
        known = ledger.release_by_fingerprint(fraud_model.fingerprint)
        require_registrable(model_evaluation, fraud_model.fingerprint, known)
        retrain_lease.hold()
        warnings = warnings_of(training_window, model_evaluation, settings, store, recorded_champion(registry, ledger))
        version = _register(context, training_window, fraud_model, model_evaluation, registry, ledger, warnings, lease)
        registered = RegisteredVersion(
            as_of=fraud_model.as_of, fingerprint=fraud_model.fingerprint, version=version, created=known is None
        )
        context.add_output_metadata(_version_metadata(registered, fraud_model.run_id, settings))
        context.add_output_metadata(_card(context, Cards(ledger, registry, store), version))
        return registered

    @dg.asset(
        name=PRODUCTION,
        group_name=GROUP,
        pool=RETRAIN_POOL,
        partitions_def=partitions,
        ins={"registered_model": dg.AssetIn(REGISTERED)},
        kinds={"mlflow"},
    )
    @retried
    def production_model(
        context: dg.AssetExecutionContext,
        registered_model: RegisteredVersion,
        settings: dg.ResourceParam[Settings],
        registry: dg.ResourceParam[Registry],
        ledger: dg.ResourceParam[Ledger],
        store: dg.ResourceParam[Store],
        retrain_lease: dg.ResourceParam[RetrainLease],
    ) -> ReleaseOutcome:
        """What became of the candidate: promoted, waiting for a decision, superseded, or decided in an earlier run."""
        lease = retrain_lease.hold(PRODUCTION)
        promoter = Promoter(ledger, registry, settings.promotion)
        promoter.recover(POLICY)
        retrain_lease.hold()
        outcome = _released(registered_model, settings, promoter, ledger, lease)
        promoter.point_candidate()
        _refresh_cards(context, Cards(ledger, registry, store))
        context.add_output_metadata(_outcome_metadata(outcome, registry.champion(), settings))
        retrain_lease.came_to(outcome.status)
        return outcome

    return [registered_model, production_model]


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


def _card(context: dg.AssetExecutionContext, cards: Cards, version: int) -> dict[str, Any]:
    """The model card as metadata; a version is registered without it too, and the next run makes up for it."""
    try:
        return {"card": dg.MetadataValue.md(cards.refresh(version))}
    except RetrainingError as error:
        context.log.warning(f"the model card of version {version} was not written: {error}")
        return {}


def _refresh_cards(context: dg.AssetExecutionContext, cards: Cards) -> None:
    try:
        cards.refresh_stale()
    except RetrainingError as error:
        context.log.warning(f"model cards are not up to date: {error}")


def _register(
    context: dg.AssetExecutionContext,
    window: TrainingWindow,
    model: TrainedModel,
    evaluation: Evaluation,
    registry: Registry,
    ledger: Ledger,
    warnings: Sequence[str],
    lease: Lease,
) -> int:
    request = request_of_run(context.run_id, ledger)
    version = registry.register(
        NewVersion(
            model.run_id,
            fingerprint=model.fingerprint,
            artifact_digest=model.artifact_digest,
            as_of=model.as_of,
            trained_on=window.days.training,
            tags={AUTOMATED: "true", "trigger": request.trigger, "dagster_run_id": context.run_id},
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
        needs_human=why_human(evaluation, evaluation.champion_version),
        floors_missed=floors_missed(evaluation.verdict) if evaluation.newer_champion is None else (),
        requested_by=request.requested_by,
        champion_before=evaluation.champion_version,
    )
    ledger.open_release(
        release,
        actor="pipeline",
        channel=CHANNEL,
        facts={"run_id": version.run_id, "dagster_run_id": context.run_id, WARNINGS: warnings},
        lease=lease,
    )
    return version.version


def _released(
    registered: RegisteredVersion, settings: Settings, promoter: Promoter, ledger: Ledger, lease: Lease
) -> ReleaseOutcome:
    release = _known(ledger, registered.version)
    if release.state is ReleaseState.REGISTERED:
        release = _moved(release, settings, promoter, ledger, lease)
    elif release.state is ReleaseState.APPROVED:
        by, via = release.decided_by or POLICY, release.decided_via or CHANNEL
        release = promoter.promote(release.version, actor=by, channel=via, reason=release.reason, lease=lease)
    else:
        return _outcome(registered, RetrainStatus.ALREADY_TRAINED, f"version {release.version} is {_words(release)}")
    status = RetrainStatus.JUDGED if _is_older(release, ledger.champion()) else _STATUS[release.state]
    return _outcome(registered, status, release.reason or _words(release))


def _is_older(release: Release, champion: Release | None) -> bool:
    """Whether it is of an as-of day before the champion's, so that it was judged and is not to be promoted."""
    return champion is not None and champion.as_of > release.as_of


_STATUS = {
    ReleaseState.PROMOTED: RetrainStatus.PROMOTED,
    ReleaseState.AWAITING_APPROVAL: RetrainStatus.AWAITING_APPROVAL,
    ReleaseState.SUPERSEDED: RetrainStatus.SUPERSEDED,
}


def _moved(release: Release, settings: Settings, promoter: Promoter, ledger: Ledger, lease: Lease) -> Release:
    policy = settings.promotion
    by: dict[str, Any] = {"actor": POLICY, "channel": CHANNEL, "lease": lease}
    champion = ledger.champion()
    if champion is not None and _is_older(release, champion) and not release.may_serve:
        why = f"judged, not promotable: its gates did not pass, and champion version {champion.version} is newer"
        return ledger.move_release(release.version, ReleaseState.GATE_FAILED, reason=why, **by)
    allowed = permission_for(ledger, policy, release)
    answer = promotion_of(release, champion, automatic=allowed.automatic, passed=release.may_serve)
    match answer:
        case Supersede(reason):
            reason = f"judged, not promotable: {reason}" if _is_older(release, champion) else reason
            return ledger.move_release(release.version, ReleaseState.SUPERSEDED, reason=reason, **by)
        case Await():
            return ledger.await_decision(release.version, hours=policy.approval_hours, reason=allowed.why, **by)
        case Promote():
            ledger.move_release(release.version, ReleaseState.APPROVED, reason=allowed.why, **by)
            return promoter.promote(release.version, reason=allowed.why, **by)


def warnings_of(
    window: TrainingWindow, evaluation: Evaluation, settings: Settings, store: Store, champion: ModelVersion | None
) -> list[str]:
    """What gates and checks warned of, without stopping: of the window, and of its days that are newer than the
    champion.
    """
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


def _known(ledger: Ledger, version: int) -> Release:
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
