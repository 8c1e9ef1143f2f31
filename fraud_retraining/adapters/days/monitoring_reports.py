"""What monitoring leaves in the store, and reading it back: profiles of models, reports of days.

Here: under which names they are kept. Not here: making them (`orchestration/state/monitoring.py`) and what they say
(`domain/monitoring/`).

A drift report says which model it is about, and a history of drift holds only those about the model that it is asked
for: what a day was against an earlier champion says nothing about the present one. Performance is that of the service,
by the champion of the time.
"""

import logging
from collections.abc import Iterable
from datetime import date
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.monitoring.drift import DriftReport, HoldoutProfile, ReferenceProfile
from fraud_retraining.domain.monitoring.live_performance import PerformanceReport
from fraud_retraining.domain.monitoring.missed_frauds import MissedFrauds
from fraud_retraining.domain.monitoring.promotion_watch import WatchReport
from fraud_retraining.domain.monitoring.served_skew import ServedSkew
from fraud_retraining.domain.retraining.triggers.drift import DriftDay
from fraud_retraining.domain.retraining.triggers.labels import ServedFrauds
from fraud_retraining.domain.retraining.triggers.performance import LivePerformance
from fraud_retraining.domain.values.errors import IntegrityError

SCORED = "scored_transactions"
DRIFT = "drift_report"
PERFORMANCE = "production_performance"
MISSED = "missed_frauds"
SKEW = "served_skew"
SHADOW = "shadow_scores"
WATCH = "promotion_watch"
REFERENCE_PROFILE, HOLDOUT_PROFILE = "reference_profile", "holdout_profile"
REPORT = "report"
FINGERPRINT = "fingerprint"

Value = TypeVar("Value", bound=BaseModel)
Profile = TypeVar("Profile", ReferenceProfile, HoldoutProfile)
LATEST = "latest"
_REPORTS: dict[str, type[BaseModel]] = {
    DRIFT: DriftReport,
    PERFORMANCE: PerformanceReport,
    MISSED: MissedFrauds,
    SKEW: ServedSkew,
    WATCH: WatchReport,
}
LOG = logging.getLogger(__name__)
_NAMES: dict[type[BaseModel], str] = {ReferenceProfile: REFERENCE_PROFILE, HoldoutProfile: HOLDOUT_PROFILE}


def profile_name(kind: type[Profile]) -> str:
    """What a kind of profile is called, in the store and among the artifacts of a run."""
    return _NAMES[kind]


def write_profile(store: Store, profile: ReferenceProfile | HoldoutProfile) -> None:
    """Keep a model's profile under its fingerprint."""
    data = profile.model_dump_json(indent=1).encode()
    store.write_document(_NAMES[type(profile)], profile.fingerprint, data)


def read_profile(store: Store, kind: type[Profile], fingerprint: str) -> Profile | None:
    """A model's profile; None means that none is kept.

    Raises:
        IntegrityError: what is kept cannot be understood.
    """
    data = store.read_document(_NAMES[kind], fingerprint)
    return parse_profile(kind, data, fingerprint) if data is not None else None


def parse_profile(kind: type[Profile], data: bytes, fingerprint: str) -> Profile:
    """A profile from its document."""
    what = f"the {_NAMES[kind]} of fingerprint {fingerprint[:12]}"
    return _parsed(kind, data, what, "train a model again; its window leaves a profile behind.")


def drift_reports(store: Store, fingerprint: str, days: Iterable[date]) -> tuple[DriftReport, ...]:
    """Drift reports about one model, oldest day first; one that cannot be read back counts as not made."""
    return tuple(report_of(record, DriftReport) for record in _about(store, DRIFT, fingerprint, days))


def drift_history(store: Store, fingerprint: str, days: Iterable[date]) -> tuple[DriftDay, ...]:
    """How far those days were from what one model has learnt from, oldest first; days without a report are left out."""
    return tuple(report.drift_day for report in drift_reports(store, fingerprint, days))


def performance_history(store: Store, days: Iterable[date]) -> tuple[PerformanceReport, ...]:
    """What the service was worth on the mature days among these, also under earlier champions, oldest first.

    A report that cannot be read back counts as not made.
    """
    return tuple(report_of(record, PerformanceReport) for record in whole_reports(store, PERFORMANCE, days).values())


def live_performance(store: Store, days: Iterable[date]) -> LivePerformance | None:
    """What the service was worth on the latest judged days, also under earlier champions; None while that is not known.

    Where the latest report cannot be read back, it is not known until that was made again: an older one says nothing
    about today.
    """
    days = list(days)
    latest = max(store.standing(PERFORMANCE, days), default=None)
    found = whole_reports(store, PERFORMANCE, days).get(latest) if latest else None
    return report_of(found, PerformanceReport).live_performance if found else None


def matured_performance(store: Store, days: Iterable[date]) -> LivePerformance | None:
    """The same on the latest mature days, where later ones were judged on labels as known; None where none were."""
    history = performance_history(store, days)
    if not history or history[-1].is_mature:
        return None
    mature = [report for report in history if report.is_mature]
    return mature[-1].live_performance if mature else None


def served_frauds(store: Store, days: Iterable[date]) -> tuple[ServedFrauds, ...]:
    """Known frauds of those days by the scores that served them, oldest first; days without a report are left out."""
    return tuple(report_of(record, MissedFrauds).served for record in whole_reports(store, MISSED, days).values())


def note_skew(store: Store, report: ServedSkew) -> None:
    """Keep a report as the latest one, unless nothing was compared on its day or there is one of a later day."""
    if not report.compared:
        return
    try:
        known = latest_skew(store)
    except IntegrityError as error:
        LOG.warning("%s", error)
        known = None
    if known is None or (report.day >= known.day and report != known):
        store.write_document(SKEW, LATEST, report.model_dump_json().encode())


def latest_skew(store: Store) -> ServedSkew | None:
    """The report of the last day whose answers were compared with the batch; None where none were.

    Raises:
        IntegrityError: it cannot be understood.
    """
    data = store.read_document(SKEW, LATEST)
    if data is None:
        return None
    return _parsed(ServedSkew, data, f"the latest {SKEW}", f"materialize {SKEW} of the last day served again.")


def whole_reports(store: Store, asset: str, days: Iterable[date]) -> dict[date, Partition]:
    """The partitions whose reports can be read back, oldest first; each other one is named in the log."""
    return {day: record for day, record in store.readable(asset, days).items() if is_whole(record)}


def report_of(record: Partition, kind: type[Value]) -> Value:
    """The report that a partition consists of."""
    what = f"{record.asset} of {record.day}"
    return _parsed(kind, record.facts.get(REPORT), what, f"materialize {record.asset} of {record.day} again.")


def is_whole(record: Partition) -> bool:
    """Whether the report of a partition can be read back; one that cannot is made again."""
    try:
        report_of(record, _REPORTS[record.kind])
    except IntegrityError as error:
        LOG.warning("%s", error)
        return False
    return True


def _about(store: Store, asset: str, fingerprint: str, days: Iterable[date]) -> list[Partition]:
    found = whole_reports(store, asset, days).values()
    return [record for record in found if record.facts.get(FINGERPRINT) == fingerprint]


def _parsed(kind: type[Value], value: object, what: str, remedy: str) -> Value:
    try:
        return kind.model_validate_json(value) if isinstance(value, bytes) else kind.model_validate(value)
    except ValidationError as error:
        raise IntegrityError(
            f"{what} was written by another version of the project or is damaged.",
            culprits=[f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)][:5],
            remedy=remedy,
        ) from error
