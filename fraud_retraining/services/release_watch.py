"""Unattended checks of releases: deadlines, reminders, ended processes, the champion.

Here: one round of checks, which can be repeated at any time and by several daemons. Not here: how often
(`orchestration/sensors/releases.py`), and which rule decides (`domain/releases/approval_rules.py`,
`domain/releases/lifecycle.py`).
"""

from dataclasses import dataclass
from datetime import date, timedelta

from fraud_retraining.adapters.ledger.chain_heads import PinnedHeads
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.versions import ModelVersion
from fraud_retraining.domain.audit.stored_state import record_altered
from fraud_retraining.domain.evaluation.matured import MaturedVerdict
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.monitoring.promotion_watch import PromotionWatch
from fraud_retraining.domain.release_messages.announcements import ANNOUNCED_KINDS, ReleaseNotice, notice_of
from fraud_retraining.domain.releases.approval_rules import reminders_due
from fraud_retraining.domain.releases.promotion_mode import POLICY, PromotionPolicy
from fraud_retraining.domain.releases.release import Release, Reminder
from fraud_retraining.domain.releases.reviewers import ReviewerPolicy
from fraud_retraining.domain.values.errors import ChampionLost, GateFailed, IntegrityError, RecordAltered
from fraud_retraining.services.promotion import CHAMPION_SET_KINDS, Promoter

DEADLINE, WATCH = "deadline", "watch"
FIRST_LOOK = timedelta(days=1)
CHAMPION = "champion"
K = EventKind


@dataclass(frozen=True)
class NoticeBatch:
    """Notices to send, and the last row of the ledger that they cover."""

    notices: tuple[ReleaseNotice, ...]
    cursor: int


@dataclass(frozen=True)
class _Refutation:
    """What refutes a promotion: by mature labels, or by its watch."""

    version: int
    as_of: date
    to: int
    summary: str
    subject: str


class ReleaseWatch:
    """Checks releases by the ledger and the registry."""

    def __init__(self, ledger: Ledger, registry: Registry, policy: ReviewerPolicy) -> None:
        self._ledger = ledger
        self._registry = registry
        self._policy = policy
        self._promoter = Promoter(ledger, registry, policy)

    def check_deadlines(self) -> list[Release]:
        """Expires late releases and records each due reminder once; returns what expired. Does not call MLflow."""
        expired = self._ledger.expire_due(actor=DEADLINE, channel=WATCH)
        now = self._ledger.now()
        for release in self._ledger.waiting():
            for reminder in reminders_due(release, now, self._reminded(release)):
                self._remind(release, reminder)
        return expired

    def check_champion(self) -> list[Release]:
        """Finishes what ended processes left, and looks whether the champion is the recorded one and sound.

        A champion whose promotion mature labels or its watch refuted is rolled back where the settings say so. Gives
        the releases that it finished or brought back.

        Raises:
            DependencyUnreachable: MLflow or the artifact store did not answer, which says nothing about the champion.
            ChampionLost: MLflow does not have it any more; recorded and announced once.
        """
        try:
            finished = self._promoter.finish_approved()
        except ChampionLost as lost:
            self._record_lost(lost)
            raise
        finished += self._answer_refuted()
        self._check_artifact()
        self._promoter.point_candidate()
        return finished

    def keep_head(self, heads: PinnedHeads) -> bool:
        """Keeps the head of the chain outside of its database and in MLflow, if it has moved on; gives whether.

        Raises:
            RecordAltered: the chain does not have the row that was kept last, or tables or guards were weakened.
        """
        head, found = self._ledger.checked_head()
        if found:
            raise record_altered(found)
        kept = heads.heads()
        if not head.seq:
            return False
        moved_on = not kept or kept[-1] != head
        if moved_on:
            heads.pin(head, self._ledger.now())
        if moved_on or self._registry.keeps_older_head_than(head):
            self._registry.pin_head(head)
        return moved_on

    def stop_for(self, error: RecordAltered) -> None:
        """Records that the record was changed, and stops what goes on by itself."""
        self._ledger.stop_for(error)

    def notices_after(self, after: int | None) -> NoticeBatch:
        """Return the notices of the events after a row; on the first call, of the last day.

        None is made of rows that may not be acted on: the notice that the record was altered has to go out.
        """
        head, since = self._ledger.head().seq, self._ledger.now() - FIRST_LOOK
        found = self._ledger.events(ANNOUNCED_KINDS, after=after or 0, skip_altered=True)
        events = [one for one in found if one.seq <= head and (after is not None or one.at >= since)]
        return NoticeBatch(tuple(notice for event in events if (notice := notice_of(event)) is not None), head)

    def _reminded(self, release: Release) -> set[Reminder]:
        events = self._ledger.events(EventKind.REVIEWERS_REMINDED, version=release.version)
        return {Reminder(event.payload["reminder"]) for event in events}

    def _remind(self, release: Release, reminder: Reminder) -> None:
        self._ledger.append_once(
            EventKind.REVIEWERS_REMINDED,
            keys=EventKeys(
                subject=f"version {release.version}, {reminder}",
                as_of=release.as_of,
                version=release.version,
                fingerprint=release.fingerprint,
            ),
            payload={"reminder": reminder, "deadline": release.deadline},
            actor=DEADLINE,
            channel=WATCH,
        )

    def _answer_refuted(self) -> list[Release]:
        """Rolls back a refuted champion to the version that it was compared with, where the settings say so.

        Where that version cannot serve, this is recorded once, and the champion stays.
        """
        for refuted in self._refutations():
            if not self._ledger.last(K.DECISION_REFUSED, subject=refuted.subject):
                return self._roll_back(refuted)
        return []

    def _roll_back(self, refuted: _Refutation) -> list[Release]:
        to = refuted.to
        if self._promoter.restorable(to) is None:
            self._refuse_rollback(refuted, f"version {to} cannot serve again")
            return []
        try:
            return [self._promoter.promote(to, actor=POLICY, channel=WATCH, reason=refuted.summary, rollback=True)]
        except RecordAltered:
            raise
        except (IntegrityError, GateFailed) as error:
            self._refuse_rollback(refuted, "; ".join([error.what, *error.culprits]))
            return []

    def _refutations(self) -> list[_Refutation]:
        """What refutes the champion and is answered by a rollback, in the order in which it was recorded.

        None also where the version was made champion again since, by whomever.
        """
        champion = self._ledger.champion()
        if champion is None or not isinstance(self._policy, PromotionPolicy):
            return []
        made = self._ledger.last(CHAMPION_SET_KINDS, version=champion.version)
        kinds = [kind for kind, answer in _answers(self._policy).items() if answer == "rollback"]
        if made is None or not kinds:
            return []
        events = self._ledger.events(tuple(kinds), version=champion.version, after=made.seq)
        return [found for event in events if (found := _refutation(event)) is not None]

    def _refuse_rollback(self, refuted: _Refutation, why: str) -> None:
        self._ledger.append_once(
            K.DECISION_REFUSED,
            keys=EventKeys(subject=refuted.subject, as_of=refuted.as_of, version=refuted.version),
            payload={"decision": "rollback", "refused": why},
            actor=POLICY,
            channel=WATCH,
        )

    def _check_artifact(self) -> None:
        """Records a champion whose artifact is damaged, and that it is sound again; nothing while all is well."""
        serving = self._registry.champion()
        problem = self._problem(serving) if serving is not None else None
        last = self._ledger.last(EventKind.CHAMPION_CHECKED, subject=CHAMPION)
        if serving is None or (problem is None and (last is None or last.payload["sound"])):
            return
        self._record_check(serving.version, problem)

    def _record_lost(self, lost: ChampionLost) -> None:
        champion = self._ledger.champion()
        if champion is not None:
            self._record_check(champion.version, str(lost))

    def _record_check(self, version: int, problem: str | None) -> None:
        """What is wrong with a champion and which version could take its place; None: it is sound."""
        good = self._promoter.last_good() if problem is not None else None
        found = {"sound": problem is None, "problem": problem or "", "last_good": good.version if good else None}
        self._ledger.append_changed(
            EventKind.CHAMPION_CHECKED,
            keys=EventKeys(subject=CHAMPION, version=version),
            payload={"version": version, **found},
            actor=WATCH,
            channel="registry",
        )

    def _problem(self, serving: ModelVersion) -> str | None:
        release = self._ledger.release_by_version(serving.version)
        try:
            recorded = release.artifact_digest if release is not None else serving.artifact_digest
            self._registry.download(serving.version, expected_digest=recorded)
        except IntegrityError as error:
            return "; ".join([error.what, *error.culprits])
        return None


def _answers(policy: PromotionPolicy) -> dict[EventKind, str]:
    """What follows from each kind of event that refutes a promotion."""
    return {K.MATURED_VERDICT: policy.on_refuted, K.PROMOTION_WATCHED: policy.on_worse}


def _refutation(event: Event) -> _Refutation | None:
    if event.kind == K.MATURED_VERDICT:
        found = MaturedVerdict.model_validate(event.payload)
        subject = f"rollback of refuted version {found.version}"
        refuted = _Refutation(found.version, found.as_of, found.champion_version, found.summary, subject)
        return refuted if found.refuted else None
    watch = PromotionWatch.model_validate(event.payload)
    subject = f"rollback of version {watch.version}, which is worse live"
    refuted = _Refutation(watch.version, watch.as_of, watch.predecessor_version, watch.summary, subject)
    return refuted if watch.refuted else None
