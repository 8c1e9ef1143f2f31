"""The append-only record of every decision, and the current state of every release.

Here: which events and rows belong together in one transaction, so that whoever answers first wins. Not here: which
moves are allowed (`domain/releases/lifecycle.py`), how rows are chained (`domain/ledger/events.py`), and SQL
(`adapters/ledger/database.py`).
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fraud_retraining.adapters.ledger import guards
from fraud_retraining.adapters.ledger.event_log import EventLog, clean_text, sql
from fraud_retraining.adapters.ledger.leases import Leases, require_current
from fraud_retraining.domain.audit.archiving import archived
from fraud_retraining.domain.audit.record_checks import record_altered, recorded_releases, row_difference
from fraud_retraining.domain.audit.state_replay import ReleaseReplay
from fraud_retraining.domain.ledger.events import (
    NOTHING,
    BadRow,
    Event,
    EventKind,
    Head,
    Row,
    plain,
    verify_chain,
)
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.releases.lifecycle import (
    MOST_VERSION,
    PENDING,
    RESTORABLE,
    Complete,
    Decision,
    HumanMoved,
    Intent,
    Moved,
    Outcome,
    Release,
    ReleaseState,
    adopt,
    ask,
    begin_promotion,
    clear_champion,
    decide,
    displaced,
    end_promotion,
    latest_champions,
    move,
    newer_than,
    outdated_by,
    replace_champion,
)
from fraud_retraining.domain.releases.reviewers import Identity, ReviewerPolicy, admit, as_recorded
from fraud_retraining.domain.retraining.leases import Lease, LeasePolicy
from fraud_retraining.domain.retraining.pauses import PAUSING, Automation, Pause, paused
from fraud_retraining.domain.retraining.requesters import Requester, request_of
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.errors import (
    Conflict,
    IntegrityError,
    RecordAltered,
    RetrainingError,
    SettingsError,
)

if TYPE_CHECKING:
    import sqlalchemy as sa

    from fraud_retraining.adapters.ledger.database import Transaction

S = ReleaseState
VERIFICATION = "verification"
LOG = logging.getLogger(__name__)


class Verification(Value):
    """Whether the record is still what was written."""

    ok: bool
    at: datetime
    count: int
    head: Head
    archived: int = 0
    first_bad: int | None = None
    why: str = ""
    releases: tuple[str, ...] = ()
    guards: tuple[str, ...] = Field((), description="What is wrong with tables, triggers and indexes, each a clause.")
    pinned: Head | None = Field(None, description="The newest head that was kept outside of the database.")

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that was found, each as a clause; empty when all is well."""
        return (*((self.why,) if self.first_bad else ()), *self.releases, *self.guards)


class Ledger(EventLog):
    """The record of one model's decisions: its events, and the releases that they made.

    Releases are read from the chain, never from their working rows alone: a row that differs is refused.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "fraud_detector",
        patience: float = 20.0,
        pins: Callable[[], Sequence[Head]] = tuple,
    ) -> None:
        """Nothing is opened yet.

        Args:
            url: its database.
            model: whose decisions.
            patience: seconds after which a database that does not answer is given up.
            pins: gives the heads that were kept outside of the database, for `verify`.
        """
        super().__init__(url, model=model, patience=patience)
        self._pins = pins

    def verify(
        self, *known: Head, archive: Iterable[Row] | None = None, also_pinned: Sequence[Head] = ()
    ) -> Verification:
        """Recompute the whole chain, of all models, run the state machine again, and compare every release with it.

        Tables, guards and the head row have to be what the migrations made, and the heads that were kept outside of
        the database have to be in the chain: those of `pins`, and `also_pinned` ones.

        `known` are heads that were exported, `archive` the rows that were moved out of the database, in order; without
        them the chain is verified from the last row that was archived on.

        Raises:
            SettingsError: a known head is older than what is left of the chain, and no archive was given.
        """

        pins = (*self._pins(), *also_pinned)
        return self._database.read(lambda cn: _verified(cn, known, pins, archive))

    def require_intact(self, also_pinned: Sequence[Head] = ()) -> None:
        """Refuse to act on a record that is not what was written.

        Raises:
            RecordAltered: it is recorded once, and promotion and retraining stop until a person resumes them.
        """
        found = self.verify(also_pinned=also_pinned)
        if not found.ok:
            error = record_altered(found.problems)
            self.stop_for(error)
            raise error

    def weakness(self) -> tuple[str, ...]:
        """What a short look finds wrong, each as a clause: tables, guards, head row, working rows and the newest pin.

        The hashes of the chain are for `verify`, whose time grows with it.
        """
        newest = max(self._pins(), key=lambda head: head.seq, default=None)
        found = self._database.read(lambda cn: _weakness(cn, newest))
        if found:
            return found
        try:
            self.releases()
        except RecordAltered as altered:
            return altered.culprits
        return ()

    def stop_for(self, error: RecordAltered) -> None:
        """Record that something is not what the record says, and stop what goes on by itself.

        The same finding is recorded once. A record that cannot even be added to is logged: the refusal itself stands.
        """
        payload = {"what": error.what, "culprits": error.culprits, "remedy": error.remedy}

        def work(tx: "Transaction") -> None:
            last = self._last(tx.connection, EventKind.RECORD_ALTERED, {})
            resumed = self._last(tx.connection, EventKind.AUTOMATION_RESUMED, {})
            if last is None or last.payload != plain(payload) or (resumed is not None and resumed.seq > last.seq):
                self._event(tx, EventKind.RECORD_ALTERED, payload, actor=VERIFICATION, channel=VERIFICATION)
            for subject in Automation:
                self._pause(tx, subject, f"the record was changed: {'; '.join(error.culprits)[:500]}")

        try:
            self._database.write(work)
        except RetrainingError as unwritten:
            LOG.error("a changed record could not be recorded: %s", unwritten)

    def _pause(self, tx: "Transaction", subject: Automation, reason: str) -> None:
        rows = sql().events(tx.connection, self._where(PAUSING, subject=subject))
        if paused(map(Event.of, rows), subject) is None:
            payload = {"reason": reason, "cause": reason, "inputs": "", "until_resumed": True}
            about = {"actor": VERIFICATION, "channel": VERIFICATION, "subject": subject}
            self._event(tx, EventKind.AUTOMATION_PAUSED, payload, **about)

    def retrain_lease(self, policy: LeasePolicy | None = None) -> Leases:
        """The lease that whoever retrains this model holds."""
        return Leases(self._database, f"retrain {self.model}", policy)

    def record_retrain_request(
        self, run_id: str, as_of: date | None, *, decided: str | None, asker: Requester, trigger: str, reason: str
    ) -> Event:
        """Who asked for a run, once a run. `decided` is the decision of automation that it says to carry out, which one
        run may do; without it, or if it was used, `asker` asked, with the trigger and reason that they gave.
        """

        def work(tx: "Transaction") -> Event:
            known = self._last(tx.connection, EventKind.RETRAIN_REQUESTED, {"subject": run_id})
            if known is not None:
                return known
            made, used = self._decision(tx, decided, as_of)
            request = request_of(made, used, as_of, asker, trigger, reason)
            payload = {**request.payload, "dagster_run_id": run_id}
            by = {"actor": request.actor, "channel": request.channel}
            return self._event(tx, EventKind.RETRAIN_REQUESTED, payload, **by, subject=run_id, as_of=as_of)

        return self._database.write(work)

    def _decision(self, tx: "Transaction", decided: str | None, as_of: date | None) -> tuple[Event | None, bool]:
        """A decision of automation, and whether a run has carried it out."""
        if not decided:
            return None, False
        found = self._last(tx.connection, EventKind.RETRAIN_DECIDED, {"subject": decided})
        rows = sql().events(tx.connection, self._where(EventKind.RETRAIN_REQUESTED, as_of=as_of))
        return found, any(event.payload.get("decided") == decided for event in map(Event.of, rows))

    # -- releases, read

    def release_by_version(self, version: int) -> Release | None:
        """The release of a version of the registry; none for a number that no version can have."""
        return next(iter(self._releases(version=version)), None) if 0 < version <= MOST_VERSION else None

    def release_by_fingerprint(self, fingerprint: str) -> Release | None:
        """The release of a fingerprint."""
        return next(iter(self._releases(fingerprint=fingerprint)), None)

    def releases(self, *states: ReleaseState) -> list[Release]:
        """Releases in one of the states, or all, by version."""
        return self._releases(state=list(states)) if states else self._releases()

    def waiting(self) -> list[Release]:
        """Releases that wait for a reviewer."""
        return self.releases(S.AWAITING_APPROVAL)

    def champion(self) -> Release | None:
        """The release that the ledger made champion. Whom the registry's alias names is for the registry to say."""
        return next(iter(self.releases(S.PROMOTED)), None)

    def latest_champions(self) -> list[Release]:
        """Versions that were champion and can be brought back, the one that served last first."""
        return latest_champions(self.releases(*RESTORABLE))

    def verdict(self, release: Release) -> Evaluation | None:
        """The evaluation that the release was registered with, as it was recorded then."""
        opened = self.last(EventKind.VERSION_REGISTERED, version=release.version)
        judged = self.events(EventKind.MODEL_EVALUATED, fingerprint=release.fingerprint)
        before = [event for event in judged if opened is None or event.seq < opened.seq]
        return Evaluation.model_validate(before[-1].payload) if before else None

    def pause(self, subject: Automation) -> Pause | None:
        """The pause of something automatic that nobody has resumed yet."""
        return paused(self.events(PAUSING, subject=subject), subject)

    def resume(self, subject: Automation, *, actor: str, channel: str, reason: str) -> Pause | None:
        """End the pause of something automatic; None, and nothing recorded, where nothing is paused."""

        def work(tx: "Transaction") -> Pause | None:
            rows = sql().events(tx.connection, self._where(PAUSING, subject=subject))
            pause = paused(map(Event.of, rows), subject)
            if pause is not None:
                told = {"reason": reason, "paused_since": pause.since, "paused_by": pause.by}
                self._event(tx, EventKind.AUTOMATION_RESUMED, told, actor=actor, channel=channel, subject=subject)
            return pause

        return self._database.write(work)

    def now(self) -> datetime:
        """The time by the database's clock, by which deadlines are judged."""
        return self._database.read(lambda cn: datetime.fromisoformat(sql().clock(cn)))

    # -- releases, moved

    def open_release(
        self,
        version: int,
        fingerprint: str,
        as_of: date,
        *,
        trigger: str,
        artifact_digest: str,
        verdict_passed: bool,
        actor: str,
        channel: str,
        verdict_digest: str = "",
        needs_human: str | None = None,
        floors_missed: Iterable[str] = (),
        requested_by: str = "",
        champion_before: int | None = None,
        facts: Mapping[str, Any] | None = None,
        lease: Lease | None = None,
    ) -> Release:
        """The release of a fingerprint, opened if there is none. `facts` go into the event beside the release.

        Raises:
            IntegrityError: the version belongs to another fingerprint.
            Conflict: the lease of the retrain that asks was lost.
        """

        def work(tx: "Transaction") -> Release:
            require_current(tx, lease)
            for known in self._read_releases(tx.connection, fingerprint=fingerprint):
                return known
            self._refuse_taken(tx, version, fingerprint)
            at = datetime.fromisoformat(tx.now)
            release = Release(
                model=self.model,
                version=version,
                fingerprint=clean_text(fingerprint),
                as_of=as_of,
                trigger=clean_text(trigger),
                state=S.REGISTERED,
                artifact_digest=clean_text(artifact_digest),
                verdict_passed=verdict_passed,
                verdict_digest=clean_text(verdict_digest),
                needs_human=clean_text(needs_human) if needs_human else None,
                floors_missed=clean_text(", ".join(floors_missed)) or None,
                requested_by=clean_text(requested_by),
                champion_before=champion_before,
                opened_at=at,
                moved_at=at,
                moved_by=clean_text(actor),
            )
            tx.insert_release(_row(release))
            self._release_event(tx, EventKind.VERSION_REGISTERED, release, actor, channel, {"facts": facts or {}})
            return release

        return self._database.write(work)

    def move_release(
        self,
        version: int,
        to: ReleaseState,
        *,
        actor: str,
        channel: str,
        reason: str = "",
        lease: Lease | None = None,
    ) -> Release:
        """Move an open release: state, event and row in one transaction. The first answer wins.

        Raises:
            Conflict: it was moved before; the message says who did and when. Or the retrain's lease was lost.
        """

        def work(tx: "Transaction") -> Release:
            require_current(tx, lease)
            release = self._known(tx, version)
            moved = _moved(tx, actor, channel, reason)
            return self._save(tx, release, move(release, to, moved), moved)

        return self._database.write(work)

    def decide(
        self,
        version: int,
        decision: Decision,
        *,
        policy: ReviewerPolicy,
        by: Identity,
        channel: str,
        reason: str = "",
        expected_digest: str | None = None,
        nonce: str | None = None,
    ) -> Release:
        """Record a reviewer's answer. A refused one is recorded too, and changes nothing.

        Args:
            version: what is decided about.
            decision: the answer.
            policy: who may decide.
            by: who decides.
            channel: the way that the answer came by.
            reason: why; a rejection needs one.
            expected_digest: the artifact that was asked about.
            nonce: what makes a link work once; it is used up with the decision, in one transaction.

        Raises:
            Conflict: it no longer waits, or the link was used; the message says who decided and when.
            NotPermitted: this person may not decide.
            SettingsError: no reason was given.
        """

        def work(tx: "Transaction") -> Release | RetrainingError:
            release = self._known(tx, version)
            moved = _moved(tx, by.name, f"{channel}, {by.how}", reason)
            try:
                self._refuse_used(tx, nonce)
                decided = decide(release, decision, policy, by, moved, expected_digest)
            except RetrainingError as refusal:
                self._refused(tx, release, decision, by, channel, refusal, reason)
                return refusal
            self._spend(tx, nonce, by.name)
            return self._answered(tx, release, decided, by, moved)

        return _raised(self._database.write(work))

    def refuse(self, version: int | None, wanted: str, by: str, *, channel: str, refusal: RetrainingError) -> None:
        """Record that somebody wanted to decide and was turned away before it came to a decision."""
        payload = {"decision": wanted, "refused": refusal.what}
        self.append(EventKind.DECISION_REFUSED, actor=by or "nobody", channel=channel, version=version, payload=payload)

    def admit(self, policy: ReviewerPolicy, by: Identity, wanted: str, version: int | None, *, channel: str) -> None:
        """Let somebody roll back or resume, or refuse and record it.

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
            moved = _moved(tx, actor, channel, reason)
            newer = newer_than(release, pending)
            if newer is not None:
                late = moved.model_copy(update={"reason": f"version {newer.version}, as of {newer.as_of}, is newer"})
                return self._save(tx, release, move(release, S.SUPERSEDED, late), late)
            asked = ask(release, hours, moved)
            self._supersede(tx, outdated_by(release, pending), f"version {version} is newer", moved)
            return self._save(tx, release, asked, moved)

        return self._database.write(work)

    def expire_due(self, *, actor: str, channel: str) -> list[Release]:
        """Expire every waiting release whose deadline has passed by the database's clock."""

        def work(tx: "Transaction") -> list[Release]:
            moved = _moved(tx, actor, channel, "nobody decided before the deadline")
            waiting = self._read_releases(tx.connection, state=S.AWAITING_APPROVAL)
            due = [release for release in waiting if release.deadline is not None and release.deadline <= moved.at]
            return [self._save(tx, release, move(release, S.EXPIRED, moved), moved) for release in due]

        return self._database.write(work)

    # -- promotion: intent, alias, outcome

    def promotion_lock(self, wait: float = 30.0) -> AbstractContextManager[None]:
        """Held by whoever promotes or recovers; it ends with its process. An intent found under it was abandoned.

        Raises:
            Conflict: another process has held it for `wait` seconds.
        """
        return self._database.exclusive(f"promotion-{self.model}", wait)

    def intend_promotion(
        self,
        version: int,
        expected_champion: int | None,
        *,
        actor: str,
        channel: str,
        reason: str = "",
        rollback: bool = False,
        lease: Lease | None = None,
    ) -> Intent:
        """Write down that the alias is about to be moved from `expected_champion` to `version`.

        Raises:
            Conflict: not approved, another promotion is under way, or a champion newer than it; for a rollback, a
                version that never was champion; or the lease of the retrain that asks was lost.
            RecordAltered: the record is not what was written, so nobody can say what was approved.
        """
        self.require_intact()

        def work(tx: "Transaction") -> Intent:
            require_current(tx, lease)
            release = self._known(tx, version)
            for other in self._read_releases(tx.connection, state=S.PROMOTING):
                raise Conflict(
                    f"version {other.version} is being promoted by {other.moved_by} since {other.moved_at}",
                    remedy="Wait for it; an interrupted promotion is finished or undone at the next start.",
                )
            moved = _moved(tx, actor, channel, reason)
            intent = Intent(
                seq=tx.head.seq + 1,
                model=self.model,
                version=version,
                expected_champion=expected_champion,
                artifact_digest=release.artifact_digest,
                rollback=rollback,
                came_from=release.state,
                actor=moved.by,
                channel=moved.via,
                reason=moved.reason,
                at=moved.at,
            )
            champion = self._champion(tx)
            _refuse_other_champion(champion, expected_champion)
            begun = begin_promotion(release, champion, intent)
            tx.update_release(_row(begun))
            self._release_event(tx, EventKind.PROMOTION_INTENDED, begun, actor, channel, {"intent": intent})
            return intent

        return self._database.write(work)

    def finish_promotion(self, intent: Intent, outcome: Outcome, *, actor: str, channel: str) -> Release:
        """Record what an intent came to. To say the same again is allowed; the record stays as it is.

        Raises:
            Conflict: it was finished with another outcome.
        """

        def work(tx: "Transaction") -> Release:
            release = self._known(tx, intent.version)
            if self._finished_alike(tx, intent, outcome):
                return release
            moved = _moved(tx, actor, channel, intent.reason)
            ended = end_promotion(release, intent, outcome, moved)
            if isinstance(outcome, Complete):
                self._set_champion(tx, intent, ended, moved)
            kind = EventKind.PROMOTION_DONE if isinstance(outcome, Complete) else EventKind.PROMOTION_UNDONE
            tx.update_release(_row(ended))
            details = {"intent": intent, "outcome": type(outcome).__name__}
            self._release_event(tx, kind, ended, actor, channel, details, subject=str(intent.seq))
            if isinstance(outcome, HumanMoved):
                self._follow(tx, outcome.champion, moved)
                return self._known(tx, intent.version)
            return ended

        return self._database.write(work)

    def unfinished_intents(self) -> list[Intent]:
        """Promotions whose outcome is not recorded: under way, or interrupted."""

        def work(cn: "sa.Connection") -> list[Intent]:
            promoting = self._read_releases(cn, state=S.PROMOTING)
            rows = sql().events(cn, {"seq": [release.intent for release in promoting], "model": self.model})
            return [Intent.model_validate(json.loads(row.payload)["intent"]) for row in rows]

        return self._database.read(work)

    def champion_moved(self, to: int | None, *, actor: str, channel: str) -> Event | None:
        """Record that somebody moved the alias by hand: their move stands. Nothing if the ledger knows it already.

        Raises:
            Conflict: a promotion is under way, which explains the alias.
        """

        def work(tx: "Transaction") -> Event | None:
            if self._read_releases(tx.connection, state=S.PROMOTING):
                raise Conflict("the alias cannot be judged while a promotion is under way")
            return self._follow(tx, to, _moved(tx, actor, channel, "the alias was moved by hand"))

        return self._database.write(work)

    def retire_champion(self, *, actor: str, channel: str, reason: str) -> Release | None:
        """Record that somebody takes the champion out of service whom MLflow has lost, and pause promotion.

        The next candidate has nobody to be compared with, and waits for a human.
        """

        def work(tx: "Transaction") -> Release | None:
            champion = self._champion(tx)
            if champion is None:
                return None
            moved = _moved(tx, actor, channel, reason)
            retired = self._save(tx, champion, clear_champion(champion, moved), moved)
            pause = {"reason": f"version {champion.version} was retired: {reason}"}
            about = {"subject": Automation.PROMOTION, "version": champion.version}
            self._event(tx, EventKind.AUTOMATION_PAUSED, pause, actor=actor, channel=channel, **about)
            return retired

        return self._database.write(work)

    def restore_releases(self, *, actor: str, channel: str, reason: str) -> tuple[str, ...]:
        """Write the table of releases anew from the chain; gives what differed, each as a clause.

        Raises:
            RecordAltered: the chain itself, its guards or its pinned heads are not what was written.
        """

        def work(tx: "Transaction") -> tuple[str, ...]:
            gone = archived(sql().events(tx.connection, {"kind": EventKind.HISTORY_ARCHIVED}))
            rows = _Replayed(sql().events(tx.connection, {}), incomplete=gone is not None)
            found = _verified(tx.connection, (), self._pins(), None, rows)
            if found.first_bad or found.guards:
                raise record_altered(found.problems)
            if found.releases:
                _write_anew(tx, rows.releases)
                told = {"reason": reason, "restored": found.releases}
                self._event(tx, EventKind.RECORD_RESTORED, told, actor=actor, channel=channel)
            return found.releases

        return self._database.write(work)

    def clear_champion(self, *, actor: str, channel: str, reason: str) -> Release | None:
        """Record that the champion cannot serve, that there is none to go back to, and that the alias names nobody."""

        def work(tx: "Transaction") -> Release | None:
            champion = self._champion(tx)
            if champion is None:
                return None
            moved = _moved(tx, actor, channel, reason)
            return self._save(tx, champion, clear_champion(champion, moved), moved)

        return self._database.write(work)

    # -- inside a transaction

    def _answered(self, tx: "Transaction", before: Release, after: Release, by: Identity, moved: Moved) -> Release:
        """Record what an answer came to; the first of two approvals leaves the release where it is."""
        told = {"identity": as_recorded(by)}
        if after.state is not before.state:
            if after.state is S.APPROVED and not after.verdict_passed:
                self._record_exception(tx, after, moved, told)
            return self._save(tx, before, after, moved, told)
        tx.update_release(_row(after))
        self._release_event(
            tx, EventKind.APPROVAL_RECORDED, after, moved.by, moved.via, {**told, "reason": moved.reason}
        )
        return after

    def _record_exception(self, tx: "Transaction", release: Release, moved: Moved, told: Mapping[str, Any]) -> None:
        """That a human let a candidate serve under a floor, in the transaction of the approval."""
        about = {"version": release.version, "fingerprint": release.fingerprint, "as_of": release.as_of}
        payload = {"floors": release.floors_missed, "why": release.needs_human, "reason": moved.reason, **told}
        self._event(tx, EventKind.FLOOR_EXCEPTED, payload, actor=moved.by, channel=moved.via, **about)

    def _refused(
        self,
        tx: "Transaction",
        release: Release,
        decision: Decision,
        by: Identity,
        channel: str,
        refusal: RetrainingError,
        reason: str,
    ) -> None:
        payload = {"decision": decision, "reason": reason, "refused": refusal.what, "identity": as_recorded(by)}
        about = {"version": release.version, "fingerprint": release.fingerprint, "as_of": release.as_of}
        self._event(tx, EventKind.DECISION_REFUSED, payload, actor=by.name, channel=f"{channel}, {by.how}", **about)

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

    def _release_event(
        self,
        tx: "Transaction",
        kind: EventKind,
        release: Release,
        actor: str,
        channel: str,
        more: Mapping[str, Any],
        subject: str | None = None,
    ) -> Event:
        """An event that keeps the whole release as it is now, so that its row can be checked against the chain."""
        about = {"version": release.version, "fingerprint": release.fingerprint, "as_of": release.as_of}
        payload = {"release": _row(release), **more}
        return self._event(tx, kind, payload, actor=actor, channel=channel, subject=subject, **about)

    def _save(
        self, tx: "Transaction", before: Release, after: Release, moved: Moved, more: Mapping[str, Any] | None = None
    ) -> Release:
        tx.update_release(_row(after))
        step = {"from": before.state, "to": after.state, "reason": after.reason, **(more or {})}
        self._release_event(tx, EventKind.RELEASE_MOVED, after, moved.by, moved.via, step)
        return after

    def _supersede(self, tx: "Transaction", releases: list[Release], reason: str, moved: Moved) -> None:
        why = moved.model_copy(update={"reason": reason})
        for release in releases:
            self._save(tx, release, move(release, S.SUPERSEDED, why), why)

    def _set_champion(self, tx: "Transaction", intent: Intent, champion: Release, moved: Moved) -> None:
        """Make room for a new champion: the old one goes, and so do candidates that it makes pointless."""
        before = self._champion(tx)
        if before is not None:
            self._save(tx, before, replace_champion(before, intent, moved), moved)
        self._supersede_outdated(tx, champion, f"version {champion.version} was promoted", moved)
        if intent.rollback:
            pause = {"reason": f"rolled back to version {champion.version}: {intent.reason}"}
            about = {"subject": Automation.PROMOTION, "version": champion.version}
            self._event(tx, EventKind.AUTOMATION_PAUSED, pause, actor=intent.actor, channel=intent.channel, **about)

    def _supersede_outdated(self, tx: "Transaction", champion: Release, reason: str, moved: Moved) -> None:
        pending = self._read_releases(tx.connection, state=PENDING)
        self._supersede(tx, outdated_by(champion, pending), reason, moved)

    def _follow(self, tx: "Transaction", to: int | None, moved: Moved) -> Event | None:
        """Let the ledger's champion be the one that the alias names."""
        before = self._champion(tx)
        last = self._last(tx.connection, EventKind.CHAMPION_MOVED_OUTSIDE, {})
        known = before.version if before else last.payload["to"] if last else None
        if to == known:
            return None
        release = next(iter(self._read_releases(tx.connection, version=to)), None) if to is not None else None
        payload = {"from": known, "to": to, "known": release is not None}
        about: dict[str, Any] = {"version": to}
        event = self._event(tx, EventKind.CHAMPION_MOVED_OUTSIDE, payload, actor=moved.by, channel=moved.via, **about)
        if before is not None:
            self._save(tx, before, displaced(before, to, moved), moved)
        if release is not None:
            adopted = self._save(tx, release, adopt(release, moved), moved)
            self._supersede_outdated(tx, adopted, f"version {to} was made champion by hand", moved)
        return event

    def _finished_alike(self, tx: "Transaction", intent: Intent, outcome: Outcome) -> bool:
        kinds = (EventKind.PROMOTION_DONE, EventKind.PROMOTION_UNDONE)
        last = self._last(tx.connection, kinds, {"subject": str(intent.seq)})
        return last is not None and last.payload["outcome"] == type(outcome).__name__

    def _champion(self, tx: "Transaction") -> Release | None:
        return next(iter(self._read_releases(tx.connection, state=S.PROMOTED)), None)

    def _known(self, tx: "Transaction", version: int) -> Release:
        for release in self._read_releases(tx.connection, version=version):
            return release
        raise SettingsError(
            f"version {version} of {self.model} has no release in the ledger",
            remedy="See `fraud-retraining audit list` for the versions that there are.",
        )

    def _refuse_taken(self, tx: "Transaction", version: int, fingerprint: str) -> None:
        for other in self._read_releases(tx.connection, version=version):
            raise IntegrityError(
                f"version {version} of {self.model} is in the ledger with another fingerprint",
                culprits=[f"ledger: {other.fingerprint}", f"now: {fingerprint}"],
                remedy="Registry and ledger do not belong together; restore both from the same time.",
            )

    def _releases(self, **where: Any) -> list[Release]:
        return self._database.read(lambda cn: self._read_releases(cn, **where))

    def _read_releases(self, cn: "sa.Connection", **where: Any) -> list[Release]:
        """Releases as the chain has them, each held against its working row.

        Raises:
            RecordAltered: a row was changed, added or removed.
        """
        about: dict[str, Any] = {
            "model": self.model,
            **{name: where[name] for name in ("version", "fingerprint") if name in where},
        }
        gone = archived(sql().events(cn, {"kind": EventKind.HISTORY_ARCHIVED}))
        rows, stored = sql().last_release_rows(cn, about), sql().releases(cn, about)
        found = recorded_releases(rows, stored, gone.releases if gone else {})
        return [one for one in found if all(_matches(one, name, value) for name, value in where.items())]


def _moved(tx: "Transaction", actor: str, channel: str, reason: str = "") -> Moved:
    at = datetime.fromisoformat(tx.now)
    return Moved(by=clean_text(actor), via=clean_text(channel), at=at, reason=clean_text(reason))


def _refuse_other_champion(champion: Release | None, expected: int | None) -> None:
    if champion is not None and champion.version != expected:
        named = f"version {expected}" if expected is not None else "no version"
        raise Conflict(
            f"the ledger's champion is version {champion.version}, but the alias names {named}",
            remedy="Somebody moved the alias; it has to be recorded before anything is promoted.",
        )


def _row(release: Release) -> dict[str, Any]:
    """A release as its columns hold it."""
    return release.model_dump(mode="json")


def _raised(answer: Release | RetrainingError) -> Release:
    if isinstance(answer, RetrainingError):
        raise answer
    return answer


def _require_reach(known: Iterable[Head], start: Head) -> None:
    """Refuses a head about whose row nothing is left to say."""
    before = [str(head.seq) for head in known if head.seq < start.seq]
    if before:
        raise SettingsError(
            f"row {', '.join(before)} was archived: what is left of the chain goes on after row {start.seq}",
            remedy="Name the folder of the archives too: `fraud-retraining audit verify --head ... --archive FOLDER`.",
        )


def _verified(
    cn: "sa.Connection",
    known: Sequence[Head],
    pins: Sequence[Head],
    archive: Iterable[Row] | None,
    replayed: "_Replayed | None" = None,
) -> Verification:
    """What one state of the database comes to, held against heads that were kept elsewhere."""
    at = datetime.fromisoformat(sql().clock(cn))
    missing = tuple(f"the table {problem}" for problem in guards.missing_tables(cn))
    newest = max(pins, key=lambda head: head.seq, default=None)
    if missing:
        why = "; ".join(missing)
        return Verification(ok=False, at=at, count=0, head=Head(), why=why, guards=missing, pinned=newest)
    gone = archived(sql().events(cn, {"kind": EventKind.HISTORY_ARCHIVED}))
    start = gone.through if gone and archive is None else NOTHING
    _require_reach(known, start)
    told = sql().stated_head(cn)
    heads = (*known, *(pin for pin in pins if pin.seq >= start.seq), *((told,) if told else ()))
    replayed = replayed or _Replayed(chain(archive or (), sql().events(cn, {})), incomplete=start != NOTHING)
    last, bad = verify_chain(replayed, *heads, start=start)
    bad = bad or replayed.problem
    stored = sql().releases(cn, {})
    differing = _differing(stored, replayed.releases, gone.releases if gone else {}) if bad is None else ()
    weak = (*guards.weakened(cn), *(_head_problems(told, last) if bad is None else ()))
    return Verification(
        ok=bad is None and not differing and not weak,
        at=at,
        count=last.seq,
        head=last,
        archived=start.seq,
        first_bad=bad.seq if bad else None,
        why=bad.why if bad else "; ".join((*differing, *weak)),
        releases=differing,
        guards=weak,
        pinned=newest,
    )


def _weakness(cn: "sa.Connection", newest: Head | None) -> tuple[str, ...]:
    missing = tuple(f"the table {problem}" for problem in guards.missing_tables(cn))
    if missing:
        return missing
    last = sql().last_row(cn)
    lost = () if newest is None or _holds(cn, newest, last) else (f"row {newest.seq}, which was pinned, is not in it",)
    return (*guards.weakened(cn), *_head_problems(sql().stated_head(cn), last), *lost)


def _holds(cn: "sa.Connection", head: Head, last: Head) -> bool:
    """Whether the chain has the row of a head, or had it before it was archived."""
    row = next(iter(sql().events(cn, {"seq": head.seq})), None)
    if row is not None:
        return row.hash == head.hash
    gone = archived(sql().events(cn, {"kind": EventKind.HISTORY_ARCHIVED}))
    return gone is not None and head.seq <= gone.through.seq <= last.seq


def _write_anew(tx: "Transaction", recorded: Mapping[tuple[str, int], Release]) -> None:
    """The table of releases as the chain has it; rows that no event made go, those of archived events stay."""
    gone = archived(sql().events(tx.connection, {"kind": EventKind.HISTORY_ARCHIVED}))
    for row in sql().releases(tx.connection, {}):
        found = recorded.get((row["model"], row["version"]))
        if row_difference(row, found, gone.releases if gone else {}) is not None:
            with guards.lifted(tx.connection, "releases_no_delete"):
                tx.delete_release(row)
    stored = {(row["model"], row["version"]) for row in sql().releases(tx.connection, {})}
    for key, release in recorded.items():
        if key not in stored:
            tx.insert_release(_row(release))


def _head_problems(told: Head | None, last: Head) -> tuple[str, ...]:
    """Whether the head row names the last row; by one that names an earlier row the next event would take its place."""
    if told == last:
        return ()
    return (f"the head row names row {told.seq if told else 'none'}, but the last row is row {last.seq}",)


class _Replayed:
    """Rows as they pass, each taken by the state machine once the chain has found it whole."""

    def __init__(self, rows: Iterable[Row], *, incomplete: bool) -> None:
        self.problem: BadRow | None = None
        self._rows = rows
        self._replay = ReleaseReplay(incomplete=incomplete)

    @property
    def releases(self) -> Mapping[tuple[str, int], Release]:
        """What the releases have come to."""
        return self._replay.releases

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            yield row
            if self.problem is None and (why := self._replay.take(row)) is not None:
                self.problem = BadRow(row.seq, f"row {row.seq} ({row.kind.replace('_', ' ')}): {why}")


def _differing(
    rows: list[dict[str, Any]], recorded: Mapping[tuple[str, int], Release], archived: Mapping[str, str]
) -> tuple[str, ...]:
    """Releases whose row is not what their last event left."""
    stored = {(row["model"], row["version"]): row for row in rows}
    keys = sorted(stored.keys() | recorded.keys() | set(map(_key, archived)))
    found = (row_difference(stored.get(key), recorded.get(key), archived) for key in keys)
    return tuple(problem for problem in found if problem is not None)


def _key(named: str) -> tuple[str, int]:
    model, _, version = named.rpartition("/")
    return model, int(version)


def _matches(release: Release, name: str, wanted: Any) -> bool:
    value = getattr(release, name)
    return value in wanted if isinstance(wanted, list | set | frozenset | tuple) else value == wanted
