"""Replay of the ledger: the state machine of releases, run again over the chain of events.

Here: one event after the other gives the next state of its release, by the rules of `domain/releases/lifecycle.py`, and
is refused where the release in its payload is not that state. Not here: whether the rows of the chain are the ones
that were written (`domain/ledger/hash_chain.py`), and where they are kept (`adapters/ledger/ledger.py`).

A row of the table of releases, a tag in MLflow or a snapshot in an event is thus never trusted by itself: it must be
the result of the moves before it, each made by the actor that its event names.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from fraud_retraining.domain.ledger.events import RELEASE_KINDS, EventKind
from fraud_retraining.domain.ledger.hash_chain import Row
from fraud_retraining.domain.releases.lifecycle import (
    Complete,
    HumanMoved,
    Outcome,
    Undo,
    adopt,
    begin_promotion,
    clear_champion,
    displaced,
    end_promotion,
    move,
    request_approval,
)
from fraud_retraining.domain.releases.promotion_mode import POLICY
from fraud_retraining.domain.releases.release import Intent, Moved, Release, ReleaseState
from fraud_retraining.domain.values.errors import RetrainingError

S = ReleaseState
REPLAYED = RELEASE_KINDS | {EventKind.CHAMPION_MOVED_OUTSIDE, EventKind.FLOOR_EXCEPTED}
"""The events that a replay has to see."""

Key = tuple[str, int]
"""Model and version."""


class NotAMove(Exception):
    """An event that the moves before it do not allow; its text says why."""


class ReleaseReplay:
    """The releases of every model after the events that were taken so far, in order.

    `incomplete` says that the first rows of the chain were archived and are not at hand: then the first event about a
    release is trusted about the state before it, because nothing is left to compare it with.
    """

    def __init__(self, *, incomplete: bool = False) -> None:
        self.releases: dict[Key, Release] = {}
        self._incomplete = incomplete
        self._intents: dict[Key, Intent] = {}
        self._by_hand: dict[str, tuple[str, int | None]] = {}
        self._excepted: set[tuple[str, int | None, str]] = set()

    def take(self, row: Row) -> str | None:
        """Apply the next event; return why it is no legal move, None if it is legal or about no release."""
        if row.kind not in REPLAYED:
            return None
        try:
            payload = json.loads(row.payload)
            if row.kind == EventKind.CHAMPION_MOVED_OUTSIDE:
                self._by_hand[row.model] = (row.txn, payload["to"])
            elif row.kind == EventKind.FLOOR_EXCEPTED:
                self._excepted.add((row.txn, row.version, row.actor))
            else:
                self._taken(row, payload)
        except NotAMove as refusal:
            return str(refusal)
        except (RetrainingError, ValidationError, ValueError, TypeError, KeyError, RecursionError) as problem:
            return f"it is no legal move: {getattr(problem, 'what', None) or problem}"
        return None

    def of_model(self, model: str, *states: ReleaseState) -> list[Release]:
        """The releases of a model in one of the states, or all, by version."""
        found = [one for (name, _), one in sorted(self.releases.items()) if name == model]
        return [one for one in found if not states or one.state in states]

    def _taken(self, row: Row, payload: Mapping[str, Any]) -> None:
        recorded = Release.model_validate(payload["release"])
        _require_same("the event is about another release than its payload", _about(row), _about(recorded))
        key = (recorded.model, recorded.version)
        # Without the archived rows the first event about a release has nothing that it could follow from.
        if row.kind == EventKind.VERSION_REGISTERED or key in self.releases or not self._incomplete:
            _require_result(self._next(row, payload, recorded), recorded)
        self.releases[key] = recorded
        self._require_one_of(recorded)

    def _next(self, row: Row, payload: Mapping[str, Any], recorded: Release) -> Release:
        if row.kind == EventKind.VERSION_REGISTERED:
            return self._registered(row, recorded)
        before = self.releases.get((recorded.model, recorded.version))
        if before is None:
            raise NotAMove(f"version {recorded.version} was never registered")
        moved = Moved(by=row.actor, via=row.channel, at=datetime.fromisoformat(row.at), reason=recorded.reason)
        match row.kind:
            case EventKind.RELEASE_MOVED:
                return self._moved(row, payload, before, recorded, moved)
            case EventKind.APPROVAL_RECORDED:
                return _approved_first(payload, before, moved)
            case EventKind.PROMOTION_INTENDED:
                return self._intended(row, payload, before)
        return self._ended(row, payload, before, moved)

    def _registered(self, row: Row, recorded: Release) -> Release:
        if (recorded.model, recorded.version) in self.releases:
            raise NotAMove(f"version {recorded.version} was registered before")
        if any(recorded.fingerprint == other.fingerprint for other in self.of_model(recorded.model)):
            raise NotAMove(f"the fingerprint of version {recorded.version} is another version's")
        at = datetime.fromisoformat(row.at)
        # Only what is set at registration is taken over: a later field in the first event would be believed otherwise.
        fixed = recorded.model_dump(include=_SET_AT_REGISTRATION)
        return Release(**fixed, state=S.REGISTERED, opened_at=at, moved_at=at, moved_by=row.actor)

    def _moved(self, row: Row, payload: Mapping[str, Any], before: Release, recorded: Release, moved: Moved) -> Release:
        said = (payload["from"], payload["to"], payload["reason"])
        _require_same("the move is not the one that it says", said, (before.state, recorded.state, recorded.reason))
        if recorded.state is S.PROMOTED:
            self._require_by_hand(row)
            return adopt(before, moved)
        if before.state is S.PROMOTED:
            return _replaced(before, recorded.state, moved)
        if recorded.state is S.AWAITING_APPROVAL:
            return _awaiting(before, recorded, moved)
        if recorded.state in (S.APPROVED, S.REJECTED):
            _require_decided(payload, recorded.state, moved)
            self._require_excepted(row, recorded)
        return move(before, recorded.state, moved)

    def _require_by_hand(self, row: Row) -> None:
        # The same transaction: a move by hand of last year explains no champion of today.
        if self._by_hand.get(row.model) != (row.txn, row.version):
            raise NotAMove(f"version {row.version} became champion without a promotion, and no person moved the alias")

    def _require_excepted(self, row: Row, recorded: Release) -> None:
        """An approval of a version whose verdict did not pass needs an event that records the exception."""
        made = (row.txn, row.version, row.actor) in self._excepted
        if recorded.state is S.APPROVED and not recorded.verdict_passed and not made:
            raise NotAMove(
                f"version {row.version} was approved though its gates did not pass, and no exception was made"
            )

    def _intended(self, row: Row, payload: Mapping[str, Any], before: Release) -> Release:
        intent = Intent.model_validate(payload["intent"])
        champion = next(iter(self.of_model(row.model, S.PROMOTED)), None)
        at = datetime.fromisoformat(row.at)
        _require_same(
            "the intent is not that of this release",
            (intent.seq, intent.model, intent.version, intent.artifact_digest, intent.came_from, intent.at),
            (row.seq, row.model, row.version, before.artifact_digest, before.state, at),
        )
        _require_same("the intent is another person's", (intent.actor, intent.channel), (row.actor, row.channel))
        if champion is not None and champion.version != intent.expected_champion:
            raise NotAMove(f"it replaces version {intent.expected_champion}, but version {champion.version} served")
        self._intents[row.model, before.version] = intent
        return begin_promotion(before, champion, intent)

    def _ended(self, row: Row, payload: Mapping[str, Any], before: Release, moved: Moved) -> Release:
        intent = Intent.model_validate(payload["intent"])
        # The intent itself may be among the archived rows.
        known = self._intents.pop((row.model, before.version), intent)
        _require_same("it ends another promotion than the one that was begun", intent, known)
        outcome = _OUTCOMES[payload["outcome"]]
        if isinstance(outcome, Complete) != (row.kind == EventKind.PROMOTION_DONE):
            raise NotAMove(f"a promotion that came to {payload['outcome']} is not {row.kind}")
        return end_promotion(before, intent, outcome, moved).model_copy(update={"reason": moved.reason})

    def _require_one_of(self, recorded: Release) -> None:
        """At most one champion and one promotion a model."""
        if recorded.state not in (S.PROMOTED, S.PROMOTING):
            return
        others = [
            one.version for one in self.of_model(recorded.model, recorded.state) if one.version != recorded.version
        ]
        if others:
            raise NotAMove(f"version {others[0]} is {recorded.state} too")


_SET_AT_REGISTRATION = set(Release.model_fields) - {
    "state",
    "deadline",
    "first_approval_by",
    "decided_by",
    "decided_via",
    "decided_at",
    "reason",
    "opened_at",
    "moved_at",
    "moved_by",
    "promoted_at",
    "intent",
}
_OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {"Complete": Complete(), "Undo": Undo(), "HumanMoved": HumanMoved(None)}
)


def replayed(rows: Iterable[Row], *, incomplete: bool = False) -> tuple[ReleaseReplay, tuple[int, str] | None]:
    """The replay of some rows, and the first that is no legal move with the reason; it ends there."""
    replay = ReleaseReplay(incomplete=incomplete)
    for row in rows:
        problem = replay.take(row)
        if problem is not None:
            return replay, (row.seq, problem)
    return replay, None


def _about(subject: Row | Release) -> tuple[object, ...]:
    return subject.model, subject.version, subject.fingerprint, str(subject.as_of)


def _approved_first(payload: Mapping[str, Any], before: Release, moved: Moved) -> Release:
    """The first of two approvals leaves the release where it is."""
    if before.state is not S.AWAITING_APPROVAL or before.first_approval_by is not None:
        raise NotAMove(f"version {before.version} did not wait for a first approval: it was {before.state}")
    _require_identity(payload, moved)
    return before.model_copy(update={"first_approval_by": moved.by})


def _awaiting(before: Release, recorded: Release, moved: Moved) -> Release:
    if recorded.deadline is None or recorded.deadline < moved.at:
        raise NotAMove(f"version {recorded.version} waits without a deadline that lies ahead")
    return request_approval(before, 1, moved).model_copy(update={"deadline": recorded.deadline})


def _replaced(champion: Release, to: ReleaseState, moved: Moved) -> Release:
    """The champion that lost the alias to a promotion, a rollback or a person, or that cannot serve."""
    if to is S.ROLLED_BACK:
        return clear_champion(champion, moved)
    if to is not S.SUPERSEDED:
        raise NotAMove(f"a champion does not become {to}")
    return displaced(champion, None, moved).model_copy(update={"reason": moved.reason})


def _require_decided(payload: Mapping[str, Any], to: ReleaseState, moved: Moved) -> None:
    """A decision is that of a person who is named with how they proved it, or an approval by the settings."""
    if to is S.APPROVED and moved.by == POLICY and "identity" not in payload:
        return
    _require_identity(payload, moved)


def _require_identity(payload: Mapping[str, Any], moved: Moved) -> None:
    identity = payload.get("identity")
    if not identity:
        raise NotAMove(f"{moved.by} decided, but no decision of theirs is recorded")
    if identity["name"] != moved.by or not moved.via.endswith(f", {identity['how']}"):
        raise NotAMove(
            f"the decision of {identity['name']} ({identity['how']}) is recorded as {moved.by}'s ({moved.via})"
        )


def _require_result(expected: Release, recorded: Release) -> None:
    names = [name for name in Release.model_fields if getattr(expected, name) != getattr(recorded, name)]
    if names:
        differing = "; ".join(f"{name} is {getattr(recorded, name)}, not {getattr(expected, name)}" for name in names)
        raise NotAMove(
            f"what it says of version {recorded.version} does not follow from the moves before it: {differing}"
        )


def _require_same(why: str, found: object, expected: object) -> None:
    if found != expected:
        raise NotAMove(f"{why}: {found}, not {expected}")
