"""Processes that do one thing to releases and die at a named point of it, or do it at the same moment as another.

`python -m fraud_retraining_tests.adapters.mortals '{"act": "approve", "version": 2, "dies": "after the alias", ...}'`
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

POINTS: dict[str, tuple[str, str, str, int]] = {
    "before the answer": ("ledger.Ledger", "decide", "before", 1),
    "after the answer": ("ledger.Ledger", "decide", "after", 1),
    "before the intent": ("ledger.Ledger", "intend_promotion", "before", 1),
    "after the intent": ("ledger.Ledger", "intend_promotion", "after", 1),
    "after the alias": ("registry.Registry", "compare_and_set_champion", "after", 1),
    "after the outcome": ("ledger.Ledger", "finish_promotion", "after", 1),
    "after the smoke test": ("publisher.Publisher", "_tested", "after", 1),
    "before the candidate's alias": ("publisher.Publisher", "point_candidate", "before", 1),
    "after the intent of the way back": ("ledger.Ledger", "intend_promotion", "after", 2),
    "after the alias of the way back": ("registry.Registry", "compare_and_set_champion", "after", 2),
    "after the outcome of the way back": ("ledger.Ledger", "finish_promotion", "after", 2),
    "after the alias was taken away": ("registry.Registry", "compare_and_set_champion", "after", 2),
}
"""Where a process may die: class and method, before or after the call, and which call of it."""


def start(order: dict[str, Any], log: Path) -> "subprocess.Popen[bytes]":
    """A process of its own that does what it is ordered."""
    with log.open("wb") as sink:
        command = [sys.executable, "-m", "fraud_retraining_tests.adapters.mortals", json.dumps(order)]
        return subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, cwd=Path(__file__).parents[2])


def _doomed(dies: str) -> None:
    """Lets this process be killed at a point, with nothing flushed and nobody told."""
    from fraud_retraining.adapters import ledger, publisher, registry

    where, method, when, count = POINTS[dies]
    module, owner = where.split(".")
    found = getattr({"ledger": ledger, "publisher": publisher, "registry": registry}[module], owner)
    done: Callable[..., Any] = getattr(found, method)
    calls = {"left": count}

    def dying(*arguments: Any, **named: Any) -> Any:
        calls["left"] -= 1
        if when == "before" and calls["left"] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = done(*arguments, **named)
        if calls["left"] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(found, method, dying)


def main(order: dict[str, Any]) -> None:
    """Do it, once `go` exists where two have to start together; exit code and words as on the command line."""
    from fraud_retraining.adapters.ledger import Ledger
    from fraud_retraining.adapters.registry import Registry
    from fraud_retraining.adapters.release_desk import ReleaseDesk
    from fraud_retraining.adapters.release_watch import ReleaseWatch
    from fraud_retraining.domain.errors import RetrainingError
    from fraud_retraining.domain.reviewers import Identity, Proof, ReviewerPolicy

    registry = Registry(order["uri"], order["experiment"], order["model"])
    ledger = Ledger(order["ledger"], model=order["model"], patience=60)
    desk = ReleaseDesk(ledger, registry, ReviewerPolicy())
    who = Identity(name=order.get("who", "alice"), how=Proof.TOKEN)
    acts: dict[str, Callable[[], Any]] = {
        "approve": lambda: desk.approve(order["version"], who, "because", channel="cli"),
        "reject": lambda: desk.reject(order["version"], who, "because", channel="cli"),
        "rollback": lambda: desk.rollback(order["version"], who, "because", channel="cli"),
        "watch": lambda: ReleaseWatch(ledger, registry).mind_champion(),
    }
    if order.get("dies"):
        _doomed(order["dies"])
    _wait_for_go(order, ledger, registry)
    try:
        acts[order["act"]]()
    except RetrainingError as refusal:
        sys.stdout.write(f"{type(refusal).__name__}: {refusal.what}\n")
        sys.exit(refusal.exit_code)


def _wait_for_go(order: dict[str, Any], ledger: Any, registry: Any) -> None:
    """Ready to act, with everything imported and opened, until the other one is too."""
    if not order.get("go"):
        return
    import time

    import mlflow.pyfunc  # noqa: F401 (imported now, so that both act at the same moment)

    ledger.head()
    registry.champion()
    Path(order["ready"]).touch()
    while not Path(order["go"]).exists():
        time.sleep(0.005)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
