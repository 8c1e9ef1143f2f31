"""The first day of a lake: of the settings, of a folder, or of a remote lake without delaying the load."""

import socket
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from uuid import uuid4

import pytest

from fraud_retraining.orchestration.partitions import DEFAULT_FIRST_DAY
from fraud_retraining.orchestration.state import first_days
from fraud_retraining.orchestration.state.first_days import first_day_of_lake, remember_first_day
from fraud_retraining.settings import Settings


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def lake_at(name: str, endpoint: str) -> Settings:
    return Settings(lake={"uri": f"s3://{name}/lake", "s3": {"endpoint": endpoint, "region": "eu-central-1"}})


def test_a_remote_lake_begins_on_the_day_that_was_last_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path))
    monkeypatch.setattr(first_days, "LISTING_SECONDS", 0.2)
    here, there = (lake_at(name, silent) for name in ("here", "there"))
    assert first_day_of_lake(here) == DEFAULT_FIRST_DAY
    remember_first_day(here, date(2024, 3, 1))
    assert (first_day_of_lake(here), first_day_of_lake(there)) == (date(2024, 3, 1), DEFAULT_FIRST_DAY)
    (tmp_path / "lake_first_day").write_text("damaged")
    assert first_day_of_lake(here) == DEFAULT_FIRST_DAY


def test_a_lake_on_s3_that_was_never_listed_is_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_endpoint: str
) -> None:
    import boto3

    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    bucket = f"payments-{uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    for day in ("day=07", "day=30"):
        client.put_object(Bucket=bucket, Key=f"lake/year=2024/month=03/{day}/part-0.parquet", Body=b"PAR1")
    settings = lake_at(bucket, s3_endpoint)
    assert first_day_of_lake(settings) == date(2024, 3, 7)
    client.delete_object(Bucket=bucket, Key="lake/year=2024/month=03/day=07/part-0.parquet")
    assert first_day_of_lake(settings) == date(2024, 3, 7), "it is not listed at every load"


def test_a_lake_on_s3_that_does_not_answer_delays_no_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path))
    monkeypatch.setattr(first_days, "LISTING_SECONDS", 0.5)
    began = time.monotonic()
    assert first_day_of_lake(lake_at("payments", silent)) == DEFAULT_FIRST_DAY
    assert time.monotonic() - began < 10
    assert "until a sensor has seen the lake" in caplog.text
    assert not (tmp_path / "lake_first_day").exists(), "that it could not be read is no first day"


def test_the_first_day_of_the_settings_wins_and_a_lake_that_is_not_there_has_the_default(tmp_path: Path) -> None:
    assert first_day_of_lake(Settings(lake={"uri": "s3://a/b", "first_day": "2024-01-01"})) == date(2024, 1, 1)
    assert first_day_of_lake(Settings(lake={"uri": str(tmp_path)})) == DEFAULT_FIRST_DAY


def test_the_first_day_of_a_folder_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path / "home"))
    (tmp_path / "lake").mkdir()
    remember_first_day(Settings(lake={"uri": str(tmp_path / "lake")}), date(2024, 1, 1))
    assert not (tmp_path / "home").exists()
