"""Ledgers in a wanted state, and what other processes do with them."""

from datetime import date
from typing import Any

from fraud_retraining.adapters.ledger.decisions import ReviewerDecision
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.promotions import AliasMove
from fraud_retraining.adapters.ledger.releases import NewRelease
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.lifecycle import recovery
from fraud_retraining.domain.releases.release import Decision, Release
from fraud_retraining.domain.releases.reviewers import Identity, Proof, ReviewerPolicy

ANYBODY = ReviewerPolicy()


def person(name: str, how: Proof = Proof.NOTHING) -> Identity:
    """Somebody who says who they are."""
    return Identity(name=name, how=how)


def sqlite_path(url: str) -> str:
    return url.removeprefix("sqlite:///")


def opened(ledger: Ledger, version: int, day: int = 1, **more: Any) -> Release:
    """A registered release whose gates have passed."""
    values = {"trigger": "schedule", "artifact_digest": f"d{version}", "verdict_passed": True, **more}
    facts = values.pop("facts", None)
    new = NewRelease(version, f"f{version}", date(2026, 11, day), **values)
    return ledger.open_release(new, actor="pipeline", channel="dagster", facts=facts)


def waiting(ledger: Ledger, version: int, day: int = 1, hours: float = 24, **more: Any) -> Release:
    """A release that waits for a reviewer."""
    opened(ledger, version, day, **more)
    return ledger.await_decision(version, hours=hours, actor="pipeline", channel="dagster")


def approved(ledger: Ledger, version: int, day: int = 1) -> Release:
    """A release that a reviewer has approved."""
    waiting(ledger, version, day)
    return ledger.record_decision(version, ReviewerDecision(Decision.APPROVE, person("alice"), "cli"), ANYBODY)


def promoted(ledger: Ledger, version: int, day: int = 1, expected: int | None = None) -> Release:
    """A release that is champion."""
    approved(ledger, version, day)
    intent = ledger.intend_promotion(AliasMove(version, expected), actor="alice", channel="cli")
    return ledger.finish_promotion(intent, recovery(intent, version), actor="alice", channel="cli")


def append_many(url: str, writer: int, count: int, barrier: Any) -> None:
    """What a process of its own does: start together with the others, then append."""
    ledger = Ledger(url, patience=60)
    barrier.wait(60)
    for n in range(count):
        ledger.append(EventKind.RETRAIN_REQUESTED, actor=f"writer {writer}", payload={"n": n})


def attempt(url: str, step: str, who: str, barrier: Any, answers: Any) -> None:
    """What a process of its own does: take one step at the same moment as another, and say how it went."""
    from fraud_retraining.domain.values.errors import Conflict

    ledger = Ledger(url, patience=60)
    ledger.head()
    barrier.wait(60)
    try:
        if step == "decide":
            decision = Decision.APPROVE if who == "alice" else Decision.REJECT
            ledger.record_decision(2, ReviewerDecision(decision, person(who), "cli", reason="because"), ANYBODY)
        else:
            version = 2 if who == "alice" else 3
            intent = ledger.intend_promotion(AliasMove(version, 1), actor=who, channel="cli")
            ledger.finish_promotion(intent, recovery(intent, version), actor=who, channel="cli")
        answers.put((who, "won"))
    except Conflict as refusal:
        answers.put((who, str(refusal)))
