"""Dagster's own queue: retrains that were clicked or backfilled wait for each other before they start."""

import time
from collections.abc import Iterator
from datetime import date, timedelta
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.execution.backfill import PartitionBackfill

from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.jobs.asset_jobs import max_runtime
from fraud_retraining.orchestration.names import (
    RETRAIN,
)
from fraud_retraining.orchestration.resources import open_ledger
from fraud_retraining.settings import Settings, load_settings
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.daemons import daemon_over, wait_until
from fraud_retraining_tests.support.project_homes import AS_OF, START, ProjectHome

AS_OF_ASSETS = ("training_window", "fraud_model", "model_evaluation", "registered_model", "production_model")


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({}, 4 * 3600),
        ({"budget": {"max_hours": 0.5}}, 1800),
        ({"budget": {"max_hours": 0.5}, "triggers": {"when_busy": "queue"}}, 3600),
    ],
    ids=["default", "shorter", "which may wait first"],
)
def test_a_retrain_that_does_not_end_by_itself_is_ended(settings: dict[str, object], seconds: int) -> None:
    built = build_definitions(Settings(**settings))
    tags = built.resolve_job_def(RETRAIN).tags
    assert int(tags["dagster/max_runtime"]) == max_runtime(Settings(**settings)) == seconds


def test_every_as_of_asset_belongs_to_the_one_pool() -> None:
    graph = build_definitions(Settings()).resolve_asset_graph()
    pools = {key.to_user_string(): graph.get(key).pools for key in graph.executable_asset_keys}
    assert {name for name, pool in pools.items() if pool} == set(AS_OF_ASSETS)
    assert {pool for names in pools.values() for pool in names} == {"retrain"}


@pytest.fixture
def instance(project: ProjectHome) -> Iterator[dg.DagsterInstance]:
    project.configure(environment="development")
    project.home.mkdir(parents=True, exist_ok=True)
    with open_instance() as opened:
        yield opened


def click(instance: dg.DagsterInstance, day: date) -> None:
    """What the UI's button does: the as-of assets of a day, without a job."""
    backfill = PartitionBackfill.from_asset_partitions(
        asset_graph=build_definitions(load_settings()).resolve_asset_graph(),
        backfill_id=uuid4().hex[:8],
        tags={},
        backfill_timestamp=time.time(),
        asset_selection=[dg.AssetKey(name) for name in AS_OF_ASSETS],
        partition_names=[day.isoformat()],
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_retrain_that_is_clicked_while_another_runs_waits_in_the_queue(
    project: ProjectHome, instance: dg.DagsterInstance
) -> None:
    days = [AS_OF - timedelta(days=1), AS_OF]
    assert run("ingest", "--from", str(START), "--to", str(AS_OF))[0] == 0

    def records() -> list[dg.RunRecord]:
        clicked = [one for one in instance.get_run_records() if "dagster/backfill" in one.dagster_run.tags]
        return sorted(clicked, key=lambda one: one.storage_id)

    click(instance, days[0])
    with daemon_over(project) as daemon:
        wait_until(lambda: [one.dagster_run.status for one in records()] == [dg.DagsterRunStatus.STARTED], daemon)
        click(instance, days[1])
        wait_until(lambda: [one.dagster_run.is_finished for one in records()] == [True, True], daemon, 900)
    first, second = records()
    assert first.end_time is not None
    assert second.start_time is not None
    assert second.start_time >= first.end_time
    ledger = open_ledger(load_settings())
    ended = list(ledger.events(EventKind.RETRAIN_FINISHED))
    assert sorted(str(event.as_of) for event in ended) == [str(day) for day in days], daemon.output()
    assert [event.payload["error"] for event in ended] == [None, None], daemon.output()
    assert list(ledger.events(EventKind.RETRAIN_SKIPPED)) == []
