"""The process of a run, and whether it still exists.

Here: the process as a tag of its run, and its fate. A killed process reports nothing: under Dagster's default launcher
its run stays started for ever. Not here: reading processes from the operating system
(`adapters/ledger/processes.py`), and failing the run of a dead one (`failed_runs.py`).
"""

from enum import StrEnum

import dagster as dg
from pydantic import ValidationError

from fraud_retraining.adapters.ledger.processes import has_ended, this_process
from fraud_retraining.domain.retraining.lease_rules import Process

WORKER_TAG = "fraud_retraining/worker"


class Fate(StrEnum):
    """Whether a process still exists."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


def worker_of(run: dg.DagsterRun) -> Process | None:
    """The process in the tag of a run; None without a readable tag."""
    try:
        return Process.model_validate_json(run.tags.get(WORKER_TAG, ""))
    except ValidationError:
        return None


def fate_of(process: Process | None) -> Fate:
    """The fate of a process; unknown for one on another machine."""
    if process is None or not process.machine or process.machine != this_process().machine:
        return Fate.UNKNOWN
    return Fate.GONE if has_ended(process) else Fate.ALIVE


@dg.resource(description="Tags the run with its process, so that a dead process is detected.")
def worker(context: dg.InitResourceContext) -> Process:
    """This process, written to the tags of the run."""
    here = this_process()
    if context.instance is not None and context.dagster_run is not None:
        # Written before the first step: a process that dies in it is known already.
        context.instance.add_run_tags(context.dagster_run.run_id, {WORKER_TAG: here.model_dump_json()})
    return here
