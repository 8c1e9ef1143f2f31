"""Releases in any state, moves, and decisions about them, without a ledger."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from fraud_retraining.domain.releases.lifecycle import next_state
from fraud_retraining.domain.releases.release import Decision, Moved, Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import Identity, Proof, ReviewerPolicy

S = ReleaseState
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ANYBODY = ReviewerPolicy()


def release(
    state: ReleaseState = S.REGISTERED, version: int = 5, as_of: date = date(2026, 11, 20), **more: Any
) -> Release:
    values = {"trigger": "schedule", "artifact_digest": "d", "verdict_passed": True, "opened_at": NOON, **more}
    fixed = {"model": "fraud_detector", "fingerprint": f"f{version}", "moved_at": NOON, "moved_by": "alice"}
    return Release(version=version, as_of=as_of, state=state, **{**fixed, **values})


def waiting(**more: Any) -> Release:
    return release(S.AWAITING_APPROVAL, **{"deadline": NOON + timedelta(hours=24), **more})


def by(who: str = "bob", at: datetime = NOON + timedelta(hours=1), reason: str = "because") -> Moved:
    return Moved(by=who, via="cli", at=at, reason=reason)


def decide(
    before: Release, decision: Decision, policy: ReviewerPolicy, moved: Moved, how: Proof = Proof.NOTHING, **more: Any
) -> Release:
    """The release after the decision of the person who moves it."""
    return next_state(before, decision, policy, Identity(name=moved.by, how=how), moved, **more)


MISSED = {"verdict_passed": False, "floors_missed": "average_precision_floor", "needs_human": "it misses a floor"}
