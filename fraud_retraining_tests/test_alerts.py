"""From a failure to the people who have to know, and back: the whole pipeline, a server that plays Slack, a daemon."""

import json
import os
import signal
import time
from datetime import timedelta
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.resources import open_outbox
from fraud_retraining.orchestration.runs.workers import worker_of
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import champion, ledger, retrain
from fraud_retraining_tests.support.daemons import daemon_over, wait_until
from fraud_retraining_tests.support.project_homes import AS_OF, ProjectHome
from fraud_retraining_tests.support.reviewers import TOKEN, Slack

pytest_plugins = ("fraud_retraining_tests.support.reviewer_fixtures",)
pytestmark = pytest.mark.slow

USED = AS_OF - timedelta(days=8)
LENIENT = {"max_regression": 1, "max_unproven_regression": 1, "max_slice_regression": 1}


@pytest.fixture
def slack_on(slack: Slack, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings that lead to the server, and its token in the environment."""
    monkeypatch.setenv("SLACK_BOT_TOKEN", TOKEN)
    return {"slack": {"api_url": slack.url}}


def reported(kind: EventKind) -> list[dict[str, Any]]:
    return [event.payload for event in ledger().events(kind)]


def test_bad_data_is_reported_once_without_credentials_and_ended_by_a_new_delivery(
    home: ProjectHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    before, good = champion(), home.read_day(USED)
    position = good.schema.get_field_index("TX_FRAUD")
    home.write_day(USED, good.set_column(position, "TX_FRAUD", pa.array([1] * len(good), pa.int8())))
    assert [retrain()[0] for _ in range(2)] == [3, 3]
    causes = [payload["cause"] for payload in reported(EventKind.RETRAIN_FAILED)]
    assert causes == [f"data_validation:day {USED}"] * 2
    for ingest in reported(EventKind.INGEST_FAILED):
        assert (ingest["cause"], ingest["kind"], ingest["severity"]) == (causes[0], "DataInvalid", "high")
    lines = alert_lines(home)
    assert [(line["action"], line["category"]) for line in lines] == [("open", "data_validation")]
    assert "fraud_rate" in json.dumps(lines)
    assert f"version {before[0] if before else None}" in lines[0]["serving"]

    home.write_day(USED, good)
    assert retrain()[0] == 0
    assert [line["action"] for line in alert_lines(home)] == ["open", "reply"]
    assert open_outbox(load_settings()).open_notices() == []
    assert len(reported(EventKind.NOTICE_OPENED)) == len(reported(EventKind.NOTICE_RESOLVED)) == 1
    assert champion() == before
    assert ledger().verify().ok


def test_a_failed_gate_is_reported_with_its_miss_and_what_passed_last_and_ended_by_the_next_that_passes(
    home: ProjectHome, slack: Slack, slack_on: dict[str, Any]
) -> None:
    before, later = champion(), AS_OF + timedelta(days=1)
    home.configure(promotion={"mode": "auto"}, gates={"min_average_precision": 0.999}, alerts=slack_on)
    code, answer, _ = retrain(later)
    assert code == 4
    (failed,) = reported(EventKind.RETRAIN_FAILED)
    assert failed["cause"] == f"gate_failed:{answer['fingerprint'][:16]}"
    assert (failed["category"], failed["dagster_run_id"]) == ("gate_failed", answer["dagster_run_id"])
    (message,) = slack.shown("#ml-alerts")
    shown = json.dumps(message["blocks"])
    missed = 0.999 - answer["metrics"]["candidate"]["average_precision"]
    assert f"average_precision_floor: {answer['metrics']['candidate']['average_precision']:.4g} against 0.999" in shown
    assert f"missed by {missed:.4g}; last passed with" in shown
    assert f"as of {AS_OF}" in shown
    assert champion() == before

    home.configure(promotion={"mode": "auto"}, gates=LENIENT, alerts=slack_on)
    assert retrain(later)[0] == 0
    assert message["text"].startswith(":white_check_mark: Resolved: Candidate failed its gates")
    assert slack.thread(message) == [f":white_check_mark: Resolved: retrain as of {later} passed"]
    assert len(slack.shown("#ml-alerts")) == 1


def test_an_outage_is_reported_with_the_original_exit_code(
    home: ProjectHome, slack: Slack, slack_on: dict[str, Any]
) -> None:
    down = {"tracking_uri": "http://127.0.0.1:9", "timeout_seconds": 2}
    home.configure(promotion={"mode": "auto"}, mlflow=down, alerts=slack_on)
    assert retrain()[0] == 7
    (failed,) = reported(EventKind.RETRAIN_FAILED)
    assert (failed["category"], failed["kind"], failed["severity"]) == (
        "dependency",
        "DependencyUnreachable",
        "critical",
    )
    assert len(slack.shown("#ml-oncall")) == 1
    slack.is_down = True
    assert retrain()[0] == 7
    assert open_outbox(load_settings()).open_notices()[0].seen == 2


@pytest.mark.timeout(900)
def test_a_killed_worker_is_noticed_by_the_real_daemon_within_about_a_minute(
    project: ProjectHome, slack: Slack, slack_on: dict[str, Any]
) -> None:
    project.configure(promotion={"mode": "auto"}, triggers={"poll_seconds": 5, "drift": None}, alerts=slack_on)
    project.home.mkdir(parents=True)
    instance = open_instance()

    def at_work() -> dg.DagsterRun | None:
        runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        return next((run for run in runs if worker_of(run) is not None), None)

    with daemon_over(project) as daemon:
        wait_until(at_work, daemon)
        run = at_work()
        assert run is not None
        worker = worker_of(run)
        assert worker is not None
        os.kill(worker.pid, signal.SIGKILL)
        killed = time.monotonic()
        wait_until(lambda: slack.shown("#ml-oncall"), daemon, 180)
        assert time.monotonic() - killed < 100
        (message,) = slack.shown("#ml-oncall")
        assert "The process died" in message["text"]
        wait_until(lambda: "Resolved" in message["text"], daemon)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.FAILURE
    failures = [*reported(EventKind.INGEST_FAILED), *reported(EventKind.RETRAIN_FAILED)]
    assert [failure["category"] for failure in failures] == ["worker_died"]
    assert len(slack.messages) == 2, "the alert, and its end in its thread"
    assert ledger().verify().ok
    instance.dispose()


def alert_lines(project: ProjectHome) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.home / "alerts.jsonl").read_text().splitlines()]
