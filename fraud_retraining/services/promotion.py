"""Moving the champion: the ledger's record and the registry's alias, in the one order that survives a crash.

Here: verification from the record, intent, compare-and-set, outcome, smoke test, the way back when it fails, and the
end of an interrupted promotion. Not here: whether a release may be promoted (`domain/releases/lifecycle.py`) and who
decided (`services/approvals.py`).

    verify the record -> write the intent -> move the alias -> write the outcome -> smoke test -> write its result
"""

from collections.abc import Iterable

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.promotions import AliasMove
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.tags import LEDGER_HEAD
from fraud_retraining.domain.evaluation.matured import MaturedOutcome
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.releases.lifecycle import (
    Complete,
    HumanMoved,
    Outcome,
    Supersede,
    Undo,
    promotion_of,
    recovery,
)
from fraud_retraining.domain.releases.promotion_mode import require_approver
from fraud_retraining.domain.releases.release import Intent, Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import ReviewerPolicy
from fraud_retraining.domain.releases.verdict_checks import require_recorded_verdict
from fraud_retraining.domain.retraining.lease_rules import Lease
from fraud_retraining.domain.values.errors import (
    ChampionLost,
    Conflict,
    DependencyUnreachable,
    GateFailed,
    IntegrityError,
    NotPermitted,
    RecordAltered,
    RetrainingError,
)
from fraud_retraining.services.recorded_versions import require_kept
from fraud_retraining.services.smoke_test import SmokeResult, smoke_test

RECOVERY = "recovery"
SMOKE_TEST = "smoke test"
UNKNOWN_PERSON = "somebody"
"""Stored name of the actor of a move in MLflow, which does not say who made it."""

CHAMPION_SET_KINDS = (EventKind.PROMOTION_DONE, EventKind.CHAMPION_MOVED_OUTSIDE)
REFUTING_KINDS = (EventKind.MATURED_VERDICT, EventKind.PROMOTION_WATCHED)


class Promoter:
    """The only one who moves the alias `champion`."""

    def __init__(self, ledger: Ledger, registry: Registry, policy: ReviewerPolicy) -> None:
        self._ledger = ledger
        self._registry = registry
        self._policy = policy

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

        Verdict and artifact are verified from the record first. A human who moves the alias meanwhile wins. A champion
        that fails its smoke test is rolled back. A promotion that another process finished meanwhile counts as done.
        `lease` is that of a retrain which promotes automatically; a person needs none.

        Raises:
            Conflict: not approved, a newer champion, another promotion under way, the alias was moved meanwhile, or
                the lease was lost.
            IntegrityError: artifact or verdict is not the recorded one; nothing was changed.
            GateFailed: it did not pass its gates, or its smoke test; the champion before serves.
        """
        with self._ledger.promotion_lock():
            if rollback:
                self._retire_lost(actor, channel, f"rolled back to version {version}: {reason}")
            # An unfinished intent comes first: until its outcome is recorded, nobody knows who serves.
            self._recover(actor)
            release = self.verify(version)
            if not rollback and release.state is ReleaseState.PROMOTED and release.decided_by == actor:
                return release
            problem = self._promote(version, actor, channel, reason, rollback=rollback, lease=lease)
            if problem is not None:
                raise GateFailed(problem, remedy=f"see `fraud-retraining audit show {version}`.")
            return self._known(version)

    def retire(self, actor: str, channel: str, reason: str) -> Release:
        """Takes a champion that MLflow has lost out of service, in a person's name; the next candidate waits.

        Raises:
            Conflict: MLflow still has it, or there is none.
        """
        with self._ledger.promotion_lock():
            retired = self._retire_lost(actor, channel, reason)
        if retired is None:
            raise Conflict(
                "there is no champion that MLflow has lost",
                remedy="One that is there is replaced by a promotion, or by `fraud-retraining rollback --to VERSION`.",
            )
        return retired

    def _retire_lost(self, actor: str, channel: str, reason: str) -> Release | None:
        try:
            require_kept(self._registry, self._ledger)
        except ChampionLost as lost:
            self._ledger.require_intact()
            return self._ledger.retire_champion(actor=actor, channel=channel, reason=f"{lost.culprits[0]}; {reason}")
        return None

    def recover(self, actor: str) -> list[Release]:
        """Finishes or undoes interrupted promotions, and records a champion that a person moved by hand."""
        with self._ledger.promotion_lock():
            return self._recover(actor)

    def finish_approved(self) -> list[Release]:
        """Promotes what was approved and never promoted, because the process that should have done it ended.

        What cannot be promoted any more is withdrawn or superseded, with the reason.
        """
        with self._ledger.promotion_lock():
            self._recover(RECOVERY)
            approved = sorted(self._ledger.releases(ReleaseState.APPROVED), key=lambda one: one.as_of, reverse=True)
            now = (self._known(release.version) for release in approved)
            return [self._finish(release) for release in now if release.state is ReleaseState.APPROVED]

    def point_candidate(self) -> None:
        """Puts the alias `candidate` on the version that waits, or takes it away."""
        waiting = max(self._ledger.waiting(), key=lambda release: release.version, default=None)
        pointed = self._registry.candidate()
        if waiting is not None and (pointed is None or pointed.version != waiting.version):
            self._registry.point_candidate(waiting.version, waiting=True)
        elif waiting is None and pointed is not None:
            self._registry.point_candidate(pointed.version, waiting=False)

    def verify(self, version: int) -> Release:
        """The release of a version whose verdict and artifact are what the record says.

        Raises:
            Conflict: the ledger knows no such version.
            IntegrityError: verdict or artifact is another one; nothing of it was opened.
            GateFailed: it did not pass its gates.
        """
        self._ledger.require_intact(self._registry.pinned_heads())
        release = self._ledger.release_by_version(version)
        if release is None:
            raise Conflict(
                f"the ledger knows no version {version}",
                remedy="only versions that this pipeline registered can serve.",
            )
        require_recorded_verdict(release, self._ledger.verdict(release))
        self._registry.download(version, expected_digest=release.artifact_digest)
        return release

    def last_good(self) -> Release | None:
        """The version that served last before the present champion and could serve again: its artifact is sound."""
        return self._sound_one(self._ledger.latest_champions())

    def restorable(self, version: int) -> Release | None:
        """A former champion that could serve again; None where it cannot: it has no sound artifact, failed its last
        smoke test, or mature labels or its watch refuted it."""
        past = [one for one in self._ledger.latest_champions() if one.version == version]
        return self._sound_one(one for one in past if not self._is_refuted(one))

    # -- one promotion

    def _promote(
        self, version: int, actor: str, channel: str, reason: str, *, rollback: bool = False, lease: Lease | None = None
    ) -> str | None:
        """None, or why the version could not stay champion."""
        if not rollback:
            self._require_admitted(version)
        serving = self._serving()
        move = AliasMove(version, serving, rollback)
        # The intent is on disk before the alias moves: whoever finds it knows what the alias was to become.
        intent = self._ledger.intend_promotion(move, actor=actor, channel=channel, reason=reason, lease=lease)
        self._carry_out(intent, actor, channel)
        return self._prove()

    def _pin(self, version: int) -> None:
        """Keeps the head with the version that was promoted: a ledger that loses the promotion is noticed by it."""
        head = self._ledger.head()
        self._registry.set_version_tags(version, {LEDGER_HEAD: f"{head.seq}:{head.hash}"})

    def _require_admitted(self, version: int) -> None:
        """Refuses an approval by a person whom the present settings do not let approve."""
        moves = self._ledger.events(EventKind.RELEASE_MOVED, version=version)
        approvals = [event for event in moves if event.payload["to"] == ReleaseState.APPROVED]
        if approvals:
            require_approver(self._policy, approvals[-1].actor, approvals[-1].payload.get("identity"))

    def _carry_out(self, intent: Intent, actor: str, channel: str) -> None:
        outcome: Outcome
        try:
            self._registry.compare_and_set_champion(intent.expected_champion, intent.version)
            outcome = Complete()
        except Conflict:
            outcome = self._judged(intent)
        # The alias may have moved although the request failed.
        except RetrainingError:
            self._settle(intent, actor, channel)
            raise
        self._ledger.finish_promotion(intent, outcome, actor=actor, channel=channel)
        if isinstance(outcome, HumanMoved):
            raise Conflict(
                f"version {intent.version} was not promoted: a person moved the alias to "
                f"version {outcome.champion} meanwhile, and that move stands",
                remedy="look at the registry; a rollback or a new retrain moves it again.",
            )
        if isinstance(outcome, Undo):
            raise Conflict(
                f"version {intent.version} was not promoted: the alias was moved meanwhile, and back",
                remedy="it is tried again within a minute; look at who moves it.",
            )

    def _settle(self, intent: Intent, actor: str, channel: str) -> None:
        """After a failed move: records what the alias says, if it can be read; else the next start does."""
        try:
            outcome = self._judged(intent)
        except RetrainingError:
            return
        self._ledger.finish_promotion(intent, outcome, actor=actor, channel=channel)

    def _judged(self, intent: Intent) -> Outcome:
        return recovery(intent, self._serving())

    # -- what an ended process left behind

    def _recover(self, actor: str) -> list[Release]:
        finished = [
            self._ledger.finish_promotion(intent, self._judged(intent), actor=actor, channel=RECOVERY)
            for intent in self._ledger.unfinished_intents()
        ]
        # Before the registry is compared: else an alias that this pipeline took away would look like a human's move.
        self._finish_clearing()
        require_kept(self._registry, self._ledger)
        self._ledger.champion_moved(self._serving(), actor=UNKNOWN_PERSON, channel="registry")
        self._prove()
        return finished

    def _finish(self, release: Release) -> Release:
        actor, channel = release.decided_by or RECOVERY, release.decided_via or RECOVERY
        answer = promotion_of(release, self._ledger.champion(), automatic=True, passed=release.may_serve)
        if isinstance(answer, Supersede):
            return self._end(release, ReleaseState.SUPERSEDED, answer.reason)
        try:
            self.verify(release.version)
            self._require_admitted(release.version)
        # Not a fault of this candidate: everything stops.
        except RecordAltered:
            raise
        except (IntegrityError, GateFailed, NotPermitted) as error:
            return self._end(release, ReleaseState.WITHDRAWN, "; ".join([error.what, *error.culprits]))
        self._promote(release.version, actor, channel, release.reason)
        return self._known(release.version)

    def _end(self, release: Release, to: ReleaseState, reason: str) -> Release:
        return self._ledger.move_release(release.version, to, actor=RECOVERY, channel=RECOVERY, reason=reason)

    # -- the smoke test, and the way back

    def _prove(self) -> str | None:
        """Smoke tests a champion that was not tested since its promotion, and acts on a failure.

        A champion that a human put there is theirs: it is not tested and not taken away. Gives what went wrong.
        """
        champion = self._ledger.champion()
        last = self._last_about(champion, (*CHAMPION_SET_KINDS, EventKind.SMOKE_TESTED)) if champion else None
        if champion is None or last is None or last.kind == EventKind.CHAMPION_MOVED_OUTSIDE:
            return None
        if last.kind == EventKind.PROMOTION_DONE:
            self._pin(champion.version)
            result = self._tested(champion)
        else:
            result = SmokeResult(**last.payload)
        return None if result.passed else self._take_back(champion, result.problem)

    def _tested(self, champion: Release) -> SmokeResult:
        try:
            result = smoke_test(self._registry, champion.artifact_digest)
        except DependencyUnreachable as error:
            raise DependencyUnreachable(
                f"version {champion.version} was promoted, but could not be put to its smoke test: {error.what}",
                culprits=error.culprits,
                remedy="champion_sensor repeats it within a minute.",
            ) from error
        # A failed test means something only if it loaded the version that is meant.
        if not result.passed:
            self._require_unmoved(champion)
        self._ledger.append(
            EventKind.SMOKE_TESTED,
            actor=SMOKE_TEST,
            channel=RECOVERY,
            keys=EventKeys(version=champion.version, fingerprint=champion.fingerprint, as_of=champion.as_of),
            payload=result.model_dump(),
        )
        return result

    def _require_unmoved(self, champion: Release) -> None:
        """A person who moved the alias during the test wins; the test says nothing about the new champion."""
        serving = self._serving()
        if serving != champion.version:
            self._ledger.champion_moved(serving, actor=UNKNOWN_PERSON, channel="registry")
            raise Conflict(
                f"version {champion.version} does not serve any more: a person moved the alias to version {serving}, "
                "and that move stands"
            )

    def _take_back(self, failed: Release, problem: str) -> str:
        """Brings back the version that served before one that cannot serve; gives what happened, in a sentence.

        Where a version was itself brought back, only the one that it replaced is tried: then it is not the model that
        is wrong, and walking through all of history would not help.
        """
        what = f"version {failed.version} did not pass its smoke test: {problem}"
        target = self._way_back(failed)
        if target is not None:
            back = AliasMove(target.version, failed.version, rollback=True)
            intent = self._ledger.intend_promotion(back, actor=SMOKE_TEST, channel=RECOVERY, reason=what)
            self._carry_out(intent, SMOKE_TEST, RECOVERY)
            return f"{what}; {self._prove() or f'version {target.version} serves again'}"
        if failed.champion_before is None:
            self._registry.compare_and_set_champion(failed.version, None)
            self._ledger.clear_champion(actor=SMOKE_TEST, channel=RECOVERY, reason=what)
            return f"{what}; there was no champion before it, and the alias was taken away"
        return f"{what}; no version can take its place"

    def _way_back(self, failed: Release) -> Release | None:
        promoted_last = self._last_about(failed, (EventKind.PROMOTION_DONE,))
        brought_back = promoted_last is not None and promoted_last.payload["intent"]["rollback"]
        return self._sound_one(
            past
            for past in self._ledger.latest_champions()
            if not brought_back or past.version == failed.champion_before
        )

    def _finish_clearing(self) -> None:
        """Records that a failed first champion lost its alias, where the process that took it ended before."""
        champion = self._ledger.champion()
        last = self._last_about(champion, (*CHAMPION_SET_KINDS, EventKind.SMOKE_TESTED)) if champion else None
        failed = last is not None and last.kind == EventKind.SMOKE_TESTED and not last.payload["passed"]
        if failed and last is not None and self._serving() is None:
            self._ledger.clear_champion(actor=SMOKE_TEST, channel=RECOVERY, reason=str(last.payload["problem"]))

    # -- reading

    def _sound_one(self, past: Iterable[Release]) -> Release | None:
        """The first that did not fail its last smoke test and whose artifact is what was recorded."""
        return next((one for one in past if not self._failed_smoke(one) and self._sound(one)), None)

    def _sound(self, release: Release) -> bool:
        """Whether the artifact is what was recorded; one that cannot be read for another reason is an error."""
        try:
            self._registry.download(release.version, expected_digest=release.artifact_digest)
        except IntegrityError:
            return False
        return True

    def _failed_smoke(self, release: Release) -> bool:
        tested = self._last_about(release, (EventKind.SMOKE_TESTED,))
        return tested is not None and not tested.payload["passed"]

    def _is_refuted(self, release: Release) -> bool:
        found = (self._last_about(release, (kind,)) for kind in REFUTING_KINDS)
        return any(event is not None and event.payload["outcome"] == MaturedOutcome.REFUTED for event in found)

    def _last_about(self, release: Release, kinds: tuple[EventKind, ...]) -> Event | None:
        return self._ledger.last(kinds, version=release.version)

    def _serving(self) -> int | None:
        champion = self._registry.champion()
        return champion.version if champion else None

    def _known(self, version: int) -> Release:
        release = self._ledger.release_by_version(version)
        if release is None:
            raise Conflict(f"the ledger knows no version {version}")
        return release
