"""Which process works on a run, and whether it is still there.

Here: the process's name on its run, as a tag, and what became of it. A process that was killed tells nobody: under
Dagster's default launcher its run stays started for ever. Not here: what the operating system says of a process
(`adapters/ledger/processes.py`), and what is done about a dead one (`orchestration/sensors/alerts.py`).
"""

from enum import StrEnum

import dagster as dg
from pydantic import ValidationError

from fraud_retraining.adapters.ledger.processes import has_ended, this_process
from fraud_retraining.domain.retraining.leases import Process

WORKER_TAG = "fraud_retraining/worker"


class Fate(StrEnum):
    """What became of a process."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


def worker_of(run: dg.DagsterRun) -> Process | None:
    """The process that works on a run, as the run says; None where it does not."""
    try:
        return Process.model_validate_json(run.tags.get(WORKER_TAG, ""))
    except ValidationError:
        return None


def fate_of(process: Process | None) -> Fate:
    """What became of a process; unknown where it cannot be seen from here."""
    if process is None or not process.machine or process.machine != this_process().machine:
        return Fate.UNKNOWN
    return Fate.GONE if has_ended(process) else Fate.ALIVE


@dg.resource(description="Says on the run which process works on it, so that a dead one is noticed.")
def worker(context: dg.InitResourceContext) -> Process:
    """The process that works on the run, which then bears its name."""
    here = this_process()
    if context.instance is not None and context.dagster_run is not None:
        context.instance.add_run_tags(context.dagster_run.run_id, {WORKER_TAG: here.model_dump_json()})
    return here
