"""Decisions about releases in Dagster's UI: a job with version, decision, reviewer and reason in its launch form.

Here: the form and how a decision or a refusal is shown. Not here: carrying out a decision (`services/approvals.py`).

Dagster does not say who launched a run, and the run has the daemon's account: a reviewer for whom a proof is
configured cannot give it here, and is sent to a way where they can.
"""

from collections.abc import Set as AbstractSet
from typing import Literal

import dagster as dg
from pydantic import Field

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import identify
from fraud_retraining.domain.values.errors import RetrainingError
from fraud_retraining.orchestration.names import DECIDE, MODEL_TAG
from fraud_retraining.services.approvals import ReleaseApprovals
from fraud_retraining.settings import Settings

CHANNEL = "Dagster UI"


class ReleaseDecision(dg.Config):
    """Fields of the launch form."""

    version: int = Field(
        ge=1, description="Version of the registered model that waits; `pending` and its page name it."
    )
    decision: Literal["approve", "reject"] = Field(
        description="approve: it becomes champion. reject: the champion stays."
    )
    reviewer: str = Field(min_length=1, description="Name of the reviewer, as in promotion.reviewers.")
    reason: str = Field("", description="Why, in a sentence that an auditor can read; a rejection needs one.")


@dg.op(name="decide", description="Approves or rejects a candidate that waits for a reviewer.")
def decide(
    context: dg.OpExecutionContext,
    config: ReleaseDecision,
    settings: dg.ResourceParam[Settings],
    ledger: dg.ResourceParam[Ledger],
    registry: dg.ResourceParam[Registry],
) -> None:
    """Hands the form to the approvals; a refusal fails the run with its message."""
    try:
        release = _decided(config, ReleaseApprovals(ledger, registry, settings.promotion), settings)
    except RetrainingError as refusal:
        raise dg.Failure(
            description=str(refusal), metadata={"refused": type(refusal).__name__}, allow_retries=False
        ) from refusal
    context.log.info(decision_summary(release))
    context.add_output_metadata(
        {
            "version": release.version,
            "state": str(release.state),
            "decided_by": config.reviewer,
            "summary": decision_summary(release),
        }
    )


def _decided(config: ReleaseDecision, approvals: ReleaseApprovals, settings: Settings) -> Release:
    identity = identify(settings.promotion, claimed=config.reviewer)
    act = approvals.approve if config.decision == "approve" else approvals.reject
    return act(config.version, identity, config.reason, channel=CHANNEL)


def decision_summary(release: Release) -> str:
    """The state of a release after a decision, in a sentence."""
    if release.state is ReleaseState.AWAITING_APPROVAL:
        return (
            f"version {release.version} was approved by {release.first_approval_by}; a second reviewer has to approve"
        )
    state = str(release.state).replace("_", " ")
    return f"version {release.version} as of {release.as_of} is {state}, decided by {release.decided_by}"


def build_decide_job(model: str, hooks: AbstractSet[dg.HookDefinition] = frozenset()) -> dg.JobDefinition:
    """The job of a model; `hooks` run when its step ends."""

    @dg.job(
        name=DECIDE,
        hooks=hooks,
        tags={MODEL_TAG: model},
        executor_def=dg.in_process_executor,
        description="Approve or reject a candidate that waits: fill in version, decision, reviewer and reason, and "
        "launch.",
    )
    def decide_release() -> None:
        """One op: the form."""
        decide()

    return decide_release
