"""Spark jobs of Amazon EMR Serverless and AWS Glue: started, watched until they end, and cancelled.

Here: the calls of the two services, and how long a job is waited for. Not here: what a job does and how it reports
(`orchestration/assets/days_job.py`). The clients of dagster-aws do the same, but wait without a deadline, and leave the
job running when a look at it fails.
"""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from fraud_retraining.domain.data.submit_policy import EmrServerlessPolicy, GluePolicy, JobPolicy
from fraud_retraining.domain.values.errors import DependencyUnreachable, SettingsError

NAME = "fraud_retraining-days"
FAILED_LOOKS = 10
"""Looks at a job in a row that may fail, each with the attempts of its client; then it is cancelled."""
_REFUSED = {"AccessDeniedException", "ValidationException", "InvalidInputException", "EntityNotFoundException"}
_REFUSED |= {"ResourceNotFoundException", "UnrecognizedClientException"}


_SPARK_4 = re.compile(r"emr-spark-([89]|\d\d)|Glue ([6-9]|\d\d)\.")


class JobState(NamedTuple):
    """What a service says of a job: its state by the service's name, whether it ended, and how."""

    name: str
    ended: bool
    succeeded: bool
    reason: str = ""


class JobService(Protocol):
    """A service that runs the script `deploy/spark/days_job.py` on Spark."""

    name: str

    @property
    def policy(self) -> JobPolicy:
        """How long its jobs may take, and how often they are looked at."""

    def release(self) -> str:
        """What jobs run on, by the service's name."""

    def start(self, arguments: Mapping[str, str], tags: Mapping[str, str]) -> str:
        """Starts a job with arguments of its command line; gives its id."""

    def state(self, job: str) -> JobState:
        """How a job stands."""

    def cancel(self, job: str) -> None:
        """Asks the service to stop a job."""


class EmrServerlessJobs:
    """Job runs of an application of EMR Serverless; `client` is boto3's of `emr-serverless`."""

    name = "EMR Serverless"

    def __init__(self, policy: EmrServerlessPolicy, client: Any) -> None:
        self.policy: EmrServerlessPolicy = policy
        self._client = client

    def release(self) -> str:
        """The release of the application, such as `emr-spark-8.0.0`."""
        application = self._client.get_application(applicationId=self.policy.application)["application"]
        return str(application["releaseLabel"])

    def start(self, arguments: Mapping[str, str], tags: Mapping[str, str]) -> str:
        """Starts a job run; boto3 adds the token that keeps a repeated call from starting a second one."""
        submit: dict[str, Any] = {
            "entryPoint": self.policy.entry_point,
            "entryPointArguments": [part for pair in arguments.items() for part in pair],
        }
        if self.policy.spark_parameters:
            submit["sparkSubmitParameters"] = self.policy.spark_parameters
        answer = self._client.start_job_run(
            applicationId=self.policy.application,
            executionRoleArn=self.policy.role,
            name=NAME,
            jobDriver={"sparkSubmit": submit},
            executionTimeoutMinutes=self.policy.deadline_minutes,
            tags=dict(tags),
        )
        return str(answer["jobRunId"])

    def state(self, job: str) -> JobState:
        """The state of a job run."""
        run = self._client.get_job_run(applicationId=self.policy.application, jobRunId=job)["jobRun"]
        name = run["state"]
        return JobState(name, name in {"SUCCESS", "FAILED", "CANCELLED"}, name == "SUCCESS", run["stateDetails"])

    def cancel(self, job: str) -> None:
        """Cancels a job run."""
        self._client.cancel_job_run(applicationId=self.policy.application, jobRunId=job)


class GlueJobs:
    """Runs of a job of Glue; `client` is boto3's of `glue`."""

    name = "Glue"

    def __init__(self, policy: GluePolicy, client: Any) -> None:
        self.policy: GluePolicy = policy
        self._client = client

    def release(self) -> str:
        """The version of Glue that the job asks for, such as `Glue 6.0`."""
        return f"Glue {self._client.get_job(JobName=self.policy.job)['Job'].get('GlueVersion', '')}"

    def start(self, arguments: Mapping[str, str], tags: Mapping[str, str]) -> str:
        """Starts a run of the job; runs of Glue have no tags."""
        answer = self._client.start_job_run(
            JobName=self.policy.job, Arguments=dict(arguments), Timeout=self.policy.deadline_minutes
        )
        return str(answer["JobRunId"])

    def state(self, job: str) -> JobState:
        """The state of a run."""
        run = self._client.get_job_run(JobName=self.policy.job, RunId=job)["JobRun"]
        name = run["JobRunState"]
        ended = {"SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT", "ERROR", "EXPIRED"}
        return JobState(name, name in ended, name == "SUCCEEDED", run.get("ErrorMessage", ""))

    def cancel(self, job: str) -> None:
        """Stops a run."""
        self._client.batch_stop_job_run(JobName=self.policy.job, JobRunIds=[job])


def checked_release(service: JobService) -> str:
    """What jobs run on, as a service says it.

    Raises:
        SettingsError: the service knows no such job or application, forbids the look, or brings no Spark 4.
        DependencyUnreachable: it does not answer.
    """
    try:
        release = service.release()
    except (BotoCoreError, ClientError) as error:
        raise _refusal(service, "does not tell what the job runs on", error) from error
    if not _SPARK_4.match(release):
        raise SettingsError(
            f"engine.submit needs Spark 4, and jobs would run on {release or 'an unknown release'}",
            remedy="EMR Serverless brings it with emr-spark-8.0, Glue with 6.0.",
        )
    return f"{service.name} runs jobs on {release}"


def run_job(
    service: JobService,
    arguments: Mapping[str, str],
    tags: Mapping[str, str],
    started: Callable[[str], None] = lambda job: None,
) -> None:
    """Run a job to its end; whatever ends the waiting before, an interruption included, cancels the job.

    Parameters:
        service: runs it.
        arguments: of the script's command line.
        tags: of the job, where the service has tags.
        started: gets the id of the job.

    Raises:
        SettingsError: the service refused to start it.
        DependencyUnreachable: it failed, took longer than its deadline, or could not be seen any more.
    """
    policy = service.policy
    try:
        job = service.start(arguments, tags)
    except (BotoCoreError, ClientError) as error:
        raise _refusal(service, "did not start the job", error) from error
    try:
        started(job)
        state = _ended(service, job, time.monotonic() + 60 * policy.deadline_minutes)
    # An interruption by Dagster is no Exception.
    except BaseException:
        with suppress(BotoCoreError, ClientError):
            service.cancel(job)
        raise
    if not state.succeeded:
        raise DependencyUnreachable(
            f"the job {job} of {service.name} ended as {state.name}",
            culprits=[state.reason] if state.reason else [],
            remedy="its log says more; days that it committed stand, and the next attempt makes the others.",
        )


def _ended(service: JobService, job: str, deadline: float) -> JobState:
    failed = 0
    while True:
        try:
            state = service.state(job)
        except (BotoCoreError, ClientError) as error:
            failed += 1
            if failed >= FAILED_LOOKS:
                raise DependencyUnreachable(
                    f"{service.name} does not say any more how the job {job} stands", culprits=[str(error)]
                ) from error
        else:
            failed = 0
            if state.ended:
                return state
        if time.monotonic() > deadline:
            raise DependencyUnreachable(
                f"the job {job} of {service.name} took longer than {service.policy.deadline_minutes} minutes",
                remedy="it was cancelled; give it more workers, fewer days a run, or a longer "
                "engine.submit.deadline_minutes.",
            )
        time.sleep(service.policy.poll_seconds)


def _refusal(service: JobService, what: str, error: Exception) -> SettingsError | DependencyUnreachable:
    code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
    kind = SettingsError if code in _REFUSED else DependencyUnreachable
    remedy = "look at engine.submit, and at the permissions of this process."
    return kind(f"{service.name} {what}", culprits=[str(error)], remedy=remedy if kind is SettingsError else "")
