"""What other processes do in tests of retrains at the same time; run as `python -m`, settings from the environment.

Each does one real retrain. The progress that the assets report to is where it waits, or stops itself, at a stage.
"""

import os
import signal
import sys
import time
from datetime import date, datetime
from pathlib import Path
from uuid import uuid4

from dagster._core.errors import DagsterUserCodeExecutionError

from fraud_retraining.adapters.ledger.leases import Leases
from fraud_retraining.commands.implementation.pipeline import Pipeline
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.retraining.lease_rules import LeasePolicy
from fraud_retraining.domain.retraining.triggers.values import Retrain, Trigger
from fraud_retraining.domain.values.errors import RetrainingError
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.names import (
    AS_OF_TAG,
    BACKFILL_TAG,
    DECISION_TAG,
    REASON_TAG,
    RETRAIN,
    TRIGGER_TAG,
)
from fraud_retraining.orchestration.resources import open_ledger
from fraud_retraining.orchestration.runs.requests import record_decision
from fraud_retraining.orchestration.runs.resource_definitions import retrain_lease
from fraud_retraining.settings import load_settings

EXPIRES_SECONDS = 3.0


class WaitingInTraining:
    """Says that training began, and waits there until a file appears."""

    def __init__(self, until: Path) -> None:
        self._until = until

    def start(self, task: str, total: int) -> None:
        if task == "fraud_model" and not self._until.exists():
            report("training")
            while not self._until.exists():
                time.sleep(0.05)

    def advance(self, task: str, done: int) -> None:
        pass


class StoppedInEvaluation:
    """Stops the process in mid-evaluation, as a debugger, a full host or a suspended machine would."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    def start(self, task: str, total: int) -> None:
        pass

    def advance(self, task: str, done: int) -> None:
        if task == "model_evaluation" and done == 1:
            # Just after a sign of life: one that is stopped while it writes it would keep SQLite's lock.
            before = self._seen_at()
            while self._seen_at() == before:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGSTOP)

    def _seen_at(self) -> datetime | None:
        holder = self._leases.holder()
        return holder.seen_at if holder else None


class KilledInTraining:
    """Kills the process in the third round of boosting, as the out-of-memory killer would."""

    def start(self, task: str, total: int) -> None:
        pass

    def advance(self, task: str, done: int) -> None:
        if (task, done) == ("fraud_model", 3):
            os.kill(os.getpid(), signal.SIGKILL)


def report(words: str) -> None:
    print(words, flush=True)


def train_when_file_appears(as_of: date, until: Path) -> None:
    """A retrain that waits in training."""
    report(Pipeline(load_settings(), WaitingInTraining(until)).retrain(as_of, Trigger.MANUAL).status)


def stop_in_evaluation(as_of: date) -> None:
    """A retrain that stops itself in evaluation, with a lease that does not last long."""
    settings = load_settings()
    policy = LeasePolicy(expires_seconds=EXPIRES_SECONDS)
    stopped = StoppedInEvaluation(open_ledger(settings).retrain_lease(policy))
    definitions = build_definitions(settings, progress=stopped, retrain_lease=retrain_lease(settings, policy))
    try:
        definitions.resolve_job_def(RETRAIN).execute_in_process(
            instance=open_instance(), partition_key=as_of.isoformat(), run_id=str(uuid4())
        )
    except DagsterUserCodeExecutionError as error:
        raise error.user_exception from error


def train_until_killed(as_of: date, trigger: Trigger) -> None:
    """A retrain that is killed while it trains: decided by automation, or requested by hand or as a backfill."""
    settings = load_settings()
    tags = {BACKFILL_TAG: "b"} if trigger is Trigger.BACKFILL else {}
    if trigger not in (Trigger.MANUAL, Trigger.BACKFILL):
        since = as_of if trigger is Trigger.DRIFT else None
        wanted = Retrain(as_of=as_of, triggers=(trigger,), reason="why", inputs="inputs", drift_since=since)
        record_decision("decision", wanted, "a test", open_ledger(settings))
        tags = {DECISION_TAG: "decision", TRIGGER_TAG: trigger.value, REASON_TAG: "why"}
    build_definitions(settings, progress=KilledInTraining()).resolve_job_def(RETRAIN).execute_in_process(
        instance=open_instance(), partition_key=as_of.isoformat(), tags={AS_OF_TAG: as_of.isoformat(), **tags}
    )


def main(what: str, as_of: str, *more: str) -> int:
    try:
        if what == "wait":
            train_when_file_appears(date.fromisoformat(as_of), Path(*more))
        elif what == "killed":
            train_until_killed(date.fromisoformat(as_of), Trigger(*more))
        else:
            stop_in_evaluation(date.fromisoformat(as_of))
    except RetrainingError as error:
        report(f"{type(error).__name__}: {error.what}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
