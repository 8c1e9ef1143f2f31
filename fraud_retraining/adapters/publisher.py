"""Moving the champion: the ledger's record and the registry's alias, in the one order that survives a crash.

Here: intent, compare-and-set, outcome, and what an interrupted promotion comes to. Not here: whether a release may be
promoted (`domain/releases.py`).
"""

from fraud_retraining.adapters.ledger import Ledger
from fraud_retraining.adapters.registry import Registry
from fraud_retraining.domain.errors import Conflict, RetrainingError
from fraud_retraining.domain.leases import Lease
from fraud_retraining.domain.releases import Complete, HumanMoved, Intent, Outcome, Release, recovery

RECOVERY = "recovery"


class Publisher:
    """The only one who moves the alias `champion`."""

    def __init__(self, ledger: Ledger, registry: Registry) -> None:
        self._ledger = ledger
        self._registry = registry

    def promote(
        self,
        version: int,
        *,
        actor: str,
        channel: str,
        reason: str = "",
        rollback: bool = False,
        lease: Lease | None = None,
    ) -> Release:
        """Makes an approved version champion, or for a rollback one that was champion before.

        The artifact's digest is verified from the record first. A human who moves the alias meanwhile wins. `lease` is
        that of a retrain which promotes by itself; a person needs none.

        Raises:
            Conflict: not approved, a newer champion, another promotion under way, the alias was moved meanwhile, or
                the lease was lost.
            IntegrityError: the artifact is not the one that was judged; nothing was changed.
        """
        with self._ledger.promotion_lock():
            self._recover(actor)
            serving = self._registry.champion()
            self._verify(version)
            intent = self._ledger.intend_promotion(
                version,
                serving.version if serving else None,
                actor=actor,
                channel=channel,
                reason=reason,
                rollback=rollback,
                lease=lease,
            )
            return self._carry_out(intent, actor, channel)

    def recover(self, actor: str) -> list[Release]:
        """Finishes or undoes what was interrupted, and records a champion that somebody moved by hand."""
        with self._ledger.promotion_lock():
            return self._recover(actor)

    def _verify(self, version: int) -> None:
        release = self._ledger.release_by_version(version)
        if release is None:
            raise Conflict(
                f"the ledger knows no version {version}",
                remedy="only versions that this pipeline registered can serve.",
            )
        self._registry.download(version, expected_digest=release.artifact_digest)

    def _carry_out(self, intent: Intent, actor: str, channel: str) -> Release:
        outcome: Outcome
        try:
            self._registry.compare_and_set_champion(intent.expected_champion, intent.version)
            outcome = Complete()
        except Conflict:
            outcome = self._judged(intent)
        except RetrainingError:
            self._settle(intent, actor, channel)
            raise
        release = self._ledger.finish_promotion(intent, outcome, actor=actor, channel=channel)
        if isinstance(outcome, HumanMoved):
            raise Conflict(
                f"version {intent.version} was not promoted: somebody moved the alias to "
                f"version {outcome.champion} meanwhile, and their move stands",
                remedy="look at the registry; a rollback or a new retrain moves it again.",
            )
        return release

    def _settle(self, intent: Intent, actor: str, channel: str) -> None:
        """After a failed move: records what the alias says, if it can be read; else the next start does."""
        try:
            outcome = self._judged(intent)
        except RetrainingError:
            return
        self._ledger.finish_promotion(intent, outcome, actor=actor, channel=channel)

    def _judged(self, intent: Intent) -> Outcome:
        serving = self._registry.champion()
        return recovery(intent, serving.version if serving else None)

    def _recover(self, actor: str) -> list[Release]:
        finished = [
            self._ledger.finish_promotion(intent, self._judged(intent), actor=actor, channel=RECOVERY)
            for intent in self._ledger.unfinished_intents()
        ]
        serving = self._registry.champion()
        self._ledger.champion_moved(serving.version if serving else None, actor="somebody", channel="registry")
        return finished
