"""A whole life of the pipeline, and with fixed evaluation days: the same on the embedded default, on S3, PostgreSQL and
MLflow's server, on Spark, and over a table of Athena.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from fraud_retraining.adapters.mlflow.model_artifact import PREFIX
from fraud_retraining.adapters.storage import athena
from fraud_retraining.orchestration.names import ENTITY_DAYS, FEATURES, TRANSACTIONS
from fraud_retraining.orchestration.resources import open_registry, open_store
from fraud_retraining.settings import load_settings
from fraud_retraining.simulation import lake_path
from fraud_retraining_tests.support.athena_server import Athena, athena_server
from fraud_retraining_tests.support.command_line import champion, ledger, retrain, run
from fraud_retraining_tests.support.company_servers import AWS, CompanyServers
from fraud_retraining_tests.support.project_homes import AS_OF, DAYS, START, ProjectHome, use_home
from fraud_retraining_tests.support.spark import needs_spark, takes_minutes

pytest_plugins = ["fraud_retraining_tests.support.company_servers", "fraud_retraining_tests.support.databases"]

USED = AS_OF - timedelta(days=8)


@dataclass
class Lake:
    """A lake that a test delivers to, in a folder or a bucket, and a home that knows nothing yet.

    `settings` are those that differ from the embedded default.
    """

    project: ProjectHome
    settings: dict[str, Any] = field(default_factory=dict)
    bucket: str = ""
    s3: Any = None

    def configure(self, **changes: Any) -> None:
        self.project.configure(**{"promotion": {"mode": "auto"}, **self.settings, **changes})

    def deliver(self, day: date, table: pa.Table) -> None:
        if self.s3 is None:
            self.project.write_day(day, table)
        else:
            buffer = BytesIO()
            pq.write_table(table, buffer)
            self.s3.put_object(Bucket=self.bucket, Key=f"lake/{lake_path(day)}", Body=buffer.getvalue())

    def remove(self, day: date) -> None:
        if self.s3 is None:
            self.project.day_file(day).unlink()
        else:
            self.s3.delete_object(Bucket=self.bucket, Key=f"lake/{lake_path(day)}")


def on_spark(project: ProjectHome) -> Lake:
    """The embedded default, but for Spark, which makes the days."""
    few = {"spark.sql.shuffle.partitions": "4"}
    return Lake(project, {"engine": {"kind": "spark", "master": "local[2]", "config": few}})


def on_servers(project: ProjectHome, servers: CompanyServers) -> Lake:
    """Lake and store in a bucket, Dagster's storage and the ledger in PostgreSQL, models with MLflow's server.

    MLflow wants a name and a password.
    """
    client = boto3.client("s3", endpoint_url=servers.s3_endpoint, region_name="us-east-1")
    bucket = new_bucket(client)
    for file in project.lake.rglob("*.parquet"):
        client.upload_file(str(file), bucket, f"lake/{file.relative_to(project.lake)}")
    shutil.rmtree(project.lake)
    s3 = {"endpoint": servers.s3_endpoint, "region": "us-east-1"}
    homes = {"lake": {"uri": f"s3://{bucket}/lake", "s3": s3}, "store": {"uri": f"s3://{bucket}/store"}}
    return Lake(project, homes, bucket, client)


def on_athena(project: ProjectHome, server: Athena, address: str, s3_endpoint: str) -> Lake:
    """The embedded default, but for the lake: a table of Athena over the same files."""
    athena._LISTED.clear()
    server.tables["payments", "transactions"] = project.lake
    table = {
        "kind": "athena",
        "uri": None,
        "database": "payments",
        "table": "transactions",
        "output": f"s3://{new_bucket(server.s3)}/out",
        "endpoint": address,
        "poll_seconds": 0.01,
        "listing_keep_seconds": 0,
        "s3": {"endpoint": s3_endpoint, "region": "us-east-1"},
    }
    return Lake(project, {"lake": table})


def new_bucket(client: Any) -> str:
    """The name of a new, empty bucket."""
    name = f"payments-{uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["embedded", "servers", pytest.param("spark", marks=takes_minutes), "athena"])
def lake(request: pytest.FixtureRequest, project: ProjectHome, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """The small lake in a folder, with SQLite for everything; and the same on the parts of a company."""
    with ExitStack() as stack:
        if request.param == "servers":
            servers: CompanyServers = request.getfixturevalue("company_servers")
            for name, value in servers.environment().items():
                monkeypatch.setenv(name, value)
            delivered = on_servers(project, servers)
        elif request.param == "athena":
            for name, value in AWS.items():
                monkeypatch.setenv(name, value)
            endpoint: str = request.getfixturevalue("s3_endpoint")
            address, server = stack.enter_context(athena_server(endpoint))
            delivered = on_athena(project, server, address, endpoint)
        else:
            delivered = on_spark(project) if request.param == "spark" else Lake(project)
        delivered.configure()
        yield delivered


def raised_amount(table: pa.Table) -> pa.Table:
    position = table.schema.get_field_index("TX_AMOUNT")
    return table.set_column(position, "TX_AMOUNT", pc.add(table["TX_AMOUNT"], 1.0))


def model_of(version: int) -> bytes:
    """The booster of a version."""
    return open_registry(load_settings()).download(version)[f"{PREFIX}model.ubj"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_history_of_retrains(lake: Lake, small_lake: Path) -> None:
    # A name of its own: the tests of this module share MLflow's server.
    lake.configure(model={"name": "of_a_history"}, mlflow={"experiment": "of-a-history"})
    code, first, _ = retrain()
    assert (code, first["status"], first["model_version"]) == (0, "promoted", 1)
    assert first["window"]["missing_days"] == []

    shutil.rmtree(lake.project.home / "cache", ignore_errors=True)
    code, again, _ = retrain()
    assert (code, again["status"], again["fingerprint"]) == (0, "already_trained", first["fingerprint"])

    code, later, _ = retrain(AS_OF + timedelta(days=2))
    assert code in (0, 4), later
    assert later["metrics"]["champion"] is not None

    table = pq.ParquetFile(small_lake / lake_path(USED)).read()
    lake.deliver(USED, raised_amount(table))
    code, changed, _ = retrain()
    assert changed["fingerprint"] != first["fingerprint"]
    assert str(USED) in {event.subject for event in ledger().events("day_changed")}
    assert run("status")[1]["not_reproducible"]["1"] == f"day {USED} was rewritten"

    lake.remove(USED)
    before = champion()
    code, refused, _ = retrain()
    assert (code, refused["status"]) == (3, "data_invalid")
    assert "missing_days" in str(refused["error"])
    assert champion() == before
    assert ledger().verify().ok


def digests() -> dict[tuple[str, date], str]:
    """Of every day that the store of these settings holds; a digest is that of all values, to the last bit."""
    store = open_store(load_settings())
    days = [START + timedelta(days=number) for number in range(DAYS)]
    return {
        (asset, day): record.digest
        for asset in (TRANSACTIONS, ENTITY_DAYS, FEATURES)
        for day, record in store.partitions(asset, days).items()
    }


def require_empty_home(lake: Lake) -> None:
    """What lies on servers does not lie in the home as well."""
    assert set(open_store(load_settings()).partitions(FEATURES, [USED, AS_OF])) == {USED}
    keys = lake.s3.list_objects_v2(Bucket=lake.bucket, Prefix="store/transaction_features/")["KeyCount"]
    assert keys >= 2 * 12
    left = {path.relative_to(lake.project.home).parts[0] for path in lake.project.home.rglob("*") if path.is_file()}
    assert not left & {"store", "mlflow.db", "mlartifacts", "ledger.db", "history", "schedules"}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("lake", ["servers", pytest.param("spark", marks=needs_spark), "athena"], indirect=True)
def test_they_give_the_same_days_and_model_as_the_embedded_default(
    lake: Lake, promoted_home: ProjectHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, answer, _ = retrain()
    assert answer["status"] == "promoted"
    days, model = digests(), model_of(1)
    if lake.s3 is not None:
        require_empty_home(lake)
    use_home(promoted_home, monkeypatch)
    assert answer["fingerprint"] == retrain()[1]["fingerprint"]
    assert days == digests()
    assert len({day for _, day in days}) >= 12
    assert model_of(1) == model


FIXED = {"start": str(START + timedelta(days=1)), "end": str(START + timedelta(days=3))}
"""Days before everything that training as of `AS_OF` reads: a change there can only change what judges."""


class TestFixedEvaluationDays:
    @pytest.mark.slow
    def test_they_judge_candidate_and_champion_and_the_gate_reads_them(self, project: ProjectHome) -> None:
        project.configure(promotion={"mode": "auto"}, holdout={"fixed": FIXED})
        code, first, _ = retrain()
        assert (code, first["status"]) == (0, "promoted"), first
        assert first["metrics"]["fixed_candidate"]["average_precision"] > 0.05
        assert first["metrics"]["fixed_champion"] is None
        gate = next(one for one in first["gates"] if one["name"] == "fixed_no_regression")
        assert (gate["passed"], gate["applicable"]) == (True, False)
        assert "no champion" in gate["message"]

        project.configure(
            promotion={"mode": "auto"},
            holdout={"fixed": FIXED},
            model={"params": {"n_estimators": 1, "max_depth": 1}},
            gates={"max_unproven_regression": 0.01, "max_slice_regression": 1.0},
        )
        before = champion()
        code, weak, _ = retrain(AS_OF + timedelta(days=1))
        assert (code, weak["status"]) == (4, "gate_failed")
        both = weak["metrics"]["fixed_candidate"], weak["metrics"]["fixed_champion"]
        assert both[1] == first["metrics"]["fixed_candidate"]
        assert both[0]["average_precision"] < both[1]["average_precision"]
        gate = next(one for one in weak["gates"] if one["name"] == "fixed_no_regression")
        assert (gate["passed"], gate["applicable"]) == (False, True)
        assert champion() == before
        logged = MlflowClient(load_settings().tracking_uri).get_run(weak["mlflow_run_id"]).data.metrics
        assert logged["fixed.average_precision"] == both[0]["average_precision"]
        assert logged["fixed_champion.average_precision"] == both[1]["average_precision"]

    @pytest.mark.slow
    def test_no_model_learns_from_them(self, project: ProjectHome) -> None:
        project.configure(promotion={"mode": "auto"}, holdout={"fixed": FIXED})
        first = retrain()[1]
        day = date.fromisoformat(FIXED["start"])
        table = project.read_day(day)
        position = table.schema.get_field_index("TX_FRAUD")
        labels = [1 - label if n % 40 == 0 else label for n, label in enumerate(table["TX_FRAUD"].to_pylist())]
        project.write_day(day, table.set_column(position, "TX_FRAUD", pa.array(labels, pa.int8())))

        second = retrain()[1]
        assert second["fingerprint"] != first["fingerprint"]
        fixed = [answer["metrics"]["fixed_candidate"]["average_precision"] for answer in (first, second)]
        assert fixed[0] != fixed[1]
        assert second["metrics"]["candidate"] == first["metrics"]["candidate"]
        assert model_of(second["model_version"]) == model_of(first["model_version"])

    def test_a_window_that_would_learn_from_them_is_refused(self, project: ProjectHome) -> None:
        touching = {"start": str(AS_OF - timedelta(days=13)), "end": str(AS_OF - timedelta(days=12))}
        project.configure(holdout={"fixed": touching})
        code, answer, _ = retrain()
        assert code == 2
        assert "overlap the training window" in answer["error"]["message"]
        assert champion() is None
