"""Jobs of EMR Serverless and Glue: started with a deadline, watched, and cancelled by whatever ends the waiting."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from fraud_retraining.adapters.storage import spark_jobs
from fraud_retraining.adapters.storage.spark_jobs import (
    EmrServerlessJobs,
    GlueJobs,
    JobService,
    checked_release,
    run_job,
)
from fraud_retraining.domain.data.submit_policy import EmrServerlessPolicy, GluePolicy
from fraud_retraining.domain.values.errors import DependencyUnreachable, SettingsError
from fraud_retraining_tests.support.company_servers import AWS
from fraud_retraining_tests.support.job_services import Jobs, job_server

ARGUMENTS = {"--dagster-pipes-context": "abc", "--dagster-pipes-messages": "def"}
TAGS = {"dagster/run-id": "1234"}
COMMON: dict[str, Any] = {"bucket": "messages", "deadline_minutes": 5, "poll_seconds": 0.01}
Service = tuple[JobService, Jobs]


@pytest.fixture(params=["emr_serverless", "glue"])
def service(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service whose jobs say what the test wants."""
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    jobs = Jobs(tmp_path, runs_processes=False)
    with job_server(jobs) as address:
        once = Config(retries={"total_max_attempts": 1})
        client = boto3.client(request.param.replace("_", "-"), endpoint_url=address, config=once)
        if request.param == "glue":
            yield GlueJobs(GluePolicy(job="days", **COMMON), client), jobs
        else:
            policy = EmrServerlessPolicy(
                application="00fabc",
                role="arn:aws:iam::123456789012:role/days",
                entry_point="s3://code/days_job.py",
                spark_parameters="--conf spark.executor.memory=8g",
                **COMMON,
            )
            yield EmrServerlessJobs(policy, client), jobs


def says(jobs: Jobs, state: str) -> Callable[[str], None]:
    def started(job: str) -> None:
        jobs.states[job] = state

    return started


def test_a_job_gets_its_arguments_tags_and_a_deadline_of_the_service_itself(service: Service) -> None:
    runner, jobs = service
    run_job(runner, ARGUMENTS, TAGS, says(jobs, "SUCCESS"))
    (given,) = jobs.started
    if isinstance(runner, GlueJobs):
        assert given == {"JobName": "days", "Arguments": ARGUMENTS, "Timeout": 5}
    else:
        assert (given["tags"], given["executionTimeoutMinutes"]) == (TAGS, 5)
        assert given["clientToken"]
        assert given["jobDriver"]["sparkSubmit"] == {
            "entryPoint": "s3://code/days_job.py",
            "entryPointArguments": [part for pair in ARGUMENTS.items() for part in pair],
            "sparkSubmitParameters": "--conf spark.executor.memory=8g",
        }
    assert jobs.cancelled == []


def test_a_job_that_failed_is_an_outage_with_the_reason_of_the_service(service: Service) -> None:
    runner, jobs = service
    with pytest.raises(DependencyUnreachable, match=r"ended as FAILED[\s\S]*(logs|SystemExit)"):
        run_job(runner, ARGUMENTS, TAGS, says(jobs, "FAILED"))


def test_a_job_that_takes_too_long_is_cancelled(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, jobs = service
    clock = iter(range(0, 10_000, 120))
    monkeypatch.setattr(spark_jobs.time, "monotonic", lambda: next(clock))
    with pytest.raises(DependencyUnreachable, match="longer than 5 minutes"):
        run_job(runner, ARGUMENTS, TAGS)
    assert len(jobs.cancelled) == 1


def test_an_interrupted_run_cancels_its_job(service: Service) -> None:
    runner, jobs = service

    def interrupted(job: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(runner, ARGUMENTS, TAGS, interrupted)
    assert len(jobs.cancelled) == 1


def test_looks_that_fail_are_tried_again_and_then_the_job_is_cancelled(service: Service) -> None:
    runner, jobs = service

    def started(failing: int, job: str) -> None:
        jobs.states[job] = "SUCCESS"
        jobs.goes_wrong = ["no answer"] * failing

    run_job(runner, ARGUMENTS, TAGS, lambda job: started(spark_jobs.FAILED_LOOKS - 1, job))
    assert jobs.cancelled == []
    with pytest.raises(DependencyUnreachable, match="does not say any more"):
        run_job(runner, ARGUMENTS, TAGS, lambda job: started(spark_jobs.FAILED_LOOKS, job))
    assert len(jobs.cancelled) == 1


def test_a_start_that_is_refused_is_a_matter_of_settings_and_another_failure_is_none(service: Service) -> None:
    runner, jobs = service
    jobs.goes_wrong = ["denied", "no answer"]
    with pytest.raises(SettingsError, match="did not start"):
        run_job(runner, ARGUMENTS, TAGS)
    with pytest.raises(DependencyUnreachable, match="did not start"):
        run_job(runner, ARGUMENTS, TAGS)
    assert jobs.started == []


def test_a_service_without_spark_4_or_without_the_job_is_told_before_a_run(service: Service) -> None:
    runner, jobs = service
    old, new = ("5.1", "6.0") if isinstance(runner, GlueJobs) else ("emr-7.12.0", "emr-spark-8.0.0")
    jobs.release = new
    assert checked_release(runner).endswith(new)
    jobs.release = old
    with pytest.raises(SettingsError, match=f"needs Spark 4.*{old}"):
        checked_release(runner)
    jobs.goes_wrong = ["denied", "no answer"]
    with pytest.raises(SettingsError, match="does not tell"):
        checked_release(runner)
    with pytest.raises(DependencyUnreachable, match="does not tell"):
        checked_release(runner)
