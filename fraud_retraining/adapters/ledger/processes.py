"""Processes of this machine: which one this is, and whether another one has ended.

Here: what the operating system says. Not here: what follows from it (`domain/retraining/lease_rules.py`).
"""

import os
import socket
from functools import cache
from pathlib import Path

from fraud_retraining.domain.retraining.lease_rules import Process

PROC = Path("/proc")
STATE, START_TIME = 0, 19
ZOMBIE = "Z"


def this_process() -> Process:
    """The process that calls this."""
    pid = os.getpid()
    stat = _stat(pid)
    return Process(host=socket.gethostname(), pid=pid, machine=_machine(), started=stat[START_TIME] if stat else "")


def has_ended(process: Process) -> bool:
    """Whether it is certain that the process has ended; False where that cannot be known from here."""
    if not process.machine or process.machine != _machine():
        return False
    if not _exists(process.pid):
        return True
    stat = _stat(process.pid)
    # Another start time: the number was given to another process since.
    return stat is not None and (stat[STATE] == ZOMBIE or stat[START_TIME] != process.started)


@cache
def _machine() -> str:
    """The running system and its space of process numbers; empty where the system has no such number (not Linux)."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink(PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # The process is there; it belongs to another account.
    except PermissionError:
        return True
    return True


def _stat(pid: int) -> list[str] | None:
    """What the system counts of a process, from its state on; the name before it, in brackets, may hold anything."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
