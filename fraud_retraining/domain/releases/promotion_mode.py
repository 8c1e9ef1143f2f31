"""The promotion mode: a human decides (manual), the gates alone (auto), or the gates once trust is earned (earned).

Here: earned trust by the ledger, what makes a candidate unusual, and the permission that follows. Not here: the states
of a release (`lifecycle.py`), who may decide (`reviewers.py`) and until when (`approval_rules.py`).

Trust grows with every release that a human approved and that was promoted; a human's rejection, or an incident, resets
it. Releases without a decision (expired, superseded) and those that a policy decided do not count.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from pydantic import Field

from fraud_retraining.domain.evaluation.matured import MaturedOutcome
from fraud_retraining.domain.ledger.events import POLICY_ACTOR, Event, EventKind
from fraud_retraining.domain.releases.release import ReleaseState
from fraud_retraining.domain.releases.reviewers import Identity, Proof, ReviewerPolicy, admit
from fraud_retraining.domain.retraining.pauses import Pause
from fraud_retraining.domain.values.base import Policy, Value
from fraud_retraining.domain.values.errors import NotPermitted

POLICY = POLICY_ACTOR
"""The actor of decisions that the settings made instead of a human."""

WATCHED_METRICS = ("average_precision", "roc_auc", "card_precision_at_")
LEAST_PAST = 5
CRITICAL = "critical"
"""The severity that pages a person (`domain/alerts/failures.py`)."""


class EarnedPolicy(Policy):
    """What the ledger must show before routine releases are promoted automatically."""

    releases: int = Field(20, ge=1, le=1000, description="Approved releases in a row.")
    days: float = Field(60, ge=0, le=3660, description="Days without incident.")
    range_releases: int = Field(20, ge=LEAST_PAST, le=1000, description="Latest champions that make the usual range.")
    tolerance: float = Field(
        0.5, ge=0, le=10, description="How far beyond that range is still usual, as a multiple of its width."
    )


class PromotionPolicy(ReviewerPolicy):
    """Who may make a candidate champion."""

    mode: Literal["manual", "auto", "earned"] = Field(
        "manual", description="Whether a human decides, the gates alone, or the gates once that was earned."
    )
    approval_hours: float = Field(24, gt=0, le=24 * 30, description="Hours after which a waiting candidate expires.")
    earned: EarnedPolicy = Field(EarnedPolicy(), description="What the record must show in mode earned.")
    on_refuted: Literal["alert", "rollback"] = Field(
        "alert",
        description="When mature labels refute the champion's promotion: alert, or also roll back to the one before.",
    )
    on_worse: Literal["alert", "rollback"] = Field(
        "alert",
        description="When live rows show the champion clearly worse than the version before it: alert, or also roll "
        "back to that one.",
    )
    watch_days: int = Field(
        14, ge=0, le=60, description="Days after a promotion on which the two versions are compared; 0: never."
    )


def require_approver(policy: ReviewerPolicy, by: str, identity: Mapping[str, Any] | None) -> None:
    """Refuse an approval that the present settings do not permit.

    Args:
        policy: the settings under which it would be carried out.
        by: who approved, as recorded.
        identity: the recorded identity; None where the policy decided.

    Raises:
        NotPermitted: the mode requires a human, or the one who approved is no reviewer.
    """
    if by == POLICY and identity is None:
        if isinstance(policy, PromotionPolicy) and policy.mode == "manual":
            raise NotPermitted(
                "it was approved by the promotion policy, but promotion.mode is manual",
                remedy="A reviewer decides: request a new candidate with `fraud-retraining retrain`.",
            )
        return
    admit(policy, Identity(name=by, how=Proof((identity or {}).get("how", Proof.NOTHING))))


class Standing(Value):
    """Earned trust, by the ledger."""

    approved: int = Field(description="Approved and promoted releases in a row.")
    approved_needed: int
    days: float = Field(description="Days since the last incident; without one, since the first promotion.")
    days_needed: float
    incident: str | None = Field(None, description="The last incident.")
    incident_at: datetime | None = None

    @property
    def earned(self) -> bool:
        """Whether routine releases may be promoted automatically."""
        return self.approved >= self.approved_needed and self.days >= self.days_needed

    @property
    def summary(self) -> str:
        """Progress of trust, as a clause."""
        last = f"{self.incident}, {self.incident_at:%Y-%m-%d %H:%M} UTC" if self.incident_at else "none"
        return (
            f"{self.approved} of {self.approved_needed} releases approved in a row, {self.days:.1f} of "
            f"{self.days_needed:g} days without incident (last incident: {last})"
        )


class Permission(NamedTuple):
    """Whether a candidate may be promoted automatically, and the reason, which is recorded with the release."""

    automatic: bool
    why: str


class Candidate(Value):
    """Facts about a candidate that may be unusual, beside those of past champions."""

    trigger: str
    automatic: bool = Field(description="Whether automation itself had decided on its retrain.")
    warnings: tuple[str, ...] = Field((), description="What checks and gates warned of.")
    metrics: dict[str, float | None] = Field(description="Its metrics on its holdout.")
    past: tuple[dict[str, float | None], ...] = Field(description="The same of past champions, the latest first.")


def standing(policy: EarnedPolicy, events: Iterable[Event], now: datetime) -> Standing:
    """Return the earned trust, by the events of `RECORD`."""
    approved, since = 0, None
    incident: tuple[str, datetime] | None = None
    for event in sorted(events, key=lambda event: event.seq):
        text = incident_text(event)
        if text is not None:
            approved, incident, since = 0, (text, event.at), event.at
        elif _refused_by_human(event):
            approved = 0
        elif event.kind == EventKind.PROMOTION_DONE:
            since = since or event.at
            approved += _decided_by_human(event)
    days = (now - since) / timedelta(days=1) if since is not None else 0.0
    what, at = incident or (None, None)
    needed = {"approved_needed": policy.releases, "days_needed": policy.days}
    return Standing(approved=approved, days=days, incident=what, incident_at=at, **needed)


class Incident(NamedTuple):
    """A kind of event that resets earned trust: its name in the documentation, and the text of one event."""

    kind: EventKind
    what: str
    describe: Callable[[Event], str | None]


INCIDENTS = (
    Incident(
        EventKind.PROMOTION_DONE,
        "a rollback",
        lambda event: f"rollback to version {event.version}" if event.payload["intent"]["rollback"] else None,
    ),
    Incident(
        EventKind.RELEASE_MOVED,
        "a champion that was rolled back, taken away or retired",
        lambda event: (
            f"version {event.version} rolled back" if event.payload["to"] == ReleaseState.ROLLED_BACK else None
        ),
    ),
    Incident(
        EventKind.SMOKE_TESTED,
        "a failed smoke test",
        lambda event: None if event.payload["passed"] else f"failed smoke test of version {event.version}",
    ),
    Incident(
        EventKind.MATURED_VERDICT,
        "a promotion that mature labels refuted",
        lambda event: f"refuted promotion of version {event.version}" if _refuted(event) else None,
    ),
    Incident(
        EventKind.PROMOTION_WATCHED,
        "a promotion that was clearly worse on live rows",
        lambda event: f"version {event.version} worse than the one before" if _refuted(event) else None,
    ),
    Incident(
        EventKind.CHAMPION_CHECKED,
        "a damaged or deleted artifact of the champion",
        lambda event: None if event.payload["sound"] else f"damaged artifact of version {event.version}",
    ),
    Incident(
        EventKind.CHAMPION_MOVED_OUTSIDE,
        "an alias that was moved by hand",
        lambda event: "the champion was moved by hand",
    ),
    Incident(
        EventKind.RECORD_ALTERED,
        "a record of decisions that was changed",
        lambda event: "the record of decisions was changed",
    ),
    Incident(
        EventKind.RETRAIN_FAILED,
        "a retrain that failed by the pipeline's own fault: a dependency, resources, the budget, settings, integrity, "
        "a process that died, anything unexpected",
        lambda event: f"failed retrain as of {event.as_of} ({event.payload.get('cause')})" if _pages(event) else None,
    ),
    Incident(
        EventKind.NOTICE_OPENED,
        "any other page (an alert of severity critical)",
        lambda event: f"page: {event.payload.get('title')}" if _pages(event) else None,
    ),
)
"""What sets earned trust back. Not among them: data that a check stopped, a candidate that its gates stopped, a run
that a person interrupted, and live performance that decays: there the pipeline did what it is for.
"""

RECORD = tuple(dict.fromkeys((EventKind.RELEASE_MOVED, EventKind.PROMOTION_DONE, *(one.kind for one in INCIDENTS))))
"""The events that `standing` has to see."""


def _refuted(event: Event) -> bool:
    return bool(event.payload.get("outcome") == MaturedOutcome.REFUTED)


def _pages(event: Event) -> bool:
    return event.payload.get("severity") == CRITICAL


def incident_text(event: Event) -> str | None:
    """Return the incident in words, if the event resets trust; else None."""
    texts = (one.describe(event) for one in INCIDENTS if one.kind == event.kind)
    return next((text for text in texts if text is not None), None)


def _refused_by_human(event: Event) -> bool:
    refused = {ReleaseState.REJECTED, ReleaseState.WITHDRAWN}
    return event.kind == EventKind.RELEASE_MOVED and event.payload["to"] in refused


def _decided_by_human(event: Event) -> bool:
    decided_by = event.payload["release"]["decided_by"]
    return decided_by is not None and decided_by != POLICY


def unusual(policy: EarnedPolicy, candidate: Candidate) -> list[str]:
    """Return everything about a candidate that is not routine, each as a clause; empty for a routine one."""
    found = [] if candidate.trigger == "schedule" else [f"its trigger is {candidate.trigger}, not schedule"]
    found += [] if candidate.automatic else ["a person requested its retrain"]
    found += [f"warning: {warning}" for warning in candidate.warnings]
    past = candidate.past[: policy.range_releases]
    if len(past) < LEAST_PAST:
        return [*found, f"there is no usual range yet: {len(past)} of {LEAST_PAST} past champions"]
    names = [name for name in candidate.metrics if name.startswith(WATCHED_METRICS)]
    clauses = (_out_of_range(name, candidate.metrics[name], [one.get(name) for one in past], policy) for name in names)
    return found + [clause for clause in clauses if clause is not None]


def _out_of_range(name: str, value: float | None, past: Sequence[float | None], policy: EarnedPolicy) -> str | None:
    known = [one for one in past if one is not None]
    if value is None or len(known) < LEAST_PAST:
        return f"{name} is not defined for it or for past champions"
    low, high = min(known), max(known)
    slack = policy.tolerance * (high - low)
    if low - slack <= value <= high + slack:
        return None
    return f"{name} is {value:.4f}, usual is {low - slack:.4f} to {high + slack:.4f}"


def by_mode(policy: PromotionPolicy, pause: Pause | None, concern: str | None = None) -> Permission | None:
    """Return whether a candidate whose gates passed may be promoted automatically; None if earned trust decides.

    `concern` is what a person has to look at before, whatever the candidate is like, as a clause.
    """
    if policy.mode == "manual":
        return Permission(False, "promotion.mode is manual: a human decides")
    if pause is not None:
        return Permission(False, f"a human decides: automatic promotion is {pause.summary}")
    if concern is not None:
        return Permission(False, f"a human decides: {concern}")
    return Permission(True, "all gates passed and promotion.mode is auto") if policy.mode == "auto" else None


def by_trust(policy: EarnedPolicy, found: Standing, candidate: Candidate) -> Permission:
    """Return whether earned trust permits a candidate to be promoted automatically, and the full reason."""
    reasons = [] if found.earned else [f"trust is not earned yet: {found.summary}"]
    reasons += unusual(policy, candidate)
    if reasons:
        return Permission(False, f"a human decides: {'; '.join(reasons)}")
    return Permission(True, f"routine, and trust is earned: {found.summary}")
