"""The command line in a process of its own that meets a fault.

Just before or just after one call of an adapter the process kills itself with SIGKILL (`kill`), needs more memory
than there is (`exhaust memory`), or kills the server whose process `FAULTS_SERVER` names (`stop server`). Everything
else is the product.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from fraud_retraining import cli
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.tags import ARTIFACT_DIGEST
from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.store import RECORD, Store
from fraud_retraining.commands.support.progress import RichProgress
from fraud_retraining.domain.releases.release import ReleaseState

Call = Callable[..., bool]


@dataclass(frozen=True)
class Moment:
    """Before or after the `nth` call of `owner.method` that `fits`."""

    owner: type
    method: str
    fits: Call = lambda *_, **__: True
    nth: int = 1
    after: bool = False


def record_of(asset: str) -> Call:
    return lambda _, path, data: path.startswith(f"{asset}/") and path.endswith(RECORD)


MOMENTS = {
    "before the record of an ingested day": Moment(FolderLocation, "write_bytes", record_of("transactions"), 3),
    "after the record of an ingested day": Moment(FolderLocation, "write_bytes", record_of("transactions"), 3, True),
    "before the checks of a day": Moment(Store, "annotate", nth=3),
    "before the record of entity days": Moment(FolderLocation, "write_bytes", record_of("entity_days"), 3),
    "before the record of labels": Moment(FolderLocation, "write_bytes", record_of("labels"), 2),
    "after the record of labels": Moment(FolderLocation, "write_bytes", record_of("labels"), 2, True),
    "before the record of entity label days": Moment(FolderLocation, "write_bytes", record_of("entity_label_days"), 2),
    "before the record of features": Moment(FolderLocation, "write_bytes", record_of("transaction_features"), 3),
    "in the fifth round of boosting": Moment(
        RichProgress, "advance", lambda _, task, done: (task, done) == ("fraud_model", 5)
    ),
    "before the upload is complete": Moment(
        Registry, "log_numbers", lambda *_, tags=None, **__: ARTIFACT_DIGEST in (tags or {})
    ),
    "before the second upload is complete": Moment(
        Registry, "log_numbers", lambda *_, tags=None, **__: ARTIFACT_DIGEST in (tags or {}), 2
    ),
    "after the upload": Moment(Registry, "log_model", after=True),
    "before the evaluation is recorded": Moment(Registry, "record_evaluation"),
    "before registering": Moment(Registry, "register"),
    "after registering": Moment(Registry, "register", after=True),
    "after the release is opened": Moment(Ledger, "open_release", after=True),
    "after the policy's approval": Moment(
        Ledger, "move_release", lambda _, version, to, **__: to is ReleaseState.APPROVED, after=True
    ),
    "after a reviewer's approval": Moment(Ledger, "record_decision", after=True),
    "after the intent": Moment(Ledger, "intend_promotion", after=True),
    "after the alias": Moment(Registry, "compare_and_set_champion", after=True),
    "after the outcome": Moment(Ledger, "finish_promotion", after=True),
}


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exhaust_memory() -> None:
    np.ones(2**50)


def stop_server() -> None:
    os.kill(int(os.environ["FAULTS_SERVER"]), signal.SIGKILL)


FAULTS = {"kill": kill, "exhaust memory": exhaust_memory, "stop server": stop_server}


def arm(fault: Callable[[], None], moment: Moment) -> None:
    """Makes it happen to this process at that moment."""
    call = getattr(moment.owner, moment.method)
    left = moment.nth

    def faulty(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        fits = moment.fits(*args, **kwargs)
        left -= fits
        due = fits and left == 0
        if due and not moment.after:
            fault()
        answer = call(*args, **kwargs)
        if due:
            fault()
        return answer

    setattr(moment.owner, moment.method, faulty)


PRELOADED = [
    "fraud_retraining.definitions",
    "fraud_retraining.commands.implementation.pipeline",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "sklearn.metrics",
    "xgboost",
    "matplotlib.figure",
]
"""What a command imports before it does anything that a test disturbs; none reads settings or starts a thread."""


class Command(NamedTuple):
    """A command line, and what a process that is started by hand has besides."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    out: Path
    err: Path

    def run(self, fault: str | None, moment: str | None) -> None:
        """In this process, whose environment, folder and streams it changes."""
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        for number, file in ((1, self.out), (2, self.err)):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
        sys.argv = ["fraud-retraining", *self.arguments]
        if fault and moment:
            arm(FAULTS[fault], MOMENTS[moment])
        cli.main()


def run_with(fault: str | None, moment: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own, to which that happens.

    The process is forked from one that has only imported: each would import the same libraries for seconds.
    """
    processes = get_context("forkserver")
    processes.set_forkserver_preload(PRELOADED)
    with TemporaryDirectory() as said:
        command = Command(arguments, dict(os.environ), Path.cwd(), Path(said, "out"), Path(said, "err"))
        process = processes.Process(target=command.run, args=(fault, moment))
        process.start()
        process.join(900)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"it did not end: {command.err.read_text()[-3000:]}")
        return subprocess.CompletedProcess(
            arguments, process.exitcode, command.out.read_text(), command.err.read_text()
        )


def run_killed(moment: str, *arguments: str) -> None:
    """Runs the command in a process of its own, which has to die at that moment."""
    ended = run_with("kill", moment, *arguments)
    assert ended.returncode == -signal.SIGKILL, (
        f"it was not killed: {ended.returncode}\n{ended.stdout}\n{ended.stderr[-3000:]}"
    )


def run_undisturbed(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of the command in a process of its own, to which nothing happens."""
    ended = run_with(None, None, *arguments, "--json")
    assert ended.stdout, f"{ended.returncode}\n{ended.stderr[-3000:]}"
    return ended.returncode, json.loads(ended.stdout)
