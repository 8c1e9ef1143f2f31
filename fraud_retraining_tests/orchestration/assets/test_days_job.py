"""The Spark job that makes days, as a process: started by a service, reporting over S3, committing in the store."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple
from uuid import uuid4

import boto3
import pyarrow.parquet as pq
import pytest

from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.names import ENTITY_DAYS, FEATURES, SPARK_JOB_TAG, TRANSACTIONS
from fraud_retraining.orchestration.resources import open_store
from fraud_retraining.settings import load_settings
from fraud_retraining.simulation import lake_path
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.company_servers import AWS
from fraud_retraining_tests.support.job_services import SCRIPT, Jobs, job_server
from fraud_retraining_tests.support.project_homes import START, ProjectHome
from fraud_retraining_tests.support.spark import takes_minutes

DAYS = [START, START + timedelta(days=1)]
INGEST = ("ingest", "--from", str(DAYS[0]), "--to", str(DAYS[1]))


class Company(NamedTuple):
    """A lake of two days in a bucket, a store beside it, and the services that run jobs."""

    project: ProjectHome
    jobs: Jobs
    s3: Any
    bucket: str
    address: str

    def submit(self, **kind: Any) -> None:
        common = {"bucket": self.bucket, "poll_seconds": 0.2, "endpoint": self.address}
        self.configure(engine={"kind": "spark", "submit": {**common, **kind}})

    def configure(self, **changes: Any) -> None:
        places = {
            "lake": {"uri": f"s3://{self.bucket}/lake", "s3": {"endpoint": self.jobs.s3_endpoint}},
            "store": {"uri": f"s3://{self.bucket}/store"},
            "retries": {"attempts": 1},
        }
        self.project.configure(**{**places, **changes})

    def deliver(self, day: date, file: Path) -> None:
        self.s3.upload_file(str(file), self.bucket, f"lake/{lake_path(day)}")

    def digests(self) -> dict[tuple[str, date], str]:
        store = open_store(load_settings())
        found = {asset: store.partitions(asset, DAYS) for asset in (TRANSACTIONS, ENTITY_DAYS, FEATURES)}
        return {(asset, day): one.digest for asset, days in found.items() for day, one in days.items()}

    def listed(self) -> list[str]:
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]]


@pytest.fixture
def company(
    project: ProjectHome, small_lake: Path, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Company]:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    s3 = boto3.client("s3", endpoint_url=s3_endpoint)
    bucket = f"payments-{uuid4().hex[:12]}"
    s3.create_bucket(Bucket=bucket)
    jobs = Jobs(tmp_path, s3_endpoint)
    with job_server(jobs) as address:
        made = Company(project, jobs, s3, bucket, address)
        for day in DAYS:
            made.deliver(day, small_lake / lake_path(day))
        yield made


EMR = {
    "kind": "emr_serverless",
    "application": "00fabc",
    "role": "arn:aws:iam::123456789012:role/days",
    "entry_point": "s3://code/days_job.py",
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@takes_minutes
def test_jobs_of_both_services_make_the_days_that_duckdb_makes(company: Company) -> None:
    company.configure(store={"uri": f"s3://{company.bucket}/by_duckdb"})
    assert run(*INGEST)[0] == 0
    expected = company.digests()

    company.submit(**EMR)
    company.jobs.goes_wrong = ["the driver dies"]
    code, answer, _ = run(*INGEST)
    assert code == 7
    assert f"has not made transactions of {DAYS[0]} to {DAYS[1]}" in str(answer["error"])
    assert company.digests() == {}

    code, answer, err = run(*INGEST)
    assert code == 0, f"{answer} {err} {_logs(company.jobs)}"
    assert company.digests() == expected
    assert len(company.jobs.started) == 1 + 3

    # Other bytes of the same rows: only transactions are made again.
    table = company.project.read_day(DAYS[0])
    pq.write_table(table, company.project.day_file(DAYS[0]), compression="gzip")
    company.deliver(DAYS[0], company.project.day_file(DAYS[0]))
    company.submit(kind="glue", job="days")
    code, answer, err = run(*INGEST)
    assert code == 0, f"{answer} {err} {_logs(company.jobs)}"
    assert company.digests() == expected
    assert [given["JobName"] for given in company.jobs.started[4:]] == ["days"]
    assert run(*INGEST)[0] == 0
    assert len(company.jobs.started) == 5
    assert not [key for key in company.listed() if key.endswith("context.json")]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_ingest_that_is_interrupted_cancels_its_job_whose_id_its_run_names(company: Company) -> None:
    company.submit(**EMR)
    company.jobs.runs_processes = False
    with (company.project.folder / "ingest.log").open("wb") as log:
        ingest = subprocess.Popen([sys.executable, "-m", "fraud_retraining.cli", *INGEST], stdout=log, stderr=log)
    try:
        while not company.jobs.started:
            assert ingest.poll() is None
            sleep(0.1)
        assert company.jobs.cancelled == []
        ingest.send_signal(signal.SIGINT)
        assert ingest.wait(120) != 0
    finally:
        ingest.kill()
        ingest.wait()
    (given,) = company.jobs.started
    with open_instance() as instance:
        interrupted = instance.get_run_by_id(given["tags"]["dagster/run-id"])
    assert interrupted is not None
    assert [interrupted.tags[f"{SPARK_JOB_TAG}_{TRANSACTIONS}"]] == company.jobs.cancelled


def test_the_script_says_that_a_step_of_dagster_starts_it() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "started by a step of Dagster" in done.stderr


def _logs(jobs: Jobs) -> str:
    return "\n".join(file.read_text()[-2000:] for file in jobs.folder.glob("*.log"))
