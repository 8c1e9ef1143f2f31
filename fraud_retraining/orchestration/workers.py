"""Which process works on a run, and whether it is still there.

Here: the process's name for itself, put on its run as a tag, and looking it up again. A process that was killed tells
nobody: under Dagster's default launcher its run stays started for ever. Not here: what is done about it
(`orchestration/alert_sensors.py`).
"""

import os
import socket
from enum import StrEnum
from pathlib import Path

import dagster as dg
from pydantic import ValidationError

from fraud_retraining.domain.schemas import Policy

WORKER_TAG = "fraud_retraining/worker"
PROC = Path("/proc")
ZOMBIE = ("Z", "X")


class Fate(StrEnum):
    """What became of a process."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


class Worker(Policy):
    """A process, so described that another one with its number is not taken for it.

    `boot` and `space` name the start of the machine and the space of process numbers, `since` when the process started
    in ticks after that; they are empty where the operating system does not tell.
    """

    host: str
    boot: str
    space: str
    pid: int
    since: str


def this_process() -> Worker:
    """The process that asks."""
    pid = os.getpid()
    return Worker(host=socket.gethostname(), boot=_boot(), space=_space(), pid=pid, since=_stat(pid)[1])


def fate_of(tag: str | None) -> Fate:
    """What became of the process that a tag names; unknown where it cannot be seen from here."""
    try:
        worker = Worker.model_validate_json(tag or "")
    except ValidationError:
        return Fate.UNKNOWN
    here = this_process()
    if (worker.host, worker.boot, worker.space) != (here.host, here.boot, here.space):
        return Fate.UNKNOWN
    return _fate(worker)


def _fate(worker: Worker) -> Fate:
    if not worker.since:
        return Fate.ALIVE if _answers(worker.pid) else Fate.GONE
    state, since = _stat(worker.pid)
    return Fate.ALIVE if since == worker.since and state not in ZOMBIE else Fate.GONE


def _stat(pid: int) -> tuple[str, str]:
    """State and start of a process, as Linux tells them; empty where there is none, or no Linux."""
    try:
        told = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return "", ""
    fields = told.rpartition(")")[2].split()
    return fields[0], fields[19]


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _boot() -> str:
    file = PROC / "sys/kernel/random/boot_id"
    return file.read_text().strip() if file.exists() else ""


def _space() -> str:
    file = PROC / "self/ns/pid"
    return os.readlink(file) if os.path.lexists(file) else ""


@dg.resource(description="Says on the run which process works on it, so that a dead one is noticed.")
def worker(context: dg.InitResourceContext) -> Worker:
    """The process that works on the run, which then bears its name."""
    here = this_process()
    if context.instance is not None and context.dagster_run is not None:
        context.instance.add_run_tags(context.dagster_run.run_id, {WORKER_TAG: here.model_dump_json()})
    return here
