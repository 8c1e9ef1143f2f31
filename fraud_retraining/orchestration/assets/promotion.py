"""Promotion: the version of a candidate, and whether it serves, waits for a human, or came too late.

Here: the as-of assets of the group `promotion`. Not here: the rule of who may serve (`domain/releases.py`) and the
order of intent, alias and outcome (`adapters/publisher.py`).
"""

from typing import Any

import dagster as dg

from fraud_retraining.adapters.ledger import Ledger
from fraud_retraining.adapters.publisher import Publisher
from fraud_retraining.adapters.registry import Registry
from fraud_retraining.domain.candidate import Evaluation, RegisteredVersion, ReleaseOutcome, RetrainStatus, TrainedModel
from fraud_retraining.domain.errors import Conflict, GateFailed
from fraud_retraining.domain.fingerprint import digest
from fraud_retraining.domain.gates import GATES
from fraud_retraining.domain.leases import Lease
from fraud_retraining.domain.releases import Await, Promote, Release, ReleaseState, Supersede, promotion_of
from fraud_retraining.domain.windows import TrainingWindow
from fraud_retraining.orchestration.assets.evaluation import EVALUATION
from fraud_retraining.orchestration.assets.training import MODEL, WINDOW
from fraud_retraining.orchestration.jobs import RETRAIN_POOL
from fraud_retraining.orchestration.requests import USER_TAG, trigger_of
from fraud_retraining.orchestration.retrain_lease import RetrainLease
from fraud_retraining.settings import Settings

GROUP = "promotion"
REGISTERED = "registered_model"
PRODUCTION = "production_model"
POLICY = "promotion policy"
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
    def registered_model(
        context: dg.AssetExecutionContext,
        training_window: TrainingWindow,
        fraud_model: TrainedModel,
        model_evaluation: Evaluation,
        registry: dg.ResourceParam[Registry],
        ledger: dg.ResourceParam[Ledger],
        retrain_lease: dg.ResourceParam[RetrainLease],
    ) -> RegisteredVersion:
        """The registry's version of the candidate, alias `candidate`; a registered fingerprint is found and reused."""
        lease = retrain_lease.hold()
        require_verdict(model_evaluation, fraud_model)
        known = ledger.release_by_fingerprint(fraud_model.fingerprint)
        version = _register(context, training_window, fraud_model, model_evaluation, registry, ledger, lease)
        context.add_output_metadata({"version": version, "created": known is None, "run_id": fraud_model.run_id})
        return RegisteredVersion(
            as_of=fraud_model.as_of, fingerprint=fraud_model.fingerprint, version=version, created=known is None
        )

    @dg.asset(
        name=PRODUCTION,
        group_name=GROUP,
        pool=RETRAIN_POOL,
        partitions_def=partitions,
        ins={"registered_model": dg.AssetIn(REGISTERED)},
        kinds={"mlflow"},
    )
    def production_model(
        context: dg.AssetExecutionContext,
        registered_model: RegisteredVersion,
        settings: dg.ResourceParam[Settings],
        registry: dg.ResourceParam[Registry],
        ledger: dg.ResourceParam[Ledger],
        mlflow: dg.ResourceParam[Any],
        retrain_lease: dg.ResourceParam[RetrainLease],
    ) -> ReleaseOutcome:
        """What became of the candidate: promoted, waiting for a decision, superseded, or decided in an earlier run."""
        lease = retrain_lease.hold()
        publisher = Publisher(ledger, registry)
        publisher.recover(POLICY)
        outcome = _released(registered_model, settings, publisher, ledger, lease)
        if outcome.status is not RetrainStatus.ALREADY_TRAINED:
            registry.point_candidate(registered_model.version, outcome.status is RetrainStatus.AWAITING_APPROVAL)
        champion = registry.champion()
        context.add_output_metadata(
            {
                "status": outcome.status.value,
                "reason": outcome.reason,
                "version": outcome.version,
                "champion_version": champion.version if champion else "none",
            }
        )
        mlflow.set_tag("release_status", outcome.status.value)
        mlflow.end_run()
        retrain_lease.came_to(outcome.status)
        return outcome

    return [registered_model, production_model]


def require_verdict(evaluation: Evaluation, model: TrainedModel) -> None:
    """Refuses a candidate whose stored verdict did not pass, lacks a gate, or is about another model.

    Raises:
        GateFailed: names the gates.
    """
    verdict = evaluation.verdict
    missing = [f"{name}: gave no result" for name in GATES if name not in {gate.name for gate in verdict.gates}]
    failed = [f"{gate.name}: {gate.message}" for gate in verdict.failed]
    if evaluation.fingerprint != model.fingerprint:
        missing.append("the verdict is about another fingerprint")
    if missing or failed or not verdict.passed:
        raise GateFailed(
            f"the candidate as of {evaluation.as_of} did not pass its gates",
            culprits=[*failed, *missing],
            remedy="the champion stays; the thresholds stand under gates in the settings.",
        )


def _register(
    context: dg.AssetExecutionContext,
    window: TrainingWindow,
    model: TrainedModel,
    evaluation: Evaluation,
    registry: Registry,
    ledger: Ledger,
    lease: Lease,
) -> int:
    trigger = trigger_of(context.run.tags)
    version = registry.register(
        model.run_id,
        fingerprint=model.fingerprint,
        artifact_digest=model.artifact_digest,
        as_of=model.as_of,
        trained_on=window.days.training,
        tags={"trigger": trigger, "dagster_run_id": context.run_id},
    )
    ledger.open_release(
        version.version,
        model.fingerprint,
        model.as_of,
        trigger=trigger,
        artifact_digest=version.artifact_digest,
        verdict_passed=evaluation.verdict.passed,
        verdict_digest=digest(evaluation.verdict),
        actor="pipeline",
        channel=CHANNEL,
        requested_by=context.run.tags.get(USER_TAG, ""),
        champion_before=evaluation.champion_version,
        facts={"run_id": version.run_id, "dagster_run_id": context.run_id},
        lease=lease,
    )
    return version.version


def _released(
    registered: RegisteredVersion, settings: Settings, publisher: Publisher, ledger: Ledger, lease: Lease
) -> ReleaseOutcome:
    release = _known(ledger, registered.version)
    if release.state is ReleaseState.REGISTERED:
        release = _moved(release, settings, publisher, ledger, lease)
    elif release.state is ReleaseState.APPROVED:
        release = publisher.promote(release.version, actor=POLICY, channel=CHANNEL, reason=release.reason, lease=lease)
    else:
        return _outcome(registered, RetrainStatus.ALREADY_TRAINED, f"version {release.version} is {_words(release)}")
    return _outcome(registered, _STATUS[release.state], release.reason or _words(release))


_STATUS = {
    ReleaseState.PROMOTED: RetrainStatus.PROMOTED,
    ReleaseState.AWAITING_APPROVAL: RetrainStatus.AWAITING_APPROVAL,
    ReleaseState.SUPERSEDED: RetrainStatus.SUPERSEDED,
}


def _moved(release: Release, settings: Settings, publisher: Publisher, ledger: Ledger, lease: Lease) -> Release:
    policy = settings.promotion
    match promotion_of(release, ledger.champion(), policy.mode, release.verdict_passed):
        case Supersede(reason):
            return ledger.move_release(
                release.version, ReleaseState.SUPERSEDED, actor=POLICY, channel=CHANNEL, reason=reason
            )
        case Await():
            return ledger.await_decision(release.version, hours=policy.approval_hours, actor=POLICY, channel=CHANNEL)
        case Promote():
            reason = "all gates passed and promotion.mode is auto"
            ledger.move_release(release.version, ReleaseState.APPROVED, actor=POLICY, channel=CHANNEL, reason=reason)
            return publisher.promote(release.version, actor=POLICY, channel=CHANNEL, reason=reason, lease=lease)


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
