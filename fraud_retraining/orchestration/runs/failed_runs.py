"""Runs that failed and could not record it themselves: their process was killed, or Dagster failed them from outside.

Here: finding such runs, failing the dead ones, and reading the failure from the events of a run. Not here: what a
failure means and which notice it opens (`orchestration/runs/outcomes.py`), and how often sensors look
(`orchestration/sensors/alerts.py`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import dagster as dg
from dagster._core.events import JobFailureData
from dagster_shared.error import SerializableErrorInfo

from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.domain.alerts.classification import WORKER_GONE
from fraud_retraining.domain.values.errors import DependencyUnreachable
from fraud_retraining.orchestration.runs.mlflow_run import end_abandoned
from fraud_retraining.orchestration.runs.outcomes import EndedRun, Outcomes, is_failure
from fraud_retraining.orchestration.runs.workers import Fate, fate_of, worker_of

LOOK_BACK = timedelta(days=1)
OVERLAP = timedelta(minutes=10)
FROM_OUTSIDE = "This run has been marked as failed from outside the execution context."
STARTED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


class Told(NamedTuple):
    """What a run left of its failure: the step, the names of the error's types, outermost first, and its words."""

    step: str | None
    kinds: tuple[str, ...]
    words: str


def looked_until(cursor: str | None, now: datetime) -> datetime:
    """From when on to look; a clock that was ahead when the cursor was written hides nothing."""
    return min(datetime.fromisoformat(cursor), now) - OVERLAP if cursor else now - LOOK_BACK


def fail_dead(instance: dg.DagsterInstance, outcomes: Outcomes) -> str:
    """Fails every started run whose process is gone, tells of it, and says what was found."""
    runs = instance.get_runs(dg.RunsFilter(statuses=STARTED))
    fates = {run.run_id: fate_of(worker_of(run)) for run in runs}
    dead = [run for run in runs if fates[run.run_id] is Fate.GONE and _fail(instance, run, outcomes)]
    unseen = [run for run in runs if fates[run.run_id] is Fate.UNKNOWN]
    told = [f"{_short(run)} was failed: {WORKER_GONE}" for run in dead]
    told += [f"{_short(run)} cannot be seen from here" for run in unseen]
    return "; ".join(told) or _alive(len(runs))


def close_abandoned(instance: dg.DagsterInstance, registry: Registry) -> str:
    """Ends the MLflow runs that dead processes left open, and says which; a later look does what MLflow cannot now."""
    try:
        ended = end_abandoned(instance, registry, datetime.now(UTC))
    except DependencyUnreachable as error:
        return f"runs that are left open in MLflow stay so for now: {error.what}"
    return f"ended in MLflow: {', '.join(run_id[:8] for run_id in ended)}" if ended else ""


def _alive(runs: int) -> str:
    if runs == 0:
        return "no run is under way"
    return "1 run is under way, and its process lives" if runs == 1 else f"{runs} runs are under way, and all live"


def _fail(instance: dg.DagsterInstance, run: dg.DagsterRun, outcomes: Outcomes) -> bool:
    """Ends a run whose process is gone, unless it ended while we looked: a dead process writes no more."""
    now = instance.get_run_by_id(run.run_id)
    if now is None or now.status not in STARTED:
        return False
    if now.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(now, f"Canceled: {WORKER_GONE}.")
        return True
    worker = worker_of(run)
    words = f"{WORKER_GONE}: process {worker.pid if worker else '?'}"
    words += f" on {worker.host if worker else '?'} was killed, or ran out of memory"
    instance.report_run_failed(now, words)
    ended = EndedRun.of(now)
    if ended is not None:
        outcomes.failed_as_told(ended, (), words)
    return True


def notify_unreported(instance: dg.DagsterInstance, outcomes: Outcomes, since: datetime) -> list[str]:
    """Records and tells of each failed run since then that the ledger does not know of; gives their short names."""
    found = []
    for run, ended in untold(instance, outcomes, since):
        told = what_it_left(instance, run)
        about = EndedRun.of(run, told.step) or ended
        if is_failure(about, outcomes.failed_as_told(about, told.kinds, told.words)):
            found.append(_short(run))
    return found


def untold(
    instance: dg.DagsterInstance, outcomes: Outcomes, since: datetime
) -> Iterator[tuple[dg.DagsterRun, EndedRun]]:
    """Failed runs since then whose failure is not in the ledger."""
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    for run in instance.get_runs(failed):
        ended = EndedRun.of(run)
        if ended is not None and not outcomes.is_recorded(ended):
            yield run, ended


def what_it_left(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Told:
    """What the events of a failed run tell of its failure."""
    wanted = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [log.dagster_event for log in instance.all_logs(run.run_id, of_type=wanted) if log.dagster_event]
    for event in events:
        if event.is_step_failure and event.step_failure_data.error is not None:
            return _told(event.step_key, event.step_failure_data.error)
    ends = [event for event in events if event.is_failure and not event.is_step_failure]
    for event in ends:
        data = event.event_specific_data
        if isinstance(data, JobFailureData) and data.error is not None:
            return _told(None, data.error)
    return Told(None, (), _last_words(instance, run, [event.message or "" for event in ends]))


def _last_words(instance: dg.DagsterInstance, run: dg.DagsterRun, ends: list[str]) -> str:
    """Why a run was failed from outside: the event says so, or the one before it."""
    said = next((words for words in ends if words and words != FROM_OUTSIDE), None)
    if said is not None:
        return said
    engine = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    return engine[-1].user_message or engine[-1].message if engine else "the run failed and left no word"


def _told(step: str | None, error: SerializableErrorInfo) -> Told:
    chain = list(_chain(error))
    saying = next((one for one in chain if not (one.cls_name or "").startswith("Dagster")), chain[-1])
    words = saying.message.strip()
    words = words.partition(f"{saying.cls_name}: ")[2] or words
    return Told(step, tuple(one.cls_name or "" for one in chain), words)


def _chain(error: SerializableErrorInfo | None) -> Iterator[SerializableErrorInfo]:
    while error is not None:
        yield error
        error = error.cause or error.context


def _short(run: dg.DagsterRun) -> str:
    return f"run {run.run_id[:8]} of {run.job_name}"
