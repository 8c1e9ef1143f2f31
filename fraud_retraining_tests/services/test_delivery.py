"""People are notified over real HTTP: by the routing table, once, whatever Slack and PagerDuty answer."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.adapters.ledger.ledger import Ledger
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
from fraud_retraining.domain.alerts.routing import opening_messages, update_messages
from fraud_retraining.services.delivery import Drained, Notifier, alerting, drain
from fraud_retraining_tests.support.notices import AS_OF, LINKS, a_notice, an_occasion
from fraud_retraining_tests.support.reviewers import ROUTING_KEY, TOKEN, Clock, PagerDuty, Slack

pytest_plugins = ("fraud_retraining_tests.support.reviewer_fixtures",)

CREDENTIALS = {"SLACK_BOT_TOKEN": TOKEN, "PAGERDUTY_ROUTING_KEY": ROUTING_KEY}
GATES = ("average_precision_floor: 0.23 against 0.3, missed by 0.07; last passed with 0.41 as of 2026-11-18",)


class Console:
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
        self.outbox.open(
            notice, opening_messages(notice, self.policy), lambda seen: update_messages(notice, self.policy, seen)
        )

    def drain(self, **environment: str) -> Drained:
        return drain(self.outbox, self.notifier(**environment), self.policy)

    def lines(self) -> list[dict[str, Any]]:
        file = self.home / "alerts.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def approvals(tmp_path: Path, slack: Slack, pagerduty: PagerDuty, clock: Clock) -> Console:
    return Console(tmp_path, slack, pagerduty, clock)


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
def test_each_row_of_the_routing_table(case: str, approvals: Console) -> None:
    notice, channel, mark, pages = ROUTING[case]
    approvals.open(notice)
    assert approvals.drain() == Drained(sent=2 if pages else 1)
    (message,) = approvals.slack.messages
    assert approvals.slack.shown(channel) == [message]
    assert message["text"].startswith(mark)
    text = json.dumps(message["blocks"])
    for expected in ("fraud_detector", "version 7, as of 2026-11-18, keeps serving", notice.why[0]):
        assert expected in text
    assert "<https://dagster.example/runs/run-1|Dagster run>" in text
    assert f"<https://docs.example/r#{notice.category.replace('_', '-')}|Runbook>" in text
    assert list(approvals.pagerduty.incidents.values()) == (["triggered"] if pages else [])


def test_a_failed_gate_is_reported_by_how_much_and_with_its_last_passing_value(approvals: Console) -> None:
    approvals.open(a_notice(Category.GATE_FAILED, gates=GATES))
    approvals.drain()
    assert GATES[0] in json.dumps(approvals.slack.messages[0]["blocks"])


def test_recovery_goes_to_the_same_thread_and_the_same_incident(approvals: Console) -> None:
    approvals.open(a_notice(Category.UNEXPECTED))
    approvals.drain()
    approvals.outbox.resolve_after(Success(job="retrain", as_of=AS_OF))
    assert approvals.drain() == Drained(sent=3)
    (message,) = approvals.slack.shown("#ml-oncall")
    assert "Resolved: Unexpected failure" in message["text"]
    assert approvals.slack.thread(message) == [f":white_check_mark: Resolved: retrain as of {AS_OF} passed"]
    assert list(approvals.pagerduty.incidents.values()) == ["resolved"]
    assert approvals.drain() == Drained()


def test_the_same_failure_five_times_is_one_alert_with_a_count(approvals: Console) -> None:
    for _ in range(5):
        approvals.open(a_notice(Category.UNEXPECTED))
        approvals.drain()
    (message,) = approvals.slack.messages
    assert "seen 5 times" in json.dumps(message["blocks"])
    assert len(approvals.pagerduty.triggered) == 1
    approvals.outbox.resolve_after(Success(job="retrain", as_of=AS_OF))
    approvals.drain()
    assert list(approvals.pagerduty.incidents.values()) == ["resolved"]


class TestOutages:
    def test_retry_after_is_honoured(self, approvals: Console) -> None:
        approvals.open(a_notice(Category.GATE_FAILED))
        approvals.open(a_notice(Category.DATA_VALIDATION))
        approvals.slack.fail(429, {"Retry-After": "120"}, body=b'{"ok": false, "error": "ratelimited"}')
        assert approvals.drain().failed == 1
        for minutes in (0, 1):
            approvals.clock.advance(minutes=minutes)
            assert approvals.drain() == Drained()
        assert len(approvals.slack.requests) == 1
        approvals.clock.advance(minutes=1.1)
        assert approvals.drain() == Drained(sent=2)

    def test_pagerduty_asks_to_wait(self, approvals: Console) -> None:
        approvals.open(a_notice(Category.UNEXPECTED))
        approvals.pagerduty.fail(429, {"Retry-After": "60"})
        done = approvals.drain()
        assert (done.sent, done.failed) == (1, 1)
        assert "429" in done.errors[0]
        approvals.clock.advance(seconds=59)
        assert approvals.drain() == Drained()
        approvals.clock.advance(seconds=2)
        assert approvals.drain() == Drained(sent=1)
        assert len(approvals.pagerduty.requests) == 2

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_server_errors_are_tried_again_later_each_time(self, approvals: Console, status: int) -> None:
        approvals.open(a_notice(Category.UNEXPECTED))
        approvals.slack.fail(status, times=3)
        approvals.pagerduty.fail(status, times=3)
        attempts: dict[str, list[int]] = {"slack": [], "pagerduty": []}
        for second in range(0, 150, 5):
            before = {name: len(getattr(approvals, name).requests) for name in attempts}
            approvals.drain()
            for name, seconds in attempts.items():
                seconds += [second] * (len(getattr(approvals, name).requests) - before[name])
            approvals.clock.advance(seconds=5)
        for seconds in attempts.values():
            pauses = [later - earlier for earlier, later in pairwise(seconds)]
            assert len(pauses) == 3
            assert pauses == sorted(set(pauses))
        assert list(approvals.pagerduty.incidents.values()) == ["triggered"]
        assert len(approvals.slack.messages) == 1

    def test_an_hour_without_slack_loses_nothing_doubles_nothing_and_wakes_somebody(self, approvals: Console) -> None:
        approvals.slack.is_down = True
        approvals.open(a_notice(Category.GATE_FAILED))
        approvals.open(a_notice(Category.DATA_VALIDATION))
        escalated = []
        for minute in range(60):
            if approvals.drain().escalated:
                escalated.append(minute)
            approvals.clock.advance(minutes=1)
        assert escalated == [15]
        assert len(approvals.pagerduty.triggered) == 2
        assert {event["payload"]["severity"] for event in approvals.pagerduty.triggered} == {"warning", "error"}
        assert len(approvals.slack.requests) < 50
        approvals.slack.is_down = False
        approvals.clock.advance(minutes=5)
        assert approvals.drain().sent == 2
        assert len(approvals.slack.messages) == 2
        approvals.outbox.resolve_after(Success(job="retrain", as_of=AS_OF))
        approvals.drain()
        assert set(approvals.pagerduty.incidents.values()) == {"resolved"}
        assert Ledger(approvals.url).verify().ok

    def test_information_wakes_nobody(self, approvals: Console) -> None:
        approvals.slack.is_down = True
        approvals.open(a_notice(Category.GATE_FAILED).model_copy(update={"severity": Severity.INFO}))
        approvals.drain()
        approvals.clock.advance(hours=1)
        assert approvals.drain().escalated == 0
        assert approvals.pagerduty.requests == []

    def test_a_message_that_nobody_takes_for_days_is_given_up_and_says_so(self, approvals: Console) -> None:
        approvals.policy = approvals.policy.model_copy(update={"pagerduty": None})
        approvals.slack.is_down = True
        approvals.open(a_notice(Category.GATE_FAILED))
        approvals.clock.advance(hours=73)
        done = approvals.drain()
        assert done.given_up == 1
        assert approvals.lines()[0]["title"] == f"Candidate failed its gates: retrain as of {AS_OF}"
        problems = alerting(approvals.outbox, approvals.notifier(), approvals.policy).problems
        assert "1 messages to people were given up" in problems[0]

    def test_a_missing_channel_wakes_somebody_at_once_and_holds_up_nobody(self, approvals: Console) -> None:
        channels = SlackChannels(model="#nowhere")
        approvals.policy = approvals.policy.model_copy(
            update={"slack": SlackPolicy(api_url=approvals.slack.url, channels=channels)}
        )
        approvals.open(a_notice(Category.GATE_FAILED))
        approvals.open(a_notice(Category.DATA_VALIDATION))
        done = approvals.drain()
        assert (done.sent, done.failed) == (2, 1)
        assert "channel_not_found" in done.errors[0]
        assert len(approvals.slack.shown("#data-quality")) == 1
        assert approvals.pagerduty.triggered[0]["payload"]["class"] == "gate_failed"

    def test_blocks_that_slack_refuses_go_as_text(self, approvals: Console) -> None:
        body = {"text": "the words", "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]}
        approvals.outbox.open(a_notice(), [Message(destination="slack:#ml-alerts", action=Action.OPEN, body=body)])
        assert approvals.drain() == Drained(sent=1)
        assert approvals.slack.messages[0]["text"] == "the words"
        assert "blocks" not in approvals.slack.messages[0]

    def test_a_message_that_somebody_deleted_is_not_changed_for_ever(self, approvals: Console) -> None:
        notice = a_notice(Category.GATE_FAILED)
        approvals.open(notice)
        approvals.drain()
        approvals.slack.messages.clear()
        approvals.open(notice)
        assert approvals.drain().given_up == 1
        assert approvals.outbox.backlog().waiting == 0

    def test_a_wrong_key_is_reported_without_the_key(
        self, approvals: Console, caplog: pytest.LogCaptureFixture
    ) -> None:
        approvals.open(a_notice(Category.UNEXPECTED))
        done = approvals.drain(SLACK_BOT_TOKEN="xoxb-wrong-one", PAGERDUTY_ROUTING_KEY="w" * 32)
        text = json.dumps([done.errors, caplog.text, approvals.outbox.backlog().last_error])
        assert "invalid_auth" in text
        assert "xoxb-wrong-one" not in text
        assert "w" * 32 not in text

    def test_a_sender_that_died_is_replaced(self, approvals: Console) -> None:
        approvals.open(a_notice(Category.GATE_FAILED))
        assert approvals.outbox.claim() is not None
        assert approvals.drain() == Drained()
        approvals.clock.advance(seconds=61)
        assert approvals.drain() == Drained(sent=1)


class TestWithoutCredentials:
    def test_alerts_go_to_the_file_and_the_log(self, approvals: Console, caplog: pytest.LogCaptureFixture) -> None:
        notice = a_notice(Category.UNEXPECTED)
        approvals.open(notice)
        assert approvals.drain(NOTHING="") == Drained(sent=2)
        entry = approvals.lines()[0]
        assert (entry["severity"], entry["category"], entry["title"]) == ("critical", "unexpected", notice.title)
        assert entry["serving"] == notice.serving
        assert notice.title in caplog.text
        approvals.outbox.resolve_after(Success(job="retrain", as_of=AS_OF))
        approvals.drain(NOTHING="")
        assert "Resolved" in approvals.lines()[-2]["text"]
        assert approvals.slack.requests == approvals.pagerduty.requests == []

    def test_status_says_where_alerts_go(self, approvals: Console) -> None:
        bare = alerting(approvals.outbox, approvals.notifier(NOTHING=""), approvals.policy)
        assert "SLACK_BOT_TOKEN is not set here: alerts go to" in bare.slack
        assert "alerts.jsonl" in bare.slack
        able = alerting(approvals.outbox, approvals.notifier(), approvals.policy)
        assert (able.slack, able.pagerduty) == ("#data-quality, #ml-alerts, #ml-oncall", "on")

    def test_a_process_without_the_token_leaves_alerts_to_one_that_has_it(self, approvals: Console) -> None:
        approvals.drain()
        approvals.open(a_notice(Category.GATE_FAILED))
        assert approvals.drain(NOTHING="") == Drained()
        assert approvals.drain() == Drained(sent=1)
        assert len(approvals.slack.messages) == 1
        approvals.open(a_notice(Category.DATA_VALIDATION))
        approvals.clock.advance(minutes=3)
        assert approvals.drain(NOTHING="") == Drained(sent=1)
        assert approvals.lines()[0]["category"] == "data_validation"

    def test_what_was_begun_in_the_file_ends_there(self, approvals: Console) -> None:
        approvals.open(a_notice(Category.GATE_FAILED))
        approvals.drain(NOTHING="")
        approvals.outbox.resolve_after(Success(job="retrain", as_of=AS_OF))
        approvals.drain()
        assert approvals.slack.requests == []
        assert [line["action"] for line in approvals.lines()] == ["open", "reply"]


def test_a_backlog_that_does_not_drain_is_a_problem(approvals: Console) -> None:
    approvals.policy = approvals.policy.model_copy(update={"pagerduty": None})
    approvals.slack.is_down = True
    approvals.open(a_notice(Category.GATE_FAILED))
    approvals.drain()
    assert alerting(approvals.outbox, approvals.notifier(), approvals.policy).problems == ()
    approvals.clock.advance(minutes=16)
    (problem,) = alerting(approvals.outbox, approvals.notifier(), approvals.policy).problems
    assert problem.startswith("1 messages to people wait since")
    assert "did not answer" in problem
