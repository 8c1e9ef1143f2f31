"""Releases as the web app shows them: histories, review reports and pictures kept in memory, and decisions recorded.

Here: what every way into the app shares. Not here: HTTP (`release_routes.py`), Slack (`slack_actions.py`), and what a
decision does (`services/approvals.py`).
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraud_retraining.adapters.days.review_reports import read_review_report
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.pages.pictures import SHADOW
from fraud_retraining.adapters.pages.review_pictures import ReviewPictures, pictures_key, shadow_key
from fraud_retraining.adapters.pages.signed_links import ReleaseLinks, SignedLink
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.alerts.notices import LinkPolicy
from fraud_retraining.domain.audit.history import ReleaseHistory
from fraud_retraining.domain.releases.release import Decision, Release
from fraud_retraining.domain.releases.reviewers import Identity, ReviewerPolicy, is_proxy
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.values.errors import NotPermitted, RetrainingError
from fraud_retraining.services.approvals import ReleaseApprovals
from fraud_retraining.services.release_history import read_release_history
from fraud_retraining.serving.lru_cache import LruCache

if TYPE_CHECKING:
    from starlette.requests import Request

RECORDED_EVERY_SECONDS = 60.0
KEPT = 16
"""Versions whose history and page stay in memory."""
LOG = logging.getLogger("fraud_retraining.releases")


@dataclass(frozen=True)
class DecisionBinding:
    """What a signed link or a button binds a decision to: the artifact that was shown, and a nonce to be used once."""

    expected_digest: str | None = None
    nonce: str | None = None


UNBOUND = DecisionBinding()


@dataclass(frozen=True)
class LoginProxy:
    """The login proxy in front of the app, and its secret; empty where its addresses alone identify it."""

    policy: ReviewerPolicy
    secret: str

    def login(self, request: "Request") -> str | None:
        """The login in its header; None for a request that the proxy did not send."""
        presented = request.headers.get(self.policy.proxy_secret_header, "")
        peer = request.client.host if request.client else None
        if not is_proxy(self.policy, self.secret, presented, peer):
            return None
        return request.headers.get(self.policy.proxy_header or "")


class ReleaseSite:
    """Releases as the app shows them, and the decisions it makes on behalf of reviewers."""

    def __init__(
        self,
        approvals: ReleaseApprovals,
        store: Store,
        links: ReleaseLinks | None,
        proxy: LoginProxy | None,
        addresses: LinkPolicy,
    ) -> None:
        self.approvals = approvals
        self.addresses = addresses
        self._store = store
        self._links = links
        self._proxy = proxy
        self._pictures = ReviewPictures(store)
        self._histories: LruCache[tuple[ReleaseHistory, ReviewReport | None]] = LruCache(KEPT)
        self._pages: LruCache[str] = LruCache(KEPT)
        self._recorded_at: float | None = None

    @property
    def ledger(self) -> Ledger:
        """The ledger that decisions are written to."""
        return self.approvals.ledger

    def history(self, version: int) -> tuple[ReleaseHistory, ReviewReport | None]:
        """The history of a version, with its review report where that can be read."""
        # The ledger's head in the key makes a kept history current; one without its report is read again.
        return self._histories.get(
            (version, self.ledger.head()), lambda: self._read(version), lambda read: bool(read[1])
        )

    def page(self, version: int, show: Callable[[ReleaseHistory, ReviewReport | None], str]) -> str:
        """The page of a version for readers who cannot decide, rendered once for each head of the ledger."""
        key, (history, review_report) = (version, self.ledger.head()), self.history(version)
        return self._pages.get(key, lambda: show(history, review_report), lambda _: review_report is not None)

    def _read(self, version: int) -> tuple[ReleaseHistory, ReviewReport | None]:
        history = read_release_history(self.ledger, version)
        judged = history.evaluation
        if judged is None or not judged.review_digest:
            return history, None
        try:
            return history, read_review_report(self._store, history.release.fingerprint, judged.review_digest)
        except RetrainingError as error:
            LOG.warning("the review report of version %s cannot be shown: %s", version, error)
            return history, None

    def picture(self, version: int, key: str, name: str) -> bytes | None:
        """A picture of a version as PNG; None where there is none of that key and name.

        Raises:
            Conflict: there is no release of that version.
        """
        history, review_report = self.history(version)
        judged, shadow = history.evaluation, history.shadow
        if name == SHADOW and shadow is not None and shadow_key(shadow) == key:
            return self._pictures.of_shadow(shadow)
        if judged is None or review_report is None or pictures_key(judged) != key:
            return None
        return self._pictures.of(judged, review_report).get(name)

    def link(self, token: str) -> SignedLink | None:
        """The content of a signed link; None for an empty token.

        Raises:
            NotPermitted: it is forged or too old, or links are not in use.
        """
        if not token:
            return None
        if self._links is None:
            raise NotPermitted("signed links are not in use", remedy="set RELEASES_LINK_SECRET where this runs.")
        return self._links.read(token)

    def login(self, request: "Request") -> str | None:
        """The login that the proxy authenticated; None without a proxy."""
        return self._proxy.login(request) if self._proxy else None

    def decide(
        self,
        version: int,
        decision: Decision,
        identity: Identity,
        reason: str,
        channel: str,
        binding: DecisionBinding = UNBOUND,
    ) -> Release:
        """Record the decision of a reviewer whose identity was verified."""
        act = self.approvals.approve if decision is Decision.APPROVE else self.approvals.reject
        return act(
            version,
            identity,
            reason,
            channel=channel,
            expected_digest=binding.expected_digest,
            nonce=binding.nonce,
        )

    def record_forgery(self, why: str, channel: str) -> None:
        """Record a request whose proof is forged; at most once a minute, so that no attacker fills the ledger."""
        now = time.monotonic()
        LOG.warning("refused by %s: %s", channel, why)
        # Monotonic: a clock that is set back must not silence the record.
        if self._recorded_at is None or now - self._recorded_at > RECORDED_EVERY_SECONDS:
            self._recorded_at = now
            refusal = NotPermitted(why)
            self.ledger.refuse(None, "request", "unknown", channel=channel, refusal=refusal)
