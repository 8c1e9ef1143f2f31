"""The waiting candidate beside the champion on the latest days: which candidate, its figures, and their event.

Here: reading the record, comparing scores that are in the store, and recording it for the reviewer. Not here: which
days have scores (`orchestration/state/promotion_watch.py`) and the figures (`domain/monitoring/candidate_shadow.py`).
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from fraud_retraining.adapters.days.live_rows import scores_of_two
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.evaluation.alert_volume import AlertChange, Threshold
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.monitoring.candidate_shadow import (
    CandidateShadow,
    ShadowedCandidate,
    shadow_figures,
    shadow_intervals,
)
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.services.recorded_versions import trained_days


def shadowed_candidate(ledger: Ledger) -> ShadowedCandidate | None:
    """The candidate that waits for a reviewer; None without one, without a champion, or where nobody knows what one of
    the two has learnt from."""
    waiting = max(ledger.waiting(), key=lambda one: one.version, default=None)
    champion = ledger.champion()
    if waiting is None or champion is None:
        return None
    learnt = [trained_days(ledger, one.fingerprint) for one in (waiting, champion)]
    known = tuple(days for days in learnt if days is not None)
    if len(known) < len(learnt):
        return None
    return ShadowedCandidate(
        version=waiting.version,
        as_of=waiting.as_of,
        fingerprint=waiting.fingerprint,
        champion_version=champion.version,
        learnt=known,
        thresholds=_judged_thresholds(ledger, waiting.fingerprint),
    )


def _judged_thresholds(ledger: Ledger, fingerprint: str) -> tuple[Threshold, ...]:
    """The thresholds that the verdict of a candidate counted alerts at; none where it counted none."""
    judged = ledger.last(EventKind.MODEL_EVALUATED, fingerprint=fingerprint)
    alerts = Evaluation.model_validate(judged.payload).evidence.alerts if judged is not None else None
    counted = alerts.thresholds if isinstance(alerts, AlertChange) else ()
    return tuple(Threshold(name=one.name, at=one.at) for one in counted)


def compare_shadow(
    candidate: ShadowedCandidate, days: Sequence[tuple[date, Path, Path, Path]], policy: MetricsPolicy
) -> CandidateShadow:
    """The figures on some days; of each its transactions, the candidate's and the champion's scores.

    Raises:
        IntegrityError: scores are not those of the transactions.
    """
    rows = scores_of_two(days, policy.alert_column)
    figures = shadow_figures(rows, policy.alert_budget)
    return CandidateShadow(
        version=candidate.version,
        as_of=candidate.as_of,
        champion_version=candidate.champion_version,
        days=tuple(day for day, *_ in days),
        rows=len(rows.days),
        alert_entity=policy.alert_entity,
        intervals=shadow_intervals(rows, policy, candidate.thresholds),
        **vars(figures),
    )


def record_shadow(ledger: Ledger, shadow: CandidateShadow, fingerprint: str) -> None:
    """Records the figures, once for each last day."""
    ledger.append_once(
        EventKind.CANDIDATE_SHADOWED,
        keys=EventKeys(
            subject=f"version {shadow.version} beside version {shadow.champion_version}, {shadow.days[-1]}",
            as_of=shadow.as_of,
            version=shadow.version,
            fingerprint=fingerprint,
        ),
        payload=shadow.model_dump(mode="json"),
        actor="pipeline",
        channel="dagster",
    )
