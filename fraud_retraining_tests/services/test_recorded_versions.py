"""The least scores of decisions are those that a version's own release chose; else the latest that mean the same."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.services.recorded_versions import recorded_thresholds
from fraud_retraining_tests.support.ledger_history import FIRST, waiting

REVIEW, CALL = ("review", "100 alerts a day"), ("call", "costs 0123")


def judged(ledger: Ledger, version: int, chosen: dict[tuple[str, str], float], mapped: bool = True) -> str:
    """A release whose evaluation chose some least scores; its fingerprint."""
    release = waiting(ledger, version, FIRST + timedelta(days=2 * version), None)
    known = ledger.last(EventKind.MODEL_EVALUATED, fingerprint=release.fingerprint)
    assert known is not None
    thresholds = [{"name": name, "at": at, "choice": choice} for (name, choice), at in chosen.items()]
    added: dict[str, Any] = {"thresholds": thresholds, "mapping": {"contract": "alert_rate"} if mapped else None}
    ledger.append(
        EventKind.MODEL_EVALUATED,
        actor="pipeline",
        channel="dagster",
        keys=EventKeys(as_of=release.as_of, fingerprint=release.fingerprint),
        payload={**known.payload, **added},
    )
    return release.fingerprint


def test_thresholds_are_a_versions_own_before_those_of_later_ones(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    old = judged(ledger, 1, {REVIEW: 0.3})
    middle = judged(ledger, 2, {REVIEW: 0.4, CALL: 0.6})
    judged(ledger, 3, {CALL: 0.7})
    judged(ledger, 4, {CALL: 0.9}, mapped=False)
    assert recorded_thresholds(ledger, old) == {REVIEW: 0.3, CALL: 0.7}, "not of one whose scores mean something else"
    assert recorded_thresholds(ledger, middle) == {REVIEW: 0.4, CALL: 0.6}
