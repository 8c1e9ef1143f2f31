"""Each dependency that the settings name, sound and broken; what is looked at stays as it is."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from fraud_retraining.adapters.ledger.signing_keys import new_key
from fraud_retraining.commands.implementation.dependency_checks import dagster_checks, dependency_checks
from fraud_retraining.commands.implementation.diagnosis import Diagnosis, State, diagnose
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.project_homes import ProjectHome

DEAD = "http://127.0.0.1:1"
LINKS = {"links": {"releases": "https://releases.example.com"}}


def findings(project: ProjectHome, **settings: Any) -> Diagnosis:
    project.configure(**settings)
    return diagnose(dependency_checks(load_settings(), 5), 5)


def states(found: Diagnosis) -> dict[str, State]:
    return {one.check: one.state for one in found.checks}


def said(found: Diagnosis, check: str) -> str:
    return next(f"{one.state} {one.found} {one.remedy}" for one in found.checks if one.check == check)


def test_a_lake_and_a_home_that_is_not_there_yet_are_fine_and_nothing_is_made(project: ProjectHome) -> None:
    before = sorted(project.folder.rglob("*"))
    found = findings(project)
    assert states(found) == {
        "lake": State.OK,
        "columns": State.OK,
        "store": State.OK,
        "ledger": State.OK,
        "mlflow": State.OK,
        "Slack": State.WARN,
        "clock": State.OK,
    }
    assert "2024-02-26" in said(found, "lake")
    assert sorted(project.folder.rglob("*")) == before


def test_columns_that_the_latest_day_lacks_are_named(project: ProjectHome) -> None:
    found = findings(project, columns={"amount": "VALUE"})
    assert "VALUE (amount) is missing" in said(found, "columns")
    assert found.exit_code == 3


def test_what_is_no_day_and_a_lake_that_is_not_there_are_said(project: ProjectHome) -> None:
    (project.lake / "notes").mkdir()
    (project.lake / "notes" / "a.parquet").touch()
    assert said(findings(project), "lake").startswith("warn")
    found = findings(project, lake={"uri": str(project.folder / "elsewhere")})
    assert said(found, "lake").startswith("fail there is no lake at")
    assert found.exit_code == 3


@pytest.mark.parametrize(
    ("mode", "state", "words"),
    [(0o600, "ok", "only its owner"), (0o640, "warn", "its group"), (0o644, "fail", "every account")],
)
def test_a_key_that_others_can_read_is_said(project: ProjectHome, mode: int, state: str, words: str) -> None:
    file = project.folder / "pipeline.pem"
    signers = {"pipeline": {"public_key": new_key(file)}}
    file.chmod(mode)
    found = said(findings(project, ledger={"signers": signers, "key_file": str(file)}), "ledger key")
    assert found.startswith(state) and words in found


def test_a_key_of_no_signer_and_one_that_was_replaced_fail(project: ProjectHome) -> None:
    file, other = project.folder / "pipeline.pem", project.folder / "other.pem"
    signers = {"pipeline": {"public_key": new_key(file), "through": 9}, "other": {"public_key": new_key(other)}}
    found = findings(project, ledger={"signers": signers, "key_file": str(file)})
    assert "good up to row 9 only" in said(found, "ledger key") and found.exit_code == 2
    del signers["other"]
    assert "that of no signer" in said(
        findings(project, ledger={"signers": signers, "key_file": str(other)}), "ledger key"
    )


def test_a_ledger_of_a_newer_version_and_one_that_is_damaged_fail(project: ProjectHome) -> None:
    project.home.mkdir()
    ledger = project.home / "ledger.db"
    with sqlite3.connect(ledger) as made:
        made.execute("CREATE TABLE ledger_version (version_num)")
        made.execute("INSERT INTO ledger_version VALUES ('9999')")
    found = findings(project)
    assert said(found, "ledger").startswith("fail") and found.exit_code == 2
    with sqlite3.connect(ledger) as made:
        made.execute("UPDATE ledger_version SET version_num = '0001'")
    assert said(findings(project), "ledger").startswith("warn")
    ledger.write_bytes(b"\x00damaged" * 500)
    assert "cannot be read" in said(findings(project), "ledger")


def test_every_dependency_that_is_down_is_named_and_none_stops_another(
    project: ProjectHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    found = findings(
        project,
        store={"uri": "s3://store/days"},
        lake={"uri": str(project.lake), "s3": {"endpoint": DEAD, "max_attempts": 1}},
        mlflow={"tracking_uri": DEAD, "timeout_seconds": 1},
        serving={"state_store": "redis", "redis_url": "redis://127.0.0.1:1/0"},
        labels={"uri": str(project.folder / "labels"), "delay_days": 2},
    )
    failed = {name for name, state in states(found).items() if state is State.FAIL}
    assert failed == {"store", "mlflow", "redis", "label feed"}
    assert states(found)["lake"] is State.OK


def test_the_service_that_makes_days_is_asked(project: ProjectHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    found = findings(
        project,
        lake={"uri": "s3://lake/days", "s3": {"endpoint": DEAD, "region": "us-east-1", "max_attempts": 1}},
        store={"uri": "s3://lake/store"},
        engine={
            "kind": "spark",
            "submit": {"kind": "glue", "job": "days", "bucket": "messages", "endpoint": DEAD},
        },
    )
    assert "Glue does not tell what the job runs on" in said(found, "spark jobs")
    assert "spark" not in states(found)


def test_a_store_on_s3_is_written_to_and_left_as_it_was(
    project: ProjectHome, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    s3 = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    s3.create_bucket(Bucket="doctor")
    lake = {"uri": str(project.lake), "s3": {"endpoint": s3_endpoint, "region": "us-east-1"}}
    found = findings(project, store={"uri": "s3://doctor/store"}, lake=lake)
    assert said(found, "store").startswith("ok")
    assert "S3" in said(found, "clock")
    assert s3.list_objects_v2(Bucket="doctor")["KeyCount"] == 0
    assert said(findings(project, store={"uri": "s3://nobucket/store"}, lake=lake), "store").startswith("fail")


@pytest.fixture
def other_time() -> Iterator[tuple[str, timedelta]]:
    """A web server whose clock is an hour ahead."""
    ahead = timedelta(hours=1)

    class Handler(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(datetime.now(UTC) + ahead, usegmt=True)

        def do_GET(self) -> None:
            self.send_response(403)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", ahead
    server.shutdown()
    server.server_close()


def test_a_clock_that_is_an_hour_behind_fails(project: ProjectHome, other_time: tuple[str, timedelta]) -> None:
    found = findings(project, mlflow={"tracking_uri": other_time[0], "timeout_seconds": 1})
    assert "s behind MLflow" in said(found, "clock")
    assert said(found, "clock").startswith("fail")


def test_what_a_model_has_to_itself_has_rows_of_its_own(project: ProjectHome) -> None:
    redis = {"state_store": "redis", "redis_url": f"redis://{DEAD.removeprefix('http://')}", "redis_timeout_seconds": 1}
    own = {"serving": redis, "alerts": {"slack": {"channels": {"data": "#small"}}}}
    found = findings(project, models=[{"name": "small", **own}, {"name": "large", "alerts": LINKS}])
    rows = {name: state for name, state in states(found).items() if ": " in name}
    assert rows == {"small: redis": State.FAIL, "small: Slack": State.WARN}


def test_dagster_that_never_ran_is_no_failure_and_nothing_is_made(project: ProjectHome) -> None:
    found = diagnose(dagster_checks(), 20)
    assert [one.state for one in found.checks] == [State.OK, State.WARN, State.OK], found
    assert not Path(project.home).exists()
