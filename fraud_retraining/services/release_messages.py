"""Messages that let a reviewer decide, composed from the ledger at the moment of sending.

Here: personal links and requests with buttons. A stored message is believed only as far as it says which of the two is
wanted, of which version and for whom: whoever may write to the outbox's tables must not get a link that proves to be a
reviewer, nor buttons beside figures that are not the ledger's. Not here: the messages themselves
(`domain/release_messages/slack_request.py`) and sending (`services/delivery.py`).
"""

import logging
from collections.abc import Mapping
from typing import Any

from fraud_retraining.adapters.alerts.destination import NotFromHere, Refused, Undelivered
from fraud_retraining.adapters.alerts.records import Delivery
from fraud_retraining.adapters.days.review_reports import read_review_report
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.pages.signed_links import LINK_VARIABLE, ReleaseLinks
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.alerts.notices import SLACK, Action, LinkPolicy
from fraud_retraining.domain.alerts.slack_markup import Body
from fraud_retraining.domain.audit.history import ReleaseHistory
from fraud_retraining.domain.release_messages.slack_request import (
    LINK,
    DecisionButtons,
    personal_link_message,
    pressed_by,
    request_message,
    with_signed_link,
)
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import Reviewer, ReviewerPolicy
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.values.errors import IntegrityError, RetrainingError
from fraud_retraining.services.release_history import read_release_history

LOG = logging.getLogger("fraud_retraining.alerts")


class ReleaseMessages:
    """One model's messages that let a reviewer decide.

    `links` is None where this process has no secret to sign them with.
    """

    def __init__(
        self, ledger: Ledger, store: Store, policy: ReviewerPolicy, shown: LinkPolicy, links: ReleaseLinks | None
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._policy = policy
        self._shown = shown
        self._links = links

    def addresses(self) -> frozenset[str]:
        """The reviewers' own destinations."""
        return frozenset(filter(None, map(own_destination, self._policy.reviewers)))

    def composed(self, delivery: Delivery) -> Body:
        """Return the message as the ledger and the settings have it now.

        Raises:
            Refused: the release does not wait with that artifact, or the destination is not the reviewer's own.
            NotFromHere: this process cannot sign links.
            Undelivered: the ledger was altered.
        """
        if delivery.action is not Action.OPEN:
            raise Refused(f"only the first message lets a reviewer decide, and this is its {delivery.action}")
        wanted = delivery.body.get(LINK)
        try:
            return self._request(delivery) if wanted is None else self._personal(delivery, wanted)
        except IntegrityError as error:
            raise Undelivered(f"nobody may decide now: {error}", blocked=True) from error

    def _personal(self, delivery: Delivery, wanted: Any) -> Body:
        named = wanted if isinstance(wanted, Mapping) else {}
        reviewer = self._policy.reviewer(str(named.get("reviewer")))
        if reviewer is None:
            raise Refused(
                f"{str(named.get('reviewer'))[:100]!r} is no reviewer of promotion.reviewers: no link is signed"
            )
        if delivery.destination != own_destination(reviewer):
            raise Refused(f"{delivery.destination[:100]} is not {reviewer.name}'s own address: no link is signed")
        release = self._waiting(named.get("version"), named.get("digest"))
        base = self._shown.releases
        if self._links is None or base is None:
            raise NotFromHere(f"this process cannot sign links: {LINK_VARIABLE} is not set here")
        url = self._links.url(base, release, reviewer.name)
        return with_signed_link(personal_link_message(release, reviewer.name), url)

    def _request(self, delivery: Delivery) -> Body:
        try:
            buttons = DecisionButtons.of(pressed_by(delivery.body))
        except ValueError as error:
            raise Refused(f"its buttons are none of this program: {error}") from error
        release = self._waiting(buttons.version, buttons.digest)
        return request_message(*read_with_report(self._ledger, self._store, release.version), self._shown)

    def _waiting(self, version: Any, digest: Any) -> Release:
        """The release of a version, which waits with that artifact."""
        release = self._ledger.release_by_version(version) if type(version) is int else None
        if release is None:
            raise Refused(f"the ledger knows no version {str(version)[:20]}")
        if release.state is not ReleaseState.AWAITING_APPROVAL:
            raise Refused(f"version {release.version} does not wait for a decision: {release.state}")
        if release.artifact_digest != digest:
            raise Refused(f"version {release.version} has another artifact than the message names")
        return release


def own_destination(reviewer: Reviewer) -> str | None:
    """Where a reviewer gets what is meant for them alone; None without an address of their own."""
    return f"{SLACK}:{reviewer.slack_id}" if reviewer.slack_id is not None else None


def read_with_report(ledger: Ledger, store: Store, version: int) -> tuple[ReleaseHistory, ReviewReport | None]:
    """Return the history of a version, and its review report where that can be read.

    Raises:
        Conflict: the ledger knows no such version.
    """
    history = read_release_history(ledger, version)
    judged = history.evaluation
    if judged is None or not judged.review_digest:
        return history, None
    try:
        return history, read_review_report(store, history.release.fingerprint, judged.review_digest)
    except RetrainingError as error:
        LOG.warning("the review report of version %s cannot be shown: %s", version, error)
        return history, None
