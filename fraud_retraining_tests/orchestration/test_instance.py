"""Failures of the storage under the home folder are reported as such, in every wrapping error."""

import errno
import inspect
import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest
from dagster._daemon.run_coordinator import queued_run_coordinator_daemon
from dagster._grpc import client
from xgboost.core import XGBoostError

from fraud_retraining.orchestration.instance import machine_failure, open_instance, storage_revisions


def raised(error: BaseException, cause: BaseException | None) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("cause", [OSError(errno.ENOSPC, "full"), sqlite3.OperationalError("disk I/O error")])
def test_a_full_or_broken_disk_is_found_behind_other_errors(cause: BaseException) -> None:
    reported = machine_failure(raised(RuntimeError("a step failed"), raised(ValueError("bad"), cause)))
    assert reported is not None
    assert str(cause) in str(reported)


@pytest.mark.parametrize(
    "cause",
    [
        MemoryError("too much"),
        pa.lib.ArrowMemoryError("malloc of size 7232 failed"),
        XGBoostError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
    ],
)
def test_memory_that_runs_out_is_reported_as_such_by_every_library(cause: BaseException) -> None:
    reported = machine_failure(raised(RuntimeError("a step failed"), cause))
    assert reported is not None
    assert (reported.exit_code, reported.what) == (7, "there is not enough memory")


def test_any_other_failure_is_left_alone_even_where_errors_cause_each_other() -> None:
    inner, outer = KeyError("a bug"), RuntimeError("a step failed")
    raised(inner, raised(outer, inner))
    assert machine_failure(outer) is None


def test_a_launch_that_a_slow_code_server_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path / "home"))
    with open_instance() as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert (queue.max_user_code_failure_retries, queue.user_code_failure_retry_delay) == (5, 60)
    source = inspect.getsource(queued_run_coordinator_daemon)
    assert "failed to reach the user code server" in source, (
        "`domain/alerts/classification.py` knows Dagster's words for it"
    )
    assert "User code server request timed out" in inspect.getsource(client)


def test_revisions_of_the_storage_are_read_without_making_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(home))
    assert storage_revisions() is None
    assert not home.exists()
    open_instance()
    found = storage_revisions()
    assert found is not None and set(found) == {"runs", "events", "schedules"}
    assert all(there == wanted for there, wanted in found.values())
