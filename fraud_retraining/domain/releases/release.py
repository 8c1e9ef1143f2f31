"""A release as it is recorded: the release, its states, the moves and decisions that change it.

Here: values without rules. Not here: which state follows which (`lifecycle.py`), and who may decide until when
(`approval_rules.py`).
"""

from datetime import date, datetime
from enum import StrEnum

from pydantic import Field

from fraud_retraining.domain.values.base import Value

MOST_VERSION = 2**31 - 1
"""The greatest version number that every database can store."""


class ReleaseState(StrEnum):
    """State of a release."""

    REGISTERED = "registered"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    PROMOTING = "promoting"
    PROMOTED = "promoted"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    EXPIRED = "expired"
    GATE_FAILED = "gate_failed"
    ROLLED_BACK = "rolled_back"
    WITHDRAWN = "withdrawn"


class Decision(StrEnum):
    """A reviewer's decision."""

    APPROVE = "approve"
    REJECT = "reject"


class Reminder(StrEnum):
    """Times at which reviewers are reminded of a waiting candidate."""

    HALF_TIME = "half_time"
    LAST_HOUR = "last_hour"


class Release(Value):
    """One candidate and its state. Times are aware, UTC, from the ledger's clock."""

    model: str
    version: int
    fingerprint: str
    as_of: date
    trigger: str
    state: ReleaseState
    artifact_digest: str
    verdict_passed: bool
    verdict_digest: str = Field("", description="Digest of the gates' document, to be verified before a promotion.")
    needs_human: str | None = Field(
        None, description="Why a human has to decide in every promotion.mode; null: the mode decides."
    )
    floors_missed: str | None = Field(
        None, description="Floors that it misses though it is proven better than the champion: a human may except it."
    )
    requested_by: str = Field(
        "", description="The person who requested the retrain, who may not approve it; empty: automation."
    )
    champion_before: int | None = Field(None, description="The champion when it was registered, then the one replaced.")
    deadline: datetime | None = None
    first_approval_by: str | None = Field(None, description="Who approved first, where two people have to.")
    decided_by: str | None = None
    decided_via: str | None = None
    decided_at: datetime | None = None
    reason: str = Field("", description="Why it was moved last.")
    opened_at: datetime
    moved_at: datetime
    moved_by: str
    promoted_at: datetime | None = Field(None, description="When it first became champion.")
    intent: int | None = Field(None, description="Ledger row of the unfinished promotion.")

    @property
    def was_promoted(self) -> bool:
        """Whether it has ever been champion, and can thus be rolled back to."""
        return self.promoted_at is not None

    @property
    def may_serve(self) -> bool:
        """Whether its verdict lets it serve: it passed, or a human may except the floors that it misses."""
        return self.verdict_passed or bool(self.floors_missed)


class Moved(Value):
    """Who moves a release, through which channel, when, and why."""

    by: str
    via: str
    at: datetime
    reason: str = ""


class Intent(Value):
    """A promotion that was written down before the alias was touched."""

    seq: int = Field(description="Ledger row that holds it.")
    model: str
    version: int
    expected_champion: int | None = Field(
        description="Version that the alias named before; moved only if it still does."
    )
    artifact_digest: str
    rollback: bool
    came_from: ReleaseState
    actor: str
    channel: str
    reason: str = ""
    at: datetime
