"""Outages are tried again within the run; bad data, failed gates and bugs are not."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.alerts.failures import RetryPolicy
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable, GateFailed
from fraud_retraining.orchestration.runs.step_retries import attempted, pause, retried
from fraud_retraining.settings import Settings

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
QUICK = Settings(retries=RetryPolicy(delay_seconds=0.01))


def job(*assets: Any, checks: Any = ()) -> dg.JobDefinition:
    definitions = dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[dg.define_asset_job("all")],
        resources={"settings": dg.ResourceDefinition.hardcoded_resource(QUICK)},
        executor=dg.in_process_executor,
    )
    return definitions.resolve_job_def("all")


def failing(times: int, error: Exception) -> tuple[dg.AssetsDefinition, list[int]]:
    """An asset that fails so often, and the attempts that it has seen."""
    attempts: list[int] = []

    @dg.asset
    @retried
    def model(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> int:
        attempts.append(context.op_execution_context.retry_number)
        if len(attempts) <= times:
            raise error
        return 1

    return model, attempts


@pytest.mark.parametrize("times", [1, 2])
def test_an_outage_is_survived(times: int) -> None:
    asset, attempts = failing(times, DependencyUnreachable("MLflow does not answer"))
    assert job(asset).execute_in_process(run_config=QUIET).success
    assert attempts == list(range(times + 1))


@pytest.mark.parametrize("raising", [True, False], ids=["raised to the caller", "as the daemon runs it"])
def test_the_third_attempt_fails_with_the_original_error(raising: bool) -> None:
    asset, attempts = failing(9, DependencyUnreachable("MLflow does not answer"))
    if raising:
        with pytest.raises(DependencyUnreachable, match="does not answer"):
            job(asset).execute_in_process(run_config=QUIET)
    else:
        done = job(asset).execute_in_process(run_config=QUIET, raise_on_error=False)
        assert not done.success
        assert "DependencyUnreachable" in str(done.filter_events(lambda event: event.is_step_failure))
    assert len(attempts) == 3


@pytest.mark.parametrize(
    "error",
    [DataInvalid("no rows"), GateFailed("worse"), KeyError("a bug"), ValueError("timed out, says a bug")],
    ids=lambda error: type(error).__name__,
)
def test_what_does_not_pass_by_itself_is_not_tried_again(error: Exception) -> None:
    asset, attempts = failing(9, error)
    with pytest.raises(type(error)):
        job(asset).execute_in_process(run_config=QUIET)
    assert attempts == [0]


def test_an_asset_that_yields_is_tried_again_too() -> None:
    attempts: list[int] = []

    @dg.asset
    @retried
    def day(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> Iterator[dg.MaterializeResult]:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionResetError("by peer")
        yield dg.MaterializeResult(metadata={"attempts": len(attempts)})

    done = job(day).execute_in_process(run_config=QUIET)
    assert done.success
    assert len(attempts) == 2


def test_a_blocking_check_that_failed_is_not_tried_again_but_one_that_could_not_look_is() -> None:
    asset, _ = failing(0, KeyError())
    looks: list[str] = []

    @dg.multi_asset_check(specs=[dg.AssetCheckSpec("good", asset=asset, blocking=True)])
    @retried
    def checks(
        context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.AssetCheckResult]:
        looks.append("look")
        if len(looks) == 1:
            raise TimeoutError("the store")
        yield dg.AssetCheckResult(asset_key="model", check_name="good", passed=False)

    done = job(asset, checks=[checks]).execute_in_process(run_config=QUIET, raise_on_error=False)
    assert not done.success
    assert len(looks) == 2


def test_every_asset_and_check_of_the_project_is_tried_again() -> None:
    repository = build_definitions(Settings()).get_repository_def()
    graph = repository.asset_graph
    computed = {definition.node_def.name: definition.op for definition in repository.assets_defs_by_key.values()
                if definition.is_executable}  # fmt: skip
    computed |= {c.node_def.name: c.op for c in repository.asset_checks_defs_by_key.values()}
    assert len(computed) >= len(graph.executable_asset_keys)
    bare = [name for name, op in computed.items() if not hasattr(op.compute_fn.decorated_fn, "__wrapped__")]
    assert not bare, f"without @retried: {bare}"


def test_pauses_grow_and_differ() -> None:
    policy = RetryPolicy(delay_seconds=10)
    first, second = ([pause(policy, attempt) for _ in range(50)] for attempt in (1, 2))
    assert 0 <= min(first) < max(first) <= 20 <= min(second) < max(second) <= 40
    assert len(set(first)) > 10


def test_what_comes_before_the_first_step_is_tried_again_as_well() -> None:
    import logging

    attempts: list[int] = []

    def connect() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionRefusedError("not yet")
        return "connected"

    assert attempted(connect, QUICK.retries, logging.getLogger("test")) == "connected"
    with pytest.raises(KeyError):
        attempted(lambda: {}["bug"], QUICK.retries, logging.getLogger("test"))


@pytest.mark.parametrize("policy", [dg.RetryPolicy(max_retries=1), None], ids=["Dagster's RetryPolicy", "none"])
def test_dagster_retries_an_interrupted_step_that_has_a_policy(policy: dg.RetryPolicy | None) -> None:
    """The reason why the policy is not set on the assets: a run that a user terminates must not start again."""
    from dagster._utils.interrupts import capture_interrupts

    attempts: list[int] = []

    @dg.asset(retry_policy=policy)
    def model() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            time.sleep(5)

    with capture_interrupts():
        done = job(model).execute_in_process(run_config=QUIET, raise_on_error=False)
    assert done.success is (policy is not None)
