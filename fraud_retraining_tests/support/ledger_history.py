"""Ledgers whose versions have a whole history: requested, trained, judged, served, rolled back; real values."""

from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from typing import Any

from fraud_retraining.adapters.days.review_reports import write_review_report
from fraud_retraining.adapters.ledger.decisions import ReviewerDecision
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.promotions import AliasMove
from fraud_retraining.adapters.ledger.releases import NewRelease
from fraud_retraining.adapters.mlflow.environment import environment
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.evaluation.gates import Verdict, judge
from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.candidate import Evaluation, Making, TrainedModel
from fraud_retraining.domain.releases.lifecycle import recovery
from fraud_retraining.domain.releases.release import Decision, Release
from fraud_retraining.domain.releases.reviewers import Proof
from fraud_retraining.domain.training.fingerprint import fingerprint
from fraud_retraining.domain.training.fitting import ModelPolicy
from fraud_retraining.domain.training.windows import (
    HoldoutPolicy,
    RollingWindow,
    TrainingWindow,
    WindowDay,
    window_days,
)
from fraud_retraining.domain.values.digests import digest
from fraud_retraining_tests.support.ledgers import ANYBODY, person
from fraud_retraining_tests.support.reviews import POLICY, evidence_of, fitted, review_report

FIRST = date(2026, 11, 14)
HOSTILE = "<script>alert('reason')</script> [x](javascript:1) `|` \x1b[31mred\x1b[0m [bold]loud[/bold] & \"quoted\""
MODEL = ModelPolicy(params={"n_estimators": 20, "max_depth": 3})
FEATURES = ("amount", "night", "count", "city")


def window(as_of: date) -> TrainingWindow:
    """Ten training days and four that judge."""
    days = window_days(as_of, RollingWindow(days=10), HoldoutPolicy(days=4), LabelPolicy(delay_days=3))

    def pinned(day: date) -> WindowDay:
        name = digest(day.isoformat())
        return WindowDay(day=day, digest=name, features_digest=name[::-1], rows=10_000, frauds=80)

    return TrainingWindow(
        days=days,
        label_delay_days=3,
        training=tuple(map(pinned, days.training)),
        holdout=tuple(map(pinned, days.holdout)),
        features=FEATURES,
        categorical=("city",),
        features_policy=digest("plan"),
    )


@cache
def judged(against: bool) -> tuple[Any, Verdict]:
    evidence = evidence_of(fitted(), fitted("logistic_regression", ("amount", "count", "city")) if against else None)
    return evidence, judge(POLICY, evidence)


def configured(ledger: Ledger, settings: Mapping[str, Any], actor: str = "alice") -> None:
    """Settings, and the environment, as a run finds them."""
    for subject, payload in (("settings", settings), ("environment", environment().model_dump(mode="json"))):
        ledger.append_changed(
            EventKind.CONFIGURATION_CHANGED, keys=EventKeys(subject=subject), payload=payload, actor=actor
        )


def request_retrain(ledger: Ledger, as_of: date, trigger: str = "schedule", reason: str = "48 hours are over") -> None:
    payload = {"trigger": trigger, "reason": reason}
    ledger.append(
        EventKind.RETRAIN_REQUESTED, actor="automation", channel="sensor", keys=EventKeys(as_of=as_of), payload=payload
    )


def trained(ledger: Ledger, as_of: date, run_id: str = "a" * 32, xgboost: str = "3.2.0") -> TrainedModel:
    """A window and the model that it gave."""
    manifest = window(as_of)
    determined_by = fingerprint(manifest, model=MODEL, code=digest("code"), libraries={"xgboost-cpu": xgboost})
    model = TrainedModel(
        as_of=as_of,
        fingerprint=determined_by.digest,
        determined_by=determined_by,
        run_id=run_id,
        artifact_digest=digest(f"artifact {as_of}"),
        reused=False,
        training=manifest.days.training,
        importance={"amount": 0.7, "night": 0.3},
    )
    making = Making(
        trigger="schedule",
        reason="48 hours are over",
        parameters=MODEL.parameters.model_dump(mode="json"),
        environment=environment(),
        window_digest=digest(manifest),
    )
    built = manifest.model_dump(mode="json")
    ledger.append(
        EventKind.WINDOW_BUILT, actor="pipeline", channel="dagster", keys=EventKeys(as_of=as_of), payload=built
    )
    ledger.append(
        EventKind.MODEL_TRAINED,
        actor="pipeline",
        channel="dagster",
        keys=EventKeys(as_of=as_of, fingerprint=model.fingerprint),
        payload={**model.model_dump(mode="json"), "dagster_run_id": "r1", "making": making},
    )
    return model


def evaluated(ledger: Ledger, model: TrainedModel, champion: int | None, store: Store | None = None) -> Evaluation:
    evidence, verdict = judged(champion is not None)
    shown = review_report("xgboost", "logistic_regression" if champion else None)
    shown = shown.model_copy(
        update={"fingerprint": model.fingerprint, "as_of": model.as_of, "champion_version": champion}
    )
    evaluation = Evaluation(
        as_of=model.as_of,
        fingerprint=model.fingerprint,
        champion_version=champion,
        compared_days=(),
        evidence=evidence,
        verdict=verdict,
        review_digest=write_review_report(store, shown) if store else "",
    )
    ledger.append(
        EventKind.MODEL_EVALUATED,
        actor="pipeline",
        channel="dagster",
        keys=EventKeys(as_of=model.as_of, fingerprint=model.fingerprint),
        payload=evaluation.model_dump(mode="json"),
    )
    return evaluation


def waiting(
    ledger: Ledger, version: int, as_of: date, champion: int | None, store: Store | None = None, xgboost: str = "3.2.0"
) -> Release:
    """A version that was requested, trained, judged and registered, and waits."""
    request_retrain(ledger, as_of)
    model = trained(ledger, as_of, xgboost=xgboost)
    evaluation = evaluated(ledger, model, champion, store)
    new = NewRelease(
        version,
        model.fingerprint,
        as_of,
        trigger="schedule",
        artifact_digest=model.artifact_digest,
        verdict_passed=evaluation.verdict.passed,
        verdict_digest=digest(evaluation.verdict),
        champion_before=champion,
    )
    ledger.open_release(
        new,
        actor="pipeline",
        channel="dagster",
        facts={"run_id": model.run_id, "dagster_run_id": "r1"},
    )
    return ledger.await_decision(version, hours=24, actor="policy", channel="dagster")


def approved(ledger: Ledger, version: int, by: str = "alice", reason: str = "better by a tenth") -> Release:
    approval = ReviewerDecision(Decision.APPROVE, person(by, Proof.TOKEN), "command line", reason)
    return ledger.record_decision(version, approval, ANYBODY)


def promoted(ledger: Ledger, version: int, expected: int | None, rollback: bool = False, reason: str = "") -> Release:
    move = AliasMove(version, expected, rollback=rollback)
    intent = ledger.intend_promotion(move, actor="alice", channel="command line", reason=reason)
    return ledger.finish_promotion(intent, recovery(intent, version), actor="alice", channel="command line")


def with_history(ledger: Ledger, store: Store | None = None) -> Ledger:
    """Version 1 served; the settings changed; 2 replaced it and was rolled back; 3 was rejected; 4 waits."""
    configured(ledger, {"window": {"days": 10}, "gates": {"alert_budget": 10}})
    waiting(ledger, 1, FIRST, None, store)
    approved(ledger, 1)
    promoted(ledger, 1, None)
    configured(ledger, {"window": {"days": 10}, "gates": {"alert_budget": 20}, "note": HOSTILE}, actor=HOSTILE)
    waiting(ledger, 2, FIRST + timedelta(days=2), 1, store)
    approved(ledger, 2, by="bob", reason=HOSTILE)
    promoted(ledger, 2, 1)
    promoted(ledger, 1, 2, rollback=True, reason="alerts doubled")
    waiting(ledger, 3, FIRST + timedelta(days=4), 1, store)
    rejection = ReviewerDecision(Decision.REJECT, person("alice"), "command line", "worse at night")
    ledger.record_decision(3, rejection, ANYBODY)
    waiting(ledger, 4, FIRST + timedelta(days=6), 1, store)
    return ledger
