"""The next run of each job: the days to ingest or to monitor, and the retrain that a trigger requests.

Here: reading the state, calling the domain, and returning its answer as a run request or skip reason. Not here: when
that is done (`schedules.py`, `triggering.py`) and the decision itself (`domain/retraining/triggers/`).
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from fraud_retraining.adapters.days.monitoring_reports import latest_skew, live_performance
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.data.lake_layout import SetAside
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.monitoring.served_skew import ServedSkew
from fraud_retraining.domain.retraining.requesters import AUTOMATION
from fraud_retraining.domain.retraining.triggers.decision import decide
from fraud_retraining.domain.retraining.triggers.performance import LivePerformance
from fraud_retraining.domain.retraining.triggers.values import Pause, Retrain, Skip
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import DataInvalid, IntegrityError, RecordAltered, RetrainingError
from fraud_retraining.orchestration.names import (
    AS_OF_TAG,
    DECISION_TAG,
    DRIFT_TAG,
    INGEST,
    INPUTS_TAG,
    JUDGE_AGAIN,
    MONITOR,
    PRIORITY_TAG,
    RANGE_END,
    RANGE_START,
    REASON_TAG,
    RETRAIN,
    RETRAIN_PRIORITY,
    TRIGGER_TAG,
)
from fraud_retraining.orchestration.resources import ledger_of
from fraud_retraining.orchestration.runs.requests import record_decision
from fraud_retraining.orchestration.state.first_days import remember_first_day
from fraud_retraining.orchestration.state.fresh_verdicts import due_verdicts
from fraud_retraining.orchestration.state.label_use import champion_of_other_label_use
from fraud_retraining.orchestration.state.monitoring import MonitoringState, ServedBy, former_champions, serving
from fraud_retraining.orchestration.state.promotion_watch import WatchState
from fraud_retraining.orchestration.state.readiness import Readiness, Work, contiguous_ranges
from fraud_retraining.orchestration.state.sources import Sources
from fraud_retraining.orchestration.state.trigger_inputs import (
    RETRAINING,
    UNFINISHED,
    candidate_as_of_days,
    collect,
    watched_days,
)
from fraud_retraining.orchestration.tags import concerns
from fraud_retraining.settings import Settings

LOG = logging.getLogger(__name__)
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)

TickResult = dg.RunRequest | dg.SkipReason


def _ignore_set_aside(uri: str, set_aside: Sequence[SetAside]) -> None:
    """For a caller that notifies of nothing."""


def ingest_next(
    sources: Sources,
    instance: dg.DagsterInstance,
    now: datetime,
    notify_set_aside: Callable[[str, Sequence[SetAside]], None] = _ignore_set_aside,
) -> TickResult:
    """The next run of days to ingest, first those that a due retrain waits for; one run at a time.

    `notify_set_aside` gets the lake's address and its files that belong to no day. A failed run is tried again after
    growing pauses; a refused day only when it is delivered again.
    """
    # One at a time: two ingests of overlapping days would make the same partitions twice.
    under_way = instance.get_runs(dg.RunsFilter(job_name=INGEST, statuses=UNFINISHED), limit=1)
    if under_way:
        return dg.SkipReason(f"an ingest is under way: Dagster run {under_way[0].run_id[:8]}")
    reasons: list[str] = []
    try:
        listing = Readiness(sources.settings, sources.lake, sources.store).listing
    except DataInvalid as error:
        return dg.SkipReason(str(error))
    notify_set_aside(sources.lake.uri, listing.set_aside)
    failures: list[RetrainingError] = []
    for alike in models_by_days(sources):
        readiness = Readiness(alike[0].settings, sources.lake, sources.store)
        readiness.listing = listing
        candidates, asked, looked = [], False, False
        for one in alike:
            with _one_of_several(one.ledger, reasons, failures):
                candidates += candidate_as_of_days(one, readiness, now)
                asked = True
        if not asked:
            continue
        with _one_of_several(alike[0].ledger, reasons, failures):
            work = readiness.work(candidates)
            remember_first_day(sources.settings, readiness.first)
            looked = True
        if not looked:
            continue
        if work is None:
            reasons.append(_nothing_to_ingest(readiness))
            continue
        # By inputs, not by days: a day that is delivered again starts without the failures of the former files.
        tried = instance.get_run_records(dg.RunsFilter(job_name=INGEST, tags={INPUTS_TAG: work.inputs}))
        if tried and (wait := _wait(tried[0], len(tried))):
            reasons.append(f"{_days(work)} failed {len(tried)} times as they are now; the next try is {wait}")
            continue
        return _ingest(work, len(tried))
    if failures:
        raise failures[0]
    return dg.SkipReason("; ".join(dict.fromkeys(reasons)))


@contextmanager
def _one_of_several(ledger: Ledger, reasons: list[str], failures: list[RetrainingError]) -> Iterator[None]:
    """Keep what is wrong with one model: the days of the others are looked for all the same.

    A record that was altered is recorded and stops what goes on by itself.
    """
    try:
        yield
    except RecordAltered as altered:
        ledger.stop_for(altered)
        reasons.append(str(altered))
    except DataInvalid as error:
        reasons.append(str(error))
    except RetrainingError as error:
        failures.append(error)


def models_by_days(sources: Sources) -> list[list[Sources]]:
    """The sources of each model, in groups of models whose windows have the same days; one group for one model."""
    groups: dict[str, list[Sources]] = {}
    for settings in sources.settings.each_model():
        needs = [settings.window, settings.holdout, settings.judging, settings.validation.max_missing_days]
        of_model = replace(sources, settings=settings, ledger=ledger_of(sources.ledger, settings))
        groups.setdefault(digest(needs), []).append(of_model)
    return list(groups.values())


def monitor_next(sources: Sources, instance: dg.DagsterInstance) -> TickResult:
    """The next run of days to monitor, the oldest first; one run at a time, a failed one again after growing pauses."""
    if under_way := _under_way(instance, MONITOR, sources.settings):
        return dg.SkipReason(f"monitoring is under way: Dagster run {under_way.run_id[:8]}")
    try:
        champion, latest = serving(sources.ledger), max(sources.lake.days(), default=None)
    except RecordAltered as altered:
        return _stopped(sources.ledger, altered)
    except DataInvalid as error:
        return dg.SkipReason(str(error))
    if champion is None or latest is None:
        return dg.SkipReason("there is no champion yet whose days could be watched")
    if other := champion_of_other_label_use(sources.ledger, sources.settings):
        return dg.SkipReason(other)
    watched = watched_days(sources.settings, latest)
    served_by = ServedBy(champion, tuple(former_champions(sources.ledger, watched[0])))
    state = MonitoringState(sources.settings, sources.lake, sources.store, served_by, watched)
    due = _merged(state.due(), WatchState.of(state, sources.store, sources.ledger, watched).due())
    if not due:
        return dg.SkipReason(f"every ingested day up to {latest} is watched, as far as labels have matured")
    days = next(contiguous_ranges(due))
    inputs = digest([champion.fingerprint, {day.isoformat(): due[day] for day in days}])
    tried = instance.get_run_records(dg.RunsFilter(job_name=MONITOR, tags={INPUTS_TAG: inputs}))
    if tried and (wait := _wait(tried[0], len(tried))):
        return dg.SkipReason(f"{days.start} to {days.end} failed {len(tried)} times; the next try is {wait}")
    tags = {RANGE_START: days.start.isoformat(), RANGE_END: days.end.isoformat(), INPUTS_TAG: inputs}
    # Dagster never starts a second run for a key, also after a failure: the number of the attempt makes a new one.
    return dg.RunRequest(run_key=f"{inputs}:{len(tried)}", tags=tags)


def _under_way(instance: dg.DagsterInstance, job: str, settings: Settings) -> dg.DagsterRun | None:
    """A run of the job that is queued or running for the model of the settings."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED))
    return next((run for run in runs if concerns(run, settings)), None)


def _merged(*found: Mapping[date, tuple[str, ...]]) -> dict[date, tuple[str, ...]]:
    """The assets that are due by day, oldest first."""
    days = sorted({day for due in found for day in due})
    return {day: tuple(asset for due in found for asset in due.get(day, ())) for day in days}


def judge_again_next(sources: Sources, instance: dg.DagsterInstance) -> TickResult:
    """The next run that measures fresh verdicts again, of the oldest as-of day; one at a time, a failed one again
    after growing pauses."""
    if under_way := _under_way(instance, JUDGE_AGAIN, sources.settings):
        return dg.SkipReason(f"a verdict is being measured again: Dagster run {under_way.run_id[:8]}")
    try:
        due = due_verdicts(sources)
    except RecordAltered as altered:
        return _stopped(sources.ledger, altered)
    except DataInvalid as error:
        return dg.SkipReason(str(error))
    if not due.ready:
        return dg.SkipReason(due.summary)
    as_of = due.ready[0].release.as_of
    inputs = digest([as_of.isoformat(), [one.release.fingerprint for one in due.of(as_of)]])
    tried = instance.get_run_records(dg.RunsFilter(job_name=JUDGE_AGAIN, tags={INPUTS_TAG: inputs}))
    if tried and (wait := _wait(tried[0], len(tried))):
        return dg.SkipReason(f"the verdict as of {as_of} failed {len(tried)} times; the next try is {wait}")
    return dg.RunRequest(run_key=f"{inputs}:{len(tried)}", partition_key=as_of.isoformat(), tags={INPUTS_TAG: inputs})


def latest_performance(sources: Sources) -> LivePerformance | None:
    """Live performance on the latest mature days; None while no day is judged, or there is no lake."""
    try:
        latest = max(sources.lake.days(), default=None)
    except DataInvalid:
        return None
    return None if latest is None else live_performance(sources.store, watched_days(sources.settings, latest))


def latest_served(sources: Sources) -> ServedSkew | None:
    """The last day whose answers were compared with the batch; None while there is none that can be read back."""
    try:
        return latest_skew(sources.store)
    except IntegrityError as error:
        LOG.warning("%s", error)
        return None


def retrain_if_due(
    sources: Sources,
    instance: dg.DagsterInstance,
    now: datetime,
    *,
    grace: timedelta = timedelta(0),
    channel: str = AUTOMATION,
) -> TickResult:
    """The retrain that the triggers request now, or the reason for none.

    `grace` is how long a retrain that is due by schedule is left to the schedule itself; `channel` is the schedule or
    sensor that decides, for the ledger.
    """
    ledger = sources.ledger
    try:
        inputs = collect(sources, Readiness(sources.settings, sources.lake, sources.store), instance, now, grace)
    except RecordAltered as altered:
        return _stopped(ledger, altered)
    except DataInvalid as error:
        return dg.SkipReason(str(error))
    match decide(sources.settings.triggers, inputs):
        case Skip(reason=reason):
            return dg.SkipReason(reason)
        case Pause() as pause:
            _pause(ledger, pause)
            return dg.SkipReason(f"automation is paused: {pause.reason}")
        case Retrain() as wanted:
            if wanted.resumes:
                resume(ledger, actor=AUTOMATION, channel="automation", reason="the input is another one")
            request = _retrain(wanted, instance)
            # Before Dagster has the request: a run without a recorded decision would count as typed by a user.
            record_decision(request.tags[DECISION_TAG], wanted, channel, ledger)
            return request


def _stopped(ledger: Ledger, altered: RecordAltered) -> dg.SkipReason:
    """Records that the ledger was altered; no run starts."""
    ledger.stop_for(altered)
    return dg.SkipReason(str(altered))


def resume(ledger: Ledger, *, actor: str, channel: str, reason: str) -> None:
    """Resumes automation after a pause."""
    ledger.append(
        EventKind.AUTOMATION_RESUMED,
        keys=EventKeys(subject=RETRAINING),
        actor=actor,
        channel=channel,
        payload={"reason": reason},
    )


def _pause(ledger: Ledger, pause: Pause) -> None:
    ledger.append(
        EventKind.AUTOMATION_PAUSED,
        keys=EventKeys(subject=RETRAINING, as_of=pause.as_of),
        actor=AUTOMATION,
        payload={"cause": pause.cause, "inputs": pause.inputs, "reason": pause.reason},
    )


def _ingest(work: Work, attempt: int) -> dg.RunRequest:
    return dg.RunRequest(
        # A key that is only the date would drop a day that is delivered again: it holds the inputs and the attempt.
        run_key=f"{work.inputs}:{attempt}",
        tags={
            RANGE_START: work.days.start.isoformat(),
            RANGE_END: work.days.end.isoformat(),
            INPUTS_TAG: work.inputs,
        },
        asset_selection=[dg.AssetKey(name) for name in work.assets],
    )


def _retrain(wanted: Retrain, instance: dg.DagsterInstance) -> dg.RunRequest:
    attempt = instance.get_runs_count(dg.RunsFilter(job_name=RETRAIN, tags={INPUTS_TAG: wanted.inputs}))
    drift = {DRIFT_TAG: wanted.drift_since.isoformat()} if wanted.drift_since else {}
    # The run key: Dagster starts one run for it, however many daemons and ticks request it.
    decision = f"{wanted.inputs}:{attempt}"
    return dg.RunRequest(
        run_key=decision,
        partition_key=wanted.as_of.isoformat(),
        tags={
            TRIGGER_TAG: "+".join(wanted.triggers),
            AS_OF_TAG: wanted.as_of.isoformat(),
            REASON_TAG: wanted.reason,
            INPUTS_TAG: wanted.inputs,
            DECISION_TAG: decision,
            PRIORITY_TAG: RETRAIN_PRIORITY,
            **drift,
        },
    )


def _wait(last: dg.RunRecord, tries: int) -> str | None:
    """Time of the next try; None if it is due."""
    again = last.create_timestamp.astimezone(UTC) + min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT)
    return f"at {again:%H:%M:%S} UTC" if again > datetime.now(UTC) else None


def _nothing_to_ingest(readiness: Readiness) -> str:
    if readiness.latest is None:
        return "no day has arrived in the lake"
    refused = [f"{day} stays refused until it is delivered again: {why}" for day, why in readiness.refused.items()]
    return "; ".join([f"every day up to {readiness.latest} is ingested as the lake has it", *refused])


def _days(work: Work) -> str:
    days = work.days
    return str(days.start) if len(days) == 1 else f"{days.start} to {days.end}"
