"""Several processes that do the same work, kept running: one that ends is replaced.

Not here: the work (`scores_server.py`).
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from fraud_retraining.commands.support.logs import set_up_logging

LOG = logging.getLogger("fraud_retraining.scores")
LEAST_SECONDS = 1.0
"""A worker that ends sooner is replaced after this time: it would only end again."""
STOP_SECONDS = 30.0


def run_processes(count: int, work: Callable[..., None], *arguments: Any) -> None:
    """Run workers until this process is interrupted or terminated; then they are terminated, and waited for.

    Workers are started anew, not forked: libraries with threads of their own do not survive a fork. `work` and its
    arguments are pickled. A worker whose parent was killed ends too.
    """
    ending = threading.Event()
    former = {number: signal.signal(number, lambda *_: ending.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    workers: list[BaseProcess] = []
    try:
        workers = [_started(work, arguments) for _ in range(count)]
        while not ending.is_set():
            wait([one.sentinel for one in workers], timeout=0.2)
            ended = [one for one in workers if not one.is_alive()]
            if not ended or ending.is_set():
                continue
            for one in ended:
                LOG.error("worker %s ended with %s, and is replaced", one.pid, one.exitcode)
                workers.remove(one)
            ending.wait(LEAST_SECONDS if any(one.exitcode for one in ended) else 0)
            workers += [_started(work, arguments) for _ in ended]
    finally:
        _stop(workers)
        for number, handler in former.items():
            signal.signal(number, handler)


def _started(work: Callable[..., None], arguments: tuple[Any, ...]) -> BaseProcess:
    process = get_context("spawn").Process(target=_work, args=(work, arguments))
    process.start()
    return process


def _work(work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # Ctrl-C reaches the whole group; the parent says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_up_logging(verbose=False)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work(*arguments)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _stop(workers: list[BaseProcess]) -> None:
    for one in workers:
        one.terminate()
    until = time.monotonic() + STOP_SECONDS
    for one in workers:
        one.join(max(0.0, until - time.monotonic()))
        with suppress(ValueError):
            one.kill()
