"""People are told over real HTTP: by the routing table, once, whatever Slack and PagerDuty answer."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.alerts.composing import opening, seen_again
from fraud_retraining.domain.alerts.failures import Category, Severity
from fraud_retraining.domain.alerts.notices import (
    Action,
    AlertPolicy,
    Message,
    Notice,
    PagerDutyPolicy,
    SlackChannels,
    SlackPolicy,
    Success,
    paused_notice,
)
from fraud_retraining.services.delivery import Drained, Notifier, alerting, drain
from fraud_retraining_tests.support.notices import AS_OF, LINKS, a_notice, an_occasion
from fraud_retraining_tests.support.reviewers import ROUTING_KEY, TOKEN, Clock, PagerDuty, Slack

pytest_plugins = ("fraud_retraining_tests.support.reviewer_fixtures",)

CREDENTIALS = {"SLACK_BOT_TOKEN": TOKEN, "PAGERDUTY_ROUTING_KEY": ROUTING_KEY}
GATES = ("average_precision_floor: 0.23 against 0.3, missed by 0.07; last passed with 0.41 as of 2026-11-18",)


class Desk:
    """An outbox, a notifier, and the people behind it."""

    def __init__(self, folder: Path, slack: Slack, pagerduty: PagerDuty, clock: Clock) -> None:
        self.slack, self.pagerduty, self.clock = slack, pagerduty, clock
        self.policy = AlertPolicy(
            slack=SlackPolicy(api_url=slack.url), pagerduty=PagerDutyPolicy(api_url=pagerduty.url), links=LINKS
        )
        self.url = f"sqlite:///{folder}/ledger.db"
        self.outbox = Outbox(self.url, clock=clock)
        self.home = folder

    def notifier(self, **environment: str) -> Notifier:
        return Notifier(self.policy, self.home, environment or CREDENTIALS)

    def open(self, notice: Notice) -> None:
        self.outbox.open(notice, opening(notice, self.policy), lambda seen: seen_again(notice, self.policy, seen))

    def drain(self, **environment: str) -> Drained:
        return drain(self.outbox, self.notifier(**environment), self.policy)

    def lines(self) -> list[dict[str, Any]]:
        file = self.home / "alerts.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def desk(tmp_path: Path, slack: Slack, pagerduty: PagerDuty, clock: Clock) -> Desk:
    return Desk(tmp_path, slack, pagerduty, clock)


ROUTING = {
    "data validation": (a_notice(Category.DATA_VALIDATION), "#data-quality", ":large_orange_circle:", False),
    "gate failed": (a_notice(Category.GATE_FAILED, gates=GATES), "#ml-alerts", ":large_yellow_circle:", False),
    "budget exceeded": (a_notice(Category.BUDGET_EXCEEDED), "#ml-oncall", ":red_circle:", True),
    "unexpected": (a_notice(Category.UNEXPECTED), "#ml-oncall", ":red_circle:", True),
    "a dead worker": (a_notice(Category.WORKER_DIED), "#ml-oncall", ":red_circle:", True),
    "a dependency": (a_notice(Category.DEPENDENCY), "#ml-oncall", ":red_circle:", True),
    "automation paused": (
        paused_notice("gate_failed:f00d", 2, an_occasion(), LINKS),
        "#ml-oncall",
        ":red_circle:",
        True,
    ),
}


@pytest.mark.parametrize("case", ROUTING)
def test_each_row_of_the_routing_table(case: str, desk: Desk) -> None:
    notice, channel, mark, pages = ROUTING[case]
    desk.open(notice)
    assert desk.drain() == Drained(sent=2 if pages else 1)
    (message,) = desk.slack.messages
    assert desk.slack.shown(channel) == [message]
    assert message["text"].startswith(mark)
    told = json.dumps(message["blocks"])
    for expected in ("fraud_detector", "version 7, as of 2026-11-18, keeps serving", notice.why[0]):
        assert expected in told
    assert "<https://dagster.example/runs/run-1|Dagster run>" in told
    assert f"<https://docs.example/r#{notice.category.replace('_', '-')}|Runbook>" in told
    assert list(desk.pagerduty.incidents.values()) == (["triggered"] if pages else [])


def test_a_failed_gate_is_told_by_how_much_and_with_its_last_passing_value(desk: Desk) -> None:
    desk.open(a_notice(Category.GATE_FAILED, gates=GATES))
    desk.drain()
    assert GATES[0] in json.dumps(desk.slack.messages[0]["blocks"])


def test_recovery_goes_to_the_same_thread_and_the_same_incident(desk: Desk) -> None:
    desk.open(a_notice(Category.UNEXPECTED))
    desk.drain()
    desk.outbox.cure(Success(job="retrain", as_of=AS_OF))
    assert desk.drain() == Drained(sent=3)
    (message,) = desk.slack.shown("#ml-oncall")
    assert "Resolved: Unexpected failure" in message["text"]
    assert desk.slack.thread(message) == [f":white_check_mark: Resolved: retrain as of {AS_OF} passed"]
    assert list(desk.pagerduty.incidents.values()) == ["resolved"]
    assert desk.drain() == Drained()


def test_the_same_failure_five_times_is_one_alert_with_a_count(desk: Desk) -> None:
    for _ in range(5):
        desk.open(a_notice(Category.UNEXPECTED))
        desk.drain()
    (message,) = desk.slack.messages
    assert "seen 5 times" in json.dumps(message["blocks"])
    assert len(desk.pagerduty.triggered) == 1
    desk.outbox.cure(Success(job="retrain", as_of=AS_OF))
    desk.drain()
    assert list(desk.pagerduty.incidents.values()) == ["resolved"]


class TestOutages:
    def test_retry_after_is_honoured(self, desk: Desk) -> None:
        desk.open(a_notice(Category.GATE_FAILED))
        desk.open(a_notice(Category.DATA_VALIDATION))
        desk.slack.fail(429, {"Retry-After": "120"}, body=b'{"ok": false, "error": "ratelimited"}')
        assert desk.drain().failed == 1
        for minutes in (0, 1):
            desk.clock.advance(minutes=minutes)
            assert desk.drain() == Drained()
        assert len(desk.slack.requests) == 1
        desk.clock.advance(minutes=1.1)
        assert desk.drain() == Drained(sent=2)

    def test_pagerduty_asks_to_wait(self, desk: Desk) -> None:
        desk.open(a_notice(Category.UNEXPECTED))
        desk.pagerduty.fail(429, {"Retry-After": "60"})
        done = desk.drain()
        assert (done.sent, done.failed) == (1, 1)
        assert "429" in done.errors[0]
        desk.clock.advance(seconds=59)
        assert desk.drain() == Drained()
        desk.clock.advance(seconds=2)
        assert desk.drain() == Drained(sent=1)
        assert len(desk.pagerduty.requests) == 2

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_server_errors_are_tried_again_later_each_time(self, desk: Desk, status: int) -> None:
        desk.open(a_notice(Category.UNEXPECTED))
        desk.slack.fail(status, times=3)
        desk.pagerduty.fail(status, times=3)
        asked: dict[str, list[int]] = {"slack": [], "pagerduty": []}
        for second in range(0, 150, 5):
            before = {name: len(getattr(desk, name).requests) for name in asked}
            desk.drain()
            for name, seconds in asked.items():
                seconds += [second] * (len(getattr(desk, name).requests) - before[name])
            desk.clock.advance(seconds=5)
        for seconds in asked.values():
            pauses = [later - earlier for earlier, later in pairwise(seconds)]
            assert len(pauses) == 3
            assert pauses == sorted(set(pauses))
        assert list(desk.pagerduty.incidents.values()) == ["triggered"]
        assert len(desk.slack.messages) == 1

    def test_an_hour_without_slack_loses_nothing_doubles_nothing_and_wakes_somebody(self, desk: Desk) -> None:
        desk.slack.is_down = True
        desk.open(a_notice(Category.GATE_FAILED))
        desk.open(a_notice(Category.DATA_VALIDATION))
        escalated = []
        for minute in range(60):
            if desk.drain().escalated:
                escalated.append(minute)
            desk.clock.advance(minutes=1)
        assert escalated == [15]
        assert len(desk.pagerduty.triggered) == 2
        assert {event["payload"]["severity"] for event in desk.pagerduty.triggered} == {"warning", "error"}
        assert len(desk.slack.requests) < 50
        desk.slack.is_down = False
        desk.clock.advance(minutes=5)
        assert desk.drain().sent == 2
        assert len(desk.slack.messages) == 2
        desk.outbox.cure(Success(job="retrain", as_of=AS_OF))
        desk.drain()
        assert set(desk.pagerduty.incidents.values()) == {"resolved"}
        assert Ledger(desk.url).verify().ok

    def test_information_wakes_nobody(self, desk: Desk) -> None:
        desk.slack.is_down = True
        desk.open(a_notice(Category.GATE_FAILED).model_copy(update={"severity": Severity.INFO}))
        desk.drain()
        desk.clock.advance(hours=1)
        assert desk.drain().escalated == 0
        assert desk.pagerduty.requests == []

    def test_a_message_that_nobody_takes_for_days_is_given_up_and_says_so(self, desk: Desk) -> None:
        desk.policy = desk.policy.model_copy(update={"pagerduty": None})
        desk.slack.is_down = True
        desk.open(a_notice(Category.GATE_FAILED))
        desk.clock.advance(hours=73)
        done = desk.drain()
        assert done.given_up == 1
        assert desk.lines()[0]["title"] == f"Candidate failed its gates: retrain as of {AS_OF}"
        problems = alerting(desk.outbox, desk.notifier(), desk.policy).problems
        assert "1 messages to people were given up" in problems[0]

    def test_a_missing_channel_wakes_somebody_at_once_and_holds_up_nobody(self, desk: Desk) -> None:
        channels = SlackChannels(model="#nowhere")
        desk.policy = desk.policy.model_copy(update={"slack": SlackPolicy(api_url=desk.slack.url, channels=channels)})
        desk.open(a_notice(Category.GATE_FAILED))
        desk.open(a_notice(Category.DATA_VALIDATION))
        done = desk.drain()
        assert (done.sent, done.failed) == (2, 1)
        assert "channel_not_found" in done.errors[0]
        assert len(desk.slack.shown("#data-quality")) == 1
        assert desk.pagerduty.triggered[0]["payload"]["class"] == "gate_failed"

    def test_blocks_that_slack_refuses_go_as_text(self, desk: Desk) -> None:
        body = {"text": "the words", "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]}
        desk.outbox.open(a_notice(), [Message(destination="slack:#ml-alerts", action=Action.OPEN, body=body)])
        assert desk.drain() == Drained(sent=1)
        assert desk.slack.messages[0]["text"] == "the words"
        assert "blocks" not in desk.slack.messages[0]

    def test_a_message_that_somebody_deleted_is_not_changed_for_ever(self, desk: Desk) -> None:
        notice = a_notice(Category.GATE_FAILED)
        desk.open(notice)
        desk.drain()
        desk.slack.messages.clear()
        desk.open(notice)
        assert desk.drain().given_up == 1
        assert desk.outbox.backlog().waiting == 0

    def test_a_wrong_key_is_told_without_the_key(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        desk.open(a_notice(Category.UNEXPECTED))
        done = desk.drain(SLACK_BOT_TOKEN="xoxb-wrong-one", PAGERDUTY_ROUTING_KEY="w" * 32)
        told = json.dumps([done.errors, caplog.text, desk.outbox.backlog().last_error])
        assert "invalid_auth" in told
        assert "xoxb-wrong-one" not in told
        assert "w" * 32 not in told

    def test_a_sender_that_died_is_replaced(self, desk: Desk) -> None:
        desk.open(a_notice(Category.GATE_FAILED))
        assert desk.outbox.claim() is not None
        assert desk.drain() == Drained()
        desk.clock.advance(seconds=61)
        assert desk.drain() == Drained(sent=1)


class TestWithoutCredentials:
    def test_alerts_go_to_the_file_and_the_log(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        notice = a_notice(Category.UNEXPECTED)
        desk.open(notice)
        assert desk.drain(NOTHING="") == Drained(sent=2)
        entry = desk.lines()[0]
        assert (entry["severity"], entry["category"], entry["title"]) == ("critical", "unexpected", notice.title)
        assert entry["serving"] == notice.serving
        assert notice.title in caplog.text
        desk.outbox.cure(Success(job="retrain", as_of=AS_OF))
        desk.drain(NOTHING="")
        assert "Resolved" in desk.lines()[-2]["text"]
        assert desk.slack.requests == desk.pagerduty.requests == []

    def test_status_says_where_alerts_go(self, desk: Desk) -> None:
        bare = alerting(desk.outbox, desk.notifier(NOTHING=""), desk.policy)
        assert "SLACK_BOT_TOKEN is not set here: alerts go to" in bare.slack
        assert "alerts.jsonl" in bare.slack
        able = alerting(desk.outbox, desk.notifier(), desk.policy)
        assert (able.slack, able.pagerduty) == ("#data-quality, #ml-alerts, #ml-oncall", "on")

    def test_a_process_without_the_token_leaves_alerts_to_one_that_has_it(self, desk: Desk) -> None:
        desk.drain()
        desk.open(a_notice(Category.GATE_FAILED))
        assert desk.drain(NOTHING="") == Drained()
        assert desk.drain() == Drained(sent=1)
        assert len(desk.slack.messages) == 1
        desk.open(a_notice(Category.DATA_VALIDATION))
        desk.clock.advance(minutes=3)
        assert desk.drain(NOTHING="") == Drained(sent=1)
        assert desk.lines()[0]["category"] == "data_validation"

    def test_what_was_begun_in_the_file_ends_there(self, desk: Desk) -> None:
        desk.open(a_notice(Category.GATE_FAILED))
        desk.drain(NOTHING="")
        desk.outbox.cure(Success(job="retrain", as_of=AS_OF))
        desk.drain()
        assert desk.slack.requests == []
        assert [line["action"] for line in desk.lines()] == ["open", "reply"]


def test_a_backlog_that_does_not_drain_is_a_problem(desk: Desk) -> None:
    desk.policy = desk.policy.model_copy(update={"pagerduty": None})
    desk.slack.is_down = True
    desk.open(a_notice(Category.GATE_FAILED))
    desk.drain()
    assert alerting(desk.outbox, desk.notifier(), desk.policy).problems == ()
    desk.clock.advance(minutes=16)
    (problem,) = alerting(desk.outbox, desk.notifier(), desk.policy).problems
    assert problem.startswith("1 messages to people wait since")
    assert "did not answer" in problem
