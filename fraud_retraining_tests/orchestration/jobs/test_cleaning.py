"""Retention on a real registry and a real ledger: a removal is recorded first, and no other run is disturbed."""

from collections.abc import Iterator
from copy import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.processes import this_process
from fraud_retraining.adapters.ledger.releases import NewRelease
from fraud_retraining.adapters.mlflow.logged_models import TrainingSource
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.runs import TrainedRun
from fraud_retraining.adapters.mlflow.versions import NewVersion
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.audit.retention import RetentionPolicy
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.promotion_mode import POLICY
from fraud_retraining.domain.releases.release import ReleaseState
from fraud_retraining.domain.retraining.budget import BudgetPolicy
from fraud_retraining.domain.retraining.lease_rules import Owner, Purpose
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import Busy, IntegrityError
from fraud_retraining.orchestration.jobs.cleaning import (
    build_clean_job,
    clean,
    forget_runs,
    forgettable_runs,
    removable,
)
from fraud_retraining.orchestration.names import (
    CLEAN,
)
from fraud_retraining.orchestration.resources import open_outbox
from fraud_retraining.orchestration.runs.failed_runs import notify_unreported
from fraud_retraining.orchestration.runs.resource_definitions import open_outcomes
from fraud_retraining.orchestration.runs.spending import FinishedRetrain, record_finished
from fraud_retraining.settings import LedgerPolicy, Settings
from fraud_retraining_tests.support.registries import (
    AS_OF,
    a_fingerprint,
    a_window,
    fitted,
    registry_at,
    rows,
    store_in,
)

ROOT = Path(__file__).resolve().parents[3]
WHO = {"actor": "alice", "channel": "command line"}
MOVER = {"actor": POLICY, "channel": "dagster"}
ONE_EACH = Settings(retention=RetentionPolicy(successful_runs=1, failed_runs=1, rejected_artifacts=1))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    yield registry_at(store_in(tmp_path), tmp_path / "artifacts")


def ended(ledger: Ledger, run: str, status: str) -> None:
    record_finished(ledger, BudgetPolicy(), FinishedRetrain(run, status, seconds=60, trigger="schedule", as_of=AS_OF))


def trained(registry: Registry, run: str) -> TrainedRun:
    return registry.log_model(
        registry.start_run("retrain", {"dagster_run_id": run}),
        fitted(),
        TrainingSource(a_window(), a_fingerprint()),
        example=rows().slice(0, 5),
        tags={},
    )


def candidate(ledger: Ledger, registry: Registry, number: int, came_to: ReleaseState) -> TrainedRun:
    """A version that was registered and whose release came to something."""
    run = trained(registry, f"dagster {number}")
    as_of = AS_OF + timedelta(days=number)
    version = registry.register(
        NewVersion(
            run.run_id,
            fingerprint=run.fingerprint,
            artifact_digest=run.artifact_digest,
            as_of=as_of,
            trained_on=a_window().days.training,
        )
    )
    new = NewRelease(
        version.version,
        run.fingerprint,
        as_of,
        trigger="schedule",
        artifact_digest=run.artifact_digest,
        verdict_passed=True,
    )
    ledger.open_release(new, **WHO)
    ledger.move_release(version.version, came_to, reason="as the test says", **MOVER)
    ended(ledger, f"dagster {number}", "superseded")
    return run


@pytest.fixture
def promoted_home(ledger: Ledger, registry: Registry) -> list[TrainedRun]:
    """Three candidates that never served, an approved one, and two failed retrains of which one left a model."""
    never = [candidate(ledger, registry, number, ReleaseState.SUPERSEDED) for number in (1, 2, 3)]
    approved = candidate(ledger, registry, 4, ReleaseState.APPROVED)
    refused = trained(registry, "dagster 5")
    ended(ledger, "dagster 5", "failed")
    registry.start_run("retrain", {"dagster_run_id": "dagster 6"})
    ended(ledger, "dagster 6", "failed")
    registry.start_run("retrain", {"dagster_run_id": "under way"})
    return [*never, approved, refused]


def test_what_goes_is_recorded_with_its_reason_and_gone(
    ledger: Ledger, registry: Registry, promoted_home: list[TrainedRun]
) -> None:
    first, second, third, approved, refused = promoted_home
    before = {run.run_id for run in registry.runs()}
    removed = clean(ledger, registry, ONE_EACH, **WHO)
    assert [(one.what, one.version) for one in removed] == [("artifact", 1), ("artifact", 2), ("artifact", 3)]

    events = list(ledger.events(EventKind.ARTIFACTS_REMOVED))
    assert [(event.version, event.subject, event.actor) for event in events] == [
        (number, run.run_id, "alice") for number, run in enumerate((first, second, third), start=1)
    ]
    assert all("the latest 1" in event.payload["reason"] for event in events)
    for number in (1, 2, 3):
        with pytest.raises(IntegrityError, match="removed at"):
            registry.download(number)
    registry.download(4, expected_digest=approved.artifact_digest)
    registry.load(refused.run_id, expected_digest=refused.artifact_digest)
    assert {run.run_id for run in registry.runs()} == before, "the newest failed run has no model, the other keeps its"
    assert ledger.verify().ok
    assert clean(ledger, registry, ONE_EACH, **WHO) == []


def test_failed_runs_beyond_the_latest_go_with_their_model(
    ledger: Ledger, registry: Registry, promoted_home: list[TrainedRun]
) -> None:
    refused = promoted_home[-1]
    settings = Settings(retention=RetentionPolicy(failed_runs=1, rejected_artifacts=0))
    assert ("run", refused.run_id) in [(one.what, one.run_id) for one in clean(ledger, registry, settings, **WHO)]
    left = {run.tags["dagster_run_id"] for run in registry.runs()}
    assert left == {"dagster 1", "dagster 2", "dagster 3", "dagster 4", "dagster 6", "under way"}
    event = ledger.last(EventKind.ARTIFACTS_REMOVED, subject=refused.run_id)
    assert event is not None
    assert (event.payload["what"], event.as_of) == ("run", AS_OF)


def test_looking_changes_nothing(ledger: Ledger, registry: Registry, promoted_home: list[TrainedRun]) -> None:
    head = ledger.head()
    assert len(removable(ledger, registry, ONE_EACH.retention)) == 3
    assert ledger.head() == head
    assert all(run.holds_artifact for run in registry.runs() if "fingerprint" in run.tags)


def test_nothing_goes_while_a_retrain_is_under_way(
    ledger: Ledger, registry: Registry, promoted_home: list[TrainedRun]
) -> None:
    ledger.retrain_lease().take(Owner(run_id="busy", process=this_process()), Purpose(as_of=AS_OF))
    with pytest.raises(Busy, match="busy"):
        clean(ledger, registry, ONE_EACH, **WHO)
    assert run_job(ledger, registry).success, "the job leaves it for the next time"
    assert list(ledger.events(EventKind.ARTIFACTS_REMOVED)) == []


def test_the_job_cleans_up_and_is_no_retrain(
    ledger: Ledger, registry: Registry, promoted_home: list[TrainedRun]
) -> None:
    endings = len(list(ledger.events(EventKind.RETRAIN_FINISHED)))
    assert run_job(ledger, registry).success
    assert len(list(ledger.events(EventKind.ARTIFACTS_REMOVED))) == 3
    assert len(list(ledger.events(EventKind.RETRAIN_FINISHED))) == endings
    assert ledger.retrain_lease().holder() is None


def run_job(ledger: Ledger, registry: Registry) -> dg.ExecuteInProcessResult:
    values = {"settings": ONE_EACH, "ledger": ledger, "registry": registry}
    resources = {key: dg.ResourceDefinition.hardcoded_resource(value) for key, value in values.items()}
    return build_clean_job().execute_in_process(resources=resources)


def test_a_registry_without_anything_has_nothing_to_remove(ledger: Ledger, registry: Registry) -> None:
    assert clean(ledger, registry, ONE_EACH, **WHO) == []


def test_a_clean_up_that_fails_is_reported_and_ended_by_the_next_that_passes(
    ledger: Ledger, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path / "home"))
    settings = Settings(ledger=LedgerPolicy(url=ledger._url), model={"name": ledger.model})
    outbox, instance = open_outbox(settings), dg.DagsterInstance.ephemeral()
    nowhere = Registry("http://127.0.0.1:9", "x", "x", timeout_seconds=2)

    def cleaned(with_registry: Registry) -> dg.ExecuteInProcessResult:
        there = dg.ResourceDefinition.hardcoded_resource(with_registry)
        job = build_definitions(settings, registry=there).resolve_job_def(CLEAN)
        return job.execute_in_process(instance=instance, raise_on_error=False)

    assert [cleaned(nowhere).success for _ in range(2)] == [False, False]
    causes = [event.payload["cause"] for event in ledger.events(EventKind.CLEANING_FAILED)]
    assert causes == ["dependency:clean-up"] * 2
    (open_,) = outbox.open_notices()
    assert (open_.seen, open_.notice.title) == (2, "A dependency did not answer: clean-up")
    assert notify_unreported(instance, open_outcomes(settings), datetime(2020, 1, 1, tzinfo=UTC)) == []
    assert cleaned(registry).success
    assert outbox.open_notices() == []
    assert ledger.verify().ok


@dg.op(config_schema={"fails": bool})
def worked(context: dg.OpExecutionContext) -> None:
    context.log.info("a line of the event log")
    if context.op_config["fails"]:
        raise RuntimeError("as the test says")


@dg.job(executor_def=dg.in_process_executor)
def some_work() -> None:
    worked()


def test_dagsters_history_is_forgotten_with_its_events_but_for_runs_that_the_ledger_names(
    ledger: Ledger, tmp_path: Path
) -> None:
    settings = Settings(retention=RetentionPolicy(history_days=30))
    (tmp_path / "home").mkdir()
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FRAUD_RETRAINING_HOME", str(tmp_path / "home"))
        instance = dg.DagsterInstance.from_config(str(tmp_path))
        runs = [
            some_work.execute_in_process(
                {"ops": {"worked": {"config": {"fails": fails}}}}, instance, raise_on_error=False
            ).run_id
            for fails in (False, True, False, False)
        ]
        done, failed, named, recent = runs
        told = {"dagster_run_id": named}
        ledger.append(EventKind.MODEL_TRAINED, keys=EventKeys(fingerprint="f"), payload=told, **WHO)
        # A clean-up that died after it recorded what goes: what it could not delete goes now.
        ledger.append(EventKind.RUNS_FORGOTTEN, keys=EventKeys(subject="dagster"), payload={"run_ids": [done]}, **WHO)
        with instance.run_storage.connect() as connection:
            connection.execute(
                sa.text("UPDATE runs SET start_time = start_time - :by, end_time = end_time - :by WHERE run_id != :id"),
                {"by": 31 * 86400, "id": recent},
            )
        assert forgettable_runs(instance, ledger, settings).run_ids == (done, failed)
        renamed = copy(ledger)
        renamed.model = "shared"
        assert forgettable_runs(instance, renamed, settings).run_ids == (done, failed), "other names, the same chain"
        assert forget_runs(instance, ledger, Settings(), **WHO).run_ids == (), "by default nothing goes"
        assert forget_runs(instance, ledger, settings, **WHO).run_ids == (done, failed)
        assert forget_runs(instance, ledger, settings, **WHO).run_ids == ()
        assert {run.run_id for run in instance.get_runs()} == {named, recent}
        left = {path.stem for path in (tmp_path / "home" / "history" / "runs").glob("*.db")} & set(runs)
        assert left == {named, recent}, "and their files"
        assert [bool(instance.all_logs(run)) for run in runs] == [False, False, True, True]
    _, event = ledger.events(EventKind.RUNS_FORGOTTEN)
    assert (event.payload["runs"], event.payload["run_ids"]) == (2, sorted([done, failed]))
    assert event.payload["run_ids_digest"] == digest(sorted([failed, done]))
