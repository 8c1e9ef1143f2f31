"""A daemon that never ran or has stopped is a problem, and so is a sensor that fails again and again."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from fraud_retraining.orchestration.runs.health import SILENT_AFTER, automation_health

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as opened:
        yield opened


def beat(instance: dg.DagsterInstance, at: datetime, *, but: str = "", late: datetime | None = None) -> None:
    for kind in instance.get_required_daemon_types():
        time = late if str(kind) == but and late is not None else at
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.timestamp(), str(kind), "id", []))


def test_a_daemon_that_never_ran_is_named_as_such(instance: dg.DagsterInstance) -> None:
    assert automation_health(instance, NOW).daemon.startswith("never ran")


def test_a_daemon_with_a_recent_heartbeat_is_no_problem(instance: dg.DagsterInstance) -> None:
    beat(instance, NOW - timedelta(seconds=30))
    health = automation_health(instance, NOW)
    assert (health.daemon, health.problems) == ("at work, heard of 30 s ago", ())


def test_a_daemon_without_a_heartbeat_for_minutes_has_stopped(instance: dg.DagsterInstance) -> None:
    beat(instance, NOW - SILENT_AFTER - timedelta(seconds=1))
    health = automation_health(instance, NOW)
    assert health.daemon.startswith("stopped: last heard of 2026-11-24 11:57")
    assert health.problems == (f"the Dagster daemon {health.daemon}",)


def test_one_loop_of_the_daemon_that_stopped_is_a_daemon_that_stopped(instance: dg.DagsterInstance) -> None:
    beat(instance, NOW, but="SENSOR", late=NOW - timedelta(hours=1))
    assert automation_health(instance, NOW).daemon.startswith("stopped")


def fails_three_times(instance: dg.DagsterInstance, repository: str) -> None:
    location = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="here")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, repository), "retrain_sensor")
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
    instance.add_instigator_state(state)
    for _ in range(3):
        instance.create_tick(
            TickData(
                state.instigator_origin_id,
                state.name,
                state.instigator_type,
                TickStatus.FAILURE,
                NOW.timestamp(),
                error=SerializableErrorInfo(f"broken in {repository}", [], None),
                selector_id=state.selector_id,
            )
        )


def test_a_sensor_that_fails_is_a_problem_of_its_model_and_named_with_it(instance: dg.DagsterInstance) -> None:
    for repository in ("de", "fr"):
        fails_three_times(instance, repository)
    beat(instance, NOW)
    of_one = automation_health(instance, NOW, "de").problems
    assert of_one == ("retrain_sensor of de failed 3 times in a row: broken in de",)
    assert automation_health(instance, NOW).problems == (), "there is one model now, and no such repository"


def test_the_sensors_of_one_model_have_no_further_name(instance: dg.DagsterInstance) -> None:
    fails_three_times(instance, "__repository__")
    beat(instance, NOW)
    problems = automation_health(instance, NOW).problems
    assert problems == ("retrain_sensor failed 3 times in a row: broken in __repository__",)
