"""The inputs of a decision about a retrain.

Here: collecting them from ledger, lake, store and Dagster's runs. Not here: the decision
(`domain/retraining/triggers/`).
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import dagster as dg

from fraud_retraining.adapters.days.monitoring_reports import (
    drift_history,
    live_performance,
    matured_performance,
    served_frauds,
)
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.releases.release import ReleaseState
from fraud_retraining.domain.retraining.triggers.decision import begins_again, days_to_check, first_reason
from fraud_retraining.domain.retraining.triggers.drift import DriftDay, DriftRetrain
from fraud_retraining.domain.retraining.triggers.labels import ServedFrauds
from fraud_retraining.domain.retraining.triggers.performance import LivePerformance
from fraud_retraining.domain.retraining.triggers.registry import TriggerInputs, trigger_names
from fraud_retraining.domain.retraining.triggers.schedule import grid
from fraud_retraining.domain.retraining.triggers.values import Failed, Paused, Running, Trigger, Unfinished
from fraud_retraining.orchestration.names import (
    RETRAIN,
)
from fraud_retraining.orchestration.state.monitoring import recorded_serving
from fraud_retraining.orchestration.state.readiness import Readiness, Ready
from fraud_retraining.orchestration.state.sources import Sources
from fraud_retraining.orchestration.tags import as_of_day, concerns
from fraud_retraining.settings import Settings

RETRAINING = "retraining"
WATCHED_DAYS = 21
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def collect(
    sources: Sources,
    readiness: Readiness,
    instance: dg.DagsterInstance,
    now: datetime,
    grace: timedelta = timedelta(0),
) -> TriggerInputs:
    """The inputs of all triggers, as of now.

    Raises:
        DataInvalid: there is no lake.
        DependencyUnreachable: a source could not be read; then nothing is decided.
    """
    settings, ledger = sources.settings, sources.ledger
    days = answered_days(ledger)
    answered = max(days, default=None)
    # Requests by users are left out: a drift or performance trigger must not count as answered by them.
    requests = [event for event in ledger.events(EventKind.RETRAIN_REQUESTED) if event.payload.get("automatic", True)]
    left = unfinished(ledger, answered)
    found = [readiness.of(as_of) for as_of in candidate_as_of_days(sources, readiness, now)]
    watched = Watched.of(settings, ledger, sources.store, readiness.latest)
    return TriggerInputs(
        now=now,
        grace=grace,
        ready={one.as_of: one.inputs for one in found if isinstance(one, Ready)},
        unready={one.as_of: one.why for one in found if not isinstance(one, Ready)},
        pending=frozenset(one.as_of for one in found if not isinstance(one, Ready) and one.pending),
        unlabelled=frozenset(one.as_of for one in found if isinstance(one, Ready) and not one.labelled),
        last_as_of=answered,
        new_rows=readiness.rows_after(answered) if settings.triggers.new_data else 0,
        drift=watched.drift,
        last_drift=_last_drift(requests, days),
        performance=watched.performance,
        matured=watched.matured,
        last_performance=_last_answered(requests, Trigger.PERFORMANCE, days),
        label_times=settings.label_times,
        served=watched.served,
        learnt_until=watched.learnt_until,
        last_labels=_last_answered(requests, Trigger.LABELS, days),
        learns_after_days=settings.learns_after_days,
        running=running(instance, ledger, settings),
        failed=tuple(_failed(ledger, requests)),
        unfinished=left,
        paused=paused(ledger),
    )


class Watched(NamedTuple):
    """Results of monitoring: drift from the training data of the champion, live performance, and missed frauds."""

    drift: tuple[DriftDay, ...] = ()
    performance: LivePerformance | None = None
    matured: LivePerformance | None = None
    served: tuple[ServedFrauds, ...] = ()
    learnt_until: date | None = None

    @classmethod
    def of(cls, settings: Settings, ledger: Ledger, store: Store, latest: date | None) -> "Watched":
        """Drift against the ledger's champion, and what all versions that served were worth, of the latest days."""
        champion = ledger.champion()
        if champion is None or latest is None:
            return cls()
        triggers, days = settings.triggers, watched_days(settings, latest)
        serving = recorded_serving(champion, ledger) if settings.watches_missed_frauds else None
        return cls(
            drift=drift_history(store, champion.fingerprint, days) if triggers.drift else (),
            performance=live_performance(store, days) if triggers.performance else None,
            matured=matured_performance(store, days) if triggers.performance else None,
            served=served_frauds(store, days) if settings.watches_missed_frauds else (),
            learnt_until=serving.training.end if serving else None,
        )


def watched_days(settings: Settings, latest: date) -> list[date]:
    """The days up to the latest whose monitoring matters: labels of the first have had time to mature."""
    span = settings.labels.delay_days + max(
        WATCHED_DAYS, settings.triggers.drift.days[1] if settings.triggers.drift else 0
    )
    return [latest - timedelta(days=n) for n in range(span - 1, -1, -1)]


def candidate_as_of_days(sources: Sources, readiness: Readiness, now: datetime) -> list[date]:
    """As-of days that a decision may choose, oldest first: due ones, an unfinished one, and the latest.

    Where days arrive faster than they are ingested, the latest is never ready. So the last as-of day that lacks only
    features is among them; and where the latest waits for its labels, the last day that does not.

    Raises:
        DataInvalid: there is no lake, or no feed.
    """
    if readiness.latest is None:
        return []
    settings, ledger = sources.settings, sources.ledger
    answered = last_as_of(ledger)
    left = unfinished(ledger, answered)
    wanted = days_to_check(settings.triggers, answered, readiness.latest, now, readiness.settled)
    if left is not None and left.as_of <= readiness.latest:
        wanted = [*wanted, left.as_of]
    within_reach = readiness.within_reach()
    if within_reach is not None and (answered is None or within_reach > answered):
        wanted = [*wanted, within_reach, *_last_due(settings, answered, now, within_reach)]
    readiness.reach_back_to(min(wanted))
    return sorted(set(wanted))


def _last_due(settings: Settings, answered: date | None, now: datetime, until: date) -> list[date]:
    """The last as-of day of the grid that is due, up to a day; none where there is none."""
    policy = settings.triggers.schedule
    due = grid(policy, answered, now) if policy is not None and answered is not None else []
    return [day for day in due if day <= until][-1:]


def last_as_of(ledger: Ledger) -> date | None:
    """The latest as-of day with an outcome."""
    return max(answered_days(ledger), default=None)


def answered_days(ledger: Ledger) -> frozenset[date]:
    """The as-of days with an outcome: a release that was decided, or failed gates.

    A retrain whose process died has none, and is requested again.
    """
    # A version that was only registered may belong to a retrain that died before its promotion.
    halfway = {release.as_of for release in ledger.releases(ReleaseState.REGISTERED)}
    registered = {release.as_of for release in ledger.releases()} - halfway
    failed = {event.as_of for event in ledger.events(EventKind.RETRAIN_FAILED) if _is_answer(event)}
    return frozenset(as_of for as_of in registered | failed if as_of is not None)


def unfinished(ledger: Ledger, answered: date | None) -> Unfinished | None:
    """The last failed retrain, if its as-of day is after the last outcome and a new try can succeed."""
    failures = [event for event in ledger.events(EventKind.RETRAIN_FAILED) if event.as_of is not None]
    newer = [event for event in failures if answered is None or (event.as_of is not None and event.as_of > answered)]
    if not newer:
        return None
    failed = newer[-1]
    run_id = failed.payload.get("dagster_run_id")
    request = ledger.last(EventKind.RETRAIN_REQUESTED, subject=run_id) if run_id else None
    payload = request.payload if request is not None else failed.payload
    triggers = tuple(name for name in str(payload.get("trigger", "")).split("+") if name in trigger_names())
    if not triggers or not begins_again(str(failed.payload.get("category")), triggers):
        return None
    since = payload.get("drift_since")
    assert failed.as_of is not None
    return Unfinished(
        as_of=failed.as_of,
        triggers=triggers,
        reason=first_reason(str(payload.get("reason") or "")),
        cause=str(failed.payload.get("category")),
        drift_since=date.fromisoformat(since) if since else None,
    )


def paused(ledger: Ledger) -> Paused | None:
    """The pause of automatic retrains, with its cause; None while they are started."""
    last = ledger.last((EventKind.AUTOMATION_PAUSED, EventKind.AUTOMATION_RESUMED), subject=RETRAINING)
    if last is None or last.kind == EventKind.AUTOMATION_RESUMED:
        return None
    until_resumed = bool(last.payload.get("until_resumed", False))
    return Paused(
        since=last.at, cause=last.payload["cause"], inputs=last.payload["inputs"], until_resumed=until_resumed
    )


def running(instance: dg.DagsterInstance, ledger: Ledger, settings: Settings) -> Running | None:
    """The oldest retrain that is queued or running in Dagster, or one that holds the lease outside of this Dagster."""
    # Dagster first: a run that is queued holds no lease yet, and must already keep others away.
    records = instance.get_run_records(dg.RunsFilter(job_name=RETRAIN, statuses=UNFINISHED), ascending=True)
    for record in (one for one in records if concerns(one.dagster_run, settings)):
        return Running(
            as_of=as_of_day(record.dagster_run.tags),
            since=record.create_timestamp.astimezone(UTC),
            by=f"Dagster run {record.dagster_run.run_id[:8]}",
        )
    lease = ledger.retrain_lease().holder()
    if lease is None or lease.owner is None or lease.purpose.work != "retrain":
        return None
    return Running(as_of=lease.purpose.as_of, since=lease.taken_at, by=lease.owner.summary())


def _is_answer(event: Event) -> bool:
    return str(event.payload.get("kind")) == "GateFailed"


class AnsweredAsOf(NamedTuple):
    """A request, and the as-of day of the retrain that had an outcome for it."""

    request: Event
    answered: date


def answers_to(requests: Sequence[Event], trigger: str, answered: Collection[date]) -> AnsweredAsOf | None:
    """The last request of a trigger with an outcome: of the retrain of its as-of day, or of a later one."""
    for request in reversed(requests):
        # Triggers that fired together share one request.
        if request.as_of is None or trigger not in request.payload["trigger"].split("+"):
            continue
        days = [day for day in answered if day >= request.as_of]
        if days:
            return AnsweredAsOf(request, min(days))
    return None


def _last_drift(requests: Sequence[Event], answered: Collection[date]) -> DriftRetrain | None:
    found = answers_to(requests, Trigger.DRIFT, answered)
    since = found.request.payload.get("drift_since") if found is not None else None
    return DriftRetrain(as_of=found.answered, since=date.fromisoformat(since)) if found and since else None


def _last_answered(requests: Sequence[Event], trigger: Trigger, answered: Collection[date]) -> date | None:
    found = answers_to(requests, trigger, answered)
    return found.answered if found is not None else None


def _failed(ledger: Ledger, requests: Sequence[Event]) -> Iterator[Failed]:
    """Failures since automation was last resumed, with the inputs of their retrains."""
    resumed = ledger.last(EventKind.AUTOMATION_RESUMED, subject=RETRAINING)
    inputs = {event.payload.get("dagster_run_id"): event.payload.get("inputs") for event in requests}
    # A person who resumes has seen the failures before: they count no more.
    for event in ledger.events(EventKind.RETRAIN_FAILED, after=resumed.seq if resumed else 0):
        made_from = inputs.get(event.payload.get("dagster_run_id"))
        if made_from and event.as_of is not None:
            cause = str(event.payload.get("cause") or event.payload["kind"])
            yield Failed(at=event.at, as_of=event.as_of, cause=cause, inputs=made_from)
