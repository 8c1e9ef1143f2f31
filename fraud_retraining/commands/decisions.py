"""What people decide about releases: approve, reject, roll back.

Here: which ledger move and which promotion a decision means. Not here: whether it is allowed (`domain/releases.py`).
"""

from fraud_retraining.adapters.ledger import Ledger
from fraud_retraining.adapters.publisher import Publisher
from fraud_retraining.adapters.registry import Registry
from fraud_retraining.domain.errors import Conflict
from fraud_retraining.domain.releases import Decision, Release, ReleaseState
from fraud_retraining.orchestration.resources import open_ledger, open_registry
from fraud_retraining.settings import Settings

CHANNEL = "command line"


class Decisions:
    """One reviewer's way to the releases."""

    def __init__(self, settings: Settings, by: str) -> None:
        self._settings = settings
        self._by = by
        self._ledger: Ledger = open_ledger(settings)
        self._registry: Registry = open_registry(settings)
        self._publisher = Publisher(self._ledger, self._registry)

    def approve(self, version: int, reason: str) -> Release:
        """Approves a waiting version and makes it champion; an approval that was interrupted is carried out.

        Raises:
            Conflict: it no longer waits, or a newer champion serves.
        """
        self._start()
        if self._release(version).state is not ReleaseState.APPROVED:
            self._decide(version, Decision.APPROVE, reason)
        release = self._publisher.promote(version, actor=self._by, channel=CHANNEL, reason=reason)
        self._registry.point_candidate(version, waiting=False)
        return release

    def reject(self, version: int, reason: str) -> Release:
        """Rejects a waiting version; the champion stays.

        Raises:
            Conflict: it no longer waits.
        """
        self._start()
        release = self._decide(version, Decision.REJECT, reason)
        self._registry.point_candidate(version, waiting=False)
        return release

    def rollback(self, version: int, reason: str) -> Release:
        """Makes a version that was champion before champion again, its artifact verified.

        Raises:
            Conflict: it never was champion.
        """
        self._start()
        self._release(version)
        return self._publisher.promote(version, actor=self._by, channel=CHANNEL, reason=reason, rollback=True)

    def _start(self) -> None:
        self._publisher.recover(self._by)
        self._ledger.expire_due(actor="deadline", channel=CHANNEL)

    def _decide(self, version: int, decision: Decision, reason: str) -> Release:
        self._release(version)
        policy = self._settings.promotion
        return self._ledger.decide(version, decision, policy=policy, actor=self._by, channel=CHANNEL, reason=reason)

    def _release(self, version: int) -> Release:
        release = self._ledger.release_by_version(version)
        if release is None:
            known = ", ".join(str(one.version) for one in self._ledger.releases()) or "none"
            raise Conflict(f"there is no release of version {version}", remedy=f"versions with a release: {known}.")
        return release
