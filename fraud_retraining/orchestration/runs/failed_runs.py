"""Runs that failed and could not record it themselves: their process was killed, or Dagster failed them from outside.

Here: finding such runs, failing the dead ones, and reading the failure from the events of a run. Not here: the
meaning of a failure and which notice it opens (`orchestration/runs/outcomes.py`), and how often sensors look
(`orchestration/sensors/alerts.py`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import dagster as dg
from dagster._core.events import JobFailureData
from dagster_shared.error import SerializableErrorInfo

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.domain.alerts.classification import WORKER_GONE
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.budget import BudgetPolicy, Ending, Spending
from fraud_retraining.domain.values.errors import DependencyUnreachable
from fraud_retraining.orchestration.runs.mlflow_run import end_abandoned
from fraud_retraining.orchestration.runs.outcomes import EndedRun, Outcomes, is_failure
from fraud_retraining.orchestration.runs.spending import record_lost
from fraud_retraining.orchestration.runs.workers import Fate, fate_of, worker_of

LOOK_BACK = timedelta(days=1)
OVERLAP = timedelta(minutes=10)
FROM_OUTSIDE = "This run has been marked as failed from outside the execution context."
# Canceling too: a run that was asked to stop and whose process died first stays so for ever.
GIVES_BACK = timedelta(seconds=10)
"""Time in which a process whose run ended gives its lease back."""
UNHEARD = timedelta(minutes=5)
"""Time after the end of its lease from which a process that cannot be seen is given up."""
ENDED_BADLY = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
STARTED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


class RecordedFailure(NamedTuple):
    """A failure in the events of a run: its step, the type names of the error, outermost first, and its message."""

    step: str | None
    kinds: tuple[str, ...]
    message: str


def looked_until(cursor: str | None, now: datetime) -> datetime:
    """Time from which failed runs are searched; a cursor from a clock that was ahead hides no run."""
    return min(datetime.fromisoformat(cursor), now) - OVERLAP if cursor else now - LOOK_BACK


def fail_dead(instance: dg.DagsterInstance, outcomes: Outcomes) -> str:
    """Fails every started run whose process is gone, and returns a summary."""
    runs = _started(instance, outcomes)
    fates = {run.run_id: fate_of(worker_of(run)) for run in runs}
    # Only what is certain: a process on another machine may be at work.
    dead = [run for run in runs if fates[run.run_id] is Fate.GONE and _fail(instance, run, outcomes)]
    unseen = [run for run in runs if fates[run.run_id] is Fate.UNKNOWN]
    found = [f"{_short(run)} was failed: {WORKER_GONE}" for run in dead]
    found += [f"{_short(run)} cannot be seen from here" for run in unseen]
    return "; ".join(found) or _alive(len(runs))


def fail_unheard(
    instance: dg.DagsterInstance, outcomes: Outcomes, ledger: Ledger, budget: BudgetPolicy, now: datetime
) -> str:
    """Fails retrains whose process cannot be seen from here and let its lease expire, and returns a summary.

    Under Dagster such a run stays started, and every other retrain waits for it. A process that lives after all has
    lost its lease with the expiry: nothing that it writes is accepted.
    """
    started = _started(instance, outcomes)
    unseen = [run for run in started if fate_of(worker_of(run)) is Fate.UNKNOWN]
    lease = ledger.retrain_lease().abandoned() if unseen else None
    found = []
    for run in unseen:
        mine = lease if lease is not None and lease.owner is not None and lease.owner.run_id == run.run_id else None
        gone = mine.expires_at if mine is not None else _lost_since(run, ledger)
        if gone is None or now - gone < UNHEARD:
            continue
        if mine is not None:
            # Its time would be missing in the budget of the month.
            record_lost(ledger, budget, mine)
        why = f"cannot be seen from here, and its lease was abandoned at {gone:%Y-%m-%d %H:%M:%S} UTC"
        found += [f"{_short(run)} was failed: its process {why}"] if _fail(instance, run, outcomes, why) else []
    return "; ".join(found)


def _started(instance: dg.DagsterInstance, outcomes: Outcomes) -> list[dg.DagsterRun]:
    return [run for run in instance.get_runs(dg.RunsFilter(statuses=STARTED)) if outcomes.concerns(run)]


def _lost_since(run: dg.DagsterRun, ledger: Ledger) -> datetime | None:
    """When another owner of the lease took the run for lost; None where none did."""
    ended = ledger.last(EventKind.RETRAIN_FINISHED, subject=run.run_id)
    return ended.at if ended is not None and Spending.model_validate(ended.payload).status == Ending.LOST else None


def fence_ended(instance: dg.DagsterInstance, ledger: Ledger, budget: BudgetPolicy, now: datetime) -> str:
    """Takes the lease from a retrain whose run was failed or canceled, and returns a summary.

    Monitoring fails a run from outside, and its process may live on: without the lease nothing that it writes is
    accepted, and the next retrain does not have to wait for it. A process that ended its run itself has a moment to
    give the lease back, and to record what it came to.
    """
    leases = ledger.retrain_lease()
    held = leases.holder()
    found = instance.get_run_record_by_id(held.owner.run_id) if held is not None and held.owner is not None else None
    if held is None or found is None or found.dagster_run.status not in ENDED_BADLY:
        return ""
    if found.end_time is not None and now - datetime.fromtimestamp(found.end_time, UTC) < GIVES_BACK:
        return ""
    run = found.dagster_run
    # Its time would be missing in the budget of the month, if the process is gone after all.
    record_lost(ledger, budget, held)
    # Nothing happens where another retrain has it by now: the token is another one.
    leases.give_back(held)
    return f"{_short(run)} has ended for Dagster, and its process lost the lease"


def close_abandoned(instance: dg.DagsterInstance, registry: Registry) -> str:
    """Ends the MLflow runs that dead processes left open, and returns a summary; while MLflow is down none is ended."""
    try:
        ended = end_abandoned(instance, registry, datetime.now(UTC))
    except DependencyUnreachable as error:
        return f"runs that are left open in MLflow stay so for now: {error.what}"
    return f"ended in MLflow: {', '.join(run_id[:8] for run_id in ended)}" if ended else ""


def _alive(runs: int) -> str:
    if runs == 0:
        return "no run is under way"
    return "1 run is under way, and its process exists" if runs == 1 else f"{runs} runs are under way, and all exist"


def _fail(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    outcomes: Outcomes,
    # The kernel's out-of-memory killer leaves no other trace than the absence of the process.
    why: str = "was killed, or ran out of memory",
) -> bool:
    """Fails a run whose process is gone, unless it ended in the meantime.

    The run is read again: between the list of runs and the look at its process it may have ended by itself.
    """
    now = instance.get_run_by_id(run.run_id)
    if now is None or now.status not in STARTED:
        return False
    if now.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(now, f"Canceled: {WORKER_GONE}.")
        return True
    worker = worker_of(run)
    message = f"{WORKER_GONE}: process {worker.pid if worker else '?'}"
    message += f" on {worker.host if worker else '?'} {why}"
    instance.report_run_failed(now, message)
    ended = EndedRun.of(now)
    if ended is not None:
        outcomes.failed_with_message(ended, (), message)
    return True


def notify_unreported(instance: dg.DagsterInstance, outcomes: Outcomes, since: datetime) -> list[str]:
    """Records each failed run since then that is not in the ledger; returns their short names."""
    found = []
    for run, ended in unreported_failures(instance, outcomes, since):
        failure = recorded_failure(instance, run)
        about = EndedRun.of(run, failure.step) or ended
        if is_failure(about, outcomes.failed_with_message(about, failure.kinds, failure.message)):
            found.append(_short(run))
    return found


def unreported_failures(
    instance: dg.DagsterInstance, outcomes: Outcomes, since: datetime
) -> Iterator[tuple[dg.DagsterRun, EndedRun]]:
    """Failed runs since then whose failure is not in the ledger."""
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    for run in instance.get_runs(failed):
        ended = EndedRun.of(run)
        if ended is not None and outcomes.concerns(run) and not outcomes.is_recorded(ended):
            yield run, ended


def recorded_failure(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RecordedFailure:
    """The failure of a run, from its events: of a step, else of the run, else the reason given when it was failed."""
    wanted = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [log.dagster_event for log in instance.all_logs(run.run_id, of_type=wanted) if log.dagster_event]
    for event in events:
        if event.is_step_failure and event.step_failure_data.error is not None:
            return _from_error(event.step_key, event.step_failure_data.error)
    ends = [event for event in events if event.is_failure and not event.is_step_failure]
    for event in ends:
        data = event.event_specific_data
        if isinstance(data, JobFailureData) and data.error is not None:
            return _from_error(None, data.error)
    return RecordedFailure(None, (), _message_from_outside(instance, run, [event.message or "" for event in ends]))


def _message_from_outside(instance: dg.DagsterInstance, run: dg.DagsterRun, ends: list[str]) -> str:
    """The reason of a run that was failed from outside: in the message of its end, or in the event before it."""
    # Dagster writes this sentence itself where it was given no reason.
    reason = next((message for message in ends if message and message != FROM_OUTSIDE), None)
    if reason is not None:
        return reason
    engine = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    return engine[-1].user_message or engine[-1].message if engine else "the run failed without a message"


def _from_error(step: str | None, error: SerializableErrorInfo) -> RecordedFailure:
    chain = list(_chain(error))
    # Dagster wraps the error of a step in errors of its own; the first that is not Dagster's has the reason.
    source = next((one for one in chain if not (one.cls_name or "").startswith("Dagster")), chain[-1])
    message = source.message.strip()
    # Dagster's text of an error begins with the name of its class, at times after that of its module.
    message = message.partition(f"{source.cls_name}: ")[2] or message
    return RecordedFailure(step, tuple(one.cls_name or "" for one in chain), message)


def _chain(error: SerializableErrorInfo | None) -> Iterator[SerializableErrorInfo]:
    while error is not None:
        yield error
        error = error.cause or error.context


def _short(run: dg.DagsterRun) -> str:
    return f"run {run.run_id[:8]} of {run.job_name}"
