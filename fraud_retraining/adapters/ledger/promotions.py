"""Promotions in the ledger: the intent before the alias moves, and the outcome after it.

Here: what is recorded of a champion that changes, by a promotion, a rollback, by hand, or because it cannot serve. Not
here: moving the alias, and finishing what was interrupted (`services/promotion.py`).
"""

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fraud_retraining.adapters.ledger.event_log import sql
from fraud_retraining.adapters.ledger.leases import require_current
from fraud_retraining.adapters.ledger.releases import moved_by, row_of
from fraud_retraining.adapters.ledger.verification import VerifiedRecords
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.releases.lifecycle import (
    PENDING,
    Complete,
    HumanMoved,
    Outcome,
    adopt,
    begin_promotion,
    clear_champion,
    displaced,
    end_promotion,
    outdated_by,
    replace_champion,
)
from fraud_retraining.domain.releases.release import Intent, Moved, Release, ReleaseState
from fraud_retraining.domain.retraining.lease_rules import Lease
from fraud_retraining.domain.retraining.pauses import Automation
from fraud_retraining.domain.values.errors import Conflict

if TYPE_CHECKING:
    import sqlalchemy as sa

    from fraud_retraining.adapters.ledger.database import Transaction

S = ReleaseState


@dataclass(frozen=True)
class AliasMove:
    """A move of the alias `champion` that is about to be made, from `expected_champion` to `version`."""

    version: int
    expected_champion: int | None
    rollback: bool = False


class PromotionRecords(VerifiedRecords):
    """Champions, and who made them so."""

    def promotion_lock(self, wait: float = 30.0) -> AbstractContextManager[None]:
        """Held while a process promotes or recovers; it ends with the process. An intent found under it was abandoned.

        Raises:
            Conflict: another process has held it for `wait` seconds.
        """
        return self._database.exclusive(f"promotion-{self.model}", wait)

    def intend_promotion(
        self, wanted: AliasMove, *, actor: str, channel: str, reason: str = "", lease: Lease | None = None
    ) -> Intent:
        """Record that the alias is about to be moved.

        Raises:
            Conflict: not approved, another promotion is under way, or a champion newer than it; for a rollback, a
                version that never was champion; or the lease of the retrain that promotes was lost.
            RecordAltered: the record is not what was written, so it cannot be known what was approved.
        """
        # Before the transaction: what is found is recorded, and a rollback would take that away.
        self.require_intact()

        def work(tx: "Transaction") -> Intent:
            require_current(tx, lease)
            release = self._known(tx, wanted.version)
            for other in self._read_releases(tx.connection, state=S.PROMOTING):
                raise Conflict(
                    f"version {other.version} is being promoted by {other.moved_by} since {other.moved_at}",
                    remedy="Wait for it; an interrupted promotion is finished or undone at the next start.",
                )
            moved = moved_by(tx, actor, channel, reason)
            # The event below gets this number: the head is locked, so no other row can come in between.
            intent = Intent(
                seq=tx.head.seq + 1,
                model=self.model,
                version=wanted.version,
                expected_champion=wanted.expected_champion,
                artifact_digest=release.artifact_digest,
                rollback=wanted.rollback,
                came_from=release.state,
                actor=moved.by,
                channel=moved.via,
                reason=moved.reason,
                at=moved.at,
            )
            champion = self._champion(tx)
            _refuse_other_champion(champion, wanted.expected_champion)
            begun = begin_promotion(release, champion, intent)
            tx.update_release(row_of(begun))
            self._release_event(tx, EventKind.PROMOTION_INTENDED, begun, moved, {"intent": intent})
            return intent

        return self._database.write(work)

    def finish_promotion(self, intent: Intent, outcome: Outcome, *, actor: str, channel: str) -> Release:
        """Record the outcome of an intent. The same outcome may be recorded again; the record stays as it is.

        Raises:
            Conflict: it was finished with another outcome.
        """

        def work(tx: "Transaction") -> Release:
            release = self._known(tx, intent.version)
            if self._finished_alike(tx, intent, outcome):
                return release
            moved = moved_by(tx, actor, channel, intent.reason)
            ended = end_promotion(release, intent, outcome, moved)
            if isinstance(outcome, Complete):
                # The old champion goes first: a unique index allows one promoted release a model.
                self._set_champion(tx, intent, ended, moved)
            kind = EventKind.PROMOTION_DONE if isinstance(outcome, Complete) else EventKind.PROMOTION_UNDONE
            tx.update_release(row_of(ended))
            details = {"intent": intent, "outcome": type(outcome).__name__}
            self._release_event(tx, kind, ended, moved, details, subject=str(intent.seq))
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
        """Record that the alias was moved by hand: the move stands. Nothing is recorded if the ledger knows it already.

        Raises:
            Conflict: a promotion is under way, which explains the alias.
        """

        def work(tx: "Transaction") -> Event | None:
            if self._read_releases(tx.connection, state=S.PROMOTING):
                raise Conflict("the alias cannot be judged while a promotion is under way")
            return self._follow(tx, to, moved_by(tx, actor, channel, "the alias was moved by hand"))

        return self._database.write(work)

    def retire_champion(self, *, actor: str, channel: str, reason: str) -> Release | None:
        """Record that a champion that MLflow has lost is taken out of service, and pause promotion.

        The next candidate has no champion to be compared with, and waits for a reviewer.
        """

        def work(tx: "Transaction") -> Release | None:
            champion = self._champion(tx)
            if champion is None:
                return None
            moved = moved_by(tx, actor, channel, reason)
            retired = self._save(tx, champion, clear_champion(champion, moved), moved)
            pause = {"reason": f"version {champion.version} was retired: {reason}"}
            about = {"subject": Automation.PROMOTION, "version": champion.version}
            self._event(tx, EventKind.AUTOMATION_PAUSED, pause, actor=actor, channel=channel, **about)
            return retired

        return self._database.write(work)

    def clear_champion(self, *, actor: str, channel: str, reason: str) -> Release | None:
        """Record that the champion cannot serve, that there is none to go back to, and that the alias is gone."""

        def work(tx: "Transaction") -> Release | None:
            champion = self._champion(tx)
            if champion is None:
                return None
            moved = moved_by(tx, actor, channel, reason)
            return self._save(tx, champion, clear_champion(champion, moved), moved)

        return self._database.write(work)

    # -- inside a transaction

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


def _refuse_other_champion(champion: Release | None, expected: int | None) -> None:
    if champion is not None and champion.version != expected:
        named = f"version {expected}" if expected is not None else "no version"
        raise Conflict(
            f"the ledger's champion is version {champion.version}, but the alias names {named}",
            remedy="Somebody moved the alias; it has to be recorded before anything is promoted.",
        )
