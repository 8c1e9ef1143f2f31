"""Where days are made by a Spark job of a service instead of by this process: Amazon EMR Serverless, or AWS Glue.

Here: the settings of such a job. Not here: starting and watching it (`adapters/storage/spark_jobs.py`), and what it
does (`orchestration/assets/days_job.py`).
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fraud_retraining.domain.values.base import Policy
from fraud_retraining.domain.values.redaction import redact


class JobPolicy(Policy):
    """What jobs of every service have in common."""

    bucket: str = Field(
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        description="S3 bucket through which Dagster Pipes talks to the job; a lifecycle rule should empty it.",
    )
    deadline_minutes: int = Field(
        120,
        ge=5,
        le=1440,
        description="Longest that a job may take, waiting for capacity included; then it is stopped.",
    )
    poll_seconds: float = Field(10, gt=0, le=300, description="Time between two looks at a job that runs.")
    endpoint: str | None = Field(None, description="Endpoint of another server that speaks the service's protocol.")


class EmrServerlessPolicy(JobPolicy):
    """An application of Amazon EMR Serverless that runs the days."""

    kind: Literal["emr_serverless"] = "emr_serverless"
    application: str = Field(pattern=r"^[0-9a-z]{1,64}$", description="Id of the application, of type Spark.")
    role: str = Field(pattern=r"^arn:\S+:role/\S+$", description="ARN of the role that the job runs as.")
    entry_point: str = Field(
        pattern=r"^(s3|local)://\S+\.py$",
        description="Where a copy of deploy/spark/days_job.py lies: s3:// or local://.",
    )
    spark_parameters: str = Field(
        "", max_length=10_000, description="Further parameters of spark-submit, such as --conf name=value; no secrets."
    )

    @field_validator("spark_parameters")
    @classmethod
    def _without_secrets(cls, parameters: str) -> str:
        if redact(parameters) != parameters:
            raise ValueError("it holds a secret: leave it to the role of the job")
        return parameters


class GluePolicy(JobPolicy):
    """A job of AWS Glue, defined there, that runs the days."""

    kind: Literal["glue"] = "glue"
    job: str = Field(
        min_length=1, max_length=255, description="Name of the job, whose script is deploy/spark/days_job.py."
    )


SubmitPolicy = Annotated[EmrServerlessPolicy | GluePolicy, Field(discriminator="kind")]
