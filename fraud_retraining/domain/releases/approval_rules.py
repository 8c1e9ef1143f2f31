"""Who may decide about a release, and until when.

Here: the rule of two people, the refusal of an approval of one's own retrain or of another model than was shown, what
needs a human, the deadline, and reminders before it. Not here: how a reviewer proves who they are (`reviewers.py`),
which state follows (`lifecycle.py`), and whether the promotion mode lets a candidate go without a human
(`promotion_mode.py`).
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from fraud_retraining.domain.releases.release import Decision, Release, ReleaseState, Reminder
from fraud_retraining.domain.releases.reviewers import Identity, ReviewerPolicy, admit, is_requester
from fraud_retraining.domain.retraining.requesters import UNKNOWN
from fraud_retraining.domain.values.errors import Conflict, GateFailed, NotPermitted

S = ReleaseState


def check_reviewer(release: Release, decision: Decision, policy: ReviewerPolicy, identity: Identity) -> None:
    """Refuse a person who may not make this decision. Who requested a retrain may reject it, never approve it.

    Raises:
        NotPermitted: not a reviewer, not proven, or the requester of the retrain.
    """
    admit(policy, identity)
    if decision is Decision.APPROVE:
        _refuse_own(release, policy, identity)


def _refuse_own(release: Release, policy: ReviewerPolicy, identity: Identity) -> None:
    """The requester of a retrain cannot approve it, under any trigger."""
    if is_requester(policy, identity, release.requested_by):
        raise NotPermitted(
            f"{identity.name} requested version {release.version} and cannot approve it",
            remedy="Let another reviewer decide.",
        )


def check_shown(release: Release, digest: str | None) -> None:
    """Refuse a decision about another artifact than was registered; `digest` is None where the channel shows none.

    Raises:
        Conflict: the reviewer saw another artifact.
    """
    if digest is not None and digest != release.artifact_digest:
        raise Conflict(
            f"version {release.version} is not the model that was shown",
            culprits=[f"shown {digest}", f"registered {release.artifact_digest}"],
            remedy="Look at `fraud-retraining pending` and decide about what waits now.",
        )


def needs_two(release: Release, policy: ReviewerPolicy) -> bool:
    """Whether two reviewers have to approve: by policy, or because the requester of the retrain is unknown.

    An unknown requester could otherwise approve alone. With one reviewer there is no second.
    """
    # Dagster's UI has no login: whoever launched the run may be the one who approves it.
    return policy.two_person or (release.requested_by == UNKNOWN and len(policy.reviewers) > 1)


def is_first_of_two(release: Release, policy: ReviewerPolicy, identity: Identity) -> bool:
    """Whether this approval is the first of two, after which the release still waits.

    Raises:
        Conflict: this reviewer has given the first one already.
    """
    if not needs_two(release, policy):
        return False
    if release.first_approval_by == identity.name:
        raise Conflict(
            f"{identity.name} has approved version {release.version} already",
            remedy="A second reviewer has to approve.",
        )
    return release.first_approval_by is None


def check_without_human(release: Release) -> None:
    """A release that is approved without waiting for a human must be one that the promotion mode may decide."""
    if release.needs_human or not release.verdict_passed:
        why = release.needs_human or "its gates did not pass"
        raise GateFailed(
            f"version {release.version} cannot be approved by itself: {why}", remedy="A human has to decide."
        )


def check_deadline(release: Release, to: ReleaseState, at: datetime) -> None:
    """A waiting release can be decided before its deadline and expires from it on: always exactly one of the two."""
    if release.state is not S.AWAITING_APPROVAL or release.deadline is None:
        return
    # One comparison for both ends: no moment at which a release can neither be decided nor expire.
    late = at >= release.deadline
    if late and to in {S.APPROVED, S.REJECTED}:
        raise Conflict(
            f"version {release.version} expired at {release.deadline:%Y-%m-%d %H:%M:%S} UTC",
            remedy="The champion stays. Ask for a new retrain.",
        )
    if not late and to is S.EXPIRED:
        raise Conflict(f"version {release.version} may be decided until {release.deadline:%Y-%m-%d %H:%M:%S} UTC")


def reminders_due(release: Release, now: datetime, sent: Collection[Reminder]) -> tuple[Reminder, ...]:
    """Return the reminders that are due now: at half time, and an hour before the deadline.

    The last hour makes half time pointless, and a release that waits for less than an hour is announced only once.
    """
    if release.state is not S.AWAITING_APPROVAL or release.deadline is None or now >= release.deadline:
        return ()
    requested, last_hour = release.moved_at, release.deadline - timedelta(hours=1)
    if requested < last_hour <= now:
        return () if Reminder.LAST_HOUR in sent else (Reminder.LAST_HOUR,)
    half_time = requested + (release.deadline - requested) / 2
    return (Reminder.HALF_TIME,) if half_time <= now and Reminder.HALF_TIME not in sent else ()
