"""State machine of a release, safe against two moves at the same time.

Here: which state follows which, the promotion rule, supersession, and the end of an interrupted promotion. Every
function takes a release and returns the next one, or refuses. Not here: the release itself (`release.py`), who may
decide and until when (`approval_rules.py`, `reviewers.py`), keeping releases (`adapters/ledger/ledger.py`), moving the
registry's alias (`adapters/mlflow/registry.py`) and whether a human has to decide (`promotion_mode.py`).

    registered ──> awaiting_approval ──> approved ──> promoting ──> promoted ──> superseded
        │  └────────────(auto)───────────────^            ^                └──> rolled_back
        │                                                 └── a rollback brings back what was promoted once
        └──> gate_failed     from any open state: rejected (if it waits), expired (if it waits), superseded, withdrawn
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import Protocol

from fraud_retraining.domain.releases.approval_rules import (
    check_deadline,
    check_reviewer,
    check_shown,
    check_without_human,
    is_first_of_two,
)
from fraud_retraining.domain.releases.release import Decision, Intent, Moved, Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import Identity, ReviewerPolicy
from fraud_retraining.domain.training.fingerprint import IMPORT_TRIGGER
from fraud_retraining.domain.values.errors import Conflict, GateFailed, SettingsError

S = ReleaseState
OPEN = frozenset({S.REGISTERED, S.AWAITING_APPROVAL, S.APPROVED})
TERMINAL = frozenset({S.REJECTED, S.EXPIRED, S.GATE_FAILED, S.WITHDRAWN})
BY_HAND = TERMINAL | {S.APPROVED, S.SUPERSEDED}
PENDING = frozenset({S.AWAITING_APPROVAL, S.APPROVED})
RESTORABLE = frozenset({S.SUPERSEDED, S.ROLLED_BACK})
NEEDS_REASON = frozenset({S.REJECTED, S.ROLLED_BACK, S.WITHDRAWN})
NEEDS_VERDICT = frozenset({S.AWAITING_APPROVAL, S.APPROVED, S.PROMOTING})

MOVES: Mapping[ReleaseState, frozenset[ReleaseState]] = MappingProxyType(
    {
        S.REGISTERED: frozenset({S.AWAITING_APPROVAL, S.APPROVED, S.GATE_FAILED, S.SUPERSEDED, S.WITHDRAWN}),
        S.AWAITING_APPROVAL: frozenset({S.APPROVED, S.REJECTED, S.EXPIRED, S.SUPERSEDED, S.WITHDRAWN}),
        S.APPROVED: frozenset({S.PROMOTING, S.SUPERSEDED, S.WITHDRAWN}),
        S.PROMOTING: frozenset({S.PROMOTED, S.APPROVED, S.SUPERSEDED, S.ROLLED_BACK}),
        S.PROMOTED: frozenset({S.SUPERSEDED, S.ROLLED_BACK}),
        S.SUPERSEDED: frozenset({S.PROMOTING}),
        S.ROLLED_BACK: frozenset({S.PROMOTING}),
        **{state: frozenset[ReleaseState]() for state in TERMINAL},
    }
)


class Dated(Protocol):
    """A version with its as-of day: a release, or the registry's own record of one."""

    @property
    def version(self) -> int:
        """Number in the registry."""

    @property
    def as_of(self) -> date:
        """Last day whose transactions were in."""


def _last_move(release: Release) -> str:
    """The last move of a release, for the message to the person who came second: who, when and why."""
    who, when = release.moved_by, release.moved_at
    why = f": {release.reason}" if release.reason else ""
    return f"it was {release.state.replace('_', ' ')} by {who} at {when:%Y-%m-%d %H:%M:%S} UTC{why}"


def _refuse(release: Release, to: ReleaseState) -> Conflict:
    return Conflict(f"version {release.version} cannot become {to.replace('_', ' ')}: {_last_move(release)}")


def _checked(release: Release, to: ReleaseState, moved: Moved) -> None:
    if not moved.by.strip() or not moved.via.strip():
        raise SettingsError(f"a release is moved to {to} without a name", remedy="Name who decides and the channel.")
    if to not in MOVES[release.state]:
        raise _refuse(release, to)
    excepted = to is S.APPROVED and not release.verdict_passed
    if (to in NEEDS_REASON or excepted) and not moved.reason.strip():
        raise SettingsError(
            f"version {release.version} cannot become {to.replace('_', ' ')} without a reason",
            remedy="Say why, in a sentence that an auditor can read.",
        )
    # Asked at each of these moves: no way to the champion leads around the verdict.
    if to in NEEDS_VERDICT and not release.may_serve:
        raise GateFailed(f"version {release.version} cannot become {to.replace('_', ' ')}: its gates did not pass")
    if to is S.APPROVED and release.state is S.REGISTERED:
        check_without_human(release)
    check_deadline(release, to, moved.at)


def _placed(release: Release, to: ReleaseState, moved: Moved, **more: object) -> Release:
    placed = {"state": to, "moved_at": moved.at, "moved_by": moved.by, "reason": moved.reason}
    return release.model_copy(update={**placed, **more})


def move(release: Release, to: ReleaseState, moved: Moved) -> Release:
    """Return an open release in its next state. Promotion has its own moves, because the registry's alias goes with it.

    Raises:
        Conflict: it was moved before; the message says by whom, when and why.
        GateFailed: it would go on without a passed verdict.
        SettingsError: no name, or a required reason is missing.
    """
    if to not in BY_HAND:
        raise ValueError(f"{to} is not a move of its own")
    if release.state not in OPEN:
        raise _refuse(release, to)
    _checked(release, to, moved)
    decided = to in {S.APPROVED, S.REJECTED}
    decision = {"decided_by": moved.by, "decided_via": moved.via, "decided_at": moved.at} if decided else {}
    return _placed(release, to, moved, **decision)


def request_approval(release: Release, hours: float, moved: Moved) -> Release:
    """Return a registered release that waits for a reviewer until `hours` from now."""
    _checked(release, S.AWAITING_APPROVAL, moved)
    return _placed(release, S.AWAITING_APPROVAL, moved, deadline=moved.at + timedelta(hours=hours))


def next_state(
    release: Release,
    decision: Decision,
    policy: ReviewerPolicy,
    identity: Identity,
    moved: Moved,
    digest: str | None = None,
) -> Release:
    """Return a waiting release after a reviewer's decision.

    The first decision wins; where two approvals are required, the second one decides.

    Args:
        release: the waiting release.
        decision: approve or reject.
        policy: who may decide.
        identity: the reviewer.
        moved: channel, time and reason.
        digest: the artifact that the reviewer saw, where the channel says so.

    Raises:
        Conflict: it no longer waits, its deadline has passed, or it is not the artifact that the reviewer saw.
        NotPermitted: not a reviewer, not proven, or the requester of the retrain.
        SettingsError: a rejection without a reason.
    """
    to = S.APPROVED if decision is Decision.APPROVE else S.REJECTED
    check_reviewer(release, decision, policy, identity)
    # After the reviewer is admitted: who may not decide does not learn what was decided.
    if release.state is not S.AWAITING_APPROVAL:
        raise _refuse(release, to)
    check_shown(release, digest)
    if to is S.APPROVED and is_first_of_two(release, policy, identity):
        _checked(release, to, moved)
        return release.model_copy(update={"first_approval_by": identity.name})
    return move(release, to, moved)


@dataclass(frozen=True)
class Promote:
    """Promote at once."""


@dataclass(frozen=True)
class Await:
    """Wait for a human decision."""


@dataclass(frozen=True)
class Supersede:
    """A newer champion serves already."""

    reason: str


def promotion_of(
    candidate: Release, champion: Dated | None, *, automatic: bool, passed: bool
) -> Promote | Await | Supersede:
    """Return what to do with a judged candidate. A champion of a newer as-of day stays.

    On the same as-of day the later version is the newer one: settings were changed, or data was corrected. An imported
    model is the first champion or none.

    Raises:
        GateFailed: its gates did not pass.
    """
    if not passed:
        raise GateFailed(f"version {candidate.version} cannot be promoted: its gates did not pass")
    if champion is not None and candidate.trigger == IMPORT_TRIGGER and champion.version != candidate.version:
        return Supersede(f"champion version {champion.version} serves, and only the first champion is imported")
    if champion is not None and champion.as_of > candidate.as_of:
        return Supersede(
            f"champion version {champion.version} is as of {champion.as_of}, the candidate only as of {candidate.as_of}"
        )
    if champion is not None and champion.as_of == candidate.as_of and champion.version >= candidate.version:
        return Supersede(f"champion version {champion.version} of the same as-of day is the newer version")
    return Promote() if automatic else Await()


def champion_of_time(releases: Iterable[Release], as_of: date) -> Release | None:
    """Return the champion at the time of an old as-of day: of all former champions, the newest as of before it."""
    # Only what served: a rejected candidate was never what a day was compared with.
    past = [one for one in releases if one.was_promoted and one.as_of < as_of]
    return max(past, key=lambda one: (one.as_of, one.version), default=None)


def outdated_by(newer: Dated, others: Iterable[Release]) -> list[Release]:
    """Return the waiting or approved releases that a newer candidate or champion supersedes."""
    return [
        other
        for other in others
        if other.state in PENDING and other.version != newer.version and other.as_of <= newer.as_of
    ]


def newer_than(candidate: Dated, others: Iterable[Release]) -> Release | None:
    """Return the waiting or approved release of a later as-of day, if there is one: it supersedes the candidate."""
    newer = [other for other in others if other.state in PENDING and other.as_of > candidate.as_of]
    return max(newer, key=lambda other: other.as_of, default=None)


def begin_promotion(release: Release, champion: Release | None, intent: Intent) -> Release:
    """Return a release in state promoting: an approved one, or for a rollback a former champion.

    Raises:
        Conflict: it is neither, or the champion is newer.
        GateFailed: its gates did not pass.
        SettingsError: a rollback without a reason.
    """
    moved = Moved(by=intent.actor, via=intent.channel, at=intent.at, reason=intent.reason)
    if intent.rollback:
        _checked_rollback(release, moved)
    else:
        if release.state is not S.APPROVED:
            raise _refuse(release, S.PROMOTING)
        verdict = promotion_of(release, champion, automatic=True, passed=release.may_serve)
        if isinstance(verdict, Supersede):
            raise Conflict(f"version {release.version} cannot be promoted: {verdict.reason}")
    _checked(release, S.PROMOTING, moved)
    return _placed(release, S.PROMOTING, moved, intent=intent.seq, champion_before=intent.expected_champion)


def _checked_rollback(release: Release, moved: Moved) -> None:
    if not release.was_promoted:
        raise Conflict(
            f"version {release.version} was never champion and cannot be rolled back to: {_last_move(release)}"
        )
    if release.state not in RESTORABLE:
        raise _refuse(release, S.PROMOTING)
    if not moved.reason.strip():
        raise SettingsError("a rollback needs a reason", remedy="Say what is wrong with the present champion.")


@dataclass(frozen=True)
class Complete:
    """The alias was moved: the promotion happened, and only its record was missing."""


@dataclass(frozen=True)
class Undo:
    """The alias was not touched: the promotion has not happened."""


@dataclass(frozen=True)
class HumanMoved:
    """The alias names a third version: a person moved it by hand, and that move stands."""

    champion: int | None


Outcome = Complete | Undo | HumanMoved


def recovery(intent: Intent, alias_target: int | None) -> Outcome:
    """Return how an unfinished promotion ends, by the version that the alias names now."""
    if alias_target == intent.version:
        return Complete()
    if alias_target == intent.expected_champion:
        return Undo()
    return HumanMoved(alias_target)


def end_promotion(release: Release, intent: Intent, outcome: Outcome, moved: Moved) -> Release:
    """Return the release after its promotion was completed, undone, or overtaken by a human.

    Raises:
        Conflict: this promotion was finished before.
    """
    if release.state is not S.PROMOTING or release.intent != intent.seq:
        raise Conflict(f"the promotion of version {release.version} was already finished: {_last_move(release)}")
    match outcome:
        case Complete():
            return _placed(release, S.PROMOTED, moved, intent=None, promoted_at=release.promoted_at or moved.at)
        case Undo():
            return _placed(release, intent.came_from, moved, intent=None)
        case HumanMoved(champion):
            # A version that was to be brought back stays restorable; a new one was overtaken.
            to = intent.came_from if intent.rollback else S.SUPERSEDED
            named = f"version {champion}" if champion is not None else "no version"
            why = moved.model_copy(update={"reason": f"the champion was moved to {named} by hand meanwhile"})
            return _placed(release, to, why, intent=None)


def replace_champion(champion: Release, by: Intent, moved: Moved) -> Release:
    """Return the replaced champion: superseded by a promotion, rolled back by a rollback."""
    to = S.ROLLED_BACK if by.rollback else S.SUPERSEDED
    reason = by.reason if by.rollback else f"version {by.version} was promoted"
    moved = moved.model_copy(update={"reason": reason})
    _checked(champion, to, moved)
    return _placed(champion, to, moved)


def adopt(release: Release, moved: Moved) -> Release:
    """Return a release that became champion because a person moved the alias: the move stands from any state."""
    return _placed(release, S.PROMOTED, moved, intent=None, promoted_at=release.promoted_at or moved.at)


def displaced(champion: Release, target: int | None, moved: Moved) -> Release:
    """Return the champion whose alias a person moved away."""
    named = f"to version {target}" if target is not None else "away"
    return _placed(champion, S.SUPERSEDED, moved.model_copy(update={"reason": f"the alias was moved {named} by hand"}))


def clear_champion(champion: Release, moved: Moved) -> Release:
    """Return a first champion that cannot serve: there is no version to go back to, and the alias was removed."""
    _checked(champion, S.ROLLED_BACK, moved)
    return _placed(champion, S.ROLLED_BACK, moved)


def latest_champions(releases: Iterable[Release]) -> list[Release]:
    """Return former champions that can be restored, the one that served last first."""
    past = [release for release in releases if release.state in RESTORABLE and release.was_promoted]
    # By the time of the move: a rollback can bring a lower number back.
    return sorted(past, key=lambda release: (release.moved_at, release.version), reverse=True)
