"""Matured verdicts as the job would have recorded them, for what reads the record."""

from datetime import date

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.evaluation.gates import GatePolicy
from fraud_retraining.domain.evaluation.matured import Difference, MaturedOutcome, MaturedVerdict, outcome_of
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.monitoring.promotion_watch import PromotionWatch
from fraud_retraining.domain.values.interval import Interval
from fraud_retraining.services.promotion_watches import PromotionWatches

DAY = date(2026, 11, 5)


def difference(value: float, frauds: int = 30) -> Difference:
    lost = Interval(value=value, low=value - 0.01, high=value + 0.01, deviation=0.005)
    return Difference(rows=900, frauds=frauds, candidate=0.5 + value, champion=0.5, difference=lost)


def matured(version: int, champion: int, now: float | None = -0.2, reason: str = "") -> MaturedVerdict:
    """The verdict of a version that looked better and now differs by `now`; None: it could not be measured."""
    found = difference(now, frauds=60) if now is not None else None
    return MaturedVerdict(
        version=version,
        as_of=DAY,
        champion_version=champion,
        days=(DAY,),
        mature_on=DAY,
        then=difference(0.02),
        now=found,
        allowed_loss=0.01,
        outcome=outcome_of(found.difference, 0.01) if found else MaturedOutcome.NOT_MEASURED,
        reason=reason,
    )


def record(ledger: Ledger, verdict: MaturedVerdict) -> None:
    release = ledger.release_by_version(verdict.version)
    ledger.append_once(
        EventKind.MATURED_VERDICT,
        keys=EventKeys(
            subject=f"version {verdict.version}",
            version=verdict.version,
            as_of=verdict.as_of,
            fingerprint=release.fingerprint if release else None,
        ),
        payload=verdict.model_dump(mode="json"),
        actor="pipeline",
    )


def watched(version: int, before: int, now: float | None = -0.2, reason: str = "") -> PromotionWatch:
    """The last look at a version that differs from the one before by `now`; None: it could not be compared."""
    found = difference(now, frauds=60) if now is not None else None
    return PromotionWatch(
        version=version,
        as_of=DAY,
        predecessor_version=before,
        known_by=DAY,
        days=(DAY,),
        difference=found,
        allowed_loss=0.01,
        looks=14,
        outcome=outcome_of(found.difference, 0.01) if found else MaturedOutcome.NOT_MEASURED,
        ends=True,
        reason=reason,
    )


def record_watch(ledger: Ledger, watch: PromotionWatch) -> None:
    release = ledger.release_by_version(watch.version)
    assert release is not None
    PromotionWatches(ledger, GatePolicy(), watch.looks).record(watch, release.fingerprint)
