"""Processes that do one thing to releases and die at a named point of it, or meet a user who moves the alias there,
or do it at the same moment as another.

They are forked by a server that has imported everything and opened nothing: each is a process of its own within a
moment, though MLflow takes seconds to import.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.domain.releases.reviewers import Identity, Proof, ReviewerPolicy
from fraud_retraining.domain.values.errors import RetrainingError
from fraud_retraining.services.approvals import ReleaseApprovals
from fraud_retraining.services.promotion import Promoter
from fraud_retraining.services.release_watch import ReleaseWatch

PRELOADED = ["mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store", "xgboost", "sqlalchemy", "alembic", __name__]

POINTS: dict[str, tuple[type, str, str, int]] = {
    "before the answer": (Ledger, "record_decision", "before", 1),
    "after the answer": (Ledger, "record_decision", "after", 1),
    "before the intent": (Ledger, "intend_promotion", "before", 1),
    "after the intent": (Ledger, "intend_promotion", "after", 1),
    "after the alias": (Registry, "compare_and_set_champion", "after", 1),
    "after the outcome": (Ledger, "finish_promotion", "after", 1),
    "after the smoke test": (Promoter, "_tested", "after", 1),
    "before the candidate's alias": (Promoter, "point_candidate", "before", 1),
    "after the intent of the way back": (Ledger, "intend_promotion", "after", 2),
    "after the alias of the way back": (Registry, "compare_and_set_champion", "after", 2),
    "after the outcome of the way back": (Ledger, "finish_promotion", "after", 2),
    "after the alias was taken away": (Registry, "compare_and_set_champion", "after", 2),
}
"""Where a process may die: class and method, before or after the call, and which call of it."""

MEDDLING: dict[str, tuple[type, str, str, int]] = {
    **POINTS,
    "before the alias": (Registry, "compare_and_set_champion", "before", 1),
    "between looking and setting": (Registry, "_point", "before", 1),
    "between setting and looking again": (Registry, "_point", "after", 1),
    "before the outcome is judged": (Promoter, "_judged", "before", 1),
}
"""Where a user may move the alias meanwhile; not all of them are reached when no user does."""


def start(order: dict[str, Any], log: Path) -> BaseProcess:
    """A process of its own that does what it is ordered."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=decide, args=(order, str(log)))
    process.start()
    return process


def _at(point: tuple[type, str, str, int], happens: Callable[[], None]) -> None:
    """Lets something happen to this process at a point."""
    owner, method, when, count = point
    done: Callable[..., Any] = getattr(owner, method)
    calls = {"left": count}

    def disturbed(*arguments: Any, **named: Any) -> Any:
        calls["left"] -= 1
        due = calls["left"] == 0
        if due and when == "before":
            happens()
        answer = done(*arguments, **named)
        if due and when == "after":
            happens()
        return answer

    setattr(owner, method, disturbed)


def _kill() -> None:
    """Die with nothing flushed and nothing reported."""
    os.kill(os.getpid(), signal.SIGKILL)


def _meddle(order: dict[str, Any], versions: list[int]) -> None:
    """Move the alias as a user of MLflow's own UI does."""
    from mlflow import MlflowClient

    for version in versions:
        MlflowClient(order["uri"], order["uri"]).set_registered_model_alias(order["model"], "champion", str(version))
        sys.stdout.write(f"a user moved the alias to version {version}\n")


def decide(order: dict[str, Any], log: str) -> None:
    """Do it, once `go` exists where two have to start together; exit code and words as on the command line."""
    # The server that forks has the environment of its first test.
    os.environ.update(order.get("environment", {}))
    sys.stdout = sys.stderr = open(log, "w", buffering=1)  # noqa: SIM115 (until the process ends)
    there = Registry(order["uri"], order["experiment"], order["model"])
    record = Ledger(order["ledger"], model=order["model"], patience=60)
    approvals = ReleaseApprovals(record, there, ReviewerPolicy())
    who = Identity(name=order.get("who", "alice"), how=Proof.TOKEN)
    acts: dict[str, Callable[[], Any]] = {
        "approve": lambda: approvals.approve(order["version"], who, "because", channel="cli"),
        "reject": lambda: approvals.reject(order["version"], who, "because", channel="cli"),
        "rollback": lambda: approvals.rollback(order["version"], who, "because", channel="cli"),
        "watch": lambda: ReleaseWatch(record, there, ReviewerPolicy()).check_champion(),
        "expire": lambda: ReleaseWatch(record, there, ReviewerPolicy()).check_deadlines(),
    }
    for point, versions in order.get("meddling", {}).items():
        _at(MEDDLING[point], partial(_meddle, order, versions))
    if order.get("dies"):
        _at(POINTS[order["dies"]], _kill)
    _wait_for_go(order, record, there)
    try:
        acts[order["act"]]()
    except RetrainingError as refusal:
        sys.stdout.write(f"{type(refusal).__name__}: {refusal.what}\n")
        sys.exit(refusal.exit_code)


def _wait_for_go(order: dict[str, Any], record: Ledger, there: Registry) -> None:
    """Ready to act, with everything opened, until the other one is too."""
    if not order.get("go"):
        return
    record.head()
    there.champion()
    Path(order["ready"]).touch()
    while not Path(order["go"]).exists():
        time.sleep(0.005)
    while order.get("not_before") and record.now().isoformat() < order["not_before"]:
        time.sleep(0.001)
