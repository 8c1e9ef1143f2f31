"""Release decisions from the command line: approve, reject, roll back, resume, and what waits.

Here: the identity of the user at the terminal. Not here: what a decision does (`services/approvals.py`) and whether it
is allowed (`domain/releases/approval_rules.py`, `domain/releases/reviewers.py`).
"""

import logging
import os
from collections.abc import Callable, Sequence
from datetime import datetime

from fraud_retraining.adapters.storage.accounts import account
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import Identity, ReviewerPolicy, admit, identify
from fraud_retraining.domain.retraining.pauses import Automation, Pause
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.errors import RetrainingError
from fraud_retraining.orchestration.resources import open_ledger, open_registry, open_store
from fraud_retraining.services.approvals import ReleaseApprovals
from fraud_retraining.services.model_cards import Cards
from fraud_retraining.settings import REVIEWER_TOKEN_VARIABLE, Settings

CHANNEL = "command line"
LOG = logging.getLogger(__name__)


class Waiting(Value):
    """A candidate that waits for a decision, beside the champion."""

    release: Release
    seconds_left: float | None
    candidate: dict[str, float | None]
    champion: dict[str, float | None] | None


class Decisions:
    """Decisions in the name of one reviewer.

    `prompt_for_token` reads the token of a reviewer at the terminal; None where there is no terminal.
    """

    def __init__(
        self, settings: Settings, by: str | None = None, prompt_for_token: Callable[[str], str] | None = None
    ) -> None:
        self._by = by
        self._prompt_for_token = prompt_for_token
        self._policy: ReviewerPolicy = settings.promotion
        self._settings = settings
        self._registry = open_registry(settings)
        self._approvals = ReleaseApprovals(open_ledger(settings), self._registry, settings.promotion)

    def admitted(self, action: str, *, recorded: bool = True) -> Identity:
        """Who decides, if it is a reviewer; a refusal is recorded, where the ledger can be added to.

        Raises:
            NotPermitted: not a reviewer, or not proven.
        """
        if not recorded:
            user = account()
            identity = identify(self._policy, claimed=self._by, token=self._token(user), account=user)
            admit(self._policy, identity)
            return identity
        identity = self._identity(action, None)
        with self._approvals.recording_refusals(None, action, identity.name, CHANNEL):
            admit(self._policy, identity)
        return identity

    def approve(self, version: int, reason: str) -> Release:
        """Approve a waiting version, which becomes champion."""
        return self._with_cards(
            self._approvals.approve(version, self._identity("approve", version), reason, channel=CHANNEL)
        )

    def reject(self, version: int, reason: str) -> Release:
        """Reject a waiting version; the champion stays."""
        return self._with_cards(
            self._approvals.reject(version, self._identity("reject", version), reason, channel=CHANNEL)
        )

    def rollback(self, version: int, reason: str) -> Release:
        """Make a version that was champion before champion again, and pause automatic promotion."""
        return self._with_cards(
            self._approvals.rollback(version, self._identity("rollback", version), reason, channel=CHANNEL)
        )

    def retire_champion(self, reason: str) -> Release:
        """Take a champion that MLflow has lost out of service."""
        return self._approvals.retire_champion(self._identity("retire", None), reason, channel=CHANNEL)

    def restore_releases(self, reason: str) -> tuple[str, ...]:
        """Write the table of releases anew from the chain; return what differed."""
        return self._approvals.restore_releases(self._identity("restore", None), reason, channel=CHANNEL)

    def _with_cards(self, release: Release) -> Release:
        """The release, with every model card up to date; a card that cannot be written now is written by the sensor."""
        try:
            Cards(self._approvals.ledger, self._registry, open_store(self._settings)).refresh_stale()
        except RetrainingError as error:
            LOG.warning("the decision stands, but model cards are not up to date yet: %s", error.what)
        return release

    def resume(self, subjects: Sequence[Automation], reason: str) -> list[Pause]:
        """End pauses, all of them where no subject is named; return those that ended."""
        identity = self._identity("resume", None)
        paused = [subject for subject in subjects or Automation if self._approvals.ledger.pause(subject) is not None]
        ended = (self._approvals.resume(subject, identity, reason, channel=CHANNEL) for subject in paused)
        return [pause for pause in ended if pause is not None]

    def pending(self) -> list[Waiting]:
        """Releases that wait, with their metrics."""
        releases = self._approvals.pending()
        now = self._approvals.ledger.now()
        return [self._waiting(release, now) for release in releases]

    def _waiting(self, release: Release, now: datetime) -> Waiting:
        judged = self._approvals.ledger.verdict(release)
        waits = release.state is ReleaseState.AWAITING_APPROVAL and release.deadline is not None
        champion = judged.evidence.champion if judged is not None else None
        return Waiting(
            release=release,
            seconds_left=(release.deadline - now).total_seconds() if waits and release.deadline else None,
            candidate=judged.evidence.beside.values if judged is not None else {},
            champion=champion.values if champion is not None else None,
        )

    def _identity(self, action: str, version: int | None) -> Identity:
        user = account()
        with self._approvals.recording_refusals(version, action, self._by or user or "nobody", CHANNEL):
            return identify(self._policy, claimed=self._by, token=self._token(user), account=user)

    def _token(self, user: str | None) -> str | None:
        """The reviewer's token: from the environment, or typed where nothing else proves the identity."""
        given = os.environ.get(REVIEWER_TOKEN_VARIABLE)
        claimed = self._policy.reviewer(self._by or "")
        if given or claimed is None or claimed.token_sha256 is None or self._prompt_for_token is None:
            return given
        return None if user is not None and claimed.os_user == user else self._prompt_for_token(claimed.name)
