"""Decisions of people about releases, the same for every channel.

Here: what a decision does, in order: expire what is late, verify the record, record the decision, move the alias.
Command line, Dagster's job, the page and Slack call this and decide nothing themselves. Not here: the identity of a
person (`domain/releases/reviewers.py`), whether it is allowed (`domain/releases/approval_rules.py`), and how the
alias moves (`services/promotion.py`).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fraud_retraining.adapters.ledger.decisions import ReviewerDecision
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.domain.releases.release import Decision, Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import Identity, ReviewerPolicy
from fraud_retraining.domain.retraining.pauses import Automation, Pause
from fraud_retraining.domain.values.errors import (
    Conflict,
    DependencyUnreachable,
    IntegrityError,
    RetrainingError,
    SettingsError,
)
from fraud_retraining.services.promotion import RECOVERY, Promoter

DEADLINE = "deadline"
LOG = logging.getLogger(__name__)


class ReleaseApprovals:
    """Approve, reject, roll back, resume: bound to version and artifact, recorded, the first decision wins."""

    def __init__(self, ledger: Ledger, registry: Registry, policy: ReviewerPolicy) -> None:
        self.ledger = ledger
        self.policy = policy
        self._registry = registry
        self._promoter = Promoter(ledger, registry, policy)

    def pending(self) -> list[Release]:
        """What waits for a reviewer, and what was approved and is not promoted yet, by version."""
        # A deadline holds when it passes and not when the sensor next looks.
        self.ledger.expire_due(actor=DEADLINE, channel=DEADLINE)
        return self.ledger.releases(ReleaseState.AWAITING_APPROVAL, ReleaseState.APPROVED, ReleaseState.PROMOTING)

    def approve(
        self,
        version: int,
        identity: Identity,
        reason: str = "",
        *,
        channel: str,
        expected_digest: str | None = None,
        nonce: str | None = None,
    ) -> Release:
        """Approves a waiting version and makes it champion; an approval that was interrupted is carried out.

        Where two people have to approve, the first approval leaves it waiting, with `first_approval_by` set.

        Args:
            version: what is approved.
            identity: who approves.
            reason: why.
            channel: the channel of the decision.
            expected_digest: the artifact that the reviewer saw, where the channel says so.
            nonce: what makes a link work once.

        Raises:
            Conflict: it no longer waits, the link was used, or a newer champion serves.
            NotPermitted: this person may not approve it.
            IntegrityError: artifact or verdict is not what was recorded; nothing was changed.
            GateFailed: it could not serve; the champion before does.
        """
        # First of all, so that a stranger causes no work on the registry.
        self.ledger.admit(self.policy, identity, Decision.APPROVE, version, channel=channel)
        # Verified before the approval is recorded: an approval of what cannot serve would have to be taken back.
        with self.recording_refusals(version, Decision.APPROVE, identity.name, channel):
            finished = self._prepared(version)
        # The same person again, after an interruption: this is their approval, and not a second answer.
        if finished is not None and finished.decided_by == identity.name:
            return finished
        decision = ReviewerDecision(
            Decision.APPROVE, identity, channel, reason, expected_digest=expected_digest, nonce=nonce
        )
        release = self._apply_decision(version, decision)
        return self._promoted(release) if release.state is ReleaseState.APPROVED else release

    def reject(
        self,
        version: int,
        identity: Identity,
        reason: str,
        *,
        channel: str,
        expected_digest: str | None = None,
        nonce: str | None = None,
    ) -> Release:
        """Rejects a waiting version; the champion stays. MLflow need not be there.

        Raises:
            Conflict: it no longer waits, or the link was used.
            NotPermitted: this person may not reject it.
            SettingsError: no reason was given.
        """
        decision = ReviewerDecision(
            Decision.REJECT, identity, channel, reason, expected_digest=expected_digest, nonce=nonce
        )
        release = self._apply_decision(version, decision)
        self._point_candidate()
        return release

    def rollback(self, to: int, identity: Identity, reason: str, *, channel: str) -> Release:
        """Makes a version that was champion before champion again, and pauses automatic promotion.

        Raises:
            Conflict: it never was champion.
            NotPermitted: this person may not roll back.
            IntegrityError: artifact or verdict is not what was recorded; nothing was changed.
        """
        self.ledger.admit(self.policy, identity, "rollback", to, channel=channel)
        self._known(to)
        via = f"{channel}, {identity.how}"
        return self._promoter.promote(to, actor=identity.name, channel=via, reason=reason, rollback=True)

    def retire_champion(self, identity: Identity, reason: str, *, channel: str) -> Release:
        """Takes a champion that MLflow has lost out of service, and pauses automatic promotion.

        Raises:
            Conflict: MLflow still has it, or there is none.
            NotPermitted: this person may not.
            SettingsError: no reason was given.
        """
        self.ledger.admit(self.policy, identity, "retire", None, channel=channel)
        if not reason.strip():
            raise SettingsError("a champion is not retired without a reason", remedy="Say why, with --reason.")
        return self._promoter.retire(identity.name, f"{channel}, {identity.how}", reason)

    def restore_releases(self, identity: Identity, reason: str, *, channel: str) -> tuple[str, ...]:
        """Writes the table of releases anew from the chain; gives what differed.

        Raises:
            NotPermitted: this person may not.
            RecordAltered: the chain itself was changed.
        """
        self.ledger.admit(self.policy, identity, "restore", None, channel=channel)
        return self.ledger.restore_releases(actor=identity.name, channel=f"{channel}, {identity.how}", reason=reason)

    def resume(self, subject: Automation, identity: Identity, reason: str, *, channel: str) -> Pause | None:
        """Lets something automatic go on; gives the pause that it ended, None where nothing was paused.

        Raises:
            NotPermitted: only reviewers let candidates be promoted by themselves again.
        """
        if subject is Automation.PROMOTION:
            self.ledger.admit(self.policy, identity, f"resume {subject}", None, channel=channel)
        return self.ledger.resume(subject, actor=identity.name, channel=f"{channel}, {identity.how}", reason=reason)

    def use_nonce(self, nonce: str, by: str) -> None:
        """Uses up a link that decides nothing; one that decides is used up by its decision.

        Raises:
            Conflict: it was used before.
        """
        self.ledger.use_nonce(nonce, by)

    @contextmanager
    def recording_refusals(self, version: int | None, wanted: str, by: str, channel: str) -> Iterator[None]:
        """Records a refusal before there is an identity, or about the version that waits.

        `with approvals.recording_refusals(...): identity = identify_by_slack(policy, user)`
        """
        try:
            yield
        except RetrainingError as refusal:
            if _is_refusal(refusal):
                self.ledger.refuse(version, wanted, by, channel=channel, refusal=refusal)
            raise

    # -- steps

    def _prepared(self, version: int) -> Release | None:
        """Verifies what waits, since what cannot be promoted cannot be approved.

        An approval whose promotion was interrupted is carried out first, and given.
        """
        self._promoter.recover(RECOVERY)
        release = self._known(version)
        if release.state is ReleaseState.APPROVED:
            self._promoter.finish_approved()
            return self._known(version)
        if release.state is ReleaseState.AWAITING_APPROVAL:
            self._promoter.verify(version)
        return None

    def _promoted(self, approved: Release) -> Release:
        """Carries out an approval; the candidate waits no more, also if that fails."""
        actor, via = approved.decided_by or RECOVERY, approved.decided_via or RECOVERY
        try:
            return self._promoter.promote(approved.version, actor=actor, channel=via, reason=approved.reason)
        finally:
            self._point_candidate()

    def _apply_decision(self, version: int, decision: ReviewerDecision) -> Release:
        self.ledger.expire_due(actor=DEADLINE, channel=DEADLINE)
        self._known(version)
        return self.ledger.record_decision(version, decision, self.policy)

    def _point_candidate(self) -> None:
        """The alias `candidate` follows the record. If it cannot now, the sensor does it; the decision stands."""
        try:
            self._promoter.point_candidate()
        except DependencyUnreachable as error:
            LOG.warning("the decision stands, but the alias candidate could not be moved yet: %s", error.what)

    def _known(self, version: int) -> Release:
        release = self.ledger.release_by_version(version)
        if release is None:
            known = ", ".join(str(one.version) for one in self.ledger.releases()) or "none"
            raise Conflict(f"there is no release of version {version}", remedy=f"versions with a release: {known}.")
        return release


def _is_refusal(error: RetrainingError) -> bool:
    """Whether an error refuses the person, damage included; an unreachable MLflow refuses no one."""
    return isinstance(error, IntegrityError) or not isinstance(error, DependencyUnreachable)
