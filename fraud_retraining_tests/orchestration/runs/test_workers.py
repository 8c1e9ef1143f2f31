"""A process that was killed is noticed, and nothing that lives, or cannot be seen, is taken for dead."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.processes import this_process
from fraud_retraining.domain.alerts.classification import WORKER_GONE
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.budget import BudgetPolicy
from fraud_retraining.domain.retraining.lease_rules import LeasePolicy, Owner, Purpose
from fraud_retraining.orchestration.resources import open_ledger, open_outbox
from fraud_retraining.orchestration.runs.failed_runs import (
    UNHEARD,
    fail_dead,
    fail_unheard,
    fence_ended,
    notify_unreported,
)
from fraud_retraining.orchestration.runs.resource_definitions import open_outcomes
from fraud_retraining.orchestration.runs.spending import record_lost
from fraud_retraining.orchestration.runs.workers import WORKER_TAG, Fate, fate_of, worker_of
from fraud_retraining.settings import Settings, load_settings
from fraud_retraining_tests.support.project_homes import ProjectHome, use_home

RUN = """
import sys, time
from pathlib import Path
import dagster as dg
from fraud_retraining.orchestration.runs.outcomes import HOOKS
from fraud_retraining.orchestration.runs.resource_definitions import build_resources
from fraud_retraining.settings import load_settings

days = dg.DailyPartitionsDefinition("2024-02-01", end_date="2024-03-01")

@dg.asset(partitions_def=days)
def training_window():
    Path(sys.argv[2]).touch()
    time.sleep(60)

retrain = dg.define_asset_job("retrain", selection="*", hooks=HOOKS, executor_def=dg.in_process_executor)
definitions = dg.Definitions(assets=[training_window], jobs=[retrain], resources=build_resources(load_settings()))
with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
    definitions.resolve_job_def("retrain").execute_in_process(instance=instance, partition_key="2024-02-23")
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_this_process_exists() -> None:
    assert fate_of(this_process()) is Fate.ALIVE


def test_a_stopped_process_exists_and_a_killed_one_is_gone_even_before_its_parent_notices(
    sleeper: subprocess.Popen[bytes],
) -> None:
    started = Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()[19]
    process = this_process().model_copy(update={"pid": sleeper.pid, "started": started})
    os.kill(sleeper.pid, signal.SIGSTOP)
    assert fate_of(process) is Fate.ALIVE
    os.kill(sleeper.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while fate_of(process) is Fate.ALIVE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert fate_of(process) is Fate.GONE
    sleeper.wait()
    assert fate_of(process) is Fate.GONE


def test_another_process_with_the_same_number_is_not_taken_for_it() -> None:
    assert fate_of(this_process().model_copy(update={"started": "1"})) is Fate.GONE


def test_what_works_elsewhere_or_says_nothing_is_not_judged() -> None:
    elsewhere = this_process().model_copy(update={"machine": "another", "pid": 1, "started": "1"})
    assert fate_of(elsewhere) is Fate.UNKNOWN
    assert fate_of(None) is Fate.UNKNOWN


@pytest.mark.parametrize("tags", [{}, {WORKER_TAG: ""}, {WORKER_TAG: "7"}, {WORKER_TAG: '{"pid": 7}'}])
def test_a_run_without_a_process_on_it_has_none(tags: dict[str, str]) -> None:
    assert worker_of(dg.DagsterRun(job_name="retrain", tags=tags)) is None


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    project = ProjectHome(tmp_path)
    project.configure()
    use_home(project, monkeypatch)
    return load_settings()


def test_a_run_whose_process_was_killed_is_failed_and_reported_once(tmp_path: Path, settings: Settings) -> None:
    at_work = tmp_path / "at work"
    (tmp_path / "dagster").mkdir()
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path / "dagster"), str(at_work)])
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        outcomes = open_outcomes(settings)
        try:
            while not at_work.exists():
                assert process.poll() is None
                time.sleep(0.05)
            assert fail_dead(instance, outcomes) == "1 run is under way, and its process exists"
        finally:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.STARTED
        assert WORKER_GONE in fail_dead(instance, outcomes)
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.FAILURE
        assert str(process.pid) in run.tags[WORKER_TAG]
        assert fail_dead(instance, outcomes) == "no run is under way"
        assert notify_unreported(instance, outcomes, datetime.now(UTC) - timedelta(hours=1)) == []
    (event,) = open_ledger(settings).events(EventKind.RETRAIN_FAILED)
    assert (event.payload["category"], event.payload["cause"]) == ("worker_died", "worker_died:as-of 2024-02-23")
    (known,) = open_outbox(settings).open_notices()
    assert (known.notice.severity, known.seen) == ("critical", 1)


def test_a_run_that_died_while_it_was_being_canceled_is_canceled(settings: Settings) -> None:
    instance = dg.DagsterInstance.ephemeral()

    @dg.op
    def nothing() -> None: ...

    @dg.job
    def retrain() -> None:
        nothing()

    gone = this_process().model_copy(update={"started": "1"})
    run = instance.create_run_for_job(retrain, tags={WORKER_TAG: gone.model_dump_json()})
    instance.report_run_canceling(run)
    assert WORKER_GONE in fail_dead(instance, open_outcomes(settings))
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.CANCELED]


@dg.job
def retrain() -> None:
    """A job whose runs are executed nowhere."""


@pytest.mark.parametrize(("ending", "loses"), [("failed", True), ("canceled", True), (None, False)])
def test_a_run_that_dagster_ended_loses_the_lease_which_its_process_still_holds(
    tmp_path: Path, ending: str | None, loses: bool
) -> None:
    ledger, instance = Ledger(f"sqlite:///{tmp_path}/ledger.db"), dg.DagsterInstance.ephemeral()
    run = instance.create_run_for_job(retrain)
    leases = ledger.retrain_lease()
    leases.take(Owner(run_id=run.run_id, process=this_process()), Purpose(trigger="schedule"))
    if ending is not None:
        getattr(instance, f"report_run_{ending}")(run, "as the test says")
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert bool(fence_ended(instance, ledger, BudgetPolicy(), later)) is loses
    assert (leases.holder() is None) is loses


def test_a_clean_up_keeps_its_lease(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledger.retrain_lease().take(Owner(run_id="clean 1", process=this_process()), Purpose(work="clean"))
    assert fence_ended(dg.DagsterInstance.ephemeral(), ledger, BudgetPolicy(), datetime.now(UTC)) == ""
    assert ledger.retrain_lease().holder() is not None


@pytest.mark.parametrize(
    ("elsewhere", "silence", "taken", "failed"),
    [
        (True, UNHEARD, False, True),
        (True, UNHEARD / 2, False, False),
        (False, UNHEARD, False, False),
        (True, UNHEARD, True, True),
    ],
    ids=["unseen and silent", "silent for a moment", "stopped, and seen here", "a clean-up took the lease"],
)
def test_a_retrain_that_cannot_be_seen_is_failed_once_its_lease_was_abandoned_for_minutes(
    settings: Settings, elsewhere: bool, silence: timedelta, taken: bool, failed: bool
) -> None:
    ledger, instance = open_ledger(settings), dg.DagsterInstance.ephemeral()
    process = this_process().model_copy(update={"machine": "another"} if elsewhere else {})
    run = instance.create_run_for_job(retrain, tags={WORKER_TAG: process.model_dump_json()})
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", retrain.name), run.run_id)
    leases = ledger.retrain_lease()
    leases.policy = LeasePolicy(expires_seconds=0.01)
    lease = leases.take(Owner(run_id=run.run_id, process=process), Purpose(trigger="schedule"))
    time.sleep(0.05)
    if taken:
        record_lost(ledger, BudgetPolicy(), lease)
        leases.take(Owner(run_id="clean 1", process=this_process()), Purpose(work="clean"))
    outcomes, now = open_outcomes(settings), lease.expires_at + silence + timedelta(seconds=1)
    assert bool(fail_unheard(instance, outcomes, ledger, BudgetPolicy(), now)) is failed
    assert [one.is_failure_or_canceled for one in instance.get_runs()] == [failed]
    assert len(list(ledger.events((EventKind.RETRAIN_FINISHED, EventKind.RETRAIN_FAILED)))) == 2 * failed
    assert fail_unheard(instance, outcomes, ledger, BudgetPolicy(), now) == ""
