"""Reviewers' decisions in the ledger: the first one wins, and a refused one is recorded too.

Here: decisions, links that work once, and waiting with a deadline. Not here: who may decide and what a decision changes
(`domain/releases/`), and how decisions arrive (`services/approvals.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fraud_retraining.adapters.ledger.event_log import EventKeys, clean_text
from fraud_retraining.adapters.ledger.leases import require_current
from fraud_retraining.adapters.ledger.releases import ReleaseRecords, moved_by, row_of
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.lifecycle import (
    PENDING,
    move,
    newer_than,
    next_state,
    outdated_by,
    request_approval,
)
from fraud_retraining.domain.releases.release import Decision, Moved, Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import Identity, ReviewerPolicy, admit, as_recorded
from fraud_retraining.domain.retraining.lease_rules import Lease
from fraud_retraining.domain.values.errors import Conflict, RetrainingError

if TYPE_CHECKING:
    from fraud_retraining.adapters.ledger.database import Transaction

S = ReleaseState


@dataclass(frozen=True)
class ReviewerDecision:
    """A reviewer's decision, and the way that it came by.

    Attributes:
        decision: approve or reject.
        by: who decides.
        channel: the way that the decision came by.
        reason: why; a rejection needs one.
        expected_digest: the artifact that the reviewer saw, where the way says so.
        nonce: what makes a link work once; it is used up with the decision, in one transaction.
    """

    decision: Decision
    by: Identity
    channel: str
    reason: str = ""
    expected_digest: str | None = None
    nonce: str | None = None


class DecisionRecords(ReleaseRecords):
    """Decisions about releases that wait, and about rollbacks and resumption."""

    def record_decision(self, version: int, given: ReviewerDecision, policy: ReviewerPolicy) -> Release:
        """Record a reviewer's decision. A refused one is recorded too, and changes nothing else.

        Raises:
            Conflict: the release no longer waits, or the link was used; the message says who decided and when.
            NotPermitted: this person may not decide.
            SettingsError: no reason was given.
        """

        def work(tx: "Transaction") -> Release | RetrainingError:
            release = self._known(tx, version)
            by = given.by
            moved = moved_by(tx, by.name, f"{given.channel}, {by.how}", given.reason)
            try:
                self._refuse_used(tx, given.nonce)
                decided = next_state(release, given.decision, policy, by, moved, given.expected_digest)
            except RetrainingError as refusal:
                # Returned, not raised: an exception would roll back the event of the refusal.
                self._refused(tx, release, given, refusal)
                return refusal
            self._spend(tx, given.nonce, by.name)
            return self._answered(tx, release, decided, by, moved)

        return _raised(self._database.write(work))

    def refuse(self, version: int | None, wanted: str, by: str, *, channel: str, refusal: RetrainingError) -> None:
        """Record that a user wanted to decide and was refused before it came to a decision."""
        payload = {"decision": wanted, "refused": refusal.what}
        self.append(
            EventKind.DECISION_REFUSED,
            actor=by or "nobody",
            channel=channel,
            keys=EventKeys(version=version),
            payload=payload,
        )

    def admit(self, policy: ReviewerPolicy, by: Identity, wanted: str, version: int | None, *, channel: str) -> None:
        """Let a user roll back or resume, or refuse and record it.

        Raises:
            NotPermitted: not a reviewer, or not proven.
        """
        try:
            admit(policy, by)
        except RetrainingError as refusal:
            self.refuse(version, wanted, by.name, channel=f"{channel}, {by.how}", refusal=refusal)
            raise

    def use_nonce(self, nonce: str, by: str) -> None:
        """Use up a link that works once and decides nothing.

        Raises:
            Conflict: it was used before; the message says by whom and when.
        """

        def work(tx: "Transaction") -> None:
            self._refuse_used(tx, nonce)
            self._spend(tx, nonce, by)

        self._database.write(work)

    def await_decision(
        self, version: int, *, hours: float, actor: str, channel: str, reason: str = "", lease: Lease | None = None
    ) -> Release:
        """Let a candidate wait for a reviewer, and say why; of two that wait, the newer supersedes the other."""

        def work(tx: "Transaction") -> Release:
            require_current(tx, lease)
            release = self._known(tx, version)
            pending = self._read_releases(tx.connection, state=PENDING)
            moved = moved_by(tx, actor, channel, reason)
            newer = newer_than(release, pending)
            if newer is not None:
                late = moved.model_copy(update={"reason": f"version {newer.version}, as of {newer.as_of}, is newer"})
                return self._save(tx, release, move(release, S.SUPERSEDED, late), late)
            waits = request_approval(release, hours, moved)
            self._supersede(tx, outdated_by(release, pending), f"version {version} is newer", moved)
            return self._save(tx, release, waits, moved)

        return self._database.write(work)

    def expire_due(self, *, actor: str, channel: str) -> list[Release]:
        """Expire every waiting release whose deadline has passed by the database's clock."""

        def work(tx: "Transaction") -> list[Release]:
            moved = moved_by(tx, actor, channel, "nobody decided before the deadline")
            waiting = self._read_releases(tx.connection, state=S.AWAITING_APPROVAL)
            due = [release for release in waiting if release.deadline is not None and release.deadline <= moved.at]
            return [self._save(tx, release, move(release, S.EXPIRED, moved), moved) for release in due]

        return self._database.write(work)

    # -- inside a transaction

    def _answered(self, tx: "Transaction", before: Release, after: Release, by: Identity, moved: Moved) -> Release:
        """Record an accepted decision; the first of two approvals leaves the release where it is."""
        identity = {"identity": as_recorded(by)}
        if after.state is not before.state:
            if after.state is S.APPROVED and not after.verdict_passed:
                self._record_exception(tx, after, moved, identity)
            return self._save(tx, before, after, moved, identity)
        tx.update_release(row_of(after))
        self._release_event(tx, EventKind.APPROVAL_RECORDED, after, moved, {**identity, "reason": moved.reason})
        return after

    def _record_exception(self, tx: "Transaction", release: Release, moved: Moved, identity: Mapping[str, Any]) -> None:
        """Record that a reviewer let a candidate serve under a floor, in the transaction of the approval."""
        about = {"version": release.version, "fingerprint": release.fingerprint, "as_of": release.as_of}
        payload = {"floors": release.floors_missed, "why": release.needs_human, "reason": moved.reason, **identity}
        self._event(tx, EventKind.FLOOR_EXCEPTED, payload, actor=moved.by, channel=moved.via, **about)

    def _refused(self, tx: "Transaction", release: Release, given: ReviewerDecision, refusal: RetrainingError) -> None:
        by = given.by
        payload = {
            "decision": given.decision,
            "reason": given.reason,
            "refused": refusal.what,
            "identity": as_recorded(by),
        }
        about = {"version": release.version, "fingerprint": release.fingerprint, "as_of": release.as_of}
        channel = f"{given.channel}, {by.how}"
        self._event(tx, EventKind.DECISION_REFUSED, payload, actor=by.name, channel=channel, **about)

    def _refuse_used(self, tx: "Transaction", nonce: str | None) -> None:
        used = tx.used_link(nonce) if nonce is not None else None
        if used is not None:
            at = datetime.fromisoformat(used["used_at"])
            raise Conflict(
                f"this link was used by {used['used_by']} at {at:%Y-%m-%d %H:%M:%S} UTC",
                remedy="A link works once; ask for a new one.",
            )

    def _spend(self, tx: "Transaction", nonce: str | None, by: str) -> None:
        if nonce is not None:
            tx.use_link(nonce, clean_text(by))


def _raised(answer: Release | RetrainingError) -> Release:
    if isinstance(answer, RetrainingError):
        raise answer
    return answer
