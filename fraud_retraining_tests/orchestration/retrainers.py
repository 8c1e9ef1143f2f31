"""What other processes do in tests of retrains at the same time; run as `python -m`, settings from the environment.

Each does one real retrain. The progress that the assets report to is where it waits, or stops itself, at a stage.
"""

import os
import signal
import sys
import time
from datetime import date
from pathlib import Path
from uuid import uuid4

from dagster._core.errors import DagsterUserCodeExecutionError

from fraud_retraining.commands.runs import Pipeline
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.errors import RetrainingError
from fraud_retraining.domain.leases import LeasePolicy
from fraud_retraining.domain.triggers import Trigger
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.jobs import RETRAIN
from fraud_retraining.orchestration.resources import retrain_lease
from fraud_retraining.settings import load_settings

EXPIRES_SECONDS = 3.0


class Waiting:
    """Says that training began, and waits there until a file appears."""

    def __init__(self, until: Path) -> None:
        self._until = until

    def start(self, task: str, total: int) -> None:
        if task == "fraud_model" and not self._until.exists():
            say("training")
            while not self._until.exists():
                time.sleep(0.05)

    def advance(self, task: str, done: int) -> None:
        pass


class Stopping:
    """Stops the process in mid-evaluation, as a debugger, a full host or a suspended machine would."""

    def start(self, task: str, total: int) -> None:
        pass

    def advance(self, task: str, done: int) -> None:
        if task == "model_evaluation" and done == 1:
            os.kill(os.getpid(), signal.SIGSTOP)


def say(words: str) -> None:
    print(words, flush=True)


def wait(as_of: date, until: Path) -> None:
    """A retrain that waits in training."""
    say(Pipeline(load_settings(), Waiting(until)).retrain(as_of, Trigger.MANUAL).status)


def stop(as_of: date) -> None:
    """A retrain that stops itself in evaluation, with a lease that does not last long."""
    settings = load_settings()
    lease = retrain_lease(settings, LeasePolicy(expires_seconds=EXPIRES_SECONDS))
    definitions = build_definitions(settings, progress=Stopping(), retrain_lease=lease)
    try:
        definitions.resolve_job_def(RETRAIN).execute_in_process(
            instance=open_instance(), partition_key=as_of.isoformat(), run_id=str(uuid4())
        )
    except DagsterUserCodeExecutionError as error:
        raise error.user_exception from error


def main(what: str, as_of: str, *more: str) -> int:
    try:
        if what == "wait":
            wait(date.fromisoformat(as_of), Path(*more))
        else:
            stop(date.fromisoformat(as_of))
    except RetrainingError as error:
        say(f"{type(error).__name__}: {error.what}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
